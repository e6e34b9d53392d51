"""A codec goes to other processes and comes back: as a name if it is shipped, else as weights."""

import copy
import pickle
from functools import partial
from io import BytesIO

import joblib
import numpy as np
import pytest

import mrdcae_lite as mr
from mrdcae_lite.io.batch import map_unordered


@pytest.fixture(params=["shipped", "tiny"])
def codec(request, tiny_codec):
    return mr.load() if request.param == "shipped" else tiny_codec


def through_joblib(codec):
    file = BytesIO()
    joblib.dump(codec, file)
    file.seek(0)
    return joblib.load(file)


WAYS = {
    "pickle": lambda codec: pickle.loads(pickle.dumps(codec)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "joblib": through_joblib,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_codec_that_was_carried_writes_and_reads_the_same_files(way, codec):
    picture = mr.sample("dog")[:40, :50]
    data = codec.compress(picture, 30)
    carried = way(codec)
    assert carried.id == codec.id
    assert carried.compress(picture, 30) == data
    np.testing.assert_array_equal(carried.decompress(data), codec.decompress(data))


def test_a_shipped_codec_is_carried_by_its_name(tiny_codec):
    assert len(pickle.dumps(mr.load())) < 200 < 10_000 < len(pickle.dumps(tiny_codec))


def test_other_processes_compress_with_a_codec_that_is_handed_to_them(codec):
    pictures = [np.ascontiguousarray(mr.sample("dog")[:16, :side]) for side in (16, 24)]
    found = map_unordered(partial(codec.compress, quality=30), pictures, 2)
    assert sorted(found) == sorted(codec.compress(picture, 30) for picture in pictures)


def test_the_parts_of_a_codec_are_compared_by_identity(tiny_codec):
    tables = tiny_codec.model.tables
    assert tables == tables
    assert tables != type(tables)(tables.counts)
    latents = tiny_codec.analyse(mr.sample("dog")[:16, :16])
    assert latents != tiny_codec.analyse(mr.sample("dog")[:16, :16])
    assert len({tables, latents}) == 2
