"""Where releases of DOLFINx differ: what is used of a mesh, with any of those that are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

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
