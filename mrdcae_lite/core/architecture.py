"""The shape of a model: its hyperparameters, and one table of all its arrays.

Training builds its variables from this table, a codec file is checked against it, and the cost of
decoding is counted with it. Names are those in a codec file. Stages of the transform are numbered
from fine to coarse (`analysis0` works on pixels), levels from coarse to fine (`gain0` belongs to
the low level, which public functions call level 1).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mrdcae_lite.core import pyramid
from mrdcae_lite.core.pyramid import DEBLOCKING_TAPS, PATCH
from mrdcae_lite.core.quality import QUALITIES

MAX_CONTEXT_WIDTH = 96
"""Channels that the context model's state may have: of more, a sum of products could pass 2**24."""


class ArraySpec(NamedTuple):
    """One array of a model.

    Attributes:
        name: in the codec file, below `transforms/` or `prior/`.
        shape: in the codec file.
        uses: multiply-accumulates with each of its numbers in decoding, per pixel.
        places: fractional bits, if it holds fixed-point integers; else None.
        per_quality: it has one row a quality, along its last axis but one; training has four, for
            the features of the quality.
    """

    name: str
    shape: tuple[int, ...]
    uses: float = 0.0
    places: int | None = None
    per_quality: bool = False

    @property
    def dtype(self) -> str:
        """Type in the codec file: float16 of the networks, int8 or int32 of the context model."""
        if self.places is None:
            return "float16"
        return "int32" if self.per_quality else "int8"

    @property
    def trained_shape(self) -> tuple[int, ...]:
        """Shape of the variable in training: four features in the place of all qualities."""
        return (*self.shape[:-2], 4, self.shape[-1]) if self.per_quality else self.shape


@dataclass(frozen=True)
class Architecture:
    """The hyperparameters that decide the shapes of a model's arrays.

    Args:
        width: channels of the residual blocks and of deblocking.
        blocks: residual blocks per grid of the decoder.
        prior_width: channels of the context model's state, at most `MAX_CONTEXT_WIDTH`.
        resolutions: encoder pathways, 3 or 1.
        attention: whether patches are routed; needs three resolutions.
        encoder_blocks: residual blocks per grid of the encoder.

    Raises:
        ValueError: for an impossible combination.
    """

    width: int = 128
    blocks: int = 2
    prior_width: int = 96
    resolutions: int = 3
    attention: bool = True
    encoder_blocks: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("width", 1, None),
            ("blocks", 1, None),
            ("prior_width", 1, MAX_CONTEXT_WIDTH),
            ("encoder_blocks", 0, None),
        ):
            value = getattr(self, name)
            if type(value) is not int or value < least or (most and value > most):
                limit = f"from {least} to {most}" if most else f"of at least {least}"
                raise ValueError(f"{name} must be a whole number {limit}. Received: {value!r}.")
        if type(self.resolutions) is not int or self.resolutions not in (1, 3):
            raise ValueError(
                f"resolutions must be 1 or 3. Received: resolutions={self.resolutions!r}."
            )
        if type(self.attention) is not bool or (self.attention and self.resolutions == 1):
            raise ValueError(
                "attention must be True or False, and False with a single resolution. "
                f"Received: attention={self.attention!r}, resolutions={self.resolutions}."
            )

    @property
    def levels(self) -> tuple[pyramid.Level, ...]:
        """The levels, coarse to fine: the public level n is at index n - 1."""
        return pyramid.levels(self.resolutions)

    @property
    def encoder_halo(self) -> int:
        """Patches around a place that cover the receptive field of latents and scores."""
        pixels = self.encoder_blocks * 8 * ((1 << self.resolutions) - 1)
        return max(-(-pixels // PATCH), 3 if self.attention else 0)

    @property
    def decoder_halo(self) -> int:
        """Patches around a place that cover the receptive field of its pixels."""
        pixels = (self.correction_halos()[0] + 1) * self.levels[0].stride
        return -(-pixels // PATCH)

    def correction_halos(self) -> list[int]:
        """Cells around a place whose residual corrections it depends on, by level.

        Every block looks one cell further than the one after it, and deblocking further still:
        4 cells at each level of the shipped `lite`, which makes 5 patches in `decoder_halo`.
        """
        halos: list[int] = []
        needed = self.resolutions  # deblocking: less than a cell of 8 for each kind of edge
        for _ in range(self.resolutions):
            halos.insert(0, needed + self.blocks - 1)
            needed = -(-(needed + self.blocks) // 2)
        return halos

    def transform_arrays(self) -> Iterator[ArraySpec]:
        """All float arrays: analysis, synthesis, gains, deblocking, attention."""
        for side, blocks in (("analysis", self.encoder_blocks), ("synthesis", self.blocks)):
            for stage in range(self.resolutions):
                uses = (8 << stage) ** -2 if side == "synthesis" else 0.0
                yield ArraySpec(f"{side}{stage}/offset", (192, 192), uses)
                for number in range(blocks):
                    yield from self._residual_block(f"{side}{stage}_block{number}", uses)
        for number, level in enumerate(self.levels):
            for gain in ("gain", "inverse_gain"):
                yield ArraySpec(f"{gain}{number}/curve", (4, len(level.bands)))
        for number, (period, _) in enumerate(pyramid.block_edges(self.resolutions)):
            yield from self._deblocking(f"deblocking{number}", 2 / period)
        if self.attention:
            yield from _attention()

    def _residual_block(self, path: str, uses: float) -> Iterator[ArraySpec]:
        yield from _dense(f"{path}/enter", (384, self.width), uses)
        yield from _dense(f"{path}/mix", (3, 3, self.width, self.width), uses)
        yield from _dense(f"{path}/leave", (self.width, 192), uses)
        yield from _dense(f"{path}/film", (4, 2 * self.width))

    def _deblocking(self, path: str, uses: float) -> Iterator[ArraySpec]:
        values = 6 * DEBLOCKING_TAPS  # of three colours, on both sides of an edge
        yield from _dense(f"{path}/enter", (1, 3, values, self.width), uses)
        yield from _dense(f"{path}/mix", (self.width, self.width), uses)
        yield from _dense(f"{path}/leave", (self.width, values), uses)
        yield from _dense(f"{path}/film", (4, self.width))

    def context_arrays(self) -> Iterator[ArraySpec]:
        """All integer arrays: the context model. Weights are int8, curves int32."""
        n, finest = self.prior_width, self.resolutions - 1
        yield ArraySpec("start", (QUALITIES, n), places=12, per_quality=True)
        for number, level in enumerate(self.levels):
            uses = level.stride**-2
            for group, size in enumerate(level.groups):
                path = f"level{number}_group{group}"
                yield ArraySpec(f"{path}_update", (3, 3, size, n), uses, 8)
                yield ArraySpec(f"{path}_hidden", (n, n), uses, 7)
                yield ArraySpec(
                    f"{path}_hidden_bias", (2, QUALITIES, n), places=11, per_quality=True
                )
                yield ArraySpec(f"{path}_index", (n, size), uses, 7)
                yield ArraySpec(
                    f"{path}_index_bias", (QUALITIES, size), places=11, per_quality=True
                )
            if number < finest:
                path = f"level{number}"
                yield ArraySpec(f"{path}_mix", (3, 3, n, n), uses, 8)
                yield ArraySpec(f"{path}_mix_bias", (QUALITIES, n), places=12, per_quality=True)
                yield ArraySpec(f"{path}_up", (n, 4 * n), uses, 8)
                yield ArraySpec(f"{path}_up_bias", (QUALITIES, 4 * n), places=12, per_quality=True)


def _attention() -> Iterator[ArraySpec]:
    yield from _dense("attention/enter", (192, 32))
    yield from _dense("attention/film", (4, 32))
    for layer in ("halve", "quarter", "surround"):
        yield from _dense(f"attention/{layer}", (3, 3, 32, 32))
    yield from _dense("attention/score", (32, 1))
    yield ArraySpec("attention/spread", ())


def _dense(path: str, kernel: tuple[int, ...], uses: float = 0.0) -> Iterator[ArraySpec]:
    """Kernel and bias of a dense layer or a convolution."""
    yield ArraySpec(f"{path}/kernel", kernel, uses)
    yield ArraySpec(f"{path}/bias", kernel[-1:])
