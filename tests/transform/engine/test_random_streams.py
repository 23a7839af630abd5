"""Random streams under every transform: the same draws as plain Python, or other ones in each lane, by table."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import Node
from brainstate_transform import (
    StatefulFunction,
    checkpoint,
    cond,
    for_loop,
    grad,
    jit,
    make_jaxpr,
    scan,
    value_and_grad,
    vmap,
)
from tests.laws.transforms import Runs, holds_tracer
from tests.tables import each

SEED = 3
XS = jnp.arange(1.0, 5.0)
one = jnp.float32(1.0)


def fraction(key):
    """A number in [0, 1) from the bits of a key: to compile normal numbers takes longer than all else here."""
    return (jax.random.key_data(key)[-1] >> 8).astype(jnp.float32) / 2**24


def draw(rng):
    """Two draws, in an order that shows."""
    return fraction(rng.split_key()) + 2.0 * fraction(rng.split_key())


def numbers(seed, count):
    """What plain Python draws: the oracle."""
    rng = nn.RandomState(seed)
    return [float(draw(rng)) for _ in range(count)]


def used(rng):
    return int(rng.value[1])


def position(rng):
    key, count = rng.value
    return jax.random.key_data(key).tolist(), int(count)


class Row(NamedTuple):
    """One way to run something that draws.

    Attributes:
        run: ``run(f, x)`` with ``f(x)`` drawing once: runs it under a transform and returns what it returns.
        times: How often `f` runs, in order; its results are stacked where more than once.
    """

    run: Any
    times: int = 1


def _grad_value(f, x):
    return value_and_grad(lambda x: f(x) * x)(x)[0] / x


def _grad_aux(f, x):
    return grad(lambda x: (x, f(x)), has_aux=True)(x)[1]


def _scan(f, x):
    return scan(lambda carry, x: (carry, f(x)), 0.0, jnp.full(3, x))[1]


# The same draws as plain Python, and the stream is left where plain Python leaves it. A transform to come adds a line.
SAME = {
    "jit": Row(lambda f, x: jit(f)(x)),
    "jit, donating": Row(lambda f, x: jit(f, donate_states=True)(x)),
    "stateful": Row(lambda f, x: StatefulFunction(f)(x)),
    "value_and_grad": Row(_grad_value),
    "grad with aux": Row(_grad_aux),
    "checkpoint": Row(lambda f, x: checkpoint(f)(x)),
    "cond, true": Row(lambda f, x: cond(True, f, lambda x: x, x)),
    "cond, false": Row(lambda f, x: cond(False, lambda x: x, f, x)),
    "for_loop": Row(lambda f, x: for_loop(f, jnp.full(3, x)), 3),
    "for_loop, length": Row(lambda f, x: for_loop(lambda: f(x), length=3), 3),
    "for_loop, unrolled": Row(lambda f, x: for_loop(f, jnp.full(3, x), unroll=2), 3),
    "scan": Row(_scan, 3),
    "jit(for_loop)": Row(lambda f, x: jit(lambda: for_loop(f, jnp.full(3, x)))(), 3),
    "for_loop(jit)": Row(lambda f, x: for_loop(jit(f), jnp.full(3, x)), 3),
    "jit(grad(checkpoint))": Row(lambda f, x: jit(_grad_aux, static_argnums=0)(checkpoint(f), x)),
    "for_loop(cond)": Row(lambda f, x: for_loop(lambda x: cond(x > 0.0, f, lambda x: x, x), jnp.full(3, x)), 3),
}

FEW = ("jit", "grad with aux", "cond, false", "for_loop(cond)")
same_draws = pytest.mark.parametrize("row", SAME.values(), ids=SAME)
few_same_draws = pytest.mark.parametrize("row", [SAME[name] for name in FEW], ids=FEW)


@same_draws
def test_the_draws_are_those_of_plain_python(row):
    rng, oracle = nn.RandomState(SEED), nn.RandomState(SEED)
    f = lambda x: draw(rng) + 0.0 * x
    for _ in range(2):  # cold and warm
        got = np.atleast_1d(row.run(f, one))
        np.testing.assert_allclose(got, [float(draw(oracle)) for _ in range(row.times)], rtol=1e-5)
        assert position(rng) == position(oracle)


@same_draws
def test_with_jit_disabled_the_draws_are_the_same(row):
    rng, oracle = nn.RandomState(SEED), nn.RandomState(SEED)
    with jax.disable_jit():
        got = np.atleast_1d(row.run(lambda x: draw(rng) + 0.0 * x, one))
    np.testing.assert_allclose(got, [float(draw(oracle)) for _ in range(row.times)], rtol=1e-5)
    assert position(rng) == position(oracle)


@pytest.mark.parametrize("name", ["jit", "checkpoint", "cond, true", "for_loop"])
def test_the_default_stream_is_no_other(name):
    row = SAME[name]
    nn.seed(SEED)
    got = np.atleast_1d(row.run(lambda x: draw(nn.default_rng()) + 0.0 * x, one))
    np.testing.assert_allclose(got, numbers(SEED, row.times), rtol=1e-5)
    assert used(nn.default_rng()) == 2 * row.times


@few_same_draws
def test_a_stream_of_a_model_goes_along_as_argument(row):
    class Noisy(Node):
        def __init__(self):
            self.rng = nn.RandomState(SEED)

        def __call__(self, x):
            return draw(self.rng) + 0.0 * x

    model = Noisy()
    outer = jit(lambda model: row.run(model, one))
    got = np.atleast_1d(outer(model))
    np.testing.assert_allclose(got, numbers(SEED, row.times), rtol=1e-5)
    assert used(model.rng) == 2 * row.times
    other = Noisy()  # the same program, another stream
    np.testing.assert_allclose(np.atleast_1d(outer(other)), got, rtol=1e-6)
    assert used(model.rng) == 2 * row.times


@few_same_draws
def test_an_exception_leaves_the_stream_as_it_was(row):
    rng = nn.RandomState(SEED)
    rng.normal()
    before = position(rng)

    def f(x):
        draw(rng)
        raise KeyError("no")

    with pytest.raises(KeyError):
        row.run(f, one)
    assert position(rng) == before
    assert not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(rng.value))


def test_an_exception_of_jax_leaves_the_stream_as_it_was():
    rng = nn.RandomState(SEED)
    with pytest.raises(ValueError, match=r"out_axes|axis"):
        vmap(lambda x: draw(rng), out_axes=7)(XS)  # found after the function has run
    assert used(rng) == 0


# ------------------------------------------------------------------------------------------------ branches


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jitted"])
@pytest.mark.parametrize("taken", [True, False])
def test_only_the_branch_that_is_taken_draws(taken, compiled):
    rng = nn.RandomState(SEED)

    def run(pred):
        return cond(pred, lambda: draw(rng) + draw(rng), lambda: fraction(rng.split_key()))

    oracle = nn.RandomState(SEED)
    want = draw(oracle) + draw(oracle) if taken else fraction(oracle.split_key())
    got = (jit(run) if compiled else run)(jnp.array(taken))
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert position(rng) == position(oracle)


def test_a_branch_that_draws_beside_one_that_does_not():
    rng = nn.RandomState(SEED)
    got = for_loop(lambda x: cond(x > 2.0, lambda: draw(rng), lambda: 0.0), XS)
    np.testing.assert_allclose(got, [0.0, 0.0, *numbers(SEED, 2)], rtol=1e-5)
    assert used(rng) == 4


# ------------------------------------------------------------------------------------------------ derivatives


def test_recomputing_draws_the_same_again():
    def make(wrap):
        rng = nn.RandomState(SEED)
        f = wrap(lambda x: jnp.sin(x * rng.normal()) * rng.uniform())
        return grad(lambda x: f(x) * x)(one), position(rng)

    def plain(x):
        rng = nn.RandomState(SEED)
        return jnp.sin(x * rng.normal()) * rng.uniform() * x

    for wrap in (lambda f: f, checkpoint, lambda f: checkpoint(f, policy=jax.checkpoint_policies.nothing_saveable)):
        got, where = make(wrap)
        np.testing.assert_allclose(got, jax.grad(plain)(one), rtol=1e-6)
        assert where[1] == 2


def test_the_derivative_of_a_derivative_draws_once():
    rng = nn.RandomState(SEED)
    noise = nn.RandomState(SEED).normal()
    got = grad(grad(lambda x: jnp.sin(x) * rng.normal()))(one)
    np.testing.assert_allclose(got, -jnp.sin(one) * noise, rtol=1e-6)
    assert used(rng) == 1


def test_a_parameter_is_drawn_and_differentiated_at_once():
    rng, w = nn.RandomState(SEED), nn.ParamState(jnp.float32(2.0))
    value, slope = value_and_grad(lambda: w.value**2 * rng.normal(), w)()
    noise = nn.RandomState(SEED).normal()
    np.testing.assert_allclose([value, slope], [4.0 * noise, 4.0 * noise], rtol=1e-6)
    assert used(rng) == 1


# ------------------------------------------------------------------------------------------------ lanes


# Other draws in each lane; the common stream moves on by one, whatever the lanes draw. A transform to come adds a line.
LANES = {
    "vmap": lambda f, xs: vmap(f)(xs),
    "jit(vmap)": lambda f, xs: jit(vmap(f))(xs),
    "vmap(jit)": lambda f, xs: vmap(jit(f))(xs),
    "vmap(checkpoint)": lambda f, xs: vmap(checkpoint(f))(xs),
    "vmap(grad)": lambda f, xs: vmap(grad(lambda x: (x, f(x)), has_aux=True))(xs)[1],
    "vmap(cond)": lambda f, xs: vmap(lambda x: cond(True, f, lambda x: x, x))(xs),
    "vmap(for_loop)": lambda f, xs: vmap(lambda x: for_loop(f, x[None])[0])(xs),
    "for_loop(vmap)": lambda f, xs: for_loop(vmap(f), xs[None])[0],
}
lanes = pytest.mark.parametrize("run", LANES.values(), ids=LANES)


@lanes
def test_each_lane_draws_its_own(run):
    rng = nn.RandomState(SEED)
    f = lambda x: draw(rng) + 0.0 * x
    first, second = run(f, XS), run(f, XS)
    assert len({*first.tolist(), *second.tolist()}) == 8
    assert used(rng) == 2


@lanes
def test_a_lane_draws_the_same_however_many_there_are_and_however_they_are_mapped(run):
    two, four = nn.RandomState(SEED), nn.RandomState(SEED)
    got = run(lambda x: draw(two) + 0.0 * x, XS[:2])
    np.testing.assert_allclose(got, vmap(lambda x: draw(four) + 0.0 * x)(XS)[:2], rtol=1e-5)
    assert position(two) == position(four)


def test_a_lane_that_draws_more_often_moves_the_stream_no_further():
    few, many = nn.RandomState(SEED), nn.RandomState(SEED)
    vmap(lambda x: fraction(few.split_key()) + 0.0 * x)(XS)
    vmap(lambda x: sum(fraction(many.split_key()) for _ in range(5)) + 0.0 * x)(XS)
    assert position(few) == position(many)


def test_lanes_of_lanes_all_differ():
    rng = nn.RandomState(SEED)
    nested = vmap(vmap(lambda x: draw(rng) + 0.0 * x))
    got = nested(jnp.zeros((3, 4)))
    assert len(set(got.ravel().tolist())) == 12
    assert used(rng) == 1


def test_a_stream_that_no_lane_draws_from_stays():
    rng = nn.RandomState(SEED)
    vmap(lambda x: draw(rng) if x is None else x)(XS)
    assert used(rng) == 0


# ------------------------------------------------------------------------------------------------ looking only


# Ways to look at a function that must not draw. A helper to come adds a line.
LOOKING = {
    "trace": lambda f, x: jit(f).trace(x),
    "lower": lambda f, x: jit(f).lower(x),
    "compile": lambda f, x: jit(f).compile(x),
    "eval_shape": lambda f, x: jit(f).eval_shape(x),
    "make_jaxpr": lambda f, x: make_jaxpr(f)(x),
    "StatefulFunction": lambda f, x: StatefulFunction(f).make_jaxpr(x),
    "out shapes": lambda f, x: StatefulFunction(f).get_out_shapes(x),
    "many states": lambda f, x: jit(lambda x: f(x) + sum(s.value for s in MANY[:2])).compile(x),
}
MANY = [nn.HiddenState(jnp.zeros(())) for _ in range(40)]


@pytest.mark.parametrize("look", LOOKING.values(), ids=LOOKING)
def test_looking_draws_nothing(look):
    rng = nn.RandomState(SEED)
    look(lambda x: draw(rng) + x, one)
    assert position(rng) == position(nn.RandomState(SEED))
    assert not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(rng.value))


def test_looking_inside_a_trace_draws_nothing_there():
    rng = nn.RandomState(SEED)
    inner = jit(lambda x: draw(rng) + x)

    @jit
    def outer(x):
        inner.eval_shape(x)
        return inner(x)

    np.testing.assert_allclose(outer(0.0), numbers(SEED, 1)[0], rtol=1e-6)
    assert used(rng) == 2


# ------------------------------------------------------------------------------------------------ traces


@pytest.mark.counts_traces
@each("made, traces", [(False, 2), (True, 1)], ids=["made by the trace", "there before"])
def test_the_stream_of_the_process_is_passed_from_its_first_draw_on(made, traces, monkeypatch):
    """The trace that makes it is given up, and made again with the stream as an argument."""
    monkeypatch.setattr("brainstate_nn._core.random._default", nn.RandomState(0) if made else None)
    runs = Runs()

    @jit
    def f(x):
        runs()
        return x + nn.default_rng().normal()

    f(one)
    nn.seed(SEED)
    f(one)
    assert runs.count == traces


@pytest.mark.counts_traces
def test_seeding_anew_does_not_trace_anew_and_repeats_the_draws():
    rng, runs = nn.RandomState(SEED), Runs()

    @jit
    def f(x):
        runs()
        return draw(rng) + x

    first = [float(f(one)) for _ in range(3)]
    rng.seed(SEED)
    assert [float(f(one)) for _ in range(3)] == first
    assert runs.count == 1


@pytest.mark.parametrize("row", [SAME["jit"], SAME["for_loop"], SAME["checkpoint"]], ids=["jit", "for_loop", "remat"])
def test_nothing_leaks(row):
    rng = nn.RandomState(SEED)
    with jax.checking_leaks():
        row.run(lambda x: draw(rng) + x, one)
    assert not holds_tracer([rng])
