"""What each test takes, and which are `slow`: hooks of pytest, by way of conftest.py.

`make durations` runs the suite and writes the tests that take LONG or more to slow.txt beside this file, a line each:
seconds and the test's identifier; lines of files that did not run stay. They get the mark `slow`, which `make quick`
leaves out; tests/docs/test_suite.py tells when one of them is gone.

What is counted is the processor time of the process and of those that it starts, so that what else the machine does
matters little. A fixture that tests share is counted in equal parts to those that ask for it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("slow.txt")
LONG = 1.0  # seconds
COLLECTED = pytest.StashKey[set[str]]()
"""Identifiers of the tests that were collected, before any was deselected."""


def listed() -> dict[str, float]:
    """Identifiers of the tests in the list, and their seconds."""
    lines = [line.split(maxsplit=1) for line in LIST.read_text().splitlines()]
    return {test: float(took) for took, test in lines}


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Clock:
    """Measures the tests that this process runs; `seconds` is what each of them took."""

    def __init__(self) -> None:
        self.own: dict[str, float] = {}
        self.shared: dict[tuple[str, str], float] = defaultdict(float)
        self.users: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.path = ""  # of the running test
        self.fixtures = 0.0  # what it has set up for others as well

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        """What the test takes itself, and which fixtures it asks for."""
        began, self.path, self.fixtures = processor_seconds(), str(item.path), 0.0
        try:
            return (yield)
        finally:
            self.own[item.nodeid] = processor_seconds() - began - self.fixtures
            for name in item.fixturenames:
                self.users[self.path, name].add(item.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        """What a fixture takes that is there for more than one test."""
        began = processor_seconds()
        try:
            return (yield)
        finally:
            if fixturedef.scope != "function":
                took = processor_seconds() - began
                self.fixtures += took
                self.shared[self.path, fixturedef.argname] += took

    def seconds(self) -> dict[str, float]:
        """Of each test, its own and its part of what it shares."""
        found = dict(self.own)
        for key, took in self.shared.items():
            for test in self.users[key]:
                found[test] += took / len(self.users[key])
        return found


class Record:
    """Writes the list when the tests have run, here or in the processes of pytest-xdist."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.found: dict[str, float] = {}

    def pytest_testnodedown(self, node):
        """Take what a worker has measured."""
        self.found |= node.workeroutput["durations"]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        """In a worker, hand over; else write."""
        self.found |= self.clock.seconds()
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["durations"] = self.found
        else:
            files = {test.split("::")[0] for test in self.found}
            others = {test: took for test, took in listed().items() if test.split("::")[0] not in files}
            long = {test: took for test, took in self.found.items() if took >= LONG}
            LIST.write_text("".join(f"{took:6.1f} {test}\n" for test, took in sorted((others | long).items())))


def pytest_addoption(parser):
    parser.addoption("--record-durations", action="store_true", help=f"write the tests that take long to {LIST.name}")


def pytest_configure(config):
    if config.getoption("--record-durations"):
        record = Record()
        config.pluginmanager.register(record)
        config.pluginmanager.register(record.clock)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    config.stash[COLLECTED] = {item.nodeid for item in items}
    slow = listed()
    for item in items:
        if item.nodeid in slow:
            item.add_marker("slow")
