"""One case carried out: solve the limit equation, simulate the particles, compare, write what is found.

Everything is on disk as soon as it is known, so a run that fails, is stopped or is killed leaves a readable result,
whose summary.json says how far it came.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from mpi4py import MPI

from limitpde import case as cases
from limitpde import needs
from limitpde.compare.cloud_functions import ObservedCloud, labels_of
from limitpde.compare.measured import check_finite
from limitpde.dolfinx_versions import check_dolfinx
from limitpde.error_budget import companions, fluctuations, halved
from limitpde.errors import InputError, Interrupted, RunError, describe, is_out_of_memory
from limitpde.fem.stepping import StepReport
from limitpde.files import check_ranks
from limitpde.findings import Findings, Known
from limitpde.nbody.replicas import Controls
from limitpde.parallel import StopRequest, ends_all, on_root
from limitpde.particle_files import ParticleFiles
from limitpde.progress import Bar
from limitpde.result import Result
from limitpde.results import figures, pictures, report
from limitpde.results.checkpoint import Checkpoint
from limitpde.results.folder import Folder
from limitpde.results.inputs import Inputs
from limitpde.run_record import RunRecord
from limitpde.sections import BaseCase
from limitpde.solution_files import SolutionFiles, observed_cloud
from limitpde.system import LimitSolver, ObservedSolution, SimulatedEnsemble, StepSummary, System, system_of


def run(
    case: cases.CaseLike,
    *,
    out: str | Path | None = None,
    overrides: cases.Overrides = (),
    resume: bool = False,
    quick: bool = False,
    quiet: bool = True,
    name: str | None = None,
    check: bool = True,
    limit_hours: float = needs.HOURS,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Result:
    """Carry out a case. Collective.

    Args:
        case: the path of a case file, a dictionary like one, or a case.

    Keyword Args:
        out: folder of the result; the case's own by default, with "_quick" behind its name for a quick run.
        overrides: lines "section.key=value", or a dictionary {"section.key": value}.
        resume: go on from what an earlier run of the same case has left in the folder, if there is one.
        quick: a smaller run of the same case (`BaseCase.smaller`).
        quiet: no progress bars.
        name: title of the report; that of the case file, or of the system, by default.
        check: raise an error where the run fails or is stopped.
        limit_hours: hours that it may take by the estimate; else nothing is run.
        comm: the ranks to use.

    Returns:
        The result; its `status` is "done", or without `check` perhaps "failed" or "interrupted".

    Raises:
        InputError: the case is wrong, or needs more than there is (`limitpde.needs`); then nothing was run.
        RunError: the run failed; `result` of the error is what it has computed until then.
        Interrupted: it was asked to stop; likewise.
    """
    title = name or (Path(case).stem if isinstance(case, str | Path) else None)
    case = on_root(comm, partial(cases.of, case, overrides))
    name = title or case.system
    check_dolfinx()
    directory = cases.directory_of(case, name, out, quick=quick)
    case = asked = case.smaller() if quick else case
    machine = needs.Machine.of(comm)
    on_root(comm, lambda: needs.check(asked, directory, machine, hours=limit_hours))
    system = system_of(case)
    summary = Experiment(system, case, directory, name=name, resume=resume, quiet=quiet, comm=comm).run()
    result = Result(directory, summary=summary)
    if check and summary["status"] != "done":
        stopped = summary["status"] == "interrupted"
        error = (Interrupted if stopped else RunError)(f"{summary['reason']}; what was computed is in {directory}")
        error.result = result
        raise error
    return result


class Experiment[C: BaseCase, S: LimitSolver, R: ObservedSolution, E: SimulatedEnsemble]:
    """A case on its way to a result.

    Args:
        system: what the case is of.
        case: what to do.
        directory: where the result goes; of an earlier result there, the files are replaced.

    Keyword Args:
        name: title of the report.
        resume: go on from what an earlier run of the same case has left there instead.
        quiet: no progress bars.
        comm: the ranks to use.
    """

    def __init__(
        self,
        system: System[C, S, R, E],
        case: C,
        directory: Path,
        *,
        name: str,
        resume: bool = False,
        quiet: bool = True,
        comm: MPI.Comm = MPI.COMM_WORLD,
    ) -> None:
        self.system, self.case, self.comm, self.resume = system, case, comm, resume
        self.folder, self.checkpoint = Folder(directory), Checkpoint(directory, comm)
        self.functions = case.test_functions
        self.stop = StopRequest()
        self.ensembles: list[E] = []
        self.solution: R | None = None
        self.cloud: ObservedCloud | None = None
        self.known = Known()
        self._spent: dict[str, float] = {}
        self.record = RunRecord(case, self.folder, name, comm, quiet=quiet)

    def run(self) -> figures.Record:
        """Solve, simulate, compare and write, in a folder that is this run's alone. Collective."""
        on_root(self.comm, self.folder.claim)
        try:
            self.resume = on_root(self.comm, self._check_folder)
            solver = self._make_solver()
            if on_root(self.comm, lambda: self.folder.listed and not self.resume):
                self._try_particles()
            check_ranks(self.comm)
            on_root(self.comm, self._begin)
            return self._carry_out(solver)
        finally:
            if self.comm.rank == 0:
                self.folder.lock.free()

    def _check_folder(self) -> bool:
        """Whether this run goes on from an earlier one, of the same case with the same files. On rank 0."""
        self._inputs = Inputs(cases.files_of(self.case))
        self._text = cases.dump(self.case, self._inputs.names)  # in which the files are their copies
        resume, damaged = self.folder.check(self._text, resume=self.resume)
        if resume:
            self.record.note_damage(damaged, "it was written anew")
            try:
                inputs, self._spent = figures.earlier(self.folder.directory / "summary.json")
            except InputError:
                inputs = self._inputs.kept(self.folder)
                self.record.note_damage(["summary.json"], "the seconds spent until then are not counted")
            self._inputs.check(inputs)
        return resume

    def _carry_out(self, solver: S | None) -> figures.Record:
        status, reason = "done", ""
        try:
            with self.stop:
                try:
                    if solver is not None:
                        self._solve(solver)
                    if self.case.particles is not None:
                        self._simulate(self.case.particles.counts)
                        check_ranks(self.comm)
                    self._know_errors()
                    self._predict_fluctuations()
                except Interrupted as error:
                    status, reason = "interrupted", str(error)
                except Exception as error:
                    if not ends_all(self.comm, error):
                        raise
                    status, reason = "failed", describe(error)
                self._finish(status, reason)
                if self.comm.rank == 0:
                    needs.learn(self.case, self.record.summary)
        except Exception as error:
            self.record.keep_failure(error)
            raise
        return self.record.summary

    def _make_solver(self) -> S | None:
        """The solver of the equation, which has seen mesh and data; of an earlier result nothing is touched before."""
        if self.case.pde is None:
            return None
        try:
            with self.record.timed("pde"):
                solver = self.system.solver(self.case, self.comm)
                self.cloud = observed_cloud(self.system, self.case, solver, self.comm)
                return solver
        except Exception as error:
            if is_out_of_memory(error):
                raise RunError(f"the equation cannot be set up: {describe(error)}; nothing was written") from error
            raise

    def _try_particles(self) -> None:
        """Make the particles and stop before their first step: what they would refuse must not cost a result."""
        for count in self.case.particles.counts if self.case.particles is not None else ():
            with suppress(Interrupted):
                self.system.simulate(self.case, count, replace(self._controls, stop_asked=lambda: True))

    # --- the limit equation -----------------------------------------------------------------------------------------

    def _solve(self, solver: S) -> None:
        """Solve the limit equation, with fields at the output times and diagnostics at every step."""
        case = self.case
        with self.record.timed("pde"):
            steps = self.system.summary(solver, case)
            self.solution = solution = self.system.residual(solver, self.functions)
            files = self._solution_files(solver, solution, steps)
            layout = "{l_bar}{bar}| t = {n:.3g}/{total:.3g} [{elapsed}<{remaining}]"
            bar = Bar("PDE", shown=self.record.told, total=case.time.end, layout=layout)
            bar.advance(solver.t)

            saved, work = time.monotonic(), 0

            def record(step: StepReport) -> bool:
                """Whether a checkpoint is due."""
                files.record(step)
                self.record.log(logging.DEBUG, "equation: t = %.6g, dt = %.3g", step.t, step.dt)
                self.record.save(pde=steps.figures())
                return time.monotonic() - saved > case.output.checkpoint_every

            if not files.resumed:
                files.write_fields(0.0)
                on_root(self.comm, lambda: record(StepReport(t=0.0, dt=0.0, order=0, figures=steps.start_row())))
            outputs = deque([*(t for t in case.output_times if t > solver.t * (1 + 1e-9)), math.inf])

            def observe(step: StepReport) -> None:
                nonlocal saved, work
                steps.add(step)
                work += solver.dofs * step.steps
                if math.isclose(step.t, outputs[0], rel_tol=1e-9):
                    files.write(outputs.popleft())  # at the very times of the particles' snapshots
                due = on_root(self.comm, lambda: record(step))
                bar.advance(step.dt * step.steps)
                self.stop.check(self.comm)
                if due:
                    files.keep()
                    saved = time.monotonic()

            began = time.perf_counter()
            try:
                solver.solve(case.time.end, stops=case.output_times, observers=[solution, observe])
                files.keep()
            except (Interrupted, RunError) as error:  # raised on every rank
                files.keep()
                if isinstance(error, RunError):  # the last state, where the trouble can be seen
                    files.write_fields(solver.t)
                raise
            finally:
                bar.close()
                if work:
                    rate = work / (time.perf_counter() - began)
                    self.record.summary["performance"]["pde_dof_steps_per_second"] = rate
                self.record.summary["pde"] = steps.figures()
                self.record.summary["warnings"] += [*steps.warnings(), *solution.warnings]
                self.record.cautions += steps.cautions()
                self.known.astray = steps.astray()

    def _solution_files(self, solver: S, solution: R, steps: StepSummary) -> SolutionFiles:
        """Where the solution is written, where the solver goes on from what an earlier run has left. Collective."""
        files = SolutionFiles(
            self.folder, self.checkpoint, solver, solution, steps, self.comm,
            outputs=partial(self.system.outputs, self.case, solver), cloud=self.cloud, resume=self.resume,
        )  # fmt: skip
        begins = "begins anew, from t = 0"
        if files.resumed:
            begins = f"goes on from the checkpoint before, t = {solver.t:.6g}"
        self.record.note_damage(files.damaged, f"the equation {begins}")
        return files

    # --- the particles ----------------------------------------------------------------------------------------------

    def _simulate(self, counts: Sequence[int]) -> None:
        """Simulate each particle number, with snapshots of the first replica."""
        rates: dict[str, float] = {}
        self.record.summary["particles"] = []
        self.record.summary["performance"][f"{self.system.work_unit}_per_second"] = rates
        with self.record.timed("particles"):
            for count in counts:
                ensemble = self._simulate_count(count)
                self.ensembles.append(ensemble)
                self.record.summary["particles"].append(self.system.particle_figures(self.case, ensemble))
                self.record.summary["warnings"] += self.system.particle_warnings(self.case, ensemble)
                self.record.cautions += self.system.particle_cautions(self.case, ensemble)
                rates[str(count)] = ensemble.work_per_second
                if not ensemble.complete:
                    finished = f"{len(ensemble.replicas)} replicas of N = {count} are finished"
                    raise Interrupted(f"stopped on request (Ctrl-C or SIGTERM): {finished}, not all")
                self.stop.check(self.comm)
                on_root(self.comm, partial(self.record.save, force=True))

    @property
    def _controls(self) -> Controls:
        """How particles are stopped, and where they run."""
        ranks = self.case.particles.ranks_per_replica if self.case.particles is not None else None
        return Controls(stop_asked=lambda: self.stop.asked, comm=self.comm, ranks_per_replica=ranks)

    def _simulate_count(self, count: int) -> E:
        files = ParticleFiles(self.folder, count)
        finished, bad = on_root(self.comm, lambda: self.checkpoint.replicas(count) if self.resume else ([], []))
        self.record.note_damage(bad, f"those replicas of N = {count} are simulated anew")
        with Bar(f"N = {count}", shown=self.record.told) as bar:
            controls = replace(
                self._controls,
                snapshot=files.snapshot,
                finished=finished,
                keep=partial(self.checkpoint.save_replicas, count),
                progress=bar.advance,
            )
            ensemble = self.system.simulate(self.case, count, controls)
        check_finite(ensemble)
        on_root(self.comm, lambda: files.write(self.system, ensemble, labels_of(self.case.observables)))
        return ensemble

    # --- the comparison, and the files ------------------------------------------------------------------------------

    def _know_errors(self) -> None:
        """Compute what shows the errors of the solution and of the particles' step. Collective."""
        case, known = self.case, self.known
        if not (self.functions and case.compare is not None and case.compare.budget):
            return
        with self.record.timed("budget"):
            if self.solution is not None:
                known.companions = companions(self.system, case, self.comm, partial(self.stop.check, self.comm))
            if self.ensembles:
                with Bar("errors of the step", shown=self.record.told) as bar:
                    known.halved = halved(self.system, case, replace(self._controls, progress=bar.advance))

    def _predict_fluctuations(self) -> None:
        """Solve the linearised equation, for the variances of the observables. Collective."""
        case = self.case
        if self.solution is None or not self.ensembles or case.compare is None or not case.compare.fluctuations:
            return
        with self.record.timed("fluctuations"):
            self.known.fluctuations = fluctuations(self.system, case, self.comm, partial(self.stop.check, self.comm))

    def _begin(self) -> None:
        """Make the folder ready, and learn what an earlier run has spent where this one goes on from it. On rank 0."""
        self.record.add_spent(self._spent)
        self.folder.begin(self._text, resume=self.resume)
        self._inputs.keep(self.folder)
        self.record.summary["inputs"] = self._inputs.record() or None
        self.record.summary["case_sha256"] = hashlib.sha256(self._text.encode()).hexdigest()
        for name in Checkpoint.FILES:
            self.folder.own(name)
        self.record.save(force=True)

    def _finish(self, status: str, reason: str) -> None:
        """Compare, draw, write the report, and last the final figures. Collective."""
        compared = bool(self.functions) and (self.solution is not None or bool(self.ensembles))
        own: figures.Record = {}
        if compared:
            with self.record.timed("compare"):  # collective: the solution is spread over all ranks
                own = self.system.comparison_figures(self.case, self.ensembles, self.solution, self.comm)
            self.known.failure = reason
        self.known.cautions = self.record.weigh()

        def write() -> None:
            if compared:
                with self.record.timed("compare"):
                    self._tell(own)
            self.record.save(force=True)
            with self.record.timed("output"):
                wanted = self.case.output.pictures
                drawn, notes = pictures.draw(self.folder, self.system.painters) if wanted else ([], [])
            self.record.summary["warnings"] += notes
            self.record.summary |= {"status": status, "reason": reason or None}
            report.write(self.folder, drawn, self.system.wording, self.record.summary)
            self.record.save(force=True)

        try:
            on_root(self.comm, write)
        except (OSError, MemoryError) as error:
            raise RunError(f"the result could not be written: {describe(error)}") from error
        self.record.summary = self.comm.bcast(figures.clean(self.record.summary), root=0)

    def _tell(self, own: figures.Record) -> None:
        """Statistics, rates, tables and the verdict of whatever has been computed. On rank 0."""
        found = Findings(self.system, self.case, self.ensembles, self.solution, self.known, own, self.cloud)
        self.record.summary |= {"verdict": found.verdict, "compare": found.compare}
        if found.solution_errors:
            self.record.summary["pde"]["error"] = found.solution_errors
        found.write(self.folder)
