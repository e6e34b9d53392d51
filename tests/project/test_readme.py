import json
import re
import shlex
from pathlib import Path

from mrdcae_lite.cli import main
from mrdcae_lite.images import sample, write_image


def blocks(root: Path, language: str) -> list[str]:
    text = (root / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_python_in_the_readme_runs_and_restores_the_photograph(root, capsys):
    names: dict = {}
    for block in blocks(root, "python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["restored"].shape == names["image"].shape
    assert len(names["data"]) < names["image"].nbytes / 10
    assert "bits per pixel" in capsys.readouterr().out


def test_the_commands_in_the_readme_run_in_their_order(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(Path("photo.png"), sample("flowers"))
    lines = [line for block in blocks(root, "sh") for line in block.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("mrdcae ")]
    assert [main(command) for command in commands] == [0] * len(commands)
    assert Path("restored.png").exists()


def test_the_make_targets_in_the_readme_exist(root):
    lines = [line for block in blocks(root, "sh") for line in block.splitlines()]
    asked = {line.split()[1] for line in lines if line.startswith("make ")}
    defined = set(re.findall(r"^(\w+):", (root / "Makefile").read_text(), re.MULTILINE))
    assert {"book", "test"} <= asked <= defined


def test_the_figures_in_the_readme_are_the_committed_ones(root):
    """Gain and BD-rates against JPEG, in the order of the text."""
    text = (root / "README.md").read_text(encoding="utf-8")
    paragraph = next(p for p in text.split("\n\n") if p.startswith("How good is it?"))
    stated = re.findall(r"-?\d+\.\d+", paragraph)

    def figure(run: str, value: str) -> float:
        path = root / "book" / "results" / "experiments" / f"{run}.json"
        return json.loads(path.read_text())["values"][value]["value"]

    rates = [
        f"{figure(run, f'{codec}_bd_rate_{measure}'):.1f}"
        for run, codecs in (
            ("codecs-bundled", ("mrdcae", "webp", "jpeg2000", "avif")),
            ("codecs-kodak", ("mrdcae", "standard")),
        )
        for codec in codecs
        for measure in ("psnr", "ssim")
    ]
    assert stated == [f"{figure('codecs-bundled', 'mrdcae_gain'):.2f}", *rates]
