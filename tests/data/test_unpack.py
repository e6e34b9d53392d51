"""Hostile archives, one of each kind: refused with a reason, and nothing left behind."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from data_scripts import DataError
from data_scripts import unpack as unpack_module
from data_scripts.unpack import unpack

LIMIT = 1_000_000
Entry = tuple[tarfile.TarInfo, bytes]


def plain(name: str, content: bytes = b"picture", kind: bytes = tarfile.REGTYPE) -> Entry:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> Entry:
    info, _ = plain(name, b"", kind)
    info.linkname = to
    return info, b""


def tgz(path: Path, *entries: Entry) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in entries:
            out.writestr(name, content)
    return path


def zip_mode(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize("make", [tgz, zipped])
def test_pictures_come_out_flat_and_the_rest_stays(
    tmp_path: Path, make: Callable[..., Path]
) -> None:
    names = ["jpg/image_0001.jpg", "jpg/image_0002.jpg", "jpg/files.txt", "jpg/._image_0001.jpg"]
    entries = [plain(n, n.encode()) if make is tgz else (n, n.encode()) for n in names]
    paths = unpack(make(tmp_path / "a", *entries), tmp_path / "out", members="*.jpg", limit=LIMIT)
    assert [path.name for path in paths] == ["image_0001.jpg", "image_0002.jpg"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [p.name for p in paths]
    assert paths[0].read_bytes() == b"jpg/image_0001.jpg"


def test_folders_inside_are_no_reason_to_refuse(tmp_path: Path) -> None:
    archive = tgz(tmp_path / "a.tgz", plain("jpg", kind=tarfile.DIRTYPE), plain("jpg/a.jpg"))
    assert len(unpack(archive, tmp_path / "out", members="*.jpg", limit=LIMIT)) == 1


HOSTILE_TAR = {
    "absolute name": ([plain("/etc/a.jpg")], "absolute"),
    "parent": ([plain("jpg/../../a.jpg")], "points out of the folder"),
    "backslashes": ([plain("..\\..\\a.jpg")], "foreign name"),
    "drive": ([plain("C:a.jpg")], "foreign name"),
    "symbolic link out": ([link("a.jpg", "/etc/passwd")], "is a link"),
    "symbolic link up": ([link("jpg", ".."), plain("jpg/a.jpg")], "is a link"),
    "hard link out": ([link("a.jpg", "../../secret", tarfile.LNKTYPE)], "is a link"),
    "character device": ([plain("a.jpg", b"", tarfile.CHRTYPE)], "is a device"),
    "block device": ([plain("a.jpg", b"", tarfile.BLKTYPE)], "is a device"),
    "pipe": ([plain("a.jpg", b"", tarfile.FIFOTYPE)], "is a device"),
    "declared bomb": ([plain(f"{i}.jpg", bytes(400_000)) for i in range(3)], "unpacks to more"),
    "twins": ([plain("a/x.jpg"), plain("b/X.JPG")], "one file 'x.jpg'"),
}


@pytest.mark.parametrize("kind", HOSTILE_TAR)
def test_a_hostile_tar_is_refused_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    entries, reason = HOSTILE_TAR[kind]
    archive = tgz(tmp_path / "a.tgz", plain("good.jpg"), *entries)
    with pytest.raises(DataError, match=rf"a\.tgz was refused: .*{reason}"):
        unpack(archive, tmp_path / "out", members="*.[jJ]*", limit=LIMIT)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tgz"]


HOSTILE_ZIP = {
    "absolute name": ([("/etc/a.jpg", b"x")], "absolute"),
    "parent": ([("jpg/../../a.jpg", b"x")], "points out of the folder"),
    "symbolic link": ([(zip_mode("a.jpg", stat.S_IFLNK | 0o777), b"/etc/passwd")], "is a link"),
    "device": ([(zip_mode("a.jpg", stat.S_IFCHR | 0o666), b"")], "is a device"),
    "declared bomb": ([(f"{i}.jpg", bytes(400_000)) for i in range(3)], "declares 1,200,00"),
    "twins": ([("a/x.jpg", b"1"), ("b/X.jpg", b"2")], "one file 'x.jpg'"),
}


@pytest.mark.parametrize("kind", HOSTILE_ZIP)
def test_a_hostile_zip_is_refused_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    entries, reason = HOSTILE_ZIP[kind]
    archive = zipped(tmp_path / "a.zip", ("good.jpg", b"picture"), *entries)
    with pytest.raises(DataError, match=rf"a\.zip was refused: .*{reason}"):
        unpack(archive, tmp_path / "out", members="*.jpg", limit=LIMIT)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_gzip_bomb_is_stopped_while_it_unpacks(tmp_path: Path) -> None:
    header = plain("a.jpg", kind=tarfile.REGTYPE)[0]
    archive = tmp_path / "bomb.tgz"
    with gzip.open(archive, "wb", compresslevel=1) as out:
        out.write(header.tobuf() + bytes(20 * LIMIT))
    assert archive.stat().st_size < LIMIT
    with pytest.raises(DataError, match="more than the 1,000,000 bytes allowed"):
        unpack(archive, tmp_path / "out", members="*.jpg", limit=LIMIT)
    assert not (tmp_path / "out").exists()


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("a.jpg", bytes(500_000)))
    true, lie = (500_000).to_bytes(4, "little"), (100).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(true, lie))
    with pytest.raises(DataError, match=r"cannot be unpacked \(Bad CRC-32.*delete it"):
        unpack(archive, tmp_path / "out", members="*.jpg", limit=1000)
    assert not (tmp_path / "out").exists()


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack_module, "MAX_MEMBERS", 5)
    archive = tgz(tmp_path / "a.tgz", *(plain(f"{i}.jpg") for i in range(6)))
    with pytest.raises(DataError, match="6 members, at most 5"):
        unpack(archive, tmp_path / "out", members="*.jpg", limit=LIMIT)


@pytest.mark.parametrize("content", [b"no archive at all", b"\x1f\x8b\x08 cut short"])
def test_a_damaged_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tgz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tgz cannot be unpacked .*delete it and run again"):
        unpack(tmp_path / "a.tgz", tmp_path / "out", members="*", limit=LIMIT)
    assert not (tmp_path / "out").exists()


def test_a_truncated_tar_is_refused(tmp_path: Path, rng: object) -> None:
    archive = tgz(tmp_path / "a.tgz", plain("a.jpg", bytes(range(256)) * 40))
    archive.write_bytes(archive.read_bytes()[:-12])
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out", members="*", limit=LIMIT)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("a.jpg", b"picture"))
    raw = bytearray(archive.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(raw)
    with pytest.raises(DataError, match="encrypted"):
        unpack(archive, tmp_path / "out", members="*.jpg", limit=LIMIT)
    assert not (tmp_path / "out").exists()
