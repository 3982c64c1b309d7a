"""What a solution leaves on the disk while it is computed: diagnostics, fields, and the state to go on from."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
from mpi4py import MPI

from limitpde.compare.cloud_functions import ObservedCloud
from limitpde.fem.stepping import StepReport
from limitpde.parallel import on_root
from limitpde.results.checkpoint import Checkpoint, PartState
from limitpde.results.fields import FieldSeries, Outputs
from limitpde.results.folder import Folder
from limitpde.results.tables import Table
from limitpde.results.vtkhdf import Mode
from limitpde.sections import BaseCase
from limitpde.system import AnySystem, LimitSolver, ObservedSolution, StepSummary

DIAGNOSTICS = "pde/diagnostics.csv"


def observed_cloud(system: AnySystem, case: BaseCase, solver: LimitSolver, comm: MPI.Comm) -> ObservedCloud | None:
    """The user's own observables of a solver, if the case has any. Collective.

    Raises:
        InputError: a function fails, is random, or does not return what it should.
    """
    if not case.observables:
        return None
    return ObservedCloud(case.observables, lambda: system.cloud(solver, comm), comm, solver.t)


class SolutionFiles[S: LimitSolver, R: ObservedSolution]:
    """The files of a solution. Collective, like all methods but `record`.

    Args:
        folder: of the result.
        checkpoint: in it.
        solver: at time 0; an earlier run that it goes on from is put into it.
        solution: what observes W of the solver.
        steps: what its steps add up to.
        comm: the ranks.

    Keyword Args:
        outputs: what is written of the solver, below pde/.
        cloud: what takes the user's own observables of the solver, at the same times.
        resume: go on from the checkpoint, if there is one.

    Attributes:
        resumed: whether the solver goes on from an earlier run.
        damaged: files of that run which are not as it left them.
    """

    def __init__(
        self,
        folder: Folder,
        checkpoint: Checkpoint,
        solver: S,
        solution: R,
        steps: StepSummary,
        comm: MPI.Comm,
        *,
        outputs: Callable[[], Outputs],
        cloud: ObservedCloud | None,
        resume: bool,
    ) -> None:
        self._outputs, self._checkpoint, self._comm = outputs, checkpoint, comm
        self._solver, self._solution, self._steps, self._cloud = solver, solution, steps, cloud
        self._table = Table(on_root(comm, lambda: folder.own(DIAGNOSTICS)), ("t", "dt", "order", *steps.columns))
        self.resumed, self.damaged = self._restore(resume)
        first = outputs()
        paths = on_root(comm, lambda: {stem: folder.own(f"pde/{stem}.vtkhdf") for stem in first})
        mode: Mode = "a" if self.resumed else "w"
        self._series = {stem: FieldSeries(paths[stem], mesh, mode=mode) for stem, (mesh, _) in first.items()}
        if self.resumed:
            for file in self._series.values():
                file.truncate(solver.t)
        self._last = {stem: float(file.times.max(initial=-1.0)) for stem, file in self._series.items()}

    def _restore(self, resume: bool) -> tuple[bool, list[str]]:
        solver, solution, steps, table = self._solver, self._solution, self._steps, self._table
        kinds = {"solver": solver.STATE, "residual": solution.STATE, "steps": steps.STATE}
        if self._cloud is not None:
            kinds["observables"] = self._cloud.STATE
        parts, damaged = self._checkpoint.solution(kinds) if resume else (None, [])
        if parts is not None:
            solver.restore(parts["solver"])
            solution.restore(parts["residual"])
            if self._cloud is not None:
                self._cloud.restore(parts["observables"])
            steps.restore(json.loads(str(parts["steps"]["json"])))
            on_root(self._comm, lambda: table.keep(self._checkpoint.table_size(DIAGNOSTICS)))
        return parts is not None, damaged

    def keep(self) -> None:
        """Put the state of the solver, and of what observes it, into the checkpoint."""
        parts = {
            "solver": PartState(self._solver.STATE, self._solver.state()),
            "residual": PartState(self._solution.STATE, self._solution.state()),
            "steps": PartState(self._steps.STATE, {"json": np.array(json.dumps(self._steps.state()))}),
        }
        if self._cloud is not None:
            parts["observables"] = PartState(self._cloud.STATE, self._cloud.state())
        self._checkpoint.save_solution(parts)

    def record(self, step: StepReport) -> None:
        """Add a step to the diagnostics. On rank 0."""
        self._table.append({"t": step.t, "dt": step.dt, "order": step.order, **step.figures})

    def write(self, t: float) -> None:
        """At an output time, write the fields and take the observables."""
        self.write_fields(t)
        if self._cloud is not None:
            self._cloud.take(t)

    def write_fields(self, t: float) -> None:
        """Write the outputs of the solver at its time, each into its file below pde/, unless they are there already."""
        for stem, (_, functions) in self._outputs().items():
            if t > self._last[stem] * (1 + 1e-12):
                self._series[stem].write(t, functions)
                self._last[stem] = t
