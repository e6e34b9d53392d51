"""What the commands of the book share: one kind of error, said in one line."""

import signal
import sys
from collections.abc import Callable


class UserError(Exception):
    """Something that a person has to mend; the message says what, and how."""


def exit_status(name: str, work: Callable[[], object]) -> int:
    """Do the work of a command; return 0, or 1 after saying what is wrong.

    A command that is terminated ends as one that is interrupted: what it started ends with it.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        work()
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0
