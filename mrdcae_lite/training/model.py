"""MR-DCAE as a Keras model: attention, three nested pathways, mirrored decoder, one Lagrangian.

image -> block DCT -> 1/8 --merge--> 1/16 --merge--> 1/32
                       |               |               |
                      high           medium           low      <- switched by attention
                       |               |               |
image <- block DCT <- 1/8 <--split-- 1/16 <--split-- 1/32
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
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
        width, blocks, prior_width, resolutions, attention, encoder_blocks: see `Architecture`.
            `resolutions=1` or `attention=False` are ablations. Encoder blocks gain nothing with
            three resolutions: where the decoder is close to linear and its blocks to orthonormal, a
            linear map finds the nearest latents already.
        textured_loss, mse_share, structure, threshold: see `losses.Distortion`; "mse" ablates it.
        seed: of the rounding noise and the drawn qualities.
        block_dtype: Keras dtype policy of the residual blocks; "mixed_bfloat16" trains about
            twice as fast on processors with bfloat16 matrix units.

    Call arguments:
        images: (batch, h, w, 3) in [0, 1]; h and w multiples of 32.

    Returns a dict: `reconstruction` like `images`; `bits` (batch,) of the symbols; `smooth_bits`
    (batch,), those with noise in place of rounding; `routing_loss` (); `quality` (batch,).

    Raises:
        ValueError: for an impossible combination of arguments.
    """

    def __init__(
        self,
        width: int = 128,
        blocks: int = 2,
        prior_width: int = 96,
        resolutions: int = 3,
        attention: bool = True,
        encoder_blocks: int = 0,
        textured_loss: str = "ssim",
        mse_share: float = 0.6,
        structure: float = 6.0,
        threshold: float = SWITCH_THRESHOLD,
        seed: int = 0,
        block_dtype: str = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        shape = width, blocks, prior_width, resolutions, attention, encoder_blocks
        self.architecture = Architecture(*shape)
        self.resolutions = resolutions
        self.distortion = losses.Distortion(textured_loss, mse_share, structure, threshold)
        self.seed, self.block_dtype = seed, block_dtype
        self.seeds = keras.random.SeedGenerator(seed)
        self._make_layers()
        names = "bpp", "psnr", "ssim", "lagrangian"
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}

    def _make_layers(self) -> None:
        shape, last = self.architecture, self.resolutions - 1
        steps = [(n, n == last) for n in range(self.resolutions)]
        self.analysis = [layers.BlockTransform(n, end, name=f"analysis{n}") for n, end in steps]
        self.synthesis = [
            layers.BlockTransform(n, end, inverse=True, name=f"synthesis{n}") for n, end in steps
        ]
        self.attention = layers.PatchAttention(name="attention") if shape.attention else None
        gains = [[CHROMA_STEP if b.colour else 1 for b in lv.bands] for lv in shape.levels]
        self.gains = [layers.Gain([1 / x for x in g], name=f"gain{n}") for n, g in enumerate(gains)]
        self.inverse_gains = [layers.Gain(g, name=f"inverse_gain{n}") for n, g in enumerate(gains)]
        self.deblocking = [
            layers.Deblocking(*edges, shape.width, name=f"deblocking{n}")
            for n, edges in enumerate(pyramid.block_edges(self.resolutions))
        ]
        self.context_model = ContextModel(shape.prior_width, self.resolutions, name="context_model")
        self.analysis_blocks = self._make_blocks("analysis", shape.encoder_blocks)
        self.synthesis_blocks = self._make_blocks("synthesis", shape.blocks)

    def _make_blocks(self, side: str, count: int) -> list[list[layers.ResidualBlock]]:
        """So many residual blocks for each grid, from fine to coarse."""
        made = []
        for n in range(self.resolutions):
            bands = pyramid.bands(coarsest=n == self.resolutions - 1)
            options = 192, self.architecture.width, list(pyramid.typical_std(bands, 8 * 2**n))
            block = partial(layers.ResidualBlock, *options, dtype=self.block_dtype)
            made.append([block(name=f"{side}{n}_block{k}") for k in range(count)])
        return made

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

        A codec holds block transforms as `basis + 0.1 * offset`, last layers with their multiplier.
        """
        transforms = self.analysis + self.synthesis
        scales = {f"{layer.name}/offset": 10 * layer.multiplier for layer in transforms}
        variables = {variable.path: variable for variable in self.trainable_variables}
        for spec in self.architecture.transform_arrays():
            scale = layers.CORRECTION_MULTIPLIER if "/leave/" in spec.name else 1.0
            yield spec.name, variables[spec.name], scales.get(spec.name, scale)

    def analyse(self, images: Tensor, quality: Tensor) -> tuple[list[Tensor], Tensor]:
        """Latents in steps of their channels (low, medium, high) and attention logits.

        `encode` scales medium and high further, by the contrast around each position.

        Shapes: (batch, h/32, w/32, 192), (batch, h/16, w/16, 144), (batch, h/8, w/8, 144) and
        (batch, h/32, w/32). Without attention the logits are None.
        """
        step, condition = quality_condition(quality)
        grid = self.analysis[0](images - 0.5) / step  # (batch, h/8, w/8, 192)
        logits = self.attention(ops.stop_gradient(grid), condition) if self.attention else None
        details: list[Tensor] = []
        for scale in range(self.resolutions):
            for block in self.analysis_blocks[scale]:
                grid = grid + ops.cast(block(grid, step, condition), "float32")
            if scale < self.resolutions - 1:
                details.insert(0, grid[..., pyramid.CARRIED :])  # 144 channels: a level
                grid = self.analysis[scale + 1](grid[..., : pyramid.CARRIED])  # half as wide
        levels = zip([grid, *details], self.gains, strict=True)
        return [gain(y, condition) for y, gain in levels], logits

    def encode(
        self, latents: list[Tensor], masks: list[Tensor], quality: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Symbols of all levels, coarse to fine, and the latents they were rounded from.

        `latents` are those of `analyse`. Masks say where the medium and the high level are on;
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
        y = self.inverse_gains[len(coarser)](symbols, quality_condition(quality)[1])
        return y / self._contrast_gain(coarser, quality)

    @staticmethod
    def _contrast_gain(coarser: list[Tensor], quality: Tensor) -> Tensor | float:
        """Contrast gain of the level after `coarser`; 1 for the first."""
        if not coarser:
            return 1.0
        step, _ = quality_condition(quality)
        return pyramid.contrast_gain([ops.stop_gradient(y) for y in coarser], step, ops)

    def synthesise(self, symbols: list[Tensor], masks: list[Tensor], quality: Tensor) -> Tensor:
        """Image in [0, 1] (not clipped) from the symbols of all levels, coarse to fine.

        Where a level is switched off its symbols are zero, their predicted mean, and the residual
        blocks of its grid add nothing: the decoder need not compute them there.
        """
        step, condition = quality_condition(quality)
        levels: list[Tensor] = []
        for k in symbols:
            levels.append(self._dequantise(k, levels, quality))
        grid, masks = levels[0], [1.0, *masks]
        for level, scale in enumerate(reversed(range(self.resolutions))):
            for block in self.synthesis_blocks[scale]:
                correction = ops.cast(block(grid, step, condition), "float32")
                grid = grid + correction * masks[level]
            if scale > 0:
                carried = self.synthesis[scale](grid)  # twice as wide, 48 channels
                grid = ops.concatenate([carried, levels[level + 1]], axis=-1)  # 192 channels
        image = self.synthesis[0](grid * step) + 0.5  # (batch, h, w, 3)
        for deblock in self.deblocking:
            image = deblock(image, step, condition)
        return image

    def masks(self, latents: list[Tensor], logits: Tensor) -> list[Tensor]:
        """Where the medium and the high level are on: (batch, h/16, w/16, 1), (batch, h/8, ...)."""
        if self.attention is None:
            return [ops.ones_like(y[..., :1]) for y in latents[1:]]
        spread = ops.stop_gradient(self.attention.spread)
        medium = ops.cast(logits > -spread, "float32")[..., None]
        high = ops.cast(logits > spread, "float32")[..., None]
        return [ops.repeat(ops.repeat(m, n, 1), n, 2) for m, n in ((medium, 2), (high, 4))]

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
        restored = self.synthesise(symbols, masks, quality)
        routing_loss = ops.zeros(())
        if training and self.attention is not None:
            shown = images, restored, symbols, bits, quality
            costs = self._routing_costs(*keras.tree.map_structure(lambda x: x[::2], shown))
            routing_loss = losses.routing_loss(*costs, logits[::2], self.attention.spread)
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
        self, images: Tensor, restored: Tensor, symbols: Any, bits: list[Tensor], quality: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Errors and bits of every patch at each level, for `losses.routing_loss`.

        Which level a patch should get is found by trying: each image is decoded a second and third
        time, with the low level alone and with low and medium. Blocks and deblocking carry pixels
        across patches, so a trial is exact only where the neighbours have the same level; but one
        for every combination would be out of reach.

        The images are coded with all levels everywhere as `symbols`, with `bits` of each, and
        decoded as `restored`. Returns three tensors (batch, h/32, w/32) each: errors per pixel with
        low, with low and medium, and with all, in units of bits; bits per pixel of each level.
        """
        low, medium, high = symbols
        on = [ops.ones_like(medium[..., :1]), ops.ones_like(high[..., :1])]
        off = [0 * mask for mask in on]
        only_low = self.synthesise([low, 0 * medium, 0 * high], off, quality)
        up_to_medium = self.synthesise([low, medium, 0 * high], [on[0], off[1]], quality)
        step, _ = quality_condition(quality)
        errors, spent = [], []
        for decoded in (only_low, up_to_medium, restored):
            error = self.distortion(images, decoded, step)[..., None]  # (batch, h/16, w/16, 1)
            errors.append(ops.average_pool(error, 2, 2)[..., 0] / (LAMBDA * step[..., 0] ** 2))
        for b, n in zip(bits, (1, 2, 4), strict=True):
            of_vector = ops.sum(b, axis=-1, keepdims=True)  # (batch, h/32 n, w/32 n, 1)
            spent.append(ops.average_pool(of_vector, n, n)[..., 0] * (n / 32) ** 2)
        return errors, spent

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
        own = {**asdict(self.distortion), "seed": self.seed, "block_dtype": self.block_dtype}
        return {**super().get_config(), **asdict(self.architecture), **own}
