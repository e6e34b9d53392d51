import operator
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageCms

import mrdcae_lite as mr
from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.metadata import Metadata
from mrdcae_lite.core.files import one_line
from mrdcae_lite.io.batch import compress_file, convert, decompress_file, map_unordered, plan
from mrdcae_lite.io.images import PICTURES

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def codec():
    return mr.load()


@pytest.fixture(scope="module")
def model(codec, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "codec"
    codec.save(path)
    return path


@pytest.fixture
def compress(model):
    return partial(compress_file, model=model, quality=20, rdoq=False)


@pytest.fixture
def decompress(model):
    return partial(decompress_file, model=model)


@pytest.fixture
def album(tmp_path, monkeypatch):
    """A folder of three photographs, a bad one and something else."""
    monkeypatch.chdir(tmp_path)
    Path("album").mkdir()
    for number, name in enumerate(("bulb", "dog", "waves")):
        mr.write_image(f"album/{name}.png", mr.sample(name)[: 20 + number, :30])
    Path("album/broken.png").write_bytes(b"no picture")
    Path("album/notes.txt").write_text("Once upon a time")
    return Path("album")


def states(outcomes):
    return sorted(outcome.state for outcome in outcomes)


def run(task, album, to="out", **options):
    endings = ((".mrdc",), ".png") if task.func is decompress_file else (PICTURES, ".mrdc")
    return list(convert(task, plan(Path(album), Path(to), *endings), **options))


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def make_older(path, seconds):
    times = path.stat()
    os.utime(path, (times.st_atime, times.st_mtime - seconds))


# --- one file


def test_a_coarser_level_keeps_the_transparency(tmp_path, codec, model):
    alpha = np.full((20, 30), 9, np.uint8)
    data = codec.compress(mr.sample("dog")[:20, :30], metadata=Metadata(alpha))
    (tmp_path / "a.mrdc").write_bytes(bitstream.up_to_level(data, 1))
    decompress_file(tmp_path / "a.mrdc", tmp_path / "a.png", model=model, level=1)
    np.testing.assert_array_equal(mr.read_picture(tmp_path / "a.png").metadata.alpha, alpha)


# --- which files


def test_pictures_of_a_folder_are_planned_in_order(tmp_path):
    for name in ("b.JPG", "a.b.png", "a.png", "c.mrdc", "c.txt", "png"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/d.png").touch()
    pairs = plan(tmp_path, Path("out"), PICTURES, ".mrdc")
    names = [(source.name, str(output)) for source, output in pairs]
    expected = [("a.b.png", "out/a.b.mrdc"), ("a.png", "out/a.mrdc"), ("b.JPG", "out/b.mrdc")]
    assert names == expected


# --- all files


def test_a_compressed_file_that_is_older_than_its_picture_is_made_again(album, compress):
    run(compress, album)
    Path("out/dog.mrdc").write_bytes(b"as it was")
    make_older(Path("out/dog.mrdc"), 3600)
    assert states(run(compress, album)) == ["failed", "there already", "there already", "written"]
    assert Path("out/dog.mrdc").read_bytes() != b"as it was"


def test_an_original_is_overwritten_by_force_only(album, compress, decompress):
    for path in album.iterdir():
        make_older(path, 3600)
    run(compress, album)
    before = contents(album)
    outcomes = run(decompress, "out", album)
    assert states(outcomes) == ["failed"] * 3
    named = {outcome.line.partition(":")[0] for outcome in outcomes}
    assert named == {"out/bulb.mrdc", "out/dog.mrdc", "out/waves.mrdc"}
    assert all("exists and is older. Choose another folder" in o.line for o in outcomes)
    assert contents(album) == before
    assert states(run(decompress, "out", album, force=True)) == ["written"] * 3
    assert contents(album)["dog.png"] != before["dog.png"]


def test_several_processes_write_the_same_files_as_one(album, compress):
    run(compress, album, "one")
    outcomes = run(compress, album, "two", jobs=2)
    assert states(outcomes) == ["failed", "written", "written", "written"]
    assert contents("one") == contents("two")


def test_at_least_one_process_is_needed(album, compress):
    with pytest.raises(ValueError, match="jobs must be 1 or more. Received: 0"):
        run(compress, album, jobs=0)
    assert not Path("out").exists()


def kill_itself(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def write_a_part_and_die(_source, output):
    Path(output.parent, ".0123.part").write_bytes(b"half")
    kill_itself()


def test_a_process_that_is_ended_while_it_writes_leaves_no_part_of_a_file(tmp_path):
    (tmp_path / ".of_another.part").touch()
    with pytest.raises(MemoryError, match="Run it again with fewer jobs"):
        list(convert(write_a_part_and_die, [(Path("a"), tmp_path / "b.mrdc")], jobs=2))
    assert set(contents(tmp_path)) == {".of_another.part"}


def test_an_error_of_a_call_in_another_process_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        list(map_unordered(partial(operator.truediv, 1), [1, 0], 2))


@pytest.mark.parametrize("jobs", [1, 2])
def test_items_are_taken_as_they_are_needed(jobs):
    taken = []

    def items():
        for number in count():
            taken.append(number)
            yield number

    results = map_unordered(operator.neg, items(), jobs)
    assert {*islice(results, 3)} <= set(range(-60, 1))
    results.close()
    assert len(taken) < 100


def test_calls_stand_in_the_folder_of_the_caller_wherever_processes_were_started(
    tmp_path, monkeypatch
):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        found = map_unordered(os.path.abspath, ["a", "b"], 2)
        assert sorted(found) == [str(tmp_path / name / item) for item in "ab"]


def test_another_thread_can_share_work_among_processes():
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(lambda: sorted(map_unordered(operator.neg, range(4), 2))).result()
    assert found == [-3, -2, -1, 0]


def test_processes_multiply_with_one_thread():
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    assert list(map_unordered(os.getenv, names, 2)) == ["1", "1"]


def test_without_joblib_one_process_works(album, compress, monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    assert states(run(compress, album)) == ["failed", "written", "written", "written"]


# --- interrupted


def test_what_is_interrupted_leaves_no_part_of_a_file(album, compress, monkeypatch):
    def stop(_file):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        run(compress, album)
    assert contents("out") == {}


def test_ctrl_c_ends_all_processes_in_one_line_and_leaves_whole_files(album, model):
    rng = np.random.default_rng(1)
    for number in range(30):
        noise = rng.integers(0, 256, (200, 200, 3), np.uint8)
        mr.write_image(f"album/noise{number}.png", noise)
    command = [sys.executable, "-m", "mrdcae_lite.cli", "compress", "album", "--to", "out"]
    process = subprocess.Popen(
        [*command, "--model", str(model), "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    lines = [process.stdout.readline() for _ in range(4)]
    assert all("/34 out/" in line for line in lines)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "mrdcae: interrupted"
    assert "Traceback" not in errors, errors
    found = contents("out")
    assert 4 <= len(found) < 33
    for name, data in found.items():
        assert name.endswith(".mrdc")
        bitstream.unpack(data)


# --- messages


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file", "a.png"), "a.png: No such file. Give a path that"),
        (OSError("the disk\n is gone"), "the disk is gone"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_an_error_is_one_line(error, line):
    assert line in one_line(error)
