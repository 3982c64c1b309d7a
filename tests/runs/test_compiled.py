"""Compiled functions are kept from one process to the next, and are never those of other sources.

The load is carried by the edit of a callee in another file, by machines on which nothing can be kept, and by functions
that differ only in a value of the function that defines them.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import limitpde
from limitpde.compiled import KEPT

TURN = """
import numpy as np
import limitpde
from limitpde.nbody.sums.trigonometric import _turns
print(float(_turns(np.full((1, 1, 1), 4.0), np.ones(1), 8, 0, 1)[0, 0, 0].imag))
"""
POWERS = """
from limitpde.compiled import compiled


def power(n):
    @compiled
    def one(x):
        return x**n

    @compiled
    def shifted(x):
        return one(x) + 1.0

    return shifted
"""
NOWHERE = "/dev/null/none"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of the package, to be edited."""
    shutil.copytree(Path(limitpde.__file__).parent, tmp_path / "copy/limitpde", ignore=shutil.ignore_patterns("*.py?"))
    return tmp_path / "copy"


def _start(code: str, folder: Path, **environment: str) -> subprocess.Popen:
    """A process that imports what lies in a folder; by default it keeps its compiled functions in cache/ beside it."""
    known = {key: value for key, value in os.environ.items() if key not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    known |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_NUM_THREADS": "1"}
    known |= environment or {"NUMBA_CACHE_DIR": str(folder.parent / "cache")}
    return subprocess.Popen([sys.executable, "-c", code], env=known, cwd=folder, stdout=subprocess.PIPE, text=True)


def _printed(process: subprocess.Popen) -> list[float]:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return [float(word) for word in output.split()]


def _value(folder: Path, **environment: str) -> float:
    return _printed(_start(TURN, folder, **environment))[0]


def _kept(folder: Path) -> set[tuple[str, int]]:
    """What is kept in a folder, and where on the disk: a file that is written anew is another one."""
    return {(str(file.relative_to(folder)), file.stat().st_ino) for file in folder.rglob("*") if file.is_file()}


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_an_edit_reaches_compiled_callers_in_other_files_and_nobody_else(copy):
    cache, arithmetic = copy.parent / "cache", copy / "limitpde/nbody/sums/arithmetic.py"
    value = _value(copy)
    first = _kept(cache)
    assert value == pytest.approx(math.sin(4.0), rel=1e-14)
    assert first
    assert _value(copy) == value

    _edit(copy / "limitpde/cli.py", '"""', '"""Edited. ')
    assert _value(copy) == value
    assert _kept(cache) == first

    _edit(arithmetic, "return r * p * (1.0 - 2.0 * odd)", "return 2.0 * r * p * (1.0 - 2.0 * odd)")
    assert _value(copy) == 2 * value
    second = _kept(cache)
    assert first < second

    _edit(arithmetic, "return 2.0 * r * p * (1.0 - 2.0 * odd)", "return r * p * (1.0 - 2.0 * odd)")
    assert _value(copy) == value
    assert _kept(cache) == second  # of the last few sources all is kept


def test_a_constant_of_another_file_counts_as_well(copy):
    value = _value(copy)
    _edit(copy / "limitpde/nbody/sums/arithmetic.py", "PI_HIGH, PI_LOW = 3.14", "PI_HIGH, PI_LOW = 1.0 + 3.14")
    assert _value(copy) == pytest.approx(-math.sin(3.0 - math.pi), rel=1e-14)  # half a turn is longer by 1
    assert value == pytest.approx(math.sin(4.0), rel=1e-14)


def test_of_one_function_only_the_last_sources_are_kept(copy):
    arithmetic = copy / "limitpde/nbody/sums/arithmetic.py"
    _value(copy)
    (first,) = (copy.parent / "cache/limitpde").iterdir()
    name, source = first.name.split("@")
    for number in range(KEPT):
        shutil.copy(first, first.with_name(f"{name}@{number}{source}"))
    os.utime(first, (0, 0))
    abandoned = first.with_name("gone.gone-1-0@0.nbc")
    abandoned.write_bytes(b"")
    os.utime(abandoned, (0, 0))
    arithmetic.write_text(arithmetic.read_text() + "\n# edited\n")
    _value(copy)
    left = list(first.parent.iterdir())
    assert len(left) == KEPT
    assert first not in left
    assert abandoned not in left


def test_without_a_home_the_temporary_folder_keeps_them_and_the_package_is_not_touched(copy):
    temporary = copy.parent / "temporary"
    temporary.mkdir()
    nowhere = {"HOME": NOWHERE, "XDG_CACHE_HOME": NOWHERE, "TMPDIR": str(temporary)}
    package = _kept(copy)
    value = _value(copy, **nowhere)
    kept = _kept(temporary)
    assert [Path(name).parts[0] for name, _ in kept] == [f"limitpde-{os.getuid()}"]
    assert _value(copy, **nowhere) == value
    assert _kept(temporary) == kept
    assert _kept(copy) == package


def test_where_nothing_can_be_kept_each_process_compiles(copy):
    """The temporary folder is there, but others can write in it: what lies there might be theirs."""
    temporary = copy.parent / "temporary"
    open_to_all = temporary / f"limitpde-{os.getuid()}"
    open_to_all.mkdir(parents=True)
    open_to_all.chmod(0o777)
    value = _value(copy, HOME=NOWHERE, XDG_CACHE_HOME=NOWHERE, TMPDIR=str(temporary))
    assert value == pytest.approx(math.sin(4.0), rel=1e-14)
    assert not _kept(temporary)


def test_a_file_that_cannot_be_read_is_compiled_anew(copy):
    value = _value(copy)
    (file,) = (copy.parent / "cache/limitpde").iterdir()
    size = file.stat().st_size
    for content in (b"", file.read_bytes()[: size // 2]):
        file.write_bytes(content)
        assert _value(copy) == value
        assert file.stat().st_size == pytest.approx(size, rel=0.01)


def test_processes_may_compile_the_same_at_once(copy):
    values = [_printed(process) for process in [_start(TURN, copy) for _ in range(3)]]
    assert values[0] == values[1] == values[2]
    kept = _kept(copy.parent / "cache")
    assert len(kept) == 1
    assert _value(copy) == values[0][0]
    assert _kept(copy.parent / "cache") == kept


def test_functions_of_another_package_that_differ_in_an_enclosed_value(copy):
    """Compiled by two processes, used by a third: numba gives both the same symbol."""
    (copy / "powers").mkdir()
    (copy / "powers/__init__.py").write_text("from .made import power\n")
    (copy / "powers/made.py").write_text(POWERS)
    code = "import limitpde\nfrom powers import power\nprint(*(power(n)(3.0) for n in {}))"
    assert _printed(_start(code.format([2]), copy)) == [10.0]
    assert _printed(_start(code.format([3]), copy)) == [28.0]
    kept = _kept(copy.parent / "cache")
    assert _printed(_start(code.format([2, 3]), copy)) == [10.0, 28.0]
    assert _kept(copy.parent / "cache") == kept


def test_all_that_is_kept_is_kept_by_its_sources():
    package = Path(limitpde.__file__).parent
    assert not [file for file in package.rglob("*.py") if "cache=True" in file.read_text()]
