"""What JAX keeps by the identity of a function, and the States that it reads: equal to the values threaded by hand.

The product: constructs of raw JAX and of libraries over it, whose function lives on; a State that our transforms know
beforehand, or meet while they trace (a stray); our transforms; and the order of uses.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import gc
import itertools
import weakref
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
import pytest

import brainstate_nn as nn
import brainstate_transform as bt
from brainstate_graph import Overlay, State, treefy_merge, treefy_split

Get = Callable[[], Any]
Use = Callable[[Any], Any]
X = jnp.float32(2.0)


# -- constructs: each returns a function that computes ``w * x``, and keeps its inner functions from use to use --------


def of_scan(get: Get) -> Use:
    def body(c: Any, x: Any) -> Any:
        return c, get().value * x

    return lambda x: jax.lax.scan(body, 0.0, x[None])[1][0]


def of_cond(get: Get) -> Use:
    def true(x: Any) -> Any:
        return get().value * x

    def false(x: Any) -> Any:
        return -get().value * x

    return lambda x: jax.lax.cond(x > -100.0, true, false, x)


def of_switch(get: Get) -> Use:
    branches = [lambda x: -x, lambda x: get().value * x, lambda x: x]
    return lambda x: jax.lax.switch(jnp.where(x > -100.0, 1, 0), branches, x)


def of_while(get: Get) -> Use:
    def test(c: Any) -> Any:
        return c[0] < 1

    def body(c: Any) -> Any:
        return c[0] + 1, get().value * c[1]

    return lambda x: jax.lax.while_loop(test, body, (0, x))[1]


def of_fori(get: Get) -> Use:
    def body(_: Any, x: Any) -> Any:
        return get().value * x

    return lambda x: jax.lax.fori_loop(0, 1, body, x)


def of_map(get: Get) -> Use:
    def one(x: Any) -> Any:
        return get().value * x

    return lambda x: jax.lax.map(one, x[None])[0]


def of_checkpoint(get: Get) -> Use:
    return jax.checkpoint(lambda x: get().value * x)


def of_jit(get: Get) -> Use:
    return jax.jit(lambda x: get().value * x)


def of_custom_jvp(get: Get) -> Use:
    fun = jax.custom_jvp(lambda x: get().value * x)
    fun.defjvp(lambda primals, tangents: (get().value * primals[0], get().value * tangents[0]))
    return fun


def of_custom_vjp(get: Get) -> Use:
    fun = jax.custom_vjp(lambda x: get().value * x)
    fun.defvjp(lambda x: (get().value * x, get().value), lambda w, ct: (w * ct,))
    return fun


def of_equinox(get: Get) -> Use:
    return eqx.filter_jit(lambda x: get().value * x)


def of_diffrax(get: Get) -> Use:
    def field(_: Any, y: Any, __: Any) -> Any:
        return (get().value - 1.0) * y

    term = diffrax.ODETerm(field)
    return lambda x: diffrax.diffeqsolve(term, diffrax.Euler(), 0.0, 1.0, 1.0, x).ys[-1]


def of_optimistix(get: Get) -> Use:
    def fun(y: Any, x: Any) -> Any:
        return y - get().value * x

    return lambda x: optx.root_find(fun, optx.Newton(1e-3, 1e-3), 0.0 * x, args=x).value


CONSTRUCTS = {
    "scan": of_scan, "cond": of_cond, "switch": of_switch, "while_loop": of_while, "fori_loop": of_fori, "map": of_map,
    "checkpoint": of_checkpoint, "jit": of_jit, "custom_jvp": of_custom_jvp, "custom_vjp": of_custom_vjp,
    "equinox": of_equinox, "diffrax": of_diffrax, "optimistix": of_optimistix,
}  # fmt: skip


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
    ("while_loop", "vmap_grad"): "jvp",
    **{(c, "grad"): "by_argument" for c in ("custom_jvp", "custom_vjp")},
    **{(c, "jit_grad"): "by_argument" for c in ("custom_jvp", "custom_vjp")},
    **{(c, "jvp"): "by_argument" for c in ("custom_vjp",)},
}  # fmt: skip


@dataclasses.dataclass(slots=True)
class Slots:
    w: State[Any]


def known_or_stray(kind: str) -> tuple[State[Any], Get]:
    held = Slots(State(jnp.float32(1.0)))
    w = held.w
    return w, (lambda: w) if kind == "known" else (lambda: held.w)


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
    return transform in ("jit", "jit_grad", "jit_scan") or construct in ("scan", "checkpoint")


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


# -- beside the product ------------------------------------------------------------------------------------------------


class Field(nn.Module):
    """A vector field."""

    def __init__(self) -> None:
        self.hidden = nn.Linear(2, 8, rng=nn.RandomState(0))
        self.out = nn.Linear(8, 2, rng=nn.RandomState(1))

    def __call__(self, t: Any, y: Any, args: Any) -> Any:
        return self.out(jnp.tanh(self.hidden(y)))


def _solved(field: Any, y: Any) -> Any:
    return diffrax.diffeqsolve(diffrax.ODETerm(field), diffrax.Heun(), 0.0, 1.0, 0.25, y).ys[-1]


def test_a_neural_ode_with_a_module_as_vector_field_is_trained() -> None:
    y, goal = jnp.ones(2), jnp.array([0.5, -0.5])
    field, by_hand = Field(), Field()
    term = diffrax.ODETerm(field)  # lives on

    def train(net: Any, solve: Callable[[], Any]) -> list[float]:
        params = net.states(nn.ParamState)

        @bt.jit
        def step() -> Any:
            loss, grads = bt.value_and_grad(lambda: jnp.sum((solve() - goal) ** 2), params)()
            for path, grad in grads.items():
                params[path].value -= 0.1 * grad
            return loss

        return [float(step()) for _ in range(5)]

    def solve() -> Any:
        return diffrax.diffeqsolve(term, diffrax.Heun(), 0.0, 1.0, 0.25, y).ys[-1]

    graphdef, tree = treefy_split(by_hand)

    @jax.jit
    def step_by_hand(tree: Any) -> Any:
        def loss_of(tree: Any) -> Any:
            net = treefy_merge(graphdef, tree)
            return jnp.sum((_solved(lambda t, y, args: net(t, y, args), y) - goal) ** 2)

        loss, grads = jax.value_and_grad(loss_of)(tree)
        return loss, jax.tree.map(lambda w, g: w - 0.1 * g, tree, grads)

    expected = []
    for _ in range(5):
        loss, tree = step_by_hand(tree)
        expected.append(float(loss))
    assert train(field, solve) == pytest.approx(expected, rel=1e-5)
    assert expected[-1] < 0.5 * expected[0]


def test_what_would_be_traced_at_each_call_is_compiled() -> None:
    w, get = known_or_stray("known")
    block = of_checkpoint(get)
    runs: list[None] = []

    def loss(x: Any) -> Any:
        runs.append(None)
        return block(x) + 0.0 * w.value

    gradient = bt.grad(loss, w)
    for value in (1.0, 2.0, 3.0, 4.0):
        w.value = jnp.float32(value)
        assert float(gradient(X)) == 2.0
    assert len(runs) == 1 + 1  # as it is, and compiled
    assert float(bt.value_and_grad(lambda x: loss(x), argnums=0)(X)[1]) == 4.0


def test_what_needs_values_stays_as_it_is() -> None:
    w, get = known_or_stray("known")
    block = of_checkpoint(get)

    def loss(x: Any, name: str) -> Any:
        return block(x) if name == "block" else x

    for value in (1.0, 2.0, 3.0):
        w.value = jnp.float32(value)
        assert float(bt.grad(loss)(X, "block")) == value


def test_two_uses_in_one_trace_share_what_jax_keeps() -> None:
    w, get = known_or_stray("known")
    runs: list[None] = []

    def one(x: Any) -> Any:
        runs.append(None)
        return get().value * x

    block = jax.checkpoint(one)
    for _ in range(2):
        runs.clear()
        assert float(bt.jit(lambda x: block(block(x)) + 0.0 * w.value)(X)) == 2.0 * float(w.value) ** 2
        assert len(runs) == 1
        w.value = jnp.float32(3.0)


def test_our_own_functions_are_found_again_between_writes() -> None:
    w, get = known_or_stray("known")
    block = of_checkpoint(get)
    runs: list[None] = []

    @bt.jit
    def inner(x: Any) -> Any:
        runs.append(None)
        return block(x) + 0.0 * w.value

    @bt.jit
    def outer(x: Any) -> Any:
        for _ in range(3):
            x = inner(block(x))
            w.value = 2.0 * w.value
        return x

    assert float(outer(X)) == 2.0 * 1.0 * 2.0**2 * 4.0**2
    assert len(runs) == 1


def test_an_error_leaves_no_token() -> None:
    w, get = known_or_stray("known")
    block = of_checkpoint(get)
    seen: list[None] = []

    @jax.jit
    def outside(x: Any) -> Any:
        seen.append(None)
        return x

    def wrong(x: Any) -> Any:
        block(x)
        raise ZeroDivisionError

    outside(X)
    with pytest.raises(ZeroDivisionError):
        bt.jit(wrong)(X)
    outside(X)
    assert len(seen) == 1  # as before, JAX finds it
    assert float(bt.jit(lambda x: block(x))(X)) == 2.0
    w.value = jnp.float32(3.0)
    assert float(bt.jit(lambda x: block(x))(X)) == 6.0


def test_threads_do_not_meet() -> None:
    w, get = known_or_stray("known")
    blocks = [of_scan(get), of_checkpoint(get), of_jit(get)]

    def run(number: int) -> list[float]:
        found = []
        for n in range(8):
            step = bt.jit(lambda x, k=float(number * 8 + n): sum(block(k * x) for block in blocks))
            found.append(float(step(X)) / (3 * 2 * float(w.value)) - (number * 8 + n))
        return found

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert [v for each in pool.map(run, range(8)) for v in each] == pytest.approx([0.0] * 64, abs=1e-4)


def test_a_generator_that_is_left_open_keeps_no_token() -> None:
    _, get = known_or_stray("known")
    block = of_checkpoint(get)

    def numbers() -> Any:
        with Overlay():
            yield block(X)
            yield block(X)

    def use(x: Any) -> Any:
        running.append(numbers())
        return next(running[-1]) * x

    running: list[Any] = []
    for _ in range(2):
        assert float(bt.jit(lambda x: use(x))(X)) == 4.0
    running.clear()
    assert float(bt.jit(lambda x: block(x))(X)) == 2.0


def test_states_that_were_constants_are_let_go() -> None:
    def run() -> weakref.ref[Any]:
        w, get = known_or_stray("known")
        block = of_checkpoint(get)
        assert float(bt.jit(lambda x: block(x))(X)) == 2.0
        return weakref.ref(w)

    gone = run()
    gc.collect()
    assert gone() is None


def test_where_jax_does_not_compile() -> None:
    w, get = known_or_stray("known")
    block = of_scan(get)
    with jax.disable_jit():
        for value in (1.0, 5.0):
            w.value = jnp.float32(value)
            assert float(bt.jit(lambda x: block(x) + bt.grad(block)(x))(X)) == 3.0 * value
