"""What training is fed with, and what it does around the fit of a model of three numbers."""

import csv
import shutil

import keras
import numpy as np
import pytest
from keras import ops

from mrdcae_lite import preparation, training
from mrdcae_lite.codec import Codec
from mrdcae_lite.training import Photographs


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

    @property
    def metrics(self):
        return [*{id(m): m for m in [*super().metrics, self.lagrangian]}.values()]


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(20260)
    return [rng.integers(0, 256, (48, 48, 3), np.uint8) for _ in range(2)]


def run(folder, pictures, epochs=4, model=MeanColour):
    return training.train(
        model(), pictures, pictures, folder, epochs=epochs, steps=3, batch=2, size=32
    )


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


def test_more_epochs_go_on_from_a_finished_run(finished, whole_run, pictures):
    run(finished, pictures, epochs=6)
    log = read_log(finished)
    assert log[:4] == read_log(whole_run[0])
    assert [row["epoch"] for row in log[4:]] == ["5", "6"]


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


@pytest.mark.parametrize("augment", [True, False])
def test_crops_are_turned_only_if_they_are_to_be_augmented(
    tmp_path, pictures, monkeypatch, augment
):
    turned = []
    monkeypatch.setattr(training, "rotate", lambda image, rng: turned.append(image) or image)
    sizes = {"epochs": 1, "steps": 2, "batch": 1, "size": 32}
    training.train(MeanColour(), pictures, pictures, tmp_path, augment=augment, **sizes)
    assert bool(turned) == augment


def test_the_learning_rate_warms_up_and_falls_to_two_percent():
    schedule = training.make_optimizer(1000, 3e-3)._learning_rate
    rates = np.array([float(schedule(step)) for step in range(0, 1001, 50)])
    assert rates[0] == pytest.approx(6e-5)
    assert rates.argmax() == 2
    assert rates[2] == pytest.approx(3e-3)
    assert rates[-1] == pytest.approx(6e-5, rel=0.01)


def test_what_was_done_while_the_rate_was_held_fits_a_longer_run():
    short, long = (training.Schedule(3e-3, steps, hold=0.75) for steps in (1000, 2000))
    for step in (0, 50, 100, 749):
        assert float(short(step)) == float(long(step))
    assert float(long(1499)) == pytest.approx(3e-3)
    assert float(short(900)) < 2e-3
    assert float(long(2000)) == pytest.approx(6e-5)


# --- crops


@pytest.fixture
def photographs(rng):
    return [rng.integers(0, 256, shape, np.uint8) for shape in ((70, 90, 3), (64, 64, 3))]


def test_items_are_batches_of_crops(photographs):
    crops = Photographs(photographs, size=32, batch=5, steps=3)
    assert isinstance(crops, keras.utils.PyDataset)
    assert len(crops) == 3
    assert crops[0].shape == (5, 32, 32, 3)
    assert crops[0].dtype == np.float32
    assert crops[0].min() >= 0
    assert crops[0].max() <= 1


def test_an_item_depends_on_seed_epoch_and_index_alone(photographs):
    def item(seed, epoch, index, others=()):
        crops = Photographs(photographs, size=32, batch=2, seed=seed)
        crops.epoch = epoch
        for other in others:
            crops[other]
        return crops[index].tobytes()

    assert item(1, 2, 3) == item(1, 2, 3, others=(0, 7))
    assert len({item(1, 2, 3), item(0, 2, 3), item(1, 0, 3), item(1, 2, 0)}) == 4


def test_an_epoch_brings_new_crops_unless_they_are_fixed(photographs):
    moving = Photographs(photographs, size=32, batch=2)
    fixed = Photographs(photographs, size=32, batch=2, fixed=True)
    before = moving[0], fixed[0]
    for crops in (moving, fixed):
        crops.on_epoch_end()
    assert (moving[0] != before[0]).any()
    np.testing.assert_array_equal(fixed[0], before[1])


def test_without_augmentation_crops_are_cut_out_as_they_are(photographs):
    crops = Photographs(photographs[1:], size=64, batch=2, augment=False)
    expected = np.stack([preparation.normalise(photographs[1])] * 2)
    np.testing.assert_array_equal(crops[0], expected)


def test_large_photographs_are_drawn_more_often_but_not_in_proportion_to_their_area():
    dark, light = np.zeros((40, 40, 3), np.uint8), np.full((80, 60, 3), 255, np.uint8)
    crops = Photographs([dark, light], size=32, batch=400, augment=False)
    share = np.sqrt(80 * 60) / (np.sqrt(80 * 60) + np.sqrt(40 * 40))
    assert crops[0].mean() == pytest.approx(share, abs=0.06)


def test_photographs_that_are_too_small_are_left_out(photographs):
    narrow = np.zeros((90, 40, 3), np.uint8)
    assert len(Photographs([*photographs, narrow], size=64).images) == 2
    with pytest.raises(ValueError, match=r"as large as 96x96 pixels\. Received: 2 photographs"):
        Photographs(photographs, size=96)


@pytest.mark.parametrize("size", [0, 16, 100])
def test_crops_consist_of_whole_patches(photographs, size):
    with pytest.raises(
        ValueError, match=rf"multiple of 32 pixels, a patch\. Received: size={size}"
    ):
        Photographs(photographs, size=size)


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

    class Spy:
        @classmethod
        def from_model(cls, model):
            return cls()

        def refined(self, pieces):
            seen.extend(piece.shape for piece in pieces)

    monkeypatch.setattr(training, "Codec", Spy)
    training.freeze(None, [np.zeros((side, side + 9, 3), np.uint8) for side in sides])
    assert seen == [(side, side, 3) for side in expected]
