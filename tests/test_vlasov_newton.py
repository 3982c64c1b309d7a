"""Newton's particles against exact laws: rotation, pendulum, energy, the residual identity, and independence of ranks.

Load: W = A to rounding (MATHEMATICS.md section 3), observed orders of energy and motion, sums that cost O(N) against
sums over pairs, and the same bits on any ranks and threads.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numba
import numpy as np
import pytest
from mpi4py import MPI

from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.errors import InputError, Interrupted
from limitpde.vlasov import Gaussian, Landau, Maxwellian, Model, simulate
from limitpde.vlasov.exact import hmf_pair_frequency, pendulum
from limitpde.vlasov.forces import make_sums
from limitpde.vlasov.forces.arithmetic import exp_minus
from limitpde.vlasov.initial import Start
from limitpde.vlasov.potentials import Cosine, FromFile, Harmonic, Poisson, Softened, on_torus
from limitpde.vlasov.potentials import Gaussian as GaussianKernel

TORUS = {"x": (0.0, 2 * np.pi), "v": (-6.0, 6.0)}
WHOLE = {"x": (-6.0, 6.0), "v": (-6.0, 6.0), "periodic": False}
HMF = Model(potential={"kind": "cosine", "strength": -1.0}, domain=TORUS)
FUNCTIONS = [GaussianBump(center=(0.3, 0.4), width=1.1), Wave(k=(1.0, 0.7), phase=0.3), Wave(k=(1.0, 0.0))]


def run(model, initial, comm, **options):
    given = {"count": 40, "replicas": 6, "step": 0.1, "end": 1.0, "seed": 4, "comm": comm}
    return simulate(model, initial, **(given | options))


# --- sums over pairs ------------------------------------------------------------------------------------------------


@pytest.mark.serial
def test_exp_is_that_of_the_library():
    for s in (*np.linspace(0, 50, 997), 300.0, 700.0):
        assert exp_minus(s) == pytest.approx(np.exp(-s), rel=1e-15)


def direct(potential, x, box, periodic):
    """Sums over all pairs by numpy."""
    gradients, energies = np.zeros_like(x), np.zeros(len(x))
    for r, cloud in enumerate(x):
        for i, here in enumerate(cloud):
            away = here - np.delete(cloud, i, axis=0)
            value, gradient = (
                on_torus(potential, away, box) if periodic else (potential.value(away), potential.gradient(away))
            )
            gradients[r, i] = gradient.sum(axis=0)
            energies[r] += value.sum() / 2
    return gradients, energies


@pytest.mark.serial
@pytest.mark.parametrize(
    ("potential", "periodic", "dimensions"),
    [
        (GaussianKernel(strength=-0.7, width=0.8), False, (1, 2, 3)),
        (GaussianKernel(strength=0.7, width=0.8), True, (1, 2)),
        (Softened(strength=1.3, width=0.5), False, (1, 2, 3)),
        (Softened(strength=-1.3, width=0.9), True, (1, 2)),
        (Cosine(strength=-1.0), True, (1, 2)),
        (Cosine(strength=-1.0), False, (1, 3)),
        (Poisson(strength=1.0), True, (1,)),
        (Poisson(strength=-1.0), False, (1,)),
        (Harmonic(strength=0.4), False, (1, 2)),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else None,
)
def test_sums_are_those_over_all_pairs(potential, periodic, dimensions):
    for d in dimensions:
        box = np.tile([0.0, 2 * np.pi], (d, 1))
        x = np.random.default_rng(d).uniform(0, 2 * np.pi, (2, 30, d))
        x[0, 3] = x[0, 7]  # two at one place
        sums = make_sums(potential, box, periodic=periodic)
        gradients, energies = direct(potential, x, box, periodic)
        found = sums.gradients(x)
        np.testing.assert_allclose(found, gradients, atol=1e-11)
        np.testing.assert_allclose(sums.energies(x), energies, rtol=1e-11, atol=1e-11)
        assert np.abs(found.sum(axis=1)).max() < 1e-12 * np.abs(found).sum()
        slow = make_sums(potential, box, periodic=periodic, method="direct")
        np.testing.assert_allclose(slow.gradients(x), gradients, atol=1e-11)


@pytest.mark.serial
def test_sums_that_are_not_there(tmp_path):
    box = np.tile([0.0, 2 * np.pi], (2, 1))
    with pytest.raises(InputError, match="softened"):
        make_sums(Poisson(strength=1.0), box, periodic=True)
    with pytest.raises(InputError, match=r"particles\.method = 'fast'"):
        make_sums(GaussianKernel(), box, periodic=False, method="fast")
    with pytest.raises(InputError, match=r"particles\.method = 'quick'"):
        make_sums(Cosine(), box, periodic=True, method="quick")
    (tmp_path / "own.py").write_text(
        "import numpy as np\ndef own(x):\n    g = np.exp(-(x**2).sum(axis=1))\n    return g, -2 * x * g[:, None]\n"
    )
    x = np.random.default_rng(1).uniform(-2, 2, (1, 20, 2))
    mine = make_sums(FromFile(python=f"{tmp_path / 'own.py'}:own"), box, periodic=False)
    same = make_sums(GaussianKernel(strength=1.0, width=0.5**0.5), box, periodic=False)
    np.testing.assert_allclose(mine.gradients(x), same.gradients(x), atol=1e-13)
    np.testing.assert_allclose(mine.energies(x), same.energies(x), rtol=1e-13)


# --- motion ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 4])
def test_a_harmonic_potential_turns_the_particles(order, comm):
    """About their centre, at the frequency sqrt(strength N / (N - 1)) that self-exclusion gives."""
    model = Model(dimension=2, potential={"kind": "harmonic", "strength": 1.3}, domain=WHOLE)
    initial, errors = Gaussian(center=(0.5, 0.0, 0.2, -0.1), width=0.8), []
    omega = np.sqrt(1.3 * 40 / 39)
    for step in (0.2, 0.1):
        found = run(model, initial, comm, step=step, end=2.0, order=order, replicas=1)
        start, end = found.points[0]
        z = start - start.mean(axis=0)
        c, s = np.cos(2 * omega), np.sin(2 * omega)
        x = c * z[:, :2] + s / omega * z[:, 2:] + start[:, :2].mean(axis=0) + 2 * start[:, 2:].mean(axis=0)
        errors.append(np.abs(end[:, :2] - x).max())
    assert errors[1] < {2: 1e-2, 4: 1e-6}[order]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3)


def test_two_particles_of_the_hmf_are_a_pendulum(comm):
    found = run(HMF, Maxwellian(thermal=0.3), comm, count=2, replicas=4, step=0.05, end=3.0, order=4)
    omega = hmf_pair_frequency()
    for start, end in found.points:
        angle, speed = start[0] - start[1]
        angle = np.angle(np.exp(1j * angle))
        if speed**2 / 2 - omega**2 * np.cos(angle) < 0.9 * omega**2:  # it swings, and does not turn over
            exact = pendulum(np.array([3.0]), angle=angle, speed=speed, frequency=omega)
            expected = float(np.ravel(exact[0])[0])
            assert np.angle(np.exp(1j * (end[0, 0] - end[1, 0] - expected))) == pytest.approx(0, abs=1e-5)
    assert found.points.shape == (4, 2, 2, 2)


@pytest.mark.parametrize("order", [2, 4])
def test_energy_and_momentum(order, comm):
    drifts = []
    for step in (0.2, 0.1):
        found = run(
            HMF, Landau(k=1.0, amplitude=0.5), comm, step=step, end=4.0, order=order, stops=np.arange(0.4, 4, 0.4)
        )
        drifts.append(np.abs(found.energy - found.energy[:, :1]).max())
        assert np.abs(found.momentum - found.momentum[:, :1]).max() < 1e-13
    assert np.log2(drifts[0] / drifts[1]) == pytest.approx(order, abs=0.6)


def test_one_particle_feels_the_exterior_potential_alone(comm):
    trap = {"kind": "harmonic", "strength": 4.0}
    model = Model(potential={"kind": "gaussian"}, exterior=trap, domain=WHOLE)
    found = run(model, Gaussian(width=1.0), comm, count=1, step=0.02, end=1.0, order=4)
    x, v = found.points[:, :, 0].transpose(2, 1, 0)
    np.testing.assert_allclose(x[1], np.cos(2) * x[0] + np.sin(2) / 2 * v[0], atol=1e-6)


# --- the residual ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("kind", ["hmf", "plane", "line"])
def test_the_residual_is_what_self_exclusion_says(kind, order, comm):
    model, initial, functions = HMF, Landau(k=1.0, amplitude=0.5, mass=1.7), FUNCTIONS
    if kind == "plane":
        model = Model(dimension=2, potential={"kind": "gaussian", "width": 0.9}, domain=TORUS)
        functions = [GaussianBump(center=(0.3, 0.4, 0.1, 0.2), width=1.2), Wave(k=(1.0, 0.0, 0.3, -0.4))]
    if kind == "line":
        trap = {"kind": "harmonic", "strength": 0.5}
        model = Model(potential={"kind": "softened", "width": 0.6}, exterior=trap, domain=WHOLE)
        initial = Gaussian(width=0.9, mass=1.7)
    found = run(model, initial, comm, test_functions=functions, order=order)
    scale = np.abs(found.observables).max()
    np.testing.assert_allclose(found.residual[:, :, -1], found.compensator, atol=3e-8 * scale)
    assert np.abs(found.compensator).max() > 1e-4 * scale
    assert found.in_theory
    assert found.quadratic_variation is None


def test_the_residual_is_of_order_one_over_n(comm):
    sizes = [np.abs(run(HMF, Landau(k=1.0, amplitude=0.8), comm, count=n, replicas=60, test_functions=FUNCTIONS[1:2])
                    .residual[:, :, -1]).mean(axis=0) for n in (25, 100, 400)]  # fmt: skip
    slopes = np.polyfit(np.log([25, 100, 400]), np.log(sizes), 1)[0]
    assert np.abs(slopes + 1).max() < 0.15


def test_another_potential_is_seen_and_explained(comm):
    other = Cosine(strength=-1.5)
    found = run(HMF, Landau(k=1.0, amplitude=0.8), comm, count=400, test_functions=FUNCTIONS, potential=other)
    right = run(HMF, Landau(k=1.0, amplitude=0.8), comm, count=400, test_functions=FUNCTIONS)
    assert not found.in_theory
    np.testing.assert_allclose(found.residual[:, :, -1], found.compensator, atol=1e-8)
    assert np.abs(found.residual[:, 1, -1]).mean() > 20 * np.abs(right.residual[:, 1, -1]).mean()


# --- ranks, threads, going on ---------------------------------------------------------------------------------------


def arrays(ensemble):
    names = ("replicas", "observables", "residual", "compensator", "energy", "momentum", "points", "second_moment")
    return [getattr(ensemble, name) for name in names]


def test_ranks_and_threads_do_not_matter(comm):
    options = {"test_functions": FUNCTIONS, "count": 3000, "replicas": 4, "end": 0.3}
    spread = run(HMF, Landau(k=1.0, amplitude=0.5), comm, **options)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = run(HMF, Landau(k=1.0, amplitude=0.5), MPI.COMM_SELF, **options)
    finally:
        numba.set_num_threads(threads)
    for mine, theirs in zip(arrays(spread), arrays(alone), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_finished_replicas_are_not_simulated_again(comm):
    kept: list = []
    options = {"test_functions": FUNCTIONS, "stops": [0.5]}
    whole = run(HMF, Landau(k=1.0, amplitude=0.5), comm, keep=kept.append, **options)
    parts = [part for rank in comm.allgather(kept) for part in rank]
    first = [{name: rows[:1] for name, rows in parts[0].items()}]
    again: list = []
    resumed = run(HMF, Landau(k=1.0, amplitude=0.5), comm, finished=first, keep=again.append, **options)
    assert sum(len(part["replicas"]) for rank in comm.allgather(again) for part in rank) == 5
    for mine, theirs in zip(arrays(resumed), arrays(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_run_that_is_asked_to_stop_says_so(comm):
    with pytest.raises(Interrupted, match="any of the 6 replicas"):
        run(HMF, Landau(k=1.0), comm, stop_asked=lambda: True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, r"particles\.counts = 0"),
        ({"step": 0.0}, r"particles\.step = 0.0"),
        ({"order": 3}, "order = 3"),
        ({"method": "tree"}, r"particles\.method = 'tree'"),
        ({"test_functions": [Wave(k=(1.0,))]}, "must have 2 entries"),
    ],
)
def test_wrong_arguments(options, message, comm):
    with pytest.raises(InputError, match=message):
        run(HMF, Landau(k=1.0), comm, **options)


@pytest.mark.serial
def test_the_start_is_that_of_the_seed():
    one = simulate(HMF, Landau(k=1.0), count=5, replicas=1, step=0.1, end=0.1, seed=4, comm=MPI.COMM_SELF)
    two = simulate(HMF, Landau(k=1.0), count=5, replicas=1, step=0.1, end=0.1, seed=5, comm=MPI.COMM_SELF)
    assert not np.array_equal(one.points[:, 0], two.points[:, 0])
    assert Start(Landau(k=1.0), HMF).mass == 1.0
