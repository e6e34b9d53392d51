"""The repository's address and the version: their home is pyproject.toml, and here is all the rest.

    python -m book.tools.identity [--url https://github.com/OWNER/NAME] [--version VERSION]

writes both, as they stand in pyproject.toml or as they are given, into every file of the project
that names them: links, the addresses of the published book and of Binder and Colab, the cells by
which a chapter installs what it needs. Whatever links into the repository names the version's tag,
`v0.1.0`, so that text, notebook and package belong together; a version that is in development
(`0.2.0.dev0`) has no tag, and its links name the branch `main`.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from book.command import UserError, exit_status
from book.tools import paths

BINDER = "mybinder.org/v2/gh"
SERVICES = ("github.com", BINDER, "colab.research.google.com/github")
FOREIGN = ("requirements.lock", "web/vendor/")  # what others wrote
VERSIONS = {  # the files beside pyproject.toml that state the version, and how
    "pyproject.toml": r'(?<=^version = ")[^"]+',
    "CITATION.cff": r"(?<=^version: ).+",
    "web/package.json": r'(?<="version": ")[^"]+',
}
NEEDED = ("mrdcae_lite", "ipywidgets", "matplotlib", "skimage")
KERAS = re.compile(
    r"\bimport keras\b|\bfrom keras\b|\bmr\.MRDCAE\b|\.to_model\("
    r"|\bmrdcae_lite\.training\.(?!augmentation|complexity)"
)
"""What brings Keras into a chapter; two modules of `training` are plain arithmetic."""


@dataclass(frozen=True)
class Identity:
    """Where the project lives, `https://github.com/OWNER/NAME`, and which version it is."""

    address: str
    version: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]*[\w-]", self.address):
            raise UserError(
                "expected an address like https://github.com/OWNER/NAME, without anything behind "
                f"it, got {self.address!r}"
            )
        if not re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", self.version):
            raise UserError(
                f"expected a version like 0.1.0 or 0.2.0.dev0 in development, got {self.version!r}"
            )

    @property
    def slug(self) -> str:
        """Owner and name of the repository."""
        return self.address.removeprefix("https://github.com/")

    @property
    def pages(self) -> str:
        """Where the book is published, without the scheme."""
        owner, name = self.slug.split("/")
        return f"{owner.lower()}.github.io/{name}"

    @property
    def ref(self) -> str:
        """What a link into the repository names: the version's tag, or the branch."""
        return "main" if ".dev" in self.version else f"v{self.version}"

    @property
    def release(self) -> str:
        """The version that is, or will be, released."""
        return self.version.partition(".dev")[0]


def stated(root: Path = paths.ROOT) -> Identity:
    """Read the identity from its home."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return Identity(project["urls"]["Repository"], project["version"])


def updated(text: str, old: Identity, new: Identity) -> str:
    """Return a text that names the project as `new`, where it named it as `old` with any ref."""
    services = "|".join(map(re.escape, SERVICES))
    slug = re.escape(old.slug) + r"(?![\w-])"
    place = rf"(git\+https://)?({services})/{slug}(@|/(?:blob|raw|tree)/|/)?([\w.]*)"
    text = re.sub(place, partial(_link, new), text)
    return re.sub(rf"{re.escape(old.pages)}(?![\w-])", new.pages, text)


def _link(new: Identity, found: re.Match[str]) -> str:
    """Name the new repository in a link, and its ref where the link has one or needs one."""
    git, service, joint, word = found.groups(default="")
    named = git or joint not in ("", "/") or (service == BINDER and joint)
    return f"{git}{service}/{new.slug}{'@' if git else joint}{new.ref if named else word}"


def install_cell(notebook: NotebookNode, identity: Identity) -> str:
    """Return the cell by which a chapter installs what it needs, and nothing that is there."""
    lines = [
        "from importlib.util import find_spec",
        "",
        f'address = "git+{identity.address}@{identity.ref}"',
        f"needed = {NEEDED!r}".replace("'", '"'),
        "if not all(map(find_spec, needed)):",
        '    %pip install --quiet "mrdcae-lite[notebooks] @ {address}"',
    ]
    if any(KERAS.search(cell.source) for cell in notebook.cells if cell.cell_type == "code"):
        lines += [
            'if not find_spec("keras"):',
            '    %pip install --quiet "mrdcae-lite[tensorflow] @ {address}"',
        ]
    return "\n".join(lines)


def install_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the cells of a chapter that install something."""
    code = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [cell for cell in code if "%pip install" in cell.source]


def tracked(root: Path) -> list[str]:
    """List the files of a clone that a commit holds or can hold."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output(command, cwd=root, text=True).splitlines()
    return [name for name in names if (root / name).is_file()]


def write(root: Path, old: Identity, new: Identity) -> list[str]:
    """Make every file below `root` name the project as `new`; return the files that changed."""
    changed = []
    for name in tracked(root):
        if name.startswith(FOREIGN):
            continue
        try:
            before = (root / name).read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        after = updated(before, old, new)
        if name in VERSIONS:
            version = new.release if name == "web/package.json" else new.version
            after = re.sub(VERSIONS[name], version, after, count=1, flags=re.MULTILINE)
        if name == "_config.yml":
            after = re.sub(r"(?<=^  branch: ).+", new.ref, after, flags=re.MULTILINE)
        if name.startswith("book/chapters/") and name.endswith(".ipynb"):
            after = with_install_cell(after, new)
        if after != before:
            (root / name).write_bytes(after.encode("utf-8"))
            changed.append(name)
    return changed


def with_install_cell(chapter: str, identity: Identity) -> str:
    """Return the text of a chapter whose install cell is the one that `install_cell` gives."""
    notebook = nbformat.reads(chapter, as_version=4)
    for cell in install_cells(notebook):
        cell.source = install_cell(notebook, identity)
    return nbformat.writes(notebook) + "\n"


def run(arguments: argparse.Namespace) -> None:
    """Write address and version everywhere and name the files that changed."""
    old = stated()
    address = (arguments.url or old.address).removesuffix("/").removesuffix(".git")
    new = Identity(address, arguments.version or old.version)
    changed = write(paths.ROOT, old, new)
    print("\n".join(changed) if changed else "nothing changed")
    print(f"{new.address}, version {new.version}, links to {new.ref}, book at https://{new.pages}/")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="identity", description=__doc__.partition("\n")[0])
    parser.add_argument("--url", default="", help="https://github.com/OWNER/NAME")
    parser.add_argument("--version", default="", help="such as 0.1.0, or 0.2.0.dev0 in development")
    sys.exit(exit_status("identity", partial(run, parser.parse_args())))
