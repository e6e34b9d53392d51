"""The round trip of odd pictures: it passes, and it notices what does not come back."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from data_scripts import odd_pictures

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, files and what came back, made by the command."""
    return tmp_path_factory.mktemp("odd") / "kept"


@pytest.fixture(scope="module")
def done(kept: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "data_scripts.odd_pictures", "--to", str(kept), "--jobs", "2"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_odd_picture_comes_back(
    done: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    assert (done.returncode, done.stderr) == (0, "")
    heading, *rows, last = done.stdout.splitlines()
    cells = {row.split()[0]: row.split()[1:] for row in rows}
    assert heading.split()[5:] == [*odd_pictures.BACK, "PSNR"]
    assert list(cells) == [one.name for one in odd_pictures.make(tmp_path / "pictures")]
    modes = {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"}
    assert {row[0] for row in cells.values()} == modes
    assert cells["1x300.png"][4:9] == ["1x300", "RGB", "-", "-", "yes"]
    assert cells["grey-alpha.png"][4:9] == ["240x160", "LA", "yes", "-", "yes"]
    assert cells["profile.png"][4:9] == ["240x160", "RGB", "-", "yes", "yes"]
    assert (cells["turned.jpg"][1], cells["turned.jpg"][4]) == ("160x240", "240x160")
    assert last == (
        "13 written, 3 named as bad (broken.png, cut.jpg, empty.png), 0 written again, 13 back; "
        "exit codes 1, 1, 0"
    )


def less_opaque(picture: Image.Image) -> Image.Image:
    alpha = picture.getchannel("A").copy()
    alpha.putpixel((7, 100), alpha.getpixel((7, 100)) - 1)
    changed = picture.copy()
    changed.putalpha(alpha)
    return changed


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("turned.jpg", lambda p: p.transpose(Image.Transpose.ROTATE_90), "size: expected 240x160"),
        ("turned.jpg", lambda p: p.transpose(Image.Transpose.ROTATE_180), "upright: expected yes"),
        ("1x300.png", ImageOps.flip, "upright: expected yes"),
        ("grey.png", lambda p: p.convert("RGB"), "mode: expected L, got RGB"),
        ("alpha.png", less_opaque, "alpha: expected yes, got no"),
        ("palette-alpha.png", lambda p: p.convert("RGB"), "alpha: expected yes, got no"),
        ("cmyk.jpg", lambda p: p.convert("RGBA"), "alpha: expected yes, got no"),
        ("cmyk.jpg", ImageOps.invert, "PSNR: expected 20 or more, got "),
        ("sixteen.png", lambda p: p.point(lambda value: 255 * (value > 0)), "PSNR: expected 20"),
    ],
)
def test_what_comes_back_otherwise_is_a_fault(
    name: str,
    change: Callable[[Image.Image], Image.Image],
    fault: str,
    done: object,
    kept: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(kept, folder)
    [one] = [one for one in odd_pictures.make(tmp_path / "pictures") if one.name == name]
    assert odd_pictures.compare(one, folder)[1] == []
    back = folder / "back" / f"{Path(name).stem}.png"
    with Image.open(back) as opened:
        change(opened).save(back)
    faults = odd_pictures.compare(one, folder)[1]
    assert f"{name}, {fault}" in "; ".join(faults)


def test_another_profile_is_a_fault(done: object, kept: Path, tmp_path: Path) -> None:
    odd = {one.name: one for one in odd_pictures.make(tmp_path / "pictures")}
    with Image.open(kept / "pictures" / "profile.png") as opened:
        icc = opened.info["icc_profile"]  # it has the time at which it was made
    same = odd["profile.png"]._replace(icc=icc)
    assert odd_pictures.compare(same, kept)[1] == []
    fault = ["profile.png, profile: expected yes, got no"]
    assert odd_pictures.compare(same._replace(icc=icc[:-1]), kept)[1] == fault
    assert odd_pictures.compare(same._replace(icc=b""), kept)[1] == fault


def test_a_picture_that_does_not_come_back_is_a_fault(
    done: object, kept: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(kept, folder)
    (folder / "back" / "grey.png").unlink()
    [grey] = [one for one in odd_pictures.make(tmp_path / "new") if one.name == "grey.png"]
    assert odd_pictures.compare(grey, folder)[1] == ["grey.png did not come back"]


# --- the whole command with two good pictures

GOOD = ("1x1.png", "1x300.png")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Path], object]], None]:
    """Keep two good pictures and the bad ones, and change the folder before it is compressed."""
    make = odd_pictures.make

    def plant(change: Callable[[Path], object]) -> None:
        def fewer(folder: Path) -> list[odd_pictures.Odd]:
            odd = [one for one in make(folder) if one.name in GOOD]
            for path in folder.iterdir():
                if path.name not in (*GOOD, *odd_pictures.BAD):
                    path.unlink()
            change(folder)
            return odd

        monkeypatch.setattr(odd_pictures, "make", fewer)

    return plant


def cut_off(folder: Path) -> None:
    path = folder / "1x300.png"
    path.write_bytes(path.read_bytes()[:300])


def copied(source: str, to: str) -> Callable[[Path], object]:
    return lambda folder: shutil.copy(folder / source, folder / to)


def test_fewer_pictures_are_fine_too(few: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    few(lambda folder: None)
    assert odd_pictures.main([]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1].startswith("2 written, 3 named as bad")
    assert shown.err == ""


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (cut_off, ("1x300.png did not come back", "named: expected")),
        (copied("1x300.png", "empty.png"), ("named: expected ['broken.png', 'cut.jpg', 'empty",)),
        (copied("cut.jpg", "more.jpg"), ("'cut.jpg', 'empty.png', 'more.jpg']",)),
    ],
    ids=["a bad one for a good one", "a good one for a bad one", "one bad one more"],
)
def test_a_planted_picture_ends_in_one_line_and_code_1(
    change: Callable[[Path], object],
    faults: tuple[str, ...],
    few: Callable,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few(change)
    assert odd_pictures.main([]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("data_scripts.odd_pictures: compress, ")
    assert shown.err.count("\n") == 1
    for fault in faults:
        assert fault in shown.err
    assert "exit codes 1, 1, 0" in shown.out


def test_a_file_written_again_is_a_fault(
    few: Callable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = subprocess.run

    def forced(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return run([*command, "--force"], **options)

    few(lambda folder: None)
    monkeypatch.setattr(odd_pictures.subprocess, "run", forced)
    assert odd_pictures.main([]) == 1
    assert capsys.readouterr().err == (
        "data_scripts.odd_pictures: compress again, counts: expected ['2 there already', "
        "'3 failed'], got ['2 written', '3 failed']; "
        "compress again, wrote: expected [], got ['1x1.mrdc', '1x300.mrdc']\n"
    )


@pytest.mark.parametrize("argument", ["--to", "--jobs"])
def test_a_full_folder_or_no_process_is_one_line_and_code_2(
    argument: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.png").write_bytes(b"")
    try:
        code: object = odd_pictures.main([argument, str(tmp_path) if argument == "--to" else "0"])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]
