"""A case file: what is accepted, defaults, overrides, and the way back to TOML.

The load is carried by `test_dump_is_the_case` (case.toml of a result is the case) and `test_an_override`.
"""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import os
from pathlib import Path

import pytest
from casefiles import BASE, from_python, read, without

from limitpde import case as cases
from limitpde.errors import InputError


def test_a_case_has_only_the_sections_it_needs(tmp_path):
    for section in ("pde", "particles", "compare", "output"):
        (tmp_path / "case.toml").write_text(without(section))
        case = read(tmp_path)
        assert (getattr(case, section) is None) == (section != "output")
    (tmp_path / "case.toml").write_text(without("pde", "particles"))
    with pytest.raises(InputError, match="nothing to do"):
        read(tmp_path)


def test_a_fixed_gamma_has_no_limit_equation(tmp_path):
    (tmp_path / "case.toml").write_text(BASE.replace("gamma_bar", "gamma"))
    with pytest.raises(InputError, match=r"model\.gamma_bar is missing"):
        read(tmp_path)
    (tmp_path / "case.toml").write_text(without("pde").replace("gamma_bar", "gamma"))
    case = read(tmp_path)
    assert (case.model.gamma, case.model.gamma_bar) == (0.4, None)


def test_any_mass_without_particles(tmp_path):
    (tmp_path / "case.toml").write_text(without("particles"))
    assert read(tmp_path, "initial.positive.0.mass=3").initial.mass(0) == 3.0


def test_defaults(folder):
    case = read(folder)
    assert (case.pde.degree, case.particles.method, case.particles.kernel) == (1, "auto", "capped")
    assert (case.particles.eps, case.particles.cutoff, case.output.directory) == (None, None, None)
    assert (case.model.interaction, case.model.diffusivity, case.output.checkpoint_every) == ("signed", "ito", 60.0)


@pytest.mark.parametrize(
    ("override", "found", "expected"),
    [
        ("pde.step=0.005", lambda case: case.pde.step, 0.005),
        (" pde.step = 0.005 # a comment", lambda case: case.pde.step, 0.005),
        ("time.end=2", lambda case: case.time.end, 2.0),
        ("particles.counts=[16, 32]", lambda case: case.particles.counts, (16, 32)),
        ("pde.mesh={ shape = 'disk', radius = 3, cell_size = 1 }", lambda case: case.pde.mesh.radius, 3.0),
        ("pde.mesh.radius=5.0", lambda case: case.pde.mesh.radius, 5.0),
        ("compare.test_functions.1.k=[2.0, 0.0]", lambda case: case.compare.test_functions[1].k, (2.0, 0.0)),
        ("output.directory=some/where", lambda case: case.output.directory, "some/where"),
        ('output.directory="a b"', lambda case: case.output.directory, "a b"),
        ("output.directory='x=y'", lambda case: case.output.directory, "x=y"),
        ("model.diffusivity=paper", lambda case: case.model.diffusivity, "paper"),
        ("particles.eps=0", lambda case: case.particles.eps, 0.0),
    ],
)
def test_an_override(folder, override, found, expected):
    value = found(read(folder, override))
    assert value == expected
    assert type(value) is type(expected)
    assert found(read(folder)) != expected


def test_the_last_override_counts_and_a_section_can_be_made(tmp_path):
    (tmp_path / "case.toml").write_text(without("particles", "compare"))
    case = read(tmp_path, "particles.counts=[4]", "particles.step=0.5", "particles.step=0.25")
    assert (case.particles.counts, case.particles.step) == ((4,), 0.25)


def test_dump_is_the_case(folder):
    overrides = [
        "particles.eps=0.125",
        "particles.cutoff=3",
        "output.directory='a \"b\" ü'",
        "seed=9223372036854775807",
    ]
    overrides.append(from_python("densities.py:good"))
    case = read(folder, *overrides)
    text = cases.dump(case)
    (folder / "again.toml").write_text(text, encoding="utf-8")
    again = cases.read(folder / "again.toml")
    assert again == case
    assert cases.dump(again) == text
    for default in ('interaction = "signed"', 'method = "auto"', "degree = 1", "checkpoint_every = 60.0"):
        assert default in text


def test_files_are_looked_for_in_the_folder_of_the_case(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    (folder / "disk.msh").write_text("")
    monkeypatch.chdir(folder / "elsewhere")
    case = cases.read(Path(os.pardir) / "case.toml", ["pde.mesh=disk.msh", from_python("densities.py:good")])
    assert Path(case.pde.mesh).resolve() == (folder / "disk.msh").resolve()
    assert case.initial.positive[0].python == f"{folder.resolve() / 'densities.py'}:good"


@pytest.mark.parametrize(
    ("every", "end", "expected"),
    [
        (0.5, 1.0, [0.5, 1.0]),
        (0.4, 1.0, [0.4, 0.8, 1.0]),
        (7.0, 1.0, [1.0]),
        (0.1, 0.3, [0.1, 0.2, 0.3]),
        (1.0, 1.0, [1.0]),
    ],
)
def test_output_times_end_with_the_end(folder, every, end, expected):
    case = read(folder, f"output.every={every}", f"time.end={end}")
    times = case.output_times
    assert times == pytest.approx(expected, rel=1e-14)
    assert times[-1] == end


def test_ten_outputs_by_default(tmp_path):
    (tmp_path / "case.toml").write_text(without("output"))
    case = read(tmp_path)
    assert case.output_times == pytest.approx([k / 10 for k in range(1, 11)], rel=1e-14)
