"""One run at a time in a folder: a lock that names its holder, and that is free again when its holder is gone.

The operating system keeps the lock (flock) and drops it with the process, however that ends, also on the shared file
systems that know locks across machines. Where a file system knows none, the record in the file decides: a process of
this machine that is gone has lost it, one of another machine keeps it until the file is removed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from limitpde.errors import InputError

NAME = ".lock"
UNKNOWN = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
"""What a file system that knows no locks answers."""


class Lock:
    """The lock of a folder, held from `take` to `free`. On rank 0.

    Args:
        directory: the folder; it is made where it is not there.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self._file: int | None = None

    def take(self) -> None:
        """Take the lock.

        Raises:
            InputError: another run has it, or the folder cannot be written.
        """
        where = f"output.directory = {str(self._path.parent)!r}"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                if not self._locked(file):
                    holder = _told(_read(file))
                    os.close(file)
                    raise InputError(f"{where}: is in use by {holder}; wait for it, or take another folder")
                if _same(file, self._path):  # else the one before has removed it in between
                    break
                os.close(file)
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps(_me()).encode(), 0)
        except OSError as error:
            raise InputError(f"{where}: {error.strerror}") from error
        self._file = file

    def free(self) -> None:
        """Give the lock back, and remove the folder if it is empty."""
        if self._file is not None:
            with suppress(OSError):
                self._path.unlink()
                self._path.parent.rmdir()
            os.close(self._file)
            self._file = None

    def _locked(self, file: int) -> bool:
        """Whether this process has got the lock of an open file."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in UNKNOWN:
                return _gone(_read(file))
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True


def _same(file: int, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _me() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": socket.gethostname(), "process": pid, "started": _started(pid), "since": time.time()}


def _started(pid: int) -> str:
    """When a process of this machine started, in ticks since the machine did; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _read(file: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(file, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _gone(holder: dict[str, Any]) -> bool:
    """Whether the holder that a file names is known not to run any more."""
    if not holder:
        return True
    return holder.get("host") == socket.gethostname() and _started(holder.get("process", 0)) != holder.get("started")


def _told(holder: dict[str, Any]) -> str:
    if not holder:
        return "another run"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.get("since", 0.0)))
    return f"process {holder.get('process')} on {holder.get('host')}, since {since}"
