"""A signal at any point leaves a model as it was, or as it would be without: never something in between.

A row is a program that is run once for warmth, and then again with a signal somewhere.  The oracle is the same program
without a signal.
"""

from __future__ import annotations

import random
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import Node, State, graphdef, states, treefy_merge, treefy_split, update_states
from brainstate_graph._core import overlay as overlays
from brainstate_graph._records import journal as journals
from brainstate_graph.extend import here, read_values, tracing
from brainstate_transform import checkpoint, for_loop, grad, jit, vjp, vmap
from tests.fuzz.signals import Signal, signal_at


class Model(nn.Module):
    """Some states, an attribute, a list and a dict."""

    def __init__(self):
        self.a = [nn.ParamState(jnp.float32(i)) for i in range(4)]
        self.norm = nn.BatchNorm(2)
        self.cell = nn.init_all_states(nn.LSTMCell(2, 2, rng=nn.RandomState(0)))
        self.layers = [nn.Linear(1, 1, rng=nn.RandomState(0))]
        self.table = {"old": State(0.0)}
        self.mean = nn.MultiMetric(loss=nn.Average("loss"), acc=nn.Accuracy())
        self.count = 0

    def step(self, x):
        for state in self.a:
            state.value = state.value + x
        return x * sum(state.value for state in self.a)

    def grow(self, x):
        self.step(x)
        self.layers.append(nn.Linear(1, 1, rng=nn.RandomState(1)))
        self.table["new"] = State(x)
        self.extra = State(x)
        self.count = 3
        return x * self.a[1].value


one = np.float32(1.0)


tx = optax.adam(0.1)  # one for all: it is part of the shape


def optimised(model):
    optimizer = model.optimizer = nn.Optimizer({(i,): s for i, s in enumerate(model.a)}, tx)
    grads = {(i,): jnp.float32(1.0) for i in range(4)}
    return lambda: optimizer.update(grads)


def averaged(model):
    model.ema = nn.EMA({(i,): s for i, s in enumerate(model.a)}, 0.9)
    return model.ema.update


def loaded(model):
    names = nn.to_flat_dict(model, nn.ParamState)
    data = {name: leaf + 1 for name, leaf in names.items()}
    return lambda: nn.from_flat_dict(model, data, nn.ParamState)


def with_hooks(model):
    for state in model.a[:2]:
        state.register_hook("write_after", lambda context: None)
    return lambda: update_states(model, {"a": {i: jnp.float32(7.0) for i in range(4)}})


def called(f):
    return lambda: f(one)


PROGRAMS = {
    "jit": lambda m: called(jit(m.step)),
    "jit that makes nodes": lambda m: called(jit(m.grow)),
    "grad that makes nodes": lambda m: lambda: grad(m.grow)(one),
    "grad in jit": lambda m: called(jit(lambda x: grad(m.step)(x))),
    "vmap": lambda m: lambda: vmap(m.step, in_axes=None, axis_size=2)(one),
    "checkpoint": lambda m: lambda: checkpoint(m.grow)(one),
    "vjp": lambda m: lambda: vjp(m.grow, one),
    "for_loop": lambda m: lambda: for_loop(m.step, jnp.ones(3)),
    "optimizer": optimised,
    "average": averaged,
    "load": loaded,
    "update_states with hooks": with_hooks,
    "batch norm": lambda m: lambda: m.norm(jnp.ones((3, 2))),
    "cell": lambda m: lambda: m.cell(jnp.ones(2)),
    "metrics": lambda m: lambda: m.mean.update(loss=jnp.ones(2), logits=jnp.ones((2, 3)), labels=jnp.zeros(2, int)),
    "init states": lambda m: lambda: nn.init_all_states(m, batch_size=2),
    "eval": lambda m: m.eval,
    "attribute": lambda m: lambda: setattr(m, "count", 5),
    "merge": lambda m: lambda: update_states(m, treefy_split(treefy_merge(*treefy_split(m)))[1]),
}
FEW = ("jit", "jit that makes nodes", "grad that makes nodes", "optimizer", "load", "update_states with hooks", "eval")
WARM = {"jit", "grad in jit", "for_loop"}  # what has compiled in its first call; others change structure but once


def picture(model):
    """The shape and all values of a model."""
    leaves, structure = jax.tree.flatten(read_values(states(model).values(), record=False))
    return graphdef(model), structure, [np.asarray(leaf).tolist() for leaf in map(_plain, leaves)]


def _plain(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.prng_key) else leaf


def prepared(name):
    model = Model()
    run = PROGRAMS[name](model)
    if name in WARM:
        run()
    return model, run


def nothing_is_open(busy):
    assert not tracing()
    assert not overlays.open_overlays
    assert not journals.open_journals
    assert overlays.busy <= busy  # hooks may have gone with models from before
    assert here.token is None


def try_at(name, number):
    """Run a program with a signal at a point; return whether the program came so far."""
    model, run = prepared(name)
    old, busy = picture(model), set(overlays.busy)
    try:
        with signal_at(number):
            run()
        return False
    except Signal:
        pass
    except ValueError as error:  # what JAX makes of an error in a comparison that it asks for
        if not isinstance(error.__cause__, Signal):
            raise
    jax.jit(lambda: 0)()  # where JAX was cut short before it told the end of a trace, that ends with the next one
    nothing_is_open(busy)
    found = picture(model)
    if found == old:
        run()
        found = picture(model)
    assert found == _new(name), f"after a signal at point {number}"
    return True


_done = {}


def _new(name):
    if name not in _done:
        model, run = prepared(name)
        run()
        _done[name] = picture(model)
    return _done[name]


def points(name):
    """How many points a program has; the first time it imports and keeps things."""
    prepared(name)[1]()
    model, run = prepared(name)
    picture(model)  # as below
    with signal_at(-2) as block:
        run()
    return block.seen


# In a generator that is let go of Python can raise nothing, and says so.
ignored = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@ignored
@pytest.mark.parametrize("name", FEW)
def test_a_signal_at_a_point(name):
    count = points(name)
    rng = random.Random(name)
    last = range(max(0, count - 5), count)  # where values are written, and blocks end
    reached = [try_at(name, number) for number in sorted({*last, *(rng.randrange(count) for _ in range(2))})]
    assert any(reached)


@ignored
@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_signal_at_many_points(name):
    count = points(name)
    rng = random.Random(name)
    for number in sorted({*range(max(0, count - 40), count), *(rng.randrange(count) for _ in range(40))}):
        try_at(name, number)


def interrupts(wanted, seed):
    """Real signals from a timer, at random moments of warm calls that write 300 states."""
    model = Node()
    model.s = [State(jnp.float32(0)) for _ in range(300)]

    @jit
    def step():
        for state in model.s:
            state.value = state.value + 1

    def handler(*_):
        raise Signal

    step()
    rng, hits = random.Random(seed), 0
    before = signal.signal(signal.SIGALRM, handler)
    try:
        while hits < wanted:
            try:
                # Again after 0.1 seconds: Python ignores what is raised in JAX's callback of the collector.
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 2e-3), 0.1)
                while True:
                    step()
            except Signal:
                hits += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert len({float(state.value) for state in model.s}) == 1
    finally:
        signal.signal(signal.SIGALRM, before)


@ignored
@pytest.mark.parametrize("wanted", [20, pytest.param(400, marks=pytest.mark.slow)])
def test_real_signals(wanted):
    interrupts(wanted, seed=wanted)
