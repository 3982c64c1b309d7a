"""What a limit theorem must offer to be run, as types; mypy checks a system against them where it is registered.

A system is an object of a class derived from `System`, in `limitpde/<name>/system.py`. It knows the type of its cases
C, of the solver S of its limit equation, of what observes W of the solution, R, and of its ensembles of particles, E.
The record of its cases names it (`sections.BaseCase.SYSTEM`), and is what is registered (`limitpde.case`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from limitpde.cautions import Caution
from limitpde.compare.cloud_functions import PointCloud
from limitpde.compare.companions import COARSE, COARSEST, Level, Orders
from limitpde.compare.measured import MeasuredEnsemble, MeasuredSolution
from limitpde.compare.test_functions import TestFunction
from limitpde.errors import InputError
from limitpde.fem.stepping import Observer, StepReport
from limitpde.nbody.replicas import Controls
from limitpde.results.checkpoint import FoundState, GivenState
from limitpde.results.fields import Outputs
from limitpde.results.figures import Record
from limitpde.results.pictures import Painter
from limitpde.results.report import Wording
from limitpde.sections import BaseCase, load


class Resumable(Protocol):
    """What goes on from a state."""

    @property
    def STATE(self) -> str:  # noqa: N802 - a constant of each class
        """Name and version of the layout of the state."""

    def state(self) -> GivenState:
        """What `restore` needs: arrays on rank 0; those that all ranks have together, on each of them. Collective."""

    def restore(self, state: FoundState) -> None:
        """Go on from a `state`, given on every rank; on any number of ranks, up to rounding. Collective.

        An array that all ranks have together is read by its `read`.
        """


class LimitSolver(Resumable, Protocol):
    """A solver of a limit equation. All methods are collective."""

    @property
    def t(self) -> float:
        """Time reached."""

    @property
    def dofs(self) -> int:
        """Unknowns."""

    def solve(self, end: float, *, stops: Iterable[float] = (), observers: Iterable[Observer] = ()) -> None:
        """Step up to time `end`, landing on every time in `stops`; each observer sees the report of each step.

        Raises:
            RunError: a step could not be made.
        """

    def outputs(self) -> Outputs:
        """File below pde/ -> its mesh and the functions on it, of the present state; none where there is no mesh."""


class StepSummary(Protocol):
    """What the steps of a solver add up to."""

    @property
    def STATE(self) -> str:  # noqa: N802 - a constant of each class
        """Name and version of the layout of the state."""

    @property
    def columns(self) -> list[str]:
        """Names of the figures of a step."""

    def start_row(self) -> dict[str, float]:
        """The row of diagnostics.csv for time 0, with the columns that a step has."""

    def add(self, step: StepReport) -> None:
        """Take in one step."""

    def figures(self) -> Record:
        """The part `pde` of summary.json."""

    def warnings(self) -> list[str]:
        """What a user must know before trusting the figures."""

    def cautions(self) -> list[Caution]:
        """Figures that say whether the scheme is in the range in which its order holds."""

    def astray(self) -> float:
        """Mass that the solution has lost or gained, or that came where it is not that of the limit."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here; numbers, strings, lists and dictionaries only."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""


class ObservedSolution(MeasuredSolution, Resumable, Protocol):
    """W[t, phi] and int phi of a solution, as its steps go by; an observer of the solver."""

    @property
    def warnings(self) -> list[str]:
        """What a user must know before trusting W."""

    def __call__(self, step: StepReport, /) -> None:
        """Take in one step. Collective."""


class SimulatedEnsemble(MeasuredEnsemble, Protocol):
    """Replicas of one particle number, the same on every rank."""

    @property
    def work_per_second(self) -> float:
        """Units of work per second of all ranks."""

    @property
    def complete(self) -> bool:
        """False where the run was asked to stop: then only the finished replicas are here."""


class System[C: BaseCase, S: LimitSolver, R: ObservedSolution, E: SimulatedEnsemble](Protocol):
    """A limit theorem: particles, their limit equation, and what is to be said of both."""

    work_unit: str
    """What `work_per_second` of an ensemble counts."""
    wording: Wording
    """What report.md says of it."""
    fluctuation_order: float | None = None
    """Of `limiting_covariance`; the least of the solution's where it is not given."""
    painters: Mapping[str, Painter] = {}
    """Name of a picture -> what draws it from the files of a result, or returns None."""

    @property
    def summary(self) -> Callable[[S, C], StepSummary]:
        """What takes in the steps of a solver, of a case. Collective."""

    @property
    def residual(self) -> Callable[[S, Sequence[TestFunction]], R]:
        """What observes W of a solver, for test functions. Collective."""

    @abstractmethod
    def residual_rate(self, case: C) -> float | None:
        """Power of N that the theorem gives to the residual of the particles; None where it gives none."""

    def means_powers(self, case: C) -> tuple[float, ...]:
        """Powers of N with which means of N particles come to their limit, the slowest first; none if they may not."""
        return (-1.0,)

    def departs(self, case: C) -> str:
        """Why the particles of a case cannot tend to its equation, where that is known beforehand; else nothing."""
        return ""

    def mass(self, case: C) -> float:
        """Mass of the measures that are compared."""
        return 1.0

    def orders(self, case: C) -> Orders:
        """Orders of the schemes."""
        return Orders()

    def outside_theory(self, case: C) -> str:
        """Which assumption of the theorem the case does not meet, in a sentence; nothing where it meets all."""
        return ""

    @abstractmethod
    def solver(self, case: C, comm: MPI.Comm) -> S:
        """The solver of a case that has [pde], at time 0. Collective.

        Raises:
            InputError: the mesh or the data are unfit.
        """

    def outputs(self, case: C, solver: S) -> Outputs:
        """What a case writes of its solver at the output times. Collective."""
        return solver.outputs()

    def cloud(self, solver: S, comm: MPI.Comm) -> PointCloud:
        """The solution now, on rank 0, for a case with `compare.observables`. Collective.

        Raises:
            InputError: the system has none.
        """
        raise InputError("compare.observables: this system does not show its solution as a cloud of points")

    @abstractmethod
    def simulate(self, case: C, count: int, controls: Controls) -> E:
        """Simulate the replicas of one particle number of a case that has [particles]. Collective.

        Raises:
            Interrupted: asked to stop before any replica was finished.
        """

    @abstractmethod
    def particle_figures(self, case: C, ensemble: E) -> Record:
        """One entry of the list `particles` of summary.json."""

    def particle_warnings(self, case: C, ensemble: E) -> list[str]:
        """What a user must know before comparing the particles with the equation."""
        return []

    def particle_cautions(self, case: C, ensemble: E) -> list[Caution]:
        """Figures that say whether the particles are simulated as they were meant to be."""
        return []

    def observable_series(self, ensemble: E) -> dict[str, np.ndarray]:
        """What observables.csv holds besides the test functions: name -> (R, T)."""
        return {}

    def particle_tables(self, ensemble: E) -> Mapping[str, Iterable[Mapping[str, float]]]:
        """Further tables of one particle number: name of a file below particles/N<count>/ -> rows, at least one."""
        return {}

    def limiting_covariance(self, case: C, comm: MPI.Comm, stepped: Callable[[], object]) -> np.ndarray | None:
        """What N Cov(int phi_p dL^N_s, int phi_q dL^N_T) tends to, of a case with both parts, (K, P, P). Collective.

        The times s are `case.fluctuation_times`, the last of which is the end T.

        By the linearised equation; None where that does not say it, or nobody has made it do so. `stepped` is called
        after each step; what it raises ends all.

        Raises:
            InputError: the mesh is unfit.
            RunError: a step could not be made.
        """
        return None

    def fluctuation_levels(self, case: C) -> tuple[Level, Level]:
        """Of the companions of the equation that predict them: the second one shows the error of the first."""
        return COARSE, COARSEST

    def comparison_figures(self, case: C, ensembles: Sequence[E], solution: R | None, comm: MPI.Comm) -> Record:
        """What the part `compare` of summary.json has for this system alone; its `rates` go with all. Collective."""
        return {}


type AnySystem = System[Any, Any, Any, Any]
"""A system of which only the name is known."""


def system_of(case: BaseCase | type[BaseCase]) -> AnySystem:
    """The system of a case, or of a record of cases, loaded with all that it takes to run it."""
    found: AnySystem = load(case.SYSTEM)  # type: ignore[assignment]
    return found
