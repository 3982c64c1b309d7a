"""Solvers with nodes go on from a checkpoint: their state is the same bit for bit, on any number of ranks.

So are the steps that follow, up to rounding: a preconditioner that charges keep is made anew. The load is carried by
states with history, a mesh of their own, curved elements, nodes that are one across a torus, and ranks that have no
nodes at all.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numpy as np
import pytest
from mpi4py import MPI
from states import hand_over

from limitpde import coagulation, meanfield, signed
from limitpde.errors import InputError
from limitpde.fem.mesh import Box, Disk, Point, Refinement, Torus
from limitpde.results.checkpoint import Checkpoint, PartState

HALF, END = 0.06, 0.1


def charges(comm, *, attractive=False, **options):
    """Two clouds, or one that collapses."""
    first = {"mass": 0.6, "center": (-0.8, 0.3), "width": 0.6}
    second = {"mass": 0.4, "center": (0.7, -0.2), "width": 0.5}
    initial = signed.Initial(positive=[first], negative=[] if attractive else [second])
    kind = "attractive" if attractive else "repulsive"
    model = signed.Model(sigma=1.0, gamma_bar=11.0 if attractive else 1.0, interaction=kind)
    disk = Disk(radius=5.0, cell_size=0.5)
    return signed.Solver(model, initial, **{"mesh": disk, "step": 0.02, "comm": comm} | options)


def refined(comm):
    """On a mesh that has changed by HALF, and steps of a tolerance."""
    finer = Refinement(tolerance=0.02, smallest_cell=0.01)
    return charges(comm, attractive=True, tolerance=1e-3, refinement=finer)


def species(comm):
    """Two species on a square."""
    model = meanfield.Model(sigma=0.7, interaction={"kind": "harmonic"}, strengths=[[1.0, 0.5], [0.5, 0.3]])
    cloud = {"mass": 0.5, "center": (0.3, 0.0), "width": 0.5}
    initial = meanfield.Initial(species=[[cloud], [cloud | {"center": (-0.4, 0.2)}]])
    return meanfield.Solver(model, initial, mesh=Box(size=6.0, cell_size=0.4, origin=-3.0), step=0.02, comm=comm)


def masses(comm, mesh):
    """Some mass overflows."""
    clouds = [{"n": 1, "mass": 0.8, "shape": "uniform"}]
    if not isinstance(mesh, Point):
        clouds.append({"n": 2, "mass": 0.5, "shape": "gaussian", "center": (0.3, 0.6), "width": 0.15})
    beta = {"kernel": "constant", "scale": 2.0}
    model = coagulation.Model(dimension=2, diffusion=[0.1], beta=beta, n_max=4)
    return coagulation.Solver(model, coagulation.Initial(masses=clouds), mesh=mesh, step=0.02, comm=comm)


MADE = {
    "charges": charges,
    "charges, degree 3": lambda comm: charges(comm, degree=3, mesh=Disk(radius=5.0, cell_size=0.7)),
    "charges, refined": refined,
    "species": species,
    "masses": lambda comm: masses(comm, Torus(size=1.0, cell_size=0.125)),
    "masses, one point": lambda comm: masses(comm, Point()),
}


@pytest.mark.ranks
@pytest.mark.parametrize("name", MADE)
def test_a_solver_goes_on(comm, shared_folder, name):
    make = MADE[name]
    whole, half = make(comm), make(comm)
    whole.solve(END, stops=[HALF])
    half.solve(HALF)
    assert name != "charges, refined" or 0 < half.adaptive.changes < whole.adaptive.changes
    for ranks, folder in ((comm, shared_folder), (MPI.COMM_SELF, shared_folder / f"{comm.rank}")):
        other = make(ranks)
        hand_over(half, other, shared_folder, comm, ranks)
        Checkpoint(folder, ranks).save_solution({"solver": PartState("test 1", other.state())})
        again, first = (max((path / "checkpoint").glob("*.bin")) for path in (folder, shared_folder))
        assert again.read_bytes() == first.read_bytes()
        comm.barrier()
        other.solve(END)
        assert other.figures() == pytest.approx(whole.figures(), rel=1e-9, abs=1e-10)


@pytest.mark.ranks
def test_nobody_holds_what_all_have(comm, shared_folder):
    """The file that rank 0 alone writes does not grow with the nodes, and each rank reads its part of the mesh."""
    solver, sizes = refined(comm), []
    for t in (0.0, HALF):
        solver.solve(t)
        Checkpoint(shared_folder, comm).save_solution({"solver": PartState(solver.STATE, solver.state())})
        sizes.append((shared_folder / "checkpoint/solution.npz").stat().st_size)
    assert solver.adaptive.changes
    assert sizes[1] < 1.1 * sizes[0] < 10_000
    parts, _ = Checkpoint(shared_folder, comm).solution({"solver": solver.STATE})
    stored = parts["solver"]["mesh_points"]
    assert len(stored.part()) <= -(-stored.shape[0] // comm.size)
    assert all(np.size(value) < 10 for value in parts["solver"].values() if isinstance(value, np.ndarray))


@pytest.mark.ranks
def test_a_state_of_another_mesh_is_refused(comm, shared_folder):
    fine, coarse = charges(comm), charges(comm, mesh=Disk(radius=5.0, cell_size=0.7))
    with pytest.raises(InputError, match=r"solution-1\.bin: holds an array .* run again without --resume"):
        hand_over(fine, coarse, shared_folder, comm)
