"""The folder of a result: what runs have written there is listed in files.txt, and nothing else is ever replaced.

All here is called on rank 0.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from limitpde.errors import InputError
from limitpde.results import figures, lock
from limitpde.results.lock import Lock

LIST = "files.txt"
"""Names relative to the folder, one a line, written before the files are; * stands for any text."""
ALWAYS = (LIST, "case.toml", "summary.json")
INPUTS = "inputs"
"""Where the files are kept that a case names."""
MOST_NAMED = 3
"""Foreign files that a message names."""
MOST_COUNTED = 1000
"""Foreign files that are counted; a folder may be that of a whole disk."""


class Folder:
    """The folder of a result.

    Args:
        directory: where it is; it may not be there yet.
    """

    def __init__(self, directory: Path) -> None:
        self.directory, self.lock = directory, Lock(directory)
        self._own: list[str] = []
        self._torn = False  # whether the last line of the list has no end
        self._read()

    def _read(self) -> None:
        path = self.directory / LIST
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        self._own = [name for name in text.split("\n") if name]
        self._torn = not text.endswith("\n") and bool(text)
        self._begun = f"{LIST}\n".startswith(text)  # all that a full disk or a kill has left of the first line

    @property
    def listed(self) -> bool:
        """Whether a run has been here."""
        return bool(self._own)

    def claim(self) -> None:
        """Take the folder for this run alone, until `lock.free`.

        Raises:
            InputError: another run has it, or it is no folder.
        """
        if self.directory.exists() and not self.directory.is_dir():
            raise InputError(f"output.directory = {str(self.directory)!r}: Not a directory")
        self.lock.take()
        self._read()

    def check(self, case: str, *, resume: bool) -> tuple[bool, list[str]]:
        """Whether a run goes on here from an earlier one of the same case. Changes nothing.

        Args:
            case: the case as TOML.

        Keyword Args:
            resume: go on from what an earlier run has left, if there is anything.

        Returns:
            This; files of that run which are not as it left them, and are not needed.

        Raises:
            InputError: the folder holds what no run has written, or is to go on from another case.
        """
        self._refuse_foreign(sorted(islice((name for name in self._names() if not self._is_own(name)), MOST_COUNTED)))
        names = list(self._names())
        at_once = (*ALWAYS, lock.NAME, f"{INPUTS}/*")  # what `begin` has written
        if not resume or all(_fits(name, at_once) for name in names):
            return False, []
        path, wanted = self.directory / "case.toml", hashlib.sha256(case.encode()).hexdigest()
        there = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "nothing"
        if (figures.case_digest(self.directory / "summary.json") or there) != wanted:
            raise InputError(
                f"--resume: {self.directory} is the result of another case, by its {path.name} and summary.json; "
                "run without --resume, or into another folder"
            )
        return True, [path.name] if there != wanted else []

    def _refuse_foreign(self, names: Sequence[str]) -> None:
        if not names:
            return
        where = f"output.directory = {str(self.directory)!r}"
        more = "many" if len(names) == MOST_COUNTED else len(names) - MOST_NAMED
        named = ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if names[MOST_NAMED:] else "")
        if not self.listed and not any((self.directory / name).exists() for name in ALWAYS):
            raise InputError(f"{where}: holds files that no run has written: {named}; take another folder")
        raise InputError(
            f"{where}: holds files that {LIST}, its list of what runs have written, does not name: {named}; take "
            "another folder, or, if runs have written them and the list is damaged, add their names to it, one a line"
        )

    def begin(self, case: str, *, resume: bool) -> None:
        """Make the folder, without an earlier result's files unless it is to go on, and put the case into it.

        Args:
            case: the case as TOML.

        Keyword Args:
            resume: keep what an earlier run has left.

        Raises:
            InputError: the folder cannot be written.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if not resume:
                self._clear()
            for name in ALWAYS:
                self.own(name)
            figures.write_text(self.directory / "case.toml", case)
        except OSError as error:
            raise InputError(f"output.directory = {str(self.directory)!r}: {error.strerror}") from error

    def own(self, name: str) -> Path:
        """The path of a file, or pattern of files, that is about to be written here; its folder is made.

        Args:
            name: relative to the folder; * stands for any text.
        """
        if name not in self._own:
            with (self.directory / LIST).open("a", encoding="utf-8") as file:
                file.write(f"\n{name}\n" if self._torn else f"{name}\n")
                file.flush()
                os.fsync(file.fileno())
            self._own.append(name)
            self._torn = False
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _clear(self) -> None:
        """Remove what earlier runs have written, their list last, and folders that are empty then."""
        for name in self._names():
            if name not in (LIST, lock.NAME) and self._is_own(name):
                (self.directory / name).unlink()
        for path, _, _ in os.walk(self.directory, topdown=False):
            if path != str(self.directory):
                with suppress(OSError):
                    os.rmdir(path)
        (self.directory / LIST).unlink(missing_ok=True)
        self._own, self._torn = [], False

    def _names(self) -> Iterator[str]:
        """All files, relative to the folder; a symbolic link counts as a file, wherever it leads."""
        for path, folders, files in os.walk(self.directory):
            links = [name for name in folders if (Path(path) / name).is_symlink()]
            for name in (*files, *links):
                yield (Path(path) / name).relative_to(self.directory).as_posix()

    def _is_own(self, name: str) -> bool:
        """Whether a run has written this file, or was writing it when it was killed."""
        if (self.directory / name).is_symlink():
            return False
        if name == lock.NAME or (name == LIST and self._begun):
            return True
        return _fits(name, self._own)


def _fits(name: str, forms: Iterable[str]) -> bool:
    """Whether a name, or that of which it is a draft, is of one of these forms, in which * stands for any text."""
    patterns = (".*".join(map(re.escape, form.split("*"))) for form in forms)
    return any(re.fullmatch(rf"{pattern}(\..*\.tmp)?", name, re.DOTALL) for pattern in patterns)
