"""MR-DCAE as a Keras model: attention, nested pathways, mirrored decoder, one Lagrangian.

image -> block DCT -> 1/8 --merge--> 1/16 --merge--> 1/32 --merge--> 1/64
                       |               |               |               |
                      high           medium           low             low
                       |               |               |               |
image <-- filters <-- 1/8 <--split-- 1/16 <--split-- 1/32 <--split-- 1/64

Attention switches the high and the medium level. Each step is undone by the inverse of its kernel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from mrdcae_lite.coding.entropy import laplace_tables
from mrdcae_lite.core import pyramid
from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.core.quality import QUALITIES, chebyshev, quality_features, quantisation_step
from mrdcae_lite.core.rate_distortion import LAMBDA
from mrdcae_lite.runtime.frozen import FrozenModel
from mrdcae_lite.training import layers, losses
from mrdcae_lite.training.backend import keras, ops
from mrdcae_lite.training.complexity import SWITCH_THRESHOLD
from mrdcae_lite.training.context_model import ContextModel
from mrdcae_lite.training.layers import Tensor

CHROMA_STEP = 1.6  # quantisation step of colour differences over that of luma, before training


def quality_condition(quality: Tensor) -> tuple[Tensor, Tensor]:
    """Quantisation step (batch, 1, 1, 1) and features (batch, 4) of qualities (batch,)."""
    features = ops.stack(chebyshev(quality), axis=-1)
    return quantisation_step(quality)[:, None, None, None], features


@layers.register
class MRDCAE(keras.Model):
    """Multi-resolution deep convolutional autoencoder with a rate-distortion objective.

    `compile(optimizer)` and `fit(images)` train it; `Codec.from_model(model)` turns it into a
    codec that writes files. The objective is, per pixel and in units of the quantisation step q,

        L = sqrt(q) * (bits + E / (0.14 q**2)),

    up to a constant, with the distortion E of `losses.Distortion`, in squared units of the image.
    `fit` minimises L plus three terms whose gradients reach what L's do not: the bits with noise in
    place of rounding (the transforms), the routing loss (attention), and the range penalty (the
    context model).

    Args:
        resolutions, attention, deblocking, refinement, prior_width: see `Architecture`.
        textured_loss, mse_share, structure, threshold: see `losses.Distortion`; "mse" ablates it.
        seed: of the rounding noise and the drawn qualities.

    Call arguments:
        images: (batch, h, w, 3) in [0, 1]; h and w multiples of `Architecture.unit`.

    Returns a dict: `reconstruction` like `images`; `bits` (batch,) of the symbols; `smooth_bits`
    (batch,), those with noise in place of rounding; `routing_loss` (); `quality` (batch,).

    Raises:
        ValueError: for an impossible combination of arguments.
    """

    def __init__(
        self,
        resolutions: int = 4,
        attention: bool = True,
        deblocking: int = 64,
        refinement: int = 64,
        prior_width: int = 96,
        textured_loss: str = "ssim",
        mse_share: float = 0.6,
        structure: float = 6.0,
        threshold: float = SWITCH_THRESHOLD,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        shape = resolutions, attention, deblocking, refinement, prior_width
        self.architecture = Architecture(*shape)
        self.resolutions = resolutions
        self.distortion = losses.Distortion(textured_loss, mse_share, structure, threshold)
        self.seed = seed
        self.seeds = keras.random.SeedGenerator(seed)
        self._make_layers()
        names = "bpp", "psnr", "ssim", "lagrangian"
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def _make_layers(self) -> None:
        shape, last = self.architecture, self.resolutions - 1
        stages = [(n, n == last) for n in range(self.resolutions)]
        self.analysis = [layers.BlockTransform(n, end, name=f"analysis{n}") for n, end in stages]
        self.attention = layers.PatchAttention(name="attention") if shape.attention else None
        starts = [[1 / CHROMA_STEP if b.colour else 1 for b in lv.bands] for lv in shape.levels]
        self.gains = [layers.Gain(start, name=f"gain{n}") for n, start in enumerate(starts)]
        self.reconstruction = [
            layers.Reconstruction(len(start), name=f"reconstruction{n}")
            for n, start in enumerate(starts)
        ]
        self.filters: list[Any] = []
        if shape.deblocking:
            for n, edges in enumerate(pyramid.block_edges(self.resolutions)):
                filter_ = layers.Deblocking(*edges, shape.deblocking, name=f"deblocking{n}")
                self.filters.append(filter_)
        if shape.refinement:
            period = shape.unit // pyramid.CELL
            self.filters.append(layers.Refinement(period, shape.refinement, name="refinement"))
        self.context_model = ContextModel(shape.prior_width, self.resolutions, name="context_model")

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Declare the model ready. The layers, with all weights, are there from the beginning."""
        self.built = True

    def save_own_variables(self, store: Any) -> None:
        """Keep the state of the random numbers, or a resumed run would draw others."""
        store["seeds"] = ops.convert_to_numpy(self.seeds.state)

    def load_own_variables(self, store: Any) -> None:
        self.seeds.state.assign(store["seeds"])

    def freeze(self) -> FrozenModel:
        """The model as a codec keeps it: transforms in float16, context model in integers."""
        transforms = {
            name: (scale * ops.convert_to_numpy(weight)).astype(np.float16)
            for name, weight, scale in self._transforms()
        }
        context = self.context_model.freeze(quality_features(np.arange(QUALITIES)))
        return FrozenModel(self.architecture, transforms, context, laplace_tables())

    def load_frozen(self, frozen: FrozenModel) -> None:
        """Take the weights of a frozen model of the same architecture, or raise `ValueError`."""
        if frozen.architecture != self.architecture:
            raise ValueError(
                f"expected a codec like the model, {self.architecture}. Received: "
                f"{frozen.architecture}. Make the model with the options of the codec."
            )
        self.build()
        for name, weight, scale in self._transforms():
            weight.assign(frozen.transform_weights[name].astype(np.float32) / scale)
        features = quality_features(np.arange(QUALITIES))
        self.context_model.load_frozen_weights(frozen.context_weights, features)

    def _transforms(self) -> Iterator[tuple[str, Any, Any]]:
        """Name, variable, and its factor in a codec file, of every array of the transforms.

        A codec holds block transforms as `basis + 0.1 * offset`, and the last layers of filters and
        the curves of reconstruction points with their multipliers.
        """
        scales = {f"{layer.name}/offset": 10 * layer.multiplier for layer in self.analysis}
        variables = {variable.path: variable for variable in self.trainable_variables}
        for spec in self.architecture.transform_arrays():
            scale = layers.CORRECTION_MULTIPLIER if "/leave/" in spec.name else 1.0
            scale = layers.SHIFT_MULTIPLIER if spec.name.startswith("reconstruction") else scale
            yield spec.name, variables[spec.name], scales.get(spec.name, scale)

    def analyse(self, images: Tensor, quality: Tensor) -> tuple[list[Tensor], Tensor]:
        """Latents of all levels in steps of their channels, coarse to fine, and attention logits.

        `encode` scales medium and high further, by the contrast around each position.

        Shapes: (batch, h/stride, w/stride, channels) of each level, and (batch, h/32, w/32).
        Without attention the logits are None.
        """
        step, condition = quality_condition(quality)
        grid = self.analysis[0](images - 0.5) / step  # (batch, h/8, w/8, 192)
        logits = self.attention(ops.stop_gradient(grid), condition) if self.attention else None
        details: list[Tensor] = []
        for analysis in self.analysis[1:]:
            details.insert(0, grid[..., pyramid.CARRIED :])  # 144 channels: a level
            grid = analysis(grid[..., : pyramid.CARRIED])  # half as wide
        levels = zip([grid, *details], self.gains, strict=True)
        return [gain(y, condition) for y, gain in levels], logits

    def encode(
        self, latents: list[Tensor], masks: list[Tensor], quality: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Symbols of all levels, coarse to fine, and the latents they were rounded from.

        `latents` are those of `analyse`. Masks say where all levels but the coarsest are on;
        elsewhere the symbols are zero.
        """
        symbols: list[Tensor] = []
        scaled: list[Tensor] = []
        known: list[Tensor] = []
        for y, mask in zip(latents, [1.0, *masks], strict=True):
            scaled.append(y * self._contrast_gain(known, quality))
            symbols.append(layers.quantise_through(scaled[-1]) * mask)
            known.append(self._dequantise(symbols[-1], known, quality))
        return symbols, scaled

    def _dequantise(self, symbols: Tensor, coarser: list[Tensor], quality: Tensor) -> Tensor:
        """A level in quantisation steps, from its symbols and the levels before it."""
        _, condition = quality_condition(quality)
        number = len(coarser)
        points = self.reconstruction[number](symbols, condition)
        return self.gains[number].invert(points, condition) / self._contrast_gain(coarser, quality)

    def _contrast_gain(self, coarser: list[Tensor], quality: Tensor) -> Tensor | float:
        """Contrast gain of the level after `coarser`; 1 for levels that are always on."""
        if len(coarser) < pyramid.always_on(self.resolutions):
            return 1.0
        step, _ = quality_condition(quality)
        known = [ops.stop_gradient(y) for y in coarser]
        return pyramid.contrast_gain(known, step, self.resolutions, ops)

    def contrast_gain(self, symbols: list[Tensor], quality: Tensor) -> Tensor | float:
        """Contrast gain of the latents of the level after those with these symbols."""
        known: list[Tensor] = []
        for k in symbols:
            known.append(self._dequantise(k, known, quality))
        return self._contrast_gain(known, quality)

    def synthesise(self, symbols: list[Tensor], quality: Tensor) -> Tensor:
        """Image in [0, 1] (not clipped) before the filters, from the symbols of all levels.

        Where a level is switched off its symbols are zero, their predicted mean.
        """
        step, _ = quality_condition(quality)
        levels: list[Tensor] = []
        for k in symbols:
            levels.append(self._dequantise(k, levels, quality))
        grid = levels[0]
        for analysis, detail in zip(self.analysis[:0:-1], levels[1:], strict=True):
            grid = ops.concatenate([analysis.invert(grid), detail], axis=-1)  # 48 + 144 channels
        return self.analysis[0].invert(grid * step) + 0.5  # (batch, h, w, 3)

    def filter(self, images: Tensor, quality: Tensor) -> Tensor:
        """Synthesised images after deblocking and refinement."""
        step, condition = quality_condition(quality)
        for correct in self.filters:
            images = correct(images, step, condition)
        return images

    def masks(self, latents: list[Tensor], logits: Tensor) -> list[Tensor]:
        """Where all levels but the coarsest are on: (batch, h/stride, w/stride, 1) of each."""
        masks = [ops.ones_like(y[..., :1]) for y in latents[1:]]
        for number, threshold in self._thresholds():
            on = ops.cast(logits > ops.stop_gradient(threshold), "float32")[..., None]
            cells = pyramid.PATCH // self.architecture.levels[number].stride
            masks[number - 1] = ops.repeat(ops.repeat(on, cells, 1), cells, 2)
        return masks

    def _thresholds(self) -> list[tuple[int, Tensor]]:
        """The levels that attention switches, and the logits above which it switches them on."""
        if self.attention is None:
            return []
        switched = range(pyramid.always_on(self.resolutions), self.resolutions)
        spread = self.attention.spread
        return list(zip(switched, (-spread, spread), strict=False))

    # --- training ---------------------------------------------------------------------------

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        batch = ops.shape(images)[0]
        quality = self._draw_qualities(batch, training)
        _, condition = quality_condition(quality)
        latents, logits = self.analyse(images, quality)
        masks = self.masks(latents, logits)
        if training:  # all levels on in every other image: from these attention learns
            whole = (ops.arange(batch, dtype="float32") + 1) % 2
            masks = [ops.maximum(m, whole[:, None, None, None]) for m in masks]
        symbols, latents = self.encode(latents, masks, quality)
        indices = self.context_model(symbols, masks, condition)
        known, on = map(ops.stop_gradient, symbols), [1.0, *masks]
        bits = [losses.symbol_bits(*k) * m for *k, m in zip(known, indices, on, strict=True)]
        restored = self.filter(self.synthesise(symbols, quality), quality)
        routing_loss = ops.zeros(())
        if training and self.attention is not None:
            shown = images, symbols, bits, quality
            costs = self._routing_costs(*keras.tree.map_structure(lambda x: x[::2], shown))
            margins = [logits[::2] - threshold for _, threshold in self._thresholds()]
            routing_loss = losses.routing_loss(*costs, margins)
        return {
            "reconstruction": restored,
            "bits": sum(ops.sum(b, axis=(1, 2, 3)) for b in bits),
            "smooth_bits": self._smooth_bits(latents, indices, on),
            "routing_loss": routing_loss,
            "quality": quality,
        }

    def _draw_qualities(self, batch: int | Tensor, training: bool) -> Tensor:
        """Qualities (batch,): random ones to train at, evenly spaced ones to judge by."""
        if training:
            share = keras.random.uniform((batch,), 0, 1, seed=self.seeds) ** 1.3  # more low ones
        else:
            share = (ops.arange(batch, dtype="float32") + 0.5) / ops.cast(batch, "float32")
        return ops.floor(share * QUALITIES)

    def _smooth_bits(
        self, latents: list[Tensor], indices: list[Tensor], on: list[Tensor]
    ) -> Tensor:
        """Bits with uniform noise in place of rounding, (batch,); only latents get gradient.

        Symbols stay the same when a latent moves a little, so their bits have no gradient to it;
        noisy latents have (Balle et al., 2017).
        """
        total = 0.0
        for y, j, m in zip(latents, indices, on, strict=True):
            noise = keras.random.uniform(ops.shape(y), -0.5, 0.5, seed=self.seeds)
            bits = losses.symbol_bits(y + noise, ops.stop_gradient(j)) * m
            total = total + ops.sum(bits, axis=(1, 2, 3))
        return total

    def _routing_costs(
        self, images: Tensor, symbols: list[Tensor], bits: list[Tensor], quality: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Errors and bits of every patch at each level, for `losses.routing_loss`.

        Which level a patch should get is found by trying: each image is synthesised without the
        levels that may be left out, with the first of them, and with both, without the filters,
        which only correct what each of them gives.

        The images are coded with all levels everywhere as `symbols`, with `bits` of each. Returns
        tensors (batch, h/32, w/32): errors per pixel in units of bits, from the fewest levels to
        all; bits per pixel of what all patches have, and of each level that may be left out.
        """
        step, _ = quality_condition(quality)
        always = pyramid.always_on(self.resolutions)
        errors = []
        for count in range(always, self.resolutions + 1):
            shown = [ops.stop_gradient(k if n < count else 0 * k) for n, k in enumerate(symbols)]
            decoded = ops.stop_gradient(self.synthesise(shown, quality))
            error = self.distortion(images, decoded, step)[..., None]  # (batch, h/16, w/16, 1)
            errors.append(ops.average_pool(error, 2, 2)[..., 0] / (LAMBDA * step[..., 0] ** 2))
        pairs = zip(bits, self.architecture.levels, strict=True)
        spent = [self._bits_a_patch(*pair) for pair in pairs]
        return errors, [sum(spent[:always]), *spent[always:]]

    @staticmethod
    def _bits_a_patch(bits: Tensor, level: pyramid.Level) -> Tensor:
        """Bits per pixel of a level in each patch, (batch, h/32, w/32)."""
        of_vector = ops.sum(bits, axis=-1, keepdims=True) / level.stride**2
        if level.stride > pyramid.PATCH:
            patches = level.stride // pyramid.PATCH
            return ops.repeat(ops.repeat(of_vector, patches, 1), patches, 2)[..., 0]
        cells = pyramid.PATCH // level.stride
        return ops.average_pool(of_vector, cells, cells)[..., 0]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None
    ) -> Tensor:
        if x is None or y_pred is None:
            raise ValueError("fit needs images: call fit(images) with float32 in [0, 1].")
        restored = y_pred["reconstruction"]
        pixels = restored.shape[1] * restored.shape[2]
        bpp = y_pred["bits"] / pixels
        step, _ = quality_condition(y_pred["quality"])
        error = ops.mean(self.distortion(x, restored, step), axis=(1, 2))  # (batch,)
        step = step[:, 0, 0, 0]
        weight = ops.sqrt(step * 255) / 5
        scaled = weight * (bpp + error / (LAMBDA * step**2))
        mse = ops.maximum(ops.mean((x - restored) ** 2, axis=(1, 2, 3)), 1e-10)
        ssim = ops.mean(losses.ssim_map(x, restored))
        tracked = {"bpp": bpp, "psnr": -10 * ops.log10(mse), "ssim": ssim, "lagrangian": scaled}
        for name, values in tracked.items():
            self.trackers[name].update_state(values)
        smooth = weight * y_pred["smooth_bits"] / pixels
        return ops.mean(scaled + smooth) + y_pred["routing_loss"] + sum(self.losses)

    def get_config(self) -> dict[str, Any]:
        own = {**asdict(self.distortion), "seed": self.seed}
        return {**super().get_config(), **asdict(self.architecture), **own}
