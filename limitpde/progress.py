"""Progress of a run on the terminal."""

from __future__ import annotations

import sys

from tqdm import tqdm

LAYOUT = "{l_bar}{bar}| [{elapsed}<{remaining}]"


class Bar:
    """A progress bar, shown after two seconds; a line every 10 s where there is no terminal. A context manager.

    Args:
        name: of what goes on.

    Keyword Args:
        shown: whether there is to be one.
        total: at its end.
        layout: of tqdm.
    """

    def __init__(self, name: str, *, shown: bool, total: float = 1.0, layout: str = LAYOUT) -> None:
        self._end = total
        self._bar = tqdm(
            total=total,
            desc=name,
            bar_format=layout,
            delay=2.0,
            mininterval=0.2 if sys.stderr and sys.stderr.isatty() else 10.0,
            disable=not shown or sys.stderr is None,
            file=sys.stderr,
        )

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Take it away."""
        self._bar.close()

    def advance(self, amount: float) -> None:
        """Move on, not beyond the end: parts of a whole may add up to a little more."""
        self._bar.n = min(self._bar.n + amount, self._end)  # not `update`: rounding may lead it beyond the end
        self._bar.update(0)
