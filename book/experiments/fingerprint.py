"""What the experiments measure with, told by what it does: small pictures in, numbers out.

A part is a shipped codec, its slower encoder, the classical codecs, the metrics, the pictures, the
routers, or the training of twins. Its numbers stay as they are when code is renamed or tidied, on
another machine or with other threads; a constant, a metric or a library that matters changes them.
A result names the parts that it was made with by an id; book/results/fingerprints.json holds their
numbers.
"""

import json
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

import mrdcae_lite as mr
from book.experiments import bench_codecs, toolbox, twins
from book.experiments.inputs import Numbers, weights_file
from mrdcae_lite.core.pixels import RGB
from mrdcae_lite.core.quality import HIGHEST_EFFORT
from mrdcae_lite.evaluation import benchmark, inspection, report
from mrdcae_lite.evaluation.baselines import BASELINES, encode_to_size
from mrdcae_lite.evaluation.benchmark import CodecUnderTest
from mrdcae_lite.evaluation.curves import Point, compare, value_at
from mrdcae_lite.io.images import read_image
from mrdcae_lite.training.complexity import TEXTURE_THRESHOLD, local_complexity

TOLERANCES = {"bytes": (0, 0.005), "dB": (0.01, 0), "ssim": (1e-4, 0), "loss": (0, 2e-3)}
"""Absolute and relative, by the last word of a number's name; others 0.1 %.

What other processors and numbers of threads change lies well below, what moves a result above.
"""
QUALITIES = (10, 45, 80)
CUTS = {"flowers": (96, 176), "bulb": (200, 96)}  # first row and column, side


def fixed_pictures() -> dict[str, RGB]:
    """Two photographs' pieces and a drawing with edges, fine stripes and flat places."""
    found = {
        name: np.ascontiguousarray(mr.sample(name)[at : at + side, at : at + side])
        for name, (at, side) in CUTS.items()
    }
    y, x = np.mgrid[:93, :130]
    drawing = np.full((93, 130, 3), [250, 245, 230], np.uint8)
    drawing[(x > 80) & (x // 2 % 2 == 0)] = [200, 200, 190]
    drawing[np.hypot(y - 46, x - 40) < 30] = [40, 60, 160]
    return {**found, "drawing": drawing}


def scores(image: RGB, restored: RGB) -> Numbers:
    """A restored picture's PSNR and SSIM."""
    return {
        "dB": mr.psnr(image, restored, data_range=255),
        "ssim": mr.ssim(image, restored, data_range=255),
    }


def codec(name: str) -> Numbers:
    """A shipped codec: bytes and scores, the lower levels, saliency, routing, information."""
    found: Numbers = {}
    ours = mr.Codec.read(weights_file(name).read_bytes())  # afresh: a loaded one remembers
    for key, image in fixed_pictures().items():
        for quality in QUALITIES:
            data = ours.compress(image, quality)
            found[f"{key} {quality} bytes"] = len(data)
            for level in range(1, ours.architecture.highest + 1):
                restored = ours.decompress(data, level=level)
                found |= _named(f"{key} {quality} level {level}", scores(image, restored))
            latents = ours.analyse(image, quality)
            found[f"{key} {quality} saliency"] = float(latents.scores.mean())
            found[f"{key} {quality} proposal"] = _pattern(latents.routing)
            found[f"{key} {quality} routing"] = _pattern(ours.routing_map(image, quality))
        bits = sum(float(level.sum()) for level in inspection.information(ours.model, data))
        found[f"{key} information bytes"] = bits / 8
    data = ours.compress(image, target_bpp=1.5)
    return found | {"target bytes": len(data), "target quality": mr.info(data).quality}


def effort() -> Numbers:
    """Bytes and scores of pictures that were encoded with the highest effort."""
    ours, found = mr.Codec.read(weights_file("lite").read_bytes()), Numbers()
    for key, image in fixed_pictures().items():
        for quality in QUALITIES:
            data = ours.compress(image, quality, effort=HIGHEST_EFFORT)
            found[f"{key} {quality} bytes"] = len(data)
            found |= _named(f"{key} {quality}", scores(image, ours.decompress(data)))
    return found


def baselines() -> Numbers:
    """The classical codecs: bytes and scores at the ends of their sweeps, and a small report."""
    found: Numbers = {}
    images = fixed_pictures()
    for name, baseline in BASELINES.items():
        found[f"{name} sweep"] = float(np.sum(baseline.sweep))
        for key in ("flowers", "drawing"):
            for quality in (baseline.sweep[1], baseline.sweep[-2]):
                data = baseline.encode(images[key], quality)
                found[f"{name} {key} {quality} bytes"] = len(data)
                restored = baseline.decode(data)
                found |= _named(f"{name} {key} {quality}", scores(images[key], restored))
        found[f"{name} target bytes"] = len(encode_to_size(baseline, images["bulb"], 2000))
    return found


def metrics() -> Numbers:
    """Everything that scores, compares and reads curves, on pairs that no codec made."""
    found: Numbers = {"qualities": float(np.sum(benchmark.SWEEP)), "rates": sum(report.RATES)}
    for key, image in fixed_pictures().items():
        textured = local_complexity(image / 255) > TEXTURE_THRESHOLD
        found[f"{key} complexity"] = float(local_complexity(image / 255).mean())
        found[f"{key} textured"] = _pattern(textured)
        curves: dict[str, list[Point]] = {"coarse": [], "shifted": []}
        for step in (8, 16, 32, 64):
            coarse = (image // step * step + step // 2).clip(0, 255).astype(np.uint8)
            shifted = np.roll(coarse, 1, axis=1)
            for name, other in (("coarse", coarse), ("shifted", shifted)):
                point = benchmark.measure_point(image, _made(step, other), 0, textured)
                curves[name].append(point)
                for measure in (*report.REGIONAL, "ms_ssim"):
                    unit = "ssim" if "ssim" in measure else "dB"
                    found[f"{key} {name} {step} {measure} {unit}"] = getattr(point, measure)
            for measure in ("blockiness", "ringing", "sharpness", "colour_error"):
                score = getattr(toolbox, measure)(image, coarse)
                found[f"{key} {step} {measure}"] = score
        anchor, points = (tuple(curve) for curve in curves.values())
        for measure in report.MEASURES:
            comparison = compare(anchor, points, measure)
            found[f"{key} {measure} bd_rate"] = comparison.bd_rate
            found[f"{key} {measure} gain dB"] = comparison.gain
            found[f"{key} {measure} at a rate dB"] = value_at(anchor, measure, 0.1)
    rates, better = np.array([0.2, 0.5, 1, 3]), [28.0, 31, 34, 40]
    found["bd_rate"] = mr.bd_rate(rates, better, rates**1.1, [28.0, 31, 35, 41]).percent
    curve = {"bpp": rates.tolist(), "psnr": better}
    return found | {"rate for": toolbox.rate_for(curve, "psnr", 32)}


def pictures() -> Numbers:
    """What is measured on, as far as it comes with the libraries: means of whole pictures."""
    found: Numbers = {
        f"{name} {key}": float(image.mean())
        for name in ("bundled-64", "bundled")
        for key, image in toolbox.pictures(name, "", 2).items()
    }
    for kind in toolbox.DOMAINS:
        found |= {f"{kind} {key}": float(p.mean()) for key, p in toolbox.domain(kind).items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "picture.jpg")
        Image.fromarray(fixed_pictures()["flowers"]).save(file, quality=75)
        found["decoded"] = float(read_image(file).astype(float).std())
    return found | {"large": float(bench_codecs.large_picture(0.1).mean())}


def routers() -> Numbers:
    """Where each router sends the patches of a picture."""
    image = fixed_pictures()["flowers"]
    like = np.random.default_rng(0).integers(1, 4, (6, 6)).astype(np.uint8)
    found: Numbers = {name: _pattern(route(image, like)) for name, route in twins.ROUTERS.items()}
    return found | {"routed at": float(np.sum(twins.ROUTED_AT))}


def training(names: Iterable[str] = tuple(twins.TWINS)) -> Numbers:
    """Losses of a small step of each twin, how far it moves the weights, the codec of the first."""
    import keras

    from mrdcae_lite.training.run import TrainingRun, freeze, make_optimizer

    images, found = [fixed_pictures()["flowers"]], Numbers()
    for name in names:
        run = TrainingRun(**twins.TWINS[name], size=128, batch=2, steps=2)
        model, crops = run.new_model(), run.crops(images)
        model.compile(optimizer=make_optimizer(200, 3e-3), run_eagerly=True)
        before = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
        for step in range(2 if name == "all-three" else 1):
            logs = model.train_on_batch(crops[step], return_dict=True)
            found |= {f"{name} {step} {key} loss": float(value) for key, value in logs.items()}
        after = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
        moved = [np.abs(b - a).mean() for a, b in zip(before, after, strict=True)]
        found[f"{name} moved loss"] = float(np.mean(moved))
        if name == "all-three":
            found[f"{name} bytes"] = len(freeze(model, images).compress(images[0], 40))
    for step in (0, 150, 200):
        model.optimizer.iterations.assign(step)
        found[f"learning rate {step}"] = float(model.optimizer.learning_rate)
    return found


PARTS: dict[str, Callable[[], Numbers]] = {
    **{name: partial(codec, name) for name in ("lite", "standard")},
    **{part.__name__: part for part in (effort, baselines, metrics, pictures, routers, training)},
}


def measure(part: str) -> Numbers:
    """The numbers of a part now, with six digits."""
    return report.rounded(PARTS[part]())


def named(numbers: Numbers) -> str:
    """The id of a part's numbers: what a result calls them by."""
    return sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:8]


def differences(now: Numbers, then: Numbers) -> list[str]:
    """The numbers that are not what they were, within `TOLERANCES`, each in a line."""
    return [
        f"{name} {now.get(name)}, was {value}"
        for name, value in then.items()
        if not _close(name, now.get(name), value)
    ]


def _close(name: str, now: float | None, then: float | None) -> bool:
    if now is None or then is None:
        return now is then
    absolute, relative = TOLERANCES.get(name.split()[-1], (0, 1e-3))
    return abs(now - then) <= absolute + relative * abs(then)


def _made(step: int, restored: RGB) -> CodecUnderTest:
    """A codec that restores every picture as this one, from a file that shrinks with the step."""
    return CodecUnderTest("made", (0,), lambda *_: bytes(6400 // step), lambda _: restored)


def _named(prefix: str, numbers: Numbers) -> Numbers:
    return {f"{prefix} {name}": value for name, value in numbers.items()}


def _pattern(levels: np.ndarray) -> float:
    """A number that tells maps of levels apart."""
    return float(levels.ravel() @ np.arange(1, levels.size + 1))
