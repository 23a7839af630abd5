"""Whatever draws is refused inside of a transform of JAX itself, which would give all lanes the same numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_graph import Node, State, TraceContextError, states, treefy_merge, treefy_split
from brainstate_transform import (
    StatefulFunction,
    checkpoint,
    cond,
    custom_jvp,
    for_loop,
    grad,
    jit,
    lift,
    scan,
    value_and_grad,
    vmap,
)
from tests.tables import each

ONE = jnp.float32(1.0)
LANES = jnp.ones(3)


def _custom(f):
    made = jax.custom_jvp(f)
    made.defjvp(lambda p, t: (f(*p), t[0]))
    return made


# Each runs a function of a scalar that returns one.
RAW = {
    "vmap": lambda f: jax.vmap(f)(LANES),
    "vmap of nothing": lambda f: jax.vmap(lambda: f(ONE), axis_size=3)(),
    "grad": lambda f: jax.grad(f)(ONE),
    "value_and_grad": lambda f: jax.value_and_grad(f)(ONE),
    "jvp": lambda f: jax.jvp(f, (ONE,), (ONE,)),
    "vjp": lambda f: jax.vjp(f, ONE),
    "linearize": lambda f: jax.linearize(f, ONE),
    "jacfwd": lambda f: jax.jacfwd(f)(ONE),
    "jacrev": lambda f: jax.jacrev(f)(ONE),
    "hessian": lambda f: jax.hessian(f)(ONE),
    "grad of vmap": lambda f: jax.grad(lambda x: jax.vmap(f)(x).sum())(LANES),
    "vmap of custom_jvp": lambda f: jax.vmap(_custom(f))(LANES),
    "jit": lambda f: jax.jit(f)(ONE),
    "checkpoint": lambda f: jax.checkpoint(f)(ONE),
    "eval_shape": lambda f: jax.eval_shape(f, ONE),
    "make_jaxpr": lambda f: jax.make_jaxpr(f)(ONE),
    "scan": lambda f: jax.lax.scan(lambda c, x: (c, f(x)), ONE, LANES),
    "map": lambda f: jax.lax.map(f, LANES),
    "fori_loop": lambda f: jax.lax.fori_loop(0, 3, lambda _, x: f(x), ONE),
    "while_loop": lambda f: jax.lax.while_loop(lambda x: x < 1, f, ONE),
    "cond": lambda f: jax.lax.cond(True, f, f, ONE),
    "switch": lambda f: jax.lax.switch(0, [f, f], ONE),
    "associative_scan": lambda f: jax.lax.associative_scan(jax.vmap(lambda a, b: f(a) + b), LANES),
    "vmap in our jit": lambda f: jit(lambda: jax.vmap(f)(LANES))(),
    "grad in our grad": lambda f: grad(lambda x: jax.grad(f)(x))(ONE),
    "grad in our loop": lambda f: for_loop(jax.grad(f), LANES),
    "vmap in our vmap": lambda f: vmap(lambda x: jax.vmap(f)(x))(LANES[None]),
}


class Streams(Node):
    """What draws. The default stream of the process has a number of its own."""

    def __init__(self):
        self.calls = State(jnp.float32(0.0))
        self.rng = nn.RandomState(0)
        self.streams = nn.RandomStreams(0, dropout=1)
        self.drop = nn.Dropout(0.5, rng=nn.RandomState(2))
        self.attention = nn.MultiHeadAttention(1, 2, dropout=0.5, rng=nn.RandomState(3))


DRAWS = {
    "split_key": lambda m, x: (m.rng.split_key(), x)[1],
    "split_key(2)": lambda m, x: (m.rng.split_key(2), x)[1],
    "a sampler": lambda m, x: x * m.rng.normal(),
    "fork": lambda m, x: x * m.rng.fork().uniform(),
    "fork of streams": lambda m, x: (m.streams.fork(), x)[1],
    "seed": lambda m, x: (m.rng.seed(3), x)[1],
    "nn.split_key": lambda m, x: (nn.split_key(), x)[1],
    "default_rng": lambda m, x: x * nn.default_rng().normal(),
    "a new layer": lambda m, x: nn.Linear(1, 1)(x[None])[0],
    "a new layer of a stream": lambda m, x: nn.Linear(1, 1, rng=m.rng)(x[None])[0],
    "Dropout": lambda m, x: m.drop(x[None])[0],
    "attention": lambda m, x: m.attention(jnp.ones((1, 3, 2))).sum() * x,
    "a forked layer": lambda m, x: nn.Dropout(0.5, rng=m.rng.fork())(x[None])[0],
}

# Our own transforms between the raw one and the draw: these would move the stream on once for all lanes.
OURS = {
    "jit": jit,
    "checkpoint": checkpoint,
    "for_loop": lambda f: lambda x: for_loop(f, x[None])[0],
    "scan": lambda f: lambda x: scan(lambda c, x: (c, f(x)), 0.0, x[None])[1][0],
    "cond": lambda f: lambda x: cond(True, f, f, x),
    "vmap": lambda f: lambda x: vmap(f)(x[None])[0],
    "value_and_grad": lambda f: lambda x: value_and_grad(f)(x)[0],
    "custom_jvp": lambda f: _ours(f),
    "stateful": StatefulFunction,
    "lift": lambda f: lift(lambda core: core, f),
}


def _ours(f):
    made = custom_jvp(lambda x: f(x))
    made.defjvp(lambda p, t: (f(*p), t[0]))
    return made


def count(m):
    streams = [state for state in states(m).values() if isinstance(state, nn.RandomState)]
    return [int(stream.value[1]) for stream in (*streams, nn.default_rng())]


@pytest.fixture
def model():
    nn.seed(0)
    return Streams()


FEW = ("vmap", "grad", "jit", "vmap in our jit")
PAIRS = {f"{raw} {draw}": (RAW[raw], DRAWS[draw]) for raw in RAW for draw in DRAWS if raw in FEW or draw == "a sampler"}
NESTS = {f"{raw} {ours}": (RAW[raw], OURS[ours]) for raw in RAW for ours in OURS if raw in FEW or ours == "jit"}


@each("raw, draw", PAIRS.values(), ids=PAIRS)
def test_a_draw_in_a_raw_transform(model, raw, draw):
    before = count(model)
    with pytest.raises(TraceContextError, match="cannot advance here: the code runs inside a JAX transform"):
        raw(lambda x: draw(model, x))
    assert count(model) == before


@each("raw, ours", NESTS.values(), ids=NESTS)
def test_a_transform_of_ours_in_a_raw_one(model, raw, ours):
    call = ours(DRAWS["a sampler"].__get__(model))
    before = count(model)
    with pytest.raises(TraceContextError):
        raw(call)
    assert count(model) == before


def test_what_was_compiled_is_refused_and_goes_on_afterwards(model):

    @jit
    def step(x):
        model.calls.value = model.calls.value + 1.0  # an array comes first among what is written
        return x * model.rng.normal()

    oracle = nn.RandomState(0)
    for _ in range(3):
        assert step(ONE) == pytest.approx(float(oracle.normal()))
        for raw in (RAW["vmap"], RAW["grad"], RAW["jit"]):
            with pytest.raises(TraceContextError, match=r"RandomState at Streams\.rng cannot advance here"):
                raw(step)
    assert model.calls.value == 3.0


def test_what_is_made_inside_draws_there():
    """A stream of the trace, from a key of each lane or by merging, is no concern of others."""
    keys = jax.random.split(jax.random.key(0), 3)
    wanted = jnp.stack([nn.RandomState(key).normal() for key in keys])
    assert jnp.allclose(jax.vmap(lambda key: nn.RandomState(key).normal())(keys), wanted)
    assert jnp.allclose(jit(jax.vmap(lambda key: nn.RandomState(key).normal()))(keys), wanted)
    shape, tree = treefy_split(nn.Dropout(0.5, rng=nn.RandomState(0)))
    out = jax.vmap(lambda x: treefy_merge(shape, tree)(x))(jnp.ones((2, 8)))
    assert jnp.array_equal(out[0], out[1])  # one stream was passed for all lanes


# Where a stream is made that is used outside afterwards.
MAKERS = {
    "outside": lambda: nn.Dropout(0.5, rng=nn.RandomState(0)),
    "jit": lambda: jit(lambda: nn.Dropout(0.5, rng=nn.RandomState(0)))(),
    "vmap": lambda: vmap(lambda: nn.Dropout(0.5, rng=nn.RandomState(0)), axis_size=3)(),
    "ensemble": lambda: vmap(lambda: nn.Dropout(0.5), axis_size=3, new_states=0)(),
    "checkpoint": lambda: checkpoint(lambda: nn.Dropout(0.5, rng=nn.RandomState(0)))(),
}


@each("make", MAKERS.values(), ids=MAKERS)
def test_a_stream_that_was_made_inside_lives_outside_afterwards(make):
    net, x = make(), jnp.ones((3, 8))
    net(x) if net.rng.value[1].ndim == 0 else vmap(lambda m, x: m(x))(net, x)
    step = jit(lambda m, x: m(x) if m.rng.value[1].ndim == 0 else vmap(lambda m, x: m(x))(m, x))
    step(net, x)
    step(net, x)
    assert (net.rng.value[1] == 3).all()
    for raw in (RAW["vmap"], RAW["grad"]):
        with pytest.raises(TraceContextError):
            raw(lambda y: step(net, x)[0, 0] * y)
    assert (net.rng.value[1] == 3).all()


def test_without_compiling_raw_jit_is_python(model):
    with jax.disable_jit():
        jax.jit(lambda x: x * model.rng.normal())(ONE)
    assert int(model.rng.value[1]) == 1
