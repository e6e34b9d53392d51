"""The page of all modules is complete, whatever is added to the package."""

import ast
import importlib
import inspect
import pkgutil

import mrdcae_lite
from book.tools import identity, modules, paths


def test_every_public_function_and_class_of_every_module_is_on_the_page():
    """Held against what Python finds when it imports the modules, which the page does not do."""
    page = modules.pages()["modules.md"].decode()
    for found in pkgutil.walk_packages(mrdcae_lite.__path__, "mrdcae_lite."):
        if found.ispkg or found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        own = [
            name
            for name, value in vars(module).items()
            if (inspect.isfunction(value) or inspect.isclass(value))
            and not name.startswith("_")
            and value.__module__ == found.name
        ]
        text = page.partition(f"### `{found.name.removeprefix('mrdcae_lite.')}`")[2]
        assert text or not own, found.name
        section = text.partition("\n### ")[0]
        assert [name for name in own if f"[`{name}`]" not in section] == [], found.name


def test_every_module_has_a_place_and_every_name_says_what_it_is():
    folders = {path.parent.relative_to(paths.PACKAGE).as_posix() for path in modules.modules()}
    assert folders - {"."} == {*modules.FOLDERS} - {""}
    for module in modules.modules():
        assert modules.first_line(ast.parse(module.read_text(encoding="utf-8"))), module
        assert [n.name for n in modules.definitions(module) if not modules.first_line(n)] == []


def test_a_name_leads_to_its_line_in_the_source_of_this_version():
    own = identity.stated()
    module = paths.PACKAGE / "io" / "results.py"
    source = module.read_text(encoding="utf-8").splitlines()
    line = next(n for n, text in enumerate(source, start=1) if text.startswith("def result("))
    place = f"{own.address}/blob/{own.ref}/mrdcae_lite/io/results.py#L{line}"
    assert f"[`result`]({place})" in modules.section(module, own)
