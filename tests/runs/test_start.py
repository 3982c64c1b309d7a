"""What starting costs: which libraries a command loads before it has anything to compute, and what they leave alone.

Times differ from machine to machine; that DOLFINx, numba, scipy and what draws are not loaded does not.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import resources

import pytest
from processes import LIMIT

SYSTEMS = ("signed", "coagulation", "vlasov", "meanfield")
COMPUTES = {"basix", "dolfinx", "ffcx", "meshio", "numba", "ot", "petsc4py", "scipy", "ufl"}
DRAWS = {"matplotlib", "pyvista", "vtkmodules"}
READ = """
import sys
from limitpde import case
case.read(sys.argv[1])
"""
COMMAND = """
import sys
from limitpde.__main__ import main
try:
    main()
except SystemExit as left:
    assert not left.code, left.code
"""
DRAW = """
import sys
from pathlib import Path
import matplotlib
matplotlib.use("svg")
from limitpde.results import pictures
from limitpde.results.folder import Folder
import limitpde.coagulation.pictures, limitpde.signed.pictures, limitpde.vlasov.pictures
((drawn,), _) = pictures.draw(Folder(Path(sys.argv[1])), {})
assert drawn.read_bytes().startswith(b"\\x89PNG"), drawn
assert matplotlib.get_backend() == "svg", matplotlib.get_backend()
"""


def loaded(program, *arguments):
    """The modules that a program loads in a process of its own."""
    report = 'print("\\n" + " ".join(sys.modules))'
    command = [sys.executable, "-c", program + report, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.splitlines()[-1].split())


def heavy(modules):
    """Those of the libraries that compute and draw to which modules belong."""
    return {name.partition(".")[0] for name in modules} & (COMPUTES | DRAWS)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_case_is_read_without_what_computes_and_draws(system):
    modules = loaded(READ, resources.files("limitpde") / system / "case.toml")
    assert f"limitpde.{system}.case" in modules
    assert heavy(modules) == set()
    assert not {f"limitpde.{other}.case" for other in SYSTEMS if other != system} & modules


@pytest.mark.parametrize(
    "command", [("--help",), ("--version",), ("run", "--help"), ("new", "signed"), ("keys", "vlasov")]
)
def test_what_only_prints_loads_nothing_that_computes_or_draws(command):
    assert heavy(loaded(COMMAND, *command)) == set()


def test_check_loads_nothing_that_computes_or_draws():
    case = resources.files("limitpde") / "coagulation" / "case.toml"
    assert heavy(loaded(COMMAND, "check", case)) == set()


def test_pictures_leave_the_user_s_backend_alone(tmp_path):
    entries = [
        {"N": 8, "test_function": 0, "t": t, "mean": 0.5 - t, "stderr": 0.1, "pde": 0.4 - t} for t in (0.0, 0.1, 0.2)
    ]
    (tmp_path / "summary.json").write_text(json.dumps({"compare": {"observables": entries}}))
    assert "matplotlib.pyplot" not in loaded(DRAW, tmp_path)


def test_a_program_that_imports_the_package_keeps_what_it_had():
    """No environment variable, signal, stream or backend of pictures is changed by an import."""
    code = """
import os, signal, sys
import matplotlib
matplotlib.use("svg")
before = dict(os.environ), signal.getsignal(signal.SIGINT), sys.stdout, sys.stderr
import limitpde, limitpde.results.pictures
assert before == (dict(os.environ), signal.getsignal(signal.SIGINT), sys.stdout, sys.stderr)
assert matplotlib.get_backend() == "svg"
"""
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
