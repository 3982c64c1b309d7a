"""The figures of a run as they come: what summary.json holds of it, from its beginning on."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from mpi4py import MPI
from tqdm import tqdm

from limitpde import cautions as caution
from limitpde.cautions import Caution
from limitpde.errors import InputError, describe
from limitpde.nbody.threads import use_threads
from limitpde.results import figures
from limitpde.results.folder import Folder
from limitpde.results.versions import versions
from limitpde.sections import BaseCase

LOG = logging.getLogger(__name__)
"""Rank 0 says there what a run does: INFO its parts, WARNING what not to trust, DEBUG each step of the equation."""


class RunRecord:
    """What is known of a run so far.

    Args:
        case: what is run.
        folder: of the result.
        name: title of the report.
        comm: the ranks.

    Keyword Args:
        quiet: nothing is said on the terminal.

    Attributes:
        summary: what summary.json is to hold.
        cautions: figures of the range of the methods so far.
        told: whether this rank tells the user how it goes.
    """

    def __init__(self, case: BaseCase, folder: Folder, name: str, comm: MPI.Comm, *, quiet: bool) -> None:
        self._path, self._every, self._root = (
            folder.directory / "summary.json",
            case.output.checkpoint_every,
            not comm.rank,
        )
        self._saved = 0.0
        self.told = self._root and not quiet
        self.cautions: list[Caution] = []
        self.summary: figures.Record = {
            "system": case.system,
            "title": name,
            "status": "interrupted",
            "reason": "the run has not come to its end: it is still going on, or it was killed",
            "versions": versions(),
            "ranks": comm.size,
            "threads": use_threads(comm),
            "wall_seconds": {},
            "performance": {},
            "warnings": [],
        }

    def note_damage(self, files: Sequence[str], what: str) -> None:
        """Warn of files that an earlier run has left and that are not as it left them, if there are any."""
        if files:
            note = f"damaged since it was written: {', '.join(files)}; {what}"
            self.summary["warnings"].append(note)
            self.log(logging.WARNING, "%s", note)
            if self.told:
                tqdm.write(f"limitpde: {note}", file=sys.stderr)

    def add_spent(self, earlier: dict[str, float]) -> None:
        """Count the seconds that an earlier run has spent on the same result."""
        spent = self.summary["wall_seconds"]
        self.summary["wall_seconds"] = earlier | {part: earlier.get(part, 0.0) + spent[part] for part in spent}

    def weigh(self) -> list[Caution]:
        """The worst caution of each name, which go to the summary; those that are exceeded are warnings."""
        found = caution.worst(self.cautions)
        self.summary["cautions"] = caution.figures(found) or None
        self.summary["warnings"] += [one.text for one in found if one.exceeded]
        for one in found:
            level = logging.WARNING if one.exceeded else logging.INFO
            self.log(level, "%s = %.3g (threshold %.3g)", one.name, one.value, one.threshold)
        return found

    def log(self, level: int, message: str, *values: object) -> None:
        """Say something to the logger of the package. On rank 0; the others say nothing."""
        if self._root:
            LOG.log(level, message, *values)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count the seconds that pass within to this part of the run."""
        began, earlier = time.perf_counter(), self.summary["wall_seconds"].get(part, 0.0)
        self.log(logging.INFO, "%s: begins", part)
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self.summary["wall_seconds"][part] = earlier + spent
            self.log(logging.INFO, "%s: %.2f s", part, spent)

    def save(self, *, force: bool = False, **parts: Any) -> None:
        """Write the figures so far, at most once in `checkpoint_every` seconds. On rank 0."""
        now = time.monotonic()
        if self._root and (force or now - self._saved > self._every):
            figures.write(self._path, {**self.summary, **parts})
            self._saved = now

    def keep_failure(self, error: Exception) -> None:
        """Say in the summary why the run died, for an error that perhaps only this rank knows of."""
        with suppress(OSError, InputError):
            figures.write(self._path, {**figures.read(self._path), "status": "failed", "reason": describe(error)})
