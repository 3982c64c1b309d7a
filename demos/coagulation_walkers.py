"""Claim: coalescing random walkers on the discrete torus follow Kingman's coalescent, on the scale N^d / beta.

Walkers of rate one on the torus of N^3 sites; a pair at one site merges at the rate kappa (Hammond section 2.2). After
long times the walkers mix between their encounters; each pair merges at the rate beta / N^3, with Cox's constant G in
beta = 1 / (1/kappa + G/2), and the number left is that of Kingman's coalescent at the time beta t / N^3. The scale
printed in the paper, t = 2 N^3 s / G, has G/2 upside down; both are compared.

Run: python demos/coagulation_walkers.py
"""

import math
import sys

import numpy as np

from limitpde.coagulation.lattice import cox_constant, kingman_mean, pair_rate, torus_walkers

QUICK = "--quick" in sys.argv
SIZE, WALKERS, REPLICAS = 10, 6, 1000 if QUICK else 4000
times = np.array([0.1, 0.3, 1.0])  # of the coalescent
print(f"G = {cox_constant(3):.12f}")
for merge_rate in (1.0, math.inf):
    beta = pair_rate(3, merge_rate, size=SIZE)
    left = torus_walkers(
        3, SIZE, times * SIZE**3 / beta, walkers=WALKERS, replicas=REPLICAS, merge_rate=merge_rate, seed=1
    )
    printed = torus_walkers(
        3,
        SIZE,
        2 * SIZE**3 / cox_constant(3) * times,
        walkers=WALKERS,
        replicas=REPLICAS,
        merge_rate=merge_rate,
        seed=1,
    )
    print(f"pairs merge at the rate {merge_rate:g}: beta = {beta:.6f}")
    for k, s in enumerate(times):
        mean, error = left[:, k].mean(), left[:, k].std(ddof=1) / math.sqrt(REPLICAS)
        law, other = kingman_mean(s, WALKERS), printed[:, k].mean()
        print(f"  s = {s:g}: {mean:.3f} +- {error:.3f} walkers, Kingman {law:.3f}; on the printed scale {other:.3f}")
        assert abs(mean - law) < 0.02 * law + 4.5 * error, "the walkers do not follow Kingman's coalescent"
    assert abs(printed[:, 1].mean() - kingman_mean(times[1], WALKERS)) > 0.2, "the printed scale is right after all"
