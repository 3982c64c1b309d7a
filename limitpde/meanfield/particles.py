"""N particles in potentials of the user's own (`limitpde.meanfield.model`), by Euler-Maruyama, with W (`residual`).

Sums over pairs are those of `limitpde.nbody.sums`: in closed form for harmonic W, compiled for Gaussian and softened W,
by numpy over blocks of pairs for Python functions and for several species. Teams of ranks may share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from limitpde.compare.cloud_functions import CloudFunction, PointCloud, observed_clouds
from limitpde.compare.clouds import clouds_kept
from limitpde.compare.marked import evaluate_marked
from limitpde.compare.test_functions import FunctionTable, TestFunction
from limitpde.meanfield.model import Initial, Model
from limitpde.nbody.diffusions import DiffusionEnsemble, Diffusions, Motion
from limitpde.nbody.replicas import ALONE, Controls, check_arguments, team_for
from limitpde.nbody.sums import make_sums
from limitpde.nbody.sums.closed import AnySums
from limitpde.nbody.teams import Team
from limitpde.parallel import on_all
from limitpde.potentials import AnyPotential


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
    interaction: AnyPotential | None = None,
    sigma: float | None = None,
    controls: Controls = ALONE,
) -> DiffusionEnsemble:
    """Simulate replicas of N particles and measure them. Collective.

    Args:
        model: the parameters.
        initial: the densities, from which positions are drawn independently; masses add to one.

    Keyword Args:
        count: N.
        replicas: number of independent copies.
        step: largest time step; each interval between output times is cut into equal steps.
        end: final time.
        seed: all randomness follows from it and N.
        stops: output times between 0 and the end.
        test_functions: phi(x, s, t), whose observables and residuals are measured.
        observables: numbers that functions of the user's own make of the particles.
        interaction: W of the particles, where it is not to be that of the model; W[t, phi] is then that of the model.
        sigma: of the particles, likewise.
        controls: how it is watched and where it runs; snapshots have species=(N,).

    Raises:
        InputError: an argument is out of range, or a function of the user's fails.
        Interrupted: asked to stop before any replica was finished.
    """
    initial.check(model)
    on_all(controls.comm, lambda: model.check(initial.box()))
    FunctionTable.of(test_functions, model.dimension)
    species, weight = np.repeat(np.arange(len(model.strengths)), initial.numbers(count)), np.full(count, 1 / count)
    other = interaction not in (None, model.interaction) or sigma not in (None, model.sigma)
    check_arguments(count, replicas, step, end)

    def observed(x: np.ndarray, t: float) -> np.ndarray:
        return observed_clouds(observables, [PointCloud(z, species + 1.0, weight) for z in x], t)

    with team_for(controls, count=count, replicas=replicas) as team:
        equation = Motion(_force(model, model.interaction, species, team), model.sigma)
        force = equation.force if interaction is None else _force(model, interaction, species, team)
        run = Diffusions(
            count=count,
            motion=Motion(force, model.sigma if sigma is None else sigma),
            equation=equation if other else None,
            start=partial(initial.draw, count),
            tested=lambda x, t: evaluate_marked(test_functions, x, np.resize(species + 1.0, len(x)), t),
            marks=(("species", species + 1),),
            observed=observed if observables else None,
            kept=clouds_kept(model.dimension * count),
            team=team,
        )
        return run.simulate(controls, replicas=replicas, step=step, end=end, seed=seed, stops=stops)


def _force(
    model: Model, potential: AnyPotential, species: np.ndarray, team: Team
) -> Callable[[np.ndarray], np.ndarray]:
    """The force on the particles of these species, (N,), by an interaction. Collective in the team."""
    exterior, matrix = model.exterior, model.matrix
    if len(matrix) == 1:
        scale, sums = matrix[0, 0], make_sums(potential, np.zeros((model.dimension, 2)), periodic=False, team=team)
    else:
        scale, strengths = 1.0, matrix[species[:, None], species]
        sums = AnySums(lambda x: (potential.value(x), potential.gradient(x)), strengths=strengths, team=team)

    def force(x: np.ndarray) -> np.ndarray:
        found = -scale / x.shape[1] * sums.gradients(x)
        return found if exterior is None else found - exterior.gradient(x.reshape(-1, x.shape[2])).reshape(x.shape)

    return force
