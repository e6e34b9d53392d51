import json
import re

import pytest
import yaml

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


def test_the_address_of_the_repository_is_the_one_in_pyproject(root, project, text_files):
    address = project["project"]["urls"]["Repository"]
    assert yaml.safe_load((root / "_config.yml").read_text())["repository"]["url"] == address
    assert yaml.safe_load((root / "CITATION.cff").read_text())["repository-code"] == address
    slug = address.removeprefix("https://github.com/")
    owners = re.compile(r"github(?:\.com|/github)/([\w.-]+/mrdcae[\w-]*)")
    for name, text in text_files.items():
        assert set(owners.findall(text)) <= {slug}, name


def test_version_and_licence_are_the_same_everywhere(root, project):
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["version"] == project["project"]["version"]
    assert json.loads((root / "web/package.json").read_text())["version"] == citation["version"]
    assert citation["license"][0] == project["project"]["license"] == "MIT"
    assert f"## {citation['version']}" in (root / "CHANGELOG.md").read_text()
