"""All transforms in one table, and models small enough to reason about.

Each ``wrap(f)`` takes a function of one scalar that returns a scalar, and returns a function that runs it exactly once
under the transform and returns what it returns.  So ``wrap(f)`` must be indistinguishable from ``f``.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import Node, State, clone, states
from brainstate_transform import (
    StatefulFunction,
    checkpoint,
    cond,
    for_loop,
    jit,
    lift,
    value_and_grad,
    vmap,
)


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
}


CORE = ("jit", "value_and_grad", "vmap", "for_loop", "cond", "checkpoint", "stateful")  # for products of two


def transforms(without=()):
    """One parameter `wrap` for each transform."""
    assert set(without) <= set(TRANSFORMS)
    params = [pytest.param(wrap, id=name) for name, wrap in TRANSFORMS.items() if name not in without]
    return pytest.mark.parametrize("wrap", params)


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
