"""Compiled functions, kept on disk from one process to the next and never stale.

numba's own cache looks only at the file of a function, while what it has compiled holds the code of all functions that
are called and the values of all constants that are read, from whatever file. Here the key is the source: that of the
function's module and of all modules that this one imports, directly or not, within limitpde and the function's own
package; with it the signature, the processor, and the versions of Python, numba and LLVM. An edit anywhere else, of a
report or of the command line, compiles nothing anew.

Each compiled signature is one file, written under another name and then renamed: ranks and runs may compile the same at
once. It lies in NUMBA_CACHE_DIR, or else in limitpde/ of XDG_CACHE_HOME or ~/.cache; where that cannot be written, in a
folder of the user's own beside other temporary files; and if not there either, in the memory of the process. Of a
function the last KEPT sources are kept, and nothing that has not been used for DAYS.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import re
import stat
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps

KEPT, DAYS = 8, 60
IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]*(\([^)]*\)|[^\n#]*)|import[ \t]+([^\n#]+))", re.MULTILINE
)
ENVIRONMENT = (sys.version_info[:3], numba.__version__, llvmlite.__version__)


def compiled(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """`numba.njit`, as @compiled or @compiled(options), that keeps on disk what it compiles for a package's modules."""
    if function is None:
        return functools.partial(compiled, **options)
    if function.__closure__:  # symbols of functions that differ only in such values would have the same name
        values = [cell.cell_contents for cell in function.__closure__]
        names = [value.py_func.__qualname__ if isinstance(value, Dispatcher) else repr(value) for value in values]
        function.__qualname__ += f".{_digest(repr(names).encode())}"
    made = numba.njit(**options)(function)
    source = _source(function.__module__)
    if source and isinstance(made, Dispatcher):  # not with NUMBA_DISABLE_JIT
        made._cache = _Kept(function, source)
    return made


def hot[F: Callable[..., Any]](function: F) -> F:
    """Compile a function of scalars, arrays and named tuples of them, which must not allocate arrays.

    numba counts the references to an array with atomic operations wherever it is taken out of a tuple or handed to
    another function; in the innermost loops that costs several times what the loops themselves do. A function that
    makes no array, and whose callers hold those it gets, needs no counts.
    """
    made: F = compiled(function, _nrt=False)
    return made


class _Kept(_Cache):
    """What is kept of one function, as numba's dispatchers ask for it: a file for each signature.

    Args:
        function: of a module of a package.
        source: hash of all that it is made of.
    """

    def __init__(self, function: Callable[..., Any], source: str) -> None:
        self._name = re.sub(r"[<>]", "", f"{function.__module__}.{function.__qualname__}")
        self._name += f"-{function.__code__.co_firstlineno}"
        self._source, self._enabled = source, True

    @property
    def cache_path(self) -> str:
        """The first folder that is tried."""
        return str(next(iter(folders()), None))

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        """What is kept for a signature; None if nothing is, or what there is cannot be read."""
        target_context.refresh()
        if not self._enabled:
            return None
        key, name = self._key(sig, target_context.codegen())
        for folder in folders():
            try:
                kept, made = pickle.loads((folder / name).read_bytes())
            except (OSError, EOFError, pickle.UnpicklingError):
                continue
            if kept == key:
                with contextlib.suppress(OSError):
                    os.utime(folder / name)
                return CompileResult._rebuild(target_context, *made)
        return None

    def save_overload(self, sig: Any, data: CompileResult) -> None:
        """Keep what has been compiled for a signature, where that can be."""
        if not self._enabled or data.library.has_dynamic_globals or any(not part.can_cache for part in data.lifted):
            return
        key, name = self._key(sig, data.codegen)
        content = dumps((key, data._reduce()))
        for folder in folders():
            try:
                _write(folder / name, content)
            except OSError:
                continue
            _prune(folder, name.split("@")[0])
            return

    def enable(self) -> None:
        """Keep, and use what is kept."""
        self._enabled = True

    def disable(self) -> None:
        """Compile anew."""
        self._enabled = False

    def flush(self) -> None:
        """Forget what is kept of this function, for all signatures."""
        for folder in folders():
            for file in folder.glob(f"{self._name}-*"):
                file.unlink(missing_ok=True)

    def _key(self, sig: Any, codegen: Any) -> tuple[Any, str]:
        """What must agree, and the name of the file: NAME-LINE-HASH@HASH of the signature and of the source."""
        switches = tuple(os.environ.get(f"NUMBA_{name}") for name in ("OPT", "BOUNDSCHECK", "DEBUGINFO"))
        use = (sig, ENVIRONMENT, switches, codegen.magic_tuple())
        return (use, self._source), f"{self._name}-{_digest(str(use).encode())}@{self._source}.nbc"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _write(file: Path, content: bytes) -> None:
    """Write a file whole, in a folder that need not be there yet.

    Raises:
        OSError: it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _prune(folder: Path, name: str) -> None:
    """Keep the last KEPT sources of one signature, and of all only what has been used in the last DAYS."""
    with contextlib.suppress(OSError):  # other processes prune as well, and another user's files may have to stay
        ages = {file: time.time() - file.stat().st_mtime for file in folder.iterdir()}
        same = sorted((file for file in ages if file.name.split("@")[0] == name), key=ages.__getitem__)
        for file in {*same[KEPT:], *(file for file, age in ages.items() if age > 86400 * DAYS)}:
            file.unlink(missing_ok=True)


@functools.cache
def folders() -> tuple[Path, ...]:
    """Where what is compiled is looked for; it is kept in the first of these that can be written."""
    chosen = numba.config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folders = [Path(chosen).absolute() / "limitpde"] if chosen[0] != "~" else []  # without a home, ~ stays
    with contextlib.suppress(OSError):
        own = Path(tempfile.gettempdir()) / f"limitpde-{os.getuid()}"
        own.mkdir(mode=0o700, exist_ok=True)
        there = own.lstat()
        if stat.S_ISDIR(there.st_mode) and there.st_uid == os.getuid() and not there.st_mode & 0o022:
            folders.append(own)  # nobody else can have put anything there
    return tuple(folders)


@functools.cache
def _source(module: str) -> str | None:
    """Hash of the sources that a module is made of: its own, and of what it imports from its package and this one.

    Taken when its first compiled function is defined: an edit during a run is not of this run. None unless it belongs
    to a package.
    """
    files = _files(module.partition(".")[0])
    if module not in files:
        return None
    files = files | _files(__name__.partition(".")[0])
    reached, open_ends = {module}, [module]
    while open_ends:
        name = open_ends.pop()
        new = _read(name, files[name])[1] & files.keys() - reached
        reached |= new
        open_ends += new
    return _digest("".join(f"{name} {_read(name, files[name])[0]}\n" for name in sorted(reached)).encode())


@functools.cache
def _files(package: str) -> dict[str, Path]:
    """The source of each module of a package; empty unless it is one."""
    start = Path(getattr(sys.modules.get(package), "__file__", None) or "")
    if start.name != "__init__.py":
        return {}
    found = {path.relative_to(start.parent).with_suffix("").parts: path for path in start.parent.rglob("*.py")}
    return {".".join((package, *parts)).removesuffix(".__init__"): path for parts, path in found.items()}


@functools.cache
def _read(name: str, path: Path) -> tuple[str, frozenset[str]]:
    """Hash of a source, and what it may import."""
    content, package = path.read_bytes(), name.rpartition(".")[0]
    if path.name == "__init__.py":
        package, stub = name, path.with_suffix(".pyi")  # of names that are loaded when they are used
        content += stub.read_bytes() if stub.exists() else b""
    return _digest(content), frozenset(_imports(content.decode(), package))


def _imports(source: str, package: str) -> Iterator[str]:
    """Names of the modules that a source in a package may import; some of them are names of other things."""
    for dots, base, names, modules in IMPORT.findall(source):
        if modules:
            yield from re.findall(r"[\w.]+", modules)
            continue
        if dots:
            above = package.rsplit(".", len(dots) - 1)[0]
            base = f"{above}.{base}" if base else above
        yield base
        yield from (f"{base}.{name}" for name in re.findall(r"\w+", names))
