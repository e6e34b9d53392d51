import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mrdcae_lite import patches, pyramid
from mrdcae_lite.layers import (
    BlockTransform,
    ContextPrior,
    Deblocking,
    Gain,
    PatchAttention,
    Reconstruction,
    Refinement,
    ResidualBlock,
    checkerboard,
    depth_to_space,
    fixed_activation,
    fixed_point,
    log_compress,
    round_through,
    space_to_depth,
)
from mrdcae_lite.quality import quality_features

CONDITION = (4,)
SYMBOLS = [(1, 2, 192), (2, 4, 144), (4, 8, 144)]
MASKS = [(2, 4, 1), (4, 8, 1)]
ALONE = [(4, 8, 192)]

# A layer, and the shapes of its inputs without the batch.
CASES = {
    "pixels": (lambda: BlockTransform(0), [(16, 24, 3)]),
    "pixels alone": (lambda: BlockTransform(0, coarsest=True), [(16, 24, 3)]),
    "merge": (lambda: BlockTransform(1), [(4, 6, 48)]),
    "fourth": (lambda: BlockTransform(3, True), [(4, 6, 48)]),
    "points": (lambda: Reconstruction(192), [(4, 8, 192), (4,)]),
    "refinement": (lambda: Refinement(3, 8), [(32, 64, 3), (1, 1, 1), (4,)]),
    "gain": (lambda: Gain([1, 2, 0.5, 3, 1]), [(2, 3, 5), CONDITION]),
    "residual": (lambda: ResidualBlock(6, 4, [0.5] * 6), [(3, 4, 6), (1, 1, 1), CONDITION]),
    "deblocking": (lambda: Deblocking(16, 8, 6), [(32, 48, 3), (1, 1, 1), CONDITION]),
    "attention": (lambda: PatchAttention(8), [(8, 12, 192), CONDITION]),
    "prior": (lambda: ContextPrior(24), [SYMBOLS, MASKS, CONDITION]),
    "prior alone": (lambda: ContextPrior(24, 1), [ALONE, [], CONDITION]),
}
every_layer = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def tree(function, shapes):
    """Apply to every shape of a list that may hold lists."""
    return [tree(function, s) if isinstance(s, list) else function(s) for s in shapes]


def draw(shape, rng):
    if shape[-1] == 1 and len(shape) == 3 and shape != (1, 1, 1):
        return np.ones((2, *shape), np.float32)  # a mask
    drawn = rng.normal(0, 2, (2, *shape)).astype(np.float32)
    return np.rint(drawn / 4) if shape in SYMBOLS + ALONE else drawn


def disturb(layer, rng):
    """Move weights off their start, where some gradients are zero."""
    for weight in layer.trainable_variables:
        weight.assign_add(rng.normal(0, 0.05, weight.shape).astype(np.float32))


def numbers(outputs):
    return [ops.convert_to_numpy(x) for x in tf.nest.flatten(outputs)]


@every_layer
def test_the_output_has_the_shape_that_is_announced(case, rng):
    make, shapes = case
    layer = make()
    outputs = tf.nest.flatten(layer(*tree(lambda s: draw(s, rng), shapes)))
    announced = layer.compute_output_shape(*tree(lambda s: (2, *s), shapes))
    announced = announced if isinstance(announced, list) else [announced]
    assert [tuple(x.shape) for x in outputs] == [tuple(s) for s in announced]


@every_layer
def test_a_layer_comes_back_from_its_config(case, rng):
    make, shapes = case
    layer, inputs = make(), tree(lambda s: draw(s, rng), shapes)
    layer(*inputs)
    disturb(layer, rng)
    config = keras.saving.serialize_keras_object(layer)
    assert config["registered_name"] == f"mrdcae_lite>{type(layer).__name__}"
    twin = keras.saving.deserialize_keras_object(config)
    twin(*inputs)
    for source, target in zip(layer.weights, twin.weights, strict=True):
        target.assign(source.value)
    assert twin.get_config() == layer.get_config()
    for first, second in zip(numbers(layer(*inputs)), numbers(twin(*inputs)), strict=True):
        np.testing.assert_array_equal(first, second)


@every_layer
def test_the_gradient_reaches_every_weight(case, rng):
    make, shapes = case
    layer, inputs = make(), tree(lambda s: draw(s, rng), shapes)
    layer(*inputs)
    disturb(layer, rng)
    with tf.GradientTape() as tape:
        outputs = tf.nest.flatten(layer(*inputs))
        loss = sum(ops.sum(x * rng.normal(0, 1, x.shape).astype(np.float32)) for x in outputs)
        loss += sum(layer.losses)  # the prior feels through these what is out of range
    # The thresholds of attention act outside the layer: see the model's test.
    weights = [w for w in layer.trainable_variables if w.name != "spread"]
    for weight, gradient in zip(
        weights, tape.gradient(loss, [w.value for w in weights]), strict=True
    ):
        assert gradient is not None, weight.path
        assert np.isfinite(gradient).all(), weight.path
        assert np.any(gradient), weight.path


@pytest.mark.parametrize("name", ["pixels", "gain", "residual", "deblocking", "attention"])
def test_a_saved_layer_computes_the_same_when_it_is_loaded(name, rng, tmp_path):
    make, shapes = CASES[name]
    inputs = tree(keras.Input, shapes)
    model = keras.Model(inputs, make()(*inputs))
    disturb(model, rng)
    model.save(tmp_path / "layer.keras")
    restored = keras.saving.load_model(tmp_path / "layer.keras")
    values = tree(lambda s: draw(s, rng), shapes)
    np.testing.assert_array_equal(*(ops.convert_to_numpy(m(values)) for m in (model, restored)))


# --- single layers


@pytest.mark.parametrize("step", [-1, 4, "low"])
def test_there_are_four_steps(step):
    with pytest.raises(ValueError, match=f"step must be 0, 1, 2 or 3. Received: step={step!r}"):
        BlockTransform(step)


@pytest.mark.parametrize("coarsest", [False, True])
@pytest.mark.parametrize(("step", "channels"), [(0, 3), (1, 48), (2, 48), (3, 48)])
def test_a_step_can_be_undone(step, channels, coarsest, rng):
    x = rng.normal(0, 1, (2, 16, 8, channels)).astype(np.float32)
    layer = BlockTransform(step, coarsest)
    y = layer(x)
    layer.offset.assign(rng.normal(0, 1, (192, 192)))  # the inverse follows what is learned
    restored = layer.invert(layer(x))
    assert abs(ops.convert_to_numpy(layer(x) - y)).max() > 0.01
    np.testing.assert_allclose(ops.convert_to_numpy(restored), x, atol=1e-5)


@pytest.mark.parametrize("coarsest", [False, True])
def test_the_first_step_is_the_matrix_of_the_pyramid(coarsest, rng):
    block = rng.random((8, 8, 3)).astype(np.float32)
    found = ops.convert_to_numpy(BlockTransform(0, coarsest)(block[None]))[0, 0, 0]
    expected = pyramid.basis(0, coarsest=coarsest) @ block.ravel()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_gain_starts_with_its_factors_at_every_quality(rng):
    x, start = draw((3, 4, 6), rng), [0.5, 1, 2, 3, 0.1, 1]
    found = Gain(start)(x, quality_features(np.array([0, 70])))
    np.testing.assert_allclose(ops.convert_to_numpy(found), x * np.array(start), rtol=1e-5)


def test_a_residual_block_starts_without_effect(rng):
    x, condition = draw((3, 4, 6), rng), draw(CONDITION, rng)
    block = ResidualBlock(6, 4, [0.5] * 6)
    assert not ops.convert_to_numpy(block(x, np.ones((2, 1, 1, 1)), condition)).any()


def deblocked(period, first, image):
    """Result of a layer with weights of its own."""
    keras.utils.set_random_seed(3)
    layer = Deblocking(period, first, 6)
    step, condition = np.full((1, 1, 1, 1), 0.1, "f4"), quality_features(np.array([50]))
    untouched = layer(image, step, condition)
    np.testing.assert_array_equal(ops.convert_to_numpy(untouched), image)  # before training
    layer.leave.kernel.assign(keras.random.normal(layer.leave.kernel.shape, seed=4))
    return ops.convert_to_numpy(layer(image, step, condition))


@pytest.mark.parametrize("border", pyramid.borders(3) + pyramid.borders(1))
def test_deblocking_changes_four_pixels_on_either_side_of_its_borders(border, rng):
    image = rng.random((1, 64, 96, 3)).astype(np.float32)
    changed = (deblocked(*border, image) != image).any(axis=(0, 3))
    period, first = border
    near = [
        np.isin(np.arange(side), np.add.outer(np.arange(first, side, period), np.arange(-4, 4)))
        for side in (64, 96)
    ]
    expected = near[0][:, None] | near[1][None, :]
    assert not changed[~expected].any()
    assert changed[expected].mean() > 0.9


def test_deblocking_sees_jumps_and_no_brightness(rng):
    image = rng.random((1, 32, 32, 3)).astype(np.float32)
    change = deblocked(16, 8, image) - image
    brighter = deblocked(16, 8, image + 0.5) - (image + 0.5)
    np.testing.assert_allclose(brighter, change, atol=1e-5)


def test_a_patch_of_saliency_sees_its_surroundings_only(rng):
    attention, condition = PatchAttention(8), np.ones((1, 4), np.float32)
    blocks = rng.normal(0, 3, (1, 32, 32, 192)).astype(np.float32)
    before = ops.convert_to_numpy(attention(blocks, condition))[0]
    blocks[:, :4, :4] += 5
    changed = ops.convert_to_numpy(attention(blocks, condition))[0] != before
    assert changed[0, 0]
    assert not changed[3:].any()
    assert not changed[:, 3:].any()


def test_prior_indices_are_whole_numbers_of_tables(rng):
    prior = ContextPrior(24)
    inputs = tree(lambda s: draw(s, rng), CASES["prior"][1])
    prior(*inputs)
    disturb(prior, np.random.default_rng(1))
    seen = np.concatenate([indices.ravel() for indices in numbers(prior(*inputs))])
    np.testing.assert_array_equal(seen, np.rint(seen))
    assert seen.min() >= 0
    assert seen.max() <= 63
    assert len(np.unique(seen)) > 4


@pytest.mark.parametrize("resolutions", [3, 1])
def test_the_untrained_prior_expects_large_symbols_beside_and_below_large_ones(resolutions):
    prior, condition = ContextPrior(96, resolutions), quality_features(np.array([50, 50]))
    masks = [np.ones((2, *shape), np.float32) for shape in MASKS[: resolutions - 1]]
    quiet = [np.zeros((2, *shape), np.float32) for shape in (SYMBOLS if masks else ALONE)]
    loud = [np.full_like(quiet[0], 40), *quiet[1:]]
    calm, alert = (numbers(prior(symbols, masks, condition)) for symbols in (quiet, loud))
    for before, after in zip(calm, alert, strict=True):
        assert after.mean() > before.mean() + 1
    # What comes first of all is described before anything is known.
    first = prior.levels[0].groups[0]
    before, after = (found[0][:, ::2, ::2, :first] for found in (calm, alert))
    np.testing.assert_array_equal(before, after)


# --- functions


def test_rounding_is_half_up_and_lets_the_gradient_through():
    x = tf.constant([-1.5, -0.5, -0.2, 0.5, 1.49, 7.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        rounded = round_through(x)
    np.testing.assert_array_equal(rounded, [-1, 0, 0, 1, 1, 7])
    np.testing.assert_array_equal(tape.gradient(rounded, x), np.ones(6))


def test_fixed_point_numbers_are_multiples_within_the_limit():
    x = np.array([-9, -0.3, 0.001, 0.3, 9], np.float32)
    found = ops.convert_to_numpy(fixed_point(x, 7, 127 / 128)) * 128
    np.testing.assert_array_equal(found, [-127, -38, 0, 38, 127])
    found = ops.convert_to_numpy(fixed_activation(x)) * 16
    np.testing.assert_array_equal(found, [0, 0, 0, 5, 127])


def test_log_compression_is_odd_and_invertible():
    x = np.linspace(-50, 50, 11, dtype=np.float32)
    found = ops.convert_to_numpy(log_compress(x))
    np.testing.assert_allclose(np.sign(found) * np.expm1(abs(found)), x, rtol=1e-5)


def test_space_to_depth_is_in_raster_order_and_is_undone():
    x = np.arange(4 * 6 * 2, dtype=np.float32).reshape(1, 4, 6, 2)
    deep = ops.convert_to_numpy(space_to_depth(x, 2))
    assert deep.shape == (1, 2, 3, 8)
    np.testing.assert_array_equal(deep[0, 1, 2], x[0, 2:4, 4:6].ravel())
    np.testing.assert_array_equal(ops.convert_to_numpy(depth_to_space(deep, 2)), x)


@pytest.mark.parametrize("factor", [2, 8])
def test_depth_is_made_of_space_as_at_run_time(factor, rng):
    x = rng.normal(size=(16, 24, 3)).astype(np.float32)
    deep = patches.space_to_depth(x, factor)
    np.testing.assert_array_equal(ops.convert_to_numpy(space_to_depth(x[None], factor))[0], deep)
    found = ops.convert_to_numpy(depth_to_space(deep[None], factor))[0]
    np.testing.assert_array_equal(found, patches.depth_to_space(deep, factor))


def test_a_checkerboard_starts_black_and_alternates():
    board = checkerboard(2, 3)[0, :, :, 0]
    np.testing.assert_array_equal(board, [[1, 0, 1], [0, 1, 0]])


def test_every_layer_is_registered_for_loading():
    names = {f"mrdcae_lite>{make().__class__.__name__}" for make, _ in CASES.values()}
    registered = {name for name in names if keras.saving.get_registered_object(name)}
    assert registered == names
    assert len(names) == 8
