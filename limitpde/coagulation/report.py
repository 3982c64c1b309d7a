"""What report.md says about the coagulating system: its limit equation, its particles, and the steps of the proof."""

from __future__ import annotations

import math
from typing import Any

from limitpde.results.figures import Record
from limitpde.results.report import significant, table

LEAST_SURE = 0.2
"""Relative standard error up to which a ratio is shown."""
MOST_MASSES = 6
"""Masses in the table of densities."""


residual_note = (
    "W is that of (1.10) on the candidate densities (4.2) of the smallest delta, with the equation's beta: a wrong one "
    "shows here. Besides the noise it holds what mollifying does to products of densities, of the order delta^2, "
    "and the depletion of close pairs, of the order eps / delta."
)


def mean_note(entry: Record, deviation: float) -> str:
    """What to say of a W whose mean is this many standard errors from zero."""
    found = f"**W does not vanish in the mean**, by {deviation:.1f} standard errors."
    return f"{found} It should fall as N grows and then delta falls; see (1.10) on the candidate densities."


def pde_section(pde: Record) -> str:
    """The part on the limit equation, from `pde` of summary.json."""
    if not pde:
        return ""
    mass = pde["mass"]
    rows: list[list[Any]] = [["unknowns", pde["dofs"]], ["steps", pde["steps"]]]
    rows.append(["mass in the range", f"{mass['total']['start']:.6g} to {mass['total']['end']:.6g}"])
    for name, label in (("overflow", "mass beyond the largest mass (gel)"), ("annihilated", "mass annihilated")):
        if name in mass:
            rows.append([label, f"{mass[name]['start']:.6g} to {mass[name]['end']:.6g}"])
    rows.append(["sum of these, relative drift", mass["total"]["max_relative_drift"]])
    rows.append(["smallest density", pde["minimum"]])
    for k, label in (("0", "number of particles"), ("2", "second moment of the mass")):
        rows.append([label, f"{pde['moments'][k]['start']:.6g} to {pde['moments'][k]['end']:.6g}"])
    return "## The limit equation\n\n" + table(["figure", "value"], rows)


def particles_section(particles: list[Record]) -> str:
    """The part on the particles, from `particles` of summary.json."""
    rows = []
    for entry in particles:
        alive = entry["survivors"]
        error = f" +- {alive['stderr'][-1]:.2g}" if "stderr" in alive else ""
        densities = ", ".join(f"{value:.4g}" for value in entry["density_end"]["mean"][:MOST_MASSES])
        row = [entry["N"], entry["replicas"], entry["steps"], entry["log_eps"], f"{alive['mean'][-1]:.6g}{error}"]
        rows.append([*row, densities])
    header = ["N", "replicas", "steps", "log eps", "particles at the end", "densities of masses 1, 2, ... at the end"]
    return "## The particles\n\n" + table(header, rows) if rows else ""


def comparison_section(compare: Record) -> str:
    """What is compared for this system alone, from `compare` of summary.json."""
    parts = [
        _fitted(compare.get("fitted_beta", [])),
        _candidates(compare.get("candidate", [])),
        _pairs(compare.get("stosszahlansatz", [])),
        _martingale(compare.get("martingale", [])),
        _distance(compare.get("corollary_1_3", [])),
    ]
    return "\n\n".join(part for part in parts if part)


def _fitted(entries: list[Record]) -> str:
    """The rate beta fitted to the number of particles."""
    columns = ("N", "beta", "stderr", "theory", "deviation", "naive", "naive_deviation")
    rows = [[entry.get(name, "-") for name in columns] for entry in entries]
    if not rows:
        return ""
    header = ["N", "beta fitted", "stderr", "of the equation", "deviation", "naive rate", "deviation from it"]
    text = (
        "Deviations are in standard errors. The naive rate alpha int V forgets that close pairs have already reacted."
    )
    return f"### The rate that the particles show\n\n{table(header, rows)}\n\n{text}"


def _candidates(entries: list[Record]) -> str:
    """W on the candidate densities, over N and delta."""
    rows = [
        [
            entry["N"],
            entry["test_function"],
            entry.get("delta", "domain"),
            entry["mean"],
            entry.get("stderr", "-"),
            entry["mean_abs"],
        ]
        for entry in entries
    ]
    if not rows:
        return ""
    header = ["N", "test function", "delta", "mean W", "stderr", "mean abs W"]
    text = "It should vanish as N grows, and then delta falls: a mean that stays is what mollifying does to f_n f_m."
    return f"### (1.10) on the candidate densities (4.2)\n\n{table(header, rows)}\n\n{text}"


def _pairs(entries: list[Record]) -> str:
    """Proposition 4.1, pair by pair of masses."""
    smallest: dict[tuple[int, int, int], Record] = {}
    for entry in entries:
        key = (entry["N"], entry["n"], entry["m"])
        if key not in smallest or entry.get("delta", math.inf) < smallest[key].get("delta", math.inf):
            smallest[key] = entry
    columns = ("N", "n", "m", "measured", "predicted", "ratio", "ratio_stderr", "excess", "naive_ratio")
    known = [entry for entry in smallest.values() if 0 < entry.get("ratio_stderr", 0.0) < LEAST_SURE * entry["ratio"]]
    rows = [[entry.get(name, "-") for name in columns] for entry in known]
    if not rows:
        return ""
    header = ["N", "n", "m", "measured pair rate", "beta int f_n f_m", "ratio", "stderr", "excess over one expected"]
    text = f"Pairs of masses whose ratio is known to {LEAST_SURE:.0%}; all are in summary.json."
    found = table([*header, "ratio to the naive rate"], rows)
    return f"### The Stosszahlansatz (Proposition 4.1)\n\n{found}\n\n{text}"


def _martingale(entries: list[Record]) -> str:
    """M_T of (4.1)."""
    columns = ("N", "test_function", "mean", "stderr", "mean_square", "quadratic_variation", "deviation")
    rows = [[entry.get(name, "-") for name in columns] for entry in entries]
    if not rows:
        return ""
    header = ["N", "test function", "mean M", "stderr", "mean M^2", "mean [M]", "deviation of M^2 - [M]"]
    found = f"### The martingale of (4.1)\n\n{table(header, rows)}"
    far = [entry for entry in entries if significant(entry.get("deviation", 0.0), entry["replicas"])]
    worst = max((abs(entry["deviation"]) for entry in far), default=0.0)
    return found + (f"\n\n**M^2 and [M] differ, by {worst:.1f} standard errors.**" if far else "")


def _distance(entries: list[Record]) -> str:
    """The distance of Corollary 1.3."""
    rows = [[entry["N"], entry["test_function"], entry["mean_abs"], entry.get("stderr", "-")] for entry in entries]
    if not rows:
        return ""
    header = ["N", "test function", "E abs int_0^T int J (mu - f)", "stderr"]
    return f"### The distance of Corollary 1.3\n\n{table(header, rows)}"
