"""The training run behind `mrdcae train`: plain `fit`, checkpoints, the best codec kept."""

import csv
import io
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import keras

from mrdcae_lite.images import write_atomically
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
    return keras.optimizers.Adam(schedule, global_clipnorm=1.0, use_ema=True, ema_momentum=0.99)


class KeepBest(keras.callbacks.Callback):
    """After every epoch: judge the averaged weights, log one row, keep the best weights.

    Args:
        folder: where `best.weights.h5` and `log.csv` go.
        crops: what is trained on; it is told which epoch begins.
        judged: batches to judge by, the same every time.
    """

    def __init__(self, folder: Path, crops: Photographs, judged: Photographs) -> None:
        super().__init__()
        self.weights_path, self.log_path = folder / "best.weights.h5", folder / "log.csv"
        self.crops, self.judged = crops, judged
        self.started = time.process_time()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.crops.epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        scores = self._judge_averaged(epoch)
        row = {"epoch": epoch + 1, "cpu_seconds": round(time.process_time() - self.started, 1)}
        row |= {name: round(float(v), 5) for name, v in sorted((logs or {}).items())}
        row |= {f"val_{name}": round(float(v), 5) for name, v in sorted(scores.items())}
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(row))
        writer.writeheader()
        writer.writerows([*self._rows_before(epoch), row])
        write_atomically(self.log_path, text.getvalue().encode())

    def _rows_before(self, epoch: int) -> list[dict[str, str]]:
        """Logged rows of earlier epochs; a row of this one is left by a run cut off after it."""
        if not self.log_path.exists():
            return []
        with self.log_path.open(newline="") as file:
            return [row for row in csv.DictReader(file) if int(row["epoch"]) <= epoch]

    def _judge_averaged(self, epoch: int) -> dict[str, float]:
        best = min((float(r["val_loss"]) for r in self._rows_before(epoch)), default=math.inf)
        variables = self.model.trainable_variables
        own = [keras.ops.convert_to_numpy(variable) for variable in variables]
        self.model.optimizer.finalize_variable_values(variables)
        scores = self.model.evaluate(self.judged, verbose=0, return_dict=True)
        if scores["loss"] < best:
            self.model.save_weights(self.weights_path)
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
        return scores


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
    """Train `model`, going on from `folder` if it holds a run that stopped before `epochs`.

    Args:
        model: a new MRDCAE.
        photographs, validation: uint8 (height, width, 3) each.
        folder: receives `best.weights.h5`, `log.csv` and a checkpoint to go on from.
        epochs, steps, batch, size: epochs, batches an epoch, crops a batch, pixels a side.
        learning_rate: its peak.
        seed: of the crops.

    Returns the model with the best averaged weights found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.build()
    model.compile(optimizer=make_optimizer(epochs * steps, learning_rate), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    crops = Photographs(photographs, size=size, batch=batch, steps=steps, seed=seed)
    judged = Photographs(validation, size=size, batch=16, steps=16, augment=False, fixed=True)
    keep = KeepBest(folder, crops, judged)
    resume = keras.callbacks.BackupAndRestore(folder / "checkpoint", delete_checkpoint=False)
    calls = [keep, resume]
    model.fit(crops, epochs=epochs, shuffle=False, callbacks=calls, verbose=_verbosity())
    model.load_weights(folder / "best.weights.h5")
    return model


def _verbosity() -> int:
    """A progress bar on a terminal, one line an epoch in a file."""
    return 1 if sys.stdout.isatty() else 2
