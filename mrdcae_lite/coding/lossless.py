"""Tiles stored without loss, as lossless WebP: few colours and flat surfaces take less that way.

Lossless WebP (RFC 9649) predicts pixels from their neighbours, repeats earlier ones and indexes
colours: what a transform codec is worst at, drawn lines, text and codes, is what it is best at.
"""

import io

import numpy as np
from PIL import Image

from mrdcae_lite.coding.bitstream import damaged
from mrdcae_lite.core.pixels import RGB

EQUAL_NEIGHBOURS = 0.3
"""Share of pixels equal to the one beside them from which a tile is likely to be a drawing.

In photographs a few per cent are.
"""

FEW_COLOURS = 256
"""Colours in a sample of a tile up to which it is likely to be a drawing or dithered."""

_SAMPLE = 4  # every so many rows are looked at


def looks_drawn(tile: RGB) -> bool:
    """Whether storing a tile without loss is worth a try: a guess from some of its rows."""
    rows = tile[::_SAMPLE]
    if rows.shape[1] > 1:
        equal = (rows[:, 1:] == rows[:, :-1]).all(axis=2).mean()
        if equal >= EQUAL_NEIGHBOURS:
            return True
    packed = rows.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return bool(np.unique(packed).size <= FEW_COLOURS)


def write_lossless(tile: RGB) -> bytes:
    """The bytes of a tile, uint8 (height, width, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(tile).save(buffer, "WEBP", lossless=True, quality=75, method=4)
    return buffer.getvalue()


def read_lossless(stream: bytes, shape: tuple[int, int]) -> RGB:
    """Inverse of `write_lossless`; raises `BitstreamError` unless it is a picture of this shape."""
    try:
        with Image.open(io.BytesIO(stream), formats=["WEBP"]) as picture:
            if picture.size != (shape[1], shape[0]):
                raise damaged(f"a stored tile is {picture.size}, expected {shape[::-1]}.")
            return np.asarray(picture.convert("RGB"))
    except (OSError, Image.DecompressionBombError, SyntaxError) as error:
        raise damaged("a stored tile holds impossible data.") from error
