"""Slides: a heading, a sentence and a figure each, never taller than the screen."""

import nbformat
import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import sync_playwright

from book.tools import paths, slides
from tests.book.conftest import CHROMIUM

new = nbformat.v4
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
FIGURE = new.new_output("display_data", data={"image/png": PIXEL})
PRINTED = new.new_output("stream", text="7 bytes < 8\n")
LONG = new.new_output("stream", text="row\n" * 50)
ENDS = "<img alt='low'><img style='visibility: hidden' alt='none'><img alt='mid'><img alt='high'>"
WIDGET = new.new_output("display_data", data={"text/html": f"<figure>{ENDS}</figure>"})
ALT = {"mystnb": {"image": {"alt": "A grey dot."}}}
CELLS = [
    new.new_markdown_cell(
        "# A chapter\n\nIt begins. See [another](patches.ipynb) {cite:p}`wang2004ssim`.\n\n"
        "**Afterwards you can**\n- do it."
    ),
    new.new_code_cell("quality = 3", metadata={"tags": ["parameters"]}),
    new.new_markdown_cell("The next cell installs the package where it is missing."),
    new.new_code_cell("%pip install something"),
    new.new_markdown_cell("Some prose.\n\n## An idea\n\nWith $x^2$. Look. Then more."),
    new.new_code_cell("draw(1 < 2)", outputs=[FIGURE], metadata=ALT),
    new.new_markdown_cell(
        "**What you should see.** It is *grey*. And small.\n\n"
        "## A formula\n\nIt is short: one. Really.\n\n$$a < b$$\n\n## A number\n\nHow many? Seven."
    ),
    new.new_code_cell("count()", outputs=[PRINTED, LONG]),
    new.new_markdown_cell("## Two ends\n\nMove it."),
    new.new_code_cell("explore()", outputs=[WIDGET]),
    new.new_markdown_cell("## Your turn\n\n**Exercise 1.**"),
    new.new_code_cell("my_answer = None", outputs=[PRINTED]),
    new.new_markdown_cell("## What to remember\n\n- It was grey. Always.\n- It was small."),
]


@pytest.fixture(scope="module")
def html():
    """The folder of the built book."""
    if not (paths.BUILD / "html.json").exists():
        pytest.fail("expected the built book in _build/html; run make book")
    return paths.HTML


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "EXECUTED", tmp_path / "executed")
    paths.EXECUTED.mkdir()
    nbformat.write(new.new_notebook(cells=CELLS), paths.EXECUTED / "one.ipynb")
    slides.make(tmp_path / "slides", [tmp_path / "one.ipynb"])
    return BeautifulSoup((tmp_path / "slides" / "one.html").read_text(), "html.parser")


def shown(page):
    parts = [(s.find(["h1", "h2"]), s.find(class_="sentence")) for s in page.find_all("section")]
    return [(title.get_text(), said.get_text(strip=True)) for title, said in parts]


def test_each_slide_has_a_heading_and_one_sentence_that_is_no_question(page):
    assert [title for title, _ in shown(page)] == [
        "A chapter", "An idea", "A formula", "A number", "Two ends", "What to remember",
    ]  # fmt: skip
    said = [sentence for _, sentence in shown(page)]
    assert said[:3] == ["It begins.", "It isgrey.", "It is short: one."]
    assert said[3:] == ["Seven.", "Move it.", ""]


def test_each_slide_has_one_figure_a_picture_a_formula_or_what_was_printed(page):
    figures = [section.find(class_="figure") for section in page.find_all("section")]
    assert figures[1].find("img")["alt"] == "A grey dot."
    assert figures[2].get_text(strip=True) == "$$a < b$$"
    assert figures[3].find("pre").get_text() == "7 bytes < 8"
    assert [img["alt"] for img in figures[4].find_all("img")] == ["low", "high"]
    assert [li.get_text() for li in figures[5].find_all("li")] == ["It was grey.", "It was small."]
    assert not page.find("code")


def test_a_sentence_is_neither_a_question_nor_the_name_of_a_paragraph():
    assert slides.first_sentence("**By hand.** Why? It is *small*. More.") == "It is *small*."
    assert slides.first_sentence("Old friends. They come in every book.") == (
        "They come in every book."
    )
    assert slides.first_sentence("Why?") == "Why?"
    assert slides.first_sentence("no full stop") == "no full stop"


def test_printed_text_is_large_if_short_and_left_out_if_long_or_a_readers_guess():
    assert slides.printed_of("a < b\nYou guessed 7\n") == '<pre class="short">a &lt; b</pre>'
    assert slides.printed_of("x" * 60) == f"<pre>{'x' * 60}</pre>"
    for text in ("", "you guessed 7", "row\n" * 13, "x" * 91):
        assert slides.printed_of(text) == ""


def test_what_else_the_chapter_says_is_in_the_notes(page):
    notes = [
        section.find("aside").get_text(" ", strip=True) for section in page.find_all("section")
    ]
    assert "Afterwards you can" in notes[0]
    assert notes[1].startswith("With $x^2$. Look. Then more.")
    assert notes[1].endswith("And small.")
    text = page.get_text()
    assert not [word for word in ("my_answer", "Exercise", "cite", "%pip") if word in text]


def test_a_page_asks_nothing_from_the_network_and_links_to_its_neighbours(page):
    assert [tag["src"] for tag in page.find_all("script", src=True)] == ["../mathjax/tex-svg.js"]
    assert not page.find_all("link")
    assert [tag["href"] for tag in page.find_all("a")] == ["patches.html"]


def test_the_guide_links_the_slides_of_every_chapter(html):
    guide = BeautifulSoup((html / "back" / "teachers-guide.html").read_text(), "html.parser")
    linked = {tag["href"] for tag in guide.find_all("a", href=True)}
    for chapter in paths.CHAPTERS.glob("*.ipynb"):
        assert f"../_static/slides/{chapter.stem}.html" in linked
        assert (html / "_static" / "slides" / f"{chapter.stem}.html").exists()


FITS = """() => [...document.querySelectorAll("section")].filter(slide => {
  const figure = slide.querySelector(".figure"), page = slide.getBoundingClientRect();
  const inside = [...figure.children].every(child => {
    const box = child.getBoundingClientRect(), top = figure.getBoundingClientRect().top;
    return box.top >= top - 1 && box.bottom <= page.bottom + 1
      && box.left >= page.left - 1 && box.right <= page.right + 1;
  });
  const high = slide.scrollHeight > slide.clientHeight;
  return high || slide.scrollWidth > slide.clientWidth || !inside;
}).map(slide => slide.querySelector("h1, h2").textContent)"""


@pytest.mark.skipif(CHROMIUM is None, reason="no browser looked: install Chromium")
@pytest.mark.parametrize("screen", [(1280, 720), (1024, 768)])
def test_no_slide_is_taller_or_wider_than_the_screen(html, screen):
    size = dict(zip(("width", "height"), screen, strict=True))
    too_large = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=600_000
        )
        page = browser.new_page(viewport=size)
        page.set_default_timeout(600_000)
        for path in sorted((html / "_static" / "slides").glob("*.html")):
            page.goto(path.as_uri())
            page.wait_for_function("window.MathJax?.startup?.promise")
            page.evaluate("MathJax.startup.promise")
            too_large[path.stem] = page.evaluate(FITS)
        page.keyboard.press("n")
        assert page.locator("aside").first.is_visible()
        browser.close()
    assert {name: found for name, found in too_large.items() if found} == {}
    assert too_large
