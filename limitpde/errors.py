"""The errors limitpde raises on purpose; each also is the builtin that a caller would expect."""


class LimitPDEError(Exception):
    """Root of every error that limitpde raises on purpose."""


class InputError(LimitPDEError, ValueError):
    """A case, a model or an argument is wrong: the message names the key, its value and what is allowed."""


class RunError(LimitPDEError, RuntimeError):
    """A run could not go on: the message says where, why, and what to try. Raised on every rank alike."""


class Interrupted(LimitPDEError):  # noqa: N818 - named as Python names KeyboardInterrupt
    """The user (Ctrl-C) or the system (SIGTERM) asked the run to stop. Raised on every rank alike."""
