"""Linear theory of the Vlasov system: dispersion function, its roots, the Volterra equation of the response.

What carries the load: the reference digits of methods/vlasov.md 3.2 - 3.6 (computed with 40 digits by other means), and
the asymptote of the Volterra response against the roots of the dispersion function, which share no code.
"""

import math

import motions
import numpy as np
import pytest

from limitpde.errors import InputError, RunError
from limitpde.potentials import GaussianPotential
from limitpde.vlasov.exact.dispersion import (
    Beam,
    dispersion,
    dominant_root,
    plasma_dispersion,
    residue,
    root_near,
    roots_within,
)
from limitpde.vlasov.exact.linear_response import linear_response

HMF_DENSITY = 1 / (2 * math.pi)
COLD_BUMP = [Beam(0.9), Beam(0.2 / math.sqrt(8), 4.5, 1 / 8)]


def asymptote(t, omega, k, symbol, streams):
    """What r(t) tends to: the part of a root, and of -conj(omega) where that is another one; shape of t, complex."""
    result = residue(omega, k, symbol, streams) * np.exp(-1j * omega * t)
    mirror = complex(-omega.conjugate())
    if abs(mirror - omega) > 1e-9 * abs(omega):
        value, slope = dispersion(mirror, k, symbol, streams)
        if abs(value) < 1e-9 * abs(slope * omega):
            result = result + residue(mirror, k, symbol, streams) * np.exp(-1j * mirror * t)
    return result


def maxwellian(temperature=1.0, density=1.0):
    return [Beam(density, temperature=temperature)]


def hmf(temperature):
    return [Beam(HMF_DENSITY, temperature=temperature)]


def two_streams(drift, temperature=1.0):
    return [Beam(0.5, drift, temperature), Beam(0.5, -drift, temperature)]


def gaussian_symbol(strength, width, k):
    return float(GaussianPotential(strength=strength, width=width).symbol(np.array([[k]]))[0])


# The dispersion function

LANDAU = {
    0.2: 1.063984340687703 - 5.510741476862841e-05j,
    0.25: 1.105730823013256 - 0.002164078063942586j,
    0.3: 1.159846480591914 - 0.01262036842111716j,
    0.4: 1.285056969653746 - 0.06612795869074924j,
    0.5: 1.415661888604536 - 0.1533594669096048j,
    0.6: 1.545706755092644 - 0.2641103381707675j,
    math.sqrt(0.5): 1.682893274327014 - 0.402080551005128j,
    0.8: 1.799899318256291 - 0.5345523615975943j,
    1.0: 2.045904865690625 - 0.8513304586920562j,
    1.5: 2.632333501788215 - 1.775712423506405j,
    2.0: 3.189136192998297 - 2.827200268670779j,
}
HMF_RATES = {
    0.1: 0.52557275677908,
    0.2: 0.37492368681152,
    0.25: 0.30600159048124,
    0.4: 0.11616622852666,
    0.5: 0.0,
    0.55: -0.055674512827856,
    0.6: -0.10995640352923,
    0.75: -0.2656212864458,
    1.0: -0.50605446898918,
    2.0: -1.3235189332444,
}
HMF_REPULSIVE = {
    0.05: 0.83379280929936 - 0.013044643970621j,
    0.1: 0.95219437281939 - 0.073439603408627j,
    0.2: 1.122553370187 - 0.21498629969703j,
    0.25: 1.1899852462899 - 0.28431388419895j,
    0.5: 1.4466732041924 - 0.60198154037181j,
}
STREAMS = [
    (0.2, two_streams(2.4), 0.2258442550347j),
    (0.2, two_streams(3.0), 0.284509686205j),
    (0.3, two_streams(2.4), 0.2199957739501j),
    (0.5, two_streams(2.4), 0.02618472630314j),
    (0.5, two_streams(0.99, 0.09), 0.2865091098227j),
    (0.6, two_streams(1.0, 0.01), 0.3490944409567j),
    (0.5, [Beam(1.0, hollow=1.0)], 0.2592499317327j),
    (0.4, [Beam(1.0, hollow=1.0)], 0.2639586233896j),
    (0.25, [Beam(1.0, hollow=1.0)], 0.2234821451604j),
    (0.2, [Beam(1.0, hollow=1.0)], 0.1944486691095j),
    (0.75, [Beam(1.0, hollow=1.0)], 0.1690640078648j),
    (0.5, [Beam(12 / 7, hollow=5 / 6)], 0.2330654598587j),
    (1.0, [Beam(12 / 7, hollow=5 / 6)], 0.04695776635j),
    (0.3, COLD_BUMP, 1.039776052061 + 0.1911880103589j),
]
GAUSSIAN = [
    (1.0, 1.0, 0.5, 1.0, 1.2185881327324 - 0.26431042021936j),
    (1.0, 1.0, 0.5, 0.25, 0.89509233524567 - 0.020251221329627j),
    (2.0, 1.0, 0.5, 0.5, 1.2658517200806 - 0.028639551858978j),
    (1.0, 1.0, 1.0, 0.25, 1.593320437598 - 0.086523706137536j),
    (-1.0, 1.0, 0.5, 1.0, 0.35611296096589j),
    (-1.0, 1.0, 0.5, 0.25, 0.62987003891479j),
    (-1.0, 1.0, 1.0, 1.0, 0.35478903705035j),
    (-1.0, 0.5, 0.5, 1.0, 0.079740947041126j),
    (-1.0, 1.0, 0.5, 2.5, -0.075912940493689j),
]


@pytest.mark.parametrize(("k", "expected"), LANDAU.items())
def test_landau_damping_has_the_frequencies_of_forty_digits(k, expected):
    assert dominant_root(k, 1 / k**2, maxwellian()) == pytest.approx(expected, abs=1e-12)


def test_dominant_roots_of_the_hmf_model():
    for temperature, rate in HMF_RATES.items():
        assert dominant_root(1.0, -math.pi, hmf(temperature)) == pytest.approx(1j * rate, abs=2e-13)
    for temperature, expected in HMF_REPULSIVE.items():
        assert dominant_root(1.0, math.pi, hmf(temperature)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("k", "streams", "expected"), STREAMS)
def test_dominant_roots_of_instabilities(k, streams, expected):
    assert dominant_root(k, 1 / k**2, streams) == pytest.approx(expected, abs=1e-12)


def test_dominant_roots_of_gravity_and_of_the_gaussian_kernel():
    for k, rate in ((0.2, 0.9425475681853), (0.5, 0.68720192511279), (0.8, 0.30358990389847)):
        assert dominant_root(k, -1 / k**2, maxwellian()) == pytest.approx(1j * rate, abs=1e-12)
    for strength, width, k, temperature, expected in GAUSSIAN:
        found = dominant_root(k, gaussian_symbol(strength, width, k), maxwellian(temperature))
        assert found == pytest.approx(expected, abs=1e-12)


def test_the_cold_limit_of_two_streams():
    """Fastest growth 1/sqrt(8) at k u = sqrt(3/8): zeta is about 50, where Z is its asymptotic series."""
    k, drift = 1.0, math.sqrt(3 / 8)
    found = dominant_root(k, 1.0, two_streams(drift, 1e-8))
    assert found == pytest.approx(1j / math.sqrt(8), abs=1e-7)


def test_below_the_threshold_the_least_damped_root_oscillates():
    """Two streams at +-1.3, k = 0.2: the root -0.02115 i continues the instability, a Langmuir wave lives longer."""
    streams = two_streams(1.3)
    assert root_near(-0.02j, 0.2, 25.0, streams) == pytest.approx(-0.0211526702312j, abs=1e-12)
    dominant = dominant_root(0.2, 25.0, streams)
    assert dominant.real > 1.0
    assert -0.0211 < dominant.imag < 0.0
    t = np.array([80.0, 100.0])
    response = linear_response(t, k=0.2, symbol=25.0, streams=streams)
    assert response == pytest.approx(asymptote(t, dominant, 0.2, 25.0, streams), abs=0.05 * abs(response).max())


def test_a_boost_shifts_the_frequency():
    at_rest = dominant_root(0.5, 4.0, maxwellian())
    moving = roots_within(at_rest.real + 1.0 - 0.3j, at_rest.real + 2.0 + 0.3j, 0.5, 4.0, [Beam(1.0, 3.0)])
    assert moving == [pytest.approx(at_rest + 1.5, abs=1e-12)]


def test_roots_in_a_rectangle_are_counted():
    """With omega, -conj(omega) is a root of an even equilibrium; deeper ones follow."""
    found = roots_within(-4.2 - 3.0j, 4.1 + 1.0j, 0.5, 4.0, maxwellian())
    assert len(found) >= 4
    assert len(found) % 2 == 0
    for omega in found:
        assert abs(dispersion(omega, 0.5, 4.0, maxwellian())[0]) < 1e-10
        assert min(abs(other + omega.conjugate()) for other in found) < 1e-10
    assert not roots_within(-4.2 - 0.1j, 4.1 + 1.0j, 0.5, 4.0, maxwellian())


@pytest.mark.parametrize("zeta", [0.3 + 0.2j, 1.5 - 1.0j, 11.9 + 0.1j, 12.1 + 0.1j, 12.1 - 0.1j, 2.0 - 12.5j])
def test_plasma_dispersion_function_and_its_derivatives(zeta):
    """Z = pi^{-1/2} int e^{-s^2} / (s - zeta) ds, by quadrature below zeta, and differences of it."""
    values = plasma_dispersion(zeta, 3)
    s = np.arange(-12, 12, 0.05) - 1j
    above = complex(zeta.real, abs(zeta.imag))
    integral = (np.exp(-(s**2)) / (s - above)).sum() * 0.05 / math.sqrt(math.pi)
    if zeta.imag < 0:
        integral = integral.conjugate() + 2j * math.sqrt(math.pi) * np.exp(-(zeta**2))
    assert values[0] == pytest.approx(integral, rel=1e-12)
    h = 1e-3
    around = np.array([plasma_dispersion(zeta + step * h, 2) for step in (-2, -1, 1, 2)])
    slopes = np.array([1, -8, 8, -1]) / 12 / h @ around
    assert values[1:] == pytest.approx(slopes, rel=1e-7)
    assert values[1] == pytest.approx(-2 * (1 + zeta * values[0]), rel=1e-10, abs=1e-13)


# The linear response

TIMES = np.array([1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 40.0])
RESPONSES = [
    (0.3, 1 / 0.09, maxwellian(), TIMES, [
        5.10222505254763e-01, -4.03741555144607e-01, 5.88423737568562e-01, 3.15882723516609e-01,
        2.94299995512462e-03, -2.73772485923592e-01, -3.06387233831077e-01,
    ]),
    (0.4, 1 / 0.16, maxwellian(), TIMES, [
        4.87866099121302e-01, -3.90719951788148e-01, 5.09000276371784e-01, 3.71003440974917e-01,
        2.65801269412185e-01, 1.86588796983860e-01, 3.55594901292995e-02,
    ]),
    (0.5, 4.0, maxwellian(), TIMES, [
        4.60399432344838e-01, -3.70979028198967e-01, 3.30347591068668e-01, 7.83966830016126e-02,
        -2.02496657074011e-02, -3.00870190542594e-02, 1.42911765403809e-03,
    ]),
    (math.sqrt(0.5), 2.0, maxwellian(), TIMES, [
        3.91111385149035e-01, -3.07633183813553e-01, 3.28804026435437e-02, -1.45204381523754e-02,
        1.47777105392817e-03, 5.00425086590402e-05, -7.68153295431067e-08,
    ]),
    (1.0, -math.pi, hmf(0.4), [1, 5, 10], [1.04727432215312, 1.65309007065276, 2.95495072315153]),
    (1.0, -math.pi, hmf(0.75), [1, 5, 10], [0.891194428631105, 0.309992451195178, 0.0821392225441607]),
    (1.0, math.pi, hmf(0.1), [1, 5, 10, 20],
     [0.719426234785444, -0.189845596092390, -0.327222308332130, 0.161553526532514]),
    (0.5, gaussian_symbol(1, 1, 0.5), maxwellian(), [1, 5, 10],
     [0.639849669710889, 0.117733845055184, 0.0215246736934442]),
    (0.5, gaussian_symbol(1, 1, 0.5), maxwellian(0.25), [1, 5, 10, 20],
     [0.710748560663133, -0.288395755505183, -0.472736214162618, 0.204842336863597]),
    (0.5, gaussian_symbol(-1, 1, 0.5), maxwellian(), [1, 5, 10],
     [1.14919265983420, 4.61342804936350, 27.3671411286530]),
]  # fmt: skip


@pytest.mark.parametrize(("k", "symbol", "streams", "times", "expected"), RESPONSES)
def test_the_linear_response_has_the_digits_of_the_volterra_equation(k, symbol, streams, times, expected):
    found = linear_response(np.array(times, float), k=k, symbol=symbol, streams=streams)
    assert np.abs(found.imag).max() < 1e-13
    assert found.real == pytest.approx(np.array(expected), abs=2e-14 * max(1.0, *expected))


@pytest.mark.parametrize(
    ("k", "symbol", "streams", "omega", "amplitude", "phase"),
    [
        (0.3, 1 / 0.09, maxwellian(), LANDAU[0.3], 0.38207031944756, 0.11426739947407),
        (0.4, 1 / 0.16, maxwellian(), LANDAU[0.4], 0.35982730768947, 0.33577252388256),
        (0.5, 4.0, maxwellian(), LANDAU[0.5], 0.36770179022965, 0.53624502609402),
        (math.sqrt(0.5), 2.0, maxwellian(), LANDAU[math.sqrt(0.5)], 0.41916800474776, 0.85772517489539),
        (1.0, -math.pi, hmf(0.4), 1j * HMF_RATES[0.4], 0.92479767971524, 0.0),
        (0.5, gaussian_symbol(1, 1, 0.5), maxwellian(), GAUSSIAN[0][-1], 0.40852975514059, 0.81094252719133),
    ],
)
def test_amplitude_and_phase_of_the_asymptote(k, symbol, streams, omega, amplitude, phase):
    found = residue(root_near(omega, k, symbol, streams), k, symbol, streams)
    assert abs(found) == pytest.approx(amplitude, abs=1e-12)
    assert np.angle(found) == pytest.approx(phase, abs=1e-12)


@pytest.mark.parametrize(
    ("k", "symbol", "streams", "t"),
    [
        (0.5, 4.0, maxwellian(), 40.0),
        (1.0, -math.pi, hmf(0.4), 40.0),
        (0.5, 4.0, [Beam(1.0, hollow=1.0)], 60.0),
        (0.3, 1 / 0.09, COLD_BUMP, 120.0),  # not even: complex, and a root without mirror
        (0.2, 25.0, two_streams(2.4), 60.0),
    ],
)
def test_the_response_tends_to_the_residue_of_the_dominant_root(k, symbol, streams, t):
    times = np.array([t, 1.1 * t])
    omega = dominant_root(k, symbol, streams)
    tail = asymptote(times, omega, k, symbol, streams)
    found = linear_response(times, k=k, symbol=symbol, streams=streams)
    assert np.abs(found / tail - 1).max() < 2e-6


def test_without_a_field_the_response_is_free_streaming():
    t = np.linspace(0, 6, 13)
    found = linear_response(t, k=0.7, symbol=0.0, streams=[Beam(2.0, 0.0, 1.5)])
    assert found == pytest.approx(motions.free_streaming_mode(t, k=0.7, temperature=1.5), abs=1e-13)


def test_streams_and_their_transforms():
    stream = Beam(0.7, 0.4, 1.3, 0.6)
    v = np.linspace(-12, 12, 400, endpoint=False)
    f, dv = stream.value(v), v[1] - v[0]
    for q in (0.0, 0.8, 2.5):
        assert stream.transform(np.array(q)) == pytest.approx((f * np.exp(-1j * q * v)).sum() * dv, abs=1e-13)
    above = 0.5 + 1.5j  # far from the real axis the sum is exact
    assert stream.cauchy(above, 0)[0] == pytest.approx((f / (v - above)).sum() * dv, abs=1e-12)


# Wrong arguments


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: Beam(0.0), "density"),
        (lambda: Beam(1.0, math.inf), "drift"),
        (lambda: Beam(1.0, 0.0, -1.0), "temperature"),
        (lambda: Beam(1.0, hollow=1.5), "hollow"),
        (lambda: dominant_root(0.0, 1.0, maxwellian()), "k"),
        (lambda: dominant_root(0.5, 0.0, maxwellian()), "symbol"),
        (lambda: dominant_root(0.5, math.nan, maxwellian()), "symbol"),
        (lambda: dominant_root(0.5, 4.0, []), "streams"),
        (lambda: linear_response(np.array([-1.0]), k=0.5, symbol=4.0, streams=maxwellian()), "times"),
        (lambda: linear_response(np.array([1e9]), k=0.5, symbol=4.0, streams=maxwellian()), "times"),
        (lambda: linear_response(np.array([1.0]), k=-0.5, symbol=4.0, streams=maxwellian()), "k"),
    ],
)
def test_wrong_arguments_are_named(call, name):
    with pytest.raises(InputError, match=rf"\b{name}\b"):
        call()


def test_a_guess_without_a_root_is_an_error():
    with pytest.raises(RunError, match="no root"):
        root_near(-80j, 0.5, 4.0, maxwellian())
