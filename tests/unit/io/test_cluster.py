"""A Dask scheduler and two workers, started and ended here, share the work."""

import json
import operator
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import pytest

import mrdcae_lite as mr
from mrdcae_lite.cli import main
from mrdcae_lite.io import addresses, cluster

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
OPTIONS = ["--quality", "20", "--effort", "0"]


class Cluster:
    """A scheduler that gives a call up when it ended two workers, and its workers."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address, self.folder = f"127.0.0.1:{self.port}", folder
        self.running = ExitStack()

    @property
    def engine(self) -> str:
        return f"dask://{self.address}"

    def start(self, workers: int = 1) -> None:
        self.scheduler = self._run("dask_scheduler", "--port", self.port, "--no-show")
        while not self._answers():  # a busy machine takes its time
            assert self.scheduler.poll() is None
            time.sleep(0.05)
        self.workers = [self.worker("--no-nanny") for _ in range(workers)]

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def worker(self, *options: str) -> subprocess.Popen:
        return self._run("dask_worker", self.address, "--nthreads", 1, *options)

    def _run(self, program: str, *options: object) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *map(str, options)]
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--no-dashboard"],
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            env=os.environ | {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"},
        )
        self.running.callback(process.wait)
        self.running.callback(process.kill)  # without its scheduler a worker ends late
        return process


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A worker of a busy machine comes late."""
    monkeypatch.setattr(cluster, "PATIENCE", float("inf"))


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    with found.running:
        found.start()
        found.worker()
        yield found


@pytest.fixture
def album(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("album").mkdir()
    for number, name in enumerate(("bulb", "dog", "waves")):
        mr.write_image(f"album/{name}.png", mr.sample(name)[: 20 + number, :30])
    return Path("album")


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def no_result(item, why):
    raise AssertionError(f"{item}: {why}")


def end_at_three(number):
    if number == 3:
        os._exit(1)
    return number


def test_workers_elsewhere_write_the_same_files_as_one_process(album, workers, capsys):
    Path("album/broken.png").write_bytes(b"no picture")
    assert main(["compress", "album", "--to", "one", *OPTIONS]) == 1
    assert main(["compress", "album", "--to", "two", *OPTIONS, "--engine", workers.engine]) == 1
    assert contents("one") == contents("two")
    capsys.readouterr()
    assert main(["compress", "album", "--to", "two", *OPTIONS, "--engine", workers.engine]) == 1
    out, err = capsys.readouterr()
    assert "3 there already" in out
    assert "broken.png: expected a picture." in err
    assert main(["decompress", "two", "--to", "back", "--engine", workers.engine]) == 0
    assert main(["decompress", "one", "--to", "same"]) == 0
    assert contents("back") == contents("same")


def test_workers_compare_codecs_as_one_process_does(album, workers, capsys):
    command = ["evaluate", "album", "--codecs", "mrdcae", "--qualities", "5,35,65,95", "--quiet"]
    assert main([*command, "--out", "one.json"]) == 0
    assert main([*command, "--out", "two.json", "--engine", workers.engine]) == 0
    one, two = (Path(name).read_text().splitlines() for name in ("one.json", "two.json"))
    assert [x for x in one if '_s"' not in x] == [x for x in two if '_s"' not in x]


def test_a_call_that_ends_workers_is_given_up_and_the_others_are_done():
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        results = cluster.map_on_cluster(
            end_at_three, range(6), "dask", 2, lambda number, why: f"{number}: {why}"
        )
        found = {*results}
    assert found == {0, 1, 2, 4, 5, "3: it ended one worker after the other."}


def test_items_are_taken_as_they_are_needed(workers, numbers):
    results = cluster.map_on_cluster(operator.neg, numbers, workers.engine, 1, no_result)
    assert {*islice(results, 3)} <= set(range(-60, 1))
    results.close()
    assert len(numbers.taken) < 100


def test_an_error_of_a_call_is_raised_here(workers):
    results = cluster.map_on_cluster(operator.inv, ["a"], workers.engine, 1, no_result)
    with pytest.raises(TypeError, match="bad operand"):
        list(results)


def test_no_scheduler_is_one_line(album, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECTING", 0.5)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        engine = f"dask://127.0.0.1:{nobody.getsockname()[1]}"
        assert main(["compress", "album", "--to", "out", "--engine", engine]) == 2
    assert capsys.readouterr().err == (
        f"mrdcae: expected a scheduler at {engine}. Received: no answer in 0.5 seconds. Start it "
        "with `dask scheduler`, or check the address.\n"
    )
    assert not Path("out").exists()


def test_a_scheduler_without_a_worker_is_one_line(album, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0)
    found = Cluster(tmp_path)
    with found.running:
        found.start(workers=0)
        assert main(["compress", "album", "--to", "out", "--engine", found.engine]) == 2
    assert capsys.readouterr().err == (
        f"mrdcae: the scheduler {found.engine} has no worker, and none came in 0 seconds. Start "
        "workers with `dask worker`, and run this again: what is done stays done.\n"
    )


@pytest.mark.parametrize("engine", ["ray", "dask://", "dask://host", "spark://host:1"])
def test_another_engine_is_one_line(album, capsys, engine):
    assert main(["compress", "album", "--to", "out", "--engine", engine]) == 2
    assert "expected an engine of dask, for processes of this" in capsys.readouterr().err


def test_what_workers_and_schedulers_leave_undone_is_done_by_repeating_it(album, s3, tmp_path):
    """One worker is killed, then the scheduler; no picture is lost, and none is made twice."""
    for number in range(50):
        top, left = divmod(number * 61, 500)
        mr.write_image(
            f"album/{number}.png", mr.sample("flowers")[top : top + 64, left : left + 64]
        )
    assert main(["compress", "album", "--to", "one", *OPTIONS, "--quiet"]) == 0
    command = [sys.executable, "-m", "mrdcae_lite", "compress", "album", "--to", f"{s3}/out"]
    command += [*OPTIONS, "--manifest", "m.jsonl", "--engine"]
    first, second = Cluster(tmp_path), Cluster(tmp_path)
    with first.running:
        first.start()
        first.worker()
        with subprocess.Popen(
            [*command, first.engine], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            for _ in range(10):
                process.stdout.readline()
            first.workers[0].kill()
            for _ in range(10):
                process.stdout.readline()
            first.scheduler.kill()
            _, errors = process.communicate()
    assert process.returncode == 2
    assert errors.startswith(f"mrdcae: the scheduler {first.engine} went away. Start it and")
    assert errors.count("\n") == 1
    store = addresses.address(f"{s3}/out")
    made = {entry["name"]: entry["LastModified"] for entry in store.fs.ls(store.path, detail=True)}
    assert 20 <= len(made) < 53
    with second.running:
        second.start()
        done = subprocess.run(
            [*command, second.engine], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert {name: addresses.read(store / name) for name in os.listdir("one")} == contents("one")
    assert len(store.fs.ls(store.path)) == 53
    for entry in store.fs.ls(store.path, detail=True):
        assert entry["LastModified"] == made.get(entry["name"], entry["LastModified"])
    rows = [json.loads(line) for line in Path("m.jsonl").read_text().splitlines()]
    assert len({row["source"] for row in rows}) == 53
    assert max(Counter(row["source"] for row in rows if row["state"] == "written").values()) == 1


def test_one_that_was_thought_dead_and_still_writes_spoils_nothing(album, tmp_path):
    """It is held while it reads; another one does the work; then it writes the same file."""
    held, go_on, found = threading.Event(), threading.Event(), Cluster(tmp_path)

    class Holding(SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/dog.png" and not held.is_set():
                held.set()
                go_on.wait()
            super().do_GET()

        def log_message(self, *_args):
            pass

    def take_for_dead():
        async def lose(dask_scheduler):
            for address in [*dask_scheduler.workers]:
                await dask_scheduler.remove_worker(address, stimulus_id="test", close=False)

        held.wait()
        with distributed.Client(found.address, set_as_default=False) as client:
            client.run_on_scheduler(lose)
        found.worker()

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Holding, directory=album))
    with server, found.running:
        threading.Thread(target=server.serve_forever).start()
        found.running.callback(server.shutdown)
        found.running.callback(go_on.set)
        found.start()
        threading.Thread(target=take_for_dead).start()
        source = f"http://127.0.0.1:{server.server_port}/"
        command = ["compress", source, "--to", "out", *OPTIONS, "--manifest", "m.jsonl"]
        assert main([*command, "--engine", found.engine]) == 0
        assert not go_on.is_set()
        go_on.set()
        found.workers[0].wait()
    assert main(["compress", "album", "--to", "one", *OPTIONS]) == 0
    assert contents("out") == contents("one")
    rows = [json.loads(line) for line in Path("m.jsonl").read_text().splitlines()]
    assert sorted(row["source"] for row in rows) == [
        f"{source}{name}" for name in ("bulb.png", "dog.png", "waves.png")
    ]
    states = {row["source"].removeprefix(source): row["state"] for row in rows}
    assert states["dog.png"] == "written"
    assert {*states.values()} <= {"written", "there already"}  # what else it had begun


@pytest.mark.parametrize("end", [os.kill, os.killpg], ids=["by another program", "in a terminal"])
def test_ctrl_c_ends_the_workers_of_this_machine_in_one_line_and_leaves_whole_files(album, end):
    for number in range(40):
        mr.write_image(f"album/{number}.png", mr.sample("flowers")[number : number + 64, :64])
    assert main(["compress", "album", "--to", "one", *OPTIONS, "--quiet"]) == 0
    command = [sys.executable, "-m", "mrdcae_lite.cli", "compress", "album", "--to", "out"]
    process = subprocess.Popen(
        [*command, *OPTIONS, "--engine", "dask", "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell lets what it starts in the background ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    process.stdout.readline()
    end(process.pid, signal.SIGINT)
    _, errors = process.communicate()  # until the last of its processes has ended
    assert (process.returncode, errors) == (130, "mrdcae: interrupted\n")
    found, whole = contents("out"), contents("one")
    assert 1 <= len(found) < len(whole)
    assert found.items() <= whole.items()


def test_ctrl_c_leaves_the_workers_of_a_scheduler_as_they_were(album, workers, capsys, monkeypatch):
    def stop(*_args):
        raise KeyboardInterrupt

    command = ["compress", "album", "--to", "out", *OPTIONS, "--engine", workers.engine]
    with monkeypatch.context() as patch:
        patch.setattr("mrdcae_lite.commands._say_outcome", stop)
        assert main(command) == 130
    assert capsys.readouterr().err == "mrdcae: interrupted\n"
    assert main(command) == 0
    assert main(["compress", "album", "--to", "one", *OPTIONS]) == 0
    assert contents("out") == contents("one")


def test_an_engine_needs_a_folder_for_its_results(album, capsys):
    assert main(["compress", "album/dog.png", "--engine", "dask"]) == 2
    assert "--engine and --manifest go with --to FOLDER" in capsys.readouterr().err
