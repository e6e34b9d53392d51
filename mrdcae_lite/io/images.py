"""Pictures in and out of files. Everywhere else a picture is an array: uint8 (height, width, 3).

How `read_picture` turns what files hold into 8-bit RGB, and what it keeps beside it:

- grey: the value is repeated in the three channels; black and white becomes 0 and 255;
- palette, YCbCr, HSV, CMYK: converted to RGB by Pillow's plain formulas;
- transparency: kept without loss, unless every pixel is opaque; `read_image`, which has no place
  for it, refuses transparent pixels;
- 16 bits: grey is rounded to 8 bits; of 16-bit colour Pillow keeps the upper byte;
- 32-bit integers (beyond 16 bits), floats, LAB: refused;
- EXIF orientation: honoured, so that the picture comes back upright; other EXIF data is dropped,
  or kept if that is asked for, less what describes the source file: orientation, layout, thumbnail;
- ICC profile: kept as it is and not applied to the values, if it fits them. A CMYK profile does not
  fit, a grey one fits grey pictures only. An RGB profile fits grey pictures, too, if they are
  written in three channels, and so they are;
- several frames or pages: the first one;
- more than 100 megapixels: refused before the pixels are decoded.
"""

import os
import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mrdcae_lite.coding.bitstream import MAX_PIXELS
from mrdcae_lite.coding.metadata import NO_METADATA, Metadata
from mrdcae_lite.core.files import list_files, one_line, write_atomically
from mrdcae_lite.core.pixels import RGB, check_rgb, is_grey

_TIFF = {"format": "TIFF", "compression": "tiff_deflate"}

# Written without loss, so that what is measured is what was decoded.
WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    **{".tif": _TIFF, ".tiff": _TIFF},
    ".webp": {"format": "WEBP", "lossless": True, "exact": True},
    **{".bmp": {"format": "BMP"}, ".ppm": {"format": "PPM"}},
}
PICTURES = (*WRITE_OPTIONS, ".jpg", ".jpeg", ".jp2", ".gif", ".avif", ".pgm")
"""Endings of the files in a folder that are taken for pictures."""

SAMPLES = Path(__file__).parents[1] / "samples"
"""Folder of the bundled photographs."""

AnyPath = str | os.PathLike[str]

# What Pillow is known to raise on damaged and on oversized files.
_PILLOW_ERRORS = (
    *(Image.DecompressionBombError, OSError, EOFError, SyntaxError, ValueError, TypeError),
    *(LookupError, ArithmeticError, RuntimeError, struct.error, zlib.error),
)

# EXIF tags that tell how the source file is laid out: wrong for any other file.
_LAYOUT_TAGS = {
    *range(254, 267),  # size, bits, compression
    *range(273, 282),  # strips and orientation
    *range(320, 348),  # palette, tiles and samples
    *range(512, 533),  # JPEG and YCbCr
    *(284, 317, 700, 34675),  # planes, predictor, XMP, ICC profile
}

_TRANSPARENT = "expected an opaque picture. Received: one with transparent pixels."


class ImageError(ValueError):
    """A picture cannot be read or written; the message is one line."""


class Picture(NamedTuple):
    """What a file shows: `pixels`, uint8 (height, width, 3), and `metadata`, kept beside them."""

    pixels: RGB
    metadata: Metadata = NO_METADATA


def read_picture(path: AnyPath, *, keep_exif: bool = False) -> Picture:
    """Read a picture with its transparency and colour profile; the module's text has the rules.

    The file is of any kind that Pillow reads. `keep_exif` keeps the camera's data as well: maker,
    time, place. Raises `ImageError` if there is no such file, it is no picture, damaged, or of a
    refused kind.
    """
    try:
        # Pillow warns about its own size limit and about damaged metadata; neither matters here.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as file:
            if file.width * file.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            upright = ImageOps.exif_transpose(file)
            exif = _camera_data(file.getexif()) if keep_exif else b""
            return from_pillow(upright, icc=file.info.get("icc_profile"), exif=exif)
    except _PILLOW_ERRORS as error:
        raise ImageError(f"{path}: {_reason(error)}") from error


def read_image(path: AnyPath) -> RGB:
    """Only the pixels of `read_picture`: uint8 (height, width, 3).

    Raises `ImageError` as `read_picture` does, and for pictures with transparent pixels: either
    showing or hiding what is transparent would change the picture.
    """
    picture = read_picture(path)
    if picture.metadata.alpha is not None:
        raise ImageError(f"{path}: {_TRANSPARENT} Put it on a background first.")
    return picture.pixels


def write_image(
    path: AnyPath, image: RGB, metadata: Metadata = NO_METADATA, *, grey: bool = False
) -> None:
    """Write a picture without loss; the ending says how (.png .tif .tiff .webp .bmp .ppm).

    An existing file is replaced in one step: there is never half a picture under the name.

    Args:
        path: of the file.
        image: uint8 (height, width, 3); anything else is a `TypeError` or `ValueError`.
        metadata: transparency and colour profile are written to all but .bmp and .ppm, EXIF data to
            .png and .webp: Pillow writes none into a compressed TIFF.
        grey: the three channels are the same: write one of them (see `mode`).

    Raises `ImageError` for another ending, a place that cannot be written, or transparency that the
    format cannot hold.
    """
    ending = Path(path).suffix.lower()
    check_rgb(image)
    options = WRITE_OPTIONS.get(ending)
    if options is None:
        raise ImageError(
            f"{path}: expected an ending of {' '.join(WRITE_OPTIONS)}, written without loss. "
            f"Received: {ending or 'none'}. Choose one of them."
        )
    if metadata.alpha is not None and ending in (".bmp", ".ppm"):
        raise ImageError(f"{path}: {_TRANSPARENT} Choose an ending of .png .tif .webp.")
    if options is not _TIFF:
        options = {**options, "exif": metadata.exif}
    buffer = BytesIO()
    try:
        to_pillow(image, metadata, grey=grey).save(buffer, **options, icc_profile=metadata.icc)
        write_atomically(path, buffer.getvalue())
    except (OSError, ValueError) as error:
        raise ImageError(
            f"{path}: the picture cannot be written. Received: "
            f"{getattr(error, 'strerror', None) or error}. Choose another place or ending."
        ) from error


def from_pillow(picture: Image.Image, *, icc: bytes | None = None, exif: bytes = b"") -> Picture:
    """The pixels and the transparency of a Pillow image as it stands, whatever its orientation.

    A colour profile is dropped where it does not fit, EXIF data are taken over as they are. Raises
    `ImageError` if the image's mode is refused (see the module's text).
    """
    colours, alpha = picture, None
    if picture.mode.startswith("I"):
        values = np.asarray(picture)
        colours = Image.fromarray(_eight_bits(values))
        if "transparency" in picture.info:
            alpha = np.where(values == picture.info["transparency"], 0, 255).astype(np.uint8)
    elif picture.mode in ("F", "LAB"):
        raise ImageError(
            f"expected 8 or 16 bits a channel. Received: a picture of mode {picture.mode}. "
            "Convert it to 8-bit RGB first."
        )
    elif picture.has_transparency_data:
        colours = picture.convert("RGBA")
        alpha = np.array(colours.getchannel("A"))
    if alpha is not None and alpha.min() == 255:
        alpha = None
    pixels = np.array(colours.convert("RGB"))
    return Picture(pixels, Metadata(alpha, _fitting(icc or b"", picture.mode, pixels), exif))


def to_pillow(image: RGB, metadata: Metadata = NO_METADATA, *, grey: bool = False) -> Image.Image:
    """A Pillow image of the mode that `mode` says; profile and EXIF data are left to its `save`."""
    picture = Image.fromarray(image[..., 0] if mode(metadata, grey).startswith("L") else image)
    if metadata.alpha is not None:
        picture.putalpha(Image.fromarray(metadata.alpha))
    return picture


def mode(metadata: Metadata, grey: bool) -> str:
    """Pillow's mode for a picture: L, LA, RGB or RGBA; never one channel with an RGB profile."""
    colours = "L" if grey and metadata.icc[16:20] != b"RGB " else "RGB"
    return colours if metadata.alpha is None else f"{colours}A"


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, by their endings, sorted by name."""
    return list_files(folder, PICTURES)


def standardise(image: RGB, size: int) -> RGB:
    """Centre square of a uint8 (height, width, 3) image, resized to `size` x `size` (Lanczos)."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


def sample_names() -> tuple[str, ...]:
    """Names of the bundled photographs, in alphabetical order."""
    return tuple(path.stem for path in list_files(SAMPLES, [".png"]))


def sample(name: str) -> RGB:
    """A bundled photograph, uint8 (576, 576, 3), in the public domain (see samples/README.md)."""
    if name not in sample_names():
        raise ValueError(
            f"name must be one of {', '.join(sample_names())}. Received: {name!r}. "
            "For a file of your own use read_image."
        )
    return read_image(SAMPLES / f"{name}.png")


def _eight_bits(values: NDArray[Any]) -> RGB:
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(
            f"expected values from 0 to 65535. Received: {values.min()} to {values.max()}. "
            "Convert it to 8 or 16 bits first."
        )
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 257 = 65535 / 255


def _fitting(icc: bytes, source_mode: str, pixels: RGB) -> bytes:
    """The profile if it describes such pixels, else none. Its bytes 16 to 19 say for what it is."""
    space = icc[16:20]
    fits = is_grey(pixels) if space == b"GRAY" else space == b"RGB " and source_mode != "CMYK"
    return icc if fits else b""


def _camera_data(exif: Image.Exif) -> bytes:
    """EXIF data as bytes, less the tags that describe the file they came from."""
    for tag in _LAYOUT_TAGS & set(exif):
        del exif[tag]
    return exif.tobytes() if exif else b""


def _reason(error: Exception) -> str:
    """What is wrong with a file, as the end of an error message."""
    wanted, found = "a whole picture", f"a damaged file ({one_line(error)})"
    remedy = "Copy it again from its source"
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        wanted, found = f"at most {MAX_PIXELS // 10**6} megapixels", "more"
        remedy = "Scale it down or cut it into parts"
    elif isinstance(error, UnidentifiedImageError):
        wanted, found = "a picture", "a file of a kind that Pillow does not know"
        remedy = "Convert it to PNG first"
    elif isinstance(error, OSError) and error.strerror:
        wanted, found, remedy = "a readable picture", error.strerror, "Check the path"
    return f"expected {wanted}. Received: {found}. {remedy}."
