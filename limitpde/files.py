"""Files that a case names: a mesh, points, a function of the user's own.

They have types of their own, so that whoever reads, checks or copies a case can tell them from other text. A file is
looked for in the folder of the case first, where one is being read.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pydantic
from pydantic_core import PydanticCustomError, core_schema

from limitpde.errors import InputError


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

    @property
    def path(self) -> Path:
        """Where the file is."""
        return Path(self.rpartition(":")[0])

    def moved(self, path: str | Path) -> Self:
        """The same function in another place."""
        return type(self)(f"{path}:{self.rpartition(':')[2]}")


def load_function(reference: str) -> Callable[[Any], Any]:
    """The function that "file.py:function" names; the file is run, with its own folder for its imports.

    Raises:
        InputError: the file or the function is not there, or the file fails.
    """
    name, _, function = reference.rpartition(":")
    if not function or not os.path.isfile(name):
        raise InputError(f'python = {reference!r}: must be "file.py:function" with a file that exists')
    found = getattr(_run(Path(name).resolve()), function, None)
    if not callable(found):
        raise InputError(f"python = {reference!r}: {name} has no function {function}")
    return found


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
