"""Pillow plugin: `Image.open("x.mrdc")` and `image.save("x.mrdc", quality=50)`.

`import mrdcae_lite` registers it. A picture is opened by its header and what is kept beside the
colours, which stand at the start of the file; pixels are decoded when Pillow first needs them.
The mode is RGB, or L if the picture is grey, and RGBA or LA if there is transparency. `info` has
"quality", "model" (as in the header) and, if they are kept, "icc_profile" and "exif".

`save` takes what `Codec.compress` does: quality, target_bpp, target_psnr, rdoq; and
    model        name of a shipped codec or codec file; `open` finds shipped ones only
    icc_profile  default: that of the image's `info`; one that does not fit the pixels is dropped
    exif         bytes or `Image.Exif`, kept as they are: none are kept unless they are given

Pillow empties a file of that name before it asks a plugin: a wish that cannot be met, such as a
`target_psnr` out of reach, costs what was there. `Codec.compress` first and write then.
"""

from io import SEEK_END
from typing import IO, Any

from PIL import Image, ImageFile

from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.metadata import read_metadata
from mrdcae_lite.io.images import ImageError, from_pillow, mode, to_pillow
from mrdcae_lite.models import load, load_for

FORMAT = "MRDC"
_START = 128  # bytes; no header is longer


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(bitstream.MAGIC)


class MrdcImageFile(ImageFile.ImageFile):
    """An opened file; damage is an `OSError`, as Pillow's users expect."""

    format = FORMAT
    format_description = "MR-DCAE Lite"

    def _open(self) -> None:
        assert self.fp is not None
        start = self.fp.read(_START)
        if not _accept(start):
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


class _Decoder(ImageFile.PyDecoder):
    """Turns the whole file into pixels."""

    _pulls_fd = True

    def decode(self, buffer: Any) -> tuple[int, int]:
        assert self.fd is not None
        data = self.fd.read()
        try:
            pixels = load_for(data).decompress(data)
            metadata = read_metadata(data)
        except ValueError as error:
            raise OSError(str(error)) from error
        picture = to_pillow(pixels, metadata, grey=bitstream.read_header(data).grey)
        self.set_as_raw(picture.tobytes())
        return -1, 0  # all is read, nothing went wrong


def _save(image: Image.Image, file: IO[bytes], _name: str | bytes) -> None:
    options = image.encoderinfo
    exif = options.get("exif") or b""
    try:
        pixels, metadata = from_pillow(
            image,
            icc=options.get("icc_profile", image.info.get("icc_profile")),
            exif=exif.tobytes() if isinstance(exif, Image.Exif) else exif,
        )
    except ImageError as error:
        raise OSError(str(error)) from error
    wishes = {"quality", "target_bpp", "target_psnr", "rdoq"} & set(options)
    how = {name: options[name] for name in wishes}
    file.write(load(options.get("model", "lite")).compress(pixels, metadata=metadata, **how))


Image.register_open(FORMAT, MrdcImageFile, _accept)
Image.register_decoder(FORMAT, _Decoder)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".mrdc")
Image.register_mime(FORMAT, "image/x-mrdc")
