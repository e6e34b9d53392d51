"""What is published, and what is done to it on the way to a page."""

import shutil
import zipfile

import nbformat

from book.command import UserError, exit_status
from book.tools import paths, site
from book.tools.chapters import Run
from book.tools.records import CACHES

new = nbformat.v4
STRAYS = (
    "exams/exam.md", "exams/exam.ipynb", "notes.md", "solutions/patches.md", "results/new.json",
    "assignments/answers.md", "back/answers.ipynb", "assets/answers.txt", "tools/a.css",
)  # fmt: skip


def staged(book, target) -> set[str]:
    site.stage(book, target, {"made/page.md": b"made"})
    return {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}


def test_only_what_is_listed_is_staged(tmp_path):
    book = tmp_path / "book"
    shutil.copytree(paths.BOOK, book, ignore=shutil.ignore_patterns(*CACHES))
    before = staged(book, tmp_path / "stage")
    assert {"index.md", "_toc.yml", "references.bib", "back/format.md", "made/page.md"} <= before
    assert "assets/book.css" in before
    assert {name.partition("/")[0] for name in before if "/" in name} == {"assets", "back", "made"}
    for name in STRAYS:
        (book / name).parent.mkdir(exist_ok=True)
        (book / name).write_text("secret")
    assert staged(book, tmp_path / "stage") == before


def test_the_measured_line_stands_at_the_end_of_the_first_cell():
    notebook = new.new_notebook(cells=[new.new_markdown_cell("# A title\n\nProse.")])
    text = site.readable(notebook, Run(12.4, 640.2, 2)).cells[0].source
    line = "*Measured when this page was built: 12 s, 640 MB on 2 cores.*"
    assert text == f"# A title\n\nProse.\n\n{line}"


def test_what_needs_a_kernel_does_not_reach_a_page_and_its_static_form_does():
    dark = site.figures.DARK
    both = {"text/html": "<p>static</p>", site.LIVE: {"model_id": "0"}, dark: "iVBO"}
    shown = new.new_code_cell("x", outputs=[new.new_output("display_data", both)])
    notebook = new.new_notebook(cells=[new.new_markdown_cell("# A title"), shown])
    notebook.metadata["widgets"] = {"state": {}}
    readable = site.readable(notebook, Run(1.0, 1.0, 1))
    assert readable.cells[1].outputs[0].data == {"text/html": "<p>static</p>"}
    assert "widgets" not in readable.metadata


def test_the_archive_unpacks_to_one_folder_with_every_page(tmp_path):
    pages = {"index.html": b"<p>one</p>", "chapters/two.html": b"<p>two</p>"}
    for name, content in pages.items():
        (tmp_path / "html" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "html" / name).write_bytes(content)
    site.pack(tmp_path / "html", tmp_path / "book.zip")
    with zipfile.ZipFile(tmp_path / "book.zip") as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == {
            f"book/{name}": content for name, content in pages.items()
        }


def test_a_command_says_in_one_line_what_a_person_has_to_mend(capsys):
    def work():
        raise UserError("expected a book, found none")

    assert exit_status("book", work) == 1
    assert capsys.readouterr().err == "book: expected a book, found none\n"
    assert exit_status("book", lambda: None) == 0
