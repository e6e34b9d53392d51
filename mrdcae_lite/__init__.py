"""MR-DCAE Lite: multi-resolution learned image compression, from patch to file.

import mrdcae_lite as mr

codec = mr.load("lite")
image = mr.sample("flowers")
data = codec.compress(image, quality=50)
restored = codec.decompress(data)
mr.bits_per_pixel(data, image.shape), mr.psnr(image, restored, data_range=255)
"""

import importlib
from typing import TYPE_CHECKING

from mrdcae_lite.codec import Codec
from mrdcae_lite.coding.bitstream import BitstreamError
from mrdcae_lite.coding.bitstream import read_header as info
from mrdcae_lite.core.distortion import bits_per_pixel, compression_ratio, mse, psnr
from mrdcae_lite.core.patches import pad_to_multiple
from mrdcae_lite.evaluation.metrics import bd_rate, ms_ssim, seam_ratio, ssim, ssim_db
from mrdcae_lite.evaluation.patches import from_patches, to_patches
from mrdcae_lite.io import pillow_plugin as pillow_plugin  # tells Pillow about .mrdc files
from mrdcae_lite.io.images import (
    ImageError,
    read_image,
    read_picture,
    sample,
    sample_names,
    write_image,
)
from mrdcae_lite.models import load, load_for

if TYPE_CHECKING:
    from mrdcae_lite.training.model import MRDCAE

__version__ = "0.1.0"

__all__ = [
    "MRDCAE",
    "BitstreamError",
    "Codec",
    "ImageError",
    "bd_rate",
    "bits_per_pixel",
    "compression_ratio",
    "from_patches",
    "info",
    "load",
    "load_for",
    "ms_ssim",
    "mse",
    "pad_to_multiple",
    "psnr",
    "read_image",
    "read_picture",
    "sample",
    "sample_names",
    "seam_ratio",
    "ssim",
    "ssim_db",
    "to_patches",
    "write_image",
]


def __getattr__(name: str) -> object:
    """Import the model only when it is asked for: it needs Keras, all else works at once."""
    if name != "MRDCAE":
        raise AttributeError(f"module 'mrdcae_lite' has no attribute {name!r}")
    return importlib.import_module("mrdcae_lite.training.model").MRDCAE
