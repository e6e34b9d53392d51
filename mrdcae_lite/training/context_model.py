"""The context model in the form that trains: fixed point, with straight-through gradients."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.coding import entropy
from mrdcae_lite.core import pyramid
from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.core.patches import depth_to_space
from mrdcae_lite.core.quality import QUALITIES, quantisation_step
from mrdcae_lite.training.backend import keras, ops
from mrdcae_lite.training.layers import Tensor, register, round_through

ACTIVATION_LIMIT = 127 / 16  # the largest activation
STATE_LIMIT = 1024.0  # of magnitudes: sums stay below 2**24 units of 2**-12
CURVE_LIMIT = 64.0  # the largest magnitude of a bias at any quality
RANGE_PENALTY = 0.01  # weight of the mean square by which states and indices exceed their range


def fixed_point(x: Tensor, places: int, limit: float) -> Tensor:
    """Numbers clipped to +-limit and rounded to multiples of 2**-places.

    The gradient is that of the identity, also beyond the limit (straight-through; Bengio, 2013).
    """
    return round_through(ops.clip(x, -limit, limit) * 2.0**places) * 2.0**-places


def fixed_activation(x: Tensor) -> Tensor:
    """ReLU that saturates at 127/16 and is rounded to sixteenths (7 bits).

    Below zero a tenth of the gradient passes all the same, so that no unit dies for good. Above the
    limit none does: nothing there changes the output, and a weight would grow without end.
    """
    clipped = ops.clip(x, 0.0, ACTIVATION_LIMIT)
    leaky = clipped + 0.1 * ops.minimum(x, 0.0)
    return leaky + ops.stop_gradient(ops.floor(clipped * 16.0 + 0.5) / 16.0 - leaky)


@register
class ContextModel(keras.layers.Layer):
    """Entropy model: the table index of every symbol from the symbols decoded before it.

    Levels are coded from coarse to fine, as a hyperprior is coded first (Balle et al., 2018; joined
    with a context model by Minnen et al., 2018), within a level the channel groups one after
    another (Minnen and Singh, 2020), and within a group first the anchors, every other position of
    a checkerboard, then the non-anchors, which see their neighbours (He et al., 2021). A recurrent
    state gathers what is known: each pass adds a convolution of the symbols just coded.

    Decoding must give the same indices on every machine (integer networks; Balle et al., 2019), so
    every kernel is a multiple of 2**-7 or 2**-8 and every activation one of 1/16. Sums of products
    stay below 2**24 units, which float32 adds exactly in any order;
    `runtime.context_model.IntegerContextModel` computes the same in integers.

    The model learns to predict the symbols and does not change them: they get no gradient. Rounding
    and clipping pass gradients on; a state or index outside its range would not come back by
    itself, so a penalty is added to the loss.

    Kernels are trained as matrices, (inputs of all taps, outputs), as Muon needs them. They have
    small learning-rate multipliers: inputs are never negative, so a step of Adam, which moves all
    weights alike, would shift a sum over hundreds of them by several times its range and saturate
    it.

    Args:
        width: channels of the state, at most `MAX_CONTEXT_WIDTH`.
        resolutions: levels of the pyramid, 1 to 4.

    Call arguments:
        symbols: integers, (batch, h/stride, w/stride, channels) of each level, coarse to fine.
        masks: (batch, h/stride, w/stride, 1) of each level but the coarsest: 1 where it is on;
            elsewhere its symbols are zero.
        condition: (batch, 4), the features of the quality.

    Returns tensors like `symbols`: the table index, an integer from 0 to 63.

    Raises:
        ValueError: for an impossible width or number of resolutions.
    """

    def __init__(self, width: int = 96, resolutions: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        shape = Architecture(prior_width=width, resolutions=resolutions, attention=False)
        self.levels = shape.levels
        self.arrays = {spec.name: spec for spec in shape.context_arrays()}
        self._places = {name: spec.places or 0 for name, spec in self.arrays.items()}
        self._multipliers: dict[str, float] = {}
        self._values: dict[str, Any] = {}
        for name, start, multiplier in _start(self.levels, width):
            trained = start.shape if self.arrays[name].per_quality else (-1, start.shape[-1])
            value = (start / multiplier).reshape(trained)
            self._multipliers[name] = multiplier
            self._values[name] = self.add_weight(name=name, shape=value.shape, initializer=value)

    def call(self, symbols: list[Tensor], masks: list[Tensor], condition: Tensor) -> list[Tensor]:
        ones = ops.ones_like(symbols[0][..., :1])
        state = ones * self._bias("start", condition)  # of the coarsest level
        indices = []
        for number, (known, mask) in enumerate(zip(symbols, [ones, *masks], strict=True)):
            state, index = self._level(number, state, ops.stop_gradient(known), mask, condition)
            indices.append(index)
            if number < len(self.levels) - 1:
                state = self._to_finer(number, state, mask, condition)
        return indices

    def _level(
        self, number: int, state: Tensor, symbols: Tensor, mask: Tensor, condition: Tensor
    ) -> tuple[Tensor, Tensor]:
        """State after a level, and the table indices of its symbols (batch, h, w, channels).

        The decoder knows a group's anchors when it predicts the non-anchors. Training has all
        symbols at once, so it hides those that are not decoded yet: both passes predict every
        position, from a state that has seen only what comes before, and each keeps its own half.
        """
        features = fixed_activation(ops.log1p(ops.abs(symbols))) * mask
        anchors = checkerboard(*ops.shape(symbols)[1:3])
        first, indices, groups = 0, [], self.levels[number].groups
        for group, size in enumerate(groups):
            name, known = f"level{number}_group{group}", features[..., first : first + size]
            first += size
            kernel = self._kernel(f"{name}_update")
            of_anchors = self._index(name, 0, state, condition)
            state = self._update(state, known * anchors, kernel)
            of_others = self._index(name, 1, state, condition)
            indices.append(of_anchors * anchors + of_others * (1 - anchors))
            if number < len(self.levels) - 1 or group < len(groups) - 1:  # else nobody asks again
                state = self._update(state, known * (1 - anchors), kernel)
        return state, ops.concatenate(indices, axis=-1)

    def _index(self, name: str, step: int, state: Tensor, condition: Tensor) -> Tensor:
        """Table indices (batch, h, w, size) that a state predicts in step 0 (anchors) or 1."""
        hidden = ops.matmul(self._activate(state), self._kernel(f"{name}_hidden"))
        hidden = self._activate(hidden + self._bias(f"{name}_hidden_bias", condition, step))
        index = ops.matmul(hidden, self._kernel(f"{name}_index"))
        index = round_through(4 * (index + self._bias(f"{name}_index_bias", condition)))
        clipped = ops.clip(index, 0, entropy.TABLES - 1)
        self.add_loss(RANGE_PENALTY * ops.mean(ops.square(index - clipped)))
        return clipped

    def _to_finer(self, number: int, state: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """State (batch, h, w, width) of a level brought to the next grid, (batch, 2h, 2w, width).

        A 3 x 3 convolution spreads it, then one vector becomes four. Patches where the level is off
        pass on nothing but the biases.
        """
        name = f"level{number}"
        state = self._update(state, self._activate(state) * mask, self._kernel(f"{name}_mix"))
        state = state + self._bias(f"{name}_mix_bias", condition)
        wide = ops.matmul(self._activate(state) * mask, self._kernel(f"{name}_up"))
        return depth_to_space(wide + self._bias(f"{name}_up_bias", condition), 2, ops)

    @staticmethod
    def _update(state: Tensor, features: Tensor, kernel: Tensor) -> Tensor:
        added = ops.conv(features, kernel, padding="same")  # (batch, h, w, width)
        return ops.clip(state + added, -STATE_LIMIT, STATE_LIMIT)

    def _activate(self, x: Tensor) -> Tensor:
        excess = ops.relu(ops.abs(x) - ACTIVATION_LIMIT)
        self.add_loss(RANGE_PENALTY * ops.mean(ops.square(excess)))
        return fixed_activation(x)

    # --- weights ----------------------------------------------------------------------------

    def _value(self, name: str) -> Tensor:
        value = ops.reshape(self._values[name], self.arrays[name].trained_shape)
        return self._multipliers[name] * value

    def _kernel(self, name: str) -> Tensor:
        places = self._places[name]
        return fixed_point(self._value(name), places, 127 / 2**places)

    def _bias(self, name: str, condition: Tensor, row: int | None = None) -> Tensor:
        """Bias (batch, 1, 1, channels) of the qualities that `condition` describes."""
        curve = self._value(name) if row is None else self._value(name)[row]  # (4, channels)
        bias = fixed_point(ops.matmul(condition, curve), self._places[name], CURVE_LIMIT)
        return bias[:, None, None, :]

    def freeze(self, conditions: np.ndarray) -> dict[str, np.ndarray]:
        """The weights as integers, the arrays of `Architecture.context_arrays`.

        `conditions`, (qualities, 4), are what the layer would be called with at each quality.
        Kernels are int8; biases are int32 with one row a quality.
        """
        frozen = {}
        for name, spec in self.arrays.items():
            unit = 2.0 ** self._places[name]
            value, limit = ops.convert_to_numpy(self._value(name)), 127 / unit
            if spec.per_quality:
                value, limit = conditions.astype(np.float32) @ value, CURVE_LIMIT
            frozen[name] = np.floor(np.clip(value, -limit, limit) * unit + 0.5).astype(spec.dtype)
        return frozen

    def load_frozen_weights(self, frozen: Mapping[str, np.ndarray], conditions: np.ndarray) -> None:
        """Take the weights that `freeze` made integers of, as far as rounding left them."""
        for name, spec in self.arrays.items():
            value = frozen[name] / 2.0 ** self._places[name]
            if spec.per_quality:
                value = np.linalg.pinv(conditions) @ value  # least squares: the curve of all rows
            trained = self._values[name]
            trained.assign((value / self._multipliers[name]).reshape(trained.shape))


def checkerboard(height: int, width: int) -> np.ndarray:
    """(1, height, width, 1) of ones at the anchors, the positions with an even sum, else zeros."""
    rows, columns = np.indices((height, width))
    return ((rows + columns) % 2 == 0).astype(np.float32)[None, :, :, None]


def starting_curve(std: NDArray[np.float64]) -> NDArray[np.float64]:
    """A quarter of the table index of bands with standard deviation `std`, before any training.

    Returns (4, bands) coefficients for `quality.quality_features`: linear in the quality.
    """
    steps = np.array([quantisation_step(0), quantisation_step(QUALITIES - 1)])
    scales = np.log(std[None, :] / steps[:, None] / np.sqrt(2))
    first, last = (scales - entropy.LOG_NARROWEST) / entropy.LOG_RATIO / 4
    return np.stack([(first + last) / 2, (last - first) / 2, *np.zeros((2, std.size))])


def _start(levels: tuple[pyramid.Level, ...], n: int) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, values before training, and learning-rate multiplier of every array, for width `n`.

    A plain predictor that works: a state channel sums the log magnitudes of a few channels around
    it, passes them on to the next level, and raises the table indices. Biases begin with the
    indices that suit the typical size of each band. Kernels of more inputs must move less.
    """
    rng = np.random.default_rng(0)
    yield "start", rng.normal(0, 0.1, (4, n)), 4.0
    for number, level in enumerate(levels):
        indices = starting_curve(pyramid.typical_std(level.bands, level.stride))  # (4, channels)
        ends = np.cumsum(level.groups)
        for group, (size, end) in enumerate(zip(level.groups, ends, strict=True)):
            name = f"level{number}_group{group}"
            yield f"{name}_update", _sparse_kernel(n, size, group, len(level.groups), rng), 0.5
            yield f"{name}_hidden", 0.7 * np.eye(n) + rng.normal(0, 0.05, (n, n)), 0.5
            yield f"{name}_hidden_bias", rng.normal(0, 0.05, (2, 4, n)), 4.0
            yield f"{name}_index", rng.normal(0.005, 0.01, (n, size)), 0.6
            yield f"{name}_index_bias", indices[:, end - size : end], 4.0
        if level is not levels[-1]:
            name = f"level{number}"
            yield f"{name}_mix", rng.normal(0, 0.02, (3, 3, n, n)), 0.12
            yield f"{name}_mix_bias", np.zeros((4, n)), 4.0
            yield f"{name}_up", np.tile(0.4 * np.eye(n), 4) + rng.normal(0, 0.03, (n, 4 * n)), 0.5
            yield f"{name}_up_bias", np.zeros((4, 4 * n)), 4.0


def _sparse_kernel(
    width: int, size: int, group: int, groups: int, rng: np.random.Generator
) -> np.ndarray:
    """Update kernel (3, 3, size, width): some state channels sum about four channels each.

    The state channels belong to the groups in turn, so that none sums two groups before training.
    """
    near = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5])[:, :, None, None]
    summed = (rng.random((size, width)) < 4 / size) & (np.arange(width) % groups == group)
    return 0.25 * near * summed + rng.normal(0, 0.02, (3, 3, size, width))
