"""What the Vlasov system compares beyond what all systems do: observables and distances at the end, and their rates.

E|int phi d(mu^N_T - f_T)| and W_1(mu^N_T, f_T) of its marginals and slices fall like N^(-1/2) for particles that are
drawn independently from f_0: Dobrushin's estimate carries the order of their distance at time 0 to all times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
from mpi4py import MPI

from limitpde.compare.comparison import Row
from limitpde.compare.rates import fit_rate, mean_abs
from limitpde.parallel import on_root
from limitpde.vlasov import trust
from limitpde.vlasov.case import Case
from limitpde.vlasov.distances import distance_figures
from limitpde.vlasov.initial import Start
from limitpde.vlasov.particles import Ensemble
from limitpde.vlasov.residual import PDEResidual
from limitpde.vlasov.theorem import counting_figures

THEORY = -0.5
"""Power of N of what is drawn independently."""
LARGEST = 2**26
"""Values of f up to which it is gathered on one rank to measure distances."""


def comparison_figures(case: Case, ensembles: Sequence[Ensemble], solution: PDEResidual | None, comm: MPI.Comm) -> Row:
    """What the part `compare` of summary.json has for this system alone; `rates` go with those of all systems.

    Collective: f lives on all ranks, and is gathered on rank 0. Nothing is compared where particles or solution have
    not come to the same end.

    Args:
        case: what was run.
        ensembles: what was simulated, one for each N.
        solution: W of the solution of the equation, if it was solved.
        comm: the ranks.
    """
    counted = counting_figures(case, comm) if solution is not None and solution.solver.t >= case.time.end else {}
    if not ensembles or solution is None:
        return counted
    if not math.isclose(solution.times[-1], ensembles[0].times[-1], rel_tol=1e-9):
        return counted
    theory = _theory(case, ensembles)
    found: Row = counted | {"rates": on_root(comm, lambda: list(observable_rates(ensembles, solution, theory)))}
    solver = solution.solver
    if solver.space.dofs > LARGEST:
        return found | {
            "distances_left_out": f"f has {solver.space.dofs} values: distances are measured up to {LARGEST}"
        }
    f = solver.form.density_values()

    def measure() -> Row:
        start = Start(case.initial, case.model)
        v_axes = solver.space.v_axes
        if case.model.form == "hartree":  # f is known at equally spaced velocities: even within the part of each
            v_axes = [axis.parts for axis in v_axes]
        axes = [*solver.space.x_axes, *v_axes]
        return distance_figures(case.model, ensembles, start=start, f=f, axes=axes, seed=case.seed)

    distances = on_root(comm, measure)
    rates = [
        {name: value for name, value in row.items() if name != "test_function"} for row in distances.pop("rates", [])
    ]
    return found | distances | {"distance_rates": [row | {"theory": theory} for row in rates]}


def observable_rates(ensembles: Sequence[Ensemble], solution: PDEResidual, theory: float | None) -> Iterator[Row]:
    """Fitted powers of N of E|int phi d(mu^N_T - f_T)|, one for each test function. Not collective."""
    counts = [ensemble.count for ensemble in ensembles]
    for p, value in enumerate(np.asarray(solution.observables[-1])):
        samples = [ensemble.observables[:, p, -1] - value for ensemble in ensembles]
        rate = fit_rate(counts, samples, mean_abs)
        if rate is not None:
            yield {"quantity": "observable_mean_abs", "test_function": p, **asdict(rate), "theory": theory}


def _theory(case: Case, ensembles: Sequence[Ensemble]) -> float | None:
    """The power of N that is proven, for particles of the theorem, whose noise has not outgrown the signal."""
    right = all(ensemble.in_theory for ensemble in ensembles)
    noisy = any(caution.exceeded for e in ensembles for caution in trust.particles(case, e.count))
    return THEORY if right and not noisy else None
