"""The leaderboard scores real files, and one bad submission harms nobody else."""

import csv
import json
import zipfile

import nbformat
import numpy as np
import pytest

import mrdcae_lite as mr
from book.course import entries, leaderboard
from mrdcae_lite.evaluation.baselines import BASELINES

HONEST = """
import struct, zlib
import numpy as np
from scipy.fft import dctn, idctn


def encode(image, quality):
    step = (90, 60, 36, 20, 10)[quality]
    rows, columns = image.shape[0] // 8, image.shape[1] // 8
    blocks = (image - 128.0).reshape(rows, 8, columns, 8, 3)
    symbols = np.rint(dctn(blocks, axes=(1, 3), norm="ortho") / step).astype("<i2")
    packed = zlib.compress(symbols.transpose(1, 3, 4, 0, 2).tobytes(), 9)
    return struct.pack("<HHB", rows, columns, step) + packed


def decode(data):
    rows, columns, step = struct.unpack("<HHB", data[:5])
    symbols = np.frombuffer(zlib.decompress(data[5:]), "<i2").reshape(8, 8, 3, rows, columns)
    amounts = symbols.transpose(3, 0, 4, 1, 2) * float(step)
    pixels = idctn(amounts, axes=(1, 3), norm="ortho").reshape(rows * 8, columns * 8, 3)
    return np.clip(np.rint(pixels + 128), 0, 255).astype(np.uint8)
"""

WRONG = {
    "crashes": ("def encode(image, quality): return 1 / 0", "encode: ZeroDivisionError"),
    "eats": (
        "def encode(image, quality): return [bytes(1 << 26) for _ in range(100)]",
        "encode: took more than 2048 MiB of memory",
    ),
    "floods": (
        "def encode(image, quality): return bytes(10 * image.size)",
        "encode returned more than",
    ),
    "silent": ("def encode(image, quality): return b''", "encode at quality 0 returned no bytes"),
    "leaves": ("import os\ndef encode(image, quality): os._exit(3)", "encode ended with 3"),
    "empty": ("", "encode: AttributeError"),
    "broken": ("def encode(image, quality:", "broken.py, line 1"),
    "borrows": ("from PIL import Image", "imports PIL.Image; allowed are numpy"),
    "shells": (
        "import os\ndef encode(image, quality): os.system('true')",
        "a codec may not use os.system",
    ),
    "lies": (
        "class Small(bytes):\n    def __len__(self): return 1\n"
        "def encode(image, quality): return Small(image.tobytes())",
        "encode: TypeError: expected bytes. Received: Small",
    ),
    "remembers": (
        "kept = {}\ndef encode(image, quality):\n    kept[0] = image\n    return b'0'\n"
        "def decode(data): return kept[0]",
        "decode: KeyError",
    ),
    "shrinks": (
        "import numpy as np\ndef encode(image, quality): return b'0'\n"
        "def decode(data): return np.zeros((8, 8, 3), np.uint8)",
        "decode returned a picture of (8, 8, 3), expected (64, 64, 3)",
    ),
    "floats": (
        "import numpy as np\ndef encode(image, quality): return b'0'\n"
        "def decode(data): return np.zeros((64, 64, 3))",
        "decode: TypeError: expected a uint8 array (height, width, 3). Received: float64",
    ),
    "constant": (
        HONEST.replace("(90, 60, 36, 20, 10)[quality]", "30"),
        "must grow with the rate",
    ),
    "narrow": (
        HONEST.replace("(90, 60, 36, 20, 10)", "(40, 38, 36, 34, 32)"),
        "spread the qualities over 5 dB at least",
    ),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    mr.write_image(folder / "petals.png", mr.sample("flowers")[200:264, 240:304])
    return folder


@pytest.fixture
def scored(pictures, tmp_path, capsys):
    """Writes submissions and returns what the program said about them, and its exit status."""

    def run(sources, *options):
        files = []
        for name, source in sources.items():
            files.append(tmp_path / f"{name}.py")
            files[-1].write_text(source, "utf-8")
        status = leaderboard.main([*map(str, files), "--pictures", str(pictures), *options])
        return status, capsys.readouterr().out

    return run


def test_an_honest_codec_gets_the_rate_that_its_own_files_have(scored, pictures, tmp_path):
    status, said = scored({"honest": HONEST}, "--to", str(tmp_path / "out"))
    assert status == 0
    space: dict = {}
    exec(HONEST, space)
    image = mr.read_image(pictures / "petals.png")
    files = [space["encode"](image, quality) for quality in range(5)]
    jpeg = [BASELINES["jpeg"].encode(image, quality) for quality in BASELINES["jpeg"].sweep]
    expected = mr.bd_rate(
        [len(file) for file in jpeg],
        [mr.psnr(image, BASELINES["jpeg"].decode(file), data_range=255) for file in jpeg],
        [len(file) for file in files],
        [mr.psnr(image, space["decode"](file), data_range=255) for file in files],
    )
    found = json.loads((tmp_path / "out" / "leaderboard.json").read_text("utf-8"))["scores"][0]
    assert found["psnr_rates"] == [pytest.approx(expected.percent)]
    assert found["ranges"] == [[pytest.approx(expected.low), pytest.approx(expected.high)]]
    assert f"{expected.percent:+.1f} %" in said


def test_the_better_codec_is_first_and_failures_follow_with_their_reason(scored, tmp_path):
    wasteful = HONEST.replace("zlib.compress(", "bytes(200) + zlib.compress(")
    wasteful = wasteful.replace("data[5:]", "data[205:]")
    sources = {"wasteful": wasteful, "crashes": WRONG["crashes"][0], "honest": HONEST}
    status, said = scored(sources, "--to", str(tmp_path / "out"))
    assert status == 0
    assert said.index("honest") < said.index("wasteful") < said.index("crashes")
    with (tmp_path / "out" / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["rank"], row["submission"]) for row in rows] == [
        ("1", "honest"),
        ("2", "wasteful"),
        ("", "crashes"),
    ]
    assert "ZeroDivisionError" in rows[2]["failure"]


def test_every_wrong_submission_gets_one_line_that_says_what_is_wrong(scored):
    sources = {name: source for name, (source, _) in WRONG.items()}
    status, said = scored(sources, "--seconds", "600")
    assert status == 1
    lines = [line.split(": ", 1) for line in said.splitlines()[1:]]
    assert [name.split()[-1] for name, _ in lines] == list(WRONG)
    for (_, reason), (name, (_, expected)) in zip(lines, WRONG.items(), strict=True):
        assert expected in reason, name


@pytest.mark.parametrize("body", ["while True: pass", "import time; time.sleep(10**6)"])
def test_a_call_that_does_not_end_is_ended(scored, body):
    status, said = scored({"endless": f"def encode(image, quality):\n    {body}"}, "--seconds", "1")
    assert status == 1
    assert "encode took more than 1 s" in said


def test_a_codec_leaves_nothing_behind_for_its_decoder(scored, tmp_path):
    side = tmp_path / "side.npy"
    source = (
        "import numpy as np\n"
        f"def encode(image, quality):\n    np.save({str(side)!r}, image)\n    return b'0'\n"
        f"def decode(data): return np.load({str(side)!r})\n"
    )
    assert "a codec may not write files" in scored({"writes": source})[1]
    assert not side.exists()


def test_a_decoder_cannot_look_the_picture_up(scored, pictures):
    source = (
        "import numpy as np\n"
        "def encode(image, quality): return b'0'\n"
        f"def decode(data): return open({str(pictures / 'petals.png')!r}, 'rb').read()\n"
    )
    assert "a codec may not read petals.png" in scored({"looks": source})[1]


def test_a_folder_may_bring_tables_but_not_too_many(tmp_path, pictures, capsys):
    folder = tmp_path / "ada"
    folder.mkdir()
    (folder / "codec.py").write_text("from tables import *\n" + HONEST, "utf-8")
    (folder / "tables.py").write_text("ZIGZAG = 1\n", "utf-8")
    assert leaderboard.main([str(folder), "--pictures", str(pictures)]) == 0
    assert " ada " in capsys.readouterr().out
    np.save(folder / "memory.npy", np.zeros(100_000))
    assert leaderboard.main([str(folder), "--pictures", str(pictures)]) == 1
    assert "its tables included; 200,000 may be" in capsys.readouterr().out


def test_entries_are_collected_from_archives_folders_and_notebooks(tmp_path, capsys):
    cell = nbformat.v4.new_code_cell
    writes = nbformat.v4.new_notebook(cells=[cell("open('codec.py', 'w').write('# of ada')")])
    silent = nbformat.v4.new_notebook(cells=[cell("1")])
    folder = tmp_path / "in"
    (folder / "bob").mkdir(parents=True)
    nbformat.write(writes, folder / "ada.ipynb")
    nbformat.write(writes, folder / "bob" / "study.ipynb")
    (folder / "bob" / "codec.py").write_text("# of bob")
    nbformat.write(silent, folder / "eve.ipynb")
    (folder / "codec.py").write_text("# of nobody")
    (folder / "dan").mkdir()
    nbformat.write(silent, folder / "dan" / "study.ipynb")
    (folder / "dan" / "codec.py").symlink_to("../bob/codec.py")
    with zipfile.ZipFile(folder / "fay.zip", "w") as archive:
        archive.writestr("codec.py", "# of fay")
    locked = bytearray((folder / "fay.zip").read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        locked[locked.index(mark) + place] |= 1  # says that a password is needed
    (folder / "fay.zip").write_bytes(locked)
    with zipfile.ZipFile(folder / "Max Doe_31_assignsubmission_file_work.zip", "w") as archive:
        archive.writestr("study.ipynb", nbformat.writes(silent))
        archive.writestr("codec.py", "# of max")
        archive.writestr("__MACOSX/codec.py", "no")
    assert entries.main([str(folder), "--to", str(tmp_path / "out")]) == 0
    found = {p.parent.name: p.read_text() for p in (tmp_path / "out").rglob("codec.py")}
    assert found == {"ada": "# of ada", "bob": "# of bob", "31": "# of max"}
    said = capsys.readouterr().out
    for name in ("eve.ipynb", "dan/study.ipynb"):
        assert f"no entry: {name}: its notebook writes no codec.py" in said
    assert "no entry: fay.zip: File 'codec.py' is encrypted" in said
    assert "no entry: codec.py: expected .ipynb or .zip" in said


def test_a_missing_file_and_a_folder_without_pictures_are_said_in_a_line(
    tmp_path, pictures, capsys
):
    assert leaderboard.main([str(tmp_path / "no.py"), "--pictures", str(pictures)]) == 1
    assert "expected a file no.py, found none" in capsys.readouterr().out
    assert leaderboard.main(["codec.py", "--pictures", str(tmp_path)]) == 2
    assert "expected at least one picture" in capsys.readouterr().err
    assert leaderboard.main(["ada.py", "ada/ada.py", "--pictures", str(pictures)]) == 2
    assert "expected a name for each submission. Received: ada, ada." in capsys.readouterr().err


def test_a_file_is_scored_without_what_lies_beside_it(tmp_path, pictures, capsys):
    folder = tmp_path / "bob"
    folder.mkdir()
    (folder / "codec.py").write_text(HONEST, "utf-8")
    (folder / "notes.py").write_text("from PIL import Image\n", "utf-8")
    np.save(folder / "photographs.npy", np.zeros(100_000))
    assert leaderboard.main([str(folder / "codec.py"), "--pictures", str(pictures)]) == 0
    assert " bob " in capsys.readouterr().out
