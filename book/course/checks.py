"""The checks of an assignment, as a notebook runs them while a student works, and as grading does.

Every student's notebook carries this file and its visible checks in its first code cell, so it
needs nothing beside it: it can be renamed, copied, and opened anywhere. Only the standard library
is used.
"""

import json
import os
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

OTTER = "from otter.test_files import test_case\n"  # the head of Otter's files; `Check` stands in
CHECK_FILE = "<check "


class Check:
    """Otter's `test_case`: marks a function of a test file as a check worth so many points."""

    def __init__(self, points: float = 0, hidden: bool = False) -> None:
        self.points, self.hidden = points, hidden

    def __call__(self, function: Callable[..., None]) -> "Check":
        """Keep the function."""
        self.function = function
        return self

    def wanted(self) -> tuple[str, ...]:
        """The names of a notebook that the check looks at."""
        code = self.function.__code__
        return code.co_varnames[: code.co_argcount]

    def run(self, names: Mapping[str, Any]) -> str | None:
        """Call the check with what `names` has for it; return None, or what is wrong."""
        try:
            self.function(*(names.get(name) for name in self.wanted()))
        except AssertionError as error:
            return str(error) or "This is not what was expected."
        except Exception as error:
            return in_words(error)
        return None


def in_words(error: Exception) -> str:
    """Name an error and, where it is known, the line of the student's that it came from."""
    said = "".join(traceback.format_exception_only(type(error), error)).strip()
    steps = traceback.extract_tb(error.__traceback__)
    own = [step for step in steps if step.line and not step.filename.startswith(CHECK_FILE)]
    lines = [step.line for step in own if Path(step.filename) != Path(__file__)]
    return f"{said} (in: {lines[-1]})" if lines else said


def read(source: str, name: str) -> dict[str, Check]:
    """Return the checks of a test file, by name, in order."""
    names: dict[str, Any] = {"test_case": Check}
    exec(compile(source.replace(OTTER, "\n"), f"{CHECK_FILE}{name}>", "exec"), names)
    return {key: value for key, value in names.items() if isinstance(value, Check)}


class Grader:
    """What `grader` is in a student's notebook."""

    def __init__(self, shell: Any, folder: str, beside: Iterable[str] = ()) -> None:
        self._shell = shell
        files = sorted(Path(folder, "tests").glob("*.py"))
        self._questions = {f.stem: read(f.read_text(encoding="utf-8"), f.stem) for f in files}
        self._ran: dict[str, str] = {}
        for name in beside:
            if not Path(name).exists():
                Path(name).write_bytes(Path(folder, name).read_bytes())
        shell.events.register("pre_run_cell", self._remember)

    def _remember(self, info: Any) -> None:
        number = getattr(info, "cell_id", None)
        if number:
            self._ran[number] = info.raw_cell

    def check(self, question: str) -> None:
        """Run the visible checks of a question, and say what they say."""
        if question not in self._questions:
            known = ", ".join(self._questions)
            print(f"expected the name of a question ({known}), got {question!r}")
            return
        said = [check.run(self._shell.user_ns) for check in self._questions[question].values()]
        wrong = [message for message in said if message is not None]
        if not wrong:
            print(f"{question}: passed. Further tests run when your work is graded.")
        for message in wrong:
            print(f"{question}: not yet. {message}")

    def check_all(self) -> None:
        """Run the visible checks of all questions."""
        for question in self._questions:
            self.check(question)

    def hand_in(self) -> None:
        """Say which file to hand in, and whether it holds what was run."""
        if "google.colab" in str(type(self._shell)):
            print("Choose File, Download, Download .ipynb. Hand in that file; any name will do.")
            return
        place = self._file()
        if place is None:
            print("Save this notebook, download or find its file, and hand in that file.")
            print("Its name cannot be seen from here: open the file once more and look into it.")
        elif unsaved := self._unsaved(place):
            print(f"Not saved yet: {unsaved} cells that you ran are not in {place.name} like this.")
            print("Save the notebook (Ctrl+S), then run this cell again.")
        else:
            print(f"Hand in {place.name}; it holds what you ran. It is at {place}")

    def _file(self) -> Path | None:
        named = self._shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
        place = Path(named) if named else None
        return place if place and place.suffix == ".ipynb" and place.is_file() else None

    def _unsaved(self, place: Path) -> int:
        cells = json.loads(place.read_text(encoding="utf-8"))["cells"]
        saved = {cell.get("id"): "".join(cell["source"]) for cell in cells}
        return sum(saved.get(number) != text for number, text in self._ran.items())
