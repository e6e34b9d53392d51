"""The decoder: from the bytes of a `.mrdc` file to symbols, and on to pixels.

Decoder (header, routing map) -> coding_steps (symbols) -> restore (pixels of a tile) -> picture
"""

import operator
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.bitstream import BitstreamError
from mrdcae_lite.coding.entropy import SymbolDecoder
from mrdcae_lite.coding.routing_map import read_routing
from mrdcae_lite.core.pixels import RGB, denormalise
from mrdcae_lite.core.pyramid import PATCH, level_masks
from mrdcae_lite.core.tiling import Box, Tiling
from mrdcae_lite.runtime.context_model import CodingStep
from mrdcae_lite.runtime.frozen import FrozenModel

Symbols = list[NDArray[np.int16]]
"""Of all levels, coarse to fine, each (rows, columns, channels) on its own grid."""

Region = tuple[int, int, int, int]
"""A part of a picture: (y, x, height, width) in pixels."""


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

    Raises:
        BitstreamError: if the bytes are damaged or were made with another model.
        ValueError: if `level` is another number.
    """

    def __init__(self, model: FrozenModel, data: bytes, level: int = bitstream.LEVELS) -> None:
        if level not in range(1, bitstream.LEVELS + 1):
            raise ValueError(f"level must be 1, 2 or 3. Received: level={level!r}.")
        self.header, (_, packed_map, *sections) = bitstream.unpack(data, levels=level)
        if self.header.model != model.id:
            raise BitstreamError(
                f"the file was made with model {self.header.model.hex()}. This codec is "
                f"{model.id.hex()}: load the codec that the file names."
            )
        self.model, self._level = model, level
        self.tiling = Tiling(self.header.height, self.header.width)
        tiles = list(self.tiling)
        named = zip(sections, bitstream.LEVEL_SECTIONS, strict=False)
        # With several tiles a false size fails here, before memory is taken.
        parts = [bitstream.split_streams(s, len(tiles), f"{name} section") for s, name in named]
        self._streams = dict(zip(tiles, zip(*parts, strict=True), strict=True))
        routing = read_routing(packed_map, self.tiling.shape)
        self.routing = np.minimum(routing, min(level, len(model.architecture.levels)))
        self._decoded: dict[Box, Symbols] = {}

    def picture(self, region: Region | None = None, *, deblock: bool = True) -> RGB:
        """The picture or a part of it, uint8 (height, width, 3).

        Args:
            region: (y, x, height, width) in pixels; only the tiles that it touches are decoded.
            deblock: correct the pixels at block edges.

        Raises:
            ValueError: if the region does not lie in the picture.
        """
        wanted = self._check_region(region)
        result = np.empty((*wanted.shape, 3), np.uint8)
        for tile in self.tiling:
            here = Box(*(PATCH * side for side in tile))  # in pixels, as `wanted`
            common = here.intersection(wanted)
            if min(common.shape) > 0:
                part = denormalise(self.restore(tile, deblock=deblock))
                cut = part[common.relative_to(here).slices(1)]
                result[common.relative_to(wanted).slices(1)] = cut
        return result

    def restore(self, tile: Box, *, deblock: bool = True) -> NDArray[np.float32]:
        """Pixels of a tile in [0, 1] (not clipped), float32 (height, width, 3)."""
        transforms, architecture = self.model.transforms, self.model.architecture
        wide = self.tiling.with_halo(tile, architecture.decoder_halo)
        inner = tile.relative_to(wide)
        masks = level_masks(self.routing[wide.slices(1)], architecture.resolutions)
        halos = architecture.correction_halos()
        for mask, level, halo in zip(masks, architecture.levels, halos, strict=True):
            needed = np.zeros_like(mask)
            needed[inner.slices(level.scale, halo)] = True
            mask &= needed
        restored = transforms.synthesise(self.symbols(wide), masks, self.header.quality)
        near = self.tiling.with_halo(tile, 1)  # deblocking looks less far than a patch
        restored = restored[near.relative_to(wide).pixels]
        if deblock:
            transforms.deblock(restored, self.header.quality)
        if self.header.grey:
            restored[:] = restored.mean(axis=2, keepdims=True)
        return restored[tile.relative_to(near).pixels]

    def symbols(self, box: Box) -> Symbols:
        """Symbols of all levels in a box of patches, zero where there are none.

        Tiles that end above the box are forgotten: pictures are decoded downwards.
        """
        self._decoded = {t: v for t, v in self._decoded.items() if t.bottom > box.top}
        found = self._zeros(box)
        for tile in self.tiling.overlapping(box):
            if tile not in self._decoded:
                self._decoded[tile] = self.decode_tile(tile)
            common = tile.intersection(box)
            to, source = common.relative_to(box), common.relative_to(tile)
            levels = self.model.architecture.levels
            for whole, part, level in zip(found, self._decoded[tile], levels, strict=True):
                whole[to.slices(level.scale)] = part[source.slices(level.scale)]
        return found

    def decode_tile(self, tile: Box) -> Symbols:
        """Symbols of all levels in a tile, entropy-decoded."""
        found = self._zeros(tile)
        for step in self.coding_steps(tile):
            found[step.level][step.where] = step.symbols
        return found

    def coding_steps(self, tile: Box) -> Iterator[CodingStep]:
        """The coding steps of a tile with the symbols that were read."""
        coders = [
            SymbolDecoder(self.model.tables, stream, part)
            for stream, part in zip(self._streams[tile], bitstream.LEVEL_SECTIONS, strict=False)
        ]
        resolutions = self.model.architecture.resolutions
        masks = level_masks(self.routing[tile.slices(1)], resolutions)
        for step in self.model.context_model.steps(self.header.quality, masks[: self._level]):
            step.symbols = coders[step.level].read(step.indices)
            yield step

    def _zeros(self, box: Box) -> Symbols:
        rows, columns = box.shape
        return [
            np.zeros((rows * level.scale, columns * level.scale, len(level.bands)), np.int16)
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
