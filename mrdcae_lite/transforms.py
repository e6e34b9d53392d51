"""The networks at run time, in NumPy: analysis, attention and synthesis of a frozen model.

`model.MRDCAE` is the same in the form that trains; a test holds the two together. Here there is
no batch: grids are (rows, columns, channels). What the quality decides is multiplied into the
weights once a picture, and a residual block computes its correction only at the places that
need it, gathered into a list: medium and high cost nothing where attention switched them off.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite import pyramid
from mrdcae_lite.patches import depth_to_space, space_to_depth
from mrdcae_lite.prior import ALL_TAPS, WIDEST, Sites
from mrdcae_lite.prior import shapes as prior_shapes
from mrdcae_lite.quality import quality_features, quantisation_step

Grid = NDArray[np.float32]
Mask = NDArray[np.bool_]

_ROWS = 512
"""Sites whose neighbourhoods are multiplied at a time: they stay in the processor's cache."""


class Architecture(NamedTuple):
    """The arguments of `model.MRDCAE` that its weights depend on."""

    width: int = 128
    blocks: int = 2
    prior_width: int = 96
    resolutions: int = 3
    attention: bool = True
    encoder_blocks: int = 0
    refinement: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Architecture":
        """From what a codec file says; raises `ValueError` if that is impossible."""
        found = cls(**config)
        sizes = found.width, found.prior_width, found.resolutions
        blocks = found.blocks, found.encoder_blocks, found.refinement
        whole = all(type(number) is int for number in (*sizes, *blocks))
        if (
            not whole
            or min(*sizes, *(count + 1 for count in blocks)) < 1
            or found.prior_width > WIDEST
            or found.resolutions not in (1, 2, 3, 4)
            or type(found.attention) is not bool
        ):
            raise ValueError(f"impossible architecture {dict(config)}")
        return found

    @property
    def encoder_reach(self) -> int:
        """Patches around a place that its latents or its score depend on."""
        pixels = self.encoder_blocks * 8 * (2**self.resolutions - 1)
        return max(-(-pixels // pyramid.PATCH), 3 if self.attention else 0)

    @property
    def decoder_reach(self) -> int:
        """Patches around a place that its pixels depend on."""
        return -(-(self.margin + 1) * 8 // pyramid.PATCH)

    @property
    def margin(self) -> int:
        """Cells of the finest grid around a place that must be corrected, or known, with it.

        Every block looks one cell further than the one after it, and deblocking further still: 7
        pixels across and 1 along each kind of border. Refinement looks two cells of 4 pixels far.
        """
        return self.resolutions + bool(self.refinement) + max(self.blocks - 1, 0)

    def multiplications(self) -> float:
        """Multiply-accumulates a pixel to decode all levels where all are on.

        Each weight of a matrix is used once in every cell of its grid; where a level is off, and
        at the borders of a picture, some are left out.
        """
        coarsest = 8 * 2 ** (self.resolutions - 1)  # pixels, the stride of level 0
        total = 0.0
        for name, shape in prior_shapes(self.prior_width, self.resolutions).items():
            if name != "start" and not name.endswith("_bias"):
                level = int(name[len("level")])
                total += np.prod(shape) / (coarsest >> level) ** 2
        for name, shape in self.shapes().items():
            side, kind = name.split("/", 1)
            if side.startswith("synthesis") and not kind.endswith("bias") and "film" not in kind:
                total += np.prod(shape) / 8**2
            elif side.startswith("deblocking") and kind.endswith("kernel") and "film" not in kind:
                period, _ = pyramid.borders(self.resolutions)[int(side[len("deblocking")])]
                total += np.prod(shape) * 2 / period
            elif side == "refinement" and kind.endswith("kernel") and "film" not in kind:
                total += np.prod(shape) / pyramid.CELL**2
        total += sum(192**2 / (8 << step) ** 2 for step in range(self.resolutions))  # synthesis
        switched = range(pyramid.always_on(self.resolutions), self.resolutions)
        for level in switched:  # contrast gains: all coarser levels taken apart
            total += sum(192**2 / (coarsest >> above) ** 2 for above in range(level))
        return float(total)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each weight of the transforms and of attention, by name."""
        block = {
            "enter/kernel": (384, self.width),
            "enter/bias": (self.width,),
            "mix/kernel": (3, 3, self.width, self.width),
            "mix/bias": (self.width,),
            "leave/kernel": (self.width, 192),
            "leave/bias": (192,),
            "film/kernel": (4, 2 * self.width),
            "film/bias": (2 * self.width,),
        }
        shapes: dict[str, tuple[int, ...]] = {}
        grids = [f"analysis{step}" for step in range(self.resolutions)]
        shapes |= {f"{grid}/offset": (192, 192) for grid in grids}
        counts = [*((grid, self.encoder_blocks) for grid in grids), ("synthesis0", self.blocks)]
        for grid, blocks in counts:
            for number in range(blocks):
                path = f"{grid}_block{number}"
                shapes |= {f"{path}/{name}": shape for name, shape in block.items()}
        for number, level in enumerate(pyramid.levels(self.resolutions)):
            for curve in ("gain", "reconstruction"):
                shapes[f"{curve}{number}/curve"] = (4, len(level.bands))
        beside, width = 6 * pyramid.BESIDE, self.width
        border = {
            "enter/kernel": (1, 3, beside, width),
            "enter/bias": (width,),
            "film/kernel": (4, width),
            "film/bias": (width,),
            "mix/kernel": (width, width),
            "mix/bias": (width,),
            "leave/kernel": (width, beside),
            "leave/bias": (beside,),
        }
        for number in range(self.resolutions):
            path = f"deblocking{number}"
            shapes |= {f"{path}/{name}": shape for name, shape in border.items()}
        if self.refinement:
            width, cell = self.refinement, 3 * pyramid.CELL**2
            period = pyramid.cells_a_period(self.resolutions)
            parts: dict[str, tuple[int, ...]] = {
                "enter/kernel": (cell + 12, width),
                "film/kernel": (4, 2 * width),
                "film/bias": (2 * width,),
                "mix/kernel": (3, 3, width, width),
                "mix/bias": (width,),
                "leave/kernel": (width, cell),
                "leave/bias": (cell,),
                "place": (period, period, width),
            }
            shapes |= {f"refinement/{name}": shape for name, shape in parts.items()}
        if self.attention:
            convolution = {"kernel": (3, 3, 32, 32), "bias": (32,)}
            layers = {
                "enter": {"kernel": (192, 32), "bias": (32,)},
                "film": {"kernel": (4, 32), "bias": (32,)},
                **dict.fromkeys(("halve", "quarter", "surround"), convolution),
                "score": {"kernel": (32, 1), "bias": (1,)},
            }
            for layer, arrays in layers.items():
                shapes |= {f"attention/{layer}/{name}": shape for name, shape in arrays.items()}
            shapes["attention/spread"] = ()
        return shapes


class Transforms:
    """Frozen networks.

    Args:
        architecture: of the model.
        weights: by name, as `Architecture.shapes` lists them.
    """

    def __init__(self, architecture: Architecture, weights: Mapping[str, NDArray]) -> None:
        self.architecture = architecture
        self._weights = {name: array.astype(np.float32) for name, array in weights.items()}
        steps = range(architecture.resolutions)
        self._forward = [self._kernel(n) for n in steps]
        self._backward = [_inverse(kernel) for kernel in self._forward]
        self._energy = self._energies()
        self._at = lru_cache(maxsize=4)(self._at_quality)

    def _kernel(self, step: int) -> Grid:
        basis = pyramid.basis(step, coarsest=step == self.architecture.resolutions - 1)
        return (
            basis.T.astype(np.float32) + np.float32(0.1) * self._weights[f"analysis{step}/offset"]
        )

    def _energies(self) -> list[Grid]:
        """Squared norm of what one of each channel adds to the picture, coarse to fine."""
        energies: list[Grid] = []
        gram: NDArray[Any] = np.eye(192)  # products of what two inputs of a step add
        for step, backward in enumerate(self._backward):
            gram = backward @ gram @ backward.T
            coarsest = step == len(self._backward) - 1
            own = np.diag(gram)[0 if coarsest else pyramid.CARRIED :]
            energies.insert(0, own.astype(np.float32))
            gram = np.kron(np.eye(4), gram[: pyramid.CARRIED, : pyramid.CARRIED])
        return energies

    def _at_quality(self, quality: int) -> "_Settings":
        return _Settings(self.architecture, self._weights, quality)

    # --- encoder ----------------------------------------------------------------------------

    def analyse(self, image: Grid, quality: int) -> tuple[list[Grid], Grid | None]:
        """Latents of all levels in quantisation steps, coarse to fine, and attention logits.

        Args:
            image: float32 (height, width, 3) in [0, 1], sides multiples of 32.
            quality: 0 to 100.

        Returns grids (height/stride, width/stride, channels), and (height/32, width/32) logits,
        or None for a model without attention.
        """
        at = self._at(quality)
        grid = space_to_depth(image - np.float32(0.5), 8) @ (self._forward[0] / at.step)
        logits = self._attend(grid, at) if self.architecture.attention else None
        details: list[Grid] = []
        for scale, kernel in enumerate([*self._forward[1:], None]):
            everywhere = np.ones(grid.shape[:2], bool)
            self._correct(grid, everywhere, at.blocks["analysis", scale])
            if kernel is not None:
                details.insert(0, grid[..., pyramid.CARRIED :])
                grid = space_to_depth(grid[..., : pyramid.CARRIED], 2) @ kernel
        pairs = zip([grid, *details], at.gains, strict=True)
        return [y * gain for y, gain in pairs], logits

    def thresholds(self) -> tuple[float, float]:
        """Saliency scores above which a patch is given the medium and the high level."""
        spread = float(self._weights["attention/spread"])
        return 1 / (1 + np.exp(spread)), 1 / (1 + np.exp(-spread))

    def _attend(self, blocks: Grid, at: "_Settings") -> Grid:
        hidden = np.log1p(abs(blocks)) @ self._weights["attention/enter/kernel"]
        hidden = np.maximum(hidden + at.attention_bias, 0)  # (h/8, w/8, 32)
        for name, stride in (("halve", 2), ("quarter", 2), ("surround", 1)):
            kernel = self._weights[f"attention/{name}/kernel"]
            bias = self._weights[f"attention/{name}/bias"]
            hidden = np.maximum(_convolve(hidden, kernel, stride) + bias, 0)
        score = hidden @ self._weights["attention/score/kernel"]
        return (score + self._weights["attention/score/bias"])[..., 0]

    def contrast_gain(self, coarser: list[Grid], quality: int) -> Grid:
        """What the latents of the level after `coarser` are multiplied by before rounding.

        Args:
            coarser: the levels before it, coarse to fine, as `dequantise` returns them.
            quality: 0 to 100.

        Returns factors (height/stride, width/stride, 1), or (1, 1, 1) for levels always on.
        """
        if len(coarser) < pyramid.always_on(self.architecture.resolutions):
            return np.ones((1, 1, 1), np.float32)
        step = float(self._at(quality).step)
        return pyramid.contrast_gain(coarser, step, self.architecture.resolutions)

    def dequantise(self, symbols: NDArray, coarser: list[Grid], quality: int) -> Grid:
        """A level in quantisation steps, from its symbols and the levels before it."""
        at, level = self._at(quality), len(coarser)
        restored = symbols - np.sign(symbols) * at.shifts[level]
        return restored / at.gains[level] / self.contrast_gain(coarser, quality)

    def worth(self, quality: int) -> list[Grid]:
        """Squared error in the picture, in steps, of an error of one in each channel of a level.

        Where the usual contrast is; elsewhere it counts as the contrast lets it count.
        """
        pairs = zip(self._energy, self._at(quality).gains, strict=True)
        return [energy / gain**2 for energy, gain in pairs]

    # --- decoder ----------------------------------------------------------------------------

    def synthesise(self, symbols: list[NDArray], masks: list[Mask], quality: int) -> Grid:
        """Image in [0, 1] (not clipped) before deblocking, float32 (height, width, 3).

        Args:
            symbols: of all levels, coarse to fine, zero where switched off.
            masks: (height/stride, width/stride) of each level: where it is on. Where the finest
                is not, the residual blocks are not computed.
            quality: 0 to 100.
        """
        at = self._at(quality)
        scaled: list[Grid] = []
        for k in symbols:
            scaled.append(self.dequantise(k, scaled, quality))
        grid = scaled[0]
        for backward, detail in zip(self._backward[:0:-1], scaled[1:], strict=True):
            grid = np.concatenate([depth_to_space(grid @ backward, 2), detail], axis=-1)
        self._correct(grid, masks[-1], at.blocks["synthesis", 0])
        return depth_to_space(grid @ (self._backward[0] * at.step), 8) + np.float32(0.5)

    def deblock(self, image: Grid, quality: int) -> None:
        """Correct the pixels at the borders of blocks, and refine all of them, in place.

        Args:
            image: as `synthesise` returns it, or a part of that which starts at a patch.
            quality: 0 to 100.
        """
        for number, border in enumerate(pyramid.borders(self.architecture.resolutions)):
            for view in (image, image.swapaxes(0, 1)):
                self._deblock_rows(view, border, f"deblocking{number}", self._at(quality))
        if self.architecture.refinement:
            self._refine(image, self._at(quality))

    def _refine(self, image: Grid, at: "_Settings") -> None:
        """Add what the refinement says, in place, a few rows of cells at a time for the cache."""
        cell, width = pyramid.CELL, self.architecture.refinement
        rows, columns = image.shape[0] // cell, image.shape[1] // cell
        mean = image.reshape(rows, cell, columns, cell, 3).mean(axis=(1, 3))
        wide = np.pad(mean, ((1, 1), (1, 1), (0, 0)), mode="edge")
        hidden = np.zeros((rows + 2, columns + 2, width), np.float32)
        for first in range(0, rows, _STRIP):
            part = slice(first, min(first + _STRIP, rows))
            hidden[1:-1, 1:-1][part] = self._seen(image, mean, wide, part, at)
        three = np.lib.stride_tricks.sliding_window_view(
            hidden.reshape(rows + 2, -1), 3 * width, axis=1
        )[:, ::width]  # what lies beside one another as one vector
        for first in range(0, rows, _STRIP):
            last = min(first + _STRIP, rows)
            around = np.stack([three[first + v : last + v] for v in range(3)], axis=2)
            mixed = around.reshape(-1, 9 * width) @ at.refine["mix"]
            mixed += at.refine["mix_bias"]
            change = np.maximum(mixed, 0, out=mixed) @ at.refine["leave"]
            change += at.refine["leave_bias"]
            change = depth_to_space(change.reshape(last - first, columns, -1), cell)
            image[first * cell : last * cell] += change

    def _seen(self, image: Grid, mean: Grid, wide: Grid, part: slice, at: "_Settings") -> Grid:
        """Hidden layer of some rows of cells; `wide` is `mean` with a border of one."""
        cell, place = pyramid.CELL, self._weights["refinement/place"]
        own = space_to_depth(image[part.start * cell : part.stop * cell], cell)
        mean = mean[part]
        rows, columns = mean.shape[:2]
        x = np.empty((rows, columns, own.shape[2] + 12), np.float32)
        np.subtract(
            own.reshape(rows, columns, -1, 3),
            mean[:, :, None],
            out=x[..., :-12].reshape(rows, columns, -1, 3, copy=False),
        )
        near = wide[part.start : part.stop + 2]
        beside = (near[:-2, 1:-1], near[2:, 1:-1], near[1:-1, :-2], near[1:-1, 2:])
        for number, other in enumerate(beside):
            first = own.shape[2] + 3 * number
            np.subtract(other, mean, out=x[..., first : first + 3])
        size = abs(x)
        size *= 4 / at.step
        size += 1
        np.copysign(np.log(size, out=size), x, out=x)
        hidden = x.reshape(-1, x.shape[2]) @ at.refine["enter"]
        where = [np.arange(n) % len(place) for n in (part.stop, columns)]
        hidden = hidden.reshape(rows, columns, -1)
        hidden += place[where[0][part.start :]][:, where[1]] + at.refine["shift"]
        return np.maximum(hidden, 0, out=hidden)

    def _deblock_rows(
        self, image: Grid, border: tuple[int, int], name: str, at: "_Settings"
    ) -> None:
        """Correct the pixels above and below borders between rows of blocks, in place."""
        weights, beside = self._weights, pyramid.BESIDE
        enter = weights[f"{name}/enter/kernel"].reshape(3 * 6 * beside, -1)
        enter_bias = weights[f"{name}/enter/bias"] + at.film(f"{name}/film")
        mix, mix_bias = (weights[f"{name}/mix/{part}"] for part in ("kernel", "bias"))
        leave, leave_bias = (weights[f"{name}/leave/{p}"] * at.step for p in ("kernel", "bias"))
        period, first = border
        width = image.shape[1]
        around = np.zeros((width, 3, 6 * beside), np.float32)  # what is before, here and after
        for row in range(first, len(image), period):  # one at a time: it stays in the cache
            near = image[row - beside : row + beside].swapaxes(0, 1)  # (width, 8, 3)
            middle = (near[:, beside - 1] + near[:, beside])[:, None] / 2
            x = (near - middle).reshape(width, -1)
            x = np.copysign(np.log(1 + abs(x) * (4 / at.step)), x)
            around[1:, 0], around[:, 1], around[:-1, 2] = x[:-1], x, x[1:]
            hidden = around.reshape(width, -1) @ enter
            hidden += enter_bias
            hidden = np.maximum(hidden, 0, out=hidden) @ mix
            hidden += mix_bias
            change = np.maximum(hidden, 0, out=hidden) @ leave + leave_bias
            near += change.reshape(near.shape)

    @staticmethod
    def _correct(grid: Grid, mask: Mask, blocks: "list[_Block]") -> None:
        """Add the corrections of residual blocks to `grid` where `mask` is set."""
        if not blocks or not mask.any():
            return
        sites, seen = Sites.of(mask), np.nonzero(_grown(mask))
        width = grid.shape[1] + 2
        places = (seen[0] + 1) * width + seen[1] + 1
        around = sites.neighbours(ALL_TAPS, slice(None))
        for block in blocks:
            x = grid[seen]
            logarithm = np.copysign(np.log1p(abs(x)), x)
            hidden = logarithm @ block.enter_log + x @ block.enter_linear + block.enter_bias
            bordered = np.zeros((sites.size, hidden.shape[1]), np.float32)
            bordered[places] = np.maximum(hidden, 0)
            change = np.empty((len(around), grid.shape[2]), np.float32)
            for first in range(0, len(around), _ROWS):
                part = slice(first, first + _ROWS)
                near = bordered[around[part]].reshape(-1, len(block.mix))
                mixed = np.maximum(near @ block.mix + block.mix_bias, 0)
                change[part] = mixed @ block.leave + block.leave_bias
            grid[sites.rows, sites.columns] += change


class _Block(NamedTuple):
    """A residual block at one quality; matrices map rows of channels."""

    enter_log: Grid
    enter_linear: Grid
    enter_bias: Grid
    mix: Grid
    mix_bias: Grid
    leave: Grid
    leave_bias: Grid


class _Settings:
    """The weights that depend on the quality, at one quality."""

    def __init__(
        self, architecture: Architecture, weights: Mapping[str, Grid], quality: int
    ) -> None:
        self.step = np.float32(quantisation_step(quality))
        self._weights, self._features = weights, quality_features(quality)
        last = architecture.resolutions - 1
        self.blocks = {
            (side, scale): [
                self._block(
                    f"{side}{scale}_block{number}",
                    pyramid.typical_std(pyramid.bands(coarsest=scale == last), 8 * 2**scale),
                )
                for number in range(blocks)
            ]
            for side, scale, blocks in (
                *(("analysis", n, architecture.encoder_blocks) for n in range(last + 1)),
                ("synthesis", 0, architecture.blocks),
            )
        }
        numbers = range(architecture.resolutions)
        self.gains = [self._gain(f"gain{n}") for n in numbers]
        self.shifts = [self._features @ weights[f"reconstruction{n}/curve"] for n in numbers]
        if architecture.attention:
            self.attention_bias = weights["attention/enter/bias"] + self.film("attention/film")
        if architecture.refinement:
            self.refine = self._refinement()

    def film(self, name: str) -> Grid:
        kernel, bias = self._weights[f"{name}/kernel"], self._weights[f"{name}/bias"]
        return self._features @ kernel + bias

    def _refinement(self) -> dict[str, Grid]:
        """Weights of the refinement as matrices, with the step in the last layer."""
        scale, shift = np.split(self.film("refinement/film"), 2)
        weights = {
            part: self._weights[f"refinement/{part}/kernel"] for part in ("enter", "mix", "leave")
        }
        width = len(scale)
        return {
            "enter": weights["enter"] * (1 + scale),
            "shift": shift,
            "mix": weights["mix"].reshape(9 * width, width),
            "mix_bias": self._weights["refinement/mix/bias"],
            "leave": weights["leave"] * self.step,
            "leave_bias": self._weights["refinement/leave/bias"] * self.step,
        }

    def _gain(self, name: str) -> Grid:
        return np.exp(self._features @ self._weights[f"{name}/curve"])

    def _block(self, name: str, typical: NDArray[np.float64]) -> _Block:
        scale, shift = np.split(self.film(f"{name}/film"), 2)
        enter = self._weights[f"{name}/enter/kernel"] * (1 + scale)
        relative = (self.step / typical).astype(np.float32)
        width = enter.shape[1]
        return _Block(
            enter[:192],
            enter[192:] * relative[:, None],
            self._weights[f"{name}/enter/bias"] * (1 + scale) + shift,
            self._weights[f"{name}/mix/kernel"].reshape(9 * width, width),
            self._weights[f"{name}/mix/bias"],
            self._weights[f"{name}/leave/kernel"],
            self._weights[f"{name}/leave/bias"],
        )


_STRIP = 4
"""Rows of cells that are refined at a time."""


def _inverse(kernel: Grid) -> Grid:
    return np.linalg.inv(kernel.astype(np.float64)).astype(np.float32)


def _grown(mask: Mask) -> Mask:
    """`mask` and all eight neighbours of its places."""
    wide = np.pad(mask, 1)
    wide = wide[:-2] | wide[1:-1] | wide[2:]
    return wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]


def _convolve(x: Grid, kernel: Grid, stride: int) -> Grid:
    """3 x 3 convolution with zeros around; at stride 2 the extra border is below and right."""
    before = 1 if stride == 1 else 0
    padded = np.pad(x, ((before, 1), (before, 1), (0, 0)))
    rows, columns = x.shape[0] // stride, x.shape[1] // stride
    total = np.zeros((rows, columns, kernel.shape[-1]), np.float32)
    for v in range(3):
        for h in range(3):
            seen = padded[v : v + stride * rows : stride, h : h + stride * columns : stride]
            total += seen @ kernel[v, h]
    return total
