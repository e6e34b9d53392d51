"""Pictures at addresses: in memory, at an S3-like server, and at an HTTP server of this process."""

import io
import json
import threading
from contextlib import ExitStack, redirect_stdout
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import mrdcae_lite as mr
from mrdcae_lite.cli import main
from mrdcae_lite.io import addresses
from mrdcae_lite.io.images import pictures_in

UPath = pytest.importorskip("upath").UPath
OPTIONS = ["--quality", "20", "--effort", "0"]


@pytest.fixture
def memory():
    yield "memory://bucket"
    UPath("memory://bucket").fs.rm("/", recursive=True)


@pytest.fixture(params=["memory", "s3"])
def store(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def web():
    """Serve a folder at the address that is returned."""
    with ExitStack() as running:

        def serve(folder):
            handler = partial(Quiet, directory=folder)
            server = running.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever).start()
            running.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield serve


@pytest.fixture
def album(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("album/inner").mkdir(parents=True)
    for number, name in enumerate(("bulb", "dog", "inner/waves")):
        mr.write_image(f"album/{name}.png", mr.sample(Path(name).name)[: 20 + number, :30])
    Path("album/broken.png").write_bytes(b"no picture")
    Path("album/notes.txt").write_text("Once upon a time")
    return Path("album")


def upload(folder, to):
    for path in filter(Path.is_file, folder.rglob("*")):
        addresses.write(addresses.address(f"{to}/{path.relative_to(folder)}"), path.read_bytes())


def contents(place):
    """By their names below a folder or an address."""
    if isinstance(place, Path):
        files = {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}
        return dict(sorted(files.items()))
    remote = addresses.address(place)
    found = {}
    for here, within, _, names in addresses.walk(remote, True, pytest.fail):
        found |= {str(within / name): addresses.read(here / name) for name in names}
    return dict(sorted(found.items()))


def run(*command):
    """The exit code and the last line of a command."""
    with redirect_stdout(io.StringIO()) as said:
        code = main([*map(str, command)])
    return code, said.getvalue().splitlines()[-1]


def test_from_and_to_addresses_files_are_those_of_folders(album, store):
    upload(album, f"{store}/in")
    assert contents(f"{store}/in") == contents(album)
    more = ["--recursive", *OPTIONS]
    last = "1 failed, 3 written; left out: 1 other file"
    assert run("compress", album, "--to", "here", *more) == (1, last)
    assert run("compress", f"{store}/in", "--to", f"{store}/out", *more) == (1, last)
    assert contents(f"{store}/out") == contents(Path("here"))
    assert run("compress", f"{store}/in", "--to", "there", *more) == (1, last)
    assert contents(Path("there")) == contents(Path("here"))
    assert run("decompress", f"{store}/out", "--to", "back", "--recursive") == (0, "3 written")
    assert run("decompress", "here", "--to", f"{store}/back", "--recursive") == (0, "3 written")
    assert contents(f"{store}/back") == contents(Path("back"))


def test_a_repeated_run_goes_on_and_force_begins_again(album, store):
    command = ["compress", album / "dog.png", album / "bulb.png", "--to", f"{store}/out", *OPTIONS]
    assert run(*command) == (0, "2 written")
    assert run(*command) == (0, "2 there already")
    dog = addresses.address(f"{store}/out/dog.mrdc")
    whole = addresses.read(dog)
    addresses.write(dog, whole[:-1])  # cut off
    assert run(*command) == (0, "1 written, 1 there already")
    assert addresses.read(dog) == whole
    assert run(*command, "--dry-run") == (0, "2 there already")
    assert run(*command, "--force") == (0, "2 written")
    code, last = run(*command, "--quality", "60")
    assert (code, last) == (1, "2 failed")
    assert addresses.read(dog) == whole


def test_without_recursive_folders_at_an_address_are_left_out(album, store):
    upload(album, f"{store}/in")
    code, last = run("compress", f"{store}/in", "--to", "out", *OPTIONS)
    assert (code, last) == (1, "1 failed, 2 written; left out: 1 other file, 1 folder")


def test_two_names_that_would_become_one_are_refused(album, memory, capsys):
    upload(album, f"{memory}/in")
    addresses.write(addresses.address(f"{memory}/in/dog.jpg"), b"")
    assert main(["compress", f"{memory}/in", "--to", f"{memory}/out"]) == 2
    assert "both of which would become memory://bucket/out/dog.mrdc" in capsys.readouterr().err
    assert "out/dog.mrdc" not in contents(memory)


def test_an_interrupted_writing_leaves_nothing_under_the_name(memory, monkeypatch):
    place = addresses.address(f"{memory}/a")

    class Full(io.BytesIO):
        def write(self, _data):
            raise OSError("full")

    monkeypatch.setattr(type(place.fs), "open", lambda *_args, **_more: Full())
    with pytest.raises(OSError, match="full"):
        addresses.write(place, b"half")
    assert not place.exists()


def test_one_that_writes_an_address_while_another_one_does_spoils_neither(store, monkeypatch):
    place, begun = addresses.address(f"{store}/a"), []
    kind = type(place.fs)
    plain = kind.open

    def overtaken(*args, **more):
        file = plain(*args, **more)
        commit = getattr(file, "commit", None)

        def late():
            if not begun:
                begun.append(True)
                addresses.write(place, b"of the second")
                assert addresses.read(place) == b"of the second"
            commit()

        file.commit = late
        return file

    monkeypatch.setattr(kind, "open", overtaken)
    addresses.write(place, b"of the first")
    assert begun
    assert contents(store) == {"a": b"of the first"}


def test_pictures_behind_http_are_read(album, s3, web):
    source = web(album)
    found = run("compress", f"{source}/dog.png", "--to", f"{s3}/one", *OPTIONS)
    listed = run("compress", f"{source}/", "--to", f"{s3}/all", "--recursive", *OPTIONS)
    assert found == (0, "1 written")
    assert listed == (1, "1 failed, 3 written; left out: 1 other file")
    assert run("compress", album, "--to", "here", "--recursive", *OPTIONS)[0] == 1
    assert contents(f"{s3}/all") == contents(Path("here"))


def test_codecs_are_compared_on_pictures_at_addresses_as_on_files(album, s3, web):
    upload(album, f"{s3}/in")
    command = ["evaluate", "--codecs", "mrdcae", "--qualities", "5,35,65,95"]
    places = {"here": "album", "store": f"{s3}/in", "web": f"{web(album)}/"}
    reports, said = {}, {}
    for name, place in places.items():
        code, said[name] = run(*command, place, "--out", f"{name}.json")
        assert code == 1  # one of them is broken
        lines = Path(f"{name}.json").read_text().splitlines()
        reports[name] = [line for line in lines if '_s"' not in line]  # but for times
    assert said["here"] == f"here.json: {Path('here.json').stat().st_size} bytes"
    assert reports["store"] == reports["here"]
    assert reports["web"] == reports["here"]
    assert json.loads(Path("here.json").read_text())["skipped"] == ["broken.png"]


def test_what_is_no_picture_at_an_address_is_left_out_as_in_a_folder(album, s3):
    upload(album, f"{s3}/in")
    for of_folder, of_store in zip(
        pictures_in(album), pictures_in(addresses.address(f"{s3}/in")), strict=True
    ):
        assert [path.name for path in of_store] == [path.name for path in of_folder]


def test_a_file_at_an_address_says_about_itself_what_one_here_does(album, s3):
    run("compress", "album/dog.png", "--to", "out", *OPTIONS)
    upload(Path("out"), f"{s3}/out")
    _, here = run("info", "out/dog.mrdc", "--json")
    _, there = run("info", f"{s3}/out/dog.mrdc", "--json")
    assert json.loads(there) == json.loads(here) | {"file": f"{s3}/out/dog.mrdc"}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_args):
        pass


@pytest.mark.parametrize(
    ("command", "line"),
    {
        "unknown": (["compress", "nix://a/b", "--to", "out"], "nix://a/b: Unsupported filesystem"),
        "no package": (["compress", "gs://a/b", "--to", "out"], "install gcsfs"),
        "missing": (["compress", "memory://a/b", "--to", "out"], "no such file or folder"),
        "nothing to compare": (["evaluate", "memory://a/b"], "no such picture or folder"),
        "no information": (["info", "memory://a/b"], "memory://a/b: No such file or folder"),
        "nobody there": (["info", "http://127.0.0.1:1/b"], "http://127.0.0.1:1/b: "),
        "one file": (["compress", "memory://a/b"], "is an address. Say where results go with"),
        "one output": (["compress", "a.png", "memory://a/b"], "results go with --to ADDRESS."),
    }.values(),
)
def test_what_cannot_be_done_is_one_line(tmp_path, monkeypatch, capsys, command, line):
    monkeypatch.chdir(tmp_path)
    mr.write_image("a.png", mr.sample("dog")[:20, :30])
    assert main(command) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1


def test_a_store_that_does_not_answer_is_one_line(s3, album, capsys, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    UPath("s3://bucket").fs.clear_instance_cache()
    assert main(["compress", "album", "--to", "s3://bucket/out"]) == 2
    err = capsys.readouterr().err
    assert "expected a store that answers. Received: EndpointConnectionError" in err
    assert err.count("\n") == 1
    UPath("s3://bucket").fs.clear_instance_cache()


# --- the manifest


def rows(path="m.jsonl"):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_manifest_says_of_each_source_what_became_of_it(album):
    command = ["compress", album, "--to", "out", "--manifest", "m.jsonl", *OPTIONS]
    assert run(*command)[0] == 1
    found = {row["source"]: row for row in rows()}
    assert len(rows()) == 3
    assert "expected a picture" in found["album/broken.png"]["error"]
    row = found["album/dog.png"]
    assert row["state"] == "written"
    assert row["bytes"] == Path("out/dog.mrdc").stat().st_size
    assert row["options"]["quality"] == 20
    image, restored = (
        mr.read_image("album/dog.png"),
        mr.load().decompress(Path(row["output"]).read_bytes()),
    )
    assert row["psnr"] == pytest.approx(mr.psnr(image, restored, data_range=255), abs=1e-3)
    assert run(*command)[0] == 1
    assert len(rows()) == 4  # the broken one was tried again


def test_a_manifest_is_completed_after_a_process_was_ended_while_it_wrote(album):
    command = ["compress", album, "--to", "out", "--manifest", "m.jsonl", *OPTIONS]
    run(*command)
    first = rows()
    Path("m.jsonl").write_text(json.dumps(first[0]) + "\n" + json.dumps(first[2])[:50])
    assert run(*command)[0] == 1
    lines = Path("m.jsonl").read_text().splitlines()
    assert lines[1] == json.dumps(first[2])[:50]
    again = {row["source"]: row for row in map(json.loads, [lines[0], *lines[2:]])}
    assert again.keys() == {row["source"] for row in first}
    for row in filter(lambda row: row["error"] is None, first):
        for name in ("sha256", "psnr", "bytes", "options"):
            assert again[row["source"]][name] == row[name]


def test_another_file_is_no_manifest(album, capsys):
    command = ["compress", "album", "--to", "out", "--manifest", "album/notes.txt"]
    assert main(command) == 2
    assert "album/notes.txt: expected lines of JSON that a run wrote." in capsys.readouterr().err
    assert Path("album/notes.txt").read_text() == "Once upon a time"
