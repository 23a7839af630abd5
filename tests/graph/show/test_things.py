"""Each kind of thing shows as what it is."""

from __future__ import annotations

import pytest

from brainstate_graph import (
    GraphDef,
    NestedDict,
    Node,
    State,
)
from tests.graph.core.test_copying import THINGS
from tests.tables import each


@each("make", THINGS.values(), ids=THINGS)
def test_things_show_as_what_they_are(make):
    treescope = pytest.importorskip("treescope")
    thing = make()
    text = repr(thing)
    assert "object at 0x" not in text
    page = treescope.render_to_text(thing)
    if isinstance(thing, (State, Node, NestedDict, GraphDef)):
        assert "object at 0x" not in page
        assert type(thing).__name__ in page
