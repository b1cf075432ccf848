"""A server of WebSockets behind the proxy over HTTP/2 (RFC 8441), on the `h2` library; over HTTP/1.1 too, on the same
port, for who does not begin with HTTP/2's preface."""

import h2.config
import h2.connection
import h2.events
import h2.settings

import websocket
import wire

CONNECT_PROTOCOL = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL


class Backend(websocket.Backend):
    """`heads` gathers the head of each stream, `ends` how each tunnel ended, by path: `fin` or `reset CODE`;
    `connections` counts those of HTTP/2."""

    def __init__(self, extended=True):
        self.extended, self.heads, self.connections = extended, [], 0
        super().__init__()
        self.url = self.url.replace("http:", "h2c:")

    async def serve(self, reader, writer, begun=b""):
        begun = await reader.read(3)
        if begun != wire.PREFACE[:3]:
            return await super().serve(reader, writer, begun)
        self.connections += 1
        await Connection(self, reader, writer).serve(begun)


class Connection:
    def __init__(self, backend, reader, writer):
        self.backend, self.reader, self.writer = backend, reader, writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        if backend.extended:
            self.h2.local_settings = h2.settings.Settings(client=False, initial_values={CONNECT_PROTOCOL: 1,
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1000})
        #: By stream: its path, what came and is no whole frame yet, what waits for a window, whether an end follows.
        self.paths, self.came, self.waits, self.ending = {}, {}, {}, set()

    async def serve(self, begun):
        self.h2.initiate_connection()
        try:
            while True:
                self.writer.write(self.h2.data_to_send())
                await self.writer.drain()
                data = begun or await self.reader.read(1 << 16)
                begun = b""
                if not data:
                    return
                for event in self.h2.receive_data(data):
                    self.take(event)
        except ConnectionError:
            pass
        finally:
            self.writer.close()

    def take(self, event):
        number = getattr(event, "stream_id", None)
        if isinstance(event, h2.events.RequestReceived):
            self.begin(number, dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            self.h2.acknowledge_received_data(event.flow_controlled_length, number)
            self.came.setdefault(number, bytearray()).extend(event.data)
            while number in self.paths and (message := websocket.take_frame(self.came[number])):
                self.message(number, *message)
        elif isinstance(event, h2.events.StreamEnded) and number in self.paths:
            path = self.paths.pop(number)
            self.backend.ends[path] = "fin"
            if path == "/echo":
                self.send(number, websocket.frame(b"after your end"), end=True)
        elif isinstance(event, h2.events.StreamReset):
            self.backend.ends[self.paths.pop(number, None)] = f"reset {int(event.error_code)}"
            self.waits.pop(number, None)
        elif isinstance(event, h2.events.WindowUpdated):
            for number in [number] if number else list(self.waits):
                self.flow(number)

    def begin(self, number, head):
        self.backend.heads.append(head)
        path = head.get(":path")
        if path == "/refused":
            self.h2.send_headers(number, [(":status", "403"), ("x-why", "because")])
            self.send(number, b"no entry", end=True)
        elif ":protocol" not in head:
            self.h2.send_headers(number, [(":status", "200")])
            self.send(number, b"fine", end=True)
        else:
            fields = [("sec-websocket-protocol", "chat")] if path == "/chat" else []
            self.h2.send_headers(number, [(":status", "201" if path == "/created" else "200"), *fields])
            self.paths[number] = path
            if path == "/pour":
                parts = range(0, len(websocket.POUR), 4096)
                self.send(number, b"".join(websocket.frame(websocket.POUR[at:at + 4096], 2) for at in parts))

    def message(self, number, opcode, payload):
        path = self.paths[number]
        if path == "/reset":
            self.h2.reset_stream(number, wire.INTERNAL_ERROR)
            del self.paths[number]
        elif path == "/leaves":
            self.send(number, websocket.frame(b"last words"), end=True)
        else:
            if path == "/goes":
                self.writer.write(self.h2.data_to_send())
                goaway = (0).to_bytes(4, "big")
                self.writer.write(b"\0\0\x08" + bytes([wire.GOAWAY, 0]) + bytes(4) + number.to_bytes(4, "big") + goaway)
            self.send(number, websocket.frame(payload, opcode))

    def send(self, number, data, end=False):
        self.waits.setdefault(number, bytearray()).extend(data)
        if end:
            self.ending.add(number)
        self.flow(number)

    def flow(self, number):
        waits = self.waits.get(number)
        while waits:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size, len(waits))
            if room <= 0:
                return
            self.h2.send_data(number, bytes(waits[:room]))
            del waits[:room]
        if waits is not None and number in self.ending:
            self.ending.discard(number)
            self.h2.end_stream(number)
            del self.waits[number]
