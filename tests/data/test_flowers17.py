"""The flower set from a mirror folder of tiny files, and its splits."""

import numpy as np
import pytest
from scipy.io import savemat

from data_scripts import DataError, fetch, flowers17
from data_scripts.flowers17 import IMAGES, splits
from data_scripts.leaks import copies

from .conftest import archive_entry, put, sha, tgz

NAMES = [f"image_{i:04d}.jpg" for i in range(1, IMAGES + 1)]


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "flowers"
    found.mkdir()
    for name in NAMES:
        (found / name).touch()
    return found


def mat(folder, **changes):
    """Write a splits file of the official form, by another rule than the fallback's."""
    content: dict[str, object] = {}
    for number in (1, 2, 3):
        order = np.random.default_rng(number).permutation(IMAGES) + 1
        parts = np.split(order, [680, 1020])
        content |= {
            f"{key}{number}": p for key, p in zip(("trn", "val", "tst"), parts, strict=True)
        }
    path = folder / "datasplits.mat"
    savemat(path, content | changes)
    return path


def labels(paths):
    return [(int(path.stem[-4:]) - 1) // 80 for path in paths]


def assert_apart(found):
    """No picture in two lists, no copy of a held-out picture in a list that must not know it."""
    parts = [found.train, found.validation, found.test, found.dropped]
    everything = [path.name for part in parts for path in part]
    assert sorted(everything) == NAMES
    twins = copies("flowers17")
    test, validation = ({p.name for p in part} for part in (found.test, found.validation))
    for path in found.train:
        assert not twins.get(path.name, set()) & (test | validation), path
    for path in found.validation:
        assert not twins.get(path.name, set()) & test, path


def test_the_fallback_is_the_same_everywhere_and_says_so(folder):
    found = splits(folder)
    assert found.source.startswith("fallback: 40/20/20 of each class by hash order")
    assert_apart(found)
    assert np.bincount(labels(found.test)).tolist() == [20] * 17
    together = np.bincount(labels(found.train + found.validation + found.dropped))
    assert together.tolist() == [60] * 17
    assert [len(found.train), len(found.validation), len(found.dropped)] == [647, 332, 41]
    first = ["image_0007.jpg", "image_0011.jpg", "image_0013.jpg"]
    assert [path.name for path in found.test[:3]] == first


def test_the_official_split_is_used_where_its_file_is(folder):
    mat(folder)
    found = splits(folder)
    assert found.source == "official split 1 (datasplits.mat)"
    assert_apart(found)
    expected = np.sort(np.random.default_rng(1).permutation(IMAGES)[1020:] + 1)
    assert [int(path.stem[-4:]) for path in found.test] == expected.tolist()


def test_copies_of_held_out_pictures_are_dropped_and_listed(folder):
    ids = set(range(1, IMAGES + 1))
    held = {2, 243}  # 42 is another size of 2, 242 the mirror image of 243
    parts = {"trn1": sorted(ids - held - {5}), "val1": [5], "tst1": sorted(held)}
    mat(folder, **parts)
    found = splits(folder)
    assert [path.name for path in found.dropped] == ["image_0042.jpg", "image_0242.jpg"]
    assert len(found.train) == IMAGES - 5


def test_a_damaged_splits_file_is_named(folder):
    (folder / "datasplits.mat").write_bytes(b"<html>not found</html>" * 20)
    with pytest.raises(DataError, match=r"datasplits\.mat is not the splits file .*delete it"):
        splits(folder)
    mat(folder, tst1=[1, 2, 3])
    with pytest.raises(DataError, match=r"split 1 is no partition of 1\.\.1360"):
        splits(folder)


def test_an_incomplete_folder_is_not_split(folder):
    (folder / "image_0700.jpg").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of 1,360 pictures; run python -m"):
        splits(folder)


def test_flowers_come_from_the_official_archive(tmp_path, server, declare, monkeypatch, capsys):
    monkeypatch.setattr(fetch, "RETRIES", 0)
    files = {name: f"tiny {name}".encode() for name in NAMES}
    packed, official = tgz(files), mat(tmp_path).read_bytes()
    put(server.folder, {"17flowers.tgz": packed})
    declare(
        "flowers17",
        files,
        archive=archive_entry(f"{server.url}/17flowers.tgz", packed),
        splits={"url": f"{server.url}/datasplits.mat", "hash": sha(official)},
    )
    arguments = ["--to", str(tmp_path / "f")]
    assert flowers17.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "1,360 files" in shown
    assert "no official splits: " in shown
    assert "fallback: 40/20/20" in shown
    put(server.folder, {"datasplits.mat": official})
    assert flowers17.main(arguments) == 0
    assert "official split 1 (datasplits.mat)" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "f").glob("*.jpg")) == NAMES
