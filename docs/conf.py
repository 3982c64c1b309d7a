"""The site: guides in Markdown, notebooks that are run, the reference from docstrings. `make docs` builds it."""

import re
from pathlib import Path

import limitpde  # MPI and h5py first

HERE = Path(__file__).parent
project = "limitpde"
author = "The limitpde developers"
version = release = limitpde.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
exclude_patterns = ["*.sh"]
html_theme = "furo"
html_title = "limitpde"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]  # transcripts: commands with what they print
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
napoleon_use_ivar = True
napoleon_use_rtype = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)]*)\)")
MARKUP = re.compile(r"`[^`]*`|[\\*|]|(?<=\w)_(?!\w)")


def without_links_outside(app: object, name: str, source: list[str]) -> None:
    """Links to files of the repository that are not part of the site become their names."""

    def named(found: re.Match[str]) -> str:
        text, path = found[1], found[2]
        return f"`{path}`" if text in (path, f"`{path}`") else f"{text} (`{path}`)"

    source[0] = OUTSIDE.sub(named, source[0])


def plain(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text: what reStructuredText takes for markup in formulas is shown as it is."""

    def shown(found: re.Match[str]) -> str:
        return f"`{found[0]}`" if found[0].startswith("`") else f"\\{found[0]}"

    lines[:] = [MARKUP.sub(shown, line) for line in lines]
    if what == "property" and lines:
        lines[0] = lines[0].replace(": ", " \N{EN DASH} ", 1)  # napoleon takes what is before a colon for a type


def setup(app) -> None:
    """Called by Sphinx."""
    app.connect("source-read", without_links_outside)
    app.connect("autodoc-process-docstring", plain, priority=100)  # before napoleon reads the sections
