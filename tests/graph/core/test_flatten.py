"""Taking apart and putting together is the identity, up to isomorphism, for every graph."""

from __future__ import annotations

import collections
import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from brainstate_graph import (
    GraphError,
    Node,
    State,
    TreefyState,
    clone,
    graphdef,
    nodes,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from brainstate_graph.extend import fields_of, flatten, unflatten
from tests.laws.graphs import Bag, Gadget, Pair, Param, Stat, assert_isomorphic, graphs, net, parts_of
from tests.tables import each


def check_split_then_merge(model):
    shape, tree = treefy_split(model)
    merged = treefy_merge(shape, tree)
    assert_isomorphic(model, merged)
    assert graphdef(merged) is shape
    assert_isomorphic(model, treefy_merge(*treefy_split(merged)))
    mine = {id(part) for part in parts_of(model)}
    assert not any(id(part) in mine for part in parts_of(merged))
    assert_isomorphic(model, treefy_merge(*treefy_split(model, Param, Stat, ...)))
    assert_isomorphic(model, treefy_merge(*jax.jit(lambda *x: x)(*treefy_split(model))) if plain(tree) else merged)


def plain(tree):
    return all(isinstance(x, jax.Array) for x in jax.tree.leaves(tree))


@given(graphs(shared_pytrees=False))
def test_split_then_merge(model):
    check_split_then_merge(model)


@given(graphs())
def test_split_then_merge_with_shared_pytrees(model):
    check_split_then_merge(model)


@each("wrap", [lambda b: (b,), lambda b: Pair(b, 1), lambda b: Bag(b)])
def test_a_shared_pytree(wrap):
    bag = Bag(State(1.0))
    copied = clone(Gadget(a=bag, b=wrap(bag)))
    inside = copied.b.items[0] if isinstance(copied.b, Bag) else copied.b[0]
    assert inside is copied.a


@given(graphs(shared_pytrees=False))
def test_states_and_nodes_are_those_that_a_walk_finds(model):
    parts = parts_of(model)
    found = states(model)
    assert {id(s) for s in found.values()} == {id(p) for p in parts if isinstance(p, State)}
    assert {id(n) for n in nodes(model).values()} == {id(p) for p in parts if isinstance(p, Node)}
    assert len(found) == len(treefy_states(model).to_flat()) == len({id(s) for s in found.values()})
    for path, item in [*found.items(), *nodes(model).items()]:
        assert follow(model, path) is item


def follow(item, path):
    for key in path:
        if isinstance(item, Node):
            item = fields_of(item)[key]
        elif isinstance(item, Bag):
            item = item.items[key]
        elif isinstance(item, Pair):
            item = getattr(item, key)
        else:
            item = item[key]
    return item


def test_the_path_of_a_shared_state_is_the_first_in_depth():
    shared = State(1.0)
    model = Gadget(a=Gadget(x=shared, y=State(2.0)), b=shared)
    assert list(states(model)) == [("a", "x"), ("a", "y")]


@given(graphs(shared_pytrees=False))
def test_a_state_tree_is_the_tree_of_its_paths(model):
    tree = treefy_states(model)
    direct = type(tree).from_flat(dict(tree.to_flat()))
    assert jax.tree.structure(direct) == jax.tree.structure(tree)
    for path, ref in tree.to_flat().items():
        below = tree
        for key in path:
            below = below[key]
        assert below.value is ref.value


def test_a_tied_state_does_not_hide_its_neighbours():
    shared = State(1.0)
    tree = treefy_states(Gadget(a=Gadget(x=shared, y=State(2.0)), b=shared))
    assert tree["a"]["y"].value == 2.0


@given(graphs(shared_pytrees=False))
def test_clone_is_independent(model):
    before = copy.deepcopy(model)
    copied = clone(model)
    for state in states(copied).values():
        state.value = "changed"
    for part in parts_of(copied):
        if isinstance(part, Node):
            part.changed = 1
        elif isinstance(part, list):
            part.append(1)
        elif isinstance(part, dict):
            part["changed"] = 1
    assert_isomorphic(model, before)


def test_clone_is_independent_inside_the_values_of_states():
    model = Gadget(a=State(np.ones(2)), b=State({"w": 1.0}))
    copied = clone(model)
    copied.b.value["w"] = 5.0
    assert model.b.value == {"w": 1.0}
    copied.a.value[0] = 5.0
    assert model.a.value.tolist() == [1.0, 1.0]


def test_a_state_tree_does_not_change_with_its_model():
    model = Gadget(b=State({"w": 1.0}))
    tree = treefy_states(model)
    model.b.value["w"] = 5.0
    assert tree["b"].value == {"w": 1.0}


@each("copier", [clone, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_containers(copier):
    s = State(1.0)
    model = Gadget(
        empty=([], {}, (), None, ""),
        nested=[{"a": (s, [s, 1])}, collections.OrderedDict(z=s, a=2)],
        table=collections.defaultdict(list, k=[s]),
        order={"z": State(1.0), "a": State(2.0), 5: 3},
        pair=Pair(s, None),
        bag=Bag(s, {"k": [State(2.0)]}, label="l"),
        mixed=(1, jnp.ones(2)),
        ref=TreefyState(State, jnp.ones(2)),
    )
    copied = copier(model)
    del copied.mixed, copied.ref, model.mixed, model.ref  # arrays are compared by identity
    assert_isomorphic(model, copied)


def test_nodes_of_one_class_whose_attributes_have_other_types():
    model = Gadget(a=Gadget(k=1), b=Gadget(k=True), c=Gadget(k=State(1.0)), d=Gadget(k=1.0))
    assert_isomorphic(model, clone(model))


def test_alike_nodes_get_statics_of_their_own():
    model = clone(Gadget(a=Gadget(k={1}), b=Gadget(k={1})))
    model.a.k.add(2)
    assert model.b.k == {1}


@each("root", [lambda: [net(), State(1.0)], lambda: {"a": net()}, lambda: (net(), 1), lambda: Pair(net(), 2)])
def test_a_container_is_a_root_too(root):
    item = root()
    assert_isomorphic(item, clone(item))
    assert_isomorphic(item, treefy_merge(*treefy_split(item)))
    before = clone(item)
    update_states(item, treefy_states(before))


def test_cycles_through_nodes():
    node = Gadget()
    node.me = (node, [node], {"me": node}, Pair(node, Bag(node)))
    assert_isomorphic(node, clone(node))
    bag = Bag(State(1.0), node)
    node.bag = [bag, {"bag": bag}]
    assert_isomorphic(node, clone(node))


def _list_in_itself():
    ring = [State(1.0)]
    ring.append(ring)
    return ring


def _through_a_tuple():
    ring = []
    ring.append((ring, State(1.0)))
    return ring


def _through_a_dict():
    ring = {}
    ring["x"] = [ring]
    return ring


def _through_a_pytree():
    bag = Bag(State(1.0))
    bag.items.append([bag])
    return bag


RINGS = {
    "list": (_list_in_itself, "a list"),
    "tuple": (_through_a_tuple, "a (list|tuple)"),
    "dict": (_through_a_dict, "a (list|dict)"),
    "pytree": (_through_a_pytree, "a (list|Bag)"),
}


@each("ring", RINGS)
@each("operation", [treefy_split, clone, states, nodes, graphdef])
def test_a_container_that_holds_itself_is_an_error(ring, operation):
    make, what = RINGS[ring]
    model = Gadget(deep=Gadget(x=make()))
    with pytest.raises(GraphError, match=rf"at deep\.x.*: {what} holds itself. Hold it in a Node"):
        operation(model)
    del model.deep.x
    operation(model)


def test_keys_of_one_pytree_must_differ():
    class Twice:
        def __init__(self, a, b):
            self.a, self.b = a, b

    key = jax.tree_util.GetAttrKey("x")
    jax.tree_util.register_pytree_with_keys(Twice, lambda t: (((key, t.a), (key, t.b)), None), lambda _, c: Twice(*c))
    with pytest.raises(GraphError, match="x"):
        graphdef(Gadget(t=Twice(State(1.0), State(2.0))))


def test_a_pytree_whose_unflatten_looks_at_its_children():
    class Wrap:
        def __init__(self, **parts):
            self.parts = parts

    jax.tree_util.register_pytree_node(Wrap, lambda w: ((dict(w.parts),), None), lambda _, c: Wrap(**c[0]))
    model = Gadget(**{f"w{i}": Wrap(s=State(float(i))) for i in range(8)})
    assert len(states(model)) == 8
    assert [getattr(clone(model), f"w{i}").parts["s"].value for i in range(8)] == list(map(float, range(8)))


def test_a_namedtuple_with_its_own_constructor():
    class Same(collections.namedtuple("Same", "a b")):
        def __new__(cls, a):
            return super().__new__(cls, a, a)

    copied = clone(Gadget(x=Same(State(1.0)))).x
    assert copied.a is copied.b
    assert type(copied) is Same


def test_a_class_registered_late():
    class Late:
        def __init__(self, x):
            self.x = x

    model = Gadget(z=Late(1))
    graphdef(model)
    jax.tree_util.register_pytree_node(Late, lambda z: ((z.x,), None), lambda _, c: Late(*c))
    other = Gadget(z=Late(State(1.0)))
    assert list(states(other)) == [("z", 0)]
    assert isinstance(clone(other).z, Late)


def test_known_objects_are_named_and_not_entered():
    model = net()
    flat = flatten(model, lambda item: 0 if item is model.head else None)
    head = model.head
    values = [flat.objects[i].value for i in flat.graphdef.state_rows]
    root, _ = unflatten(flat.graphdef, values, [head])
    assert root.head is head
    assert root.layers[0] is not model.layers[0]


def test_depth_is_no_limit():
    model = None
    for i in range(20_000):
        model = Gadget(child=model, **({"s": State(float(i))} if i % 1000 == 0 else {}))
    shape, tree = treefy_split(model)
    merged = treefy_merge(shape, tree)
    assert graphdef(merged) is shape is graphdef(clone(model))
    update_states(merged, jax.tree.map(lambda x: x + 1, tree))
    values = sorted(s.value for s in states(merged).values())
    assert values == [1000.0 * i + 1 for i in range(20)]
    assert pickle.loads(pickle.dumps(shape)) is shape
    assert jax.tree.structure(pickle.loads(pickle.dumps(tree))) == jax.tree.structure(tree)
    depth = 0
    while merged is not None:
        merged, depth = merged.child, depth + 1
    assert depth == 20_000


def test_width_is_no_limit():
    model = Gadget(layers=[Gadget(s=State(float(i))) for i in range(20_000)])
    shape, tree = treefy_split(model)
    for copied in (treefy_merge(shape, tree), clone(model), pickle.loads(pickle.dumps(model))):
        assert [x.s.value for x in copied.layers[::999]] == [float(i) for i in range(20_000)][::999]
        assert graphdef(copied) is shape
    assert list(states(model))[-1] == ("layers", 19_999, "s")
