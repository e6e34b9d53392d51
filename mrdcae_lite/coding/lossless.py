"""Tiles stored without loss, as lossless WebP: few colours and flat surfaces take less that way.

Lossless WebP (RFC 9649) predicts pixels from their neighbours, repeats earlier ones and indexes
colours: what a transform codec is worst at, drawn lines, text and codes, is what it is best at.
"""

import io
import struct

import numpy as np
from PIL import Image

from mrdcae_lite.coding.bitstream import BitstreamError, damaged
from mrdcae_lite.core.pixels import RGB

EQUAL_NEIGHBOURS = 0.5
"""Share of pixels equal to the one beside them from which a tile is likely to be a drawing.

In photographs it is a twentieth or a tenth, and up to a third beside plain backgrounds.
"""

FEW_COLOURS = 64
"""Colours in a sample of a tile up to which it is likely to be a drawing or dithered."""

_START = struct.Struct("<4sI8sIBI")

_SAMPLE = 4  # every so many rows are looked at


def looks_drawn(tile: RGB) -> bool:
    """Whether storing a tile without loss is worth a try: an estimate from some of its rows."""
    rows = tile[::_SAMPLE]
    if rows.shape[1] > 1:
        equal = (rows[:, 1:] == rows[:, :-1]).all(axis=2).mean()
        if equal >= EQUAL_NEIGHBOURS:
            return True
    colours = np.empty(0, np.uint32)
    for row in rows:  # a photograph has too many in the first
        packed = row.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
        colours = np.union1d(colours, packed)
        if colours.size > FEW_COLOURS:
            return False
    return True


def write_lossless(tile: RGB) -> bytes:
    """The bytes of a tile, uint8 (height, width, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(tile).save(buffer, "WEBP", lossless=True, quality=75, method=4)
    return buffer.getvalue()


def read_lossless(stream: bytes, shape: tuple[int, int]) -> RGB:
    """Inverse of `write_lossless`; raises `BitstreamError` unless it is a picture of this shape.

    Only the simplest kind of WebP file is read: one chunk of a picture without loss and without
    transparency. The size is checked before anything of that size is in memory.
    """
    if _size(stream) != shape[::-1]:
        raise damaged(f"a stored tile is {_size(stream)}, expected {shape[::-1]}.")
    try:
        with Image.open(io.BytesIO(stream), formats=["WEBP"]) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise _impossible() from error


def _size(stream: bytes) -> tuple[int, int]:
    """Width and height that a WebP file claims at its start."""
    if len(stream) < _START.size:
        raise _impossible()
    riff, bytes_after, kind, length, signature, packed = _START.unpack_from(stream)
    simple = (riff, kind, signature) == (b"RIFF", b"WEBPVP8L", 0x2F)
    whole = bytes_after == len(stream) - 8 and length + length % 2 == len(stream) - 20
    if not simple or not whole or packed >> 28:  # transparency, and versions to come
        raise _impossible()
    return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1


def _impossible() -> BitstreamError:
    return damaged("a stored tile holds impossible data.")
