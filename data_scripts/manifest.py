"""The data sets of the book: addresses, terms and checksums.

They stand in ``manifest.json`` and, one line a file as ``sha256sum`` writes it, in ``checksums/``.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch

from data_scripts import DataError

MANIFEST = Path(__file__).with_name("manifest.json")


@dataclass(frozen=True)
class Archive:
    """One published tar archive.

    `hash` is ``algorithm:digest``, `folder` the one inside that holds the files, and
    `unpacked_limit` the most bytes that the archive may unpack to.
    """

    url: str
    hash: str
    folder: str
    unpacked_limit: int

    @property
    def name(self) -> str:
        """The file name at the end of the address."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class DataSet:
    """One entry of the manifest, as far as the scripts use it.

    `files` maps every file name to its SHA-256, `urls` those that are published one by one to
    their official address.
    """

    name: str
    title: str
    licence: str
    files: Mapping[str, str]
    urls: Mapping[str, str]
    archive: Archive | None


def names() -> list[str]:
    """The data sets that there are."""
    return list(json.loads(MANIFEST.read_text("utf-8")))


def entry(name: str) -> dict[str, Any]:
    """One data set's entry of the manifest as it stands there."""
    entries: dict[str, dict[str, Any]] = json.loads(MANIFEST.read_text("utf-8"))
    return entries[name]


def load(name: str) -> DataSet:
    """One data set's entry of the manifest, with its list of checksums."""
    found = entry(name)
    lines = (MANIFEST.parent / found["sums"]).read_text("utf-8").splitlines()
    files = {file: digest for digest, _, file in (line.partition("  ") for line in lines)}
    urls = {
        file: pattern.format(name=file, stem=file.removeprefix(prefix).rpartition(".")[0])
        for prefix, pattern in found.get("addresses", {}).items()
        for file in files
        if file.startswith(prefix)
    }
    archive = Archive(**found["archive"]) if "archive" in found else None
    return DataSet(name, found["title"], found["licence"], files, urls, archive)


def matches(path: Path, digest: str) -> bool:
    """Whether there is a file of this checksum, a SHA-256 or ``algorithm:digest``."""
    return path.is_file() and bool(pooch.hashes.hash_matches(str(path), digest))


def verify(name: str, paths: Iterable[Path]) -> list[Path]:
    """The same paths, after each file was compared with the list of checksums of a data set.

    The first that is missing or is not the one listed under its name is a `DataError`.
    """
    files, found = load(name).files, list(paths)
    for path in found:
        if not matches(path, files.get(path.name, "none")):
            state = "not the file that is listed" if path.is_file() else "missing"
            raise DataError(
                f"{path} is {state}; run python -m data_scripts.{name.partition('_')[0]} "
                f"--to {path.parent}"
            )
    return found
