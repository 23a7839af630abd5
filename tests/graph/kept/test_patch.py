"""A snapshot that is patched equals one that is taken apart anew; and what is patched need not be taken apart."""

from __future__ import annotations

import gc
import threading
import weakref

import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainstate_graph import GraphError, Node, Snapshot, State, graphdef, nodes, states
from brainstate_graph.extend import fields_of, patched
from tests.laws.graphs import Bag, Gadget, Param, Stat, Widget, graphs, net, parts_of
from tests.tables import each

pytestmark = pytest.mark.graph_cache

PLAIN = [1, 2, 2.0, True, 0.0, -0.0, float("nan"), None, "a", b"a", 1j, ...]


def same(one: Snapshot, other: Snapshot) -> bool:
    return (
        one.graphdef is other.graphdef
        and all(a is b for a, b in zip(one.objects, other.objects, strict=True))
        and all(a is b for a, b in zip(one.states, other.states, strict=True))
    )


def after(snapshot: Snapshot) -> Snapshot | None:
    return snapshot if snapshot.is_current() else patched(snapshot)


def put(node, name, value) -> None:
    """Set an attribute, also to an array where a state is held."""
    if isinstance(fields_of(node).get(name), State):
        delattr(node, name)
    setattr(node, name, value)


def edit(draw, model) -> None:
    """Change one node in a way that may or may not be a patch."""
    parts = parts_of(model)
    node = draw(st.sampled_from([part for part in parts if isinstance(part, Node)]))
    name = draw(st.sampled_from([*fields_of(node), "a", "b", "x"]))
    how = draw(st.sampled_from(["plain", "plain", "again", "anew", "anew", "any", "delete", "swap", "vars", "class"]))
    old = fields_of(node).get(name)
    if how == "plain" and (name not in fields_of(node) or type(old) in map(type, PLAIN)):
        setattr(node, name, draw(st.sampled_from(PLAIN)))
    elif how == "again" and name in fields_of(node):
        setattr(node, name, old)
    elif how == "anew" and isinstance(old, State):
        kind = draw(st.sampled_from([type(old), type(old), Param]))
        meta = draw(st.sampled_from([dict(old.metadata), dict(old.metadata), {"name": "m"}]))
        setattr(node, name, kind(1.0, **meta))
    elif how == "any":
        put(node, name, draw(st.sampled_from([*parts, State(1.0), Gadget(), [1], {}])))
    elif how == "delete" and name in fields_of(node):
        delattr(node, name)
    elif how == "swap":
        other = draw(st.sampled_from(list(fields_of(node)) or ["a"]))
        mine, theirs = fields_of(node).get(name), fields_of(node).get(other)
        put(node, name, theirs)
        put(node, other, mine)
    elif how == "vars":
        vars(node)[name] = draw(st.sampled_from(PLAIN))
    elif how == "class":
        node.__class__ = draw(st.sampled_from([Gadget, Widget]))


@given(graphs(shared_pytrees=False), st.data())
def test_a_patched_snapshot_is_that_of_the_graph(model, data):
    try:
        snapshot = Snapshot(model)
        for _ in range(data.draw(st.integers(1, 4))):
            for _ in range(data.draw(st.integers(1, 3))):
                edit(data.draw, model)
            fresh, found = Snapshot(model), after(snapshot)
            assert found is None or same(found, fresh)
            snapshot = fresh if found is None else found
            assert snapshot.is_current()
    except GraphError:  # a container was put into itself
        return


# What is no reason to take the graph apart.
def _set_again(model):
    model.head.rate, model.layers[0].weight = model.head.rate, model.layers[0].weight


def _set_all(model):
    for node in nodes(model).values():
        node.mode = "eval"


def _new_states(model):
    for node in (*model.layers, model.head):
        node.seen = Stat(1)


def _new_with_metadata(model):
    model.head.bias = Param(jnp.zeros(2), tag="bias")


def _looked_at(model):
    vars(model.head)
    model.head.rate = 3


PATCHES = {
    "set to what it was": _set_again,
    "another number": lambda model: setattr(model.head, "rate", 7),
    "a number of another type": lambda model: setattr(model.head, "rate", True),
    "a new number": lambda model: setattr(model, "step", 0),
    "a number less": lambda model: delattr(model, "name"),
    "each node": _set_all,
    "new states": _new_states,
    "a new state with metadata": _new_with_metadata,
    "two changes of a node": lambda model: (setattr(model.head, "rate", 2), setattr(model.head, "seen", Stat(3))),
    "after a look at the dictionary": _looked_at,
}


@each("case", PATCHES)
def test_what_is_patched(case):
    model = net()
    snapshot = Snapshot(model)
    PATCHES[case](model)
    found = after(snapshot)
    assert found is not None
    assert same(found, Snapshot(model))


def _shared(model):
    model.layers[0].seen = model.layers[1].seen = Stat(0)


def _swapped(model):
    first, second = model.layers
    first.seen, second.seen = second.seen, first.seen


NO_PATCHES = {
    "a state of another kind": lambda model: setattr(model.head, "seen", Param(0)),
    "a state with other metadata": lambda model: setattr(model.head, "bias", Param(jnp.zeros(2), tag="other")),
    "one new state in two places": _shared,
    "two states that change places": _swapped,
    "a state in place of a number": lambda model: setattr(model.head, "rate", State(0.0)),
    "a number in place of a state": lambda model: (delattr(model.head, "seen"), setattr(model.head, "seen", 0)),
    "a function": lambda model: setattr(model.head, "rate", abs),
    "a node": lambda model: setattr(model, "head", Gadget()),
    "a list": lambda model: setattr(model, "layers", list(model.layers)),
    "an item of a list": lambda model: (setattr(model, "name", "b"), model.layers.pop()),
    "a class": lambda model: setattr(model.head, "__class__", Widget),
}


@each("case", NO_PATCHES)
def test_what_is_not_patched(case):
    model = net()
    snapshot = Snapshot(model)
    NO_PATCHES[case](model)
    assert after(snapshot) is None


def test_a_new_state_in_place_of_a_tied_one_is_no_patch():
    tied = Stat(0)
    model = Gadget(a=Gadget(s=tied), b=Gadget(s=tied))
    snapshot = Snapshot(model)
    model.a.s = Stat(0)
    assert after(snapshot) is None


def test_a_new_state_that_a_hidden_attribute_holds_too():
    class Hiding(Gadget):
        graph_invisible_attrs = ("twin",)

    model = Hiding(s=Stat(0), twin=None)
    snapshot = Snapshot(model)
    model.s = model.twin = Stat(1)
    found = after(snapshot)
    assert found is not None
    assert found.states == [model.s]
    del model.twin
    model.twin = 3  # no part of the graph
    assert found.is_current()


def test_modes_to_and_fro_have_two_shapes():
    model, seen = net(), []
    for mode in ("eval", None, "eval", None):
        for node in nodes(model).values():
            if mode is None:
                del node.mode
            else:
                node.mode = mode
        seen.append(graphdef(model))
        assert states(model)["head", "seen"] is model.head.seen
    assert seen[0] is seen[2] is not seen[1]
    assert seen[1] is seen[3]


def test_a_write_to_a_dictionary_that_was_handed_out_shows_after_a_patch():
    model = Gadget(inner=Gadget(rate=1))
    snapshot = Snapshot(model)
    attributes = vars(model.inner)
    model.inner.rate = 2
    found = patched(snapshot)
    assert found is not None
    attributes["rate"] = 3  # which is told as `model.inner.rate = 3` is
    assert not found.is_current()
    again = patched(found)
    assert again is not None
    assert again.is_current()
    assert again.graphdef is graphdef(model) is graphdef(Gadget(inner=Gadget(rate=3))) is not found.graphdef
    assert again.objects[1:] == [model.inner]


def test_a_patch_lets_go_of_the_states_of_before():
    model = Gadget(cell=Gadget(h=State(jnp.zeros(2))))
    snapshot = Snapshot(model)
    old = weakref.ref(model.cell.h)
    model.cell.h = State(jnp.ones(2))
    snapshot = patched(snapshot)
    gc.collect()
    assert old() is None
    assert snapshot.states == [model.cell.h]


def test_a_model_that_was_patched_is_freed_at_once():
    gc.collect()
    gc.disable()
    try:
        model = net()
        for mode in ("eval", "train", "eval"):
            model.head.mode = mode
            graphdef(model)
        dead = weakref.ref(model.head.weight)
        del model
        assert dead() is None
    finally:
        gc.enable()


def test_hooks_of_a_new_state_are_part_of_a_patch():
    model = net()
    snapshot = Snapshot(model)
    model.head.seen = Stat(1)
    with model.head.seen.register_hook("read", lambda context: None):
        found = patched(snapshot)
        assert found is not None
        assert found.hooks == Snapshot(model).hooks != snapshot.hooks


def test_patches_while_another_thread_sets_attributes():
    model, stop = Gadget(cells=[Gadget(h=State(0.0), k=0) for _ in range(20)]), threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for cell in model.cells:
                cell.k, cell.h = number % 3, State(0.0)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        snapshot = Snapshot(model)
        for _ in range(300):
            snapshot = after(snapshot) or Snapshot(model)
    finally:
        stop.set()
        thread.join()
    found = after(snapshot) or Snapshot(model)
    assert same(found, Snapshot(model))


def test_bags_are_watched_beside_patches():
    model = Gadget(bag=Bag(State(1.0)), rate=1)
    snapshot = Snapshot(model)
    model.rate = 2
    model.bag.items.append(State(2.0))
    assert after(snapshot) is None


@each("count", [3, 40])  # few are compared one by one, many at once
def test_values_that_have_moved_to_other_names_are_no_longer_as_they_were(count):
    model, rate = Node(), 0.5
    model.parts = [Node() for _ in range(count)]
    for part in model.parts:
        part.rate = rate
    snapshot = Snapshot(model)
    assert snapshot.is_current()
    for part in model.parts:
        part.speed = part.__dict__.pop("rate")
    assert not snapshot.is_current()
    assert same(after(snapshot) or Snapshot(model), Snapshot(model))
