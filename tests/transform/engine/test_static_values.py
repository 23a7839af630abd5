"""A `Static` of the user among the arguments comes to the function as itself, under every transform."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from brainstate_graph import State, Static
from brainstate_transform import (
    StatefulFunction,
    bounded_while_loop,
    checkify,
    checkpoint,
    checkpointed_for_loop,
    cond,
    custom_jvp,
    custom_vjp,
    eval_shape,
    for_loop,
    fori_loop,
    fwd_grad,
    grad,
    hessian,
    hvp,
    ifelse,
    jacfwd,
    jacrev,
    jit,
    jvp,
    lift,
    linearize,
    make_jaxpr,
    named_call,
    scan,
    shard_map,
    switch,
    value_and_grad,
    vector_grad,
    vjp,
    vmap,
    while_loop,
)
from brainstate_transform import map as mapped
from tests.tables import each

one, rate = jnp.float32(1.0), Static(3.0)
MESH = jax.make_mesh((1,), ("one",), axis_types=(jax.sharding.AxisType.Auto,))


def custom(f):
    made = custom_vjp(lambda x, s: f(x, s))
    made.defvjp(lambda x, s: (f(x, s), None), lambda residuals, ct: (ct, None))
    return made


def forward(f):
    made = custom_jvp(lambda x, s: f(x, s))
    made.defjvp(lambda primals, tangents: (f(*primals), tangents[0]))
    return made


# Each calls `f(x, s)` with a number and a `Static` once.
CALLS = {
    "jit": lambda f: jit(f)(one, rate),
    "jit by keyword": lambda f: jit(f)(one, s=rate),
    "jit of a static position": lambda f: jit(f, static_argnums=1)(one, rate),
    "jit of a pytree": lambda f: jit(lambda t: f(t["x"], t["s"][0]))({"x": one, "s": [rate]}),
    "stateful": lambda f: StatefulFunction(f)(one, rate),
    "stateful of a static position": lambda f: StatefulFunction(f, static_argnums=1)(one, rate),
    "make_jaxpr": lambda f: make_jaxpr(f)(one, rate),
    "eval_shape": lambda f: eval_shape(f, one, rate),
    "ahead of time": lambda f: jit(f).compile(one, rate)(one, rate),
    "checkpoint": lambda f: checkpoint(f)(one, rate),
    "checkpoint in jit": lambda f: jit(checkpoint(f))(one, rate),
    "checkpoint of a static position": lambda f: checkpoint(f, static_argnums=1)(one, rate),
    "lift": lambda f: lift(jax.checkpoint, f)(one, rate),
    "lift of what is touched": lambda f: lift(jax.jit, f, inputs="touched")(one, rate),
    "named_call": lambda f: named_call(f)(one, rate),
    "checkify": lambda f: checkify(f)(one, rate),
    "grad": lambda f: grad(f)(one, rate),
    "value_and_grad": lambda f: value_and_grad(f)(one, rate),
    "vector_grad": lambda f: vector_grad(f)(one, rate),
    "fwd_grad": lambda f: fwd_grad(f, key=jax.random.key(0))(one, rate),
    "jacrev": lambda f: jacrev(f)(one, rate),
    "jacfwd": lambda f: jacfwd(f)(one, rate),
    "hessian": lambda f: hessian(f)(one, rate),
    "vjp": lambda f: vjp(f, one, rate),
    "jvp": lambda f: jvp(f, (one, rate), (one, rate)),
    "linearize": lambda f: linearize(f, one, rate),
    "hvp": lambda f: hvp(f, (one, rate), (one, rate)),
    "custom_vjp": lambda f: custom(f)(one, rate),
    "custom_jvp": lambda f: forward(f)(one, rate),
    "vmap": lambda f: vmap(f, in_axes=(0, None))(jnp.ones(2), rate),
    "shard_map": lambda f: shard_map(f, mesh=MESH, in_specs=PartitionSpec(), out_specs=PartitionSpec())(one, rate),
    "for_loop": lambda f: for_loop(lambda t: f(*t), (jnp.ones(2), rate)),
    "checkpointed_for_loop": lambda f: checkpointed_for_loop(lambda t: f(*t), (jnp.ones(2), rate)),
    "map": lambda f: mapped(lambda t: f(*t), (jnp.ones(2), rate)),
    "scan": lambda f: scan(lambda c, x: ((f(*c), c[1]), x), (one, rate), jnp.ones(2)),
    "while_loop": lambda f: while_loop(lambda c: c[0] < 9.0, lambda c: (f(*c), c[1]), (one, rate)),
    "bounded_while_loop": lambda f: bounded_while_loop(
        lambda c: c[0] < 9.0, lambda c: (f(*c), c[1]), (one, rate), max_steps=2
    ),
    "fori_loop": lambda f: fori_loop(0, 2, lambda i, c: (f(*c), c[1]), (one, rate)),
    "cond": lambda f: cond(one > 0, f, f, one, rate),
    "switch": lambda f: switch(0, [f, f], one, rate),
    "ifelse": lambda f: ifelse([one > 0], [f, f], one, rate),
}


@each("call", CALLS.values(), ids=CALLS)
def test_it_is_the_very_value(call):
    w, seen = State(jnp.float32(2.0)), []

    def f(x, s):
        seen.append(s)
        return w.value * x * s.value

    call(f)
    assert seen
    assert all(type(s) is Static and s == rate for s in seen)


@each("wrap", [jit, checkpoint, StatefulFunction, lambda f: lift(jax.jit, f, inputs="touched")])
def test_the_result_is_that_of_plain_jax(wrap):
    f = lambda x, s: x * s.value
    assert wrap(f)(2.0, rate) == jax.jit(f)(2.0, rate) == 6.0
    assert wrap(f)(2.0, Static(4.0)) == 8.0
