"""Keras layers of MR-DCAE: transforms, residual blocks, attention and the fixed-point prior.

Tensors are channels-last. Coefficients are measured in quantisation steps, so that one network
serves every quality; whatever must know the quality gets `condition`, the (batch, 4) values of
`quality.quality_features`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import keras
import numpy as np
from keras import ops

from mrdcae_lite import entropy, pyramid

Tensor: TypeAlias = keras.KerasTensor
Shape: TypeAlias = tuple[int | None, ...]

register = keras.saving.register_keras_serializable(package="mrdcae_lite")


def round_through(x: Tensor) -> Tensor:
    """Round half up in the forward pass, identity in the backward pass."""
    return x + ops.stop_gradient(ops.floor(x + 0.5) - x)


class Given(keras.initializers.Initializer):
    """Initialiser that gives the values of an array."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.asarray(values, np.float32)
        self.shape = self.values.shape

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        return ops.convert_to_tensor(self.values, dtype)


def log_compress(x: Tensor) -> Tensor:
    """`sign(x) log(1 + |x|)`: keeps small coefficients, tames large ones."""
    return ops.sign(x) * ops.log1p(ops.abs(x))


def space_to_depth(x: Tensor, factor: int) -> Tensor:
    """(batch, h, w, c) to (batch, h/factor, w/factor, factor*factor*c), raster order."""
    _, height, width, channels = ops.shape(x)
    x = ops.reshape(x, (-1, height // factor, factor, width // factor, factor, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, height // factor, width // factor, factor * factor * channels))


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """Inverse of `space_to_depth`."""
    _, height, width, channels = ops.shape(x)
    x = ops.reshape(x, (-1, height, width, factor, factor, channels // factor**2))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, height * factor, width * factor, channels // factor**2))


@register
class BlockTransform(keras.layers.Layer):
    """One step of the pyramid: a linear map of non-overlapping blocks, started as a DCT.

    It is a convolution whose stride equals its kernel. `call` goes to the coarser grid; `invert`
    goes back, by the inverse of the kernel, which is computed and not learned: what is not rounded
    comes back as it was. The kernel is `basis + pace * offset` with a trained `offset`. Adam moves
    every weight by the same amount; a strong input, such as a mean, would so be smeared over all
    outputs by a single update and drown the finest quantisation step. The stronger an input, the
    slower its weights go: `pace` is 0.001 over its typical size, and at most a tenth.

    Args:
        step: 0 for pixels to 1/8, 1 for 1/8 to 1/16, 2 for 1/16 to 1/32, 3 for 1/32 to 1/64.
        coarsest: it is the last step, and orders its channels accordingly.

    Call arguments:
        x: (batch, h, w, 3 or 48).
    """

    def __init__(self, step: int, coarsest: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if step not in (0, 1, 2, 3):
            raise ValueError(f"step must be 0, 1, 2 or 3. Received: step={step!r}.")
        self.step, self.coarsest = step, coarsest
        self.factor = 8 if step == 0 else 2
        self.basis = pyramid.basis(step, coarsest=coarsest).T.astype(np.float32)
        self.pace = np.minimum(0.1, 0.001 / self._input_std()).astype(np.float32)[:, None]

    def _input_std(self) -> np.ndarray:
        """Typical standard deviation of the 192 inputs, in image units."""
        if self.step == 0:
            return np.full(192, 0.25)  # pixels
        finer = pyramid.typical_std(pyramid.bands(coarsest=False), 4 * 2**self.step)
        return np.tile(finer[: pyramid.CARRIED], 4)

    def build(self, input_shape: Shape) -> None:
        self.offset = self.add_weight(name="offset", shape=(192, 192), initializer="zeros")

    def kernel(self) -> Tensor:
        """(192, 192): columns are the functions that the input is correlated with."""
        return ops.cast(self.basis, self.compute_dtype) + self.offset * self.pace

    def call(self, x: Tensor) -> Tensor:
        return ops.matmul(space_to_depth(x, self.factor), self.kernel())

    def invert(self, x: Tensor) -> Tensor:
        """(batch, h, w, 192) back to what `call` made it of."""
        return depth_to_space(ops.matmul(x, ops.linalg.inv(self.kernel())), self.factor)

    @property
    def frozen_scale(self) -> dict[str, Any]:
        """Factors to the form of a codec file, where the kernel is `basis + 0.1 * offset`."""
        return {"offset": 10 * self.pace}

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, _ = input_shape
        f = self.factor
        return batch, height and height // f, width and width // f, 192

    def get_config(self) -> dict[str, Any]:
        own = {"step": self.step, "coarsest": self.coarsest}
        return {**super().get_config(), **own}


@register
class Gain(keras.layers.Layer):
    """One positive factor a channel and quality: `x * exp(condition @ curve)`.

    It decides how finely each channel is quantised, which is where perceptual weight goes.

    Args:
        start: (channels,) the factors before training.

    Call arguments:
        x: (batch, h, w, channels).
        condition: (batch, 4).
    """

    def __init__(self, start: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = [float(factor) for factor in start]

    def build(self, x_shape: Shape, condition_shape: Shape | None = None) -> None:
        curve = np.zeros((4, len(self.start)))
        curve[0] = np.log(self.start)
        self.curve = self.add_weight(name="curve", shape=curve.shape, initializer=Given(curve))

    def call(self, x: Tensor, condition: Tensor) -> Tensor:
        return x * ops.exp(ops.matmul(condition, self.curve))[:, None, None, :]

    def invert(self, x: Tensor, condition: Tensor) -> Tensor:
        """What `call` makes x of."""
        return x * ops.exp(-ops.matmul(condition, self.curve))[:, None, None, :]

    def compute_output_shape(self, x_shape: Shape, condition_shape: Shape | None = None) -> Shape:
        return x_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "start": self.start}


@register
class Reconstruction(keras.layers.Layer):
    """Reconstruction points: a symbol k that is not zero stands for k - d sign(k).

    The latents that are rounded to one symbol crowd toward zero, and rounding itself is not
    symmetrical (`quality.ROUNDING`); d says by how much their mean differs from the symbol
    (reconstruction offsets; Sullivan, 1996). A shift, where a factor would spoil large symbols.

    Args:
        channels: of the level; each has its curve of d over the quality.

    Call arguments:
        symbols: (batch, h, w, channels), whole numbers.
        condition: (batch, 4).
    """

    PACE: ClassVar = 0.1

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, symbols_shape: Shape, condition_shape: Shape | None = None) -> None:
        self.curve = self.add_weight(name="curve", shape=(4, self.channels), initializer="zeros")

    def call(self, symbols: Tensor, condition: Tensor) -> Tensor:
        shift = self.PACE * ops.matmul(condition, self.curve)[:, None, None, :]
        return symbols - ops.stop_gradient(ops.sign(symbols)) * shift

    @property
    def frozen_scale(self) -> dict[str, Any]:
        """Factors to the form of a codec file, which holds the pace."""
        return {"curve": self.PACE}

    def compute_output_shape(
        self, symbols_shape: Shape, condition_shape: Shape | None = None
    ) -> Shape:
        return symbols_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channels": self.channels}


def contrast_gain(coarser: list[Tensor], step: Tensor, resolutions: int = 3) -> Tensor:
    """How much finer a level is quantised for the contrast of the place, (batch, h, w, 1).

    `pyramid.contrast_gain` says why, and computes the same in NumPy.

    Args:
        coarser: the levels before it, low or low and medium, in quantisation steps.
        step: (batch, 1, 1, 1).
        resolutions: levels of the pyramid.
    """
    grid, cell = coarser[0], pyramid.levels(resolutions)[0].stride
    for number in range(len(coarser)):
        if number > 0:
            grid = ops.concatenate([grid, coarser[number]], axis=-1)
        basis = pyramid.basis(resolutions - 1 - number, coarsest=number == 0).astype(np.float32)
        grid, cell = depth_to_space(ops.matmul(grid, basis), 2), cell // 2
    luma = ops.take(grid, np.array(pyramid.LUMA_DETAIL), axis=-1) * step
    variance = ops.sum(luma**2, axis=-1, keepdims=True) / (3 * cell**2)
    ratio = (variance + pyramid.FAINTEST**2) / pyramid.USUAL**2
    return ops.power(ratio, -pyramid.MASKING / 2)


class Correction(keras.layers.Layer):
    """What a layer adds to its input: it starts at zero and learns at a tenth of the pace."""

    PACE: ClassVar = 0.1

    @property
    def frozen_scale(self) -> dict[str, Any]:
        """Factors to the form of a codec file, where the last layer holds the pace."""
        return {"leave/kernel": self.PACE, "leave/bias": self.PACE}

    def compute_output_shape(
        self, x_shape: Shape, step_shape: Shape | None = None, condition_shape: Shape | None = None
    ) -> Shape:
        return x_shape


@register
class ResidualBlock(Correction):
    """Correction of a coefficient grid by a bottleneck of three convolutions, started at zero.

    1x1, 3x3, 1x1, with a scale and shift that follow the quality after the first (FiLM; Perez et
    al., 2018). The input is shown twice: in log scale and relative to its typical size. The
    caller adds the output to its input.

    The correction must be small beside a quantisation step, or an update does more harm than good:
    the last layer goes at a tenth of the pace, and the others start with small weights.

    Args:
        channels: of input and output.
        width: channels of the bottleneck.
        typical: (channels,) typical standard deviation of the input in image units.

    Call arguments:
        x: (batch, h, w, channels), in quantisation steps.
        step: (batch, 1, 1, 1), the quantisation step.
        condition: (batch, 4).
    """

    def __init__(self, channels: int, width: int, typical: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.width = width
        self.typical = [float(t) for t in typical]
        dense = {"dtype": self.dtype_policy}
        small = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        self.enter = keras.layers.Dense(width, kernel_initializer=small, name="enter", **dense)
        self.mix = keras.layers.Conv2D(
            width,
            3,
            padding="same",
            activation="relu",
            kernel_initializer=small,
            name="mix",
            **dense,
        )
        self.leave = keras.layers.Dense(channels, kernel_initializer="zeros", name="leave", **dense)
        self.film = keras.layers.Dense(2 * width, kernel_initializer="zeros", name="film", **dense)

    def build(
        self, x_shape: Shape, step_shape: Shape | None = None, condition_shape: Shape | None = None
    ) -> None:
        grid = x_shape[:-1]
        self.enter.build((*grid, 2 * self.channels))
        self.mix.build((*grid, self.width))
        self.leave.build((*grid, self.width))
        self.film.build((grid[0], 4))

    def call(self, x: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        relative = x * step / ops.cast(np.asarray(self.typical, np.float32), x.dtype)
        hidden = self.enter(ops.concatenate([log_compress(x), relative], axis=-1))
        scale, shift = ops.split(self.film(condition)[:, None, None, :], 2, axis=-1)
        hidden = ops.relu(hidden * (1 + scale) + shift)  # (batch, h, w, width)
        return self.PACE * self.leave(self.mix(hidden))

    def get_config(self) -> dict[str, Any]:
        own = {"channels": self.channels, "width": self.width, "typical": self.typical}
        return {**super().get_config(), **own}


@register
class Deblocking(Correction):
    """Corrects the pixels on both sides of block borders, as they cannot know of one another.

    Blocks are rounded apart, so their errors jump where they meet. For each place along a border
    the layer looks at four pixels on either side, there and beside it, and says what to add to
    them. Their distances from the border's mean are shown in quarters of a step and log scale.
    First the borders between rows of blocks, then, by the same weights, those between columns
    (deblocking filters: List et al., 2003; here the filter is learned).

    Args:
        period, first: which borders, as `pyramid.borders` gives them.
        width: of the hidden layers.

    Call arguments:
        x: (batch, h, w, 3), an image; h and w multiples of 32.
        step: (batch, 1, 1, 1), the quantisation step.
        condition: (batch, 4).

    Returns the shape of x.
    """

    def __init__(self, period: int, first: int, width: int = 128, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.period, self.first, self.width = period, first, width
        self.enter = keras.layers.Conv2D(width, (1, 3), padding="same", name="enter")
        self.film = keras.layers.Dense(width, kernel_initializer="zeros", name="film")
        self.mix = keras.layers.Dense(width, activation="relu", name="mix")
        self.leave = keras.layers.Dense(
            6 * pyramid.BESIDE, kernel_initializer="zeros", name="leave"
        )

    def build(
        self, x_shape: Shape, step_shape: Shape | None = None, condition_shape: Shape | None = None
    ) -> None:
        places = (x_shape[0], None, None)
        self.enter.build((*places, 6 * pyramid.BESIDE))
        self.film.build((x_shape[0], 4))
        self.mix.build((*places, self.width))
        self.leave.build((*places, self.width))

    def call(self, x: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        for _ in range(2):
            x = ops.transpose(self._rows(x, step, condition), (0, 2, 1, 3))
        return x

    def _rows(self, x: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        """Correct what lies above and below the borders between rows of blocks."""
        _, height, width, _ = ops.shape(x)
        middle, beside = self.period // 2, pyramid.BESIDE
        margin = self.first - middle  # above the first and below the last strip around a border
        count = (height - 2 * margin) // self.period
        if count == 0:
            return x
        strips = ops.reshape(x[:, margin : height - margin], (-1, count, self.period, width, 3))
        near = ops.transpose(strips[:, :, middle - beside : middle + beside], (0, 1, 3, 2, 4))
        centre = ops.mean(near[..., beside - 1 : beside + 1, :], axis=-2, keepdims=True)
        seen = log_compress(4 * (near - centre) / step[..., None])
        hidden = self.enter(ops.reshape(seen, (-1, count, width, 6 * beside)))
        hidden = ops.relu(hidden + self.film(condition)[:, None, None, :])
        change = self.PACE * step * self.leave(self.mix(hidden))
        change = ops.reshape(change, (-1, count, width, 2 * beside, 3))
        rest = ((0, 0), (0, 0), (middle - beside, middle - beside), (0, 0), (0, 0))
        change = ops.pad(ops.transpose(change, (0, 1, 3, 2, 4)), rest)
        change = ops.reshape(change, (-1, count * self.period, width, 3))
        return x + ops.pad(change, ((0, 0), (margin, margin), (0, 0), (0, 0)))

    def get_config(self) -> dict[str, Any]:
        own = {"period": self.period, "first": self.first, "width": self.width}
        return {**super().get_config(), **own}


@register
class Refinement(Correction):
    """Corrects every pixel from what lies around it, after deblocking: a filter in the decoder.

    Rounding rings about edges and wipes out faint texture within blocks, too. The image is cut
    into cells of 4 x 4 pixels. A cell shows its pixels as distances from its mean, and its mean
    as distances from those of the four cells beside it, in quarters of a step and log scale. A
    3 x 3 convolution over the cells says what to add. It knows the quality (scale and shift after
    the first layer, as in `ResidualBlock`), and where a cell lies among the block borders (a bias
    for each place) (restoration filters in the loop of a codec: Zhang et al., 2018).

    Args:
        resolutions: levels of the pyramid, which decide where borders are.
        width: channels of the hidden layers.

    Call arguments:
        x: (batch, h, w, 3), an image; h and w multiples of 32, or of 64 for four levels.
        step: (batch, 1, 1, 1), the quantisation step.
        condition: (batch, 4).

    Returns the shape of x.
    """

    def __init__(self, resolutions: int, width: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.resolutions, self.width = resolutions, width
        self.enter = keras.layers.Dense(width, use_bias=False, name="enter")
        self.film = keras.layers.Dense(2 * width, kernel_initializer="zeros", name="film")
        self.mix = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="mix")
        self.leave = keras.layers.Dense(
            3 * pyramid.CELL**2, kernel_initializer="zeros", name="leave"
        )

    def build(
        self, x_shape: Shape, step_shape: Shape | None = None, condition_shape: Shape | None = None
    ) -> None:
        cells = (x_shape[0], None, None)
        self.enter.build((*cells, 3 * pyramid.CELL**2 + 12))
        self.film.build((x_shape[0], 4))
        self.mix.build((*cells, self.width))
        self.leave.build((*cells, self.width))
        period = pyramid.cells_a_period(self.resolutions)
        self.place = self.add_weight(
            name="place", shape=(period, period, self.width), initializer="zeros"
        )

    def call(self, x: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        cells = space_to_depth(x, pyramid.CELL)
        _, rows, columns, channels = ops.shape(cells)
        pixels = ops.reshape(cells, (-1, rows, columns, channels // 3, 3))
        mean = ops.mean(pixels, axis=3)
        own = ops.reshape(pixels - mean[:, :, :, None], (-1, rows, columns, channels))
        wide = ops.pad(mean, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
        beside = [wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:]]
        seen = ops.concatenate([own, *(m - mean for m in beside)], axis=-1)
        scale, shift = ops.split(self.film(condition)[:, None, None], 2, axis=-1)
        period = self.place.shape[0]
        place = ops.tile(self.place, (rows // period, columns // period, 1))
        hidden = self.enter(log_compress(4 * seen / step)) * (1 + scale) + shift + place
        change = self.PACE * step * self.leave(self.mix(ops.relu(hidden)))
        return x + depth_to_space(change, pyramid.CELL)

    def get_config(self) -> dict[str, Any]:
        own = {"resolutions": self.resolutions, "width": self.width}
        return {**super().get_config(), **own}


@register
class PatchAttention(keras.layers.Layer):
    """Convolutional attention: one saliency score in [0, 1] for every 32 x 32 patch.

    It looks at the log magnitudes of the block DCT in quantisation steps, so that it can tell
    which detail survives this quality, and widens its view with strided convolutions until one
    vector stands for one patch and its surroundings. Two thresholds that lie symmetrically about
    one half turn the score into a level (an ordinal logistic model; McCullagh, 1980).

    Args:
        width: channels of the hidden layers.

    Call arguments:
        blocks: (batch, h/8, w/8, 192) block DCT in quantisation steps.
        condition: (batch, 4).

    Returns logits of shape (batch, h/32, w/32); `sigmoid(logit)` is the score.
    """

    def __init__(self, width: int = 32, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        stride = {"strides": 2, "padding": "same", "activation": "relu"}
        self.enter = keras.layers.Dense(width, name="enter")
        self.film = keras.layers.Dense(width, name="film")
        self.halve = keras.layers.Conv2D(width, 3, name="halve", **stride)
        self.quarter = keras.layers.Conv2D(width, 3, name="quarter", **stride)
        self.surround = keras.layers.Conv2D(
            width, 3, padding="same", activation="relu", name="surround"
        )
        self.score = keras.layers.Dense(
            1, bias_initializer=keras.initializers.Constant(3.0), name="score"
        )

    def build(self, blocks_shape: Shape, condition_shape: Shape | None = None) -> None:
        batch, height, width, _ = blocks_shape
        self.enter.build(blocks_shape)
        self.film.build((batch, 4))
        for layer in (self.halve, self.quarter, self.surround):
            layer.build((batch, height, width, self.width))
        self.score.build((batch, height, width, self.width))
        self.spread = self.add_weight(
            name="spread", shape=(), initializer=keras.initializers.Constant(1.5)
        )

    def call(self, blocks: Tensor, condition: Tensor) -> Tensor:
        hidden = self.enter(ops.log1p(ops.abs(blocks)))
        hidden = ops.relu(hidden + self.film(condition)[:, None, None, :])  # 1/8
        hidden = self.surround(self.quarter(self.halve(hidden)))  # 1/32
        return self.score(hidden)[..., 0]

    def compute_output_shape(
        self, blocks_shape: Shape, condition_shape: Shape | None = None
    ) -> Shape:
        batch, height, width, _ = blocks_shape
        return batch, height and height // 4, width and width // 4

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


ACTIVATION_LIMIT = 127 / 16
"""Largest activation of the prior."""

EXCESS_WEIGHT = 0.01
"""What the prior pays for the mean square of what its states and indices are out of range."""


# --- the prior, in the form that trains -------------------------------------------------------


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
class ContextPrior(keras.layers.Layer):
    """Predicts the coding table of every symbol from the symbols decoded before it.

    Low, medium and high are coded in this order; within a level the channel groups in theirs;
    within a group first the "black" and then the "white" fields of a checkerboard. A state
    `h` gathers what is known. Every weight is a multiple of 2**-8 or 2**-7, every activation one
    of 1/16; sums of products stay below 2**24 units, so float32 computes this exactly in any order:
    `prior.IntegerPrior` is the same machine in integers. No gradient flows into the symbols: the
    prior learns to describe them, it does not bend them.

    A kernel is its variable times a `PACE`. What the prior sees is never negative, so Adam, which
    moves every weight by the same amount, would shift a sum over hundreds of inputs by several
    times its range in one step and saturate it; the more inputs, the slower a kernel must go.

    Rounding and clipping let gradients pass that the forward pass does not feel. What drifts out of
    range unseen is therefore charged for (`add_loss`), or it would not come back.

    It starts as a simple machine that works: a state channel sums the log magnitudes of a few
    channels around it, passes them on to the next level, and raises the table indices.

    Args:
        width: channels of the state.
        resolutions: levels of the pyramid, 1 to 4.

    Call arguments:
        symbols: tensors (batch, h/32, w/32, 192), (batch, h/16, w/16, 144) and
            (batch, h/8, w/8, 144), or one of (batch, h/8, w/8, 192), of whole numbers, zero where
            a level is switched off.
        masks: (batch, h/16, w/16, 1) and (batch, h/8, w/8, 1), or none: 1 where the medium and
            the high level is on.
        condition: (batch, 4).

    Returns tensors like `symbols`: the table index, a whole number from 0 to 63.
    """

    PACE: ClassVar = {
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
            indices = entropy.starting_curve(std)  # (4, channels)
            ends = np.cumsum(level.groups)
            for g, (size, last) in enumerate(zip(level.groups, ends, strict=True)):
                name = f"level{number}_group{g}"
                self._weight(f"{name}_update", _listening(n, size, g, len(level.groups), rng))
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
        start = Given(start / self.PACE[name.rpartition("_")[2]])
        self._variables[name] = self.add_weight(name=name, shape=start.shape, initializer=start)

    def _value(self, name: str) -> Tensor:
        return self.PACE[name.rpartition("_")[2]] * self._variables[name]

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
        self._charge(index - clipped)
        return clipped

    def _activate(self, x: Tensor) -> Tensor:
        self._charge(ops.relu(ops.abs(x) - ACTIVATION_LIMIT))
        return fixed_activation(x)

    def _charge(self, excess: Tensor) -> None:
        self.add_loss(EXCESS_WEIGHT * ops.mean(ops.square(excess)))

    def _up(self, level: int, state: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        mix = fixed_point(self._value(f"level{level}_mix"), 8, 127 / 256)
        state = self._gather(state, self._activate(state) * mask, mix)
        state = state + self._bias(self._value(f"level{level}_mix_bias"), condition, 12)
        up = fixed_point(self._value(f"level{level}_up"), 8, 127 / 256)
        wide = ops.matmul(self._activate(state) * mask, up)
        wide = wide + self._bias(self._value(f"level{level}_up_bias"), condition, 12)
        return depth_to_space(wide, 2)

    @staticmethod
    def _bias(curve: Tensor, condition: Tensor, bits: int) -> Tensor:
        return fixed_point(ops.matmul(condition, curve), bits, 64.0)[:, None, None, :]

    def freeze(self, conditions: np.ndarray) -> dict[str, np.ndarray]:
        """The layer as integers for `prior.IntegerPrior`.

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

    def thaw(self, frozen: Mapping[str, np.ndarray], conditions: np.ndarray) -> None:
        """Take the weights that `freeze` made integers of, as far as rounding left them."""
        for name, variable in self._variables.items():
            value = frozen[name] / 2.0 ** _bits(name)
            if _is_bias(name):
                value = np.linalg.pinv(conditions) @ value  # the curve through the rows
            variable.assign(value / self.PACE[name.rpartition("_")[2]])

    def compute_output_shape(
        self,
        symbols_shape: list[Shape],
        masks_shape: list[Shape] | None = None,
        condition_shape: Shape | None = None,
    ) -> list[Shape]:
        return symbols_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "resolutions": self.resolutions}


def _listening(
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
