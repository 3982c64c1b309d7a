"""Sums over pairs of Newton's particles against numpy: polynomials for exp and sin, all pairs, modes, sheets, and more.

Load: forces are minus the gradients of the energies, their sum vanishes to rounding, and the sums below N^2 are those
over all pairs.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from limitpde.errors import InputError
from limitpde.nbody.sums import METHODS, Sums, make_sums
from limitpde.nbody.sums.arithmetic import FARTHEST, exp_minus, mean_turn, sine
from limitpde.nbody.sums.closed import SIDE, AnySums, HarmonicSums, NoSums, SheetSums
from limitpde.nbody.sums.pairs import PairSums
from limitpde.nbody.sums.trigonometric import BLOCK, TrigonometricSums
from limitpde.potentials import (
    AnyPotential,
    Cosine,
    Free,
    GaussianPotential,
    Harmonic,
    Poisson,
    PotentialFromFile,
    Softened,
    on_torus,
)

TORUS = np.array([[-1.0, 3.0], [0.0, 5.0], [2.0, 5.0]])
ROUND = np.array([[-math.pi, math.pi], [0.0, 4.0 * math.pi], [1.0, 1.0 + 2.0 * math.pi]])
CASES = [
    (GaussianPotential(strength=-0.7, width=0.6), None, 1),
    (GaussianPotential(strength=1.3, width=0.8), None, 2),
    (GaussianPotential(strength=1.3, width=0.02), None, 3),
    (Softened(strength=0.9, width=0.5), None, 1),
    (Softened(strength=-0.9, width=0.7), None, 2),
    (Softened(strength=-1.9, width=0.1), None, 3),
    (Cosine(strength=-1.0), None, 1),
    (Cosine(strength=0.4), None, 3),
    (Harmonic(strength=2.0), None, 1),
    (Harmonic(strength=-0.3), None, 3),
    (Poisson(strength=-1.3), None, 1),
    (Free(), None, 2),
    (GaussianPotential(strength=-0.7, width=0.6), TORUS, 1),
    (GaussianPotential(strength=1.3, width=0.8), TORUS, 2),
    (Softened(strength=0.9, width=0.5), TORUS, 1),
    (Softened(strength=0.9, width=0.9), TORUS, 2),
    (Cosine(strength=-1.0), ROUND, 1),
    (Cosine(strength=0.4), ROUND, 3),
    (Poisson(strength=1.7), TORUS, 1),
    (Free(), TORUS, 3),
]
NAMES = [f"{kernel.kind}-{'space' if box is None else 'torus'}-{d}" for kernel, box, d in CASES]


def cloud(box: np.ndarray | None, d: int, replicas: int = 2, n: int = 37) -> np.ndarray:
    """Positions in the torus, or a cloud in the whole space, with two pairs at one place."""
    rng = np.random.default_rng(d)
    if box is None:
        x = rng.normal(size=(replicas, n, d))
    else:
        x = box[:d, 0] + np.diff(box[:d], axis=1)[:, 0] * rng.random((replicas, n, d))
        x[-1, 5] = box[:d, 0]
    x[0, 3], x[-1, 10] = x[0, 20], x[-1, 11]
    return x


def sums_of(kernel: AnyPotential, box: np.ndarray | None, d: int, method: str = "auto") -> Sums:
    return make_sums(kernel, TORUS[:d] if box is None else box[:d], periodic=box is not None, method=method)


def all_pairs(kernel: AnyPotential, box: np.ndarray | None, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sum_{j != i} grad Gamma (R, N, d) and sum_{i < j} Gamma (R,), by what the potential says itself."""
    R, n, d = x.shape
    gradients, energies = np.zeros_like(x), np.zeros(R)
    i, j = np.triu_indices(n, 1)
    for r in range(R):
        away = x[r, i] - x[r, j]
        value, gradient = (
            (kernel.value(away), kernel.gradient(away)) if box is None else on_torus(kernel, away, box[:d])
        )
        energies[r] = value.sum()
        np.add.at(gradients[r], i, gradient)
        np.subtract.at(gradients[r], j, gradient)
    return gradients, energies


@njit
def mapped(s, t, exponentials, sines, means):
    """The polynomials in loops, as the sums use them."""
    for i in range(len(s)):
        exponentials[i] = exp_minus(s[i])
        sines[i], means[i] = sine(t[i]), mean_turn(t[i])


def test_polynomials_are_those_of_the_library() -> None:
    s = np.concatenate([np.linspace(0.0, 3.0, 5001), np.linspace(0.0, FARTHEST, 5003), [1e-300, 1e-17]])
    t = np.concatenate([np.linspace(-8.0, 8.0, 4001), np.linspace(-1e3, 1e3, 6002), [0.0, 1e-5, -1e-300]])
    s = np.concatenate([s, np.zeros(len(t) - len(s))]) if len(t) > len(s) else s[: len(t)]
    exponentials, sines, means = np.empty((3, len(t)))
    mapped(s, t, exponentials, sines, means)
    assert np.abs(exponentials / np.exp(-s) - 1).max() < 1e-15
    assert (np.abs(sines - np.sin(t)) <= 4e-16 + 2e-16 * np.abs(t)).all()
    assert np.abs(means - np.sinc(t / np.pi)).max() < 1e-15
    assert exp_minus(1e9) == exp_minus(FARTHEST) > 0.0
    assert np.isnan(sine(np.nan))


@pytest.mark.parametrize(("kernel", "box", "d"), CASES, ids=NAMES)
def test_sums_are_those_over_all_pairs(kernel: AnyPotential, box: np.ndarray | None, d: int) -> None:
    x = cloud(box, d)
    gradients, energies = all_pairs(kernel, box, x)
    scale, level = np.abs(gradients).max(), np.abs(energies).max()
    for method in ("auto", "direct"):
        sums = sums_of(kernel, box, d, method)
        found = sums.gradients(x)
        assert found.shape == x.shape
        np.testing.assert_allclose(found, gradients, rtol=0, atol=2e-13 * scale)
        np.testing.assert_allclose(sums.energies(x), energies, rtol=0, atol=1e-12 * max(level, scale))
        assert np.abs(found.sum(axis=1)).max() <= 1e-15 * np.abs(found).sum()  # action is reaction


@pytest.mark.parametrize(("kernel", "box", "d"), CASES, ids=NAMES)
def test_forces_are_minus_gradients_of_energies(kernel: AnyPotential, box: np.ndarray | None, d: int) -> None:
    x = np.random.default_rng(7).permutation(np.linspace(0.05, 2.9, 8 * d)).reshape(1, 8, d)
    sums = sums_of(kernel, box, d)
    gradients, h = sums.gradients(x)[0], 1e-5
    for i, a in ((0, 0), (5, d - 1)):
        step = np.zeros_like(x)
        step[0, i, a] = h
        slope = (sums.energies(x + step) - sums.energies(x - step))[0] / (2 * h)
        assert gradients[i, a] == pytest.approx(slope, rel=1e-6, abs=1e-6 * max(1.0, np.abs(gradients).max()))


def test_what_is_taken_for_which_potential() -> None:
    expected = {
        (GaussianPotential(), None): PairSums,
        (Softened(), None): PairSums,
        (GaussianPotential(), True): TrigonometricSums,
        (Softened(), True): TrigonometricSums,
        (Cosine(), None): TrigonometricSums,
        (Poisson(), True): SheetSums,
        (Poisson(), None): SheetSums,
        (Harmonic(), None): HarmonicSums,
    }
    for (kernel, box), kind in expected.items():
        assert isinstance(sums_of(kernel, ROUND if box else None, 1), kind)
        if kind is not PairSums:
            assert isinstance(sums_of(kernel, ROUND if box else None, 1, "fast"), kind)
            assert isinstance(sums_of(kernel, ROUND if box else None, 1, "direct"), AnySums)
    assert isinstance(sums_of(Free(), None, 3), NoSums)


def test_many_particles_fill_several_blocks() -> None:
    n = BLOCK + 3
    for kernel, box in ((Cosine(strength=-1.0), ROUND), (Poisson(strength=1.0), TORUS)):
        x = cloud(box, 1, replicas=2, n=n)
        fast, slow = (sums_of(kernel, box, 1, method) for method in ("fast", "direct"))
        np.testing.assert_allclose(fast.gradients(x), slow.gradients(x), rtol=0, atol=1e-12 * n)
        np.testing.assert_allclose(fast.energies(x), slow.energies(x), rtol=1e-10, atol=1e-10 * n)


def test_sheets_at_one_place_do_not_feel_each_other() -> None:
    for box in (None, TORUS):
        sums = sums_of(Poisson(strength=2.0), box, 1)
        assert np.abs(sums.gradients(np.full((1, 6, 1), 0.7))).max() < 1e-14
        x = np.array([0.3, 0.3, 0.3, 1.1, 1.1, 2.0]).reshape(1, 6, 1)
        np.testing.assert_allclose(sums.gradients(x), all_pairs(Poisson(strength=2.0), box, x)[0], atol=1e-14)


@pytest.mark.parametrize("box", [None, TORUS, ROUND], ids=["space", "torus", "round"])
def test_one_particle_feels_nothing(box: np.ndarray | None) -> None:
    kernels = [GaussianPotential(), Softened(), Poisson(), *([Harmonic()] if box is None else [])]
    for kernel in [*kernels, *([] if box is TORUS else [Cosine()])]:
        sums = sums_of(kernel, box, 1)
        x = np.array([[[0.4]], [[2.5]]])
        assert np.abs(sums.gradients(x)).max() < 1e-15
        assert np.abs(sums.energies(x)).max() < 1e-14


def test_a_python_function(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import numpy as np\n\ndef bell(x):\n"
        "    value = np.exp(-(x**2).sum(axis=1) / 0.5)\n    return value, -4 * x * value[:, None]\n"
    )
    mine, same = PotentialFromFile(python=f"{path}:bell"), GaussianPotential(strength=1.0, width=0.5)
    x = cloud(None, 2)
    np.testing.assert_allclose(
        sums_of(mine, None, 2).gradients(x), sums_of(same, None, 2).gradients(x), rtol=0, atol=1e-13
    )
    x = cloud(TORUS, 2)
    gradients, energies = all_pairs(mine, TORUS, x)
    sums = sums_of(mine, TORUS, 2)
    np.testing.assert_allclose(sums.gradients(x), gradients, rtol=0, atol=1e-13)
    np.testing.assert_allclose(sums.energies(x), energies, rtol=1e-12)
    with pytest.raises(InputError, match=r"no sum below N\^2 for potential\.kind = 'python'"):
        sums_of(mine, TORUS, 2, "fast")


@pytest.mark.parametrize("method", METHODS)
def test_poisson_in_the_plane_is_too_singular(method: str) -> None:
    with pytest.raises(InputError, match=r"'poisson': too singular for particles in d = 2.*'softened'"):
        sums_of(Poisson(), TORUS, 2, method)


def test_wrong_methods() -> None:
    with pytest.raises(InputError, match=r"particles.method = 'tree': must be one of direct, fast, auto"):
        sums_of(Cosine(), ROUND, 1, "tree")
    for kernel in (GaussianPotential(), Softened()):
        with pytest.raises(InputError, match="no sum below N"):
            sums_of(kernel, None, 2, "fast")


@pytest.mark.parametrize("count", [7, SIDE + 44])
def test_sums_by_blocks_with_strengths_are_those_of_a_loop(count: int) -> None:
    """Each pair is evaluated once: what the second feels of the first is minus the gradient, by its own strength."""
    rng = np.random.default_rng(3)
    x, strengths = rng.standard_normal((3, count, 2)), rng.standard_normal((count, count))

    def bell(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value = np.exp(-(r**2).sum(axis=1))
        return value, -2 * r * value[:, None]

    apart = x[:, :, None] - x[:, None]
    value, slope = (part.reshape(3, count, count, -1) for part in bell(apart.reshape(-1, 2)))
    found = AnySums(bell, strengths=strengths).gradients(x)
    assert found == pytest.approx(np.einsum("ij,rijk->rik", strengths, slope), abs=1e-12)
    assert AnySums(bell).gradients(x) == pytest.approx(slope.sum(axis=2), abs=1e-12)
    energy = (value.sum(axis=(1, 2, 3)) - count) / 2  # without the pairs of a particle with itself
    assert AnySums(bell).energies(x) == pytest.approx(energy, rel=1e-12)
