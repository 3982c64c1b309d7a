"""Checkpoints: what was written is what is read, and what is damaged is found out, to the last bit.

The load is carried by every length that a file can be cut to, and by a flipped bit at any place of it.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)

import numpy as np
import pytest

from limitpde.errors import InputError
from limitpde.results.checkpoint import Checkpoint, PartState

KINDS = {"solver": "test 1"}


def saved(folder, *values):
    """A checkpoint with a generation for each value."""
    for value in values:
        Checkpoint(folder).save_solution({"solver": PartState("test 1", {"x": np.full(3, float(value))})})
    return folder / "checkpoint" / "solution.npz"


def found(folder):
    """The value that is read, or None; the files that are damaged."""
    parts, bad = Checkpoint(folder).solution(KINDS)
    return None if parts is None else float(parts["solver"]["x"][0]), bad


def test_the_last_state_is_read(tmp_path):
    assert found(tmp_path) == (None, [])
    saved(tmp_path, 1, 2, 3)
    assert found(tmp_path) == (3.0, [])


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_gives_way_to_the_one_before(tmp_path, share):
    path = saved(tmp_path, 1, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert found(tmp_path) == (1.0, ["checkpoint/solution.npz"])


def test_a_flipped_bit_anywhere_is_found_out(tmp_path):
    path = saved(tmp_path, 1, 2)
    whole = path.read_bytes()
    for place in range(0, len(whole), 37):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert found(tmp_path) == (1.0, ["checkpoint/solution.npz"]), place


def test_nothing_is_left_of_two_damaged_ones(tmp_path):
    path = saved(tmp_path, 1, 2)
    path.write_bytes(b"")
    path.with_name("previous.npz").write_bytes(b"junk")
    assert found(tmp_path) == (None, ["checkpoint/solution.npz", "checkpoint/previous.npz"])


def test_a_state_of_another_layout_is_refused(tmp_path):
    saved(tmp_path, 1)
    with pytest.raises(InputError, match=r"holds test 1 where test 2 is expected"):
        Checkpoint(tmp_path).solution({"solver": "test 2"})


def test_a_damaged_batch_of_replicas_is_missing_alone(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    for first in (1, 3, 5):
        checkpoint.save_replicas(8, {"replicas": np.array([first, first + 1]), "x": np.zeros(2)})
    path = tmp_path / "checkpoint" / "N8-3.npz"
    path.write_bytes(path.read_bytes()[:-1])
    parts, bad = checkpoint.replicas(8)
    assert [part["replicas"].tolist() for part in parts] == [[1, 2], [5, 6]]
    assert bad == ["checkpoint/N8-3.npz"]
