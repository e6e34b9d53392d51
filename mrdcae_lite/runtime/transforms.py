"""The networks at run time, in NumPy: analysis, attention and synthesis of a frozen model.

`training.model` has the same in the form that trains; a test holds the two together. Here there is
no batch: grids are float32 (rows, columns, channels). What depends on the quality is multiplied
into the weights once a picture, and a residual block computes its correction only at the sites
that need it: medium and high cost nothing where attention switched them off.

Stages of the transform count from fine to coarse (stage 0 works on pixels), levels from coarse to
fine.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.core import pyramid
from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.core.patches import depth_to_space, space_to_depth
from mrdcae_lite.core.quality import quality_features, quantisation_step
from mrdcae_lite.core.sites import ALL_TAPS, Sites

Grid = NDArray[np.float32]
Mask = NDArray[np.bool_]

_CHUNK = 512
"""Sites whose neighbourhoods are multiplied at a time: they stay in the processor's cache."""


class Transforms:
    """Frozen networks.

    Args:
        architecture: of the model.
        weights: by name, as `Architecture.transform_arrays` lists them.
    """

    def __init__(self, architecture: Architecture, weights: Mapping[str, NDArray[Any]]) -> None:
        self.architecture = architecture
        self._weights = {name: array.astype(np.float32) for name, array in weights.items()}
        stages = range(architecture.resolutions)
        self._forward = [self._kernel("analysis", n, inverse=False) for n in stages]
        self._backward = [self._kernel("synthesis", n, inverse=True) for n in stages]
        self.weights_at = lru_cache(maxsize=4)(self._weights_at)

    def _kernel(self, side: str, stage: int, *, inverse: bool) -> Grid:
        """Matrix (192, 192) from the right: the DCT basis and a tenth of what was learned."""
        basis = pyramid.basis(stage, coarsest=stage == self.architecture.resolutions - 1)
        basis = (basis if inverse else basis.T).astype(np.float32)
        return basis + np.float32(0.1) * self._weights[f"{side}{stage}/offset"]

    def _weights_at(self, quality: int) -> "QualityWeights":
        return QualityWeights(self.architecture, self._weights, quality)

    def analyse(self, image: Grid, quality: int) -> tuple[list[Grid], Grid | None]:
        """Latents of all levels in steps of their channels, coarse to fine, and attention logits.

        Args:
            image: (height, width, 3) in [0, 1], sides multiples of 32.
            quality: 0 to 100.

        Returns grids (height/stride, width/stride, channels), and (height/32, width/32) logits,
        or None for a model without attention.
        """
        at = self.weights_at(quality)
        grid = space_to_depth(image - np.float32(0.5), 8) @ (self._forward[0] / at.step_size)
        logits = self._attend(grid, at) if self.architecture.attention else None
        details: list[Grid] = []
        for stage, kernel in enumerate([*self._forward[1:], None]):
            everywhere = np.ones(grid.shape[:2], bool)  # the shipped `lite` has no blocks here
            _correct(grid, everywhere, at.blocks["analysis", stage])
            if kernel is not None:  # the level's channels stay, the others go on
                details.insert(0, grid[..., pyramid.CARRIED :])  # (h, w, 144)
                grid = space_to_depth(grid[..., : pyramid.CARRIED], 2) @ kernel  # (h/2, w/2, 192)
        pairs = zip([grid, *details], at.gains, strict=True)
        return [y * gain for y, gain in pairs], logits

    def _attend(self, blocks: Grid, at: "QualityWeights") -> Grid:
        """Logits (h/32, w/32) from the coefficients (h/8, w/8, 192) in quantisation steps."""
        hidden = np.log1p(abs(blocks)) @ self._weights["attention/enter/kernel"]
        hidden = np.maximum(hidden + at.attention_bias, 0)  # (h/8, w/8, 32)
        for name, stride in (("halve", 2), ("quarter", 2), ("surround", 1)):
            kernel = self._weights[f"attention/{name}/kernel"]
            bias = self._weights[f"attention/{name}/bias"]
            hidden = np.maximum(_convolve(hidden, kernel, stride) + bias, 0)
        score = hidden @ self._weights["attention/score/kernel"]  # (h/32, w/32, 1)
        return (score + self._weights["attention/score/bias"])[..., 0]

    def thresholds(self) -> tuple[float, float]:
        """Saliency scores above which a patch is given the medium and the high level.

        They lie symmetrically about one half (an ordinal logistic model; McCullagh, 1980).
        """
        spread = float(self._weights["attention/spread"])
        return 1 / (1 + np.exp(spread)), 1 / (1 + np.exp(-spread))

    def route(self, logits: Grid | None, shape: tuple[int, int]) -> tuple[Grid, NDArray[np.uint8]]:
        """Saliency scores in [0, 1] and the level 1, 2 or 3 of each patch.

        Args:
            logits: of attention, (rows, columns), or None for a model without it.
            shape: rows and columns of patches.
        """
        if logits is None:
            highest = np.full(shape, self.architecture.resolutions, np.uint8)
            return np.ones(shape, np.float32), highest
        scores = 0.5 * (1 + np.tanh(logits / 2))  # the sigmoid, without overflow
        low, high = self.thresholds()
        return scores.astype(np.float32), (1 + (scores > low) + (scores > high)).astype(np.uint8)

    def contrast_gain(self, coarser: list[Grid], quality: int) -> Grid:
        """Factor of the latents of the level after `coarser` before rounding.

        Args:
            coarser: the levels before it, coarse to fine, as `dequantise` returns them.
            quality: 0 to 100.

        Returns (height/stride, width/stride, 1), or (1, 1, 1) for the first level.
        """
        if not coarser:
            return np.ones((1, 1, 1), np.float32)
        gain: Grid = pyramid.contrast_gain(coarser, self.weights_at(quality).step_size)
        return gain

    def dequantise(self, symbols: NDArray[Any], level: int, gain: Grid, quality: int) -> Grid:
        """Coefficients in quantisation steps, from the symbols of a level and its contrast gain."""
        return symbols * self.weights_at(quality).inverse_gains[level] / gain

    def distortion_weights(self, quality: int) -> list[Grid]:
        """Squared synthesis gain of each channel, one array (channels,) a level.

        It is the squared error in the picture, in quantisation steps, that an error of one in a
        symbol causes where the contrast gain is one. Gains and inverse gains are trained apart, so
        one is not the reciprocal of the other.
        """
        return [gain**2 for gain in self.weights_at(quality).inverse_gains]

    def synthesise(self, symbols: list[NDArray[Any]], masks: list[Mask], quality: int) -> Grid:
        """Image in [0, 1] (not clipped) before deblocking, (height, width, 3).

        Args:
            symbols: of all levels, coarse to fine, zero where switched off.
            masks: (height/stride, width/stride) of each level: where it is on. Elsewhere the
                residual blocks of its grid are not computed.
            quality: 0 to 100.
        """
        at = self.weights_at(quality)
        levels: list[Grid] = []
        for number, k in enumerate(symbols):
            gain = self.contrast_gain(levels, quality)
            levels.append(self.dequantise(k, number, gain, quality))
        grid = levels[0].copy()  # blocks change it in place
        for level, stage in enumerate(reversed(range(self.architecture.resolutions))):
            _correct(grid, masks[level], at.blocks["synthesis", stage])
            if stage > 0:
                carried = depth_to_space(grid @ self._backward[stage], 2)  # (2h, 2w, 48)
                grid = np.concatenate([carried, levels[level + 1]], axis=-1)  # (2h, 2w, 192)
        image: Grid = depth_to_space(grid @ (self._backward[0] * at.step_size), 8)
        return image + np.float32(0.5)

    def deblock(self, image: Grid, quality: int) -> None:
        """Correct the pixels at block edges, in place (a learned filter; after List et al., 2003).

        Args:
            image: as `synthesise` returns it, or a part of that which starts at a patch.
            quality: 0 to 100.
        """
        for number, edge in enumerate(pyramid.block_edges(self.architecture.resolutions)):
            for view in (image, image.swapaxes(0, 1)):  # edges between rows, then between columns
                self._deblock_rows(view, edge, f"deblocking{number}", self.weights_at(quality))

    def _deblock_rows(
        self, image: Grid, edge: tuple[int, int], name: str, at: "QualityWeights"
    ) -> None:
        """Correct the pixels above and below the edges between rows of blocks, in place.

        Every column of an edge sees four pixels on either side, and those of its two neighbours.
        The input is their difference from the edge's mean in quarter steps, on a log scale.
        """
        weights, taps = self._weights, pyramid.DEBLOCKING_TAPS
        values = 6 * taps  # three colours on both sides
        enter = weights[f"{name}/enter/kernel"].reshape(3 * values, -1)
        enter_bias = weights[f"{name}/enter/bias"] + at.film(f"{name}/film")
        mix, mix_bias = (weights[f"{name}/mix/{part}"] for part in ("kernel", "bias"))
        leave, leave_bias = (
            weights[f"{name}/leave/{part}"] * at.step_size for part in ("kernel", "bias")
        )
        period, first = edge
        width = image.shape[1]
        around = np.zeros((width, 3, values), np.float32)  # the column before, this one, the next
        for row in range(first, len(image), period):  # one at a time: it stays in the cache
            near = image[row - taps : row + taps].swapaxes(0, 1)  # (width, 8, 3), a view
            middle = (near[:, taps - 1] + near[:, taps])[:, None] / 2
            x = (near - middle).reshape(width, -1)
            x = np.copysign(np.log(1 + abs(x) * (4 / at.step_size)), x)
            around[1:, 0], around[:, 1], around[:-1, 2] = x[:-1], x, x[1:]
            hidden = around.reshape(width, -1) @ enter
            hidden += enter_bias
            hidden = np.maximum(hidden, 0, out=hidden) @ mix
            hidden += mix_bias
            change = np.maximum(hidden, 0, out=hidden) @ leave + leave_bias
            near += change.reshape(near.shape)  # changes the image


class _Block(NamedTuple):
    """A residual block at one quality; matrices multiply rows of channels from the right."""

    enter_log: Grid  # (192, width), for the coefficients on a log scale
    enter_linear: Grid  # (192, width), for the coefficients as they are
    enter_bias: Grid
    mix: Grid  # (9 * width, width), a 3 x 3 convolution
    mix_bias: Grid
    leave: Grid  # (width, 192)
    leave_bias: Grid


class QualityWeights:
    """The weights that depend on the quality, at one quality.

    Attributes:
        step_size: the quantisation step, for images in [0, 1].
        blocks: residual blocks by side ("analysis" or "synthesis") and stage.
        gains, inverse_gains: (channels,) of each level, coarse to fine (gain units; Cui et al.,
            2021): factors before rounding and in synthesis.
    """

    def __init__(
        self, architecture: Architecture, weights: Mapping[str, Grid], quality: int
    ) -> None:
        self.step_size = np.float32(quantisation_step(quality))
        self._weights, self._features = weights, quality_features(quality)
        last = architecture.resolutions - 1
        self.blocks = {
            (side, stage): [
                self._block(
                    f"{side}{stage}_block{number}",
                    pyramid.typical_std(pyramid.bands(coarsest=stage == last), 8 * 2**stage),
                )
                for number in range(count)
            ]
            for side, count in (
                ("analysis", architecture.encoder_blocks),
                ("synthesis", architecture.blocks),
            )
            for stage in range(architecture.resolutions)
        }
        numbers = range(architecture.resolutions)
        self.gains = [self._gain(f"gain{n}") for n in numbers]
        self.inverse_gains = [self._gain(f"inverse_gain{n}") for n in numbers]
        if architecture.attention:
            self.attention_bias = weights["attention/enter/bias"] + self.film("attention/film")

    def film(self, name: str) -> Grid:
        """Feature-wise modulation (FiLM; Perez et al., 2018): linear in the quality features."""
        kernel, bias = self._weights[f"{name}/kernel"], self._weights[f"{name}/bias"]
        return self._features @ kernel + bias

    def _gain(self, name: str) -> Grid:
        gain: Grid = np.exp(self._features @ self._weights[f"{name}/curve"])
        return gain

    def _block(self, name: str, typical: NDArray[np.float64]) -> _Block:
        """A block with FiLM and units folded into its first layer.

        In training it sees the coefficients x twice, as log(x) and as x * step / typical.
        """
        scale, shift = np.split(self.film(f"{name}/film"), 2)
        enter = self._weights[f"{name}/enter/kernel"] * (1 + scale)  # (384, width)
        relative = (self.step_size / typical).astype(np.float32)
        width = enter.shape[1]
        return _Block(
            enter[:192],
            enter[192:] * relative[:, None],
            self._weights[f"{name}/enter/bias"] * (1 + scale) + shift,
            self._weights[f"{name}/mix/kernel"].reshape(9 * width, width),
            self._weights[f"{name}/mix/bias"],
            self._weights[f"{name}/leave/kernel"],
            self._weights[f"{name}/leave/bias"],
        )


def _correct(grid: Grid, mask: Mask, blocks: list[_Block]) -> None:
    """Add the corrections of residual blocks to `grid` where `mask` is set, in place."""
    if not blocks or not mask.any():
        return
    sites = Sites.of(mask)  # as a list of cells; their order does not matter here
    visible = np.nonzero(_dilated(mask))  # a 3 x 3 kernel sees one cell further
    columns = grid.shape[1] + 2
    flat = (visible[0] + 1) * columns + visible[1] + 1  # positions in a grid with a border of one
    neighbours = sites.neighbours(ALL_TAPS, slice(None))  # (sites, 9)
    for block in blocks:
        x = grid[visible]  # (visible sites, 192)
        logarithm = np.copysign(np.log1p(abs(x)), x)
        hidden = logarithm @ block.enter_log + x @ block.enter_linear + block.enter_bias
        bordered = np.zeros((sites.size, hidden.shape[1]), np.float32)
        bordered[flat] = np.maximum(hidden, 0)
        change = np.empty((len(neighbours), grid.shape[2]), np.float32)
        for first in range(0, len(neighbours), _CHUNK):
            part = slice(first, first + _CHUNK)
            seen = bordered[neighbours[part]].reshape(-1, len(block.mix))  # (chunk, 9 * width)
            mixed = np.maximum(seen @ block.mix + block.mix_bias, 0)
            change[part] = mixed @ block.leave + block.leave_bias
        grid[sites.rows, sites.columns] += change


def _dilated(mask: Mask) -> Mask:
    """`mask` and all eight neighbours of its cells."""
    wide = np.pad(mask, 1)
    wide = wide[:-2] | wide[1:-1] | wide[2:]
    return wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]


def _convolve(x: Grid, kernel: Grid, stride: int) -> Grid:
    """3 x 3 convolution of (h, w, in) with zeros around, to (h/stride, w/stride, out).

    At stride 2 the extra border is below and to the right, as in Keras's "same" padding.
    """
    before = 1 if stride == 1 else 0
    padded = np.pad(x, ((before, 1), (before, 1), (0, 0)))
    rows, columns = x.shape[0] // stride, x.shape[1] // stride
    total = np.zeros((rows, columns, kernel.shape[-1]), np.float32)
    for v in range(3):
        for h in range(3):
            seen = padded[v : v + stride * rows : stride, h : h + stride * columns : stride]
            total += seen @ kernel[v, h]
    return total
