"""Seconds that coagulating particles take, against other simulators of the same problem, and how they grow with N.

A + A -> 0 on the unit torus, d = 3, diffusion rate 1, alpha = 20, V the unit ball, eps = 1/N, up to t = 0.1 (Hammond
section 3): 36.7 % are left, beta = 17.2135. Peers run in interpreters of their own that have them (Smoldyn's wheel
needs Python 3.10), for some seconds each; their time to the end is extrapolated at the speed of that beginning.

Run: python demos/benchmarks/coagulation_particles.py [--large] [--seconds 10] [--peers PYTHON ...]
"""

import argparse
import json
import math
import os
import subprocess
import time
from pathlib import Path

import numpy as np

from limitpde.coagulation import Initial, Model, exact, simulate
from limitpde.coagulation.rates import propensity
from limitpde.domains import Domain

END = 0.1
PEERS = ("smoldyn", "readdy", "ecell4")
MODEL = Model(diffusion=[1.0], interaction={"shape": "ball", "alpha": 20.0}, n_max=1, reaction="annihilation")
INITIAL = Initial(masses=[{"n": 1, "shape": "uniform", "mass": 1.0}])


def own(count: int, replicas: int, method: str) -> float:
    """Run, print a row, return the seconds of a replica."""
    options = {"domain": Domain.torus(np.ones(3)), "end": END, "method": method}
    simulate(MODEL, INITIAL, count=100, replicas=1, **options)  # compile
    began = time.perf_counter()
    ensemble = simulate(MODEL, INITIAL, count=count, replicas=replicas, **options)
    seconds = (time.perf_counter() - began) / replicas
    left = ensemble.survivors[:, -1] / count
    error = f" +- {left.std(ddof=1) / math.sqrt(replicas):.5f}" if replicas >= 10 else ""
    rate = ensemble.work_per_second / 1e6
    print(f"| limitpde, {method} | {count} | {seconds:.3g} | {rate:.2f} | {left.mean():.5f}{error} |", flush=True)
    return seconds


def peer(python: str, name: str, count: int, seconds: float) -> None:
    """Run a peer in its interpreter, and print a row with its extrapolated time."""
    script = Path(__file__).with_name("coagulation_peers.py")
    command = [python, str(script), name, str(count), str(END), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20 * seconds + 60, check=False)
    if done.returncode:
        return
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    whole = found["seconds"] * END / found["time"]
    rate = found["steps"] * (1 if name == "ecell4" else count) / found["seconds"] / 1e6
    left = f"{found['left'] / count:.3f} at t = {found['time']:.2g}"
    print(f"| {name} | {count} | {whole:.3g} | {rate:.2f} | {left} |", flush=True)


def main() -> None:
    """Print the table and the exponent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="also N = 100,000 (minutes)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each peer")
    parser.add_argument("--peers", nargs="*", default=[], metavar="PYTHON", help="interpreters that have peers")
    options = parser.parse_args()
    beta = float(propensity(MODEL)(1, 1))
    print(f"load {os.getloadavg()[0]:.1f}, threads {os.environ.get('OMP_NUM_THREADS', os.cpu_count())}")
    print(f"left at t = {END} in the limit: {exact.annihilation(END, beta=beta):.5f}\n")
    print("| simulator | N | seconds a run | million particle steps (events) a second | left |\n|---|---|---|---|---|")
    counts, seconds = [1000, 10_000], {}
    for method in ("closed", "micro"):
        for count, replicas in [(1000, 40), (10_000, 2), *([(100_000, 1)] if options.large else [])]:
            seconds[method, count] = own(count, replicas, method)
    for python in options.peers:
        for name in PEERS:
            for count in counts:
                peer(python, name, count, options.seconds)
    for method in ("closed", "micro"):
        mine = [(count, value) for (kind, count), value in seconds.items() if kind == method]
        slope = np.polyfit(*np.log(np.array(mine)).T, 1)[0]
        print(f"\n{method}: seconds grow like N^{slope:.2f} (5/3 expected)")


if __name__ == "__main__":
    main()
