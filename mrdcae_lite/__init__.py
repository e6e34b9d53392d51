"""MR-DCAE Lite: multi-resolution learned image compression, from patch to file.

import mrdcae_lite as mr

codec = mr.load("lite")
image = mr.sample("flowers")
data = codec.compress(image, quality=50)
restored = codec.decompress(data)
mr.bits_per_pixel(data, image.shape), mr.psnr(image, restored, data_range=255)
"""

import typing as _typing

from mrdcae_lite.codec import Codec
from mrdcae_lite.coding.bitstream import BitstreamError
from mrdcae_lite.coding.bitstream import read_header as info
from mrdcae_lite.core.distortion import mse, psnr
from mrdcae_lite.core.patches import pad_to_multiple
from mrdcae_lite.evaluation.patches import from_patches, to_patches
from mrdcae_lite.io import pillow_plugin as _  # noqa: F401 - tells Pillow about .mrdc files
from mrdcae_lite.io.images import (
    ImageError,
    read_image,
    read_picture,
    sample,
    sample_names,
    write_image,
)
from mrdcae_lite.io.sizes import bits_per_pixel, compression_ratio
from mrdcae_lite.models import load, load_for

if _typing.TYPE_CHECKING:
    from mrdcae_lite.evaluation.curves import bd_rate
    from mrdcae_lite.evaluation.metrics import ms_ssim, seam_ratio, ssim, ssim_db
    from mrdcae_lite.training.model import MRDCAE

    __version__: str

__all__ = ["MRDCAE", "BitstreamError", "Codec", "info", "load", "load_for"]
__all__ += ["ImageError", "read_image", "read_picture", "sample", "sample_names", "write_image"]
__all__ += ["from_patches", "pad_to_multiple", "to_patches"]
__all__ += ["bits_per_pixel", "compression_ratio", "mse", "psnr"]
__all__ += ["bd_rate", "ms_ssim", "seam_ratio", "ssim", "ssim_db"]

_EXTRAS = {
    "MRDCAE": ("tensorflow", "training.model"),
    "bd_rate": ("evaluation", "evaluation.curves"),
    "ms_ssim": ("evaluation", "evaluation.metrics"),
    "seam_ratio": ("evaluation", "evaluation.metrics"),
    "ssim": ("evaluation", "evaluation.metrics"),
    "ssim_db": ("evaluation", "evaluation.metrics"),
}
"""Names that need an extra, and the modules they come from; imported when they are asked for."""


def __getattr__(name: str) -> object:
    """Import what is slow or needs an extra only when it is asked for."""
    import importlib.metadata

    from mrdcae_lite.extras import extra

    if name == "__version__":
        return importlib.metadata.version("mrdcae-lite")
    if name not in _EXTRAS:
        raise AttributeError(f"module 'mrdcae_lite' has no attribute {name!r}")
    brought_by, module = _EXTRAS[name]
    with extra(brought_by):
        return getattr(importlib.import_module(f"mrdcae_lite.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
