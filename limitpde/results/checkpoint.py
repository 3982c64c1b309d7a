"""DIR/checkpoint: what a run that was stopped or killed goes on from.

`solution.npz` holds the state of the PDE's solver and of what observes it, replaced as a whole from time to time;
`N<count>-<replica>.npz` the measurements of replicas that are finished, one file for each batch, named after its first
replica. A file is there whole or not at all, so a kill at any moment leaves a checkpoint that can be read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np

from limitpde.errors import InputError
from limitpde.results.figures import draft_of

Arrays = dict[str, np.ndarray]
KIND = "kind"


@dataclass(frozen=True, slots=True)
class PartState:
    """What one part of a run goes on from."""

    kind: str
    """Name and version of its layout, such as "signed.Solver 1"."""
    arrays: Arrays
    """Its arrays by name."""


class Checkpoint:
    """The checkpoint of a result. Serial: each method is called by one rank, which alone writes its file.

    Args:
        directory: the folder of the result.
    """

    FILES = ("checkpoint/solution.npz", "checkpoint/N*-*.npz")
    """What it writes, relative to the folder of the result."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "checkpoint"

    def save_solution(self, parts: Mapping[str, PartState]) -> None:
        """Replace the state of the PDE, given part by part."""
        arrays = {f"{part}/{name}": array for part, state in parts.items() for name, array in state.arrays.items()}
        self._save("solution.npz", arrays | {f"{part}/{KIND}": np.array(state.kind) for part, state in parts.items()})

    def solution(self, kinds: Mapping[str, str]) -> dict[str, Arrays] | None:
        """The state of the PDE, part by part, if there is one.

        Args:
            kinds: part -> name and version of the layout that is understood.

        Raises:
            InputError: the file cannot be read, or a part is of another layout.
        """
        path = self._folder / "solution.npz"
        if not path.exists():
            return None
        parts: dict[str, Arrays] = {part: {} for part in kinds}
        for key, array in _load(path).items():
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = array
        for part, kind in kinds.items():
            found = str(parts[part].pop(KIND, "nothing"))
            if found != kind:
                raise InputError(f"{path}: holds {found} where {kind} is expected; run again without --resume")
        return parts

    def save_replicas(self, count: int, part: Mapping[str, np.ndarray]) -> None:
        """Keep the measurements of some replicas of N = count; `replicas` holds their numbers."""
        self._save(f"N{count}-{int(part['replicas'][0])}.npz", part)

    def replicas(self, count: int) -> list[Arrays]:
        """The measurements of all replicas of N = count that were kept, in the order of their numbers.

        Raises:
            InputError: a file cannot be read.
        """
        parts = [_load(path) for path in self._folder.glob(f"N{count}-*.npz")]
        return sorted(parts, key=lambda part: int(part["replicas"][0]))

    def _save(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / name
        draft = draft_of(path)
        try:
            with draft.open("wb") as file:
                np.savez(file, **cast(dict[str, Any], arrays))  # numpy's types take any name for an option's
            os.replace(draft, path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise


def _load(path: Path) -> Arrays:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: not a checkpoint ({error}); run again without --resume") from error
