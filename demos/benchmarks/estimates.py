"""What `limitpde check` says a run will take, against what it takes: the cases of demos/. Writes nothing that stays.

Each case is run twice with a cache of speeds of its own: estimated before the first run, with the speeds that come with
the package, and before the second, with those measured in the first. The larger ones are run with --quick.

Run: python demos/benchmarks/estimates.py              (a quarter of an hour)
     python demos/benchmarks/estimates.py CASE ...     other cases
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mpi4py import MPI

from limitpde import case as cases
from limitpde import needs

DEMOS = Path(__file__).parents[1]
LONGEST = 300.0
"""Seconds by the estimate above which a case is run with --quick."""


def estimated(path: Path, *, quick: bool) -> needs.Needs:
    """What a case needs, by the speeds that are known now."""
    case = cases.read(path)
    found = needs.estimate(case.smaller() if quick else case, needs.Machine.of(MPI.COMM_WORLD))
    assert found is not None
    return found


def taken(path: Path, out: Path, *, quick: bool) -> tuple[float, float]:
    """Seconds and bytes of disk of a run."""
    began = time.perf_counter()
    options = ["--quick"] if quick else []
    line = [sys.executable, "-W", "ignore", "-m", "limitpde", "run", str(path), "--quiet", "--out", str(out), *options]
    subprocess.run(line, check=False)
    return time.perf_counter() - began, sum(each.stat().st_size for each in out.rglob("*") if each.is_file())


def main(paths: list[Path]) -> None:
    """Measures and prints."""
    print(f"load {os.getloadavg()[0]:.1f}, cores {len(os.sched_getaffinity(0))}\n")
    print(
        "| case | estimated at first, s | took | estimated then, s | took | estimated, MB | MB |\n|---"
        + 6 * "|---"
        + "|"
    )
    for path in paths:
        with tempfile.TemporaryDirectory() as place:
            os.environ["XDG_CACHE_HOME"] = place  # of speeds; what is compiled stays where NUMBA_CACHE_DIR says
            quick = estimated(path, quick=False).seconds > LONGEST
            cells = []
            for number in range(2):
                found = estimated(path, quick=quick)
                seconds, disk = taken(path, Path(place) / f"run{number}", quick=quick)
                cells += [f"{found.seconds:.0f}", f"{seconds:.0f}"]
            cells += [f"{found.disk / 1e6:.1f}", f"{disk / 1e6:.1f}"]
        print(f"| `{path.name}`{' --quick' if quick else ''} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or sorted(DEMOS.glob("*.toml")))
