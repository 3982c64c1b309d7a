"""Other simulators of reaction and diffusion on the problem of `coagulation_particles.py`; started by that script.

A + A -> 0 on the unit torus in three dimensions, diffusion rate 1, N particles, eps = 1/N. Smoldyn and ReaDDy take
fixed steps and react within eps at the rate alpha / eps^2 (the model of the theorem for the ball); E-Cell4's eGFRD is
exact, event by event, and reacts at contact, with the intrinsic rate that gives the same beta. Each runs for some
seconds and prints what it did as JSON: steps, the time reached, particles left, seconds. It needs no limitpde.

Run: python coagulation_peers.py smoldyn|readdy|ecell4 N END SECONDS
"""

import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

ALPHA = 20.0
STEP = 0.1
"""Time step over eps^2."""


def smoldyn(count: int, end: float, seconds: float) -> dict[str, float]:
    """Smoldyn with boxes for four particles each."""
    import smoldyn as package

    eps, steps = 1 / count, 200
    total = round(end / (STEP * eps**2))
    while True:  # longer and longer runs from the start, until one takes long enough to be judged by
        folder = Path(tempfile.mkdtemp())
        text = "\n".join(
            [
                "random_seed 1",
                "dim 3",
                *(f"boundaries {axis} 0 1 p" for axis in "xyz"),
                "species A",
                "difc A 1",
                f"time_start 0\ntime_stop {steps * STEP * eps**2:.12e}\ntime_step {STEP * eps**2:.12e}",
                "molperbox 4",
                "reaction pair A + A -> 0",
                f"binding_radius pair {eps:.12e}",
                f"reaction_probability pair {-math.expm1(-ALPHA * STEP):.10f}",
                f"mol {count} A u u u",
                "output_files out.txt",
                "cmd A molcount out.txt",
                "end_file",
            ]
        )
        (folder / "model.txt").write_text(text + "\n")
        simulation = package.Simulation.fromFile(str(folder / "model.txt"), "q")
        os.chdir(folder)
        began = time.perf_counter()
        simulation.runSim()
        spent = time.perf_counter() - began
        left = float((folder / "out.txt").read_text().split()[1])
        if spent > seconds / 2 or steps == total:
            return {"steps": steps, "time": steps * STEP * eps**2, "left": left, "seconds": spent}
        steps = min(total, max(2 * steps, round(0.8 * steps * seconds / max(spent, 1e-3))))


def readdy(count: int, end: float, seconds: float) -> dict[str, float]:
    """ReaDDy, SingleCPU kernel, with cells set by the density (its default, cells of size eps, takes all memory)."""
    import numpy as np
    import readdy as package

    system = package.ReactionDiffusionSystem([count] * 3, periodic_boundary_conditions=[True] * 3, unit_system=None)
    system.add_species("A", diffusion_constant=1.0)
    system.add_species("B", diffusion_constant=1.0)
    system.reactions.add("pair: A +(1.0) A -> B", rate=ALPHA)
    system.reactions.add("gone: B ->", rate=1e6)
    simulation = system.simulation(kernel="SingleCPU")
    simulation.reaction_handler = "UncontrolledApproximation"
    simulation.skin = count ** (2 / 3) - 1
    simulation.show_progress = False
    simulation.add_particles("A", (np.random.default_rng(1).random((count, 3)) - 0.5) * count)
    steps, total = 200, round(end * count**2 / STEP)
    done, spent, left = 0, 0.0, []
    simulation.observe.number_of_particles(stride=steps, types=["A"], callback=lambda n: left.append(n[0]))
    while spent < seconds and done < total:
        began = time.perf_counter()
        simulation.run(n_steps=steps, timestep=STEP, show_summary=False)
        spent += time.perf_counter() - began
        done += steps
    return {"steps": done, "time": done * STEP / count**2, "left": float(left[-1]), "seconds": spent}


def ecell4(count: int, end: float, seconds: float) -> dict[str, float]:
    """E-Cell4's eGFRD."""
    from ecell4_base import core, egfrd

    eps, diffusion = 1 / count, 2.0
    smoluchowski = 4 * math.pi * diffusion * eps
    share = 1 - math.tanh(math.sqrt(ALPHA / diffusion)) / math.sqrt(ALPHA / diffusion)
    species = core.Species("A", eps / 2, 1.0)
    model = core.NetworkModel()
    model.add_species_attribute(species)
    model.add_reaction_rule(core.ReactionRule([species, species], [], smoluchowski * share / (1 - share)))
    cells = max(3, min(30, int(count ** (1 / 3))))
    world = egfrd.EGFRDWorld(core.Real3(1, 1, 1), core.Integer3(cells, cells, cells))
    world.bind_to(model)
    world.add_molecules(core.Species("A"), count)
    simulator = egfrd.EGFRDSimulator(world, model)
    simulator.initialize()
    began, steps = time.perf_counter(), 0
    while simulator.next_time() < end and time.perf_counter() - began < seconds:
        simulator.step()
        steps += 1
    reached = end if simulator.next_time() >= end else simulator.t()
    left = world.num_molecules(core.Species("A"))
    return {"steps": steps, "time": reached, "left": float(left), "seconds": time.perf_counter() - began}


if __name__ == "__main__":
    peer, number, last, limit = sys.argv[1:]
    print(
        json.dumps(
            {"smoldyn": smoldyn, "readdy": readdy, "ecell4": ecell4}[peer](int(number), float(last), float(limit))
        )
    )
