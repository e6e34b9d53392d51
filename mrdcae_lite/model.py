"""MR-DCAE as a Keras model: attention, three nested pathways, mirrored decoder, one Lagrangian.

image -> block DCT -> 1/8 --merge--> 1/16 --merge--> 1/32
                       |               |               |
                      high           medium           low      <- switched by attention
                       |               |               |
image <- block DCT <- 1/8 <--split-- 1/16 <--split-- 1/32
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mrdcae_lite import entropy, losses, pyramid
from mrdcae_lite.layers import (
    BlockTransform,
    ContextPrior,
    Deblocking,
    Gain,
    PatchAttention,
    Reconstruction,
    Refinement,
    ResidualBlock,
    Shape,
    Tensor,
    contrast_gain,
    register,
)
from mrdcae_lite.prior import WIDEST
from mrdcae_lite.quality import (
    LAGRANGE,
    QUALITIES,
    ROUNDING,
    SWITCH_ABOVE,
    WORK,
    polynomials,
    quality_features,
    quantisation_step,
)

CHROMA_STEP = 1.6
"""Before training, colour differences are quantised so many times as coarsely as luma."""


def quality_condition(quality: Tensor) -> tuple[Tensor, Tensor]:
    """Quantisation step (batch, 1, 1, 1) and features (batch, 4) of qualities (batch,)."""
    features = ops.stack(polynomials(quality), axis=-1)
    return quantisation_step(quality)[:, None, None, None], features


def quantise(y: Tensor) -> Tensor:
    """Symbols of latents: `quality.ROUNDING` forward, identity in the backward pass."""
    whole = ops.sign(y) * ops.floor(ops.abs(y) + ROUNDING)
    return y + ops.stop_gradient(whole - y)


def symbol_bits(symbols: Tensor, index: Tensor) -> Tensor:
    """Bits of whole or, with noise for rounding, real `symbols` under the Laplace tables `index`.

    -log2 of the probability mass of [symbol - 1/2, symbol + 1/2], written so that neither tail
    underflows. Shape of `symbols`.
    """
    inverse = ops.exp(-(entropy.LOG_NARROWEST + entropy.LOG_RATIO * index))
    size = ops.abs(symbols)
    outside = -(ops.maximum(size, 0.5) - 0.5) * inverse + ops.log(
        -0.5 * ops.expm1(-ops.minimum(inverse, 60.0))
    )
    near = ops.minimum(size, 0.5)
    inside = ops.log1p(-0.5 * (ops.exp((near - 0.5) * inverse) + ops.exp(-(near + 0.5) * inverse)))
    return ops.where(size < 0.5, inside, outside) * (-1 / np.log(2))


@register
class MRDCAE(keras.Model):
    """Multi-resolution deep convolutional autoencoder with a rate-distortion objective.

    `compile(optimizer)` and `fit(images)` train it; `Codec.from_model(model)` turns it into a
    codec that writes files. The objective is, per pixel and in units of the quantisation step q,

        L = sqrt(q) * (bits + E / (0.14 q**2)),

    where E is the squared error on smooth patches and, on textured patches, a part
    `mse_share` of it plus 0.14 (25/255)**1.2 q**0.8 `structure` times the loss of structural
    similarity (or of edges), all in squared units of the image. `fit` adds what has gradients of
    its own: the bits with noise for rounding, attention's votes, what the prior pays for excess.

    Args:
        width: channels of the residual blocks and of deblocking.
        blocks: residual blocks on the finest grid of the decoder; on coarser ones they are worth
            nothing.
        prior_width: channels of the prior's state, at most 96 (larger sums would not be exact).
        resolutions: pathways, 1 to 4: 1/8, 1/16, 1/32 and 1/64. Attention switches the two finest;
            with a single one there is none.
        attention: whether patches are routed; without, each gets all levels (the ablation).
        encoder_blocks: residual blocks per grid of the encoder. With three resolutions they are
            worth nothing: where the decoder is close to linear and its blocks to orthonormal, a
            linear map already finds the nearest latents.
        refinement: channels of the filter after deblocking, or 0 for none.
        textured_loss: "ssim", "edge", or "mse" (no switching: the ablation).
        mse_share: weight of the squared error on textured patches.
        structure: weight of the structural term on textured patches.
        threshold: local complexity above which a patch counts as textured.
        seed: of the rounding noise and the drawn qualities.
        block_dtype: Keras dtype policy of the residual blocks; "mixed_bfloat16" trains about
            twice as fast on processors with bfloat16 matrix units.

    Call arguments:
        images: (batch, h, w, 3) in [0, 1]; h and w multiples of 32.

    Returns a dict: `reconstruction` like `images`; `bits` (batch,), what the symbols cost;
    `smooth_bits` (batch,), what stands for them in the gradient of the networks;
    `attention_loss` (); `quality` (batch,).
    """

    def __init__(
        self,
        width: int = 128,
        blocks: int = 2,
        prior_width: int = 96,
        resolutions: int = 3,
        attention: bool = True,
        encoder_blocks: int = 0,
        refinement: int = 0,
        textured_loss: str = "ssim",
        mse_share: float = 0.6,
        structure: float = 6.0,
        threshold: float = SWITCH_ABOVE,
        seed: int = 0,
        block_dtype: str = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(dtype="float32", **kwargs)
        if textured_loss not in ("ssim", "edge", "mse"):
            raise ValueError(
                f"textured_loss must be 'ssim', 'edge' or 'mse'. Received: {textured_loss!r}."
            )
        if not 1 <= prior_width <= WIDEST:
            raise ValueError(
                f"prior_width must be from 1 to {WIDEST}, or its sums would not be exact in "
                f"float32. Received: {prior_width}."
            )
        if resolutions not in (1, 2, 3, 4):
            raise ValueError(f"resolutions must be 1 to 4. Received: resolutions={resolutions!r}.")
        self.width, self.blocks, self.prior_width = width, blocks, prior_width
        self.resolutions, self.routes = resolutions, attention and resolutions > 1
        self.encoder_blocks, self.refinement = encoder_blocks, refinement
        self.levels = pyramid.levels(resolutions)
        self.textured_loss, self.mse_share = textured_loss, mse_share
        self.structure, self.threshold, self.seed = structure, threshold, seed
        self.block_dtype = block_dtype
        self.seeds = keras.random.SeedGenerator(seed)
        self._make_layers()
        self.trackers = {
            n: keras.metrics.Mean(name=n) for n in ("bpp", "psnr", "ssim", "lagrangian")
        }

    def _make_layers(self) -> None:
        last = self.resolutions - 1
        steps = [(n, n == last) for n in range(self.resolutions)]
        self.analysis = [BlockTransform(n, end, name=f"analysis{n}") for n, end in steps]
        self.attention = PatchAttention(name="attention") if self.routes else None
        gains = [[1 / CHROMA_STEP if b.colour else 1 for b in lv.bands] for lv in self.levels]
        self.gains = [Gain(g, name=f"gain{n}") for n, g in enumerate(gains)]
        self.reconstruction = [
            Reconstruction(len(g), name=f"reconstruction{n}") for n, g in enumerate(gains)
        ]
        self.deblocking = [
            Deblocking(*border, self.width, name=f"deblocking{n}")
            for n, border in enumerate(pyramid.borders(self.resolutions))
        ]
        self.refine = (
            Refinement(self.resolutions, self.refinement, name="refinement")
            if self.refinement
            else None
        )
        self.prior = ContextPrior(self.prior_width, self.resolutions, name="prior")
        bands = [pyramid.bands(coarsest=end) for _, end in steps]
        typical = [list(pyramid.typical_std(b, 8 * 2**n)) for n, b in enumerate(bands)]
        self.analysis_blocks = [
            self._blocks(f"analysis{n}", self.encoder_blocks, t) for n, t in enumerate(typical)
        ]
        self.synthesis_blocks = self._blocks("synthesis0", self.blocks, typical[0])

    def _blocks(self, name: str, count: int, typical: Sequence[float]) -> list[ResidualBlock]:
        return [
            ResidualBlock(192, self.width, typical, name=f"{name}_block{n}", dtype=self.block_dtype)
            for n in range(count)
        ]

    def build(self, input_shape: Shape | None = None) -> None:
        batch = None
        for step in range(self.resolutions):
            grid = (batch, 16 // 2**step, 16 // 2**step, 192)
            self.analysis[step].build(grid)
            for block in self.analysis_blocks[step]:
                block.build(grid)
        for block in self.synthesis_blocks:
            block.build((batch, 16, 16, 192))
        if self.attention:
            self.attention.build((batch, 16, 16, 192))
        for gain, points in zip(self.gains, self.reconstruction, strict=True):
            gain.build((batch, 4, 4, len(gain.start)))
            points.build((batch, 4, 4, len(gain.start)))
        for layer in self.deblocking:
            layer.build((batch, 128, 128, 3))
        if self.refine:
            self.refine.build((batch, 128, 128, 3))
        self.prior.build()
        self.built = True

    def frozen_transforms(self) -> dict[str, np.ndarray]:
        """All weights but the prior's by name, in the form that a codec file keeps."""
        return {name: scale * ops.convert_to_numpy(w) for name, w, scale in self._transforms()}

    def thaw(self, transforms: Mapping[str, np.ndarray], prior: Mapping[str, np.ndarray]) -> None:
        """Take the weights of a codec file, to train on; the model must be built."""
        for name, weight, scale in self._transforms():
            weight.assign(transforms[name].astype(np.float32) / scale)
        self.prior.thaw(prior, quality_features(np.arange(QUALITIES)))

    def _transforms(self) -> Iterator[tuple[str, Any, Any]]:
        """Weights but the prior's: name, variable, and its factor to the form of a codec file."""
        scales: dict[str, Any] = {}
        transforms = (self.analysis, self.analysis_blocks, self.synthesis_blocks)
        filters = [*self.deblocking, *([self.refine] if self.refine else [])]
        for layer in keras.tree.flatten([*transforms, self.reconstruction, filters]):
            scales |= {f"{layer.name}/{name}": s for name, s in layer.frozen_scale.items()}
        for weight in self.trainable_variables:
            name = weight.path.partition("/")[2]
            if not name.startswith("prior/"):
                yield name, weight, scales.get(name, 1.0)

    # The three stages, used alike by training, by the codec and by the chapters.

    def analyse(self, images: Tensor, quality: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Latents in steps of their channels (low, medium, high) and attention logits.

        `encode` divides the steps of medium and high further, by the contrast of the place.

        Shapes: (batch, h/32, w/32, 192), (batch, h/16, w/16, 144), (batch, h/8, w/8, 144) and
        (batch, h/32, w/32). Without attention the logits are None.
        """
        step, condition = quality_condition(quality)
        grid = self.analysis[0](images - 0.5) / step
        logits = self.attention(ops.stop_gradient(grid), condition) if self.attention else None
        details: list[Tensor] = []
        for scale in range(self.resolutions):
            for block in self.analysis_blocks[scale]:
                grid = grid + ops.cast(block(grid, step, condition), "float32")
            if scale < self.resolutions - 1:
                details.insert(0, grid[..., pyramid.CARRIED :])
                grid = self.analysis[scale + 1](grid[..., : pyramid.CARRIED])
        latents = [grid, *details]
        pairs = zip(latents, self.gains, strict=True)
        return [gain(y, condition) for y, gain in pairs], logits

    def encode(
        self, latents: list[Tensor], masks: list[Tensor], quality: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Symbols of all levels, coarse to fine, and the latents they were rounded from.

        Args:
            latents: as `analyse` returns them.
            masks: where the medium and the high level are on; elsewhere the symbols are zero.
            quality: (batch,).
        """
        symbols: list[Tensor] = []
        scaled: list[Tensor] = []
        known: list[Tensor] = []
        for y, mask in zip(latents, [1.0, *masks], strict=True):
            scaled.append(y * self._contrast_gain(known, quality))
            symbols.append(quantise(scaled[-1]) * mask)
            known.append(self._dequantise(symbols[-1], known, quality))
        return symbols, scaled

    def _dequantise(self, symbols: Tensor, coarser: list[Tensor], quality: Tensor) -> Tensor:
        """A level in quantisation steps, from its symbols and the levels before it."""
        _, condition = quality_condition(quality)
        level = len(coarser)
        y = self.gains[level].invert(self.reconstruction[level](symbols, condition), condition)
        return y / self._contrast_gain(coarser, quality)

    def _contrast_gain(self, coarser: list[Tensor], quality: Tensor) -> Tensor | float:
        """What the latents of the level after `coarser` are multiplied by; 1 if always on."""
        if len(coarser) < pyramid.always_on(self.resolutions):
            return 1.0
        step, _ = quality_condition(quality)
        return contrast_gain([ops.stop_gradient(y) for y in coarser], step, self.resolutions)

    def synthesise(self, symbols: list[Tensor], masks: list[Tensor], quality: Tensor) -> Tensor:
        """Image in [0, 1] (not clipped) from the symbols of all levels, coarse to fine.

        A level that is switched off somewhere is zero there, its predicted mean, and the
        residual blocks of its grid leave that place alone: hence no hole, and no work to do.
        """
        step, condition = quality_condition(quality)
        grid = self._finest(symbols, quality)
        for block in self.synthesis_blocks:
            correction = ops.cast(block(grid, step, condition), "float32")
            grid = grid + correction * (masks[-1] if masks else 1.0)
        image = self.analysis[0].invert(grid * step) + 0.5
        for deblock in self.deblocking:
            image = deblock(image, step, condition)
        return self.refine(image, step, condition) if self.refine else image

    def _finest(self, symbols: list[Tensor], quality: Tensor) -> Tensor:
        """The finest grid (batch, h/8, w/8, 192), in quantisation steps, as the symbols say."""
        levels: list[Tensor] = []
        for k in symbols:
            levels.append(self._dequantise(k, levels, quality))
        grid = levels[0]
        for scale, detail in zip(reversed(range(1, self.resolutions)), levels[1:], strict=True):
            grid = ops.concatenate([self.analysis[scale].invert(grid), detail], axis=-1)
        return grid

    def masks(self, latents: list[Tensor], logits: Tensor | None) -> list[Tensor]:
        """Where all levels but the coarsest are on: (batch, h/stride, w/stride, 1) of each."""
        masks = [ops.ones_like(y[..., :1]) for y in latents[1:]]
        if self.attention is None or logits is None:
            return masks
        for number, threshold in enumerate(self._thresholds(), pyramid.always_on(self.resolutions)):
            on = ops.cast(logits > ops.stop_gradient(threshold), "float32")[..., None]
            cells = pyramid.PATCH // self.levels[number].stride
            masks[number - 1] = ops.repeat(ops.repeat(on, cells, 1), cells, 2)
        return masks

    def _thresholds(self) -> list[Tensor]:
        """Logits above which a patch is given each of the levels that may be left out."""
        if self.attention is None:
            return []
        spread = self.attention.spread
        return [-spread, spread][: self.resolutions - pyramid.always_on(self.resolutions)]

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        batch = ops.shape(images)[0]
        quality = self._draw_qualities(batch, training)
        _, condition = quality_condition(quality)
        latents, logits = self.analyse(images, quality)
        masks = self.masks(latents, logits)
        if training:  # every other image shows all levels: from it attention learns their worth
            whole = (ops.arange(batch, dtype="float32") + 1) % 2
            masks = [ops.maximum(m, whole[:, None, None, None]) for m in masks]
        ones = [1.0, *masks]
        symbols, latents = self.encode(latents, masks, quality)
        indices = self.prior(symbols, masks, condition)
        known = [ops.stop_gradient(s) for s in symbols]
        bits = [symbol_bits(s, j) * m for s, j, m in zip(known, indices, ones, strict=True)]
        restored = self.synthesise(symbols, masks, quality)
        if training and self.attention is not None and logits is not None:
            shown = [[x[::2] for x in group] for group in (symbols, bits)]
            attention_loss = self._attention_loss(
                images[::2], shown[0], shown[1], logits[::2], quality[::2]
            )
        else:
            attention_loss = ops.zeros(())
        return {
            "reconstruction": restored,
            "bits": sum(ops.sum(b, axis=(1, 2, 3)) for b in bits),
            "smooth_bits": self._smooth_bits(latents, indices, ones),
            "attention_loss": attention_loss,
            "quality": quality,
        }

    def _draw_qualities(self, batch: int | Tensor, training: bool) -> Tensor:
        if training:
            share = keras.random.uniform((batch,), 0, 1, seed=self.seeds) ** 1.3  # more low ones
            return ops.floor(share * QUALITIES)
        share = (ops.arange(batch, dtype="float32") + 0.5) / ops.cast(batch, "float32")
        return ops.floor(share * QUALITIES)

    def _smooth_bits(
        self, latents: list[Tensor], indices: list[Tensor], masks: list[Tensor]
    ) -> Tensor:
        """Bits with uniform noise in the place of rounding, (batch,); only latents get gradient.

        Rounded symbols do not move when a latent moves a little, noisy ones do (Balle et al.,
        2017).
        """
        total = 0.0
        for y, j, m in zip(latents, indices, masks, strict=True):
            noise = keras.random.uniform(ops.shape(y), -0.5, 0.5, seed=self.seeds)
            bits = symbol_bits(y + noise, ops.stop_gradient(j)) * m
            total = total + ops.sum(bits, axis=(1, 2, 3))
        return total

    def _attention_loss(
        self,
        images: Tensor,
        symbols: list[Tensor],
        bits: list[Tensor],
        logits: Tensor,
        quality: Tensor,
    ) -> Tensor:
        """Cross-entropy of the routing against the best one, found by trying all.

        Each image is decoded without the levels that may be left out, with one of them and with
        both, by the transforms alone, without the networks that correct what they give. Each patch
        votes for the least `bits + E / (0.14 q**2)`, with `WORK` added for either upper
        level. What is at stake, beside other patches of the image, weighs the vote: a patch that
        looks and costs the same either way has little to teach.

        Args:
            images: the originals.
            symbols, bits: of all levels, nothing switched off.
            logits, quality: of the same images.
        """
        step, _ = quality_condition(quality)
        always = pyramid.always_on(self.resolutions)
        errors = []
        for levels in range(always, self.resolutions + 1):
            kept = [ops.stop_gradient(k if n < levels else 0 * k) for n, k in enumerate(symbols)]
            plain = self.analysis[0].invert(self._finest(kept, quality) * step) + 0.5
            error = self._patch_errors(images, ops.stop_gradient(plain), step)
            error = ops.average_pool(error[..., None], 2, 2)[..., 0]
            errors.append(error / (LAGRANGE * step[..., 0] ** 2))
        pixels = images.shape[1] * images.shape[2]
        spent = ops.mean(errors[-1], axis=(1, 2))
        spent = spent + sum(ops.sum(b, axis=(1, 2, 3)) for b in bits) / pixels
        work = WORK * spent[:, None, None]
        found: list[Tensor] = []  # what each level saves, with the finer ones that pay
        for number in reversed(range(always, self.resolutions)):
            cells = pyramid.PATCH // self.levels[number].stride
            paid = ops.sum(bits[number], axis=-1, keepdims=True)
            paid = ops.average_pool(paid, cells, cells)[..., 0] * (cells / pyramid.PATCH) ** 2
            gain = errors[number - always] - errors[number - always + 1] - paid - work
            found.insert(0, gain + ops.relu(found[0]) if found else gain)
        for finer in range(1, len(found)):  # no level without the coarser one
            found[finer] = ops.minimum(found[finer], found[finer - 1])
        gains = ops.stop_gradient(ops.stack(found, axis=-1))
        stakes = ops.abs(gains)
        stakes = stakes / (ops.mean(stakes, axis=(1, 2, 3), keepdims=True) + 1e-6)
        votes = ops.stack([logits - threshold for threshold in self._thresholds()], axis=-1)
        agreed = ops.softplus(-votes * ops.sign(gains))
        return ops.mean(stakes * agreed)

    def compute_loss(
        self,
        x: Tensor | None = None,
        y: None = None,
        y_pred: dict[str, Tensor] | None = None,
        sample_weight: None = None,
        training: bool = True,
    ) -> Tensor:
        if x is None or y_pred is None:
            raise ValueError("fit needs images: call fit(images) with float32 in [0, 1].")
        restored = y_pred["reconstruction"]
        pixels = restored.shape[1] * restored.shape[2]
        bpp = y_pred["bits"] / pixels
        step, _ = quality_condition(y_pred["quality"])
        error = ops.mean(self._patch_errors(x, restored, step), axis=(1, 2))
        step = step[:, 0, 0, 0]
        weight = ops.sqrt(step * 255) / 5
        scaled = weight * (bpp + error / (LAGRANGE * step**2))
        self._track(bpp, x, restored)
        self.trackers["lagrangian"].update_state(scaled)
        smooth = weight * y_pred["smooth_bits"] / pixels
        return ops.mean(scaled + smooth) + y_pred["attention_loss"] + sum(self.losses)

    def _patch_errors(self, x: Tensor, restored: Tensor, step: Tensor) -> Tensor:
        """The error that each patch of 16 pixels is judged by, (batch, h/16, w/16).

        Per pixel, the three channels summed. `step` is (batch, 1, 1, 1).
        """
        smooth = 3 * losses.patch_means((x - restored) ** 2)
        if self.textured_loss == "mse":
            return smooth
        if self.textured_loss == "ssim":
            structural = losses.patch_means(1 - losses.ssim_map(x, restored))
        else:
            structural = losses.patch_means(losses.edge_map(x, restored))
        # The structural term counts less where the step is coarse, as squared error does not.
        weight = self.structure * LAGRANGE * (25 / 255) ** 1.2 * step[..., 0] ** 0.8
        switch = losses.textured(x, self.threshold)
        rich = self.mse_share * smooth + weight * structural
        return (1 - switch) * smooth + switch * rich

    def _track(self, bpp: Tensor, x: Tensor, restored: Tensor) -> None:
        mse = ops.maximum(ops.mean((x - restored) ** 2, axis=(1, 2, 3)), 1e-10)
        self.trackers["bpp"].update_state(bpp)
        self.trackers["psnr"].update_state(-10 * ops.log10(mse))
        self.trackers["ssim"].update_state(ops.mean(losses.ssim_map(x, restored)))

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [*super().metrics, *self.trackers.values()]

    def get_config(self) -> dict[str, Any]:
        shape = ("width", "blocks", "prior_width", "resolutions", "encoder_blocks", "refinement")
        objective = ("textured_loss", "mse_share", "structure", "threshold")
        config = super().get_config()
        config.pop("dtype", None)
        own = (*shape, *objective, "seed", "block_dtype")
        own_values = {name: getattr(self, name) for name in own}
        return {**config, **own_values, "attention": self.routes}
