"""The icons of the pages: a font with those that the theme and the pages use, and no others.

The theme brings all of Font Awesome, as a script of 1.5 MB and as fonts. Its fonts are free under
the SIL Open Font License, which asks that a changed font has another name and comes with the
licence.
"""

import re
import shutil
from base64 import b64encode
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from fontTools import subset

NAME = "Book icons"
STYLES = {"solid": ("fa-solid-900", 900), "brands": ("fa-brands-400", 400)}
TAGS = re.compile(  # what loads Font Awesome
    r"\s*<(?:link|script)[^>]*vendor/fontawesome/[^>]*>(?:</script>)?", re.DOTALL
)
NAMED = re.compile(r"\bfa-([a-z0-9-]+)")
WRITTEN = re.compile(r'"\\(f[0-9a-f]{3})"')  # what the styles of the theme show
CODES = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\([0-9a-f]+)"\}')


def replace(static: Path, pages: Iterable[str]) -> None:
    """Put the style sheet of the icons into a folder, in the place of Font Awesome."""
    (vendor,) = (static / "vendor" / "fontawesome").iterdir()
    scripts = (
        path.read_text("utf-8") for path in static.rglob("*.js") if vendor not in path.parents
    )
    themes = (path.read_text("utf-8") for path in static.glob("styles/*.css"))
    sheet = style_sheet(vendor, "\n".join((*pages, *scripts)), "\n".join(themes))
    (static / "icons.css").write_text(sheet, "utf-8")
    (static / "icons.txt").write_bytes((vendor / "LICENSE.txt").read_bytes())
    shutil.rmtree(vendor.parent.parent)


def style_sheet(vendor: Path, pages: str, themes: str) -> str:
    """A style sheet with fonts in it that have the icons which are used.

    Args:
        vendor: the folder of Font Awesome.
        pages: all pages and scripts, which name icons.
        themes: the style sheets of the theme, which show some by their codes.
    """
    known = {
        name: code
        for names, code in CODES.findall((vendor / "css" / "all.min.css").read_text("utf-8"))
        for name in re.findall(r"fa-([\w-]+)", names)
    }
    named = sorted(known.keys() & set(NAMED.findall(pages)))
    codes = {int(known[name], 16) for name in named}
    codes |= {int(code, 16) for code in WRITTEN.findall(themes)}
    parts = ["/* Icons of Font Awesome Free, https://fontawesome.com; licence: icons.txt. */"]
    for style, (file, weight) in STYLES.items():
        family = f"{NAME} {style}"
        data = b64encode(_font(vendor / "webfonts" / f"{file}.ttf", codes, family)).decode()
        source = f"url(data:font/woff;base64,{data})"
        parts.append(
            f'@font-face {{font-family: "{family}"; src: {source}; font-weight: {weight}}}'
        )
        parts.append(f':root {{--fa-font-{style}: normal {weight} 1em/1 "{family}"}}')
    parts.append(
        ".fas, .fa-solid, .fab, .fa-brands {display: inline-block; font: var(--fa-font-solid);"
        " -webkit-font-smoothing: antialiased}"
    )
    parts.append(".fab, .fa-brands {font: var(--fa-font-brands)}")
    parts.append(".fa-lg {font-size: 1.25em; line-height: .05em; vertical-align: -.075em}")
    parts += [f'.fa-{name}::before {{content: "\\{known[name]}"}}' for name in named]
    return "\n".join(parts) + "\n"


def _font(file: Path, codes: set[int], family: str) -> bytes:
    """The letters of a font file that have one of the codes, as WOFF, under another name."""
    options = subset.Options(flavor="woff", layout_features=[], notdef_outline=True)
    written = BytesIO()
    with subset.load_font(str(file), options) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=codes)
        subsetter.subset(font)
        for record in font["name"].names:
            if record.nameID in (1, 3, 4, 6, 16):
                record.string = family if record.nameID != 6 else family.replace(" ", "")
        subset.save_font(font, written, options)
    return written.getvalue()
