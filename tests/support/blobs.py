"""The attractive problem that collapses: one Gaussian, critical mass 0.5."""

from __future__ import annotations

import math

from limitpde.densities import Gaussian
from limitpde.signed.model import Initial, Model

MODEL = Model(sigma=1.0, gamma_bar=4.0, interaction="attractive")


def blob(mass):
    return Initial(positive=(Gaussian(mass=mass, center=(0.0, 0.0), width=math.sqrt(0.5)),))
