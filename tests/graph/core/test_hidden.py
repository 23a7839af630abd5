"""A state where the graph cannot see it is found, or refused by its path."""

from __future__ import annotations

import collections
import dataclasses
import functools
import types
from typing import Any

import numpy as np
import pytest

from brainstate_graph import (
    GraphError,
    State,
    clone,
    graphdef,
    nodes,
    pop_states,
    states,
    treefy_merge,
    treefy_split,
    update_states,
)
from tests.laws.graphs import Gadget, Param, net
from tests.tables import each


class Config:
    def __init__(self, k: Any) -> None:
        self.k = k


class Slotted:
    __slots__ = ("k",)

    def __init__(self, k: Any) -> None:
        self.k = k


def _object_array(k: Any) -> Any:
    made = np.empty(1, object)
    made[0] = k
    return made


@dataclasses.dataclass
class Record:
    held: Any


@dataclasses.dataclass(frozen=True)
class FrozenRecord:
    held: Any


class Items(list):
    pass


class Table(dict):
    pass


class Called(Config):
    def __call__(self) -> None: ...


REFUSED = {
    "set": lambda s: {s},
    "frozenset": lambda s: frozenset({s}),
    "dataclass": Record,
    "frozen dataclass": FrozenRecord,
    "namespace": lambda s: types.SimpleNamespace(s=s),
    "plain object": Config,
    "list subclass": lambda s: Items([s]),
    "dict subclass": lambda s: Table(a=s),
    "partial": lambda s: functools.partial(print, s),
    "counter": lambda s: collections.Counter([s]),
    "deep": lambda s: ({1: [Record({"a": (s,)})]},),
    "node in an object": lambda s: Config(Gadget(s=s)),
    "slice": slice,
    "bound method": lambda s: Gadget(s=s).__init__,
}


HIDDEN = {
    "slots": Slotted,
    "list in an object": lambda s: Config([s]),
    "object in an object": lambda s: Config(Config(s)),
    "callable": Called,
    "deque": lambda s: collections.deque([s]),
    "object array": _object_array,
    "proxy": lambda s: types.MappingProxyType({"a": s}),
    "userdict": lambda s: collections.UserDict(a=s),
    "chainmap": lambda s: collections.ChainMap({"a": s}),
    "slots in a list": lambda s: [Slotted(s)],
}


BUG = pytest.mark.xfail


VALUES = {"list": lambda s: [s], "dict": lambda s: {"a": (s,)}, "itself": lambda s: s, "node": lambda s: Gadget(s=s)}


UNSEEN = {"set": lambda s: {s}, "dataclass": Record, "object": Config, "object array": _object_array}


@each("hide", [*REFUSED.values(), *HIDDEN.values()], ids=[*REFUSED, *HIDDEN])
def test_a_hidden_state_is_found_or_refused_by_path(hide):
    said: list[str] = []
    model = Gadget(layers=[Gadget(deep=hide(State(1.0)))], seen=State(2.0))
    for verb in (
        treefy_split,
        states,
        nodes,
        clone,
        graphdef,
        lambda m: pop_states(m, ...),
        lambda m: update_states(m, {"seen": 1.0}),
    ):
        try:
            verb(model)
        except GraphError as error:
            said.append(str(error))
        else:
            assert len(states(model)) == 2
    assert all("layers.0.deep" in text and "Hold it in" in text for text in said)


def test_a_state_of_the_class_is_found_or_refused():
    for value in (State(1.0), Gadget()):
        with pytest.raises(TypeError, match=r"Model\.shared is a .* set it in the constructor, `self\.shared = "):
            type("Model", (Gadget,), {"shared": value})


def test_a_state_as_key_of_a_dict_is_refused_by_path():
    with pytest.raises(GraphError, match=r"at table"):
        states(Gadget(table={State(1.0): 1}))


def test_invisible_attributes_given_as_a_string():
    try:

        class Model(Gadget):
            graph_invisible_attrs = "cache"

    except TypeError:
        return
    assert ("c",) in states(Model(c=State(1.0), cache=State(2.0)))


@pytest.mark.parametrize(
    "hold",
    [
        *(pytest.param(h, id=n) for n, h in VALUES.items()),
        *(
            pytest.param(
                h, id=n, marks=[BUG(strict=True, reason="an array is not looked into")] * (n == "object array")
            )
            for n, h in UNSEEN.items()
        ),
    ],
)
def test_a_state_in_the_value_of_a_state_is_refused(hold):
    s, inner = State(1.0), State(2.0)
    with pytest.raises(ValueError, match=r"State|Node"):
        s.value = hold(inner)
    with pytest.raises(ValueError, match=r"State|Node"):
        s.restore_value(hold(inner))
    assert s.value == 1.0


@each("hold", [VALUES["list"], VALUES["dict"], VALUES["node"]])
def test_no_merge_puts_a_state_into_a_state(hold):
    shape = graphdef([State(None)])
    with pytest.raises(ValueError, match=r"State|Node"):
        treefy_merge(shape, {0: hold(State(1.0))})


def test_a_subclass_of_a_node_class_is_a_node():
    class Sub(type(net(1))):
        pass

    class SubState(Param):
        pass

    assert list(states([Sub(w=SubState(1.0))], Param)) == [(0, "w")]
