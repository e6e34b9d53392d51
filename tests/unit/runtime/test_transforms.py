"""The networks in NumPy against the Keras model that trains, and how far they look."""

import numpy as np
import pytest

from mrdcae_lite.core.architecture import Architecture
from mrdcae_lite.core.pyramid import level_masks
from mrdcae_lite.core.quality import quantisation_step
from mrdcae_lite.runtime.transforms import Transforms
from mrdcae_lite.training.backend import ops

BARE = {"deblocking": 0, "refinement": 0}
TWINS = {
    **{f"{n} resolutions": {"resolutions": n} for n in (4, 3, 2, 1)},
    "no attention": {"attention": False},
    "no filters": BARE,
    "deblocking alone": {"resolutions": 2, "refinement": 0},
    "refinement alone": {"resolutions": 3, "attention": False, "deblocking": 0},
}


def transforms_of(model):
    frozen = model.freeze()
    return Transforms(frozen.architecture, frozen.transform_weights)


@pytest.fixture(scope="module", params=TWINS.values(), ids=TWINS.keys())
def twins(request, tiny_model_with):
    """A Keras model and the same in NumPy."""
    model = tiny_model_with(**request.param)
    return model, transforms_of(model)


@pytest.fixture
def image(photograph):
    """Whole units of a photograph: float32 (128, 192, 3) in [0, 1]."""
    return photograph[:128, :192].astype(np.float32) / 255


def random_symbols(levels, rows, columns, rng):
    """Symbols of a place of so many patches, zero where a random routing switches them off."""
    masks = level_masks(rng.integers(1, 4, (rows, columns)), len(levels))
    shapes = [(*mask.shape, len(level.bands)) for mask, level in zip(masks, levels, strict=True)]
    drawn = [np.rint(rng.laplace(0, 2, shape)).astype(np.float32) for shape in shapes]
    return [y * mask[..., None] for y, mask in zip(drawn, masks, strict=True)]


# --- the same as in Keras


@pytest.mark.parametrize("quality", [0, 50, 100])
def test_the_analysis_is_that_of_the_model(twins, image, quality):
    model, transforms = twins
    expected, logits = model.analyse(image[None], np.array([quality], np.float32))
    found, scores = transforms.analyse(image, quality)
    for theirs, ours in zip(expected, found, strict=True):
        theirs = ops.convert_to_numpy(theirs)[0]
        # Offsets are rounded to float16 once more, a quarter of a thousandth of what they add.
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * abs(theirs).max(), rtol=1e-4)
        assert ours.dtype == np.float32
    if logits is None:
        assert scores is None
    else:
        np.testing.assert_allclose(scores, ops.convert_to_numpy(logits)[0], atol=2e-3)
        assert np.ptp(scores) > 1


@pytest.mark.parametrize("quality", [0, 50, 100])
def test_the_synthesis_and_the_filters_are_those_of_the_model(twins, quality, rng):
    model, transforms = twins
    symbols = random_symbols(transforms.architecture.levels, 8, 6, rng)
    qualities = np.array([quality], np.float32)
    expected = model.synthesise([k[None] for k in symbols], qualities)
    found = transforms.synthesise(symbols, quality)
    np.testing.assert_allclose(found, ops.convert_to_numpy(expected)[0], atol=1e-3)
    assert found.dtype == np.float32
    expected, filtered = model.filter(found[None], qualities), transforms.filter(found, quality)
    np.testing.assert_allclose(filtered, ops.convert_to_numpy(expected)[0], atol=5e-4)
    filters = transforms.architecture.deblocking + transforms.architecture.refinement > 0
    assert (abs(filtered - found).max() > 0.005) == filters
    assert filtered.dtype == np.float32


def test_thresholds_lie_symmetrically_about_one_half_by_the_spread_of_the_model(tiny_model):
    low, high = transforms_of(tiny_model).thresholds()
    spread = float(ops.convert_to_numpy(tiny_model.attention.spread))
    assert low == pytest.approx(1 / (1 + np.exp(spread)), rel=1e-3)  # float16 in between
    assert low + high == pytest.approx(1)


def test_two_resolutions_have_one_threshold(tiny_model_with):
    transforms = transforms_of(tiny_model_with(resolutions=2))
    (threshold,) = transforms.thresholds()
    logit = np.log(threshold / (1 - threshold)).astype(np.float32)
    _, levels = transforms.route(np.array([[logit - 0.01, logit + 0.01]]), (1, 2))
    np.testing.assert_array_equal(levels, [[1, 2]])


def test_the_arguments_are_not_changed(twins, image, rng):
    _, transforms = twins
    symbols = random_symbols(transforms.architecture.levels, 4, 6, rng)
    given = [image, *symbols]
    before = [array.copy() for array in given]
    transforms.analyse(image, 30)
    transforms.synthesise(symbols, 30)
    transforms.filter(image, 30)
    for array, expected in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, expected)


# --- the pair of analysis and synthesis


@pytest.mark.parametrize("quality", [0, 50, 100])
def test_synthesis_is_the_inverse_of_analysis(twins, image, quality, monkeypatch):
    """Of what is not rounded, so without reconstruction points."""
    transforms = twins[1]
    at = transforms.weights_at(quality)
    monkeypatch.setattr(at, "shifts", [0 * shift for shift in at.shifts])
    latents, _ = transforms.analyse(image, quality)
    scaled, decoded = [], []
    for number, y in enumerate(latents):
        gain = transforms.contrast_gain(decoded, quality)
        scaled.append(y * gain)
        decoded.append(transforms.dequantise(scaled[-1], number, gain, quality))
    np.testing.assert_allclose(transforms.synthesise(scaled, quality), image, atol=1e-4)


def test_a_symbol_is_restored_nearer_to_zero_by_the_shift_of_its_channel(twins):
    model, transforms = twins
    shifts = transforms.weights_at(70).shifts
    for number, (shift, level) in enumerate(
        zip(shifts, transforms.architecture.levels, strict=True)
    ):
        curve = ops.convert_to_numpy(model.reconstruction[number].curve)
        t = 70 / 50 - 1
        features = np.array([1, t, 2 * t**2 - 1, 4 * t**3 - 3 * t])
        np.testing.assert_allclose(shift, 0.1 * features @ curve, atol=1e-3)
        assert abs(shift).max() > 0.05
        gain = np.full((1, 1, 1), 0.5, np.float32)
        factor = transforms.weights_at(70).gains[number] * 0.5
        for symbol in (-3, 0, 1, 40):
            symbols = np.full((1, 1, len(level.bands)), symbol, np.int16)
            found = transforms.dequantise(symbols, number, gain, 70)[0, 0] * factor
            np.testing.assert_allclose(found, symbol - np.sign(symbol) * shift, rtol=1e-5)


def test_distortion_weights_are_the_squared_error_of_one_in_a_symbol(twins, rng, monkeypatch):
    """Measured: the synthesis with a single symbol moved, where all contrast gains are one."""
    transforms, quality = twins[1], 60
    levels = transforms.architecture.levels
    monkeypatch.setattr(transforms, "contrast_gain", lambda *_: np.ones((1, 1, 1), np.float32))
    symbols = [np.full((64 // lv.stride, 64 // lv.stride, len(lv.bands)), 2.0) for lv in levels]
    before = transforms.synthesise(symbols, quality).astype(np.float64)
    weights = transforms.distortion_weights(quality)
    for number, level in enumerate(levels):
        assert weights[number].shape == (len(level.bands),)
        for channel in rng.choice(len(level.bands), 3, replace=False):
            symbols[number][0, 0, channel] += 1
            change = transforms.synthesise(symbols, quality) - before
            symbols[number][0, 0, channel] -= 1
            error = (change**2).sum() / quantisation_step(quality) ** 2
            assert error == pytest.approx(weights[number][channel], rel=1e-3)


# --- how far they look


def test_what_lies_beyond_the_halo_changes_no_latent_and_no_score(twins, rng):
    transforms = twins[1]
    architecture = transforms.architecture
    unit = architecture.unit
    halo = -(-architecture.encoder_halo // unit) * unit  # in whole units, as tiles have it
    image = rng.random((unit, 2 * halo + 3 * unit, 3)).astype(np.float32)
    place = slice(unit + halo, 2 * unit + halo)
    other = 1 - image
    near = slice(place.start - architecture.encoder_halo, place.stop + architecture.encoder_halo)
    other[:, near] = image[:, near]
    (latents, scores), (changed, moved) = (transforms.analyse(x, 70) for x in (image, other))
    for y, new, level in zip(latents, changed, architecture.levels, strict=True):
        cells = slice(place.start // level.stride, place.stop // level.stride)
        np.testing.assert_allclose(new[:, cells], y[:, cells], atol=1e-4)
        assert (new[:, 0] != y[:, 0]).any()
    if scores is not None:
        patches = slice(place.start // 32, place.stop // 32)
        np.testing.assert_allclose(moved[:, patches], scores[:, patches], atol=1e-4)


def test_the_filters_look_beyond_a_unit_but_no_further_than_the_halo(twins, rng):
    transforms = twins[1]
    halo, unit = transforms.architecture.decoder_halo, transforms.architecture.unit
    image = rng.random((unit, 6 * unit, 3)).astype(np.float32)
    place = np.s_[:, 3 * unit : 4 * unit]
    expected = transforms.filter(image, 40)[place]
    differences = []
    for reach in (halo, 0):
        other = 1 - image
        near = np.s_[:, 3 * unit - reach : 4 * unit + reach]
        other[near] = image[near]
        differences.append(abs(transforms.filter(other, 40)[place] - expected).max())
    assert differences[0] < 1e-5
    assert halo == 0 or differences[1] > 1e-3


def test_a_part_is_filtered_like_the_whole_if_it_starts_at_a_unit(twins, rng):
    transforms = twins[1]
    unit = transforms.architecture.unit
    image = rng.random((4 * unit, 6 * unit, 3)).astype(np.float32)
    part = transforms.filter(image[unit:, unit : 5 * unit], 40)
    inner = transforms.filter(image, 40)[2 * unit : -unit, 2 * unit : -2 * unit]
    np.testing.assert_allclose(part[unit:-unit, unit:-unit], inner, atol=1e-5)


@pytest.mark.parametrize("sides", [(1, 1), (1, 3), (2, 1)], ids=str)
def test_the_smallest_pictures_are_filtered_as_by_the_model(tiny_model_with, sides, rng):
    model = tiny_model_with(resolutions=1)
    image = rng.random((32 * sides[0], 32 * sides[1], 3)).astype(np.float32)
    found = transforms_of(model).filter(image, 40)
    expected = model.filter(image[None], np.array([40], np.float32))
    np.testing.assert_allclose(found, ops.convert_to_numpy(expected)[0], atol=5e-4)


@pytest.mark.parametrize(
    ("architecture", "decoder", "encoder"),
    [
        (Architecture(), 48, 64),
        (Architecture(attention=False, refinement=0), 36, 0),
        (Architecture(resolutions=1, attention=False), 21, 0),
        (Architecture(**BARE), 0, 64),
    ],
)
def test_halos_are_those_of_the_parts_there_are(architecture, decoder, encoder):
    assert (architecture.decoder_halo, architecture.encoder_halo) == (decoder, encoder)
