"""What a case of the signed system will need (`limitpde.needs`)."""

from __future__ import annotations

from limitpde import needs
from limitpde.fem.counts import mesh_counts
from limitpde.needs import Load
from limitpde.signed.case import PDE, Case, Particles
from limitpde.signed.options import BATCH_SIZE

BATCH_PARTICLES, FAST_FROM = 32_768, 10_000
"""As in `limitpde.signed.particles`."""
SETTING_UP = 120
"""Steps in whose time the mesh and the matrices are made, and the fields drawn."""
NODE_BYTES, HIGH_NODE_BYTES = 5500.0, 8000.0
"""Bytes of memory for each node: mesh, matrices, factors; for degrees 2 to 4."""
ROOT_BYTES, FILE_BYTES = 150.0, 600.0
"""Bytes for each node of what goes through rank 0; with a mesh that is read, or changed, there."""
COLUMNS = 17
"""Of diagnostics.csv."""
PDE_SPEEDS = ((1e3, 3e5), (1e4, 1.8e6), (1e5, 1e6), (1e6, 8e5))
HIGH_SPEEDS = ((1e3, 1e5), (1e5, 5e5))
DIRECT_SPEEDS = ((64.0, 4e7), (128.0, 1e8), (256.0, 2e8), (512.0, 4e8), (1024.0, 1e9))
FAST_SPEEDS = ((1e4, 1.4e9), (2e4, 2.7e9), (2e5, 5.7e10), (2e6, 5.7e11))
BATCHES_SPEEDS = ((1e3, 4e6), (2e4, 5.6e6))
"""Measured on two cores at 2.6 GHz, with `limitpde new signed` at several sizes."""


def loads(case: Case) -> list[Load]:
    """The equation, and each particle number."""
    return needs.loads_of(case, _equation, _particles)


def _equation(case: Case, pde: PDE) -> Load:
    counts, outputs, steps = mesh_counts(pde.mesh, 2), len(case.output_times), needs.steps(case, pde.step)
    species, nodes = sum(1 for s in (0, 1) if case.initial.parts(s)), counts.lagrange(pde.degree)
    unknowns, corners = nodes * (species + 1), (pde.degree + 1) * (pde.degree + 2) // 2
    high = pde.degree > 1
    notes = [
        (pde.refinement is not None, "the mesh will follow the densities: this is for the first one"),
        (pde.tolerance is not None, "steps will follow the tolerance: this is for steps of pde.step"),
        (not counts.exact, "of the mesh file only the beginning was read"),
    ]
    return Load(
        part="the equation",
        remedy="pde.step" if steps > nodes else _mesh_key(pde),
        kind=f"signed.pde.{pde.degree}",
        size=unknowns,
        work=unknowns * (steps + SETTING_UP),
        shipped=HIGH_SPEEDS if high else PDE_SPEEDS,
        threaded=False,
        unknowns=unknowns,
        shared=nodes * (HIGH_NODE_BYTES if high else NODE_BYTES),
        root=(FILE_BYTES if isinstance(pde.mesh, str) or pde.refinement is not None else ROOT_BYTES) * nodes,
        disk=needs.DRAWN
        + needs.fields(nodes, counts.cells, corners, species + 2, outputs)
        + needs.vectors(case, species + 1, nodes if high else counts.cells, outputs)
        + 8.0 * needs.GENERATIONS * nodes * 3 * species
        + needs.rows(case, steps, COLUMNS),
        note="; ".join(text for applies, text in notes if applies),
    )


def _mesh_key(pde: PDE) -> str:
    return "pde.mesh" if isinstance(pde.mesh, str) else f"pde.mesh.cell_size = {pde.mesh.cell_size:g}"


def _particles(case: Case, asked: Particles, count: int) -> Load:
    batches = asked.method == "batches"
    fast = asked.method == "fast" or (asked.method == "auto" and count >= FAST_FROM)
    method = "batches" if batches else "fast" if fast else "direct"
    group = min(asked.batch_size or BATCH_SIZE, count) if batches else count
    steps = needs.steps(case, asked.step)
    together = min(asked.replicas, max(1, BATCH_PARTICLES // count))
    speeds = {"batches": BATCHES_SPEEDS, "fast": FAST_SPEEDS, "direct": DIRECT_SPEEDS}[method]
    kept = needs.replicas(case, count, numbers=6, columns=1)
    sums = 2 + len(case.estimates.eps) if case.estimates.check else 1
    return Load(
        part=f"N = {count}",
        remedy=f"particles.counts, particles.replicas = {asked.replicas}, particles.step = {asked.step:g}",
        kind=f"signed.particles.{method}" + (".estimates" if sums > 1 else ""),
        size=count,
        work=float(asked.replicas) * (steps + 1) * count * group,
        shipped=tuple((size, speed / sums) for size, speed in speeds),
        passing=together * count * (2000.0 if fast else 300.0),
        note="steps may be cut where charges come close: this is for whole ones" if asked.substeps > 1 else "",
        each=kept.memory,
        disk=kept.disk,
    )
