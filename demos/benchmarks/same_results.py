"""Whether two results are the same bit for bit: figures, tables, fields, particles, checkpoints, pictures.

What depends on the machine and the moment is left out: seconds, speeds, versions, ranks, threads and title in
summary.json, and the end of report.md, which tells them. Prints what differs; ends with status 1 if anything does.

Run: python demos/benchmarks/same_results.py A B
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from limitpde.results.fields import read_fields, times
from limitpde.results.particles import read_particles

OF_THE_MOMENT = ("wall_seconds", "performance", "versions", "ranks", "threads", "title")
COST, COST_OF_PAGE = "\nWall time: ", "<p>Wall time: "
"""Where report.md comes to seconds."""


def contents(path: Path) -> dict[str, bytes]:
    """Part -> bytes, of one file."""
    match path.suffix:
        case ".vtkhdf":
            return dict(_steps(path))
        case ".npz":
            with np.load(path) as arrays:
                return {name: arrays[name].tobytes() for name in arrays.files}
        case ".json":
            figures = json.loads(path.read_text())
            return {key: json.dumps(item).encode() for key, item in figures.items() if key not in OF_THE_MOMENT}
        case ".md":
            return {"": path.read_text().partition(COST)[0].encode()}
        case ".html":
            return {"": re.sub("<title>.*</title>", "", path.read_text()).partition(COST_OF_PAGE)[0].encode()}
        case _:
            return {"": path.read_bytes()}


def _steps(path: Path) -> Iterator[tuple[str, bytes]]:
    """Those of a series of fields or particles, array by array."""
    read = read_particles if path.name.startswith("particles") else read_fields
    for step, t in enumerate(times(path)):
        yield f"step {step}", np.float64(t).tobytes()
        for part in read(path, step):
            arrays = part if isinstance(part, dict) else {f"part of {np.shape(part)}": part}
            for name, array in arrays.items():
                yield f"step {step}, {name}", np.asarray(array).tobytes()


def main(one: Path, other: Path) -> int:
    """Compares and prints."""
    names = {path.relative_to(root).as_posix() for root in (one, other) for path in root.rglob("*") if path.is_file()}
    different = []
    for name in sorted(names):
        if not (one / name).is_file() or not (other / name).is_file():
            different.append(f"{name}: only in {one if (one / name).is_file() else other}")
            continue
        mine, theirs = contents(one / name), contents(other / name)
        parts = [part for part in {**mine, **theirs} if mine.get(part) != theirs.get(part)]
        different += [f"{name}: {', '.join(map(str, parts)) or 'differs'}"] if parts else []
    print("\n".join(different) or f"{len(names)} files, all the same")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
