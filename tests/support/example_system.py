"""The system of demos/kuramoto as an installed package: its folder, and what tells Python of its entry point."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "demos" / "kuramoto"


def installed(folder: Path) -> str:
    """Value of PYTHONPATH with which the package is there as if pip had installed it; writes into an empty folder."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    entries = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(entries))
    return os.pathsep.join([str(SOURCE), str(folder)])
