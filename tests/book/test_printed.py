"""The whole book as an EPUB and a PDF: what is held still, what Sphinx makes, what is refused."""

import shutil
import zipfile
from io import BytesIO

import nbformat
import numpy as np
import pytest
from PIL import Image

from book.command import UserError
from book.tools import identity, paths, printed, site, still
from mrdcae_lite.notebook.widgets import blind, compare, curves, steps

new = nbformat.v4
ADDRESS = "https://example.org/page.html"
OWN = identity.Identity("https://github.com/somebody/something", "1.2.3")
FILES = {
    "mimetype": b"application/epub+zip",
    "META-INF/container.xml": b"<container/>",
    "content.opf": (
        b'<package xmlns="http://www.idpf.org/2007/opf"'
        b' xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        b"<dc:identifier>https://example.org/</dc:identifier></metadata><manifest>"
        b'<item id="one" href="one.xhtml"/><item id="ncx" href="toc.ncx"/></manifest>'
        b'<spine><itemref idref="one"/><itemref idref="one"/></spine></package>'
    ),
    "toc.ncx": b'<ncx><head><meta name="dtb:uid" content="unknown"/></head></ncx>',
    "one.xhtml": (
        b'<html xmlns="http://www.w3.org/1999/xhtml"><p id="a">'
        b'<math xmlns="http://www.w3.org/1998/Math/MathML"/></p></html>'
    ),
}


def frames(count, rows=8, columns=12):
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (count, rows, columns, 3)).astype(np.uint8))


def pixels(found):
    return np.asarray(Image.open(BytesIO(found.picture)))


def packed(files):
    book = BytesIO()
    with zipfile.ZipFile(book, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return book.getvalue()


def unpacked(book):
    with zipfile.ZipFile(BytesIO(book)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_divider_becomes_its_two_pictures_side_by_side(tmp_path):
    left, right = frames(2)
    labels = ("JPEG, 12 kB", "ours <1 %>")
    found = still.still(
        compare(left, right, labels=labels, caption="A finding.").html, tmp_path, ADDRESS
    )
    sheet = pixels(found)
    assert (sheet[:, :12] == left).all()
    assert (sheet[:, -12:] == right).all()
    assert sheet.shape == (8, 24 + still.GAP, 3)
    assert found.caption == "A finding."
    assert "(1) JPEG, 12 kB; (2) ours \\<1 %\\>" in found.words
    assert found.words.endswith(f"<{ADDRESS}>.")


def test_a_slider_becomes_all_its_pictures_line_by_line_and_enlarged_as_on_the_page(tmp_path):
    shown = frames(4)
    widget = steps(shown, label="Quality", captions=list("abcd"), caption="All.", zoom=2)
    found = still.still(widget.html, tmp_path, ADDRESS)
    sheet = pixels(found)
    assert (sheet[-16::2, -24::2] == shown[3]).all()
    assert sheet.shape == (32 + still.GAP, 48 + still.GAP, 3)
    assert "Line by line: (1) a; (2) b; (3) c; (4) d." in found.words


def test_curves_become_a_drawing_without_the_rule_that_moves(tmp_path):
    lines = {"one": ([0, 1], [2, 3]), "two": ([0, 1], [3, 1])}
    found = still.still(curves(lines, labels=("x", "y"), caption="C.").html, tmp_path, ADDRESS)
    drawn = found.picture.decode()
    assert drawn.startswith("<svg xmlns=")
    assert ">two</text>" in drawn
    assert "mr-rule" not in drawn


def test_a_blind_test_does_not_say_which_is_which(tmp_path):
    trial = tuple(frames(3))
    widget = blind([trial, trial], labels=("JPEG", "ours"), caption="Guess.")
    found = still.still(widget.html, tmp_path, ADDRESS)
    assert pixels(found).shape == (8, 36 + 2 * still.GAP, 3)
    assert "ours" not in found.words


def test_what_is_no_widget_stays_as_it_is(tmp_path):
    assert still.still("<table><tr><td>1</td></tr></table>", tmp_path, ADDRESS) is None


def test_folded_code_goes_with_what_it_prints_and_what_it_draws_stays(tmp_path):
    outputs = [
        new.new_output("stream", text="printed"),
        new.new_output("display_data", {"image/png": "AAAA"}),
    ]
    cell = new.new_code_cell("x = 1", outputs=outputs, metadata={"tags": ["hide-input"]})
    still.notebook(new.new_notebook(cells=[cell]), tmp_path, ADDRESS)
    assert "remove-input" in cell.metadata.tags
    assert [output.output_type for output in cell.outputs] == ["display_data"]


def test_a_page_names_what_needs_a_script_and_opens_what_is_folded(tmp_path):
    (tmp_path / "back").mkdir()
    (tmp_path / "row.md").write_text("| {download}`a.zip </a.zip>` |\n")
    (tmp_path / "back" / "page.md").write_text(
        "```{raw} html\n<div></div><script src=x></script>\n```\n\n"
        '<details class="quiz"><summary>Is it?</summary>No.</details>\n\n'
        "````{dropdown} More\nText\n````\n\n```{include} ../row.md\n```\n"
        '<a href="../_static/slides/a.html">A</a>\n'
    )
    text = still.page(still.Path("back/page.md"), tmp_path, tmp_path, "https://example.org")
    assert "needs a browser: <https://example.org/back/page.html>" in text
    assert "- *Is it?* No." in text
    assert "{admonition} More" in text
    assert "| a.zip |" in text
    assert 'href="https://example.org/_static/slides/a.html"' in text


def test_an_epub_declares_its_formulas_and_names_itself_alike_everywhere():
    files = unpacked(printed.finish(packed(FILES)))
    assert b'href="one.xhtml" properties="mathml"' in files["content.opf"]
    assert files["content.opf"].count(b"itemref") == 1
    assert b'content="https://example.org/"' in files["toc.ncx"]
    assert next(iter(files)) == "mimetype"


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("one.xhtml", b"<p>one<br></p>", "one.xhtml is not well-formed"),
        ("two.xhtml", b"<p/>", "two.xhtml is not in the manifest"),
        ("one.xhtml", b'<p><a id="a"/><a id="a"/></p>', "has the id a more than once"),
        (
            "one.xhtml",
            b'<html xmlns="http://www.w3.org/1999/xhtml"><img src="_images/a.png"/></html>',
            r"one\.xhtml shows _images/a\.png, which is missing",
        ),
        (
            "one.xhtml",
            b'<html xmlns="http://www.w3.org/1999/xhtml"><img src="https://example.org/a.png"/></html>',
            "one.xhtml fetches https://example.org/a.png",
        ),
        (
            "one.xhtml",
            b'<html xmlns="http://www.w3.org/1999/xhtml"><a href="two.ipynb">two</a></html>',
            r"one\.xhtml links to two\.ipynb, which is missing",
        ),
        (
            "one.xhtml",
            b'<html xmlns="http://www.w3.org/1999/xhtml"><a href="#a"/><p id="b"/></html>',
            "one.xhtml links to #a, which is missing",
        ),
    ],
)
def test_an_epub_that_a_reader_would_refuse_is_refused(name, content, fault):
    with pytest.raises(UserError, match=fault):
        printed.finish(packed({**FILES, name: content}))


def test_an_epub_that_lacks_a_file_is_refused():
    files = {name: content for name, content in FILES.items() if name != "one.xhtml"}
    with pytest.raises(UserError, match=r"one\.xhtml is in the manifest and missing"):
        printed.finish(packed(files))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A book of three pages, staged and held still."""
    folder = tmp_path_factory.mktemp("printed")
    stage = folder / "stage"
    shown = compare(*frames(2), labels=("a", "b"), caption="Left and right.")
    chapter = new.new_notebook(
        cells=[
            new.new_markdown_cell("# A chapter\n\n$x^2$<br>and\n\n$$\\frac{a}{b}$$"),
            new.new_code_cell(
                "compare(a, b)", outputs=[new.new_output("display_data", {"text/html": shown.html})]
            ),
        ],
        metadata={"language_info": {"name": "python", "pygments_lexer": "ipython3"}},
    )
    files = {
        "_toc.yml": "format: jb-book\nroot: index\nparts:\n  - caption: Chapters\n    chapters:\n"
        "      - file: chapters/one\n      - file: two\n",
        "index.md": "# The book\n\n{doc}`chapters/one`\n",
        "two.md": "# Sources\n\n## Part\n\nWords.\n",
        "references.bib": "",
        "chapters/one.ipynb": nbformat.writes(chapter),
        "assets/printed.css": (paths.BOOK / "assets" / "printed.css").read_text("utf-8"),
        f"assets/{site.MATHJAX}": "",
    }
    for name, text in files.items():
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).write_text(text, encoding="utf-8")
    return printed.prepared(stage, folder, OWN)


def test_sphinx_makes_an_epub_with_contents_cover_formulas_and_pictures(source):
    book = printed.epub(source, source.parent, OWN)
    files = unpacked(book.read_bytes())
    assert b"A chapter" in files["nav.xhtml"]
    assert b'properties="cover-image"' in files["content.opf"]
    assert b">unknown<" not in files["content.opf"]
    assert b"contributors, CC BY 4.0</dc:rights>" in files["content.opf"]
    page = files["chapters/one.xhtml"].decode()
    assert "<mfrac>" in page
    assert "<script" not in page
    assert page.count("_images/") == 1
    assert "Left and right." in page


def test_one_page_has_a_cover_contents_and_every_chapter(source):
    built = (
        "<div class='body' role='main'><section id='the-book'><h1>The book</h1>"
        "<span id='document-one'></span><section id='one'><h2>1. One"
        "<a class='headerlink' href='#one'>#</a></h2></section></section></div>"
    )
    page = printed.one_page(built, printed.settings("pdf", OWN))
    assert '<a href="#one"><span>1. One</span><span class="page"></span></a>' in page
    assert "version 1.2.3" in page


@pytest.mark.parametrize("kind", ["epub", "pdf"])
def test_what_describes_pages_to_other_sites_is_left_out_with_its_settings(kind):
    sphinx = printed.settings(kind, OWN)["sphinx"]
    assert not [name for name in sphinx["extra_extensions"] if "opengraph" in name]
    assert not [name for name in sphinx["config"] if name.startswith("ogp_")]


def test_a_book_that_was_not_staged_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"run make book"):
        printed.prepared(tmp_path, tmp_path / "work", OWN)


def test_a_missing_browser_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"apt install chromium.*printed epub"):
        printed.browser()
