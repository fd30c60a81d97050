"""The page in a real browser: it fits phone and desktop, asks the network for nothing, and has no script to fail."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from reports.page import BESIDE, build_report
from tests.browser import SIZES, chromium, faults, open_file
from tests.reports.conftest import Runs
from tests.reports.pages.test_stability import FP32, SAME, sweep
from tests.reports.pages.test_throughput import throughput_record

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The usual report with all its pages, a sweep and a measurement among the records."""
    runs = Runs(tmp_path_factory.mktemp("site") / "runs").usual()
    sweep(runs, {"fp32": FP32, "bf16": SAME})
    throughput_record(runs)
    return build_report(runs.root, runs.root.parent / "out" / "index.html").parent


@pytest.fixture
def open_page(browser, site):
    """A page of the report, opened at a size; gives the page and what it asked for and complained about."""

    def opened(size: str, file: str = "index.html", **options):
        return open_file(browser, site / file, size, **options)

    return opened


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("file", ["index.html", *BESIDE])
def test_every_page_fits_is_quiet_and_has_no_fault_that_axe_finds(browser, site, size, scheme, file):
    assert faults(browser, site / file, size, scheme) == []


def test_axe_finds_a_fault(open_page):
    page, _ = open_page("desktop")
    page.evaluate("document.querySelector('.scroll').removeAttribute('tabindex'); document.documentElement.lang = ''")
    page.evaluate("document.querySelector('figure svg').removeAttribute('aria-label')")
    assert Axe().run(page).violations_count >= 2


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<h1>A</h1><img src="http://127.0.0.1:9/x.png" alt="a">', "http://127.0.0.1:9/x.png"),
        ("<h1>A</h1><script>console.log('said')</script>", "said"),
        ('<h1>A</h1><div style="width: 900px; height: 1px"></div>', "it is 9"),
        ("<h1>A</h1><svg></svg>", "1 pictures without a text"),
        ("<p>no heading</p>", "it has 0 h1"),
        ('<h1>A</h1><p style="color: #999">faint</p>', "color-contrast"),
    ],
)
def test_faults_are_found(browser, tmp_path, body, fault):
    page = tmp_path / "page.html"
    page.write_text(
        f'<!DOCTYPE html><html lang="en"><head><title>t</title></head><body><main>{body}</main></body></html>'
    )
    assert any(fault in found for found in faults(browser, page, "phone", "light"))


def test_a_table_is_saved_from_the_page(open_page):
    page, _ = open_page("desktop", "published.html")
    with page.expect_download() as download:
        page.get_by_label("CSV of the table: Training stability test: 16 random seeds, June 2020").first.click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("Random seed,Mixed precision AUC")
    assert lines[1].startswith("8,0.803696,0.803669,")


def test_the_pages_are_reached_by_keyboard(open_page):
    page, _ = open_page("phone")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/published.html")


def test_on_paper_everything_is_there(open_page):
    page, _ = open_page("desktop", "stability.html")
    page.emulate_media(media="print")
    assert page.locator("nav.pages").is_visible() is False
    assert page.locator("figure svg").first.is_visible()
    assert len(page.pdf()) > 20_000


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
    page.locator("nav.contents a").last.click()
    target = page.evaluate("decodeURIComponent(location.hash.slice(1))")
    assert page.locator(f"[id='{target}']").is_visible()
