"""WebSockets to a backend of HTTP/2 (RFC 8441), for clients of either version, through the real binary.

usage: upstream.py [NAME...]   the tests whose names hold one of these"""

import hashlib
import socket
import struct
import sys

import h2backend
import websocket
import wire
from harness import echoes, holds, run_all, same, wait_until

TESTS = []
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


def test(only_tls=False):
    def add(function):
        TESTS.append((function, only_tls))
        return function

    return add


class Http1:
    """A client of HTTP/1.1 that asks for a WebSocket."""

    def __init__(self, under_test, path, *lines):
        self.socket = socket.create_connection(("127.0.0.1", under_test.ports["h2c"]), 10)
        self.file = self.socket.makefile("rb")
        head = [b"GET " + path + b" HTTP/1.1", b"Host: localhost", b"Upgrade: websocket", b"Connection: Upgrade",
                b"Sec-WebSocket-Key: " + KEY, b"Sec-WebSocket-Version: 13", *lines]
        self.socket.sendall(b"\r\n".join(head) + b"\r\n\r\n")
        self.status = int(self.file.readline().split(b" ")[1])
        self.fields = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            self.fields[name.lower()] = value.strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def read(self, count):
        return self.file.read(count)

    def echoes(self, text=b"hello"):
        self.socket.sendall(websocket.frame(text, masked=True))
        expected = websocket.frame(text)
        same("the echo", self.read(len(expected)), expected)


@test()
def the_backend_is_asked_by_an_extended_connect_without_a_key(c, backend):
    number, stream = c.tunnel("/echo?q=1", fields=[("origin", "https://localhost")])
    head = backend.heads[-1]
    same("what it asks", [head.get(name) for name in (":method", ":protocol", ":path", ":authority", "origin")],
         ["CONNECT", "websocket", "/echo?q=1", "localhost", "https://localhost"])
    same("its version", head.get("sec-websocket-version"), "13")
    same("fields of h1", {"sec-websocket-key", "upgrade", "connection"} & head.keys(), set())
    echoes(c, number, stream)


@test(only_tls=True)
def an_h1_client_gets_a_101_with_the_accept_of_its_key(c, backend):
    with Http1(c.proxy, b"/chat", b"Sec-WebSocket-Protocol: chat, other") as client:
        same("the status", client.status, 101)
        same("its fields", (client.fields.get(b"sec-websocket-accept"), client.fields.get(b"sec-websocket-protocol")),
             (websocket.accept_for(KEY), b"chat"))
        same("the key at the backend", backend.heads[-1].get("sec-websocket-key"), None)
        client.echoes()


@test()
def any_2xx_opens(c, backend):
    number = c.websocket("/created")
    stream = c.answer(number)
    holds(stream.status // 100 == 2, f"{stream.status}")
    echoes(c, number, stream)


@test()
def a_refusal_passes_with_its_body_to_clients_of_either_version(c, backend):
    stream = c.whole(c.websocket("/refused"))
    same("over h2", (stream.status, bytes(stream.data), stream.fields.get("x-why")), (403, b"no entry", "because"))
    with Http1(c.proxy, b"/refused") as client:
        same("over h1", (client.status, client.fields.get(b"x-why")), (403, b"because"))
    echoes(c, *c.tunnel("/echo"))


@test()
def the_clients_end_stream_arrives_and_the_backend_may_go_on(c, backend):
    backend.ends.pop("/echo", None)
    number, stream = c.tunnel("/echo")
    echoes(c, number, stream)
    c.send(number, b"", end=True)
    c.until(lambda: stream.over, "the end of the stream")
    same("how the backend saw it end", backend.ends.get("/echo"), "fin")
    holds(websocket.frame(b"after your end") in stream.data, f"what the backend said then is missing: {stream.data!r}")
    same("a reset", stream.reset, None)


@test()
def the_backends_end_stream_arrives(c, backend):
    number, stream = c.tunnel("/leaves")
    c.send(number, websocket.frame(b"go", masked=True))
    c.until(lambda: stream.over, "the end of the stream")
    last = websocket.frame(b"last words")
    same("the last words", bytes(stream.data[:len(last)]), last)
    same("a reset", stream.reset, None)


@test()
def a_reset_by_the_client_is_cancel_at_the_backend(c, backend):
    backend.ends.pop("/echo", None)
    number, stream = c.tunnel("/echo")
    echoes(c, number, stream)
    c.reset(number)
    wait_until(lambda: "/echo" in backend.ends, "the backend is told")
    same("how the backend saw it end", backend.ends["/echo"], f"reset {wire.CANCEL}")
    echoes(c, *c.tunnel("/echo"))


@test()
def a_reset_by_the_backend_is_an_unclean_end_at_the_client(c, backend):
    number, stream = c.tunnel("/reset")
    c.send(number, websocket.frame(b"go", masked=True))
    c.until(lambda: stream.over, "the end of the stream")
    injected = bytes(stream.data) == websocket.frame(struct.pack(">H", 1011), websocket.CLOSE)
    holds(stream.reset is not None or injected, f"a clean end after {bytes(stream.data)!r}")
    echoes(c, *c.tunnel("/echo"))


@test()
def a_stream_that_is_not_read_holds_its_messages_loses_none_and_stops_no_other(c, backend):
    number = c.websocket("/pour")
    stream = c.streams[number]
    stream.stalled = True
    c.until(lambda: len(stream.data) == 65535, "a window full")
    echoes(c, *c.tunnel("/echo"))
    stream.stalled = False
    c.give(number, len(stream.data))
    c.flush()
    expected = b"".join(websocket.frame(websocket.POUR[at:at + 4096], 2) for at in range(0, len(websocket.POUR), 4096))
    c.until(lambda: len(stream.data) >= len(expected) or stream.over, "all messages")
    same("all of it", hashlib.sha256(stream.data).digest(), hashlib.sha256(expected).digest())


@test()
def after_the_backends_goaway_its_socket_goes_on_and_the_next_has_another_connection(c, backend):
    before = backend.connections
    number, stream = c.tunnel("/goes")
    echoes(c, number, stream)
    echoes(c, *c.tunnel("/echo"))
    holds(backend.connections > before, "no other connection was made")
    echoes(c, number, stream)


@test()
def a_backend_without_the_setting_is_asked_over_h1_beside(c, backend):
    backend.extended = False
    try:
        with Http1(c.proxy, b"/goes") as client:  # its GOAWAY, or its lack of one, ends what was known of the backend
            same("the status", client.status, 101)
            client.echoes()
        before = len(backend.seen)
        echoes(c, *c.tunnel("/echo"))
        same("offers over h1", len(backend.seen) - before, 1)
    finally:
        backend.extended = True


def main():
    return run_all(TESTS, h2backend.Backend, 'timeouts.grace = "1s"\n')


if __name__ == "__main__":
    sys.exit(main())
