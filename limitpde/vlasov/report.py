"""What report.md says about the Vlasov system: its limit equation, its particles, and the distances between them."""

from __future__ import annotations

from limitpde.results.figures import Record
from limitpde.results.report import Wording, columns, listing, rate_line

DISTANCES = {
    "N": "N",
    "distance": "distance",
    "mean at t = 0": "start",
    "mean at the end": "mean",
    "stderr": "stderr",
    "independent draws": "floor",
    "stderr of those": "floor_stderr",
    "stderr of the directions": "directions_stderr",
}


COUNTING = {
    "N": "N",
    "t": "t",
    "lambda": "lambda",
    "beta_N at least": "low",
    "beta_N at most": "high",
    "beta_N(0)": "start",
    "log10 of the bound": "log10_bound",
    "with the norms as they are": "log10_bound_measured_norms",
}
COUNTED = {
    "N": "N",
    "t": "t",
    "E k": "excited",
    "stderr": "excited_stderr",
    "E k(k - 1)": "pairs",
    "stderr of that": "pairs_stderr",
}
MARGINALS = {
    "N": "N",
    "t": "t",
    "test function": "test_function",
    "particles": "mean",
    "stderr": "stderr",
    "alpha": "limit",
    "bound of the difference, in max abs phi": "bound",
}


class VlasovWording(Wording):
    """What report.md says about the Vlasov system."""

    residual_note = (
        "Newton's particles have no noise. Their W is exactly -(1/(N - 1)) times the time integral of "
        "int (grad Gamma * mu) . grad_v phi dmu, since N - 1 partners have to do for N: that is expected, and "
        "falls like "
        "1/N. What another potential of the particles does to W is part of what is expected of them."
    )
    EQUATION = {
        "unknowns": "dofs",
        "steps": "steps",
        "mass, relative drift (with what left the domain)": "mass.total.max_relative_drift",
        "mass that left the domain": "mass.lost.end",
        "smallest nodal value of f": "minimum",
        "energy": "energy",
        "energy, largest relative change": "energy.max_relative_drift",
        "momentum, largest change": "momentum.largest_change",
        "integral of f^2": "l2",
        "second moment of the positions": "second_moment",
        "H of (HVl)": "h_vl",
        "H of (HHt)": "h_ht",
        "norm of alpha in L2": "norm",
        "norm of alpha in W^{1,2}": "norm_w12",
        "bound of that (Corollary 3.6)": "norm_w12_bound",
    }
    PARTICLES = {
        "N": "N",
        "replicas": "replicas",
        "steps": "steps",
        "energy, largest relative change": "energy.max_relative_drift",
        "momentum, largest change": "momentum.largest_change",
        "second moment at the end": "second_moment.end",
    }

    def mean_note(self, entry: Record, deviation: float) -> str:
        """What to say of a W whose mean is this many standard errors from zero."""
        if not entry["in_theory"]:
            why = "The particles do not have the potential of this equation; that explains"
            return f"{super().mean_note(entry, deviation)} {why} {entry['theory_mean']:.4g}."
        found = f"the mean of W, {entry['mean']:.4g}, is {deviation:.1f} standard errors from zero"
        return f"{found}, as it should be: that 1/(N - 1) is not 1/N makes it {entry['theory_mean']:.4g}."

    def pde_section(self, pde: Record) -> str:
        """The part on the limit equation, from `pde` of summary.json."""
        if not pde:
            return ""
        lines = dict(self.EQUATION)
        if "field_growth_rate" in pde:
            fit = pde["field_fit"]
            lines[f"growth rate of the field, {fit['start']:g} <= t <= {fit['end']:g}"] = "field_growth_rate"
            lines[f"frequency of the field, {fit['peaks']} peaks of its energy"] = "field_frequency"
        frequency = pde.get("field_frequency") or "none: fewer than three peaks"
        return "## The limit equation\n\n" + listing(pde | {"field_frequency": frequency}, lines)

    def comparison_section(self, compare: Record) -> str:
        """What is compared for this system alone, from `compare` of summary.json."""
        found = [self._distances(compare), self._counting(compare)]
        return "\n\n".join(part for part in found if part)

    def _counting(self, compare: Record) -> str:
        """Theorem 4.8: the number k of particles that are not in the state alpha."""
        if not compare.get("counting"):
            return ""
        text = (
            "beta_N is the mean of min(k / N^lambda, 1), k the number of particles outside the state alpha; low and "
            "high are a 95 % interval. Bounds: Theorem 4.8 with the norms that are proven (Corollaries 3.6, 3.8, "
            "Lemma 3.4), and with those that alpha and alpha_N have at these times."
        )
        rates = [
            rate_line(rate, f"beta_N for lambda = {rate['lambda']:g}") + f"; the theorem allows N^{rate['theorem']:g}"
            for rate in compare.get("counting_rates", [])
        ]
        after = "Marginals differ in L^1 by at most twice the root of E k / N."
        parts = [columns(compare["counting"], COUNTING), text, "\n".join(rates), columns(compare["counted"], COUNTED)]
        parts += [columns(compare["marginals"], MARGINALS), after]
        return "\n\n".join(["### Particles outside the mean-field state (Theorem 4.8)", *filter(None, parts)])

    def _distances(self, compare: Record) -> str:
        """Wasserstein's distances."""
        entries = compare.get("distances", [])
        if not entries:
            return f"Distances: {compare['distances_left_out']}." if "distances_left_out" in compare else ""
        starts = {(entry["N"], entry["distance"]): entry["mean"] for entry in entries if entry["t"] == 0}
        ends = [{"start": starts.get((e["N"], e["distance"])), **e} for e in entries if e["t"] > 0]
        text = (
            "Wasserstein-1 distances of the marginals in each coordinate, its mean over slices of phase space, and the "
            "energy distance, between the particles and f divided by its mass; means over the replicas that were kept, "
            "beside those of as many independent draws from f."
        )
        if "dobrushin" in compare:
            factor = f"a factor {compare['dobrushin']['factor']:.4g}"
            text += f" Dobrushin's estimate lets the distance of two solutions grow by {factor} at most."
        rates = [
            rate_line(rate, f"the distance {rate['quantity'].removeprefix('wasserstein_')}")
            for rate in compare.get("distance_rates", [])
        ]
        found = columns(ends, DISTANCES)
        return "\n\n".join(["### Distances between the particles and f", found, text, "\n".join(rates)]).rstrip()
