"""The folder of a result: made ready for a run, or found as an earlier run left it. All here is called on rank 0."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from limitpde.errors import InputError
from limitpde.results import figures

STALE = (
    "summary.json",
    "report.md",
    "checkpoint/*.npz",
    "pde/fields.*",
    "pde/moments.*",
    "pde/slice_*.*",
    "pde/diagnostics.csv",
    "particles/N*/particles.*",
    "particles/N*/observables.csv",
    "compare/residuals.csv",
    "compare/rates.csv",
    "pictures/*.png",
)
"""Files (and folders of exported pieces) of an earlier result, which a new one in the same folder replaces."""
FOLDERS = ("checkpoint", "pde", "particles/N*", "particles", "compare", "pictures")


def prepare(directory: Path, case: str, parts: Iterable[str], *, resume: bool) -> figures.Record:
    """Make the folder, without an earlier result's files unless it is to go on, and put the case into it.

    Args:
        directory: the folder.
        case: the case as TOML.
        parts: names of the folders inside that the run fills.

    Keyword Args:
        resume: keep what an earlier run of the same case has left.

    Returns:
        The summary of the earlier run where the run goes on from one, else nothing.

    Raises:
        InputError: the folder cannot be written, holds something else, or is to go on from another case.
    """
    case_file, summary = directory / "case.toml", directory / "summary.json"
    if case_file.exists() and not summary.exists() and case_file.read_text(encoding="utf-8") != case:
        raise InputError(f"output.directory = {str(directory)!r}: {case_file} there would be overwritten")
    resume = resume and summary.exists()
    if resume and case_file.read_text(encoding="utf-8") != case:
        raise InputError(f"--resume: {case_file} is another case; run without --resume, or into another folder")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not resume:
            _clear(directory)
        for name in parts:
            (directory / name).mkdir(exist_ok=True)
        figures.write_text(case_file, case)
    except OSError as error:
        raise InputError(f"output.directory = {str(directory)!r}: {error.strerror}") from error
    return figures.read(summary) if resume else {}


def _clear(directory: Path) -> None:
    """Remove an earlier result from the folder, and nothing else."""
    for path in [path for pattern in STALE for path in directory.glob(pattern)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name in FOLDERS:
        for folder in directory.glob(name):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
