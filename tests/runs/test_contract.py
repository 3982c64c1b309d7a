"""What `limitpde.system` asks of every system, of this package or another: a whole life of a case, and what mypy sees.

The load is carried by `test_a_case_lives` (new, check, quick run, stop, resume on two ranks, show: for each system that
is registered, that of demos/kuramoto among them) and `test_mypy_sees_what_breaks_the_contract` (planted breaks).
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import example_system
import pytest
from processes import command

import limitpde
from limitpde import case as cases
from limitpde.system import system_of

SYSTEMS = (*cases.BUILT_IN, "kuramoto")
SMALL = {  # a run of seconds, two particle numbers, several checkpoints
    "signed": ["time.end=0.1", "particles.counts=[8,16]", "particles.replicas=6"],
    "coagulation": ["time.end=0.02", "particles.counts=[30,60]", "particles.replicas=6"],
    "vlasov": ["time.end=0.5", "particles.counts=[50,100]", "particles.replicas=6", "pde.cells=[8,16]"],
    "meanfield": ["time.end=0.2", "particles.counts=[8,16]", "particles.replicas=6", "pde.mesh.cell_size=0.2"],
    "kuramoto": ["time.end=0.5", "particles.counts=[8,16]", "particles.replicas=6"],
}


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """An environment in which the example system is installed."""
    path = example_system.installed(tmp_path_factory.mktemp("installed"))
    return os.environ | {"PYTHONPATH": os.pathsep.join([path, str(Path(limitpde.__file__).parents[1])])}


def called(environment, folder, *arguments, ranks=1, status=0):
    done = subprocess.run(
        command(*arguments, ranks=ranks), cwd=folder, env=environment, text=True, capture_output=True, timeout=300
    )
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def figures_of(folder):
    """The figures of a run that do not depend on how it was run."""
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "done", summary
    return {name: summary[name] for name in ("pde", "particles", "compare", "warnings")}


def near(first, second, where=""):
    """Both the same up to rounding."""
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            near(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list):
        assert len(first) == len(second), where
        for number, pair in enumerate(zip(first, second, strict=True)):
            near(*pair, f"{where}.{number}")
    elif isinstance(first, float):
        assert first == pytest.approx(second, rel=1e-6, abs=1e-10), where
    else:
        assert first == second, where


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_case_lives(system, registered, tmp_path):
    """new, check, keys, run --quick, a run that is stopped; --resume on two ranks; show: the same figures."""
    (tmp_path / "life.py").write_text(LIFE)
    small = [*SMALL[system], "output.pictures=false"]
    done = subprocess.run(
        [sys.executable, "life.py", system, *small], cwd=tmp_path, env=registered, text=True, capture_output=True
    )
    assert done.returncode == 130, (done.stdout, done.stderr)
    assert "a valid case" in done.stdout
    assert f'"{system}"' in done.stdout
    assert json.loads((tmp_path / "parts" / "summary.json").read_text())["status"] == "interrupted"
    called(registered, tmp_path, "run", "case.toml", "--quick", "--out", "parts", "--resume", "--set", *small, ranks=2)
    near(figures_of(tmp_path / "parts"), figures_of(tmp_path / "whole"))
    assert not (tmp_path / "parts" / "pictures").exists()
    drawn = called(registered, tmp_path, "show", "parts").split()
    assert drawn
    assert all((tmp_path / path).is_file() for path in drawn)


LIFE = """
import contextlib, sys
from pathlib import Path
from limitpde.cli import main
from limitpde.errors import Interrupted
from limitpde.parallel import StopRequest

system, *small = sys.argv[1:]


def called(*arguments):
    try:
        main(list(arguments))
    except SystemExit as end:
        assert end.code == 0, (arguments, end.code)


with Path("case.toml").open("w") as file, contextlib.redirect_stdout(file):
    called("new", system)
called("check", "case.toml", "--set", *small)
called("keys", system)
called("run", "case.toml", "--quick", "--out", "whole", "--set", *small)
asked = [0]


def check(self, comm):
    asked[0] += 1
    if asked[0] == 2:
        self.asked = True
        raise Interrupted("stopped")


StopRequest.check = check
main(["run", "case.toml", "--quick", "--out", "parts", "--set", *small])
"""


@pytest.mark.parametrize("system", cases.BUILT_IN)
def test_sections_are_keyword_arguments(system):
    """What a case may say of [pde] and [particles], its solver and its simulator take."""
    record = cases.record_of(system)
    module = __import__(f"limitpde.{system}.system", fromlist=["Solver", "simulate"])
    fields = {name: record.__dataclass_fields__[name].type for name in ("pde", "particles")}
    assert fields
    hints = {name: inspect.get_annotations(record, eval_str=True)[name] for name in ("pde", "particles")}
    takes = {"pde": module.Solver.__init__, "particles": module.simulate}
    leave_out = {"pde": {"fit"}, "particles": {"counts", "domain", "ranks_per_replica"}}
    for section, function in takes.items():
        (cls,) = [kind for kind in hints[section].__args__ if kind is not type(None)]
        asked = set(cls.__dataclass_fields__) - leave_out[section]
        assert asked <= set(inspect.signature(function).parameters), section
    assert type(system_of(record)).__mro__[1].__name__ == "System"


def test_an_unknown_system_is_named():
    with pytest.raises(limitpde.errors.InputError, match="system = 'keller': must be one of \"signed\""):
        cases.check({"system": "keller"})


BREAKS = {  # file: (what stands there, what a careless change makes of it)
    "nbody/replicas.py": ("    replicas: np.ndarray\n", "    numbers: np.ndarray\n"),
    "signed/system.py": ('    work_unit = "pair_interactions"\n', ""),
    "coagulation/summary.py": ("    def figures(self) -> dict[str, Any]:", "    def figures(self) -> list[Any]:"),
    "vlasov/pde.py": ("    def state(self)", "    def frozen(self)"),
    "signed/residual.py": ('    STATE = "signed.PDEResidual 2"\n', ""),
    "vlasov/system.py": ("count: int, controls: Controls)", "count: int)"),
    "coagulation/system.py": ("    def observable_series(self, ensemble: Ensemble) -> dict[str, np.ndarray]:",
                              "    def observable_series(self, ensemble: Ensemble) -> list[np.ndarray]:"),
    "signed/report.py": ("    def particles_section(self, particles: list[Record]) -> str:",
                         "    def particles_section(self, particles: list[Record], more: int) -> str:"),
    "experiment.py": ("self.system.simulate(self.case, count, controls)", "self.system.simulate(self.case, controls)"),
    "sections.py": ("    def output_times(self)", "    def times_of_output(self)"),
}  # fmt: skip


def test_mypy_sees_what_breaks_the_contract(tmp_path):
    """Ten changes that would fail in the middle of a run, each in a file of its own: mypy finds every one of them."""
    root = Path(limitpde.__file__).parents[1]
    shutil.copytree(root / "limitpde", tmp_path / "limitpde", ignore=shutil.ignore_patterns("__pycache__", "*.nb?"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    if (root / ".mypy_cache").exists():  # what mypy knows of numpy and of files that have not changed: `make lint`
        shutil.copytree(root / ".mypy_cache", tmp_path / ".mypy_cache")
    for name, (right, wrong) in BREAKS.items():
        path = tmp_path / "limitpde" / name
        text = path.read_text()
        assert text.count(right) == 1, f"{name}: {right!r} stands there {text.count(right)} times"
        path.write_text(text.replace(right, wrong))
        ast.parse(path.read_text())
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=tmp_path, text=True, capture_output=True, timeout=600)
    seen = set(re.findall(r"^limitpde/([\w/]+)\.py:\d+: error", done.stdout, re.MULTILINE))
    blamed = {  # where each of them shows: where it is, or where the contract is used
        "nbody/replicas.py": {"nbody/replicas", "signed/system", "vlasov/particles", "coagulation/particles"},
        "signed/system.py": {"signed/system"},
        "coagulation/summary.py": {"coagulation/summary", "coagulation/system"},
        "vlasov/pde.py": {"vlasov/system", "vlasov/pde"},
        "signed/residual.py": {"signed/system", "signed/residual"},
        "vlasov/system.py": {"vlasov/system"},
        "coagulation/system.py": {"coagulation/system"},
        "signed/report.py": {"signed/report"},
        "experiment.py": {"experiment"},
        "sections.py": {"experiment", "sections"},
    }
    assert {name: places & seen for name, places in blamed.items() if not places & seen} == {}, done.stdout
