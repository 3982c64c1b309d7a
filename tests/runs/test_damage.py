"""A run that goes on with damaged files: the same figures, or one line that names the file; never anything mixed.

`python tests/support/endurance.py --only damage --many 500` tries more.
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
from limitpde.errors import InputError
from limitpde.files import PythonFunction
from limitpde.results import figures
from limitpde.results.folder import Folder
from limitpde.results.inputs import Inputs

ANEW = "begins anew, from t = 0"
BEFORE = "goes on from the checkpoint before, t = 0.0"
DAMAGED = [
    ("pde", {"checkpoint/solution.npz": "empty"}, BEFORE),
    ("pde", {"checkpoint/solution.npz": "bits"}, BEFORE),
    ("pde", {"checkpoint/solution.npz": "cut", "checkpoint/previous.npz": "junk"}, ANEW),
    ("pde", {"checkpoint/solution.npz": "last byte", "summary.json": "cut"}, BEFORE),
    ("pde", {"summary.json": "removed"}, "the seconds spent until then are not counted"),
    ("pde", {"case.toml": "junk"}, "it was written anew"),
    ("particles", {"case.toml": "removed"}, "it was written anew"),
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


@pytest.mark.parametrize("kind", ["removed", "empty", "junk"])
def test_a_list_that_is_damaged_is_named_and_can_be_written_anew(root, tmp_path, kind):
    folder = tmp_path / "damaged"
    shutil.copytree(root / "pde", folder)
    names = damage.files_of(folder)
    damage.damage(folder / "files.txt", kind, np.random.default_rng(7))
    result = damage.outcome(folder, root / "whole")
    assert result.startswith("refused: ")
    assert "if runs have written them and the list is damaged" in result
    (folder / "files.txt").write_text("".join(f"{name}\n" for name in [*names, "pictures/*", "report.*"]))
    assert damage.outcome(folder, root / "whole") == "same"


def test_a_torn_line_of_the_list_stays_a_line(tmp_path):
    folder = Folder(tmp_path)
    folder.begin("", resume=False)
    (tmp_path / "files.txt").write_text("files.txt\ncase.to")
    folder = Folder(tmp_path)
    folder.own("report.md")
    folder.own("inputs/data[1].py")
    assert (tmp_path / "files.txt").read_text() == "files.txt\ncase.to\nreport.md\ninputs/data[1].py\n"
    assert folder._is_own("inputs/data[1].py")
    assert not folder._is_own("inputs/data1.py")


def test_a_run_that_was_killed_before_it_began_begins(root, tmp_path):
    """Of its case there is a draft alone."""
    folder = tmp_path / "killed"
    folder.mkdir()
    (folder / "files.txt").write_text("files.txt\ncase.toml\nsummary.json\n")
    (folder / "case.toml.77.tmp").write_text("half")
    assert damage.outcome(folder, root / "whole") == "same"


def test_without_case_and_summary_nothing_is_known_of_a_run(root, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(root / "pde", folder)
    (folder / "case.toml").unlink()
    (folder / "summary.json").unlink()
    assert "is the result of another case" in damage.outcome(folder, root / "whole")


def test_a_case_that_was_edited_in_its_result_does_not_go_on(root, tmp_path, capsys):
    """Else the state of one case would be that of another from then on."""
    folder = tmp_path / "edited"
    shutil.copytree(root / "pde", folder)
    text = (folder / "case.toml").read_text()
    (folder / "case.toml").write_text(text.replace("sigma = 0.5", "sigma = 0.6"))
    status, _, err = call(capsys, "run", folder / "case.toml", "--out", folder, "--resume")
    assert (status, "is the result of another case" in err) == (2, True)
    (folder / "case.toml").write_text(text)
    assert call(capsys, "run", folder / "case.toml", "--out", folder, "--resume", "--quiet")[0] == 0


def test_copies_of_the_inputs_stand_in_for_the_summary(tmp_path):
    (tmp_path / "f.py").write_text("def f(x):\n    return x\n")
    inputs = Inputs([PythonFunction(f"{tmp_path / 'f.py'}:f")])
    folder = Folder(tmp_path / "r")
    folder.begin("", resume=False)
    inputs.keep(folder)
    inputs.check(inputs.kept(folder))
    (tmp_path / "r" / "inputs" / "f.py").write_text("def f(x):\n    return 2 * x\n")
    with pytest.raises(InputError, match="has changed since the earlier run"):
        inputs.check(inputs.kept(folder))
    inside = Inputs([PythonFunction(f"{tmp_path / 'r' / 'inputs' / 'f.py'}:f")])  # the copy itself
    with pytest.raises(InputError, match="has changed since the earlier run"):
        inside.check(inside.kept(folder))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"system"', '"sistem"'),
        lambda text: text.replace('"test_function"', '"test"'),
        lambda text: text.replace('"mean": ', '"mean": "x", "was": '),
        lambda text: text[:-9],
    ],
)
def test_figures_that_are_damaged_are_named_by_show(root, tmp_path, capsys, change):
    shutil.copytree(root / "whole", tmp_path / "damaged")
    path = tmp_path / "damaged" / "summary.json"
    path.write_text(change(path.read_text()))
    status, _, err = call(capsys, "show", path.parent)
    assert status == 2
    assert f"limitpde: {path}: not the figures of a run (" in err


@pytest.mark.parametrize("kind", ["empty", "cut", "junk"])
def test_fields_that_are_damaged_are_named_by_export(root, tmp_path, capsys, kind):
    shutil.copytree(root / "whole", tmp_path / "damaged")
    path = tmp_path / "damaged" / "pde" / "fields.vtkhdf"
    damage.damage(path, kind, np.random.default_rng(3))
    status, _, err = call(capsys, "export", path.parent)
    assert (status, err.count("\n")) == (2, 1)
    assert f"limitpde: {path}: " in err


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
