"""Download, verify and lay out the data sets of the book, one small script a set."""

import platform
from pathlib import Path


class DataError(Exception):
    """A data set could not be prepared; the message says what to do."""


def processor() -> str:
    """Name of the machine's processor, to be written beside what was timed on it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text("utf-8").splitlines() if facts.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
