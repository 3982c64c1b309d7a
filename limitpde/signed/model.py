"""The signed Coulomb system: its parameters and its initial densities.

Particles (van Meurs-Peletier-Slangen (1.1)) dX_i = sigma dB_i + gamma sum_j b_i b_j K(X_i - X_j) dt in the plane, with
K(x) = x / |x|^2 and charges b_i = +-1; in the mean-field scaling gamma = gamma_bar / N. Their limit is (1.3) = (5.6),

    d_t rho_s + b_s gamma_bar div(rho_s K * u) = D Lap rho_s,    u = sum_s b_s rho_s,   s = +, -.

Ito's formula gives D = sigma^2 / 2 (`diffusivity = "ito"`); the paper prints sigma (`diffusivity = "paper"`), which is
right for sigma = 2 only. `Model.interaction` turns this into the other systems of the paper's section 1: one in which
all particles repel or attract each other (1.2), and point vortices; sigma = 0 is the noiseless system (1.5).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from limitpde.checked import record
from limitpde.densities import AnyDensityIn, Uniform
from limitpde.files import File
from limitpde.signed.confinement import Confinement

Strength = Annotated[float, Field(ge=0, le=1.3e154)]  # its square is a number
SPECIES = ("positive", "negative")


@record
class Model:
    """Parameters of the signed system, (1.1) and (1.3); exactly one of gamma_bar and gamma is given."""

    sigma: Strength
    """Strength of the noise, sigma in (1.1); 0 for the noiseless system (1.5)."""
    gamma_bar: Strength | None = None
    """Strength of the interaction in the limit; between N particles it is gamma_bar / N."""
    gamma: Strength | None = None
    """Strength of the interaction between two particles, whatever N; there is no limit N -> infinity then, and W is
    that of the equation with gamma_bar = N gamma."""
    interaction: Literal["signed", "repulsive", "attractive", "rotated"] = "signed"
    """What stands in front of K: b_i b_j ("signed"), 1 ("repulsive"), or -1 ("attractive", (1.2)); "rotated": the
    velocities b_j K_perp, K_perp(x) = (-x_2, x_1) / |x|^2, of point vortices of strength b_j (section 1.1)."""
    confinement: Confinement | None = None
    """Exterior potential U, which adds the drift -grad U; none by default."""
    diffusivity: Literal["ito", "paper"] = "ito"
    """D = sigma^2 / 2 ("ito") or D = sigma ("paper") in the limit and in the residual."""

    annihilation: bool | None = None
    """Whether the limit equation has the reaction -4 pi gamma_bar rho_+ rho_- of charges that vanish when they meet; by
    default it has in a case with particles.collision = "annihilate"."""

    def __post_init__(self) -> None:
        if self.annihilation and self.interaction != "signed":
            raise ValueError(f"annihilation = true: is for interaction = 'signed', not {self.interaction!r}")
        if (self.gamma_bar is None) == (self.gamma is None):
            raise ValueError("give either gamma_bar (mean-field scaling gamma = gamma_bar / N) or gamma, not both")

    @property
    def D(self) -> float:  # noqa: N802 - the paper's letter
        """Diffusivity of the limit equation."""
        return self.sigma**2 / 2 if self.diffusivity == "ito" else self.sigma

    @property
    def charges(self) -> tuple[float, float]:
        """b of the positive and of the negative species, as the interaction sees it."""
        return (1.0, -1.0) if self.interaction in ("signed", "rotated") else (1.0, 1.0)

    @property
    def sense(self) -> float:
        """-1 where equal charges attract each other, 1 where they repel: the force is sense gamma b_i b_j K."""
        return -1.0 if self.interaction == "attractive" else 1.0

    @property
    def coupling(self) -> float:
        """g of the limit equation: gamma_bar (0 without one), negative where equal charges attract each other.

        Zero for vortices, whose velocities are not those of a potential: see `circulation`.
        """
        return 0.0 if self.interaction == "rotated" else self.sense * float(self.gamma_bar or 0.0)

    @property
    def circulation(self) -> float:
        """Strength of the velocities K_perp * u in the limit equation: gamma_bar for vortices, else zero."""
        return float(self.gamma_bar or 0.0) if self.interaction == "rotated" else 0.0

    @property
    def reaction(self) -> float:
        """k of the reaction -k rho_+ rho_- in both limit equations: 4 pi gamma_bar where charges annihilate, else 0.

        Two charges at a distance r meet before t with probability Q(a, r^2 / (4 sigma^2 t)), a = gamma / sigma^2 (van
        Meurs-Peletier-Slangen, section 2.3). For gamma = gamma_bar / N the integral of this over the plane is
        4 pi gamma t to first order in a: Langevin's rate of recombination, free of sigma.
        """
        return 4 * math.pi * float(self.gamma_bar or 0.0) if self.annihilation else 0.0

    def pair_strength(self, count: int) -> float:
        """gamma_N >= 0, the strength of the interaction between two of N = count particles; `sense` is its sign."""
        return self.gamma_bar / count if self.gamma_bar is not None else float(self.gamma or 0.0)

    def regime(self, positive: int, negative: int) -> str:
        """What the paper proves for so many particles of each sign, in words (theorems 2.1, 4.1 and 5.4)."""
        count = positive + negative
        gamma = self.pair_strength(count)
        if self.interaction == "rotated":
            return "rotated kernel: not among the paper's theorems"
        if self.interaction == "attractive":
            return self._attractive_regime(count)
        if self.interaction == "repulsive" or min(positive, negative) == 0:
            return "no collisions"
        if self.gamma_bar is not None and self.gamma_bar < self.sigma**2 / 2:
            return "mean-field limit proven: gamma_bar < sigma^2 / 2"
        limit = "" if self.gamma_bar is None else "; mean-field limit not proven: gamma_bar >= sigma^2 / 2"
        if gamma < self.sigma**2 / 2:
            return f"collisions of pairs (+, -) are simple: gamma < sigma^2 / 2{limit}"
        if gamma < self.sigma**2:
            return f"pairs (+, -) collide and separate at once: sigma^2 / 2 <= gamma < sigma^2{limit}"
        return f"pairs (+, -) stick: gamma >= sigma^2{limit}"

    @property
    def outside_theory(self) -> str:
        """Which assumption of the mean-field limit (Theorem 5.4, Lemma 5.10) does not hold, if any."""
        if self.interaction in ("rotated", "attractive"):
            return f'model.interaction = "{self.interaction}": the paper proves the limit of other forces'
        if self.gamma_bar is None:
            return f"model.gamma = {self.gamma}: a strength that does not fall like 1/N has no mean-field limit"
        if self.interaction == "signed" and self.gamma_bar >= self.sigma**2 / 2:
            bound = f"sigma^2 / 2 = {self.sigma**2 / 2:g}"
            return f"model.gamma_bar = {self.gamma_bar:g}: the limit is proven below {bound}"
        return ""

    def _attractive_regime(self, count: int) -> str:
        """All attract all: R of (4.26) for k of them has the dimension (k - 1) (2 - k gamma / sigma^2)."""
        gamma = self.pair_strength(count)
        if count * gamma < 2 * self.sigma**2:
            return "attractive, below the critical mass: N gamma < 2 sigma^2"
        return "attractive: all N particles stick together in the end, N gamma >= 2 sigma^2"


@record
class Initial:
    """Initial densities of both signs; their masses add to one where particles are drawn from them."""

    positive: tuple[AnyDensityIn, ...] = ()
    """Parts of rho_+ at time 0."""
    negative: tuple[AnyDensityIn, ...] = ()
    """Parts of rho_- at time 0."""
    points: File | None = None
    """Instead: an .npz file with arrays `positions` (N, 2) and `signs` (N,), for a run without [pde]."""
    signs: Literal["fixed", "random"] = "fixed"
    """N times the mass of each sign, rounded, in every replica; or a sign for each charge, drawn with the masses as
    probabilities (Y_0 of section 5, exchangeable)."""

    def __post_init__(self) -> None:
        if self.points is None and not (self.positive or self.negative):
            raise ValueError("give the parts of positive, of negative, or points")
        if self.points is not None and self.signs == "random":
            raise ValueError("signs = 'random': the points of a file have the signs that it gives")
        if self.points is not None and (self.positive or self.negative):
            raise ValueError("give either points, or the parts of positive and negative, not both")
        for part in (*self.positive, *self.negative):
            if not isinstance(part, Uniform) and len(part.center) != 2:
                raise ValueError(
                    f"center = {list(part.center)} must have 2 coordinates: the particles live in the plane"
                )

    def parts(self, species: int) -> tuple[AnyDensityIn, ...]:
        """The parts of rho_+ (species 0) or rho_- (species 1)."""
        return (self.positive, self.negative)[species]

    @property
    def needs_walls(self) -> bool:
        """Whether a part fills the whole domain, which must be bounded then."""
        return any(isinstance(part, Uniform) for part in (*self.positive, *self.negative))

    def drawn(self, count: int) -> np.ndarray:
        """So many points from each part of the densities, (n, 2), the same at each call."""
        rng = np.random.default_rng(0)
        parts = [part for part in (*self.positive, *self.negative) if not isinstance(part, Uniform)]
        return np.concatenate([np.empty((0, 2)), *(part.sample(count, rng) for part in parts)])

    def mass(self, species: int) -> float:
        """Mass of one species."""
        return math.fsum(part.mass for part in self.parts(species))
