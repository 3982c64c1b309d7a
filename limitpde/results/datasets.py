"""Fields and particles of a result as VTK's data sets, a step at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from vtkmodules.vtkIOHDF import vtkHDFReader

from limitpde.errors import InputError
from limitpde.results.vtkhdf import read_through, times

CLOSE = 1e-9
"""Part of the last time up to which two times are the same."""


class StepReader:
    """The steps of a file of fields or particles, as VTK reads them. Serial.

    Args:
        path: the file, *.vtkhdf.

    Attributes:
        times: of the steps, (steps,).

    Raises:
        InputError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        read_through(path)
        self.times = times(path)
        self._path, self._failures = path, list[str]()
        self._reader = vtkHDFReader()
        for part in (self._reader, self._reader.GetExecutive()):
            part.AddObserver("ErrorEvent", lambda *event: self._failures.append(event[1]))
        self._reader.SetFileName(str(path))

    def read(self, step: int) -> Any:
        """VTK's data object of a step, which the next call changes.

        Raises:
            InputError: VTK cannot read it.
        """
        # VTK sees no times in a file of one step.
        self._reader.UpdateTimeStep(self.times[step]) if len(self.times) > 1 else self._reader.Update()
        if self._failures:
            raise InputError(f"{self._path}: is damaged (VTK cannot read its step {step})")
        return self._reader.GetOutputDataObject(0)


def data_set(path: Path, t: float | None) -> Any:
    """The step of a file at a time, as a pyvista data set of its own. Serial.

    Args:
        path: the file, *.vtkhdf.
        t: one of its times; the last by default.

    Raises:
        InputError: there is no such file or time.
    """
    import pyvista  # takes a second to load

    reader = StepReader(path)
    if not len(reader.times):
        raise InputError(f"{path}: has no step yet")
    step = len(reader.times) - 1 if t is None else int(np.argmin(np.abs(reader.times - t)))
    if t is not None and not abs(reader.times[step] - t) <= CLOSE * max(abs(reader.times[-1]), abs(t)):
        raise InputError(f"{path}: t = {t:g}: its times are {', '.join(f'{time:.6g}' for time in reader.times)}")
    return pyvista.wrap(reader.read(step)).copy()
