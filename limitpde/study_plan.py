"""What a study is to run: the case, the keys that vary, and the runs of the sweep, all of them checked."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from limitpde import case as cases
from limitpde.errors import InputError
from limitpde.refining import Values
from limitpde.sections import BaseCase, Study

MOST_RUNS = 10_000
"""Runs of one study."""


@dataclass(frozen=True, slots=True)
class StudyRun:
    """One run of a study."""

    name: str
    """Of its folder: that of the first run of its point, with a number behind it for a refinement."""
    values: Values
    """What it changes in the case."""
    case: BaseCase
    seconds: float | None = None
    """That it will take, by an earlier run of its point."""

    @property
    def point(self) -> str:
        """The combination of values that it belongs to."""
        return self.name.partition("-")[0]


class StudyPlan:
    """A case, what varies in it, and the runs of the sweep, all of them checked. On rank 0.

    Args:
        data: sections and keys of the case, without [study].
        folder: where files that the case names are looked for.
        where: what messages begin with.
        asked: what is to vary.

    Attributes:
        case: the case, with what is to vary.
        asked: what is to vary.
        runs: of the sweep.

    Raises:
        InputError: a key or a value is wrong, or there is nothing to vary.
    """

    def __init__(self, data: dict[str, Any], folder: Path | None, where: str, asked: Study) -> None:
        self._data, self._folder, self._where, self.asked = data, folder, where, asked
        if asked.over is None and asked.precision is None and asked.budget is None:
            raise InputError(
                f"{where}: nothing to vary: give --over KEY=V1,V2,..., --precision or --budget, or [study]"
            )
        if asked.precision is not None:
            if "compare" not in data:
                raise InputError(f"{where}: --precision: needs [compare] with test functions")
            cases.assign(data, "compare.precision", asked.precision, where=where)
        base = cases.check(data, where=where, folder=folder)
        if (asked.precision or asked.budget) and (base.compare is None or base.particles is None) and not asked.over:
            raise InputError(f"{where}: nothing to refine: there is a verdict only with [particles] and [compare]")
        self.case = replace(base, study=replace(asked, budget=None))
        self.runs = [self.made(f"run{k:03d}", values) for k, values in enumerate(self._combinations(), start=1)]

    @classmethod
    def of(cls, case: cases.CaseLike, overrides: cases.Overrides, given: Mapping[str, Any]) -> StudyPlan:
        """The plan of a case.

        Args:
            case: a path, a dictionary, or a case.
            overrides: of it.
            given: fields of `Study` that go before those of the case.
        """
        data, folder, where = cases.source_of(case, overrides)
        read = cases.check(data, where=where, folder=folder)
        data.pop("study", None)
        return cls(data, folder, where, replace(read.study or Study(), **given))

    def _combinations(self) -> list[Values]:
        over = self.asked.over or {}
        if self.asked.zip:
            lengths = {key: len(values) for key, values in over.items()}
            if len(set(lengths.values())) > 1:
                told = ", ".join(f"{key} {number}" for key, number in lengths.items())
                raise InputError(f"{self._where}: --zip: all keys need as many values; there are {told}")
            return [dict(zip(over, values, strict=True)) for values in zip(*over.values(), strict=True)] or [{}]
        number = math.prod(len(values) for values in over.values())
        if number > MOST_RUNS:
            raise InputError(f"{self._where}: {number} runs: at most {MOST_RUNS} are allowed in one study")
        return [dict(zip(over, values, strict=True)) for values in itertools.product(*over.values())]

    def made(self, name: str, values: Values) -> StudyRun:
        """The run of this name with these values.

        Raises:
            InputError: one of them is wrong.
        """
        data, where = copy.deepcopy(self._data), ", ".join(f"{key} = {value!r}" for key, value in values.items())
        for key, value in values.items():
            cases.assign(data, key, copy.deepcopy(value), where=f"{self._where}: --over {key}")
        where = f"{self._where}: {where}" if where else self._where
        made = cases.check(data, where=where, folder=self._folder)
        try:
            made.check_files()
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        return StudyRun(name, values, made)
