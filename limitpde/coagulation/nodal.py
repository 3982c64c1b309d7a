"""Initial densities at the nodes of a mesh: each part keeps its own mass, exactly.

Values at the nodes are as good as the mesh for what is smooth. Where a density jumps they are right to first order in
the cells only, and at nodes on the edge of a ball not even that; so disks, and densities from files, enter by the
averages (1/m_i) int lambda_i h over the parts of the nodes (`NodeSpace.averages`), with which int phi h is right to
second order.
"""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np

from limitpde.coagulation.model import Initial
from limitpde.densities import Density, DensityFromFile, Gaussian, Ring, Uniform, UniformDisk, checked_share
from limitpde.domains import Domain
from limitpde.errors import InputError
from limitpde.fem.nodes import NodeSpace
from limitpde.parallel import on_all

TAIL_WIDTHS = 9.0
"""Standard deviations from which on a normal density counts as zero: exp(-9^2 / 2) = 3e-18."""
EDGE = 1e-12
"""Relative distance from the radius of a ball at which a point counts as on its edge."""
SEEN = (0.9, 1.1)
"""Share of its mass that a mesh must see of a density: of a Gaussian 0.92 ... 1.08 where a cell is two widths long."""
MOST_IMAGES = 4096
"""Copies of a density around a torus that are added up at most."""


def at_nodes(initial: Initial, nodes: NodeSpace) -> tuple[list[np.ndarray], list[str]]:
    """Nodal values (owned,) of each part of the initial data, and what to know about them. Collective.

    Each part is scaled so that its lumped mass is exact. On a torus its periodic images are added.

    Raises:
        InputError: a part does not fit the domain, or the mesh sees less than 0.9 or more than 1.1 of its mass.
    """
    initial.check(nodes.domain, volume_known=True)
    found: list[np.ndarray] = []
    warnings: list[str] = []
    volume = float(nodes.sums.total(nodes.volume)[0])
    for number, part in enumerate(initial.masses):
        name, density = f"initial.masses[{number}]", part.density
        if isinstance(density, Uniform):
            found.append(np.full(nodes.owned, density.mass / volume))
            continue
        if nodes.mesh is None:
            raise InputError(f"{name}: must have shape = 'uniform', as a point has only homogeneous densities")
        torus = nodes.domain.kind == "torus"
        value = partial(_sum_images, name, density, torus=nodes.domain) if torus else density.density
        if isinstance(density, UniformDisk | DensityFromFile):
            values = nodes.averages(value)
        else:
            values = on_all(nodes.comm, partial(value, nodes.points))
        share = float(nodes.sums.total(nodes.volume * values)[0]) / density.mass
        if not SEEN[0] <= share <= SEEN[1]:
            raise InputError(
                f"{name}: the mesh sees {share:.4g} of its mass, and must see from {SEEN[0]} to {SEEN[1]}: it lies "
                "outside, or is too narrow; take a smaller pde.mesh.cell_size"
            )
        found.append(values / checked_share(name, share, warnings))
    return found, warnings


def _reach(density: Density) -> float:
    """Distance from its centre from which on a density counts as zero."""
    if isinstance(density, Gaussian):
        return TAIL_WIDTHS * density.width
    return density.radius + (TAIL_WIDTHS * density.width if isinstance(density, Ring) else 0.0)


def _sum_images(name: str, density: Density, points: np.ndarray, *, torus: Domain) -> np.ndarray:
    """A density on a torus: the sum of its values at all periodic images of the points (n, d), as far as it reaches.

    Raises:
        InputError: it reaches so far around that there are too many.
    """
    center, size = np.array(density.center), torus.size
    nearest = center + np.mod(points - center + size / 2, size) - size / 2
    turns = np.floor(_reach(density) / size + 0.5)
    if np.prod(2 * turns + 1) > MOST_IMAGES:
        around = "it is so wide that it reaches around the torus many times"
        raise InputError(f"{name}: {around}; use shape = 'uniform', which it hardly differs from")
    images = itertools.product(*(range(-count, count + 1) for count in turns.astype(int).tolist()))
    return np.asarray(sum(_value(density, nearest + np.array(image) * size) for image in images))


def _value(density: Density, x: np.ndarray) -> np.ndarray:
    """The density at the points (n, d), halved on the edge of its ball.

    Where that reaches just around the torus, two images of a point lie on the edge, and must count once.
    """
    if isinstance(density, Gaussian | Ring):
        return density.density(x)
    center = np.array(density.center)
    edge = np.abs(np.linalg.norm(x - center, axis=1) - density.radius) <= EDGE * density.radius
    inward = np.where(edge, 1 - 2 * EDGE, 1.0)[:, np.newaxis]
    return np.where(edge, 0.5, 1.0) * density.density(center + inward * (x - center))
