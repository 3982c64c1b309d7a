"""Distances between particles and f in the sense of Wasserstein-1, and how fast Dobrushin's estimate lets them grow.

Measured, of the empirical measure mu^N and of f / M, M the mass of f: W_1 of the marginal of each coordinate (on the
circle for a coordinate of a torus), the sliced W_1 in phase space, and the energy distance by the same slices. For
these a coordinate of a torus of length L becomes a point of the circle of circumference L in the plane, with the chord
as distance. Each W_1 is at most W_1(mu^N, f / M) itself, and for independent draws from f / M all are of order
N^{-1/2}: their floor, which is measured beside the particles at the end.

Proven (Dobrushin, Funct. Anal. Appl. 13 (1979) 115; the constant is derived here): let mu, nu be two measures of mass
M that solve (Vl), and let L_Gamma, L_U be Lipschitz constants of grad Gamma, grad U. Couple them optimally at time 0,
move both points of each pair with their own flows, and let D be the mean of |(x, v) - (y, w)|. Then

    |F_mu(x) - F_nu(y)| <= (M L_Gamma + L_U) |x - y| + L_Gamma M E|x - y|,
    D' <= ((1 + M L_Gamma + L_U) / 2 + M L_Gamma) D <= 2 max(1, M L_Gamma + L_U) D,

so W_1(mu_t, nu_t) <= exp(2 max(1, M L_Gamma + L_U) t) W_1(mu_0, nu_0); likewise with |x - y| + |v - w| as the distance.
What is only compared: the measured distances are lower bounds of W_1, so the factor times their start value need not
bound them; and mu^N solves (Vl) for the potential N / (N - 1) Gamma, which adds a term of order 1 / N.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from limitpde.compare.clouds import ENERGY, MOST_CLOUDS, mean_row
from limitpde.compare.distances import LineMeasure, Slices, directions, energy_distance, refined
from limitpde.compare.rates import fit_rate, mean_abs
from limitpde.potentials import AnyPotential, Centred, Pairs, on_torus
from limitpde.vlasov.initial import Start
from limitpde.vlasov.model import Model
from limitpde.vlasov.phase_space import Axis
from limitpde.vlasov.phase_space.projection import separable

SLICES = 64
"""Directions of the sliced distance."""
ATOMS = {1: 1 << 20, 2: 1 << 22, 3: 1 << 22}
"""At most so many atoms stand for f in its slices, for d; but one at each node, where f has more."""
SLICES_ERROR = "sliced_error"
"""Name of the standard error of the mean over the directions, as if they were drawn; Sobol's are spread more evenly."""
THEORY = -0.5
"""Power of N of the measured distances."""
PROBES = {1: 4096, 2: 64, 3: 20}
"""Points in each coordinate at which a user's potential is differentiated, for d."""


class ParticleEnsemble(Protocol):
    """Replicas of one particle number."""

    @property
    def count(self) -> int:
        """N."""

    @property
    def times(self) -> np.ndarray:
        """Output times, (T,)."""

    @property
    def points(self) -> np.ndarray:
        """(x, v) of the K replicas that were kept, at time 0 and at the end, (K, 2, N, 2d)."""


def nodal_values(start: Start, axes: Sequence[Axis]) -> np.ndarray:
    """The initial density at all nodes, (*X, *V): its projection, or the values of a user's function."""
    if start.parts is not None:
        halves = axes[: len(axes) // 2], axes[len(axes) // 2 :]
        every = [slice(None)] * len(halves[0])
        x, v = (separable(law.terms(), half, every) for law, half in zip(start.parts, halves, strict=True))
        return np.multiply.outer(start.mass * x, v)
    lines = [axis.nodes for axis in axes]
    result = np.empty([len(line) for line in lines])
    for i, first in enumerate(lines[0]):
        grid = np.meshgrid(first, *lines[1:], indexing="ij")
        result[i] = start.density(np.stack([g.ravel() for g in grid], axis=1)).reshape(result.shape[1:])
    return result


class Reference:
    """A density in phase space, divided by its mass, to which clouds of particles are compared. Not collective.

    Args:
        f: its nodal values, (*X, *V), in natural order.
        axes: the 2d axes, those of x first.

    Keyword Args:
        slices: number of directions of the sliced distance.

    Attributes:
        names: of the distances: those of the coordinates (x, v, or x1, x2, ...), then "sliced" and "energy".
    """

    def __init__(self, f: np.ndarray, axes: Sequence[Axis], *, slices: int = SLICES) -> None:
        d = len(axes) // 2
        self._axes = axes
        self.names = [f"{letter}{j + 1 if d > 1 else ''}" for letter in "xv" for j in range(d)]
        self.names += ["sliced", ENERGY]
        self._marginals = [self._marginal(f, j) for j in range(2 * d)]
        dimension = sum(2 if axis.periodic else 1 for axis in axes)
        self._directions = directions(dimension, slices)
        self._masses, self._coordinates = self._atoms(f)
        self._slices = Slices(self._masses, self._offsets(self._coordinates))

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Independent points (x, v) of the density, (n, 2d), each in the middle of a small piece of a cell.

        Where the density is negative it counts as zero.
        """
        sums = np.cumsum(np.maximum(self._masses, 0.0))
        chosen = np.unravel_index(np.searchsorted(sums, sums[-1] * rng.random(n), side="right"), self._masses.shape)
        return np.stack([x[k] for x, k in zip(self._coordinates, chosen, strict=True)], axis=1)

    def distances(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """Those of K clouds (K, N, 2d), name: (K,); `SLICES_ERROR`: that of the mean of W_1 over the slices."""
        return dict(zip([*self.names, SLICES_ERROR], self._each(points).T, strict=True))

    def _each(self, points: np.ndarray) -> np.ndarray:
        rows = []
        for cloud in points:
            row = [marginal.distance(cloud[:, j]) for j, marginal in enumerate(self._marginals)]
            found, squares = self._slices.gaps(np.sum(self._offsets(list(cloud.T)), axis=0))
            energy = energy_distance(squares, self._directions.shape[1])
            rows.append([*row, float(found.mean()), energy, float(found.std(ddof=1)) / math.sqrt(len(found))])
        return np.array(rows).reshape(len(points), len(self.names) + 1)

    def _marginal(self, f: np.ndarray, j: int) -> LineMeasure:
        values, axis = f, self._axes[j]
        for k in reversed(range(f.ndim)):
            if k != j:
                values = np.tensordot(values, self._axes[k].weights, axes=([k], [0]))
        return LineMeasure.of_polynomial(values, axis.low, axis.high, axis.degree, periodic=axis.periodic)

    def _atoms(self, f: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """f as masses on a lattice, and the coordinates of the latter."""
        pieces = max(int((ATOMS[f.ndim // 2] / f.size) ** (1 / f.ndim) + 1e-9), 1)
        masses, coordinates = f, []
        for j, axis in enumerate(self._axes):
            points, matrix = refined(axis.low, axis.high, axis.cells, axis.degree, pieces)
            coordinates.append(points)
            split = masses.reshape(*masses.shape[:j], axis.cells, axis.degree + 1, *masses.shape[j + 1 :])
            taken = np.moveaxis(np.tensordot(split, matrix, axes=([j + 1], [1])), -1, j + 1)
            masses = taken.reshape(*masses.shape[:j], len(points), *masses.shape[j + 1 :])
        return masses, coordinates

    def _offsets(self, coordinates: list[np.ndarray]) -> list[np.ndarray]:
        """What values (n_j,) of each coordinate add to the projections on all directions, (S, n_j) each."""
        found, k = [], 0
        for axis, values in zip(self._axes, coordinates, strict=True):
            if axis.periodic:
                radius = (axis.high - axis.low) / (2 * math.pi)
                circle = radius * np.stack([np.cos(values / radius), np.sin(values / radius)])
                found.append(self._directions[:, k : k + 2] @ circle)
            else:
                found.append(self._directions[:, k : k + 1] * values)
            k += 2 if axis.periodic else 1
        return found


def distance_figures(
    model: Model,
    ensembles: Sequence[ParticleEnsemble],
    *,
    start: Start,
    f: np.ndarray,
    axes: Sequence[Axis],
    seed: int = 0,
) -> dict[str, Any]:
    """What distances there are between particles and f, for the part `compare` of summary.json. Not collective.

    Args:
        model: the parameters.
        ensembles: what was simulated, one for each N; those without points are left out.

    Keyword Args:
        start: the density at time 0.
        f: that at the end, (*X, *V), in natural order.
        axes: the axes of f, those of x first.
        seed: of the draws for the floor.

    Returns:
        `distances`: a list over N, distance and t of the mean over replicas, `stderr`, for the slices `directions` and
        `directions_stderr`, the error of the mean over them, and, at the end, `floor` and `floor_stderr`, those of up
        to 32 clouds of independent draws, `start_mean`,
        `growth` (mean / start_mean) and `dobrushin_bound` (factor times start_mean; absent where infinite);
        `dobrushin`: `factor`, `rate` and `t`, absent where infinite; `rates`: fitted powers of N at the end.
    """
    ensembles = [ensemble for ensemble in ensembles if len(ensemble.points)]
    if not ensembles:
        return {}
    references = [Reference(nodal_values(start, axes), axes), Reference(f, axes)]
    measured = [[references[k].distances(e.points[:, k]) for k in (0, 1)] for e in ensembles]
    floors = [_floor(references[1], ensemble, seed) for ensemble in ensembles]
    end = float(ensembles[0].times[-1])
    factor = dobrushin_factor(model, start.mass, end)
    found: dict[str, Any] = {
        "distances": [
            row
            for ensemble, (first, last), floor in zip(ensembles, measured, floors, strict=True)
            for name in references[1].names
            for row in _rows(ensemble, name, first, last, floor, factor)
        ],
        "rates": list(_rates(ensembles, references[1].names, [last for _, last in measured])),
    }
    if math.isfinite(factor):
        found["dobrushin"] = {"factor": factor, "rate": dobrushin_rate(model, start.mass), "t": end}
    return found


def _floor(reference: Reference, ensemble: ParticleEnsemble, seed: int) -> dict[str, np.ndarray]:
    """The distances of independent draws, as many clouds as there are of particles, but at most `MOST_CLOUDS`."""
    clouds, rng = min(len(ensemble.points), MOST_CLOUDS), np.random.default_rng([seed, ensemble.count])
    return reference.distances(np.array([reference.draw(ensemble.count, rng) for _ in range(clouds)]))


def _rows(
    ensemble: ParticleEnsemble,
    name: str,
    first: dict[str, np.ndarray],
    last: dict[str, np.ndarray],
    floor: dict[str, np.ndarray],
    factor: float,
) -> Iterator[dict[str, Any]]:
    """Entries of one N and one distance: at time 0, and at the end."""
    for k, found in ((0, first), (-1, last)):
        row: dict[str, Any] = {
            "N": ensemble.count,
            "distance": name,
            "t": float(ensemble.times[k]),
            "replicas": len(found[name]),
        }
        row |= mean_row(found[name])
        if name == "sliced":
            row |= {"directions": SLICES, "directions_stderr": float(found[SLICES_ERROR].mean())}
        if k == -1:
            row |= mean_row(floor[name], "floor", "floor_stderr")
            row["start_mean"] = float(first[name].mean())
            if row["start_mean"] > 0:
                row["growth"] = row["mean"] / row["start_mean"]
            if math.isfinite(factor) and name != ENERGY:
                row["dobrushin_bound"] = factor * row["start_mean"]
        yield row


def _rates(
    ensembles: Sequence[ParticleEnsemble], names: list[str], last: list[dict[str, np.ndarray]]
) -> Iterator[dict[str, Any]]:
    counts = [ensemble.count for ensemble in ensembles]
    for name in names:
        rate = fit_rate(counts, [values[name] for values in last], mean_abs)
        if rate is not None:
            yield {
                "quantity": name if name == ENERGY else f"wasserstein_{name}",
                "test_function": None,
                **asdict(rate),
                "theory": THEORY,
            }


def dobrushin_rate(model: Model, mass: float) -> float:
    """2 max(1, M L_Gamma + L_U), the rate at which W_1 of two solutions of mass M may grow; infinite if there is none.

    L_Gamma and L_U are proven, but for Python functions, which are differentiated at points of a lattice.
    """
    torus = model.x_box if model.domain.periodic else None
    lipschitz = mass * curvature(model.potential, model.dimension, torus, model.x_box)
    match model.exterior:
        case None:
            pass
        case Centred():
            lipschitz += curvature(model.exterior.kernel, model.dimension, torus, model.x_box)
        case Pairs():  # the matrix of all e_m - e_n has the norm d
            d = model.dimension
            scale = d / (d - 1 if model.exterior.normalisation is None else model.exterior.normalisation)
            inner = None if torus is None else torus[:1]
            lipschitz += scale * curvature(model.exterior.potential, 1, inner, model.x_box[:1])
        case exterior:
            lipschitz += _probe(lambda x: exterior.gradient(x, torus), model.x_box)
    return 2 * max(1.0, lipschitz)


def dobrushin_factor(model: Model, mass: float, t: float) -> float:
    """exp(2 max(1, M L_Gamma + L_U) t) >= W_1(mu_t, nu_t) / W_1(mu_0, nu_0) for two solutions of (Vl) of mass M.

    See the head of this module for what is proven. Infinite where grad Gamma is not Lipschitz, as for poisson.
    """
    exponent = dobrushin_rate(model, mass) * t if t > 0 else 0.0
    return math.exp(exponent) if exponent < 700 else math.inf


def curvature(potential: AnyPotential, dimension: int, torus: np.ndarray | None, x_box: np.ndarray) -> float:
    """sup |D^2 Gamma|, the Lipschitz constant of grad Gamma, or an upper bound of it.

    On a torus Gamma = sum_k c_k cos(k . x), so |D^2 Gamma| is at most the norm of the matrix sum_k |c_k| k k^T, and
    equal to it where all c_k have one sign.

    Args:
        potential: Gamma.
        dimension: d.
        torus: its intervals (d, 2); None for the whole space.
        x_box: where the particles are, (d, 2); a Python function is probed at the displacements in it.
    """
    strength = abs(getattr(potential, "strength", 0.0))
    if strength == 0 and potential.kind != "python":
        return 0.0
    if potential.kind == "python":
        size = np.diff(x_box, axis=1)
        reach = size * (np.array([-1.0, 1.0]) if torus is None else np.array([-0.5, 0.5]))
        if torus is None:
            return _probe(potential.gradient, reach)
        return _probe(lambda x: on_torus(potential, x, torus)[1], reach)
    modes = None if torus is None else potential.modes(torus)
    if modes is not None:
        return float(np.linalg.norm((np.abs(modes.c)[:, None] * modes.k).T @ modes.k, ord=2)) if len(modes.c) else 0.0
    match potential.kind:
        case "gaussian":
            return strength / potential.width**2
        case "softened":
            return strength / potential.width**3
        case "cosine" | "harmonic":
            return strength
        case _:
            return math.inf


def _probe(gradient: Any, box: np.ndarray) -> float:
    """Largest norm of the matrix of second derivatives on a lattice in a box (d, 2), by differences of the gradient."""
    d = len(box)
    lines = [np.linspace(low, high, PROBES[d]) for low, high in box]
    x = np.stack([g.ravel() for g in np.meshgrid(*lines, indexing="ij")], axis=1)
    step = 1e-5 * float(np.diff(box, axis=1).max())
    columns = [(gradient(x + step * e) - gradient(x - step * e)) / (2 * step) for e in np.eye(d)]
    return float(np.linalg.norm(np.stack(columns, axis=2), ord=2, axis=(1, 2)).max())
