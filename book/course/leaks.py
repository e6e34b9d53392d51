"""The search for lines of a solution or of a hidden test where students would see them."""

import html
import re
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import nbformat

from book.course.masters import masters, split
from book.tools import paths

SHORTEST_SECRET = 16  # letters; shorter lines are found everywhere
SEEDED = re.compile(r"\s*\w+ = np\.random\.default_rng\(\d+\)$")  # betrays nothing, and is common
READABLE = {".html", ".ipynb", ".js", ".json", ".md", ".py", ".txt", ".yml", ".zip"}
LEADERBOARD = Path(__file__).with_name("leaderboard.py")  # students get it whole


def squeezed(text: str) -> str:
    """Only letters and digits, so that no way of writing a line hides it."""
    return re.sub(r"[\W_]+", "", text)


@cache
def published() -> str:
    """All code and prose that readers of the book and students of any assignment see anyway."""
    programs = [*paths.PACKAGE.rglob("*.py"), LEADERBOARD]
    texts = [path.read_text(encoding="utf-8") for path in programs]
    for master in masters():
        texts += split(nbformat.read(master, as_version=4))[1]
    for path in sorted(paths.CHAPTERS.glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        texts += [cell.source for cell in cells]
    return squeezed("\n".join(texts))


def secrets(master: Path) -> dict[str, str]:
    """Lines of solutions and hidden tests that stand nowhere in public, by their squeezed form."""
    secret, _ = split(nbformat.read(master, as_version=4))
    seen = published()
    lines = [line.strip() for line in secret if not SEEDED.match(line)]
    found = {squeezed(re.sub(r"#.*", "", line)): line for line in lines}
    return {k: v for k, v in found.items() if len(k) >= SHORTEST_SECRET and k not in seen}


def texts_in(path: Path) -> Iterator[tuple[str, str]]:
    """Name and text of a file, of all files of a folder, or of all members of an archive."""
    if path.is_dir():
        for inner in sorted(path.rglob("*")):
            if inner.is_file() and inner.suffix in READABLE and "_static" not in inner.parts:
                yield from texts_in(inner)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield f"{path}:{name}", archive.read(name).decode("utf-8", errors="replace")
    else:
        yield str(path), path.read_text(encoding="utf-8", errors="replace")


def leaks(places: Iterable[Path], secret: dict[str, str]) -> list[str]:
    """Where, in files, folders or archives, which secret line is found."""
    found = []
    for name, text in (each for place in places for each in texts_in(place)):
        if name.endswith(".html"):
            text = html.unescape(re.sub(r"<[^>]*>", "", text))
        plain = squeezed(text.replace("\\n", "\n"))
        found += [f"{name}: {line}" for key, line in secret.items() if key in plain]
    return found
