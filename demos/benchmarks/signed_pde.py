"""Speed and accuracy of the finite elements for the signed system against what else solves it. Writes nothing.

Problem S2 of `limitpde.signed.exact`: a neutral dipole of two Gaussian clouds in the plane, D = 0.5, gamma_bar = 0.4, up
to t = 1. Error: of rho_+ at t = 1, relative, in the nodal L2 norm with Voronoi areas, against a Fourier solution with 160
points per direction. Peers, in the same run:

    Galerkin   what a FEniCS user writes: first-order elements on the same mesh, second-order IMEX steps (SBDF2, drift
               extrapolated) of the same size, constant matrices factorised once by MUMPS, and the same number of
               multipole moments in the boundary data of the potential
    Fourier    `limitpde.signed.plane_reference`, made for smooth data in the plane and for nothing else

The second table says where our seconds go. Its last lines compare the assembly with what this machine can do: the
calls of expm1 that the fluxes cannot do without, and the bytes that the edge loops and the matrix must move, at the
bandwidth that a copy of arrays of the same size reaches.

Run: OPENBLAS_NUM_THREADS=1 python demos/benchmarks/signed_pde.py      (about a minute, one core; best of three runs)
"""

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from unittest import mock

import dolfinx.fem.petsc  # after limitpde in spirit, but see below
import numpy as np
