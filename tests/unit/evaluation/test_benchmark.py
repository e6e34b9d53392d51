import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from mrdcae_lite.cli import main
from mrdcae_lite.codec import Codec
from mrdcae_lite.core.distortion import psnr
from mrdcae_lite.evaluation.baselines import BASELINES
from mrdcae_lite.evaluation.benchmark import (
    CodecUnderTest,
    Settings,
    bundled,
    codecs_under_test,
    evaluate,
    measure,
    measure_point,
    pictures,
)
from mrdcae_lite.evaluation.metrics import ms_ssim, ssim
from mrdcae_lite.evaluation.report import table, to_json
from mrdcae_lite.io.images import sample_names, write_image
from mrdcae_lite.io.sizes import bits_per_pixel
from mrdcae_lite.models import registry
from mrdcae_lite.training.complexity import TEXTURE_THRESHOLD, local_complexity
from mrdcae_lite.training.model import MRDCAE

JPEG = Settings(codecs=("jpeg",))


@pytest.fixture
def half_textured(rng):
    """96 x 128 pixels: flat on the left, noisy from column 64 on."""
    image = np.full((96, 128, 3), 128, np.uint8)
    image[:, 64:] = rng.integers(60, 200, (96, 64, 3))
    return image


@pytest.fixture
def folder(tmp_path, photograph):
    for number in range(3):
        write_image(tmp_path / f"part{number}.png", photograph[:48, 9 * number :][:, :56])
    return tmp_path


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.keras-codec"
    model = MRDCAE(deblocking=4, refinement=4, prior_width=8)
    model.build()
    Codec.from_model(model).save(path)
    return path


def without_times(report):
    text = json.dumps(report)
    for key in ("encode_s", "decode_s", "encode_mp_per_s", "decode_mp_per_s"):
        assert key in text
    return json.loads(text, object_hook=lambda d: {k: v for k, v in d.items() if "code_" not in k})


def test_a_point_holds_the_package_s_metrics_of_the_real_file(photograph):
    jpeg = BASELINES["jpeg"]
    codec = CodecUnderTest("JPEG", (30,), jpeg.encode, jpeg.decode)
    data = jpeg.encode(photograph, 30)
    restored = jpeg.decode(data)
    point = measure_point(
        photograph, codec, 30, local_complexity(photograph / 255) > TEXTURE_THRESHOLD
    )
    assert point.size == len(data)
    assert point.bpp == bits_per_pixel(data, photograph.shape)
    assert point.psnr == psnr(photograph, restored, data_range=255)
    assert point.ssim == pytest.approx(ssim(photograph, restored, data_range=255), abs=1e-12)
    assert point.ms_ssim == ms_ssim(photograph, restored, data_range=255)
    assert point.encode_s > 0
    assert point.decode_s > 0


def test_region_scores_are_those_of_the_patches_one_by_one(half_textured, rng):
    image = half_textured
    noise = rng.integers(-9, 10, image.shape) * np.linspace(0.1, 2, 128)[:, None]
    restored = np.clip(image + noise, 0, 255).astype(np.uint8)
    codec = CodecUnderTest("fake", (1,), lambda *_: b"12345", lambda _: restored)
    point = measure_point(image, codec, 1, local_complexity(image / 255) > TEXTURE_THRESHOLD)
    similarity = structural_similarity(
        *(image, restored),
        **{"channel_axis": 2, "gaussian_weights": True, "use_sample_covariance": False},
        full=True,
    )[1]
    scores = {"smooth": ([], []), "complex": ([], [])}
    for top in range(0, 96, 16):
        for left in range(0, 128, 16):
            window = np.s_[top : top + 16, left : left + 16]
            errors, similarities = scores["complex" if left >= 64 else "smooth"]
            errors.append(np.mean((image[window] - restored[window].astype(float)) ** 2))
            similarities.append(similarity[window].mean())
    for region, (errors, similarities) in scores.items():
        decibels = 10 * math.log10(255**2 / np.mean(errors))
        assert getattr(point, f"psnr_{region}") == pytest.approx(decibels)
        assert getattr(point, f"ssim_{region}") == pytest.approx(np.mean(similarities))


def test_the_report_says_what_it_was_made_of(folder):
    report = evaluate(pictures([folder])[0], JPEG)
    assert report["n"] == 3
    assert [p["name"] for p in report["photographs"]] == ["part0.png", "part1.png", "part2.png"]
    first = report["photographs"][0]
    content = (folder / "part0.png").read_bytes()
    assert first["sha256"] == hashlib.sha256(content).hexdigest()
    assert (first["width"], first["height"]) == (56, 48)
    assert first["points"]["jpeg"]["quality"] == list(BASELINES["jpeg"].sweep)
    assert first["points"]["jpeg"]["ms_ssim"] == [None] * len(BASELINES["jpeg"].sweep)
    assert report["models"] == {}
    assert {"python", "numpy", "mrdcae-lite"} <= set(report["versions"])
    assert report["conditions"]["resize"] is None


def test_two_processes_find_what_one_finds(folder):
    paths, _ = pictures([folder])
    alone, together = (evaluate(paths, JPEG, jobs=jobs) for jobs in (1, 2))
    assert without_times(together) == without_times(alone)


def test_an_unknown_codec_is_refused_before_anything_is_measured(folder):
    with pytest.raises(ValueError, match=r"codecs must be jpeg, .*Received: 'gif'"):
        evaluate(pictures([folder])[0], Settings(codecs=("gif",)))


def test_points_of_the_other_codecs_are_reused_for_the_same_file(folder):
    paths, _ = pictures([folder])
    earlier = json.loads(to_json(evaluate(paths, JPEG)))
    earlier["photographs"][0]["points"]["jpeg"]["psnr"][0] = 12.5
    earlier["photographs"][1]["sha256"] = "of another file"
    earlier["photographs"][1]["points"]["jpeg"]["psnr"][0] = 12.5
    report = evaluate(paths, JPEG, earlier=earlier)
    first = [p["points"]["jpeg"]["psnr"][0] for p in report["photographs"]]
    assert first[0] == 12.5
    assert first[1] != 12.5
    assert first[2] == earlier["photographs"][2]["points"]["jpeg"]["psnr"][0]
    assert report["reused"] is True


def test_pictures_are_resized_to_a_standard_square(folder):
    found = measure(folder / "part0.png", replace(JPEG, resize=32), {})
    assert (found.width, found.height) == (32, 32)


def test_a_folder_stands_for_its_pictures_evenly_thinned(tmp_path):
    for name in ("c.png", "a.JPG", "notes.txt", "b.webp", "d.png"):
        (tmp_path / name).touch()
    assert [p.name for p in pictures([tmp_path])[0]] == ["a.JPG", "b.webp", "c.png", "d.png"]
    assert [p.name for p in pictures([tmp_path], 2)[0]] == ["a.JPG", "c.png"]
    assert len(pictures([tmp_path], 9)[0]) == 4
    assert [p.stem for p in bundled()] == list(sample_names())


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected at least one picture"):
        pictures([tmp_path])


def test_one_command_compares_our_codec_with_jpeg(folder, tiny_model, capsys):
    out = folder / "report.json"
    asked = ["evaluate", str(folder), "--codecs", "mrdcae", "--model", str(tiny_model)]
    assert main([*asked, "--qualities", "10,40,70,100", "--limit", "2", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "At equal file size MR-DCAE tiny is" in said.out
    assert said.err.splitlines() == ["1/2 part0.png", "2/2 part1.png"]
    report = json.loads(out.read_text())
    assert list(report["codecs"]) == ["jpeg", "mrdcae"]
    assert report["models"] == {
        "mrdcae": {"file": "MR-DCAE tiny", "id": Codec.read(tiny_model.read_bytes()).id.hex()}
    }
    assert report["photographs"][0]["points"]["mrdcae"]["quality"] == [10, 40, 70, 100]
    assert table(report) + f"\n\n{out}: {out.stat().st_size} bytes\n" == said.out
    assert main([*asked, "--out", str(out)]) == 2
    assert "report.json exists" in capsys.readouterr().err


def test_shipped_codecs_take_part_under_titles_of_their_own():
    field = codecs_under_test(Settings(codecs=("mrdcae", "standard"), qualities=(30,)))
    assert [codec.title for codec in field.values()][1:] == [
        "MR-DCAE lite",
        "standard autoencoder",
    ]
    assert field["standard"].model == registry()["standard"]["id"] != field["mrdcae"].model


def test_files_cut_off_after_a_level_take_part_like_codecs_of_their_own(photograph, tiny_model):
    names = ("mrdcae", "mrdcae:2", f"mine:1={tiny_model}")
    settings = Settings(codecs=names, model=str(tiny_model), qualities=(30, 60))
    field = codecs_under_test(settings)
    assert list(field) == ["jpeg", "mrdcae", "mrdcae:2", "mine:1"]
    titles = [field[name].title for name in ("mrdcae", "mrdcae:2", "mine:1")]
    assert titles[:2] == ["MR-DCAE tiny", "MR-DCAE tiny, up to level 2"]
    assert titles[2] == "MR-DCAE mine, up to level 1"
    codec = Codec.read(tiny_model.read_bytes())
    whole = field["mrdcae"].encode(photograph, 60)
    assert whole == codec.compress(photograph, 60)
    sizes = [len(whole)]
    for name, level in (("mrdcae:2", 2), ("mine:1", 1)):
        assert field[name].model == codec.id.hex()
        assert field[name].qualities == (30, 60)
        data = field[name].encode(photograph, 60)
        assert whole.startswith(data)
        sizes.append(len(data))
        expected = codec.decompress(whole, level=level)
        np.testing.assert_array_equal(field[name].decode(data), expected)
    assert sizes == sorted(set(sizes), reverse=True)


def test_the_effort_of_our_encoder_is_a_part_of_its_name(photograph, tiny_model):
    names = ("mrdcae@3", f"mine@0:2={tiny_model}")
    field = codecs_under_test(Settings(names, str(tiny_model), (30, 60)))
    titles = [field[name].title for name in ("mrdcae@3", "mine@0:2")]
    assert titles == ["MR-DCAE tiny, effort 3", "MR-DCAE mine, effort 0, up to level 2"]
    codec = Codec.read(tiny_model.read_bytes())
    whole = [field["mrdcae@3"].encode(photograph, 60), codec.compress(photograph, 60, effort=0)]
    assert whole[0] == codec.compress(photograph, 60, effort=3) != whole[1]
    assert whole[1].startswith(cut := field["mine@0:2"].encode(photograph, 60))
    assert len(cut) < len(whole[1])


@pytest.mark.parametrize("effort", ["6", "-1", "much"])
def test_other_efforts_are_refused(tiny_model, effort):
    with pytest.raises(ValueError, match=f"expected mrdcae@0 to mrdcae@5. .* 'mrdcae@{effort}'"):
        codecs_under_test(Settings(codecs=(f"mrdcae@{effort}",), model=str(tiny_model)))


def test_there_are_three_levels_to_cut_off_after(tiny_model):
    with pytest.raises(ValueError, match="expected mrdcae:1, .* Received: 'mrdcae:4'"):
        codecs_under_test(Settings(codecs=("mrdcae:4",), model=str(tiny_model)))


def test_the_command_names_what_it_skips_and_goes_on_while_something_is_left(folder, capsys):
    (folder / "part0.png").write_bytes(b"no picture")
    write_image(folder / "part2.png", np.zeros((9, 40, 3), np.uint8))
    asked = ["evaluate", "--codecs", "jpeg"]
    assert main([*asked, str(folder)]) == 1
    out, err = capsys.readouterr()
    dead, measured, small = err.splitlines()
    assert dead.startswith("1/3 skipped: ")
    assert "part0.png: expected a picture" in dead
    assert measured == "2/3 part1.png"
    assert "part2.png: expected 16 x 16 pixels" in small
    assert "2 skipped: part0.png, part2.png" in out
    assert main([*asked, str(folder / "part0.png")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "mrdcae: none of 1 pictures could be measured. Name others."
    )
