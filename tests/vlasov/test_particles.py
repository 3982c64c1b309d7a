"""Newton's particles: exact motions, orders of the integrators, what is conserved, and the residual W in (Vl).

Load: W is A to rounding, for test functions that vary in x and v and reach over the edge of the torus, and falls like
1/N; where the particles have another potential, W is large and A says so. The same bits come out on any ranks and
threads, and when a run is resumed.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from motions import hmf_pair_frequency, pendulum, rigid_rotation
from mpi4py import MPI

from limitpde.compare.spatial import evaluate
from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.errors import InputError, Interrupted, RunError
from limitpde.nbody.replicas import Controls
from limitpde.potentials import Centred, Cosine, ExteriorFromFile, Harmonic, Poisson, PotentialFromFile, Softened
from limitpde.potentials import GaussianPotential as GaussianKernel
from limitpde.vlasov.initial import AnyShape, Maxwellian, PhaseGaussian, TwoStream
from limitpde.vlasov.model import Model, PhaseDomain
from limitpde.vlasov.particles import Ensemble, simulate

L = 4 * math.pi
CIRCLE = PhaseDomain(x=(-math.pi, math.pi), v=(-6.0, 6.0))
SPACE = PhaseDomain(x=(-8.0, 8.0), v=(-8.0, 8.0), periodic=False)
HMF = Model(potential=Cosine(strength=-1.0), domain=CIRCLE)
SHEETS = Model(potential=Poisson(), domain=PhaseDomain(x=(0.0, L), v=(-8.0, 8.0)))
WARM, STREAMS = Maxwellian(thermal=0.6, drift=0.3), TwoStream(k=0.5, amplitude=0.3, drift=1.5, thermal=0.5, mass=L)
FUNCTIONS = (
    Wave(k=(1.0, 0.7), phase=0.4),
    Wave(k=(0.0, 1.3)),
    GaussianBump(center=(3.0, 0.3), width=1.3),  # reaches over the edge of CIRCLE
    GaussianBump(center=(0.5, -0.4), width=0.8),
)
PLANE = (Wave(k=(1.0, -1.0, 0.5, 0.2)), GaussianBump(center=(3.0, 0.5, 0.2, -0.3), width=1.4))
OUTER = """
import numpy as np

def ripple(x):
    return 0.3 * np.sin(2 * x[:, 0]), 0.6 * np.cos(2 * x)

def well(x):
    return -np.exp(-(x**2).sum(axis=1)), 2 * x * np.exp(-(x**2).sum(axis=1))[:, None]
"""


def run(model: Model, initial: AnyShape = WARM, **options: Any) -> Ensemble:
    defaults: dict[str, Any] = {"count": 60, "replicas": 3, "step": 0.05, "end": 1.0, "test_functions": FUNCTIONS}
    return simulate(model, initial, **(defaults | options))


def same(first: Ensemble, second: Ensemble) -> bool:
    """Whether all that was measured is bitwise the same."""
    names = ("times", "replicas", "second_moment", "centre", "momentum", "kinetic", "energy", "observables", "residual")
    return all(np.array_equal(getattr(first, n), getattr(second, n)) for n in (*names, "compensator", "points"))


def order_of(errors: list[float]) -> float:
    """Mean order of errors of steps that are halved."""
    return float(np.log2(np.array(errors[:-1]) / errors[1:]).mean())


def before_rotation(t: float, z: np.ndarray, **rotation: Any) -> np.ndarray:
    """Where f_0 is evaluated for the exact f(t, z): the points that the rotation brings to z."""
    seen: list[np.ndarray] = []

    def initial(points: np.ndarray) -> np.ndarray:
        seen.append(points)
        return points[:, 0]

    rigid_rotation(initial, **rotation)(t, z)
    return seen[0]


# --- Exact motions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "steps"), [(2, (0.1, 0.05, 0.025)), (4, (0.4, 0.2, 0.1))])
def test_rigid_rotation(order: int, steps: tuple[float, ...]) -> None:
    strength, mass, n = 1.3, 0.8, 12
    model = Model(dimension=2, potential=Harmonic(strength=strength), domain=SPACE)
    errors = []
    for step in steps:
        found = run(
            model,
            PhaseGaussian(mass=mass, width=0.7),
            count=n,
            replicas=1,
            end=1.5,
            step=step,
            order=order,
            test_functions=(),
        )
        start, end = found.points[0]
        began = before_rotation(
            1.5,
            end,
            strength=strength,
            mass=mass * n / (n - 1),  # each feels the n - 1 others, with weights mass / (n - 1)
            centre=start[:, :2].mean(axis=0),
            velocity=start[:, 2:].mean(axis=0),
        )
        errors.append(float(np.abs(began - start).max()))
    assert order_of(errors) == pytest.approx(order, abs=0.2)
    assert errors[-1] < {2: 1e-3, 4: 1e-5}[order]


@pytest.mark.parametrize(("order", "steps"), [(2, (0.1, 0.05, 0.025)), (4, (0.2, 0.1, 0.05))])
def test_two_particles_of_the_hmf_model_are_a_pendulum(order: int, steps: tuple[float, ...]) -> None:
    errors = []
    for step in steps:
        found = run(HMF, count=2, replicas=4, end=3.0, step=step, order=order, test_functions=())
        start, end = found.points[:, 0], found.points[:, 1]
        exact = [
            pendulum(3.0, angle=float(a - b), speed=float(u - w), frequency=hmf_pair_frequency())
            for (a, u), (b, w) in start
        ]
        angle, speed = np.array(exact, dtype=float).T
        turned = np.sin((end[:, 0, 0] - end[:, 1, 0] - angle) / 2)
        errors.append(float(max(np.abs(turned).max(), np.abs(end[:, 0, 1] - end[:, 1, 1] - speed).max())))
    assert order_of(errors) == pytest.approx(order, abs=0.35)
    assert errors[-1] < {2: 1e-3, 4: 1e-4}[order]


@pytest.mark.parametrize(("order", "steps"), [(2, (0.1, 0.05, 0.025)), (4, (0.2, 0.1, 0.05))])
def test_halved_steps_start_alike_and_differ_by_the_order(order: int, steps: tuple[float, ...]) -> None:
    """The difference is the error of the whole steps, less that of the halves."""
    differences = []
    for step in steps:
        whole, half = (
            run(HMF, order=order, step=step, stops=[0.4], controls=Controls(halved=halved)) for halved in (False, True)
        )
        assert half.steps == 2 * whole.steps
        assert np.array_equal(whole.points[:, 0], half.points[:, 0])
        differences.append(np.abs(whole.observables - half.observables)[..., -1].max())
    assert order_of(differences) == pytest.approx(order, abs=0.15)
    assert differences[-1] < 2e-5


def test_one_particle_flies_straight() -> None:
    found = run(HMF, count=1, replicas=5, end=2.0)
    start, end = found.points[:, 0, 0], found.points[:, 1, 0]
    np.testing.assert_allclose(np.exp(1j * end[:, 0]), np.exp(1j * (start[:, 0] + 2 * start[:, 1])), atol=1e-13)
    np.testing.assert_array_equal(start[:, 1], end[:, 1])
    assert np.abs(found.residual).max() < 1e-9
    assert not found.compensator.any()


# --- What is conserved ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize(
    ("model", "initial"),
    [(HMF, WARM), (Model(potential=Softened(strength=-2.0), domain=SPACE), PhaseGaussian(mass=2.0))],
    ids=["hmf", "softened"],
)
def test_energy_and_momentum(model: Model, initial: AnyShape, order: int) -> None:
    stops = np.arange(0.4, 4.0, 0.4)
    errors = []
    for step in (0.2, 0.1, 0.05):
        found = run(model, initial, count=20, end=4.0, step=step, stops=stops, order=order, test_functions=())
        errors.append(float(np.abs(found.energy - found.energy[:, :1]).max()))
        assert np.abs(found.momentum - found.momentum[:, :1]).max() < 1e-13
    assert order_of(errors) > order - 0.6  # the leading term of order 4 may be too small to be seen
    assert found.energy.shape == (3, 11)
    assert found.momentum.shape == (3, 11, 1)


def test_what_is_measured_is_that_of_the_points() -> None:
    model = Model(dimension=2, potential=GaussianKernel(strength=2.0, width=0.8), domain=SPACE)
    functions = (Wave(k=(1.0, 0.5, 0.2, 0.0)), GaussianBump(center=(0.0, 0.5, 0.2, 0.0), width=1.1))
    found = run(model, PhaseGaussian(mass=2.5), count=9, replicas=2, step=0.1, end=0.3, test_functions=functions)
    assert found.points.shape == (2, 2, 9, 4)
    m, j, i = 2.5 / 9, *np.triu_indices(9, 1)
    for at, column in ((0, 0), (1, -1)):
        x, v = found.points[:, at, :, :2], found.points[:, at, :, 2:]
        pairs = np.array([model.potential.value(cloud[i] - cloud[j]).sum() for cloud in x])
        kinetic = m * (v**2).sum(axis=(1, 2)) / 2
        np.testing.assert_allclose(found.kinetic[:, column], kinetic)
        np.testing.assert_allclose(found.energy[:, column], kinetic + 2.5**2 / (9 * 8) * pairs, rtol=1e-12)
        np.testing.assert_allclose(found.second_moment[:, column], m * (x**2).sum(axis=(1, 2)))
        np.testing.assert_allclose(found.centre[:, column], x.mean(axis=1), atol=1e-15)
        np.testing.assert_allclose(found.momentum[:, column], 2.5 * v.mean(axis=1), atol=1e-15)
        for p, function in enumerate(functions):
            values = [m * evaluate(function, cloud)[0].sum() for cloud in found.points[:, at]]
            np.testing.assert_allclose(found.observables[:, p, column], values, rtol=1e-12, atol=1e-14)


# --- The residual -----------------------------------------------------------------------------------------------------

MODELS = {
    "hmf": (HMF, WARM, FUNCTIONS),
    "sheets": (SHEETS, STREAMS, (Wave(k=(0.5, 0.7)), GaussianBump(center=(12.0, 0.4), width=1.5))),
    "softened in space": (Model(potential=Softened(width=0.4), domain=SPACE), PhaseGaussian(mass=2.0), FUNCTIONS),
    "gaussian in the plane": (
        Model(dimension=2, potential=GaussianKernel(strength=3.0, width=0.7), domain=CIRCLE),
        Maxwellian(thermal=0.6, mass=2.0),
        PLANE,
    ),
    "exterior": (
        Model(potential=GaussianKernel(strength=2.0), exterior=Centred(kind="harmonic", strength=0.7), domain=SPACE),
        PhaseGaussian(mass=1.5),
        FUNCTIONS,
    ),
}


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("name", MODELS)
def test_the_residual_is_what_it_must_be(name: str, order: int) -> None:
    model, initial, functions = MODELS[name]
    found = run(model, initial, order=order, count=40, test_functions=functions, stops=(0.3,))
    scale = np.abs(found.observables).max()
    assert found.in_theory
    assert found.residual.shape == (3, len(functions), 3)
    assert not found.residual[:, :, 0].any()
    assert np.abs(found.compensator).max() > 1e-4 * scale
    np.testing.assert_allclose(found.residual[:, :, -1], found.compensator, rtol=0, atol=1e-9 * scale)


def test_the_residual_falls_like_one_over_n() -> None:
    counts = [20, 80, 320, 1280]
    sizes = []
    for n in counts:
        found = run(SHEETS, STREAMS, count=n, replicas=24, step=0.1, test_functions=[Wave(k=(0.5, 0.7))])
        sizes.append(np.sqrt((found.residual[:, 0, -1] ** 2).mean()))
    assert np.polyfit(np.log(counts), np.log(sizes), 1)[0] == pytest.approx(HMF.residual_rate, abs=0.15)


def test_a_wrong_potential_is_seen_and_explained() -> None:
    options = {"count": 500, "replicas": 3, "end": 2.0}
    initial = PhaseGaussian(center=(0.0, 0.0), width=(0.8, 0.4))
    right = run(HMF, initial, **options)
    wrong = run(HMF, initial, potential=Cosine(strength=-1.2), **options)
    assert right.in_theory
    assert not wrong.in_theory
    assert np.abs(wrong.residual[..., -1]).max() > 20 * np.abs(right.residual[..., -1]).max()
    np.testing.assert_allclose(wrong.residual[..., -1], wrong.compensator, rtol=0, atol=1e-9)
    assert run(HMF, initial, potential=Cosine(strength=-1.0), end=0.1).in_theory


@pytest.mark.ranks
def test_python_potentials(comm: MPI.Comm, shared_folder: Path) -> None:
    path = shared_folder / "outer.py"
    if comm.rank == 0:
        path.write_text(OUTER)
    comm.barrier()
    model = Model(potential=Cosine(strength=-1.0), exterior=ExteriorFromFile(python=f"{path}:ripple"), domain=CIRCLE)
    found = run(model, stops=(0.5,), step=0.02, order=4)
    np.testing.assert_allclose(found.residual[..., -1], found.compensator, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.energy, found.energy[:, :1] + 0 * found.energy, rtol=0, atol=1e-6)
    assert np.abs(found.momentum[:, -1] - found.momentum[:, 0]).max() > 1e-3
    own = Model(potential=PotentialFromFile(python=f"{path}:well"), domain=SPACE)
    mine = run(own, PhaseGaussian(), count=20)
    theirs = run(
        Model(potential=GaussianKernel(strength=-1.0, width=math.sqrt(0.5)), domain=SPACE), PhaseGaussian(), count=20
    )
    np.testing.assert_allclose(mine.points, theirs.points, rtol=0, atol=1e-12)


# --- Ranks, threads, resumed runs -------------------------------------------------------------------------------------


@pytest.mark.ranks
def test_the_same_bits_on_any_ranks_and_threads(comm: MPI.Comm, monkeypatch: pytest.MonkeyPatch) -> None:
    for model, count, functions in ((HMF, 3000, FUNCTIONS), (MODELS["softened in space"][0], 300, FUNCTIONS)):
        initial = WARM if model is HMF else PhaseGaussian()
        found = []
        monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
        for threads in {1, min(2, numba.config.NUMBA_NUM_THREADS)}:
            monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
            for ranks in (comm, MPI.COMM_SELF):
                options = {"count": count, "replicas": 5, "step": 0.1, "end": 0.3, "test_functions": functions}
                found.append(run(model, initial, controls=Controls(comm=ranks), **options))
        numba.set_num_threads(1)
        assert all(same(found[0], other) for other in found[1:])


@pytest.mark.parametrize("name", MODELS)
def test_no_replica_depends_on_the_others_of_its_batch(name: str) -> None:
    model, initial, functions = MODELS[name]
    options = {"count": 37, "test_functions": functions, "end": 0.3, "controls": Controls(comm=MPI.COMM_SELF)}
    many = run(model, initial, replicas=9, **options)
    one = run(model, initial, replicas=1, **options)
    for measured in ("energy", "centre", "momentum", "observables", "residual", "compensator", "points"):
        np.testing.assert_array_equal(getattr(many, measured)[:1], getattr(one, measured))


@pytest.mark.ranks
def test_resumed_runs_give_the_same(comm: MPI.Comm) -> None:
    kept: list[dict[str, np.ndarray]] = []
    options = {"count": 30_000, "replicas": 5, "step": 0.1, "end": 0.2}  # two replicas a batch
    whole = run(HMF, controls=Controls(keep=kept.append), **options)
    parts = [part for parts in comm.allgather(kept) for part in parts]
    assert sorted(n for part in parts for n in part["replicas"]) == [0, 1, 2, 3, 4]
    first = [part for part in parts if 0 in part["replicas"]]
    again: list[dict[str, np.ndarray]] = []
    resumed = run(HMF, controls=Controls(finished=first, keep=again.append), **options)
    assert all(0 not in part["replicas"] for part in again)
    assert same(whole, resumed)
    assert resumed.complete
    assert same(whole, run(HMF, controls=Controls(finished=parts), **options))


@pytest.mark.ranks
def test_a_run_that_is_asked_to_stop(comm: MPI.Comm) -> None:
    asked, steps = [0], 2
    options = {"count": 40_000, "replicas": 3 * comm.size, "step": 0.1, "end": 0.2, "test_functions": ()}

    def after_the_first() -> bool:
        asked[0] += 1
        return asked[0] > steps

    whole = run(HMF, **options)
    some = run(HMF, controls=Controls(stop_asked=after_the_first), **options)
    assert whole.complete
    assert not some.complete
    np.testing.assert_array_equal(some.replicas, np.arange(comm.size))
    np.testing.assert_array_equal(some.energy, whole.energy[: comm.size])
    np.testing.assert_array_equal(some.points, whole.points[: comm.size])
    with pytest.raises(Interrupted, match="before any of the 3 replicas of N = 60"):
        run(HMF, controls=Controls(stop_asked=lambda: True))


@pytest.mark.ranks
def test_snapshots_and_progress(comm: MPI.Comm) -> None:
    seen: list[tuple[float, np.ndarray, np.ndarray]] = []
    shares: list[float] = []
    found = run(
        HMF,
        count=7,
        replicas=2 * comm.size,
        stops=(0.5,),
        controls=Controls(
            snapshot=lambda t, places, velocity: seen.append((t, places, velocity)), progress=shares.append
        ),
    )
    assert sum(shares) == pytest.approx(1.0)
    assert found.work_per_second > 0
    assert [t for t, _, _ in seen] == ([0.0, 0.5, 1.0] if comm.rank == 0 else [])
    if comm.rank == 0:
        np.testing.assert_array_equal(seen[-1][1], found.points[0, 1])
        np.testing.assert_array_equal(seen[-1][2], found.points[0, 1, :, 1:])


# --- Input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, r"particles\.counts = 0: must be at least 1"),
        ({"replicas": 0}, r"particles\.replicas = 0: must be at least 1"),
        ({"step": 0.0}, r"particles\.step = 0\.0: must be greater than 0"),
        ({"step": math.nan}, r"particles\.step = nan"),
        ({"end": -1.0}, r"time\.end = -1\.0"),
        ({"order": 3}, "order = 3: must be 2 or 4"),
        ({"method": "tree"}, r"particles\.method = 'tree'"),
        ({"test_functions": [Wave(k=(1.0,))]}, r"test_functions\[0\]\.k must have 2 entries, not 1"),
        ({"test_functions": [GaussianBump(center=(0.0, 0.0), width=1e4)]}, r"test_functions\[0\]\.width = 10000"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(HMF, **options)


def test_potentials_that_particles_cannot_have() -> None:
    plane = Model(dimension=2, potential=Poisson(), domain=CIRCLE)
    with pytest.raises(InputError, match="too singular for particles in d = 2"):
        run(plane, test_functions=())
    with pytest.raises(InputError, match=r"particles\.method = 'fast': there is no sum below N"):
        run(MODELS["softened in space"][0], PhaseGaussian(), method="fast")


def test_particles_that_leave_for_infinity() -> None:
    model = Model(potential=Harmonic(strength=-1e4), domain=SPACE)
    with pytest.raises(RunError, match="left for infinity before t = 20"):
        run(model, PhaseGaussian(), end=20.0, step=0.1, test_functions=())
