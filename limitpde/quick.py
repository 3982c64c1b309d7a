"""A smaller version of a case, for a first look: fewer particles and copies, a coarser mesh, longer PDE steps."""

from __future__ import annotations

import dataclasses
from typing import Any

from limitpde import case as cases

COUNTS, REPLICAS = 2, 16
"""Particle numbers, and copies of each, that are left: the smallest ones."""
COARSER = 2
"""Factor by which cells and steps of the PDE grow."""
LARGEST_TOLERANCE = 0.1
"""Up to which the tolerance of a mesh that refines itself may grow."""
FEWEST_CELLS = 8
"""Cells along a coordinate of phase space that are left at least."""


def smaller(case: cases.Case) -> cases.Case:
    """The same case with less to compute; model, initial data and times are those of the case.

    The particles keep their step, whose bias would otherwise show in the comparison.
    """
    parts: dict[str, Any] = {}
    if case.particles is not None:
        counts = tuple(sorted(case.particles.counts)[:COUNTS])
        replicas = min(case.particles.replicas, REPLICAS)
        parts["particles"] = dataclasses.replace(case.particles, counts=counts, replicas=replicas)
    if case.pde is not None:
        parts["pde"] = dataclasses.replace(case.pde, **_coarser(case.pde))
    return dataclasses.replace(case, **parts)


def _coarser(pde: Any) -> dict[str, Any]:
    """What changes in the section [pde]."""
    changes: dict[str, Any] = {"step": COARSER * pde.step}
    mesh: Any = getattr(pde, "mesh", None)
    size = getattr(mesh, "cell_size", None)
    if size is not None:
        largest = getattr(mesh, "radius", None) or min(_each(mesh.size))
        changes["mesh"] = dataclasses.replace(mesh, cell_size=min(COARSER * size, max(largest / 4, size)))
    refinement: Any = getattr(pde, "refinement", None)
    if refinement is not None:
        changes["refinement"] = dataclasses.replace(
            refinement,
            tolerance=max(refinement.tolerance, min(COARSER**2 * refinement.tolerance, LARGEST_TOLERANCE)),
            smallest_cell=COARSER * refinement.smallest_cell,
        )
    if hasattr(pde, "cells"):
        changes["cells"] = tuple(max(n // COARSER, min(n, FEWEST_CELLS)) for n in pde.cells)
    return changes


def _each(value: Any) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
