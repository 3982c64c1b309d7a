"""What a run of the Vlasov system says about itself: figures, warnings, the report and the pictures.

The load is carried by figures of steps that are known, a summary that goes on from its state, and a whole run whose
report says what is expected of Newton's particles and does not cry wolf.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from limitpde import case as cases
from limitpde.fem.stepping import StepReport
from limitpde.results import figures, folder, pictures, report
from limitpde.vlasov import summary as summaries
from limitpde.vlasov.summary import PDESummary
from limitpde.vlasov.system import SYSTEM

FIGURES = {
    "mass_total": 2.0,
    "mass_lost": 0.0,
    "energy": 4.0,
    "energy_kinetic": 3.0,
    "energy_potential": 1.0,
    "field_energy": 1.0,
    "momentum_x": 0.5,
    "second_moment": 7.0,
    "centre_x": 0.25,
    "l2": 0.8,
    "minimum": 0.0,
    "h_vl": -3.0,
}
MODEL = SimpleNamespace(dimension=1, domain=SimpleNamespace(periodic=False), v_box=np.array([[-3.0, 3.0]]),
                        x_box=np.array([[-2.0, 2.0]]))  # fmt: skip


class FakeSolver:
    """What PDESummary needs of a solver."""

    def __init__(self):
        self.t, self.dofs, self.outside, self.warnings, self.step_figures = 0.0, 12, 0.0, ["coarse"], ()
        self.model = SimpleNamespace(form="density")

    def figures(self):
        """The same at all times."""
        return dict(FIGURES)


def taken(fit=None, steps=(), solver=None):
    solver = solver or FakeSolver()
    case = SimpleNamespace(pde=SimpleNamespace(fit=fit), time=SimpleNamespace(end=20.0))
    found = PDESummary(solver, case)
    for t, changes in steps:
        solver.t = t
        found.add(StepReport(t=t, dt=0.5, order=4, figures=FIGURES | changes))
    return found


def test_figures_of_known_steps():
    steps = [
        (0.5, {"mass_total": 1.9, "mass_lost": 0.1, "energy": 4.4, "minimum": -0.3, "l2": 0.7, "h_vl": -3.2}),
        (1.0, {"mass_total": 1.8, "mass_lost": 0.1, "energy": 3.9, "momentum_x": 0.6, "l2": 0.9, "second_moment": 8.0}),
    ]
    found = taken(steps=steps).figures()
    assert (found["dofs"], found["steps"], found["end_time"]) == (12, 2, 1.0)
    assert found["mass"]["total"] == {"start": 2.0, "end": 1.8, "max_relative_drift": pytest.approx(0.05)}
    assert found["mass"]["lost"] == {"start": 0.0, "end": 0.1}
    assert found["minimum"] == -0.3
    assert found["energy"] == {"start": 4.0, "end": 3.9, "max_relative_drift": pytest.approx(0.1)}
    assert found["momentum"] == {"start": [0.5], "end": [0.6], "largest_change": pytest.approx(0.1)}
    assert found["centre"] == {"start": [0.25], "end": [0.25]}
    assert found["second_moment"] == {"start": 7.0, "end": 8.0}
    assert found["l2"]["max_relative_increase"] == pytest.approx(0.125)
    assert found["h_vl"] == {"start": -3.0, "end": -3.0, "largest_change": pytest.approx(0.2)}
    assert "field_growth_rate" not in found
    assert taken().columns == list(FIGURES)


def test_growth_is_fitted_where_the_case_asks_for_it():
    steps = [(0.5 * n, {"field_energy": float(np.exp(0.3 * 0.5 * n))}) for n in range(1, 21)]
    whole = taken((2.0, 8.0), steps)
    found = whole.figures()
    assert found["field_growth_rate"] == pytest.approx(0.15)
    assert found["field_frequency"] == 0.0
    assert found["field_fit"] == {"start": 2.0, "end": 8.0, "peaks": 0, "intercept": pytest.approx(0.0, abs=1e-12)}
    half = taken((2.0, 8.0), steps[:9])
    resumed = taken((2.0, 8.0))
    resumed.restore(json.loads(json.dumps(half.state())))
    for t, changes in steps[9:]:
        resumed.add(StepReport(t=t, dt=0.5, order=4, figures=FIGURES | changes))
    assert {**resumed.figures(), "end_time": 0.0} == {**found, "end_time": 0.0}
    assert len(json.dumps(whole.state())) < 2000


def test_cautions_have_the_figures_of_the_steps():
    def exceeded(changes, outside=0.0):
        solver = FakeSolver()
        solver.outside = outside
        found = PDESummary(solver)
        found.add(StepReport(t=0.5, dt=0.5, order=4, figures=FIGURES | changes))
        return {caution.name: caution.value for caution in found.cautions() if caution.exceeded}

    assert exceeded({}) == {}
    assert exceeded({"energy": 5.0}) == {"energy_change": 0.25}
    assert exceeded({"mass_total": 1.99, "mass_lost": 0.01, "energy": 3.9}) == {"mass_outside": 0.005}
    assert exceeded({}, outside=0.002) == {"mass_outside": 0.002}


def test_warnings_name_what_went_wrong():
    quiet = taken((0.0, 2.0), [(0.5, {}), (1.0, {})])
    assert quiet.warnings() == ["coarse"]
    lossy = taken(steps=[(0.5, {"mass_total": 1.99, "mass_lost": 0.01, "energy": 3.9})]).warnings()
    coarse = taken((9.0, 10.0), [(0.5, {"energy": 5.0, "norm_w12": 3.3, "norm_w12_bound": 3.0})]).warnings()
    for found, expected in (
        (lossy, ("coarse", "0.005 of the mass")),
        (coarse, ("coarse", "Corollary 3.6 by 0.1 of it", "pde.fit")),
    ):
        assert [text in warning for text, warning in zip(expected, found, strict=True)] == [True] * len(expected)


def ensemble(count=10, reach=1.0, **changes):
    rng = np.random.default_rng(2)
    ones = np.ones((4, 3))
    points = reach * rng.uniform(-1, 1, (2, 2, count, 2))
    given = {"points": points, "replicas": np.arange(4), "steps": 7, "times": np.array([0.0, 1.0, 2.0])}
    given |= {"second_moment": 3 * ones, "energy": 2 * ones, "kinetic": ones, "momentum": np.zeros((4, 3, 1))}
    return SimpleNamespace(count=count, centre=np.zeros((4, 3, 1)), **given | changes)


def test_particles():
    energy = np.array([[2.0, 2.2, 2.0], [4.0, 3.0, 4.0]])
    found = summaries.particle_figures(MODEL, ensemble(energy=energy))
    assert found["energy"]["max_relative_drift"] == pytest.approx(0.25)
    assert found["energy"]["end"]["mean"] == 3.0
    assert found["second_moment"]["start"] == {"mean": 3.0, "stderr": 0.0}
    free = summaries.particle_figures(MODEL, ensemble(energy=np.zeros((4, 3))))
    assert "max_relative_drift" not in figures.clean(free)["energy"]
    assert set(SYSTEM.observable_series(ensemble())) == {
        "energy",
        "kinetic",
        "second_moment",
        "momentum_x",
        "centre_x",
    }
    case = SimpleNamespace(model=MODEL, pde=object(), compare=None)
    assert summaries.particle_warnings(case, ensemble()) == []
    far = summaries.particle_warnings(case, ensemble(count=1000, reach=4.0))
    assert [word in text for word, text in zip(("of v", "of x"), far, strict=True)] == [True, True]
    assert "N = 1" in summaries.particle_warnings(case, ensemble(count=1))[0]
    assert summaries.particle_warnings(SimpleNamespace(model=MODEL, pde=None, compare=None), ensemble(1000, 4.0)) == []


def test_the_report_tells_what_is_expected_from_what_is_not():
    entry = {"mean": -0.01, "theory_mean": -0.01, "in_theory": True}
    assert "as it should be" in SYSTEM.wording.mean_note(entry, 7.0)
    wrong = SYSTEM.wording.mean_note(entry | {"in_theory": False}, 7.0)
    assert "**W does not vanish in the mean**" in wrong
    assert "explains -0.01" in wrong


CASE = {
    "system": "vlasov",
    "seed": 3,
    "model": {
        "potential": {"kind": "cosine", "strength": -1.0},
        "domain": {"x": [0.0, 2 * np.pi], "v": [-5.0, 5.0]},
    },
    "initial": {"shape": "landau", "k": 1.0, "amplitude": 0.5, "thermal": 0.6},
    "time": {"end": 1.0},
    "pde": {"cells": [8, 16], "step": 0.25, "fit": [0.0, 1.0]},
    "particles": {"counts": [100, 400], "replicas": 20, "step": 0.1},
    "compare": {"test_functions": [{"shape": "gaussian", "center": [3.0, 0.5], "width": 0.9}]},
    "output": {"every": 0.5},
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    where = tmp_path_factory.mktemp("vlasov")
    summary = limitpde.run(cases.check(CASE), out=where)
    assert summary["status"] == "done", summary.get("reason")
    return where, summary


def test_a_run_has_its_pictures_and_its_report(done):
    where, summary = done
    names = {path.stem for path in (where / "pictures").glob("*.png")}
    own = {"phase_space", "field_energy", "density", "distances", "invariants"}
    assert names == own | {"residual_rate", "residual_in_time", "observables"}
    text = (where / "report.md").read_text()
    parts = (
        "as it should be",
        "Distances between the particles and f",
        "growth rate of the field",
        "the distance sliced",
    )
    for part in parts:
        assert part in text, part
    for cry in ("not the expected one", "does not vanish", "differ, by"):
        assert cry not in text, cry
    assert {path.name for path in (where / "pde").iterdir()} == {"diagnostics.csv", "fields.vtkhdf", "moments.vtkhdf"}
    assert {entry["distance"] for entry in summary["compare"]["distances"]} == {"x", "v", "sliced", "energy"}
    assert {rate["theory"] for rate in summary["compare"]["distance_rates"]} == {-0.5}
    assert summary["compare"]["dobrushin"]["factor"] > 1


@pytest.mark.parametrize("missing", ["pde", "particles", "compare", "all"])
def test_what_is_missing_is_not_drawn(done, tmp_path, missing):
    """A run that was killed early: files and figures that are not there."""
    where, summary = done
    copy = tmp_path / "copy"
    shutil.copytree(where, copy)
    gone = ("pde", "particles", "compare") if missing == "all" else (missing,)
    for name in gone:
        shutil.rmtree(copy / name)
    left = {name: value for name, value in summary.items() if name not in gone}
    figures.write(copy / "summary.json", left)
    drawn, _ = pictures.draw(folder.Folder(copy), SYSTEM.painters)
    report.write(folder.Folder(copy), drawn, SYSTEM.wording)
    assert ("## The limit equation" in (copy / "report.md").read_text()) == ("pde" not in gone)
    own = {"phase_space", "field_energy", "density", "invariants"}
    assert ({path.stem for path in drawn} & own == own) == ("pde" not in gone)
    folder.Folder(copy).begin((copy / "case.toml").read_text(), resume=False)
    assert {path.name for path in copy.rglob("*")} == {"case.toml", "files.txt"}
