"""Make the whole book into one EPUB and one PDF, offline, from what `make book` staged.

    python -m book.tools.printed [epub] [pdf]

1. `still` copies _build/stage into _build/print without what moves.
2. Sphinx writes the EPUB; formulas are MathML (`xhtml`). `finish` declares in its manifest what
   the pages hold and looks for faults: XML that is not well-formed, files that the manifest lacks
   or that are missing, what would be fetched, an id given twice, and links that lead nowhere.
3. Sphinx writes one long page, and Chromium prints it twice: from the first printing come the page
   numbers of the contents. Headings become the PDF's bookmarks.
"""

import argparse
import posixpath
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import yaml
from bs4 import BeautifulSoup, Tag
from matplotlib.figure import Figure
from playwright.sync_api import PdfMargins, sync_playwright
from pypdf import PdfReader, PdfWriter

import mrdcae_lite as mr
from book.command import UserError, exit_status
from book.tools import identity, paths, still

STYLE = "printed.css"
ELSEWHERE = re.compile(r"\w+:|//")  # how an address begins that leads out of the book
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WEB_ONLY = {"sphinxext.opengraph": "ogp_"}  # describes pages to other sites; and its settings
XHTML, OPF = "{http://www.w3.org/1999/xhtml}", "{http://www.idpf.org/2007/opf}"
PROPERTIES = {
    "{http://www.w3.org/1998/Math/MathML}math": "mathml",
    "{http://www.w3.org/2000/svg}svg": "svg",
    f"{XHTML}script": "scripted",
}
FETCHED = ("audio", "iframe", "img", "link", "object", "script", "source", "video")
UID = re.compile(rb'(?<=<meta name="dtb:uid" content=")[^"]*')
SCRIPT = re.compile(r"<script\b[^>]*?(?:/>|>.*?</script>)", re.DOTALL)
LINK = re.compile(r'(<link rel="stylesheet"[^>]*href="([^"]*)"[^>]*/>)')
COVER = "cover.png"
MATHJAX = "_static/mathjax/tex-svg.js"
MATHJAX_SETTINGS = "window.MathJax = {options: {processHtmlClass: 'math'}}"
GUARD = 600_000  # milliseconds; only a page that never loads takes as long
FOOT = (
    '<div style="width: 100%; text-align: center; font: 8px sans-serif">'
    '<span class="pageNumber"></span></div>'
)
PAPER: PdfMargins = {"top": "18mm", "bottom": "20mm", "left": "20mm", "right": "20mm"}


def file_name(kind: str) -> str:
    """Name the file of a kind, "epub" or "pdf"."""
    return f"{paths.ARCHIVE.stem}.{kind}"


def settings(kind: str, own: identity.Identity) -> dict[str, Any]:
    """Return the settings of the book's pages, as another builder of Sphinx wants them."""
    found: dict[str, Any] = yaml.safe_load((paths.ROOT / "_config.yml").read_text(encoding="utf-8"))
    citation = paths.ROOT / "CITATION.cff"
    found["launch_buttons"] = found["html"] = {}
    extra, own_settings = found["sphinx"]["extra_extensions"], found["sphinx"]["config"]
    found["sphinx"]["extra_extensions"] = [name for name in extra if name not in WEB_ONLY]
    web = tuple(WEB_ONLY.values())
    found["sphinx"]["config"] = {k: v for k, v in own_settings.items() if not k.startswith(web)}
    found["sphinx"]["local_extensions"] = {"book.tools.xhtml": str(paths.ROOT)}
    found["sphinx"]["config"] |= {
        "html_theme": "basic",
        "html_theme_options": {},
        "html_static_path": ["printed"],
        "html_css_files": [STYLE],
        "html_math_renderer": "mathml" if kind == "epub" else "mathjax",
        "epub_title": found["title"],
        "epub_author": found["author"],
        "epub_contributor": found["author"],
        "epub_publisher": found["author"],
        "epub_description": yaml.safe_load(citation.read_text(encoding="utf-8"))["abstract"],
        "epub_copyright": f"{found['copyright']}, {found['author']}, CC BY 4.0",
        "epub_language": "en",
        "epub_identifier": f"https://{own.pages}/",
        "epub_scheme": "URL",
        "epub_basename": Path(file_name(kind)).stem,
        "epub_cover": [f"_static/{COVER}", "epub-cover.html"],
        "epub_show_urls": "no",
        "epub_tocscope": "includehidden",
        "epub_exclude_files": ["search.html", "genindex.html", "py-modindex.html"],
        "epub_css_files": [STYLE],
        "version": own.version,
        "release": own.version,
    }
    return found


def prepared(stage: Path, work: Path, own: identity.Identity) -> Path:
    """Copy the stage, held still, with the style and the cover; return where it lies."""
    if not (stage / "_toc.yml").exists():
        raise UserError("expected the staged book in _build/stage; run make book")
    source = work / "source"
    still.copy(stage, source, f"https://{own.pages}")
    static = source / "printed"
    static.mkdir()
    shutil.copy(stage / "assets" / STYLE, static)
    (static / "mathjax").mkdir()
    shutil.copy(stage / "assets" / "mathjax" / Path(MATHJAX).name, static / "mathjax")
    cover(static / COVER, own.version)
    return source


def cover(target: Path, version: str) -> None:
    """Draw the cover: a photograph in ever smaller squares, with the title above it."""
    photograph = mr.sample("flowers")
    side = len(photograph) // 4
    strips = []
    for number, square in enumerate((48, 16, 4, 1)):
        strip = photograph[:, number * side : (number + 1) * side]
        means = strip.reshape(-1, square, side // square, square, 3).mean((1, 3))
        strips.append(means.repeat(square, 0).repeat(square, 1))
    figure = Figure(figsize=(6, 9), dpi=200)
    axes = figure.add_axes((0, 0.14, 1, 0.667))
    axes.imshow(np.concatenate(strips, axis=1).round().astype(np.uint8))
    axes.set_axis_off()
    centred: dict[str, Any] = {"ha": "center", "va": "center"}
    figure.text(0.5, 0.92, "Image compression", fontsize=27, weight="bold", **centred)
    figure.text(0.5, 0.86, "you can read", fontsize=27, weight="bold", **centred)
    figure.text(0.5, 0.08, f"The book of MR-DCAE Lite, version {version}", fontsize=14, **centred)
    figure.savefig(target)


def sphinx(kind: str, source: Path, work: Path, own: identity.Identity) -> Path:
    """Let Sphinx build with a builder of its own, without a warning; return the folder."""
    config = work / f"{kind}.yml"
    config.write_text(yaml.safe_dump(settings(kind, own), allow_unicode=True), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(source)]
    command += ["--config", str(config), "--path-output", str(work), "--all", "-q"]
    command += ["--builder", "custom", "--custom-builder", kind, "-W", "-n", "--keep-going"]
    if subprocess.run(command, cwd=paths.ROOT).returncode != 0:
        raise UserError("the book has warnings, named above; mend them and run again")
    return work / "_build" / kind


def epub(source: Path, work: Path, own: identity.Identity) -> Path:
    """Make the EPUB and return it."""
    made = work / file_name("epub")
    files = sphinx("epub", source, work, own) / made.name
    made.write_bytes(finish(files.read_bytes()))
    return made


def finish(book: bytes) -> bytes:
    """Declare what the pages of an EPUB hold; raise `UserError` if a reader would refuse it."""
    with zipfile.ZipFile(BytesIO(book)) as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    for name in (name for name in files if name.endswith(".xhtml")):
        # Scripts of extensions, and styles that they copy when everything has been packed.
        page = SCRIPT.sub("", files[name].decode("utf-8"))
        for link, target in LINK.findall(page):
            if beside(name, target) not in files:
                page = page.replace(link, "")
        files[name] = page.encode("utf-8")
    manifest = ElementTree.fromstring(files["content.opf"])
    for item in manifest.iter(f"{OPF}item"):
        found = {PROPERTIES.get(part.tag, "") for part in _elements(files, str(item.get("href")))}
        if item.get("href") == f"_static/{COVER}":
            found.add("cover-image")
        properties = sorted({item.get("properties", ""), *found} - {""})
        if properties:
            item.set("properties", " ".join(properties))
    spine = manifest.find(f"{OPF}spine")
    assert spine is not None
    for place in list(spine):  # Sphinx lists the first page twice
        if any(place.get("idref") == other.get("idref") for other in spine if other is not place):
            spine.remove(place)
    identifier = manifest.findtext(".//{http://purl.org/dc/elements/1.1/}identifier") or ""
    files["toc.ncx"] = UID.sub(identifier.encode(), files["toc.ncx"])
    ElementTree.register_namespace("", OPF.strip("{}"))
    files["content.opf"] = ElementTree.tostring(manifest, encoding="utf-8", xml_declaration=True)
    if lines := faults(files):
        raise UserError("the EPUB has faults:\n" + "\n".join(lines))
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():  # the type of the file stands first, as it is
            packed.writestr(name, content, zipfile.ZIP_STORED if name == "mimetype" else None)
    return target.getvalue()


def beside(name: str, target: str) -> str:
    """Return the place of a file to which another one refers."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def _elements(files: dict[str, bytes], name: str) -> list[ElementTree.Element]:
    if not name.endswith(".xhtml") or name not in files:
        return []
    try:
        return list(ElementTree.fromstring(files[name]).iter())
    except ElementTree.ParseError as error:
        raise UserError(f"the EPUB has faults:\n{name} is not well-formed: {error}") from None


def faults(files: dict[str, bytes]) -> list[str]:
    """Return a line for each fault for which a reader may refuse an EPUB's files."""
    items = list(ElementTree.fromstring(files["content.opf"]).iter(f"{OPF}item"))
    listed = {str(item.get("href")) for item in items}
    packed = {n for n in files if not n.startswith("META-INF/")} - {"mimetype", "content.opf"}
    found = [f"{name} is not in the manifest" for name in sorted(packed - listed)]
    found += [f"{name} is in the manifest and missing" for name in sorted(listed - packed)]
    ids = {"content.opf": [item.get("id") for item in items]}
    links = []  # within the book: from which file, and where to
    for name in sorted(packed):
        elements = _elements(files, name)
        addresses = [part.get("href") for part in elements if part.tag == f"{XHTML}a"]
        links += [(name, to) for to in addresses if to and not ELSEWHERE.match(to)]
        ids[name] = [part.get("id") for part in elements if part.get("id") is not None]
        for part in elements:
            target = part.get("src") or part.get("href") or part.get("data") or ""
            if part.tag.removeprefix(XHTML) not in FETCHED or target.startswith("data:"):
                continue
            if ELSEWHERE.match(target):
                found.append(f"{name} fetches {target}")
            elif target and beside(name, target) not in files:
                found.append(f"{name} shows {target}, which is missing")
    for name, names in ids.items():
        twice = [one for one, times in Counter(names).items() if times > 1]
        found += [f"{name} has the id {one} more than once" for one in twice]
    for name, address in links:
        path, _, place = unquote(address).partition("#")
        target = beside(name, path) if path else name
        if target not in files or (place and target in ids and place not in ids[target]):
            found.append(f"{name} links to {address}, which is missing")
    return found


def browser() -> str:
    """Return the path of Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise UserError(
            f"expected one of {', '.join(BROWSERS)} to print the PDF, found none: "
            "apt install chromium. The EPUB needs none: .venv/bin/python -m book.tools.printed epub"
        )
    return found


def pdf(source: Path, work: Path, own: identity.Identity) -> Path:
    """Make the PDF and return it."""
    program = browser()
    folder = sphinx("singlehtml", source, work, own)
    page, own_config = folder / "printed.html", settings("pdf", own)
    page.write_text(one_page((folder / "index.html").read_text("utf-8"), own_config), "utf-8")
    numbers = page_numbers(printing(program, page))
    soup = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    for entry in soup.select("nav.contents a"):
        entry.select(".page")[0].string = str(numbers[str(entry["href"]).removeprefix("#")])
    page.write_text(str(soup), "utf-8")
    writer = PdfWriter(clone_from=BytesIO(printing(program, page)))
    words = {"/Title": own_config["title"], "/Author": own_config["author"]}
    writer.add_metadata(words | {"/Subject": f"Version {own.version}, https://{own.pages}/"})
    made = work / file_name("pdf")
    writer.write(made)
    return made


def one_page(built: str, config: dict[str, Any]) -> str:
    """Return the document to be printed: title, contents without numbers, and the body."""
    soup = BeautifulSoup(built, "html.parser")
    body = soup.select_one("[role=main] > section, div.body > section")
    if body is None:
        raise UserError("expected a page with one section, found none; is Sphinx another version?")
    entries = "".join(map(_entry, body.select("span[id^=document-]")))
    version = config["sphinx"]["config"]["version"]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{config['title']}</title>"
        '<link rel="stylesheet" href="_static/pygments.css">'
        f'<link rel="stylesheet" href="_static/{STYLE}">'
        f'<script>{MATHJAX_SETTINGS}</script><script src="{MATHJAX}"></script></head>'
        f'<body class="printed"><header><img src="_static/{COVER}" alt="{config["title"]}, '
        f'version {version}"></header><nav class="contents"><h2>Contents</h2>{entries}</nav>'
        f"{body}</body></html>"
    )


def _entry(mark: Tag) -> str:
    """Return the line of the contents for a chapter, which begins behind a mark."""
    heading = mark.find_next(["h1", "h2"])
    assert isinstance(heading, Tag)
    for link in heading.select("a.headerlink"):
        link.decompose()
    section = heading.find_parent("section")
    assert isinstance(section, Tag)
    words = f'<span>{heading.get_text()}</span><span class="page"></span>'
    return f'<a href="#{section["id"]}">{words}</a>'


def printing(program: str, page: Path) -> bytes:
    """Return what Chromium prints of a page, once all formulas are set."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox"], timeout=GUARD
        )
        tab = started.new_page()
        tab.set_default_timeout(GUARD)
        tab.goto(page.as_uri(), timeout=GUARD)
        tab.evaluate("() => MathJax.startup.promise")
        printed = tab.pdf(
            format="A4",
            margin=PAPER,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOT,
            print_background=True,
            outline=True,
            tagged=True,
        )
        started.close()
    return printed


def page_numbers(printed: bytes) -> dict[str, int]:
    """Return the page, counted from 1, of each place to which a PDF has a link."""
    reader = PdfReader(BytesIO(printed))
    places = reader.named_destinations.items()
    numbers = {name: reader.get_destination_page_number(place) for name, place in places}
    return {name.removeprefix("/"): n + 1 for name, n in numbers.items() if n is not None}


def make(kinds: list[str]) -> None:
    """Make the files of the kinds asked for and say where they are."""
    own = identity.stated()
    makers = {"epub": epub, "pdf": pdf}
    source = prepared(paths.STAGE, paths.PRINT, own)
    for kind in kinds or list(makers):
        made = makers[kind](source, paths.PRINT, own)
        print(f"{made.relative_to(paths.ROOT)}: {made.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="printed", description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="epub|pdf", help="by default both")
    wanted = parser.parse_args().kinds
    if unknown := set(wanted) - {"epub", "pdf"}:
        parser.error(f"expected epub or pdf, got {', '.join(sorted(unknown))}")
    sys.exit(exit_status("print", partial(make, wanted)))
