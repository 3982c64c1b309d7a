"""Exact laws of the Vlasov system: equilibria, waves, rotations, two particles.

What carries the load: the equation itself, by differences, for each exact solution; the reference digits of
methods/vlasov.md 3.5 and 3.7; equilibria on another lattice; Newton's equations by an integrator for the pendulum.
"""

import math

import motions
import numpy as np
import pytest
import scipy.integrate
import steady_states

from limitpde.errors import InputError, RunError
from limitpde.potentials import Cosine, Harmonic, Poisson, Softened
from limitpde.vlasov import exact
from limitpde.vlasov.exact import equilibria

# Equilibria


@pytest.mark.parametrize(
    ("temperature", "magnetisation", "energy"),
    [
        (0.1, 0.9455421864233, 0.10297498684692),
        (0.2, 0.87682342206294, 0.21559034326091),
        (0.25, 0.83146202475426, 0.27933545069578),
        (0.4, 0.58970798778274, 0.52612224457261),
        (0.48, 0.27905922809717, 0.70106297360691),
        (0.49, 0.19866447201536, 0.72526621377943),
        (0.5, 0.0, 0.75),
    ],
)
def test_magnetisation_of_the_hmf_model(temperature, magnetisation, energy):
    assert equilibria.hmf_magnetisation(temperature) == pytest.approx(magnetisation, abs=1e-13)
    assert steady_states.hmf_energy(temperature) == pytest.approx(energy, abs=2e-14)
    assert steady_states.hmf_temperature(energy) == pytest.approx(temperature, abs=1e-13)


@pytest.mark.parametrize(
    ("energy", "magnetisation", "temperature"),
    [
        (0.5, 0.62178248095541, 0.38661345362307),
        (0.6, 0.48542221671436, 0.43563472847989),
        (0.65, 0.39767518297274, 0.4581455511524),
        (0.69, 0.30879591463001, 0.47535491689218),
        (0.7, 0.28205628383349, 0.47955574724996),
        (0.74, 0.1264230906051, 0.49598279783814),
        (0.9, 0.0, 0.8),
    ],
)
def test_equilibrium_of_the_hmf_model_at_an_energy(energy, magnetisation, temperature):
    found = steady_states.hmf_temperature(energy)
    assert found == pytest.approx(temperature, abs=1e-13)
    assert equilibria.hmf_magnetisation(found) == pytest.approx(magnetisation, abs=1e-12)


def only_first(strength):
    return lambda k: np.where(np.isclose(k, 1.0), math.pi * strength, 0.0)


def test_newtons_method_finds_the_magnetised_state():
    closed = steady_states.HmfEquilibrium(temperature=0.7, mass=1.4, strength=-1.5)
    found = steady_states.thermal_equilibrium(only_first(-1.5), temperature=0.7, length=2 * math.pi, mass=1.4)
    x, v = np.linspace(-3, 3, 11), np.linspace(-2, 2, 11)
    assert found.density(x) == pytest.approx(closed.density(x), abs=1e-12)
    assert found(x, v) == pytest.approx(closed(x, v), abs=1e-12)
    assert closed.magnetisation > 0.5


@pytest.mark.parametrize(
    ("symbol", "exterior"),
    [
        (lambda k: -4 * math.sqrt(2 * math.pi) * np.exp(-(k**2) / 2), None),
        (lambda k: 1 / k**2, lambda x: np.sin(x / 2) + 0.3 * np.cos(x)),
        (lambda k: -0.5 / k**2, lambda x: 0.2 * np.sin(x / 2)),
    ],
)
def test_a_thermal_equilibrium_solves_its_equation(symbol, exterior):
    """T (log rho)'' = -(Gamma * rho + U)'' by Fourier series on another lattice, and the mass."""
    T, length, mass = 0.8, 4 * math.pi, 2.0
    found = steady_states.thermal_equilibrium(symbol, temperature=T, length=length, mass=mass, exterior=exterior)
    x = np.arange(200) * length / 200
    rho = found.density(x)
    assert rho.mean() * length == pytest.approx(mass, rel=1e-12)
    k = 2 * math.pi * np.arange(101) / length
    values = np.concatenate([[0.0], symbol(k[1:])])
    field = np.fft.irfft(values * np.fft.rfft(rho), 200) + (0.0 if exterior is None else exterior(x))
    total = T * np.log(rho) + field
    assert np.ptp(total) < 1e-11
    assert np.ptp(rho) > 0.02


def test_a_cold_sheet_of_gravitating_mass():
    """rho' T = -rho Phi', Phi' = g (mass left - mass right) / 2, by quadrature."""
    sheet = steady_states.GravitySheet(temperature=0.6, mass=1.7, gravity=2.0)
    x = np.linspace(-15, 15, 20001)
    rho = sheet.density(x)
    inside = scipy.integrate.cumulative_simpson(rho, x=x, initial=0.0)
    assert inside[-1] == pytest.approx(1.7, abs=1e-9)
    pull = 2.0 * (2 * inside - 1.7) / 2
    assert np.abs(np.gradient(rho, x, edge_order=2) * 0.6 + rho * pull).max() < 1e-5
    v = np.linspace(-8, 8, 4001)
    assert scipy.integrate.simpson(sheet(0.3, v), x=v) == pytest.approx(float(sheet.density(0.3)), abs=1e-12)


def test_the_wave_of_bernstein_greene_and_kruskal():
    wave = steady_states.bgk_wave()
    assert wave.lowest == pytest.approx(-0.1155389205839574, abs=1e-15)
    assert wave.length == pytest.approx(9.015424642465523, abs=1e-14)
    assert wave.field_energy == pytest.approx(0.01274590858088128, abs=1e-15)
    x = np.arange(64) * wave.length / 64
    first = 2 * np.abs(np.fft.rfft(wave.density(x))[1]) / 64
    assert first == pytest.approx(0.0522714302532609, abs=1e-14)
    assert wave.potential(np.array([0.0, wave.length / 2])) == pytest.approx([0.1, wave.lowest], abs=1e-14)
    v = np.linspace(-12, 12, 2001)
    f = wave(x[:, None], v)
    assert f.min() >= 0.0
    assert f.sum(axis=1) * (v[1] - v[0]) == pytest.approx(wave.density(x), abs=1e-12)


@pytest.mark.parametrize(("b", "highest"), [(1.5, 0.1), (1.2, 0.1), (1.9, 0.01)])
def test_the_wave_solves_poissons_equation(b, highest):
    wave = steady_states.bgk_wave(b, highest)
    k = 2 * math.pi / wave.length * np.arange(len(wave.series))
    x = np.linspace(0, wave.length, 41)
    second = -np.cos(np.outer(x, k)) @ (k**2 * wave.series)
    assert second == pytest.approx(wave.density(x) - 1.0, abs=1e-12)


# Solutions in phase space


def vlasov_residual(solution, force, t, z, h=1e-4):
    """d_t f + v . grad_x f + F . grad_v f by central differences of fourth order, (n,)."""
    d = z.shape[1] // 2
    weights = zip((-2, -1, 1, 2), (1 / 12, -2 / 3, 2 / 3, -1 / 12), strict=True)
    velocity = np.concatenate([z[:, d:], force(t, z[:, :d])], axis=1)
    return sum(weight * solution(t + j * h, z + j * h * velocity) for j, weight in weights) / h


def blob(z):
    return np.exp(-((z - 0.3) ** 2).sum(axis=1)) * (1 + 0.4 * np.tanh(z[:, 0] * z[:, -1]))


def test_free_streaming_and_rotations_solve_the_equation():
    """The force of the harmonic potential is -strength mass (x - mean): the blob's mean comes from a quadrature."""
    z = np.random.default_rng(1).normal(size=(50, 4))
    assert np.abs(vlasov_residual(motions.free_streaming(blob), lambda t, x: 0 * x, 0.7, z)).max() < 1e-10
    centre, velocity = np.array([0.2, -0.1]), np.array([0.5, 0.3])
    for strength in (2.0, -0.7, 0.0):
        rotating = motions.rigid_rotation(blob, strength=strength, mass=1.3, centre=centre, velocity=velocity)

        def force(t, x, strength=strength):
            return -strength * 1.3 * (x - centre - velocity * t)

        assert np.abs(vlasov_residual(rotating, force, 0.7, z)).max() < 1e-9
        assert rotating(0.0, z) == pytest.approx(blob(z), abs=1e-14)
    period = 2 * math.pi / math.sqrt(2.0 * 1.3)
    turned = motions.rigid_rotation(blob, strength=2.0, mass=1.3, centre=centre, velocity=0 * velocity)
    assert turned(period, z) == pytest.approx(blob(z), abs=1e-13)


def test_boosted_waves_and_equilibria_solve_the_equation():
    wave, z = steady_states.bgk_wave(), np.random.default_rng(2).uniform(-3, 3, (60, 2))
    u = 0.8
    moving = motions.boosted(motions.in_phase_space(wave), u)

    def field(t, x, h=1e-4):  # F = phi'
        at = [wave.potential(x - u * t + j * h) for j in (-2, -1, 1, 2)]
        return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h)

    assert np.abs(vlasov_residual(moving, field, 1.3, z)).max() < 1e-9
    state = steady_states.HmfEquilibrium(0.4)
    turning = motions.boosted(motions.in_phase_space(state), u)
    M = state.magnetisation
    assert np.abs(vlasov_residual(turning, lambda t, x: -M * np.sin(x - u * t), 1.3, z)).max() < 1e-9


def test_products_solve_the_equation_of_a_separable_kernel():
    M = steady_states.HmfEquilibrium(0.4).magnetisation
    one = motions.boosted(motions.in_phase_space(steady_states.HmfEquilibrium(0.4)), 0.5)
    two = motions.in_phase_space(steady_states.HmfEquilibrium(0.4))
    z = np.random.default_rng(3).uniform(-2, 2, (60, 4))
    force = lambda t, x: -M * np.sin(x - np.array([0.5 * t, 0.0]))  # noqa: E731
    assert np.abs(vlasov_residual(motions.product([one, two]), force, 0.9, z)).max() < 1e-9
    with pytest.raises(InputError, match="product of 2"):
        motions.product([one, two])(0.0, z[:, :2])


# Two particles


def test_the_period_of_the_pendulum():
    assert motions.pendulum_period(math.pi / 2) == pytest.approx(7.416298709205488, abs=1e-14)
    assert motions.pendulum_period(1e-8, 2.0) == pytest.approx(math.pi, rel=1e-15)


@pytest.mark.parametrize(
    ("angle", "speed", "frequency"),
    [(1.0, 0.3, 1.0), (3.0, -0.2, 1.3), (-7.0, 0.5, 1.0), (1.0, 2.5, 1.0), (8.0, -5.0, 2.0), (0.0, 0.0, 1.0)],
)
def test_the_pendulum_swings_and_turns_as_newton_says(angle, speed, frequency):
    t = np.linspace(-3, 8, 23)
    found = np.stack(motions.pendulum(t, angle=angle, speed=speed, frequency=frequency))
    for times in (t[t >= 0], t[t <= 0][::-1]):
        path = scipy.integrate.solve_ivp(
            lambda _, y: [y[1], -(frequency**2) * math.sin(y[0])], (0, times[-1]), [angle, speed], t_eval=times,
            method="DOP853", rtol=1e-12, atol=1e-13,
        )  # fmt: skip
        assert found[:, np.isin(t, times)][:, np.argsort(np.argsort(times))] == pytest.approx(path.y, abs=1e-9)


def test_two_particles_of_the_hmf_model_are_a_pendulum():
    """x_i' = v_i, v_i' = -(m / (N - 1)) grad Gamma(x_i - x_j), N = 2."""
    mass, strength = 1.3, -0.8
    kernel = Cosine(strength=strength)

    def rate(_, y):
        pull = -mass * kernel.gradient(np.array([[y[0] - y[1]]]))[0, 0]
        return [y[2], y[3], pull, -pull]

    path = scipy.integrate.solve_ivp(rate, (0, 6), [1.2, -0.3, 0.1, -0.2], rtol=1e-12, atol=1e-13, method="DOP853")
    frequency = motions.hmf_pair_frequency(strength=strength, mass=mass)
    angle, speed = motions.pendulum(path.t, angle=1.5, speed=0.3, frequency=frequency)
    assert path.y[0] - path.y[1] == pytest.approx(angle, abs=1e-9)
    assert path.y[2] - path.y[3] == pytest.approx(speed, abs=1e-9)


# Symbols, and wrong arguments


def test_symbols_on_a_torus():
    box = np.array([[0.0, 2 * math.pi], [1.0, 1.0 + 4 * math.pi]])
    k = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.5], [0.0, 0.0]])
    area = 8 * math.pi**2
    assert exact.torus_symbol(Cosine(strength=3.0), k, box) == pytest.approx(1.5 * area * np.array([1, 1, 1, 0, 0]))
    assert exact.torus_symbol(Poisson(strength=2.0), k, box) == pytest.approx([2, 2, 2, 8, 0])
    wide = Softened(width=0.7)
    assert exact.torus_symbol(wide, k, box)[:4] == pytest.approx(wide.symbol(k[:4]))
    with pytest.raises(InputError, match="wave vectors"):
        exact.torus_symbol(Poisson(), np.array([[0.3, 0.0]]), box)
    with pytest.raises(InputError, match="harmonic"):
        exact.torus_symbol(Harmonic(), k, box)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: equilibria.hmf_magnetisation(0.0), "temperature"),
        (lambda: steady_states.hmf_temperature(0.0), "energy"),
        (lambda: steady_states.HmfEquilibrium(0.4, strength=1.0), "strength"),
        (lambda: steady_states.GravitySheet(0.4, gravity=-1.0), "gravity"),
        (lambda: steady_states.bgk_wave(b=0.9), "b"),
        (lambda: steady_states.bgk_wave(1.5, 0.2), "highest"),
        (lambda: steady_states.bgk_wave(1.2, 0.3), "highest"),
        (lambda: steady_states.thermal_equilibrium(only_first(-1.0), temperature=0.0, length=1.0), "temperature"),
        (lambda: steady_states.thermal_equilibrium(only_first(-1.0), temperature=1.0, length=1.0, points=7), "points"),
        (lambda: motions.rigid_rotation(blob, mass=0.0, centre=np.zeros(1), velocity=np.zeros(1)), "mass"),
        (lambda: motions.pendulum_period(math.pi), "amplitude"),
        (lambda: motions.pendulum(np.zeros(1), angle=0.0, frequency=0.0), "frequency"),
        (lambda: motions.hmf_pair_frequency(strength=1.0), "strength"),
    ],
)
def test_wrong_arguments_are_named(call, name):
    with pytest.raises(InputError, match=rf"\b{name}\b"):
        call()


def test_too_few_points_are_an_error():
    with pytest.raises(RunError, match="too few"):
        steady_states.thermal_equilibrium(only_first(-1.0), temperature=1e-3, length=2 * math.pi, points=16)
