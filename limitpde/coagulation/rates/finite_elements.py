"""Hammond (1.8)-(1.9) by finite elements in space: a check that shares nothing with `capacity` and `lippmann`.

    -Lap w + s V w = 0 around the support of V,   d_n w = (1 - w) k on the boundary,   k = (x - c).n / |x - c|^2,

w = 1 - u, s = alpha / D, c the centre of mass of V. The boundary condition is exact for w = 1 - a / |x - c|: on a
sphere it is the Robin condition w' = (1 - w) / R, exact for radial V at any R >= reach, and for other even V it costs
beta O((reach / R)^5). Weak form, for all test functions v,

    int grad w . grad v + s V w v  +  int_boundary k w v  =  int_boundary k v,

with Lagrange elements (order 2 by default), and beta = alpha int V w, which converges at twice the order of the
gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import basix.ufl
import dolfinx.fem
import dolfinx.fem.petsc
import dolfinx.la
import dolfinx.mesh
import numpy as np
import ufl
from mpi4py import MPI

from limitpde.coagulation.interaction import Interaction
from limitpde.coagulation.model import Model
from limitpde.coagulation.rates.support_mesh import around, from_file
from limitpde.errors import InputError, RunError
from limitpde.fem import jit
from limitpde.fem.linear import LinearSolver, Options

QUADRATURE = 6
"""Degree of the quadrature rule."""
SOLVER: Options = {"ksp_type": "cg", "pc_type": "jacobi", "ksp_rtol": 1e-12, "ksp_max_it": 20_000}


@dataclass(frozen=True, slots=True)
class FiniteElementRate:
    """The rate of one pair by finite elements; the same on every rank."""

    beta: float  # (1.9), volume per time, ranges included, beta.scale not
    integral: float  # int V on the mesh
    dofs: int  # unknowns on all ranks
    iterations: int  # of conjugate gradients
    u: dolfinx.fem.Function  # collision probability, of x in units of (r_n + r_m) eps


def beta_fem(
    model: Model,
    n: int,
    m: int,
    *,
    layers: int = 14,
    radius: float | None = None,
    mesh: str | Path | None = None,
    volume: int | str | None = None,
    degree: int = 2,
    comm: MPI.Comm = MPI.COMM_WORLD,
) -> FiniteElementRate:
    """Solve (1.8) for one pair of masses with DOLFINx and integrate (1.9). Collective.

    Args:
        model: the model; dimension 3, with an interaction.
        n: a mass.
        m: a mass.

    Keyword Args:
        layers: layers of cells between the centre and the boundary of the ball: 80/3 layers^3 unknowns of degree 2.
        radius: of the ball, in units of the reach of V; 1 for radial V and 2 for others by default.
        mesh: a gmsh file of tetrahedra (order 1 or 2), lengths in units of (r_n + r_m) eps, instead of the ball; it
            must hold the support of V, and its boundary must be seen from the centre of V.
        volume: number or name of a physical volume of that file: V is 1 there and 0 elsewhere, instead of the model's V
            (alpha stays the model's). V is taken as it is; of a V that is not even, particles see the even part.
        degree: of the elements.
        comm: the communicator.

    Raises:
        InputError: the dimension is not 3, too few layers, too small a radius, an unreadable file, or V = 0.
        RunError: the linear solver does not converge.
    """
    interaction = model.interaction
    if model.dimension != 3 or interaction is None:
        raise InputError(f"beta_fem: needs a model with dimension = 3 (not {model.dimension}) and an interaction")
    if volume is not None and mesh is None:
        raise InputError(f"volume = {volume!r}: needs mesh = a gmsh file")
    alpha = float(model.alpha(np.array(n), np.array(m)))
    s = alpha / float(model.d(np.array(n)) + model.d(np.array(m)))
    if mesh is None:
        domain = around(
            interaction,
            layers=layers,
            radius=radius if radius is not None else (1.0 if interaction.radial else 2.0),
            comm=comm,
        )
        weight = _sampled(domain, interaction)
    else:
        domain, inside = from_file(Path(mesh), volume, comm)
        weight = _sampled(domain, interaction) if volume is None else _indicator(domain, inside)
    total = _integral(weight, domain)
    if total == 0:
        raise InputError("beta_fem: V is zero at all points of the mesh")
    x = ufl.SpatialCoordinate(domain)
    w, iterations = _solve(weight, s, degree, np.array([_integral(weight * x[i], domain) / total for i in range(3)]))
    ranges = float(model.range_sum(np.array(n), np.array(m)))
    found = alpha * ranges * _integral(weight * w, domain)
    u = dolfinx.fem.Function(w.function_space, name="collision_probability")
    u.x.array[:] = 1 - w.x.array
    return FiniteElementRate(found, total, w.function_space.dofmap.index_map.size_global, iterations, u)


def _sampled(mesh: dolfinx.mesh.Mesh, interaction: Interaction) -> dolfinx.fem.Function:
    """V at the points of the quadrature rule."""
    element = basix.ufl.quadrature_element("tetrahedron", degree=QUADRATURE)
    found = dolfinx.fem.Function(dolfinx.fem.functionspace(mesh, element))
    found.interpolate(lambda x: interaction.values(np.ascontiguousarray(x.T)))
    return found


def _indicator(mesh: dolfinx.mesh.Mesh, inside: np.ndarray) -> dolfinx.fem.Function:
    """1 in the cells that are inside, 0 in the others."""
    found = dolfinx.fem.Function(dolfinx.fem.functionspace(mesh, ("DG", 0)))
    found.x.array[found.function_space.dofmap.list[:, 0]] = inside
    return found


def _integral(value: Any, mesh: dolfinx.mesh.Mesh) -> float:
    """Integral of an expression over the mesh. Collective."""
    measure = ufl.dx(domain=mesh, metadata={"quadrature_degree": QUADRATURE})
    return float(mesh.comm.allreduce(dolfinx.fem.assemble_scalar(jit.form(value * measure)), op=MPI.SUM))


def _solve(weight: Any, s: float, degree: int, center: np.ndarray) -> tuple[dolfinx.fem.Function, int]:
    """The function w, ghosts up to date, and the number of iterations. Collective."""
    mesh = weight.function_space.mesh
    space = dolfinx.fem.functionspace(mesh, ("Lagrange", degree))
    w, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    away = ufl.SpatialCoordinate(mesh) - dolfinx.fem.Constant(mesh, center)
    k = ufl.dot(away, ufl.FacetNormal(mesh)) / ufl.dot(away, away)
    dx = ufl.dx(domain=mesh, metadata={"quadrature_degree": QUADRATURE})
    ds = ufl.ds(domain=mesh, metadata={"quadrature_degree": QUADRATURE})
    s = dolfinx.fem.Constant(mesh, s)
    form = ufl.dot(ufl.grad(w), ufl.grad(v)) * dx + s * weight * w * v * dx + k * w * v * ds
    matrix = dolfinx.fem.petsc.assemble_matrix(jit.form(form))
    matrix.assemble()
    right = dolfinx.fem.assemble_vector(jit.form(k * v * ds))
    right.scatter_reverse(dolfinx.la.InsertMode.add)
    owned = space.dofmap.index_map.size_local
    values, iterations, reason = LinearSolver(matrix, prefix="rates", options=SOLVER).solve(right.array[:owned])
    if reason < 0:
        raise RunError(f"the equation of the collision probability could not be solved (PETSc reason {reason})")
    found = dolfinx.fem.Function(space)
    found.x.array[:owned] = values
    found.x.scatter_forward()
    return found, iterations
