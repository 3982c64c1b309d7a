"""Which node of the input mesh is which: for values that do not depend on the number of ranks."""

from __future__ import annotations

import dolfinx.fem
import numpy as np

from limitpde.dolfinx_versions import cell_nodes


def original_nodes(space: dolfinx.fem.FunctionSpace) -> np.ndarray:
    """Number in the input mesh of each local degree of freedom of a first-order Lagrange space, (n_local,)."""
    mesh = space.mesh
    numbers = np.asarray(mesh.geometry.input_global_indices)
    found = np.empty(space.dofmap.index_map.size_local + space.dofmap.index_map.num_ghosts, dtype=np.int64)
    found[space.dofmap.list] = numbers[cell_nodes(mesh)[: len(space.dofmap.list)]]
    return found
