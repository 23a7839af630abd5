"""A chain of 100,000 nodes and a model of 100,000 states: every verb works, whatever Python's recursion limit."""

from __future__ import annotations

import copy
import pickle

import cloudpickle
import jax
import numpy as np
import pytest

from brainstate_graph import (
    Snapshot,
    State,
    WithTag,
    clone,
    diff,
    fingerprint,
    from_json,
    graph_to_tree,
    graphdef,
    iter_leaf,
    iter_node,
    merge_context,
    nodes,
    pop_states,
    split_context,
    states,
    to_dot,
    to_json,
    tree_to_graph,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from tests.laws.graphs import Gadget

COUNT = 100_000


def chain():
    link = None
    for number in range(COUNT):
        link = Gadget(w=State(number, tag="last" if number == 0 else None), next=link)
    return link


def wide():
    return Gadget(
        layers=[Gadget(w=State(2 * i, tag=None if i else "last"), b=State(2 * i + 1)) for i in range(COUNT // 2)]
    )


def total(root):
    return sum(jax.tree.leaves(treefy_states(root)))


SUM = COUNT * (COUNT - 1) // 2


COPIES = {
    "clone": clone,
    "deepcopy": copy.deepcopy,
    "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    "cloudpickle": lambda m: pickle.loads(cloudpickle.dumps(m)),
    "pickle of the parts": lambda m: treefy_merge(*pickle.loads(pickle.dumps(treefy_split(m)))),
    "tree and back": lambda m: tree_to_graph(graph_to_tree([m])[0])[0],
}


@pytest.mark.slow
@pytest.mark.parametrize("make", [chain, wide])
def test_copies(make):
    model = make()
    for name, copied in COPIES.items():
        again = copied(model)
        assert graphdef(again) is graphdef(model), name
        assert total(again) == SUM, name


@pytest.mark.slow
@pytest.mark.parametrize("make", [chain, wide])
def test_verbs(make):
    model = make()
    shape, tree = treefy_split(model)
    assert Snapshot(model).graphdef is shape
    assert len(tree.to_flat()) == len(states(model)) == COUNT
    assert len(nodes(model)) == (COUNT if make is chain else COUNT // 2 + 1)
    assert next(iter(iter_node(model)))[1] is model
    assert isinstance(next(iter(iter_leaf(model)))[1], State)
    update_states(model, jax.tree.map(lambda x: x + 1, tree))
    assert total(model) == SUM + COUNT
    last, rest = tree.split(WithTag("last"), ...)
    assert (len(last.to_flat()), len(rest.to_flat())) == (1, COUNT - 1)
    assert jax.tree.structure(last | rest) == jax.tree.structure(tree)
    with split_context() as ctx:
        parts = [ctx.treefy_split(model), ctx.treefy_split([model])]
    with merge_context() as ctx:
        first, second = (ctx.treefy_merge(*part) for part in parts)
    assert second[0] is first
    assert len(pop_states(model, "last")) == 1
    assert len(states(model)) == COUNT - 1
    assert "w" in str(diff(shape, graphdef(model)))


@pytest.mark.slow
@pytest.mark.parametrize("make", [chain, wide])
def test_words(make):
    model = make()
    shape = graphdef(model)
    assert len(fingerprint(shape)) == 32
    assert from_json(to_json(shape), [Gadget, State]) is shape
    for text in (repr(model), str(shape), to_dot(model), repr(treefy_states(model))):
        assert 0 < len(text) < 100_000
    assert np.isfinite(hash(shape))
