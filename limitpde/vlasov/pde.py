"""The Vlasov equation (Neiss-Pickl (Vl)) and its Hamiltonian forms (HVl), (HHt), by splitting in phase space.

    d_t f + v . grad_x f + F . grad_v f = 0,    F = -grad Gamma * rho - grad U,    rho = int f dv.

*Space.* f is a piecewise polynomial of degree k in every coordinate, discontinuous between cells, given by its values
at the Gauss points of each cell. On a tensor grid, transport along one coordinate is exact translation followed by the
L2 projection (semi-Lagrangian discontinuous Galerkin: Rossmanith-Seal, Crouseilles-Mehrenberger-Vecil, Qiu-Shu): mass
is conserved to rounding, int f^2 does not increase, and no step is too long for it. On an unstructured mesh in x the
transport in x is upwind discontinuous Galerkin (`phase_space.mesh`).

*Time.* x-transport ("drift") and v-transport by the frozen force ("kick") are composed to order 2 or 4 (`splitting`). A
kick does not change rho, hence its force is exact; nodal quadrature makes int rho F vanish to rounding, so momentum is
conserved; the energy oscillates with O(step^order) and does not drift on moderate times.

*Boundaries.* Velocities are cut off at the ends of their intervals, and positions too unless they are periodic: what
leaves is counted as lost, nothing comes in.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import dolfinx
import numpy as np
from mpi4py import MPI

from limitpde.errors import InputError, RunError
from limitpde.fem.mesh import AnyMesh
from limitpde.fem.stepping import Observer, StepReport, march
from limitpde.nbody.threads import use_threads
from limitpde.results.checkpoint import FoundState, GivenState
from limitpde.vlasov.fields import make_field
from limitpde.vlasov.fields.mesh_field import MeshField
from limitpde.vlasov.forms import DensityForm, Form, Moments, check_unknown
from limitpde.vlasov.hamiltonian import make_form
from limitpde.vlasov.initial import MOST_OUTSIDE, Initial, Start
from limitpde.vlasov.model import Model
from limitpde.vlasov.outputs import PhaseOutputs
from limitpde.vlasov.phase_space import Axis, TensorSpace
from limitpde.vlasov.phase_space.grid import ProcessGrid
from limitpde.vlasov.phase_space.mesh import MeshSpace, make_mesh
from limitpde.vlasov.sight import check_seen
from limitpde.vlasov.splitting import composition, merged

BALANCE = 0.9
"""Mean part of phase space of a rank, over the largest, below which a run says that ranks wait for each other."""


class Solver:
    """Solves (Vl), (HVl) or (HHt), as the model says. Collective, like all methods.

    Args:
        model: the parameters.
        initial: the density at time 0.

    Keyword Args:
        cells: numbers of cells of the 2 d coordinates, or one for all x and one for all v. With a `mesh`, those of v
            only: d, or one for all.
        degree: k, 1 to 5.
        step: time step; each interval between output times is cut into equal steps.
        order: of the splitting in time, 2 or 4; by default 2 between absorbing walls, through which the backward drifts
            of order 4 lose what had not yet left, otherwise 4.
        positivity: keep f >= 0 by scaling it towards its mean within each cell.
        mesh: a mesh for x instead of a tensor grid; it has walls.
        walls: of the mesh: "absorbing" or "specular".
        observe_every: `solve` measures after so many steps; those between have their neighbouring ends joined.
        parts: of the ranks along each of the 2 d coordinates of a tensor grid, or of the cells of a mesh and along each
            velocity; their product is the number of ranks. By default, those with which a step takes the least time by
            the bytes that ranks send, or by the cells and velocities of a rank.
        comm: the ranks to use.

    Attributes:
        t: time reached.
        space: where f lives.
        field: what gives the forces.
        form: the unknown.
        outside: share of the initial density that lies outside of the box, or of the mesh.
        warnings: what a user should know of the ranks.

    Raises:
        InputError: an argument is out of range, or does not fit the model.
    """

    STATE = "vlasov.Solver 3"
    step_figures: tuple[str, ...] = ()

    def __init__(
        self,
        model: Model,
        initial: Initial,
        *,
        cells: Sequence[int],
        degree: int = 3,
        step: float,
        order: int | None = None,
        positivity: bool = False,
        mesh: AnyMesh | None = None,
        walls: Literal["absorbing", "specular"] = "absorbing",
        observe_every: int = 1,
        parts: Sequence[int] | None = None,
        comm: MPI.Comm = MPI.COMM_WORLD,
    ) -> None:
        if not (step > 0 and math.isfinite(step)):
            raise InputError(f"pde.step = {step}: must be greater than 0")
        if not 1 <= degree <= 5:
            raise InputError(f"pde.degree = {degree}: must lie between 1 and 5")
        check_unknown(model.form, on_mesh=mesh is not None, positivity=positivity)
        if observe_every < 1:
            raise InputError(f"pde.observe_every = {observe_every}: must be at least 1")
        self.model, self.requested_step, self.t, self._together = model, step, 0.0, observe_every
        if order is None:
            order = 2 if mesh is not None and walls == "absorbing" else 4
        composition(order)  # checks it
        try:
            model.check_potentials(on_mesh=mesh is not None)
        except ValueError as error:
            raise InputError(f"model: {error}") from error
        self.order = order
        use_threads(comm)
        start = Start(initial, model)
        self.mass, self.comm = start.mass, comm
        shared: dict[str, Any] = {"positivity": positivity, "parts": parts}
        self.form, self.field = (
            _on_grid(start, model, cells, degree, step, order, comm, **shared)
            if mesh is None
            else _on_mesh(start, model, mesh, cells, degree, order, comm, walls=walls, **shared)
        )
        self.space = self.form.space
        self.outside = self._outside(start)
        self.warnings = () if mesh is not None else _unbalanced(self.space.grid)
        self._outputs: PhaseOutputs | None = None

    def _outside(self, start: Start) -> float:
        """What of the initial density is not in f: known for the box, by quadrature for a mesh. Collective.

        Raises:
            InputError: it is more than half.
        """
        if not isinstance(self.space, MeshSpace):
            return start.outside
        ones = [np.ones((1, len(v))) for v in self.space.v_nodes]
        share = max(0.0, 1 - float(self.space.integrate_x(self.form.velocity_integrals(ones)[0])) / self.mass)
        if share > MOST_OUTSIDE:
            raise InputError(f"pde.mesh: {100 * share:.3g} % of the initial density lies outside of it; make it larger")
        return share

    def __repr__(self) -> str:
        return f"{type(self).__module__}.{type(self).__name__}(t = {self.t:g}, {self.dofs:,} unknowns)"

    @property
    def dofs(self) -> int:
        """Unknowns: values of f, or of the real and the imaginary part of alpha."""
        return int(self.space.dofs) * (1 if self.model.form == "density" else 2)

    @property
    def suggested_step(self) -> float:
        """The step that was asked for."""
        return self.requested_step

    def advance(self, dt: float, steps: int = 1) -> None:
        """Make equal steps, the ends of adjoining ones merged, and measure nothing. Collective."""
        for stages in merged(self.order, steps):
            for kind, share in stages:
                (self.form.drift if kind == "drift" else self.form.kick)(share * dt)
        self.t += steps * dt

    def step(self, dt: float, steps: int = 1) -> StepReport:
        """Make equal steps, and measure. Collective.

        Raises:
            RunError: f is no longer finite.
        """
        self.advance(dt, steps)
        figures = self.figures()
        if not math.isfinite(figures["energy"] + figures["l2"]):
            raise RunError(f"f is no longer finite at t = {self.t:.6g}")
        return StepReport(t=self.t, dt=dt, order=self.order, steps=steps, figures=figures)

    def solve(self, end: float, *, stops: Iterable[float] = (), observers: Iterable[Observer] = ()) -> None:
        """Step up to time `end`, landing on every time in `stops`; each observer sees the report of those measured."""
        several = None if self._together == 1 else lambda dt, most: self.step(dt, min(self._together, most))
        march(self, end, stops=stops, observers=observers, several=several)

    # --- what the state is ----------------------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        """Masses, energies, moments and norms of the present state. Collective."""
        space, moments = self.space, Moments.of(self.form)
        x = np.moveaxis(space.x_points, -1, 0)
        rho = moments.rho
        rows = [rho, moments.kinetic, rho * self.field.exterior_potential, rho * (x**2).sum(axis=0)]
        mass, kinetic, exterior, square, *vectors = space.integrate_x(np.stack([*rows, *moments.momentum, *(rho * x)]))
        d, axes = self.model.dimension, "xyz"
        field_energy = self.field.field_energy(rho)
        potential = field_energy + exterior
        return {
            "mass_total": float(mass),
            "mass_lost": max(float(self.comm.allreduce(self.form.lost)), 0.0),  # undershoots of f may leave, too
            "energy": float(kinetic + potential),
            "energy_kinetic": float(kinetic),
            "energy_potential": float(potential),
            "field_energy": float(field_energy),
            **{f"momentum_{axes[j]}": float(vectors[j]) for j in range(d)},
            "second_moment": float(square),
            **{f"centre_{axes[j]}": float(vectors[d + j] / mass) if mass else math.nan for j in range(d)},
            **self.form.figures(self.t),
        }

    def outputs(self) -> dict[str, tuple[dolfinx.mesh.Mesh, dict[str, dolfinx.fem.Function]]]:
        """What is drawn in ParaView: name of a file -> its mesh and the functions on it. Collective."""
        if self._outputs is None:
            self._outputs = PhaseOutputs(self.model, self.form, self.field, self.comm)
        return self._outputs.outputs()

    def state(self) -> GivenState:
        """What `restore` needs to go on from here: the unknown on every rank, what else on rank 0. Collective."""
        clock = np.array([self.t, self.comm.allreduce(self.form.lost)])
        return {"clock": clock, "unknown": self.form.block(), **self.form.state()}

    def restore(self, state: FoundState) -> None:
        """Go on from a `state`, given on every rank. Collective."""
        state["unknown"].read(self.form.block())
        self.t, lost = map(float, state["clock"])
        self.form.restore(state)
        self.form.lost = lost if self.comm.rank == 0 else 0.0


def _on_grid(
    start: Start,
    model: Model,
    cells: Sequence[int],
    degree: int,
    step: float,
    order: int,
    comm: MPI.Comm,
    *,
    positivity: bool,
    parts: Sequence[int] | None,
) -> tuple[Form, Any]:
    """The unknown on a tensor grid, and what gives its forces; see `Solver`. Collective."""
    x_cells, v_cells = (_each(cells, model.dimension, False, axis) for axis in "xv")
    check_seen(start, model, "v", v_cells, degree)
    check_seen(start, model, "x", x_cells, degree)
    x_axes = _axes(model.x_box, x_cells, degree, periodic=model.domain.periodic)
    v_axes = _axes(model.v_box, v_cells, degree, periodic=False)
    values = math.prod(axis.n for axis in (*x_axes, *v_axes))
    _check_memory(values * (1 if model.form == "density" else 2), comm)
    shared: dict[str, Any] = {"parts": parts, "sweeps": cells_moved(x_axes, v_axes, step, order)}
    if model.form != "density":
        form = make_form(model, start, x_axes, v_axes, comm, **shared)
        return form, form.field
    space = TensorSpace(x_axes, v_axes, positivity=positivity, comm=comm, **shared)
    field = make_field(model, space)
    return DensityForm(start, space, field), field


def _on_mesh(
    start: Start,
    model: Model,
    mesh: AnyMesh,
    cells: Sequence[int],
    degree: int,
    order: int,
    comm: MPI.Comm,
    *,
    walls: Literal["absorbing", "specular"],
    positivity: bool,
    parts: Sequence[int] | None,
) -> tuple[Form, Any]:
    """The same with a mesh for x. Collective."""
    v_cells, d = _each(cells, model.dimension, True, "v"), model.dimension
    check_seen(start, model, "v", v_cells, degree)
    v_axes = _axes(model.v_box, v_cells, degree, periodic=False)
    x_mesh = make_mesh(mesh, d, comm)
    x_nodes = x_mesh.topology.index_map(d).size_global * math.comb(degree + d, d)
    _check_memory(x_nodes * math.prod(axis.n for axis in v_axes), comm)
    space = MeshSpace(x_mesh, v_axes, degree=degree, walls=walls, order=order, positivity=positivity, parts=parts)
    field = MeshField(model, space)
    return DensityForm(start, space, field), field


def _each(cells: Sequence[int], d: int, velocities_only: bool, axis: str) -> list[int]:
    """Numbers of cells of the x or of the v coordinates.

    Raises:
        InputError: there are too many or too few, or one is not positive.
    """
    allowed = (1, d) if velocities_only else (2, 2 * d)
    if len(cells) not in allowed or min(cells) < 1:
        what = "v" if velocities_only else "x, then v"
        numbers = " or ".join(map(str, sorted(set(allowed))))
        raise InputError(f"pde.cells = {list(cells)}: needs {numbers} of them, all >= 1, for {what}")
    parts = len(cells) // (1 if velocities_only else 2)
    mine = list(cells[-parts:] if axis == "v" else cells[:parts])
    return mine * d if len(mine) == 1 else mine


def _check_memory(values: int, comm: MPI.Comm) -> None:
    """Check that so many numbers can be held at all. Collective.

    Raises:
        InputError: they are more than the memory of the machines.
    """
    neighbours = comm.Split_type(MPI.COMM_TYPE_SHARED)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    share, needed = comm.allreduce(memory / neighbours.size, op=MPI.MIN), 8 * values / comm.size
    neighbours.Free()
    if needed > share:
        raise InputError(
            f"pde.cells: {values:.3g} numbers are {needed / 2**30:.3g} GiB for each of {comm.size} ranks, whose share "
            f"of the memory is {share / 2**30:.3g} GiB; take fewer cells, a lower degree, or more machines"
        )


def _unbalanced(grid: ProcessGrid) -> tuple[str, ...]:
    """What to say where ranks wait for the one with the largest part."""
    if grid.balance >= BALANCE:
        return ()
    return (
        f"the largest part of phase space is {1 / grid.balance:.2g} times the mean one, so {grid.comm.size} ranks do "
        f"what {grid.balance * grid.comm.size:.3g} could: take a number of ranks, or pde.parts, that divides pde.cells",
    )


def cells_moved(x_axes: Sequence[Axis], v_axes: Sequence[Axis], step: float, order: int) -> list[np.ndarray]:
    """Whole cells by which lines along each axis are moved in a step, (S, M); in v none, as forces are not known."""
    shares = {kind: [abs(share) for name, share in merged(order, 3)[1] if name == kind] for kind in ("drift", "kick")}
    drifts = [
        np.floor(np.abs(np.multiply.outer(shares["drift"], v.nodes)) * step / x.h)
        for x, v in zip(x_axes, v_axes, strict=True)
    ]
    return [*drifts, *[np.zeros((len(shares["kick"]), 1))] * len(v_axes)]


def _axes(box: np.ndarray, cells: Sequence[int], degree: int, *, periodic: bool) -> list[Axis]:
    return [
        Axis(low=float(low), high=float(high), cells=number, degree=degree, periodic=periodic)
        for (low, high), number in zip(box, cells, strict=True)
    ]
