import nbformat
import pytest
from bs4 import BeautifulSoup

from book.tools import paths, site, slides

new = nbformat.v4
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
FIGURE = new.new_output("display_data", data={"image/png": PIXEL})
ALT = {"mystnb": {"image": {"alt": "A grey dot."}}}
CELLS = [
    new.new_markdown_cell(
        "# A chapter\n\nIt begins. See [another](patches.ipynb) {cite:p}`wang2004ssim`."
    ),
    new.new_code_cell("quality = 3", metadata={"tags": ["parameters"]}),
    new.new_markdown_cell("The next cell installs."),
    new.new_code_cell("%pip install something"),
    new.new_markdown_cell("Some prose.\n\n## An idea\n\nWith $x^2$."),
    new.new_code_cell("draw(1 < 2)", outputs=[FIGURE], metadata=ALT),
    new.new_markdown_cell("## Your turn\n\n**Exercise 1.**"),
    new.new_code_cell("my_answer = None"),
]


@pytest.fixture
def page(tmp_path, monkeypatch):
    for name in ("ROOT", "CHAPTERS", "EXECUTED", "COURSE"):
        monkeypatch.setattr(paths, name, tmp_path / ("" if name == "ROOT" else name.lower()))
    monkeypatch.setattr(site, "mathjax", lambda: b"")
    for folder in (paths.CHAPTERS, paths.EXECUTED):
        folder.mkdir()
        nbformat.write(new.new_notebook(cells=CELLS), folder / "one.ipynb")
    slides.make()
    return BeautifulSoup((paths.COURSE / "slides" / "one.html").read_text(), "html.parser")


def test_each_piece_of_prose_and_each_heading_begins_a_slide(page):
    starts = [section.get_text(" ", strip=True)[:9] for section in page.find_all("section")]
    assert starts == ["A chapter", "Some pros", "An idea ¶"]


def test_code_is_folded_below_and_its_picture_shown_with_its_text(page):
    idea = page.find_all("section")[-1]
    assert idea.find("details").find("code").get_text() == "draw(1 < 2)"
    assert idea.find("img")["alt"] == "A grey dot."
    assert idea.find("img").find_parent("details") is None


def test_no_exercise_and_no_citation_mark_is_on_a_slide(page):
    text = page.get_text()
    assert not [word for word in ("my_answer", "Exercise", "cite", "%pip") if word in text]


def test_a_page_asks_nothing_from_the_network_and_links_to_its_neighbours(page):
    assert [tag["src"] for tag in page.find_all("script", src=True)] == ["mathjax.js"]
    assert not page.find_all("link")
    links = [tag["href"] for tag in page.find_all("a")]
    assert [link for link in links if not link.startswith("#")] == ["patches.html"]
