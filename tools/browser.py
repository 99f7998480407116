"""Find a Chromium here, or install Debian's, and start it so that it can reach nothing but this machine."""

from __future__ import annotations

import os
import shutil
import subprocess

from playwright.sync_api import Browser, Playwright

from tools import Stop, run_main

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


def find() -> str | None:
    """The path of a browser: the one that ``MMBOOK_BROWSER`` names, or the first that is installed."""
    named = os.environ.get("MMBOOK_BROWSER")
    return (
        shutil.which(named) if named else next((path for name in NAMES if (path := shutil.which(name))), None)
    )


def launch(playwright: Playwright) -> Browser:
    """Start the browser without a window; for root also without its sandbox, which it refuses to root."""
    path = find()
    if path is None:
        raise Stop(f"no browser found (looked for {', '.join(NAMES)}); `make test` says how to install one")
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *sandbox])


def main() -> None:
    """Install Chromium with apt if there is no browser and this user may; else stop with the command."""
    if find():
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
    if shutil.which("apt-get") and os.geteuid() == 0:
        print("No browser found: installing Chromium")
        subprocess.run(["apt-get", "update", "-q"], check=True)
        subprocess.run([*command, "-q"], check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if find() is None:
        hint = f"sudo {' '.join(command)}" if shutil.which("apt-get") else "install Chromium or Google Chrome"
        raise Stop(
            f"the browser tests need Chromium or Chrome. Run this once, then again `make test`:\n  {hint}"
        )


if __name__ == "__main__":
    run_main(main)
