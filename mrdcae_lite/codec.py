"""The codec: compress a picture to the bytes of a `.mrdc` file, and back.

`runtime.encoder` and `runtime.decoder` do the work.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.bitstream import MAX_PIXELS, Header
from mrdcae_lite.coding.metadata import NO_METADATA, Metadata, check_alpha
from mrdcae_lite.coding.metadata import pack as pack_metadata
from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.core.distortion import psnr
from mrdcae_lite.core.pixels import RGB, check_rgb
from mrdcae_lite.core.pyramid import PATCH
from mrdcae_lite.core.quality import DEFAULT_EFFORT, QUALITIES, check_effort, check_quality
from mrdcae_lite.core.tiling import Tiling
from mrdcae_lite.runtime import encoder
from mrdcae_lite.runtime.decoder import Decoder, Region, Symbols
from mrdcae_lite.runtime.encoder import Latents, Router
from mrdcae_lite.runtime.frozen import FrozenModel
from mrdcae_lite.runtime.parallel import thread_count

if TYPE_CHECKING:
    from mrdcae_lite.training.model import MRDCAE


_NEAR = 12  # qualities from the lowest on that are tried before a rate is out of reach


class Codec:
    """A trained model that writes and reads `.mrdc` files.

    `models.load` finds a shipped one, `Codec.from_model` makes one from a trained model. It works
    on tiles of at most 1024 x 1024 pixels, several at a time (`runtime.decoder` says what that
    takes of memory). It can be pickled, by its weights or, if `origin` is set, by a function and
    its argument.

    Args:
        model: the frozen model.
    """

    def __init__(self, model: FrozenModel) -> None:
        self.model = model
        self.origin: tuple[Callable[[str], Codec], str] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (self.origin[0], self.origin[1:]) if self.origin else (Codec, (self.model,))

    @property
    def id(self) -> bytes:
        """4 bytes that name the model in the header of every file."""
        return self.model.id

    @property
    def architecture(self) -> Architecture:
        """Hyperparameters of the model."""
        return self.model.architecture

    def compress(
        self,
        image: RGB,
        quality: int | None = None,
        *,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        roi: NDArray[np.bool_] | None = None,
        routing: NDArray[np.uint8] | None = None,
        effort: int = DEFAULT_EFFORT,
        metadata: Metadata = NO_METADATA,
        threads: int | None = None,
    ) -> bytes:
        """The bytes of a `.mrdc` file that decodes to an approximation of `image`.

        Args:
            image: uint8 (height, width, 3).
            quality: 0 (smallest) to 100 (best); 50 if nothing is asked for.
            target_bpp: instead of a quality, the largest file of at most so many bits per pixel.
            target_psnr: instead of a quality, the smallest file of at least so many dB; a file
                without loss where no quality has as many.
            roi: bool (height, width), a region of interest: patches it touches get all three
                levels, all others one level less than they would have. The codec must have three.
            routing: uint8 (rows, columns) of patches: the levels themselves, 1 to 3, instead of
                those that attention proposes and the encoder checks. No tile is stored without
                loss then.
            effort: 0 to 5, how long to search for better symbols. 1, the default, chooses them by
                rate-distortion-optimised quantisation, which 0 leaves out. Each further step
                adapts the latents to the decoder once more and chooses again, which takes up to
                twice as long as the whole encoding at 1; not in tiles that look drawn. At the same
                quality the file grows by a few per cent and the picture gains more than that is
                worth. Decoding takes the same time.
            metadata: what to keep beside the colours; `metadata.read_metadata` gets it back.
            threads: tiles to compute at a time; the file does not depend on it. By default the
                environment variable MRDCAE_THREADS, or else a thread for each processor.

        Raises:
            TypeError: if the image is no array of uint8.
            ValueError: for an impossible argument or an unreachable target.
        """
        _check_size(image)
        _check_targets(quality, target_bpp, target_psnr)
        check_alpha(metadata, image.shape)
        router, packed = self._router(image, roi, routing), pack_metadata(metadata)
        threads = thread_count(threads)
        write = partial(
            encoder.encode,
            self.model,
            image,
            router=router,
            effort=check_effort(effort),
            store=None if routing is None else False,
            metadata=packed,
            threads=threads,
        )
        encode = cache(write)

        @cache
        def score(number: int) -> float:
            restored = self.decompress(encode(number), threads=threads)
            return psnr(image, restored, data_range=255)

        if target_bpp is not None:
            pixels = image.shape[0] * image.shape[1]
            quality = _largest_within(lambda q: 8 * len(encode(q)) / pixels, target_bpp)
        elif target_psnr is not None:
            quality = _smallest_reaching(score, target_psnr)
            if quality is None:
                return write(QUALITIES - 1, store=True)
        return encode(check_quality(50 if quality is None else quality))

    def analyse(self, image: RGB, quality: int = 50) -> Latents:
        """Latents, saliency scores and the routing that attention proposes, before the check.

        The image is uint8 (height, width, 3).
        """
        check_rgb(image)
        whole = self._tiling(image.shape).whole
        return encoder.analyse(self.model, image, check_quality(quality), whole)

    def saliency(self, image: RGB, quality: int = 50) -> NDArray[np.float32]:
        """Saliency score of every 32 x 32 patch, float32 (rows, columns) in [0, 1]."""
        return self.analyse(image, quality).scores

    def routing_map(self, image: RGB, quality: int = 50) -> NDArray[np.uint8]:
        """Level 1, 2 or 3 of every 32 x 32 patch, uint8 (rows, columns).

        A file has it at the efforts 0 and 1; further passes may turn other levels on.
        """
        check_rgb(image)
        tiling = self._tiling(image.shape)
        routing = np.empty(tiling.shape, np.uint8)
        for tile in tiling:
            latents = encoder.analyse(self.model, image, check_quality(quality), tile)
            routing[tile.slices] = encoder.route(self.model, latents, quality)
        return routing

    def _tiling(self, shape: tuple[int, ...]) -> Tiling:
        return Tiling(shape[0], shape[1], self.architecture.unit)

    def _router(
        self, image: RGB, roi: NDArray[Any] | None, routing: NDArray[Any] | None
    ) -> Router | None:
        """What decides the routing of a tile, from the arguments of `compress`."""
        if roi is not None and routing is not None:
            raise ValueError("give roi or routing. Received: both.")
        if roi is not None:
            region = self._check_roi(np.asarray(roi), image.shape)
            return lambda checked, tile: _prefer(checked(), region[tile.on_grid(1).slices])
        if routing is not None:
            given = self._check_routing(np.asarray(routing), image.shape)
            return lambda _, tile: given[tile.slices]
        return None

    def _check_roi(self, roi: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
        if self.architecture.highest < bitstream.LEVELS:
            raise ValueError(
                "roi needs a codec with three levels. Received: one with "
                f"{self.architecture.highest}. "
                "Leave roi out, or take the codec lite."
            )
        if roi.shape != shape[:2] or roi.dtype != bool:
            raise ValueError(
                f"roi must be a bool array of shape {shape[:2]}. "
                f"Received: {roi.dtype} {roi.shape}. Make it with the image's height and width."
            )
        return roi

    def _check_routing(self, routing: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.uint8]:
        expected, highest = self._tiling(shape).shape, self.architecture.highest
        fits = routing.shape == expected and routing.dtype == np.uint8
        if not fits or routing.min() < 1 or routing.max() > highest:
            raise ValueError(
                f"routing must be a uint8 array of shape {expected} with levels 1 to {highest}. "
                f"Received: {routing.dtype} {routing.shape}. Start from routing_map(image)."
            )
        return routing

    def decompress(
        self,
        data: bytes,
        *,
        level: int = 3,
        region: Region | None = None,
        filters: bool = True,
        threads: int | None = None,
    ) -> RGB:
        """The image, uint8 (height, width, 3).

        Args:
            data: bytes of a `.mrdc` file made with this codec's model.
            level: 1, 2 or 3: decode only the low, low and medium, or all levels. The bytes of
                higher levels need not be there.
            region: (y, x, height, width) in pixels: decode only this part, from the tiles it
                touches and their neighbours. Equal to the same part of the whole image.
            filters: apply deblocking and refinement; without them blocking is visible.
            threads: as in `compress`; the picture does not depend on them.

        Raises:
            BitstreamError: if the bytes are damaged or were made with another model.
            ValueError: if the region does not lie in the image.
        """
        decoder = Decoder(self.model, data, level)
        return decoder.picture(region, filters=filters, threads=thread_count(threads))

    def read_symbols(
        self, data: bytes, *, level: int = 3
    ) -> tuple[Symbols, NDArray[np.uint8], Header]:
        """Entropy-decode a file: symbols of all levels, routing map, header.

        The symbols are integers and the same on every machine. Levels above `level`, and
        positions where the routing map switches a level off or a tile is stored, are zero; the map
        comes back with `level` as its maximum.
        """
        decoder = Decoder(self.model, data, level)
        return decoder.symbols(), decoder.routing, decoder.header

    @classmethod
    def from_model(cls, model: "MRDCAE") -> "Codec":
        """The codec of a model as it is now; `training.tables` can fit its coding tables."""
        return cls(model.freeze())

    def to_model(self, model: "MRDCAE") -> None:
        """Give `model` the weights of this codec, to train on: `from_model` backwards.

        Raises `ValueError` if the model is of another architecture.
        """
        model.load_frozen(self.model)

    def save(self, path: str | Path) -> None:
        """Write the codec to one file: a compressed NumPy archive without pickled objects."""
        self.model.save(path)

    @classmethod
    def read(cls, content: bytes) -> "Codec":
        """The codec in the bytes of a file that `save` wrote; raises `ValueError` for others."""
        if not isinstance(content, bytes):
            raise TypeError(
                f"content must be the bytes of a codec file. Received: {type(content).__name__}. "
                "`mrdcae_lite.load` takes a path."
            )
        return cls(FrozenModel.read(content))


def _check_size(image: RGB) -> None:
    check_rgb(image)
    if not bitstream.size_fits(image.shape[1], image.shape[0]):
        raise ValueError(
            f"a picture may have at most {bitstream.MAX_SIDE} pixels a side and {MAX_PIXELS:,} "
            f"in all. Received: {image.shape[1]}x{image.shape[0]}. Split it."
        )


def _check_targets(
    quality: int | None, target_bpp: float | None, target_psnr: float | None
) -> None:
    if sum(v is not None for v in (quality, target_bpp, target_psnr)) > 1:
        raise ValueError("give one of quality, target_bpp, target_psnr. Received: more than one.")
    for name, target in (("target_bpp", target_bpp), ("target_psnr", target_psnr)):
        try:
            fits = target is None or (0 < target < np.inf and not isinstance(target, bool))
        except TypeError:  # such as text
            fits = False
        if not fits:
            raise ValueError(f"{name} must be a positive number. Received: {target!r}.")


def _prefer(routing: NDArray[np.uint8], roi: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Level 3 for patches that the region touches, one level less than before elsewhere."""
    rows, columns = routing.shape
    padded = np.zeros((rows * PATCH, columns * PATCH), bool)
    padded[: roi.shape[0], : roi.shape[1]] = roi
    touched = padded.reshape(rows, PATCH, columns, PATCH).any(axis=(1, 3))
    return np.where(touched, 3, np.maximum(routing, 2) - 1).astype(np.uint8)


def _largest_within(bpp: Callable[[int], float], target: float) -> int:
    """The best quality whose rate `bpp` is at most the target."""
    fitting = bisect_right(range(QUALITIES), target, key=bpp)
    if fitting > 0:
        return fitting - 1
    least = min(range(_NEAR), key=bpp)  # in tiny files the rate does not quite grow
    if bpp(least) <= target:
        return least
    raise ValueError(
        f"target_bpp={target} is out of reach for this picture. Quality {least} takes "
        f"{bpp(least):.4f} bits per pixel: ask for more."
    )


def _smallest_reaching(score: Callable[[int], float], target: float) -> int | None:
    """The lowest quality whose PSNR `score` is at least the target, or None."""
    quality = bisect_left(range(QUALITIES), target, key=score)
    while quality > 0 and score(quality - 1) >= target:
        quality -= 1
    return quality if quality < QUALITIES else None
