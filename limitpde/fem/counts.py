"""How many nodes and cells a mesh will have, before it is made."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from limitpde.fem.mesh import Ball, Box, Disk, Point, Torus

BYTES_A_NODE = 75
"""Of a gmsh or XDMF file, with the cells: roughly, where its beginning does not say how many nodes there are."""
LINES = 100_000
"""Lines of a gmsh file in which to look for the number of nodes."""


@dataclass(frozen=True, slots=True)
class MeshCounts:
    """Numbers of a mesh of simplices."""

    nodes: int
    """Of first order; on a torus each once."""
    cells: int
    exact: bool
    """False for a file, of which only the beginning or the length was looked at."""

    def lagrange(self, degree: int) -> int:
        """Nodes of Lagrange elements of a degree on a triangulation without holes."""
        edges = self.nodes + self.cells - 1
        return self.nodes + edges * (degree - 1) + self.cells * (degree - 1) * (degree - 2) // 2


def mesh_counts(mesh: Disk | Torus | Box | Ball | Point | str | Path, dimension: int) -> MeshCounts:
    """Numbers of nodes and cells of a description, or roughly those of a file.

    Args:
        mesh: as a case has it.
        dimension: d.
    """
    if isinstance(mesh, Point):
        return MeshCounts(1, 0, True)
    if isinstance(mesh, Torus | Box):
        boxes = [int(n) for n in mesh.boxes(dimension)]
        ends = 0 if isinstance(mesh, Torus) else 1
        return MeshCounts(math.prod(n + ends for n in boxes), math.factorial(dimension) * math.prod(boxes), True)
    if isinstance(mesh, Disk | Ball):
        n = mesh.rings
        if dimension == 1:
            return MeshCounts(2 * n + 1, 2 * n, True)
        if dimension == 2:
            return MeshCounts(1 + 3 * n * (n + 1), 6 * n**2, True)
        return MeshCounts(1 + 2 * n + 5 * n * (n + 1) * (2 * n + 1) // 3, 20 * n**3, True)
    nodes = _of_file(Path(mesh))
    return MeshCounts(nodes, {1: 1, 2: 2, 3: 6}[dimension] * nodes, False)


def _of_file(path: Path) -> int:
    """Nodes of a mesh file: those that the beginning of a gmsh file in ASCII tells, else after its length."""
    try:
        data = path.with_suffix(".h5") if path.suffix == ".xdmf" and path.with_suffix(".h5").is_file() else path
        with data.open("rb") as file:
            for line, _ in zip(file, range(LINES), strict=False):
                if line.startswith(b"$Nodes"):
                    numbers = list(_numbers(next(file, b"")))
                    if len(numbers) in (1, 4):  # version 2: nodes; version 4: blocks, nodes, first, last
                        return numbers[len(numbers) // 4]
                    break
        return max(1, data.stat().st_size // BYTES_A_NODE)
    except OSError:
        return 1  # that it cannot be read is for whoever reads it to say


def _numbers(line: bytes) -> Iterator[int]:
    for word in line.split():
        if not word.isdigit() or len(word) > 18:
            return
        yield int(word)
