"""The Fourier symbol of a potential on a torus."""

from __future__ import annotations

import math

import numpy as np

from limitpde.errors import InputError
from limitpde.potentials.two_body import Potential


def torus_symbol(potential: Potential, k: np.ndarray, x_box: np.ndarray) -> np.ndarray:
    """Gammahat at wave vectors of a torus: int over the torus of the periodic Gamma e^{-ik.x}, 0 at k = 0.

    Args:
        potential: any with a symbol, or with finitely many modes (the cosine).
        k: (n, d) wave vectors 2 pi m_j / L_j.
        x_box: (d, 2) the torus.

    Raises:
        InputError: k is not of the torus, or the potential has neither symbol nor modes.
    """
    k, x_box = np.atleast_2d(np.asarray(k, dtype=float)), np.asarray(x_box, dtype=float)
    lengths = x_box[:, 1] - x_box[:, 0]
    numbers = k * lengths / (2.0 * math.pi)
    if k.shape[1] != len(x_box) or np.abs(numbers - np.round(numbers)).max(initial=0.0) > 1e-6:
        raise InputError(f"k of the shape {k.shape}: must be wave vectors 2 pi m / L of the torus, of the shape (n, d)")
    result = np.zeros(len(k))
    moving = np.abs(numbers).max(axis=1, initial=0.0) > 0.5
    values = potential.symbol(k[moving])
    if values is not None:
        result[moving] = values
        return result
    modes = potential.modes(x_box)
    if modes is None:
        raise InputError(f"potential.kind = {potential.kind!r}: has no Fourier symbol on a torus")
    known = {
        tuple(sign * np.round(wave * lengths / (2.0 * math.pi)).astype(int)): c * math.prod(lengths) / 2.0
        for wave, c in zip(modes.k, modes.c, strict=True)
        for sign in (1, -1)
    }
    return np.array([known.get(tuple(number), 0.0) for number in np.round(numbers).astype(int)])
