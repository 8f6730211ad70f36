"""The page in a browser, as people use it; it makes the screenshots of docs/serve.md."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="the service needs the extra serve")
playwright = pytest.importorskip("playwright.sync_api", reason="the browser is led by playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core looks for barriers")

from defusion.imaging import from_array, write

from .full import served

pytestmark = pytest.mark.full

DOCS = Path(__file__).parents[2] / "docs"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served("--max-upload-mb", "60", "--max-seconds", "120") as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as led:
        browser = led.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A tab in which no error may reach the console."""
    with tab(browser, address) as page:
        yield page


class tab:  # noqa: N801 (a context manager)
    def __init__(self, browser: Any, address: str, *, errors: bool = True, **options: Any) -> None:
        self._context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
        self._address, self._errors = address, errors

    def __enter__(self) -> Any:
        self.said: list[str] = []
        page = self._context.new_page()
        page.on("console", lambda message: self.said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.goto(self._address)
        until(page, "document.getElementById('version').textContent")
        return page

    def __exit__(self, *_: object) -> None:
        self._context.close()
        if self._errors:
            assert self.said == []


@pytest.fixture(scope="module")
def exposures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three exposures of 2.2 megapixels and 16 bits, made of a free photograph."""
    data = pytest.importorskip("skimage.data", reason="the photograph is scikit-image's")
    from PIL import Image

    folder = tmp_path_factory.mktemp("exposures")
    photograph = Image.fromarray(data.coffee()).resize((1800, 1200), Image.Resampling.LANCZOS)
    light = (np.asarray(photograph) / np.float32(255)) ** np.float32(2.2)
    files = []
    for name, stops in {"3 bright": 2.2, "1 dark": -2.2, "2 middle": 0.0}.items():
        samples = 65535 * np.clip(light * 2**stops, 0, 1) ** (1 / 2.2)
        files.append(folder / f"{name}.tif")
        write(files[-1], from_array(samples.astype(np.uint16)))
    return files


def until(page: Any, expression: str) -> None:
    """Waits for something to be so; the page's own policy lets playwright's way of doing that not work."""
    end = time.monotonic() + 60
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def drop(page: Any, files: list[tuple[str, bytes]]) -> None:
    """Drops files on the page, as a hand with a mouse does."""
    told = [[name, base64.b64encode(content).decode()] for name, content in files]
    page.evaluate(
        """async (files) => {
            const carried = new DataTransfer();
            for (const [name, content] of files) {
                const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
                carried.items.add(new File([bytes], name));
            }
            for (const kind of ["dragenter", "dragover", "drop"]) {
                const how = { dataTransfer: carried, bubbles: true, cancelable: true };
                document.body.dispatchEvent(new DragEvent(kind, how));
            }
        }""",
        told,
    )


def names(page: Any) -> list[str]:
    return list(page.locator(".source .name").all_inner_texts())


def fused(page: Any) -> None:
    page.click("#fuse:enabled", timeout=60_000)
    page.wait_for_selector("#outcome:not([hidden])", timeout=120_000)


def shown(page: Any) -> None:
    """Waits for all pictures that are in sight."""
    until(page, "[...document.images].every((each) => each.complete && each.naturalWidth)")


def barriers(page: Any) -> list[str]:
    """What axe-core finds that is serious."""
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in ("serious", "critical")
    ]


def screenshot(page: Any, name: str) -> None:
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(0, 0)
    page.wait_for_timeout(400)
    page.screenshot(path=DOCS / f"serve-{name}.jpg", type="jpeg", quality=82)


def test_three_pictures_are_dropped_compared_zoomed_and_downloaded(
    page: Any, exposures: list[Path], tmp_path: Path
) -> None:
    from defusion.api.fuser import Fuser

    screenshot(page, "start")
    assert barriers(page) == []
    drop(page, [(file.name, file.read_bytes()) for file in exposures])
    page.wait_for_selector("#fuse:enabled", timeout=60_000)
    assert names(page) == ["1 dark.tif", "2 middle.tif", "3 bright.tif"]
    page.evaluate(
        """() => {
            window.heard = [];
            const doing = document.getElementById("doing");
            new MutationObserver(() => heard.push(doing.textContent)).observe(doing, { childList: true });
        }"""
    )
    page.click("#fuse")
    page.wait_for_selector("#outcome:not([hidden])", timeout=120_000)
    heard = page.evaluate("window.heard")
    assert any(each.startswith("Fusing") and each.endswith("left") for each in heard), heard
    assert page.inner_text("#sentence").startswith("3 exposures")

    shown(page)
    screenshot(page, "result")
    assert barriers(page) == []
    knob = page.locator(".knob").bounding_box()
    page.mouse.move(knob["x"] + 22, knob["y"] + 22)
    page.mouse.down()
    page.mouse.move(knob["x"] + 260, knob["y"] + 30, steps=6)
    page.mouse.up()
    divider = page.locator("img-comparison-slider")
    moved = float(divider.get_attribute("aria-valuenow"))
    assert moved > 60
    divider.press("ArrowLeft")
    assert float(divider.get_attribute("aria-valuenow")) <= moved
    page.click(".source:nth-child(3) .pick")
    assert page.inner_text(".badge.left") == "3 bright.tif"

    with page.expect_response(lambda answer: "/tiles/2/" in answer.url, timeout=60_000):
        page.get_by_role("button", name="One pixel of the picture").click()
    until(page, "document.querySelector('.zoom output').value === '100 %'")
    page.wait_for_load_state("networkidle")
    screenshot(page, "zoom")
    assert barriers(page) == []

    written = Fuser().fuse_files(sorted(exposures), tmp_path / "fused.tif").output
    with page.expect_download() as download:
        page.click("#download")
    assert Path(download.value.path()).read_bytes() == written.read_bytes()
    page.select_option("#format", "jpeg")
    with page.expect_download(timeout=60_000) as download:
        page.click("#download")
    written = Fuser().fuse_files(sorted(exposures), tmp_path / "fused.jpg").output
    assert Path(download.value.path()).read_bytes() == written.read_bytes()


def test_the_page_is_light_until_there_are_pictures(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    loaded: list[int] = []
    page.on("requestfinished", lambda request: loaded.append(request.sizes()["responseBodySize"]))
    page.goto(address)
    page.wait_for_selector("#examples:not([hidden])")
    page.wait_for_load_state("networkidle")
    assert 10_000 < sum(loaded) < 200_000
    context.close()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dark", {"color_scheme": "dark"}),
        ("phone", {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}),
    ],
)
def test_an_example_in_the_dark_and_on_a_phone(
    browser: Any, address: str, name: str, options: dict[str, Any]
) -> None:
    with tab(browser, address, **options) as page:
        page.get_by_role("button", name="Focus").click()
        page.wait_for_selector("#outcome:not([hidden])", timeout=60_000)
        shown(page)
        screenshot(page, name)
        assert page.evaluate("document.querySelector('.zoom').getBoundingClientRect().bottom <= innerHeight")
        assert barriers(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        for name_of_map in ("Source map", "Depth map"):
            page.get_by_role("tab", name=name_of_map).click()
            page.wait_for_selector(f".pane img[alt='{name_of_map}']")
            shown(page)
        page.get_by_role("tab", name="Parts").click()
        page.wait_for_selector(".parts img", timeout=60_000)
        shown(page)
        assert page.locator(".parts figcaption").count() == 3
        assert barriers(page) == []


def test_keys_are_enough(page: Any, exposures: list[Path]) -> None:
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter", delay=1000)  # Chromium opens no chooser for a key that is released at once
    chooser.value.set_files([str(file) for file in exposures])
    page.wait_for_selector("#fuse:enabled", timeout=60_000)
    page.focus("#fuse")
    page.keyboard.press("Enter")
    page.wait_for_selector("#outcome:not([hidden])", timeout=120_000)
    page.focus("img-comparison-slider")
    page.keyboard.press("1")
    until(page, "document.querySelector('.zoom output').value === '100 %'")
    page.keyboard.press("0")
    until(page, "document.querySelector('.zoom output').value !== '100 %'")


def test_a_wrong_file_is_told_beside_those_that_are_right(browser: Any, address: str, exposures: list[Path]) -> None:
    with tab(browser, address, errors=False) as page:  # Chromium reports the 422 itself
        good = [(file.name, file.read_bytes()) for file in exposures[:2]]
        drop(page, [*good, ("letter.pdf", b"%PDF-1.7 hello")])
        page.wait_for_selector(".source.bad", timeout=60_000)
        assert "letter.pdf is not a picture" in page.inner_text(".source.bad .facts")
        page.wait_for_selector("#fuse:enabled", timeout=60_000)
        assert page.inner_text("#fuse") == "Fuse 2 pictures"
        page.click(".source.bad .remove")
        assert page.locator(".source").count() == 2


def test_a_file_that_is_too_large_is_not_sent(page: Any) -> None:
    page.evaluate(
        """() => {
            const carried = new DataTransfer();
            carried.items.add(new File([new Uint8Array(61 * 2 ** 20)], "huge.tif"));
            const how = { dataTransfer: carried, bubbles: true, cancelable: true };
            document.body.dispatchEvent(new DragEvent("drop", how));
        }"""
    )
    assert page.inner_text(".source.bad .facts") == "Too large: 61 MB, 60 MB at most."


def test_a_lost_connection_is_told_and_taken_up_again(browser: Any, address: str, exposures: list[Path]) -> None:
    with tab(browser, address, errors=False) as page:  # Chromium reports the lost connection itself
        drop(page, [(file.name, file.read_bytes()) for file in exposures])
        page.wait_for_selector("#fuse:enabled", timeout=60_000)
        page.context.set_offline(True)
        page.click("#fuse")
        page.wait_for_selector("#problem:not([hidden])")
        assert page.inner_text("#problem span") == "The service cannot be reached."
        page.context.set_offline(False)
        page.click("#problem button")
        page.wait_for_selector("#outcome:not([hidden])", timeout=120_000)
        assert page.locator("#problem").is_hidden()


def test_pictures_that_the_service_has_deleted_are_sent_again(
    browser: Any, address: str, exposures: list[Path]
) -> None:
    with tab(browser, address, errors=False) as page:  # Chromium reports the 404 itself
        with page.expect_response(lambda answer: answer.url.endswith("/v1/pictures")) as sent:
            drop(page, [(file.name, file.read_bytes()) for file in exposures[:2]])
        page.wait_for_selector("#fuse:enabled", timeout=60_000)
        link = sent.value.json()["pictures"][0]["links"]["self"]
        page.evaluate("(link) => fetch(link, { method: 'DELETE' })", link)
        page.click("#fuse")
        page.get_by_role("button", name="Send them again").click()
        fused(page)


def test_two_tabs_do_not_meet(browser: Any, address: str, exposures: list[Path]) -> None:
    with tab(browser, address) as one, tab(browser, address) as other:
        drop(one, [(file.name, file.read_bytes()) for file in exposures])
        other.get_by_role("button", name="Infrared").click()
        fused(one)
        other.wait_for_selector("#outcome:not([hidden])", timeout=120_000)
        assert one.inner_text("#sentence").startswith("3 exposures")
        assert other.inner_text("#sentence").startswith("Infrared and visible light")


def test_a_token_is_asked_for_and_a_link_carries_it(browser: Any) -> None:
    with served("--token", "open sesame") as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        page.fill("#token-text", "wrong")
        page.click("dialog button")
        page.wait_for_selector("#problem:not([hidden])")
        page.fill("#token-text", "open sesame")
        page.click("dialog button")
        until(page, "document.getElementById('version').textContent")
        context.clear_cookies()
        page.goto("about:blank")
        page.goto(f"{address}/#token=open%20sesame")
        until(page, "document.getElementById('version').textContent")
        assert "sesame" not in page.url
        context.close()
