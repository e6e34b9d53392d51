"""Size of a compressed picture beside what it stands for."""

from collections.abc import Sequence


def bits_per_pixel(data: bytes, shape: Sequence[int]) -> float:
    """Size of a compressed picture: 8 x bytes / (height x width), over the whole file.

    `shape` is the picture's shape; channels, if given, do not count as pixels.
    """
    return 8 * len(data) / _pixels(shape)


def compression_ratio(
    data: bytes, shape: Sequence[int], *, source_bytes: int | None = None
) -> float:
    """How many times smaller the file is than what it stands for; 1 means nothing was gained.

    The denominator is always `len(data)`. The numerator is the raw picture at 24 bits (3 bytes) a
    pixel or, where `source_bytes` is given, the size of the file the picture came from. The two
    differ widely for a photograph that was a JPEG already, so say which one is meant.
    """
    raw = 3 * _pixels(shape)
    if not data:
        raise ValueError("data must be a compressed picture. Received: no bytes.")
    if source_bytes is not None and source_bytes < 1:
        raise ValueError(f"source_bytes must be a file size above 0. Received: {source_bytes}.")
    return (raw if source_bytes is None else source_bytes) / len(data)


def _pixels(shape: Sequence[int]) -> int:
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(
            "shape must be (height, width) or (height, width, channels), all above 0. "
            f"Received: {tuple(shape)}. Pass image.shape."
        )
    return int(shape[0]) * int(shape[1])
