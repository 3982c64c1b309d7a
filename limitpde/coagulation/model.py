"""Coagulating Brownian particles: their parameters and initial densities (Hammond sections 1.2 to 1.5).

A particle of mass n moves as B(2 d(n) t). A pair at x_i, x_j coagulates at the rate alpha(m_i, m_j) eps^-2
V((x_i - x_j) / eps), N = Z eps^(2-d) (1.7); for d = 2 the rate carries 1 / |log eps|, and N = Z |log eps| (section
2.5). With mass-dependent ranges r_n (section 2.4.2) it is alpha eps^-2 (r_n + r_m)^-2 V((x_i - x_j) / ((r_n + r_m)
eps)). P_{N,beta} of section 3.4 (`range_exponent`, beta < 1, d = 3) has the range eps^beta and the rate alpha
eps^(-2 + d (1 - beta)) V((x_i - x_j) / eps^beta), which meets without correlations: its limit has the naive rate. The
limit is (1.2):

    d_t f_n = d(n) Lap f_n + 1/2 sum_{m<n} beta(m, n-m) f_m f_{n-m} - f_n sum_m beta(m, n) f_m.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import Discriminator, Field, Tag
from pydantic_core import ArgsKwargs

from limitpde.checked import BESIDE, LARGEST, SMALLEST, Moderate, record
from limitpde.coagulation.interaction import AnyInteraction, NotNegative, ProductLaw
from limitpde.densities import AnyDensityIn, Uniform
from limitpde.domains import Domain
from limitpde.errors import InputError
from limitpde.files import PythonFunction, load_function

DRAWN = 1000
"""Points of each density at which the sum of all is looked at."""
Mass = Annotated[int, Field(ge=1, lt=2**31)]


@record
class PowerLaw:
    """scale n^power, for d(n) and for r_n."""

    power: float
    """Exponent of the mass."""
    scale: Moderate = 1.0
    """Value at mass one."""

    def at(self, n: np.ndarray) -> np.ndarray:
        """Values at masses n, of any shape."""
        return np.asarray(self.scale * np.asarray(n, dtype=float) ** self.power)


@record
class Rates:
    """The macroscopic propensities beta(n, m) of (1.3)-(1.4), times `scale`."""

    kernel: Literal["constant", "additive", "multiplicative", "from_micro", "matrix", "python"] = "from_micro"
    """1, n + m, n m, the recipe (1.8)-(1.9), a matrix, or a function."""
    scale: Moderate = 1.0
    """Factor in front of all of these; 1 for the theorem's own rates."""
    log_eps: Annotated[float, Field(lt=0.0)] | None = None
    """For "from_micro" in two dimensions, or with range_exponent < 1, where the rate depends on eps: log eps of the
    rate; that of the limit by default. The report has it for each N."""
    matrix: tuple[tuple[NotNegative, ...], ...] | None = None
    """beta(n, m) for n, m = 1 ... n_max, symmetric."""
    python: PythonFunction | None = None
    """"file.py:function" of arrays n, m of masses -> beta(n, m) of the same shape, symmetric."""

    def __post_init__(self) -> None:
        for name in ("matrix", "python"):
            if (getattr(self, name) is not None) != (self.kernel == name):
                raise ValueError(f'{name} = ... and kernel = "{name}" need each other')
        if self.log_eps is not None and self.kernel != "from_micro":
            raise ValueError(f'log_eps = {self.log_eps:g}: is for kernel = "from_micro"; leave it out')
        if self.matrix is not None:
            square = all(len(row) == len(self.matrix) for row in self.matrix)
            if not square or not np.array_equal(np.array(self.matrix), np.array(self.matrix).T):
                raise ValueError("matrix: must be square and symmetric")
        if self.python is not None:
            load_function(self.python)


@record
class Fragmentation:
    """Splitting (section 8.3.4): mass n >= 2 splits at `rate` n^power into m and n - m, each m = 1 ... n-1 alike.

    One part stays, the other appears at a displacement eps x (with ranges: (r_m + r_{n-m}) eps x), x of density
    V / int V, where the two may coagulate again at once; in the limit the rate is therefore multiplied by
    beta(m, n-m) / (alpha int V), the chance that they do not.
    """

    rate: Moderate
    """c in the rate c n^power at which mass n splits."""
    power: float = 0.0
    """Exponent of the mass."""

    def at(self, n: np.ndarray) -> np.ndarray:
        """Splittings per time of masses n; zero for mass one."""
        n = np.asarray(n, dtype=float)
        return np.where(n >= 2, self.rate * n**self.power, 0.0)


def _at(table: tuple[float, ...] | PowerLaw, n: np.ndarray) -> np.ndarray:
    if isinstance(table, PowerLaw):
        return table.at(n)
    index = np.minimum(np.asarray(n, dtype=np.int64), len(table)) - 1
    return np.asarray(table, dtype=float)[index]


MassFunction = (
    Annotated[Annotated[tuple[Moderate, ...], Field(min_length=1)], Tag("list")] | Annotated[PowerLaw, Tag("power law")]
)


def _kind(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return "list"
    return "power law" if isinstance(value, dict | PowerLaw) else None


AnyMassFunction = Annotated[
    MassFunction,
    Discriminator(
        _kind,
        custom_error_type="table",
        custom_error_message="Input should be a list, or a section { power = ..., scale = ... }",
    ),
]


@record
class Model:
    """Parameters of the particles and of their limit."""

    dimension: Literal[1, 2, 3] = 3
    """d; particles need 2 or 3."""
    diffusion: AnyMassFunction
    """d(n): a list [d(1), d(2), ...], of which the last entry holds for all greater masses, or { power, scale }."""
    interaction: AnyInteraction | None = None
    """V and alpha; particles and beta.kernel = "from_micro" need it."""
    ranges: AnyMassFunction | None = None
    """r_n of section 2.4.2, as `diffusion`; one range for all masses by default."""
    range_exponent: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """beta of P_{N,beta} (section 3.4), d = 3: pairs act within eps^beta, so much more weakly that the naive rate is
    kept, and for beta < 1 is that of the limit; 1 for the theorem's particles."""
    beta: Rates = Rates()
    """Propensities of the limit."""
    n_max: Annotated[int, Field(ge=1, le=2**22)] = 32
    """Largest mass of the limit equation; what grows beyond is counted as overflow. Particles have no such bound."""
    reaction: Literal["coagulation", "annihilation"] = "coagulation"
    """What a pair does: merge, or vanish (section 3)."""
    fragmentation: Fragmentation | None = None
    """Splitting of particles; none by default."""

    def __post_init__(self) -> None:
        if self.beta.kernel == "from_micro" and self.interaction is None:
            raise ValueError(
                'interaction is missing: beta.kernel = "from_micro" follows from it; or give another kernel'
            )
        if self.beta.matrix is not None and len(self.beta.matrix) != self.n_max:
            raise ValueError(f"beta.matrix: must have n_max = {self.n_max} rows, not {len(self.beta.matrix)}")
        axes = getattr(self.interaction, "axes", None)
        if axes is not None and len(axes) != self.dimension:
            raise ValueError(f"interaction.axes: must have dimension = {self.dimension} entries, not {len(axes)}")
        if self.range_exponent < 1 and self.dimension != 3:
            raise ValueError(f"range_exponent = {self.range_exponent:g}: is for dimension = 3; leave it out")
        if self.beta.log_eps is not None and not self.depends_on_eps:
            raise ValueError(
                f"beta.log_eps = {self.beta.log_eps:g}: for dimension = {self.dimension} the rate does not depend on "
                "eps; leave it out"
            )
        if self.fragmentation is not None and self.reaction == "annihilation":
            raise ValueError('fragmentation: goes with reaction = "coagulation" only')
        self.check_powers(self.n_max)

    def check_powers(self, largest: float) -> None:
        """Check that power laws of masses up to the largest are numbers one can compute with.

        Raises:
            InputError: one is not.
        """
        alpha = getattr(self.interaction, "alpha", None)
        if isinstance(alpha, ProductLaw) and not alpha.scale * float(alpha.factor(np.array(largest))) ** 2 <= LARGEST:
            raise InputError(
                f"interaction.alpha.power = {alpha.power:g}: makes alpha(n, n) of the mass {largest:.6g} larger than "
                f"{LARGEST:g}"
            )
        for name in ("diffusion", "ranges", "fragmentation"):
            law = getattr(self, name)
            if isinstance(law, PowerLaw | Fragmentation):
                with np.errstate(over="ignore"):
                    value = float(law.at(np.array(float(max(largest, 2)))))
                if not SMALLEST <= value <= LARGEST:
                    raise InputError(
                        f"{name}.power = {law.power:g}: makes the value {value:g} at the mass {largest:.6g}, "
                        f"which must lie between {SMALLEST:g} and {LARGEST:g}"
                    )

    def check_recipe(self) -> None:
        """Check that beta follows from V and alpha (`limitpde.coagulation.rates`).

        Raises:
            InputError: there is no V, or no recipe in this dimension.
        """
        if self.interaction is None:
            raise InputError("model.interaction is missing: the microscopic rates need it")
        if self.dimension == 1:
            raise InputError(
                'model.dimension = 1: beta.kernel = "from_micro" needs dimension 2 or 3; give another kernel'
            )

    def d(self, n: np.ndarray) -> np.ndarray:
        """Diffusion rates at masses n, of any shape."""
        return _at(self.diffusion, n)

    def alpha(self, n: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Interaction strengths of pairs of masses n, m that broadcast against each other.

        Raises:
            InputError: the model has no interaction.
        """
        if self.interaction is None:
            raise InputError("model.interaction is missing: particles need it")
        found = self.interaction.alpha
        if isinstance(found, ProductLaw):
            return np.asarray(found.scale * found.factor(n) * found.factor(m))
        if isinstance(found, float | int):
            return np.full(np.broadcast_shapes(np.shape(n), np.shape(m)), float(found))
        table = np.array(found, dtype=float)
        i, j = (np.minimum(np.asarray(k, dtype=np.int64), len(table)) - 1 for k in (n, m))
        return np.asarray(table[i, j])

    def range_sum(self, n: np.ndarray, m: np.ndarray) -> np.ndarray:
        """r_n + r_m, or 1 where all masses have one range; n, m broadcast."""
        if self.ranges is None:
            return np.ones(np.broadcast_shapes(np.shape(n), np.shape(m)))
        return np.asarray(_at(self.ranges, n) + _at(self.ranges, m))

    def log_eps(self, count: int, Z: float) -> float:
        """log eps of N = count particles: eps = (Z/N)^(1/(d-2)) (1.7), or exp(-N/Z) for d = 2.

        Of P_{N,beta} it is beta times that: eps is always the unit of the range.

        Raises:
            InputError: there is no such scaling in one dimension, or eps would not be below 1.
        """
        if self.dimension == 1:
            raise InputError(
                "model.dimension = 1: particles need dimension 2 or 3 (Brownian paths meet too often on a line)"
            )
        found = -count / Z if self.dimension == 2 else math.log(Z / count) / (self.dimension - 2)
        if not found < 0:
            raise InputError(f"particles.counts: N = {count} must exceed Z = {Z:.6g}, the total mass of initial.masses")
        return self.range_exponent * found

    def check_reach(self, count: int, masses: np.ndarray, Z: float, domain: Domain) -> None:
        """Check that N = count particles of these masses do not act across the domain.

        Raises:
            InputError: they do, or there is no such scaling, or no interaction.
        """
        log_eps = self.log_eps(count, Z)
        if self.interaction is None:
            raise InputError("model.interaction is missing: [particles] react by it")
        reach = math.exp(log_eps) * self.interaction.reach(self.dimension) * float(self.range_sum(masses, masses).max())
        most = float(domain.size.min()) / (12.0 if domain.kind == "ball" else 4.5)
        if reach > most:
            raise InputError(
                f"particles.counts: N = {count}: pairs act at distances up to {reach:.3g}, which must be below "
                f"{most:.3g} in this {domain.kind}; take more particles or a larger domain"
            )

    @property
    def depends_on_eps(self) -> bool:
        """Whether the rates of (1.9) or (2.4) depend on eps and only tend to those of the limit."""
        return self.dimension == 2 or self.range_exponent < 1

    def log_front(self, log_eps: float) -> float:
        """Log of what the rate of a pair carries besides alpha eps^-2 V, at a `log_eps`.

        -log |log eps| for d = 2; for d = 3 nothing, or (1 / beta - 1) log eps of P_{N,beta}.
        """
        if self.dimension == 2:
            return -math.log(-log_eps)
        return (1 / self.range_exponent - 1) * log_eps if self.range_exponent < 1 else 0.0

    @property
    def residual_rate(self) -> float:
        """Power of N with which E|W| falls: E M_T^2 <= C eps^(d-2) = C Z / N (Proposition 4.2).

        The rate of P_{N,beta} comes to its limit like N^(beta - 1), which may be slower.
        """
        return max(-0.5, self.means_powers[0]) if self.means_powers else -0.5

    @property
    def means_powers(self) -> tuple[float, ...]:
        """Powers of N with which means of N particles come to their limit, the slowest first.

        eps is like 1 / N, 1 / abs(log eps) too. That of P_{N,beta} is the range N^-beta, whose square smooths products
        of densities, and its rate comes to the limit like N^(beta - 1). There are none where the equation has the rate
        at one eps, which is that of one N.
        """
        if not self.depends_on_eps or self.beta.kernel != "from_micro":
            return (-1.0,)
        if self.beta.log_eps is not None:
            return ()
        if self.dimension == 2:
            return (-1.0,)
        return tuple(sorted({self.range_exponent - 1, -2 * self.range_exponent, -1.0}, reverse=True))


@record
class Part:
    """One part of the initial densities: h_n gets a density, whose `mass` is its integral, a number of particles."""

    n: Mass
    """Mass of each particle."""
    density: Annotated[AnyDensityIn, Field(json_schema_extra={BESIDE: True})]
    """Its shape; in a case the keys of the density stand beside n."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _gather(cls, values: Any) -> Any:
        given = values.kwargs if isinstance(values, ArgsKwargs) else values
        if not isinstance(given, dict) or "density" in given:
            return values
        rest = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items() if key != "n"}
        return {**({"n": given["n"]} if "n" in given else {}), "density": rest}

    @pydantic.model_serializer(mode="wrap")
    def _spread(self, serialise: Any) -> dict[str, Any]:
        found = serialise(self)
        return {"n": found["n"], **found["density"]}


@record
class Initial:
    """Initial densities h_n; Z = sum_n int h_n. Particles are drawn independently from Z^-1 h_n(x)."""

    masses: Annotated[tuple[Part, ...], Field(min_length=1)]
    """The parts of the h_n."""

    @property
    def Z(self) -> float:  # noqa: N802 - the paper's letter
        """sum_n int h_n, (1.7)."""
        return math.fsum(part.density.mass for part in self.masses)

    def check(self, domain: Domain, *, volume_known: bool = False) -> None:
        """Check that all parts fit a domain, whose volume a mesh may tell where the domain itself does not.

        Raises:
            InputError: a centre has the wrong dimension, or a uniform part meets the whole space.
        """
        for number, part in enumerate(self.masses):
            center, name = getattr(part.density, "center", None), f"initial.masses[{number}]"
            if center is not None and len(center) != domain.dimension:
                raise InputError(f"{name}.center = {list(center)}: must have {domain.dimension} coordinates")
            if isinstance(part.density, Uniform) and not (domain.bounded or volume_known):
                raise InputError(f"{name}.shape = 'uniform': needs a bounded domain: a torus, a box or a ball")

    def highest(self, domain: Domain) -> float:
        """About the largest sum of all densities in a domain: at points that are drawn from them."""
        rng, even, clouds = np.random.default_rng(0), 0.0, []
        for part in self.masses:
            if isinstance(part.density, Uniform):
                even += part.density.mass / domain.volume
            else:
                clouds.append(part.density)
        points = [density.sample(DRAWN, rng) for density in clouds]
        found = [np.sum([one.density(x) for one in clouds], axis=0).max() for x in points]
        return even + float(max(found, default=0.0))

    def default_delta(self, domain: Domain) -> float:
        """A mollifier's reach: a tenth of the domain, half the width of a bump, a quarter of the radius of a disk.

        Smearing then changes densities and their products by a few per cent at the most.
        """
        scales = [float(domain.size.min()) / 10] if domain.bounded else []
        for part in self.masses:
            if isinstance(part.density, Uniform):
                continue
            width = getattr(part.density, "width", None)
            scales.append(part.density.radius / 4 if width is None else width / 2)  # type: ignore[union-attr]
        return min(scales)
