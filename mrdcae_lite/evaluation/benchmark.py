"""Codecs side by side on the same pictures: real bytes, quality, time, and who needs fewer bytes.

report = evaluate(paths, Settings(model="lite"))
print(table(report))
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import features

from mrdcae_lite.coding.bitstream import up_to_level
from mrdcae_lite.core.distortion import psnr
from mrdcae_lite.core.files import one_line
from mrdcae_lite.core.pixels import RGB
from mrdcae_lite.core.quality import DEFAULT_EFFORT, HIGHEST_EFFORT, check_quality
from mrdcae_lite.evaluation.baselines import BASELINES
from mrdcae_lite.evaluation.curves import Point, Points, mean
from mrdcae_lite.evaluation.metrics import MS_SSIM_SIDE, ms_ssim, ssim_map
from mrdcae_lite.evaluation.report import ANCHOR, OURS, Photograph, load_previous, summarise
from mrdcae_lite.io import images
from mrdcae_lite.io.addresses import is_folder, is_there, read
from mrdcae_lite.io.processes import map_unordered
from mrdcae_lite.io.sizes import bits_per_pixel
from mrdcae_lite.models import load, registry
from mrdcae_lite.training import complexity

CODECS = (
    *(name for name in ("jpeg", "jpeg2000", "webp", "avif", "avif444") if name in BASELINES),
    OURS,
)
SLOWEST = f"{OURS}@{HIGHEST_EFFORT}"
"""Ours with the encoder that searches longest; it takes seven to nine times as long."""
SWEEP = (5, 20, 35, 50, 65, 80, 95)


@dataclass(frozen=True)
class Settings:
    """What is compared.

    A codec is named as in `baselines`, "mrdcae" for the one that `model` stands for, by the name
    of a shipped codec, or "NAME=FILE" for a codec file that is to be called NAME. After a codec of
    ours "@0" to "@5" is the effort of its encoder, and then ":1" or ":2" stands for its files cut
    off after the low or the medium level.
    `qualities` are those of our codecs; the others have sweeps of their own.
    """

    codecs: tuple[str, ...] = CODECS
    model: str = "lite"
    qualities: tuple[int, ...] = SWEEP
    resize: int | None = None


@dataclass(frozen=True)
class CodecUnderTest:
    """What a comparison needs of a codec.

    `encode` turns a uint8 (height, width, 3) picture into the bytes of a file, `decode` turns them
    back; `qualities` are the settings of its curve, `model` the id of the model behind it, if any.
    """

    title: str
    qualities: tuple[float, ...]
    encode: Callable[[RGB, float], bytes]
    decode: Callable[[bytes], RGB]
    model: str | None = None


@cache
def codecs_under_test(settings: Settings) -> Mapping[str, CodecUnderTest]:
    """The codecs by name, the anchor first and always; loads ours once in a process."""
    found = {}
    for name in dict.fromkeys((ANCHOR, *settings.codecs)):
        if codec := BASELINES.get(name):
            found[name] = CodecUnderTest(codec.title, codec.sweep, codec.encode, codec.decode)
            continue
        label, _, file = name.partition("=")
        if label in found or label in BASELINES:
            raise ValueError(
                f"expected a name of its own for each codec. Received: {name!r}, but {label} "
                "stands for another one. Call it otherwise."
            )
        found[label] = _learned(label, file, settings)
    return found


def _learned(name: str, file: str, settings: Settings) -> CodecUnderTest:
    """A codec of ours from its name, which may end in an effort and a level to be cut off after."""
    label, _, level = name.partition(":")
    base, _, given = label.partition("@")
    source = file or (settings.model if base == OURS else base)
    try:
        codec = load(source)
    except ValueError as error:
        if base == OURS:
            raise
        raise ValueError(
            f"codecs must be {', '.join((*BASELINES, OURS))}, a shipped codec or NAME=FILE. "
            f"Received: {name!r}: {error}"
        ) from error
    if given not in ("", *map(str, range(HIGHEST_EFFORT + 1))):
        raise ValueError(f"expected {base}@0 to {base}@{HIGHEST_EFFORT}. Received: {name!r}.")
    if level not in ("", "1", "2", "3"):
        raise ValueError(f"expected {base}:1, {base}:2 or {base}:3. Received: {name!r}.")
    qualities = tuple(sorted({check_quality(quality) for quality in settings.qualities}))
    # A first call takes longer: it is made before times are taken.
    codec.decompress(codec.compress(images.sample("flowers")[:64, :64], threads=1), threads=1)
    shipped = {} if file else registry().get(source, {})
    title = shipped.get("title", f"MR-DCAE {base if file else Path(source).stem}")
    title += f", effort {given}" if given else ""
    title += f", up to level {level}" if level else ""
    effort, depth = int(given or DEFAULT_EFFORT), int(level or 3)
    compress = partial(codec.compress, effort=effort, threads=1)
    return CodecUnderTest(
        title,
        qualities,
        lambda image, q: up_to_level(compress(image, int(q)), depth),
        lambda data: codec.decompress(data, level=depth, threads=1),
        codec.id.hex(),
    )


def bundled() -> list[Path]:
    """Paths of the bundled photographs."""
    return [images.SAMPLES / f"{name}.png" for name in images.sample_names()]


def pictures(sources: Sequence[Path], limit: int | None = None) -> tuple[list[Path], list[Path]]:
    """The pictures that paths stand for, evenly spaced if limited, and what folders hold besides.

    A folder stands for its pictures, sorted by name. Either may be an address.
    """
    paths: list[Path] = []
    left_out: list[Path] = []
    for source in sources:
        if not is_there(source):
            raise ValueError(f"{source}: no such picture or folder. Check the path.")
        found, others = images.pictures_in(source) if is_folder(source) else ([source], [])
        paths += found
        left_out += others
    if not paths or (limit is not None and limit < 1):
        raise ValueError(
            f"expected at least one picture. Received: {len(paths)} in "
            f"{', '.join(map(str, sources))}, limit {limit}. Name a picture or a folder of some."
        )
    count = min(limit or len(paths), len(paths))
    return [paths[i * len(paths) // count] for i in range(count)], left_out


def measure_point(
    image: RGB, codec: CodecUnderTest, quality: float, textured: NDArray[np.bool_]
) -> Point:
    """Compress and restore a picture, uint8 (height, width, 3), and score it.

    `textured`, bool (height // 16, width // 16), says of each patch of 16 x 16 pixels whether it
    counts as complex or as smooth.
    """
    started = time.process_time()
    data = codec.encode(image, quality)
    encoded = time.process_time()
    restored = codec.decode(data)
    decoded = time.process_time()
    score, similarity = ssim_map(image, restored, data_range=255)
    errors = complexity.patch_means((image.astype(np.float64) - restored) ** 2)
    similarities = complexity.patch_means(similarity)
    regions = {}
    for name, where in (("smooth", ~textured), ("complex", textured)):
        error = mean(errors[where])
        regions[f"psnr_{name}"] = 10 * math.log10(255**2 / error) if error else math.inf
        regions[f"ssim_{name}"] = mean(similarities[where])
    large = min(image.shape[:2]) >= MS_SSIM_SIDE
    return Point(
        quality=quality,
        size=len(data),
        bpp=bits_per_pixel(data, image.shape),
        psnr=psnr(image, restored, data_range=255),
        ssim=score,
        ms_ssim=ms_ssim(image, restored, data_range=255) if large else math.nan,
        **regions,
        encode_s=encoded - started,
        decode_s=decoded - encoded,
    )


def measure(
    path: Path, settings: Settings, earlier: Mapping[str, Mapping[str, Points]]
) -> Photograph | str:
    """All codecs on one picture, or in one line why it was not possible.

    Points that `earlier` holds, by the picture's SHA-256 and the codec, are taken from there,
    except for codecs of ours.
    """
    try:
        content = read(path)
        digest = hashlib.sha256(content).hexdigest()
        image = images.opaque(images.read_content(content))
        if settings.resize is not None:
            image = images.standardise(image, settings.resize)
        if min(image.shape[:2]) < (least := complexity.SWITCH_PATCH):
            raise ValueError(f"{path}: expected {least} x {least} pixels or more.")
        textured = complexity.local_complexity(image / 255) > complexity.TEXTURE_THRESHOLD
        points = {
            name: _reusable(earlier.get(digest, {}).get(name, ()), codec)
            or tuple(measure_point(image, codec, q, textured) for q in codec.qualities)
            for name, codec in codecs_under_test(settings).items()
        }
    except (OSError, ValueError) as error:
        return one_line(error, path)
    height, width = image.shape[:2]
    return Photograph(path.name, digest, width, height, float(textured.mean()), points)


def _reusable(points: Points, codec: CodecUnderTest) -> Points:
    same = tuple(p.quality for p in points) == codec.qualities
    return points if same and codec.model is None else ()


def evaluate(
    paths: Sequence[Path],
    settings: Settings,
    *,
    jobs: int = 1,
    engine: str | None = None,
    earlier: Mapping[str, Any] | None = None,
    announce: Callable[[int, Path, str | None], None] = lambda *_: None,
) -> dict[str, Any]:
    """The report on all pictures, ready for `report.to_json` and `report.table`.

    Pictures are shared among `jobs` processes, or the workers of an `engine` (see
    `cluster.map_on_cluster`), which see them under the same absolute names. From `earlier`, a
    report on the same pictures, come the points of the codecs that are not ours. `announce` is
    called after each picture with its number, its path, and what was wrong or None. Raises
    `ValueError` if no picture can be measured, a codec is unknown, or `earlier` does not fit.
    """
    codecs, now = codecs_under_test(settings), conditions(settings)  # wrong names show here
    known = {} if earlier is None else load_previous(earlier, now)
    task = partial(_measure_numbered, settings=settings, earlier=known)
    found: dict[int, Photograph] = {}
    results = map_unordered(task, enumerate(paths), jobs, engine=engine, given_up=_given_up)
    for count, (number, result) in enumerate(results, 1):
        if isinstance(result, Photograph):
            found[number] = result
        announce(count, paths[number], result if isinstance(result, str) else None)
    if not found:
        raise ValueError(f"none of {len(paths)} pictures could be measured. Name others.")
    titles = {name: codec.title for name, codec in codecs.items()}
    models = {n: {"file": c.title, "id": c.model} for n, c in codecs.items() if c.model}
    report = summarise([found[number] for number in sorted(found)], titles, models, now)
    skipped = [path.name for number, path in enumerate(paths) if number not in found]
    return {**report, "skipped": skipped, "reused": earlier is not None}


def _measure_numbered(item: tuple[int, Path], **known: Any) -> tuple[int, Photograph | str]:
    return item[0], measure(item[1], **known)


def _given_up(item: tuple[int, Path], why: str) -> tuple[int, str]:
    number, path = item
    return (
        number,
        f"{path}: expected a picture that a worker survives. Received: {why} Take it out.",
    )


def conditions(settings: Settings) -> dict[str, Any]:
    """What the points of the other codecs depend on, besides the pictures."""
    return {
        "resize": settings.resize,
        "region_patch": complexity.SWITCH_PATCH,
        "complex_above": complexity.TEXTURE_THRESHOLD,
        **{name: version(name) for name in ("pillow", "scikit-image")},
        **{name: features.version(name) for name in ("libjpeg_turbo", "webp", "avif")},
        "openjpeg": features.version("jpg_2000"),
    }
