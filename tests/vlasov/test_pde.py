"""The Vlasov solver against exact laws, in space and in time.

Load: linear response to the Volterra equation's digits, boosted equilibria with observed orders 2 and 4, conservation
of mass, momentum and (to the order of the splitting) energy, and W of the solution. Rates of free streaming and of the
translations themselves are in test_phase_space.py.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import pickle

import numpy as np
import pytest
from mpi4py import MPI
from states import hand_over

from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.errors import InputError
from limitpde.vlasov.initial import Initial
from limitpde.vlasov.model import Model
from limitpde.vlasov.pde import Solver
from limitpde.vlasov.residual import PDEResidual

LANDAU = {  # methods/vlasov.md 3.2, 3.5, 3.6: r(t) of the Volterra equation
    "landau 0.5": ("poisson", 1.0, 0.5, 1.0, {5: 3.30347591068668e-01, 10: 7.83966830016126e-02}),
    "landau 0.4": ("poisson", 1.0, 0.4, 1.0, {5: 5.09000276371784e-01, 10: 3.71003440974917e-01}),
    "landau 0.3": ("poisson", 1.0, 0.3, 1.0, {5: 5.88423737568562e-01, 10: 3.15882723516609e-01}),
    "hmf 0.4": ("cosine", -1.0, 1.0, 0.4**0.5, {5: 1.65309007065276, 10: 2.95495072315153}),
    "hmf 0.75": ("cosine", -1.0, 1.0, 0.75**0.5, {5: 0.309992451195178, 10: 0.0821392225441607}),
    "gaussian": ("gaussian", 1.0, 0.5, 1.0, {5: 0.117733845055184, 10: 0.0215246736934442}),
}


def model(kind, k, strength=1.0, v=8.0, **options):
    potential = {"kind": kind} if kind == "none" else {"kind": kind, "strength": strength}
    if kind == "gaussian":
        potential["width"] = 1.0
    domain = {"x": (0.0, 2 * np.pi / k), "v": (-v, v)}
    return Model(potential=potential, domain=domain, **options)


def initial(shape="landau", **options):
    import pydantic

    return pydantic.TypeAdapter(Initial).validate_python({"shape": shape, **options})


def perturbed(name, *, amplitude, **options):
    kind, strength, k, thermal, _ = LANDAU[name]
    mass = 1.0 if kind == "cosine" else 2 * np.pi / k
    start = initial(k=k, amplitude=amplitude, thermal=thermal, mass=mass)
    return Solver(model(kind, k, strength, v=8 * thermal), start, **options)


def density_mode(solver, k):
    """int rho cos(k x) dx."""
    x = solver.space.x_points[..., 0]
    ones = [np.ones((1, len(v))) for v in solver.space.v_nodes]
    rho = solver.form.velocity_integrals(ones)[0]
    return float(solver.space.integrate_x(rho * np.cos(k * x)))


@pytest.mark.parametrize("name", list(LANDAU))
def test_linear_response_is_that_of_the_volterra_equation(name, comm):
    _, _, k, _, exact = LANDAU[name]
    solver = perturbed(name, amplitude=1e-5, cells=(12, 64), degree=4, step=0.25, order=4, comm=comm)
    first = density_mode(solver, k)
    for t, expected in exact.items():
        solver.solve(t)
        assert density_mode(solver, k) / first == pytest.approx(expected, abs=3e-6)


@pytest.mark.parametrize(("order", "steps"), [(2, (0.2, 0.1)), (4, (1.25, 0.625))])
def test_linear_response_is_of_the_order_of_the_splitting(order, steps, comm):
    errors = []
    for step in steps:
        options = {"cells": (12, 64), "degree": 5, "step": step, "order": order}
        solver = perturbed("landau 0.5", amplitude=1e-5, comm=comm, **options)
        first = density_mode(solver, 0.5)
        solver.solve(5.0)
        errors.append(abs(density_mode(solver, 0.5) / first - LANDAU["landau 0.5"][4][5]))
    assert np.log2(errors[0] / errors[1]) > order - 0.1  # the small terms of the six stages still show at order 4


@pytest.mark.parametrize(("order", "steps", "level"), [(2, (0.2, 0.1), 6e-5), (4, (1.0, 0.5), 1e-7)])
def test_a_boosted_equilibrium_of_the_hmf_moves_unchanged(order, steps, level, comm):
    """f = exp(-((v - u)^2 / 2 - M cos(x - u t)) / T) / Z, exact for the cosine kernel (methods 3.7.3 and 3.7.4)."""
    from scipy.special import iv

    T, M, u, end = 0.4, 0.58970798778274, 1.0, 4.0

    def exact(t):
        norm = np.sqrt(2 * np.pi * T) * 2 * np.pi * iv(0, M / T)
        return lambda z: np.exp(-((z[:, 1] - u) ** 2 / 2 - M * np.cos(z[:, 0] - u * t)) / T) / norm

    errors = []
    for step in steps:
        options = {"cells": (24, 96), "degree": 5, "step": step, "order": order, "comm": comm}
        solver = Solver(model("cosine", 1.0, -1.0, v=6.0), initial(k=1.0, amplitude=0.1), **options)
        solver.space.fill(solver.form._f, lambda z: exact(0.0)(z)[None])
        solver.solve(end)
        other = solver.space.array(1)
        solver.space.fill(other, lambda z: exact(end)(z)[None])
        largest = float(np.abs(solver.form.values - other[0]).max(initial=0.0))
        errors.append(comm.allreduce(largest, op=max))
    assert errors[-1] < level
    assert np.log2(errors[0] / errors[1]) > order - 0.1


def test_a_harmonic_potential_turns_phase_space_rigidly(comm):
    """Gamma = |x|^2 / 2, unit mass: rotation about the moving centre of mass (methods 3.7.2), in the whole space."""
    whole = Model(
        potential={"kind": "harmonic", "strength": 1.0},
        domain={"x": (-7.0, 7.0), "v": (-7.0, 7.0), "periodic": False},
    )
    start = initial("gaussian", center=(1.0, 0.5), width=(0.9, 0.6))
    solver = Solver(whole, start, cells=(28, 28), degree=4, step=0.1, order=4, comm=comm)
    t, first = 2.0, solver.figures()
    solver.solve(t)
    figures = solver.figures()
    spread = 0.81 * np.cos(t) ** 2 + 0.36 * np.sin(t) ** 2
    assert figures["centre_x"] == pytest.approx(1.0 + 0.5 * t, abs=1e-7)
    assert figures["second_moment"] == pytest.approx(spread + (1.0 + 0.5 * t) ** 2, abs=1e-6)
    assert figures["mass_total"] + figures["mass_lost"] == pytest.approx(first["mass_total"], rel=1e-13)


@pytest.mark.parametrize("kind", ["poisson", "cosine", "gaussian"])
def test_invariants(kind, comm):
    """Mass to 1e-12, momentum to 1e-10, energy of the order of the splitting, int f^2 not increasing."""
    k = 1.0 if kind == "cosine" else 0.5
    mass = 1.0 if kind == "cosine" else 2 * np.pi / k
    errors = []
    for step in (0.2, 0.1):
        start = initial(k=k, amplitude=0.5, thermal=1.0, mass=mass)
        solver = Solver(model(kind, k, v=9.0), start, cells=(16, 36), degree=3, step=step, order=2, comm=comm)
        skewed = solver.space.array(1)  # neither even in x nor in v, so that momentum has a reason to change
        solver.space.fill(
            skewed, lambda z: (np.exp(-((z[:, 1] - 0.3) ** 2) / 2) * (1 + 0.5 * np.cos(k * z[:, 0] + z[:, 1])))[None]
        )
        solver.form._f[:] = skewed
        rows = [solver.figures()]
        solver.solve(2.0, observers=[lambda report, rows=rows: rows.append(report.figures)])
        energies = np.array([row["energy"] for row in rows])
        errors.append(np.abs(energies - energies[0]).max())
        masses = np.array([row["mass_total"] + row["mass_lost"] for row in rows])
        assert np.abs(masses / masses[0] - 1).max() < 1e-12
        momenta = np.array([row["momentum_x"] for row in rows])
        assert np.abs(momenta - momenta[0]).max() < 1e-10 * abs(momenta[0])
        assert np.diff([row["l2"] for row in rows]).max() < 1e-13 * rows[0]["l2"]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.5)


def test_positivity_keeps_f_above_zero_and_its_mass(comm):
    start = initial("two_stream", k=0.5, amplitude=0.9, drift=2.0, thermal=0.3, mass=4 * np.pi)
    rows, first = {}, 0.0
    for positivity in (False, True):
        options = {"cells": (12, 32), "degree": 3, "step": 0.2, "order": 2, "positivity": positivity, "comm": comm}
        solver = Solver(model("poisson", 0.5, v=6.0), start, **options)
        first = solver.figures()["mass_total"]
        solver.solve(3.0)
        rows[positivity] = solver.figures()
    assert rows[False]["minimum"] < -1e-4
    assert rows[True]["minimum"] >= 0.0
    assert rows[True]["mass_total"] + rows[True]["mass_lost"] == pytest.approx(first, rel=1e-12)


def test_w_of_the_solution_vanishes_with_the_step(comm):
    functions = [
        GaussianBump(center=(2.0, 0.5), width=1.5),
        Wave(k=(0.5, 0.7), phase=0.3),
    ]
    found = []
    for step in (0.2, 0.1):
        options = {"cells": (16, 36), "degree": 4, "step": step, "order": 4, "comm": comm}
        start = initial(k=0.5, amplitude=0.5, mass=4 * np.pi)
        solver = Solver(model("poisson", 0.5, v=9.0), start, **options)
        residual = PDEResidual(solver, functions)
        solver.solve(2.0, observers=[residual])
        assert np.abs(np.array(residual.observables) - residual.observables[0]).max() > 0.1
        found.append(np.abs(residual.values).max())
    assert found[1] < 1e-4
    assert found[1] < found[0] / 8


@pytest.mark.ranks
def test_w_in_two_dimensions(comm):
    plane = Model(
        dimension=2,
        potential={"kind": "gaussian", "strength": 2.0, "width": 1.0},
        domain={"x": (0.0, 2 * np.pi), "v": (-5.0, 5.0)},
    )
    functions = [GaussianBump(center=(2.0, 3.0, 0.5, 0.0), width=1.5), Wave(k=(1.0, 0.0, 0.7, -0.4), phase=0.3)]
    start = initial(k=1.0, amplitude=0.4, thermal=0.9, mass=1.0)
    solver = Solver(plane, start, cells=(4, 9), degree=3, step=0.1, order=2, comm=comm)
    residual = PDEResidual(solver, functions)
    solver.solve(0.4, observers=[residual])
    moved = np.abs(residual.observables[-1] - residual.observables[0])
    assert np.all(np.abs(residual.values[-1]) < 0.02 * moved.max())
    figures = solver.figures()
    assert figures["mass_total"] + figures["mass_lost"] == pytest.approx(1.0, rel=1e-6)


@pytest.mark.ranks
@pytest.mark.parametrize("cells", [(1, 2), (2, 1)])
def test_ranks_may_have_nothing(cells, comm):
    """Fewer cells than ranks: the figures are those of one rank."""
    found = []
    for ranks in (comm, MPI.COMM_SELF):
        start = initial(k=0.5, amplitude=0.3, mass=4 * np.pi)
        solver = Solver(model("poisson", 0.5, v=2.5), start, cells=cells, degree=3, step=0.5, order=4, comm=ranks)
        residual = PDEResidual(solver, [GaussianBump(center=(2.0, 0.5), width=1.5)])
        solver.solve(1.0, observers=[residual])
        solver.outputs()
        found.append([*solver.figures().values(), *residual.values[-1]])
    np.testing.assert_allclose(*found, rtol=1e-11, atol=1e-12)


@pytest.mark.ranks
@pytest.mark.parametrize("order", [2, 4])
def test_steps_that_nobody_looks_at_are_joined(comm, order):
    """The reports are those of `advance`, at the same times: every fourth step, and where the solver must land."""
    options = {"cells": (8, 24), "degree": 3, "step": 0.1, "order": order, "comm": comm}
    solver, other = (perturbed("landau 0.5", amplitude=0.3, **options, **more) for more in ({"observe_every": 4}, {}))
    reports = []
    solver.solve(1.5, stops=[0.6], observers=[reports.append])
    assert [report.steps for report in reports] == [4, 2, 4, 4, 1]
    assert [report.t for report in reports] == pytest.approx([0.4, 0.6, 1.0, 1.4, 1.5])
    for report in reports:
        other.advance(report.dt, report.steps)
        assert other.figures() == pytest.approx(report.figures, rel=1e-12, abs=1e-14)


@pytest.mark.ranks
def test_ranks_that_wait_for_the_largest_part_are_told_of(comm):
    def told(x_cells):
        options = {"cells": (x_cells, 24), "step": 0.1, "order": 2, "parts": (comm.size, 1), "comm": comm}
        return perturbed("landau 0.5", amplitude=0.3, **options).warnings

    assert told(4 * comm.size) == ()
    warnings = told(2 * comm.size + 1)
    assert len(warnings) == (0 if comm.size == 1 else 1)
    assert all("ranks do what" in text for text in warnings)


@pytest.mark.ranks
@pytest.mark.parametrize("parts", ["x", "v"])
def test_nothing_is_pickled_between_reports(comm, parts):
    solver = perturbed(
        "landau 0.5", amplitude=0.3, cells=(8, 24), step=0.1, order=2, comm=comm,
        parts=(comm.size, 1) if parts == "x" else (1, comm.size),
    )  # fmt: skip
    pickled = []

    def dumps(*arguments):
        pickled.append(arguments)
        return pickle.dumps(*arguments)

    MPI.pickle.__init__(dumps, pickle.loads)
    try:
        solver.advance(0.1, 5)
        assert pickled == []
        comm.bcast(0)
        assert len(pickled) == (1 if comm.rank == 0 else 0) or comm.size == 1
    finally:
        MPI.pickle.__init__()


@pytest.mark.ranks
def test_a_restored_solver_goes_on_as_if_nothing_had_happened(comm, shared_folder):
    options = {"cells": (8, 24), "degree": 3, "step": 0.1, "order": 2, "comm": comm}

    def fresh():
        return perturbed("landau 0.5", amplitude=0.3, **options)

    whole, first, second = fresh(), fresh(), fresh()
    whole.solve(1.0)
    first.solve(0.5)
    hand_over(first, second, shared_folder, comm)
    second.solve(1.0)
    expected, found = whole.figures(), second.figures()
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cells": (8,)}, "pde.cells"),
        ({"cells": (8, 0)}, "pde.cells"),
        ({"step": 0.0}, "pde.step"),
        ({"degree": 6}, "pde.degree"),
        ({"order": 3}, "order"),
    ],
)
def test_wrong_arguments(options, message, comm):
    good = {"cells": (4, 8), "degree": 2, "step": 0.1}
    with pytest.raises(InputError, match=message):
        perturbed("landau 0.5", amplitude=0.1, comm=comm, **(good | options))


def test_poissons_potential_in_the_plane_needs_a_torus_or_a_mesh(comm):
    plane = {"x": (-3.0, 3.0), "v": (-5.0, 5.0), "periodic": False}
    free = Model(dimension=2, potential={"kind": "poisson", "strength": 1.0}, domain=plane)
    with pytest.raises(InputError, match=r"dimension = 2: needs domain\.periodic"):
        Solver(free, initial("gaussian", center=(0.0,) * 4, width=0.5), cells=(4, 4), step=0.1, comm=comm)
