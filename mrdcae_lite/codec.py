"""From pixels to bytes and back: a trained model, frozen into a codec."""

import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from keras import ops
from numpy.typing import NDArray

from mrdcae_lite import bitstream, entropy, pyramid
from mrdcae_lite.bitstream import BitstreamError, Header
from mrdcae_lite.images import check_rgb, write_atomically
from mrdcae_lite.metrics import psnr
from mrdcae_lite.model import MRDCAE
from mrdcae_lite.patches import pad_to_multiple
from mrdcae_lite.preparation import denormalise, normalise
from mrdcae_lite.prior import IntegerPrior, Request
from mrdcae_lite.quality import QUALITIES, check_quality, quality_features

Pixels = NDArray[np.uint8]

Place = tuple[slice, slice]
"""Rows and columns of patches."""

TILE = 512
"""Side in pixels of the squares whose symbols are coded independently of each other."""

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


class Codec:
    """A trained model that writes and reads `.mrdc` files.

    Args:
        config: of `MRDCAE`.
        transforms: float16 weights of the networks, by path.
        prior: integer arrays of the context model.
        tables: the coding tables.

    `Codec.from_model` makes one from a trained model, `load` finds a shipped one.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        transforms: Mapping[str, NDArray[np.float16]],
        prior: Mapping[str, NDArray],
        tables: entropy.Tables,
    ) -> None:
        self._config, self._transforms, self._prior_weights = dict(config), transforms, prior
        self.tables = tables
        self.model = MRDCAE(**{**self._config, "block_dtype": "float32"})
        self.model.build()
        networks = _transform_weights(self.model)
        _check_arrays(transforms, {n: np.empty(w.shape, np.float16) for n, w in networks.items()})
        _check_arrays(prior, self.model.prior.freeze(quality_features(np.arange(QUALITIES))))
        for name, weight in networks.items():
            weight.assign(transforms[name].astype(np.float32))
        self._prior = IntegerPrior(prior)
        self.id = self._fingerprint()

    @classmethod
    def from_model(cls, model: MRDCAE, *, tables: entropy.Tables | None = None) -> "Codec":
        """Freeze a built model: networks to float16, the prior and the tables to integers."""
        if not model.built:
            raise ValueError("the model has no weights yet. Call model.build() or fit it first.")
        keys = ("width", "blocks", "prior_width")
        transforms = {
            name: ops.convert_to_numpy(weight).astype(np.float16)
            for name, weight in _transform_weights(model).items()
        }
        prior = model.prior.freeze(quality_features(np.arange(QUALITIES)))
        config = {key: getattr(model, key) for key in keys}
        return cls(config, transforms, prior, tables or entropy.laplace_tables())

    def refined(
        self, images: Sequence[Pixels], *, qualities: Sequence[int] = (5, 30, 55, 80)
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
                for place in _tiles(latents.routing.shape):
                    self._encode_tile(
                        latents.levels, latents.routing, place, quality, [counter] * 3, False
                    )
        tables = entropy.fit_tables(counter.histograms)
        return Codec(self._config, self._transforms, self._prior_weights, tables)

    # --- compress ---------------------------------------------------------------------------

    def compress(
        self,
        image: Pixels,
        quality: int | None = None,
        *,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        roi: NDArray[np.bool_] | None = None,
        fast: bool = False,
    ) -> bytes:
        """The bytes of a `.mrdc` file that decodes to an approximation of `image`.

        Args:
            image: uint8 (height, width, 3).
            quality: 0 (smallest) to 100 (best); 50 if nothing is asked for.
            target_bpp: instead of a quality, the largest file of at most so many bits per pixel.
            target_psnr: instead of a quality, the smallest file of at least so many dB.
            roi: bool (height, width): patches it touches get all three levels, all others one
                level less than attention gives them.
            fast: round the latents plainly instead of weighing error against bits.

        Raises:
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
        roi = None if roi is None else _check_roi(np.asarray(roi), image.shape)

        def encode(number: int) -> bytes:
            return self._encode(image, number, roi, fast)

        if target_bpp is not None:
            return _largest_within(encode, target_bpp, image.shape[0] * image.shape[1])
        if target_psnr is not None:
            return self._smallest_reaching(encode, target_psnr, image)
        return encode(check_quality(50 if quality is None else quality))

    def _encode(
        self, image: Pixels, quality: int, roi: NDArray[np.bool_] | None, fast: bool
    ) -> bytes:
        latents = self.analyse(image, quality)
        routing = latents.routing if roi is None else _prefer(latents.routing, roi)
        sections = [bytearray(), bytearray(), bytearray()]
        for place in _tiles(routing.shape):
            coders = [entropy.SymbolEncoder(self.tables) for _ in range(3)]
            self._encode_tile(latents.levels, routing, place, quality, coders, fast)
            for section, coder in zip(sections, coders, strict=True):
                stream = coder.finish()
                section += bitstream.write_varint(len(stream)) + stream
        header = Header(
            image.shape[1], image.shape[0], quality, self.id, pyramid.PATCH, TILE, (0, 0, 0, 0)
        )
        low, medium, high = map(bytes, sections)
        return bitstream.pack(header, (entropy.write_routing(routing), low, medium, high))

    def analyse(self, image: Pixels, quality: int) -> Latents:
        """What the encoder sees: latents, saliency scores and routing of an image."""
        x = normalise(pad_to_multiple(image, pyramid.PATCH))[None]
        levels, logits = self.model.analyse(x, _batch(quality))
        scores = ops.convert_to_numpy(ops.sigmoid(logits))[0]
        low, high = self.model.attention.thresholds()
        routing = (1 + (scores > low) + (scores > high)).astype(np.uint8)
        return Latents([ops.convert_to_numpy(y)[0] for y in levels], scores, routing)

    def saliency(self, image: Pixels, quality: int = 50) -> NDArray[np.float32]:
        """Saliency score of every 32 x 32 patch, float32 (rows, columns) in [0, 1]."""
        return self.analyse(image, check_quality(quality)).scores

    def routing_map(self, image: Pixels, quality: int = 50) -> NDArray[np.uint8]:
        """Level 1, 2 or 3 of every 32 x 32 patch, uint8 (rows, columns)."""
        return self.analyse(image, check_quality(quality)).routing

    def _encode_tile(
        self,
        levels: list[NDArray[np.float32]],
        routing: NDArray[np.uint8],
        place: Place,
        quality: int,
        coders: Sequence[entropy.SymbolSink],
        fast: bool,
    ) -> None:
        """Choose the symbols of one tile and write each level's to its coder."""
        part = _cut(levels, place)

        def answer(request: Request) -> NDArray[np.int32]:
            y = part[request.level][request.rows, request.columns, request.channels]
            limit = entropy.MAX_SYMBOL
            symbols = np.clip(np.rint(y), -limit, limit).astype(np.int32)
            if not fast:
                symbols = self._cheaper(y, symbols, request.indices)
            coders[request.level].write(symbols, request.indices)
            return symbols

        self._prior.run(quality, level_masks(routing[place]), answer)

    def _cheaper(
        self, y: NDArray[np.float32], symbols: NDArray[np.int32], indices: NDArray[np.uint8]
    ) -> NDArray[np.int32]:
        """Rate-distortion-optimised quantisation: one step toward zero where that pays."""
        smaller = symbols - np.sign(symbols)
        reach = entropy.MAX_REACH
        bits = self.tables.bits
        here = bits[indices, np.clip(symbols, -reach, reach) + reach]
        there = bits[indices, np.clip(smaller, -reach, reach) + reach]
        worse = (y - smaller) ** 2 - (y - symbols) ** 2
        return np.where(worse < RATE_WEIGHT * (here - there), smaller, symbols)

    def _smallest_reaching(
        self, encode: Callable[[int], bytes], target: float, image: Pixels
    ) -> bytes:
        def quality_of(data: bytes) -> float:
            return psnr(image, self.decompress(data), data_range=255)

        low, high = 0, QUALITIES - 1
        best = encode(high)
        if quality_of(best) < target:
            raise ValueError(
                f"target_psnr={target} dB is out of reach for this picture. The best quality "
                f"gives {quality_of(best):.2f} dB: ask for less."
            )
        while low < high:
            middle = (low + high) // 2
            data = encode(middle)
            if quality_of(data) >= target:
                best, high = data, middle
            else:
                low = middle + 1
        return best

    # --- decompress -------------------------------------------------------------------------

    def decompress(self, data: bytes, *, level: int = 3) -> Pixels:
        """The image, uint8 (height, width, 3).

        Args:
            data: bytes of a `.mrdc` file made with this codec's weights.
            level: 1, 2 or 3: decode only the low, low and medium, or all levels. The bytes of
                higher levels need not be there.

        Raises:
            BitstreamError: if the bytes are damaged or were made with other weights.
        """
        levels, masks, header = self.read_symbols(data, level=level)
        full = [mask.astype(np.float32)[None, ..., None] for mask in level_masks(masks)[1:]]
        restored = self.model.synthesise(
            [y.astype(np.float32)[None] for y in levels], full, _batch(header.quality)
        )
        return denormalise(ops.convert_to_numpy(restored)[0, : header.height, : header.width])

    def read_symbols(
        self, data: bytes, *, level: int = 3
    ) -> tuple[list[NDArray[np.int32]], NDArray[np.uint8], Header]:
        """Entropy-decode a file: symbols of the three levels, routing map, header.

        The symbols are whole numbers and the same on every machine. Levels above `level`, and
        places where the routing map switches a level off, are zero; the map comes back with
        `level` as its maximum.
        """
        if level not in (1, 2, 3):
            raise ValueError(f"level must be 1, 2 or 3. Received: level={level!r}.")
        header, (packed_map, *sections) = bitstream.unpack(data, levels=level)
        if header.model != self.id:
            raise BitstreamError(
                f"the file was made with model {header.model.hex()}. This codec is "
                f"{self.id.hex()}: load the codec that the file names."
            )
        if (header.patch, header.tile) != (pyramid.PATCH, TILE):
            raise BitstreamError(
                f"expected patches of {pyramid.PATCH} and tiles of {TILE} pixels. Received: "
                f"{header.patch} and {header.tile}. Update mrdcae-lite to read the file."
            )
        shape = -(-header.height // pyramid.PATCH), -(-header.width // pyramid.PATCH)
        routing = np.minimum(entropy.read_routing(packed_map, shape), level).astype(np.uint8)
        symbols = [
            np.zeros((shape[0] * scale, shape[1] * scale, channels), np.int32)
            for scale, channels in zip((1, 2, 4), pyramid.CHANNELS, strict=True)
        ]
        places = list(_tiles(routing.shape))
        streams = [_split_section(s, number, len(places)) for number, s in enumerate(sections)]
        for place, *own in zip(places, *streams, strict=True):
            views = _cut(symbols, place)
            coders = [entropy.SymbolDecoder(self.tables, stream) for stream in own]

            def answer(
                request: Request,
                coders: list[entropy.SymbolDecoder] = coders,
                views: list[NDArray[np.int32]] = views,
            ) -> NDArray[np.int32]:
                found = coders[request.level].read(request.indices)
                views[request.level][request.rows, request.columns, request.channels] = found
                return found

            masks = level_masks(routing[place])[:level]
            self._prior.run(header.quality, masks, answer)
        return symbols, routing, header

    # --- files ------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, NDArray]:
        config = np.frombuffer(json.dumps(self._config, sort_keys=True).encode(), np.uint8)
        return {
            "config": config,
            "tables": self.tables.pack(),
            **{f"transforms/{name}": array for name, array in self._transforms.items()},
            **{f"prior/{name}": array for name, array in self._prior_weights.items()},
        }

    def _fingerprint(self) -> bytes:
        digest = hashlib.sha256()
        for name, array in sorted(self._arrays().items()):
            little = array.astype(array.dtype.newbyteorder("<"))
            digest.update(f"{name} {array.dtype.name} {array.shape};".encode())
            digest.update(little.tobytes())
        return digest.digest()[:8]

    def save(self, path: str | Path) -> None:
        """Write the codec to one file: a compressed NumPy archive without pickled objects."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **self._arrays())
        write_atomically(Path(path), buffer.getvalue())

    @classmethod
    def read(cls, content: bytes) -> "Codec":
        """The codec in the bytes of a file that `save` wrote."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = dict(archive)
            config = json.loads(arrays["config"].tobytes())
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
        return cls(config, parts["transforms"], parts["prior"], tables)


def _check_arrays(arrays: Mapping[str, NDArray], expected: Mapping[str, NDArray]) -> None:
    """Raise `ValueError` unless names, shapes and types are as expected."""
    for name, like in expected.items():
        found = arrays.get(name)
        if found is None or found.shape != like.shape or found.dtype != like.dtype:
            raise ValueError(
                f"the weights have no {like.dtype} array {name} of shape {like.shape}. They "
                "belong to another version of the model: train or fetch them again."
            )


def _transform_weights(model: MRDCAE) -> dict[str, Any]:
    """Variables of the networks by name; those of the prior are kept as integers instead."""
    named = {weight.path.partition("/")[2]: weight for weight in model.trainable_variables}
    return {name: weight for name, weight in named.items() if not name.startswith("prior/")}


def _batch(quality: int) -> NDArray[np.float32]:
    return np.array([quality], np.float32)


def _cut(levels: Sequence[NDArray], place: Place) -> list[NDArray]:
    """Views of the three levels at a place given in patches."""
    return [
        level[tuple(slice(s.start * scale, s.stop * scale) for s in place)]
        for level, scale in zip(levels, (1, 2, 4), strict=True)
    ]


def _tiles(shape: tuple[int, ...]) -> Iterator[Place]:
    """The places of all tiles, in raster order: as few as `TILE` allows, about equal in size."""
    most = TILE // pyramid.PATCH
    row_step, column_step = (-(-n // -(-n // most)) for n in shape)
    for row in range(0, shape[0], row_step):
        for column in range(0, shape[1], column_step):
            yield (
                slice(row, min(row + row_step, shape[0])),
                slice(column, min(column + column_step, shape[1])),
            )


def level_masks(routing: NDArray[np.uint8]) -> list[NDArray[np.bool_]]:
    """Where the low, medium and high level are on, each on its own grid."""
    return [
        np.repeat(np.repeat(routing > number, scale, axis=0), scale, axis=1)
        for number, scale in enumerate((1, 2, 4))
    ]


def _split_section(section: bytes, number: int, tiles: int) -> list[bytes]:
    """The streams of the tiles in a level section."""
    at, streams = 0, []
    for _ in range(tiles):
        length, at = bitstream.read_varint(section, at)
        streams.append(section[at : at + length])
        at += length
    if at != len(section):
        raise BitstreamError(
            f"the tiles of the {bitstream.SECTIONS[number + 1]} section claim {at} bytes, but it "
            f"has {len(section)}. {bitstream.FETCH_AGAIN}"
        )
    return streams


def _check_roi(roi: NDArray, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if roi.shape != shape[:2] or roi.dtype != bool:
        raise ValueError(
            f"roi must be a bool array of shape {shape[:2]}. "
            f"Received: {roi.dtype} {roi.shape}. Make it with the image's height and width."
        )
    return roi


def _prefer(routing: NDArray[np.uint8], roi: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Level 3 for patches that the region touches, one level less than before elsewhere."""
    padded = pad_to_multiple(roi[..., None].astype(np.uint8), pyramid.PATCH)[..., 0]
    rows, columns = routing.shape
    touched = padded.reshape(rows, pyramid.PATCH, columns, pyramid.PATCH).any(axis=(1, 3))
    return np.where(touched, 3, np.maximum(routing, 2) - 1).astype(np.uint8)


def _largest_within(encode: Callable[[int], bytes], target_bpp: float, pixels: int) -> bytes:
    low, high = 0, QUALITIES - 1
    best = encode(low)
    if len(best) * 8 > target_bpp * pixels:
        raise ValueError(
            f"target_bpp={target_bpp} is out of reach for this picture. The lowest quality takes "
            f"{len(best) * 8 / pixels:.4f} bits per pixel: ask for more."
        )
    while low < high:
        middle = (low + high + 1) // 2
        data = encode(middle)
        if len(data) * 8 <= target_bpp * pixels:
            best, low = data, middle
        else:
            high = middle - 1
    return best


# --- shipped codecs -------------------------------------------------------------------------


@cache
def registry() -> dict[str, dict[str, str]]:
    """Shipped codecs by name: file, SHA-256 of the file, and id as named in `.mrdc` headers."""
    return json.loads(_weights().joinpath("registry.json").read_text())


def _weights() -> Traversable:
    return resources.files("mrdcae_lite") / "weights"


def load(name: str | Path = "lite") -> Codec:
    """A shipped codec by name, or one that `Codec.save` wrote by path.

    Shipped files are checked against their SHA-256, and loaded once in a process.

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
    return Codec.read(path.read_bytes())


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
