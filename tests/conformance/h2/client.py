"""A proper HTTP/2 client with WebSockets (RFC 8441), on the `h2` library: one connection, one thread, any number of
streams. Windows are opened again as data comes, but for streams that are told to stall."""

import socket
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

from wire import Failed

CONNECT_PROTOCOL = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL


class Stream:
    """What came on one stream."""

    def __init__(self):
        self.status, self.fields, self.data, self.ended, self.reset = None, {}, bytearray(), False, None
        #: Its window is not opened again; or at once, and the connection's, after each frame.
        self.stalled = self.eager = False

    @property
    def over(self):
        return self.ended or self.reset is not None


class Client:
    def __init__(self, target, limit=10):
        self.target, self.limit = target, limit
        self.socket = target.dial()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8", validate_outbound_headers=False))
        self.streams, self.goaway, self.closed = {}, None, False
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(8 << 20)
        self.flush()
        self.until(lambda: self.settled, "the server's SETTINGS")

    settled = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        if data := self.h2.data_to_send():
            self.socket.settimeout(self.limit)
            try:
                self.socket.sendall(data)
            except OSError:
                pass  # a peer that has closed: what it said is still to be read

    # --- asking ---

    def request(self, method, path, fields=(), end=True):
        scheme = "https" if self.target.scheme == "tls" else "http"
        head = [(":method", method), (":scheme", scheme), (":path", path), (":authority", "localhost")]
        return self.open(head + list(fields), end)

    def open(self, head, end=False):
        number = self.h2.get_next_available_stream_id()
        self.streams[number] = Stream()
        self.h2.send_headers(number, head, end_stream=end)
        self.flush()
        return number

    def websocket(self, path, protocol="websocket", fields=(), version="13"):
        scheme = "https" if self.target.scheme == "tls" else "http"
        head = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", scheme), (":path", path),
                (":authority", "localhost")]
        return self.open(head + ([("sec-websocket-version", version)] if version else []) + list(fields))

    def send(self, number, data, end=False):
        """Sends as windows allow; how much they did not."""
        limit = time.monotonic() + self.limit
        while data and time.monotonic() < limit:
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size, len(data))
            if room:
                self.h2.send_data(number, data[:room])
                data = data[room:]
                self.flush()
            elif not self.step(0.5):
                break
        if end and not data:
            self.h2.end_stream(number)
        self.flush()
        return len(data)

    def reset(self, number, code=h2.errors.ErrorCodes.CANCEL):
        self.h2.reset_stream(number, code)
        self.flush()

    # --- what comes ---

    def step(self, wait):
        """Takes in what there is within `wait` seconds; whether there was anything."""
        self.socket.settimeout(max(wait, 0.001))
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return False
        for event in self.h2.receive_data(data):
            self.take(event)
        self.flush()
        return True

    def take(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self.settled = True
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event
        elif stream is None:
            return
        elif isinstance(event, h2.events.ResponseReceived):
            stream.fields = dict(event.headers)
            stream.status = int(stream.fields.pop(":status"))
        elif isinstance(event, h2.events.DataReceived):
            stream.data += event.data
            if stream.eager:
                self.h2.increment_flow_control_window(event.flow_controlled_length)
                self.h2.increment_flow_control_window(event.flow_controlled_length, event.stream_id)
            elif not stream.stalled:
                self.give(event.stream_id, event.flow_controlled_length)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = event.error_code

    def give(self, number, length):
        if length:
            self.h2.acknowledge_received_data(length, number)

    def until(self, holds, what):
        end = time.monotonic() + self.limit
        while not holds():
            if self.closed or time.monotonic() > end:
                raise Failed(f"{'the connection ended' if self.closed else 'not in time'}: {what}")
            self.step(end - time.monotonic())

    def answer(self, number):
        """The head of an answer."""
        stream = self.streams[number]
        self.until(lambda: stream.status is not None or stream.over, f"an answer on stream {number}")
        if stream.status is None:
            raise Failed(f"stream {number} was reset ({stream.reset}) in place of an answer")
        return stream

    def whole(self, number):
        stream = self.answer(number)
        self.until(lambda: stream.over, f"the end of stream {number}")
        return stream

    def tunnel(self, path, **how):
        """An open WebSocket."""
        number = self.websocket(path, **how)
        stream = self.answer(number)
        if stream.status != 200:
            raise Failed(f"{path}: {stream.status} {bytes(stream.data)!r}")
        return number, stream
