import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mrdcae_lite.core import patches, pyramid
from mrdcae_lite.core.quality import quality_features
from mrdcae_lite.training.context_model import ContextModel
from mrdcae_lite.training.layers import (
    BlockTransform,
    Deblocking,
    Gain,
    PatchAttention,
    Reconstruction,
    Refinement,
    log_compress,
    quantise_through,
    round_through,
)

CONDITION = (4,)
SYMBOLS = [(1, 2, 192), (2, 4, 144), (4, 8, 144), (8, 16, 144)]
MASKS = [(2, 4, 1), (4, 8, 1), (8, 16, 1)]
ALONE = [(4, 8, 192)]

# A layer, and the shapes of its inputs without the batch.
CASES = {
    "pixels": (lambda: BlockTransform(0), [(16, 24, 3)]),
    "pixels alone": (lambda: BlockTransform(0, coarsest=True), [(16, 24, 3)]),
    "merge": (lambda: BlockTransform(1), [(4, 6, 48)]),
    "coarsest": (lambda: BlockTransform(3, coarsest=True), [(4, 6, 48)]),
    "gain": (lambda: Gain([1, 2, 0.5, 3, 1]), [(2, 3, 5), CONDITION]),
    "reconstruction": (lambda: Reconstruction(5), [(2, 3, 5), CONDITION]),
    "deblocking": (lambda: Deblocking(16, 8, 6), [(32, 48, 3), (1, 1, 1), CONDITION]),
    "refinement": (lambda: Refinement(4, 6), [(32, 48, 3), (1, 1, 1), CONDITION]),
    "attention": (lambda: PatchAttention(8), [(8, 12, 192), CONDITION]),
    "context model": (lambda: ContextModel(24), [SYMBOLS, MASKS, CONDITION]),
    "context model alone": (lambda: ContextModel(24, 1), [ALONE, [], CONDITION]),
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
    announced = layer.compute_output_spec(*tree(lambda s: keras.KerasTensor((2, *s)), shapes))
    assert [x.shape for x in outputs] == [x.shape for x in tf.nest.flatten(announced)]


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
        loss += sum(layer.losses)  # the context model has its range penalty there
    # The thresholds of attention act outside the layer: see the model's test.
    weights = [w for w in layer.trainable_variables if w.name != "spread"]
    for weight, gradient in zip(
        weights, tape.gradient(loss, [w.value for w in weights]), strict=True
    ):
        assert gradient is not None, weight.path
        assert np.isfinite(gradient).all(), weight.path
        assert np.any(gradient), weight.path


@pytest.mark.parametrize(
    "name", ["pixels", "gain", "reconstruction", "deblocking", "refinement", "attention"]
)
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
def test_a_step_is_undone_whatever_was_learned(step, channels, coarsest, rng):
    x = rng.normal(0, 1, (2, 16, 8, channels)).astype(np.float32)
    layer = BlockTransform(step, coarsest)
    before = ops.convert_to_numpy(layer(x))
    layer.offset.assign(rng.normal(0, 0.002, (192, 192)) / layer.multiplier)
    learned = layer(x)
    assert abs(ops.convert_to_numpy(learned) - before).max() > 0.01
    np.testing.assert_allclose(ops.convert_to_numpy(layer.invert(learned)), x, atol=1e-5)


def test_the_gradient_of_the_inverse_reaches_the_kernel(rng):
    layer = BlockTransform(1)
    with tf.GradientTape() as tape:
        loss = ops.sum(layer.invert(rng.normal(0, 1, (1, 2, 2, 192)).astype(np.float32)) ** 3)
    assert np.any(tape.gradient(loss, layer.offset.value))


def test_strong_inputs_of_a_step_are_learned_slowly():
    """A mean is strong: its weights move less than a hundredth as far as those of weak inputs."""
    for step in (1, 2, 3):
        multiplier = BlockTransform(step).multiplier[:, 0]
        mean, weakest = multiplier[0], multiplier.max()
        assert mean == multiplier.min() < 0.01
        assert 5 * mean < weakest <= 0.1


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


def test_a_gain_is_undone_at_every_quality(rng):
    x, gain = draw((3, 4, 6), rng), Gain([0.5, 1, 2, 3, 0.1, 1])
    disturb(gain, rng)
    condition = quality_features(np.array([0, 70]))
    np.testing.assert_allclose(
        ops.convert_to_numpy(gain.invert(gain(x, condition), condition)), x, rtol=1e-5
    )


def test_a_symbol_is_restored_nearer_to_zero_and_zero_as_zero():
    points = Reconstruction(2)
    symbols = np.array([-3, -1, 0, 1, 40], np.float32).reshape(1, 1, 5, 1) * np.ones(2, "f4")
    condition = quality_features(np.array([0]))  # 1, -1, 1, -1
    np.testing.assert_array_equal(ops.convert_to_numpy(points(symbols, condition)), symbols)
    points.curve.assign([[1, 0], [0, 2], [0, 0], [0, 0]])
    found = ops.convert_to_numpy(points(symbols, condition))
    np.testing.assert_allclose(found[0, 0, :, 0], [-2.9, -0.9, 0, 0.9, 39.9], rtol=1e-6)
    np.testing.assert_allclose(found[0, 0, :, 1], [-3.2, -1.2, 0, 1.2, 40.2], rtol=1e-6)


def deblocked(period, first, image):
    """An image filtered by a layer with random weights, the same each time."""
    keras.utils.set_random_seed(3)
    layer = Deblocking(period, first, 6)
    step, condition = np.full((1, 1, 1, 1), 0.1, "f4"), quality_features(np.array([50]))
    untouched = layer(image, step, condition)
    np.testing.assert_array_equal(ops.convert_to_numpy(untouched), image)  # before training
    layer.leave.kernel.assign(keras.random.normal(layer.leave.kernel.shape, seed=4))
    return ops.convert_to_numpy(layer(image, step, condition))


@pytest.mark.parametrize("edges", pyramid.block_edges(4) + pyramid.block_edges(1))
def test_deblocking_changes_four_pixels_on_either_side_of_its_edges(edges, rng):
    image = rng.random((1, 64, 128, 3)).astype(np.float32)
    changed = (deblocked(*edges, image) != image).any(axis=(0, 3))
    period, first = edges
    near = [
        np.isin(np.arange(side), np.add.outer(np.arange(first, side, period), np.arange(-4, 4)))
        for side in (64, 128)
    ]
    expected = near[0][:, None] | near[1][None, :]
    assert not changed[~expected].any()
    assert changed[expected].mean() > 0.9


def test_deblocking_sees_jumps_and_no_brightness(rng):
    image = rng.random((1, 32, 32, 3)).astype(np.float32)
    change = deblocked(16, 8, image) - image
    brighter = deblocked(16, 8, image + 0.5) - (image + 0.5)
    np.testing.assert_allclose(brighter, change, atol=1e-5)


def refined(image, place=0.0):
    """An image refined by a layer with random weights, the same each time."""
    keras.utils.set_random_seed(3)
    layer = Refinement(2, 6)
    step, condition = np.full((1, 1, 1, 1), 0.1, "f4"), quality_features(np.array([50]))
    untouched = layer(image, step, condition)
    np.testing.assert_array_equal(ops.convert_to_numpy(untouched), image)  # before training
    layer.leave.kernel.assign(keras.random.normal(layer.leave.kernel.shape, seed=4))
    layer.place.assign(place * keras.random.normal(layer.place.shape, seed=5))
    return ops.convert_to_numpy(layer(image, step, condition))


def test_refinement_sees_cells_around_and_no_brightness(rng):
    image = rng.random((1, 48, 48, 3)).astype(np.float32)
    change = refined(image) - image
    assert (change != 0).any(axis=3).mean() > 0.9
    brighter = image + np.float32(0.5)
    np.testing.assert_allclose(refined(brighter) - brighter, change, atol=1e-5)
    other = image.copy()
    other[:, 20:24, 20:24] = rng.random((4, 4, 3))
    moved = (abs(refined(other) - refined(image)) > 1e-6).any(axis=(0, 3))
    cells = moved.reshape(12, 4, 12, 4).any(axis=(1, 3))
    far = abs(np.indices((12, 12)) - 5).max(axis=0) > 2  # its mean is seen one cell further
    assert cells[4:7, 4:7].all()
    assert not cells[far].any()


def test_refinement_knows_where_a_cell_lies_among_the_block_edges():
    """A flat picture shows nothing else; the border of zeros is left out."""
    flat = np.full((1, 32, 48, 3), 0.5, np.float32)
    same, changed = refined(flat)[0, 8:24, 8:40], refined(flat, place=1.0)[0, 8:24, 8:40]
    np.testing.assert_allclose(same[:4, :4], same[4:8, 4:8], atol=1e-6)
    assert abs(changed[:4, :4] - changed[4:8, 4:8]).max() > 1e-3
    np.testing.assert_allclose(changed[:8, :8], changed[8:, 16:24], atol=1e-6)


def test_a_patch_of_saliency_sees_its_surroundings_only(rng):
    attention, condition = PatchAttention(8), np.ones((1, 4), np.float32)
    blocks = rng.normal(0, 3, (1, 32, 32, 192)).astype(np.float32)
    before = ops.convert_to_numpy(attention(blocks, condition))[0]
    blocks[:, :4, :4] += 5
    changed = ops.convert_to_numpy(attention(blocks, condition))[0] != before
    assert changed[0, 0]
    assert not changed[3:].any()
    assert not changed[:, 3:].any()


# --- functions


def test_rounding_is_half_up_and_lets_the_gradient_through():
    x = tf.constant([-1.5, -0.5, -0.2, 0.5, 1.49, 7.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        rounded = round_through(x)
    np.testing.assert_array_equal(rounded, [-1, 0, 0, 1, 1, 7])
    np.testing.assert_array_equal(tape.gradient(rounded, x), np.ones(6))


def test_symbols_prefer_the_smaller_of_two_and_let_the_gradient_pass():
    latents = ops.convert_to_tensor([-1.7, -0.59, -0.1, 0.0, 0.5, 0.61, 1.5, 7.0])
    with tf.GradientTape() as tape:
        tape.watch(latents)
        symbols = quantise_through(latents)
    np.testing.assert_array_equal(ops.convert_to_numpy(symbols), [-2, 0, 0, 0, 0, 1, 1, 7])
    np.testing.assert_array_equal(tape.gradient(symbols, latents), np.ones(8))


def test_log_compression_is_odd_and_invertible():
    x = np.linspace(-50, 50, 11, dtype=np.float32)
    found = ops.convert_to_numpy(log_compress(x))
    np.testing.assert_allclose(np.sign(found) * np.expm1(abs(found)), x, rtol=1e-5)


@pytest.mark.parametrize("factor", [2, 8])
def test_a_batch_goes_to_depth_and_back_as_single_pictures_do(factor, rng):
    x = rng.normal(size=(2, 16, 24, 3)).astype(np.float32)
    deep = ops.convert_to_numpy(patches.space_to_depth(x, factor, ops))
    for picture, expected in zip(deep, x, strict=True):
        np.testing.assert_array_equal(picture, patches.space_to_depth(expected, factor))
    np.testing.assert_array_equal(patches.depth_to_space(deep, factor, ops), x)


def test_every_layer_is_registered_for_loading():
    names = {f"mrdcae_lite>{make().__class__.__name__}" for make, _ in CASES.values()}
    registered = {name for name in names if keras.saving.get_registered_object(name)}
    assert registered == names
    assert len(names) == 7
