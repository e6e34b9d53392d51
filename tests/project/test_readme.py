import json
import re
import shlex
from pathlib import Path

import mrdcae_lite as mr
from mrdcae_lite.cli import main
from mrdcae_lite.io.images import sample, write_image


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
    """The gain in the sentence, and the BD-rates against JPEG in the table."""
    text = (root / "README.md").read_text(encoding="utf-8")
    sentence, table = text.partition("## How good is it?\n\n")[2].split("\n\n")[:2]

    def figure(run: str, value: str) -> float:
        path = root / "book" / "results" / "experiments" / f"{run}.json"
        return json.loads(path.read_text())["values"][value]["value"]

    assert re.findall(r"\d+\.\d+", sentence) == [f"{figure('codecs-bundled', 'mrdcae_gain'):.2f}"]
    assert figure("codecs-bundled", "mrdcae_wins") == 1
    titles = {
        "WebP": "webp",
        "JPEG 2000": "jpeg2000",
        "standard autoencoder": "standard",
        "AVIF, 4:2:0, speed 6": "avif",
        "AVIF, 4:4:4, speed 3": "avif444",
        "MR-DCAE lite": "mrdcae",
        "MR-DCAE lite, effort 5": "mrdcae_effort5",
    }
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == list(titles)
    for title, *stated in rows:
        rates = [
            f"{figure(run, f'{titles[title]}_bd_rate_{measure}'):.1f} %"
            for run in ("codecs-bundled", "codecs-kodak")
            for measure in ("psnr", "ssim")
        ]
        assert stated == rates


def test_the_table_of_extras_has_those_of_the_package(root, project):
    text = (root / "README.md").read_text(encoding="utf-8")
    table = text.partition("| extra |")[2].partition("\n\n")[0]
    names = re.findall(r"`(\w+)`", "".join(re.findall(r"^\|(.*?)\|", table, re.MULTILINE)))
    extras = project["project"]["optional-dependencies"]
    assert sorted(names) == sorted(extras)
    whole = re.search(r"^\| `all` \|(.*?)\|", table, re.MULTILINE)[1]
    assert f"[{','.join(sorted(re.findall(r'`(.+?)`', whole)))}]" in extras["all"][0]


def test_the_table_of_what_else_there_is_has_the_committed_figures(root):
    """BD-rates of mean curves on Kodak, those of others as they published them."""
    text = (root / "README.md").read_text(encoding="utf-8")
    table = text.partition("| BD-rate, Kodak |\n")[2].partition("\n\n")[0]
    stated = [line.split("|")[-2].strip() for line in table.splitlines()[1:]]
    kodak = mr.result("kodak")["codecs"]
    ours = [kodak[name]["psnr"]["of_mean_curves"] for name in ("webp", "avif444", "mrdcae")]
    others = mr.result("published_kodak")["curves"]["cheng2020-anchor"]
    rates = [f"{entry['bd_rate']:.1f} %" for entry in (*ours[:2], others, ours[2])]
    assert stated == [*rates[:3], "", rates[3]]


def test_the_first_screen_has_a_sentence_a_picture_ten_lines_and_the_two_commands(root):
    screen = (root / "README.md").read_text(encoding="utf-8").partition("\n## ")[0]
    assert re.search(r'<img src="book/assets/[\w-]+\.svg" [^>]*alt="[^"]{40,}">', screen)
    assert len([line for line in blocks(root, "python")[0].splitlines() if line]) <= 10
    for needed in ("pip install", "import mrdcae_lite", "make book", "make test"):
        assert needed in screen
    assert len(screen.splitlines()) < 45
