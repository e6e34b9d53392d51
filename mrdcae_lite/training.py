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
from mrdcae_lite.images import RGB, write_atomically
from mrdcae_lite.model import MRDCAE
from mrdcae_lite.preparation import Normalised, crop, flip, illuminate, normalise, rotate
from mrdcae_lite.pyramid import PATCH

PIECE = 256
"""Side in pixels of the pieces that the coding tables are fitted to."""


class Photographs(keras.utils.PyDataset):
    """Endless variety from a list of photographs: batches of augmented crops for `fit`.

    A photograph is drawn as often as the root of its area says: a large one has more to show, but
    does not crowd out the small ones. Batch i of epoch e depends on (seed, e, i) alone. Epochs
    follow one another by themselves; `epoch` can be set to resume exactly.

    Args:
        images: uint8 (height, width, 3) each; those with a side below `size` are left out.
        size: side of the crops in pixels, a multiple of 32.
        batch: crops a batch.
        steps: batches an epoch.
        augment: rotate, flip and change the illumination of half of the crops.
        seed: repeats the sequence.
        fixed: the same crops in every epoch, as a fair validation needs them.

    Items are float32 (batch, size, size, 3) in [0, 1].
    """

    def __init__(
        self,
        images: Sequence[RGB],
        *,
        size: int = 128,
        batch: int = 8,
        steps: int = 200,
        augment: bool = True,
        seed: int = 0,
        fixed: bool = False,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        if size < PATCH or size % PATCH:
            raise ValueError(
                f"size must be a multiple of {PATCH} pixels, a patch. Received: size={size!r}."
            )
        self.images = [image for image in images if min(image.shape[:2]) >= size]
        if not self.images:
            raise ValueError(
                f"no photograph is as large as {size}x{size} pixels. Received: {len(images)} "
                "photographs. Use larger ones or ask for smaller crops."
            )
        side = np.sqrt([image.shape[0] * image.shape[1] for image in self.images])
        self._share = side / side.sum()
        self._size, self._batch, self._steps = size, batch, steps
        self._augment, self._seed, self._fixed, self.epoch = augment, seed, fixed, 0

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> Normalised:
        rng = np.random.default_rng([self._seed, self.epoch, index])
        return np.stack([self._one(rng) for _ in range(self._batch)])

    def on_epoch_end(self) -> None:
        self.epoch += not self._fixed

    def _one(self, rng: np.random.Generator) -> Normalised:
        image = self.images[rng.choice(len(self.images), p=self._share)]
        piece = normalise(crop(image, self._size, rng))
        if not self._augment:
            return piece
        piece = flip(rotate(piece, rng), rng)
        return illuminate(piece, rng) if rng.random() < 0.5 else piece


@keras.saving.register_keras_serializable(package="mrdcae_lite")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate by step: from 2 % up to the peak in 100 steps, held, down a cosine to 2 %.

    What was learned while the rate was held does not depend on how long the run is to be: a run
    can be cut short or extended by giving its checkpoint another number of steps (Hägele et al.,
    2024).

    Args:
        peak: the highest rate.
        steps: of the whole run.
        hold: share of the steps before the rate falls.
    """

    WARMUP, END = 100, 0.02

    def __init__(self, peak: float, steps: int, hold: float = 0.0) -> None:
        self.peak, self.steps, self.hold = peak, steps, hold

    def __call__(self, step: Any) -> Any:
        ops = keras.ops
        step = ops.cast(step, "float32")
        falls = max(self.hold * self.steps, self.WARMUP)
        done = ops.clip((step - falls) / max(self.steps - falls, 1.0), 0.0, 1.0)
        cosine = self.END + (1 - self.END) * 0.5 * (1 + ops.cos(math.pi * done))
        warm = self.END + (1 - self.END) * step / self.WARMUP
        return self.peak * ops.minimum(warm, cosine)

    def get_config(self) -> dict[str, float]:
        return {"peak": self.peak, "steps": self.steps, "hold": self.hold}


def make_optimizer(
    steps: int, learning_rate: float, hold: float = 0.0
) -> keras.optimizers.Optimizer:
    """Adam with `Schedule`, clipped gradients and averaged weights.

    The average goes over the last hundredth of the steps, but over 100 to 1,000 of them.
    """
    momentum = 1 - 1 / min(max(steps / 100, 100), 1000)
    schedule = Schedule(learning_rate, steps, hold)
    return keras.optimizers.Adam(schedule, global_clipnorm=1.0, use_ema=True, ema_momentum=momentum)


class KeepBest(keras.callbacks.Callback):
    """After every few epochs: judge the averaged weights, log one row, keep the best weights.

    The judge is rate and distortion alone (`lagrangian`), without what else is trained.

    Args:
        folder: where `best.weights.h5` and `log.csv` go.
        crops: what is trained on; it is told which epoch begins.
        judged: batches to judge by, the same every time.
        every: epochs from one judgement to the next.
    """

    def __init__(
        self, folder: Path, crops: Photographs, judged: Photographs, every: int = 1
    ) -> None:
        super().__init__()
        self.every = every
        self.weights_path, self.log_path = folder / "best.weights.h5", folder / "log.csv"
        self.crops, self.judged = crops, judged
        self.started: float | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.crops.epoch = epoch
        if self.started is None:  # a run that goes on counts on from where it stopped
            spent = [float(row["cpu_seconds"]) for row in self._rows_before(epoch)]
            self.started = time.process_time() - max(spent, default=0.0)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if (epoch + 1) % self.every and epoch + 1 < self.params["epochs"]:
            return
        scores = self._judge_averaged(epoch)
        if not math.isfinite(scores["lagrangian"]):
            raise ValueError(
                f"the training diverged in epoch {epoch + 1}: its objective is "
                f"{scores['lagrangian']}. Start in another folder with a lower learning rate."
            )
        spent = time.process_time() - (self.started or 0.0)
        row = {"epoch": epoch + 1, "cpu_seconds": round(spent, 1)}
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
    hold: float = 0.0,
    judge_every: int = 1,
    augment: bool = True,
    seed: int = 0,
) -> MRDCAE:
    """Train `model`, going on from `folder` if it holds a run that stopped before `epochs`.

    Args:
        model: an MRDCAE, new or given the weights of a codec (`Codec.into_model`).
        photographs, validation: uint8 (height, width, 3) each.
        folder: receives `best.weights.h5`, `log.csv` and a checkpoint to go on from.
        epochs, steps, batch, size: epochs, batches an epoch, crops a batch, pixels a side.
        learning_rate: its peak.
        hold: share of the steps before the learning rate falls from its peak.
        judge_every: epochs from one judgement by the validation crops to the next.
        augment: rotate, flip and change the illumination of the crops to learn from.
        seed: of the crops.

    Returns the model with the best averaged weights found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not model.built:
        model.build()
    optimizer = make_optimizer(epochs * steps, learning_rate, hold)
    model.compile(optimizer=optimizer, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    crops = Photographs(
        photographs, size=size, batch=batch, steps=steps, augment=augment, seed=seed
    )
    judged = Photographs(validation, size=size, batch=16, steps=16, augment=False, fixed=True)
    keep = KeepBest(folder, crops, judged, judge_every)
    resume = keras.callbacks.BackupAndRestore(folder / "checkpoint", delete_checkpoint=False)
    calls = [keep, resume]
    model.fit(crops, epochs=epochs, shuffle=False, callbacks=calls, verbose=_verbosity())
    model.load_weights(folder / "best.weights.h5")
    return model


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
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
    return Codec.from_model(model).refined(pieces)


def _verbosity() -> int:
    """A progress bar on a terminal, one line an epoch in a file."""
    return 1 if sys.stdout.isatty() else 2
