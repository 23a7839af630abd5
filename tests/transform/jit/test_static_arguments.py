"""Static arguments: by position, by name and by default; hashable ones, and those of the user that look like ours."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State, StateArgumentError
from brainstate_transform import StatefulFunction, jit, make_jaxpr
from tests.laws.transforms import Net, Param, same
from tests.tables import each


@each("static", [[1], {"a": 1}, {1}, np.ones(2), jnp.ones(2), bytearray(b"a")], ids=lambda v: type(v).__name__)
def test_a_static_argument_that_cannot_be_hashed_is_named(static):
    f = jit(lambda x, mode: x, static_argnames="mode")
    for call in (lambda: f(1.0, static), lambda: f(1.0, mode=static)):
        with pytest.raises(ValueError, match=rf"(mode|1).* not hashable.*{type(static).__name__}"):
            call()


one = jnp.float32(1.0)


def test_negative_static_positions():
    f = lambda x, n: jnp.ones(n) * x
    assert StatefulFunction(f, static_argnums=-1)(1.0, 3).shape == (3,)
    assert make_jaxpr(f, static_argnums=-1)(1.0, 3)[0].out_avals[0].shape == (3,)
    assert jit(f, static_argnums=-1)(1.0, 3).shape == (3,)


@each(
    ("call", "place"),
    [
        (lambda f, s: f(s), r"argument (0|'args')"),
        (lambda f, s: f(1.0, s), r"argument (1|'args')"),
        (lambda f, s: f(1.0, key=s), "argument 'key'"),
        (lambda f, s: f({"a": [1.0, s]}), r"argument (0|'args')"),
        (lambda f, s: f(1.0, key=(s,)), "argument 'key'"),
    ],
)
def test_a_bare_state_is_refused_by_name(call, place):
    s = Param(jnp.array(1.0))
    f = jit(lambda *args, **kwargs: 1.0)
    for attempt in (call, lambda f, s: call(f.lower, s), lambda f, s: call(f.eval_shape, s)):
        with pytest.raises(StateArgumentError, match=place) as caught:
            attempt(f, s)
        assert isinstance(caught.value, TypeError)
        assert isinstance(caught.value, ValueError)


def test_a_bare_state_as_static_argument_is_refused():
    for call in (lambda f, s: f(s), lambda f, s: f(s=s)):
        with pytest.raises(StateArgumentError):
            call(jit(lambda s: 1.0, static_argnums=0), State(1.0))


@each(
    "options",
    [
        {"static_argnums": 1},
        {"static_argnums": (1,)},
        {"static_argnums": -1},
        {"static_argnames": "n"},
        {"static_argnames": ("n",)},
        {"static_argnums": 1, "static_argnames": "n"},
    ],
)
@each(
    "call",
    [lambda f: f(one, 3), lambda f: f(one, n=3), lambda f: f(x=one, n=3)],
    ids=["by number", "by name", "all by name"],
)
def test_static_by_number_and_by_name(options, call):
    f = lambda x, n: x * jnp.ones(n)
    assert same(call(jit(f, **options)), call(f))


def test_a_static_argument_left_at_its_default():
    f = jit(lambda x, n=3: x * jnp.ones(n), static_argnames="n")
    assert f(one).shape == (3,)
    assert f(one, 2).shape == (2,)


def test_an_unhashable_static_argument_is_named():
    f = jit(lambda x, n: x, static_argnames="n")
    with pytest.raises(ValueError, match=r"static argument 'n'.*hashable"):
        f(one, n=[1])
    with pytest.raises(ValueError, match=r"static argument 1.*hashable"):
        f(one, [1])


@each("options", [{"static_argnums": 5}, {"static_argnames": "nope"}, {"donate_argnums": 5}])
def test_an_argument_that_is_not_there(options):
    for compiler in (jax.jit, jit):
        with pytest.raises(ValueError):
            compiler(lambda x: x, **options)


def test_a_node_as_static_argument():
    m = Net()
    f = jit(lambda m, x: m(x), static_argnums=0)
    assert f(m, one) == 2.0
    m.w.value = jnp.array(3.0)
    assert f(m, one) == 3.0


def test_static_arguments_of_methods():
    class OfNode(Net):
        @jit(static_argnums=1)
        def f(self, n):
            return self.w.value * jnp.ones(n)

        @jit(static_argnames="n")
        def g(self, n):
            return self.w.value * jnp.ones(n)

    class OfPlain:
        def __init__(self):
            self.m = Net()

        @jit(static_argnums=1)
        def f(self, n):
            return self.m.w.value * jnp.ones(n)

        @jit(static_argnames="n")
        def g(self, n):
            return self.m.w.value * jnp.ones(n)

    for item in (OfNode(), OfPlain()):
        for f in (item.g, item.f):
            assert f(3).shape == f(n=3).shape == (3,)
