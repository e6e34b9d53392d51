"""Every way a server can answer, on 127.0.0.1."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_scripts import DataError, download
from data_scripts.download import NotThereError, Resume, fetch

from .conftest import Page, Server

ROOT = Path(__file__).parents[2]


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put_part(target: Path, content: bytes) -> None:
    target.with_name(f"{target.name}.part").write_bytes(content)


def test_a_plain_answer_becomes_the_file(server: Server, body: bytes, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(body)
    target = fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin")
    assert target.read_bytes() == body
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_file_already_right_is_not_asked_for(server: Server, body: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(body)
    fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin")
    assert server.asked == []


def test_a_broken_answer_is_continued_where_it_stopped(
    server: Server, body: bytes, tmp_path: Path
) -> None:
    server.pages["/a.bin"] = Page(body, cuts=[100_000, 50_000])
    fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin")
    assert [asked for _, asked in server.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert (tmp_path / "a.bin").read_bytes() == body


def test_a_server_without_ranges_is_read_from_the_start(
    server: Server, body: bytes, tmp_path: Path
) -> None:
    server.pages["/a.bin"] = Page(body, ranges=False, cuts=[100_000])
    fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == body
    assert len(server.asked) == 2


def test_a_range_that_begins_elsewhere_is_not_appended(
    server: Server, body: bytes, tmp_path: Path
) -> None:
    put_part(tmp_path / "a.bin", body[:1000])
    server.pages["/a.bin"] = Page(body, offset_lie=-1000)
    fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == body


def test_a_slow_answer_arrives(server: Server, body: bytes, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(body[:40_000], pause=0.03)
    fetch(f"{server.url}/a.bin", sha(body[:40_000]), tmp_path / "a.bin")
    assert len(server.asked) == 1


def test_a_stalled_answer_is_asked_again(server: Server, body: bytes, tmp_path: Path) -> None:
    page = server.pages["/a.bin"] = Page(body, pause=0.8, piece=200_000)
    fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin", size=len(body))
    assert page.body == body
    assert [asked for _, asked in server.asked] == [None, "bytes=200000-"]


def test_an_answer_shorter_than_published_is_continued(
    server: Server, body: bytes, tmp_path: Path
) -> None:
    server.pages["/a.bin"] = Page(body, length=120_000)
    fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin", size=len(body))
    assert (tmp_path / "a.bin").read_bytes() == body
    assert [asked for _, asked in server.asked] == [None, "bytes=120000-", "bytes=240000-"]


def test_a_file_cut_short_at_the_source_is_refused(
    server: Server, body: bytes, tmp_path: Path
) -> None:
    server.pages["/a.bin"] = Page(body[:120_000])
    with pytest.raises(DataError, match="published checksum"):
        fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin", size=len(body))
    assert os.listdir(tmp_path) == []


def test_a_length_larger_than_the_file_is_settled_by_the_checksum(
    server: Server, body: bytes, tmp_path: Path
) -> None:
    server.pages["/a.bin"] = Page(body, length=len(body) + 5000)
    fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == body


def test_more_bytes_than_published_are_refused_and_dropped(
    server: Server, body: bytes, tmp_path: Path
) -> None:
    server.pages["/a.bin"] = Page(body)
    with pytest.raises(DataError, match=r"more than the 1,000 bytes expected.*--mirror"):
        fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin", size=1000)
    assert os.listdir(tmp_path) == []


def test_an_endless_file_of_unpublished_size_is_cut_off(
    server: Server, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "UNSIZED_LIMIT", 100_000)
    server.pages["/a.bin"] = Page(body)
    with pytest.raises(DataError, match="more than the 100,000 bytes expected"):
        fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin")


def test_a_wrong_checksum_leaves_nothing_and_the_next_run_recovers(
    server: Server, body: bytes, tmp_path: Path
) -> None:
    page = server.pages["/a.bin"] = Page(body[::-1])
    with pytest.raises(DataError, match=r"published checksum .*run again.*--mirror"):
        fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin")
    assert os.listdir(tmp_path) == []
    page.body = body
    assert fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin").read_bytes() == body


def test_an_md5_sum_is_understood(server: Server, body: bytes, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(body)
    md5 = "md5:" + hashlib.md5(body, usedforsecurity=False).hexdigest()
    assert fetch(f"{server.url}/a.bin", md5, tmp_path / "a.bin").is_file()
    with pytest.raises(DataError, match="md5:0000"):
        fetch(f"{server.url}/a.bin", "md5:" + "0" * 32, tmp_path / "b.bin")


def test_the_beginning_of_another_file_costs_one_more_download(
    server: Server, body: bytes, tmp_path: Path
) -> None:
    put_part(tmp_path / "a.bin", b"something else")
    server.pages["/a.bin"] = Page(body)
    assert fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin").read_bytes() == body
    assert [asked for _, asked in server.asked] == ["bytes=14-", None]


def test_a_part_that_is_already_whole_is_used(server: Server, body: bytes, tmp_path: Path) -> None:
    put_part(tmp_path / "a.bin", body)
    server.pages["/a.bin"] = Page(body)
    fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin", size=len(body))
    assert server.asked == []
    put_part(tmp_path / "b.bin", body)
    fetch(f"{server.url}/a.bin", sha(body), tmp_path / "b.bin")  # size unknown: answered by 416
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Page(b"x" * 999, kind="text/html; charset=utf-8"), "declared"),
        (Page(b"\n<!DOCTYPE html><title>Log in</title>"), "recognised"),
        (Page(b"<HTML><body>moved</body>"), "recognised"),
    ],
)
def test_a_web_page_instead_of_the_file_is_refused(
    server: Server, tmp_path: Path, page: Page, reason: str
) -> None:
    server.pages["/a.png"] = page
    with pytest.raises(DataError, match=r"got a web page.*browser.*--mirror"):
        fetch(f"{server.url}/a.png", "0" * 64, tmp_path / "a.png")
    assert len(server.asked) == 1, reason


def test_a_busy_server_is_asked_again(server: Server, body: bytes, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(body, statuses=[503, 429, 500])
    assert fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin").read_bytes() == body


def test_a_server_that_stays_broken_ends_in_one_line(
    server: Server, body: bytes, tmp_path: Path
) -> None:
    server.pages["/a.bin"] = Page(body, statuses=[500] * 99)
    with pytest.raises(DataError, match=r"500 Server Error.*run again") as failure:
        fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin")
    assert "\n" not in str(failure.value)
    assert len(server.asked) == download.RETRIES + 1


@pytest.mark.parametrize(("code", "kind"), [(404, NotThereError), (410, NotThereError)])
def test_a_missing_file_is_not_asked_for_twice(
    server: Server, tmp_path: Path, code: int, kind: type[DataError]
) -> None:
    server.pages["/a.bin"] = Page(b"", statuses=[code])
    with pytest.raises(kind, match=rf"does not exist \({code}\).*--mirror"):
        fetch(f"{server.url}/a.bin", "0" * 64, tmp_path / "a.bin")
    assert len(server.asked) == 1


def test_a_forbidden_file_is_not_asked_for_twice(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(b"", statuses=[403])
    with pytest.raises(DataError, match=r"was refused \(403 Forbidden\)"):
        fetch(f"{server.url}/a.bin", "0" * 64, tmp_path / "a.bin")


def test_a_dead_server_ends_in_one_line(server: Server, tmp_path: Path) -> None:
    url = server.url
    server.server_close()
    with pytest.raises(DataError, match=r"cannot be read \(.*refused.*\); check the network"):
        fetch(f"{url}/a.bin", "0" * 64, tmp_path / "a.bin")
    assert os.listdir(tmp_path) == []


def test_the_pauses_between_retries_double(
    server: Server, body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    monkeypatch.setattr(download, "BACKOFF", 1.0)
    server.pages["/a.bin"] = Page(body, statuses=[503] * 99)
    with pytest.raises(DataError, match="503"):
        fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin")
    assert [p for p in pauses if p >= 1] == [1.0, 2.0, 4.0, 8.0]


def test_progress_is_shown_on_a_terminal(
    server: Server,
    body: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.pages["/a.bin"] = Page(body, pause=0.005)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin", size=len(body), progress=True)
    assert "a.bin" in (shown := capsys.readouterr().err)
    assert "/300k" in shown


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_of_its_own_and_the_next_run_recovers(
    server: Server, body: bytes, tmp_path: Path
) -> None:
    server.pages["/a.bin"] = Page(body)
    part = tmp_path / "a.bin.part"
    part.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()
    part.unlink()
    assert fetch(f"{server.url}/a.bin", sha(body), tmp_path / "a.bin").read_bytes() == body


def test_a_conversion_that_fails_does_not_poison_the_next_run(
    server: Server, body: bytes, tmp_path: Path
) -> None:
    server.pages["/a.bin"] = Page(body)

    def reverse(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[::-1])

    def fail(source: Path, target: Path) -> None:
        raise OSError("cannot identify image file")

    with pytest.raises(OSError, match="cannot identify"):
        fetch(f"{server.url}/a.bin", sha(body[::-1]), tmp_path / "a.bin", convert=fail)
    assert os.listdir(tmp_path) == []
    made = fetch(f"{server.url}/a.bin", sha(body[::-1]), tmp_path / "a.bin", convert=reverse)
    assert made.read_bytes() == body[::-1]


def test_a_local_file_is_copied_and_verified(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "mirror.bin").write_bytes(body)
    target = fetch(str(tmp_path / "mirror.bin"), sha(body), tmp_path / "a.bin")
    assert target.read_bytes() == body
    with pytest.raises(DataError, match="published checksum"):
        fetch(str(tmp_path / "mirror.bin"), "0" * 64, tmp_path / "b.bin")
    with pytest.raises(NotThereError, match=r"does not exist; point --mirror"):
        fetch(str(tmp_path / "nowhere.bin"), "0" * 64, tmp_path / "b.bin")


def test_a_bad_copy_says_so_and_leaves_an_interrupted_download_alone(
    body: bytes, tmp_path: Path
) -> None:
    (tmp_path / "mirror.bin").write_bytes(body)
    begun = tmp_path / "a.bin.part"
    begun.write_bytes(body[:100])
    with pytest.raises(DataError, match="published checksum"):
        fetch(str(tmp_path / "mirror.bin"), "0" * 64, tmp_path / "a.bin")
    assert begun.read_bytes() == body[:100]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_is_continued_by_the_next(
    server: Server, body: bytes, tmp_path: Path, stop: signal.Signals
) -> None:
    page = server.pages["/a.bin"] = Page(body, pause=0.1)
    program = (  # a shell that starts the tests in the background has them ignore the interrupt
        "import signal, sys; from pathlib import Path; from data_scripts.download import fetch;"
        "from data_scripts.fetch import guarded;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "url, sum, target = sys.argv[1:];"
        "sys.exit(guarded('test', lambda: fetch(url, sum, Path(target))))"
    )
    target = tmp_path / "a.bin"
    url = f"{server.url}/a.bin"
    run = subprocess.Popen(
        [sys.executable, "-c", program, url, sha(body), str(target)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    part = tmp_path / "a.bin.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    run.send_signal(stop)
    _, complaint = run.communicate(timeout=20)
    if stop == signal.SIGINT:
        assert run.returncode == 130
        assert complaint == "test: interrupted; run the same command again, it continues\n"
    assert not target.exists()
    arrived = part.stat().st_size
    assert arrived > 0
    page.pause = 0.0
    assert fetch(url, sha(body), target).read_bytes() == body
    assert server.asked[-1] == ("/a.bin", f"bytes={arrived}-")


def test_the_downloader_is_one_that_pooch_accepts(
    server: Server, body: bytes, tmp_path: Path
) -> None:
    server.pages["/a.bin"] = Page(body)
    bring = Resume(tmp_path / "a.part", size=None, convert=None, progress=False)
    bring(f"{server.url}/a.bin", str(tmp_path / "out"), None)
    assert (tmp_path / "out").read_bytes() == body
