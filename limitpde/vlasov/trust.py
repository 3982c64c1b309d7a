"""When not to trust a run of the Vlasov system: figures with thresholds (`limitpde.cautions`), each measured.

The measurements are in docs/vlasov.md, "When not to trust a run".
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from limitpde.cautions import Caution
from limitpde.errors import LimitPDEError
from limitpde.potentials import on_torus
from limitpde.potentials.user import PotentialFromFile
from limitpde.vlasov.case import PDE, Case
from limitpde.vlasov.exact.dispersion import Beam, roots_within
from limitpde.vlasov.exact.symbol import torus_symbol
from limitpde.vlasov.initial import Landau, Maxwellian, Start, TwoStream
from limitpde.vlasov.initial_laws import Normals
from limitpde.vlasov.model import Model

WIDTH = 2.0
"""Distance of the points of the cells over the width of the data: two streams, their growth rate 0.5 % off at 1.9."""
EDGE = 1e-4
"""|alpha|^2 at the ends of v, of its maximum: a cloud in a constant force, its momentum off by 5e-5 of it."""
WRAPPED = 0.05
"""The same from which a run ends: the momentum is 2 % off."""
MISSING = 1e-3
"""Share of the mass that lies outside of the domain at the start, or has left it."""
ENERGY = 1e-2
"""Change of the energy, of its kinetic part at the start and the modulus of the potential one."""
TEMPERATURE = 0.05
"""Change of the kinetic energy by what the cells hold of f_0, in units of that of its standard deviations."""
ECHO = 0.4
"""End over the echo time of the velocities: waves in free flight are off by 1e-3 of their amplitude, by 0.1 at 0.5."""
STEP = {2: 0.7, 4: 1.2}
"""Step times frequency: Landau's damping rate 2 % off at 0.5 for order 2, 1 % at 1 for order 4, 15 % and 9 % beyond."""
NOISE = 1.0
"""N^(-1/2) exp(growth t): noise as large as the density itself."""
MODES = 8
"""Waves along each axis of the torus of which the fastest growing one is sought."""


def missing(share: float) -> Caution:
    """Mass that f does not hold: it began outside of the domain, or has left it."""
    text = (
        f"{100 * share:.2g} % of the mass is outside of model.domain, or has left it, and is in the particles alone: "
        "take larger intervals of v (or x)"
    )
    return Caution("mass_outside", share, MISSING, text)


def alpha_loss(share: float) -> Caution:
    """Part of int |alpha|^2 that is gone, as alpha left the domain or is finer than the cells."""
    text = (
        f"up to {100 * share:.2g} % of int |alpha|^2, the mass of f, are gone: alpha has left model.domain or varies "
        "too fast for the grid; enlarge model.domain or pde.cells"
    )
    return Caution("alpha_loss", share, MISSING, text)


def energy(change: float, *, positivity: bool) -> Caution:
    """A change of the energy, as a part of its size at the start."""
    cause = "take a smaller step, or more cells"
    if positivity:
        cause = f"the limiter of pde.positivity = true moves mass within cells and does not keep it: {cause}"
    return Caution("energy_change", change, ENERGY, f"the energy changed by up to {change:.2g} of itself; {cause}")


def initial_temperature(case: Case, kinetic: float) -> Iterator[Caution]:
    """The kinetic energy at time 0 against that of f_0 in its box, where the velocities are normal."""
    start, pde = Start(case.initial, case.model), case.pde
    if pde is None or start.parts is None or not isinstance(start.parts[1], Normals):
        return
    law = start.parts[1]
    exact = start.mass * start.parts[0].inside(case.model.x_box) * _half_square(law, case.model.v_box)
    off = abs(kinetic - exact) / (start.mass * float((law.widths**2).sum()) / 2)
    cause = "the limiter of pde.positivity spreads them" if pde.positivity else "they lie between the points"
    text = (
        f"the kinetic energy of the initial data is off by {off:.2g} of its thermal part: their velocities are narrow "
        f"against the cells, and {cause}; take more cells of v"
    )
    yield Caution("initial_temperature", off, TEMPERATURE, text)


def _half_square(law: Normals, v_box: np.ndarray) -> float:
    """Int |v|^2 / 2 over a box."""
    points, weights = np.polynomial.legendre.leggauss(16)
    total = 0.0
    for factors in law.terms():
        moments = []
        for (low, high), factor, width in zip(v_box, factors, law.widths, strict=True):
            panels = min(max(int((high - low) / width), 16), 1 << 16)
            h = (high - low) / panels
            v = (low + (np.arange(panels)[:, None] + (points + 1) / 2) * h).ravel()
            values = np.tile(weights * h / 2, panels) * factor(v)
            moments.append((values.sum(), values @ v**2 / 2))
        masses = [mass for mass, _ in moments]
        total += sum(square * math.prod(masses[:j] + masses[j + 1 :]) for j, (_, square) in enumerate(moments))
    return float(total)


def alpha_edge(largest: float) -> Caution:
    """|alpha|^2 at the ends of v, as a part of its maximum, in (HHt)."""
    text = (
        f"|alpha|^2 at the ends of model.domain.v has been up to {largest:.1e} of its maximum: in (HHt) velocities are "
        "periodic, what leaves at one end comes in at the other; enlarge model.domain.v"
    )
    return Caution("alpha_edge", largest, EDGE, text)


def equation(case: Case) -> Iterator[Caution]:
    """What is known of the equation before it is solved: echoes of the velocities, and the step."""
    pde, model = case.pde, case.model
    if pde is None:
        return
    yield from _widths(case, pde)
    k = longest_phase(case)
    if k > 0:
        cells = dict(pde.cells_of())["v"]
        spacing = float(np.max((model.v_box[:, 1] - model.v_box[:, 0]) / np.array(cells))) / (pde.degree + 1)
        echo = 2 * math.pi / (k * spacing)
        text = (
            f"the velocities, {spacing:.3g} apart, come into phase again at t = {echo:.3g} for k = {k:.3g}, and are "
            f"no continuum from {ECHO:g} of that on, as f is finer than they are; take "
            f"{math.ceil(case.time.end / echo / ECHO)} times as many cells of v, or an earlier end"
        )
        yield Caution("velocity_echo", case.time.end / echo, ECHO, text)
    yield from _step("pde", pde.step, pde.order or 4, frequency(case))


def particles(case: Case, count: int) -> Iterator[Caution]:
    """What is known of N particles before they are simulated: their step, and what becomes of their noise."""
    if case.particles is None:
        return
    yield from _step("particles", case.particles.step, case.particles.order, frequency(case))
    noise = noise_growth(case) / math.sqrt(count)
    text = (
        f"noise has outgrown the signal: N^(-1/2) exp(growth t) is {noise:.3g} for N = {count}, so the particles are "
        "not near f at the end, whatever N^(-1/2) does at the start; take a larger N, an earlier end, or a larger "
        "initial.amplitude"
    )
    yield Caution("noise_growth", noise, NOISE, text)


def _widths(case: Case, pde: PDE) -> Iterator[Caution]:
    """The cells against the standard deviations of f_0, along each coordinate that has both."""
    start = Start(case.initial, case.model)
    for number, (axis, cells) in enumerate(pde.cells_of(), start=len(pde.cells_of()) % 2):
        law = start.parts[number] if start.parts is not None else None
        if isinstance(law, Normals):
            box = case.model.x_box if axis == "x" else case.model.v_box
            ratio = float(((box[:, 1] - box[:, 0]) / np.array(cells) / law.widths).max()) / (pde.degree + 1)
            text = (
                f"the points of the cells of {axis} are {ratio:.3g} standard deviations of f_0 apart, which spreads "
                f"over its cells; take {math.ceil(2 * ratio / WIDTH)} times as many"
            )
            yield Caution(f"initial_width_{axis}", ratio, WIDTH, text)


def _step(section: str, step: float, order: int, omega: float) -> Iterator[Caution]:
    if omega > 0:
        text = (
            f"{section}.step = {step:g} times the frequency {omega:.3g} of the density is {step * omega:.2g}: order "
            f"{order} in time is lost beyond {STEP[order]:g}; take a step of at most {0.5 * STEP[order] / omega:.2g}"
        )
        yield Caution(f"{section}_step", step * omega / STEP[order], 1.0, text)


def longest_phase(case: Case) -> float:
    """The largest wave number of positions that the data or the test functions of a torus name; 0 without one."""
    if not case.model.domain.periodic:
        return 0.0
    d = case.model.dimension
    given = [np.atleast_1d(getattr(case.initial, "k", 0.0))]
    given += [np.array(function.k[:d]) for function in case.test_functions if function.shape == "wave"]
    return float(max(np.abs(k).max() for k in given))


def _waves(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """The first waves along each axis of the torus, |k| (n,), and Gammahat there (n,)."""
    unit = 2 * math.pi / np.diff(model.x_box, axis=1)[:, 0]
    k = np.concatenate([m * np.diag(unit) for m in range(1, MODES + 1)])
    if not isinstance(model.potential, PotentialFromFile):
        return np.linalg.norm(k, axis=1), torus_symbol(model.potential, k, model.x_box)
    if model.dimension > 1:
        return np.zeros(0), np.zeros(0)
    length, n = 2 * math.pi / unit[0], 4096
    values = on_torus(model.potential, (np.arange(n) * length / n)[:, None], model.x_box)[0]
    return k[:, 0], np.fft.rfft(values).real[1 : MODES + 1] * length / n


def frequency(case: Case) -> float:
    """The frequency, or rate, at which the mean density on a torus moves: (n_0 max k^2 |Gammahat|)^(1/2); 0 unknown."""
    model = case.model
    if not model.domain.periodic or model.potential.kind == "none":
        return 0.0
    k, symbol = _waves(model)
    volume = float(np.prod(np.diff(model.x_box, axis=1)))
    return math.sqrt(case.initial.mass / volume * float((k**2 * np.abs(symbol)).max(initial=0.0)))


def growth_rate(case: Case) -> float:
    """The largest rate at which waves grow on the homogeneous part of f_0, by its dispersion relation; 0 for none."""
    model, initial = case.model, case.initial
    if not isinstance(initial, Landau | TwoStream | Maxwellian) or getattr(initial, "width", None) is not None:
        return 0.0
    if not model.domain.periodic or model.potential.kind == "none":
        return 0.0
    density = initial.mass / float(np.prod(np.diff(model.x_box, axis=1)))
    drift = np.zeros(model.dimension)
    if isinstance(initial, TwoStream):
        given = np.atleast_1d(initial.drift)
        drift[: len(given)] = given
    fastest = 0.0
    k, symbol = _waves(model)
    for number, (wave, strength) in enumerate(zip(k, symbol, strict=True)):
        u = float(drift[number % model.dimension])
        beams = [Beam(density / 2, sign * u, initial.thermal**2) for sign in (1, -1)]
        fastest = max(fastest, _grows(float(wave), float(strength), beams))
    return fastest


def _grows(k: float, symbol: float, beams: list[Beam]) -> float:
    """The largest Im omega > 0 of a wave, 0 if there is none, or none is found."""
    if symbol == 0 or (symbol > 0 and beams[0].drift == 0):
        return 0.0
    width, plasma = beams[0].temperature ** 0.5, math.sqrt(2 * beams[0].density * abs(symbol))
    reach = k * (abs(beams[0].drift) + 6 * width + 3 * plasma)
    try:
        roots = roots_within(complex(-1.03 * reach, 1e-3 * reach), complex(1.07 * reach, reach), k, symbol, beams)
    except LimitPDEError:
        return 0.0
    return roots[0].imag if roots else 0.0


def noise_growth(case: Case) -> float:
    """What the relative noise N^(-1/2) is multiplied with until the end, or until the wave of f_0 is as large as f."""
    largest = 1 / max(abs(getattr(case.initial, "amplitude", 0.0)), 1e-300)
    return min(math.exp(min(growth_rate(case) * case.time.end, 700.0)), largest)
