"""The Hamilton-Hartree equation (Neiss-Pickl (HHt)): (HVl) for the Fourier transform ahat of alpha in v.

    i d_t ahat = (grad_x . grad_xi + Vhat * |ahat|^2) ahat,    Vhat(x, xi) = -grad Gamma(x) . xi.

With rho = int |ahat|^2 d xi and J = int xi |ahat|^2 d xi = int Im(conj(alpha) grad_v alpha) dv, by Plancherel,

    Vhat * |ahat|^2 (x, xi) = F . xi + theta,    F = -grad Gamma * rho,    theta = sum_j d_j Gamma * J_j,

where int grad Gamma(x - y) . (xi - eta) |ahat(y, eta)|^2 is split in two; an exterior potential U adds -grad U to F.

*Scheme.* The kick is the factor e^{-i dt (F . xi + theta)}, which changes neither rho nor J: exact, and unitary. The
drift is the translation in x of each velocity, between two discrete Fourier transforms, also unitary; only its L2
projection in x lets ||ahat|| fall. In v the functions are trigonometric polynomials on their interval, hence periodic:
`figures` has |alpha|^2 at its ends, as a part of its maximum.

Conserved is, besides the norm,

    H_Ht = 1/2 <ahat, (grad_x . grad_xi + 1/2 Vhat * |ahat|^2) ahat> = H_VL.

grad_x . grad_xi is evaluated as -v . Im(conj(alpha) grad_x alpha), by discontinuous Galerkin in x (`slopes`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mpi4py import MPI

from limitpde.results.shared_array import Block
from limitpde.vlasov.hamiltonian.amplitude import Amplitude, Scale
from limitpde.vlasov.hamiltonian.bounds import growth_bound, potential_bound
from limitpde.vlasov.hamiltonian.fourier import FourierSpace
from limitpde.vlasov.hamiltonian.slopes import Slopes
from limitpde.vlasov.model import Model


class Hht:
    """ahat of (HHt). Collective, like all methods.

    Args:
        model: the parameters.
        start: gives alpha at time 0.
        space: where alpha lives.
        field: the forces.

    Keyword Args:
        scale: what |alpha|^2 is multiplied with at time 0, given its integral; 1 by default.

    Attributes:
        space, field: as given.
        lost: 0: what leaves the domain is not counted.
        waves: (*x_shape, *v_shape) ahat up to a factor of modulus one that depends on xi alone, complex; the squares
            add up to those of alpha at the velocities.
    """

    def __init__(
        self,
        model: Model,
        start: Amplitude,
        space: FourierSpace,
        field: Any,
        *,
        scale: Scale = lambda mass: 1.0,
    ) -> None:
        self.space, self.field, self.lost = space, field, 0.0
        self._slopes = Slopes(space)
        self._constant = potential_bound(model)
        self.waves = np.zeros(space.shape, dtype=complex)
        space.fill(self.waves, start.alpha)
        space.transform(self.waves)
        self.waves *= math.sqrt(scale(float(space.integrate_x(self._densities()[0]))))
        self._first = 0.0, 0.0
        figures = self.figures(0.0)
        self._first = figures["norm"], figures["norm_w12"]

    # --- flows ----------------------------------------------------------------------------------------------------

    def drift(self, dt: float) -> None:
        """e^{-i dt grad_x . grad_xi}: alpha(x, v) -> alpha(x - v dt, v). Collective."""
        self.space.transform(self.waves, inverse=True)
        self.space.drift(self.waves, dt)
        self.space.transform(self.waves)

    def kick(self, dt: float) -> None:
        """ahat -> e^{-i dt (F . xi + theta)} ahat, with the present F and theta. Collective."""
        space, d = self.space, self.space.d
        rho, current, _ = self._densities()
        force = (self.field.force(rho) + self.field.exterior_force).reshape(d, -1)
        theta = self.field.coupling(current).ravel()
        rows = self.waves.reshape(-1, *space.v_shape)
        for part in space.blocks():
            rows[part] *= np.exp(-1j * dt * theta[part]).reshape(-1, *(1,) * d)
            for j, xi in enumerate(space.waves):
                shape = [-1, *(1,) * d]
                shape[1 + j] = len(xi)
                rows[part] *= np.exp(-1j * dt * np.multiply.outer(force[j, part], xi)).reshape(shape)

    # --- what the state is ----------------------------------------------------------------------------------------

    def _densities(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """rho (*x_shape), J (d, *x_shape) and int |grad_v alpha|^2 dv (*x_shape), from ahat."""
        space, d = self.space, self.space.d
        found = np.zeros((d + 2, space.x_weights.size))
        rows, cell = self.waves.reshape(-1, *space.v_shape), math.prod(axis.spacing for axis in space.v_axes)
        for part in space.blocks():
            squares = rows[part].real ** 2 + rows[part].imag ** 2
            found[0, part] = squares.sum(axis=tuple(range(1, d + 1)))
            for j, xi in enumerate(space.waves):
                alone = squares.sum(axis=tuple(k + 1 for k in range(d) if k != j))
                found[1 + j, part] = alone @ xi
                found[d + 1, part] += alone @ xi**2
        found = (cell * found).reshape(d + 2, *space.x_shape)
        return found[0], found[1 : d + 1], found[d + 1]

    def _blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """alpha at some x nodes, (n, *v_shape), after the others."""
        rows, space = self.waves.reshape(-1, *self.space.v_shape), self.space
        for part in space.blocks():
            yield part, np.fft.ifftn(rows[part], axes=range(1, space.d + 1), norm="ortho")

    @property
    def alpha(self) -> np.ndarray:
        """alpha at the nodes of this rank, complex (*x_shape, *v_shape); made anew."""
        alpha = self.waves.copy()
        self.space.transform(alpha, inverse=True)
        return alpha

    @property
    def values(self) -> np.ndarray:
        """f = |alpha|^2 at the nodes of this rank, (*x_shape, *v_shape); made anew."""
        f = np.empty(self.space.shape)
        rows = f.reshape(-1, *self.space.v_shape)
        for part, alpha in self._blocks():
            rows[part] = alpha.real**2 + alpha.imag**2
        return f

    def velocity_integrals(self, factors: Sequence[np.ndarray]) -> np.ndarray:
        """int |alpha|^2 prod_j factors[j][q](v_j) dv at the x nodes, (Q, *x_shape)."""
        space = self.space
        found = np.zeros((len(factors[0]), space.x_weights.size))
        for part, alpha in self._blocks():
            density = alpha.real**2 + alpha.imag**2
            sums = density @ (factors[-1] * space.v_weights[-1]).T
            for j in range(space.d - 2, -1, -1):
                sums = np.einsum("...nq,qn->...q", sums, factors[j] * space.v_weights[j])
            found[:, part] = sums.T
        return found.reshape(len(found), *space.x_shape)

    def figures(self, t: float) -> dict[str, float]:
        """Norms of alpha, H_Ht, and the bound of Corollary 3.6 where Gamma satisfies (Pot). Collective.

        l2 is int |alpha|^4 = int f^2, as for the other forms; norm is ||alpha||, norm_w12 that of W^{1,2}; alpha_edge
        is |alpha|^2 at the ends of the velocities, as a part of its maximum.
        """
        space = self.space
        rho, current, in_v = self._densities()
        parts = np.empty((2, space.x_weights.size, *space.v_shape))
        for part, alpha in self._blocks():
            parts[0, part], parts[1, part] = alpha.real, alpha.imag
        transport, in_x = self._slopes.position(parts.reshape(2, *space.shape))
        force = self.field.force(rho) + self.field.exterior_force
        square, extrema = self._extrema(parts)
        sums = space.integrate_x(np.stack([(force * current).sum(axis=0), rho, in_v, square]))
        found = {
            "l2": float(sums[3]),
            "minimum": extrema[0],
            "alpha_edge": extrema[2] / extrema[1] if extrema[1] > 0 else 0.0,
            "norm": math.sqrt(sums[1]),
            "norm_w12": math.sqrt(float(sums[1] + sums[2]) + in_x),
            "h_ht": (transport + float(sums[0])) / 2,
        }
        if math.isfinite(self._constant):
            found["norm_w12_bound"] = growth_bound(self._first[1], self._constant, t)
        return found

    def _extrema(self, parts: np.ndarray) -> tuple[np.ndarray, tuple[float, float, float]]:
        """int |alpha|^4 dv (*x_shape); least |alpha|^2, largest, and largest at the ends of the velocities."""
        space, d = self.space, self.space.d
        square = np.zeros(space.x_weights.size)
        cell = math.prod(axis.spacing for axis in space.v_axes)
        local = np.full(3, -math.inf)
        for part in space.blocks():
            density = parts[0, part] ** 2 + parts[1, part] ** 2
            square[part] = cell * (density**2).sum(axis=tuple(range(1, d + 1)))
            edges = [density.take((0, -1), axis=1 + j).max(initial=0.0) for j in range(d)]
            local = np.maximum(local, [-density.min(), density.max(), max(edges)])
        space.comm.Allreduce(MPI.IN_PLACE, local, op=MPI.MAX)
        return square.reshape(space.x_shape), (float(-local[0]), float(local[1]), float(local[2]))

    def density_values(self) -> np.ndarray:
        """f = |alpha|^2 at the nodes in natural order, (*X, *V), on rank 0. Collective."""
        return self.space.gather(self.values)

    def alpha_values(self) -> np.ndarray:
        """alpha at the nodes in natural order, complex (*X, *V), on rank 0. Collective."""
        return self.space.gather(self.alpha)

    def block(self) -> Block:
        """Real and imaginary part of ahat side by side, as this rank has them."""
        parts = self.waves.view(float).reshape(*self.waves.shape, 2)
        return Block(parts, (*self.space.whole_shape, 2), (*self.space.place, slice(0, 2)))

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` needs besides, on every rank."""
        return {"norms": np.array(self._first)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state`, and from what was put into `block`."""
        self._first = float(state["norms"][0]), float(state["norms"][1])
