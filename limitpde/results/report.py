"""report.md: what a person reads first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limitpde.results import figures
from limitpde.results.folder import Folder
from limitpde.results.page import page

SIGNIFICANT = 4.5
"""Standard errors of many replicas from which a deviation is one; Student's quantile of that probability for few."""


class Wording:
    """What a system says about itself; each method returns Markdown from its part of summary.json, or nothing."""

    residual_note: str = ""
    """What its W tests."""
    EQUATION: Mapping[str, str] = {"unknowns": "dofs", "steps": "steps"}
    """What a figure of the limit equation is called -> its keys in `pde`; see `listing`."""
    PARTICLES: Mapping[str, str] = {"N": "N", "replicas": "replicas", "steps": "steps"}
    """The same of an entry of `particles`; see `columns`."""

    def mean_note(self, entry: figures.Record, deviation: float) -> str:
        """What to say of a W of this entry of `compare.residual` whose mean is this many standard errors from zero."""
        return f"**W does not vanish in the mean**, by {deviation:.1f} standard errors."

    def pde_section(self, pde: figures.Record) -> str:
        """From `pde`."""
        return "## The limit equation\n\n" + listing(pde, self.EQUATION) if pde else ""

    def particles_section(self, particles: list[figures.Record]) -> str:
        """From `particles`."""
        return "## The particles\n\n" + columns(particles, self.PARTICLES) if particles else ""

    def comparison_section(self, compare: figures.Record) -> str:
        """From `compare`: what the system compares beyond what all systems do."""
        return ""


def write(folder: Folder, pictures: Sequence[Path], wording: Wording, summary: figures.Record | None = None) -> None:
    """Write report.md and report.html of these figures, in the system's wording, with pictures.

    Args:
        folder: the result.
        pictures: that go into it, below its folder.
        wording: of the system.
        summary: the figures; those of summary.json by default.
    """
    summary = figures.clean(summary or figures.read(folder.directory / "summary.json"))
    parts = [
        _verdict(summary.get("verdict")),
        _head(summary),
        _causes(summary.get("verdict")),
        _warnings(summary),
        _comparison(summary.get("compare", {}), wording),
        wording.comparison_section(summary.get("compare", {})),
        wording.pde_section(summary.get("pde", {})),
        wording.particles_section(summary.get("particles", [])),
        _cost(summary),
        "\n".join(f"![{path.stem}](pictures/{path.name})" for path in pictures),
    ]
    put(folder, "\n\n".join(part for part in parts if part) + "\n", str(summary.get("title", summary["system"])))


def put(folder: Folder, text: str, title: str) -> None:
    """Write a report in Markdown, and the same as one page of HTML with its pictures inside. On one rank."""
    figures.write_text(folder.own("report.md"), text)
    figures.write_text(folder.own("report.html"), page(text, folder.directory, _encodable(title)))


def plain(text: str) -> str:
    """Text of any kind, such as the name of a file, in Markdown: it is shown as it is, in one line."""
    line = " ".join(_encodable(text).split())
    return re.sub(r"[\\`*\[<>|~$#&]|(?<!\w)_|_(?!\w)", r"\\\g<0>", line)


def _encodable(text: str) -> str:
    """Without what UTF-8 does not have, as names of files may."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown, in which a bar of a text is a bar."""
    cells = [[_number(cell).replace("|", "\\|") for cell in row] for row in (header, *rows)]
    first, *others = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([first, "|" + "---|" * len(header), *others])


def listing(record: figures.Record, lines: Mapping[str, str]) -> str:
    """A table of figures of a record; those that are absent are left out.

    Args:
        record: nested figures.
        lines: what a figure is called -> its keys, joined by dots. One with a start and an end shows both.
    """
    rows = [[label, _shown(value)] for label, path in lines.items() if (value := find(record, path)) is not None]
    return table(["figure", "value"], rows)


def columns(entries: Sequence[figures.Record], header: Mapping[str, str]) -> str:
    """A table with a row for each entry; nothing without entries.

    Args:
        entries: records of figures.
        header: title of a column -> keys of its figure, joined by dots; "-" stands where it is absent.
    """
    found = [[_cell(entry, path) for path in header.values()] for entry in entries]
    return table(list(header), found) if entries else ""


def find(record: Any, path: str) -> Any:
    """The figure of a nested record under keys joined by dots; numbers count in lists. None where it is absent."""
    for key in path.split("."):
        if isinstance(record, dict):
            record = record.get(key)
        elif isinstance(record, list):
            record = record[int(key)]
        else:
            return None
    return record


def _shown(value: Any, absent: Any = None) -> Any:
    """A figure as a cell: a number, the two ends of a run, or a mean with its standard error."""
    if value is None:
        return absent
    if isinstance(value, dict) and "start" in value:
        end = f"{value['end']:.6g}" if "end" in value else "infinity (above 1.8e308)"  # beyond what JSON holds
        return f"{value['start']:.6g} to {end}"
    if isinstance(value, dict) and "mean" in value:
        mean, error = (value.get(name) for name in ("mean", "stderr"))
        if isinstance(mean, list):
            mean, error = mean[-1], error and error[-1]
        return f"{mean:.6g} +- {error:.2g}" if error is not None else f"{mean:.6g}"
    return value


def _head(summary: figures.Record) -> str:
    status = {"done": "The run is done.", "failed": "**The run failed.**", "interrupted": "**The run was stopped.**"}
    lines = [f"# {plain(str(summary.get('title', summary['system'])))}", status[summary["status"]]]
    lines.append(plain(str(summary.get("reason", ""))))
    return "\n\n".join(line for line in lines if line)


def _verdict(verdict: figures.Record | None) -> str:
    """The first line."""
    return f"**{plain(verdict['sentence'])}**" if verdict else ""


def _causes(verdict: figures.Record | None) -> str:
    """The error budget in words."""
    if not verdict or not verdict["causes"]:
        return ""
    asked = f"{100 * verdict['precision']:g} % was asked for"
    title = plain(f"Error budget, in parts of max |phi| times the mass, where it is largest ({asked}):")
    return "\n".join([title, "", *(f"- {plain(cause)}" for cause in verdict["causes"])])


def _warnings(summary: figures.Record) -> str:
    return "\n".join(f"- **Note:** {plain(warning)}" for warning in summary.get("warnings", []))


def significant(deviation: float, replicas: int) -> bool:
    """Whether a mean over replicas is as far from what is expected as SIGNIFICANT standard errors are for many.

    The standard error of few replicas is itself uncertain, hence Student's distribution.
    """
    from scipy.special import ndtr, stdtrit  # reading a case needs the tables of this module, but not scipy

    return bool(abs(deviation) > -stdtrit(max(replicas - 1, 1), ndtr(-SIGNIFICANT)))


def _comparison(compare: figures.Record, wording: Wording) -> str:
    residual, observables = compare.get("residual", []), compare.get("observables", [])
    named = residual or compare.get("pde_residual", [])
    parts = [
        _limits(compare.get("limits", [])),
        _against_solution([entry for entry in observables if "deviation" in entry]),
        _residual(residual, wording),
        _fluctuations(compare.get("fluctuations", [])),
        _covariances(compare.get("covariances", [])),
        "\n".join(
            rate_line(rate, f"{rate['quantity']} of test function {rate['test_function']}")
            for rate in (*compare.get("rates", []), *compare.get("fluctuation_rates", []))
        ),
        "\n".join(
            f"- W[T, phi] of the solution itself, test function {entry['test_function']}: {entry['residual']:.3e}"
            for entry in compare.get("pde_residual", [])
        ),
        "\n".join(f"- test function {number}: {label}" for number, label in _legend(named).items()),
    ]
    found = [part for part in parts if part]
    return "## How far the particles are from their limit\n\n" + "\n\n".join(found) if found else ""


LIMIT_COLUMNS = {
    "test function": "test_function",
    "particles, N to infinity": "particles",
    "low": "low",
    "high": "high",
    "solution": "solution",
    "error of the solution": "solution_error",
    "of the particles' step": "step_error",
    "of the largest N (in the fit)": "finite_n",
    "detectable": "detectable",
}


def _limits(entries: list[figures.Record]) -> str:
    """What the particles tend to, and what the solution is, at the end, with the errors of both."""
    text = (
        "Low and high: the 95 % interval of the particles' limit. Errors are estimates with a safety factor, to be "
        "added to it; a difference of the size of the last column would have been found with a probability of 80 %."
    )
    return _explained("The limit at the end", entries, LIMIT_COLUMNS, text)


def _explained(title: str, entries: list[figures.Record], header: Mapping[str, str], text: str) -> str:
    """A table with its title above and what it says below; nothing without entries."""
    return f"### {title}\n\n{columns(entries, header)}\n\n{text}" if entries else ""


def _legend(entries: list[figures.Record]) -> dict[int, str]:
    return {entry["test_function"]: entry["label"] for entry in entries}


def _against_solution(entries: list[figures.Record]) -> str:
    """The means int phi dL_t of the particles against int phi rho_t of the solution: it tests everything at once."""
    rows = []
    for count, number in dict.fromkeys((entry["N"], figures.which(entry)) for entry in entries):
        mine = [entry for entry in entries if (entry["N"], figures.which(entry)) == (count, number)]
        end = max(mine, key=lambda entry: entry["t"])
        largest = max(abs(entry["deviation"]) for entry in mine)
        cells = [end["mean"], end["stderr"], end["pde"], f"{end['deviation']:+.1f}", f"{largest:.1f}"]
        rows.append([count, number, *cells])
    if not rows:
        return ""
    header = ["N", "test function, observable", "particles at the end", "stderr", "solution", "deviation"]
    header.append("largest over t")
    text = (
        "Deviations are in standard errors of the particles' mean. Besides the noise they hold the O(1/N) difference "
        "between the mean of N particles and the limit, and the errors of both schemes: the verdict takes these out."
    )
    return "### Particles against the solution of the equation\n\n" + table(header, rows) + "\n\n" + text


RESIDUAL_COLUMNS = {
    "N": "N",
    "test function": "test_function",
    "mean W": "mean",
    "stderr": "stderr",
    "expected": "theory_mean",
    "mean abs W": "mean_abs",
    "variance W": "variance",
    "Ito isometry": "theory_variance",
    "deviation of mean": "mean_deviation",
    "of variance": "variance_deviation",
}


def _residual(entries: list[figures.Record], wording: Wording) -> str:
    """W[T, phi] of the particles in the equation, and what there is to say about its mean."""
    if not entries:
        return ""
    notes = []
    for entry in entries:
        name = f"N = {entry['N']}, test function {entry['test_function']}"
        from_zero = entry["mean"] / entry["stderr"] if "mean" in entry and entry.get("stderr", 0.0) > 0 else 0.0
        if significant(from_zero, entry["replicas"]):
            notes.append(f"- {name}: {wording.mean_note(entry, abs(from_zero))}")
        if entry.get("theory_mean", 0.0) != 0 and significant(entry.get("mean_deviation", 0.0), entry["replicas"]):
            notes.append(f"- **{name}: the mean is not the expected one**: is the time step too large?")
    found = columns(entries, {title: key for title, key in RESIDUAL_COLUMNS.items() if any(key in e for e in entries)})
    text = f"Deviations are in standard errors. {wording.residual_note}"
    return "### The weak-form residual W[T, phi] of the particles\n\n" + "\n\n".join([found, text, "\n".join(notes)])


FLUCTUATION_COLUMNS = {
    "N": "N",
    "test function": "test_function",
    "N Var, predicted": "variance_theory",
    "error of that": "variance_theory_error",
    "N Var of the replicas": "variance",
    "stderr": "stderr",
    "deviation": "deviation",
}


def _fluctuations(entries: list[figures.Record]) -> str:
    """The variance of the observables beside what the linearised equation says."""
    text = (
        "N times the variance of int phi dL^N at the end, and what it tends to by the linearised equation. Deviations "
        "are in standard errors of that many Gaussian replicas; besides the noise they hold what is of order 1/N."
    )
    return _explained("Fluctuations", entries, FLUCTUATION_COLUMNS, text)


COVARIANCE_COLUMNS = {
    "N": "N",
    "test functions": "test_function",
    "at the end": "test_function_at_end",
    "t": "t",
    "N Cov, predicted": "covariance_theory",
    "error of that": "covariance_theory_error",
    "N Cov of the replicas": "covariance",
    "low": "low",
    "high": "high",
    "deviation": "deviation",
}


def _covariances(entries: list[figures.Record]) -> str:
    """The covariances in time."""
    text = (
        "N times the covariance of int phi dL^N at the time t and int psi dL^N at the end, over the replicas with a "
        "95 % interval, and what it tends to by the linearised equation"
    )
    if not all("covariance_theory" in entry for entry in entries):
        text += ", where that is known: docs/fluctuations.md says where there is no prediction"
    return _explained("Covariances in time", entries, COVARIANCE_COLUMNS, f"{text}.")


def _cell(entry: figures.Record, path: str) -> Any:
    value = find(entry, path)
    return f"{value:+.1f}" if path.endswith("deviation") and value is not None else _shown(value, "-")


def rate_line(rate: figures.Record, name: str) -> str:
    """A line on the fitted power of N of something of this name."""
    slope, low, high, theory = (rate.get(key) for key in ("slope", "low", "high", "theory"))
    if slope is None:
        return f"- {name}: the power of N is not known"
    beside = "" if theory is None else f"; theory {theory:g}"
    if low is None or high is None:
        return f"- {name} is like N^{slope:.3f} (95 %: not known{beside})"
    if rate.get("unjudged"):
        beside += f"; not held against the theory: {plain(rate['unjudged'])}"
    elif theory is not None:
        where = "is inside" if low <= theory <= high else "is outside, as one in twenty is by chance"
        beside += f" {where}"
    return f"- {name} is like N^{slope:.3f} (95 %: {low:.3f} to {high:.3f}{beside})"


def _cost(summary: figures.Record) -> str:
    seconds = ", ".join(f"{part} {value:.2f} s" for part, value in summary.get("wall_seconds", {}).items())
    if not seconds:
        return ""
    ranks, threads = (f"{n} {key if n != 1 else key[:-1]}" for key in ("ranks", "threads") for n in [summary[key]])
    return f"Wall time: {seconds}; {ranks}, {threads} each."
