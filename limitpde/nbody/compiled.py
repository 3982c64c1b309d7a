"""Compiled functions that allocate nothing.

numba counts the references to an array with atomic operations wherever it is taken out of a tuple or handed to another
function; in the innermost loops that costs several times what the loops themselves do. A function that makes no array,
and whose callers hold those it gets, needs no counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def hot[F: Callable[..., Any]](function: F) -> F:
    """Compile a function of scalars, arrays and named tuples of them, which must not allocate arrays."""
    return njit(cache=True, _nrt=False)(function)
