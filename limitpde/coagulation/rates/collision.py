"""The collision probability u(x) of a pair, Hammond (1.8) and Lemma 1.6, as a function of points and as a field.

u(x) is the chance that two particles at the displacement (r_n + r_m) eps x ever coagulate, were they alone in space; it
solves -Lap u = s V (1 - u), u -> 0, s = alpha / D, and is a / |x| far from the support (d = 3; exactly so outside of it
for radial V). In two dimensions the particles would coagulate for certain: there u is the chance that they do before
their distance is 1, with -Lap u = s V (1 - u) / |log eps|, u = 0 at distance 1, and log eps must be given.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import dolfinx.fem
import dolfinx.mesh
import numba
import numpy as np
import scipy.ndimage

from limitpde.coagulation.interaction import Interaction
from limitpde.coagulation.model import Model
from limitpde.coagulation.rates.capacity import RadialProfile
from limitpde.coagulation.rates.lippmann import SupportGrid, solve
from limitpde.coagulation.rates.recipe import rate_front
from limitpde.coagulation.rates.scattering import RadialScattering
from limitpde.compiled import compiled
from limitpde.errors import InputError

CELLS = {3: 64, 2: 128}
"""Cells per axis over the support of a V that is not radial, by dimension."""
MARGIN = 12
"""Cells beyond the support in which u is still interpolated; further out it is summed."""
SAFE = 2
"""Cells beyond the support from which on the sum over the charges may be used."""

type Survival = Callable[[np.ndarray], np.ndarray]


class CollisionProbability:
    """u of one pair of masses, a function of displacements in units of (r_n + r_m) eps.

    Made by `collision_probability`.
    """

    def __init__(self, dimension: int, survival: Survival) -> None:
        self.dimension = dimension
        self._survival = survival

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Values at points (k, d) -> (k,).

        Raises:
            InputError: the points have another dimension.
        """
        x = np.asarray(x, dtype=float)
        if x.ndim != 2 or x.shape[1] != self.dimension:
            raise InputError(f"points: must have the shape (k, {self.dimension}), not {x.shape}")
        return np.asarray(np.clip(1 - self._survival(x), 0.0, 1.0))

    def field(self, mesh: dolfinx.mesh.Mesh, *, degree: int = 1) -> dolfinx.fem.Function:
        """The field on a mesh, lengths in units of (r_n + r_m) eps, for ParaView. Collective; ghosts up to date.

        Raises:
            InputError: the mesh has another dimension.
        """
        if mesh.geometry.dim != self.dimension:
            raise InputError(f"mesh: must lie in dimension {self.dimension}, not {mesh.geometry.dim}")
        space = dolfinx.fem.functionspace(mesh, ("Lagrange", degree))
        found = dolfinx.fem.Function(space, name="collision_probability")
        found.x.array[:] = self(space.tabulate_dof_coordinates()[:, : self.dimension])
        return found


def collision_probability(model: Model, n: int, m: int, *, log_eps: float | None = None) -> CollisionProbability:
    """The collision probability u of (1.8) for masses n and m.

    Args:
        model: the model; needs an interaction, in dimension 2 or 3.
        n: a mass.
        m: a mass.

    Keyword Args:
        log_eps: log eps, needed in two dimensions and for P_{N,beta}.

    Raises:
        InputError: there is no interaction, or the dimension is 1, or log_eps is missing or not small enough.
    """
    interaction, d = model.interaction, model.dimension
    if interaction is None or d == 1:
        raise InputError(f"collision_probability: needs an interaction, and dimension 2 or 3 (not {d})")
    alpha = float(model.alpha(np.array(n), np.array(m)))
    s = alpha / float(model.d(np.array(n)) + model.d(np.array(m)))
    far = math.inf
    if d == 2:
        far = -math.log(float(model.range_sum(np.array(n), np.array(m)))) - (
            log_eps if log_eps is not None else math.inf
        )
        if log_eps is None or not far > math.log(interaction.reach(2)):
            raise InputError(f"log_eps = {log_eps}: must be given for dimension 2, so low that the range is below 1")
    s *= rate_front(model, log_eps)
    if s == 0:
        return CollisionProbability(d, lambda x: np.ones(len(x)))
    if interaction.radial:
        return CollisionProbability(d, _radial(RadialScattering(interaction, d).solution(s), far))
    return CollisionProbability(d, _on_grid(interaction, d, s, far))


def _radial(solution: RadialProfile, far: float) -> Survival:
    """w for radial V; `far`: log of the distance at which w = 1, infinite for d = 3."""
    d, reach, p = solution.dimension, solution.reach, solution.p
    at_reach = (d - 2) / (d - 2 + p) if d > 2 else 1 / (1 + p * (far - math.log(reach)))

    def survival(x: np.ndarray) -> np.ndarray:
        r = np.linalg.norm(x, axis=1)
        outside = np.maximum(r, reach)
        beyond = 1 - (1 - at_reach) * (reach / outside) ** (d - 2)
        if d == 2:
            beyond = at_reach * (1 + p * np.log(outside / reach))
        inside = r < reach
        beyond[inside] = at_reach * solution.inside(r[inside])
        return beyond

    return survival


def _on_grid(interaction: Interaction, d: int, s: float, far: float) -> Survival:
    """w for any V: interpolated by splines near the support, summed over the charges elsewhere."""
    grid = SupportGrid(interaction, d, CELLS[d], margin=MARGIN)
    charge = solve(grid, s)
    splines = scipy.ndimage.spline_filter(s * grid.green(charge), order=5, mode="mirror")
    some = charge > 0
    sources = np.stack([line[some] for line in np.meshgrid(*grid.axes, indexing="ij")], axis=1)
    strength = s * grid.volume * charge[some]
    near = grid.spacing * (grid.cells / 2 - MARGIN + SAFE)
    total = 1.0 if d == 3 else 1 + strength.sum() * (far - math.log(grid.cut)) / (2 * math.pi)

    def survival(x: np.ndarray) -> np.ndarray:
        inside = (np.abs(x) < near).all(axis=1)
        potential = np.empty(len(x))
        places = (x[inside] / grid.spacing + grid.cells / 2 - 0.5).T
        potential[inside] = scipy.ndimage.map_coordinates(splines, places, order=5, mode="mirror", prefilter=False)
        potential[~inside] = _potential(x[~inside], sources, strength, grid.cut)
        return np.asarray((1 - potential) / total)

    return survival


@compiled(parallel=True)
def _potential(x: np.ndarray, sources: np.ndarray, strength: np.ndarray, length: float) -> np.ndarray:
    """Sum of charges times the Green function of -Lap at points (k, d): 1 / (4 pi r), or -log(r / length) / (2 pi)."""
    result = np.zeros(len(x))
    d = x.shape[1]
    for i in numba.prange(len(x)):
        total = 0.0
        for j in range(len(sources)):
            square = 0.0
            for c in range(d):
                square += (x[i, c] - sources[j, c]) ** 2
            if d == 3:
                total += strength[j] / math.sqrt(square)
            else:
                total -= strength[j] * math.log(square / (length * length))
        result[i] = total / (4.0 * math.pi)
    return result
