"""A training run: around the fit of a model of three numbers, and compiled with the real one."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from mrdcae_lite.cli import main
from mrdcae_lite.codec import Codec
from mrdcae_lite.io.images import sample, write_image
from mrdcae_lite.training import run as training
from mrdcae_lite.training.data import Photographs
from mrdcae_lite.training.run import TrainingRun, distributed


class MeanColour(keras.Model):
    """Learns the mean colour of what it is shown."""

    def build(self, input_shape=None):
        self.colour = self.add_weight(name="colour", shape=(3,), initializer="zeros")
        self.lagrangian = keras.metrics.Mean(name="lagrangian")
        self.built = True

    def call(self, images):
        return self.colour + ops.zeros_like(images)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        error = ops.mean((x - y_pred) ** 2)
        self.lagrangian.update_state(error)
        return error


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(20260)
    return [rng.integers(0, 256, (48, 48, 3), np.uint8) for _ in range(2)]


def run(folder, pictures, epochs=4, model=MeanColour, **options):
    options = TrainingRun(epochs=epochs, steps=3, batch=2, size=32, resolutions=3, **options)
    model = model()
    model.build()
    crops, validation = options.crops(pictures), options.crops(pictures, validation=True)
    options.fit(model, crops, validation, folder)
    return model


def read_log(folder):
    """Rows without the time they took."""
    with (folder / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(float(row.pop("cpu_seconds")) >= 0 for row in rows)
    return rows


def colour(model):
    return np.asarray(model.colour.value)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, pictures):
    """Folder and final weights of an undisturbed run of four epochs."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, colour(run(folder, pictures))


@pytest.fixture
def finished(whole_run, tmp_path):
    """A copy of that folder."""
    return shutil.copytree(whole_run[0], tmp_path / "finished")


def test_every_epoch_has_a_row_and_the_validation_loss_falls(whole_run):
    log = read_log(whole_run[0])
    assert [row["epoch"] for row in log] == ["1", "2", "3", "4"]
    assert set(log[0]) == {"epoch", "loss", "lagrangian", "val_loss", "val_lagrangian"}
    losses = [float(row["val_loss"]) for row in log]
    assert losses == sorted(losses, reverse=True)


class CutError(Exception):
    pass


def cut_at_call(number, function):
    """`function`, but its call `number` ends in `CutError`."""
    left = iter(range(number - 1, -1, -1))

    def replacement(*args, **options):
        if next(left, None) == 0:
            raise CutError
        return function(*args, **options)

    return replacement


@pytest.mark.parametrize(
    ("owner", "method", "call"),
    [
        (MeanColour, "evaluate", 2),
        (training, "write_atomically", 2),
        (keras.callbacks.BackupAndRestore, "on_epoch_end", 2),
        (training.KeepBest, "on_epoch_begin", 3),
    ],
    ids=["while judging", "while logging", "before the checkpoint", "after the checkpoint"],
)
def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(
    owner, method, call, whole_run, tmp_path, pictures
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, cut_at_call(call, getattr(owner, method)))
        with pytest.raises(CutError, match="^$"):
            run(tmp_path, pictures)
    model = run(tmp_path, pictures)
    folder, expected = whole_run
    assert read_log(tmp_path) == read_log(folder)
    np.testing.assert_allclose(colour(model), expected, rtol=1e-6)


def test_a_finished_run_is_not_trained_again(finished, whole_run, pictures):
    before = (finished / "log.csv").read_bytes()
    model = run(finished, pictures)
    assert (finished / "log.csv").read_bytes() == before
    np.testing.assert_array_equal(colour(model), whole_run[1])


def test_the_weights_of_the_best_epoch_are_kept(tmp_path, pictures):
    judged = []

    class Scored(MeanColour):
        def evaluate(self, *args, **options):
            judged.append(colour(self))
            # What else is trained counts for nothing.
            at = len(judged) - 1
            return {"lagrangian": [0.5, 0.2, 0.4, 0.3][at], "loss": [0.4, 0.5, 0.3, 0.2][at]}

    model = run(tmp_path, pictures, model=Scored)
    np.testing.assert_array_equal(colour(model), judged[1])
    assert len({tuple(c) for c in judged}) == 4


def test_judging_leaves_the_weights_in_training_alone(tmp_path, pictures):
    trained = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            trained.append(colour(self.model))

        def on_epoch_end(self, epoch, logs=None):
            trained.append(colour(self.model))

    model = MeanColour()
    model.build()
    model.compile(optimizer=training.make_optimizer(12, 1e-2))
    crops = Photographs(pictures, size=32, batch=2, steps=3)
    keep = training.KeepBest(tmp_path, crops, Photographs(pictures, size=32, steps=2, fixed=True))
    watch = Watch()
    model.fit(crops, epochs=2, callbacks=[watch, keep, watch], verbose=0)
    assert len(trained) == 8
    for before, after in (trained[2:4], trained[3:5]):
        np.testing.assert_array_equal(before, after)


def test_each_epoch_trains_on_crops_of_its_own_and_is_judged_by_the_same(
    tmp_path, pictures, monkeypatch
):
    seen = []
    take = Photographs.__getitem__

    def spy(self, index):
        seen.append((len(self), self.epoch))
        return take(self, index)

    monkeypatch.setattr(Photographs, "__getitem__", spy)
    run(tmp_path, pictures, epochs=3)
    trained = [epoch for size, epoch in seen if size == 3]
    assert set(trained) == {0, 1, 2}
    assert trained == sorted(trained)
    assert {epoch for size, epoch in seen if size != 3} == {0}


@pytest.mark.parametrize("without", [[], ["augmentation"]])
def test_crops_are_turned_only_if_they_are_to_be_augmented(pictures, monkeypatch, without):
    turned = []
    monkeypatch.setattr(
        "mrdcae_lite.training.data.rotate", lambda image, rng: turned.append(image) or image
    )
    options = TrainingRun(steps=2, batch=1, size=32, resolutions=2, without=without)
    options.crops(pictures)[0]
    options.crops(pictures, validation=True)[0]
    assert bool(turned) == (not without)


def test_the_weights_are_judged_every_few_epochs_and_in_the_end(tmp_path, whole_run, pictures):
    model = run(tmp_path, pictures, judge_every=3)
    every, some = read_log(whole_run[0]), read_log(tmp_path)
    assert some == [every[2], every[3]]
    np.testing.assert_array_equal(colour(model), whole_run[1])


def test_a_run_that_goes_on_counts_its_time_on(tmp_path, pictures):
    with pytest.MonkeyPatch.context() as patch:
        begin = training.KeepBest.on_epoch_begin
        patch.setattr(training.KeepBest, "on_epoch_begin", cut_at_call(3, begin))
        with pytest.raises(CutError, match="^$"):
            run(tmp_path, pictures)
    log = tmp_path / "log.csv"
    head, first, second = log.read_text().splitlines()
    epoch, _, rest = second.split(",", 2)
    log.write_text("\n".join([head, first, f"{epoch},5000.0,{rest}"]))
    run(tmp_path, pictures)
    with log.open(newline="") as file:
        seconds = [float(row["cpu_seconds"]) for row in csv.DictReader(file)]
    assert seconds[0] < 1000
    assert 5000 == seconds[1] <= seconds[2] <= seconds[3] < 6000


# --- the learning rate


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in steps])


def test_the_learning_rate_warms_up_and_falls_to_two_percent():
    schedule = training.make_optimizer(1000, 3e-3)._learning_rate
    found = rates(schedule, range(0, 1001, 50))
    assert found[0] == pytest.approx(6e-5)
    assert found.argmax() == 2
    assert found[2] == pytest.approx(3e-3)
    assert (np.diff(found[2:]) < 0).all()
    assert found[-1] == pytest.approx(6e-5, rel=0.01)


def test_the_learning_rate_is_held_and_then_falls():
    schedule = training.make_optimizer(1000, 3e-3, hold=0.75)._learning_rate
    found = rates(schedule, range(0, 1001, 50))
    np.testing.assert_allclose(found[2:16], 3e-3)
    assert (np.diff(found[15:]) < 0).all()
    assert found[-1] == pytest.approx(6e-5, rel=0.01)


def test_what_is_done_while_the_rate_is_held_fits_a_run_of_any_length():
    short, long = (training.Schedule(3e-3, steps, hold=0.75) for steps in (1000, 2000))
    np.testing.assert_array_equal(rates(short, range(751)), rates(long, range(751)))
    assert float(short(751)) < float(long(751))
    again = training.Schedule.from_config(short.get_config())
    assert float(again(900)) == float(short(900))


@pytest.mark.parametrize("hold", [0.5, 0.0])
def test_a_run_that_is_made_longer_before_its_rate_falls_equals_the_longer_run(
    hold, tmp_path, pictures, monkeypatch
):
    """Not so if the rate fell from the beginning."""
    monkeypatch.setattr(training.Schedule, "WARMUP", 1)
    options = {"hold": hold, "learning_rate": 0.1}
    for name in ("long", "short"):
        (tmp_path / name).mkdir()
    expected = colour(run(tmp_path / "long", pictures, epochs=8, **options))
    with pytest.MonkeyPatch.context() as patch:
        begin = training.KeepBest.on_epoch_begin
        patch.setattr(training.KeepBest, "on_epoch_begin", cut_at_call(3, begin))
        with pytest.raises(CutError, match="^$"):
            run(tmp_path / "short", pictures, epochs=4, **options)
    found = colour(run(tmp_path / "short", pictures, epochs=8, **options))
    same = read_log(tmp_path / "short") == read_log(tmp_path / "long")
    assert same == bool(hold)
    if hold:
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("hold", [-0.1, 1.0, float("nan")])
def test_the_rate_must_fall_in_the_end(hold):
    with pytest.raises(ValueError, match=f"hold must be from 0 to below 1. Received: {hold}"):
        TrainingRun(hold=hold)


# --- the real model, compiled

RESUMING = """
import json, shutil, sys
from functools import partial
from pathlib import Path

import keras

from mrdcae_lite.training import run as training

folder = Path(sys.argv[1])
begin = training.KeepBest.on_epoch_begin

def copy_after_one_epoch(self, epoch, logs=None):
    if epoch == 1 and not (folder / "resumed").exists():
        shutil.copytree(folder / "whole", folder / "resumed")
    begin(self, epoch, logs)

training.KeepBest.on_epoch_begin = copy_after_one_epoch
training.MRDCAE = partial(training.MRDCAE, prior_width=8)
training.JUDGED = 1, 2
small = {"steps": 2, "batch": 2, "size": 64}
"""
"""How a script begins whose run in "whole" leaves its first epoch in "resumed"."""

TRAIN = """
small |= {"epochs": 2, "deblocking": 8, "refinement": 8}
run = training.TrainingRun(**small, without=sys.argv[2:])
ids = [run.train(folder, folder, folder / name).id.hex() for name in ("whole", "resumed")]
print(json.dumps({"backend": keras.backend.backend(), "ids": ids}))
"""


def resuming(script: str, folder: Path, backend: str, flags: str, *arguments: str) -> str:
    """What a script behind `RESUMING` prints, in a process of its own, with few optimisations."""
    write_image(folder / "flowers.png", sample("flowers")[:100, :120])
    done = subprocess.run(
        [sys.executable, "-c", RESUMING + script, str(folder), *arguments],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            "XLA_FLAGS": f"--xla_backend_optimization_level=0 {flags}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "without"),
    [("tensorflow", ["resolutions"]), ("jax", [])],
    ids=["tensorflow", "jax"],
)
def test_the_compiled_model_is_trained_and_resumed_exactly(backend, without, tmp_path):
    """Both runs compile the same two steps; under JAX the second takes them from a cache.

    Under TensorFlow, which has none, a smaller model will do: `test_model` fits the whole one.
    """
    quick = "--xla_llvm_disable_expensive_passes=true"
    said = resuming(TRAIN, tmp_path, backend, quick, *without)
    found = json.loads(said.splitlines()[-1])
    assert found["backend"] == backend
    assert found["ids"][0] == found["ids"][1]
    whole, resumed = (read_log(tmp_path / name) for name in ("whole", "resumed"))
    assert resumed == whole
    assert [row["epoch"] for row in whole] == ["1", "2"]
    assert float(whole[0]["val_lagrangian"]) != float(whole[1]["val_lagrangian"])


SHARE = """
small |= {"epochs": 3, "deblocking": 0, "refinement": 0}
run = training.TrainingRun(**small, without=["resolutions"])
run.train(folder, folder, folder / "whole")
run.train(folder, folder, folder / "resumed", devices=2)
"""


@pytest.mark.slow
def test_devices_that_share_each_batch_learn_what_one_does_and_go_on_with_its_checkpoint(tmp_path):
    devices = "--xla_llvm_disable_expensive_passes=true --xla_force_host_platform_device_count=2"
    resuming(SHARE, tmp_path, "jax", devices)
    alone, shared = (read_log(tmp_path / name) for name in ("whole", "resumed"))
    assert len(alone) == 3
    assert alone[0] == shared[0]
    for one, two in zip(alone, shared, strict=True):
        for name in one:
            assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-3, abs=1e-3)


def test_only_jax_shares_batches_among_devices(monkeypatch, folders):
    monkeypatch.setattr("keras.backend.backend", lambda: "tensorflow")
    with pytest.raises(ValueError, match="expected the backend jax for 2 devices. Received: tens"):
        TrainingRun(steps=1).train(*folders, devices=2)
    assert not folders[2].exists()


@pytest.mark.parametrize(
    ("devices", "batch", "message"),
    [
        (3, 6, "devices must be from 1 to 2, as many as JAX has. Received: 3"),
        (2, 3, "devices must divide the batch, 3, and the 16 crops of an evaluation. Received: 2"),
    ],
)
def test_devices_must_be_there_and_have_equal_parts(monkeypatch, devices, batch, message):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    monkeypatch.setattr("keras.distribution.list_devices", lambda: ["cpu:0", "cpu:1"])
    with pytest.raises(ValueError, match=message), distributed(devices, batch):
        pytest.fail("it began")


# --- what a run is made of


@pytest.fixture
def folders(tmp_path, rng):
    """Folders of one picture each to learn from and to judge by, and one that is not there yet."""
    for name in ("learn", "judge"):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "noise.png", rng.integers(0, 256, (64, 64, 3), np.uint8))
    return tmp_path / "learn", tmp_path / "judge", tmp_path / "runs" / "first"


@pytest.fixture
def first_run(folders, monkeypatch):
    """A small run that was trained, without its steps: its model stays as it was made."""
    monkeypatch.setattr(TrainingRun, "fit", lambda *_, **_how: None)
    options = TrainingRun(epochs=2, steps=1, batch=1, size=64, deblocking=4, refinement=4)
    options.train(*folders)
    return options


@pytest.mark.parametrize(
    "change",
    [{"epochs": 3}, {"hold": 0.5}, {"seed": 3}, {"refinement": 5}, {"without": ["switching"]}],
    ids=str,
)
def test_a_folder_keeps_to_the_run_it_was_begun_with(change, first_run, folders):
    """Also to its epochs: with more of them the learning rate would jump up the cosine again."""
    record = (folders[2] / "run.json").read_bytes()
    message = f"first holds a run with another {next(iter(change))}. Train into another folder"
    with pytest.raises(ValueError, match=message):
        replace(first_run, **change).train(*folders)
    assert (folders[2] / "run.json").read_bytes() == record
    first_run.train(*folders)


@pytest.mark.parametrize(("done", "allowed"), [(4, True), (5, False)])
def test_a_run_may_be_longer_as_long_as_its_rate_is_held(done, allowed, first_run, folders):
    run_file, held = folders[2] / "run.json", {"hold": 0.5, "epochs": 8}
    run_file.write_text(json.dumps(json.loads(run_file.read_text()) | held))
    (folders[2] / "checkpoint").mkdir()
    (folders[2] / "checkpoint" / "training_metadata.json").write_text(f'{{"epoch": {done}}}')
    longer = replace(first_run, hold=0.5, epochs=20)
    if allowed:
        longer.train(*folders)
    else:
        with pytest.raises(ValueError, match="another epochs"):
            longer.train(*folders)


def test_other_photographs_make_another_run(first_run, folders):
    (folders[0] / "noise.png").rename(folders[0] / "other.png")
    with pytest.raises(ValueError, match="holds a run with another photographs"):
        first_run.train(*folders)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 128}, "no photograph is as large as 128x128"),
        ({"size": 96}, "size must be a multiple of 64"),
        ({"start": "lite"}, "expected a codec like the model"),
        ({"start": "larger"}, "expected a codec file or one of"),
    ],
)
def test_a_run_that_is_refused_leaves_no_folder(change, message, folders):
    with pytest.raises(ValueError, match=message):
        TrainingRun(**{"refinement": 4, "size": 64, **change}).train(*folders)
    assert not folders[2].parent.exists()


def test_a_run_starts_from_the_weights_of_another(first_run, folders, tmp_path):
    codec = folders[2] / "trained.keras-codec"
    model = replace(first_run, start=str(codec), seed=9).new_model()
    found, expected = Codec.from_model(model).model, Codec.read(codec.read_bytes()).model
    for name, array in expected.transform_weights.items():
        np.testing.assert_array_equal(found.transform_weights[name], array)


@pytest.mark.parametrize(
    ("without", "resolutions", "attention", "loss"),
    [
        ([], 4, True, "ssim"),
        (["switching"], 4, True, "mse"),
        (["attention"], 4, False, "ssim"),
        (["resolutions"], 1, False, "ssim"),
        (["attention", "switching"], 4, False, "mse"),
    ],
)
def test_a_model_can_be_made_without_an_idea(without, resolutions, attention, loss):
    model = TrainingRun(deblocking=4, refinement=4, without=without).new_model()
    shape = model.architecture
    assert (shape.resolutions, shape.attention) == (resolutions, attention)
    assert (shape.deblocking, shape.refinement) == (4, 4)
    assert model.distortion.textured_loss == loss


def test_an_unknown_idea_is_refused():
    with pytest.raises(ValueError, match="without takes resolutions, .* Received: magic"):
        TrainingRun(without=["magic"])


# --- the command


def test_the_command_trains_what_the_library_would_by_default(monkeypatch, capsys, tmp_path):
    """Every option of a run is one of the command, under the same name and with the same value."""
    monkeypatch.chdir(tmp_path)
    for name in ("learn", "judge"):
        Path(name).mkdir()
        Path(name, "notes.txt").touch()
    seen = []
    monkeypatch.setattr(
        TrainingRun, "train", lambda run, *folders, **_: seen.append((run, *folders))
    )
    command = ["train", "learn", "--validation", "judge", "--to", "run"]
    assert main(command) == 0
    more = ["--resolutions", "3", "--refinement", "0", "--hold", "0.5", "--judge-every", "4"]
    assert main([*command, *more, "--without", "attention"]) == 0
    folders = Path("learn"), Path("judge"), Path("run")
    chosen = {"resolutions": 3, "refinement": 0, "hold": 0.5, "judge_every": 4}
    other = TrainingRun(**chosen, without=["attention"])
    assert seen == [(TrainingRun(without=[]), *folders), (other, *folders)]
    out = capsys.readouterr().out
    assert "judge: 0 photographs; left out: 1 other file\n" in out
    assert "trained.keras-codec: done" in out


def test_training_without_a_backend_is_one_line(tmp_path):
    command = [sys.executable, "-m", "mrdcae_lite.cli", "train", ".", "--validation", "."]
    done = subprocess.run(
        [*command, "--to", str(tmp_path / "run")],
        env={**os.environ, "KERAS_BACKEND": "absent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'pip install "mrdcae-lite[tensorflow]" or "mrdcae-lite[jax]"' in done.stderr
    assert not (tmp_path / "run").exists()


# --- the codec of a trained model


def test_a_model_is_frozen_with_tables_fitted_to_the_photographs(tiny_model, rng):
    noise = rng.integers(0, 256, (40, 50, 3), np.uint8)
    frozen = training.freeze(tiny_model, [noise], seed=3)
    plain = Codec.from_model(tiny_model)
    assert frozen.architecture == plain.architecture
    assert len(frozen.compress(noise, 50)) < len(plain.compress(noise, 50))
    assert training.freeze(tiny_model, [noise], seed=3).id == frozen.id


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ([300] * 3, [256] * 3),
        ([300, 40, 256], [256, 256]),  # small ones only if there are no others
        ([40, 70], [40, 70]),
        ([256] * 400, [256] * 80),
    ],
)
def test_tables_are_fitted_to_a_piece_of_each_of_some_photographs(sides, expected, monkeypatch):
    seen = []
    monkeypatch.setattr(training.Codec, "from_model", lambda model: model)
    monkeypatch.setattr(
        training,
        "with_fitted_tables",
        lambda codec, pieces: seen.extend(piece.shape for piece in pieces),
    )
    training.freeze(None, [np.zeros((side, side + 9, 3), np.uint8) for side in sides])
    assert seen == [(side, side, 3) for side in expected]
