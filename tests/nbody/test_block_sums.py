"""Sums in blocks have the bits of numpy's sum of all terms, wherever they are cut."""

from __future__ import annotations

import numpy as np
import pytest

from limitpde.nbody import block_sums as module
from limitpde.nbody.block_sums import block_sums


@pytest.mark.parametrize("count", [0, 7, 1000, 12_345])
@pytest.mark.parametrize("longest", [128, 1000, 1 << 15])
def test_the_bits_are_those_of_one_sum(monkeypatch: pytest.MonkeyPatch, count: int, longest: int) -> None:
    monkeypatch.setattr(module, "LONGEST", longest)
    values, seen = np.random.default_rng(count).standard_normal((3, 2, count)), []

    def terms(some: slice) -> np.ndarray:
        seen.append(some.stop - some.start)
        return values[..., some]

    np.testing.assert_array_equal(block_sums(terms, 0, count), values.sum(axis=-1))
    assert max(seen) <= longest
    assert sum(seen) == count
