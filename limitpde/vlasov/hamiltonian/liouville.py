"""Liouville's equation of N particles on a line or a circle, as (Vl), (HVl) or (HHt) in N dimensions.

    d_t alpha_N = [H_N, alpha_N]                                                                         (HLv^N)
                = sum_m (-v_m d_{x_m} + 1/(N - 1) sum_{n != m} Gamma'(x_m - x_n) d_{v_m}) alpha_N,

is the transport of (HVl) with dimension N, no two-body potential, and the exterior potential

    U(x_1, ..., x_N) = 1/(N - 1) sum_{m < n} Gamma(x_m - x_n);

without a two-body potential theta = 0. Its Fourier transform in all velocities, (PsQM^N), is (HHt) with the same U,
since F . xi = 1/(2 (N - 1)) sum_{m != n} Vhat(z_m - z_n). H_VL is H_{N,VL} = 1/(2i) int H_N [conj(alpha_N), alpha_N]
then, and |alpha_N|^2 solves (Lv^N). The state starts as the product of N times the same alpha_0, or that times a
symmetric factor.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Literal, cast

import numpy as np
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.potentials import Free, Pairs
from limitpde.vlasov.fields import make_field
from limitpde.vlasov.forms import DensityForm, Form
from limitpde.vlasov.hamiltonian.fourier import FourierSpace
from limitpde.vlasov.hamiltonian.hht import Hht
from limitpde.vlasov.hamiltonian.hvl import Hvl
from limitpde.vlasov.initial import Initial, Start
from limitpde.vlasov.model import Model, PhaseDomain
from limitpde.vlasov.phase_space import Axis, TensorSpace
from limitpde.vlasov.splitting import composition


def many_body_model(model: Model, particles: int, form: Literal["density", "hamiltonian", "hartree"]) -> Model:
    """(Lv^N), (HLv^N) or (PsQM^N) of a model in one dimension, as a model in N dimensions.

    Args:
        model: in one dimension, without exterior potential.
        particles: N, 2 or 3.
        form: "density" for f_N, "hamiltonian" for alpha_N, "hartree" for its Fourier transform.

    Raises:
        InputError: the model has another dimension or an exterior potential, or N is not 2 or 3.
    """
    if model.dimension != 1 or model.exterior is not None:
        raise InputError("model: Liouville's equation needs dimension = 1 and no exterior potential")
    if particles not in (2, 3):
        raise InputError(f"particles = {particles}: must be 2 or 3, a dimension each")
    x, v = tuple(model.x_box[0].tolist()), tuple(model.v_box[0].tolist())
    domain = PhaseDomain(x=(x,) * particles, v=(v,) * particles, periodic=model.domain.periodic)
    return dataclasses.replace(
        model,
        dimension=particles,  # type: ignore[arg-type]
        potential=Free(),
        exterior=Pairs(potential=model.potential),
        form=form,
        domain=domain,
    )


class ProductStart:
    """alpha_0(z_1) ... alpha_0(z_N), times a factor, at points (x_1, ..., x_N, v_1, ..., v_N).

    Args:
        start: alpha_0, of one particle.
        particles: N.
        factor: what alpha is multiplied with besides, of points (n, N, 2); nothing by default.

    Attributes:
        mass: integral of the square.
        outside: the share of it outside of the box.
    """

    parts = None

    def __init__(self, start: Start, particles: int, factor: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        self._start, self._particles, self._factor = start, particles, factor
        self.mass, self.outside = start.mass**particles, 1 - (1 - start.outside) ** particles

    def _product(self, function: Callable[[np.ndarray], np.ndarray], z: np.ndarray) -> np.ndarray:
        factors = [function(np.ascontiguousarray(z[:, j :: self._particles])) for j in range(self._particles)]
        return np.asarray(math.prod(factors[1:], start=factors[0]))

    def density(self, z: np.ndarray) -> np.ndarray:
        """f_0 of all particles, (n, 2 N) -> (n,)."""
        return self._product(self._start.density, z) * self._other(z) ** 2

    def alpha(self, z: np.ndarray) -> np.ndarray:
        """alpha_0 of all particles, (n, 2 N) -> complex (n,)."""
        return self._product(self._start.alpha, z) * self._other(z)

    def _other(self, z: np.ndarray) -> np.ndarray:
        if self._factor is None:
            return np.ones(len(z))
        return self._factor(np.ascontiguousarray(z.reshape(len(z), 2, self._particles).swapaxes(1, 2)))


class Liouville:
    """N particles from a product state. Collective, like all methods.

    Args:
        model: of one particle.
        initial: f_0 and the phase of alpha_0.

    Keyword Args:
        particles: N, 2 or 3.
        form: "density" for f_N, "hamiltonian" for alpha_N, "hartree" for its Fourier transform.
        cells: numbers of cells of each x and of each v.
        degree: of the polynomials.
        order: of the splitting in time, 2 or 4.
        factor: what the product is multiplied with at time 0, of points (n, N, 2) (`ManyBodyStart.factor`).
        comm: the ranks.

    Attributes:
        form: the unknown.
        t: time reached.
    """

    def __init__(
        self,
        model: Model,
        initial: Initial,
        *,
        particles: int,
        form: Literal["density", "hamiltonian", "hartree"] = "hamiltonian",
        cells: tuple[int, int],
        degree: int = 3,
        order: int = 4,
        factor: Callable[[np.ndarray], np.ndarray] | None = None,
        comm: MPI.Comm = MPI.COMM_WORLD,
    ) -> None:
        many = many_body_model(model, particles, form)
        start = ProductStart(Start(initial, model), particles, factor)
        x_axis, v_axis = (
            Axis(low=float(low), high=float(high), cells=count, degree=degree, periodic=periodic)
            for (low, high), count, periodic in (
                (model.x_box[0], cells[0], model.domain.periodic),
                (model.v_box[0], cells[1], False),
            )
        )
        axes = (x_axis,) * particles, (v_axis,) * particles
        self.form: Form
        if form == "hartree":
            grid = FourierSpace(*axes, comm=comm)
            self.form = Hht(many, start, grid, make_field(many, grid))
        else:
            space = TensorSpace(*axes, comm=comm)
            field = make_field(many, space)
            hamiltonian = form == "hamiltonian"
            self.form = Hvl(many, start, space, field) if hamiltonian else DensityForm(cast(Start, start), space, field)
        self.t, self._stages = 0.0, composition(order)

    def advance(self, time: float, steps: int) -> None:
        """Go on by `time` in equal steps. Collective."""
        for _ in range(steps):
            for kind, part in self._stages:
                (self.form.drift if kind == "drift" else self.form.kick)(part * time / steps)
        self.t += time
