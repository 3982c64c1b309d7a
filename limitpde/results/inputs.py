"""The files that a case names: kept with the result as copies, so that it can be run again from anywhere."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

from limitpde.errors import InputError
from limitpde.files import File
from limitpde.results.figures import Record, draft_of, put_in_place
from limitpde.results.folder import INPUTS, Folder


class Inputs:
    """The files that a case names, as they are now. On rank 0.

    Args:
        files: as the case names them; one may be named several times.

    Attributes:
        names: path of a file -> its copy, relative to the folder of the result.

    Raises:
        InputError: one cannot be read.
    """

    def __init__(self, files: Sequence[File]) -> None:
        self._texts: dict[str, bytes] = {}
        self.names: dict[str, str] = {}
        for path in dict.fromkeys(str(file.path) for file in files):
            try:
                text = Path(path).read_bytes()
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror})") from error
            self.names[path] = self._free_name(Path(path), text)
            self._texts[self.names[path]] = text

    def _free_name(self, path: Path, text: bytes) -> str:
        """A name among the copies: that of the file, or one with a number where another file has that."""
        path = Path("".join(letter if letter.isprintable() and letter != "*" else "_" for letter in path.name))
        names = itertools.chain([path.name], (f"{path.stem}-{n}{path.suffix}" for n in itertools.count(2)))
        return next(name for part in names if self._texts.get(name := f"{INPUTS}/{part}", text) == text)

    def record(self) -> list[Record]:
        """The part `inputs` of summary.json."""
        return [
            {"path": path, "copy": name, "sha256": hashlib.sha256(self._texts[name]).hexdigest()}
            for path, name in self.names.items()
        ]

    def kept(self, folder: Folder) -> list[Record]:
        """What `record` was for an earlier run, by its copies; not of those that are the files named now."""
        copies = {name: folder.directory / name for name in self._texts}
        named = {Path(path).resolve() for path in self.names}
        return [
            {"copy": name, "sha256": hashlib.sha256(copy.read_bytes()).hexdigest()}
            for name, copy in copies.items()
            if copy.is_file() and copy.resolve() not in named
        ]

    def check(self, earlier: Sequence[Record]) -> None:
        """Compare with what an earlier run was given.

        Raises:
            InputError: a file has changed since.
        """
        before = {entry["copy"]: entry["sha256"] for entry in earlier}
        for entry in self.record():
            if before.get(entry["copy"]) != entry["sha256"]:
                raise InputError(
                    f"--resume: {entry['path']} has changed since the earlier run (sha256 {entry['sha256'][:12]}, "
                    f"was {before.get(entry['copy'], 'not there')[:12]}); run without --resume, or into another folder"
                )

    def keep(self, folder: Folder) -> None:
        """Put copies into the folder of the result."""
        for name, text in self._texts.items():
            path = folder.own(name)
            draft = draft_of(path)
            draft.write_bytes(text)
            put_in_place(draft, path)
