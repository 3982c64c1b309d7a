"""What a run will need: memory, disk and time, from formulas of its case; and whether this machine has it.

Nothing is computed and nothing heavy is loaded for it. Each system says what its cases need in a module that its record
of cases names (`sections.BaseCase.NEEDS`). Bytes are right within a factor of two, seconds within about three, on a
machine that does nothing else; a run on which the equation changes its own step or its mesh may need more.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mpi4py import MPI

from limitpde import speed
from limitpde.checked import short
from limitpde.errors import InputError
from limitpde.results.folder import LIST
from limitpde.sections import BaseCase, load

HOURS = 24.0 * 365
"""Hours that a run may take by default."""
PROCESS = 3.6e8
"""Bytes of a rank that has nothing to do: its libraries, and what draws."""
FIXED_DISK, DRAWN = 9e5, 7e5
"""Bytes of what each result has: pictures, those in report.html again, summary; of the pictures of fields."""
FIXED_SECONDS = 4.0
"""Seconds of what each run does: load its libraries, draw its pictures."""
BUDGETED = 1.25
"""How much longer a part takes where its errors are estimated as well."""
GENERATIONS = 3
"""Of the state in the checkpoint: the last one, the one before, and that which is being written."""
ROOM = 1.25
"""Bytes of a file that grows step by step, for each byte in it."""
ROW = 45
"""Bytes of a row of residuals.csv, which has one number."""
FIGURE = 18
"""Bytes of a number in a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one part of a run takes: the equation, or the replicas of one particle number."""

    part: str
    """What it is, in words."""
    remedy: str
    """What to do where it is too much: the keys to change."""
    kind: str
    """Of the work, as `limitpde.speed` has it."""
    size: float
    """Unknowns, or N."""
    work: float
    """Units of work, those of summary.json's `performance`."""
    shipped: speed.Shipped
    """Work per second of one core, by size."""
    threaded: bool = True
    """Whether the threads of a rank make it faster."""
    unknowns: int = 0
    """Of the equation."""
    shared: float = 0.0
    """Bytes that the ranks share among them."""
    root: float = 0.0
    """Bytes that rank 0 has besides."""
    each: float = 0.0
    """Bytes that every rank has to the end."""
    passing: float = 0.0
    """Bytes that every rank has while this part goes on."""
    disk: float = 0.0
    """Bytes of files."""
    note: str = ""
    """What the formulas do not know."""

    def memory(self, ranks: int) -> float:
        """Bytes of rank 0, of so many."""
        return self.shared / ranks + self.root + self.each + self.passing


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is for a run."""

    ranks: int
    """Of the run."""
    neighbours: int
    """Ranks on this machine."""
    threads: int
    """Of each rank."""
    memory: float
    """Bytes of this machine, or as far as the limits of its container go."""

    @classmethod
    def of(cls, comm: MPI.Comm) -> Machine:
        """The machine of this rank. Collective."""
        node = comm.Split_type(MPI.COMM_TYPE_SHARED)
        neighbours = node.size
        node.Free()
        asked = (os.environ.get(name, "").split(",")[0].strip() for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"))
        threads = next((int(text) for text in asked if text.isdecimal() and len(text) < 9), 0)
        cores = len(os.sched_getaffinity(0))
        return cls(comm.size, neighbours, max(1, threads or cores // neighbours), available_memory())


@dataclass(frozen=True, slots=True)
class Needs:
    """What a run takes altogether."""

    loads: tuple[Load, ...]
    machine: Machine
    times: tuple[float, ...]
    """Seconds of wall time that each of them takes."""
    measured: bool
    """Whether all speeds were measured on this machine, rather than shipped."""

    @property
    def seconds(self) -> float:
        """Of wall time."""
        return FIXED_SECONDS + sum(self.times)

    @property
    def unknowns(self) -> int:
        """Of the equation."""
        return sum(part.unknowns for part in self.loads)

    @property
    def memory(self) -> float:
        """Bytes of rank 0, which has most."""
        lasting = sum(part.shared / self.machine.ranks + part.root + part.each for part in self.loads)
        return PROCESS + lasting + max((part.passing for part in self.loads), default=0.0)

    @property
    def node_memory(self) -> float:
        """Bytes of the ranks on one machine."""
        roots = sum(part.root for part in self.loads)
        return self.machine.neighbours * (self.memory - roots) + roots

    @property
    def disk(self) -> float:
        """Bytes of the result."""
        return FIXED_DISK + sum(part.disk for part in self.loads)

    def report(self, directory: Path) -> str:
        """Lines for a user.

        Args:
            directory: of the result.
        """
        machine = self.machine
        where = "of" if machine.neighbours == 1 else f"for {machine.neighbours} ranks on a machine of"
        how = "as measured on this machine" if self.measured else "with speeds of another machine"
        compiling = "" if self.measured else "; compiling takes up to two minutes more, once"
        rows = {
            "unknowns": f"{self.unknowns:,}",
            "memory": f"{in_bytes(self.memory)} on a rank, {where} {in_bytes(machine.memory)}",
            "disk": f"{in_bytes(self.disk)}, of {in_bytes(free_disk(directory))} free at {directory}",
            "time": f"about {in_time(self.seconds)} {how}{compiling}",
        }
        rows = {name: text for name, text in rows.items() if name != "unknowns" or self.unknowns}
        notes = [f"  note      {part.note}" for part in self.loads if part.note]
        return "\n".join([*(f"  {name:<8}  {text}" for name, text in rows.items()), *dict.fromkeys(notes)])


def estimate(case: BaseCase, machine: Machine) -> Needs | None:
    """What a case needs; None where its system does not say.

    Args:
        case: the case.
        machine: on what.
    """
    if not case.NEEDS:
        return None
    say: Callable[[BaseCase], Sequence[Load]] = load(case.NEEDS)  # type: ignore[assignment]
    with np.errstate(over="ignore"):
        loads, known = tuple(say(case)), speed.read()
    times, measured = [], True
    for part in loads:
        threads = machine.threads if part.threaded else 1
        rate, here = speed.per_second(
            known, part.kind, part.size, threads=threads, ranks=machine.ranks, shipped=part.shipped
        )
        times.append(part.work / rate * (BUDGETED if case.compare is not None and case.compare.budget else 1.0))
        measured = measured and here
    return Needs(loads, machine, tuple(times), measured)


def check(case: BaseCase, directory: Path, machine: Machine, *, hours: float = HOURS) -> Needs | None:
    """What a case needs, where that is there; None where its system does not say.

    Args:
        case: the case.
        directory: where the result goes.
        machine: on what.

    Keyword Args:
        hours: that the run may take.

    Raises:
        InputError: it needs more memory, disk or time than there is, or the folder cannot be.
    """
    _check_path(directory)
    needs = estimate(case, machine)
    if needs is None:
        return None
    if not needs.node_memory <= machine.memory:
        part = max(needs.loads, key=lambda part: part.memory(machine.ranks))
        share = in_bytes(part.memory(machine.ranks))
        several = f", for {machine.neighbours} ranks" if machine.neighbours > 1 else ""
        raise InputError(
            f"{part.remedy}: {part.part} needs about {share} of memory on a rank; this machine has "
            f"{in_bytes(machine.memory)}{several}; take less, or more machines"
        )
    if not needs.seconds <= 3600 * hours:
        part = needs.loads[int(np.argmax(needs.times))]
        raise InputError(
            f"{part.remedy}: the run takes about {in_time(needs.seconds)}, more than --limit-hours {hours:g}; most of "
            f"it goes into {part.part}"
        )
    free = free_disk(directory)
    if not needs.disk <= free:
        part = max(needs.loads, key=lambda part: part.disk)
        raise InputError(
            f"{part.remedy}, output.every: the result takes about {in_bytes(needs.disk)} on disk, most of it for "
            f"{part.part}; {in_bytes(free)} are free at {directory}"
        )
    return needs


def learn(case: BaseCase, summary: dict[str, Any]) -> None:
    """Keep the speeds of a run for estimates to come. On rank 0.

    Args:
        case: what was run.
        summary: its figures.
    """
    if not case.NEEDS:
        return
    say: Callable[[BaseCase], Sequence[Load]] = load(case.NEEDS)  # type: ignore[assignment]
    measured = dict(summary.get("performance", {}))
    equation = measured.pop("pde_dof_steps_per_second", None)
    by_count: dict[str, float] = next(iter(measured.values()), {})
    entries = []
    for part in say(case):
        found = equation if part.unknowns else by_count.get(f"{part.size:.0f}")
        if found is not None:
            threads = summary["threads"] if part.threaded else 1
            entries.append((speed.key_of(part.kind, part.size, threads, summary["ranks"]), part.size, float(found)))
    speed.learn(entries)


# --- what the formulas of all systems have in common ------------------------------------------------------------------


def loads_of[C: BaseCase](
    case: C, equation: Callable[[C, Any], Load], particles: Callable[[C, Any, int], Load]
) -> list[Load]:
    """What the sections of a case ask for: the equation of [pde], and each particle number of [particles]."""
    found = [] if case.pde is None else [equation(case, case.pde)]
    if case.particles is not None:
        found += [particles(case, case.particles, count) for count in case.particles.counts]
    return found


def steps(case: BaseCase, step: float) -> float:
    """Steps of at most this size, with an end at every output time; infinite where there are too many to count."""
    times = np.diff([0.0, *case.output_times])
    with np.errstate(over="ignore"):
        return float(np.ceil(np.maximum(times / step * (1 - 1e-9), 1.0)).sum())


def fields(nodes: float, cells: float, corners: int, numbers: float, outputs: int) -> float:
    """Bytes of a file of fields: a grid, and so many numbers for each node at time 0 and `outputs` later ones."""
    return ROOM * (24 * nodes + cells * (8 * corners + 9) + 8 * numbers * nodes * (outputs + 1))


def vectors(case: BaseCase, number: float, places: float, outputs: int) -> float:
    """Bytes of so many vectors at each of some places, where a case asks for fluxes."""
    return ROOM * 24 * number * places * (outputs + 1) * case.output.fluxes


def rows(case: BaseCase, steps: float, columns: int) -> float:
    """Bytes of diagnostics.csv with so many columns, and of W of the solution, which have a row for each step."""
    return steps * (FIGURE * columns + ROW * len(case.test_functions))


class Kept(NamedTuple):
    """What is kept of the replicas of one particle number."""

    memory: float
    """Bytes on every rank."""
    disk: float
    """Bytes of files."""


def replicas(case: BaseCase, count: int, *, numbers: float, columns: int) -> Kept:
    """Memory and disk of the measurements, and of the snapshots, of one particle number.

    Args:
        case: with [particles].
        count: N.

    Keyword Args:
        numbers: that are kept of a replica at each output time, besides those of the test functions.
        columns: of a particle in its snapshots, besides the position.
    """
    assert case.particles is not None
    times, functions, copies = len(case.output_times) + 1, len(case.test_functions), float(case.particles.replicas)
    kept = 8 * copies * times * (2 * functions + numbers)
    snapshots = ROOM * times * count * (24 + 16 + 8 * columns)
    return Kept(3 * kept, kept + snapshots + ROW * copies * functions * times + 3e4)


def in_bytes(number: float) -> str:
    """A number of bytes, with three digits."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if number < 1000 or unit == "PiB":
            return f"{number:.3g} {unit}"
        number /= 1024
    raise AssertionError


def in_time(seconds: float) -> str:
    """A time with two digits, in the unit that suits it."""
    for unit, size in (("s", 60.0), ("minutes", 60.0), ("hours", 24.0), ("days", 365.0)):
        if seconds < 2 * size:
            return f"{seconds:.2g} {unit}" if seconds < 99.5 else f"{seconds:.0f} {unit}"
        seconds /= size
    return f"{seconds:.2g} years"


# --- what there is ----------------------------------------------------------------------------------------------------


def available_memory() -> float:
    """Bytes of memory of this machine, or of the smallest control group around this process."""
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_group_limits()])


def _group_limits() -> Iterator[float]:
    """Limits of the control groups of this process, versions 1 and 2; whole trees, as outer groups have limits too."""
    root, groups = Path("/sys/fs/cgroup"), []
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                groups.append((root / controllers, path, "memory.max" if not controllers else "memory.limit_in_bytes"))
    for top, path, name in groups:
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder == top.parent or not folder.is_relative_to(top):
                break
            with suppress(OSError, ValueError):
                yield float((folder / name).read_text(encoding="ascii"))


def _check_path(directory: Path) -> None:
    """Refuse what no folder can be called, or nobody may look at."""
    try:
        os.lstat(directory)
    except (FileNotFoundError, NotADirectoryError):  # it can be made; or the run says that it is none
        return
    except OSError as error:
        raise InputError(f"output.directory = {short(str(directory))}: {error.strerror}") from error
    except ValueError as error:  # letters that no name may have
        raise InputError(f"output.directory = {short(str(directory))}: not the name of a folder ({error})") from error


def free_disk(directory: Path) -> float:
    """Bytes that a result in a folder may take: what is free, and what a result there has, which a run replaces."""
    held = 0
    for path, _, files in os.walk(directory) if (directory / LIST).is_file() else ():
        for name in files:
            with suppress(OSError):
                held += os.lstat(Path(path) / name).st_size
    for folder in (directory.absolute(), *directory.absolute().parents):
        with suppress(OSError):
            return float(shutil.disk_usage(folder).free) + held
    return math.inf
