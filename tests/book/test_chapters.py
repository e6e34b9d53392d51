import json
import re
import sys
import tomllib
from pathlib import Path

import nbformat
import yaml

from book.tools import chapters as runs
from book.tools import paths
from book.tools.records import digest

LONGEST_OPEN, LONGEST_FOLDED = 18, 30  # lines of a cell
WIDEST = 79  # characters of a line, as many as a column of the page shows
PLUMBING = re.compile(r"%pip|^(import|from) \w|^plt\.rcParams|^def result\(|plt\.subplots\(", re.M)
SAME_BYTES = re.compile(r"\b(?:same|equal)\b[^.]*\bbytes\b", re.I)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def test_the_contents_name_every_chapter_once(chapters):
    parts = yaml.safe_load((paths.BOOK / "_toc.yml").read_text())["parts"]
    listed = [entry["file"] for part in parts for entry in part["chapters"]]
    assert sorted(f for f in listed if f.startswith("chapters/")) == [
        f"chapters/{name}" for name in sorted(chapters)
    ]


def test_a_chapter_leads_to_the_next_one(chapters):
    parts = yaml.safe_load((paths.BOOK / "_toc.yml").read_text())["parts"]
    listed = [entry["file"] for part in parts for entry in part["chapters"]]
    for name, notebook in chapters.items():
        following = listed[listed.index(f"chapters/{name}") + 1]
        links = re.findall(r"\*\*Next:\*\* \[[^]]+\]\(([^)]+)\)", notebook.cells[-1].source)
        assert len(links) == 1, name
        [link] = links
        target = Path("chapters", link).with_suffix("").as_posix().replace("chapters/../", "")
        assert target == following, name


def test_a_chapter_is_committed_without_outputs_but_for_short_texts_that_are_compared(chapters):
    """nbval wants a compared cell to have a number, so that number is 1 wherever it is kept."""
    for name, notebook in chapters.items():
        cells = code_cells(notebook)
        assert any("nbval-check-output" in tags(cell) for cell in cells), name
        for cell in cells:
            compared = "nbval-check-output" in tags(cell)
            assert bool(cell.outputs) == compared, (name, cell.source)
            assert cell.execution_count == (1 if compared else None), (name, cell.source)
            for output in cell.outputs:
                assert output.output_type in {"stream", "execute_result"}, name
                assert len(json.dumps(output)) < 2000, name


def folded(cell) -> bool:
    return "hide-input" in tags(cell)


def test_a_code_cell_is_short_and_narrow_and_plumbing_is_folded(chapters):
    long, wide, open_ = [], [], []
    for name, notebook in chapters.items():
        for cell in code_cells(notebook):
            lines = cell.source.splitlines()
            if len(lines) > (LONGEST_FOLDED if folded(cell) else LONGEST_OPEN):
                long.append((name, cell.source))
            wide += [(name, line) for line in lines if len(line) > WIDEST and "://" not in line]
            if PLUMBING.search(cell.source) and not folded(cell):
                open_.append((name, cell.source))
    assert (long, wide, open_) == ([], [], [])


def test_the_answer_of_an_exercise_stands_in_no_open_cell(chapters):
    """On the page it is folded, and in JupyterLab and on Colab as well."""
    checks = [
        (name, cell)
        for name, notebook in chapters.items()
        for cell in code_cells(notebook)
        if re.search(r"\bexercise\(|^def check_", cell.source, re.MULTILINE)
    ]
    assert {name for name, _ in checks} == {*chapters}
    for name, cell in checks:
        assert folded(cell), (name, cell.source)
        assert cell.metadata.jupyter.source_hidden, (name, cell.source)
        assert cell.metadata.cellView == "form", (name, cell.source)


EXERCISE = re.compile(
    r"^(?P<heading>## .*)|\*\*Exercise(?P<number>[^*]*)\*\*|^(?P<check>check_\w+ =|def check_\w+)",
    re.MULTILINE,
)


def test_exercises_stand_below_your_turn_with_a_text_each_and_numbered_from_one(chapters):
    for name, notebook in chapters.items():
        section, numbers, waiting = "", [], False
        for cell in notebook.cells:
            for found in EXERCISE.finditer(cell.source):
                if found["heading"]:
                    section = found["heading"]
                    continue
                assert section == "## Your turn", (name, found[0])
                if found["check"]:
                    assert waiting, f"{name}: {found['check']} checks an exercise without a text"
                else:
                    numbers.append(found["number"])
                waiting = not found["check"]
        assert numbers, name
        assert numbers == [f" {n}." for n in range(1, len(numbers) + 1)], name


def test_no_chapter_asks_for_one_that_comes_later(chapters):
    parts = yaml.safe_load((paths.BOOK / "_toc.yml").read_text())["parts"]
    listed = [entry["file"] for part in parts for entry in part["chapters"]]
    order = {file: place for place, file in enumerate(listed)}
    for name, notebook in chapters.items():
        needs = re.search(r"\*\*You need\*\*(.*?)\*\*Time", notebook.cells[0].source, re.DOTALL)
        asked = re.findall(r"\]\(([\w-]+)\.ipynb\)", needs[1])
        later = [a for a in asked if order[f"chapters/{a}"] >= order[f"chapters/{name}"]]
        assert later == [], name


def test_what_is_said_to_have_the_same_bytes_has_them_within_one_per_cent():
    """The labels of a divider say how many bytes its two pictures took."""
    checked = 0
    for source in runs.sources():
        notebook = nbformat.read(runs.executed(source), as_version=4)
        outputs = [o for cell in code_cells(notebook) for o in cell.outputs]
        for page in (o.data["text/html"] for o in outputs if "text/html" in o.get("data", {})):
            caption = re.search(r"<figcaption[^>]*>(.*?)</figcaption>", page, re.DOTALL)
            labels = re.findall(r"of the divider: [^\"]*?([\d,]+) bytes", page)
            if caption and SAME_BYTES.search(caption[1]) and labels:
                sizes = [int(label.replace(",", "")) for label in labels]
                assert len(sizes) == 2, caption[1]
                assert abs(sizes[0] / sizes[1] - 1) <= 0.01, (source.stem, caption[1], sizes)
                checked += 1
    assert checked >= 6


def test_a_chapter_opens_with_its_only_title_and_its_only_cell_of_parameters(chapters):
    for name, notebook in chapters.items():
        assert "parameters" in tags(code_cells(notebook)[0]), name
        assert sum("parameters" in tags(cell) for cell in notebook.cells) == 1, name
        assert notebook.cells[0].source.startswith("# "), name
        titles = [c for c in notebook.cells if c.cell_type == "markdown" and c.source[:2] == "# "]
        assert len(titles) == 1, name


def test_no_notebook_names_a_person_machine_or_kernel_and_no_solution_has_outputs(
    chapters, solutions
):
    for name, notebook in (*chapters.items(), *solutions.items()):
        assert notebook.metadata.kernelspec.name == "python3", name
        assert notebook.metadata.kernelspec.display_name == "Python 3", name
        assert set(notebook.metadata) <= {"kernelspec", "language_info"}, name
    for name, notebook in solutions.items():
        for cell in code_cells(notebook):
            assert (cell.outputs, cell.execution_count) == ([], None), (name, cell.source)


def test_a_chapter_holds_no_cell_of_its_solutions(chapters, solutions):
    """What Binder, Colab and the download button open is the chapter as it is committed."""
    assert solutions
    for name, notebook in chapters.items():
        text = "\n".join(cell.source for cell in notebook.cells)
        assert "{solution" not in text, name
        assert not any("solution" in tags(cell) for cell in notebook.cells), name
        own = solutions[name].cells if name in solutions else []
        assert [cell.source for cell in own if cell.source in text] == [], name


def test_every_chapter_passed_as_it_is_now_with_its_solutions(solutions):
    shared = digest(runs.shared_inputs())
    keys = {source: runs.key_of(source, shared) for source in runs.sources()}
    assert {*solutions} <= {source.stem for source in keys}
    assert [s.stem for s in keys if runs.run_of(s, keys[s]) is None] == [], "run make book"


def test_the_bibliography_holds_only_what_is_cited(chapters):
    entries = (paths.BOOK / "references.bib").read_text(encoding="utf-8")
    sources = [cell.source for notebook in chapters.values() for cell in notebook.cells]
    sources += [path.read_text(encoding="utf-8") for path in paths.BOOK.rglob("*.md")]
    citations = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", "\n".join(sources))
    cited = {key.strip() for citation in citations for key in citation.split(",")}
    keys = re.findall(r"^@\w+\{([^,]+),", entries, re.MULTILINE)
    assert sorted(keys) == sorted(cited)


def imported(notebook) -> set[str]:
    """Collect the top-level packages that the cells import, one in a line."""
    code = "\n".join(cell.source for cell in code_cells(notebook))
    return set(re.findall(r"^\s*(?:import|from) (\w+)", code, re.MULTILINE))


def test_a_chapter_imports_only_what_binder_and_colab_have(chapters):
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["evaluation"]]
    lines += project["optional-dependencies"]["notebooks"] + ["keras"]
    named = {re.split(r"[>=<[]", line)[0] for line in lines}
    modules = {"pillow": "PIL", "scikit-image": "skimage"}
    allowed = {modules.get(name, name) for name in named} | {"mrdcae_lite", "scipy", "IPython"}
    for name, notebook in chapters.items():
        assert imported(notebook) - sys.stdlib_module_names <= allowed, name


def test_a_quiz_answers_every_choice_and_needs_no_script(chapters):
    """A blank line inside would end the HTML, and show the answer."""
    for name, notebook in chapters.items():
        quizzes = [cell for cell in notebook.cells if "## A short quiz" in cell.source]
        assert len(quizzes) == 1, name
        for cell in quizzes:
            questions = re.split(r"^\*\*\d\. ", cell.source, flags=re.MULTILINE)[1:]
            assert len(questions) >= 2, name
            for question in questions:
                choices = re.findall(
                    r'^<details class="quiz"><summary>(.+)</summary>(.+)</details>$',
                    question,
                    re.MULTILINE,
                )
                assert len(choices) >= 2, (name, question)
                assert question.count("<details") == len(choices), (name, question)
                assert all(text.endswith((".", "?")) for _, text in choices), (name, question)
