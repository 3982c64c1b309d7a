"""The Hamiltonian forms of the Vlasov equation (Neiss and Pickl), their bounds, and the limit of Theorem 4.8.

`Hvl` and `Hht` are what `Solver` drives for (HVl) and (HHt); `bounds` has the growth bounds of section 3, `liouville`
the N-particle equations (HLv^N) and (PsQM^N) as models in N dimensions, `counting` and `trajectories` measure beta_N.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from mpi4py import MPI

from limitpde.vlasov.fields import make_field
from limitpde.vlasov.hamiltonian.fourier import FourierSpace
from limitpde.vlasov.hamiltonian.hht import Hht
from limitpde.vlasov.hamiltonian.hvl import Hvl
from limitpde.vlasov.initial import Start
from limitpde.vlasov.initial_values import mass_factor
from limitpde.vlasov.model import Model
from limitpde.vlasov.phase_space import Axis, TensorSpace

__all__ = ["FourierSpace", "Hht", "Hvl", "make_form"]


def make_form(
    model: Model,
    start: Start,
    x_axes: Sequence[Axis],
    v_axes: Sequence[Axis],
    comm: MPI.Comm,
    *,
    parts: Sequence[int] | None = None,
    sweeps: Sequence[np.ndarray] | None = None,
) -> Hvl | Hht:
    """The unknown of (HVl) or (HHt), as the model's form says, with its space and field. Collective.

    Args:
        model: the parameters; its form is "hamiltonian" or "hartree".
        start: gives alpha at time 0.
        x_axes: d axes.
        v_axes: d axes; for (HHt) as many equally spaced velocities take the place of their nodes.
        comm: the ranks.

    Keyword Args:
        parts: as for `TensorSpace`.
        sweeps: as for `TensorSpace`.

    Raises:
        InputError: the parts do not fit; those of v are one for (HHt).
    """
    if model.form == "hamiltonian":
        space = TensorSpace(x_axes, v_axes, parts=parts, sweeps=sweeps, comm=comm)
        return Hvl(model, start, space, make_field(model, space), scale=partial(mass_factor, start))
    grid = FourierSpace(x_axes, v_axes, parts=parts, sweeps=sweeps, comm=comm)
    return Hht(model, start, grid, make_field(model, grid), scale=partial(mass_factor, start))
