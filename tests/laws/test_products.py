"""Every transform under every other, against the same computation written by hand in plain JAX.

Compared are results, final states, random draws and gradients; also while JAX looks for leaked tracers, and where it
does not compile.  The whole table takes long: `pytest -n 2 -m exhaustive tests/laws/test_products.py`.
"""

from __future__ import annotations

import contextlib
import itertools

import jax
import jax.numpy as jnp
import pytest

from brainstate_graph import Node, State
from brainstate_transform import grad
from tests.laws.transforms import CORE, DERIVATIVES, ONE_OF_EACH, TRANSFORMS, Count, Param, holds_tracer, same

COMMON = ("jit", "value_and_grad", "vmap", "for_loop", "cond")
NOT_REVERSIBLE = {"while_loop", "fori_loop"}  # of unknown length, as in JAX
BY_RULE = {"custom_vjp", "custom_jvp"}  # whose rules in the table speak of no state; test_custom.py has those that do
MODES = {"compiled": contextlib.nullcontext, "leaks": jax.checking_leaks, "disabled": jax.disable_jit}


class Key(State):
    def draw(self):
        self.value, key = jax.random.split(self.value)
        return jax.random.uniform(key)


class Model(Node):
    def __init__(self):
        self.w = Param(jnp.float32(2.0))
        self.n = Count(jnp.float32(0.0))
        self.key = Key(jax.random.key(7))

    def __call__(self, x):
        noise = self.key.draw()
        self.w.value = self.w.value + 0.5 * x
        self.n.value = self.n.value + 1.0
        return self.w.value**2 * x * noise + self.n.value


def by_hand(w, n, key, x):
    key, sub = jax.random.split(key)
    w, n = w + 0.5 * x, n + 1.0
    return w**2 * x * jax.random.uniform(sub) + n, (w, n, key)


def agree(names, mode):
    """Run the model under the transforms, the first of them outermost, twice, and the plain computation beside it."""
    m = Model()
    f = m
    for name in reversed(names):
        f = TRANSFORMS[name](lambda x, f=f: f(x))
    own = Model()  # its arrays are nobody else's: some transforms give away those that they read
    w, n, key = own.w.value, own.n.value, own.key.value
    with MODES[mode]():
        for x in map(jnp.float32, (1.0, 2.0)):
            out = f(x)
            want, (w, n, key) = by_hand(w, n, key, x)
            assert same(out, want)
            assert same((m.w.value, m.n.value), (w, n))
            assert (jax.random.key_data(m.key.value) == jax.random.key_data(key)).all()
            assert not holds_tracer(m)
        if (NOT_REVERSIBLE | BY_RULE).isdisjoint(names):
            x = jnp.float32(3.0)
            want, (_, (w, n, _)) = jax.grad(by_hand, has_aux=True)(w, n, key, x), by_hand(w, n, key, x)
            assert same(grad(lambda: f(x), m.w)(), want[0])
            assert same((m.w.value, m.n.value), (w, n))


def parameters(combinations):
    return pytest.mark.parametrize("names", [pytest.param(c, id="/".join(c)) for c in combinations])


def possible(outer, inner):
    """Whether JAX has such a derivative, and such a mesh: an axis is mapped over once."""
    if outer == inner == "shard_map":
        return False
    return not (outer in DERIVATIVES and inner in NOT_REVERSIBLE | BY_RULE)


ALL = [names for names in itertools.product(TRANSFORMS, repeat=2) if possible(*names)]
IN_TURN = list(zip(COMMON, COMMON[1:] + COMMON[:1], strict=True))  # each of the common ones around another one
IN_SHORT = [
    n for n in ALL if (n[0] == "jit" and n[1] in ONE_OF_EACH) or (n[1] == "jit" and n[0] in COMMON) or n in IN_TURN
]
WITHOUT_COMPILING = [*IN_TURN, *((name, name) for name in COMMON)]


@parameters(IN_SHORT)
def test_two_deep(names):
    agree(names, "compiled")


@pytest.mark.exhaustive
@parameters([names for names in ALL if names not in IN_SHORT])
def test_two_deep_all(names):
    agree(names, "compiled")


THREE = list(itertools.product(COMMON, repeat=3))
THREE_IN_SHORT = [("jit", *inner) for inner in zip(COMMON[1:], COMMON[2:] + COMMON[1:2], strict=True)]


@parameters(THREE_IN_SHORT)
def test_three_deep(names):
    agree(names, "compiled")


@pytest.mark.exhaustive
@parameters([names for names in THREE if names not in THREE_IN_SHORT])
def test_three_deep_all(names):
    agree(names, "compiled")


@parameters(WITHOUT_COMPILING)
def test_two_deep_without_compiling(names):
    agree(names, "disabled")


@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", ["leaks", "disabled"])
@parameters([*IN_SHORT, *THREE])
def test_deep_otherwise(names, mode):
    agree(names, mode)


def test_the_table_has_the_common_ones():
    assert set(COMMON) <= set(CORE) <= set(TRANSFORMS)
