"""What a case of the mean-field system will need (`limitpde.needs`)."""

from __future__ import annotations

from limitpde import needs
from limitpde.fem.counts import mesh_counts
from limitpde.meanfield.case import PDE, Case, Particles
from limitpde.needs import Load

BATCH_PARTICLES = 4096
"""As in `limitpde.nbody.diffusions`."""
SETTING_UP = 40
"""Steps in whose time the mesh and the matrix are made, and the fields drawn."""
NODE_BYTES, ROOT_BYTES, EACH_BYTES = 4000.0, 600.0, 400.0
"""Bytes of memory for each node: mesh and matrix; where the mesh is made, on rank 0; of the transforms, on each."""
COLUMNS = 14
"""Of diagnostics.csv."""
PDE_SPEEDS = ((1e3, 2e5), (1e4, 5e5), (1e5, 5e5))
PARTICLE_SPEEDS = ((64.0, 2e5), (256.0, 1e5), (1024.0, 3e4))
"""Measured on two cores at 2.6 GHz, with `limitpde new meanfield` at several sizes."""


def loads(case: Case) -> list[Load]:
    """The equation, and each particle number."""
    return needs.loads_of(case, _equation, _particles)


def _equation(case: Case, pde: PDE) -> Load:
    d, species = case.model.dimension, len(case.model.strengths)
    counts, steps = mesh_counts(pde.mesh, d), needs.steps(case, pde.step)
    unknowns = counts.nodes * species
    return Load(
        part="the equation",
        remedy="pde.step" if steps > counts.nodes else f"pde.mesh.cell_size = {pde.mesh.cell_size:g}",
        kind=f"meanfield.pde.{d}",
        size=unknowns,
        work=unknowns * (steps + SETTING_UP),
        shipped=PDE_SPEEDS,
        threaded=False,
        unknowns=unknowns,
        shared=NODE_BYTES * counts.nodes,
        root=ROOT_BYTES * counts.nodes,
        each=EACH_BYTES * 2**d * unknowns,
        disk=needs.DRAWN
        + needs.fields(counts.nodes, counts.cells, d + 1, 2 * species, len(case.output_times))
        + needs.vectors(case, species, counts.cells, len(case.output_times))
        + 16.0 * needs.GENERATIONS * unknowns
        + needs.rows(case, steps, COLUMNS),
    )


def _particles(case: Case, asked: Particles, count: int) -> Load:
    steps, kept = needs.steps(case, asked.step), needs.replicas(case, count, numbers=4, columns=1)
    together = min(asked.replicas, max(1, BATCH_PARTICLES // count))
    return Load(
        part=f"N = {count}",
        remedy=f"particles.counts, particles.replicas = {asked.replicas}, particles.step = {asked.step:g}",
        kind="meanfield.particles",
        size=count,
        work=float(asked.replicas) * steps * count,
        shipped=PARTICLE_SPEEDS,
        passing=together * count * 400.0,
        each=kept.memory,
        disk=kept.disk,
    )
