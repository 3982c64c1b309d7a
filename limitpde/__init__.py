"""Many-particle systems and their limit PDEs: solve, simulate, and measure how far apart they are.

Importing this package first loads MPI (the DOLFINx wheel finds libmpi only then) and h5py, which must bind its own HDF5
though dolfinx.fem.petsc puts PETSc's into the global symbol scope; with a DOLFINx from conda, a cluster or a container
there is one HDF5. Every module of the package can therefore rely on it.
"""

from limitpde import launch  # isort: skip

launch.begin()

import logging  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

from mpi4py import MPI  # noqa: E402, F401  isort: skip

logging.getLogger("limitpde").addHandler(logging.NullHandler())  # whoever wants to read it says where

_flags = sys.getdlopenflags()
if "petsc4py.PETSc" in sys.modules:  # its HDF5 is in the global scope: without this h5py says "Not a datatype"
    sys.setdlopenflags(_flags | getattr(os, "RTLD_DEEPBIND", 0))
import h5py  # noqa: E402, F401  isort: skip

sys.setdlopenflags(_flags)

from limitpde.version import __version__ as __version__  # noqa: E402

if TYPE_CHECKING:
    from limitpde.experiment import run as run
    from limitpde.result import Result as Result
    from limitpde.studies import study as study

_OFFERED = {"run": "experiment", "study": "studies", "Result": "result"}


def __getattr__(name: str) -> object:
    """`limitpde.run`, `study` and `Result`, loaded when they are first used: `import limitpde` alone stays light."""
    if name not in _OFFERED:
        raise AttributeError(f"module 'limitpde' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"limitpde.{_OFFERED[name]}"), name)


def __dir__() -> list[str]:
    """What there is to use, for those who look by the tabulator key."""
    return [*_OFFERED, "__version__"]
