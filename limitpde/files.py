"""Files that a case names: a mesh, points, a function of the user's own.

They have types of their own, so that whoever reads, checks or copies a case can tell them from other text. A file is
looked for in the folder of the case first, where one is being read.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
import pydantic
from mpi4py import MPI
from pydantic_core import PydanticCustomError, core_schema

from limitpde.errors import InputError
from limitpde.parallel import on_all


class File(str):
    """The name of a file, in a case."""

    __slots__ = ()

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self)

    def moved(self, path: str | Path) -> Self:
        """The same in another place."""
        return type(self)(path)

    def beside(self, folder: Path) -> Self:
        """The same as an absolute path, if it is there in this folder."""
        path = folder / self.path
        return self.moved(path) if os.path.isfile(path) else self

    @classmethod
    def _checked(cls, name: str, info: pydantic.ValidationInfo) -> Self:
        folder = (info.context or {}).get("folder")
        return cls(name) if folder is None else cls(name).beside(folder)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.with_info_after_validator_function(cls._checked, core_schema.str_schema())


class ExistingFile(File):
    """The name of a file that must be there when a case is checked."""

    __slots__ = ()

    @classmethod
    def _checked(cls, name: str, info: pydantic.ValidationInfo) -> Self:
        found = super()._checked(name, info)
        if not os.path.isfile(found):
            raise PydanticCustomError("no_file", "no such file")
        return found


class PythonFunction(File):
    """A function in a file, "file.py:function"."""

    __slots__ = ()

    @classmethod
    def _checked(cls, name: str, info: pydantic.ValidationInfo) -> Self:
        file, _, function = name.rpartition(":")
        if not file or not function.isidentifier():
            raise PydanticCustomError("no_function", 'must be "file.py:function" with a file that exists')
        return super()._checked(name, info)

    @property
    def path(self) -> Path:
        """Where the file is."""
        return Path(self.rpartition(":")[0])

    def moved(self, path: str | Path) -> Self:
        """The same function in another place."""
        return type(self)(f"{path}:{self.rpartition(':')[2]}")


def load_function(reference: str, *, key: str = "python") -> Callable[..., Any]:
    """The function that "file.py:function" names; the file is run, with its own folder for its imports.

    Args:
        reference: its name.

    Keyword Args:
        key: of the case, for errors.

    Raises:
        InputError: the file or the function is not there, or the file fails.
    """
    name, _, function = reference.rpartition(":")
    if not function or not os.path.isfile(name):
        raise InputError(f'{key} = {reference!r}: must be "file.py:function" with a file that exists')
    found = getattr(_run(Path(name).resolve()), function, None)
    if not callable(found):
        raise InputError(f"{key} = {reference!r}: {name} has no function {function}")
    return found


def evaluate(
    reference: str,
    *arguments: np.ndarray,
    shapes: Sequence[tuple[int, ...]],
    key: str = "python",
    nonnegative: bool = False,
) -> list[np.ndarray]:
    """What the function "file.py:function" makes of arrays, checked; a function is not called for no values.

    Args:
        reference: the function; its file is run.
        arguments: what it is called with, copies of them; those after the first may be numbers.

    Keyword Args:
        shapes: of the arrays that it should return, which it does as a tuple unless it is one.
        key: of the case, for errors.
        nonnegative: whether values below zero are an error.

    Returns:
        The arrays, of real numbers.

    Raises:
        InputError: it fails, returns something else, values that are not real or not finite, or others when it is
            called again at a few of the same points.
    """
    function, where = load_function(reference, key=key), f"{key} = {reference!r}"
    if all(math.prod(shape) == 0 for shape in shapes):  # of a rank without nodes: no function need know of that
        return [np.zeros(shape) for shape in shapes]
    found = _call(function, arguments, len(shapes), where)
    returned = [values.shape for values in found]
    if returned != list(shapes):
        given, wanted, got = (" and ".join(map(str, s)) for s in ([a.shape for a in arguments], shapes, returned))
        raise InputError(f"{where}: must map points {given} to values {wanted}; it returned the shape {got}")
    for values in found:
        right = np.isfinite(values) & np.isreal(values) & ((values.real >= 0) | (not nonnegative))
        if not right.all():
            wanted = "finite real values >= 0" if nonnegative else "finite real values"
            raise InputError(f"{where}: must return {wanted}, not {values[~right][0]:.6g}")
    found = [np.asarray(values.real) for values in found]
    some = _few(arguments)
    asked = [np.asarray(array[some]) if array.ndim else array for array in arguments]
    said = [np.asarray(array[some]) for array in found]
    if not _alike(_call(function, asked, len(shapes), where), said, found):
        raise InputError(f"{where}: must return the same values whenever it is called with the same points")
    _probes.setdefault(reference, (asked, said))
    return found


def numbers_of(reference: str, *arguments: np.ndarray, count: int, key: str, again: bool) -> np.ndarray:
    """As many numbers, (count,), as the function "file.py:function" should make of arrays; one may come as it is.

    Args:
        reference: the function; its file is run.
        arguments: what it is called with, copies of them.

    Keyword Args:
        count: how many it should return.
        key: of the case, for errors.
        again: whether it is called twice, to see that it is not random.

    Raises:
        InputError: it fails, returns something else, numbers that are not real or not finite, or others again.
    """
    function, where = load_function(reference, key=key), f"{key} = {reference!r}"
    (found,) = _call(function, arguments, 1, where)
    if found.shape != (count,) and not (count == 1 and found.shape == ()):
        wanted = "a number" if count == 1 else f"an array of the shape {(count,)} (`values`)"
        raise InputError(f"{where}: must return {wanted}; it returned the shape {found.shape}")
    if not (np.isfinite(found) & np.isreal(found)).all():
        raise InputError(f"{where}: must return finite real numbers, not {found}")
    if again and not _alike(_call(function, arguments, 1, where), [found], [found]):
        raise InputError(f"{where}: must return the same numbers whenever it is called with the same points")
    return np.asarray(found.real).reshape(count)


TRIED = 8
"""Points at which a function is called again."""
SAME = 1e-9
"""Relative difference up to which values are the same: those of many points at once may be rounded in another way."""
_probes: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
"""Function -> points, and what it said of them, of its first call since `check_ranks`."""


def _call(function: Callable[..., Any], arguments: Sequence[np.ndarray], results: int, where: str) -> list[np.ndarray]:
    """The arrays that a user's function returns, of floating-point or complex numbers."""
    try:
        returned = function(*(argument.copy() for argument in arguments))
        (*parts,) = returned if results > 1 else (returned,)
        arrays = [np.asarray(part) for part in parts]
        return [array if np.iscomplexobj(array) else array.astype(float) for array in arrays]
    except (Exception, SystemExit) as error:  # whatever the user's function raises
        raise InputError(f"{where}: it raised {type(error).__name__}: {error}") from error


def _few(arguments: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Index of a few points, spread evenly: rows of points, or entries of arrays that broadcast."""
    first = arguments[0]
    return (np.unique(np.linspace(0, len(first) - 1, TRIED).astype(int)),) if first.ndim else ()


def _alike(found: list[np.ndarray], said: list[np.ndarray], scales: list[np.ndarray]) -> bool:
    """Whether arrays are the same up to rounding, each measured by the largest value of another array."""
    return all(
        one.shape == other.shape and bool(np.all(np.abs(one - other) <= SAME * np.abs(scale).max(initial=0.0)))
        for one, other, scale in zip(found, said, scales, strict=True)
    )


def check_ranks(comm: MPI.Comm) -> None:
    """Compare what users' functions have said on rank 0 with what they say on the other ranks. Collective.

    Raises:
        InputError: on every rank, where a function differs between ranks.
    """
    probes = {reference: probe for reference, probe in _probes.items() if os.path.isfile(reference.rpartition(":")[0])}
    _probes.clear()
    if comm.size == 1:
        return
    probes = comm.bcast(probes, root=0)

    def compare() -> None:
        for reference, (asked, said) in probes.items():
            where = f"python = {reference!r}"
            if not _alike(_call(load_function(reference), asked, len(said), where), said, said):
                raise InputError(f"{where}: it returns other values on rank {comm.rank} than on rank 0")

    on_all(comm, compare)


_loaded: dict[Path, tuple[bytes, ModuleType]] = {}


def _run(path: Path) -> ModuleType:
    """The module of a file, run once, and again when the file has changed."""
    text = path.read_bytes()
    if path not in _loaded or _loaded[path][0] != text:
        specification = importlib.util.spec_from_file_location(path.stem, path)
        if specification is None or specification.loader is None:
            raise InputError(f"python = {str(path)!r}: not a Python file")
        module = importlib.util.module_from_spec(specification)
        sys.path.insert(0, str(path.parent))
        try:
            exec(compile(text, path, "exec"), module.__dict__)
        except (Exception, SystemExit) as error:  # whatever the user's file raises
            raise InputError(f"python = {str(path)!r}: the file raised {type(error).__name__}: {error}") from error
        finally:
            sys.path.remove(str(path.parent))
        _loaded[path] = text, module
    return _loaded[path][1]
