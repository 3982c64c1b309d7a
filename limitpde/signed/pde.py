"""Solver of the signed Keller-Segel system (van Meurs-Peletier-Slangen (1.3) = (5.6)) and its relatives, degree one.

Steps, history, mesh and outputs; the equations and what a step solves stand in `limitpde.signed.scheme`.

Nothing linear is positive for every dt and of order two, and the free energy F = sum_s int (D rho_s log rho_s + U
rho_s) + (g / 2) int u (psi + psi_ext) decreases only up to some dt (psi_ext: the potential of charged walls). So each
step passes a gate (`limitpde.signed.gate`). What fails is repeated with backward Euler, then with half the step; the
report of the step says so.

Steps have a fixed size, but under attraction dt <= ACCURATE_STEP / (2 pi gamma_bar max rho) to follow a collapse; or
they follow a tolerance of the local error, which for BDF2 with steps h, h', h'' (the last one first) is

    h^2 (h + h') (1 + w) / (1 + 2 w) rho[t + h, t, t - h', t - h' - h''],   w = h / h',

a divided difference of the densities (for backward Euler h^2 rho[t + h, t, t - h']), damped like a step damps it.

The mesh may follow the densities between two steps (`limitpde.fem.refinement`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import dolfinx.fem
import dolfinx.mesh
import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from limitpde.errors import InputError, RunError
from limitpde.fem import mesh as meshes
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.lumped import LumpedQuadrature
from limitpde.fem.plane import PlanePoisson
from limitpde.fem.refinement import AdaptiveMesh, Refinement
from limitpde.fem.stepping import (
    GROWTH,
    LARGEST_RATIO,
    Bdf,
    Observer,
    StepReport,
    attempts,
    bdf_error_weights,
    controlled,
    march,
    too_long,
)
from limitpde.fem.sums import GlobalSums
from limitpde.fem.walls import WallPoisson
from limitpde.parallel import gathered
from limitpde.signed.blow_up import BlowUpError, has_blown_up
from limitpde.signed.gate import State, refusal
from limitpde.signed.model import SPECIES, Initial, Model
from limitpde.signed.scheme import Scheme
from limitpde.signed.setting import (
    BoundaryKind,
    MeshSource,
    adaptive_mesh,
    check_problem,
    initial_density,
    moments,
    wall_lines,
)

HALVINGS = 30
"""How often one step may be halved before the run is given up."""
ACCURATE_STEP = 0.05
"""Longest step under attraction, in units of 1 / (2 pi gamma_bar max rho), the time in which the peak would double."""
FIRST_STEP = 0.01
"""Part of the given step with which steps that follow a tolerance begin, or its root: two of them have no estimate."""
REMEMBERED = 2
"""States before the present one that are kept: one for BDF2, another for its error."""


class Solver:
    """Solver of the limit equation of the signed system. Every public method is collective.

    Args:
        model: the parameters; `gamma_bar` must be given.
        initial: the initial densities; each part is scaled so that its discrete mass is exact.

    Keyword Args:
        mesh: a disk, a box, the path of a gmsh file, or a DOLFINx mesh; for the plane its boundary must be a circle
            around all mass.
        step: size of the time step; also what `suggested_step` grows back to after the gate has cut it. With a
            tolerance, a hundredth of it is the first one, or less (its part sqrt(tolerance)).
        degree: polynomial degree; 1.
        tolerance: relative error in L2 that a step may make; steps of fixed size by default.
        refinement: how fine the mesh becomes where the densities need it; it stays as it is by default.
        boundary: psi at the boundary: that of the whole plane; zero ("grounded"); no field through it ("insulated", the
            net charge is neutralised by a uniform background); or a value for each conducting group of lines of a gmsh
            file, by name or number, where what is not named is insulated.
        multipoles: highest multipole moment in the boundary data of the potential.
        comm: communicator of the mesh.

    Raises:
        InputError: the model has no limit, the mesh is unfit, or it does not see the initial densities.

    Attributes:
        warnings: what to know before trusting the solution, such as initial data that the mesh hardly resolves.
        step_figures: figures of a step that a state alone does not have.
        adaptive: the mesh that follows the densities; None where it stays as it is.
    """

    STATE = "signed.Solver 1"

    def __init__(
        self,
        model: Model,
        initial: Initial,
        *,
        mesh: MeshSource,
        step: float,
        degree: int = 1,
        tolerance: float | None = None,
        refinement: Refinement | None = None,
        boundary: BoundaryKind = "plane",
        multipoles: int = 12,
        comm: MPI.Comm = MPI.COMM_WORLD,
    ) -> None:
        check_problem(model, initial, step, boundary)
        if degree != 1:
            raise InputError(f"pde.degree = {degree}: must be 1")
        self.model, self.requested_step = model, step
        self._tolerance = math.inf if tolerance is None else tolerance
        self.species = [s for s in range(len(SPECIES)) if initial.parts(s)]
        self.charges = [model.charges[s] for s in self.species]
        self.mass = [initial.mass(s) for s in self.species]
        self._make_scheme = partial(Scheme, model, self.charges, self.mass, boundary=boundary, multipoles=multipoles)
        lines, self.adaptive = wall_lines(mesh, boundary, comm), None
        if refinement is None:
            self._scheme = self._make_scheme(meshes.build(mesh, comm), lines=lines)
        else:
            self.adaptive = adaptive_mesh(mesh, refinement, initial, lines, comm, round_=boundary == "plane")
            self._scheme = self._scheme_of(self.adaptive)
        self.warnings: list[str] = []
        estimate = ("error_estimate",) if tolerance is not None else ()
        self.step_figures = (
            "free_energy_increase",
            "refused",
            "iterations_predictor",
            "iterations_transport",
            *estimate,
        )
        self._now = self._scheme.state([initial_density(self.graph, initial, s, self.warnings) for s in self.species])
        self._past: list[State] = []
        self._steps: list[float] = []  # sizes of the last ones, the last one first
        self._limit = math.inf if tolerance is None else step * min(FIRST_STEP, math.sqrt(tolerance))
        self._own_steps = REMEMBERED + 1.0  # on this mesh, those from before the first one counted in
        self._first_maximum, self._moved_energy = self._now.maximum, 0.0
        self.t = 0.0

    def _scheme_of(self, adaptive: AdaptiveMesh) -> Scheme:
        """The scheme on the present mesh."""
        return self._make_scheme(meshes.create(adaptive.arrays, adaptive.comm), lines=adaptive.lines())

    # --- one step -----------------------------------------------------------------------------------------------

    def step(self, dt: float) -> StepReport:
        """Advance by dt, or by less where the gate or the tolerance demands it.

        Raises:
            RunError: no step down to dt / 2^30 passes.
            BlowUpError: under attraction, the density has collapsed into a cell of the mesh.
        """
        if not 0 < dt < math.inf:
            raise InputError(f"dt = {dt}: must be finite and greater than 0")
        self._follow()
        self._check_resolution()
        refused: list[str] = []
        second_order = bool(self._past) and dt <= LARGEST_RATIO * self._steps[0] * (1 + 1e-9)
        longest = math.inf
        for size, order in attempts(dt, second_order=second_order, halvings=HALVINGS):
            if size >= longest:
                continue
            bdf = Bdf.of(order, size / self._steps[0] if self._steps else 1.0)
            judged = math.isfinite(self._tolerance) and len(self._past) >= order
            weights = bdf_error_weights(order, (size, *self._steps[:order])) if judged else None
            trial, error, iterations = self._scheme.advance(
                self._now, self._past, size, bdf, weights, damped=self._own_steps <= order
            )
            reason = self._refusal(trial, error)
            if error > self._tolerance:
                longest = size  # also for backward Euler
            if reason is None:
                return self._accept(trial, size, order, error, refused, iterations)
            refused.append(f"{'BDF2' if order == 2 else 'backward Euler'} with dt = {size:.6g}: {reason}")
        raise RunError(f"no step from t = {self.t:.6g} passes the gate; last: {refused[-1]}")

    def _refusal(self, trial: State | str, error: float) -> str | None:
        if error > self._tolerance:
            return too_long(error, self._tolerance)
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

    def _follow(self) -> None:
        """Go on with another mesh where the densities need one."""
        if self.adaptive is None:
            return
        states = [self._now, *self._past]
        others = [density for state in self._past for density in state.densities]
        moved = self.adaptive.follow(self.graph, self._scheme.numbers, self._now.densities, others)
        if moved is not None:
            before = self._now.energy
            self._change_mesh(self.adaptive)
            self._take(moved, len(states))
            self._moved_energy += self._now.energy - before
            self._own_steps = 0.0

    def _change_mesh(self, adaptive: AdaptiveMesh) -> None:
        old = self.mesh  # has the communicator on which the old matrices live
        self._scheme = self._scheme_of(adaptive)
        PETSc.garbage_cleanup(old.comm)  # ranks may free matrices together only

    def _take(self, nodal: np.ndarray, states: int) -> None:
        """Go on with states whose densities are given one after another, (n, columns) in the order of the mesh."""
        columns = list(np.ascontiguousarray(nodal[self._scheme.numbers].T))
        count = len(self.species)
        self._now, *self._past = (self._scheme.state(columns[k * count : (k + 1) * count]) for k in range(states))

    def _accept(
        self, trial: State | str, dt: float, order: int, error: float, refused: list[str], iterations: dict[str, float]
    ) -> StepReport:
        assert isinstance(trial, State)
        increase = trial.energy - self._now.energy
        self._past = [self._now, *self._past][:REMEMBERED]
        self._steps = [dt, *self._steps][:REMEMBERED]
        self._now = trial
        self._own_steps += 1
        if math.isinf(self._tolerance):
            self._limit = GROWTH * (dt if refused else self._limit)
        else:
            self._limit = controlled(dt, error / self._tolerance, order=order, refused=bool(refused))
        self.t += dt
        figures = self.figures() | {"free_energy_increase": increase, "refused": float(len(refused))} | iterations
        figures |= {} if math.isinf(self._tolerance) else {"error_estimate": error}
        return StepReport(t=self.t, dt=dt, order=order, refused=tuple(refused), figures=figures)

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs to go on from here, in the order of the input mesh; on rank 0. Collective."""
        states = [self._now, *self._past]
        owned = self.graph.owned
        nodal = np.array([density[:owned] for state in states for density in state.densities]).T
        found = {
            "clock": np.array([self.t, self._limit, self._moved_energy, self._own_steps]),
            "steps": np.array(self._steps),
            "densities": gathered(self.graph.comm, self._scheme.numbers[:owned], nodal),
        }
        if self.adaptive is not None and self.graph.comm.rank == 0:
            found |= {f"mesh_{name}": array for name, array in self.adaptive.state().items()}
        return found

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state`, given on every rank; on any number of ranks, up to rounding. Collective."""
        self.t, self._limit, self._moved_energy, self._own_steps = map(float, state["clock"])
        self._steps = list(map(float, state["steps"]))
        if self.adaptive is not None:
            self.adaptive.restore({name.removeprefix("mesh_"): state[name] for name in state if name[:5] == "mesh_"})
            self._change_mesh(self.adaptive)
        self._take(state["densities"], 1 + len(self._steps))

    def solve(self, end: float, *, stops: Iterable[float] = (), observers: Iterable[Observer] = ()) -> None:
        """Step up to time `end`, landing on every time in `stops`; each observer sees the report of each step.

        Raises:
            RunError: a step could not be made.
        """
        march(self, end, stops=stops, observers=observers)

    # --- what the state is ----------------------------------------------------------------------------------------

    @property
    def suggested_step(self) -> float:
        """The step that the tolerance suggests; else the requested one, or less where steps before it were short."""
        ratio_limit = LARGEST_RATIO * self._steps[0] if self._steps else math.inf
        if math.isfinite(self._tolerance):
            return min(self._limit, ratio_limit)
        rate = 2 * np.pi * -self.model.coupling * self._now.maximum
        return min(self.requested_step, self._limit, ratio_limit, ACCURATE_STEP / rate if rate > 0 else math.inf)

    @property
    def cell_share(self) -> float:
        """Largest share of all mass in one Voronoi cell. Collective."""
        return self.graph.sums.maximum(self.graph.area * sum(self._now.densities)) / sum(self.mass)

    @property
    def graph(self) -> EdgeGraph:
        """The edges of the present mesh."""
        return self._scheme.graph

    @property
    def mesh(self) -> dolfinx.mesh.Mesh:
        """The present triangulation."""
        return self.graph.mesh

    @property
    def quadrature(self) -> LumpedQuadrature:
        """Points that integrate products of densities: the nodes of the present mesh."""
        return self._scheme.quadrature

    @property
    def sums(self) -> GlobalSums:
        """Global sums over the nodes of the present mesh."""
        return self.graph.sums

    @property
    def poisson(self) -> PlanePoisson | WallPoisson:
        """The solver for psi on the present mesh."""
        return self._scheme.poisson

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
        values |= {"charge": self._scheme.net_charge(self._now.densities), "potential": self._now.potential}
        functions = {}
        for name, nodal in values.items():
            functions[name] = dolfinx.fem.Function(self.graph.space, name=name)
            functions[name].x.array[:] = nodal
        return {"fields": (self.mesh, functions)}

    def figures(self) -> dict[str, float]:
        """Invariants and extrema of the present state: masses, free energy, moments, smallest and largest value.

        Where the mesh follows the densities also its nodes, how often it has changed, and by how much that has changed
        the free energy.
        """
        graph, densities = self.graph, self._now.densities
        masses = {name: graph.area * density for name, density in self.densities.items()}
        found = moments(graph.sums, graph.points, masses, self.poisson.outer())
        extrema = {"minimum": graph.sums.minimum(*densities), "maximum": self._now.maximum}
        if self.model.sense < 0:
            extrema["cell_share"] = self.cell_share
        if self.adaptive is not None:
            changes = float(self.adaptive.changes)
            extrema |= {"nodes": float(graph.size), "mesh_changes": changes, "free_energy_moved": self._moved_energy}
        return {**found, "free_energy": self._now.energy, **extrema}
