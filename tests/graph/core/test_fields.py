"""The attribute dictionary of a node: looking at it changes nothing, writing to it sets attributes."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import json
import pickle
import sys
import threading
import types
import typing
import weakref

import jax
import pytest

from brainstate_graph import Node, State, clone, graphdef, states
from brainstate_graph.extend import Journal, fields_of, now
from tests.laws.graphs import Gadget, assert_isomorphic, net, uncached
from tests.tables import each


class Callable(typing.Protocol):
    def __call__(self, x): ...


RuntimeCallable = typing.runtime_checkable(Callable)


class Model(Gadget):
    def __call__(self, x):
        return x


class Cached(Gadget):
    @functools.cached_property
    def answer(self):
        return 42


LOOKS = {
    "vars": vars,
    "__dict__": lambda m: m.__dict__,
    "items": lambda m: list(vars(m).items()),
    "copy of it": lambda m: vars(m).copy() | dict(vars(m)),
    "unpacked": lambda m: types.SimpleNamespace(**vars(m)),
    "get": lambda m: vars(m).get("rate"),
    "pop of nothing": lambda m: vars(m).pop("nothing", None),
    "setdefault of something": lambda m: vars(m).setdefault("rate", 3),
    "update with nothing": lambda m: vars(m).update({}),
    "dir": dir,
    "hasattr": lambda m: hasattr(m, "__dict__"),
    "getmembers": lambda m: inspect.getmembers(m, callable),
    "getattr_static": lambda m: inspect.getattr_static(m, "__call__"),
    "protocol": lambda m: isinstance(m, RuntimeCallable),
    "wraps": lambda m: functools.wraps(m)(lambda x: m(x)),
    "update_wrapper": lambda m: functools.update_wrapper(functools.partial(m), m),
    "jax.vmap": lambda m: jax.vmap(m),
    "jax.checkpoint": lambda m: jax.checkpoint(m),
    "leaves": lambda m: jax.tree.leaves(vars(m)),
    "pickle": pickle.dumps,
    "repr": lambda m: repr(vars(m)),
}


@each("look", LOOKS.values(), ids=LOOKS)
def test_a_look_is_no_change(look):
    model = Model(s=State(1.0), rate=2)
    shape, tick = graphdef(model), now()
    look(model)
    look(model)
    assert now() == tick
    assert graphdef(model) is shape is uncached(model)


WRITES = {
    "set": lambda d: d.__setitem__("a", 5),
    "set a new one": lambda d: d.__setitem__("z", State(5)),
    "delete": lambda d: d.__delitem__("a"),
    "clear": lambda d: d.clear(),
    "pop": lambda d: d.pop("a"),
    "popitem": lambda d: d.popitem(),
    "setdefault": lambda d: d.setdefault("z", 7),
    "update": lambda d: d.update({"a": 5}, z=6),
    "update by pairs": lambda d: d.update([("z", 6)]),
    "or": lambda d: d.__ior__({"a": 5}) is d,
}
ERRORS = {
    "delete nothing": lambda d: d.__delitem__("z"),
    "pop nothing": lambda d: d.pop("z"),
    "pop too much": lambda d: d.pop("z", 1, 2),
    "update with a number": lambda d: d.update(3),
    "update with two": lambda d: d.update({}, {}),
}


@each("write", WRITES.values(), ids=WRITES)
def test_a_write_is_that_of_a_dict_and_of_the_attribute(write):
    state = State(2.0)
    model, plain = Gadget(a=1, b=state), {"a": 1, "b": state}
    holder = Gadget(inner=model)
    given = vars(model)
    before = graphdef(holder)
    assert type(write(given)) is type(write(plain))
    assert list(given.items()) == list(plain.items()) or {"z"} <= given.keys() == plain.keys()
    assert fields_of(model) is vars(model) is given
    assert {name: getattr(model, name) for name in given} == given
    assert graphdef(holder) is uncached(holder) is not before


@each("write", WRITES.values(), ids=WRITES)
def test_a_write_is_put_back_where_the_block_fails(write):
    model = Gadget(a=1, b=State(2.0))
    before, shape = dict(vars(model)), graphdef(model)
    with contextlib.suppress(KeyError), Journal() as journal:
        write(vars(model))
        assert {edit.name for edit in journal.edits()}
        raise KeyError
    assert vars(model) == before
    assert graphdef(model) is shape is uncached(model)


@each("wrong", ERRORS.values(), ids=ERRORS)
def test_an_error_is_that_of_a_dict(wrong):
    model = Gadget(a=1)
    for fields in (vars(model), {"a": 1}):
        with pytest.raises((KeyError, TypeError)) as caught:
            wrong(fields)
        assert fields == {"a": 1}
        kind = type(caught.value)
    with pytest.raises(kind):
        wrong(vars(model))
    with pytest.raises(KeyError):
        vars(Gadget()).popitem()


def test_an_attribute_is_read_and_set_as_before_by_all_who_have_the_dictionary():
    model = Gadget(a=1)
    kept = vars(model)
    model.b = 2
    del model.a
    assert kept == {"b": 2}
    kept["c"] = 3
    assert model.c == 3
    assert inspect.getattr_static(Gadget, "c", None) is None
    model.__setstate__({"d": 4})
    assert list(kept) == ["b", "c", "d"]


@each("copier", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), clone])
def test_copies_of_a_node_that_was_looked_at(copier):
    model = net()
    vars(model), vars(model.head)
    copied = copier(model)
    assert_isomorphic(model, copied)
    shape = graphdef(model)
    vars(copied)["new"] = 1
    assert not hasattr(model, "new")
    assert graphdef(model) is shape is not graphdef(copied) is uncached(copied)


@each(
    "copier",
    [
        copy.copy,
        copy.deepcopy,
        lambda d: pickle.loads(pickle.dumps(d)),
        dict.copy,
        lambda d: type(d)(d),
        lambda d: type(d).fromkeys(d, 1),
        lambda d: d | {},
        lambda d: {} | d,
        lambda d: jax.tree.map(lambda x: x, d),
        lambda d: json.loads(json.dumps(d)),
    ],
)
def test_a_copy_of_the_dictionary_is_a_plain_dict(copier):
    model = Gadget(b=1, a=1)
    copied = copier(vars(model))
    assert type(copied) is dict
    assert copied == {"b": 1, "a": 1}
    tick = now()
    copied["c"] = 1
    assert now() == tick
    assert not hasattr(model, "c")


def test_a_dictionary_that_holds_itself_is_copied():
    model = Gadget(a=1)
    model.me = vars(model)
    copied = copy.deepcopy(vars(model))
    assert copied["me"] is copied


def test_to_jax_and_to_the_graph_it_is_a_dict():
    model = Gadget(w=State(1.0), b=2, inner=Gadget(w=State(3.0)))
    given, plain = vars(model), dict(vars(model))
    assert jax.tree.leaves(given) == jax.tree.leaves(plain)
    paths, same = (jax.tree_util.tree_leaves_with_path(each) for each in (given, plain))
    assert [path for path, _ in paths] == [path for path, _ in same]
    assert graphdef(given) is graphdef(plain)
    assert list(states(given).items()) == list(states(plain).items())
    assert graphdef(Gadget(held=given)) is graphdef(Gadget(held=plain))


def test_a_model_that_was_looked_at_goes_at_once():
    model = Gadget(s=State(1.0))
    kept = vars(model)
    gone = weakref.ref(model)
    del model
    assert gone() is None
    kept["a"] = 1  # is of no node any more
    assert kept.pop("a") == 1


def test_cached_properties_are_attributes():
    model = Cached(s=State(1.0))
    before = graphdef(model)
    assert (model.answer, vars(model)["answer"]) == (42, 42)
    assert graphdef(model) is uncached(model) is not before


def test_a_failed_block_tells_the_one_around_it_whom_it_has_changed():
    model = Gadget(rate=1)
    with Journal() as journal:
        with contextlib.suppress(KeyError), Journal():
            model.rate = 2
            raise KeyError
        assert model.rate == 1
    assert journal.noted == {id(model)}
    assert journal.edits() == []


@each("change", [setattr, lambda m, name, value: vars(m).update({name: value})])
def test_a_block_knows_what_another_thread_has_set_meanwhile(change):
    mine, others, quiet = Gadget(rate=1), Gadget(rate=1), Gadget(rate=1)
    with Journal() as journal:
        change(mine, "rate", 2)
        thread = threading.Thread(target=lambda: (change(others, "rate", 2), change(others, "rate", 1), vars(quiet)))
        thread.start()
        thread.join()
        assert not journal.disturbed([mine, quiet, Gadget()])
        assert journal.disturbed([mine, others])
    assert journal.disturbed([others])


def test_no_attribute_is_lost_that_another_thread_sets_meanwhile():
    count, rounds = 40, 60
    models: list[Node] = [Gadget() for _ in range(rounds)]
    dictionaries: list[set[int]] = [set() for _ in range(rounds)]
    barrier = threading.Barrier(3)

    def ask():
        for model, found in zip(models, dictionaries, strict=True):
            barrier.wait(20)
            for _ in range(count):
                found.add(id(vars(model)))

    def assign():
        for model in models:
            barrier.wait(20)
            for number in range(count):
                setattr(model, f"x{number}", number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=run) for run in (ask, ask, assign)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert [vars(model) for model in models] == [{f"x{n}": n for n in range(count)}] * rounds
    assert [found == {id(vars(model))} for model, found in zip(models, dictionaries, strict=True)] == [True] * rounds
