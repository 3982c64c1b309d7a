"""A hundred thousand steps of each solver and each simulator: memory, and what should be conserved. Writes nothing.

Tiny problems: 60 nodes or so, N = 8 (coagulation: 100, whose eps fits the torus). Each has a process of its own. Memory
is what the process has of the machine after a tenth of the steps and after all of them. W of a solution keeps its rates
at every step: what it keeps is in a row of its own, the others are without. Ends with an error if memory grew.

Run: python demos/benchmarks/long_runs.py            (ten minutes)
     python demos/benchmarks/long_runs.py NAME ...   some of them
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = 100_000
GROWTH = 4e6
"""Bytes that memory may grow by: five numbers of each step would be 3.6 MB."""
KEPT = 1000
"""The same of each step, where W is observed: of two test functions, as small arrays."""
WITH_W = "signed, structure, with W"
DISK = {"shape": "disk", "radius": 4.0, "cell_size": 1.2}
CLOUDS = {
    "positive": [{"shape": "gaussian", "mass": 0.5, "center": [-0.8, 0.0], "width": 0.8}],
    "negative": [{"shape": "gaussian", "mass": 0.5, "center": [0.8, 0.0], "width": 0.8}],
}
PAIRS = {"shape": "ball", "radius": 1.0, "alpha": 20.0}
QUADRATIC = {"mesh": DISK | {"cell_size": 2.0}, "degree": 2, "undershoot": 1.0}
SIGNED = {"system": "signed", "model": {"sigma": 0.5, "gamma_bar": 0.4}, "initial": CLOUDS, "time": {"end": 1.0}}
COAGULATION = {
    "system": "coagulation",
    "model": {"diffusion": [0.1], "interaction": PAIRS, "beta": {"kernel": "constant"}, "n_max": 6},
    "initial": {"masses": [{"n": 1, "shape": "gaussian", "mass": 1.0, "center": [0.5] * 3, "width": 0.2}]},
    "time": {"end": 0.1},
}
VLASOV = {
    "system": "vlasov",
    "model": {
        "dimension": 1,
        "potential": {"kind": "poisson", "strength": 1.0},
        "domain": {"x": [0.0, 12.566370614359172], "v": [-7.0, 7.0], "periodic": True},
    },
    "initial": {"shape": "landau", "k": 0.5, "amplitude": 0.1, "thermal": 1.0, "mass": 12.566370614359172},
    "time": {"end": 1000.0},
}
PLANE = [{"shape": "gaussian", "center": [0.0, 0.0], "width": 1.0}, {"shape": "wave", "k": [1.0, 0.5]}]
SPACE = [{"shape": "wave", "k": [6.283185307179586, 0.0, 0.0], "n": 1}, {"shape": "wave", "k": [0.0, 0.0, 0.0], "n": 2}]
PHASES = [{"shape": "wave", "k": [0.5, 0.0]}, {"shape": "gaussian", "center": [4.0, 1.0], "width": 1.0}]
CASES: dict[str, dict[str, Any]] = {
    "signed, structure": SIGNED | {"pde": {"mesh": DISK}, "compare": {"test_functions": PLANE}},
    WITH_W: SIGNED | {"pde": {"mesh": DISK}, "compare": {"test_functions": PLANE}},
    "signed, degree 2": SIGNED | {"pde": QUADRATIC, "compare": {"test_functions": PLANE}},
    "coagulation": COAGULATION
    | {"pde": {"mesh": {"shape": "torus", "size": 1.0, "cell_size": 0.25}}, "compare": {"test_functions": SPACE}},
    "vlasov, order 2": VLASOV
    | {"pde": {"cells": [6, 12], "degree": 3, "order": 2}, "compare": {"test_functions": PHASES}},
    "vlasov, order 4": VLASOV
    | {"pde": {"cells": [6, 12], "degree": 3, "order": 4}, "compare": {"test_functions": PHASES}},
    "charges": SIGNED | {"particles": {"counts": [8]}, "compare": {"test_functions": PLANE}},
    "coagulating particles": COAGULATION
    | {"particles": {"counts": [100], "domain": "torus"}, "compare": {"test_functions": SPACE}},
    "Newton's particles": VLASOV | {"particles": {"counts": [8]}, "compare": {"test_functions": PHASES}},
}


def resident() -> int:
    """Bytes that this process has of the machine."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def drifts(figures: Any, path: str = "") -> dict[str, float]:
    """Figures of a summary that say how far something has drifted."""
    if not isinstance(figures, dict):
        return {}
    kept = ("drift", "increase", "change", "minimum")
    found = {f"{path}{key}": item for key, item in figures.items() if isinstance(item, float) and key.endswith(kept)}
    found |= {key.rstrip("."): item for key, item in found.items()}
    for key, item in figures.items():
        found |= drifts(item, f"{path}{key}.")
    return found


def measure(name: str) -> dict[str, Any]:
    """Take the steps of one of CASES; its figures."""
    import limitpde  # noqa: F401
    from limitpde import case as cases
    from limitpde.nbody.replicas import Controls
    from limitpde.system import system_of

    data = CASES[name]
    part = "pde" if "pde" in data else "particles"
    end = data["time"]["end"]
    case = cases.check(data | {part: data[part] | {"step": end / STEPS}, "output": {"every": end}})
    system, memory, done = system_of(case), {}, 0.0

    def look(share: float) -> None:
        nonlocal done
        done += share
        if 0.1 not in memory and done >= 0.1:
            memory[0.1] = resident()

    began = time.perf_counter()
    if part == "pde":
        from mpi4py import MPI

        solver = system.solver(case, MPI.COMM_WORLD)
        steps = system.summary(solver, case)
        observers = [steps.add, lambda step: look(step.dt / end)]
        if name == WITH_W:
            observers.append(system.residual(solver, case.test_functions))
        steps.start_row()
        solver.solve(end, stops=[end], observers=observers)
        figures = steps.figures()
        taken = figures["steps"]
    else:
        ensemble = system.simulate(case, case.particles.counts[0], Controls(progress=look))
        figures, taken = system.particle_figures(case, ensemble), ensemble.steps
    seconds = time.perf_counter() - began
    return {"steps": taken, "seconds": seconds, "memory": [memory[0.1], resident()], "drifts": drifts(figures)}


def own_process(name: str) -> dict[str, Any]:
    """`measure` in a process of its own."""
    line = [sys.executable, "-W", "ignore", __file__, "--measure", name]
    return dict(json.loads(subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]))


def main(names: list[str], found: Callable[[str], dict[str, Any]] = own_process) -> None:
    """Measures and prints."""
    print(f"load {os.getloadavg()[0]:.1f}, cores {len(os.sched_getaffinity(0))}\n")
    print("| | steps | ms a step | MB after 10 % | MB at the end | drifts |\n|---|---|---|---|---|---|")
    grown = {}
    for name in names or list(CASES):
        each = found(name)
        early, late = each["memory"]
        grown[name] = late - early
        said = ", ".join(f"{key} {value:.1e}" for key, value in each["drifts"].items())
        row = (name, f"{each['steps']:,.0f}", f"{1e3 * each['seconds'] / each['steps']:.3f}")
        print(f"| {' | '.join(row)} | {early / 1e6:.1f} | {late / 1e6:.1f} | {said} |", flush=True)
    allowed = {name: GROWTH + (KEPT * STEPS if name == WITH_W else 0) for name in grown}
    assert all(grown[name] < allowed[name] for name in grown), f"memory grew: {grown}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main(sys.argv[1:])
