"""WebSockets over HTTP/2 through the real binary, as RFC 8441 and the law of this project have them: over TLS and
with prior knowledge, before a backend of HTTP/1.1.

usage: rfc8441.py [NAME...]   the tests whose names hold one of these; PEER=haproxy asks HAProxy instead."""

import hashlib
import struct
import sys

import hyperframe.frame
from h2.settings import SettingCodes

import websocket
import wire
from harness import echoes, holds, run_all, same, wait_until

TESTS = []
#: What `h2_streams` is set to: room for the 500 sockets.
STREAMS = 600
SOCKETS = 500
#: What one idle socket may cost the proxy, both of its connections and tasks, and what the stalled ones may hold.
EACH_SOCKET, STALLED = 16 << 10, 2 << 20


def test(only_tls=False):
    def add(function):
        TESTS.append((function, only_tls))
        return function

    return add


# --- opening ---


@test()
def the_setting_is_advertised(c, backend):
    same("SETTINGS_ENABLE_CONNECT_PROTOCOL", c.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL), 1)


@test()
def a_websocket_reaches_an_h1_backend_and_messages_go_both_ways(c, backend):
    number, stream = c.tunnel("/echo?q=1", fields=[("origin", "https://localhost"), ("cookie", "a=1"), ("cookie", "b=2")])
    echoes(c, number, stream)
    first, seen = backend.seen[-1]
    same("the request line", first, b"GET /echo?q=1 HTTP/1.1")
    same("its upgrade", (seen[b"upgrade"].lower(), seen[b"connection"].lower()), (b"websocket", b"upgrade"))
    same("its version, key and cookies", (seen[b"sec-websocket-version"], len(seen[b"sec-websocket-key"]), seen[b"cookie"]),
         (b"13", 24, b"a=1; b=2"))
    odd = {"sec-websocket-accept", "upgrade", "connection", "content-length", "transfer-encoding"} & stream.fields.keys()
    same("fields of h1 in the answer", odd, set())


@test()
def subprotocol_and_extensions_pass_as_they_are(c, backend):
    offer = "permessage-deflate;  client_max_window_bits"
    fields = [("sec-websocket-protocol", "chat, other"), ("sec-websocket-extensions", offer)]
    _, stream = c.tunnel("/chat", fields=fields)
    same("the offer", backend.seen[-1][1][b"sec-websocket-extensions"], offer.encode())
    same("what was chosen", (stream.fields.get("sec-websocket-protocol"), stream.fields.get("sec-websocket-extensions")),
         ("chat", "permessage-deflate;  server_max_window_bits=10"))


@test()
def messages_before_the_answer_are_kept_in_order(c, backend):
    number = c.websocket("/echo")
    words = [b"one", b"two", b"three"]
    c.send(number, b"".join(websocket.frame(word, masked=True) for word in words))
    stream = c.answer(number)
    expected = b"".join(map(websocket.frame, words))
    c.until(lambda: len(stream.data) >= len(expected) or stream.over, "three echoes")
    same("the echoes", bytes(stream.data), expected)


# --- refusals ---


@test()
def a_refusal_passes_with_its_body_and_the_connection_goes_on(c, backend):
    stream = c.whole(c.websocket("/refused"))
    same("the refusal", (stream.status, bytes(stream.data), stream.fields.get("x-why")), (403, b"no entry", "because"))
    echoes(c, *c.tunnel("/echo"))


@test()
def a_200_in_place_of_a_101_is_502(c, backend):
    same("the status", c.whole(c.websocket("/fine")).status, 502)
    echoes(c, *c.tunnel("/echo"))


@test()
def a_redirection_and_a_426_pass(c, backend):
    stream = c.whole(c.websocket("/moved"))
    same("the redirection", (stream.status, stream.fields.get("location")), (302, "/elsewhere"))
    stream = c.whole(c.websocket("/old"))
    same("the 426", (stream.status, {"upgrade", "connection"} & stream.fields.keys()), (426, set()))


@test()
def a_101_with_the_wrong_accept_is_502(c, backend):
    same("the status", c.whole(c.websocket("/wrong")).status, 502)


@test()
def an_unknown_protocol_is_501_and_no_backend_is_touched(c, backend):
    before = len(backend.seen)
    same("the status", c.whole(c.websocket("/echo", protocol="connect-udp")).status, 501)
    same("requests at the backend", len(backend.seen) - before, 0)


@test()
def connect_without_a_protocol_is_405(c, backend):
    same("the status", c.whole(c.open([(":method", "CONNECT"), (":authority", "localhost:443")])).status, 405)


@test()
def another_version_is_refused_and_no_backend_is_touched(c, backend):
    before = len(backend.seen)
    for version in ("8", ""):
        status = c.whole(c.websocket("/echo", version=version)).status
        holds(status in (400, 426), f"{status} for version {version!r}")
    same("requests at the backend", len(backend.seen) - before, 0)


# --- ends ---


@test()
def the_clients_end_stream_is_a_fin_and_the_backend_may_go_on(c, backend):
    backend.ends.pop("/echo", None)
    number, stream = c.tunnel("/echo")
    echoes(c, number, stream)
    c.send(number, b"", end=True)
    c.until(lambda: stream.over, "the end of the stream")
    same("how the backend saw it end", backend.ends.get("/echo"), "fin")
    holds(websocket.frame(b"after your end") in stream.data, f"what the backend said then is missing: {stream.data!r}")
    same("a reset", stream.reset, None)


@test()
def the_backends_close_frame_and_fin_arrive_and_no_reset(c, backend):
    number, stream = c.tunnel("/closes")
    c.send(number, websocket.frame(b"go", masked=True))
    close = struct.pack(">H", 4001) + b"enough"
    c.until(lambda: len(stream.data) >= 2 + len(close), "a Close frame")
    same("the Close frame", bytes(stream.data), websocket.frame(close, websocket.CLOSE))
    c.send(number, websocket.frame(close, websocket.CLOSE, masked=True), end=True)
    c.until(lambda: stream.over, "END_STREAM")
    same("a reset", stream.reset, None)


@test()
def a_backend_that_leaves_without_a_close_frame_ends_the_stream(c, backend):
    number, stream = c.tunnel("/leaves")
    c.send(number, websocket.frame(b"go", masked=True))
    c.until(lambda: stream.over, "the end of the stream")
    last = websocket.frame(b"last words")
    same("the last words", bytes(stream.data[:len(last)]), last)
    close = bytes(stream.data[len(last):])
    holds(close in (b"", websocket.frame(struct.pack(">H", 1012), websocket.CLOSE)) or close.startswith(b"\x88"), f"then {close!r}")
    same("a reset", stream.reset, None)


@test()
def a_reset_by_the_client_is_a_reset_at_the_backend(c, backend):
    backend.ends.pop("/echo", None)
    number, stream = c.tunnel("/echo")
    echoes(c, number, stream)
    c.reset(number)
    wait_until(lambda: "/echo" in backend.ends, "the backend is told")
    same("how the backend saw it end", backend.ends["/echo"], "reset")
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
def after_the_clients_goaway_its_sockets_go_on(c, backend):
    number, stream = c.tunnel("/echo")
    c.socket.sendall(hyperframe.frame.GoAwayFrame(0, last_stream_id=0, error_code=0).serialize())
    for _ in range(3):
        echoes(c, number, stream)
    c.send(number, websocket.frame(struct.pack(">H", 1000), websocket.CLOSE, masked=True), end=True)
    c.until(lambda: stream.over, "the end of the stream")
    wait_until(lambda: c.closed or (c.step(0.1) and False), "the end of the connection")


# --- flow ---


@test()
def a_stream_that_is_not_read_holds_its_messages_and_loses_none(c, backend):
    number = c.websocket("/pour")
    stream = c.streams[number]
    stream.stalled = True
    c.until(lambda: len(stream.data) == 65535, "a window full")
    while c.step(0.3):
        pass
    same("what came beyond the window", len(stream.data), 65535)
    echoes(c, *c.tunnel("/echo"))
    stream.stalled = False
    c.give(number, len(stream.data))
    c.flush()
    expected = b"".join(websocket.frame(websocket.POUR[at:at + 4096], 2) for at in range(0, len(websocket.POUR), 4096))
    c.until(lambda: len(stream.data) >= len(expected) or stream.over, "all messages")
    same("all of it", hashlib.sha256(stream.data).digest(), hashlib.sha256(expected).digest())


@test()
def a_backend_that_does_not_read_holds_its_stream_and_no_other(c, backend):
    number, _ = c.tunnel("/stall")
    c.limit = 2
    left = c.send(number, websocket.frame(bytes(32 << 20), 2, masked=True))
    c.limit = 10
    holds(left > 16 << 20, f"{left} bytes were not taken: who holds the others?")
    for _ in range(5):
        echoes(c, *c.tunnel("/echo"))


@test()
def small_messages_to_a_backend_that_does_not_read_end_neither_it_nor_its_neighbours(c, backend):
    number, stream = c.tunnel("/stall")
    neighbour = c.tunnel("/echo")
    part = websocket.frame(bytes(4096), 2, masked=True)
    while (room := c.h2.local_flow_control_window(number)) > 28 << 10:
        c.send(number, part)
        while c.h2.local_flow_control_window(number) < 32 << 10 and c.step(0.5):
            pass
    # Nobody reads any more. The rest of the window in the smallest messages, each a DATA frame that is to be kept.
    for _ in range(room // 8):
        c.h2.send_data(number, websocket.frame(b"xx", masked=True))
    c.flush()
    for _ in range(3):
        echoes(c, *neighbour)
    same("the stalled one's reset, the connection's GOAWAY", (stream.reset, c.goaway), (None, None))


@test()
def ten_thousand_messages_of_a_byte_with_two_window_updates_for_each_frame_are_no_flood(c, backend):
    number, stream = c.tunnel("/echo")
    stream.eager = True
    one, echo = websocket.frame(b"x", masked=True), websocket.frame(b"x")
    for _ in range(100):
        for _ in range(100):
            c.h2.send_data(number, one)
        before = len(stream.data)
        c.flush()
        c.until(lambda: len(stream.data) >= before + 100 * len(echo) or stream.over or c.goaway, "a hundred echoes")
    same("the echoes", bytes(stream.data), echo * 10_000)


@test(only_tls=True)
def five_hundred_sockets_share_a_connection_and_one_stalls(c, backend):
    under_test = c.proxy
    echoes(c, *c.tunnel("/echo"))
    idle = under_test.memory()
    sockets = [c.tunnel("/echo") for _ in range(SOCKETS)]
    stalled = c.websocket("/pour")
    c.streams[stalled].stalled = True
    c.until(lambda: len(c.streams[stalled].data) == 65535, "a window full")
    for turn in range(3):
        for number, _ in sockets:
            c.send(number, websocket.frame(b"turn %d" % turn, masked=True))
        expected = b"".join(websocket.frame(b"turn %d" % n) for n in range(turn + 1))
        c.until(lambda: all(len(stream.data) >= len(expected) for _, stream in sockets), f"all echoes of turn {turn}")
        holds(all(bytes(stream.data) == expected for _, stream in sockets), "an echo is another's")
    grown = under_test.memory() - idle
    print(f"     {SOCKETS} sockets and a stalled one: {grown >> 10} KiB, {grown // SOCKETS} bytes for each")
    holds(grown < SOCKETS * EACH_SOCKET + STALLED, f"the proxy has grown by {grown} bytes")


# --- the end of the proxy, last ---


@test()
def at_a_shutdown_the_client_is_told_and_its_socket_ends(c, backend):
    raw = wire.Connection(c.target).shake()  # the library knows no life after a GOAWAY
    fields = dict(raw.target.fields()) | {":method": "CONNECT", ":path": "/echo"}
    head = [(":protocol", "websocket"), *fields.items(), ("sec-websocket-version", "13")]
    raw.headers(1, raw.encode(head), end=False).data(1, websocket.frame(b"hello", masked=True), end=False)
    raw.until(lambda event: event.kind == wire.DATA and event.payload == websocket.frame(b"hello"), "an echo")
    c.proxy.process.terminate()
    goaway = raw.until(lambda event: event.kind == wire.GOAWAY, "GOAWAY")
    same("its reason", goaway.code, wire.NO_ERROR)
    ends = {wire.RST_STREAM, wire.CLOSED}
    raw.until(lambda event: event.stream == 1 and event.ends or event.kind in ends, "the end of the stream")
    raw.close()
    c.socket.close()
    same("the exit status", c.proxy.process.wait(10), 0)


def main():
    settings = f"timeouts.grace = \"2s\"\n[limits]\nh2_streams = {STREAMS}\n"
    return run_all(TESTS, lambda: websocket.Backend(), settings)


if __name__ == "__main__":
    sys.exit(main())
