"""Looking at the dictionary of a module while it is traced is no change of it: it compiles once, as a lambda does."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import itertools
import operator
import pickle
import threading
import types
import typing

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import GraphError, Node, State, StructureError
from brainstate_graph.extend import fields_of
from brainstate_transform import StatefulFunction, checkpoint, cond, for_loop, grad, jit, scan, vmap
from tests.tables import each

one = jnp.float32(1.0)


@typing.runtime_checkable
class Layer(typing.Protocol):
    def __call__(self, x): ...


class Affine(Node):
    def __init__(self, w=2.0):
        self.w = State(jnp.float32(w))
        self.rate = 3.0
        self.inner = Scale()

    def __call__(self, x):
        return self.w.value * x * self.rate + self.inner.b.value

    @functools.cached_property
    def doubled(self):
        return 2 * self.rate

    @functools.cached_property
    def squared(self):
        return self.w.value**2


class Scale(Node):
    def __init__(self):
        self.b = State(jnp.float32(5.0))


def looked_at(look):
    """Return a function that looks at a module, and then calls it."""

    def apply(net, x):
        look(net)
        return net(x)

    return apply


def through_a_namespace(net, x):
    seen = types.SimpleNamespace(**vars(net))
    return seen.w.value * x * seen.rate + seen.inner.b.value


LOOKS = {
    "jax.vmap": lambda net, x: jax.vmap(net)(x[None])[0],
    "jax.checkpoint": lambda net, x: jax.checkpoint(net)(x),
    "jax.jit": lambda net, x: jax.jit(functools.wraps(net)(lambda x: net(x)))(x),
    "wraps": lambda net, x: functools.wraps(net)(lambda x: net(x))(x),
    "update_wrapper": lambda net, x: functools.update_wrapper(functools.partial(net), net)(x),
    "copy.copy": lambda net, x: copy.copy(net)(x),
    "copy of the dictionary": lambda net, x: copy.copy(vars(net))["w"].value * x * net.rate + net.inner.b.value,
    "namespace": through_a_namespace,
    "vars": looked_at(vars),
    "of all modules": looked_at(lambda net: (vars(net), vars(net.inner))),
    "__dict__": looked_at(lambda net: list(net.__dict__)),
    "dict": looked_at(lambda net: dict(net.__dict__)),
    "leaves": looked_at(lambda net: jax.tree.leaves(vars(net))),
    "protocol": looked_at(lambda net: isinstance(net, Layer) or 1 / 0),
    "getmembers": looked_at(lambda net: inspect.getmembers(net, callable)),
    "getattr_static": looked_at(lambda net: inspect.getattr_static(net, "__call__")),
    "dir": looked_at(dir),
    "hasattr": looked_at(lambda net: hasattr(net, "__dict__")),
    "is_dataclass": looked_at(lambda net: dataclasses.is_dataclass(net)),
    "pickled attributes": looked_at(lambda net: pickle.dumps([k for k, v in vars(net).items() if k == "rate"])),
    "what is not there": looked_at(lambda net: vars(net).pop("nothing", None)),
    "cached property": lambda net, x: net(x) * net.doubled / net.doubled,
    "cached property of a state": lambda net, x: net(x) * net.squared / net.squared,
    "lambda": lambda net, x: net(x),
}

# The same without a look: the functions of JAX that keep what they have traced are there as well.
CALLS = {
    "jax.vmap": lambda net, x: jax.vmap(lambda x: net(x))(x[None])[0],
    "jax.jit": lambda net, x: jax.jit(lambda x: net(x))(x),
}

TRANSFORMS = {
    "jit": jit,
    "grad": lambda f: grad(f, return_value=True),
    "vmap": lambda f: lambda x: vmap(f)(x[None]),
    "for_loop": lambda f: lambda x: for_loop(f, x[None]),
    "scan": lambda f: lambda x: scan(lambda c, x: (f(x), c), x, x[None]),
    "cond": lambda f: lambda x: cond(x > -1.0, f, lambda x: x, x),
    "checkpoint": checkpoint,
    "StatefulFunction": StatefulFunction,
    "jax.jit": jax.jit,
    "jit in jax.jit": lambda f: jax.jit(jit(f)),
    "jit of jit": lambda f: jit(jit(f)),
    "jit of grad": lambda f: jit(grad(f, return_value=True)),
    "jit of vmap": lambda f: jit(lambda x: vmap(f)(x[None])),
    "jit of for_loop": lambda f: jit(lambda x: for_loop(f, x[None])),
    "jit of cond": lambda f: jit(lambda x: cond(x > -1.0, f, lambda x: x, x)),
    "jit of checkpoint": lambda f: jit(checkpoint(f)),
}


def transforms(without=()):
    names = [name for name in TRANSFORMS if name not in without]
    return pytest.mark.parametrize("wrap", [TRANSFORMS[name] for name in names], ids=names)


UNDER_JAX_ALONE = (TRANSFORMS["jax.jit"], TRANSFORMS["jit in jax.jit"])
numbers = itertools.count()


def run(wrap, *looks):
    """Call a function that looks at modules four times; return what it returns, and how often Python runs in it."""
    nets = [Affine(2.0 + number) for number in range(len(looks))]
    runs = []

    def step(x):
        runs.append(None)
        return sum(look(net, x) for look, net in zip(looks, nets, strict=True))

    # What a function without `jit` did to traces that JAX keeps is remembered by its code, and each has its own.
    step.__code__ = step.__code__.replace(co_name=f"step_{next(numbers)}")
    f = wrap(step)
    results = [f(one), f(one), f(2 * one)]
    stale = pytest.warns(UserWarning, match=r"Affine\.w was assigned, but `.*step` keeps the old value")
    with stale if wrap in UNDER_JAX_ALONE else contextlib.nullcontext():
        nets[0].w.value = nets[0].w.value + 1.0
    results.append(f(one))
    assert not any(isinstance(item, jax.core.Tracer) for net in nets for item in fields_of(net).values())
    return [jax.tree.map(float, jax.tree.map(jnp.sum, result)) for result in results], len(runs)


@pytest.mark.counts_traces
@each("look", LOOKS.values(), ids=LOOKS)
def test_a_look_in_a_compiled_function_is_traced_once(look):
    results, runs = run(jit, look)
    expected, _ = run(jit, LOOKS["lambda"])
    assert results == pytest.approx(expected)
    assert runs == 1


@pytest.mark.counts_traces
@transforms()
def test_all_looks_in_a_transform_are_traced_as_often_as_calls(wrap):
    # JAX keeps what it traced of a checkpoint by the module, so a second trace is another matter; and under JAX alone
    # nobody takes back what a cached property keeps.
    without = {"jax.checkpoint"} | ({"getmembers", "cached property of a state"} if wrap is jax.jit else set())
    looks = {name: look for name, look in LOOKS.items() if name not in without}
    results, runs = run(wrap, *looks.values())
    expected, runs_of_calls = run(wrap, *[CALLS.get(name, LOOKS["lambda"]) for name in looks])
    assert jax.tree.structure(results) == jax.tree.structure(expected)
    assert jax.tree.leaves(results) == pytest.approx(jax.tree.leaves(expected))
    assert runs == runs_of_calls


@pytest.mark.counts_traces
def test_a_look_by_another_thread_is_no_change_either():
    net, runs = Affine(), []

    @jit
    def f(x):
        runs.append(None)
        thread = threading.Thread(target=lambda: (vars(net), copy.copy(net.inner), dir(net)))
        thread.start()
        thread.join()
        return net(x)

    assert [f(one), f(one)] == [11.0, 11.0]
    assert len(runs) == 1


# ------------------------------------------------------------------------------------------------ writes


def item(net, name, value):
    vars(net)[name] = value


WRITES = {
    "item": item,
    "update": lambda net, name, value: net.__dict__.update({name: value}),
    "keyword": lambda net, name, value: vars(net).update(**{name: value}),
    "or": lambda net, name, value: vars(net).__ior__({name: value}),
    "setdefault": lambda net, name, value: vars(net).setdefault(name, value),
    "pop and set": lambda net, name, value: (vars(net).pop(name, None), item(net, name, value)),
    "setitem": lambda net, name, value: operator.setitem(vars(net), name, value),
    "setstate": lambda net, name, value: net.__setstate__({name: value}),
    "setattr": setattr,
}


@each("write", WRITES.values(), ids=WRITES)
def test_a_write_through_the_dictionary_is_seen_by_the_next_call(write):
    net = Affine()
    f = jit(lambda x: net(x) * getattr(net, "extra", 1.0))
    assert f(one) == 11.0
    write(net, "extra", 4.0)
    assert f(one) == 44.0
    del net.extra
    assert f(one) == 11.0


@pytest.mark.counts_traces
@each("write", WRITES.values(), ids=WRITES)
def test_a_write_inside_is_done_again_after_each_call(write):
    net, runs = Affine(), []

    @jit
    def f(x):
        runs.append(None)
        write(net, "extra", 4.0)
        assert net.extra == 4.0
        return net(x)

    for _ in range(4):
        assert f(one) == 11.0
        assert vars(net)["extra"] == 4.0
    assert len(runs) <= 2  # with the attribute and without
    del net.extra
    assert f(one) == 11.0
    assert net.extra == 4.0


@transforms(without=["jax.jit"])  # which knows of no attribute, as Python does not
def test_a_traced_value_in_the_dictionary_is_refused_by_name(wrap):
    for name, write in WRITES.items():
        net = Affine()
        before = dict(vars(net))

        def step(x, net=net, write=write):
            write(net, "extra", x * net.w.value)
            return net(x)

        with pytest.raises(GraphError, match=r"` sets Affine\.extra to a traced value.*`self\.extra = State\(value\)`"):
            wrap(step)(one)
        assert vars(net) == before, name


def test_a_loop_refuses_a_write_through_the_dictionary():
    net = Affine()

    def body(x):
        vars(net)["rate"] = 7.0
        return net(x)

    with pytest.raises(StructureError, match=r"body` sets Affine\.rate to 7\.0; a loop"):
        for_loop(body, jnp.ones(2))
    assert net.rate == 3.0


def test_an_error_puts_back_what_was_written_through_the_dictionary():
    net = Affine()
    before = dict(vars(net))

    @jit
    def f(x):
        vars(net).update(rate=x, extra=1)
        del vars(net)["inner"]
        raise KeyError

    with pytest.raises(KeyError):
        f(one)
    assert vars(net) == before


@pytest.mark.counts_traces
def test_what_an_inner_function_had_set_when_it_failed_is_not_taken_for_another_threads():
    net, runs = Affine(), []

    def inner(x):
        net.rate = 9.0
        vars(net)["extra"] = x
        raise KeyError

    @jit
    def f(x):
        runs.append(None)
        for wrap in (jit, grad, checkpoint):
            with pytest.raises(KeyError):
                wrap(inner)(x)
        return net(x)

    assert [f(one), f(one)] == [11.0, 11.0]
    assert len(runs) == 1
    assert not hasattr(net, "extra")


@pytest.mark.counts_traces
def test_an_attribute_set_to_what_it_was_in_a_stateful_function():
    net, runs = Affine(), []

    def f(x):
        runs.append(None)
        net.rate = net.rate
        return net(x)

    g = StatefulFunction(f)
    assert [g(one), g(one), g(one)] == [11.0] * 3
    assert len(runs) == 1


# ------------------------------------------------------------------------------------------------ cached properties


def test_a_cached_property_keeps_no_traced_value():
    net = Affine()
    squared = lambda: net.squared * net.doubled
    for wrap in (jit, checkpoint, StatefulFunction, lambda f: jit(grad(f, net.w, return_value=True))):
        assert jax.tree.leaves(wrap(squared)())[-1] == 24.0
        assert set(vars(net)) == {"w", "rate", "inner"}
    assert for_loop(lambda _: squared(), one[None]) == 24.0
    assert grad(squared, net.w, return_value=True)()[1] == 24.0
    assert "squared" not in vars(net)
    assert vmap(squared, axis_size=2)().tolist() == [24.0, 24.0]  # where nothing is traced it is kept, as in Python
    assert net.squared is vars(net)["squared"]
    net.w.value = jnp.float32(3.0)
    assert jit(squared)() == 24.0


def test_a_cached_property_that_is_thrown_away_inside_is_gone_after_the_call():
    net = Affine()
    assert net.doubled == 6.0
    net.rate = 4.0

    @jit
    def f():
        del net.doubled
        return net.w.value * net.doubled

    assert f() == 16.0
    assert net.doubled == 8.0
