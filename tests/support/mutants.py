"""Cases that went wrong: those of `limitpde new` and of the demos with keys and values changed at random by hypothesis.

What may stand at a place is taken from the schema of the records that check a case: its names and bounds, and values of
the wrong type beside values of any size.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import copy
import datetime
import functools
import tempfile
import tomllib
from pathlib import Path
from typing import Any
from unittest import mock

import pydantic
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from processes import summary_of

from limitpde import case as cases
from limitpde import needs, speed
from limitpde.errors import InputError
from limitpde.experiment import run

DEMOS = Path(__file__).parents[2] / "demos"
VALUES: list[Any] = [
    *(0, 1, -1, 2, 7, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**400, 10**4000, -(10**4000)),
    *(0.0, -0.0, 0.5, -1.0, 5e-324, 1e-320, 1e-300, 1e-50, 1e-15, 1e15, 1e50, 1e300, 1.7976931348623157e308),
    *(float("inf"), float("-inf"), float("nan"), True, False, "", "x", "0", "none", "gaussian", "uniform", "a.py:f"),
    *("\n", "é" * 300, "\x00", "/", "..", [], [0.0], [1.0, 2.0, 3.0], [[]], [1e308] * 4, {}, {"shape": "disk"}),
    *({"python": "a.py:f"}, {"shape": 1}, {"kind": []}, {"": 0}, [{}], [{"n": 2**63}], datetime.date(2000, 1, 1)),
]
"""What stands where something else should."""


SETTINGS = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))


@functools.cache
def sources() -> list[dict[str, Any]]:
    """The cases that are changed."""
    texts = [cases.example(system) for system in cases.BUILT_IN]
    texts += [path.read_text(encoding="utf-8") for path in sorted(DEMOS.rglob("*.toml"))]
    return [data for data in map(tomllib.loads, texts) if data.get("system") in cases.BUILT_IN]


@functools.cache
def names(system: str) -> list[str]:
    """All keys of the records of a system."""
    schema = pydantic.TypeAdapter(cases.record_of(system)).json_schema()
    records = [schema, *schema["$defs"].values()]
    return sorted({name for record in records for name in record.get("properties", {})})


@functools.cache
def bounds(system: str) -> list[float | str]:
    """Numbers at which the schema of a system draws a line, those on both sides, and its words."""
    found: list[Any] = []

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
                    found.extend([item, item - 1, item + 1])
                if key in ("const", "enum"):
                    found.extend(item if isinstance(item, list) else [item])
                visit(item)
        elif isinstance(value, list):
            for item in value:
                visit(item)

    visit(pydantic.TypeAdapter(cases.record_of(system)).json_schema())
    return sorted(set(found), key=repr)


def holders(data: Any) -> list[Any]:
    """The sections and lists in a case, itself among them."""
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    own = [data] if isinstance(data, dict | list) else []
    return own + [found for value in inner for found in holders(value)]


SMALL: dict[str, dict[str, Any]] = {
    "signed": {"mesh": {"shape": "disk", "radius": 6.0, "cell_size": 0.5}, "step": 0.01},
    "coagulation": {"mesh": {"shape": "torus", "size": 1.0, "cell_size": 0.25}, "step": 0.01},
    "vlasov": {"cells": [8, 16], "step": 0.01},
    "meanfield": {"mesh": {"shape": "box", "size": 8.0, "origin": -4.0, "cell_size": 0.5}, "step": 0.01},
}
"""[pde] of cases that are run."""
MOST_SECONDS, MOST_DISK = 8.0, 1e8
"""What one of them may take by its estimate, beside what every run takes."""


@st.composite
def mutants(draw: st.DrawFn, most: int = 4) -> dict[str, Any]:
    """A case with one change or a few."""
    data = copy.deepcopy(draw(st.sampled_from(sources())))
    system = data["system"]
    for _ in range(draw(st.integers(1, most))):
        _change(draw, data, names(system), VALUES + bounds(system))
    return data


def small(system: str) -> dict[str, Any]:
    """The case of `limitpde new` made small."""
    data = tomllib.loads(cases.example(system))
    step = {"step": 0.01} if "step" in data["particles"] else {}
    particles = {"counts": [250, 500] if system == "coagulation" else [4, 8], "replicas": 2}
    data |= {"time": {"end": 0.02}, "pde": SMALL[system], "particles": particles | step}
    data |= {"output": {"every": 0.01, "checkpoint_every": 60.0, "pictures": False}}
    return copy.deepcopy(data)


@st.composite
def small_mutants(draw: st.DrawFn, system: str | None = None) -> dict[str, Any]:
    """One of these, of this system or any, with a change or two to any of its sections."""
    data = small(system or draw(st.sampled_from(list(SMALL))))
    for _ in range(draw(st.integers(1, 2))):
        parts = [part for part in data if isinstance(data[part], dict) and data[part]]
        _change(draw, data[draw(st.sampled_from(parts))], names(data["system"]), VALUES + bounds(data["system"]))
    return data


def affordable(case: Any) -> bool:
    """Whether a case takes some seconds by the estimate of `check` (no measured speeds), and little room."""
    with mock.patch.object(speed, "read", dict):
        found = needs.estimate(case, needs.Machine(ranks=1, neighbours=1, threads=1, memory=2e9))
    return found.seconds < needs.FIXED_SECONDS + MOST_SECONDS and found.disk < MOST_DISK and found.memory < 2e9


def run_small(case: Any) -> str:
    """Run a case: "done", "failed: ..." or "refused: ...", with its reason.

    Raises:
        AssertionError: the masses are not those that the case asks for, a figure is no number, or a part is missing.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "out"
        try:
            run(case, out=folder, check=False)
        except InputError as error:  # what only the solver or the simulator can find out: status 2
            return f"refused: {error}"
        summary = summary_of(folder)
        report = (folder / "report.md").read_text()
    assert ("## The limit equation" in report) == bool(summary.get("pde")), report
    if summary["status"] != "done":
        assert summary["reason"]
        return f"{summary['status']}: {summary['reason']}"
    assert "pde" in summary or case.pde is None
    assert "particles" in summary or case.particles is None
    if case.pde is not None:
        check_masses(case, summary)
    return "done"


def check_masses(case: Any, summary: dict[str, Any]) -> None:
    """Compare the masses that a run started with with those that its case asks for."""
    found = {name: mass["start"] for name, mass in summary["pde"]["mass"].items() if isinstance(mass, dict)}
    if case.system == "signed":
        masses = {"positive": case.initial.mass(0), "negative": case.initial.mass(1)}
        assert found == pytest.approx({name: mass for name, mass in masses.items() if mass > 0}, rel=1e-9)
    elif case.system == "meanfield":
        assert list(found.values()) == pytest.approx(case.initial.masses.tolist(), rel=1e-9)
    elif case.system == "vlasov":
        outside = summary.get("cautions", {}).get("mass_outside", {}).get("value", 0.0)  # which the report tells
        assert found["total"] == pytest.approx(case.initial.mass * (1 - outside), rel=1e-2)
    else:
        wanted = sum(part.n * part.density.mass for part in case.initial.masses)
        assert found["total"] == pytest.approx(wanted, rel=1e-9)


def _change(draw: st.DrawFn, data: dict[str, Any], known: list[str], values: list[Any]) -> None:
    holder = draw(st.sampled_from([holder for holder in holders(data) if holder]))
    place = draw(st.sampled_from(list(holder) if isinstance(holder, dict) else range(len(holder))))
    value = copy.deepcopy(draw(st.sampled_from(values)))
    match draw(st.sampled_from(["replace", "replace", "scale", "drop", "rename", "add", "double", "swap"])):
        case "replace":
            holder[place] = value
        case "scale" if isinstance(holder[place], int | float) and not isinstance(holder[place], bool):
            holder[place] *= draw(st.sampled_from([-1, 0, 2, 0.1, 10.0, 1e-9]))
        case "drop":
            del holder[place]
        case "rename" if isinstance(holder, dict):
            holder[draw(st.sampled_from([*known, f"{place}_", str(place)[:-1], ""]))] = holder.pop(place)
        case "add" if isinstance(holder, dict):
            holder[draw(st.sampled_from(known))] = value
        case "double" if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[place]))
        case "swap":
            other = draw(st.sampled_from([other for other in holders(data) if other]))
            holder[place] = copy.deepcopy(other)
