"""The encoder: from pixels to the bytes of a `.mrdc` file.

encode -> for each tile: analyse (latents, routing) -> coding_steps (symbols) -> streams -> pack
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.entropy import MAX_SYMBOL, SymbolEncoder, Tables
from mrdcae_lite.coding.routing_map import write_routing
from mrdcae_lite.core.patches import pad_to_multiple
from mrdcae_lite.core.pixels import RGB, is_grey, normalise
from mrdcae_lite.core.pyramid import PATCH, level_masks
from mrdcae_lite.core.rate_distortion import RDOQ_LAMBDA, quantise
from mrdcae_lite.core.tiling import Box, Tiling
from mrdcae_lite.runtime.context_model import CodingStep
from mrdcae_lite.runtime.frozen import FrozenModel

Router = Callable[[NDArray[np.uint8], Box], NDArray[np.uint8]]
"""Changes the routing that attention proposes for the patches of a tile."""


@dataclass(frozen=True, eq=False)
class Latents:
    """An analysed image: its levels before the contrast gain, and what attention says.

    Attributes:
        levels: float32 in steps of their channels, coarse to fine; with three of them (h/32, w/32,
            192), (h/16, w/16, 144) and (h/8, w/8, 144).
        scores: float32 (h/32, w/32) saliency in [0, 1].
        routing: uint8 (h/32, w/32), the level 1, 2 or 3 of each patch.
    """

    levels: list[NDArray[np.float32]]
    scores: NDArray[np.float32]
    routing: NDArray[np.uint8]

    def crop(self, box: Box) -> "Latents":
        """Views of the latents in a box of patches."""
        levels = [y[box.slices(len(y) // len(self.routing))] for y in self.levels]
        return Latents(levels, self.scores[box.slices(1)], self.routing[box.slices(1)])


def encode(
    model: FrozenModel,
    image: RGB,
    quality: int,
    *,
    router: Router = lambda routing, _: routing,
    rdoq: bool = True,
    metadata: bytes = b"",
) -> bytes:
    """The bytes of a `.mrdc` file.

    Args:
        model: what to encode with.
        image: uint8 (height, width, 3).
        quality: 0 to 100.
        router: has the last word on the routing of each tile.
        rdoq: weigh error against bits when rounding; see `coding_steps`.
        metadata: the packed section.
    """
    tiling = Tiling(*image.shape[:2])
    routing_map = np.empty(tiling.shape, np.uint8)
    streams = []
    for tile in tiling:
        latents = analyse(model, image, quality, tile)
        latents = replace(latents, routing=router(latents.routing, tile))
        routing_map[tile.slices(1)] = latents.routing
        coders = [SymbolEncoder(model.tables) for _ in range(bitstream.LEVELS)]
        for step in coding_steps(model, latents, quality, rdoq=rdoq):
            coders[step.level].write(step.symbols, step.indices)
        streams.append([coder.finish() for coder in coders])
    sections = [bitstream.join_streams(parts) for parts in zip(*streams, strict=True)]
    height, width = image.shape[:2]
    header = bitstream.Header(width, height, quality, model.id, grey=is_grey(image))
    return bitstream.pack(header, (metadata, write_routing(routing_map), *sections))


def analyse(model: FrozenModel, image: RGB, quality: int, box: Box) -> Latents:
    """Latents of a box of patches, from its pixels and a halo of the receptive field's size.

    Args:
        model: what to analyse with.
        image: uint8 (height, width, 3), the whole picture.
        quality: 0 to 100.
        box: in the grid of patches.
    """
    wide = Tiling(*image.shape[:2]).with_halo(box, model.architecture.encoder_halo)
    piece = pad_to_multiple(image[wide.pixels], PATCH)
    levels, logits = model.transforms.analyse(normalise(piece), quality)
    scores, routing = model.transforms.route(logits, wide.shape)
    return Latents(levels, scores, routing).crop(box.relative_to(wide))


def coding_steps(
    model: FrozenModel, latents: Latents, quality: int, *, rdoq: bool = True
) -> Iterator[CodingStep]:
    """The coding steps of a tile with the symbols that are chosen for it.

    The levels follow one another from coarse to fine, since the contrast gain of a level and the
    coding tables of its symbols depend on the symbols before them.

    Args:
        model: what to encode with.
        latents: of the tile, with the routing to use.
        quality: 0 to 100.
        rdoq: choose the smaller of two symbols where its error costs less than its bits save.
    """
    weights = model.transforms.distortion_weights(quality)
    symbols = [np.zeros(y.shape, np.float32) for y in latents.levels]
    decoded: list[NDArray[np.float32]] = []  # the levels before this one, dequantised
    gain = scaled = np.empty(0, np.float32)  # of this level: contrast gain, latents times gain
    masks = level_masks(latents.routing, model.architecture.resolutions)
    for step in model.context_model.steps(quality, masks):
        if step.first:
            if step.level > 0:
                before = step.level - 1
                restored = model.transforms.dequantise(symbols[before], before, gain, quality)
                decoded.append(restored)
            gain = model.transforms.contrast_gain(decoded, quality)
            scaled = latents.levels[step.level] * gain
        y = scaled[step.where]  # (sites, channels)
        step.symbols = np.clip(quantise(y), -MAX_SYMBOL, MAX_SYMBOL).astype(np.int32)
        if rdoq:
            error_weights = weights[step.level][step.channels]
            step.symbols = _rdoq(model.tables, y, step.symbols, step.indices, error_weights)
        symbols[step.level][step.where] = step.symbols
        yield step  # resumed, the context model reads step.symbols and goes on


def _rdoq(
    tables: Tables,
    y: NDArray[np.float32],
    symbols: NDArray[np.int32],
    indices: NDArray[np.uint8],
    error_weights: NDArray[np.float32],
) -> NDArray[np.int32]:
    """Rate-distortion-optimised quantisation (Karczewicz et al., 2008) of one coding step.

    Each symbol goes one towards zero where that lowers D + lambda R. D is about the squared error
    in the picture in quantisation steps, times the squared contrast gain: beside strong contrast an
    error counts less. What the choice does to the symbols after it is left out.
    """
    some = np.nonzero(symbols)  # few of them
    y, larger, tables_of = y[some], symbols[some], indices[some]
    smaller = larger - np.sign(larger)
    saved = tables.cost(larger, tables_of) - tables.cost(smaller, tables_of)
    added = error_weights[some[1]] * ((y - smaller) ** 2 - (y - larger) ** 2)
    chosen = symbols.copy()
    chosen[some] = np.where(added < RDOQ_LAMBDA * saved, smaller, larger)
    return chosen
