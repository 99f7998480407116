"""``make book``: execute what changed, render, and say where the book is."""

from __future__ import annotations

import time

from tools import execute, render, run_main


def main() -> None:
    """Both steps, with the wall time at the end."""
    start = time.perf_counter()
    execute.main()
    render.main()
    print(f"The book is ready ({time.perf_counter() - start:.0f} s). Open it in a browser:")
    print(f"  {(render.HTML / 'index.html').resolve()}")


if __name__ == "__main__":
    run_main(main)
