"""Batches of augmented crops from photographs, for `fit`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrdcae_lite.core.pixels import RGB, Normalised, normalise
from mrdcae_lite.core.pyramid import PATCH
from mrdcae_lite.io.images import pictures_in, read_image
from mrdcae_lite.training.augmentation import Photograph, crop, flip, illuminate, rotate
from mrdcae_lite.training.backend import keras

CACHE_BYTES = 768 * 2**20  # of pixels that `PhotographFolder` keeps in memory


class PhotographFile:
    """A photograph in a file, decoded when a piece of it is asked for.

    It is decoded once now, so that a damaged file is found before the training begins.
    """

    def __init__(self, path: Path, folder: "PhotographFolder") -> None:
        self.path, self.folder = path, folder
        self.shape = read_image(path).shape

    def __getitem__(self, area: Any) -> RGB:
        return self.folder.decoded(self.path)[area]


class PhotographFolder(list[PhotographFile]):
    """The photographs of a folder by name, with `cache_bytes` of the last used pixels in memory.

    Raises:
        ValueError: if there is no picture in the folder, or one is damaged.
    """

    def __init__(self, folder: Path, cache_bytes: int = CACHE_BYTES) -> None:
        paths = pictures_in(folder)
        if not paths:
            raise ValueError(f"no picture in {folder}. Give a folder of photographs.")
        self.names = [path.name for path in paths]
        self.cache_bytes, self._decoded = cache_bytes, dict[Path, RGB]()
        super().__init__(PhotographFile(path, self) for path in paths)

    def decoded(self, path: Path) -> RGB:
        """The pixels of a file, from memory if they are still there."""
        image = self._decoded.pop(path) if path in self._decoded else read_image(path)
        self._decoded[path] = image  # what was used last comes last
        while self.cached_bytes > self.cache_bytes and len(self._decoded) > 1:
            del self._decoded[next(iter(self._decoded))]
        return image

    @property
    def cached_bytes(self) -> int:
        """Bytes of pixels in memory."""
        return sum(image.nbytes for image in self._decoded.values())


class Photographs(keras.utils.PyDataset):
    """Endless batches of augmented crops from a list of photographs, for `fit`.

    A photograph is drawn in proportion to the root of its area: a large one has more to show, but
    does not crowd out the small ones. Batch i of epoch e depends on (seed, e, i) alone. Epochs
    follow one another by themselves; `epoch` can be set to resume exactly.

    Args:
        images: arrays uint8 (height, width, 3), or a `PhotographFolder`; those with a side below
            `size` are left out.
        size: side of the crops in pixels, a multiple of 32.
        batch: crops a batch.
        steps: batches an epoch.
        augment: rotate, flip and change the illumination of half of the crops.
        seed: repeats the sequence.
        fixed: the same crops in every epoch, to judge all epochs alike.

    Items are float32 (batch, size, size, 3) in [0, 1].

    Raises:
        ValueError: for another size, or if all photographs are smaller.
    """

    def __init__(
        self,
        images: Sequence[Photograph],
        *,
        size: int = 128,
        batch: int = 8,
        steps: int = 200,
        augment: bool = True,
        seed: int = 0,
        fixed: bool = False,
    ) -> None:
        super().__init__()
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
        self.size, self.batch, self.steps, self.augment = size, batch, steps, augment
        self.seed, self.fixed, self.epoch = seed, fixed, 0

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> Normalised:
        rng = np.random.default_rng([self.seed, self.epoch, index])
        return np.stack([self._one(rng) for _ in range(self.batch)])

    def on_epoch_end(self) -> None:
        self.epoch += not self.fixed

    def _one(self, rng: np.random.Generator) -> Normalised:
        image = self.images[rng.choice(len(self.images), p=self._share)]
        piece = normalise(crop(image, self.size, rng))
        if self.augment:
            piece = flip(rotate(piece, rng), rng)
            piece = illuminate(piece, rng) if rng.random() < 0.5 else piece
        return piece
