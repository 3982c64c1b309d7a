"""The particle systems of van Meurs-Peletier-Slangen: (1.1), its regularised form (4.7), (1.2), point vortices.

    dX_i = sigma dB_i + gamma_N Phi_l(X) sum_j b_i b_j k(X_i - X_j) dt - grad U(X_i) dt,    gamma_N = gamma_bar / N

(or a fixed gamma, or sigma_N and gamma_N of their own, `limitpde.signed.scaling`) with k(x) = x / max(|x|^2, eps^2)
("capped") or K_eps(x) = x / (|x|^2 + eps^2) ("regularised", (4.5)), and the cut-off Phi_l(X) = 1 where equal signs are
at least 1/l apart, 0 below 1/(2l), linear between ((4.6); off by default). Where the model says so, all b_i b_j are -1
((1.2), attraction), or the sum is sum_j b_j K_perp.

Euler-Maruyama moves the particles, of weak order one: means carry a bias proportional to the step, which halving the
step shows. With the bare K its second moment is infinite after two steps: a pair of opposite signs at a distance r
below sqrt(2 gamma dt) is thrown across itself, to about 2 gamma dt / r. So eps is sqrt(2 gamma_N dt) by default, and
the drift of one step only contracts a closer pair. Where gamma is not small beside sigma^2, close pairs move by their
exact joint law instead (`limitpde.signed.collisions`), which also sees them collide. Or a step is cut into up to m
parts in the replicas that have a close pair (`limitpde.signed.substeps`), and eps is sqrt(2 gamma_N step / m).

The forces are those of all pairs, summed up directly or by a fast multipole method, or unbiased estimates from random
batches (`limitpde.nbody.random_batches`), whose bias of order one in the step is there. W has the forces of all pairs
then too, and A the difference to those that the particles feel.

Replicas are spread over the ranks, or over teams of ranks that share the forces (`limitpde.nbody.teams`), and the pairs
of a batch of replicas over the threads. The noise is a function of (seed, N, replica, particle, step and part), so
trajectories do not depend on how many ranks or threads there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from limitpde.compare.cloud_functions import CloudFunction
from limitpde.compare.test_functions import TestFunction
from limitpde.compare.user_functions import UserFunction
from limitpde.nbody.fast_sum import check_accuracy, fast_pair_sum
from limitpde.nbody.pairs import pair_interactions, pair_sum
from limitpde.nbody.random_batches import strongest
from limitpde.nbody.replicas import (
    ALONE,
    Controls,
    ReplicaEnsemble,
    Simulated,
    check_arguments,
    ensemble_seed,
    in_order_kept,
    simulate_replicas,
    team_for,
    time_grid,
)
from limitpde.nbody.threads import use_threads
from limitpde.signed.charge_replicas import ChargeReplicas, compile_kernels
from limitpde.signed.charge_setup import ChargeSetup
from limitpde.signed.confinement import ConfinementFromFile
from limitpde.signed.estimate_integrals import largest_gradient
from limitpde.signed.model import Initial, Model
from limitpde.signed.options import Collision, PairMotion, batch_size_of, check_substeps, takes_exact_pairs
from limitpde.signed.residual import ParticleResidual
from limitpde.signed.scaling import PowerOfN, Scaling
from limitpde.signed.start import InitialPositions

BATCH_PARTICLES = 32_768
"""Particles advanced together: enough for all threads, few enough that a stopped run loses seconds."""

COLLAPSED = 0.1
"""Error of the rate of the second moment by the steps, as a part of the pull of all pairs, from which particles that
attract each other have collapsed."""
FAST_FROM = 10_000
"""N from which "auto" takes the fast sum: measured, with some room (demos/benchmarks/fast_sum.py). A choice by a
measurement in the run would make results depend on the machine."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Ensemble(ReplicaEnsemble):
    """Replicas of one particle number: what they were measured to do. The same on every rank."""

    positive: np.ndarray
    """(R,) number of positive charges."""
    quadratic_variation: np.ndarray
    """(R, P) of (sigma^2 / N) int_0^T int |grad phi|^2 dL^N_t dt; its mean is the variance of W - A (Ito isometry)."""
    eps: float
    """Length of the cap or of the regularisation."""
    batch_size: int | None
    """p of the random batches whose forces the particles feel; None where they feel those of all pairs."""
    extra_diffusivity: np.ndarray
    """(R, T) what random batches add to sigma^2 / 2, measured: see `limitpde.nbody.random_batches`."""
    step_bias: np.ndarray
    """(R, T) by how much the rate of (1/N) sum |X_i|^2 is wrong because of the steps: Euler's dt |v|^2, less what the
    cap takes of the forces; zero where that is not known (random batches, cut-off, cut steps, vortices, own eps)."""
    collapsible: bool
    """Whether all attract all so strongly that they end at one point: N gamma >= 2 sigma^2."""
    pull: float
    """gamma (N - 1), the rate of (1/N) sum |X_i|^2 where all pairs have the same sign."""
    substeps: int
    """m, the most parts of a step."""
    parts: np.ndarray
    """(R,) parts of all steps together."""
    survivors: np.ndarray
    """(R, T) number of particles that have not been annihilated."""
    collided: np.ndarray
    """(R,) whether two charges have hit each other; False throughout where the steps do not see that."""
    partners: np.ndarray
    """(R, N) int64, whom each particle has met and stuck to, or vanished with; -1 for nobody; (R, 0) for "through"."""
    since: np.ndarray
    """(R, N) end of the step in which it did; NaN for nobody; (R, 0) for "through"."""
    sees_collisions: bool
    """Whether the steps see all first collisions, so that `collided` means something."""
    collision: Collision
    """What became of charges that hit each other."""
    scattered: np.ndarray
    """(P,) bool, test functions whose W does not concentrate: where opposite charges move by their exact law, W of a
    charged phi has terms like 1 / r of partners, whose square is not integrable in time."""
    ends: np.ndarray
    """(K, N, 3) x, y and the sign, 0 of those that were annihilated, at the end of the first K replicas."""
    estimates: dict[str, np.ndarray]
    """What `limitpde.signed.estimates` needs, a row for each replica; empty where it was not asked for."""
    estimate_eps: tuple[float, ...]
    """Lengths of the regularisation in Lemma 5.9."""
    estimate_gradients: tuple[float, ...]
    """max |grad phi| of each test function."""
    own_strengths: bool
    """Whether A is that of gamma_N and sigma_N alone which are not those of the equation: Lemma 5.10's second term."""

    def meetings(self) -> Iterator[dict[str, float]]:
        """A row for each pair that has met: its replica, the end of the step, and both particles; in order of time."""
        for number, partners, since in zip(self.replicas, self.partners, self.since, strict=True):
            first = np.flatnonzero(partners > np.arange(len(partners)))
            for i in first[np.argsort(since[first], kind="stable")].tolist():
                yield {"replica": int(number), "t": float(since[i]), "first": i, "second": int(partners[i])}

    @property
    def both_signs(self) -> bool:
        """Whether there is a replica with charges of both signs."""
        return bool(((self.positive > 0) & (self.positive < self.count)).any())

    @property
    def noise(self) -> np.ndarray:
        """(R, P) of W - A at the end, of mean zero; NaN where W does not concentrate, and after a collapse."""
        return np.where(self.scattered | self.collapsed, np.nan, self.residual[:, :, -1] - self.compensator)

    @property
    def mean_step_bias(self) -> np.ndarray:
        """(T,) means over replicas of `step_bias`."""
        return np.asarray(self.step_bias.mean(axis=0))

    @property
    def collapsed(self) -> bool:
        """Whether particles that attract each other have come so close that the steps decide on them."""
        return bool(self.collapsible and np.abs(self.mean_step_bias).max() > COLLAPSED * self.pull)

    @property
    def mean_extra_diffusivity(self) -> np.ndarray:
        """(R,) means over time of `extra_diffusivity`; in a unit time (1/N) sum |X_i|^2 gains four times that."""
        return np.asarray(np.trapezoid(self.extra_diffusivity, self.times, axis=1) / self.times[-1])

    @property
    def in_theory(self) -> bool:
        """Whether the particles have the drift and the noise of the theorem, so that its rate applies."""
        known = self.own_strengths or not self.compensator.any()
        own = self.batch_size is None and self.quadratic_variation.any() and known
        return bool(own and (self.survivors == self.count).all())


def simulate(
    model: Model,
    initial: Initial,
    *,
    count: int,
    replicas: int,
    step: float,
    end: float,
    seed: int = 0,
    stops: Iterable[float] = (),
    test_functions: Sequence[TestFunction] = (),
    observables: Sequence[CloudFunction] = (),
    method: str = "auto",
    accuracy: float = 1e-6,
    batch_size: int | None = None,
    substeps: int = 1,
    kernel: str = "capped",
    eps: float | None = None,
    cutoff: int | None = None,
    pairs: PairMotion = "auto",
    collision: Collision = "through",
    gamma: PowerOfN | None = None,
    sigma: PowerOfN | None = None,
    estimate_eps: Sequence[float] | None = None,
    controls: Controls = ALONE,
) -> Ensemble:
    """Simulate replicas of N particles and measure them. Collective.

    Args:
        model: the parameters.
        initial: where the particles start: drawn independently from the densities, with N times the mass of each sign
            rounded to whole particles, or signs drawn too; or points.

    Keyword Args:
        count: N.
        replicas: number of independent copies.
        step: largest time step; each interval between output times is cut into equal steps.
        end: final time.
        seed: all randomness follows from it and N.
        stops: output times between 0 and the end.
        test_functions: phi(x, b), or phi(x, b, t) by Python, whose observables and residuals are measured.
        observables: numbers that functions of the user's own make of the particles.
        method: force sum: "direct", "fast" (an adaptive multipole method, `limitpde.nbody.fast_sum`), "auto": the
            fast one from N = 10,000 on; or "batches" (random batches, `limitpde.nbody.random_batches`). With test
            functions these have the sum of all pairs beside them at each step, as "auto" does it.
        accuracy: of the fast sum, relative to the sum of the sizes of all forces on a particle.
        batch_size: p of the random batches, 2 <= p <= N; 32 by default, or N.
        substeps: the most parts into which a step may be cut where charges come close, a power of two.
        kernel: "capped" or "regularised".
        eps: length of the cap or of the regularisation; by default sqrt(2 gamma_N step / substeps), with (N - 1) /
            (p - 1) gamma_N for gamma_N in random batches.
        cutoff: l of the cut-off Phi_l; none by default.
        pairs: how nearest neighbours move: like all others ("euler"), by their exact joint law ("exact"), or that where
            gamma_N >= 0.05 sigma^2 or collisions matter ("auto").
        collision: what charges do that hit each other: go "through", "stick" together, "annihilate"; with
            gamma_N >= sigma^2 they stick. All but the first need the exact law.
        gamma: gamma_N of the particles, where W has the model's gamma_bar; gamma_bar / N by default.
        sigma: sigma_N of the particles, where W has the model's D; the model's by default.
        estimate_eps: measure what the paper's estimates are about, with these eps in Lemma 5.9; by default not.
        controls: how it is watched and where it runs; snapshots have (t, positions (n, 2), sign=(n,)).

    Raises:
        InputError: an argument is out of range, or a gradient is not that of its potential.
        RunError: a position is not finite.
        Interrupted: asked to stop before any replica was finished.
    """
    check_arguments(count, replicas, step, end)
    check_accuracy(accuracy)
    grid = time_grid(step, end, stops)
    check_substeps(substeps, sum(steps for _, steps in grid))
    checked = estimate_eps is not None
    size = batch_size_of(
        count, method, batch_size, pairs=pairs, collision=collision, cutoff=cutoff, substeps=substeps, estimates=checked
    )
    limit, model = model, Scaling(model, gamma, sigma).particles(count)
    fast = method == "fast" or (method != "direct" and count >= FAST_FROM)
    bare = kernel != "capped" or eps is not None
    plain = not bare and cutoff is None
    run = ChargeSetup(
        limit=limit,
        model=model,
        start=InitialPositions(initial, count, controls.comm),
        seed=ensemble_seed(seed, count),
        grid=grid,
        residual=ParticleResidual(limit, count, test_functions, model.sigma),
        kernel=kernel,
        eps=_cap(model, count, size, (step / 2 if controls.halved else step) / substeps) if eps is None else eps,
        bare=bare,
        cutoff=cutoff,
        exact_pairs=size is None and takes_exact_pairs(model, count, pairs, collision, plain=plain),
        collision=collision,
        pair_sum=partial(fast_pair_sum, accuracy=accuracy) if fast else pair_sum,
        batch_size=size,
        substeps=substeps,
        halved=controls.halved,
        estimate_eps=None if estimate_eps is None else tuple(estimate_eps),
        observables=tuple(observables),
    )
    return _carried_out(run, replicas, controls)


def _cap(model: Model, count: int, batch_size: int | None, step: float) -> float:
    """Length of the cap by default: below it the drift of one step throws a pair across itself."""
    coupling = model.pair_strength(count) * (1 if batch_size is None else strongest(count, batch_size))
    return math.sqrt(2 * coupling * step)


def _carried_out(run: ChargeSetup, replicas: int, controls: Controls) -> Ensemble:
    """Simulate and measure what has been set up. Collective."""
    count, confinement = run.count, run.model.confinement
    use_threads(controls.comm)
    if isinstance(confinement, ConfinementFromFile):
        confinement.check(run.start.draw(np.random.default_rng(0))[0])
    sum_size = pair_interactions(1, count) * ((run.batch_size or count) / count)
    with team_for(controls, count=count, replicas=replicas) as team:
        run = replace(run, team=team, pair_sum=partial(run.pair_sum, team=team))
        simulated = simulate_replicas(
            partial(ChargeReplicas, run),
            controls,
            prepare=partial(compile_kernels, run),
            team=team,
            count=count,
            replicas=replicas,
            together=max(1, BATCH_PARTICLES // count),
            steps=run.steps,
            work=lambda part: int((part["parts"] + 1).sum()) * sum_size,
        )
    return _ensemble(run, simulated)


def _ensemble(run: ChargeSetup, simulated: Simulated) -> Ensemble:
    """What the replicas were measured to do."""
    limit, model, count = run.limit, run.model, run.count
    plain = not run.bare and run.cutoff is None
    found: dict[str, Any] = in_order_kept(simulated.parts, run.kept, "ends")
    estimated = (
        ("phi", "distance", "pair_integrals", "closest", "regularisation_gaps") if run.estimate_eps is not None else ()
    )
    estimates = {name: found.pop(name) for name in estimated}
    return Ensemble(
        **simulated.common(found, count=count, steps=run.steps, times=(t for t, _ in run.grid)),
        **found,
        eps=run.eps,
        batch_size=run.batch_size,
        substeps=run.substeps,
        sees_collisions=run.meeting or (run.exact_pairs and count == 2),
        scattered=_scattered(run, found["positive"]),
        own_strengths=model is not limit and plain and run.collision == "through" and limit.diffusivity == "ito",
        collapsible=model.interaction == "attractive" and count * model.pair_strength(count) >= 2 * model.sigma**2,
        pull=model.pair_strength(count) * (count - 1),
        collision=run.collision,
        estimates=estimates,
        estimate_eps=run.estimate_eps or (),
        estimate_gradients=tuple(map(largest_gradient, run.residual.functions)),
    )


def _scattered(run: ChargeSetup, positive: np.ndarray) -> np.ndarray:
    """See `Ensemble.scattered`."""
    both = bool(((positive > 0) & (positive < run.count)).any())
    opposite = run.exact_pairs and run.model.interaction == "signed" and both
    charged = [_is_charged(function, run) for function in run.residual.functions]
    return np.asarray(charged, dtype=bool) & opposite


def _is_charged(function: TestFunction, run: ChargeSetup) -> bool:
    """Whether phi has other values for the other sign, where particles start."""
    if not isinstance(function, UserFunction):
        return function.charge
    x, signs = run.start.draw(np.random.default_rng(0))
    return any(np.any(function.values(x, signs, t) != function.values(x, -signs, t)) for t in (0.0, run.grid[-1][0]))
