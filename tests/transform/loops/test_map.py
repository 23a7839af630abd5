"""`map`: one element after the other, or in blocks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import State, StateArgumentError
from brainstate_transform import for_loop, grad, jit, map, vmap
from tests.laws.transforms import Net, Param, Runs, same
from tests.tables import each

xs = jnp.arange(7.0)
disabled = pytest.mark.parametrize("disabled", [False, True], ids=["jit", "disabled"])
sizes = pytest.mark.parametrize("batch_size", [None, 1, 3, 7, 100])


@sizes
@disabled
def test_it_is_a_python_loop(batch_size, disabled):
    w = Param(jnp.float32(2.0))

    def f(x, tree):
        return {"y": w.value * x + tree["k"]}, x

    with jax.disable_jit(disabled):
        got = map(f, xs, {"k": jnp.stack([xs, xs], 1)}, batch_size=batch_size)
    assert same(got, ({"y": 3.0 * jnp.stack([xs, xs], 1)}, xs))


@disabled
def test_without_blocks_writes_are_in_order(disabled):
    s = State(jnp.float32(1.0))

    def f(x):
        s.value = s.value * 0.5 + x
        return s.value

    with jax.disable_jit(disabled):
        got = map(f, xs)
    want, v = [], 1.0
    for x in xs:
        v = v * 0.5 + x
        want.append(v)
    np.testing.assert_allclose(got, want)
    assert s.value == want[-1]


@disabled
@each("batch_size", [1, 3, 100])
def test_with_blocks_a_write_is_refused_by_name(disabled, batch_size):
    m = Net()

    def f(x):
        m.w.value = m.w.value
        return m(x)

    text = r"map with batch_size: the function `.*f` writes Param at Net\.w, Count"
    with jax.disable_jit(disabled), pytest.raises(ValueError, match=text):
        map(f, xs, batch_size=batch_size)
    assert m.n.value == 0.0


def test_random_streams_in_blocks():
    def draw(seed, **options):
        rng = nn.RandomState(seed)
        return map(lambda x: rng.normal() + 0.0 * x, xs, **options), rng.value[1]

    numbers, count = draw(3, batch_size=3)
    assert len(set(numbers.tolist())) == 7
    assert count == 3  # one draw for each block
    assert same(draw(3, batch_size=3), (numbers, count))
    assert same(jit(lambda: draw(3, batch_size=3)[0])(), numbers)
    with jax.disable_jit():
        assert same(draw(3, batch_size=3), (numbers, count))
    rng = nn.RandomState(3)
    np.testing.assert_allclose(draw(3)[0], [rng.normal() for _ in xs], rtol=1e-6)  # in order: the stream of Python


@pytest.mark.parametrize("batch_size", [None, 2])
def test_no_elements(batch_size):
    s = State(jnp.float32(1.0))
    assert map(lambda x: x * s.value, jnp.zeros((0, 3)), batch_size=batch_size).shape == (0, 3)


@each("batch_size", [None, 2])
@each(
    ("args", "error", "text"),
    [
        ((), ValueError, "needs something to map over"),
        ((1.0,), ValueError, r"xs\[0\] of .*f` is a scalar"),
        ((jnp.float32(1.0),), ValueError, "is a scalar"),
        ((xs, {"a": 2.0}), ValueError, r"xs\[1\]\['a'\] of .*f` is a scalar"),
        ((xs, xs[:2]), ValueError, "not the same"),
        ((State(xs),), StateArgumentError, "argument"),
    ],
)
def test_wrong_inputs(batch_size, args, error, text):
    m = Net()

    def f(*args):
        m(1.0)
        return args

    with pytest.raises(error, match=text):
        map(f, *args, batch_size=batch_size)
    assert m.n.value == 0.0


@each("batch_size", [0, -1, 2.0, True, "2"])
def test_wrong_batch_sizes(batch_size):
    with pytest.raises(ValueError, match="batch_size="):
        map(lambda x: x, xs, batch_size=batch_size)


def test_not_a_function():
    with pytest.raises(TypeError, match="not 3"):
        map(3, xs)


@pytest.mark.parametrize("batch_size", [None, 3, 7])
def test_nodes_as_results(batch_size):
    held = Net()
    out = map(lambda x: {"new": Net(x), "old": held}, xs, batch_size=batch_size)
    np.testing.assert_allclose(out["new"].w.value, xs)
    assert out["old"] is held


@pytest.mark.parametrize("batch_size", [None, 2])
def test_keys_as_elements(batch_size):
    keys = jax.random.split(jax.random.key(0), 5)
    np.testing.assert_allclose(
        map(jax.random.normal, keys, batch_size=batch_size), jax.vmap(jax.random.normal)(keys), rtol=1e-6
    )


@pytest.mark.parametrize("batch_size", [None, 2])
def test_an_error_half_way(batch_size):
    rng = nn.RandomState(0)

    def f(x):
        rng.normal()
        raise KeyError("no")

    with pytest.raises(KeyError):
        map(f, xs, batch_size=batch_size)
    assert rng.value[1] == 0


@sizes
def test_under_other_transforms(batch_size):
    w = Param(jnp.float32(2.0))

    def total(x):
        return jnp.sum(map(lambda x: jnp.sin(w.value * x), x, batch_size=batch_size))

    def plain(w, x):
        return jnp.sum(jnp.sin(w * x))

    rows = jnp.stack([xs, 2 * xs])
    with jax.checking_leaks():
        np.testing.assert_allclose(jit(grad(total, w))(xs), jax.grad(plain)(2.0, xs), rtol=1e-5)
        np.testing.assert_allclose(vmap(total)(rows), [plain(2.0, row) for row in rows], rtol=1e-5)
        np.testing.assert_allclose(for_loop(total, rows), [plain(2.0, row) for row in rows], rtol=1e-5)


def mapped(f, batch_size):
    return lambda x: jnp.sum(map(f, x * jnp.ones(3), batch_size=batch_size))


@pytest.mark.counts_traces
@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_function_runs_once_for_a_trace(batch_size, depth):
    runs = Runs()

    def f(x):
        runs()
        return x * 1.5

    for _ in range(depth):
        f = mapped(f, batch_size)
    jit(f)(jnp.float32(1.0))
    assert runs.count == 1


@pytest.mark.counts_traces
@pytest.mark.parametrize("batch_size", [None, 3])
def test_an_eager_call_is_compiled_once(batch_size):
    runs = Runs()

    def f(x):
        runs()
        return x

    for _ in range(3):
        map(f, xs, batch_size=batch_size)
    assert runs.count == 1
