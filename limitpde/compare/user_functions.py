"""Test functions by a Python function, phi(x, mark, t), with derivatives of its own or by differences of its values.

mark is what a particle has besides its place: its charge b, its species s, or its velocity v. The function returns
values (n,); or values, gradients (n, d) and Laplacians (n,); or these and d phi / dt (n,). In phase space, where the
velocity is among the variables, gradients are (n, 2 d), of x and then of v, and Laplacians are not looked at.

What it does not return are central differences of order four, with a hundredth of `length` and of `duration` as their
steps: their error is about 3e-9 |d^6 phi| length^4 in a Laplacian. They are compared with differences of twice the
step, and derivatives of the function's own with differences, before anything runs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from limitpde.checked import Moderate, record
from limitpde.errors import InputError
from limitpde.files import PythonFunction, evaluate, load_function

PART = 0.01
"""Step of the differences, as a part of the length over which the function changes."""
DIFFERENT = 1e-3
"""Part of the largest derivative by which differences of one step and of twice that may differ (15 times the error)."""
SEAM = 1e-9
"""Part of its size by which a function may jump where a torus closes."""
OFFSETS = np.array([-2.0, -1.0, 1.0, 2.0])
FIRST, SECOND = np.array([1.0, -8.0, 8.0, -1.0]) / 12, np.array([-1.0, 16.0, 16.0, -1.0]) / 12
"""Weights of differences of order four at the offsets; the second ones with -30 / 12 in the middle."""


@dataclass(frozen=True, slots=True)
class Derivatives:
    """phi and its derivatives at n points."""

    value: np.ndarray
    """(n,)"""
    gradient: np.ndarray
    """(n, d)"""
    laplacian: np.ndarray
    """(n,)"""
    rate: np.ndarray
    """d phi / dt, (n,)."""


@record
class UserFunction:
    """phi(x, mark, t) by a Python function."""

    python: PythonFunction
    """"file.py:function", function(x (n, d), mark, t) -> values (n,), or these with gradients and Laplacians."""
    length: Moderate = 1.0
    """Length over which phi changes: a hundredth of it is the step of differences."""
    duration: Moderate = 1.0
    """Time over which phi changes, likewise."""
    size: Moderate = 1.0
    """max |phi|, of which compare.precision is a part."""
    shape: Literal["python"] = "python"
    """Always "python"; need not be given."""

    @property
    def label(self) -> str:
        """A short name for tables and pictures."""
        return f"{self.python.path.name}:{self.python.rpartition(':')[2]}"

    def values(self, x: np.ndarray, mark: np.ndarray | None, t: float) -> np.ndarray:
        """phi alone, (n,), at points x (n, d) of particles with these marks (n, ...), or x (n, 2 d) of phase space."""
        return self._returned(x, mark, t, _parts(self.python, *_shapes(x, mark)))[0]

    def derivatives(self, x: np.ndarray, mark: np.ndarray | None, t: float, *, wider: float = 1.0) -> Derivatives:
        """phi and its derivatives at the same points, with differences `wider` times as wide."""
        parts = _parts(self.python, *_shapes(x, mark))
        found = self._returned(x, mark, t, parts)
        gradient, laplacian = found[1:3] if parts > 1 else self._in_space(x, mark, t, found[0], wider)
        return Derivatives(found[0], gradient, laplacian, found[3] if parts > 3 else self._in_time(x, mark, t, wider))

    def rate(self, x: np.ndarray, mark: np.ndarray | None, t: float) -> np.ndarray:
        """d phi / dt alone, (n,), at the same points."""
        parts = _parts(self.python, *_shapes(x, mark))
        return self._returned(x, mark, t, parts)[3] if parts > 3 else self._in_time(x, mark, t, 1.0)

    def check(self, x: np.ndarray, mark: np.ndarray | None, end: float, key: str) -> None:
        """Try the function at points x (n, d) of particles with these marks, at the start, later, and at the end.

        Raises:
            InputError: it fails, is random or not real; its differences do not converge, its derivatives are not those
                of its values, or it is larger than it says.
        """
        for t in (0.0, 0.37 * end, end):
            given, values = self.derivatives(x, mark, t), self.values(x, mark, t)
            largest = float(np.abs(values).max(initial=0.0))
            if largest > 1.001 * self.size:
                raise InputError(f"{key}.size = {self.size:g}: |phi| is {largest:.4g} at t = {t:g}; give at least that")
            near, far = ([*self._in_space(x, mark, t, values, w), self._in_time(x, mark, t, w)] for w in (1.0, 2.0))
            scales = [largest / self.length, largest / self.length**2, largest / self.duration]
            names = ("gradient", "Laplacian", "d phi / dt")
            own = [given.gradient, given.laplacian, given.rate]
            for name, mine, one, other, scale in zip(names, own, near, far, scales, strict=True):
                most = DIFFERENT * max(float(np.abs(one).max(initial=0.0)), DIFFERENT * scale)
                if np.abs(one - other).max(initial=0.0) > most:
                    span = "duration" if name == "d phi / dt" else "length"
                    raise InputError(
                        f"{key} = {str(self.python)!r}: its {name} by differences does not converge: steps of "
                        f"{PART * getattr(self, span):.3g} and twice that differ by {np.abs(one - other).max():.3g}; "
                        f"take a smaller {span} (now {getattr(self, span):g}), or a smoother function"
                    )
                if np.abs(mine - one).max(initial=0.0) > most:
                    at = int(np.abs(mine - one).reshape(len(x), -1).max(axis=1).argmax())
                    raise InputError(
                        f"{key} = {str(self.python)!r}: its {name} is not that of its values: at x = {x[at].tolist()} "
                        f"it is {np.round(mine[at], 6).tolist()}, differences give {np.round(one[at], 6).tolist()}"
                    )

    def check_periodic(self, x: np.ndarray, mark: np.ndarray | None, size: np.ndarray, end: float, key: str) -> None:
        """Look whether the function closes around a torus, at the same points and at both ends of time.

        Args:
            x: as for `values`.
            mark: likewise.
            size: edges of the torus along the coordinates of x; infinite where it has none.
            end: the last time.
            key: of the case, for errors.

        Raises:
            InputError: it jumps.
        """
        for axis in np.flatnonzero(np.isfinite(size)):
            around = x.copy()
            around[:, axis] += size[axis]
            for t in (0.0, end):
                jump = np.abs(self.values(x, mark, t) - self.values(around, mark, t)).max()
                if jump > SEAM * self.size:
                    raise InputError(
                        f"{key}.python = {str(self.python)!r}: is not periodic: it changes by {jump:.3g} around the "
                        f"torus, an edge of {size[axis]:g}"
                    )

    def _returned(self, x: np.ndarray, mark: np.ndarray | None, t: float, parts: int) -> list[np.ndarray]:
        n, d = x.shape
        if mark is None:
            x, mark = np.ascontiguousarray(x[:, : d // 2]), np.ascontiguousarray(x[:, d // 2 :])
        shapes: list[tuple[int, ...]] = [(n,), (n, d), (n,), (n,)]
        try:
            return evaluate(self.python, x, mark, np.asarray(t), shapes=shapes[:parts], key="test_functions.python")
        except InputError as error:
            raise InputError(f"{error} (at t = {t:g})") from error

    def _in_space(
        self, x: np.ndarray, mark: np.ndarray | None, t: float, middle: np.ndarray, wider: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradient (n, d) and Laplacian (n,) by differences of the values."""
        n, d = x.shape
        h = PART * self.length * wider
        shifts = (OFFSETS[:, None, None] * np.eye(d)).reshape(-1, 1, d) * h  # offset by offset, axis by axis
        places = (x + shifts).reshape(-1, d)
        marks = None if mark is None else np.tile(mark, (len(shifts), *(1,) * (mark.ndim - 1)))
        around = self.values(places, marks, t).reshape(len(OFFSETS), d, n)
        gradient = np.tensordot(FIRST, around, 1).T / h
        laplacian = (np.tensordot(SECOND, around, 1) - 2.5 * middle).sum(axis=0) / h**2
        return np.ascontiguousarray(gradient), laplacian

    def _in_time(self, x: np.ndarray, mark: np.ndarray | None, t: float, wider: float) -> np.ndarray:
        """d phi / dt, (n,), by differences of the values, which look a little before 0 and beyond the end."""
        h = PART * self.duration * wider
        around = np.stack([self.values(x, mark, t + offset * h) for offset in OFFSETS])
        return np.asarray(np.tensordot(FIRST, around, 1) / h)


def _shapes(x: np.ndarray, mark: np.ndarray | None) -> tuple[int, tuple[int, ...]]:
    """d, and the shape of one mark."""
    half = x.shape[1] // 2
    return (half, (half,)) if mark is None else (x.shape[1], mark.shape[1:])


def _parts(reference: PythonFunction, dimension: int, mark: tuple[int, ...]) -> int:
    """How many arrays the function returns: 1, 3 or 4."""
    return _kept_parts(reference, dimension, mark, load_function(reference))


@functools.lru_cache(maxsize=64)
def _kept_parts(reference: str, dimension: int, mark: tuple[int, ...], function: Callable[..., object]) -> int:
    """That of a function, which is another one when its file has changed."""
    try:
        returned = function(np.ones((2, dimension)), np.ones((2, *mark)), np.asarray(0.0))
    except (Exception, SystemExit) as error:  # whatever the user's function raises
        raise InputError(f"test_functions.python = {reference!r}: it raised {type(error).__name__}: {error}") from error
    parts = len(returned) if isinstance(returned, tuple) else 1
    if parts not in (1, 3, 4):
        raise InputError(
            f"test_functions.python = {reference!r}: must return values, or (values, gradients, Laplacians), or these "
            f"with d phi / dt; it returned {parts} arrays"
        )
    return parts
