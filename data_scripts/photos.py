"""The photographs that the shipped weights were trained on: 242 JPEG files of at most 2 megapixels.

``python -m data_scripts.photos --to DIR`` downloads the 205 originals that have a public address
and makes the training files from them, byte for byte as listed. The 37 others come from Debian
packages (named in the manifest) and need ``--mirror FOLDER_OR_URL``, which holds finished files.
"""

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pooch
from PIL import Image, UnidentifiedImageError

from data_scripts.fetch import command_line

PIXELS = 2_000_000


def training_jpeg(original: Path | BinaryIO, target: Path) -> None:
    """Shrink a photograph to at most 2 megapixels and store it as JPEG, quality 95, 4:4:4."""
    with Image.open(original) as opened:
        image = opened.convert("RGB")
    image.info.clear()  # comments and densities would be copied into the file
    scale = math.sqrt(PIXELS / (image.width * image.height))
    if scale < 1:
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    image.save(target, "JPEG", quality=95, subsampling=0, optimize=True)


def from_original(url: str, target: str, pup: pooch.Pooch) -> None:
    """A downloader that writes the training file made from the original at `url`."""
    original = BytesIO()
    pooch.HTTPDownloader()(url, original, pup)
    try:
        training_jpeg(original, Path(target))
    except UnidentifiedImageError as error:
        raise ValueError(f"{url} is no picture") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare the set in a folder."""
    return command_line("photos_train", argv, downloader=from_original)


if __name__ == "__main__":
    raise SystemExit(main())
