"""A client and a backend by tlslite-ng, with spliceway between them. See `run`."""

import base64
import hashlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

from tlslite.api import HandshakeSettings, TLSConnection, X509CertChain, parsePEMKey
from tlslite.errors import TLSAbruptCloseError

HERE = pathlib.Path(__file__).resolve().parent
SPLICEWAY = os.environ.get("SPLICEWAY") or HERE.parents[2] / "target/release/spliceway"
CIPHERS = ["aes128gcm", "aes256gcm", "chacha20-poly1305"]


def settings(cipher):
    made = HandshakeSettings()
    made.minVersion = made.maxVersion = (3, 4)
    made.cipherNames = [cipher]
    made.use_heartbeat_extension = False
    return made


def exactly(tls, count):
    data = bytearray()
    while len(data) < count:
        more = tls.read(max=count - len(data), min=1)
        assert more, f"an end after {len(data)} of {count} bytes"
        data += more
    return bytes(data)


def head(tls):
    text = b""
    while not text.endswith(b"\r\n\r\n"):
        text += exactly(tls, 1)
    return text


def frame(payload, masked):
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big") if size < 1 << 16 else b"\x7f" + size.to_bytes(8, "big")
    mask = bytes(4) if masked else b""  # a key of zeros changes nothing
    return b"\x82" + bytes([length[0] | (0x80 if masked else 0)]) + length[1:] + mask + payload


def update(tls, request):
    for _ in tls.send_keyupdate_request(1 if request else 0):
        pass


class Backend(threading.Thread):
    """Agrees, then sends back what it gets, unmasked, with another key for each message."""

    def __init__(self, identity, cipher):
        super().__init__()
        self.identity, self.cipher, self.why = identity, cipher, "it was not asked"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.port = self.listener.getsockname()[1]

    def run(self):
        try:
            tls = TLSConnection(self.listener.accept()[0])
            tls.sock.settimeout(20)
            chain, key = self.identity
            tls.handshakeServer(certChain=chain, privateKey=key, settings=settings(self.cipher), alpn=[bytearray(b"http/1.1")])
            asked = next(line for line in head(tls).split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
            digest = hashlib.sha1(asked.split(b":")[1].strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            tls.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n")
            for n, size in enumerate(SIZES):
                got = exactly(tls, len(frame(bytes(size), True)))
                payload = got[len(got) - size:]
                update(tls, request=n % 2 == 0)
                tls.write(frame(payload, False))
            self.why = None
            tls.close()
        except Exception as error:  # told by whoever waits
            self.why = repr(error)


SIZES = [1, 100, 16_000, 125, 70_000, 3, 200_000, 64]


def tunnel(layer, cipher, folder, identity):
    backend = Backend(identity, cipher)
    backend.start()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "spliceway.toml").write_text(f"""record_layer = "{layer}"
[[listen]]
address = "127.0.0.1:{port}"
[[listen.certificate]]
chain = "chain.pem"
key = "key.pem"
[backend.peer]
servers = ["https://localhost:{backend.port}"]
ca = "chain.pem"
protocol = "h1"
[[route]]
backend = "peer"
""")
    with open(folder / "log", "wb") as log:
        proxy = subprocess.Popen([SPLICEWAY, "run", "--config", folder / "spliceway.toml"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert proxy.poll() is None and time.monotonic() < end, "it does not listen"
            time.sleep(0.05)
        tls = TLSConnection(socket.create_connection(("127.0.0.1", port), 20))
        tls.handshakeClientCert(settings=settings(cipher), serverName="localhost", alpn=[bytearray(b"http/1.1")])
        tls.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        answer = head(tls)
        assert answer.startswith(b"HTTP/1.1 101 ") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer, answer
        for n, size in enumerate(SIZES):
            payload = os.urandom(size)
            update(tls, request=n % 3 != 0)
            tls.write(frame(payload, True))
            expected = frame(payload, False)
            assert exactly(tls, len(expected)) == expected, f"message {n} is another"
        backend.join(20)
        assert backend.why is None, f"the backend: {backend.why}"
        close = exactly(tls, 4)  # we say it for a backend that ends without one
        assert close == b"\x88\x02" + (1012).to_bytes(2, "big"), close
        try:
            assert tls.read(min=1) == b"", "more than an end"
        except TLSAbruptCloseError:
            raise AssertionError("an end without close_notify") from None
    except Exception as error:
        return f"{error!r}\n{(folder / 'log').read_text(errors='replace')[-1000:]}"
    finally:
        proxy.terminate()
        proxy.wait(20)
    return None


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "key.pem", "-out", folder / "chain.pem"],
            check=True, capture_output=True)
        chain = X509CertChain()
        chain.parsePemList((folder / "chain.pem").read_text())
        identity = chain, parsePEMKey((folder / "key.pem").read_text(), private=True)
        for layer in sys.argv[1:] or ["own", "rustls"]:
            for cipher in CIPHERS:
                why = tunnel(layer, cipher, folder, identity)
                print(f"{'ok  ' if why is None else 'FAIL'} {layer} {cipher}{'' if why is None else ': ' + why}", flush=True)
                passed, failed = passed + (why is None), failed + (why is not None)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
