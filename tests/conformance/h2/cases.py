"""h2spec's cases, by its numbers and names (version 2.6): what each sends, and what must come of it.

Written anew from RFC 9113 and 7541 and from h2spec's public list. As there, a connection that just closes is taken
for a connection error, and a GOAWAY with the right code for a stream error."""

from wire import *

CASES = []


class Case:
    def __init__(self, group, section, number, name, run, strict, shaken):
        self.id = f"{group}/{section}/{number}"
        self.name, self.run, self.strict, self.shaken = name, run, strict, shaken


def case(section, name, act, want, strict=False, shaken=True):
    """`act` sends on a connection (after the handshake, where `shaken`), `want` looks at what comes."""
    group, _, section = section.partition("/")
    number = 1 + sum(1 for other in CASES if other.id.startswith(f"{group}/{section}/"))
    CASES.append(Case(group, section, number, name, lambda c: want(act(c) or c), strict, shaken))


# --- what must come of it ---


def closes(c):
    c.until(lambda event: event.kind == CLOSED, "the connection's end")


def connection_error(*codes):
    def goes(event):
        return event.kind == CLOSED or event.kind == GOAWAY and event.code in codes

    return lambda c: c.until(goes, f"GOAWAY with {codes} or the connection's end")


def stream_error(*codes):
    def goes(event):
        return event.kind == CLOSED or event.kind in (GOAWAY, RST_STREAM) and event.code in codes

    return lambda c: c.until(goes, f"RST_STREAM or GOAWAY with {codes} or the connection's end")


def frame(kind, **parts):
    def is_it(event):
        return event.kind == kind and all(getattr(event, name) == value for name, value in parts.items())

    return lambda c: c.until(is_it, f"{KINDS[kind]} {parts or ''}")


def pong(payload=bytes(8)):
    return lambda c: c.until(lambda event: event.kind == PING and event.flags & 1 and event.payload == payload, "PING ACK")


def pong_or_end(c):
    c.until(lambda event: event.kind in (PING, CLOSED), "PING ACK or the connection's end")


def acknowledges(c):
    c.until(lambda event: event.kind == SETTINGS and event.flags & 1, "SETTINGS ACK")


def one_byte(c):
    """The first DATA is one byte: what the window allows."""
    event = c.until(lambda event: event.kind == DATA, "DATA")
    if len(event.payload) != 1:
        raise Failed(f"expected DATA of 1 byte, came {event}")


answers = frame(HEADERS, stream=1)


# --- generic ---


def settings_come_first(c):
    event = c.event()
    if event.kind != SETTINGS or event.flags & 1:
        raise Failed(f"expected SETTINGS first, came {event}")


def hello(c):
    c.raw(PREFACE).set((INITIAL_WINDOW_SIZE, WINDOW))


case("generic/1", "Sends a client connection preface", hello, settings_come_first, shaken=False)

case("generic/2", "Sends a PRIORITY frame on idle stream", lambda c: c.priority(1).ping(), pong())
case("generic/2", "Sends a WINDOW_UPDATE frame on half-closed (remote) stream",
     lambda c: c.set((INITIAL_WINDOW_SIZE, 0)).headers(1).window(1, 1), frame(DATA))
case("generic/2", "Sends a PRIORITY frame on half-closed (remote) stream",
     lambda c: c.set((INITIAL_WINDOW_SIZE, 0)).headers(1).priority(1).window(1, 1), frame(DATA))
case("generic/2", "Sends a RST_STREAM frame on half-closed (remote) stream",
     lambda c: c.headers(1).reset(1).ping(), pong_or_end)
case("generic/2", "Sends a PRIORITY frame on closed stream",
     lambda c: c.headers(1).answered().priority(1).ping(), pong())

case("generic/3.1", "Sends a DATA frame", lambda c: c.post(1).data(1), answers)
case("generic/3.1", "Sends multiple DATA frames", lambda c: c.post(1).data(1, end=False).data(1), answers)
case("generic/3.1", "Sends a DATA frame with padding", lambda c: c.post(1).data(1, pad=bytes(6)), answers)

case("generic/3.2", "Sends a HEADERS frame", lambda c: c.headers(1), answers)
case("generic/3.2", "Sends a HEADERS frame with padding", lambda c: c.headers(1, pad=8), answers)
case("generic/3.2", "Sends a HEADERS frame with priority", lambda c: c.headers(1, priority=dependency(0, 255)), answers)

case("generic/3.3", "Sends a PRIORITY frame with priority 1", lambda c: c.priority(1, weight=0).headers(1), answers)
case("generic/3.3", "Sends a PRIORITY frame with priority 256", lambda c: c.priority(1).headers(1), answers)
case("generic/3.3", "Sends a PRIORITY frame with stream dependency",
     lambda c: c.priority(3, on=1, weight=0).headers(1), answers)
case("generic/3.3", "Sends a PRIORITY frame with exclusive",
     lambda c: c.priority(1, weight=0, exclusive=True).headers(1), answers)
case("generic/3.3", "Sends a PRIORITY frame for an idle stream, then send a HEADER frame for a lower stream ID",
     lambda c: c.priority(3).headers(1), answers)

case("generic/3.4", "Sends a RST_STREAM frame", lambda c: c.headers(1, end=False).reset(1).ping(), pong_or_end)

case("generic/3.5", "Sends a SETTINGS frame",
     lambda c: c.set((HEADER_TABLE_SIZE, 4096), (ENABLE_PUSH, 1), (MAX_CONCURRENT_STREAMS, 100),
                     (INITIAL_WINDOW_SIZE, 65535), (MAX_FRAME_SIZE, 16384), (MAX_HEADER_LIST_SIZE, 100)), acknowledges)

case("generic/3.7", "Sends a PING frame", lambda c: c.ping(b"h2spec\0\0"), pong(b"h2spec\0\0"))
case("generic/3.8", "Sends a GOAWAY frame", lambda c: c.goaway(debug=b"h2spec"), closes)

case("generic/3.9", "Sends a WINDOW_UPDATE frame with stream ID 0", lambda c: c.window(0, 1).ping(), pong())
case("generic/3.9", "Sends a WINDOW_UPDATE frame with stream ID 1", lambda c: c.headers(1).window(1, 1), answers)


def in_pieces(*cuts):
    def act(c):
        block = c.block()
        pieces = [block[a:b] for a, b in zip((0, *cuts), (*cuts, len(block)))]
        c.headers(1, pieces[0], whole=False)
        for n, piece in enumerate(pieces[1:]):
            c.continuation(1, piece, whole=n == len(pieces) - 2)

    return act


case("generic/3.10", "Sends a CONTINUATION frame", in_pieces(5), answers)
case("generic/3.10", "Sends multiple CONTINUATION frames", in_pieces(5, 10), answers)

case("generic/4", "Sends a GET request", lambda c: c.headers(1), answers)
case("generic/4", "Sends a HEAD request", lambda c: c.headers(1, c.block("HEAD")), answers)
case("generic/4", "Sends a POST request", lambda c: c.post(1).data(1), answers)
case("generic/4", "Sends a POST request with trailers",
     lambda c: c.post(1, more=[("trailer", "x-test")]).data(1, end=False).headers(1, c.encode([("x-test", "ok")])), answers)


def behind(tail):
    return lambda c: c.headers(1, c.block() + tail)


def before(head):
    return lambda c: c.headers(1, head + c.block())


def literal(first, name, value, coded):
    """A literal field with a new name; `first` tells how it is indexed."""
    def string(text):
        coded_text = hpack.huffman.HuffmanEncoder(
            hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH).encode(text)
        return bytes([0x80 | len(coded_text)]) + coded_text if coded else bytes([len(text)]) + text

    return bytes([first]) + string(name) + string(value)


case("generic/5", "Sends a indexed header field representation", behind(b"\xba"), answers)
for first, kind in ((0x40, "with incremental indexing"), (0, "without indexing"), (0x10, "never indexed")):
    for name, is_name in ((b"user-agent", "indexed name"), (b"x-test", "new name")):
        for coded in (False, True):
            huffman = " (with Huffman coding)" if coded else ""
            case("generic/5", f"Sends a literal header field {kind} - {is_name}{huffman}",
                 behind(literal(first, name, b"h2spec", coded)), answers)
case("generic/5", "Sends a dynamic table size update", before(b"\x20"), answers)
case("generic/5", "Sends multiple dynamic table size update", before(b"\x20\x3f\xe1\x1f"), answers)

# --- http2 ---

case("http2/3.5", "Sends client connection preface", hello, frame(SETTINGS, flags=0), shaken=False)
case("http2/3.5", "Sends invalid connection preface",
     lambda c: c.raw(b"INVALID CONNECTION PREFACE\r\n\r\n"), closes, shaken=False)

case("http2/4.1", "Sends a frame with unknown type", lambda c: c.frame(0x16, 0, 0, bytes(8)).ping(), pong())
case("http2/4.1", "Sends a frame with undefined flag", lambda c: c.frame(PING, 0x16, 0, bytes(8)), pong())
case("http2/4.1", "Sends a frame with reserved field bit", lambda c: c.frame(PING, 0x16, 0x80000000, bytes(8)), pong())


def largest(c):
    return c.settings.get(MAX_FRAME_SIZE, 16384)


case("http2/4.2", "Sends a DATA frame with 2^14 octets in length", lambda c: c.post(1).data(1, b"x" * largest(c)), frame(HEADERS))
case("http2/4.2", "Sends a large size DATA frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
     lambda c: c.post(1).data(1, b"x" * (largest(c) + 1)), stream_error(FRAME_SIZE_ERROR))
case("http2/4.2", "Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
     lambda c: c.headers(1, c.block() + c.dummy(5)), connection_error(FRAME_SIZE_ERROR))

case("http2/4.3", "Sends invalid header block fragment",
     lambda c: c.frame(HEADERS, 5, 1, b"\x40"), connection_error(COMPRESSION_ERROR))
case("http2/4.3", "Sends a PRIORITY frame while sending the header blocks",
     lambda c: c.headers(1, end=False, whole=False).priority(1).continuation(1), connection_error(PROTOCOL_ERROR))
case("http2/4.3", "Sends a HEADERS frame to another stream while sending the header blocks",
     lambda c: c.headers(1, end=False, whole=False).headers(3).continuation(1), connection_error(PROTOCOL_ERROR))

case("http2/5.1", "idle: Sends a DATA frame", lambda c: c.data(1), connection_error(PROTOCOL_ERROR))
case("http2/5.1", "idle: Sends a RST_STREAM frame", lambda c: c.reset(1), connection_error(PROTOCOL_ERROR))
case("http2/5.1", "idle: Sends a WINDOW_UPDATE frame", lambda c: c.window(1, 100), connection_error(PROTOCOL_ERROR))
case("http2/5.1", "idle: Sends a CONTINUATION frame",
     lambda c: c.continuation(1, c.block()), connection_error(PROTOCOL_ERROR))
case("http2/5.1", "half closed (remote): Sends a DATA frame", lambda c: c.headers(1).data(1), stream_error(STREAM_CLOSED))
case("http2/5.1", "half closed (remote): Sends a HEADERS frame",
     lambda c: c.headers(1).headers(1), stream_error(STREAM_CLOSED))
case("http2/5.1", "half closed (remote): Sends a CONTINUATION frame",
     lambda c: c.headers(1).continuation(1, c.block()), stream_error(STREAM_CLOSED, PROTOCOL_ERROR))
case("http2/5.1", "closed: Sends a DATA frame after sending RST_STREAM frame",
     lambda c: c.headers(1, end=False).reset(1).data(1), stream_error(STREAM_CLOSED))
case("http2/5.1", "closed: Sends a HEADERS frame after sending RST_STREAM frame",
     lambda c: c.headers(1, end=False).reset(1).headers(1), stream_error(STREAM_CLOSED))
case("http2/5.1", "closed: Sends a CONTINUATION frame after sending RST_STREAM frame",
     lambda c: c.headers(1, end=False).reset(1).continuation(1), stream_error(STREAM_CLOSED, PROTOCOL_ERROR))
case("http2/5.1", "closed: Sends a DATA frame", lambda c: c.headers(1).answered().data(1), stream_error(STREAM_CLOSED))
case("http2/5.1", "closed: Sends a HEADERS frame",
     lambda c: c.headers(1).answered().headers(1), connection_error(STREAM_CLOSED))
case("http2/5.1", "closed: Sends a CONTINUATION frame",
     lambda c: c.headers(1).answered().continuation(1), connection_error(STREAM_CLOSED, PROTOCOL_ERROR))

case("http2/5.1.1", "Sends even-numbered stream identifier", lambda c: c.headers(2), connection_error(PROTOCOL_ERROR))
case("http2/5.1.1", "Sends stream identifier that is numerically smaller than previous",
     lambda c: c.headers(5).headers(3), connection_error(PROTOCOL_ERROR))


def too_many(c):
    most = c.settings.get(MAX_CONCURRENT_STREAMS)
    if most is None:
        raise Failed("the server sets no limit of streams")
    c.set((INITIAL_WINDOW_SIZE, 0))
    block = c.block()
    for n in range(most + 1):
        c.headers(2 * n + 1, block)


case("http2/5.1.2", "Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded",
     too_many, stream_error(PROTOCOL_ERROR, REFUSED_STREAM))

case("http2/5.3.1", "Sends HEADERS frame that depends on itself",
     lambda c: c.headers(1, priority=dependency(1, 255)), stream_error(PROTOCOL_ERROR))
case("http2/5.3.1", "Sends PRIORITY frame that depend on itself", lambda c: c.priority(1, on=1), stream_error(PROTOCOL_ERROR))


def ping_of_a_stream(c):
    c.frame(PING, 0, 3, bytes(8))


case("http2/5.4.1", "Sends an invalid PING frame for connection close", ping_of_a_stream, closes)
case("http2/5.4.1", "Sends an invalid PING frame to receive GOAWAY frame", ping_of_a_stream, frame(GOAWAY), strict=True)

case("http2/5.5", "Sends an unknown extension frame", lambda c: c.frame(0x16, 0, 0, bytes(8)).ping(), pong())
case("http2/5.5", "Sends an unknown extension frame in the middle of a header block",
     lambda c: c.headers(1, whole=False).frame(0x16, 0, 0, bytes(8)), connection_error(PROTOCOL_ERROR))

case("http2/6.1", "Sends a DATA frame with 0x0 stream identifier", lambda c: c.data(0), connection_error(PROTOCOL_ERROR))
case("http2/6.1", 'Sends a DATA frame on the stream that is not in "open" or "half-closed (local)" state',
     lambda c: c.post(1, end=True).data(1), stream_error(STREAM_CLOSED))
case("http2/6.1", "Sends a DATA frame with invalid pad length",
     lambda c: c.post(1, more=[("content-length", "4")]).frame(DATA, 9, 1, b"\x06Test"), connection_error(PROTOCOL_ERROR))

case("http2/6.2", "Sends a HEADERS frame without the END_HEADERS flag, and a PRIORITY frame",
     lambda c: c.headers(1, end=False, whole=False).priority(1).continuation(1), connection_error(PROTOCOL_ERROR))
case("http2/6.2", "Sends a HEADERS frame to another stream while sending a HEADERS frame",
     lambda c: c.headers(1, end=False, whole=False).headers(3).continuation(1), connection_error(PROTOCOL_ERROR))
case("http2/6.2", "Sends a HEADERS frame with 0x0 stream identifier", lambda c: c.headers(0), connection_error(PROTOCOL_ERROR))


def padded_beyond(c):
    block = c.block()
    c.frame(HEADERS, 0xD, 1, bytes([len(block) + 2]) + block)


case("http2/6.2", "Sends a HEADERS frame with invalid pad length", padded_beyond, stream_error(PROTOCOL_ERROR))

case("http2/6.3", "Sends a PRIORITY frame with 0x0 stream identifier", lambda c: c.priority(0), connection_error(PROTOCOL_ERROR))
case("http2/6.3", "Sends a PRIORITY frame with a length other than 5 octets",
     lambda c: c.headers(1).frame(PRIORITY, 0, 1, b"\x80\x00\x00\x01"), stream_error(FRAME_SIZE_ERROR))

case("http2/6.4", "Sends a RST_STREAM frame with 0x0 stream identifier", lambda c: c.reset(0), connection_error(PROTOCOL_ERROR))
case("http2/6.4", "Sends a RST_STREAM frame on a idle stream", lambda c: c.reset(1), connection_error(PROTOCOL_ERROR))
case("http2/6.4", "Sends a RST_STREAM frame with a length other than 4 octets",
     lambda c: c.headers(1).frame(RST_STREAM, 0, 1, bytes(3)), stream_error(FRAME_SIZE_ERROR))

case("http2/6.5", "Sends a SETTINGS frame with ACK flag and payload",
     lambda c: c.frame(SETTINGS, 1, 0, b"\0"), connection_error(FRAME_SIZE_ERROR))
case("http2/6.5", "Sends a SETTINGS frame with a stream identifier other than 0x0",
     lambda c: c.frame(SETTINGS, 0, 1, b"\0\x03\0\0\0\x64"), connection_error(PROTOCOL_ERROR))
case("http2/6.5", "Sends a SETTINGS frame with a length other than a multiple of 6 octets",
     lambda c: c.frame(SETTINGS, 0, 0, b"\0\x03\0"), connection_error(FRAME_SIZE_ERROR))

case("http2/6.5.2", "SETTINGS_ENABLE_PUSH (0x2): Sends the value other than 0 or 1",
     lambda c: c.set((ENABLE_PUSH, 2)), connection_error(PROTOCOL_ERROR))
case("http2/6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE (0x4): Sends the value above the maximum flow control window size",
     lambda c: c.set((INITIAL_WINDOW_SIZE, 1 << 31)), connection_error(FLOW_CONTROL_ERROR))
case("http2/6.5.2", "SETTINGS_MAX_FRAME_SIZE (0x5): Sends the value below the initial value",
     lambda c: c.set((MAX_FRAME_SIZE, 16383)), connection_error(PROTOCOL_ERROR))
case("http2/6.5.2", "SETTINGS_MAX_FRAME_SIZE (0x5): Sends the value above the maximum allowed frame size",
     lambda c: c.set((MAX_FRAME_SIZE, 1 << 24)), connection_error(PROTOCOL_ERROR))
case("http2/6.5.2", "Sends a SETTINGS frame with unknown identifier", lambda c: c.set((0xFF, 1)).ping(), pong())

case("http2/6.5.3", "Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE",
     lambda c: (c.set((INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)), acknowledges(c), c.headers(1))[2], one_byte)
case("http2/6.5.3", "Sends a SETTINGS frame without ACK flag", lambda c: c.set((ENABLE_PUSH, 0)), acknowledges)

case("http2/6.7", "Sends a PING frame", lambda c: c.ping(b"h2spec\0\0"), pong(b"h2spec\0\0"))


def no_pong_of_a_pong(c):
    event = c.until(lambda event: event.kind == PING, "PING ACK")
    if event.payload != b"h2spec\0\0":
        raise Failed("a PING with ACK was answered")


case("http2/6.7", "Sends a PING frame with ACK", lambda c: c.ping(b"invalid\0", ack=True).ping(b"h2spec\0\0"), no_pong_of_a_pong)
case("http2/6.7", "Sends a PING frame with a stream identifier field value other than 0x0",
     lambda c: c.frame(PING, 0, 1, bytes(8)), connection_error(PROTOCOL_ERROR))
case("http2/6.7", "Sends a PING frame with a length field value other than 8",
     lambda c: c.frame(PING, 0, 0, bytes(6)), connection_error(FRAME_SIZE_ERROR))

case("http2/6.8", "Sends a GOAWAY frame with a stream identifier other than 0x0",
     lambda c: c.frame(GOAWAY, 0, 1, bytes(8)), connection_error(PROTOCOL_ERROR))

case("http2/6.9", "Sends a WINDOW_UPDATE frame with a flow control window increment of 0",
     lambda c: c.window(0, 0), connection_error(PROTOCOL_ERROR))
case("http2/6.9", "Sends a WINDOW_UPDATE frame with a flow control window increment of 0 on a stream",
     lambda c: c.headers(1, end=False).window(1, 0), stream_error(PROTOCOL_ERROR))
case("http2/6.9", "Sends a WINDOW_UPDATE frame with a length other than 4 octets",
     lambda c: c.frame(WINDOW_UPDATE, 0, 0, b"\0\0\x01"), connection_error(FRAME_SIZE_ERROR))


def sized(*sizes):
    """Sets the window a stream begins with, one size after the other, each acknowledged."""
    def act(c):
        for size in sizes:
            c.set((INITIAL_WINDOW_SIZE, size))
            acknowledges(c)
        return c

    return act


MOST = (1 << 31) - 1

case("http2/6.9.1", "Sends SETTINGS frame to set the initial window size to 1 and sends HEADERS frame",
     lambda c: sized(1)(c).headers(1), one_byte)
case("http2/6.9.1", "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1",
     lambda c: c.window(0, MOST).window(0, MOST), frame(GOAWAY, code=FLOW_CONTROL_ERROR))
case("http2/6.9.1", "Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream",
     lambda c: c.headers(1, end=False).window(1, MOST).window(1, MOST), frame(RST_STREAM, stream=1, code=FLOW_CONTROL_ERROR))

case("http2/6.9.2", "Changes SETTINGS_INITIAL_WINDOW_SIZE after sending HEADERS frame",
     lambda c: sized(1)(sized(0)(c).headers(1)), one_byte)


def below_zero(c):
    sized(3)(c).headers(1)
    frame(DATA)(c)
    sized(2)(c).window(1, 2)


case("http2/6.9.2", "Sends a SETTINGS frame for window size to be negative", below_zero, one_byte)
case("http2/6.9.2", "Sends a SETTINGS_INITIAL_WINDOW_SIZE settings with an exceeded maximum window size value",
     lambda c: c.set((INITIAL_WINDOW_SIZE, 1 << 31)), connection_error(FLOW_CONTROL_ERROR))

case("http2/6.10", "Sends multiple CONTINUATION frames preceded by a HEADERS frame",
     lambda c: c.headers(1, whole=False).continuation(1, whole=False).continuation(1), frame(HEADERS))
case("http2/6.10", "Sends a CONTINUATION frame followed by any frame other than CONTINUATION",
     lambda c: c.post(1, whole=False).continuation(1, whole=False).data(1), connection_error(PROTOCOL_ERROR))
case("http2/6.10", "Sends a CONTINUATION frame with 0x0 stream identifier",
     lambda c: c.headers(1, whole=False).continuation(0), connection_error(PROTOCOL_ERROR))
case("http2/6.10", "Sends a CONTINUATION frame preceded by a HEADERS frame with END_HEADERS flag",
     lambda c: c.headers(1).continuation(1), connection_error(PROTOCOL_ERROR))
case("http2/6.10", "Sends a CONTINUATION frame preceded by a CONTINUATION frame with END_HEADERS flag",
     lambda c: c.headers(1, whole=False).continuation(1).continuation(1), connection_error(PROTOCOL_ERROR))
case("http2/6.10", "Sends a CONTINUATION frame preceded by a DATA frame",
     lambda c: c.post(1, whole=False).data(1).continuation(1, whole=False).continuation(0), connection_error(PROTOCOL_ERROR))

case("http2/7", "Sends a GOAWAY frame with unknown error code", lambda c: c.goaway(0xFF), closes)
case("http2/7", "Sends a RST_STREAM frame with unknown error code", lambda c: c.post(1).reset(1, 0xFF).ping(), pong())

case("http2/8.1", "Sends a second HEADERS frame without the END_STREAM flag",
     lambda c: c.post(1).data(1, end=False).headers(1, c.encode([("x-test", "ok")]), end=False), stream_error(PROTOCOL_ERROR))


def malformed(section, name, change):
    """A GET whose fields `change` makes wrong."""
    def act(c):
        fields = c.target.fields()
        c.headers(1, c.encode(change(fields)))

    case(section, name, act, stream_error(PROTOCOL_ERROR))


def without(name):
    return lambda fields: [field for field in fields if field[0] != name]


def doubled(name):
    return lambda fields: fields + [field for field in fields if field[0] == name]


malformed("http2/8.1.2", "Sends a HEADERS frame that contains the header field name in uppercase letters",
          lambda fields: fields + [("X-TEST", "ok")])
malformed("http2/8.1.2.1", "Sends a HEADERS frame that contains a unknown pseudo-header field",
          lambda fields: fields + [(":test", "ok")])
malformed("http2/8.1.2.1", "Sends a HEADERS frame that contains the pseudo-header field defined for response",
          lambda fields: fields + [(":status", "200")])
case("http2/8.1.2.1", "Sends a HEADERS frame that contains a pseudo-header field as trailers",
     lambda c: c.post(1).data(1, end=False).headers(1, c.encode([(":method", "POST")]), end=False), stream_error(PROTOCOL_ERROR))
malformed("http2/8.1.2.1", "Sends a HEADERS frame that contains a pseudo-header field that appears in a header block after a"
          " regular header field", lambda fields: [("x-test", "ok")] + fields)
malformed("http2/8.1.2.2", "Sends a HEADERS frame that contains the connection-specific header field",
          lambda fields: fields + [("connection", "keep-alive")])
malformed("http2/8.1.2.2", 'Sends a HEADERS frame that contains the TE header field with any value other than "trailers"',
          lambda fields: fields + [("trailers", "test"), ("te", "trailers, deflate")])
malformed("http2/8.1.2.3", 'Sends a HEADERS frame with empty ":path" pseudo-header field',
          lambda fields: [(name, "" if name == ":path" else value) for name, value in fields])
for name in (":method", ":scheme", ":path"):
    malformed("http2/8.1.2.3", f'Sends a HEADERS frame that omits "{name}" pseudo-header field', without(name))
for name in (":method", ":scheme", ":path"):
    malformed("http2/8.1.2.3", f'Sends a HEADERS frame with duplicated "{name}" pseudo-header field', doubled(name))

case("http2/8.1.2.6", 'Sends a HEADERS frame with the "content-length" header field which does not equal the DATA frame'
     " payload length", lambda c: c.post(1, more=[("content-length", "1")]).data(1), stream_error(PROTOCOL_ERROR))
case("http2/8.1.2.6", 'Sends a HEADERS frame with the "content-length" header field which does not equal the sum of the'
     " multiple DATA frames payload length",
     lambda c: c.post(1, more=[("content-length", "1")]).data(1, end=False).data(1), stream_error(PROTOCOL_ERROR))

case("http2/8.2", "Sends a PUSH_PROMISE frame",
     lambda c: c.frame(PUSH_PROMISE, 4, 1, struct.pack(">I", 3) + c.block()), connection_error(PROTOCOL_ERROR))

# --- hpack ---

compression_error = connection_error(COMPRESSION_ERROR)

case("hpack/2.3.3", "Sends a indexed header field representation with invalid index", behind(b"\xc6"), compression_error)
case("hpack/2.3.3", "Sends a literal header field representation with invalid index", behind(b"\x7f\x07\x00"), compression_error)
case("hpack/4.2", "Sends a dynamic table size update at the end of header block", behind(b"\x21"), compression_error)
case("hpack/5.2", "Sends a Huffman-encoded string literal representation with padding longer than 7 bits",
     behind(b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"), compression_error)
case("hpack/5.2", "Sends a Huffman-encoded string literal representation padded by zero",
     behind(b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"), compression_error)
case("hpack/5.2", "Sends a Huffman-encoded string literal representation containing the EOS symbol",
     behind(b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\xff\xff\xff\xfd\x25\x42\x7f"), compression_error)
case("hpack/6.1", "Sends a indexed header field representation with index 0", behind(b"\x80"), compression_error)


def table_beyond(c):
    size = c.settings.get(HEADER_TABLE_SIZE, 4096) + 1
    update = bytearray(hpack.hpack.encode_integer(size, 5))
    update[0] |= 0x20
    c.headers(1, bytes(update) + c.block())


case("hpack/6.3", "Sends a dynamic table size update larger than the value of SETTINGS_HEADER_TABLE_SIZE",
     table_beyond, compression_error)
