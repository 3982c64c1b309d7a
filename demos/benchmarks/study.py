"""Ten values of sigma in one study against ten runs of the command, and against ten calls of `limitpde.run`.

Prints seconds of wall time; all is compiled before. `--ranks 2` has the study on two ranks.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIGMAS = [round(0.5 + 0.1 * k, 1) for k in range(10)]
CASE = """
system = "signed"
[model]
sigma = 1.0
gamma_bar = 0.4
[initial]
positive = [{ shape = "gaussian", mass = 0.5, center = [-1.0, 0.0], width = 0.6 }]
negative = [{ shape = "gaussian", mass = 0.5, center = [1.0, 0.0], width = 0.6 }]
[time]
end = 0.5
[pde]
mesh = { shape = "disk", radius = 6.0, cell_size = 0.4 }
step = 0.02
[particles]
counts = [64, 256]
replicas = 16
step = 0.01
[compare]
test_functions = [{ shape = "gaussian", center = [0.0, 0.0], width = 1.0 }]
"""


def seconds(folder: Path, *arguments: str, ranks: int = 1) -> float:
    """Of a command, started anew."""
    launcher = [str(Path(sys.executable).parent / "mpiexec"), "-n", str(ranks)] if ranks > 1 else []
    began = time.perf_counter()
    command = [*launcher, sys.executable, "-m", "limitpde", *arguments, "--quiet"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=1)
    ranks = parser.parse_args().ranks
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "case.toml").write_text(CASE)
        seconds(folder, "run", "case.toml", "--out", "warm")
        alone = sum(
            seconds(folder, "run", "case.toml", "--set", f"model.sigma={sigma}", "--out", f"r{sigma}")
            for sigma in SIGMAS
        )
        over = f"model.sigma={','.join(map(str, SIGMAS))}"
        together = seconds(folder, "study", "case.toml", "--over", over, "--out", "s", ranks=ranks)
        rows = len((folder / "s/study.csv").read_text().splitlines()) - 1
    print(
        f"ten runs: {alone:.1f} s; a study of {rows} on {ranks} ranks: {together:.1f} s; {alone / together:.2f} times"
    )
    assert rows == len(SIGMAS)
    assert together < alone


if __name__ == "__main__":
    main()
