"""Streams that are called, sampled, given to a call of a layer, passed to a transform and returned from one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_graph import StateArgumentError
from brainstate_transform import checkpoint, cond, eval_shape, jit, scan, value_and_grad, vmap
from tests.nn.core.test_random import DRAWS, words
from tests.tables import each


def test_streams_are_called_and_sampled_as_their_default_is():
    assert all(getattr(nn.RandomStreams, name) is getattr(nn.RandomState, name) for name in DRAWS)
    assert jnp.array_equal(nn.RandomStreams(0, params=1).normal((2,)), nn.RandomState(0).normal((2,)))
    streams = nn.RandomStreams(0, params=1)
    assert words(streams()) == words(jax.random.fold_in(jax.random.key(0), 0))
    assert words(streams.params()) == words(jax.random.fold_in(jax.random.key(1), 0))
    assert words(streams.noise()) == words(jax.random.fold_in(jax.random.key(0), 1))


def keys_of(rng, n):
    return [jax.random.fold_in(rng.value[0], i) for i in range(n)]


PASSES = {
    "jit": lambda f, rng: jit(f)(rng),
    "jit by name": lambda f, rng: jit(lambda *, rng: f(rng))(rng=rng),
    "jit in a dict": lambda f, rng: jit(lambda d: f(d["a"][0]))({"a": [rng]}),
    "jit donating": lambda f, rng: jit(f, donate_argnums=0)(rng),
    "checkpoint": lambda f, rng: checkpoint(f)(rng),
    "grad": lambda f, rng: value_and_grad(lambda x, rng: (x, f(rng)), argnums=0, has_aux=True)(1.0, rng)[0][1],
    "cond": lambda f, rng: cond(True, f, f, rng),
    "jit in jit": lambda f, rng: jit(lambda rng: jit(f)(rng))(rng),
    "eval_shape": lambda f, rng: (eval_shape(f, rng), f(rng))[1],
}


@each("how", list(PASSES), ids=list(PASSES))
def test_a_stream_is_an_argument_and_a_result(how):
    for _ in range(2):
        rng = nn.RandomState(3)
        x, back = PASSES[how](lambda rng: (rng.normal((2,)) + rng.normal(), rng), rng)
        first, second = keys_of(rng, 2)
        assert jnp.allclose(x, jax.random.normal(first, (2,)) + jax.random.normal(second), atol=1e-6)
        assert back is rng
        assert int(rng.value[1]) == 2


def test_one_program_for_all_streams_and_new_ones_as_results():
    traces = []

    @jit
    def draw(a, b):
        traces.append(1)
        return a.uniform() - b.uniform(), {"fork": a.fork(), "new": nn.RandomState(7)}

    a, b = nn.RandomState(1), nn.RandomState(2)
    for one, other in ((a, b), (b, a), (nn.RandomState(1), nn.RandomState(5)), (a, b)):
        expected = jax.random.uniform(jax.random.fold_in(*one.value)) - jax.random.uniform(
            jax.random.fold_in(*other.value)
        )
        fork = jax.random.fold_in(one.value[0], one.value[1] + 1)
        got, made = draw(one, other)
        assert float(got) == pytest.approx(float(expected), abs=1e-6)
        assert words(made["fork"].value[0]) == words(fork)
        assert words(made["new"].value[0]) == words(jax.random.key(7))
        assert isinstance(made["new"], nn.RandomState)
    assert len(traces) == 1
    draw(a, a)
    assert len(traces) == 2
    assert int(a.value[1]) == 8


def test_lanes_and_steps_draw_others():
    rng = nn.RandomState(0)
    lanes = vmap(lambda rng, x: rng.normal() + x, in_axes=(None, 0))(rng, jnp.zeros(4))
    rest, steps = scan(lambda rng, x: (rng, rng.normal()), rng, length=4)
    assert len(set(lanes.tolist())) == len(set(steps.tolist())) == 4
    assert rest is rng
    assert int(rng.value[1]) == 5


def test_other_states_are_no_arguments():
    for state in (nn.ParamState(jnp.ones(2)), nn.HiddenState(jnp.ones(2))):
        with pytest.raises(StateArgumentError, match="pass the Node that holds it"):
            jit(lambda s: s.value)(state)


X = jnp.ones(40)
KEY = jax.random.key(4)
# All that draws when it is called, given what to draw from.
DRAWING = {
    "Dropout": lambda how: nn.Dropout(0.5)(X, **how),
    "MLP": lambda how: nn.MLP(40, 8, 30, 2, dropout=0.5, rng=nn.RandomState(0))(X, **how),
    "Sequential": lambda how: nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))(X, **how),
    "Stack": lambda how: nn.Stack(3, lambda: nn.Dropout(0.5))(X, **how),
    "compiled Stack": lambda how: jit(lambda how: nn.Stack(3, lambda: nn.Dropout(0.5))(X, **how))(how),
    "MultiHeadAttention": lambda how: nn.MultiHeadAttention(2, 4, dropout=0.5, rng=nn.RandomState(0))(
        X.reshape(10, 4), rngs=how.get("rngs", how.get("key"))
    ),
    "FixedDropout": lambda how: nn.init_all_states(nn.FixedDropout(0.5, 40), rngs=how.get("rngs", how.get("key")))(X),
}


@each("layer", list(DRAWING), ids=list(DRAWING))
def test_what_a_call_is_given_to_draw_from(layer):
    call = DRAWING[layer]
    for name in ("key", "rngs"):
        assert jnp.array_equal(call({name: KEY}), call({"rngs": KEY}))  # whatever stream the layer has
        other = call({name: jax.random.key(5)})
        assert not jnp.array_equal(call({name: KEY}), other)
        streams = [nn.RandomState(4), nn.RandomStreams(0, dropout=4), nn.RandomStreams(4)]
        results = [call({name: stream}) for stream in streams]
        assert all(jnp.array_equal(results[0], result) for result in results)
        counts = [int(s.value[1]) for s in (streams[0], streams[1].dropout, streams[2].default)]
        assert counts[0] > 0
        assert len(set(counts)) == 1
        assert int(streams[1].default.value[1]) == 0
        assert not jnp.array_equal(results[0], call({name: streams[0]}))  # it has moved on


def test_each_layer_drops_others_for_one_key():
    """Equal masks would let half of the elements through, and not an eighth."""
    x = jnp.ones(4000)
    for net in (nn.Stack(3, lambda: nn.Dropout(0.5)), nn.Sequential(*[nn.Dropout(0.5) for _ in range(3)])):
        for how in ({"key": KEY}, {"rngs": KEY}, {"key": jax.random.PRNGKey(0)}, {"rngs": nn.RandomState(0)}):
            assert float((net(x, **how) > 0).mean()) == pytest.approx(1 / 8, abs=0.03)


def test_one_key_is_a_draw_of_a_stream_as_in_nnx():
    ours = nn.Dropout(0.5)(X, rngs=nn.RandomStreams(0, dropout=3))
    theirs = nnx.Dropout(0.5)(X, rngs=nnx.Rngs(0, dropout=3))
    assert jnp.array_equal(ours, theirs)


@each(
    ("how", "words"),
    [
        ({"key": KEY, "rngs": KEY}, r"Dropout at Sequential\.layers\.0 takes `key` or `rngs`, which mean the same"),
        (
            {"rngs": 3},
            r"Dropout at Sequential\.layers\.0 takes a key, .* for `rngs`, not 3: write `rngs=RandomState\(0\)`",
        ),
        ({"key": "dropout"}, "for `key`, not 'dropout'"),
    ],
)
def test_what_is_no_source_of_keys(how, words):
    net = nn.Sequential(nn.Dropout(0.5))
    with pytest.raises(TypeError, match=words):
        net(X, **how)
    assert int(net[0].rng.value[1]) == 0
