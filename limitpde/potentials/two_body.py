"""The two-body potential Gamma of Newton's particles and of (Vl), and exterior potentials U.

    kind        Gamma(x) in R^d                           Gammahat(k) = int Gamma e^{-i k.x} dx
    gaussian    strength exp(-|x|^2 / (2 width^2))        strength (sqrt(2 pi) width)^d exp(-|k|^2 width^2 / 2)
    cosine      strength sum_j cos x_j                    (the modes k = e_j alone)
    softened    strength / sqrt(|x|^2 + width^2)          strength times 2 K_0(w k), 2 pi e^{-w k} / k,
                                                          4 pi w K_1(w k) / k for d = 1, 2, 3; w = width, k = |k|
    poisson     -Lap Gamma = strength (delta - mean)      strength / |k|^2
                d = 1, whole space: -strength |x| / 2
    harmonic    strength |x|^2 / 2                        none; whole space only
    none        0
    python      function(x (n, d)) -> Gamma (n,), grad Gamma (n, d), in a file

Neiss and Pickl ask (Pot): Gamma even, C^3, with bounded first, second and third derivatives. Gaussian, cosine, softened
and none satisfy it (`bound` is their constant C_Gamma); poisson and harmonic do not (the force of the first jumps or is
unbounded at 0, that of the second at infinity), yet (Vl) makes sense for both; of a Python function it is not known.

On a torus Gamma is replaced by the sum of its images less its mean (`modes`, `on_torus`): forces do not feel the
constant, energies are measured without it. A Python function is taken at the displacement to the nearest image, less
its mean over the torus.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import Discriminator, Tag

from limitpde.checked import Coordinate, Moderate, record, told_apart
from limitpde.errors import InputError
from limitpde.potentials import modes as lattice
from limitpde.potentials.modes import Modes, wave_numbers
from limitpde.potentials.user import PotentialFromFile, nearest_image, torus_mean, user_potential


class Potential(Protocol):
    """What every two-body potential can be asked."""

    @property
    def kind(self) -> str:
        """Its name in a case file."""

    def check(self, x_box: np.ndarray, *, periodic: bool) -> None:
        """Raise a ValueError where Gamma makes no sense on the torus or, if not periodic, in the whole space."""

    def value(self, x: np.ndarray) -> np.ndarray:
        """Gamma in the whole space, (n, d) -> (n,)."""

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """grad Gamma in the whole space, (n, d) -> (n, d)."""

    def symbol(self, k: np.ndarray) -> np.ndarray | None:
        """Gammahat at wave vectors, (n, d) -> (n,); None where it is not a function, or not known."""

    def modes(self, x_box: np.ndarray) -> Modes | None:
        """Gamma on the torus x_box (d, 2), up to a constant; None if the sum is infinite, or not known."""

    def bound(self, dimension: int) -> float:
        """C_Gamma of (Pot) in the whole space: max of sup |D Gamma|, sup |D^2 Gamma|, sup |D^3 Gamma|.

        The norms are those of multilinear forms. Infinite where there is no such bound, or none is known.
        """


def _square(x: np.ndarray) -> np.ndarray:
    return np.asarray((x**2).sum(axis=1))


def _radius(kernel: GaussianPotential | Softened, x_box: np.ndarray) -> float:
    """|k| up to which a smooth radial kernel has modes on a torus.

    Raises:
        InputError: there would be too many.
    """
    d = len(x_box)
    shortest = 2 * math.pi / float(np.diff(x_box, axis=1).max())
    radius = lattice.cut_radius(lambda k: kernel.radial_symbol(k, d), shortest, kernel.width)
    found = lattice.count(radius, x_box)
    if found > lattice.MOST:
        raise InputError(
            f"potential.width = {kernel.width:g}: too small for this torus, where Gamma then has {found} Fourier modes "
            f"(at most {lattice.MOST} are allowed)"
        )
    return radius


def _radial_modes(kernel: GaussianPotential | Softened, x_box: np.ndarray) -> Modes:
    radius = _radius(kernel, x_box)
    return lattice.lattice_modes(lambda k: kernel.radial_symbol(k, len(x_box)), radius, x_box)


@record
class GaussianPotential:
    """strength exp(-|x|^2 / (2 width^2))."""

    kind: Literal["gaussian"] = "gaussian"
    strength: Coordinate = 1.0
    """Gamma(0); positive repels."""
    width: Moderate = 1.0
    """Standard deviation, a length."""

    def check(self, x_box: np.ndarray, *, periodic: bool) -> None:
        """Raise a ValueError if it has too many modes on the torus."""
        if periodic:
            _radius(self, x_box)

    def value(self, x: np.ndarray) -> np.ndarray:
        """Gamma, (n, d) -> (n,)."""
        return np.asarray(self.strength * np.exp(-_square(x) / (2 * self.width**2)))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """grad Gamma = -x / width^2 Gamma, (n, d) -> (n, d)."""
        return np.asarray(-x / self.width**2 * self.value(x)[:, None])

    def radial_symbol(self, k: np.ndarray, dimension: int) -> np.ndarray:
        """Gammahat as a function of |k|, of any shape."""
        return np.asarray(
            self.strength * (math.sqrt(2 * math.pi) * self.width) ** dimension * np.exp(-((k * self.width) ** 2) / 2)
        )

    def symbol(self, k: np.ndarray) -> np.ndarray | None:
        """Gammahat at wave vectors, (n, d) -> (n,)."""
        return self.radial_symbol(np.linalg.norm(k, axis=1), k.shape[1])

    def modes(self, x_box: np.ndarray) -> Modes | None:
        """The sum of the images on the torus x_box (d, 2), up to a constant."""
        return _radial_modes(self, x_box)

    def bound(self, dimension: int) -> float:
        """C_Gamma: the suprema are e^{-1/2}, 1, sqrt(6 (3 - sqrt 6)) e^{-(3 - sqrt 6)/2}, over powers of the width."""
        p = 3 - math.sqrt(6)
        third = math.sqrt(6 * p) * math.exp(-p / 2)
        w = self.width
        return abs(self.strength) * max(math.exp(-0.5) / w, 1 / w**2, third / w**3)


@record
class Cosine:
    """strength sum_j cos x_j; with strength = -1 the attractive HMF model."""

    kind: Literal["cosine"] = "cosine"
    strength: Coordinate = 1.0
    """Negative attracts."""

    def check(self, x_box: np.ndarray, *, periodic: bool) -> None:
        """Raise a ValueError if it is not periodic on the torus."""
        if periodic:
            wave_numbers(x_box)

    def value(self, x: np.ndarray) -> np.ndarray:
        """Gamma, (n, d) -> (n,)."""
        return np.asarray(self.strength * np.cos(x).sum(axis=1))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """-strength sin x_j, (n, d) -> (n, d)."""
        return np.asarray(-self.strength * np.sin(x))

    def symbol(self, k: np.ndarray) -> np.ndarray | None:
        """None: it is a measure."""
        return None

    def modes(self, x_box: np.ndarray) -> Modes | None:
        """The d modes, with the wave numbers of the torus itself, 2 pi m / L."""
        return Modes(np.diag(wave_numbers(x_box)), np.full(len(x_box), self.strength))

    def bound(self, dimension: int) -> float:
        """C_Gamma: sqrt(d) strength, of the first derivative."""
        return abs(self.strength) * math.sqrt(dimension)


@record
class Softened:
    """strength / sqrt(|x|^2 + width^2): Coulomb's or Newton's potential in space, softened (Plummer)."""

    kind: Literal["softened"] = "softened"
    strength: Coordinate = 1.0
    """Positive repels."""
    width: Moderate = 1.0
    """Softening length."""

    def check(self, x_box: np.ndarray, *, periodic: bool) -> None:
        """Raise a ValueError if it has too many modes on the torus."""
        if periodic:
            _radius(self, x_box)

    def value(self, x: np.ndarray) -> np.ndarray:
        """Gamma, (n, d) -> (n,)."""
        return np.asarray(self.strength / np.sqrt(_square(x) + self.width**2))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """-strength x (|x|^2 + width^2)^{-3/2}, (n, d) -> (n, d)."""
        return np.asarray(-self.strength * x * ((_square(x) + self.width**2) ** -1.5)[:, None])

    def radial_symbol(self, k: np.ndarray, dimension: int) -> np.ndarray:
        """Gammahat as a function of |k|, of any shape; infinite at 0."""
        from scipy.special import k0, k1

        w = self.width
        with np.errstate(divide="ignore"):
            match dimension:
                case 1:
                    profile = 2 * k0(w * k)
                case 2:
                    profile = 2 * math.pi * np.exp(-w * k) / k
                case _:
                    profile = 4 * math.pi * w * k1(w * k) / k
        return np.asarray(self.strength * profile)

    def symbol(self, k: np.ndarray) -> np.ndarray | None:
        """Gammahat at wave vectors, (n, d) -> (n,)."""
        return self.radial_symbol(np.linalg.norm(k, axis=1), k.shape[1])

    def modes(self, x_box: np.ndarray) -> Modes | None:
        """The sum of the images on the torus x_box (d, 2), less its infinite mean."""
        return _radial_modes(self, x_box)

    def bound(self, dimension: int) -> float:
        """C_Gamma: the suprema are 2 / sqrt 27, 1 and 3 y (3 - 5 y^2) (1 - y^2)^2, over powers of the width.

        The third derivative along a unit vector is 6 P_3(-y) / q^2 / width^4 with q = 1 + |x / width|^2, y^2 <= 1 - 1/q
        (generating function of Legendre's polynomials); its largest value is at 35 y^4 - 30 y^2 + 3 = 0.
        """
        y = math.sqrt((15 - math.sqrt(120)) / 35)
        third = 3 * y * (3 - 5 * y**2) * (1 - y**2) ** 2
        w = self.width
        return abs(self.strength) * max(2 / math.sqrt(27) / w**2, 1 / w**3, third / w**4)


@record
class Poisson:
    """-Lap Gamma = strength (delta - mean); in the whole space, d = 1 only, Gamma = -strength |x| / 2."""

    kind: Literal["poisson"] = "poisson"
    strength: Coordinate = 1.0
    """Positive repels (plasma), negative attracts (gravity)."""

    def check(self, x_box: np.ndarray, *, periodic: bool) -> None:
        """Raise a ValueError in the whole space if d > 1."""
        if not periodic and len(x_box) > 1:
            raise InputError(
                f"potential.kind = 'poisson' with dimension = {len(x_box)}: needs domain.periodic = true; in the whole "
                "space it is there for dimension = 1 only, else use kind = 'softened'"
            )

    def value(self, x: np.ndarray) -> np.ndarray:
        """-strength |x| / 2 of the whole line, (n, 1) -> (n,)."""
        self.check(np.zeros((x.shape[1], 2)), periodic=False)
        return np.asarray(-self.strength * np.abs(x[:, 0]) / 2)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """-strength sign(x) / 2 of the whole line, 0 at 0, (n, 1) -> (n, 1)."""
        self.check(np.zeros((x.shape[1], 2)), periodic=False)
        return np.asarray(-self.strength * np.sign(x) / 2)

    def symbol(self, k: np.ndarray) -> np.ndarray | None:
        """Strength / |k|^2, (n, d) -> (n,); infinite at 0."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.strength / _square(k))

    def modes(self, x_box: np.ndarray) -> Modes | None:
        """None: they do not end."""
        return None

    def bound(self, dimension: int) -> float:
        """Infinite: the force jumps, or worse."""
        return math.inf if self.strength else 0.0


@record
class Harmonic:
    """strength |x|^2 / 2, in the whole space only."""

    kind: Literal["harmonic"] = "harmonic"
    strength: Coordinate = 1.0
    """Positive attracts: f turns rigidly about its centre of mass."""

    def check(self, x_box: np.ndarray, *, periodic: bool) -> None:
        """Raise a ValueError on a torus."""
        if periodic:
            raise InputError("potential.kind = 'harmonic': not periodic, needs domain.periodic = false")

    def value(self, x: np.ndarray) -> np.ndarray:
        """Gamma, (n, d) -> (n,)."""
        return np.asarray(self.strength * _square(x) / 2)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Strength x, (n, d) -> (n, d)."""
        return np.asarray(self.strength * x)

    def symbol(self, k: np.ndarray) -> np.ndarray | None:
        """None: it is no function."""
        return None

    def modes(self, x_box: np.ndarray) -> Modes | None:
        """None: it is not periodic."""
        return None

    def bound(self, dimension: int) -> float:
        """Infinite: the force grows with the distance."""
        return math.inf if self.strength else 0.0


@record
class Free:
    """No interaction."""

    kind: Literal["none"] = "none"

    def check(self, x_box: np.ndarray, *, periodic: bool) -> None:
        """Always right."""

    def value(self, x: np.ndarray) -> np.ndarray:
        """0, (n, d) -> (n,)."""
        return np.zeros(len(x))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """0, (n, d) -> (n, d)."""
        return np.zeros(x.shape)

    def symbol(self, k: np.ndarray) -> np.ndarray | None:
        """0, (n, d) -> (n,)."""
        return np.zeros(len(k))

    def modes(self, x_box: np.ndarray) -> Modes | None:
        """None of them: an empty sum."""
        return Modes(np.zeros((0, len(x_box))), np.zeros(0))

    def bound(self, dimension: int) -> float:
        """0."""
        return 0.0


def kind_of(value: Any) -> str:
    """The tag of a record of a potential, or of the section that is to become one."""
    kind = value.get("kind", "python" if "python" in value else "") if isinstance(value, dict) else ""
    kind = kind or getattr(value, "kind", "")
    return "from file" if kind == "python" else str(kind)


def by_kind(kinds: str) -> Discriminator:
    """What tells records of potentials apart, and says which there are."""
    return told_apart(kind_of, f"{kinds}; or with python = 'file.py:function'", key="kind")


AnyPotential = Annotated[
    Annotated[GaussianPotential, Tag("gaussian")]
    | Annotated[Cosine, Tag("cosine")]
    | Annotated[Softened, Tag("softened")]
    | Annotated[Poisson, Tag("poisson")]
    | Annotated[Harmonic, Tag("harmonic")]
    | Annotated[Free, Tag("none")]
    | Annotated[PotentialFromFile, Tag("from file")],
    by_kind("'gaussian', 'cosine', 'softened', 'poisson', 'harmonic', 'none'"),
]
"""A two-body potential as a case names it."""


def on_torus(potential: Potential, x: np.ndarray, x_box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gamma without its mean, and its gradient on the torus x_box (d, 2): (n, d) -> (n,), (n, d).

    A Python function is evaluated at the displacement to the nearest image; where two are equally near, the gradient
    across is 0, as for every even function that is smooth there.

    Raises:
        InputError: poisson with d > 1, an infinite sum; harmonic.
    """
    potential.check(x_box, periodic=True)
    if isinstance(potential, PotentialFromFile):
        r, half = nearest_image(x, x_box), np.diff(x_box, axis=1)[:, 0] / 2
        value, gradient = user_potential(potential.python, r)
        value = value - torus_mean(potential.python, tuple((2 * half).tolist()))
        return value, np.where(np.abs(np.abs(r) - half) <= 1e-12 * half, 0.0, gradient)
    if isinstance(potential, Poisson) and len(x_box) == 1:
        length = float(x_box[0, 1] - x_box[0, 0])
        s = nearest_image(x, x_box) / length
        value = potential.strength * length / 2 * (s**2 - np.abs(s) + 1 / 6)[:, 0]
        return value, potential.strength * (s - np.sign(s) / 2)
    found = potential.modes(x_box)
    if found is None:
        raise InputError(
            f"potential.kind = {potential.kind!r}: its sum over the images does not end for d = {len(x_box)}"
        )
    return found.value(x), found.gradient(x)
