"""Large replicas of coagulating particles, of which each rank of a team has a part: `rows`, `layers`, `start`.

The load is carried by equality bit by bit with one rank, on teams of any size, and by what a rank holds, in bytes.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import dataclasses
import itertools
import math

import numpy as np
import pytest
from mpi4py import MPI
from particle_cases import BALL, MIXED, ONES, SQUARE, TORUS, assert_same, wave

from limitpde.coagulation import particles
from limitpde.coagulation.model import Initial, Model, Part, PowerLaw
from limitpde.coagulation.particles import simulate
from limitpde.coagulation.simulator import brownian_replicas, crew, start
from limitpde.coagulation.simulator.layers import layers_of_ranks
from limitpde.coagulation.simulator.rows import cuts_of, most_rows
from limitpde.coagulation.simulator.start import InitialParticles
from limitpde.densities import Gaussian
from limitpde.domains import Domain
from limitpde.nbody.random import Stream, generator
from limitpde.nbody.replicas import Controls
from limitpde.nbody.teams import Team

MERGING = Model(diffusion=PowerLaw(power=-1 / 3), interaction=BALL, ranges=PowerLaw(power=1 / 3, scale=0.5), n_max=4)
VANISHING = Model(diffusion=[1.0], interaction=BALL, n_max=1, reaction="annihilation")
CLOUD = Initial(
    masses=(
        Part(n=1, density=Gaussian(mass=0.7, center=(0.0, 0.0, 0.0), width=0.3)),
        Part(n=2, density=Gaussian(mass=0.3, center=(0.2, 0.0, 0.0), width=0.2)),
    )
)
FLAT = dataclasses.replace(MERGING, dimension=2)
CASES = {
    "a cloud in space": (MERGING, CLOUD, {"count": 1500, "end": 4e-4, "domain": Domain.space(3)}),
    "a torus in the plane": (FLAT, MIXED, {"count": 900, "end": 2e-3, "domain": SQUARE, "blocks": True}),
    "nearly all vanish": (VANISHING, ONES, {"count": 40, "end": 0.25, "domain": TORUS}),
    "fewer than ranks": (
        VANISHING,
        ONES,
        {"count": 4, "end": 0.05, "domain": Domain.torus(np.full(3, 2.0)), "blocks": True},
    ),
    "more blocks than ranks": (MERGING, MIXED, {"count": 5200, "end": 2e-4, "domain": TORUS, "blocks": True}),
}


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("name", "halved"), [*((name, False) for name in CASES), *((name, True) for name in list(CASES)[1::2])]
)
def test_parts_of_a_replica_make_the_whole(comm, monkeypatch, name, halved):
    """With test functions, whose blocks stay whole, or without; snapshots see all particles."""
    monkeypatch.setattr(particles, "MEASUREMENTS", 4)
    model, initial, options = CASES[name]
    options = {"replicas": 1, "seed": 5, "method": "closed"} | options
    if options.pop("blocks", False):
        options["test_functions"] = [wave(1, *(0,) * (model.dimension - 1))]
    seen: list[list[np.ndarray]] = []

    def run(ranks):
        seen.append([])
        shown = lambda t, x, mass: seen[-1].extend([x.copy(), mass.copy()])  # noqa: E731
        few = {"comm": MPI.COMM_SELF} if ranks == 1 else {"comm": comm, "ranks_per_replica": ranks}
        return simulate(model, initial, controls=Controls(snapshot=shown, halved=halved, **few), **options)

    alone, shared = run(1), run(comm.size)
    assert_same(shared, alone)
    if name == "nearly all vanish":
        assert alone.survivors[0, -1] <= 20
    if comm.rank == 0:
        for found, expected in zip(*seen[::-1], strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.ranks
def test_a_rank_holds_its_part_and_a_halo(comm, monkeypatch):
    """Rows in all that lasts from step to step, and particles that are sorted, against the shares of one rank."""
    held = []

    class Weighed(crew.Crew):
        def candidates(self, ahead):
            found = super().candidates(ahead)
            layers = int(ahead.grid.cells[2])
            size = sum(array.nbytes for array in self.state)
            held.append((len(self.moved.x), size, len(self._slot), len(self._sorted.ident), layers))
            return found

    monkeypatch.setattr(brownian_replicas, "Crew", Weighed)
    monkeypatch.setattr(particles, "MEASUREMENTS", 4)
    n, controls = 12_000, Controls(comm=comm, ranks_per_replica=comm.size)
    simulate(VANISHING, ONES, count=n, replicas=1, end=4e-5, domain=TORUS, method="closed", controls=controls)
    assert len(held) >= 4
    for rows, size, slots, arranged, layers in held:
        assert rows <= math.ceil(n / comm.size)
        assert size <= 40 * rows + 1000  # position, mass, number
        assert slots <= (n if comm.size == 1 else 0)
        halo = 0 if comm.size == 1 else 2 * n / layers  # what is left of two layers at its cuts, and the one ahead
        assert arranged <= 1.15 * (n / comm.size + halo)
        if comm.size > 1:
            assert arranged < n or 3 * comm.size > layers


def test_cuts_of_rows_and_layers():
    """Each layer with cells of a rank, and the next one, in a circle; no rank may have more rows than are kept."""
    below = np.array([0, 10, 10, 30, 40])
    low, many = layers_of_ranks(below, np.array([0, 10, 11, 25, 25, 40]))
    assert low.tolist() == [0, 0, 2, 2, 2]
    assert many.tolist() == [2, 4, 2, 0, 3]
    with_all = layers_of_ranks(below, np.array([0, 40]))
    assert [k.tolist() for k in with_all] == [[0], [4]]
    for size in (1, 2, 3, 5):
        team = Team()
        team.size = size
        for n in (0, 1, 2, 1023, 1024, 1025, 5000, 11_000):
            for blocked in (False, True):
                most = most_rows(team, blocked, n)
                assert all(np.diff(cuts_of(team, blocked, m)).max() <= most for m in range(max(0, n - 9), n + 1))


def test_a_start_in_pieces_has_the_numbers_of_a_whole_one(monkeypatch):
    """Of parts that are drawn in pieces, and of parts that cannot be; also of less than the fewest drawn at a time."""
    for domain, n in ((TORUS, 999), (Domain.box(np.ones(3)), 999), (Domain.space(3), 999), (TORUS, 7)):
        parts = CLOUD.masses if domain.kind == "space" else (*CLOUD.masses, *MIXED.masses)
        one = InitialParticles(Initial(masses=parts), n, domain)
        whole = one.draw(generator(3, Stream.INITIAL), slice(0, n))
        monkeypatch.setattr(start, "PIECE", 50)
        cuts = [0, 0, 1, n // 3, n]
        found = [one.draw(generator(3, Stream.INITIAL), slice(a, b)) for a, b in itertools.pairwise(cuts)]
        monkeypatch.undo()
        for values, expected in zip(zip(*found, strict=True), whole, strict=True):
            np.testing.assert_array_equal(np.concatenate(values), expected)
