import operator
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageCms

import mrdcae_lite as mr
from mrdcae_lite.coding import bitstream
from mrdcae_lite.coding.metadata import Metadata
from mrdcae_lite.core.files import one_line, part_prefix
from mrdcae_lite.io.batch import Compression, Decompression, convert, make, plan
from mrdcae_lite.io.processes import map_unordered

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
    return Compression(model=str(model), quality=20, effort=0)


@pytest.fixture
def decompress(model):
    return Decompression(model=str(model))


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
    return list(convert(task, plan(task, [Path(album)], Path(to)).pairs, **options))


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def make_older(path, seconds):
    times = path.stat()
    os.utime(path, (times.st_atime, times.st_mtime - seconds))


# --- one file


def test_a_coarser_level_keeps_the_transparency(tmp_path, codec, model):
    alpha = np.full((20, 30), 9, np.uint8)
    data = codec.compress(mr.sample("dog")[:20, :30], metadata=Metadata(alpha))
    made = make(Decompression(model=str(model), level=1), bitstream.up_to_level(data, 1))
    (tmp_path / "a.png").write_bytes(made.content)
    np.testing.assert_array_equal(mr.read_picture(tmp_path / "a.png").metadata.alpha, alpha)


# --- which files


def test_pictures_of_a_folder_are_planned_in_order(tmp_path, compress):
    for name in ("b.JPG", "a.b.png", "a.png", "c.mrdc", "c.txt", "png"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/d.png").touch()
    found = plan(compress, [tmp_path], Path("out"))
    names = [(source.name, str(output)) for source, output in found.pairs]
    expected = [("a.b.png", "out/a.b.mrdc"), ("a.png", "out/a.mrdc"), ("b.JPG", "out/b.mrdc")]
    assert names == expected
    assert [path.name for path in found.left_out] == ["inner", "c.mrdc", "c.txt", "png"]
    deep = plan(compress, [tmp_path], Path("out"), recursive=True)
    assert [*deep.pairs] == [*found.pairs, (tmp_path / "inner/d.png", Path("out/inner/d.mrdc"))]


# --- all files


def test_an_original_is_overwritten_by_force_only(album, compress, decompress):
    run(compress, album)
    before = contents(album)
    outcomes = run(decompress, "out", album)
    assert states(outcomes) == ["failed"] * 3
    named = {outcome.said.partition(":")[0] for outcome in outcomes}
    assert named == {"out/bulb.mrdc", "out/dog.mrdc", "out/waves.mrdc"}
    assert all("Choose another folder, or overwrite" in o.said for o in outcomes)
    assert contents(album) == before
    assert states(run(decompress, "out", album, force=True)) == ["written"] * 3
    assert contents(album)["dog.png"] != before["dog.png"]
    assert states(run(decompress, "out", album)) == ["there already"] * 3


def test_the_origin_names_source_and_options_and_not_the_threads(compress, decompress):
    origin = compress.origin(b"a")
    assert len(origin) == 12
    assert replace(compress, threads=3).origin(b"a") == origin
    others = (replace(compress, quality=21), replace(compress, model="standard"), decompress)
    assert origin not in [compress.origin(b"b"), *(task.origin(b"a") for task in others)]


def test_what_a_killed_run_left_is_gone_after_the_next_one(album, compress):
    Path("out").mkdir()
    left = Path("out", f"{part_prefix(Path('out/dog.mrdc'))}0123.part")
    left.write_bytes(b"half")
    run(compress, album)
    assert sorted(contents("out")) == ["bulb.mrdc", "dog.mrdc", "waves.mrdc"]


def test_several_processes_write_the_same_files_as_one(album, compress):
    run(compress, album, "one")
    outcomes = run(compress, album, "two", jobs=2)
    assert states(outcomes) == ["failed", "written", "written", "written"]
    assert contents("one") == contents("two")


def test_at_least_one_process_is_needed(album, compress):
    with pytest.raises(ValueError, match="jobs must be from 1 to 256. Received: 0"):
        run(compress, album, jobs=0)
    assert not Path("out").exists()


@dataclass(frozen=True)
class EndedWhileItWrites(Compression):
    folder: str = ""

    def make(self, source, *, origin=b""):
        output = Path(self.folder, "a.mrdc")
        output.with_name(f"{part_prefix(output)}0123.part").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_ended_while_it_writes_leaves_no_part_of_a_file(tmp_path):
    (tmp_path / ".of_another.part").touch()
    (tmp_path / "a.png").touch()
    task = EndedWhileItWrites(folder=str(tmp_path))
    with pytest.raises(MemoryError, match="Run it again with fewer jobs"):
        list(convert(task, [(tmp_path / "a.png", tmp_path / "a.mrdc")], jobs=2))
    assert set(contents(tmp_path)) == {".of_another.part", "a.png"}


def test_an_error_of_a_call_in_another_process_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        list(map_unordered(partial(operator.truediv, 1), [1, 0], 2))


@pytest.mark.parametrize("jobs", [1, 2])
def test_items_are_taken_as_they_are_needed(jobs, numbers):
    results = map_unordered(operator.neg, numbers, jobs)
    assert {*islice(results, 3)} <= set(range(-60, 1))
    results.close()
    assert len(numbers.taken) < 100


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
        # A shell lets what it starts in the background ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
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


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody tells of a parent's end")
@pytest.mark.parametrize(
    ("number", "seconds"),
    [(signal.SIGTERM, None), (signal.SIGHUP, None), (signal.SIGKILL, None), (signal.SIGKILL, 1.7)],
)
def test_processes_end_when_their_parent_is_killed(album, model, number, seconds):
    rng = np.random.default_rng(1)
    for name in range(20):
        noise = rng.integers(0, 256, (200, 200, 3), np.uint8)
        mr.write_image(f"album/noise{name}.png", noise)
    command = [sys.executable, "-m", "mrdcae_lite", "compress", "album", "--to", "out"]
    command += ["--model", str(model)]
    with subprocess.Popen([*command, "--jobs", "2"], stdout=subprocess.PIPE) as process:
        time.sleep(seconds) if seconds else process.stdout.readline()
        process.send_signal(number)
        process.stdout.read()  # returns when nobody is left that could write
    assert process.returncode in (143, -signal.SIGKILL, 1)  # 1: it was done before
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 1  # the broken picture of the album
    assert not list(Path("out").glob(".*"))
    assert len(contents("out")) == 23


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(album, compress, model):
    rng = np.random.default_rng(2)
    for name in range(40):
        mr.write_image(f"album/noise{name}.png", rng.integers(0, 256, (90, 90, 3), np.uint8))
    command = [sys.executable, "-m", "mrdcae_lite", "compress", "album", "--to", "out", "--quiet"]
    command += ["--model", str(model), "--quality", "20", "--effort", "0", "--jobs", "2"]
    for _ in range(10):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as run_:
            time.sleep(1 + 2 * rng.random())
            with suppress(ProcessLookupError):
                os.killpg(run_.pid, signal.SIGKILL)
        assert {path.suffix for path in Path().glob("out/*")} <= {".mrdc", ".part"}
    assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 1
    run(compress, album, "other")
    assert contents("out") == contents("other")


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
