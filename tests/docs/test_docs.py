"""The documents keep up with the code: tables against records, code blocks run, cases read, paths and equations found.

The blocks of Python of a document run one after the other, in a folder with a small result of the signed system. One
whose first line is `# NAME.py` is a file beside the cases instead. A block of TOML with a `system` is a whole case, and
is read; one whose first line is `# run: NAME.toml` is run as well. Below a line `<!-- not run: why -->` a block of
Python is only compiled.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import dataclasses
import fnmatch
import importlib
import itertools
import json
import re
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from limitpde import case as cases
from limitpde.checked import _records_in
from limitpde.results import report
from limitpde.system import System

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *GUIDES]
BLOCK = re.compile(r"^(?P<above>.*)\n```(?P<language>\w*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)
TABLE = re.compile(r"<!-- record: (?P<name>[\w.]+) -->\n(?P<rows>(?:\|.*\n)+)")
ROW = re.compile(r"^\| `(?P<key>\w+)` \| (?P<default>.*?) \| (?P<meaning>.*) \|$")
PLACES = ("limitpde/", "docs/", "demos/", "docker/", "meshes/", "tests/")
SIGNED = """
system = "signed"
[model]
sigma = 0.5
gamma_bar = 0.1
confinement = { strength = 1.0 }
[initial]
positive = [{ shape = "gaussian", mass = 0.5, center = [-1.0, 0.3], width = 0.45 }]
negative = [{ shape = "gaussian", mass = 0.5, center = [1.0, -0.3], width = 0.45 }]
[time]
end = 0.1
[pde]
mesh = { shape = "disk", radius = 6.0, cell_size = 0.5 }
step = 0.02
[particles]
counts = [16, 32]
replicas = 4
step = 0.02
[compare]
test_functions = [{ shape = "gaussian", center = [0.0, 0.0], width = 1.0 }]
[output]
every = 0.05
"""
PAIR = """
system = "signed"
[model]
sigma = 1.0
gamma = 0.4
[initial]
positive = [{ shape = "gaussian", mass = 0.5, center = [0.1, 0.0], width = 0.1 }]
negative = [{ shape = "gaussian", mass = 0.5, center = [0.0, 0.0], width = 0.1 }]
[time]
end = 0.1
[particles]
counts = [2]
replicas = 20
step = 0.01
pairs = "exact"
[compare]
test_functions = [{ shape = "gaussian", center = [0.0, 0.0], width = 1.0 }]
[estimates]
check = true
"""
ATTRACTIVE = """
system = "signed"
[model]
sigma = 0.5
gamma_bar = 1.0
interaction = "attractive"
[initial]
positive = [{ shape = "gaussian", mass = 1.0, center = [0.0, 0.0], width = 0.6 }]
[time]
end = 0.02
[pde]
mesh = { shape = "disk", radius = 4.0, cell_size = 0.4 }
step = 0.01
"""
COAGULATION = """
system = "coagulation"
[model]
diffusion = [0.1]
interaction = { shape = "ball", alpha = 20.0 }
n_max = 8
[initial]
masses = [{ n = 1, shape = "uniform", mass = 1.0 }]
[time]
end = 0.02
[pde]
mesh = { shape = "torus", size = 1.0, cell_size = 0.25 }
step = 0.01
[particles]
counts = [32, 64]
replicas = 4
[compare]
test_functions = [{ shape = "wave", k = [0.0, 0.0, 0.0], n = 1 }]
deltas = [0.2]
"""
VLASOV = """
system = "vlasov"
[model]
potential = { kind = "cosine", strength = -1.0 }
form = "hamiltonian"
domain = { x = [0.0, 6.283185307179586], v = [-5.0, 5.0] }
[initial]
shape = "landau"
k = 1.0
amplitude = 0.2
thermal = 0.7
[time]
end = 1.0
[pde]
cells = [8, 16]
step = 0.1
fit = [0.0, 1.0]
[particles]
counts = [50, 100]
replicas = 4
step = 0.1
[compare]
test_functions = [{ shape = "wave", k = [1.0, 0.0] }]
"""
MEANFIELD = """
system = "meanfield"
[model]
dimension = 1
sigma = 0.5
interaction = { kind = "harmonic", strength = 0.5 }
[initial]
species = [[{ shape = "gaussian", mass = 1.0, center = [0.3], width = 0.5 }]]
[time]
end = 0.2
[pde]
mesh = { shape = "box", size = 6.0, origin = -3.0, cell_size = 0.25 }
step = 0.05
[particles]
counts = [16, 32]
replicas = 4
step = 0.05
[compare]
test_functions = [{ shape = "gaussian", center = [0.0], width = 1.0 }]
"""
RESULTS = {
    "case": SIGNED,
    "pair": PAIR,
    "attractive": ATTRACTIVE,
    "coagulation": COAGULATION,
    "vlasov": VLASOV,
    "meanfield": MEANFIELD,
}


def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def name_of(value: Any) -> str:
    return value.name if isinstance(value, Path) else str(value)


# --- the tables of the guides against the records of a case ----------------------------------------------------------


def tables() -> Iterator[tuple[Path, str, list[dict[str, str]]]]:
    """Document, name of a record, rows."""
    for document in GUIDES:
        for found in TABLE.finditer(text_of(document)):
            rows = [ROW.match(line) for line in found["rows"].splitlines()[2:]]
            assert all(rows), f"{document.name}: {found['name']}: a row is not | `key` | default | meaning |"
            yield document, found["name"], [row.groupdict() for row in rows if row]


def records_below(record: type, found: list[type]) -> list[type]:
    """A record and all that its fields may hold."""
    if record not in found:
        found.append(record)
        for hint in typing.get_type_hints(record, include_extras=True).values():
            for _, inner in _records_in(hint):
                records_below(inner, found)
    return found


def toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value) if isinstance(value, bool | str) else str(value)


def default_of(field: dataclasses.Field[Any]) -> str:
    value = field.default
    value = value.default if isinstance(value, FieldInfo) else value
    if value is dataclasses.MISSING or value is PydanticUndefined:
        return "required"
    if value is None:
        return "unset"
    return "its defaults" if dataclasses.is_dataclass(value) else f"`{toml(value)}`"


def choices(hint: Any) -> list[Any]:
    """The values that an annotation lists, but for those of records in it."""
    if typing.get_origin(hint) is Literal:
        return list(typing.get_args(hint))
    inner = [] if dataclasses.is_dataclass(hint) else typing.get_args(hint)
    return [value for part in inner if not isinstance(part, str | int) for value in choices(part)]


@pytest.mark.parametrize(("document", "name", "rows"), list(tables()), ids=name_of)
def test_tables_have_every_key_with_its_default_and_choices(document, name, rows):
    module, _, record = name.rpartition(".")
    cls = getattr(importlib.import_module(module), record)
    fields = dataclasses.fields(cls)
    assert [(row["key"], row["default"]) for row in rows] == [(field.name, default_of(field)) for field in fields]
    hints = typing.get_type_hints(cls, include_extras=True)
    for row in rows:
        allowed = choices(hints[row["key"]])
        said = f"{row['default']} {row['meaning']}"
        missing = [value for value in allowed if len(allowed) > 1 and f"`{toml(value)}`" not in said]
        assert not missing, f"{row['key']}: {missing} are allowed"


@pytest.mark.parametrize("system", cases.BUILT_IN)
def test_guides_have_every_record_of_a_case(system):
    told = {name for document, name, _ in tables() if document.stem in (system, "cases")}
    needed = {f"{record.__module__}.{record.__name__}" for record in records_below(cases.record_of(system), [])}
    assert needed <= told


# --- code blocks ------------------------------------------------------------------------------------------------------


def blocks(document: Path, language: str) -> list[re.Match[str]]:
    return [block for block in BLOCK.finditer(text_of(document)) if block["language"] == language]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small results of all systems, below results/, and with the case of one of them."""
    folder = tmp_path_factory.mktemp("documents")
    for name, case in RESULTS.items():
        (folder / f"{name}.toml").write_text(case)
        limitpde.run(folder / f"{name}.toml", out=folder / "results" / name)
    return folder


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_python_runs_and_cases_are_valid(document, results, monkeypatch):
    monkeypatch.chdir(results)
    space: dict[str, Any] = {"__name__": document.stem}
    for block in blocks(document, "python"):
        code = compile(block["text"], document.name, "exec")
        file = re.match(r"# (\w+\.py)\n", block["text"])
        if file:
            Path(file[1]).write_text(block["text"])
        elif not block["above"].startswith("<!-- not run:"):
            exec(code, space)
    for block in blocks(document, "toml"):
        data = tomllib.loads(block["text"])
        file = re.match(r"# run: (\w+)\.toml\n", block["text"])
        path = Path(f"{file[1] if file else document.stem}.toml")
        if "system" in data:
            path.write_text(block["text"])
            cases.read(path)
        if file:
            limitpde.run(path)


@pytest.mark.parametrize("notebook", sorted((ROOT / "docs/notebooks").glob("*.ipynb")), ids=name_of)
def test_notebooks_run(notebook, monkeypatch):
    """Their code, without a kernel; `make docs` runs them in one."""
    monkeypatch.chdir(notebook.parent)
    cells = [cell for cell in json.loads(text_of(notebook))["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert not any(cell["outputs"] for cell in cells), "clear the outputs: the site has its own"
    space: dict[str, Any] = {"__name__": notebook.stem}
    for cell in cells:
        exec("".join(line for line in cell["source"] if not line.startswith("%")), space)


def test_blocks_are_seen():
    """What the patterns above find is what is there."""
    for document in DOCUMENTS:
        found = sum(len(blocks(document, language)) for language in ("python", "toml", "sh", ""))
        assert found == text_of(document).count("```") / 2, f"{document.name}: a block of another language"
    assert all(blocks(ROOT / f"docs/{system}.md", "toml") for system in cases.BUILT_IN)
    assert all(blocks(ROOT / f"docs/{system}.md", "python") for system in cases.BUILT_IN)


# --- results.md -------------------------------------------------------------------------------------------------------


def expanded(pattern: str) -> Iterator[str]:
    """a.{b,c} -> a.b, a.c."""
    parts = [part.split(",") for part in re.split(r"\{(.*?)\}", pattern)]
    yield from ("".join(choice) for choice in itertools.product(*parts))


def keys(value: Any, path: str = "") -> Iterator[str]:
    """The paths of all figures of a summary; an entry of a list of records is []."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from keys(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            yield from keys(item, f"{path}[]")
    elif value != []:  # an empty list of records tells no keys
        yield path


def described() -> list[str]:
    """What the first columns of the tables of results.md name."""
    cells = re.findall(r"^\| (`[^|]+) \|", text_of(ROOT / "docs/results.md"), re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_key_of_a_summary_is_described(results):
    patterns = [part.replace("[]", "[[]]") for text in described() for part in expanded(text)]
    for name in RESULTS:
        summary = json.loads((results / "results" / name / "summary.json").read_text())
        unknown = [k for k in set(keys(summary)) if not any(fnmatch.fnmatchcase(k, p) for p in patterns)]
        assert not unknown, f"{name}: not in results.md: {sorted(unknown)}"


def test_every_file_of_a_result_is_described(results):
    patterns = [name.replace("<count>", "*") for name in described()]
    for name in RESULTS:
        folder = results / "results" / name
        files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        unknown = [file for file in files if not any(fnmatch.fnmatchcase(file, p) for p in patterns)]
        assert not unknown, f"{name}: not in results.md: {unknown}"


# --- paths, equations, what a system must offer -----------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_paths_exist(document):
    text = BLOCK.sub("", text_of(document))
    for path in re.findall(r"`([\w./*-]+)`", text):
        if path.startswith(PLACES):
            assert list(ROOT.glob(path.rstrip("/"))), f"{path} does not exist"
    for target in re.findall(r"(?<!\\)\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{target} does not exist"


LABEL = re.compile(
    r"\(\d\.\d+\)(?:-\(\d\.\d+\))?|\((?:[A-Z]\w*(?:\^N)?)\)|(?:Lemma|Theorem|Corollary|Proposition|Definition) \d\.\d+"
    r"|section \d(?:\.\d+)*"
)


def equations() -> list[tuple[str, str]]:
    """First and last cell of each row."""
    rows = re.findall(r"^\| (.*) \|$", text_of(ROOT / "docs/equations.md"), re.MULTILINE)
    cells = [re.split(r" \| ", row) for row in rows]
    return [(row[0], row[2]) for row in cells if row[0] != "equation"]


@pytest.mark.parametrize(("equation", "places"), equations(), ids=name_of)
def test_equations_are_named_where_they_are(equation, places):
    if places.startswith("not here: "):
        return
    paths = [ROOT / path for path in re.findall(r"`((?:limitpde|demos)/[\w/.]+)`", places)]
    files = [file for path in paths for file in ([path] if path.is_file() else path.glob("*.py"))]
    assert files
    source = "\n".join(text_of(file) for file in files)
    for label in LABEL.findall(equation):
        assert label in source, f"{label}: not named in {places}"


def test_what_a_system_must_offer_is_told():
    text = text_of(ROOT / "docs/extending.md")
    names = {name for cls in (System, report.Wording) for name in (*vars(cls), *cls.__annotations__) if name[0] != "_"}
    assert len(names) > 10
    for name in names:
        assert f"`{name}`" in text, f"{name}: not in extending.md"


def test_one_version():
    """The package says it; the citation and the list of changes follow."""
    assert f"\nversion: {limitpde.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {limitpde.__version__}" in (ROOT / "CHANGELOG.md").read_text()
