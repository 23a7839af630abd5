"""Classes that are registered as nodes or pytrees, early and late."""

from __future__ import annotations

from typing import Any

import jax
import pytest

from brainstate_graph import (
    GraphError,
    State,
    clone,
    graphdef,
    nodes,
    pop_states,
    register_graph_node_type,
    states,
    treefy_split,
    treefy_states,
)
from tests.laws.graphs import Gadget


class Foreigner:
    def __init__(self, **held: Any) -> None:
        self.held = held


class Twice(Foreigner):
    pass


def test_equal_keys_from_a_foreign_flatten_are_refused():
    register_graph_node_type(
        Twice,
        flatten=lambda t: ([("x", t.held["x"]), ("x", t.held["y"])], None),
        set_key=lambda t, key, child: t.held.__setitem__(key, child),
        pop_key=lambda t, key: t.held.pop(key),
        create_empty=lambda _: Twice(),
        clear=lambda t: t.held.clear(),
    )
    model = Gadget(a=[Twice(x=State(1.0), y=State(2.0))])
    for verb in (treefy_split, treefy_states, states, nodes, clone, graphdef, lambda m: pop_states(m, ...)):
        with pytest.raises(GraphError, match=r"a\.0.*Twice.*equal keys"):
            verb(model)


def test_a_class_registered_after_its_first_use_becomes_a_node():
    class Late(Foreigner):
        pass

    class Sub(Late):
        pass

    holders = [Gadget(x=cls(plain=1), y=[cls(plain=1)]) for cls in (Late, Sub)]
    for model in holders:
        assert not states(model)
        assert len(nodes(model)) == 1
    register_graph_node_type(
        Late,
        flatten=lambda t: (sorted(t.held.items()), None),
        set_key=lambda t, key, child: t.held.__setitem__(key, child),
        pop_key=lambda t, key: t.held.pop(key),
        create_empty=lambda _: Late(),
        clear=lambda t: t.held.clear(),
    )
    for model in holders:
        model.x.held["w"] = State(1.0)
        model.y[0].held["w"] = State(2.0)
        fresh = Gadget(x=model.x, y=model.y)
        assert list(states(fresh)) == [("x", "w"), ("y", 0, "w")]
        assert type(clone(fresh).x) is type(model.x)
        model.z = 1  # a change makes the old model look again
        assert len(states(model)) == 2


@pytest.mark.graph_cache
def test_a_registration_is_seen_by_the_cached_model():
    class Later(Foreigner):
        pass

    model = Gadget(x=Later(w=1), s=State(0.0))
    assert len(nodes(model)) == 1
    register_graph_node_type(
        Later,
        flatten=lambda t: (sorted(t.held.items()), None),
        set_key=lambda t, key, child: t.held.__setitem__(key, child),
        pop_key=lambda t, key: t.held.pop(key),
        create_empty=lambda _: Later(),
        clear=lambda t: t.held.clear(),
    )
    model.x.held["w"] = State(1.0)
    assert list(states(model)) == [("s",), ("x", "w")]


def test_a_class_registered_as_pytree_after_its_first_use():
    class Late:
        def __init__(self, held: Any) -> None:
            self.held = held

    first = Gadget(x=Late(1))
    assert not states(first)
    assert not states([Gadget(x=Late(2))])
    jax.tree_util.register_pytree_node(Late, lambda late: ((late.held,), None), lambda _, held: Late(*held))
    s = State(1.0)
    assert list(states(Gadget(x=Late(s)))) == [("x", 0)]
    assert clone(Gadget(x=Late(s))).x.held.value == 1.0
    first.x = Late(s)
    assert list(states(first)) == [("x", 0)]


def test_what_is_registered_must_be_callable():
    class Foreign:
        pass

    with pytest.raises(TypeError, match=r"flatten|call"):
        register_graph_node_type(Foreign, 1, 2, 3, 4, 5)  # type: ignore[arg-type]
