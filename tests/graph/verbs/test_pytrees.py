"""Nodes in ordinary pytrees, through JAX and back."""

from __future__ import annotations

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainstate_graph import (
    FlattedDict,
    GraphError,
    Node,
    NodeStates,
    State,
    clone,
    graph_to_tree,
    graphdef,
    nodes,
    states,
    tree_to_graph,
    treefy_split,
    treefy_states,
    update_states,
)
from tests.laws.graphs import Bag, Gadget, Pair, Param, Stat, assert_isomorphic, graphs, layer, net
from tests.tables import each

FORMS = {
    "list": lambda a, b: [a, b],
    "dict": lambda a, b: {"z": a, "a": (b, None, 1.0)},
    "named": Pair,
    "registered": Bag,
    "node": lambda a, b: a,
}


@each("form", FORMS)
@given(model=graphs(shared_pytrees=False), data=st.data())
def test_there_and_back(form, model, data):
    part = data.draw(st.sampled_from([*nodes(model).values(), *states(model).values()]))
    tree = FORMS[form](model, part)
    out, live = graph_to_tree(tree)
    assert not [x for x in jax.tree.leaves(out) if isinstance(x, (Node, State))]
    assert list(live.values()) == list(states(tree).values())
    assert list(live) == list(states(tree))
    again = tree_to_graph(out)
    mine, theirs = ({**nodes(x), **states(x)} for x in (tree, again))
    assert list(mine) == list(theirs)
    twins = {id(mine[path]): theirs[path] for path in mine}
    # `part` stands twice: its paths in the pytree show that it came back as one
    if form in ("list", "registered"):
        first, second = (tree, again) if form == "list" else (tree.items, again.items)
        assert twins[id(first[1])] is second[1]
    assert jax.tree.structure(graph_to_tree(again)[0]) == jax.tree.structure(out)


def test_each_array_is_there_once():
    model = net()
    out, live = graph_to_tree({"a": model, "b": model.head, "c": [model.head.bias], "x": 1.0})
    assert len(jax.tree.leaves(out)) == len(live) + 1 == 10
    again = tree_to_graph(out)
    assert again["a"].head is again["b"]
    assert again["b"].bias is again["c"][0]


def test_what_is_no_node_is_left_alone():
    array = np.ones(2)
    tree = {"x": array, "n": None, "e": [], "f": len}
    out, live = graph_to_tree(tree)
    assert out == tree
    assert out["x"] is array
    assert live == FlattedDict()
    assert tree_to_graph(out) == tree


def test_a_bare_state():
    """Trap: a State in the pytree was left as it was, and JAX refused the result."""
    state = State(2.0)
    out, live = graph_to_tree(state)
    assert jax.tree.leaves(out) == [2.0]
    assert dict(live) == {(): state}
    assert_isomorphic(tree_to_graph(out), state)
    out, live = graph_to_tree({"m": [state], "s": state, "node": Gadget(w=state)})
    assert len(live) == 1 == len(jax.tree.leaves(out))
    again = tree_to_graph(jax.jit(lambda t: jax.tree.map(lambda x: x + 1, t))(out))
    assert again["m"][0] is again["s"] is again["node"].w
    assert again["s"].value == 3.0


def test_traced_values_beside_nodes():
    def f(x):
        model = Gadget(w=State(x), k=1)
        out, _ = graph_to_tree({"m": model, "x": x, "y": [x]})
        again = tree_to_graph(out)
        return again["m"].w.value + again["y"][0]

    assert jax.jit(f)(1.0) == 2.0


# ------------------------------------------------------------------------------------------------- through JAX


def step(tree):
    """Write to a model and to a part of it that stands beside it, as plain JAX sees them."""
    items = tree_to_graph(tree)
    assert items["part"] is items["model"].head
    items["part"].seen.value = items["part"].seen.value + 1
    return graph_to_tree(items)[0]


def things():
    model = net()
    model.head.seen.value = jnp.zeros((), "int32")
    return {"model": model, "part": model.head}


def test_jit_traces_once():
    traces = []
    f = jax.jit(lambda tree: (traces.append(0), step(tree))[1])
    for _ in range(2):
        live = things()
        out = f(f(graph_to_tree(live)[0]))
        update_states(live, states(tree_to_graph(out)))
        assert live["model"].head.seen.value == 2
    assert len(traces) == 1


def test_a_carry_of_scan():
    out, _ = jax.lax.scan(lambda tree, _: (step(tree), None), graph_to_tree(things())[0], length=5)
    assert tree_to_graph(out)["model"].head.seen.value == 5


def test_vmap_with_axes():
    model = layer()
    tree, _ = graph_to_tree((model, jnp.arange(3.0)))
    f = lambda tree: (lambda model, x: (model.weight.value * x).sum())(*tree_to_graph(tree))
    expected = np.asarray(model.weight.value).sum() * np.arange(3.0)
    np.testing.assert_allclose(jax.vmap(f, in_axes=((None, 0),))(tree), expected, rtol=1e-5)
    many = jax.tree.map(lambda x: jnp.stack([x, x, x]), tree[0])
    np.testing.assert_allclose(jax.vmap(f)((many, tree[1])), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(f, in_axes=((0, 0),), out_axes=0)((many, tree[1])), expected, rtol=1e-5)


def test_vmap_with_axes_for_the_trees_of_a_split_by_filters():
    model = layer()
    split = lambda ctx, path, prefix, node: NodeStates.from_split(*ctx.treefy_split(node, *prefix))
    tree, _ = (
        graph_to_tree([model], split_fn=split, prefix=None, check_aliasing=False)
        if 0
        else graph_to_tree(
            [model], split_fn=lambda ctx, path, prefix, node: NodeStates.from_split(*ctx.treefy_split(node, Param, ...))
        )
    )
    item = tree[0]
    params = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), item.states[0])
    f = lambda tree: tree_to_graph(tree)[0].weight.value.sum()
    axes = ([NodeStates.from_prefixes((0, None))],)
    out = jax.vmap(f, in_axes=axes)([NodeStates.from_split(item.graphdef, params, item.states[1])])
    total = np.asarray(model.weight.value).sum()
    np.testing.assert_allclose(out, [total, 2 * total], rtol=1e-5)


def test_gradients():
    model = Gadget(w=Param(jnp.arange(3.0)))
    tree, _ = graph_to_tree({"m": model, "again": model})
    grads = jax.grad(lambda t: (tree_to_graph(t)["again"].w.value ** 2).sum())(tree)
    assert tree_to_graph(grads)["m"].w.value.tolist() == [0, 2, 4]


def test_key_paths_name_the_leaf():
    tree, _ = graph_to_tree({"n": Gadget(a=Gadget(w=State(1.0)))})
    (path, _), = jax.tree_util.tree_leaves_with_path(tree)  # fmt: skip
    assert jax.tree_util.keystr(path) == "['n'].states[0].a.w"


# ------------------------------------------------------------------------------------------------- prefixes


def test_one_object_under_two_prefixes():
    """Trap: a stateless node that was shared went unseen."""
    plain = Gadget(k=1)
    cases = {
        "a stateless node": ([plain, plain], [0, 1], "0 has 0, 1 has 1"),
        "deeper": ([Gadget(a=plain), {"x": Gadget(b=[plain])}], [0, None], r"0\.a has 0, 1\.x\.b\.0 has None"),
        "a state": ([Gadget(a=(s := State(1.0))), s], ["p", "q"], r"0\.a has 'p', 1 has 'q'"),
        "0 and False": ([plain, plain], [0, False], "0 has 0, 1 has False"),
        "a node first met inside another": ([Gadget(a=plain), plain], [0, 1], r"0\.a has 0, 1 has 1"),
    }
    for tree, prefix, words in cases.values():
        with pytest.raises(GraphError, match="^one object stands under two prefixes: " + words + ". Give both places"):
            graph_to_tree(tree, prefix=prefix)
        graph_to_tree(tree, prefix=prefix, check_aliasing=False)
        graph_to_tree(tree, prefix=[prefix[0]] * 2)
        graph_to_tree(tree, prefix=prefix[0])
        graph_to_tree([x.copy() if isinstance(x, State) else clone(x) for x in tree], prefix=prefix)


def test_all_places_with_two_prefixes_are_named():
    a, b = Gadget(), Gadget(w=State(0.0))
    with pytest.raises(GraphError, match=r"0 has 0, 2 has 1; 1 has 0, 3\.b has 1\."):
        graph_to_tree([a, b, a, Gadget(b=b), b.w], prefix=[0, 0, 1, 1, 0])


def test_prefixes_reach_split_fn_and_merge_fn():
    """As long as the prefix is; leaves that are no node have one too."""
    seen = []

    def split(ctx, path, prefix, node):
        seen.append((jax.tree_util.keystr(path), prefix))
        return NodeStates.from_split(*ctx.treefy_split(node))

    def merge(ctx, path, prefix, item):
        seen.append((jax.tree_util.keystr(path), prefix))
        return ctx.treefy_merge(item.graphdef, *item.states)

    tree = {"a": [Gadget(), 1.0, Gadget()], "b": (State(0.0), None), "c": 2.0}
    prefix = {"a": 0, "b": (None, None), "c": "x"}
    out, _ = graph_to_tree(tree, prefix=prefix, split_fn=split)
    expected = [("['a'][0]", 0), ("['a'][2]", 0), ("['b'][0]", None)]
    assert seen == expected
    seen.clear()
    assert_isomorphic(tree_to_graph(out, prefix=prefix, merge_fn=merge), tree)
    assert seen == expected


@each("prefix", [[0], [0, 1, 2], (0, 1), {"a": 0}, [[0], 1]])
def test_a_prefix_that_does_not_fit(prefix):
    """Trap: an assertion, which `python -O` removes."""
    tree = [Gadget(), Gadget(w=State(0.0))]
    with pytest.raises(ValueError, match="the prefix does not fit the pytree: "):
        graph_to_tree(tree, prefix=prefix)
    out, _ = graph_to_tree(tree)
    with pytest.raises(ValueError, match="the prefix does not fit the pytree: "):
        tree_to_graph(out, prefix=prefix)


# ------------------------------------------------------------------------------------------------- errors on the way


def test_a_part_by_itself():
    model = net()
    out, _ = graph_to_tree({"a": model, "b": [model.head]})
    with pytest.raises(GraphError, match=r"^at b\.0: the graph refers to the Gadget head of the GraphDef"):
        tree_to_graph({"b": out["b"]})
    with pytest.raises(GraphError, match=r"^at b\.0: the graph refers to the Gadget head"):
        tree_to_graph({"b": out["b"], "c": out["a"]})


def test_states_that_do_not_fit():
    shape = graphdef([layer()])
    tree = {"x": NodeStates.from_split(shape, {0: {"bias": Stat(1.0)}})}
    with pytest.raises(GraphError, match=r"^at x: .*: 0\.bias is a Param, not a Stat; missing: 0\.seen; "):
        tree_to_graph(tree)
    with pytest.raises(ValueError, match=r"^at \(root\): this NodeStates has no graphdef"):
        tree_to_graph(NodeStates.from_states({}))


# ------------------------------------------------------------------------------------------------- NodeStates


def test_node_states():
    model = layer()
    shape, params, rest = treefy_split(model, Param, ...)
    item = NodeStates.from_split(shape, params, rest)
    assert item.graphdef is shape
    assert item.states == (params, rest)
    with pytest.raises(ValueError, match=r"has 2 state trees: use `\.states`"):
        _ = item.state
    assert NodeStates.from_split(shape, params).state is params
    with pytest.raises(ValueError, match="has no graphdef: it was made by `from_states`"):
        _ = NodeStates.from_states(params).graphdef
    with pytest.raises(AttributeError, match="is immutable"):
        item.states = ()
    with pytest.raises(AttributeError, match="is immutable"):
        del item.states
    assert_isomorphic(tree_to_graph(item), model)
    again = pickle.loads(pickle.dumps(item))
    assert again.graphdef is shape
    assert again.states == item.states
    assert repr(NodeStates.from_states({"a": 1})) == "NodeStates(None, {'a': 1})"
    assert repr(item).startswith("NodeStates(GraphDef(Gadget, nodes=1, states=3), NestedDict({'bias'")


def test_states_are_as_the_model_has_them():
    model = net()
    assert graph_to_tree(model)[0].state == treefy_states(model)
    assert graph_to_tree(model)[0].graphdef is graphdef(model)


def test_conflicting_prefixes_of_stateless_nodes():
    n = Gadget(k=1)
    for tree, prefix in [
        ([n, n], [0, 1]),
        ([Gadget(inner=n), n], [0, 1]),
        ([n, Gadget(inner=[{"x": n}])], [0, None]),
        ({"a": n, "b": (Gadget(inner=Gadget(n=n)),)}, {"a": 0, "b": 0.0}),
    ]:
        with pytest.raises(GraphError, match=r"two prefixes"):
            graph_to_tree(tree, prefix=prefix)
        graph_to_tree(tree, prefix=0)
        graph_to_tree(tree, prefix=prefix, check_aliasing=False)
    with pytest.raises(GraphError, match=r"0\.inner has 0, 1 has 1"):
        graph_to_tree([Gadget(inner=n), n], prefix=[0, 1])


def test_a_prefix_of_another_length_is_an_error():
    for tree, prefix in [
        ([Gadget(), Gadget()], [0]),
        ([Gadget()], [0, 1]),
        ({"a": Gadget()}, {"b": 0}),
        ((1, 2), [0, 0]),
    ]:
        with pytest.raises(ValueError, match=r"prefix does not fit"):
            graph_to_tree(tree, prefix=prefix)
        with pytest.raises(ValueError, match=r"prefix does not fit"):
            tree_to_graph(graph_to_tree(tree)[0], prefix=prefix)
