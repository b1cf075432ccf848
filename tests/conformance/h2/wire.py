"""One HTTP/2 connection frame by frame, for what a proper client never sends. Knows frame headers, HPACK's encoder
and how a connection ends; of what came it judges nothing."""

import collections
import socket
import ssl
import struct
import time

import hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
KINDS = "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION".split()
CLOSED, TIMEOUT = -1, -2

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR = range(7)
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(7, 12)

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW = 65535


class Failed(Exception):
    """What a case found instead of what it had to find."""


class Event(collections.namedtuple("Event", "kind flags stream payload")):
    """A frame, or the connection's end, or too long without either."""

    @property
    def ends(self):
        return self.kind in (DATA, HEADERS) and bool(self.flags & 1)

    @property
    def code(self):
        return struct.unpack(">I", self.payload[4:8] if self.kind == GOAWAY else self.payload[:4])[0]

    def __str__(self):
        if self.kind == CLOSED:
            return "the connection closed"
        if self.kind == TIMEOUT:
            return "nothing in time"
        name = KINDS[self.kind] if self.kind < len(KINDS) else f"type {self.kind}"
        code = f", error {self.code}" if self.kind in (GOAWAY, RST_STREAM) else ""
        return f"{name} (length {len(self.payload)}, flags {self.flags:#x}, stream {self.stream}{code})"


class Target:
    """A server under test: `tls://HOST:PORT` (h2 by ALPN) or `h2c://HOST:PORT` (by prior knowledge)."""

    def __init__(self, url, timeout):
        self.scheme, _, address = url.partition("://")
        if self.scheme not in ("tls", "h2c"):
            raise SystemExit(f"{url}: neither tls:// nor h2c://")
        self.host, _, port = address.partition(":")
        self.port, self.timeout, self.url = int(port), timeout, url

    def dial(self):
        tcp = socket.create_connection((self.host, self.port), self.timeout)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.scheme == "h2c":
            return tcp
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        tls = context.wrap_socket(tcp, server_hostname="localhost")
        if tls.selected_alpn_protocol() != "h2":
            raise Failed("the server did not agree on h2")
        return tls

    def fields(self):
        """A GET of `/`: a list of its own for each caller."""
        scheme = "https" if self.scheme == "tls" else "http"
        return [(":method", "GET"), (":scheme", scheme), (":path", "/"), (":authority", f"{self.host}:{self.port}")]


class Connection:
    """What is sent goes out as it is told; each sender returns the connection, so that a case reads as a sentence."""

    def __init__(self, target):
        self.target, self.socket, self.got = target, target.dial(), b""
        self.encoder, self.settings = hpack.Encoder(), {}
        self.windows, self.updating = collections.defaultdict(lambda: WINDOW), True

    def close(self):
        self.socket.close()

    # --- sending ---

    def raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # a peer that has closed: what it said is still to be read
        return self

    def frame(self, kind, flags, stream, payload=b""):
        if len(payload) >> 24:
            return self  # a server that takes frames of any length cannot be sent one too long
        return self.raw(len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload)

    def encode(self, fields):
        return self.encoder.encode(fields, huffman=True)

    def block(self, method="GET", more=()):
        fields = self.target.fields()
        fields[0] = (":method", method)
        return self.encode(fields + list(more))

    def headers(self, stream, block=None, end=True, whole=True, pad=None, priority=None):
        flags, payload = (1 if end else 0) | (4 if whole else 0), self.block() if block is None else block
        if priority is not None:
            flags, payload = flags | 0x20, priority + payload
        if pad is not None:
            flags, payload = flags | 8, bytes([pad]) + payload + bytes(pad)
        return self.frame(HEADERS, flags, stream, payload)

    def post(self, stream, end=False, whole=True, more=()):
        return self.headers(stream, self.block("POST", more), end, whole)

    def data(self, stream, payload=b"test", end=True, pad=None):
        if pad is None:
            return self.frame(DATA, 1 if end else 0, stream, payload)
        return self.frame(DATA, 8 | (1 if end else 0), stream, bytes([len(pad)]) + payload + pad)

    def continuation(self, stream, block=None, whole=True):
        return self.frame(CONTINUATION, 4 if whole else 0, stream, self.dummy(1) if block is None else block)

    def dummy(self, count):
        """Fields of 4000 bytes each."""
        return self.encode([(f"x-dummy{n}", "x" * 4000) for n in range(count)])

    def priority(self, stream, on=0, weight=255, exclusive=False):
        return self.frame(PRIORITY, 0, stream, dependency(on, weight, exclusive))

    def reset(self, stream, code=CANCEL):
        return self.frame(RST_STREAM, 0, stream, struct.pack(">I", code))

    def set(self, *pairs):
        return self.frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))

    def ping(self, payload=bytes(8), ack=False):
        return self.frame(PING, 1 if ack else 0, 0, payload)

    def goaway(self, code=NO_ERROR, debug=b""):
        return self.frame(GOAWAY, 0, 0, struct.pack(">II", 0, code) + debug)

    def window(self, stream, by):
        return self.frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", by))

    # --- receiving ---

    def event(self):
        deadline = time.monotonic() + self.target.timeout
        try:
            head = self.take(9, deadline)
            payload = self.take(int.from_bytes(head[:3], "big"), deadline)
        except TimeoutError:
            return Event(TIMEOUT, 0, 0, b"")
        except OSError:
            return Event(CLOSED, 0, 0, b"")
        event = Event(head[3], head[4], struct.unpack(">I", head[5:])[0] & 0x7FFFFFFF, payload)
        if event.kind == DATA and self.updating:
            self.count(event.stream, len(payload))
            self.count(0, len(payload))
        return event

    def take(self, count, deadline):
        while len(self.got) < count:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            part = self.socket.recv(65536)
            if not part:
                raise ConnectionError
            self.got += part
        taken, self.got = self.got[:count], self.got[count:]
        return taken

    def count(self, stream, length):
        self.windows[stream] -= length
        if self.windows[stream] <= 0:
            by = WINDOW - self.windows[stream]
            self.window(stream, by)
            self.windows[stream] += by

    def until(self, wanted, expected):
        """The first event of which `wanted` holds; whatever else comes before it is passed over."""
        last = None
        while True:
            event = self.event()
            if wanted(event):
                return event
            if event.kind in (CLOSED, TIMEOUT):
                raise Failed(f"expected {expected}, came {last or event}, then {event}")
            last = event

    def shake(self):
        """The preface both ways, settings and their acknowledgements."""
        self.raw(PREFACE).set((INITIAL_WINDOW_SIZE, WINDOW))
        ours = theirs = False
        while not (ours and theirs):
            event = self.until(lambda event: event.kind == SETTINGS, "SETTINGS")
            if event.flags & 1:
                ours = True
                continue
            theirs = True
            pairs = [struct.unpack(">HI", event.payload[at:at + 6]) for at in range(0, len(event.payload), 6)]
            self.settings.update(pairs)
            self.frame(SETTINGS, 1, 0)
        return self

    def answered(self, stream=1):
        """Waits until a stream's answer is whole."""
        self.until(lambda event: event.ends and event.stream == stream, f"the end of stream {stream}")
        return self


def dependency(on, weight, exclusive=False):
    return struct.pack(">IB", on | (0x80000000 if exclusive else 0), weight)
