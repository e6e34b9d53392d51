"""The networks at run time, in NumPy: analysis, attention and synthesis of a frozen model.

`training.model` has the same in the form that trains; a test holds the two together. Here there is
no batch: grids are (rows, columns, channels). What depends on the quality is multiplied into the
weights once a picture, and a residual block computes its correction only at the places that
need it, gathered into a list: medium and high cost nothing where attention switched them off.
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
from mrdcae_lite.runtime.context_model import ALL_TAPS, Sites

Grid = NDArray[np.float32]
Mask = NDArray[np.bool_]

_ROWS = 512
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
        steps = range(architecture.resolutions)
        self._forward = [self._kernel("analysis", n, inverse=False) for n in steps]
        self._backward = [self._kernel("synthesis", n, inverse=True) for n in steps]
        self.weights_at = lru_cache(maxsize=4)(self._weights_at)

    def _kernel(self, side: str, step: int, *, inverse: bool) -> Grid:
        basis = pyramid.basis(step, coarsest=step == self.architecture.resolutions - 1)
        basis = (basis if inverse else basis.T).astype(np.float32)
        return basis + np.float32(0.1) * self._weights[f"{side}{step}/offset"]

    def _weights_at(self, quality: int) -> "QualityWeights":
        return QualityWeights(self.architecture, self._weights, quality)

    # --- encoder ----------------------------------------------------------------------------

    def analyse(self, image: Grid, quality: int) -> tuple[list[Grid], Grid | None]:
        """Latents of all levels in quantisation steps, coarse to fine, and attention logits.

        Args:
            image: float32 (height, width, 3) in [0, 1], sides multiples of 32.
            quality: 0 to 100.

        Returns grids (height/stride, width/stride, channels), and (height/32, width/32) logits,
        or None for a model without attention.
        """
        at = self.weights_at(quality)
        grid = space_to_depth(image - np.float32(0.5), 8) @ (self._forward[0] / at.step)
        logits = self._attend(grid, at) if self.architecture.attention else None
        details: list[Grid] = []
        for step, kernel in enumerate([*self._forward[1:], None]):
            everywhere = np.ones(grid.shape[:2], bool)
            self._correct(grid, everywhere, at.blocks["analysis", step])
            if kernel is not None:
                details.insert(0, grid[..., pyramid.CARRIED :])
                grid = space_to_depth(grid[..., : pyramid.CARRIED], 2) @ kernel
        pairs = zip([grid, *details], at.gains, strict=True)
        return [y * gain for y, gain in pairs], logits

    def thresholds(self) -> tuple[float, float]:
        """Saliency scores above which a patch is given the medium and the high level."""
        spread = float(self._weights["attention/spread"])
        return 1 / (1 + np.exp(spread)), 1 / (1 + np.exp(-spread))

    def route(self, logits: Grid | None, shape: tuple[int, int]) -> tuple[Grid, NDArray[np.uint8]]:
        """Saliency scores in [0, 1] and the level 1, 2 or 3 of each patch.

        Args:
            logits: of attention, (rows, columns), or None for a model without it.
            shape: rows and columns of patches.
        """
        if logits is None:
            return np.ones(shape, np.float32), np.full(
                shape, self.architecture.resolutions, np.uint8
            )
        scores = 0.5 * (1 + np.tanh(logits / 2))  # the sigmoid, without overflow
        low, high = self.thresholds()
        return scores.astype(np.float32), (1 + (scores > low) + (scores > high)).astype(np.uint8)

    def _attend(self, blocks: Grid, at: "QualityWeights") -> Grid:
        hidden = np.log1p(abs(blocks)) @ self._weights["attention/enter/kernel"]
        hidden = np.maximum(hidden + at.attention_bias, 0)  # (h/8, w/8, 32)
        for name, stride in (("halve", 2), ("quarter", 2), ("surround", 1)):
            kernel = self._weights[f"attention/{name}/kernel"]
            bias = self._weights[f"attention/{name}/bias"]
            hidden = np.maximum(_convolve(hidden, kernel, stride) + bias, 0)
        score = hidden @ self._weights["attention/score/kernel"]
        return (score + self._weights["attention/score/bias"])[..., 0]

    def contrast_gain(self, coarser: list[Grid], quality: int) -> Grid:
        """Factor of the latents of the level after `coarser` before rounding.

        Args:
            coarser: the levels before it, coarse to fine, as `dequantise` returns them.
            quality: 0 to 100.

        Returns (height/stride, width/stride, 1), or (1, 1, 1) for the first level.
        """
        if not coarser:
            return np.ones((1, 1, 1), np.float32)
        return pyramid.contrast_gain(coarser, self.weights_at(quality).step)

    def dequantise(self, symbols: NDArray[Any], coarser: list[Grid], quality: int) -> Grid:
        """A level in quantisation steps, from its symbols and the levels before it."""
        gain = self.weights_at(quality).inverse_gains[len(coarser)]
        return symbols * gain / self.contrast_gain(coarser, quality)

    def distortion_weights(self, quality: int) -> list[Grid]:
        """Squared synthesis gain of each channel, one array a level.

        It is the squared error in the picture, in quantisation steps, that an error of one in a
        symbol causes where the contrast gain is one.
        """
        return [gain**2 for gain in self.weights_at(quality).inverse_gains]

    # --- decoder ----------------------------------------------------------------------------

    def synthesise(self, symbols: list[NDArray[Any]], masks: list[Mask], quality: int) -> Grid:
        """Image in [0, 1] (not clipped) before deblocking, float32 (height, width, 3).

        Args:
            symbols: of all levels, coarse to fine, zero where switched off.
            masks: (height/stride, width/stride) of each level: where it is on. Elsewhere the
                blocks of its scale are not computed.
            quality: 0 to 100.
        """
        at = self.weights_at(quality)
        scaled: list[Grid] = []
        for k in symbols:
            scaled.append(self.dequantise(k, scaled, quality))
        grid = scaled[0]
        for step in reversed(range(self.architecture.resolutions)):
            level = self.architecture.level_of_step(step)
            self._correct(grid, masks[level], at.blocks["synthesis", step])
            if step > 0:
                carried = depth_to_space(grid @ self._backward[step], 2)
                grid = np.concatenate([carried, scaled[level + 1]], axis=-1)
        return depth_to_space(grid @ (self._backward[0] * at.step), 8) + np.float32(0.5)

    def deblock(self, image: Grid, quality: int) -> None:
        """Correct the pixels at the edges of blocks, in place.

        Args:
            image: as `synthesise` returns it, or a part of that which starts at a patch.
            quality: 0 to 100.
        """
        for number, edge in enumerate(pyramid.block_edges(self.architecture.resolutions)):
            for view in (image, image.swapaxes(0, 1)):
                self._deblock_rows(view, edge, f"deblocking{number}", self.weights_at(quality))

    def _deblock_rows(
        self, image: Grid, edge: tuple[int, int], name: str, at: "QualityWeights"
    ) -> None:
        """Correct the pixels above and below the edges between rows of blocks, in place."""
        weights, taps = self._weights, pyramid.DEBLOCKING_TAPS
        enter = weights[f"{name}/enter/kernel"].reshape(3 * 6 * taps, -1)
        enter_bias = weights[f"{name}/enter/bias"] + at.film(f"{name}/film")
        mix, mix_bias = (weights[f"{name}/mix/{part}"] for part in ("kernel", "bias"))
        leave, leave_bias = (weights[f"{name}/leave/{p}"] * at.step for p in ("kernel", "bias"))
        period, first = edge
        width = image.shape[1]
        around = np.zeros((width, 3, 6 * taps), np.float32)  # what is before, here and after
        for row in range(first, len(image), period):  # one at a time: it stays in the cache
            near = image[row - taps : row + taps].swapaxes(0, 1)  # (width, 8, 3)
            middle = (near[:, taps - 1] + near[:, taps])[:, None] / 2
            x = (near - middle).reshape(width, -1)
            x = np.copysign(np.log(1 + abs(x) * (4 / at.step)), x)
            around[1:, 0], around[:, 1], around[:-1, 2] = x[:-1], x, x[1:]
            hidden = around.reshape(width, -1) @ enter
            hidden += enter_bias
            hidden = np.maximum(hidden, 0, out=hidden) @ mix
            hidden += mix_bias
            change = np.maximum(hidden, 0, out=hidden) @ leave + leave_bias
            near += change.reshape(near.shape)

    @staticmethod
    def _correct(grid: Grid, mask: Mask, blocks: "list[_Block]") -> None:
        """Add the corrections of residual blocks to `grid` where `mask` is set."""
        if not blocks or not mask.any():
            return
        sites, seen = Sites.of(mask), np.nonzero(_dilated(mask))
        width = grid.shape[1] + 2
        places = (seen[0] + 1) * width + seen[1] + 1
        around = sites.neighbours(ALL_TAPS, slice(None))  # (sites, 9)
        for block in blocks:
            x = grid[seen]
            logarithm = np.copysign(np.log1p(abs(x)), x)
            hidden = logarithm @ block.enter_log + x @ block.enter_linear + block.enter_bias
            bordered = np.zeros((sites.size, hidden.shape[1]), np.float32)
            bordered[places] = np.maximum(hidden, 0)
            change = np.empty((len(around), grid.shape[2]), np.float32)
            for first in range(0, len(around), _ROWS):
                part = slice(first, first + _ROWS)
                near = bordered[around[part]].reshape(-1, len(block.mix))
                mixed = np.maximum(near @ block.mix + block.mix_bias, 0)
                change[part] = mixed @ block.leave + block.leave_bias
            grid[sites.rows, sites.columns] += change


class _Block(NamedTuple):
    """A residual block at one quality; matrices map rows of channels."""

    enter_log: Grid
    enter_linear: Grid
    enter_bias: Grid
    mix: Grid
    mix_bias: Grid
    leave: Grid
    leave_bias: Grid


class QualityWeights:
    """The weights that depend on the quality, at one quality."""

    def __init__(
        self, architecture: Architecture, weights: Mapping[str, Grid], quality: int
    ) -> None:
        self.step = np.float32(quantisation_step(quality))
        self._weights, self._features = weights, quality_features(quality)
        last = architecture.resolutions - 1
        self.blocks = {
            (side, step): [
                self._block(
                    f"{side}{step}_block{number}",
                    pyramid.typical_std(pyramid.bands(coarsest=step == last), 8 * 2**step),
                )
                for number in range(blocks)
            ]
            for side, blocks in (
                ("analysis", architecture.encoder_blocks),
                ("synthesis", architecture.blocks),
            )
            for step in range(architecture.resolutions)
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
        return np.exp(self._features @ self._weights[f"{name}/curve"])

    def _block(self, name: str, typical: NDArray[np.float64]) -> _Block:
        scale, shift = np.split(self.film(f"{name}/film"), 2)
        enter = self._weights[f"{name}/enter/kernel"] * (1 + scale)
        relative = (self.step / typical).astype(np.float32)
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


def _dilated(mask: Mask) -> Mask:
    """`mask` and all eight neighbours of its places."""
    wide = np.pad(mask, 1)
    wide = wide[:-2] | wide[1:-1] | wide[2:]
    return wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]


def _convolve(x: Grid, kernel: Grid, stride: int) -> Grid:
    """3 x 3 convolution with zeros around; at stride 2 the extra border is below and right."""
    before = 1 if stride == 1 else 0
    padded = np.pad(x, ((before, 1), (before, 1), (0, 0)))
    rows, columns = x.shape[0] // stride, x.shape[1] // stride
    total = np.zeros((rows, columns, kernel.shape[-1]), np.float32)
    for v in range(3):
        for h in range(3):
            seen = padded[v : v + stride * rows : stride, h : h + stride * columns : stride]
            total += seen @ kernel[v, h]
    return total
