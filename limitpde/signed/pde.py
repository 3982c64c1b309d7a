"""Solver of the signed Keller-Segel system (van Meurs-Peletier-Slangen (1.3) = (5.6)) and its relatives.

The equations stand in `limitpde.signed.scheme` with the scheme of degree one, for any data; that of degrees two to
four, for smooth data in the whole plane, in `limitpde.signed.galerkin`; steps with history, gate, tolerance and change
of the mesh in `limitpde.fem.gated`.

Nothing linear is positive for every dt and of order two, and the free energy F = sum_s int (D rho_s log rho_s + U
rho_s) + (g / 2) int u (psi + psi_ext) decreases only up to some dt (psi_ext: the potential of charged walls). So each
step passes a gate (`limitpde.fem.gate`). What fails is repeated, with backward Euler where that is another formula,
then with half the step; the report of the step says so.

Steps have a fixed size, but with degree one under attraction dt <= ACCURATE_STEP / (2 pi gamma_bar max rho) to follow a
collapse; or they follow a tolerance of the local error, for BDF2 a divided difference of the densities.

The mesh may follow the densities between two steps (`limitpde.fem.refinement`).
"""

from __future__ import annotations

import math

import dolfinx.fem
import dolfinx.mesh
import numpy as np
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.fem.curved import build_curved
from limitpde.fem.edges import EdgeGraph
from limitpde.fem.gate import ROUNDING, Gate
from limitpde.fem.gated import GatedSolver, GatedStepping
from limitpde.fem.lagrange import LagrangeSpace, Quadrature
from limitpde.fem.lumped import LumpedQuadrature
from limitpde.fem.mesh import Refinement
from limitpde.fem.plane import PlanePoisson
from limitpde.fem.stepping import StepReport, StepSize, check_step
from limitpde.fem.sums import GlobalSums
from limitpde.fem.walls import WallPoisson
from limitpde.signed.blow_up import RESOLVED, BlowUpError, expected_time, has_blown_up, latest_time
from limitpde.signed.galerkin import GalerkinScheme
from limitpde.signed.model import SPECIES, Initial, Model
from limitpde.signed.options import BoundaryKind, TransportBy
from limitpde.signed.scheme import Scheme
from limitpde.signed.setting import MeshSource, adaptive_mesh, check_problem, moments, wall_lines

ACCURATE_STEP = 0.05
"""Longest step under attraction, in units of 1 / (2 pi gamma_bar max rho), the time in which the peak would double."""
ENERGY_RISE = 1e-9
"""Part of its scale by which a step of degree two to four may raise the free energy, which the equation lets fall."""
MOST_PEAKS = 200
"""Steps whose largest density is remembered."""
REGROWTH = (1.0, 2.0)
"""Growth of their steps where the gate has cut one: few sizes, so that few matrices are factorised."""


def _watch(
    model: Model, mass: float, degree: int, step: float, tolerance: float | None, undershoot: float, *, plane: bool
) -> tuple[Gate, StepSize]:
    """What tells whether a step is taken, and how long the next one is."""
    scale, falling = model.D * mass, model.sense > 0 and model.confinement is None and plane
    rise = ROUNDING if degree == 1 else ENERGY_RISE
    if model.reaction:
        rise = math.inf  # what vanishes may take more entropy along than energy
    if degree == 1:
        return Gate(scale, falling, rise), StepSize(step, tolerance, blind=True)
    return Gate(scale, falling, rise, undershoot), StepSize(step, tolerance, regrowth=REGROWTH)


def _fluxes(model: Model, boundary: BoundaryKind, transport: TransportBy) -> TransportBy:
    """The transport that is meant: "fitted" for "auto" where fluxes are never corrected."""
    rests = model.coupling < 0 or (model.D > 0 and (boundary != "plane" or model.confinement is not None))
    return "fitted" if transport == "auto" and rests and model.circulation == 0 else transport


class Solver(GatedSolver[Scheme | GalerkinScheme]):
    """Solver of the limit equation of the signed system. Every public method is collective.

    Args:
        model: the parameters; `gamma_bar` must be given.
        initial: the initial densities; each part is scaled so that its discrete mass is exact.

    Keyword Args:
        mesh: a disk, a box, the path of a gmsh file, a DOLFINx mesh, or one with the tags of its facets, (mesh, tags);
            for the plane its boundary must be a circle around all mass.
        step: size of the time step; also what `suggested_step` grows back to after the gate has cut it. With a
            tolerance the first one; with degree 1 a hundredth of it is, or less (its part sqrt(tolerance)).
        degree: polynomial degree, 1 for any data, 2 to 4 for smooth ones in the whole plane.
        tolerance: relative error in L2 that a step may make; steps of fixed size by default.
        refinement: how fine the mesh becomes where the densities need it; it stays as it is by default.
        boundary: psi at the boundary: that of the whole plane; zero ("grounded"); no field through it ("insulated", the
            net charge is neutralised by a uniform background); or a value for each conducting group of lines of a gmsh
            file, by name or number, or for each tag of facets, where what is not named is insulated.
        undershoot: how far below zero densities of degree 2 to 4 may fall, as a part of their largest value.
        multipoles: highest multipole moment in the boundary data of the potential.
        transport: for degree 1 exponentially fitted fluxes ("fitted"), those with a correction to second order
            ("corrected"), or the latter for vortices and where max |v| h / (2 D) is above a number ("auto"; not between
            walls or under a confinement, where fitted fluxes are exact once they balance, and not under attraction,
            where drifts are that strong in a collapse alone).
        corrected_from: that number.
        comm: communicator of the mesh.

    Raises:
        InputError: the model has no limit, the mesh is unfit, or it does not see the initial densities.

    Attributes:
        model, degree: those of above.
        transport: that of above; "fitted" for "auto" where that is never corrected.
        corrected_from: that of above.
        species, charges, mass: numbers of the species present, and theirs.
        warnings: what to know before trusting the solution, such as initial data that the mesh hardly resolves.
        stepping: time, history, gate, and the scheme on the present mesh.
        adaptive: the mesh that follows the densities; None where it stays as it is.
        resolved: until when this run's mesh resolved a density that may collapse; None where it never did.
        latest_time: until when the plane lets a solution live, under attraction above the critical mass; else None.
    """

    STATE = "signed.Solver 3"

    def __init__(
        self,
        model: Model,
        initial: Initial,
        *,
        mesh: MeshSource,
        step: float,
        degree: int = 1,
        tolerance: float | None = None,
        refinement: Refinement | None = None,
        boundary: BoundaryKind = "plane",
        undershoot: float = 1e-3,
        multipoles: int = 12,
        transport: TransportBy = "auto",
        corrected_from: float = 1.0,
        comm: MPI.Comm = MPI.COMM_WORLD,
    ) -> None:
        check_problem(model, initial, step, boundary, degree, refinement)
        self.transport = transport = _fluxes(model, boundary, transport)
        self.model, self.degree, self.corrected_from = model, degree, corrected_from
        self.warnings: list[str] = []
        self.species = [s for s in range(len(SPECIES)) if initial.parts(s)]
        self.charges = charges = [model.charges[s] for s in self.species]
        self.mass = masses = [initial.mass(s) for s in self.species]
        lines, plane = wall_lines(mesh, boundary, comm), boundary == "plane"
        adaptive = None if refinement is None else adaptive_mesh(mesh, refinement, initial, lines, comm, round_=plane)
        self.adaptive = adaptive
        shape = mesh[0] if isinstance(mesh, tuple) else mesh

        def on_mesh() -> Scheme | GalerkinScheme:
            if degree > 1:
                return GalerkinScheme(model, charges, build_curved(shape, degree, comm), degree, multipoles)
            made = meshes.build(shape, comm) if adaptive is None else meshes.put_together(comm, *adaptive.arrays())
            walls = lines if adaptive is None else adaptive.lines()
            return Scheme(
                model, charges, masses, made, boundary=boundary, multipoles=multipoles, lines=walls,
                transport=transport, corrected_from=corrected_from,
            )  # fmt: skip

        gate, size = _watch(model, sum(masses), degree, step, tolerance, undershoot, plane=plane)
        self.stepping = GatedStepping(
            on_mesh,
            lambda scheme: np.stack([scheme.initial_density(initial, s, self.warnings) for s in self.species]),
            gate=gate,
            size=size,
            adaptive=adaptive,
        )
        self._check_start()
        self._may_collapse = degree == 1 and model.sense < 0
        self._first_maximum = self.now.maximum
        self._peaks: list[tuple[float, float]] = []
        self.resolved: float | None = None
        self._supercritical = model.sense < 0 and sum(masses) * -model.coupling > 4 * model.D
        self.latest_time = self._latest_time(sum(masses)) if plane and model.confinement is None else None

    def _check_start(self) -> None:
        reason = self.stepping.gate.below_zero(self.now)
        if reason:
            raise InputError(
                f"pde.mesh: at time 0 {reason}: degree {self.degree} needs a finer mesh, a larger pde.undershoot or "
                "smoother data; degree 1 takes any"
            )

    def _latest_time(self, mass: float) -> float | None:
        """The bound on the time of blow-up of the data in the plane; None where there is none. Collective."""
        gamma_bar, first = -self.model.coupling, self.figures()
        moment = first["second_moment"] - (first["centre_x"] ** 2 + first["centre_y"] ** 2) / mass
        return latest_time(mass, moment, diffusivity=self.model.D, gamma_bar=gamma_bar) if gamma_bar > 0 else None

    # --- steps ----------------------------------------------------------------------------------------------------

    @property
    def suggested_step(self) -> float:
        """The step that the tolerance suggests; else the requested one, or less where steps before it were short."""
        rate = 2 * np.pi * -self.model.coupling * self.now.maximum
        follows = self._may_collapse and rate > 0 and not self.stepping.size.tolerant
        return min(self.stepping.suggested_step, ACCURATE_STEP / rate if follows else math.inf)

    def step(self, dt: float) -> StepReport:
        """Advance by dt, or by less where the gate or the tolerance demands it.

        Raises:
            InputError: dt is not a positive number.
            RunError: no step down to dt / 2^30 passes; 2^20 for degrees 2 to 4.
            BlowUpError: under attraction, the density has collapsed into a cell of the mesh, or must have.
        """
        check_step(dt)
        self.stepping.follow()
        peak, latest = self.now.maximum, self.latest_time
        share = self.cell_share if self._may_collapse else 0.0
        if has_blown_up(peak, self._first_maximum, share, supercritical=self._supercritical):
            known = {"resolved": self.resolved, "expected": self.expected_time, "latest": latest}
            raise BlowUpError(self.t, peak, share, **known)
        self.resolved = self.t if share < RESOLVED else self.resolved
        if latest is not None:
            if self.t >= latest * (1 - 1e-9):
                raise BlowUpError(self.t, peak, math.nan, latest=latest)
            dt = min(dt, latest - self.t)
        self._peaks = [*self._peaks, (self.t, peak)][-MOST_PEAKS:]
        return super().step(dt)

    @property
    def expected_time(self) -> float | None:
        """When a density that rises would blow up, by 1 / (largest density) at the steps of this run; None if never."""
        found = [*self._peaks, (self.t, self.now.maximum)]
        return expected_time(*zip(*found, strict=True)) if self._may_collapse else None

    # --- what the state is ----------------------------------------------------------------------------------------

    @property
    def nodes(self) -> EdgeGraph | LagrangeSpace:
        """Where densities have values on the present mesh: the edges for degree 1, else the elements."""
        return self.stepping.scheme.nodes

    @property
    def graph(self) -> EdgeGraph:
        """The edges of the present mesh, for degree 1."""
        assert isinstance(self.nodes, EdgeGraph)
        return self.nodes

    @property
    def mesh(self) -> dolfinx.mesh.Mesh:
        """The present triangulation."""
        return self.nodes.mesh

    @property
    def quadrature(self) -> LumpedQuadrature | Quadrature:
        """Points that integrate products of densities, on the present mesh."""
        return self.stepping.scheme.quadrature

    @property
    def sums(self) -> GlobalSums:
        """Global sums over the nodes of the present mesh."""
        return self.nodes.sums

    @property
    def poisson(self) -> PlanePoisson | WallPoisson:
        """The solver for psi on the present mesh."""
        return self.stepping.scheme.poisson

    @property
    def dofs(self) -> int:
        """Unknowns of all densities and of the potential."""
        return self.nodes.size * (len(self.species) + 1)

    @property
    def densities(self) -> dict[str, np.ndarray]:
        """Nodal densities by species, (n_local,) each; a species without mass is absent."""
        return {SPECIES[s]: density for s, density in zip(self.species, self.now.densities, strict=True)}

    @property
    def potential(self) -> np.ndarray:
        """psi at the nodes, (n_local,)."""
        return self.now.potential

    @property
    def cell_share(self) -> float:
        """Largest share of all mass in one Voronoi cell, for degree 1. Collective."""
        return self.sums.maximum(self.graph.area * sum(self.now.densities)) / sum(self.mass)

    def outputs(self, *, fluxes: bool = False) -> dict[str, tuple[dolfinx.mesh.Mesh, dict[str, dolfinx.fem.Function]]]:
        """File -> mesh and functions on it: densities, net charge and potential. Collective.

        Keyword Args:
            fluxes: also E = -grad psi, and the flux of each density, on cells for degree 1, else at the nodes.
        """
        values = {f"rho_{name}": density for name, density in self.densities.items()}
        values |= {"charge": self.stepping.scheme.net_charge(self.now.densities), "potential": self.potential}
        functions = {}
        for name, nodal in values.items():
            functions[name] = dolfinx.fem.Function(self.nodes.space, name=name)
            functions[name].x.array[:] = nodal
        if fluxes:
            names = ["E", *(f"flux_{name}" for name in self.densities)]
            functions |= zip(names, self.stepping.scheme.vectors(self.now, names), strict=True)
        return {"fields": (self.mesh, functions)}

    def figures(self) -> dict[str, float]:
        """Invariants and extrema of the present state: masses, free energy, moments, smallest and largest value.

        With degree 1 under attraction also `cell_share`; where the mesh follows the densities its nodes, how often it
        has changed, and by how much that has changed the free energy.
        """
        now, tested = self.now, self.stepping.scheme.tested
        masses = {name: tested(density) for name, density in self.densities.items()}
        found = moments(self.sums, self.nodes.points, masses, self.stepping.scheme.outer)
        found |= {"free_energy": now.energy, "minimum": now.minimum, "maximum": now.maximum}
        if self._may_collapse:
            found["cell_share"] = self.cell_share
        if self.adaptive is not None:
            found |= {"nodes": float(self.nodes.size), "mesh_changes": float(self.adaptive.changes)}
            found["free_energy_moved"] = self.stepping.moved_energy
        return found
