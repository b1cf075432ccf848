"""What is done to a contender: the arguments for wsload, and the unit of its work."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """One measurement. A speed workload's work is counted in millions of operations, a bulk one's in gigabytes."""

    arguments: tuple[str, ...]
    unit: str
    bulk: bool = False
    tls: bool = False
    websockets: int = 0

    @property
    def idle(self) -> bool:
        return self.arguments[0] == "ws-idle"


def rate(connections, size=64, depth=1, **options):
    """Messages go to and fro, so many in flight on each connection."""
    arguments = ("ws-rate", f"-c{connections}", f"-s{size}", f"-p{depth}")
    return Workload(arguments, "message", websockets=connections, **options)


def stream(size, direction, connections=1, **options):
    """Messages as fast as the way takes them; with `echo` in both directions at once."""
    arguments = ("ws-stream", f"-c{connections}", f"-s{size}", "--direction", direction)
    return Workload(arguments, "GB", bulk=True, websockets=connections, **options)


def connect(*more, **options):
    """A WebSocket's whole life: connect, handshake, one echo, Close; 32 at a time."""
    # One source address has too few ports for connections that are gone only after a minute.
    return Workload(("ws-connect", "-c32", "--sources", "8", *more), "connection", websockets=32, **options)


def http(connections, size, **options):
    return Workload(("http-rate", f"-c{connections}", f"-s{size}"), "request", **options)


def idle(connections, **options):
    """So many WebSockets in which nothing moves, then one echo in each, then silence again."""
    return Workload(("ws-idle", f"-c{connections}", "--sources", "8"), "socket", websockets=connections, **options)


MIB = 1 << 20
WORKLOADS = {
    "rate-1": rate(1),
    "rate-64": rate(64),
    "rate-1000": rate(1000),
    "rate-64-1k": rate(64, 1024),
    "rate-deep": rate(16, depth=32),
    "tls-rate-64": rate(64, tls=True),
    "tls-rate-1000": rate(1000, tls=True),
    "echo-64k": stream(65536, "echo"),
    "echo-1m": stream(MIB, "echo"),
    "tls-echo-1m": stream(MIB, "echo", tls=True),
    "up-1m": stream(MIB, "up"),
    "down-1m": stream(MIB, "down"),
    "tls-down-1m": stream(MIB, "down", tls=True),
    "connect": connect(),
    "tls-connect": connect(tls=True),
    "tls-resume": connect("--resume", tls=True),
    "http-64": http(64, 1024),
    "tls-http-64": http(64, 1024, tls=True),
    "idle-5000": idle(5000),
    "idle-9500": idle(9500),
    "idle-20000": idle(20000),
    "tls-idle-5000": idle(5000, tls=True),
    "tls-idle-9500": idle(9500, tls=True),
    "tls-idle-20000": idle(20000, tls=True),
}
GROUPS = {
    "quick": ["rate-64", "echo-64k", "connect", "tls-rate-64", "tls-connect", "http-64", "idle-5000", "tls-idle-5000"],
    "idle": [name for name, workload in WORKLOADS.items() if workload.idle],
    "speed": [name for name, workload in WORKLOADS.items() if not workload.idle],
    "all": list(WORKLOADS),
}
