"""Compositions of drifts and kicks: consistent, symmetric, of their order, and the same when their ends are merged."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import numpy as np
import pytest

from limitpde.errors import InputError
from limitpde.vlasov.splitting import ORDERS, composition, merged


def pendulum(stages, step, angle, speed):
    for kind, share in stages:
        if kind == "drift":
            angle += share * step * speed
        else:
            speed -= share * step * np.sin(angle)
    return angle, speed


@pytest.mark.parametrize("order", ORDERS)
def test_shares_add_to_one_and_are_symmetric(order):
    stages = composition(order)
    for kind in ("drift", "kick"):
        assert sum(share for name, share in stages if name == kind) == pytest.approx(1.0, abs=1e-15)
    assert stages == stages[::-1]


@pytest.mark.parametrize("order", ORDERS)
def test_order(order):
    from scipy.integrate import solve_ivp

    def law(t, y):
        return [y[1], -np.sin(y[0])]

    exact = solve_ivp(law, [0, 5], [1.5, 0.3], method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
    errors = []
    for steps in (40, 80):
        state = 1.5, 0.3
        for _ in range(steps):
            state = pendulum(composition(order), 5 / steps, *state)
        errors.append(np.abs(np.array(state) - exact).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("order", ORDERS)
def test_merged_steps_are_the_same_steps(order):
    apart, together = (1.5, 0.3), (1.5, 0.3)
    for _ in range(7):
        apart = pendulum(composition(order), 0.2, *apart)
    steps = merged(order, 7)
    assert len(steps) == 7
    assert sum(map(len, steps)) == 7 * (len(composition(order)) - 1) + 1
    for stages in steps:
        together = pendulum(stages, 0.2, *together)
    assert together == pytest.approx(apart, rel=1e-13)


def test_other_orders_are_refused():
    with pytest.raises(InputError, match="order = 3"):
        composition(3)
