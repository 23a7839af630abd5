"""Each verb of the graph over each sort of graph: the same results however tied, cyclic, odd or deep it is."""

from __future__ import annotations

import copy
import pickle

import jax
import pytest

from brainstate_graph import (
    NestedDict,
    Node,
    Nothing,
    State,
    clone,
    diff,
    fingerprint,
    from_json,
    graph_to_tree,
    graphdef,
    iter_leaf,
    iter_node,
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
from tests.laws.graphs import GRAPHS, assert_isomorphic, chain, parts_of, uncached
from tests.tables import each

ALLOW = ["tests", "builtins", "collections"]

# What gives the same graph once more, of objects that are its own.
COPIES = {
    "clone": clone,
    "split and merge": lambda m: treefy_merge(*treefy_split(m)),
    "split by filters and merge": lambda m: treefy_merge(*treefy_split(m, "a tag", State, ...)),
    "merge of a pure dict": lambda m: treefy_merge(graphdef(m), treefy_states(m).to_pure_dict()),
    "merge of a flat tree": lambda m: treefy_merge(graphdef(m), treefy_states(m).to_flat()),
    "deepcopy": copy.deepcopy,
    "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    "tree and back": lambda m: tree_to_graph(graph_to_tree([m])[0])[0],
    "pickle of the parts": lambda m: treefy_merge(*pickle.loads(pickle.dumps(treefy_split(m)))),
}
# What only looks.
LOOKS = {
    "states": states,
    "nodes": nodes,
    "graphdef": lambda m: str(graphdef(m)),
    "leaves": lambda m: list(iter_leaf(m)),
    "iter_node": lambda m: list(iter_node(m)),
    "repr": repr,
    "dot": to_dot,
    "diff": lambda m: diff(graphdef(m), graphdef(clone(m))),
    "fingerprint": lambda m: fingerprint(graphdef(m)),
    "treefy_states": lambda m: repr(treefy_states(m)),
    "eval_shape": lambda m: jax.eval_shape(lambda t: t, treefy_states(m).filter(lambda path, s: s.value is not None)),
    "update with its own": lambda m: update_states(m, treefy_states(m)),
    "pop from a clone": lambda m: pop_states(clone(m), Nothing()),
    "nest": lambda m: NestedDict(treefy_states(m).to_pure_dict()).to_flat().to_nest(),
}
MAKERS = [pytest.param(make, id=name) for name, make in GRAPHS.items()]


@pytest.mark.parametrize("make", MAKERS)
@each("again", COPIES.values(), ids=COPIES)
def test_a_copy_is_the_same_graph_of_other_objects(make, again):
    model = make()
    other = again(model)
    assert_isomorphic(model, other)
    assert graphdef(other) is graphdef(model) is uncached(model)
    mine = {id(part) for part in parts_of(model)}
    assert not any(id(part) in mine for part in parts_of(other))


@pytest.mark.parametrize("make", MAKERS)
@each("look", LOOKS.values(), ids=LOOKS)
def test_looking_changes_nothing(make, look):
    model, oracle = make(), make()
    shape = graphdef(model)
    look(model)
    assert_isomorphic(model, oracle)
    assert graphdef(model) is shape is graphdef(oracle)


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_found_is_what_a_walk_finds(make):
    model = make()
    parts = parts_of(model)
    inside = [part for part in parts if isinstance(part, State)]
    found = states(model)
    assert {id(state) for state in found.values()} == {id(part) for part in inside}
    assert {id(n) for n in nodes(model).values()} == {id(part) for part in parts if isinstance(part, Node)}
    assert len(found) == len(treefy_states(model).to_flat()) == len(graphdef(model).state_rows) == len(inside)
    assert {id(leaf) for _, leaf in iter_leaf(model) if isinstance(leaf, State)} == {id(part) for part in inside}
    with split_context() as (ctx, numbers):
        ctx.treefy_split(model)
        assert all(state in numbers for state in inside)


@pytest.mark.parametrize("make", MAKERS)
def test_values_go_where_they_belong(make):
    model = make()
    found = states(model)
    new = {path: jax.tree.map(lambda _, n=float(n): n, state.value) for n, (path, state) in enumerate(found.items())}
    update_states(model, new, strict=False)
    assert {path: state.value for path, state in states(model).items()} == new
    assert all(a is b for a, b in zip(found.values(), states(model).values(), strict=True))


@pytest.mark.parametrize("make", MAKERS)
def test_a_shape_comes_back_from_its_text(make):
    shape = graphdef(make())
    assert from_json(to_json(shape), ALLOW) is shape


@each("verb", [*COPIES.values(), *LOOKS.values(), copy.copy], ids=[*COPIES, *LOOKS, "copy.copy"])
def test_depth_is_no_limit(verb):
    verb(chain(3_000))  # three times the depth to which Python may recurse
