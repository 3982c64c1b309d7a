"""Temporal VTKHDF files that a kill cannot break: ParaView 5.13 and newer open them with all their time steps.

A run killed at any moment leaves a readable file with every step that was finished:

- All that is long (arrays, offsets) lies in contiguous datasets with room to spare. New rows go behind the rows in use,
  where no reader looks; when room runs out, a roomier copy replaces the file, so that appending costs
  O(new rows) on average. The spare room is a hole in the file and takes no space on disk.
- What tells readers how much there is (the attribute `NSteps`, and the lengths of `Steps/Values` and of the counts:
  VTK takes the length of `NumberOfPoints` for the number of parts of a single step) lies in the first 4096 bytes, and
  those are written last, in one piece.

Between two steps the file is closed. HDF5 itself would write the same bytes piecemeal, in an order of its own;
therefore it writes into a `HeldFile`, which sorts them. All here is serial: one process may write a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from limitpde.errors import InputError, LimitPDEError
from limitpde.results.figures import draft_of, put_in_place
from limitpde.results.held_files import PAGE, DraftFile, HeldFile, signals_held

HEADER = 512
"""Upper bound of the length of the object headers that a commit changes."""
SPARE = 64
"""Least spare room, in rows."""
BLOCK = 1 << 22
"""Rows copied at a time when a file is given more room."""
VERSION = [2, 0]
VALUES = "Steps/Values"
PARTS = "Steps/PartOffsets"
"""The part of each step; a part is a mesh, or a cloud of particles, and its entry in the counts."""
ARRAYS = ("PointData", "CellData")

Mode = Literal["w", "a"]


@dataclass(frozen=True, slots=True)
class Hole:
    """Rows of a step that are in the file by other means when the step is added: what arrays of them would be."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]


Rows = Mapping[str, tuple[int, np.ndarray | Hole]]
"""Dataset -> (first row, rows): what a step adds."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What the datasets of one kind of series are; names are paths inside the group VTKHDF."""

    kind: Literal["UnstructuredGrid", "PolyData"]
    counts: tuple[str, ...] = ()
    """Integer tables of one entry a part. Each step has one part: a new one, or that of the step before."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Second names of datasets: name -> dataset."""
    fixed: tuple[str, ...] = ()
    """Datasets that never change."""


@contextmanager
def reading(path: Path | str) -> Iterator[Any]:
    """The group VTKHDF of a file, opened for reading, also while a run writes the file.

    Raises:
        InputError: there is no such file, it is no temporal VTKHDF file, or it is found to be damaged.
    """
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a VTKHDF file ({error})") from None
    with file:
        try:
            if "VTKHDF" not in file or "Steps" not in file["VTKHDF"]:
                raise InputError(f"{path}: is no temporal VTKHDF file (it has no group VTKHDF/Steps)")
            yield file["VTKHDF"]
        except (RuntimeError, KeyError, OSError) as error:
            if isinstance(error, LimitPDEError) or getattr(error, "errno", None) is not None:
                raise
            raise InputError(f"{path}: is damaged ({str(error).strip("'")})") from error


def times(path: Path | str) -> np.ndarray:
    """The times of the steps in a file, (steps,). Serial.

    Raises:
        InputError: there is no such file, or it is no temporal VTKHDF file.
    """
    with reading(path) as group:
        return np.asarray(group[VALUES][:])


def read_through(path: Path | str) -> None:
    """Read all that a file holds. Serial.

    Raises:
        InputError: it cannot be read.
    """

    def read(name: str, item: Any) -> None:
        for first in range(0, len(item) if isinstance(item, h5py.Dataset) else 0, BLOCK):
            item[first : first + BLOCK]

    with reading(path) as group:
        group.visititems(read)


def check_head(group: Any, layout: Layout) -> None:
    """Check what the attributes of a file say.

    Raises:
        InputError: they are not those of a file of this layout with so many steps.
    """
    head = (group.attrs["Type"], group.attrs["Version"].tolist(), group["Steps"].attrs["NSteps"])
    if head != (layout.kind.encode(), VERSION, len(group[VALUES])):
        raise InputError(f"{group.file.filename}: is no VTKHDF file of this layout: Type, Version, NSteps = {head}")


def step_index(group: Any, step: int) -> int:
    """The step counted from the start, of a step that may be counted from the end.

    Raises:
        InputError: there is no such step.
    """
    steps = len(group[VALUES])
    if not -steps <= step < steps:
        raise InputError(f"{group.file.filename}: step = {step}: the file has {steps} steps")
    return step % steps


def close_to(t: float) -> float:
    """How far apart two times may be and still be the same."""
    return 1e-12 * max(1.0, abs(t))


def check_mode(path: Path, mode: str) -> None:
    """Check how a series is to be opened.

    Raises:
        InputError: the mode is neither "w" nor "a".
    """
    if mode not in ("w", "a"):
        raise InputError(f'{path}: mode = {mode!r}: must be "w" (a new file) or "a" (continue one)')


def check_time(t: float) -> float:
    """The time of a step as a float.

    Raises:
        InputError: it is not a finite number.
    """
    if not np.isfinite(t):
        raise InputError(f"t = {t}: must be a finite number")
    return float(t)


def check_name(name: str) -> None:
    """Check the name of an array.

    Raises:
        InputError: it is empty, ".", or has a slash in it.
    """
    if name in ("", ".", "..") or "/" in name:
        raise InputError(f"array {name!r}: a name must not be empty or have a slash in it")


def create(path: Path, layout: Layout, fixed: Mapping[str, np.ndarray]) -> None:
    """Write a file without steps, in place of whatever was there."""
    with signals_held():
        _build(path, layout, {name: np.empty(0) for name in (VALUES, *layout.counts)}, fixed, {})


def append(path: Path, layout: Layout, t: float, counts: Mapping[str, int], rows: Rows) -> None:
    """Add a step; the same datasets must get rows, or an empty array of them, at each step.

    Args:
        path: the file.
        layout: what its datasets are.
        t: the time of the step, later than all before.
        counts: the entries of `layout.counts` for a new part; none for the part of the step before.
        rows: what the step adds to each dataset; rows in use may not change.

    Raises:
        InputError: the time is not later, or the file holds other arrays.
    """
    entries = {VALUES: t, **counts}
    with signals_held():
        with reading(path) as group:
            _check_step(group, t, rows)
            room = _has_room(group, rows)
            if not room:
                _grow(path, layout, group, entries, rows)
        if room:
            with _committing(path) as group:
                for name, (start, new) in rows.items():
                    if isinstance(new, np.ndarray):
                        group[name][start : start + len(new)] = new
                for name, entry in entries.items():
                    group[name].resize((len(group[name]) + 1,))
                    group[name][-1] = entry
                group["Steps"].attrs.modify("NSteps", np.int64(len(group[VALUES])))


def reserve(path: Path, layout: Layout, t: float, rows: Rows) -> dict[str, int]:
    """Make room for a step, and add it later: `append` takes the same rows when the holes among them are filled.

    Until then no reader looks there.

    Returns:
        Dataset -> the byte of the file at which the first row of its hole belongs, one number after the other.

    Raises:
        InputError: see `append`.
    """
    with signals_held(), reading(path) as group:
        _check_step(group, t, rows)
        if not _has_room(group, rows):
            _grow(path, layout, group, {}, rows)
    with reading(path) as group:
        return {
            name: group[name].id.get_offset() + start * new.dtype.itemsize * math.prod(new.shape[1:])
            for name, (start, new) in rows.items()
            if isinstance(new, Hole)
        }


def _has_room(group: Any, rows: Rows) -> bool:
    """Whether a step with these rows fits in."""
    return len(group[VALUES]) < group[VALUES].maxshape[0] and all(
        name in group and start + len(new) <= len(group[name]) for name, (start, new) in rows.items()
    )


def _check_step(group: Any, t: float, rows: Rows) -> None:
    values, name = group[VALUES][:], group.file.filename
    if not len(values):
        return
    if not t > values[-1]:
        raise InputError(f"{name}: t = {t}: must be later than the last step in the file, t = {values[-1]}")
    held = {f"{kind}/{array}": group[kind][array] for kind in ARRAYS if kind in group for array in group[kind]}
    given = {array: new for array, (_, new) in rows.items() if array.startswith(ARRAYS)}
    if held.keys() != given.keys():
        raise InputError(f"{name}: arrays {sorted(given)}: the steps in the file have {sorted(held)}")
    for array, new in given.items():
        if new.shape[1:] != held[array].shape[1:] or not np.can_cast(new.dtype, held[array].dtype):
            raise InputError(
                f"{name}: {array}: rows of shape {new.shape[1:]}, {new.dtype}: "
                f"the steps in the file have {held[array].shape[1:]}, {held[array].dtype}"
            )


def truncate(path: Path, layout: Layout, t: float) -> None:
    """Drop the steps later than t, and the parts that only they have."""
    with reading(path) as group:
        steps = int(np.searchsorted(group[VALUES][:], t + close_to(t), side="right"))
        fixed = {name: group[name][:] for name in layout.fixed}
    if not steps:
        create(path, layout, fixed)
        return
    with signals_held(), _committing(path, shrinking=True) as group:
        parts = int(group[PARTS][steps - 1]) + 1
        for name in (VALUES, *layout.counts):
            group[name].resize((steps if name == VALUES else parts,))
        group["Steps"].attrs.modify("NSteps", np.int64(steps))


@contextmanager
def _committing(path: Path, *, shrinking: bool = False) -> Iterator[Any]:
    """The group VTKHDF, whose changes all come into force together at the end of the block."""
    held = HeldFile(path)
    try:
        with h5py.File(held, "r+") as file:
            yield file["VTKHDF"]
        held.commit(shrinking=shrinking)
    finally:
        held.close()


def _grow(path: Path, layout: Layout, old: Any, entries: Mapping[str, float], rows: Rows) -> None:
    """Replace the file by one with more room that also has the new step, or, without entries, only room for it."""
    tables = {name: np.append(old[name][:], entries.get(name, ())) for name in (VALUES, *layout.counts)}
    fixed = {name: old[name][:] for name in layout.fixed}
    _build(path, layout, tables, fixed, rows, old)


def _build(
    path: Path,
    layout: Layout,
    tables: Mapping[str, np.ndarray],
    fixed: Mapping[str, np.ndarray],
    rows: Rows,
    old: Any = None,
) -> None:
    """Write a whole file next to the old one, then put it in its place."""
    draft = draft_of(path)
    with _drafting(draft) as file:
        group = _first_page(file, layout, tables)
        for name, data in fixed.items():
            group[name] = data
        for name, (start, new) in rows.items():
            dataset = _roomy(group, name, start, new, old)
            used = min(start, len(old[name])) if start else 0
            for first in range(0, used, BLOCK):
                end = min(first + BLOCK, used)
                dataset[first:end] = old[name][first:end]
            if isinstance(new, np.ndarray):
                dataset[start : start + len(new)] = new
        for name, target in layout.links.items():
            if target in group:
                group[name] = group[target]
    put_in_place(draft, path)


@contextmanager
def _drafting(draft: Path) -> Iterator[Any]:
    """A new HDF5 file; if it could not be written, it is removed and the error is raised at the end of the block."""
    target = DraftFile(draft)
    try:
        with h5py.File(target, "w") as file:
            yield file
    finally:
        target.close()
    if target.error is not None:
        draft.unlink()
        raise target.error


def _first_page(file: Any, layout: Layout, tables: Mapping[str, np.ndarray]) -> Any:
    """Make the group VTKHDF and those datasets whose length says how much there is, all in the first page."""
    steps = len(tables[VALUES])
    room = SPARE + steps + steps // 2
    made = {
        name: file.create_dataset(
            None,
            (len(table),),
            "f8" if name == VALUES else "i8",
            maxshape=(room,),
            chunks=(room,),
            dcpl=_unfilled("late"),
        )
        for name, table in tables.items()
    }
    group = file.create_group("VTKHDF")
    info = group.create_group("Steps")
    info.attrs["NSteps"] = np.int64(steps)
    ends = [h5py.h5o.get_info(item.id).addr + HEADER for item in (info, *made.values())]
    if max(ends) > PAGE:
        raise AssertionError(f"HDF5 put a step table at byte {max(ends) - HEADER}, not in the first page")
    group.attrs["Version"] = np.array(VERSION, "i8")
    group.attrs.create("Type", layout.kind.encode(), dtype=h5py.string_dtype("ascii", len(layout.kind)))
    for name, dataset in made.items():
        dataset[:] = tables[name]
        group[name] = dataset
    return group


def _roomy(group: Any, name: str, start: int, new: np.ndarray | Hole, old: Any) -> Any:
    """A dataset with spare room; with none for its first rows, and as long as it was where none are added."""
    room = start + len(new)
    if start:
        room = room + max(room // 2, len(new), SPARE) if len(new) else len(old[name])
    return group.create_dataset(name, (room, *new.shape[1:]), new.dtype, dcpl=_unfilled("early"))


def _unfilled(when: Literal["early", "late"]) -> Any:
    """Storage that HDF5 does not fill with zeros, set aside when the dataset is made or when it is first written."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY if when == "early" else h5py.h5d.ALLOC_TIME_LATE)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return settings
