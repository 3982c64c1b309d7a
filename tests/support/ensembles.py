"""Models, initial data, test functions and small ensembles of the signed particle system.

Seeds are fixed; means are allowed SE standard errors.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numba
import numpy as np

from limitpde.compare.test_functions import GaussianBump, Wave
from limitpde.densities import Gaussian, Ring, UniformDisk
from limitpde.nbody.random import two_normals
from limitpde.nbody.replicas import Controls
from limitpde.signed.model import Initial
from limitpde.signed.particles import simulate

SE = 4.5  # standard errors
DIPOLE = Initial(
    positive=(Gaussian(mass=0.5, center=(-1.0, 0.0), width=0.55),),
    negative=(Gaussian(mass=0.5, center=(1.0, 0.0), width=0.55),),
)
UNEQUAL = Initial(
    positive=(Gaussian(mass=0.4, center=(0.0, 0.5), width=0.7), Ring(mass=0.2, center=(0, 0), radius=1.0, width=0.1)),
    negative=(UniformDisk(mass=0.4, center=(0.5, 0.0), radius=1.0),),
)
FUNCTIONS = (
    GaussianBump(center=(0.5, 0.3), width=0.9),
    GaussianBump(center=(-0.5, 0.2), width=0.8, charge=True),
    Wave(k=(0.7, -0.4), phase=0.3),
    Wave(k=(0.5, 0.9), charge=True),
)


def points_file(comm, folder, positions, signs) -> Initial:
    path = folder / f"points{len(signs)}.npz"
    comm.barrier()
    if comm.rank == 0:
        np.savez(path, positions=np.array(positions, dtype=float), signs=np.array(signs, dtype=float))
    comm.barrier()
    return Initial(points=str(path))


def path_of(comm, model, initial, count, stops, end, **options):
    """Ensemble of one replica, and its positions (T, N, 2) and signs, on every rank."""
    seen = []
    snapshot = lambda t, x, sign: seen.append((t, x, sign))  # noqa: E731
    ensemble = simulate(
        model, initial, count=count, replicas=1, end=end, stops=stops, controls=Controls(snapshot=snapshot), **options
    )
    seen = comm.bcast(seen, root=0)
    np.testing.assert_allclose([t for t, _, _ in seen], ensemble.times, rtol=1e-12)
    return ensemble, np.array([x for _, x, _ in seen]), seen[0][2]


POINTS = np.array(
    [(0, 0), (1, 0), (0, 1.2), (-1, 0.3), (0.4, -1), (2, 1), (-1.5, -1), (1.2, -1.7), (-0.3, 2.2), (2.5, 0)]
)


# Redone in numpy


@numba.njit
def normals(seed, replica, count, number):
    out = np.empty((count, 2))
    for i in range(count):
        out[i] = two_normals(seed, 0, replica, i, number)
    return out


def forces(x: np.ndarray, b: np.ndarray, eps: float, kernel: str) -> np.ndarray:
    shift = x[:, None] - x[None]
    square = (shift**2).sum(axis=-1)
    scale = np.maximum(square, eps**2) if kernel == "capped" else square + eps**2
    np.fill_diagonal(scale, 1.0)
    return b[:, None] * (b[None, :, None] * shift / scale[..., None]).sum(axis=1)


def by_hand(function, x, signs):
    """phi, grad phi, Lap phi at (x_i, b_i)."""
    b = signs if function.charge else np.ones(len(signs))
    if isinstance(function, Wave):
        k = np.array(function.k)
        phase = x @ k + function.phase
        return b * np.cos(phase), -(b * np.sin(phase))[:, None] * k, -b * (k @ k) * np.cos(phase)
    y, w2 = x - np.array(function.center), function.width**2
    value = b * np.exp(-(y**2).sum(axis=1) / (2 * w2))
    return value, -value[:, None] * y / w2, value * ((y**2).sum(axis=1) / w2 - 2) / w2
