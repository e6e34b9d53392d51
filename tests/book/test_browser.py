"""The book in a browser: every page as it is served, and the archive opened from disk."""

import zipfile
from typing import NamedTuple

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.book.conftest import DESKTOP, PHONE, open_page
from tests.book.weigh import before_scrolling, served

READ_AT_NIGHT = {"index.html", "chapters/start-here.html", "back/format.html"}
WIDE = "document.documentElement.scrollWidth > innerWidth"


class Visit(NamedTuple):
    asked: list[str]
    missing: list[str]
    errors: list[str]
    faults: list[tuple[str, str]]
    wide: list[bool]


@pytest.fixture(scope="module")
def unpacked(html, tmp_path_factory):
    """The book as a reader has it who got the archive."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(html.parent / "mrdcae-lite-book.zip") as packed:
        packed.extractall(folder)
    return folder / "mrdcae-lite-book"


def violations(page, **options) -> list[tuple[str, str]]:
    """Ask axe; return the serious faults of a page and where the first of each is.

    Axe fetches style sheets by itself, some from wrong addresses: the page did not ask for them.
    """
    own = page.asked[:], page.missing[:]
    asked = {"resultTypes": ["violations"], **options}  # without a list of all that is right
    found = Axe().run(page, options=asked).response["violations"]
    page.asked[:], page.missing[:] = own
    return [
        (fault["id"], fault["nodes"][0]["html"][:200])
        for fault in found
        if fault["impact"] in {"serious", "critical"}
    ]


@pytest.fixture(scope="module")
def visits(browser, address, pages):
    """What each page asked for and what is wrong with it, on a desktop by day and a phone by night.

    Axe reads every page by day. At night only colours differ, and those come from the same style
    sheets on all pages: contrast is looked at again on a few.
    """
    page, found = open_page(browser), {}
    for name in pages:
        page.set_viewport_size(DESKTOP)
        page.goto(f"{address}/{name}")
        faults, wide = violations(page), [page.evaluate(WIDE)]
        page.set_viewport_size(PHONE)
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        faults += violations(page, runOnly=["color-contrast"]) if name in READ_AT_NIGHT else []
        wide.append(page.evaluate(WIDE))
        found[name] = Visit(page.asked[:], page.missing[:], page.errors[:], faults, wide)
        for record in (page.asked, page.missing, page.errors):
            record.clear()
    page.close()
    return found


def test_no_page_asks_another_host(visits, address):
    for name, visit in visits.items():
        assert f"{address}/{name}" in visit.asked
        assert [url for url in visit.asked if not url.startswith((address, "data:"))] == [], name


def test_no_page_asks_for_what_is_not_there(visits):
    """Below the name of the repository, where an address from the root would lead elsewhere."""
    assert {name: visit.missing for name, visit in visits.items() if visit.missing} == {}


def test_no_page_has_an_error(visits):
    assert {name: visit.errors for name, visit in visits.items() if visit.errors} == {}


def test_no_page_has_a_serious_violation_of_accessibility(visits):
    assert {name: visit.faults for name, visit in visits.items() if visit.faults} == {}


def test_no_page_is_wider_than_its_screen(visits):
    assert [name for name, visit in visits.items() if any(visit.wide)] == []


def test_a_phone_loads_at_most_700_kilobytes_of_any_page_before_its_reader_scrolls(
    browser, html, pages
):
    with served(html) as address:
        sizes = {name: before_scrolling(browser, html, address, name) for name in pages}
    assert {name: size for name, size in sizes.items() if size > 700_000} == {}


def test_the_divider_moves_on_a_page_opened_from_disk(page, unpacked):
    page.goto((unpacked / "index.html").as_uri())
    stage = page.locator(".mr-divider .mr-stage").first
    control = stage.locator("input")
    assert stage.evaluate("e => getComputedStyle(e).getPropertyValue('--cut')").strip() == "50%"
    control.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert stage.evaluate("e => getComputedStyle(e).getPropertyValue('--cut')").strip() == "55%"
    assert control.get_attribute("aria-valuetext") == "55 % from the left"
    assert [url for url in page.asked if not url.startswith(("file:///", "data:"))] == []


def test_every_step_of_a_slider_shows_another_picture_on_a_page_opened_from_disk(page, unpacked):
    page.goto((unpacked / "chapters" / "start-here.html").as_uri())
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
    assert [url for url in page.asked if not url.startswith(("file:///", "data:"))] == []


def test_the_blind_test_hides_which_is_which_until_the_end_and_stores_nothing(page, unpacked):
    page.goto((unpacked / "chapters" / "seeing.html").as_uri())
    stored = "JSON.stringify([localStorage, sessionStorage, document.cookie])"
    before, test = page.evaluate(stored), page.locator("figure.mr-blind")
    pairs = test.locator("img").count() // 3
    for number in range(1, pairs + 1):
        assert test.locator("output").inner_text() == f"Pair {number} of {pairs}"
        for name in ("A", "original", "B"):
            button = test.get_by_role("button", name=name, exact=True)
            button.press("Enter")
            assert button.get_attribute("aria-pressed") == "true"
            assert test.locator("img:visible").count() == 1
        assert "AVIF 4:4:4, speed 3:" not in test.inner_text()
        test.get_by_role("button", name="no difference").press("Space")
    assert f"no difference: {pairs}." in test.locator("output").inner_text()
    assert page.evaluate(stored) == before
    assert [url for url in page.asked if not url.startswith(("file:///", "data:"))] == []
