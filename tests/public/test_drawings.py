"""A drawing on a page is the one that `to_dot` writes for the model of that page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as xml
from collections.abc import Iterator

from tests.public.sources import ROOT
from tests.public.test_docs import run_page

PAGE, DRAWING = ROOT / "docs/start/thinking_in_graphs.md", ROOT / "docs/start/network.svg"
SVG = "{http://www.w3.org/2000/svg}"


def things_of_dot(text: str) -> Iterator[tuple[str, ...]]:
    """The nodes and arrows in the text for Graphviz, each with the lines of its label."""
    for name, label in re.findall(r'^  (n\d+(?: -> n\d+)?) \[label="((?:[^"\\]|\\.)*)"', text, re.MULTILINE):
        yield name.replace(" ", ""), *filter(None, re.split(r"\\[nl]", label))


def things_of_svg(text: str) -> Iterator[tuple[str, ...]]:
    """The same of what Graphviz made of it."""
    for group in xml.fromstring(text).iter(f"{SVG}g"):
        if group.get("class") in ("node", "edge"):
            yield group.findtext(f"{SVG}title", ""), *(line.text or "" for line in group.iter(f"{SVG}text"))


def test_the_drawing_is_that_of_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(PAGE.read_text().partition("\n![")[0], str(PAGE))  # up to the drawing
    ours = sorted(things_of_dot((tmp_path / "network.dot").read_text()))
    assert len(ours) == 6 + 8, "six things and eight arrows"
    assert sorted(things_of_svg(DRAWING.read_text())) == ours, (
        f"draw it anew: dot -Tsvg -Gbgcolor=white {tmp_path}/network.dot > {DRAWING}"
    )
