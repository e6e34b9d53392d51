"""The networks in NumPy against the Keras model that trains, and how far they look."""

import math

import numpy as np
import pytest
from keras import ops

from mrdcae_lite import pyramid
from mrdcae_lite.codec import level_masks
from mrdcae_lite.quality import quantisation_step
from mrdcae_lite.transforms import Architecture, Transforms

TWINS = {
    "whole": {},
    "deeper": {"blocks": 2, "encoder_blocks": 2},
    "no attention": {"attention": False},
    "one resolution": {"resolutions": 1},
    "two resolutions": {"resolutions": 2},
    "four resolutions": {"resolutions": 4, "refinement": 8, "blocks": 0},
    "refined": {"refinement": 8},
}
TINY = {"width": 8, "blocks": 1, "prior_width": 16}


def transforms_of(model):
    config = model.get_config()
    architecture = Architecture(*(config[name] for name in Architecture._fields))
    return Transforms(architecture, model.frozen_transforms())


def restored(transforms, latents, masks, quality):
    """The deblocked image."""
    image = transforms.synthesise(latents, masks, quality)
    transforms.deblock(image, quality)
    return image


def levels_of(transforms):
    return pyramid.levels(transforms.architecture.resolutions)


@pytest.fixture(scope="module", params=TWINS.values(), ids=TWINS.keys())
def twins(request, tiny_model_with):
    """A Keras model and the same in NumPy."""
    model = tiny_model_with(**request.param)
    return model, transforms_of(model)


@pytest.fixture
def image(photograph):
    return photograph[:128, :192].astype(np.float32) / 255


def random_latents(levels, rows, columns, rng):
    """Masks of a place of patches, and symbols where they are on."""
    unit = pyramid.patches_a_cell(len(levels))
    rows, columns = (-(-side // unit) * unit for side in (rows, columns))
    routing = rng.integers(1, 4, (rows, columns))
    masks = level_masks(routing, [level.scale for level in levels])
    shapes = [(*mask.shape, len(level.bands)) for mask, level in zip(masks, levels, strict=True)]
    drawn = [np.rint(rng.laplace(0, 2, shape)).astype(np.float32) for shape in shapes]
    return [y * mask[..., None] for y, mask in zip(drawn, masks, strict=True)], masks


# --- the same as in Keras


@pytest.mark.parametrize("quality", [0, 50, 100])
def test_the_analysis_is_that_of_the_model(twins, image, quality):
    model, transforms = twins
    expected, logits = model.analyse(image[None], np.array([quality], np.float32))
    found, scores = transforms.analyse(image, quality)
    for theirs, ours in zip(expected, found, strict=True):
        np.testing.assert_allclose(ours, ops.convert_to_numpy(theirs)[0], atol=1e-4, rtol=1e-5)
        assert ours.dtype == np.float32
    if logits is None:
        assert scores is None
    else:
        np.testing.assert_allclose(scores, ops.convert_to_numpy(logits)[0], atol=1e-4)
        assert np.ptp(scores) > 1


@pytest.mark.parametrize("quality", [0, 50, 100])
def test_the_synthesis_is_that_of_the_model(twins, quality, rng):
    model, transforms = twins
    latents, masks = random_latents(levels_of(transforms), 3, 4, rng)
    expected = model.synthesise(
        [y[None] for y in latents],
        [mask[None, ..., None].astype(np.float32) for mask in masks[1:]],
        np.array([quality], np.float32),
    )
    found = restored(transforms, latents, masks, quality)
    np.testing.assert_allclose(found, ops.convert_to_numpy(expected)[0], atol=1e-4)
    assert found.dtype == np.float32


def test_thresholds_lie_symmetrically_about_one_half_by_the_spread_of_the_model(tiny_model):
    low, high = transforms_of(tiny_model).thresholds()
    spread = float(ops.convert_to_numpy(tiny_model.attention.spread))
    assert low == pytest.approx(1 / (1 + np.exp(spread)), rel=1e-3)  # float16 in between
    assert low + high == pytest.approx(1)


def test_the_arguments_are_not_changed(twins, image, rng):
    _, transforms = twins
    latents, masks = random_latents(levels_of(transforms), 3, 5, rng)
    given = [image, *latents, *masks]
    before = [array.copy() for array in given]
    transforms.analyse(image, 30)
    transforms.synthesise(latents, masks, 30)
    for array, expected in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_an_architecture_knows_the_shape_of_every_weight(twins):
    model, transforms = twins
    trained = {v.path.partition("/")[2]: tuple(v.shape) for v in model.trainable_variables}
    transform = {name: shape for name, shape in trained.items() if not name.startswith("prior/")}
    assert transforms.architecture.shapes() == transform


# --- residual blocks where they are needed


@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_a_block_corrects_the_places_of_its_mask_and_no_other(tiny_model, share, rng):
    (block,) = transforms_of(tiny_model)._at(60).blocks["synthesis", 0]
    grid = rng.normal(0, 3, (30, 26, 192)).astype(np.float32)  # more places than in one portion
    mask = rng.random(grid.shape[:2]) < share
    mask[0, 0] = mask[-1, -1] = True
    sparse, dense = grid.copy(), grid.copy()
    Transforms._correct(sparse, mask, [block])
    Transforms._correct(dense, np.ones_like(mask), [block])
    np.testing.assert_array_equal(sparse[~mask], grid[~mask])
    np.testing.assert_allclose(sparse[mask], dense[mask], atol=1e-5)
    assert abs(dense - grid).max(axis=-1).min() > 1e-3


@pytest.mark.parametrize("quality", [0, 50, 100])
def test_what_is_not_rounded_comes_back(twins, image, quality):
    """Without residual blocks and reconstruction points, synthesis undoes the analysis."""
    _, transforms = twins
    architecture = transforms.architecture._replace(blocks=0, encoder_blocks=0)
    weights = {
        name: 0 * array if "reconstruction" in name else array
        for name, array in transforms._weights.items()
    }
    plain = Transforms(architecture, {name: weights[name] for name in architecture.shapes()})
    levels, _ = plain.analyse(image, quality)
    known: list = []
    for y in levels:
        gain = plain.contrast_gain(known, quality)
        known.append(plain.dequantise(y * gain, known, quality))
    scaled = [y * plain.contrast_gain(known[:n], quality) for n, y in enumerate(levels)]
    masks = [np.ones(y.shape[:2], bool) for y in levels]
    np.testing.assert_allclose(plain.synthesise(scaled, masks, quality), image, atol=1e-3)


def test_the_worth_of_an_error_is_what_it_adds_to_the_picture(twins):
    """Squared error, in squared steps, that one more in a symbol brings without corrections."""
    _, transforms = twins
    quality, step = 60, quantisation_step(60)
    levels, worth = levels_of(transforms), transforms.worth(60)
    off = [np.zeros((int(level.scale * 4), int(level.scale * 4)), bool) for level in levels]
    for number, level in enumerate(levels):
        zero = [
            np.zeros((*m.shape, len(lv.bands)), np.float32)
            for m, lv in zip(off, levels, strict=True)
        ]
        grey = transforms.synthesise(zero, off, quality)
        for channel in (0, len(level.bands) - 1):
            one = [y.copy() for y in zero]
            shift = transforms._at(quality).shifts[number][channel]
            one[number][1, 1, channel] = 1
            change = transforms.synthesise(one, off, quality) - grey
            contrast = (
                1
                if number == 0
                else float(transforms.contrast_gain(zero[:number], quality)[0, 0, 0])
            )
            found = (change**2).sum() / step**2 * (contrast / (1 - shift)) ** 2
            assert found == pytest.approx(worth[number][channel], rel=1e-3)


def test_an_empty_mask_changes_nothing(tiny_model, rng):
    blocks = transforms_of(tiny_model)._at(60).blocks["synthesis", 0]
    grid = rng.normal(0, 3, (4, 6, 192)).astype(np.float32)
    before = grid.copy()
    Transforms._correct(grid, np.zeros((4, 6), bool), blocks)
    np.testing.assert_array_equal(grid, before)


# --- how far they look


def test_deblocking_looks_less_far_than_a_patch(twins, rng):
    transforms = twins[1]
    image = rng.random((128, 256, 3)).astype(np.float32)
    part = image[:, 64:192].copy()
    before = image.copy()
    transforms.deblock(image, 20)
    transforms.deblock(part, 20)
    np.testing.assert_allclose(part[:, 64:96], image[:, 128:160], atol=1e-5)
    assert abs(image - before).max() > 1e-3


def test_what_lies_beyond_the_reach_changes_no_latent_and_no_score(twins, rng):
    transforms = twins[1]
    reach = transforms.architecture.encoder_reach
    image = rng.random((64, 32 * (2 * reach + 4), 3)).astype(np.float32)
    other = 1 - image
    near = slice(32, 32 * (2 * reach + 2))
    other[:, near] = image[:, near]
    (latents, scores), (changed, moved) = (transforms.analyse(x, 70) for x in (image, other))
    place = 1 + reach
    for y, new, level in zip(latents, changed, levels_of(transforms), strict=True):
        cells = slice(int(place * level.scale), math.ceil((place + 1) * level.scale))
        np.testing.assert_array_equal(new[:, cells], y[:, cells])
        assert (new[:, : math.ceil(level.scale)] != y[:, : math.ceil(level.scale)]).any()
    if scores is not None:
        np.testing.assert_array_equal(moved[:, place], scores[:, place])


def test_corrections_beyond_the_margins_change_no_pixel(twins, rng):
    """Of a single place: what its own pixels need of every level, and what they may do without."""
    transforms = twins[1]
    reach, levels = transforms.architecture.decoder_reach, levels_of(transforms)
    side = 2 * reach + 3
    place = 1 + reach
    latents, _ = random_latents(levels, side, side, rng)
    whole = [np.ones(y.shape[:2], bool) for y in latents]
    expected = restored(transforms, latents, whole, 40)
    margin, scale = transforms.architecture.margin, int(levels[-1].scale)
    cells = slice(place * scale - margin, (place + 1) * scale + margin)
    needed = [np.zeros_like(mask) for mask in whole]
    needed[-1][cells, cells] = True
    inner = np.s_[32 * place : 32 * (place + 1), 32 * place : 32 * (place + 1)]
    for y, level in zip(latents, levels, strict=True):  # nor do latents beyond the reach
        cells = int(level.scale)  # none of a cell that reaches over several patches
        y[:cells] = y[:, y.shape[1] - cells :] = 99
    found = restored(transforms, latents, needed, 40)
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-5)
    assert abs(found - expected).max() > 0.1


@pytest.mark.parametrize(
    ("architecture", "margin", "decoder", "encoder"),
    [
        (Architecture(), 4, 2, 3),
        (Architecture(blocks=0), 3, 1, 3),
        (Architecture(blocks=1), 3, 1, 3),
        (Architecture(blocks=0, refinement=64), 4, 2, 3),
        (Architecture(encoder_blocks=2), 4, 2, 4),
        (Architecture(encoder_blocks=2, attention=False), 4, 2, 4),
        (Architecture(attention=False), 4, 2, 0),
        (Architecture(resolutions=1, attention=False, encoder_blocks=1), 2, 1, 1),
    ],
)
def test_margin_and_reach_are_no_wider_than_they_must_be(architecture, margin, decoder, encoder):
    assert architecture.margin == margin
    assert (architecture.decoder_reach, architecture.encoder_reach) == (decoder, encoder)


def test_multiplications_are_those_of_all_matrices_at_their_grids():
    """Counted by hand for the sizes of the shipped codec."""
    block = 384 * 128 + 9 * 128 * 128 + 128 * 192
    grids = 1 / 64 + 1 / 256 + 1 / 1024
    blocks = 2 * block / 64
    context = (9 * 192 * 96 + 5 * 96 * 96 + 96 * 192) / 1024
    context += (9 * 144 * 96 + 3 * 96 * 96 + 96 * 144) * (1 / 64 + 1 / 256)
    context += (9 * 96 * 96 + 96 * 4 * 96) * (1 / 256 + 1 / 1024)
    borders = (72 * 128 + 128 * 128 + 128 * 24) * (2 / 32 + 2 / 32 + 2 / 16)
    contrast = 192 * 192 * (2 / 1024 + 1 / 256)
    expected = blocks + 192 * 192 * grids + context + borders + contrast
    assert Architecture().multiplications() == pytest.approx(expected)
