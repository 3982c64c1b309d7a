"""The initial density f_0 of the Vlasov equation, and where its particles start.

The density is n_0 (1 + a sum_j cos(k x_j)) M(v) (Landau damping), the same with two streams of opposite drift, a
Maxwellian, a normal law in phase space, or a user's function; its integral over all of phase space is `mass`.
Particles are drawn independently from f_0 / mass. The Hamiltonian forms start from alpha_0 = sqrt(f_0) e^{iS} with a
phase S(x, v).

On a torus, a wave number within 1e-3 of one that fits (2 pi m / L; a user's L = 12.566 is 4 pi) is replaced by that.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag

from limitpde.checked import Coordinate, Moderate, SpaceVector, record, told_apart
from limitpde.domains import Domain
from limitpde.errors import InputError
from limitpde.files import PythonFunction, evaluate, load_function
from limitpde.vlasov.initial_laws import FactoredLaw, FromFunction, Law, Normals, Product, Waves
from limitpde.vlasov.model import Model

PhaseVector = Annotated[tuple[Coordinate, ...], Field(min_length=2, max_length=6)]
Widths = Annotated[tuple[Moderate, ...], Field(min_length=2, max_length=6)]
WaveAmplitude = Annotated[float, Field(ge=-1, le=1)]

TOLERANCE = 1e-3
"""Relative distance at which a wave number is taken for one of the torus."""
MOST_OUTSIDE = 0.5
"""Largest share of the density outside model.domain."""


@record
class PhaseFunction:
    """A phase S given by a Python function S(z), z of shape (n, 2d)."""

    python: PythonFunction
    """"file.py:function"; the file is run. On a torus S is taken as periodic."""

    def __post_init__(self) -> None:
        load_function(self.python)


def _phase_kind(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return "list"
    return "section" if isinstance(value, dict | PhaseFunction) else None


GivenPhase = Annotated[
    Annotated[PhaseVector, Tag("list")] | Annotated[PhaseFunction, Tag("section")],
    Discriminator(
        _phase_kind,
        custom_error_type="phase",
        custom_error_message='Input should be a list of 2d numbers, or a section { python = "file.py:function" }',
    ),
]
PHASE = "S of alpha_0 = sqrt(f_0) e^{iS}: S = phase . (x, v), (2d,), or a function; none: 0."
Phase = Annotated[GivenPhase | None, Field(description=PHASE)]
InitialMass = Annotated[Moderate, Field(description="Integral of f_0.")]


@record
class Landau:
    """n_0 (1 + amplitude cos(k . x)) M(v) on a torus, n_0 = mass / volume, M normal with mean 0."""

    shape: Literal["landau"] = "landau"
    k: Coordinate | SpaceVector
    """Wave vector, (d,); or one number: the sum of cos(k x_j) over the coordinates."""
    amplitude: WaveAmplitude = 0.01
    """Of each cosine; so small that f_0 >= 0."""
    thermal: Moderate = 1.0
    """Standard deviation of each velocity coordinate."""
    mass: InitialMass = 1.0
    phase: Phase = None


@record
class TwoStream:
    """n_0 (1 + amplitude cos(k . x)) (M(v - u) + M(v + u)) / 2 on a torus, u = drift."""

    shape: Literal["two_stream"] = "two_stream"
    k: Coordinate | SpaceVector
    """Wave vector, (d,); or one number: the sum of cos(k x_j) over the coordinates."""
    amplitude: WaveAmplitude = 0.01
    """Of each cosine; so small that f_0 >= 0."""
    drift: Coordinate | SpaceVector
    """Mean velocity of one stream, (d,), or its first coordinate; the other has the opposite one."""
    thermal: Moderate = 1.0
    """Standard deviation of each velocity coordinate in a stream."""
    mass: InitialMass = 1.0
    phase: Phase = None


@record
class Maxwellian:
    """n(x) M(v - drift), n even on a torus, or normal where it is given a width."""

    shape: Literal["maxwellian"] = "maxwellian"
    thermal: Moderate = 1.0
    """Standard deviation of each velocity coordinate."""
    drift: Coordinate | SpaceVector = 0.0
    """Mean velocity, (d,), or its first coordinate."""
    center: Coordinate | SpaceVector | None = None
    """Mean position, (d,), or each of its coordinates; zero by default; only with width."""
    width: Moderate | None = None
    """Standard deviation of each position coordinate; without it, a torus is filled evenly."""
    mass: InitialMass = 1.0
    phase: Phase = None

    def __post_init__(self) -> None:
        if self.center is not None and self.width is None:
            raise ValueError("width is missing: a center needs it")


@record
class PhaseGaussian:
    """A normal law in phase space; on a torus wrapped around it in x."""

    shape: Literal["gaussian"] = "gaussian"
    center: PhaseVector | None = None
    """Mean, (2d,), x then v; zero by default."""
    width: Moderate | Widths = 1.0
    """Standard deviations, (2d,); two numbers: those of x and of v; one: all."""
    mass: InitialMass = 1.0
    phase: Phase = None


@record
class PhaseDensityFromFile:
    """A density given by a Python function f(z), z of shape (n, 2d), times a constant.

    It counts as zero outside model.domain, over which its integral is `mass`.
    """

    shape: Literal["python"] = "python"
    python: PythonFunction
    """"file.py:function"; the file is run."""
    mass: InitialMass = 1.0
    phase: Phase = None

    def __post_init__(self) -> None:
        load_function(self.python)


AnyShape = Landau | TwoStream | Maxwellian | PhaseGaussian | PhaseDensityFromFile


def _kind(value: Any) -> str | None:
    if isinstance(value, dict):
        shape = value.get("shape", "python" if "python" in value else None)
    else:
        shape = getattr(value, "shape", None)
    return "from file" if shape == "python" else shape  # a tag that is no key


Initial = Annotated[
    Annotated[Landau, Tag("landau")]
    | Annotated[TwoStream, Tag("two_stream")]
    | Annotated[Maxwellian, Tag("maxwellian")]
    | Annotated[PhaseGaussian, Tag("gaussian")]
    | Annotated[PhaseDensityFromFile, Tag("from file")],
    told_apart(_kind, "'landau', 'two_stream', 'maxwellian', 'gaussian', 'python' with python = 'file.py:function'"),
]
"""Section [initial] of a case."""


class Start:
    """The initial density of a model: its values, and draws from it.

    Not collective. Arguments are checked when it is made, on every rank alike. A user's function is evaluated then, on
    a lattice in phase space; this is done once for each function and domain.

    Args:
        initial: the shape.
        model: the model, whose phase domain the shape must fit.

    Attributes:
        mass: integral of the density.
        outside: the share of it that lies outside model.domain: particles start there, but f does not show them.

    Raises:
        InputError: the shape does not fit the model, or more than half of it lies outside of its domain.
    """

    def __init__(self, initial: AnyShape, model: Model) -> None:
        self.mass = initial.mass
        self._d, self._domain = model.dimension, model.positions
        self._phase = self._phase_of(initial)
        self._law = self._law_of(initial, model)
        self.outside = 1 - self._law.inside(np.concatenate([model.x_box, model.v_box]))
        if self.outside > MOST_OUTSIDE:
            raise InputError(
                f"initial: {100 * self.outside:.3g} % of the density lies outside model.domain: enlarge that, or make "
                "the widths smaller"
            )

    @property
    def parts(self) -> tuple[FactoredLaw, FactoredLaw] | None:
        """The laws of positions and of velocities, which are independent; None for a user's function."""
        return (self._law.positions, self._law.velocities) if isinstance(self._law, Product) else None

    def density(self, z: np.ndarray) -> np.ndarray:
        """f_0 at z, (n, 2d) -> (n,)."""
        return np.asarray(self.mass * self._law.density(z))

    def phase(self, z: np.ndarray) -> np.ndarray:
        """S at z, (n, 2d) -> (n,).

        Raises:
            InputError: the user's function fails.
        """
        if self._phase is None:
            return np.zeros(len(z))
        if isinstance(self._phase, np.ndarray):
            return np.asarray(z @ self._phase)
        wrapped = np.concatenate([self._domain.wrap(z[:, : self._d]), z[:, self._d :]], axis=1)
        return evaluate(self._phase, wrapped, shapes=[(len(wrapped),)], key="initial.phase.python")[0]

    def alpha(self, z: np.ndarray) -> np.ndarray:
        """sqrt(f_0) e^{iS} at z, (n, 2d) -> complex (n,)."""
        root = np.sqrt(self.density(z))
        return np.asarray(root * np.exp(1j * self.phase(z)))

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n independent points from f_0 / mass, (n, 2d); positions on a torus lie in its box.

        Raises:
            InputError: it is a user's function, in three dimensions or with a peak that its lattice does not see.
        """
        return self._law.sample(n, rng)

    def _law_of(self, initial: AnyShape, model: Model) -> Law:
        d = self._d
        if isinstance(initial, PhaseDensityFromFile):
            low, high = (np.concatenate([model.x_box[:, e], model.v_box[:, e]]) for e in (0, 1))
            function = FromFunction(initial.python, tuple(low), tuple(high), model.domain.periodic)
            function.check()
            return function
        if isinstance(initial, PhaseGaussian):
            center = np.zeros(2 * d) if initial.center is None else self._vector("center", initial.center, 2 * d)
            self._check_inside("center", center[:d], model.x_box, periodic=model.domain.periodic)
            self._check_inside("center", center[d:], model.v_box)
            widths = self._widths(initial.width)
            return Product(
                Normals(self._domain, center[None, :d], widths[:d]),
                Normals(Domain.space(d), center[None, d:], widths[d:]),
            )
        streams = self._drift(getattr(initial, "drift", 0.0))[None]
        name = "drift" if hasattr(initial, "drift") else f"shape = '{initial.shape}', mean velocity"
        self._check_inside(name, streams[0], model.v_box)
        if isinstance(initial, TwoStream):
            streams = np.concatenate([streams, -streams])
            self._check_inside("-drift", streams[1], model.v_box)
        velocities = Normals(Domain.space(d), streams, np.full(d, initial.thermal))
        if isinstance(initial, Maxwellian):
            return Product(self._positions(initial, model), velocities)
        self._check_torus(f"shape = '{initial.shape}'")
        k = self._wave_vectors(initial.k)
        if abs(initial.amplitude) * len(k) > 1:
            raise InputError(
                f"initial.amplitude = {initial.amplitude:g}: with {len(k)} waves it must lie between "
                f"-1/{len(k)} and 1/{len(k)}, for f >= 0"
            )
        return Product(Waves(self._domain, k, initial.amplitude), velocities)

    def _positions(self, initial: Maxwellian, model: Model) -> FactoredLaw:
        if initial.width is None:
            self._check_torus("shape = 'maxwellian' without width")
            return Waves(self._domain, np.zeros((1, self._d)), 0.0)
        given = 0.0 if initial.center is None else initial.center
        center = np.full(self._d, given) if isinstance(given, float) else self._vector("center", given, self._d)
        self._check_inside("center", center, model.x_box, periodic=model.domain.periodic)
        return Normals(self._domain, center[None], np.full(self._d, initial.width))

    def _check_torus(self, what: str) -> None:
        if not self._domain.bounded:
            raise InputError(
                f"initial.{what}: needs a torus, model.domain.periodic = true; in the whole space give "
                "shape = 'gaussian', or 'maxwellian' with a width"
            )

    @staticmethod
    def _vector(name: str, given: tuple[float, ...], length: int) -> np.ndarray:
        if len(given) != length:
            entries = "one entry" if length == 1 else f"{length} entries"
            raise InputError(f"initial.{name} = {list(given)}: must have {entries}")
        return np.array(given)

    @staticmethod
    def _check_inside(name: str, center: np.ndarray, box: np.ndarray, *, periodic: bool = False) -> None:
        outside = (center < box[:, 0]) | (center > box[:, 1])
        if not periodic and outside.any():
            j = int(np.argmax(outside))
            low, high = box[j]
            where = f"its interval in model.domain, [{low:g}, {high:g}]"
            raise InputError(f"initial.{name}: {center[j]:g} lies outside of {where}")

    def _drift(self, given: float | tuple[float, ...]) -> np.ndarray:
        if isinstance(given, tuple):
            return self._vector("drift", given, self._d)
        return np.array([given, 0.0, 0.0])[: self._d]

    def _widths(self, given: float | tuple[float, ...]) -> np.ndarray:
        d = self._d
        if isinstance(given, tuple) and len(given) not in (2, 2 * d):
            raise InputError(
                f"initial.width = {list(given)}: must be one number, or two (x and v){f', or {2 * d}' if d > 1 else ''}"
            )
        if isinstance(given, tuple) and len(given) == 2:
            return np.repeat(given, d)
        return np.array(np.broadcast_to(given, 2 * d), dtype=float)

    def _wave_vectors(self, given: float | tuple[float, ...]) -> np.ndarray:
        """(J, d), each entry a wave number of the torus."""
        if isinstance(given, tuple):
            k = self._vector("k", given, self._d)
            if not k.any():
                raise InputError(f"initial.k = {list(given)}: must not be zero")
            return np.array([[self._snap("k", k[j], j) for j in range(self._d)]])
        if given == 0:
            raise InputError("initial.k = 0: must not be zero")
        return np.diag([self._snap("k", given, j) for j in range(self._d)])

    def _snap(self, name: str, k: float, axis: int) -> float:
        """The wave number of the torus that is meant by k."""
        unit = 2 * math.pi / float(self._domain.size[axis])
        nearest = unit * round(k / unit)
        if abs(k - nearest) > TOLERANCE * abs(k):
            length = f"length {self._domain.size[axis]:g} of model.domain.x"
            raise InputError(
                f"initial.{name}: {k:g} is no wave number of the torus: on the {length} they are the multiples of "
                f"2 pi / {self._domain.size[axis]:g} = {unit:.6g}"
            )
        return nearest

    def _phase_of(self, initial: AnyShape) -> np.ndarray | str | None:
        """S as a wave vector (2d,), or the function's name."""
        if initial.phase is None:
            return None
        if isinstance(initial.phase, PhaseFunction):
            return initial.phase.python
        k = self._vector("phase", initial.phase, 2 * self._d)
        if self._domain.bounded:
            k[: self._d] = [self._snap("phase", k[j], j) for j in range(self._d)]
        return k
