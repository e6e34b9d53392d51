"""The ledger of claims: claims.yml set against the committed results, as a page of the book.

Every number on the page that was measured is looked up in a result file. The verdict follows from
the tests of a claim, so it changes by itself when the results do.
"""

import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import yaml

from book.command import UserError
from book.experiments import run as experiments
from book.experiments.run import shown
from book.tools import paths

CLAIMS = paths.BOOK / "claims.yml"
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "at_least": operator.ge,
    "at_most": operator.le,
    "above": operator.gt,
    "below": operator.lt,
    "equals": operator.eq,
}
LOOKED_UP = re.compile(r"\{([\w-]+:\w+)\}")
HOLDS, FAILS, DEPENDS, UNDECIDED = "holds", "does not hold", "holds if", "undecided"
PARTLY, OPEN = "not fully measured", "not measured"
WORDS = (HOLDS, DEPENDS, UNDECIDED, FAILS, PARTLY, OPEN)
DOUBT = 2
"""Standard errors by which two values must differ before a test counts."""

NAMES = {
    "avif": "AVIF",
    "avif444": "AVIF 4:4:4",
    "bpp": "bits per pixel",
    "db": "(dB)",
    "effort5": "at effort 5",
    "jpeg": "JPEG",
    "jpeg2000": "JPEG 2000",
    "mrdcae": "MR-DCAE",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "webp": "WebP",
}
"""What stands on the page for a word in the name of a value."""

Results = Mapping[str, Mapping[str, Any]]
Side = str | float


class Verdict(NamedTuple):
    """The word, and the cases in which the tests held, failed, were too close, had no result."""

    word: str
    held: Sequence[str]
    failed: Sequence[str]
    close: Sequence[str]
    missing: Sequence[str]


def claims() -> list[dict[str, Any]]:
    """All claims as they stand in claims.yml."""
    return yaml.safe_load(CLAIMS.read_text(encoding="utf-8"))


def look_up(place: str, results: Results) -> Mapping[str, Any] | None:
    """The measured value at RUN:VALUE, or None if the run has no result or could not measure it."""
    run, _, name = place.partition(":")
    if run not in results:
        return None
    values = results[run]["values"]
    if name not in values:
        has = ", ".join(values)
        raise UserError(f"claims.yml: {run} has no value {name}; it has {has}")
    return values[name] if values[name]["value"] is not None else None


def judge(claim: Mapping[str, Any], results: Results) -> Verdict:
    """What the tests of a claim say.

    A difference that is not larger than `DOUBT` standard errors decides nothing, and neither do the
    few pictures of a `probe`, whatever they show.
    """
    outcome: dict[str, list[str]] = {word: [] for word in (HOLDS, FAILS, UNDECIDED, OPEN)}
    for left, comparison, right, case in claim["tests"]:
        outcome[_outcome(left, comparison, right, results)].append(case)
    held, failed, close, missing = outcome.values()
    if missing:
        word = PARTLY if held or failed or close else OPEN
    elif claim.get("probe") or (close and not held):
        word = UNDECIDED
    elif held:
        word = DEPENDS if failed or close else HOLDS
    else:
        word = FAILS
    return Verdict(word, held, failed, close, missing)


def _outcome(left: Side, comparison: str, right: Side, results: Results) -> str:
    first, second = (_number(side, results) for side in (left, right))
    if first is None or second is None:
        return OPEN
    if comparison != "equals" and abs(first - second) < DOUBT * _standard_error(
        left, right, results
    ):
        return UNDECIDED
    return HOLDS if COMPARISONS[comparison](first, second) else FAILS


def _number(side: Side, results: Results) -> Any:
    if not isinstance(side, str):
        return side
    found = look_up(side, results)
    return None if found is None else found["value"]


def _standard_error(left: Side, right: Side, results: Results) -> float:
    """That of the difference of two values; 0 for what has no spread.

    Where the values of each picture are known, the differences are taken picture by picture. The
    other formula is for values that have nothing to do with each other; those of the same pictures
    go together, so it errs on the side of doubt.
    """
    measured = [side for side in (left, right) if isinstance(side, str)]
    known = [_pictures(side, results) for side in measured]
    if len(known) == 2 and all(known):
        both = known[0].keys() & known[1].keys()
        differences = [known[0][name] - known[1][name] for name in sorted(both)]
        return float(np.std(differences, ddof=1) / math.sqrt(len(differences)))
    values = [look_up(side, results) for side in measured]
    return math.sqrt(sum((v["spread"] or 0) ** 2 / v["n"] for v in values if v and v["n"]))


def _pictures(place: str, results: Results) -> Mapping[str, float]:
    run, _, name = place.partition(":")
    pictures: Mapping[str, Mapping[str, float]] = results[run].get("pictures", {})
    return pictures.get(name, {})


def page(results: Results) -> str:
    """The ledger as Markdown."""
    entries = claims()
    verdicts = [judge(claim, results) for claim in entries]
    counts = {w: sum(v.word == w for v in verdicts) for w in WORDS}
    lines = [INTRODUCTION, "| verdict | claims |", "|---|---|"]
    lines += [f"| {word} | {number} |" for word, number in counts.items() if number]
    lines += ["", "| | claim | verdict |", "|---|---|---|"]
    for claim, verdict in zip(entries, verdicts, strict=True):
        link = f"[{claim['id']}](#claim-{claim['id'].lower()})"
        lines.append(f"| {link} | {claim['statement']} | **{verdict.word}** |")
    for claim, verdict in zip(entries, verdicts, strict=True):
        lines += ["", *_entry(claim, verdict, results)]
    return "\n".join(lines) + "\n"


def _entry(claim: Mapping[str, Any], verdict: Verdict, results: Results) -> list[str]:
    lines = [
        f"(claim-{claim['id'].lower()})=",
        f"## {claim['id']}: {verdict.word}",
        "",
        f"> {claim['statement']}",
        "",
        f"*Report, section {claim['where']}.*",
        "",
        f"**What would confirm it.** {claim['check']}",
        "",
    ]
    if claim["shows"]:
        lines += ["| experiment | value | measured | spread | n |", "|---|---|---|---|---|"]
        lines += [_row(place, results) for place in claim["shows"]]
        lines.append("")
    labels = ("It holds for", "It does not hold for", "Too close to decide", "Not measured")
    if claim.get("probe"):
        labels = ("These few pictures say yes to", "They say no to", *labels[2:])
    groups = (verdict.held, verdict.failed, verdict.close, verdict.missing)
    lines += [f"- {label}: {'; '.join(g)}." for label, g in zip(labels, groups, strict=True) if g]
    return [*lines, "", f"**Beyond.** {_filled(claim['beyond'], results)}"]


def _row(place: str, results: Results) -> str:
    run, _, name = place.partition(":")
    value = look_up(place, results)
    words = " ".join(NAMES.get(word, word) for word in name.split("_")).replace(
        "bd rate", "BD-rate"
    )
    if value is None:
        state = "could not be measured" if run in results else "not measured yet"
        return f"| {run} | {words} | {state} | | |"
    spread = "" if value["spread"] is None else shown({"value": value["spread"], "unit": ""})
    return f"| {run} | {words} | {shown(value)} | {spread} | {value['n']} |"


def _filled(text: str, results: Results) -> str:
    def measured(found: re.Match[str]) -> str:
        value = look_up(found[1], results)
        return "(not measured yet)" if value is None else shown(value)

    return LOOKED_UP.sub(measured, text)


def with_pictures(results: Results) -> Results:
    """Add the BD-rates of each picture to the runs that compare codecs, from their reports."""
    known = {}
    for run, result in results.items():
        report = paths.RESULTS / f"{run.removeprefix('codecs-')}.json"
        known[run] = dict(result)
        if run.startswith("codecs-") and report.exists():
            photographs = json.loads(report.read_bytes())["photographs"]
            known[run]["pictures"] = _bd_rates(photographs)
    return known


def _bd_rates(photographs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for photograph in photographs:
        for codec, rates in photograph["against_anchor"].items():
            for measure, name in (("psnr", "psnr"), ("ssim_db", "ssim")):
                rate = rates[measure]["bd_rate"]
                if rate is not None:
                    column = found.setdefault(f"{codec}_bd_rate_{name}", {})
                    column[photograph["name"]] = rate
    return found


def pages() -> dict[str, bytes]:
    """The pages that follow from the committed results, by their path in the book."""
    results = with_pictures(experiments.read_results(experiments.RESULTS))
    runs = experiments.report("full", experiments.RESULTS)
    return {"ledger.md": page(results).encode(), "runs.md": runs.encode()}


INTRODUCTION = """# Claims and measurements

The report that this book follows states many things. Here is every statement that can be checked,
in our words, with the place where it stands, what would confirm it, and what we measured. A claim
that fails is shown like one that holds.

- **Holds**: every test of the claim is passed.
- **Holds if**: some are; the entry says in which cases.
- **Undecided**: none is, as values lie too close together or the pictures are too few.
- **Does not hold**: every test fails.
- **Not measured**, or not fully: there is no result for it, or for a part of it, yet.

Two values count as different when they lie more than two standard errors apart. Where the values of
each picture are kept, the error is that of the differences picture by picture; elsewhere it is that
of two independent means, which is larger, so that a verdict is rather withheld than given.

*Smooth* and *complex* patches are squares of 16 x 16 pixels here, on which the loss switches;
*salient* patches are those of 32 x 32 that the attention scores. Each twin was trained three times
with different seeds; its values are means over the photographs and the seeds.

The spread of a measured value is its standard deviation over the pictures, that of a twin over the
seeds, and *n* says how many there were. Names such as `codecs-kodak` are those of the runs;
{doc}`runs` lists all their values, and one command repeats them: `make experiments PROFILE=full
DATA=data`. What was measured is this project's system, as the report's own is not published: a
verdict says whether the statement is true of a codec built as the report describes. What it
proposes for the future (transformers, video, special hardware) cannot be checked and is left out.
"""
