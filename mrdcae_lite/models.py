"""The shipped models, and codec files of your own: from a name or a path to a codec."""

import hashlib
import json
from functools import cache, lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from mrdcae_lite.codec import Codec
from mrdcae_lite.coding.bitstream import BitstreamError, read_header


@cache
def registry() -> dict[str, dict[str, str]]:
    """Shipped models by name: what `weights/registry.json` says of each.

    Its file, the file's SHA-256, the id as named in `.mrdc` headers, a title and what it is.
    """
    entries: dict[str, dict[str, str]] = json.loads((_weights() / "registry.json").read_text())
    return entries


def load(name: str | Path = "lite") -> Codec:
    """A shipped codec by name, or one that `Codec.save` wrote by path.

    Shipped files are checked against their SHA-256. A file is loaded once in a process, and again
    when it changes.

    Raises:
        ValueError: if there is no such codec, or its file is damaged.
    """
    if not isinstance(name, str | Path):
        raise TypeError(f"name must be text or a path. Received: {type(name).__name__}.")
    if str(name) in registry():
        return _shipped(str(name))
    path = Path(name)
    if len(path.name) > 255 or not path.is_file():
        raise ValueError(
            f"expected a codec file or one of: {', '.join(sorted(registry()))}. "
            f"Received: {str(name)!r}. Check the path, or run `mrdcae models`."
        )
    return _from_file(path.resolve(), path.stat().st_mtime_ns)


def load_for(data: bytes) -> Codec:
    """The shipped codec that the bytes of a `.mrdc` file name; raises `BitstreamError`."""
    wanted = read_header(data).model.hex()
    for name, entry in registry().items():
        if entry["id"] == wanted:
            return load(name)
    raise BitstreamError(
        f"the file was made with model {wanted}, which is not among the shipped ones. "
        "Give the codec file it was made with (--model PATH)."
    )


def _weights() -> Traversable:
    return resources.files("mrdcae_lite") / "weights"


@lru_cache(maxsize=4)
def _from_file(path: Path, _changed: int) -> Codec:
    try:
        return Codec.read(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@cache
def _shipped(name: str) -> Codec:
    entry = registry()[name]
    content = (_weights() / entry["file"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ValueError(
            f"the weights {entry['file']} do not have the SHA-256 they were shipped with. "
            "They are damaged: install mrdcae-lite again."
        )
    codec = Codec.read(content)
    codec.origin = load, name  # it is pickled by its name
    return codec
