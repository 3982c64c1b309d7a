"""The weak-form residual of the signed system, van Meurs-Peletier-Slangen (5.8): of particles, of the PDE's solution.

    W[T, phi](rho) = int (phi_T rho_T - phi_0 rho_0) - int_0^T int d_t phi rho_t dt                   (change)
                   - gamma_bar int_0^T iint b b' k(x - x') . grad_x phi(x, b) rho_t rho_t dt          (interaction)
                   - D int_0^T int Lap phi(x, b) rho_t dt                                             (diffusion)
                   + int_0^T int grad U . grad_x phi(x, b) rho_t dt                                   (confinement)
                   + 4 pi gamma_bar int_0^T int (phi(x, 1) + phi(x, -1)) rho_+ rho_- dt               (annihilation)

with k = K, or -K where equal charges attract, and U an exterior potential if there is one. It vanishes for a weak
solution. For the empirical measure L^N of particles that feel the drift gamma_N F' - grad U and the noise sigma_N,

    W[T, phi](L^N) = M + A,
    A = int_0^T int [(gamma_N F' - gamma_bar / N F) . grad phi + (sigma_N^2 / 2 - D) Lap phi] dL^N_t dt,

F the forces of K, M a martingale with E M^2 = (sigma_N^2 / N) E int_0^T int |grad phi|^2 dL^N_t dt (Ito isometry). So
W has mean zero where the particles have the drift and the diffusivity of the equation, and A says what to expect where
they do not: D = sigma, gamma_N and sigma_N of their own (`limitpde.signed.scaling`), a cut-off, a large eps. Two
charges that stick move with the diffusivity sigma^2 / 4, which A takes in as well, and charges that annihilate take
their phi / N out of L^N: where the equation has that reaction, they are its integral, else they add it, negative, to A.
Time integrals are trapezoidal sums over the time steps; Euler-Maruyama leaves a bias of order one in the step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from limitpde.compare.observed import ObservedIntegrals
from limitpde.compare.spatial import evaluate, spatial
from limitpde.compare.test_functions import FunctionTable, GaussianBump, TestFunction, Wave
from limitpde.compare.user_functions import UserFunction
from limitpde.compiled import compiled
from limitpde.fem.walls import WallPoisson
from limitpde.nbody.teams import SINGLE, Team
from limitpde.parallel import on_all
from limitpde.signed.encounters import Encounters
from limitpde.signed.model import SPECIES, Model
from limitpde.signed.pde import Solver

SIGNS = dict(zip(SPECIES, (1.0, -1.0), strict=True))
"""Species -> b."""
Tabulated = dict[str, tuple[np.ndarray, ...]]
"""Species -> phi, grad phi, Lap phi, and d phi / dt where that is not zero, at the points of the quadrature."""


class ParticleResidual:
    """W[t, phi](L^N) of many replicas at once, accumulated while they are simulated.

    Args:
        model: the parameters of the equation.
        count: N.
        functions: the test functions.
        sigma: noise of the particles.
    """

    def __init__(self, model: Model, count: int, functions: Sequence[TestFunction], sigma: float) -> None:
        self.model, self.count, self.table, self.sigma = model, count, FunctionTable.of(functions, 2), sigma
        self.own = [function for function in functions if isinstance(function, UserFunction)]
        self.functions = functions

    def start(self, replicas: int) -> ResidualIntegrals:
        """An empty balance for this many replicas."""
        return ResidualIntegrals(self, replicas)


class ResidualIntegrals:
    """The three terms of W for a batch of R replicas and P test functions."""

    def __init__(self, residual: ParticleResidual, replicas: int) -> None:
        self._residual = residual
        shape = (replicas, len(residual.table.kinds))
        self._integrands = np.empty((6, *shape))  # int phi dL, and the integrands of the rows below
        # int dt of means over the particles of v . grad phi + d phi / dt, Lap phi, |grad phi|^2, (v' - v) . grad phi,
        # and over those that are stuck of Lap phi
        self._integrals = np.zeros((5, *shape))
        self._lost = np.zeros(shape)
        self._initial: np.ndarray | None = None

    def measure(
        self,
        x: np.ndarray,
        y: np.ndarray,
        limit: np.ndarray,
        felt: np.ndarray,
        signs: np.ndarray,
        encounters: Encounters,
        rows: np.ndarray,
        t: np.ndarray,
        team: Team = SINGLE,
    ) -> None:
        """Evaluate the integrands of some of the replicas, r of them. Collective in the team.

        Args:
            x: (r, n) positions of all particles, or of this rank's own.
            y: (r, n) positions.
            limit: (2, r, n) drifts v with the kernel of the equation.
            felt: (2, r, n) drifts v' that the particles have.
            signs: (r, n).
            encounters: who counts, and who is stuck to whom.
            rows: (r,) which replicas these are; all of them when the integrands are evaluated first.
            t: (r,) their times.
            team: whose ranks have the other particles.

        Raises:
            TeamFailure: a rank of the team has failed.
        """
        clouds = x, y, limit, felt, signs, encounters.alive
        self._integrands[:, rows] = self._evaluate(*clouds, encounters.bond, t, team)
        if self._initial is None:
            self._initial = self._integrands[0].copy()

    def remove(
        self, x: np.ndarray, y: np.ndarray, signs: np.ndarray, fallen: np.ndarray, rows: np.ndarray, t: np.ndarray
    ) -> None:
        """Take the particles (r, N) bool of the replicas in these rows that were annihilated at t (r,) into account."""
        still, free = np.zeros((2, *x.shape)), np.empty((len(x), 0), dtype=np.int64)
        self._lost[rows] += self._evaluate(x, y, still, still, signs, fallen, free, t, SINGLE)[0]

    def _evaluate(self, x, y, limit, felt, signs, counted, bond, t, team) -> np.ndarray:  # type: ignore[no-untyped-def]
        table, out = self._residual.table, np.zeros((self._integrands.shape[2], len(x), len(self._integrands)))
        x, y, signs, counted = map(np.ascontiguousarray, (x, y, signs, counted))
        given = _given(self._residual.own, x, y, signs, counted, t)

        def add(some: slice) -> None:
            functions = table.kinds[some], table.charged[some], table.parameters[some]
            _integrands(x, y, limit, felt, signs, counted, bond, *functions, given, out[some])

        team.in_turn(out, add)
        return out.T / self._residual.count

    def add(self, weights: np.ndarray, rows: np.ndarray) -> None:
        """Add the present integrands of the replicas in these rows, times their weights (r,), to the time integrals."""
        self._integrals[:, rows] += weights[:, None] * self._integrands[1:, rows]

    def change(self) -> np.ndarray:
        """int phi (L_t - L_0), (R, P)."""
        return np.asarray(self._integrands[0] - self._initial)

    def transport(self) -> np.ndarray:
        """Interaction, confinement and d phi / dt, int_0^t int (v . grad phi + d phi / dt) dL dt, (R, P)."""
        return self._integrals[0]

    def diffusion(self) -> np.ndarray:
        """D int_0^t int Lap phi dL dt, (R, P)."""
        return self._residual.model.D * self._integrals[1]

    def excess(self) -> np.ndarray:
        """int_0^t int (v' - v) . grad phi dL dt, (R, P)."""
        return self._integrals[3].copy()

    def present(self) -> dict[str, np.ndarray]:
        """Observables int phi dL_t and residuals W[t, phi], (R, P) each."""
        residual = self.change() - self.transport() - self.diffusion()
        if self._residual.model.annihilation:
            residual += self._lost
        return {"observables": self._integrands[0].copy(), "residual": residual}

    def totals(self) -> dict[str, np.ndarray]:
        """The quadratic variation of M, and A, (R, P) each."""
        model, count, sigma = self._residual.model, self._residual.count, self._residual.sigma
        defect = (sigma**2 / 2 - model.D) * self._integrals[1]
        gone = 0.0 if model.annihilation else self._lost
        return {
            "quadratic_variation": sigma**2 / count * self._integrals[2],
            "compensator": self.excess() + defect - sigma**2 / 4 * self._integrals[4] - gone + 0.0,
        }


def _given(
    functions: Sequence[UserFunction],
    x: np.ndarray,
    y: np.ndarray,
    signs: np.ndarray,
    counted: np.ndarray,
    t: np.ndarray,
) -> np.ndarray:
    """Value, gradient, Laplacian and d / dt of functions by Python where particles count, (functions, 5, r, N)."""
    found = np.zeros((len(functions), 5, *x.shape))
    for p, function in enumerate(functions):
        for time in np.unique(t):
            mine = counted & (t == time)[:, None]
            at = function.derivatives(np.stack([x[mine], y[mine]], axis=1), signs[mine], float(time))
            found[p][:, mine] = at.value, *at.gradient.T, at.laplacian, at.rate
    return found


@compiled(parallel=True)
def _integrands(
    x: np.ndarray,
    y: np.ndarray,
    limit: np.ndarray,
    felt: np.ndarray,
    signs: np.ndarray,
    counted: np.ndarray,
    bond: np.ndarray,
    kinds: np.ndarray,
    charged: np.ndarray,
    parameters: np.ndarray,
    given: np.ndarray,
    out: np.ndarray,
) -> None:
    """Add the sums over the particles of phi and of the integrands to out, (P, R, 6)."""
    replicas, count = x.shape
    functions = len(kinds)
    for task in numba.prange(replicas * functions):
        r, p = task // functions, task % functions
        point, gradient = np.empty(2), np.empty(2)
        sums = out[p, r]
        value_sum, drift_sum, laplacian_sum = sums[0], sums[1], sums[2]
        square_sum, excess_sum, stuck_sum = sums[3], sums[4], sums[5]
        for i in range(count):
            if not counted[r, i]:
                continue
            point[0], point[1] = x[r, i], y[r, i]
            b, j, k, rate = 1.0, bond[r, i] if bond.shape[1] > 0 else -1, -1 - kinds[p], 0.0
            if k >= 0:
                value, laplacian, rate = given[k, 0, r, i], given[k, 3, r, i], given[k, 4, r, i]
                gradient[0], gradient[1] = given[k, 1, r, i], given[k, 2, r, i]
            else:
                value, laplacian = spatial(kinds[p], parameters[p], point, gradient)
                b = signs[r, i] if charged[p] else 1.0
            value_sum += b * value
            drift = limit[0, r, i] * gradient[0] + limit[1, r, i] * gradient[1]
            drift_sum += b * drift + rate
            excess_sum += b * (felt[0, r, i] * gradient[0] + felt[1, r, i] * gradient[1] - drift)
            laplacian_sum += b * laplacian
            if j < 0:
                square_sum += b * b * (gradient[0] ** 2 + gradient[1] ** 2)
                continue
            stuck_sum += b * laplacian  # the noise of a stuck pair is one
            if k >= 0:
                both_x, both_y = gradient[0] + given[k, 1, r, j], gradient[1] + given[k, 2, r, j]
            else:
                both = b + (signs[r, j] if charged[p] else 1.0)
                both_x, both_y = both * gradient[0], both * gradient[1]
            square_sum += 0.25 * (both_x**2 + both_y**2)
        sums[0], sums[1], sums[2] = value_sum, drift_sum, laplacian_sum
        sums[3], sums[4], sums[5] = square_sum, excess_sum, stuck_sum


class PDEResidual(ObservedIntegrals):
    """W[t, phi] of the solution of the PDE: an observer of its steps. Collective.

    Independent of the scheme's own fluxes: phi, grad phi and Lap phi are exact at the points of the solver's quadrature
    (the nodes, for first-order elements), the gradient of psi is that of the finite-element function. Of second order
    in the mesh size for first-order elements, and of the order of the scheme in the step. The potential itself is the
    solver's: an error in its boundary data shows in the virial law, not here.
    Of functions by Python d phi / dt enters as well.
    Between walls, where Lap phi would leave a boundary term, the diffusion is -D int grad rho . grad phi.

    Args:
        solver: the solver, at time 0.
        test_functions: phi(x, b), P of them.

    Keyword Args:
        model: the equation that is asked; the solver's own by default.

    Attributes:
        solver: whose solution it is.
    """

    STATE = "signed.PDEResidual 2"

    def __init__(
        self,
        solver: Solver,
        test_functions: Sequence[TestFunction],
        *,
        model: Model | None = None,
    ) -> None:
        FunctionTable.of(test_functions, 2)  # checks the dimension
        self.solver, self._model, self._functions = solver, model or solver.model, test_functions
        self._by_python = any(isinstance(function, UserFunction) for function in test_functions)
        self._walls = isinstance(solver.poisson, WallPoisson)
        self._tabulate()
        super().__init__(solver.t)

    def _tabulate(self) -> None:
        """phi, grad phi, Lap phi and grad U at the points of the quadrature."""
        solver, model, quadrature = self.solver, self._model, self.solver.quadrature
        self._quadrature = quadrature
        self._phi = [{} if isinstance(f, UserFunction) else self._of_shape(f) for f in self._functions]
        self._slope = None
        if model.confinement is not None:  # read by every rank, so that a failure of a user's function is one of all
            self._slope = on_all(solver.sums.comm, lambda: _slope(model, quadrature.points))

    def _of_shape(self, function: GaussianBump | Wave) -> Tabulated:
        """phi, grad phi and Lap phi of each species, which do not depend on time."""
        value, gradient, laplacian = evaluate(function, self._quadrature.points)
        factors = {name: SIGNS[name] if function.charge else 1.0 for name in self.solver.densities}
        return {name: (b * value, b * gradient, b * laplacian) for name, b in factors.items()}

    def _look_up(self) -> None:
        """phi, grad phi, Lap phi and d phi / dt of functions by Python at the present time. Collective."""
        solver, points = self.solver, self._quadrature.points
        for p, function in enumerate(self._functions):
            if isinstance(function, UserFunction):

                def found(name: str, function: UserFunction = function) -> tuple[np.ndarray, ...]:
                    at = function.derivatives(points, np.full(len(points), SIGNS[name]), solver.t)
                    return at.value, at.gradient, at.laplacian, at.rate

                self._phi[p] = on_all(solver.sums.comm, lambda: {name: found(name) for name in solver.densities})

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """int phi rho_t, and what the time integrals of the other terms grow by, a row for each."""
        if self.solver.quadrature is not self._quadrature:
            self._tabulate()  # on a new mesh
        self._look_up()
        rates = [self._interaction_rate(), self._diffusion_rate(), self._confinement_rate()]
        if self._model.reaction:
            rates.append(self._reaction_rate())
        if self._by_python:
            rates.append(self._integrals(3))
        return self._integrals(0), np.stack(rates)

    def _integrals(self, part: int) -> np.ndarray:
        """sum_s int a_s rho_s with a_s = phi (part 0), Lap phi (part 2) or d phi / dt (part 3), (P,)."""
        quadrature, local = self.solver.quadrature, np.zeros(len(self._phi))
        for name, density in self.solver.densities.items():
            mass = quadrature.weights * quadrature.values(density)
            local += [float(phi[name][part] @ mass) if part < len(phi[name]) else 0.0 for phi in self._phi]
        return self.solver.sums.add(local)

    def _diffusion_rate(self) -> np.ndarray:
        """D int Lap phi rho_t, (P,); between walls -D int grad rho_t . grad phi."""
        if not self._walls:
            return self._model.D * self._integrals(2)
        local = np.zeros(len(self._phi))
        for name, density in self.solver.densities.items():
            local += [self.solver.quadrature.along_gradient(density, phi[name][1]) for phi in self._phi]
        return -self._model.D * self.solver.sums.add(local)

    def _confinement_rate(self) -> np.ndarray:
        """-int grad U . grad phi rho_t, (P,)."""
        local = np.zeros(len(self._phi))
        if self._slope is None:
            return local
        quadrature = self.solver.quadrature
        for name, density in self.solver.densities.items():
            mass = quadrature.weights * quadrature.values(density)
            local -= [float((self._slope * phi[name][1]).sum(axis=1) @ mass) for phi in self._phi]
        return self.solver.sums.add(local)

    def _reaction_rate(self) -> np.ndarray:
        """-4 pi gamma_bar int (phi_+ + phi_-) rho_+ rho_-, (P,)."""
        quadrature, local = self.solver.quadrature, np.zeros(len(self._phi))
        if len(self.solver.densities) == len(SPECIES):
            both = [quadrature.values(density) for density in self.solver.densities.values()]
            mass = self._model.reaction * quadrature.weights * both[0] * both[1]
            local -= [sum(float(phi[name][0] @ mass) for name in self.solver.densities) for phi in self._phi]
        return self.solver.sums.add(local)

    def _interaction_rate(self) -> np.ndarray:
        """g iint b b' K . grad phi rho rho = -g sum_s b_s int rho_s grad psi . grad phi, g = +-gamma_bar, (P,).

        For vortices gamma_bar iint b' K_perp . grad phi rho rho = gamma_bar sum_s int rho_s grad psi . grad_perp phi,
        grad_perp = (-d_y, d_x).
        """
        solver, quadrature, model = self.solver, self.solver.quadrature, self._model
        charges = dict(zip(solver.densities, solver.charges, strict=True))
        local = np.zeros(len(self._phi))
        for name, density in solver.densities.items():
            values = quadrature.values(density)[:, None]
            for p, phi in enumerate(self._phi):
                gradient = phi[name][1]
                turned = np.stack([-gradient[:, 1], gradient[:, 0]], axis=1)
                felt = model.circulation * turned - model.coupling * charges[name] * gradient
                local[p] += quadrature.along_gradient(solver.potential, values * felt)
        return solver.sums.add(local)


def _slope(model: Model, points: np.ndarray) -> np.ndarray:
    """grad U at points (n, 2), (n, 2)."""
    assert model.confinement is not None
    return model.confinement.gradient(points)
