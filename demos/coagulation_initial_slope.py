"""Claim: the number of particles begins to fall at the naive rate (Claim 3.6), and leaves it on the time scale eps^2.

A tracer among particles that are evenly spread has reacted by the time eps^2 tau with the chance eps^2 K(tau), where
K(tau) / tau falls from the naive rate alpha int V at tau = 0 to beta of (3.3): on that scale close pairs react, and
none have come to take their place. K is sampled along relative Brownian paths, knowing no beta, and computed from the
radial heat equation with the killing rate alpha V.

Run: python demos/coagulation_initial_slope.py
"""

import sys

from limitpde.coagulation import Model
from limitpde.coagulation.proof.initial_slope import initial_slope

QUICK = "--quick" in sys.argv

model = Model(diffusion=[1.0], interaction={"shape": "ball", "alpha": 20.0}, n_max=1, reaction="annihilation")
found = initial_slope(model, [1e-3, 1e-2, 0.1, 1.0, 10.0], samples=20_000 if QUICK else 200_000)
assert found.radial is not None

print(f"naive rate {found.naive:.4f}, beta {found.beta:.4f}")
for tau, slope, error, radial in zip(found.tau, found.slope, found.stderr, found.radial, strict=True):
    print(f"t = {tau:g} eps^2: K / tau = {slope:.3f} +- {error:.3f} sampled, {radial:.3f} from the radial equation")
    assert abs(slope - radial) < 4.5 * error, "the sampled chance is not that of the radial equation"
assert abs(found.radial[0] / found.naive - 1) < 0.01, "the initial slope is not the naive rate"
assert found.beta < found.radial[-1] < 1.25 * found.beta, "the slope does not come down to beta"
