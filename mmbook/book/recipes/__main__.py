"""``python -m mmbook.book.recipes``: make what chapters start from, so that no chapter has to wait for it.

Without arguments all of it, each recipe in a process of its own, as many at a time as the environment
variable JOBS says (2), sharing the cores; with names only those, one after the other.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from mmbook.book.recipes import (
    clinic_features,
    clip_ladder,
    digit_listener,
    digit_pictures,
    drowned,
    few_labels,
    filled_gaps,
    fine_tuned,
    perceiver,
    review_features,
    scene_answers,
    sentence_features,
    shared_tasks,
    word_vectors,
)


def reviews() -> None:
    for modality in ("text", "image", "audio"):
        perceiver(modality)
    review_features()


def words() -> None:
    word_vectors()
    sentence_features()


def balance() -> None:
    drowned()
    drowned(equal=True)


# The longest first, so that both cores are busy to the end.
RECIPES: dict[str, Callable[[], object]] = {
    "digits": digit_listener,
    "clips": clip_ladder,
    "labels": few_labels,
    "transfer": fine_tuned,
    "reviews": reviews,
    "words": words,
    "balance": balance,
    "tasks": shared_tasks,
    "scenes": scene_answers,
    "pictures": digit_pictures,  # waits for the listener
    "clinic": clinic_features,
    "gaps": filled_gaps,  # waits for the reviews
}


JOBS = int(os.environ.get("JOBS", "2"))


def prepare(name: str) -> None:
    threads = max(1, (os.cpu_count() or 1) // JOBS)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, "-m", "mmbook.book.recipes", name], env=environment, check=True)


def main(names: list[str]) -> None:
    for name in names:
        if name not in RECIPES:
            raise SystemExit(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
        RECIPES[name]()
    if not names:
        print("Preparing what chapters share (minutes the first time, then kept) ...", flush=True)
        with ThreadPoolExecutor(JOBS) as pool:
            list(pool.map(prepare, RECIPES))


if __name__ == "__main__":
    main(sys.argv[1:])
