"""Many runs of one case in one process: sweeps over any keys, and refinements until a verdict is reached.

The runs are spread over the ranks, each run on one of them where there are as many runs as ranks and memory for them,
else on several; a result does not depend on that. Each run is a result in a folder of its own. A study goes on after a
kill: what is finished is kept, the runs that were under way go on from their checkpoints.

Ranks take runs from a list, by files below claims/ that only one of them can make; so none waits while there are runs
left, and none has to answer for the list.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mpi4py import MPI
from tqdm import tqdm

from limitpde import case as cases
from limitpde import needs
from limitpde.errors import InputError, LimitPDEError, describe
from limitpde.experiment import run as run_case
from limitpde.nbody.threads import dividing
from limitpde.parallel import StopRequest, on_root, wait_for_all
from limitpde.refining import Values, refinements
from limitpde.result import Result
from limitpde.results import figures
from limitpde.results import study as tables
from limitpde.results.folder import Folder
from limitpde.results.inputs import Inputs
from limitpde.results.versions import versions
from limitpde.study_needs import check_each, estimated, together
from limitpde.study_plan import StudyPlan, StudyRun
from limitpde.system import system_of

MOST_REFINED = 6
"""Refinements of one combination of values."""
CLAIMS = "claims"
UNDER_WAY = "the study has not come to its end: it is still going on, or it was killed"
ENDED = ("done", "failed")


def study(
    case: cases.CaseLike,
    *,
    over: Mapping[str, Sequence[Any]] | None = None,
    zip: bool | None = None,  # noqa: A002 - as the command has it
    precision: float | None = None,
    budget: float | None = None,
    out: str | Path | None = None,
    overrides: cases.Overrides = (),
    resume: bool = False,
    quiet: bool = True,
    name: str | None = None,
    limit_hours: float = needs.HOURS,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> Result:
    """Carry out a case with many values of its keys. Collective.

    What is not given is taken from [study] of the case. A run that fails is a row of the table, and does not end the
    study.

    Args:
        case: the path of a case file, a dictionary like one, or a case.

    Keyword Args:
        over: key of the case, such as "model.sigma" -> its values.
        zip: the first values of all keys go together, and so on, instead of all combinations.
        precision: stands for compare.precision; undecided runs are refined where their error budget is largest.
        budget: seconds within which runs may begin; undecided runs are refined while there is time.
        out: folder of the study; that of the case with "_study" behind its name by default.
        overrides: lines "section.key=value", or a dictionary {"section.key": value}.
        resume: go on from what an earlier call with the same case and values has left in the folder.
        quiet: nothing is said on the terminal.
        name: title of the report; that of the case file, or of the system, by default.
        limit_hours: hours that a run may take by the estimate.
        comm: the ranks to use.

    Returns:
        The result of the study: its `table` has a row for each run, its `runs` are their results. `status` is "done",
        "failed" where some run failed, or "interrupted".

    Raises:
        InputError: the case or a value is wrong; then nothing was run.
    """
    given = {"over": _listed(over), "zip": zip, "precision": precision, "budget": budget}
    given = {key: value for key, value in given.items() if value is not None}
    plan = on_root(comm, lambda: StudyPlan.of(case, overrides, given))
    title = name or (Path(case).stem if isinstance(case, str | Path) else plan.case.system)
    folder = cases.directory_of(plan.case, title, None, quick=False)
    directory = Path(out) if out else cases.beside(folder, "_study")
    on_root(comm, lambda: check_each([one.case for one in plan.runs], directory, hours=limit_hours))
    return Sweep(plan, directory, title, resume=resume, quiet=quiet, limit_hours=limit_hours, comm=comm).run()


def _listed(over: Mapping[str, Sequence[Any]] | None) -> Mapping[str, Any] | None:
    """The values of each key as a list, those of an array too.

    Raises:
        InputError: they are none.
    """
    if over is not None and not isinstance(over, Mapping):
        raise InputError(f"over = {over!r}: must be a dictionary, such as {{'model.sigma': [0.5, 1.0]}}")
    for key, values in (over or {}).items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise InputError(f"over: {key} = {values!r}: must be a list of values")
    return over and {key: getattr(values, "tolist", lambda same=values: same)() for key, values in over.items()}


class Sweep:
    """A study on its way.

    Args:
        plan: what is to run.
        directory: where the result goes.
        title: of the report.

    Keyword Args:
        resume: go on from what is there.
        quiet: nothing is said on the terminal.
        limit_hours: of one run.
        comm: the ranks.
    """

    def __init__(
        self,
        plan: StudyPlan,
        directory: Path,
        title: str,
        *,
        resume: bool,
        quiet: bool,
        limit_hours: float,
        comm: MPI.Comm,
    ) -> None:
        self._plan, self._directory, self._comm = plan, directory, comm
        self._quiet, self._hours, self._title = quiet, limit_hours, title
        self._folder, self._resume = Folder(directory), resume
        self._began = time.monotonic()
        self._stop = StopRequest()
        self._runs = {one.name: one for one in plan.runs}
        self._entries: dict[str, figures.Record] = {}
        self._notes: dict[str, str] = {}
        self._pace = 1.0  # seconds of the last run of this rank for each second of its estimate
        self._earlier: dict[str, Values] = {}

    def run(self) -> Result:
        """Carry out all runs and write what the study leaves, in a folder that is this study's alone. Collective."""
        on_root(self._comm, self._folder.claim)
        try:
            on_root(self._comm, self._begin)
            self._resume = self._comm.bcast(self._resume)
            self._began = time.monotonic()
            with self._stop, dividing(self._comm):
                waiting = list(self._plan.runs)
                while waiting:
                    self._carry_out(waiting)
                    waiting = on_root(self._comm, self._refined)
                    self._runs |= {one.name: one for one in waiting}
                    on_root(self._comm, lambda: self._save("interrupted", UNDER_WAY))
            summary = on_root(self._comm, self._finish)
        finally:
            if self._comm.rank == 0:
                self._folder.lock.free()
        return Result(self._directory, summary=summary)

    # --- what rank 0 writes -----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Make the folder ready, or find what an earlier call has left there."""
        inputs = Inputs(cases.files_of(self._plan.case))
        text = cases.dump(self._plan.case, inputs.names)
        self._resume, _ = self._folder.check(text, resume=self._resume)
        if self._resume:
            path = self._directory / "summary.json"
            inputs.check(figures.earlier(path)[0])
            self._earlier = {entry["run"]: entry["values"] for entry in figures.read(path).get("runs", [])}
        self._folder.begin(text, resume=self._resume)
        inputs.keep(self._folder)
        self._head = {
            "system": self._plan.case.system,
            "title": self._title,
            "versions": versions(),
            "ranks": self._comm.size,
            "case_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "inputs": inputs.record() or None,
        }
        for one in self._plan.runs:
            self._folder.own(f"{one.name}/*")
        self._folder.own(f"{CLAIMS}/*")
        self._save("interrupted", UNDER_WAY)

    def _save(self, status: str, reason: str) -> figures.Record:
        """Write summary.json."""
        keys = list(dict.fromkeys(key for one in self._runs.values() for key in one.values))
        runs = []
        for one in sorted(self._runs.values(), key=lambda one: (one.point, len(one.name), one.name)):
            values = {key: cases.value_at(one.case, key) for key in keys}
            left = {"status": "not run", "reason": "the study ended before it began"}
            entry = {"run": one.name, "values": values} | self._entries.get(one.name, left)
            runs.append(entry | ({"note": self._notes[one.name]} if one.name in self._notes else {}))
        seconds = sum(entry.get("figures", {}).get("seconds", 0.0) for entry in self._entries.values())
        ended = {"status": status, "reason": reason or None, "wall_seconds": {"runs": seconds}, "runs": runs}
        summary: figures.Record = figures.clean(self._head | ended)
        figures.write(self._folder.own("summary.json"), summary)
        return summary

    def _finish(self) -> figures.Record:
        """The end of the study: table, picture and report."""
        states = [self._entries[name]["status"] if name in self._entries else "not run" for name in self._runs]
        status, reason = "done", ""
        if "interrupted" in states or self._stop.asked:
            status, reason = "interrupted", "stopped on request (Ctrl-C or SIGTERM); --resume goes on"
        elif "failed" in states:
            status, reason = "failed", f"{states.count('failed')} of {len(states)} runs failed"
        summary = self._save(status, reason)
        tables.write(self._folder, summary)
        return summary

    # --- the runs ---------------------------------------------------------------------------------------------------

    def _carry_out(self, runs: Sequence[StudyRun]) -> None:
        """Have the ranks take these runs from the list until there are none left. Collective."""
        comm, machine = self._comm, needs.Machine.of(self._comm)
        groups = min(comm.size, len(runs), on_root(comm, lambda: together(runs, machine)))
        on_root(comm, self._clear_claims)
        group = comm.Split(comm.rank * groups // comm.size, comm.rank)
        mine: dict[str, figures.Record] = {}
        try:
            for one in runs:
                if group.bcast(self._claim(one) if group.rank == 0 else None):
                    mine[one.name] = self._run_one(one, group)
                    if group.rank == 0 and not self._quiet:
                        self._tell(one, mine[one.name])
                    if comm.rank == 0:
                        self._entries |= mine
                        tables.write_table(self._folder, self._save("interrupted", UNDER_WAY))
                if group.allreduce(self._stop.asked, op=MPI.LOR):
                    break
        finally:
            group.Free()
        wait_for_all(comm)
        for part in comm.allgather(mine):
            self._entries |= part
        on_root(comm, self._clear_claims)

    def _clear_claims(self) -> None:
        claims = self._directory / CLAIMS
        for path in claims.glob("*"):
            path.unlink()
        if claims.is_dir():
            claims.rmdir()

    def _claim(self, one: StudyRun) -> bool:
        """Whether this rank is the one that has got a run."""
        path = self._directory / CLAIMS / one.name
        path.parent.mkdir(exist_ok=True)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def _run_one(self, one: StudyRun, group: MPI.Comm) -> figures.Record:
        """One run, unless it is finished already or there is no time for it. Collective over its ranks."""
        path = self._directory / one.name
        kept = on_root(group, lambda: _kept(path) if self._resume else None)
        if kept is None:
            expected = on_root(group, lambda: estimated(one.case))
            short = on_root(group, lambda: self._lacks_time(one.seconds or self._pace * (expected or 0.0)))
            if short:
                return {"status": "not run", "reason": short}
            began = time.monotonic()
            try:
                kept = run_case(
                    one.case,
                    out=path,
                    resume=self._resume,
                    name=f"{self._title} {one.name}",
                    check=False,
                    limit_hours=self._hours,
                    comm=group,
                ).summary
            except Exception as error:
                if not isinstance(error, LimitPDEError) and group.size > 1:  # the others of the group know nothing
                    raise
                if not isinstance(error, LimitPDEError):
                    tqdm.write(traceback.format_exc(), file=sys.stderr)
                return {"status": "failed", "reason": describe(error)}
            if expected:
                self._pace = (time.monotonic() - began) / expected
        entry = {"status": kept["status"], "figures": tables.figures_of(kept)}
        return entry | ({"reason": kept["reason"]} if "reason" in kept else {})

    def _tell(self, one: StudyRun, entry: figures.Record) -> None:
        values = ", ".join(f"{key} = {tables.cell(value)}" for key, value in one.values.items())
        found = entry.get("figures", {})
        said = found.get("verdict.status", entry["status"]) if entry["status"] == "done" else entry["status"]
        seconds = f", {found['seconds']:.1f} s" if "seconds" in found else ""
        tqdm.write(f"{one.name}: {values or 'the case'}: {said}{seconds}", file=sys.stderr)

    # --- time, and refinement ---------------------------------------------------------------------------------------

    @property
    def _left(self) -> float:
        """Seconds of the budget that are left."""
        budget = self._plan.asked.budget
        return math.inf if budget is None else budget - (time.monotonic() - self._began)

    def _lacks_time(self, seconds: float) -> str:
        """Why a run that takes so long is not begun, if there is no time for it."""
        left = self._left
        if left > seconds:
            return ""
        return f"would take about {needs.in_time(seconds)}; {max(left, 0.0):.0f} s of the budget are left"

    def _refined(self) -> list[StudyRun]:
        """The next run of each point that is undecided, those first whose budget is largest. On rank 0."""
        asked = self._plan.asked
        if (asked.precision is None and asked.budget is None) or self._stop.asked:
            return []
        last: dict[str, StudyRun] = {}
        for one in self._runs.values():
            if self._entries.get(one.name, {}).get("status") == "done":
                last[one.point] = one
        found = [(one, made) for one in last.values() if (made := self._next(one)) is not None]
        found.sort(key=lambda pair: -self._entries[pair[0].name]["figures"].get("verdict.detectable", math.inf))
        for _, made in found:
            self._folder.own(f"{made.name}/*")
        return [made for _, made in found]

    def _next(self, one: StudyRun) -> StudyRun | None:
        """The run after one that is undecided; None, with a note where that is not said elsewhere, if there is none."""
        tried = sum(other.point == one.point for other in self._runs.values())
        summary = figures.read(self._directory / one.name / "summary.json")
        if summary.get("verdict", {}).get("status") != "undecided":
            return None
        name = f"{one.point}-{tried + 1}"
        if name in self._earlier:
            return self._plan.made(name, self._earlier[name])
        options = refinements(one.case, summary, system_of(one.case).orders(one.case))
        if not options:
            self._notes[one.name] = "undecided, and no key is known that would decide it: see its report"
        elif tried > MOST_REFINED:
            self._notes[one.name] = f"undecided after {MOST_REFINED} refinements"
        else:
            return self._affordable(one, name, options, summary["wall_seconds"])
        return None

    def _affordable(
        self, one: StudyRun, name: str, options: Sequence[Values], spent: Mapping[str, float]
    ) -> StudyRun | None:
        """The first of the refinements for which there is time and room."""
        why = ""
        for values in options:
            try:
                made = self._plan.made(name, one.values | values)
                check_each([made.case], self._directory, hours=self._hours)
            except InputError as error:
                why = str(error)
                continue
            before, after = estimated(one.case), estimated(made.case)
            growth = after / before if before and after else 4.0
            fixed = spent.get("output", 0.0)
            seconds = fixed + growth * (sum(spent.values()) - fixed)
            why = self._lacks_time(seconds)
            if not why:
                return replace(made, seconds=seconds)
        told = ", ".join(f"{key} = {tables.cell(value)}" for key, value in options[-1].items())
        self._notes[one.name] = f"undecided; the next refinement ({told}) {why}"
        return None


def _kept(path: Path) -> figures.Record | None:
    """The figures of a run that has come to its end."""
    try:
        found = figures.read(path / "summary.json")
    except InputError:
        return None
    return found if found.get("status") in ENDED else None
