"""Pillow plugin: `Image.open("x.mrdc")` and `image.save("x.mrdc", quality=50)`.

`import mrdcae_lite` registers it. A picture is opened by its header and what is kept beside the
colours, which stand at the start of the file; pixels are decoded when Pillow first needs them.
The mode is RGB, or L if the picture is grey, and RGBA or LA if there is transparency. `info` has
"quality", "model" (as in the header) and, if they are kept, "icc_profile" and "exif".

`save` takes what `Codec.compress` does: quality, target_bpp, target_psnr, effort; and
    model        name of a shipped codec or codec file; `open` finds shipped ones only
    icc_profile  default: that of the image's `info`; one that does not fit the pixels is dropped
    exif         bytes or `Image.Exif`: none are kept unless they are given. If they say that the
                 picture is turned, it is turned upright, as a file has no orientation. Damaged ones
                 are left out, with a warning.
    save_all     as a file holds one picture, an image with further frames is refused

Pillow empties a file of that name before it asks a plugin: a wish that cannot be met, such as a
`target_psnr` out of reach, costs what was there. `Codec.compress` first and write then.
"""

import warnings
from io import SEEK_END, BytesIO
from typing import IO, Any

from PIL import Image, ImageFile

from mrdcae_lite.coding.bitstream import MAGIC
from mrdcae_lite.io.registration import FORMAT

_START = 128  # bytes; no header is longer


def accepts(prefix: bytes) -> bool:
    """Whether a file that begins so is ours."""
    return prefix.startswith(MAGIC)


class MrdcImageFile(ImageFile.ImageFile):
    """An opened file; damage is an `OSError`, as Pillow's users expect."""

    format = FORMAT
    format_description = "MR-DCAE Lite"

    def _open(self) -> None:
        from mrdcae_lite.coding import bitstream
        from mrdcae_lite.coding.metadata import read_metadata
        from mrdcae_lite.io.images import mode

        assert self.fp is not None
        start = self.fp.read(_START)
        if not accepts(start):
            raise SyntaxError("not a .mrdc file")
        there = self.fp.seek(0, SEEK_END)  # a damaged header may claim any length
        self.fp.seek(len(start))
        try:
            header = bitstream.read_header(start)
            start += self.fp.read(min(there, sum(header.lengths[:2])))
            metadata = read_metadata(start)
        except ValueError as error:
            raise OSError(str(error)) from error
        self._size = header.width, header.height
        self._mode = mode(metadata, header.grey)
        self.info |= {"quality": header.quality, "model": header.model.hex()}
        kept = {"icc_profile": metadata.icc, "exif": metadata.exif}
        self.info |= {name: data for name, data in kept.items() if data}
        self.tile = [ImageFile._Tile(FORMAT, (0, 0, *self._size))]

    def load(self) -> Any:
        """Decode the whole file, if that has not been done."""
        if self.tile and self.tile[0].codec_name == FORMAT:
            pixels = _decoded(self._whole(), self.mode)
            if self._exclusive_fp and self.fp is not None:
                self.fp.close()
            self.fp = BytesIO(pixels)
            self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Nothing to seek: that it is there tells `ImageFile.Parser` to wait for the whole file."""

    def verify(self) -> None:
        """Raise `OSError` if a part of the file is missing or does not match its checksum."""
        from mrdcae_lite.coding import bitstream

        try:
            bitstream.unpack(self._whole())
        except ValueError as error:
            raise OSError(str(error)) from error
        super().verify()

    def _whole(self) -> bytes:
        if self.fp is None or self.fp.closed:
            raise ValueError("the file is closed. Open it again.")
        self.fp.seek(0)
        return self.fp.read()


def _decoded(data: bytes, mode: str) -> bytes:
    """The pixels of a file as Pillow's raw decoder reads them."""
    from mrdcae_lite.coding.metadata import read_metadata
    from mrdcae_lite.io.images import to_pillow
    from mrdcae_lite.models import load_for

    try:
        pixels, metadata = load_for(data).decompress(data), read_metadata(data)
    except ValueError as error:
        raise OSError(str(error)) from error
    return to_pillow(pixels, metadata, grey=mode.startswith("L")).tobytes()


def save(image: Image.Image, file: IO[bytes], _name: str | bytes) -> None:
    """Write a picture; `OSError` and `ValueError` say what cannot be written."""
    from mrdcae_lite.coding.exif import without_layout
    from mrdcae_lite.io.images import ImageError, from_pillow, stated_white, turned_upright
    from mrdcae_lite.models import load

    options = image.encoderinfo
    exif = options.get("exif") or b""
    exif = exif.tobytes() if isinstance(exif, Image.Exif) else exif
    icc = options.get("icc_profile", image.info.get("icc_profile"))
    for name, given in (("exif", exif), ("icc_profile", icc or b"")):
        if not isinstance(given, bytes):
            raise TypeError(f"{name} must be bytes. Received: {type(given).__name__}.")
    try:
        white = stated_white(image)
        kept = b""
        try:
            kept = without_layout(exif)
        except ValueError as error:
            warnings.warn(f"camera data are left out: {error}", stacklevel=5)
        upright = turned_upright(image, exif)
        pixels, metadata, _ = from_pillow(upright, icc=icc, exif=kept, white=white)
    except ImageError as error:
        raise OSError(str(error)) from error
    wishes = {"quality", "target_bpp", "target_psnr", "effort"} & set(options)
    how = {name: options[name] for name in wishes}
    file.write(load(options.get("model", "lite")).compress(pixels, metadata=metadata, **how))


def save_all(image: Image.Image, file: IO[bytes], name: str | bytes) -> None:
    """Write the only picture of a series, and refuse longer ones."""
    more = image.encoderinfo.get("append_images") or ()
    frames = getattr(image, "n_frames", 1) + len(list(more))
    if frames > 1:
        raise OSError(
            f"expected one picture, as a .mrdc file holds one. Received: {frames} frames. "
            "Save each of them as a file."
        )
    save(image, file, name)
