"""What the book measured; it travels with the package, so that a chapter alone finds it."""

import json
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parents[1]
FOLDERS = (_PACKAGE / "results", _PACKAGE.parent / "book" / "results")  # installed; in a clone


def result(name: str) -> Any:
    """Read a measurement of the book, as it was committed with this version of the package.

    Args:
        name: its path in `book/results` without the ending, such as `"kodak"` or
            `"experiments/codecs-kodak"`.

    Returns:
        What the JSON file holds; units stand in the file.

    Raises:
        FileNotFoundError: if there is no measurement of this name.
    """
    folder = next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[0])
    files = folder.rglob("*.json")
    known = {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}
    if name not in known:
        raise FileNotFoundError(
            f"name must be a measurement of the book. Received: {name!r}. "
            f"There are: {', '.join(sorted(known)) or 'none'}."
        )
    return json.loads(known[name].read_bytes())
