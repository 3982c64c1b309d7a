"""alpha(n, m) = scale (n m)^power: the same particles as with a matrix, for all masses."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numpy as np
import pytest

from limitpde.coagulation.interaction import DoiBall, ProductLaw
from limitpde.coagulation.model import Initial, Model, Part
from limitpde.coagulation.particles import simulate
from limitpde.coagulation.rates import beta
from limitpde.densities import Uniform
from limitpde.domains import Domain
from limitpde.errors import InputError

MOST = 40
EVEN = Initial(masses=(Part(n=1, density=Uniform(mass=4.0)),))
TORUS = Domain.torus(np.ones(3))


def model_of(alpha):
    return Model(diffusion=(0.2, 0.1), interaction=DoiBall(alpha=alpha), n_max=MOST)


def table(power, scale):
    n = np.arange(1.0, MOST + 1)
    return tuple(map(tuple, (scale * np.outer(n, n) ** power).tolist()))


@pytest.mark.parametrize("power", [1.0, -0.5])
@pytest.mark.parametrize("method", ["micro", "closed"])
def test_the_same_as_a_matrix(power, method):
    law, matrix = model_of(ProductLaw(power=power, scale=3.0)), model_of(table(power, 3.0))
    np.testing.assert_allclose(beta(law), beta(matrix), rtol=1e-12)
    one, other = (
        simulate(model, EVEN, count=MOST, replicas=4, end=0.3, stops=[0.1], domain=TORUS, method=method, seed=3)
        for model in (law, matrix)
    )
    assert one.survivors[:, -1].max() < 0.8 * MOST
    np.testing.assert_array_equal(one.counts_by_mass, other.counts_by_mass)
    np.testing.assert_allclose(one.second_moment, other.second_moment, rtol=1e-9)


def test_the_largest_mass_and_the_squares():
    ensemble = simulate(model_of(3.0), EVEN, count=MOST, replicas=3, end=0.3, domain=TORUS, seed=3)
    masses = np.arange(1, MOST + 1)
    counts = ensemble.counts_by_mass
    np.testing.assert_allclose(ensemble.mass_squares, 4.0 / MOST * counts @ masses**2)
    heaviest = np.array([[masses[row > 0].max() for row in replica] for replica in counts])
    np.testing.assert_allclose(ensemble.largest_mass, heaviest / MOST)
    assert ensemble.largest_mass[:, 0] == pytest.approx(1 / MOST)


def test_a_law_that_outgrows_numbers_is_refused():
    with pytest.raises((InputError, ValueError), match=r"interaction.alpha.power = 4: makes alpha\(n, n\)"):
        Model(diffusion=(1.0,), interaction=DoiBall(alpha=ProductLaw(power=4.0)), n_max=2**22)
