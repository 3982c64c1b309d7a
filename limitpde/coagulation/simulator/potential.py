"""V of a pair of particles for compiled code: formulas of the named shapes, tables of functions from a file.

The named shapes are evaluated as they are written. A function from a file is tabulated once: of |x| at RADII distances
if it is radial, else its even part on a grid of cells of an edge reach / 64 (d = 3) or reach / 512 (d = 2); between the
nodes it is interpolated linearly. For a smooth V the error is of the order of the square of the edge (relative 1e-4 for
d = 3 if V varies over its reach, 1e-8 if it is radial); a jump of V is smeared over one cell.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from limitpde.coagulation.interaction import Bump, DoiBall, Ellipsoid, Interaction
from limitpde.compiled import hot
from limitpde.errors import InputError
from limitpde.nbody.random import pair_uniforms

BALL, BUMP, RADIAL, GRID = range(4)
RADII = 16384
CELLS = {2: 512, 3: 64}
"""Cells from 0 to the reach along an axis."""
CHUNK = 1 << 18


class CompiledInteraction(NamedTuple):
    """V as a function of x, in units of the pair's range."""

    kind: int
    """BALL, BUMP, RADIAL or GRID."""
    inverse: np.ndarray
    """(3,) one over the half axes; the third is 0 in the plane."""
    scale: float
    """Factor of the bump."""
    table: np.ndarray
    """(k, k, k) values at the nodes, (k, k, 1) in the plane, (k, 1, 1) along the radius; (1, 1, 1) for the formulas."""
    reach: float
    """V is zero at and beyond this distance."""
    highest: float
    """The largest value of V."""


def potential_of(interaction: Interaction, dimension: int) -> CompiledInteraction:
    """V of an interaction in two or three dimensions.

    Raises:
        InputError: V is zero everywhere, or its function fails.
    """
    reach, none = interaction.reach(dimension), np.zeros((1, 1, 1))
    axes = np.array(interaction.axes) if isinstance(interaction, Ellipsoid) else np.full(dimension, reach)
    inverse = np.zeros(3)
    inverse[:dimension] = 1 / axes
    if isinstance(interaction, DoiBall):
        return CompiledInteraction(BALL, inverse, 1.0, none, reach, 1.0)
    if isinstance(interaction, Bump | Ellipsoid):
        highest = float(interaction.values(np.zeros((1, dimension)))[0])
        return CompiledInteraction(BUMP, inverse, highest * math.e, none, reach, highest)
    if interaction.radial:
        values = interaction.profile(np.linspace(0, reach, RADII + 1), dimension)
        table, kind = values.reshape(-1, 1, 1), RADIAL
    else:
        table, kind = _tabulate(interaction, dimension), GRID
    if not table.max() > 0:
        raise InputError("interaction.python: the function is zero everywhere within its radius")
    return CompiledInteraction(kind, inverse, 1.0, np.ascontiguousarray(table), reach, float(table.max()))


def _tabulate(interaction: Interaction, dimension: int) -> np.ndarray:
    """The even part of V on the grid, (k, k, k) or (k, k, 1)."""
    reach, nodes = interaction.reach(dimension), 2 * CELLS[dimension] + 1
    line = np.linspace(-reach, reach, nodes)
    shape = (nodes,) * dimension
    values = np.empty(math.prod(shape))
    for begin in range(0, len(values), CHUNK):
        places = np.unravel_index(np.arange(begin, min(begin + CHUNK, len(values))), shape)
        values[begin : begin + CHUNK] = interaction.values(np.stack([line[place] for place in places], axis=1))
    values = (values + values[::-1]) / 2
    return values.reshape(shape if dimension == 3 else (*shape, 1))


@hot
def value(V: CompiledInteraction, x: float, y: float, z: float) -> float:
    """V at a point, in units of the range."""
    a, b, c = x * V.inverse[0], y * V.inverse[1], z * V.inverse[2]
    square = a * a + b * b + c * c
    if not square < 1.0:
        return 0.0
    if V.kind == BALL:
        return 1.0
    if V.kind == BUMP:
        return V.scale * math.exp(-1.0 / (1.0 - square))
    if V.kind == RADIAL:
        place = math.sqrt(square) * (V.table.shape[0] - 1)
        k = min(int(place), V.table.shape[0] - 2)
        return V.table[k, 0, 0] + (place - k) * (V.table[k + 1, 0, 0] - V.table[k, 0, 0])
    half = (V.table.shape[0] - 1) / 2
    a, b, c = half * (1.0 + a), half * (1.0 + b), half * (1.0 + c)
    i, j = min(int(a), V.table.shape[0] - 2), min(int(b), V.table.shape[1] - 2)
    a, b = a - i, b - j
    if V.table.shape[2] == 1:
        return _plane(V.table[:, :, 0], i, j, a, b)
    k = min(int(c), V.table.shape[2] - 2)
    c -= k
    return (1.0 - c) * _plane(V.table[:, :, k], i, j, a, b) + c * _plane(V.table[:, :, k + 1], i, j, a, b)


@hot
def _plane(table, i, j, a, b):  # type: ignore[no-untyped-def]
    """Linear interpolation in a plane."""
    low = table[i, j] + a * (table[i + 1, j] - table[i, j])
    high = table[i, j + 1] + a * (table[i + 1, j + 1] - table[i, j + 1])
    return low + b * (high - low)


@hot
def draw_offset(
    V: CompiledInteraction, flat: bool, pair: tuple[np.uint64, int, int, int], draw: int, out: np.ndarray
) -> None:
    """Draw a point of density V / int V, by rejection.

    Args:
        V: the interaction.
        flat: whether d = 2.
        pair: key, numbers of the two particles and number of the step for `pair_block`.
        draw: number of the first draw.
        out: (3,) overwritten.
    """
    while True:
        u0, u1 = pair_uniforms(pair[0], pair[1], pair[2], pair[3], draw)
        u2, u3 = pair_uniforms(pair[0], pair[1], pair[2], pair[3], draw + 1)
        draw += 2
        x, y = V.reach * (2.0 * u0 - 1.0), V.reach * (2.0 * u1 - 1.0)
        z = 0.0 if flat else V.reach * (2.0 * u2 - 1.0)
        if u3 * V.highest <= value(V, x, y, z):
            out[0], out[1], out[2] = x, y, z
            return
