"""W of coagulating particles and of their equation for test functions phi(x, n, t) by Python.

The load is carried by functions with a shape, written again in Python, which must have the same W, martingale and
brackets as in compiled code; and by functions of mass and time, of which M has mean zero and the mean of [M] as its
variance, and W of the solution vanishes to second order.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
from particle_cases import BALL, MIXED, SQUARE, TORUS

from limitpde.coagulation.model import Fragmentation, Initial, Model, Part, PowerLaw
from limitpde.coagulation.particles import simulate
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.densities import Gaussian
from limitpde.domains import Domain
from limitpde.nbody.replicas import Controls

SOURCE = """
import numpy as np

def wave(x, n, t):
    k = 2 * np.pi * np.array([1.0, 2.0, 0.0])[: x.shape[1]]
    phase, seen = x @ k + 0.3, (n == 2.0)
    return seen * np.cos(phase), -(seen * np.sin(phase))[:, None] * k, -(k @ k) * seen * np.cos(phase)

def bump(x, n, t):
    return np.exp(-((x - 0.6) ** 2).sum(axis=1) / (2 * 0.4**2))

def moving(x, n, t):
    return n / (1 + n) * np.cos(2 * np.pi * (x[:, 0] - 3 * t)) + np.exp(-n / 3 - 20 * t)

def sloping(x, n, t):
    return n / (1 + n) * np.sin(3 * x[:, 0] + 4 * t) * np.exp(-x[:, 1] / n)

def decaying(x, n, t):
    return np.exp(-n / 3 - t)
"""
FULL = Model(
    diffusion=PowerLaw(power=-1 / 3, scale=0.5),
    interaction=BALL,
    fragmentation=Fragmentation(rate=2.0, power=1.0),
    n_max=16,
)
PLANE = Model(dimension=2, diffusion=[1.0], interaction=BALL, reaction="annihilation", n_max=4)
CLOUD = Initial(masses=tuple(Part(n=n, density=Gaussian(mass=0.5, center=(0.5,) * 3, width=0.3)) for n in (1, 2)))
SUMS = ("observables", "time_integral", "martingale", "martingale_variation", "residual", "residual_by_delta")


def twins(mine, domain):
    """Functions with a shape, and the same by Python: of a torus only the wave."""
    shaped = [Wave(k=tuple(2 * math.pi * np.array([1.0, 2.0, 0.0])[: domain.dimension]), phase=0.3, n=2)]
    if domain.kind == "torus":
        return shaped, [mine("wave")]
    return [*shaped, GaussianBump(center=(0.6,) * domain.dimension, width=0.4)], [
        mine("wave"),
        mine("bump", length=0.5),
    ]


@pytest.mark.ranks
@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize(
    ("model", "initial", "domain", "method"),
    [
        (FULL, MIXED, TORUS, "micro"),
        (FULL, MIXED, Domain.box(np.ones(3)), "closed"),
        (FULL, MIXED, Domain.ball(0.5, np.full(3, 0.5)), "closed"),
        (FULL, CLOUD, Domain.space(3), "closed"),
        (PLANE, MIXED, SQUARE, "micro"),
    ],
)
def test_a_shape_by_python_is_the_compiled_one(mine, comm, model, initial, domain, method, halved):
    shaped, own = twins(mine, domain)
    options = {"count": 60, "replicas": 3, "end": 0.05, "domain": domain, "stops": [0.02], "seed": 3, "method": method}
    options |= {"deltas": [0.3], "controls": Controls(comm=comm, halved=halved)}
    compiled = simulate(model, initial, test_functions=shaped, **options)
    both = simulate(model, initial, test_functions=[*shaped, *own], **options)
    for name in ("survivors", "steps", "events", "ends", "pair_rates"):
        np.testing.assert_array_equal(getattr(both, name), getattr(compiled, name))
    assert compiled.events.min() > 3
    first = slice(0, len(shaped))
    np.testing.assert_array_equal(both.martingale_jumps[:, 0, first], compiled.martingale_jumps[:, 0])
    np.testing.assert_allclose(both.pair_products, compiled.pair_products, rtol=1e-12)
    for name in SUMS:
        expected, found = getattr(compiled, name), getattr(both, name)
        np.testing.assert_allclose(found[:, first], expected, rtol=1e-10, atol=1e-13, err_msg=name)
        exact = slice(len(shaped), len(shaped) + 1)
        np.testing.assert_allclose(found[:, exact], expected[:, :1], rtol=1e-10, atol=1e-13, err_msg=name)
        if len(own) > 1:
            np.testing.assert_allclose(found[:, -1], expected[:, 1], rtol=1e-6, atol=1e-8, err_msg=name)
