"""The house stands as it is drawn: imports run downhill and in no circle, one name has one meaning."""

import ast
import collections
import graphlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import limitpde

PACKAGE = Path(limitpde.__file__).parent
SYSTEMS = ("signed", "coagulation", "vlasov", "meanfield")
LEVELS = (
    ("",),  # the package itself, which offers `run`
    ("__main__",),
    ("cli",),
    ("keys", "studies"),
    ("study_needs",),
    ("schema", "study_plan"),
    ("refining",),
    ("experiment",),
    ("result",),
    ("case", "findings", "particle_files", "progress", "run_record", "solution_files"),
    ("error_budget",),
    SYSTEMS,
    ("needs", "system"),
    ("sections",),
    ("compare",),
    ("fem", "nbody"),
    ("potentials", "speed"),
    ("cautions",),
    ("results",),
    ("densities", "domains"),
    ("files",),
    ("checked", "dolfinx_versions", "parallel"),
    ("arrays", "compiled", "errors", "launch", "version"),
)
"""Rooms from top to bottom: each imports those of lower levels only."""
ROOMS = {
    "Case",
    "Compare",
    "Ensemble",
    "Initial",
    "Model",
    "PDE",
    "PDEResidual",
    "PDESummary",
    "Particles",
    "Solver",
}
"""Names that every system has for the same thing of its own."""

Graph = Mapping[str, set[str]]


def modules() -> dict[str, ast.Module]:
    """Name of a module -> its syntax tree."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def imports(trees: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Module -> those of the package that it imports: anywhere, in functions and for types only too."""
    graph: dict[str, set[str]] = {}
    for module, tree in trees.items():
        found = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}: a relative import"
                inner = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                found |= {name if name in trees else str(node.module) for name in inner.values()}
        graph[module] = found & set(trees)
    return graph


def circle(graph: Graph) -> list[str]:
    """Modules that import each other in a circle; empty where there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def uphill(graph: Graph) -> Iterator[tuple[str, str]]:
    """Imports of a room that is not below: that of another system is one."""
    level = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
    for module, imported in graph.items():
        for other in imported:
            above, below = (f"{name}.".split(".")[1] for name in (module, other))
            if above != below and not level[above] < level[below]:
                yield module, other


def definitions(trees: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """Name of a public class, or of a type by another name -> the modules that define it."""
    found = collections.defaultdict(list)
    for module, tree in trees.items():
        for node in tree.body:
            match node:
                case ast.ClassDef(name=name) | ast.TypeAlias(name=ast.Name(id=name)):
                    found[name].append(module)
                case ast.Assign(targets=[ast.Name(id=name)]) if name[0].isupper() and not name.isupper():
                    found[name].append(module)
    return {name: where for name, where in found.items() if not name.startswith("_")}


def ambiguous(defined: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Names that stand in several modules, except those that each system has once."""
    found = {}
    for name, where in defined.items():
        systems = [module.split(".")[1] for module in where]
        once = name in ROOMS and set(systems) <= set(SYSTEMS) and len(set(systems)) == len(systems)
        if len(where) > 1 and not once:
            found[name] = where
    return found


def test_every_room_has_its_level():
    rooms = {f"{module}.".split(".")[1] for module in modules()}
    assert rooms <= {room for level in LEVELS for room in level}


def test_imports_run_in_no_circle():
    assert circle(imports(modules())) == []


def test_imports_run_downhill():
    assert list(uphill(imports(modules()))) == []


def test_one_name_has_one_meaning():
    defined = definitions(modules())
    assert len(defined) > 200
    assert ambiguous(defined) == {}


def test_faults_are_seen():
    texts = {
        "limitpde.fem.a": "from limitpde.signed import b\nclass Grid: ...",
        "limitpde.signed.b": "from limitpde.vlasov.c import Model\nclass Model: ...\nclass Solver: ...",
        "limitpde.vlasov.c": (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import limitpde.vlasov.d\ntype Grid = int\n"
        ),
        "limitpde.vlasov.d": (
            "def f():\n    from limitpde.vlasov.c import Grid\nSolver = int\nModel = int\nclass Model: ...\n"
        ),
    }
    trees = {name: ast.parse(text) for name, text in texts.items()}
    graph = imports(trees)
    assert set(circle(graph)) == {"limitpde.vlasov.c", "limitpde.vlasov.d"}
    assert set(uphill(graph)) == {
        ("limitpde.fem.a", "limitpde.signed.b"),
        ("limitpde.signed.b", "limitpde.vlasov.c"),
    }
    assert set(ambiguous(definitions(trees))) == {"Grid", "Model"}
