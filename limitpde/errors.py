"""The errors limitpde raises on purpose; each also is the builtin that a caller would expect."""

from typing import Any


class LimitPDEError(Exception):
    """Root of every error that limitpde raises on purpose."""


class InputError(LimitPDEError, ValueError):
    """A case, a model or an argument is wrong: the message names the key, its value and what is allowed."""


class RunError(LimitPDEError, RuntimeError):
    """A run could not go on: the message says where, why, and what to try. Raised on every rank alike."""

    result: Any = None
    """What was computed until then, a `limitpde.Result`, where `limitpde.run` raises it."""


class Interrupted(LimitPDEError):  # noqa: N818 - named as Python names KeyboardInterrupt
    """The user (Ctrl-C) or the system (SIGTERM) asked the run to stop. Raised on every rank alike."""

    result: Any = None
    """As that of a `RunError`; `limitpde.run(..., resume=True)` goes on."""


OUT_OF_MEMORY = 55
"""What PETSc says where Python would raise MemoryError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of Python or of PETSc, says that there is no memory left."""
    return isinstance(error, MemoryError) or getattr(error, "ierr", 0) == OUT_OF_MEMORY


def describe(error: Exception) -> str:
    """The message of an error, with its kind where the message alone may not say enough."""
    if is_out_of_memory(error):
        return f"out of memory ({error or 'there is none left'})"
    return str(error) if isinstance(error, LimitPDEError) else f"{type(error).__name__}: {error}"
