"""Committed results follow from what the code does: what moves a fingerprint, and what does not."""

import keras
import pytest

from book.experiments import fingerprint, inputs, toolbox, twins
from book.experiments import run as experiments
from mrdcae_lite.core import quality
from mrdcae_lite.evaluation import baselines, metrics, report
from mrdcae_lite.runtime import encoder
from mrdcae_lite.training import complexity, losses, model


def differences(part, **options):
    """What a part measures now against the committed fingerprint."""
    now = report.rounded(fingerprint.PARTS[part](**options))
    (then,) = inputs.fingerprints()[part].values()
    return fingerprint.differences(now, {key: then[key] for key in now if key in then})


def test_every_committed_result_follows_the_schema():
    for result in experiments.read_results(experiments.RESULTS).values():
        experiments.check(result)
        assert result["profile"] == "full"


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="twins were trained with it")
def test_no_committed_result_is_stale():
    assert experiments.stale() == {}, "run make experiments PROFILE=full, then make results"


@pytest.mark.parametrize(
    ("module", "constant", "value", "part"),
    [
        (encoder, "rdoq_lambda", lambda quality: 0.5, "lite"),
        (encoder, "RDOQ_OFFSET", 0.5, "lite"),
        (encoder, "ADAPTED_PRICE", 2.0, "effort"),
        (encoder, "EMPHASIS", 0.5, "effort"),
        (quality, "COARSEST_STEP", 190 / 255, "standard"),
        (metrics, "SSIM_SIGMA", 1.6, "metrics"),
        (metrics, "MS_SSIM_WEIGHTS", (0.0548, 0.2756, 0.3001, 0.2363, 0.1333), "metrics"),
        (complexity, "SWITCH_PATCH", 32, "metrics"),
        (report, "RATES", (0.25, 0.6, 1.0), "metrics"),
        (toolbox, "EDGE", 0.2, "metrics"),
        (twins, "ROUTED_AT", (5, 50, 80), "routers"),
    ],
)
def test_a_changed_constant_is_seen(module, constant, value, part, monkeypatch):
    monkeypatch.setattr(module, constant, value)
    assert differences(part)


def test_another_option_of_a_classical_codec_is_seen(monkeypatch):
    jpeg = baselines.BASELINES["jpeg"]
    other = baselines.Baseline(
        jpeg.name, jpeg.title, "JPEG", jpeg.grid, jpeg.sweep, lambda q: {"quality": round(q)}
    )
    monkeypatch.setitem(baselines.BASELINES, "jpeg", other)
    assert differences("baselines")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="twins were trained with it")
@pytest.mark.parametrize(
    ("module", "constant", "value"),
    [(model, "LAMBDA", 0.16), (losses, "blur", lambda planes: planes)],
)
def test_a_changed_training_is_seen(module, constant, value, monkeypatch):
    monkeypatch.setattr(module, constant, value)
    assert differences("training", names=["all-three"])


def test_what_other_machines_change_is_not_seen_and_what_moves_a_result_is():
    then = {"a bytes": 1000, "a dB": 30.0, "a ssim": 0.9, "a loss": 2.0, "sum": 5.0, "none": None}
    near = {"a bytes": 1004, "a dB": 30.008, "a ssim": 0.90009, "a loss": 2.003, "sum": 5.004}
    assert fingerprint.differences({**near, "none": None, "new": 1.0}, then) == []
    far = {"a bytes": 1006, "a dB": 30.02, "a ssim": 0.9002, "a loss": 2.005, "sum": 5.006}
    assert len(fingerprint.differences({**far, "none": 1.0}, then)) == len(then)
    assert fingerprint.differences({}, {"a dB": 30.0}) == ["a dB None, was 30.0"]


def test_an_agreeing_fingerprint_keeps_its_name(monkeypatch, tmp_path):
    monkeypatch.setattr(inputs, "FINGERPRINTS", tmp_path / "fingerprints.json")
    monkeypatch.setattr(inputs, "measured", lambda part: {"a dB": 30.0})
    first = inputs.behaviour("lite")
    assert inputs.keep_fingerprints({"lite": {first}}) == []
    monkeypatch.setattr(inputs, "measured", lambda part: {"a dB": 30.004})
    assert inputs.behaviour("lite") == first
    assert inputs.moved("lite", first) is None
    monkeypatch.setattr(inputs, "measured", lambda part: {"a dB": 31.0})
    other = inputs.behaviour("lite")
    assert other != first
    assert inputs.moved("lite", first) == "behaviour lite: a dB 31.0, was 30.0"
    assert inputs.moved("lite", "gone") == "behaviour lite: fingerprints.json has no gone"
    assert inputs.keep_fingerprints({"lite": {first, "gone"}}) == ["lite gone"]
    assert inputs.keep_fingerprints({"lite": {first, other}}) == []
    assert [*inputs.fingerprints()["lite"]] == sorted([first, other])
