"""The folders that course systems export, and the tables that they take back.

    python -m book.course.exports grades.csv --moodle WORKSHEET.csv --out upload.csv

A table of grades becomes the file of a system by filling in what that system exported itself: the
grading worksheet of Moodle, the gradebook of Canvas, the scores of Gradescope (which takes none
back; that table is for a gradebook elsewhere). So nothing but the marks changes, and whoever has a
mark and no row there is named.
"""

import argparse
import csv
import io
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from types import MappingProxyType
from typing import Any

import yaml

from book.command import UserError, exit_status
from mrdcae_lite.core.files import write_atomically

NOTEBOOKS = {".ipynb", ".zip"}
STRAY = {"__MACOSX", "__pycache__", "tests", "node_modules"}
OF_SYSTEMS = {"submission_metadata.yml", "Thumbs.db", "desktop.ini"}

MOODLE = re.compile(r"^(?P<name>.+?)_(?P<id>\d+)_assignsubmission_[a-z]+_?(?P<file>.*)$")
CANVAS = re.compile(r"^(?P<name>[^_]+)_(?P<late>LATE_)?(?P<id>\d+)_\d+_(?P<file>.+)$")
GRADESCOPE = re.compile(r"^(?P<name>submission_(?P<id>\d+))$")
AGAIN = re.compile(r"(?:-(\d+)| ?\((\d+)\))$")  # Canvas adds -1, browsers (1)
MOODLE_TIMES = (  # in British, in American English, and without AM and PM
    "%A, %d %B %Y, %I:%M %p", "%A, %B %d, %Y, %I:%M %p", "%A, %d %B %Y, %H:%M",
)  # fmt: skip


@dataclass(frozen=True)
class Sender:
    """Who handed a file in, as the name of the file tells; `key` is what a system knows them by."""

    key: str
    name: str
    late: bool = False
    attempt: int = 0


def is_stray(place: PurePath) -> bool:
    """Whether a file is no part of a submission: hidden, a copy, or made by an archive program."""
    return place.name in OF_SYSTEMS or any(p[0] == "." or p in STRAY for p in place.parts)


def submissions_in(folder: Path) -> list[Path]:
    """List what was handed in below a folder: notebooks, archives, and whatever else needs a look.

    In a folder of somebody's own, other files beside the notebook do not count. A link is listed,
    but nobody follows it: it may lead to somebody else's work.
    """
    if not folder.is_dir():
        raise UserError(f"expected a folder of submissions, found none at {folder}")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() or path.is_symlink()]
    kept = [path for path in files if not is_stray(path.relative_to(folder))]
    if not kept:
        raise UserError(f"expected submissions (.ipynb or .zip) in {folder}, found no file")

    def own(path: Path) -> str:
        parts = path.relative_to(folder).parts
        return parts[0] if len(parts) > 1 else ""

    notebooks = [path for path in kept if path.suffix.lower() in NOTEBOOKS]
    answered = {own(path) for path in notebooks} - {""}
    rest = [p for p in kept if p.suffix.lower() not in NOTEBOOKS and own(p) not in answered]
    return sorted([*notebooks, *rest])


def sender(file: str) -> Sender:
    """Who handed a file in; `file` is its place below the folder of submissions.

    The outermost name that a system has given counts, and its beginning. What follows is the
    student's own, who could write there what looks like another's.
    """
    place = PurePosixPath(file)
    for part in place.parts:
        for known in (CANVAS, MOODLE, GRADESCOPE):
            if found := known.match(part):
                groups = found.groupdict()
                own = PurePosixPath(groups.get("file") or place.name)
                late = bool(groups.get("late"))
                return Sender(groups["id"], groups["name"], late, attempt_of(own.stem))
    name = place.parts[0] if len(place.parts) > 1 else AGAIN.sub("", place.stem)
    return Sender(name, name, attempt=attempt_of(place.stem))


def attempt_of(stem: str) -> int:
    """How often somebody had handed in before, as the name tells."""
    found = AGAIN.search(stem)
    return int(found[1] or found[2]) if found else 0


@dataclass(frozen=True)
class Rule:
    """What counts of those who hand in twice, and what a late day costs."""

    attempts: str = "last"
    percent_a_day: float = 0.0
    deadline: datetime | None = None


@dataclass(frozen=True)
class Mark:
    """What one student gets, and why."""

    points: float
    possible: float
    remark: str


def read_csv(path: Path) -> tuple[list[list[str]], str]:
    """The rows of a CSV file and what separates them, as a spreadsheet program may have left it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"expected a CSV file in UTF-8 at {path}, got {error}") from error
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
    return rows, separator


def write_csv(path: Path, rows: Iterable[Iterable[str]], separator: str = ",") -> None:
    """Write a CSV file at one stroke."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator).writerows(rows)
    write_atomically(path, text.getvalue().encode())


def number(text: str) -> float:
    """A number as a person may have typed it, with a point or a comma."""
    return float(text.strip().replace(",", "."))


def gradescope_people(folder: Path | None) -> dict[str, dict[str, Any]]:
    """Who sent what, and when, by the number of the submission, if Gradescope said so."""
    about = folder / "submission_metadata.yml" if folder else None
    if about is None or not about.exists():
        return {}
    found = yaml.safe_load(about.read_text(encoding="utf-8"))
    people = {}
    for name, facts in found.items():
        one = {str(key).lstrip(":"): value for key, value in facts.items()}
        users = [{str(k).lstrip(":"): v for k, v in user.items()} for user in one["submitters"]]
        key = name.removeprefix("submission_")
        people[key] = {"users": users, "time": one.get("created_at")}
    return people


def moodle_times(rows: list[list[str]]) -> dict[str, datetime]:
    """When each student handed in, as Moodle's worksheet says, in the time zone of this machine."""
    header, times = rows[0], {}
    who, place = column(header, "Identifier"), column(header, "Last modified (submission)")
    for row in rows[1:]:
        said = " ".join(row[place].split())
        if said in ("", "-"):
            continue
        for form in MOODLE_TIMES:
            with suppress(ValueError):
                times[moodle_key(row[who])] = datetime.strptime(said, form).astimezone()
        if moodle_key(row[who]) not in times:
            raise UserError(
                "expected times in English in Moodle's worksheet, such as 'Monday, 1 March 2027, "
                f"9:00 AM', found {said!r}; set Moodle's language to English and export it again"
            )
    return times


def moodle_key(identifier: str) -> str:
    """The number by which the names of Moodle's files know a student, too."""
    return identifier.removeprefix("Participant ")


def days_late(row: dict[str, str], who: Sender, when: datetime | None, rule: Rule) -> int:
    """Started days after the deadline; a file that its system calls late is so by one day."""
    if rule.deadline and when:
        seconds = (when - rule.deadline).total_seconds()
        return max(0, -int(-seconds // 86400))
    return int(who.late)


def marks(
    table: Path,
    rule: Rule,
    folder: Path | None = None,
    times: Mapping[str, datetime] = MappingProxyType({}),
) -> dict[str, Mark]:
    """What each student gets, by what their system knows them by.

    They handed in at their `times` or, where there is none, as Gradescope or the file has it.
    """
    rows, _ = read_csv(table)
    people = gradescope_people(folder)
    found: dict[str, list[tuple[int, Mark]]] = {}
    for row in (dict(zip(rows[0], values, strict=True)) for values in rows[1:]):
        who = sender(row["file"].removeprefix("'"))
        if not row["total"]:
            continue
        facts = people.get(who.key, {})
        said = times.get(who.key, facts.get("time"))
        when = time_of(said, folder / row["file"] if folder else None)
        late = days_late(row, who, when, rule)
        share = max(0.0, 1 - late * rule.percent_a_day / 100)
        days = f"{late} day{'s' if late > 1 else ''} late"
        remark = f"{days}: {share:.0%} of the points. " if late and share < 1 else ""
        points = round(number(row["total"]) * share, 2)
        mark = Mark(points, number(row["possible"]), remark + row["message"].removeprefix("'"))
        for key in [str(user["email"]) for user in facts.get("users", [])] or [who.key]:
            found.setdefault(key, []).append((who.attempt, mark))
    best = rule.attempts == "best"
    return {
        key: max(tries, key=lambda t: t[1].points if best else t[0])[1]
        for key, tries in found.items()
    }


def time_of(said: Any, file: Path | None) -> datetime | None:
    """When something was handed in: as the system says or, without it, as the file has it."""
    if isinstance(said, datetime):
        return said if said.tzinfo else said.replace(tzinfo=UTC)
    if isinstance(said, str):
        return datetime.fromisoformat(said)
    if file and file.exists():
        return datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return None


def column(header: list[str], *names: str) -> int:
    """The place of a column of a system's table."""
    for name in names:
        for place, text in enumerate(header):
            if text.strip().lower() == name.lower():
                return place
    raise UserError(f"expected a column {' or '.join(names)}, found {', '.join(header)}")


def fill_moodle(rows: list[list[str]], given: dict[str, Mark]) -> set[str]:
    """Fill in Moodle's grading worksheet; return who was found in it."""
    header, found = rows[0], set()
    who, grade = column(header, "Identifier"), column(header, "Grade")
    says = column(header, "Feedback comments") if "Feedback comments" in header else None
    most = column(header, "Maximum Grade", "Maximum grade")
    for row in rows[1:]:
        key = moodle_key(row[who])
        if key not in given:
            continue
        mark = given[key]
        if abs(number(row[most]) - mark.possible) > 1e-9:
            raise UserError(
                f"expected a maximum grade of {mark.possible:g} in Moodle, found {row[most]}; "
                "set it in the settings of the assignment"
            )
        row[grade] = f"{mark.points:.2f}"
        if says is not None:
            row[says] = mark.remark
        found.add(key)
    return found


def fill_canvas(rows: list[list[str]], given: dict[str, Mark], name: str) -> set[str]:
    """Fill in the column of an assignment in Canvas's gradebook; return who was found in it."""
    header, found = rows[0], set()
    who = column(header, "ID")
    title = re.compile(rf"{re.escape(name)} \(\d+\)")
    fitting = [place for place, text in enumerate(header) if title.fullmatch(text)]
    if len(fitting) != 1:
        raise UserError(f"expected one column of {name!r} with its number, found {len(fitting)}")
    for row in rows[1:]:
        if row[who].strip() in given:
            row[fitting[0]] = f"{given[row[who].strip()].points:g}"
            found.add(row[who].strip())
    keep = [n for n, _ in enumerate(header) if n < column(header, "Section") + 1 or n in fitting]
    rows[:] = [[row[n] for n in keep] for row in rows]
    return found


def fill_gradescope(rows: list[list[str]], given: dict[str, Mark]) -> set[str]:
    """Fill in the scores that Gradescope exported; return who was found in it."""
    header, found = rows[0], set()
    who, total = column(header, "Email"), column(header, "Total Score")
    for row in rows[1:]:
        if row[who] in given:
            row[total] = f"{given[row[who]].points:g}"
            found.add(row[who])
    return found


def export(options: argparse.Namespace) -> None:
    """Fill in one table, and name who is missing on either side."""
    chosen = [kind for kind in ("moodle", "canvas", "gradescope") if getattr(options, kind)]
    if len(chosen) != 1:
        raise UserError(f"expected one of --moodle, --canvas, --gradescope, got {len(chosen)}")
    source = getattr(options, chosen[0])
    deadline = datetime.fromisoformat(options.deadline) if options.deadline else None
    if deadline and not deadline.tzinfo:
        deadline = deadline.astimezone()
    rule = Rule(options.attempts, options.late, deadline)
    rows, separator = read_csv(source)
    times = moodle_times(rows) if deadline and chosen == ["moodle"] else {}
    given = marks(options.table, rule, options.submissions, times)
    if chosen == ["moodle"]:
        found = fill_moodle(rows, given)
    elif chosen == ["canvas"]:
        found = fill_canvas(rows, given, options.column)
    else:
        found = fill_gradescope(rows, given)
    write_csv(options.out, rows, separator)
    print(f"{len(found)} marks are in {options.out}")
    for key in sorted(given.keys() - found):
        print(f"not in {source.name}: {key}")


def main(argv: list[str] | None = None) -> int:
    """Make a file to upload; return 0, or 1 after saying what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m book.course.exports")
    add = parser.add_argument
    add("table", type=Path, help="the table that grading made, points by hand filled in")
    add("--moodle", type=Path, help="the grading worksheet that Moodle exported")
    add("--canvas", type=Path, help="the gradebook that Canvas exported")
    add("--gradescope", type=Path, help="the scores that Gradescope exported")
    add("--column", default="", help="the assignment's name in Canvas")
    add("--submissions", type=Path, help="the folder that was graded, for times and for Gradescope")
    add("--attempts", choices=("last", "best"), default="last", help="what counts of several")
    add("--deadline", help="such as 2027-03-01T23:59")
    add("--late", type=float, default=0.0, help="percent that a started day costs")
    add("--out", type=Path, required=True, help="the file to upload")
    return exit_status("exports", partial(export, parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
