"""Entries of the leaderboard: collected from submissions, and scored by the grader.

    python -m book.course.entries SUBMISSIONS --to entries

collects a `codec.py` from each submission of assignment `study`: the one that was handed in beside
the notebook or in its archive or, without one, that which the notebook writes when it runs in a
sandbox. `book/course/leaderboard.py entries/*` ranks them.

When a study is graded its codec runs in a sandbox as well. Each file is decoded by a process that
has met nothing but its bytes, as on the leaderboard itself.
"""

import argparse
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from book.command import exit_status
from book.course import leaderboard
from book.course.exports import is_stray, sender, submissions_in
from book.course.leaderboard import Limits, SubmissionError
from book.course.sandbox import Sandbox, best
from book.course.submission import PREPARES, read_submission
from book.course.wire import EndedError, LineError, Wire
from book.tools import paths

HIDDEN = (paths.PACKAGE / "samples", paths.PACKAGE / "weights")  # what a codec may not look up


class Entry(leaderboard.Submission):
    """A codec whose functions run in a sandbox."""

    def __init__(self, path: Path, sandbox: Sandbox, stack: ExitStack) -> None:
        super().__init__(path, Limits(), [])
        self._sandbox, self._stack = sandbox, stack
        self._encoder: Wire | None = None

    def _run(self, function: str, most: int, *given: Any) -> bytes:
        try:
            if function == "encode":
                self._encoder = self._encoder or self._loaded(self._stack)
                answer = self._call(self._encoder, function, given)
            else:
                with ExitStack() as once:
                    answer = self._call(self._loaded(once), function, given)
        except SubmissionError:
            raise
        except EndedError as error:
            raise SubmissionError(f"{function} ended its process") from error
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise SubmissionError(f"{function}: {reason}") from error
        if len(answer) > most:
            raise SubmissionError(f"{function} returned more than {most:,} bytes")
        return answer

    def _loaded(self, stack: ExitStack) -> Wire:
        line = stack.enter_context(self._sandbox.started(hidden=HIDDEN))
        said = line.ask("load", source=self.source.read_text(encoding="utf-8"))
        if "raised" in said:
            raise SubmissionError(f"codec.py: {said['raised'][1]}")
        return line

    @staticmethod
    def _call(line: Wire, function: str, given: tuple[Any, ...]) -> bytes:
        values = line.ask("names", wanted=[function])["values"]
        if function not in values:
            raise SubmissionError(f"{function} is not there")
        answer = line.decode(values[function])(*given)
        return (leaderboard._file if function == "encode" else leaderboard._picture)(answer)


def score_entry(exam: Any) -> Callable[..., list[float]]:
    """What the leaderboard's question is checked by: BD-rates of the codec.py that was made."""

    def score(*options: str) -> list[float]:
        said = exam.line.ask("file", name="codec.py")
        if "value" not in said:
            raise AssertionError("There is no file codec.py yet. Run the cell above.")
        images = leaderboard.pictures_for(["codec.py", *options])
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            place = Path(folder, "codec.py")
            place.write_bytes(bytes(exam.line.decode(said["value"])))
            entry = Entry(place, exam.sandbox, stack)
            anchors = [leaderboard.jpeg_curve(image) for image in images.values()]
            try:
                return leaderboard.score(entry, list(images.values()), anchors).psnr_rates
            except SubmissionError as error:
                raise AssertionError(f"Your entry has no score: {error}") from error

    return score


def handed_in(submission: Path, folder: Path) -> bytes | None:
    """The codec.py that lies beside a notebook in a folder of somebody's own, or in its archive.

    A link is nobody's own.
    """
    if submission.is_symlink():
        return None
    if submission.suffix.lower() != ".zip":
        beside = submission.with_name("codec.py")
        own = submission.parent != folder
        there = beside.is_file() and not beside.is_symlink()
        return beside.read_bytes() if own and there else None
    with zipfile.ZipFile(submission) as archive:
        found = [n for n in archive.namelist() if PurePosixPath(n).name == "codec.py"]
        kept = [name for name in found if not is_stray(PurePosixPath(name))]
        if len(kept) == 1 and archive.getinfo(kept[0]).file_size <= Limits.source_bytes:
            return archive.read(kept[0])
    return None


def written(submission: Path, place: Sandbox) -> bytes:
    """The codec.py that a notebook writes."""
    sources = [c.source for c in read_submission(submission).cells if c.cell_type == "code"]
    with place.started() as line:
        for source in (source for source in sources if not PREPARES.search(source)):
            line.ask("run", source=source)
        said = line.ask("file", name="codec.py")
        if "value" not in said:
            raise SubmissionError("its notebook writes no codec.py")
        return bytes(line.decode(said["value"]))


def collect(options: argparse.Namespace) -> None:
    """Put a codec.py of each submission into a folder of its sender."""
    place = best(options.sandbox)
    for submission in submissions_in(options.submissions):
        name = submission.relative_to(options.submissions).as_posix()
        who = re.sub(r"[^\w.-]", "_", sender(name).key)
        try:
            source = handed_in(submission, options.submissions) or written(submission, place)
        except (Exception, LineError) as error:  # whatever it is, it is this submission's own
            print(f"no entry: {name}: {error or 'its process ended'}")
            continue
        (options.to / who).mkdir(parents=True, exist_ok=True)
        (options.to / who / "codec.py").write_bytes(source)
        print(f"{options.to / who / 'codec.py'}: {name}")


def main(argv: list[str] | None = None) -> int:
    """Collect; return 0, or 1 after saying what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m book.course.entries")
    parser.add_argument("submissions", type=Path, help="folder of submissions, as for grading")
    parser.add_argument("--to", type=Path, required=True, help="folder for the entries")
    parser.add_argument("--sandbox", help="default: the safest that works here")
    return exit_status("entries", partial(collect, parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
