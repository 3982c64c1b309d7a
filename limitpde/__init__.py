"""Many-particle systems and their limit PDEs: solve, simulate, and measure how far apart they are.

Importing this package first loads MPI (the DOLFINx wheel finds libmpi only then) and h5py (which must bind its own HDF5
before dolfinx.fem.petsc puts PETSc's into the global symbol scope); with a DOLFINx from conda, a cluster or a container
the order is harmless. Every module of the package can therefore rely on it.
"""

from limitpde import launch  # isort: skip

launch.begin()

from mpi4py import MPI  # noqa: E402, F401  isort: skip
import h5py  # noqa: E402, F401  isort: skip

from limitpde.version import __version__ as __version__  # noqa: E402


def __getattr__(name: str) -> object:
    """`limitpde.run`, loaded when it is first used: `import limitpde` alone stays light."""
    if name == "run":
        from limitpde.experiment import run

        return run
    raise AttributeError(f"module 'limitpde' has no attribute {name!r}")
