"""What functions give beside their results, without a model around them; test_capture_in_loops.py has one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State, StructureError
from brainstate_transform import Collector, collectors, cond, for_loop, fori_loop, grad, jit, scan, vmap, while_loop
from tests.tables import each

XS = jnp.arange(1.0, 4.0)
everywhere = Collector()


def give_square(x):
    return everywhere.give("square", x * x) + 1


@each(
    "run",
    [
        for_loop,
        lambda f, xs: jit(lambda xs: for_loop(f, xs))(xs),
        lambda f, xs: vmap(f)(xs),
        lambda f, xs: jit(vmap(f))(xs),
    ],
)
def test_a_collector_that_is_reached_by_a_global_name(run):
    for _ in range(2):
        everywhere.given.clear()
        with everywhere.active():
            assert run(give_square, XS).tolist() == [2.0, 5.0, 10.0]
        assert [v.tolist() for v in everywhere.values()["square"]] == [[1.0, 4.0, 9.0]]


def test_collectors_are_active_in_their_block():
    one, other = Collector(), Collector()
    with one.active():
        with pytest.raises(ZeroDivisionError), other.active():
            1 / len(collectors()[2:])
        assert collectors() == (one,)
    assert collectors() == ()


def test_two_collectors_one_of_which_is_not_given_anything():
    one, other = Collector(), Collector()
    with one.active(), other.active():
        total, _ = scan(lambda c, x: (one.give("c", c) + x, None), 0.0, XS)
    assert float(total) == 6.0
    assert [v.tolist() for v in one.values()["c"]] == [[0.0, 1.0, 3.0]]
    assert other.values() == {}


# What a function gives as "y", on the inputs, and the same with `d` added, by hand.
ADDED = {
    "plain": (lambda c, x: c.give("y", x) ** 2, lambda x, d: (x + d) ** 2),
    "for_loop": (lambda c, x: for_loop(lambda v: c.give("y", v) ** 2, x), lambda x, d: (x + d) ** 2),
    "vmap": (lambda c, x: vmap(lambda v: c.give("y", v) ** 2)(x), lambda x, d: (x + d) ** 2),
    "cond": (lambda c, x: cond(x[0] > 0, lambda x: c.give("y", x) ** 2, lambda x: x, x), lambda x, d: (x + d) ** 2),
    "cond not taken": (lambda c, x: cond(x[0] < 0, lambda x: c.give("y", x) ** 2, lambda x: x, x), lambda x, d: x),
    "fori_loop": (
        lambda c, x: fori_loop(0, 3, lambda i, t: t * c.give("y", x[i]), 1.0),
        lambda x, d: jnp.prod(x + d),
    ),
    "compiled": (lambda c, x: jit(lambda x: c.give("y", x) ** 2)(x), lambda x, d: (x + d) ** 2),
}


@each("how", list(ADDED), ids=list(ADDED))
def test_what_is_added_is_differentiated_as_by_hand(how):
    fun, by_hand = ADDED[how]
    weight = jnp.array([2.0, -1.0, 0.5])

    def ours(d):
        collector = Collector({"y": [d]})
        with collector.active():
            return (fun(collector, XS) * weight).sum()

    for run in (lambda f: f, jit):
        for d in (jnp.zeros(3), jnp.array([0.1, 0.2, 0.3])):
            value, slope = run(grad(ours, return_value=True))(d)[::-1]
            want, slope_by_hand = jax.value_and_grad(lambda d: (by_hand(XS, d) * weight).sum())(d)
            np.testing.assert_allclose(value, want, rtol=1e-6)
            np.testing.assert_allclose(slope, slope_by_hand, rtol=1e-6)


def test_what_is_added_goes_to_values_in_their_order():
    collector = Collector({"y": [1.0, 2 * XS, 3.0]})
    with collector.active():
        out = (
            collector.give("y", 0.0),
            for_loop(lambda x: collector.give("y", x), XS).tolist(),
            collector.give("y", 0.0),
            collector.give("y", 0.0),
            collector.give("other", 0.0),
        )
    assert tuple([x if isinstance(x, list) else float(x) for x in out]) == (1.0, (3 * XS).tolist(), 3.0, 0.0, 0.0)


@each(
    ("run", "words"),
    [
        (lambda c: c.give("y", XS), r"y is f32\[3\], to which f32\[2\] cannot be added: give zeros"),
        (lambda c: c.give("y", {"a": XS}), r"y is .*, to which f32\[2\] cannot be added"),
        (lambda c: vmap(lambda x: c.give("y", x))(XS), "to which what has no axis for lanes cannot be added"),
        (lambda c: for_loop(lambda x: c.give("y", x), XS), "the number of steps of .* is not the same everywhere"),
    ],
)
def test_what_does_not_fit_is_refused(run, words):
    collector = Collector({"y": [jnp.zeros(2)]})
    with collector.active(), pytest.raises(ValueError, match=words):
        run(collector)
    assert collector.values().get("y", []) == []
    assert len(collector.added["y"]) == 1


def test_an_error_in_a_body_leaves_what_was_given_before():
    collector, seen = Collector(), State(0.0)

    def fails(x):
        seen.value = x
        collector.give("y", x)
        raise ZeroDivisionError

    with collector.active():
        collector.give("y", 1.0)
        for run in (lambda: for_loop(fails, XS), lambda: vmap(fails)(XS), lambda: cond(True, fails, fails, 1.0)):
            with pytest.raises(ZeroDivisionError):
                run()
        with pytest.raises(StructureError, match="'y', which is captured"):
            while_loop(lambda x: x < 3, lambda x: collector.give("y", x) + 1, 0.0)
    assert collector.values() == {"y": [1.0]}
    assert seen.value == 0.0
