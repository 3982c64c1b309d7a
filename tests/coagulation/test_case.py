"""Cases of the coagulating system's equation: what is refused, in which words, and what a run leaves in summary.json.

The load is carried by runs against exact laws, on any number of ranks, and by wrong keys that must give one clear line
before anything is solved. Powers and products that overflow, or a spectrum that is infinite, must not get as far as a
solver: one such case once ran for ever.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import copy
import math

import meshio
import numpy as np
import pytest
from casefiles import changed

from limitpde import case as cases
from limitpde.coagulation.model import Initial, Model
from limitpde.coagulation.pde import Solver
from limitpde.errors import InputError
from limitpde.fem.heat import HeatFlow
from limitpde.fem.mesh import Torus
from limitpde.fem.nodes import NodeSpace

UNIFORM = {"n": 1, "shape": "uniform", "mass": 1.0}
CLOUD = {"n": 1, "shape": "gaussian", "mass": 1.0, "center": [0.5, 0.5, 0.5], "width": 0.2}
TORUS = {"shape": "torus", "size": 1.0, "cell_size": 0.25}
WAVE = {"shape": "wave", "k": [2 * math.pi, 0.0, 0.0], "n": 1}


def data_of(mesh=None, **model):
    """A case as nested dictionaries; the homogeneous equation by default."""
    return {
        "system": "coagulation",
        "model": {"dimension": 3, "diffusion": [0.1], "beta": {"kernel": "constant"}, "n_max": 6, **model},
        "initial": {"masses": [copy.deepcopy(UNIFORM)]},
        "time": {"end": 1.0},
        "pde": {"mesh": mesh or {"shape": "point"}, "step": 0.02},
        "output": {"pictures": False},
    }


# What is refused

SPATIAL = changed(data_of(TORUS), initial__masses=[CLOUD])
MICRO = data_of(TORUS, beta={"kernel": "from_micro"}, interaction={"shape": "ball", "alpha": 20.0})
TABLE = "must be a list, or a section { power = ..., scale = ... }"
RANGE = "must lie between 1e-50 and 1e+50"
WRONG = [
    # power laws, and numbers so large that powers of them are none
    (MICRO, {"model__diffusion": 0.1}, f"model.diffusion = 0.1: {TABLE}"),
    (MICRO, {"model__diffusion": [1e308]}, f"model.diffusion[0] = 1e+308: {RANGE}"),
    (MICRO, {"model__diffusion": {"power": 1000.0}}, "model: diffusion.power = 1000: makes the value inf"),
    (MICRO, {"model__diffusion": {"power": -1e9}}, "model: diffusion.power = -1e+09: makes the value 0 at the mass 6"),
    (MICRO, {"model__diffusion": {"powr": -0.3}}, "model.diffusion.powr: unknown key; did you mean power?"),
    (MICRO, {"model__ranges": 1.0}, f"model.ranges = 1.0: {TABLE}"),
    (MICRO, {"model__ranges": {"power": 500.0}}, "model: ranges.power = 500: makes the value"),
    (MICRO, {"model__fragmentation": {"rate": 1.0, "power": 1e6}}, "model: fragmentation.power = 1e+06"),
    (MICRO, {"model__beta": {"kernel": "constant", "scale": 1e300}}, f"model.beta.scale = 1e+300: {RANGE}"),
    # the interaction
    (MICRO, {"model__dimension": 1}, 'model.dimension = 1: beta.kernel = "from_micro" needs dimension 2 or 3'),
    (MICRO, {"model__interaction": {"shape": "ball"}}, "model.interaction.alpha is missing"),
    (MICRO, {"model__interaction__alpha": -1.0}, "alpha = -1.0: must be greater than or equal to 0"),
    (MICRO, {"model__interaction__alpha": "a"}, "model.interaction.alpha = 'a': must be a number, a list of rows"),
    (MICRO, {"model__interaction__alpha": 1e308}, "alpha = 1e+308: must be less than or equal to 1e+50"),
    (MICRO, {"model__interaction__radius": 1e300}, f"model.interaction.radius = 1e+300: {RANGE}"),
    (MICRO, {"model__interaction__alpha": {"powr": 1.0}}, "model.interaction.alpha.powr: unknown key"),
    (MICRO, {"model__interaction": {"shape": "bal", "alpha": 1.0}}, "did you mean ball?"),
    # initial densities
    (data_of(), {"initial__masses__0__n": 7}, "initial.masses[0].n = 7: must not exceed 6, the largest mass"),
    (data_of(), {"initial__masses": [CLOUD]}, "initial.masses[0].shape: must be 'uniform', as a point"),
    (data_of(), {"initial__masses__0__shape": "unifrom"}, "did you mean uniform?"),
    (data_of(), {"initial__masses__0__center": [0.5]}, "masses[0].center: unknown key; known: shape, mass"),
    (SPATIAL, {"initial__masses__0__width": 1e-300}, f"initial.masses[0].width = 1e-300: {RANGE}"),
    (SPATIAL, {"initial__masses__0__center": []}, "initial.masses[0].center = []: must have at least 1 item"),
    (SPATIAL, {"initial__masses__0__center": [0.5]}, "initial.masses[0].center = [0.5]: must have 3 coordinates"),
    # the equation
    (data_of(), {"pde__mesh": {}}, "pde.mesh.shape is missing: one of 'torus', 'box', 'ball', 'point'"),
    (data_of(), {"pde__mesh": 3}, "pde.mesh = 3: must be a section with a shape"),
    (data_of(), {"pde__mesh": {"shape": "point", "size": 1.0}}, "pde.mesh.size: unknown key; known: shape"),
    (data_of(), {"pde__mesh": {**TORUS, "size": [1.0, 1.0]}}, "pde.mesh.size = [1.0, 1.0]: must be a number or have 3"),
    (data_of(), {"pde__mesh": {**TORUS, "size": []}}, "size = []: must be a number or have at least 1 item"),
    (data_of(), {"pde__mesh": {**TORUS, "cell_size": 1e-9}}, "pde.mesh.cell_size = 1e-09: makes 1e+27 nodes"),
    (data_of(), {"pde__step": 1e-300}, "pde.step = 1e-300: too small"),
    (data_of(), {"pde__bins": {"largst": 9.0}}, "pde.bins.largst: unknown key; did you mean largest?"),
    (data_of(), {"pde__bins": {"largest": 1e15, "per_decade": 200}}, "pde.bins: 2700 masses; at most 2048"),
    (
        data_of(n_max=1, beta={"kernel": "matrix", "matrix": [[1.0]]}),
        {"pde__bins": {"largest": 100.0}},
        'pde.bins: beta.kernel = "matrix" has no rates for bins',
    ),
    # the comparison
    (SPATIAL, {"compare": {"test_functions": [{**WAVE, "n": 9}]}}, "compare.test_functions[0].n = 9: must be a mass"),
    (SPATIAL, {"compare": {"test_functions": [{**WAVE, "k": [1.0]}]}}, "test_functions[0].k must have 3 entries"),
]


@pytest.mark.parametrize(("data", "changes", "fragment"), WRONG, ids=[str(change)[:70] for _, change, _ in WRONG])
def test_wrong_key_is_refused_in_one_line(data, changes, fragment):
    with pytest.raises(InputError) as caught:
        cases.check(changed(data, **changes), where="case.toml")
    message = str(caught.value)
    assert fragment in message
    assert message.startswith("case.toml: ")
    assert "\n" not in message


def test_particles_may_be_heavier_than_the_equation_resolves():
    data = changed(data_of(), initial__masses__0__n=7, model__beta={"kernel": "from_micro"})
    del data["pde"]
    data["model"]["interaction"] = {"shape": "ball", "alpha": 1.0}
    data["particles"] = {"counts": [8]}
    assert cases.check(data).initial.masses[0].n == 7


def test_bins_reach_beyond_n_max():
    assert (
        cases.check(changed(data_of(), initial__masses__0__n=100, pde__bins={"largest": 1000.0})).pde.bins is not None
    )
    with pytest.raises(InputError, match=r"n = 2000: must not exceed .*\(pde\.bins\)"):
        cases.check(changed(data_of(), initial__masses__0__n=2000, pde__bins={"largest": 1000.0}))


# What a solver refuses that a case does not know of


@pytest.mark.ranks
def test_infinite_spectrum_is_refused(comm):
    """Of the degree of such a semigroup there is no bound; the search for it once did not end."""
    nodes = NodeSpace(Torus(size=1.0, cell_size=0.25), comm, dimension=2)
    for diffusivity in (1e200, 1e308):
        with pytest.raises(InputError, match="terms for its diffusion, more than 200000"):
            HeatFlow(nodes, np.array([1.0, diffusivity])).degree(1.0)
    assert HeatFlow(nodes, np.array([1e-320])).degree(1.0) == 0


@pytest.mark.ranks
def test_wide_density_needs_no_memory_to_be_refused(comm):
    initial = Initial(masses=[{**CLOUD, "width": 1e9}])
    model = Model(diffusion=[0.1], beta={"kernel": "constant"})
    with pytest.raises(InputError, match="so wide that it reaches around the torus many times"):
        Solver(model, initial, mesh=Torus(size=1.0, cell_size=0.25), step=0.1, comm=comm)


@pytest.mark.ranks
def test_points_of_a_file_must_be_finite(comm, shared_folder):
    path = shared_folder / "holes.msh"
    if comm.rank == 0:
        points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, np.nan, 0]])
        mesh = meshio.Mesh(points, [("triangle", np.array([[0, 1, 2], [1, 3, 2]]))])
        meshio.gmsh.write(path, mesh, fmt_version="2.2", binary=False)
    comm.barrier()
    with pytest.raises(InputError, match=r"holes\.msh': some of its points have coordinates that are not finite"):
        NodeSpace(path, comm, dimension=2)


@pytest.mark.ranks
def test_kernel_that_fails_on_one_rank_is_refused_on_all(comm, shared_folder):
    path = shared_folder / "kernel.py"
    if comm.rank == 0:
        path.write_text(
            "from mpi4py import MPI\n"
            "def beta(n, m):\n"
            "    if MPI.COMM_WORLD.rank == MPI.COMM_WORLD.size - 1:\n"
            "        raise RuntimeError('the last rank only')\n"
            "    return 1.0 + 0.0 * n * m\n"
        )
    comm.barrier()
    model = Model(diffusion=[0.1], beta={"kernel": "python", "python": f"{path}:beta"}, n_max=4)
    with pytest.raises(InputError, match="the last rank only"):
        Solver(model, Initial(masses=[UNIFORM]), mesh=Torus(size=1.0, cell_size=0.5), step=0.1, comm=comm)


def test_rates_that_are_not_exact_are_told_with_the_warnings(comm, shared_folder):
    path = shared_folder / "potential.py"
    if comm.rank == 0:
        path.write_text("import numpy as np\ndef V(x):\n    return 1.0 * (np.abs(x).max(axis=1) < 0.5)\n")
    comm.barrier()
    interaction = {"python": f"{path}:V", "radius": 0.9, "alpha": 1.0}
    model = Model(diffusion=[1.0], interaction=interaction, n_max=2)
    solver = Solver(model, Initial(masses=[UNIFORM]), mesh=Torus(size=1.0, cell_size=0.5), step=0.1, comm=comm)
    assert len(solver.warnings) == 1
    assert solver.warnings[0].startswith("beta has an estimated relative error of ")


# Runs, and what they leave


def pde_of(data, folder, comm):
    """The part `pde` of the summary of a run that must succeed."""
    summary = limitpde.run(cases.check(data), out=folder / "out", comm=comm)
    assert summary["status"] == "done", summary
    assert summary["ranks"] == comm.size
    found = summary["pde"]
    assert found["mass"]["total"]["max_relative_drift"] < 1e-13
    assert found["minimum"] >= 0.0
    ledger = found["mass"]["total"]["end"] + found["mass"]["overflow"]["end"]
    if data["model"].get("reaction") != "annihilation":
        assert ledger == pytest.approx(found["mass"]["total"]["start"], rel=1e-13)
    for k in range(3):
        powers = np.array(found["masses"]) ** k
        assert found["moments"][str(k)]["end"] == pytest.approx(powers @ found["density_end"], rel=1e-12)
    return summary


def test_constant_kernel_with_many_masses(comm, shared_folder):
    data = changed(data_of(n_max=3000), time__end=20.0, pde__step=0.1)
    found = pde_of(data, shared_folder, comm)["pde"]
    number = 1 / 11  # 1 / (1 + t / 2)
    k = np.arange(1, 101)
    assert "beta" not in found
    assert found["dofs"] == 3000
    assert found["moments"]["0"]["end"] == pytest.approx(number, rel=1e-4)
    np.testing.assert_allclose(found["density_end"][:100], number**2 * (1 - number) ** (k - 1), rtol=2e-3)


def test_mass_beyond_the_range_is_a_gel(comm, shared_folder):
    data = changed(data_of(n_max=400, beta={"kernel": "multiplicative"}), time__end=2.0)
    summary = pde_of(data, shared_folder, comm)
    assert summary["pde"]["mass"]["overflow"]["end"] == pytest.approx(0.5, rel=1e-4)  # Stockmayer: 1 - 1 / t
    assert any("overflow" in told for told in summary["warnings"])


def test_annihilation_by_the_recipe(comm, shared_folder):
    interaction = {"shape": "ball", "alpha": 20.0}
    data = data_of(
        diffusion=[1.0], beta={"kernel": "from_micro"}, interaction=interaction, n_max=1, reaction="annihilation"
    )
    found = pde_of(changed(data, time__end=0.1, pde__step=0.001), shared_folder, comm)["pde"]
    kappa = math.sqrt(10.0)
    beta = 8 * math.pi * (1 - math.tanh(kappa) / kappa)
    assert found["beta"] == [[pytest.approx(beta, rel=1e-10)]]
    assert found["mass"]["total"]["end"] == pytest.approx(1 / (1 + 0.1 * beta), rel=1e-4)
    assert found["mass"]["annihilated"]["end"] + found["mass"]["total"]["end"] == pytest.approx(1.0, rel=1e-13)


@pytest.mark.parametrize("continuous", [False, True])
def test_bins_keep_the_number(comm, shared_folder, continuous):
    data = changed(data_of(), time__end=200.0, pde__step=1.0, pde__bins={"largest": 1e5, "continuous": continuous})
    found = pde_of(data, shared_folder, comm)["pde"]
    assert found["masses"][-1] >= 1e5
    assert found["moments"]["0"]["end"] == pytest.approx(1 / 101, rel=5e-4)
    assert found["moments"]["2"]["end"] == pytest.approx(201.0, rel=2e-2)  # M2' = M1^2


PLACES = [(1, "ball"), (1, "file"), (2, "torus"), (2, "file"), (3, "box"), (3, "ball"), (3, "file")]


@pytest.mark.ranks
@pytest.mark.parametrize(("d", "shape"), PLACES)
def test_homogeneous_densities_stay_so_on_every_mesh(comm, shared_folder, d, shape):
    """Density one on a mesh of any kind follows the law of a point, on any number of ranks."""
    meshes = {
        "torus": {"shape": "torus", "size": 1.0, "cell_size": 0.25},
        "box": {"shape": "box", "size": 0.5, "cell_size": 0.25},
        "ball": {"shape": "ball", "radius": 0.5, "cell_size": 0.25},
        "file": str(shared_folder / "mesh.msh"),
    }
    if shape == "file" and comm.rank == 0:
        write_gmsh(meshes["file"], d)
    comm.barrier()
    data = changed(data_of(meshes[shape], dimension=d, n_max=40), pde__step=0.05)
    mesh = cases.check(data).pde.mesh
    volume = float(np.sum(comm.allgather(NodeSpace(mesh, comm, dimension=d).volume.sum())))
    data["initial"]["masses"][0]["mass"] = volume
    data["compare"] = {"test_functions": [{"shape": "wave", "k": [0.0] * d, "n": 2}]}
    summary = pde_of(data, shared_folder, comm)
    number = 2 / 3  # 1 / (1 + t / 2)
    expected = volume * number**2 * (1 - number) ** np.arange(5)
    np.testing.assert_allclose(summary["pde"]["density_end"][:5], expected, rtol=1e-3)
    assert abs(summary["compare"]["pde_residual"][0]["residual"]) < 1e-3 * volume
    if comm.rank == 0:
        assert (shared_folder / "out" / "pde" / "fields.vtkhdf").is_file()
    comm.barrier()


def write_gmsh(path, d):
    """The unit cube of d dimensions as a gmsh file."""
    points, cells = Torus(size=1.0, cell_size=0.25).cells(d)
    three = np.zeros((len(points), 3))
    three[:, :d] = points
    kind = {1: "line", 2: "triangle", 3: "tetra"}[d]
    meshio.gmsh.write(path, meshio.Mesh(three, [(kind, cells)]), fmt_version="2.2", binary=False)
