"""MR-DCAE Lite: multi-resolution learned image compression, from patch to file.

import mrdcae_lite as mr

codec = mr.load("lite")
image = mr.sample("flowers")
data = codec.compress(image, quality=50)
restored = codec.decompress(data)
mr.bits_per_pixel(data, image.shape), mr.psnr(image, restored, data_range=255)
"""

import typing as _typing

from mrdcae_lite.io.registration import register_with_pillow as _register_with_pillow

_register_with_pillow()

if _typing.TYPE_CHECKING:
    from mrdcae_lite.codec import Codec
    from mrdcae_lite.coding.bitstream import BitstreamError
    from mrdcae_lite.coding.bitstream import read_header as info
    from mrdcae_lite.coding.metadata import Metadata, read_metadata
    from mrdcae_lite.core.distortion import mse, psnr
    from mrdcae_lite.core.patches import pad_to_multiple
    from mrdcae_lite.evaluation.curves import bd_rate
    from mrdcae_lite.evaluation.metrics import ms_ssim, seam_ratio, ssim, ssim_db
    from mrdcae_lite.evaluation.patches import from_patches, to_patches
    from mrdcae_lite.io.images import (
        ImageError,
        Picture,
        read_image,
        read_picture,
        sample,
        sample_names,
        write_image,
    )
    from mrdcae_lite.io.results import result
    from mrdcae_lite.io.sizes import bits_per_pixel, compression_ratio
    from mrdcae_lite.models import load, load_for
    from mrdcae_lite.training.model import MRDCAE

    __version__: str

_NAMES = {
    "codec": ("Codec",),
    "coding.bitstream": ("BitstreamError", "info"),
    "coding.metadata": ("Metadata", "read_metadata"),
    "core.distortion": ("mse", "psnr"),
    "core.patches": ("pad_to_multiple",),
    "evaluation.curves": ("bd_rate",),
    "evaluation.metrics": ("ms_ssim", "seam_ratio", "ssim", "ssim_db"),
    "evaluation.patches": ("from_patches", "to_patches"),
    "io.images": (
        *("ImageError", "Picture", "read_image", "read_picture"),
        *("sample", "sample_names", "write_image"),
    ),
    "io.results": ("result",),
    "io.sizes": ("bits_per_pixel", "compression_ratio"),
    "models": ("load", "load_for"),
    "training.model": ("MRDCAE",),
}
"""The names of the package by the module that each comes from."""

_EXTRAS = {
    "evaluation.curves": "evaluation",
    "evaluation.metrics": "evaluation",
    "training.model": "tensorflow",
}
"""Modules that need an extra of the package."""

__all__ = ["MRDCAE", "BitstreamError", "Codec", "Metadata", "Picture", "info", "load", "load_for"]
__all__ += ["ImageError", "read_image", "read_metadata", "read_picture", "write_image"]
__all__ += ["from_patches", "pad_to_multiple", "result", "sample", "sample_names", "to_patches"]
__all__ += ["bits_per_pixel", "compression_ratio", "mse", "psnr"]
__all__ += ["bd_rate", "ms_ssim", "seam_ratio", "ssim", "ssim_db"]


def __getattr__(name: str) -> object:
    """Import a name when it is first asked for, so that `import mrdcae_lite` takes no time."""
    import importlib.metadata
    from contextlib import nullcontext

    from mrdcae_lite.extras import extra

    if name == "__version__":
        return importlib.metadata.version("mrdcae-lite")
    module = next((module for module, names in _NAMES.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module 'mrdcae_lite' has no attribute {name!r}")
    with extra(_EXTRAS[module]) if module in _EXTRAS else nullcontext():
        found = importlib.import_module(f"mrdcae_lite.{module}")
    value = getattr(found, "read_header" if name == "info" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
