"""How far clouds of N points are from a density at nodes, and how far N independent draws from it would be.

Of the coordinates one by one W_1 of the marginals, exactly, on the circle for a coordinate of a torus; of all together
the mean over slices of W_1, and the energy distance, by the same slices (`limitpde.compare.distances`). For these a
coordinate of a torus becomes a point of a circle of the same circumference in the plane, with the chord as distance.

All of these are of order N^(-1/2) for N independent points (the floor) and for particles that nearly are: what matters
is how far above or below the floor they lie. Attraction puts particles above it, repulsion and screening below.

The mass of a node is spread evenly over a cube of its volume, by atoms at random places in it: on a grid the marginals
would have jumps as large as those of N = 1 / h^2 points otherwise, and draws from nodes would share them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from limitpde.compare.distances import BINS, LineMeasure, binned, directions, energy_distance
from limitpde.compare.statistics import mean_and_stderr
from limitpde.domains import Domain
from limitpde.errors import RunError
from limitpde.parallel import gathered, on_root

SLICES = 32
"""Directions of the slices."""
MOST_CLOUDS = 32
"""Replicas of each N that are measured, and draws for their floor."""
KEPT_NUMBERS = 4_000_000
"""Numbers at the end of the first replicas that are kept for that."""
ATOMS = 1 << 17
"""At least so many atoms stand for a density whose nodes have a volume."""
FEWEST = 2
"""Points that clouds must have on average."""
LEAST_SHARE = 1e-12
"""Part of all mass up to which a density counts as absent."""
ENERGY = "energy"
"""Name of the energy distance."""


def clouds_kept(numbers: int) -> int:
    """Replicas whose ends are kept, of so many numbers each."""
    return max(1, min(MOST_CLOUDS, KEPT_NUMBERS // numbers))


class Ended(Protocol):
    """An ensemble, as far as its distances go."""

    @property
    def count(self) -> int:
        """N."""

    @property
    def times(self) -> np.ndarray:
        """Output times, (T,)."""


class Measure(Protocol):
    """What clouds are compared to."""

    @property
    def names(self) -> list[str]:
        """Names of the distances."""

    def distances(self, cloud: np.ndarray) -> np.ndarray:
        """Those of a cloud (N, d), in the order of `names`."""

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Independent points, (n, d)."""


class Atoms:
    """A measure in a domain, divided by its mass. Not collective.

    Args:
        points: where its atoms are, (n, d).
        masses: their masses, (n,); a few may be negative.

    Keyword Args:
        volumes: over which they are spread evenly, (n,); by default they are points.
        domain: where they are; the whole space by default.

    Attributes:
        names: of the distances: those of the coordinates, "sliced" and "energy".

    Raises:
        RunError: the masses do not have a positive sum.
    """

    def __init__(
        self,
        points: np.ndarray,
        masses: np.ndarray,
        *,
        volumes: np.ndarray | None = None,
        domain: Domain | None = None,
    ) -> None:
        total, d = float(masses.sum()), points.shape[1]
        if not (math.isfinite(total) and total > 0):
            raise RunError(f"distances of particles: the mass of the density is {total:g}, it must be positive")
        self._domain = Domain.space(d) if domain is None else domain
        if volumes is not None:
            points, masses = _spread(points, masses, volumes, self._domain)
        self._points, self._masses = points, masses / total
        self.names = [*[f"x{j + 1}" for j in range(d)], "sliced", ENERGY]
        on_torus = self._domain.kind == "torus"
        periods = self._domain.size if on_torus else [None] * d
        self._marginals = [self._line(points[:, j], period) for j, period in enumerate(periods)]
        dimension = 2 * d if on_torus else d
        self._lines = directions(dimension, SLICES if dimension > 1 else 1)
        embedded = self._embedded(points)
        self._slices = [self._line(embedded @ line, None) for line in self._lines]

    def _line(self, projected: np.ndarray, period: float | None) -> LineMeasure:
        if len(projected) <= BINS:
            return LineMeasure(projected, self._masses, period)
        return LineMeasure(*binned(projected, self._masses), period)

    def _embedded(self, points: np.ndarray) -> np.ndarray:
        """Points (n, d) as those of the space of the slices."""
        if self._domain.kind != "torus":
            return points
        radius = self._domain.size / (2 * math.pi)
        return np.concatenate([radius * np.cos(points / radius), radius * np.sin(points / radius)], axis=1)

    def distances(self, cloud: np.ndarray) -> np.ndarray:
        """Those of a cloud (N, d), in the order of `names`."""
        marginals = [measure.distance(cloud[:, j]) for j, measure in enumerate(self._marginals)]
        projections = self._lines @ self._embedded(cloud).T
        found = np.array([measure.gaps(p) for measure, p in zip(self._slices, projections, strict=True)])
        return np.array([*marginals, found[:, 0].mean(), energy_distance(found[:, 1], self._lines.shape[1])])

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Independent points of the measure, (n, d); negative masses count as zero."""
        masses = np.maximum(self._masses, 0.0)
        return np.asarray(self._points[rng.choice(len(masses), size=n, p=masses / masses.sum())])


def _spread(
    points: np.ndarray, masses: np.ndarray, volumes: np.ndarray, domain: Domain
) -> tuple[np.ndarray, np.ndarray]:
    """Atoms at random places of cubes of these volumes around points, but in the domain, and their masses."""
    copies, d = -(-ATOMS // len(points)), points.shape[1]
    edges = np.repeat(volumes ** (1 / d), copies)
    offsets = np.random.default_rng(len(points)).random((len(edges), d)) - 0.5
    found = np.repeat(points, copies, axis=0) + edges[:, None] * offsets
    return _folded(found, domain), np.repeat(masses / copies, copies)


def _folded(x: np.ndarray, domain: Domain) -> np.ndarray:
    """Points (n, d) beyond the walls of a domain mirrored by them."""
    if domain.kind == "box":
        inside = domain.size - np.abs(domain.size - np.abs(x - domain.low))
        return np.asarray(domain.low + inside)
    if domain.kind == "ball":
        R, r = domain.size[0] / 2, np.linalg.norm(x - domain.center, axis=1, keepdims=True)
        return np.asarray(np.where(r > R, domain.center + (x - domain.center) * (2 * R / np.maximum(r, R) - 1), x))
    return domain.wrap(x)


def cloud_rows(
    measure: Measure, clouds: Sequence[np.ndarray], labels: dict[str, Any], seed: int
) -> Iterator[dict[str, Any]]:
    """Rows over the distances: their mean over clouds (N, d), and that of as many independent draws, the floor.

    Args:
        measure: to which they are compared.
        clouds: of points each; nothing where they have fewer than two points on average, or none.
        labels: what all rows have besides.
        seed: of the draws.
    """
    if sum(map(len, clouds)) < FEWEST * max(len(clouds), 1):
        return
    clouds, rng = [cloud for cloud in clouds if len(cloud)], np.random.default_rng([seed, len(clouds)])
    found = np.array([measure.distances(cloud) for cloud in clouds])
    floors = np.array([measure.distances(measure.draw(len(cloud), rng)) for cloud in clouds])
    for j, name in enumerate(measure.names):
        row = labels | {"distance": name, "replicas": len(clouds)}
        yield row | mean_row(found[:, j]) | mean_row(floors[:, j], "floor", "floor_stderr")


def nodal_distances[E: Ended](
    nodes: tuple[MPI.Comm, np.ndarray, np.ndarray, np.ndarray],
    masses: Mapping[Any, np.ndarray],
    ensembles: Sequence[E],
    clouds: Callable[[E, Any], list[np.ndarray]],
    *,
    name: str,
    seed: int,
    domain: Domain | None = None,
) -> dict[str, Any]:
    """`distances`: a list over densities, N and distances, of the mean over replicas at the end. Collective.

    Args:
        nodes: the ranks; numbers (owned,), points (owned, d) and volumes (owned,) of the nodes of this one.
        masses: a density -> its masses at these nodes, (owned,).
        ensembles: what was simulated, one for each N.
        clouds: an ensemble and a density -> positions (n, d) of its particles at the end, for each replica.

    Keyword Args:
        name: key of the density in the rows.
        seed: of the draws for the floor.
        domain: where the nodes are; the whole space by default.
    """
    comm, numbers, points, volumes = nodes
    held, d = gathered(comm, numbers, np.column_stack([points, volumes, *masses.values()])), points.shape[1]

    def measure() -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        present = [k for k in range(len(masses)) if held[:, d + 1 + k].sum() > LEAST_SHARE * held[:, d + 1 :].sum()]
        for k, which in enumerate(masses):
            if k not in present:
                continue
            density = Atoms(held[:, :d], held[:, d + 1 + k], volumes=held[:, d], domain=domain)
            for ensemble in ensembles:
                labels = {"N": ensemble.count, name: which, "t": float(ensemble.times[-1])}
                rows += cloud_rows(density, clouds(ensemble, which), labels, seed)
        return {"distances": rows} if rows else {}

    return on_root(comm, measure)


def mean_row(values: np.ndarray, name: str = "mean", error_name: str = "stderr") -> dict[str, float]:
    """Mean of values (K,), and its standard error where there is one."""
    mean, error = mean_and_stderr(values)
    return {name: float(mean)} | ({} if error is None else {error_name: float(error)})
