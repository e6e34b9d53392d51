"""Folders as course systems export them, and tables as they take them back."""

import csv
import os
import re
from datetime import datetime

import pytest

from book.course import exports
from book.course.exports import Sender, sender, submissions_in
from book.course.submission import RefusedError, read_submission

# The header of a grading worksheet of Moodle, of a gradebook of Canvas, of Gradescope's scores.
WORKSHEET = [
    "Identifier", "Full name", "Email address", "Status", "Grade", "Maximum Grade",
    "Grade can be changed", "Last modified (submission)", "Last modified (grade)",
    "Feedback comments",
]  # fmt: skip
GRADEBOOK = [
    "Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Metrics (4711)", "Other (4712)",
    "Assignments Current Score",
]  # fmt: skip
SCORES = [
    "First Name", "Last Name", "SID", "Email", "Sections", "Total Score", "Max Points", "Status",
    "Submission ID", "Submission Time", "Lateness (H:M:S)",
]  # fmt: skip
COLUMNS = ["file", "total", "possible", "message"]


def laid_out(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return folder


def found_in(folder):
    return [path.relative_to(folder).as_posix() for path in submissions_in(folder)]


SYSTEMS = {
    "moodle, folders": (
        ["Ada Lovelace_311_assignsubmission_file_/metrics.ipynb"],
        Sender("311", "Ada Lovelace"),
    ),
    "moodle, no folders": (
        ["Ada Lovelace_311_assignsubmission_file_metrics (2).ipynb"],
        Sender("311", "Ada Lovelace", attempt=2),
    ),
    "canvas": (["lovelaceada_77_901_metrics.ipynb"], Sender("77", "lovelaceada")),
    "canvas, late and again": (
        ["lovelaceada_LATE_77_902_metrics-1.ipynb"],
        Sender("77", "lovelaceada", late=True, attempt=1),
    ),
    "gradescope": (["submission_5150/metrics.ipynb"], Sender("5150", "submission_5150")),
    "github classroom": (["metrics-ada/metrics.ipynb"], Sender("metrics-ada", "metrics-ada")),
    "by hand": (["ada.ipynb"], Sender("ada", "ada")),
    "windows": (["ada - Copy (1).IPYNB"], Sender("ada - Copy", "ada - Copy", attempt=1)),
    "underscore": (["_ada.ipynb"], Sender("_ada", "_ada")),
    "moodle, in the name of another": (
        ["Ada Lovelace_311_assignsubmission_file_Bob_312_assignsubmission_file_a.ipynb"],
        Sender("311", "Ada Lovelace"),
    ),
    "canvas, in the name of another": (
        ["lovelaceada_77_901_Bob_312_assignsubmission_file_metrics.ipynb"],
        Sender("77", "lovelaceada"),
    ),
    "gradescope, in the name of another": (
        ["submission_5150/Bob_312_assignsubmission_file_metrics.ipynb"],
        Sender("5150", "submission_5150"),
    ),
    "unpacked into a folder": (
        ["export/Ada Lovelace_311_assignsubmission_file_metrics.ipynb"],
        Sender("311", "Ada Lovelace"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_a_system_exports_is_found_and_its_sender_known(tmp_path, system):
    names, known = SYSTEMS[system]
    assert found_in(laid_out(tmp_path, *names)) == names
    assert sender(names[0]) == known


def test_stray_files_are_no_submissions(tmp_path):
    laid_out(
        tmp_path,
        "submission_metadata.yml", "submission_1/metrics.ipynb", "submission_1/tests/mse.py",
        "submission_1/.OTTER_LOG", "__MACOSX/submission_1/._metrics.ipynb", ".DS_Store",
        "metrics-ada/README.md", "metrics-ada/.git/config", "metrics-ada/Metrics.IPYNB",
        "metrics-ada/.ipynb_checkpoints/metrics-checkpoint.ipynb", "metrics-ada/work/extra.py",
        "tests/mse.py", "Thumbs.db", "desktop.ini",
    )  # fmt: skip
    assert found_in(tmp_path) == ["metrics-ada/Metrics.IPYNB", "submission_1/metrics.ipynb"]


def test_a_link_to_the_work_of_others_is_shown_and_nobody_follows_it(tmp_path):
    folder = laid_out(tmp_path / "in", "metrics-ada/metrics.ipynb", "metrics-bob/notes.txt")
    (folder / "metrics-bob" / "metrics.ipynb").symlink_to("../metrics-ada/metrics.ipynb")
    (folder / "metrics-eve").symlink_to("metrics-ada")
    assert found_in(folder) == ["metrics-ada/metrics.ipynb", "metrics-bob/metrics.ipynb",
                                "metrics-eve"]  # fmt: skip
    for name in ("metrics-bob/metrics.ipynb", "metrics-eve"):
        with pytest.raises(RefusedError, match="got a link to a file"):
            read_submission(folder / name)


def test_what_nobody_can_grade_is_still_shown(tmp_path):
    laid_out(tmp_path, "ada/answers.docx", "bob/metrics.ipynb", "bob/notes.txt", "codec.py")
    assert found_in(tmp_path) == ["ada/answers.docx", "bob/metrics.ipynb", "codec.py"]


def table_of(folder, rows):
    place = folder / "grades.csv"
    exports.write_csv(place, [COLUMNS, *rows])
    return place


def exported(table, kind, header, rows, folder, *options):
    source, out = folder / f"{kind}.csv", folder / "upload.csv"
    exports.write_csv(source, [header, *rows])
    status = exports.main([str(table), f"--{kind}", str(source), "--out", str(out), *options])
    if status != 0:
        return None
    with out.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


MOODLE = [
    ["Participant 311", "Ada Lovelace", "ada@example.org", "Submitted for grading", "", "23.00",
     "Yes", "Monday, 1 March 2027, 9:00 AM", "-", ""],
    ["Participant 312", "Bob", "bob@example.org", "No submission", "", "23.00",
     "Yes", "-", "-", ""],
]  # fmt: skip


def test_moodle_gets_its_worksheet_back_with_marks_and_nothing_else_changed(tmp_path, capsys):
    table = table_of(
        tmp_path,
        [
            ["Ada Lovelace_311_assignsubmission_file_/metrics.ipynb", "21.5", "23", "failed: mse"],
            ["Eve_999_assignsubmission_file_/metrics.ipynb", "3", "23", ""],
        ],
    )
    rows = exported(table, "moodle", WORKSHEET, MOODLE, tmp_path)
    assert list(rows[0]) == WORKSHEET
    assert all(re.fullmatch(r"Participant \d+", row["Identifier"]) for row in rows)
    assert [(row["Grade"], row["Feedback comments"]) for row in rows] == [
        ("21.50", "failed: mse"),
        ("", ""),
    ]
    same = set(WORKSHEET) - {"Grade", "Feedback comments"}
    for row, before in zip(rows, MOODLE, strict=True):
        before = dict(zip(WORKSHEET, before, strict=True))
        assert {n: row[n] for n in same} == {n: before[n] for n in same}
    assert "not in moodle.csv: 999" in capsys.readouterr().out


def test_a_worksheet_of_other_points_is_refused(tmp_path, capsys):
    name = "Ada Lovelace_311_assignsubmission_file_/metrics.ipynb"
    table = table_of(tmp_path, [[name, "80", "100", ""]])
    assert exported(table, "moodle", WORKSHEET, MOODLE, tmp_path) is None
    assert "expected a maximum grade of 100 in Moodle, found 23.00" in capsys.readouterr().err


MORE_TIMES = [
    "Monday, March 1, 2027, 9:00 AM", "Monday, 1 March 2027, 09:00",
    "Monday, 1 March 2027, 9:00\N{NARROW NO-BREAK SPACE}AM",
]  # fmt: skip


@pytest.mark.parametrize("said", [MOODLE[0][7], *MORE_TIMES])
def test_moodle_says_in_its_worksheet_who_was_late(tmp_path, said):
    name = "Ada Lovelace_311_assignsubmission_file_/metrics.ipynb"
    table = table_of(tmp_path, [[name, "20", "23", ""]])
    sheet = [[*MOODLE[0][:7], said, *MOODLE[0][8:]], MOODLE[1]]
    for deadline, points in {"03-01T09:00": 20, "03-01T08:59": 18, "02-28T08:59": 16}.items():
        late = ["--deadline", f"2027-{deadline}", "--late", "10"]
        rows = exported(table, "moodle", WORKSHEET, sheet, tmp_path, *late)
        assert [row["Grade"] for row in rows] == [f"{points:.2f}", ""]
    assert rows[0]["Feedback comments"].startswith("2 days late: 80% of the points.")


def test_a_worksheet_in_another_language_is_refused_only_where_times_count(tmp_path, capsys):
    name = "Ada Lovelace_311_assignsubmission_file_/metrics.ipynb"
    table = table_of(tmp_path, [[name, "20", "23", ""]])
    sheet = [[*MOODLE[0][:7], "Montag, 1. M\u00e4rz 2027, 09:00", *MOODLE[0][8:]]]
    assert exported(table, "moodle", WORKSHEET, sheet, tmp_path)[0]["Grade"] == "20.00"
    late = ["--deadline", "2027-03-01T08:00", "--late", "10"]
    assert exported(table, "moodle", WORKSHEET, sheet, tmp_path, *late) is None
    error = capsys.readouterr().err
    assert "expected times in English in Moodle's worksheet" in error
    assert "found 'Montag, 1. M\u00e4rz 2027, 09:00'; set Moodle's language to English" in error
    assert error.count("\n") == 1


def test_canvas_gets_the_columns_that_it_needs_and_the_assignments(tmp_path):
    table = table_of(tmp_path, [["lovelaceada_77_901_metrics.ipynb", "21.5", "23", ""]])
    rows = [
        ["    Points Possible", "", "", "", "", "23.0", "10.0", "(read only)"],
        ["Lovelace, Ada", "77", "s77", "ada", "A", "", "9", "90"],
        ["Test Student", "78", "", "test", "A", "", "", ""],
    ]
    got = exported(table, "canvas", GRADEBOOK, rows, tmp_path, "--column", "Metrics")
    assert list(got[0]) == [*GRADEBOOK[:5], "Metrics (4711)"]
    assert [row["Metrics (4711)"] for row in got] == ["23.0", "21.5", ""]
    assert [row["Student"] for row in got] == [
        "    Points Possible",
        "Lovelace, Ada",
        "Test Student",
    ]


def test_gradescope_knows_its_students_by_their_addresses(tmp_path):
    about = """
submission_5150:
  :submitters:
  - :name: Ada Lovelace
    :sid: '77'
    :email: ada@example.org
  :created_at: 2027-03-01 10:00:00 Z
  :score: 0
"""
    folder = laid_out(tmp_path / "in", "submission_5150/metrics.ipynb")
    (folder / "submission_metadata.yml").write_text(about)
    table = table_of(tmp_path, [["submission_5150/metrics.ipynb", "20", "23", ""]])
    rows = [
        ["Ada", "Lovelace", "77", "ada@example.org", "", "", "23.0", "Ungraded", "5150", "", ""]
    ]
    options = ["--submissions", str(folder), "--deadline", "2027-02-28T12:00+00:00", "--late", "10"]
    got = exported(table, "gradescope", SCORES, rows, tmp_path, *options)
    assert list(got[0]) == SCORES
    assert got[0]["Total Score"] == "18"  # one started day


@pytest.mark.parametrize(("attempts", "points"), [("last", 10.0), ("best", 20.0)])
def test_of_those_who_hand_in_twice_one_counts_by_a_rule(tmp_path, attempts, points):
    names = ["ada_77_901_metrics.ipynb", "ada_77_905_metrics-1.ipynb"]
    table = table_of(tmp_path, [[names[0], "20", "23", ""], [names[1], "10", "23", ""]])
    marks = exports.marks(table, exports.Rule(attempts))
    assert {key: mark.points for key, mark in marks.items()} == {"77": points}


def test_a_late_day_costs_what_the_rule_says_and_the_remark_says_so(tmp_path):
    name = "ada_LATE_77_901_metrics.ipynb"
    table = table_of(tmp_path, [[name, "20", "23", "failed checks: mse (1)"]])
    assert exports.marks(table, exports.Rule())["77"].points == 20
    mark = exports.marks(table, exports.Rule(percent_a_day=25))["77"]
    assert (mark.points, mark.remark) == (
        15,
        "1 day late: 75% of the points. failed checks: mse (1)",
    )
    folder = laid_out(tmp_path / "in", name)
    day = datetime.fromisoformat("2027-03-04T10:00+00:00").timestamp()
    os.utime(folder / name, (day, day))
    deadline = datetime.fromisoformat("2027-03-01T12:00+00:00")
    rule = exports.Rule(percent_a_day=25, deadline=deadline)
    assert exports.marks(table, rule, folder)["77"].points == 5  # three started days


def test_who_has_no_points_yet_gets_no_mark(tmp_path):
    table = table_of(tmp_path, [["ada.ipynb", "", "23", "ended after 300 s"]])
    assert exports.marks(table, exports.Rule()) == {}


def test_a_table_that_a_spreadsheet_saved_is_read(tmp_path):
    place = tmp_path / "grades.csv"
    place.write_bytes("file;total;possible;message\r\nada.ipynb;2,5;23;\r\n".encode("utf-8-sig"))
    assert exports.marks(place, exports.Rule())["ada"].points == 2.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "expected one of --moodle, --canvas, --gradescope, got 0"),
        (["--moodle", "nothing.csv"], "expected a CSV file in UTF-8 at nothing.csv"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(tmp_path, capsys, options, said):
    table = table_of(tmp_path, [])
    assert exports.main([str(table), *options, "--out", str(tmp_path / "out.csv")]) == 1
    assert capsys.readouterr().err.startswith(f"exports: {said}")
