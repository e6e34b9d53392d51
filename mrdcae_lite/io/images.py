"""Pictures in and out of files. Everywhere else a picture is an array: uint8 (height, width, 3).

How `read_picture` turns what files hold into 8-bit RGB, and what it keeps beside it:

- grey: the value is repeated in the three channels; black and white becomes 0 and 255;
- palette, YCbCr, HSV, CMYK: converted to RGB by Pillow's plain formulas;
- transparency: kept without loss, unless every pixel is opaque; `read_image`, which has no place
  for it, refuses transparent pixels;
- more than 8 bits: grey is scaled by the depth that the file states (12 bits by 4095, 16 by 65535)
  and rounded; of 16-bit colour Pillow keeps the upper byte;
- 32-bit integers and floats, which state no white, signed integers, LAB: refused;
- EXIF orientation: honoured, so that the picture comes back upright; other EXIF data are dropped,
  or kept byte for byte if that is asked for (`coding.exif`);
- ICC profile: kept as it is and not applied to the values, if it fits them. A CMYK profile does not
  fit, a grey one fits grey pictures only. An RGB profile fits grey pictures, too, if they are
  written in three channels, and so they are;
- several frames or pages: one of them, the first unless another is asked for;
- damaged EXIF data or profile: left out, the picture is read all the same;
- more than 100 megapixels, or 65,535 pixels a side: refused before the pixels are decoded.

What is left out is named in `Picture.left_out`.
"""

import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from mrdcae_lite.coding.bitstream import MAX_PIXELS, MAX_SIDE, size_fits
from mrdcae_lite.coding.exif import from_tiff, without_layout
from mrdcae_lite.coding.metadata import LARGEST, NO_METADATA, Metadata
from mrdcae_lite.core.files import list_files, one_line, write_atomically
from mrdcae_lite.core.pixels import RGB, check_rgb, is_grey
from mrdcae_lite.io.addresses import opened, read, walk

_TIFF = {"format": "TIFF", "compression": "tiff_deflate"}

# Written without loss, so that what is measured is what was decoded.
WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    **{".tif": _TIFF, ".tiff": _TIFF},
    ".webp": {"format": "WEBP", "lossless": True, "exact": True},
    **{".bmp": {"format": "BMP"}, ".ppm": {"format": "PPM"}},
}
PICTURES = (*WRITE_OPTIONS, ".jpg", ".jpeg", ".jp2", ".gif", ".avif", ".pgm")
"""Endings of files that are certainly meant as pictures; others are looked into."""

SAMPLES = Path(__file__).parents[1] / "samples"
"""Folder of the bundled photographs."""

AnyPath = str | os.PathLike[str]

# What Pillow is known to raise on damaged and on oversized files.
_PILLOW_ERRORS = (
    *(Image.DecompressionBombError, OSError, EOFError, SyntaxError, ValueError, TypeError),
    *(LookupError, ArithmeticError, RuntimeError, struct.error, zlib.error),
)

_NOT_OPENED = {"EPS", "WMF", "GRIB", "HDF5", "BUFR"}
"""Formats for which Pillow would start another program, or cannot read without one."""

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by its EXIF orientation."""

_PIXEL_CHUNKS = {
    *(b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"),
}
"""Chunks of a PNG file that its first picture is made of."""

_PNG = b"\x89PNG\r\n\x1a\n"

_ORIGIN_CHUNK = b"mrDC"
"""PNG chunk of `Metadata.origin`: optional, private, and not to be copied to a changed picture."""

_TRANSPARENT = "expected an opaque picture. Received: one with transparent pixels."


class ImageError(ValueError):
    """A picture cannot be read or written; the message is one line."""


class Picture(NamedTuple):
    """What a file shows.

    Attributes:
        pixels: uint8 (height, width, 3).
        metadata: kept beside the pixels.
        left_out: in words, what the file holds besides, such as "camera data" or "2 more frames".
    """

    pixels: RGB
    metadata: Metadata = NO_METADATA
    left_out: tuple[str, ...] = ()


def read_picture(
    source: AnyPath | IO[bytes], *, keep_exif: bool = False, frame: int = 1
) -> Picture:
    """Read a picture with its transparency and colour profile; the module's text has the rules.

    Args:
        source: a file of any kind that Pillow reads, here or at an address (see `addresses`), or
            one opened for reading its bytes.
        keep_exif: keep the camera's data as well: maker, time, place.
        frame: which one of an animation, or which page; 1 is the first.

    Raises:
        ImageError: if there is no such file or frame, it is no picture, damaged, or of a refused
            kind.
        ConnectionError: if a store does not answer.
    """
    name: Any = "the input"
    if type(frame) is not int:
        raise TypeError(f"frame must be a whole number from 1. Received: {frame!r}.")
    try:
        place: Any = Path(source) if isinstance(source, str | os.PathLike) else source
        content: Any = None
        if hasattr(place, "read_bytes"):
            name = source
            content = read(place)
        elif hasattr(place, "read"):
            content = place.read()
        if not isinstance(content, bytes):
            raise TypeError(
                "source must be a path, or a file opened for reading its bytes. Received: "
                f"{type(source).__name__}."
            )
        return read_content(content, keep_exif=keep_exif, frame=frame)
    except ConnectionError:
        raise
    except (OSError, ImageError) as error:
        raise ImageError(f"{name}: {_reason(error)}") from error


def read_content(content: bytes, *, keep_exif: bool = False, frame: int = 1) -> Picture:
    """`read_picture` for the bytes of a file, which its errors do not name."""
    if not content:
        raise ImageError("expected a picture. Received: an empty file. Copy it from its source.")
    try:
        return _read(content, keep_exif, frame)
    except _PILLOW_ERRORS as error:
        for bare in _without_notes(content):
            with suppress(*_PILLOW_ERRORS):  # then the notes were not what is wrong
                picture = _read(bare, keep_exif, frame)
                return picture._replace(left_out=(*picture.left_out, "damaged notes"))
        raise ImageError(_reason(error)) from error


def is_picture(path: Path) -> bool:
    """Whether a file is meant as a picture, by its ending or its first bytes; no `.mrdc` file."""
    if isinstance(path, Path) and not path.is_file():  # at an address, only files have names
        return False
    if path.suffix.lower() in PICTURES:
        return True
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            opened(path) as start,
            Image.open(start, formats=_formats()) as file,
        ):
            return file.format != "MRDC"
    except UnidentifiedImageError:
        return False
    except _PILLOW_ERRORS:
        return path.suffix.lower() != ".mrdc"  # it was begun as a picture


def _without_notes(content: bytes) -> Iterator[bytes]:
    """The file with less and less of what its pixels do not need, if it is a PNG or JPEG file."""
    if content.startswith(_PNG):
        for kept in (_PIXEL_CHUNKS | {b"eXIf"}, _PIXEL_CHUNKS):
            at, parts = len(_PNG), [_PNG]
            while at < len(content):
                end = at + 12 + int.from_bytes(content[at : at + 4])
                if content[at + 4 : at + 8] in kept:
                    parts.append(content[at:end])
                at = end
            yield b"".join(parts)
    elif content.startswith(b"\xff\xd8"):
        for notes in ({*range(0xE0, 0xF0), 0xFE} - {0xEE}, {*range(0xE0, 0xF0), 0xFE}):
            at, parts = 2, [content[:2]]
            while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda":
                end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
                if content[at + 1] not in notes:  # segments of applications, and comments
                    parts.append(content[at:end])
                at = end
            yield b"".join([*parts, content[at:]])


@cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in Image.ID if name not in _NOT_OPENED]


def _read(content: bytes, keep_exif: bool, frame: int) -> Picture:
    """What the bytes of a file show; raises what Pillow raises."""
    # Pillow warns about its own size limit and about damaged metadata; neither matters here.
    with (
        warnings.catch_warnings(action="ignore"),
        Image.open(BytesIO(content), formats=_formats()) as file,
    ):
        _check_size(file)
        frames = _frames(content)
        if not 1 <= frame <= frames:
            raise ImageError(
                f"expected a frame from 1 to {frames}. Received: {frame}. Choose another one."
            )
        if frame > 1:
            file.seek(frame - 1)
            _check_size(file)
        white = stated_white(file)
        file.load()
        camera, left_out, turned = b"", [], None
        with suppress(*_PILLOW_ERRORS):
            turned = _UPRIGHT.get(file.getexif().get(_ORIENTATION, 1))
        try:
            camera = _camera_data(file, content, frame)
        except _PILLOW_ERRORS:
            left_out.append("damaged camera data")
        if camera and not keep_exif:
            left_out.append("camera data")
        icc = file.info.get("icc_profile") or b""
        picture = from_pillow(
            file.copy() if turned is None else file.transpose(turned),
            icc=icc if len(icc) <= LARGEST else b"",
            exif=camera if keep_exif else b"",
            white=white,
        )
        claimed = "icc_profile" in file.info or getattr(file, "icclist", None)
        if claimed and not picture.metadata.icc:
            left_out.append("a colour profile that is damaged or does not fit")
        if frames > 1:
            left_out.append(f"{frames - 1} more frame{'s' * (frames > 2)}")
        return picture._replace(left_out=(*left_out, *_notes(file)))


def _notes(file: Image.Image) -> list[str]:
    """In words, what a file says besides profile and EXIF data."""
    keys = {*file.info, *getattr(file, "text", {})}
    xmp = {"xmp", "XML:com.adobe.xmp", "Raw profile type xmp"}
    profiles = {key for key in keys if key.startswith("Raw profile type")}
    comments = {"comment", *getattr(file, "text", {})} - xmp - profiles
    kinds = {"XMP": xmp, "Photoshop data": {"photoshop"}, "comments": comments}
    return [name for name, found in kinds.items() if keys & found]


def _check_size(file: Image.Image) -> None:
    if not size_fits(file.width, file.height):
        raise Image.DecompressionBombError


def _frames(content: bytes) -> int:
    """How many frames or pages a file has; 1 if what says so is damaged."""
    with suppress(*_PILLOW_ERRORS), Image.open(BytesIO(content), formats=_formats()) as file:
        return max(1, getattr(file, "n_frames", 1))
    return 1


def stated_white(file: Image.Image) -> int | None:
    """The value of white in a grey picture of more than 8 bits, negative if it is that of black.

    None if the picture has 8 bits, or its file does not state it. Raises `ImageError` for signed
    integers.
    """
    if file.format == "TIFF":
        tags = file.tag_v2  # type: ignore[attr-defined]
        bits, kind = tags.get(258, (8,))[0], tags.get(339, (1,))[0]
        if kind == 2:
            raise ImageError(
                f"expected 8 or 16 bits a channel, whole numbers from 0 on. Received: signed "
                f"integers of {bits} bits. Convert it to 8-bit RGB first."
            )
        if not file.mode.startswith("I") or kind != 1 or bits > 16:
            return None
        white: int = (1 << bits) - 1
        return -white if tags.get(262) == 0 else white
    known = file.mode.startswith("I") and file.format in ("PPM", "PNG", "JPEG2000")
    return 65535 if known else None


def _camera_data(file: Image.Image, content: bytes, frame: int) -> bytes:
    """The EXIF data of a frame; raises what Pillow raises, or `ValueError`, if they are damaged."""
    if file.format == "TIFF":
        block = from_tiff(content, frame)
    elif hexadecimal := file.info.get("Raw profile type exif"):  # as ImageMagick writes it
        block = without_layout(bytes.fromhex("".join(hexadecimal.split("\n")[3:])))
    else:
        block = without_layout(file.info.get("exif") or b"")
    if len(block) > LARGEST:
        raise ValueError("the camera data are too large.")
    exif = Image.Exif()
    exif.load(block)  # nothing is kept that others cannot read
    for tag in list(exif):
        exif.get_ifd(tag)
    return block


def read_image(path: AnyPath) -> RGB:
    """Only the pixels of `read_picture`: uint8 (height, width, 3).

    Raises what `read_picture` does, and `ImageError` for pictures with transparent pixels: either
    showing or hiding what is transparent would change the picture.
    """
    picture = read_picture(path)
    try:
        return opaque(picture)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def opaque(picture: Picture) -> RGB:
    """The pixels of a picture; raises `ImageError` if some are transparent."""
    if picture.metadata.alpha is not None:
        raise ImageError(f"{_TRANSPARENT} Put it on a background first.")
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
    try:
        content = image_content(Path(path).suffix, image, metadata, grey=grey)
        write_atomically(path, content)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except OSError as error:
        raise ImageError(
            f"{path}: the picture cannot be written. Received: {error.strerror}. Choose another "
            "place."
        ) from error


def image_content(
    ending: str, image: RGB, metadata: Metadata = NO_METADATA, *, grey: bool = False
) -> bytes:
    """The bytes of the file that `write_image` writes; a PNG file has the origin as well."""
    check_rgb(image)
    ending = ending.lower()
    if ending not in WRITE_OPTIONS:
        raise ImageError(
            f"expected an ending of {' '.join(WRITE_OPTIONS)}, written without loss. "
            f"Received: {ending or 'none'}. Choose one of them."
        )
    if metadata.alpha is not None and ending in (".bmp", ".ppm"):
        raise ImageError(f"{_TRANSPARENT} Choose an ending of .png .tif .webp.")
    options = {**WRITE_OPTIONS[ending], "icc_profile": metadata.icc}
    if options["format"] != "TIFF":
        options["exif"] = metadata.exif
    if options["format"] == "PNG" and metadata.origin:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add(_ORIGIN_CHUNK, metadata.origin)
    buffer = BytesIO()
    try:
        to_pillow(image, metadata, grey=grey).save(buffer, **options)
    except (OSError, ValueError) as error:
        raise ImageError(
            f"the picture cannot be written as {ending}. Received: {error}. Choose another ending."
        ) from error
    return buffer.getvalue()


def is_whole_png(content: bytes) -> bool:
    """Whether a PNG file has all its chunks, and each its checksum."""
    try:
        with Image.open(BytesIO(content), formats=["PNG"]) as file:
            file.verify()
    except _PILLOW_ERRORS:
        return False
    return content.rstrip(b"\0").endswith(b"IEND\xaeB`\x82")


def png_origin(content: bytes) -> bytes:
    """The origin in a PNG file that `image_content` made; none in any other."""
    with suppress(*_PILLOW_ERRORS), Image.open(BytesIO(content), formats=["PNG"]) as file:
        chunks = file.private_chunks  # type: ignore[attr-defined]
        return next((chunk[1] for chunk in chunks if chunk[0] == _ORIGIN_CHUNK), b"")
    return b""


def from_pillow(
    picture: Image.Image, *, icc: bytes | None = None, exif: bytes = b"", white: int | None = None
) -> Picture:
    """The pixels and the transparency of a Pillow image as it stands, whatever its orientation.

    Args:
        picture: of any mode that is not refused (see the module's text).
        icc: colour profile, dropped where it does not fit.
        exif: EXIF data, taken over as they are.
        white: the value of white in modes of more than 8 bits, negative if it is that of black;
            by default 65535 for those of 16 bits, and for none of 32.

    Raises:
        ImageError: if the image's mode is refused.
    """
    colours, alpha = picture, None
    if white is None and picture.mode.startswith("I;16"):
        white = 65535
    if picture.mode in ("F", "LAB", "I") and white is None:
        raise ImageError(
            "expected 8 or 16 bits a channel, whole numbers from 0 on. Received: a picture of "
            f"mode {picture.mode}. Convert it to 8-bit RGB first."
        )
    if white is not None:
        values = np.asarray(picture)
        colours = Image.fromarray(_eight_bits(values, white))
        if "transparency" in picture.info:
            alpha = np.where(values == picture.info["transparency"], 0, 255).astype(np.uint8)
    elif picture.has_transparency_data or picture.mode == "La":
        colours = picture.convert("LA" if picture.mode == "La" else "RGBA")
        alpha = np.array(colours.getchannel("A"))
    if alpha is not None and alpha.min() == 255:
        alpha = None
    pixels = np.array(colours.convert("RGB"))
    return Picture(pixels, Metadata(alpha, _fitting(icc or b"", picture.mode, pixels), exif))


def turned_upright(picture: Image.Image, exif: bytes) -> Image.Image:
    """A picture turned as the orientation in EXIF data says; damaged ones turn nothing."""
    with suppress(*_PILLOW_ERRORS), warnings.catch_warnings(action="ignore"):
        given = Image.Exif()
        given.load(exif)
        way = _UPRIGHT.get(given.get(_ORIENTATION, 1))
        return picture if way is None else picture.transpose(way)
    return picture


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


def pictures_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures of a folder, by ending or first bytes, and what else it holds, by name.

    The folder may be an address (see `addresses`). Raises `OSError` if it cannot be listed.
    """
    _, _, folders, names = next(walk(folder, False, _fail))
    pictures = [folder / name for name in sorted(names) if is_picture(folder / name)]
    others = sorted({*folders, *names} - {path.name for path in pictures})
    return pictures, [folder / name for name in others]


def _fail(error: OSError) -> NoReturn:
    raise error


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


def _eight_bits(values: NDArray[Any], white: int) -> RGB:
    """Grey values scaled to 8 bits and rounded; a negative `white` is that of black."""
    top = abs(white)
    if values.min() < 0 or values.max() > top:
        raise ImageError(
            f"expected values from 0 to {top}, as the file states. Received: {values.min()} to "
            f"{values.max()}. Convert it to 8 or 16 bits first."
        )
    scaled = ((values.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)
    return scaled if white > 0 else 255 - scaled


def _fitting(icc: bytes, source_mode: str, pixels: RGB) -> bytes:
    """The profile if it is whole and describes such pixels, by its bytes 16 to 19; else none."""
    space = icc[16:20]
    if int.from_bytes(icc[:4]) > len(icc) or icc[36:40] != b"acsp":
        return b""
    fits = is_grey(pixels) if space == b"GRAY" else space == b"RGB " and source_mode != "CMYK"
    return icc if fits else b""


def _reason(error: Exception) -> str:
    """What is wrong with a file, as the end of an error message."""
    wanted, found = "a whole picture", f"a damaged file ({one_line(error)})"
    remedy = "Copy it again from its source"
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        wanted = f"at most {MAX_PIXELS // 10**6} megapixels and {MAX_SIDE:,} pixels a side"
        found = "more"
        remedy = "Scale it down or cut it into parts"
    elif isinstance(error, UnidentifiedImageError):
        wanted, found = "a picture", "a file of a kind that Pillow does not know"
        remedy = "Convert it to PNG first"
    elif isinstance(error, OSError) and error.strerror:
        wanted, found, remedy = "a readable picture", error.strerror, "Check the path"
    return f"expected {wanted}. Received: {found}. {remedy}."
