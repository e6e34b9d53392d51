"""Compare all submissions of a folder with each other, by copydetect.

    python -m book.course.similarity --assignment metrics SUBMISSIONS --out similar.html

What students got does not count. The page shows the pairs side by side with what they share; names
of variables and the order of functions make no difference. A likeness is a reason to look and to
talk, not a proof: short functions have few ways to be right.
"""

import argparse
import re
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from copydetect import CopyDetector

from book.command import UserError, exit_status
from book.course.exports import submissions_in
from book.course.submission import PREPARES, Assignment, RefusedError, read_submission

MARKUP = re.compile(r"[<>&\"']")  # the page would take it from a file's name for its own
SHARED = 0.5  # of the code of one of the two, from which on a pair is shown


def code_of(notebook: Any) -> str:
    """The code cells of a notebook, one below the other, without what carries the checks."""
    cells = (cell.source for cell in notebook.cells if cell.cell_type == "code")
    return "\n\n".join(source for source in cells if not PREPARES.search(source)) + "\n"


def compare(
    folder: Path, assignment: Assignment, page: Path, share: float = SHARED
) -> list[tuple[Any, ...]]:
    """Write the page; return the pairs that share much: how much, and the two files."""
    with tempfile.TemporaryDirectory() as scratch:
        given, handed_in = Path(scratch, "given"), Path(scratch, "handed-in")
        blank = nbformat.read(assignment.notebook, as_version=4)
        write(given / "blank.py", code_of(blank))
        for path in submissions_in(folder):
            name = MARKUP.sub("_", path.relative_to(folder).as_posix())
            try:
                write(handed_in / f"{name}.py", code_of(read_submission(path)))
            except RefusedError as error:
                print(f"left out: {name}: {error}")
        detector = CopyDetector(
            test_dirs=[str(handed_in)],
            boilerplate_dirs=[str(given)],
            extensions=["py"],
            display_t=share,
            autoopen=False,
            silent=True,
            out_file=page.name,
        )
        if len(detector.test_files) < 2:
            raise UserError(f"expected at least two notebooks in {folder} to compare")
        detector.run()
        found = []
        for one, two, *files in (pair[:4] for pair in detector.get_copied_code_list()):
            places = (Path(file).relative_to(handed_in).as_posix() for file in files)
            found.append((max(one, two), *sorted(name.removesuffix(".py") for name in places)))
        page.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # copydetect 0.5 on Python 3.11
            text = detector.generate_html_report(output_mode="return")
        page.write_text(
            text.replace(f"{handed_in}/", "").replace(f"{scratch}/", ""), encoding="utf-8"
        )
    return sorted(found, reverse=True)


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def report(options: argparse.Namespace) -> None:
    """Compare, and print the pairs."""
    assignment = Assignment.read(options.assignment)
    found = compare(options.submissions, assignment, options.out, options.share)
    for share, first, second in found:
        print(f"{share:4.0%} {first} and {second}")
    print(f"the page is {options.out}")


def main(argv: list[str] | None = None) -> int:
    """Compare; return 0, or 1 after saying what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m book.course.similarity")
    add = parser.add_argument
    add("submissions", type=Path, help="folder of submissions, as for grading")
    add("--assignment", required=True, help="its name, such as metrics")
    add("--share", type=float, default=SHARED, help="shown from here on (default %(default)s)")
    add("--out", type=Path, required=True, help="the page to write, .html")
    return exit_status("similarity", partial(report, parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
