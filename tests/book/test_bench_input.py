"""The input pipeline against the training step: what is timed, on what, and how it is reported."""

import json
from pathlib import Path

import keras
import pytest
from PIL import Image

from book.experiments import bench_input
from data_scripts import DataError
from mrdcae_lite.io.images import sample, sample_names

ROOT = Path(__file__).parents[2]
COMMITTED = json.loads((ROOT / "book" / "results" / "input-pipeline.json").read_text("utf-8"))
STAGES = ["crop", "normalise", "rotate and flip", "illuminate"]


class Small(keras.Model):
    """Stands in for the real model, whose building takes a minute: it learns one brightness."""

    def __init__(self):
        super().__init__()
        self.gain = self.add_weight(shape=(1,), initializer="ones")

    def call(self, images):
        return images * self.gain

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean((x - y_pred) ** 2)


def test_every_stage_of_the_preparation_is_timed():
    spent = bench_input.stages([sample("dog"), sample("flowers")], crops=16)
    assert list(spent) == STAGES
    assert all(value >= 0 for value in spent.values())
    assert sum(spent.values()) > 0


def test_the_first_steps_are_not_counted(monkeypatch):
    """With a clock of one second a call, n steps take n seconds, whatever came before."""
    ticks = iter(range(1000))
    monkeypatch.setattr(bench_input.time, "process_time", lambda: float(next(ticks)))
    assert bench_input.step([sample("dog")], Small(), steps=3) == 1000 / bench_input.BATCH


def test_without_a_folder_the_bundled_photographs_are_used(tmp_path):
    assert len(bench_input.photographs(None)) == len(sample_names())
    Image.fromarray(sample("dog")).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no picture")
    assert len(bench_input.photographs(tmp_path)) == 1


@pytest.mark.parametrize(("content", "message"), [(None, "found none"), (b"x", "a kind that Pi")])
def test_a_folder_without_readable_pictures_is_named(tmp_path, content, message):
    if content:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=message):
        bench_input.photographs(tmp_path)


def test_the_command_writes_what_the_chapter_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_input, "MRDCAE", Small)
    Image.fromarray(sample("dog")).save(tmp_path / "dog.png")
    out = tmp_path / "out.json"
    assert bench_input.main(["--photographs", str(tmp_path), "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert list(found) == list(COMMITTED)
    assert found["photographs"] == 1
    assert "of the time that training on it takes" in capsys.readouterr().out


def test_the_committed_pipeline_is_no_bottleneck():
    assert list(COMMITTED["stages"]) == STAGES
    assert COMMITTED["crops_per_second_supplied"] == pytest.approx(
        1000 / COMMITTED["pipeline"], rel=0.01
    )
    assert COMMITTED["crops_per_second_supplied"] > 5 * COMMITTED["crops_per_second_needed"]
