"""Whole data sets, from a server on this machine and from folders."""

import io
import stat
import tarfile

import pytest

from data_scripts import DataError, fetch, kodak
from data_scripts.fetch import prepare, unpack
from data_scripts.manifest import load

from .conftest import archive_entry, put, sha, tgz

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def once(monkeypatch):
    """No second attempt, and so no waiting for it."""
    monkeypatch.setattr(fetch, "RETRIES", 0)


@pytest.fixture
def files(declare):
    """Four small files, which are listed as the set kodak."""
    found = {f"kodim{i:02d}.png": f"picture {i} ".encode() * 1000 for i in range(1, 5)}
    declare("kodak", found)
    return found


@pytest.fixture
def to(tmp_path):
    return tmp_path / "k"


@pytest.fixture(params=["served", "folder"])
def mirror(request, server, files):
    """Where the files are, as an address or as a folder."""
    put(server.folder, files)
    return server.url if request.param == "served" else str(server.folder)


def held(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def complaint(capsys):
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    return shown


def test_files_come_from_their_official_addresses(to, files, server, declare, capsys):
    declare("kodak", files, addresses={"": f"{server.url}/{{name}}"})
    put(server.folder, files)
    assert kodak.main(["--to", str(to)]) == 0
    assert held(to) == files
    shown = capsys.readouterr()
    assert f"A set: 4 files, {sum(map(len, files.values())):,} bytes" in shown.out
    assert "licence: CC0" in shown.out
    assert shown.err == ""


def test_files_come_from_a_mirror_and_may_be_read_by_everybody(to, files, declare, mirror):
    declare("kodak", files, addresses={"": f"{NOWHERE}/{{name}}"})
    assert kodak.main(["--to", str(to), "--mirror", mirror]) == 0
    assert held(to) == files
    mode = (to / "kodim01.png").stat().st_mode
    assert stat.S_IMODE(mode) & (stat.S_IRGRP | stat.S_IROTH) == stat.S_IRGRP | stat.S_IROTH


def test_only_what_is_missing_or_damaged_is_brought_and_a_replacement_is_announced(
    to, files, server, capsys
):
    put(server.folder, files)
    damaged = {"kodim02.png": b"damaged"}
    put(to, {name: files[name] for name in ("kodim01.png", "kodim04.png")} | damaged)
    assert kodak.main(["--to", str(to), "--mirror", server.url]) == 0
    assert server.asked == ["kodim02.png", "kodim03.png"]
    assert held(to) == files
    announced = "kodim02.png is not the file that is listed; it will be replaced"
    assert capsys.readouterr().out.count("replaced") == 1
    put(to, damaged)
    (server.folder / "kodim02.png").unlink()
    assert kodak.main(["--to", str(to), "--mirror", str(server.folder)]) == 2
    assert held(to) == files | damaged
    assert announced in capsys.readouterr().out


@pytest.mark.parametrize("fault", [503, "cut"])
def test_a_failed_answer_is_asked_for_again(to, files, server, monkeypatch, fault):
    monkeypatch.setattr(fetch, "RETRIES", 1)
    put(server.folder, files)
    server.faults = [fault]
    prepare(load("kodak"), to, mirror=server.url)
    assert server.asked[:2] == ["kodim01.png"] * 2
    assert held(to) == files


def test_an_interrupted_download_leaves_whole_files_and_can_be_repeated(to, files, server, capsys):
    put(server.folder, files)
    server.faults = [None, "cut"]
    arguments = ["--to", str(to), "--mirror", server.url]
    assert kodak.main(arguments) == 2
    assert "kodim02.png cannot be read (" in (shown := complaint(capsys))
    assert "run again" in shown
    assert held(to) == {"kodim01.png": files["kodim01.png"]}
    server.asked.clear()
    assert kodak.main(arguments) == 0
    assert server.asked == ["kodim02.png", "kodim03.png", "kodim04.png"]
    assert held(to) == files


@pytest.mark.parametrize("content", [b"damaged", b"<!DOCTYPE html><title>Log in</title>"])
def test_another_file_or_a_web_page_is_refused_in_one_line_and_leaves_nothing(
    to, files, server, mirror, capsys, content
):
    put(server.folder, {"kodim01.png": content})
    assert kodak.main(["--to", str(to), "--mirror", mirror]) == 2
    shown = complaint(capsys)
    assert shown.startswith(f"data_scripts.kodak: {mirror}/kodim01.png is not the file")
    assert sha(files["kodim01.png"]) in shown
    assert "a web page" in shown
    assert held(to) == {}


@pytest.mark.usefixtures("files")
def test_what_a_source_does_not_have_is_named(to, server):
    with pytest.raises(DataError, match=r"kodim01\.png cannot be read \(404.*--mirror"):
        prepare(load("kodak"), to, mirror=server.url)
    with pytest.raises(DataError, match=r"kodim01\.png does not exist; point --mirror at"):
        prepare(load("kodak"), to, mirror=str(server.folder))
    with pytest.raises(DataError, match="no official address; name a copy with --mirror"):
        prepare(load("kodak"), to)


def test_a_dead_server_is_one_line_with_the_innermost_cause(to, files, server, declare):
    server.shutdown()
    server.server_close()
    entry = archive_entry("https://example.org/a.tgz", b"")
    for more in ({}, {"archive": entry}):
        declare("kodak", files, **more)
        with pytest.raises(DataError, match=r"cannot be read \(.*refused\); check the network"):
            prepare(load("kodak"), to, mirror=server.url)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("mirror", ["nowhere", "ftp://example.org"])
def test_a_mirror_that_is_neither_a_folder_nor_an_address_is_refused(to, mirror):
    with pytest.raises(DataError, match=r"expects a folder or an http\(s\) address, got"):
        prepare(load("kodak"), to, mirror=mirror)


@pytest.mark.parametrize("source", ["official", "served mirror", "folder"])
def test_an_archive_is_unpacked_and_only_the_listed_files_are_kept(
    to, files, server, declare, source
):
    packed = tgz(files | {"files.txt": b"a list"})
    put(server.folder, {"set.tgz": packed})
    address = server.url if source == "official" else NOWHERE
    declare("kodak", files, archive=archive_entry(f"{address}/set.tgz", packed))
    mirror = {"official": None, "served mirror": server.url, "folder": str(server.folder)}[source]
    prepare(load("kodak"), to, mirror=mirror)
    assert held(to) == files
    server.asked.clear()
    prepare(load("kodak"), to, mirror=mirror)
    assert server.asked == []


def test_a_mirror_without_the_archive_may_hold_the_unpacked_files(to, files, declare, mirror):
    declare("kodak", files, archive=archive_entry(f"{NOWHERE}/set.tgz", b""))
    prepare(load("kodak"), to, mirror=mirror)
    assert held(to) == files


@pytest.mark.parametrize(
    ("changes", "limit", "message"),
    [
        ({"kodim01.png": b"another"}, 1_000_000, "kodim01.png is not the file that is listed"),
        ({}, 1000, "set.tgz was refused: it unpacks to more than 1,000 bytes"),
    ],
)
def test_an_archive_of_other_content_leaves_nothing(
    to, files, server, declare, changes, limit, message
):
    packed = tgz(files | changes)
    put(server.folder, {"set.tgz": packed})
    declare("kodak", files, archive=archive_entry(f"{server.url}/set.tgz", packed, limit))
    with pytest.raises(DataError, match=message):
        prepare(load("kodak"), to)
    assert held(to) == {}


def member(name, kind=tarfile.REGTYPE, to="", size=0):
    """A tar archive of one member, whose content is zeros."""
    info, out = tarfile.TarInfo(name), io.BytesIO()
    info.type, info.linkname, info.size = kind, to, size
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.addfile(info, io.BytesIO(bytes(size)))
    return out.getvalue()


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (member("../outside.jpg"), "outside the destination"),
        (member("jpg/../../outside.jpg"), "outside the destination"),
        (member("a.jpg", tarfile.SYMTYPE, "/etc/passwd"), "neither a plain file nor a folder"),
        (member("a.jpg", tarfile.LNKTYPE, "b.jpg"), "neither a plain file nor a folder"),
        (member("a.jpg", tarfile.CHRTYPE), "neither a plain file nor a folder"),
        (member("a.jpg", size=2001), "more than 2,000 bytes"),
        (b"no archive at all", "could not be opened"),
        (member("a.jpg", size=2000)[:-20], "end"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_a_hostile_or_damaged_archive_is_refused_and_nothing_is_unpacked(tmp_path, packed, reason):
    (tmp_path / "a.tgz").write_bytes(packed)
    with pytest.raises(DataError, match=rf"a\.tgz was refused: .*{reason}"):
        unpack(tmp_path / "a.tgz", tmp_path / "out", 2000)
    assert {path.name for path in tmp_path.rglob("*")} - {"out"} == {"a.tgz"}


def test_an_absolute_name_is_unpacked_inside_the_folder(tmp_path):
    (tmp_path / "a.tgz").write_bytes(member(f"{tmp_path}/outside.jpg"))
    unpack(tmp_path / "a.tgz", tmp_path / "out", 2000)
    assert not (tmp_path / "outside.jpg").exists()
    assert len(list((tmp_path / "out").rglob("outside.jpg"))) == 1
