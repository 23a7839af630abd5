"""A GraphDef goes through JSON unchanged; whatever else the text says, it is refused and nothing happens."""

from __future__ import annotations

import json
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from jax.sharding import PartitionSpec as P

from brainstate_graph import GraphError, State, from_json, graphdef, to_json, treefy_merge, treefy_split
from brainstate_graph.extend import flatten
from tests.graph.data.museum import ALLOW, gallery, museum
from tests.laws.graphs import Bag, Color, Gadget, Pair, Param, Stat, assert_isomorphic, graphs, net
from tests.tables import each


@each("make", [net, museum, gallery, lambda: [State(1.0)], lambda: (1, [2]), dict, lambda: Pair(1, 2)])
def test_the_same_object_comes_back(make):
    model = make()
    shape, tree = treefy_split(model)
    back = from_json(to_json(shape), ALLOW)
    assert back is shape
    assert graphdef(treefy_merge(back, tree)) is shape


@given(graphs())
def test_random_graphs_come_back(model):
    shape, tree = treefy_split(model)
    back = from_json(to_json(shape), ALLOW)
    assert back is shape
    assert_isomorphic(treefy_merge(back, tree), model)


def test_values_alone():
    for value in (5, (1, 2.0), "a", None):
        shape = flatten(value).graphdef
        assert from_json(to_json(shape)) is shape


def test_the_text_has_one_line_for_each_row():
    shape = graphdef(museum())
    lines = to_json(shape).splitlines()
    assert len(lines) == len(shape.rows) + 2
    assert all(line.isascii() for line in lines)
    assert json.loads("".join(lines))["version"] == 1
    text = to_json(graphdef(net())).splitlines()
    model = net()
    model.layers[1].rate = 0.25
    changed = to_json(graphdef(model)).splitlines()
    assert [a == b for a, b in zip(text, changed, strict=True)].count(False) == 1


def test_the_text_depends_on_the_graphdef_alone():
    text = to_json(graphdef(museum()))
    assert to_json(from_json(text, ALLOW)) == text
    assert to_json(from_json(json.dumps(json.loads(text), indent=3), ALLOW)) == text


def test_arrays_of_jax_come_back_as_new_ones():
    model = Gadget(x=jnp.arange(3.0), s=State(1.0))
    shape = graphdef(model)
    back = from_json(to_json(shape), ALLOW)
    assert back is not shape  # such arrays are compared by identity
    assert to_json(back) == to_json(shape)
    x = treefy_merge(back, treefy_split(model)[1]).x
    assert isinstance(x, jax.Array)
    assert np.array_equal(x, model.x)


def test_what_cannot_be_written():
    model = Gadget(layers=[Gadget(act=lambda x: x), 1], lock=object())
    with pytest.raises(GraphError) as caught:
        to_json(graphdef(model))
    text = str(caught.value)
    assert text.startswith("the GraphDef cannot be written as JSON:\n")
    assert "\n  at layers.0.act: a lambda has no name" in text
    assert "\n  at lock: a value of type object" in text
    with pytest.raises(TypeError, match=r"write `to_json\(graphdef\(model\)\)`"):
        to_json(model)


def test_all_names_that_are_not_allowed_are_told_at_once():
    model = Gadget(layers=[Gadget(s=Param(1.0)), Bag(State(1.0))], color=Color.RED, act=math.tanh)
    text = to_json(graphdef(model))
    with pytest.raises(GraphError) as caught:
        from_json(text)
    lines = sorted(str(caught.value).splitlines()[1:])
    remedy = 'which is not allowed. If you trust the file, write `from_json(text, allow=[..., "{}"])`'
    assert lines == sorted(
        f"  at {where}: the file names {module}:{name}, " + remedy.format(module)
        for where, module, name in [
            ("(root)", "tests.laws.graphs", "Gadget"),
            ("layers.0.s", "tests.laws.graphs", "Param"),
            ("layers.1", "tests.laws.graphs", "Bag"),
            ("color", "tests.laws.graphs", "Color"),
            ("act", "math", "tanh"),
        ]
    )
    assert from_json(text, [Gadget, Param, Bag, Color, math.tanh]) is graphdef(model)


def chain(length: int) -> Gadget:
    top = Gadget(end=True)
    for number in range(length):
        top = Gadget(next=top, number=number)
    return top


def wide(length: int) -> list[State]:
    return [Param(1.0, tag="a") for _ in range(length)]


@pytest.mark.parametrize("make", [chain, wide])
@pytest.mark.parametrize("size", [20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_large_graphs_in_linear_time(make, size):
    def seconds(size):
        shape = graphdef(make(size))
        start = time.perf_counter()
        assert from_json(to_json(shape), ALLOW) is shape
        return time.perf_counter() - start

    assert seconds(size) < 40 * min(seconds(size // 10) for _ in range(2))


def test_a_problem_at_the_end_of_a_long_chain():
    shape = graphdef(chain(20_000))
    text = to_json(shape).replace("true", "1.5")
    with pytest.raises(GraphError, match=r"next\.next\.next\.end: not a value"):
        from_json(text, ALLOW)


def test_state_kinds_and_metadata_survive():
    shape = graphdef([Stat(1.0, name="n", tag=("a", "b"), unit=(1, 2.5), on=P("x"))])
    back = from_json(to_json(shape), [Stat])
    assert back.rows[1].type is Stat
    assert dict(back.rows[1].extra) == {"name": "n", "tag": frozenset("ab"), "unit": (1, 2.5), "on": P("x")}
