"""DIR/checkpoint: what a run that was stopped or killed goes on from.

`solution.npz` holds the state of the PDE's solver and of what observes it, and the marks of the files below pde/ that
grow with it; it is replaced as a whole from time to time, and `previous.npz` is the one before. Arrays that all ranks
have together lie beside each of them, in the file `solution-<number>.bin` that it names (`shared_array`).
`N<count>-<replica>.npz` holds the measurements of replicas that are finished, one file for each batch, named after its
first replica; that of replica 0 also knows the file of its snapshots.

A file is there whole or not at all, after a kill and after a power cut, and ends with the sha256 of what is before;
that of `solution-<number>.bin` stands in the file that names it, which is written after it. One that is damaged all
the same, by a disk or a copy, is found out and removed, and what it held is computed anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from mpi4py import MPI

from limitpde.errors import InputError
from limitpde.parallel import on_root
from limitpde.results import marks, shared_array
from limitpde.results.figures import draft_of, put_in_place, sync

Arrays = dict[str, np.ndarray]
type GivenState = Mapping[str, np.ndarray | shared_array.Shared]
"""Arrays of a state by name, on rank 0; those that all ranks have together, on every rank."""
type FoundState = dict[str, Any]
"""The same as they are read: arrays on every rank; what reads one of all ranks, `shared_array.Stored`."""
KIND = "kind"
MARKS = "marks"
SHARED = "shared"
SNAPSHOTS = "snapshots"
DIGITS = 64
"""Of a sha256 in hexadecimal."""
BLOCK = 1 << 20
"""Bytes read at a time."""


@dataclass(frozen=True, slots=True)
class PartState:
    """What one part of a run goes on from."""

    kind: str
    """Name and version of its layout, such as "signed.Solver 1"."""
    arrays: GivenState


class Damaged(Exception):  # noqa: N818 - named as one says it
    """A file is not what was written."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


class Checkpoint:
    """The checkpoint of a result.

    Args:
        directory: the folder of the result.
        comm: the ranks that have the solution together; what is not collective is called by one rank, which alone
            writes its file.
    """

    FILES = (
        "checkpoint/solution.npz",
        "checkpoint/previous.npz",
        "checkpoint/solution-*.bin",
        "checkpoint/N*-*.npz",
    )
    """What it writes, relative to the folder of the result."""

    def __init__(self, directory: Path, comm: MPI.Comm = MPI.COMM_SELF) -> None:
        self._directory, self._folder, self._comm = directory, directory / "checkpoint", comm
        self._marks: marks.Marks = {}
        self._last = ""
        """The file of the shared array of the last state that is whole."""

    def save_solution(self, parts: Mapping[str, PartState]) -> None:
        """Replace the state of the PDE, after all rows and fields so far are on the disk. Collective.

        Args:
            parts: part by part.

        Raises:
            OSError: it cannot be written; then the earlier state is still there.
        """
        given = {f"{part}/{name}": array for part, state in parts.items() for name, array in state.arrays.items()}
        shared = {key: array for key, array in given.items() if not isinstance(array, np.ndarray)}
        mark: dict[str, Any] = {}
        path = self._folder / "none"
        try:
            if shared:
                path = on_root(self._comm, self._next_file)
                sha256, places = shared_array.write(self._comm, path, *shared.values())
                kinds = [(first, a.shape, a.dtype.str) for first, a in zip(places, shared.values(), strict=True)]
                mark = {"file": path.name, "sha256": sha256, "arrays": dict(zip(shared, kinds, strict=True))}
            arrays = {key: array for key, array in given.items() if isinstance(array, np.ndarray)}
            arrays |= {f"{part}/{KIND}": np.array(state.kind) for part, state in parts.items()}
            on_root(self._comm, lambda: self._save_parts(arrays, mark))
        except OSError:
            on_root(self._comm, lambda: path.unlink(missing_ok=True))
            raise
        self._last = mark.get("file", "")

    def _next_file(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(path.stem.rpartition("-")[2]) for path in self._folder.glob("solution-*.bin")]
        return self._folder / f"solution-{max(numbers, default=0) + 1}.bin"

    def _save_parts(self, arrays: Arrays, shared: dict[str, Any]) -> None:
        self._marks = marks.taken(self._directory, self._marks)
        notes = {MARKS: np.array(json.dumps(self._marks)), SHARED: np.array(json.dumps(shared))}
        self._save("solution.npz", arrays | notes, before="previous.npz")
        for path in self._folder.glob("solution-*.bin"):
            if path.name not in (shared.get("file"), self._last):
                path.unlink()

    def solution(self, kinds: Mapping[str, str]) -> tuple[dict[str, FoundState] | None, list[str]]:
        """The latest state of the PDE that is whole, with all that was written up to it. Collective.

        Args:
            kinds: part -> name and version of the layout that is understood.

        Returns:
            The state part by part, if there is one; the files that are damaged, of which some were removed.

        Raises:
            InputError: a file cannot be read, or a part is of another layout.
        """
        bad: list[str] = []
        for path in (self._folder / "solution.npz", self._folder / "previous.npz"):
            arrays, lost = on_root(self._comm, partial(self._examined, path))
            mark = json.loads(str(arrays.pop(SHARED, "{}")))
            file = self._folder / mark.get("file", "none")
            if mark and shared_array.digest(self._comm, file) != mark["sha256"]:
                lost.append(f"checkpoint/{file.name}")
            if arrays and not lost:
                self._marks, self._last = json.loads(str(arrays.pop(MARKS))), mark.get("file", "")
                stored = {
                    key: shared_array.Stored(self._comm, file, first, tuple(shape), np.dtype(kind))
                    for key, (first, shape, kind) in mark.get("arrays", {}).items()
                }
                return _parts(path, arrays | stored, kinds), bad
            bad += [name for name in lost if name not in bad]
            on_root(self._comm, lambda path=path: path.unlink(missing_ok=True))  # type: ignore[misc]
        return None, bad

    def _examined(self, path: Path) -> tuple[Arrays, list[str]]:
        """What a file of the checkpoint holds, if there is one; files that are damaged. On rank 0."""
        if not path.exists():
            return {}, []
        try:
            arrays = _load(path)
        except Damaged:
            return {}, [f"checkpoint/{path.name}"]
        return arrays, marks.damaged(self._directory, json.loads(str(arrays[MARKS])))

    def table_size(self, name: str) -> int:
        """How many bytes of a table, relative to the folder of the result, belong to the state that was found."""
        return int(self._marks[name]["bytes"])

    def save_replicas(self, count: int, part: Mapping[str, np.ndarray]) -> None:
        """Keep the measurements of some replicas of N = count; `replicas` holds their numbers."""
        arrays, snapshots = dict(part), self._snapshots(count)
        if 0 in part["replicas"] and snapshots.exists():
            sync(snapshots)
            sync(snapshots.parent)
            with snapshots.open("rb") as file:
                arrays[SNAPSHOTS] = np.array(hashlib.file_digest(file, "sha256").hexdigest())
        self._save(f"N{count}-{int(part['replicas'][0])}.npz", arrays)

    def replicas(self, count: int) -> tuple[list[Arrays], list[str]]:
        """The measurements of all replicas of N = count that were kept and are whole, in the order of their numbers.

        Returns:
            These; the files that are damaged, whose replicas are missing.

        Raises:
            InputError: a file cannot be read.
        """
        parts, bad = [], []
        for path in sorted(self._folder.glob(f"N{count}-*.npz")):
            try:
                part = _load(path)
                if SNAPSHOTS in part:
                    _check_file(self._snapshots(count), str(part.pop(SNAPSHOTS)))
                parts.append(part)
            except Damaged as error:
                bad.append(error.path.relative_to(self._directory).as_posix())
                path.unlink()
        return sorted(parts, key=lambda part: int(part["replicas"][0])), bad

    def _snapshots(self, count: int) -> Path:
        return self._directory / f"particles/N{count}/particles.vtkhdf"

    def _save(self, name: str, arrays: Mapping[str, np.ndarray], *, before: str | None = None) -> None:
        """Write a file; one of this name that is there already gets the name `before`, if that is given."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / name
        draft = draft_of(path)
        try:
            with draft.open("w+b") as file:
                np.savez(file, **cast(dict[str, Any], arrays))  # numpy's types take any name for an option's
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                file.write(digest.encode())
            put_in_place(draft, path, before=self._folder / before if before else None)
        except OSError:
            draft.unlink(missing_ok=True)
            raise


def _load(path: Path) -> Arrays:
    """The arrays of a file of the checkpoint."""
    try:
        with path.open("rb") as file:
            size = max(os.fstat(file.fileno()).st_size - DIGITS, 0)
            if _sha256(file, size).encode() != file.read():
                raise Damaged(path)
            file.seek(0)
            with np.load(file, allow_pickle=False) as data:
                return {name: data[name] for name in data.files}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); make it readable, or remove it") from error


def _sha256(file: BinaryIO, size: int) -> str:
    """Of so many bytes at the beginning of a file."""
    found = hashlib.sha256()
    file.seek(0)
    while size and (block := file.read(min(size, BLOCK))):
        found.update(block)
        size -= len(block)
    return found.hexdigest()


def _check_file(path: Path, sha256: str) -> None:
    """Raise `Damaged` unless there is such a file with this checksum."""
    if not path.is_file():
        raise Damaged(path)
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise Damaged(path)


def _parts(path: Path, arrays: FoundState, kinds: Mapping[str, str]) -> dict[str, FoundState]:
    """The arrays part by part, if all parts are of the kinds that are understood."""
    parts: dict[str, FoundState] = {part: {} for part in kinds}
    for key, array in arrays.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = array
    for part, kind in kinds.items():
        found = str(parts[part].pop(KIND, "nothing"))
        if found != kind:
            raise InputError(f"{path}: holds {found} where {kind} is expected; run again without --resume")
    return parts
