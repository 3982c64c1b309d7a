"""Teams of ranks that share a replica: the same bits as on one rank, whatever the team; who is in which; failures.

The load is carried by equality bit by bit with ranks by themselves, of the sums and of whole runs of three systems, in
teams of one to all ranks, for more ranks than particles, too.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ensembles import FUNCTIONS, UNEQUAL
from mpi4py import MPI

from limitpde import meanfield, signed, vlasov
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.densities import Gaussian
from limitpde.errors import InputError, Interrupted, RunError
from limitpde.nbody import replicas as nbody_replicas
from limitpde.nbody.fast_sum import fast_pair_sum
from limitpde.nbody.pairs import closest_equal_signs, own_particles, pair_sum
from limitpde.nbody.random_batches import batch_pair_sum
from limitpde.nbody.replicas import Controls, ReplicaEnsemble
from limitpde.nbody.sums import make_sums
from limitpde.nbody.sums.closed import AnySums
from limitpde.nbody.teams import SINGLE, Team, teams_of
from limitpde.nbody.tournament import _round
from limitpde.potentials import Cosine, Softened
from limitpde.potentials import GaussianPotential as GaussianKernel
from limitpde.signed import charge_replicas, particles
from limitpde.signed.scaling import PowerOfN
from limitpde.vlasov.initial import PhaseGaussian
from limitpde.vlasov.model import PhaseDomain

pytestmark = pytest.mark.ranks
CHARGES = signed.Model(sigma=1.0, gamma_bar=0.8)
PHASE = (Wave(k=(1.0, 0.7)), GaussianBump(center=(0.5, -0.4), width=0.8))


@pytest.fixture
def team(comm: MPI.Comm) -> Iterator[Team]:
    with teams_of(comm, count=1, replicas=1, ranks=comm.size) as found:
        yield found


def alike(first: ReplicaEnsemble, second: ReplicaEnsemble) -> None:
    names = ("times", "replicas", "second_moment", "centre", "observables", "residual", "compensator")
    for name in (*names, *({"partners", "since", "ends", "points", "energy"} & set(first.__slots__))):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


# --- Sums -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0.01, 10.0])  # with a tree, and one that ends in the direct sum
@pytest.mark.parametrize(("replicas", "count"), [(1, 1), (2, 3), (2, 600), (1, 2600)])
def test_sums_over_charges_have_the_same_bits_in_any_team(team: Team, replicas: int, count: int, eps: float) -> None:
    rng = np.random.default_rng(count)
    x, y = rng.standard_normal((2, replicas, count))
    b = np.where(rng.random((replicas, count)) < 0.5, 1.0, -1.0)
    at_random = {"size": min(count, 32), "seed": 3, "replicas": np.arange(replicas), "step": 4}
    kinds: list[Callable[..., None]] = [pair_sum, lambda *a, **o: fast_pair_sum(*a, **o, accuracy=1e-6)]
    kinds += [lambda *a, **o: batch_pair_sum(*a, **o, **at_random)] if count > 1 else []
    for total in kinds:
        alone, shared = np.empty((2, 2, replicas, count))
        total(x, y, b, *alone, eps=eps, kernel="capped")
        total(x, y, b, *shared, eps=eps, kernel="capped", team=team)
        np.testing.assert_array_equal(shared, alone)
        first, last = own_particles(count, team)[team.rank :][:2]
        own = np.empty((2, replicas, last - first))
        total(x, y, b, *own, eps=eps, kernel="capped", team=team, own=True)
        np.testing.assert_array_equal(own, alone[..., first:last])
    np.testing.assert_array_equal(closest_equal_signs(x, y, b, team), closest_equal_signs(x, y, b))


@pytest.mark.parametrize("count", [1, 5, 700])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_sums_of_potentials_have_the_same_bits_in_any_team(team: Team, dimension: int, count: int) -> None:
    x, box = np.random.default_rng(1).random((2, count, dimension)), np.array([[0.0, 2.0]] * dimension)
    strengths = np.random.default_rng(2).random((count, count))
    well = lambda z: (-np.exp(-(z**2).sum(axis=1)), 2 * z * np.exp(-(z**2).sum(axis=1))[:, None])  # noqa: E731
    sums: list[Callable[[Team], Any]] = [
        lambda team: make_sums(Softened(width=0.3), box, periodic=False, team=team),
        lambda team: make_sums(GaussianKernel(width=0.3), box, periodic=False, team=team),
        lambda team: make_sums(Cosine(strength=-1.0), box, periodic=False, team=team),
        lambda team: AnySums(well, team=team),
        lambda team: AnySums(well, strengths=strengths, team=team),
    ]
    for made in sums:
        alone, shared = made(SINGLE), made(team)
        np.testing.assert_array_equal(shared.gradients(x), alone.gradients(x))
        np.testing.assert_array_equal(shared.energies(x), alone.energies(x))


def test_the_first_ranks_positions_are_those_of_all(team: Team, comm: MPI.Comm) -> None:
    x, y = np.random.default_rng(comm.rank).standard_normal((2, 1, 40))
    first = comm.bcast((x.copy(), y.copy()), root=0)
    forces = np.empty((2, 1, 40))
    pair_sum(x, y, np.ones(40), *forces, eps=0.1, kernel="capped", team=team)
    np.testing.assert_array_equal((x, y), first)
    np.testing.assert_array_equal(forces, comm.bcast(forces, root=0))


@pytest.mark.parametrize("size", [2, 5])
def test_each_piece_of_a_meeting_arrives_once_and_in_order(size: int) -> None:
    pairs = np.stack(np.triu_indices(7), axis=1)
    rank_of = np.searchsorted(np.arange(size + 1) * 7 // size, np.arange(7), side="right") - 1
    parts = [_round(pairs, rank_of, size, rank) for rank in range(size)]
    assert np.concatenate([part.mine for part in parts]).tolist() == pairs.tolist()
    for rank, part in enumerate(parts):
        np.testing.assert_array_equal(part.coming, [other.counts[rank] for other in parts])
        sent = [(other, k) for other in parts for k in range(other.counts[:rank].sum(), other.counts[: rank + 1].sum())]
        came = []
        for other, k in sent:  # in the order in which they come: which meeting has put its piece there
            m, side = np.argwhere(other.places == k)[0]
            came.append((other.mine[m, side], *other.mine[m]))
        assert [block for block, *_ in came] == part.gaining.tolist()
        for block in range(7):
            met = [tuple(pair) for b, *pair in came if b == block]
            wanted = [tuple(pair) for pair in pairs.tolist() if block in pair]
            assert met == (wanted if rank_of[block] == rank else [])


# --- Runs -------------------------------------------------------------------------------------------------------------


def charges(controls: Controls, **options: Any) -> ReplicaEnsemble:
    given = {"count": 60, "replicas": 2, "step": 0.02, "end": 0.04, "test_functions": FUNCTIONS}
    return signed.simulate(CHARGES, UNEQUAL, **(given | options), controls=controls)


def bodies(controls: Controls, **options: Any) -> ReplicaEnsemble:
    given = {"count": 300, "replicas": 2, "step": 0.1, "end": 0.2, "test_functions": PHASE}
    domain = PhaseDomain(x=(-8.0, 8.0), v=(-8.0, 8.0), periodic=False)
    model = vlasov.Model(potential=Softened(width=0.5), domain=domain)
    return vlasov.simulate(model, PhaseGaussian(), **(given | options), controls=controls)


def two_species(controls: Controls, **options: Any) -> ReplicaEnsemble:
    strengths, parts = ((1.0, -0.5), (0.3, 1.0)), [(Gaussian(mass=0.5, center=(c, 0.0), width=0.5),) for c in (-1, 1)]
    model = meanfield.Model(sigma=0.5, interaction=GaussianKernel(width=0.7), strengths=strengths)
    given = {"count": 300, "replicas": 2, "step": 0.1, "end": 0.2, "test_functions": FUNCTIONS[:1]}
    return meanfield.simulate(model, meanfield.Initial(species=tuple(parts)), **(given | options), controls=controls)


CASES: list[tuple[Callable[..., ReplicaEnsemble], dict[str, Any]]] = [
    (charges, {"count": 2, "replicas": 1}),
    (charges, {"count": 600, "collision": "annihilate", "gamma": PowerOfN(coefficient=0.3, power=0.0)}),
    (charges, {"count": 600, "method": "fast", "substeps": 2, "cutoff": 40, "end": 0.02}),
    (charges, {"count": 130, "method": "batches", "batch_size": 8}),
    (charges, {"estimate_eps": (0.4, 0.2)}),
    (bodies, {}),
    (two_species, {}),
]


@pytest.mark.parametrize(("simulate", "options"), CASES)
def test_trajectories_do_not_depend_on_the_team(
    comm: MPI.Comm, simulate: Callable[..., ReplicaEnsemble], options: dict[str, Any]
) -> None:
    alone = simulate(Controls(comm=MPI.COMM_SELF), **options)
    for ranks in range(1, comm.size + 1):
        alike(simulate(Controls(comm=comm, ranks_per_replica=ranks), **options), alone)
    if simulate is not two_species:
        halved = simulate(Controls(comm=MPI.COMM_SELF, halved=True), **options)
        alike(simulate(Controls(comm=comm, ranks_per_replica=comm.size, halved=True), **options), halved)


def test_what_is_large_goes_to_all_ranks_apart(comm: MPI.Comm, monkeypatch: pytest.MonkeyPatch) -> None:
    pickled = charges(Controls(comm=comm), replicas=comm.size + 1)
    monkeypatch.setattr(nbody_replicas, "LARGE", 100)
    alike(charges(Controls(comm=comm), replicas=comm.size + 1), pickled)


def test_a_run_goes_on_in_other_teams(comm: MPI.Comm) -> None:
    kept: list[dict[str, np.ndarray]] = []
    options = {"count": 600, "replicas": 3}
    seen: list[float] = []
    shown = Controls(ranks_per_replica=comm.size, keep=kept.append, snapshot=lambda t, *_, **__: seen.append(t))
    whole = charges(shown, **options)
    assert seen == ([0.0, 0.04] if comm.rank == 0 else [])
    parts = [part for some in comm.allgather(kept) for part in some]
    assert sorted(n for part in parts for n in part["replicas"]) == [0, 1, 2]
    for ranks in (1, None):
        alike(charges(Controls(ranks_per_replica=ranks, finished=parts[:1]), **options), whole)


# --- Who is in which team; what goes wrong ----------------------------------------------------------------------------


def test_there_are_as_many_teams_as_ranks_are_left_for(comm: MPI.Comm) -> None:
    wanted = {
        (10**6, comm.size, None): comm.size,
        (10**6, 1, None): 1,
        (600, 1, None): comm.size,  # too few particles
        (10**6, 0, None): 1,
        (2, 5, comm.size): 1,
        (2, 5, comm.size + 7): 1,
    }
    for (count, replicas, ranks), teams in wanted.items():
        with teams_of(comm, count=count, replicas=replicas, ranks=ranks) as team:
            assert (team.teams, team.size) == (teams, comm.size // teams)
            assert team.number == (comm.rank if teams > 1 else 0)


@pytest.mark.parametrize("failing", ["first", "last"])
def test_a_rank_that_fails_does_not_leave_its_team_waiting(comm: MPI.Comm, failing: str) -> None:
    unlucky = 0 if failing == "first" else comm.size - 1
    asked = []

    def fails() -> bool:
        asked.append(0)
        if comm.rank == unlucky and len(asked) == 2:
            raise OSError("no room")
        return False

    with pytest.raises(RunError, match="OSError: no room"):
        charges(Controls(ranks_per_replica=comm.size, stop_asked=fails), replicas=1)

    def cannot(part: dict[str, np.ndarray]) -> None:
        raise OSError("disk full")

    with pytest.raises(RunError, match="OSError: disk full"):
        charges(Controls(ranks_per_replica=comm.size, keep=cannot), replicas=3, count=40_000, end=0.001, step=0.001)


@pytest.mark.parametrize(("module", "kernel"), [(particles, "pair_sum"), (charge_replicas, "_euler_maruyama")])
def test_a_rank_that_cannot_compile_does_not_leave_its_team_waiting(
    comm: MPI.Comm, monkeypatch: pytest.MonkeyPatch, module: ModuleType, kernel: str
) -> None:
    """Before the others have shared the first sum, and after."""

    def fails(*_: Any, **__: Any) -> None:
        raise OSError("no room for the compiler")

    if comm.rank == comm.size - 1:
        monkeypatch.setattr(module, kernel, fails)
    with pytest.raises(RunError, match="OSError: no room for the compiler"):
        charges(Controls(ranks_per_replica=comm.size))


def test_all_ranks_of_a_team_stop_together(comm: MPI.Comm) -> None:
    with pytest.raises(Interrupted, match="before any of the 2 replicas"):
        charges(Controls(ranks_per_replica=comm.size, stop_asked=lambda: comm.rank == comm.size - 1))


def test_a_team_of_no_ranks_is_refused() -> None:
    with pytest.raises(InputError, match=r"particles\.ranks_per_replica = 0: must be at least 1"):
        charges(Controls(ranks_per_replica=0))
