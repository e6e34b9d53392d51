import math

import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import convolve2d
from skimage.metrics import peak_signal_noise_ratio

from mrdcae_lite.core.distortion import mse, psnr
from mrdcae_lite.evaluation.baselines import BASELINES
from mrdcae_lite.evaluation.metrics import ms_ssim, seam_ratio, ssim, ssim_db
from mrdcae_lite.io.images import sample
from mrdcae_lite.io.sizes import bits_per_pixel, compression_ratio


@pytest.fixture
def noisy(photograph, rng):
    noise = rng.normal(0, 12, photograph.shape)
    return np.clip(np.round(photograph + noise), 0, 255).astype(np.uint8)


def similarity_by_definition(x, y, data_range):
    """Equation 13 of the 2004 paper and its contrast-structure part, window by window."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(values):
        return convolve2d(values, window, mode="valid")

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mx, my = mean(x), mean(y)
    contrast = (2 * (mean(x * y) - mx * my) + c2) / (mean(x * x) - mx**2 + mean(y * y) - my**2 + c2)
    luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    return (luminance * contrast).mean(), contrast.mean()


def multi_scale_by_definition(x, y, data_range):
    result = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        similarity, contrast = similarity_by_definition(x, y, data_range)
        result *= (similarity if scale == 4 else contrast) ** weight
        x, y = halved(x), halved(y)
    return result


def halved(x):
    x = np.vstack([x, x[-1:]]) if x.shape[0] % 2 else x
    x = np.hstack([x, x[:, -1:]]) if x.shape[1] % 2 else x
    return x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean(axis=(1, 3))


def test_psnr_equals_scikit_image(photograph, noisy):
    expected = peak_signal_noise_ratio(photograph, noisy, data_range=255)
    assert psnr(photograph, noisy, data_range=255) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [psnr, ssim, ms_ssim])
def test_metrics_do_not_depend_on_the_unit(metric, photograph, noisy):
    as_fractions = metric(photograph / 255, noisy / 255, data_range=1)
    assert metric(photograph, noisy, data_range=255) == pytest.approx(as_fractions, rel=1e-9)


@pytest.mark.parametrize(("metric", "best"), [(psnr, math.inf), (ssim, 1.0), (ms_ssim, 1.0)])
def test_identical_pictures_get_the_best_score(metric, best, photograph):
    assert metric(photograph, photograph, data_range=255) == pytest.approx(best, abs=1e-12)


def test_ssim_equals_the_definition_on_every_channel(photograph, noisy):
    channels = zip(*(np.moveaxis(x.astype(float), -1, 0) for x in (photograph, noisy)), strict=True)
    expected = np.mean([similarity_by_definition(x, y, 255)[0] for x, y in channels])
    assert ssim(photograph, noisy, data_range=255) == pytest.approx(expected, abs=1e-10)


def test_ssim_equals_tensorflow(photograph, noisy):
    expected = float(tf.image.ssim(photograph, noisy, max_val=255))
    assert ssim(photograph, noisy, data_range=255) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("side", [161, 176, 179])
def test_ms_ssim_equals_the_definition_on_grey_pictures(side, photograph, noisy):
    x, y = photograph[:side, :side, 1], noisy[:side, :side, 1]
    expected = multi_scale_by_definition(x.astype(float), y.astype(float), 255)
    assert ms_ssim(x, y, data_range=255) == pytest.approx(expected, abs=1e-10)


def test_ms_ssim_equals_tensorflow_on_colour_pictures(photograph, noisy):
    expected = float(tf.image.ssim_multiscale(photograph, noisy, max_val=255))
    assert ms_ssim(photograph, noisy, data_range=255) == pytest.approx(expected, abs=1e-5)


def test_ms_ssim_of_a_negative_is_zero_and_not_complex(photograph):
    assert ms_ssim(photograph, 255 - photograph, data_range=255) == 0


@pytest.mark.parametrize(("metric", "least"), [(ssim, 11), (ms_ssim, 161)])
def test_similarity_refuses_pictures_smaller_than_its_window(metric, least):
    fits, small = np.zeros((least, least, 3)), np.zeros((least + 9, least - 1, 3))
    assert metric(fits, fits, data_range=1) == 1
    with pytest.raises(ValueError, match=f"at least {least} x {least}.*width {least - 1}"):
        metric(small, small, data_range=1)


def test_metrics_refuse_pictures_of_different_shapes():
    with pytest.raises(ValueError, match=r"one shape. Received: \(4, 4\) and \(4, 5\)"):
        mse(np.zeros((4, 4)), np.zeros((4, 5)))


def test_similarity_refuses_a_batch():
    batch = np.zeros((2, 16, 16, 3))
    with pytest.raises(ValueError, match="one picture at a time"):
        ssim(batch, batch, data_range=1)


@pytest.mark.parametrize("data_range", [0, -1, math.nan, math.inf])
def test_metrics_refuse_an_impossible_data_range(data_range):
    with pytest.raises(ValueError, match="data_range must be"):
        psnr(np.zeros((4, 4)), np.ones((4, 4)), data_range=data_range)


@pytest.mark.parametrize(("score", "decibels"), [(0, 0), (0.9, 10), (0.99, 20), (1, math.inf)])
def test_ssim_db_gains_ten_for_each_tenth_of_the_loss(score, decibels):
    assert ssim_db(score) == pytest.approx(decibels)


@pytest.mark.parametrize("score", [1.01, math.nan])
def test_ssim_db_refuses_what_is_no_similarity(score):
    with pytest.raises(ValueError, match="at most 1"):
        ssim_db(score)


def test_rate_and_ratio_count_every_byte_of_the_file():
    data = bytes(1000)
    assert bits_per_pixel(data, (100, 80, 3)) == bits_per_pixel(data, (100, 80)) == 1.0
    assert compression_ratio(data, (100, 80, 3)) == 24.0
    assert compression_ratio(data, (100, 80, 3), source_bytes=5000) == 5.0


def test_ratio_refuses_no_bytes_and_impossible_sizes():
    with pytest.raises(ValueError, match="no bytes"):
        compression_ratio(b"", (8, 8))
    with pytest.raises(ValueError, match="source_bytes must be"):
        compression_ratio(b"x", (8, 8), source_bytes=0)


@pytest.mark.parametrize("shape", [(8,), (1, 8, 8, 3), (0, 8, 3)])
def test_rate_refuses_what_is_no_shape_of_a_picture(shape):
    with pytest.raises(ValueError, match=r"Pass image\.shape"):
        bits_per_pixel(b"x", shape)


# --- seams


def test_an_error_without_borders_has_no_seam(rng):
    image = rng.uniform(0, 255, (64, 96, 3))
    restored = image + rng.normal(0, 3, image.shape)
    assert seam_ratio(image, restored, [32], [32, 64]) == pytest.approx(1, abs=0.15)


def test_a_shift_of_one_block_is_a_seam_wherever_the_picture_has_edges(rng):
    image = rng.uniform(0, 255, (64, 96))
    restored = image + rng.normal(0, 1, image.shape)
    restored[:, 32:] += 8
    assert seam_ratio(image, restored, [], [32]) == pytest.approx(8 / (2 / np.sqrt(np.pi)), rel=0.1)
    assert seam_ratio(image, restored, [32], [64]) < 1.2


def test_the_seams_of_jpeg_stand_on_its_blocks():
    image = sample("dog")
    data = BASELINES["jpeg"].encode(image, 10)
    restored = BASELINES["jpeg"].decode(data)
    on, beside = range(8, 576, 8), range(4, 576, 8)
    assert seam_ratio(image, restored, on, on) > 1.2 > seam_ratio(image, restored, beside, beside)


def test_without_borders_in_the_picture_and_uneven_errors_there_is_no_ratio(rng):
    picture = rng.random((8, 8))
    with pytest.raises(ValueError, match="at least one border"):
        seam_ratio(picture, np.zeros((8, 8)), [], [])
    with pytest.raises(ValueError, match=r"from 1 to 7, the side less 1. Received: \[0, 4\]"):
        seam_ratio(picture, np.zeros((8, 8)), [4, 0], [])
    with pytest.raises(ValueError, match="from 1 to 7"):
        seam_ratio(picture, np.zeros((8, 8)), [], [8])
    with pytest.raises(ValueError, match="must jump somewhere"):
        seam_ratio(np.zeros((8, 8)), np.ones((8, 8)), [4], [])
