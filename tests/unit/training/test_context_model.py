import numpy as np
import pytest
from keras import ops

from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.core.quality import quality_features
from mrdcae_lite.training.context_model import (
    ContextModel,
    checkerboard,
    fixed_activation,
    fixed_point,
)

SYMBOLS = [(2, 1, 2, 192), (2, 2, 4, 144), (2, 4, 8, 144), (2, 8, 16, 144)]
ALONE = [(2, 4, 8, 192)]


def predicted(layer, symbols):
    """Table indices at quality 50, all levels on."""
    masks = [np.ones((*s.shape[:-1], 1), np.float32) for s in symbols[1:]]
    condition = quality_features(np.array([50, 50]))
    return [ops.convert_to_numpy(x) for x in layer(symbols, masks, condition)]


def disturb(layer, rng):
    """Move weights off their start."""
    for weight in layer.trainable_variables:
        weight.assign_add(rng.normal(0, 0.05, weight.shape).astype(np.float32))


def test_indices_are_whole_numbers_of_tables(rng):
    layer = ContextModel(24)
    disturb(layer, rng)
    symbols = [np.rint(rng.normal(0, 0.5, shape)).astype(np.float32) for shape in SYMBOLS]
    seen = np.concatenate([index.ravel() for index in predicted(layer, symbols)])
    np.testing.assert_array_equal(seen, np.rint(seen))
    assert seen.min() >= 0
    assert seen.max() <= 63
    assert len(np.unique(seen)) > 4


@pytest.mark.parametrize("shapes", [SYMBOLS, ALONE])
def test_before_training_large_symbols_are_expected_beside_and_below_large_ones(shapes):
    layer = ContextModel(96, len(shapes))
    quiet = [np.zeros(shape, np.float32) for shape in shapes]
    loud = [np.full_like(quiet[0], 40), *quiet[1:]]
    calm, alert = predicted(layer, quiet), predicted(layer, loud)
    for before, after in zip(calm, alert, strict=True):
        assert after.mean() > before.mean() + 0.5
    # The anchors of the first group are predicted before anything is known.
    first = layer.levels[0].groups[0]
    np.testing.assert_array_equal(calm[0][:, ::2, ::2, :first], alert[0][:, ::2, ::2, :first])


def test_every_array_of_the_table_is_frozen_in_its_shape_and_comes_back(rng):
    """Kernels as they were frozen, curves up to their rounding at the 101 qualities."""
    layer, conditions = ContextModel(24), quality_features(np.arange(101))
    disturb(layer, rng)
    frozen = layer.freeze(conditions)
    table = Architecture(prior_width=24).context_arrays()
    assert {n: (a.shape, a.dtype.name) for n, a in frozen.items()} == {
        spec.name: (spec.shape, spec.dtype) for spec in table
    }
    twin = ContextModel(24)
    twin.load_frozen_weights(frozen, conditions)
    for name, array in twin.freeze(conditions).items():
        assert abs(array.astype(int) - frozen[name]).max() <= (array.dtype == np.int32), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 97}, "prior_width must be a whole number from 1 to 96"),
        ({"resolutions": 5}, "resolutions must be a whole number from 1 to 4"),
    ],
)
def test_an_impossible_context_model_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ContextModel(**options)


def test_fixed_point_numbers_are_multiples_within_the_limit():
    x = np.array([-9, -0.3, 0.001, 0.3, 9], np.float32)
    found = ops.convert_to_numpy(fixed_point(x, 7, 127 / 128)) * 128
    np.testing.assert_array_equal(found, [-127, -38, 0, 38, 127])
    found = ops.convert_to_numpy(fixed_activation(x)) * 16
    np.testing.assert_array_equal(found, [0, 0, 0, 5, 127])


def test_a_checkerboard_starts_with_an_anchor_and_alternates():
    board = checkerboard(2, 3)[0, :, :, 0]
    np.testing.assert_array_equal(board, [[1, 0, 1], [0, 1, 0]])
