"""Where a free displacement takes a particle: around a torus, or back into a box or a ball whose walls reflect."""

from __future__ import annotations

import math

from limitpde.coagulation.simulator.pairs import BALL, BOX, TORUS, Physics
from limitpde.compiled import hot


@hot
def fold(P: Physics, x: float, y: float, z: float) -> tuple[float, float, float]:
    """A position after a step, wrapped around a torus or folded back at walls that reflect."""
    if P.domain == TORUS:
        return _wrap(x, P.low[0], P.size[0]), _wrap(y, P.low[1], P.size[1]), _wrap(z, P.low[2], P.size[2])
    if P.domain == BOX:
        return _reflect(x, P.low[0], P.size[0]), _reflect(y, P.low[1], P.size[1]), _reflect(z, P.low[2], P.size[2])
    if P.domain == BALL:
        radius = P.size[0] / 2.0
        c = (P.low[0] + radius, P.low[1] + radius, P.low[2] + P.size[2] / 2.0)
        r = math.sqrt((x - c[0]) ** 2 + (y - c[1]) ** 2 + (z - c[2]) ** 2)
        if r > radius:
            f = max(2.0 * radius - r, 0.0) / r
            return c[0] + f * (x - c[0]), c[1] + f * (y - c[1]), c[2] + f * (z - c[2])
    return x, y, z


@hot
def _wrap(v, low, size):  # type: ignore[no-untyped-def]
    """A coordinate of a torus in [low, low + size)."""
    if size == 0.0 or low <= v < low + size:
        return v
    v -= size * math.floor((v - low) / size)
    return v if v < low + size else low


@hot
def _reflect(v, low, size):  # type: ignore[no-untyped-def]
    """A coordinate of a box in [low, low + size]."""
    if size == 0.0:
        return v
    turns = (v - low) / size
    if 0.0 <= turns <= 1.0:
        return v
    turns -= 2.0 * math.floor(0.5 * turns)
    return low + size * (turns if turns <= 1.0 else 2.0 - turns)
