"""Finite elements for the signed Keller-Segel system (van Meurs-Peletier-Slangen (1.3) = (5.6)), and its relatives.

    d_t rho_s = div(D grad rho_s + rho_s grad V_s),   V_s = b_s g psi + U,   -Lap psi = 2 pi u,   u = sum_s b_s rho_s

for s = +, -, with g = gamma_bar (signed, repulsive) or -gamma_bar (attractive, (1.2)), an exterior potential U, and
D >= 0, in the weak form  d_t (rho_s, v) + (D grad rho_s + rho_s grad V_s, grad v) = 0  on first-order elements: mass
lumped on Voronoi cells m_i, exponentially fitted fluxes F_ij(rho; V) on the edges (`limitpde.fem.edge_flux`; upwind
for D = 0), no flux of density through the boundary, psi of the whole plane (`limitpde.fem.plane`) or between walls
(`limitpde.fem.walls`). A step of size dt solves, with BDF coefficients c, rho^ (history) and rho* (extrapolation, kept
>= 0), charges u^, u* and psi* (extrapolation; backward Euler: psi now):

    (A)  [K + (2 pi dt g / c) L_w] psi_p = (2 pi / c) [m u^ - dt D K u* - dt sum_s b_s L_w_s U]     psi that u will have
    (B)  (c m / dt) rho_s + A_s(psi_p) rho_s = (m / dt) rho^_s                                      for both signs
    (C)  K psi = 2 pi m u                                                                           psi that u has

L_w is the edge Laplacian weighted by the density that the flux sees, w = sum_s w_s. (A) takes the fast relaxation of
charge (rate 2 pi g rho) implicitly without a nonlinear solve. Attraction is the other way round: its energy is concave,
so that psi from before the step, psi_p = psi*, gives a linear step which with backward Euler lets the energy fall for
every dt; what must be short there are the steps, dt <= ACCURATE_STEP / (2 pi gamma_bar max rho), to follow a collapse.

The matrix of (B) is an M-matrix with zero column sums of A_s: mass is conserved and backward Euler is positive for
every dt. Nothing linear is positive for every dt and of order two, and the free energy F = sum_s int (D rho_s log rho_s
+ U rho_s) + (g / 2) int u (psi + psi_ext) decreases only up to some dt (psi_ext: the potential of charged walls). So
each step passes a gate (`limitpde.signed.gate`). What fails is repeated with backward Euler, then with half the step;
the report of the step says so.

For D = 0 the upwind fluxes are of first order where the densities are smooth, of order 1/2 in L1 where they jump.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import dolfinx.fem
import dolfinx.mesh
import numpy as np
from mpi4py import MPI
from scipy.special import xlogy

from limitpde.errors import InputError, RunError
from limitpde.fem import mesh as meshes
from limitpde.fem.edge_flux import add_gradient_flux, add_mean_density, fill_transport
from limitpde.fem.edges import EdgeGraph, EdgeMatrix
from limitpde.fem.linear import LinearSolver, symmetric_options
from limitpde.fem.lumped import LumpedQuadrature
from limitpde.fem.original import original_nodes
from limitpde.fem.plane import PlanePoisson
from limitpde.fem.stepping import GROWTH, LARGEST_RATIO, Bdf, Observer, StepReport, attempts, march
from limitpde.parallel import gathered
from limitpde.signed.blow_up import BlowUpError, has_blown_up
from limitpde.signed.gate import ROUNDING, State, refusal
from limitpde.signed.model import SPECIES, Initial, Model
from limitpde.signed.setting import (
    Boundary,
    Mesh,
    check_problem,
    exterior_potential,
    initial_density,
    moments,
    potential_solver,
)

HALVINGS = 30
"""How often one step may be halved before the run is given up."""
ACCURATE_STEP = 0.05
"""Longest step under attraction, in units of 1 / (2 pi gamma_bar max rho), the time in which the peak would double."""


class Solver:
    """Solver of the limit equation of the signed system. Every public method is collective.

    Args:
        model: the parameters; `gamma_bar` must be given.
        initial: the initial densities; each part is scaled so that its discrete mass is exact.

    Keyword Args:
        mesh: a disk, a box, the path of a gmsh file, or a DOLFINx mesh; for the plane its boundary must be a circle
            around all mass.
        step: size of the time step; also what `suggested_step` grows back to after the gate has cut it.
        degree: polynomial degree; 1.
        boundary: psi at the boundary: that of the whole plane; zero ("grounded"); no field through it ("insulated", the
            net charge is neutralised by a uniform background); or a value for each conducting group of lines of a gmsh
            file, by name or number, where what is not named is insulated.
        multipoles: highest multipole moment in the boundary data of the potential.
        comm: communicator of the mesh.

    Raises:
        InputError: the model has no limit, the mesh is unfit, or it does not see the initial densities.

    Attributes:
        warnings: what to know before trusting the solution, such as initial data that the mesh hardly resolves.
        quadrature: points that integrate products of densities: the nodes.
        sums: global sums.
    """

    STEP_FIGURES = ("free_energy_increase", "refused", "iterations_predictor", "iterations_transport")
    """Figures of a step that a state alone does not have."""

    def __init__(
        self,
        model: Model,
        initial: Initial,
        *,
        mesh: Mesh,
        step: float,
        degree: int = 1,
        boundary: Boundary = "plane",
        multipoles: int = 12,
        comm: MPI.Comm = MPI.COMM_WORLD,
    ) -> None:
        check_problem(model, initial, step, bounded=boundary != "plane")
        if degree != 1:
            raise InputError(f"pde.degree = {degree}: must be 1")
        self.model, self.requested_step = model, step
        self.graph = EdgeGraph(meshes.build(mesh, comm))
        self.quadrature, self.sums = LumpedQuadrature(self.graph), self.graph.sums
        self.poisson = potential_solver(self.graph, mesh, boundary, multipoles)
        self.species = [s for s in range(len(SPECIES)) if initial.parts(s)]
        self.charges = [model.charges[s] for s in self.species]
        self.warnings: list[str] = []
        self._prepare_systems()
        self._exterior = exterior_potential(self.graph, model)
        densities = [initial_density(self.graph, initial, s, self.warnings) for s in self.species]
        self.mass = [initial.mass(s) for s in self.species]
        self._now = self._state(densities)
        self._before: State | None = None
        self._last_step, self._gate_limit = 0.0, math.inf
        self._first_maximum = self._now.maximum
        self.t = 0.0

    def _prepare_systems(self) -> None:
        graph = self.graph
        if self.model.coupling > 0:  # else (A) is not needed, and PETSc would point at options that nothing used
            self._predictor = EdgeMatrix(graph, self.poisson.fixed)
            options = symmetric_options(self._predictor.mat, constant=False, relative_tolerance=1e-7)
            self._predict = LinearSolver(self._predictor.mat, prefix="predictor", options=options, lag=True)
        self._transport = EdgeMatrix(graph)
        self._solve_transport = LinearSolver(
            self._transport.mat,
            prefix="transport",
            options={
                "ksp_type": "bcgs",
                "pc_type": "bjacobi",
                "ksp_rtol": ROUNDING / 10,
                "ksp_divtol": 1e12,
                "ksp_max_it": 500,
            },
        )

    # --- one step -----------------------------------------------------------------------------------------------

    def step(self, dt: float) -> StepReport:
        """Advance by dt, or by less where the gate demands it.

        Raises:
            RunError: no step down to dt / 2^30 passes the gate.
            BlowUpError: under attraction, the density has collapsed into a cell of the mesh.
        """
        if not 0 < dt < math.inf:
            raise InputError(f"dt = {dt}: must be finite and greater than 0")
        self._check_resolution()
        refused: list[str] = []
        second_order = self._before is not None and dt <= LARGEST_RATIO * self._last_step * (1 + 1e-9)
        for size, order in attempts(dt, second_order=second_order, halvings=HALVINGS):
            trial, iterations = self._advance(size, order)
            reason = self._refusal(trial)
            if reason is None:
                return self._accept(trial, size, order, refused, iterations)
            refused.append(f"{'BDF2' if order == 2 else 'backward Euler'} with dt = {size:.6g}: {reason}")
        raise RunError(f"no step from t = {self.t:.6g} passes the gate; last: {refused[-1]}")

    def _advance(self, dt: float, order: int) -> tuple[State | str, dict[str, float]]:
        """The state after (A), (B), (C), or what went wrong, and the iterations it took."""
        now, before = self._now, self._before or self._now
        bdf = Bdf.of(order, dt / self._last_step if self._last_step else 1.0)

        def combine(weights: tuple[float, float], a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return weights[0] * a + weights[1] * b if order == 2 else a

        pairs = list(zip(now.densities, before.densities, strict=True))
        history = [combine(bdf.history, a, b) for a, b in pairs]
        expected = [np.maximum(combine(bdf.extrapolation, a, b), 0.0) for a, b in pairs]
        guess = combine(bdf.extrapolation, now.potential, before.potential)
        predicted, predictor_iterations, reason = guess, 0, 1
        if self.model.coupling > 0:
            predicted, predictor_iterations, reason = self._predict_potential(dt, bdf, history, expected, guess)
        iterations = {"iterations_predictor": float(predictor_iterations), "iterations_transport": 0.0}
        if reason < 0:
            return f"the predictor of the potential did not converge (PETSc reason {reason})", iterations
        densities = []
        for index in range(len(self.species)):
            density, count, reason = self._transport_density(index, dt, bdf, history[index], expected[index], predicted)
            iterations["iterations_transport"] += count
            if reason < 0:
                return f"the transport solve did not converge (PETSc reason {reason})", iterations
            densities.append(density)
        return self._checked_state(densities), iterations

    def _predict_potential(
        self, dt: float, bdf: Bdf, history: list[np.ndarray], expected: list[np.ndarray], guess: np.ndarray
    ) -> tuple[np.ndarray, int, int]:
        """(A): the potential at the end of the step, (n_local,), iterations and PETSc's reason."""
        graph, diffusivity = self.graph, self.model.D
        scale = 2 * np.pi / bdf.implicit
        seen, balance = np.zeros(len(graph.weight)), np.zeros(graph.local)
        for charge, density in zip(self.charges, expected, strict=True):
            mean = np.zeros_like(seen)
            add_mean_density(mean, graph.tail, graph.head, self._barrier(charge, guess), density, diffusivity, 1.0)
            pushed = scale * dt * charge * graph.weight * mean
            add_gradient_flux(balance, graph.tail, graph.head, pushed, self._exterior)
            seen += mean
        conductance = graph.weight * (1.0 + scale * dt * self.model.coupling * seen)
        self._predictor.set_laplacian(conductance)
        self._predictor.assemble()
        charge_expected, charge_history = self._charge(expected), self._charge(history)
        start = self.poisson.lifted(charge_expected, guess)
        add_gradient_flux(balance, graph.tail, graph.head, conductance, start)
        add_gradient_flux(balance, graph.tail, graph.head, scale * dt * diffusivity * graph.weight, charge_expected)
        balance = graph.share_sum(balance) + self.poisson.source(charge_history) / bdf.implicit
        balance[self.poisson.fixed] = 0.0
        correction, iterations, reason = self._predict.solve(balance[: graph.owned])
        start[: graph.owned] += correction
        return graph.share(start), iterations, reason

    def _transport_density(
        self, index: int, dt: float, bdf: Bdf, history: np.ndarray, guess: np.ndarray, potential: np.ndarray
    ) -> tuple[np.ndarray, int, int]:
        """(B): the density of one species at the end of the step, (n_local,), iterations and PETSc's reason."""
        graph, owned = self.graph, self.graph.owned
        barrier = self._barrier(self.charges[index], potential)
        fill_transport(self._transport.edges, graph.tail, graph.head, graph.weight, barrier, self.model.D, 1.0)
        self._transport.edges *= dt
        self._transport.diagonal[:] = bdf.implicit * graph.area[:owned]
        self._transport.assemble()
        right_side = graph.area[:owned] * history[:owned]
        density, iterations, reason = self._solve_transport.solve(right_side, guess[:owned])
        return graph.share(density), iterations, reason

    def _checked_state(self, densities: list[np.ndarray]) -> State | str:
        """The state of these densities without the rounding of the solver, or why they cannot be one."""
        sums, area = self.graph.sums, self.graph.area
        lowest, largest = sums.minimum(*densities), sums.maximum(*densities)
        if not math.isfinite(lowest + largest):
            return "the density is not finite"
        if lowest < -ROUNDING * largest:
            return f"the density falls to {lowest:.3g}"
        densities = [np.maximum(density, 0.0) for density in densities]
        masses = sums.total(*(area * density for density in densities))
        return self._state([d * (m / found) for d, m, found in zip(densities, self.mass, masses, strict=True)])

    def _state(self, densities: list[np.ndarray]) -> State:
        """(C): potential and free energy of these densities."""
        charge = self._charge(densities)
        potential = self.poisson.solve(charge)
        energy = self.model.coupling / 2 * charge * (potential + self.poisson.external)
        for density in densities:
            energy += self.model.D * xlogy(density, density) + self._exterior * density
        (total,) = self.graph.sums.total(self.graph.area * energy)
        return State(densities, potential, float(total), self.graph.sums.maximum(*densities))

    def _refusal(self, trial: State | str) -> str | None:
        scale = self.model.D * sum(self.mass)
        return refusal(self._now, trial, scale=scale, falling_maximum=self._falling_maximum)

    @property
    def _falling_maximum(self) -> bool:
        """Whether the equation lets the largest density only fall: not where it attracts, confines or has walls."""
        return self.model.sense > 0 and self.model.confinement is None and isinstance(self.poisson, PlanePoisson)

    def _check_resolution(self) -> None:
        """Stop where an attractive density has collapsed into one cell."""
        if self.model.sense < 0:
            share = self.cell_share
            if has_blown_up(self._now.maximum, self._first_maximum, share):
                raise BlowUpError(self.t, self._now.maximum, share)

    def _accept(
        self, trial: State | str, dt: float, order: int, refused: list[str], iterations: dict[str, float]
    ) -> StepReport:
        assert isinstance(trial, State)
        increase = trial.energy - self._now.energy
        self._before, self._now = self._now, trial
        self._last_step = dt
        self._gate_limit = GROWTH * (dt if refused else self._gate_limit)
        self.t += dt
        figures = self.figures() | {"free_energy_increase": increase, "refused": float(len(refused))} | iterations
        return StepReport(t=self.t, dt=dt, order=order, refused=tuple(refused), figures=figures)

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs to go on from here, in the order of the input mesh; on rank 0. Collective."""
        graph = self.graph
        numbers = original_nodes(graph.space)[: graph.owned]
        states = [self._now] if self._before is None else [self._now, self._before]
        nodal = np.array([density[: graph.owned] for state in states for density in state.densities]).T
        clock = np.array([self.t, self._last_step, self._gate_limit])
        return {"clock": clock, "densities": gathered(graph.comm, numbers, nodal)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state`, given on every rank; on any number of ranks, up to rounding. Collective."""
        self.t, self._last_step, self._gate_limit = map(float, state["clock"])
        nodal = state["densities"][original_nodes(self.graph.space)].T
        states = [self._state(list(part)) for part in nodal.reshape(-1, len(self.species), self.graph.local)]
        self._now, self._before = states[0], states[1] if len(states) > 1 else None

    def solve(self, end: float, *, stops: Iterable[float] = (), observers: Iterable[Observer] = ()) -> None:
        """Step up to time `end`, landing on every time in `stops`; each observer sees the report of each step.

        Raises:
            RunError: a step could not be made.
        """
        march(self, end, stops=stops, observers=observers)

    # --- what the state is ----------------------------------------------------------------------------------------

    @property
    def suggested_step(self) -> float:
        """The requested step, or less where the gate has cut the steps before it, or where they were short."""
        ratio_limit = LARGEST_RATIO * self._last_step if self._last_step else math.inf
        rate = 2 * np.pi * -self.model.coupling * self._now.maximum
        return min(self.requested_step, self._gate_limit, ratio_limit, ACCURATE_STEP / rate if rate > 0 else math.inf)

    def _barrier(self, charge: float, potential: np.ndarray) -> np.ndarray:
        """V = b g psi + U at the nodes, (n_local,), of the charge b in psi."""
        return charge * self.model.coupling * potential + self._exterior

    @property
    def cell_share(self) -> float:
        """Largest share of all mass in one Voronoi cell. Collective."""
        return self.graph.sums.maximum(self.graph.area * sum(self._now.densities)) / sum(self.mass)

    def _charge(self, densities: list[np.ndarray]) -> np.ndarray:
        return np.asarray(sum(b * density for b, density in zip(self.charges, densities, strict=True)))

    @property
    def mesh(self) -> dolfinx.mesh.Mesh:
        """The triangulation of the disk."""
        return self.graph.mesh

    @property
    def dofs(self) -> int:
        """Unknowns of all densities and of the potential."""
        return self.graph.size * (len(self.species) + 1)

    @property
    def densities(self) -> dict[str, np.ndarray]:
        """Nodal densities by species, (n_local,) each; a species without mass is absent."""
        return {SPECIES[s]: density for s, density in zip(self.species, self._now.densities, strict=True)}

    @property
    def potential(self) -> np.ndarray:
        """psi at the nodes, (n_local,)."""
        return self._now.potential

    def outputs(self) -> dict[str, tuple[dolfinx.mesh.Mesh, dict[str, dolfinx.fem.Function]]]:
        """File -> mesh and functions on it: densities, net charge and potential. Collective."""
        values = {f"rho_{name}": density for name, density in self.densities.items()}
        values |= {"charge": self._charge(self._now.densities), "potential": self._now.potential}
        functions = {}
        for name, nodal in values.items():
            functions[name] = dolfinx.fem.Function(self.graph.space, name=name)
            functions[name].x.array[:] = nodal
        return {"fields": (self.mesh, functions)}

    def figures(self) -> dict[str, float]:
        """Invariants and extrema of the present state: masses, free energy, moments, smallest and largest value."""
        graph, densities = self.graph, self._now.densities
        masses = {name: graph.area * density for name, density in self.densities.items()}
        found = moments(graph.sums, graph.points, masses, self.poisson.outer())
        extrema = {"minimum": graph.sums.minimum(*densities), "maximum": self._now.maximum}
        if self.model.sense < 0:
            extrema["cell_share"] = self.cell_share
        return {**found, "free_energy": self._now.energy, **extrema}
