"""Keras layers of the transforms: block transforms, gains, filters, attention.

Tensors are channels-last. Coefficients are measured in quantisation steps, so that one network
serves every quality; what depends on the quality gets `condition`, (batch, 4), the values of
`quality.quality_features`, and perhaps `step`, (batch, 1, 1, 1), the quantisation step.
`runtime.transforms` is the same in NumPy.

No shape depends on the size of the images, so layers make their weights when they are made. Some
train a weight as `multiplier * variable` (equalised learning rate; Karras et al., 2018): Adam moves
every variable by about the same amount, and the multiplier decides how far the weight itself moves.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from mrdcae_lite.core import pyramid
from mrdcae_lite.core.patches import depth_to_space, space_to_depth
from mrdcae_lite.core.rate_distortion import quantise
from mrdcae_lite.training.backend import keras, ops

Tensor: TypeAlias = Any  # of the backend that Keras runs on, or an array that it takes for one

CORRECTION_MULTIPLIER = 0.1  # of the last layer, `leave`, of the filters

SHIFT_MULTIPLIER = 0.1  # of the curves of reconstruction points

register = keras.saving.register_keras_serializable(package="mrdcae_lite")


def round_through(x: Tensor) -> Tensor:
    """Rounding half up; the gradient is that of the identity (straight-through; Bengio, 2013)."""
    return x + ops.stop_gradient(ops.floor(x + 0.5) - x)


def quantise_through(y: Tensor) -> Tensor:
    """Symbols of latents; the gradient is that of the identity (straight-through; Bengio, 2013)."""
    return y + ops.stop_gradient(quantise(y, ops) - y)


def log_compress(x: Tensor) -> Tensor:
    """`sign(x) log(1 + |x|)`: close to x for small coefficients, slow for large ones."""
    return ops.sign(x) * ops.log(1 + ops.abs(x))  # ONNX has no log1p


def _built(parent: keras.layers.Layer, channels: int, layer: keras.layers.Layer) -> Any:
    """A sublayer with its weights, for inputs of so many channels."""
    with keras.name_scope(parent.name):
        layer.build((None, None, None, channels))
    return layer


@register
class BlockTransform(keras.layers.Layer):
    """One step of the pyramid: a linear map of non-overlapping blocks, started as a DCT.

    It is a convolution whose stride equals its kernel. `call` goes to the coarser grid; `invert`
    goes back by the inverse of the same kernel, which is computed and not learned, so what is not
    rounded comes back as it was.

    The kernel is `basis + multiplier * offset` with a trained `offset`. Without the multiplier one
    update would smear a strong input, such as a mean, over all outputs and drown the finest
    quantisation step. So the stronger an input, the slower its weights: the multiplier is 0.001
    over its typical size, and at most a tenth.

    Args:
        step: 0 for pixels to 1/8, n for 1/(4 * 2**n) to half of that, up to 3.
        coarsest: whether it is the last step, which orders its channels by frequency.

    Called with (batch, h f, w f, 3 or 48) it returns (batch, h, w, 192); f is 8 for step 0, else 2.

    Raises:
        ValueError: for another step.
    """

    def __init__(self, step: int, coarsest: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if step not in (0, 1, 2, 3):
            raise ValueError(f"step must be 0, 1, 2 or 3. Received: step={step!r}.")
        self.factor = 8 if step == 0 else 2
        self.basis = pyramid.basis(step, coarsest=coarsest).T.astype(np.float32)
        if step == 0:
            std = np.full(192, 0.25)  # pixels
        else:
            finer = pyramid.typical_std(pyramid.bands(coarsest=False), 4 * 2**step)
            std = np.tile(finer[: pyramid.CARRIED], 4)
        self.multiplier = np.minimum(0.1, 0.001 / std).astype(np.float32)[:, None]
        self.offset = self.add_weight(name="offset", shape=(192, 192), initializer="zeros")

    def kernel(self) -> Tensor:
        """(192, 192), from the right."""
        return ops.cast(self.basis, self.compute_dtype) + self.offset * self.multiplier

    def call(self, x: Tensor) -> Tensor:
        return ops.matmul(space_to_depth(x, self.factor, ops), self.kernel())

    def invert(self, y: Tensor) -> Tensor:
        """(batch, h, w, 192) back to what `call` made it of."""
        return depth_to_space(ops.matmul(y, ops.linalg.inv(self.kernel())), self.factor, ops)


@register
class Gain(keras.layers.Layer):
    """One positive factor a channel and quality: `x * exp(condition @ curve)`.

    Gain units (Cui et al., 2021), with the factors on a smooth curve over the quality; `invert`
    divides by them. They decide how finely each channel is quantised at each quality.

    Args:
        start: (channels,), the factors before training, above 0.

    Called with x (batch, h, w, channels) and `condition`; returns the shape of x.
    """

    def __init__(self, start: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        curve = np.zeros((4, len(start)))
        curve[0] = np.log(start)
        self.curve = self.add_weight(name="curve", shape=curve.shape, initializer=curve)

    def call(self, x: Tensor, condition: Tensor) -> Tensor:
        return x * ops.exp(ops.matmul(condition, self.curve))[:, None, None, :]

    def invert(self, y: Tensor, condition: Tensor) -> Tensor:
        """What `call` makes y of."""
        return y * ops.exp(-ops.matmul(condition, self.curve))[:, None, None, :]


@register
class Reconstruction(keras.layers.Layer):
    """Reconstruction points: a symbol k that is not zero is restored as k - d sign(k).

    The latents that are rounded to one symbol crowd towards zero, and the dead zone is not
    symmetrical; d is by how much their mean differs from the symbol (Sullivan, 1996). For a Laplace
    distribution it is the same for all symbols but zero, and it does large ones no harm, which a
    factor would.

    Args:
        channels: of the level; each has its curve of d over the quality.

    Called with symbols (batch, h, w, channels), integers, and `condition`; returns their
    shape.
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.curve = self.add_weight(name="curve", shape=(4, channels), initializer="zeros")

    def call(self, symbols: Tensor, condition: Tensor) -> Tensor:
        shift = SHIFT_MULTIPLIER * ops.matmul(condition, self.curve)[:, None, None, :]
        return symbols - ops.stop_gradient(ops.sign(symbols)) * shift


@register
class Deblocking(keras.layers.Layer):
    """Deblocking filter: corrects the pixels on both sides of block edges.

    Blocks are rounded apart, so their errors jump where they meet (List et al., 2003; their filter
    is designed, this one is learned). For each position along an edge the network sees four pixels
    on either side, there and at both neighbouring positions, and predicts what to add to the eight.
    It sees them relative to the mean of the two at the edge, so that brightness does not matter, in
    quarters of a quantisation step and log scale, so that one network serves all qualities. First
    come the edges between rows of blocks, then, by the same weights, those between columns.

    Args:
        period, first: which edges, in pixels, as `pyramid.block_edges` gives them.
        width: of the hidden layers.

    Called with an image (batch, h, w, 3), h and w multiples of 32, `step` and `condition`; returns
    the corrected image.
    """

    def __init__(self, period: int, first: int, width: int = 128, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.period, self.first = period, first
        seen, dense = 6 * pyramid.DEBLOCKING_TAPS, keras.layers.Dense
        enter = keras.layers.Conv2D(width, (1, 3), padding="same", name="enter")
        self.enter = _built(self, seen, enter)
        self.film = _built(self, 4, dense(width, kernel_initializer="zeros", name="film"))
        self.mix = _built(self, width, dense(width, activation="relu", name="mix"))
        self.leave = _built(self, width, dense(seen, kernel_initializer="zeros", name="leave"))

    def call(self, x: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        for _ in range(2):  # the second time rows are columns, and turned back
            x = ops.transpose(self._filter_rows(x, step, condition), (0, 2, 1, 3))
        return x

    def _filter_rows(self, x: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        """Correct the pixels above and below the edges between rows of blocks.

        The image is cut into strips of one period with an edge in the middle; the pixels above the
        first strip and below the last, `margin` rows each, have no edge near them. Where the size
        is known only when the graph runs there is one strip more, as there may be none otherwise.
        """
        _, height, width, _ = ops.shape(x)
        middle, taps = self.period // 2, pyramid.DEBLOCKING_TAPS
        margin = self.first - middle
        count = (height - 2 * margin) // self.period
        known = isinstance(count, int)
        if known and count == 0:
            return x
        more = 0 if known else 1
        below = ((0, 0), (0, more * self.period), (0, 0), (0, 0))
        wide = ops.pad(x, below, mode="symmetric") if more else x
        end = margin + (count + more) * self.period
        strips = ops.reshape(wide[:, margin:end], (-1, count + more, self.period, width, 3))
        near = ops.transpose(strips[:, :, middle - taps : middle + taps], (0, 1, 3, 2, 4))
        # near: (batch, count, w, 2 taps, 3)
        centre = ops.mean(near[..., taps - 1 : taps + 1, :], axis=-2, keepdims=True)
        seen = log_compress(4 * (near - centre) / step[..., None])
        hidden = self.enter(ops.reshape(seen, (-1, count + more, width, 6 * taps)))
        hidden = self.mix(ops.relu(hidden + self.film(condition)[:, None, None, :]))
        change = CORRECTION_MULTIPLIER * step * self.leave(hidden)  # (.., count, w, 6 taps)
        change = ops.reshape(change, (-1, count + more, width, 2 * taps, 3))
        rest = ((0, 0), (0, 0), (middle - taps, middle - taps), (0, 0), (0, 0))
        change = ops.pad(ops.transpose(change, (0, 1, 3, 2, 4)), rest)  # (.., count, period, w, 3)
        change = ops.reshape(change, (-1, (count + more) * self.period, width, 3))
        change = change[:, : count * self.period]
        return x + ops.pad(change, ((0, 0), (margin, margin), (0, 0), (0, 0)))  # (batch, h, w, 3)


@register
class Refinement(keras.layers.Layer):
    """Refinement filter: corrects every pixel from what lies around it, after deblocking.

    Quantisation rings about edges and wipes out faint texture within blocks, too (restoration
    filters in the loop of a codec; Zhang et al., 2018). The image is cut into cells of 4 x 4
    pixels. A cell shows its pixels as differences from its mean, and the means of the four cells
    beside it as differences from its own, in quarters of a quantisation step and log scale. A
    3 x 3 convolution over cells looks around. The filter knows the quality (FiLM; Perez et al.,
    2018), and by a bias for each position where a cell lies among the block edges.

    Args:
        period: cells after which the pattern of all block edges repeats.
        width: channels of the hidden layers.

    Called with an image (batch, h, w, 3), h and w multiples of 4 `period`, `step` and `condition`;
    returns the corrected image.
    """

    def __init__(self, period: int, width: int = 64, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        values, dense = 3 * pyramid.CELL**2, keras.layers.Dense
        mix = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="mix")
        self.enter = _built(self, values + 12, dense(width, use_bias=False, name="enter"))
        self.film = _built(self, 4, dense(2 * width, kernel_initializer="zeros", name="film"))
        self.mix = _built(self, width, mix)
        self.leave = _built(self, width, dense(values, kernel_initializer="zeros", name="leave"))
        self.place = self.add_weight(
            name="place", shape=(period, period, width), initializer="zeros"
        )

    def call(self, x: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        cells = space_to_depth(x, pyramid.CELL, ops)  # (batch, h/4, w/4, 48)
        _, rows, columns, values = ops.shape(cells)
        pixels = ops.reshape(cells, (-1, rows, columns, values // 3, 3))
        mean = ops.mean(pixels, axis=3)  # (batch, h/4, w/4, 3)
        own = ops.reshape(pixels - mean[:, :, :, None], (-1, rows, columns, values))
        wide = ops.pad(mean, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
        beside = [wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:]]
        seen = ops.concatenate([own, *(m - mean for m in beside)], axis=-1)  # 60 channels
        scale, shift = ops.split(self.film(condition)[:, None, None], 2, axis=-1)
        period = self.place.shape[0]
        place = ops.tile(self.place, (rows // period, columns // period, 1))
        hidden = self.enter(log_compress(4 * seen / step)) * (1 + scale) + shift + place
        change = CORRECTION_MULTIPLIER * step * self.leave(self.mix(ops.relu(hidden)))
        return x + depth_to_space(change, pyramid.CELL, ops)


@register
class PatchAttention(keras.layers.Layer):
    """Convolutional attention: one saliency score for every 32 x 32 patch.

    Its input is the log magnitudes of the block DCT in quantisation steps, which show what detail
    survives this quality. Strided convolutions widen the receptive field until one vector stands
    for one patch and its surroundings. Two thresholds turn the score into a level (ordinal logistic
    model; McCullagh, 1980): the logit against `spread` and against `-spread`, a trained number.

    Args:
        width: channels of the hidden layers.

    Called with the block DCT (batch, h/8, w/8, 192), in quantisation steps, and `condition`;
    returns logits (batch, h/32, w/32), whose sigmoid is the score.
    """

    def __init__(self, width: int = 32, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dense, constant = keras.layers.Dense, keras.initializers.Constant
        conv = partial(keras.layers.Conv2D, width, 3, padding="same", activation="relu")
        self.enter = _built(self, 192, dense(width, name="enter"))
        self.film = _built(self, 4, dense(width, name="film"))
        self.halve = _built(self, width, conv(strides=2, name="halve"))
        self.quarter = _built(self, width, conv(strides=2, name="quarter"))
        self.surround = _built(self, width, conv(name="surround"))
        self.score = _built(self, width, dense(1, name="score", bias_initializer=constant(3.0)))
        self.spread = self.add_weight(name="spread", shape=(), initializer=constant(1.5))

    def call(self, blocks: Tensor, condition: Tensor) -> Tensor:
        hidden = self.enter(ops.log(1 + ops.abs(blocks)))
        hidden = ops.relu(hidden + self.film(condition)[:, None, None, :])  # (.., h/8, w/8, width)
        hidden = self.surround(self.quarter(self.halve(hidden)))  # (batch, h/32, w/32, width)
        return self.score(hidden)[..., 0]  # (batch, h/32, w/32)
