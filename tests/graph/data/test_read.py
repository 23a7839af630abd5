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
        (1.5, "not a value"), (2**53, "not a value"), (-(10**30), "not a value"), ([], "not a value"),
        ([1], "not a value"),
        ({}, "not a value"),
        ({"unknown": 1}, "not a value"), ({"row": 0}, "not a value"), ({"tuple": [], "list": []}, "needs .* beside it"),
        ({"tuple": [], "x": 1}, "needs .* beside it"), ({"defaultdict": []}, "needs .* beside it"),
        ({"enum": "a:b"}, "needs .* beside it"),
        ({"tuple": 1}, "must be a list"), ({"tuple": {"0": 1}}, "must be a list"), ({"tuple": "ab"}, "must be a list"),
        ({"tuple": [[]]}, "not a value"), ({"dict": [1]}, "list of two"), ({"dict": [[1]]}, "list of two"),
        ({"dict": [[1, 2], [1, 3]]}, "are equal"), ({"dict": [[1, 2], [True, 3]]}, "are equal"),
        ({"dict": [[{"list": []}, 2]]}, "cannot be a key"), ({"set": [1, 1]}, "are equal"),
        ({"set": [1, {"float": "1.0"}]}, "are equal"), ({"set": [{"list": []}]}, "invalid set"),
        ({"frozenset": [{"dict": []}]}, "invalid "), ({"int": "5"}, "large number"), ({"int": "0x5"}, "large number"),
        ({"int": "0x00020000000000000"}, "large number"), ({"int": 5}, "must be a str"), ({"int": "x"}, "invalid int"),
        ({"float": 1}, "must be a str"), ({"float": "1"}, "not a float"), ({"float": "1e0"}, "not a float"),
        ({"float": " 1.0"}, "not a float"),
        ({"float": "1e999"}, "not a float"), ({"float": "NaN"}, "not a float"), ({"float": "x"}, "invalid float"),
        ({"complex": "1j"}, "list of two"), ({"complex": ["1.0"]}, "list of two"),
        ({"complex": ["1.0", 2]}, "must be a str"),
        ({"ellipsis": 1}, "NoneType"), ({"bytes": "0"}, "invalid bytes"), ({"bytes": "0G"}, "invalid bytes"),
        ({"bytes": "AB"}, "not bytes"),
        ({"bytes": "ab cd"}, "not bytes"), ({"bytes": [1]}, "must be a str"), ({"utf8": "ff"}, "invalid utf8"),
        ({"slice": [1, 2]}, "start, stop"), ({"range": [1, 2]}, "range"), ({"range": 0, "stop": 5}, "range"),
        ({"range": 0, "stop": 5, "step": 0}, "whole numbers"), ({"range": True, "stop": 5, "step": 1}, "whole numbers"),
        ({"range": 0, "stop": {"float": "1.0"}, "step": 1}, "whole numbers"),
        ({"range": [0], "stop": 5, "step": 1}, "not a value"),
        ({"decimal": 2}, "decimal"), ({"decimal": "2_0"}, "not a decimal"), ({"decimal": "two"}, "not a decimal"),
        ({"namespace": [[1, 2]]}, "keyword"), ({"partial": 1, "args": [], "keywords": []}, "must be a function"),
        ({"partial": {"name": f"{HERE}:never"}, "args": [], "keywords": [[1, 2]]}, "keyword"),
        ({"method": {"name": "builtins:int"}, "self": 1}, "of a function"),
        ({"method": 1, "self": 1}, "of a function"),
        ({"method": {"name": f"{HERE}:never"}, "self": None}, "invalid method"),
        ({"partition_spec": [1]}, "names of axes"),
        ({"partition_spec": [{"tuple": [{"tuple": []}]}]}, "names of axes"), ({"partition_spec": ["x", "x"]}, None),
        ({"enum": f"{HERE}:Mood", "member": "BAD"}, "no member"), ({"enum": f"{HERE}:Mood",
        "member": 1}, "no member"),
        ({"enum": f"{HERE}:Mood", "member": "__class__"}, "no member"), ({"enum": f"{HERE}:Point",
        "member": "x"}, "no member"),
        ({"enum": f"{HERE}:never", "member": "x"}, "is not a class"), ({"namedtuple": "builtins:tuple",
        "fields": []}, "is not a namedtuple"),
        ({"namedtuple": f"{HERE}:Mood", "fields": []}, "is not a namedtuple"),
        ({"namedtuple": f"{HERE}:Point", "fields": [["x", 1]]}, r"fields \['x', 'y'\], but the text has \['x'\]"),
        ({"namedtuple": f"{HERE}:Point", "fields": [["y", 1], ["x", 1]]}, "now has the fields"),
        ({"dataclass": f"{HERE}:Point", "fields": [["x", 1]]}, "is not a dataclass"),
        ({"dataclass": f"{HERE}:WithNew", "fields": [["x", 1]]}, "is not a dataclass"),
        ({"dataclass": f"{HERE}:Guarded", "fields": [["z", 1]]}, "now has the fields"),
        ({"defaultdict": [], "factory": 1}, "must be a function"), ({"name": "os:system"}, "not allowed"),
        ({"name": f"{HERE}:enum"}, "not defined there"), ({"name": 1}, "is not the name"),
        ({"static": {"row": 1}}, "not a value"),
        ({"dtype": "O"}, "not a dtype"), ({"scalar": 1}, "a scalar must be"), ({"array": {}}, "an array must be"),
        ({"jax_array": []}, "array of JAX must be"),
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
