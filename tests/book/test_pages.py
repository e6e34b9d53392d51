import re
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from book.tools import identity, paths
from book.tools.printed import beside
from tests.book.weigh import wire

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


def test_mathematics_is_drawn_without_a_script_and_has_mathml_for_those_who_listen(pages):
    formulas = [formula for page in pages.values() for formula in page.find_all(class_="math")]
    assert len(formulas) > 100
    assert [str(f)[:80] for f in formulas if f.find("svg") is None or f.find("math") is None] == []
    assert [name for name, page in pages.items() if "athJax" in str(page.head)] == []


def test_every_icon_that_a_page_names_is_in_its_font(html, pages):
    sheet = (html / "_static" / "icons.css").read_text(encoding="utf-8")
    shown = [icon for page in pages.values() for icon in page.select("i[class*=fa-]")]
    names = {name for icon in shown for name in icon["class"] if name.startswith("fa-")}
    names -= {"fa-solid", "fa-brands", "fa-regular", "fa-lg"}
    assert len(names) > 5
    assert [name for name in names if f".{name}::before" not in sheet] == []


def test_a_page_loads_at_most_700_kilobytes_before_its_reader_scrolls(html, pages):
    """Counted without a browser: what is loaded at once, and the first two pictures."""
    heavy = {}
    for name, page in pages.items():
        links = page.select("link[rel~=stylesheet], link[rel~=preload], link[rel~=icon]")
        files = {tag["href"] for tag in links} | {
            t["src"] for t in page.find_all("script", src=True)
        }
        shown = [tag for tag in page.find_all("img") if "mr-night" not in tag.get("class", [])]
        shown = [tag for tag in shown if "hidden" not in tag.get("style", "")]
        lazy = [tag for tag in shown if tag.get("loading") == "lazy"]
        files |= {tag["src"] for tag in shown if tag not in lazy} | {tag["src"] for tag in lazy[:2]}
        around = (html / name).parent
        loaded = {(around / file.partition("?")[0]).resolve() for file in files}
        size = sum(len(wire(file)) for file in {html / name, *loaded})
        if size > 700_000:
            heavy[name] = size
    assert heavy == {}


def test_every_picture_states_its_size_and_comes_when_its_reader_gets_near(pages):
    for name, page in pages.items():
        for picture in page.select("article img"):
            assert {"width", "height", "loading"} <= picture.attrs.keys() or picture.get("style"), (
                name
            )


def test_every_page_has_a_description_a_preview_an_icon_and_one_address(html, pages):
    home = f"https://{identity.stated().pages}/"
    listed = {name for name, page in pages.items() if page.find("meta", property="og:title")}
    assert set(pages) - listed <= {"genindex.html", "search.html"}
    for name in listed:
        head = pages[name].head
        assert len(head.find("meta", attrs={"name": "description"})["content"]) > 40, name
        assert "Measured when" not in head.find("meta", attrs={"name": "description"})["content"]
        assert head.find("link", rel="canonical")["href"] == home + name
        picture = head.find("meta", property="og:image")["content"]
        assert (html / picture.removeprefix(home)).is_file()
    for name, page in pages.items():
        icon = page.find("link", rel="icon")["href"].partition("?")[0]
        assert (html / name).parent.joinpath(icon).is_file()


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


def test_a_link_inside_the_book_leads_to_a_page_and_a_place_on_it(pages, html):
    places = {name: {tag["id"] for tag in page.select("[id]")} for name, page in pages.items()}
    lost = []
    for name, page in pages.items():
        for tag in page.find_all("a", href=True):
            address = urlsplit(tag["href"])
            if address.scheme or address.netloc:
                continue
            target = beside(name, unquote(address.path)) if address.path else name
            place = unquote(address.fragment)
            known = places.get(target, {place})  # other files have no places
            if not (html / target).is_file() or (place and place not in known):
                lost.append(f"{name}: {tag['href']}")
    assert lost == []


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
