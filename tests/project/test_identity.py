"""Address and version stand in pyproject.toml; all other places are written from there."""

import json
import re
import shutil
import subprocess

import nbformat
import pytest
import yaml

from book.command import UserError
from book.tools import identity, paths
from book.tools.identity import Identity

OWN = Identity("https://github.com/one/small-codec", "0.1.0")
OTHER = Identity("https://github.com/Two/codec.js", "1.2.0.dev0")
LINKS = {
    "https://github.com/one/small-codec": "https://github.com/Two/codec.js",
    "https://github.com/one/small-codec.": "https://github.com/Two/codec.js.",
    "https://github.com/one/small-codec/issues": "https://github.com/Two/codec.js/issues",
    "https://github.com/one/small-codec/blob/v0.0.9/a.md": (
        "https://github.com/Two/codec.js/blob/main/a.md"
    ),
    "git+https://github.com/one/small-codec": "git+https://github.com/Two/codec.js@main",
    '\\"x @ git+https://github.com/one/small-codec@v0.1.0\\"\\n': (
        '\\"x @ git+https://github.com/Two/codec.js@main\\"\\n'
    ),
    "https://mybinder.org/v2/gh/one/small-codec/v0.1.0?urlpath=lab": (
        "https://mybinder.org/v2/gh/Two/codec.js/main?urlpath=lab"
    ),
    "https://colab.research.google.com/github/one/small-codec/blob/main/a.ipynb": (
        "https://colab.research.google.com/github/Two/codec.js/blob/main/a.ipynb"
    ),
    "https://one.github.io/small-codec/": "https://two.github.io/codec.js/",
    "https://github.com/one/small-codec-extra": "https://github.com/one/small-codec-extra",
    "https://github.com/other/small-codec": "https://github.com/other/small-codec",
}
# Who uses these means us; a plain link to GitHub may mean others, under other names.
OURS = re.compile(
    r"(?:git\+https://github\.com|mybinder\.org/v2/gh|google\.com/github)/([\w-]+/[\w.-]*[\w-])"
)
LINKED = re.compile(r"(?:github|githubusercontent)\.com/([\w-]+/[\w.-]*[\w-])")
PAGES = re.compile(r"[\w-]+\.github\.io/[\w.-]*[\w-]")
ELSEWHERE = Identity("https://github.com/" + "/".join(("else", "where")), "7.0.0.dev0")
MADE_UP = {"tests/project/test_identity.py", "tests/project/test_release.py"}  # their examples


@pytest.mark.parametrize("link", LINKS)
def test_a_link_follows_the_address_and_its_ref_the_version(link):
    assert identity.updated(link, OWN, OTHER) == LINKS[link]
    assert identity.updated(LINKS[link], OTHER, OTHER) == LINKS[link]


def test_a_release_links_to_its_tag_and_development_to_the_branch():
    assert (OWN.ref, OWN.release) == ("v0.1.0", "0.1.0")
    assert (OTHER.ref, OTHER.release) == ("main", "1.2.0")


@pytest.mark.parametrize(
    ("address", "version"),
    [
        ("https://github.com/one", "0.1.0"),
        ("https://github.com/one/two/issues", "0.1.0"),
        ("git@github.com:one/two", "0.1.0"),
        ("https://github.com/one/two", "1.0"),
        ("https://github.com/one/two", "v0.1.0"),
    ],
)
def test_an_address_or_a_version_of_another_form_is_refused(address, version):
    with pytest.raises(UserError, match=r"expected a.* like .*got"):
        Identity(address, version)


def test_every_file_names_the_address_and_the_version_of_pyproject(text_files):
    own = identity.stated()
    for name, text in text_files.items():
        if name in MADE_UP:
            continue
        assert {*OURS.findall(text)} <= {own.slug}, name
        linked = [*LINKED.findall(text), *PAGES.findall(text)]
        assert {place for place in linked if "mrdcae" in place} <= {own.slug, own.pages}, name
        assert identity.updated(text, own, own) == text, f"{name}: run make address"
        rest = identity.updated(text, own, OTHER)
        assert own.slug not in rest, f"{name} names {own.slug} in a form that make address misses"


def test_the_book_and_the_citation_name_the_address_the_pages_and_the_version(root):
    own = identity.stated()
    repository = yaml.safe_load((root / "_config.yml").read_text())["repository"]
    assert (repository["url"], repository["branch"]) == (own.address, own.ref)
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["repository-code"] == own.address
    assert citation["url"] == f"https://{own.pages}/"
    assert citation["version"] == own.version
    assert json.loads((root / "web/package.json").read_text())["version"] == own.release
    assert f"## {own.release}" in (root / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("chapter", sorted(paths.CHAPTERS.glob("*.ipynb")), ids=lambda c: c.stem)
def test_a_chapter_installs_what_it_needs_and_stands_alone(chapter):
    notebook = nbformat.read(chapter, as_version=4)
    cells = [cell.source for cell in identity.install_cells(notebook)]
    assert cells == [identity.install_cell(notebook, identity.stated())], "run make address"
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert re.search(r"urlopen|https?://(?!github\.com/.*@)|\.\./|\"\.\.\"", code) is None


def test_what_trains_brings_keras_and_what_compresses_does_not():
    new = nbformat.v4
    for source, brings in {
        "import keras": True,
        "model = mr.MRDCAE()": True,
        "codec.to_model()": True,
        "from mrdcae_lite.training.data import Photographs": True,
        "from mrdcae_lite.training.augmentation import crop": False,
        "mr.load('lite')": False,
    }.items():
        notebook = new.new_notebook(cells=[new.new_code_cell(source)])
        assert ("[tensorflow]" in identity.install_cell(notebook, OWN)) == brings, source


def test_another_address_and_version_reach_every_file_and_the_way_back_restores_them(
    root, tmp_path, text_files
):
    """In a copy of the project, as `make address URL=... VERSION=...` does it."""
    for name in text_files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, tmp_path / name)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    own = identity.stated(tmp_path)
    changed = identity.write(tmp_path, own, ELSEWHERE)
    assert {"pyproject.toml", "README.md", "_config.yml", "CITATION.cff"} <= {*changed}
    assert identity.stated(tmp_path) == ELSEWHERE
    for name in text_files:
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert not {own.slug, own.pages} & {*LINKED.findall(text), *PAGES.findall(text)}, name
    assert identity.write(tmp_path, ELSEWHERE, own) == changed
    assert [n for n in changed if (root / n).read_bytes() != (tmp_path / n).read_bytes()] == []
