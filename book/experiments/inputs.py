"""What a result depends on: code, weights and data by hash, behaviour by its fingerprint."""

import ast
import json
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat

from mrdcae_lite.models import registry

BOOK = Path(__file__).resolve().parents[1]
CHECKSUMS = BOOK.parent / "data_scripts" / "checksums"
PACKAGE = BOOK.parent / "mrdcae_lite"
FINGERPRINTS = BOOK / "results" / "fingerprints.json"

Numbers = dict[str, float | None]


def code_hash(notebook: Path) -> str:
    """The hash of a notebook's code: prose, comments, format and imports may change."""
    cells = nbformat.read(notebook, as_version=4).cells
    tree = ast.parse("\n".join(cell.source for cell in cells if cell.cell_type == "code"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    origin = {name.asname or name.name: name.name for node in imports for name in node.names}
    return sha256(_structure(tree, origin).encode()).hexdigest()


def _structure(node: Any, origin: Mapping[str, str]) -> str:
    """Code as nested words; what is imported goes by its last name, whichever module has it."""
    if isinstance(node, list):
        return f"[{' '.join(filter(None, (_structure(inner, origin) for inner in node)))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Import | ast.ImportFrom) or _is_docstring(node):
        return ""
    if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in origin:
        return node.attr
    if isinstance(node, ast.Name) and node.id in origin:
        return origin[node.id]
    fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
    inside = " ".join(f"{name}={_structure(value, origin)}" for name, value in fields)
    return f"{type(node).__name__}({inside})"


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def weights_file(name: str) -> Path:
    """The file of a shipped codec."""
    return PACKAGE / "weights" / registry()[name]["file"]


def weights_hash(name: str) -> str:
    """The hash of a shipped codec file as it lies there."""
    return sha256(weights_file(name).read_bytes()).hexdigest()


def model_id(name: str) -> str:
    """The id of a shipped codec as `.mrdc` files name it."""
    return registry()[name]["id"]


def data_hash(name: str) -> str:
    """The hash of a data set's list of checksums, or of what stands in for such a list."""
    if name == "scikit-image":  # its pictures come with the library
        return sha256(version(name).encode()).hexdigest()
    files = {
        "bundled": sorted((PACKAGE / "samples").glob("*.png")),
        "kodak": [CHECKSUMS / "kodak.sha256"],
        "flowers17": [CHECKSUMS / "flowers17.sha256"],
        "training": [CHECKSUMS / "photos_train.sha256", CHECKSUMS / "flowers17.sha256"],
    }[name]
    total = sha256()
    for file in files:
        total.update(sha256(file.read_bytes()).digest())
    return total.hexdigest()


@cache
def programs_hash() -> str:
    """The hash of the package's and the experiments' programs, eight digits."""
    files = sorted([*PACKAGE.rglob("*.py"), *(BOOK / "experiments").glob("*.py")])
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:8]


@cache
def measured(part: str) -> Numbers:
    """The numbers of a part of `fingerprint` now, measured once in a process."""
    from book.experiments import fingerprint  # loads all that is measured with

    return fingerprint.measure(part)


def fingerprints() -> dict[str, dict[str, Numbers]]:
    """The numbers that committed results were made with, by part and id."""
    return json.loads(FINGERPRINTS.read_text()) if FINGERPRINTS.exists() else {}


def behaviour(part: str) -> str:
    """The id of a part as it is now: that of a committed fingerprint if its numbers agree."""
    from book.experiments.fingerprint import differences, named

    now, known = measured(part), fingerprints().get(part, {})
    agreeing = (name for name, then in known.items() if not differences(now, then))
    return next(agreeing, named(now))


def moved(part: str, name: str) -> str | None:
    """What makes a part measure otherwise than when it was called `name`, in a line; or None."""
    from book.experiments.fingerprint import differences

    then = fingerprints().get(part, {}).get(name)
    if then is None:
        return f"behaviour {part}: {FINGERPRINTS.name} has no {name}"
    lines = differences(measured(part), then)
    more = f", and {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"behaviour {part}: {lines[0]}{more}" if lines else None


def keep_fingerprints(named: Mapping[str, set[str]]) -> list[str]:
    """Keep the fingerprints that results name, by part; returns those whose numbers are lost."""
    known, lost = fingerprints(), []
    kept: dict[str, dict[str, Numbers]] = {}
    for part, names in sorted(named.items()):
        for name in sorted(names):
            if name not in known.get(part, {}) and behaviour(part) != name:
                lost.append(f"{part} {name}")
            else:
                kept.setdefault(part, {})[name] = known.get(part, {}).get(name) or measured(part)
    if not lost:
        FINGERPRINTS.write_text(json.dumps(kept, indent=1) + "\n")
    return lost
