"""`vmap`: which states are shared by the lanes and which have one value per lane."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import BrainStateError, Node, State, states
from brainstate_transform import BatchAxisError, for_loop, jit, register_lanes, vmap
from tests.transform.tables import Count, Net, Param, same

xs = jnp.arange(3.0)


def test_shared_states_are_read_and_written_once():
    m = Net(2.0)
    np.testing.assert_allclose(vmap(lambda x: m(x))(xs), 2.0 * xs)
    assert m.n.value == 1.0


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_in_states_on_an_axis(axis):
    s = State(jnp.arange(6.0).reshape((3, 2) if axis == 0 else (2, 3)))
    before = s.value

    def f(x):
        assert s.value.shape == (2,)
        s.value = s.value + x
        return jnp.sum(s.value)

    plain = jax.vmap(lambda v, x: v + x, (axis, 0), axis)(before, xs)
    out = vmap(f, in_states={axis: s})(xs)
    np.testing.assert_allclose(s.value, plain)
    np.testing.assert_allclose(out, plain.sum(0 if axis else 1))


def test_in_states_in_every_form():
    class Two(Node):
        def __init__(self):
            self.a, self.b = Param(jnp.arange(3.0)), Count(jnp.arange(3.0))

        def __call__(self, x):
            self.b.value = self.b.value + 1.0
            return self.a.value * x + self.b.value

    want = np.arange(3.0) ** 2 + np.arange(3.0) + 1.0
    for select in (
        lambda m: m, lambda m: [m.a, m.b], lambda m: {"a": m.a, "b": m.b}, lambda m: states(m),
        lambda m: (Param, Count), lambda m: {0: m}, lambda m: {0: [m.a], -1: m.b}, lambda m: ...,
        lambda m: {0: Param, -1: Count},
    ):  # fmt: skip
        m = Two()
        np.testing.assert_allclose(vmap(lambda x, m=m: m(x), in_states=select(m))(xs), want)
        np.testing.assert_allclose(m.b.value, np.arange(3.0) + 1.0)


def test_a_filter_where_the_model_is_an_argument():
    m = Net(xs)
    np.testing.assert_allclose(vmap(lambda m, x: m(x), in_axes=(None, 0), in_states=Param)(m, xs), xs**2)


@pytest.mark.parametrize("axis", [0, 1])
def test_out_states_get_an_axis(axis):
    s = State(jnp.zeros(2))

    def f(x):
        s.value = s.value + x

    vmap(f, out_states={axis: s})(xs)
    want = np.broadcast_to(xs[:, None], (3, 2))
    np.testing.assert_allclose(s.value, want if axis == 0 else want.T)


def test_from_one_axis_to_another():
    s = State(jnp.arange(6.0).reshape(3, 2))
    before = s.value

    def f(x):
        s.value = s.value + x

    vmap(f, in_states={0: s}, out_states={1: s})(xs)
    np.testing.assert_allclose(s.value, (before + xs[:, None]).T)


def test_a_state_that_differs_per_lane_is_refused_by_name():
    m = Net(2.0)
    before = m.w.value

    def f(x):
        m.n.value = m.n.value + 1.0
        m.w.value = m.w.value * x
        return x

    for mapped in (vmap(f), jit(vmap(f)), vmap(vmap(f), in_axes=None, axis_size=2)):
        with pytest.raises(BatchAxisError, match=r"Net\.w.*in_states.*out_states") as caught:
            mapped(xs)
        assert "Net.n" not in str(caught.value)
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, BrainStateError)
        assert m.w.value is before
        assert m.n.value == 0.0


def test_two_axes_for_one_state():
    s = State(jnp.ones((3, 3)))
    with pytest.raises(BatchAxisError, match="axis 0 and on axis 1"):
        vmap(lambda x: s.value * x, in_states={0: s, 1: [s]})(xs)


@pytest.mark.parametrize("selector", [3, {"a": 1}, [1.0], "no such tag", {0: 3}])
def test_selectors_that_select_nothing(selector):
    m = Net()
    with pytest.raises((TypeError, ValueError), match="in_states"):
        vmap(lambda x: m(x), in_states=selector)(xs)


def test_a_state_written_in_part_per_lane():
    s = State({"a": jnp.zeros(()), "b": jnp.ones(2)})

    def f(x):
        s.value = {"a": s.value["a"] + x, "b": s.value["b"] * 2.0}

    vmap(f, out_states=s)(xs)
    np.testing.assert_allclose(s.value["a"], xs)
    np.testing.assert_allclose(s.value["b"], 2.0 * np.ones((3, 2)))


@pytest.mark.parametrize("n", range(3))
def test_warm_calls_do_not_grow_the_state(n):
    s = State(jnp.zeros(()))
    m = vmap(lambda: setattr(s, "value", s.value + 1.0), axis_size=3)
    for _ in range(n):
        m()
    assert s.value.shape == ()
    assert s.value == n


def as_jax(f, args, kwargs=None, **options):
    want = jax.vmap(f, **options)(*args, **(kwargs or {}))
    assert same(vmap(f, **options)(*args, **(kwargs or {})), want)


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


@pytest.mark.parametrize(
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


def test_nested_on_two_axes():
    s = State(jnp.arange(6.0).reshape(2, 3))
    before = s.value

    def f(x, y):
        assert s.value.shape == ()
        s.value = s.value + x * y
        return s.value

    ys = jnp.arange(2.0)
    nested = vmap(vmap(f, in_axes=(0, None), in_states=s), in_axes=(None, 0), in_states=s)
    out = nested(xs, ys)
    np.testing.assert_allclose(out, before + jnp.outer(ys, xs))
    np.testing.assert_allclose(s.value, out)


def test_an_ensemble():
    class Member(Node):
        def __init__(self, w):
            self.w = Param(w)

    made = vmap(lambda w: Member(w * 2.0))(xs)
    np.testing.assert_allclose(made.w.value, 2.0 * xs)
    np.testing.assert_allclose(vmap(lambda m: m.w.value + 1.0, in_states=made)(made), 2.0 * xs + 1.0)


def test_a_node_among_the_results_beside_out_axes():
    x, made = vmap(lambda x: (x, Net(x)), out_axes=(0, 0))(xs)
    np.testing.assert_allclose(x, xs)
    np.testing.assert_allclose(made.w.value, xs)


def test_collectives_over_a_state():
    s = State(xs)

    def f():
        s.value = jax.lax.psum(s.value, "i") * jnp.ones(())

    vmap(f, in_states=s, axis_name="i")()
    np.testing.assert_allclose(s.value, np.full(3, 3.0))


def test_a_collective_makes_a_shared_value():
    total = State(jnp.array(0.0))

    def f(x):
        total.value = total.value + jax.lax.psum(x, "i")

    vmap(f, axis_name="i")(xs)
    assert total.value == 3.0


class Ticket(State):
    pass


register_lanes(Ticket, lambda value, lane: value * 10.0 + lane, lambda value: value + 100.0)


class SpecialTicket(Ticket):
    pass


@pytest.mark.parametrize("kind", [Ticket, SpecialTicket])
def test_lanes(kind):
    t = kind(jnp.array(1.0))

    def f(x):
        y = t.value
        t.value = t.value + x
        return y, t.value

    out = vmap(f)(xs)
    np.testing.assert_allclose(out[0], [10.0, 11.0, 12.0])
    np.testing.assert_allclose(out[1], [10.0, 12.0, 14.0])
    assert t.value == 101.0
    out = jit(vmap(f))(xs)
    np.testing.assert_allclose(out[0], 1010.0 + xs)


def test_lanes_that_only_read_do_not_advance():
    t = Ticket(jnp.array(1.0))
    before = t.value
    vmap(lambda x: t.value * x)(xs)
    assert t.value is before


def test_lanes_of_nested_maps_all_differ():
    t = Ticket(jnp.array(1.0))
    out = vmap(vmap(lambda x: t.value + 0.0 * x), in_axes=None, axis_size=2)(xs)
    np.testing.assert_allclose(out, [[100.0, 101.0, 102.0], [110.0, 111.0, 112.0]])


def test_lanes_inside_a_loop_inside_a_lane():
    t = Ticket(jnp.array(0.0))

    def step(i):
        t.value = t.value + 1.0
        return t.value

    out = vmap(lambda x: for_loop(step, jnp.arange(2.0)) + x)(xs)
    np.testing.assert_allclose(out, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert t.value == 100.0


def test_a_mapped_state_of_a_lane_kind_is_left_alone():
    t = Ticket(xs)
    np.testing.assert_allclose(vmap(lambda: t.value, in_states=t)(), xs)


def test_a_state_made_inside_and_returned_by_value():
    def f(x):
        h = State(x)
        h.value = h.value * 2.0
        return h.value

    np.testing.assert_allclose(vmap(f)(xs), 2.0 * xs)


def test_as_decorator_and_method():
    class Model(Net):
        @vmap(in_axes=(None, 0))
        def rows(self, x):
            return self(x)

    m = Model(2.0)
    np.testing.assert_allclose(m.rows(xs), 2.0 * xs)
    assert m.n.value == 1.0
