"""Phase space in blocks over the ranks: the same numbers as on one rank, sums, and whole arrays out of blocks.

Every comparison is with a space on this rank alone, or with numpy on all nodes. On three ranks the cases have process
grids over x and over v, blocks of one cell, and ranks that own nothing.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import math

import numpy as np
import pytest
from mpi4py import MPI
from phase_spaces import SMALL, everywhere, force_at, given, mass, noise, space

from limitpde.errors import InputError
from limitpde.vlasov import pde
from limitpde.vlasov.phase_space import Axis, TensorSpace, halo, tensor
from limitpde.vlasov.phase_space.grid import ProcessGrid, parts_of
from limitpde.vlasov.phase_space.halo import needed
from limitpde.vlasov.phase_space.lines import drift_lines, kick_lines
from limitpde.vlasov.phase_space.translation import moves
from limitpde.vlasov.splitting import merged

THREE = {
    (9, 5): (3, 1),
    (2, 7): (1, 3),
    (1, 4): (1, 3),
    (1, 2): (1, 3),
    (1, 1): (3, 1),
    (3, 2, 2, 2): (3, 1, 1, 1),
    (2, 1, 4, 3): (1, 1, 1, 3),
    (1, 2, 3, 2): (1, 1, 3, 1),
    (2, 2, 1, 1, 1, 3): (1, 1, 1, 1, 1, 3),
    (1, 1, 3, 2, 1, 2): (1, 1, 3, 1, 1, 1),
}
"""Cells, and the parts of each axis on three ranks."""


@pytest.mark.parametrize(("cells", "parts"), THREE.items())
def test_the_grid_of_three_ranks(cells, parts):
    assert parts_of(cells, 3, len(cells) // 2) == parts


@pytest.mark.parametrize(("ranks", "parts"), [(2, (2, 1, 1, 1)), (8, (4, 2, 1, 1)), (32, (8, 4, 1, 1))])
def test_of_equal_axes_the_first_is_cut_more(ranks, parts):
    """What goes to other ranks lies in longer pieces there."""
    assert parts_of((16,) * 4, ranks, 2) == parts


@pytest.mark.parametrize("ranks", [1, 2, 4, 6, 7, 12])
@pytest.mark.parametrize("cells", [(7, 5), (2, 3, 4, 1)])
def test_blocks_cover_every_node_once(ranks, cells):
    parts = parts_of(cells, ranks, len(cells) // 2)
    assert math.prod(parts) == ranks
    axes = [Axis(low=0.0, high=1.0, cells=n, degree=1, periodic=False) for n in cells]
    grid = ProcessGrid(axes, len(cells) // 2, MPI.COMM_SELF, (1,) * len(cells))
    grid.parts = parts
    grid.ends = [np.arange(p + 1) * n // p for n, p in zip(cells, parts, strict=True)]
    owners = np.zeros([axis.n for axis in axes], dtype=int)
    for rank in range(ranks):
        owners[grid.nodes(rank)] += 1
    np.testing.assert_array_equal(owners, 1)


def counted(cells, degree, parts, rank, length, speed, dt):
    """Own volumes that a rank receives in drifts along x of a step of order 4, by what `halo` asks of others."""
    d, P = len(cells) // 2, degree + 1
    place = np.unravel_index(rank, parts)
    ends = [np.arange(p + 1) * n // p for n, p in zip(cells, parts, strict=True)]
    total = 0.0
    for share in [share for kind, share in merged(4, 3)[1] if kind == "drift"]:
        for j in (j for j in range(d) if parts[j] > 1):
            x = Axis(low=0.0, high=length, cells=cells[j], degree=degree, periodic=True)
            v = Axis(low=-speed, high=speed, cells=cells[d + j], degree=degree, periodic=False)
            first, end, k = ends[d + j][place[d + j]], ends[d + j][place[d + j] + 1], place[j]
            moved = moves(x, v.nodes[first * P : end * P] * share * dt)
            found, there = needed(moved.cells, moved.forward, int(ends[j][k]), int(ends[j][k + 1]), x)
            away = there & ((found < ends[j][k]) | (found >= ends[j][k + 1]))
            total += away.sum() / len(moved.cells) / (ends[j][k + 1] - ends[j][k])
    return total


@pytest.mark.parametrize(
    ("cells", "degree", "ranks", "least", "most"),
    [((64,) * 4, 3, 1024, 7.0, 2.0), ((32,) * 6, 2, 4096, 4.0, 2.5), ((128, 256), 3, 128, 9.0, 1.5)],
)
def test_many_ranks_cut_velocities_too_and_receive_less(cells, degree, ranks, least, most):
    """Least: with parts of x alone, or of as many as go there; both by the halo that ranks ask for."""
    d, (length, speed, dt) = len(cells) // 2, (12.566, 6.0, 0.1)
    x = [Axis(low=0.0, high=length, cells=n, degree=degree, periodic=True) for n in cells[:d]]
    v = [Axis(low=-speed, high=speed, cells=n, degree=degree, periodic=False) for n in cells[d:]]
    parts = parts_of(cells, ranks, d, pde.cells_moved(x, v, dt, 4))
    share = round(ranks ** (1 / d))
    in_x = (share,) * d + (1,) * d
    worst = [
        max(counted(cells, degree, some, rank, length, speed, dt) for rank in (0, ranks // 2, ranks - 1))
        for some in (in_x, parts)
    ]
    assert math.prod(-(-n // p) for n, p in zip(cells, parts, strict=True)) * ranks == math.prod(cells)
    assert worst[0] > least
    assert worst[1] < most


@pytest.mark.ranks
def test_parts_may_be_asked_for(comm):
    parts = (1, comm.size)
    here, alone = (space((3, 7), 2, ranks, parts=p) for ranks, p in ((comm, parts), (MPI.COMM_SELF, (1, 1))))
    assert here.grid.parts == parts
    assert here.grid.balance == pytest.approx(7 / comm.size / -(-7 // comm.size))
    values = noise(alone)
    for found, expected in zip(run(here, values, 0.3), run(alone, values, 0.3), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13 * max(1.0, np.abs(expected).max()))
    for wrong, says in [
        ((comm.size + 1, 1), "ranks|cells"),
        ((1,), "2 numbers"),
        ((0, 1), "2 numbers"),
        ((1, 8), "cells"),
    ]:
        with pytest.raises(InputError, match=rf"^pde\.parts = \[.*\]: .*({says})"):
            space((3, 7), 2, comm, parts=wrong)


def run(here, values, dt):
    """Drifts and kicks; f, what has left, and figures."""
    f, lost = given(here, values), 0.0
    for n, part in enumerate((dt, -0.6 * dt)):
        f, gone = here.drift(f, part)
        lost += gone
        f, gone = here.kick(f, force_at(here.x_points + n), 0.4 * part)
        lost += gone
    factors = [np.stack([np.ones_like(v), v, v * v]) for v in here.v_nodes]
    moments = here.gather_x(here.velocity_integrals(f[0], factors))
    figures = [mass(here, f), here.square_integral(f[0]), here.minimum(f[0]), here.comm.allreduce(lost)]
    return [everywhere(here, part) for part in f], moments, np.array(figures)


@pytest.mark.ranks
@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(("dt", "components"), [(0.06, 2), (-1.7, 1), (35.0, 1)])
@pytest.mark.parametrize("cells", THREE)
def test_ranks_do_not_matter(cells, dt, periodic, components, comm):
    degree = {2: 3, 4: 1, 6: 1}[len(cells)]
    options = {"periodic": periodic, "positivity": components == 1}
    here, alone = (space(cells, degree, ranks, **options) for ranks in (comm, MPI.COMM_SELF))
    if comm.size == 3:
        assert here.grid.parts == THREE[cells]
    values = np.abs(noise(alone, components)) if components == 1 else noise(alone, components)
    for found, expected in zip(run(here, values, dt), run(alone, values, dt), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13 * max(1.0, np.abs(expected).max()))
    assert here.dofs == alone.dofs
    if cells == (1, 1):
        assert comm.allreduce(int(math.prod(here.shape) == 0)) == comm.size - 1


@pytest.mark.ranks
@pytest.mark.parametrize("dt", [0.06, -1.7])
@pytest.mark.parametrize("cells", THREE)
def test_messages_may_be_short(cells, dt, comm, monkeypatch):
    degree = {2: 3, 4: 1, 6: 1}[len(cells)]
    here = space(cells, degree, comm)
    values = noise(here)
    expected = run(here, values, dt)
    monkeypatch.setattr(halo, "PIECE", 5)
    for found, whole in zip(run(here, values, dt), expected, strict=True):
        np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("axis", range(4))
def test_pieces_are_all_the_lines(axis):
    """Each number of the array belongs to one line of one piece."""
    shape, P = (4, 6, 2, 8), 2
    turns = np.linspace(-0.7, 0.9, shape[axis + 2] if axis < 2 else shape[0] * shape[1])
    x = Axis(low=0.0, high=1.0, cells=shape[axis] // P, degree=P - 1, periodic=axis < 2)
    moved = moves(x, turns)
    lines = drift_lines(shape, axis, P, moved, 128) if axis < 2 else kick_lines(shape, axis - 2, P, moved)
    for count in (1, 2, 3, 100):
        pieces, seen = lines.pieces(count), np.zeros(math.prod(shape), dtype=int)
        assert 1 <= len(pieces) <= count
        assert count == 1 or len(pieces) > 1
        for piece in pieces:
            outer, outer_stride, cells, stride, mid, mid_stride = piece.layout
            for base, width in zip(piece.base, piece.width, strict=True):
                o, c, m, k = np.ix_(range(outer), range(cells * P), range(mid), range(width))
                np.add.at(seen, (base + o * outer_stride + c * stride + m * mid_stride + k).ravel(), 1)
        np.testing.assert_array_equal(seen, 1)


@pytest.mark.ranks
@pytest.mark.parametrize("d", SMALL)
def test_sums_over_velocities_and_positions(d, comm):
    here = space(SMALL[d], 2 if d < 3 else 1, comm)
    values = noise(here)
    f, rng = given(here, values)[0], np.random.default_rng(8)
    tables = [rng.normal(size=(3, axis.n)) for axis in here.v_axes]
    places = [np.searchsorted(axis.nodes, nodes) for axis, nodes in zip(here.v_axes, here.v_nodes, strict=True)]
    found = here.velocity_integrals(f, [table[:, at] for table, at in zip(tables, places, strict=True)])
    letters = "abc"[:d]
    weighted = [table * axis.weights for table, axis in zip(tables, here.v_axes, strict=True)]
    rule = f"...{letters},{','.join('q' + letter for letter in letters)}->q..."
    expected = np.einsum(rule, values[0], *weighted)
    np.testing.assert_allclose(here.gather_x(found), expected, rtol=0, atol=1e-13 * np.abs(expected).max())
    np.testing.assert_array_equal(here.gather_x(found)[(..., *here.place[: here.d])], found)
    x_weights, all_weights = (
        np.prod(np.meshgrid(*(axis.weights for axis in axes), indexing="ij"), axis=0)
        for axes in (here.x_axes, (*here.x_axes, *here.v_axes))
    )
    totals = (expected * x_weights).reshape(3, -1).sum(axis=1)
    np.testing.assert_allclose(here.integrate_x(found), totals, rtol=0, atol=1e-12 * np.abs(totals).max())
    assert here.square_integral(f) == pytest.approx((values[0] ** 2 * all_weights).sum(), rel=1e-13)
    assert here.minimum(f) == values.min()


@pytest.mark.ranks
def test_values_come_in_blocks_of_any_size(comm, monkeypatch):
    def both(z):
        return np.stack([z @ np.arange(1.0, 5.0), np.cos(z).prod(axis=1)])

    here = space((3, 2, 2, 3), 2, comm)
    f, again = here.array(2), here.array(2)
    here.fill(f, both)
    nodes = np.meshgrid(*(axis.nodes for axis in (*here.x_axes, *here.v_axes)), indexing="ij")
    expected = both(np.stack(nodes, axis=-1).reshape(-1, 4)).reshape(2, *nodes[0].shape)
    for part, whole in zip(f, expected, strict=True):
        np.testing.assert_allclose(everywhere(here, part), whole, rtol=0, atol=1e-14 * np.abs(whole).max())
    monkeypatch.setattr(tensor, "BLOCK", 7)
    here.fill(again, both)
    np.testing.assert_allclose(again, f, rtol=0, atol=1e-14 * 40)


@pytest.mark.ranks
def test_gather_puts_together_what_each_rank_has(comm):
    here = space((3, 2, 1, 4), 2, comm)
    values = noise(here)[0]
    np.testing.assert_array_equal(everywhere(here, values[here.place]), values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"high": 0.0}, "larger"),
        ({"low": math.nan}, "finite"),
        ({"high": math.inf}, "finite"),
        ({"cells": 0}, "at least 1"),
        ({"degree": 0}, "between 1 and 5"),
        ({"degree": 6}, "between 1 and 5"),
    ],
)
def test_an_axis_is_checked(change, message):
    with pytest.raises(InputError, match=message):
        Axis(**{"low": 0.0, "high": 1.0, "cells": 2, "degree": 1, "periodic": True} | change)


@pytest.mark.ranks
def test_the_axes_must_fit_together(comm):
    torus = Axis(low=0.0, high=1.0, cells=2, degree=1, periodic=True)
    line = Axis(low=0.0, high=1.0, cells=2, degree=1, periodic=False)
    finer = Axis(low=0.0, high=1.0, cells=2, degree=2, periodic=False)
    for x_axes, v_axes, message in (
        ([torus], [torus], "velocities have ends"),
        ([torus], [line, line], "as many of v"),
        ([], [], "1 to 3"),
        ([torus] * 4, [line] * 4, "1 to 3"),
        ([torus], [finer], "the same for all axes"),
    ):
        with pytest.raises(InputError, match=message):
            TensorSpace(x_axes, v_axes, comm=comm)
