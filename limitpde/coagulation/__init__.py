"""Coagulating Brownian particles and the Smoluchowski coagulation-diffusion equations (Hammond)."""

from limitpde.coagulation.model import Initial, Model

__all__ = ["Initial", "Model"]
