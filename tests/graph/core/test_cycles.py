"""Containers and values that hold themselves are refused by path."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import (
    GraphError,
    Snapshot,
    State,
    clone,
    graphdef,
    iter_leaf,
    nodes,
    pop_states,
    states,
    treefy_split,
)
from tests.laws.graphs import Bag, Gadget, assert_isomorphic
from tests.tables import each


def ring(kind: str) -> Any:
    a: Any = []
    b: Any = [a]
    if kind == "list":
        a.append(a)
    elif kind == "two lists":
        a.append(b)
    elif kind == "dict":
        a = {}
        a["x"] = a
    elif kind == "through a tuple":
        a.append((1, {"k": a}))
    elif kind == "pytree":
        a = Bag()
        a.items.append(a)
    return a


@each("kind", ["list", "two lists", "dict", "through a tuple", "pytree"])
@each("cached", [True, False])
def test_a_container_that_holds_itself_is_refused_by_path(kind, cached, monkeypatch):
    monkeypatch.setattr(Snapshot, "enabled", cached)
    for root, path in ((Gadget(deep=ring(kind), s=State(1.0)), "deep"), ([ring(kind)], "0"), (ring(kind), "root|0|x")):
        for verb in (
            treefy_split,
            states,
            nodes,
            clone,
            graphdef,
            lambda m: list(iter_leaf(m)),
            lambda m: pop_states(m, ...),
        ):
            with pytest.raises(GraphError, match=rf"at \(?({path}).*holds itself. Hold it in a Node"):
                verb(root)
        repr(root)
    assert jnp.ones(2).sum() == 2.0
    loop = Gadget(s=State(1.0))
    loop.items = [{"me": loop}]
    assert_isomorphic(clone(loop), loop)


@each("kind", ["namespace", "dataclass", "list subclass", "partial", "object array", "deep dataclasses"])
def test_a_static_value_that_holds_itself_is_refused_by_path(kind):
    import dataclasses
    import functools
    import types

    class Items(list):
        pass

    @dataclasses.dataclass
    class Record:
        held: Any = None

    item: Any
    if kind == "namespace":
        item = types.SimpleNamespace()
        item.me = item
    elif kind == "dataclass":
        item = Record()
        item.held = item
    elif kind == "list subclass":
        item = Items()
        item.append(item)
    elif kind == "partial":
        item = functools.partial(print)
        item.__setstate__((print, (item,), {}, {}))
    elif kind == "object array":
        item = np.empty(1, object)
        item[0] = item
    else:
        item = None
        for _ in range(3_000):
            item = Record(item)
    said = "a.0"
    try:
        assert list(states(Gadget(a=[item], s=State(1.0)))) == [("s",)]
    except GraphError as error:
        said = str(error)
    assert "a.0" in said
