"""What no call can look at is found by an audit, by its first difference."""

from __future__ import annotations

import functools
import io
import itertools
import os
import random
import types
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import Node, State
from brainstate_transform import (
    StaleProgramError,
    StatefulFunction,
    checkpoint,
    cond,
    custom_vjp,
    for_loop,
    grad,
    jit,
    vmap,
    while_loop,
)
from tests.laws.transforms import Net, values
from tests.tables import each
from tests.transform.jit.audits import bits

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

    return lambda x: jnp.sum(x * held.table), change, r"at \[1, 7\]: 1.0 is now -1.0, at \S+test_audit\S*.py:\d+"


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
    held = bytearray(2)

    @functools.lru_cache
    def scale():
        return float(len(held))

    def change():
        held.extend(held)
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
    held = bytearray(2)
    run = transform(lambda x: x * x * len(held))
    return lambda x: run(x), lambda: held.append(0), r"2.0 is now 3.0"


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
    held = bytearray(2)

    def body(carry, x):
        return carry, x * len(held)

    return lambda x: jax.lax.scan(body, 0.0, pair(x)), lambda: held.append(0), r"2.0 is now 3.0"


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


@each("case", STALE)
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


@each("case", [name for name in STALE if name not in BY_THEMSELVES and "inline" not in name])
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
