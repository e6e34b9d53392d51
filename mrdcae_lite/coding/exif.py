"""EXIF data: camera data in the form of a small TIFF file (Exif 3.0, TIFF 6.0, BigTIFF).

What a picture's file says of its camera is taken over byte for byte, so that no letter, fraction or
maker's note changes. Left out is what is wrong for any other file: the orientation, since pixels
are stored upright, the layout of the source's own pixels, and its thumbnail.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

LAYOUT_TAGS = frozenset(
    {
        *range(254, 267),  # size, bits, compression
        *range(273, 282),  # strips and orientation
        *range(320, 348),  # palette, tiles and samples
        *range(512, 533),  # thumbnail, JPEG and YCbCr
        *(284, 317, 700, 34675),  # planes, predictor, XMP, ICC profile
    }
)
"""Tags of the first directory that tell how the source file is laid out, and what has its place
elsewhere."""

_PREFIX = b"Exif\0\0"  # before the block in a JPEG file
_FOLLOWED = {34665, 34853, 40965}  # tags that point to further directories: Exif, GPS, interop
_DEEPEST = 2  # directories below the first one: Exif, and interop in it
_SIZES = dict(enumerate([1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4], 1)) | {16: 8, 17: 8, 18: 8, 129: 1}
_NARROW = {16: 4, 17: 9, 18: 4}  # types of 8 bytes that only BigTIFF has, by those of 4
_THUMBNAIL = 513, 514  # where it starts, and its bytes


Path = tuple[int, ...]
"""Tags that lead from the first directory to a value."""


class _Entry(NamedTuple):
    """One entry of a directory: where it stands, its tag, type, number of values and raw bytes."""

    at: int
    tag: int
    type: int
    number: int
    value: bytes


class _Layout(NamedTuple):
    """How the numbers of a file are written; `big` is BigTIFF."""

    order: str
    big: bool

    def number(self, data: bytes, size: int) -> int:
        """The first number of so many bytes."""
        if len(data) < size:
            raise ValueError("EXIF data are cut off.")
        return int.from_bytes(data[:size], "little" if self.order == "<" else "big")


def without_layout(block: bytes) -> bytes:
    """EXIF data as they are, less orientation, layout and thumbnail; b"" if nothing is left.

    Entries are taken out of the first directory where they stand: all that is kept stays in its
    place, since maker's notes may point to places.

    Args:
        block: from a file's EXIF segment or chunk; it may begin with "Exif" and two zero bytes,
            and comes back beginning so.

    Raises:
        ValueError: if a part of it cannot be read.
    """
    block = block.removeprefix(_PREFIX)
    if not block:
        return b""
    layout, first = _start(block)
    if layout.big:
        return from_tiff(block)
    before = dict(_walk(block, layout, first))
    entries = _directory(block, layout, first)
    kept = [e for e in entries if e.tag not in LAYOUT_TAGS]
    if not kept:
        return b""
    end = first + 2 + 12 * len(entries)
    following = layout.number(block[end:], 4)
    changed = bytearray(block)
    rows = struct.pack(f"{layout.order}H", len(kept))
    rows += b"".join(block[e.at : e.at + 12] for e in kept)
    changed[first : end + 4] = rows.ljust(end + 4 - first, b"\0")
    for start, size in _thumbnail(block, layout, following):
        cleared = bytearray(changed)
        cleared[start : start + size] = bytes(len(cleared[start : start + size]))
        if _kept_in(cleared, before):
            changed = cleared
    if not _kept_in(changed, before):
        raise ValueError("parts of the EXIF data overlap.")
    return _PREFIX + bytes(changed)


def from_tiff(file: bytes, page: int = 1) -> bytes:
    """The EXIF data of a page of a TIFF or BigTIFF file in the classic form; b"" if it has none.

    Values are taken over byte for byte. Whole numbers of 8 bytes, which a classic block cannot
    hold, become numbers of 4.

    Raises:
        ValueError: if a part of it cannot be read, or a number does not fit.
    """
    layout, first = _start(file)
    for _ in range(page - 1):
        first = _following(file, layout, first)
    content = _rebuilt(file, layout, first, 8)
    if not content:
        return b""
    magic = {"<": b"II*\0", ">": b"MM\0*"}[layout.order]
    return _PREFIX + magic + struct.pack(f"{layout.order}I", 8) + content


def _start(file: bytes) -> tuple[_Layout, int]:
    """How a file is written, and where its first directory stands."""
    head = file[:16]
    orders = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
    if head[:4] not in orders:
        raise ValueError(f"EXIF data start with II or MM. Received: {head[:4]!r}.")
    layout = _Layout(orders[head[:4]], b"+" in head[:4])
    return layout, layout.number(head[8:], 8) if layout.big else layout.number(head[4:], 4)


def _following(file: bytes, layout: _Layout, at: int) -> int:
    """Where the directory after the one at `at` starts."""
    wide, row = (8, 20) if layout.big else (2, 12)
    end = at + wide + row * len(_directory(file, layout, at))
    return layout.number(file[end:], 8 if layout.big else 4)


def _directory(file: bytes, layout: _Layout, at: int) -> list[_Entry]:
    """The entries of the directory that starts at `at`."""
    wide, row, slot = (8, 20, 8) if layout.big else (2, 12, 4)
    count = layout.number(file[at : at + wide], wide)
    rows = file[at + wide : at + wide + row * count]
    if count == 0 or len(rows) < row * count:
        raise ValueError("EXIF data are cut off.")
    entries = []
    for start in range(0, row * count, row):
        tag, kind = (layout.number(rows[start + n :], 2) for n in (0, 2))
        number = layout.number(rows[start + 4 :], slot)
        size = number * _SIZES.get(kind, 1 << 32)
        value = rows[start + 4 + slot : start + row]
        if size > slot:
            place = layout.number(value, slot)
            value = file[place : place + size]
        if len(value) < size:
            raise ValueError(f"the value of EXIF tag {tag} is cut off.")
        entries.append(_Entry(at + wide + start, tag, kind, number, value[:size]))
    return entries


def _walk(file: bytes, layout: _Layout, at: int, *path: int) -> Iterator[tuple[Path, bytes]]:
    """All values by the tags that lead to them, less those that are left out."""
    for entry in _directory(file, layout, at):
        if path or entry.tag not in LAYOUT_TAGS:
            yield (*path, entry.tag), entry.value
            if entry.tag in _FOLLOWED:
                if len(path) == _DEEPEST:
                    raise ValueError("EXIF directories point to one another.")
                yield from _walk(file, layout, _pointer(layout, entry), *path, entry.tag)


def _pointer(layout: _Layout, entry: _Entry) -> int:
    return layout.number(entry.value, _SIZES[entry.type])


def _kept_in(block: bytearray, before: dict[Path, bytes]) -> bool:
    """Whether all values still read as before."""
    file = bytes(block)
    try:
        return dict(_walk(file, *_start(file))) == before
    except ValueError:
        return False


def _thumbnail(file: bytes, layout: _Layout, at: int) -> list[tuple[int, int]]:
    """Start and bytes of the thumbnail that the second directory describes, if it does."""
    try:
        found = {e.tag: _pointer(layout, e) for e in _directory(file, layout, at)} if at else {}
    except (ValueError, KeyError):
        return []
    return [(found[_THUMBNAIL[0]], found[_THUMBNAIL[1]])] if {*_THUMBNAIL} <= {*found} else []


def _rebuilt(file: bytes, layout: _Layout, at: int, place: int, depth: int = 0) -> bytes:
    """A directory and all below it in the classic form, as it stands at `place` of a block."""
    if depth > _DEEPEST:
        raise ValueError("EXIF directories point to one another.")
    entries = _directory(file, layout, at)
    kept = [e for e in entries if depth or e.tag not in LAYOUT_TAGS]
    if not kept:
        return b""
    rows, values = struct.pack(f"{layout.order}H", len(kept)), b""
    beyond = place + 2 + 12 * len(kept) + 4
    for entry in kept:
        kind, count, value = _classic(layout, entry)
        if entry.tag in _FOLLOWED:
            below = beyond + len(values)
            kind, count, value = 4, 1, struct.pack(f"{layout.order}I", below)
            values += _rebuilt(file, layout, _pointer(layout, entry), below, depth + 1)
        elif len(value) > 4:
            where = struct.pack(f"{layout.order}I", beyond + len(values))
            values += value + bytes(len(value) % 2)
            value = where
        rows += struct.pack(f"{layout.order}HHI", entry.tag, kind, count) + value.ljust(4, b"\0")
    return rows + bytes(4) + values


def _classic(layout: _Layout, entry: _Entry) -> tuple[int, int, bytes]:
    """Type, count and value of an entry as classic TIFF has them."""
    if entry.type not in _NARROW or entry.tag in _FOLLOWED:
        return entry.type, entry.number, entry.value
    kind, start = _NARROW[entry.type], f"{layout.order}{entry.number}"
    wide, narrow = ("q", "i") if kind == 9 else ("Q", "I")  # with a sign or without
    try:
        packed = struct.pack(start + narrow, *struct.unpack(start + wide, entry.value))
    except struct.error as error:
        raise ValueError(f"EXIF tag {entry.tag} holds a number of more than 4 bytes.") from error
    return kind, entry.number, packed
