"""Additive Runge-Kutta steps: one part of an equation explicit, the other linear and implicit with a constant matrix.

For M y' = e(y) - S y with symmetric S, the stages of the pair ARK4(3)6L[2]SA of Kennedy and Carpenter (2003) solve

    (M + dt gamma S) Y_i = M y + dt sum_{j < i} (a_ij e(Y_j) - b_ij S Y_j),   i = 1 ... 6,

all with one matrix; the implicit part is L-stable, the result of order four, with an embedded one of order three.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

GAMMA = 0.25
"""Diagonal entry of the implicit tableau."""
ORDER = 4
"""Order of the result; the error estimate is that of the embedded method of order three."""


def _lower(*rows: str) -> np.ndarray:
    """A tableau of rows of fractions, filled up with zeros."""
    parts = [[float(Fraction(entry)) for entry in row.split()] for row in rows]
    table = np.zeros((len(rows), len(rows)))
    for row, entries in zip(table, parts, strict=True):
        row[: len(entries)] = entries
    return table


EXPLICIT = _lower(
    "",
    "1/2",
    "13861/62500 6889/62500",
    "-116923316275/2393684061468 -2731218467317/15368042101831 9408046702089/11113171139209",
    "-451086348788/2902428689909 -2682348792572/7519795681897 12662868775082/11960479115383 "
    "3355817975965/11060851509271",
    "647845179188/3216320057751 73281519250/8382639484533 552539513391/3454668386233 "
    "3354512671639/8306763924573 4040/17871",
)
"""Tableau of the explicit part, (6, 6)."""
IMPLICIT = _lower(
    "",
    "1/4 1/4",
    "8611/62500 -1743/31250 1/4",
    "5012029/34652500 -654441/2922500 174375/388108 1/4",
    "15267082809/155376265600 -71443401/120774400 730878875/902184768 2285395/8070912 1/4",
    "82889/524892 0 15625/83664 69875/102672 -2260/8211 1/4",
)
"""Tableau of the implicit part, (6, 6); its last row holds the weights of both."""
WEIGHTS = IMPLICIT[-1]
EMBEDDED = np.array(
    [
        float(Fraction(entry))
        for entry in (
            "4586570599/29645900160",
            "0",
            "178811875/945068544",
            "814220225/1159782912",
            "-3700637/11593932",
            "61727/225920",
        )
    ]
)
"""Weights of the embedded method of order three, (6,)."""

Linear = Callable[[np.ndarray], np.ndarray]


def step(
    y: np.ndarray, dt: float, *, explicit: Linear, stiffness: Linear, mass: Linear, solve: Linear, solve_mass: Linear
) -> tuple[np.ndarray, np.ndarray]:
    """One step from y. Collective if its arguments are.

    Args:
        y: the unknowns, an array that all of the functions take.
        dt: size of the step.

    Keyword Args:
        explicit: e(y), tested, like M y'.
        stiffness: S y.
        mass: M y.
        solve: the solution of (M + dt GAMMA S) y = right side.
        solve_mass: the solution of M y = right side.

    Returns:
        y at the end of the step, and the difference of the embedded result from it, M^-1-weighted like y.
    """
    start, slopes_explicit, slopes_implicit = mass(y), [explicit(y)], [-stiffness(y)]
    stage = y
    for i in range(1, len(WEIGHTS)):
        right_side = start.copy()
        for j in range(i):
            right_side += dt * (EXPLICIT[i, j] * slopes_explicit[j] + IMPLICIT[i, j] * slopes_implicit[j])
        stage = solve(right_side)
        slopes_explicit.append(explicit(stage))
        slopes_implicit.append(-stiffness(stage))
    left = dt * np.tensordot(WEIGHTS - EXPLICIT[-1], np.stack(slopes_explicit), axes=1)
    sums = np.stack(slopes_explicit) + np.stack(slopes_implicit)
    error = dt * np.tensordot(EMBEDDED - WEIGHTS, sums, axes=1)
    return stage + solve_mass(left), solve(error)
