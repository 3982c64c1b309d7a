"""The fast pair sum against the direct one: its error bound on charges placed in every awkward way, its bits.

The load is carried by `test_errors_are_bounded`, whose bound holds particle by particle, and by the trees that must not
degenerate where charges coincide. All in one process: the sum knows nothing of ranks.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numba
import numpy as np
import pytest

from limitpde.errors import InputError
from limitpde.nbody.fast_sum import fast_pair_sum
from limitpde.nbody.pairs import pair_sum

N = 6000


def clouds(n: int = N) -> dict[str, np.ndarray]:
    """Positions (n, 2) by name."""
    rng = np.random.default_rng(5)
    i = np.arange(n)
    side = int(np.sqrt(n)) + 1
    angle = 2 * np.pi * i / n
    blobs = np.concatenate([rng.normal(0.0, 1e-4, (n // 2, 2)), rng.normal(5.0, 1e-3, (n - n // 2, 2))])
    return {
        "uniform": rng.random((n, 2)),
        "two tight blobs": blobs,
        "lattice": np.column_stack([i % side, i // side]).astype(float),
        "collinear": np.column_stack([np.sort(rng.random(n)), np.zeros(n)]),
        "circle": np.column_stack([np.cos(angle), np.sin(angle)]),
        "coincident": rng.random((60, 2))[rng.integers(60, size=n)],
        "far away": rng.random((n, 2)) + 1e6,
        "heavy tails": rng.standard_cauchy((n, 2)),
    }


def signs(n: int) -> np.ndarray:
    return np.where(np.random.default_rng(6).random(n) < 0.5, 1.0, -1.0)


def forces(
    points: np.ndarray, b: np.ndarray, *, eps: float = 0.0, kernel: str = "capped", accuracy: float | None = None
):
    """(N, 2) by the fast sum, or by the direct one where there is no accuracy."""
    x, y = (np.ascontiguousarray(column[None]) for column in points.T)
    f = np.empty((2, 1, len(b)))
    if accuracy is None:
        pair_sum(x, y, b, *f, eps=eps, kernel=kernel)
    else:
        fast_pair_sum(x, y, b, *f, eps=eps, kernel=kernel, accuracy=accuracy)
    return f[:, 0].T


def reciprocals(points: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|b_i| sum_j |b_j| / |X_i - X_j| over j at other places, (N,): what the bound is relative to."""
    z = points @ np.array([1.0, 1.0j])
    out = np.empty(len(b))
    for i in range(len(b)):
        distance = np.abs(z - z[i])
        out[i] = np.abs(b[i]) * (np.abs(b)[distance > 0] / distance[distance > 0]).sum()
    return out


@pytest.mark.parametrize("name", clouds(8))
def test_errors_are_bounded(name):
    points, b = clouds()[name], signs(N) * np.linspace(0.5, 2.0, N)
    exact, scale = forces(points, b), reciprocals(points, b)
    for accuracy in (1e-3, 1e-6, 1e-10):
        error = np.hypot(*(forces(points, b, accuracy=accuracy) - exact).T)
        assert (error <= (accuracy + 1e-13) * scale).all()
    coarse = np.hypot(*(forces(points, b, accuracy=0.1) - exact).T) / scale
    assert name == "coincident" or coarse.max() > 1e-8  # it is no direct sum


@pytest.mark.parametrize(
    ("kernel", "eps"), [("capped", 1e-3), ("capped", 0.3), ("regularised", 1e-5), ("regularised", 0.1)]
)
def test_kernels_that_are_not_coulombs(kernel, eps):
    points, b = clouds()["uniform"], signs(N)
    exact, scale = forces(points, b, eps=eps, kernel=kernel), reciprocals(points, b)
    for accuracy in (1e-4, 1e-9):
        error = np.hypot(*(forces(points, b, eps=eps, kernel=kernel, accuracy=accuracy) - exact).T)
        assert (error <= (accuracy + 1e-13) * scale).all()
    other = "regularised" if kernel == "capped" else "capped"
    wrong = np.hypot(*(forces(points, b, eps=eps, kernel=other) - exact).T)
    assert (wrong > 1e-4 * scale).any()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 24, 25, 97])
def test_few_particles(n):
    points, b = np.random.default_rng(n).normal(size=(n, 2)), signs(n)
    np.testing.assert_allclose(forces(points, b, accuracy=1e-6), forces(points, b), rtol=1e-12, atol=1e-12)


def test_replicas_and_what_is_not_finite():
    rng = np.random.default_rng(1)
    x, y, b = *rng.random((2, 3, 500)), signs(500)
    x[1, 7] = np.nan
    f = np.empty((2, 3, 500))
    fast_pair_sum(x, y, b, *f, eps=0.0, kernel="capped", accuracy=1e-8)
    assert np.isnan(f[:, 1]).all()
    for r in (0, 2):
        alone = forces(np.column_stack([x[r], y[r]]), b, accuracy=1e-8).T
        np.testing.assert_array_equal(f[:, r], alone)


def test_the_same_bits_on_any_number_of_threads_and_momentum():
    points, b = clouds()["heavy tails"], signs(N)
    most = numba.get_num_threads()
    found = []
    for threads in {1, int(numba.config.NUMBA_NUM_THREADS)}:
        numba.set_num_threads(threads)
        found.append(forces(points, b, accuracy=1e-6))
    numba.set_num_threads(most)
    assert all(np.array_equal(found[0], other) for other in found)
    assert np.abs(found[0].sum(axis=0)).max() < 1e-6 * np.abs(found[0]).sum()  # Newton's third law


def test_bad_input():
    points, b = clouds(8)["uniform"], signs(8)
    for accuracy in (0.0, 0.5, 1e-15, float("nan")):
        with pytest.raises(InputError, match="accuracy"):
            forces(points, b, accuracy=accuracy)
    with pytest.raises(InputError, match="kernel = 'bare'"):
        forces(points, b, accuracy=1e-6, kernel="bare")
