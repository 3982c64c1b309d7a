"""What particles leave on disk: snapshots of the first replica, and tables of means over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limitpde.compare.statistics import mean_and_stderr
from limitpde.results.folder import Folder
from limitpde.results.particles import ParticleSeries
from limitpde.results.tables import Table
from limitpde.system import AnySystem, SimulatedEnsemble


class ParticleFiles:
    """The files in particles/N<count>/ of a result. On rank 0.

    Args:
        folder: the result.
        count: N.
    """

    def __init__(self, folder: Folder, count: int) -> None:
        self._folder, self._below = folder, f"particles/N{count}"
        self._series: ParticleSeries | None = None

    def snapshot(self, t: float, positions: np.ndarray, **data: np.ndarray) -> None:
        """Add the particles of the first replica at a time, as `nbody.replicas.Controls.snapshot` gives them."""
        if self._series is None:
            self._series = ParticleSeries(self._folder.own(f"{self._below}/particles.vtkhdf"))
        self._series.write(t, positions, **data)

    def write(self, system: AnySystem, ensemble: SimulatedEnsemble, own: Sequence[str] = ()) -> None:
        """Write observables.csv, the means over the replicas at the output times, and the tables of the system.

        Args:
            system: of the particles.
            ensemble: what was simulated.
            own: names of the user's own observables, (Q,).
        """
        observed = ensemble.observables
        series = dict(system.observable_series(ensemble))
        series |= {f"test_function_{p}": observed[:, p] for p in range(observed.shape[1])}
        series |= {f"observable_{name}": ensemble.own_observables[:, q] for q, name in enumerate(own)}
        columns = {"t": ensemble.times}
        for name, values in series.items():
            mean, error = mean_and_stderr(values)
            columns |= {f"{name}_mean": mean} if error is None else {f"{name}_mean": mean, f"{name}_stderr": error}
        table = Table(self._folder.own(f"{self._below}/observables.csv"), list(columns))
        table.extend(dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True))
        for name, rows in system.particle_tables(ensemble).items():
            kept = list(rows)
            Table(self._folder.own(f"{self._below}/{name}.csv"), list(kept[0])).extend(kept)
