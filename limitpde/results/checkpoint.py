"""DIR/checkpoint: what a run that was stopped or killed goes on from.

`solution.npz` holds the state of the PDE's solver and of what observes it, replaced as a whole from time to time;
`N<count>-<replica>.npz` the measurements of replicas that are finished, one file for each batch, named after its first
replica. A file is there whole or not at all, so a kill at any moment leaves a checkpoint that can be read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np

from limitpde.errors import InputError

Arrays = dict[str, np.ndarray]


class Checkpoint:
    """The checkpoint of a result. Serial: each method is called by one rank, which alone writes its file.

    Args:
        directory: the folder of the result.
    """

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "checkpoint"

    def save_solution(self, state: Mapping[str, np.ndarray]) -> None:
        """Replace the state of the PDE."""
        self._save("solution", state)

    def solution(self) -> Arrays | None:
        """The state of the PDE, if there is one.

        Raises:
            InputError: the file cannot be read.
        """
        path = self._folder / "solution.npz"
        return _load(path) if path.exists() else None

    def save_replicas(self, count: int, part: Mapping[str, np.ndarray]) -> None:
        """Keep the measurements of some replicas of N = count; `replicas` holds their numbers."""
        self._save(f"N{count}-{int(part['replicas'][0])}", part)

    def replicas(self, count: int) -> list[Arrays]:
        """The measurements of all replicas of N = count that were kept, in the order of their numbers.

        Raises:
            InputError: a file cannot be read.
        """
        parts = [_load(path) for path in self._folder.glob(f"N{count}-*.npz")]
        return sorted(parts, key=lambda part: int(part["replicas"][0]))

    def _save(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f"{name}.{os.getpid()}.tmp"
        try:
            with draft.open("wb") as file:
                np.savez(file, **cast(dict[str, Any], arrays))  # numpy's types take any name for an option's
            os.replace(draft, self._folder / f"{name}.npz")
        except OSError:
            draft.unlink(missing_ok=True)
            raise


def _load(path: Path) -> Arrays:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise InputError(f"{path}: not a checkpoint ({error}); run again without --resume") from error
