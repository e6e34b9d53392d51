"""Input preparation: standard size, normalisation, rotation, flips, illumination changes.

The functions take and return NumPy images; whatever is random takes a generator, so that a seed
repeats it. `Photographs` feeds training with them.
"""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Normalised = NDArray[np.float32]


def standardise(image: Pixels, size: int) -> Pixels:
    """Centre square of an image, resized to `size` x `size` pixels (Lanczos).

    Args:
        image: uint8 (height, width, 3).
        size: side of the result in pixels.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


def normalise(image: Pixels) -> Normalised:
    """uint8 in 0 ... 255 to float32 in [0, 1]."""
    return image.astype(np.float32) / np.float32(255)


def denormalise(image: NDArray) -> Pixels:
    """Floats to uint8: scaled, rounded half to even and clipped. Inverse of `normalise`."""
    return np.clip(np.rint(np.asarray(image) * 255), 0, 255).astype(np.uint8)


def rotate(image: NDArray, rng: np.random.Generator) -> NDArray:
    """Rotation by 0, 90, 180 or 270 degrees: no pixel is interpolated."""
    return np.rot90(image, int(rng.integers(4)))


def flip(image: NDArray, rng: np.random.Generator) -> NDArray:
    """Left-right mirror image, half of the time."""
    return image[:, ::-1] if rng.random() < 0.5 else image


def illuminate(image: Normalised, rng: np.random.Generator) -> Normalised:
    """Change of illumination: gain 0.7 to 1.3 and gamma 0.8 to 1.25, clipped to [0, 1]."""
    gain, gamma = rng.uniform(0.7, 1.3), np.exp(rng.uniform(-0.22, 0.22))
    return np.clip(gain * image**gamma, 0, 1).astype(np.float32)


def crop(image: NDArray, size: int, rng: np.random.Generator) -> NDArray:
    """A random `size` x `size` piece; raises `ValueError` if the image is smaller."""
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise ValueError(
            f"an image of at least {size}x{size} pixels is needed for crops of that size. "
            f"Received: {width}x{height}. Leave it out or ask for smaller crops."
        )
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    return image[top : top + size, left : left + size]


class Photographs(keras.utils.PyDataset):
    """Endless variety from a list of photographs: batches of augmented crops for `fit`.

    Batch i of epoch e depends on (seed, e, i) alone. Epochs follow one another by themselves;
    `epoch` can be set to resume exactly.

    Args:
        images: uint8 (height, width, 3) each, both sides at least `size`.
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
        images: Sequence[Pixels],
        *,
        size: int = 128,
        batch: int = 8,
        steps: int = 200,
        augment: bool = True,
        seed: int = 0,
        fixed: bool = False,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self.images = [image for image in images if min(image.shape[:2]) >= size]
        if not self.images:
            raise ValueError(
                f"no photograph is as large as {size}x{size} pixels. Received: {len(images)} "
                "photographs. Use larger ones or ask for smaller crops."
            )
        area = np.array([image.shape[0] * image.shape[1] for image in self.images], float)
        self._share = area / area.sum()
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
