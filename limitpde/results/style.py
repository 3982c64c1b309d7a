"""How pictures look: the style of the package, with that of the user over it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from limitpde.errors import InputError

OURS = Path(__file__).with_name("limitpde.mplstyle")
"""The style of the package, in matplotlib's own format."""
NAME = "limitpde"
"""Name under which matplotlib finds a style of the user, in its folder stylelib, for all pictures."""
MARKERS = "os^Dv<>p"


@contextmanager
def styled(own: str | None = None) -> Iterator[None]:
    """Draw in the style of the package while this lasts.

    Args:
        own: a style file, or a name that matplotlib knows, laid over it; that of the user, if there is one, by default.

    Raises:
        InputError: matplotlib cannot read the style.
    """
    from matplotlib import style

    over = [own] if own is not None else [NAME] if NAME in style.library else []
    with ExitStack() as stack:
        try:
            stack.enter_context(style.context([str(OURS), *over]))
        except (OSError, ValueError) as error:
            raise InputError(f"style {own or NAME!r}: matplotlib cannot read it ({error})") from error
        yield


def of_count(number: int, total: int) -> dict[str, str]:
    """Colour and marker of the particles of one N, the number-th of so many: from light to dark as N grows."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    shade = 0.55 - 0.55 * number / (total - 1) if total > 1 else 0.3
    return {"color": to_hex(colormaps["plasma"](0.1 + shade)), "marker": MARKERS[number % len(MARKERS)]}
