"""A folder of submissions as a teacher gets it: right ones, wrong ones, and hostile ones."""

import csv
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import zipfile

import nbformat
import numpy as np
import pytest

from book.command import UserError
from book.course import checks, grading, sandbox
from book.course import submission as told
from book.course.exports import submissions_in
from book.course.leaks import leaks, secrets
from book.course.masters import mistakes
from book.course.sandbox import Limits, Sandbox
from book.course.submission import RefusedError
from book.tools.paths import MASTERS, ROOT
from tests.course.cheats import Listener, cheats, left_behind, number_of_its_own
from tests.course.submissions import blank, submission

GENEROUS = Limits(seconds=3600, megabytes=2048)
MISTAKES = mistakes(MASTERS / "metrics.ipynb")["mistakes"]
SAFE = pytest.mark.skipif(
    not sandbox.works("bubblewrap"), reason="needs bubblewrap, or it would harm this machine"
)
SLEEP = f"86400.{number_of_its_own()}"  # seconds that nobody else sleeps
ORPHAN = """
import os
import subprocess

if os.fork() == 0:
    subprocess.Popen(["sleep", "{time}"], env={}, start_new_session=True)
    os._exit(0)
os.wait()
"""


def by_name(text):
    return next(mistake for mistake in MISTAKES if text in mistake["name"])


def with_cells(notebook, *codes):
    notebook.cells[1:1] = [nbformat.v4.new_code_cell(code) for code in codes]
    return notebook


def only(assignment, question):
    """The notebook of a student who solved one question and left the others."""
    done = submission(assignment, {})
    solved = next(c for c in done.cells if f"def {question}(" in c.source)
    notebook = blank(assignment)
    place = next(i for i, c in enumerate(notebook.cells) if f"def {question}(" in c.source)
    notebook.cells[place].source = solved.source
    return notebook


def orphan_of(assignment, time):
    """A notebook that leaves a process which sleeps for a time that nobody else does."""
    return with_cells(only(assignment, "mse"), ORPHAN.replace("{time}", time))


@pytest.fixture(scope="module")
def metrics(assignments):
    return assignments["metrics"]


@pytest.fixture(scope="module")
def place():
    """The safest way to start submissions that works here."""
    return sandbox.best(limits=GENEROUS)


@pytest.fixture(scope="module")
def folder(metrics, tmp_path_factory):
    """Ten submissions; the endless loop comes later."""
    place = tmp_path_factory.mktemp("submissions")
    old = submission(metrics, {})
    old.metadata["course"] = {"assignment": "metrics", "version": "00000000"}
    bare = submission(metrics, {"mse": "def mse(first, second:\n    return 0"})
    bare.metadata.clear()
    claims = only(metrics, "mse")
    for cell in claims.cells:
        cell.metadata |= {"tags": ["skip-execution", "remove-cell"], "points": 10}
    said = "psnr results: All test cases passed!"
    claims.cells[-2].outputs = [nbformat.v4.new_output("stream", text=said)]
    claims.metadata["otter"] = {"results": {"total": 23}}
    files = {
        "right": with_cells(submission(metrics, {}), "%cd ..", "import os\nos._exit(1)", "exit()"),
        "wrong": submission(metrics, by_name("bytes wrap")["replace"]),
        "empty": blank(metrics),
        "hard-coded": submission(metrics, by_name("numbers that fit")["replace"]),
        "bare": bare,
        "partial": claims,
        "again": with_cells(only(metrics, "mse"), *["import os\nos._exit(1)"] * 10),
        "old-version": old,
    }
    for name, notebook in files.items():
        nbformat.write(notebook, place / f"{name}.ipynb")
    (place / "not-a-notebook.ipynb").write_text("My answers are on the other sheet.")
    orphan = orphan_of(metrics, SLEEP)
    with zipfile.ZipFile(place / "orphan.zip", "w") as archive:
        archive.writestr("metrics.ipynb", nbformat.writes(orphan))
        archive.writestr("__MACOSX/._metrics.ipynb", b"\0\5\x16\7")
        archive.writestr(".ipynb_checkpoints/metrics-checkpoint.ipynb", "{}")
    return place


@pytest.fixture(scope="module")
def table(folder, metrics, place):
    """The rows by file, graded in two calls: the second finds one new file, an endless loop."""
    out = folder.parent / "grades.csv"
    grading.grade_folder(folder, metrics, out, place, feedback=folder.parent / "feedback")
    first = out.read_text()
    endless = with_cells(only(metrics, "mse"), "while True:\n    pass")
    nbformat.write(endless, folder / "endless.ipynb")
    short = Sandbox(place.kind, Limits(seconds=8))
    grading.grade_folder(folder, metrics, out, short)
    assert set(first.splitlines()) < set(out.read_text().splitlines())  # not graded a second time
    with out.open(newline="") as file:
        return {row["file"].partition(".")[0]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("name", "status"),
    {
        "right": "graded, with errors",
        "wrong": "graded",
        "empty": "empty",
        "again": "crashed",
        "endless": "too slow",
        "hard-coded": "graded",
        "bare": "graded, with errors",
        "partial": "graded",
        "old-version": "old version",
        "not-a-notebook": "not a notebook",
        "orphan": "graded",
    }.items(),
)
def test_every_submission_has_a_row_with_its_status(table, name, status):
    assert table[name]["status"] == status, table[name]["message"]


@pytest.mark.parametrize(
    ("name", "lost"),
    {
        "right": {},
        "wrong": by_name("bytes wrap")["points"],
        "hard-coded": by_name("numbers that fit")["points"],
        "bare": {"mse": 0},
    }.items(),
)
def test_points_are_those_of_the_rubric(table, metrics, name, lost):
    expected = metrics.points | lost
    assert {q: float(table[name][q]) for q in metrics.points} == expected
    assert float(table[name]["total"]) == pytest.approx(sum(expected.values()))


def test_a_partial_and_an_empty_submission_get_what_they_earned(table, metrics):
    none = dict.fromkeys(metrics.points, 0.0)
    got = {n: {q: float(table[n][q]) for q in metrics.points} for n in ("partial", "empty")}
    assert got == {"partial": none | {"mse": metrics.points["mse"]}, "empty": none}


@pytest.mark.parametrize("name", ["again", "endless", "old-version", "not-a-notebook"])
def test_who_could_not_be_graded_gets_no_number_but_a_reason(table, metrics, name):
    assert [table[name][column] for column in (*metrics.points, "total")] == [""] * 11
    assert table[name]["message"]


def test_the_message_names_the_cell_that_failed(table):
    assert "def mse(first, second:" in table["bare"]["message"]
    assert "SyntaxError" in table["bare"]["message"]
    assert table["right"]["message"].startswith("cell 3 (import os): it ended its own process")
    assert table["partial"]["message"].startswith("failed checks: psnr (4)")


def test_who_leaves_something_behind_or_ends_it_is_flagged(table):
    assert table["orphan"]["flags"] == "starts other programs; ends its process"
    assert table["right"]["flags"] == table["again"]["flags"] == "ends its process"
    assert table["wrong"]["flags"] == table["partial"]["flags"] == ""


def test_a_process_with_an_empty_environment_is_ended_with_its_submission(table, folder):
    assert left_behind(SLEEP) == []


def test_an_orphan_of_a_plain_process_is_ended_as_well(metrics, tmp_path):
    time = f"86400.{number_of_its_own()}"
    nbformat.write(orphan_of(metrics, time), tmp_path / "orphan.ipynb")
    result = grading.grade(tmp_path / "orphan.ipynb", metrics, Sandbox("plain", GENEROUS), ["mse"])
    assert (result["status"], result["points"]) == ("graded", {"mse": 2.0})
    assert left_behind(time) == []


def test_feedback_is_plain_words_and_holds_nothing_of_hidden_tests(table, folder):
    text = (folder.parent / "feedback" / "wrong.ipynb.html").read_text()
    assert "Bytes wrap around" in text
    assert "<h2>mse: 0.5 of 2 points</h2>" in text
    assert "Further tests, on other pictures and numbers: 0 of 1 passed." in text
    assert leaks([folder.parent / "feedback"], secrets(MASTERS / "metrics.ipynb")) == []


def test_what_hidden_checks_ask_for_is_in_no_word_that_a_student_reads(metrics, place, tmp_path):
    def asked_for(hidden):
        seen = []

        def mse(first, second):
            seen.append(hashlib.sha256(np.ascontiguousarray(first).tobytes()).hexdigest()[:12])
            return float(np.mean((np.asarray(first, float) - np.asarray(second, float)) ** 2))

        for check in metrics.questions()["mse"].values():
            if check.hidden is hidden:
                assert check.run({"mse": mse}) is None
        return seen

    notebook = cheats()["keep_the_arguments"].notebook(metrics)
    notebook.cells.append(nbformat.v4.new_code_cell("psnr(0, 0, 0)"))
    (tmp_path / "in").mkdir()
    nbformat.write(notebook, tmp_path / "in" / "ada.ipynb")
    pages = tmp_path / "pages"
    (row,) = grading.grade_folder(
        tmp_path / "in", metrics, tmp_path / "grades.csv", place, feedback=pages
    )
    page = (pages / "ada.ipynb.html").read_text()
    assert row["mse"] == "2"
    for text in (page, row["message"]):
        assert [digest for digest in asked_for(False) if digest not in text] == []
        assert [digest for digest in asked_for(True) if digest in text] == []


def checked(place, source, test):
    """What a check says of a notebook of one cell."""
    questions = {"double": {"test": checks.read(test, "double")["test"]}}
    exam = told.Examination(place, [source], questions)
    exam.run()
    return exam.found["double"][0]["message"]


def test_who_changes_what_a_check_compares_with_gains_nothing_and_loses_nothing(place):
    test = (
        "@test_case(points=1)\n"
        "def test(double):\n"
        "    values = [1.0, 2.0]\n"
        "    got = double(values)\n"
        "    assert list(got) in ([2 * value for value in values], [2.0, 4.0])\n"
    )
    spoiled = "def double(values):\n    values[:] = [0, 0]\n    return values"
    assert checked(place, spoiled, test) == "This is not what was expected."
    in_place = "def double(values):\n    values[:] = [2 * v for v in values]\n    return values"
    assert checked(place, in_place, test) is None


def test_two_gradings_at_once_do_not_see_each_other(metrics, place, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        nbformat.write(only(metrics, "mse"), tmp_path / name / f"{name}.ipynb")

    def run(name):
        grading.grade_folder(tmp_path / name, metrics, tmp_path / f"{name}.csv", place)

    both = [threading.Thread(target=run, args=[name]) for name in ("one", "two")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    for name in ("one", "two"):
        rows = rows_of(tmp_path / f"{name}.csv")
        assert [(row["file"], row["total"]) for row in rows] == [(f"{name}.ipynb", "2")]


@SAFE
@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_who_ends_the_command_ends_what_it_grades(metrics, tmp_path, how):
    token = f"86400.{number_of_its_own()}"
    (tmp_path / "in").mkdir()
    endless = f"import subprocess\nsubprocess.run(['sleep', '{token}'])"
    nbformat.write(with_cells(only(metrics, "mse"), endless), tmp_path / "in" / "ada.ipynb")
    command = [sys.executable, "-m", grading.__name__, "--assignment", "metrics"]
    command += [str(tmp_path / "in"), "--out", str(tmp_path / "grades.csv")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not [line for line in left_behind(token) if line.startswith("sleep")]:
        time.sleep(0.2)
    getattr(process, how)()
    _, error = process.communicate()
    while how == "kill" and left_behind(token):  # the kernel takes a moment
        time.sleep(0.2)
    assert left_behind(token) == []
    assert process.returncode == (1 if how == "terminate" else -9)
    assert b"call again" in error or how == "kill"


# Cheats: `python -m tests.course.cheats` grades all of them; here are those of a kind of their own.

QUICK = (
    "patch_otter", "forge_reply", "truncated_reply", "equal_to_all", "patch_numpy",
    "read_hidden_tests", "edit_the_grader", "visible_only", "hidden_child", "exit_in_an_answer",
    "end_in_an_answer", "kill_the_grader", "ask_the_network", "delete_all", "grab_the_line",
    "read_the_memory", "shadow_modules",
)  # fmt: skip


def test_there_are_cheats_enough():
    assert len(cheats()) >= 40
    assert set(QUICK) <= cheats().keys()


def test_a_cheat_is_flagged_before_it_runs(metrics):
    flags = {name: told.flags(cheat.notebook(metrics), metrics) for name, cheat in cheats().items()}
    assert [n for n, cheat in cheats().items() if cheat.flag not in flags[n]] == []
    assert told.flags(submission(metrics, {}), metrics) == ""


@SAFE
@pytest.mark.parametrize("name", QUICK)
def test_a_cheat_gets_what_its_work_is_worth_and_is_named(metrics, tmp_path, name):
    cheat, token = cheats()[name], number_of_its_own()
    file = tmp_path / f"{name}.ipynb"
    with Listener() as listener:
        nbformat.write(cheat.notebook(metrics, token=token, port=listener.port), file)
        result = grading.grade(file, metrics, Sandbox("bubblewrap", GENEROUS), ["mse", "psnr"])
    assert cheat.allows(result), result
    assert cheat.flag in result["flags"]
    assert left_behind(token) == []
    assert not listener.asked


@SAFE
def test_what_ends_in_an_answer_costs_that_answer_only(metrics, tmp_path):
    file = tmp_path / "end.ipynb"
    nbformat.write(cheats()["end_in_an_answer"].notebook(metrics), file)
    place = Sandbox("bubblewrap", GENEROUS)
    result = grading.grade(file, metrics, place, ["mse", "psnr"])
    assert result["points"] == {"mse": 0, "psnr": 2}


@SAFE
def test_a_sandbox_holds_nothing_of_the_course(metrics):
    look = "import os\nseen = [n for _, d, f in os.walk('/') for n in (*d, *f)]"
    with Sandbox("bubblewrap", GENEROUS).started() as line:
        assert line.ask("run", source=look) == {"error": None}
        seen = set(line.decode(line.ask("names", wanted=["seen"])["values"]["seen"]))
    assert not seen & {
        "autograder.zip",
        "solution.ipynb",
        "assignments",
        "grading.py",
        "masters.py",
    }


@SAFE
def test_a_sandbox_has_no_place_for_more_files_than_its_limits_allow():
    look = """
import os, shutil
from pathlib import Path
room = {p: shutil.disk_usage(p).free for p in ("/student", "/tmp", "/dev/shm")}
closed = [p for p in ("/", "/dev", "/etc", "/usr", "/grading") if not os.access(p, os.W_OK)]
first_to_end = Path("/proc/self/oom_score_adj").read_text().strip()
"""
    with Sandbox("bubblewrap", GENEROUS).started() as line:
        assert line.ask("run", source=look) == {"error": None}
        said = line.ask("names", wanted=["room", "closed", "first_to_end"])["values"]
    room, closed, first_to_end = (line.decode(value) for value in said.values())
    assert all(free <= sandbox.DISK for free in room.values())
    assert closed == ["/", "/dev", "/etc", "/usr", "/grading"]
    assert first_to_end == "1000"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a submission another user")
def test_where_root_grades_a_plain_process_cannot_read_its_files(tmp_path):
    if not sandbox.readable_by_others():
        pytest.skip("no other user can start this Python")
    secret = tmp_path / "secret"
    secret.write_text("of root")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    secret.chmod(0o600)
    with Sandbox("plain", GENEROUS).started() as line:
        said = line.ask("run", source=f"open({str(secret)!r})")
        ended = line.ask("run", source=f"import os; os.kill({os.getpid()}, 0)")
    assert said["error"].startswith("PermissionError")
    assert ended["error"].startswith("PermissionError")


@pytest.mark.parametrize(
    ("readable", "said"), [(True, "cannot read root's files"), (False, "runs as root")]
)
def test_where_root_grades_a_plain_process_says_whose_it_is(monkeypatch, readable, said):
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(sandbox, "readable_by_others", lambda: readable)
    assert said in Sandbox("plain").promise


def test_another_user_can_read_what_a_submission_needs_whatever_the_umask():
    before = os.umask(0o077)
    try:
        with sandbox.code_folder() as folder:
            code = folder / "code"
            modes = {path.stat().st_mode & 0o777 for path in (code, *code.rglob("*"))}
    finally:
        os.umask(before)
    assert modes == {0o755, 0o644}


def test_a_plain_process_says_in_words_what_it_does_not_protect_from():
    promise = Sandbox("plain").promise
    assert "can read the files of this account" in promise
    assert "network is open" in promise


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_container_has_no_network_and_no_file_but_two_modules(tmp_path, engine):
    command = Sandbox(engine, Limits(60, 512)).command(tmp_path, "submission-1", [])
    text = " ".join(command)
    assert text.startswith(f"{engine} run --rm --interactive --name submission-1 --network none")
    assert command.count("--volume") == 1
    assert f"{tmp_path}/code:/grading:ro" in command
    for wanted in ("--memory 512m", "--pids-limit", "--read-only", "--cap-drop ALL"):
        assert wanted in text


STAND_IN = """#!{python}
import json, os, sys
with open({log!r}, "a") as log:
    print(json.dumps(sys.argv[1:]), file=log)
if sys.argv[1] == "run":
    given = sys.argv[2:]
    code = given[given.index("--volume") + 1].partition(":")[0]
    values = [v.split("=", 1) for k, v in zip(given, given[1:]) if k == "--env"]
    os.chdir(os.path.dirname(code) + "/work")
    program = given[given.index({image!r}) + 1 :]
    settings = dict(values) | {{"PATH": os.environ["PATH"], "PYTHONPATH": code, "HOME": "."}}
    os.execve({python!r}, [{python!r}, *program[1:]], settings)
"""


def test_an_engine_is_asked_to_run_a_container_and_to_remove_it(tmp_path, monkeypatch):
    log, engine = tmp_path / "log", tmp_path / "docker"
    engine.write_text(STAND_IN.format(python=sys.executable, log=str(log), image=sandbox.IMAGE))
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    place = sandbox.best("docker", GENEROUS)
    with place.started() as line:
        assert line.ask("run", source="double = lambda x: 2 * x") == {"error": None}
        double = line.decode(line.ask("names", wanted=["double"])["values"]["double"])
        assert double(21) == 42
    *_, ran, removed = map(json.loads, log.read_text().splitlines())
    name = ran[ran.index("--name") + 1]
    assert removed == ["rm", "--force", name]
    assert ran[ran.index(sandbox.IMAGE) + 1 :][:3] == ["python", "-m", "book.course.player"]
    assert ran[0] == "run"


# Without a process: what is refused, believed, written.


def refused(metrics, notebook):
    with pytest.raises(RefusedError) as caught:
        told.refuse_strangers(notebook, metrics, blank(metrics))
    return caught.value.status, str(caught.value)


def test_a_notebook_of_another_assignment_is_refused_with_both_names(metrics):
    other = blank(metrics)
    first = next(cell for cell in other.cells if cell.source.startswith("# @title"))
    first.source = first.source.replace("assignment metrics", "assignment patches")
    assert refused(metrics, other) == ("another assignment", "expected metrics, got patches")


def test_a_notebook_that_lost_its_mark_is_known_by_its_checks(metrics):
    notebook = submission(metrics, {})
    del notebook.metadata["course"]
    told.refuse_strangers(notebook, metrics, blank(metrics))
    notebook.cells.append(nbformat.v4.new_code_cell('grader.check("entropy")'))
    assert refused(metrics, notebook)[0] == "old version"
    notebook.cells = [nbformat.v4.new_code_cell("1 + 1")]
    assert refused(metrics, notebook)[0] == "another assignment"


def test_a_notebook_of_format_3_is_read_and_one_of_the_future_is_not(tmp_path):
    third = nbformat.v3.new_notebook(worksheets=[nbformat.v3.new_worksheet()])
    path = tmp_path / "third.ipynb"
    path.write_text(json.dumps(third))
    assert told.read_submission(path).nbformat == 4
    path.write_text(json.dumps({"nbformat": 9, "nbformat_minor": 0, "metadata": {}, "cells": []}))
    with pytest.raises(RefusedError, match="cannot be read as a notebook"):
        told.read_submission(path)


@pytest.mark.parametrize("names", [[], ["a.ipynb", "b.ipynb"]])
def test_a_zip_must_hold_one_notebook(tmp_path, names):
    with zipfile.ZipFile(tmp_path / "answers.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    with pytest.raises(RefusedError, match=f"expected one .ipynb in the zip, found {len(names)}"):
        told.read_submission(tmp_path / "answers.zip")


def test_another_kind_of_file_is_no_notebook(tmp_path):
    with pytest.raises(RefusedError, match="expected .ipynb or .zip, got answers.docx"):
        told.read_submission(tmp_path / "answers.docx")


def test_a_student_may_hand_in_a_folder_with_further_files(tmp_path):
    for name in ("ada/study.ipynb", "ada/codec.py", "ada/.OTTER_LOG", "bob/notes.txt", "codec.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in submissions_in(tmp_path)]
    assert found == ["ada/study.ipynb", "bob/notes.txt", "codec.py"]


def test_a_report_that_is_none_is_the_row_of_its_submission(metrics):
    said = {"status": "graded", "message": "", "flags": "", "points": dict(metrics.points)}
    assert grading.understood(json.dumps(said).encode(), metrics)["status"] == "graded"
    for points in ({"mse": 100}, {"extra": 1}, {"mse": -1}, {"mse": "2"}):
        forged = json.dumps(said | {"points": metrics.points | points})
        assert grading.understood(forged.encode(), metrics)["status"] == "not graded"
    for broken in (b"", b"{", b"[]", b"null", b"\xff\xfe", json.dumps(said).encode()[:40]):
        assert grading.understood(broken, metrics)["status"] == "not graded"


def test_a_message_is_one_line_and_no_formula():
    assert grading.one_line("two\n  lines\x1b[31m red") == "two lines red"
    assert grading.one_line("=HYPERLINK(0)") == "'=HYPERLINK(0)"
    assert grading.one_line("") == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--assignment", "cooking"], "expected the name of an assignment, got 'cooking'"),
        (["--assignment", "metrics"], "expected a folder of submissions, found none at"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(assignments, tmp_path, capsys, arguments, said):
    out = ["--out", str(tmp_path / "grades.csv")]
    assert grading.main([str(tmp_path / "nothing"), *out, *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"grading: {said}")
    assert error.count("\n") == 1


def test_a_table_of_something_else_is_not_written_over(metrics, tmp_path):
    table = tmp_path / "grades.csv"
    table.write_text("name,grade\n")
    with pytest.raises(UserError, match="found other columns"):
        grading.rows_before(table, metrics)
    assert table.read_text() == "name,grade\n"


@pytest.fixture
def study(assignments, tmp_path, monkeypatch):
    """A folder of two studies, whose examination takes no time."""
    (tmp_path / "studies").mkdir()
    for name in ("ada", "bob"):
        (tmp_path / "studies" / f"{name}.ipynb").write_text(name)
    points = assignments["study"].points

    def quick(file, assignment, place, only=(), stopped=None):
        got = {name: points[name] - (0.5 if only else 1) for name in only or points}
        status = {"status": "graded", "message": "", "flags": "", "seconds": 1, "checks": {}}
        return status | {"points": got}

    monkeypatch.setattr(grading, "grade", quick)
    return assignments["study"]


def rows_of(table):
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def graded_again(study, tmp_path, **how):
    table = tmp_path / "grades.csv"
    grading.grade_folder(tmp_path / "studies", study, table, Sandbox("plain"), **how)
    return table, {row["file"]: row for row in rows_of(table)}


def test_points_typed_by_hand_stay_and_count(study, tmp_path):
    table, rows = graded_again(study, tmp_path)
    (hand, *_), most = grading.hand_columns(study), sum(study.by_hand.values())
    before = float(rows["ada.ipynb"]["total"])
    assert float(rows["ada.ipynb"]["possible"]) == sum(study.points.values()) + most
    lines = table.read_text().splitlines()
    header, ada = next(csv.reader(lines[:1])), next(csv.reader(lines[1:2]))
    ada[header.index(hand)] = "2,5"
    with table.open("w", newline="", encoding="utf-8-sig") as file:  # as Excel writes it
        writer = csv.writer(file, delimiter=";")
        writer.writerows([header, ada, next(csv.reader(lines[2:3]))])
    for how in ({}, {"again": True}, {"question": "curve"}):
        (tmp_path / "studies" / "ada.ipynb").write_text(f"handed in anew {how}")
        _, rows = graded_again(study, tmp_path, **how)
        assert rows["ada.ipynb"][hand] == "2,5"
        regraded = 0.5 if "question" in how else 0
        assert float(rows["ada.ipynb"]["total"]) == before + 2.5 + regraded


def test_one_question_is_graded_again_and_no_other_changes(study, tmp_path):
    _, before = graded_again(study, tmp_path)
    _, after = graded_again(study, tmp_path, question="curve")
    changed = {n for n in before["bob.ipynb"] if before["bob.ipynb"][n] != after["bob.ipynb"][n]}
    assert changed == {"curve", "total"}
    with pytest.raises(UserError, match="expected one of"):
        graded_again(study, tmp_path, question="cooking")


def test_the_row_of_a_file_that_is_gone_stays(study, tmp_path):
    graded_again(study, tmp_path)
    (tmp_path / "studies" / "ada.ipynb").unlink()
    assert graded_again(study, tmp_path)[1].keys() == {"ada.ipynb", "bob.ipynb"}


def test_a_cell_that_is_no_number_is_named(study, tmp_path):
    table, _ = graded_again(study, tmp_path)
    hand = grading.hand_columns(study)[0]
    rows = rows_of(table)
    rows[1][hand] = "four"
    grading.write_table(table, study.header(), rows)
    with pytest.raises(UserError, match="expected points for bob.ipynb in .* got 'four'"):
        graded_again(study, tmp_path)
