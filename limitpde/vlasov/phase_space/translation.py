"""Translation of piecewise polynomials along a coordinate, exact but for the L2 projection back onto them.

A function that is moved by s cells and a part alpha of a cell, 0 <= alpha < 1, has in cell i the piece of cell i - s on
[alpha, 1] and that of cell i - s - 1 on [0, alpha]. Its L2 projection is

    out_i = A(alpha) f_{i-s} + B(alpha) f_{i-s-1}

in nodal values at the Gauss points (Rossmanith-Seal 2011, Crouseilles-Mehrenberger-Vecil 2011, Qiu-Shu 2011). Gauss
quadrature with as many points on each piece computes A and B exactly. The projection keeps integrals and does not
increase the L2 norm; polynomials are moved exactly.

Kernels know only moves by t >= 0 cells along a direction: a negative s is a move by t = -s - 1 the other way, with A
and B exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from limitpde.compiled import compiled
from limitpde.vlasov.phase_space.axes import Axis, gauss


def projections(P: int, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A and B, each (M, P, P), for parts alpha (M,) of a cell; for alpha = 0 exactly the unit matrix and zero."""
    near, far = (np.empty((len(alpha), P, P)) for _ in range(2))
    _project(*gauss(P), np.asarray(alpha, dtype=float), near, far)
    return near, far


@compiled(error_model="numpy")
def _project(points: np.ndarray, weights: np.ndarray, parts: np.ndarray, near: np.ndarray, far: np.ndarray) -> None:
    """The matrices for each part of a cell, by quadrature on both pieces."""
    P = len(points)
    tests, sources = np.empty(P), np.empty(P)
    for n in range(len(parts)):
        for matrix, length, to, back in (
            (near[n], 1.0 - parts[n], parts[n], parts[n]),
            (far[n], parts[n], 0.0, parts[n] - 1.0),
        ):
            matrix[:] = 0.0
            for g in range(P):
                x = to + length * points[g]
                _lagrange(points, x, tests)
                _lagrange(points, x - back, sources)
                for q in range(P):
                    for r in range(P):
                        matrix[q, r] += tests[q] * length * weights[g] / weights[q] * sources[r]


@compiled(error_model="numpy", _nrt=False)
def _lagrange(points: np.ndarray, x: float, values: np.ndarray) -> None:
    """`axes.lagrange` at one point."""
    for j in range(len(points)):
        values[j] = 1.0
        for m in range(len(points)):
            if m != j:
                values[j] *= (x - points[m]) / (points[j] - points[m])


@dataclass(frozen=True)
class Moves:
    """Translations along one axis, M of them.

    Attributes:
        cells: (M,) t >= 0, cells moved along the direction; at most the number of cells of the axis if it has ends.
        forward: (M,) whether the direction is that of the axis.
        near: (M, P, P) the matrix of the cell t behind.
        far: (M, P, P) the matrix of the cell t + 1 behind.
    """

    cells: np.ndarray
    forward: np.ndarray
    near: np.ndarray
    far: np.ndarray


def moves(axis: Axis, displacements: np.ndarray) -> Moves:
    """The translations by these displacements (M,); one that is not a number gives values that are none."""
    cells = np.asarray(displacements, dtype=float) / axis.h
    if axis.periodic:
        cells = np.fmod(cells, axis.cells)  # exact, however far it is
        cells = cells - axis.cells * np.rint(cells / axis.cells)
    else:
        cells = np.clip(cells, -axis.cells - 1, axis.cells)
    whole = np.floor(cells)
    A, B = projections(axis.P, cells - whole)
    s = np.where(np.isfinite(whole), whole, 0.0).astype(np.int64)
    forward = s >= 0
    t = np.where(forward, s, -s - 1)
    flip = forward[:, None, None]
    return Moves(t, forward, np.where(flip, A, B), np.where(flip, B, A))
