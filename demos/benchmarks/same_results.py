"""Whether two results are the same bit for bit: figures, tables, fields, particles, checkpoints, pictures.

What depends on the machine and the moment is left out: seconds, speeds, versions, ranks and threads in summary.json, and
the part of report.md that tells them. Prints what differs; ends with status 1 if anything does.

Run: python demos/benchmarks/same_results.py A B
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

OF_THE_MOMENT = ("wall_seconds", "performance", "versions", "ranks", "threads", "title")
COST = "\n## Cost"
"""Where report.md comes to seconds."""


def contents(path: Path) -> dict[str, bytes]:
    """Part -> bytes, of one file."""
    match path.suffix:
        case ".vtkhdf":
            return dict(_datasets(path))
        case ".npz":
            with np.load(path) as arrays:
                return {name: arrays[name].tobytes() for name in arrays.files}
        case ".json":
            figures = json.loads(path.read_text())
            return {key: json.dumps(item).encode() for key, item in figures.items() if key not in OF_THE_MOMENT}
        case ".md":
            return {"": path.read_text().partition(COST)[0].encode()}
        case _:
            return {"": path.read_bytes()}


def _datasets(path: Path) -> Iterator[tuple[str, bytes]]:
    """Those of an HDF5 file, as far as its steps go: what is behind them is room to spare."""
    with h5py.File(path, "r", locking=False) as file:
        root, found = file["VTKHDF"], {}
        root.visititems(lambda name, item: found.setdefault(name, item) if isinstance(item, h5py.Dataset) else None)
        used: dict[str, Any] = {"Points": "NumberOfPoints", "Types": "NumberOfCells"}
        for name, item in found.items():
            rows = int(root[used[name]][:].sum()) if name in used and used[name] in root else len(item)
            if name.startswith(("PointData/", "CellData/")) or name not in (*used, "Connectivity", "Offsets"):
                rows = min(rows, len(item))
            yield name, item[:rows].tobytes()


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
