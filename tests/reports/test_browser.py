"""The page in a real browser: it fits phone and desktop, asks the network for nothing, and has no script to fail."""

import shutil
from collections.abc import Iterator

import pytest

from reports.page import build_report

pytestmark = pytest.mark.browser
SIZES = {"phone": (360, 740), "desktop": (1280, 900)}


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield started
        started.close()


@pytest.fixture
def open_page(browser, runs, tmp_path):
    """The usual report, opened at a size; gives the page and what it asked for and complained about."""
    html = build_report(runs.usual().root, tmp_path / "index.html")

    def opened(size: str, **options):
        width, height = SIZES[size]
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        heard: list[str] = []
        page.on("request", lambda request: heard.append(request.url))
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.goto(html.as_uri())
        return page, [line for line in heard if line != html.as_uri()]

    return opened


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_is_quiet(open_page, size, scheme):
    page, heard = open_page(size, color_scheme=scheme)
    assert heard == []
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= SIZES[size][0], f"the page is {width} px wide"
    assert page.locator("h1").count() == 1
    assert page.locator("figure svg[role=img][aria-label]").count() == page.locator("figure svg").count() > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_paper(open_page, scheme):
    """WCAG 2.1, 1.4.3: a contrast of at least 4.5 to 1 for text."""
    page, _ = open_page("desktop", color_scheme=scheme)
    for selector in ("main p", "td", "th", "a", "figcaption", ".verdict"):
        colours = page.evaluate(
            """selector => { const e = document.querySelector(selector);
            return [getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor] }""",
            selector,
        )
        assert contrast(*colours) >= 4.5, (selector, colours)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours as a browser tells them, `rgb(0, 0, 0)`."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(", ")]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_of_black_and_white():
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21.0)


def test_tables_wider_than_a_phone_scroll_by_themselves(open_page):
    page, _ = open_page("phone")
    wide = page.evaluate(
        """[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth)
        .map(box => getComputedStyle(box).overflowX)"""
    )
    assert wide
    assert set(wide) == {"auto"}


def test_a_link_of_the_contents_leads_to_its_section(open_page):
    page, _ = open_page("desktop")
    page.locator("nav a").last.click()
    target = page.evaluate("decodeURIComponent(location.hash.slice(1))")
    assert page.locator(f"[id='{target}']").is_visible()
