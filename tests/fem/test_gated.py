"""Steps through a gate, with a scheme for n decays y' = -rate y that anybody can check by hand.

The load is carried by the attempts in their order, by the step sizes after a refusal, and by a record from which the
steps go on to the bit.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math
from types import SimpleNamespace

import numpy as np
import pytest
from mpi4py import MPI
from states import hand_over

from limitpde.errors import RunError
from limitpde.fem.gate import Gate, GatedState
from limitpde.fem.gated import BDF_FORMULAS, GatedStepping, Trial
from limitpde.fem.stepping import StepSize

RATES = np.array([1.0, 3.0])


class Decay:
    """BDF for y' = -rate y, one density of two nodes; the energy is the sum of squares."""

    formulas, remembered, halvings = BDF_FORMULAS, 2, 3

    def __init__(self):
        self.nodes = SimpleNamespace(comm=MPI.COMM_SELF, owned=2, size=2)
        self.numbers = np.array([1, 0])

    def state(self, densities):
        """Of the densities, (1, 2)."""
        (y,) = densities
        return GatedState(densities, y, float(y @ y), float(y.min()), float(y.max()))

    def advance(self, history, dt, order, *, judged):
        """A step, solved exactly."""
        (now,), before = history.now.densities, history.past[0].densities[0] if order == 2 else 0.0
        bdf, weights = history.bdf(order, dt), history.error_weights(order, dt) if judged else None
        end = (bdf.history[0] * now + bdf.history[1] * before) / (bdf.implicit + dt * RATES)
        error = 0.0 if judged else None
        if weights is not None:
            known = [end, *(state.densities[0] for state in (history.now, *history.past))]
            error = float(np.abs(sum(w * y for w, y in zip(weights, known, strict=False))).max())
        return Trial(self.state(np.array([end])), error)


class Strict:
    """A gate that refuses the first attempts."""

    def __init__(self, count):
        self.left = count

    def refusal(self, now, trial):
        """Why, or None."""
        self.left -= 1
        return "refused by the test" if self.left >= 0 else None


def stepping(tolerance=None, gate=None, **options):
    size = StepSize(0.1, tolerance, **options)
    gate = gate or Gate(scale=1.0, falling_maximum=True)
    return GatedStepping(Decay, lambda scheme: np.array([[1.0, 2.0]]), gate=gate, size=size)


def test_formulas_are_tried_in_turn_and_then_with_half_the_step():
    solver = stepping()
    assert solver.step(0.1).order == 1
    assert solver.step(0.1).order == 2
    solver.gate = Strict(3)
    report = solver.step(0.1)
    begins = [reason.split(":")[0] for reason in report.refused]
    assert begins == ["BDF2 with dt = 0.1", "backward Euler with dt = 0.1", "BDF2 with dt = 0.05"]
    assert (report.order, report.dt, report.figures["refused"]) == (1, 0.05, 3.0)
    assert solver.step(0.11).order == 1  # more than twice the step before it: too long for BDF2


def test_a_step_that_is_given_up_changes_nothing():
    solver = stepping()
    solver.step(0.1)
    history, gate = solver.history, solver.gate
    solver.gate = Strict(8)
    with pytest.raises(RunError, match=r"no step from t = 0\.1 passes .* backward Euler with dt = 0\.0125: refused"):
        solver.step(0.1)
    assert (solver.history, solver.t, solver.gate.left) == (history, 0.1, 0)
    solver.gate = gate
    assert solver.step(0.1).order == 2


@pytest.mark.parametrize(
    ("regrowth", "sizes"), [((1.2, 1.2), (0.06, 0.072, 0.0864, 0.1, 0.1)), ((1.0, 2.0), (0.05, 0.1, 0.1))]
)
def test_steps_that_were_cut_grow_back(regrowth, sizes):
    solver = stepping(gate=Strict(1), regrowth=regrowth)
    assert solver.step(solver.suggested_step).dt == 0.05
    for size in sizes:
        assert solver.suggested_step == pytest.approx(size, rel=1e-12)
        solver.step(solver.suggested_step)


def test_the_error_stays_below_the_tolerance():
    solver, reports = stepping(1e-4, blind=True), []
    assert solver.suggested_step == 0.1 * 0.01
    while solver.t < 1.0:
        reports.append(solver.step(solver.suggested_step))
    assert max(report.figures["error_estimate"] for report in reports) <= 1e-4
    assert solver.history.now.densities[0] == pytest.approx([1, 2] * np.exp(-RATES * solver.t), abs=1e-3)
    assert 10 < len(reports) < 60


def test_a_step_that_is_too_long_is_not_tried_with_another_formula():
    solver = stepping(1e-6)
    for _ in range(2):
        solver.step(1e-3)
    report = solver.step(2e-3)
    assert report.order == 2
    assert report.refused
    assert all(reason.startswith("BDF2") and "exceeds the tolerance" in reason for reason in report.refused)


def test_a_rising_energy_is_refused():
    solver = stepping()
    now, trial = solver.history.now, solver.scheme.state(np.array([[1.0, 2.1]]))
    assert solver.gate.refusal(now, trial) == "the free energy rises by 0.41"
    low = solver.scheme.state(np.array([[-0.1, 1.0]]))
    assert solver.gate.refusal(now, low) == "a density falls to -0.1, below -0 of the largest, 1"
    assert Gate(1.0, True, undershoot=0.2).refusal(now, low) is None
    infinite = solver.scheme.state(np.array([[1.0, math.inf]]))
    assert solver.gate.refusal(now, infinite) == "the free energy is not finite"


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_goes_on_from_a_record_to_the_bit(steps, tmp_path):
    whole, other = stepping(1e-4, blind=True), stepping(1e-4, blind=True)
    for _ in range(steps):
        whole.step(whole.suggested_step)
    hand_over(whole, other, tmp_path, MPI.COMM_SELF)
    for _ in range(4):
        ours, theirs = (solver.step(solver.suggested_step) for solver in (whole, other))
        assert ours == theirs
    np.testing.assert_array_equal(whole.history.now.densities, other.history.now.densities)
