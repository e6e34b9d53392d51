"""Files are whole, whoever else writes them."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from mrdcae_lite.core.files import part_prefix, write_atomically


def test_one_that_begins_to_write_a_file_while_another_one_writes_it_spoils_neither(
    tmp_path, monkeypatch
):
    place, fsync, begun = tmp_path / "a", os.fsync, []

    def overtaken(number):
        if not begun:
            begun.append(True)
            write_atomically(place, b"of the second")
            assert place.read_bytes() == b"of the second"
        fsync(number)

    monkeypatch.setattr("os.fsync", overtaken)
    write_atomically(place, b"of the first")
    assert place.read_bytes() == b"of the first"
    assert os.listdir(tmp_path) == ["a"]


def test_many_that_write_one_file_at_once_leave_it_whole_at_any_time(tmp_path):
    place, contents = tmp_path / "a", [bytes([number]) * 50_000 for number in range(4)]
    write_atomically(place, contents[0])

    def write(number):
        for _ in range(20):
            write_atomically(place, contents[number])
            assert place.read_bytes() in contents

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    assert os.listdir(tmp_path) == ["a"]


def test_what_an_ended_process_left_is_removed_and_a_failure_leaves_nothing(tmp_path):
    left = tmp_path / f"{part_prefix(tmp_path / 'a')}left.part"
    left.write_bytes(b"half")
    write_atomically(tmp_path / "a", b"whole")
    assert os.listdir(tmp_path) == ["a"]
    (tmp_path / "b").mkdir()
    with pytest.raises(OSError, match="b"):
        write_atomically(tmp_path / "b", b"whole")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]
