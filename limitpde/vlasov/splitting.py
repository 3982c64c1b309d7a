"""Compositions of exact flows: the transport in x ("drift") and in v by the frozen force ("kick").

Order 2 is Strang's splitting. Order 4 is the six-stage Runge-Kutta-Nystrom composition of Blanes and Moan (J. Comput.
Appl. Math. 142 (2002), table 3): it needs that the commutator [[[T, U], U], U] vanishes, which holds for Newton's
equations and for the Vlasov equation (Casas, Crouseilles, Faou, Mehrenberger, Numer. Math. 135 (2017)), hence for
(HVl), whose flows are lifts of those of (Vl). The force does not change during a kick, so each flow is exact.
"""

from __future__ import annotations

import functools

from limitpde.errors import InputError

Stage = tuple[str, float]
ORDERS = (2, 4)

_KICKS = (0.0829844064174052, 0.3963098014983680, -0.0390563049223486)
_DRIFTS = (0.245298957184271, 0.604872665711080)


@functools.cache
def composition(order: int) -> tuple[Stage, ...]:
    """The stages of one step, each ("drift" or "kick", its share of the step); drifts add to one, and so do kicks.

    Both begin and end with the part that is cheap to do twice at the seam of two steps, and are symmetric in time.

    Raises:
        InputError: the order is not 2 or 4.
    """
    if order == 2:
        return ("drift", 0.5), ("kick", 1.0), ("drift", 0.5)
    if order != 4:
        raise InputError(f"order = {order}: must be 2 or 4")
    drifts = (*_DRIFTS, 0.5 - sum(_DRIFTS))
    kicks = (*_KICKS, 1.0 - 2 * sum(_KICKS))
    half = [stage for kick, drift in zip(kicks, drifts, strict=False) for stage in (("kick", kick), ("drift", drift))]
    return (*half, ("kick", kicks[-1]), *reversed(half))


def merged(order: int, steps: int) -> list[list[Stage]]:
    """The stages of each of several equal steps, the ends of adjoining ones merged into the earlier one."""
    first, *inner, last = composition(order)
    seam = (last[0], last[1] + first[1])
    stages = [[*inner, seam] for _ in range(steps)]
    stages[0].insert(0, first)
    stages[-1][-1] = last
    return stages
