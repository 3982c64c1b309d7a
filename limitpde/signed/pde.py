"""Finite elements for the signed Keller-Segel system (van Meurs-Peletier-Slangen (1.3) = (5.6)) in the whole plane.

    d_t rho_s = div(D grad rho_s + b_s gamma_bar rho_s grad psi),   -Lap psi = 2 pi u,   u = sum_s b_s rho_s,   s = +, -

in the weak form  d_t (rho_s, v) + (D grad rho_s + b_s gamma_bar rho_s grad psi, grad v) = 0  on first-order elements of
a disk: mass lumped on Voronoi cells m_i, exponentially fitted fluxes F_ij(rho; psi) on the edges
(`limitpde.fem.edge_flux`), psi of the whole plane (`limitpde.fem.plane`), no flux through the circle. A step of size dt
solves, with BDF coefficients c, rho^ (history) and rho* (extrapolation, kept >= 0), and charges u^, u*:

    (A)  [K + (2 pi dt gamma_bar / c) L_w] psi_p = (2 pi / c) [m u^ - dt D K u*]      the potential that u will have
    (B)  (c m / dt) rho_s + A_s(psi_p) rho_s = (m / dt) rho^_s                        for both signs
    (C)  K psi = 2 pi m u                                                             the potential that u has

L_w is the edge Laplacian weighted by the density that the flux sees. (A) takes the fast relaxation of charge (rate
2 pi gamma_bar rho) implicitly without a nonlinear solve. The matrix of (B) is an M-matrix with zero column sums of A_s:
mass is conserved and backward Euler is positive for every dt. Nothing linear is positive for every dt and of order
two, and the free energy F = D sum_s int rho_s log rho_s + (gamma_bar / 2) int u psi decreases only up to some dt. So
each step passes a gate: all finite, densities >= 0, F not rising, the largest density not rising. What fails is
repeated with backward Euler, then with half the step; the report of the step says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path

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
from limitpde.parallel import gathered, on_all
from limitpde.signed.model import SPECIES, Initial, Model

ROUNDING = 1e-12
"""Negative densities and increases of the energy up to this part of their scale are rounding of the linear solvers,
whose tolerance is a tenth of it."""
MAXIMUM_RISE = 1e-3
"""Part by which a step may raise the largest density, which the equation lets only fall; with the potential that (A)
predicts, the scheme keeps that principle up to O(dt)."""
SEEN_AT_LEAST = 0.5
"""Share of the mass of a part of the initial data that the nodes must see."""
UNRESOLVED = 0.02
"""Relative error in the mass of a part of the initial data, as the nodes see it, from which the user is told."""
HALVINGS = 30
"""How often one step may be halved before the run is given up."""


class State:
    """Densities, potential and free energy at one time: what a step starts from and what it makes."""

    def __init__(self, densities: list[np.ndarray], potential: np.ndarray, energy: float, maximum: float) -> None:
        self.densities = densities  # per species present: (n_local,), ghosts up to date
        self.potential = potential  # psi, (n_local,)
        self.energy = energy  # free energy, global
        self.maximum = maximum  # largest density, global


class Solver:
    """Solver of the limit equation of the signed system. Every public method is collective.

    Args:
        model: the parameters; `gamma_bar` must be given.
        initial: the initial densities; each part is scaled so that its discrete mass is exact.

    Keyword Args:
        mesh: a disk, the path of a gmsh file, or a DOLFINx mesh; its boundary must be a circle around all mass.
        step: size of the time step; also what `suggested_step` grows back to after the gate has cut it.
        degree: polynomial degree; 1.
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
        mesh: meshes.Disk | str | Path | dolfinx.mesh.Mesh,
        step: float,
        degree: int = 1,
        multipoles: int = 12,
        comm: MPI.Comm = MPI.COMM_WORLD,
    ) -> None:
        self._check(model, initial, step, degree)
        self.model, self.requested_step = model, step
        self.graph = EdgeGraph(meshes.build(mesh, comm))
        self.quadrature, self.sums = LumpedQuadrature(self.graph), self.graph.sums
        self.poisson = PlanePoisson(self.graph, multipoles=multipoles)
        self.species = [s for s in range(len(SPECIES)) if initial.parts(s)]
        self.charges = [model.charges[s] for s in self.species]
        self.warnings: list[str] = []
        self._prepare_systems()
        densities = [self._initial_density(initial, s) for s in self.species]
        self.mass = [initial.mass(s) for s in self.species]
        self._now = self._state(densities)
        self._before: State | None = None
        self._last_step, self._gate_limit = 0.0, math.inf
        self.t = 0.0

    @staticmethod
    def _check(model: Model, initial: Initial, step: float, degree: int) -> None:
        if model.gamma_bar is None:
            raise InputError("model.gamma_bar is missing: with a fixed gamma the particles have no limit equation")
        if initial.points is not None:
            raise InputError("initial.points: a PDE needs densities, not points")
        if degree != 1:
            raise InputError(f"pde.degree = {degree}: must be 1")
        if not 0 < step < math.inf:
            raise InputError(f"pde.step = {step}: must be finite and greater than 0")

    def _prepare_systems(self) -> None:
        graph = self.graph
        self._predictor = EdgeMatrix(graph, graph.boundary)
        self._transport = EdgeMatrix(graph)
        options = symmetric_options(self._predictor.mat, constant=False, relative_tolerance=1e-7)
        self._predict = LinearSolver(self._predictor.mat, prefix="predictor", options=options, lag=True)
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

    def _initial_density(self, initial: Initial, species: int) -> np.ndarray:
        """Nodal values; each part is scaled so that its lumped mass is exact."""
        graph, density = self.graph, np.zeros(self.graph.local)
        for number, part in enumerate(initial.parts(species)):
            values = on_all(graph.comm, partial(part.density, graph.points))
            share = float(graph.sums.total(graph.area * values)[0]) / part.mass
            name = f"initial.{SPECIES[species]}[{number}]"
            if not share > SEEN_AT_LEAST:
                seen = f"the nodes of the mesh see {share:.3g} of its mass"
                raise InputError(f"{name}: {seen}; it lies outside the mesh, or between its nodes")
            if abs(share - 1) > UNRESOLVED:
                self.warnings.append(f"{name}: the nodes see {share:.4g} of its mass, which was scaled to all")
            density += values / share
        return density

    # --- one step -----------------------------------------------------------------------------------------------

    def step(self, dt: float) -> StepReport:
        """Advance by dt, or by less where the gate demands it.

        Raises:
            RunError: no step down to dt / 2^30 passes the gate.
        """
        if not 0 < dt < math.inf:
            raise InputError(f"dt = {dt}: must be finite and greater than 0")
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
        graph, model = self.graph, self.model
        scale = 2 * np.pi / bdf.implicit
        seen = np.zeros(len(graph.weight))
        for charge, density in zip(self.charges, expected, strict=True):
            add_mean_density(seen, graph.tail, graph.head, guess, density, model.D, charge * self._gamma_bar)
        conductance = graph.weight * (1.0 + scale * dt * self._gamma_bar * seen)
        self._predictor.set_laplacian(conductance)
        self._predictor.assemble()
        charge_expected, charge_history = self._charge(expected), self._charge(history)
        start = np.where(graph.boundary, self.poisson.boundary_data(charge_expected), guess)
        balance = np.zeros(graph.local)
        add_gradient_flux(balance, graph.tail, graph.head, conductance, start)
        add_gradient_flux(balance, graph.tail, graph.head, scale * dt * model.D * graph.weight, charge_expected)
        balance = graph.share_sum(balance) + scale * graph.area * charge_history
        balance[graph.boundary] = 0.0
        correction, iterations, reason = self._predict.solve(balance[: graph.owned])
        start[: graph.owned] += correction
        return graph.share(start), iterations, reason

    def _transport_density(
        self, index: int, dt: float, bdf: Bdf, history: np.ndarray, guess: np.ndarray, potential: np.ndarray
    ) -> tuple[np.ndarray, int, int]:
        """(B): the density of one species at the end of the step, (n_local,), iterations and PETSc's reason."""
        graph, owned = self.graph, self.graph.owned
        drift = self.charges[index] * self._gamma_bar
        fill_transport(self._transport.edges, graph.tail, graph.head, graph.weight, potential, self.model.D, drift)
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
        entropy = sum(xlogy(density, density) for density in densities)
        energy = self.model.D * entropy + self._gamma_bar / 2 * charge * potential
        (total,) = self.graph.sums.total(self.graph.area * energy)
        return State(densities, potential, float(total), self.graph.sums.maximum(*densities))

    def _refusal(self, trial: State | str) -> str | None:
        if isinstance(trial, str):
            return trial
        if not math.isfinite(trial.energy):
            return "the free energy is not finite"
        rise, scale = trial.energy - self._now.energy, abs(self._now.energy) + self.model.D * sum(self.mass)
        if rise > ROUNDING * scale:
            return f"the free energy rises by {rise:.3g}"
        if trial.maximum > (1 + MAXIMUM_RISE) * self._now.maximum:
            return f"the largest density rises from {self._now.maximum:.4g} to {trial.maximum:.4g}"
        return None

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
        return min(self.requested_step, self._gate_limit, ratio_limit)

    @property
    def _gamma_bar(self) -> float:
        return float(self.model.gamma_bar or 0.0)

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
        sums, area, x = self.graph.sums, self.graph.area, self.graph.points
        densities = self._now.densities
        total = area * sum(densities)
        outer = np.hypot(*(x - self.poisson.center).T) > 0.9 * self.poisson.radius
        values = sums.total(*(area * d for d in densities), total * (x**2).sum(axis=1), *(total * x.T), total * outer)
        names = [*(f"mass_{SPECIES[s]}" for s in self.species), "second_moment", "centre_x", "centre_y", "mass_outside"]
        extrema = {"minimum": sums.minimum(*densities), "maximum": self._now.maximum}
        named = dict(zip(names, map(float, values), strict=True))
        return {**named, "free_energy": self._now.energy, **extrema}
