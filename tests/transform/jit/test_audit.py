"""The audit: what no call can look at is found, and nothing else is."""

from __future__ import annotations

import functools
import gc
import io
import itertools
import os
import random
import threading
import types
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import Node, State
from brainstate_transform import (
    ProgressBar,
    StaleProgramError,
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
    jit,
    jit_error_if,
    scan,
    shard_map,
    switch,
    value_and_grad,
    vmap,
    while_loop,
)
from tests.laws.transforms import Net, Runs, same, values
from tests.processes.run import output_of
from tests.tables import each

one = jnp.float32(1.0)
audited = functools.partial(jit, audit=True)


def here(name):
    """A name that is not in the code of the function that asks for it."""
    return "".join(reversed(name))


# -- what no call looks at: each makes a function, a change of it, and says what is told


def numpy_in_place():
    table = np.arange(1000.0, dtype=np.float32)
    return (
        lambda x: x * table,
        lambda: table.__setitem__(700, 5.0),
        r"constant of `mul`, f32\[1000\], at \[700\]: 700.0",
    )


def numpy_in_an_object():
    held = types.SimpleNamespace(table=np.ones((2, 300), np.float32))

    def change():
        held.table[1, 7] = -1.0

    return lambda x: jnp.sum(x * held.table), change, r"at \[1, 7\]: 1.0 is now -1.0, at \S+test_audit.py:\d+"


def numpy_of_one_bit():
    table = np.zeros(1000, np.float32)
    return lambda x: x / table, lambda: table.__setitem__(3, -0.0), r"at \[3\]: 0.0 is now -0.0"


def environment():
    os.environ["OF_THE_AUDIT"] = "2"

    def change():
        os.environ["OF_THE_AUDIT"] = "3"

    return lambda x: x * float(os.environ["OF_THE_AUDIT"]), change, r"constant of `mul`, 2.0 is now 3.0"


def environment_in_an_operation():
    os.environ["OF_THE_AUDIT"] = "sin"

    def change():
        os.environ["OF_THE_AUDIT"] = "cos"

    return lambda x: getattr(jnp, os.environ["OF_THE_AUDIT"])(x), change, r"`sin \w:f32\[\]` is now `cos \w:f32\[\]`"


def computed_name():
    held = types.SimpleNamespace(elacs=2.0, scale=2.0)

    def change():
        held.scale = 4.0

    return lambda x: x * getattr(held, here("elacs")), change, "2.0 is now 4.0"


def cached():
    now = [2.0]

    @functools.lru_cache
    def scale():
        return now[0]

    def change():
        now[0] = 4.0
        scale.cache_clear()

    return lambda x: x * scale(), change, "2.0 is now 4.0"


def clock():
    ticks = itertools.count(1.0)
    return lambda x: x * next(ticks), lambda: None, "1.0 is now 2.0"


def drawn_by_python():
    random.seed(0)
    return lambda x: x * random.random(), lambda: None, "a constant of `mul`"


def read_from_a_file():
    file = io.StringIO("2.0")

    def read(x):
        file.seek(0)
        return x * float(file.read())

    return read, lambda: (file.seek(0), file.write("4.0")), "2.0 is now 4.0"


def size():
    held = bytearray(2)
    return lambda x: jnp.tile(x, len(held)), lambda: held.append(0), r"`(reps|shape)` of `(tile|broadcast_in_dim)`"


def more_operations():
    held = bytearray(2)

    def power(x):
        for _ in range(len(held)):
            x = jnp.sin(x)
        return x

    return power, lambda: held.append(0), r"`return c:f32\[\]` is now `sin c:f32\[\]`"


def parameter():
    held = bytearray(b"0")
    return (
        lambda x: jnp.sum(jnp.outer(x, x), int(held)),
        lambda: held.__setitem__(0, ord("1")),
        r"`axes` of `reduce_sum`",
    )


def structure_of_the_result():
    held = bytearray(b"a")
    return lambda x: {held.decode(): x}, lambda: held.__setitem__(0, ord("b")), r"PyTreeDef\(.*'a'.* is now .*'b'"


def node_in_the_result():
    held = bytearray(2)

    def make(x):
        net = Net(x)
        net.rate = len(held)
        return net

    return make, lambda: held.append(0), "is now PyTreeDef"


def a_state_more():
    held, w, b = bytearray(2), State(one), State(one)

    def use(x):
        return x * w.value + (b.value if len(held) > 2 else 0.0)

    return use, lambda: held.append(0), "it uses b now"


def a_state_less():
    held, w, b = bytearray(2), State(one), State(one)

    def use(x):
        return x * w.value + (b.value if len(held) < 3 else 0.0)

    return use, lambda: held.append(0), "it uses b no more"


def a_write_more():
    held, w = bytearray(2), State(one)

    def use(x):
        if len(held) > 2:
            w.value += x
        return x * w.value

    return use, lambda: held.append(0), "it writes w now"


def a_stray():
    held, kept = bytearray(2), {id(None): State(one)}
    reached = [weakref.ref(kept[id(None)])]

    def use(x):
        return x * (reached[0]().value if len(held) > 2 else 1.0)

    return use, lambda: held.append(0 * len(kept)), "it uses State"


def an_error():
    held = {"x": bytearray(2)}["x"]

    def use(x):
        if len(held) > 2:
            raise KeyError("gone")
        return x

    return use, lambda: held.append(0), "it raises KeyError now: 'gone'"


def inner(transform):
    """A function that lives on, of which JAX keeps the trace."""
    table = np.ones(1000, np.float32)
    run = transform(lambda x: jnp.sum(x * x * table))
    return lambda x: run(x), lambda: table.__setitem__(3, 2.0), r"at \[3\]: 1.0 is now 2.0"


def vmapped(f):
    return lambda x: jax.vmap(f)(x[None])


def scanned(f):
    return lambda x: jax.lax.scan(lambda c, y: (c, f(y)), x, x[None])


def pair(x):
    return jnp.stack([x, x])


def own_rule(f):
    made = custom_vjp(f)
    made.defvjp(lambda x: (f(x), None), lambda _, ct: (ct,))
    return made


def raw_rule(f):
    made = jax.custom_vjp(f)
    made.defvjp(lambda x: (f(x), f(x)), lambda kept, ct: (ct * kept,))
    return made


def raw_lanes(f):
    made = jax.custom_batching.custom_vmap(f)
    made.def_vmap(lambda size, batched, x: (jax.vmap(f)(x), True))
    return lambda x: made(x)


def raw_body():
    table = np.ones(1000, np.float32)

    def body(carry, x):
        return carry, jnp.sum(x * table)

    return (
        lambda x: jax.lax.scan(body, 0.0, jnp.stack([x, x]))[1],
        lambda: table.__setitem__(3, 2.0),
        r"at \[3\]: 1.0 is now 2.0",
    )


def callback():
    held = bytearray(2)

    def ask(x):
        add = len(held)
        return jax.pure_callback(lambda y: y + np.float32(add), jax.ShapeDtypeStruct((), jnp.float32), x)

    return ask, lambda: held.append(0), "`callback` of `pure_callback`"


def rate_of_a_model_in_a_file():
    net, file = Net(), bytearray(2)
    return lambda x: grad(lambda: net(x) * len(file), net.w)(), lambda: file.append(0), "2.0 is now 3.0"


STALE = {
    f.__name__: f
    for f in (
        numpy_in_place, numpy_in_an_object, numpy_of_one_bit, environment, environment_in_an_operation, computed_name,
        cached, clock, drawn_by_python, read_from_a_file, size, more_operations, parameter, structure_of_the_result,
        node_in_the_result, a_state_more, a_state_less, a_write_more, a_stray, an_error, raw_body, callback,
        rate_of_a_model_in_a_file,
    )
}  # fmt: skip
STALE |= {
    f"inner {name}": functools.partial(inner, transform)
    for name, transform in {
        "jax.jit": jax.jit, "jax.checkpoint": jax.checkpoint, "jax.vmap": lambda f: lambda x: jax.vmap(f)(x[None])[0],
        "jit": jit, "audited": audited, "StatefulFunction": StatefulFunction, "checkpoint": checkpoint,
        "for_loop": lambda f: lambda x: for_loop(f, x[None]),
        "lax.cond": lambda f: lambda x: jax.lax.cond(x > 0, f, jnp.negative, x),
        "lax.map": lambda f: lambda x: jax.lax.map(f, x[None]),
        "lax.while_loop": lambda f: lambda x: jax.lax.while_loop(lambda y: y < 3, f, x),
        "inline": lambda f: jax.jit(f, inline=True),
        "lax.fori_loop": lambda f: lambda x, b=lambda i, y: f(y): jax.lax.fori_loop(0, 3, b, x),
        "lax.switch": lambda f: lambda x: jax.lax.switch(1, [jnp.sin, f], x),
        "lax.associative_scan": lambda f: lambda x: jax.lax.associative_scan(lambda a, _: jax.vmap(f)(a), pair(x)),
        "custom_vmap": lambda f: raw_lanes(f),
        "jax.grad": lambda f: jax.grad(f), "jax.linearize": lambda f: lambda x: jax.linearize(f, x)[1](x),
        "jit of grad": lambda f: jax.jit(jax.grad(f)), "grad of jit": lambda f: jax.grad(jax.jit(f)),
        "grad of checkpoint": lambda f: jax.grad(jax.checkpoint(f)), "vmap of jit": lambda f: vmapped(jax.jit(f)),
        "grad of inline": lambda f: jax.grad(jax.jit(f, inline=True)),
        "scan of jit": lambda f: scanned(jax.jit(f)),
        "grad of scan": lambda f: jax.grad(lambda x, b=lambda c, y: (c, f(y)): jax.lax.scan(b, x, x[None])[1][0]),
        "while_loop": lambda f: lambda x: while_loop(lambda y: y < 3, f, x),
        "cond": lambda f: lambda x: cond(x > 0, f, f, x),
        "own custom_vjp": lambda f: own_rule(f), "vmap": lambda f: lambda x: vmap(f)(x[None]),
        "raw custom_vjp": lambda f: raw_rule(f), "grad of raw custom_vjp": lambda f: jax.grad(raw_rule(f)),
    }.items()
}  # fmt: skip


@pytest.mark.parametrize("case", STALE)
def test_what_no_call_looks_at_is_found(case):
    fun, change, told = STALE[case]()
    f = jit(fun, audit=True)

    def calls():
        f(one)
        change()
        f(one)

    with pytest.raises(StaleProgramError, match=told) as raised:
        calls()
    assert raised.value.difference in str(raised.value)


BY_THEMSELVES = ("clock", "drawn_by_python")  # another value in each trace
OF_JAX = ("raw_body", *[name for name in STALE if name.startswith("inner")])


@pytest.mark.parametrize("case", [name for name in STALE if name not in BY_THEMSELVES and "inline" not in name])
def test_going_on_and_beginning_again(case):
    fun, change, _ = STALE[case]()
    f = jit(fun, audit=True)
    for _ in range(4):  # equal to itself
        f(one)
    change()
    for _ in range(2):  # it is said each time
        with pytest.raises(StaleProgramError):
            f(one)
    if case not in ("an_error", "a_write_more", *OF_JAX):  # of which JAX keeps a trace of its own
        f.clear_cache()
        assert bits(plain(f(one))) == bits(plain(fun(one)))
        f(one)


@each("case", [name for name in STALE if "inline" in name])
def test_what_is_not_seen_to_be_kept_is_found_in_the_end(case):
    fun, change, _ = STALE[case]()
    f = jit(fun, audit=True)
    for _ in range(4):
        f(one)
    change()

    def calls():
        for _ in range(4):
            f(one)

    for _ in range(2):  # and from then on
        with pytest.raises(StaleProgramError):
            calls()
    with pytest.raises(StaleProgramError):
        f(one)


def plain(result):
    return values(result) if isinstance(result, Node) else result


def test_a_program_that_is_made_of_an_old_trace():
    held = bytearray(2)
    run = jax.jit(lambda x: x * len(held))
    run(one)
    held.append(0)
    with pytest.raises(StaleProgramError, match=r"2\.0 is now 3\.0"):
        jit(lambda x: run(x) + 1.0, audit=True)(one)


def test_an_array_that_changes_after_the_trace_and_before_it_is_compiled():
    table = np.ones(1000, np.float32)
    f = jit(lambda x: x * table, audit=True)
    f.trace(one)
    table[0] = 2.0
    assert f(one)[0] == 2.0


def test_changes_between_ahead_of_time_and_the_first_call():
    table = np.ones(1000, np.float32)
    f = jit(lambda x: x * table, audit=True)
    f.compile(one)
    table[0] = 2.0
    with pytest.raises(StaleProgramError, match=r"at \[0\]: 1.0 is now 2.0"):
        f(one)


# -- no alarm: each makes a function of a number, compiled by the `jit` that it is given


def net_and_data(*layers, **options):
    nn.seed(0)
    x = jax.random.normal(jax.random.key(1), (8, 4))
    return nn.Sequential(*[layer() for layer in layers], **options), x


def training(jit, layers, **options):
    net, x = net_and_data(*layers)
    params = net.states(nn.ParamState)
    optimizer = nn.Optimizer(params, optax.adam(1e-2))

    @jit(**options)
    def step(x):
        loss, grads = value_and_grad(lambda: jnp.mean(net(x) ** 2), params)()
        optimizer.update(grads)
        return loss

    return lambda i: (step(x + i), values(net))


def linear():
    return nn.Linear(4, 4)


def adam(jit):
    return training(jit, [linear, lambda: nn.Lambda(nn.relu), linear])


def dropout(jit):
    return training(jit, [linear, lambda: nn.Dropout(0.5), linear])


def batch_norm(jit):
    return training(jit, [linear, lambda: nn.BatchNorm(4), lambda: nn.Lambda(nn.gelu)])


def layer_norm(jit):
    return training(jit, [linear, lambda: nn.LayerNorm(4), lambda: nn.Lambda(nn.silu)])


def donation(jit):
    return training(jit, [linear, lambda: nn.Dropout(0.5), linear], donate_states=True)


def lazy_layer(jit):
    class Lazy(nn.Module):
        def __call__(self, x):
            if not hasattr(self, "seen"):
                self.seen = nn.HiddenState(jnp.zeros(x.shape))
            self.seen.value += x
            return self.seen.value

    net = Lazy()
    step = jit(lambda x: net(x))
    return lambda i: step(jnp.ones(2) * i)


def hidden_states_made_inside(jit):
    nn.seed(0)
    rnn = nn.RNN(nn.GRUCell(2, 3))

    @jit
    def run(x):
        nn.init_all_states(rnn, batch_size=4)
        return rnn(x)

    return lambda i: run(jnp.ones((4, 5, 2)) * i)


def recurrent_training(jit):
    nn.seed(0)
    cell = nn.LSTMCell(2, 3)
    cell.init_state(4)
    params = cell.states(nn.ParamState)

    @jit
    def step(xs):
        nn.reset_all_states(cell, batch_size=4)
        return grad(lambda: jnp.sum(for_loop(lambda x: cell(x), xs)), params)()

    return lambda i: step(jnp.ones((5, 4, 2)) * i)


def spiking(jit):
    neurons = nn.LIF(2, tau=10.0)
    neurons.init_state()
    run = jit(lambda x: for_loop(neurons, jnp.tile(x, (20, 1))))
    return lambda i: run(jnp.array([1.1, 2.0]) * i)


def stacked(jit):
    nn.seed(0)
    stack = nn.Stack(3, lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)))
    step = jit(lambda x: grad(lambda: jnp.sum(stack(x)), stack.states(nn.ParamState))())
    return lambda i: step(jnp.ones((2, 4)) * i)


def attention(jit):
    nn.seed(0)
    layer = nn.MultiHeadAttention(2, 8)
    layer.init_cache(3, 10)
    step = jit(lambda x: layer(x, decode=True))
    return lambda i: step(jnp.ones((3, 1, 8)) * i)


def metrics(jit):
    metrics = nn.MultiMetric(loss=nn.Average("loss"), accuracy=nn.Accuracy())
    step = jit(lambda logits: metrics.update(loss=logits.sum(), logits=logits, labels=jnp.array([1])))
    return lambda i: (step(jnp.array([[0.0, 1.0]]) * i), metrics.compute())


def average_of_weights(jit):
    net, x = net_and_data(linear)
    ema = nn.EMA(net, 0.9)

    @jit
    def step(x):
        net.layers[0].weight.value += jnp.mean(x)
        ema.update()
        return ema.apply_to(net)(x)

    return lambda i: step(x * i)


def static_arguments(jit):
    step = jit(lambda x, power, by: x**power + by, static_argnums=1, static_argnames="by")
    return lambda i: step(one * i, 2 + i % 2, by=(1, 2)[i % 2])


def modules_as_arguments(jit):
    nets = [Net(2.0), Net(3.0)]
    step = jit(lambda net, x: (net(x), net))
    return lambda i: step(nets[i % 2], one)[0]


def nodes_made_inside(jit):
    make = jit(lambda x: {"net": Net(x), "x": x})
    return lambda i: values(make(one * i)["net"])


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
    net, x = net_and_data(linear, linear)
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
        adam, dropout, batch_norm, layer_norm, donation, lazy_layer, hidden_states_made_inside, recurrent_training,
        spiking, stacked, attention, metrics, average_of_weights, static_arguments, modules_as_arguments,
        nodes_made_inside, random_streams, keys_as_constants, hooks, lanes, shards, carried, other_loops, progress,
        checkpoints, raw_checkpoints, own_rules, raw_rules, surrogate, checks_and_callbacks, checked, python_around_it,
        a_model_that_counts, changes_between_calls, nan_and_the_sign_of_zero, nested, under_transforms, methods,
        many_states, placed,
    )
}  # fmt: skip


@pytest.mark.parametrize("case", PROGRAMS)
def test_no_alarm(case):
    made: list[dict[str, list[object]]] = []

    def counting(audit):
        functions = []

        def compiled(fun=None, **options):
            if fun is None:
                return functools.partial(compiled, **options)
            functions.append(jit(fun, audit=audit, **options))
            return functions[-1]

        call = PROGRAMS[case](compiled)
        made.append([call(i) for i in range(1, 5)])
        return [f.explain().traces for f in functions]

    assert counting(True) == counting(False)  # it stands in no log
    assert bits(made[0]) == bits(made[1])


def bits(tree):
    leaves, structure = jax.tree.flatten(tree)
    leaves = [jax.random.key_data(x) if jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key) else x for x in leaves]
    return [(x.dtype, x.shape, x.tobytes()) for x in map(np.asarray, leaves)], str(structure)


# -- what an audit does, and what it does not


def test_it_changes_no_state_and_runs_the_function_once_more():
    net, runs = Net(), Runs()

    def step(x):
        runs()
        return net(x)

    f = audited(step)
    for count in range(1, 4):
        f(one)
        assert net.n.value == count
    assert runs.count == 1 + 3
    assert f.explain().traces == 1


def test_nothing_is_written_when_it_raises():
    net, held = Net(), bytearray(2)
    f = audited(lambda x: net(x) * len(held))
    f(one)
    before = values(net)
    held.append(0)
    with pytest.raises(StaleProgramError):
        f(one)
    assert same(values(net), before)


def test_each_kind_of_call_has_its_own_program():
    held = bytearray(2)
    f = audited(lambda x: x * len(held))
    f(one)
    held.append(0)
    assert f(jnp.ones(2)).tolist() == [3.0, 3.0]  # traced for these just now
    with pytest.raises(StaleProgramError, match=r"2\.0 is now 3\.0"):
        f(one)


def test_it_names_the_function_the_places_and_the_remedy(monkeypatch):
    held = bytearray(2)

    @audited
    def step(x):
        return x * len(held)

    step(one)
    monkeypatch.setattr(type(step.cores[0].touched.graph()), "unwatched", ("held", "net.table"), raising=False)
    held.append(0)
    with pytest.raises(StaleProgramError) as raised:
        step(one)
    line = step.__wrapped__.__code__.co_firstlineno + 2
    told = str(raised.value)
    assert told.startswith(
        "the program of `test_it_names_the_function_the_places_and_the_remedy.<locals>.step` is not what the function "
        "is now. Traced anew: a constant of `mul`, 2.0 is now 3.0, at "
    )
    assert f"test_audit.py:{line}" in told
    assert told.endswith(
        "It reads held, net.table, which no call looks at. Hold what changes in a State, or pass it as an argument; "
        "`clear_cache()` has the function compiled anew."
    )
    assert raised.value.unwatched == ("held", "net.table")
    assert isinstance(raised.value, RuntimeError)


def test_an_error_of_the_function_is_the_cause():
    fun, change, _ = an_error()
    f = audited(fun)
    f(one)
    change()
    with pytest.raises(StaleProgramError) as raised:
        f(one)
    assert isinstance(raised.value.__cause__, KeyError)


def test_an_error_of_the_first_call_is_its_own():
    f = audited(lambda x: x @ x)
    with pytest.raises(ValueError, match="matmul"):
        f(one)


def test_an_audited_function_inside_another_one():
    held = bytearray(2)
    inside = jit(lambda x: x * len(held), audit=True)
    outside = jit(lambda x: inside(x) + 1)
    outside(one)
    held.append(0)
    assert outside(one) == 3.0  # which is not audited
    with pytest.raises(StaleProgramError):
        vmap(inside, in_axes=0)(jnp.ones(2)), inside(one)


@each("function", [lambda f: jit(f, audit=True), lambda f: StatefulFunction(f, audit=True)])
def test_what_can_be_audited(function):
    held, net = bytearray(2), Net()
    f = function(lambda x: net(x) * len(held))
    assert f(one) == f(one) == 4.0
    held.append(0)
    with pytest.raises(StaleProgramError):
        f(one)
    f.clear_cache()
    assert f(one) == 6.0


def test_a_method_of_an_object():
    class Trainer:
        held = bytearray(2)

        @jit(audit=True)
        def step(self, x):
            return x * len(self.held)

    trainer = Trainer()
    trainer.step(one)
    trainer.held.append(0)
    with pytest.raises(StaleProgramError):
        trainer.step(one)


def test_without_jit():
    held = bytearray(2)
    f = audited(lambda x: x * len(held))
    with jax.disable_jit():
        f(one)
        held.append(0)
        assert f(one) == 3.0


def test_a_function_that_is_not_audited_is_called_as_ever():
    f, g = jit(lambda x: x), jit(lambda x: x, audit=False)
    for function in (f, g):
        function(one)
        assert function._run_whole is function._program.whole


def test_another_thread_that_changes_the_model():
    net, failed = Net(), list[BaseException]()
    f = audited(lambda x: net(x))
    f(one)
    done = threading.Event()

    def change():
        for number in itertools.count():
            net.rate = float(number % 3)
            if done.wait(0.001):
                break

    def call():
        try:
            for _ in range(20):
                f(one)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=call) for _ in range(2)]
    other = threading.Thread(target=change)
    for thread in (other, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    other.join()
    assert not failed


OF_A_PROCESS = """
import sys
from brainstate_transform import StaleProgramError, for_loop, jit
import jax.numpy as jnp
held = bytearray(2)
told = []
for f in (jit(lambda x: x * len(held)), jit(lambda x: x * len(held), audit=False)):
    f(1.0)
    held.append(0)
    try:
        f(1.0)
        told.append("silent")
    except StaleProgramError:
        told.append("stale")
print(*told)
"""


@each("setting, told", [("1", "stale silent"), ("0", "silent silent"), ("", "silent silent")])
def test_all_functions_of_a_process(setting, told):
    assert output_of("-c", OF_A_PROCESS, BRAINSTATE_AUDIT=setting).split() == told.split()


def test_it_lets_go_of_models():
    net = Net()
    f = jit(lambda net, x: net(x), audit=True)
    f(net, one), f(net, one)
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_a_number_beside_checks():
    held = bytearray(2)

    def root(x):
        check(x > 0, "negative: {}", x)
        return jnp.where(x > 1, len(held), 0), jnp.where(x > 2, len(held), 1)

    f = audited(checkify(root))
    f(one), f(one)
    held.append(0)
    with pytest.raises(StaleProgramError):
        f(one)
