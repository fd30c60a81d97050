"""A real headless Chromium, and what it finds wrong with a page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIZES = {"phone": (360, 740), "desktop": (1280, 900)}


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's browser, driven by Playwright, kept from asking anybody anything."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield started
        started.close()


def open_file(browser: Any, file: Path, size: str, **options: Any) -> tuple[Any, list[str]]:
    """The page, and what it asked for besides itself and complained about."""
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, **options)
    heard: list[str] = []
    page.on("request", lambda request: heard.append(request.url))
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(file.as_uri())
    return page, [line for line in heard if line != file.as_uri()]


def faults(browser: Any, file: Path, size: str, scheme: str) -> list[str]:
    """Requests, complaints, a page wider than the window, figures without words, and what axe-core finds, all unfolded."""
    from axe_playwright_python.sync_playwright import Axe

    page, found = open_file(browser, file, size, color_scheme=scheme)
    width = page.evaluate("document.documentElement.scrollWidth")
    if width > SIZES[size][0]:
        found.append(f"it is {width} px wide")
    if page.locator("h1").count() != 1:
        found.append(f"it has {page.locator('h1').count()} h1")
    without = page.locator("main svg:not([role=img][aria-label])").count() + page.locator("main img:not([alt])").count()
    if without:
        found.append(f"{without} pictures without a text")
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    axe = Axe().run(page)
    if axe.violations_count:
        found.append(axe.generate_report())
    page.close()
    return found
