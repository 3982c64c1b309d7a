"""What the steps of charges do to the rate of the second moment, as far as that is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from limitpde.nbody.block_sums import block_sums
from limitpde.nbody.pairs import softness
from limitpde.signed.charge_setup import ChargeSetup
from limitpde.signed.collisions import uncapped
from limitpde.signed.configuration import Configuration


def step_bias(
    run: ChargeSetup,
    state: Configuration,
    whole: Callable[[np.ndarray], np.ndarray],
    partners_of: Callable[[Configuration], np.ndarray],
    step: float,
) -> np.ndarray:
    """By how much the rate of (1/N) sum |X_i|^2 is wrong in steps of this size, (R,); zero where that is not known.

    Euler's step adds dt |v|^2 of the velocities v by other particles than partners. Of K each pair of alive charges
    that are not bound adds 2 b_i b_j / N, at whatever distance; the cap takes some of it from pairs within eps.
    Collective in the team.

    Args:
        run: what the replicas have in common.
        state: where they are.
        whole: drifts of all particles from those of the rank's own.
        partners_of: with whom each particle moves by an exact law.
        step: its size.
    """
    x, y, b, alive, bond = state.x, state.y, state.charges, state.encounters.alive, state.encounters.bond
    known = run.batch_size is None and run.cutoff is None and run.substeps == 1 and not run.bare
    if run.model.interaction == "rotated" or not known:
        return np.zeros(len(x))
    strength, drift, trap = state.strength(run.pull[0]), whole(state.felt), run.model.confinement
    held = np.zeros(len(x))
    if run.exact_pairs:
        partners = x, y, strength, b, partners_of(state), state.encounters
        own = uncapped(*partners, kernel=softness(run.eps, run.kernel))
        pairs = uncapped(*partners, kernel=(math.inf, math.inf))
        held = np.where((bond >= 0) & alive, b * np.take_along_axis(b, bond, axis=1), 0.0).sum(axis=1)

    def terms(some: slice) -> np.ndarray:
        u, v, q, there, velocity = x[:, some], y[:, some], b[:, some], alive[:, some], drift[..., some]
        if trap is not None:
            slope = trap.gradient(np.stack([u.ravel(), v.ravel()], axis=1))
            velocity = velocity + slope.T.reshape(velocity.shape)
        others = velocity
        if run.exact_pairs:
            velocity = velocity + own[..., some]
            others = velocity - pairs[..., some]
        virial = u * velocity[0] + v * velocity[1]
        return np.stack([there * q, there * q**2, virial, there * (others**2).sum(axis=0)])

    net, squares, virial, speeds = block_sums(terms, 0, run.count)
    capped = strength * (net**2 - squares - held) - 2 * virial
    return np.asarray((step * speeds - capped) / run.count)
