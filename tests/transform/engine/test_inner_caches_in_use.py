"""What JAX keeps by the identity of a function: how our transforms keep to it, beside the product of all cases."""

from __future__ import annotations

import concurrent.futures
import gc
import weakref
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import pytest

import brainstate_nn as nn
import brainstate_transform as bt
from brainstate_graph import Overlay, State, treefy_merge, treefy_split
from tests.tables import each
from tests.transform.engine.constructs import X, known_or_stray, of_checkpoint, of_jit, of_scan


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


def test_what_an_inner_transform_has_bound_is_not_found_around_it() -> None:
    w, get = known_or_stray("known")
    block = of_scan(get)

    def step(x: Any) -> Any:
        gradient = bt.grad(block, w)(x)
        return gradient + 10.0 * block(x)

    assert float(bt.jit(step)(X)) == 2.0 + 20.0
    assert float(bt.jit(lambda x: step(x))(X)) == 2.0 + 20.0


def test_what_a_function_of_ours_has_read_inside_is_not_found_after_a_write() -> None:
    w, get = known_or_stray("known")
    block = of_checkpoint(get)
    inside = bt.jit(lambda x: block(x))

    @bt.jit
    def step(x: Any) -> Any:
        before = inside(x)
        w.value = jnp.float32(5.0)
        return before + 10.0 * block(x)

    assert float(step(X)) == 2.0 + 100.0


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


OURS = {
    "jit": lambda f: bt.jit(f),
    "grad": lambda f: lambda x: bt.value_and_grad(f)(x)[0],
    "vmap": lambda f: lambda x: bt.vmap(f)(x[None])[0],
    "for_loop": lambda f: lambda x: bt.for_loop(f, x[None])[0],
    "cond": lambda f: lambda x: bt.cond(x > -100.0, f, lambda x: x, x),
    "checkpoint": lambda f: bt.checkpoint(f),
}


@pytest.mark.parametrize("inner", OURS)
@pytest.mark.parametrize("outer", ["jit", "grad", "vmap"])
def test_ours_inside_of_what_jax_keeps_inside_of_ours(outer: str, inner: str) -> None:
    w, get = known_or_stray("known")
    block = jax.checkpoint(lambda x: OURS[inner](lambda x: get().value * x)(x))

    def twice(x: Any) -> Any:
        before = block(x)
        w.value = 5.0 * w.value
        return 10.0 * before + block(x)

    for value in (1.0, 3.0):
        w.value = jnp.float32(value)
        assert float(OURS[outer](lambda x: twice(x))(X)) == 2.0 * 15.0 * value
        assert w.value == 5.0 * value


@each(
    "wrap", [bt.jit, lambda f: lambda: bt.for_loop(f, length=1), bt.checkpoint], ids=["jit", "for_loop", "checkpoint"]
)
def test_what_a_transform_inside_writes_is_seen_by_a_raw_scan_after_it(wrap):
    s, xs = State(1.0), jnp.arange(3.0)

    def body(total, x):
        return total + s.value * x, None

    @wrap
    def write():
        s.value = s.value + 1.0

    @bt.jit
    def f():
        totals = [jax.lax.scan(body, 0.0, xs)[0]]
        for _ in range(2):
            write()
            totals.append(jax.lax.scan(body, 0.0, xs)[0])
        return totals

    assert [[float(total) for total in f()] for _ in range(2)] == [[3.0, 6.0, 9.0], [9.0, 12.0, 15.0]]
