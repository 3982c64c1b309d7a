"""Exponentially fitted (Scharfetter-Gummel) fluxes on edges, compiled.

The flux of rho from node i to node j, with charge q in the potential psi, is that of the one-dimensional problem with
constant flux on the edge,

    F_ij = kappa_ij D [B(delta) rho_i - B(-delta) rho_j],   delta = q gamma (psi_j - psi_i) / D,   B(z) = z / (e^z - 1)
         = kappa_ij [D (rho_i - rho_j) + w_ij q gamma (psi_i - psi_j)],   w_ij = theta rho_i + (1 - theta) rho_j,

theta(delta) = (1 - B(delta)) / delta. It vanishes where rho e^(q gamma psi / D) is constant, and its matrix is an
M-matrix with zero column sums for every psi. A velocity without divergence adds its flux q_ij through the Voronoi face
between the nodes (`limitpde.fem.face_flux`): delta = [q gamma (psi_j - psi_i) - q_ij / kappa_ij] / D; of q_ij alone the
matrix has zero row sums as well, so that the largest rho can only fall. D = 0 gives the upwind flux. See Brezzi,
Marini, Pietra (1989), Xu and Zikatanov (1999), and van Meurs-Peletier-Slangen (1.3) for the equation.
"""

from __future__ import annotations

import math

import numpy as np

from limitpde.compiled import compiled

SERIES = 0.4
"""Largest |z| at which series are used: six terms leave out less than rounding, and cost a tenth of expm1."""


@compiled(inline="always")
def curvature(square: float) -> float:
    """(B(z) - 1 + z / 2) / z^2 by the square of z, to rounding up to z = SERIES: Bernoulli numbers over factorials."""
    even = square * (-691.0 / 1307674368000.0 * square + 1.0 / 47900160.0) - 1.0 / 1209600.0
    return 1.0 / 12.0 + square * (-1.0 / 720.0 + square * (1.0 / 30240.0 + square * even))


@compiled(inline="always")
def bernoulli(z: float) -> float:
    """B(z) = z / (e^z - 1), to rounding for every z."""
    if abs(z) < SERIES:
        return 1.0 - z * (0.5 - z * curvature(z * z))
    if z > 750.0:  # also for z = infinity
        return 0.0
    return z / math.expm1(z)


@compiled(inline="always")
def upwinding(z: float) -> float:
    """theta(z) = (1 - B(z)) / z: 1/2 at 0, 0 at +infinity, 1 at -infinity; theta(-z) = 1 - theta(z)."""
    if abs(z) < SERIES:
        return 0.5 - z * curvature(z * z)
    if z < 0.0:
        return 1.0 - (1.0 - bernoulli(-z)) / -z  # theta(-z) = 1 - theta(z): no infinite B
    return (1.0 - bernoulli(z)) / z


@compiled(inline="always")
def peclet(difference: float, diffusivity: float) -> float:
    """delta of an edge across which q gamma psi changes by `difference`; infinite for D = 0."""
    if diffusivity > 0.0:
        return difference / diffusivity
    return math.copysign(math.inf, difference) if difference != 0.0 else 0.0


@compiled
def climb_along(tail: np.ndarray, head: np.ndarray, weight: np.ndarray, potential: np.ndarray) -> np.ndarray:
    """kappa (V_head - V_tail), (n_edges,), of V at the nodes, (n_local,)."""
    climb = np.empty(len(weight))
    for e in range(len(weight)):
        climb[e] = weight[e] * (potential[head[e]] - potential[tail[e]])
    return climb


@compiled(fastmath={"contract"})
def fill_transport(
    entries: np.ndarray, weight: np.ndarray, climb: np.ndarray, diffusivity: float, dt: float = 1.0
) -> None:
    """Write the matrix of the outflow A, (A rho)_i = sum_j F_ij, times dt, as edge contributions.

    Args:
        entries: (4, n_edges), written: see `limitpde.fem.edges.EdgeMatrix.edges`.
        weight: (n_edges,) kappa.
        climb: kappa (V_head - V_tail) - q, (n_edges,), with V = q gamma psi, and q_ij from tail to head.
        diffusivity: D >= 0.
        dt: a factor.
    """
    for e in range(len(weight)):
        diffusion = weight[e] * diffusivity
        against = dt * diffusion * bernoulli(abs(peclet(climb[e], diffusion)))
        along = against + dt * abs(climb[e])  # B(-z) = B(z) + z, without cancellation for z > 0
        forward, backward = (against, along) if climb[e] > 0.0 else (along, against)
        entries[0, e] = forward
        entries[1, e] = -backward
        entries[2, e] = -forward
        entries[3, e] = backward


@compiled
def add_mean_density(
    mean: np.ndarray,
    tail: np.ndarray,
    head: np.ndarray,
    potential: np.ndarray,
    density: np.ndarray,
    diffusivity: float,
    drift: float,
) -> None:
    """Add w_ij, the mean of the density that the flux sees on each edge, to `mean`, (n_edges,)."""
    for e in range(len(tail)):
        i, j = tail[e], head[e]
        theta = upwinding(peclet(drift * (potential[j] - potential[i]), diffusivity))
        mean[e] += theta * density[i] + (1.0 - theta) * density[j]


@compiled(fastmath={"contract", "arcp"})
def predictor_edges(
    conductance: np.ndarray,
    balance: np.ndarray,
    tail: np.ndarray,
    head: np.ndarray,
    weight: np.ndarray,
    densities: np.ndarray,
    charges: np.ndarray,
    potentials: np.ndarray,
    coupling: float,
    diffusivity: float,
    scale: float,
) -> None:
    """The edges' part of equation (A) of `limitpde.signed.scheme` for the potential psi_p at the end of a step.

        K psi_p + scale sum_s b_s [D K rho_s + L_s (b_s g psi_p + U)] = ...,   L_s: the Laplacian with kappa w_s

    Args:
        conductance: (n_edges,), written: kappa (1 + scale g sum_s w_s), of the Laplacian of psi_p.
        balance: (n_local,): what the other terms, and this Laplacian of `start`, take from each node is subtracted.
        tail: (n_edges,) first nodes of the edges.
        head: their other nodes.
        weight: (n_edges,) kappa.
        densities: (S, n_local) rho_s.
        charges: (S,) b_s, of size one.
        potentials: (3, n_local): psi in the weights w_s, U, and `start`.
        coupling: g.
        diffusivity: D.
        scale: 2 pi dt / c.
    """
    for e in range(len(tail)):
        i, j = tail[e], head[e]
        rise = potentials[0, j] - potentials[0, i]
        lift = potentials[1, j] - potentials[1, i]
        seen, flux = 0.0, 0.0
        for s in range(len(charges)):
            theta = upwinding(peclet(charges[s] * coupling * rise + lift, diffusivity))
            mean = theta * densities[s, i] + (1.0 - theta) * densities[s, j]
            seen += mean
            flux += charges[s] * (diffusivity * (densities[s, i] - densities[s, j]) - mean * lift)
        conductance[e] = weight[e] * (1.0 + scale * coupling * seen)
        flux = scale * weight[e] * flux - conductance[e] * (potentials[2, j] - potentials[2, i])
        balance[i] -= flux
        balance[j] += flux


@compiled
def add_gradient_flux(
    balance: np.ndarray, tail: np.ndarray, head: np.ndarray, conductance: np.ndarray, values: np.ndarray
) -> None:
    """Subtract the outflow sum_j conductance_ij (values_i - values_j) from `balance`, (n_local,)."""
    for e in range(len(tail)):
        i, j = tail[e], head[e]
        flux = conductance[e] * (values[i] - values[j])
        balance[i] -= flux
        balance[j] += flux
