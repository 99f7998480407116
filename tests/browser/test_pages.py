"""Every page, as a reader meets it: over HTTP and from disk, light and dark, on a desktop and on a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import BrowserContext, Page

from tools.pages import docname, pages

pytestmark = pytest.mark.site

Theme = Literal["light", "dark"]
PAGES = [docname(page) for page in pages()]
LOCAL = ("data:", "blob:", "about:", "file:", "http://127.0.0.1:")
INSPECT = Path(__file__).with_name("inspect.js").read_text(encoding="utf-8")
AUDIT = Path(__file__).with_name("audit.js").read_text(encoding="utf-8")
AXE = Path("node_modules/axe-core/axe.min.js")
# Faults of the theme itself, each by rule and by the element that may have it.
THEME_FAULTS = {
    "label-content-name-mismatch": ".search-button, .search-button-field, .theme-switch-button",
    "region": ".navbar-brand.logo",
}
# What a page does after it has loaded: typeset, draw, read the length of its sounds, load its fonts.
FINISHED = """async (theme) => {
  if (document.querySelector(".math")) await MathJax.startup.promise;
  await document.fonts.ready;
  const ready = () => document.documentElement.dataset.theme === theme
    && (!document.querySelector("pre.mermaid") || document.documentElement.dataset.mermaid === theme)
    && [...document.querySelectorAll("audio, video")].every((p) => p.readyState >= 1 || p.error)
    && [...document.images].every((image) => image.complete || image.loading === "lazy");
  const end = performance.now() + 15000;
  while (!ready() && performance.now() < end) await new Promise((go) => setTimeout(go, 20));
  for (const change of document.getAnimations()) if (change instanceof CSSTransition) change.finish();
}"""


class Watch:
    """A page of the browser and what it complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("request", lambda request: self._request(request.url))
        page.on("requestfailed", lambda request: self._failed(request.url, request.failure or ""))
        page.on("response", lambda answer: self._response(answer.status, answer.url))
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self.problems.append(f"script error: {error}"))

    def _failed(self, url: str, reason: str) -> None:
        if reason != "net::ERR_ABORTED":  # the page was left before it came
            self.problems.append(f"request failed: {url[:160]} ({reason})")

    def _request(self, url: str) -> None:
        if not url.startswith(LOCAL):
            self.problems.append(f"request to another machine: {url[:160]}")

    def _response(self, status: int, url: str) -> None:
        if status >= 400:
            self.problems.append(f"answer {status}: {url[:160]}")

    def _console(self, kind: str, text: str) -> None:
        if kind == "error":
            self.problems.append(f"console error: {text[:200]}")


@pytest.fixture
def watch(context: Callable[[str, str], BrowserContext], request: pytest.FixtureRequest) -> Iterator[Watch]:
    """A fresh page in a window of the test's theme and size (light desktop where the test names none)."""
    mode = getattr(request.node, "callspec", None)
    chosen = mode.params if mode else {}
    page = context(chosen.get("theme", "light"), chosen.get("size", "desktop")).new_page()
    yield Watch(page)
    page.close()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(
    ("size", "theme", "then", "protocol"),
    [("desktop", "light", "dark", "http"), ("phone", "dark", "light", "file")],
)
def test_page(
    watch: Watch, addresses: dict[str, str], name: str, size: str, theme: Theme, then: Theme, protocol: str
) -> None:
    """Nothing comes from elsewhere; formulas, diagrams, players and pictures work; nothing is too wide.

    The page is opened in one theme and then turned to the other, as readers do in the evening.
    """
    watch.page.goto(f"{addresses[protocol]}{name}.html", wait_until="load")
    watch.page.evaluate(AXE.read_text(encoding="utf-8"))
    for now in (theme, then):
        watch.page.emulate_media(color_scheme=now)
        watch.page.evaluate(FINISHED, now)
        watch.problems += [f"{now}: {problem}" for problem in watch.page.evaluate(INSPECT)]
        assert watch.page.evaluate("document.documentElement.dataset.theme") == now
        found = watch.page.evaluate(AUDIT, [THEME_FAULTS, now == theme])
        watch.problems += [f"{now}: {problem}" for problem in found]
    assert not watch.problems, "\n" + "\n".join(watch.problems)


@pytest.mark.parametrize("protocol", ["http", "file"])
def test_search(watch: Watch, addresses: dict[str, str], protocol: str) -> None:
    """Searching for a word of the landing page's title finds pages, also from disk."""
    watch.page.goto(f"{addresses[protocol]}{PAGES[0]}.html")
    word = max(watch.page.inner_text("h1").replace("#", " ").split(), key=len).strip(".,:")
    watch.page.goto(f"{addresses[protocol]}search.html?q={word}")
    watch.page.wait_for_selector("#search-results li a", timeout=15000)
    assert not watch.problems, "\n" + "\n".join(watch.problems)


def test_theme_change_redraws_diagrams(watch: Watch, addresses: dict[str, str], site: Path) -> None:
    """A diagram drawn for light paper is drawn again when the reader turns the page dark."""
    with_diagram = [
        name for name in PAGES if 'class="mermaid"' in (site / f"{name}.html").read_text(encoding="utf-8")
    ]
    assert with_diagram, "no page has a diagram, although the book promises its flow chart"
    watch.page.goto(f"{addresses['file']}{with_diagram[0]}.html")
    drawings = []
    for theme in ("light", "dark"):
        watch.page.emulate_media(color_scheme=theme)
        watch.page.evaluate(FINISHED, theme)
        drawings.append(watch.page.inner_html("pre.mermaid"))
    assert drawings[0] != drawings[1]
    assert not watch.problems, "\n" + "\n".join(watch.problems)
