"""No test picture in training: a planted one is found, and the committed sets have none."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from data_scripts import DataError, leaks, manifest

ROOT = Path(__file__).parents[2]
SETS = ("photos_train", "photos_demo", "kodak", "flowers17")


@pytest.fixture
def train(tmp_path, rng):
    """Six different pictures with structure at all scales."""
    folder = tmp_path / "train"
    folder.mkdir()
    for i in range(6):
        picture = sum(
            np.kron(rng.uniform(0, 40, (s, s, 3)), np.ones((192 // s, 192 // s, 1)))
            for s in (3, 6, 12, 24, 192)
        )
        Image.fromarray(np.uint8(picture)).save(folder / f"{i}.png")
    return folder


def turned(picture, path):
    """Save a picture lying on its side, with a note that it is to be shown turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.rotate(90, expand=True).save(path.with_suffix(".jpg"), exif=exif, quality=90)


SMALL = (103, 96)
CHANGES = {
    "same file": lambda p, to: p.save(to.with_suffix(".png")),
    "same pixels": lambda p, to: p.save(to.with_suffix(".bmp")),
    "copy resized": lambda p, to: p.resize(SMALL).save(to.with_suffix(".jpg"), quality=40),
    "copy brighter": lambda p, to: ImageEnhance.Brightness(p).enhance(1.2).save(f"{to}.jpg"),
    "mirrored copy": lambda p, to: ImageOps.mirror(p).resize(SMALL).save(f"{to}.webp", quality=50),
    "copy turned": turned,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_planted_leak_is_found(train, change, capsys):
    test = train.parent / "test"
    test.mkdir()
    with Image.open(train / "3.png") as picture:
        CHANGES[change](picture, test / "x")
    assert leaks.main([str(train), str(test)]) == 1
    shown = capsys.readouterr().out
    kind = change.rsplit(" ", 1)[0] if change.startswith("copy") else change
    assert shown.startswith(f"{kind} (")
    assert str(train / "3.png") in shown
    assert shown.endswith("1 pairs among 7 pictures\n")


def test_different_pictures_are_no_leak(train, capsys):
    test = train.parent / "test"
    test.mkdir()
    for name in ("4.png", "5.png"):
        (train / name).rename(test / name)
    assert leaks.main([str(train), str(test)]) == 0
    assert capsys.readouterr().out == "0 pairs among 6 pictures\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected pictures in .*, found none; prepare it first"),
        (b"no picture", r"a\.png is not a readable picture .*; remove it"),
        (b"\x89PNG\r\n\x1a\n broken", r"a\.png is not a readable picture .*; remove it"),
    ],
)
def test_a_folder_that_cannot_be_compared_is_refused(tmp_path, content, message):
    if content:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=message):
        leaks.pictures(tmp_path)


def test_the_hashes_printed_are_those_read(train, capsys, monkeypatch):
    assert leaks.main([str(train), "--print"]) == 0
    (train.parent / "list.txt").write_text(capsys.readouterr().out)
    monkeypatch.setattr(leaks, "FINGERPRINTS", train.parent / "list.txt")
    found = leaks.fingerprints("train")
    assert found == {p.name: leaks.picture(p).perceptual for p in train.iterdir()}


def test_no_committed_set_shares_a_picture_with_another():
    known = {name: leaks.fingerprints(name) for name in SETS}
    assert [len(known[name]) for name in SETS] == [242, 8, 24, 1360]
    for one, other in combinations(SETS, 2):
        a, b = (np.array(list(known[n].values()), dtype=np.uint64) for n in (one, other))
        near = leaks.nearest(a, b)
        pairs = [
            (f"{one}/{list(known[one])[i]}", f"{other}/{list(known[other])[j]}")
            for i, j in np.argwhere(near <= leaks.THRESHOLD)
        ]
        assert pairs == []
        sums = [set(manifest.load(n).files.values()) for n in (one, other) if n != "photos_demo"]
        assert len(sums) < 2 or not sums[0] & sums[1]


def test_every_listed_file_has_a_perceptual_hash():
    for name in ("photos_train", "kodak", "flowers17"):
        assert set(leaks.fingerprints(name)) == set(manifest.load(name).files)


def test_the_bundled_samples_are_the_demonstration_set_and_in_no_other():
    samples = leaks.pictures(ROOT / "mrdcae_lite" / "samples")
    known = leaks.fingerprints("photos_demo")
    assert sorted(sample.perceptual for sample in samples) == sorted(known.values())
    for name in ("photos_train", "kodak", "flowers17"):
        assert not {sample.file for sample in samples} & set(manifest.load(name).files.values())


def test_the_flower_set_holds_75_pairs_of_copies():
    twins = leaks.copies("flowers17")
    assert sum(map(len, twins.values())) == 2 * 75
    assert twins["image_0242.jpg"] == {"image_0243.jpg"}  # mirrored
    assert twins["image_0729.jpg"] == {"image_0735.jpg"}  # mirrored and recoloured
    assert twins["image_0994.jpg"] == {"image_1015.jpg"}  # cropped
