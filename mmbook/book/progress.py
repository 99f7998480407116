"""A line that moves while jobs of minutes run: which of how many, how long so far, about how long still."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

EVERY = 30.0  # seconds between two lines of a log


def duration(seconds: float) -> str:
    """``41 s``, ``3 min 20 s`` or ``12 min``, as precise as one needs it."""
    whole = max(0, round(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{round(whole / 60)} min"


class ProgressLine:
    """Shows several jobs, some at a time: a bar on a terminal; in a log a line at each end, and in between.

    Use it as a context manager.

    Args:
        what: the jobs are, in the plural.
        expected: name of each job -> seconds that it took before, or None where that is not known.
        jobs: so many run at a time.
        every: seconds between two lines in a log.
    """

    def __init__(
        self, what: str, expected: Mapping[str, float | None], jobs: int, every: float = EVERY
    ) -> None:
        known = [seconds for seconds in expected.values() if seconds is not None]
        usual = sum(known) / len(known) if known else 60.0
        self.what, self.jobs, self.every = what, jobs, every
        self.expected = {name: usual if s is None else s for name, s in expected.items()}
        self.began: dict[str, float] = {}
        self.took: dict[str, float] = {}
        self._start = time.monotonic()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._bar: Any = None

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bars

            self._bar = Bars(BarColumn(bar_width=24), TextColumn("{task.description}"))
            self._bar.start()
            self._task = self._bar.add_task("", total=sum(self.expected.values()) or 1)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._bar is not None:
            self._bar.stop()

    def started(self, name: str) -> None:
        """A job begins."""
        with self._lock:
            self.began[name] = time.monotonic()

    def done(self, name: str, outcome: str) -> None:
        """A job has ended: say how."""
        with self._lock:
            self.took[name] = time.monotonic() - self.began[name]
        number, took = len(self.took), duration(self.took[name])
        self.say(f"  [{number}/{len(self.expected)}] {outcome}, {took}")

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._bar is None:
            print(line, flush=True)
        else:
            self._bar.console.print(line, markup=False, highlight=False)

    def left(self) -> float:
        """Seconds until all is done, if the rest keeps the pace of what is done."""
        now = time.monotonic()
        with self._lock:
            past = sum(self.expected[name] for name in self.took)
            pace = sum(self.took.values()) / past if past else 1.0
            running = [
                max(0.0, self.expected[name] * pace - (now - begun))
                for name, begun in self.began.items()
                if name not in self.took
            ]
            waiting = sum(s for name, s in self.expected.items() if name not in self.began)
        return max([(sum(running) + waiting * pace) / self.jobs, *running])

    def line(self) -> str:
        """How far it is."""
        now = time.monotonic()
        with self._lock:
            running = [f"{n} {duration(now - b)}" for n, b in self.began.items() if n not in self.took]
            done = len(self.took)
        passed, left = duration(now - self._start), duration(self.left())
        return (
            f"{done} of {len(self.expected)} {self.what} done, {passed} passed, about {left} to go; "
            f"now {', '.join(running) or 'none'}"
        )

    def _run(self) -> None:
        if self._bar is None:
            while not self._over.wait(self.every):
                print(f"  {self.line()}", flush=True)
            return
        while not self._over.wait(0.5):
            left, total = self.left(), sum(self.expected.values()) or 1
            passed = time.monotonic() - self._start
            share = passed / (passed + left) if passed + left else 1.0
            self._bar.update(self._task, completed=share * total, description=self.line())
