"""Error budgets and verdicts: what the rule says of synthetic ensembles and solutions, whose errors are known.

Load-bearing: coverage of the extrapolated limit, no right model refuted, a wrong one refuted from twice the detectable
difference on, estimates of errors of mesh and step that bound the true ones.
"""

import dataclasses
import math
import tomllib
from types import SimpleNamespace

import numpy as np
import pytest

from limitpde import case as cases
from limitpde.cautions import Caution, worst
from limitpde.compare.advice import Effort
from limitpde.compare.budget import budget, detectable, error_rows, interval, limit_rows, step_errors
from limitpde.compare.companions import COARSE, COARSEST, LONG, SAFETY_OF_TWO, Orders, solution_errors
from limitpde.compare.extrapolation import Extrapolated, extrapolate, fit_weights
from limitpde.compare.verdict import Balance, balances, judge
from limitpde.error_budget import growth

TIMES = np.array([0.0, 0.5, 1.0])
TRUTH = np.array([[0.4, 0.45, 0.5], [-0.2, -0.1, 0.1]])  # int phi rho at these times, for two functions
EFFORT = Effort(counts=(64, 256, 1024), replicas=12, step=0.01, pde_step=0.02, orders=Orders())


def ensemble(count, replicas, rng, *, b=1.5, shift=0.0, step_bias=0.0, spread=0.7):
    """Replicas whose means are TRUTH + shift + b / N + step_bias."""
    noise = spread / math.sqrt(count) * rng.standard_normal((replicas, 2, 3))
    observables = TRUTH + shift + b / count + step_bias + noise
    return SimpleNamespace(
        count=count,
        times=TIMES,
        replicas=np.arange(replicas),
        observables=observables,
        steps=100.0,
        noise=noise[..., -1],
    )


def halved(whole, replicas, rng, *, step_bias):
    """Some replicas again with half the step: half the bias, and a little noise of their own."""
    moved = whole.observables[:replicas] - step_bias / 2
    observables = moved + 1e-4 * rng.standard_normal((replicas, 2, 3))
    return SimpleNamespace(
        replicas=np.arange(replicas), observables=observables, steps=200.0, noise=whole.noise[:replicas] * (1 + 1e-4)
    )


def solution(values):
    return SimpleNamespace(times=TIMES.tolist(), observables=list(values.T), values=[], rates=[])


def companions(exact, *, mesh, step, order=2):
    """Solutions on all levels with errors mesh h^order + step dt^order; those at time 0 are exact."""
    late = TIMES > 0
    return {
        level: exact + late * (mesh * level.cells**order + step * level.steps**order)
        for level in (COARSE, COARSEST, LONG)
    }


def run(rng, *, counts=(64, 256, 1024), replicas=12, shift=0.0, mesh=1e-4, step=5e-5, step_bias=0.0, order=2):
    """The budget of a run, with the particles' own balance."""
    ensembles = [ensemble(n, replicas, rng, shift=shift, step_bias=step_bias) for n in counts]
    fine = TRUTH + (TIMES > 0) * (mesh + step)
    errors = solution_errors(fine, companions(TRUTH, mesh=mesh, step=step, order=order), Orders(), same_cells=False)
    steps = step_errors(ensembles[0], halved(ensembles[0], min(replicas, 6), rng, step_bias=step_bias), 1.0)
    return budget(ensembles, solution(fine), errors, steps, domain=0.0, scale=1.0), list(
        balances(ensembles, steps, 1.0)
    )


def verdict(found, own=(), *, precision=0.05, cautions=(), failure=""):
    return judge(found, own, precision=precision, cautions=cautions, effort=EFFORT, failure=failure)


def test_weights_fit_exactly():
    counts, sizes = np.array([20.0, 40.0, 80.0]), np.array([200, 100, 7])
    assert fit_weights(counts, sizes, 1 / counts) @ (3 - 5 / counts) == pytest.approx([3.0, -5.0])
    assert fit_weights(counts[:1], sizes[:1], 1 / counts[:1]).tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize("replicas", [3, 8, 60])
def test_intervals_of_the_limit_cover(replicas):
    """95 % of the intervals hold the limit, of few replicas as well."""
    rng = np.random.default_rng(replicas)
    any_budget, covered = run(rng)[0], []
    for _ in range(400):
        found = extrapolate([ensemble(n, replicas, rng) for n in (64, 256, 1024)], 1.0)
        late = Extrapolated(*(getattr(found, part.name)[:, 1:] for part in dataclasses.fields(found)))
        half = interval(dataclasses.replace(any_budget, particles=late))
        covered.append(np.abs(found.value - TRUTH)[:, 1:] <= half)
    assert 0.92 < np.mean(covered) < 0.98


def test_means_that_are_not_like_a_plus_b_over_n_are_told():
    rng = np.random.default_rng(5)
    good = [ensemble(n, 50, rng) for n in (16, 64, 256, 1024)]
    assert extrapolate(good, 1.0).misfit.min() > 1e-4
    bad = [ensemble(n, 50, rng, b=8 * math.sqrt(n)) for n in (16, 64, 256, 1024)]
    assert extrapolate(bad, 1.0).misfit.max() < 1e-4
    assert extrapolate(good[:1], 1.0).bias == pytest.approx(np.full((2, 3), 4 / 16))


def test_a_second_order_term_is_bounded():
    """Strong charges, N = 20 and 40: a is 0.0048 off by what is not like 1 / N."""
    means = {20: 0.5127, 40: 0.4831}
    pair = [
        SimpleNamespace(count=n, replicas=np.arange(2), observables=np.array([[[mean]], [[mean]]]))
        for n, mean in means.items()
    ]
    found = extrapolate(pair, 1.0)
    assert found.value[0, 0] == pytest.approx(0.4535)
    assert abs(found.value[0, 0] - 0.4487) < found.bias[0, 0] < 0.01


@pytest.mark.parametrize("order", [2, 4])
def test_errors_of_mesh_and_step_are_told_apart(order):
    mesh, step = 3e-4, -2e-4
    fine = TRUTH + (TIMES > 0) * (mesh + step)
    found = companions(TRUTH, mesh=mesh, step=step, order=order)
    errors = solution_errors(fine, found, Orders(order, order), same_cells=False)
    assert errors.mesh[:, 1:] == pytest.approx(np.full((2, 2), 1.25 * abs(mesh)), rel=1e-6)
    assert errors.step[:, 1:] == pytest.approx(np.full((2, 2), 1.25 * abs(step)), rel=1e-6)
    assert errors.order == pytest.approx([order, order])
    assert errors.trusted.all()
    rows = list(error_rows(errors, 1e-3))
    assert rows[1]["total"] == pytest.approx(1.25 * (mesh - step) + 1e-3, rel=1e-6)
    only = solution_errors(fine, {COARSE: found[COARSE]}, Orders(order, order), same_cells=False)
    assert (only.mesh[:, 1:] >= abs(mesh + step)).all()
    nothing = solution_errors(fine, {}, Orders(), same_cells=False)
    assert np.isnan(nothing.mesh).all()


def test_cells_that_grow_by_less_than_two():
    """Those of the first companion are 1.5 times as large: its differences are smaller, the error is what it was."""
    mesh, step, late = 3e-4, -2e-4, TIMES > 0
    found = {level: TRUTH + late * (1.5**2 * mesh + step * level.steps**2) for level in (COARSE, LONG)}
    errors = solution_errors(TRUTH + late * (mesh + step), found, Orders(), same_cells=False, growth=1.5)
    assert errors.mesh[:, 1:] == pytest.approx(np.full((2, 2), SAFETY_OF_TWO * abs(mesh)), rel=1e-6)
    assert errors.step[:, 1:] == pytest.approx(np.full((2, 2), SAFETY_OF_TWO * abs(step)), rel=1e-6)


@pytest.mark.parametrize(
    ("space", "cells", "factor"),
    [
        ("mesh = { shape = 'disk', radius = 4.0, cell_size = 0.5 }", 1, 2.0),
        ("mesh = { shape = 'disk', radius = 4.0, cell_size = 0.5 }", 2, 1.0),
        ("mesh = { shape = 'disk', radius = 4.0, cell_size = 0.8 }", 1, 1.25),
        ("cells = [12, 32]", 1, 1.5),
        ("cells = [33, 64]", 1, 2.0),
        ("cells = [8, 6]", 1, 1.0),
    ],
)
def test_growth_of_cells(space, cells, factor):
    system = "vlasov" if "cells" in space else "signed"
    own = {
        "vlasov": "model.potential.kind = 'none'\nmodel.domain = { x = [0.0, 6.0], v = [-6.0, 6.0] }\n"
        "initial = { shape = 'landau', k = 1.0471975511965976, amplitude = 0.1 }",
        "signed": "model = { sigma = 1.0, gamma_bar = 0.4 }\n"
        "initial.positive = [{ shape = 'gaussian', mass = 1.0, center = [0.0, 0.0], width = 0.7 }]",
    }
    text = f"system = '{system}'\n{own[system]}\ntime.end = 0.1\npde = {{ {space}, step = 0.01 }}"
    case = cases.check(tomllib.loads(text))
    assert growth(case, cells) == pytest.approx(factor)


def test_a_solution_that_does_not_converge_is_not_trusted():
    fine = TRUTH + 0.02 * (TIMES > 0)
    levels = {
        COARSE: TRUTH + 0.05 * (TIMES > 0),
        LONG: TRUTH + 0.05 * (TIMES > 0),
        COARSEST: TRUTH + 0.04 * (TIMES > 0),
    }
    errors = solution_errors(fine, levels, Orders(), same_cells=False)
    assert not errors.trusted.any()
    rng = np.random.default_rng(1)
    ensembles = [ensemble(n, 40, rng) for n in (256, 4096)]
    steps = step_errors(ensembles[0], halved(ensembles[0], 6, rng, step_bias=0.0), 1.0)
    found = budget(ensembles, solution(fine), errors, steps, domain=0.0, scale=1.0)
    text = verdict(found)
    assert text.status == "undecided"
    assert "does not converge at its order yet" in text.causes[0]
    assert text.reductions == {"mesh": 2.0, "step": 2.0}


def test_the_bound_of_the_step_holds_the_error_of_the_step():
    rng = np.random.default_rng(2)
    whole = ensemble(256, 40, rng, step_bias=0.03)
    found = step_errors(whole, halved(whole, 10, rng, step_bias=0.03), 1.0)
    assert (found.observables >= 0.03).all()
    assert (found.observables < 0.05).all()
    same = SimpleNamespace(**{**vars(whole), "steps": 100.0})
    assert step_errors(whole, same, 1.0) is None  # steps that were not halved say nothing


def test_right_models_are_never_refuted():
    rng = np.random.default_rng(3)
    statuses = [
        verdict(*run(rng, replicas=replicas, step_bias=0.002)).status for replicas in (3, 12, 48) for _ in range(70)
    ]
    assert "refuted" not in statuses
    assert statuses[140:].count("confirmed") > 56  # of 70; 95 % are meant to be


def test_wrong_models_are_refuted_from_twice_the_detectable_difference_on():
    rng = np.random.default_rng(4)
    for replicas in (4, 24):
        smallest = float(np.max(detectable(run(rng, replicas=replicas)[0])))
        wrong = [verdict(*run(rng, replicas=replicas, shift=2 * smallest)).status for _ in range(50)]
        assert wrong.count("refuted") >= 25
        assert "confirmed" not in wrong


def test_power_of_the_detectable_difference_is_that_stated():
    """A difference of that size in one pair alone is refuted in about 80 % of the runs."""
    rng = np.random.default_rng(6)
    refuted = 0
    for _ in range(200):
        found, _ = run(rng, replicas=48, counts=(256, 1024), mesh=0.0, step=0.0)
        size = detectable(found)[0, 1]
        shifted = found.solution.copy()
        shifted[0, 1] -= size
        refuted += verdict(dataclasses.replace(found, solution=shifted)).status == "refuted"
    assert 0.65 < refuted / 200 < 0.95


@pytest.mark.parametrize(("value", "truth"), [(1.0, 1.0 + 4e-16), (0.0, 1e-5)], ids=["conserved", "seen by none"])
def test_replicas_that_do_not_differ_refute_no_right_model(value, truth):
    """Rounding of what is conserved, and what so few particles do that no replica has one of them."""
    rng = np.random.default_rng(21)
    ensembles = [ensemble(n, 24, rng) for n in (100, 400)]
    for one in ensembles:
        one.observables[:] = value
    errors = solution_errors(np.full((2, 3), truth), {}, Orders(), same_cells=False)
    errors = dataclasses.replace(errors, mesh=np.zeros((2, 3)), step=np.zeros((2, 3)), trusted=np.ones(2, dtype=bool))
    steps = step_errors(ensembles[0], halved(ensembles[0], 6, rng, step_bias=0.0), 1.0)
    steps = dataclasses.replace(steps, observables=np.zeros((2, 3)))
    found = budget(ensembles, solution(np.full((2, 3), truth)), errors, steps, domain=0.0, scale=1.0)
    assert verdict(found).status == "confirmed", verdict(found)
    far = dataclasses.replace(found, solution=found.solution + 0.05)
    assert verdict(far).status == "refuted", verdict(far)


def test_one_count_allows_for_an_unknown_bias():
    rng = np.random.default_rng(7)
    found, own = run(rng, counts=(64,), replicas=400)
    text = verdict(found, own, precision=0.02)
    assert text.status == "undecided"
    assert text.causes[0].startswith("finite N: 6.2 %")
    assert "a second N in particles.counts" in text.causes[0]
    assert next(iter(text.reductions)) == "finite N"


def test_causes_say_what_to_change_in_numbers():
    rng = np.random.default_rng(8)
    found, _ = run(rng, replicas=12, counts=(16, 64))
    text = verdict(found, precision=0.02)
    assert text.status == "undecided"
    assert text.causes[0].startswith("statistics: ")
    assert "particles.replicas = " in text.causes[0]
    coarse, _ = run(rng, replicas=400, mesh=0.05)
    text = verdict(coarse, precision=0.02)
    assert text.causes[0].startswith("mesh: ")
    assert "cells smaller by a factor" in text.causes[0]
    assert text.reductions["mesh"] > 2  # 6 % or so to less than 2 %
    assert verdict(coarse, precision=0.5).reductions == {}


def only_the_end(found):
    """The part of a budget for which there are predictions."""
    names = [part.name for part in dataclasses.fields(Extrapolated)]
    errors = dataclasses.replace(found.errors, mesh=found.errors.mesh[:, [0, 2]], step=found.errors.step[:, [0, 2]])
    return dataclasses.replace(
        found,
        times=found.times[1:],
        particles=Extrapolated(*(getattr(found.particles, name)[:, 1:] for name in names)),
        solution=found.solution[:, 1:],
        step_error=found.step_error[:, 1:],
        errors=errors,
    )


@pytest.mark.parametrize("seed", range(12, 16))
def test_advised_replicas_are_enough_and_not_many_more(seed):
    """Student's distribution makes errors of three replicas large: a predicted variance says how many it takes."""
    rng, precision, counts = np.random.default_rng(seed), 0.03, (256, 1024)
    effort = dataclasses.replace(EFFORT, counts=counts, replicas=3, variances=np.array([0.49, 0.49]))
    found = only_the_end(run(rng, replicas=3, counts=counts, mesh=0.0, step=0.0)[0])
    text = judge(found, (), precision=precision, cautions=(), effort=effort)
    assert text.causes[0].startswith("statistics: ")
    advised = text.replicas
    assert f"particles.replicas = {advised:,}" in text.causes[0]
    assert "or N = " not in text.causes[0]
    again = only_the_end(run(rng, replicas=advised, counts=counts, mesh=0.0, step=0.0)[0])
    assert 0.75 * precision < detectable(again).mean() < 1.25 * precision


def test_advised_replicas_are_more_than_there_were():
    """Where replicas happen to spread more than predicted, as many as there were have not been enough."""
    rng, counts = np.random.default_rng(20), (256, 1024)
    effort = dataclasses.replace(EFFORT, counts=counts, replicas=24, variances=np.array([0.01, 0.01]))
    found = only_the_end(run(rng, replicas=24, counts=counts, mesh=0.0, step=0.0)[0])
    text = judge(found, (), precision=0.9 * float(detectable(found).max()), cautions=(), effort=effort)
    assert text.causes[0].startswith("statistics: ")
    assert "(particles.replicas = 27" in text.causes[0]


def test_cautions_and_failures_keep_a_verdict_away():
    rng = np.random.default_rng(9)
    found, own = run(rng, shift=0.5)
    assert verdict(found, own).status == "refuted"
    caution = Caution("cell_peclet", 7.0, 1.0, "the cells are 7 times too long")
    text = verdict(found, own, cautions=[caution])
    assert (text.status, text.causes[0]) == ("undecided", caution.text)
    assert verdict(found, own, failure="it blew up").causes[0] == "it blew up"


def test_the_worst_of_cautions_of_one_name_counts():
    cautions = [Caution("a", 0.5, 1.0, ""), Caution("a", 3.0, 1.0, ""), Caution("b", math.nan, 1.0, "")]
    found = worst(cautions)
    assert [(c.name, c.exceeded) for c in found] == [("a", True), ("b", True)]


def test_particles_that_break_their_own_balance_are_refuted():
    rng = np.random.default_rng(10)
    found, own = run(rng, replicas=48)
    assert verdict(found, own).status == "confirmed"
    broken = Balance(N=64, test_function=1, mean=-0.1, stderr=0.01, bound=0.01, degrees=47.0)
    text = verdict(found, [*own, broken])
    assert text.status == "refuted"
    assert "9.0 standard errors" in text.sentence
    assert verdict(None, [broken]).status == "refuted"
    assert verdict(None, own, precision=0.2).status == "confirmed"
    assert verdict(None, own, precision=0.001).status == "undecided"


def test_limits_are_what_the_budget_says():
    found, _ = run(np.random.default_rng(11), replicas=48)
    rows = list(limit_rows(found, detectable(found), interval(found)))
    for p, row in enumerate(rows):
        assert row["low"] < row["particles"] < row["high"]
        assert row["particles"] == pytest.approx(TRUTH[p, -1], abs=0.02)
        assert row["solution"] == pytest.approx(TRUTH[p, -1], abs=2e-4)
        assert row["solution_error"] == pytest.approx(1.25 * 1.5e-4, rel=1e-3)
        assert row["detectable"] > row["high"] - row["particles"]
