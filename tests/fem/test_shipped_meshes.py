"""The meshes of the repository and a user's own: gmsh and XDMF files, read, checked and solved on.

The load is carried by the layer of charge between two plates, on a mesh with named lines, against Gouy and Chapman.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import re
from pathlib import Path

import dolfinx.fem
import meshio
import numpy as np
import pytest
import ufl
from dolfinx.io import XDMFFile
from mpi4py import MPI

from limitpde.coagulation import Model as Coagulation
from limitpde.coagulation import Solver as CoagulationSolver
from limitpde.coagulation.model import Initial as Masses
from limitpde.errors import InputError
from limitpde.fem import mesh_files
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.mesh import Box, build
from limitpde.signed import Initial, Model, Solver

MESHES = Path(__file__).parents[2] / "meshes"
FILES = sorted(MESHES.glob("*.msh"))


@pytest.mark.ranks
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_stored_meshes(comm, path):
    """Delaunay, of the area that their parameters say, and made by a script whose parameters have comments."""
    graph = EdgeGraph(build(path, comm))
    area = float(graph.sums.total(graph.area)[0])
    script = path.with_suffix(".geo").read_text()
    block = re.search(r"DefineConstant\[(.*?)\];", script, re.DOTALL)
    assert block is not None
    value = {name: float(number) for name, number in re.findall(r"(\w+) = ([\d.]+)", block[1])}
    expected = {
        "disk": lambda v: np.pi * v["radius"] ** 2,
        "strip": lambda v: v["width"] * v["height"],
        "room": lambda v: v["width"] * v["height"] - v["wall"] * (v["height"] - v["door"]),
    }[path.stem](value)
    assert area == pytest.approx(expected, rel=4e-3 if path.stem == "disk" else 1e-12)
    assert path.name in (MESHES / "README.md").read_text()
    assert f"gmsh -2 {path.stem}.geo" in script


@pytest.mark.ranks
@pytest.mark.parametrize("form", ["HDF", "XML"])
def test_xdmf_files_are_the_same_mesh(comm, shared_folder, form):
    """Also in single precision and with points that no triangle uses, in the order of the file."""
    points, cells = mesh_files.read(MESHES / "strip.msh", 2)
    path = shared_folder / f"{form}.xdmf"
    stray = np.insert(points.astype(np.float32), [0, 7, len(points)], np.nan, axis=0)
    shift = 1 + (np.arange(len(points)) >= 7)
    if comm.rank == 0:
        meshio.xdmf.write(path, meshio.Mesh(stray, [("triangle", cells + shift[cells])]), data_format=form)
    comm.barrier()
    mine = mesh_files.read(path, 2, comm)
    assert [part.dtype for part in mine] == [np.float64, np.int64]
    for part, whole in zip(mine, (points, cells), strict=True):
        np.testing.assert_allclose(np.concatenate(comm.allgather(part)), whole, atol=1e-6)
        assert len(part) < len(whole) / comm.size + 3
    mesh = build(path, comm)  # in double precision, also where points come from another rank
    np.testing.assert_allclose(mesh.geometry.x, build(MESHES / "strip.msh", comm).geometry.x, atol=1e-6)


@pytest.mark.ranks
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_xdmf_files_of_dolfinx_are_read_by_slices(comm, shared_folder, monkeypatch, dimension):
    """HDF5 is not read by meshio, which would have the whole."""
    path = shared_folder / "box.xdmf"
    box = build(Box(size=1.0, cell_size=0.25), comm, dimension=dimension)
    with XDMFFile(comm, path, "w") as file:
        file.write_mesh(box)
    monkeypatch.setattr(meshio.xdmf, "read", None)
    mesh = build(path, comm, dimension=dimension)
    assert mesh.geometry.index_map().size_global == 5**dimension
    assert mesh.geometry.dim == dimension
    one = dolfinx.fem.assemble_scalar(dolfinx.fem.form(dolfinx.fem.Constant(mesh, 1.0) * ufl.dx))
    assert comm.allreduce(one) == pytest.approx(1.0, rel=1e-12)


def test_a_gmsh_file_is_converted_to_one_that_is_read_by_slices(tmp_path, monkeypatch):
    """By the last lines of Python in the guide to meshes."""
    monkeypatch.chdir(tmp_path)
    Path("mine.msh").write_bytes((MESHES / "strip.msh").read_bytes())
    exec(re.findall(r"```python\n(.*?)```", (MESHES / "README.md").read_text(), re.DOTALL)[-1], {})
    expected = mesh_files.read(Path("mine.msh"), 2)
    monkeypatch.setattr(meshio.xdmf, "read", None)
    for part, whole in zip(mesh_files.read(Path("mine.xdmf"), 2), expected, strict=True):
        np.testing.assert_array_equal(part, whole)


@pytest.mark.ranks
def test_unfit_xdmf_files_are_refused_on_every_rank(comm, shared_folder):
    points = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    cells = np.array([[0, 1, 2], [0, 2, 3]])
    path = shared_folder / "mine.xdmf"
    for where, kind, numbers, form, message in (
        (points, "triangle", cells + 1, "HDF", "cells have points that are not there"),
        (points, "triangle", cells - 1, "XML", "cells have points that are not there"),
        (np.where(points == 1, np.inf, points), "triangle", cells, "HDF", "coordinates that are not finite"),
        (points + 0.1 * points[:, [2, 2, 0]], "triangle", cells, "HDF", "must lie in a plane"),
        (points, "quad", np.array([[0, 1, 2, 3]]), "HDF", "of first order only"),
        (points, "triangle", np.array([[0.0, 1, 2]]), "HDF", "not an .xdmf file .*Cannot cast"),
    ):
        if comm.rank == 0:
            meshio.xdmf.write(path, meshio.Mesh(where, [(kind, numbers)]), data_format=form)
        comm.barrier()
        with pytest.raises(InputError, match=message):
            build(path, comm)
        comm.barrier()
    if comm.rank == 0:
        path.with_suffix(".h5").unlink()
    comm.barrier()
    for name, message in (("mine", "not an .xdmf file .*mine.h5"), ("nothing", "no such file")):
        with pytest.raises(InputError, match=message):
            build(shared_folder / f"{name}.xdmf", comm)


def test_a_file_that_is_no_xdmf(tmp_path):
    (tmp_path / "junk.xdmf").write_text("no mesh\n")
    with pytest.raises(InputError, match=r"not an \.xdmf file that meshio can read"):
        mesh_files.read(tmp_path / "junk.xdmf", 2)


def test_a_layer_of_charge_at_a_plate(comm):
    """Gouy and Chapman: tanh(g psi / 4) = tanh(g psi_0 / 4) e^(-kx) far from the other plate, g = gamma_bar / D."""
    D, gamma_bar, mass = 0.5, 1.0, 8.0  # of each sign, so that layers are thin
    model = Model(sigma=np.sqrt(2 * D), gamma_bar=gamma_bar)
    part = {"shape": "uniform", "mass": mass}
    initial = Initial(positive=[part], negative=[part])
    solver = Solver(
        model, initial, mesh=MESHES / "strip.msh", step=0.1, boundary={"left": 0.5, "right": -0.5}, comm=comm
    )
    solver.solve(20.0)  # (length / pi)^2 / D = 0.8 is the slowest time
    rho = solver.densities["positive"]
    x = solver.graph.points[:, 0]
    middle = np.abs(x - 1.0) < 0.1
    bulk = float(np.divide(*solver.sums.total(solver.graph.area * rho * middle, solver.graph.area * middle)))
    k = np.sqrt(4 * np.pi * gamma_bar * bulk / D)
    near = x < 0.4
    exact = 4 * np.arctanh(np.tanh(0.5 * gamma_bar / D / 4) * np.exp(-k * x[near])) * D / gamma_bar
    if near.any():
        assert np.abs(solver.potential[near] - exact).max() < 5e-3
    spread = np.log(rho) + gamma_bar / D * solver.potential  # constant in equilibrium
    largest, least = solver.sums.maximum(spread), solver.sums.minimum(spread)
    assert largest - least < 1e-6


def test_two_rooms_share_their_particles(comm):
    """Free diffusion through a door: mass exact, and in the end as much in each room as its area says."""
    model = Coagulation(dimension=2, diffusion=[1.0], interaction={"shape": "ball", "alpha": 0.0}, n_max=1)
    initial = Masses(masses=[{"n": 1, "shape": "gaussian", "mass": 1.0, "center": (0.45, 0.5), "width": 0.15}])
    solver = CoagulationSolver(model, initial, mesh=str(MESHES / "room.msh"), step=0.05, comm=comm)
    space = solver.nodes
    left = space.points[:, 0] < 0.95
    area = space.sums.total(space.volume, space.volume * left)

    def share() -> float:
        density = solver.densities[:, 0]
        total, there = space.sums.total(space.volume * density, space.volume * density * left)
        assert total == pytest.approx(1.0, rel=1e-3)
        return float(there / total)

    assert share() > 0.9
    solver.solve(8.0)
    assert share() == pytest.approx(area[1] / area[0], abs=1e-3)


@pytest.mark.ranks
def test_all_ranks_learn_of_a_bad_file(comm):
    with pytest.raises(InputError, match="no such file"):
        build(MESHES / "nothing.msh", comm)
    assert comm.allreduce(1, op=MPI.SUM) == comm.size
