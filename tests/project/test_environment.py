import ast
import importlib.metadata
import re
import sys
from functools import cache

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from book.tools import identity, paths

BINDER = {
    "platform_machine": "x86_64",
    "platform_system": "Linux",
    "python_full_version": "3.11.0",
    "python_version": "3.11",
    "sys_platform": "linux",
}


def requirements_of(name: str, extras: set[str]) -> list[Requirement]:
    lines = importlib.metadata.requires(name) or []
    chosen = []
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        if marker is None or any(marker.evaluate(BINDER | {"extra": e}) for e in extras or {""}):
            chosen.append(requirement)
    return chosen


OURS = "mrdcae-lite"  # its extras name others of its own


def needed(requirement: Requirement, seen: set[tuple[str, frozenset[str]]]) -> set[str]:
    """Collect the names of all that a requirement brings with it, as Binder would choose."""
    for further in requirements_of(requirement.name, requirement.extras):
        found = canonicalize_name(further.name), frozenset(further.extras)
        if found not in seen:
            seen.add(found)
            needed(further, seen)
    return {name for name, _ in seen} - {OURS}


def binder_pins(root) -> dict[str, str]:
    environment = yaml.safe_load((root / "environment.yml").read_text())
    assert "python=3.11" in environment["dependencies"]
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pip[-1] == "-e ."
    return dict(line.split("==") for line in pip[:-1])


def test_binder_gets_the_versions_of_the_lock(root, lock):
    pins = binder_pins(root)
    assert pins == {name: lock[name] for name in pins}


def test_binder_gets_a_pin_for_every_package_that_the_extras_bring(root):
    names = needed(Requirement(f"{OURS}[batch,notebooks]"), set())
    assert names - set(binder_pins(root)) == set()


def test_binder_starts_without_keras(root):
    assert {"keras", "tensorflow", "tensorflow-cpu", "jax"} & set(binder_pins(root)) == set()


def imported(notebook) -> set[str]:
    """Collect the packages that the code of a chapter imports itself."""
    found = set()
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        for node in ast.walk(ast.parse(re.sub(r"(?m)^( *)[%!].*$", r"\1pass", cell.source))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names


@cache
def modules_of(*extras: str) -> set[str]:
    """Collect what can be imported where the package is installed with these extras."""
    names = needed(Requirement(f"{OURS}[{','.join(extras)}]"), set()) | {OURS}
    homes = importlib.metadata.packages_distributions()
    return {module for module, found in homes.items() if names & {*map(canonicalize_name, found)}}


@pytest.mark.parametrize("chapter", sorted(paths.CHAPTERS.glob("*.ipynb")), ids=lambda c: c.stem)
def test_a_chapter_imports_what_its_install_cell_brings(chapter):
    notebook = nbformat.read(chapter, as_version=4)
    [cell] = identity.install_cells(notebook)
    extras = re.findall(r"mrdcae-lite\[(\w+)\]", cell.source)
    assert imported(notebook) - modules_of(*extras) == set()


def test_the_lock_holds_what_pyproject_asks_for(project, lock):
    groups = [project["project"]["dependencies"], *project["dependency-groups"].values()]
    groups += project["project"]["optional-dependencies"].values()
    for requirement in (Requirement(line) for group in groups for line in group):
        if requirement.name == OURS:
            continue
        assert requirement.specifier.contains(lock[canonicalize_name(requirement.name)]), (
            requirement
        )


def test_every_locked_package_has_hashes_and_no_address(root):
    text = (root / "requirements.lock").read_text()
    entries = re.findall(r"^\S+==.*(?:\n {4}--hash=\S+(?: \\)?)*", text, re.MULTILINE)
    assert len(entries) > 100
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.search(r"://|index-url|find-links|file:", text) is None
