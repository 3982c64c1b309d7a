"""What a result was made with, and what a bug report needs."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import numba
import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from limitpde.version import __version__

PACKAGES = (
    "numpy",
    "scipy",
    "numba",
    "h5py",
    "mpi4py",
    "pydantic",
    "meshio",
    "matplotlib",
    "pyvista",
    "threadpoolctl",
)


def versions() -> dict[str, str]:
    """Versions by name."""
    import dolfinx

    found = {"limitpde": __version__, "python": platform.python_version(), "dolfinx": dolfinx.__version__}
    found["petsc"] = ".".join(str(part) for part in PETSc.Sys.getVersion())
    found["mpi"] = MPI.Get_library_version().split("\n")[0].strip("\0 ")
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # provided without metadata by a cluster
            continue
    if os.environ.get("LIMITPDE_IMAGE"):  # set in docker/Dockerfile
        found["image"] = os.environ["LIMITPDE_IMAGE"]
    return found


def environment() -> dict[str, str]:
    """Platform, PETSc's solvers and threads, for a bug report."""
    solvers = [name for name in ("mumps", "superlu_dist", "hypre", "ptscotch") if PETSc.Sys.hasExternalPackage(name)]
    return {
        "platform": platform.platform(),
        "petsc packages": ", ".join(solvers) or "none of mumps, superlu_dist, hypre, ptscotch",
        "petsc scalar": str(np.dtype(PETSc.ScalarType)),
        "numba threads": str(numba.config.NUMBA_NUM_THREADS),
    }
