"""The documents keep up with the code: tables against records, code blocks run, cases read, paths and equations found.

A block of Python runs in a folder with a small result in it, the blocks of a document one after the other. One whose
first line is `# NAME.py` is a file beside the cases instead. A block of TOML with a `system` is a whole case, and is
read; one whose first line is `# run: NAME.toml` is run as well. Under `<!-- not run: ... -->` a block is only compiled.
"""

from __future__ import annotations

import limitpde  # isort: skip  (MPI and h5py first)
import ast
import dataclasses
import fnmatch
import importlib
import itertools
import re
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import casefiles
import processes
import pytest
from pydantic.fields import FieldInfo

from limitpde import case as cases
from limitpde.checked import _records_in

ROOT = Path(__file__).parent.parent
GUIDES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *GUIDES]
BESIDE = [ROOT / "docker/README.md", ROOT / "meshes/README.md", ROOT / "demos/benchmarks/README.md"]
FENCE = re.compile(r"(?P<above>[^\n]*)\n*^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"<!-- record: (?P<name>[\w.]+) -->\n(?P<rows>(?:\|.*\n)+)")
SMALL = {
    "signed": ('estimates = { check = true }\nparticles.counts = [32]', "case"),
    "coagulation": ("", "coagulation"),
    "vlasov": ("", "vlasov"),
}
pytestmark = pytest.mark.serial
