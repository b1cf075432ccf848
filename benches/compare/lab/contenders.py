"""Who is measured: spliceway, its peers, and the limits. Each is a folder of peers/ with a peer.toml:

    command           words; those in @ signs are replaced, see `words` in laboratory.py
    templates         configuration files beside it, written into @RUN@ with the same words replaced
    set               more words for this contender's templates
    environment       for the process
    plain, tls        what it can do (default: both)
    limit             it only moves bytes: no proxy, but what one can reach at best
    most_websockets   workloads with more are left out
    stop_signal       default SIGTERM
"""

import subprocess
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from .places import COMPARE
from .workloads import Workload

DIRECT = "direct"


@dataclass
class Contender:
    """`command` is empty for `direct`: the generator against the backend, and no proxy between."""

    name: str
    command: list[str]
    templates: list[Path] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    plain: bool = True
    tls: bool = True
    limit: bool = False
    most_websockets: int | None = None
    stop_signal: str = "SIGTERM"
    port: int = 0
    process: subprocess.Popen | None = None

    @property
    def is_peer(self) -> bool:
        return not self.limit and self.name != DIRECT and not self.name.startswith("spliceway")

    def takes(self, workload: Workload) -> bool:
        if self.most_websockets is not None and workload.websockets > self.most_websockets:
            return False
        return self.tls if workload.tls else self.plain


def load(name: str) -> Contender:
    if name == DIRECT:
        return Contender(DIRECT, [], tls=False)
    folder = COMPARE / "peers" / name
    if not folder.is_dir():
        raise SystemExit(f"no contender {name}; there are {DIRECT}, {', '.join(everyone())}")
    peer = tomllib.loads((folder / "peer.toml").read_text())
    return Contender(
        name=name,
        command=peer["command"],
        templates=[(folder / template).resolve() for template in peer.get("templates", [])],
        settings=peer.get("set", {}),
        environment=peer.get("environment", {}),
        plain=peer.get("plain", True),
        tls=peer.get("tls", True),
        limit=peer.get("limit", False),
        most_websockets=peer.get("most_websockets"),
        stop_signal=peer.get("stop_signal", "SIGTERM"),
    )


def everyone() -> list[str]:
    return sorted(path.parent.name for path in COMPARE.glob("peers/*/peer.toml"))


def proxies() -> list[str]:
    """All but the limits; `direct` first."""
    return [DIRECT, *(name for name in everyone() if not load(name).limit)]
