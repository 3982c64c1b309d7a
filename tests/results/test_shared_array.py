"""One array in one file: written on some ranks and read on others, bit by bit; what is damaged or fails is told to all.

The load is carried by parts of every kind, some of them empty, and by a rank that cannot go on.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import os
import resource

import numpy as np
import pytest
from mpi4py import MPI
from phase_spaces import SMALL, given, noise, space

from limitpde.errors import InputError
from limitpde.parallel import on_root
from limitpde.results import shared_array
from limitpde.results.checkpoint import Checkpoint, PartState
from limitpde.results.shared_array import Block, Numbered, Stored

KINDS = {"solver": "test 1"}


def rows_of(comm, whole):
    """Rows in no order: those of rank r are r, r + P, ... from the end on; the last rank has none if there are many."""
    last = max(comm.size - 1, 1)
    index = np.arange(comm.rank, len(whole), last)[::-1] if comm.rank < last else np.arange(0)
    return Block(whole[index].copy(), whole.shape, (index, *(slice(0, n) for n in whole.shape[1:])))


@pytest.mark.ranks
@pytest.mark.parametrize("cells", [*SMALL.values(), (1, 1), (9, 5)])
def test_what_is_written_is_read_on_any_ranks(comm, shared_folder, cells):
    here, alone = (space(cells, 2 if len(cells) < 6 else 1, ranks) for ranks in (comm, MPI.COMM_SELF))
    values = noise(here, 2)
    path, shape, both = shared_folder / "f", (2, *here.whole_shape), slice(0, 2)
    found, _ = shared_array.write(comm, path, Block(given(here, values), shape, (both, *here.place)))
    np.testing.assert_array_equal(np.fromfile(path).reshape(shape), values)
    assert shared_array.digest(MPI.COMM_SELF, path) == found
    for space_, ranks in ((here, comm), (alone, MPI.COMM_SELF)):
        block = Block(np.zeros((2, *space_.shape)), shape, (both, *space_.place))
        Stored(ranks, path, 0, shape, block.dtype).read(block)
        np.testing.assert_array_equal(block.values, given(space_, values))


@pytest.mark.ranks
def test_rows_in_any_order(comm, shared_folder):
    whole = np.random.default_rng(2).normal(size=(11, 3, 2))
    shared_array.write(comm, shared_folder / "f", rows_of(comm, whole))
    np.testing.assert_array_equal(np.fromfile(shared_folder / "f").reshape(whole.shape), whole)
    block = rows_of(comm, np.zeros_like(whole))
    Stored(comm, shared_folder / "f", 0, whole.shape, block.dtype).read(block)
    np.testing.assert_array_equal(block.values, rows_of(comm, whole).values)


def columns_of(comm, whole):
    """The same of columns (n, k), one after another in memory."""
    last = max(comm.size - 1, 1)
    numbers = np.arange(comm.rank, len(whole), last)[::-1] if comm.rank < last else np.arange(0)
    return Numbered(numbers, len(whole), list(whole.T[:, numbers]))


@pytest.mark.ranks
@pytest.mark.parametrize("window", [1, 100, 1 << 24])
def test_numbered_rows_of_several_kinds_in_one_file(comm, shared_folder, monkeypatch, window):
    """Read by all ranks: their own rows, some of all, and equal parts."""
    monkeypatch.setattr(shared_array, "WINDOW", window)
    monkeypatch.setattr(shared_array, "SHARE", 1)
    numbers = np.random.default_rng(4)
    wholes = [numbers.normal(size=(23, 3)), numbers.integers(0, 99, (7, 2)), numbers.normal(size=(9, 1)) > 0]
    arrays = [columns_of(comm, whole) for whole in wholes]
    _, places = shared_array.write(comm, shared_folder / "f", *arrays)
    data = b"".join(whole.tobytes() for whole in wholes)
    assert (shared_folder / "f").read_bytes() == data
    for ranks in (comm, MPI.COMM_SELF):
        for whole, array, first in zip(wholes, arrays, places, strict=True):
            stored = Stored(ranks, shared_folder / "f", first, array.shape, array.dtype)
            for mine in (array.numbers, np.arange(len(whole))[::-2]):
                found = Numbered(mine, len(whole), list(np.zeros((whole.shape[1], len(mine)), whole.dtype)))
                stored.read(found)
                np.testing.assert_array_equal(np.array(found.columns).T, whole[mine])
            np.testing.assert_array_equal(np.concatenate(ranks.allgather(stored.part())), whole)


@pytest.mark.ranks
def test_rows_of_each_rank_one_after_another(comm, shared_folder):
    """As many as the number of the rank: rank 0 has none."""
    rows = comm.rank + np.arange(2.0 * comm.rank).reshape(-1, 2)
    given = [shared_array.one_after_another(comm, array) for array in (rows, rows[:, 0] > 1, rows[:0])]
    _, places = shared_array.write(comm, shared_folder / "f", *given)
    whole = np.concatenate(comm.allgather(rows))
    for array, first, held in zip(given, places, (whole, whole[:, :1] > 1, whole[:0]), strict=True):
        part = Stored(comm, shared_folder / "f", first, array.shape, array.dtype).part()
        assert len(part) <= -(-len(held) // comm.size)
        np.testing.assert_array_equal(np.concatenate(comm.allgather(part)), held, strict=True)


@pytest.mark.ranks
def test_the_digest_does_not_depend_on_the_ranks_and_sees_each_bit(comm, shared_folder, monkeypatch):
    monkeypatch.setattr(shared_array, "PIECE", 100)
    monkeypatch.setattr(shared_array, "READ", 7)
    path, data = shared_folder / "f", bytearray(np.random.default_rng(3).bytes(1050))
    on_root(comm, lambda: path.write_bytes(data))
    seen = {shared_array.digest(comm, path), shared_array.digest(MPI.COMM_SELF, path)}
    assert len(seen) == 1
    comm.barrier()
    for place in range(0, len(data), 97):
        on_root(comm, lambda place=place: path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]))
        seen.add(shared_array.digest(comm, path))
    assert len(seen) == 1 + len(range(0, len(data), 97))
    assert shared_array.digest(comm, shared_folder / "none") is None


@pytest.mark.ranks
def test_a_file_that_cannot_be_written_or_read_is_told_to_every_rank(comm, shared_folder, monkeypatch):
    monkeypatch.setattr(shared_array, "WINDOW", 1_000)  # some of it fits
    monkeypatch.setattr(shared_array, "SHARE", 1)
    whole, path = np.ones((2000, 3)), shared_folder / "f"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        for give in (rows_of, columns_of):
            with pytest.raises(OSError, match="f"):
                shared_array.write(comm, path, give(comm, whole))
            comm.barrier()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(OSError, match="none"):
        shared_array.write(comm, shared_folder / "none" / "f", rows_of(comm, whole))
    with pytest.raises(InputError, match=r"holds an array \(2000, 3\) of float64 where one \(1999, 3\) of float64"):
        Stored(comm, path, 0, whole.shape, whole.dtype).read(rows_of(comm, whole[1:]))
    for give in (rows_of, columns_of):
        with pytest.raises(InputError, match="none: cannot be read"):
            Stored(comm, shared_folder / "none", 0, whole.shape, whole.dtype).read(give(comm, whole))


def save(comm, folder, *values):
    """A checkpoint with a generation for each value."""
    checkpoint = Checkpoint(folder, comm)
    for value in values:
        whole = np.full((11, 2), float(value))
        checkpoint.save_solution({"solver": PartState("test 1", {"x": whole[:3, 0], "f": rows_of(comm, whole)})})
    comm.barrier()


def found(comm, folder):
    """The value that is read, or None, by its array of all ranks too; the files that are damaged."""
    block = rows_of(comm, np.zeros((11, 2)))
    parts, bad = Checkpoint(folder, comm).solution(KINDS)
    value = None if parts is None else float(parts["solver"]["x"][0])
    if parts is not None:
        parts["solver"]["f"].read(block)
    assert set(block.values.ravel()) <= {value or 0.0}
    return value, bad


@pytest.mark.ranks
def test_two_generations_are_kept_with_their_arrays(comm, shared_folder):
    assert found(comm, shared_folder) == (None, [])
    save(comm, shared_folder, 1, 2, 3)
    assert found(comm, shared_folder) == (3.0, [])
    assert found(MPI.COMM_SELF, shared_folder) == (3.0, [])
    names = sorted(os.listdir(shared_folder / "checkpoint"))
    assert names == ["previous.npz", "solution-2.bin", "solution-3.bin", "solution.npz"]


@pytest.mark.ranks
@pytest.mark.parametrize("kind", ["removed", "cut", "bit", "empty"])
def test_a_damaged_array_gives_way_to_the_one_before(comm, shared_folder, kind):
    save(comm, shared_folder, 1, 2)
    path = shared_folder / "checkpoint" / "solution-2.bin"

    def damage():
        data = path.read_bytes()
        path.write_bytes({"cut": data[:-1], "bit": data[:70] + b"?" + data[71:]}.get(kind, b""))
        if kind == "removed":
            path.unlink()

    on_root(comm, damage)
    assert found(comm, shared_folder) == (1.0, ["checkpoint/solution-2.bin"])
    save(comm, shared_folder, 4)  # by a run that does not know of the others
    assert found(comm, shared_folder) == (4.0, [])


@pytest.mark.ranks
def test_a_generation_that_was_not_finished_is_as_if_it_had_not_begun(comm, shared_folder):
    """Killed between the array and the file that names it."""
    save(comm, shared_folder, 1, 2)
    on_root(comm, lambda: (shared_folder / "checkpoint" / "solution-3.bin").write_bytes(b"half"))
    checkpoint = Checkpoint(shared_folder, comm)
    parts, bad = checkpoint.solution(KINDS)
    assert (float(parts["solver"]["x"][0]), bad) == (2.0, [])
    checkpoint.save_solution({"solver": PartState("test 1", {"f": rows_of(comm, np.zeros((11, 2)))})})
    comm.barrier()
    names = sorted(os.listdir(shared_folder / "checkpoint"))
    assert names == ["previous.npz", "solution-2.bin", "solution-4.bin", "solution.npz"]


@pytest.mark.ranks
def test_a_disk_without_room_leaves_the_state_before(comm, shared_folder):
    save(comm, shared_folder, 1, 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match="solution"):
            save(comm, shared_folder, 3)
        comm.barrier()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert found(comm, shared_folder) == (2.0, [])
