"""What check and wire share: the client libraries' environment, free ports, and servers as processes."""
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent


def use_venv():
    """Goes on in the Python that has the client libraries."""
    venv = HERE / ".cache" / "check" / "venv"
    if sys.prefix.startswith(str(venv)):
        return
    python = venv / "bin" / "python"
    if not python.exists():
        sys.exit("run ./install check first")
    os.execv(python, [str(python), *sys.argv])


def installed(name):
    return (HERE / ".cache" / name / ".installed").exists()


CLAIMS = []


def free_port():
    """A port below the range that the kernel gives to clients, so that no client takes it meanwhile.

    It stays this process's own for its whole life, whatever listens on it and when: several of these run side by
    side, and between the look and the server's bind another one could have had the same luck. The claim is an
    abstract socket's name, which goes with the process."""
    while True:
        port = random.randrange(20000, 30000)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0spliceway-interop-{port}")
            with socket.socket() as s:
                s.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        CLAIMS.append(claim)
        return port


class Process:
    """A server in a process group of its own, on a port it must open."""

    def __init__(self, command, port, env=None, limit=60):
        self.log = open(os.environ.get("INTEROP_LOG") or HERE / ".cache" / "last.log", "ab")
        started = time.monotonic()
        self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                      start_new_session=True, env={**os.environ, **(env or {})})
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if self.child.poll() is not None:
                    raise RuntimeError(f"{command[0]} ended with status {self.child.returncode}, see {self.log.name}")
                if time.monotonic() - started > limit:
                    self.stop()
                    raise RuntimeError(f"{command[0]} did not open port {port} within {limit} s")
                time.sleep(0.02)
        self.startup = time.monotonic() - started

    def memory(self):
        total = 0
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
                if int(fields[2]) == self.child.pid:
                    total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
            except (OSError, IndexError):
                pass
        return total / 2**20

    def died(self):
        """The status it ended with of itself, if it did."""
        return self.child.poll()

    def stop(self):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.child.pid, sig)
                self.child.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self.log.close()
