"""The shape of a model: its hyperparameters, and one table of all its arrays.

Training builds its variables from this table, a codec file is checked against it, and the cost of
decoding is counted with it. Names are those in a codec file. Stages of the transform are numbered
from fine to coarse (`analysis0` works on pixels), levels of the pyramid from coarse to fine
(`gain0` belongs to the coarsest).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mrdcae_lite.core import pyramid
from mrdcae_lite.core.pyramid import CELL, DEBLOCKING_TAPS, PATCH
from mrdcae_lite.core.quality import QUALITIES

MAX_CONTEXT_WIDTH = 96
"""Channels that the context model's state may have: of more, a sum of products could pass 2**24."""


ATTENTION_HALO = 2 * PATCH
"""Pixels beyond a patch that attention sees: two strided convolutions and one over patches."""


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
        resolutions: encoder pathways, 1 to 4: 1/8, 1/16, 1/32 and 1/64 of the picture's size.
        attention: whether patches are routed; needs more than one resolution.
        deblocking: channels of the deblocking filter, 0 for none.
        refinement: channels of the refinement filter, 0 for none.
        prior_width: channels of the context model's state, at most `MAX_CONTEXT_WIDTH`.

    Raises:
        ValueError: for an impossible combination.
    """

    resolutions: int = 4
    attention: bool = True
    deblocking: int = 64
    refinement: int = 64
    prior_width: int = 96

    def __post_init__(self) -> None:
        for name, least, most in (
            ("resolutions", 1, 4),
            ("deblocking", 0, None),
            ("refinement", 0, None),
            ("prior_width", 1, MAX_CONTEXT_WIDTH),
        ):
            value = getattr(self, name)
            if type(value) is not int or value < least or (most and value > most):
                limit = f"from {least} to {most}" if most else f"of at least {least}"
                raise ValueError(f"{name} must be a whole number {limit}. Received: {value!r}.")
        if type(self.attention) is not bool or (self.attention and self.resolutions == 1):
            raise ValueError(
                "attention must be True or False, and False with a single resolution. "
                f"Received: attention={self.attention!r}, resolutions={self.resolutions}."
            )

    @property
    def levels(self) -> tuple[pyramid.Level, ...]:
        """The levels of the pyramid, coarse to fine."""
        return pyramid.levels(self.resolutions)

    @property
    def highest(self) -> int:
        """The highest level of a patch: 3, or less with one or two resolutions."""
        return 1 + pyramid.section(self.resolutions - 1, self.resolutions)

    @property
    def unit(self) -> int:
        """Pixels a side that pictures are padded to multiples of."""
        return pyramid.unit(self.resolutions)

    @property
    def encoder_halo(self) -> int:
        """Pixels around a patch that its saliency score depends on."""
        return ATTENTION_HALO if self.attention else 0

    @property
    def decoder_halo(self) -> int:
        """Pixels around a place that what the filters make of it depends on, at most.

        Deblocking a kind of edge reaches across a block of 8 and one column further, and refinement
        across a cell, its neighbours and the means of theirs.
        """
        return 9 * self.resolutions * (self.deblocking > 0) + 12 * (self.refinement > 0)

    def transform_arrays(self) -> Iterator[ArraySpec]:
        """All float arrays: transforms, gains, reconstruction points, filters, attention."""
        for stage in range(self.resolutions):
            yield ArraySpec(f"analysis{stage}/offset", (192, 192), (8 << stage) ** -2)
        for number, level in enumerate(self.levels):
            yield ArraySpec(f"gain{number}/curve", (4, len(level.bands)))
            yield ArraySpec(f"reconstruction{number}/curve", (4, len(level.bands)))
        if self.deblocking:
            for number, (period, _) in enumerate(pyramid.block_edges(self.resolutions)):
                yield from _deblocking(f"deblocking{number}", self.deblocking, 2 / period)
        if self.refinement:
            yield from _refinement(self.refinement, self.unit // CELL)
        if self.attention:
            yield from _attention()

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


def _deblocking(path: str, width: int, uses: float) -> Iterator[ArraySpec]:
    values = 6 * DEBLOCKING_TAPS  # of three colours, on both sides of an edge
    yield from _dense(f"{path}/enter", (1, 3, values, width), uses)
    yield from _dense(f"{path}/mix", (width, width), uses)
    yield from _dense(f"{path}/leave", (width, values), uses)
    yield from _dense(f"{path}/film", (4, width))


def _refinement(width: int, period: int) -> Iterator[ArraySpec]:
    """A bias for every position of a cell among the block edges, which repeat after `period`."""
    values, uses = 3 * CELL**2, CELL**-2
    yield ArraySpec("refinement/enter/kernel", (values + 12, width), uses)
    yield ArraySpec("refinement/place", (period, period, width))
    yield from _dense("refinement/mix", (3, 3, width, width), uses)
    yield from _dense("refinement/leave", (width, values), uses)
    yield from _dense("refinement/film", (4, 2 * width))


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
