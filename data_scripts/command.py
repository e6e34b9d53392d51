"""The command line of a script: complaints of one line, and exit codes."""

import errno
import sys
from collections.abc import Callable

from data_scripts import DataError
from mrdcae_lite.options import Parser as Parser  # complaints of one line, as all others here

_DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def guarded(program: str, work: Callable[[], int | None]) -> int:
    """Exit code of `work`, None counting as 0; a failure becomes one line on stderr and a code."""
    try:
        return work() or 0
    except DataError as error:
        message, code = str(error), 2
    except KeyboardInterrupt:
        message, code = "interrupted; run the same command again", 130
    except OSError as error:
        code = 2
        if error.errno in _DISK_FULL:
            message = f"no space left for {error.filename or 'the files'}; free some and run again"
        else:
            message = f"{error}; mend that and run again"
    print(f"{program}: {message}", file=sys.stderr)
    return code
