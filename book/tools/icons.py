"""The icons of the pages: a font with those that the theme and the pages use, and no others.

The theme brings all of Font Awesome as a script of 1.5 MB and as fonts. Its fonts are free under the
SIL Open Font License, which asks that a changed font has another name, and that the licence comes
with it.
"""

import re
from base64 import b64encode
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


def style_sheet(vendor: Path, pages: str, themes: str) -> str:
    """A style sheet with the font in it, in place of that of Font Awesome in the folder `vendor`.

    `pages` are all pages and scripts that name icons, `themes` all style sheets that show some.
    """
    known = {
        name: code
        for names, code in CODES.findall((vendor / "css" / "all.min.css").read_text("utf-8"))
        for name in re.findall(r"fa-([\w-]+)", names)
    }
    named = sorted(known.keys() & set(NAMED.findall(pages)))
    codes = {int(known[name], 16) for name in named}
    codes |= {int(code, 16) for code in WRITTEN.findall(themes)}
    parts = [f"/* Icons of Font Awesome Free, https://fontawesome.com; licence: icons.txt. */"]
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
    font = subset.load_font(str(file), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=codes)
    subsetter.subset(font)
    for record in font["name"].names:
        if record.nameID in (1, 3, 4, 6, 16):
            record.string = family if record.nameID != 6 else family.replace(" ", "")
    written = BytesIO()
    subset.save_font(font, written, options)
    return written.getvalue()
