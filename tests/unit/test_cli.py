import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

import mrdcae_lite as mr
from mrdcae_lite import commands, models
from mrdcae_lite.cli import main
from mrdcae_lite.coding.metadata import Metadata
from mrdcae_lite.core.quality import DEFAULT_EFFORT
from mrdcae_lite.evaluation.inspection import multiplications
from mrdcae_lite.io.batch import Compression
from mrdcae_lite.options import parser
from mrdcae_lite.training.model import MRDCAE


@pytest.fixture(scope="module", autouse=True)
def shipped(tiny_codec, tmp_path_factory):
    """The tiny codec as the only shipped one, so that no command waits for large weights."""
    folder = tmp_path_factory.mktemp("weights")
    tiny_codec.save(folder / "tiny.keras-codec")
    content = (folder / "tiny.keras-codec").read_bytes()
    entry = {"file": "tiny.keras-codec", "sha256": hashlib.sha256(content).hexdigest()}
    entry |= {"id": tiny_codec.id.hex(), "about": "a codec for tests"}
    with pytest.MonkeyPatch.context() as patch:
        for module in (models, commands):
            patch.setattr(module, "registry", lambda: {"lite": entry})
        patch.setattr(models, "_weights", lambda: folder)
        models._shipped.cache_clear()
        yield folder / "tiny.keras-codec"
        models._shipped.cache_clear()


@pytest.fixture
def folder(tmp_path, monkeypatch, image, data, foreign):
    """A working folder with a picture, a compressed one and several things that are neither."""
    monkeypatch.chdir(tmp_path)
    mr.write_image("photo.png", image)
    Path("photo.mrdc").write_bytes(data)
    Path("cut.mrdc").write_bytes(data[:-5])
    Path("flipped.mrdc").write_bytes(data[:-5] + bytes([data[-5] ^ 8]) + data[-4:])
    Path("foreign.mrdc").write_bytes(foreign)
    Path("empty.mrdc").touch()
    Path("text.txt").write_text("Once upon a time")
    Path("damaged.keras-codec").write_bytes(b"PK" + bytes(100))
    Path("folder").mkdir()
    Path("clash").mkdir()
    for name in ("a.jpg", "a.png"):
        Path("clash", name).touch()
    return tmp_path


@pytest.fixture(scope="module")
def foreign():
    """A picture that another codec than the shipped one compressed."""
    model = MRDCAE(deblocking=1, refinement=1, prior_width=1)
    model.build()
    return mr.Codec.from_model(model).compress(mr.sample("dog")[:8, :8], 0)


@pytest.fixture(scope="module")
def image():
    return mr.sample("flowers")[100:140, 200:250].copy()


@pytest.fixture(scope="module")
def data(tiny_codec, image):
    return tiny_codec.compress(image, quality=30)


@pytest.fixture
def album(folder, image):
    """A folder in the working folder: two photographs, a bad one and a text."""
    Path("album").mkdir()
    for name in ("first", "second"):
        mr.write_image(f"album/{name}.png", image[:30])
    Path("album/bad.png").write_bytes(b"no picture")
    Path("album/text.txt").touch()
    return Path("album")


def everything_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


# --- what works


def test_a_picture_becomes_a_file_and_a_picture_again(folder, capsys, tiny_codec, image):
    assert main(["compress", "photo.png", "small.mrdc", "--quality", "70"]) == 0
    data = Path("small.mrdc").read_bytes()
    assert data == tiny_codec.compress(image, quality=70)
    bpp = mr.bits_per_pixel(data, image.shape)
    assert f"small.mrdc: {len(data)} bytes, {bpp:.3f} bpp" in capsys.readouterr().out
    assert main(["decompress", "small.mrdc", "back.png"]) == 0
    np.testing.assert_array_equal(mr.read_image("back.png"), tiny_codec.decompress(data))


def test_names_of_results_are_made_from_those_of_the_inputs(folder, image):
    Path("photo.mrdc").unlink()
    assert main(["compress", "photo.png"]) == 0
    Path("photo.png").unlink()
    assert main(["decompress", "photo.mrdc", "--level", "1"]) == 0
    assert mr.read_image("photo.png").shape == image.shape


def test_a_target_rate_and_plain_rounding_can_be_asked_for(folder, tiny_codec, image):
    assert main(["compress", "photo.png", "a.mrdc", "--target-bpp", "3"]) == 0
    assert mr.bits_per_pixel(Path("a.mrdc").read_bytes(), image.shape) <= 3
    assert main(["compress", "photo.png", "b.mrdc", "--target-psnr", "20"]) == 0
    restored = tiny_codec.decompress(Path("b.mrdc").read_bytes())
    assert mr.psnr(image, restored, data_range=255) >= 20
    assert parser().parse_args(["compress", "photo.png"]).effort == DEFAULT_EFFORT
    assert main(["compress", "photo.png", "c.mrdc", "--effort", "0", "--quality", "9"]) == 0
    assert Path("c.mrdc").read_bytes() == tiny_codec.compress(image, 9, effort=0)


def test_a_codec_file_can_be_named_on_either_side(folder, shipped, tiny_codec, data):
    model = ["--model", str(shipped)]
    assert main(["compress", "photo.png", "a.mrdc", "--quality", "30", *model]) == 0
    assert Path("a.mrdc").read_bytes() == data
    assert main(["decompress", "a.mrdc", "a.png", *model]) == 0
    np.testing.assert_array_equal(mr.read_image("a.png"), tiny_codec.decompress(data))


def test_transparency_and_profile_come_back_and_camera_data_if_asked_for(folder, image, rng):
    alpha = rng.integers(0, 256, image.shape[:2], np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    mr.write_image("glass.png", image, Metadata(alpha, profile, exif.tobytes()))
    for flags, camera_data in ([], b""), (["--exif"], exif.tobytes()):
        assert main(["compress", "glass.png", "--force", *flags]) == 0
        assert main(["decompress", "glass.mrdc", "back.png", "--force"]) == 0
        kept = mr.read_picture("back.png", keep_exif=True).metadata
        np.testing.assert_array_equal(kept.alpha, alpha)
        assert (kept.icc, kept.exif) == (profile, camera_data)


def test_a_folder_is_compressed_and_decompressed(album, capsys, tiny_codec, image):
    Path("album/bad.png").unlink()
    assert main(["compress", "album", "--to", "small", "--quality", "20"]) == 0
    content = Path("album/first.png").read_bytes()
    origin = Compression(quality=20).origin(content)
    data = tiny_codec.compress(image[:30], 20, metadata=Metadata(origin=origin))
    assert len(data) == len(tiny_codec.compress(image[:30], 20)) + 26
    assert everything_in(Path("small")) == {"first.mrdc": data, "second.mrdc": data}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"1/2 small/first.mrdc: {len(data)} bytes, ")
    assert lines[1].startswith(f"2/2 small/second.mrdc: {len(data)} bytes, ")
    assert lines[2:] == ["2 written; left out: 1 other file"]
    assert main(["decompress", "small", "--to", "back", "--level", "1"]) == 0
    restored = tiny_codec.decompress(data, level=1)
    for name in ("first", "second"):
        np.testing.assert_array_equal(mr.read_image(f"back/{name}.png"), restored)
    assert capsys.readouterr().out.endswith("\n2 written\n")


def test_a_bad_file_in_a_folder_has_its_line_and_the_others_are_written(album, capsys):
    assert main(["compress", "album", "--to", "small"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("mrdcae: 1/3 album/bad.png: expected a picture.")
    assert err.count("\n") == 1
    assert out.endswith("\n1 failed, 2 written; left out: 1 other file\n")
    assert sorted(everything_in(Path("small"))) == ["first.mrdc", "second.mrdc"]
    Path("small/first.mrdc").write_bytes(Path("small/second.mrdc").read_bytes()[:-1])
    assert main(["decompress", "small", "--to", "back"]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("mrdcae: 1/2 small/first.mrdc: the high level section should end")
    assert out.endswith("\n1 failed, 1 written\n")
    assert sorted(everything_in(Path("back"))) == ["second.png"]


def test_a_repeated_run_goes_on_and_force_begins_again(album, capsys):
    Path("album/bad.png").unlink()
    command = ["compress", "album", "--to", "small"]
    Path("album/text.txt").unlink()
    for more, last in ([], "2 written"), ([], "2 there already"), (["--force"], "2 written"):
        assert main([*command, *more]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == last
    Path("small/first.mrdc").unlink()
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 written, 1 there already"


def test_a_file_says_what_it_is(folder, capsys, data, tiny_codec):
    assert main(["info", "photo.mrdc"]) == 0
    out = capsys.readouterr().out
    for part in ("50x40", "quality 30", tiny_codec.id.hex(), f"{len(data)} bytes"):
        assert part in out
    assert "cut off" not in out


def test_a_cut_file_says_how_long_it_was(folder, capsys, data):
    Path("start.mrdc").write_bytes(data[:-1])
    assert main(["info", "start.mrdc"]) == 0
    assert f"cut off: the whole file has {len(data)} bytes\n" in capsys.readouterr().out


def test_models_are_listed(folder, capsys, tiny_codec):
    assert main(["models"]) == 0
    work = multiplications(tiny_codec.architecture) / 1000
    cost = f"{work:.1f} kMAC a pixel to decode"
    assert capsys.readouterr().out == f"lite: {tiny_codec.id.hex()}  a codec for tests ({cost})\n"


@pytest.mark.parametrize(
    ("command", "output"),
    [(["compress", "photo.png"], "photo.mrdc"), (["decompress", "photo.mrdc"], "photo.png")],
)
def test_an_existing_file_is_overwritten_only_by_force(folder, capsys, command, output):
    before = everything_in(folder)
    assert main(command) == 2
    assert f"{output} exists. Choose another name, or overwrite it with --force." in (
        capsys.readouterr().err
    )
    assert everything_in(folder) == before
    assert main([*command, "--force"]) == 0
    assert everything_in(folder)[output] != before[output]


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mrdcae-lite {mr.__version__}\n"


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        ("joblib", ["compress", "folder", "--to", "out", "--jobs", "2"], "batch"),
        ("skimage", ["evaluate", "photo.png"], "evaluation"),
        ("keras", ["train", "folder", "--validation", "folder", "--to", "run"], "tensorflow"),
    ],
)
def test_a_command_whose_extra_is_not_installed_says_which_one(folder, missing, command, extra):
    """In a process of its own, where nothing is imported yet and the package cannot be found."""
    mr.write_image("folder/photo.png", mr.read_image("photo.png"))
    code = f"import sys; sys.modules[{missing!r}] = None; from mrdcae_lite.cli import main; "
    code += f"sys.exit(main({command!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"mrdcae: expected the package {missing}.")
    assert done.stderr.endswith(f'pip install "mrdcae-lite[{extra}]".\n')
    assert done.stderr.count("\n") == 1


def test_help_and_every_command_explain_themselves(capsys):
    for command in ([], ["compress"], ["decompress"], ["info"], ["models"], ["train"]):
        assert main([*command, "--help"]) == 0
        assert "usage: mrdcae" in capsys.readouterr().out


# --- nothing is lost, and what is left out is said


def test_a_file_of_another_picture_is_neither_overwritten_nor_taken_for_ones_own(folder, capsys):
    for name, colour in ("A", "red"), ("B", "blue"):
        Path(name).mkdir()
        Image.new("RGB", (64, 64), colour).save(f"{name}/IMG_0001.png")
    assert main(["compress", "A", "--to", "out"]) == 0
    before = everything_in(Path("out"))
    for seconds in (-3600, 3600):  # whichever of them is older
        times = Path("out/IMG_0001.mrdc").stat()
        os.utime("B/IMG_0001.png", (times.st_atime, times.st_mtime + seconds))
        capsys.readouterr()
        assert main(["compress", "B", "--to", "out"]) == 1
        assert "was not made from this file with these options" in capsys.readouterr().err
        assert everything_in(Path("out")) == before
    os.utime("A/IMG_0001.png")
    assert main(["compress", "A", "--to", "out"]) == 0
    assert capsys.readouterr().out.endswith("1 there already\n")


@pytest.mark.parametrize(
    "more", [["--quality", "60"], ["--effort", "0"], ["--exif"], ["--frame", "1"]]
)
def test_there_already_means_with_these_options(folder, capsys, more):
    Path("A").mkdir()
    mr.write_image("A/a.png", mr.read_image("photo.png"))
    assert main(["compress", "A", "--to", "out"]) == 0
    same = more == ["--frame", "1"]  # the default
    assert main(["compress", "A", "--to", "out", *more]) == (0 if same else 1)


def test_a_picture_that_was_changed_or_put_there_is_not_taken_for_a_result(folder, capsys):
    Path("A").mkdir()
    Path("A/photo.mrdc").write_bytes(Path("photo.mrdc").read_bytes())
    assert main(["decompress", "A", "--to", "back"]) == 0
    assert main(["decompress", "A", "--to", "back"]) == 0
    assert capsys.readouterr().out.endswith("1 there already\n")
    with Image.open("back/photo.png") as picture:
        picture.convert("L").save("back/photo.png")
    assert main(["decompress", "A", "--to", "back"]) == 1
    assert "was not made from this file" in capsys.readouterr().err


def test_a_file_is_not_replaced_by_what_is_made_from_it(folder, capsys):
    before = everything_in(folder)
    Path("link.mrdc").symlink_to("photo.mrdc")
    for command in (["photo.mrdc"], ["photo.mrdc", "./photo.mrdc"], ["link.mrdc", "photo.mrdc"]):
        assert main(["compress", *command, "--force"]) == 2
        assert "would be replaced by what is made from it" in capsys.readouterr().err
    Path("link.mrdc").unlink()
    assert everything_in(folder) == before


def test_a_damaged_result_is_made_again(folder, capsys):
    Path("A").mkdir()
    mr.write_image("A/a.png", mr.read_image("photo.png"))
    assert main(["compress", "A", "--to", "out"]) == 0
    whole = Path("out/a.mrdc").read_bytes()
    assert main(["decompress", "out", "--to", "back"]) == 0
    picture = Path("back/a.png").read_bytes()
    flipped = whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]
    for damaged in (whole[:-9], whole + b"x", flipped):
        Path("out/a.mrdc").write_bytes(damaged)
        capsys.readouterr()
        assert main(["compress", "A", "--to", "out"]) == 0
        assert capsys.readouterr().out.endswith("1 written\n")
        assert Path("out/a.mrdc").read_bytes() == whole
    for damaged in (picture[:-9], picture[:90] + b"!" + picture[91:]):
        Path("back/a.png").write_bytes(damaged)
        assert main(["decompress", "out", "--to", "back"]) == 0
        assert Path("back/a.png").read_bytes() == picture


def test_a_source_that_is_still_to_be_read_is_not_overwritten_even_by_force(folder, capsys):
    Path("out").mkdir()
    Path("A").mkdir()
    mr.write_image("A/a.png", mr.read_image("photo.png"))
    Path("out/a.mrdc").write_bytes(Path("photo.png").read_bytes())
    before = everything_in(folder)
    assert main(["compress", "A", "out/a.mrdc", "--to", "out", "--force"]) == 2
    assert "out/a.mrdc" in capsys.readouterr().err
    assert everything_in(folder) == before


def test_a_file_that_is_named_twice_is_taken_once(album, capsys):
    assert main(["compress", "album/first.png", "album/first.png", "--to", "out"]) == 0
    assert capsys.readouterr().out.endswith("1 written\n")


def test_links_to_folders_are_named_and_not_followed(album, capsys):
    Path("album/bad.png").unlink()
    Path("elsewhere").mkdir()
    Path("album/link").symlink_to(Path("elsewhere").resolve())
    assert main(["compress", "album", "--to", "out", "--recursive"]) == 0
    assert capsys.readouterr().out.endswith("2 written; left out: 1 other file, 1 folder\n")


def test_a_folder_that_cannot_be_read_is_a_failure(album, capsys, monkeypatch):
    Path("album/closed").mkdir()
    walk = os.walk

    def refuse(top, onerror):
        onerror(PermissionError(13, "Permission denied", f"{top}/closed"))
        yield from walk(top)

    monkeypatch.setattr("mrdcae_lite.io.batch.os.walk", refuse)
    assert main(["compress", "album", "--to", "out", "--recursive"]) == 1
    assert "mrdcae: album/closed: Permission denied." in capsys.readouterr().err


def test_a_link_to_nowhere_is_in_the_way(folder, capsys):
    Path("o.mrdc").symlink_to("nowhere")
    assert main(["compress", "photo.png", "o.mrdc"]) == 2
    assert "o.mrdc exists" in capsys.readouterr().err


def test_names_that_differ_in_case_alone_are_named(folder, capsys):
    Path("A").mkdir()
    for name in ("IMG.png", "img.PNG"):
        Image.new("RGB", (4, 4)).save(f"A/{name}", "PNG")
    if len(os.listdir("A")) == 2:
        assert main(["compress", "A", "--to", "out"]) == 2
        assert "A/IMG.png and A/img.PNG" in capsys.readouterr().err


def test_what_is_accepted_by_name_is_accepted_in_a_folder_and_the_rest_is_counted(folder, capsys):
    Path("A/sub").mkdir(parents=True)
    picture = Image.new("RGB", (8, 8), "teal")
    for name in ("a.PNG", "b.jfif", "c.tga", "d.ico", "e.gif"):
        picture.save(f"A/{name}", sizes=[(8, 8)])
    picture.save("A/noext", "PNG")
    picture.save("A/sub/b.png")
    Path("A/notes.txt").write_text("Once upon a time")
    Path("A/old.mrdc").write_bytes(Path("photo.mrdc").read_bytes())
    assert main(["compress", "A", "--to", "A/out"]) == 0
    assert capsys.readouterr().out.endswith("6 written; left out: 2 other files, 1 folder\n")
    assert main(["compress", "A", "--to", "A/out", "--recursive"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "6 there already, 1 written; left out: 2 other files"
    assert Path("A/out/sub/b.mrdc").exists()
    assert not Path("A/out/out").exists()


def test_several_inputs_go_into_a_folder(folder, capsys):
    Path("A").mkdir()
    mr.write_image("A/a.png", mr.read_image("photo.png"))
    assert main(["compress", "photo.png", "A", "--to", "out"]) == 0
    assert sorted(os.listdir("out")) == ["a.mrdc", "photo.mrdc"]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(album, capsys):
    Path("album/bad.png").unlink()
    assert main(["compress", "album", "--to", "small", "--dry-run"]) == 0
    assert "1/2 small/first.mrdc: to write\n" in capsys.readouterr().out
    assert not Path("small").exists()
    assert main(["compress", "album", "--to", "small"]) == 0
    Path("small/first.mrdc").write_bytes(b"something else")
    capsys.readouterr()
    assert main(["compress", "album", "--to", "small", "--dry-run"]) == 1
    out = capsys.readouterr().out
    assert "small/first.mrdc: in the way\n" in out
    assert "small/second.mrdc: there already\n" in out


def test_frames_and_notes_that_are_left_out_are_named(folder, capsys):
    frames = [Image.new("L", (9, 9), value) for value in (0, 100, 200)]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:], comment=b"hello")
    assert main(["compress", "a.gif"]) == 0
    assert capsys.readouterr().out.endswith("; left out: 2 more frames, comments\n")
    assert main(["compress", "a.gif", "b.mrdc", "--frame", "3", "--quality", "100"]) == 0
    assert mr.load().decompress(Path("b.mrdc").read_bytes()).mean() > 190
    assert main(["compress", "a.gif", "c.mrdc", "--frame", "4"]) == 2
    assert "a.gif: expected a frame from 1 to 3. Received: 4" in capsys.readouterr().err


# --- streams and programs


def in_a_process(*command, **options):
    """The real command, with the shipped codecs."""
    full = [sys.executable, "-m", "mrdcae_lite", *command]
    return subprocess.run(full, capture_output=True, check=False, **options)


def test_standard_input_and_output_can_be_used(folder):
    picture = Path("photo.png").read_bytes()
    small = in_a_process("compress", "-", input=picture)
    assert small.stdout.startswith(b"\x89MRD")
    assert small.stderr.decode().startswith(f"-: {len(small.stdout)} bytes, ")
    back = in_a_process("decompress", "-", "-", "--quiet", input=small.stdout)
    assert back.stderr == b""
    with Image.open(io.BytesIO(back.stdout)) as found:
        assert found.size == (50, 40)
    named = in_a_process("decompress", "-", "back.tif", "--json", input=small.stdout)
    assert json.loads(named.stdout)["output"] == "back.tif"
    refused = in_a_process("compress", "-", "o.mrdc", input=b"no picture")
    assert refused.returncode == 2
    assert refused.stderr.decode().startswith("mrdcae: standard input: expected a picture")


def test_programs_get_json(album, capsys, tiny_codec):
    assert main(["compress", "album", "--to", "small", "--json"]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    bad, first, second, last = map(json.loads, out.splitlines())
    assert bad["state"] == "failed"
    assert bad["error"].startswith("album/bad.png: expected a picture")
    assert first["source"] == "album/first.png"
    assert first["bytes"] == Path("small/first.mrdc").stat().st_size
    assert second["left_out"] == []
    assert last.pop("seconds") >= 0
    assert last == {"failed": 1, "written": 2, "left_out": ["album/text.txt"]}
    assert main(["info", "small/first.mrdc", "photo.mrdc", "--json"]) == 0
    sizes = [json.loads(line)["width"] for line in capsys.readouterr().out.splitlines()]
    assert sizes == [50, 50]
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == tiny_codec.id.hex()


def test_json_has_the_fields_that_the_page_lists(folder, capsys):
    page = Path(__file__).parents[2].joinpath("book", "back", "command.md").read_text()
    for command, given in {
        "compress": ["photo.png", "new.mrdc"],
        "decompress": ["new.mrdc", "new.png"],
        "info": ["new.mrdc"],
        "models": [],
    }.items():
        listed = re.search(rf"^\| `{command}` \| (.*) \|$", page, re.MULTILINE)[1]
        assert main([command, *given, "--json"]) == 0
        assert [*json.loads(capsys.readouterr().out)] == re.findall(r"`(\w+)`", listed)


def test_a_quiet_command_prints_what_went_wrong_alone(album, capsys):
    assert main(["compress", "album", "--to", "small", "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mrdcae: 1/3 album/bad.png: ")


def test_a_bad_file_among_several_does_not_stop_info(folder, capsys):
    assert main(["info", "photo.mrdc", "text.txt", "cut.mrdc"]) == 1
    out, err = capsys.readouterr()
    assert (out.count("quality 30"), err.count("\n")) == (2, 1)


def test_a_terminal_shows_how_far_a_run_is_and_the_time_left(album, capsys, monkeypatch):
    clock = iter(range(0, 1000, 90))
    monkeypatch.setattr("mrdcae_lite.commands.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    Path("album/bad.png").unlink()
    assert main(["compress", "album", "--to", "small"]) == 0
    err = capsys.readouterr().err
    start = "\r\x1b[K"
    assert err == f"{start}0 done{start}{start}1/2, 0.0 a second, 3:00 left{start}"


def test_options_may_stand_between_names(folder, tiny_codec, image):
    assert main(["compress", "photo.png", "--quality", "70", "small.mrdc"]) == 0
    assert Path("small.mrdc").read_bytes() == tiny_codec.compress(image, quality=70)
    assert main(["decompress", "--level", "1", "small.mrdc", "--force", "back.png"]) == 0


def test_a_file_called_like_a_stream_can_be_named(folder):
    Path("-").write_bytes(Path("photo.png").read_bytes())
    assert main(["compress", "./-", "small.mrdc"]) == 0
    assert Path("small.mrdc").exists()


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the streams")
@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("compress - - <&-", 2, b"mrdcae: standard input is closed. "),
        ("compress photo.png - >&-", 2, b"mrdcae: standard output is closed. "),
        ("info photo.mrdc >&-", 0, b""),
        ("compress photo.png small.mrdc >&- 2>&-", 0, b""),
        ("compress photo.png none.png --to small 2>&-", 2, b""),
        ("compress folder photo.png --to small 2>&-", 0, b""),
        ("info /dev/zero", 2, b"mrdcae: /dev/zero: expected a file. Received: a device. "),
        ("compress /dev/zero small.mrdc", 2, b"mrdcae: /dev/zero: expected a file. "),
        ("info - < /dev/zero", 2, b"mrdcae: standard input: expected a .mrdc file"),
    ],
)
def test_closed_and_endless_streams_are_one_line_at_most(folder, command, code, message):
    line = f"{sys.executable} -m mrdcae_lite {command}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(message)
    assert done.stderr.count(b"\n") == (1 if message else 0)


def test_a_closed_pipe_ends_quietly(folder):
    command = f"{sys.executable} -m mrdcae_lite info {' photo.mrdc' * 3000}"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_output_that_is_full_is_one_line(folder):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mrdcae_lite", "info", "photo.mrdc"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert (
        done.stderr
        == b"mrdcae: standard input or output: No space left on device. Use one that works.\n"
    )


def test_names_that_the_terminal_cannot_spell_are_escaped_and_the_run_goes_on(folder):
    Path("n").mkdir()
    for name in ("1", "2_\u6f22\u5b57", "caf\udce9", "new\nline", "two  spaces"):
        Image.new("RGB", (8, 8)).save(f"n/{name}.png")
    for encoding in ("cp1252", "utf-8:strict"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = in_a_process("compress", "n", "--to", "o", "--force", env=environment)
        assert (done.returncode, done.stderr) == (0, b"")
        lines = done.stdout.splitlines()
        assert lines[-1] == b"5 written"
        assert len(lines) == 6
        assert any(b"caf\\udce9.mrdc: " in line for line in lines)
        assert any(b"new\\nline.mrdc: " in line for line in lines)
        assert any(b"two  spaces.mrdc: " in line for line in lines)


def interruptible():
    """A shell lets what it starts in the background ignore interrupts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("delay", [0.15, 0.3, 0.6])
def test_ctrl_c_is_one_line_also_during_the_imports(folder, delay):
    big = np.tile(mr.read_image("photo.png"), (50, 40, 1))
    mr.write_image("big.bmp", big)
    command = [sys.executable, "-m", "mrdcae_lite", "compress", "big.bmp", "--target-bpp", "9"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=interruptible if os.name == "posix" else None,
    )
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    if err.startswith(b"mrdcae"):  # before that, Python itself was starting, and may lose a Ctrl-C
        assert (process.returncode, out, err) == (130, b"", b"mrdcae: interrupted\n")
        assert not Path("big.mrdc").exists()


INTERRUPTED_AT = """
import signal, sys
from contextlib import suppress

class Interrupt:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            with suppress(KeyboardInterrupt):  # as where Python has a callback during an import
                signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt)
from mrdcae_lite.cli import main
sys.exit(main(["compress", "photo.png", "interrupted.mrdc"]))
"""


def test_ctrl_c_in_a_text_that_python_runs_does_not_end_it_by_the_signal(tmp_path):
    (tmp_path / "interrupted.py").write_text(
        "import sys\n"
        "from mrdcae_lite import cli\n"
        "cli._run = lambda argv: exec('raise KeyboardInterrupt')\n"
        "sys.exit(cli.main([]))\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "mrdcae: interrupted\n")


@pytest.mark.parametrize(
    "module", ["argparse", "mrdcae_lite.options", "mrdcae_lite.commands", "PIL.Image", "numpy"]
)
def test_ctrl_c_in_an_import_is_one_line_and_not_lost(folder, module):
    command = [sys.executable, "-c", INTERRUPTED_AT.format(module=module)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "mrdcae: interrupted\n")
    assert not Path("interrupted.mrdc").exists()


# --- what does not

BAD_INPUT = {
    "no command": ([], "the following arguments are required"),
    "unknown command": (["shrink", "photo.png"], "invalid choice: 'shrink'"),
    "no such picture": (["compress", "none.png"], "none.png: no such file or folder"),
    "a folder as picture": (["compress", "folder", "o.mrdc"], "with --to FOLDER"),
    "quality 101": (["compress", "photo.png", "o.mrdc", "--quality", "101"], "quality=101"),
    "effort 6": (["compress", "photo.png", "o.mrdc", "--effort", "6"], "effort=6"),
    "quality half": (["compress", "photo.png", "o.mrdc", "--quality", "0.5"], "int value: '0.5'"),
    "an empty name": (["compress", "photo.png", "--to", ""], "expected a name. Received: an empty"),
    "a huge number": (["compress", "photo.png", "--frame", "9" * 20], "from 1 to 1000000000"),
    "two aims": (
        ["compress", "photo.png", "o.mrdc", "--quality", "5", "--target-bpp", "1"],
        "not allowed with argument",
    ),
    "unknown model": (["compress", "photo.png", "o.mrdc", "--model", "huge"], "one of: lite. Rec"),
    "damaged model": (
        ["compress", "photo.png", "o.mrdc", "--model", "damaged.keras-codec"],
        "expected a codec file",
    ),
    "absent folder": (["compress", "photo.png", "away/o.mrdc"], "folder away does not exist"),
    "a file as folder": (["compress", "photo.png", "text.txt/o.mrdc"], "text.txt"),
    "a folder as output": (["compress", "photo.png", "folder"], "Received the folder folder"),
    "a name that is not there": (["compress", "folder", "o", "--to", "p"], "o: no such file"),
    "three names": (["compress", "photo.png", "o.mrdc", "p.mrdc"], "with --to FOLDER"),
    "a folder of nothing": (["compress", "folder", "--to", "o"], "no file in folder can be taken"),
    "names that clash": (["compress", "clash", "--to", "o"], "a.jpg and clash/a.png.* Rename one"),
    "no processes": (["decompress", ".", "--to", "o", "--jobs", "0"], "a whole number from 1"),
    "too many processes": (["decompress", ".", "--to", "o", "--jobs", "1000"], "from 1 to 256"),
    "a file to fill": (["decompress", ".", "--to", "text.txt"], "Received the file text.txt"),
    "a dry run of one": (["compress", "photo.png", "o.mrdc", "--dry-run"], "with --to FOLDER"),
    "no such frame": (["compress", "photo.png", "o.mrdc", "--frame", "2"], "a frame from 1 to 1"),
    "a folder, no model": (["compress", ".", "--to", "o", "--model", "huge"], "one of: lite"),
    "a folder, quality": (["compress", ".", "--to", "o", "--quality", "-1"], "quality"),
    "no such file": (["decompress", "none.mrdc"], "none.mrdc: no such file or folder"),
    "a cut file": (["decompress", "cut.mrdc"], "high level section should end .* was cut off"),
    "a damaged file": (["decompress", "flipped.mrdc"], "flipped.mrdc: the high level section does"),
    "a foreign file": (["decompress", "foreign.mrdc"], "is not among the shipped ones"),
    "another model": (["decompress", "foreign.mrdc", "--model", "lite"], "was made with model"),
    "an empty file": (
        ["decompress", "empty.mrdc", "o.png"],
        "expected a .mrdc file.* Received: nothing",
    ),
    "a picture to read": (["decompress", "photo.png", "o.png"], "Received: 89 50 4e 47"),
    "no such level": (["decompress", "photo.mrdc", "o.png", "--level", "4"], "invalid choice: "),
    "a lossy ending": (["decompress", "photo.mrdc", "o.jpg"], "o.jpg: expected an ending of"),
    "info on a picture": (["info", "photo.png"], "expected a .mrdc file"),
    "standard input twice": (["info", "-", "-"], "standard input can be read once"),
    "info on nothing": (["info", "none.mrdc"], "none.mrdc: No such file"),
    "nothing to learn": (
        ["train", "folder", "--validation", ".", "--to", "o"],
        "no picture in folder",
    ),
    "no steps": (["train", ".", "--validation", ".", "--to", "o", "--steps", "0"], "number from 1"),
    "no pace": (
        ["train", ".", "--validation", ".", "--to", "o", "--learning-rate", "nan"],
        "--learning-rate: expected a positive number. Received: 'nan'",
    ),
    "no fall": (
        ["train", ".", "--validation", ".", "--to", "o", "--hold", "1"],
        "hold must be from 0 to below 1. Received: 1.0",
    ),
    "another ending": (["compress", "photo.png", "o.jpg"], "ends in .mrdc. Received: o.jpg"),
    "too few qualities": (
        ["evaluate", "photo.png", "--qualities", "5,x"],
        "at least four different whole",
    ),
    "no such picture to compare": (["evaluate", "photo.png", "none.png"], "none.png: no such"),
    "a name that is taken": (
        ["evaluate", "photo.png", "--codecs", "jpeg=damaged.keras-codec"],
        "but jpeg stands for another one",
    ),
    "no report to reuse": (["evaluate", "photo.png", "--reuse", "photo.png"], "in JSON. Received"),
    "enormous squares": (["evaluate", "photo.png", "--resize", "2000000"], "from 16 to 10000"),
    "equal qualities": (["evaluate", "photo.png", "--qualities", "5,5,5,5"], "at least four"),
    "enormous batches": (
        ["train", "folder", "--validation", ".", "--to", "o", "--size", "100000"],
        "a batch may have 100,000,000 pixels",
    ),
    "no such start": (
        ["train", "folder", "--validation", ".", "--to", "o", "--start", "larger"],
        "expected a codec file or one of: lite.*Received: 'larger'",
    ),
    "no folder to learn": (["train", "away", "--validation", ".", "--to", "o"], "away: No such"),
}


@pytest.mark.parametrize(("command", "message"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_ends_in_one_line_and_leaves_nothing(folder, capsys, command, message):
    before = everything_in(folder)
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("mrdcae")
    assert everything_in(folder) == before
    assert re.search(message, err)


def test_a_folder_that_cannot_be_written_is_named_and_left_as_it_was(folder, capsys, monkeypatch):
    def refuse(path, mode="r", *more, **options):
        if mode[0] in "wx":
            raise PermissionError(13, "Permission denied", ".hidden.part")
        return open(path, mode, *more, **options)

    monkeypatch.setattr(Path, "open", refuse)
    before = sorted(os.listdir())
    assert main(["compress", "photo.png", "o.mrdc"]) == 2
    err = capsys.readouterr().err
    assert "o.mrdc: Permission denied. Give a path that can be read or written." in err
    assert ".part" not in err
    assert err.count("\n") == 1
    assert sorted(os.listdir()) == before


def test_an_interrupt_is_one_line_too(folder, capsys, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("mrdcae_lite.io.batch.read_content", interrupt)
    assert main(["compress", "photo.png", "o.mrdc"]) == 130
    assert capsys.readouterr().err == "mrdcae: interrupted\n"


def test_no_library_talks_on_standard_error_in_a_process_of_its_own(folder):
    command = [sys.executable, "-m", "mrdcae_lite.cli", "decompress", "foreign.mrdc", "o.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "is not among the shipped ones" in done.stderr
    assert not Path("o.png").exists()
