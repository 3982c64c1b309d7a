"""Small phase spaces, fields on them, and their values on every rank."""

from __future__ import annotations

import numpy as np

from limitpde.vlasov.phase_space import Axis, TensorSpace

SMALL = {1: (5, 4), 2: (3, 2, 4, 3), 3: (2, 3, 1, 2, 1, 2)}


def space(cells, degree, comm, *, periodic=True, v=3.0, **options):
    """A space with cells[j] in coordinate j of 2 d, on [0, 2]^d or, with ends, [-1, 1]^d, and [-v, v]^d."""
    d = len(cells) // 2
    low, high = (0.0, 2.0) if periodic else (-1.0, 1.0)
    x_axes = [Axis(low=low, high=high, cells=n, degree=degree, periodic=periodic) for n in cells[:d]]
    v_axes = [Axis(low=-v, high=v, cells=n, degree=degree, periodic=False) for n in cells[d:]]
    return TensorSpace(x_axes, v_axes, comm=comm, **options)


def everywhere(here, values):
    """Values of one component at all nodes, on every rank."""
    return here.comm.bcast(here.gather(values), root=0)


def given(here, values):
    """f of values (components, *X, *V) at all nodes."""
    return np.stack([part[here.place] for part in values])


def noise(here, components=1, seed=3):
    """Numbers at all nodes, (components, *X, *V), the same on every rank."""
    shape = [axis.n for axis in (*here.x_axes, *here.v_axes)]
    return np.random.default_rng(seed).uniform(-0.2, 1.0, (components, *shape))


def mass(here, f):
    ones = [np.ones((1, n)) for n in here.v_shape]
    return float(here.integrate_x(here.velocity_integrals(f[0], ones))[0])


def force_at(x):
    """A force of every sign and of every size up to 2, (..., d) -> (d, ...)."""
    return np.stack([2.0 * np.sin(3.0 * x[..., j] + x.sum(axis=-1) + j) for j in range(x.shape[-1])])
