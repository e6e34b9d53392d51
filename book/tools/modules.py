"""The page that lists all modules of the package, made from their source without importing them."""

import ast
from pathlib import Path

from book.tools import identity, paths

FOLDERS = {  # in the order in which the code builds on itself
    "core": "Quantities and arrays",
    "coding": "Bytes",
    "runtime": "The frozen codec",
    "": "Codec and command",
    "io": "Files",
    "training": "Training",
    "evaluation": "Measuring",
    "notebook": "Figures for notebooks",
}
INTRODUCTION = """# The package, module by module

All public functions and classes with the first line of what they say about themselves; a name
leads to its source, `help` shows the rest. {doc}`back/api` describes in full those that most people
need. What begins with an underscore is left out here; {doc}`back/versions` says what may change,
and how it is announced.
"""
Definition = ast.FunctionDef | ast.ClassDef


def modules() -> list[Path]:
    """List the modules of the package that define something."""
    found = sorted(paths.PACKAGE.rglob("*.py"))
    return [path for path in found if not path.stem.startswith("__")]


def definitions(module: Path) -> list[Definition]:
    """Return the public functions and classes of a module, in its order."""
    body = ast.parse(module.read_text(encoding="utf-8")).body
    return [n for n in body if isinstance(n, Definition) and not n.name.startswith("_")]


def first_line(node: ast.Module | Definition) -> str:
    """Return the first line of a docstring, as Markdown shows it in a table."""
    return (ast.get_docstring(node) or "").partition("\n")[0].replace("|", "\\|")


def section(module: Path, own: identity.Identity) -> str:
    """Return what the page says about a module."""
    place = module.relative_to(paths.ROOT).as_posix()
    name = place.removesuffix(".py").replace("/", ".").partition(".")[2]
    said = first_line(ast.parse(module.read_text(encoding="utf-8")))
    source = f"{own.address}/blob/{own.ref}/{place}"
    rows = [
        f"| [`{n.name}`]({source}#L{n.lineno}) | {first_line(n)} |" for n in definitions(module)
    ]
    return "\n".join([f"### `{name}`\n", f"{said}\n", "| name | what |", "|---|---|", *rows, ""])


def pages() -> dict[str, bytes]:
    """Return the page by its name in the book."""
    own, parts = identity.stated(), [INTRODUCTION]
    for folder, title in FOLDERS.items():
        inside = (m for m in modules() if m.parent == paths.PACKAGE / folder)
        parts += [
            f"## {title}\n",
            *(section(module, own) for module in inside if definitions(module)),
        ]
    return {"modules.md": "\n".join(parts).encode()}
