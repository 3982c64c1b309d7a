"""Movies of a result: the maps that a picture shows at the first and the last output time, at all of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from limitpde.errors import InputError
from limitpde.results import figures
from limitpde.results.canvas import Canvas
from limitpde.results.folder import Folder
from limitpde.results.maps import StatePicture, tops_of
from limitpde.results.pictures import Painter
from limitpde.results.style import styled
from limitpde.results.vtkhdf import times

SECONDS = 8.0
"""Length of a movie with many frames."""
SLOWEST, FASTEST = 4, 30
"""Frames a second."""
DPI = 150


def ffmpeg() -> str:
    """The program that writes movies: that of the system, or of the wheel imageio-ffmpeg.

    Raises:
        InputError: there is none.
    """
    found = shutil.which("ffmpeg")
    if found is None:
        try:
            import imageio_ffmpeg
        except ImportError:
            raise InputError("a movie needs ffmpeg: install it, or `pip install limitpde[movie]`") from None
        found = imageio_ffmpeg.get_ffmpeg_exe()
    return str(found)


def write(folder: Folder, system: Mapping[str, Painter], *, own_style: str | None = None) -> list[Path]:
    """Write a movie of each picture of maps that the result has files for. On one rank.

    The colours of a scale are the same in all frames. A frame shows the particles where they were written at its time.

    Args:
        folder: the result.
        system: name -> painter of the pictures of the system.

    Keyword Args:
        own_style: a style of matplotlib laid over that of the package.

    Returns:
        Their paths, pictures/NAME.mp4.

    Raises:
        InputError: there is no ffmpeg, or no field with more than one output time.
    """
    program, made = ffmpeg(), []
    with styled(own_style):
        for name, picture in system.items():
            files = picture.files(folder.directory) if isinstance(picture, StatePicture) else {}
            steps = min((len(times(path)) for path in files.values()), default=0)
            if steps > 1 and isinstance(picture, StatePicture):
                path = folder.own(f"pictures/{name}.mp4")
                draft = figures.draft_of(path).with_suffix(".mp4.tmp")
                _record(picture, folder.directory, steps, program, draft)
                figures.put_in_place(draft, path)
                made.append(path)
    if not made:
        raise InputError(f"{folder.directory}: has no fields at several output times: nothing moves")
    return made


def _record(picture: StatePicture, directory: Path, steps: int, program: str, path: Path) -> None:
    """One frame for each step."""
    from matplotlib import rc_context
    from matplotlib.animation import FFMpegWriter

    tops = tops_of(row for step in range(steps) for row in picture.rows(directory, [step]))
    rate = int(np.clip(round(steps / SECONDS), SLOWEST, FASTEST))
    even = "scale=trunc(iw/2)*2:trunc(ih/2)*2"  # what H.264 needs
    arguments = ["-vf", even, "-pix_fmt", "yuv420p", "-f", "mp4"]
    with rc_context({"animation.ffmpeg_path": program, "savefig.dpi": DPI}):
        writer = FFMpegWriter(fps=rate, codec="h264", extra_args=arguments)
        for step in range(steps):
            figure = picture.draw(directory, Canvas(), [step], tops)
            if step == 0:
                writer.setup(figure, str(path), dpi=DPI)
            writer.fig = figure
            writer.grab_frame()
        writer.finish()
