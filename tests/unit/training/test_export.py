import io
import json
import sys

import numpy as np
import pytest

import mrdcae_lite as mr
from mrdcae_lite.cli import main
from mrdcae_lite.evaluation import inspection
from mrdcae_lite.training import export

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sessions(tiny_codec):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return {
        name: onnxruntime.InferenceSession(graph, options)
        for name, graph in export.graphs(tiny_codec).items()
    }


def run(session, **inputs):
    given = {name: np.asarray(value, np.float32)[None] for name, value in inputs.items()}
    names = [output.name for output in session.get_outputs()]
    found = session.run(None, given)
    return {name: value[0] for name, value in zip(names, found, strict=True)}


@pytest.mark.parametrize("quality", [0, 40, 100])
@pytest.mark.parametrize("size", [(64, 64), (128, 64), (64, 320), (192, 256)])
def test_the_graphs_compute_what_the_codec_computes(sessions, tiny_codec, quality, size):
    height, width = size
    picture = mr.sample("flowers")[:height, :width]
    image = picture.astype(np.float32) / 255
    latents = tiny_codec.analyse(picture, quality)
    found = run(sessions["analysis"], image=image, quality=quality)
    for number, level in enumerate(latents.levels):
        np.testing.assert_allclose(found[f"level{number}"], level, rtol=1e-3, atol=1e-3)
    scores = 1 / (1 + np.exp(-found["logits"]))
    np.testing.assert_allclose(scores, latents.scores, atol=1e-4)

    symbols, _, _ = tiny_codec.read_symbols(tiny_codec.compress(picture, quality))
    gains = inspection.contrast_gains(tiny_codec.model, symbols, quality)
    for number in (2, 3):
        coarser = {f"level{n}": symbols[n] for n in range(number)}
        gain = run(sessions[f"contrast{number}"], **coarser, quality=quality)["gain"]
        np.testing.assert_allclose(gain, gains[number], rtol=1e-4)
    levels = {f"level{number}": level for number, level in enumerate(symbols)}
    restored = run(sessions["synthesis"], **levels, quality=quality)["image"]
    expected = tiny_codec.model.transforms.synthesise(symbols, quality)
    np.testing.assert_allclose(restored, expected, atol=2e-4)
    filtered = run(sessions["filter"], image=expected, quality=quality)["restored"]
    np.testing.assert_allclose(
        filtered, tiny_codec.model.transforms.filter(expected, quality), atol=2e-4
    )


def test_a_codec_of_one_resolution_can_be_exported(tiny_model_with):
    codec = mr.Codec.from_model(tiny_model_with(resolutions=1, attention=False))
    picture = mr.sample("dog")[:64, :96]
    session = onnxruntime.InferenceSession(export.graphs(codec)["analysis"])
    found = run(session, image=picture / 255, quality=30)
    latents = codec.analyse(picture, 30)
    assert {*found} == {"level0"}
    np.testing.assert_allclose(found["level0"], latents.levels[0], rtol=1e-3, atol=1e-3)


def test_the_context_model_is_exported_as_integers(tiny_codec):
    with np.load(io.BytesIO(export.context(tiny_codec)), allow_pickle=False) as archive:
        arrays = dict(archive)
    config = json.loads(arrays.pop("config").tobytes())
    assert config["resolutions"] == tiny_codec.architecture.resolutions
    assert arrays.pop("model").tobytes() == tiny_codec.id
    assert arrays.pop("tables").sum() == 64 << 16
    assert len(config["thresholds"]) == 2
    real = {name for name, array in arrays.items() if array.dtype == np.float32}
    assert real == {f"{kind}{n}" for kind in ("energy", "gain", "shift") for n in range(4)}
    context = {spec.name for spec in tiny_codec.architecture.context_arrays()}
    assert {*arrays} - real == context
    assert {arrays[name].dtype.kind for name in context} == {"i"}


def test_the_command_exports_a_codec_file(tiny_codec, tmp_path, capsys, monkeypatch):
    tiny_codec.save(tmp_path / "tiny.keras-codec")
    command = ["export", str(tmp_path / "tiny.keras-codec"), "--to", str(tmp_path / "graphs")]
    assert main(command) == 0
    names = sorted(path.name for path in (tmp_path / "graphs").iterdir())
    graphs = ["analysis.onnx", "contrast2.onnx", "contrast3.onnx", "filter.onnx", "synthesis.onnx"]
    assert names == sorted(["context.npz", *graphs])
    assert f"{tmp_path / 'graphs' / 'context.npz'}: " in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    assert main([*command[:-1], str(tmp_path / "other")]) == 2
    assert 'pip install "mrdcae-lite[onnx]"' in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
