"""The committed list of data sets, and the comparison of files with it."""

import json

import pytest

from data_scripts import DataError, manifest
from data_scripts.manifest import entry, load, verify


def test_the_committed_manifest_is_complete():
    names = list(json.loads(manifest.MANIFEST.read_text("utf-8")))
    assert names == ["flowers17", "kodak", "photos_train"]
    for name in names:
        found, data = entry(name), load(name)
        for key in ("title", "homepage", "licence", "terms", "citation", "use", "bytes"):
            assert found[key], f"{name} has no {key}"
        assert len(data.files) == found["files"]
        assert all(len(digest) == 64 for digest in data.files.values())
        addresses = [data.archive.url] if data.archive else list(data.urls.values())
        assert addresses
        assert all(address.startswith("https://") for address in addresses)


def test_addresses_are_made_from_file_names():
    assert load("kodak").urls["kodim07.png"] == "https://r0k.us/graphics/kodak/kodak/kodim07.png"
    train, packages = load("photos_train"), entry("photos_train")["packages"].values()
    assert train.urls["cid22_1001682.jpg"].endswith("/CID22/CID22-512/training/1001682.png")
    assert len(train.files) - len(train.urls) == sum(package["files"] for package in packages)


def test_a_file_that_is_missing_or_another_is_named_with_its_script(tmp_path, declare):
    declare("photos_train", {"a.jpg": b"a", "b.jpg": b"b"})
    first, second = tmp_path / "a.jpg", tmp_path / "b.jpg"
    first.write_bytes(b"a")
    assert verify("photos_train", [first]) == [first]
    with pytest.raises(DataError, match=r"b\.jpg is missing; run python -m data_scripts\.photos"):
        verify("photos_train", [first, second])
    for other in (b"a", b""):
        second.write_bytes(other)
        with pytest.raises(DataError, match=rf"is not the file that is listed; .*{tmp_path}"):
            verify("photos_train", [first, second])
    unlisted = tmp_path / "c.jpg"
    unlisted.write_bytes(b"a")
    with pytest.raises(DataError, match=r"c\.jpg is not the file that is listed"):
        verify("photos_train", [unlisted])
