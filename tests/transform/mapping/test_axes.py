"""The axes of arguments, results and states of `vmap`, as JAX takes them; sizes that do not agree."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import State
from brainstate_transform import BatchAxisError, vmap
from tests.laws.transforms import Net, same
from tests.tables import each

xs = jnp.arange(3.0)


def as_jax(f, args, kwargs=None, **options):
    want = jax.vmap(f, **options)(*args, **(kwargs or {}))
    assert same(vmap(f, **options)(*args, **(kwargs or {})), want)


def test_in_axes_of_a_method_are_counted_with_self():
    class Plain:
        def __init__(self):
            self.net = Net(2.0)

        @vmap(in_axes=(None, 0, None))
        def rows(self, x, y):
            return self.net(x) + y

    plain = Plain()
    np.testing.assert_allclose(plain.rows(xs, 1.0), 2.0 * xs + 1.0)
    with pytest.raises(ValueError, match=r"3 entries, but .*rows` was called with 2 positional arguments"):
        plain.rows(xs)


def test_in_axes_by_name():
    def f(x, y, *rest, k=1.0):
        return x * y + sum(rest) + k

    out = vmap(f, in_axes={"x": 0, "k": 0})(xs, 2.0, k=xs)
    np.testing.assert_allclose(out, 3.0 * xs)
    np.testing.assert_allclose(vmap(f, in_axes={"rest": 0})(1.0, 2.0, xs, xs), 2.0 * xs + 3.0)
    with pytest.raises(ValueError, match=r"in_axes names \['z'\], but the parameters of `.*f` are \['x', 'y', 'rest'"):
        vmap(f, in_axes={"z": 0})(xs, xs)


def test_keywords_are_mapped_on_axis_0_as_in_jax():
    as_jax(lambda x, k: x * k["a"], (xs,), {"k": {"a": xs}})
    with pytest.raises(ValueError, match=r"keyword argument 'k' of `.*` is a scalar, without an axis to map"):
        vmap(lambda x, k: x * k)(xs, k=2.0)


@each(
    ("call", "error", "text"),
    [
        (lambda f: vmap(f, rngs="other"), ValueError, "rngs='other'"),
        (lambda f: vmap(f, in_axes=1.5), TypeError, "in_axes=1.5 holds 1.5: axes must be whole numbers or None"),
        (lambda f: vmap(f, in_axes=(0, True)), TypeError, "in_axes=.* holds True"),
        (lambda f: vmap(f, out_axes="0"), TypeError, "out_axes='0' holds '0'"),
        (lambda f: vmap(f, axis_size=2.0), TypeError, "axis_size must be the number of lanes, not 2.0"),
        (lambda f: vmap(f, axis_size=-1), ValueError, "axis_size=-1: the number of lanes must not be negative"),
        (lambda f: vmap(f, new_states=True), TypeError, "new_states must be an axis or name states, not True"),
        (lambda f: vmap(f, (0,))(xs, xs), ValueError, r"in_axes=\(0,\) has 1 entries, but `.*f` was called with 2"),
        (lambda f: vmap(f)(xs, 2.0), ValueError, "^argument 'y' of `.*f` is a scalar, without an axis to map"),
        (lambda f: vmap(f, 1)(xs, xs), ValueError, r"argument 'x' of `.*f` has shape \[3\], without an axis 1"),
        (lambda f: vmap(f, None)(xs, xs), ValueError, "`.*f` has no mapped argument or state .* give axis_size"),
        (lambda f: vmap(f)(xs, xs[:2]), ValueError, "lanes of `.*f` is not the same everywhere: 3 in arg.* 2"),
        (lambda f: vmap(f, axis_size=4)(xs, xs), ValueError, "4 in axis_size, 3 in argument 'x' of"),
        (lambda f: vmap(f, ({"a": 0}, 0))(xs, xs), ValueError, "in_axes=.* does not fit the arguments of `.*f`"),
        (lambda f: vmap(f, out_axes=(0, 0))(xs, xs), ValueError, r"out_axes=\(0, 0\) does not fit the result of `.*f`"),
        (lambda f: vmap(f, out_axes=5)(xs, xs), ValueError, r"result of `.*f` has shape \[\] in each lane: out_axes=5"),
        (lambda f: vmap(f, out_axes=None)(xs, xs), ValueError, "result of `.*f` differs per lane, but out_axes has"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named_and_nothing_is_written(call, error, text):
    m = Net()

    def f(x, y):
        return m(x) + y

    before = m.n.value
    with pytest.raises(error, match=text):
        call(f)
    assert m.n.value is before


def test_bad_axes_of_states_are_named():
    m = Net(xs)
    for selector, text in (
        ({"in_states": {1: m.w}}, r"Param at Net\.w has shape \[3\], without an axis 1"),
        ({"in_states": m}, r"Count at Net\.n is a scalar, without an axis to map"),
        ({"in_states": m.w, "axis_size": 2}, r"2 in axis_size, 3 in Param at Net\.w"),
        (
            {"in_states": m.w, "out_states": {3: m.w}},
            r"Param at Net\.w has shape \[\] in each lane .*axis 3.*out_s",
        ),
        ({"in_states": 3}, "in_states is 3, which names no states"),
        ({"out_states": [1.0]}, "out_states"),
    ):
        with pytest.raises((TypeError, ValueError), match=text):
            vmap(lambda: m.w.value * 2.0 + m.n.value, **selector)()


def test_axes_as_in_jax():
    grid = jnp.arange(6.0).reshape(2, 3)
    as_jax(lambda x, y: x + y, (xs, 1.0), in_axes=(0, None))
    as_jax(lambda x: x + 1.0, (grid,), in_axes=1, out_axes=1)
    as_jax(lambda x: x + 1.0, (grid,), in_axes=-1, out_axes=-1)
    as_jax(lambda p: p["a"] * p["b"], ({"a": xs, "b": 2.0},), in_axes=({"a": 0, "b": None},))
    as_jax(lambda p: (p["a"], p["b"]), ({"a": xs, "b": grid},), in_axes=({"a": 0, "b": 1},), out_axes=(0, 1))
    as_jax(lambda x, *, k: x * k, (xs,), {"k": xs})
    as_jax(lambda x: (x, 2.0), (xs,), out_axes=(0, None))
    as_jax(lambda x: x * jax.lax.axis_index("i"), (xs,), axis_name="i")
    as_jax(lambda x: x - jax.lax.pmean(x, "i"), (xs,), axis_name="i")
    as_jax(lambda: jax.lax.axis_index("i"), (), axis_name="i", axis_size=4)
    as_jax(lambda x: x, (jnp.zeros((0, 2)),))
    as_jax(jax.random.normal, (jax.random.split(jax.random.key(0), 3),))


def test_axes_as_a_list():
    as_jax(lambda x, y: x + y, (xs, 1.0), in_axes=[0, None])


@each(
    ("args", "options"),
    [
        ((xs, jnp.ones(2)), {}),
        ((1.0, 2.0), {"in_axes": None}),
        ((xs, xs), {"in_axes": (0,)}),
        ((xs, xs), {"axis_size": 4}),
        ((xs, xs), {"in_axes": 1}),
        ((xs, xs), {"out_axes": 5}),
        ((xs, xs), {"out_axes": None}),
        ((xs, xs), {"out_axes": (0, 0)}),
    ],
)
def test_mismatches_are_errors_and_write_nothing(args, options):
    m = Net()

    def f(x, y):
        return m(x) + y

    before = m.n.value
    with pytest.raises(Exception):  # noqa: B017 - JAX has several types for these
        jax.vmap(lambda x, y: x + y, **options)(*args)
    with pytest.raises((ValueError, IndexError, TypeError)) as caught:
        vmap(f, **options)(*args)
    assert not isinstance(caught.value, BatchAxisError)
    assert m.n.value is before


def test_the_states_give_the_number_of_lanes():
    s = State(jnp.arange(4.0))
    np.testing.assert_allclose(vmap(lambda: s.value * 2.0, in_states=s)(), 2.0 * np.arange(4.0))


def test_states_and_arguments_of_different_sizes():
    s = State(jnp.arange(4.0))
    with pytest.raises(ValueError):
        vmap(lambda x: s.value * x, in_states=s)(xs)
