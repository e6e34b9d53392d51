"""The book in a browser: unpacked from its archive and opened from disk, moved, read by axe."""

import zipfile

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from tests.book.conftest import CHROMIUM

SCREENS = {"desktop by day": (1280, 900, "light"), "phone by night": (390, 844, "dark")}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def unpacked(html, tmp_path_factory):
    """The book as a reader has it who got the archive."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(html.parent / "mrdcae-lite-book.zip") as packed:
        packed.extractall(folder)
    return folder / "mrdcae-lite-book"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser):
    opened = browser.new_page()
    opened.set_default_timeout(120_000)
    yield opened
    opened.close()


def opened_from_disk(page, path) -> set[str]:
    """Open a page; return a set that every request from now on for another place falls into."""
    elsewhere: set[str] = set()

    def note(request):
        if not request.url.startswith(("file://", "data:")):
            elsewhere.add(request.url)

    page.on("request", note)
    page.goto(path.as_uri())
    return elsewhere


def test_the_divider_moves_on_a_page_opened_from_disk(page, unpacked):
    elsewhere = opened_from_disk(page, unpacked / "index.html")
    stage = page.locator(".mr-divider .mr-stage").first
    control = stage.locator("input")
    assert stage.evaluate("e => e.style.getPropertyValue('--cut')").strip() == "50%"
    control.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert stage.evaluate("e => e.style.getPropertyValue('--cut')").strip() == "55%"
    assert control.get_attribute("aria-valuetext") == "55 % from the left"
    assert elsewhere == set()


def test_every_step_of_a_slider_shows_another_picture_on_a_page_opened_from_disk(page, unpacked):
    elsewhere = opened_from_disk(page, unpacked / "chapters" / "start-here.html")
    figure = page.locator("figure.mr-widget:has(.mr-steps)").first
    figure.locator("input").focus()
    page.keyboard.press("Home")
    seen = []
    for _ in range(figure.locator("img").count()):
        visible = figure.locator("img:visible")
        assert visible.count() == 1
        seen.append((visible.get_attribute("src"), figure.locator("output").inner_text()))
        page.keyboard.press("ArrowRight")
    assert len({source for source, _ in seen}) == len({text for _, text in seen}) == len(seen) > 2
    assert elsewhere == set()


@pytest.mark.parametrize("screen", SCREENS)
def test_no_page_has_an_error_a_serious_violation_of_accessibility_or_is_wider_than_its_screen(
    page, html, pages, screen
):
    width, height, theme = SCREENS[screen]
    page.set_viewport_size({"width": width, "height": height})
    page.add_init_script(f"localStorage.setItem('mode', '{theme}')")
    found, errors = {}, []
    page.on("pageerror", lambda error: errors.append(("error", str(error))))
    for name in pages:
        page.goto((html / name).as_uri())
        assert page.locator("html").get_attribute("data-theme") == theme
        violations = Axe().run(page).response["violations"]
        faults = [
            (fault["id"], fault["nodes"][0]["html"][:200])
            for fault in violations
            if fault["impact"] in {"serious", "critical"}
        ]
        if page.evaluate("document.documentElement.scrollWidth") > width:
            faults.append(("wider than the screen", ""))
        faults += errors
        errors.clear()
        if faults:
            found[name] = faults
    assert found == {}
