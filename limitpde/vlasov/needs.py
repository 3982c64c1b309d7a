"""What a case of the Vlasov system will need (`limitpde.needs`)."""

from __future__ import annotations

import math

from limitpde import needs
from limitpde.fem.counts import mesh_counts
from limitpde.needs import Load
from limitpde.potentials import Free, GaussianPotential, Harmonic, Poisson, PotentialFromFile, Softened
from limitpde.vlasov.case import PDE, Case, Particles

SETTING_UP = 5
"""Steps in whose time the spaces are made."""
BATCH_PARTICLES, KEPT_NUMBERS, LARGEST = 65_536, 4_000_000, 2**20
"""As in `limitpde.vlasov.particles` and `limitpde.vlasov.outputs`."""
COLUMNS = 20
"""Of diagnostics.csv."""
COPIES = 1.2
"""Bytes of memory for each byte of f, which is moved in place."""
POSITION = 8.0 * 20
"""Bytes of memory for each x node: moments, fields, weights."""
DRAWN = 400.0
"""Bytes of memory on rank 0 for each cell of the fields, where they are written and drawn."""
GRID_SPEEDS = {
    2: ((1e4, 1e6), (4e4, 3e6), (1e6, 2.8e6), (2e7, 7e6)),
    4: ((8e3, 4e5), (4e4, 1.3e6), (1e5, 2e6), (1e6, 1.5e6)),
    "alpha": ((1e4, 1e5), (1e6, 4e5)),
}
MESH_SPEEDS = ((1e3, 1e5), (1e5, 5e5))
CLOSED_SPEEDS = ((1e3, 2.5e6), (4e3, 4e6), (2e4, 4.3e6))
MODES_SPEEDS = ((1e3, 2e5), (1e4, 4e5))
PAIRS_SPEEDS = ((1e2, 1e6), (1e3, 4e5), (1e4, 4e4), (1e5, 4e3))
PYTHON_SPEEDS = ((1e2, 3e5), (1e3, 3e4), (1e4, 3e3))
"""Measured on two cores at 2.6 GHz, with `limitpde new vlasov` at several sizes."""


def loads(case: Case) -> list[Load]:
    """The equation, and each particle number."""
    return needs.loads_of(case, _equation, _particles)


def _equation(case: Case, pde: PDE) -> Load:
    d, points, outputs = case.model.dimension, pde.degree + 1, len(case.output_times)
    steps = needs.steps(case, pde.step)
    alpha = case.model.form != "density"
    x_cells, v_cells = _cells(pde, d)
    v_nodes, exact = math.prod(cells * points for cells in v_cells), True
    if pde.mesh is not None:
        counts = mesh_counts(pde.mesh, d)
        x_nodes, exact = counts.cells * math.comb(pde.degree + d, d), counts.exact
        files = [(counts.nodes, counts.cells, d + 1, 9)]
        order = pde.order or (2 if pde.walls == "absorbing" else 4)
    else:
        x_nodes, order = math.prod(cells * points for cells in x_cells), pde.order or 4
        files = [_parts(cells, numbers, points) for cells, numbers in _grids(x_cells, v_cells, alpha)]
    unknowns = x_nodes * v_nodes * (2 if alpha else 1)
    return Load(
        part="the equation",
        remedy="pde.step" if steps > unknowns else f"pde.cells = {list(pde.cells)}",
        kind=f"vlasov.pde.{'mesh' if pde.mesh is not None else case.model.form}.{order}",
        size=unknowns,
        work=unknowns * (steps + SETTING_UP),
        shipped=MESH_SPEEDS if pde.mesh is not None else GRID_SPEEDS["alpha" if alpha else order],
        unknowns=unknowns,
        shared=8 * COPIES * unknowns + (0 if pde.mesh is not None else POSITION * x_nodes),
        root=DRAWN * sum(file[1] for file in files),
        each=POSITION * x_nodes if pde.mesh is not None else 0.0,
        disk=needs.DRAWN
        + sum(needs.fields(*file, outputs) for file in files)
        + 8.0 * needs.GENERATIONS * unknowns
        + needs.rows(case, steps, COLUMNS),
        note="" if exact else "of the mesh file only the beginning was read",
    )


def _cells(pde: PDE, d: int) -> tuple[list[int], list[int]]:
    """Cells of x and of v, one entry for each coordinate; of x none on a mesh."""
    cells = list(pde.cells)
    if pde.mesh is not None:
        return [], cells * (d // len(cells))
    half = len(cells) // 2
    return cells[:half] * (d // half), cells[half:] * (d // half)


def _grids(x_cells: list[int], v_cells: list[int], alpha: bool) -> list[tuple[list[int], int]]:
    """Cells of each file of fields, and numbers that each part of them gets."""
    d = len(x_cells)
    moments = 3 + (2 if d == 1 else 6)
    planes = [([x, v], 4 if alpha and d == 1 else 1) for x, v in zip(x_cells, v_cells, strict=True)]
    return [(x_cells, moments), *planes]


def _parts(cells: list[int], numbers: int, points: int) -> tuple[int, int, int, int]:
    """Nodes, cells, corners of a cell and numbers of a file whose cells are cut into up to `points` parts each way.

    There are LARGEST parts at most, if there are fewer cells.
    """
    d = len(cells)
    most = max(1, int((LARGEST / math.prod(cells)) ** (1 / d) + 1e-9))
    parts = math.prod(n * min(points, most) for n in cells)
    return parts, parts, 2**d, numbers


def _particles(case: Case, asked: Particles, count: int) -> Load:
    d, copies = case.model.dimension, float(asked.replicas)
    steps, method = needs.steps(case, asked.step), _method(case, asked)
    speeds = {"closed": CLOSED_SPEEDS, "modes": MODES_SPEEDS, "pairs": PAIRS_SPEEDS, "python": PYTHON_SPEEDS}[method]
    together = min(asked.replicas, max(1, BATCH_PARTICLES // count))
    points = 2 * 8.0 * min(copies, max(1, KEPT_NUMBERS // (4 * count * d))) * count * 2 * d
    kept = needs.replicas(case, count, numbers=4 + 2 * d, columns=3 if d > 1 else 1)
    return Load(
        part=f"N = {count}",
        remedy=f"particles.counts, particles.replicas = {asked.replicas}, particles.step = {asked.step:g}",
        kind=f"vlasov.particles.{method}.{d}.{asked.order}",
        size=count,
        work=copies * steps * count,
        shipped=tuple((size, speed / (1 if asked.order == 2 else 3)) for size, speed in speeds),
        passing=together * count * 8.0 * 20 * d,
        each=kept.memory + 2 * points,
        disk=kept.disk + points,
    )


def _method(case: Case, asked: Particles) -> str:
    """What the forces are summed up by, roughly as `limitpde.nbody.sums` chooses."""
    potential = asked.potential or case.model.potential
    if isinstance(potential, PotentialFromFile):
        return "python"
    if asked.method == "direct":
        return "pairs"
    if isinstance(potential, Poisson | Free | Harmonic):
        return "closed"
    paired = isinstance(potential, GaussianPotential | Softened) and not case.model.domain.periodic
    return "pairs" if paired else "modes"
