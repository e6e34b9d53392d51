"""What `fit` is fed with."""

import keras
import numpy as np
import pytest

from mrdcae_lite.core.pixels import normalise
from mrdcae_lite.io import addresses
from mrdcae_lite.io.images import ImageError, read_image, write_image
from mrdcae_lite.training.data import Photographs, photographs_in


@pytest.fixture
def photographs(rng):
    return [rng.integers(0, 256, shape, np.uint8) for shape in ((70, 90, 3), (64, 64, 3))]


def test_items_are_batches_of_crops(photographs):
    crops = Photographs(photographs, size=32, batch=5, steps=3)
    assert isinstance(crops, keras.utils.PyDataset)
    assert len(crops) == 3
    assert crops[0].shape == (5, 32, 32, 3)
    assert crops[0].dtype == np.float32
    assert crops[0].min() >= 0
    assert crops[0].max() <= 1


def test_an_item_depends_on_seed_epoch_and_index_alone(photographs):
    def item(seed, epoch, index, others=()):
        crops = Photographs(photographs, size=32, batch=2, seed=seed)
        crops.epoch = epoch
        for other in others:
            crops[other]
        return crops[index].tobytes()

    assert item(1, 2, 3) == item(1, 2, 3, others=(0, 7))
    assert len({item(1, 2, 3), item(0, 2, 3), item(1, 0, 3), item(1, 2, 0)}) == 4


def test_an_epoch_brings_new_crops_unless_they_are_fixed(photographs):
    moving = Photographs(photographs, size=32, batch=2)
    fixed = Photographs(photographs, size=32, batch=2, fixed=True)
    before = moving[0], fixed[0]
    for crops in (moving, fixed):
        crops.on_epoch_end()
    assert (moving[0] != before[0]).any()
    np.testing.assert_array_equal(fixed[0], before[1])


def test_without_augmentation_crops_are_cut_out_as_they_are(photographs):
    crops = Photographs(photographs[1:], size=64, batch=2, augment=False)
    expected = np.stack([normalise(photographs[1])] * 2)
    np.testing.assert_array_equal(crops[0], expected)


def test_large_photographs_are_drawn_more_often_but_not_in_proportion_to_their_area():
    dark, light = np.zeros((40, 40, 3), np.uint8), np.full((80, 60, 3), 255, np.uint8)
    crops = Photographs([dark, light], size=32, batch=400, augment=False)
    share = np.sqrt(80 * 60) / (np.sqrt(80 * 60) + np.sqrt(40 * 40))
    assert crops[0].mean() == pytest.approx(share, abs=0.06)


def test_photographs_that_are_too_small_are_left_out(photographs):
    narrow = np.zeros((90, 40, 3), np.uint8)
    assert len(Photographs([*photographs, narrow], size=64).images) == 2
    with pytest.raises(ValueError, match=r"as large as 96x96 pixels\. Received: 2 photographs"):
        Photographs(photographs, size=96)


@pytest.mark.parametrize("size", [0, 16, 100])
def test_crops_consist_of_whole_patches(photographs, size):
    with pytest.raises(ValueError, match=rf"multiple of 32 pixels\. Received: size={size}"):
        Photographs(photographs, size=size)


# --- photographs in files


@pytest.fixture
def folder(tmp_path, photographs):
    """The photographs as files."""
    for number, image in enumerate(photographs):
        write_image(tmp_path / f"{number}.png", image)
    return tmp_path


def test_crops_from_files_are_those_from_arrays(folder, photographs):
    files = Photographs(photographs_in(folder), size=32, batch=3)
    arrays = Photographs(photographs, size=32, batch=3)
    for index in range(4):
        np.testing.assert_array_equal(files[index], arrays[index])


@pytest.mark.parametrize(("fitting", "again"), [(0, "00110"), (1, "11"), (2, "")])
def test_as_many_photographs_as_fit_stay_in_memory(
    fitting, again, folder, photographs, monkeypatch
):
    read = []
    monkeypatch.setattr(
        "mrdcae_lite.training.data.read_image",
        lambda path: read.append(path.stem) or read_image(path),
    )
    room = sum(image.nbytes for image in photographs[:fitting])
    files = photographs_in(folder, cache_bytes=room)
    assert read == ["0", "1"]
    for number in (0, 0, 1, 1, 0):
        np.testing.assert_array_equal(files[number][:9, 3:], photographs[number][:9, 3:])
    assert "".join(read[2:]) == again


def test_crops_from_an_s3_like_store_are_those_from_files_and_each_is_read_when_it_is_needed(
    folder, s3, monkeypatch
):
    store = addresses.address(f"{s3}/photographs")
    for path in folder.iterdir():
        addresses.write(store / path.name, path.read_bytes())
    here, read = photographs_in(folder), []
    monkeypatch.setattr(
        "mrdcae_lite.training.data.read_image",
        lambda path: read.append(str(path)) or read_image(path),
    )
    there = photographs_in(store, cache_bytes=1)  # none of them stays in memory
    assert [image.shape for image in there] == [image.shape for image in here]
    read.clear()
    crops, expected = (Photographs(found, size=32, batch=5) for found in (there, here))
    for index in range(4):
        np.testing.assert_array_equal(crops[index], expected[index])
    assert {*read} == {f"{s3}/photographs/{number}.png" for number in (0, 1)}
    assert len(read) > 2


def test_photographs_at_a_place_that_is_not_there_are_refused_with_its_name(s3):
    with pytest.raises(FileNotFoundError, match="No such file or folder: 's3://bucket/nothing'"):
        photographs_in(addresses.address(f"{s3}/nothing"))


def test_a_folder_without_pictures_or_with_a_damaged_one_is_refused_at_once(folder, tmp_path):
    (folder / "2.png").write_bytes((folder / "0.png").read_bytes()[:900])
    with pytest.raises(ImageError, match="2.png"):
        photographs_in(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no picture in .*empty. Give a folder of photographs"):
        photographs_in(tmp_path / "empty")
