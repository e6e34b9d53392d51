import json
import re

import pytest
import yaml

from book.tools import trial

# One letter of each word stands in brackets, so that this file does not hold the word itself.
UNWANTED = {
    "a package registry's host": r"py[p]i\.org|pytho[n]hosted|npm[j]s\.(org|com)|\.debia[n]\.org",
    "a path of one machine": r"(^|[^A-Za-z0-9_./])/(wor[k]|hom[e]|roo[t]|tm[p])/",
    "a folder beside the project": r"\.\./share[d]",
    "how the project was worked on": r"(this|next|previous|earlier) sessio[n]|[i]ssue #?\d",
    "unfinished work": r"\b(TOD[O]|FIXM[E]|XX[X]|HAC[K]|lorem [i]psum)\b",
}


@pytest.mark.parametrize("what", UNWANTED)
def test_no_file_names(what, text_files):
    pattern = re.compile(UNWANTED[what], re.MULTILINE)
    found = {name: match[0] for name, text in text_files.items() if (match := pattern.search(text))}
    assert found == {}


def test_the_licence_is_the_same_everywhere(root, project):
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["license"][0] == project["project"]["license"] == "MIT"


def test_the_wheel_holds_every_folder_of_the_package_and_the_measurements(root, project):
    stated = project["tool"]["setuptools"]
    found = {path.parent.name for path in (root / "mrdcae_lite").glob("*/__init__.py")}
    inner = {name.partition(".")[2] for name in stated["packages"]} - {""}
    assert inner == found | {"results"}
    assert stated["package-dir"] == {"mrdcae_lite.results": "book/results"}


def test_what_outsiders_look_for_is_there_and_is_yaml_where_it_should_be(root):
    for name in ("CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md"):
        assert (root / name).read_text(encoding="utf-8").startswith("# ")
    forms = sorted((root / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) > 2
    for form in forms:
        found = yaml.safe_load(form.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= {*found} or form.stem == "config", form
    container = json.loads((root / ".devcontainer" / "devcontainer.json").read_text())
    assert container["postCreateCommand"].endswith("make setup")


def test_a_commit_hook_runs_what_make_lint_runs(root):
    hooks = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    recipe = (root / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    recipe = recipe.replace("$(PY)", ".venv/bin/python").replace("$(BIN)", ".venv/bin")
    for hook in hooks:
        command = hook["entry"].removesuffix(" --force-exclude")
        assert command in recipe or "pytest" in command, hook["id"]


def test_a_link_between_files_of_the_project_leads_to_a_file(root, text_files):
    """In the files at the top and in .github, which no other test follows."""
    for name, text in text_files.items():
        if name.endswith(".md") and ("/" not in name or name.startswith(".github/")):
            for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
                assert (root / name).parent.joinpath(link).exists(), (name, link)


def test_every_setting_of_a_trial_is_described(root):
    page = (root / "book" / "back" / "versions.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == {*trial.SETTINGS}
