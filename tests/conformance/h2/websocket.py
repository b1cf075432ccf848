"""WebSocket frames, and a server of them behind the proxy over HTTP/1.1: what it does is the path's to say."""

import asyncio
import base64
import hashlib
import socket
import struct
import threading

TEXT, CLOSE = 1, 8
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MASK = b"\x11\x22\x33\x44"


def accept_for(key):
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def frame(payload, opcode=TEXT, masked=False):
    bit = 0x80 if masked else 0
    size = len(payload)
    length = bytes([bit | size]) if size < 126 else bytes([bit | 126]) + struct.pack(">H", size) if size < 1 << 16 else \
        bytes([bit | 127]) + struct.pack(">Q", size)
    head = bytes([0x80 | opcode]) + length
    return head + MASK + unmasked(MASK, payload) if masked else head + payload


def unmasked(mask, payload):
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


async def read_frame(reader):
    """Opcode and payload; None at the end."""
    try:
        first, second = await reader.readexactly(2)
        size = second & 127
        if size > 125:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        mask = await reader.readexactly(4) if second & 128 else bytes(4)
        return first & 15, unmasked(mask, await reader.readexactly(size))
    except asyncio.IncompleteReadError:
        return None


def take_frame(buffer):
    """Takes a whole frame from the front of a bytearray: opcode and payload; None where there is none yet."""
    if len(buffer) < 2:
        return None
    size, at = buffer[1] & 127, 2
    if size > 125:
        at = 4 if size == 126 else 10
        size = int.from_bytes(buffer[2:at], "big")
    mask = bytes(buffer[at:at + 4]) if buffer[1] & 128 else bytes(4)
    at += 4 if buffer[1] & 128 else 0
    if len(buffer) < at + size:
        return None
    taken = buffer[0] & 15, unmasked(mask, bytes(buffer[at:at + size]))
    del buffer[:at + size]
    return taken


def answer(status, body=b"", *lines):
    head = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


POUR = bytes(range(256)) * 4096  # 1 MiB


class Backend:
    """`seen` gathers the head of each request, `ends` how each tunnel ended, by path: `fin`, `reset` or `close`."""

    def __init__(self):
        self.seen, self.ends, self.loop = [], {}, asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self.run, args=(ready,), daemon=True).start()
        ready.wait()

    def run(self, ready):
        async def start():
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
            self.url = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
            ready.set()
            await server.serve_forever()

        self.loop.run_until_complete(start())

    async def serve(self, reader, writer, begun=b""):
        path = None
        try:
            head = begun + await reader.readuntil(b"\r\n\r\n")
            lines = head.split(b"\r\n")
            path = lines[0].split(b" ")[1].decode()
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
            self.seen.append((lines[0], fields))
            plain = {
                "/refused": answer(b"403 Forbidden", b"no entry", b"X-Why: because"),
                "/fine": answer(b"200 OK", b"no WebSocket here"),
                "/moved": answer(b"302 Found", b"", b"Location: /elsewhere"),
                "/old": answer(b"426 Upgrade Required", b"old", b"Upgrade: websocket", b"Connection: Upgrade"),
                "/plain": answer(b"200 OK", b"fine"),
            }.get(path)
            if plain is not None:
                writer.write(plain)
                return
            key = b"no such key" if path == "/wrong" else fields[b"sec-websocket-key"]
            lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade",
                     b"Sec-WebSocket-Accept: " + accept_for(key)]
            if path == "/chat":
                lines += [b"Sec-WebSocket-Protocol: chat", b"Sec-WebSocket-Extensions: permessage-deflate;  server_max_window_bits=10"]
            writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
            await writer.drain()
            await self.tunnel(path, reader, writer)
        except ConnectionError:
            if path is not None:
                self.ends[path] = "reset"
        except asyncio.IncompleteReadError:
            pass
        finally:
            try:
                writer.close()
            except RuntimeError:
                pass

    async def tunnel(self, path, reader, writer):
        if path == "/pour":
            for at in range(0, len(POUR), 4096):
                writer.write(frame(POUR[at:at + 4096], 2))
                await writer.drain()
        elif path == "/stall":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader._transport.pause_reading()
            await asyncio.sleep(3600)
        elif path == "/reset":
            await read_frame(reader)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return
        elif path == "/leaves":
            await read_frame(reader)
            writer.write(frame(b"last words"))
            return
        elif path == "/closes":
            await read_frame(reader)
            writer.write(frame(struct.pack(">H", 4001) + b"enough", CLOSE))
        while (message := await read_frame(reader)) is not None:
            opcode, payload = message
            writer.write(frame(payload, opcode))
            if opcode == CLOSE:
                self.ends[path] = "close"
                return
            await writer.drain()
        self.ends[path] = "fin"
        writer.write(frame(b"after your end"))
        await writer.drain()
