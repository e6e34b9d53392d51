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


def test_the_licence_is_the_same_everywhere(root, project):
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["license"][0] == project["project"]["license"] == "MIT"


def test_the_wheel_holds_every_folder_of_the_package_and_the_measurements(root, project):
    stated = project["tool"]["setuptools"]
    found = {path.parent.name for path in (root / "mrdcae_lite").glob("*/__init__.py")}
    inner = {name.partition(".")[2] for name in stated["packages"]} - {""}
    assert inner == found | {"results"}
    assert stated["package-dir"] == {"mrdcae_lite.results": "book/results"}
