"""Try the packed package as a stranger would: in a new environment, away from this folder.

    python -m book.tools.trial SETTING [--with PYTHON] [--package FILE]

builds an environment in _build/trials, installs the wheel (or any other packed file) from
_build/dist, runs what the README shows, and then those of the package's own tests that need
nothing which the setting leaves out. It needs no package but uv, and no environment of the book.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from book.command import UserError, exit_status
from book.tools import paths

TRIALS = paths.BUILD / "trials"
DISTRIBUTIONS = paths.BUILD / "dist"
TOOLS = (
    "beautifulsoup4>=4.15",
    "bjontegaard>=1.3",
    "hypothesis>=6",
    "pytest>=9",
    "pytest-xdist>=3.8",
    "pyyaml>=6",
)
NEEDED = (
    "tests",
    "pyproject.toml",
    "README.md",
    "book/back",
    "book/results",
    "mrdcae_lite/samples",
)
"""What the tests read besides the package: none of its code."""

PLAIN = (
    "tests/golden/test_golden_streams.py", "tests/golden/test_matrix.py", "tests/unit/coding",
    "tests/unit/core", "tests/unit/io/test_images.py", "tests/unit/io/test_pillow_plugin.py",
    "tests/unit/io/test_results.py",
)  # fmt: skip
ALL = ("tests/golden", "tests/properties", "tests/unit")
TRAINING = tuple(
    f"tests/unit/training/test_{name}.py"
    for name in ("augmentation", "backend", "context_prior", "data", "run")
)
RUNTIME = ("onnxruntime>=1.20",)
EXPORT = ("tests/unit/training/test_export.py",)
COMPILED = tuple(
    f"tests/unit/training/test_run.py::test_{name}"
    for name in (
        "devices_that_share_each_batch_learn_what_one_does_and_go_on_with_its_checkpoint",
        "the_compiled_model_is_trained_and_resumed_exactly[jax]",
    )
)
EVERYTHING = "all,cluster,completion,onnx"


@dataclass(frozen=True)
class Setting:
    """What is installed, and which tests can run with it.

    `resolution` is one of uv's; `pins` are exact versions, as a notebook service has them. Of the
    tests that are marked as slow only those in `slow` run; `tools` are what they need besides.
    """

    tests: tuple[str, ...]
    extras: str = ""
    resolution: str = "highest"
    pins: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()


SETTINGS = {
    "plain": Setting(PLAIN),
    "newest": Setting(ALL, EVERYTHING, slow=EXPORT, tools=RUNTIME),
    "lowest": Setting(ALL, EVERYTHING, "lowest-direct", slow=EXPORT, tools=RUNTIME),
    "jax": Setting(TRAINING, "evaluation,jax", slow=COMPILED),
    # What Google Colab had in November 2026, on Python 3.13.
    "colab": Setting(
        ALL, "all,completion", pins=(
            "ipywidgets==7.7.1", "keras==3.13.2", "numpy==2.1.3", "pillow==11.3.0",
            "scikit-image==0.25.2", "tensorflow-cpu==2.20.0",
        ),
    ),
}  # fmt: skip


def packed() -> Path:
    """Return the one wheel in _build/dist."""
    wheels = sorted(DISTRIBUTIONS.glob("*.whl"))
    if len(wheels) != 1:
        raise UserError(
            f"expected one wheel in {DISTRIBUTIONS}, found {len(wheels)}; run make dist"
        )
    return wheels[0]


def program(environment: Path, name: str) -> Path:
    """Return the path of a program of a virtual environment."""
    return environment / ("Scripts" if os.name == "nt" else "bin") / name


def call(command: list[str | Path], folder: Path) -> None:
    """Run a command in a folder, with nothing of this project on its path."""
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(command, cwd=folder, env=environment)
    if done.returncode != 0:
        raise UserError(f"{shlex.join(map(str, command))} ended with {done.returncode}")


def install(environment: Path, python: str, package: Path, setting: Setting) -> Path:
    """Make a new environment with the package, its extras and the test tools; return its Python."""
    uv: list[str | Path] = [sys.executable, "-m", "uv"]
    call([*uv, "venv", "--quiet", "--clear", "--python", python, environment], paths.ROOT)
    own = program(environment, "python")
    wanted = f"{package}[{setting.extras}]" if setting.extras else str(package)
    named = direct(setting.extras)  # so that uv takes their bounds, too, for direct ones
    put: list[str | Path] = [*uv, "pip", "install", "--quiet", "--python", own]
    call([*put, "--resolution", setting.resolution, wanted, *named, *setting.pins], paths.ROOT)
    print(subprocess.check_output([*uv, "pip", "list", "--python", own], text=True))
    call([*put, *TOOLS, *setting.tools], paths.ROOT)
    return own


def direct(extras: str) -> list[str]:
    """Return what the package asks for with these extras, and with those that they name."""
    text = (paths.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project, found = tomllib.loads(text)["project"], []
    names = [name for name in extras.split(",") if name]
    for name in names:
        for line in project["optional-dependencies"][name]:
            ours = re.fullmatch(r"mrdcae-lite\[(.+)\]", line)
            if ours:
                names += [one for one in ours[1].split(",") if one not in names]
            else:
                found.append(line)
    return [*project["dependencies"], *found]


def blocks(language: str) -> list[str]:
    """Return the blocks of code of the README in a language."""
    text = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def show(own: Path, folder: Path) -> None:
    """Run what the README shows, and see that it was the installed package that did it."""
    shutil.copyfile(paths.PACKAGE / "samples" / "flowers.png", folder / "photo.png")
    where = "import mrdcae_lite, sys; print(mrdcae_lite.__file__); sys.exit({!r} not in {})"
    call([own, "-c", where.format("site-packages", "mrdcae_lite.__file__")], folder)
    for block in blocks("python"):
        call([own, "-c", block], folder)
    command = own.with_name("mrdcae")
    call([command, "--version"], folder)
    lines = (line for block in blocks("sh") for line in block.splitlines())
    for line in lines:
        if line.startswith("mrdcae "):
            call([command, *shlex.split(line)[1:]], folder)


def try_out(options: argparse.Namespace) -> None:
    """Install, show, test."""
    setting = SETTINGS[options.setting]
    package = options.package.resolve() if options.package else packed()
    folder = TRIALS / options.setting
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    own = install(folder / "environment", options.python, package, setting)
    (folder / "shown").mkdir()
    show(own, folder / "shown")
    for path in NEEDED:
        source, target = paths.ROOT / path, folder / "tested" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = partial(shutil.copytree, ignore=shutil.ignore_patterns("__pycache__"))
        (copy if source.is_dir() else shutil.copyfile)(source, target)
    pytest: list[str | Path] = [own, "-m", "pytest", "--quiet", "--numprocesses", str(options.jobs)]
    pytest += ["-p", "no:cacheprovider", "--override-ini", "pythonpath="]
    pytest += ["--override-ini", "filterwarnings=default"]  # other versions warn of other things
    call([*pytest, "-m", "not slow", *setting.tests], folder / "tested")
    if setting.slow:
        call([*pytest, "-m", "slow", *setting.slow], folder / "tested")
    print(json.dumps({"setting": options.setting, "python": options.python, "file": package.name}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="trial", description=__doc__.partition("\n")[0])
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--with", dest="python", default=sys.executable, help="a Python, or 3.12")
    parser.add_argument("--package", type=Path, help="a wheel or sdist, not that of _build/dist")
    parser.add_argument("--jobs", type=int, default=2, help="processes of the tests")
    sys.exit(exit_status("trial", partial(try_out, parser.parse_args())))
