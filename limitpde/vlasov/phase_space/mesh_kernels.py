"""Upwind discontinuous Galerkin transport in x on simplices: one stage, for many velocities at once. Compiled.

With barycentric coordinates lambda_e of a cell K, b_e = v . grad lambda_e, and values u_i at its nodes,

    (A u)_i = - sum_r b_r (D_r u)_i + sum_e d max(b_e, 0) (R_e [u])_i,    [u] = u outside - u inside, on facet e,

because the outer normal times area over volume of facet e is -d grad lambda_e: the facets with b_e > 0 are those
through which v enters. It is the weak form with upwind fluxes, integrated by parts once more, and all its integrals are
exact. Outside a wall u is zero, or what u is inside for the mirrored velocity. The velocities of an array are its
columns; the loops over them are innermost and blocked, so that what a cell needs of BLOCK columns stays in the
first-level cache.
"""

from __future__ import annotations

import numba
import numpy as np

from limitpde.compiled import compiled

BLOCK = 64
"""Velocities taken together: arrays are cut into blocks of as many columns, with zeros behind the last velocity."""
ABSORBING = -1
"""In place of a neighbour: nothing comes in. A mirror across the axis j is ABSORBING - 1 - j."""
FAST = {"contract", "reassoc", "nsz"}

_inner = compiled(_nrt=False, fastmath=FAST)
"""As `limitpde.compiled.hot`, with sums in any order."""


@_inner
def _add_product(total, matrix, sign, rows, cell, block):  # type: ignore[no-untyped-def]
    """total[i, q] += sign * (matrix @ rows[cell, block])[i, q]."""
    n, count = matrix.shape
    whole, even = count - count % 4, n - n % 2
    for j in range(0, whole, 4):
        for i in range(0, even, 2):
            a0, a1 = sign * matrix[i, j], sign * matrix[i, j + 1]
            a2, a3 = sign * matrix[i, j + 2], sign * matrix[i, j + 3]
            b0, b1 = sign * matrix[i + 1, j], sign * matrix[i + 1, j + 1]
            b2, b3 = sign * matrix[i + 1, j + 2], sign * matrix[i + 1, j + 3]
            for q in range(BLOCK):
                r0, r1 = rows[cell, block, j, q], rows[cell, block, j + 1, q]
                r2, r3 = rows[cell, block, j + 2, q], rows[cell, block, j + 3, q]
                total[i, q] += a0 * r0 + a1 * r1 + a2 * r2 + a3 * r3
                total[i + 1, q] += b0 * r0 + b1 * r1 + b2 * r2 + b3 * r3
        for i in range(even, n):
            a0, a1 = sign * matrix[i, j], sign * matrix[i, j + 1]
            a2, a3 = sign * matrix[i, j + 2], sign * matrix[i, j + 3]
            for q in range(BLOCK):
                r0, r1 = rows[cell, block, j, q], rows[cell, block, j + 1, q]
                r2, r3 = rows[cell, block, j + 2, q], rows[cell, block, j + 3, q]
                total[i, q] += a0 * r0 + a1 * r1 + a2 * r2 + a3 * r3
    for j in range(whole, count):
        for i in range(n):
            a0 = sign * matrix[i, j]
            for q in range(BLOCK):
                total[i, q] += a0 * rows[cell, block, j, q]


@_inner
def _add_mirrored(total, matrix, rows, cell, columns):  # type: ignore[no-untyped-def]
    """total[i, q] += (matrix @ rows[cell])[i, columns[q]], columns counted through all blocks."""
    n, count = matrix.shape
    for i in range(n):
        for j in range(count):
            for q in range(BLOCK):
                total[i, q] += matrix[i, j] * rows[cell, columns[q] // BLOCK, j, columns[q] % BLOCK]


@_inner
def _add_inflow(cell, block, u, speeds, mirror, neighbours, traces, lifts, jump, rate):  # type: ignore[no-untyped-def]
    """Add sum_e d max(b_e, 0) R_e [u] to the rate (n, BLOCK); speeds: b_e, (d + 1, BLOCK)."""
    facets = len(speeds)
    for e in range(facets):
        entering = 0
        for q in range(BLOCK):
            entering += speeds[e, q] > 0.0
        if not entering:
            continue
        jump[0, 0] = 0.0
        other = neighbours[cell, e, 0]
        if other >= 0:
            _add_product(jump[0, 0], traces[neighbours[cell, e, 1]], 1.0, u, other, block)
        elif other < ABSORBING:
            columns = mirror[ABSORBING - 1 - other, block * BLOCK : (block + 1) * BLOCK]
            _add_mirrored(jump[0, 0], traces[e], u, cell, columns)
        _add_product(jump[0, 0], traces[e], -1.0, u, cell, block)
        for m in range(jump.shape[2]):
            for q in range(BLOCK):
                jump[0, 0, m, q] *= (facets - 1) * max(speeds[e, q], 0.0)
        _add_product(rate, lifts[e], 1.0, jump, 0, 0)


@_inner
def _add_gradient(cell, block, u, speeds, derivatives, scaled, rate):  # type: ignore[no-untyped-def]
    """Subtract sum_r b_r D_r u from the rate (n, BLOCK)."""
    for r in range(len(derivatives)):
        for j in range(u.shape[2]):
            for q in range(BLOCK):
                scaled[0, 0, j, q] = speeds[r + 1, q] * u[cell, block, j, q]
        _add_product(rate, derivatives[r], -1.0, scaled, 0, 0)


@_inner
def _fill_speeds(gradients, cell, velocity, block, speeds):  # type: ignore[no-untyped-def]
    """speeds[e, q] = v_q . grad lambda_e."""
    for e in range(len(speeds)):
        speeds[e] = 0.0
        for j in range(len(velocity)):
            for q in range(BLOCK):
                speeds[e, q] += gradients[cell, e, j] * velocity[j, block * BLOCK + q]


@compiled(parallel=True, fastmath=FAST)
def stage(
    f: np.ndarray,
    u: np.ndarray,
    out: np.ndarray,
    time: float,
    velocity: np.ndarray,
    mirror: np.ndarray,
    gradients: np.ndarray,
    neighbours: np.ndarray,
    derivatives: np.ndarray,
    traces: np.ndarray,
    lifts: np.ndarray,
    parts: int,
) -> None:
    """Set out = f + time * A u in the owned cells.

    Args:
        f: (>= cells, w / BLOCK, n, BLOCK) node values of w velocities.
        u: (cells + ghosts, w / BLOCK, n, BLOCK), ghosts set; may be f.
        out: (>= cells, w / BLOCK, n, BLOCK), neither f nor u.
        time: of the stage.
        velocity: (d, w).
        mirror: (d, w) column of the velocity with the opposite component j; not read without mirrors.
        gradients: (cells, d + 1, d) grad lambda_e.
        neighbours: (cells, d + 1, 2) int: cell on the other side, or what the wall does; number of the facet there.
        derivatives: (d, n, n) D_r.
        traces: (d + 1, m, n).
        lifts: (d + 1, n, m) R_e.
        parts: of the cells, in parallel.
    """
    cells, (blocks, n), facets = len(gradients), f.shape[1:3], len(traces)
    for part in numba.prange(parts):
        speeds = np.empty((facets, BLOCK))
        rate = np.empty((n, BLOCK))
        scaled = np.empty((1, 1, n, BLOCK))
        jump = np.empty((1, 1, traces.shape[1], BLOCK))
        for cell in range(part * cells // parts, (part + 1) * cells // parts):
            for block in range(blocks):
                _fill_speeds(gradients, cell, velocity, block, speeds)
                rate[:] = 0.0
                _add_gradient(cell, block, u, speeds, derivatives, scaled, rate)
                _add_inflow(cell, block, u, speeds, mirror, neighbours, traces, lifts, jump, rate)
                for i in range(n):
                    for q in range(BLOCK):
                        out[cell, block, i, q] = f[cell, block, i, q] + time * rate[i, q]


@compiled(fastmath=FAST)
def outflow(
    u: np.ndarray,
    velocity: np.ndarray,
    measure: np.ndarray,
    cells: np.ndarray,
    facets: np.ndarray,
    normals: np.ndarray,
    means: np.ndarray,
) -> float:
    """Mass that leaves per unit of time through walls, sum of int max(v . n, 0) u over them.

    Args:
        u: (>= cells, w / BLOCK, n, BLOCK).
        velocity: (d, w).
        measure: (w,) weights of the velocities.
        cells: (f,) cell of each wall facet.
        facets: (f,) its number in that cell.
        normals: (f, d) outer normals, times the area.
        means: (d + 1, n) mean of each nodal function over facet e.
    """
    total = 0.0
    for k in range(len(cells)):
        for block in range(u.shape[1]):
            for i in range(u.shape[2]):
                mean = means[facets[k], i]
                for q in range(BLOCK):
                    column = block * BLOCK + q
                    flux = 0.0
                    for j in range(len(velocity)):
                        flux += normals[k, j] * velocity[j, column]
                    total += mean * measure[column] * max(flux, 0.0) * u[cells[k], block, i, q]
    return total


@compiled(parallel=True)
def inflow_rates(gradients: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Largest d sum_e max(v . grad lambda_e, 0) over the cells, for each velocity (d, w): (w,)."""
    d, columns = velocity.shape
    largest = np.zeros(columns)
    for q in numba.prange(columns):
        for cell in range(len(gradients)):
            rate = 0.0
            for e in range(d + 1):
                speed = 0.0
                for j in range(d):
                    speed += gradients[cell, e, j] * velocity[j, q]
                rate += d * max(speed, 0.0)
            largest[q] = max(largest[q], rate)
    return largest


@compiled(parallel=True)
def take_columns(values: np.ndarray, columns: np.ndarray, taken: np.ndarray) -> None:
    """Columns of values (cells, n, velocities) in blocks: (>= cells, w / BLOCK, n, BLOCK), zeros behind the last."""
    cells, n = values.shape[:2]
    for cell in numba.prange(cells):
        for block in range(taken.shape[1]):
            for i in range(n):
                for q in range(BLOCK):
                    place = block * BLOCK + q
                    taken[cell, block, i, q] = values[cell, i, columns[place]] if place < len(columns) else 0.0


@compiled(parallel=True)
def put_columns(values: np.ndarray, columns: np.ndarray, taken: np.ndarray) -> None:
    """The reverse of `take_columns`: writes `taken` back into these columns of values (cells, n, velocities)."""
    cells, n = values.shape[:2]
    for cell in numba.prange(cells):
        for i in range(n):
            for place in range(len(columns)):
                values[cell, i, columns[place]] = taken[cell, place // BLOCK, i, place % BLOCK]


@compiled(parallel=True)
def squares(f: np.ndarray, mass: np.ndarray, measure: np.ndarray) -> np.ndarray:
    """int int f^2 dv l_i l_j over the reference simplex, for each cell (cells,); f (cells, n, w), measure (w,)."""
    cells, n, columns = f.shape
    found = np.zeros(cells)
    for cell in numba.prange(cells):
        for i in range(n):
            for j in range(i + 1):
                share = mass[i, j] if i == j else 2.0 * mass[i, j]
                if share != 0.0:
                    total = 0.0
                    for q in range(columns):
                        total += measure[q] * f[cell, i, q] * f[cell, j, q]
                    found[cell] += share * total
    return found
