"""What a case of the coagulating system will need (`limitpde.needs`).

Particles are stepped by their density (`limitpde.coagulation.simulator.steps`). How that falls is estimated here:
clouds spread by diffusion, each part of the initial data by itself, and pairs react at the rate that a sphere of the
size of V would have, or that alpha allows.
"""

from __future__ import annotations

import math

import numpy as np

from limitpde import needs
from limitpde.coagulation.case import PDE, Case, Particles
from limitpde.coagulation.reaction.bins import LARGEST_MATRIX, MassGrid
from limitpde.compare.test_functions import shaped_only
from limitpde.densities import Gaussian, Uniform
from limitpde.fem.counts import mesh_counts
from limitpde.fem.mesh import Point, Torus
from limitpde.needs import Load

BATCH_PARTICLES, MEASUREMENTS, COUNTED, FEW = 32_768, 100, 64, 8
"""As in `limitpde.coagulation.particles` and `limitpde.coagulation.proof.candidate`."""
SPREAD, CROWD, CROWD_IN_PLANE, MEETINGS = 4.0, 1.5, 4.0, 0.05
"""As in `limitpde.coagulation.simulator.steps`."""
SHOWN = 8
"""As in `limitpde.coagulation.pde`."""
PARTS = 40
"""Intervals of time in which the density counts as constant."""
SETTING_UP = 8
"""Steps in whose time the mesh and the rates are made."""
COLUMNS = 17
"""Of diagnostics.csv."""
COPIES = 2.0
"""Arrays of the size of the densities that a step works in."""
NODE_BYTES = (1500.0, 4000.0, 10000.0)
"""Bytes of memory for each node in one, two and three dimensions: mesh and matrices, while they are made."""
ROOT_BYTES, FILE_BYTES = 150.0, 600.0
"""Bytes for each node of what goes through rank 0; with a mesh that is read, or changed, there."""
POINT_SPEEDS = ((1.0, 150.0), (300.0, 4e4), (1e5, 1e6))
MESH_SPEEDS = ((1e3, 1e5), (1e4, 7e5), (5e4, 1.6e6), (1e6, 1.7e6))
PARTICLE_SPEEDS = ((250.0, 1.5e5), (1e3, 2.5e5), (1e5, 2e5))
PYTHON_SPEEDS = ((40.0, 8e3), (400.0, 3e4), (4e3, 1e5))
"""Measured on two cores at 2.6 GHz, with `limitpde new coagulation` and the cases of demos/."""


def loads(case: Case) -> list[Load]:
    """The equation, and each particle number."""
    return needs.loads_of(case, _equation, _particles)


def _equation(case: Case, pde: PDE) -> Load:
    d, outputs, steps = case.model.dimension, len(case.output_times), needs.steps(case, pde.step)
    counts, masses = mesh_counts(pde.mesh, d), MassGrid(case.model.n_max, pde.bins).M
    unknowns, drawn = counts.nodes * masses, 0.0
    if not isinstance(pde.mesh, Point):
        nodes = float(np.prod(pde.mesh.boxes(d) + 1.0)) if isinstance(pde.mesh, Torus) else counts.nodes
        drawn = needs.DRAWN + needs.fields(nodes, counts.cells, d + 1, min(masses, SHOWN) + 3, outputs)
        drawn += needs.vectors(case, 2, counts.cells, outputs)
    fine = masses > counts.nodes
    space = f"model.n_max = {case.model.n_max}" if fine else "pde.mesh"
    if not isinstance(pde.mesh, str | Point) and not fine:
        space = f"pde.mesh.cell_size = {pde.mesh.cell_size:g}"
    return Load(
        part="the equation",
        remedy="pde.step" if steps > unknowns else space,
        kind="coagulation.pde.point" if isinstance(pde.mesh, Point) else f"coagulation.pde.{d}",
        size=unknowns,
        work=unknowns * (steps + SETTING_UP),
        shipped=POINT_SPEEDS if isinstance(pde.mesh, Point) else MESH_SPEEDS,
        threaded=False,
        unknowns=unknowns,
        shared=8 * COPIES * unknowns + NODE_BYTES[d - 1] * counts.nodes,
        root=(FILE_BYTES if isinstance(pde.mesh, str) else ROOT_BYTES) * counts.nodes,
        each=8.0 * 3 * min(masses, LARGEST_MATRIX) ** 2,
        disk=drawn + 8.0 * needs.GENERATIONS * counts.nodes * (masses + 1) + needs.rows(case, steps, COLUMNS),
        note="" if counts.exact else "of the mesh file only the beginning was read",
    )


def _particles(case: Case, asked: Particles, count: int) -> Load:
    together = min(asked.replicas, max(1, BATCH_PARTICLES // count))
    kept = needs.replicas(case, count, numbers=6 + min(case.model.n_max, COUNTED), columns=1)
    by_python = len(shaped_only(case.test_functions)) < len(case.test_functions)
    pairs = 8.0 * asked.replicas * (1 + len(case.deltas)) * min(case.model.n_max, FEW) ** 2
    return Load(
        part=f"N = {count}",
        remedy=f"particles.counts, particles.replicas = {asked.replicas}, time.end = {case.time.end:g}",
        kind=f"coagulation.particles.{case.model.dimension}.{asked.method}" + (".python" if by_python else ""),
        size=count,
        work=float(asked.replicas) * _particle_steps(case, asked, count),
        shipped=PYTHON_SPEEDS if by_python else PARTICLE_SPEEDS,
        threaded=not by_python,
        passing=together * count * 500.0,
        each=kept.memory + 3 * pairs,
        disk=kept.disk + pairs,
    )


def _particle_steps(case: Case, asked: Particles, count: int) -> float:
    """Steps of a replica, each counted as often as there are particles."""
    model, end, flat = case.model, case.time.end, case.model.dimension == 2
    assert model.interaction is not None
    masses = np.array([part.n for part in case.initial.masses])
    fastest, log_eps = float(model.d(masses).max()), model.log_eps(count, case.initial.Z)
    range_sum = math.exp(log_eps) * float(model.range_sum(masses, masses).max())
    core = range_sum * model.interaction.reach(model.dimension)
    alpha = float(model.alpha(masses[:, None], masses).max())
    weak = 1.0 if flat else math.exp(model.log_front(log_eps))
    contact = min(alpha * weak * 4.2, (6.3 if flat else 12.6) * 2 * fastest)  # of a ball of radius 1
    contact *= -1 / log_eps if flat else range_sum
    longest = float(case.domain.size.min()) / (8 if case.domain.kind == "ball" else 3)
    gap = end / max(MEASUREMENTS, 4 * len(case.output_times))
    left, total, dies = float(count), 0.0, 1.0 if model.reaction == "annihilation" else 0.5
    for k in range(PARTS):
        crowded = _sharing(case, (k + 0.5) / PARTS * end)
        density = max(left, 1.0) * crowded
        edge = math.sqrt(CROWD_IN_PLANE / density) if flat else (CROWD / density) ** (1 / 3)
        edge = min(max(edge, 2 * core), longest)
        if case.domain.kind == "torus":
            edge = float(min(size / math.floor(size / edge) for size in case.domain.size))
        dt = max((edge - core) / (SPREAD * math.sqrt(4 * fastest)), 1e-150) ** 2
        dt = min(dt, MEETINGS / max(contact * density, 1e-150), gap, asked.step or math.inf)
        steps = max(math.ceil(min(gap / dt, 1e15)), 1) * end / PARTS / gap
        total += steps * left
        left /= 1 + dies * contact * density * end / PARTS
    return total


def _sharing(case: Case, t: float) -> float:
    """One over the volume in which a particle meets another one, int rho^2 of the normalised density at a time."""
    d, found = case.model.dimension, 0.0
    whole = 1 / case.domain.volume if case.domain.bounded else 0.0
    for part in case.initial.masses:
        spread = 2 * float(case.model.d(np.array(part.n))) * t
        if isinstance(part.density, Uniform):
            crowded = whole
        else:
            width = part.density.width if isinstance(part.density, Gaussian) else part.density.radius / 2
            crowded = (4 * math.pi * (width**2 + spread)) ** (-d / 2)
        found += (part.density.mass / case.initial.Z) ** 2 * max(crowded, whole)
    return max(found, whole)
