"""What starting costs: time, memory and file-system calls of commands that compute nothing, and of a run of a second.

Beside them: Python alone, and Python that imports numpy and DOLFINx. Each is the best of five after a first one. Calls
are those that name a file (`strace -f -e trace=file`, where there is strace): what each rank asks of a shared disk.

Run: python demos/benchmarks/start_up.py            (two minutes)
"""

import os
import shutil
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
    "limitpde run --quick": [*LIMITPDE, "run", "case.toml", "--quick", "--quiet", "--out", "out", "--set",
                             "time.end=0.1", "particles.counts=[8, 16]", "output.pictures=false"],
}  # fmt: skip


def once(arguments: list[str], folder: Path) -> tuple[float, float, float]:
    """Processor and wall seconds of a process, and its memory, MB."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL)
    _, process.returncode, used = os.wait4(process.pid, 0)
    assert process.returncode == 0, f"{arguments} ended with the status {process.returncode}"
    return used.ru_utime + used.ru_stime, time.perf_counter() - began, used.ru_maxrss / 1024


def file_calls(arguments: list[str], folder: Path) -> str:
    """How many calls to the file system a process makes that name a file; "-" without strace."""
    if shutil.which("strace") is None:
        return "-"
    trace = ["strace", "-f", "-e", "trace=file", "-o", "calls.txt"]
    subprocess.run([*trace, sys.executable, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return f"{sum(1 for line in (folder / 'calls.txt').open() if '(' in line):,}"


def main() -> None:
    """Measures and prints."""
    print(f"load {os.getloadavg()[0]:.1f}, cores {len(os.sched_getaffinity(0))}\n")
    print("| | processor, s | wall, s | memory, MB | file-system calls |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        line = [sys.executable, *LIMITPDE, "new", "signed"]
        case = subprocess.run(line, check=True, capture_output=True, text=True).stdout
        (Path(place) / "case.toml").write_text(case)
        for name, arguments in COMMANDS.items():
            measured = [once(arguments, Path(place)) for _ in range(RUNS + 1)][1:]
            cpu, wall, memory = (min(each) for each in zip(*measured, strict=True))
            calls = file_calls(arguments, Path(place))
            print(f"| `{name}` | {cpu:.2f} | {wall:.2f} | {memory:.0f} | {calls} |", flush=True)


if __name__ == "__main__":
    main()
