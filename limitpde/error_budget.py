"""What a run computes only to know its own errors: coarser companions of the solution, particles with halved steps.

Companions cost less than a third of the solution (a fifth in two dimensions); the replicas with halved steps, those of
the smallest N, a third of the particles at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from mpi4py import MPI
from scipy.interpolate import CubicHermiteSpline

from limitpde.compare.companions import LEVELS, LONG, Level
from limitpde.compare.fluctuations import Prediction
from limitpde.errors import InputError, Interrupted, RunError
from limitpde.nbody.replicas import Controls
from limitpde.sections import BaseCase
from limitpde.system import AnySystem, ObservedSolution, SimulatedEnsemble

SHARE = 0.15
"""Part of the particles of a run, counted with their replicas, that make their steps in halves, at twice the cost."""
LEAST_GROWTH = 1.4
"""Of cells, from which companions show the error of the mesh."""
SPACE = ("mesh", "cells", "refinement")
"""Of a section [pde], what the size of its cells is."""


def keeps_cells(case: BaseCase) -> bool:
    """Whether the cells of a case's equation have no size of which it knows: a mesh of a file, or none at all."""
    return case.pde is None or (not _growths(case, 1) and getattr(case.pde, "refinement", None) is None)


def growth(case: BaseCase, cells: int = 1) -> float:
    """The least factor by which the cells of a case's equation grow from companions of `cells` to those of twice that.

    It is two, unless they become as large as the domain allows, or as few.
    """
    return 1.0 if case.pde is None else float(min([2.0, *_growths(case, cells)]))


def _growths(case: BaseCase, cells: int) -> list[float]:
    """The same of each number of cells, and of the size of those of a mesh."""
    assert case.pde is not None
    small, large = (replace(case.pde, **case.pde.coarser_space(factor)) for factor in (cells, 2 * cells))
    found = [m / n for m, n in zip(*(np.ravel(getattr(pde, "cells", ())) for pde in (small, large)), strict=True)]
    sizes = [getattr(getattr(pde, "mesh", None), "cell_size", None) for pde in (small, large)]
    return found if sizes[0] is None else [*found, sizes[1] / sizes[0]]


def companions(
    system: AnySystem, case: BaseCase, comm: MPI.Comm, stepped: Callable[[], object]
) -> dict[Level, np.ndarray]:
    """Int phi rho_t, (P, T), at time 0 and the output times, of those companions that can be computed. Collective.

    Args:
        system: of the case.
        case: with [pde] and test functions.
        comm: the ranks.
        stepped: called after each step; what it raises ends all.
    """
    found: dict[Level, np.ndarray] = {}
    for level, coarser in _coarser(case, LEVELS):
        try:
            found[level] = _observed(system, coarser, comm, stepped)
        except Interrupted:
            raise
        except (InputError, RunError):  # raised on every rank: these cells do not see the data, or the step is too long
            continue
    return found


def _coarser(case: BaseCase, levels: Sequence[Level]) -> Iterator[tuple[Level, BaseCase]]:
    """Those of the companions of a case that there can be.

    Where cells hardly grow, companions say too little of the error of the mesh; and of two whose cells have reached the
    same largest size, the one that asks for larger ones shows none.
    """
    known: dict[tuple[Any, ...], int] = {}
    if growth(case) < LEAST_GROWTH and not keeps_cells(case):
        return
    for level in levels:
        if case.pde is None or level.steps * case.pde.step > case.time.end or (level is LONG and keeps_cells(case)):
            continue
        cells = 1 if keeps_cells(case) else level.cells
        pde = case.pde.coarser(cells, level.steps)
        space = tuple(getattr(pde, name, None) for name in SPACE)
        if known.setdefault(space, cells) == cells:
            yield level, replace(case, pde=pde)


def _observed(system: AnySystem, case: BaseCase, comm: MPI.Comm, stepped: Callable[[], object]) -> np.ndarray:
    """Int phi rho_t of the equation of a case, (P, T): between its steps by the rates at which it moves. Collective."""
    solver = system.solver(case, comm)
    observed: ObservedSolution = system.residual(solver, case.test_functions)

    solver.solve(case.time.end, observers=[observed, lambda step: stepped()])
    slopes = np.array(observed.rates).sum(axis=1)
    series = CubicHermiteSpline(observed.times, np.array(observed.observables), slopes)
    return np.asarray(series([0.0, *case.output_times])).T


def fluctuations(system: AnySystem, case: BaseCase, comm: MPI.Comm, stepped: Callable[[], object]) -> Prediction | None:
    """What covariances of the observables tend to, by coarser companions of the equation. Collective.

    Args:
        system: of the case.
        case: with [pde], [particles] and test functions.
        comm: the ranks.
        stepped: called after each step; what it raises ends all.
    """
    found: list[np.ndarray] = []
    for level, coarser in _coarser(case, system.fluctuation_levels(case)):
        try:
            covariance = system.limiting_covariance(coarser, comm, stepped)
        except (InputError, RunError):  # raised on every rank: see `companions`
            break
        if covariance is None:
            return None
        found.append(covariance)
        if keeps_cells(case) or growth(case, level.cells) < 2:  # the next one does not show the error of this one
            break
    return Prediction.of(found, system.fluctuation_order or min(system.orders(case)[:2]))


def halved_replicas(counts: Sequence[int], replicas: int) -> int:
    """How many replicas of the smallest N make their steps in halves: at least two."""
    work = SHARE * replicas * sum(counts) / min(counts)
    return min(replicas, max(2, math.ceil(work)))


def halved(system: AnySystem, case: BaseCase, controls: Controls) -> SimulatedEnsemble | None:
    """Some replicas of the smallest N with their steps in halves; None where there are not two. Collective."""
    particles = case.particles
    if particles is None or particles.replicas < 2:
        return None
    some = replace(particles, replicas=halved_replicas(particles.counts, particles.replicas))
    smaller: Any = replace(case, particles=some)
    found: SimulatedEnsemble = system.simulate(smaller, min(particles.counts), replace(controls, halved=True))
    return found
