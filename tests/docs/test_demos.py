"""The demos: found by glob, each a claim in its docstring, run at its small size to its final assertion."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from processes import environment

ROOT = Path(__file__).parents[2]
DEMOS = sorted((ROOT / "demos").glob("*.py"))
LIMIT = 300  # seconds; the first run on a machine compiles, beside another test


def run(demo: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """What became of a demo in a folder."""
    command = [sys.executable, str(demo), "--quick"]
    return subprocess.run(
        command, cwd=folder, env=environment(), text=True, capture_output=True, timeout=LIMIT, check=False
    )


@pytest.mark.parametrize("demo", DEMOS, ids=lambda path: path.stem)
def test_claim_holds(demo, tmp_path):
    done = run(demo, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for path in tmp_path.glob("results/*"):
        assert path.stem.endswith("_quick"), f"{path.name} would overwrite the full run"


@pytest.mark.parametrize("demo", DEMOS, ids=lambda path: path.stem)
def test_says_what_it_claims(demo):
    text = ast.get_docstring(ast.parse(demo.read_text()))
    assert text is not None
    assert text.startswith("Claim: ")
    assert f"demos/{demo.name}" in next(line for line in text.splitlines() if line.startswith("Run: "))
    assert f"demos/{demo.name}" in (ROOT / "docs" / "gallery.md").read_text()


def test_false_claim_fails(tmp_path):
    """The walkers do not follow a coalescent that runs at another rate."""
    text = (ROOT / "demos" / "coagulation_walkers.py").read_text()
    right = "beta = pair_rate(3, merge_rate, size=SIZE)"
    assert right in text
    demo = tmp_path / "wrong.py"
    demo.write_text(text.replace(right, f"{right} / 2"))
    done = run(demo, tmp_path)
    assert done.returncode == 1
    assert "AssertionError: the walkers do not follow Kingman's coalescent" in done.stderr
