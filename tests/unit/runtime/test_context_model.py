"""The context model three times over: training form, run-time form, and a slow exact reference."""

from itertools import pairwise

import numpy as np
import pytest

from mrdcae_lite.coding.entropy import laplace_tables
from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.core.pyramid import level_masks, levels
from mrdcae_lite.core.quality import quality_features
from mrdcae_lite.runtime.context_model import LOG_FEATURE, IntegerContextModel
from tests.golden.second_decoder import Machine

# The one magnitude whose logarithm float32 rounds to the other side (16 log 938 = 109.4999992).
DOUBTFUL = 937


# --- the machine of the second decoder: dense grids, int64, no cleverness


class Told:
    """In the place of all streams: gives known symbols, keeps the tables of all calls."""

    def __init__(self, symbols, masks, machine):
        self.symbols, self.found = symbols, [np.full(k.shape, 255, np.uint8) for k in symbols]
        self.places = (
            (number, mask & (np.indices(mask.shape).sum(axis=0) % 2 == phase), slice(first, last))
            for number, (mask, (_, groups)) in enumerate(zip(masks, machine.levels, strict=True))
            for first, last in pairwise(np.cumsum([0, *groups]))
            for phase in (0, 1)
        )


class ToldMachine(Machine):
    def read(self, coder, tables):
        number, *place = next(coder.places)
        coder.found[number][tuple(place)] = tables
        return coder.symbols[number][tuple(place)]


def reference_indices(weights, quality, routing, symbols):
    """Table index of every symbol; 255 where there is none."""
    arrays = {f"prior/{name}": array for name, array in weights.items()}
    arrays["tables"] = laplace_tables().pack()
    machine = ToldMachine(arrays, len(symbols), quality)
    told = Told(symbols, level_masks(routing, len(symbols)), machine)
    machine.run(routing, [told] * 3)
    return told.found


# --- material


def architecture_of(width, resolutions):
    return Architecture(resolutions, attention=False, prior_width=width)


def shapes(width, resolutions):
    return {spec.name: spec.shape for spec in architecture_of(width, resolutions).context_arrays()}


def is_bias(name):
    return name == "start" or name.endswith("_bias")


def random_weights(rng, width, resolutions, *, limits):
    """Integer weights: moderate ones, or all of them at their limits."""
    weights = {}
    for name, shape in shapes(width, resolutions).items():
        if is_bias(name):
            weights[name] = rng.integers(-(2**14), 2**14, shape, np.int32)
        elif limits:
            weights[name] = rng.choice(np.array([-127, 127, 127], np.int8), shape)
        else:
            weights[name] = rng.normal(0, 30, shape).clip(-127, 127).astype(np.int8)
    return weights


def random_symbols(rng, masks, scale):
    symbols = []
    for mask, level in zip(masks, levels(len(masks)), strict=True):
        shape = *mask.shape, len(level.bands)
        values = np.rint(rng.laplace(0, scale, shape)).astype(np.int32)
        values[abs(values) == DOUBTFUL] = 0
        symbols.append(values * mask[..., None])
    return symbols


def run_time_indices(weights, quality, masks, symbols):
    """Indices by the integer model on dense grids; 255 where there is nothing to code."""
    found = [np.full(values.shape, 255, np.uint8) for values in symbols]
    architecture = architecture_of(weights["start"].shape[1], len(symbols))
    for step in IntegerContextModel(architecture, weights).steps(quality, masks):
        assert (found[step.level][step.where] == 255).all()
        found[step.level][step.where] = step.indices
        step.symbols = symbols[step.level][step.where]
    return found


def assert_equal_where_on(found, expected, masks):
    for indices, wanted, mask in zip(found, expected, masks, strict=True):
        np.testing.assert_array_equal(indices[mask], wanted[mask])
        assert (indices[~mask] == 255).all()


# --- behaviour


@pytest.mark.parametrize("limits", [False, True])
@pytest.mark.parametrize("scale", [0.3, 8, 5000])
@pytest.mark.parametrize(("resolutions", "highest"), [(4, 3), (4, 1), (3, 3), (2, 2), (1, 1)])
def test_the_run_time_form_equals_the_slow_reference(limits, scale, resolutions, highest, rng):
    weights = random_weights(rng, 16, resolutions, limits=limits)
    routing = rng.integers(1, highest + 1, (4, 6), np.uint8)
    masks = level_masks(routing, resolutions)
    symbols = random_symbols(rng, masks, scale)
    expected = reference_indices(weights, 70, routing, symbols)
    found = run_time_indices(weights, 70, masks, symbols)
    assert_equal_where_on(found, expected, masks)


@pytest.mark.parametrize("sign", [-127, 127])
def test_the_largest_possible_sums_are_exact(sign, rng):
    weights = random_weights(rng, 96, 4, limits=True)
    for name, shape in shapes(96, 4).items():
        if name.endswith(("_update", "_mix")):
            weights[name] = np.full(shape, sign, np.int8)
        elif is_bias(name):
            weights[name] = np.full(shape, 2**18, np.int32)
    routing = np.full((6, 6), 3, np.uint8)
    masks = level_masks(routing, 4)
    symbols = [
        np.full((*mask.shape, len(level.bands)), 4000, np.int32)
        for mask, level in zip(masks, levels(4), strict=True)
    ]
    expected = reference_indices(weights, 0, routing, symbols)
    assert_equal_where_on(run_time_indices(weights, 0, masks, symbols), expected, masks)


@pytest.mark.parametrize(
    ("quality", "resolutions"), [(0, 4), (50, 4), (100, 4), (25, 3), (50, 2), (0, 1), (75, 1)]
)
def test_the_training_form_equals_the_run_time_form(quality, resolutions, rng):
    from mrdcae_lite.training.backend import keras
    from mrdcae_lite.training.context_model import ContextModel

    keras.utils.set_random_seed(quality)
    layer = ContextModel(16, resolutions)
    for variable in layer.trainable_variables:
        # Sixteenths, so that no bias depends on the order of its four additions; some weights
        # far beyond what fixed point can hold.
        wild = rng.choice([0.25, 1, 20], variable.shape)
        start = np.asarray(variable.value)
        variable.assign(np.rint((start + rng.normal(0, 0.1, variable.shape)) * wild * 256) / 256)
    weights = layer.freeze(quality_features(np.arange(101)))
    assert {name: array.shape for name, array in weights.items()} == shapes(16, resolutions)
    assert max(abs(weights["level0_group0_update"].astype(int)).ravel()) == 127
    masks = level_masks(rng.integers(1, 4, (2, 4)), resolutions)
    symbols = random_symbols(rng, masks, rng.choice([1, 50, 3000]))
    trained = layer(
        [s[None].astype(np.float32) for s in symbols],
        [m[None, ..., None].astype(np.float32) for m in masks[1:]],
        quality_features(quality)[None],
    )
    expected = [keras.ops.convert_to_numpy(indices)[0] for indices in trained]
    found = run_time_indices(weights, quality, masks, symbols)
    assert_equal_where_on(found, expected, masks)
    assert len(np.unique(found[-1])) > 8


# --- the logarithm


def test_the_logarithm_table_is_far_from_every_rounding_boundary():
    """Another library's log1p may differ in the last place; that must not change the table."""
    exact = 16 * np.log1p(np.arange(4096))
    below = exact[exact < 127]
    np.testing.assert_array_equal(LOG_FEATURE, np.minimum(np.rint(exact), 127))
    margin = abs(below - np.floor(below) - 0.5).min()
    assert margin > 1e6 * np.spacing(128.0)
