"""The ledger: claims that can be judged, verdicts that follow from results, no typed numbers."""

import re
import xml.etree.ElementTree as ElementTree

import nbformat
import pytest

from book.command import UserError
from book.experiments import run as experiments
from book.tools import diagrams, ledger, paths
from mrdcae_lite.core import pyramid
from mrdcae_lite.core.architecture import Architecture

FIELDS = {"id", "where", "statement", "check", "shows", "tests", "beyond"}
UNITS = r"dB|%|percent|bits? per pixel|bpp|kB|MB|ms|seconds?|times|megapixels?|to 1"
TYPED = re.compile(rf"(?<![\w.:-])(\d+\.\d+|\d+(?=\s*(?:{UNITS})(?!\w)))")


def typed(text: str) -> list[str]:
    """Numbers in prose that look measured: decimals, and whole numbers before a unit."""
    without_code = re.sub(r"`[^`]*`|\{[^}]*\}|\$[^$]*\$|\]\([^)]*\)", "", text)
    return TYPED.findall(without_code)


def result_of(**values):
    entries = {
        name: {"value": v, "unit": "dB", "n": 4, "spread": 0.5, "tolerance": 0}
        for name, v in values.items()
    }
    return {"run": {"values": entries}}


CLAIM = {
    "id": "T1",
    "where": "1",
    "statement": "A statement.",
    "check": "A check.",
    "shows": ["run:a"],
    "tests": [["run:a", "above", 3, "the first case"], ["run:b", "below", "run:a", "the second"]],
    "beyond": "It is {run:a}.",
}


def test_every_claim_is_complete_and_has_a_name_of_its_own():
    entries = ledger.claims()
    assert len({claim["id"] for claim in entries}) == len(entries)
    fields = [{*claim} - {"probe"} for claim in entries]
    assert fields == [FIELDS] * len(entries)
    assert [claim["id"] for claim in entries if not claim["tests"]] == []


def test_claims_look_only_at_runs_of_the_grid_and_values_that_are_there():
    runs, results = experiments.grid("full"), experiments.read_results(experiments.RESULTS)
    for claim in ledger.claims():
        sides = [side for left, _, right, _ in claim["tests"] for side in (left, right)]
        places = [side for side in sides if isinstance(side, str)]
        for place in [*places, *claim["shows"], *ledger.LOOKED_UP.findall(claim["beyond"])]:
            assert place.partition(":")[0] in runs, (claim["id"], place)
            ledger.look_up(place, results)
        assert {comparison for _, comparison, _, _ in claim["tests"]} <= {*ledger.COMPARISONS}


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"a": 4, "b": 1}, "holds"),
        ({"a": 4, "b": 5}, "holds if"),
        ({"a": 2, "b": 5}, "does not hold"),
        ({"a": 4, "b": 4.2}, "holds if"),
        ({"a": 2.9, "b": 3.1}, "undecided"),
        ({"a": 2, "b": 2.1}, "undecided"),
        ({"a": None, "b": None}, "not measured"),
    ],
)
def test_the_verdict_follows_from_the_values(values, word):
    assert ledger.judge(CLAIM, result_of(**values)).word == word


def test_a_claim_is_not_said_to_hold_while_a_part_of_it_is_not_measured():
    verdict = ledger.judge(CLAIM, result_of(a=4, b=None))
    assert (verdict.word, verdict.missing) == ("not fully measured", ["the second"])


def test_a_difference_within_two_standard_errors_decides_nothing():
    def word(values, *test):
        return ledger.judge(CLAIM | {"tests": [[*test, "it"]]}, result_of(**values)).word

    # The standard error of a mean of four is half of their spread, 0.25; two of them make 0.5.
    assert word({"a": 3.51}, "run:a", "above", 3) == "holds"
    assert word({"a": 3.49}, "run:a", "above", 3) == "undecided"
    # Two such means differ by 0.354 from one measurement to the next.
    assert word({"a": 3, "b": 3.71}, "run:a", "below", "run:b") == "holds"
    assert word({"a": 3, "b": 3.70}, "run:a", "below", "run:b") == "undecided"
    assert word({"a": 0.99}, "run:a", "equals", 1) == "does not hold"


def test_pictures_that_are_known_one_by_one_are_compared_one_by_one():
    values = {"a": 3, "b": 3.2}
    results = result_of(**values)
    results["run"]["pictures"] = {"a": {"x": 1, "y": 5}, "b": {"x": 1.19, "y": 5.21}}
    claim = CLAIM | {"tests": [["run:a", "below", "run:b", "it"]]}
    assert ledger.judge(claim, results).word == "holds"
    assert ledger.judge(claim, result_of(**values)).word == "undecided"


def test_the_rates_of_each_picture_are_those_of_the_run():
    results = ledger.with_pictures(experiments.read_results(experiments.RESULTS))
    found = results["codecs-kodak"]
    for name in ("mrdcae_bd_rate_psnr", "avif444_bd_rate_ssim"):
        rates = [*found["pictures"][name].values()]
        assert len(rates) == found["values"][name]["n"]
        assert sum(rates) / len(rates) == pytest.approx(found["values"][name]["value"], abs=1e-3)


def test_a_few_pictures_decide_nothing(monkeypatch):
    claim = CLAIM | {"probe": True}
    assert ledger.judge(claim, result_of(a=9, b=1)).word == "undecided"
    monkeypatch.setattr(ledger, "claims", lambda: [claim])
    assert "- These few pictures say yes to: the first case; the second." in ledger.page(
        result_of(a=9, b=1)
    )


def test_an_entry_shows_measured_values_with_spread_and_the_cases(monkeypatch):
    monkeypatch.setattr(ledger, "claims", lambda: [CLAIM])
    page = ledger.page(result_of(a=4.25, b=5))
    assert "## T1: holds if" in page
    assert "| run | a | 4.25 dB | 0.5 | 4 |" in page
    assert "- It holds for: the first case." in page
    assert "- It does not hold for: the second." in page
    assert "**Beyond.** It is 4.25 dB." in page


def test_the_page_writes_the_names_of_measures_and_codecs_as_people_do(monkeypatch):
    claim = CLAIM | {"shows": ["run:mrdcae_bd_rate_psnr"], "tests": [["run:a", "above", 3, "it"]]}
    claim["beyond"] = "Nothing."
    monkeypatch.setattr(ledger, "claims", lambda: [claim])
    page = ledger.page(result_of(a=4, mrdcae_bd_rate_psnr=1))
    assert "| run | MR-DCAE BD-rate PSNR | 1 dB |" in page


def test_a_value_that_a_result_does_not_have_is_an_error():
    with pytest.raises(UserError, match="run has no value c; it has a, b"):
        ledger.look_up("run:c", result_of(a=1, b=2))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It gains 2.3 dB.", ["2.3"]),
        ("About 12 % less, in 5 ms", ["12", "5"]),
        ("of 256 x 256 pixels, {codecs-kodak:psnr} at `0.5`", []),
    ],
)
def test_the_search_for_typed_numbers_finds_measured_ones_and_no_others(text, found):
    assert typed(text) == found


def test_no_measured_number_is_typed_into_the_ledger():
    """A number that the report states, or that a test demands, may stand in the words."""
    assert typed(ledger.INTRODUCTION) == []
    for claim in ledger.claims():
        given = {
            str(side) for test in claim["tests"] for side in test if isinstance(side, int | float)
        }
        given |= {*typed(claim["statement"])}
        cases = [case for *_, case in claim["tests"]]
        for text in (claim["check"], claim["beyond"], *cases):
            assert {*typed(text)} <= given, claim["id"]


def test_no_measured_number_is_typed_into_the_prose_of_an_experiment():
    notebooks = [*experiments.HERE.glob("*.ipynb"), paths.CHAPTERS / FIGURES]
    for path in notebooks:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                assert typed(cell.source) == [], path.name
            else:
                about = cell.metadata.get("mystnb", {})
                words = [*about.get("figure", {}).values(), *about.get("image", {}).values()]
                assert [typed(text) for text in words if typed(text)] == [], path.name


FIGURES = "report-figures.ipynb"

GIVEN = {
    # What a chapter supposes, asks for, defines or cites, and therefore does not measure.
    "ablations": {"128", "0.05", "0.3", "2.4", "95"},  # a coin, two questions, an interval
    "attention": {"0", "1"},
    "autoencoder": {"30"},
    "beyond": {"100", "0.5"},
    "comparison": {"34.85", "0.942", "0.571", "0", "50", "30"},  # the report's, and questions
    "data": {"0", "42"},
    "existing-methods": {"34"},
    "loss-switching": {"0", "0.015", "0.7", "60", "0.14"},  # a root of one half, LAMBDA
    "measuring": {"10", "0.95", "0.125", "35", "32", "20"},
    "quantisation-entropy": {"0", "3.1416", "0.3", "0.50", "0.62"},
    "rate-distortion": {"6.02", "1.53", "0.9", "0.47", "0.1155", "0.6", "0.14", "0.25", "3.01"},
    "seeing": {"0.8", "0.50", "0.63", "0.81", "0.90", "3.01", "50", "25", "0.97"},  # cited, asked
    "start-here": {"34"},
    "training": {"0.14", "2", "0.003", "29", "0.54", "0.90", "28.85", "0.903", "34.85", "0.942"},
}


def words_of(cell) -> str:
    """The prose of a cell: its text, or the caption and description of its figure."""
    if cell.cell_type == "markdown":
        return re.sub(r"```.*?```|\$\$.*?\$\$", "", cell.source, flags=re.DOTALL)
    about = cell.metadata.get("mystnb", {})
    words = [*about.get("figure", {}).values(), *about.get("image", {}).values()]
    return "\n".join(word for word in words if isinstance(word, str))


def test_no_measured_number_is_typed_into_a_chapter(chapters):
    """A number that a cell computes would fall behind it; one that is given may stand there."""
    for name, notebook in chapters.items():
        found = {number for cell in notebook.cells for number in typed(words_of(cell))}
        assert found <= GIVEN.get(name, set()), name


@pytest.mark.parametrize("resolutions", [1, 2, 3, 4])
def test_the_drawings_show_the_numbers_of_the_model(resolutions):
    model = Architecture(resolutions=resolutions, attention=resolutions > 1)
    text = diagrams.encoder(model)
    words = ["".join(element.itertext()) for element in ElementTree.fromstring(text)]
    for level in pyramid.levels(resolutions):
        assert f"{len(level.bands)} channels" in words
        assert f"every {level.stride} pixels" in words


@pytest.mark.parametrize("draw", [diagrams.system, diagrams.mirrored])
def test_the_drawn_decoder_ends_with_the_filters_that_the_model_has(draw):
    def after_filters(model):
        drawn = ElementTree.fromstring(draw(model))
        words = ["".join(element.itertext()) for element in drawn]
        place = words.index("filters")
        return words[place + 1 : place + 3]

    both = after_filters(Architecture(deblocking=77, refinement=55))
    assert both == ["deblocking, 77 channels", "refinement, 55 channels"]
    assert "refinement" not in " ".join(after_filters(Architecture(refinement=0)))


def test_all_drawings_are_whole_and_named():
    for name, content in diagrams.pages().items():
        assert name.endswith(".svg")
        assert ElementTree.fromstring(content).findtext("{http://www.w3.org/2000/svg}title")
