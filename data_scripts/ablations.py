"""What each idea is worth: twins trained without it, and other ways to route.

    python -m data_scripts.ablations --training data/training --to runs/twins [--jobs 2]

Every twin sees the same crops for the same number of steps and differs in one idea; `standard`
lacks all three and has more blocks instead, to be of about the same size. A twin that stands in
the folder already is not trained again. All are compared on the bundled photographs.
"""

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_scripts import DataError
from data_scripts.fetch import Parser, guarded
from data_scripts.results import BOOK
from mrdcae_lite import cli, evaluation
from mrdcae_lite.codec import Codec, load
from mrdcae_lite.evaluation import Entrant, Settings
from mrdcae_lite.images import read_image, write_atomically
from mrdcae_lite.patches import to_patches
from mrdcae_lite.quality import TEXTURED_ABOVE

Pixels = NDArray[np.uint8]
Routing = NDArray[np.uint8]

BUDGET = ("--epochs", "2", "--steps", "200", "--batch", "8", "--learning-rate", "0.003", "--mixed")
TWINS = {
    "all-three": (),
    "no-switching": ("--without", "switching"),
    "no-resolutions": ("--without", "resolutions"),
    "no-attention": ("--without", "attention"),
    "standard": (
        *("--without", "resolutions", "--without", "attention", "--without", "switching"),
        *("--blocks", "5"),
    ),
}
ROUTED_AT = (5, 20, 35, 50, 65, 80)


def trained(name: str, training: Path, folder: Path) -> Path:
    """The codec file of a twin, trained if it is not there."""
    file = folder / name / "trained.keras-codec"
    if not file.exists():
        print(f"training {name}", file=sys.stderr, flush=True)
        sets = [str(training / "train"), "--validation", str(training / "validation")]
        if cli.main(["train", *sets, "--to", str(file.parent), *BUDGET, *TWINS[name]]):
            raise DataError(f"{name} could not be trained; mend that and run again")
    return file


# --- other ways to route --------------------------------------------------------------------


def by_rank(values: NDArray[np.float64], like: Routing) -> Routing:
    """As many patches of each level as in `like`, the highest values getting the highest level."""
    levels = np.empty(like.size, np.uint8)
    levels[np.argsort(values.ravel(), kind="stable")] = np.sort(like.ravel())
    return levels.reshape(like.shape)


def _variance(image: Pixels, like: Routing) -> Routing:
    return by_rank(to_patches(image, 32).astype(float).var(axis=(2, 3)).sum(-1), like)


def _gradient(image: Pixels, like: Routing) -> Routing:
    patches = to_patches(image, 32).astype(float).mean(-1)
    down, right = np.diff(patches, axis=2), np.diff(patches, axis=3)
    return by_rank(abs(down).mean((2, 3)) + abs(right).mean((2, 3)), like)


def _random(image: Pixels, like: Routing) -> Routing:
    return np.random.default_rng(image.size).permutation(like.ravel()).reshape(like.shape)


ROUTERS: dict[str, Callable[[Pixels, Routing], Routing]] = {
    "attention": lambda _, like: like,
    "gradient": _gradient,
    "variance": _variance,
    "random": _random,
    "all levels everywhere": lambda _, like: np.full_like(like, 3),
}


def routers(codec: Codec, paths: Sequence[Path]) -> dict[str, Any]:
    """Each router's BD-rate in percent against giving all patches all levels, and its shares."""

    def encode(name: str, image: Pixels, quality: float) -> bytes:
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
        textured = evaluation.complexity(image) > TEXTURED_ABOVE
        curves = {}
        for name in ROUTERS:
            entrant = Entrant(name, ROUTED_AT, partial(encode, name), codec.decompress)
            curves[name] = tuple(
                evaluation.measure_point(image, entrant, q, textured) for q in ROUTED_AT
            )
        for name, by_measure in found.items():
            for measure, rates in by_measure.items():
                anchor = curves["all levels everywhere"]
                rates.append(evaluation.versus(anchor, curves[name], measure).bd_rate)
        print(f"routers: {path.name}", file=sys.stderr, flush=True)
    total = np.sum(shares, axis=0)
    return {
        "bd_rate": {n: {m: float(np.mean(v)) for m, v in by.items()} for n, by in found.items()},
        "share_of_levels": (total / total.sum()).round(4).tolist(),
        "qualities": list(ROUTED_AT),
    }


def _run(training: Path, folder: Path, jobs: int) -> None:
    if not (training / "train").is_dir():
        raise DataError(
            f"expected train/ and validation/ in {training}; run data_scripts.training_set"
        )
    files = {name: trained(name, training, folder) for name in TWINS}
    codecs = ("jpeg", *(f"{name}={file}" for name, file in files.items()))
    paths = evaluation.bundled()
    report = evaluation.evaluate(paths, Settings(codecs), jobs=jobs)
    logs = {
        name: (file.parent / "log.csv").read_text().splitlines() for name, file in files.items()
    }
    report |= {"budget": " ".join(BUDGET), "logs": logs, "routing": routers(load("lite"), paths)}
    out = BOOK / "results" / "ablations.json"
    write_atomically(out, evaluation.to_json(report).encode())
    print(evaluation.table(report))
    print(json.dumps(report["routing"], indent=1))
    print(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Train what is missing, compare all, write the report."""
    parser = Parser(prog="data_scripts.ablations")
    parser.add_argument("--training", type=Path, required=True, help="made by training_set")
    parser.add_argument("--to", type=Path, required=True, help="folder for the twins")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (1)")
    options = parser.parse_args(argv)
    return guarded(parser.prog, partial(_run, options.training, options.to, options.jobs))


if __name__ == "__main__":
    sys.exit(main())
