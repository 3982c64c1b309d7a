"""What ParaView shows of a solution of the Vlasov equation: f on planes of phase space, and its velocity moments.

    d = 1      fields        f(x, v), for the forms of alpha also its real and imaginary part and its phase
               moments       rho, velocity u, temperature, potential, force over x
    d = 2, 3   fields        the same moments over x
               slice_xj_vj   f(x_j, v_j) on the plane through the middle of all other coordinates

Each cell of the tensor grid is cut into up to P equal parts per direction, and each part gets the exact mean of the
polynomial there: what is drawn has the mass of f. Where that would make more than LARGEST parts, there are fewer of
them. Velocity and temperature are those of the mass in a part, u = int v f / rho and T = (int |v|^2 f / rho - |u|^2) /
d, and zero where there is no mass. The potential is Gamma * rho + U, the force its negative gradient.

What is drawn of f goes through rank 0, as means or as what meets a plane: no rank holds all of f.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import basix.ufl
import dolfinx.fem
import dolfinx.mesh
import numpy as np
from mpi4py import MPI

from limitpde.results.fields import Outputs
from limitpde.vlasov.forms import Form, Moments
from limitpde.vlasov.model import Model
from limitpde.vlasov.phase_space import Axis
from limitpde.vlasov.phase_space.mesh import MeshSpace

LARGEST = 2**20
"""Parts of cells in one file."""
EMPTY = 1e-12
"""Share of the largest rho below which there is no mass to speak of."""
CELLS = {1: "interval", 2: "quadrilateral", 3: "hexahedron"}


class PhaseOutputs:
    """The outputs of a solution; their meshes are made once. Collective, like all methods.

    Args:
        model: the parameters.
        form: the unknown, on a tensor grid or on a mesh in x.
        field: what gives the forces, a `Field` or a `MeshField`.
        comm: the ranks.
    """

    def __init__(self, model: Model, form: Form, field: Any, comm: MPI.Comm) -> None:
        self._model, self._form, self._field, self._comm = model, form, field, comm
        space, d = form.space, model.dimension
        self._on_mesh = isinstance(space, MeshSpace)
        self._moments: Any = MeshMeans(space) if self._on_mesh else PartGrid(comm, space.x_axes)
        self._planes = {}
        if not self._on_mesh:
            self._planes = {j: PartGrid(comm, [space.x_axes[j], space.v_axes[j]]) for j in range(d)}

    def outputs(self) -> Outputs:
        """Name of a file -> its mesh and the functions on it, of the present state. Collective."""
        moments = self._moments.mesh, self._moment_functions()
        if self._on_mesh or self._model.dimension > 1:
            return {"fields": moments, **self._slices()}
        return {"fields": self._plane(), "moments": moments}

    def _moment_functions(self) -> dict[str, dolfinx.fem.Function]:
        grid, field, d = self._moments, self._field, self._model.dimension
        space, found = self._form.space, Moments.of(self._form)
        potential = field.potential(found.rho) + field.exterior_potential
        force = field.force(found.rho) + field.exterior_force
        nodal = np.concatenate([[found.rho, found.kinetic, potential], found.momentum, force])
        values = grid.means(nodal if self._on_mesh else space.gather_x(nodal))
        rho, kinetic, momentum = values[0], values[1], values[3 : 3 + d]
        some = rho > EMPTY * self._largest(rho)
        share = np.where(some, 1 / np.where(some, rho, 1.0), 0.0)
        velocity = momentum * share
        temperature = (2 * kinetic * share - (velocity**2).sum(axis=0)) / d
        return {
            "rho": grid.function("rho", rho),
            "velocity": grid.function("velocity", *velocity),
            "temperature": grid.function("temperature", temperature),
            "potential": grid.function("potential", values[2]),
            "force": grid.function("force", *values[3 + d :]),
        }

    def _largest(self, values: np.ndarray) -> float:
        return float(self._comm.allreduce(float(values.max(initial=0.0)), op=MPI.MAX))

    def _plane(self) -> tuple[dolfinx.mesh.Mesh, dict[str, dolfinx.fem.Function]]:
        """f over (x, v)."""
        form, grid = self._form, self._planes[0]
        place = form.space.place
        functions = {"f": grid.from_blocks("f", form.values, place)}
        if self._model.form != "density":
            alpha = form.alpha  # type: ignore[attr-defined]
            parts = (alpha.real, alpha.imag) if np.iscomplexobj(alpha) else alpha
            functions |= {
                name: grid.from_blocks(name, part, place) for name, part in zip(("re", "im"), parts, strict=True)
            }
            functions["phase"] = phase = dolfinx.fem.Function(functions["f"].function_space, name="phase")
            phase.x.array[:] = np.arctan2(functions["im"].x.array, functions["re"].x.array)
        return grid.mesh, functions

    def _slices(self) -> Outputs:
        found = {}
        for j, grid in self._planes.items():
            plane = slice_of(self._form, j, self._comm)
            found[f"slice_x{j + 1}_v{j + 1}"] = grid.mesh, {"f": grid.from_root("f", plane)}
        return found


class PartGrid:
    """A tensor grid whose cells are cut into parts, as a mesh of intervals, quadrilaterals or hexahedra. Collective.

    Cells and vertices are numbered in natural order, the last coordinate fastest, on any number of ranks.

    Args:
        comm: the ranks that share the cells.
        axes: one to three coordinates.

    Attributes:
        mesh: the mesh of the parts.
    """

    def __init__(self, comm: MPI.Comm, axes: Sequence[Axis]) -> None:
        self.comm, self._axes = comm, axes
        cells = int(np.prod([axis.cells for axis in axes]))
        most = max(1, int((LARGEST / cells) ** (1 / len(axes)) + 1e-9))
        self._matrices = [part_means(axis, min(axis.P, most)) for axis in axes]
        parts = [axis.cells * len(matrix) for axis, matrix in zip(axes, self._matrices, strict=True)]
        edges = [np.linspace(axis.low, axis.high, n + 1) for axis, n in zip(axes, parts, strict=True)]
        self.mesh = _tensor_mesh(comm, edges)
        self._numbers = np.asarray(self.mesh.topology.original_cell_index)
        self._wanted = comm.gather(self._numbers, root=0)
        self._spaces = {1: dolfinx.fem.functionspace(self.mesh, ("DG", 0))}

    def means(self, values: np.ndarray) -> np.ndarray:
        """Means over the parts, (..., *parts of each axis), of values at the nodes (..., *nodes of each axis)."""
        first = values.ndim - len(self._axes)
        for number, (axis, matrix) in enumerate(zip(self._axes, self._matrices, strict=True), first):
            moved = np.moveaxis(values, number, -1)
            cut = moved.reshape(*moved.shape[:-1], moved.shape[-1] // axis.P, axis.P) @ matrix.T
            values = np.moveaxis(cut.reshape(*moved.shape[:-1], cut.shape[-2] * len(matrix)), -1, number)
        return values

    def function(self, name: str, *components: np.ndarray) -> dolfinx.fem.Function:
        """The function with these means over the parts, one component or d of them, given on every rank."""
        rows = np.stack([component.ravel()[self._numbers] for component in components], axis=-1)
        return self._filled(name, rows)

    def from_root(self, name: str, values: np.ndarray) -> dolfinx.fem.Function:
        """The function of values at the nodes in natural order, given on rank 0. Collective."""
        return self._sent(name, self.means(values) if self._wanted is not None else None)

    def from_blocks(self, name: str, values: np.ndarray, place: Sequence[slice]) -> dolfinx.fem.Function:
        """The function of values at the nodes of each rank, which are those at `place` in whole cells. Collective."""
        sizes = [(axis.P, len(matrix)) for axis, matrix in zip(self._axes, self._matrices, strict=True)]
        there = tuple(slice(s.start // P * n, s.stop // P * n) for s, (P, n) in zip(place, sizes, strict=True))
        blocks = self.comm.gather((there, self.means(values)), root=0)
        whole = None
        if blocks is not None:
            whole = np.empty([axis.cells * n for axis, (_, n) in zip(self._axes, sizes, strict=True)])
            for part, means in blocks:
                whole[part] = means
        return self._sent(name, whole)

    def _sent(self, name: str, means: np.ndarray | None) -> dolfinx.fem.Function:
        """The function of means over all parts, given on rank 0. Collective."""
        rows = None
        if self._wanted is not None and means is not None:
            rows = [means.ravel()[numbers] for numbers in self._wanted]
        return self._filled(name, self.comm.scatter(rows, root=0)[:, None])

    def _filled(self, name: str, rows: np.ndarray) -> dolfinx.fem.Function:
        size = rows.shape[1]
        if size not in self._spaces:
            self._spaces[size] = dolfinx.fem.functionspace(self.mesh, ("DG", 0, (size,)))
        function = dolfinx.fem.Function(self._spaces[size], name=name)
        dofs = self._spaces[size].dofmap.list[:, 0]
        function.x.array.reshape(-1, size)[dofs] = rows[: len(dofs)]
        return function


class MeshMeans:
    """The cells of an unstructured mesh in x, each with the mean over it. Collective.

    Args:
        space: over that mesh.

    Attributes:
        mesh: the mesh.
    """

    def __init__(self, space: MeshSpace) -> None:
        self._space, self.mesh = space, space.mesh
        self._spaces: dict[int, dolfinx.fem.FunctionSpace] = {}

    def means(self, values: np.ndarray) -> np.ndarray:
        """Means over the cells of this rank, (K, owned), of values at its nodes (K, *x_shape)."""
        return np.asarray(self._space.cell_means(values))

    def function(self, name: str, *components: np.ndarray) -> dolfinx.fem.Function:
        """The function with these means over the cells of this rank."""
        size = len(components)
        if size not in self._spaces:
            shape = ("DG", 0) if size == 1 else ("DG", 0, (size,))
            self._spaces[size] = dolfinx.fem.functionspace(self.mesh, shape)
        function = dolfinx.fem.Function(self._spaces[size], name=name)
        dofs = self._spaces[size].dofmap.list[: len(components[0]), 0]
        function.x.array.reshape(-1, size)[dofs] = np.stack(components, axis=-1)
        function.x.scatter_forward()
        return function


def _tensor_mesh(comm: MPI.Comm, edges: Sequence[np.ndarray]) -> dolfinx.mesh.Mesh:
    """The mesh with these ends of cells along each coordinate, numbered in natural order. Collective."""
    d = len(edges)
    shape = [len(ends) - 1 for ends in edges]
    cells = np.stack(np.unravel_index(_share(comm, int(np.prod(shape))), shape))
    points = np.stack(np.unravel_index(_share(comm, int(np.prod([n + 1 for n in shape]))), [n + 1 for n in shape]))
    corners = [cells + np.array([[number >> axis & 1] for axis in range(d)]) for number in range(2**d)]
    nodes = [np.ravel_multi_index(tuple(corner), [n + 1 for n in shape]) for corner in corners]
    coordinates = np.stack([ends[index] for ends, index in zip(edges, points, strict=True)], axis=-1)
    element = basix.ufl.element("Lagrange", CELLS[d], 1, shape=(d,))
    return dolfinx.mesh.create_mesh(comm, np.stack(nodes, axis=-1).astype(np.int64), e=element, x=coordinates)


def _share(comm: MPI.Comm, count: int) -> np.ndarray:
    """Numbers of this rank's part of a range."""
    return np.arange(count * comm.rank // comm.size, count * (comm.rank + 1) // comm.size)


def part_means(axis: Axis, parts: int) -> np.ndarray:
    """Means over equal parts of a cell, from the values at its P nodes: (parts, P) matrix.

    They are those of the polynomial through Gauss's points; values at equally spaced points, as those of the Fourier
    form, are means over equal parts themselves. In either case the mass is that of the weights.
    """
    nodes = (axis.nodes[: axis.P] - axis.low) / axis.h
    if np.allclose(nodes, (np.arange(axis.P) + 0.5) / axis.P):
        ends, own = np.arange(parts + 1) / parts, np.arange(axis.P + 1) / axis.P
        overlap = np.minimum(ends[1:, None], own[1:]) - np.maximum(ends[:-1, None], own[:-1])
        return np.asarray(parts * np.maximum(overlap, 0.0))
    powers = np.arange(1, axis.P + 1)
    ends = np.linspace(0.0, 1.0, parts + 1)[:, None] ** powers / powers
    monomials = parts * np.diff(ends, axis=0)  # means of 1, s, s^2, ...
    return np.asarray(np.linalg.solve(np.vander(nodes, increasing=True).T, monomials.T).T)


def middle(axis: Axis) -> np.ndarray:
    """Weights of the nodes (n,) that give the value in the middle of an axis, the mean of both sides at a face."""
    weights = np.zeros(axis.n)
    nodes = (axis.nodes[: axis.P] - axis.low) / axis.h
    half = axis.cells // 2
    sides = [(half, 0.5, 1.0)] if axis.cells % 2 else [(half - 1, 1.0, 0.5), (half, 0.0, 0.5)]
    for cell, place, weight in sides:
        values = np.linalg.solve(np.vander(nodes, increasing=True).T, place ** np.arange(axis.P))
        weights[cell * axis.P : (cell + 1) * axis.P] += weight * values
    return weights


def slice_of(form: Any, j: int, comm: MPI.Comm) -> np.ndarray:
    """f at the nodes of (x_j, v_j) in the middle of all other coordinates, in natural order, on rank 0. Collective.

    Args:
        form: the unknown, on a tensor grid.
        j: number of the coordinate.
        comm: the ranks.
    """
    space = form.space
    axes = [*space.x_axes, *space.v_axes]
    kept = (j, space.d + j)
    places, weights = [], []
    for number, (axis, coordinates) in enumerate(zip(axes, _local_coordinates(space), strict=True)):
        natural = np.searchsorted((axis.nodes[1:] + axis.nodes[:-1]) / 2, coordinates)
        weight = np.ones(axis.n) if number in kept else middle(axis)
        mine = np.flatnonzero(weight[natural])
        places.append((mine, natural[mine]))
        weights.append(weight[natural[mine]])
    block = form.values[np.ix_(*(mine for mine, _ in places))]
    for number in reversed(range(len(axes))):
        if number not in kept:
            block = np.tensordot(block, weights[number], (number, 0))
    parts = comm.gather((places[kept[0]][1], places[kept[1]][1], block), root=0)
    if parts is None:
        return np.empty((0, 0))
    plane = np.zeros((axes[kept[0]].n, axes[kept[1]].n))
    for rows, columns, values in parts:
        plane[np.ix_(rows, columns)] += values
    return plane


def _local_coordinates(space: Any) -> list[np.ndarray]:
    """Coordinates of the nodes of this rank along each of the 2 d axes, in the order of storage."""
    points = space.x_points
    along = []
    for j in range(space.d):
        index = tuple(slice(None) if k == j else slice(0, 1) for k in range(space.d))
        along.append(points[(*index, j)].ravel() if points.size else np.empty(0))
    return [*along, *space.v_nodes]
