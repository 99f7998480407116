"""Photograph every page in light, dark and at phone width, for human eyes: ``make shots``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from playwright.sync_api import sync_playwright

from tools import run_main
from tools.browser import launch
from tools.pages import docname, pages
from tools.render import HTML

SHOTS = Path("_build/shots")
MODES: dict[str, tuple[Literal["light", "dark"], int]] = {
    "light": ("light", 1280),
    "dark": ("dark", 1280),
    "phone": ("light", 390),
}


def main() -> None:
    """Write ``_build/shots/<page>.<mode>.png`` for each page and mode."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for mode, (theme, width) in MODES.items():
            context = browser.new_context(color_scheme=theme, viewport={"width": width, "height": 900})
            for name in map(docname, pages()):
                page = context.new_page()
                page.goto((HTML / f"{name}.html").resolve().as_uri())
                page.wait_for_function(
                    "() => document.fonts.status === 'loaded'"
                    " && (!document.querySelector('.math') || document.querySelector('mjx-container'))"
                    " && [...document.querySelectorAll('pre.mermaid')].every((d) => d.querySelector('svg'))"
                )
                page.screenshot(path=SHOTS / f"{name.replace('/', '-')}.{mode}.png", full_page=True)
                page.close()
        browser.close()
    print(f"The pictures are in {SHOTS.resolve()}")


if __name__ == "__main__":
    run_main(main)
