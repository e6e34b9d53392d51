"""The ledger of claims: claims.yml set against the committed results, as a page of the book.

Every number on the page that was measured is looked up in a result file. The verdict follows from
the tests of a claim, so it changes by itself when the results do.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

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
}
LOOKED_UP = re.compile(r"\{([\w-]+:\w+)\}")
HOLDS, FAILS, DEPENDS = "holds", "does not hold", "holds if"
PARTLY, OPEN = "not fully measured", "not measured"
WORDS = (HOLDS, DEPENDS, FAILS, PARTLY, OPEN)

Results = Mapping[str, Mapping[str, Any]]


class Verdict(NamedTuple):
    """The word, and the cases in which the tests of a claim held, failed, or had no result."""

    word: str
    held: Sequence[str]
    failed: Sequence[str]
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
    """What the tests of a claim say."""
    outcome: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for left, comparison, right, case in claim["tests"]:
        sides = [_number(side, results) for side in (left, right)]
        missing = None in sides
        outcome[None if missing else COMPARISONS[comparison](*sides)].append(case)
    held, failed, missing_cases = outcome[True], outcome[False], outcome[None]
    if missing_cases:
        word = PARTLY if held or failed else OPEN
    elif held and failed:
        word = DEPENDS
    else:
        word = HOLDS if held else FAILS
    return Verdict(word, held, failed, missing_cases)


def _number(side: str | float, results: Results) -> Any:
    if not isinstance(side, str):
        return side
    found = look_up(side, results)
    return None if found is None else found["value"]


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
    labels = ("It holds for", "It does not hold for", "Not measured")
    groups = (verdict.held, verdict.failed, verdict.missing)
    lines += [f"- {label}: {'; '.join(g)}." for label, g in zip(labels, groups, strict=True) if g]
    return [*lines, "", f"**Beyond.** {_filled(claim['beyond'], results)}"]


def _row(place: str, results: Results) -> str:
    run, _, name = place.partition(":")
    value = look_up(place, results)
    words = name.replace("_", " ")
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


def pages() -> dict[str, bytes]:
    """The pages that follow from the committed results, by their path in the book."""
    results = experiments.read_results(experiments.RESULTS)
    runs = experiments.report("full", experiments.RESULTS)
    return {"ledger.md": page(results).encode(), "runs.md": runs.encode()}


INTRODUCTION = """# Claims and measurements

The report that this book follows states many things. Here is every statement that can be checked,
in our words, with the place where it stands, what would confirm it, and what we measured. A claim
that fails is shown like one that holds.

- **Holds**: every test of the claim is passed.
- **Holds if**: some are; the entry says in which cases.
- **Does not hold**: none is.
- **Not measured**, or not fully: there is no result for it, or for a part of it, yet.

The number after a measured value is its standard deviation over the pictures, and *n* says how many
there were. Names such as `codecs-kodak` are those of the runs; {doc}`runs` lists all their
values, and one command repeats them: `make experiments PROFILE=full DATA=data`. What was measured
is this project's system, as the report's own is not published: a verdict says whether the
statement is true of a codec built as the report describes. What it proposes for the future
(transformers, video, special hardware) cannot be checked and is left out.
"""
