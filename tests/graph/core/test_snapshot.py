"""The cache of the structure: the cached and the uncached answer agree, whatever happens to the graph."""

from __future__ import annotations

import collections
import functools
import gc
import re
import sys
import threading
import time
import types
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainstate_graph import (
    GraphError,
    Node,
    Snapshot,
    State,
    clone,
    graphdef,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
)
from brainstate_graph.extend import fields_of, static_key
from tests.laws.graphs import STATICS, Bag, Gadget, Pair, Param, graphs, net, parts_of, uncached
from tests.tables import each


def assert_agrees(model):
    try:
        fresh = Snapshot(model)
    except GraphError as error:  # a list was put into itself: then both refuse, in the same words
        with pytest.raises(GraphError, match=re.escape(str(error))):
            graphdef(model)
        return False
    assert graphdef(model) is fresh.graphdef
    assert all(a is b for a, b in zip(states(model).values(), fresh.states, strict=True))
    return True


@given(graphs(shared_pytrees=False), st.data())
def test_after_any_sequence_of_changes(model, data):
    assert_agrees(model)
    for _ in range(data.draw(st.integers(1, 8))):
        parts = [p for p in parts_of(model) if not isinstance(p, (State, Bag))]
        part = parts[data.draw(st.integers(0, len(parts) - 1))]
        others = [*parts_of(model), *(make() for make in STATICS)]
        new = data.draw(st.one_of(st.builds(State, st.just(1.0)), st.builds(Gadget), st.sampled_from(others)))
        key = data.draw(st.sampled_from(["a", "b", "x", 0]))
        if isinstance(part, Node):
            name = f"{key}"
            how = data.draw(st.sampled_from(["set", "del", "vars", "update", "swap", "write"]))
            if how == "set":
                if isinstance(fields_of(part).get(name), State):  # in whose place no array is put
                    delattr(part, name)
                setattr(part, name, new)
            elif how == "del" and name in fields_of(part):
                delattr(part, name)
            elif how == "vars":
                vars(part)[name] = new
            elif how == "update":
                part.__dict__.update({name: new})
            elif how == "swap":
                for old, value in list(fields_of(part).items()):
                    if isinstance(value, State):
                        setattr(part, old, type(value)(0.0))
            else:
                for state in states(model).values():
                    state.value = 2.0
        elif isinstance(part, list):
            how = data.draw(st.sampled_from(["append", "pop", "assign", "reverse", "clear", "insert"]))
            if how == "append":
                part.append(new)
            elif how == "insert":
                part.insert(0, new)
            elif part and how == "assign":
                part[-1] = new
            elif part and how == "pop":
                part.pop(0)
            else:
                part.reverse() if how == "reverse" else part.clear() if how == "clear" else None
        else:
            how = data.draw(st.sampled_from(["set", "pop", "reorder", "popitem"]))
            if how == "set":
                part[key] = new
            elif how == "pop":
                part.pop(key, None)
            elif part and how == "popitem":
                part.popitem()
            elif part:
                first = next(iter(part))
                part[first] = part.pop(first)
        if not assert_agrees(model):
            return


# Something mutable as attribute `x`, and how it changes.
MUTABLE = {
    "list": (lambda: [1], lambda x: x.append(2)),
    "set": (lambda: {1}, lambda x: x.add(2)),
    "array": (lambda: np.zeros(2), lambda x: x.fill(1)),
    "namespace": (lambda: types.SimpleNamespace(a=1), lambda x: setattr(x, "a", 2)),
    "in a tuple": (lambda: (1, [1]), lambda x: x[1].append(2)),
    "in a namedtuple": (lambda: Pair(1, [1]), lambda x: x.right.append(2)),
    "bag": (lambda: Bag(State(1.0)), lambda x: x.items.append(State(1.0))),
    "bag in a bag": (lambda: Bag(Bag(State(1.0))), lambda x: x.items[0].items.append(State(1.0))),
    "bytearray": (lambda: bytearray(b"a"), lambda x: x.extend(b"b")),
}


@each("case", MUTABLE)
def test_mutable_attributes_are_watched(case):
    make, change = MUTABLE[case]
    model = Gadget(child=Gadget(x=make()))
    before = graphdef(model)
    change(model.child.x)
    assert_agrees(model)
    if case != "bytearray":  # compared by identity
        assert graphdef(model) is not before


UNWATCHED = {
    "subclass of list": (lambda: type("L", (list,), {})([1]), lambda x: x.append(2)),
    "counter": (lambda: collections.Counter("a"), lambda x: x.update("b")),
    "subclass of set": (lambda: type("S", (set,), {})([1]), lambda x: x.add(2)),
    "subclass of array": (lambda: np.zeros(2).view(np.recarray), lambda x: x.fill(1)),
    "partial": (lambda: functools.partial(max, [1]), lambda x: x.args[0].append(2)),
    "partial keywords": (lambda: functools.partial(max, key=1), lambda x: x.keywords.update(key=2)),
    "subclass of tuple": (lambda: type("T", (tuple,), {})([[1]]), lambda x: x[0].append(2)),
    "label of a bag": (lambda: Bag(State(1.0), label=1), lambda x: setattr(x, "label", 2)),
    "empty bag": (lambda: Bag(), lambda x: x.items.append(State(1.0))),
    "default factory": (lambda: collections.defaultdict(int), lambda x: setattr(x, "default_factory", list)),
}


@pytest.mark.graph_cache
@each("case", UNWATCHED)
def test_more_mutable_attributes_are_watched(case):
    make, change = UNWATCHED[case]
    model = Gadget(child=Gadget(x=make()))
    graphdef(model)
    change(model.child.x)
    assert_agrees(model)


def test_an_empty_mutable_pytree_is_cloned():
    model = Gadget(x=Bag())
    assert clone(model).x is not model.x
    assert graphdef(model) is graphdef(Gadget(x=Bag()))


@pytest.mark.graph_cache
def test_writes_to_a_kept_attribute_dictionary():
    model = Gadget(a=1)
    attributes = vars(model)
    graphdef(model)
    attributes["a"] = 2
    assert_agrees(model)


def test_a_renamed_key_and_an_equal_value_of_another_type_show():
    model = Gadget(table={"a": State(1.0)}, items=[1, State(2.0)])
    graphdef(model)
    model.table["b"] = model.table.pop("a")
    assert list(states(model)) == [("items", 1), ("table", "b")]
    model.items[0] = True
    assert_agrees(model)


def test_nodes_that_were_merged_together_are_told_apart():
    model = clone(Gadget(a=Gadget(w=State(1.0)), b=Gadget(w=State(2.0))))
    for inner in (model.a, model.b, model.a):
        assert list(states(inner).values()) == [inner.w]


@pytest.mark.graph_cache
def test_an_unchanged_graph_is_not_taken_apart_again():
    model = net()
    shape = Snapshot(model)
    assert shape.is_current()
    model.head.weight.value = 3.0
    Gadget(x=1).y = 2  # another model changes
    assert shape.is_current()
    model.head.rate = 0.1
    assert not shape.is_current()


def test_extra_tests():
    valid = [True]
    shape = Snapshot(net(), [lambda: valid[0]])
    current = shape.is_current()
    valid[0] = False
    assert not shape.is_current()
    assert current == Snapshot.enabled


@pytest.mark.graph_cache
def test_switching_the_cache_off_takes_effect_at_once():
    shape = Snapshot(net())
    assert shape.is_current()
    Snapshot.enabled = False
    try:
        assert not shape.is_current()
    finally:
        Snapshot.enabled = True


def test_a_bare_state_is_no_graph():
    with pytest.raises(ValueError, match="a bare State is not a graph: hold it in a Node, list or dict"):
        graphdef(State(1.0))


@each("root", [3, "a", None])
def test_a_single_value_is_no_graph(root):
    with pytest.raises(ValueError, match="is not a graph"):
        graphdef(root)


def test_the_cache_keeps_no_model_alive():
    model = net()
    model.me = model
    treefy_states(model)
    clone(model)
    dead = [weakref.ref(model), weakref.ref(model.head.weight)]
    del model
    gc.collect()
    assert [ref() for ref in dead] == [None, None]


@pytest.mark.graph_cache
def test_a_dropped_model_without_cycles_is_freed_at_once():
    gc.collect()
    gc.disable()
    try:
        model = net()
        graphdef(model)
        dead = weakref.ref(model.head.weight)
        del model
        assert dead() is None
    finally:
        gc.enable()


# ------------------------------------------------------------------------------------------------- threads


@pytest.mark.graph_cache
def test_a_change_while_we_look_shows():
    model = Gadget(b=1)

    class Meddler:
        meddles = True

        def __hash__(self):  # asked for in the middle of the traversal, as another thread might run there
            if Meddler.meddles:
                model.b = 2
            return 1

        def __eq__(self, other):
            return self is other

    model.a = Meddler()
    graphdef(model)
    Meddler.meddles = False
    assert_agrees(model)


@pytest.mark.parametrize("kind", ["attributes", "list", "dict"])
def test_splitting_while_another_thread_changes_the_graph(kind):
    model = Gadget(items=[State(0.0)], table={"k": State(0.0)}, s=Param(1.0))
    errors, stop = [], threading.Event()

    def change():
        number = 0
        while not stop.is_set():
            number = (number + 1) % 50
            if kind == "attributes":
                setattr(model, f"extra{number}", State(1.0))
                if number % 2:
                    delattr(model, f"extra{number}")
            elif kind == "list":
                model.items.append(State(1.0)) if number % 7 else model.items.clear()
            else:
                model.table[number] = State(1.0)
                if number % 3 == 0:
                    model.table.pop(number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    worker = threading.Thread(target=change)
    worker.start()
    try:
        end = time.monotonic() + 0.7
        while time.monotonic() < end and not errors:
            try:
                assert treefy_states(model)["s"].value == 1.0
            except Exception as error:
                errors.append(error)
    finally:
        stop.set()
        worker.join()
        sys.setswitchinterval(interval)
    assert not errors
    assert graphdef(model) is uncached(model)


def test_without_the_cache_the_graph_can_still_be_asked(monkeypatch):
    model = {"a": State(1.0)}
    monkeypatch.setattr(Snapshot, "enabled", False)
    snapshot = Snapshot(model)
    assert not snapshot.is_current()
    assert snapshot.is_current(cached=False)
    model["b"] = State(2.0)
    assert not snapshot.is_current(cached=False)


@pytest.mark.parametrize("cached", [True, False])
def test_splitting_while_another_thread_changes_all_of_the_model(cached, monkeypatch):
    monkeypatch.setattr(Snapshot, "enabled", cached)
    model, stop = Gadget(table={}, items=[], inner=Gadget()), threading.Event()

    def change() -> None:
        k = 0
        while not stop.is_set():
            k += 1
            setattr(model.inner, f"x{k % 50}", State(k))
            model.table[k % 70] = State(k)
            model.items.append(State(k))
            if k % 30 == 0:
                model.table.clear()
                model.items.clear()
                vars(model.inner).clear()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(150):
            shape, tree = treefy_split(model)
            assert len(tree.to_flat()) == len(shape.state_rows)
            again = treefy_merge(shape, tree)
            assert graphdef(again) is shape
            repr(again)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)


def test_a_watch_that_is_disturbed_by_another_thread_says_no():
    calls = []

    def disturbed() -> bool:
        calls.append(True)
        if len(calls) > 1:
            raise RuntimeError("dictionary changed size during iteration")
        return True

    snap = Snapshot(Gadget(k=1), tests=[disturbed])
    assert snap.is_current(cached=False)
    assert not snap.is_current(cached=False)


@pytest.mark.parametrize("kind", [dict, set])
def test_a_static_container_that_gets_an_item_while_it_is_looked_at(kind):
    class Growing:
        def __hash__(self) -> int:
            if held:
                held.update({len(held): None} if kind is dict else {len(held)})
            return 1

    held = kind()
    first = Growing()
    held.update({first: None} if kind is dict else {first})
    assert static_key(held) is not None
    assert len(held) > 1
