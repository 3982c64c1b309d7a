"""The heat semigroup exp(-t d A) of many fields at once, A = m^-1 K the discrete -Lap of `limitpde.fem.nodes`.

With X = 1 - 2 A / L, where L bounds the spectrum of A (Gershgorin), and z = t d L / 2,

    exp(-t d A) = e^-z sum_k (2 - [k = 0]) I_k(z) T_k(X),

T_k Chebyshev's polynomials, I_k modified Bessel functions. The coefficients are the law of |S| for a symmetric random
walk S of rate z at time one, so the terms above k amount to P(|S| > k) <= 2 exp((z^2 + k^2)^(1/2) - z - k asinh(k / z))
at most, in the norm in which A is symmetric: that bound sets the degree, about (75 z)^(1/2), before anything is
computed. Fields of all diffusivities d share one recurrence (Clenshaw's), each with its own coefficients. It has no
inner products, so that the result is the same for any number of ranks, up to rounding, and of threads, exactly.

The sum of m_i u_i of each field is kept to rounding: whatever is negative is set to zero, and the field is scaled to
the sum it had. Where A is an M-matrix only rounding is ever negative; where it is not, the share set to zero is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np

from limitpde.compiled import compiled
from limitpde.errors import InputError
from limitpde.fem.nodes import NodeSpace

TAIL = 1e-15
"""Bound of the terms left out, as a part of the field."""
BLOCK_BYTES = 1 << 21
"""Room for one array of the recurrence: fields are taken together as long as they fit, at least SMALLEST_BLOCK."""
SMALLEST_BLOCK = 64
ENTRIES_PER_THREAD = 1 << 16
"""Entries of an array of the recurrence from which on another thread pays for being started: some 0.1 ms of work."""
KEPT = 2
"""Step sizes whose coefficients are kept."""
SMALLEST_RATE, LARGEST_RATE = 1e-100, 1e15
"""Rates z below the first are as good as none; those above the second need more terms than there may be."""
MOST_TERMS = 200_000
"""Terms of a step that are too many."""


class HeatFlow:
    """exp(-dt d(n) A), n = 1 ... M, on fields (owned, M). Collective; a rank may own nothing.

    Args:
        nodes: the nodes and their matrices.
        diffusivities: (M,) d(n) > 0.

    Attributes:
        largest_eigenvalue: the bound L of the spectrum of A.
    """

    def __init__(self, nodes: NodeSpace, diffusivities: np.ndarray) -> None:
        self.nodes, self.diffusivities = nodes, np.asarray(diffusivities, dtype=float)
        row = np.repeat(np.arange(nodes.owned), np.diff(nodes.indptr))
        rates = nodes.values / nodes.volume[row]
        sums = np.bincount(row, np.abs(rates), nodes.owned).astype(float)  # of nothing, NumPy counts in integers
        self.largest_eigenvalue = max(0.0, nodes.sums.maximum(sums))
        self._twice_X = 2.0 * (row == nodes.columns)  # the rows of 2 X
        if self.largest_eigenvalue > 0:
            self._twice_X -= 4.0 / self.largest_eigenvalue * rates
        rows = -(-nodes.size // nodes.comm.size)
        self._block = max(SMALLEST_BLOCK, BLOCK_BYTES // (8 * rows))
        self._known: dict[float, list[np.ndarray]] = {}

    def degree(self, dt: float) -> int:
        """Largest degree of the polynomials in A that a step of size dt takes.

        Raises:
            InputError: the step is too large for the mesh.
        """
        if self.largest_eigenvalue == 0.0 or dt == 0.0:
            return 0
        return max(len(table) for table in self._coefficients(dt)) - 1

    def advance(self, fields: np.ndarray, dt: float) -> float:
        """Apply exp(-dt d(n) A) to the fields, in place. Collective.

        Args:
            fields: (owned, M), C-contiguous, >= 0; changed.
            dt: step, >= 0.

        Returns:
            The largest share of a field that was negative and set to zero, the same on every rank.

        Raises:
            InputError: the step is too large for the mesh.
        """
        nodes = self.nodes
        if self.largest_eigenvalue == 0.0 or dt == 0.0:
            return 0.0
        before = nodes.sums.add(nodes.volume @ fields)
        with _threads_for(nodes.owned * min(self._block, fields.shape[1])):
            for table, first in zip(self._coefficients(dt), range(0, fields.shape[1], self._block), strict=True):
                self._sum_series(fields, first, table)
            negative = nodes.sums.add(_clip(fields, nodes.volume))
            after = nodes.sums.add(nodes.volume @ fields)
            _scale(fields, np.divide(before, after, out=np.ones_like(after), where=after > 0))
        shares = np.divide(negative, before, out=np.zeros_like(before), where=before > 0)
        return float(shares.max(initial=0.0))

    def _sum_series(self, fields: np.ndarray, first: int, table: np.ndarray) -> None:
        """Clenshaw's sum for the fields first, first + 1, ..., with coefficients (degree + 1, fields)."""
        nodes = self.nodes
        now, before = (np.zeros((nodes.local, table.shape[1])) for _ in range(2))
        rows = (nodes.indptr, nodes.columns, self._twice_X)
        for coefficients in table[:0:-1]:
            nodes.halo.update(now)
            _recur(*rows, coefficients, fields, first, now, before)
            now, before = before, now
        nodes.halo.update(now)
        _finish(*rows, table[0], fields, first, now, before)

    def _coefficients(self, dt: float) -> list[np.ndarray]:
        """Coefficients of each block of fields, (degree + 1, fields of the block)."""
        if dt not in self._known:
            while len(self._known) >= KEPT:
                del self._known[next(iter(self._known))]
            with np.errstate(over="ignore", under="ignore"):
                z = np.maximum(dt * self.largest_eigenvalue / 2 * self.diffusivities, SMALLEST_RATE)
            terms = int(walk_degree(np.minimum(z, LARGEST_RATE), TAIL).max(initial=0))
            if terms > MOST_TERMS:
                raise InputError(
                    f"a time step of {dt:.3g} needs {terms} terms for its diffusion, more than {MOST_TERMS}: "
                    "make the step smaller or the cells larger"
                )
            blocks = [z[first : first + self._block] for first in range(0, len(z), self._block)]
            self._known[dt] = [walk_law(block) for block in blocks]
        return self._known[dt]


@contextmanager
def _threads_for(entries: int) -> Iterator[None]:
    """Threads for arrays of this many entries: no more than pay for themselves."""
    usual = numba.get_num_threads()
    numba.set_num_threads(max(1, min(usual, entries // ENTRIES_PER_THREAD)))
    try:
        yield
    finally:
        numba.set_num_threads(usual)


def walk_degree(z: np.ndarray, tail: float) -> np.ndarray:
    """Least k with 2 exp((z^2 + j^2)^(1/2) - z - j asinh(j / z)) <= tail for j = k + 1; z (n,) > 0 -> (n,)."""
    goal = np.log(tail / 2)
    low, high = np.zeros(len(z)), np.ceil(np.sqrt(-3 * goal * z) - 3 * goal)  # enough: the bound falls below at `high`
    while (high - low > 1).any():
        middle = np.floor((low + high) / 2)
        bound = middle**2 / (np.hypot(z, middle) + z) - middle * np.arcsinh(middle / z)
        enough = bound <= goal
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.maximum(high - 1, 0).astype(np.int64)


def walk_law(z: np.ndarray, tail: float = TAIL) -> np.ndarray:
    """Law of |S|, S the symmetric random walk of rate z at time one: e^-z (2 - [k = 0]) I_k(z), for each z (n,) > 0.

    Returns:
        (K + 1, n): enough rows for what is left out to be below `tail` for each z; zero beyond what each z needs.
    """
    degrees = walk_degree(z, tail)
    table = np.zeros((int(degrees.max(initial=0)) + 1, len(z)))
    known: dict[float, int] = {}
    for index, (rate, degree) in enumerate(zip(z.tolist(), degrees.tolist(), strict=True)):
        if rate not in known:
            known[rate] = index
            table[: degree + 1, index] = _bessel(rate, degree, int(walk_degree(np.array([rate]), 1e-40)[0]) + 1)
        table[:, index] = table[:, known[rate]]
    return table


@compiled
def _bessel(z: float, degree: int, start: int) -> np.ndarray:
    """e^-z (2 - [k = 0]) I_k(z), k = 0 ... degree, by Miller's backward recurrence from `start`, scaled to sum one."""
    values = np.zeros(degree + 1)
    if z < 1e-30:
        values[0] = 1.0
        return values
    above, here, total = 0.0, 1e-200, 0.0
    for k in range(start, -1, -1):
        if k <= degree:
            values[k] = here if k == 0 else 2.0 * here
        total += here if k == 0 else 2.0 * here
        above, here = here, above + 2.0 * k / z * here
    return values / total


@compiled(parallel=True)
def _recur(
    indptr: np.ndarray,
    columns: np.ndarray,
    twice_X: np.ndarray,
    coefficients: np.ndarray,
    fields: np.ndarray,
    first: int,
    now: np.ndarray,
    before: np.ndarray,
) -> None:
    """Write c v + 2 X b_now - b_before over b_before; rows of v are those of `fields` from column `first` on."""
    width = len(coefficients)
    for i in numba.prange(len(indptr) - 1):
        for m in range(width):
            before[i, m] = coefficients[m] * fields[i, first + m] - before[i, m]
        for e in range(indptr[i], indptr[i + 1]):
            j, weight = columns[e], twice_X[e]
            for m in range(width):
                before[i, m] += weight * now[j, m]


@compiled(parallel=True)
def _finish(
    indptr: np.ndarray,
    columns: np.ndarray,
    twice_X: np.ndarray,
    coefficients: np.ndarray,
    fields: np.ndarray,
    first: int,
    now: np.ndarray,
    before: np.ndarray,
) -> None:
    """Write the sum, c_0 v + X b_now - b_before, over v."""
    width = len(coefficients)
    for i in numba.prange(len(indptr) - 1):
        for m in range(width):
            fields[i, first + m] = coefficients[m] * fields[i, first + m] - before[i, m]
        for e in range(indptr[i], indptr[i + 1]):
            j, weight = columns[e], 0.5 * twice_X[e]
            for m in range(width):
                fields[i, first + m] += weight * now[j, m]


def _clip(fields: np.ndarray, volume: np.ndarray, chunk: int = 1024) -> np.ndarray:
    """Set what is negative to zero; its integral by field, (M,), >= 0, added in an order that threads do not change."""
    parts = np.zeros((-(-len(fields) // chunk), fields.shape[1]))
    _clip_chunks(fields, volume, parts, chunk)
    return np.asarray(parts.sum(axis=0))


@compiled(parallel=True)
def _clip_chunks(fields: np.ndarray, volume: np.ndarray, parts: np.ndarray, chunk: int) -> None:
    for part in numba.prange(len(parts)):
        for i in range(part * chunk, min((part + 1) * chunk, len(fields))):
            for m in range(fields.shape[1]):
                if fields[i, m] < 0.0:
                    parts[part, m] -= volume[i] * fields[i, m]
                    fields[i, m] = 0.0


@compiled(parallel=True)
def _scale(fields: np.ndarray, factors: np.ndarray) -> None:
    for i in numba.prange(len(fields)):
        for m in range(fields.shape[1]):
            fields[i, m] *= factors[m]
