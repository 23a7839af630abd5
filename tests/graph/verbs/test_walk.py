"""Looking at a graph: states, nodes and leaves by path and depth."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainstate_graph import Node, PathContains, State, iter_leaf, iter_node, nodes, states, treefy_split, treefy_states
from brainstate_graph.extend import fields_of
from tests.laws.graphs import Bag, Gadget, Pair, Param, Stat, Widget, graphs, net, parts_of, tied
from tests.tables import each

DEPTHS = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 5), (3, 99)]


def follow(root, path):
    """What stands at a path, and how many nodes are passed below the root."""
    depth = 0
    for key in path:
        if isinstance(root, Node):
            root = fields_of(root)[key]
        elif isinstance(root, Bag):
            root = root.items[key]
        elif isinstance(root, tuple) and isinstance(key, str):
            root = getattr(root, key)
        else:
            root = root[key]
        depth += isinstance(root, Node)
    return root, depth


def by_hand(root):
    """Every static value and array with its path, where each node, list, dict and Bag is entered once."""
    found = []
    seen = set()

    def visit(path, item):
        followed = isinstance(item, tuple) and (
            hasattr(item, "_fields") or any(isinstance(x, (Node, State, list, dict, Bag, tuple)) for x in item)
        )
        if followed or isinstance(item, (Node, State, list, dict, Bag)):
            if id(item) in seen:
                return
            seen.add(id(item))
        if isinstance(item, Node):
            steps = sorted(fields_of(item).items())
        elif isinstance(item, dict):
            steps = sorted(item.items(), key=lambda pair: (type(pair[0]).__name__, repr(pair[0])))
        elif isinstance(item, (list, Bag)):
            steps = list(enumerate(item if isinstance(item, list) else item.items))
        elif isinstance(item, tuple) and hasattr(item, "_fields"):
            steps = list(zip(item._fields, item, strict=True))
        elif isinstance(item, tuple) and any(isinstance(x, (Node, State, list, dict, Bag)) for x in item):
            steps = list(enumerate(item))
        else:
            if item is not None and not (isinstance(item, tuple) and not item):
                found.append((path, item))
            return
        for key, child in steps:
            visit((*path, key), child)

    visit((), root)
    return found


@given(graphs())
def test_leaves_are_those_that_a_walk_by_hand_finds(model):
    mine, oracle = list(iter_leaf(model)), by_hand(model)
    assert [path for path, leaf in mine if isinstance(leaf, State)] == list(states(model))
    assert {id(leaf) for _, leaf in mine if isinstance(leaf, State)} == {
        id(x) for x in parts_of(model) if isinstance(x, State)
    }
    plain = [(path, leaf) for path, leaf in mine if not isinstance(leaf, State)]
    other = [(path, leaf) for path, leaf in oracle if not isinstance(leaf, State)]
    assert len(plain) == len(other)
    for path, leaf in plain:
        assert any(p == path and x is leaf for p, x in other), path


@given(graphs())
def test_paths_lead_to_what_is_given(model):
    for path, item in [*iter_leaf(model), *iter_node(model), *states(model).items(), *nodes(model).items()]:
        assert follow(model, path)[0] is item


@given(graphs(), st.sampled_from(DEPTHS))
def test_a_depth_is_the_number_of_nodes_on_the_path(model, allowed):
    lo, hi = allowed
    inside = lambda path: lo <= follow(model, path)[1] <= hi
    assert [(p, id(s)) for p, s in states(model, allowed_hierarchy=allowed).items()] == [
        (p, id(s)) for p, s in states(model).items() if inside(p)
    ]
    assert [(p, id(s)) for p, s in nodes(model, allowed_hierarchy=allowed).items()] == [
        (p, id(s)) for p, s in nodes(model).items() if inside(p)
    ]
    assert [(p, id(s)) for p, s in iter_node(model, allowed)] == [(p, id(s)) for p, s in iter_node(model) if inside(p)]
    assert [(p, id(s)) for p, s in iter_leaf(model, allowed)] == [(p, id(s)) for p, s in iter_leaf(model) if inside(p)]


def test_depth_counts_nodes_and_not_containers():
    model = net()
    model.own = {"deep": [State(0.0)]}
    assert list(states(model, allowed_hierarchy=(0, 0))) == [("own", "deep", 0)]
    assert {p[0] for p in states(model, allowed_hierarchy=(1, 1))} == {"head", "layers"}
    assert list(nodes(model, allowed_hierarchy=(0, 0))) == [()]
    assert list(nodes([model, State(0.0)], allowed_hierarchy=(1, 1))) == [(0,)]
    assert list(states([model, State(0.0)], allowed_hierarchy=(0, 0))) == [(1,)]


def test_depth_and_filters():
    model = net()
    model.own = Param(1.0)
    params, rest = states(model, Param, ..., allowed_hierarchy=(1, 1))
    assert [type(s) for s in rest.values()] == [Stat] * 3
    assert len(params) == 6
    assert list(states(model, Param, allowed_hierarchy=(0, 0))) == [("own",)]
    assert list(nodes(Gadget(a=Widget(b=Widget())), Widget, allowed_hierarchy=(2, 2))) == [("a", "b")]


@each("bad", [(1, 0), (-1, 2), (1,), (0, 1, 2), (float("nan"), 1)])
def test_what_is_no_range_of_depths(bad):
    for ask in (lambda: states([], allowed_hierarchy=bad), lambda: nodes([], allowed_hierarchy=bad),
                lambda: iter_leaf([], bad), lambda: iter_node([], bad)):  # fmt: skip
        with pytest.raises(ValueError, match=r"the least and the greatest depth, as in \(0, 1\), not \("):
            ask()


def test_nodes_stand_before_those_below_them():
    model = Gadget(b=Widget(), a=Gadget(c=Widget()))
    assert list(nodes(model)) == [(), ("a",), ("a", "c"), ("b",)] == [path for path, _ in iter_node(model)]


def test_what_is_a_leaf():
    array, constant = np.ones(2), jnp.ones(2)
    model = Gadget(
        array=array, constant=constant, empty=[[], {}, ()], none=None, pair=Pair(1, State(2.0)), shape=(2, (3, 4)),
        mixed=(1, State(0.0)), same=array, f=len,
    )  # fmt: skip
    found = dict(iter_leaf(model))
    assert list(found) == [
        ("array",), ("constant",), ("f",), ("mixed", 0), ("mixed", 1), ("pair", "left"), ("pair", "right"),
        ("same",), ("shape",),
    ]  # fmt: skip
    assert found["array",] is array is found["same",]
    assert found["constant",] is constant
    assert found["shape",] == (2, (3, 4))
    assert list(iter_leaf((1, 2))) == [((), (1, 2))]
    assert list(iter_leaf(())) == list(iter_leaf([()])) == []


def test_a_shared_state_is_given_once_by_its_first_path():
    """Trap: `states` counted a tied weight twice, the split once."""
    shared = State(1.0)
    model = Gadget(b=Gadget(w=shared), a=Gadget(w=shared), list=[shared])
    assert list(states(model)) == [("a", "w")] == [p for p, leaf in iter_leaf(model)]


def test_states_and_the_rest_are_all():
    """Trap: one group too many."""
    params, rest = states(net(), Param, ...)
    assert len(params) + len(rest) == len(states(net()))


class Fresh:
    """Flattens to dicts that are made on the spot, so that their ids are reused."""

    def __init__(self, states):
        self.states = states


jax.tree_util.register_pytree_node(
    Fresh, lambda x: ([{"s": s} for s in x.states], None), lambda _, xs: Fresh([x["s"] for x in xs])
)


def test_no_state_is_lost_in_containers_made_on_the_spot():
    """Trap: visited objects were told apart by the ids of temporaries."""
    model = Gadget(**{f"a{i}": Fresh([State(float(i))]) for i in range(8)})
    assert len(states(model)) == 8 == len(list(iter_leaf(model)))


def test_cycles_end():
    model = Gadget(items=[])
    model.me, model.items = model, [model, {"back": model}]
    assert [path for path, _ in iter_node(model)] == [()]
    assert list(iter_leaf(model)) == []
    model.items.append(1)
    assert list(iter_leaf(model)) == [(("items", 2), 1)]


def test_the_graph_may_change_while_we_look():
    model = net()
    for _, leaf in iter_leaf(model):
        if isinstance(leaf, State):
            model.head = None
            model.layers = []
    assert list(iter_leaf(model)) == [(("name",), "net")]
    model = net()
    for path, node in iter_node(model):
        node.seen = path
    assert model.head.seen == ("head",)


@each("look", [iter_leaf, iter_node, states, nodes])
def test_what_is_no_graph_is_refused_at_the_call(look):
    with pytest.raises(ValueError, match="a bare State is not a graph"):
        look(State(1.0))
    with pytest.raises(ValueError, match="5 is not a graph"):
        look(5)


def test_a_long_chain_of_nodes():
    root = last = Gadget(s=State(0))
    for i in range(20_000):
        last.next = Gadget(s=State(i))
        last = last.next
    last.end = last.s
    assert len(states(root)) == len(states(root, allowed_hierarchy=(0, 20_000))) == 20_001
    assert list(states(root, allowed_hierarchy=(0, 1))) == [("next", "s"), ("s",)]
    assert len(nodes(root, allowed_hierarchy=(10, 19))) == 10
    assert next(iter_leaf(root))[0] == ("next",) * 20_000 + ("end",)
    assert len(next(iter_node(root, (10_000, 10_000)))[0]) == 10_000


def test_a_shared_state_is_listed_once_everywhere():
    model = tied()
    found = list(states(model))
    assert found == [("a", "b"), ("a", "w"), ("b", "s")]
    assert list(treefy_states(model).to_flat()) == found
    assert list(treefy_split(model)[1].to_flat()) == found
    assert [path for path, leaf in iter_leaf(model) if isinstance(leaf, State)] == found
    assert [path for part in states(model, Stat, Param) for path in part] == [found[2], *found[:2]]
    assert sum(x.size for x in map(jnp.asarray, jax.tree.leaves(treefy_states(model)))) == 5
    assert repr(model).count("Param(") == 2


def test_filters_give_a_partition_and_no_spurious_part():
    model = net(3)
    everything = dict(states(model).items())
    for filters in [
        (Param, ...),
        (Stat, Param),
        ("bias", Param, ...),
        (PathContains("head"), ..., ...),
        (State, Param),
    ]:
        for parts in (states(model, *filters), treefy_states(model, *filters), treefy_split(model, *filters)[1:]):
            assert len(parts) == len(filters)
            paths = [path for part in parts for path in part.to_flat()]
            assert sorted(map(str, paths)) == sorted(map(str, everything))
    assert len(nodes(model, Widget, ...)) == 2
    assert not isinstance(states(model, Param), tuple)
