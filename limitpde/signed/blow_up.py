"""Blow-up of the attractive system (van Meurs-Peletier-Slangen (1.2)): when it must come, and when it has come.

Above the critical mass M_c = 4 D / gamma_bar the second moment about the centre, I' = 4 D M - gamma_bar M^2 < 0, cannot
stay positive: the solution in the plane ceases before I_0 / (gamma_bar M^2 - 4 D M). A mesh shows a density that rises
until one Voronoi cell holds a good part of the mass; from there on the mesh, and not the equation, decides. That is
where a run ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from limitpde.errors import RunError

CELL_SHARE = 0.1
"""Share of the mass in one Voronoi cell from which the mesh no longer resolves the density."""
HALF = 0.5
"""Share of the mass in one Voronoi cell from which a density above the critical mass has collapsed, risen or not."""
RISE = 10.0
"""By what factor the largest density must have risen, so that coarse data are not taken for a collapse."""
LEVELS = (10, 100, 1000, 10_000, 100_000)
"""Amplifications of the largest density whose times are noted."""


NEAR = 2.0
"""The line of 1 / (largest density) is laid through the times at which it was at most this many times the last one."""


RESOLVED = 0.05
"""Share of the mass in one Voronoi cell up to which the mesh resolves the density: what it loses comes later."""


class BlowUpError(RunError):
    """The density has concentrated in one cell of the mesh, or must have. Raised on every rank alike.

    Args:
        time: when that was seen.
        peak: the largest density.
        share: of the mass, in the fullest cell.

    Keyword Args:
        resolved: until when the mesh resolved the density, if it did.
        expected: where 1 / peak goes to zero, if that is known.
        latest: the bound on the time of blow-up, if there is one.

    Attributes:
        time, peak, share, resolved, expected, latest: those of above.
    """

    def __init__(
        self,
        time: float,
        peak: float,
        share: float,
        *,
        resolved: float | None = None,
        expected: float | None = None,
        latest: float | None = None,
    ) -> None:
        if latest is not None and time >= latest * (1 - 1e-9):
            seen = (
                f": no solution in the plane lives longer than {latest:.6g} (its second moment would be negative); "
                f"here the largest density is {peak:.4g}: the mesh is too coarse to show the collapse, or the data had "
                "collapsed on it at the start"
            )
        else:
            seen = (
                f" on this mesh: the largest density is {peak:.4g}, and one cell of the mesh holds {share:.3g} of the "
                "mass, so the mesh no longer resolves it"
            )
            bounds = [
                (resolved is not None, f"after {resolved or 0:.2g}, up to which the mesh resolves the density"),
                (latest is not None, f"before {latest or 0:.3g}, when the second moment would be negative"),
                (
                    expected is not None and expected < (latest or math.inf),
                    f"at about {expected or 0:.2g} by 1/(largest density)",
                ),
            ]
            known = [text for applies, text in bounds if applies]
            seen += f". The equation blows up {'; '.join(known)}" if known else ""
        super().__init__(
            f"blow-up at t = {time:.3g}{seen}. What was computed up to then is kept; a mesh that refines itself "
            "(pde.refinement) down to smaller cells follows the collapse further, and tells its time more closely"
        )
        self.time, self.peak, self.share = time, peak, share
        self.resolved, self.expected, self.latest = resolved, expected, latest


def expected_time(times: Sequence[float], peaks: Sequence[float]) -> float | None:
    """Where the line through 1 / (largest density) at the last times is zero; None where it does not fall.

    Args:
        times: of the steps.
        peaks: the largest densities then.
    """
    t, inverse = np.array(times), 1 / np.array(peaks)
    near = inverse <= NEAR * inverse[-1]
    if np.count_nonzero(near) < 3:
        return None
    slope = float(np.polyfit(t[near] - t[-1], inverse[near], 1)[0])
    return float(t[-1] - inverse[-1] / slope) if slope < 0 else None


def has_blown_up(peak: float, first_peak: float, share: float, *, supercritical: bool = False) -> bool:
    """Whether the mesh has lost a density that concentrates.

    Args:
        peak: largest density now.
        first_peak: largest density at time 0.
        share: largest share of the mass in one Voronoi cell.

    Keyword Args:
        supercritical: whether the mass is above the critical one; then half of it in one cell is enough.
    """
    return (share >= CELL_SHARE and peak >= RISE * first_peak) or (supercritical and share >= HALF)


def levels_reached(before: Sequence[float], now: Sequence[float], first_peak: float) -> dict[str, float]:
    """Level -> time, for the amplifications that are reached between two times, each with its largest density.

    The reciprocal of the density is interpolated linearly, as it falls near a blow-up.
    """
    (t, low), (end, high) = before, now
    return {
        str(level): t + (end - t) * (1 / low - 1 / (level * first_peak)) / (1 / low - 1 / high)
        for level in LEVELS
        if low < level * first_peak <= high
    }


def latest_time(mass: float, moment: float, *, diffusivity: float, gamma_bar: float) -> float | None:
    """The bound I_0 / (gamma_bar M^2 - 4 D M) on the time of blow-up; none at or below the critical mass.

    Args:
        mass: M.
        moment: I_0, the second moment about the centre of mass.

    Keyword Args:
        diffusivity: D.
        gamma_bar: strength of the attraction.
    """
    decay = gamma_bar * mass**2 - 4 * diffusivity * mass
    return moment / decay if decay > 0 else None
