"""Forces on an unstructured mesh in x, and short runs of (Vl) there with a splitting of their own.

Load: Poisson against closed forms on an interval, a disk and a ball, sums against tables of the kernel, a nonlinear
equilibrium of the Vlasov-Poisson system between walls, and the energy law of the splitting.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
from types import SimpleNamespace

import numpy as np
import pytest
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.fem import mesh as meshes
from limitpde.potentials import Cosine, Free, GaussianPotential, Harmonic, Poisson, Softened
from limitpde.potentials.exterior import Centred
from limitpde.vlasov.fields import mesh_field
from limitpde.vlasov.fields.mesh_field import MeshField
from limitpde.vlasov.phase_space.axes import Axis
from limitpde.vlasov.phase_space.mesh import MeshSpace, make_mesh


def make_space(mesh, d, comm, *, degree=2, v=1.0, v_cells=1, **options):
    axis = Axis(low=-v, high=v, cells=v_cells, degree=degree, periodic=False)
    return MeshSpace(make_mesh(mesh, d, comm), [axis] * d, degree=degree, **options)


def make_field(space, potential=None, exterior=None, **options):
    """The field of a model with these parts; a Model also holds a box for x, for which a mesh has no use."""
    model = SimpleNamespace(dimension=space.d, potential=potential or Free(), exterior=exterior)
    return MeshField(model, space, **options)


def largest(comm, values):
    return comm.allreduce(float(np.abs(values).max(initial=0.0)), op=MPI.MAX)


# --- forces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "sizes"), [(1, (0.2, 0.1)), (2, (0.2, 0.1)), (3, (0.5, 0.25))])
def test_an_even_charge_in_a_grounded_ball_has_a_parabola_as_its_potential(d, sizes, comm):
    strength, errors = 3.0, []
    for size in sizes:
        space = make_space(meshes.Ball(radius=1.0, cell_size=size), d, comm, degree=1)
        field = make_field(space, Poisson(strength=strength))
        rho, x = np.ones(space.x_shape), space.x_points
        exact = strength * (1 - (x**2).sum(axis=1)) / (2 * d)
        inside = (x**2).sum(axis=1) < 0.6
        force = field.force(rho)
        errors.append([
            largest(comm, field.potential(rho) - exact), largest(comm, (force - strength * x.T / d)[:, inside]),
        ])  # fmt: skip
        half = float(space.integrate_x(rho * field.potential(rho))) / 2
        assert field.field_energy(rho) == pytest.approx(half, rel=1e-10)
    if d == 1:
        assert np.max(errors) < 1e-12  # there is no curved boundary, and the parabola is in V_h
    else:
        assert np.log2(errors[0][0] / errors[1][0]) == pytest.approx(2, abs=0.3)  # the ball as a polyhedron
        assert errors[1][0] < 0.01 * strength * 2 ** (d - 2)
        assert errors[1][1] < errors[0][1] / 3


@pytest.mark.parametrize("boundary", ["grounded", "natural"])
def test_the_force_is_of_the_order_of_the_elements(boundary, comm):
    wave, errors = (np.sin if boundary == "grounded" else np.cos), []
    slope = np.cos if boundary == "grounded" else (lambda x: -np.sin(x))
    for size in (0.2, 0.1):
        space = make_space(meshes.Box(size=1.0, cell_size=size), 2, comm, degree=2)
        field = make_field(space, Poisson(strength=0.5), boundary=boundary)
        x, y = np.pi * space.x_points.T
        rho = wave(x) * wave(y) + (0.7 if boundary == "natural" else 0.0)  # of which the mean is subtracted
        exact = -0.5 / (2 * np.pi) * np.stack([slope(x) * wave(y), wave(x) * slope(y)])
        potential = 0.5 / (2 * np.pi**2) * wave(x) * wave(y)
        errors.append(largest(comm, field.force(rho) - exact))
        assert largest(comm, field.potential(rho) - potential) < 2e-4 * size
    assert np.log2(errors[0] / errors[1]) == pytest.approx(3, abs=0.4)
    assert errors[1] < 5e-5


@pytest.mark.ranks
@pytest.mark.parametrize(
    "kernel",
    [GaussianPotential(strength=2.0, width=0.4), Softened(strength=-1.0, width=0.3), Cosine(strength=0.7), Harmonic()],
)
def test_sums_are_those_over_all_nodes(kernel, comm, monkeypatch):
    space = make_space(meshes.Ball(radius=1.0, cell_size=0.5), 2, comm)
    rho = 1 + space.x_points[:, 0] ** 2 + space.x_points[:, 1]
    points, weights = space.gather_x(space.x_points.T).T, space.gather_x(space.x_weights * rho)
    away = space.x_points[:, None] - points
    value = (kernel.value(away.reshape(-1, 2)).reshape(away.shape[:2]) * weights).sum(axis=1)
    gradient = (kernel.gradient(away.reshape(-1, 2)).reshape(away.shape) * weights[:, None]).sum(axis=1)
    for kept in (1 << 25, 0):
        monkeypatch.setattr(mesh_field, "KEPT_ENTRIES", kept)
        monkeypatch.setattr(mesh_field, "BLOCK_ENTRIES", 1000)
        field = make_field(space, kernel)
        np.testing.assert_allclose(field.potential(rho), value, atol=1e-13)
        np.testing.assert_allclose(field.force(rho), -gradient.T, atol=1e-13)
        momentum = space.integrate_x(rho * field.force(rho))
        np.testing.assert_allclose(momentum, 0.0, atol=1e-13)
        half = float(space.integrate_x(rho * field.potential(rho))) / 2
        assert field.field_energy(rho) == pytest.approx(half, rel=1e-12)


@pytest.mark.ranks
def test_the_harmonic_kernel_pulls_to_the_centre_of_mass(comm):
    space = make_space(meshes.Box(size=1.0, cell_size=0.25), 2, comm, degree=2)
    rho = 1 + space.x_points[:, 0]
    force = make_field(space, Harmonic(strength=2.0)).force(rho)
    mass, centre = 1.5, np.array([5 / 6, 3 / 4]) / 1.5
    np.testing.assert_allclose(force, -2.0 * (mass * space.x_points - mass * centre).T, atol=1e-13)


@pytest.mark.ranks
def test_nothing_and_an_exterior_potential(comm):
    space = make_space(meshes.Ball(radius=1.0, cell_size=0.5), 2, comm)
    field = make_field(space, exterior=Centred(kind="harmonic", strength=2.0, center=(0.5, 0.0)))
    away = space.x_points - np.array([0.5, 0.0])
    np.testing.assert_allclose(field.exterior_force, -2 * away.T, atol=1e-14)
    np.testing.assert_allclose(field.exterior_potential, (away**2).sum(axis=1), atol=1e-14)
    rho = np.ones(space.x_shape)
    assert not field.force(rho).any()
    assert not field.potential(rho).any()
    assert field.field_energy(rho) == 0.0


@pytest.mark.ranks
@pytest.mark.parametrize("size", [1.0, 0.5, 0.2])
@pytest.mark.parametrize("potential", [Poisson(strength=1.5), GaussianPotential(strength=1.0, width=0.3)])
@pytest.mark.parametrize("boundary", ["grounded", "natural"])
def test_forces_are_the_same_on_any_number_of_ranks(size, potential, boundary, comm):
    found = []
    for ranks in (comm, MPI.COMM_SELF):
        space = make_space(meshes.Box(size=(1.0, 1.2), cell_size=size), 2, ranks)
        field = make_field(space, potential, boundary=boundary)
        rho = 1 + np.cos(3 * space.x_points[:, 0]) * space.x_points[:, 1]
        rows = np.concatenate([field.force(rho), field.potential(rho)[None]])
        found.append((space.gather_x(rows), field.field_energy(rho)))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-12)
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-12)


@pytest.mark.ranks
def test_what_a_mesh_cannot_do_is_refused(comm):
    space = make_space(meshes.Box(size=1.0, cell_size=0.5), 1, comm)
    with pytest.raises(InputError, match="tensor grid"):
        make_field(space).coupling(np.zeros((1, *space.x_shape)))
    with pytest.raises(InputError, match="boundary = 'periodic'"):
        make_field(space, boundary="periodic")


# --- runs -------------------------------------------------------------------------------------------------------------


class Run:
    """Strang's splitting of (Vl)."""

    def __init__(self, space, field, function):
        self.space, self.field, self.lost = space, field, 0.0
        self.f = space.array()
        space.fill(self.f, function)

    def moments(self):
        """rho and the density of the kinetic energy."""
        factors = [np.ones((1 + self.space.d, n)) for n in self.space.v_shape]
        for j, v in enumerate(self.space.v_nodes):
            factors[j][1 + j] = v**2 / 2
        found = self.space.velocity_integrals(self.f[0], factors)
        return found[0], found[1:].sum(axis=0)

    def force(self):
        """The present force."""
        return self.field.force(self.moments()[0]) + self.field.exterior_force

    def advance(self, dt, steps):
        """Make equal steps."""
        for _ in range(steps):
            self._add(self.space.drift(self.f, dt / 2))
            self._add(self.space.kick(self.f, self.force(), dt))
            self._add(self.space.drift(self.f, dt / 2))
        return self

    def _add(self, result):
        self.f, lost = result
        self.lost += self.space.comm.allreduce(lost)

    @property
    def energy(self):
        """Kinetic, exterior and field energy."""
        rho, kinetic = self.moments()
        outside = kinetic + rho * self.field.exterior_potential
        return float(self.space.integrate_x(outside)) + self.field.field_energy(rho)

    @property
    def mass(self):
        """int f dz."""
        return float(self.space.integrate_x(self.moments()[0]))


def test_a_charged_plasma_between_grounded_mirrors_rests(comm):
    """-phi'' = e^-phi, phi = 0 at both walls: e^-phi = 2 a^2 / cos^2(a (x - 1/2)) with 2 a^2 = cos^2(a / 2)."""
    strength = 6.0
    a = 1.0
    for _ in range(60):
        a = np.sqrt(strength / 2) * np.cos(a / 2) * 0.5 + a * 0.5

    def rest(z):
        y = a * (z[:, 0] - 0.5)
        return 2 * a**2 / strength / np.cos(y) ** 2 * np.exp(-(z[:, 1] ** 2) / 2) / np.sqrt(2 * np.pi)

    errors = []
    for cells in (4, 8):
        mesh = meshes.Box(size=1.0, cell_size=1 / cells)
        space = make_space(mesh, 1, comm, degree=2, v=6.5, v_cells=4 * cells, walls="specular")
        field = make_field(space, Poisson(strength=strength))
        x = space.x_points[:, 0]
        run = Run(space, field, rest)
        exact_force = -2 * a * np.tan(a * (x - 0.5))
        assert largest(comm, run.force() + exact_force) < 0.2 / cells**2
        start, mass = run.f.copy(), run.mass
        run.advance(0.01, 20)
        errors.append((space.square_integral(run.f[0] - start[0]) / space.square_integral(start[0])) ** 0.5)
        assert run.mass + run.lost == pytest.approx(mass, rel=1e-12)
    assert errors[1] < 2e-3
    assert np.log2(errors[0] / errors[1]) > 2.5


def test_a_gas_in_a_well_rests_in_a_box(comm):
    well = Centred(kind="cosine", strength=0.5)
    errors = []
    for cells in (4, 8):
        mesh = meshes.Box(size=np.pi, cell_size=np.pi / cells)
        space = make_space(mesh, 2, comm, degree=2, v=4.5, v_cells=3 * cells // 2, walls="specular")
        rest = lambda z: np.exp(-(z[:, 2:] ** 2).sum(axis=1) / 2 - well.value(z[:, :2]))  # noqa: E731
        run = Run(space, make_field(space, exterior=well), rest)
        start, mass = run.f.copy(), run.mass
        run.advance(0.1, 3)
        errors.append((space.square_integral(run.f[0] - start[0]) / space.square_integral(start[0])) ** 0.5)
        assert run.mass + run.lost == pytest.approx(mass, rel=1e-12)
    assert errors[1] < 5e-3
    assert np.log2(errors[0] / errors[1]) > 2.0


def test_the_energy_of_a_plasma_is_kept_to_the_second_order_of_the_step(comm):
    mesh = meshes.Box(size=4.0, cell_size=0.2)
    space = make_space(mesh, 1, comm, degree=2, v=6.0, v_cells=24, walls="specular")
    field = make_field(space, Poisson(strength=3.0), boundary="natural")

    def start(z):
        return (1 + 0.3 * np.cos(np.pi * z[:, 0] / 2)) * np.exp(-(z[:, 1] ** 2) / 2) / np.sqrt(2 * np.pi)

    drifts = []
    for dt in (0.2, 0.1):
        run = Run(space, field, start)
        energies = [run.energy]
        for _ in range(round(1.0 / dt)):
            energies.append(run.advance(dt, 1).energy)
        drifts.append(np.abs(np.array(energies) - energies[0]).max())
    assert np.log2(drifts[0] / drifts[1]) == pytest.approx(2, abs=0.2)
    assert drifts[0] < 3e-3 * energies[0]


@pytest.mark.ranks
def test_a_plasma_leaks_from_a_grounded_disk_and_every_part_is_counted(comm):
    mesh = meshes.Ball(radius=1.0, cell_size=0.34)
    space = make_space(mesh, 2, comm, degree=2, v=3.0, v_cells=6)
    field = make_field(space, Poisson(strength=4.0))
    run = Run(space, field, lambda z: np.exp(-(z[:, 2:] ** 2).sum(axis=1) / 0.8))
    mass = run.mass
    run.advance(0.1, 5)
    assert run.lost > 0.2 * mass
    assert run.mass + run.lost == pytest.approx(mass, rel=1e-12)
    rho = run.moments()[0]
    radial = (field.force(rho) * space.x_points.T).sum(axis=0)
    assert float(space.integrate_x(radial)) > 0  # like charges are driven outwards
