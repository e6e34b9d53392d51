"""Which addresses of the data sets still answer."""

from data_scripts import probe

from .conftest import archive_entry, put

FILES = {"a_1.jpg": b"one", "a_2.jpg": b"two"}


def test_every_official_address_is_asked_and_those_that_fail_are_named(server, declare, capsys):
    put(server.folder, {**FILES, "set.tgz": b"packed", "splits.mat": b"numbers"})
    archive = archive_entry(f"{server.url}/set.tgz", b"packed")
    splits = {"url": f"{server.url}/splits.mat", "hash": ""}
    pattern = {"a_": f"{server.url}/{{name}}"}
    declare("set", FILES, addresses=pattern, archive=archive, splits=splits)
    assert probe.main([]) == 0
    assert capsys.readouterr().out == "set: 4 of 4 addresses answer\n"
    assert server.asked == ["a_1.jpg", "a_2.jpg", "set.tgz", "splits.mat"]

    (server.folder / "a_2.jpg").unlink()
    (server.folder / "splits.mat").write_bytes(b"")
    assert probe.main([]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "set: 2 of 4 addresses answer"
    assert "404" in shown[1]
    assert shown[2] == f"  {server.url}/splits.mat: it is empty"


def test_a_host_that_is_not_there_is_one_line(declare, capsys):
    declare("set", {"a_1.jpg": b"one"}, addresses={"a_": "http://127.0.0.1:9/{name}"})
    assert probe.main([]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 2
