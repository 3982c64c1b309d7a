"""Forms of UFL, compiled by FFCx into a folder of this package, where a compilation that was killed is no obstacle.

FFCx knows what is being compiled by its .c file alone. That of a process that was killed stays for ever, and who wants
the same form waits for it and fails; a library that a power cut has left half written ends the process that loads it.
So here one run at a time compiles in the folder (rank 0 holds its lock), what is whole is known by a checksum, and the
rest is removed. The folder is `forms` in that of the compiled functions (`limitpde.compiled`); where none can be used,
a form is compiled into a folder that is removed again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import dolfinx
import ufl

from limitpde import compiled
from limitpde.errors import RunError
from limitpde.parallel import on_root
from limitpde.results import figures
from limitpde.results.lock import UNKNOWN

PATIENCE = 60.0
"""Seconds to wait for another run that compiles; then the next folder is tried."""
_whole: set[Path] = set()
"""Folders in which this process has removed what was not whole."""


def form(expression: ufl.Form) -> dolfinx.fem.Form:
    """Compile a form. Collective.

    Raises:
        RunError: it cannot be compiled, as without a C compiler.
    """
    comm = expression.ufl_domain().ufl_cargo().comm
    failure: Exception | None = None
    for kept in (*on_root(comm, lambda: [folder / "forms" for folder in compiled.folders()]), None):
        try:
            folder = kept or on_root(comm, lambda: Path(tempfile.mkdtemp(prefix="limitpde-")))
            lock = on_root(comm, lambda folder=folder: _take(folder))  # type: ignore[misc]
        except OSError as error:
            failure = error
            continue
        try:
            return dolfinx.fem.form(expression, jit_options={"cache_dir": folder})
        except Exception as error:  # of FFCx, cffi, the compiler or the loader, of many kinds; on all ranks
            failure = error
            _whole.discard(folder)
        finally:
            if comm.rank == 0:
                _leave(folder, lock)
                if not kept:
                    shutil.rmtree(folder, ignore_errors=True)
    raise RunError(
        f"DOLFINx cannot compile a form ({type(failure).__name__}: {' '.join(str(failure).split())}); it needs a C "
        "compiler (gcc), the headers of Python, and room for temporary files"
    ) from failure


def _take(folder: Path) -> int:
    """Take a folder for this run alone, and remove what is not whole; the file that holds the lock.

    Raises:
        OSError: it cannot be written, or another run has it for too long.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    until = time.monotonic() + PATIENCE
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise TimeoutError(f"{folder} is in use") from error
                time.sleep(0.02)
            except OSError as error:
                if error.errno in UNKNOWN:  # a file system without locks: what others compile now is left alone
                    return lock
                raise
        if folder not in _whole:
            _remove_broken(folder)
            _whole.add(folder)
    except OSError:
        os.close(lock)
        raise
    return lock


def _leave(folder: Path, lock: int) -> None:
    """Say of what has been compiled that it is whole, and give the folder free."""
    with suppress(OSError):
        for ready in folder.glob("*.c.cached"):
            name, mark = ready.name.partition(".")[0], ready.with_name(ready.name.replace(".c.cached", ".sha256"))
            if not mark.exists():
                figures.write_text(mark, _checksum(folder, name))
    os.close(lock)


def _remove_broken(folder: Path) -> None:
    names = {path.name.partition(".")[0] for path in folder.glob("libffcx*")}
    for name in names:
        mark = folder / f"{name}.sha256"
        if not mark.exists() or mark.read_text() != _checksum(folder, name):
            for path in folder.glob(f"{name}.*"):
                path.unlink()


def _checksum(folder: Path, name: str) -> str:
    """Of the library of a form, which is on the disk itself then."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob(f"{name}.*.so")):
        figures.sync(path)
        digest.update(path.read_bytes())
    return digest.hexdigest()
