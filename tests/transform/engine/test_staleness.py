"""A change of anything that a program was made from is seen."""

from __future__ import annotations

import array
import collections
import copy
import functools
import math
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import (
    State,
    Static,
    treefy_merge,
    treefy_split,
)
from brainstate_transform import jit
from tests.laws.graphs import Gadget
from tests.laws.transforms import Runs

one = jnp.float32(1.0)  # an argument; not for a state, whose buffer may be donated


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


INSIDE = {
    "plain object": (Config(2.0), lambda c: c.k, lambda c: setattr(c, "k", 3.0)),
    "slots": (Slotted(2.0), lambda c: c.k, lambda c: setattr(c, "k", 3.0)),
    "deque": (collections.deque([2.0]), lambda c: c[0], lambda c: c.__setitem__(0, 3.0)),
    "userdict": (collections.UserDict(a=2.0), lambda c: c["a"], lambda c: c.update(a=3.0)),
}
UNWATCHED = {
    "object array": (_object_array(2.0), lambda c: c[0], lambda c: c.__setitem__(0, 3.0)),
    "array": (array.array("d", [2.0]), lambda c: c[0], lambda c: c.__setitem__(0, 3.0)),
}


@pytest.mark.filterwarnings("ignore:.* was traced three times")
def test_no_program_is_shared_between_statics_that_are_alike():
    f = jit(lambda m, x: x * m.k)
    raw = jax.jit(lambda d, t, x: x * treefy_merge(d, t).k)
    x = jnp.int32(3)
    for k in (2, 2.0, True, 2, np.float32(2), False, 0.0):
        model = Gadget(k=k)
        for out in (f(model, x), raw(*treefy_split(model), x)):
            expected = x * k
            assert (out.dtype, out) == (expected.dtype, expected)
    model = Gadget(k=0.0)
    sign = jit(lambda: jnp.copysign(one, model.k))
    assert sign() == 1.0
    model.k = -0.0
    assert sign() == -1.0
    static = jit(lambda k: jnp.copysign(one, k), static_argnums=0)
    assert (static(0.0), static(-0.0), static(0)) == (1.0, -1.0, 1.0)


@pytest.mark.counts_traces
def test_nan_is_itself():
    runs = Runs()
    f = jit(lambda m: (runs(), one * 1)[1])
    for nan in (float("nan"), math.nan, -float("nan") * -1, np.float64("nan").item()):
        f(Gadget(k=nan, t=(nan, [nan])))
        assert Static(nan) == Static(float("nan"))
    assert runs.count == 1


def test_a_change_of_what_is_no_state_is_seen():
    model = Gadget(
        w=State(one),
        k=2.0,
        layers=[1.0],
        table={"a": 1.0},
        a=jnp.float32(5.0),
        np=np.ones(2),
        inner=Gadget(k=1.0),
        ns=types.SimpleNamespace(k=1.0),
        fun=math.cos,
        part=functools.partial(jnp.add, 1.0),
    )

    def total():
        m = model
        numbers = m.k + sum(m.layers) + sum(m.table.values()) + m.a + m.np.sum() + m.inner.k + m.ns.k + m.fun(0.0)
        return m.w.value * numbers + m.part(0.0)

    f = jit(total)
    changes = [
        lambda: setattr(model, "k", 3.0),
        lambda: model.layers.append(7.0),
        lambda: model.layers.__setitem__(0, 3.0),
        lambda: model.table.update(b=2.0),
        lambda: model.table.update(a=9.0),
        lambda: setattr(model, "a", jnp.float32(6.0)),
        lambda: model.np.__setitem__(0, 50.0),
        lambda: setattr(model.inner, "k", 4.0),
        lambda: setattr(model.ns, "k", 8.0),
        lambda: setattr(model, "inner", Gadget(k=11.0)),
        lambda: setattr(model, "w", State(jnp.float32(2.0))),
        lambda: vars(model).update(k=12.0),
        lambda: vars(model.inner).update(k=13.0),
        lambda: setattr(model, "fun", math.exp),
        lambda: setattr(model, "part", functools.partial(jnp.add, 2.0)),
        lambda: object.__setattr__(model, "k", 1.5) or setattr(model, "x", 1),
    ]
    for number, change in enumerate([lambda: None, *changes]):
        change()
        assert np.isclose(f(), total()), number


@pytest.mark.parametrize(("held", "read", "change"), INSIDE.values(), ids=INSIDE)
def test_a_change_inside_an_object_is_seen(held, read, change):
    held = copy.deepcopy(held)
    model = Gadget(w=State(one), held=held)
    f = jit(lambda: model.w.value * read(model.held))
    assert f() == 2.0
    change(held)
    assert f() == 3.0


@pytest.mark.parametrize(("held", "read", "change"), UNWATCHED.values(), ids=UNWATCHED)
def test_a_change_that_is_not_watched_is_told(held, read, change):
    model = Gadget(w=State(one), held=copy.deepcopy(held))
    f = jit(lambda: model.w.value * read(model.held))
    assert f() == 2.0
    change(model.held)
    assert f() == 2.0  # what was traced
    assert "model.held" in str(f.explain())


def test_a_change_of_a_class_attribute_is_seen():
    class Model(Gadget):
        rate = 2.0

    model = Model(w=State(one))
    f = jit(lambda: model.w.value * model.rate)
    assert f() == 2.0
    Model.rate = 3.0
    assert f() == 3.0


def test_a_change_of_an_invisible_attribute_is_seen():
    class Model(Gadget):
        graph_invisible_attrs = ("rate",)

    model = Model(w=State(one), rate=2.0)
    f = jit(lambda: model.w.value * model.rate)
    assert f() == 2.0
    model.rate = 3.0
    assert f() == 3.0


def test_a_switched_hook_is_seen_by_a_compiled_function():
    s = State(one)
    f = jit(lambda x: setattr(s, "value", x) or s.value)
    assert f(one) == 1.0
    hook = s.register_hook("write_before", lambda context: setattr(context, "value", context.value * 10))
    assert f(one) == 10.0
    hook.enabled = False
    assert f(one) == 1.0
    hook.enabled = True
    assert f(one) == 10.0
    hook.remove()
    assert f(one) == 1.0
