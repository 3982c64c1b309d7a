"""A result as an object: tables, data sets and pictures of what a run has left; what importing leaves alone.

The load is carried by `test_tables_are_those_of_the_files`, `test_data_sets_are_those_of_their_time` and
`test_each_picture_goes_into_the_axes_it_is_given`.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from mpi4py import MPI
from processes import call

from limitpde import case as cases
from limitpde.errors import InputError, Interrupted, RunError
from limitpde.parallel import StopRequest
from limitpde.results import figures, movies, pictures
from limitpde.results.fields import read_fields
from limitpde.results.folder import Folder
from limitpde.results.particles import read_particles
from limitpde.results.tables import read_columns
from limitpde.results.vtkhdf import times
from limitpde.signed import Initial, Model, Solver, simulate
from limitpde.signed.pictures import PAINTERS

CASE = {
    "system": "signed",
    "model": {"sigma": 0.5, "gamma_bar": 0.1},
    "initial": {
        "positive": [{"shape": "gaussian", "mass": 0.5, "center": [-1.0, 0.3], "width": 0.45}],
        "negative": [{"shape": "gaussian", "mass": 0.5, "center": [1.0, -0.3], "width": 0.45}],
    },
    "time": {"end": 0.1},
    "pde": {"mesh": {"shape": "disk", "radius": 6.0, "cell_size": 0.25}, "step": 0.02},
    "particles": {"counts": [16, 32], "replicas": 6, "step": 0.02},
    "compare": {"test_functions": [{"shape": "gaussian", "center": [0.0, 0.0], "width": 1.0}]},
    "output": {"every": 0.05},
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return limitpde.run(cases.check(CASE), out=tmp_path_factory.mktemp("result") / "r", comm=MPI.COMM_SELF)


def test_a_run_returns_the_result_that_can_be_read_back(result):
    assert isinstance(result, limitpde.Result)
    again = limitpde.Result(str(result.directory))
    assert again == result == result.summary == figures.read(result.directory / "summary.json")
    assert again.case.model == cases.check(CASE).model
    assert again.verdict["status"] == result["verdict"]["status"]
    assert sum(again.verdict["parts"].values()) == pytest.approx(again.verdict["detectable"])
    with pytest.raises(InputError, match="not the folder of a result"):
        limitpde.Result(result.directory / "pde")


def test_tables_are_those_of_the_files(result):
    folder = result.directory
    tables = {
        "compare/residuals.csv": result.residuals,
        "compare/rates.csv": result.rates,
        "particles/N32/observables.csv": result.observables(32),
        "pde/diagnostics.csv": result.diagnostics,
    }
    for name, frame in tables.items():
        columns = read_columns(folder / name)
        assert list(frame.columns) == list(columns)
        for column, values in columns.items():
            if values.dtype.kind == "f":
                np.testing.assert_array_equal(frame[column].to_numpy(dtype=float, na_value=np.nan), values)
            else:
                assert frame[column].tolist() == values.tolist()
    mine = result.residuals
    assert mine["N"].dtype == "Int64"
    assert mine["test_function"].dtype == "int64"
    assert len(mine[mine["system"] == "particles"]) == 2 * 6 * 3
    with pytest.raises(InputError, match=r"N7.observables\.csv"):
        result.observables(7)


def test_data_sets_are_those_of_their_time(result):
    first, last = result.fields(0.0), result.fields()
    for step, data in ((0, first), (-1, last)):
        points, cells, values, _ = read_fields(result.directory / "pde/fields.vtkhdf", step)
        np.testing.assert_array_equal(data.points, points)
        assert data.n_cells == len(cells)
        np.testing.assert_array_equal(data["rho_positive"], values["rho_positive"])
    assert not np.array_equal(first["rho_positive"], last["rho_positive"])
    positions, values, _ = read_particles(result.directory / "particles/N16/particles.vtkhdf", 1)
    middle = result.particles(16, 0.05)
    np.testing.assert_array_equal(middle.points, positions)
    np.testing.assert_array_equal(middle["sign"], values["sign"])
    with pytest.raises(InputError, match=r"t = 0\.07: its times are 0, 0\.05, 0\.1"):
        result.fields(0.07)


def test_each_picture_goes_into_the_axes_it_is_given(result):
    drawn = {path.stem for path in (result.directory / "pictures").glob("*.png")}
    assert drawn <= set(dir(result.plot))
    assert "residual_rate" in drawn
    for name in drawn:
        figure = Figure(figsize=(12, 8))
        left, right = figure.subplots(1, 2)
        assert getattr(result.plot, name)(left) is figure
        inside = left.get_subplotspec().get_position(figure)
        mine = [axis for axis in figure.axes if axis not in (left, right) and axis.get_label() != "<colorbar>"]
        assert all(inside.x0 - 1e-9 <= axis.get_position().x0 < inside.x1 for axis in mine)
        assert left.has_data() or any(axis.has_data() for axis in mine)
        assert not right.has_data()
    axes = Figure().subplots(1, 2)
    with pytest.raises(InputError, match="2 axes: the picture has 2 x 3 panels"):
        result.plot.fields(axes)
    with pytest.raises(InputError, match="nothing to draw for mesh"):
        result.plot.mesh(Figure().subplots())
    with pytest.raises(AttributeError, match="no picture 'residual_rat'; there are"):
        result.plot.residual_rat  # noqa: B018


def test_a_figure_of_its_own_is_shown_once(result):
    """By the notebook, as the value of a cell; pyplot, which would show it as well, does not know it."""
    from matplotlib import pyplot

    before = pyplot.get_fignums()  # of other tests
    figure = result.plot.residual_rate()
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert pyplot.get_fignums() == before


def test_the_headline_shows_the_fitted_slope(result):
    axis = Figure().subplots()
    result.plot.residual_rate(axis)
    rate = next(rate for rate in result["compare"]["rates"] if rate["quantity"] == "residual_mean_abs")
    label = axis.get_legend().get_texts()[0].get_text()
    assert f"{rate['slope']:.2f}" in label
    assert f"${rate['low']:.2f}$ to ${rate['high']:.2f}$" in label
    dots = axis.containers[0].lines[0].get_xydata()
    entries = {entry["N"]: entry["mean_abs"] for entry in result["compare"]["residual"]}
    assert {int(n): size for n, size in dots} == pytest.approx(entries)
    samples = result.residuals.query("system == 'particles' and N == 16 and t == t.max()")["residual"].abs()
    low, high = axis.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (high - low) / 4 == pytest.approx(samples.std() / np.sqrt(len(samples)), rel=1e-9)


def test_what_a_notebook_shows_is_short(result):
    page = result._repr_html_()
    assert result.verdict["sentence"].split(".")[0].replace("<", "&lt;") in page
    assert len(page) < 4000
    assert repr(result).startswith(f"Result({str(result.directory)!r}): signed, done. ")
    model = Model(sigma=1.0, gamma_bar=0.4)
    initial = Initial(positive=[{"mass": 1.0, "width": 0.6, "center": (0.0, 0.0)}])
    found = simulate(model, initial, count=8, replicas=3, step=0.05, end=0.1)
    assert repr(found) == "Ensemble(N = 8, 3 replicas, 2 times to t = 0.1, 2 steps)"
    solver = Solver(model, initial, mesh=result.case.pde.mesh, step=0.1)
    assert repr(solver) == f"limitpde.signed.pde.Solver(t = 0, {solver.dofs:,} unknowns)"


def test_what_is_not_there_is_told_with_what_is(result):
    for read, told in (
        (lambda: result.particles(3), "no such file; there are N16, N32"),
        (lambda: result.observables(3), "no such file; there are N16, N32"),
        (lambda: result.fields(file="moments"), "no such file; there are fields.vtkhdf"),
        (lambda: result.plot.invariants(3), "ax = 3: must be axes of matplotlib"),
    ):
        with pytest.raises(InputError, match=told):
            read()
    assert dir(limitpde) == ["Result", "__version__", "run", "study"]
    assert str(result).startswith(repr(result).split(". ")[0])


def test_a_case_may_be_a_dictionary():
    numbers = {"model.sigma": np.float64(0.6), "particles.counts": np.array([4, 8])}
    case = cases.of(CASE, numbers)
    assert (case.model.sigma, case.particles.counts, CASE["model"]["sigma"]) == (0.6, (4, 8), 0.5)
    assert cases.of(case, "pde.step=0.05").pde.step == 0.05
    assert cases.of(case) is case
    for wrong, told in (
        ((3, ()), "case = 3: must be the path of a case file, a dictionary like one, or a case"),
        ((CASE, {"pde.stp": 1}), "case: pde.stp: unknown key; did you mean step"),
        ((CASE, {"pde.step": object()}), "objects of type object have no place in a case"),
    ):
        with pytest.raises(InputError, match=told):
            cases.of(*wrong)
    with pytest.raises(InputError, match=r"over: model.sigma = 0.5: must be a list of values"):
        limitpde.study(CASE, over={"model.sigma": 0.5})
    with pytest.raises(InputError, match=r"over = \['model.sigma'\]: must be a dictionary"):
        limitpde.study(CASE, over=["model.sigma"])


def test_a_run_that_is_stopped_or_fails_raises_with_what_it_has(tmp_path, monkeypatch):
    case = {key: value for key, value in CASE.items() if key != "pde"}
    wild = case | {"model": {"sigma": 1.3e154, "gamma_bar": 0.0}}
    with pytest.raises(RunError, match="what was computed is in") as failure:
        limitpde.run(cases.check(wild), out=tmp_path / "wild", comm=MPI.COMM_SELF)
    assert failure.value.result["status"] == "failed"
    assert limitpde.run(cases.check(wild), out=tmp_path / "wild", comm=MPI.COMM_SELF, check=False)["reason"]

    def check(self, comm):
        raise Interrupted("stopped by the test")

    monkeypatch.setattr(StopRequest, "check", check)
    with pytest.raises(Interrupted, match="stopped by the test") as stop:
        limitpde.run(cases.check(case), out=tmp_path / "stopped", comm=MPI.COMM_SELF)
    assert stop.value.result["status"] == "interrupted"
    assert stop.value.result.observables(16)["t"].iloc[-1] == 0.1


QUIET = """
import os, signal, matplotlib
from mpi4py import MPI
matplotlib.use("svg")
def state():
    return (matplotlib.get_backend(), dict(matplotlib.rcParams), dict(os.environ),
            [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)])
before = state()
{imports}
import limitpde
limitpde.run, limitpde.study, limitpde.Result
import limitpde.signed, limitpde.coagulation, limitpde.vlasov
assert state() == before, [one == other for one, other in zip(state(), before)]
import h5py
with h5py.File("a.h5", "w") as file:
    file["x"] = [1.0, 2.0]
with h5py.File("a.h5") as file:
    assert file["x"][1] == 2.0
"""


@pytest.mark.parametrize(
    "imports", ["", "import dolfinx.fem.petsc", "import pyvista, dolfinx.fem.petsc, petsc4py.PETSc"]
)
def test_importing_changes_nothing_and_may_come_late(tmp_path, imports):
    environment = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = QUIET.replace("{imports}", imports)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


# --- files of pictures, styles, movies --------------------------------------------------------------------------------


@pytest.fixture
def folder(result, tmp_path):
    shutil.copytree(result.directory, tmp_path / "r")
    return tmp_path / "r"


def test_a_style_of_the_user_replaces_that_of_the_package(folder, tmp_path, capsys):
    style = tmp_path / "mine.mplstyle"
    style.write_text("savefig.dpi: 40\n")
    painters, sizes = {"residual_rate": pictures.PAINTERS["residual_rate"]}, []
    for own in (None, str(style)):
        assert pictures.draw_all(Folder(folder), painters, own_style=own, pdf=own is not None)[1] == []
        sizes.append(imread(folder / "pictures" / "residual_rate.png").shape[:2])
    np.testing.assert_allclose(sizes[0], 5 * np.array(sizes[1]), rtol=0.01)
    assert (folder / "pictures" / "residual_rate.pdf").read_bytes().startswith(b"%PDF")
    status, _, message = call(capsys, "show", folder, "--style", "nosuch")
    assert status == 2
    assert "style 'nosuch'" in message


def test_movies_need_ffmpeg_and_hold_a_frame_for_each_output_time(folder, capsys, monkeypatch):
    with monkeypatch.context() as without:
        without.setattr(shutil, "which", lambda name: None)
        without.setitem(sys.modules, "imageio_ffmpeg", None)
        status, _, message = call(capsys, "show", folder, "--movie")
        assert status == 2
        assert message == "limitpde: a movie needs ffmpeg: install it, or `pip install limitpde[movie]`\n"
    try:
        program = movies.ffmpeg()
    except InputError:
        pytest.skip("no ffmpeg on this machine")
    assert movies.write(Folder(folder), PAINTERS) == [folder / "pictures" / "fields.mp4"]
    command = [program, "-i", str(folder / "pictures" / "fields.mp4"), "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert re.findall(r"frame= *(\d+)", told)[-1] == str(len(times(folder / "pde" / "fields.vtkhdf")))
