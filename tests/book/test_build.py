import zipfile

import nbformat
import pytest

from book import build

PLACES = [("b", "two"), ("a", "one")]


def write_chapter(folder, *cells):
    new = nbformat.v4
    notebook = new.new_notebook(cells=[new.new_markdown_cell("# A title\n\nProse."), *cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    path = folder / "small.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def executed(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "BOOK", tmp_path / "book")
    monkeypatch.setattr(build, "BUILD", tmp_path / "_build")
    monkeypatch.setattr(build, "EXECUTED", tmp_path / "_build" / "executed")
    (tmp_path / "book" / "chapters").mkdir(parents=True)
    return tmp_path / "_build" / "executed"


def test_a_chapter_runs_and_is_remembered_until_something_changes(executed, tmp_path):
    code = nbformat.v4.new_code_cell
    log = tmp_path / "log.txt"
    cell = code(f"open({str(log)!r}, 'a').write('run ');")
    source = write_chapter(tmp_path / "book" / "chapters", cell)
    assert build.remembered(source, "key one") is None
    first = build.execute(source, "key one")
    assert log.read_text() == "run "
    assert build.remembered(source, "key one") == first
    assert build.remembered(source, "key two") is None
    assert first.seconds > 0
    assert 10 < first.peak_megabytes < 2000
    assert (executed / "small.ipynb").exists()


def test_a_solution_stands_behind_the_cell_that_it_names():
    code = nbformat.v4.new_code_cell
    chapter = nbformat.v4.new_notebook(cells=[code("a = 1", id="one"), code("b = 2", id="two")])
    answers = [code(f"assert {name}", metadata={"after": place}) for name, place in PLACES]
    merged = build.answered(chapter, nbformat.v4.new_notebook(cells=answers))
    assert [cell.source for cell in merged.cells] == ["a = 1", "assert a", "b = 2", "assert b"]
    assert len(chapter.cells) == 2


def test_a_solution_without_a_place_is_refused():
    chapter = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("a = 1", id="one")])
    lost = nbformat.v4.new_code_cell("assert a", metadata={"after": "three"})
    with pytest.raises(build.BookError, match=r"to name a cell of its chapter .* after='three'"):
        build.answered(chapter, nbformat.v4.new_notebook(cells=[lost]))


def test_a_failing_cell_names_its_chapter_and_is_not_taken_for_done(executed, tmp_path):
    broken = nbformat.v4.new_code_cell("answer = 1 / 0")
    source = write_chapter(tmp_path / "book" / "chapters", broken)
    for _ in range(2):
        with pytest.raises(
            build.BookError, match=r"chapter small failed in cell In \[1\]:\nanswer"
        ):
            build.execute(source, "key")


def test_the_measured_line_stands_below_the_title():
    cells = [nbformat.v4.new_markdown_cell("# A title\n\nProse.")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    run = build.Run(key="", seconds=12.4, peak_megabytes=640.2, cores=2)
    text = build.readable(notebook, run).cells[0].source
    line = "*Measured when this page was built: 12 s, 640 MB on 2 cores.*"
    assert text == f"# A title\n\n{line}\n\nProse."


def test_what_needs_a_kernel_does_not_reach_a_page_and_its_static_form_does():
    new = nbformat.v4
    both = {"text/html": "<p>static</p>", build.LIVE: {"model_id": "0"}}
    shown = new.new_code_cell("x", outputs=[new.new_output("display_data", both)])
    notebook = new.new_notebook(cells=[new.new_markdown_cell("# A title"), shown])
    notebook.metadata["widgets"] = {"state": {}}
    readable = build.readable(notebook, build.Run("", 1.0, 1.0, 1))
    assert readable.cells[1].outputs[0].data == {"text/html": "<p>static</p>"}
    assert "widgets" not in readable.metadata


def test_the_archive_unpacks_to_one_folder_with_every_page(tmp_path):
    pages = {"index.html": b"<p>one</p>", "chapters/two.html": b"<p>two</p>"}
    for name, content in pages.items():
        (tmp_path / "html" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "html" / name).write_bytes(content)
    build.pack(tmp_path / "html", tmp_path / "book.zip")
    with zipfile.ZipFile(tmp_path / "book.zip") as packed:
        assert {name: packed.read(name) for name in packed.namelist()} == {
            f"book/{name}": content for name, content in pages.items()
        }


def test_a_chapter_without_a_title_is_refused():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("Prose.")])
    with pytest.raises(build.BookError, match="expected a chapter to begin with a '# Title' cell"):
        build.readable(notebook, build.Run("", 1.0, 1.0, 1))


def test_the_digest_notices_a_changed_byte_and_a_changed_name(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "ROOT", tmp_path)
    path = tmp_path / "a.txt"
    seen = set()
    for content in (b"one", b"two"):
        path.write_bytes(content)
        seen.add(build.digest([path]))
    seen.add(build.digest([path.rename(tmp_path / "b.txt")]))
    assert len(seen) == 3


def test_every_chapter_depends_on_package_lock_and_builder():
    inputs = {path.relative_to(build.ROOT).as_posix() for path in build.shared_inputs()}
    assert {"requirements.lock", "book/build.py", "mrdcae_lite/metrics.py"} <= inputs
    assert not any("__pycache__" in name for name in inputs)
