"""Several graphs taken apart and put together, with what they share."""

from __future__ import annotations

import gc
import pickle
import weakref

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainstate_graph import (
    FlattedDict,
    GraphDef,
    GraphError,
    NestedDict,
    Overlay,
    State,
    graphdef,
    merge_context,
    nodes,
    split_context,
    states,
    treefy_merge,
)
from tests.graph.core.test_flatten import follow
from tests.laws.graphs import Gadget, Param, Stat, Widget, assert_isomorphic, graphs, net, same_value, tied


def split_all(roots, *filters):
    with split_context() as ctx:
        return [ctx.treefy_split(root, *filters) for root in roots]


def merge_all(parts):
    with merge_context() as ctx:
        return [ctx.treefy_merge(*part) for part in parts]


def parts_of(model):
    return [*nodes(model).values(), *states(model).values()]


@given(graphs(shared_pytrees=False), st.data())
def test_what_is_shared_comes_back_shared(model, data):
    """The oracle is one split of all at once, of roots that share nodes and states and no containers."""
    inner = [x for x in parts_of(model) if not isinstance(x, State)]
    made = [Gadget(a=data.draw(st.sampled_from(parts_of(model))), b=i) for i in range(3)]
    roots = data.draw(st.permutations([model, *made, data.draw(st.sampled_from(inner)), made[0]]))
    parts = split_all(roots)
    again = merge_all(parts)
    # a container that two of the roots reach is no part of the contract: look at nodes and states only
    pairs = {}
    for old, new in zip(roots, again, strict=True):
        for path, item in {**nodes(old), **states(old)}.items():
            found = follow(new, path)
            assert pairs.setdefault(id(item), found) is found, path
            assert type(item) is type(found)
            if isinstance(item, State):
                assert same_value(item.value, found.value)
    assert len({id(x) for x in pairs.values()}) == len(pairs)
    assert sum(len(tree.to_flat()) for _, tree in parts) == len({s for r in roots for s in states(r).values()})


def test_a_later_graph_names_what_an_earlier_one_has():
    model = net()
    head = Gadget(inner=model.layers[1], weight=model.head.weight, own=Param(1.0))
    (shape, tree), (other, rest) = split_all([model, head])
    assert shape is graphdef(model)
    assert list(rest.to_flat()) == [("own",)]
    again, first = merge_all([(shape, tree), (other, rest)])
    assert first.inner is again.layers[1]
    assert first.weight is again.head.weight
    assert_isomorphic((again, first), (model, head))


def test_the_same_root_again_is_a_name_alone():
    model = net()
    parts = split_all([model, model, [model]])
    assert [len(tree.to_flat()) for _, tree in parts] == [9, 0, 0]
    assert [row.kind for row in parts[1][0].rows] == ["known"]
    one, two, (three,) = merge_all(parts)
    assert one is two is three


def test_bare_states():
    shared = State(1.0, tag="t")
    parts = split_all([shared, [shared], shared])
    assert [len(tree) for _, tree in parts] == [1, 0, 0]
    assert dict(parts[0][1].to_dict_values()) == {(): 1.0}
    one, (two,), three = merge_all(parts)
    assert one is two is three
    assert_isomorphic(one, shared)


def test_filters_select_among_what_is_new():
    model = net()
    head = Gadget(weight=model.head.weight, own=Param(1.0), seen=Stat(2))
    with split_context() as ctx:
        shape, params, rest = ctx.treefy_split(model, Param, ...)
        with pytest.raises(ValueError, match="no filter accepts seen"):
            ctx.treefy_split(head, Param)
        other, more, others = ctx.treefy_split(head, Param, Stat)  # the refused one has left no trace
    assert list(more.to_flat()) == [("own",)]
    assert list(others.to_flat()) == [("seen",)]
    again, first = merge_all([(shape, rest, params), (other, others, more)])
    assert_isomorphic((again, first), (model, head))


def test_equal_graphs_that_share_alike_have_equal_shapes():
    """So that what is compiled for the one serves the other."""

    def shapes():
        a, b = net(), net()
        return [shape for shape, _ in split_all([a, b, Gadget(x=b.head), Gadget(x=a.head)])]

    first, second = shapes(), shapes()
    assert all(x is y for x, y in zip(first, second, strict=True))
    assert first[0] is first[1]
    assert first[2] is not first[3]
    assert hash(first[2]) == hash(second[2])


def test_through_jit_with_one_trace():
    traces = []

    @jax.jit
    def step(parts):
        traces.append(0)
        a, b = merge_all(parts)
        b.weight.value = b.weight.value + 1
        assert a.head.weight is b.weight
        return split_all([a, b])

    for _ in range(2):
        model = net()
        out = step(split_all([model, Gadget(weight=model.head.weight)]))
        a, b = merge_all(out)
        assert a.head.weight is b.weight
        assert jnp.allclose(a.head.weight.value, model.head.weight.value + 1)
    assert len(traces) == 1


# ------------------------------------------------------------------------------------------------- misuse


def test_the_back_reference_first():
    """Trap: a bare KeyError."""
    model = net()
    first, second = split_all([model, Gadget(inner=model.layers[1])])
    with merge_context() as ctx:
        with pytest.raises(GraphError, match=r"the graph refers to the Gadget layers\.1 of the GraphDef\(Gadget, .*\), "
                           "which is not merged yet: .* in the order in which they were split"):  # fmt: skip
            ctx.treefy_merge(*second)
        again = ctx.treefy_merge(*first)  # the refused one has left no trace
        assert ctx.treefy_merge(*second).inner is again.layers[1]
    model = net()
    parts = split_all([model, net(), Gadget(s=model.head.bias), model])
    with pytest.raises(GraphError, match=r"refers to the Gadget \(root\) of"):
        merge_all(parts[::-1])


def test_an_order_that_skips_one_is_noticed():
    """Two of one shape: the reference to the second of them is not taken for one to the first."""
    a, b = net(), net()
    parts = split_all([a, b, Gadget(s=b.head.bias)])
    with pytest.raises(GraphError, match=r"refers to the Param head\.bias of the GraphDef\(.*\) \(no\. 2\)"):
        merge_all([parts[0], parts[2]])
    c = Widget(x=State(0.0))
    parts = split_all([a, b, c, Gadget(s=b.head.bias, t=c)])
    one, two, three, four = merge_all([parts[2], *parts[:2], parts[3]])  # independent ones in another order are fine
    assert four.t is one
    assert four.s is three.head.bias is not two.head.bias


def test_a_graph_of_another_context():
    model, other = net(), Widget(x=Stat(0))
    (_, (second, rest)), (first, tree) = split_all([model, Gadget(inner=model.head)]), split_all([other])[0]
    with merge_context() as ctx:
        ctx.treefy_merge(first, tree)
        with pytest.raises(GraphError, match=r"refers to the Gadget head of the GraphDef\(Gadget"):
            ctx.treefy_merge(second, rest)
    with pytest.raises(GraphError, match="refers to parts of an earlier `treefy_split` in its `split_context`"):
        treefy_merge(second, rest)


def test_after_the_end():
    with split_context() as split:
        part = split.treefy_split(net())
    with merge_context() as merge:
        merge.treefy_merge(*part)
    with pytest.raises(GraphError, match=r"has ended: call `ctx\.treefy_split` inside its `with` block"):
        split.treefy_split(net())
    with pytest.raises(GraphError, match=r"has ended: call `ctx\.treefy_merge` inside its `with` block"):
        merge.treefy_merge(*part)
    with pytest.raises(ZeroDivisionError), split_context() as split:
        1 / 0  # noqa: B018
    with pytest.raises(GraphError, match="has ended"):
        split.treefy_split(net())


def test_data_that_does_not_fit():
    model = net(1)
    first, (shape, tree) = split_all([model, Gadget(inner=model.head, own=Param(1.0))])
    with merge_context() as ctx:
        again = ctx.treefy_merge(*first)
        for bad, words in (
            ((), "missing: own"),
            ((tree, {"inner": {"seen": 1}}), "unexpected: inner.seen"),
            (({"own": Stat(1.0)},), "own is a Param, not a Stat"),
        ):
            with pytest.raises(GraphError, match=words):
                ctx.treefy_merge(shape, *bad)
        with pytest.raises(TypeError, match=r"needs a GraphDef first, not NestedDict: `ctx\.treefy_merge"):
            ctx.treefy_merge(tree, shape)
        assert ctx.treefy_merge(shape, {"own": 2.0}).inner is again.head
    with split_context() as ctx, pytest.raises(ValueError, match="5 is not a graph"):
        ctx.treefy_split(5)


# ------------------------------------------------------------------------------------------------- the tables


def test_the_tables_are_there_after_the_block():
    """Trap: the yielded table was a dead copy."""
    model = net()
    with split_context() as (ctx, ref_index):
        part = ctx.treefy_split(model)
        other = ctx.treefy_split([model.head])
    assert {id(x) for x in ref_index} == {id(x) for x in parts_of(model)}
    with merge_context() as (ctx, index_ref):
        again = ctx.treefy_merge(*part)
        ctx.treefy_merge(*other)
    assert {id(x) for x in index_ref.values()} == {id(x) for x in parts_of(again)}
    assert list(index_ref) == list(ref_index.values())


def test_lists_are_shared_within_one_graph_only():
    items = [State(1.0)]
    one, two = merge_all(split_all([[items, items], [items]]))
    assert one[0] is one[1] is not two[0]
    assert one[0][0] is two[0][0]


def test_objects_are_kept_only_as_long_as_the_context():
    model = net()
    alive = weakref.ref(model.head)
    with split_context() as ctx:
        ctx.treefy_split(model)
        del model
        gc.collect()
        assert alive() is not None  # else its id could be another's
    del ctx
    gc.collect()
    assert alive() is None


def test_shapes_with_names_are_data_like_others():
    model = net()
    parts = split_all([model, Gadget(inner=model.head)])
    again = pickle.loads(pickle.dumps(parts))
    assert all(a[0] is b[0] for a, b in zip(parts, again, strict=True))
    one, two = merge_all(again)
    assert two.inner is one.head
    assert jax.tree.leaves(parts[1]) == []
    assert isinstance(parts[1][0], GraphDef)
    assert isinstance(parts[0][1], NestedDict)
    assert not isinstance(parts[0][1], FlattedDict)


def test_values_come_through_the_door():
    shared = State(1.0)
    with Overlay() as overlay:
        shared.value = 2.0
        overlay.reads.clear()
        (_, tree), _ = split_all([[shared], [shared]])
        assert list(overlay.reads) == [shared]
    assert tree[0].value == 2.0


def test_nodes_that_cannot_be_hashed_or_are_equal():
    class Equal(Gadget):
        __hash__ = None

        def __eq__(self, other):
            return True

    a, b = Equal(s=State(1.0)), Equal(s=State(2.0))
    one, two, three = merge_all(split_all([a, b, [b, a]]))
    assert three[0] is two
    assert three[1] is one


def test_a_long_chain_of_nodes():
    root = last = Gadget(s=State(0))
    for i in range(20_000):
        last.next = Gadget(s=State(i))
        last = last.next
    one, two = merge_all(split_all([root, Gadget(last=last)]))
    assert two.last.s.value == 19_999
    assert next(iter(states(one, allowed_hierarchy=(20_000, 20_000)).values())) is two.last.s


def test_the_table_of_a_merge_context_is_live_and_stays():
    model = tied()
    with split_context() as (ctx, ref_index):
        parts = ctx.treefy_split(model)
        assert model in ref_index
    with merge_context() as (ctx, index_ref):
        assert not index_ref
        again = ctx.treefy_merge(*parts)
        assert any(item is again for item in index_ref.values())
    held = {*map(id, index_ref.values())}
    assert {id(again), id(again.a), id(again.a.w), id(again.b.s)} <= held
    assert len(held) == len(nodes(model)) + len(states(model))
    with pytest.raises(GraphError, match=r"ctx\.treefy_merge"):
        ctx.treefy_merge(*parts)
