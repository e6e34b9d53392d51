import base64
import re
from io import BytesIO

import numpy as np
import pytest
from bs4 import BeautifulSoup
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from mrdcae_lite.notebook.widgets import LIVE, blind, compare, curves, explore, steps


@pytest.fixture
def frames(rng):
    return [rng.integers(0, 256, (20, 30, 3), np.uint8) for _ in range(3)]


def divider(frames, **changes):
    options = {"labels": ("before", "after"), "caption": "Nothing is lost."} | changes
    return compare(frames[0], frames[1], **options)


def slider(frames, **changes):
    captions = [f"step {number} of three" for number in range(3)]
    options = {"label": "Quality", "captions": captions, "caption": "It grows."} | changes
    return steps(frames, **options)


def asked(frames, **changes):
    options = {"labels": ("ours", "AVIF"), "caption": "Equal bytes."} | changes
    return blind([tuple(frames), tuple(frames[::-1])], **options)


LINES = {"JPEG": ([0.2, 1.0, 2.0], [24.0, 30.0, 36.0]), "ours <1>": ([0.4, 1.0], [28.0, 33.0])}


def drawn(_frames=None, *, lines=LINES):
    return curves(lines, labels=("bits per pixel", "PSNR (dB)"), caption="Ours is above.")


MOVED = pytest.mark.parametrize("make", [divider, slider, drawn])
WIDGETS = pytest.mark.parametrize("make", [divider, slider, drawn, asked])


def parsed(widget) -> BeautifulSoup:
    return BeautifulSoup(widget._repr_html_(), "html.parser")


def pixels(picture) -> np.ndarray:
    kind, _, data = picture["src"].partition(",")
    assert kind == "data:image/webp;base64"
    return np.array(Image.open(BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize(("make", "number"), [(divider, 2), (slider, 3), (asked, 6)])
def test_the_page_holds_every_pixel(make, number, frames):
    pictures = parsed(make(frames)).find_all("img")
    assert len(pictures) == number
    for picture, frame in zip(pictures, frames, strict=False):
        np.testing.assert_array_equal(pixels(picture), frame)


@WIDGETS
def test_a_page_asks_for_nothing_and_is_always_the_same_without_any_id(make, frames):
    widget = make(frames)
    around = re.sub(r"data:image/webp;base64,[\w+/=]+", "", widget.html)
    assert len(around) < (7500 if make in (drawn, asked) else 5000)
    assert not re.search(r"//|url\(|<script|<link", around)
    assert make(frames) == widget
    assert parsed(widget).find_all(id=True) == []


@MOVED
def test_a_native_range_input_with_a_name_does_the_moving(make, frames):
    control = parsed(make(frames)).find("input")
    assert control["type"] == "range"
    assert control["aria-label"]
    assert control["aria-valuetext"]
    assert control["oninput"].startswith(("this.", "const "))


def test_a_picture_that_webp_cannot_hold_is_shown_all_the_same():
    long = np.zeros((2, 16_384, 3), np.uint8)
    said = {"labels": ("a", "b"), "caption": "black"}
    assert "data:image/png;base64," in compare(long, long, **said).html
    assert "data:image/webp;base64," in compare(long[:, 1:], long[:, 1:], **said).html


def test_what_the_divider_shows_is_said_in_words(frames):
    page = parsed(divider(frames))
    assert [picture["alt"] for picture in page.find_all("img")] == [
        "Left of the divider: before",
        "Right of the divider: after",
    ]
    assert "Nothing is lost." in page.find("figcaption").get_text()


def test_what_every_step_shows_is_said_in_words_and_one_is_visible(frames):
    page = parsed(slider(frames, start=1))
    words = [item.get_text() for item in page.find_all("li")]
    assert words == [f"step {number} of three" for number in range(3)]
    assert page.find("output").get_text() == words[1]
    hidden = [picture.get("style") == "visibility: hidden" for picture in page.find_all("img")]
    assert hidden == [True, False, True]
    assert page.find("input")["value"] == "1"


def test_a_blind_test_begins_with_an_original_and_its_words_do_not_tell_which_is_which(frames):
    page = parsed(asked(frames))
    pictures = page.find_all("img")
    assert [picture.get("style") is None for picture in pictures] == [True] + 5 * [False]
    words = " ".join(picture["alt"] for picture in pictures)
    assert words.count("The original of pair") == 2
    assert words.count("One of the two versions of pair") == 4
    assert "ours" not in page.get_text() + words
    assert (page.figure["data-first"], page.figure["data-second"]) == ("ours", "AVIF")
    assert all(button["type"] == "button" for button in page.find_all("button"))


def test_a_blind_test_needs_a_trial():
    with pytest.raises(ValueError, match="at least one original with two versions"):
        blind([], labels=("a", "b"), caption="none")


def test_text_with_quotes_and_brackets_stays_text(frames):
    page = parsed(divider(frames, labels=('<b>"a"</b>', "b & c"), caption="x < y"))
    assert page.find("b") is None
    assert page.find("img")["alt"] == 'Left of the divider: <b>"a"</b>'
    assert "x < y" in page.find("figcaption").get_text()


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (divider, {"zoom": 0}, "zoom must be a whole number from 1. Received: 0"),
        (slider, {"captions": ["one"]}, "one text for each of the 3 frames. Received: 1"),
        (slider, {"start": 3}, "start must be from 0 to 2. Received: 3"),
        (drawn, {"lines": {}}, "lines must be 1 to 7 curves. Received: 0"),
        (drawn, {"lines": {"a": ([1, 1], [2, 3])}}, "Received for 'a': 2 and 2"),
        (drawn, {"lines": {"a": ([1, 2], [2])}}, "Received for 'a': 2 and 1"),
        (drawn, {"lines": {"a": ([1, 2], [2, np.nan])}}, "finite values. Received for 'a'"),
    ],
)
def test_an_impossible_argument_is_refused(make, changes, message, frames):
    with pytest.raises(ValueError, match=message):
        make(frames, **changes)


def test_pictures_of_two_shapes_or_of_another_type_are_refused(frames):
    with pytest.raises(ValueError, match=r"two or more of one shape. Received: 2 of shapes"):
        divider([frames[0], frames[1][:10]])
    with pytest.raises((ValueError, TypeError), match="uint8"):
        divider([frames[0] / 255, frames[1]])


def test_the_slider_reads_every_curve_that_reaches_its_place():
    page = parsed(drawn())
    assert page.find("svg")["aria-label"] == "PSNR (dB) over bits per pixel"
    words = [item.get_text() for item in page.find_all("li")]
    assert words[0] == "0.20 bits per pixel, PSNR (dB): JPEG 24"
    assert "ours <1>" in words[10]  # 0.65 bits per pixel
    assert "ours <1>" not in words[-1]
    assert words[-1].startswith("2.00 bits per pixel, PSNR (dB): JPEG 36")
    assert page.find("output").get_text() == words[20]


def test_a_flat_curve_lies_in_the_middle():
    line, _ = parsed(drawn(lines={"a": ([0, 1, 2], [5, 5, 5])})).find_all("path")[-2:]
    heights = {point.split()[1] for point in line["d"].rpartition("M")[2].split("L")}
    assert heights == {"156.0"}


def test_the_axes_have_round_numbers_and_the_first_curve_is_the_strongest_and_on_top():
    page = parsed(drawn(lines={"ours": ([0.13, 1.9], [23.9, 41]), "JPEG": ([0.3, 2], [22, 36])}))
    numbers = [text.get_text() for text in page.find_all("text", attrs={"text-anchor": True})][2:]
    assert numbers == ["0", "0.5", "1", "1.5", "2", "20", "25", "30", "35", "40", "45"]
    lines = [path for path in page.find_all("path") if path.has_attr("stroke-dasharray")]
    names = [path.find_next("text").get_text() for path in lines]
    assert names == ["JPEG", "ours"]
    assert ["--wide: 4" in path["style"] for path in lines] == [False, True]


def explorer_of(seen, **changes):
    """Shows a grey as bright as the value, and remembers what it was asked for."""

    def grey(value):
        seen.append(value)
        if value == 13:
            raise RuntimeError("no <luck>")
        return np.full((20, 30, 3), value, np.uint8), f"{value}: grey"

    options = {"every": range(101), "label": "Level", "caption": "It brightens."} | changes
    return explore(grey, (0, 50, 100), **options)


def test_on_a_page_explore_shows_its_stops_as_steps_do():
    seen = []
    shown = explorer_of(seen, start=50)
    frames = [np.full((20, 30, 3), value, np.uint8) for value in (0, 50, 100)]
    captions = [f"{value}: grey" for value in (0, 50, 100)]
    same = steps(frames, label="Level", captions=captions, caption="It brightens.", start=1)
    assert shown._repr_html_() == same.html
    assert seen == [0, 50, 100]


def test_with_a_kernel_explore_computes_any_value_and_each_stop_once():
    seen = []
    control, picture = explorer_of(seen).live().children
    for value in (50, 37):
        control.value = value
        page = BeautifulSoup(picture.value, "html.parser")
        assert pixels(page.find("img")).max() == value
        assert page.find("figcaption").get_text() == f"{value}: grey"
    assert seen == [0, 50, 100, 37]


def test_a_live_control_has_a_name_and_waits_until_it_is_let_go():
    control, _ = explorer_of([], start=100).live().children
    assert control.description == "Level"
    assert control.value == 100
    assert list(control.options) == list(range(101))
    assert not control.continuous_update


def test_a_live_control_says_how_a_state_failed_and_goes_on():
    control, picture = explorer_of([]).live().children
    control.value = 13
    assert picture.value == "<p>Level 13: RuntimeError: no &lt;luck&gt;</p>"
    control.value = 12
    assert "12: grey" in picture.value


def test_a_notebook_is_offered_the_control_and_the_page_at_once():
    formats, _ = DisplayFormatter().format(explorer_of([]))
    assert formats["text/html"] == explorer_of([]).html
    view = formats[LIVE]
    assert (view["version_major"], view["version_minor"]) == (2, 0)
    assert len(view["model_id"]) == 32


@pytest.mark.parametrize("make", [divider, slider])
def test_what_a_page_can_do_alone_needs_no_control(make, frames):
    formats, _ = DisplayFormatter().format(make(frames))
    assert set(formats) == {"text/html", "text/plain"}


@pytest.mark.parametrize("changes", [{"start": 7}, {"every": range(50)}])
def test_a_stop_that_a_live_slider_does_not_offer_is_refused(changes):
    with pytest.raises(ValueError, match=r"must be among every value. Received: start \d, stops"):
        explorer_of([], **changes)
