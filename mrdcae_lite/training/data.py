"""Batches of augmented crops from photographs, for `fit`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrdcae_lite.core.pixels import RGB, Normalised, normalise
from mrdcae_lite.core.pyramid import PATCH
from mrdcae_lite.io.images import pictures_in, read_image
from mrdcae_lite.training.augmentation import Photograph, crop, flip, illuminate, rotate
from mrdcae_lite.training.backend import keras

CACHE_BYTES = 768 * 2**20  # of pixels of photographs in files that are kept in memory


@dataclass(frozen=True)
class PhotographFile:
    """A photograph in a file, decoded whenever a piece is asked for if its `pixels` are None."""

    path: Path
    shape: tuple[int, ...]
    pixels: RGB | None

    def __getitem__(self, area: Any) -> RGB:
        pixels = read_image(self.path) if self.pixels is None else self.pixels
        return pixels[area]


def photographs_in(folder: Path, cache_bytes: int = CACHE_BYTES) -> list[PhotographFile]:
    """The photographs of a folder or address by name; as many as fit stay in memory.

    All are decoded once now: a damaged one is found before the training begins. The pixels of one
    are kept if they fit into what those before it have left of `cache_bytes`.

    Raises:
        ValueError: if there is no picture in the folder, or one is damaged.
        OSError: if it cannot be listed, or a store does not answer.
    """
    photographs = []
    for path in pictures_in(folder)[0]:
        pixels = read_image(path)
        fits = pixels.nbytes <= cache_bytes
        cache_bytes -= pixels.nbytes if fits else 0
        photographs.append(PhotographFile(path, pixels.shape, pixels if fits else None))
    if not photographs:
        raise ValueError(f"no picture in {folder}. Give a folder of photographs.")
    return photographs


class Photographs(keras.utils.PyDataset):
    """Endless batches of augmented crops from a list of photographs, for `fit`.

    A photograph is drawn in proportion to the root of its area: a large one has more to show, but
    does not crowd out the small ones. Batch i of epoch e depends on (seed, e, i) alone. Epochs
    follow one another by themselves; `epoch` can be set to resume exactly.

    Args:
        images: uint8 (height, width, 3), arrays or `photographs_in` a folder; those with a side
            below `size` are left out.
        size: side of the crops in pixels, a multiple of `unit`.
        batch: crops a batch.
        steps: batches an epoch.
        augment: rotate, flip and change the illumination of half of the crops.
        seed: repeats the sequence.
        fixed: the same crops in every epoch, to judge all epochs alike.
        unit: see `Architecture.unit`.

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
        unit: int = PATCH,
    ) -> None:
        super().__init__()
        if size < unit or size % unit:
            raise ValueError(f"size must be a multiple of {unit} pixels. Received: size={size!r}.")
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
