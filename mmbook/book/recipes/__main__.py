"""``python -m mmbook.book.recipes``: make anew and keep what chapters start from.

    python -m mmbook.book.recipes            all recipes, JOBS (2) at a time, the longest first
    python -m mmbook.book.recipes NAME ...   some; "perceiver" is "perceiver_text" and the others
    python -m mmbook.book.recipes --check    make nothing; say what is stale, and why
    python -m mmbook.book.recipes --renew    score anew what need not be made anew; say what must be
    python -m mmbook.book.recipes --needed   make only what is stale or not kept, into the cache

A score outside its stated interval fails. Each recipe runs in a process of its own; those that run at a time
share the cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from mmbook.book.kept import Recipe, ScoreOutside
from mmbook.book.progress import ProgressLine
from mmbook.book.recipes import declared

JOBS = int(os.environ.get("JOBS", "2"))
LINES = 12  # of what a failed recipe said


def main(arguments: list[str]) -> int:
    """What the command line asks for; the exit status."""
    parser = argparse.ArgumentParser("python -m mmbook.book.recipes", description="Make kept results anew.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes; none: all")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="make nothing; say what is stale, and why")
    what.add_argument("--renew", action="store_true", help="score anew what need not be made anew")
    what.add_argument("--needed", action="store_true", help="make what is missing, into the cache")
    what.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    what.add_argument("--worker-needed", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    recipes = declared()
    chosen = {} if asked.names else recipes
    for name in asked.names:
        found = {n: r for n, r in recipes.items() if n == name or n.startswith(f"{name}_")}
        if not found:
            parser.error(f"no recipe is called {name!r}; there are {', '.join(sorted(recipes))}")
        chosen |= found
    if asked.check:
        return check(chosen)
    if asked.renew:
        return renew(chosen)
    if asked.worker:
        for recipe in chosen.values():
            recipe.make_anew()
        return 0
    if asked.worker_needed:
        for recipe in chosen.values():
            recipe.tensors()
        return 0
    if asked.needed:
        chosen = {name: recipe for name, recipe in chosen.items() if recipe.needed_ahead()}
        reasons = {name: f"{name} ({recipe.stale()})" for name, recipe in chosen.items()}
        return run(chosen, "--worker-needed", reasons) if chosen else 0
    return run(chosen, "--worker", {name: name for name in chosen})


def check(recipes: Mapping[str, Recipe]) -> int:
    """One line for each recipe; 1 if the package lacks a result that it should have."""
    stale = 0
    for name, recipe in sorted(recipes.items()):
        reason, record = recipe.stale(), recipe.record
        current = not reason or (not recipe.keep and record.get("key") == recipe.key)
        stale += not current
        if current and record["scored_by"] != recipe.scored_by:
            state = "scores to renew: the code that scores it changed"
        elif current:
            state = f"as it was made on {record['date']}" + ("" if recipe.keep else "; made at need")
        else:
            state = f"stale: {reason}"
        print(f"  {name:<28} {state}")
    return int(stale > 0)


def renew(recipes: Mapping[str, Recipe]) -> int:
    """Renew what can be; 1 if something must be made anew, or scores are no longer where they must be."""
    missing, wrong = [], 0
    for name, recipe in sorted(recipes.items()):
        try:
            done = recipe.renew()
        except ScoreOutside as error:
            wrong += 1
            print(f"  {error}")
            continue
        if not done:
            missing.append(name)
        print(f"  {name:<28} {done or f'must be made anew: {recipe.stale()}'}")
    if missing:
        print(f"Then run: python -m mmbook.book.recipes {' '.join(missing)}")
    return int(bool(missing or wrong))


def run(recipes: Mapping[str, Recipe], mode: str, said: Mapping[str, str]) -> int:
    """Make each in a process of its own, the longest first, none before those that it starts from."""
    expected = {name: recipe.record.get("seconds") for name, recipe in recipes.items()}
    waiting = sorted(recipes, key=lambda name: -(expected[name] or float("inf")))
    needs = {name: needed(recipes[name], recipes.values()) for name in recipes}
    jobs, failures = min(JOBS, len(recipes)), []
    print(f"Recipes: {len(recipes)} to make, {jobs} at a time", flush=True)
    with ThreadPoolExecutor(jobs) as pool, ProgressLine("recipes", expected, jobs) as progress:
        running: dict[Future[str], str] = {}
        while waiting or running:
            unfinished = {*waiting, *running.values()}
            ready = [name for name in waiting if not needs[name] & unfinished]
            for name in ready[: jobs - len(running)]:
                waiting.remove(name)
                progress.started(name)
                running[pool.submit(make, name, mode)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name, failure = running.pop(future), future.result()
                failures += [failure] if failure else []
                progress.done(name, f"{'FAILED' if failure else 'made'} {said[name]}")
    for failure in failures:
        print(failure, file=sys.stderr)
    return int(bool(failures))


def needed(recipe: Recipe, others: Iterable[Recipe]) -> set[str]:
    """Those of the other recipes whose results `recipe` starts from."""
    return {o.name for o in others if o.module in recipe.made_by and o.module != recipe.module}


def make(name: str, mode: str) -> str:
    """Make one; what it said if it failed."""
    threads = max(1, len(os.sched_getaffinity(0)) // JOBS) if hasattr(os, "sched_getaffinity") else 1
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
    command = [sys.executable, "-m", "mmbook.book.recipes", mode, name]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if not done.returncode:
        return ""
    return "\n".join([f"{name} failed:", *(f"  {line}" for line in done.stdout.splitlines()[-LINES:])])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
