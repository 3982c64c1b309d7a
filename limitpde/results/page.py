"""report.html: a report in one file, pictures inside, to be sent as it is; a click on its head sorts a table."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it.token import Token

STYLE = """
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color: #222; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; font-size: 14px; }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .7rem; text-align: left; font-variant-numeric: tabular-nums; }
th { cursor: pointer; background: #f4f4f4; } th[aria-sort=ascending]::after { content: " \\25b2"; }
th[aria-sort=descending]::after { content: " \\25bc"; } img { max-width: 100%; height: auto; margin: .5rem 0; }
"""
SCRIPT = """
for (const head of document.querySelectorAll("th")) head.onclick = () => {
  const rows = head.closest("table").tBodies[0].rows, column = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const value = row => row.cells[column].textContent, number = text => parseFloat(text);
  const sorted = [...rows].sort((a, b) => {
    const [x, y] = [number(value(a)), number(value(b))];
    return down * (isNaN(x) || isNaN(y) ? value(a).localeCompare(value(b)) : x - y);
  });
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down === 1 ? "ascending" : "descending");
  rows[0].parentNode.append(...sorted);
};
"""


def page(text: str, directory: Path, title: str) -> str:
    """A report in Markdown as HTML that needs no other file and no network.

    Args:
        text: the report; HTML in it is shown as it is written.
        directory: where its pictures are (PNG); one that is not there leaves its name.
        title: of the page, any text.
    """
    from markdown_it import MarkdownIt  # takes a tenth of a second

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(text)
    _put_inside(tokens, directory)
    body = reader.renderer.render(tokens, reader.options, {})
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}<script>{SCRIPT}</script></body></html>\n'
    )


def _put_inside(tokens: Sequence[Token], directory: Path) -> None:
    """Replace the addresses of pictures by the pictures, and those of other reports by their pages."""
    for token in tokens:
        if token.type == "image":
            path = directory / str(token.attrs["src"])
            if path.is_file():
                token.attrs["src"] = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
        elif token.type == "link_open":
            token.attrs["href"] = str(token.attrs["href"]).replace("/report.md", "/report.html")
        _put_inside(token.children or (), directory)
