"""The collision operator of the limit at a node: coagulation, annihilation, fragmentation, on integers or bins."""

from limitpde.coagulation.reaction.operator import LARGEST_MATRIX, Reaction

__all__ = ["LARGEST_MATRIX", "Reaction"]
