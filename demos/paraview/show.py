"""Pictures of a result by ParaView: each field of each file at its last time, with the particles over it.

    pvbatch --force-offscreen-rendering demos/paraview/show.py results/signed_dipole [--times]
    paraview --script=demos/paraview/show.py            (in the folder of a result; the pipeline stays open)

Pictures go to DIR/pictures/paraview_FILE_ARRAY.png; with --times one for each time, numbered. ParaView 5.13 or newer
reads the .vtkhdf files; for an older one, `limitpde export DIR` writes the .pvd files that are read here instead.
Fields in three dimensions are cut by the plane z = centre, those on a line become a chart. No display is needed with
the off-screen builds of ParaView; Debian's needs `xvfb-run -a pvbatch ...` (docker/paraview.Dockerfile has both).
"""

import sys
from pathlib import Path

from paraview import simple as pv

SIZE = (1200, 900)
TEMPORAL_HDF = (5, 12)
"""First version that reads temporal .vtkhdf files."""
DIVERGING = ("charge", "potential", "momentum", "flux")
"""Arrays with these words in their names have colours around zero."""
BLACK = (0, 0, 0)
SPECIES = "sign"
"""Array of the particles that colours them, where there is one."""


def version() -> tuple[int, int]:
    """Of ParaView."""
    found = pv.GetParaViewVersion()
    return int(found.major), int(found.minor)


def reader(path: Path) -> object:
    """The file, or its .pvd copy for an old ParaView."""
    if version() >= TEMPORAL_HDF:
        return pv.VTKHDFReader(FileName=str(path)) if hasattr(pv, "VTKHDFReader") else pv.OpenDataFile(str(path))
    if not path.with_suffix(".pvd").exists():
        sys.exit(f"ParaView {version()} needs {path.with_suffix('.pvd')}: run limitpde export first")
    return pv.PVDReader(FileName=str(path.with_suffix(".pvd")))


def times_of(source: object) -> list[float]:
    """Times of its steps, at least one."""
    return [float(t) for t in source.TimestepValues] or [0.0]


def largest_particles(directory: Path) -> Path | None:
    """The snapshots of the largest particle number."""
    found = sorted(directory.glob("particles/N*/particles.vtkhdf"), key=lambda path: int(path.parent.name[1:]))
    return found[-1] if found else None


class Picture:
    """A view with one field of a file, and particles over it."""

    def __init__(self, source: object, array: str, location: str, flat: bool) -> None:
        self.view = pv.CreateView("RenderView")
        self.view.ViewSize = SIZE
        self.view.OrientationAxesVisibility = 0
        self.view.UseColorPaletteForBackground = 0
        self.view.Background = (1, 1, 1)
        self.sources = [source]
        shown = source
        if not flat:
            bounds = source.GetDataInformation().GetBounds()
            shown = pv.Slice(Input=source)
            shown.SliceType.Origin = [(bounds[2 * k] + bounds[2 * k + 1]) / 2 for k in range(3)]
            shown.SliceType.Normal = [0, 0, 1]
            self.sources.append(shown)
            pv.Show(pv.Outline(Input=source), self.view).AmbientColor = BLACK
        self.display = pv.Show(shown, self.view)
        pv.ColorBy(self.display, (location, array))
        self.display.Ambient, self.display.Diffuse, self.display.Specular = 1, 0, 0
        table = pv.GetColorTransferFunction(array)
        diverging = any(word in array for word in DIVERGING)
        table.ApplyPreset("Cool to Warm" if diverging else "Viridis (matplotlib)", True)
        self.display.SetScalarBarVisibility(self.view, True)
        bar = pv.GetScalarBar(table, self.view)
        bar.TitleColor = bar.LabelColor = BLACK
        self.title, self.array = pv.Text(), array
        text = pv.Show(self.title, self.view)
        text.WindowLocation, text.Color = "Upper Center", BLACK

    def add_particles(self, particles: object) -> None:
        """Dots, coloured by their sign where they have one."""
        self.sources.append(particles)
        display = pv.Show(particles, self.view)
        display.SetRepresentationType("Points")
        display.PointSize, display.Ambient, display.Diffuse = 4, 1, 0
        display.ColorArrayName = ["POINTS", ""]
        display.AmbientColor = display.DiffuseColor = (0.85, 0.1, 0.1)
        if SPECIES in particles.PointData.keys():  # noqa: SIM118 - no dictionary
            pv.ColorBy(display, ("POINTS", SPECIES))
            pv.GetColorTransferFunction(SPECIES).ApplyPreset("Cool to Warm", True)

    def save(self, path: Path, t: float) -> None:
        """The picture at one time."""
        self.view.ViewTime = t
        for source in self.sources:
            source.UpdatePipeline(t)
        self.title.Text = f"{self.array}, t = {t:.4g}"
        pv.Render(self.view)
        self.display.RescaleTransferFunctionToDataRange(False, True)
        pv.ResetCamera(self.view)
        bounds = self.sources[-1].GetDataInformation().GetBounds()
        wide, high = bounds[1] - bounds[0], bounds[3] - bounds[2]
        self.view.CameraParallelProjection = 1
        self.view.CameraFocalPoint = [(bounds[2 * k] + bounds[2 * k + 1]) / 2 for k in range(3)]
        self.view.CameraPosition = [*self.view.CameraFocalPoint[:2], self.view.CameraFocalPoint[2] + 10 * (wide + high)]
        self.view.CameraViewUp = [0, 1, 0]
        self.view.CameraParallelScale = 0.6 * max(high, wide * SIZE[1] / SIZE[0])
        pv.SaveScreenshot(str(path), self.view, ImageResolution=SIZE)


class Curve:
    """A chart of one array of a mesh of lines."""

    def __init__(self, source: object, array: str) -> None:
        self.view = pv.CreateView("XYChartView")
        self.view.ViewSize = SIZE
        self.view.LeftAxisTitle, self.view.BottomAxisTitle = array, "x"
        self.plot, self.array = pv.PlotData(Input=pv.CellDatatoPointData(Input=source)), array
        display = pv.Show(self.plot, self.view)
        display.UseIndexForXAxis, display.XArrayName = 0, "Points_X"
        display.SeriesVisibility = [array]

    def save(self, path: Path, t: float) -> None:
        """The chart at one time."""
        self.view.ViewTime = t
        self.plot.UpdatePipeline(t)
        self.view.ChartTitle = f"{self.array}, t = {t:.4g}"
        pv.Render(self.view)
        pv.SaveScreenshot(str(path), self.view, ImageResolution=SIZE)


def extent(source: object) -> list[float]:
    """Widths of its box."""
    bounds = source.GetDataInformation().GetBounds()
    return [bounds[2 * k + 1] - bounds[2 * k] for k in range(3)]


def draw(directory: Path, every_time: bool) -> list[Path]:
    """All pictures of a result."""
    target = directory / "pictures"
    target.mkdir(exist_ok=True)
    snapshots, written = largest_particles(directory), []
    for path in sorted(directory.glob("pde/*.vtkhdf")) or ([snapshots] if snapshots else []):
        source = reader(path)
        times = times_of(source)
        source.UpdatePipeline(times[-1])
        _, high, deep = extent(source)
        arrays = [("POINTS", name) for name in source.PointData.keys()]  # noqa: SIM118
        arrays += [("CELLS", name) for name in source.CellData.keys()]  # noqa: SIM118
        for location, name in arrays:
            if high == 0.0 and path != snapshots:
                picture = Curve(source, name)
            else:
                picture = Picture(source, name, location, flat=deep == 0.0)
                if snapshots and path.stem == "fields":
                    particles = reader(snapshots)
                    particles.UpdatePipeline(times[-1])
                    picture.add_particles(particles)
            for number, t in enumerate(times) if every_time else [(len(times) - 1, times[-1])]:
                suffix = f"_{number:04d}" if every_time else ""
                file = target / f"paraview_{path.stem}_{name}{suffix}.png"
                picture.save(file, t)
                written.append(file)
    return written


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    for file in draw(Path(words[0] if words else "."), "--times" in sys.argv):
        print(file)
