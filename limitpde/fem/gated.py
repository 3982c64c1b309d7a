"""Steps that pass a gate: with history, halving, a tolerance, a mesh that may change between them, and restart.

A scheme (`OfferedScheme`) makes one step from a history, of a size and with one of its formulas. `GatedStepping` tries
the formulas in turn; what the tolerance or the gate (`limitpde.fem.gate`) refuses is repeated with the next formula,
then with half the step. The report says so. A refused step leaves no trace.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from petsc4py import PETSc

from limitpde.errors import RunError
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.gate import Gate, GatedState
from limitpde.fem.lagrange import LagrangeSpace
from limitpde.fem.nodes import NodeSpace
from limitpde.fem.refinement import AdaptiveMesh
from limitpde.fem.stepping import (
    LARGEST_RATIO,
    Bdf,
    Observer,
    StepReport,
    StepSize,
    bdf_error_weights,
    check_step,
    march,
)
from limitpde.parallel import collected
from limitpde.results.checkpoint import FoundState, GivenState
from limitpde.results.shared_array import Numbered


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula that a scheme offers."""

    name: str
    order: int
    """Order of its result."""
    estimated: int
    """Power of dt with which the estimate of its error goes, less one."""
    earlier: int = 0
    """States before the present one that it starts from."""


BDF_FORMULAS: tuple[Formula, ...] = (Formula("BDF2", 2, 2, earlier=1), Formula("backward Euler", 1, 1))
"""What a scheme with `Bdf` offers. For estimates it must remember one state more."""


@dataclass(frozen=True, slots=True)
class History:
    """What a step may start from."""

    now: GatedState
    past: tuple[GatedState, ...] = ()
    """States before the present one, the last one first."""
    steps: tuple[float, ...] = ()
    """Sizes of the steps that led from each of them to the next."""
    own_steps: float = math.inf
    """Steps that were made on this mesh; infinity where it has never changed."""

    def after(self, end: GatedState, dt: float, remembered: int) -> History:
        """The history after one more step, with so many states before the present one."""
        past, steps = (self.now, *self.past)[:remembered], (dt, *self.steps)[:remembered]
        return History(end, past, steps, self.own_steps + 1)

    def bdf(self, order: int, dt: float) -> Bdf:
        """Coefficients for a step of this size."""
        return Bdf.of(order, dt / self.steps[0] if self.steps else 1.0)

    def foreseen(self, order: int, dt: float, values: Sequence[np.ndarray]) -> np.ndarray:
        """Values at the end of a step of this size, if its local error were zero: where its solvers begin.

        Args:
            order: of the formula.
            dt: size of the step.
            values: those of the present state and of the ones before it; the first where they are too few.
        """
        weights = self.error_weights(order, dt)
        if weights is None:
            return values[0]
        return np.asarray(sum(-w / weights[0] * value for w, value in zip(weights[1:], values, strict=False)))

    def error_weights(self, order: int, dt: float) -> np.ndarray | None:
        """Weights of its end and of the states, the last one first, in its local error; None if there are too few."""
        return bdf_error_weights(order, (dt, *self.steps[:order])) if len(self.past) >= order else None


@dataclass(frozen=True, slots=True)
class Trial:
    """What an attempt at a step has led to."""

    end: GatedState | str
    """The state at its end, or why there is none."""
    error: float | None = None
    """Estimate of its error, relative in L2; zero where that is not known, None where nobody asked."""
    figures: dict[str, float] = field(default_factory=dict)
    """What it took, such as iterations: columns of diagnostics.csv."""


class OfferedScheme(Protocol):
    """What `GatedStepping` needs: a scheme on one mesh. Collective."""

    formulas: tuple[Formula, ...]
    """In the order in which they are tried."""
    step_figures: tuple[str, ...]
    """Names of the figures of a trial."""
    remembered: int
    """States before the present one that it uses."""
    halvings: int
    """How often one step may be halved before it is given up."""
    numbers: np.ndarray
    """Of the nodes in the input mesh, (n_local,): records of states hold for any number of ranks."""

    @property
    def nodes(self) -> EdgeGraph | LagrangeSpace | NodeSpace:
        """Where densities have values; those of this rank come first."""

    def state(self, densities: np.ndarray) -> GatedState:
        """The state of these densities, (S, n_local)."""

    def advance(self, history: History, dt: float, order: int, *, judged: bool) -> Trial:
        """A step of size dt with the formula of this order; `judged` asks for an estimate of its error."""


class GatedStepping[S: OfferedScheme]:
    """Time, history and steps of a scheme. Collective.

    Args:
        make: the scheme on the present mesh; called again when `adaptive` has changed it.
        start: the densities at time 0 for the first one, as rows of an array.

    Keyword Args:
        gate: what every step must pass.
        size: how long steps are.
        adaptive: the mesh that follows the densities; None where it stays as it is. Nodes are an `EdgeGraph` then.

    Attributes:
        t: time reached.
        scheme: on the present mesh.
        history: the present state and those before it.
        moved_energy: by how much changes of the mesh have changed the free energy.
        gate, size, adaptive: those of above.
    """

    def __init__(
        self,
        make: Callable[[], S],
        start: Callable[[S], np.ndarray],
        *,
        gate: Gate,
        size: StepSize,
        adaptive: AdaptiveMesh | None = None,
    ) -> None:
        self._make, self.gate, self.size, self.adaptive = make, gate, size, adaptive
        self.scheme = make()
        self.history = History(self.scheme.state(start(self.scheme)))
        self.t, self.moved_energy = 0.0, 0.0

    @property
    def suggested_step(self) -> float:
        """The step to try next, not too long for formulas that start from more than one state."""
        steps = self.history.steps
        return min(self.size.suggested, LARGEST_RATIO * steps[0] if steps else math.inf)

    # --- one step -----------------------------------------------------------------------------------------------

    def step(self, dt: float) -> StepReport:
        """Advance by dt, or by less where the gate or the tolerance demands it.

        Returns:
            The report, with the figures of the step: the free energy's increase, attempts refused, those of the scheme,
            the estimate of the error.

        Raises:
            InputError: dt is not a positive number.
            RunError: no step passes, however often it is halved.
        """
        check_step(dt)
        refused: list[str] = []
        usable = self._usable(dt)
        for halving in range(self.scheme.halvings + 1):
            length = dt / 2**halving
            for formula in usable:
                trial = self.scheme.advance(self.history, length, formula.order, judged=self.size.tolerant)
                too_long = self.size.too_long(trial.error or 0.0)
                reason = too_long or self._refusal(trial.end)
                if reason is None:
                    return self._accept(trial, length, formula, refused)
                refused.append(f"{formula.name} with dt = {length:.6g}: {reason}")
                if too_long:  # for the other formulas as well
                    break
        raise RunError(f"no step from t = {self.t:.6g} passes the gate; last: {refused[-1]}")

    def _usable(self, dt: float) -> list[Formula]:
        past, steps = self.history.past, self.history.steps
        even = not steps or dt <= LARGEST_RATIO * steps[0] * (1 + 1e-9)
        return [f for f in self.scheme.formulas if f.earlier == 0 or (even and f.earlier <= len(past))]

    def _refusal(self, end: GatedState | str) -> str | None:
        return end if isinstance(end, str) else self.gate.refusal(self.history.now, end)

    def _accept(self, trial: Trial, dt: float, formula: Formula, refused: list[str]) -> StepReport:
        end = trial.end
        assert isinstance(end, GatedState)
        increase = end.energy - self.history.now.energy
        self.history = self.history.after(end, dt, self.scheme.remembered)
        self.size.accept(dt, trial.error or 0.0, order=formula.estimated, refused=bool(refused))
        self.t += dt
        figures = {"free_energy_increase": increase, "refused": float(len(refused)), **trial.figures}
        if self.size.tolerant and trial.error is not None:
            figures["error_estimate"] = trial.error
        return StepReport(t=self.t, dt=dt, order=formula.order, refused=tuple(refused), figures=figures)

    # --- another mesh -------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Go on with another mesh where the densities need one; to be called before a step."""
        if self.adaptive is None:
            return
        now, past = self.history.now, self.history.past
        others = [density for state in past for density in state.densities]
        moved = self.adaptive.follow(self._graph(), self.scheme.numbers, now.densities, others)
        if moved is not None:
            self._change_mesh()
            rows = collected(self._graph().comm, self.scheme.numbers, moved, self._graph().size)
            columns = np.ascontiguousarray(rows.T)
            self.history = self._history(columns, self.history.steps, 0.0)
            self.moved_energy += self.history.now.energy - now.energy

    def _graph(self) -> EdgeGraph:
        assert isinstance(self.scheme.nodes, EdgeGraph)
        return self.scheme.nodes

    def _change_mesh(self) -> None:
        old = self._graph().mesh  # has the communicator on which the old matrices live
        self.scheme = self._make()
        PETSc.garbage_cleanup(old.comm)  # ranks may free matrices together only

    def _history(self, columns: np.ndarray, steps: tuple[float, ...], own_steps: float) -> History:
        """The history of densities one after another, (columns, n_local)."""
        now, *past = map(self.scheme.state, np.split(columns, 1 + len(steps)))
        return History(now, tuple(past), steps, own_steps)

    # --- restart ------------------------------------------------------------------------------------------------

    def state(self) -> GivenState:
        """The record from which `restore` goes on: nodes and mesh of all ranks, what else of rank 0. Collective."""
        history, nodes = self.history, self.scheme.nodes
        columns = [density[: nodes.owned] for state in (history.now, *history.past) for density in state.densities]
        found: dict[str, np.ndarray | Numbered] = {
            "t": np.array(self.t),
            "limit": np.array(self.size.limit),
            "moved_energy": np.array(self.moved_energy),
            "own_steps": np.array(history.own_steps),
            "steps": np.array(history.steps),
            "nodes": Numbered(self.scheme.numbers[: nodes.owned], nodes.size, columns),
        }
        if self.adaptive is not None:
            found |= {f"mesh_{name}": array for name, array in self.adaptive.state().items()}
        return found

    def restore(self, state: FoundState) -> None:
        """Go on from a `state`, given on every rank; on any number of ranks, up to rounding. Collective."""
        if self.adaptive is not None:
            mesh = {name.removeprefix("mesh_"): state[name] for name in state if name[:5] == "mesh_"}
            self.adaptive.restore(mesh.pop("counts"), mesh)
            self._change_mesh()
        self.t, self.size.limit, self.moved_energy = (float(state[name]) for name in ("t", "limit", "moved_energy"))
        stored, numbers = state["nodes"], self.scheme.numbers
        columns = np.empty((stored.shape[1], len(numbers)))
        stored.read(Numbered(numbers, self.scheme.nodes.size, list(columns)))
        self.history = self._history(columns, tuple(state["steps"].tolist()), float(state["own_steps"]))


class GatedSolver[S: OfferedScheme](ABC):
    """A solver whose steps are gated: what all of them have. Every public method is collective.

    Attributes:
        stepping: time, history, gate, and the scheme on the present mesh.
        warnings: what to know before trusting the solution.
    """

    stepping: GatedStepping[S]
    warnings: list[str]

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """Invariants and extrema of the present state: columns of diagnostics.csv."""

    @property
    def t(self) -> float:
        """Time reached."""
        return self.stepping.t

    @property
    @abstractmethod
    def dofs(self) -> int:
        """Unknowns."""

    def __repr__(self) -> str:
        return f"{type(self).__module__}.{type(self).__name__}(t = {self.t:g}, {self.dofs:,} unknowns)"

    @property
    def step_figures(self) -> tuple[str, ...]:
        """Names of figures of a step that a state alone does not have."""
        estimate = ("error_estimate",) if self.stepping.size.tolerant else ()
        return ("free_energy_increase", "refused", *self.stepping.scheme.step_figures, *estimate)

    @property
    def now(self) -> GatedState:
        """The present state."""
        return self.stepping.history.now

    @property
    def suggested_step(self) -> float:
        """The step that the tolerance suggests; else the requested one, or less where steps before it were short."""
        return self.stepping.suggested_step

    def step(self, dt: float) -> StepReport:
        """Advance by dt, or by less where the gate or the tolerance demands it.

        Raises:
            InputError: dt is not a positive number.
            RunError: no step passes, however often it is halved.
        """
        report = self.stepping.step(dt)
        return replace(report, figures=self.figures() | report.figures)

    def solve(self, end: float, *, stops: Iterable[float] = (), observers: Iterable[Observer] = ()) -> None:
        """Step up to time `end`, landing on every time in `stops`; each observer sees the report of each step.

        Raises:
            RunError: a step could not be made.
        """
        march(self, end, stops=stops, observers=observers)

    def state(self) -> GivenState:
        """The record from which `restore` goes on: nodes and mesh on every rank, what else on rank 0."""
        return self.stepping.state()

    def restore(self, state: FoundState) -> None:
        """Go on from a `state`, given on every rank; on any number of ranks, up to rounding."""
        self.stepping.restore(state)
