"""The training run behind `mrdcae train`: crops, plain `fit`, checkpoints, the best codec kept."""

import csv
import io
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mrdcae_lite.codec import Codec
from mrdcae_lite.core.files import write_atomically
from mrdcae_lite.core.pixels import RGB
from mrdcae_lite.training.augmentation import crop
from mrdcae_lite.training.data import Photographs
from mrdcae_lite.training.model import MRDCAE
from mrdcae_lite.training.tables import with_fitted_tables

PIECE = 256
"""Side in pixels of the pieces that the coding tables are fitted to."""


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

    The judge is rate and distortion alone (`lagrangian`), without what else is trained.

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
        if not math.isfinite(scores["lagrangian"]):
            raise ValueError(
                f"the training diverged in epoch {epoch + 1}: its objective is "
                f"{scores['lagrangian']}. Start in another folder with a lower learning rate."
            )
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
        before = (float(row["val_lagrangian"]) for row in self._rows_before(epoch))
        best = min(before, default=math.inf)
        variables = self.model.trainable_variables
        own = [keras.ops.convert_to_numpy(variable) for variable in variables]
        self.model.optimizer.finalize_variable_values(variables)
        scores = self.model.evaluate(self.judged, verbose=0, return_dict=True)
        if scores["lagrangian"] < best:
            self.model.save_weights(self.weights_path)
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
        return scores


def train(
    model: MRDCAE,
    photographs: Sequence[RGB],
    validation: Sequence[RGB],
    folder: Path,
    *,
    epochs: int = 10,
    steps: int = 200,
    batch: int = 4,
    size: int = 128,
    learning_rate: float = 3e-3,
    augment: bool = True,
    seed: int = 0,
) -> MRDCAE:
    """Train `model`, going on from `folder` if it holds a run that stopped before `epochs`.

    Args:
        model: an MRDCAE, new or given the weights of a codec (`Codec.to_model`).
        photographs, validation: uint8 (height, width, 3) each.
        folder: receives `best.weights.h5`, `log.csv` and a checkpoint to go on from.
        epochs, steps, batch, size: epochs, batches an epoch, crops a batch, pixels a side.
        learning_rate: its peak.
        augment: rotate, flip and change the illumination of the crops to learn from.
        seed: of the crops.

    Returns the model with the best averaged weights found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not model.built:
        model.build()
    model.compile(optimizer=make_optimizer(epochs * steps, learning_rate), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    crops = Photographs(
        photographs, size=size, batch=batch, steps=steps, augment=augment, seed=seed
    )
    judged = Photographs(validation, size=size, batch=16, steps=16, augment=False, fixed=True)
    keep = KeepBest(folder, crops, judged)
    resume = keras.callbacks.BackupAndRestore(folder / "checkpoint", delete_checkpoint=False)
    calls = [keep, resume]
    model.fit(crops, epochs=epochs, shuffle=False, callbacks=calls, verbose=_verbosity())
    model.load_weights(folder / "best.weights.h5")
    return model


def check_same_run(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write down what a run is made of; the folder must be empty or hold a run of the same.

    Args:
        folder: of the run, made if it is not there.
        settings: whatever decides the outcome and can be written as JSON, less the epochs: a
            finished run goes on if it is asked for more of them.

    Raises `ValueError` if the folder holds another run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "run.json"
    before = json.loads(record.read_bytes()) if record.exists() else settings
    changed = [name for name in settings if settings[name] != before.get(name)]
    if changed:
        raise ValueError(
            f"{folder} holds a run with another {', '.join(changed)}. Train into another folder."
        )
    write_atomically(record, json.dumps(settings, indent=1).encode())


def freeze(model: MRDCAE, photographs: Sequence[RGB], *, seed: int = 0) -> Codec:
    """The codec of a trained model, its tables fitted to pieces of at most 80 photographs."""
    rng = np.random.default_rng(seed)
    sizeable = [image for image in photographs if min(image.shape[:2]) >= PIECE] or photographs
    chosen = sizeable[:: max(1, -(-len(sizeable) // 80))]
    pieces = [crop(image, min(PIECE, *image.shape[:2]), rng) for image in chosen]
    return with_fitted_tables(Codec.from_model(model), pieces)


def _verbosity() -> int:
    """A progress bar on a terminal, one line an epoch in a file."""
    return 1 if sys.stdout.isatty() else 2
