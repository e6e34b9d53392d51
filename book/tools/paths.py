"""Where the book's content lies, and where what is made from it goes."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "mrdcae_lite"
BOOK = ROOT / "book"
CHAPTERS = BOOK / "chapters"
SOLUTIONS = BOOK / "solutions"
RESULTS = BOOK / "results"
ASSIGNMENTS = BOOK / "assignments"
MASTERS = Path(os.environ.get("COURSE_MASTERS") or ASSIGNMENTS).resolve()  # or a school's own
STUDENT = ASSIGNMENTS / "student"  # what Colab and Binder open: made from the masters, committed

BUILD = ROOT / "_build"
ANSWERED = BUILD / "answered"
EXECUTED = BUILD / "executed"
COURSE = BUILD / "course"
STAGE = BUILD / "stage"
HTML = BUILD / "html"
PRINT = BUILD / "print"
ARCHIVE = BUILD / "mrdcae-lite-book.zip"
