"""Records of what was made and from what, so that nothing is made twice from the same bytes.

A record is a JSON file: `key`, a hash of all that went in, and facts about what came out.
"""

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from book.tools.paths import ROOT

CACHES = {"__pycache__", ".ipynb_checkpoints"}


def files_under(folder: Path) -> list[Path]:
    """List the files below a folder in a fixed order, without caches."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in found if not CACHES & set(path.relative_to(folder).parts)]


def digest(files: Iterable[Path], root: Path = ROOT) -> str:
    """Hash the version of Python, and the names (below `root`) and contents of files."""
    total = hashlib.sha256(sys.version.encode())
    for path in files:
        total.update(path.relative_to(root).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def remember(record: Path, key: str, **facts: Any) -> None:
    """Write a record."""
    record.write_text(json.dumps({"key": key, **facts}, indent=1) + "\n", encoding="utf-8")


def remembered(record: Path, key: str) -> dict[str, Any] | None:
    """Return the facts of a record, or None if there is none or its key is another."""
    if not record.exists():
        return None
    facts: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    return facts if facts.pop("key", None) == key else None
