"""Where releases of DOLFINx and its petsc4py differ: what is used of a mesh and a matrix, with any that are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from petsc4py import PETSc

from limitpde.errors import InputError

if TYPE_CHECKING:
    import dolfinx.mesh

DOLFINX = ("0.9", "0.10", "0.11")
"""Releases whose interface is known; the last one is that of the wheel, with which the tests run."""


def check_dolfinx() -> None:
    """Check that this is a DOLFINx whose interface is known.

    Raises:
        InputError: it is another one.
    """
    import dolfinx

    if dolfinx.__version__.split(".")[:2] not in [known.split(".") for known in DOLFINX]:
        raise InputError(
            f"DOLFINx {dolfinx.__version__}: limitpde works with {', '.join(DOLFINX[:-1])} and {DOLFINX[-1]}"
        )


def cell_nodes(mesh: dolfinx.mesh.Mesh) -> np.ndarray:
    """Local nodes of each cell, (n_cells, k)."""
    geometry: Any = mesh.geometry
    return np.asarray(geometry.dofmaps[0] if hasattr(geometry, "dofmaps") else geometry.dofmap)


def coordinate_map(mesh: dolfinx.mesh.Mesh) -> Any:
    """The map of the reference cell to the cells, with a degree and a variant."""
    geometry: Any = mesh.geometry
    return geometry.cmaps[0] if hasattr(geometry, "cmaps") else geometry.cmap


def entries_setter(matrix: PETSc.Mat, rows: np.ndarray, columns: np.ndarray) -> Callable[[np.ndarray], None]:
    """Give a matrix with sizes and a type its places, and return what sets it. Collective, and so is that.

    Args:
        matrix: an AIJ matrix without entries.
        rows: (n,) of any rank's rows; a place may stand several times, one with a negative index does not count.
        columns: (n,).

    Returns:
        A function of values (n,) that sets each entry to the sum of its values, and assembles.
    """
    if hasattr(matrix, "setPreallocationCOO"):  # petsc4py of 2024 (DOLFINx 0.9) does not have it
        matrix.setPreallocationCOO(rows, columns)
        return lambda values: matrix.setValuesCOO(values, addv=PETSc.InsertMode.INSERT_VALUES)
    rows, columns = rows.reshape(-1, 1), columns.reshape(-1, 1)

    def set_entries(values: np.ndarray) -> None:
        if matrix.assembled:
            matrix.zeroEntries()
        matrix.setValuesRCV(rows, columns, values.reshape(-1, 1), addv=PETSc.InsertMode.ADD_VALUES)
        matrix.assemble()

    matrix.setUp()
    return set_entries
