"""Whole data sets: from archives and from single files, from servers and from mirror folders."""

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from data_scripts import DataError, clic2020, div2k, fetch, kodak, photos

from .conftest import Page, Server
from .test_download import sha

Files = dict[str, bytes]


@pytest.fixture
def files(tiny: Callable[[str], bytes]) -> Files:
    return {f"kodim{i:02d}.png": tiny("png") for i in range(1, 25)}


@pytest.fixture
def mirror(tmp_path: Path, files: Files) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def zip_of(files: Files) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"valid/{name}", content)
    return out.getvalue()


def tgz_of(files: Files) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"jpg/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def archive_entry(url: str, packed: bytes, **changes: object) -> dict[str, object]:
    entry = {"url": url, "size": len(packed), "hash": f"sha256:{sha(packed)}"}
    return entry | {"members": "*.png", "unpacked_limit": 1_000_000} | changes


def holds(folder: Path, files: Files) -> bool:
    found = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != fetch.SUMS}
    return found == files


def test_kodak_comes_from_a_mirror_folder(
    tmp_path: Path,
    files: Files,
    mirror: Path,
    declare: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    declare("kodak", files)
    assert kodak.main(["--to", str(tmp_path / "k"), "--mirror", str(mirror)]) == 0
    assert holds(tmp_path / "k", files)
    shown = capsys.readouterr()
    total = sum(map(len, files.values()))
    assert f"24 files, {total:,} bytes" in shown.out
    assert "licence: CC0" in shown.out
    assert shown.err == ""


def test_kodak_comes_from_its_official_addresses(
    tmp_path: Path, files: Files, server: Server, declare: Callable[..., None]
) -> None:
    declare("kodak", files, addresses={"": f"{server.url}/kodak/{{name}}"})
    server.pages |= {f"/kodak/{name}": Page(content) for name, content in files.items()}
    assert kodak.main(["--to", str(tmp_path / "k")]) == 0
    assert holds(tmp_path / "k", files)


def test_a_second_run_asks_for_nothing_and_changes_nothing(
    tmp_path: Path, files: Files, server: Server, declare: Callable[..., None]
) -> None:
    declare("kodak", files)
    server.pages |= {f"/m/{name}": Page(content) for name, content in files.items()}
    arguments = ["--to", str(tmp_path / "k"), "--mirror", f"{server.url}/m/"]
    assert kodak.main(arguments) == 0
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "k").iterdir()}
    server.asked.clear()
    assert kodak.main(arguments) == 0
    assert server.asked == []
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "k").iterdir()} == before


def test_a_damaged_and_a_missing_file_are_brought_again_and_no_other(
    tmp_path: Path, files: Files, server: Server, declare: Callable[..., None]
) -> None:
    declare("kodak", files)
    server.pages |= {f"/{name}": Page(content) for name, content in files.items()}
    data, to = fetch.load("kodak"), tmp_path / "k"
    digest = fetch.prepare(data, to, mirror=server.url).digest
    (to / "kodim03.png").write_bytes(b"damaged")
    (to / "kodim07.png").unlink()
    server.asked.clear()
    assert fetch.prepare(data, to, mirror=server.url).digest == digest
    assert [path for path, _ in server.asked] == ["/kodim03.png", "/kodim07.png"]
    assert holds(to, files)


def test_the_list_of_sums_can_be_read_back(
    tmp_path: Path, files: Files, mirror: Path, declare: Callable[..., None]
) -> None:
    declare("kodak", files)
    fetch.prepare(fetch.load("kodak"), tmp_path / "k", mirror=str(mirror))
    sums = fetch.read_sums(tmp_path / "k" / fetch.SUMS)
    assert sums == {name: sha(content) for name, content in files.items()}


def test_a_wrong_file_in_the_mirror_stops_before_it_is_visible(
    tmp_path: Path,
    files: Files,
    mirror: Path,
    declare: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    declare("kodak", files)
    (mirror / "kodim02.png").write_bytes(b"another picture")
    arguments = ["--to", str(tmp_path / "k"), "--mirror", str(mirror)]
    assert kodak.main(arguments) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("data_scripts.kodak: kodim02.png from ")
    assert complaint.count("\n") == 1
    assert os.listdir(tmp_path / "k") == ["kodim01.png"]
    (mirror / "kodim02.png").write_bytes(files["kodim02.png"])
    assert kodak.main(arguments) == 0
    assert holds(tmp_path / "k", files)


def test_a_dead_mirror_leaves_no_folder(
    tmp_path: Path,
    files: Files,
    server: Server,
    declare: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    declare("kodak", files)
    server.server_close()
    assert kodak.main(["--to", str(tmp_path / "k"), "--mirror", server.url]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "k").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--to", "k", "--mirror", "nowhere"], "expects a folder or an http"),
        (["--to", "k", "--mirror", "ftp://example.org"], "expects a folder or an http"),
        (["--to", "taken/k", "--mirror", "."], "taken"),
    ],
)
def test_bad_arguments_are_one_line_and_code_2(
    tmp_path: Path,
    files: Files,
    declare: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    declare("kodak", files)
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("a file")
    assert kodak.main(arguments) == 2
    shown = capsys.readouterr().err
    assert complaint in shown
    assert shown.count("\n") == 1


def test_a_forgotten_argument_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        kodak.main([])
    assert "required: --to; see --help\n" in (shown := capsys.readouterr().err)
    assert shown.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line_and_the_next_run_recovers(
    tmp_path: Path,
    files: Files,
    server: Server,
    declare: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    declare("kodak", files)
    server.pages |= {f"/{name}": Page(content) for name, content in files.items()}
    work = tmp_path / "k" / ".partial"
    work.mkdir(parents=True)
    (work / "kodim01.png.part").symlink_to("/dev/full")
    arguments = ["--to", str(tmp_path / "k"), "--mirror", server.url]
    assert kodak.main(arguments) == 2
    shown = capsys.readouterr().err
    assert "no space left" in shown
    assert "run again" in shown
    assert shown.count("\n") == 1
    (work / "kodim01.png.part").unlink()
    assert kodak.main(arguments) == 0


def test_an_archive_is_unpacked_and_remembered(
    tmp_path: Path, files: Files, server: Server, declare: Callable[..., None]
) -> None:
    packed = zip_of(files)
    declare("clic2020", archive=archive_entry(f"{server.url}/clic.zip", packed))
    server.pages["/clic.zip"] = Page(packed, cuts=[700])
    arguments = ["--to", str(tmp_path / "c")]
    assert clic2020.main(arguments) == 0
    assert holds(tmp_path / "c", files)
    assert len(server.asked) == 2
    assert clic2020.main(arguments) == 0
    assert len(server.asked) == 2
    (tmp_path / "c" / "kodim05.png").unlink()
    assert clic2020.main(arguments) == 0
    assert holds(tmp_path / "c", files)


def test_an_archive_comes_from_a_mirror_folder(
    tmp_path: Path, files: Files, declare: Callable[..., None]
) -> None:
    packed = zip_of(files)
    (tmp_path / "valid.zip").write_bytes(packed)
    declare("div2k_validation", archive=archive_entry("https://example.org/valid.zip", packed))
    arguments = ["--to", str(tmp_path / "d"), "--mirror", str(tmp_path)]
    assert div2k.main([*arguments, "--part", "div2k_validation"]) == 0
    assert holds(tmp_path / "d", files)


def test_a_mirror_without_an_unlisted_archive_is_one_line(
    tmp_path: Path,
    files: Files,
    mirror: Path,
    declare: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    declare("clic2020", archive=archive_entry("https://example.org/clic.zip", zip_of(files)))
    assert clic2020.main(["--to", str(tmp_path / "c"), "--mirror", str(mirror)]) == 2
    assert "clic.zip does not exist; point --mirror" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_a_refused_archive_leaves_nothing(
    tmp_path: Path,
    files: Files,
    server: Server,
    declare: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    packed = zip_of(files)
    server.pages["/clic.zip"] = Page(packed)
    entry = archive_entry(f"{server.url}/clic.zip", packed, unpacked_limit=1000)
    declare("clic2020", archive=entry)
    assert clic2020.main(["--to", str(tmp_path / "c")]) == 2
    assert "clic.zip was refused: it declares" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_an_archive_without_a_listed_file_is_refused(
    tmp_path: Path, files: Files, server: Server, declare: Callable[..., None]
) -> None:
    packed = tgz_of({name: files[name] for name in list(files)[1:]})
    server.pages["/a.tgz"] = Page(packed)
    declare("flowers17", files, archive=archive_entry(f"{server.url}/a.tgz", packed))
    with pytest.raises(DataError, match=r"does not hold kodim01\.png as listed"):
        fetch.prepare(fetch.load("flowers17"), tmp_path / "f")


def test_a_photograph_is_made_from_its_original_and_verified(
    tmp_path: Path,
    server: Server,
    declare: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    original, wanted = tmp_path / "original.png", tmp_path / "wanted.jpg"
    Image.linear_gradient("L").resize((2000, 1500)).save(original)
    photos.training_jpeg(original, wanted)
    listed = {"cid22_1.jpg": wanted.read_bytes(), "mate_2.jpg": b"of a package"}
    declare("photos_train", listed, addresses={"cid22_": f"{server.url}/png/{{stem}}.png"})
    server.pages["/png/1.png"] = Page(original.read_bytes())
    assert photos.main(["--to", str(tmp_path / "p")]) == 0
    assert holds(tmp_path / "p", {"cid22_1.jpg": wanted.read_bytes()})
    assert "1 more files have no address" in capsys.readouterr().out
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "mate_2.jpg").write_bytes(b"of a package")
    assert photos.main(["--to", str(tmp_path / "p"), "--mirror", str(mirror)]) == 0
    assert holds(tmp_path / "p", listed)


def test_a_training_photograph_has_two_megapixels_full_colour_and_no_comment(
    tmp_path: Path,
) -> None:
    original = Image.radial_gradient("L").resize((2560, 1600)).convert("RGB")
    original.save(tmp_path / "o.jpg", comment=b"made by a camera", dpi=(300, 300))
    photos.training_jpeg(tmp_path / "o.jpg", tmp_path / "t.jpg")
    with Image.open(tmp_path / "t.jpg") as made:
        assert made.size == (1789, 1118)
        assert [component[1:3] for component in made.layer] == [(1, 1)] * 3
        assert "comment" not in made.info


def test_a_set_without_any_address_asks_for_a_mirror(
    tmp_path: Path, declare: Callable[..., None]
) -> None:
    declare("photos_train", {"mate_1.jpg": b"x"})
    with pytest.raises(DataError, match="no official address; name a copy with --mirror"):
        fetch.prepare(fetch.load("photos_train"), tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_the_committed_manifest_is_complete() -> None:
    names = list(json.loads(fetch.MANIFEST.read_text("utf-8")))
    assert names == [
        "flowers17",
        "kodak",
        "clic2020",
        "div2k_validation",
        "div2k_train",
        "photos_train",
    ]
    for name in names:
        entry, data = fetch.entry(name), fetch.load(name)
        for key in ("title", "homepage", "licence", "terms", "citation", "use"):
            assert entry[key], f"{name} has no {key}"
        assert len(data.files) == entry.get("files", 0)
        assert all(len(digest) == 64 for digest in data.files.values())
        assert bool(data.archive) or data.addresses
        if data.archive:
            assert data.archive.url.startswith("https://")
            assert (data.archive.size or 0) < data.archive.unpacked_limit
    assert fetch.load("kodak").address("kodim07.png") == (
        "https://r0k.us/graphics/kodak/kodak/kodim07.png"
    )
    train = fetch.load("photos_train")
    assert sum(train.address(name) is not None for name in train.files) == 205
    packages = fetch.entry("photos_train")["packages"].values()
    assert sum(package["files"] for package in packages) == 242 - 205
