"""All transforms in one table, and models small enough to reason about.

Each ``wrap(f)`` takes a function of one scalar that returns a scalar, and returns a function that runs it exactly once
under the transform and returns what it returns.  So ``wrap(f)`` must be indistinguishable from ``f``.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from brainstate_graph import Node, Snapshot, State, clone, states
from brainstate_transform import (
    StatefulFunction,
    bounded_while_loop,
    checkify,
    checkpoint,
    checkpointed_for_loop,
    cond,
    custom_jvp,
    custom_vjp,
    for_loop,
    fori_loop,
    fwd_grad,
    hessian,
    hvp,
    ifelse,
    jacfwd,
    jacrev,
    jit,
    jvp,
    lift,
    linearize,
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


class Param(State):
    pass


class Count(State):
    pass


class Net(Node):
    """One parameter, one counter, one hyper-parameter."""

    def __init__(self, w=2.0):
        self.w = Param(jnp.asarray(w, jnp.float32))
        self.n = Count(jnp.zeros(()))
        self.rate = 1.0

    def __call__(self, x):
        self.n.value = self.n.value + 1.0
        return self.w.value * x * self.rate


class Stack(Node):
    def __init__(self, *widths):
        self.layers = [Net(w) for w in widths]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Tied(Node):
    def __init__(self, w=2.0):
        self.a = Net(w)
        self.b = Net(w)
        self.b.w = self.a.w

    def __call__(self, x):
        return self.b(self.a(x))


def _first(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


def _value_and_grad(f):
    both = value_and_grad(f)
    return lambda x: both(x)[0]


def _vmap(f):
    mapped = vmap(f, in_axes=None, axis_size=2)
    return lambda x: _first(mapped(x))


def _for_loop(f):
    return lambda x: _first(for_loop(f, jnp.reshape(x, (1,))))


def _cond(f):
    return lambda x: cond(x == x, f, f, x)


def _shard_map(f):
    mesh = jax.make_mesh((1,), ("one",), axis_types=(jax.sharding.AxisType.Auto,))
    # Draws that differ per shard have no place in a result that is the same on all.
    return shard_map(f, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), rngs="share")


def _second(f):
    return lambda *args: f(*args)[1]


def _hvp(f):
    def with_value(x):
        value = f(x)
        return value, value

    return lambda x: hvp(with_value, (x,), (jnp.ones_like(x),), has_aux=True)[1]


def _custom_vjp(f):
    made = custom_vjp(lambda x: f(x))
    made.defvjp(lambda x: (f(x), None), lambda residuals, ct: (ct,))
    return made


def _custom_jvp(f):
    made = custom_jvp(lambda x: f(x))
    made.defjvp(lambda primals, tangents: (f(*primals), tangents[0]))
    return made


TRANSFORMS = {
    "jit": jit,
    "jit_donating": lambda f: jit(f, donate_states=True),
    "value_and_grad": _value_and_grad,
    "vmap": _vmap,
    "for_loop": _for_loop,
    "cond": _cond,
    "checkpoint": checkpoint,
    "lift_jit": lambda f: lift(jax.jit, f, inputs="touched"),
    "stateful": StatefulFunction,
    # differentiating
    "vector_grad": lambda f: _second(vector_grad(f, return_value=True)),
    "fwd_grad": lambda f: _second(fwd_grad(f, key=jax.random.key(0), return_value=True)),
    "jacrev": lambda f: _second(jacrev(f, return_value=True)),
    "jacfwd": lambda f: _second(jacfwd(f, return_value=True)),
    "hessian": lambda f: _second(hessian(f, return_value=True)),
    "vjp": lambda f: lambda x: vjp(f, x)[0],
    "jvp": lambda f: lambda x: jvp(f, (x,), (jnp.ones_like(x),))[0],
    "linearize": lambda f: lambda x: linearize(f, x)[0],
    "hvp": _hvp,
    "custom_vjp": _custom_vjp,
    "custom_jvp": _custom_jvp,
    # mapping
    "shard_map": _shard_map,
}

# What they return must be a number, or arrays; nodes go as auxiliary output.
DERIVATIVES = (
    "value_and_grad",
    "vector_grad",
    "fwd_grad",
    "jacrev",
    "jacfwd",
    "hessian",
    "vjp",
    "jvp",
    "linearize",
    "hvp",
)

TRANSFORMS |= {
    "while_loop": lambda f: lambda x: while_loop(lambda c: c[0] < 1, lambda c: (c[0] + 1, f(c[1])), (0, x))[1],
    "bounded_while_loop": lambda f: (
        lambda x: bounded_while_loop(lambda c: c[0] < 1, lambda c: (c[0] + 1, f(c[1])), (0, x), max_steps=2)[1]
    ),
    "fori_loop": lambda f: lambda x: fori_loop(0, 1, lambda i, x: f(x), x),
    "checkpointed_for_loop": lambda f: lambda x: _first(checkpointed_for_loop(f, jnp.reshape(x, (1,)))),
    "map": lambda f: lambda x: _first(mapped(f, jnp.reshape(x, (1,)))),
}

TRANSFORMS |= {
    "switch": lambda f: lambda x: switch(1, [f, f, f], x),
    "ifelse": lambda f: lambda x: ifelse([x != x, x == x], [f, f], x),
    "checkify": lambda f: lambda x: checkify(f)(x)[1],
}

# A step of a loop cannot change the shape of a state, and what it returns is stacked or carried.
LOOPS = ("for_loop", "while_loop", "bounded_while_loop", "fori_loop", "checkpointed_for_loop", "map")


# Whose functions may not change the structure of their graph.
FROZEN = (*LOOPS, "cond", "switch", "ifelse", "stateful", "custom_vjp", "custom_jvp")

CORE = ("jit", "value_and_grad", "vmap", "for_loop", "cond", "checkpoint", "stateful")  # for products of two
# One of each implementation: the others differ from one of these in what they hand to JAX.
ONE_OF_EACH = (
    *CORE, "jit_donating", "lift_jit", "vjp", "jacrev", "linearize", "custom_vjp", "shard_map", "while_loop",
    "checkify",
)  # fmt: skip


def transforms(without=(), only=None, in_short=False):
    """One parameter `wrap` for each transform; `in_short` leaves all but one of each sort to `pytest -m exhaustive`."""
    names = _names(without, only)
    marks = {name: pytest.mark.exhaustive for name in names if in_short and name not in CORE}
    params = [pytest.param(TRANSFORMS[name], id=name, marks=marks.get(name, ())) for name in names]
    return pytest.mark.parametrize("wrap", params)


def each_transform():
    """All transforms in one case, for a law that takes no time."""
    names = _names((), None)
    return each("wrap", [TRANSFORMS[name] for name in names], ids=names)


def _names(without, only):
    assert set(without) | set(only or ()) <= set(TRANSFORMS)
    names = [name for name in TRANSFORMS if name not in without and (only is None or name in only)]
    if jax.config.jax_check_tracer_leaks or not Snapshot.enabled:  # where everything is slow, one of each sort
        names = [name for name in names if name in CORE]
    return names


def twin(node):
    """A copy whose arrays are copies too, so that one may be donated and the other not."""
    copy = clone(node)
    for state in states(copy).values():
        state.value = jax.tree.map(jnp.copy, state.value)
    return copy


def values(node):
    """The values of all states as plain arrays by path."""
    return {path: jax.device_get(state.value) for path, state in states(node).items()}


def same(left, right):
    """Whether two trees of arrays are the same, in structure, dtype and value."""
    jax.tree.map(lambda a, b: jnp.allclose(a, b), left, right)  # same structure, or raises
    a, b = jax.tree.leaves(left), jax.tree.leaves(right)
    return all(
        jnp.shape(x) == jnp.shape(y)
        and jnp.result_type(x) == jnp.result_type(y)
        and bool(jnp.allclose(x, y, rtol=1e-5))
        for x, y in zip(a, b, strict=True)
    )


def holds_tracer(node):
    return any(
        isinstance(leaf, jax.core.Tracer) for state in states(node).values() for leaf in jax.tree.leaves(state.value)
    )


class Runs:
    """Counts how often Python runs through it."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1

    def since(self):
        count, self.count = self.count, 0
        return count
