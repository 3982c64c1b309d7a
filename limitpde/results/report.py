"""report.md: what a person reads first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limitpde.results import figures


def write(directory: Path, pictures: Sequence[Path], summary: figures.Record | None = None) -> None:
    """Write report.md from these figures (those of summary.json by default) and the pictures."""
    summary = figures.clean(summary or figures.read(directory / "summary.json"))
    parts = [
        _head(summary),
        _warnings(summary),
        _comparison(summary.get("compare", {})),
        _pde(summary.get("pde", {})),
        _particles(summary.get("particles", [])),
        _cost(summary),
        "\n".join(f"![{path.stem}](pictures/{path.name})" for path in pictures),
    ]
    figures.write_text(directory / "report.md", "\n\n".join(part for part in parts if part) + "\n")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_number(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _head(summary: figures.Record) -> str:
    status = {"done": "The run is done.", "failed": "**The run failed.**", "interrupted": "**The run was stopped.**"}
    lines = [f"# {summary.get('title', summary['system'])}", status[summary["status"]], summary.get("reason", "")]
    return "\n\n".join(line for line in lines if line)


def _warnings(summary: figures.Record) -> str:
    return "\n".join(f"- **Note:** {warning}" for warning in summary.get("warnings", []))


def _comparison(compare: figures.Record) -> str:
    parts = []
    for rate in compare.get("rates", []):
        verdict = ""
        if "theory" in rate:
            inside = rate["low"] <= rate["theory"] <= rate["high"]
            verdict = f"; theory {rate['theory']:g} is {'inside' if inside else 'OUTSIDE'} the interval"
        parts.append(
            f"- {rate['quantity']} of test function {rate['test_function']} falls like N^{rate['slope']:.3f} "
            f"(95 %: {rate['low']:.3f} to {rate['high']:.3f}{verdict})"
        )
    rows = [_residual_row(entry) for entry in compare.get("residual", [])]
    if rows:
        header = ["N", "test function", "mean W", "stderr", "theory", "mean abs W", "variance", "theory", "deviation"]
        parts.append("\n" + _table(header, rows))
        parts.append("\nDeviation: of the variance from the theory, in its standard errors.")
    for entry in compare.get("pde_residual", []):
        parts.append(
            f"- W[T, phi] of the PDE's solution, test function {entry['test_function']}: {entry['residual']:.3e}"
        )
    legend = {
        entry["test_function"]: entry["label"] for entry in (compare.get("residual") or compare.get("pde_residual", []))
    }
    parts += [f"- test function {number}: {label}" for number, label in legend.items()]
    return "## How far the particles are from their limit\n\n" + "\n".join(parts) if parts else ""


def _residual_row(entry: figures.Record) -> list[Any]:
    error = entry["variance_stderr"]
    deviation = f"{(entry['variance'] - entry['theory_variance']) / error:+.1f}" if error > 0 else "-"
    keys = ("N", "test_function", "mean", "stderr", "theory_mean", "mean_abs", "variance", "theory_variance")
    return [*(entry[key] for key in keys), deviation]


def _pde(pde: figures.Record) -> str:
    if not pde:
        return ""
    rows = [["unknowns", pde["dofs"]], ["steps", pde["steps"]]]
    for name, mass in pde.get("mass", {}).items():
        rows.append([f"mass ({name}), relative drift", mass["max_relative_drift"]])
    rows.append(["smallest density", pde["minimum"]])
    energy = pde.get("free_energy")
    if energy:
        rows.append(["free energy", f"{energy['start']:.6g} to {energy['end']:.6g}"])
        rows.append(["largest increase of the free energy in a step", energy.get("largest_increase", "-")])
    gate = pde.get("gate", {})
    rows.append(["steps repeated by the gate", gate.get("refused", 0)])
    return "## The limit equation\n\n" + _table(["figure", "value"], rows)


def _particles(particles: list[figures.Record]) -> str:
    rows = []
    for entry in particles:
        moment = entry["second_moment"]["end"]
        error = f" +- {moment['stderr']:.2g}" if "stderr" in moment else ""
        rows.append([entry["N"], entry["replicas"], entry["steps"], f"{moment['mean']:.5g}{error}", entry["regime"]])
    header = ["N", "replicas", "steps", "second moment at the end", "regime"]
    return "## The particles\n\n" + _table(header, rows) if rows else ""


def _cost(summary: figures.Record) -> str:
    seconds = ", ".join(f"{part} {value:.2f} s" for part, value in summary.get("wall_seconds", {}).items())
    return f"Wall time: {seconds}; {summary['ranks']} ranks, {summary['threads']} threads each." if seconds else ""
