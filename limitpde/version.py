"""Of the package: the citation and the list of changes name the same."""

__version__ = "0.1.0"
