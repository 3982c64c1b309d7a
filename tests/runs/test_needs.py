"""What a run will need: formulas against runs, refusals of what cannot be, the memory of speeds, no memory left.

The load is carried by `test_unknowns_are_those_of_the_solver` for every kind of mesh, and by
`test_the_result_is_as_large_as_was_said`. Seconds depend on the machine: that they follow what was measured is tested.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import dataclasses
import json
import math
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from processes import CASE, LIMIT, call, command

from limitpde import case as cases
from limitpde import experiment, needs, speed
from limitpde.coagulation import needs as coagulation_needs
from limitpde.coagulation import particles as coagulation_particles
from limitpde.coagulation import pde as coagulation_pde
from limitpde.coagulation.proof import candidate
from limitpde.coagulation.simulator import steps as coagulation_steps
from limitpde.errors import InputError
from limitpde.fem.counts import mesh_counts
from limitpde.fem.mesh_files import read as read_mesh
from limitpde.meanfield import needs as meanfield_needs
from limitpde.nbody import diffusions
from limitpde.nbody.replicas import time_grid
from limitpde.signed import needs as signed_needs
from limitpde.signed import particles as signed_particles
from limitpde.system import system_of
from limitpde.vlasov import needs as vlasov_needs
from limitpde.vlasov import outputs as vlasov_outputs
from limitpde.vlasov import particles as vlasov_particles

ALONE = needs.Machine(ranks=1, neighbours=1, threads=1, memory=16e9)
MESHES = Path(__file__).parents[2] / "meshes"
SMALL = {
    "signed": ("pde.mesh.cell_size=0.4", "particles.counts=[8]", "particles.replicas=3", "time.end=0.1"),
    "coagulation": ("pde.mesh.cell_size=0.25", "particles.counts=[40]", "particles.replicas=3", "time.end=0.02"),
    "vlasov": (
        "pde.cells=[6, 8]",
        "particles.counts=[50]",
        "particles.replicas=3",
        "time.end=2.0",
        "pde.fit=[0.0, 1.0]",
    ),
    "meanfield": ("pde.mesh.cell_size=0.25", "particles.counts=[40]", "particles.replicas=3", "time.end=0.2"),
}
BOX = "pde.mesh={ shape = 'box', size = [5.0, 4.5], cell_size = 0.4, origin = -2.5 }"
IN_THE_PLANE = (
    "model.dimension=2",
    "initial.masses=[{ n = 1, shape = 'gaussian', mass = 1.0, center = [0.5, 0.5], width = 0.3 }]",
    "compare.test_functions=[{ shape = 'wave', k = [0.0, 0.0] }]",
)
ON_A_LINE = (
    "model.dimension=1",
    "model.beta={ kernel = 'constant' }",
    "initial.masses=[{ n = 1, shape = 'gaussian', mass = 1.0, center = [0.5], width = 0.3 }]",
    "compare.test_functions=[{ shape = 'wave', k = [0.0] }]",
)
SOLVERS = [
    ("signed",),
    ("signed", "pde.mesh.center_size=0.4"),
    ("signed", BOX, "pde.boundary='grounded'"),
    ("signed", "initial.negative=[]", "initial.positive.0.mass=1.0"),
    ("signed", "pde.mesh.cell_size=0.6", "pde.degree=2", "pde.undershoot=1.0"),
    ("signed", "pde.mesh.cell_size=0.6", "pde.degree=3", "pde.undershoot=1.0"),
    ("signed", f"pde.mesh='{MESHES / 'disk.msh'}'"),
    ("coagulation",),
    ("coagulation", "pde.mesh.shape='box'"),
    ("coagulation", "pde.mesh={ shape = 'ball', radius = 0.7, center = 0.5, cell_size = 0.2 }"),
    ("coagulation", *IN_THE_PLANE, "pde.mesh={ shape = 'ball', radius = 0.7, center = 0.5, cell_size = 0.2 }"),
    ("coagulation", *IN_THE_PLANE, "pde.mesh={ shape = 'torus', size = [1.0, 0.8], cell_size = 0.2 }"),
    ("coagulation", *ON_A_LINE, "pde.mesh={ shape = 'ball', radius = 0.7, center = 0.5, cell_size = 0.2 }"),
    ("coagulation", *ON_A_LINE, "pde.mesh={ shape = 'torus', size = 1.0, cell_size = 0.13 }"),
    ("coagulation", "pde.mesh={ shape = 'point' }", "initial.masses=[{ n = 1, shape = 'uniform', mass = 1.0 }]"),
    ("coagulation", "pde.bins={ largest = 1e4, per_decade = 5 }"),
    ("vlasov",),
    ("vlasov", "pde.degree=1", "model.form='hamiltonian'"),
    ("vlasov", "model.form='hartree'"),
    ("meanfield",),
]


def case_of(folder, system, *overrides):
    """The small case of a system with other keys; without particles, for which not all that is tried would do."""
    above, below = (resources.files("limitpde") / system / "case.toml").read_text().split("[particles]")
    (folder / "case.toml").write_text(f"{above}[compare]{below.split('[compare]')[1]}")
    given = {key.split("=")[0] for key in overrides}
    small = [key for key in SMALL[system] if not any(key.startswith(name) for name in {"particles", *given})]
    return cases.read(folder / "case.toml", [*small, *overrides])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "file", lambda: tmp_path / "cache" / "speed.json")
    return tmp_path


def whole(system, *overrides):
    return cases.read(Path(str(resources.files("limitpde") / system / "case.toml")), [*SMALL[system], *overrides])


@pytest.mark.parametrize(("system", "overrides"), [(name, rest) for name, *rest in SOLVERS], ids=str)
def test_unknowns_are_those_of_the_solver(folder, system, overrides):
    case = case_of(folder, system, *overrides)
    solver = system_of(case).solver(case, MPI.COMM_SELF)
    found = needs.estimate(case, ALONE)
    assert found.unknowns == solver.dofs


@pytest.mark.parametrize("name", ["disk", "room", "strip"])
def test_nodes_of_a_gmsh_file_are_read_from_its_beginning(name):
    counts = mesh_counts(str(MESHES / f"{name}.msh"), 2)
    points, cells = read_mesh(MESHES / f"{name}.msh", 2)
    assert not counts.exact
    assert counts.nodes == pytest.approx(len(points), rel=0.01)
    assert counts.cells == pytest.approx(len(cells), rel=0.15)


def test_a_file_that_does_not_say_how_many_nodes_it_has_is_estimated_by_its_length(folder):
    text = (MESHES / "disk.msh").read_bytes()
    (folder / "cut.msh").write_bytes(text.replace(b"$Nodes", b"$Modes"))
    true = mesh_counts(str(MESHES / "disk.msh"), 2).nodes
    assert true / 2 < mesh_counts(str(folder / "cut.msh"), 2).nodes < 2 * true
    assert mesh_counts(str(folder / "absent.msh"), 2).nodes == 1


@pytest.mark.parametrize("system", sorted(SMALL))
def test_steps_are_those_of_the_particles(system):
    case = whole(system)
    for step in (0.3 * case.time.end, 0.017 * case.time.end, 0.001 * case.time.end):
        expected = sum(number for _, number in time_grid(step, case.time.end, case.output_times))
        assert needs.steps(case, step) == expected
    assert needs.steps(case, 1e-310) == math.inf


def test_particles_that_never_react_need_a_number_of_steps():
    """alpha = 0: their density sets no step, which was a division by zero before the run."""
    loads = coagulation_needs.loads(whole("coagulation", "model.interaction.alpha=0.0"))
    assert all(0 < load.work < math.inf for load in loads)


@pytest.mark.parametrize(("count", "size"), [(2, 3.0), (7, 1.0), (60, 1.0)])
def test_steps_of_few_coagulating_particles(count, size):
    """As simulated; where V reaches across the torus no step is possible, and the case is refused for that alone."""
    case = whole("coagulation", f"particles.counts=[{count}]", f"pde.mesh.size={size}")
    model, initial, functions = case.model, case.initial, case.test_functions
    asked = {"count": count, "replicas": 3, "end": case.time.end, "stops": case.output_times, "domain": case.domain}
    made = coagulation_particles.simulate(model, initial, **asked, test_functions=functions)
    load = coagulation_needs.loads(case)[1]
    assert load.work == pytest.approx(3 * count * made.steps, rel=0.4)
    with pytest.raises(InputError, match=r"particles\.counts: N = 2: pairs act at distances up to 0\.5, .* torus"):
        whole("coagulation", "particles.counts=[60, 2]")


@pytest.mark.parametrize("system", sorted(SMALL))
def test_the_result_is_as_large_as_was_said_and_speeds_are_learnt(system, folder):
    case = whole(system)
    summary = experiment.run(case, out=folder / "result")
    assert summary["status"] == "done", summary["reason"]
    found = needs.estimate(case, ALONE)
    size = sum(path.stat().st_size for path in (folder / "result").rglob("*") if path.is_file())
    assert size / 2 < found.disk < 2 * size
    assert found.unknowns == summary["pde"]["dofs"]
    known = speed.read()
    assert len(known) == len(found.loads)
    machine = dataclasses.replace(ALONE, threads=summary["threads"])
    again = needs.estimate(case, machine)
    assert again.measured
    for part, seconds in zip(again.loads, again.times, strict=True):
        rates = summary["performance"]
        counted = next(value for key, value in rates.items() if key != "pde_dof_steps_per_second")
        rate = rates["pde_dof_steps_per_second"] if part.unknowns else counted[str(part.size)]
        assert seconds == pytest.approx(needs.BUDGETED * part.work / rate)


def test_constants_are_those_of_what_they_describe():
    for mine, theirs in (
        (signed_needs, signed_particles),
        (vlasov_needs, vlasov_particles),
        (vlasov_needs, vlasov_outputs),
        (coagulation_needs, coagulation_particles),
        (coagulation_needs, coagulation_steps),
        (coagulation_needs, coagulation_pde),
        (coagulation_needs, candidate),
        (meanfield_needs, diffusions),
    ):
        names = [name for name in vars(mine) if name.isupper() and hasattr(theirs, name)]
        assert {name: getattr(mine, name) for name in names} == {name: getattr(theirs, name) for name in names}
    assert coagulation_needs.COUNTED == coagulation_particles.MOST_COUNTED


# --- what cannot be ---------------------------------------------------------------------------------------------------

REFUSED = [
    ("pde.mesh.cell_size=1e-5", "pde.mesh.cell_size = 1e-05: the equation needs about"),
    ("pde.mesh.cell_size=1e-40", "pde.mesh.cell_size = 1e-40: the equation needs about"),
    ("pde.step=1e-300", "pde.step: the run takes about"),
    ("particles.step=1e-300", "particles.counts, particles.replicas = 5, particles.step = 1e-300: the run takes about"),
    ("particles.replicas=1000000000", "particles.replicas = 1000000000"),
    ("particles.counts=[2000000000]", "N = 2000000000"),
]


@pytest.mark.parametrize(("override", "expected"), REFUSED, ids=str)
@pytest.mark.parametrize("verb", ["check", "run"])
def test_what_cannot_be_is_refused_in_one_line(folder, capsys, verb, override, expected):
    (folder / "case.toml").write_text(CASE)
    code, out, err = call(capsys, verb, folder / "case.toml", "--out", folder / "result", "--set", override)
    assert code == 2
    assert out == ""
    assert err.startswith(f"limitpde: {folder / 'case.toml'}: ")
    assert expected in err
    assert err.count("\n") == 1
    assert not (folder / "result").exists()


def test_limit_hours_and_disk(folder, capsys, monkeypatch):
    (folder / "case.toml").write_text(CASE)
    code, out, _ = call(capsys, "check", folder / "case.toml")
    assert code == 0
    assert all(f"\n  {name:<8}  " in out for name in ("unknowns", "memory", "disk", "time"))
    for verb in ("check", "run"):
        code, _, err = call(capsys, verb, folder / "case.toml", "--limit-hours", "1e-4")
        assert code == 2
        assert "more than --limit-hours 0.0001" in err
    monkeypatch.setattr(needs, "free_disk", lambda directory: 1e3)
    code, _, err = call(capsys, "check", folder / "case.toml")
    assert code == 2
    assert "on disk" in err
    assert not (folder / "results").exists()


def test_ranks_share_the_memory_of_their_machine():
    case = whole("signed", "pde.mesh.cell_size=0.01")
    one = needs.estimate(case, ALONE)
    four = needs.estimate(case, dataclasses.replace(ALONE, ranks=4, neighbours=4))
    apart = needs.estimate(case, dataclasses.replace(ALONE, ranks=4, neighbours=1))
    assert four.memory == apart.memory < one.memory
    assert apart.node_memory < one.node_memory < four.node_memory < 1.5 * one.node_memory
    small = dataclasses.replace(ALONE, memory=0.99 * one.node_memory)
    with pytest.raises(InputError, match=r"pde\.mesh\.cell_size = 0\.01: the equation needs about .* of memory"):
        needs.check(case, Path(), small)
    needs.check(case, Path(), dataclasses.replace(small, ranks=4))


def test_twenty_thousand_unknown_keys_are_one_short_message(folder, capsys):
    (folder / "case.toml").write_text("\n".join(f"key_{k} = {k}" for k in range(20_000)) + CASE)
    code, _, err = call(capsys, "check", folder / "case.toml")
    assert code == 2
    assert len(err.splitlines()) == 11
    assert "key_0: unknown key" in err
    assert err.splitlines()[-1].endswith("and 19990 more mistakes")


# --- speeds -----------------------------------------------------------------------------------------------------------


def test_the_fastest_of_the_latest_counts_and_the_nearest_size():
    shipped = ((1e2, 10.0), (1e6, 1e5))
    guess, here = speed.per_second({}, "a", 1e4, threads=2, ranks=3, shipped=shipped)
    assert not here
    assert guess == pytest.approx(6 * 1e3)
    key = speed.key_of("a", 1e4, 2, 3)
    for measured in (1e16, 6e3, 12e3, 3e3):
        speed.learn([(key, 1e4, measured), (speed.key_of("a", 1e2, 2, 3), 1e2, 60.0)])
    for size, expected in ((1e4, 12e3), (2e4, 12e3 * 2**1.0), (1e2, 60.0)):
        found, here = speed.per_second(speed.read(), "a", size, threads=2, ranks=3, shipped=shipped)
        assert here
        assert found == pytest.approx(expected)
    assert speed.per_second(speed.read(), "a", 1e4, threads=1, ranks=1, shipped=shipped)[0] == pytest.approx(2e3)
    assert not speed.per_second(speed.read(), "b", 1e4, threads=2, ranks=3, shipped=shipped)[1]


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[1]", b"\xff\xfe", b'{"a": 1}', b'{"a": [[1, "x"], [null, 2], [0, 1], [1, 1e99], [1]]}', b"[" * 9999],
    ids=lambda text: text[:20].decode(errors="replace"),
)
def test_a_damaged_cache_counts_as_none(text):
    speed.file().parent.mkdir()
    speed.file().write_bytes(text)
    assert speed.read() == {}
    speed.learn([("k", 1.0, 2.0)])
    assert speed.read() == {"k": [(1.0, 2.0)]}
    assert json.loads(speed.file().read_text()) == {"k": [[1.0, 2.0]]}


def test_strange_keys_in_the_cache_do_no_harm():
    speed.learn([("a, size 10^2, x threads, y ranks", 1.0, 2.0), ("a, size ", 1.0, 2.0)])
    found, here = speed.per_second(speed.read(), "a", 10.0, threads=1, ranks=1, shipped=((1.0, 7.0),))
    assert found == pytest.approx(7.0)
    assert not here


def test_a_cache_that_cannot_be_written_is_no_error(folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setattr(speed, "file", lambda: folder / "file" / "speed.json")
    speed.learn([("k", 1.0, 2.0)])
    assert speed.read() == {}


# --- no memory left ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["limitpde.signed.pde.Solver.step", "limitpde.signed.charge_replicas._euler_maruyama"])
def test_no_memory_left_is_a_failed_run_with_what_it_has(folder, capsys, monkeypatch, what):
    (folder / "case.toml").write_text(CASE)
    monkeypatch.setattr(what, lambda *arguments: np.empty(1 << 50))
    code, _, err = call(capsys, "run", folder / "case.toml", "--out", folder / "result", "--quiet")
    assert code == 3
    assert "Traceback" not in err
    assert "Unable to allocate 8.00 PiB" in err
    summary = json.loads((folder / "result" / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert "Unable to allocate" in summary["reason"]
    assert (folder / "result" / "pde" / "diagnostics.csv").is_file()


def test_no_memory_for_the_solver_leaves_nothing_behind(folder, capsys, monkeypatch):
    (folder / "case.toml").write_text(CASE)

    def greedy(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("limitpde.signed.pde.Scheme", greedy)
    code, _, err = call(capsys, "run", folder / "case.toml", "--out", folder / "result", "--quiet")
    assert code == 3
    assert "the equation cannot be set up: out of memory" in err
    assert not (folder / "result" / "summary.json").exists()


GREEDY = """
import sys
from mpi4py import MPI
from limitpde import cli
from limitpde.signed.pde import Solver

step = Solver.step

def greedy(self, dt):
    if MPI.COMM_WORLD.rank == 1 and self.t > 0.04:
        raise MemoryError
    return step(self, dt)

Solver.step = greedy
cli.main(sys.argv[1:])
"""


def test_no_memory_left_on_one_rank_ends_all(folder):
    (folder / "case.toml").write_text(CASE)
    (folder / "greedy.py").write_text(GREEDY)
    mpiexec = command("run", ranks=2)[:3]
    arguments = [
        sys.executable,
        folder / "greedy.py",
        "run",
        folder / "case.toml",
        "--out",
        folder / "result",
        "--quiet",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*mpiexec, *map(str, arguments)], capture_output=True, text=True, timeout=LIMIT, check=False, env=environment
    )
    assert ended.returncode == 3, ended.stderr
    assert "limitpde: out of memory" in ended.stderr
    assert "Traceback" not in ended.stderr
    summary = json.loads((folder / "result" / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert "out of memory" in summary["reason"]
    rows = (folder / "result" / "pde" / "diagnostics.csv").read_text().splitlines()
    assert len(rows) >= 3
