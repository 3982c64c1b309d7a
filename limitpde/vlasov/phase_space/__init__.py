"""Where f lives: piecewise polynomials on a tensor grid of phase space, moved along one coordinate at a time."""

from limitpde.vlasov.phase_space.axes import Axis
from limitpde.vlasov.phase_space.tensor import TensorSpace

__all__ = ["Axis", "TensorSpace"]
