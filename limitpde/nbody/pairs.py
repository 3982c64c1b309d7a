"""The direct pair sum, for many replicas at once, and the smallest distance between equal signs.

    F_i = b_i sum_j b_j k(X_i - X_j),
    k(x) = x / max(|x|^2, eps^2)  ("capped")   or   k(x) = x / (|x|^2 + eps^2)  ("regularised"),

the latter being (4.5) of van Meurs, Peletier, Slangen.

Every pair is computed once and serves both particles (Newton's third law), and two targets share one division:
1/r0 = r1/(r0 r1), 1/r1 = r0/(r0 r1). That is sound because r = max(|x|^2 + soft, floor) is kept above FLOOR^2 = 1e-60,
so the product of two lies in [1e-120, 1e300] for all distances below 1e75; with eps = 0 the kernel is exact beyond
1e-30 and finite below. A particle acts on itself with x = 0, hence with force 0 and no branch. A pair inside a group of
four targets is met twice and enters with half its weight each time (halving is exact).

Order of work: a replica is cut into blocks whose length depends on N only. First each block acts on itself; then come
rounds of a tournament in which each block meets one other, so that no two tasks of a round write to the same place. The
order in which one force is summed up is hence the same for any number of threads and any split of the replicas.

Fast-math: `reassoc`, `nsz` (vector sums) and `contract` (fused multiply-add), in the innermost loop only; no `nnan`,
`ninf` or `arcp`: a NaN or inf stays one, and any re-association of the factors stays inside the range above.
"""

import numpy as np
from numba import prange

from limitpde.arrays import Floats
from limitpde.compiled import compiled
from limitpde.errors import InputError
from limitpde.nbody.teams import SINGLE, Team
from limitpde.nbody.tournament import Round, add_shared

KERNELS = ("capped", "regularised")
FLOOR = 1e-30  # distance below which k is capped even with eps = 0
LANES = 8  # particle numbers are padded to a multiple of this: the doubles of a 512-bit register

_FAST = {"reassoc", "contract", "nsz"}


def pair_interactions(R: int, N: int) -> int:
    """Ordered pairs of one pair sum, R N^2: the unit of work in which throughputs are given."""
    return R * N * N


def pair_sum(
    x: Floats,
    y: Floats,
    b: Floats,
    fx: Floats,
    fy: Floats,
    *,
    eps: float,
    kernel: str,
    team: Team = SINGLE,
    own: bool = False,
) -> None:
    """F_i = b_i sum_j b_j k(X_i - X_j) in every replica, written to fx, fy. Threaded, bitwise reproducible.

    Collective in the team.

    b = 1 for all is the repulsive gas; b = +-1 lets equal signs repel and opposite signs attract. Any b of moderate
    size is allowed.

    Args:
        x: First coordinates, float64 (R, N), C-contiguous; all distances below 1e75.
        y: Second coordinates, likewise.
        b: Charges, float64 (N,), the same in every replica, or (R, N).
        fx: First components of the forces, float64 (R, N), C-contiguous, overwritten; no memory shared with another.
        fy: Second components, likewise.
        eps: Length of the cap or of the regularisation, >= 0.
        kernel: "capped" or "regularised".
        team: Whose ranks have the same particles, and share the pairs.
        own: Whether fx, fy are (R, own), forces on the rank's own particles alone (`own_particles`).

    Raises:
        InputError: An argument has a wrong shape, type, layout or value.
        TeamFailure: A rank of the team has failed.
    """
    soft, floor = softness(eps, kernel)
    b = check_arrays(b, x=x, y=y)
    mine = check_forces(fx, fy, x.shape, team, own=own)
    block = _block(x.shape[1])
    if team.size > 1:
        team.align(x, y)

        def meet(some: Round, pieces: Floats) -> None:
            _meetings(x, y, b, some.mine, some.places, pieces, soft, floor, block)

        total = np.zeros((2, *x.shape))
        add_shared(total, _tournament, block, meet, team, own=own)
        fx[:], fy[:] = total[..., mine] if own else total
    elif x.size:
        _sum(x, y, b, fx, fy, soft, floor, block)


def closest_equal_signs(x: Floats, y: Floats, b: Floats, team: Team = SINGLE) -> Floats:
    """Smallest distance between two particles of equal sign in every replica, for the cut-off (4.7). Threaded.

    Collective in the team.

    Args:
        x: First coordinates, float64 (R, N), C-contiguous; particles with a NaN are passed over.
        y: Second coordinates, likewise.
        b: Charges, float64 (N,) or (R, N): i and j are of equal sign when b_i b_j > 0.
        team: Whose ranks share the particles, which have been aligned.

    Returns:
        The distances, float64 (R,); inf where no two particles have equal signs.

    Raises:
        InputError: An argument has a wrong shape, type or layout.
    """
    b = check_arrays(b, x=x, y=y)
    if x.size == 0:
        return np.full(x.shape[0], np.inf)
    squares = _closest(_padded(x), _padded(y), _padded(b), team.rank, team.size).min(axis=1)
    team.lower(squares)
    return np.asarray(np.sqrt(squares))


def softness(eps: float, kernel: str) -> tuple[float, float]:
    """soft and floor of k(x) = x / max(|x|^2 + soft, floor), or InputError for an eps or a kernel that do not exist."""
    if kernel not in KERNELS:
        raise InputError(f"kernel = {kernel!r}: one of {', '.join(KERNELS)} is needed")
    if not 0.0 <= eps < 1e75:
        raise InputError(f"eps = {eps}: 0 <= eps < 1e75 is needed")
    if kernel == "regularised":
        return eps * eps, FLOOR * FLOOR
    return 0.0, max(eps, FLOOR) ** 2


def own_particles(n: int, team: Team) -> np.ndarray:
    """Where N particles are cut into those of each rank, whole blocks of the direct sum, (size + 1,)."""
    return np.minimum(team.cuts(-(-n // _block(n))) * _block(n), n)


def check_forces(fx: Floats, fy: Floats, shape: tuple[int, ...], team: Team, *, own: bool) -> slice:
    """Which particles are this rank's; InputError unless the forces are arrays for all of (R, N), or for these."""
    cuts = own_particles(shape[1], team)
    mine = team.mine(cuts)
    wanted = (shape[0], mine.stop - mine.start) if own else shape
    _check(wanted, fx=fx, fy=fy)
    return mine


def _check(shape: tuple[int, ...], **arrays: Floats) -> None:
    """InputError unless arrays are float64, C-contiguous and of this shape with two axes."""
    for name, a in arrays.items():
        if a.dtype != np.float64 or a.ndim != 2 or a.shape != shape or not a.flags.c_contiguous:
            raise InputError(
                f"{name}: {a.dtype} {a.shape}, C-contiguous {a.flags.c_contiguous}: "
                f"a C-contiguous float64 array (R, N) of the same shape as x is needed"
            )


def check_arrays(b: Floats, **arrays: Floats) -> Floats:
    """The charges of each replica, (R, N); InputError unless arrays are float64, C-contiguous and (R, N), b or (N,)."""
    shape = next(iter(arrays.values())).shape
    _check(shape, **arrays)
    if b.dtype != np.float64 or b.shape not in (shape, shape[1:]) or not b.flags.c_contiguous:
        raise InputError(
            f"b: {b.dtype} {b.shape}: a contiguous float64 array of shape {shape[1:]} or {shape} is needed"
        )
    return np.ascontiguousarray(np.broadcast_to(b, shape))


def _padded(a: Floats) -> Floats:
    """The array with its last axis filled up with zeros (no charge) to a multiple of LANES."""
    missing = -a.shape[-1] % LANES
    return np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, missing)]) if missing else a


def _block(N: int) -> int:
    """Particles per block, a multiple of LANES, by N only: long loops, yet several tasks for one replica."""
    return 512 if N <= 512 else 256 if N <= 2048 else 512 if N <= 8192 else 1024


@compiled(fastmath=_FAST, error_model="numpy")
def _rows(x, y, b, i, xs, ys, bs, fxs, fys, soft, floor):  # type: ignore[no-untyped-def]
    """Forces of the sources xs, ys, bs on the targets i..i+3; those on the sources are added to fxs, fys."""
    x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
    y0, y1, y2, y3 = y[i], y[i + 1], y[i + 2], y[i + 3]
    b0, b1, b2, b3 = b[i], b[i + 1], b[i + 2], b[i + 3]
    f0 = f1 = f2 = f3 = g0 = g1 = g2 = g3 = 0.0
    for j in range(len(xs)):
        xj, yj, bj = xs[j], ys[j], bs[j]
        d0, d1, d2, d3 = x0 - xj, x1 - xj, x2 - xj, x3 - xj
        e0, e1, e2, e3 = y0 - yj, y1 - yj, y2 - yj, y3 - yj
        r0 = d0 * d0 + (e0 * e0 + soft)
        r1 = d1 * d1 + (e1 * e1 + soft)
        r2 = d2 * d2 + (e2 * e2 + soft)
        r3 = d3 * d3 + (e3 * e3 + soft)
        r0 = r0 if r0 > floor else floor
        r1 = r1 if r1 > floor else floor
        r2 = r2 if r2 > floor else floor
        r3 = r3 if r3 > floor else floor
        s = bj / (r0 * r1)
        t = bj / (r2 * r3)
        w0, w1, w2, w3 = b0 * (s * r1), b1 * (s * r0), b2 * (t * r3), b3 * (t * r2)
        f0 += w0 * d0
        f1 += w1 * d1
        f2 += w2 * d2
        f3 += w3 * d3
        g0 += w0 * e0
        g1 += w1 * e1
        g2 += w2 * e2
        g3 += w3 * e3
        fxs[j] -= (w0 * d0 + w1 * d1) + (w2 * d2 + w3 * d3)
        fys[j] -= (w0 * e0 + w1 * e1) + (w2 * e2 + w3 * e3)
    return f0, f1, f2, f3, g0, g1, g2, g3


@compiled(error_model="numpy")
def _add(fx, fy, i, f):  # type: ignore[no-untyped-def]
    """Adds what `_rows` returned to the forces on i..i+3."""
    fx[i] += f[0]
    fx[i + 1] += f[1]
    fx[i + 2] += f[2]
    fx[i + 3] += f[3]
    fy[i] += f[4]
    fy[i + 1] += f[5]
    fy[i + 2] += f[6]
    fy[i + 3] += f[7]


@compiled
def _scratch(x, y, b):  # type: ignore[no-untyped-def]
    """Rows x, y, b of one block, filled up with zeros to a multiple of LANES, and two rows of zeros for its forces.

    Every row starts at a full cache line (split loads cost a third), 832 bytes modulo 4096 after the row before: were
    two rows nearer than that, modulo 4096, loads from one would wait for stores to the other: another third.
    """
    n = len(x)
    width = (n + LANES - 1) // LANES * LANES
    pitch = width + (104 - width) % 512
    memory = np.empty(5 * pitch + LANES)
    start = (-memory.ctypes.data // 8) % LANES
    s = memory[start : start + 5 * pitch].reshape(5, pitch)
    s[:3, n:width] = 0.0
    s[3:, :width] = 0.0
    s[0, :n] = x
    s[1, :n] = y
    s[2, :n] = b
    return s[0, :width], s[1, :width], s[2, :width], s[3, :width], s[4, :width]


@compiled(error_model="numpy")
def _meet(x, y, b, fx, fy, xs, ys, bs, fxs, fys, same, soft, floor):  # type: ignore[no-untyped-def]
    """Forces of two blocks on each other, added to fx, fy, fxs, fys; of a block on itself, written to fx, fy."""
    n, m = len(x), len(xs)
    X, Y, Q, F, G = _scratch(x, y, b)
    S, T, W, H, K = _scratch(xs, ys, bs)
    for g in range(0, n, LANES):
        o = g if same else 0  # within a block, sources from the targets' own LANES on
        s, t, w, h, k = S[o:], T[o:], W[o:], H[o:], K[o:]
        for i in range(g, g + LANES, 4):
            if same:  # what came before has weight 0, the own four have half
                W[g:i] = 0.0
                for j in range(i, i + 4):
                    W[j] *= 0.5
            _add(F, G, i, _rows(X, Y, Q, i, s, t, w, h, k, soft, floor))
    if same:
        fx[:] = F[:n] + H[:n]
        fy[:] = G[:n] + K[:n]
    else:
        fx += F[:n]
        fy += G[:n]
        fxs += H[:m]
        fys += K[:m]


@compiled(parallel=True, error_model="numpy")
def _sum(x, y, b, fx, fy, soft, floor, block):  # type: ignore[no-untyped-def]
    """All forces of all replicas. See the module docstring for the order of work."""
    R, n = x.shape
    B = (n + block - 1) // block
    half = (B + 1) // 2  # meetings per round; with an odd number of blocks one of them meets nobody
    last = 2 * half - 1
    for turn in range(-1, last if B > 1 else 0):
        meetings = B if turn < 0 else half
        for task in prange(R * meetings):
            r, m = task // meetings, task % meetings
            p = m if turn < 0 else last if m == 0 else (turn + m) % last
            q = m if turn < 0 else turn if m == 0 else (turn - m + last) % last
            if p < B and q < B:
                i, j = min(p, q) * block, max(p, q) * block
                k, l = min(n, i + block), min(n, j + block)
                _meet(
                    x[r, i:k], y[r, i:k], b[r, i:k], fx[r, i:k], fy[r, i:k],
                    x[r, j:l], y[r, j:l], b[r, j:l], fx[r, j:l], fy[r, j:l], turn < 0, soft, floor,
                )  # fmt: skip


def _tournament(blocks: int) -> np.ndarray:
    """The meetings of `_sum` in their order, (meetings, 2): first each block with itself, then turn after turn."""
    last = 2 * ((blocks + 1) // 2) - 1
    pairs = [np.stack([np.arange(blocks)] * 2, axis=1)]
    for turn in range(last if blocks > 1 else 0):
        m = np.arange(1, (blocks + 1) // 2)
        met = np.stack([np.append(last, (turn + m) % last), np.append(turn, (turn - m + last) % last)], axis=1)
        pairs.append(np.sort(met[(met < blocks).all(axis=1)], axis=1))
    return np.concatenate(pairs)


@compiled(parallel=True, error_model="numpy")
def _meetings(x, y, b, pairs, places, out, soft, floor, block):  # type: ignore[no-untyped-def]
    """The meetings of some pairs of blocks, (m, 2), in all replicas: forces out[places] (2, R, block), zero before."""
    R, n = x.shape
    for task in prange(R * len(pairs)):
        r, m = task // len(pairs), task % len(pairs)
        i, j = pairs[m, 0] * block, pairs[m, 1] * block
        k, l = min(n, i + block), min(n, j + block)
        mine, other = out[places[m, 0]], out[places[m, 1]]
        _meet(
            x[r, i:k], y[r, i:k], b[r, i:k], mine[0, r, : k - i], mine[1, r, : k - i],
            x[r, j:l], y[r, j:l], b[r, j:l], other[0, r, : l - j], other[1, r, : l - j], i == j, soft, floor,
        )  # fmt: skip


@compiled(error_model="numpy")
def _closest_to(x, y, b, i, best):  # type: ignore[no-untyped-def]
    """Lowers best[j], a squared distance, by the pairs (i, j), ..., (i+3, j) of equal sign with j > i+3."""
    x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
    y0, y1, y2, y3 = y[i], y[i + 1], y[i + 2], y[i + 3]
    b0, b1, b2, b3 = b[i], b[i + 1], b[i + 2], b[i + 3]
    xs, ys, bs, m = x[i + 4 :], y[i + 4 :], b[i + 4 :], best[i + 4 :]
    for j in range(len(xs)):
        xj, yj, bj = xs[j], ys[j], bs[j]
        r0 = (x0 - xj) ** 2 + (y0 - yj) ** 2 if b0 * bj > 0.0 else np.inf
        r1 = (x1 - xj) ** 2 + (y1 - yj) ** 2 if b1 * bj > 0.0 else np.inf
        r2 = (x2 - xj) ** 2 + (y2 - yj) ** 2 if b2 * bj > 0.0 else np.inf
        r3 = (x3 - xj) ** 2 + (y3 - yj) ** 2 if b3 * bj > 0.0 else np.inf
        r0 = r0 if r0 < r1 else r1
        r2 = r2 if r2 < r3 else r3
        r0 = r0 if r0 < r2 else r2
        m[j] = r0 if r0 < m[j] else m[j]


@compiled(parallel=True, error_model="numpy")
def _closest(x, y, b, part, parts):  # type: ignore[no-untyped-def]
    """Squared smallest distances between equal signs, (R, tasks per replica); N is a multiple of LANES.

    Of the groups of four particles it takes every one of `parts`, from `part` on.
    """
    R, n = x.shape
    groups = n // 4
    tasks = min(groups, 1 + n // 512)
    out = np.empty((R, tasks))
    for task in prange(R * tasks):
        r, t = task // tasks, task % tasks
        best = np.full(n, np.inf)
        for g in range(part + parts * t, groups, parts * tasks):
            i = 4 * g
            for p in range(i, i + 4):
                for q in range(p + 1, i + 4):
                    if b[r, p] * b[r, q] > 0.0:
                        best[p] = min(best[p], (x[r, p] - x[r, q]) ** 2 + (y[r, p] - y[r, q]) ** 2)
            _closest_to(x[r], y[r], b[r], i, best)
        out[r, t] = best.min()
    return out
