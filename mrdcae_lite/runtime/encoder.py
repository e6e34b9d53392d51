"""The encoder: from pixels to the bytes of a `.mrdc` file.

encode -> for each tile: analyse (latents) -> route -> coding_steps (symbols) -> streams -> pack
                                                ^-- adapt (latents) <--'

What was learned is a proposal. The original is at hand here, so each decision that could harm a
picture is checked against it: a level is left out where that costs little, the filters are off
where they do harm to a drawing, and a tile is stored without loss where that takes fewer bytes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.entropy import MAX_SYMBOL, SymbolEncoder, Tables
from mrdcae_lite.coding.lossless import looks_drawn, write_lossless
from mrdcae_lite.coding.maps import Maps, write_maps
from mrdcae_lite.core.distortion import psnr
from mrdcae_lite.core.patches import pad_to_multiple, space_to_depth
from mrdcae_lite.core.pixels import RGB, denormalise, is_grey, normalise
from mrdcae_lite.core.pyramid import PATCH, always_on, level_masks, section
from mrdcae_lite.core.quality import DEFAULT_EFFORT, QUALITIES
from mrdcae_lite.core.rate_distortion import (
    ADAPTED_PRICE,
    LAMBDA,
    RDOQ_OFFSET,
    ROUNDING_OFFSET,
    quantise,
    rdoq_lambda,
)
from mrdcae_lite.core.tiling import Box, Tiling
from mrdcae_lite.runtime.context_model import CodingStep, place
from mrdcae_lite.runtime.decoder import keep_unfiltered
from mrdcae_lite.runtime.frozen import FrozenModel
from mrdcae_lite.runtime.parallel import ordered_map

Checked = Callable[[], NDArray[np.uint8]]
"""Computes the routing of a tile that attention proposes and the encoder checks."""

Router = Callable[[Checked, Box], NDArray[np.uint8]]
"""The routing of a tile, given what computes the checked one, if that is wanted."""

BLOCK = 8
"""Side of the blocks of the first analysis, in pixels."""

ADAPTING_STEP = 0.7
"""How far a pass of `adapt` moves the latents; they settle after three or four of them."""

EMPHASIS = 0.65
"""Extra weight of what a flat block lacks at quality 0: it is added 1 + `EMPHASIS` times.

On 512-pixel crops of 16 validation photographs 0, 0.5, 0.65 and 0.8 give a BD-rate of -2.5, -2.9,
-2.6 and -2.0 % in PSNR, and of -2.9, -5.6, -6.3 and -6.8 % in SSIM, after two passes and relative
to none. 0.65 is the largest of them that loses no PSNR against 0.
"""

FLAT = 10 / 255
"""Standard deviation of a block at which the emphasis has fallen to half of its value."""

LOSS_LIMIT = 0.02
"""Most that leaving levels out may add to the squared error of a tile, as a share of it.

It is an estimate, from coefficients and without the filters: the true share is below 7 %, 0.3 dB.
"""

BITS_OF_ONE, BITS_A_DOUBLING = 4.0, 2.0
"""Rough cost of a symbol of magnitude one, and of each doubling of the magnitude."""

STORING_ALLOWANCE = 64
"""Bytes by which a stored tile may be larger than a coded one.

So much a tile is worth to be exact, and what the tiniest tiles take; where few symbols make up a
tile, its PSNR is a matter of luck at low qualities.
"""

BEST_QUALITY_PSNR = 42.5
"""PSNR in dB that every tile has at quality 100, or it is stored without loss."""


@dataclass(frozen=True, eq=False)
class Latents:
    """An analysed image: its levels before the contrast gain, and what attention says.

    Attributes:
        levels: float32 in steps of their channels, coarse to fine, each (h/stride, w/stride,
            channels).
        scores: float32 (h/32, w/32) saliency in [0, 1].
        routing: uint8 (h/32, w/32), the level 1, 2 or 3 of each patch.
    """

    levels: list[NDArray[np.float32]]
    scores: NDArray[np.float32]
    routing: NDArray[np.uint8]


class _CodedTile(NamedTuple):
    """A tile in the file: its streams of the three sections, and its part of the maps."""

    streams: list[bytes]
    routing: NDArray[np.uint8]
    unfiltered: NDArray[np.bool_]
    stored: bool


def encode(
    model: FrozenModel,
    image: RGB,
    quality: int,
    *,
    router: Router | None = None,
    effort: int = DEFAULT_EFFORT,
    store: bool | None = None,
    metadata: bytes = b"",
    threads: int = 1,
) -> bytes:
    """The bytes of a `.mrdc` file.

    Args:
        model: what to encode with.
        image: uint8 (height, width, 3).
        quality: 0 to 100.
        router: decides the routing of each tile, instead of attention and its check alone.
        effort: 0 rounds every latent alone, 1 weighs error against bits (`coding_steps`), and each
            further one adds a pass of `adapt` on tiles that do not look drawn.
        store: every tile without loss (True) or none (False), instead of those that look drawn and
            take no more bytes that way.
        metadata: the packed section.
        threads: how many tiles to compute at a time.
    """
    height, width = image.shape[:2]
    tiling = Tiling(height, width, model.architecture.unit)
    routing, unfiltered = np.empty(tiling.shape, np.uint8), np.empty(tiling.shape, bool)
    stored, streams = [], []
    code = partial(_code_tile, model, image, quality, router=router, effort=effort, store=store)
    for tile, coded in zip(tiling, ordered_map(code, tiling, threads), strict=True):
        routing[tile.slices], unfiltered[tile.slices] = coded.routing, coded.unfiltered
        stored.append(coded.stored)
        streams.append(coded.streams)
    maps = Maps(routing, unfiltered, np.array(stored).reshape(tiling.tiles))
    sections = [bitstream.join_streams(parts) for parts in zip(*streams, strict=True)]
    header = bitstream.Header(
        width,
        height,
        quality,
        model.id,
        grey=is_grey(image),
        stored=any(stored),
        unfiltered=bool(unfiltered.any()),
    )
    return bitstream.pack(header, (metadata, write_maps(maps), *sections))


def _code_tile(
    model: FrozenModel,
    image: RGB,
    quality: int,
    tile: Box,
    *,
    router: Router | None,
    effort: int,
    store: bool | None,
) -> _CodedTile:
    """Code a tile, or store it without loss where that takes few more bytes or is asked for."""
    pixels = image[tile.on_grid(1).slices]
    if store:
        return _stored(write_lossless(pixels), tile)
    drawn = looks_drawn(pixels)
    lossless = write_lossless(pixels) if drawn and store is None else None
    proposed = analyse(model, image, quality, tile)
    decide = (lambda checked: router(checked, tile)) if router else None
    passes = min(effort, 1) if drawn else effort  # photographs are what the filters know
    routing, steps, symbols = _search(model, pixels, proposed, quality, passes, decide)
    coders = [SymbolEncoder(model.tables) for _ in range(bitstream.LEVELS)]
    for step in steps:
        coders[section(step.level, len(symbols))].write(step.symbols, step.indices)
    streams = [coder.finish() for coder in coders]
    if lossless is not None and len(lossless) <= sum(map(len, streams)) + STORING_ALLOWANCE:
        return _stored(lossless, tile)
    unfiltered = np.zeros(tile.shape, bool)
    best = quality == QUALITIES - 1
    if best or drawn:  # photographs are what the filters were trained on
        restored, unfiltered = _measure_filters(model, pixels, symbols, quality)
        if best and store is None and psnr(pixels, restored, data_range=255) < BEST_QUALITY_PSNR:
            return _stored(lossless or write_lossless(pixels), tile)
    return _CodedTile(streams, routing, unfiltered, stored=False)


def _search(
    model: FrozenModel,
    pixels: RGB,
    proposed: Latents,
    quality: int,
    effort: int,
    decide: Callable[[Checked], NDArray[np.uint8]] | None,
) -> tuple[NDArray[np.uint8], list[CodingStep], list[NDArray[np.float32]]]:
    """Routing, coding steps and symbols of a tile; `decide` gets what computes the checked routing.

    Every pass checks the proposed routing anew, as adapted latents may need a level that the first
    ones did not.
    """
    latents, multiplier = proposed, rdoq_lambda(quality) if effort else None
    for further in reversed(range(max(effort, 1))):
        checked = partial(route, model, replace(latents, routing=proposed.routing), quality)
        latents = replace(latents, routing=decide(checked) if decide else checked())
        steps = list(coding_steps(model, latents, quality, multiplier))
        symbols = place(steps, [np.zeros(y.shape, np.float32) for y in latents.levels])
        if further:
            latents = adapt(model, pixels, latents, symbols, quality)
            multiplier = ADAPTED_PRICE * rdoq_lambda(quality)
    return latents.routing, steps, symbols


def _stored(lossless: bytes, tile: Box) -> _CodedTile:
    lowest, nowhere = np.ones(tile.shape, np.uint8), np.zeros(tile.shape, bool)
    return _CodedTile([lossless, b"", b""], lowest, nowhere, stored=True)


def _measure_filters(
    model: FrozenModel, pixels: RGB, symbols: list[NDArray[np.float32]], quality: int
) -> tuple[RGB, NDArray[np.bool_]]:
    """The tile as it will be decoded, and the patches in which the filters only do harm.

    What the filters see beyond the tile is left out.
    """
    before = model.transforms.synthesise(symbols, quality)
    after = model.transforms.filter(before, quality)
    height, width = pixels.shape[:2]
    original = normalise(pixels)
    errors = []
    for restored in (before, after):
        error = np.zeros(restored.shape, np.float32)
        error[:height, :width] = np.clip(restored[:height, :width], 0, 1) - original
        of_patches = space_to_depth(error**2, PATCH)
        errors.append(of_patches.sum(axis=2))
    off = errors[0] < errors[1]
    keep_unfiltered(before, after, off)
    return denormalise(after[:height, :width]), off


def analyse(model: FrozenModel, image: RGB, quality: int, box: Box) -> Latents:
    """Latents of a box of patches, from its pixels and a halo of the receptive field's size.

    Args:
        model: what to analyse with.
        image: uint8 (height, width, 3), the whole picture.
        quality: 0 to 100.
        box: in the grid of patches.
    """
    unit = model.architecture.unit
    tiling = Tiling(image.shape[0], image.shape[1], unit)
    wide = tiling.with_halo(box, model.architecture.encoder_halo)
    piece = pad_to_multiple(image[wide.on_grid(1).slices], unit)
    levels, logits = model.transforms.analyse(normalise(piece), quality)
    scores, routing = model.transforms.route(logits, wide.shape)
    inner, strides = box.relative_to(wide), (level.stride for level in model.architecture.levels)
    cut = [y[inner.on_grid(s).slices] for y, s in zip(levels, strides, strict=True)]
    return Latents(cut, scores[inner.slices], routing[inner.slices])


def adapt(
    model: FrozenModel,
    pixels: RGB,
    latents: Latents,
    symbols: list[NDArray[np.float32]],
    quality: int,
) -> Latents:
    """Latents of a tile, moved so that the picture after the filters comes nearer to the original.

    Analysis knows nothing of the filters, which put back a part of what rounding took. Here the
    tile is decoded, and its remaining error is added to the picture from before the filters; the
    sum is analysed, and the latents move by `ADAPTING_STEP` towards the result. What the filters
    see beyond the tile is left out. Others adapt latents by gradient descent (Campos et al., 2019;
    Yang et al., 2020). This is cheaper and needs no gradients: it takes the correction of the
    filters for one that stays the same when a few symbols change.

    Where the original is flat, more is added than it lacks. Structural similarity counts an error
    by the contrast around it, and rounding takes faint texture first.

    Args:
        model: what to encode with.
        pixels: the tile, uint8 (height, width, 3).
        latents: of the tile.
        symbols: that were chosen for them, float32 of all levels.
        quality: 0 to 100.
    """
    original = normalise(pad_to_multiple(pixels, model.architecture.unit))
    synthesised = model.transforms.synthesise(symbols, quality)
    missing = original - model.transforms.filter(synthesised, quality)
    rows, columns = original.shape[0] // BLOCK, original.shape[1] // BLOCK
    blocks = space_to_depth(original, BLOCK).reshape(rows, columns, -1, 3)
    emphasis = EMPHASIS * np.sqrt(1 - quality / (QUALITIES - 1))
    gain = 1 + emphasis / (1 + blocks.var(axis=2) / FLAT**2)  # (rows, columns, 3)
    missing *= np.repeat(np.repeat(gain, BLOCK, axis=0), BLOCK, axis=1)
    aims, _ = model.transforms.analyse(synthesised + missing, quality)
    pairs = zip(latents.levels, aims, strict=True)
    return replace(latents, levels=[y + np.float32(ADAPTING_STEP) * (aim - y) for y, aim in pairs])


def route(model: FrozenModel, latents: Latents, quality: int) -> NDArray[np.uint8]:
    """The routing of a tile: what attention proposes, checked against what it would cost.

    A level is left out in a patch if all its symbols are zero. It is left out, too, if attention
    proposes that and what it adds to the error is worth less than the bits it saves, as long as all
    patches together stay within `LOSS_LIMIT`. The error is that of the coefficients, as the
    transform is close to orthonormal; the bits are a rough estimate.

    Args:
        model: what to encode with.
        latents: of the tile; their routing is the proposal.
        quality: 0 to 100.

    Returns uint8 (rows, columns) of levels 1 to 3.
    """
    transforms, shape = model.transforms, latents.routing.shape
    weights, always = transforms.distortion_weights(quality), always_on(len(latents.levels))
    decoded: list[NDArray[np.float32]] = []
    error = 0.0  # of the tile, in squared quantisation steps, with all levels
    losses: list[NDArray[Any]] = []  # of leaving out each level that may be, (rows, columns)
    bits: list[NDArray[Any]] = []
    for number, y in enumerate(latents.levels):
        gain = transforms.contrast_gain(decoded, quality)
        k = quantise(y * gain)
        decoded.append(transforms.dequantise(k, number, gain, quality))
        found = np.flatnonzero(k)  # few of them
        channel, cell = found % y.shape[-1], found // y.shape[-1]
        gains = transforms.weights_at(quality).gains[number]
        zeroed, restored = y.ravel()[found], decoded[-1].ravel()[found] * gains[channel]
        added = (zeroed**2 - (zeroed - restored) ** 2) * weights[number][channel]
        error += float((y**2 @ weights[number]).sum() - added.sum())
        if number >= always:
            row, column = np.divmod(cell, y.shape[1])
            side: int = y.shape[0] // shape[0]  # of a patch, in cells
            patch = row // side * shape[1] + column // side
            cost = BITS_OF_ONE + BITS_A_DOUBLING * np.log2(abs(k.ravel()[found]))
            losses.append(np.bincount(patch, added, latents.routing.size).reshape(shape))
            bits.append(np.bincount(patch, cost, latents.routing.size).reshape(shape))
    return _cheapest(latents.routing, losses, bits, error)


def _cheapest(
    proposed: NDArray[np.uint8],
    losses: list[NDArray[Any]],
    bits: list[NDArray[Any]],
    error: float,
) -> NDArray[np.uint8]:
    """The routing of `route`, from the loss and bits of each level that may be left out."""
    routing = np.full(proposed.shape, 1 + len(losses), np.uint8)
    loss = np.zeros(proposed.shape)  # of what was left out in a patch so far
    for level in range(len(losses), 0, -1):  # leave out level + 1, if all above are left out
        added, saved = losses[level - 1], bits[level - 1]
        worth = (proposed <= level) & (added <= LAMBDA * saved)
        allowed = (routing == level + 1) & (worth | (saved == 0))
        routing[allowed] = level
        loss += np.where(allowed, added, 0)
    cheap = np.argsort(loss, axis=None)
    too_much = np.cumsum(loss.flat[cheap]) > LOSS_LIMIT * error
    for patch in cheap[too_much]:
        zero = [not b.flat[patch] for b in bits]
        routing.flat[patch] = next((n + 1 for n in range(len(bits), 0, -1) if not zero[n - 1]), 1)
    return routing


def coding_steps(
    model: FrozenModel, latents: Latents, quality: int, multiplier: float | None
) -> Iterator[CodingStep]:
    """The coding steps of a tile with the symbols that are chosen for it.

    The levels follow one another from coarse to fine, since the contrast gain of a level and the
    coding tables of its symbols depend on the symbols before them.

    Args:
        model: what to encode with.
        latents: of the tile, with the routing to use.
        quality: 0 to 100.
        multiplier: Lagrange multiplier, in squared quantisation steps a bit: the smaller of two
            symbols is chosen where its error costs less than its bits save. None: each latent is
            rounded by itself.
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
        rounded = quantise(y, offset=ROUNDING_OFFSET if multiplier is None else RDOQ_OFFSET)
        step.symbols = np.clip(rounded, -MAX_SYMBOL, MAX_SYMBOL).astype(np.int32)
        if multiplier is not None:
            weighted = weights[step.level][step.channels] / multiplier
            step.symbols = _rdoq(model.tables, y, step.symbols, step.indices, weighted)
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

    Each symbol goes one towards zero where that lowers D / lambda + R. D is about the squared error
    in the picture in quantisation steps, times the squared contrast gain: beside strong contrast an
    error counts less. What the choice does to the symbols after it is left out.
    """
    some = np.nonzero(symbols)  # few of them
    y, larger, tables_of = y[some], symbols[some], indices[some]
    smaller = larger - np.sign(larger)
    saved = tables.cost(larger, tables_of) - tables.cost(smaller, tables_of)
    added = error_weights[some[1]] * ((y - smaller) ** 2 - (y - larger) ** 2)
    chosen = symbols.copy()
    chosen[some] = np.where(added < saved, smaller, larger)
    return chosen
