"""Writing to a graph and taking states out of it: the whole change or none."""

from __future__ import annotations

import gc
import weakref

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainstate_graph import (
    FlattedDict,
    GraphError,
    NestedDict,
    Not,
    Overlay,
    PathContains,
    State,
    TraceContextError,
    TreefyState,
    WithTag,
    clone,
    graphdef,
    nodes,
    pop_states,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from brainstate_graph.extend import fields_of
from tests.laws.graphs import Bag, Gadget, Pair, Param, Stat, assert_isomorphic, graphs, net, parts_of, same_value
from tests.tables import each

# ------------------------------------------------------------------------------------------------- update


def bad_data(tree, path, how):
    """The data of a tree with one thing wrong."""
    flat = dict(tree.to_flat())
    item = flat[path]
    if how == "unexpected":
        flat[*path, "more"] = 1.0
    elif how == "kind":
        flat[path] = TreefyState(type("Other", (State,), {}), item.value)
    elif how == "structure":
        flat[path] = item.replace([item.value])
    elif how == "shape":
        flat[path] = item.replace(jax.tree.map(lambda x: jnp.ones((7, *jnp.shape(x))), item.value))
    elif how == "a state":
        flat[path] = item.replace((State(1.0),))
    return flat


@given(graphs(), st.sampled_from(["none", "unexpected", "kind", "structure", "shape", "a state"]), st.data())
def test_an_update_is_whole_or_nothing(model, how, data):
    tree = treefy_states(model)
    path = data.draw(st.sampled_from(sorted(tree.to_flat(), key=repr) or [None]))
    if path is None:
        return
    before = clone(model)
    wrong = bad_data(jax.tree.map(lambda x: x, tree), path, how)
    # a state that holds None takes anything, and one without arrays has no shape
    fits = how == "none" or (tree.to_flat()[path].value is None and how in ("structure", "shape"))
    if fits:
        update_states(model, wrong)
        assert same_value(states(model)[path].value, wrong[path].value)
    else:
        with pytest.raises(ValueError, match=r"nothing was written|cannot be or hold"):
            update_states(model, wrong)
        assert_isomorphic(model, before)
    if how == "unexpected":
        update_states(model, wrong, strict=False)
        assert_isomorphic(model, before)
    elif how == "shape":
        update_states(model, wrong, strict=False)
        assert same_value(states(model)[path].value, wrong[path].value)


def test_update_inside_a_trace_sees_the_values_of_the_trace():
    model = Gadget(w=Param(jnp.zeros(2)))
    with Overlay() as overlay:
        model.w.value = jnp.zeros(3)
        overlay.reads.clear()
        with pytest.raises(GraphError, match=r"wrong shape: w is f32\[3\], not f32\[2\]"):
            update_states(model, {"w": jnp.ones(2)})
        update_states(model, {"w": jnp.ones(3)})
        assert not overlay.reads  # comparing is no read of the program
        assert list(overlay.writes) == [model.w]
    assert model.w.value.shape == (2,)


def test_update_inside_scan_and_vmap():
    shape, tree = treefy_split(Gadget(w=Param(jnp.zeros(2)), n=Stat(0)))

    def body(tree, x):
        model = treefy_merge(shape, tree)
        update_states(model, {"w": model.w.value + x, "n": model.n.value + 1})
        with pytest.raises(GraphError, match="wrong shape: w is"):
            update_states(model, {"n": 5, "w": jnp.ones(5)})
        return treefy_states(model), model.n.value

    out, _ = jax.lax.scan(body, tree, jnp.arange(3.0))
    assert out.to_pure_dict()["w"].tolist() == [3, 3]
    assert int(out["n"].value) == 3
    lanes, _ = jax.vmap(body, in_axes=(None, 0))(tree, jnp.arange(3.0))
    assert lanes["w"].value.tolist() == [[0, 0], [1, 1], [2, 2]]


def test_update_between_models_of_shapes_only():
    model = net(1)
    shape, tree = treefy_split(model)
    abstract = treefy_merge(shape, jax.eval_shape(lambda t: t, tree))
    update_states(abstract, jax.eval_shape(lambda t: t, tree))
    with pytest.raises(GraphError, match=r"no value: head\.bias is f32\[2\]"):
        update_states(model, treefy_states(abstract))
    update_states(abstract, tree)
    assert same_value(abstract.head.weight.value, model.head.weight.value)


# ------------------------------------------------------------------------------------------------- new states


def test_what_is_popped_can_be_put_back():
    """Trap: popped states came back as dead data, or were refused."""
    model = net()
    model.store = {"b": State(1.0), "a": Param(2.0)}
    before, live = clone(model), states(model)
    popped = pop_states(model, Param)
    assert not states(model, Param)
    with pytest.raises(GraphError, match=r"unexpected: head\.bias; "):
        update_states(model, popped)
    update_states(model, popped, {"head": {"seen": 5}}, allow_new=True)
    before.head.seen.value = 5
    before.store = {"b": before.store["b"], "a": before.store["a"]}  # at the end, as it was
    assert_isomorphic(model, before)
    assert all(states(model)[path] is state for path, state in live.items())
    update_states(model, {"store": {"a": 7.0}})
    assert popped["store", "a"].value == 7.0


def test_new_states_from_a_tree_and_from_data():
    model = Gadget(sub=Gadget(), store={})
    update_states(
        model,
        NestedDict({"sub": {"w": TreefyState(Param, 1.0, tag="t")}}),
        {"store": {(1, 2): TreefyState(Stat, 2), "s": State(3.0)}},
        {("sub", "v"): State(4.0)},
        allow_new=True,
    )
    expected = Gadget(sub=Gadget(w=Param(1.0, tag="t"), v=State(4.0)), store={(1, 2): Stat(2), "s": State(3.0)})
    assert_isomorphic(model, expected)
    shape, tree = treefy_split(expected)
    again = Gadget(sub=Gadget(), store={})
    update_states(again, tree, allow_new=True)
    assert graphdef(again) is not shape  # the order of keys in a dict counts
    assert_isomorphic(again.sub, expected.sub)


@each(
    ("data", "words"),
    [
        ({"w": 1.0}, "unexpected: w"),
        ({"items": {5: State(1.0)}}, r"unexpected: items\.5"),
        ({"deep": {"w": State(1.0)}}, r"unexpected: deep\.w"),
        ({"rate": State(1.0)}, r"unexpected: rate \(the static value 0\.5"),
        ({3: State(1.0)}, "unexpected: 3"),
        ({"hidden": State(1.0)}, "unexpected: hidden"),
        ({"sub": State(1.0)}, r"unexpected: sub \(a Gadget"),
    ],
)
def test_where_no_state_can_be_attached(data, words):
    class Hiding(Gadget):
        graph_invisible_attrs = ("hidden",)

    model = Hiding(items=[State(0.0)], rate=0.5, hidden=1, sub=Gadget())
    with pytest.raises(GraphError, match=words):
        update_states(model, {"ok": State(2.0)}, data, allow_new=True)
    assert list(fields_of(model)) == ["items", "rate", "hidden", "sub"]


class Touchy(Gadget):
    def __setattr__(self, name, value):
        if name == "no":
            raise RuntimeError("not this one")
        super().__setattr__(name, value)

    def __delattr__(self, name):
        if name == "stay":
            raise RuntimeError("it stays")
        super().__delattr__(name)


def test_a_failing_setattr_leaves_everything_as_it_was():
    model = Gadget(a=Touchy(), n=State(1.0), store={"x": State(0.0)})
    before = clone(model)
    with pytest.raises(RuntimeError, match="not this one"):
        update_states(
            model,
            {"n": 5.0, "b": State(2.0), "store": {"y": State(2.0)}, "a": {"yes": State(3.0), "no": State(3.0)}},
            allow_new=True,
        )
    assert_isomorphic(model, before)
    assert graphdef(model) is graphdef(before)
    with pytest.raises(TraceContextError):
        jax.jit(lambda x: update_states(model, {"b": State(2.0), "n": x}, allow_new=True))(1.0)
    assert_isomorphic(model, before)


# ------------------------------------------------------------------------------------------------- pop


def in_fixed_places(model):
    """The states that something else than a node or dict holds."""
    found = set()
    for part in parts_of(model):
        held = part.items if isinstance(part, Bag) else part if isinstance(part, list) else ()
        if isinstance(part, Gadget):
            held = [*fields_of(part).values()]
        elif isinstance(part, dict):
            held = [*part.values()]
        stack = [x for x in held if isinstance(x, tuple) or not isinstance(part, (Gadget, dict))]
        while stack:
            item = stack.pop()
            if isinstance(item, State):
                found.add(item)
            elif isinstance(item, tuple):
                stack.extend(item)
    return found


@given(graphs(), st.sampled_from([Param, Stat, State, WithTag("a"), ..., None]))
def test_a_pop_is_whole_or_nothing(model, chosen):
    before, kept = clone(model), states(model)
    going = states(model, chosen)
    if set(going.values()) & in_fixed_places(model):
        with pytest.raises(
            GraphError, match="nothing was popped, because states can be taken out of attributes and dicts"
        ):
            pop_states(model, chosen)
        assert_isomorphic(model, before)
        assert all(states(model)[path] is state for path, state in kept.items())
        return
    popped = pop_states(model, chosen)
    assert list(popped) == list(going)
    assert all(popped[path] is state for path, state in going.items())
    assert not {*states(model).values()} & {*going.values()}
    assert {*states(model).values()} == {*kept.values()} - {*going.values()}
    assert len(nodes(model)) <= len(nodes(before))
    assert_isomorphic(list(popped.values()), [states(before)[path] for path in going])


def test_every_alias_goes_and_the_state_is_given_once():
    """Trap: an alias that was visited before stayed."""
    shared = Param(1.0)
    model = Gadget(a=Gadget(w=shared), b=Gadget(w=shared, v=shared), store={"w": shared, "x": 1}, root=shared)
    assert list(pop_states(model, Param)) == [("a", "w")]
    assert_isomorphic(model, Gadget(a=Gadget(), b=Gadget(), store={"x": 1}))


def test_several_filters():
    model = net()
    params, seen = pop_states(model, Param, lambda path, s: path[0] == "head")
    assert (len(params), list(seen)) == (6, [("head", "seen")])
    assert list(states(model)) == [("layers", 0, "seen"), ("layers", 1, "seen")]
    assert isinstance(params, FlattedDict)


def test_no_filter_is_no_pop():
    model = net()
    with pytest.raises(ValueError, match=r"needs a filter: `pop_states\(node, ParamState\)`, or"):
        pop_states(model)
    assert len(pop_states(model, ...)) == 9
    assert len(pop_states(model, ...)) == 0


def test_states_in_lists_and_tuples_stay_and_all_are_named():
    """Trap: an error half-way left the graph half popped."""
    model = Gadget(
        a=State(1.0), items=[State(2.0), 1], pair=(State(3.0),), named=Pair(State(4.0), 0), bag=Bag(State(5.0))
    )
    model.alias = model.items[0]
    before = clone(model)
    with pytest.raises(GraphError) as caught:
        pop_states(model, State)
    text = str(caught.value)
    for words in ("bag.0 is in a Bag", "items.0 is in a list", "named.left is in a Pair", "pair.0 is in a tuple"):
        assert words in text
    assert "make a new container without them, as in `model.items = [...]`" in text
    assert_isomorphic(model, before)
    keep = [Not(PathContains(key)) for key in ("items", "alias", "pair", "named", "bag")]
    assert list(pop_states(model, lambda path, s: all(f(path, s) for f in keep))) == [("a",)]
    with pytest.raises(GraphError, match=r"items\.0 is in a list"):  # though its first path is an attribute
        pop_states(model, PathContains("alias"))


def test_a_failing_delattr_leaves_everything_as_it_was():
    state = State(1.0)
    model = Gadget(first=state, sub=Touchy(a=state, stay=State(2.0)), store={"z": state, "a": 1})
    before = clone(model)
    with pytest.raises(RuntimeError, match="it stays"):
        pop_states(model, ...)
    assert_isomorphic(model, before)
    assert graphdef(model) is graphdef(before)
    assert model.first is state is model.store["z"]
    assert list(pop_states(model, lambda path, s: s is state)) == [("first",)]


def test_delattr_of_the_class_is_called():
    class Counting(Gadget):
        gone = ()

        def __delattr__(self, name):
            super().__delattr__(name)
            type(self).gone += (name,)

    pop_states(Counting(a=State(1.0), b=1), ...)
    assert Counting.gone == ("a",)


def test_roots_that_are_containers():
    model = {"a": State(1.0), "b": Gadget(w=State(2.0))}
    assert list(pop_states(model, ...)) == [("a",), ("b", "w")]
    assert_isomorphic(model, {"b": Gadget()})
    with pytest.raises(GraphError, match="0 is in a list"):
        pop_states([State(1.0)], ...)
    with pytest.raises(ValueError, match="a bare State is not a graph"):
        pop_states(State(1.0), ...)


def test_the_structure_is_seen_to_have_changed():
    model = net()
    shape = graphdef(model)
    pop_states(model, Stat)
    assert graphdef(model) is not shape
    assert len(states(model)) == 6


def test_popped_states_are_not_held():
    model = net()
    alive = weakref.ref(next(iter(pop_states(model, Stat).values())))
    graphdef(model)
    gc.collect()
    assert alive() is None


def test_a_long_chain_of_nodes():
    root = last = Gadget(s=State(0), p=Param(0))
    for i in range(20_000):
        last.next = Gadget(s=State(i), p=Param(i))
        last = last.next
    popped = pop_states(root, Param)
    assert len(popped) == 20_001
    assert len(states(root)) == 20_001
    root.items = [State(0) for _ in range(10_000)]
    with pytest.raises(GraphError, match=r"items\.99 is in a list; and 9900 more"):
        pop_states(root, ...)
