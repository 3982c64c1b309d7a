"""Results for ParaView older than 5.13, which may open no temporal VTKHDF files: .pvd and one .vtu or .vtp a step."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import quoteattr

from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter, vtkXMLUnstructuredGridWriter

from limitpde.errors import InputError
from limitpde.results.datasets import StepReader
from limitpde.results.folder import Folder
from limitpde.results.vtkhdf import times

HEAD = '<?xml version="1.0"?>\n<VTKFile type="Collection" version="0.1">\n<Collection>\n'
TAIL = "</Collection>\n</VTKFile>\n"


def export(directory: Path | str) -> list[Path]:
    """Write NAME.pvd beside each NAME.vtkhdf below a directory, with its steps in the folder NAME.steps. Serial.

    Files that hold no step yet are left out.

    Returns:
        The .pvd files.

    Raises:
        InputError: there is no such directory, it holds results instead of being one, there is no .vtkhdf file with a
            step below it, or one is damaged.
        OSError: a file cannot be written.
    """
    if not Path(directory).is_dir():
        raise InputError(f"{directory}: there is no such directory")
    if not (Path(directory) / "summary.json").is_file():
        for found in Path(directory).rglob("summary.json"):
            raise InputError(f"{directory}: is not the folder of a result; {found.parent} is one, export that")
    files = [path for path in sorted(Path(directory).rglob("*.vtkhdf")) if len(times(path))]
    if not files:
        raise InputError(f"{directory}: holds no *.vtkhdf file with a step in it; is it the directory of a run?")
    folder = Folder(Path(directory))
    if folder.listed:
        for path in files:
            name = path.relative_to(directory).with_suffix("").as_posix()
            folder.own(f"{name}.pvd")
            folder.own(f"{name}.steps/*")
    return [_export_file(path) for path in files]


def _export_file(path: Path) -> Path:
    reader = StepReader(path)
    folder = path.with_suffix(".steps")
    folder.mkdir(exist_ok=True)
    lines = []
    for step, t in enumerate(reader.times.tolist()):
        piece = _write_step(reader.read(step), folder / f"{step:05d}")
        name = quoteattr(f"{folder.name}/{piece.name}")
        lines.append(f'<DataSet timestep="{t!r}" part="0" file={name}/>\n')
    collection = path.with_suffix(".pvd")
    collection.write_text(HEAD + "".join(lines) + TAIL, encoding="utf-8")
    return collection


def _write_step(data: object, stem: Path) -> Path:
    particles = data.IsA("vtkPolyData")  # type: ignore[attr-defined]
    writer = vtkXMLPolyDataWriter() if particles else vtkXMLUnstructuredGridWriter()
    piece = stem.with_suffix(".vtp" if particles else ".vtu")
    writer.SetFileName(str(piece))
    writer.SetInputData(data)
    if writer.Write() != 1:
        raise OSError(f"{piece}: cannot be written")
    return piece
