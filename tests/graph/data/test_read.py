"""Forms that are no value are refused, each with words; nothing that they name is called."""

from __future__ import annotations

import dataclasses
import enum
from typing import NamedTuple

import pytest

from brainstate_graph import GraphError
from brainstate_graph._data.names import Allowed
from brainstate_graph._data.read import Decoder
from tests.tables import each


@dataclasses.dataclass
class Guarded:
    x: object

    def __init__(self, *_):
        raise AssertionError("called")

    def __post_init__(self):
        raise AssertionError("called")


@dataclasses.dataclass
class WithNew:
    x: object

    def __new__(cls, *_):
        raise AssertionError("called")


class Plain(NamedTuple):
    x: object
    y: object


class Point(Plain):
    def __new__(cls, *_):
        raise AssertionError("called")

    @classmethod
    def _make(cls, _):
        raise AssertionError("called")


class Mood(enum.Enum):
    GOOD = 1

    @classmethod
    def _missing_(cls, value):
        raise AssertionError("called")


def never(*_):
    raise AssertionError("called")


HERE = __name__


def read(form):
    return Decoder(Allowed([HERE])).value(form)


@each(
    ("form", "words"),
    [
        (1.5, "no value"), (2**53, "no value"), (-(10**30), "no value"), ([], "no value"), ([1], "no value"),
        ({}, "no value"),
        ({"unknown": 1}, "no value"), ({"row": 0}, "no value"), ({"tuple": [], "list": []}, "stands with"),
        ({"tuple": [], "x": 1}, "stands with"), ({"defaultdict": []}, "stands with"),
        ({"enum": "a:b"}, "stands with"),
        ({"tuple": 1}, "is a list"), ({"tuple": {"0": 1}}, "is a list"), ({"tuple": "ab"}, "is a list"),
        ({"tuple": [[]]}, "no value"), ({"dict": [1]}, "list of two"), ({"dict": [[1]]}, "list of two"),
        ({"dict": [[1, 2], [1, 3]]}, "are equal"), ({"dict": [[1, 2], [True, 3]]}, "are equal"),
        ({"dict": [[{"list": []}, 2]]}, "cannot be a key"), ({"set": [1, 1]}, "are equal"),
        ({"set": [1, {"float": "1.0"}]}, "are equal"), ({"set": [{"list": []}]}, "no set"),
        ({"frozenset": [{"dict": []}]}, "no "), ({"int": "5"}, "large number"), ({"int": "0x5"}, "large number"),
        ({"int": "0x00020000000000000"}, "large number"), ({"int": 5}, "is a str"), ({"int": "x"}, "no int"),
        ({"float": 1}, "is a str"), ({"float": "1"}, "no float"), ({"float": "1e0"}, "no float"),
        ({"float": " 1.0"}, "no float"),
        ({"float": "1e999"}, "no float"), ({"float": "NaN"}, "no float"), ({"float": "x"}, "no float"),
        ({"complex": "1j"}, "list of two"), ({"complex": ["1.0"]}, "list of two"),
        ({"complex": ["1.0", 2]}, "is a str"),
        ({"ellipsis": 1}, "NoneType"), ({"bytes": "0"}, "no bytes"), ({"bytes": "0G"}, "no bytes"),
        ({"bytes": "AB"}, "no bytes"),
        ({"bytes": "ab cd"}, "no bytes"), ({"bytes": [1]}, "is a str"), ({"utf8": "ff"}, "no utf8"),
        ({"slice": [1, 2]}, "start, stop"), ({"range": [1, 2]}, "range"), ({"range": 0, "stop": 5}, "range"),
        ({"range": 0, "stop": 5, "step": 0}, "whole numbers"), ({"range": True, "stop": 5, "step": 1}, "whole numbers"),
        ({"range": 0, "stop": {"float": "1.0"}, "step": 1}, "whole numbers"),
        ({"range": [0], "stop": 5, "step": 1}, "no value"),
        ({"decimal": 2}, "decimal"), ({"decimal": "2_0"}, "no decimal"), ({"decimal": "two"}, "no decimal"),
        ({"namespace": [[1, 2]]}, "keyword"), ({"partial": 1, "args": [], "keywords": []}, "no function"),
        ({"partial": {"name": f"{HERE}:never"}, "args": [], "keywords": [[1, 2]]}, "keyword"),
        ({"method": {"name": "builtins:int"}, "self": 1}, "of a function"),
        ({"method": 1, "self": 1}, "of a function"),
        ({"method": {"name": f"{HERE}:never"}, "self": None}, "no method"),
        ({"partition_spec": [1]}, "names of axes"),
        ({"partition_spec": [{"tuple": [{"tuple": []}]}]}, "names of axes"), ({"partition_spec": ["x", "x"]}, None),
        ({"enum": f"{HERE}:Mood", "member": "BAD"}, "no member"), ({"enum": f"{HERE}:Mood",
        "member": 1}, "no member"),
        ({"enum": f"{HERE}:Mood", "member": "__class__"}, "no member"), ({"enum": f"{HERE}:Point",
        "member": "x"}, "no member"),
        ({"enum": f"{HERE}:never", "member": "x"}, "is no class"), ({"namedtuple": "builtins:tuple",
        "fields": []}, "no namedtuple"),
        ({"namedtuple": f"{HERE}:Mood", "fields": []}, "no namedtuple"),
        ({"namedtuple": f"{HERE}:Point", "fields": [["x", 1]]}, r"has now the fields \['x', 'y'\], and had \['x'\]"),
        ({"namedtuple": f"{HERE}:Point", "fields": [["y", 1], ["x", 1]]}, "has now the fields"),
        ({"dataclass": f"{HERE}:Point", "fields": [["x", 1]]}, "no dataclass"),
        ({"dataclass": f"{HERE}:WithNew", "fields": [["x", 1]]}, "no dataclass"),
        ({"dataclass": f"{HERE}:Guarded", "fields": [["z", 1]]}, "has now the fields"),
        ({"defaultdict": [], "factory": 1}, "is a function"), ({"name": "os:system"}, "not allowed"),
        ({"name": f"{HERE}:enum"}, "not defined there"), ({"name": 1}, "is no name"),
        ({"static": {"row": 1}}, "no value"),
        ({"dtype": "O"}, "no dtype"), ({"scalar": 1}, "a scalar is"), ({"array": {}}, "an array is"),
        ({"jax_array": []}, "array of JAX is"),
    ],
    ids=str,
)  # fmt: skip
def test_bad_forms(form, words):
    if words is None:
        read(form)
    else:
        with pytest.raises(GraphError, match=words):
            read(form)


def test_nothing_is_called():
    assert read({"dataclass": f"{HERE}:Guarded", "fields": [["x", 1]]}).x == 1
    point = read({"namedtuple": f"{HERE}:Point", "fields": [["x", 1], ["y", 2]]})
    assert type(point) is Point
    assert tuple(point) == (1, 2)
    partial = read({"partial": {"name": f"{HERE}:never"}, "args": [1], "keywords": [["k", 2]]})
    assert (partial.func, partial.args, partial.keywords) == (never, (1,), {"k": 2})
    assert read({"defaultdict": [[1, 2]], "factory": {"name": f"{HERE}:never"}}).default_factory is never


def test_values_in_values_are_not_endless():
    form = None
    for _ in range(5000):
        form = {"tuple": [form]}
    with pytest.raises(GraphError, match="more than 100 deep"):
        read(form)
    decoder = Decoder(Allowed([]))
    for _ in range(200):  # what failed leaves no depth behind
        with pytest.raises(GraphError):
            decoder.value({"tuple": [{"tuple": [1.5]}]})
    assert decoder.value({"tuple": [1]}) == (1,)
