"""A pytest plugin: at least once a minute a line with how many tests are done, and about how long still.

The estimate is from the time that each test took before; without that, from the pace so far.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from mmbook.book.progress import duration

EVERY = 30.0  # seconds
RECORD = "mmbook/seconds"  # in pytest's cache: name of a test -> seconds of its last run


class Count:
    """Counts tests as their reports come in; under pytest-xdist, in the process that hands them out."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.expected: dict[str, float] = dict((config.cache and config.cache.get(RECORD, {})) or {})
        self.took: dict[str, float] = {}
        self.names: set[str] = set()
        self.start = self.said = time.monotonic()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without pytest-xdist: what will run."""
        self.names |= {item.nodeid for item in session.items}

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """With it: what a worker has found; all find the same."""
        self.names |= set(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test was set up, has run, or was cleaned up after."""
        self.took[report.nodeid] = self.took.get(report.nodeid, 0.0) + report.duration
        now = time.monotonic()
        if now - self.said >= EVERY:
            self.said = now
            terminal = self.config.pluginmanager.get_plugin("terminalreporter")
            terminal.ensure_newline()
            terminal.write_line(self.line(now - self.start))

    def line(self, passed: float) -> str:
        """How far it is, `passed` seconds after the start."""
        usual = sum(self.took.values()) / max(1, len(self.took))
        before = sum(self.expected.get(name, usual) for name in self.took)
        after = sum(self.expected.get(name, usual) for name in self.names - self.took.keys())
        left = after * passed / before if before else 0.0
        return (
            f"{len(self.took)} of {len(self.names)} tests done, {duration(passed)} passed, "
            f"about {duration(left)} to go"
        )

    def pytest_sessionfinish(self) -> None:
        """Note the times for the next run."""
        if self.config.cache is not None:
            self.config.cache.set(RECORD, self.expected | {n: round(s, 3) for n, s in self.took.items()})


def pytest_configure(config: pytest.Config) -> None:
    """Not in the workers of pytest-xdist, which have no terminal."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Count(config), "mmbook-progress")
