"""The training pictures: which ones they are, and that no picture of a test set is among them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_scripts import DataError, flowers17, leaks, manifest, training_set
from data_scripts.training_set import gather, validates
from mrdcae_lite.io.images import read_image, sample

Save = Callable[[Path, int], None]


@pytest.fixture
def save():
    """Save picture number n: few large squares, every number another picture."""

    def write(path, number):
        squares = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(np.kron(squares, np.ones((8, 8, 1), np.uint8)))
        picture.save(path, quality=95)

    return write


@pytest.fixture
def photos(tmp_path, save):
    """Five photographs, of which the hash of the name holds out one or more."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("a.jpg", "b.png", "c.jpeg", "f.jpg", held_out_name())):
        save(folder / name, number)
    (folder / "SHA256SUMS").write_text("no picture")
    return folder


def held_out_name():
    return next(name for i in range(1000) if validates(name := f"e{i}.jpg"))


@pytest.fixture
def flowers(tmp_path, save):
    """1360 files with the names of the set; all show the same picture."""
    folder = tmp_path / "flowers"
    folder.mkdir()
    save(folder / "image_0001.jpg", 100)
    content = (folder / "image_0001.jpg").read_bytes()
    for number in range(2, flowers17.IMAGES + 1):
        (folder / f"image_{number:04d}.jpg").write_bytes(content)
    return folder


@pytest.fixture
def hold_out(tmp_path, monkeypatch):
    """Put one picture on the list of perceptual hashes, under the name of a set's file."""

    def enlist(path, name):
        listed = tmp_path / "perceptual.txt"
        listed.write_text(f"{leaks.picture(path).perceptual:016x}  {name}\n")
        monkeypatch.setattr(leaks, "FINGERPRINTS", listed)

    return enlist


def gathered(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_photographs_are_divided_by_the_hash_of_their_names(photos, tmp_path):
    found = gather(photos, None, tmp_path / "set")
    last = Path(held_out_name()).stem
    expected = [*(f"train/{name}.png" for name in "abcf"), f"validation/{last}.png"]
    assert gathered(tmp_path / "set") == expected
    assert (found.train, found.validation, found.left_out) == (4, 1, {})
    made, source = (read_image(f / "b.png") for f in (tmp_path / "set" / "train", photos))
    assert np.array_equal(made, source)


def test_one_photograph_in_twelve_validates():
    names = list(manifest.load("photos_train").files)
    held = [name for name in names if validates(name)]
    assert len(held) == 18
    assert abs(len(held) - len(names) / training_set.VALIDATE_ONE_IN) < 5


def test_of_the_flowers_only_the_training_split_is_used_at_half_size(photos, flowers, tmp_path):
    found = gather(photos, flowers, tmp_path / "set")
    parts = flowers17.splits(flowers)
    used = {path.name for path in (tmp_path / "set" / "train").glob("flower_*")}
    assert used == {f"flower_{path.stem}.png" for path in parts.train}
    held_out = (*parts.validation, *parts.test, *parts.dropped)
    assert not used & {f"flower_{path.stem}.png" for path in held_out}
    assert (found.train, found.validation) == (4 + len(parts.train), 1)
    with Image.open(tmp_path / "set" / "train" / sorted(used)[0]) as made:
        assert made.size == (32, 32)


def test_a_planted_sample_is_left_out_and_named(photos, tmp_path, capsys):
    """The bundled photographs stand in for a test set: their hashes are on the same list."""
    Image.fromarray(sample("dog")).resize((300, 280)).save(photos / "holiday.jpg", quality=60)
    arguments = ["--photos", str(photos), "--to", str(tmp_path / "set")]
    assert training_set.main(arguments) == 0
    shown = capsys.readouterr().out
    assert f"left out: {photos / 'holiday.jpg'} looks like photos_demo/" in shown
    assert "4 pictures to train on, 1 to validate with" in shown
    assert not (tmp_path / "set" / "train" / "holiday.png").exists()


@pytest.mark.parametrize("name", ["kodak/kodim07.png", "flowers17/image_0001.jpg"])
def test_a_planted_test_picture_is_left_out(photos, tmp_path, name, hold_out):
    hold_out(photos / "c.jpeg", name)
    found = gather(photos, None, tmp_path / "set")
    assert found.left_out == {photos / "c.jpeg": name}
    assert not (tmp_path / "set" / "train" / "c.png").exists()


def test_a_test_flower_under_the_name_of_a_training_flower_is_left_out(
    photos, flowers, tmp_path, save, hold_out
):
    parts = flowers17.splits(flowers)
    planted, tested = parts.train[0], parts.test[0]
    save(tested, 200)
    hold_out(tested, f"flowers17/{tested.name}")
    planted.write_bytes(tested.read_bytes())
    found = gather(photos, flowers, tmp_path / "set")
    assert found.left_out == {planted: f"flowers17/{tested.name}"}


def test_a_picture_of_another_run_is_refused(photos, tmp_path, save):
    (tmp_path / "set" / "train").mkdir(parents=True)
    save(tmp_path / "set" / "train" / "flower_image_0001.png", 1)
    with pytest.raises(DataError, match=r"flower_image_0001\.png and 0 more .*an empty folder"):
        gather(photos, None, tmp_path / "set")


def test_a_second_run_writes_nothing_again(photos, tmp_path):
    first = gather(photos, None, tmp_path / "set")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*.png")}
    (tmp_path / "set" / "train" / "a.png").unlink()
    assert gather(photos, None, tmp_path / "set") == first
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*.png")}
    assert {path.name for path in times if times[path] != again[path]} == {"a.png"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: [path.unlink() for path in folder.iterdir()], "no picture in"),
        (lambda folder: (folder / "a.jpg").write_bytes(b"broken"), "a.jpg: expected a picture"),
    ],
)
def test_what_cannot_be_gathered_is_one_line_and_code_2(photos, tmp_path, spoil, message, capsys):
    spoil(photos)
    assert training_set.main(["--photos", str(photos), "--to", str(tmp_path / "set")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
