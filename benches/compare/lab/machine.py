"""The machine: its processors, its limits, the lock that keeps other jobs off it, and what it is called in a report."""

import contextlib
import fcntl
import os
import resource
import subprocess
import time
from pathlib import Path

from .places import SPLICEWAY, TOP, TOOLS

# Debian's daemons are in directories that a user's PATH often leaves out.
os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"


def raise_open_files_limit() -> int:
    """As far as we may; whatever we start inherits it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = int(Path("/proc/sys/fs/nr_open").read_text())
    for limit in (most, hard):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


OPEN_FILES = raise_open_files_limit()
# A proxied WebSocket takes two descriptors of the proxy; some are left for other uses.
MOST_WEBSOCKETS = (OPEN_FILES - 400) // 2


def halves(layout: str) -> tuple[set[int], set[int]]:
    """The processors of the contenders, and those of generator and backend."""
    processors = sorted(os.sched_getaffinity(0))
    half = len(processors) // 2
    if layout == "shared" or half == 0:
        return set(processors), set(processors)
    return set(processors[:half]), set(processors[half:])


def cpu_seconds(pid: int) -> float:
    """What a process has used, its ended threads too, to the nanosecond (CPUCLOCK_SCHED of <linux/posix-timers.h>)."""
    return time.clock_gettime((~pid << 3) | 2)


def pss(pid: int) -> int:
    """Bytes of a process's memory, pages that it shares counted by its share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


class MachineLock:
    """Keeps other jobs that respect the lock file off the machine, for spells, between which they have their turn."""

    LONGEST_SPELL = 150.0  # seconds

    def __init__(self, path: str | None):
        self.file = open(path, "a") if path else None
        self.since = None

    def before_round(self):
        """Takes the lock; if we have had it for long, hands it round first."""
        if self.file is None or (self.since is not None and time.monotonic() - self.since < self.LONGEST_SPELL):
            return
        self.release()
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.since = time.monotonic()

    def release(self):
        if self.since is not None:
            fcntl.flock(self.file, fcntl.LOCK_UN)
            self.since = None
            time.sleep(0.2)


def _first_line(*command: str) -> str | None:
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True)
        lines = (done.stdout + done.stderr).strip().splitlines()
        return lines[0] if lines else None
    return None


def description() -> dict:
    """What a reader of the figures has to know."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")), os.uname().machine)
    versions = {
        "spliceway": _first_line(str(SPLICEWAY), "--version"),
        "nginx": _first_line("nginx", "-v"),
        "haproxy": _first_line("haproxy", "-v"),
        "caddy": _first_line("caddy", "version"),
        "h2o": _first_line("h2o", "-v"),
        "apache": _first_line("apache2", "-v"),
        "sozu": _first_line(str(TOOLS / "sozu/bin/sozu"), "--version"),
    }
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": model,
        "processors": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": os.uname().release,
        "open_files": OPEN_FILES,
        "commit": _first_line("git", "-C", str(TOP), "describe", "--always", "--dirty"),
        "versions": {name: version for name, version in versions.items() if version},
    }
