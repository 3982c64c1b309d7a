"""Finite elements for the Smoluchowski coagulation-diffusion equations (Hammond (1.2)-(1.4)).

    d_t f_n = d(n) Lap f_n + R_n(f),   n = 1 ... n_max,   no flux through the boundary,

R the collision operator with propensities beta, and fragmentation. In the weak form on first-order elements, with
lumped volumes, f_n has values at the nodes (`limitpde.fem.nodes`): d_t f_n + d(n) A f_n = R_n(f), A = m^-1 K. A step
of size dt is Strang's,

    f -> exp(-dt/2 d(n) A) f -> reaction over dt at each node -> exp(-dt/2 d(n) A) f,

with the semigroup exact (`limitpde.fem.heat`) and a reaction of order two (`limitpde.coagulation.reaction`): of order
two in time and in the mesh, and for every dt positive and conservative. The ledger is kept to rounding: diffusion keeps
int f_n of each n, the reaction sum n f_n of each node, but for what grows beyond n_max (`overflow`, an inert gel, which
stays where it appeared) or vanishes in an annihilation; both are counted. On a point only the reaction is left.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable

import dolfinx.fem
import dolfinx.mesh
import numpy as np
from mpi4py import MPI

from limitpde.coagulation.model import Initial, Model
from limitpde.coagulation.nodal import at_nodes
from limitpde.coagulation.rates import propensity, rate_error
from limitpde.coagulation.rates.lippmann import INEXACT, WARN
from limitpde.coagulation.reaction.bins import Bins, MassGrid
from limitpde.coagulation.reaction.judged import BinsError, StepError
from limitpde.coagulation.reaction.operator import Reaction
from limitpde.domains import Domain
from limitpde.errors import InputError, RunError
from limitpde.fem.heat import HeatFlow
from limitpde.fem.nodes import MeshLike, NodeSpace
from limitpde.fem.stepping import Observer, StepReport, march
from limitpde.nbody.threads import use_threads
from limitpde.parallel import on_all
from limitpde.results.checkpoint import FoundState, GivenState
from limitpde.results.shared_array import Numbered

TWINS = ("twin", "twin_of_fewer_bins")
SHOWN = 8
"""Masses that get a field of their own."""
SAMPLED = 16
"""Masses, roughly, whose rates are asked how exact they are."""
CLIPPED = 1e-6
"""Share of a field that diffusion may set to zero because it was negative, from which on the user is told."""


class Solver:
    """Solver of the limit equations of the coagulating system. Every public method is collective.

    Args:
        model: the parameters.
        initial: the initial densities; each part is scaled so that its discrete mass is exact.

    Keyword Args:
        mesh: a torus, a box, a ball, a point, the path of a gmsh file, or a DOLFINx mesh; as `fem.periodic.Periodic`
            a torus of it.
        step: size of the time step.
        degree: polynomial degree; 1.
        bins: bins of masses; every integer up to `model.n_max` by default.
        comm: communicator of the mesh.

    Raises:
        InputError: the mesh is unfit, does not see the initial densities, or is too fine for the step; an initial mass
            is out of range.

    Attributes:
        nodes: the nodes and their volumes; a rank may own none.
        masses: (M,) the masses n.
        densities: f_n at the nodes of this rank, (owned, M).
        lost: mass per volume that overflowed, or was annihilated, at the nodes of this rank, (owned,).
        integrated: int f_n at the time reached, (M,), the same on every rank.
    """

    STATE = "coagulation.Solver 4"
    step_figures: tuple[str, ...] = ()

    def __init__(
        self,
        model: Model,
        initial: Initial,
        *,
        mesh: MeshLike,
        step: float,
        degree: int = 1,
        bins: Bins | None = None,
        comm: MPI.Comm = MPI.COMM_WORLD,
    ) -> None:
        if degree != 1:
            raise InputError(f"pde.degree = {degree}: must be 1")
        if not 0 < step < math.inf:
            raise InputError(f"pde.step = {step}: must be finite and greater than 0")
        self.model, self.requested_step, self.bins = model, step, bins
        self.grid = MassGrid(model.n_max, bins)
        self.masses = self.grid.masses
        model.check_powers(self.masses[-1])
        use_threads(comm)
        self.nodes = NodeSpace(mesh, comm, dimension=model.dimension)
        self.densities = self._initial_densities(initial)
        self.lost = np.zeros(self.nodes.owned)
        self.integrated = self._integrate()
        self._reaction = on_all(self.nodes.comm, self._make_reaction)
        self._heat = HeatFlow(self.nodes, model.d(self.masses))
        self._heat.degree(step / 2)
        self._step_error = StepError(self._reaction)
        self._bins_error = None if bins is None else self._twins(initial, bins)
        self._clipped = 0.0
        self.t = 0.0

    def _densest(self) -> tuple[int, int]:
        """Rank that owns the node with most particles per volume, and its row there. Collective."""
        number = self.densities.sum(axis=1)
        row = int(number.argmax()) if len(number) else -1
        most = float(number[row]) if len(number) else -1.0
        return int(self.nodes.comm.allreduce((most, self.nodes.comm.rank), op=MPI.MAXLOC)[1]), row

    def _twins(self, initial: Initial, bins: Bins) -> BinsError:
        """What tells the error of the bins; the same on every rank. Collective."""
        rank, row = self._densest()
        here = self.densities[row] if self.nodes.comm.rank == rank else None
        f = self.nodes.comm.bcast(here, root=rank)
        shares = np.array([part.density.mass for part in initial.masses])
        number = float(f.sum()) * shares / shares.sum()
        start: dict[float, float] = {}
        for part, n in zip(initial.masses, number, strict=True):
            start[part.n] = start.get(part.n, 0.0) + float(n)
        return on_all(self.nodes.comm, lambda: BinsError(self.model, bins, self._reaction, start))

    def _initial_densities(self, initial: Initial) -> np.ndarray:
        """Nodal values, (owned, M)."""
        densities = np.zeros((self.nodes.owned, len(self.masses)))
        parts, self._warnings = at_nodes(initial, self.nodes)
        for number, (part, values) in enumerate(zip(initial.masses, parts, strict=True)):
            try:
                densities += values[:, np.newaxis] * self.grid.spread(part.n)
            except InputError as error:
                raise InputError(f"initial.masses[{number}].n: {error}") from None
        return densities

    def _make_reaction(self) -> Reaction:
        """The reaction; how exact its rates are is told with the other warnings, once, and not by every rank."""
        model = self.model
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=INEXACT)
            made = Reaction(model, self.grid, propensity(model))
            if model.beta.kernel == "from_micro":
                n = self.masses[:: max(1, len(self.masses) // SAMPLED)]
                error = float(rate_error(model, n[:, np.newaxis], n).max())
                if error > WARN:
                    self._warnings.append(f"{INEXACT} of {error:.1e}: V is not smooth, or alpha / D is large")
        return made

    # --- one step -----------------------------------------------------------------------------------------------

    def step(self, dt: float) -> StepReport:
        """Advance by dt.

        Raises:
            InputError: dt is not a positive number.
            RunError: the densities are no longer finite.
        """
        if not 0 < dt < math.inf:
            raise InputError(f"dt = {dt}: must be finite and greater than 0")
        clipped = self._heat.advance(self.densities, dt / 2)
        self._judge(dt)
        self.lost += self._reaction.advance(self.densities, dt)
        clipped = max(clipped, self._heat.advance(self.densities, dt / 2))
        self._clipped = max(self._clipped, clipped)
        self.t += dt
        self.integrated = self._integrate()
        figures = self.figures()
        if not math.isfinite(figures["maximum"] + figures["ledger"]):
            raise RunError(f"the densities are no longer finite at t = {self.t:.6g}, after a step of {dt:.3g}")
        return StepReport(t=self.t, dt=dt, order=2, figures=figures)

    def _judge(self, dt: float) -> None:
        """Estimate what the reaction over dt will be off."""
        error = 0.0
        if self._step_error.due:
            rank, row = self._densest()
            if self.nodes.comm.rank == rank and row >= 0:
                error = self._step_error.of_step(self.densities[row : row + 1].copy(), dt)
            error = self.nodes.comm.bcast(error, root=rank)
        self._step_error.add(error)
        if self._bins_error is not None:
            self._bins_error.advance(dt)

    @property
    def reaction_error(self) -> float:
        """Estimated error of the number of particles or of the second moment by the steps of the reaction, relative."""
        return self._step_error.value

    @property
    def bins_error(self) -> float:
        """Estimated error of the second moment by the bins, relative; 0 without bins."""
        return 0.0 if self._bins_error is None else self._bins_error.value

    def _integrate(self) -> np.ndarray:
        return self.nodes.sums.add(self.nodes.volume @ self.densities)

    def state(self) -> GivenState:
        """What `restore` needs to go on from here: nodes on every rank, what else on rank 0. Collective."""
        clock = np.array([self.t, self._clipped, self._step_error.value, self._step_error.steps])
        twins = {} if self._bins_error is None else dict(zip(TWINS, self._bins_error.twins, strict=True))
        return {"clock": clock, "nodes": self._numbered(), **twins}

    def _numbered(self) -> Numbered:
        """The densities and what was lost, by the nodes of the input mesh."""
        return Numbered(self.nodes.original, self.nodes.size, [*self.densities.T, self.lost])

    def restore(self, state: FoundState) -> None:
        """Go on from a `state`, given on every rank; on any number of ranks, up to rounding. Collective."""
        self.t, self._clipped, self._step_error.value, steps = map(float, state["clock"])
        self._step_error.steps = int(steps)
        if self._bins_error is not None:
            self._bins_error.twins = [state[name].copy() for name in TWINS]
        state["nodes"].read(self._numbered())
        self.integrated = self._integrate()

    def solve(self, end: float, *, stops: Iterable[float] = (), observers: Iterable[Observer] = ()) -> None:
        """Step up to time `end`, landing on every time in `stops`; each observer sees the report of each step.

        Raises:
            InputError: `end` lies before the time reached.
            RunError: a step could not be made.
        """
        march(self, end, stops=stops, observers=observers)

    # --- what the state is ----------------------------------------------------------------------------------------

    @property
    def suggested_step(self) -> float:
        """The requested step."""
        return self.requested_step

    def __repr__(self) -> str:
        return f"{type(self).__module__}.{type(self).__name__}(t = {self.t:g}, {self.dofs:,} unknowns)"

    @property
    def dofs(self) -> int:
        """Unknowns: nodes times masses."""
        return self.nodes.size * len(self.masses)

    @property
    def domain(self) -> Domain:
        """What the mesh covers; the whole space where that is not known, with a mesh from a file."""
        return self.nodes.domain

    @property
    def mesh(self) -> dolfinx.mesh.Mesh | None:
        """The mesh that the fields live on; None for a point."""
        return self.nodes.mesh

    @property
    def warnings(self) -> list[str]:
        """What to know before trusting the solution, such as initial data that the mesh hardly resolves."""
        if self._clipped <= CLIPPED:
            return list(self._warnings)
        share = f"a share of {self._clipped:.2g} of a density was negative after diffusion and was set to zero"
        return [*self._warnings, f"{share}: the mesh has obtuse angles and is too coarse for these densities"]

    def outputs(self, *, fluxes: bool = False) -> dict[str, tuple[dolfinx.mesh.Mesh, dict[str, dolfinx.fem.Function]]]:
        """File -> mesh and functions on it: f_n of the first masses, number and mass in all, and the mass lost.

        The last is called overflow or annihilated. There are none without a mesh. Collective.

        Keyword Args:
            fluxes: also those of number and mass, -sum_n d(n) grad f_n and -sum_n n d(n) grad f_n, on cells.
        """
        if self.nodes.mesh is None:
            return {}
        values = {f"f_{n:g}": self.densities[:, k] for k, n in enumerate(self.masses[:SHOWN])}
        values |= {"number": self.densities.sum(axis=1), "mass": self.densities @ self.masses, self._loss: self.lost}
        functions = {name: self.nodes.function(name, nodal) for name, nodal in values.items()}
        if fluxes:
            spread = self.densities * self.model.d(self.masses)
            for name, nodal in (("flux_number", spread.sum(axis=1)), ("flux_mass", spread @ self.masses)):
                flux = self.nodes.cell_fluxes.diffusion(self.nodes.function(name, nodal).x.array, 1.0)
                functions[name] = self.nodes.cell_fluxes.function(name, flux)
        return {"fields": (self.nodes.mesh, functions)}

    def figures(self) -> dict[str, float]:
        """Masses, moments and extrema of the present state.

        mass_total is sum n int f_n, ledger that and all that was lost; moment_k = sum n^k int f_n; second_moment is
        int sum n f_n |x|^2, centre int sum n f_n x over mass_total, where there is mass; clipped is the largest share
        of a field that diffusion had to set to zero so far.
        """
        sums, volume, x = self.nodes.sums, self.nodes.volume, self.nodes.points
        mass = volume * (self.densities @ self.masses)
        lost, second, *centre = map(float, sums.total(volume * self.lost, mass * (x**2).sum(axis=1), *(mass * x.T)))
        moments = {f"moment_{k}": float(self.masses**k @ self.integrated) for k in range(3)}
        total = moments["moment_1"]
        named = {"mass_total": total, "mass_overflow": 0.0, f"mass_{self._loss}": lost, "ledger": total + lost}
        named |= dict(zip(("minimum", "maximum"), sums.extremes(self.densities), strict=True))
        named |= moments | {"second_moment": second, "clipped": self._clipped}
        axes = "xyz" if self.mesh is not None else ""
        of_all = total if total > 0 else math.nan
        return named | {f"centre_{axis}": value / of_all for axis, value in zip(axes, centre, strict=False)}

    @property
    def _loss(self) -> str:
        return "annihilated" if self.model.reaction == "annihilation" else "overflow"
