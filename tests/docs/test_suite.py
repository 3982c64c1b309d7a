"""The suite itself: the list of slow tests names tests that there are."""

from __future__ import annotations

from durations import COLLECTED, LIST, listed


def test_slow_tests_exist(request):
    """In the files that this run collects as a whole, and no file is gone."""
    config = request.config
    collected = config.stash[COLLECTED]
    in_part = {argument.split("::")[0] for argument in config.args if "::" in argument}
    files = {test.split("::")[0] for test in collected} - in_part
    gone = [
        test
        for file, test in ((test.split("::")[0], test) for test in listed())
        if not (config.rootpath / file).exists() or (file in files and test not in collected)
    ]
    assert not gone, f"{LIST.name} names tests that do not exist; `make durations` writes it anew"
