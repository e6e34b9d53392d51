"""Batches of augmented crops from photographs, for `fit`."""

from collections.abc import Sequence

import keras
import numpy as np

from mrdcae_lite.core.pixels import RGB, Normalised, normalise
from mrdcae_lite.core.pyramid import PATCH
from mrdcae_lite.training.augmentation import crop, flip, illuminate, rotate


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
