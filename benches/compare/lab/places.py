"""Where things are. Everything that is built or written lies below the target directory, as with cargo."""

import os
from pathlib import Path

COMPARE = Path(__file__).resolve().parent.parent
TOP = COMPARE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", TOP / "target"))
# The tools have a target directory of their own: their builds and spliceway's do not wait for one another.
TOOLS = Path(os.environ.get("COMPARE_TOOLS", TARGET / "compare"))
WSLOAD = TOOLS / "release/wsload"
SPLICEWAY = Path(os.environ.get("SPLICEWAY", TARGET / "release/spliceway"))
