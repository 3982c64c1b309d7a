"""What report.md says about the Vlasov system: its limit equation, its particles, and the distances between them."""

from __future__ import annotations

from typing import Any

from limitpde.results.figures import Record
from limitpde.results.report import rate_line, table

residual_note = (
    "Newton's particles have no noise. Their W is exactly -(1/(N - 1)) times the time integral of "
    "int (grad Gamma * mu) . grad_v phi dmu, since N - 1 partners have to do for N: that is expected, and falls like "
    "1/N. What another potential of the particles does to W is part of what is expected of them."
)
FORMS = {
    "h_vl": "H of (HVl)",
    "h_ht": "H of (HHt)",
    "norm": "norm of alpha in L2",
    "norm_w12": "norm of alpha in W^{1,2}",
    "norm_w12_bound": "bound of that (Corollary 3.6)",
}
"""Figures of a form -> what they are called."""


def mean_note(entry: Record, deviation: float) -> str:
    """What to say of a W whose mean is this many standard errors from zero."""
    if not entry["in_theory"]:
        why = "The particles do not have the potential of this equation; that explains"
        return (
            f"**W does not vanish in the mean**, by {deviation:.1f} standard errors. {why} {entry['theory_mean']:.4g}."
        )
    found = f"the mean of W, {entry['mean']:.4g}, is {deviation:.1f} standard errors from zero"
    return f"{found}, as it should be: that 1/(N - 1) is not 1/N makes it {entry['theory_mean']:.4g}."


def pde_section(pde: Record) -> str:
    """The part on the limit equation, from `pde` of summary.json."""
    if not pde:
        return ""
    rows: list[list[Any]] = [["unknowns", pde["dofs"]], ["steps", pde["steps"]]]
    mass = pde["mass"]
    rows.append(["mass, relative drift (with what left the domain)", mass["total"]["max_relative_drift"]])
    rows.append(["mass that left the domain", mass["lost"]["end"]])
    if "minimum" in pde:
        rows.append(["smallest nodal value of f", pde["minimum"]])
    energy = pde["energy"]
    rows.append(["energy", f"{energy['start']:.6g} to {energy['end']:.6g}"])
    if "max_relative_drift" in energy:
        rows.append(["energy, largest relative change", energy["max_relative_drift"]])
    rows.append(["momentum, largest change", pde["momentum"]["largest_change"]])
    rows.append(["integral of f^2", f"{pde['l2']['start']:.6g} to {pde['l2']['end']:.6g}"])
    rows.append(["second moment of the positions", _from_to(pde["second_moment"])])
    rows += [[label, _from_to(pde[name])] for name, label in FORMS.items() if name in pde]
    if "field_growth_rate" in pde:
        fit = pde["field_fit"]
        window = f"{fit['start']:g} <= t <= {fit['end']:g}"
        rows.append([f"growth rate of the field, {window}", pde["field_growth_rate"]])
        frequency = pde["field_frequency"] or "none: fewer than three peaks"
        rows.append([f"frequency of the field, {fit['peaks']} peaks of its energy", frequency])
    return "## The limit equation\n\n" + table(["figure", "value"], rows)


def _from_to(ends: Record) -> str:
    """Both ends; a figure without an end has grown beyond all numbers, which summary.json cannot hold."""
    end = f"{ends['end']:.6g}" if "end" in ends else "infinity (above 1.8e308)"
    return f"{ends['start']:.6g} to {end}"


def particles_section(particles: list[Record]) -> str:
    """The part on the particles, from `particles` of summary.json."""
    rows = []
    for entry in particles:
        moment = entry["second_moment"]["end"]
        error = f" +- {moment['stderr']:.2g}" if "stderr" in moment else ""
        drift = entry["energy"].get("max_relative_drift", "-")
        row = [entry["N"], entry["replicas"], entry["steps"], drift, entry["momentum"]["largest_change"]]
        rows.append([*row, f"{moment['mean']:.5g}{error}"])
    header = ["N", "replicas", "steps", "energy, largest relative change", "momentum, largest change"]
    return "## The particles\n\n" + table([*header, "second moment at the end"], rows) if rows else ""


def comparison_section(compare: Record) -> str:
    """What is compared for this system alone, from `compare` of summary.json."""
    entries = compare.get("distances", [])
    if not entries:
        return f"Distances: {compare['distances_left_out']}." if "distances_left_out" in compare else ""
    starts = {(entry["N"], entry["distance"]): entry["mean"] for entry in entries if entry["t"] == 0}
    rows = []
    for entry in entries:
        if entry["t"] > 0:
            start = starts.get((entry["N"], entry["distance"]), "-")
            rows.append([entry["N"], entry["distance"], start, entry["mean"], entry.get("stderr", "-")])
    text = (
        "Wasserstein-1 distances of the marginals in each coordinate, and the mean over slices of phase space, between "
        "the particles and f divided by its mass; means over the replicas that were kept."
    )
    if "dobrushin" in compare:
        bound = compare["dobrushin"]
        text += (
            f" Dobrushin's estimate lets the distance of two solutions grow by a factor {bound['factor']:.4g} at most."
        )
    rates = [
        rate_line(rate, f"the distance {rate['quantity'].removeprefix('wasserstein_')}")
        for rate in compare.get("distance_rates", [])
    ]
    found = table(["N", "distance", "mean at t = 0", "mean at the end", "stderr"], rows)
    return "\n\n".join(["### Distances between the particles and f", found, text, "\n".join(rates)]).rstrip()
