"""The page on which readers try their own photograph, in a browser, beside Python."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mrdcae_lite as mr
from mrdcae_lite.coding import bitstream
from tests.book.conftest import PHONE

QUALITIES = (0, 20, 40, 70, 100)
READY = """() => document.querySelector(".mr-busy").hidden"""
BYTES = """async (selector) => {
  const blob = await (await fetch(document.querySelector(selector).href)).blob();
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ""));
}"""
OTHER_FILE = """(href) => document.querySelector(".mr-try a.mr-mrdc").href !== href"""
PIXELS = """(selector) => {
  const canvas = document.querySelector(selector);
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const text = data.reduce((text, byte) => text + String.fromCharCode(byte), "");
  return [height, width, btoa(text)];
}"""

OPENED = """(base64) => new Promise((resolve) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const worker = new Worker("_static/codec/page/worker.js", { type: "module" });
  worker.onmessage = ({ data: { result } }) => {
    worker.terminate();
    resolve([result.picture.width, result.picture.height, result.scaledFrom]);
  };
  worker.postMessage({ id: 1, task: "open", blob: new Blob([bytes]) });
})"""


@pytest.fixture
def tried(page, address):
    """The page, with what it does and shows."""
    page.goto(f"{address}/try.html")
    page.locator(".mr-try .mr-samples button").first.wait_for()
    return Tried(page)


class Tried:
    def __init__(self, page: Any) -> None:
        self.page = page

    def take(self, content: bytes, name: str = "picture.png") -> str:
        """Choose a file; returns what the page says at the end."""
        file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
        self.page.set_input_files(".mr-drop input", file)
        return self.status()

    def status(self) -> str:
        self.page.wait_for_function(READY)
        return self.page.inner_text(".mr-status")

    def choose(self, name: str, value: str) -> str:
        self.page.select_option(f".mr-try [name={name}]", value)
        return self.status()

    def quality(self, value: int) -> str:
        before = self.page.get_attribute(".mr-try a.mr-mrdc", "href")
        slider = self.page.locator(".mr-try [name=quality]")
        slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('change')); }", value)
        self.page.wait_for_function(OTHER_FILE, arg=before)
        return self.status()

    def file(self, kind: str = "mrdc") -> bytes:
        selector = f".mr-try a.mr-{kind}"
        self.page.wait_for_function("(s) => document.querySelector(s).href", arg=selector)
        return base64.b64decode(self.page.evaluate(BYTES, selector))

    def pixels(self, selector: str = ".mr-stage canvas") -> np.ndarray[Any, Any]:
        height, width, text = self.page.evaluate(PIXELS, selector)
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)

    def rows(self) -> dict[str, list[str]]:
        """The table: what stands in each row, by its name."""
        cells = [row.split("\t") for row in self.page.inner_text(".mr-try tbody").splitlines()]
        return {name: values for name, *values in cells}


def png(picture: np.ndarray[Any, Any] | Image.Image, **options: Any) -> bytes:
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, options.pop("format", "PNG"), **options)
    return buffer.getvalue()


def assert_same(tried: Tried, data: bytes) -> None:
    """The page shows what Python decodes from the same bytes, within one grey level.

    A canvas keeps colours as they show through: the more transparent, the less exact.
    """
    shown, expected = tried.pixels(), mr.load().decompress(data).astype(int)
    alpha = shown[..., 3:] / 255
    assert (alpha * abs(shown[..., :3] - expected)).max() <= (1 if alpha.min() == 1 else 2)


def test_samples_are_compressed_as_python_does_it_and_compared_at_equal_bytes(tried):
    for name in mr.sample_names():
        picture = mr.sample(name)[100:292, 200:456]
        assert "encoded in" in tried.take(png(picture))
        data, own = tried.file(), mr.load().compress(picture, 35)
        assert abs(len(data) - len(own)) <= 0.005 * len(own), name
        assert_same(tried, data)
        for other in ("WebP", "original", "error", "JPEG"):
            tried.choose("beside", other)
        rows = tried.rows()
        assert set(rows) == {"MR-DCAE Lite", "JPEG", "WebP"}
        for size, *_ in rows.values():
            assert abs(int(size.replace(",", "")) - len(data)) <= 0.01 * len(data), name
        restored = mr.load().decompress(data)
        _, bpp, psnr, ssim = rows["MR-DCAE Lite"]
        assert float(bpp) == pytest.approx(mr.bits_per_pixel(data, picture.shape), abs=0.001)
        assert float(psnr) == pytest.approx(mr.psnr(picture, restored, data_range=255), abs=0.02)
        assert float(ssim) == pytest.approx(mr.ssim(picture, restored, data_range=255), abs=0.001)
        _, _, jpeg, _ = rows["JPEG"]
        shown = tried.pixels(".mr-right")[..., :3]
        assert float(jpeg) == pytest.approx(mr.psnr(picture, shown, data_range=255), abs=0.01)


def test_files_go_both_ways_at_five_qualities(tried):
    picture = mr.sample("dog")[200:392, 150:406]
    codec = mr.load()
    tried.take(png(picture))
    made = []
    for quality in QUALITIES:
        tried.quality(quality)
        made.append(tried.file())
        assert mr.info(made[-1]).quality == quality
        assert_same(tried, made[-1])
        (found, *_), (own, *_) = map(
            codec.read_symbols, (made[-1], codec.compress(picture, quality))
        )
        for mine, others in zip(found, own, strict=True):
            assert (mine != others).mean() < 0.001  # a latent may lie on the edge of two symbols
    for quality in QUALITIES:
        data = codec.compress(picture, quality)
        assert "decoded in" in tried.take(data, "picture.mrdc")
        assert_same(tried, data)
        for level in (1, 2):
            tried.choose("level", str(level))
            expected = codec.decompress(data, level=level).astype(int)
            assert abs(tried.pixels()[..., :3] - expected).max() <= 1


def test_a_target_size_is_kept_by_the_highest_quality_that_can(tried):
    picture = mr.sample("waves")[:192, :192]
    tried.take(png(picture))
    tried.page.fill(".mr-try [name=kilobytes]", "2")
    tried.page.click("text=Fit")
    tried.status()
    data = tried.file()
    assert len(data) <= 2000 < len(mr.load().compress(picture, mr.info(data).quality + 1)) + 20
    tried.page.fill(".mr-try [name=kilobytes]", "0.1")
    tried.page.click("text=Fit")
    assert tried.status().startswith("Too small: at quality 0 this picture still takes ")
    assert tried.file() == data
    assert float(tried.page.input_value(".mr-try [name=kilobytes]")) * 1000 >= len(data)


def test_odd_pictures_are_taken(tried, rng):
    photograph = Image.fromarray(mr.sample("flowers")[200:264, 200:296])
    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the right
    clear = photograph.copy()
    clear.putalpha(Image.fromarray(rng.integers(0, 256, (64, 96), np.uint8)))
    drawing = np.kron(rng.integers(0, 2, (12, 12, 1), np.uint8) * 255, np.ones((8, 8, 3), np.uint8))
    pictures = {
        "one pixel": (png(photograph.crop((0, 0, 1, 1))), (1, 1)),
        "one row": (png(photograph.crop((0, 0, 96, 1))), (1, 96)),
        "grey": (png(photograph.convert("L")), (64, 96)),
        "palette": (png(photograph.convert("P")), (64, 96)),
        "turned": (png(photograph, format="JPEG", exif=exif, quality=95), (96, 64)),
        "transparent": (png(clear), (64, 96)),
        "drawing": (png(drawing), (96, 96)),
        "GIF": (png(photograph, format="GIF"), (64, 96)),
        "WebP": (png(photograph, format="WEBP"), (64, 96)),
        "CMYK": (png(photograph.convert("CMYK"), format="JPEG"), (64, 96)),
    }
    for name, (content, shape) in pictures.items():
        assert "encoded in" in tried.take(content, name), name
        data = tried.file()
        assert (mr.info(data).height, mr.info(data).width) == shape, name
        assert_same(tried, data)
        if name == "transparent":
            np.testing.assert_array_equal(mr.read_metadata(data).alpha, clear.getchannel("A"))
        if name == "drawing":
            assert "stored without loss" in tried.page.inner_text(".mr-status")
            np.testing.assert_array_equal(mr.load().decompress(data), drawing)
            assert tried.rows()["MR-DCAE Lite"][2] == "exact"


def test_what_is_no_picture_is_refused_in_one_line_and_what_was_there_stays(tried, rng):
    tried.take(png(mr.sample("dog")[:64, :64]))
    before = tried.file()
    damaged = bytearray(before)
    damaged[len(before) // 2] ^= 1
    for name, content in {
        "text.png": b"hello",
        "empty.jpg": b"",
        "cut.png": png(mr.sample("dog")[:64, :64])[:40],
        "cut.mrdc": before[:-9],
        "damaged.mrdc": bytes(damaged),
        "noise.mrdc": b"\x89MRD" + rng.bytes(500),
        "other.mrdc": mr.load("standard").compress(mr.sample("dog")[:64, :64], 30),
    }.items():
        said = tried.take(content, name)
        assert said.startswith(("This browser cannot", "Expected a", "The file was refused: ")), (
            name
        )
        assert tried.file() == before
    assert "decoded in" in tried.choose("level", "1")
    assert "encoded in" in tried.quality(20)
    tried.choose("beside", "WebP")
    assert set(tried.rows()) == {"MR-DCAE Lite", "JPEG", "WebP"}


def test_what_is_stopped_changes_nothing(tried):
    picture = mr.sample("guitar")[:64, :96]
    tried.take(png(picture))
    before, rows = tried.file(), tried.rows()
    tried.page.click(".mr-try .mr-samples button >> nth=1")
    tried.page.wait_for_function(
        """() => document.querySelector(".mr-step").textContent == "Decoding" """
    )
    tried.page.click(".mr-try [name=stop]")
    assert tried.status() == "Stopped."
    assert (tried.file(), tried.rows()) == (before, rows)
    assert tried.pixels().shape == (64, 96, 4)
    tried.page.check(".mr-try [name=routing]")
    assert "one level (blue)" in tried.page.inner_text(".mr-try figcaption")
    tried.choose("beside", "error")
    assert "one level (blue)" in tried.page.inner_text(".mr-try figcaption")
    tried.page.uncheck(".mr-try [name=routing]")
    assert "one level (blue)" not in tried.page.inner_text(".mr-try figcaption")
    assert_same(tried, before)


def test_a_file_that_ends_after_a_level_is_shown_up_to_it(tried):
    picture = mr.sample("guitar")[200:264, 200:296]
    data = mr.load().compress(picture, 60)
    for level in (1, 2):
        cut = data[: bitstream.size_up_to(data, level)]
        assert f"cut off: {level} of its 3 levels" in tried.take(cut, "cut.mrdc")
        expected = mr.load().decompress(cut, level=level).astype(int)
        assert abs(tried.pixels()[..., :3] - expected).max() <= 1
        assert tried.page.is_disabled(".mr-try [name=fit]")
    tried.take(data, "whole.mrdc")
    tried.choose("level", "1")
    assert tried.file() == data[: bitstream.size_up_to(data, 1)]


def test_an_old_browser_is_told_what_it_lacks(page, address):
    page.add_init_script("delete globalThis.OffscreenCanvas")
    page.goto(f"{address}/try.html")
    page.wait_for_function("""() => document.querySelector(".mr-status")?.textContent""")
    assert "it has no OffscreenCanvas" in page.inner_text(".mr-status")
    assert page.is_disabled(".mr-drop input")
    assert page.errors == []


def test_a_large_picture_is_made_smaller_and_what_was_stopped_can_go_on(tried):
    large = png(np.tile(mr.sample("path"), (7, 8, 1)), format="JPEG")
    assert tried.page.evaluate(OPENED, base64.b64encode(large).decode()) == [
        3703,
        3240,
        [4608, 4032],
    ]
    file = {"name": "large.jpg", "mimeType": "image/jpeg", "buffer": large}
    tried.page.set_input_files(".mr-drop input", file)
    tried.page.wait_for_function(
        """() => document.querySelector(".mr-step").textContent == "Encoding"
          && document.querySelector(".mr-try progress").value > 0"""
    )
    tried.page.click(".mr-try [name=stop]")
    assert tried.status() == "Stopped."
    small = mr.sample("path")[:64, :64]
    assert "encoded in" in tried.take(png(small))
    assert_same(tried, tried.file())
    tried.page.click(".mr-try .mr-samples button >> nth=2")
    tried.page.wait_for_function("() => !document.querySelector('.mr-busy').hidden")
    tried.page.click(".mr-try [name=stop]")
    assert tried.status() == "Stopped."
    assert "encoded in" in tried.quality(20)


def test_it_works_by_keyboard_on_a_telephone_at_night(tried):
    page = tried.page
    page.set_viewport_size(PHONE)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.locator(".mr-try .mr-samples button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => !document.querySelector('.mr-busy').hidden")
    assert "encoded in" in tried.status()
    page.locator(".mr-try .mr-stage input").focus()
    page.keyboard.press("ArrowRight")
    stage = page.locator(".mr-try .mr-stage")
    assert stage.evaluate("e => getComputedStyle(e).getPropertyValue('--cut')").strip() == "51%"
    page.locator(".mr-try [name=routing]").press("Space")
    assert "one level (blue)" in page.inner_text(".mr-try figcaption")
    page.locator(".mr-try [name=quality]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")  # the last of them counts, and the focus stays
    page.wait_for_function("() => !document.querySelector('.mr-busy').hidden")
    assert "encoded in" in tried.status()
    assert page.evaluate("document.activeElement.name") == "quality"
    assert mr.info(tried.file()).quality == 38
    with page.expect_download() as saving:
        page.locator("text=Save the .mrdc file").press("Enter")
    assert saving.value.suggested_filename == "flowers.mrdc"
    assert Path(saving.value.path()).read_bytes() == tried.file()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    restored = np.asarray(Image.open(io.BytesIO(tried.file("png"))).convert("RGBA"))
    np.testing.assert_array_equal(restored, tried.pixels())


def test_nothing_leaves_the_page_nothing_is_stored_and_nothing_is_loaded_unasked(tried, address):
    page = tried.page
    page.wait_for_load_state("networkidle")
    heavy = [url for url in page.asked if ".wasm" in url or ".onnx" in url or "worker" in url]
    assert heavy == []
    page.evaluate("localStorage.clear()")
    tried.take(png(mr.sample("dog")[:64, :64]))
    tried.choose("beside", "WebP")
    sent = [url for url in page.asked if not url.startswith((address, "data:", "blob:"))]
    assert sent == []
    asked = len(page.asked)
    tried.take(png(mr.sample("bulb")[:64, :64]))
    tried.quality(70)
    assert [url for url in page.asked[asked:] if not url.startswith("blob:")] == []
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert page.evaluate("caches.keys()") == page.evaluate("indexedDB.databases()") == []
    assert page.errors == []
