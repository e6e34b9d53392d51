import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mrdcae_lite as mr

ROOT = Path(__file__).parents[2]

PLAIN = """
import sys
import mrdcae_lite as mr
from mrdcae_lite.cli import main

codec, picture = mr.load(), mr.sample("flowers")[:40, :50]
data = codec.compress(picture, quality=20)
assert codec.decompress(data).shape == picture.shape
codec.save("plain.keras-codec")
mr.write_image("a.png", picture)
model = ["--model", "plain.keras-codec"]
for command in (
    ["compress", "a.png", "a.mrdc", *model],
    ["decompress", "a.mrdc", "b.png", *model],
    ["info", "a.mrdc"],
    ["models"],
):
    assert main(command) == 0, command
print(sorted({"keras", "tensorflow", "jax", "torch", "scipy", "skimage", "joblib", "ipywidgets",
    "matplotlib"} & set(sys.modules)))
print(mr.MRDCAE.__name__, "keras" in sys.modules)
"""


def test_what_an_extra_brings_is_loaded_only_when_it_is_asked_for(tmp_path):
    command = [sys.executable, "-c", PLAIN]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["[]", "MRDCAE True"]


def test_every_public_name_is_there_and_no_other():
    inside = {module.name for module in pkgutil.iter_modules(mr.__path__)}
    public = {name for name in dir(mr) if not name.startswith("_")}
    assert public - inside == set(mr.__all__)
    assert all(hasattr(mr, name) for name in dir(mr))
    with pytest.raises(AttributeError, match="module 'mrdcae_lite' has no attribute 'DCAE'"):
        mr.DCAE  # noqa: B018


@pytest.mark.parametrize(
    ("name", "missing", "extra"),
    [
        ("ssim", "skimage", "evaluation"),
        ("bd_rate", "scipy", "evaluation"),
        ("MRDCAE", "keras", "tensorflow"),
    ],
)
def test_a_name_whose_extra_is_not_installed_says_which_one(name, missing, extra):
    """In a process of its own, where nothing is imported yet and the package cannot be found."""
    code = f"import sys; sys.modules[{missing!r}] = None; import mrdcae_lite as mr; mr.{name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: expected the package {missing}. Received: none of that name is installed. "
        f'Install the extra that brings it: pip install "mrdcae-lite[{extra}]".'
    )


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert mr.__version__ == project["version"]


def test_the_package_says_that_it_is_typed():
    assert Path(mr.__file__).with_name("py.typed").is_file()


def test_every_public_name_is_on_the_page_of_the_api():
    page = (ROOT / "book" / "back" / "api.md").read_text(encoding="utf-8")
    assert [name for name in mr.__all__ if f":: mrdcae_lite.{name}\n" not in page] == []
