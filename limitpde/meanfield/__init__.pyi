from . import exact as exact
from .case import Case as Case
from .model import Initial as Initial
from .model import Model as Model
from .particles import simulate as simulate
from .pde import Solver as Solver
from .residual import PDEResidual as PDEResidual
from .summary import PDESummary as PDESummary
