#!/usr/bin/env python3
"""The WebSocket echo server that Autobahn judges, directly and behind spliceway. usage: backend.py PORT

The rules are those of PyPI's `websockets`; what is ours is *when* a frame is judged: each by itself, and a message is
echoed before the frame behind it is looked at. The library's own server judges all frames of one read first. There a
Close for the second frame goes out before the echo of the first where the two were read together, and after it
where they were not: its verdict hangs on how the kernel cut the stream, which is no proxy's to keep.
"""
import asyncio
import codecs
import sys

from websockets.extensions.permessage_deflate import enable_server_permessage_deflate
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol


class Echo(ServerProtocol):
    def __init__(self):
        super().__init__(extensions=enable_server_permessage_deflate(None), max_size=None)
        self.kind, self.parts, self.decode = None, [], None

    def recv_frame(self, frame):
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # the library takes a Close between two fragments for an error; RFC 6455 5.4 does not
        super().recv_frame(frame)
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self.kind = frame.opcode
            self.decode = codecs.getincrementaldecoder("utf-8")().decode if frame.opcode is Opcode.TEXT else None
        elif frame.opcode is not Opcode.CONT:
            return
        if self.decode:
            self.decode(frame.data, frame.fin)  # its error becomes a Close 1007
        self.parts.append(frame.data)
        if frame.fin:
            message, self.parts = b"".join(self.parts), []
            if self.state is State.OPEN:
                (self.send_text if self.kind is Opcode.TEXT else self.send_binary)(message)


class Connection(asyncio.Protocol):
    """Carries octets; a client that does not read is not read from."""

    def connection_made(self, transport):
        self.transport, self.echo = transport, Echo()

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()

    def data_received(self, data):
        self.echo.receive_data(data)
        self.flush()

    def eof_received(self):
        self.echo.receive_eof()
        self.flush()

    def flush(self):
        for event in self.echo.events_received():
            if isinstance(event, Request):
                self.echo.send_response(self.echo.accept(event))
        for data in self.echo.data_to_send():
            if self.transport.is_closing():
                return
            if data:
                self.transport.write(data)
            elif self.transport.can_write_eof():
                self.transport.write_eof()


async def main(port):
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
