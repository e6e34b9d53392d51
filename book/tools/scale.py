"""The page `back/scale.md`: its numbers, from what was measured and from what is assumed.

Places of the page such as {{workers}} are filled from `book/results`; `ASSUMED` stands on the page.
"""

import json
import math
import re
from collections import deque
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

import numpy as np

from book.command import UserError
from book.tools import paths
from mrdcae_lite.io.cluster import AHEAD

PAGE = paths.BOOK / "back" / "scale.md"
RESULTS = paths.BOOK / "results"
PLACE = re.compile(r"\{\{(\w+)\}\}")
CODECS = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "mrdcae": "MR-DCAE Lite"}
SPEEDS_AT = 0.5  # bits per pixel, of the speeds that are looked up
SHARES = 0.25, 0.5, 1, 2  # of the workers that one scheduler could just keep busy

ASSUMED = {
    "pictures": 1e9,
    "megapixels": 12.0,
    "jpeg_bpp": 1.0,
    "core_hour": 0.04,
    "gb_month": 0.02,
    "gb_out": 0.05,
}
"""Pictures, their size, what JPEG takes for them, and prices; nobody's offer, but round numbers."""


class Cost(NamedTuple):
    """What one picture costs with a codec: bytes, seconds of a core, and money by `ASSUMED`."""

    size: float
    encode_s: float
    decode_s: float
    encode: float
    decode: float
    month: float
    transfer: float


def cost(
    bpp: float, encode_mp_s: float, decode_mp_s: float, assumed: Mapping[str, float] = ASSUMED
) -> Cost:
    """The cost of a picture at a rate in bits per pixel, and speeds in megapixels a second."""
    size = assumed["megapixels"] * 1e6 * bpp / 8
    encode_s, decode_s = (assumed["megapixels"] / speed for speed in (encode_mp_s, decode_mp_s))
    core_second = assumed["core_hour"] / 3600
    return Cost(
        size,
        encode_s,
        decode_s,
        encode_s * core_second,
        decode_s * core_second,
        size / 1e9 * assumed["gb_month"],
        size / 1e9 * assumed["gb_out"],
    )


def costs(bench: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Cost]:
    """By codec, at the mean PSNR that JPEG has at its assumed rate (Bjøntegaard's difference)."""
    found = {}
    for name in CODECS:
        rows = [row for row in bench["speed"] if row["codec"] == name]
        row = min(rows, key=lambda row: abs(row["bpp"] - SPEEDS_AT))
        saved = report["codecs"][name]["psnr"]["bd_rate_mean"] / 100
        bpp = ASSUMED["jpeg_bpp"] * (1 + saved)
        found[name] = cost(bpp, row["encode_mp_per_s"], row["decode_mp_per_s"])
    return found


def months_to_repay(ours: Cost, other: Cost) -> float | None:
    """After how much storage time the bytes saved have paid for encoding; None if never."""
    if ours.month >= other.month:
        return None
    return max(0.0, (ours.encode - other.encode) / (other.month - ours.month))


def years_used_up(ours: Cost, other: Cost) -> float:
    """Years of storage whose savings one decoding on a rented core costs; infinite without any."""
    saved = 12 * (other.month - ours.month)
    return max(0.0, ours.decode - other.decode) / saved if saved > 0 else math.inf


def readings_to_repay(ours: Cost, other: Cost) -> float:
    """How often a picture is read until the bytes not sent have paid for encoding; or infinite."""
    saved = (other.transfer + other.decode) - (ours.transfer + ours.decode)
    return max(0.0, (ours.encode - other.encode) / saved) if saved > 0 else math.inf


def simulated(workers: int, seconds: float, calls_a_second: float, *, seed: int = 0) -> float:
    """Calls a second that a scheduler and its workers get through, by simulation of each call.

    The scheduler hands out and takes back one call after the other, in equal times. A worker has
    `AHEAD` calls, does one at a time, and asks for another when it has finished one. How long a
    call takes is drawn from an exponential distribution. The first half, in which queues fill, does
    not count.

    Args:
        workers: each with one thread.
        seconds: that a call takes a worker, on average.
        calls_a_second: that the scheduler can do at most.
        seed: of the times.
    """
    calls = max(20_000, 20 * workers)
    times = iter(np.random.default_rng(seed).exponential(seconds, calls + workers).tolist())
    free, handling = 0.0, 1 / calls_a_second  # when the scheduler is free, and a call's share
    handed_out: list[deque[float]] = [deque() for _ in range(workers)]  # when calls arrive there
    for _ in range(AHEAD):
        for queue in handed_out:
            free += handling
            queue.append(free)
    busy = [(queue.popleft() + next(times), number) for number, queue in enumerate(handed_out)]
    heapify(busy)
    finished = []
    for _ in range(calls):
        now, number = heappop(busy)
        finished.append(now)
        free = max(free, now) + handling
        handed_out[number].append(free)
        heappush(busy, (max(now, handed_out[number].popleft()) + next(times), number))
    half = calls // 2
    return (calls - half) / (finished[-1] - finished[half - 1])


def _limits(kinds: Mapping[str, float], calls_a_second: float) -> str:
    """A row for each kind of picture, by the seconds it takes, and number of workers."""
    lines = [
        "| pictures | workers | they could do | simulated, a second | busy workers |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, seconds in kinds.items():
        for share in SHARES:
            workers = round(share * calls_a_second * seconds)
            could, can = workers / seconds, simulated(workers, seconds, calls_a_second)
            cells = [name, f"{workers:,}", f"{could:.0f}", f"{can:.0f}", f"{can / could:.0%}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _table(found: Mapping[str, Cost]) -> str:
    """A row a codec, for all pictures."""
    count = ASSUMED["pictures"]
    lines = [
        "| codec | size | encode once | decode once | storage, a year | transfer, once |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, each in found.items():
        cells = [
            CODECS[name],
            f"{count * each.size / 1e12:,.0f} TB",
            f"{count * each.encode_s / 31_557_600:,.1f} core-years, {count * each.encode:,.0f}",
            f"{count * each.decode_s / 31_557_600:,.1f} core-years, {count * each.decode:,.0f}",
            f"{12 * count * each.month:,.0f}",
            f"{count * each.transfer:,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def numbers() -> dict[str, str]:
    """What fills the places of the page, by name."""
    bench, report, scale = (
        json.loads((RESULTS / f"{name}.json").read_text()) for name in ("bench", "bundled", "scale")
    )
    found = costs(bench, report)
    ours, rates = found["mrdcae"], scale["pictures_a_second"]
    one, two = rates["1"], rates["2"]
    area = scale["side"] ** 2 / 1e6
    whole = ASSUMED["megapixels"] / (one * area)  # seconds a picture of a worker
    repaid = {name: months_to_repay(ours, found[name]) for name in ("jpeg", "avif")}
    listed = scale["list"]
    return {
        **{name: f"{value:,.4g}" for name, value in ASSUMED.items() if name != "pictures"},
        "processor": str(scale["processor"]),
        "cores": str(scale["cores"]),
        "loads": f"{scale['load_before']} and {scale['load_after']}",
        "side": str(scale["side"]),
        "measured": str(scale["pictures"]),
        "one": f"{one:.1f}",
        "two": f"{two:.1f}",
        "one_mp": f"{one * area:.2f}",
        "two_mp": f"{two * area:.2f}",
        "speed_up": f"{two / one:.2f}",
        "calls": f"{scale['calls_a_second']:,}",
        "whole": f"{whole:.1f}",
        "limit": f"{scale['calls_a_second'] * whole:,.0f}",
        "small_limit": f"{scale['calls_a_second'] / one:,.0f}",
        "ahead": str(AHEAD),
        "limits": _limits(
            {f"crops of {scale['side']} pixels": 1 / one, "photographs": whole},
            scale["calls_a_second"],
        ),
        "names": f"{listed['names']:,}",
        "kept": f"{listed['kept_bytes_a_name']:.0f}",
        "peak": f"{listed['peak_bytes_a_name']:.0f}",
        "million": f"{listed['peak_bytes_a_name']:.0f}",
        "core_years": f"{ASSUMED['pictures'] * ours.encode_s / 31_557_600:.0f}",
        "days": f"{ASSUMED['pictures'] * ours.encode_s / 86_400 / 1000:.0f}",
        "used_up": f"{years_used_up(ours, found['avif']):.1f}",
        "slower": f"{ours.decode_s / found['avif'].decode_s:.0f}",
        "repaid_jpeg": _months(repaid["jpeg"]),
        "repaid_avif": _months(repaid["avif"]),
        "decode_cost": f"{ours.decode / found['jpeg'].transfer:.1f}",
        "saved_transfer": f"{1 - ours.size / found['jpeg'].size:.0%}",
        **{f"{name}_rate": f"{1 / each.encode_s:.2g}" for name, each in found.items()},
        **{
            f"{name}_months": _months(months_to_repay(found[name], found["jpeg"]))
            for name in ("webp", "avif")
        },
        **{
            f"{name}_readings": f"{readings_to_repay(found[name], found['jpeg']):.1f}"
            for name in ("webp", "avif")
        },
        "table": _table(found),
    }


def _months(value: float | None) -> str:
    if value is None:
        return "never"
    return f"after {value:.1f} months" if value else "at once"


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with its places filled; raises `UserError` for a place that has no number."""
    unknown = {*PLACE.findall(text)} - {*values}
    if unknown:
        raise UserError(f"{PAGE.name}: no number is called {', '.join(sorted(unknown))}")
    return PLACE.sub(lambda place: values[place[1]], text)


def pages() -> dict[str, bytes]:
    """The page, by its path in the book."""
    text = filled(PAGE.read_text(encoding="utf-8"), numbers())
    return {f"back/{PAGE.name}": text.encode()}
