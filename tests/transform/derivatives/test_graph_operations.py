"""Gradients flow through every verb of the graph."""

from __future__ import annotations

import copy

import jax
import jax.numpy as jnp

from brainstate_graph import (
    State,
    clone,
    graph_to_tree,
    graphdef,
    iter_leaf,
    pop_states,
    states,
    tree_to_graph,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from brainstate_transform import grad, jit
from tests.laws.graphs import Gadget, Param
from tests.tables import each

# Each reads the value of the state through the graph.
READS = {
    "clone": lambda s: clone(Gadget(s=s)).s.value,
    "split": lambda s: treefy_split({"a": [s]})[1]["a"][0].value,
    "split and merge": lambda s: treefy_merge(*treefy_split([s]))[0].value,
    "treefy_states": lambda s: treefy_states([s])[0].value,
    "pure dict": lambda s: treefy_states([s]).to_pure_dict()[0],
    "states": lambda s: states([s]).to_dict_values()[0,],
    "deepcopy": lambda s: copy.deepcopy(s).value,
    "deepcopy of a node": lambda s: copy.deepcopy(Gadget(s=s)).s.value,
    "copy": lambda s: s.copy().value,
    "copy.copy": lambda s: copy.copy(s).value,
    "replace": lambda s: s.replace(name="other").value,
    "graph_to_tree": lambda s: jax.tree.leaves(graph_to_tree({"s": s})[0])[0],
    "there and back": lambda s: tree_to_graph(graph_to_tree([Gadget(s=s)])[0])[0].s.value,
    "iter_leaf": lambda s: next(iter_leaf([s]))[1].value,
    "state of a state": lambda s: State(s).value,
    "update": lambda s: (other := type(s)(jnp.zeros(())), update_states([other], {0: s}), other.value)[-1],
    "update by tree": lambda s: (o := type(s)(jnp.zeros(())), update_states([o], treefy_states([s])), o.value)[-1],
    "merge of live": lambda s: treefy_merge(graphdef([s]), {0: s})[0].value,
    "pop": lambda s: pop_states({"a": s}, ...)["a",].value,
}


@each("read", READS.values(), ids=READS)
def test_gradients_flow_through_graph_operations(read):
    s = Param(jnp.float32(3.0))
    for make in (lambda f: f, jit):
        (g,) = jax.tree.leaves(grad(make(lambda: read(s) ** 2), wrt=[s])())
        assert g == 6.0
