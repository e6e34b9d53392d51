"""How built pages are made light: formulas, pictures, icons, and what is left out."""

import hashlib
import importlib.util
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont
from PIL import Image

from book.command import UserError
from book.tools import formulas, icons, pictures, site

INLINE = '<p><span class="math notranslate nohighlight">\\(a &lt; b\\)</span></p>'
DISPLAYED = (
    '<div class="math notranslate nohighlight" id="equation-one">\n'
    '<span class="eqno">(1)<a class="headerlink" href="#equation-one">#</a></span>'
    "\\[L = a + b\\]</div>"
)
PAGE = Path("page.html")


def png(image: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)


def parsed(page: str) -> BeautifulSoup:
    return BeautifulSoup(page, "html.parser")


def test_formulas_are_drawings_with_mathml_and_every_letter_stands_once():
    script = (
        '<script>window.MathJax = {"a": 1}</script><script async src="../mathjax/a.js"></script>'
    )
    text = f"<head>{script}</head><article>{INLINE}{DISPLAYED}{INLINE}</article>"
    pages, style = formulas.typeset({PAGE: text, Path("none.html"): "<article></article>"})
    page = parsed(pages[PAGE])
    assert page.find("script") is None
    assert [len(math.find_all("svg")) for math in page.select(".math")] == [1, 1, 1]
    assert [math.get_text() for math in page.select(".math math")] == ["a<b", "L=a+b", "a<b"]
    assert page.select_one("#equation-one .eqno a")["href"] == "#equation-one"
    letters = page.select("article > svg path")
    assert len(letters) == len({letter["d"] for letter in letters}) == 6  # a < b L = +
    used = {use["href"] for use in page.find_all("use")}
    assert used == {f"#{letter['id']}" for letter in letters}
    assert "mjx-container" in style
    assert pages[Path("none.html")] == "<article></article>"


def test_a_formula_that_mathjax_cannot_read_stops_the_build():
    wrong = INLINE.replace("a &lt; b", "\\frac{a")
    with pytest.raises(UserError, match="expected formulas that MathJax reads, found"):
        formulas.typeset({PAGE: wrong})


def mended(tmp_path, page, nights=(), name="page.html") -> BeautifulSoup:
    made = pictures.Pictures(tmp_path, dict(nights))
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    return parsed(made.mended(path, page))


def test_a_picture_in_a_page_becomes_a_file_of_the_same_bytes(tmp_path):
    page = '<article><img width="9" height="3" alt="a b c" src="data:image/webp;base64,UklGRg==">'
    with pytest.raises(OSError, match="cannot identify"):
        mended(tmp_path, page)
    assert [file.read_bytes() for file in tmp_path.glob("_images/*.webp")] == [b"RIFF"]


def test_a_png_becomes_webp_with_the_same_pixels_and_states_its_size(tmp_path, image):
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images" / "a.png").write_bytes(png(image))
    page = mended(
        tmp_path,
        '<article><img alt="x &lt; y" src="../_images/a.png" />',
        name="chapters/page.html",
    )
    shown = page.find("img")
    assert (shown["width"], shown["height"], shown["loading"]) == ("30", "20", "lazy")
    assert shown["alt"] == "x < y"
    file = tmp_path / "chapters" / shown["src"]
    assert file.suffix == ".webp"
    np.testing.assert_array_equal(np.asarray(Image.open(file)), image)


def test_a_figure_has_two_versions_and_a_png_that_no_page_names_is_removed(tmp_path, image):
    day, night = png(image), png(255 - image)
    (tmp_path / "_images").mkdir()
    for name in "ab":
        (tmp_path / "_images" / f"{name}.png").write_bytes(day)
    made = pictures.Pictures(tmp_path, {hashlib.sha256(day).hexdigest(): night})
    page = made.mended(
        tmp_path / "page.html", '<article><img alt="a chart of b" src="_images/a.png">'
    )
    shown = parsed(page).find_all("img")
    assert [one["class"] for one in shown] == [["mr-day"], ["mr-night"]]
    seen = [np.asarray(Image.open(tmp_path / one["src"])) for one in shown]
    np.testing.assert_array_equal(seen, [image, 255 - image])
    made.clear({PAGE: page + '<a href="_images/b.png">'})
    assert [file.name for file in tmp_path.glob("_images/*.png")] == ["b.png"]


def test_a_drawing_has_a_version_for_the_dark(tmp_path):
    (tmp_path / "a.svg").write_text(
        '<svg width="40pt" viewBox="0 0 40 20.4"><rect fill="#000"/></svg>'
    )
    day, night = mended(tmp_path, '<article><img alt="a drawing of b" src="a.svg">').find_all("img")
    assert (day["src"], day["width"], day["height"]) == ("a.svg", "40", "20")
    assert "#000" not in (tmp_path / night["src"]).read_text()


def test_a_chapter_begins_with_its_first_picture_that_is_shown_as_a_link_to_its_place(
    tmp_path, image
):
    page = (
        '<article><section id="top"><h1>Title</h1><p>Words.</p><p>More.</p><figure id="here">'
        '<img style="visibility: hidden" alt="not this one" src="../b.png">'
        '<img alt="a photograph of b" src="../a.png"></figure></section></article>'
    )
    (tmp_path / "a.png").write_bytes(png(np.tile(image, (10, 40, 1))))
    (tmp_path / "b.png").write_bytes(png(image))
    made = mended(tmp_path, page, name="chapters/one.html")
    opening = made.find("p").find_next_sibling()
    assert (opening.name, opening["class"], opening["href"]) == ("a", ["mr-opening"], "#here")
    assert opening.img["width"] == "400"
    assert len(made.find_all("img")) == 3
    assert mended(tmp_path, page.replace("../", "")).find(class_="mr-opening") is None


def test_pictures_of_other_hosts_and_those_that_are_not_there_are_left_alone(tmp_path):
    page = '<article><img src="https://example.org/a.png"><img src="missing.png">'
    assert str(mended(tmp_path, page)) == str(parsed(page))


def test_the_font_of_the_icons_has_those_that_are_used_and_another_name():
    theme = Path(importlib.util.find_spec("pydata_sphinx_theme").origin).parent
    (vendor,) = theme.glob("theme/pydata_sphinx_theme/static/vendor/fontawesome/*")
    sheet = icons.style_sheet(vendor, '<i class="fas fa-rocket">', '--note: "\\f05a"')
    assert '.fa-rocket::before {content: "\\f135"}' in sheet
    assert sheet.count("::before") == 1
    data = b64decode(sheet.partition("base64,")[2].partition(")")[0])
    font = TTFont(BytesIO(data))
    assert set(font.getBestCmap()) == {0xF135, 0xF05A}
    names = {record.nameID: str(record) for record in font["name"].names}
    assert (names[1], names[4]) == ("Book icons solid", "Book icons solid")
    assert len(sheet) < 6000


def test_a_page_loads_neither_font_awesome_nor_thebe_and_links_what_stands_in_their_place():
    head = (
        '<html data-content_root="../"><head>'
        '<link href="../_static/vendor/fontawesome/6/css/all.min.css" rel="stylesheet" />\n'
        '<link rel="preload" as="font" href="../_static/vendor/fontawesome/6/a.woff2" />\n'
        '<script src="../_static/vendor/fontawesome/6/js/all.min.js?digest=1"></script>\n'
        '<script>const THEBE_JS_URL = "https://unpkg.com/a"</script></head><body>'
    )
    page = parsed(site.mended(head))
    assert [link["href"] for link in page.find_all("link")] == ["../_static/icons.css"]
    assert page.find("script") is None
    page = parsed(site.mended(head + "<mjx-container>"))
    assert page.find_all("link")[-1]["href"] == "../_static/formulas.css"
