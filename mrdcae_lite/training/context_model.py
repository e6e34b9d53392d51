"""The context model in the form that trains: fixed point, with straight-through gradients."""

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from mrdcae_lite.coding import entropy
from mrdcae_lite.core import pyramid
from mrdcae_lite.core.patches import depth_to_space
from mrdcae_lite.core.quality import QUALITIES, quantisation_step
from mrdcae_lite.training.layers import Given, Shape, Tensor, register, round_through

ACTIVATION_LIMIT = 127 / 16
"""Largest activation of the prior."""

RANGE_PENALTY = 0.01
"""What the prior pays for the mean square of what its states and indices are out of range."""


def starting_curve(std: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quarter table index of bands with standard deviation `std`, linear in the quality.

    Returns (4, bands) coefficients for `quality.quality_features`, before any training.
    """
    steps = np.array([quantisation_step(0), quantisation_step(QUALITIES - 1)])
    ends = (
        (np.log(std[None, :] / steps[:, None] / np.sqrt(2)) - entropy.LOG_NARROWEST)
        / entropy.LOG_RATIO
        / 4
    )
    curve = np.zeros((4, std.size))
    curve[0], curve[1] = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2
    return curve


def fixed_point(x: Tensor, bits: int, limit: float) -> Tensor:
    """Clip to +-limit and round to multiples of 2**-bits; the gradient passes straight through."""
    return round_through(ops.clip(x, -limit, limit) * 2.0**bits) * 2.0**-bits


def fixed_activation(x: Tensor) -> Tensor:
    """ReLU that saturates at 127/16 and is rounded to sixteenths (7 bits).

    Below zero a tenth of the gradient passes all the same, so that no unit dies for good; above
    the limit none does, or what cannot be seen there would grow without end.
    """
    clipped = ops.clip(x, 0.0, ACTIVATION_LIMIT)
    leaky = clipped + 0.1 * ops.minimum(x, 0.0)
    return leaky + ops.stop_gradient(ops.floor(clipped * 16.0 + 0.5) / 16.0 - leaky)


@register
class ContextModel(keras.layers.Layer):
    """Predicts the coding table of every symbol from the symbols decoded before it.

    Low, medium and high are coded in this order; within a level the channel groups in theirs;
    within a group first the "black" and then the "white" fields of a checkerboard. A state
    `h` gathers what is known. Every weight is a multiple of 2**-8 or 2**-7, every activation one
    of 1/16; sums of products stay below 2**24 units, so float32 computes this exactly in any order:
    `runtime.context_model.IntegerContextModel` is the same in integers. No gradient flows into the
    symbols: the prior learns to describe them, it does not bend them.

    A kernel is its variable times a `LR_MULTIPLIER`. What the prior sees is never negative, so
    Adam, which moves every weight by the same amount, would shift a sum over hundreds of inputs
    by several times its range in one step and saturate it; the more inputs, the slower a kernel
    must go.

    Rounding and clipping let gradients pass that the forward pass does not feel. What drifts out of
    range unseen is therefore charged for (`add_loss`), or it would not come back.

    It starts as a simple machine that works: a state channel sums the log magnitudes of a few
    channels around it, passes them on to the next level, and raises the table indices.

    Args:
        width: channels of the state.
        resolutions: levels of the pyramid, 3 or 1.

    Call arguments:
        symbols: tensors (batch, h/32, w/32, 192), (batch, h/16, w/16, 144) and
            (batch, h/8, w/8, 144), or one of (batch, h/8, w/8, 192), of whole numbers, zero where
            a level is switched off.
        masks: (batch, h/16, w/16, 1) and (batch, h/8, w/8, 1), or none: 1 where the medium and
            the high level is on.
        condition: (batch, 4).

    Returns tensors like `symbols`: the table index, a whole number from 0 to 63.
    """

    LR_MULTIPLIER: ClassVar = {
        "update": 0.5,
        "mix": 0.12,
        "up": 0.5,
        "hidden": 0.5,
        "index": 0.6,
        "bias": 4.0,
        "start": 4.0,
    }

    def __init__(self, width: int = 96, resolutions: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.resolutions = width, resolutions
        self.levels = pyramid.levels(resolutions)

    def build(
        self,
        symbols_shape: list[Shape] | None = None,
        masks_shape: list[Shape] | None = None,
        condition_shape: Shape | None = None,
    ) -> None:
        n, rng = self.width, np.random.default_rng(0)
        self._variables: dict[str, Any] = {}
        self._weight("start", rng.normal(0, 0.1, (4, n)))
        for number, level in enumerate(self.levels):
            std = pyramid.typical_std(level.bands, level.stride)
            indices = starting_curve(std)  # (4, channels)
            ends = np.cumsum(level.groups)
            for g, (size, last) in enumerate(zip(level.groups, ends, strict=True)):
                name = f"level{number}_group{g}"
                self._weight(f"{name}_update", _sparse_kernel(n, size, g, len(level.groups), rng))
                hidden = 0.7 * np.eye(n) + rng.normal(0, 0.05, (n, n))
                self._weight(f"{name}_hidden", hidden)
                self._weight(f"{name}_hidden_bias", rng.normal(0, 0.05, (2, 4, n)))
                self._weight(f"{name}_index", rng.normal(0.005, 0.01, (n, size)))
                self._weight(f"{name}_index_bias", indices[:, last - size : last])
            if level is not self.levels[-1]:
                name = f"level{number}"
                self._weight(f"{name}_mix", rng.normal(0, 0.02, (3, 3, n, n)))
                self._weight(f"{name}_mix_bias", np.zeros((4, n)))
                up = np.tile(0.4 * np.eye(n), 4) + rng.normal(0, 0.03, (n, 4 * n))
                self._weight(f"{name}_up", up)
                self._weight(f"{name}_up_bias", np.zeros((4, 4 * n)))

    def _weight(self, name: str, start: np.ndarray) -> None:
        start = Given(start / self.LR_MULTIPLIER[name.rpartition("_")[2]])
        self._variables[name] = self.add_weight(name=name, shape=start.shape, initializer=start)

    def _value(self, name: str) -> Tensor:
        return self.LR_MULTIPLIER[name.rpartition("_")[2]] * self._variables[name]

    def call(self, symbols: list[Tensor], masks: list[Tensor], condition: Tensor) -> list[Tensor]:
        ones = ops.ones_like(symbols[0][..., :1])
        known = [ops.stop_gradient(s) for s in symbols]
        masks = [ones, *masks]
        state = ones * self._bias(self._value("start"), condition, 12)
        indices = []
        for level in range(self.resolutions):
            state, index = self._level(level, state, known[level], masks[level], condition)
            indices.append(index)
            if level < self.resolutions - 1:
                state = self._up(level, state, masks[level], condition)
        return indices

    def _level(
        self, level: int, state: Tensor, symbols: Tensor, mask: Tensor, condition: Tensor
    ) -> tuple[Tensor, Tensor]:
        features = fixed_activation(ops.log1p(ops.abs(symbols))) * mask
        black = checkerboard(ops.shape(symbols)[1], ops.shape(symbols)[2])
        first, indices, groups = 0, [], self.levels[level].groups
        for g, size in enumerate(groups):
            known = features[..., first : first + size]
            first += size
            name = f"level{level}_group{g}"
            kernel = fixed_point(self._value(f"{name}_update"), 8, 127 / 256)
            on_black = self._index(name, 0, state, condition)
            state = self._gather(state, known * black, kernel)
            on_white = self._index(name, 1, state, condition)
            indices.append(on_black * black + on_white * (1 - black))
            if level < self.resolutions - 1 or g < len(groups) - 1:
                state = self._gather(state, known * (1 - black), kernel)
        return state, ops.concatenate(indices, axis=-1)

    def _gather(self, state: Tensor, features: Tensor, kernel: Tensor) -> Tensor:
        return ops.clip(state + ops.conv(features, kernel, padding="same"), -1024, 1024)

    def _index(self, name: str, phase: int, state: Tensor, condition: Tensor) -> Tensor:
        hidden = ops.matmul(
            self._activate(state), fixed_point(self._value(f"{name}_hidden"), 7, 127 / 128)
        )
        bias = self._bias(self._value(f"{name}_hidden_bias")[phase], condition, 11)
        hidden = self._activate(hidden + bias)
        index = ops.matmul(hidden, fixed_point(self._value(f"{name}_index"), 7, 127 / 128))
        index = index + self._bias(self._value(f"{name}_index_bias"), condition, 11)
        index = round_through(4 * index)
        clipped = ops.clip(index, 0, entropy.TABLES - 1)
        self._range_penalty(index - clipped)
        return clipped

    def _activate(self, x: Tensor) -> Tensor:
        self._range_penalty(ops.relu(ops.abs(x) - ACTIVATION_LIMIT))
        return fixed_activation(x)

    def _range_penalty(self, excess: Tensor) -> None:
        self.add_loss(RANGE_PENALTY * ops.mean(ops.square(excess)))

    def _up(self, level: int, state: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        mix = fixed_point(self._value(f"level{level}_mix"), 8, 127 / 256)
        state = self._gather(state, self._activate(state) * mask, mix)
        state = state + self._bias(self._value(f"level{level}_mix_bias"), condition, 12)
        up = fixed_point(self._value(f"level{level}_up"), 8, 127 / 256)
        wide = ops.matmul(self._activate(state) * mask, up)
        wide = wide + self._bias(self._value(f"level{level}_up_bias"), condition, 12)
        return depth_to_space(wide, 2, ops)

    @staticmethod
    def _bias(curve: Tensor, condition: Tensor, bits: int) -> Tensor:
        return fixed_point(ops.matmul(condition, curve), bits, 64.0)[:, None, None, :]

    def freeze(self, conditions: np.ndarray) -> dict[str, np.ndarray]:
        """The layer as integers for `runtime.context_model.IntegerContextModel`.

        Args:
            conditions: (qualities, 4), what the layer would be called with at each quality.

        Returns int8 weights, and int32 biases with one row a quality.
        """
        frozen = {}
        for name in self._variables:
            value, unit = ops.convert_to_numpy(self._value(name)), np.float32(2 ** _bits(name))
            if _is_bias(name):
                table = np.clip(conditions.astype(np.float32) @ value, -64, 64)
                frozen[name] = np.floor(table * unit + 0.5).astype(np.int32)
            else:
                frozen[name] = np.floor(np.clip(value * unit, -127, 127) + 0.5).astype(np.int8)
        return frozen

    def load_frozen_weights(self, frozen: Mapping[str, np.ndarray], conditions: np.ndarray) -> None:
        """Take the weights that `freeze` made integers of, as far as rounding left them."""
        for name, variable in self._variables.items():
            value = frozen[name] / 2.0 ** _bits(name)
            if _is_bias(name):
                value = np.linalg.pinv(conditions) @ value  # the curve through the rows
            variable.assign(value / self.LR_MULTIPLIER[name.rpartition("_")[2]])

    def compute_output_shape(
        self,
        symbols_shape: list[Shape],
        masks_shape: list[Shape] | None = None,
        condition_shape: Shape | None = None,
    ) -> list[Shape]:
        return symbols_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "resolutions": self.resolutions}


def _sparse_kernel(
    width: int, size: int, group: int, groups: int, rng: np.random.Generator
) -> np.ndarray:
    """Update kernel (3, 3, size, width) in which a share of the states hears a few channels each.

    The states are dealt out to the groups in turn, so that none is told the same thing twice.
    """
    near = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5])[:, :, None, None]
    heard = (rng.random((size, width)) < 4 / size) & (np.arange(width) % groups == group)
    return 0.25 * near * heard + rng.normal(0, 0.02, (3, 3, size, width))


def _is_bias(name: str) -> bool:
    """Whether a weight of the prior is a curve over the quality."""
    return name == "start" or name.endswith("_bias")


def _bits(name: str) -> int:
    """Binary places that a weight of the prior is rounded to."""
    if _is_bias(name):
        return 12 if name.endswith(("start", "mix_bias", "up_bias")) else 11
    return 7 if name.endswith(("hidden", "index")) else 8


def checkerboard(height: int, width: int) -> np.ndarray:
    """(1, height, width, 1) of ones on the fields that are coded first, zeros on the others."""
    rows, columns = np.indices((height, width))
    return ((rows + columns) % 2 == 0).astype(np.float32)[None, :, :, None]
