"""What a run has found: figures, tables and the verdict, of whatever has been computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from limitpde.cautions import Caution
from limitpde.compare.advice import Effort, parts
from limitpde.compare.budget import (
    Budget,
    StepErrors,
    budget,
    detectable,
    error_rows,
    interval,
    limit_rows,
    step_errors,
)
from limitpde.compare.cloud_functions import ObservedCloud, labels_of
from limitpde.compare.companions import SAFETY_OF_TWO, Level, SolutionErrors, solution_errors
from limitpde.compare.comparison import Comparison, own_rows, rate_row
from limitpde.compare.fluctuations import Prediction, covariance_rows, fluctuation_rows, variance_rates
from limitpde.compare.measured import MeasuredEnsemble, MeasuredSolution, at_times
from limitpde.compare.user_functions import UserFunction
from limitpde.compare.verdict import balances, judge
from limitpde.error_budget import growth, keeps_cells
from limitpde.results.figures import Record
from limitpde.results.folder import Folder
from limitpde.results.tables import Table
from limitpde.sections import BaseCase
from limitpde.system import AnySystem


@dataclass(slots=True)
class Known:
    """What a run knows of its own errors."""

    companions: dict[Level, np.ndarray] = field(default_factory=dict)
    """Int phi rho_t, (P, T), of coarser companions of the solution."""
    halved: MeasuredEnsemble | None = None
    """Replicas of the smallest N that made their steps in halves."""
    fluctuations: Prediction | None = None
    """What the variances of the observables tend to."""
    astray: float = 0.0
    """Mass that the solution has lost, or that came where it is not that of the limit."""
    cautions: Sequence[Caution] = ()
    """Figures of the range of the methods, one of each name."""
    failure: str = ""
    """Why the run did not come to its end, if it did not."""


class Findings:
    """The comparison of a run, ready to be told. On rank 0.

    Args:
        system: of the case.
        case: with test functions.
        ensembles: what was simulated; may be empty.
        solution: W of the solution, if the equation was solved.
        known: what the run knows of its own errors.
        own: what the system compares besides, with its `rates`.
        cloud: the user's own observables of the solution, if there are any.
    """

    def __init__(
        self,
        system: AnySystem,
        case: BaseCase,
        ensembles: Sequence[MeasuredEnsemble],
        solution: MeasuredSolution | None,
        known: Known,
        own: Record,
        cloud: ObservedCloud | None = None,
    ) -> None:
        self._system, self._case, self._known = system, case, known
        self._ensembles, self._solution = ensembles, solution
        self.outside = system.outside_theory(case)
        self._steps = self._step_errors()
        self._comparison = Comparison(
            case.test_functions,
            ensembles,
            solution,
            rate_theory=system.residual_rate(case),
            in_theory=not self.outside,
            floors=None if self._steps is None else self._steps.noise,
            unjudged=next((caution.text for caution in known.cautions if caution.exceeded), ""),
        )
        self._errors = None if solution is None else self._solution_errors(solution)
        self._budget = self._make_budget()
        rates = {
            "rates": [*self._comparison.rates(), *own.pop("rates", [])],
            "fluctuation_rates": list(variance_rates(ensembles, known.fluctuations)),
        }
        self.compare = self._comparison.figures() | (rates if ensembles else {}) | own
        if case.observables:
            rows = list(own_rows(labels_of(case.observables), ensembles, cloud))
            self.compare["observables"] = [*self.compare.get("observables", []), *rows]
        if known.fluctuations is not None:
            labels = [function.label for function in case.test_functions]
            varied = list(fluctuation_rows(labels, ensembles, known.fluctuations))
            self.compare |= {"fluctuations": varied} if varied else {}
        if len(case.fluctuation_times) > 1 and ensembles:
            labels = [function.label for function in case.test_functions]
            times, predicted = case.fluctuation_times, known.fluctuations
            over_time = list(covariance_rows(labels, times, ensembles, predicted))
            self.compare |= {"covariances": over_time} if over_time else {}
        if self._budget is not None:
            found, half = detectable(self._budget), interval(self._budget)
            self.compare["limits"] = self._named(limit_rows(self._budget, found, half))

    def _named(self, rows: Iterable[Mapping[str, float]]) -> list[Record]:
        labels = [function.label for function in self._case.test_functions]
        return [{"test_function": p, "label": labels[p], **row} for p, row in enumerate(rows)]

    @property
    def solution_errors(self) -> list[Record]:
        """The list `pde.error`."""
        if self._errors is None or not self._known.companions:
            return []
        return self._named(error_rows(self._errors, self._known.astray))

    def _solution_errors(self, solution: MeasuredSolution) -> SolutionErrors:
        """By the companions; where the mesh is that of a file, errors of the mesh by W of the solution."""
        case, times = self._case, np.array([0.0, *self._case.output_times])
        fixed = keeps_cells(case)
        orders = self._system.orders(case)
        fine = at_times(solution.times, solution.observables, times)
        errors = solution_errors(fine, self._known.companions, orders, same_cells=fixed, growth=growth(case))
        if not fixed:
            return errors
        residual = at_times(solution.times, solution.values, times)
        mesh = SAFETY_OF_TWO * np.maximum.accumulate(np.abs(residual), axis=1)
        return SolutionErrors(mesh, errors.step, errors.order, errors.trusted)

    def _make_budget(self) -> Budget | None:
        """None where there are not both particles and a solution that has come as far as these."""
        if not self._ensembles or self._solution is None or self._errors is None:
            return None
        end = float(self._ensembles[0].times[-1])
        if self._solution.times[-1] < end * (1 - 1e-9):
            return None
        domain, scale = self._known.astray, self._scale
        powers = self._system.means_powers(self._case)
        known = self._ensembles, self._solution, self._errors, self._steps
        return budget(*known, domain=domain, scale=scale, powers=powers)

    @property
    def _scale(self) -> np.ndarray:
        """max |phi| times the mass, (P,); of shapes the largest value is one."""
        sizes = [function.size if isinstance(function, UserFunction) else 1.0 for function in self._case.test_functions]
        return self._system.mass(self._case) * np.array(sizes)

    def _step_errors(self) -> StepErrors | None:
        """Of the particles' step, from the smallest N; None where they were not estimated."""
        if self._known.halved is None:
            return None
        smallest = min(self._ensembles, key=lambda ensemble: ensemble.count)
        return step_errors(smallest, self._known.halved, self._system.orders(self._case).particles)

    @property
    def verdict(self) -> Record | None:
        """The part `verdict` of summary.json; None where nothing is compared."""
        compare, case, known = self._case.compare, self._case, self._known
        if compare is None or not self._ensembles:
            return None
        particles, pde = case.particles, case.pde
        effort = Effort(
            counts=tuple(ensemble.count for ensemble in self._ensembles),
            replicas=min(len(ensemble.replicas) for ensemble in self._ensembles),
            step=getattr(particles, "step", None),
            pde_step=None if pde is None else pde.step,
            orders=self._system.orders(case),
            variances=None if known.fluctuations is None else known.fluctuations.variances,
        )
        scale = self._scale
        own = [] if self._steps is None else list(balances(self._ensembles, self._steps, scale))
        found = judge(
            self._budget,
            own,
            precision=compare.precision,
            cautions=[caution for caution in known.cautions if caution.exceeded],
            effort=effort,
            failure=known.failure or self._unestimated,
            departs=self._system.departs(case),
        )
        figures = found.figures()
        if self.outside:
            figures["sentence"] = f"Outside the theorem's assumptions ({self.outside}). {found.sentence}"
        sizes = None if self._budget is None else parts(self._budget)
        return figures | {"parts": sizes, "outside_theory": self.outside or None}

    @property
    def _unestimated(self) -> str:
        """Why particles alone have no verdict, if they have none."""
        if self._budget is None and self._steps is None:
            return (
                "the error of the particles' step was not estimated: it takes two replicas, and compare.budget = true"
            )
        return ""

    def write(self, folder: Folder) -> None:
        """Write the tables below compare/."""
        columns = ("system", "N", "replica", "test_function", "t", "residual")
        Table(folder.own("compare/residuals.csv"), columns).extend(self._comparison.residual_rows())
        columns = ("quantity", "test_function", "slope", "slope_low", "slope_high", "theory")
        Table(folder.own("compare/rates.csv"), columns).extend(map(rate_row, self.compare.get("rates", [])))
