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
from collections.abc import Sequence
from functools import cached_property, partial

import basix
import basix.ufl
import dolfinx.fem
import dolfinx.mesh
import numpy as np
import ufl
from petsc4py import PETSc
from scipy.special import xlogy

from limitpde.densities import Uniform
from limitpde.errors import RunError
from limitpde.fem import imex, jit
from limitpde.fem.flux_correction import CellPeclet
from limitpde.fem.gate import GatedState
from limitpde.fem.gated import Formula, History, Trial
from limitpde.fem.lagrange import LagrangeSpace
from limitpde.fem.linear import LinearSolver
from limitpde.fem.original import original_nodes
from limitpde.fem.plane import PlanePoisson
from limitpde.parallel import on_all
from limitpde.signed.model import SPECIES, Initial, Model
from limitpde.signed.setting import exterior_potential, has_reached_edge, seen_share

KEPT = 3
"""Step sizes whose matrices are kept factorised."""


class GalerkinScheme:
    """Elements and steps of the scheme; time is the solver's. Collective.

    Args:
        model: the parameters.
        charges: b_s of the species present.
        mesh: the triangles, straight or curved.
        degree: polynomial degree.
        multipoles: highest multipole moment in the boundary data of the potential.

    Attributes:
        nodes: the elements.
        numbers: (n_local,) of the nodes in the input mesh.
        quadrature: points that integrate products of densities.
        poisson: the solver for psi.
    """

    formulas: tuple[Formula, ...] = (Formula(f"order {imex.ORDER}", imex.ORDER, imex.ORDER - 1),)
    remembered, halvings = 0, 20
    step_figures: tuple[str, ...] = ("cell_peclet",)

    def __init__(
        self, model: Model, charges: Sequence[float], mesh: dolfinx.mesh.Mesh, degree: int, multipoles: int
    ) -> None:
        self._model, self._charges = model, charges
        self.nodes = LagrangeSpace(mesh, degree)
        self.numbers = original_nodes(self.nodes.space)
        self.quadrature = self.nodes.quadrature
        self.poisson = PlanePoisson(self.nodes, multipoles=multipoles)
        self._solvers: dict[float, LinearSolver] = {0.0: self.nodes.helmholtz(0.0)}
        self.outer = self.poisson.outer()
        self._prepare_drift()
        self._exterior = exterior_potential(self.nodes, model)
        self._peclet = CellPeclet(self.nodes)

    def _prepare_drift(self) -> None:
        """Compile -(rho grad V, grad v)."""
        V = self.nodes.space
        self._rho, self._barrier = dolfinx.fem.Function(V), dolfinx.fem.Function(V)
        v = ufl.TestFunction(V)
        self._drift = jit.form(-self._rho * ufl.inner(ufl.grad(self._barrier), ufl.grad(v)) * ufl.dx)
        self._load = np.zeros(self.nodes.local)

    def initial_density(self, initial: Initial, species: int, warnings: list[str]) -> np.ndarray:
        """Projection in L2, (n_local,); each part is scaled so that its mass is exact. Arguments: see `Scheme`."""
        space, density = self.nodes, np.zeros(self.nodes.local)
        for number, part in enumerate(initial.parts(species)):
            assert not isinstance(part, Uniform)  # `check_problem` lets none pass
            values = on_all(space.comm, partial(part.density, space.quadrature.points))
            load = space.gather(space.quadrature.tested(values))
            share = float(space.sums.total(load)[0]) / part.mass
            name, eyes = f"initial.{SPECIES[species]}[{number}]", ("the mesh sees", "the mesh sees")
            density += self._solved(load, 0.0) / seen_share(name, share, share, math.inf, warnings, eyes=eyes)
        return density

    # --- the terms of the weak form -----------------------------------------------------------------------------------

    def _potential_of(self, densities: np.ndarray) -> np.ndarray:
        """psi, (n_local,), of densities (S, n_local)."""
        return self.poisson.solve(self.net_charge(densities))

    def net_charge(self, densities: np.ndarray) -> np.ndarray:
        """u = sum_s b_s rho_s, (n_local,), of densities (S, n_local)."""
        return np.tensordot(self._charges, densities, axes=1)

    def tested(self, density: np.ndarray) -> np.ndarray:
        """int rho v_i, (n_local,), right where owned."""
        return self.nodes.tested(density)

    def _drifts(self, now: GatedState, densities: np.ndarray) -> np.ndarray:
        """-(rho_s grad V_s, grad v_i) - (k rho_+ rho_-, v_i), (S, n_local), right where owned; from `now` on."""
        potential = now.potential if densities is now.densities else self._potential_of(densities)
        found = np.empty_like(densities)
        for row, charge, density in zip(found, self._charges, densities, strict=True):
            self._barrier.x.array[:] = self._barrier_of(charge, potential)
            self._rho.x.array[:] = density
            self._load[:] = 0.0
            dolfinx.fem.assemble_vector(self._load, self._drift)
            row[:] = self.nodes.gather(self._load)
        if self._model.reaction and len(found) == 2:
            quadrature = self.nodes.quadrature
            gone = self._model.reaction * quadrature.values(densities[0]) * quadrature.values(densities[1])
            found -= self.nodes.gather(quadrature.tested(gone))
        return found

    def _barrier_of(self, charge: float, potential: np.ndarray) -> np.ndarray:
        """V_s, (n_local,), which pushes a species of this charge downhill."""
        return np.asarray(charge * self._model.coupling * potential + self._exterior)

    def _diffusion(self, densities: np.ndarray) -> np.ndarray:
        """D (grad rho_s, grad v_i), (S, n_local), right where owned."""
        return self._model.D * np.stack([self.nodes.laplacian(density) for density in densities])

    def _mass_times(self, densities: np.ndarray) -> np.ndarray:
        """(rho_s, v_i), (S, n_local), right where owned."""
        return np.stack([self.tested(density) for density in densities])

    def _solved(self, right_side: np.ndarray, factor: float) -> np.ndarray:
        """The solution of (M + factor K) u = right side, (n_local,) each."""
        if factor not in self._solvers:
            for old in [f for f in self._solvers if f > 0][: -KEPT or None]:
                del self._solvers[old]
            PETSc.garbage_cleanup(self.nodes.comm)  # what was deleted, which ranks may free together only
            self._solvers[factor] = self.nodes.helmholtz(factor)
        solution, _, reason = self._solvers[factor].solve(right_side[: self.nodes.owned])
        if reason < 0:
            raise RunError(f"a linear system of the diffusion could not be solved (PETSc reason {reason})")
        return self.nodes.share(solution)

    def vectors(self, now: GatedState, names: Sequence[str]) -> list[dolfinx.fem.Function]:
        """E = -grad psi and the flux -D grad rho_s - rho_s grad V_s of each density, projected in L2. Collective."""
        quadrature, slope = self.nodes.quadrature, self.nodes.quadrature.gradient
        found = [-slope(now.potential)]
        for charge, density in zip(self._charges, now.densities, strict=True):
            drift = quadrature.values(density)[:, None] * slope(self._barrier_of(charge, now.potential))
            found.append(-self._model.D * slope(density) - drift)
        return [self._projected(name, vectors) for name, vectors in zip(names, found, strict=True)]

    def _projected(self, name: str, vectors: np.ndarray) -> dolfinx.fem.Function:
        """The vector function nearest in L2 to the vectors (n, 2) at the points of the quadrature."""
        nodes, function = self.nodes, dolfinx.fem.Function(self._vector_space, name=name)
        loads = [nodes.gather(nodes.quadrature.tested(component)) for component in vectors.T]
        nodal = np.stack([self._solved(load, 0.0) for load in loads], axis=1)
        function.x.array.reshape(nodal.shape)[self._vector_space.dofmap.list] = nodal[nodes.space.dofmap.list]
        return function

    @cached_property
    def _vector_space(self) -> dolfinx.fem.FunctionSpace:
        mesh, degree = self.nodes.mesh, self.nodes.degree
        variant = basix.LagrangeVariant.equispaced
        element = basix.ufl.element("Lagrange", "triangle", degree, lagrange_variant=variant, shape=(2,))
        return dolfinx.fem.functionspace(mesh, element)

    # --- one step -----------------------------------------------------------------------------------------------------

    def advance(self, history: History, dt: float, order: int, *, judged: bool) -> Trial:
        """A step of size dt; its error is the relative difference of the embedded result in L2. Collective."""
        now, factor = history.now, _rounded(imex.GAMMA * dt * self._model.D)

        def each(factor: float) -> imex.Linear:
            return lambda right_sides: np.stack([self._solved(side, factor) for side in right_sides])

        with np.errstate(over="ignore", invalid="ignore"):  # the gate sees what is not finite
            densities, error = imex.step(
                now.densities,
                dt,
                explicit=partial(self._drifts, now),
                stiffness=self._diffusion,
                mass=self._mass_times,
                solve=each(factor),
                solve_mass=each(0.0),
            )
            size, wrong = self.nodes.sums.total(
                (densities * self._mass_times(densities)).sum(axis=0), (error * self._mass_times(error)).sum(axis=0)
            )
            estimate = float(np.sqrt(wrong / size))
        end = self.state(densities)
        if not all(map(math.isfinite, (end.energy, end.maximum, estimate))):
            return Trial("the solution is not finite", 0.0)
        barriers = [self._barrier_of(charge, now.potential) for charge in self._charges]
        return Trial(end, estimate, {"cell_peclet": self._peclet(barriers, now, self._model.D)})

    def state(self, densities: np.ndarray) -> GatedState:
        """The state of these densities, (S, n_local). Collective."""
        potential, sums = self._potential_of(densities), self.nodes.sums
        energy = self._energy(densities, potential)
        walled = has_reached_edge(sums, self._mass_times(densities).sum(axis=0), self.outer)
        return GatedState(densities, potential, energy, *sums.extremes(*densities), walled)

    def _energy(self, densities: np.ndarray, potential: np.ndarray) -> float:
        """F = sum_s int (D rho_s log rho_s + U rho_s) + (g / 2) int u psi; values below zero have no entropy."""
        quadrature, entropy = self.nodes.quadrature, 0.0
        for density in densities:
            values = np.maximum(quadrature.values(density), 0.0)
            entropy += float(quadrature.weights @ xlogy(values, values))
        tested = self._mass_times(densities)
        net = self.net_charge(tested)
        field, outside = self.nodes.sums.total(potential * net, self._exterior * tested.sum(axis=0))
        entropy = float(self.nodes.sums.add(np.array(entropy)))
        return self._model.D * entropy + 0.5 * self._model.coupling * float(field) + float(outside)


def _rounded(factor: float) -> float:
    """A factor without the rounding of step sizes that should be equal, so that their matrices are shared."""
    return float(f"{factor:.12g}")
