"""The decoder: from the bytes of a `.mrdc` file to symbols, and on to pixels.

Decoder (header, maps) -> coding_steps (symbols) -> synthesise (pixels of a tile) -> filters, which
look over the borders of tiles -> picture
"""

import operator
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.bitstream import BitstreamError
from mrdcae_lite.coding.entropy import SymbolDecoder
from mrdcae_lite.coding.lossless import read_lossless
from mrdcae_lite.coding.maps import read_maps
from mrdcae_lite.core.patches import pad_to_multiple
from mrdcae_lite.core.pixels import RGB, denormalise, normalise
from mrdcae_lite.core.pyramid import level_masks, section
from mrdcae_lite.core.tiling import Box, Tiling
from mrdcae_lite.runtime.context_model import CodingStep, place
from mrdcae_lite.runtime.frozen import FrozenModel
from mrdcae_lite.runtime.parallel import tile_threads

Symbols = list[NDArray[np.int16]]
"""Of all levels, coarse to fine, each (rows, columns, channels) on its own grid."""

Region = tuple[int, int, int, int]
"""A part of a picture: (y, x, height, width) in pixels."""

Pixels = NDArray[np.float32]
"""Of a box, padded to whole units, in [0, 1] (not clipped): (height, width, 3)."""


class Decoder:
    """A file being decoded: what it says at its start, and its symbols tile by tile.

    Args:
        model: what the file was made with.
        data: bytes of the file.
        level: 1, 2 or 3: how many levels to decode.

    Attributes:
        header: of the file.
        tiling: of the picture.
        routing: uint8 (rows, columns), the level of each patch, at most `level`.
        stored: the tiles that are stored without loss, whatever the level.

    Raises:
        BitstreamError: if the bytes are damaged or were made with another model.
        ValueError: if `level` is another number.
    """

    def __init__(self, model: FrozenModel, data: bytes, level: int = bitstream.LEVELS) -> None:
        if type(level) is not int or not 1 <= level <= bitstream.LEVELS:
            raise ValueError(f"level must be 1, 2 or 3. Received: level={level!r}.")
        self.header, (_, packed_maps, *sections) = bitstream.unpack(data, levels=level)
        if self.header.model != model.id:
            raise BitstreamError(
                f"the file was made with model {self.header.model.hex()}. This codec is "
                f"{model.id.hex()}: load the codec that the file names."
            )
        self.model, self._level = model, level
        self.tiling = Tiling(self.header.height, self.header.width, model.architecture.unit)
        tiles = list(self.tiling)
        named = zip(sections, bitstream.LEVEL_SECTIONS, strict=False)
        # With several tiles a false size fails here, before memory is taken.
        parts = [bitstream.split_streams(s, len(tiles), f"{name} section") for s, name in named]
        self._streams = dict(zip(tiles, zip(*parts, strict=True), strict=True))
        shapes, header = (self.tiling.shape, self.tiling.tiles), self.header
        maps = read_maps(packed_maps, *shapes, stored=header.stored, filters=header.unfiltered)
        self.routing = np.minimum(maps.routing, min(level, model.architecture.highest))
        self._unfiltered = maps.unfiltered
        self.stored = {tile for tile, on in zip(tiles, maps.stored.flat, strict=True) if on}

    def picture(
        self, region: Region | None = None, *, filters: bool = True, threads: int = 1
    ) -> RGB:
        """The picture or a part of it, uint8 (height, width, 3).

        Beside it there are in memory, at 12 bytes a pixel, the tiles of two rows and a few more
        and, in each thread, a few copies of one tile.

        Args:
            region: (y, x, height, width) in pixels; only the tiles that it touches, and what the
                filters see of their neighbours, are decoded.
            filters: whether to apply them.
            threads: how many tiles to compute at a time.

        Raises:
            ValueError: if the region does not lie in the picture.
        """
        wanted = self._check_region(region)
        result = np.empty((*wanted.shape, 3), np.uint8)
        halo = self.model.architecture.decoder_halo if filters else 0
        synthesised: dict[Box, Future[Pixels]] = {}
        finished: deque[Future[None]] = deque()
        with tile_threads(threads) as pool:
            tiles = [t for t in self.tiling if min(t.on_grid(1).intersection(wanted).shape) > 0]
            for tile, following in zip_longest(tiles, tiles[1:]):
                wide = self.tiling.with_halo(tile, halo)
                synthesised = {t: f for t, f in synthesised.items() if t.bottom > wide.top}
                around = self._begin(pool, wide, synthesised)
                if following:  # so that no thread waits for it, holding back another tile
                    self._begin(pool, self.tiling.with_halo(following, halo), synthesised)
                finish = partial(self._finish, tile, wide, around, wanted, result, filters)
                finished.append(pool.submit(finish))
                while len(finished) > 2 * threads:
                    finished.popleft().result()
            for future in finished:
                future.result()
        return result

    def _begin(
        self, pool: ThreadPoolExecutor, box: Box, begun: dict[Box, "Future[Pixels]"]
    ) -> dict[Box, "Future[Pixels]"]:
        """The tiles that a box touches; those that were not begun yet are, and enter `begun`."""
        tiles = self.tiling.overlapping(box)
        for tile in tiles:
            if tile not in begun:
                begun[tile] = pool.submit(self.synthesise, tile)
        return {tile: begun[tile] for tile in tiles}

    def _finish(
        self,
        tile: Box,
        wide: Box,
        around: "Mapping[Box, Future[Pixels]]",
        wanted: Box,
        result: RGB,
        filters: bool,
    ) -> None:
        """Write what is wanted of a tile into the result; `around` covers `wide`."""
        here = tile.on_grid(1)
        common = here.intersection(wanted)
        part: NDArray[np.float32]
        if not filters or tile in self.stored:
            part = around[tile].result()
        else:
            whole = np.empty((*wide.on_grid(1).shape, 3), np.float32)
            for other, future in around.items():
                shared = other.intersection(wide).on_grid(1)
                cut = shared.relative_to(other.on_grid(1)).slices
                whole[shared.relative_to(wide.on_grid(1)).slices] = future.result()[cut]
            part = self._filtered(whole, wide)[here.relative_to(wide.on_grid(1)).slices]
        part = part[common.relative_to(here).slices]
        if self.header.grey:
            part = np.repeat(part.mean(axis=2, keepdims=True), 3, axis=2)
        result[common.relative_to(wanted).slices] = denormalise(part)

    def _filtered(self, pixels: Pixels, box: Box) -> Pixels:
        """The pixels of a box after the filters, but where a patch goes without them."""
        filtered = self.model.transforms.filter(pixels, self.header.quality)
        keep_unfiltered(pixels, filtered, self._unfiltered[box.slices])
        return filtered

    def synthesise(self, tile: Box) -> Pixels:
        """Pixels of a tile before the filters."""
        if tile not in self.stored:
            return self.model.transforms.synthesise(self.decode_tile(tile), self.header.quality)
        here = tile.on_grid(1)
        inside = here.intersection(Box(0, 0, self.header.height, self.header.width))
        pixels = read_lossless(self._streams[tile][0], inside.shape)
        return normalise(pad_to_multiple(pixels, self.model.architecture.unit))

    def symbols(self) -> Symbols:
        """Symbols of all levels of the whole picture, zero where there are none."""
        found = self._zeros(self.tiling.whole)
        for tile in self.tiling:
            levels = self.model.architecture.levels
            for whole, part, level in zip(found, self.decode_tile(tile), levels, strict=True):
                whole[tile.on_grid(level.stride).slices] = part
        return found

    def decode_tile(self, tile: Box) -> Symbols:
        """Symbols of all levels in a tile, entropy-decoded; zero in a stored one."""
        return place(self.coding_steps(tile), self._zeros(tile))

    def coding_steps(self, tile: Box) -> Iterator[CodingStep]:
        """The coding steps of a tile with the symbols that were read; none in a stored one."""
        if tile in self.stored:
            return
        coders = [
            SymbolDecoder(self.model.tables, stream, part)
            for stream, part in zip(self._streams[tile], bitstream.LEVEL_SECTIONS, strict=False)
        ]
        resolutions = self.model.architecture.resolutions
        masks = level_masks(self.routing[tile.slices], resolutions)
        wanted = [m for n, m in enumerate(masks) if section(n, resolutions) < self._level]
        for step in self.model.context_model.steps(self.header.quality, wanted):
            step.symbols = coders[section(step.level, resolutions)].read(step.indices)
            yield step

    def _zeros(self, box: Box) -> Symbols:
        return [
            np.zeros((*box.on_grid(level.stride).shape, len(level.bands)), np.int16)
            for level in self.model.architecture.levels
        ]

    def _check_region(self, region: Region | None) -> Box:
        """The box of a region in pixels."""
        height, width = self.header.height, self.header.width
        wanted = (0, 0, height, width) if region is None else region
        try:
            y, x, rows, columns = map(operator.index, wanted)
            fits = 0 <= y < y + rows <= height and 0 <= x < x + columns <= width
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(
                f"region must be whole numbers (y, x, height, width) inside {height} rows and "
                f"{width} columns. Received: {region}."
            )
        return Box(y, x, y + rows, x + columns)


def keep_unfiltered(before: Pixels, after: Pixels, off: NDArray[np.bool_]) -> None:
    """Put pixels from before the filters back into `after` in the patches where `off` is set."""
    for row, column in np.argwhere(off):
        patch = Box(row, column, row + 1, column + 1).on_grid(1).slices
        after[patch] = before[patch]
