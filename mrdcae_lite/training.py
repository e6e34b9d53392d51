"""The training run behind `mrdcae train`: plain `fit`, checkpoints, the best codec kept."""

import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import keras

from mrdcae_lite.model import MRDCAE
from mrdcae_lite.preparation import Photographs, Pixels


def make_optimizer(steps: int, learning_rate: float) -> keras.optimizers.Optimizer:
    """Adam with warm-up, cosine decay to 2 %, clipped gradients and averaged weights."""
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=learning_rate / 50,
        decay_steps=max(steps - 100, 1),
        alpha=0.02,
        warmup_target=learning_rate,
        warmup_steps=100,
    )
    return keras.optimizers.Adam(schedule, global_clipnorm=1.0, use_ema=True, ema_momentum=0.998)


class KeepBest(keras.callbacks.Callback):
    """After every epoch: validate the averaged weights, log one row, keep the best weights.

    Args:
        folder: where `best.weights.h5` and `log.csv` go.
        validation: batches to judge by.
        every: epochs between two validations.
    """

    def __init__(self, folder: Path, validation: Photographs, every: int = 1) -> None:
        super().__init__()
        self.folder, self.validation, self.every = folder, validation, every
        self.log, self.started = folder / "log.csv", time.process_time()
        self.best = min((float(row["val_loss"]) for row in self._rows()), default=float("inf"))

    def _rows(self) -> list[dict[str, str]]:
        if not self.log.exists():
            return []
        with self.log.open(newline="") as file:
            return list(csv.DictReader(file))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if (epoch + 1) % self.every and epoch + 1 < self.params["epochs"]:
            return
        own = [v.numpy() for v in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        scores = self.model.evaluate(self.validation, verbose=0, return_dict=True)
        if scores["loss"] < self.best:
            self.best = scores["loss"]
            self.model.save_weights(self.folder / "best.weights.h5")
        for variable, value in zip(self.model.trainable_variables, own, strict=True):
            variable.assign(value)
        self._write(epoch + 1, logs or {}, scores)

    def _write(self, epoch: int, logs: dict[str, float], scores: dict[str, float]) -> None:
        row = {"epoch": epoch, "cpu_seconds": round(time.process_time() - self.started, 1)}
        row |= {name: round(float(v), 5) for name, v in sorted(logs.items())}
        row |= {f"val_{name}": round(float(v), 5) for name, v in sorted(scores.items())}
        new = not self.log.exists()
        with self.log.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)


def train(
    model: MRDCAE,
    photographs: Sequence[Pixels],
    validation: Sequence[Pixels],
    folder: Path,
    *,
    epochs: int = 10,
    steps: int = 200,
    batch: int = 8,
    size: int = 128,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> MRDCAE:
    """Train `model`, resuming from `folder` if it holds a run that was cut off.

    Args:
        model: a new MRDCAE.
        photographs, validation: uint8 (height, width, 3) each.
        folder: receives `best.weights.h5`, `log.csv` and the checkpoint of a cut-off run.
        epochs, steps, batch, size: epochs, batches an epoch, crops a batch, pixels a side.
        learning_rate: its peak.
        seed: of the crops.

    Returns the model with the best averaged weights found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.build()
    model.compile(optimizer=make_optimizer(epochs * steps, learning_rate), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    judged = Photographs(validation, size=size, batch=batch, steps=16, augment=False, seed=1)
    keep = KeepBest(folder, judged)
    resume = keras.callbacks.BackupAndRestore(folder / "checkpoint")
    done = len(keep._rows())
    crops = Photographs(photographs, size=size, batch=batch, steps=steps, seed=seed, epoch=done)
    model.fit(crops, epochs=epochs, callbacks=[resume, keep], verbose=_verbosity())
    model.load_weights(folder / "best.weights.h5")
    return model


def _verbosity() -> int:
    """A progress bar on a terminal, one line an epoch in a file."""
    return 1 if sys.stdout.isatty() else 2
