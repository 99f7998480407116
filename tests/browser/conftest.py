"""One browser and one small server for all browser tests, and the pages and modes they run over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tools.browser import launch
from tools.render import HTML, inputs, is_current

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


class QuietHandler(SimpleHTTPRequestHandler):
    """The standard file server without a line on the terminal for each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def site() -> Path:
    """The rendered book, which must be the one these sources give."""
    assert is_current(inputs()), (
        "the rendered book is missing or older than its sources: run `make book` first"
    )
    return HTML.resolve()


@pytest.fixture(scope="session")
def addresses(site: Path) -> Iterator[dict[str, str]]:
    """Where the book can be read: over HTTP from this machine, and straight from disk."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"http": f"http://127.0.0.1:{server.server_port}/", "file": f"{site.as_uri()}/"}
    server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium without a window."""
    with sync_playwright() as playwright:
        running = launch(playwright)
        yield running
        running.close()


@pytest.fixture(scope="session")
def context(browser: Browser) -> Callable[[str, str], BrowserContext]:
    """A reader's window of a given theme (light, dark) and size (desktop, phone), opened once each."""
    opened: dict[tuple[str, str], BrowserContext] = {}

    def get(theme: str, size: str) -> BrowserContext:
        if (theme, size) not in opened:
            width, height = SIZES[size]
            opened[theme, size] = browser.new_context(
                color_scheme=theme, viewport={"width": width, "height": height}
            )
        return opened[theme, size]

    return get
