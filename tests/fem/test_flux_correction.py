"""Flux correction: conservative, and between the neighbours.

The load is carried by mass and bounds at rounding level, on any number of ranks. Orders are those of the equation: see
tests/signed/test_transport.py.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numpy as np
import pytest
from graphs import KINDS, mesh_of, wiggle
from mpi4py import MPI

from limitpde.fem.edge_flux import fill_transport
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.flux_correction import CellPeclet, FluxCorrection, repaired
from limitpde.fem.gate import GatedState


def neighbours(graph: EdgeGraph, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest around each owned node, by the coordinates of all edges of all ranks."""
    ends = np.concatenate(graph.comm.allgather(np.stack([graph.points[graph.tail], graph.points[graph.head]], axis=1)))
    both = np.concatenate(graph.comm.allgather(np.stack([values[graph.tail], values[graph.head]], axis=1)))
    least, most = values.copy(), values.copy()
    for k, other in ((0, 1), (1, 0)):
        for i in range(graph.owned):
            here = np.hypot(*(ends[:, k] - graph.points[i]).T) < 1e-12
            least[i] = min(least[i], both[here, other].min(initial=np.inf))
            most[i] = max(most[i], both[here, other].max(initial=-np.inf))
    return least, most


@pytest.mark.ranks
@pytest.mark.parametrize("kind", KINDS)
def test_extremes_over_neighbours_on_any_rank(comm, kind):
    graph = EdgeGraph(mesh_of(comm, kind))
    values = np.round(wiggle(graph), 6)  # the coordinates of a node may differ by rounding
    least, most = graph.extremes(values, values)
    expected = neighbours(graph, values)
    np.testing.assert_array_equal(least[: graph.owned], expected[0][: graph.owned])
    np.testing.assert_array_equal(most[: graph.owned], expected[1][: graph.owned])


@pytest.mark.ranks
@pytest.mark.parametrize("kind", ["disk", "square", "ghosts", "one rank"])
@pytest.mark.parametrize("diffusivity", [0.0, 1e-3])
def test_a_step_keeps_mass_and_bounds(comm, kind, diffusivity):
    """Backward Euler in a potential that varies from cell to cell, of a density that is zero on half the mesh."""
    graph = EdgeGraph(mesh_of(comm, kind))
    now = np.where(graph.points[:, 0] > 0.3, 1.0 + wiggle(graph, 0.2) ** 2, 0.0)
    climb = graph.weight * np.subtract(*(3.0 * wiggle(graph)[ends] for ends in (graph.head, graph.tail)))
    fluxes, correction, dt = np.empty((4, len(graph.tail))), FluxCorrection(graph), 0.05
    fill_transport(fluxes, graph.weight, climb, diffusivity)
    fluxes *= dt
    low = now - 0.9 * _outflow(graph, fluxes, now) / np.maximum(graph.area, 1e-300) * _short(graph, fluxes)
    assert graph.sums.minimum(low) >= 0.0
    found, _, reason = correction(
        low, fluxes, now, now, climb=climb, diffusivity=diffusivity, dt=dt, implicit=1.0
    )  # fmt: skip
    assert reason > 0
    before, after = (float(graph.sums.total(graph.area * values)[0]) for values in (low, found))
    assert after == pytest.approx(before, rel=1e-13)
    least, most = graph.extremes(np.minimum(low, now), np.maximum(low, now))
    scale = graph.sums.maximum(most)
    assert graph.sums.minimum(found - least) > -1e-14 * scale
    assert graph.sums.minimum(most - found) > -1e-14 * scale
    assert graph.sums.maximum(np.abs(found - low)) > 1e-3 * scale


def _outflow(graph, fluxes, values):
    flux = fluxes[0] * values[graph.tail] + fluxes[1] * values[graph.head]
    return graph.add_at_nodes(flux, -flux)


def _short(graph, fluxes):
    """A factor below which an explicit step of these fluxes keeps a density positive."""
    leaving = graph.add_at_nodes(fluxes[0], fluxes[3]) / graph.area
    return min(1.0, 1.0 / graph.sums.maximum(leaving))


@pytest.mark.ranks
def test_what_is_below_zero_is_taken_from_neighbours(comm):
    graph = EdgeGraph(mesh_of(comm, "disk"))
    outside = np.hypot(*(graph.points - [0.4, -0.3]).T) > 1.0
    density = graph.share(np.where(outside & (wiggle(graph) > 1.5), -1e-3, 1e-3 + wiggle(graph) ** 2))
    found = repaired(graph, density)
    before, after = (float(graph.sums.total(graph.area * values)[0]) for values in (density, found))
    assert graph.sums.minimum(density) == -1e-3
    assert graph.sums.minimum(found) > -1e-16
    assert after == pytest.approx(before, rel=1e-13)
    far = np.hypot(*(graph.points - [0.4, -0.3]).T) < 0.6  # where nothing is missing nearby
    assert graph.sums.maximum(np.where(far, np.abs(found - density), 0.0)) < 1e-12


@pytest.mark.ranks
def test_cell_peclet_of_a_constant_drift(comm):
    graph = EdgeGraph(mesh_of(comm, "disk"))
    potential = graph.points @ np.array([3.0, 4.0])
    length = np.hypot(*(graph.points[graph.tail] - graph.points[graph.head]).T)
    longest = comm.allreduce(length.max(initial=0.0), op=MPI.MAX)
    ones = np.ones(graph.local)

    def found(potentials, densities, diffusivity):
        now = GatedState(densities, potential, 0.0, *graph.sums.extremes(*densities))
        return CellPeclet(graph)(potentials, now, diffusivity)

    assert found([potential], [ones], 0.1) == pytest.approx(25 * longest, rel=1e-12)
    assert found([potential], [ones], 0.0) == np.inf
    far = np.hypot(*(graph.points - [0.4, -0.3]).T) > 1.0  # steep where there is nothing
    steep, middle = np.where(far, 1e3 * (graph.points**2).sum(axis=1), 0.0), np.where(far, 1e-9, 1.0)
    assert found([potential, steep], [ones, middle], 0.1) > 100 * longest
    inner = np.hypot(*(graph.points - [0.4, -0.3]).T) < 0.5
    assert found([potential, steep], [ones, np.where(inner, 1.0, 1e-9)], 0.1) == pytest.approx(25 * longest, rel=1e-12)
