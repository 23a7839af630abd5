"""Nodes: ordinary objects whose structural changes show."""

from __future__ import annotations

import abc
import copy
import dataclasses
import functools
import gc
import pickle
import typing
import weakref

import pytest

from brainstate_graph import GraphDef, Node, State, clone, graphdef, nodes, states, treefy_merge, treefy_split
from brainstate_graph.extend import born_after, fields_of, notes, now
from tests.laws.graphs import Gadget, Widget, assert_isomorphic, net, uncached
from tests.tables import each


def test_setting_and_deleting_are_structural_and_writing_is_not():
    model = net()
    before = now()
    model.head.seen.value = 5
    assert now() == before
    model.head.rate = 0.1
    assert now() > before
    before = now()
    del model.head.rate
    assert now() > before
    with pytest.raises(AttributeError):
        del model.head.rate


def test_born_after():
    tick = now()
    assert born_after(Gadget(), tick)
    old = Gadget()
    tick = now()
    old.x = 1
    assert not born_after(old, tick)
    assert born_after(clone(old), tick)


def test_notes_go_with_either():
    class Author:
        pass

    model, author = Gadget(), Author()
    notes(model)[author] = 1
    assert notes(model)[author] == 1
    assert "author" not in fields_of(model)
    dead = weakref.ref(author)
    del author
    gc.collect()
    assert dead() is None
    assert not notes(model)


@each("copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), clone])
def test_copies_keep_sharing_and_cycles(copier):
    model = net()
    model.tied = model.head.weight
    model.head.up = model
    model.again = [model.head, model.layers]
    copied = copier(model)
    assert_isomorphic(model, copied)
    assert graphdef(copied) is graphdef(model)
    copied.head.seen.value = 9
    copied.layers.append(Gadget())
    assert model.head.seen.value == 0
    assert len(model.layers) == 2
    assert graphdef(model) is uncached(model) is not graphdef(copied)


def test_copies_take_no_cache_along():
    model = net()
    graphdef(model)
    for copied in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        copied.extra = State(1.0)
        assert ("extra",) in states(copied)
        assert ("extra",) not in states(model)


def test_copy_is_shallow():
    model = net()
    copied = copy.copy(model)
    assert copied.head is model.head
    copied.head = None
    assert isinstance(model.head, Gadget)


def test_nodes_may_be_dataclasses_generic_abstract_and_multiply_inherited():
    T = typing.TypeVar("T")

    @dataclasses.dataclass
    class Data(Node):
        s: State
        n: int = 3

    class Gen(Node, typing.Generic[T]):
        def __init__(self, s):
            self.s = s

    class Abstract(Node, abc.ABC):
        @abc.abstractmethod
        def f(self): ...

    class Concrete(Widget, Abstract):
        def f(self):
            return self.s.value

    for make in (Data, Gen, Gen[int], lambda s: Concrete(s=s)):
        model = make(State(2.0))
        copied = treefy_merge(*treefy_split(model))
        assert type(copied) is type(model)
        assert copied.s.value == 2.0
        assert list(states(model)) == [("s",)]
    with pytest.raises(TypeError):
        Abstract()


def test_merging_runs_no_code_of_the_class():
    class Picky(Node):
        def __init__(self, child):
            object.__setattr__(self, "child", child)

        def __setattr__(self, name, value):
            raise TypeError("frozen")

        def __getattr__(self, name):
            return getattr(self.child, name)  # recursion without end on a half-built object

    assert clone(Picky(Gadget(s=State(1.0)))).s.value == 1.0


def test_properties_and_cached_properties():
    class Model(Gadget):
        @property
        def double(self):
            return self.s.value * 2

        @functools.cached_property
        def answer(self):
            return 42

    model = Model(s=State(1.0))
    graphdef(model)
    assert (model.double, model.answer, model.answer) == (2.0, 42, 42)
    assert graphdef(model) is uncached(model)
    assert clone(model).answer == 42


def test_invisible_attributes_are_not_part_of_the_graph():
    class Model(Gadget):
        graph_invisible_attrs = ("cache",)

    one = Model(s=State(1.0), cache=State(2.0))
    two = Model(s=State(1.0))
    assert graphdef(one) is graphdef(two)
    assert list(states(one)) == [("s",)]


def test_an_empty_node():
    class Empty(Node):
        pass

    assert type(clone(Empty())) is Empty
    assert type(clone(Node())) is Node
    assert list(nodes(Empty())) == [()]


def test_slots_of_a_subclass_are_attributes_or_an_error():
    try:

        class Slotted(Node):
            __slots__ = ("s",)

        model = Slotted()
        model.s = State(1.0)
        found = list(states(model))
    except (TypeError, ValueError):
        return
    assert found == [("s",)]


def test_a_class_made_in_a_function_is_collected_with_its_models():
    class Temporary(Gadget):
        pass

    model = Temporary(s=State(1.0))
    model.me = model
    treefy_merge(*treefy_split(model))
    dead = [weakref.ref(model), weakref.ref(model.s), weakref.ref(graphdef(model)), weakref.ref(Temporary)]
    del model, Temporary
    for _ in range(3):
        gc.collect()
    assert [ref() for ref in dead] == [None] * 4


def test_graphdefs_do_not_pile_up():
    def count():
        gc.collect()
        return sum(type(item) is GraphDef for item in gc.get_objects())

    before = count()
    for i in range(200):
        treefy_merge(*treefy_split(Gadget(number=i, s=State(1.0))))
    assert count() <= before + 1
