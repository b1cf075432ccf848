"""The proxy under test as a process: its config, its ports, its memory, its end. And peers in its place, to prove
the tests right: HAProxy (`PEER=haproxy`) and nginx (`PEER=nginx`) as Debian has them."""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Proxy:
    """Two listeners, `tls` and `h2c`, before one backend (a `URL`: http:// or h2c://)."""

    def __init__(self, backend, settings=""):
        self.dir = pathlib.Path(tempfile.mkdtemp())
        self.ports = {"tls": free_port(), "h2c": free_port()}
        self.backend, self.settings, self.process = backend, settings, None

    def __enter__(self):
        self.certificate()
        words = {"haproxy": self.haproxy, "nginx": self.nginx}.get(os.environ.get("PEER"), self.spliceway)()
        self.log = open(self.dir / "log", "wb")
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=self.dir)
        for port in self.ports.values():
            self.wait_for(port)
        return self

    def __exit__(self, kind, *_):
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        text = (self.dir / "log").read_text(errors="replace")
        if "panicked" in text or kind is not None:
            print("--- the proxy's log, its end ---", text[-4000:], sep="\n")
        shutil.rmtree(self.dir)
        if "panicked" in text:
            raise AssertionError("the proxy panicked")

    def url(self, scheme):
        return f"{scheme}://127.0.0.1:{self.ports[scheme]}"

    def said(self):
        return (self.dir / "log").read_text(errors="replace")

    def memory(self):
        """Its share of memory in bytes (Pss), but for what is a file's: other processes of the binary may come and go."""
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss_Anon:"))

    def wait_for(self, port):
        end = time.monotonic() + 20
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"{self.process.args} does not listen:\n{self.said()}") from None
                time.sleep(0.05)  # between two looks

    def certificate(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-keyout", self.dir / "key.pem", "-out", self.dir / "chain.pem"],
            check=True, capture_output=True)

    def spliceway(self):
        binary = os.environ.get("SPLICEWAY") or REPOSITORY / "target/release/spliceway"
        (self.dir / "spliceway.toml").write_text(f"""{self.settings}
[[listen]]
address = "127.0.0.1:{self.ports["h2c"]}"

[[listen]]
address = "127.0.0.1:{self.ports["tls"]}"
[[listen.certificate]]
chain = "chain.pem"
key = "key.pem"

[[route]]
backend = "{self.backend}"
""")
        return [binary, "run", "--config", self.dir / "spliceway.toml"]

    def haproxy(self):
        (self.dir / "both.pem").write_bytes((self.dir / "chain.pem").read_bytes() + (self.dir / "key.pem").read_bytes())
        scheme, _, address = self.backend.partition("://")
        proto = " proto h2" if scheme == "h2c" else ""
        (self.dir / "haproxy.cfg").write_text(f"""global
    maxconn 4096
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
frontend front
    bind 127.0.0.1:{self.ports["h2c"]} proto h2
    bind 127.0.0.1:{self.ports["tls"]} ssl crt both.pem alpn h2,http/1.1
    default_backend back
backend back
    server s {address}{proto}
""")
        return [shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-f", self.dir / "haproxy.cfg"]

    def nginx(self):
        (self.dir / "nginx.conf").write_text(f"""daemon off; pid nginx.pid; error_log stderr;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{self.ports["h2c"]} http2;
        listen 127.0.0.1:{self.ports["tls"]} ssl http2;
        ssl_certificate chain.pem; ssl_certificate_key key.pem;
        location / {{ proxy_pass {self.backend}; proxy_http_version 1.1; }}
    }}
}}
""")
        return [shutil.which("nginx") or "/usr/sbin/nginx", "-p", self.dir, "-e", "stderr", "-c", self.dir / "nginx.conf"]
