"""`associative_scan` is that of JAX; its function may read states."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import State, StateArgumentError
from brainstate_transform import associative_scan, for_loop, grad, jit, vmap
from tests.laws.transforms import Net, Param, Runs, same
from tests.tables import each

xs = jnp.arange(1.0, 6.0)
disabled = pytest.mark.parametrize("disabled", [False, True], ids=["jit", "disabled"])


@disabled
@each("wrap", [lambda f: f, jit], ids=["eager", "jit"])
@each("options", [{}, {"reverse": True}, {"axis": 1}, {"reverse": True, "axis": 1}], ids=str)
def test_it_is_that_of_jax(disabled, wrap, options):
    decay = State(jnp.float32(0.5))
    elems = {"a": jnp.ones((3, 4)) * 0.5, "b": jnp.arange(12.0).reshape(3, 4)}

    def combine(x, y, decay=lambda: decay.value):
        return {"a": x["a"] * y["a"], "b": x["b"] * y["a"] * decay() + y["b"]}

    want = jax.lax.associative_scan(lambda x, y: combine(x, y, lambda: 0.5), elems, **options)
    with jax.disable_jit(disabled):
        assert same(wrap(lambda: associative_scan(combine, elems, **options))(), want)
    decay.value = jnp.float32(1.0)
    want = jax.lax.associative_scan(lambda x, y: combine(x, y, lambda: 1.0), elems, **options)
    assert same(wrap(lambda: associative_scan(combine, elems, **options))(), want)


@disabled
def test_writing_is_refused_by_name(disabled):
    m, rng = Net(), nn.RandomState(0)

    def count(a, b):
        m.n.value += 1.0
        return a + b

    with jax.disable_jit(disabled):
        with pytest.raises(ValueError, match=r"associative_scan: the function `.*count` writes Count at Net\.n"):
            associative_scan(count, xs)
        with pytest.raises(ValueError, match="RandomState"):
            associative_scan(lambda a, b: a + b * rng.normal(), xs)
    assert (m.n.value, rng.value[1]) == (0.0, 0)


def test_wrong_arguments():
    with pytest.raises(TypeError, match="not 3"):
        associative_scan(3, xs)
    with pytest.raises(StateArgumentError, match="argument 'elems'"):
        associative_scan(lambda a, b: a, State(xs))
    with pytest.raises(ValueError, match="dimension"):
        associative_scan(lambda a, b: (a[0], b[1]), (xs, xs[:2]))


def test_under_other_transforms():
    w = Param(jnp.float32(2.0))

    def total(x):
        return jnp.sum(associative_scan(lambda a, b: a + b * w.value, x))

    def plain(w, x):
        return jnp.sum(jax.lax.associative_scan(lambda a, b: a + b * w, x))

    rows = jnp.stack([xs, 2 * xs])
    with jax.checking_leaks():
        np.testing.assert_allclose(jit(grad(total, w))(xs), jax.grad(plain)(2.0, xs), rtol=1e-6)
        np.testing.assert_allclose(vmap(total)(rows), jax.vmap(lambda x: plain(2.0, x))(rows))
        np.testing.assert_allclose(for_loop(total, rows), jax.vmap(lambda x: plain(2.0, x))(rows))


@pytest.mark.counts_traces
def test_an_eager_call_is_compiled_once():
    runs = Runs()

    def add(a, b):
        runs()
        return a + b

    for _ in range(3):
        np.testing.assert_allclose(associative_scan(add, xs), np.cumsum(xs))
    first, runs.count = runs.count, 0
    jax.lax.associative_scan(add, xs)
    assert first == runs.count
