import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mrdcae_lite.codec import Codec
from mrdcae_lite.core.quality import quality_features, quantisation_step
from mrdcae_lite.training.data import Photographs
from mrdcae_lite.training.losses import routing_loss
from mrdcae_lite.training.model import MRDCAE, quality_condition

TINY = {"deblocking": 8, "refinement": 8, "prior_width": 16}


def to_numpy(x):
    return ops.convert_to_numpy(x)


@pytest.fixture
def images(photograph):
    """Two crops of a photograph, float32 (2, 64, 64, 3) in [0, 1]."""
    return np.stack([photograph[:64, :64], photograph[64:128, 100:164]]).astype(np.float32) / 255


def twin(model, **changes):
    """A model with the same weights."""
    other = MRDCAE.from_config({**model.get_config(), **changes})
    other.build()
    for source, target in zip(model.trainable_variables, other.trainable_variables, strict=True):
        target.assign(source.value)
    return other


def test_a_quality_means_the_same_to_the_model_and_to_the_codec():
    qualities = np.arange(101, dtype=np.float32)
    step, features = map(to_numpy, quality_condition(qualities))
    assert step.shape == (101, 1, 1, 1)
    np.testing.assert_allclose(step.ravel(), [quantisation_step(q) for q in range(101)], rtol=1e-5)
    np.testing.assert_allclose(features, quality_features(qualities), atol=1e-5)


# --- stages


FINE = [(2, 4, 4, 144), (2, 8, 8, 144)]
FOUR_LEVELS = [(2, 1, 1, 192), (2, 2, 2, 144), *FINE]
TWINS = {
    "whole": ({}, FOUR_LEVELS),
    "no attention": ({"attention": False}, FOUR_LEVELS),
    "no filters": ({"deblocking": 0, "refinement": 0}, FOUR_LEVELS),
    "three resolutions": ({"resolutions": 3}, [(2, 2, 2, 192), *FINE]),
    "two resolutions": ({"resolutions": 2}, [(2, 4, 4, 192), (2, 8, 8, 144)]),
    "one resolution": ({"resolutions": 1, "attention": False}, [(2, 8, 8, 192)]),
}


@pytest.mark.parametrize(("choice", "shapes"), TWINS.values(), ids=TWINS.keys())
def test_transforms_and_filters_start_as_an_exact_pair(choice, shapes, images):
    model = MRDCAE(**{**TINY, **choice})
    model.build()
    quality = np.array([50, 90], np.float32)
    latents, logits = model.analyse(images, quality)
    assert [tuple(y.shape) for y in latents] == shapes
    restored = model.filter(model.synthesise(unrounded(model, latents, quality), quality), quality)
    np.testing.assert_allclose(to_numpy(restored), images, atol=1e-4)
    masks = [to_numpy(mask) for mask in model.masks(latents, logits)]
    assert [mask.shape for mask in masks] == [(*shape[:3], 1) for shape in shapes[1:]]
    if logits is None:
        assert all(mask.all() for mask in masks)
    else:
        assert tuple(logits.shape) == (2, 2, 2)


def unrounded(model, latents, quality):
    """What `encode` makes of latents, without rounding."""
    scaled, known = [], []
    for y in latents:
        scaled.append(y * model._contrast_gain(known, quality))
        known.append(model._dequantise(scaled[-1], known, quality))
    return scaled


def test_the_transforms_stay_a_pair_whatever_is_learned(tiny_model_with, images):
    model, quality = twin(tiny_model_with()), np.array([10, 90], np.float32)
    for points in model.reconstruction:  # for rounded ones alone
        points.curve.assign(0 * points.curve.value)
    latents, _ = model.analyse(images, quality)
    restored = model.synthesise(unrounded(model, latents, quality), quality)
    np.testing.assert_allclose(to_numpy(restored), images, atol=1e-4)


def test_symbols_are_rounded_latents_and_zero_where_a_level_is_off(tiny_model, images):
    quality = np.array([50, 90], np.float32)
    latents, _ = tiny_model.analyse(images, quality)
    off = [ops.zeros_like(y[..., :1]) for y in latents[1:]]
    off[0] = ops.ones_like(off[0])  # at 1/32: always on
    symbols, scaled = tiny_model.encode(latents, off, quality)
    for number in (0, 1):
        np.testing.assert_array_equal(to_numpy(scaled[number]), to_numpy(latents[number]))
        assert abs(to_numpy(symbols[number]) - to_numpy(latents[number])).max() <= 0.6 + 1e-5
    for k, y, finer in zip(symbols[2:], latents[2:], scaled[2:], strict=True):
        assert not to_numpy(k).any()
        factor = to_numpy(finer) / to_numpy(y)
        assert factor.std() > 0
        assert factor.max() <= (0.04 / (4 / 255)) ** 0.3 + 1e-3


def test_without_training_colour_is_quantised_more_coarsely_than_luma():
    model = MRDCAE(**TINY)
    model.build()
    condition = quality_features(np.array([30]))
    for gain, level in zip(model.gains, model.architecture.levels, strict=True):
        factors = to_numpy(gain(np.ones((1, 1, 1, len(level.bands)), np.float32), condition))
        expected = [1 / 1.6 if band.colour else 1 for band in level.bands]
        np.testing.assert_allclose(factors[0, 0, 0], expected, rtol=1e-5)


def test_masks_are_nested_and_follow_the_thresholds(tiny_model):
    spread = float(tiny_model.attention.spread.value)
    logits = np.array([[[-spread - 0.1, 0.0], [spread + 0.1, -9.0]]], np.float32)
    latents = [np.zeros((1, n, n, 1), np.float32) for n in (1, 2, 4, 8)]
    low, medium, high = (to_numpy(m)[0, :, :, 0] for m in tiny_model.masks(latents, logits))
    assert low.all()
    np.testing.assert_array_equal(medium, np.kron([[0, 1], [1, 0]], np.ones((2, 2))))
    np.testing.assert_array_equal(high, np.kron([[0, 0], [1, 0]], np.ones((4, 4))))


def test_with_two_resolutions_attention_switches_the_finer_one(tiny_model_with):
    model = tiny_model_with(resolutions=2)
    spread = float(model.attention.spread.value)
    logits = np.array([[[-spread - 0.1, -spread + 0.1]]], np.float32)
    latents = [np.zeros((1, n, 2 * n, 1), np.float32) for n in (2, 4)]
    (mask,) = model.masks(latents, logits)
    np.testing.assert_array_equal(to_numpy(mask)[0, :, :, 0], np.kron([[0, 1]], np.ones((4, 4))))


def test_without_training_the_answer_is_always_the_same(tiny_model, images):
    first, again = tiny_model(images), tiny_model(images)
    assert set(first) == {"reconstruction", "bits", "smooth_bits", "routing_loss", "quality"}
    for name in set(first) - {"smooth_bits"}:
        np.testing.assert_array_equal(to_numpy(first[name]), to_numpy(again[name]))
    assert first["reconstruction"].shape == images.shape
    np.testing.assert_array_equal(to_numpy(first["quality"]), [25, 75])


def test_training_draws_qualities_and_noise_anew(tiny_model, images):
    first, again = (tiny_model(images, training=True) for _ in range(2))
    assert (to_numpy(first["bits"]) != to_numpy(again["bits"])).all()
    qualities = np.concatenate([to_numpy(x["quality"]) for x in (first, again)])
    np.testing.assert_array_equal(qualities, np.rint(qualities))
    assert len(set(qualities)) > 1


# --- attention


def loss_of_routing(model, images, symbols, bits, logits, quality=None):
    """Loss of routing by `logits`, where each level of each patch costs `bits` = (medium, high)."""
    quality = np.full(len(images), 50, np.float32) if quality is None else quality
    spent = [ops.zeros_like(y) for y in symbols]
    for number, total in zip((-2, -1), bits, strict=True):
        y = symbols[number]
        places = (y.shape[1] // logits.shape[1]) ** 2 * y.shape[3]  # of a patch
        spent[number] = ops.full(y.shape, total / places)
    costs = model._routing_costs(images, symbols, spent, quality)
    return routing_loss(*costs, [logits - threshold for _, threshold in model._thresholds()])


def symbols_of(model, images, quality):
    """Plainly rounded, all levels on."""
    latents, _ = model.analyse(images, quality)
    return model.encode(latents, [1.0] * (len(latents) - 1), quality)[0]


@pytest.mark.parametrize(
    ("bits", "best"), [((1, 1), 3), ((1, 2e4), 2), ((2e4, 1), 1), ((2e4, 2e4), 1)]
)
def test_attention_learns_the_level_that_costs_the_least(tiny_model, rng, bits, best):
    """Noise is worth all levels where they are cheap, and none that is dear."""
    noise = rng.normal(0.5, 0.1, (2, 64, 64, 3)).astype(np.float32)
    symbols = symbols_of(tiny_model, noise, np.full(2, 50, np.float32))
    spread = float(tiny_model.attention.spread.value)
    losses = [
        float(loss_of_routing(tiny_model, noise, symbols, bits, np.full((2, 2, 2), logit, "f4")))
        for logit in (-2 * spread, 0.0, 2 * spread)
    ]
    assert np.argmin(losses) + 1 == best


def test_patches_with_more_at_stake_weigh_more(tiny_model, rng):
    """A wrong level for the busy patch costs more than one for the calm patch."""
    image = np.full((1, 64, 64, 3), 0.5, np.float32)
    image[:, :, :32] += rng.normal(0, 0.02, (1, 64, 32, 3))
    image[:, :, 32:] += rng.normal(0, 0.2, (1, 64, 32, 3))
    symbols = symbols_of(tiny_model, image, np.array([50], np.float32))
    calm_wrong, busy_wrong = (
        float(loss_of_routing(tiny_model, image, symbols, (1, 1), np.array([[logits] * 2], "f4")))
        for logits in ([-9.0, 9.0], [9.0, -9.0])
    )
    assert busy_wrong > 2 * calm_wrong


def test_routing_weighs_as_much_at_a_low_quality_as_at_a_high_one(tiny_model, rng):
    """What is at stake is compared within an image, not with that of another image."""
    noise = rng.normal(0.5, 0.1, (2, 64, 64, 3)).astype(np.float32)
    quality = np.array([10, 90], np.float32)
    symbols = symbols_of(tiny_model, noise, quality)
    wrong = np.full((2, 2, 2), 9.0, np.float32)
    rights = [np.concatenate([-wrong[:1], wrong[1:]]), np.concatenate([wrong[:1], -wrong[1:]])]
    low, high = (
        float(loss_of_routing(tiny_model, noise, symbols, (1, 1), r, quality)) for r in rights
    )
    assert low == pytest.approx(high, rel=0.05)


def test_a_level_that_saves_less_than_its_work_is_left_out(tiny_model):
    """On a flat patch the upper levels neither cost nor save anything."""
    flat = np.full((1, 64, 64, 3), 0.55, np.float32)  # what is rounded off counts
    silent = symbols_of(tiny_model, flat, np.array([50], np.float32))
    silent[2:] = [ops.zeros_like(k) for k in silent[2:]]
    off, on = (
        float(loss_of_routing(tiny_model, flat, silent, (0, 0), np.full((1, 2, 2), x, "f4")))
        for x in (-9.0, 9.0)
    )
    assert off < on


def test_in_training_every_other_image_shows_all_levels(tiny_model_with, images):
    """The others are routed, here with nothing but the low level."""
    model = twin(tiny_model_with())
    model.attention.score.bias.assign([-99.0])
    given = []
    predict = model.context_model.call
    model.context_model.call = lambda symbols, masks, condition: (
        given.extend(masks) or predict(symbols, masks, condition)
    )
    model(images, training=True)
    low, *switched = map(to_numpy, given)
    assert low.all()
    for mask in switched:
        assert mask[0].all()
        assert not mask[1].any()


# --- the objective


@pytest.fixture
def half_textured(rng):
    """A flat left half and a textured right half, with the same error everywhere."""
    image = np.full((1, 64, 64, 3), 0.5, np.float32)
    image[:, :, 32:] += rng.normal(0, 0.1, (1, 64, 32, 3))
    return image, image + rng.normal(0, 0.02, image.shape).astype(np.float32)


def loss_of(image, restored, **objective):
    model = MRDCAE(**TINY, **objective)
    answer = {
        "reconstruction": ops.convert_to_tensor(restored),
        "bits": ops.zeros(len(image)),
        "smooth_bits": ops.zeros(len(image)),
        "routing_loss": ops.zeros(()),
        "quality": np.full(len(image), 50, np.float32),
    }
    return float(model.compute_loss(x=image, y_pred=answer))


def test_only_textured_patches_are_judged_by_structure(half_textured):
    image, restored = half_textured
    left, right = np.s_[:, :, :32], np.s_[:, :, 32:]
    for kind in ("ssim", "edge"):
        light, heavy = ({"textured_loss": kind, "structure": s} for s in (10.0, 20.0))
        smooth = [loss_of(image[left], restored[left], **o) for o in (light, heavy)]
        rough = [loss_of(image[right], restored[right], **o) for o in (light, heavy)]
        assert smooth[0] == smooth[1]
        assert rough[1] > 1.05 * rough[0]


def test_the_share_of_squared_error_counts_on_textured_patches_only(half_textured):
    image, restored = half_textured
    left, right = np.s_[:, :, :32], np.s_[:, :, 32:]
    none, full = ({"mse_share": s} for s in (0.0, 1.0))
    assert loss_of(image[left], restored[left], **none) == loss_of(
        image[left], restored[left], **full
    )
    assert loss_of(image[right], restored[right], **none) < loss_of(
        image[right], restored[right], **full
    )


def test_without_switching_the_loss_is_squared_error_in_steps(half_textured):
    image, restored = half_textured
    step = quantisation_step(50)
    squared = 3 * ((image - restored) ** 2).mean()
    expected = np.sqrt(step * 255) / 5 * squared / (0.14 * step**2)
    assert loss_of(image, restored, textured_loss="mse") == pytest.approx(expected, rel=1e-4)
    switched_off = {"structure": 0.0, "mse_share": 1.0}
    assert loss_of(image, restored, **switched_off) == pytest.approx(expected, rel=1e-4)


def test_bits_count_per_pixel(half_textured):
    image, restored = half_textured
    model = MRDCAE(**TINY)
    answer = {
        "reconstruction": ops.convert_to_tensor(restored),
        "routing_loss": ops.zeros(()),
        "smooth_bits": ops.zeros(1),
        "quality": np.array([50], np.float32),
    }
    cheap, dear = (
        float(model.compute_loss(x=image, y_pred={**answer, "bits": ops.full((1,), bits)}))
        for bits in (0.0, 64.0 * 64)
    )
    assert dear - cheap == pytest.approx(np.sqrt(quantisation_step(50) * 255) / 5, rel=1e-3)


def test_the_networks_learn_from_noisy_bits_and_the_context_model_from_those_of_the_symbols(
    tiny_model, images
):
    with tf.GradientTape(persistent=True) as tape:
        answer = tiny_model(images, training=True)
    context, gain = tiny_model.context_model.trainable_variables[0], tiny_model.gains[0].curve
    for name, learns, rests in (("bits", context, gain), ("smooth_bits", gain, context)):
        assert np.any(tape.gradient(answer[name], learns.value))
        assert tape.gradient(answer[name], rests.value) is None


@pytest.mark.parametrize("choice", [choice for choice, _ in TWINS.values()], ids=TWINS.keys())
def test_the_gradient_of_the_loss_reaches_every_weight(choice, tiny_model_with, rng):
    model = twin(tiny_model_with(**choice))
    images = rng.random((2, 128, 64, 3)).astype(np.float32)  # with an edge of every kind
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x=images, y_pred=model(images, training=True))
    variables = model.trainable_variables
    for variable, gradient in zip(
        variables, tape.gradient(loss, [v.value for v in variables]), strict=True
    ):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient), variable.path


def test_fitting_lowers_the_loss_and_reports_it(tiny_model, photograph):
    model = twin(tiny_model)
    model.compile(optimizer=keras.optimizers.Adam(2e-3), jit_compile=False)
    assert [m.name for m in model.metrics] == ["loss", "bpp", "psnr", "ssim", "lagrangian"]
    crops = Photographs([photograph], size=128, batch=2, steps=5, augment=False, fixed=True)
    before = model.evaluate(crops[0], verbose=0, return_dict=True)
    history = model.fit(crops, verbose=0).history
    after = model.evaluate(crops[0], verbose=0, return_dict=True)
    assert set(history) == {"loss", "bpp", "psnr", "ssim", "lagrangian"}
    assert after["loss"] < 0.9 * before["loss"]
    assert 0 < after["ssim"] < 1
    assert after["bpp"] > 0


# --- configuration and files


def test_a_saved_model_computes_the_same_when_it_is_loaded(tiny_model, images, tmp_path):
    tiny_model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(restored, MRDCAE)
    assert restored.get_config() == tiny_model.get_config()
    expected, found = tiny_model(images), restored(images)
    for name in ("reconstruction", "bits", "quality"):
        np.testing.assert_array_equal(to_numpy(found[name]), to_numpy(expected[name]))
    assert Codec.from_model(restored).id == Codec.from_model(tiny_model).id


def test_every_choice_is_in_the_config():
    chosen = {
        **TINY,
        **{"textured_loss": "edge", "mse_share": 0.5, "structure": 3.0, "threshold": 0.02},
        **{"seed": 9, "resolutions": 1, "attention": False},
    }
    config = MRDCAE(**chosen).get_config()
    assert {name: config[name] for name in chosen} == chosen


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"textured_loss": "psnr"}, "textured_loss must be 'ssim', 'edge' or 'mse'. Received: 'ps"),
        ({"prior_width": 97}, "prior_width must be a whole number from 1 to 96. Received: 97"),
        ({"resolutions": 5}, "resolutions must be a whole number from 1 to 4. Received: 5"),
        ({"resolutions": 1}, "attention must be .* False with a single resolution"),
    ],
)
def test_impossible_choices_are_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        MRDCAE(**choice)


def test_fitting_without_images_says_what_is_missing():
    with pytest.raises(ValueError, match="fit needs images"):
        MRDCAE(**TINY).compute_loss()
