"""report.html: one file, no network, nothing of a title or a note that a browser could take for HTML."""

from __future__ import annotations

import limitpde  # noqa: F401  isort: skip  (MPI and h5py first)
import base64
import io
from html.parser import HTMLParser

from matplotlib.figure import Figure
from matplotlib.image import imread

from limitpde.results import figures, report
from limitpde.results.folder import Folder

EVIL = '<script>alert("x")</script> & <b>bold</b> ![p](http://x.invalid/p.png)'
VOID = {"meta", "img", "br", "hr"}


class Reader(HTMLParser):
    """What a page is made of; an end without its beginning is an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag, attrs):
        """Note a tag without content."""
        self.found.append((tag, dict(attrs)))

    def handle_starttag(self, tag, attrs):
        """Note a tag, and open it."""
        self.found.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag):
        """Close the tag that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Note text that a reader sees."""
        self.text += data if self.open[-1:] != ["script"] else ""

    def of(self, name):
        """Attributes of the tags of a name."""
        return [attrs for tag, attrs in self.found if tag == name]


def test_a_page_holds_all_that_it_shows(tmp_path):
    summary = {
        "system": "signed",
        "title": EVIL,
        "status": "failed",
        "reason": EVIL,
        "warnings": [EVIL],
        "pde": {"dofs": 12, "steps": 3},
    }
    figures.write(tmp_path / "summary.json", summary)
    (tmp_path / "pictures").mkdir()
    figure = Figure(figsize=(2.0, 1.0))
    figure.subplots().plot([0.0, 1.0])
    figure.savefig(tmp_path / "pictures" / "one.png", dpi=50)
    report.write(Folder(tmp_path), [tmp_path / "pictures" / "one.png"], report.Wording())
    assert "report.html" in (tmp_path / "files.txt").read_text().split()
    text = (tmp_path / "report.html").read_text()
    page = Reader(text)
    (image,) = page.of("img")
    data = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"), validate=True)
    assert imread(io.BytesIO(data)).shape[:2] == (50, 100)
    assert len(page.of("script")) == 1
    assert not page.of("b") + page.of("link") + page.of("a")
    assert not [attrs for _, attrs in page.found if attrs.get("src", "data:").partition(":")[0] != "data"]
    assert page.text.count('alert("x")') == 4  # title of the page, heading, reason, warning: shown, not run
    assert len(page.of("table")) == 1
    assert "figure" in page.text
    assert "12" in page.text


def test_a_picture_that_is_gone_leaves_its_name(tmp_path):
    figures.write(tmp_path / "summary.json", {"system": "signed", "status": "done"})
    report.write(Folder(tmp_path), [tmp_path / "pictures" / "gone.png"], report.Wording())
    (image,) = Reader((tmp_path / "report.html").read_text()).of("img")
    assert image == {"src": "pictures/gone.png", "alt": "gone"}


def test_a_bar_in_a_text_is_no_edge_of_a_cell():
    lines = report.table(["|v|", "x"], [["a|b", 0.5]]).splitlines()
    assert lines == [r"| \|v\| | x |", "|---|---|", r"| a\|b | 0.5 |"]
