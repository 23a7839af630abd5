"""The shape of a graph: equal graphs have one GraphDef object, changed graphs another."""

from __future__ import annotations

import copy
import pickle

import jax
import pytest
from hypothesis import given

from brainstate_graph import GraphDef, State, Static, clone, graphdef, treefy_merge, treefy_split, update_states
from tests.laws.graphs import Bag, Gadget, Param, Stat, Widget, graphs, layer, net, uncached
from tests.tables import each


@given(graphs(shared_pytrees=False))
def test_equal_graphs_have_one_graphdef(model):
    shape = graphdef(model)
    assert graphdef(model) is shape
    assert uncached(model) is shape
    assert graphdef(clone(model)) is shape
    assert graphdef(copy.deepcopy(model)) is shape
    assert pickle.loads(pickle.dumps(shape)) is shape
    assert copy.copy(shape) is shape is copy.deepcopy(shape)


def test_not_the_values_but_all_else():
    shape = graphdef(net())
    assert graphdef(net()) is shape
    other = net()
    update_states(other, jax.tree.map(lambda x: x + 1, treefy_split(other)[1]))
    assert graphdef(other) is shape
    other.head.weight.value = {"any": "structure"}
    assert graphdef(other) is shape
    changed = {shape}
    for change in (
        lambda m: setattr(m, "name", "other"),
        lambda m: setattr(m.layers[0], "rate", 0.25),
        lambda m: setattr(m, "extra", None),
        lambda m: delattr(m, "name"),
        lambda m: m.layers.append(Gadget()),
        lambda m: m.layers.append(m.layers[0]),
        lambda m: setattr(m.layers[0], "weight", m.layers[1].weight),
        lambda m: setattr(m, "head", Widget()),
        lambda m: setattr(m, "layers", tuple(m.layers)),
        lambda m: setattr(m.head, "bias", Param(0.0)),
        lambda m: setattr(m.head, "bias", Stat(0.0, tag="bias")),
        lambda m: setattr(m.head, "bias", Param(0.0, tag="bias", name="b")),
        lambda m: setattr(m.head, "up", m),
        lambda m: setattr(m.head, "up", m.head),
    ):
        model = net()
        change(model)
        assert graphdef(model) not in changed
        changed.add(graphdef(model))


def test_history_does_not_show():
    one, two = Gadget(a=1, b=State(1.0)), Gadget(b=State(2.0), a=1)
    two.c = 5
    graphdef(two)
    del two.c
    assert graphdef(one) is graphdef(two)
    assert graphdef(Gadget(s=Param(1.0, a=1, b=2))) is graphdef(Gadget(s=Param(1.0, b=2, a=1)))
    d = {"x": State(1.0), "y": State(2.0)}
    e = dict(reversed(d.items()))
    trees = [treefy_split(Gadget(d=d))[1], treefy_split(Gadget(d=e))[1]]
    assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])
    assert list(clone(Gadget(d=e)).d) == ["y", "x"]


def test_as_a_pytree_it_has_no_leaves_and_keys_jit():
    traces = []

    @jax.jit
    def f(shape, tree):
        traces.append(shape)
        return treefy_split(treefy_merge(shape, tree))

    model = net()
    for rate in (0.5, 0.5, 0.25, 0.5):
        model.head.rate = rate
        shape, tree = f(*treefy_split(net(rate=0.5)) if rate == 0.5 else treefy_split(model))
        assert isinstance(shape, GraphDef)
    assert len(traces) == 2
    shape, tree = treefy_split(net())
    assert f(shape, tree)[0] is shape
    assert jax.tree.leaves(shape) == []
    assert jax.tree.map(lambda x: x, shape) is shape


def test_repr():
    assert repr(graphdef(net(2))) == "GraphDef(Gadget, nodes=4, states=9)"


def test_graphdef_as_an_attribute():
    inner = graphdef(net())
    model = Gadget(shape=inner, rate=Static(2.0), s=State(1.0))
    assert clone(model).shape is inner
    assert graphdef(model) is uncached(model)


@each("labels", [(2, 2.0), (1, True), (0.0, -0.0)])
def test_aux_data_of_pytrees_is_compared_by_type_and_value(labels):
    one, two = labels
    assert graphdef(Gadget(b=Bag(State(1.0), label=one))) is not graphdef(Gadget(b=Bag(State(1.0), label=two)))


def test_pytrees_with_odd_aux_data():
    for label in ([1], {"a": 1}):
        assert graphdef(Gadget(b=Bag(State(1.0), label=label))) is not graphdef(Gadget(b=Bag(State(1.0))))
        assert clone(Gadget(b=Bag(State(1.0), label=label))).b.label == label


def test_tied_layers_differ_from_equal_ones():
    a = layer()
    assert graphdef([a, a]) is not graphdef([a, layer()])
    assert graphdef([a, a]) is graphdef([b := layer(3), b])


@each(
    "abuse",
    [
        lambda d: setattr(d, "root", 0),
        lambda d: setattr(d, "rows", ()),
        lambda d: setattr(d, "note", 1),
        lambda d: GraphDef(),
    ],
)
def test_a_graphdef_does_not_change(abuse):
    shape = graphdef([State(1.0), {"only": "here"}])
    before = shape.root, shape.rows
    with pytest.raises(TypeError, match="graphdef"):
        abuse(shape)
    assert (shape.root, shape.rows) == before
