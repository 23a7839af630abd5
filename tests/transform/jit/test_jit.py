"""`jit`: what is in the key, what is passed, static and donated arguments, methods, ahead-of-time."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import Node, State, StructureError
from brainstate_transform import jit
from tests.laws.transforms import Net, Param, Runs, Stack, Tied, same, values

one = jnp.float32(1.0)


# -- programs and what selects them


@pytest.mark.counts_traces
@pytest.mark.parametrize("change", ["rate", "append", "replace", "rebind"])
def test_changing_back_does_not_trace_again(change):
    runs, m = Runs(), Stack(2.0, 3.0)
    spare, other, layer = Param(jnp.float32(5.0)), Stack(2.0), Net(7.0)
    kept = m

    @jit
    def f(x):
        runs()
        return m(x)

    def there():
        nonlocal m, spare
        if change == "rate":
            m.layers[0].rate = 0.5
        elif change == "append":
            m.layers.append(layer)
        elif change == "replace":
            m.layers[0].w, spare = spare, m.layers[0].w
        else:
            m = other

    def back():
        nonlocal m, spare
        if change == "rate":
            m.layers[0].rate = 1.0
        elif change == "append":
            m.layers.pop()
        elif change == "replace":
            m.layers[0].w, spare = spare, m.layers[0].w
        else:
            m = kept

    assert f(one) == 6.0
    assert runs.since() == 1
    there()
    assert f(one) == {"rate": 3.0, "append": 42.0, "replace": 15.0, "rebind": 2.0}[change]
    assert runs.since() == (0 if change == "replace" else 1)  # a replaced State has the same shape
    back()
    assert f(one) == 6.0
    there()
    assert f(one) == {"rate": 3.0, "append": 42.0, "replace": 15.0, "rebind": 2.0}[change]
    assert runs.since() == 0


STATICS = (2, 2.0, True, 1, 1.0, 0.0, -0.0, 0, False, np.float32(2.0), "2", b"2", (2,), (2.0,), math.nan)


@pytest.mark.counts_traces
@pytest.mark.filterwarnings("ignore:.* was traced three times")
def test_statics_that_are_equal_in_python_do_not_share_a_program():
    m = Net()

    def kind(s):
        seen.append((type(s), repr(s)))
        return one

    seen = []
    by_argument = jit(kind, static_argnums=0)
    by_name = jit(lambda *, s: kind(s), static_argnames="s")

    @jit
    def by_attribute():
        return kind(m.rate)

    def attribute(s):
        m.rate = s
        return by_attribute()

    few = [STATICS[i : i + 5] for i in range(0, len(STATICS), 5)]  # programs of many values of one place are let go
    for call in (by_argument, lambda s: by_name(s=s), attribute):
        for some in few:
            by_attribute.clear_cache()
            for s in some * 2:
                call(s)
        assert seen == [(type(s), repr(s)) for s in STATICS]  # each once, and nan is equal to itself
        seen.clear()


@pytest.mark.counts_traces
def test_models_of_one_shape_share_a_program_as_arguments():
    runs = Runs()

    @jit
    def f(m, x):
        runs()
        return m(x)

    a, b, c = Stack(2.0, 3.0), Stack(5.0, 7.0), Stack(1.0)
    assert [float(f(m, one)) for m in (a, b, a)] == [6.0, 35.0, 6.0]
    assert runs.count == 1
    assert (a.layers[0].n.value, b.layers[1].n.value) == (2.0, 1.0)
    assert f(c, one) == 1.0
    assert runs.count == 2
    assert f(m=b, x=one) == 35.0


@pytest.mark.counts_traces
def test_tied_and_untied_models_do_not_share_a_program():
    class Pair(Node):
        def __init__(self, tie):
            self.a = Param(jnp.array(1.0))
            self.b = self.a if tie else Param(jnp.array(1.0))

    @jit
    def f(m):
        m.a.value = m.a.value + 1.0
        return m.b.value

    assert f(Pair(False)) == 1.0
    assert f(Pair(True)) == 2.0
    assert f(Pair(False)) == 1.0


def test_one_model_as_two_arguments_and_captured():
    m, other = Net(), Net(3.0)

    @jit
    def f(a, b, x):
        a.w.value = a.w.value + x
        return b.w.value * x, a is b, a is m

    y, shared, captured = f(m, m, one)
    assert (y, shared, captured) == (3.0, True, True)
    y, shared, captured = f(other, m, one)
    assert (y, shared, captured) == (3.0, False, False)
    y, shared, captured = f(m, other, one)
    assert (y, shared, captured) == (4.0, False, True)
    assert (m.w.value, other.w.value) == (4.0, 4.0)


def test_models_in_containers_and_keywords():
    a, b = Net(2.0), Net(3.0)

    @jit
    def f(models, *, extra):
        return models["a"](one) + models["list"][0](one) + extra[0](one)

    assert f({"a": a, "list": [b]}, extra=(a,)) == 7.0
    assert (a.n.value, b.n.value) == (2.0, 1.0)


def test_sharing_between_returned_and_passed_nodes():
    m, other = Net(2.0), Net(9.0)

    @jit
    def f(m):
        new = Net(1.0)
        new.w = m.w
        new.inner = m
        new.w.value = new.w.value + 1.0
        return new

    new = f(m)
    assert new.w is m.w
    assert new.inner is m
    assert m.w.value == 3.0
    new = f(other)  # the same program
    assert new.w is other.w
    assert new.inner is other
    assert new.n is not other.n


def test_sharing_among_new_nodes():
    @jit
    def f():
        t = Tied(4.0)
        return t, [t.a, t.b]

    t, (a, b) = f()
    assert t.a is a
    assert t.b is b
    assert a.w is b.w
    assert a.n is not b.n


def test_a_parameter_may_be_called_states():
    for options in ({}, {"donate_states": True}, {"static_argnames": "n"}, {"donate_argnames": "states"}):
        f = jit(lambda states, n=1: states + n, **options)
        assert f(jnp.ones(3), 1)[0] == 2.0
        assert f(states=jnp.ones(3))[0] == 2.0


def test_recursion():
    m = Net(2.0)

    @jit(static_argnums=0)
    def power(n, x):
        return x if n == 0 else m(power(n - 1, x))

    assert power(3, one) == 8.0
    assert m.n.value == 3.0
    m.w.value = jnp.array(3.0)
    assert power(3, one) == 27.0


def test_not_a_function():
    with pytest.raises(TypeError, match="function"):
        jit(3)


# -- ahead of time


def test_looking_changes_no_state():
    m = Net()

    @jit
    def f(x):
        m.w.value = m.w.value + x
        return m(x)

    before = values(m)
    assert f.eval_shape(one).shape == ()
    assert "stablehlo" in f.lower(one).as_text() or "module" in f.lower(one).as_text()
    f.compile(one)
    assert "mul" in str(f.trace(one).jaxpr)
    assert same(values(m), before)
    assert f.origin_fun(one) == 3.0  # the plain function


def test_clear_cache_then_another_shape():
    m, runs = Net(), Runs()

    @jit
    def f(x):
        runs()
        return m(x)

    f(one)
    f.clear_cache()
    assert f(jnp.ones(3)).shape == (3,)
    f(one)
    assert runs.count >= 3
    assert m.n.value == 3.0


@pytest.mark.counts_traces
def test_compile_then_call_runs_python_once():
    m, runs = Net(), Runs()

    @jit
    def f(x):
        runs()
        return m(x)

    f.compile(one)
    f(one)
    assert runs.count == 1


def test_the_name_and_the_signature():
    @jit(name="my_step")
    def f(x):
        """Doc."""
        return x

    assert "my_step" in f.lower(one).as_text()
    assert f.__doc__ == "Doc."
    assert f.__wrapped__ is f.origin_fun


def test_shardings_are_those_of_the_user_arguments():
    from jax.sharding import SingleDeviceSharding

    m, here = Net(), SingleDeviceSharding(jax.devices()[0])
    f = jit(lambda x, y: m(x) + y, in_shardings=(here, None), out_shardings=here)
    assert f(one, one) == 3.0
    assert f(one, one).sharding == here
    assert m.n.value == 2.0


def test_a_jax_error_in_the_rule_leaves_the_states():
    m = Net()
    with pytest.raises(Exception):  # noqa: B017 - the type is JAX's business
        jit(lambda x: m(x), out_shardings=({"no": 1},))(one)
    assert m.n.value == 0.0


def test_a_state_made_at_the_first_call_lives_on():
    m = Net()

    @jit
    def f(x):
        if not hasattr(m, "lazy"):
            m.lazy = State(jnp.zeros(()))
        m.lazy.value = m.lazy.value + x
        return m.lazy.value

    assert [float(f(one)) for _ in range(3)] == [1.0, 2.0, 3.0]
    assert m.lazy.value == 3.0


def test_what_a_program_does_to_a_graph_it_does_to_every_graph_of_that_shape():
    runs = Runs()

    @jit
    def f(m, x):
        runs()
        m.extra = Net(x)
        m.rate = 2.0
        return m, m.extra

    first, second = Net(), Net(3.0)
    assert f(first, one)[0] is first
    out, extra = f(second, 5.0 * one)
    assert runs.count == 1
    assert out is second
    assert extra is second.extra
    assert extra is not first.extra
    assert (extra.w.value, first.extra.w.value, second.rate) == (5.0, 1.0, 2.0)


def test_tracing_alone_changes_no_structure():
    m = Net()

    @jit
    def f(x):
        m.extra = Net(x)
        return x

    f.lower(one)
    f.compile(one)
    f.eval_shape(one)
    assert not hasattr(m, "extra")
    f(one)
    assert m.extra.w.value == 1.0


def test_an_attribute_of_an_object_beyond_the_graph_is_refused():
    registry = Registry()

    @jit
    def g(x):
        registry.find().rate = 5.0
        return x

    with pytest.raises(
        StructureError, match=r"`.*g` sets Net\.rate to 5\.0, of an object .* cannot be seen beforehand"
    ):
        g(one)
    assert registry.find().rate == 1.0


class Registry:
    """Hides a node behind a generator."""

    def __init__(self):
        net = Net()
        self._next = iter(lambda: net, None)

    def find(self):
        return next(self._next)
