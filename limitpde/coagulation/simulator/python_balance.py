"""The micro identity of `events` for test functions phi(x, n, t) by Python, summed with numpy after each step.

It is (4.1) as it stands there, by the same rules, with the rate d phi / dt beside d(m_i) Lap phi:

    sum phi(x_i, m_i, t) |_0^t = int_0^t sum (d/dt + d(m_i) Lap) phi dt + ... + M_t,

and a change at the share s of a step has phi as it is between both ends of the path, (1 - s) phi + s phi'. A splitting
particle gains (2 / (n - 1)) sum_{k < n} phi(x, k, t) - phi(x, n, t) in the mean. Steps are those of compiled code, bit
by bit; where one function of a case is by Python, all of its functions are summed here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limitpde.coagulation.model import Model
from limitpde.coagulation.simulator.bridge import FIRST_MASS, FIRST_STAYS, SECOND_MASS
from limitpde.coagulation.simulator.events import (
    COMPENSATOR,
    DIFFUSION,
    INTEGRAL,
    JUMP_VARIATION,
    JUMPS,
    TIME,
    VARIATION,
    Happened,
    Moved,
    ReplicaState,
)
from limitpde.coagulation.simulator.local_times import END, WEIGHT
from limitpde.compare.marked import AnyFunction, Evaluated, evaluate_marked, values_marked


def fragments(
    functions: Sequence[AnyFunction], x: np.ndarray, mass: np.ndarray, t: float, share: np.ndarray | None = None
) -> np.ndarray:
    """Sum of share[n, k] phi(x, k, t) over the masses k < n of what may be split off, (P, n).

    Args:
        functions: P functions phi(x, n, t).
        x: points, (n, d).
        mass: of each, (n,) int64.
        t: the time.
        share: (largest mass + 1, largest mass), 2 / (n - 1) by default.
    """
    found = np.zeros((len(functions), len(x)))
    whole = np.repeat(np.arange(len(x)), mass - 1)
    part = np.arange(len(whole)) - np.repeat(np.cumsum(mass - 1) - (mass - 1), mass - 1) + 1
    weight = 2 / (mass[whole] - 1) if share is None else share[mass[whole], part]
    values = weight * values_marked(functions, x[whole], part.astype(float), t)
    for row, value in zip(found, values, strict=True):
        row[:] = np.bincount(whole, value, len(x))
    return found


class PythonBalance:
    """The sums of one replica.

    Args:
        model: the parameters.
        functions: F test functions phi(x, n, t).

    Attributes:
        sums: (6, F), as `ReplicaState.sums`.
    """

    def __init__(self, model: Model, functions: Sequence[AnyFunction]) -> None:
        self._model, self._functions, self._d = model, functions, model.dimension
        self._merge = model.reaction == "coagulation"
        self.sums = np.zeros((6, len(functions)))
        self._start: Evaluated | None = None

    def diffusion(self, mass: np.ndarray) -> np.ndarray:
        """d(n) of masses (n,)."""
        return self._model.d(mass)

    def observed(self, x: np.ndarray, mass: np.ndarray, t: float) -> np.ndarray:
        """Sum of phi over particles at x (n, d) with masses (n,), (F,)."""
        return values_marked(self._functions, x, mass.astype(float), t).sum(axis=1)

    def take(
        self,
        A: ReplicaState,
        B: Moved,
        happened: Happened,
        records: np.ndarray,
        contacts: np.ndarray,
        dt: float,
    ) -> None:
        """Take in one step.

        Args:
            A: the state, between `events.happen` and `integrals.settle_down`.
            B: where the particles end the step.
            happened: what `events.happen` returned.
            records: the candidates.
            contacts: those with walls, of `local_times.all_contacts`.
            dt: length of the step.

        Raises:
            InputError: a function fails.
        """
        total, after, when = happened
        n, t = len(after), float(A.reals[TIME])
        late = np.append(after, A.mass[n:total])
        kept = np.flatnonzero(late)
        share = np.append(np.where(when < 0, 0.5, when), 1 - A.lag[n:total])
        start = self._start or self._evaluated(A.x[:n], A.mass[:n], t)
        end = self._evaluated(B.x[kept], late[kept], t + dt)
        self._integrate(start, A.x[:n], A.mass[:n], share[:n] * dt, t)
        self._integrate(end, B.x[kept], late[kept], (1 - share[kept]) * dt, t + dt)
        self._start = end
        self._react(A, B, records[(records[:, FIRST_MASS] > 0) & (records[:, SECOND_MASS] > 0)], dt)
        if total > n:
            self._split(A, B, n, total, dt)
        if len(contacts):
            self._touch(contacts, A.mass, after, share, (t, t + dt))

    def _evaluated(self, x: np.ndarray, mass: np.ndarray, t: float) -> Evaluated:
        return evaluate_marked(self._functions, np.ascontiguousarray(x[:, : self._d]), mass.astype(float), t)

    def _integrate(self, phi: Evaluated, x: np.ndarray, mass: np.ndarray, weight: np.ndarray, t: float) -> None:
        """Add integrands at one end of a step, times weights (n,)."""
        d = self._model.d(mass)
        self.sums[INTEGRAL] += phi.value @ weight
        self.sums[DIFFUSION] += phi.laplacian @ (d * weight) + phi.rate @ weight
        self.sums[VARIATION] += 2 * (phi.gradient**2).sum(axis=2) @ (d * weight)
        if self._model.fragmentation is not None:
            gain = fragments(self._functions, x[:, : self._d], mass, t) - phi.value
            self.sums[COMPENSATOR] += gain @ (self._model.fragmentation.at(mass) * weight)

    def _on_the_way(
        self, A: ReplicaState, B: Moved, rows: np.ndarray, mass: np.ndarray, share: np.ndarray, dt: float
    ) -> np.ndarray:
        """Phi of particles in these rows, with these masses, at shares of the step, (F, k)."""
        t, ends = float(A.reals[TIME]), []
        for x, now in ((A.x, t), (B.x, t + dt)):
            ends.append(values_marked(self._functions, x[rows, : self._d], mass.astype(float), now))
        return np.asarray(ends[0] + share * (ends[1] - ends[0]))

    def _react(self, A: ReplicaState, B: Moved, records: np.ndarray, dt: float) -> None:
        """Compensators and jumps of the candidates that were carried out, (k, FIELDS)."""
        share, chance, accepted = records[:, 0], records[:, 1], records[:, 2] > 0
        rows, masses = records[:, 3:5].T.astype(np.int64), records[:, FIRST_MASS : SECOND_MASS + 1].T
        both = np.concatenate([masses[0], masses[1], masses.sum(axis=0), masses.sum(axis=0)])
        there = np.concatenate([rows[0], rows[1], *(rows if self._merge else [rows[0][:0]])])
        found = self._on_the_way(A, B, there, both[: len(there)], np.resize(share, len(there)), dt)
        parts = found.reshape(len(self._functions), 4 if self._merge else 2, len(records))
        loss = parts[:, 0] + parts[:, 1]
        mean, jump = -loss, -loss
        if self._merge:
            heavy = masses[0] / masses.sum(axis=0)
            mean = heavy * parts[:, 2] + (1 - heavy) * parts[:, 3] - loss
            jump = np.where(records[:, FIRST_STAYS] > 0, parts[:, 2], parts[:, 3]) - loss
        jump = np.where(accepted, jump, 0.0)
        self.sums[COMPENSATOR] += mean @ chance
        self._jump(jump - chance * mean, jump)

    def _split(self, A: ReplicaState, B: Moved, n: int, total: int, dt: float) -> None:
        """Jumps of the splittings, of which the rows n, ..., total - 1 are one part each."""
        order = np.argsort(A.ident[:n])
        rows = order[np.searchsorted(A.ident[:n], A.mate[n:total], sorter=order)]
        whole, part, share = A.mass[rows], A.mass[n:total], 1 - A.lag[n:total]
        before, first, second = (self._on_the_way(A, B, rows, mass, share, dt) for mass in (whole, part, whole - part))
        self._jump(first + second - before, first + second - before)

    def _jump(self, size: np.ndarray, change: np.ndarray) -> None:
        """Jumps of M, (F, k), of which those count that change sum phi."""
        squares = (size**2).sum(axis=1)
        self.sums[VARIATION] += squares
        self.sums[JUMP_VARIATION] += squares
        self.sums[JUMPS] += np.count_nonzero(change, axis=1)

    def _touch(
        self, contacts: np.ndarray, mass: np.ndarray, after: np.ndarray, share: np.ndarray, times: tuple[float, float]
    ) -> None:
        """What the walls add: the slope of phi along the normal, for the shares of the step with each mass."""
        for end, t in enumerate(times):
            mine = contacts[contacts[:, END] == end]
            rows, normal = mine[:, 8].astype(np.int64), mine[:, 3 : 3 + self._d]
            for masses, part in ((mass[rows], share[rows]), (after[rows], 1 - share[rows])):
                there = masses > 0
                slopes = self._evaluated(mine[there], masses[there], t).gradient
                weight = (mine[:, WEIGHT] * part)[there]
                self.sums[DIFFUSION] += (slopes * normal[there]).sum(axis=2) @ weight
