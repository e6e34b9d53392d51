import re

import nbformat
import pytest

from book.tools import identity, paths

LOADING = ("src", "srcset", "data", "poster")
LOADING_LINKS = {"stylesheet", "preload", "modulepreload", "prefetch", "icon", "manifest"}
REMOTE = re.compile(r"^\s*(https?:)?//")
REMOTE_IN_CSS = re.compile(r"""(?:url\(\s*|@import\s+)['"]?\s*((?:https?:)?//[^'")\s]+)""")
REMOTE_IN_SCRIPT = re.compile(r"""['"`](https?://[^'"`]+)""")


def test_no_page_and_no_style_loads_anything_from_another_host(html, pages):
    styles = {path.name: path.read_text(errors="replace") for path in html.rglob("*.css")}
    for name, page in pages.items():
        links = (tag for tag in page.find_all("link") if LOADING_LINKS & {*tag.get("rel", [])})
        loaded = [tag["href"] for tag in links]
        loaded += [t[kind] for kind in LOADING for t in page.find_all(attrs={kind: True})]
        assert [address for address in loaded if REMOTE.match(address)] == [], name
        inline = [str(tag.string) for tag in page.find_all("style")]
        styles[name] = "\n".join([*inline, *(tag["style"] for tag in page.find_all(style=True))])
    assert [name for name, css in styles.items() if REMOTE_IN_CSS.search(css)] == []


def test_no_script_in_a_page_names_another_host(pages):
    """The theme states an address for Thebe, a button of its own that the book does not show."""
    for name, page in pages.items():
        assert page.find(class_="thebe-launch-button") is None, name
        scripts = [str(tag.string or "") for tag in page.find_all("script")]
        own = "\n".join(text for text in scripts if "THEBE_JS_URL" not in text)
        assert [url for url in REMOTE_IN_SCRIPT.findall(own) if "www.w3.org" not in url] == [], name


def test_mathematics_is_set_by_a_script_of_the_book_itself(html, pages):
    with_mathematics = [page for page in pages.values() if page.find(class_="math")]
    for page in with_mathematics:
        sources = [tag["src"].split("?")[0] for tag in page.find_all("script", src=True)]
        assert any(source.endswith("_static/mathjax/tex-svg.js") for source in sources)
    assert (html / "_static" / "mathjax" / "tex-svg.js").stat().st_size > 1_000_000


def test_every_picture_has_a_text_that_says_what_it_shows(pages):
    poor = []
    for name, page in pages.items():
        for picture in page.find_all("img"):
            text = picture.get("alt", "").strip()
            in_book = picture.find_parent("article") is not None
            says_nothing = not text or re.search(r"\.(png|svg|jpe?g|webp|gif)$", text)
            if says_nothing or (in_book and len(text.split()) < 3):
                poor.append((name, text, picture.get("src", "")[:80]))
    assert poor == []


def test_a_solution_is_nowhere_in_the_built_book(html, solutions):
    lines = [
        line.strip()
        for notebook in solutions.values()
        for cell in notebook.cells
        for line in cell.source.splitlines()
        if len(line.strip()) > 20
    ]
    built = [path for path in html.rglob("*") if path.suffix in {".html", ".ipynb", ".txt", ".md"}]
    texts = {path: path.read_text(encoding="utf-8") for path in built}
    assert [(path, line) for line in lines for path in texts if line in texts[path]] == []


def test_a_downloaded_chapter_is_complete_and_names_no_path(html, chapters):
    for name in chapters:
        text = (html / "_sources" / "chapters" / f"{name}.ipynb").read_text(encoding="utf-8")
        assert str(paths.ROOT) not in text
        code = [c for c in nbformat.reads(text, as_version=4).cells if c.cell_type == "code"]
        assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)], name


def test_every_chapter_says_what_it_took_and_its_buttons_open_it_in_the_repository(pages, chapters):
    for name in chapters:
        page = pages[f"chapters/{name}.html"]
        text = page.find("article").get_text()
        assert re.search(r"Measured when this page was built: \d+ s, \d+ MB on \d+ cores", text)
        links = [tag["href"] for tag in page.find_all("a", href=True)]
        own, file = identity.stated(), f"book/chapters/{name}.ipynb"
        assert f"https://mybinder.org/v2/gh/{own.slug}/{own.ref}?urlpath=lab/tree/{file}" in links
        colab = f"https://colab.research.google.com/github/{own.slug}/blob/{own.ref}/{file}"
        assert colab in links


def test_a_button_opens_a_file_that_the_repository_has(pages):
    """And never a master of the course, which holds its solutions."""
    opened = re.compile(r"(?:lab/tree/|/blob/[^/]+/)(book/[\w./-]+\.ipynb)$")
    links = (tag["href"] for page in pages.values() for tag in page.find_all("a", href=True))
    files = {found[1] for link in links if (found := opened.search(link))}
    assert len(files) >= len(list(paths.CHAPTERS.glob("*.ipynb")))
    assert [name for name in files if not (paths.ROOT / name).is_file()] == []
    masters = {path.relative_to(paths.ROOT).as_posix() for path in paths.MASTERS.glob("*.ipynb")}
    assert files & masters == set()


def test_the_landing_page_compares_two_files_of_one_size(pages, html):
    figure = pages["index.html"].select_one("figure.mr-divider")
    jpeg, ours = (
        int(re.search(r"([\d,]+) bytes", side.text)[1].replace(",", ""))
        for side in figure.select(".mr-words span")
    )
    assert abs(jpeg - ours) <= 0.01 * ours
    size = float(re.search(r"at ([\d.]+) bits per pixel", figure.text)[1])
    height, width = (int(figure.select_one("img")[side]) for side in ("height", "width"))
    assert size == pytest.approx(8 * ours / height / width, abs=0.005)
    assert 0.32 <= size <= 0.48
    for picture in figure.select("img"):
        assert (html / picture["src"]).stat().st_size > 100_000
