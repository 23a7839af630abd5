"""What JAX keeps by the identity of a function, and the States that it reads: equal to the values threaded by hand.

The product: constructs of raw JAX and of libraries over it, whose function lives on; a State that our transforms know
beforehand, or meet while they trace (a stray); our transforms; and the order of uses.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

import brainstate_transform as bt
from tests.transform.engine.constructs import CONSTRUCTS, Use, X, known_or_stray

# -- transforms: each calls a function of one number at X, and returns its value there, and what `derivative` says -----


@dataclasses.dataclass
class Transform:
    """How a transform of ours is applied to a function of one number.

    Attributes:
        make: Of the function and the State, one that takes no argument and returns all that is compared.
        also: What is returned besides the value ``k * X``, given `k` and the derivative of `k` by the State.
    """

    make: Callable[[Use, Any], Callable[[], Any]]
    also: Callable[[float, float], list[float]] = lambda k, by: []


def _called(run: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    return lambda: [run(*args)]


def _gradient(f: Use, w: Any) -> Callable[[], Any]:
    run = bt.value_and_grad(f, w, argnums=0)

    def call() -> Any:
        value, (by_w, by_x) = run(X)
        return [value, by_w, by_x]

    return call


def _tangent(f: Use, w: Any) -> Callable[[], Any]:
    return lambda: [*bt.jvp(f, (X,), (jnp.float32(1.0),), wrt=w, state_tangents=jnp.float32(0.0))]


def _by_argument(f: Use, _: Any) -> Callable[[], Any]:
    run = bt.value_and_grad(f, argnums=0)
    return lambda: [*run(X)]


def _vjp(f: Use, _: Any) -> Callable[[], Any]:
    def call() -> Any:
        value, pull = bt.vjp(f, X)
        return [value, *pull(jnp.float32(1.0))]

    return call


def _with_rule(f: Use, _: Any) -> Callable[[], Any]:
    run = bt.custom_vjp(f)
    run.defvjp(lambda x: (f(x), ()), lambda _, ct: (7.0 * ct,))
    return _called(run, X)


def _sharded(f: Use, _: Any) -> Callable[[], Any]:
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    return _called(bt.shard_map(f, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False), X)


def _stateful(f: Use, _: Any) -> Callable[[], Any]:
    return _called(bt.StatefulFunction(f), X)


def _eager_then(outer: Any, inner: Transform) -> Transform:
    return Transform(lambda f, w: outer(inner.make(f, w)), inner.also)


SINGLE = {
    "jit": Transform(lambda f, _: _called(bt.jit(f), X)),
    "grad": Transform(_gradient, lambda k, by: [by * 2.0, k]),
    "jvp": Transform(_tangent, lambda k, by: [k]),
    "by_argument": Transform(_by_argument, lambda k, by: [k]),
    "vmap": Transform(lambda f, _: lambda: [*bt.vmap(f)(X[None])]),
    "scan": Transform(lambda f, _: lambda: [*bt.scan(lambda c, x: (c, f(x)), 0.0, X[None])[1]]),
    "for_loop": Transform(lambda f, _: lambda: [*bt.for_loop(f, X[None])]),
    "checkpoint": Transform(lambda f, _: _called(bt.checkpoint(f), X)),
    "cond": Transform(lambda f, _: lambda: [bt.cond(X > 0, f, lambda x: x, X)]),
    "stateful": Transform(_stateful),
    "vjp": Transform(_vjp, lambda k, by: [k]),
    "custom_vjp": Transform(_with_rule),
    "shard_map": Transform(_sharded),
}
TRANSFORMS = SINGLE | {
    "jit_grad": _eager_then(bt.jit, SINGLE["grad"]),
    "jit_vmap": _eager_then(bt.jit, SINGLE["vmap"]),
    "jit_scan": _eager_then(bt.jit, SINGLE["scan"]),
    "jit_checkpoint": _eager_then(bt.jit, SINGLE["checkpoint"]),
    "jit_jit": _eager_then(bt.jit, SINGLE["jit"]),
    "vmap_grad": Transform(
        lambda f, w: lambda: [v[0] for v in jax.tree.leaves(bt.vmap(bt.value_and_grad(f, argnums=0))(X[None]))],
        lambda k, by: [k],
    ),
}
# What differentiates by the State cannot be applied to these: JAX has no reverse derivative of a while loop, and a
# function with a derivative of its own has one by its arguments.
INSTEAD = {
    ("while_loop", "grad"): "jvp", ("while_loop", "jit_grad"): "jvp", ("while_loop", "by_argument"): "jvp",
    ("while_loop", "vmap_grad"): "jvp", ("while_loop", "vjp"): "jvp",
    **{(c, "grad"): "by_argument" for c in ("custom_jvp", "custom_vjp")},
    **{(c, "jit_grad"): "by_argument" for c in ("custom_jvp", "custom_vjp")},
    **{(c, "jvp"): "by_argument" for c in ("custom_jvp", "custom_vjp")},
}  # fmt: skip


# -- orders: each returns pairs of what was computed, and what it should be --------------------------------------------


def first_traced(use: Use, w: Any, transform: Transform) -> Any:
    run = transform.make(lambda x: use(x), w)
    yield run(), _expected(transform, 1.0, 1.0)
    w.value = jnp.float32(5.0)
    yield run(), _expected(transform, 5.0, 1.0)


def second_program(use: Use, w: Any, transform: Transform) -> Any:
    yield transform.make(lambda x: use(x), w)(), _expected(transform, 1.0, 1.0)
    w.value = jnp.float32(5.0)
    yield transform.make(lambda x: 1.0 * use(x), w)(), _expected(transform, 5.0, 1.0)
    w.value = jnp.float32(3.0)
    yield [use(X)], [6.0]  # JAX alone, for the first time


def first_eager(use: Use, w: Any, transform: Transform) -> Any:
    yield [use(X)], [2.0]
    run = transform.make(lambda x: use(x), w)
    yield run(), _expected(transform, 1.0, 1.0)
    yield [use(X)], [2.0]


def written_between(use: Use, w: Any, transform: Transform) -> Any:
    def twice(x: Any) -> Any:
        before = use(x)
        w.value = 5.0 * w.value
        return 10.0 * before + use(x)

    run = transform.make(twice, w)
    yield run(), _expected(transform, 15.0, 15.0)
    yield run(), _expected(transform, 75.0, 15.0)
    assert w.value == 25.0


ORDERS = (first_eager, first_traced, second_program, written_between)


def _expected(transform: Transform, k: float, by: float) -> list[float]:
    return [k * 2.0, *transform.also(k, by)]


PRODUCT = list(itertools.product(CONSTRUCTS, TRANSFORMS))
DEAR = ("diffrax", "optimistix")


def _usual(construct: str, transform: str) -> bool:
    if construct in DEAR:
        return transform == "jit_grad"
    return transform == "jit_grad" or construct == "scan" or (construct, transform) == ("checkpoint", "jit_scan")


@pytest.mark.parametrize(
    ("construct", "transform"),
    [pytest.param(*pair, marks=() if _usual(*pair) else pytest.mark.exhaustive) for pair in PRODUCT],
)
@pytest.mark.parametrize("kind", ["known", "stray"])
def test_equals_states_threaded_by_hand(construct: str, transform: str, kind: str) -> None:
    chosen = TRANSFORMS[INSTEAD.get((construct, transform), transform)]
    wrong = []
    for order in ORDERS:
        w, get = known_or_stray(kind)
        for step, (found, expected) in enumerate(order(CONSTRUCTS[construct](get), w, chosen)):
            if [float(jnp.squeeze(v)) for v in found] != pytest.approx(expected, rel=1e-3):
                wrong.append((order.__name__, step, found, expected))
    assert not wrong
