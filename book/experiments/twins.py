"""What each idea is worth: twins trained without it, and other ways to route.

Every twin sees the same crops for the same number of steps and differs in one idea; `standard`
lacks all three. Two more ask about parts that are this codec's own: `no-refinement` has no filter
but deblocking, and `three-resolutions` ends one pathway earlier, at 1/32. The experiments `twins`
and `routing` use this.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrdcae_lite.codec import Codec
from mrdcae_lite.core.pixels import RGB
from mrdcae_lite.evaluation.benchmark import CodecUnderTest, measure_point
from mrdcae_lite.evaluation.curves import compare
from mrdcae_lite.evaluation.patches import to_patches
from mrdcae_lite.io.images import read_image
from mrdcae_lite.training.complexity import TEXTURE_THRESHOLD, local_complexity

Routing = NDArray[np.uint8]

TWINS: dict[str, dict[str, Any]] = {
    "all-three": {},
    "no-switching": {"without": ("switching",)},
    "no-resolutions": {"without": ("resolutions",)},
    "no-attention": {"without": ("attention",)},
    "no-augmentation": {"without": ("augmentation",)},
    "standard": {"without": ("resolutions", "switching")},
    "no-refinement": {"refinement": 0},
    "three-resolutions": {"resolutions": 3},
}
"""Options of the training run by twin."""

ROUTED_AT = (5, 20, 35, 50, 65, 80)


def trained(name: str, training: Path, folder: Path, **options: Any) -> Path:
    """The codec file of a twin, trained as `mrdcae train` trains.

    `training` is the folder that `data_scripts.training_set` made. `folder` receives one of the
    twin, with its codec, best weights and `log.csv`; if that is there already, nothing is trained.
    `options` are further ones of `training.run.TrainingRun`.
    """
    from mrdcae_lite.training.run import TrainingRun

    file = folder / name / "trained.keras-codec"
    if not file.exists():
        run = TrainingRun(**TWINS[name], **options)
        run.train(training / "train", training / "validation", file.parent)
    return file


# --- other ways to route --------------------------------------------------------------------


def by_rank(values: NDArray[np.float64], like: Routing) -> Routing:
    """As many patches of each level as in `like`, the highest values getting the highest level."""
    levels = np.empty(like.size, np.uint8)
    levels[np.argsort(values.ravel(), kind="stable")] = np.sort(like.ravel())
    return levels.reshape(like.shape)


def _variance(image: RGB, like: Routing) -> Routing:
    return by_rank(to_patches(image, 32).astype(float).var(axis=(2, 3)).sum(-1), like)


def _gradient(image: RGB, like: Routing) -> Routing:
    patches = to_patches(image, 32).astype(float).mean(-1)
    down, right = np.diff(patches, axis=2), np.diff(patches, axis=3)
    return by_rank(abs(down).mean((2, 3)) + abs(right).mean((2, 3)), like)


def _random(image: RGB, like: Routing) -> Routing:
    return np.random.default_rng(image.size).permutation(like.ravel()).reshape(like.shape)


ROUTERS: dict[str, Callable[[RGB, Routing], Routing]] = {
    "attention": lambda _, like: like,
    "gradient": _gradient,
    "variance": _variance,
    "random": _random,
    "all levels everywhere": lambda _, like: np.full_like(like, 3),
}


def routers(codec: Codec, paths: Sequence[Path]) -> dict[str, Any]:
    """Each router's BD-rate in percent against giving all patches all levels, and its shares."""

    def encode(name: str, image: RGB, quality: float) -> bytes:
        like = codec.routing_map(image, int(quality))
        return codec.compress(image, int(quality), routing=ROUTERS[name](image, like))

    found: dict[str, dict[str, list[float]]] = {
        name: {"psnr": [], "ssim_db": []} for name in ROUTERS
    }
    shares = []
    for path in paths:
        image = read_image(path)
        shares += [
            np.bincount(codec.routing_map(image, q).ravel(), minlength=4)[1:] for q in ROUTED_AT
        ]
        textured = local_complexity(image / 255) > TEXTURE_THRESHOLD
        curves = {}
        for name in ROUTERS:
            routed = CodecUnderTest(name, ROUTED_AT, partial(encode, name), codec.decompress)
            curves[name] = tuple(measure_point(image, routed, q, textured) for q in ROUTED_AT)
        for name, by_measure in found.items():
            for measure, rates in by_measure.items():
                anchor = curves["all levels everywhere"]
                rates.append(compare(anchor, curves[name], measure).bd_rate)
        print(f"routers: {path.name}", file=sys.stderr, flush=True)
    total = np.sum(shares, axis=0)
    return {
        "bd_rate": {n: {m: float(np.mean(v)) for m, v in by.items()} for n, by in found.items()},
        "share_of_levels": (total / total.sum()).round(4).tolist(),
        "qualities": list(ROUTED_AT),
    }
