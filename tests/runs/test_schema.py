"""The JSON schema of cases against what `check` accepts; help of records; the logger.

The load is carried by `test_what_check_accepts_the_schema_accepts` and
`test_an_unknown_key_is_refused_wherever_it_stands`.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import ast
import copy
import functools
import json
import logging
import re
import tomllib
from pathlib import Path

import mutants
import pytest
from hypothesis import given, settings
from processes import call

from limitpde import case as cases
from limitpde.coagulation.model import Part
from limitpde.densities import Gaussian
from limitpde.errors import InputError
from limitpde.schema import schema
from limitpde.signed import Model

jsonschema = pytest.importorskip("jsonschema")
ROOT = Path(__file__).parents[2]


@functools.cache
def validator(system):
    found = json.loads(schema(system))
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(found)


def mistakes(data):
    return [f"{error.json_path}: {error.message[:200]}" for error in validator(data["system"]).iter_errors(data)]


def accepted(data):
    try:
        cases.check(copy.deepcopy(data))
    except InputError:
        return False
    return True


def written():
    """Cases in the texts of the documents and of the tests, those that are meant to be right."""
    texts = [
        block for path in ROOT.glob("docs/*.md") for block in re.findall(r"```toml\n(.*?)```", path.read_text(), re.S)
    ]
    for path in ROOT.glob("tests/**/*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        texts += [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for text in texts:
        if "system = " in text and "{" in text:
            try:
                data = tomllib.loads(text)
            except tomllib.TOMLDecodeError:
                continue
            if data.get("system") in list(cases.BUILT_IN) and accepted(data):  # which may have become a section
                yield data


def test_what_check_accepts_the_schema_accepts():
    found = [*mutants.sources(), *written()]
    assert len(found) > 20
    for data in found:
        assert mistakes(data) == []
        full = json.loads(json.dumps(cases.values_of(cases.check(data, folder=mutants.DEMOS)), default=str))
        if '"python"' not in json.dumps(data):  # a file is no text any more
            assert mistakes(full) == []


@settings(mutants.SETTINGS, max_examples=100, derandomize=True)
@given(mutants.mutants())
def test_a_mutant_that_is_a_case_is_accepted(data):
    if data.get("system") in list(cases.BUILT_IN) and accepted(data):  # which may have become a section
        assert mistakes(json.loads(json.dumps(data))) == []


@pytest.mark.parametrize("data", mutants.sources(), ids=lambda data: data["system"])
def test_an_unknown_key_is_refused_wherever_it_stands(data):
    for number in range(len(mutants.holders(data))):
        changed = copy.deepcopy(data)
        holder = mutants.holders(changed)[number]
        if isinstance(holder, dict):
            holder["nosuchkey"] = 1
            assert mistakes(changed)


def test_the_command_prints_it(capsys):
    status, out, _ = call(capsys, "schema", "coagulation")
    assert status == 0
    assert json.loads(out) == json.loads(schema("coagulation"))
    status, _, message = call(capsys, "schema", "nosuch")
    assert status == 2
    assert "signed" in message


def test_help_of_a_record_tells_its_fields():
    assert "sigma (" in Model.__doc__
    for record in (Model, Part, Gaussian):
        for name, field in record.__pydantic_fields__.items():
            line = next(line for line in record.__doc__.splitlines() if line.startswith(f"    {name} ("))
            assert " ".join(str(field.description or "").split()).rstrip(".") in line


def test_the_logger_says_what_a_run_does(tmp_path, caplog, capsys):
    case = {
        "system": "signed",
        "model": {"sigma": 1.0, "gamma": 0.4},
        "initial": {"positive": [{"shape": "gaussian", "mass": 1.0, "center": [0.0, 0.0], "width": 0.5}]},
        "time": {"end": 0.1},
        "particles": {"counts": [4], "step": 0.05},
    }
    with caplog.at_level(logging.INFO, logger="limitpde"):
        limitpde.run(cases.check(case), out=tmp_path / "r")
    told = [record.getMessage() for record in caplog.records]
    assert "particles: begins" in told
    assert any(re.fullmatch(r"particles: \d+\.\d\d s", line) for line in told)
    assert capsys.readouterr() == ("", "")
