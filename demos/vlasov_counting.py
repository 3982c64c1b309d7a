"""Claim: all but about one of N particles from a product state stay in the mean-field state: <q_1> = O(1/N).

alpha_N solves (HLv^N), the transport along Newton's trajectories, from alpha_0 x ... x alpha_0; alpha solves (HVl) from
alpha_0. Theorem 4.8 of Neiss and Pickl bounds beta_N = <m_lambda>, m_lambda(k) = min(k / N^lambda, 1) of the number k
of particles outside alpha, by C (N^-lambda + N^{-(1 - lambda)/4}): no power beyond 1/5, the one for lambda = 1/5, and
hardly any for lambda near 1. Measured is more: E k = N <q_1> stays bounded, hence beta_N <= E k / N^lambda for every
lambda < 1, and <q_1>, which is beta_N for lambda = 1, falls like 1/N. For two particles the Monte Carlo sums are
checked against alpha_2 on a grid of R^4, by (HLv^N) and by its Fourier transform (PsQM^N). Attractive HMF model, Gamma
= -cos x, at t = 1; alpha_0 real, and with a phase that is not one of the trivial ones, linear in x and v.

Run: python demos/vlasov_counting.py
"""

import math
import sys

import numpy as np

from limitpde.compare.rates import fit_rate, mean_abs
from limitpde.vlasov.hamiltonian.counting import occupation, theorem_rate
from limitpde.vlasov.hamiltonian.liouville import Liouville
from limitpde.vlasov.hamiltonian.trajectories import Excitations, GridState, excitations
from limitpde.vlasov.initial import Landau
from limitpde.vlasov.model import Model
from limitpde.vlasov.pde import Solver

QUICK = "--quick" in sys.argv
COUNTS, REPLICAS = ((2, 8, 16, 32), 500) if QUICK else ((2, 4, 8, 16, 32, 64), 8000)
END, EXPONENT = 1.0, 0.5


def model(form: str) -> Model:
    """The attractive HMF model on the circle."""
    domain = {"x": (0.0, 2 * math.pi), "v": (-4.5, 4.5)}
    return Model(potential={"kind": "cosine", "strength": -1.0}, form=form, domain=domain)


def on_grid(initial: Landau, form: str) -> np.ndarray:
    """<P_0>, <P_1>, <P_2> of two particles, alpha_2 and alpha on the same grid."""
    cells, degree, steps = (6, 10), 4, 10
    two = Liouville(model(form), initial, particles=2, form=form, cells=cells, degree=degree)
    two.advance(END, steps)
    one = Solver(model(form), initial, cells=cells, degree=degree, step=END / steps)
    one.solve(END)
    weights = one.space.x_axes[0].weights, one.space.v_axes[0].weights
    return occupation(two.form.alpha_values(), one.form.alpha_values(), weights)


def on_trajectories(initial: Landau) -> list[Excitations]:
    """E k and E k (k - 1) for each N."""
    solver = Solver(model("hamiltonian"), initial, cells=(16, 40), degree=4, step=0.05)
    solver.solve(END)
    state = GridState(solver.space.x_axes[0], solver.space.v_axes[0], solver.form.alpha_values())
    return [
        excitations(solver.model, initial, state, time=END, particles=N, replicas=REPLICAS, step=0.2, seed=1)
        for N in COUNTS
    ]


def compare(initial: Landau) -> None:
    """Print what was found for one alpha_0, and hold it against the claim."""
    found = on_trajectories(initial)
    for form in ("hamiltonian", "hartree"):
        P = on_grid(initial, form)
        E, pairs = P[1] + 2 * P[2], 2 * P[2]
        two = found[0]
        print(f"N = 2 on the grid ({form}): E k = {E:.5f}, E k(k-1) = {pairs:.5f}")
        assert abs(E - two.excited) < 4.5 * two.excited_error, "Monte Carlo and grid disagree on E k"
        assert abs(pairs - two.pairs) < 4.5 * two.pairs_error, "Monte Carlo and grid disagree on E k(k-1)"
    print(f"   N   E k = N <q_1>     E k(k-1)         beta_N for lambda = {EXPONENT:g}")
    for one in found:
        low, high = one.beta_bounds(EXPONENT)
        print(
            f"{one.particles:4d}   {one.excited:.4f} +- {one.excited_error:.4f}  {one.pairs:.4f} +- "
            f"{one.pairs_error:.4f}  between {low:.4f} and {high:.4f}"
        )
    for name, power, theorem in (
        ("<q_1>", 0.0, theorem_rate(0.2)),
        (f"upper bound of beta_N, lambda = {EXPONENT:g},", 1 - EXPONENT, theorem_rate(EXPONENT)),
    ):
        rate = fit_rate(COUNTS, [one.particles**power * one.single for one in found], mean_abs)
        assert rate is not None
        print(f"{name} falls like N^{rate.slope:.3f} [{rate.low:.3f}, {rate.high:.3f}]; the theorem has N^-{theorem:g}")
        assert rate.high < -theorem, "it does not fall faster than the theorem says"
    assert found[-1].excited < 1.15 * found[-3].excited, "the number of excited particles grows with N"


def phase(z: np.ndarray) -> np.ndarray:
    """S of alpha_0 = sqrt(f_0) e^{iS} at points (n, 2)."""
    x, v = z.T
    return np.asarray(0.2 * v**2 + 0.3 * np.sin(x) * v)


if __name__ == "__main__":
    for name, own in (("real", None), ("sqrt(f_0) e^{i (v^2 / 5 + 0.3 v sin x)}", {"python": f"{__file__}:phase"})):
        print(f"alpha_0 is {name}")
        compare(Landau(k=1.0, amplitude=0.5, thermal=0.7, phase=own))
