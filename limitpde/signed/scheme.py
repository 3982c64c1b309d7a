"""The first-order scheme for the signed Keller-Segel system (van Meurs-Peletier-Slangen (1.3) = (5.6)), on one mesh.

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

Charges that annihilate take dt k rho*_+ rho*_- from both rho^, k = 4 pi gamma_bar, so that u keeps its integral.
L_w is the edge Laplacian weighted by the density that the flux sees, w = sum_s w_s. (A) takes the fast relaxation of
charge (rate 2 pi g rho) implicitly without a nonlinear solve. Attraction is the other way round: its energy is concave,
so that psi from before the step, psi_p = psi*, gives a linear step which with backward Euler lets the energy fall for
every dt. For vortices ("rotated") g = 0, psi_p = psi*, and the velocity v = gamma_bar K_perp * u, which has no
divergence, carries both densities through the Voronoi faces (`limitpde.fem.face_flux`):

    d_t rho_s + div(v rho_s) = D Lap rho_s,   v = gamma_bar (d_y psi, -d_x psi).

The matrix of (B) is an M-matrix with zero column sums of A_s: mass is conserved and backward Euler is positive for
every dt. BDF2 may go below zero where a density falls to less than a quarter in a step: up to REPAIRED of the mass is
then taken from the neighbours. Fitted fluxes add the diffusivity D (z coth z - 1), z = |v| h / (2 D): a third of D at
z = 1, and |v| h / 2 beyond, which is of first order. So for vortices, which have no equilibrium that fitted fluxes
would keep, and where z is above one somewhere, the fluxes are corrected to those of second order as far as the
densities stay between their neighbours (`limitpde.fem.flux_correction`): for D = 0 the error is of second order where
they are smooth, of order one in L1 where they jump.

While an estimate e of the local error reaches across a change of the mesh, e' with (c m + dt A_s) e' = c m e stands for
it (Shampine 1984): it leaves out the traces of the change, which the step damps. It would leave out errors of the
potential as well, so that it is not for other steps.
"""

from __future__ import annotations

import math
from functools import cached_property, partial

import dolfinx.mesh
import numpy as np

from limitpde.densities import Uniform
from limitpde.fem.attempt import Attempt, FirstGuess
from limitpde.fem.cell_fluxes import CellFluxes
from limitpde.fem.edge_flux import climb_along, fill_transport, predictor_edges
from limitpde.fem.edges import EdgeGraph, EdgeMatrix
from limitpde.fem.face_flux import FaceFluxes
from limitpde.fem.flux_correction import CellPeclet, FluxCorrection, repaired
from limitpde.fem.gate import ROUNDING, GatedState
from limitpde.fem.gated import BDF_FORMULAS, Formula, History, Trial
from limitpde.fem.linear import LinearSolver, Options, symmetric_options
from limitpde.fem.lumped import LumpedQuadrature
from limitpde.fem.original import original_nodes
from limitpde.parallel import on_all
from limitpde.signed.model import SPECIES, Initial, Model
from limitpde.signed.options import BoundaryKind, TransportBy
from limitpde.signed.setting import WallLines, exterior_potential, has_reached_edge, potential_solver, seen_share

REPAIRED = 1e-5
"""Share of the mass below zero in a step that is taken from the neighbours (`repaired`); above, the step is refused."""

FASTEST = 0.5
"""Largest part of a density that may vanish in a step: more would leave the second formula nothing."""

LEAST = 1e-300
"""A density for which rho log rho is nothing; logarithms of zero are not."""

TRANSPORT: Options = {
    "ksp_type": "bcgs",
    "pc_type": "jacobi",
    "ksp_rtol": ROUNDING / 10,
    "ksp_divtol": 1e12,
    "ksp_max_it": 1500,
}
"""Of the solver of (B), for a matrix near its diagonal."""

type NodalRows = np.ndarray | list[np.ndarray]


class Scheme:
    """Matrices and steps of the scheme on a mesh; time and history are the solver's. Collective.

    Args:
        model: the parameters.
        charges: b_s of the species present.
        masses: of the species present, which every state is scaled to.
        mesh: the triangles.

    Keyword Args:
        boundary: see `limitpde.signed.pde.Solver`.
        multipoles: highest multipole moment in the boundary data of the potential.
        lines: see `limitpde.signed.setting.wall_lines`.
        transport, corrected_from: see `limitpde.signed.pde.Solver`.

    Attributes:
        nodes, graph: the edges of the mesh.
        numbers: (n_local,) of the nodes in the input mesh.
        quadrature: points that integrate products of densities: the nodes.
        poisson: the solver for psi.
        outer: (n_local,) bool, nodes too far out to be trusted.
    """

    formulas: tuple[Formula, ...] = BDF_FORMULAS
    remembered, halvings = 2, 30
    step_figures: tuple[str, ...] = ("iterations_predictor", "iterations_transport", "cell_peclet")

    def __init__(
        self,
        model: Model,
        charges: list[float],
        masses: list[float],
        mesh: dolfinx.mesh.Mesh,
        *,
        boundary: BoundaryKind,
        multipoles: int,
        lines: WallLines | None,
        transport: TransportBy = "auto",
        corrected_from: float = 1.0,
    ) -> None:
        self._model, self._charges, self._masses = model, charges, masses
        self.nodes = self.graph = graph = EdgeGraph(mesh)
        self.numbers = original_nodes(graph.space)
        self.quadrature = LumpedQuadrature(graph)
        self.poisson = potential_solver(graph, boundary, multipoles, lines)
        self.outer = self.poisson.outer()
        self._exterior = exterior_potential(graph, model)
        if model.coupling > 0:  # else (A) is not needed, and PETSc would point at options that nothing used
            self._predictor = EdgeMatrix(graph, self.poisson.fixed)
            options = symmetric_options(self._predictor.mat, constant=False, relative_tolerance=1e-7)
            options["ksp_norm_type"] = "unpreconditioned"  # one use of the preconditioner less, and of a guess
            self._predict = LinearSolver(
                self._predictor.mat, prefix="predictor", options=options, lag=True, lender=self.poisson.solver
            )
        if model.circulation > 0:
            self._face_fluxes = FaceFluxes(graph)
        self._guess_potential, self._guess_density = FirstGuess(), [FirstGuess() for _ in charges]
        self._transport_by, self._corrected_from = transport, corrected_from
        self._correction, self._peclet = FluxCorrection(graph), CellPeclet(graph)
        self._transport = EdgeMatrix(graph)
        self._solve_transport = LinearSolver(self._transport.mat, prefix="transport", options=TRANSPORT)

    def initial_density(self, initial: Initial, species: int, warnings: list[str]) -> np.ndarray:
        """Nodal values, (n_local,); each part is scaled so that its lumped mass is exact. Collective.

        Args:
            initial: the densities.
            species: 0 for the positive, 1 for the negative charges.
            warnings: gains a line for each part that the nodes hardly resolve.

        Raises:
            InputError: the nodes do not see a part.
        """
        graph, density = self.graph, np.zeros(self.graph.local)
        middles = 0.5 * (graph.points[graph.tail] + graph.points[graph.head])
        for number, part in enumerate(initial.parts(species)):
            if isinstance(part, Uniform):
                density += part.mass / float(graph.sums.total(graph.area)[0])
                continue
            values = on_all(graph.comm, partial(part.density, graph.points))
            between = on_all(graph.comm, partial(part.density, middles))
            mass, squares = map(float, graph.sums.total(graph.area * values, (graph.area * values) ** 2))
            other = float(graph.sums.add(np.array([between @ graph.beside / 3]))[0])
            name, held = f"initial.{SPECIES[species]}[{number}]", mass**2 / squares if squares > 0 else 0.0
            density += values / seen_share(name, mass / part.mass, other / part.mass, held, warnings)
        return density

    def advance(self, history: History, dt: float, order: int, *, judged: bool) -> Trial:
        """A step: (A), (B), (C). Collective.

        Args:
            history: where it starts, and where those before it started.
            dt: size of the step.
            order: 2 (BDF2) or 1 (backward Euler).

        Keyword Args:
            judged: estimate the local error, without what the step itself damps of a change of the mesh.
        """
        trial, corrected = self._advance(history, dt, order, judged=judged, fitted=self._transport_by == "fitted")
        free = self._transport_by == "corrected" or self._model.circulation > 0 or isinstance(trial.end, str)
        if not corrected or free or trial.end.energy <= history.now.energy:  # type: ignore[union-attr]
            return trial
        return self._advance(history, dt, order, judged=judged, fitted=True)[0]  # exact where all fluxes balance

    def _advance(self, history: History, dt: float, order: int, *, judged: bool, fitted: bool) -> tuple[Trial, bool]:
        """A step with fitted fluxes, or as the drift asks for, and whether they were corrected. Collective."""
        states, bdf, sums = (history.now, *history.past), history.bdf(order, dt), self.graph.sums
        attempt = Attempt(history, dt, order, bdf, history.error_weights(order, dt) if judged else None)
        rows = [[state.densities[s] for state in states] for s in range(len(self._charges))]
        known = [attempt.combined(bdf.history, row) for row in rows]
        expected = [np.maximum(attempt.combined(bdf.extrapolation, row), 0.0) for row in rows]
        masses, rate = self._masses, dt * self._model.reaction
        if rate and len(expected) == 2:
            if rate * sums.maximum(*expected) > FASTEST:
                return Trial("the annihilation is too fast for the step"), False
            known = [density - rate * expected[0] * expected[1] for density in known]
            masses = [float(mass) / bdf.implicit for mass in sums.total(*(self.graph.area * k for k in known))]
        predicted, count, reason = self._predict_potential(attempt, known, expected)
        figures = {"iterations_predictor": float(count), "iterations_transport": 0.0, "cell_peclet": 0.0}
        if reason < 0:
            text = f"the predictor of the potential did not converge (PETSc reason {reason})"
            return Trial(text, figures=figures), False
        barriers = [self._barrier(charge, predicted) for charge in self._charges]
        vortices = self._model.circulation > 0
        carriers = [self._model.circulation * predicted] * len(barriers) if vortices else barriers
        figures["cell_peclet"] = peclet = self._peclet(carriers, history.now, self._model.D)
        strong = vortices or peclet > self._corrected_from
        corrected = not fitted and (strong or self._transport_by == "corrected")
        densities, errors = [], []
        for index, climb in enumerate(self._climbs(barriers, predicted)):
            moved = self._moved(attempt, index, known[index], rows[index], climb, corrected=corrected)
            density, error, count, reason = moved
            figures["iterations_transport"] += count
            if reason < 0:
                text = f"the transport solve did not converge (PETSc reason {reason})"
                return Trial(text, figures=figures), corrected
            densities.append(density)
            errors += [] if error is None else [error]
        estimate = self._norm(errors) / self._norm(densities) if errors else 0.0
        return Trial(self._checked_state(densities, masses), estimate if judged else None, figures), corrected

    def _moved(
        self,
        attempt: Attempt,
        index: int,
        known: np.ndarray,
        row: list[np.ndarray],
        climb: np.ndarray,
        *,
        corrected: bool,
    ) -> tuple[np.ndarray, np.ndarray | None, int, int]:
        """(B) for one species: density and its local error, (n_local,), iterations and PETSc's reason. Collective."""
        graph, bdf, dt = self.graph, attempt.bdf, attempt.dt
        fill_transport(self._transport.edges, graph.weight, climb, self._model.D, dt)
        self._transport.diagonal[:] = bdf.implicit * graph.area[: graph.owned]
        self._transport.assemble()
        foreseen = attempt.foreseen(row)
        guess = self._guess_density[index](attempt, foreseen)
        density, count, reason = self._transported(known, guess)
        if reason < 0:
            return density, None, count, reason
        self._guess_density[index].learn(foreseen, density)
        if corrected:
            density, extra, reason = self._correction(
                density,
                self._transport.edges,
                known,
                row[0],
                climb=climb,
                diffusivity=self._model.D,
                dt=dt,
                implicit=bdf.implicit,
            )
            count += extra
        if attempt.weights is None or reason < 0:
            return density, None, count, reason
        seen = [density, *row[: len(attempt.weights) - 1]]
        error = np.asarray(sum(w * values for w, values in zip(attempt.weights, seen, strict=True)))
        if attempt.history.own_steps <= attempt.order:
            error, extra, reason = self._transported(bdf.implicit * error, error)
            count += extra
        return density, error, count, reason

    def _predict_potential(
        self, attempt: Attempt, history: list[np.ndarray], expected: list[np.ndarray]
    ) -> tuple[np.ndarray, int, int]:
        """(A): the potential at the end of the step, (n_local,), iterations and PETSc's reason. Collective."""
        graph, owned, fixed, bdf = self.graph, self.graph.owned, self.poisson.fixed, attempt.bdf
        row = [state.potential for state in (attempt.history.now, *attempt.history.past)]
        guess = attempt.combined(bdf.extrapolation, row)
        if self._model.coupling <= 0:
            return guess, 0, 1
        start = self.poisson.lifted(self.net_charge(expected), guess)
        conductance, balance = np.empty(len(graph.weight)), np.zeros(graph.local)
        predictor_edges(
            conductance,
            balance,
            graph.tail,
            graph.head,
            graph.weight,
            np.array(expected),
            np.array(self._charges),
            np.stack([guess, self._exterior, start]),
            self._model.coupling,
            self._model.D,
            2 * np.pi * attempt.dt / bdf.implicit,
        )
        self._predictor.set_laplacian(conductance)
        self._predictor.assemble()
        balance = graph.share_sum(balance) + self.poisson.source(self.net_charge(history)) / bdf.implicit
        balance[fixed] = 0.0
        foreseen = attempt.foreseen(row)
        likely = np.where(fixed, 0.0, self._guess_potential(attempt, foreseen) - start)
        correction, iterations, reason = self._predict.solve(balance[:owned], likely[:owned])
        start[:owned] += correction
        predicted = graph.share(start)
        if reason > 0:
            self._guess_potential.learn(foreseen, predicted)
        return predicted, iterations, reason

    def _climbs(self, barriers: list[np.ndarray], potential: np.ndarray) -> list[np.ndarray]:
        """Of each species what its drift takes from the head of an edge to the tail, per density, (n_edges,)."""
        graph = self.graph
        climbs = [climb_along(graph.tail, graph.head, graph.weight, barrier) for barrier in barriers]
        if self._model.circulation == 0:
            return climbs
        carried = self._face_fluxes(self._model.circulation * potential)
        return [climb - carried for climb in climbs]

    def _transported(self, history: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, int, int]:
        """(B): the solution for m history on the right, (n_local,), iterations and PETSc's reason."""
        graph, owned = self.graph, self.graph.owned
        right_side = graph.area[:owned] * history[:owned]
        density, iterations, reason = self._solve_transport.solve(right_side, guess[:owned])
        return graph.share(density), iterations, reason

    def _checked_state(self, densities: list[np.ndarray], masses: list[float]) -> GatedState | str:
        """The state of these densities, scaled to the masses that they should have, or why they cannot be one."""
        sums, area = self.graph.sums, self.graph.area
        lowest, largest = sums.extremes(*densities)
        if not math.isfinite(lowest + largest):
            return "the density is not finite"
        if lowest < -ROUNDING * largest:
            below = sum(float(sums.total(area * np.maximum(-density, 0.0))[0]) for density in densities)
            if below > REPAIRED * sum(masses):
                return f"the density falls to {lowest:.3g}, {below:.3g} of it below zero"
            densities = [repaired(self.graph, density) for density in densities]
        densities = [np.maximum(density, 0.0) for density in densities]
        held = sums.total(*(area * density for density in densities))
        return self.state([d * (m / found) for d, m, found in zip(densities, masses, held, strict=True)])

    def state(self, densities: NodalRows) -> GatedState:
        """(C): potential and free energy of these densities, (n_local,) each. Collective."""
        charge = self.net_charge(densities)
        potential = self.poisson.solve(charge)
        energy = self._model.coupling / 2 * charge * (potential + self.poisson.external)
        for density in densities:
            energy += self._model.D * density * np.log(np.maximum(density, LEAST)) + self._exterior * density
        sums = self.graph.sums
        total = float(sums.total(self.graph.area * energy)[0])
        mass = np.sum([self.graph.area * density for density in densities], axis=0)
        walled = has_reached_edge(sums, mass, self.outer)
        return GatedState(densities, potential, total, *sums.extremes(*densities), walled)

    def vectors(self, now: GatedState, names: list[str]) -> list[dolfinx.fem.Function]:
        """E = -grad psi and the flux of each density in this state, constant on each cell. Collective.

        The fluxes are those along the edges, fitted where those of a step are; they move the mass that a step moves.
        """
        cells, model, found = self._cell_fluxes, self._model, [self._cell_fluxes.diffusion(now.potential, 1.0)]
        barriers = [self._barrier(charge, now.potential) for charge in self._charges]
        strong = self._peclet(barriers, now, model.D) > self._corrected_from
        fitted = self._transport_by == "fitted" or (self._transport_by == "auto" and not strong)
        velocity = model.circulation * found[0][:, ::-1] * (-1.0, 1.0)
        for density, barrier in zip(now.densities, barriers, strict=True):
            carried = cells.means(density)[:, None] * velocity
            found.append(carried + cells.drift_diffusion(density, barrier, model.D, fitted=fitted))
        return [cells.function(name, vectors) for name, vectors in zip(names, found, strict=True)]

    @cached_property
    def _cell_fluxes(self) -> CellFluxes:
        return CellFluxes(self.graph.space)

    def _norm(self, densities: list[np.ndarray]) -> float:
        """In L2, of all species together, by the lumped rule. Collective."""
        return float(np.sqrt(self.graph.sums.total(self.graph.area * sum(d**2 for d in densities))[0]))

    def tested(self, density: np.ndarray) -> np.ndarray:
        """int rho v_i, (n_local,)."""
        return self.graph.area * density

    def net_charge(self, densities: NodalRows) -> np.ndarray:
        """u = sum_s b_s rho_s, (n_local,)."""
        return np.asarray(sum(b * density for b, density in zip(self._charges, densities, strict=True)))

    def _barrier(self, charge: float, potential: np.ndarray) -> np.ndarray:
        """V = b g psi + U at the nodes, (n_local,), of the charge b in psi."""
        return charge * self._model.coupling * potential + self._exterior
