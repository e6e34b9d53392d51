"""The networks at run time, in NumPy: analysis, attention, synthesis and filters of a frozen model.

`training.model` has the same in the form that trains; a test holds the two together. Here there is
no batch: grids are float32 (rows, columns, channels). What depends on the quality is multiplied
into the weights once a quality.

Stages of the transform count from fine to coarse (stage 0 works on pixels), levels from coarse to
fine.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.core import pyramid
from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.core.patches import depth_to_space, space_to_depth
from mrdcae_lite.core.quality import quality_features, quantisation_step
from mrdcae_lite.runtime.filters import Deblocking, Refinement

Grid = NDArray[np.float32]


class Transforms:
    """Frozen networks.

    Args:
        architecture: of the model.
        weights: by name, as `Architecture.transform_arrays` lists them.

    Attributes:
        energies: squared norm in the picture of one in each channel, (channels,) of each level.
    """

    def __init__(self, architecture: Architecture, weights: Mapping[str, NDArray[Any]]) -> None:
        self.architecture = architecture
        self._weights = {name: array.astype(np.float32) for name, array in weights.items()}
        self._forward = [self._kernel(n) for n in range(architecture.resolutions)]
        self._backward = [
            np.linalg.inv(kernel.astype(np.float64)).astype(np.float32) for kernel in self._forward
        ]
        self.energies = _energies(self._backward)
        self.weights_at = lru_cache(maxsize=4)(self._weights_at)

    def _kernel(self, stage: int) -> Grid:
        """Matrix (192, 192) from the right: the DCT basis and a tenth of what was learned."""
        basis = pyramid.basis(stage, coarsest=stage == self.architecture.resolutions - 1)
        kernel: Grid = basis.T.astype(np.float32)
        return kernel + np.float32(0.1) * self._weights[f"analysis{stage}/offset"]

    def _weights_at(self, quality: int) -> "QualityWeights":
        return QualityWeights(self.architecture, self._weights, quality)

    def analyse(self, image: Grid, quality: int) -> tuple[list[Grid], Grid | None]:
        """Latents of all levels in steps of their channels, coarse to fine, and attention logits.

        Args:
            image: (height, width, 3) in [0, 1], sides multiples of `Architecture.unit`.
            quality: 0 to 100.

        Returns grids (height/stride, width/stride, channels), and (height/32, width/32) logits,
        or None for a model without attention.
        """
        at = self.weights_at(quality)
        grid = space_to_depth(image - np.float32(0.5), 8) @ (self._forward[0] / at.step_size)
        logits = self._attend(grid, at) if self.architecture.attention else None
        details: list[Grid] = []
        for kernel in self._forward[1:]:  # the level's channels stay, the others go on
            details.insert(0, grid[..., pyramid.CARRIED :])  # (h, w, 144)
            grid = space_to_depth(grid[..., : pyramid.CARRIED], 2) @ kernel  # (h/2, w/2, 192)
        pairs = zip([grid, *details], at.gains, strict=True)
        return [y * gain for y, gain in pairs], logits

    def _attend(self, blocks: Grid, at: "QualityWeights") -> Grid:
        """Logits (h/32, w/32) from the coefficients (h/8, w/8, 192) in quantisation steps."""
        magnitudes = abs(blocks)
        hidden = np.log1p(magnitudes, out=magnitudes) @ self._weights["attention/enter/kernel"]
        hidden = np.maximum(hidden + at.attention_bias, 0)  # (h/8, w/8, 32)
        for name, stride in (("halve", 2), ("quarter", 2), ("surround", 1)):
            kernel = self._weights[f"attention/{name}/kernel"]
            bias = self._weights[f"attention/{name}/bias"]
            hidden = np.maximum(_convolve(hidden, kernel, stride) + bias, 0)
        score = hidden @ self._weights["attention/score/kernel"]  # (h/32, w/32, 1)
        return (score + self._weights["attention/score/bias"])[..., 0]

    def thresholds(self) -> tuple[float, ...]:
        """Saliency scores above which a patch is given the medium and the high level.

        They lie symmetrically about one half (an ordinal logistic model; McCullagh, 1980). With two
        resolutions there is only the first of them.
        """
        spread = float(self._weights["attention/spread"])
        both = 1 / (1 + np.exp(spread)), 1 / (1 + np.exp(-spread))
        return both[: self.architecture.highest - 1]

    def route(self, logits: Grid | None, shape: tuple[int, int]) -> tuple[Grid, NDArray[np.uint8]]:
        """Saliency scores in [0, 1] and the level 1, 2 or 3 that attention proposes for each patch.

        Args:
            logits: of attention, (rows, columns), or None for a model without it.
            shape: rows and columns of patches.
        """
        if logits is None:
            highest = np.full(shape, self.architecture.highest, np.uint8)
            return np.ones(shape, np.float32), highest
        scores = 0.5 * (1 + np.tanh(logits / 2))  # the sigmoid, without overflow
        levels = np.ones(shape, np.uint8)
        for threshold in self.thresholds():
            levels += scores > threshold
        return scores.astype(np.float32), levels

    def contrast_gain(self, coarser: list[Grid], quality: int) -> Grid:
        """Factor of the latents of the level after `coarser` before rounding.

        Args:
            coarser: the levels before it, coarse to fine, as `dequantise` returns them.
            quality: 0 to 100.

        Returns (height/stride, width/stride, 1), or (1, 1, 1) for a level that is always on.
        """
        resolutions = self.architecture.resolutions
        if len(coarser) < pyramid.always_on(resolutions):
            return np.ones((1, 1, 1), np.float32)
        step = self.weights_at(quality).step_size
        gain: Grid = pyramid.contrast_gain(coarser, step, resolutions)
        return gain

    def dequantise(self, symbols: NDArray[Any], level: int, gain: Grid, quality: int) -> Grid:
        """Coefficients in quantisation steps, from the symbols of a level and its contrast gain."""
        at = self.weights_at(quality)
        points = symbols - np.sign(symbols) * at.shifts[level]
        restored: Grid = points / (at.gains[level] * gain)
        return restored

    def distortion_weights(self, quality: int) -> list[Grid]:
        """Squared synthesis gain of each channel, one array (channels,) a level.

        It is the squared error in the picture, in quantisation steps, that an error of one in a
        symbol causes where the contrast gain is one.
        """
        pairs = zip(self.energies, self.weights_at(quality).gains, strict=True)
        return [energy / gain**2 for energy, gain in pairs]

    def synthesise(self, symbols: list[NDArray[Any]], quality: int) -> Grid:
        """Image in [0, 1] (not clipped) before the filters, (height, width, 3).

        What a vector of the coarsest level covers does not depend on anything beside it.

        Args:
            symbols: of all levels, coarse to fine, zero where switched off.
            quality: 0 to 100.
        """
        levels: list[Grid] = []
        for number, k in enumerate(symbols):
            gain = self.contrast_gain(levels, quality)
            levels.append(self.dequantise(k, number, gain, quality))
        grid = levels[0]
        for backward, detail in zip(self._backward[:0:-1], levels[1:], strict=True):
            carried = depth_to_space(grid @ backward, 2)  # (2h, 2w, 48)
            grid = np.concatenate([carried, detail], axis=-1)  # (2h, 2w, 192)
        step = self.weights_at(quality).step_size
        image: Grid = depth_to_space(grid @ (self._backward[0] * step), 8)
        return image + np.float32(0.5)

    def filter(self, image: Grid, quality: int) -> Grid:
        """The image after deblocking and refinement.

        Args:
            image: as `synthesise` returns it, or a part of that which starts at a unit.
            quality: 0 to 100.
        """
        planes = image.transpose(2, 0, 1).copy()
        for apply in self.weights_at(quality).filters:
            apply(planes)
        return planes.transpose(1, 2, 0)


class QualityWeights:
    """The weights that depend on the quality, at one quality.

    Attributes:
        step_size: the quantisation step, for images in [0, 1].
        gains: (channels,) of each level, coarse to fine (gain units; Cui et al., 2021): factors
            before rounding. Synthesis divides by them.
        shifts: (channels,) of each level: how much nearer to zero than itself a symbol is restored
            (reconstruction points; Sullivan, 1996).
        filters: what changes a synthesised image, in this order.
    """

    def __init__(
        self, architecture: Architecture, weights: Mapping[str, Grid], quality: int
    ) -> None:
        self.step_size = np.float32(quantisation_step(quality))
        self._weights, self._features = weights, quality_features(quality)
        levels = range(architecture.resolutions)
        self.gains = [np.exp(self._features @ weights[f"gain{n}/curve"]) for n in levels]
        self.shifts = [self._features @ weights[f"reconstruction{n}/curve"] for n in levels]
        if architecture.attention:
            self.attention_bias = weights["attention/enter/bias"] + self._film("attention/film")
        self.filters: list[Deblocking | Refinement] = []
        if architecture.deblocking:
            for number, edges in enumerate(pyramid.block_edges(architecture.resolutions)):
                arrays = self._filter_arrays(f"deblocking{number}")
                self.filters.append(Deblocking(*edges, arrays, self.step_size))
        if architecture.refinement:
            self.filters.append(Refinement(self._filter_arrays("refinement"), self.step_size))

    def _film(self, name: str) -> Grid:
        """Feature-wise modulation (FiLM; Perez et al., 2018): linear in the quality features."""
        kernel, bias = self._weights[f"{name}/kernel"], self._weights[f"{name}/bias"]
        return self._features @ kernel + bias

    def _filter_arrays(self, path: str) -> dict[str, Grid]:
        """Arrays of a filter by their names below `path`, with the modulation as one of them."""
        prefix = f"{path}/"
        own = {n.removeprefix(prefix): w for n, w in self._weights.items() if n.startswith(prefix)}
        return {**own, "film": self._film(f"{path}/film")}


def _energies(backward: list[Grid]) -> list[Grid]:
    """Squared norm in the picture of one in each channel, (channels,) of each level."""
    energies: list[Grid] = []
    gram: NDArray[Any] = np.eye(192)  # inner products of what each input of a stage adds
    for stage, kernel in enumerate(backward):
        gram = kernel @ gram @ kernel.T
        own = 0 if stage == len(backward) - 1 else pyramid.CARRIED
        energies.insert(0, np.diag(gram)[own:].astype(np.float32))
        carried = gram[: pyramid.CARRIED, : pyramid.CARRIED]
        gram = np.kron(np.eye(4), carried)  # four neighbours do not overlap
    return energies


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
