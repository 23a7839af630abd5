from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_graph import Any as AnyOf
from brainstate_graph import GraphError, PathContains, graphdef
from tests.tables import each


class Pair(NamedTuple):
    left: Any
    right: Any


class Block(nn.Module):
    def __init__(self, linear):
        self.linear = linear
        self.drop = nn.Dropout(0.5)

    def __call__(self, x):
        return self.drop(self.linear(x))


class Net(nn.Module):
    """The first linear layer is held in eight places of five kinds."""

    def __init__(self):
        shared = nn.Linear(2, 2)
        self.blocks = [Block(shared), Block(nn.Linear(2, 2))]
        self.table = {"a": shared, 1: {"b": shared}}
        self.fixed = (shared, (nn.relu, shared))
        self.pair = Pair(shared, 3)
        self.pairs = [Pair(1, (shared,))]
        self.direct = shared
        self.top = self

    def places(self):
        return [
            self.blocks[0].linear, self.table["a"], self.table[1]["b"], self.fixed[0], self.fixed[1][1],
            self.pair.left, self.pairs[0].right[0], self.direct,
        ]  # fmt: skip

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return x


# -- get_at ------------------------------------------------------------------------------------------------------------


@each(
    ("path", "expression"),
    [
        ("", "net"),
        ("blocks", "net.blocks"),
        ("blocks.1.linear.weight", "net.blocks[1].linear.weight"),
        ("table.1.b", "net.table[1]['b']"),
        ("pair.left.bias", "net.pair.left.bias"),
        ("fixed.1.0", "nn.relu"),
        ("top.top.blocks.0.drop.rate", "0.5"),
    ],
)
def test_what_is_at_a_path(path, expression):
    net = Net()
    want = eval(expression)
    assert nn.get_at(net, path) is want or nn.get_at(net, path) == want


def test_nothing_at_a_path():
    with pytest.raises(KeyError, match=r"nothing at 'blocks\.1\.linera' in Net; the nearest are blocks\.1\.linear"):
        nn.get_at(Net(), "blocks.1.linera")
    with pytest.raises(KeyError, match=r"nothing at '0\.q' in list"):
        nn.get_at([nn.Linear(1, 1)], "0.q")


# -- rewrite -----------------------------------------------------------------------------------------------------------


def test_a_shared_part_is_replaced_once_everywhere_and_stays_shared():
    net, calls = Net(), []
    old = net.direct

    def widened(linear):
        calls.append(linear)
        return Block(linear)

    changed = nn.rewrite(net, "direct", widened)
    assert calls == [old]
    assert len({id(place) for place in net.places()}) == 1
    assert changed == {"blocks.0.linear": net.direct}
    assert isinstance(net.direct, Block)
    assert net.direct.linear is old
    assert type(net.pair) is Pair
    assert net.pair.right == 3
    assert net.fixed[1][0] is nn.relu
    assert net.top is net


@each(
    ("where", "paths"),
    [
        (nn.Dropout, ["blocks.0.drop", "blocks.1.drop"]),
        ("blocks.*.drop", ["blocks.0.drop", "blocks.1.drop"]),
        ("blocks.1.linear", ["blocks.1.linear"]),
        ("fixed.*", ["blocks.0.linear"]),
        ("top.blocks.1.linear", ["blocks.1.linear"]),
        (lambda path, part: path == ("blocks", 1, "linear"), ["blocks.1.linear"]),
        (AnyOf(nn.Dropout, PathContains("linear")), None),
    ],
)
def test_what_is_chosen(where, paths):
    net = Net()
    found = nn.rewrite(net, where, lambda part: part)
    assert paths is None or list(found) == paths
    assert all(nn.get_at(net, path) is part for path, part in found.items())


def test_from_below():
    """Whoever is replaced sees its parts replaced already."""
    net, seen = Net(), []

    def noted(part):
        seen.append((type(part).__name__, isinstance(getattr(part, "linear", None), nn.Sequential)))
        return nn.Sequential(part)

    nn.rewrite(net, nn.Module, noted)
    assert ("Block", True) in seen
    assert ("Block", False) not in seen
    assert len(seen) == 6  # two blocks, two linears, two dropouts
    assert net(jnp.ones((3, 2))).shape == (3, 2)


def test_states():
    net = Net()
    weight = net.direct.weight
    twin = nn.Linear(2, 2)
    twin.weight = weight
    net.twin = twin
    changed = nn.rewrite(net, "direct.weight", lambda state: nn.BatchState(state.value + 1))
    assert twin.weight is net.direct.weight is changed["blocks.0.linear.weight"]
    assert jnp.array_equal(twin.weight.value, weight.value + 1)


def test_a_list_or_dict_of_modules():
    shared = nn.Linear(1, 1)
    both = {"a": shared, "b": [shared]}
    nn.rewrite(both, nn.Linear, lambda _: nn.Flatten())
    assert both["a"] is both["b"][0]
    assert type(both["a"]) is nn.Flatten
    with pytest.raises(GraphError, match="0 is held by a tuple"):
        nn.rewrite((shared,), nn.Linear, lambda _: nn.Flatten())


def test_what_was_compiled_is_compiled_anew():
    from brainstate_transform import jit

    net = nn.Sequential(nn.Linear(2, 2), nn.relu)
    run = jit(net)
    run(jnp.ones((1, 2)))
    nn.rewrite(net, nn.Linear, lambda linear: nn.Sequential(linear, lambda x: x * 0))
    assert not run(jnp.ones((1, 2))).any()


def test_nothing_chosen():
    net = Net()
    with pytest.raises(
        ValueError, match=r"'blocks\.7\.linear' chooses no node or state of Net; the nearest are .*blocks\.0\.linear"
    ):
        nn.rewrite(net, "blocks.7.linear", lambda part: part)
    with pytest.raises(
        ValueError, match=r"Conv.* chooses no .*; it holds Block, Dropout, Linear, ParamState, RandomState"
    ):
        nn.rewrite(net, nn.Conv, lambda part: part)
    with pytest.raises(ValueError, match="chooses no"):
        nn.rewrite(net, lambda path, part: part is net, lambda part: part)  # the root is not offered


def test_all_or_nothing():
    net = Net()
    shape, places = graphdef(net), net.places()
    values = [state.value for state in net.states().values()]

    def failing(part):
        part.rate = 0.1
        part.note = "set"
        net.blocks.append(3)
        net.table["more"] = 3
        net.direct.weight.value = jnp.zeros((2, 2))
        if part is net.blocks[1].drop:
            raise ZeroDivisionError
        return nn.Flatten()

    with pytest.raises(ZeroDivisionError):
        nn.rewrite(net, nn.Dropout, failing)
    assert graphdef(net) is shape
    assert all(a is b for a, b in zip(places, net.places(), strict=True))
    assert all(a is b for a, b in zip(values, [s.value for s in net.states().values()], strict=True))


@each(
    ("where", "new", "wanted"),
    [
        (nn.Dropout, None, "Dropout at blocks.0.drop must be a module or a function, not None"),
        (nn.Dropout, nn.ParamState(jnp.zeros(2)), "must be a module or a function, not ParamState"),
        ("direct.bias", jnp.zeros(2), "ParamState at blocks.0.linear.bias must be a State, not Array"),
    ],
)
def test_what_cannot_take_the_place(where, new, wanted):
    net = Net()
    shape = graphdef(net)
    with pytest.raises(TypeError, match=wanted.replace("(", r"\(")):
        nn.rewrite(net, where, lambda _: new)
    assert graphdef(net) is shape
