"""The training run behind `mrdcae train`: options, `fit` with checkpoints, the best codec kept.

A run lives in a folder: `run.json` (what it is made of), `log.csv` (a row an epoch), `checkpoint`
(to go on from), `best.weights.h5`, and in the end `trained.keras-codec`.
"""

import csv
import io
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrdcae_lite.codec import Codec
from mrdcae_lite.coding.bitstream import MAX_PIXELS
from mrdcae_lite.core import pyramid
from mrdcae_lite.core.files import write_atomically
from mrdcae_lite.models import load
from mrdcae_lite.training.augmentation import Photograph, crop
from mrdcae_lite.training.backend import keras, ops
from mrdcae_lite.training.data import Photographs, photographs_in
from mrdcae_lite.training.layers import register
from mrdcae_lite.training.model import MRDCAE
from mrdcae_lite.training.tables import with_fitted_tables

PIECE = 256  # side in pixels of the pieces that the coding tables are fitted to
JUDGED = 16, 16  # batches, and crops a batch, that every epoch is evaluated on
Announce = Callable[[dict[str, float]], None]
HIDDEN_KERNELS = "_update|_hidden|_mix|_up|/mix/kernel"  # ends of their paths; those of Muon
IDEAS = ("resolutions", "attention", "switching", "augmentation")  # what a run can leave out


@register
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate by step: from 2 % up to the peak in 100 steps, held, down a cosine to 2 %.

    What was learned while the rate was held does not depend on how long the run is to be: a run can
    be cut short or extended by giving its checkpoint another number of steps (Hägele et al., 2024).

    Args:
        peak: the highest rate.
        steps: of the whole run.
        hold: share of the steps before the rate falls.
    """

    WARMUP, END = 100, 0.02

    def __init__(self, peak: float, steps: int, hold: float = 0.0) -> None:
        self.peak, self.steps, self.hold = peak, steps, hold

    def __call__(self, step: Any) -> Any:
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
    """Muon and Adam with `Schedule`, clipped gradients, weights averaged over about 100 steps.

    The hidden kernels of the context model and the filters take steps that are orthogonal matrices
    (Muon; Jordan et al., 2024), scaled to the size of Adam's (Liu et al., 2025); everything else
    takes steps of Adam.
    """
    return keras.optimizers.Muon(
        Schedule(learning_rate, steps, hold),
        exclude_layers=[f"^(?!.*({HIDDEN_KERNELS})$)"],
        rms_rate=0.3,
        weight_decay=None,
        adam_weight_decay=None,
        global_clipnorm=1.0,
        use_ema=True,
        ema_momentum=0.99,
    )


class KeepBest(keras.callbacks.Callback):
    """After every few epochs: evaluate the averaged weights, log a row, keep the best weights.

    The best have the least rate-distortion cost (`lagrangian`), without the loss terms that only
    provide gradients.

    Args:
        folder: where `best.weights.h5` and `log.csv` go.
        crops: what is trained on; its `epoch` is set.
        validation: batches to evaluate on, the same every time.
        every: epochs from one evaluation to the next; the last epoch has one, too.
        announce: called with each row of the log.
    """

    def __init__(
        self,
        folder: Path,
        crops: Photographs,
        validation: Photographs,
        every: int = 1,
        announce: Announce | None = None,
    ) -> None:
        super().__init__()
        self.folder, self.crops, self.validation, self.every = folder, crops, validation, every
        self.announce = announce
        self.started: float | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.crops.epoch = epoch
        if self.started is None:  # a run that goes on counts on from its last row
            spent = max((float(row["cpu_seconds"]) for row in self._rows_before(epoch)), default=0)
            self.started = time.process_time() - spent

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if (epoch + 1) % self.every and epoch + 1 < self.params["epochs"]:
            return
        rows = self._rows_before(epoch)
        best = min((float(row["val_lagrangian"]) for row in rows), default=math.inf)
        scores = self._evaluate_averaged(best)
        if not math.isfinite(scores["lagrangian"]):
            raise ValueError(
                f"the training diverged in epoch {epoch + 1}: its objective is "
                f"{scores['lagrangian']}. Start in another folder with a lower learning rate."
            )
        row = {
            "epoch": epoch + 1,
            "cpu_seconds": round(time.process_time() - (self.started or 0), 1),
        }
        for prefix, values in (("", logs or {}), ("val_", scores)):
            row |= {prefix + name: round(float(x), 5) for name, x in sorted(values.items())}
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(row))
        writer.writeheader()
        writer.writerows([*rows, row])
        write_atomically(self.folder / "log.csv", text.getvalue().encode())
        if self.announce:
            self.announce(row)

    def _rows_before(self, epoch: int) -> list[dict[str, Any]]:
        """Logged rows of earlier epochs; a row of this one is left by a run cut off after it."""
        log = self.folder / "log.csv"
        rows = csv.DictReader(log.read_text().splitlines() if log.exists() else [])
        return [row for row in rows if int(row["epoch"]) <= epoch]

    def _evaluate_averaged(self, best: float) -> dict[str, float]:
        """Scores of the averaged weights, which are saved if their cost is below `best`."""
        own = deepcopy(self.model.get_weights())
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        # Under JAX each variable now is the average's buffer, and `evaluate` donates its buffers to
        # the compiled step, which would delete the average. So variables get copies.
        self.model.set_weights(deepcopy(self.model.get_weights()))
        scores = self.model.evaluate(self.validation, verbose=0, return_dict=True)
        if scores["lagrangian"] < best:
            self.model.save_weights(self.folder / "best.weights.h5")
        self.model.set_weights(own)
        return scores


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """The options of a training run. Together with the photographs they decide its outcome.

    Args:
        epochs, steps: epochs, and batches an epoch.
        batch, size: crops a batch, and pixels a side.
        learning_rate: its peak.
        hold: share of the run at the peak. Until the rate falls a run does not depend on its
            length, and may be given another number of epochs.
        judge_every: epochs from one evaluation to the next.
        seed: of weights, noise and crops.
        resolutions, deblocking, refinement: see `core.architecture.Architecture`.
        start: a codec to take the weights of, a shipped one by name or a file.
        without: which of `IDEAS` to leave out.

    Raises:
        ValueError: for an unknown idea, if `hold` is not from 0 to below 1, or if a batch is as
            large as no machine can hold.
    """

    epochs: int = 10
    steps: int = 200
    batch: int = 4
    size: int = 128
    learning_rate: float = 3e-3
    hold: float = 0.0
    judge_every: int = 1
    seed: int = 0
    resolutions: int = 4
    deblocking: int = 64
    refinement: int = 64
    start: str | None = None
    without: Sequence[str] = ()

    def __post_init__(self) -> None:
        if unknown := set(self.without) - set(IDEAS):
            raise ValueError(f"without takes {', '.join(IDEAS)}. Received: {', '.join(unknown)}.")
        if self.batch * self.size**2 > MAX_PIXELS:
            raise ValueError(
                f"a batch may have {MAX_PIXELS:,} pixels. Received: {self.batch} crops of "
                f"{self.size}x{self.size}. Take fewer or smaller ones."
            )
        if not 0 <= self.hold < 1:
            raise ValueError(f"hold must be from 0 to below 1. Received: {self.hold!r}.")

    def train(
        self,
        photographs: Path,
        validation: Path,
        folder: Path,
        *,
        devices: int = 1,
        silent: bool = False,
        announce: Announce | None = None,
    ) -> Codec:
        """Train a model, or go on with it, freeze it and write `folder / "trained.keras-codec"`.

        Args:
            photographs, validation: folders of pictures to learn from and to choose the best by.
            folder: of the run, made if it is not there; it may hold this run, cut off anywhere.
            devices: to share each batch among. They change the outcome by rounding only, and a run
                may go on with another number of them.
            silent: print nothing.
            announce: called with each row of the log.

        Raises:
            ValueError: if the folder holds another run, or the options or pictures do not fit. Then
                nothing is written.
        """
        with distributed(devices, self.batch):
            return self._train(photographs, validation, folder, silent, announce)

    def _train(
        self,
        photographs: Path,
        validation: Path,
        folder: Path,
        silent: bool,
        announce: Announce | None,
    ) -> Codec:
        model = self.new_model()
        learn, judge = photographs_in(photographs), photographs_in(validation)
        made_of = asdict(self)
        for name, pictures in (("photographs", learn), ("validation", judge)):
            made_of[name] = [picture.path.name for picture in pictures]
        check_same_run(folder, made_of)
        crops, judged = self.crops(learn), self.crops(judge, validation=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "run.json", json.dumps(made_of, indent=1).encode())
        self.fit(model, crops, judged, folder, silent=silent, announce=announce)
        codec = freeze(model, learn, seed=self.seed)
        codec.save(folder / "trained.keras-codec")
        return codec

    def new_model(self) -> MRDCAE:
        """The model before training."""
        keras.utils.set_random_seed(self.seed)
        resolutions = 1 if "resolutions" in self.without else self.resolutions
        model = MRDCAE(
            resolutions=resolutions,
            attention=resolutions > 1 and "attention" not in self.without,
            deblocking=self.deblocking,
            refinement=self.refinement,
            textured_loss="mse" if "switching" in self.without else "ssim",
            seed=self.seed,
        )
        model.build()
        if self.start:
            load(self.start).to_model(model)
        return model

    def crops(self, images: Sequence[Photograph], *, validation: bool = False) -> Photographs:
        """Batches to train on, or plain ones, the same in every epoch, to evaluate on."""
        steps, batch = JUDGED if validation else (self.steps, self.batch)
        return Photographs(
            images,
            size=self.size,
            batch=batch,
            steps=steps,
            augment=not validation and "augmentation" not in self.without,
            seed=0 if validation else self.seed,
            fixed=validation,
            unit=pyramid.unit(self.resolutions),
        )

    def fit(
        self,
        model: keras.Model,
        crops: Photographs,
        validation: Photographs,
        folder: Path,
        *,
        silent: bool = False,
        announce: Announce | None = None,
    ) -> None:
        """Fit a built model, from the checkpoint in `folder` if there is one.

        In the end the model has the best averaged weights found.
        """
        # Without XLA JAX would run one operation at a time, twenty times as slowly. TensorFlow has
        # its own graphs, and XLA would not repay the minutes that it takes to compile.
        model.compile(
            optimizer=make_optimizer(self.epochs * self.steps, self.learning_rate, self.hold),
            jit_compile=keras.backend.backend() == "jax",
        )
        model.optimizer.build(model.trainable_variables)
        keep = KeepBest(folder, crops, validation, self.judge_every, announce)
        resume = keras.callbacks.BackupAndRestore(folder / "checkpoint", delete_checkpoint=False)
        model.fit(
            crops,
            epochs=self.epochs,
            shuffle=False,
            callbacks=[keep, resume],
            # Nothing, a progress bar, or one line an epoch.
            verbose=0 if silent else 1 if sys.stdout.isatty() else 2,
        )
        model.load_weights(folder / "best.weights.h5")


@contextmanager
def distributed(devices: int, batch: int) -> Iterator[None]:
    """Share each batch that a model made here is trained on among devices of this machine.

    Each device has all weights and a part of the batch; gradients are summed (data parallelism).

    Raises `ValueError` if there are not so many, if they cannot have equal parts, or if Keras's
    backend cannot do it.
    """
    if devices == 1:
        yield
        return
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"expected the backend jax for {devices} devices. Received: "
            f"{keras.backend.backend()}. Set KERAS_BACKEND=jax."
        )
    found = keras.distribution.list_devices()
    if not 1 <= devices <= len(found):
        raise ValueError(
            f"devices must be from 1 to {len(found)}, as many as JAX has. Received: {devices}. "
            "XLA_FLAGS=--xla_force_host_platform_device_count=N simulates N on a processor."
        )
    if batch % devices or JUDGED[1] % devices:
        raise ValueError(
            f"devices must divide the batch, {batch}, and the {JUDGED[1]} crops of an evaluation. "
            f"Received: {devices}. Take another number of devices or another batch."
        )
    with keras.distribution.DataParallel(devices=found[:devices]).scope():
        yield


def check_same_run(folder: Path, made_of: dict[str, Any]) -> None:
    """Raise `ValueError` if `folder` holds a run that is made of something else.

    The epochs alone may differ, as long as the learning rate has not begun to fall in either run.
    """
    record, now = folder / "run.json", json.loads(json.dumps(made_of))
    before = json.loads(record.read_bytes()) if record.exists() else now
    changed = [name for name in now if now[name] != before.get(name)]
    progress = folder / "checkpoint" / "training_metadata.json"
    if changed == ["epochs"] and progress.exists():
        done = json.loads(progress.read_bytes())["epoch"]
        if done <= now["hold"] * min(now["epochs"], before["epochs"]):
            return
    if changed:
        raise ValueError(
            f"{folder} holds a run with another {', '.join(changed)}. Train into another folder; "
            "--start takes up the weights of a finished run."
        )


def freeze(model: MRDCAE, photographs: Sequence[Photograph], *, seed: int = 0) -> Codec:
    """The codec of a trained model, its tables fitted to pieces of at most 80 photographs."""
    rng = np.random.default_rng(seed)
    sizeable = [image for image in photographs if min(image.shape[:2]) >= PIECE] or photographs
    chosen = sizeable[:: max(1, -(-len(sizeable) // 80))]
    pieces = [crop(image, min(PIECE, *image.shape[:2]), rng) for image in chosen]
    return with_fitted_tables(Codec.from_model(model), pieces)
