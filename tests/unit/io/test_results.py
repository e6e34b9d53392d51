import json

import pytest

import mrdcae_lite as mr
from mrdcae_lite.io import results


def test_a_measurement_is_read_by_its_path_without_the_ending():
    assert mr.result("kodak")["n"] == 24
    assert "mrdcae_gain" in mr.result("experiments/codecs-kodak")["values"]


def test_an_unknown_measurement_is_answered_with_those_that_there_are():
    with pytest.raises(FileNotFoundError, match=r"Received: 'kodac'\. There are: .*\bkodak\b"):
        mr.result("kodac")


def test_a_name_does_not_lead_out_of_the_folder():
    with pytest.raises(FileNotFoundError, match="Received: '../../web/package'"):
        mr.result("../../web/package")


def test_what_is_installed_goes_before_a_clone(tmp_path, monkeypatch):
    for folder, value in (("results", 1), ("book", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.json").write_text(json.dumps(value))
    monkeypatch.setattr(results, "FOLDERS", (tmp_path / "results", tmp_path / "book"))
    assert results.result("a") == 1
    monkeypatch.setattr(results, "FOLDERS", (tmp_path / "none", tmp_path / "book"))
    assert results.result("a") == 2
