"""A result read back: its figures, its tables as pandas frames, its fields and particles as pyvista data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import cached_property
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from limitpde import case as cases
from limitpde.errors import InputError
from limitpde.results import figures, pictures, tables
from limitpde.results import study as studies
from limitpde.results.canvas import Canvas
from limitpde.results.style import styled
from limitpde.sections import BaseCase
from limitpde.system import system_of

if TYPE_CHECKING:
    import pandas

WHOLE = ("N", "replica", "test_function")
"""Columns of whole numbers."""
SHOWN = 100
"""Characters of a sentence in a list of results."""


class Result(Mapping[str, Any]):
    """What a run, or a study, has left in a folder; also a mapping, that of its summary.json.

    Tables, fields and particles are read when they are asked for.

    Args:
        directory: the folder.

    Keyword Args:
        summary: what summary.json holds, where that is known; it is read by default.

    Attributes:
        directory: the folder.
        summary: what its summary.json holds.

    Raises:
        InputError: it is not the folder of a result.
    """

    def __init__(self, directory: str | Path, *, summary: figures.Record | None = None) -> None:
        self.directory = Path(directory)
        self.summary = figures.read(self._file("summary.json")) if summary is None else summary

    def _file(self, name: str) -> Path:
        path = self.directory / name
        if not path.is_file():
            raise InputError(f"{path}: {self._missing(name)}")
        return path

    def _missing(self, name: str) -> str:
        """What to say of a file that is not there."""
        if name == "summary.json":
            return "not the folder of a result"
        if "runs" in self.summary:
            return "a study has no such file; its runs have: result.runs"
        folder = self.directory / name.split("/")[0]
        there = sorted({path.relative_to(folder).parts[0] for path in folder.rglob(f"*{Path(name).suffix}")})
        return "this result has no such file" + (f"; there are {', '.join(there)}" if there and "/" in name else "")

    def __getitem__(self, key: str) -> Any:
        return self.summary[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.summary)

    def __len__(self) -> int:
        return len(self.summary)

    @cached_property
    def case(self) -> BaseCase:
        """The case as it was run, with every default; files that it names are their copies in the result."""
        return cases.read(self._file("case.toml"))

    @property
    def verdict(self) -> figures.Record | None:
        """`status`, `sentence`, `causes`, ...; None where nothing is compared."""
        return self.summary.get("verdict")

    @property
    def runs(self) -> list[Result]:
        """Of a study: the results of its runs, those that have begun."""
        folders = [self.directory / entry["run"] for entry in self.summary.get("runs", [])]
        return [Result(folder) for folder in folders if (folder / "summary.json").is_file()]

    # --- tables ---------------------------------------------------------------------------------------------------

    @property
    def table(self) -> pandas.DataFrame:
        """Of a study: study.csv, a row for each run."""
        return self._table("study.csv")

    @property
    def residuals(self) -> pandas.DataFrame:
        """W[t, phi]: system ("particles" or "pde"), N, replica, test_function, t, residual."""
        return self._table("compare/residuals.csv")

    @property
    def rates(self) -> pandas.DataFrame:
        """Fitted powers of N: quantity, test_function, slope, slope_low, slope_high, theory."""
        return self._table("compare/rates.csv")

    def observables(self, count: int) -> pandas.DataFrame:
        """Means and standard errors over the replicas of N = count at the output times."""
        return self._table(f"particles/N{count}/observables.csv")

    @property
    def diagnostics(self) -> pandas.DataFrame:
        """A row for each step of the equation: t, dt, order, masses, invariants, extrema."""
        return self._table("pde/diagnostics.csv")

    def _table(self, name: str) -> pandas.DataFrame:
        """A table of the result; a row that was cut short, as in a run that was killed, is left out."""
        import pandas

        frame = pandas.DataFrame(tables.read_columns(self._file(name)))
        for column in frame.columns.intersection(WHOLE):
            frame[column] = frame[column].astype("Int64" if frame[column].hasnans else "int64")
        return frame

    # --- fields, particles, pictures --------------------------------------------------------------------------------

    def fields(self, t: float | None = None, *, file: str = "fields") -> Any:
        """The fields at an output time, a `pyvista.UnstructuredGrid`.

        Args:
            t: the time; the last by default.

        Keyword Args:
            file: which file below pde/; of the Vlasov system also "moments" and "slice_...".

        Raises:
            InputError: there is no such file or time.
        """
        from limitpde.results.datasets import data_set

        return data_set(self._file(f"pde/{file}.vtkhdf"), t)

    def particles(self, count: int, t: float | None = None) -> Any:
        """The particles of the first replica of N = count at an output time, a `pyvista.PolyData`.

        Args:
            count: N.
            t: the time; the last by default.

        Raises:
            InputError: there is no such N or time.
        """
        from limitpde.results.datasets import data_set

        return data_set(self._file(f"particles/N{count}/particles.vtkhdf"), t)

    @property
    def plot(self) -> Plots:
        """The pictures of the report: `result.plot.residual_rate(ax)` and so on."""
        return Plots(self)

    # --- for people -------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        found = f"{self.verdict['status'].capitalize()}." if self.verdict else shorten(self.told, SHOWN)
        return f"Result({str(self.directory)!r}): {self._line(found)}"

    def __str__(self) -> str:
        return f"Result({str(self.directory)!r}): {self._line(self.told)}"

    @property
    def told(self) -> str:
        """The verdict, or what became of the runs of a study, or why there is neither, in a sentence."""
        if "runs" in self.summary:
            return studies.told(self.summary)
        return str(self.verdict["sentence"] if self.verdict else self.summary.get("reason", ""))

    def _line(self, found: str) -> str:
        return f"{self.summary.get('system', '')}, {self.summary.get('status', '')}. {found}".strip()

    def _repr_html_(self) -> str:
        """Verdict, warnings and the limits of a run, or the table of a study, for a notebook."""
        parts = [f"<b>{escape(str(self.summary.get('title', self.directory)))}</b>: {escape(self._line(self.told))}"]
        parts += [f"<li>{escape(str(warning))}</li>" for warning in self.summary.get("warnings", [])]
        if "runs" in self.summary and (self.directory / "study.csv").is_file():
            parts.append(self.table.to_html(index=False, max_rows=20, max_cols=12, border=0))
        limits = self.summary.get("compare", {}).get("limits")
        if limits:
            import pandas

            parts.append(pandas.DataFrame(limits).to_html(index=False, float_format="{:.4g}".format, border=0))
        return f"<div>{'<br>'.join(parts)}<br><code>{escape(str(self.directory))}</code></div>"


class Plots:
    """The pictures of a result, each drawn by the method of its name into the axes that it is given.

    Args:
        result: what they are of.
    """

    def __init__(self, result: Result) -> None:
        self._result = result
        if "runs" in result.summary:
            self._painters: dict[str, pictures.Painter] = {"study": studies.paint}
        else:
            system = system_of(cases.record_of(result.summary["system"]))
            self._painters = {**system.painters, **pictures.PAINTERS}

    def __dir__(self) -> list[str]:
        return [*self._painters]

    def __repr__(self) -> str:
        return f"pictures: {', '.join(self._painters)}"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The picture of this name, a function of matplotlib axes.

        It takes one axes, which is divided where the picture has several panels, or as many as it has panels, and draws
        in the style that matplotlib has then; without any it draws on a new figure, which a notebook shows, in the
        style of the package. It returns the figure, and raises `InputError` where the result has nothing to draw.
        """
        if name.startswith("_") or name not in self._painters:
            raise AttributeError(f"no picture {name!r}; there are {', '.join(dir(self))}" if name[0] != "_" else name)
        painter, directory = self._painters[name], self._result.directory

        def draw(ax: Any = None) -> Any:
            with styled() if ax is None else nullcontext():
                figure = painter(directory, Canvas(ax))
            if figure is None:
                raise InputError(f"{directory}: has nothing to draw for {name}")
            return figure

        draw.__name__, draw.__doc__ = name, painter.__doc__
        return draw
