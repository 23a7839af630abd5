"""No audit alarms over transforms: each makes a function of a number, with the `jit` that it is given."""

from __future__ import annotations

import functools
import io
import types

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_graph import State
from brainstate_transform import (
    ProgressBar,
    StatefulFunction,
    all_checks,
    associative_scan,
    check,
    checkify,
    checkpoint,
    cond,
    custom_jvp,
    custom_vjp,
    debug_nan,
    for_loop,
    grad,
    jit_error_if,
    scan,
    shard_map,
    switch,
    vmap,
    while_loop,
)
from tests.laws.transforms import Net
from tests.tables import each
from tests.transform.jit.audits import no_alarm

one = jnp.float32(1.0)


def random_streams(jit):
    nn.seed(0)
    step = jit(lambda: nn.split_key())
    return lambda i: step()


def keys_as_constants(jit):
    key = jax.random.key(3)
    step = jit(lambda x: jax.random.normal(key, (3,)) * x)
    return lambda i: step(one * i)


def hooks(jit):
    net, seen = Net(), []
    net.w.register_hook("read", lambda event: seen.append(None))
    step = jit(lambda x: net(x))
    return lambda i: step(one * i)


def lanes(jit):
    nn.seed(0)
    drop, count = nn.Dropout(0.5), State(0)

    def each_row(x):
        return drop(x) * count.value

    step = jit(lambda x: vmap(each_row)(x))
    return lambda i: step(jnp.ones((3, 4)) * i)


def shards(jit):
    mesh = jax.make_mesh((1,), ("one",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("one")
    count = State(jnp.array(0.0))

    def total(x):
        count.value = jax.lax.psum(x.sum(), "one")
        return x * 2

    step = jit(lambda x: shard_map(total, mesh=mesh, in_specs=spec, out_specs=spec)(x))
    return lambda i: step(jnp.ones(4) * i)


def carried(jit):
    total = State(jnp.zeros(()))

    def body(carry, x):
        total.value += x
        return carry * x, total.value

    step = jit(lambda xs: scan(body, one, xs))
    return lambda i: step(jnp.ones(4) * i)


def other_loops(jit):
    total = State(jnp.zeros(()))

    def add(x):
        total.value += 1.0
        return x + 1.0

    step = jit(
        lambda x: (
            while_loop(lambda y: y < 5, add, x),
            associative_scan(jnp.add, jnp.tile(x, 4)),
            cond(x > 1, add, lambda y: y, x),
            switch(jnp.int32(1), [add, jnp.sin], x),
        )
    )
    return lambda i: step(one * i)


def progress(jit):
    bar = ProgressBar(file=io.StringIO(), disable=False)
    step = jit(lambda x: for_loop(lambda y: y * 2, jnp.tile(x, 4), pbar=bar))
    return lambda i: step(one * i)


def checkpoints(jit):
    nn.seed(0)
    net, x = nn.MLP(4, 4, 4, 1), jnp.ones((2, 4))
    block = checkpoint(lambda x: jnp.sin(net(x)), policy=jax.checkpoint_policies.save_only_these_names("a"))
    step = jit(lambda x: grad(lambda: jnp.sum(block(x)), net.states(nn.ParamState))())
    return lambda i: step(x * i)


def raw_checkpoints(jit):
    w = State(2.0 * one)
    step = jit(lambda x: jax.grad(jax.checkpoint(lambda y: jnp.sin(y) * w.value))(x))
    return lambda i: step(one * i)


def own_rules(jit):
    w = State(2.0 * one)

    @custom_vjp
    def f(x):
        return x * w.value

    f.defvjp(lambda x: (x * w.value, w.value), lambda w, ct: (ct * w * 2,))

    @custom_jvp
    def g(x):
        return x * w.value

    g.defjvp(lambda primals, tangents: (g(*primals), tangents[0] * 3))
    step = jit(lambda x: (grad(f, argnums=0)(x), grad(g, argnums=0)(x), f(x), g(x)))
    return lambda i: step(one * i)


def raw_rules(jit):
    def step(x):
        @jax.custom_jvp
        def f(x):
            return jnp.sin(x)

        @f.defjvp
        def rule(primals, tangents):
            return f(*primals), tangents[0]

        @jax.custom_vjp
        def g(x):
            return jnp.cos(x)

        g.defvjp(lambda x: (g(x), None), lambda _, ct: (ct,))
        return f(x), g(x), jax.vmap(f)(jnp.tile(x, 3)), jax.jit(g)(x), jax.nn.relu(x)

    step = jit(step)
    return lambda i: step(one * i)


def surrogate(jit):
    step = jit(lambda x: jax.grad(lambda y: nn.surrogate_spike(y, "triangle"))(x))
    return lambda i: step(one * i)


def checks_and_callbacks(jit):
    seen = []

    def step(x):
        jit_error_if(x < 0, "negative: {}", x)
        jax.debug.callback(seen.append, x)
        jax.debug.print("", ordered=False)
        label = {"x": x}
        y = jax.pure_callback(lambda d: d["x"] * 2, jax.ShapeDtypeStruct((), jnp.float32), label)
        return jax.experimental.io_callback(functools.partial(np.add, np.float32(1)), y, y)

    step = jit(step)
    return lambda i: step(one * i)


def checked(jit):
    net = Net()

    def root(x):
        check(x > 0, "negative: {}", x)
        return jnp.sqrt(net(x)), jax.jit(jnp.log)(x)

    inside, outside = jit(checkify(root, errors=all_checks)), checkify(jit(root))
    nan = jit(lambda x: debug_nan(root, x))
    return lambda i: (inside(one * i)[0].get(), outside(one * i)[1], nan(one * i))


def python_around_it(jit):
    seen, counts = [], types.SimpleNamespace(calls=0)

    def step(x):
        seen.append(x.shape)
        counts.calls += 1
        return x * 2

    step = jit(step)
    return lambda i: step(one * i)


def a_model_that_counts(jit):
    net = Net()

    def step(x):
        net.calls = getattr(net, "calls", 0) + 1
        return net(x)

    step = jit(step)
    return lambda i: (step(one * i), net.calls) if i > 3 else None


def changes_between_calls(jit):
    net, scale = Net(), types.SimpleNamespace(by=1.0)
    step = jit(lambda x: net(x) * scale.by)

    def call(i):
        net.rate, scale.by = float(i % 2), float(i % 3)
        return step(one)

    return call


def nan_and_the_sign_of_zero(jit):
    table = np.array([np.nan, -0.0, 0.0, np.inf] * 99, np.float32)
    step = jit(lambda x: (x * table, x * np.nan, jnp.asarray(table, jnp.bfloat16) + x.astype(jnp.bfloat16)))
    return lambda i: step(one * i)


def nested(jit):
    net = Net()
    inside = jit(lambda x: net(x))
    plain = StatefulFunction(lambda x: net(x) + 1)
    step = jit(lambda x: (inside(x), plain(x), grad(lambda: inside(x), net.w)()))
    return lambda i: step(one * i)


def under_transforms(jit):
    net = Net()
    step = jit(lambda x: net(x))
    return lambda i: (vmap(lambda x: step(x), out_axes=0, in_axes=0)(jnp.ones(1) * i), grad(lambda: step(one), net.w)())


def methods(jit):
    class Trainer:
        def __init__(self):
            self.net = Net()

        @jit(static_argnums=1)
        def step(self, power, x):
            return self.net(x) ** power

    trainer = Trainer()
    return lambda i: trainer.step(2, one * i)


def many_states(jit):
    """Of which a program is passed those that it uses."""
    nets = [Net(i) for i in range(40)]
    step = jit(lambda x: nets[3](x) + nets[5](x))
    return lambda i: step(one * i)


def placed(jit):
    net = Net()
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    step = jit(lambda x: net(x), state_shardings=where)
    return lambda i: step(one * i)


PROGRAMS = {
    f.__name__: f
    for f in (
        random_streams, keys_as_constants, hooks, lanes, shards, carried, other_loops, progress, checkpoints,
        raw_checkpoints, own_rules, raw_rules, surrogate, checks_and_callbacks, checked, python_around_it,
        a_model_that_counts, changes_between_calls, nan_and_the_sign_of_zero, nested, under_transforms, methods,
        many_states, placed,
    )
}  # fmt: skip


@each("name", PROGRAMS)
def test_no_alarm(name):
    no_alarm(PROGRAMS[name])
