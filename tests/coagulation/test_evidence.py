"""What the particles say about the steps of the proof: statistics of ensembles whose law is known.

What carries the load: the fitted beta of an exactly simulated chain is right, with the shift of finite N, and the naive
rate is not; the ratio of the Stosszahlansatz has the right error; the initial slope is alpha int V and leaves it on the
scale eps^2, as an independent radial equation says.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg

from limitpde.coagulation.interaction import Bump, DoiBall, Ellipsoid, InteractionFromFile
from limitpde.coagulation.model import Fragmentation, Initial, Model, Part, PowerLaw
from limitpde.coagulation.particles import simulate
from limitpde.coagulation.proof import fitted_beta
from limitpde.coagulation.proof.evidence import comparison_figures
from limitpde.coagulation.proof.initial_slope import initial_slope
from limitpde.coagulation.proof.pair_ratios import inverse_distance
from limitpde.coagulation.rates import naive, propensity
from limitpde.densities import Gaussian, Uniform
from limitpde.domains import Domain
from limitpde.errors import InputError

SE = 4.5
TORUS = Domain.torus(np.ones(3))
EVEN = Initial(masses=(Part(n=1, density=Uniform(mass=1.0)),))
ANNIHILATION = Model(diffusion=(1.0,), interaction=DoiBall(alpha=20.0), reaction="annihilation", n_max=1)
ONE = np.array([1])


def chain(rng, model, count, replicas, end, log_eps, volume=1.0, Z=1.0):
    """Numbers at the end of the well-mixed system: pairs react at beta(t) Z / (N volume), by exact simulation."""
    jump = 2 if model.reaction == "annihilation" else 1
    rate = float(propensity(model)(ONE, ONE)[0]) * Z / (count * volume)
    tau = fitted_beta.clock(model, 1, log_eps, end)
    left = np.full(replicas, count)
    clock = np.zeros(replicas)
    for _ in range(count):
        pairs = left * (left - 1) / 2
        wait = rng.exponential(size=replicas) / np.maximum(rate * pairs, 1e-300)
        going = (clock + wait < tau) & (pairs > 0)
        if not going.any():
            break
        clock = np.where(going, clock + wait, np.inf)
        left = np.where(going, left - jump, left)
    return left


def ensemble(count, replicas, **fields):
    """An ensemble of one test function, one delta and the first two masses, as far as the comparison looks at it."""
    shape = {
        "residual_by_delta": (1, 1),
        "martingale": (1,),
        "martingale_variation": (1,),
        "pair_rates": (2, 2),
        "kin_rates": (2, 2),
        "pair_events": (2, 2),
        "pair_products": (1, 2, 2),
        "time_integral": (1,),
        "survivors": (2,),
    }
    values = {name: np.zeros((replicas, *size)) for name, size in shape.items()}
    named = {"count": count, "Z": 1.0, "log_eps": math.log(1 / count), "times": np.array([0.0, 0.1])}
    found = SimpleNamespace(replicas=np.arange(replicas), **(named | values | fields))
    found.noise = found.martingale
    return found


@pytest.mark.parametrize("reaction", ["annihilation", "coagulation"])
def test_beta_is_recovered_from_the_well_mixed_chain_even_of_few_particles(reaction):
    model = Model(diffusion=(1.0,), interaction=DoiBall(alpha=20.0), reaction=reaction, n_max=8)
    rng, torus, Z = np.random.default_rng(6), Domain.torus(np.array([1.0, 1.0, 2.0])), 3.0
    for count, replicas in ((40, 4000), (1000, 400)):
        log_eps = math.log(Z / count)
        left = chain(rng, model, count, replicas, 0.1, log_eps, volume=2.0, Z=Z)
        fields = {"survivors": np.stack([np.full(replicas, count), left], axis=1), "Z": Z, "log_eps": log_eps}
        found = fitted_beta.rows(model, [ensemble(count, replicas, **fields)], EVEN, torus)[0]
        assert found["theory"] == pytest.approx(17.2135003584, rel=1e-9)
        assert abs(found["deviation"]) < SE
        assert 0.001 < found["stderr"] / found["beta"] < 0.02
        assert found["naive"] == pytest.approx(83.7758041, rel=1e-8)
        assert found["naive_deviation"] < -50


def test_the_error_of_the_fitted_beta_is_that_of_repeated_fits():
    rng, count, replicas = np.random.default_rng(7), 60, 50
    found = []
    for _ in range(40):
        left = chain(rng, ANNIHILATION, count, replicas, 0.1, math.log(1 / count))
        survivors = np.stack([np.full(replicas, count), left], axis=1)
        found.append(fitted_beta.fit(ANNIHILATION, ensemble(count, replicas, survivors=survivors), 1, TORUS))
    spread = np.std([fit.beta for fit in found], ddof=1)
    assert np.mean([fit.stderr for fit in found]) == pytest.approx(spread, rel=0.4)
    deviations = np.array([fit.deviation for fit in found])
    assert abs(deviations.mean()) < SE / math.sqrt(len(deviations))


def test_the_clock_of_finite_n():
    """tau = t + 2 a eps sqrt(t / (pi D)) for d = 3; for d = 2 beta(t) tends to (2.4) as |log eps| grows."""
    length = 17.2135003584 / (4 * math.pi * 2)
    assert fitted_beta.clock(ANNIHILATION, 1, math.log(1e-3), 0.1) == pytest.approx(
        0.1 + 2e-3 * length * math.sqrt(0.1 / (2 * math.pi)), rel=1e-9
    )
    planar = Model(dimension=2, diffusion=(1.0,), interaction=Bump(alpha=20.0), reaction="annihilation")
    gaps = [fitted_beta.clock(planar, 1, -L, 0.1) / 0.1 - 1 for L in (50.0, 500.0, 5000.0)]
    assert 0 < gaps[2] < gaps[1] < gaps[0] < 0.05
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.2)


def test_means_of_the_chain_are_those_of_its_exact_law():
    """Of s -> s - c at the rate lambda s (s-1) / 2: forward equations for all s."""
    for jump in (1, 2):
        count, share = 30, 2.0
        s = np.arange(count + 1.0)
        rates = share / count * s * (s - 1) / 2
        generator = np.diag(-rates) + np.diag(rates[jump:], -jump)
        law = scipy.linalg.expm(generator.T)[:, count]
        assert law.sum() == pytest.approx(1, rel=1e-12)
        exact = float(law @ s) / count
        assert fitted_beta.mean_left(share, count, jump) == pytest.approx(exact, rel=3e-3)


def test_only_one_homogeneous_species_gives_a_beta():
    assert fitted_beta.species(ANNIHILATION, EVEN, TORUS) == 1
    same = Model(diffusion=(1.0, 1.0), interaction=DoiBall(alpha=20.0))
    assert fitted_beta.species(same, EVEN, TORUS) == 1
    assert fitted_beta.species(Model(diffusion=PowerLaw(power=0.0), interaction=DoiBall(alpha=2.0)), EVEN, TORUS) == 1
    bump = Initial(masses=(Part(n=1, density=Gaussian(mass=1.0, center=(0.0,) * 3, width=1.0)),))
    two = Initial(masses=(Part(n=1, density=Uniform(mass=1.0)), Part(n=2, density=Uniform(mass=1.0))))
    for model, initial, domain in (
        (Model(diffusion=PowerLaw(power=-0.5), interaction=DoiBall(alpha=20.0)), EVEN, TORUS),
        (Model(diffusion=(1.0,), interaction=DoiBall(alpha=((1.0, 2.0), (2.0, 3.0)))), EVEN, TORUS),
        (Model(diffusion=(1.0,), interaction=DoiBall(alpha=2.0), ranges=(1.0,)), EVEN, TORUS),
        (Model(diffusion=(1.0,), interaction=DoiBall(alpha=2.0), fragmentation=Fragmentation(rate=1.0)), EVEN, TORUS),
        (ANNIHILATION, bump, TORUS),
        (ANNIHILATION, two, TORUS),
        (ANNIHILATION, EVEN, Domain.box(np.ones(3))),
    ):
        assert fitted_beta.species(model, initial, domain) is None
    nothing = ensemble(100, 5, survivors=np.full((5, 2), 100))
    assert fitted_beta.rows(ANNIHILATION, [nothing], EVEN, TORUS) == []
    assert fitted_beta.rows(ANNIHILATION, [ensemble(100, 1)], EVEN, TORUS) == []
    assert fitted_beta.rows(ANNIHILATION, [nothing], None, None) == []


def test_the_ratio_of_the_stosszahlansatz_and_its_error():
    model = Model(diffusion=(1.0,), interaction=DoiBall(alpha=20.0), n_max=2)
    rng, beta = np.random.default_rng(8), float(propensity(model)(ONE, ONE)[0])
    ratios, errors = [], []
    for _ in range(100):
        product = 0.05 * (1 + 0.2 * rng.standard_normal(40))
        rates = 1.02 * beta * product * (1 + 0.05 * rng.standard_normal(40))  # correlated with the products
        fields = {"pair_rates": np.zeros((40, 2, 2)), "pair_products": np.zeros((40, 1, 2, 2))}
        fields["pair_rates"][:, 0, 0], fields["pair_products"][:, 0, 0, 0] = rates, product
        fields["pair_events"] = np.full((40, 2, 2), 10)
        rows = comparison_figures(model, [ensemble(1000, 40, **fields)], None, deltas=[0.1])["stosszahlansatz"]
        assert [(row["n"], row["m"], row["delta"]) for row in rows] == [(1, 1, 0.1)]
        ratios.append(rows[0]["ratio"])
        errors.append(rows[0]["ratio_stderr"])
    assert np.mean(ratios) == pytest.approx(1.02, abs=SE * np.std(ratios) / 10)
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.35)
    assert rows[0]["naive_ratio"] == pytest.approx(rows[0]["ratio"] * beta / float(naive(model, ONE, ONE)[0]))
    length = beta / (4 * math.pi * 2)
    assert rows[0]["excess"] == pytest.approx(inverse_distance() * length * 1e-3 / 0.1, rel=1e-9)
    assert rows[0]["measured"] / rows[0]["predicted"] == pytest.approx(rows[0]["ratio"])


def test_ratios_are_as_sure_as_the_reactions_that_have_happened():
    """With the rates known and K ~ Poisson, the 95 % intervals hold the ratio; of one reaction there is no ratio."""
    model = Model(diffusion=(1.0,), interaction=DoiBall(alpha=20.0), n_max=2)
    beta, rng = float(propensity(model)(ONE, ONE)[0]), np.random.default_rng(3)
    product = np.full((20, 1, 2, 2), 0.002)

    def row(events):
        """Reactions of each replica, with hazards that add up to them: all that one encounter can tell."""
        rates = 2 * events[:, None, None] / 1000 * np.ones((1, 2, 2))
        fields = {"pair_rates": rates, "pair_products": product, "pair_events": events[:, None, None] * np.ones((2, 2))}
        found = comparison_figures(model, [ensemble(1000, 20, **fields)], None, deltas=[0.1])["stosszahlansatz"]
        return found[0] if found else None

    expected = beta * 0.002 * 1000 / 2  # reactions of a replica
    held = shown = 0
    for _ in range(200):
        found = row(rng.poisson(expected, 20))
        held += found["low"] <= 1.0 <= found["high"]
        shown += found["ratio"] is not None
    assert shown == 200
    assert held >= 200 * 0.95 - SE * math.sqrt(200 * 0.05 * 0.95)
    one = row(np.eye(1, 20, 7, dtype=int)[0])
    assert (one["events"], one["ratio"], one["ratio_stderr"]) == (1, None, None)
    assert one["low"] * 20 * expected == pytest.approx(0.0253, abs=1e-4)  # Garwood's interval for K = 1
    assert one["high"] * 20 * expected == pytest.approx(5.5716, abs=1e-4)
    assert row(np.zeros(20, dtype=int))["high"] * 20 * expected == pytest.approx(3.6889, abs=1e-4)
    together = np.zeros(20, dtype=int)
    together[3] = 40  # all in one replica: its spread over the others is no error
    assert row(together)["ratio_stderr"] >= row(together)["ratio"] / math.sqrt(40)


def test_fragments_that_react_at_once_are_no_part_of_the_ratio():
    """fragments.toml: 1.19 +- 0.03 with kin, one without."""
    model = Model(
        diffusion=PowerLaw(power=-1 / 3, scale=0.5),
        interaction=Bump(alpha=20.0),
        fragmentation=Fragmentation(rate=5.0),
        n_max=24,
    )
    options = {"count": 250, "replicas": 40, "end": 0.1, "domain": TORUS, "seed": 1, "deltas": [None]}
    e = simulate(model, EVEN, **options)
    found = comparison_figures(model, [e], None, deltas=[None])["stosszahlansatz"][0]
    assert (found["n"], found["m"]) == (1, 1)
    assert abs(found["ratio"] - 1) < SE * found["ratio_stderr"]
    with_kin = found["ratio"] / (1 - found["kin_share"])
    assert with_kin > 1 + SE * found["ratio_stderr"]
    events = e.pair_events[:, 0, 0].sum()
    assert 2 * events == pytest.approx(250 * e.pair_rates[:, 0, 0].sum(), abs=2 * SE * math.sqrt(events))


def test_the_mean_inverse_distance_of_two_points_of_the_mollifier():
    """By Fourier's transform: int int eta eta / |x - y| = (2 / pi) int_0^inf hat(eta)^2 dk."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    r, k = (nodes + 1) / 2, np.linspace(0, 100, 4001)
    shell = weights / 2 * 4 * math.pi * r**2 * Bump(alpha=1.0).profile(r, 3)
    transform = np.sinc(np.outer(k, r) / math.pi) @ shell
    assert inverse_distance() == pytest.approx(2 / math.pi * np.trapezoid(transform**2, k), rel=1e-6)


def test_martingales_candidates_and_distances_are_summed_up():
    rng, ensembles = np.random.default_rng(9), []
    for count in (100, 400, 1600):
        spread = 1 / math.sqrt(count)
        fields = {
            "martingale": spread * rng.standard_normal((300, 1)),
            "martingale_variation": np.full((300, 1), spread**2),
            "residual_by_delta": 0.3 + spread * rng.standard_normal((300, 1, 1)),
            "time_integral": 2.0 + spread * rng.standard_normal((300, 1)),
        }
        ensembles.append(ensemble(count, 300, **fields))
    solution = SimpleNamespace(times=[0.0, 0.05, 0.1], time_integral=[np.zeros(1), np.ones(1), np.array([2.0])])
    found = comparison_figures(ANNIHILATION, ensembles, solution, deltas=[0.1])
    for row, e in zip(found["martingale"], ensembles, strict=True):
        assert (row["N"], row["test_function"], row["replicas"]) == (e.count, 0, 300)
        assert abs(row["mean_deviation"]) < SE
        assert abs(row["deviation"]) < SE
        assert row["mean_square"] == pytest.approx(1 / e.count, rel=0.5)
    for row in found["candidate"]:
        assert row["delta"] == 0.1
        assert abs(row["mean"] - 0.3) < SE * row["stderr"]
    for row, e in zip(found["corollary_1_3"], ensembles, strict=True):
        assert row["mean_abs"] == pytest.approx(math.sqrt(2 / math.pi / e.count), rel=0.2)
        assert row["solution"] == 2.0
    rates = {row["quantity"]: row for row in found["rates"]}
    assert rates["martingale_mean_square"]["theory"] == -1.0
    for row in rates.values():
        assert row["slope"] == pytest.approx(row["theory"], abs=0.12)
        assert row["low"] < row["slope"] < row["high"]
    shorter = SimpleNamespace(times=[0.0, 0.05], time_integral=[np.zeros(1), np.ones(1)])
    for other in (None, shorter):
        found = comparison_figures(ANNIHILATION, ensembles, other, deltas=[0.1])
        assert found["corollary_1_3"] == []
        assert {row["quantity"] for row in found["rates"]} == {"martingale_mean_square"}
    assert comparison_figures(ANNIHILATION, [], solution) == {}


def test_deltas_must_be_those_of_the_ensembles():
    with pytest.raises(InputError, match="N = 100 was simulated with 1"):
        comparison_figures(ANNIHILATION, [ensemble(100, 3)], None)


def test_a_single_replica_has_no_errors():
    found = comparison_figures(
        ANNIHILATION, [ensemble(100, 1, pair_products=np.ones((1, 1, 2, 2)))], None, deltas=[0.1]
    )
    assert found["candidate"][0]["stderr"] is None
    assert found["stosszahlansatz"][0]["ratio"] is None
    assert math.isnan(found["martingale"][0]["deviation"])
    assert found["rates"] == []


@pytest.mark.parametrize("interaction", [DoiBall(alpha=20.0), Bump(alpha=20.0)])
def test_the_chance_to_react_begins_as_alpha_int_v_and_leaves_it_on_the_scale_eps_squared(interaction):
    """Claims 3.5 and 3.6, and how the true rate takes over: two independent computations, and both limits."""
    model = Model(diffusion=(1.0,), interaction=interaction)
    found = initial_slope(model, [1e-3, 0.1, 1.0, 4.0], samples=100_000, seed=1)
    assert np.abs((found.slope - found.radial) / found.stderr).max() < SE
    assert found.radial[0] == pytest.approx(found.naive, rel=0.02)
    assert found.radial[1] < 0.8 * found.naive
    assert found.slope[2] < 0.6 * found.naive
    length, late = found.beta / (4 * math.pi * 2), initial_slope(model, [100.0, 101.0], samples=2, seed=1).radial
    rate = late @ np.array([-100.0, 101.0])  # K' between the two
    assert rate == pytest.approx(found.beta * (1 + length / math.sqrt(math.pi * 2 * 100.5)), rel=2e-3)


def test_the_initial_slope_of_other_dimensions_shapes_and_ranges():
    flat = Model(dimension=2, diffusion=(1.0,), interaction=DoiBall(alpha=20.0), ranges=(0.7,))
    found = initial_slope(flat, [0.01, 1.0], samples=40_000, log_eps=-20.0, seed=2)
    assert np.abs((found.slope - found.radial) / found.stderr).max() < SE
    assert found.naive == pytest.approx(20 * math.pi)
    assert found.radial[0] == pytest.approx(found.naive, rel=0.01)
    long = Model(diffusion=(0.5, 0.2), interaction=Ellipsoid(alpha=20.0, axes=(0.7, 0.7, 1.4)), ranges=(0.4, 0.8))
    found = initial_slope(long, [0.003, 3.0], n=1, m=2, samples=40_000, seed=3)
    assert found.radial is None
    assert found.naive == pytest.approx(20 * 1.2)
    assert abs(found.slope[0] - found.naive) < SE * found.stderr[0] + 0.03 * found.naive
    assert found.beta < found.slope[1] < 0.8 * found.naive
    none = initial_slope(Model(diffusion=(1.0,), interaction=DoiBall(alpha=0.0)), [1.0], samples=10)
    assert none.slope[0] == none.radial[0] == 0.0


def test_the_initial_slope_of_a_potential_from_a_file(tmp_path):
    path = tmp_path / "potential.py"
    path.write_text("import numpy as np\n\ndef V(x):\n    return np.maximum(1 - x**2 @ [4.0, 1.0, 1.0], 0) ** 3\n")
    flat = InteractionFromFile(python=f"{path}:V", radius=1.0, alpha=20.0)
    found = initial_slope(Model(diffusion=(1.0,), interaction=flat), [3e-3, 1.0], samples=100_000, seed=4)
    assert found.naive == pytest.approx(20 / 2 * math.pi * 64 / 315, rel=1e-3)
    assert found.slope[0] == pytest.approx(found.naive, abs=SE * found.stderr[0] + 0.03 * found.naive)
    assert found.beta < found.slope[1] < 0.8 * found.naive


def test_an_initial_slope_that_makes_no_sense_is_refused():
    model = Model(diffusion=(1.0,), interaction=DoiBall(alpha=20.0))
    flat = Model(dimension=2, diffusion=(1.0,), interaction=DoiBall(alpha=20.0))
    for call in (
        lambda: initial_slope(model, []),
        lambda: initial_slope(model, [0.0]),
        lambda: initial_slope(model, [math.inf]),
        lambda: initial_slope(model, [1.0], samples=1),
        lambda: initial_slope(model, [1.0], log_eps=-10.0),
        lambda: initial_slope(flat, [1.0]),
        lambda: initial_slope(flat, [1.0], log_eps=1.0),
    ):
        with pytest.raises(InputError):
            call()
