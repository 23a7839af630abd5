"""Other traces, other threads, and what is let go when nobody holds it any more."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import (
    TraceContextError,
    clone,
    treefy_states,
)
from brainstate_nn import RandomState
from brainstate_transform import jit
from tests.laws.law import BY_RULE, law, one
from tests.laws.transforms import (
    Net,
    Param,
    holds_tracer,
    same,
    values,
)


@law()
def reads_under_raw_jit(wrap):
    """A captured state may be read under plain `jax.jit`; a write is refused, and named."""
    m = Net()
    assert jax.jit(wrap(lambda x: m.w.value * x))(jnp.float32(3.0)) == 6.0
    before = values(m)
    with pytest.raises(TraceContextError, match=r"Net\.w"):
        jax.jit(wrap(lambda x: setattr(m.w, "value", m.w.value + x) or x))(one)
    assert same(values(m), before)


@law(without=BY_RULE)
def refuses_raw_jax_in_between(wrap):
    """Under a transform of JAX alone, inside one of ours, a write is refused: the outer one does not know its trace."""
    m = Net()
    before = values(m)
    with pytest.raises(TraceContextError):
        jit(lambda x: jax.jit(wrap(lambda x: setattr(m.w, "value", m.w.value + x) or x))(x) + m.w.value)(one)
    assert same(values(m), before)
    assert not holds_tracer(m)


@law()
def closes_over_traces(wrap):
    """Inside another transform, a function may close over traced values and over models that were made there."""
    m = Net()

    @jit
    def outer(x):
        context, local = {"model": m, "x": x}, Net(x)
        f = wrap(lambda y: local(y))
        return wrap(lambda y: context["model"](y) * context["x"])(x), f(x) + f(x), local.n.value

    assert outer(jnp.float32(3.0)) == (18.0, 18.0, 2.0)
    assert m.n.value == 1.0


@law()
def serves_other_states_inside_a_trace(wrap):
    """A program that is given few of many states is given others where it needs them, also inside a trace."""
    for donating in (False, True):
        many = [Param(jnp.float32(i)) for i in range(20)]
        f = jit(lambda x, i, many=many: many[i].value * x, static_argnums=1, donate_states=donating)
        assert f(one, 1) == 1.0  # given one of the states from now on
        assert wrap(lambda x, f=f: f(x, 5))(one) == 5.0
        assert (f(one, 5), f(one, 1)) == (5.0, 1.0)
        stream = RandomState(0)
        draw = jit(lambda x, noisy, s=stream, m=many: s.uniform() if noisy else x + m[0].value, static_argnums=1)
        draw(one, False)
        wrap(lambda x, draw=draw: x * draw(x, True))(one)
        assert isinstance(float(draw(one, True)), float)
        assert not holds_tracer(many)


@law(without=["jit_donating"])  # which gives away what another thread reads
def hides_its_trace_from_other_threads(wrap):
    """While one thread traces, another sees the values of before, by whichever verb, and may use the same transform."""
    m, inside, go, main = Net(), threading.Event(), threading.Event(), threading.get_ident()

    def f(x):
        m.w.value = m.w.value + x
        if threading.get_ident() != main:
            inside.set()
            assert go.wait(20)
        return m.w.value

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(wrap(f), one)
        assert inside.wait(20)
        try:
            reads = (lambda: m.w.value, lambda: clone(m).w.value, lambda: treefy_states(m)["w"].value)
            seen = [read() for read in (*reads, lambda: copy.deepcopy(m).w.value, lambda: m.w.copy().value)]
            traced = holds_tracer(m)
            # another function: JAX lets only one thread trace a function, the others wait for it
            seen.append(wrap(lambda x: m(x))(one))
        finally:
            go.set()
        assert future.result(30) == 3.0
    assert not traced
    assert list(map(float, seen)) == [2.0] * 6
    assert (m.w.value, m.n.value) == (3.0, 1.0)


@law(without=["stateful", *BY_RULE])  # which are reached from their own parts
def lets_functions_go(wrap):
    """A compiled function that is dropped is gone at once, without the garbage collector."""

    class Token:
        pass

    def made(m, token):
        f = wrap(lambda x: (token, m(x))[1])
        return jit(lambda x: f(x)), weakref.ref(token)

    gc.collect()
    gc.disable()
    try:
        compiled, gone = made(Net(), Token())
        assert [float(compiled(one)) for _ in range(2)] == [2.0, 2.0]
        compiled.lower(one).compile()
        assert gone() is not None
        del compiled
        assert gone() is None
    finally:
        gc.enable()
