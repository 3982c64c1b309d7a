"""The command as a user meets it: exit status, messages, files, the same on any number of ranks, interrupts, kills.

The load is carried by `test_summary_keeps_the_contract`, `test_ranks_do_not_matter` (files of 1, 2 and 3 ranks),
`test_a_wrong_case_ends_every_rank` (nothing hangs, one message, no traceback) and the interrupts and kills, after which
whatever was computed must be readable. Each process has a time limit, so that a hang is a failure.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import csv
import json
import math
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import meshio
import numpy as np
import pytest
from mpi4py import MPI
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline
from vtkmodules.vtkIOHDF import vtkHDFReader

from limitpde import case as cases
from limitpde import cli
from limitpde.fem.mesh import Disk, build
from limitpde.results.tables import read_columns

pytestmark = pytest.mark.serial

COMMANDS = Path(sys.executable).parent
LIMIT = 45
CASE = """
system = "signed"
seed = 3
[model]
sigma = 0.5
gamma_bar = 0.4
[initial]
positive = [{ shape = "gaussian", mass = 0.5, center = [-0.8, 0.0], width = 0.6 }]
negative = [{ shape = "gaussian", mass = 0.5, center = [0.8, 0.0], width = 0.6 }]
[time]
end = 0.1
[pde]
mesh = { shape = "disk", radius = 4.0, cell_size = 0.5 }
step = 0.02
[particles]
counts = [4, 8]
replicas = 5
step = 0.02
[compare]
test_functions = [
  { shape = "gaussian", center = [0.0, 0.0], width = 1.0 },
  { shape = "wave", k = [1.0, 0.5], phase = 0.3, charge = true },
]
[output]
every = 0.05
"""
DENSITIES = """
import numpy as np
from mpi4py import MPI


def good(x):
    return np.exp(-(x**2).sum(axis=1))


def negative_beyond(x):
    return np.where(x[:, 0] > 2.0, -1.0, good(x))


def fails_on_rank_1(x):
    if MPI.COMM_WORLD.rank == 1:
        raise RuntimeError("rank 1 only")
    return good(x)


def leaves(x):
    raise SystemExit(0)
"""
PYTHON = 'initial.positive=[{{ python = "densities.py:{}", mass = 0.5, radius = 1.5 }}]'
FILES = {
    "case.toml",
    "compare/rates.csv",
    "compare/residuals.csv",
    "particles/N4/observables.csv",
    "particles/N4/particles.vtkhdf",
    "particles/N8/observables.csv",
    "particles/N8/particles.vtkhdf",
    "pde/diagnostics.csv",
    "pde/fields.vtkhdf",
    "report.md",
    "summary.json",
}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with a case, a file of densities, a mesh, and files that are something else."""
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "case.toml").write_text(CASE)
    (folder / "densities.py").write_text(DENSITIES)
    (folder / "junk.msh").write_text("this is no mesh\n")
    (folder / "empty.npz").write_bytes(b"")
    (folder / "file").write_text("")
    disk = build(Disk(radius=4.0, cell_size=1.0), MPI.COMM_SELF)
    points, cells = disk.geometry.x, disk.geometry.dofmaps[0]
    meshio.gmsh.write(folder / "disk.msh", meshio.Mesh(points, tagged(cells)), fmt_version="2.2", binary=False)
    moved = points.copy()
    moved[np.hypot(points[:, 0], points[:, 1]) < 0.5, :2] += [0.9, 0.0]
    meshio.gmsh.write(folder / "flat.msh", meshio.Mesh(moved, tagged(cells)), fmt_version="2.2", binary=False)
    return folder


def tagged(cells):
    return [("triangle", np.asarray(cells))]


def command(*arguments, ranks=1):
    mpiexec = [COMMANDS / "mpiexec", "-n", ranks] if ranks > 1 else []
    return [str(part) for part in (*mpiexec, COMMANDS / "limitpde", *arguments)]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def limitpde_(*arguments, ranks=1, cwd, status=0):
    """Run the command to its end: (stdout, stderr)."""
    with subprocess.Popen(
        command(*arguments, ranks=ranks),
        cwd=cwd,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            end(process)
            pytest.fail(f"{arguments} on {ranks} ranks hangs")
    assert process.returncode == status, (process.returncode, out, err)
    assert "Traceback" not in err
    return out, err


def end(process):
    """SIGTERM lets mpiexec take its ranks with it."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def summary_of(folder):
    def refuse(constant):
        raise ValueError(f"{constant} in {folder}")

    found = json.loads((folder / "summary.json").read_text(), parse_constant=refuse)
    no_null(found)
    return found


def no_null(value, path=""):
    assert value is not None, path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            no_null(item, f"{path}.{key}")


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def steps_of(path):
    """(times, points of the last step, names of its arrays), as VTK reads them."""
    reader = vtkHDFReader()
    reader.SetFileName(str(path))
    reader.UpdateInformation()
    times = reader.GetOutputInformation(0).Get(vtkStreamingDemandDrivenPipeline.TIME_STEPS()) or ()
    reader.UpdateTimeStep(times[-1]) if times else reader.Update()
    data = reader.GetOutputDataObject(0)
    arrays = data.GetPointData()
    return times, data.GetNumberOfPoints(), {arrays.GetArrayName(i) for i in range(arrays.GetNumberOfArrays())}


# --- a run to its end ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(workshop):
    """The folders of the same case on 1, 2 and 3 ranks, and what was printed."""
    printed = {}
    for ranks in (1, 2, 3):
        printed[ranks] = limitpde_("run", "case.toml", "--out", f"on{ranks}", ranks=ranks, cwd=workshop)
    return {ranks: (workshop / f"on{ranks}", *printed[ranks]) for ranks in printed}


def test_a_run_leaves_its_files_and_prints_one_line(results):
    for folder, out, err in results.values():
        assert out == f"{folder.name}/report.md\n"
        assert err == ""
        found = files_below(folder)
        pictures = {name for name in found if name.startswith("pictures/")}
        assert found - pictures == FILES
        assert len(pictures) >= 4
        assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
        report = (folder / "report.md").read_text()
        assert all(f"]({name})" in report for name in pictures)


def number(value):
    return isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)


def count(value):
    return isinstance(value, int) and value > 0


MOMENT = {"mean": number, "stderr": number}
MASS = {"start": number, "end": number, "max_relative_drift": number}
CONTRACT = {
    "status": lambda value: value == "done",
    "versions": {"limitpde": str, "dolfinx": str, "petsc": str, "numpy": str},
    "ranks": count,
    "threads": count,
    "wall_seconds": dict.fromkeys(("pde", "particles", "compare", "output"), number),
    "performance": {"pair_interactions_per_second": {"4": number, "8": number}, "pde_dof_steps_per_second": number},
    "pde": {
        "dofs": count,
        "steps": count,
        "mass": {"positive": MASS, "negative": MASS},
        "minimum": number,
        "second_moment": {"start": number, "end": number},
        "centre": {"start": [number, number], "end": [number, number]},
        "free_energy": {"start": number, "end": number, "largest_increase": number},
    },
    "particles": [
        {"N": count, "replicas": count, "steps": count, "second_moment": {"start": MOMENT, "end": MOMENT}},
    ]
    * 2,
    "compare": {
        "residual": [
            {"N": count, "mean": number, "mean_abs": number, "variance": number, "stderr": number}
            | {"test_function": number, "theory_variance": number}
        ]
        * 4,
        "pde_residual": [{"test_function": number}] * 2,
        "rates": [{"quantity": str, "slope": number, "low": number, "high": number, "theory": number}] * 4,
        "observables": [
            {"N": count, "test_function": number, "t": number, "mean": number, "stderr": number, "pde": number}
        ]
        * 12,
    },
}


def keeps(value, contract, path="summary"):
    if isinstance(contract, dict):
        for key, inner in contract.items():
            assert key in value, f"{path}.{key} is absent"
            keeps(value[key], inner, f"{path}.{key}")
    elif isinstance(contract, list):
        assert len(value) == len(contract), path
        for index, (item, inner) in enumerate(zip(value, contract, strict=True)):
            keeps(item, inner, f"{path}[{index}]")
    else:
        good = isinstance(value, contract) if isinstance(contract, type) else contract(value)
        assert good, f"{path} = {value!r}"


def test_summary_keeps_the_contract(results):
    for ranks, (folder, _, _) in results.items():
        summary = summary_of(folder)
        keeps(summary, CONTRACT)
        assert "reason" not in summary
        assert summary["ranks"] == ranks
        assert [entry["N"] for entry in summary["particles"]] == [4, 8]
        assert all(entry["replicas"] == 5 for entry in summary["particles"])
        assert {rate["theory"] for rate in summary["compare"]["rates"]} == {-0.5}
        pairs = {(entry["N"], entry["test_function"]) for entry in summary["compare"]["residual"]}
        assert pairs == {(n, p) for n in (4, 8) for p in (0, 1)}


def test_figures_are_what_they_say(results):
    folder = results[1][0]
    summary = summary_of(folder)
    pde, table = summary["pde"], read_columns(folder / "pde" / "diagnostics.csv")
    assert table["t"][0] == 0.0
    assert table["t"][-1] == pytest.approx(0.1, rel=1e-12)
    assert len(table["t"]) == pde["steps"] + 1
    assert pde["minimum"] == table["minimum"].min()
    assert pde["mass"]["positive"]["start"] == pytest.approx(0.5, rel=1e-12)
    assert 0 <= pde["mass"]["positive"]["max_relative_drift"] < 1e-12
    assert (pde["second_moment"]["start"], pde["second_moment"]["end"]) == tuple(table["second_moment"][[0, -1]])
    assert pde["free_energy"]["end"] < pde["free_energy"]["start"]
    rows = read_columns(folder / "compare" / "residuals.csv")
    for entry in summary["compare"]["residual"]:
        mine = (rows["system"] == "particles") & (rows["N"] == entry["N"]) & (rows["t"] == rows["t"].max())
        values = rows["residual"][mine & (rows["test_function"] == entry["test_function"])]
        assert len(values) == 5
        assert entry["mean"] == pytest.approx(values.mean(), rel=1e-12)
        assert entry["mean_abs"] == pytest.approx(np.abs(values).mean(), rel=1e-12)
        assert entry["variance"] == pytest.approx(values.var(ddof=1), rel=1e-12)
        assert entry["stderr"] == pytest.approx(values.std(ddof=1) / math.sqrt(5), rel=1e-12)
        assert entry["theory_variance"] > 0


def test_tables_keep_the_contract(results):
    folder = results[1][0]
    headers = {}
    for name in sorted(files_below(folder)):
        if name.endswith(".csv"):
            with (folder / name).open(newline="") as file:
                rows = list(csv.reader(file))
            headers[name] = rows[0]
            assert {len(row) for row in rows} == {len(rows[0])}, name
    assert headers["compare/residuals.csv"] == ["system", "N", "replica", "test_function", "t", "residual"]
    assert headers["compare/rates.csv"] == ["quantity", "test_function", "slope", "slope_low", "slope_high", "theory"]
    assert headers["pde/diagnostics.csv"][0] == headers["particles/N4/observables.csv"][0] == "t"
    assert {"mass_positive", "mass_negative", "free_energy", "minimum"} <= set(headers["pde/diagnostics.csv"])
    rows = read_columns(folder / "compare" / "residuals.csv")
    particles = rows["system"] == "particles"
    assert np.unique(rows["t"][particles]).tolist() == [0.0, 0.05, 0.1]
    assert np.unique(rows["replica"][particles]).tolist() == [0, 1, 2, 3, 4]
    assert np.all(np.isin([0.0, 0.05], rows["t"][~particles]))
    assert np.all(rows["residual"][rows["t"] == 0] == 0)


def test_paraview_files_keep_the_contract(results):
    for folder, _, _ in results.values():
        times, points, arrays = steps_of(folder / "pde" / "fields.vtkhdf")
        assert times == pytest.approx((0.0, 0.05, 0.1))
        assert points == 1 + 3 * 8 * 9
        assert arrays >= {"rho_positive", "rho_negative", "potential"}
        for n in (4, 8):
            times, points, arrays = steps_of(folder / "particles" / f"N{n}" / "particles.vtkhdf")
            assert times == (0.0, 0.05, 0.1)
            assert (points, arrays) == (n, {"sign"})


def close(a, b, path="summary"):
    """Equal up to 1e-9 of the value, or to rounding where it is rounding."""
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a.keys() - {"wall_seconds", "performance", "ranks", "threads", "title"}:
            close(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), path
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            close(x, y, f"{path}[{index}]")
    elif isinstance(a, float):
        assert math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-13), f"{path}: {a} {b}"
    else:
        assert a == b, path


def rows_of_particles(folder):
    return [row for row in (folder / "compare/residuals.csv").read_text().splitlines() if row.startswith("particles,")]


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_do_not_matter(results, ranks):
    one, many = results[1][0], results[ranks][0]
    close(summary_of(one), summary_of(many))
    assert len(rows_of_particles(one)) == 2 * 5 * 2 * 3
    assert rows_of_particles(one) == rows_of_particles(many)
    for name in ("case.toml", "particles/N8/observables.csv"):
        assert (one / name).read_text() == (many / name).read_text()


def test_the_case_of_a_result_is_the_case(results, workshop):
    assert cases.read(results[1][0] / "case.toml") == cases.read(workshop / "case.toml")


def test_a_run_from_elsewhere_replaces_an_earlier_one_and_leaves_other_files(workshop, tmp_path):
    other = tmp_path / "result"
    for folder in ("pde", "pictures", "notes"):
        (other / folder).mkdir(parents=True)
        (other / folder / "mine.txt").write_text("mine")
    (other / "mine.csv").write_text("mine")
    mesh = ("--set", "pde.mesh=disk.msh", PYTHON.format("good"))
    short = ("time.end=0.04", "--set", "particles.replicas=2", "output.directory=result")
    limitpde_("run", workshop / "case.toml", *mesh, *short, "particles.counts=[4, 6]", cwd=tmp_path)
    limitpde_("export", "result", cwd=tmp_path)
    assert (other / "pde" / "fields.pvd").exists()
    limitpde_("run", workshop / "case.toml", "--quiet", *mesh, *short, "particles.counts=[8]", cwd=tmp_path)
    found = {name for name in files_below(other) if not name.endswith((".png", "mine.txt", "mine.csv"))}
    assert found == {name for name in FILES if "N4" not in name}
    assert {"mine.csv", "notes/mine.txt", "pde/mine.txt", "pictures/mine.txt"} <= files_below(other)
    assert [entry["N"] for entry in summary_of(other)["particles"]] == [8]
    case = cases.read(other / "case.toml")
    assert (case.time.end, case.particles.replicas, case.particles.counts) == (0.04, 2, (8,))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result"]


def test_the_users_own_case_is_not_overwritten(tmp_path):
    text = CASE.replace("end = 0.1", "end = 0.02  # a comment of the user's")
    (tmp_path / "case.toml").write_text(text)
    subprocess.run(
        command("run", "case.toml", "--quiet", "--out", "."),
        cwd=tmp_path,
        env=environment(),
        timeout=LIMIT,
        check=False,
    )
    assert (tmp_path / "case.toml").read_text() == text


# --- what is wrong ---------------------------------------------------------------------------------------------------

SHORT = ("--set", "time.end=0.02", "pde.mesh.cell_size=1.0", "particles.counts=[4]")


@pytest.mark.parametrize(
    ("ranks", "overrides", "fragment"),
    [
        (3, ["pde.stepp=1"], "pde.stepp: unknown key; did you mean step?"),
        (2, ["pde.mesh=junk.msh"], "junk.msh"),
        (1, ["pde.mesh=junk.msh"], "junk.msh"),
        (2, ["pde.mesh=flat.msh"], "not Delaunay"),
        (2, [PYTHON.format("fails_on_rank_1")], "rank 1 only"),
        (2, [PYTHON.format("leaves")], "densities.py"),
    ],
    ids=["key", "mesh", "mesh, 1 rank", "not Delaunay", "raises on rank 1", "leaves"],
)
def test_a_wrong_case_ends_every_rank(workshop, ranks, overrides, fragment):
    arguments = ("run", "case.toml", "--out", "wrong", *SHORT, *overrides)
    out, err = limitpde_(*arguments, ranks=ranks, cwd=workshop, status=2)
    assert fragment in err
    assert (err.count("limitpde: "), out.count("limitpde: ")) == (1, 0)


def test_a_result_says_that_its_case_was_wrong(workshop, tmp_path):
    (tmp_path / "case.toml").write_text(CASE)
    flat = f"pde.mesh={workshop / 'flat.msh'}"
    limitpde_("run", "case.toml", "--out", "r", "--set", flat, cwd=tmp_path, status=2)
    summary = summary_of(tmp_path / "r")
    assert summary["status"] == "failed"
    assert "not Delaunay" in summary["reason"]


def test_what_lies_outside_its_ball_does_not_matter_to_a_density(workshop):
    arguments = ("run", "case.toml", "--quiet", "--out", "outside", *SHORT, PYTHON.format("negative_beyond"))
    limitpde_(*arguments, ranks=2, cwd=workshop)
    assert summary_of(workshop / "outside")["pde"]["mass"]["positive"]["start"] == pytest.approx(0.5, rel=1e-12)


def test_points_that_are_no_file_of_points(workshop, tmp_path):
    case = "\n[".join(part for part in CASE.split("\n[") if not part.startswith("pde]"))
    (tmp_path / "case.toml").write_text(case)
    points = f"initial={{ points = '{workshop / 'empty.npz'}' }}"
    _, err = limitpde_("run", "case.toml", "--set", points, "particles.counts=[8]", cwd=tmp_path, status=2)
    assert "empty.npz" in err


def test_a_folder_that_cannot_be_made(workshop):
    _, err = limitpde_("run", "case.toml", "--out", "file", ranks=2, cwd=workshop, status=2)
    assert "output.directory = 'file'" in err
    assert err.count("limitpde: ") == 1


def test_a_run_that_fails_keeps_what_it_has(workshop):
    infinite = ("time.end=0.1", "model.sigma=1.3e154", "model.gamma_bar=0.0")
    arguments = ("run", "particles.toml", "--out", "fails", "--set", *infinite, "particles.counts=[4096]")
    (workshop / "particles.toml").write_text("\n[".join(p for p in CASE.split("\n[") if not p.startswith("pde]")))
    _, err = limitpde_(*arguments, ranks=2, cwd=workshop, status=3)
    assert err.count("limitpde: failed") == 1
    summary = summary_of(workshop / "fails")
    assert summary["status"] == "failed"
    assert "infinity" in summary["reason"]
    assert "**The run failed.**" in (workshop / "fails" / "report.md").read_text()
    assert steps_of(workshop / "fails" / "particles" / "N4096" / "particles.vtkhdf")[1] == 4096


# --- interrupts and kills --------------------------------------------------------------------------------------------

LONG_PDE = ("--set", "pde.step=1e-5", "output.checkpoint_every=0.05")
LONG_PARTICLES = ("--set", "particles.counts=[4, 2048]", "particles.step=0.0001")


def in_pde(folder):
    return rows_in(folder / "pde" / "diagnostics.csv") > 20


def in_particles(folder):
    return (folder / "particles" / "N2048" / "particles.vtkhdf").exists()


def in_pictures(folder):
    return rows_in(folder / "compare" / "rates.csv") > 1


def rows_in(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def interrupted(cwd, arguments, moment, disturb, *, ranks=1):
    """Send a signal, or do something else, at some moment of a run: exit status, stderr, folder."""
    folder = cwd / "out"
    with subprocess.Popen(
        command("run", "case.toml", "--out", "out", *arguments, ranks=ranks),
        cwd=cwd,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            began = time.monotonic()
            while not moment(folder):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() - began < LIMIT
                if (folder / "summary.json").exists():
                    assert summary_of(folder)["status"] == "interrupted"
                time.sleep(0.01)
            disturb(process) if callable(disturb) else process.send_signal(disturb)
            _, err = process.communicate(timeout=LIMIT)
        except BaseException:
            end(process)
            raise
    return process.returncode, err, folder


@pytest.fixture
def here(tmp_path):
    (tmp_path / "case.toml").write_text(CASE)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "moment", "number", "ranks"),
    [
        (LONG_PDE, in_pde, signal.SIGINT, 1),
        (LONG_PDE, in_pde, signal.SIGTERM, 2),
        (LONG_PARTICLES, in_particles, signal.SIGINT, 2),
        (LONG_PARTICLES, in_particles, signal.SIGTERM, 1),
    ],
    ids=["PDE, Ctrl-C", "PDE, SIGTERM, 2 ranks", "particles, Ctrl-C, 2 ranks", "particles, SIGTERM"],
)
def test_an_interrupted_run_keeps_what_it_has(here, arguments, moment, number, ranks):
    status, err, folder = interrupted(here, arguments, moment, number, ranks=ranks)
    assert status == 130
    assert "Traceback" not in err
    assert err.count("limitpde: interrupted") == 1
    summary = summary_of(folder)
    assert summary["status"] == "interrupted"
    assert "stopped" in summary["reason"]
    assert summary["pde"]["steps"] >= 5
    assert "**The run was stopped.**" in (folder / "report.md").read_text()
    assert (folder / "pictures" / "fields.png").read_bytes().startswith(b"\x89PNG")
    assert steps_of(folder / "pde" / "fields.vtkhdf")[1] == 217
    if moment is in_particles:
        assert [entry["N"] for entry in summary["particles"]] == [4]
        assert steps_of(folder / "particles" / "N2048" / "particles.vtkhdf")[1] == 2048
        assert {entry["N"] for entry in summary["compare"]["residual"]} == {4}


def test_a_full_disk_ends_the_run(here):
    """A bound on the size of files, set while the run goes on, stands for the full disk."""

    def fill(process):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (400_000, 400_000))

    arguments = ("--set", "output.every=0.0005", "pde.step=0.00025")
    status, err, folder = interrupted(here, arguments, in_pde, fill)
    assert status == 3
    assert "Traceback" not in err
    assert err.count("limitpde: ") == 1
    summary = summary_of(folder)
    assert summary["status"] == "failed"
    assert "large" in summary["reason"]
    assert summary["pde"]["steps"] >= 20
    assert "**The run failed.**" in (folder / "report.md").read_text()
    assert steps_of(folder / "pde" / "fields.vtkhdf")[1] == 217
    assert not [name for name in files_below(folder) if name.endswith(".tmp")]


@pytest.mark.parametrize(("number", "ranks"), [(signal.SIGINT, 2), (signal.SIGTERM, 1)])
def test_a_run_interrupted_at_its_end_says_how_it_ended(here, number, ranks):
    status, err, folder = interrupted(here, (), in_pictures, number, ranks=ranks)
    assert "Traceback" not in err
    assert {0: "done", 130: "interrupted"}[status] == summary_of(folder)["status"]
    assert "## The particles" in (folder / "report.md").read_text()


@pytest.mark.parametrize(("arguments", "moment"), [(LONG_PDE, in_pde), (LONG_PARTICLES, in_particles)])
def test_a_killed_run_is_readable(here, arguments, moment):
    status, _, folder = interrupted(here, arguments, moment, signal.SIGKILL)
    assert status == -signal.SIGKILL
    summary = summary_of(folder)
    assert summary["status"] == "interrupted"
    assert "killed" in summary["reason"]
    assert steps_of(folder / "pde" / "fields.vtkhdf")[1] == 217
    times = read_columns(folder / "pde" / "diagnostics.csv")["t"]
    assert times[0] == 0
    assert np.all(np.diff(times) > 0)
    out, _ = limitpde_("show", "out", cwd=here)
    assert out.splitlines() == [f"out/pictures/{path.name}" for path in drawn(folder, out)]
    assert "**The run was stopped.**" in (folder / "report.md").read_text()


def drawn(folder, out):
    pictures = [folder / "pictures" / Path(line).name for line in out.splitlines()]
    assert folder / "pictures" / "fields.png" in pictures
    assert all(path.is_file() for path in pictures)
    return pictures


# --- the other commands, in this process -----------------------------------------------------------------------------


def call(capsys, *arguments):
    """Exit status, stdout, stderr of the command, called in this process."""
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return left.value.code or 0, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--set", "pde.step=0.01"], 0),
        (["--set", "pde.step=0.01", "time.end=2.0"], 0),
        (["--set", "pde.step=0.01", "--set", "time.end=2.0"], 0),
        (["--set", "pde.step=0.01", "time.end=2.0", "--set", "seed=1"], 0),
        (["--set", 'output.directory="with space"'], 0),
        (["--set", "pde.mesh={ shape = 'disk', radius = 2, cell_size = 1 }"], 0),
        (["--set", "particles.counts=[2, 3]"], 0),
        (["--set=time.end=2.0"], 0),
        (["pde.step=0.01"], 2),
        (["--set"], 2),
        (["--set", "pde.step"], 2),
        (["--set", "pde.step=0.01", "other.toml"], 2),
        (["--set", "pde.step=-1"], 2),
        (["--unknown"], 2),
    ],
    ids=str,
)
def test_check(workshop, capsys, arguments, status):
    code, out, err = call(capsys, "check", workshop / "case.toml", *arguments)
    assert code == status
    assert (out == f"{workshop / 'case.toml'}: a valid case\n") == (status == 0)
    assert (err == "") == (status == 0)


def test_several_overrides_after_one_set(workshop, capsys):
    code, _, err = call(
        capsys, "check", workshop / "case.toml", "--set", "time.end=0", "pde.step=0", "--set", "seed=-1"
    )
    assert code == 2
    assert all(key in err for key in ("time.end = 0", "pde.step = 0", "seed = -1"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "nope.toml"],
        ["check"],
        ["show", "nope"],
        ["export", "nope"],
        ["new", "sined"],
        ["fly"],
        ["show"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line(capsys, arguments):
    code, out, err = call(capsys, *arguments)
    assert (code, out) == (2, "")
    assert "limitpde" in err


def test_show_of_a_broken_summary(tmp_path, capsys):
    (tmp_path / "summary.json").write_text('{"status": ')
    code, _, err = call(capsys, "show", tmp_path)
    assert code == 2
    assert "summary.json" in err


def test_info(capsys):
    code, out, _ = call(capsys, "info")
    found = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out.splitlines())
    assert code == 0
    assert {"limitpde", "python", "dolfinx", "petsc", "mpi", "ranks"} <= found.keys()


def test_version_and_help_are_printed_once(tmp_path):
    assert limitpde_("--version", ranks=2, cwd=tmp_path)[0].count("0.") == 1


def test_new_prints_a_case_that_runs_as_it_is(tmp_path, capsys):
    code, out, _ = call(capsys, "new", "signed")
    assert code == 0
    (tmp_path / "case.toml").write_text(out)
    assert all(f"[{name}]" in out for name in ("model", "initial", "time", "pde", "particles", "compare", "output"))
    limitpde_("run", "case.toml", cwd=tmp_path)
    summary = summary_of(tmp_path / "results" / "case")
    assert summary["status"] == "done"
    assert summary["warnings"] == []
    assert sum(summary["wall_seconds"].values()) < 30


def test_show_and_export(results, capsys):
    folder = results[2][0]
    before = {path.name for path in (folder / "pictures").iterdir()}
    for path in (folder / "pictures").iterdir():
        path.unlink()
    (folder / "report.md").unlink()
    code, out, _ = call(capsys, "show", folder)
    assert code == 0
    assert {Path(line).name for line in out.splitlines()} == before == {p.name for p in (folder / "pictures").iterdir()}
    assert "The run is done." in (folder / "report.md").read_text()
    code, out, _ = call(capsys, "export", folder)
    assert code == 0
    assert sorted(Path(line).name for line in out.splitlines()) == ["fields.pvd", "particles.pvd", "particles.pvd"]
    assert len(list((folder / "pde" / "fields.steps").iterdir())) == 3
