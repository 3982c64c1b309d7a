"""How the process was started: its standard streams, Ctrl-C before all is loaded, and what the launcher of ranks says.

Standard library only: `limitpde/__init__.py` loads it before MPI.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TextIO

INTERRUPTED = 128 + signal.SIGINT
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS")
"""Variables with the number of processes, by launcher; the first that is set holds."""
RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
"""Those with the number of this one."""


def _first(names: tuple[str, ...], default: int) -> int:
    found = next((os.environ[name] for name in names if name in os.environ), "")
    return int(found) if found.isdecimal() else default


def size() -> int:
    """How many processes the launcher has started together."""
    return _first(SIZES, 1)


def rank() -> int:
    """Which of them this is, from 0 on; known before MPI is."""
    return _first(RANKS, 0)


def is_command() -> bool:
    """Whether the program is `limitpde` or `python -m limitpde`, and no other that imports the package."""
    return Path(sys.argv[0]).name == "limitpde" or (sys.argv[0] == "-m" and "limitpde" in sys.orig_argv)


def begin() -> None:
    """Before anything is loaded: keep the numbers of closed streams from other files, and make Ctrl-C end the command.

    Else a file or a socket would get the number of a closed stream, and what libraries print would go there. PETSc is
    told to leave signals alone: its handler makes MPI abort when the reader of a stream goes away. A user without a
    home, as in many containers, gets one that is not there: without any DOLFINx does not load. A program that imports
    the package keeps its signals, streams and options.
    """
    if not is_command():
        return
    os.environ["PETSC_OPTIONS"] = f"-no_signal_handler {os.environ.get('PETSC_OPTIONS', '')}".strip()
    if not Path(os.path.expanduser("~")).is_dir():
        os.environ["HOME"] = "/nonexistent"
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once, with one line for all ranks: an exception may be swallowed by what is being loaded."""
    if rank() == 0:
        os.write(2, b"limitpde: interrupted\n")
    else:
        time.sleep(0.5)  # a launcher that sees this rank end would end the first one before it has spoken
    os._exit(INTERRUPTED)


def loaded() -> None:
    """All is loaded: Ctrl-C is KeyboardInterrupt from here on, and no stream fails when its reader goes away."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout, sys.stderr = _lasting(sys.stdout, 1), _lasting(sys.stderr, 2)


class _Lasting(io.FileIO):
    """A stream whose reader may go away, as that of `| head` does: what comes then is lost, and nothing fails.

    Any other error, as of a full disk, is raised once; what is left in the buffer is lost then.
    """

    _failed = False

    def write(self, data: object, /) -> int:
        """Write some bytes; their number."""
        try:
            if not self._failed:
                return super().write(data)  # type: ignore[arg-type]
        except BrokenPipeError:
            pass
        except OSError:
            self._failed = True
            raise
        return memoryview(data).nbytes  # type: ignore[arg-type]


def _lasting(stream: TextIO | None, number: int) -> TextIO:
    encoding = "utf-8" if stream is None else stream.encoding  # None: it was closed, and is the null device now
    raw = io.BufferedWriter(_Lasting(number, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", line_buffering=True)
