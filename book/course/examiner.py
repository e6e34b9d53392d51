"""The grader's own process for one submission: it examines the notebook and writes the report.

    python -m book.course.examiner REQUEST PIPE

`book.course.grading` starts one for each file, with a request in JSON, and reads two lines of JSON
from the pipe: what to look at in the notebook, before any of it runs, and the report. The student's
code does not run here (`submission`, `sandbox`).
"""

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import psutil

from book.course.entries import score_entry
from book.course.sandbox import Limits, Sandbox
from book.course.submission import (
    EMPTY,
    FAILED,
    LONGEST_MESSAGE,
    Assignment,
    RefusedError,
    examined,
    flags,
    read_submission,
    refusal,
)

SET_DEATH_SIGNAL, SET_CHILD_SUBREAPER = 1, 36  # of prctl, in Linux


def keep_orphans() -> None:
    """Become the parent of all below whose own parent ends, so that none is lost sight of.

    And end with the command that grades.
    """
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        prctl(SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def end_below(parent: psutil.Process) -> None:
    """End all below a process until nothing is left."""
    with suppress(psutil.Error):
        while family := [p for p in parent.children(recursive=True) if alive(p)]:
            for process in family:
                with suppress(psutil.Error):
                    process.kill()
            time.sleep(0.02)


def alive(process: psutil.Process) -> bool:
    """Whether a process is more than an entry that nobody has read yet."""
    with suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def report(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Examine one submission, and tell its flags first; whatever happens becomes its report."""
    sandbox = Sandbox(request["sandbox"], Limits(request["seconds"], request["megabytes"]))
    try:
        assignment = Assignment.read(request["name"], Path(request["course"]))
        notebook = read_submission(Path(request["submission"]))
        tell({"flags": flags(notebook, assignment)})
        hooks = {"score_entry": score_entry}
        return examined(notebook, assignment, sandbox, request["only"], hooks)
    except RefusedError as error:
        result = refusal(error.status, str(error))
        if error.status == EMPTY:
            result["points"] = dict.fromkeys(request["only"] or assignment.points, 0)
        return result
    except Exception as error:
        return refusal(FAILED, f"{type(error).__name__}: {error}")


def examine(request: dict[str, Any], grader: TextIO) -> None:
    """Examine one submission and write the two lines."""

    def tell(said: dict[str, Any]) -> None:
        print(json.dumps(said), file=grader, flush=True)

    said = report(request, tell)
    end_below(psutil.Process())
    tell(said | {"message": said["message"][:LONGEST_MESSAGE]})


if __name__ == "__main__":
    keep_orphans()
    with suppress(BrokenPipeError), os.fdopen(int(sys.argv[2]), "w", encoding="utf-8") as pipe:
        examine(json.loads(sys.argv[1]), pipe)
