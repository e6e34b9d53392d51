"""Pack the package, and gather what a release consists of.

    python -m book.tools.release pack                wheel and sdist into _build/dist
    python -m book.tools.release gather [--tag TAG]  everything into _build/release

`pack` starts from the tracked files alone, in a folder of their own, where the README's links lead
into the repository, because the package's page elsewhere has no neighbours to link to. `gather`
wants what `make dist`, `make book`, `make print` and `make course` left, and adds the changelog's
section and SHA256SUMS. Of the course only what students get is taken: solutions and autograders
stay.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path

from book.command import UserError, exit_status
from book.tools import identity, paths

DISTRIBUTIONS = paths.BUILD / "dist"
RELEASE = paths.BUILD / "release"
SUMS = "SHA256SUMS"
NOTES = "NOTES.md"
NEIGHBOUR = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)")


def absolute(readme: str, own: identity.Identity) -> str:
    """Return the README with links into the repository where it named files beside it."""

    def link(found: re.Match[str]) -> str:
        picture, text, path = found.groups()
        return f"{picture}[{text}]({own.address}/{'raw' if picture else 'blob'}/{own.ref}/{path})"

    return NEIGHBOUR.sub(link, readme)


def pack() -> None:
    """Build wheel and sdist from the tracked files, with the build tools of the lock."""
    shutil.rmtree(DISTRIBUTIONS, ignore_errors=True)
    with tempfile.TemporaryDirectory() as work:
        for name in identity.tracked(paths.ROOT):
            (Path(work) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(paths.ROOT / name, Path(work) / name)
        readme = Path(work) / "README.md"
        text = absolute(readme.read_text(encoding="utf-8"), identity.stated())
        readme.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "uv", "build", "--quiet", "--no-build-isolation"]
        command += ["--python", sys.executable, "--out-dir", str(DISTRIBUTIONS), work]
        if subprocess.run(
            command, env=os.environ | {"SOURCE_DATE_EPOCH": commit_time()}
        ).returncode:
            raise UserError("the package could not be built; uv says why above")
    for path in distributions():
        print(path.relative_to(paths.ROOT))


def commit_time() -> str:
    """Return the time of the last commit: equal sources make equal wheels."""
    return subprocess.check_output(
        ["git", "log", "-1", "--format=%ct"], cwd=paths.ROOT, text=True
    ).strip()


def distributions() -> list[Path]:
    """Return wheel and sdist of the stated version, and nothing else may lie beside them."""
    version = identity.stated().version
    expected = [f"mrdcae_lite-{version}-py3-none-any.whl", f"mrdcae_lite-{version}.tar.gz"]
    found = sorted(path.name for path in DISTRIBUTIONS.glob("mrdcae_lite*"))
    if found != expected:
        raise UserError(
            f"expected {' and '.join(expected)} in _build/dist, found {found}; run make dist"
        )
    return [DISTRIBUTIONS / name for name in found]


def printed() -> list[Path]:
    """Return the whole book as EPUB and as PDF."""
    found = [paths.PRINT / f"{paths.ARCHIVE.stem}.{kind}" for kind in ("epub", "pdf")]
    if missing := [path.name for path in found if not path.exists()]:
        raise UserError(f"expected {' and '.join(missing)} in _build/print; run make print")
    return found


def course(target: Path) -> None:
    """Pack what students get into one file. The slides lie in the book, whose MathJax they use."""
    files = sorted((paths.COURSE / "pages").glob("*.zip"))
    if not files:
        raise UserError("expected the course in _build/course; run make course")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files:
            packed.write(path, Path(target.stem) / path.name)


def notes(changelog: str, version: str) -> str:
    """Return the section of the changelog about a version, without its title."""
    found = re.search(
        rf"^## {re.escape(version)}\b.*\n((?:(?!^## ).*\n?)*)", changelog, re.MULTILINE
    )
    if found is None or not found[1].strip():
        raise UserError(f"expected a section {version} with words in CHANGELOG.md, found none")
    return found[1].strip() + "\n"


def digests(folder: Path) -> str:
    """Return the lines of SHA256SUMS for all other files of a folder, as `sha256sum` has them."""
    files = sorted(path for path in folder.iterdir() if path.name != SUMS)
    return "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in files)


def gather(tag: str) -> None:
    """Put all files of a release into one folder, with their sums."""
    own = identity.stated()
    if ".dev" in own.version:
        raise UserError(f"{own.version} is in development; run make address VERSION=... first")
    if tag not in ("", own.ref):
        raise UserError(f"expected the tag {own.ref} of the version in pyproject.toml, got {tag!r}")
    changelog = (paths.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if tag and f"## {own.version} (unreleased)" in changelog:
        raise UserError(f"expected the date of {own.version} in CHANGELOG.md, found (unreleased)")
    if not paths.ARCHIVE.exists():
        raise UserError(f"expected the book in {paths.ARCHIVE.name}; run make book")
    shutil.rmtree(RELEASE, ignore_errors=True)
    RELEASE.mkdir(parents=True)
    for path in distributions():
        shutil.copy(path, RELEASE)
    shutil.copy(paths.ARCHIVE, RELEASE / f"mrdcae-lite-book-{own.version}.zip")
    for path in printed():
        shutil.copy(path, RELEASE / f"{path.stem}-{own.version}{path.suffix}")
    course(RELEASE / f"mrdcae-lite-course-{own.version}.zip")
    (RELEASE / NOTES).write_text(notes(changelog, own.version), encoding="utf-8")
    shutil.copy(paths.ROOT / "CITATION.cff", RELEASE)
    sums = digests(RELEASE)
    (RELEASE / SUMS).write_text(sums, encoding="utf-8")
    print(sums, end="")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="release", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("pack", "gather"))
    parser.add_argument("--tag", default="", help="the tag that is released, to be compared")
    options = parser.parse_args()
    work = pack if options.what == "pack" else partial(gather, options.tag)
    sys.exit(exit_status("release", work))
