"""The items of containers, as Python itself gives them."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple

from brainstate_graph._tools.containers import items_of

Pair = namedtuple("Pair", "left right")


class Sly(dict):
    def items(self):
        raise AssertionError("called")


def test_what_is_a_container():
    assert list(items_of(["a", "b"])) == list(items_of(("a", "b"))) == [(0, "a"), (1, "b")]
    for kind in (dict, OrderedDict, lambda items: defaultdict(int, items)):
        assert list(items_of(kind({"x": 1, 2: 3}))) == [("x", 1), (2, 3)]
    assert list(items_of(Pair(1, 2))) == [("left", 1), ("right", 2)]


def test_what_is_none():
    for value in (3, "text", {1, 2}, range(3), None, object()):
        assert list(items_of(value)) == []


def test_no_code_of_a_class_is_called():
    assert list(items_of(Sly(a=1))) == [("a", 1)]
