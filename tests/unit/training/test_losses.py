import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy.stats import laplace
from skimage.metrics import structural_similarity

from mrdcae_lite.coding import entropy
from mrdcae_lite.training import losses
from mrdcae_lite.training.complexity import SWITCH_PATCH, local_complexity, patch_means

THRESHOLD = 0.015


def to_numpy(x):
    return ops.convert_to_numpy(x)


@pytest.fixture
def pair(photograph, rng):
    """A photograph and a noisy copy, float32 (1, 64, 80, 3) in [0, 1]."""
    image = photograph[None, :64, :80].astype(np.float32) / 255
    noise = rng.normal(0, 0.05, image.shape)
    return image, np.clip(image + noise, 0, 1).astype(np.float32)


def test_structural_similarity_is_the_one_of_scikit_image_inside_the_picture(pair):
    _, expected = structural_similarity(
        *(x[0].astype(np.float64) for x in pair),
        data_range=1,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    found = to_numpy(losses.ssim_map(*pair))
    assert found.shape == pair[0].shape
    inside = np.s_[5:-5, 5:-5]
    np.testing.assert_allclose(found[0][inside], expected[inside], atol=2e-4)


def test_a_picture_is_wholly_similar_to_itself(pair):
    np.testing.assert_allclose(to_numpy(losses.ssim_map(pair[0], pair[0])), 1, atol=1e-5)
    np.testing.assert_array_equal(to_numpy(losses.edge_map(pair[0], pair[0])), 0)


def test_similarity_does_not_mind_the_order(pair):
    forth, back = losses.ssim_map(*pair), losses.ssim_map(*pair[::-1])
    np.testing.assert_allclose(to_numpy(forth), to_numpy(back), atol=1e-6)


def test_the_blur_keeps_a_constant_even_at_the_border():
    blurred = to_numpy(losses.blur(np.full((1, 3, 7, 20), 0.3, np.float32)))
    np.testing.assert_allclose(blurred, 0.3, atol=1e-6)


def test_gradients_are_differences_of_neighbours_and_zero_at_the_end(pair):
    image = pair[0]
    down, right = (to_numpy(g) for g in losses.gradients(image))
    np.testing.assert_array_equal(down[:, :-1], np.diff(image, axis=1))
    np.testing.assert_array_equal(right[:, :, :-1], np.diff(image, axis=2))
    assert not down[:, -1].any()
    assert not right[:, :, -1].any()


def test_edges_do_not_mind_another_brightness_but_mind_a_shift(pair):
    image = pair[0]
    brighter, shifted = image + np.float32(0.25), np.roll(image, 1, axis=2)
    assert to_numpy(losses.edge_map(image, brighter)).max() < 1e-6
    assert to_numpy(losses.edge_map(image, shifted)).mean() > 1e-3


def test_patch_means_are_means_over_patches_and_channels(pair):
    image = pair[0]
    blocks = image.reshape(1, 4, SWITCH_PATCH, 5, SWITCH_PATCH, 3)
    found = to_numpy(patch_means(image, ops))
    np.testing.assert_allclose(found, blocks.mean(axis=(2, 4, 5)), rtol=1e-5)


def ramp(side):
    """From black to white over 256 pixels: a sky, not a texture."""
    across = np.arange(side, dtype=np.float32) / 256
    return np.broadcast_to(across[None, None, :, None], (1, side, side, 3)).copy()


def test_a_slow_ramp_counts_as_smooth_and_noise_as_textured(rng):
    image = ramp(64)
    image[:, 16:32, 32:48] += rng.normal(0, 0.05, (16, 16, 3))
    expected = np.zeros((1, 4, 4))
    expected[0, 1, 2] = 1
    found = to_numpy(losses.textured(image, THRESHOLD))
    # The steps at the rim of the square may throw its neighbours above and to the left.
    assert found[0, 1, 2] == 1
    found[0, 0, 2] = found[0, 1, 1] = 0
    np.testing.assert_array_equal(found, expected)


def test_a_ramp_is_smooth_although_it_varies_more_than_faint_texture(rng):
    steep = ramp(64) * 2
    faint = (0.5 + 0.03 * (np.indices((64, 64)).sum(axis=0) % 2))[None, ..., None]
    faint = np.repeat(faint, 3, axis=-1).astype(np.float32)
    assert steep.var() > faint.var()
    assert not to_numpy(losses.textured(steep, THRESHOLD)).any()
    assert to_numpy(losses.textured(faint, THRESHOLD)).all()


def test_complexity_grows_in_proportion_to_contrast(pair):
    image = pair[0]
    whole, half = (to_numpy(local_complexity(x, ops)) for x in (image, image / 2))
    np.testing.assert_allclose(half, whole / 2, rtol=1e-3)


# --- bits


@pytest.mark.parametrize("index", [0, 10, 19, 40, 63])
def test_bits_are_the_laplace_mass_of_scipy(index):
    scale = entropy.table_scale(index)
    size = np.concatenate([np.linspace(0, 3, 61), scale * np.linspace(0.1, 25, 40)])
    mass = laplace.sf(size - 0.5, scale=scale) - laplace.sf(size + 0.5, scale=scale)
    found = to_numpy(losses.symbol_bits(size.astype(np.float32), np.float32(index)))
    np.testing.assert_allclose(found, -np.log2(mass), rtol=2e-3, atol=2e-3)


def test_both_signs_cost_the_same(rng):
    symbols = rng.normal(0, 5, 200).astype(np.float32)
    index = rng.integers(0, 64, 200).astype(np.float32)
    there, back = (to_numpy(losses.symbol_bits(s, index)) for s in (symbols, -symbols))
    np.testing.assert_array_equal(there, back)


@pytest.mark.parametrize("index", [5, 20, 40])
def test_bits_in_training_are_those_of_the_tables_on_average(index):
    share = entropy.laplace_probabilities(index)[:-1]
    symbols = np.arange(share.size) - share.size // 2
    coded = entropy.laplace_tables().cost(symbols, index)
    trained = to_numpy(losses.symbol_bits(symbols.astype(np.float32), np.float32(index)))
    assert share @ coded == pytest.approx(share @ trained, abs=0.02)


@pytest.mark.parametrize("index", [0.0, 31.0, 63.0])
def test_extreme_symbols_cost_a_finite_number_of_bits_with_finite_gradients(index):
    symbols = tf.constant([0.0, 1e-30, 0.5, -0.5, 0.50001, 1e3, -2e4, 1e9])
    table = tf.constant(index)
    with tf.GradientTape() as tape:
        tape.watch([symbols, table])
        bits = losses.symbol_bits(symbols, table)
    assert np.isfinite(bits).all()
    assert (bits.numpy() >= 0).all()
    for gradient in tape.gradient(bits, [symbols, table]):
        assert np.isfinite(gradient).all()


# --- routing


def loss_of_levels(errors, bits, logits):
    """The routing loss of one patch, and of a second where nothing is at stake."""
    errors, bits = ([np.array([[[x, 0]]], np.float32) for x in values] for values in (errors, bits))
    margins = [np.array([[[x, 0]]], np.float32) for x in logits]
    return float(losses.routing_loss(errors, bits, margins))


# Errors without, with the first, with both levels that may be left out; bits of all; the best.
HINDSIGHT = {
    "none saves its bits": ((10, 9, 8), (5, 3, 3), 0),
    "the first does": ((20, 10, 9), (5, 3, 3), 1),
    "both do": ((30, 20, 10), (5, 3, 3), 2),
    "the second pays for the first": ((30, 29, 10), (5, 3, 3), 2),
    "the second cannot pay for the first": ((30, 29, 25), (5, 9, 3), 0),
    "a saving as small as the work": ((10.005, 10, 10), (5, 0, 0), 0),
}


@pytest.mark.parametrize(("errors", "bits", "best"), HINDSIGHT.values(), ids=HINDSIGHT.keys())
def test_routing_costs_least_at_the_level_that_is_best_in_hindsight(errors, bits, best):
    margins = [(-4, -5), (4, -4), (5, 4)]
    found = [loss_of_levels(errors, bits, logits) for logits in margins]
    assert np.argmin(found) == best


def test_routing_with_a_single_decision(rng):
    """Two resolutions: one level may be left out."""
    on, off = (loss_of_levels((9, 1), (5, 3), (logit,)) for logit in (4, -4))
    assert on < off
    on, off = (loss_of_levels((9, 8), (5, 3), (logit,)) for logit in (4, -4))
    assert off < on


def test_only_the_margins_get_a_gradient_of_the_routing():
    errors = [tf.fill((1, 2, 2), x) for x in (9.0, 5.0, 2.0)]
    bits = [tf.fill((1, 2, 2), x) for x in (3.0, 1.0, 1.0)]
    margins = [tf.zeros((1, 2, 2)), tf.zeros((1, 2, 2))]
    with tf.GradientTape() as tape:
        tape.watch([*errors, *bits, *margins])
        loss = losses.routing_loss(errors, bits, margins)
    gradients = tape.gradient(loss, [*errors, *bits, *margins])
    assert gradients[:6] == [None] * 6
    assert all((gradient.numpy() < 0).all() for gradient in gradients[6:])
