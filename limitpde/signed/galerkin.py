"""Elements of degree two to four for the signed Keller-Segel system (van Meurs-Peletier-Slangen (1.3)): smooth data.

The weak form (d_t rho_s, v) + D (grad rho_s, grad v) = -(rho_s grad V_s, grad v), V_s = b_s g psi + U as in
`limitpde.signed.pde`, tested with the elements themselves on triangles that follow the circle, psi of the whole plane
(`limitpde.fem.plane`). Time: the additive Runge-Kutta pair of order four of `limitpde.fem.imex`, diffusion implicit,
drift explicit; all its stages have one matrix, M + dt D K / 4. Mass is conserved to rounding (the constant is a test
function). Nothing keeps the densities positive, nor the free energy falling: a gate like that of the first-order
solver, with room for undershoots that the user sets, refuses steps that show it and halves them. Drift limits the step
to about 1 / (2 pi gamma_bar max rho); with a tolerance the step follows the difference of the embedded result of order
three.

For data that are not smooth, strong drift and blow-up: degree 1 (`limitpde.signed.pde`), which keeps its guarantees.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import dolfinx.fem
import dolfinx.la
import dolfinx.mesh
import numpy as np
import ufl
from mpi4py import MPI
from petsc4py import PETSc
from scipy.special import xlogy

from limitpde.densities import Uniform, checked_share
from limitpde.errors import InputError, RunError
from limitpde.fem import imex
from limitpde.fem import mesh as meshes
from limitpde.fem.curved import build_curved
from limitpde.fem.lagrange import LagrangeSpace
from limitpde.fem.linear import LinearSolver
from limitpde.fem.original import original_nodes
from limitpde.fem.plane import PlanePoisson
from limitpde.fem.stepping import Observer, StepReport, controlled, march, too_long
from limitpde.parallel import gathered, on_all
from limitpde.signed.gate import State, refusal
from limitpde.signed.model import SPECIES, Initial, Model
from limitpde.signed.setting import check_problem, exterior_potential, moments

DEGREES = (2, 3, 4)
ENERGY_RISE = 1e-9
"""Part of its scale by which a step may raise the free energy, which the equation lets only fall."""
HALVINGS = 20
"""How often one step may be halved before the run is given up."""
KEPT = 3
"""Step sizes whose matrices are kept factorised."""


class GalerkinSolver:
    """Solver of the limit equation for smooth data in the whole plane. Every public method is collective.

    Args:
        model: the parameters; `gamma_bar` must be given.
        initial: the initial densities; each part is scaled so that its discrete mass is exact.

    Keyword Args:
        mesh: a disk, the path of a gmsh file, or a DOLFINx mesh; its boundary must be a circle around all mass.
        step: size of the time step; the first one where a tolerance is given.
        degree: polynomial degree, 2, 3 or 4.
        tolerance: relative error in L2 that a step may make; steps of fixed size by default.
        undershoot: how far below zero densities may fall, as a part of their largest value.
        multipoles: highest multipole moment in the boundary data of the potential.
        comm: communicator of the mesh.

    Raises:
        InputError: the model has no limit, the mesh is unfit, or it does not see the initial densities.

    Attributes:
        warnings: what to know before trusting the solution, such as initial data that the mesh hardly resolves.
        quadrature: points that integrate products of densities.
        sums: global sums.
        step_figures: figures of a step that a state alone does not have.
    """

    STATE = "signed.GalerkinSolver 1"

    def __init__(
        self,
        model: Model,
        initial: Initial,
        *,
        mesh: meshes.Disk | str | Path | dolfinx.mesh.Mesh,
        step: float,
        degree: int = 2,
        tolerance: float | None = None,
        undershoot: float = 1e-3,
        multipoles: int = 12,
        comm: MPI.Comm = MPI.COMM_WORLD,
    ) -> None:
        if degree not in DEGREES:
            raise InputError(f"pde.degree = {degree}: must be 2, 3 or 4 here, or 1 with `Solver`")
        check_problem(model, initial, step, "plane")
        if model.interaction == "rotated":
            raise InputError(f"pde.degree = {degree}: must be 1 with model.interaction = 'rotated'")
        self.model, self.requested_step = model, step
        self.step_figures = ("free_energy_increase", "refused", "error_estimate")
        self._tolerance, self._undershoot = tolerance, undershoot
        self.space = LagrangeSpace(build_curved(mesh, degree, comm), degree)
        self.quadrature, self.sums = self.space.quadrature, self.space.sums
        self.poisson = PlanePoisson(self.space, multipoles=multipoles)
        self.species = [s for s in range(len(SPECIES)) if initial.parts(s)]
        self.charges = [model.charges[s] for s in self.species]
        self.mass = [initial.mass(s) for s in self.species]
        self.warnings: list[str] = []
        self._solvers: dict[float, LinearSolver] = {0.0: self.space.helmholtz(0.0)}
        self._prepare_drift()
        self._exterior = exterior_potential(self.space, model)
        self._now = self._state(np.stack([self._initial_density(initial, s) for s in self.species]))
        reason = self._below_zero(self._now)
        if reason:
            raise InputError(
                f"pde.mesh: at time 0 {reason}: degree {degree} needs a finer mesh, a larger pde.undershoot or "
                "smoother data; degree 1 takes any"
            )
        self.t, self._next, self._limit = 0.0, step, math.inf

    def _prepare_drift(self) -> None:
        """Compile -(rho grad V, grad v)."""
        V = self.space.space
        self._rho, self._barrier = dolfinx.fem.Function(V), dolfinx.fem.Function(V)
        v = ufl.TestFunction(V)
        self._drift = dolfinx.fem.form(-self._rho * ufl.inner(ufl.grad(self._barrier), ufl.grad(v)) * ufl.dx)
        self._load = np.zeros(self.space.local)

    def _initial_density(self, initial: Initial, species: int) -> np.ndarray:
        """Projection in L2; each part is scaled so that its mass is exact."""
        space, density = self.space, np.zeros(self.space.local)
        for number, part in enumerate(initial.parts(species)):
            assert not isinstance(part, Uniform)  # `check_problem` lets none pass
            values = on_all(space.comm, partial(part.density, space.quadrature.points))
            load = space.gather(space.quadrature.tested(values))
            share = float(space.sums.total(load)[0]) / part.mass
            name, eyes = f"initial.{SPECIES[species]}[{number}]", ("the mesh sees", "the mesh sees")
            density += self._solved(load, 0.0) / checked_share(name, share, self.warnings, eyes=eyes)
        return density

    # --- the terms of the weak form -----------------------------------------------------------------------------------

    def _potential_of(self, densities: np.ndarray) -> np.ndarray:
        """psi, (n_local,), of densities (S, n_local)."""
        return self.poisson.solve(np.tensordot(self.charges, densities, axes=1))

    def _drifts(self, densities: np.ndarray) -> np.ndarray:
        """-(rho_s grad V_s, grad v_i), (S, n_local), right where owned."""
        known = densities is self._now.densities  # at the start of a step
        potential = self._now.potential if known else self._potential_of(densities)
        found = np.empty_like(densities)
        for row, charge, density in zip(found, self.charges, densities, strict=True):
            self._barrier.x.array[:] = charge * self.model.coupling * potential + self._exterior
            self._rho.x.array[:] = density
            self._load[:] = 0.0
            dolfinx.fem.assemble_vector(self._load, self._drift)
            row[:] = self.space.gather(self._load)
        return found

    def _diffusion(self, densities: np.ndarray) -> np.ndarray:
        """D (grad rho_s, grad v_i), (S, n_local), right where owned."""
        return self.model.D * np.stack([self.space.laplacian(density) for density in densities])

    def _mass_times(self, densities: np.ndarray) -> np.ndarray:
        """(rho_s, v_i), (S, n_local), right where owned."""
        return np.stack([self.space.tested(density) for density in densities])

    def _solved(self, right_side: np.ndarray, factor: float) -> np.ndarray:
        """The solution of (M + factor K) u = right side, (n_local,) each."""
        if factor not in self._solvers:
            for old in [f for f in self._solvers if f > 0][: -KEPT or None]:
                del self._solvers[old]
            PETSc.garbage_cleanup(self.space.comm)  # what was deleted, which ranks may free together only
            self._solvers[factor] = self.space.helmholtz(factor)
        solution, _, reason = self._solvers[factor].solve(right_side[: self.space.owned])
        if reason < 0:
            raise RunError(f"a linear system of the diffusion could not be solved (PETSc reason {reason})")
        return self.space.share(solution)

    # --- one step -----------------------------------------------------------------------------------------------------

    def step(self, dt: float) -> StepReport:
        """Advance by dt, or by less where the gate or the tolerance demands it.

        Raises:
            RunError: no step down to dt / 2^20 passes.
        """
        if not 0 < dt < math.inf:
            raise InputError(f"dt = {dt}: must be finite and greater than 0")
        refused: list[str] = []
        for _ in range(HALVINGS + 1):
            densities, error = self._advance(dt)
            trial = self._state(densities)
            reason = self._refusal(trial, error)
            if reason is None:
                break
            refused.append(f"order {imex.ORDER} with dt = {dt:.6g}: {reason}")
            dt /= 2
        else:
            raise RunError(f"no step from t = {self.t:.6g} passes the gate; last: {refused[-1]}")
        increase = trial.energy - self._now.energy
        self._now = trial
        self.t += dt
        self._next = self._following(dt, error, bool(refused))
        own = {"free_energy_increase": increase, "refused": float(len(refused)), "error_estimate": error}
        return StepReport(t=self.t, dt=dt, order=imex.ORDER, refused=tuple(refused), figures=self.figures() | own)

    def _advance(self, dt: float) -> tuple[np.ndarray, float]:
        """Densities after a step, and the relative difference of the embedded result in L2."""
        factor = _rounded(imex.GAMMA * dt * self.model.D)

        def each(factor: float) -> imex.Linear:
            return lambda right_sides: np.stack([self._solved(side, factor) for side in right_sides])

        with np.errstate(over="ignore", invalid="ignore"):  # the gate sees what is not finite
            densities, error = imex.step(
                self._now.densities,
                dt,
                explicit=self._drifts,
                stiffness=self._diffusion,
                mass=self._mass_times,
                solve=each(factor),
                solve_mass=each(0.0),
            )
            size, wrong = self.space.sums.total(
                (densities * self._mass_times(densities)).sum(axis=0), (error * self._mass_times(error)).sum(axis=0)
            )
            return densities, float(np.sqrt(wrong / size))

    def _refusal(self, trial: State, error: float) -> str | None:
        if not all(map(math.isfinite, (trial.energy, trial.maximum, error))):
            return "the solution is not finite"
        if self._tolerance is not None and error > self._tolerance:
            return too_long(error, self._tolerance)
        falling = self.model.coupling >= 0 and self.model.confinement is None
        scale = self.model.D * sum(self.mass)
        return self._below_zero(trial) or refusal(
            self._now, trial, scale=scale, falling_maximum=falling, energy_rise=ENERGY_RISE
        )

    def _below_zero(self, state: State) -> str | None:
        minimum = self.sums.minimum(*state.densities)
        if minimum >= -self._undershoot * state.maximum:
            return None
        return f"a density falls to {minimum:.3g}, below -{self._undershoot:g} of the largest, {state.maximum:.4g}"

    def _following(self, dt: float, error: float, refused: bool) -> float:
        """The step to try next."""
        if self._tolerance is None:
            self._limit = dt if refused else 2 * self._limit
            return min(self.requested_step, self._limit)
        return controlled(dt, error / self._tolerance, order=imex.ORDER - 1, refused=refused)  # of the embedded result

    def solve(self, end: float, *, stops: Iterable[float] = (), observers: Iterable[Observer] = ()) -> None:
        """Step up to time `end`, landing on every time in `stops`; each observer sees the report of each step.

        Raises:
            RunError: a step could not be made.
        """
        march(self, end, stops=stops, observers=observers)

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs to go on from here, in the order of the input mesh; on rank 0. Collective."""
        space, owned = self.space, self.space.owned
        numbers = original_nodes(space.space)[:owned]
        return {
            "clock": np.array([self.t, self._next, self._limit]),
            "densities": gathered(space.comm, numbers, self._now.densities[:, :owned].T.copy()),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state`, given on every rank; on any number of ranks, up to rounding. Collective."""
        self.t, self._next, self._limit = map(float, state["clock"])
        self._now = self._state(np.ascontiguousarray(state["densities"][original_nodes(self.space.space)].T))

    # --- what the state is --------------------------------------------------------------------------------------------

    @property
    def suggested_step(self) -> float:
        """The requested step, or what the tolerance or the gate makes of it."""
        return self._next

    def _state(self, densities: np.ndarray) -> State:
        """The state of these densities, (S, n_local)."""
        potential = self._potential_of(densities)
        return State(densities, potential, self._energy(densities, potential), self.sums.maximum(*densities))

    def _energy(self, densities: np.ndarray, potential: np.ndarray) -> float:
        """F = sum_s int (D rho_s log rho_s + U rho_s) + (g / 2) int u psi; values below zero have no entropy."""
        quadrature, entropy = self.space.quadrature, 0.0
        for density in densities:
            values = np.maximum(quadrature.values(density), 0.0)
            entropy += float(quadrature.weights @ xlogy(values, values))
        tested = self._mass_times(densities)
        net = np.tensordot(self.charges, tested, axes=1)
        field, outside = self.space.sums.total(potential * net, self._exterior * tested.sum(axis=0))
        entropy = float(self.space.sums.add(np.array(entropy)))
        return self.model.D * entropy + 0.5 * self.model.coupling * float(field) + float(outside)

    @property
    def mesh(self) -> dolfinx.mesh.Mesh:
        """The triangulation of the disk."""
        return self.space.mesh

    @property
    def dofs(self) -> int:
        """Unknowns of all densities and of the potential."""
        return self.space.size * (len(self.species) + 1)

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
        values |= {"charge": np.tensordot(self.charges, self._now.densities, axes=1), "potential": self.potential}
        return {"fields": (self.mesh, {name: self.space.function(name, nodal) for name, nodal in values.items()})}

    def figures(self) -> dict[str, float]:
        """Invariants and extrema of the present state: masses, free energy, moments, smallest and largest value."""
        masses = {name: self.space.tested(density) for name, density in self.densities.items()}
        found = moments(self.sums, self.space.points, masses, self.poisson.outer())
        extrema = {"minimum": self.sums.minimum(*self._now.densities), "maximum": self._now.maximum}
        return {**found, "free_energy": self._now.energy, **extrema}


def _rounded(factor: float) -> float:
    """A factor without the rounding of step sizes that should be equal, so that their matrices are shared."""
    return float(f"{factor:.12g}")
