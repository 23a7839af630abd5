"""`checkpointed_scan` and `checkpointed_for_loop`: the numbers of the plain loops, with less memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import State, StateArgumentError
from brainstate_transform import (
    checkpointed_for_loop,
    checkpointed_scan,
    for_loop,
    grad,
    jit,
    scan,
    value_and_grad,
    vmap,
)
from tests.laws.transforms import Net, Param, Runs, same
from tests.tables import each

disabled = pytest.mark.parametrize("disabled", [False, True], ids=["jit", "disabled"])


def run(loop, steps, disabled=False, **options):
    """A loop with a parameter, a carried state and a random stream: value, gradients, results, final states."""
    w, h, rng = Param(jnp.float32(0.9)), State(jnp.float32(1.0)), nn.RandomState(1)
    ys = None

    def body(c, x):
        h.value = jnp.sin(h.value * w.value + rng.normal()) + x["a"]
        return c * w.value + h.value, {"y": (h.value, x["k"])}

    def loss(xs):
        c, ys = loop(body, jnp.float32(0.5), xs, **options)
        return c, ys

    xs = {"a": jnp.linspace(0.0, 1.0, steps), "k": jax.random.split(jax.random.key(0), steps)}
    with jax.disable_jit(disabled):
        (value, ys), grads = value_and_grad(loss, [w, h], has_aux=True)(xs)
    return value, grads, ys["y"][0], jax.random.key_data(ys["y"][1]), h.value, rng.value[1]


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        (1, {}),
        (3, {"base": 3}),
        (11, {"base": 3, "reverse": True, "unroll": 2}),
        (40, {}),
    ],
    ids=str,
)
def test_it_is_the_plain_loop(steps, options):
    plain = {name: value for name, value in options.items() if name != "base"}
    assert same(run(checkpointed_scan, steps, **options), run(scan, steps, **plain))


def test_with_jit_disabled():
    assert same(run(checkpointed_scan, 7, disabled=True, base=2), run(scan, 7))


def test_under_jit_and_vmap():
    def loss(loop, **options):
        def of(x):
            return loop(lambda c, _: (jnp.sin(c) * 1.1, c), x, None, length=10, **options)[0]

        return of

    xs = jnp.arange(3.0)
    got = jit(vmap(grad(loss(checkpointed_scan, base=3))))(xs)
    np.testing.assert_allclose(got, jax.vmap(jax.grad(loss(jax.lax.scan)))(xs), rtol=1e-5)


@disabled
def test_a_for_loop_of_no_arguments(disabled):
    s, plain = State(0), State(0)

    def step(s):
        def body():
            s.value += 2
            return s.value

        return body

    with jax.disable_jit(disabled):
        assert same(checkpointed_for_loop(step(s), length=7, base=2), for_loop(step(plain), length=7))
    assert s.value == plain.value == 14


@disabled
def test_no_steps(disabled):
    s = State(jnp.float32(1.0))

    def body(x):
        s.value *= 2.0
        return x

    with jax.disable_jit(disabled):
        assert checkpointed_for_loop(body, jnp.zeros(0)).shape == (0,)
        assert checkpointed_scan(lambda c, x: (c, x), 1.0, jnp.zeros(0))[0] == 1.0
    assert s.value == 1.0


@each("base", [0, 1, True, 2.0, None, "2"])
def test_a_wrong_base(base):
    m = Net()
    for call in (
        lambda: checkpointed_scan(lambda c, x: (m(c), x), 0.0, jnp.ones(3), base=base),
        lambda: checkpointed_for_loop(m, jnp.ones(3), base=base),
    ):
        with pytest.raises(ValueError, match=f"base={base!r}"):
            call()
    assert m.n.value == 0.0


@each(
    ("call", "error", "text"),
    [
        (lambda f: checkpointed_scan(f, 0.0), ValueError, "not known"),
        (lambda f: checkpointed_scan(f, 0.0, length=-1), ValueError, "length=-1"),
        (lambda f: checkpointed_for_loop(f, 1.0), ValueError, "scalar"),
        (lambda f: checkpointed_scan(f, State(1.0), length=2), StateArgumentError, "argument 'init'"),
        (lambda f: checkpointed_scan(lambda c, x: c, 0.0, length=2), TypeError, "pair"),
        (lambda f: checkpointed_scan(3, 0.0, length=2), TypeError, "not 3"),
    ],
)
def test_wrong_arguments(call, error, text):
    with pytest.raises(error, match=text):
        call(lambda *args: args)


def test_a_state_that_drifts_is_named():
    m = Net()

    def body(x):
        m.n.value = jnp.stack([m.n.value, m.n.value])

    with pytest.raises(TypeError, match=r"Count at Net\.n from float32\[\] to float32\[2\]"):
        checkpointed_for_loop(body, jnp.ones(20), base=2)
    assert m.n.value == 0.0


def looped(f):
    return lambda x: checkpointed_scan(lambda c, _: (f(c), None), x, length=7, base=2)[0]


@pytest.mark.counts_traces
@pytest.mark.parametrize("state", [0.0, jnp.float32(0.0)], ids=["weak", "strong"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_body_runs_once_for_a_trace(depth, state):
    s, runs = State(state), Runs()

    def f(x):
        runs()
        s.value = s.value + x
        return jnp.float32(1.5) * x

    for _ in range(depth):
        f = looped(f)
    jit(grad(f))(1.0)
    assert runs.count == 1


def test_memory_grows_with_the_logarithm():
    w = Param(jnp.float32(0.9))

    def bytes_of(loop, steps, **options):
        def loss():
            c, _ = loop(lambda c, _: (jnp.sin(c * w.value), None), jnp.ones(1000), length=steps, **options)
            return c.sum()

        return jit(grad(loss, w)).compile().memory_analysis().temp_size_in_bytes

    carry = 4000
    assert bytes_of(scan, 1024) > 1000 * carry
    short, long = (bytes_of(checkpointed_scan, steps, base=4) for steps in (64, 1024))
    assert long < 60 * carry  # 5 levels of 4 blocks, each with its carry and what the step stores
    assert long < 2.5 * short


def test_nothing_leaks():
    with jax.checking_leaks():
        run(checkpointed_scan, 7, base=2)
