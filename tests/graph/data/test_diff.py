"""What changed between two GraphDefs is told completely, by path, and in words."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainstate_graph import Node, Snapshot, State, clone, diff, graphdef
from brainstate_graph.extend import fields_of, flatten
from tests.laws.graphs import Bag, Gadget, Pair, Param, Stat, Widget, graphs, layer, net
from tests.tables import each


def told(make, change):
    """The lines of the diff between a graph before and after a change."""
    before = graphdef(make())
    model = make()
    change(model)
    return str(diff(before, graphdef(model))).splitlines()


def dicts():
    return Gadget(d={"z": State(1.0), "a": 2, "k": State(3.0)})


@each(
    ("make", "change", "lines"),
    [
        (net, lambda m: None, ["nothing changed"]),
        (net, lambda m: setattr(m.layers[0], "rate", 0.1), ["layers.0.rate: 0.5 -> 0.1"]),
        (net, lambda m: setattr(m, "name", b"net"), ["name: 'net' -> b'net' (str -> bytes)"]),
        (net, lambda m: setattr(m, "extra", layer()), ["extra: added, a Gadget"]),
        (net, lambda m: setattr(m, "extra", [1, 2]), ["extra: added, a list of 2"]),
        (net, lambda m: setattr(m, "up", m), ["up: added, the same object as (root)"]),
        (net, lambda m: setattr(m, "tied", m.head.bias), ["tied: added, the same object as head.bias"]),
        (net, lambda m: delattr(m, "name"), ["name: removed, was 'net'"]),
        (net, lambda m: delattr(m, "layers"), ["layers: removed, was a list of 2"]),
        (net, lambda m: m.layers.append(layer()), ["layers: grew from 2 to 3 items: added a Gadget"]),
        (net, lambda m: m.layers.extend(range(5)), ["layers: grew from 2 to 7 items: added 0, 1, 2 and 2 more"]),
        (net, lambda m: m.layers.extend([m, m.head]),
         ["layers: grew from 2 to 4 items: added the same object as (root), the same object as head"]),
        (net, lambda m: m.layers.pop(), ["layers: shrank from 2 to 1 items: removed a Gadget"]),
        (net, lambda m: setattr(m, "layers", tuple(m.layers)), ["layers: a list -> a tuple"]),
        (net, lambda m: setattr(m, "layers", Pair(*m.layers)), ["layers: a list -> a Pair"]),
        (net, lambda m: setattr(m, "layers", dict(enumerate(m.layers))), ["layers: a list of 2 -> a dict of 2"]),
        (net, lambda m: setattr(m, "head", 3), ["head: a Gadget -> 3"]),
        (net, lambda m: setattr(m, "name", State(1.0)), ["name: 'net' -> a State"]),
        (net, lambda m: setattr(m, "head", Widget(**fields_of(m.head))), ["head: class Gadget -> Widget"]),
        (net, lambda m: setattr(m, "head", m.head.bias), ["head: a Gadget -> a Param"]),
        (net, lambda m: setattr(m.head, "weight", Stat(1.0)), ["head.weight: class Param -> Stat"]),
        (
            net,
            lambda m: setattr(m.head, "bias", Param(1.0, name="b", tag="other", unit=1)),
            ["head.bias: metadata tag: {'bias'} -> {'other'}: now without {'bias'} and with {'other'}",
             "head.bias: metadata name added, 'b'", "head.bias: metadata unit added, 1"],
        ),
        (net, lambda m: setattr(m.head, "bias", Param(1.0)), ["head.bias: metadata tag removed, was {'bias'}"]),
        (
            net,
            lambda m: setattr(m.layers[1], "weight", m.layers[0].weight),
            ["layers.1.weight: is now the same object as layers.0.weight"],
        ),
        (net, lambda m: m.layers.__setitem__(1, m.layers[0]), ["layers.1: is now the same object as layers.0"]),
        (
            lambda: Gadget(a=(x := layer()), b=x, c=[x]),
            lambda m: setattr(m, "b", layer(rate=0.1)),
            ["b: is no longer the same object as a", "b.rate: 0.5 -> 0.1"],
        ),
        (
            lambda: Gadget(a=(x := State(1.0)), b=(y := State(1.0)), c=x, d=y),
            lambda m: setattr(m, "c", m.b),
            ["c: was the same object as a, is now that of b"],
        ),
        (
            lambda: Gadget(a=(x := layer()), b=x, c=x),
            lambda m: (setattr(m, "b", layer()), setattr(m, "c", m.b)),
            ["b: is no longer the same object as a", "c: was the same object as a, is now that of b"],
        ),
        (
            dicts,
            lambda m: setattr(m, "d", {k: m.d[k] for k in "akz"}),
            ["d: the order of the keys changed: ['z', 'a', 'k'] -> ['a', 'k', 'z']"],
        ),
        (dicts, lambda m: setattr(m, "d", OrderedDict(m.d)), ["d: a dict -> an OrderedDict"]),
        (dicts, lambda m: m.d.update(a=2.0, new=1), ["d.new: added, 1", "d.a: 2 -> 2.0 (int -> float)"]),
        (dicts, lambda m: m.d.pop("z"), ["d.z: removed, was a State"]),
        (
            lambda: Gadget(d={1: State(1.0)}),
            lambda m: setattr(m, "d", {True: m.d[1]}),
            ["d.1: removed, was a State", "d.True: added, a State"],
        ),
        (
            lambda: Gadget(d=defaultdict(list, a=State(1.0))),
            lambda m: setattr(m.d, "default_factory", None),
            ["d: the default factory: list -> None"],
        ),
        (
            lambda: Gadget(bag=Bag(State(1.0), label=("x", 0.5))),
            lambda m: setattr(m.bag, "label", ("x", 0.1)),
            ["bag: the static data of the Bag: ('x', 0.5) -> ('x', 0.1)"],
        ),
        (
            lambda: Gadget(bag=Bag(State(1.0))),
            lambda m: m.bag.items.append(State(1.0)),
            ["bag.1: added, a State"],
        ),
        (
            lambda: Gadget(g=graphdef(net()), s=State(1.0)),
            lambda m: setattr(m, "g", graphdef(net(rate=0.1))),
            ["g.head.rate: 0.5 -> 0.1", "g.layers.0.rate: 0.5 -> 0.1", "g.layers.1.rate: 0.5 -> 0.1"][1:],
        ),
    ],
)  # fmt: skip
def test_words(make, change, lines):
    assert told(make, change) == lines


def test_it_is_a_sequence():
    one, two = graphdef(net()), graphdef(net(rate=0.1))
    changes = diff(one, two)
    assert [change.path for change in changes] == [("layers", 0, "rate"), ("layers", 1, "rate")]
    assert changes[0].text == "0.5 -> 0.1"
    assert str(changes[1]) == "layers.1.rate: 0.5 -> 0.1"
    assert changes
    assert len(changes) == 2
    assert not diff(one, one)
    with pytest.raises(TypeError, match=r"write `graphdef\(model\)`"):
        diff(net(), two)


def test_classes_of_the_same_name():
    def make(module=None):
        class Net(Node):
            pass

        Net.__module__ = module or Net.__module__
        return Net()

    assert str(diff(graphdef(make()), graphdef(make()))) == (
        "(root): class Net was defined again: it is another class of the same name"
    )
    line = str(diff(graphdef(make("a")), graphdef(make("b"))))
    assert line.startswith("(root): class a.test_classes_of_the_same_name")
    assert " -> b.test_classes" in line


def test_known_objects():
    inner = Gadget(x=1)
    one, two = (flatten(Gadget(a=inner), known=lambda item, n=n: n if item is inner else None).graphdef for n in (0, 1))
    assert str(diff(one, two)) == "a: the number of the Gadget: 0 -> 1"
    assert str(diff(one, graphdef(Gadget(a=inner)))) == "a: a Gadget -> a Gadget"


def test_unrelated_graphs():
    assert str(diff(graphdef(net()), graphdef([State(1.0)]))) == "(root): a Gadget -> a list of 1"
    assert str(diff(graphdef(net()), flatten(5).graphdef)) == "(root): a Gadget -> 5"
    assert str(diff(flatten(4).graphdef, flatten(5).graphdef)) == "(root): 4 -> 5"
    lines = str(diff(graphdef(net()), graphdef(Widget(layers=1, q=2)))).splitlines()
    assert lines == [
        "(root): class Gadget -> Widget",
        "head: removed, was a Gadget",
        "name: removed, was 'net'",
        "q: added, 2",
        "layers: a list of 2 -> 1",
    ]


def test_long_lists_of_changes_are_cut_in_the_text_only():
    changes = diff(graphdef(net(100)), graphdef(net(100, rate=0.1)))
    lines = str(changes).splitlines()
    assert len(changes) == 100
    assert len(lines) == 21
    assert lines[19:] == ["layers.19.rate: 0.5 -> 0.1", "... and 80 more"]
    assert "more" not in str(diff(graphdef(net(21)), graphdef(net(21, rate=0.1))))


def chain(length, rate=0.5):
    model = Gadget(end=True)
    for number in range(length):
        model = Gadget(next=model, number=number, rate=rate)
    return model


@pytest.mark.parametrize("change", ["deep", "all"])
@pytest.mark.parametrize("length", [20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_large_graphs_in_linear_time(change, length):
    def seconds(size):
        one = graphdef(chain(size))
        two = chain(size, rate=0.5 if change == "deep" else 0.1)
        if change == "deep":
            last = two
            while "next" in fields_of(last):
                last = fields_of(last)["next"]
            last.end = False
        two = graphdef(two)
        start = time.perf_counter()
        changes = diff(one, two)
        text = str(changes)
        took = time.perf_counter() - start
        assert len(changes) == (1 if change == "deep" else size)
        if change == "deep":
            assert len(changes[0].path) == size + 1
            assert text == ".".join(["next"] * 8 + [".."] + ["next"] * 7 + ["end"]) + ": True -> False"
        return took

    assert seconds(length) < 40 * min(seconds(length // 10) for _ in range(2))


# ------------------------------------------------------------------------------------------------- laws


@given(graphs(shared_pytrees=False), graphs(shared_pytrees=False))
def test_empty_exactly_where_they_are_one(a, b):
    one, two = graphdef(a), graphdef(b)
    assert bool(diff(one, two)) == (one is not two)
    assert bool(diff(two, one)) == (one is not two)
    assert not diff(one, graphdef(clone(a)))
    str(diff(one, two))


@given(graphs(shared_pytrees=False), st.data())
def test_one_change_is_told_at_its_path(model, data):
    before = graphdef(model)
    after = clone(model)
    assert graphdef(after) is before
    snap = Snapshot(after)
    nodes = [i for i, row in enumerate(before.rows) if row.kind == "node"]
    number = data.draw(st.sampled_from(nodes))
    node = snap.objects[number]
    path = before.layout_of([number]).paths[0]
    names = list(before.rows[number].keys)
    name = data.draw(st.sampled_from([*names, "new"]))
    how = data.draw(st.sampled_from(["static", "state", "remove"]))
    if how == "remove" and name != "new":
        delattr(node, name)
    else:
        setattr(node, name, object() if how == "static" else State(1.0, only_here=True))
    changes = diff(before, graphdef(after))
    assert (*path, name) in [change.path for change in changes]
    assert changes[0].path == (*path, name) or name in names  # below, what was first met there is met elsewhere now


def test_why_a_function_was_traced_again():
    traces = []

    @jax.jit
    def f(shape, x):
        traces.append(shape)
        return x

    model = net()
    f(graphdef(model), 1.0)
    model.head.rate = 0.25
    f(graphdef(model), 1.0)
    assert str(diff(*traces)) == "head.rate: 0.5 -> 0.25"
