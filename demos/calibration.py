"""Claim: verdicts and intervals are what they say: no right model is refuted, wrong ones are, "95 %" is 95 %.

Cheap cases of the three theorems are judged over many seeds, with the error budget of each run. Right models: particles
and equation of one case. Wrong ones: the equation, or the particles, of another. For these the table also has the
difference in units of the smallest detectable one: from two on, at least half of the runs must be refuted.

Run: python demos/calibration.py              (200 seeds of right models, 50 of wrong ones: half an hour on one core)
     python demos/calibration.py --only wrong (one of the two tables: right or wrong)
"""

import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from mpi4py import MPI

from limitpde import case as cases
from limitpde.coagulation import beta as coagulation_rates
from limitpde.compare.companions import Level
from limitpde.error_budget import companions, halved
from limitpde.findings import Findings, Known
from limitpde.nbody.replicas import Controls
from limitpde.sections import BaseCase
from limitpde.system import ObservedSolution, system_of

QUICK = "--quick" in sys.argv
ONLY = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else "right wrong"
RIGHT, WRONG = (1, 1) if QUICK else (200, 50)
COMM = MPI.COMM_SELF
SIGNED = """
system = "signed"
model = { sigma = 0.8, gamma_bar = 0.3 }
initial.positive = [{ shape = "gaussian", mass = 0.5, center = [-0.6, 0.0], width = 0.5 }]
initial.negative = [{ shape = "gaussian", mass = 0.5, center = [0.6, 0.0], width = 0.5 }]
time.end = 0.4
pde = { mesh = { shape = "disk", radius = 5.0, cell_size = 0.2 }, step = 0.02 }
particles = { counts = [32, 128], replicas = 12, step = 0.02 }
compare.test_functions = [{ shape = "gaussian", center = [0.0, 0.0], width = 0.8 }, { shape = "wave", k = [1.0, 0.5] }]
output.every = 0.2
"""
ONE_SIGN = """
system = "signed"
model = { sigma = 0.8, gamma_bar = 6.0, interaction = "repulsive" }
initial.positive = [{ shape = "gaussian", mass = 1.0, center = [0.0, 0.0], width = 0.7 }]
time.end = 0.4
pde = { mesh = { shape = "disk", radius = 6.0, cell_size = 0.5 }, degree = 4, step = 0.02 }
particles = { counts = [64, 256], replicas = 8, step = 0.01 }
compare.test_functions = [{ shape = "gaussian", center = [0.0, 0.0], width = 1.6 }]
output.every = 0.2
"""
COAGULATION = """
system = "coagulation"
model = { dimension = 3, diffusion = [0.1], interaction = { shape = "ball", radius = 1.0, alpha = 1.0 }, n_max = 40 }
initial.masses = [{ n = 1, shape = "uniform", mass = 1.0 }]
time.end = 0.5
pde = { mesh = { shape = "point" }, step = 0.02 }
particles = { counts = [40, 160], replicas = 12, domain = "torus" }
compare.test_functions = [{ shape = "wave", k = [0.0, 0.0, 0.0], n = 1 }, { shape = "wave", k = [0.0, 0.0, 0.0] }]
output.every = 0.25
"""
VLASOV = """
system = "vlasov"
model.dimension = 1
model.potential = { kind = "cosine", strength = 1.0 }
model.domain = { x = [0.0, 6.283185307179586], v = [-6.0, 6.0], periodic = true }
initial = { shape = "landau", k = 1.0, amplitude = 0.5, thermal = 0.7 }
time.end = 2.0
pde = { cells = [16, 32], step = 0.1 }
particles = { counts = [200, 800], replicas = 12, step = 0.1 }
compare.test_functions = [{ shape = "wave", k = [1.0, 0.0] }, { shape = "gaussian", center = [3.0, 0.5], width = 1.0 }]
output.every = 1.0
"""
WAVE = ("particles.counts=[4000, 16000]", "particles.replicas=32")
POTENTIAL = 'particles.potential={ kind = "cosine", strength = %r }'


def read(text: str, *changes: str) -> BaseCase:
    """A case from its text, with changes as after --set."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "case.toml")
        path.write_text(text)
        return cases.read(path, list(changes))


@dataclass
class Solved:
    """The equation of a case, solved once: no seed enters it."""

    case: BaseCase
    solution: ObservedSolution
    companions: dict[Level, np.ndarray]
    astray: float

    @classmethod
    def of(cls, case: BaseCase) -> "Solved":
        """Solve it, and its companions."""
        system = system_of(case)
        solver = system.solver(case, COMM)
        steps, solution = system.summary(solver, case), system.residual(solver, case.test_functions)
        solver.solve(case.time.end, stops=case.output_times, observers=[solution, steps.add])
        return cls(case, solution, companions(system, case, COMM, lambda: None), steps.astray())

    @property
    def limit(self) -> np.ndarray:
        """Int phi rho at the end, (P,), extrapolated in mesh and step."""
        fine = np.array(self.solution.observables[-1])
        return fine + (fine - self.companions[Level(2, 2)][:, -1]) / 3


def judged(solved: Solved, particles: BaseCase, seed: int) -> tuple[dict, list[dict], list[dict]]:
    """Verdict, limits and rates of a run with this seed."""
    case, controls = replace(particles, seed=seed), Controls(comm=COMM)
    system = system_of(case)
    ensembles = [system.simulate(case, count, controls) for count in case.particles.counts]
    known = Known(companions=solved.companions, halved=halved(system, case, controls), astray=solved.astray)
    found = Findings(system, case, ensembles, solved.solution, known, {})
    return found.verdict, found.compare["limits"], found.compare["rates"]


def right(name: str, text: str) -> None:
    """Judge a right model over seeds, and count what its intervals cover."""
    case = read(text)
    solved = Solved.of(case)
    statuses, covered, rates = Counter(), [], []
    for seed in range(RIGHT):
        verdict, limits, fitted = judged(solved, case, seed)
        statuses[verdict["status"]] += 1
        covered += [row["low"] <= solved.limit[p] <= row["high"] for p, row in enumerate(limits)]
        rates += [
            rate["low"] <= rate["theory"] <= rate["high"]
            for rate in fitted
            if rate["theory"] is not None and not rate.get("unjudged")
        ]
    shares = [f"{np.mean(share):.3f}" if share else "-" for share in (covered, rates)]
    print(f"| {name} | {RIGHT} | {_counts(statuses)} | {shares[0]} | {shares[1]} |", flush=True)
    assert statuses["refuted"] == 0, f"{name}: a right model was refuted"
    if not QUICK:
        assert 0.90 <= np.mean(covered) <= 0.99, f"{name}: intervals of the limit cover {shares[0]}"


def wrong(name: str, equation: BaseCase, particles: BaseCase) -> None:
    """Judge a wrong model over seeds: the equation of one case, the particles of another."""
    solved = Solved.of(equation)
    statuses, ratios = Counter(), []
    for seed in range(WRONG):
        verdict, limits, _ = judged(solved, particles, seed)
        statuses[verdict["status"]] += 1
        ratios.append(max(abs(row["difference"]) / row["detectable"] for row in limits))
    ratio = float(np.mean(ratios))
    print(f"| {name} | {WRONG} | {_counts(statuses)} | {ratio:.2f} |", flush=True)
    assert ratio < 2 or statuses["refuted"] >= WRONG / 2, f"{name}: a wrong model passes"


def _counts(statuses: Counter[str]) -> str:
    return " | ".join(str(statuses[status]) for status in ("confirmed", "undecided", "refuted"))


def right_models() -> None:
    """Print the table of right models."""
    print("| right model | seeds | confirmed | undecided | refuted | limit in its interval | rate in its interval |")
    print("|---|---|---|---|---|---|---|")
    right("signed dipole", SIGNED)
    right("one sign, strong", ONE_SIGN)
    right("coagulation, homogeneous", COAGULATION)
    right("Vlasov, Landau damping", VLASOV)


def wrong_models() -> None:
    """Print the table of wrong models."""
    print("\n| wrong model | seeds | confirmed | undecided | refuted | difference / detectable |")
    print("|---|---|---|---|---|---|")
    signed = read(SIGNED, "particles.replicas=48")
    one_sign = read(ONE_SIGN, "particles.replicas=400", "particles.step=0.005")
    coagulation, vlasov = read(COAGULATION, "particles.replicas=48"), read(VLASOV, *WAVE)
    exact = float(coagulation_rates(coagulation.model)[0, 0])
    constant = 'model.beta={ kernel = "constant", scale = %r }'
    wrong("diffusivity as printed", read(SIGNED, "model.diffusivity=paper"), signed)
    wrong("drift 5 % too strong", read(ONE_SIGN, "model.gamma_bar=6.3"), one_sign)
    wrong("force of the wrong sign", vlasov, read(VLASOV, *WAVE, POTENTIAL % -1.0))
    wrong("potential x 1.2", vlasov, read(VLASOV, *WAVE, POTENTIAL % 1.2))
    wrong("naive beta", read(COAGULATION, constant % (4 * np.pi / 3)), coagulation)  # alpha int V
    wrong("beta x 1.3", read(COAGULATION, constant % (1.3 * exact)), coagulation)


if "right" in ONLY:
    right_models()
if "wrong" in ONLY:
    wrong_models()
