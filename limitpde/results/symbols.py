"""Names of fields, columns and test functions as pictures write them: formulas in matplotlib's mathtext."""

from __future__ import annotations

import re

SYMBOLS = {
    "charge": r"$\rho^+ - \rho^-$",
    "clipped": "what was cut off",
    "dt": r"$\Delta t$",
    "energy": "$E$",
    "energy_kinetic": r"$E_\mathrm{kin}$",
    "energy_potential": r"$E_\mathrm{pot}$",
    "f": "$f$",
    "free_energy": r"$\mathcal{F}[\rho_t]$",
    "mass_overflow": r"mass above $n_\mathrm{max}$",
    "mass_total": r"$\Sigma_n\, n \int f_n$",
    "minimum": "smallest value",
    "number": r"$\Sigma_n f_n$",
    "potential": r"$\Phi$",
    "rho": r"$\rho$",
    "rho_negative": r"$\rho^-$",
    "rho_positive": r"$\rho^+$",
    "second_moment": r"$\int |x|^2\, \mathrm{d}\rho_t$",
}
"""Name in the files of a result -> how it is written; see `symbol` for those with a number."""
LETTERS = {"f": "f", "rho": r"\rho"}
"""Of fields with a number."""
RATES = r"$\mathrm{E}\,|W[T, \varphi]|$"
NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")


def symbol(name: str) -> str:
    """A field or a column as it is written; one that has no symbol by its name."""
    letter, _, number = name.partition("_")
    if number.isdigit() and letter in LETTERS:
        return f"${LETTERS[letter]}_{{{number}}}$"
    if number.isdigit() and letter == "moment":
        power = {"0": "", "1": r"\, n "}.get(number, rf"\, n^{{{number}}} ")
        return rf"$\Sigma_n {power}\int f_n$"
    return SYMBOLS.get(name, name.replace("_", " "))


def phi(number: int, label: str = "") -> str:
    """phi with its number; with its label, whose numbers have four digits, where there is one."""
    short = NUMBER.sub(lambda found: f"{float(found[0]):.4g}", label).replace("$", r"\$")
    return rf"$\varphi_{{{number}}}$" + (f" = {short}" if short else "")


def at(t: float) -> str:
    """A time."""
    return f"$t$ = {t:.4g}"
