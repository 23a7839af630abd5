"""`checkify`: the first error comes back beside the result, and what was written is written."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify as jax_checkify

import brainstate_nn as nn
import brainstate_transform as bt
from brainstate_graph import State, StateArgumentError
from brainstate_transform import check, check_error, checkify, cond, for_loop, grad, jit, vmap
from tests.laws.transforms import Net, Runs, holds_tracer


class Root:
    def __init__(self):
        self.s = State(jnp.zeros(()))
        self.runs = Runs()

    def __call__(self, x):
        self.runs()
        self.s.value = self.s.value + x
        check(x >= 0, "negative: {x}", x=x)
        return jnp.sqrt(x)


def _first(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


WAYS = {
    "checkify": checkify,
    "decorator": lambda f: checkify(errors=bt.user_checks)(f),
    "jit of it": lambda f: jit(checkify(f)),
    "it of jit": lambda f: checkify(jit(f)),
    "it of a loop": lambda f: checkify(lambda x: for_loop(f, x[None])[0]),
    "it of cond": lambda f: checkify(lambda x: cond(x == x, f, f, x)),
    "it of grad": lambda f: checkify(lambda x: bt.value_and_grad(f)(x)[0]),
    "twice": lambda f: checkify(lambda x: _thrown(checkify(f)(x))),
}


def _thrown(pair):
    check_error(pair[0])
    return pair[1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("context", [jax.checking_leaks, jax.disable_jit], ids=["leaks", "no jit"])
def test_states_are_written_with_and_without_an_error(way, context):
    for x in (4.0, -4.0):
        root = Root()
        with context():
            error, out = WAYS[way](root)(jnp.float32(x))
        assert root.s.value == x
        assert isinstance(root.s.value, jax.Array)
        assert not isinstance(root.s.value, jax.core.Tracer)
        if x > 0:
            assert error.get() is None
            assert out == 2.0
        else:
            assert error.get().startswith("negative: -4.0")
            assert np.isnan(out)


def test_the_error_is_that_of_jax():
    for errors in (bt.user_checks, bt.nan_checks, bt.index_checks, bt.div_checks, bt.float_checks, bt.automatic_checks,
                   bt.all_checks):  # fmt: skip
        for f, x in ((Root(), -1.0), (lambda x: 1.0 / x, 0.0), (lambda x: jnp.arange(3.0)[jnp.int32(x)], 7.0)):
            x = jnp.float32(x)
            plain = lambda x, f=f: (check(x >= 0, "negative: {x}", x=x), jnp.sqrt(x))[1]
            want = jax_checkify.checkify(plain if isinstance(f, Root) else f, errors)(x)[0].get()
            assert checkify(f, errors)(x)[0].get() == want


@pytest.mark.counts_traces
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_python_runs_once_at_any_depth(depth):
    root = Root()
    f = root
    for _ in range(depth):
        f = checkify(f)
    f(jnp.float32(1.0))
    assert root.runs.since() == 1
    g = jit(f)
    g(jnp.float32(1.0))
    assert root.runs.since() <= 2  # a plain object is met while tracing
    g(jnp.float32(2.0))
    assert root.runs.since() == 0


def test_lanes():
    xs = jnp.array([1.0, -2.0, 4.0])
    for way in (lambda f, **k: vmap(checkify(f), **k), lambda f, **k: checkify(vmap(f, **k))):
        root = Root()
        error, out = way(root, out_states=root.s)(xs)
        assert "negative: -2.0" in error.get()
        np.testing.assert_array_equal(root.s.value, xs)
        np.testing.assert_array_equal(out, jnp.sqrt(xs))


def test_numbers_of_python_come_back_as_arrays():
    s = State(0.0)

    def f(x):
        s.value = x
        check(x > 0, "{} {y}", x, y=2)
        return {"a": x, "b": None, "c": 3}

    error, out = checkify(f)(-1.0)
    assert error.get().startswith("-1.0 2")
    assert isinstance(s.value, jax.Array)
    assert out == {"a": -1.0, "b": None, "c": 3}


def test_nodes_keywords_and_bare_states():
    m = Net(2.0)
    error, out = checkify(lambda m, x: (m(x), m))(m, x=3.0)
    assert error.get() is None
    assert (out[0], out[1] is m, m.n.value) == (6.0, True, 1.0)
    assert checkify(lambda: Net(3.0))()[1].w.value == 3.0
    with pytest.raises(StateArgumentError, match="argument 's'"):
        checkify(lambda s: s)(State(0))


@pytest.mark.parametrize("context", [jax.named_scope, jax.disable_jit])
def test_an_exception_leaves_states_and_streams_alone(context):
    m, stream = Net(), nn.RandomState(0)
    before = stream.value

    def fails(x):
        m.w.value = x
        stream.uniform()
        raise KeyError("half way")

    with context(*(("scope",) if context is jax.named_scope else ())):
        for way in (checkify(fails), jit(checkify(fails)), checkify(jit(fails))):
            with pytest.raises(KeyError, match="half way"):
                way(jnp.float32(1.0))
    assert m.w.value == 2.0
    assert not holds_tracer(m)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, stream.value, before))


def test_a_random_stream_advances_as_without():
    stream, oracle = nn.RandomState(3), nn.RandomState(3)
    assert checkify(lambda: stream.uniform())()[1] == oracle.uniform()
    assert jit(checkify(lambda: stream.uniform()))()[1] == oracle.uniform()
    assert stream.uniform() == oracle.uniform()


def test_gradients_through_it():
    root = Root()
    loss = lambda x: checkify(root)(x)[1]
    np.testing.assert_allclose(grad(loss)(4.0), 0.25)
    assert root.s.value == 4.0


def test_what_is_no_function():
    with pytest.raises(TypeError, match="expected a function"):
        checkify(3)
