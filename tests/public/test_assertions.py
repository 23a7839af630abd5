"""What is checked is checked under ``python -O`` too, which removes assertions."""

from __future__ import annotations

import ast

from tests.public.sources import ROOT, files_of


def test_nothing_in_the_graph_package_is_checked_by_an_assertion():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files_of("brainstate_graph")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert not found
