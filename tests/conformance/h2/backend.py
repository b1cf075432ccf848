"""An HTTP/1.1 server behind the proxy: reads whole requests and answers each with a few bytes."""

import socketserver
import threading

BODY = b"what the backend answers, longer than any window that a case opens\n"


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            while self.exchange():
                pass
        except OSError:
            pass  # a request that was cut: the proxy's to tell

    def exchange(self):
        method = self.rfile.readline().split(b" ")[0]
        fields = {}
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        if not method or not line:
            return False
        if b"content-length" in fields:
            self.rfile.read(int(fields[b"content-length"]))
        elif b"transfer-encoding" in fields:
            while (size := int(self.rfile.readline() or b"0", 16)):
                self.rfile.read(size + 2)
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        self.wfile.write(head + (b"" if method == b"HEAD" else BODY))
        return True


class Backend(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address, request_queue_size = True, True, 512

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
