"""How long the commands take that compute nothing: processor and wall time of whole processes. Writes nothing.

Beside them: Python alone, and Python that imports numpy and DOLFINx. Each is the best of five after a first one.

Run: python demos/benchmarks/start_up.py            (a minute)
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 5
LIMITPDE = ["-m", "limitpde"]
COMMANDS = {
    "python": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import dolfinx.fem": ["-c", "from mpi4py import MPI; import dolfinx.fem"],
    "limitpde --help": [*LIMITPDE, "--help"],
    "limitpde new signed": [*LIMITPDE, "new", "signed"],
    "limitpde keys vlasov": [*LIMITPDE, "keys", "vlasov"],
    "limitpde check case.toml": [*LIMITPDE, "check", "case.toml"],
    "limitpde info": [*LIMITPDE, "info"],
}


def once(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Processor and wall seconds of a process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    """Measures and prints."""
    print(f"load {os.getloadavg()[0]:.1f}, cores {len(os.sched_getaffinity(0))}\n")
    print("| | processor, s | wall, s |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        line = [sys.executable, *LIMITPDE, "new", "signed"]
        case = subprocess.run(line, check=True, capture_output=True, text=True).stdout
        (Path(place) / "case.toml").write_text(case)
        for name, arguments in COMMANDS.items():
            measured = [once(arguments, Path(place)) for _ in range(RUNS + 1)][1:]
            cpu, wall = (min(each) for each in zip(*measured, strict=True))
            print(f"| `{name}` | {cpu:.2f} | {wall:.2f} |", flush=True)


if __name__ == "__main__":
    main()
