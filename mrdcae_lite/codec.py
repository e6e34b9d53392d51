"""From pixels to bytes and back: a trained model, frozen into a codec."""

import hashlib
import io
import json
import operator
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite import bitstream, entropy, pyramid
from mrdcae_lite.bitstream import BitstreamError, Header
from mrdcae_lite.extras import NOTHING, Extras, check_alpha
from mrdcae_lite.extras import pack as pack_extras
from mrdcae_lite.images import RGB, check_rgb, is_grey, write_atomically
from mrdcae_lite.metrics import psnr
from mrdcae_lite.patches import pad_to_multiple
from mrdcae_lite.preparation import denormalise, normalise
from mrdcae_lite.prior import IntegerPrior, Request
from mrdcae_lite.prior import shapes as prior_shapes
from mrdcae_lite.quality import QUALITIES, ROUNDING, check_quality, quality_features
from mrdcae_lite.tiling import Place, Tiling
from mrdcae_lite.transforms import Architecture, Transforms

if TYPE_CHECKING:
    from mrdcae_lite.model import MRDCAE

RATE_WEIGHT = 0.05
"""Squared steps of error the encoder accepts to save one bit when it chooses symbols."""


class Latents(NamedTuple):
    """An analysed image: three levels in quantisation steps, and what attention says.

    Attributes:
        levels: float32 (h/32, w/32, 192), (h/16, w/16, 144), (h/8, w/8, 144).
        scores: float32 (h/32, w/32) saliency in [0, 1].
        routing: uint8 (h/32, w/32), the level 1, 2 or 3 of each patch.
    """

    levels: list[NDArray[np.float32]]
    scores: NDArray[np.float32]
    routing: NDArray[np.uint8]

    def at(self, place: Place) -> "Latents":
        """Views of the latents at a place."""
        rows = self.routing.shape[0]
        levels = [y[place.cells(y.shape[0] / rows)] for y in self.levels]
        return Latents(levels, self.scores[place.cells(1)], self.routing[place.cells(1)])


class Codec:
    """A trained model that writes and reads `.mrdc` files.

    Args:
        architecture: of the model.
        transforms: float16 weights of the networks, by name.
        prior: integer arrays of the context model.
        tables: the coding tables.

    `Codec.from_model` makes one from a trained model, `load` finds a shipped one. It works on
    tiles: beside the picture and the file it keeps the symbols of up to three rows of tiles.
    """

    def __init__(
        self,
        architecture: Architecture,
        transforms: Mapping[str, NDArray[np.float16]],
        prior: Mapping[str, NDArray],
        tables: entropy.Tables,
    ) -> None:
        _check_arrays(transforms, architecture.shapes(), ("float16",))
        expected = prior_shapes(architecture.prior_width, architecture.resolutions)
        _check_arrays(prior, expected, ("int8", "int32"))
        self.architecture, self.tables = architecture, tables
        self._transform_weights, self._prior_weights = dict(transforms), dict(prior)
        self._transforms = Transforms(architecture, transforms)
        self._prior = IntegerPrior(prior, architecture.resolutions)
        self._levels = pyramid.levels(architecture.resolutions)
        self._highest = 1 + self._section(len(self._levels) - 1)  # level of a patch
        self.id = self._fingerprint()

    @classmethod
    def from_model(cls, model: "MRDCAE", *, tables: entropy.Tables | None = None) -> "Codec":
        """Freeze a built model: networks to float16, the prior and the tables to integers."""
        if not model.built:
            raise ValueError("the model has no weights yet. Call model.build() or fit it first.")
        architecture = _architecture(model)
        transforms = {name: w.astype(np.float16) for name, w in model.frozen_transforms().items()}
        prior = model.prior.freeze(quality_features(np.arange(QUALITIES)))
        return cls(architecture, transforms, prior, tables or entropy.laplace_tables())

    def into_model(self, model: "MRDCAE") -> None:
        """Give `model` the weights of this codec, to train on: `from_model` backwards.

        Raises `ValueError` if the model is of another architecture.
        """
        wanted = _architecture(model)
        if wanted != self.architecture:
            raise ValueError(
                f"expected a codec like the model, {wanted}. Received: {self.architecture}. Make "
                "the model with the options that the codec was trained with."
            )
        model.build()
        model.thaw(self._transform_weights, self._prior_weights)

    def refined(
        self, images: Sequence[RGB], *, qualities: Sequence[int] = (5, 30, 55, 80)
    ) -> "Codec":
        """The same networks with tables fitted to the symbols of some photographs.

        Args:
            images: uint8 (height, width, 3) each, not of a test set.
            qualities: each image is analysed at each of them.
        """
        counter = entropy.SymbolCounter()
        for image in images:
            for quality in qualities:
                latents = self.analyse(image, quality)
                for tile in self._tiling(image.shape):
                    self._encode_tile(latents.at(tile), quality, [counter] * 3, fast=False)
        tables = entropy.fit_tables(counter.histograms)
        return Codec(self.architecture, self._transform_weights, self._prior_weights, tables)

    def _tiling(self, shape: Sequence[int]) -> Tiling:
        """How a picture of a shape (height, width, ...) is cut."""
        return Tiling(shape[0], shape[1], pyramid.patches_a_cell(self.architecture.resolutions))

    def _section(self, level: int) -> int:
        """Which section of a file a level is written to: those that are always on share one."""
        return max(level - pyramid.always_on(len(self._levels)) + 1, 0)

    # --- compress ---------------------------------------------------------------------------

    def compress(
        self,
        image: RGB,
        quality: int | None = None,
        *,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        roi: NDArray[np.bool_] | None = None,
        routing: NDArray[np.uint8] | None = None,
        fast: bool = False,
        extras: Extras = NOTHING,
    ) -> bytes:
        """The bytes of a `.mrdc` file that decodes to an approximation of `image`.

        Args:
            image: uint8 (height, width, 3).
            quality: 0 (smallest) to 100 (best); 50 if nothing is asked for.
            target_bpp: instead of a quality, the largest file of at most so many bits per pixel.
            target_psnr: instead of a quality, the smallest file of at least so many dB. Size and
                PSNR are taken to grow with the quality, as they do but for the tiniest pictures.
            roi: bool (height, width): patches it touches get all three levels, all others one
                level less than attention gives them. The codec must have three.
            routing: uint8 (rows, columns) of patches: the levels themselves, 1 to 3, instead of
                those that attention gives.
            fast: round the latents plainly instead of weighing error against bits.
            extras: transparency, colour profile and camera data to be kept with it.

        Raises:
            TypeError: if the image is no array of uint8.
            ValueError: for an impossible argument or an unreachable target.
        """
        check_rgb(image)
        if not bitstream.size_fits(image.shape[1], image.shape[0]):
            raise ValueError(
                f"a picture may have at most {bitstream.MAX_SIDE} pixels a side and "
                f"{bitstream.MAX_PIXELS:,} in all. Received: {image.shape[1]}x{image.shape[0]}. "
                "Split it."
            )
        if sum(v is not None for v in (quality, target_bpp, target_psnr)) > 1:
            raise ValueError(
                "give one of quality, target_bpp and target_psnr. Received: more than one."
            )
        for name, target in (("target_bpp", target_bpp), ("target_psnr", target_psnr)):
            if target is not None and not 0 < target < np.inf:
                raise ValueError(f"{name} must be a positive number. Received: {target!r}.")
        if roi is not None and routing is not None:
            raise ValueError("give roi or routing. Received: both.")
        if roi is not None:
            roi = self._check_roi(np.asarray(roi), image.shape)
        if routing is not None:
            routing = self._check_routing(np.asarray(routing), image.shape)
        check_alpha(extras, image.shape)
        packed = pack_extras(extras)  # once, however many qualities are tried

        @cache
        def encode(number: int) -> bytes:
            return self._encode(image, number, roi, routing, fast, packed)

        if target_bpp is not None:
            quality = _largest_within(
                lambda q: 8 * len(encode(q)) / (image.shape[0] * image.shape[1]), target_bpp
            )
        elif target_psnr is not None:
            quality = _smallest_reaching(
                lambda q: psnr(image, self.decompress(encode(q)), data_range=255), target_psnr
            )
        return encode(check_quality(50 if quality is None else quality))

    def _encode(
        self,
        image: RGB,
        quality: int,
        roi: NDArray[np.bool_] | None,
        routing: NDArray[np.uint8] | None,
        fast: bool,
        extras: bytes,
    ) -> bytes:
        tiling = self._tiling(image.shape)
        chosen = np.empty(tiling.shape, np.uint8)
        streams = []
        for tile in tiling:
            latents = self._analyse(image, quality, tile)
            if roi is not None:
                latents = latents._replace(routing=_prefer(latents.routing, roi[tile.pixels]))
            if routing is not None:
                latents = latents._replace(routing=routing[tile.cells(1)])
            chosen[tile.cells(1)] = latents.routing
            coders = [entropy.SymbolEncoder(self.tables) for _ in range(3)]
            self._encode_tile(latents, quality, coders, fast)
            streams.append([coder.finish() for coder in coders])
        sections = [bitstream.join_streams(parts) for parts in zip(*streams, strict=True)]
        height, width = image.shape[:2]
        grey = is_grey(image)
        header = Header(width, height, quality, self.id, grey=grey)
        return bitstream.pack(header, (extras, entropy.write_routing(chosen), *sections))

    def analyse(self, image: RGB, quality: int) -> Latents:
        """What the encoder sees: latents, saliency scores and routing of an image.

        Args:
            image: uint8 (height, width, 3).
            quality: 0 to 100.
        """
        check_rgb(image)
        return self._analyse(image, check_quality(quality), self._tiling(image.shape).everything)

    def _analyse(self, image: RGB, quality: int, place: Place) -> Latents:
        """Latents of a place, from its pixels and as many around it as they depend on."""
        wide = self._tiling(image.shape).grown(place, self.architecture.encoder_reach)
        unit = pyramid.patches_a_cell(self.architecture.resolutions)
        piece = pad_to_multiple(image[wide.pixels], unit * pyramid.PATCH)
        levels, logits = self._transforms.analyse(normalise(piece), quality)
        if logits is None:
            scores = np.ones(wide.shape)
            routing = np.full(scores.shape, self._highest, np.uint8)
        else:
            scores = 0.5 * (1 + np.tanh(logits / 2))  # the sigmoid, without overflow
            thresholds = self._transforms.thresholds()[: self._highest - 1]
            routing = np.ones(scores.shape, np.uint8)
            for threshold in thresholds:
                routing += scores > threshold
        latents = Latents(levels, scores.astype(np.float32), routing)
        return latents.at(place.within(wide))

    def contrast_gains(
        self, symbols: Sequence[NDArray[np.int16]], quality: int
    ) -> list[NDArray[np.float32]]:
        """What the latents of each level were multiplied by before they were rounded.

        Args:
            symbols: of all levels, as `read_symbols` returns them.
            quality: 0 to 100.

        Returns one for the low level and (rows, columns, 1) of the grid of each other level; see
        `pyramid.contrast_gain`.
        """
        gains: list[NDArray[np.float32]] = []
        known: list[NDArray[np.float32]] = []
        for level in symbols:
            gains.append(self._transforms.contrast_gain(known, quality))
            known.append(self._transforms.dequantise(level.astype(np.float32), known, quality))
        return gains

    def error_worth(self, quality: int) -> list[NDArray[np.float32]]:
        """What a squared error of one in each channel, as it was rounded, costs in the picture.

        Args:
            quality: 0 to 100.

        Returns float32 (channels,) of each level, coarse to fine, in squared quantisation steps,
        for places where `contrast_gains` is one; elsewhere divide by the square of the gain.
        """
        return self._transforms.worth(check_quality(quality))

    def saliency(self, image: RGB, quality: int = 50) -> NDArray[np.float32]:
        """Saliency score of every 32 x 32 patch, float32 (rows, columns) in [0, 1]."""
        return self.analyse(image, quality).scores

    def routing_map(self, image: RGB, quality: int = 50) -> NDArray[np.uint8]:
        """Level 1, 2 or 3 of every 32 x 32 patch, uint8 (rows, columns)."""
        return self.analyse(image, quality).routing

    def _check_roi(self, roi: NDArray, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        if self._highest < 3:
            raise ValueError(
                "roi needs a codec with three levels to give a region more of them. Received: one "
                "with a single level. Leave roi out, or take the codec lite."
            )
        if roi.shape != shape[:2] or roi.dtype != bool:
            raise ValueError(
                f"roi must be a bool array of shape {shape[:2]}. "
                f"Received: {roi.dtype} {roi.shape}. Make it with the image's height and width."
            )
        return roi

    def _check_routing(self, routing: NDArray, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        expected, highest = self._tiling(shape).shape, self._highest
        fits = routing.shape == expected and routing.dtype == np.uint8
        if not fits or routing.min() < 1 or routing.max() > highest:
            raise ValueError(
                f"routing must be a uint8 array of shape {expected} with levels 1 to {highest}. "
                f"Received: {routing.dtype} {routing.shape}. Start from routing_map(image)."
            )
        return routing

    def _encode_tile(
        self, latents: Latents, quality: int, coders: Sequence[entropy.SymbolSink], fast: bool
    ) -> None:
        """Choose the symbols of one tile and write each level's to its coder."""
        worth = self._transforms.worth(quality)
        chosen = [np.zeros(y.shape, np.float32) for y in latents.levels]
        scaled: list[NDArray[np.float32]] = []
        known: list[NDArray[np.float32]] = []

        def answer(request: Request) -> NDArray[np.int32]:
            if request.level == len(scaled):  # the first request of this level
                if scaled:
                    last = chosen[len(known)]
                    known.append(self._transforms.dequantise(last, known, quality))
                gain = self._transforms.contrast_gain(known, quality)
                scaled.append(latents.levels[request.level] * gain)
            y = scaled[request.level][request.rows, request.columns, request.channels]
            size = np.minimum(np.floor(abs(y) + ROUNDING), entropy.MAX_SYMBOL)
            symbols = np.copysign(size, y).astype(np.int32)
            if not fast:
                error = worth[request.level][request.channels]
                symbols = self._cheaper(y, symbols, request.indices, error)
            coders[self._section(request.level)].write(symbols, request.indices)
            chosen[request.level][request.rows, request.columns, request.channels] = symbols
            return symbols

        self._prior.run(quality, self._masks(latents.routing), answer)

    def _masks(self, routing: NDArray[np.uint8]) -> list[NDArray[np.bool_]]:
        """Where each level is on, each on its own grid."""
        return level_masks(routing, [level.scale for level in self._levels])

    def _cheaper(
        self,
        y: NDArray[np.float32],
        symbols: NDArray[np.int32],
        indices: NDArray[np.uint8],
        worth: NDArray[np.float32],
    ) -> NDArray[np.int32]:
        """Rate-distortion-optimised quantisation: one step toward zero where that pays."""
        some = np.nonzero(symbols)  # few of them
        y, larger, tables = y[some], symbols[some], indices[some]
        smaller = larger - np.sign(larger)
        saved = self.tables.cost(larger, tables) - self.tables.cost(smaller, tables)
        worse = worth[some[1]] * ((y - smaller) ** 2 - (y - larger) ** 2)
        chosen = symbols.copy()
        chosen[some] = np.where(worse < RATE_WEIGHT * saved, smaller, larger)
        return chosen

    # --- decompress -------------------------------------------------------------------------

    def decompress(
        self,
        data: bytes,
        *,
        level: int = 3,
        region: tuple[int, int, int, int] | None = None,
        deblock: bool = True,
    ) -> RGB:
        """The image, uint8 (height, width, 3).

        Args:
            data: bytes of a `.mrdc` file made with this codec's weights.
            level: 1, 2 or 3: decode only the low, low and medium, or all levels. The bytes of
                higher levels need not be there.
            region: (y, x, height, width) in pixels: decode only this part, from the tiles it
                touches and their neighbours. Equal to the same part of the whole image.
            deblock: correct the pixels at the borders of blocks; without, to see what it does.

        Raises:
            BitstreamError: if the bytes are damaged or were made with other weights.
            ValueError: if the region does not lie in the image.
        """
        picture = _Opened(self, data, level)
        y, x, height, width = picture.check_region(region)
        result = np.empty((height, width, 3), np.uint8)
        for tile in picture.tiling:
            rows, columns = tile.pixels
            top, left = max(rows.start, y), max(columns.start, x)
            bottom, right = min(rows.stop, y + height), min(columns.stop, x + width)
            if top < bottom and left < right:
                part = denormalise(self._restore(picture, tile, deblock))
                result[top - y : bottom - y, left - x : right - x] = part[
                    top - rows.start : bottom - rows.start,
                    left - columns.start : right - columns.start,
                ]
        return result

    def _restore(self, picture: "_Opened", tile: Place, deblock: bool) -> NDArray[np.float32]:
        """Synthesis of a tile, float32 (height, width, 3), from its symbols and those around."""
        wide = picture.tiling.grown(tile, self.architecture.decoder_reach)
        inner = tile.within(wide)
        masks = self._masks(picture.routing[wide.cells(1)])
        needed = np.zeros_like(masks[-1])
        needed[inner.cells(self._levels[-1].scale, self.architecture.margin)] = True
        masks[-1] &= needed
        quality = picture.header.quality
        restored = self._transforms.synthesise(picture.symbols(wide), masks, quality)
        near = picture.tiling.grown(tile, 1)  # deblocking looks less far than a patch
        restored = restored[near.within(wide).pixels]
        if deblock:
            self._transforms.deblock(restored, quality)
        if picture.header.grey:
            restored[:] = restored.mean(axis=2, keepdims=True)
        return restored[tile.within(near).pixels]

    def read_symbols(
        self, data: bytes, *, level: int = 3
    ) -> tuple[list[NDArray[np.int16]], NDArray[np.uint8], Header]:
        """Entropy-decode a file: symbols of all levels, routing map, header.

        The symbols are whole numbers and the same on every machine. Levels above `level`, and
        places where the routing map switches a level off, are zero; the map comes back with
        `level` as its maximum.
        """
        picture = _Opened(self, data, level)
        symbols = picture.symbols(picture.tiling.everything)
        return symbols, picture.routing, picture.header

    def information(self, data: bytes) -> list[NDArray[np.float32]]:
        """Bits that the symbols of each level cost in a file, summed over the channels.

        Returns float32 (rows, columns) of each level's grid, coarse to fine: what the model says,
        -log2 of the probability of each symbol; the file adds its header and the coder's ends.
        """
        picture = _Opened(self, data, 3)
        shapes = [mask.shape for mask in self._masks(picture.routing)]
        spent = [np.zeros(shape, np.float32) for shape in shapes]
        for tile in picture.tiling:
            parts = [
                whole[tile.cells(level.scale)]
                for whole, level in zip(spent, self._levels, strict=True)
            ]

            def pay(
                request: Request,
                symbols: NDArray[np.int32],
                parts: list[NDArray[np.float32]] = parts,
            ) -> None:
                bits = self.tables.cost(symbols, request.indices).sum(axis=1)
                parts[request.level][request.rows, request.columns] += bits

            picture.decode(tile, pay)
        return spent

    # --- files ------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, NDArray]:
        config = json.dumps(self.architecture._asdict(), sort_keys=True)
        return {
            "config": np.frombuffer(config.encode(), np.uint8),
            "tables": self.tables.pack(),
            **{f"transforms/{name}": array for name, array in self._transform_weights.items()},
            **{f"prior/{name}": array for name, array in self._prior_weights.items()},
        }

    def _fingerprint(self) -> bytes:
        digest = hashlib.sha256()
        for name, array in sorted(self._arrays().items()):
            little = array.astype(array.dtype.newbyteorder("<"))
            digest.update(f"{name} {array.dtype.name} {array.shape};".encode())
            digest.update(little.tobytes())
        return digest.digest()[:4]

    def save(self, path: str | Path) -> None:
        """Write the codec to one file: a compressed NumPy archive without pickled objects."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **self._arrays())
        write_atomically(Path(path), buffer.getvalue())

    @classmethod
    def read(cls, content: bytes) -> "Codec":
        """The codec in the bytes of a file that `save` wrote.

        Raises `ValueError` for other bytes.
        """
        try:
            if content[:2] != b"PK":
                raise BadZipFile("no NumPy archive")
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = dict(archive)
            architecture = Architecture.of(json.loads(arrays["config"].tobytes()))
            parts: dict[str, dict[str, NDArray]] = {"transforms": {}, "prior": {}}
            for name, array in arrays.items():
                kind, slash, rest = name.partition("/")
                if slash:
                    parts[kind][rest] = array
            tables = entropy.Tables.unpack(arrays["tables"])
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            TypeError,
            BadZipFile,
            zlib.error,
        ) as error:
            raise ValueError(
                f"expected a codec file written by Codec.save. Received something else ({error}). "
                "Fetch or train it again."
            ) from error
        return cls(architecture, parts["transforms"], parts["prior"], tables)


class _Opened:
    """A file being decoded: header, routing map and, tile by tile as asked for, the symbols."""

    def __init__(self, codec: Codec, data: bytes, level: int) -> None:
        if level not in (1, 2, 3):
            raise ValueError(f"level must be 1, 2 or 3. Received: level={level!r}.")
        self.header, (_, packed_map, *sections) = bitstream.unpack(data, levels=level)
        if self.header.model != codec.id:
            raise BitstreamError(
                f"the file was made with model {self.header.model.hex()}. This codec is "
                f"{codec.id.hex()}: load the codec that the file names."
            )
        self._codec, self._level = codec, level
        self.size = (self.header.height, self.header.width)
        self.tiling = codec._tiling(self.size)
        tiles = list(self.tiling)  # a size that is not true ends here, before it costs anything
        named = zip(sections, bitstream.SECTIONS[2:], strict=False)
        parts = [bitstream.split_streams(s, len(tiles), f"{name} section") for s, name in named]
        self._streams = dict(zip(tiles, zip(*parts, strict=True), strict=True))
        routing = entropy.read_routing(packed_map, self.tiling.shape)
        self.routing = np.minimum(routing, min(level, codec._highest))
        self._decoded: dict[Place, list[NDArray[np.int16]]] = {}

    def check_region(self, region: tuple[int, int, int, int] | None) -> tuple[int, int, int, int]:
        height, width = self.size
        if region is None:
            return 0, 0, height, width
        try:
            y, x, rows, columns = map(operator.index, region)
            fits = 0 <= y < y + rows <= height and 0 <= x < x + columns <= width
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(
                f"region must be whole numbers (y, x, height, width) inside {height} rows and "
                f"{width} columns. Received: {region}."
            )
        return y, x, rows, columns

    def symbols(self, place: Place) -> list[NDArray[np.int16]]:
        """Symbols of all levels at a place, zero where there are none.

        Tiles that end above the place are forgotten: pictures are decoded downwards.
        """
        self._decoded = {t: v for t, v in self._decoded.items() if t.bottom > place.top}
        rows, columns = place.shape
        found = [
            np.zeros(
                (int(rows * level.scale), int(columns * level.scale), len(level.bands)), np.int16
            )
            for level in self._codec._levels
        ]
        for tile in self.tiling.touching(place):
            if tile not in self._decoded:
                self._decoded[tile] = self.decode(tile)
            common = tile.common(place)
            to, source = common.within(place), common.within(tile)
            for whole, part, level in zip(
                found, self._decoded[tile], self._codec._levels, strict=True
            ):
                whole[to.cells(level.scale)] = part[source.cells(level.scale)]
        return found

    def decode(
        self, tile: Place, watch: Callable[[Request, NDArray[np.int32]], None] = lambda *_: None
    ) -> list[NDArray[np.int16]]:
        """Symbols of all levels in a tile; `watch` is told of each request and its symbols."""
        masks = self._codec._masks(self.routing[tile.cells(1)])
        levels = self._codec._levels
        found = [
            np.zeros((*mask.shape, len(level.bands)), np.int16)
            for mask, level in zip(masks, levels, strict=True)
        ]
        coders = [
            entropy.SymbolDecoder(self._codec.tables, stream, part)
            for stream, part in zip(self._streams[tile], bitstream.SECTIONS[2:], strict=False)
        ]

        def answer(request: Request) -> NDArray[np.int32]:
            symbols = coders[self._codec._section(request.level)].read(request.indices)
            found[request.level][request.rows, request.columns, request.channels] = symbols
            watch(request, symbols)
            return symbols

        wanted = [m for n, m in enumerate(masks) if self._codec._section(n) < self._level]
        self._codec._prior.run(self.header.quality, wanted, answer)
        return found


def _architecture(model: "MRDCAE") -> Architecture:
    config = model.get_config()
    return Architecture(*(config[name] for name in Architecture._fields))


def _check_arrays(
    arrays: Mapping[str, NDArray], shapes: Mapping[str, tuple[int, ...]], types: tuple[str, ...]
) -> None:
    """Raise `ValueError` unless names, shapes and types are as expected and values finite."""
    for name in {*arrays, *shapes}:
        found, shape = arrays.get(name), shapes.get(name)
        if found is None or found.shape != shape or found.dtype.name not in types:
            wrong = f"array {name} of shape {shape} and type {' or '.join(types)}"
        elif not np.isfinite(found).all():
            wrong = f"finite array {name}"
        else:
            continue
        raise ValueError(
            f"expected weights with {wrong}. They belong to another version of the model or are "
            "damaged: train or fetch them again."
        )


def level_masks(
    routing: NDArray[np.uint8], scales: Sequence[float] = (1, 2, 4)
) -> list[NDArray[np.bool_]]:
    """Where each level is on, coarse to fine, each on its own grid."""
    masks, always = [], pyramid.always_on(len(scales))
    for number, scale in enumerate(scales):
        if scale < 1:  # always on, and one cell for several patches
            masks.append(np.ones([int(side * scale) for side in routing.shape], bool))
        else:
            on = routing > max(number - always + 1, 0)
            masks.append(np.repeat(np.repeat(on, int(scale), axis=0), int(scale), axis=1))
    return masks


def _prefer(routing: NDArray[np.uint8], roi: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Level 3 for patches that the region touches, one level less than before elsewhere."""
    padded = pad_to_multiple(roi[..., None].astype(np.uint8), pyramid.PATCH)[..., 0]
    rows, columns = (side // pyramid.PATCH for side in padded.shape)
    touched = np.zeros(routing.shape, bool)  # which may reach further than the picture
    patches = padded.reshape(rows, pyramid.PATCH, columns, pyramid.PATCH)
    touched[:rows, :columns] = patches.any(axis=(1, 3))
    return np.where(touched, 3, np.maximum(routing, 2) - 1).astype(np.uint8)


def _largest_within(bpp: Callable[[int], float], target: float) -> int:
    """The best quality whose rate `bpp` is at most the target."""
    fitting = bisect_right(range(QUALITIES), target, key=bpp)
    if fitting == 0:
        raise ValueError(
            f"target_bpp={target} is out of reach for this picture. Quality 0 takes "
            f"{bpp(0):.4f} bits per pixel: ask for more."
        )
    return fitting - 1


def _smallest_reaching(score: Callable[[int], float], target: float) -> int:
    """The lowest quality whose PSNR `score` is at least the target."""
    quality = bisect_left(range(QUALITIES), target, key=score)
    if quality == QUALITIES:
        raise ValueError(
            f"target_psnr={target} dB is out of reach for this picture. Quality {QUALITIES - 1} "
            f"gives {score(QUALITIES - 1):.2f} dB: ask for less."
        )
    return quality


# --- shipped codecs -------------------------------------------------------------------------


@cache
def registry() -> dict[str, dict[str, str]]:
    """Shipped codecs by name: what `weights/registry.json` says of each.

    Its file, the file's SHA-256, the id as named in `.mrdc` headers, a title and what it is.
    """
    return json.loads(_weights().joinpath("registry.json").read_text())


def _weights() -> Traversable:
    return resources.files("mrdcae_lite") / "weights"


def load(name: str | Path = "lite") -> Codec:
    """A shipped codec by name, or one that `Codec.save` wrote by path.

    Shipped files are checked against their SHA-256. A file is loaded once in a process, and again
    when it changes.

    Raises:
        ValueError: if there is no such codec, or its file is damaged.
    """
    if str(name) in registry():
        return _shipped(str(name))
    path = Path(name)
    if not path.is_file():
        raise ValueError(
            f"expected a codec file or one of: {', '.join(sorted(registry()))}. "
            f"Received: {str(name)!r}. Check the path, or run `mrdcae models`."
        )
    return _from_file(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _from_file(path: Path, _changed: int) -> Codec:
    try:
        return Codec.read(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


@cache
def _shipped(name: str) -> Codec:
    entry = registry()[name]
    content = _weights().joinpath(entry["file"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise ValueError(
            f"the weights {entry['file']} do not have the SHA-256 they were shipped with. "
            "They are damaged: install mrdcae-lite again."
        )
    return Codec.read(content)


def load_for(data: bytes) -> Codec:
    """The shipped codec that the bytes of a `.mrdc` file name."""
    wanted = bitstream.read_header(data).model.hex()
    for name, entry in registry().items():
        if entry["id"] == wanted:
            return load(name)
    raise BitstreamError(
        f"the file was made with model {wanted}, which is not among the shipped ones. "
        "Give the codec file it was made with (--model PATH)."
    )
