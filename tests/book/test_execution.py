"""A chapter runs once: for its page, its solutions, and the outputs that it promises."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest

from book.command import UserError
from book.tools import chapters, paths
from book.tools.records import digest, remember, remembered

new = nbformat.v4
code = new.new_code_cell
PLACES = [("b", "two"), ("a", "one")]
PROMISE = {"tags": ["nbval-check-output"]}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a chapter and its solutions into an empty book; the other folders are empty too."""
    for name in ("SOLUTIONS", "ANSWERED", "EXECUTED"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    for folder in ("solutions", "answered"):
        (tmp_path / folder).mkdir(parents=True)

    def chapter(*cells, solutions=()):
        notebook = new.new_notebook(cells=[new.new_markdown_cell("# A title\n\nProse."), *cells])
        answers = new.new_notebook(cells=[*solutions])
        for place, content in ((tmp_path, notebook), (tmp_path / "solutions", answers)):
            nbformat.write(content, place / "small.ipynb")
        return tmp_path / "small.ipynb"

    return chapter


def test_a_chapter_runs_with_its_solutions_and_is_remembered_without_them(write, tmp_path):
    log = tmp_path / "log.txt"
    cells = [
        code(f"open({str(log)!r}, 'a').write('run ')", id="one"),
        code("answer + 'a' * 9"),
        code("1;"),
    ]
    solution = code("answer = 'secret'", metadata={"after": "one"})
    source = write(*cells, solutions=[solution])
    assert chapters.run_of(source, "key one") is None
    run = chapters.execute(source, "key one")
    assert log.read_text() == "run "
    assert chapters.run_of(source, "key one") == run
    assert chapters.run_of(source, "key two") is None
    assert run.seconds > 0
    assert run.peak_megabytes > 10
    executed = nbformat.read(chapters.executed(source), as_version=4)
    assert [cell.source for cell in executed.cells[1:]] == [cell.source for cell in cells]
    assert [cell.execution_count for cell in executed.cells[1:]] == [1, 2, 3]
    assert executed.cells[2].outputs[0].data["text/plain"] == "'secretaaaaaaaaa'"
    assert executed.cells[3].outputs == []


@pytest.mark.parametrize(
    ("cell", "solution", "said"),
    [
        (code("answer = 1 / 0"), "", r"(?s)Input:\nanswer = 1 / 0.*ZeroDivisionError"),
        (code("1"), "assert False", r"(?s)Input:\nassert False.*AssertionError"),
        (
            code("print(2)", execution_count=1, outputs=[new.new_output("stream", text="1\n")]),
            "",
            r"(?s)Cell outputs differ.*Input:\nprint\(2\)",
        ),
    ],
)
def test_a_failing_cell_is_named_and_its_chapter_not_taken_for_done(write, cell, solution, said):
    cell.metadata, cell.id = PROMISE, "one"
    source = write(cell, solutions=[code(solution, metadata={"after": "one"})])
    with pytest.raises(UserError, match="chapter small failed; nbval says:") as caught:
        chapters.execute(source, "key")
    caught.match(said)
    assert chapters.run_of(source, "key") is None


def test_a_solution_stands_behind_the_cell_that_it_names_and_is_refused_without_one():
    chapter = new.new_notebook(cells=[code("a = 1", id="one"), code("b = 2", id="two")])
    answers = [code(f"assert {name}", metadata={"after": place}) for name, place in PLACES]
    merged = chapters.answered(chapter, new.new_notebook(cells=answers))
    assert [cell.source for cell in merged.cells] == ["a = 1", "assert a", "b = 2", "assert b"]
    assert len(chapter.cells) == 2
    lost = code("assert a", metadata={"after": "three"})
    with pytest.raises(UserError, match=r"to name a cell of its chapter .* after='three'"):
        chapters.answered(chapter, new.new_notebook(cells=[lost]))


def test_the_digest_notices_a_changed_byte_and_a_changed_name(tmp_path):
    path = tmp_path / "a.txt"
    seen = set()
    for content in (b"one", b"two"):
        path.write_bytes(content)
        seen.add(digest([path], tmp_path))
    seen.add(digest([path.rename(tmp_path / "b.txt")], tmp_path))
    assert len(seen) == 3


def test_a_record_is_believed_only_with_its_key(tmp_path):
    remember(tmp_path / "a.json", "key", points=3)
    assert remembered(tmp_path / "a.json", "key") == {"points": 3}
    assert remembered(tmp_path / "a.json", "another") is None
    assert remembered(tmp_path / "b.json", "key") is None


def test_a_chapter_depends_on_package_lock_programs_and_its_solutions(write):
    inputs = {path.relative_to(paths.ROOT).as_posix() for path in chapters.shared_inputs()}
    programs = {"book/tools/chapters.py", "book/tools/nbval_outputs.py"}
    assert {"requirements.lock", "mrdcae_lite/evaluation/metrics.py", *programs} <= inputs
    assert not any("__pycache__" in name for name in inputs)
    measuring = paths.CHAPTERS / "measuring.ipynb"
    assert chapters.key_of(measuring, "") == f"-{digest([measuring])}"


TERMINATED = """
import sys
from pathlib import Path
from book.command import exit_status
from book.tools import chapters, paths

paths.SOLUTIONS, paths.ANSWERED, paths.EXECUTED = map(Path, sys.argv[2:])
sys.exit(exit_status("book", lambda: chapters.execute(Path(sys.argv[1]), "key")))
"""


def test_nothing_of_a_chapter_runs_on_when_the_book_is_terminated(write, tmp_path):
    pid = tmp_path / "pid"
    lines = f"import os, time, pathlib; pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))"
    source = write(code(f"{lines}; time.sleep(3600)"))
    folders = [paths.SOLUTIONS, paths.ANSWERED, paths.EXECUTED]
    command = [sys.executable, "-c", TERMINATED, source, *folders]
    process = subprocess.Popen(command, cwd=paths.ROOT)
    while not (pid.exists() and pid.read_text()):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    while is_alive(int(pid.read_text())):
        time.sleep(0.1)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
