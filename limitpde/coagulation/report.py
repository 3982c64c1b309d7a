"""What report.md says about the coagulating system: its limit equation, its particles, and the steps of the proof."""

from __future__ import annotations

import math

from limitpde.results import distances
from limitpde.results.figures import Record
from limitpde.results.report import Wording, columns, significant

LEAST_SURE = 0.2
"""Half the width of the 95 % interval of a ratio, as a part of it, up to which it is shown."""
MOST_MASSES = 6
"""Masses in the table of densities."""
FITTED = {
    "N": "N",
    "beta fitted": "beta",
    "stderr": "stderr",
    "of the equation": "theory",
    "deviation": "deviation",
    "naive rate": "naive",
    "deviation from it": "naive_deviation",
}
CANDIDATES = {
    "N": "N",
    "test function": "test_function",
    "delta": "delta",
    "mean W": "mean",
    "stderr": "stderr",
    "mean abs W": "mean_abs",
}
PAIRS = {
    "N": "N",
    "n": "n",
    "m": "m",
    "measured pair rate": "measured",
    "beta int f_n f_m": "predicted",
    "reactions": "events",
    "ratio": "ratio",
    "95 % from": "low",
    "to": "high",
    "kin left out": "kin_share",
    "excess over one expected": "excess",
    "ratio to the naive rate": "naive_ratio",
}
MARTINGALE = {
    "N": "N",
    "test function": "test_function",
    "mean M": "mean",
    "stderr": "stderr",
    "deviation of M": "mean_deviation",
    "mean M^2": "mean_square",
    "mean [M]": "quadratic_variation",
    "deviation of M^2 - [M]": "deviation",
}
DISTANCE = {"N": "N", "test function": "test_function", "E abs int_0^T int J (mu - f)": "mean_abs", "stderr": "stderr"}


class CoagulationWording(Wording):
    """What report.md says about coagulation."""

    EQUATION = {
        "unknowns": "dofs",
        "steps": "steps",
        "mass in the range": "mass.total",
        "mass beyond the largest mass (gel)": "mass.overflow",
        "mass annihilated": "mass.annihilated",
        "sum of these, relative drift": "mass.total.max_relative_drift",
        "smallest density": "minimum",
        "number of particles": "moments.0",
        "second moment of the mass": "moments.2",
    }
    PARTICLES = {
        "N": "N",
        "replicas": "replicas",
        "steps": "steps",
        "log eps": "log_eps",
        "1 / abs log eps (d = 2)": "correction",
        "particles at the end": "survivors",
        "densities of masses 1, 2, ... at the end": "densities",
    }
    residual_note = (
        "W is that of (1.10) on the candidate densities (4.2) of the smallest delta, with the equation's beta: a "
        "wrong one "
        "shows here. Besides the noise it holds what mollifying does to products of densities, of the order delta^2, "
        "and the depletion of close pairs, of the order eps / delta."
    )

    def mean_note(self, entry: Record, deviation: float) -> str:
        """What to say of a W whose mean is this many standard errors from zero."""
        found = super().mean_note(entry, deviation)
        return f"{found} It should fall as N grows and then delta falls; see (1.10) on the candidate densities."

    def particles_section(self, particles: list[Record]) -> str:
        """The part on the particles, from `particles` of summary.json."""
        entries = []
        for entry in particles:
            densities = entry["density_end"]["mean"][:MOST_MASSES]
            entries.append({**entry, "densities": ", ".join(f"{value:.4g}" for value in densities)})
        found = super().particles_section(entries)
        slow = [entry for entry in particles if entry.get("correction") is not None]
        if not slow:
            return found
        first = min(slow, key=lambda entry: -entry["correction"])
        return (
            f"{found}\n\nIn two dimensions what finite N does to the limit falls like 1 / |log eps| = Z / N, and no "
            f"faster: here it is of the order of {first['correction']:.2g} for N = {first['N']}, and halved by twice "
            "as many particles. Differences from the limit of that size are no failure of it."
        )

    def comparison_section(self, compare: Record) -> str:
        """What is compared for this system alone, from `compare` of summary.json."""
        fitted, candidates = compare.get("fitted_beta", []), compare.get("candidate", [])
        martingale, known = compare.get("martingale", []), _known_pairs(compare.get("stosszahlansatz", []))
        naive = (
            "Deviations are in standard errors. The naive rate alpha int V forgets that close pairs have already "
            "reacted."
        )
        mollified = (
            "It should vanish as N grows, and then delta falls: a mean that stays is what mollifying does to f_n f_m. "
            "Without a delta the candidate densities are constant over the domain."
        )
        sure = (
            f"Pairs of masses whose ratio is known to {LEAST_SURE:.0%} (half the 95 % interval); all are in "
            "summary.json, with a ratio from 20 reactions on. Kin are pairs of which one was split off the other: "
            "they react at once or hardly at all, are no part of f_n f_m, and are left out; the column has their share "
            "of all rates."
        )
        parts = [
            ("The rate that the particles show", columns(fitted, FITTED), naive),
            ("(1.10) on the candidate densities (4.2)", columns(candidates, CANDIDATES), mollified),
            ("The Stosszahlansatz (Proposition 4.1)", columns(known, PAIRS), sure),
            ("The martingale of (4.1)", columns(martingale, MARTINGALE), _martingale_note(martingale)),
            ("The distance of Corollary 1.3", columns(compare.get("corollary_1_3", []), DISTANCE), ""),
        ]
        found = [f"### {title}\n\n{found}\n\n{text}".rstrip() for title, found, text in parts if found]
        subject = "the particles and the densities, of all masses together and of some"
        far = distances.section(compare.get("distances", []), "n", subject)
        return "\n\n".join([*found, *filter(None, [far])])


def _known_pairs(entries: list[Record]) -> list[Record]:
    """Those pairs of masses whose ratio is known well enough, at the smallest delta."""
    smallest: dict[tuple[int, int, int], Record] = {}
    for entry in sorted(entries, key=lambda entry: -entry.get("delta", math.inf)):
        smallest[entry["N"], entry["n"], entry["m"]] = entry
    known = [entry for entry in smallest.values() if _half_width(entry) < LEAST_SURE]
    return sorted(known, key=lambda entry: (entry["N"], entry["n"], entry["m"]))


def _half_width(entry: Record) -> float:
    """Half the width of the interval of a ratio, as a part of it; infinite where it is not known."""
    ratio = entry.get("ratio")
    return math.inf if ratio is None else float((entry["high"] - entry["low"]) / 2 / ratio)


def _martingale_note(entries: list[Record]) -> str:
    """What to say where the mean of M is not zero, or M^2 and [M] differ."""
    notes = []
    for key, text in (("mean_deviation", "The mean of M is not zero"), ("deviation", "M^2 and [M] differ")):
        found = [(abs(entry.get(key) or 0.0), entry["replicas"]) for entry in entries]
        worst = max((far for far, replicas in found if significant(far, replicas)), default=0.0)
        notes += [f"**{text}, by {worst:.1f} standard errors.**"] if worst else []
    rare = "Where it rests on too few reactions to be tested there is no deviation."
    return " ".join([*notes, rare] if any(entry.get("mean_deviation") is None for entry in entries) else notes)
