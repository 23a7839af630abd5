"""What all verbs take and refuse: filters, mappings, graphs, ranges of depths, names."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import (
    FlattedDict,
    GraphDef,
    GraphError,
    NestedDict,
    Node,
    Not,
    State,
    TreefyState,
    WithTag,
    catch_new_states,
    clone,
    graphdef,
    iter_leaf,
    iter_node,
    merge_context,
    nodes,
    pop_states,
    split_context,
    states,
    to_predicate,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from tests.laws.graphs import Gadget, Param, Stat, net
from tests.tables import each

HOSTILE = {
    "split": treefy_split,
    "states": states,
    "nodes": nodes,
    "clone": clone,
    "graphdef": graphdef,
    "treefy_states": treefy_states,
    "iter_leaf": lambda x: list(iter_leaf(x)),
    "iter_node": lambda x: list(iter_node(x)),
    "pop": lambda x: pop_states(x, ...),
    "update": lambda x: update_states(x, {}),
}


def test_filters_and_mappings_of_every_form_are_taken_everywhere():
    model = Gadget(a=Param(1.0, tag="t"), b=Stat(2.0), c=[State(3.0)])
    forms = [
        Param,
        Param | Stat,
        [Param, "t"],
        "t",
        lambda p, s: True,
        ...,
        None,
        Not(Param),
        Param | WithTag("t"),
        State[Any],
    ]
    for form in forms:
        chosen = set(states(model, form))
        assert set(treefy_states(model, form).to_flat()) == chosen
        assert set(treefy_split(model, form, ...)[1].to_flat()) == chosen
        assert set(treefy_states(model).to_flat().filter(form)) == chosen
        assert set(treefy_states(model).split(form, ...)[0].to_flat()) == chosen
        with catch_new_states("new", exclude=form) as caught:
            made = [Param(1.0, tag="t"), Stat(2.0), State(3.0)]
        expected = [s for s in made if not to_predicate(form)((), s)]
        assert [s for s in made if s in caught] == expected
    assert set(pop_states(clone(model), Param | Stat)) == {("a",), ("b",)}
    for data in (
        {"a": 5.0},
        {("a",): 5.0},
        FlattedDict({("a",): 5.0}),
        NestedDict({"a": 5.0}),
        {"a": TreefyState(Param, 5.0)},
        {"a": Param(5.0)},
        states(Gadget(a=Param(5.0))),
        treefy_states(Gadget(a=Param(5.0))).to_flat(),
    ):
        model.a.value = 0.0
        update_states(model, data)
        assert model.a.value == 5.0
        assert treefy_merge(graphdef(model), data, {"b": 1.0, "c": {0: 2.0}}).a.value == 5.0
    assert graphdef(Node()).rows
    with split_context() as ctx:
        first, second = ctx.treefy_split(model), ctx.treefy_split([model])
    with merge_context() as ctx:
        with pytest.raises(GraphError, match=r"not merged yet.*in the order"):
            ctx.treefy_merge(*second)
        again = ctx.treefy_merge(*first)
        assert ctx.treefy_merge(*second)[0] is again


@each("verb", HOSTILE.values(), ids=HOSTILE)
@each("root", [None, 3, "text", np.ones(2), jnp.ones(2), State(1.0), Node, len, TreefyState], ids=str)
def test_what_is_no_graph_is_refused(verb, root):
    with pytest.raises(ValueError, match=r"not a graph.*(Node|hold it in)"):
        verb(root)


@each("data", [None, 3, [1.0], "a", State(1.0), Gadget(a=State(1.0)), graphdef([1])], ids=lambda x: type(x).__name__)
def test_what_is_no_data_is_refused(data):
    model = Gadget(a=State(1.0))
    for verb in (
        lambda: update_states(model, data),
        lambda: update_states(model, {"a": 9.0}, data),
        lambda: treefy_merge(graphdef(model), data),
    ):
        with pytest.raises(TypeError, match=r"state tree or a nested dict"):
            verb()
    assert model.a.value == 1.0
    with pytest.raises(TypeError, match=r"GraphDef first"):
        treefy_merge(data if not isinstance(data, GraphDef) else 3, {})


@each("depths", [3, "ab", (0,), (0, 1, 2), None, (1, 0), (-1, 2), ("a", "b")])
def test_a_range_of_depths_is_checked(depths):
    for verb in (states, nodes, iter_leaf, iter_node):
        with pytest.raises((ValueError, TypeError)):
            verb(net(1), allowed_hierarchy=depths)


@each("depths", [3, "ab", None, ("a", "b")])
def test_a_range_of_depths_is_explained(depths):
    with pytest.raises((ValueError, TypeError), match=r"allowed_hierarchy"):
        states(net(1), allowed_hierarchy=depths)


def test_an_attribute_may_have_any_name():
    model = Gadget(w=State(1.0))
    for name in ("_graph", "_shown", "graph", "state", "tick", "_value"):
        setattr(model, name, State(2.0))
        assert (name,) in states(model)
        delattr(model, name)
    assert list(states(model)) == [("w",)]


def test_a_new_state_under_a_name_of_the_package_leaves_the_node_whole():
    model = Gadget(w=State(1.0))
    with pytest.raises(GraphError, match="unexpected: __graph__"):
        update_states(model, {"__graph__": State(2.0)}, allow_new=True)
    assert list(states(model)) == [("w",)]
