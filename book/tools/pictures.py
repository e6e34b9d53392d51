"""Pictures of the built pages: small files, by day and by night, that nobody has to wait for.

- A picture inside a page becomes a file beside the others; PNG becomes lossless WebP. No pixel of
  them changes.
- Every picture of the text states its size, so that nothing jumps, and comes when the reader gets
  near it.
- Figures and drawings have a second version for dark pages (`figures`). book.css shows one of the
  two, and a browser does not load what is not shown.
- A chapter begins with its first picture, reduced, as a link to where that stands.
"""

import hashlib
import re
from base64 import b64decode
from collections.abc import Mapping
from functools import cache
from html import unescape
from io import BytesIO
from os.path import relpath
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from book.tools.figures import drawing_in_the_dark

DAY, NIGHT = "mr-day", "mr-night"
OPENING = 400  # pixels across, of the picture that a chapter begins with
TAG = re.compile(r"<img\b[^>]*>")
ATTRIBUTE = re.compile(r"""([\w-]+)=(?:"([^"]*)"|'([^']*)')""")
SIDES = re.compile(r'<svg\b[^>]*\bviewBox="0 0 ([\d.]+) ([\d.]+)"')
ID = re.compile(r'\bid="([^"]+)"')
INTRODUCED = re.compile(r"</h1>.*?</p>", re.DOTALL)


class Picture(NamedTuple):
    """The files of a picture and its size in pixels."""

    day: Path
    night: Path | None
    size: tuple[int, int]


class Pictures:
    """The pictures of a folder of pages.

    Args:
        html: the folder.
        nights: versions for dark pages by the SHA-256 of the others, both PNG.
    """

    def __init__(self, html: Path, nights: Mapping[str, bytes]) -> None:
        self.html, self.nights = html, nights
        self.of_file = cache(self._of_file)  # a picture may stand on several pages

    def mended(self, path: Path, page: str) -> str:
        """Return a page with such pictures; their files are written."""
        opening = self._opening(path, page) if path.parent.name == "chapters" else ""
        head, article, rest = page.partition("<article")
        page = head + article + TAG.sub(lambda found: self._tag(path, found[0]), rest)
        return INTRODUCED.sub(lambda found: found[0] + opening, page, count=1)

    def clear(self, pages: Mapping[Path, str]) -> None:
        """Remove the PNG files that no page names any longer."""
        named = "".join(pages.values())
        for file in (self.html / "_images").glob("*.png"):
            if file.name not in named:
                file.unlink()

    def _tag(self, path: Path, tag: str) -> str:
        own = _attributes(tag)
        picture = self._of_source(path, own)
        if picture is None:
            return tag
        if "width" not in own and "style" not in own:
            own |= dict(zip(("width", "height"), map(str, picture.size), strict=True))
        return _tags(path, picture, own)

    def _opening(self, path: Path, page: str) -> str:
        """The first picture of a chapter, reduced, as a link to where it stands."""
        start = max(0, page.find("<article"))
        shown = (tag for tag in TAG.finditer(page, start) if "hidden" not in tag[0])
        for tag in shown:
            own = _attributes(tag[0])
            picture = self._of_source(path, own)
            if picture is not None:
                place = (ID.findall(page, start, tag.start()) or [""])[-1]
                small = self._reduced(picture)
                sides = dict(zip(("width", "height"), map(str, small.size), strict=True))
                tags = _tags(path, small, {"alt": own["alt"], **sides})
                link = f'href="#{place}" tabindex="-1" aria-hidden="true"'
                return f'<a class="mr-opening" {link}>{tags}</a>'
        return ""

    def _reduced(self, picture: Picture) -> Picture:
        """A picture that is at most as wide as `OPENING`; what it shows is exact further down."""
        if picture.day.suffix == ".svg":
            return picture
        files = []
        for file in filter(None, (picture.day, picture.night)):
            with Image.open(file) as image:
                image.thumbnail((OPENING, OPENING))
                written = BytesIO()
                image.save(written, "webp", quality=75, method=4)
            files.append(self._written(written.getvalue(), "webp"))
        return Picture(files[0], files[1] if picture.night else None, image.size)

    def _of_source(self, path: Path, own: Mapping[str, str]) -> Picture | None:
        source = unescape(own.get("src", ""))
        if source.startswith("data:image/"):
            kind, _, data = source.removeprefix("data:image/").partition(";base64,")
            return self.of_file(self._written(b64decode(data), kind))
        file = (path.parent / source.partition("?")[0]).resolve()
        return self.of_file(file) if file.is_file() and "://" not in source else None

    def _of_file(self, file: Path) -> Picture | None:
        if file.suffix == ".svg":
            text = file.read_text("utf-8")
            sides = SIDES.search(text)
            if sides is None:
                return None
            night = self._written(drawing_in_the_dark(text).encode(), "svg")
            return Picture(file, night, (round(float(sides[1])), round(float(sides[2]))))
        data = file.read_bytes()
        with Image.open(BytesIO(data)) as image:
            size = image.size
        other = self.nights.get(hashlib.sha256(data).hexdigest())
        day = self._written(_webp(data), "webp") if file.suffix == ".png" else file
        return Picture(day, self._written(_webp(other), "webp") if other else None, size)

    def _written(self, data: bytes, kind: str) -> Path:
        file = self.html / "_images" / f"{hashlib.sha256(data).hexdigest()[:20]}.{kind}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
        return file


def _attributes(tag: str) -> dict[str, str]:
    return {name: double or single for name, double, single in ATTRIBUTE.findall(tag)}


def _tags(path: Path, picture: Picture, own: Mapping[str, str]) -> str:
    """The tag of a picture on a page, or two, of which the style sheet shows one."""
    versions = {DAY: picture.day, NIGHT: picture.night} if picture.night else {"": picture.day}
    tags = []
    for kind, file in versions.items():
        changed = {**own, "loading": "lazy", "decoding": "async"}
        changed["src"] = Path(relpath(file, path.parent)).as_posix()
        if kind:
            changed["class"] = f"{own.get('class', '')} {kind}".strip()
        tags.append("<img " + " ".join(f'{name}="{text}"' for name, text in changed.items()) + ">")
    return "".join(tags)


def _webp(data: bytes) -> bytes:
    """The same pixels as a lossless WebP file."""
    file = BytesIO()
    with Image.open(BytesIO(data)) as image:
        image.save(file, "webp", lossless=True, exact=True, method=4)
    return file.getvalue()
