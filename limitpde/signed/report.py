"""What report.md says about the signed system: its limit equation and its particles."""

from __future__ import annotations

from limitpde.results.figures import Record
from limitpde.results.report import table

residual_note = (
    "Expected: what drift and noise of the particles imply; zero where they are those of the equation. W takes the "
    "forces from the particles themselves; a wrong force shows above."
)


def mean_note(entry: Record, deviation: float) -> str:
    """What to say of a W whose mean is this many standard errors from zero."""
    found = f"**W does not vanish in the mean**, by {deviation:.1f} standard errors."
    if entry["theory_mean"] == 0:
        return found
    why = "The particles do not have the drift and the noise of this equation"
    return f"{found} {why}; that explains a mean of {entry['theory_mean']:.4g}."


def pde_section(pde: Record) -> str:
    """The part on the limit equation, from `pde` of summary.json."""
    if not pde:
        return ""
    rows = [["unknowns", pde["dofs"]], ["steps", pde["steps"]]]
    if "mesh" in pde:
        nodes, changes = pde["mesh"]["nodes"], pde["mesh"]["changes"]
        rows.append(["nodes of the mesh", f"{nodes['start']} to {nodes['end']}, changed {changes} times"])
    for name, mass in pde.get("mass", {}).items():
        rows.append([f"mass ({name}), relative drift", mass["max_relative_drift"]])
    rows.append(["smallest density", pde["minimum"]])
    energy = pde.get("free_energy")
    if energy:
        rows.append(["free energy", f"{energy['start']:.6g} to {energy['end']:.6g}"])
        rows.append(["largest increase of the free energy in a step", energy.get("largest_increase", "-")])
    moment, end = pde["second_moment"], pde.get("end_time", 0.0)
    if end > 0 and "rate_theory" in moment:
        rate = (moment["end"] - moment["start"]) / end
        rows.append(["growth rate of the second moment (virial law)", f"{rate:.6g} ({moment['rate_theory']:.6g})"])
    if "end_theory" in moment:
        rows.append(["second moment at the end (virial law)", f"{moment['end']:.6g} ({moment['end_theory']:.6g})"])
    start, last = pde["centre"]["start"], pde["centre"]["end"]
    if "rate_theory" in moment:
        rows.append(["drift of the centre of mass (zero)", max(abs(b - a) for a, b in zip(start, last, strict=True))])
    rows += _blow_up_rows(pde.get("blow_up"))
    gate = pde.get("gate", {})
    rows.append(["steps repeated by the gate", gate.get("refused", 0)])
    if gate.get("shortened"):
        rows.append(["steps repeated shorter, for their error", gate["shortened"]])
    return "## The limit equation\n\n" + table(["figure", "value"], rows)


def _blow_up_rows(found: Record | None) -> list[list[object]]:
    """Rows on the mass and the peak of an attractive density."""
    if not found:
        return []
    rows: list[list[object]] = []
    if "critical_mass" in found:
        rows.append(["mass (critical mass 4 D / gamma_bar)", f"{found['mass']:.6g} ({found['critical_mass']:.6g})"])
    if "latest_time_theory" in found:
        rows.append(["blow-up must come before t =", found["latest_time_theory"]])
    peak = found["peak"]
    rows.append(["largest density, at the start; later", f"{peak['start']:.4g}; {peak['largest']:.4g}"])
    for level, time in found.get("amplification_times", {}).items():
        rows.append([f"time of the {level}-fold largest density", time])
    return rows


def particles_section(particles: list[Record]) -> str:
    """The part on the particles, from `particles` of summary.json."""
    rows = []
    for entry in particles:
        moment = entry["second_moment"]
        error = f" +- {moment['end']['stderr']:.2g}" if "stderr" in moment["end"] else ""
        virial = f"{moment['deviation']:+.1f}" if "deviation" in moment else "-"
        end = f"{moment['end']['mean']:.5g}{error}"
        rows.append([entry["N"], entry["replicas"], entry["steps"], entry["eps"], end, virial, entry["regime"]])
    header = ["N", "replicas", "steps", "eps", "second moment at the end", "deviation from the virial law", "regime"]
    lines = []
    for entry in particles:
        if "random_batches" in entry:
            batches = entry["random_batches"]
            lines.append(
                f"- N = {entry['N']}: random batches of {batches['batch_size']} act like a diffusivity larger by "
                f"{batches['extra_diffusivity']:.3g}, with the step; the deviation from the virial law allows for that"
            )
        if "substeps" in entry:
            cut = entry["substeps"]
            lines.append(f"- N = {entry['N']}: a step had {cut['mean']:.4g} parts on average, at most {cut['most']}")
        if "collisions" in entry:
            error = f" +- {entry['collisions_stderr']:.2g}" if entry.get("collisions_stderr") is not None else ""
            lines.append(f"- N = {entry['N']}: {entry['collisions']:.4g}{error} of the replicas saw a collision")
        if "annihilated_fraction" in entry:
            gone = 100 * entry["annihilated_fraction"]
            lines.append(
                f"- N = {entry['N']}: {gone:.4g} % of the particles were annihilated; L^N and W are those of the "
                "others, and the equation has no term for that"
            )
    parts = ["## The particles", table(header, rows), "\n".join(lines), _estimates(particles)]
    return "\n\n".join(part for part in parts if part) if rows else ""


def _estimates(particles: list[Record]) -> str:
    """The paper's estimates with the room they leave, where they were measured."""
    rows = []
    for entry in particles:
        for found in entry.get("estimates", []):
            error = f" +- {found['stderr']:.2g}" if found.get("stderr") is not None else ""
            sense = ">= " if found["at_least"] else "<= "
            bound = f"{sense}{found['bound']:.4g}" if found.get("bound") is not None else "-"
            margin = f"{found['margin']:.3g}" if found.get("margin") is not None else "-"
            holds = "yes" if found["holds"] else "NO"
            measured = f"{found['measured']:.4g}{error}"
            rows.append([entry["N"], found["source"], found["quantity"], measured, bound, margin, holds])
    if not rows:
        return ""
    header = ["N", "estimate", "quantity", "measured", "must be", "room, as a factor", "holds"]
    return "### The paper's estimates\n\n" + table(header, rows)


def comparison_section(compare: Record) -> str:
    """What is compared for this system alone: nothing."""
    return ""
