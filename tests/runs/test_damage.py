"""A run that goes on with damaged files: the same figures, or one line that names the file; never anything mixed.

`python tests/support/damage.py --many 500` tries more.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import shutil

import damage
import numpy as np
import pytest
from processes import call

from limitpde import case as cases
from limitpde import cli
from limitpde.results import figures

ANEW = "begins anew, from t = 0"
BEFORE = "goes on from the checkpoint before, t = 0.0"
DAMAGED = [
    ("pde", {"checkpoint/solution.npz": "empty"}, BEFORE),
    ("pde", {"checkpoint/solution.npz": "bits"}, BEFORE),
    ("pde", {"checkpoint/solution.npz": "cut", "checkpoint/previous.npz": "junk"}, ANEW),
    ("pde", {"checkpoint/solution.npz": "last byte", "summary.json": "cut"}, BEFORE),
    ("pde", {"pde/diagnostics.csv": "cut"}, None),
    ("pde", {"pde/diagnostics.csv": "empty"}, ANEW),
    ("pde", {"pde/diagnostics.csv": "longer", "pde/fields.vtkhdf": "longer"}, None),
    ("pde", {"pde/fields.vtkhdf": "cut"}, ANEW),
    ("pde", {"pde/fields.vtkhdf": "junk"}, None),
    ("particles", {"checkpoint/N4-0.npz": "cut"}, "those replicas of N = 4 are simulated anew"),
    ("particles", {"particles/N4/particles.vtkhdf": "bits"}, "those replicas of N = 4 are simulated anew"),
    ("particles", {"particles/N4/observables.csv": "junk", "compare/residuals.csv": "junk"}, None),
]
"""Where the run was stopped, its files and what is done to them, and what it says then (where that does not depend on
the place of the damage)."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return damage.furnish(tmp_path_factory.mktemp("damage"))


@pytest.mark.parametrize(("stopped", "files", "says"), DAMAGED, ids=str)
def test_damage_changes_no_figure(root, tmp_path, stopped, files, says):
    folder = tmp_path / "damaged"
    shutil.copytree(root / stopped, folder)
    for name, kind in files.items():
        damage.damage(folder / name, kind, np.random.default_rng(7))
    assert damage.outcome(folder, root / "whole") == "same"
    warnings = figures.read(folder / "summary.json").get("warnings", [])
    notes = [note for note in warnings if note.startswith("damaged since it was written: ")]
    if says is not None:
        assert any(says in note for note in notes)
        assert all(any(name in note for note in notes) for name in files)


@pytest.mark.parametrize(
    ("name", "line"), [("case.toml", "case.toml is another case; run without --resume"), ("files.txt", "no run has")]
)
@pytest.mark.parametrize("kind", ["empty", "junk"])
def test_what_says_what_the_run_was_is_named(root, tmp_path, name, line, kind):
    folder = tmp_path / "damaged"
    shutil.copytree(root / "pde", folder)
    damage.damage(folder / name, kind, np.random.default_rng(7))
    result = damage.outcome(folder, root / "whole")
    assert result.startswith("refused: ")
    assert line in result


def test_a_picture_of_a_damaged_file_is_left_out(root, tmp_path, capsys):
    folder = tmp_path / "damaged"
    shutil.copytree(root / "whole", folder)
    (folder / "pde/fields.vtkhdf").write_bytes(b"nothing")
    status, out, err = call(capsys, "show", folder)
    assert status == 0
    assert "fields.png" not in out
    assert "observables.png" in out
    assert "limitpde: pictures/fields.png could not be drawn (InputError: " in err
    assert all(line.startswith("limitpde: pictures/") for line in err.splitlines())


def test_the_end_of_a_file_is_no_wish_to_stop(tmp_path, capsys, monkeypatch):
    """click turns EOFError into an abort, whose status 130 tells a script to run the same again."""

    def ends(*arguments):
        raise EOFError("no more data")

    monkeypatch.setattr(cases, "read", ends)
    with pytest.raises(SystemExit) as left:
        cli.main(["check", "case.toml"])
    assert left.value.code == 3
    assert "EOFError: no more data" in capsys.readouterr().err
