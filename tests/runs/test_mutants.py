"""Cases with keys and values changed at random: each is a case, or one line for each wrong key, and never a traceback.

Some hundred here; `make nightly` draws ten thousand (MUTANTS=10000), and runs those of five hundred that are cases.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import os
import tomllib

import mutants
import pytest
from hypothesis import given, settings

from limitpde import case as cases
from limitpde.errors import InputError

NUMBER = int(os.environ.get("MUTANTS", "250"))
LONGEST = 700
"""Characters of a line that a person may be asked to read: a key, 80 of its value, and all that is known instead."""


SETTINGS = settings(mutants.SETTINGS, max_examples=NUMBER, derandomize=NUMBER < 1000)


def checked(data):
    """The case, or the message for which there is none."""
    try:
        return cases.check(data)
    except InputError as error:
        return str(error)


@SETTINGS
@given(mutants.mutants())
def test_a_mutant_is_a_case_or_a_line_for_each_wrong_key(data):
    case = checked(data)
    if isinstance(case, str):
        lines = case.splitlines()
        assert 0 < len(lines) <= 21
        assert all(line.startswith("case: ") and len(line) < LONGEST for line in lines), case
        return
    assert cases.check(tomllib.loads(cases.dump(case))) == case
    assert 0 < len(case.output_times) <= 100_001
    assert case.smaller().time == case.time


@pytest.mark.parametrize("system", mutants.SMALL)
def test_what_is_changed_runs_as_it_is(system):
    assert mutants.run_small(cases.check(mutants.small(system))) == "done"


@settings(SETTINGS, max_examples=NUMBER // 20)
@given(mutants.small_mutants())
def test_a_mutant_that_is_a_case_runs_or_says_why_not(data):
    """One in four is a case. Its data are what was asked for, and no figure of it is no number."""
    case = checked(data)
    if not isinstance(case, str) and mutants.affordable(case):
        mutants.run_small(case)


DEEP = ".".join(["a"] * 20_000)
DEEP_FILE = ".".join(["a"] * 2_000)  # tomllib takes the square of their number


@pytest.mark.parametrize("system", cases.BUILT_IN)
@pytest.mark.parametrize(
    ("text", "overrides", "fragment"),
    [
        (f"{DEEP_FILE} = 1\n", [], "nested too deep"),
        (f"a = {'[' * 20_000}{']' * 20_000}\n", [], "not a TOML file"),
        (f"a = {'[' * 100}{']' * 100}\n", [], "nested too deep"),
        ("", [f"model.{DEEP}=1"], "model.a.a.a.a"),
        (f"system.{DEEP_FILE} = 1\n", [], "system.a.a.a"),
        (f"a = {'9' * 5000}\n", [], "not a TOML file"),
        ("", [f"seed={'9' * 4000}"], "seed = 9999"),
        ("", [f"time.end={'9' * 4000}"], "time.end = 9999"),
        ("", [f"time.end={'9' * 5000}"], "time.end = '9999"),
        ("", ["time.end=5e-324", "output={}"], "time.end = 5e-324: too small, must be 1e-100 or more"),
        ("", ["time.end=5e-324", "output.every=0.1"], "time.end = 5e-324: too small"),
        ("", ["particles.counts=[9223372036854775808]"], "particles.counts[0] = 9223372036854775808"),
        ("", ["compare.test_functions.0.n=9223372036854775808"], "test_functions[0].n"),
        ("".join(f"k{i} = 1\n" for i in range(20_000)), [], "and 19990 more mistakes"),
    ],
    ids=range(14),
)
def test_what_no_case_can_hold_is_named(tmp_path, system, text, overrides, fragment):
    example = "" if text.startswith("system") else cases.example(system)
    (tmp_path / "case.toml").write_text(text + example)
    with pytest.raises(InputError) as error:
        cases.read(tmp_path / "case.toml", overrides)
    assert fragment in str(error.value)
    lines = str(error.value).splitlines()
    assert len(lines) <= 21
    assert all(line.startswith(f"{tmp_path / 'case.toml'}: ") for line in lines)
