"""Pictures in and out of files. Everywhere else a picture is an array: uint8 (height, width, 3).

How `read_image` turns what files hold into 8-bit RGB:

- grey: the value is repeated in the three channels; black and white becomes 0 and 255;
- palette, YCbCr, HSV, CMYK: converted to RGB by Pillow's plain formulas;
- alpha: dropped where the whole picture is opaque; otherwise refused, because either showing or
  hiding what is transparent would change the picture;
- 16 bits: grey is rounded to 8 bits; of 16-bit colour Pillow keeps the upper byte;
- 32-bit integers (beyond 16 bits), floats, LAB: refused;
- EXIF orientation: honoured, so that the picture comes back upright; other EXIF data is dropped;
- ICC profile: ignored for now, the values are taken as sRGB;
- several frames or pages: the first one;
- more than 100 megapixels: refused before the pixels are decoded.
"""

import os
import struct
import uuid
import warnings
import zlib
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000
# Written without loss, so that what is measured is what was decoded.
WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
    ".webp": {"format": "WEBP", "lossless": True},
    ".bmp": {"format": "BMP"},
    ".ppm": {"format": "PPM"},
}
# What Pillow is known to raise on damaged and on oversized files.
_PILLOW_ERRORS = (
    *(Image.DecompressionBombError, OSError, EOFError, SyntaxError, ValueError, TypeError),
    *(LookupError, ArithmeticError, RuntimeError, struct.error, zlib.error),
)

RGB = NDArray[np.uint8]


class ImageError(ValueError):
    """A picture cannot be read or written; the message is one line."""


def read_image(path: str | os.PathLike[str]) -> RGB:
    """Read a picture as uint8 (height, width, 3); the module's text says how others are converted.

    Raises `ImageError` where there is no such file, it is no picture, it is damaged or its kind is
    refused.
    """
    path = Path(path)
    try:
        # Pillow warns about its own size limit and about damaged metadata; neither matters here.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as file:
            if file.width * file.height > MAX_PIXELS:
                raise _too_large(path)
            return np.array(_to_rgb(path, ImageOps.exif_transpose(file)))
    except ImageError:
        raise
    except _PILLOW_ERRORS as error:
        raise _refusal(path, error) from error


def write_image(path: str | os.PathLike[str], image: RGB) -> None:
    """Write a picture without loss; the ending says how (.png .tif .tiff .webp .bmp .ppm).

    An existing file is replaced in one step: there is never half a picture under the name. Raises
    `ImageError` for another ending or a place that cannot be written, `TypeError` and `ValueError`
    for what is no uint8 (height, width, 3) array.
    """
    path = Path(path)
    check_rgb(image)
    options = WRITE_OPTIONS.get(path.suffix.lower())
    if options is None:
        raise ImageError(
            f"{path}: expected an ending of {' '.join(WRITE_OPTIONS)}, written without loss. "
            f"Received: {path.suffix or 'none'}. Choose one of them."
        )
    buffer = BytesIO()
    try:
        Image.fromarray(image).save(buffer, **options)
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise ImageError(
            f"{path}: the picture cannot be written. Received: {error.strerror or error}. "
            "Choose another place."
        ) from error


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that its name holds either the old or the new content, never a part.

    The bytes go to a hidden neighbour first, which then takes the name. Raises `OSError` as `open`
    does, and leaves nothing behind.
    """
    path = Path(path)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_rgb(image: RGB) -> None:
    """Raise `TypeError` or `ValueError` unless `image` is uint8 (height, width, 3), not empty."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise TypeError(
            "image must be a NumPy array of uint8. Received: "
            f"{getattr(image, 'dtype', type(image).__name__)}. Scale to 0..255, round and convert."
        )
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            f"image must have the shape (height, width, 3), not empty. Received: {image.shape}."
        )


def sample_names() -> tuple[str, ...]:
    """Names of the bundled photographs, in alphabetical order."""
    files = resources.files("mrdcae_lite").joinpath("samples").iterdir()
    return tuple(sorted(file.name[:-4] for file in files if file.name.endswith(".png")))


def sample(name: str) -> RGB:
    """A bundled photograph, uint8 (576, 576, 3), in the public domain (see samples/README.md)."""
    if name not in sample_names():
        raise ValueError(
            f"name must be one of {', '.join(sample_names())}. Received: {name!r}. "
            "For a file of your own use read_image."
        )
    file = resources.files("mrdcae_lite").joinpath("samples", f"{name}.png")
    with resources.as_file(file) as path:
        return read_image(path)


def _to_rgb(path: Path, picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        return Image.fromarray(_eight_bits(path, np.asarray(picture))).convert("RGB")
    if picture.mode in ("F", "LAB"):
        raise ImageError(
            f"{path}: expected 8 or 16 bits a channel. Received: a picture of mode {picture.mode}. "
            "Convert it to 8-bit RGB first."
        )
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            raise ImageError(
                f"{path}: expected an opaque picture. Received: one with transparent pixels. "
                "Put it on a background first."
            )
        return rgba.convert("RGB")
    return picture.convert("RGB")


def _eight_bits(path: Path, values: NDArray[Any]) -> RGB:
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(
            f"{path}: expected values from 0 to 65535. Received: {values.min()} to {values.max()}. "
            "Convert it to 8 or 16 bits first."
        )
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 257 = 65535 / 255


def _refusal(path: Path, error: Exception) -> ImageError:
    if isinstance(error, Image.DecompressionBombError):
        return _too_large(path)
    if isinstance(error, UnidentifiedImageError):
        return ImageError(
            f"{path}: expected a picture. Received: a file of a kind that Pillow does not know. "
            "Convert it to PNG first."
        )
    if isinstance(error, OSError) and error.strerror:
        return ImageError(
            f"{path}: expected a readable picture. Received: {error.strerror}. Check the path."
        )
    reason = " ".join(str(error).split()) or type(error).__name__
    return ImageError(
        f"{path}: expected a whole picture. Received: a damaged file ({reason}). "
        "Copy it again from its source."
    )


def _too_large(path: Path) -> ImageError:
    return ImageError(
        f"{path}: expected at most {MAX_PIXELS // 10**6} megapixels. Received: more. "
        "Scale it down or cut it into parts."
    )
