"""One case carried out: solve the limit equation, simulate the particles, compare, write what is found.

Everything is on disk as soon as it is known, so a run that fails, is stopped or is killed leaves a readable result,
whose summary.json says how far it came.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from tqdm import tqdm

from limitpde import case as cases
from limitpde.compare.comparison import Comparison, rate_row
from limitpde.compare.statistics import mean_and_stderr
from limitpde.errors import InputError, Interrupted, LimitPDEError, RunError
from limitpde.fem.stepping import StepReport
from limitpde.nbody.threads import use_threads
from limitpde.parallel import StopRequest, on_root
from limitpde.quick import smaller
from limitpde.results import figures, folder, pictures, report
from limitpde.results.checkpoint import Arrays, Checkpoint
from limitpde.results.fields import FieldSeries
from limitpde.results.particles import ParticleSeries
from limitpde.results.tables import Table
from limitpde.results.versions import versions
from limitpde.sections import output_times


def run(
    case: str | Path | cases.Case,
    *,
    out: str | Path | None = None,
    overrides: Iterable[str] = (),
    resume: bool = False,
    quick: bool = False,
    quiet: bool = True,
    name: str | None = None,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> figures.Record:
    """Carry out a case. Collective.

    Args:
        case: the path of a case file, or a case.

    Keyword Args:
        out: folder of the result; the case's own by default, with "_quick" behind its name for a quick run.
        overrides: "section.key=value" for a case file.
        resume: go on from what an earlier run of the same case has left in the folder, if there is one.
        quick: a smaller run of the same case (`limitpde.quick`).
        quiet: no progress bars.
        name: title of the report; that of the case file, or of the system, by default.
        comm: the ranks to use.

    Returns:
        What summary.json holds; its `status` is "done", "failed" or "interrupted".

    Raises:
        InputError: the case is wrong; then nothing was run.
    """
    if isinstance(case, str | Path):
        path, changes = Path(case), list(overrides)
        name, case = name or path.stem, on_root(comm, lambda: cases.read(path, changes))
    name = name or case.system
    directory = directory_of(case, name, out, quick=quick)
    case = smaller(case) if quick else case
    return Experiment(case, directory, name=name, resume=resume, quiet=quiet, comm=comm).run()


def directory_of(case: cases.Case, name: str, out: str | Path | None, *, quick: bool) -> Path:
    """The folder of the result of a case with this name, unless `out` says another."""
    directory = Path(case.output.directory or Path("results") / name)
    return Path(out) if out else directory.with_name(f"{directory.name}_quick") if quick else directory


class Experiment:
    """A case on its way to a result.

    Args:
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
        case: cases.Case,
        directory: Path,
        *,
        name: str,
        resume: bool = False,
        quiet: bool = True,
        comm: MPI.Comm = MPI.COMM_WORLD,
    ) -> None:
        self.case, self.directory, self.comm, self.quiet, self.resume = case, directory, comm, quiet, resume
        self.checkpoint = Checkpoint(directory)
        self.system = cases.SYSTEMS[case.system]
        self.output_times = output_times(case.time, case.output)
        self.functions = case.compare.test_functions if case.compare else ()
        self.stop = StopRequest()
        self.ensembles: list[Any] = []
        self.solution: Any = None
        self._last_save = 0.0
        self.summary: figures.Record = {
            "system": case.system,
            "title": name,
            "status": "interrupted",
            "reason": "the run has not come to its end: it is still going on, or it was killed",
            "versions": versions(),
            "ranks": comm.size,
            "threads": use_threads(comm),
            "wall_seconds": {},
            "performance": {},
            "warnings": [],
        }

    def run(self) -> figures.Record:
        """Solve, simulate, compare and write. Collective."""
        self._prepare()
        status, reason = "done", ""
        try:
            with self.stop:
                try:
                    if self.case.pde is not None:
                        self._solve()
                    if self.case.particles is not None:
                        self._simulate(self.case.particles.counts)
                except Interrupted as error:
                    status, reason = "interrupted", str(error)
                except (RunError, ArithmeticError, OSError) as error:
                    status, reason = "failed", describe(error)
                self._finish(status, reason)
        except Exception as error:
            self._keep_failure(error)
            raise
        return self.summary

    # --- the limit equation -----------------------------------------------------------------------------------------

    def _solve(self) -> None:
        """Solve the limit equation, with fields at the output times and diagnostics at every step."""
        case, end = self.case, self.case.time.end
        with self._timed("pde"):
            solver = self.system.solver(case.model, case.initial, comm=self.comm, **case.solver_options())
            steps = self.system.PDESummary(solver, case)
            self.solution = self.system.PDEResidual(solver, self.functions)
            table = Table(self.directory / "pde" / "diagnostics.csv", ("t", "dt", "order", *steps.columns))
            resumed = self._restore(solver, steps, table)
            write_fields = self._output_writer(solver, resumed=resumed)
            bar = self._bar("PDE", end, "{l_bar}{bar}| t = {n:.3g}/{total:.3g} [{elapsed}<{remaining}]")
            _advance(bar, solver.t)

            def record(step: StepReport) -> None:
                table.append({"t": step.t, "dt": step.dt, "order": step.order, **step.figures})
                self._save(pde=steps.figures())

            if not resumed:
                write_fields(0.0)
                on_root(self.comm, lambda: record(StepReport(t=0.0, dt=0.0, order=0, figures=steps.start_row())))
            outputs = deque([*(t for t in self.output_times if t > solver.t * (1 + 1e-9)), math.inf])
            saved, work = time.monotonic(), 0

            def observe(step: StepReport) -> None:
                nonlocal saved, work
                steps.add(step)
                work += solver.dofs
                if math.isclose(step.t, outputs[0], rel_tol=1e-9):
                    write_fields(outputs.popleft())  # at the very times of the particles' snapshots
                on_root(self.comm, lambda: record(step))
                _advance(bar, step.dt)
                self.stop.check(self.comm)
                if self.comm.bcast(time.monotonic() - saved > case.output.checkpoint_every):
                    self._keep_solution(solver, steps)
                    saved = time.monotonic()

            began = time.perf_counter()
            try:
                solver.solve(end, stops=self.output_times, observers=[self.solution, observe])
                self._keep_solution(solver, steps)
            except (Interrupted, RunError) as error:  # raised on every rank
                self._keep_solution(solver, steps)
                if isinstance(error, RunError):
                    write_fields(solver.t)  # the last state, where the trouble can be seen
                raise
            finally:
                bar.close()
                if work:
                    self.summary["performance"]["pde_dof_steps_per_second"] = work / (time.perf_counter() - began)
                self.summary["pde"] = steps.figures()
                self.summary["warnings"] += [*steps.warnings(), *self.solution.warnings]

    def _keep_solution(self, solver: Any, steps: Any) -> None:
        """Put the state of the solver, and of what observes it, into the checkpoint. Collective."""
        state = {f"solver_{name}": array for name, array in solver.state().items()}
        state |= {f"residual_{name}": array for name, array in self.solution.state().items()}
        state["steps"] = np.array(json.dumps(steps.state()))
        on_root(self.comm, lambda: self.checkpoint.save_solution(state))

    def _restore(self, solver: Any, steps: Any, table: Table) -> bool:
        """Go on from the checkpoint, if there is one and the run may. Collective."""

        def read() -> Arrays | None:
            return self.checkpoint.solution() if self.resume else None

        state = on_root(self.comm, read)
        if state is None:
            return False
        solver.restore({name.removeprefix("solver_"): state[name] for name in state if name.startswith("solver_")})
        self.solution.restore(
            {name.removeprefix("residual_"): state[name] for name in state if name.startswith("residual_")}
        )
        steps.restore(json.loads(str(state["steps"])))
        on_root(self.comm, lambda: table.keep_until(solver.t))
        return True

    def _output_writer(self, solver: Any, *, resumed: bool) -> Callable[[float], None]:
        """What writes the outputs of the solver at a time, each into its file below pde/. Both are collective."""
        series = {
            stem: FieldSeries(self.directory / "pde" / f"{stem}.vtkhdf", mesh, mode="a" if resumed else "w")
            for stem, (mesh, _) in solver.outputs().items()
        }
        if resumed:
            for file in series.values():
                file.truncate(solver.t)

        last = {stem: float(file.times.max(initial=-1.0)) for stem, file in series.items()}

        def write(t: float) -> None:
            for stem, (_, functions) in solver.outputs().items():
                if t > last[stem] * (1 + 1e-12):  # else that step is there already
                    series[stem].write(t, functions)
                    last[stem] = t

        return write

    # --- the particles ----------------------------------------------------------------------------------------------

    def _simulate(self, counts: Sequence[int]) -> None:
        """Simulate each particle number, with snapshots of the first replica."""
        rates: dict[str, float] = {}
        self.summary["particles"] = []
        self.summary["performance"][f"{self.system.WORK_UNIT}_per_second"] = rates
        with self._timed("particles"):
            for count in counts:
                ensemble = self._simulate_count(count)
                self.ensembles.append(ensemble)
                self.summary["particles"].append(self.system.particle_summary(self.case.model, ensemble))
                self.summary["warnings"] += self.system.particle_warnings(self.case, ensemble)
                rates[str(count)] = ensemble.work_per_second
                on_root(self.comm, partial(self._write_observables, ensemble))
                if not ensemble.complete:
                    finished = f"{len(ensemble.replicas)} replicas of N = {count} are finished"
                    raise Interrupted(f"stopped on request (Ctrl-C or SIGTERM): {finished}, not all")
                self.stop.check(self.comm)
                on_root(self.comm, partial(self._save, force=True))

    def _simulate_count(self, count: int) -> Any:
        case = self.case
        series: list[ParticleSeries] = []

        def snapshot(t: float, positions: np.ndarray, **data: np.ndarray) -> None:
            if not series:
                self._particle_folder(count).mkdir(parents=True, exist_ok=True)
                series.append(ParticleSeries(self._particle_folder(count) / "particles.vtkhdf"))
            series[0].write(t, positions, **data)

        with self._bar(f"N = {count}", 1.0, "{l_bar}{bar}| [{elapsed}<{remaining}]") as bar:
            return self.system.simulate(
                case.model,
                case.initial,
                count=count,
                end=case.time.end,
                seed=case.seed,
                stops=self.output_times,
                test_functions=self.functions,
                snapshot=snapshot,
                finished=on_root(self.comm, lambda: self.checkpoint.replicas(count) if self.resume else []),
                keep=partial(self.checkpoint.save_replicas, count),
                progress=partial(_advance, bar),
                stop_asked=lambda: self.stop.asked,
                comm=self.comm,
                **case.particle_options(),
            )

    def _particle_folder(self, count: int) -> Path:
        return self.directory / "particles" / f"N{count}"

    def _write_observables(self, ensemble: Any) -> None:
        """particles/N<count>/observables.csv: means over the replicas at the output times. On rank 0."""
        series = dict(self.system.observable_series(ensemble))
        series |= {f"test_function_{p}": ensemble.observables[:, p] for p in range(len(self.functions))}
        columns = {"t": ensemble.times}
        for name, values in series.items():
            mean, error = mean_and_stderr(values)
            columns |= {f"{name}_mean": mean} if error is None else {f"{name}_mean": mean, f"{name}_stderr": error}
        table = Table(self._particle_folder(ensemble.count) / "observables.csv", list(columns))
        table.extend(dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True))

    # --- the comparison, and the files ------------------------------------------------------------------------------

    def _compare(self, own: figures.Record) -> None:
        """Statistics, rates and tables of whatever has been computed, with what the system compares. On rank 0."""
        theory = self.case.model.residual_rate
        comparison = Comparison(self.functions, self.ensembles, self.solution, rate_theory=theory, seed=self.case.seed)
        rates = [*comparison.rates(), *own.pop("rates", [])]
        self.summary["compare"] = comparison.figures() | ({"rates": rates} if self.ensembles else {}) | own
        columns = ("system", "N", "replica", "test_function", "t", "residual")
        Table(self.directory / "compare" / "residuals.csv", columns).extend(comparison.residual_rows())
        columns = ("quantity", "test_function", "slope", "slope_low", "slope_high", "theory")
        Table(self.directory / "compare" / "rates.csv", columns).extend(map(rate_row, rates))

    def _prepare(self) -> None:
        """Make the folder ready, and learn what an earlier run has spent where this one goes on from it. Collective."""
        sections = {"pde": self.case.pde, "particles": self.case.particles, "compare": self.case.compare}
        parts = [*(name for name, section in sections.items() if section is not None), "pictures"]
        text = cases.dump(self.case)

        def make() -> figures.Record:
            earlier = folder.prepare(self.directory, text, parts, resume=self.resume)
            self.summary["wall_seconds"] = dict(earlier.get("wall_seconds", {}))
            self._save(force=True)
            return earlier

        self.resume = bool(on_root(self.comm, make))

    def _save(self, *, force: bool = False, **parts: Any) -> None:
        """Write the figures so far, at most once in `checkpoint_every` seconds. On rank 0."""
        now = time.monotonic()
        if self.comm.rank == 0 and (force or now - self._last_save > self.case.output.checkpoint_every):
            figures.write(self.directory / "summary.json", {**self.summary, **parts})
            self._last_save = now

    def _finish(self, status: str, reason: str) -> None:
        """Compare, draw, write the report, and last the final figures. Collective."""
        compared = bool(self.functions) and (self.solution is not None or bool(self.ensembles))
        own: figures.Record = {}
        if compared:
            with self._timed("compare"):  # collective: the solution is spread over all ranks
                own = self.system.comparison_figures(self.case, self.ensembles, self.solution, self.comm)

        def write() -> None:
            if compared:
                with self._timed("compare"):
                    self._compare(own)
            self._save(force=True)
            with self._timed("output"):
                drawn = pictures.draw(self.directory, self.system.PAINTERS)
            self.summary |= {"status": status, "reason": reason or None}
            report.write(self.directory, drawn, self.system, self.summary)
            self._save(force=True)

        try:
            on_root(self.comm, write)
        except OSError as error:
            raise RunError(f"the result could not be written: {describe(error)}") from error
        self.summary = self.comm.bcast(figures.clean(self.summary), root=0)

    def _keep_failure(self, error: Exception) -> None:
        """Say in the summary why the run died, for an error that perhaps only this rank knows of."""
        path = self.directory / "summary.json"
        with suppress(OSError, InputError):
            figures.write(path, {**figures.read(path), "status": "failed", "reason": describe(error)})

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began, earlier = time.perf_counter(), self.summary["wall_seconds"].get(part, 0.0)
        try:
            yield
        finally:
            self.summary["wall_seconds"][part] = earlier + time.perf_counter() - began

    def _bar(self, name: str, total: float, layout: str) -> Any:
        """A progress bar on rank 0, shown after two seconds; a line every 10 s where there is no terminal."""
        return tqdm(
            total=total,
            desc=name,
            bar_format=layout,
            delay=2.0,
            mininterval=0.2 if sys.stderr.isatty() else 10.0,
            disable=self.quiet or self.comm.rank > 0,
            file=sys.stderr,
        )


def _advance(bar: Any, amount: float) -> None:
    """Move a progress bar, not beyond its end: parts of a whole may add up to a little more."""
    bar.update(min(amount, bar.total - bar.n))


def describe(error: Exception) -> str:
    """The message of an error, with its kind where the message alone may not say enough."""
    return str(error) if isinstance(error, LimitPDEError) else f"{type(error).__name__}: {error}"
