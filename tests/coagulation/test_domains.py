"""Where particles live and equations are solved: the same domain for both, its walls, and the seam of a torus.

The load is carried by the mean of the martingale of (4.1), which is zero for any test function, at walls only with the
local times of the reflected particles, and on a torus only for functions that are periodic.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
from casefiles import changed
from particle_cases import BALL, ONES, SE, SQUARE, TORUS

from limitpde import case as cases
from limitpde.coagulation.model import Model
from limitpde.coagulation.particles import simulate
from limitpde.coagulation.simulator.local_times import local_time
from limitpde.compare.spatial import evaluate, evaluate_all
from limitpde.compare.test_functions import GaussianBump, Wave, fitted, on_torus
from limitpde.domains import Domain
from limitpde.errors import InputError

BOX, ROUND = Domain.box(np.ones(3)), Domain.ball(0.5, np.full(3, 0.5))
MODEL = Model(diffusion=[0.5], interaction=BALL, n_max=8)
CASE = {
    "system": "coagulation",
    "model": {"diffusion": [0.5], "interaction": {"shape": "ball", "alpha": 20.0}, "n_max": 8},
    "initial": {"masses": [{"n": 1, "shape": "uniform", "mass": 4.0}]},
    "time": {"end": 0.1},
    "pde": {"mesh": {"shape": "torus", "size": 2.0, "cell_size": 0.5}, "step": 0.01},
    "particles": {"counts": [200], "replicas": 2},
    "compare": {"test_functions": [{"shape": "wave", "k": [math.pi, 0.0, 0.0]}]},
}  # fmt: skip


# One domain


def test_particles_live_where_the_equation_is_solved(tmp_path):
    for asked in (None, "torus"):
        domain = cases.check(changed(CASE, particles__domain=asked) if asked else CASE).domain
        assert (domain.kind, domain.size.tolist()) == ("torus", [2.0, 2.0, 2.0])
    for mesh, kind in (
        ({"shape": "box", "size": 2.0, "cell_size": 0.5}, "box"),
        ({"shape": "ball", "radius": 1.0, "cell_size": 0.5}, "ball"),
    ):
        assert cases.check(changed(CASE, pde__mesh=mesh)).domain.kind == kind
        for wrong in ("torus", "space"):
            with pytest.raises(InputError, match=rf"particles.domain = '{wrong}': must be that of pde.mesh, a {kind}"):
                cases.check(changed(CASE, pde__mesh=mesh, particles__domain=wrong))
    with pytest.raises(InputError, match=r"particles.domain = 'space': must be that of pde.mesh, a torus"):
        cases.check(changed(CASE, particles__domain="space"))
    (tmp_path / "room.msh").write_text("a mesh that nobody reads")
    with pytest.raises(InputError, match=r"pde.mesh = .*room.msh': particles know no walls of a file"):
        cases.check(changed(CASE, pde__mesh=str(tmp_path / "room.msh")))


def test_survivors_on_a_torus_of_size_two():
    """Density 1/2 on a torus of volume 8: both sides follow h' = -beta h^2 / 2 there, 3.2155 of 4 at t = 0.1."""
    case = cases.check(changed(CASE, particles__domain="torus"))
    kappa = math.sqrt(20.0)
    beta = 4 * math.pi * (1 - math.tanh(kappa) / kappa)
    expected = 4 / (1 + beta * 0.5 * 0.1 / 2)
    assert expected == pytest.approx(3.2155, abs=2e-4)
    found = simulate(case.model, case.initial, count=200, replicas=60, end=0.1, domain=case.domain, seed=2)
    survivors = 4 / 200 * found.survivors[:, -1]
    excess = 0.01 * (4 - expected)  # a eps / sqrt(pi D t): beta is larger at first
    assert abs(survivors.mean() - expected) < SE * survivors.std(ddof=1) / math.sqrt(60) + excess


# The seam of a torus


@pytest.mark.parametrize(("size", "width"), [([1.0, 1.0], 0.2), ([1.0, 2.5], 0.05), ([0.7, 1.0], 0.6)])
def test_gaussians_on_a_torus_are_sums_of_images(size, width):
    torus = Domain.torus(np.array(size), np.array([-0.2, 0.1]))
    bumps = [GaussianBump(center=(0.05, 0.9), width=width), GaussianBump(center=(3.0, -2.0), width=width, n=2)]
    x = torus.sample(50, np.random.default_rng(1))
    images, sums = on_torus(bumps, torus.low, torus.size)
    for found, one in zip(evaluate_all(fitted(bumps, torus), x), evaluate_all(images, x), strict=True):
        np.testing.assert_allclose(found, np.tensordot(sums, one, axes=1), atol=1e-12 / width**2)
    for function in fitted(bumps, torus):
        around = evaluate(function, x + torus.size * np.array([2, -1]))
        for found, one in zip(around, evaluate(function, x), strict=True):
            np.testing.assert_allclose(found, one, atol=1e-10 / width**2)


def test_the_balance_holds_across_the_seam():
    """A Gaussian next to the seam, which as it stands would jump where particles go around."""
    functions = [GaussianBump(center=(0.1, 0.5), width=0.2, n=1)]
    model = Model(dimension=2, diffusion=[0.1], interaction={"shape": "ball", "alpha": 0.01}, n_max=4)
    e = simulate(model, ONES, count=8, replicas=200, end=0.2, domain=SQUARE, seed=1, test_functions=functions)
    m = e.martingale[:, 0]
    assert abs(m.mean()) < SE * m.std(ddof=1) / math.sqrt(len(m))
    excess = m**2 - e.martingale_variation[:, 0]
    assert abs(excess.mean()) < SE * excess.std(ddof=1) / math.sqrt(len(m))


def test_waves_that_jump_at_the_seam_are_refused():
    with pytest.raises(InputError, match=r"test_functions\[0\]\.k: must be a multiple of 2 pi / size .*3\.14159"):
        cases.check(changed(CASE, compare__test_functions=[{"shape": "wave", "k": [3.0, 0.0, 0.0]}]))
    with pytest.raises(InputError, match="too large on a torus"):
        cases.check(
            changed(CASE, compare__test_functions=[{"shape": "gaussian", "center": [1.0, 1.0, 1.0], "width": 9.0}])
        )
    with pytest.raises(InputError, match=r"test_functions\[0\]\.k"):
        simulate(MODEL, ONES, count=20, replicas=1, end=0.1, domain=TORUS, test_functions=[Wave(k=(1.0, 0.0, 0.0))])


# Walls


def test_local_times_have_the_law_of_a_reflected_path():
    """E L = E |b| - a for a free end b ~ N(a, v) (Tanaka), and L from the wall itself is |N(0, v)| (Levy)."""
    rng, n, v = np.random.default_rng(1), 20_000, 0.3
    for a in (0.0, 0.2, 0.8):
        b, u = a + math.sqrt(v) * rng.standard_normal(n), 1 - rng.random(n)
        found = np.array([local_time(a, end, v, one) for end, one in zip(b, u, strict=True)])
        difference = found - (np.abs(b) - a)
        assert abs(difference.mean()) < SE * difference.std() / math.sqrt(n)
        if a == 0.0:
            assert (found**2).mean() == pytest.approx(v, rel=SE * math.sqrt(2 / n))


@pytest.mark.parametrize("domain", [BOX, ROUND])
def test_the_balance_holds_at_walls(domain):
    """Functions with slopes at the walls: the mean of the martingale is zero, and without the walls far from it."""
    functions = [Wave(k=(1.5, 0.0, 0.0), phase=0.3, n=1), GaussianBump(center=(1.0, 1.0, 0.5), width=0.4)]
    options = {"count": 100, "replicas": 60, "end": 0.05, "domain": domain, "seed": 3, "test_functions": functions}
    e = simulate(MODEL, ONES, **options)
    m, error = e.martingale, e.martingale.std(axis=0, ddof=1) / math.sqrt(60)
    assert (np.abs(m.mean(axis=0)) < SE * error).all()
    excess = m**2 - e.martingale_variation
    assert (np.abs(excess.mean(axis=0)) < SE * excess.std(axis=0, ddof=1) / math.sqrt(60)).all()


@pytest.mark.parametrize("domain", [BOX, ROUND])
def test_walls_add_what_the_flux_of_even_densities_is(domain):
    """Even densities do not move: int d Lap phi f is what the walls take, and (4.1) holds for phi of any slope."""
    free = Model(diffusion=[0.5], interaction={"shape": "ball", "alpha": 0.0}, n_max=2)
    functions = [GaussianBump(center=(1.0, 0.5, 0.5), width=0.3)]
    e = simulate(free, ONES, count=100, replicas=60, end=0.05, domain=domain, seed=3, test_functions=functions)
    m = e.martingale[:, 0]
    points = domain.sample(200_000, np.random.default_rng(2))
    inside = 0.5 * 0.05 * evaluate(functions[0], points)[2].mean()  # d T int Lap phi f: without the walls M is - that
    error = m.std(ddof=1) / math.sqrt(60)
    assert abs(m.mean()) < SE * error
    assert abs(inside) > 10 * error
