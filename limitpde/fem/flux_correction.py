"""Flux correction: transport of second order that stays positive, makes no new extremum and keeps every mass.

Exponentially fitted fluxes (`limitpde.fem.edge_flux`) spread a density across an edge with the diffusivity |v| h / 2
where |v| h / (2 D) is above one, which is of first order. Central fluxes with the consistent mass matrix of first-order
elements are of second order (on even meshes their waves travel with an error of order four), but make oscillations:

    low    c m rho + dt A_L rho = m rho^,       F_L fitted, m lumped: an M-matrix, so rho >= 0
    high   c M rho + dt A_H rho = M rho^,       F_H = kappa D (rho_i - rho_j) + q_ij (rho_i + rho_j) / 2

with rho^ the history of a BDF formula of leading coefficient c, and q_ij the drift's flux from i to j. Their difference
is a sum of fluxes along edges, antisymmetric,

    c m_i (high - low)_i = sum_j f_ij,   f_ij = dt [F_L(low) - F_H(high)] + m_ij [(c high - rho^)_i - (..)_j],

of which each node takes as much as leaves it between the extrema, at it and its neighbours, of the density before the
step and of the low one (Zalesak, J. Comput. Phys. 31, 1979; Kuzmin, J. Comput. Phys. 228, 2009). m_ij is the integral
of the product of two basis functions: a twelfth of the area of both triangles at the edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from mpi4py import MPI

from limitpde.compiled import compiled
from limitpde.fem.edges import EdgeGraph, EdgeMatrix
from limitpde.fem.gate import ROUNDING, GatedState
from limitpde.fem.lagrange import LagrangeSpace
from limitpde.fem.linear import LinearSolver, Options

SWEEPS = 20
"""Rings of neighbours from which what is below zero is taken."""


SEEN = 1e-3
"""Part of the largest density from which it matters in a cell."""


class CellPeclet:
    """The largest |grad V| h / (2 D) on the cells of a mesh, h their longest edge. Collective.

    Args:
        graph: the nodes and cells; of elements of higher degree the corners of cells are looked at.
    """

    def __init__(self, graph: EdgeGraph | LagrangeSpace) -> None:
        self._graph = graph

    def __call__(self, potentials: Sequence[np.ndarray], now: GatedState, diffusivity: float) -> float:
        """The number over all cells that a density of SEEN of the largest touches; infinite for D = 0.

        Args:
            potentials: V of each species, or the stream function of its velocity, (n_local,).
            now: the densities.
            diffusivity: D.
        """
        if diffusivity == 0.0:
            return math.inf
        graph, found = self._graph, 0.0
        for potential, density in zip(potentials, now.densities, strict=True):
            found = max(found, _steepest(graph.points, graph.cells, potential, density, SEEN * now.maximum))
        return float(graph.comm.allreduce(found, op=MPI.MAX)) / (2 * diffusivity)


@compiled
def _steepest(points: np.ndarray, cells: np.ndarray, potential: np.ndarray, density: np.ndarray, least: float) -> float:
    """The largest |grad V| times the longest edge of cells with a density of at least `least` at a corner."""
    largest = 0.0
    for c in range(len(cells)):
        i, j, k = cells[c]
        if max(density[i], density[j], density[k]) >= least:
            ax, ay = points[j, 0] - points[i, 0], points[j, 1] - points[i, 1]
            bx, by = points[k, 0] - points[i, 0], points[k, 1] - points[i, 1]
            cross = ax * by - ay * bx
            first, second = potential[j] - potential[i], potential[k] - potential[i]
            gx, gy = first * by - second * ay, second * ax - first * bx  # cross times the gradient
            longest = max(ax * ax + ay * ay, bx * bx + by * by, (bx - ax) ** 2 + (by - ay) ** 2)
            largest = max(largest, (gx * gx + gy * gy) * longest / (cross * cross))
    return math.sqrt(largest)


class FluxCorrection:
    """The high scheme on a mesh, and the part of it that the low one can bear. Collective.

    Args:
        graph: the edges.
    """

    def __init__(self, graph: EdgeGraph) -> None:
        self._graph, self._shared = graph, graph.beside / 12
        self._matrix = EdgeMatrix(graph)

    @cached_property
    def _solver(self) -> LinearSolver:
        """Made when it is needed: PETSc would point at options that nothing used. Collective."""
        options: Options = {"ksp_type": "bcgs", "ksp_rtol": ROUNDING / 10, "ksp_max_it": 500, "pc_type": "bjacobi"}
        options |= {"sub_pc_type": "ilu", "sub_pc_factor_levels": 1}  # no level: up to 1,000, as nodes are numbered
        return LinearSolver(self._matrix.mat, prefix="central", options=options)

    def __call__(
        self,
        low: np.ndarray,
        fluxes: np.ndarray,
        history: np.ndarray,
        now: np.ndarray,
        *,
        climb: np.ndarray,
        diffusivity: float,
        dt: float,
        implicit: float,
    ) -> tuple[np.ndarray, int, int]:
        """The corrected density, (n_local,), iterations and PETSc's reason. Collective.

        Args:
            low: the density of the low scheme, (n_local,).
            fluxes: dt times the entries of `fill_transport` that made it, (4, n_edges).
            history: rho^, (n_local,).
            now: the density before the step, (n_local,).

        Keyword Args:
            climb: -q from tail to head, (n_edges,).
            diffusivity: D.
            dt: size of the step.
            implicit: c.
        """
        graph, matrix = self._graph, self._matrix
        tail, head = graph.tail, graph.head
        mass = implicit * self._shared
        forward, backward = (dt * (diffusivity * graph.weight + sign * 0.5 * climb) - mass for sign in (-1.0, 1.0))
        matrix.edges[:] = forward, -backward, -forward, backward
        matrix.diagonal[:] = implicit * graph.area[: graph.owned]
        matrix.assemble()
        spread = self._shared * (history[tail] - history[head])
        right_side = graph.tested(history) - graph.add_at_nodes(spread, -spread)
        high, iterations, reason = self._solver.solve(right_side[: graph.owned], low[: graph.owned])
        if reason < 0:
            return low, iterations, reason
        high = graph.share(high)
        flux = fluxes[0] * low[tail] + fluxes[1] * low[head] - forward * high[tail] + backward * high[head] - spread
        capacity = implicit * graph.area
        return low + self._limited(flux, low, now, capacity) / capacity, iterations, reason

    def _limited(self, flux: np.ndarray, low: np.ndarray, now: np.ndarray, capacity: np.ndarray) -> np.ndarray:
        """Sums at the nodes, (n_local,), of what may be taken of the fluxes into the tails of the edges."""
        graph, tail, head = self._graph, self._graph.tail, self._graph.head
        least, most = graph.extremes(np.minimum(low, now), np.maximum(low, now))
        into_tail, into_head = np.maximum(flux, 0.0), np.maximum(-flux, 0.0)
        gain, loss = graph.add_at_nodes(into_tail, into_head), graph.add_at_nodes(into_head, into_tail)
        up = _share(capacity * (most - low), gain)
        down = _share(capacity * (low - np.maximum(least, 0.0)), loss)
        share = np.where(flux > 0.0, np.minimum(up[tail], down[head]), np.minimum(down[tail], up[head]))
        return graph.add_at_nodes(share * flux, -share * flux)


def _share(room: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """How much of what is wanted there is room for, at most one."""
    room = np.maximum(room, 0.0)
    return np.divide(room, wanted, out=np.ones_like(wanted), where=wanted > room)


def repaired(graph: EdgeGraph, density: np.ndarray) -> np.ndarray:
    """The density (n_local,) with what is below zero taken from neighbours, in parts of what they have. Collective.

    The second BDF formula goes below zero where a density falls to less than a quarter in a step, in its far tail.
    """
    tail, head, content = graph.tail, graph.head, graph.tested(density)
    for _ in range(SWEEPS):
        here, missing = np.maximum(content, 0.0), np.maximum(-content, 0.0)
        if graph.sums.maximum(missing) == 0.0:
            break
        around = graph.add_at_nodes(here[head], here[tail])
        asked = _share(missing, around)
        asked[missing == 0.0] = 0.0
        part = 1.0 / np.maximum(graph.add_at_nodes(asked[head], asked[tail]), 1.0)
        given = asked[tail] * here[head] * part[head] - asked[head] * here[tail] * part[tail]
        content = content + graph.add_at_nodes(given, -given)
    return content / graph.area
