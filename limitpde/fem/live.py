"""Functions of a solution that live: the same at every step, so that forms compiled once see the present state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import dolfinx.fem
import dolfinx.la
import dolfinx.mesh
import numpy as np
import ufl
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.fem.stepping import StepReport

type Fields = dict[str, dolfinx.fem.Function]


class WithOutputs(Protocol):
    """A solver whose state can be had as functions of DOLFINx."""

    @property
    def t(self) -> float:
        """Time reached."""

    def outputs(self) -> dict[str, tuple[dolfinx.mesh.Mesh, Fields]]:
        """Name of a file -> its mesh and the functions on it, of the present state."""


class LiveFunctions(Mapping[str, dolfinx.fem.Function]):
    """Name of a field -> its function, the same object at every step; an observer that brings them up to date.

    Give it to `solve` before the observers that use the functions: `solver.solve(end, observers=[live, mine])`.
    Collective.

    Args:
        solver: of any system.
        file: the fields of which file, see `outputs` of the solver.
        cells: areas or volumes of the cells of the nodes, (n_local,), as `solver.nodes.area` or `solver.nodes.volume`:
            then the functions are scaled at each node so that their integrals are the sums which the scheme conserves.
            By default they have its nodal values, whose integrals differ from these by O(h^2).

    Attributes:
        mesh: that of the functions.

    Raises:
        InputError: the solver has no such file.
    """

    def __init__(self, solver: WithOutputs, file: str = "fields", *, cells: np.ndarray | None = None) -> None:
        self._solver, self._file = solver, file
        outputs = solver.outputs()
        if file not in outputs:
            known = ", ".join(map(repr, outputs)) or "none, as there is no mesh"
            raise InputError(f"file = {file!r}: must be one of those of the solver ({known})")
        self.mesh, self._functions = outputs[file]
        self._scale: float | np.ndarray = 1.0
        if cells is not None:
            test = ufl.TestFunction(next(iter(self.values())).function_space)
            hats = dolfinx.fem.assemble_vector(dolfinx.fem.form(test * ufl.dx(self.mesh)))
            hats.scatter_reverse(dolfinx.la.InsertMode.add)
            hats.scatter_forward()
            self._scale = cells / hats.array
        self._take(self._functions)

    def __getitem__(self, name: str) -> dolfinx.fem.Function:
        return self._functions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)

    def __call__(self, step: StepReport) -> None:
        """Take over the present state. Collective.

        Raises:
            InputError: the mesh has changed, as one that follows the densities does.
        """
        mesh, functions = self._solver.outputs()[self._file]
        if mesh is not self.mesh:
            raise InputError("pde.refinement: the mesh has changed, on which the functions live; make them anew")
        self._take(functions)

    def _take(self, functions: Fields) -> None:
        for name, function in self._functions.items():
            function.x.array[:] = functions[name].x.array * self._scale


class FormSeries:
    """Integrals of a solution at every step, by forms of UFL that are compiled once: an observer.

    For instance the flux of a density through a wall with the tag 3, D the diffusivity:

        live = LiveFunctions(solver)
        n, ds = ufl.FacetNormal(live.mesh), ufl.Measure("ds", live.mesh, subdomain_data=tags)
        series = FormSeries(live, {"flux": -D * ufl.dot(ufl.grad(live["rho_positive"]), n) * ds(3)})
        solver.solve(1.0, observers=[live, series])

    Args:
        live: the functions in the forms.
        forms: name -> a form of rank 0.

    Attributes:
        times: of the steps, and the time at which this was made.
        values: name -> the integral at these times.
    """

    def __init__(self, live: LiveFunctions, forms: Mapping[str, object]) -> None:
        self._comm: MPI.Comm = live.mesh.comm
        self._forms = {name: dolfinx.fem.form(form) for name, form in forms.items()}
        self.times: list[float] = []
        self.values: dict[str, list[float]] = {name: [] for name in forms}
        self._take(live._solver.t)

    def __call__(self, step: StepReport) -> None:
        """Take in one step. Collective."""
        self._take(step.t)

    def _take(self, t: float) -> None:
        mine = np.array([dolfinx.fem.assemble_scalar(form) for form in self._forms.values()], dtype=float)
        total = np.empty_like(mine)
        self._comm.Allreduce(mine, total)
        self.times.append(t)
        for values, value in zip(self.values.values(), total, strict=True):
            values.append(float(value))
