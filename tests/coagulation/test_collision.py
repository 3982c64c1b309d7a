"""The collision probability u of Hammond (1.8): its equation, its integral (1.9), its tail, and Lemma 1.6 by walking.

The load is carried by a random walk that shares nothing with the solvers and measures u as Lemma 1.6 has it, the chance
that a Brownian path is ever killed; and by (1.9), the rate as an integral over u. The field is the same on any ranks.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math
from pathlib import Path

import dolfinx.mesh
import numpy as np
import pytest
from mpi4py import MPI

from limitpde.coagulation import Model
from limitpde.coagulation.rates import propensity, scattering_length
from limitpde.coagulation.rates.capacity import ball_log_derivative
from limitpde.coagulation.rates.collision import collision_probability
from limitpde.errors import InputError


def model_of(*, dimension: int = 3, alpha: float = 20.0, **interaction) -> Model:
    return Model(diffusion=(1.0,), dimension=dimension, interaction={"alpha": alpha, **interaction})


def bump_from_file(folder: Path, comm: MPI.Comm) -> str:
    path = folder / "bump.py"
    if comm.rank == 0:
        path.write_text(
            "import numpy as np\n\n\ndef bump(x):\n    q = (x**2).sum(axis=1)\n"
            "    return np.exp(-1 / np.maximum(1 - q, 1e-300)) / 0.441088887276604\n"
        )
    comm.barrier()
    return f"{path}:bump"


def test_ball_in_closed_form():
    """u = 1 - sinh(k r) / (k r cosh k) inside, a / r outside, a = 1 - tanh(k) / k."""
    r = np.array([0.0, 1e-6, 0.3, 0.999, 1.0, 1.5, 100.0])
    k = math.sqrt(10)
    inside = 1 - np.sinc(1j * k * r / np.pi).real / math.cosh(k)
    expected = np.where(r < 1, inside, (1 - math.tanh(k) / k) / np.maximum(r, 1))
    points = r[:, None] * np.array([0.6, 0.0, -0.8])
    np.testing.assert_allclose(collision_probability(model_of(shape="ball"), 1, 1)(points), expected, rtol=1e-13)


@pytest.mark.parametrize("shape", ["ball", "bump"])
def test_rate_is_the_integral_over_u(shape):
    """(1.9): beta = alpha int V (1 - u), by Gauss's rule along the radius."""
    model = model_of(shape=shape)
    x, weights = np.polynomial.legendre.leggauss(200)
    r = (x + 1) / 2
    u = collision_probability(model, 1, 1)(np.stack([r, 0 * r, 0 * r], axis=1))
    found = 20 * 4 * math.pi * (weights / 2) @ (r**2 * model.interaction.profile(r, 3) * (1 - u))
    assert found == pytest.approx(float(propensity(model)(1, 1)), rel=1e-11)


@pytest.mark.parametrize(
    "interaction",
    [{"shape": "bump"}, {"shape": "ellipsoid", "axes": (0.7, 0.8, 1.4)}, {"shape": "ball", "radius": 1.2}],
)
def test_equation_and_tail(interaction):
    """-Lap u = s V (1 - u) by differences of fourth order, inside and outside; |x| u -> a."""
    model = model_of(**interaction)
    u = collision_probability(model, 1, 1)
    h, rng = 0.02, np.random.default_rng(5)
    x = rng.uniform(-1, 1, (100, 3))
    if interaction["shape"] == "ball":
        x = x[np.abs(np.linalg.norm(x, axis=1) - 1.2) > 3 * h]
    laplacian = np.zeros(len(x))
    for c in range(3):
        for shift, weight in zip(range(-2, 3), (-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12), strict=True):
            laplacian += weight * u(x + shift * h * np.eye(3)[c]) / h**2
    source = 10 * model.interaction.values(x) * (1 - u(x))
    assert source.max() > 1
    np.testing.assert_allclose(-laplacian, source, atol=4e-3 * source.max())
    far = np.array([[30.0, 0.0, 0.0], [0.0, 0.0, -30.0]])
    np.testing.assert_allclose(30 * u(far), float(scattering_length(model, 1, 1)), rtol=1e-3)


def test_probability_by_walking():
    """Lemma 1.6: paths of rate two killed at the rate s V; exact steps on spheres on either side of the ball's surface.

    Inside, a path leaves a sphere of radius q alive with probability k q / sinh(k q); outside it reaches the unit
    sphere with probability 1 / r, at a point of the Poisson kernel; at the surface the time spent inside a small sphere
    is that of a half space, (1 - z)^3 / 2 of q^2 / 6 for a plane at the distance z q.
    """
    rng, k, q = np.random.default_rng(2026), math.sqrt(10.0), 0.02
    count = 12_000
    x = np.tile([0.5, 0.0, 0.0], (count, 1))
    alive, weight = np.arange(count), np.ones(count)
    escaped = np.zeros(count)
    while len(alive):
        r = np.linalg.norm(x, axis=1)
        size = np.where(np.abs(r - 1) < q / 2, q, np.abs(r - 1))
        z = np.clip((1 - r) / q, -1, 1)
        share = np.where(z > 0, 1 - (1 - z) ** 3 / 2, (1 + z) ** 3 / 2)
        surface = np.exp(-(k**2) * q**2 / 6 * share)
        survival = np.where(np.abs(r - 1) < q / 2, surface, np.where(r < 1, k * size / np.sinh(k * size), 1.0))
        away = r >= 1 + q / 2  # comes back to the unit sphere with probability 1 / r, or never
        never = away & (rng.random(len(x)) > 1 / r)
        escaped[alive[never]] = weight[never]
        step = rng.standard_normal(x.shape)
        moved = x + size[:, None] * step / np.linalg.norm(step, axis=1)[:, None]
        back = _poisson_points(x[away], rng)
        moved[away] = back
        weight = weight * survival
        kept = ~never & (weight > 1e-4)
        x, alive, weight = moved[kept], alive[kept], weight[kept]
    found, error = 1 - escaped.mean(), escaped.std() / math.sqrt(count)
    exact = float(collision_probability(model_of(shape="ball"), 1, 1)(np.array([[0.5, 0.0, 0.0]]))[0])
    assert abs(found - exact) < 4.5 * error + 5e-4  # weights below 1e-4 are dropped, the half space is a little bent
    assert error < 0.004


def _poisson_points(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where paths from |x| > 1 that reach the unit sphere reach it: (r^2 - 1) / (4 pi |y - x|^3) / (1/r) of y."""
    r = np.linalg.norm(x, axis=1)
    b = rng.random(len(x))
    inverse = 1 / (1 / (r + 1) + b * (1 / (r - 1) - 1 / (r + 1)))  # |y - x|, by inversion
    cosine = np.clip((r**2 + 1 - inverse**2) / (2 * r), -1, 1)
    axis = x / r[:, None]
    other = rng.standard_normal(x.shape)
    other -= (other * axis).sum(axis=1)[:, None] * axis
    other /= np.linalg.norm(other, axis=1)[:, None]
    return cosine[:, None] * axis + np.sqrt(1 - cosine**2)[:, None] * other


def test_plane_before_the_distance_is_one():
    """d = 2: u = 1 - log(r / a) / (L - log a) outside the disk, zero at 1 / eps; the rate is alpha int V (1 - u)."""
    L = 6 * math.log(10)
    model = model_of(shape="ball", dimension=2)
    u = collision_probability(model, 1, 1, log_eps=-L)
    p = float(ball_log_derivative(np.array(math.sqrt(10 / L)), 2))
    r = np.array([1.0, 5.0, 1e3, 1e6, 1e7])
    expected = np.maximum(1 - (1 / p + np.log(r)) / (1 / p + L), 0)
    np.testing.assert_allclose(u(np.stack([0 * r, r], axis=1)), expected, atol=1e-14)
    x, weights = np.polynomial.legendre.leggauss(50)
    r = (x + 1) / 2
    rate = 20 * 2 * math.pi * (weights / 2) @ (r * (1 - u(np.stack([r, 0 * r], axis=1))))
    assert rate == pytest.approx(float(propensity(model, log_eps=-L)(1, 1)), rel=1e-12)


def test_grid_agrees_with_the_radial_solution(comm, shared_folder):
    radial = collision_probability(model_of(shape="bump"), 1, 1)
    grid = collision_probability(model_of(python=bump_from_file(shared_folder, comm), radius=1.0), 1, 1)
    x = np.random.default_rng(3).uniform(-1.6, 1.6, (400, 3))
    np.testing.assert_allclose(grid(x), radial(x), atol=1e-6)


@pytest.mark.ranks
def test_field_on_a_mesh(comm):
    mesh = dolfinx.mesh.create_box(comm, [np.full(3, -2.0), np.full(3, 2.0)], [6, 5, 4])
    u = collision_probability(model_of(shape="bump"), 1, 1)
    field = u.field(mesh, degree=2)
    at = field.function_space.tabulate_dof_coordinates()
    np.testing.assert_allclose(field.x.array, u(at), rtol=1e-14)
    largest = comm.allreduce(field.x.array.max(initial=0.0), op=MPI.MAX)
    assert largest == pytest.approx(float(u(np.array([[0.0, 0.4, 0.0]]))[0]), rel=0.2)
    assert field.name == "collision_probability"
    with pytest.raises(InputError, match="mesh: must lie in dimension 3, not 2"):
        u.field(dolfinx.mesh.create_unit_square(comm, 2, 2))


def test_what_makes_no_sense_is_refused():
    u = collision_probability(model_of(shape="bump"), 1, 1)
    with pytest.raises(InputError, match=r"points: must have the shape \(k, 3\)"):
        u(np.zeros((4, 2)))
    with pytest.raises(InputError, match="log_eps = None"):
        collision_probability(model_of(shape="bump", dimension=2), 1, 1)
    with pytest.raises(InputError, match=r"log_eps = -0.5: .* range is below 1"):
        collision_probability(model_of(shape="bump", radius=2.0, dimension=2), 1, 1, log_eps=-0.5)
    with pytest.raises(InputError, match="dimension 2 or 3"):
        collision_probability(model_of(shape="bump", dimension=1), 1, 1)
    assert (collision_probability(model_of(shape="bump", alpha=0.0), 1, 1)(np.zeros((2, 3))) == 0).all()


def test_the_probability_of_a_long_ellipsoid_gives_back_its_rate():
    """(1.9) from values of u, on boxes with edges of different lengths (one longer than the cut-off of G)."""
    axes = (0.7, 0.7, 1.4)
    model = Model(diffusion=[1.0], interaction={"shape": "ellipsoid", "axes": axes, "alpha": 20.0}, n_max=1)
    u = collision_probability(model, 1, 1)
    line = (np.arange(40) + 0.5) / 20 - 1
    points = np.stack([axis.ravel() for axis in np.meshgrid(*[line] * 3, indexing="ij")], axis=1) * np.array(axes)
    values = model.interaction.values(points)
    rate = 20.0 * (values * (1 - u(points))).sum() / values.sum()
    assert rate == pytest.approx(8.4851486859, rel=1e-4)
    far = u(np.array([[10.0, 0.0, 0.0], [0.0, 0.0, 10.0]]))
    assert far == pytest.approx(rate / (4 * np.pi * 2.0 * 10.0), rel=0.01)
