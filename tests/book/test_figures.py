"""Figures for dark pages: the same pictures, in ink that can be read there."""

from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure
from PIL import Image

from book.tools import figures

WHITE = (1.0, 1.0, 1.0)


def chart() -> Figure:
    figure = Figure(figsize=(3, 3), layout="constrained")
    line, photograph = figure.subplots(2, 1)
    line.plot([1, 2], label="JPEG")
    line.plot([2, 1], "k*", label="ours")
    line.errorbar([0.5], [1.5], yerr=0.2, fmt="k|", capsize=3)
    line.bar([0], [1], color="navy")
    line.legend(title="codec")
    photograph.imshow(np.arange(25).reshape(5, 5), cmap="gray")
    photograph.set_title("photograph")
    photograph.text(2, 2, "on it", color="black")
    return figure


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(png)).convert("RGBA")) / 255


@pytest.mark.parametrize("name", ["black", "tab:blue", "tab:red", "navy", "tab:gray", "C5"])
def test_ink_for_dark_pages_has_a_contrast_of_at_least_four_and_a_half(name):
    from matplotlib.colors import to_rgba

    *ink, opacity = figures.in_the_dark(to_rgba(name, 0.5))
    assert figures.contrast(ink, figures.PAGE) >= 4.5
    assert opacity == 0.5


def test_contrast_is_that_of_wcag():
    assert figures.contrast(WHITE, (0, 0, 0)) == pytest.approx(21)
    grey = 0x76 / 255  # the darkest grey that is readable on white
    assert figures.contrast((grey,) * 3, WHITE) == pytest.approx(4.54, abs=0.01)


def test_what_is_white_or_pale_becomes_the_page_or_dark():
    assert figures.in_the_dark((*WHITE, 1.0)) == (*figures.PAGE, 1.0)
    assert figures.luminance(figures.in_the_dark((0.86, 0.91, 0.96, 1.0))) < 0.05


def test_a_figure_is_drawn_twice_and_is_afterwards_as_it_was():
    figure = chart()
    before = print_figure(figure, "png")
    dark = pixels(b64decode(figures.both(figure)[figures.DARK]))
    day = pixels(before)
    after = pixels(print_figure(figure, "png"))
    np.testing.assert_allclose(after, day, atol=2 / 255)  # a layout made twice differs in an ulp
    assert dark.shape == day.shape
    assert dark[0, 0, 3] == 0  # nothing behind it
    assert day[0, 0].tolist() == [1, 1, 1, 1]


def test_every_text_and_line_of_a_dark_figure_can_be_read_and_images_stay_as_they_are():
    figure = chart()
    figure.canvas.draw()
    line, photograph = figure.axes
    with figures.dark(figure):
        texts = [*line.get_xticklabels(), line.get_legend().get_title(), photograph.title]
        inks = [text.get_color() for text in texts]
        inks += [spine.get_edgecolor() for spine in line.spines.values()]
        inks += [drawn.get_color() for drawn in line.lines]
        inks += [bar.get_facecolor() for bar in line.patches]
        assert min(figures.contrast(ink, figures.PAGE) for ink in inks) >= 4.5
        assert photograph.texts[0].get_color() == "black"


def test_a_drawing_names_other_colours_at_night_and_its_black_ink_is_light():
    day = '<svg width="4"><rect fill="#fff"/><path stroke="#555"/><use href="#head"/><text>a</text>'
    night = figures.drawing_in_the_dark(day)
    assert night.startswith('<svg fill="#ebebeb" width="4">')
    assert 'fill="#121212"' in night
    assert 'href="#head"' in night
    assert "#555" not in night


def test_a_kernel_with_the_extension_shows_both(monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    figures.load_ipython_extension(shell)
    shown, _ = shell.display_formatter.format(chart())
    assert b64decode(shown[figures.DARK]).startswith(b"\x89PNG")
