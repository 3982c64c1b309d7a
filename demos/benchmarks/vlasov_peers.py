"""Seconds against error on Landau damping, for limitpde, numpy by hand, treetensor and SPECTRAX.

Electrons of unit density with f_0 = M(v) (1 + 0.01 cos(x/2)) on the circle of length 4 pi, up to t = 20; the error is
the largest one of rho_1(t) / rho_1(0) at t = 0.5, 1, ..., 20, against a Fourier solution of fourth order that is
converged to 1e-9. All have velocities up to 6, which costs 2e-8. Numpy: Fourier transforms in x and v
(`limitpde.vlasov.exact.spectral`), and in x with periodic cubic splines in v. Compiling is not counted, the start
of the runs neither. One thread: OMP_NUM_THREADS=1.

Run: python demos/benchmarks/vlasov_peers.py [--quick] [--peers-python PYTHON]
"""

import argparse
import json
import math
import os
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from mpi4py import MPI
from scipy.ndimage import spline_filter1d

from limitpde.potentials import Poisson
from limitpde.vlasov.exact.spectral import SpectralReference
from limitpde.vlasov.initial import Landau
from limitpde.vlasov.model import Model
from limitpde.vlasov.pde import Solver

AMPLITUDE, END, EVERY = 0.01, 20.0, 0.5
TIMES = EVERY * np.arange(round(END / EVERY) + 1)
CIRCLE = (0.0, 4 * math.pi)
LARGE, SMALL = (256, 512), (16, 128)


class SplineReference(SpectralReference):
    """Fourier transform in x, periodic cubic spline in v."""

    def kick(self, f: np.ndarray, time: float) -> np.ndarray:
        """f(x, v - F time)."""
        nv = f.shape[1]
        shift = -self.force(self.rho(f)) * time / self.dv
        whole = np.floor(shift).astype(int)
        a = (shift - whole)[:, np.newaxis]
        weights = (1 - a) ** 3 / 6, (3 * a**3 - 6 * a**2 + 4) / 6, (1 + 3 * a + 3 * a**2 - 3 * a**3) / 6, a**3 / 6
        spline = spline_filter1d(f, 3, axis=1, mode="grid-wrap")
        nodes = np.arange(nv) + whole[:, np.newaxis]
        parts = (w * np.take_along_axis(spline, (nodes + j) % nv, axis=1) for j, w in enumerate(weights, -1))
        return np.asarray(sum(parts))


def by_hand(
    kind: type[SpectralReference], points: tuple[int, int], step: float, order: int, v: float = 6.0
) -> tuple[np.ndarray, float]:
    """The mode at the times, and seconds."""
    grid = kind(Poisson(), x=CIRCLE, v=(-v, v), points=points)
    f = (1 + AMPLITUDE * np.cos(grid.x / 2)) * np.exp(-(grid.v**2) / 2) / math.sqrt(2 * math.pi)
    modes = [grid.mode(f, 1)]
    began = time.perf_counter()
    for _ in TIMES[1:]:
        f = grid.solve(f, EVERY, step, order=order)
        modes.append(grid.mode(f, 1))
    return np.array(modes).real / modes[0].real, time.perf_counter() - began


def own(cells: tuple[int, int], degree: int, step: float, order: int) -> tuple[np.ndarray, float]:
    """The mode at the times, and seconds, of limitpde's solver."""
    model = Model(potential=Poisson(), domain={"x": CIRCLE, "v": (-6.0, 6.0)})
    start = Landau(k=0.5, amplitude=AMPLITUDE, mass=4 * math.pi)
    solver = Solver(model, start, cells=cells, degree=degree, step=step, order=order, comm=MPI.COMM_SELF)
    wave = np.cos(solver.space.x_points[..., 0] / 2)
    ones = [np.ones((1, len(v))) for v in solver.space.v_nodes]

    def mode() -> float:
        return float(solver.space.integrate_x(solver.form.velocity_integrals(ones)[0] * wave))

    solver.advance(0.0)  # compile
    steps, modes = round(EVERY / step), [mode()]
    began = time.perf_counter()
    for _ in TIMES[1:]:
        solver.advance(EVERY / steps, steps)
        modes.append(mode())
    return np.array(modes) / modes[0], time.perf_counter() - began


def peer(python: str, *arguments: object) -> tuple[np.ndarray, float]:
    """The mode at the times, and seconds, of a code in another interpreter."""
    command = [python, str(Path(__file__).with_name("vlasov_peer_run.py")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr or "no message").strip().splitlines()[-1])
    found = json.loads(done.stdout.splitlines()[-1])
    t = np.array(found["t"])
    nearest = np.abs(t[:, np.newaxis] - TIMES).argmin(axis=0)
    if np.abs(t[nearest] - TIMES).max() > 1e-6:
        raise RuntimeError("it did not stop at the times")
    return np.array(found["r"])[nearest], float(found["seconds"])


def row(
    name: str, points: str, step: str, unknowns: int, exact: np.ndarray, run: Callable[[], tuple[np.ndarray, float]]
) -> None:
    """Run and print; `unknowns` times steps, or 0 where steps are not known."""
    try:
        found, seconds = run()
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(f"| {name} | {points} | {step} | did not run: {error} | | |", flush=True)
        return
    rate = f"{unknowns / seconds / 1e6:.1f}" if unknowns else ""
    print(f"| {name} | {points} | {step} | {seconds:.3g} | {np.abs(found - exact).max():.1e} | {rate} |", flush=True)


def own_rows(exact: np.ndarray, quick: bool) -> None:
    """Rows of limitpde."""
    large = [((64, 128), 3, 0.05, 2), ((64, 128), 3, 0.25, 4)]
    small = [((4, 24), 4, 0.1, 2), ((4, 24), 4, 0.25, 4), ((6, 40), 5, 0.125, 4)]
    for cells, degree, step, order in [*([] if quick else large), *small]:
        P = degree + 1
        points = f"{cells[0] * P} x {cells[1] * P}"
        work = cells[0] * cells[1] * P**2 * round(END / step)
        label = f"limitpde, degree {degree}, order {order}"
        row(label, points, f"{step:g}", work, exact, partial(own, cells, degree, step, order))


def numpy_rows(exact: np.ndarray, quick: bool) -> None:
    """Rows of the methods by hand."""
    large = [(SpectralReference, LARGE, 0.05, 2), (SplineReference, LARGE, 0.05, 2)]
    small = [
        (SpectralReference, SMALL, 0.1, 2),
        (SpectralReference, SMALL, 0.25, 4),
        (SplineReference, SMALL, 0.1, 2),
        (SplineReference, SMALL, 0.25, 4),
    ]
    for kind, points, step, order in [*([] if quick else large), *small]:
        label = f"numpy, {'Fourier and spline' if kind is SplineReference else 'Fourier'}, order {order}"
        work = points[0] * points[1] * round(END / step)
        where = f"{points[0]} x {points[1]}"
        row(label, where, f"{step:g}", work, exact, partial(by_hand, kind, points, step, order))


def peer_rows(python: str, exact: np.ndarray, quick: bool) -> None:
    """Rows of the codes in another interpreter."""
    trees = [("treetensor", 16, 128, 0.1), ("treetensor-dense", 16, 128, 0.02)]
    if not quick:
        trees += [("treetensor", 256, 512, 0.05), ("treetensor", 16, 128, 0.05)]
    for name, nx, nv, step in trees:
        work = nx * nv * round(END / step)
        run = partial(peer, python, name, nx, nv, AMPLITUDE, END, step)
        row(name, f"{nx} x {nv}", f"{step:g}", work, exact, run)
    series = [(9, 64, 1e-8), *([] if quick else [(9, 256, 1e-10), (33, 512, 1e-8)])]
    for nx, hermite, tolerance in series:
        run = partial(peer, python, "spectrax", nx, hermite, AMPLITUDE, END, tolerance)
        row("SPECTRAX", f"{nx} x {hermite}", f"to {tolerance:g}", 0, exact, run)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only small grids (half a minute)")
    parser.add_argument("--peers-python", metavar="PYTHON", help="interpreter that has treetensor and SPECTRAX")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, threads {os.environ.get('OMP_NUM_THREADS', os.cpu_count())}\n")
    exact, _ = by_hand(SpectralReference, (24, 384), 0.0625, 4, v=8.0)
    print("| method | points | step | seconds | error | million points x steps a second |\n|---|---|---|---|---|---|")
    own_rows(exact, options.quick)
    numpy_rows(exact, options.quick)
    if options.peers_python is None:
        print("\ntreetensor and SPECTRAX are left out: no --peers-python was given")
    elif not Path(options.peers_python).is_file():
        print(f"\ntreetensor and SPECTRAX are left out: --peers-python = {options.peers_python} does not exist")
    else:
        peer_rows(options.peers_python, exact, options.quick)


if __name__ == "__main__":
    main()
