"""One case carried out: solve the limit equation, simulate the particles, compare, write what is found.

Everything is on disk as soon as it is known, so a run that fails, is stopped or is killed leaves a readable result whose
summary.json says how far it came.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from tqdm import tqdm

from limitpde import case as cases
from limitpde import signed
from limitpde.compare import rates
from limitpde.compare.statistics import ResidualStatistics, mean_and_stderr
from limitpde.errors import Interrupted, LimitPDEError, RunError
from limitpde.fem.stepping import StepReport
from limitpde.nbody.threads import use_threads
from limitpde.parallel import StopRequest, on_root
from limitpde.results import figures, pictures, report
from limitpde.results.fields import FieldSeries
from limitpde.results.particles import ParticleSeries
from limitpde.results.tables import Table
from limitpde.results.versions import versions

OUTSIDE_WARNING = 1e-6
"""Share of the mass beyond 0.9 of the radius from which the boundary data of the plane are called into question."""


def run(
    case: str | Path | cases.Case,
    *,
    out: str | Path | None = None,
    overrides: Iterable[str] = (),
    quiet: bool = True,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> figures.Record:
    """Carry out a case. Collective.

    Args:
        case: the path of a case file, or a case.

    Keyword Args:
        out: folder of the result; the case's own by default.
        overrides: "section.key=value" for a case file.
        quiet: no progress bars.
        comm: the ranks to use.

    Returns:
        What summary.json holds; its `status` is "done", "failed" or "interrupted".

    Raises:
        InputError: the case is wrong; then nothing was run.
    """
    if isinstance(case, str | Path):
        path, changes = Path(case), list(overrides)
        name, case = path.stem, on_root(comm, lambda: cases.read(path, changes))
    else:
        name = case.system
    directory = Path(out or case.output.directory or Path("results") / name)
    return Experiment(case, directory, name=name, quiet=quiet, comm=comm).run()


class Experiment:
    """A case on its way to a result.

    Args:
        case: what to do.
        directory: where the result goes; of an earlier result there, the files are replaced.

    Keyword Args:
        name: title of the report.
        quiet: no progress bars.
        comm: the ranks to use.
    """

    def __init__(self, case: cases.Case, directory: Path, *, name: str, quiet: bool, comm: MPI.Comm) -> None:
        self.case, self.directory, self.comm, self.quiet = case, directory, comm, quiet
        self.functions = case.compare.test_functions if case.compare else ()
        self.stop = StopRequest()
        self.ensembles: list[signed.Ensemble] = []
        self.pde_residual: signed.residual.PDEResidual | None = None
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
            "warnings": [],
        }

    def run(self) -> figures.Record:
        """Solve, simulate, compare and write. Collective."""
        self._prepare()
        status, reason = "done", ""
        with self.stop:
            try:
                if self.case.pde is not None:
                    self._solve(self.case.pde)
                if self.case.particles is not None:
                    self._simulate(self.case.particles)
            except (RunError, Interrupted) as error:
                status = "interrupted" if isinstance(error, Interrupted) else "failed"
                reason = str(error)
        self._finish(status, reason)
        return self.summary

    # --- the three parts ----------------------------------------------------------------------------------------

    def _solve(self, options: cases.PDE) -> None:
        """Solve the limit equation, with fields at the output times and diagnostics at every step."""
        case = self.case
        with self._timed("pde"):
            solver = signed.Solver(
                case.model,
                case.initial,
                mesh=options.mesh,
                step=options.step,
                degree=options.degree,
                multipoles=options.multipoles,
                comm=self.comm,
            )
            record = _PDERecord(solver, self.directory, case.time.end)
            record.write_fields(0.0)
            self.pde_residual = signed.residual.PDEResidual(solver, self.functions)
            bar = self._bar("PDE", case.time.end, "{l_bar}{bar}| t = {n:.3g}/{total:.3g} [{elapsed}<{remaining}]")
            outputs = set(case.output_times)

            def observe(step: StepReport) -> None:
                record.add(step)
                if any(abs(step.t - t) <= 1e-9 * case.time.end for t in outputs):
                    record.write_fields(step.t)
                bar.update(step.dt)
                self._save(pde=record.figures())
                self.stop.check(self.comm)

            try:
                solver.solve(case.time.end, stops=case.output_times, observers=[self.pde_residual, observe])
            finally:
                bar.close()
                self.summary["pde"] = record.figures()
                self.summary["warnings"] += record.warnings()
        seconds = self.summary["wall_seconds"]["pde"]
        self.summary.setdefault("performance", {})["pde_dof_steps_per_second"] = record.steps * solver.dofs / seconds

    def _simulate(self, options: cases.Particles) -> None:
        """Simulate each particle number, with snapshots of the first replica."""
        self.summary["particles"] = []
        with self._timed("particles"):
            for count in options.counts:
                ensemble = self._simulate_count(options, count)
                self.ensembles.append(ensemble)
                self.summary["particles"].append(_particle_figures(self.case.model, ensemble))
                on_root(self.comm, lambda done=ensemble: self._write_observables(done))
                if not ensemble.complete:
                    finished = len(ensemble.replicas)
                    raise Interrupted(f"stopped on request: {finished} of {options.replicas} replicas of N = {count}")
                self.stop.check(self.comm)
                self._save(force=True)
        performance = self.summary.setdefault("performance", {})
        performance["pair_interactions_per_second"] = {str(e.count): e.pairs_per_second for e in self.ensembles}

    def _simulate_count(self, options: cases.Particles, count: int) -> signed.Ensemble:
        case = self.case
        series: list[ParticleSeries] = []

        def snapshot(t: float, positions: np.ndarray, signs: np.ndarray) -> None:
            if not series:
                folder = self._particle_folder(count)
                folder.mkdir(parents=True, exist_ok=True)
                series.append(ParticleSeries(folder / "particles.vtkhdf"))
            series[0].write(t, positions, sign=signs)

        steps = sum(n for _, n in signed.particles.time_grid(options.step, case.time.end, case.output_times))
        mine = len(range(self.comm.rank, options.replicas, self.comm.size))
        with self._bar(f"N = {count}", mine * steps, "{l_bar}{bar}| [{elapsed}<{remaining}]") as bar:
            return signed.simulate(
                case.model,
                case.initial,
                count=count,
                replicas=options.replicas,
                step=options.step,
                end=case.time.end,
                seed=case.seed,
                stops=case.output_times,
                test_functions=self.functions,
                kernel=options.kernel,
                eps=options.eps,
                cutoff=options.cutoff,
                snapshot=snapshot,
                progress=bar.update,
                stop_asked=lambda: self.stop.asked,
                comm=self.comm,
            )

    def _compare(self) -> None:
        """Statistics, rates and tables of whatever has been computed. On rank 0."""
        if not self.functions or (self.pde_residual is None and not self.ensembles):
            return
        compare: figures.Record = {}
        if self.ensembles:
            entries = [self._residual_entry(e, p) for e in self.ensembles for p in range(len(self.functions))]
            compare["residual"] = [entry for entry in entries if entry]
            compare["observables"] = [entry for e in self.ensembles for entry in self._observable_entries(e)]
            compare["rates"] = self._rates()
        if self.pde_residual is not None:
            compare["pde_residual"] = [
                {"test_function": p, "label": f.label, "residual": float(self.pde_residual.values[-1][p])}
                for p, f in enumerate(self.functions)
            ]
        self.summary["compare"] = compare
        self._write_residuals()
        columns = ["quantity", "test_function", "slope", "slope_low", "slope_high", "theory"]
        table = Table(self.directory / "compare" / "rates.csv", columns)
        for rate in compare.get("rates", []):
            values = (rate[key] for key in ("quantity", "test_function", "slope", "low", "high"))
            table.append(dict(zip(columns, (*values, rate.get("theory", "")), strict=True)))

    def _residual_entry(self, ensemble: signed.Ensemble, p: int) -> figures.Record | None:
        model = self.case.model
        statistics = ResidualStatistics.of(
            ensemble.residual[:, p, -1],
            theory_mean=(model.sigma**2 / 2 - model.D) * float(ensemble.laplacian[:, p].mean()),
            theory_variance=float(ensemble.quadratic_variation[:, p].mean()),
        )
        if statistics is None:
            return None
        names = {"N": ensemble.count, "test_function": p, "label": self.functions[p].label}
        return {**names, "replicas": len(ensemble.replicas), **asdict(statistics)}

    def _observable_entries(self, ensemble: signed.Ensemble) -> list[figures.Record]:
        mean, error = mean_and_stderr(ensemble.observables)
        entries = []
        for p in range(len(self.functions)):
            for k, t in enumerate(ensemble.times):
                entry = {"N": ensemble.count, "test_function": p, "t": float(t), "mean": float(mean[p, k])}
                entry["stderr"] = None if error is None else float(error[p, k])
                entry["pde"] = self._pde_observable(float(t), p)
                entries.append(entry)
        return entries

    def _pde_observable(self, t: float, p: int) -> float | None:
        if self.pde_residual is None:
            return None
        times = np.array(self.pde_residual.times)
        k = int(np.abs(times - t).argmin())
        return float(self.pde_residual.observables[k][p]) if abs(times[k] - t) <= 1e-9 * self.case.time.end else None

    def _rates(self) -> list[figures.Record]:
        """Powers of N of E|W| and of the root mean square of W, each with what Lemma 5.10 says of it."""
        model, found = self.case.model, []
        counts = [ensemble.count for ensemble in self.ensembles]
        if model.gamma_bar is None:
            theory = None
        else:
            theory = -0.5 if model.D == model.sigma**2 / 2 else 0.0
        for quantity, statistic in (("residual_mean_abs", rates.mean_abs), ("residual_rms", rates.rms)):
            for p in range(len(self.functions)):
                samples = [ensemble.residual[:, p, -1] for ensemble in self.ensembles]
                rate = rates.fit_rate(counts, samples, statistic, seed=self.case.seed)
                if rate is not None:
                    found.append({"quantity": quantity, "test_function": p, **asdict(rate), "theory": theory})
        return figures.clean(found)  # type: ignore[no-any-return]

    # --- files ----------------------------------------------------------------------------------------------------

    def _particle_folder(self, count: int) -> Path:
        return self.directory / "particles" / f"N{count}"

    def _prepare(self) -> None:
        """Make the folder, without an earlier result's files, and put the case into it. Collective."""

        def make() -> None:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                for pattern in ("pde/*", "particles/N*/*", "compare/*", "pictures/*.png", "summary.json", "report.md"):
                    for path in self.directory.glob(pattern):
                        if path.is_file():
                            path.unlink()
                figures.write_text(self.directory / "case.toml", cases.dump(self.case))
            except OSError as error:
                raise RunError(f"output.directory = {str(self.directory)!r}: {error.strerror}") from error

        on_root(self.comm, make)
        self._save(force=True)

    def _save(self, *, force: bool = False, **parts: Any) -> None:
        """Write the figures so far, at most once in `checkpoint_every` seconds. On rank 0."""
        now = time.monotonic()
        if self.comm.rank == 0 and (force or now - self._last_save > self.case.output.checkpoint_every):
            figures.write(self.directory / "summary.json", {**self.summary, **parts})
            self._last_save = now

    def _finish(self, status: str, reason: str) -> None:
        """Compare, draw, write the report and the final figures. Collective."""
        self.summary["status"] = status
        if reason:
            self.summary["reason"] = reason
        else:
            self.summary.pop("reason")

        def write() -> None:
            with self._timed("compare"):
                self._compare()
            self._save(force=True)
            with self._timed("output"):
                drawn = pictures.draw(self.directory)
            self._save(force=True)
            report.write(self.directory, drawn)

        on_root(self.comm, write)
        self.summary = self.comm.bcast(figures.clean(self.summary), root=0)

    def _write_observables(self, ensemble: signed.Ensemble) -> None:
        """particles/N<count>/observables.csv: means over the replicas at the output times."""
        series = {"second_moment": ensemble.second_moment}
        series |= {f"centre_{axis}": ensemble.centre[:, :, k] for k, axis in enumerate("xy")}
        series |= {f"test_function_{p}": ensemble.observables[:, p] for p in range(len(self.functions))}
        table = Table(self._particle_folder(ensemble.count) / "observables.csv")
        statistics = {name: mean_and_stderr(values) for name, values in series.items()}
        for k, t in enumerate(ensemble.times):
            row: dict[str, Any] = {"t": float(t)}
            for name, (mean, error) in statistics.items():
                row[f"{name}_mean"] = float(mean[k])
                if error is not None:
                    row[f"{name}_stderr"] = float(error[k])
            table.append(row)

    def _write_residuals(self) -> None:
        """compare/residuals.csv: W[t, phi] of each replica, and of the PDE at its steps."""
        columns = ["system", "N", "replica", "test_function", "t", "residual"]
        table = Table(self.directory / "compare" / "residuals.csv", columns)
        for e in self.ensembles:
            for i, replica in enumerate(e.replicas):
                names = ("particles", e.count, int(replica))
                table.extend(
                    dict(zip(columns, (*names, p, float(t), float(e.residual[i, p, k])), strict=True))
                    for p in range(len(self.functions))
                    for k, t in enumerate(e.times)
                )
        if self.pde_residual is not None:
            for t, values in zip(self.pde_residual.times, self.pde_residual.values, strict=True):
                table.extend(
                    dict(zip(columns, ("pde", "", "", p, t, float(value)), strict=True)) for p, value in enumerate(values)
                )

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.summary["wall_seconds"][part] = time.perf_counter() - began

    def _bar(self, name: str, total: float, layout: str) -> Any:
        """A progress bar on rank 0, shown after two seconds; lines every 10 s where there is no terminal."""
        return tqdm(
            total=total,
            desc=name,
            bar_format=layout,
            delay=2.0,
            mininterval=0.2 if sys.stderr.isatty() else 10.0,
            disable=self.quiet or self.comm.rank > 0,
            file=sys.stderr,
        )


class _PDERecord:
    """What is kept of the solution of the PDE: fields, diagnostics, and the figures of the summary. Collective."""

    def __init__(self, solver: signed.Solver, directory: Path, end: float) -> None:
        self._solver, self._directory, self._end = solver, directory, end
        self.steps, self._refused, self._smallest_step, self._reasons = 0, 0, float("inf"), []
        self._first = self._last = solver.figures()
        self._minimum, self._largest_increase = self._first["minimum"], -float("inf")
        self._drift = dict.fromkeys(self._masses(self._first), 0.0)
        self._outside = self._first["mass_outside"]
        on_root(solver.graph.comm, self._make_folder)
        self._fields = FieldSeries(directory / "pde" / "fields.vtkhdf", solver.graph.mesh)
        self._table = Table(directory / "pde" / "diagnostics.csv") if solver.graph.comm.rank == 0 else None
        self._append({"t": 0.0, "dt": 0.0, "order": 0, **self._first})

    def _make_folder(self) -> None:
        (self._directory / "pde").mkdir(parents=True, exist_ok=True)

    @staticmethod
    def _masses(values: dict[str, float]) -> dict[str, float]:
        return {k.removeprefix("mass_"): v for k, v in values.items() if k.startswith("mass_") and k != "mass_outside"}

    def _append(self, row: dict[str, Any]) -> None:
        extra = ("free_energy_increase", "refused", "iterations_predictor", "iterations_transport")
        if self._table is not None:
            self._table.append({**dict.fromkeys(extra, 0.0), **row})

    def add(self, step: StepReport) -> None:
        """Take in one step."""
        self.steps += 1
        self._refused += len(step.refused)
        self._reasons += [f"t = {step.t:.6g}: {reason}" for reason in step.refused]
        self._smallest_step = min(self._smallest_step, step.dt)
        self._last = step.figures
        self._minimum = min(self._minimum, step.figures["minimum"])
        self._largest_increase = max(self._largest_increase, step.figures["free_energy_increase"])
        self._outside = max(self._outside, step.figures["mass_outside"])
        for name, mass in self._masses(step.figures).items():
            start = self._first[f"mass_{name}"]
            self._drift[name] = max(self._drift[name], abs(mass / start - 1))
        self._append({"t": step.t, "dt": step.dt, "order": step.order, **step.figures})

    def write_fields(self, t: float) -> None:
        """Add the present fields to the file for ParaView."""
        self._fields.write(t, self._solver.fields())

    def warnings(self) -> list[str]:
        """What a user must know before trusting the figures."""
        found = []
        share = self._outside / sum(self._masses(self._first).values())
        if share > OUTSIDE_WARNING:
            found.append(
                f"{share:.1e} of the mass came beyond 0.9 of the radius of the mesh: there the solution is that of a wall, "
                "not of the plane; take a larger radius"
            )
        if self._refused:
            found.append(f"the gate repeated {self._refused} steps; the first: {self._reasons[0]}")
        return found

    def figures(self) -> figures.Record:
        """The part of summary.json."""
        first, last, model = self._first, self._last, self._solver.model
        mass = {
            name: {"start": start, "end": self._masses(last)[name], "max_relative_drift": self._drift[name]}
            for name, start in self._masses(first).items()
        }
        total = sum(self._masses(first).values())
        net = sum(b * m for b, m in zip(self._solver.charges, self._solver.mass, strict=True))
        return {
            "dofs": self._solver.dofs,
            "steps": self.steps,
            "mass": mass,
            "minimum": self._minimum,
            "second_moment": {
                "start": first["second_moment"],
                "end": last["second_moment"],
                "rate_theory": 4 * model.D * total + float(model.gamma_bar or 0.0) * net**2,
            },
            "centre": {key: [values["centre_x"], values["centre_y"]] for key, values in (("start", first), ("end", last))},
            "free_energy": {
                "start": first["free_energy"],
                "end": last["free_energy"],
                "largest_increase": self._largest_increase,
            },
            "gate": {"refused": self._refused, "smallest_step": self._smallest_step, "reasons": self._reasons[:20]},
            "mass_outside": self._outside,
        }


def _particle_figures(model: signed.Model, ensemble: signed.Ensemble) -> figures.Record:
    """One entry of the list `particles` of summary.json."""
    mean, error = mean_and_stderr(ensemble.second_moment)
    moment = {
        name: {"mean": float(mean[k]), "stderr": None if error is None else float(error[k])}
        for name, k in (("start", 0), ("end", -1))
    }
    return {
        "N": ensemble.count,
        "replicas": len(ensemble.replicas),
        "steps": ensemble.steps,
        "second_moment": moment,
        "regime": model.regime(ensemble.count),
    }


def keep_failure(directory: Path, error: BaseException) -> None:
    """Say in the summary of a run that died why it died; for an error that not all ranks know of."""
    path = directory / "summary.json"
    if path.exists():
        status = "failed" if not isinstance(error, KeyboardInterrupt) else "interrupted"
        reason = str(error) if isinstance(error, LimitPDEError) else f"{type(error).__name__}: {error}"
        figures.write(path, {**figures.read(path), "status": status, "reason": reason})
