"""What report.md says about the signed system: its limit equation and its particles."""

from __future__ import annotations

from limitpde.results import distances
from limitpde.results.figures import Record
from limitpde.results.report import Wording, columns, find, listing

ESTIMATES = {
    "N": "N",
    "estimate": "source",
    "quantity": "quantity",
    "measured": "shown",
    "must be": "limit",
    "room, as a factor": "margin",
    "holds": "holds",
}


class SignedWording(Wording):
    """What report.md says about signed charges."""

    EQUATION = {
        "unknowns": "dofs",
        "steps": "steps",
        "nodes of the mesh": "mesh.nodes",
        "changes of the mesh": "mesh.changes",
        "mass (positive), relative drift": "mass.positive.max_relative_drift",
        "mass (negative), relative drift": "mass.negative.max_relative_drift",
        "smallest density": "minimum",
        "free energy": "free_energy",
        "largest increase of the free energy in a step": "free_energy.largest_increase",
        "second moment": "second_moment",
        "second moment at the end by the virial law": "second_moment.end_theory",
        "growth rate of the second moment": "growth_rate",
        "growth rate by the virial law": "second_moment.rate_theory",
        "drift of the centre of mass (zero)": "centre_drift",
        "mass": "blow_up.mass",
        "critical mass 4 D / gamma_bar": "blow_up.critical_mass",
        "blow-up must come before t =": "blow_up.latest_time_theory",
        "blow-up not before t =": "blow_up.not_before",
        "blow-up by 1/(largest density), t =": "blow_up.expected",
        "largest density at the start": "blow_up.peak.start",
        "largest density later": "blow_up.peak.largest",
        "steps repeated by the gate": "gate.refused",
        "steps repeated shorter, for their error": "gate.shortened",
    }
    PARTICLES = {
        "N": "N",
        "replicas": "replicas",
        "steps": "steps",
        "gamma_N": "gamma",
        "sigma_N": "sigma",
        "eps": "eps",
        "second moment at the end": "second_moment.end",
        "deviation from the virial law": "second_moment.deviation",
        "regime": "regime",
    }
    residual_note = (
        "Expected: what drift and noise of the particles imply; zero where they are those of the equation. W takes the "
        "forces from the particles themselves; a wrong force shows above."
    )

    def mean_note(self, entry: Record, deviation: float) -> str:
        """What to say of a W whose mean is this many standard errors from zero."""
        found = super().mean_note(entry, deviation)
        if entry["theory_mean"] == 0:
            return found
        why = "The particles do not have the drift and the noise of this equation"
        return f"{found} {why}; that explains a mean of {entry['theory_mean']:.4g}."

    def pde_section(self, pde: Record) -> str:
        """The part on the limit equation, from `pde` of summary.json."""
        if not pde:
            return ""
        moment, end, shown = pde["second_moment"], pde.get("end_time", 0.0), dict(pde)
        if end > 0 and "rate_theory" in moment:
            start, last = pde["centre"]["start"], pde["centre"]["end"]
            shown["growth_rate"] = f"{(moment['end'] - moment['start']) / end:.6g}"
            shown["centre_drift"] = max(abs(b - a) for a, b in zip(start, last, strict=True))
        levels = find(pde, "blow_up.amplification_times") or {}
        times = {
            f"time of the {level}-fold largest density": f"blow_up.amplification_times.{level}" for level in levels
        }
        return "## The limit equation\n\n" + listing(shown, self.EQUATION | times)

    def comparison_section(self, compare: Record) -> str:
        """Distances of L^N to rho, from `compare` of summary.json."""
        subject = "the charges of each sign and their density"
        return distances.section(compare.get("distances", []), "sign", subject)

    def particles_section(self, particles: list[Record]) -> str:
        """The part on the particles, from `particles` of summary.json."""
        if not particles:
            return ""
        lines = []
        for entry in particles:
            if "random_batches" in entry:
                batches = entry["random_batches"]
                lines.append(
                    f"- N = {entry['N']}: random batches of {batches['batch_size']} act like a diffusivity larger by "
                    f"{batches['extra_diffusivity']:.3g}, with the step; the deviation from the virial law allows "
                    f"for that"
                )
            if "substeps" in entry:
                cut = entry["substeps"]
                lines.append(
                    f"- N = {entry['N']}: a step had {cut['mean']:.4g} parts on average, at most {cut['most']}"
                )
            if "collisions" in entry:
                error = f" +- {entry['collisions_stderr']:.2g}" if entry.get("collisions_stderr") is not None else ""
                lines.append(f"- N = {entry['N']}: {entry['collisions']:.4g}{error} of the replicas saw a collision")
            if "meetings" in entry:
                found = entry["meetings"]
                error = f" +- {found['stderr']:.2g}" if found.get("stderr") is not None else ""
                lines.append(f"- N = {entry['N']}: {found['mean']:.4g}{error} collisions of a replica")
            if "beta_0" in entry:
                share = f"{entry['beta_0']:.3g}"
                lines.append(f"- N = {entry['N']}: the smallest share of a sign, beta_0 of (5.4), was {share}")
            if "annihilated_fraction" in entry:
                gone = 100 * entry["annihilated_fraction"]
                lines.append(
                    f"- N = {entry['N']}: {gone:.4g} % of the particles were annihilated; L^N is that of the others"
                )
        parts = ["## The particles", columns(particles, self.PARTICLES), "\n".join(lines), _estimates(particles)]
        return "\n\n".join(part for part in parts if part)


def _estimates(particles: list[Record]) -> str:
    """The paper's estimates with the room they leave, where they were measured."""
    entries = []
    for entry in particles:
        for found in entry.get("estimates", []):
            error = f" +- {found['stderr']:.2g}" if "stderr" in found else ""
            shown = {"N": entry["N"], "shown": f"{found['measured']:.4g}{error}"}
            if "bound" in found:
                shown["limit"] = f"{'>= ' if found['at_least'] else '<= '}{found['bound']:.4g}"
            entries.append({**found, **shown, "holds": "yes" if found["holds"] else "NO"})
    return "### The paper's estimates\n\n" + columns(entries, ESTIMATES) if entries else ""
