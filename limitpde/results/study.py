"""What a study leaves: study.csv with a row for each run, a picture of it, and a report."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limitpde.results import figures, pictures, report
from limitpde.results.canvas import Canvas
from limitpde.results.folder import Folder
from limitpde.results.pictures import means
from limitpde.results.symbols import RATES, phi, symbol
from limitpde.results.tables import Cell, Table, read_columns

LIMIT_KEYS = ("particles", "low", "high", "solution", "difference", "solution_error", "step_error", "detectable")
"""Of an entry of `compare.limits`."""
RATE_KEYS = ("slope", "low", "high", "theory")
"""Of an entry of `compare.rates`."""
CHANGES = ("max_relative_drift", "largest_change", "max_change")
"""How far what is conserved has moved, in an entry of `particles`."""
COLOURS = {"confirmed": "#009E73", "refuted": "#D55E00", "undecided": "0.5"}
ROOM = 0.05
"""Part of the range of a picture that is left empty at both ends."""
WIDE = 10.0
"""Ratio of positive values from which their axis is logarithmic."""
ROUNDING, MOST_ENDS = 1e-9, 4
"""Relative spread up to which figures are the same; figures of the equation in one panel."""
REPORTED = ("verdict.status", "verdict.detectable", "seconds")
"""Columns of study.csv that the report shows besides the keys that vary."""


def figures_of(summary: figures.Record) -> dict[str, Cell]:
    """The figures of a run that go into its row: of the verdict, limits, rates and invariants, by their keys.

    Args:
        summary: what its summary.json holds.
    """
    verdict, compare = summary.get("verdict", {}), summary.get("compare", {})
    row: dict[str, Any] = {f"verdict.{key}": verdict.get(key) for key in ("status", "precision", "detectable")}
    for entry in compare.get("limits", []):
        row |= {f"limits.{entry['test_function']}.{key}": entry.get(key) for key in LIMIT_KEYS}
    for entry in compare.get("rates", []):
        name = f"rates.{entry['quantity']}.{entry['test_function']}"
        row |= {f"{name}.{key}": entry.get(key) for key in RATE_KEYS}
    row |= dict(_scalars("pde", summary.get("pde", {})))
    for entry in summary.get("particles", []):
        found = dict(_scalars(f"particles.{entry['N']}", entry))
        row |= {key: value for key, value in found.items() if key.endswith((*CHANGES, "second_moment.end.mean"))}
    row["seconds"] = sum(summary.get("wall_seconds", {}).values())
    return {key: value for key, value in row.items() if value is not None}


def _scalars(path: str, value: Any) -> Iterator[tuple[str, Cell]]:
    """The numbers and words of nested figures; lists are left out."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _scalars(f"{path}.{key}", item)
    elif isinstance(value, int | float | str) and not isinstance(value, bool):
        yield path, value


def cell(value: Any) -> Cell:
    """A value of a key as it stands in a table: a number or a word as it is, all else as TOML has it."""
    plain = isinstance(value, int | float | str) and not isinstance(value, bool)
    return value if plain else "" if value is None else json.dumps(value)


def write_table(folder: Folder, summary: figures.Record) -> list[dict[str, Cell]]:
    """Write study.csv; its rows. On one rank.

    Args:
        folder: of the study.
        summary: its figures; an entry of `runs` has `run`, `status`, `values`, perhaps `reason`, `note` and `figures`.
    """
    rows = [_row(entry) for entry in summary["runs"]]
    names = list(dict.fromkeys(name for row in rows for name in row))
    path = folder.own("study.csv")
    draft = figures.draft_of(path)
    Table(draft, names).extend({name: row.get(name, "") for name in names} for row in rows)
    figures.put_in_place(draft, path)
    return rows


def write(folder: Folder, summary: figures.Record, *, pdf: bool = False, own_style: str | None = None) -> None:
    """Write study.csv, study.png, perhaps study.pdf, and report.md of such figures. On one rank."""
    rows = write_table(folder, summary)
    drawn, notes = pictures.draw_all(folder, {"study": paint}, pdf=pdf, own_style=own_style, below="")
    picture = "\n\n".join([f"![study]({path.name})" for path in drawn] + [report.plain(note) for note in notes])
    report.put(folder, _report(summary, rows, picture), str(summary["title"]))


def draw_again(folder: Folder, *, pdf: bool = False, own_style: str | None = None) -> list[Path]:
    """Write the table, the picture and the report of a finished study again; the path of the picture. On one rank."""
    folder.claim()
    try:
        summary = figures.read(folder.directory / "summary.json")
        write(folder, summary, pdf=pdf, own_style=own_style)
    finally:
        folder.lock.free()
    return [path for path in [folder.directory / "study.png"] if path.is_file()]


def _row(entry: figures.Record) -> dict[str, Cell]:
    head = {"run": entry["run"], "status": entry["status"], "reason": entry.get("reason", "")}
    return head | {key: cell(value) for key, value in entry["values"].items()} | entry.get("figures", {})


def _report(summary: figures.Record, rows: Sequence[Mapping[str, Cell]], picture: str) -> str:
    keys = list(summary["runs"][0]["values"])
    shown = [*keys, *(name for name in REPORTED if any(name in row for row in rows))]
    cells = [
        [f"[{row['run']}]({row['run']}/report.md)", row["status"], *(_short(row.get(name, "-")) for name in shown)]
        for row in rows
    ]
    notes = [
        f"- {entry['run']}: {report.plain(text)}"
        for entry in summary["runs"]
        for text in (entry.get("reason"), entry.get("note"))
        if text
    ]
    parts = [
        f"**{report.plain(told(summary))}**",
        f"# {report.plain(summary['title'])}",
        report.plain(summary.get("reason") or ""),
        report.table(["run", "status", *map(report.plain, shown)], cells),
        "\n".join(notes),
        picture,
        "`study.csv` has all figures; each run has a folder of its own.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _short(value: Cell) -> Cell:
    return report.plain(value) if isinstance(value, str) else value


def told(summary: figures.Record) -> str:
    """How many runs there are, and what became of them."""
    ends = [
        entry.get("figures", {}).get("verdict.status", entry["status"])
        if entry["status"] == "done"
        else entry["status"]
        for entry in summary["runs"]
    ]
    counts = ", ".join(f"{ends.count(end)} {end}" for end in dict.fromkeys(ends))
    return f"{len(ends)} run{'s' if len(ends) != 1 else ''}: {counts}."


# --- the picture ------------------------------------------------------------------------------------------------------


def paint(directory: Path, canvas: Canvas) -> Any:
    """What the particles tend to, what they differ by from the solution, and their rates, over the keys that vary.

    Args:
        directory: of the study.
        canvas: where.

    Returns:
        The figure; None where no run has a figure to show.
    """
    path = directory / "study.csv"
    table = read_columns(path) if path.is_file() else {}
    entries = figures.read(directory / "summary.json")["runs"]
    last = {entry["run"].partition("-")[0]: k for k, entry in enumerate(entries) if entry["status"] == "done"}
    keys = [key for key in entries[0]["values"] if len({json.dumps(entry["values"].get(key)) for entry in entries}) > 1]
    key = next((name for name in keys if table[name].dtype.kind == "f"), "")
    tried, final = (_Shown.of(table, entries, key, keys, rows) for rows in (range(len(entries)), last.values()))
    shown = {_limits: final, _differences: tried, _rates: final, _ends: final}
    panels = [panel for panel, runs in shown.items() if panel(None, runs)][:3]
    if not panels:
        return None
    figure, axes = canvas.subplots(1, len(panels), figsize=(5.2 * len(panels), 4.2), squeeze=False)
    for axis, panel in zip(axes[0], panels, strict=True):
        axis.set_xlabel(key or "run")
        panel(axis, shown[panel])
        _same_range(axis, tried.x, key)
        axis.legend()
    return figure


def _same_range(axis: Any, x: np.ndarray, key: str) -> None:
    """The range of all runs, for a panel that may show but one: a logarithmic one where values of a key differ much."""
    low, high = float(x.min()), float(x.max())
    if key and low > 0 and high > WIDE * low:
        room = (high / low) ** ROOM
        axis.set(xscale="log", xlim=(low / room, high * room))
    elif high > low:
        axis.set_xlim(low - ROOM * (high - low), high + ROOM * (high - low))


@dataclass(frozen=True, slots=True)
class _Shown:
    """Rows of the table that a panel shows."""

    words: Mapping[str, np.ndarray]
    """Columns that hold text."""
    numbers: Mapping[str, np.ndarray]
    """Those that hold numbers."""
    x: np.ndarray
    """Where the runs are on the axis."""
    lines: Sequence[np.ndarray]
    """Rows of the runs that differ by what is on the axis alone, in its order."""

    @classmethod
    def of(
        cls,
        table: Mapping[str, np.ndarray],
        entries: Sequence[figures.Record],
        key: str,
        keys: Sequence[str],
        rows: Iterable[int],
    ) -> _Shown:
        """Some rows of a table, over a key, or over the number of the run where that is empty."""
        kept = list(rows)
        some = {name: values[kept] for name, values in table.items()}
        x = some[key] if key else 1.0 + np.array(kept)
        over = _swept(entries, keys, key)
        others = [json.dumps([entries[k]["values"].get(name) for name in keys if name in over]) for k in kept]
        lines = [np.flatnonzero([other == one for other in others]) for one in dict.fromkeys(others)]
        numbers = {name: values for name, values in some.items() if values.dtype.kind == "f"}
        words = {name: values for name, values in some.items() if name not in numbers}
        return cls(words, numbers, x, [line[np.argsort(x[line], kind="stable")] for line in lines])

    def along(self, axis: Any, values: np.ndarray, style: str, label: str = "") -> None:
        """Thin lines through values, one for each series of runs."""
        for number, rows in enumerate(self.lines):
            axis.plot(self.x[rows], values[rows], style, lw=1, label=label if not number else "")


def _swept(entries: Sequence[figures.Record], keys: Sequence[str], key: str) -> set[str]:
    """Keys beside that of the axis in which the first runs of the points differ."""
    first = [entry for entry in entries if "-" not in entry["run"]]
    return {name for name in keys if name != key and len({json.dumps(e["values"].get(name)) for e in first}) > 1}


def _having(numbers: Mapping[str, np.ndarray], form: str) -> list[str]:
    """What stands for * in names of columns of a form that hold some number."""
    start, end = form.split("*")
    return [
        name.removeprefix(start).removesuffix(end)
        for name, values in numbers.items()
        if name.startswith(start) and name.endswith(end) and np.isfinite(values).any()
    ]


def _limits(axis: Any, runs: _Shown) -> bool:
    """The particles' limit with its interval, over the line of the solution."""
    found = _having(runs.numbers, "limits.*.particles")
    for c, p in enumerate(found if axis is not None else ()):
        value, low, high = (runs.numbers[f"limits.{p}.{key}"] for key in ("particles", "low", "high"))
        runs.along(axis, runs.numbers[f"limits.{p}.solution"], f"C{c % 10}_-")
        style = {"fmt": "o", "ms": 4, "capsize": 2, "color": f"C{c % 10}", "label": phi(int(p), "")}
        axis.errorbar(runs.x, value, [value - low, high - value], **style)
    if axis is not None:
        axis.set_ylabel(r"$\int \varphi\, \mathrm{d}\rho_T$")
        axis.set_title(r"particles, $N \to \infty$ (95 %), and solution (lines)", fontsize="small")
    return bool(found)


def _differences(axis: Any, runs: _Shown) -> bool:
    """The smallest detectable difference of each run, by its verdict, and the precision that was asked for."""
    if "verdict.detectable" not in runs.numbers:
        return False
    if axis is not None:
        for status, colour in COLOURS.items():
            mine = runs.words["verdict.status"] == status
            if mine.any():
                axis.plot(runs.x[mine], 100 * runs.numbers["verdict.detectable"][mine], "o", color=colour, label=status)
        axis.axhline(100 * float(np.nanmax(runs.numbers["verdict.precision"])), c="k", ls="--", lw=1, label="asked for")
        found = runs.numbers["verdict.detectable"]
        axis.set(
            yscale="log" if np.nanmax(found) > WIDE * np.nanmin(found) else "linear",
            ylabel=r"% of max $|\varphi|$ times the mass",
        )
        axis.set_title("the smallest difference that would have been found", fontsize="small")
    return True


def _rates(axis: Any, runs: _Shown) -> bool:
    """Fitted powers of N of E|W|."""
    form = "rates.residual_mean_abs.*"
    found = _having(runs.numbers, f"{form}.slope")
    for c, p in enumerate(found if axis is not None else ()):
        name = form.replace("*", p)
        slope = runs.numbers[f"{name}.slope"]
        ends = [runs.numbers.get(f"{name}.{end}", np.full_like(slope, math.nan)) for end in ("low", "high")]
        style = {"fmt": "o", "ms": 4, "capsize": 2, "color": f"C{c % 10}", "label": phi(int(p), "")}
        axis.errorbar(runs.x, slope, [slope - ends[0], ends[1] - slope], **style)
        if f"{name}.theory" in runs.numbers:
            runs.along(axis, runs.numbers[f"{name}.theory"], "k_--")
    if axis is not None:
        axis.set_ylabel(f"power of $N$ of {RATES}")
        axis.set_title("fitted powers (95 %; dashed: theory)", fontsize="small")
    return bool(found)


def _ends(axis: Any, runs: _Shown) -> bool:
    """Figures of the equation at the end that differ between the runs most, and second moments of the particles."""
    ends = {name: runs.numbers[f"pde.{name}.end"] for name in _having(runs.numbers, "pde.*.end")}
    spread = {name: float(np.nanstd(values) / (np.nanmax(np.abs(values)) or 1.0)) for name, values in ends.items()}
    shown = sorted((name for name in ends if spread[name] > ROUNDING), key=lambda name: -spread[name])[:MOST_ENDS]
    counts = _having(runs.numbers, "particles.*.second_moment.end.mean")
    if axis is not None:
        for c, name in enumerate(shown):
            runs.along(axis, ends[name], f"C{c}.-", symbol(name))
        for c, count in enumerate(counts, start=len(shown)):
            means(
                axis,
                runs.x,
                runs.numbers[f"particles.{count}.second_moment.end.mean"],
                color=f"C{c % 10}",
                label=rf"{symbol('second_moment')}, $N$ = {count}",
            )
        axis.set_title("at the end", fontsize="small")
    return bool(shown or counts)
