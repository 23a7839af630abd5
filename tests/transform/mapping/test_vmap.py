"""`vmap`: which states are shared by the lanes and which have one value per lane."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import BrainStateError, Node, State, states
from brainstate_transform import BatchAxisError, cond, for_loop, grad, jit, vmap
from tests.laws.transforms import Count, Net, Param, Runs
from tests.tables import each

xs = jnp.arange(3.0)


def test_shared_states_are_read_and_written_once():
    m = Net(2.0)
    np.testing.assert_allclose(vmap(lambda x: m(x))(xs), 2.0 * xs)
    assert m.n.value == 1.0


@each("axis", [0, 1, -1])
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
    with pytest.raises(ValueError, match=r"in_states gives State.* two places, 0 and 1"):
        vmap(lambda x: s.value * x, in_states={0: s, 1: [s]})(xs)


@each("selector", [3, {"a": 1}, [1.0], "no such tag", {0: 3}])
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


def test_a_state_moves_even_if_it_is_only_read():
    s = State(jnp.arange(6.0).reshape(3, 2))
    before = s.value
    vmap(lambda: s.value.sum(), in_states=s, out_states={1: s})()
    np.testing.assert_allclose(s.value, before.T)


def test_a_mapped_state_becomes_shared():
    s = State(xs)

    def f():
        s.value = jax.lax.pmean(s.value, "i")

    vmap(f, in_states=s, out_states={None: s}, axis_name="i")()
    assert s.value == 1.0
    t = State(xs)
    with pytest.raises(BatchAxisError, match="writes a value that differs per lane to State"):
        vmap(lambda: t.value, in_states=t, out_states={None: t})()


def test_the_function_runs_once_at_any_depth():
    runs = Runs()
    m = Net(2.0)

    def f(x):
        runs()
        return m(x)

    mapped = f
    for depth in range(1, 5):
        mapped = vmap(mapped)
        mapped(jnp.ones((2,) * depth))
        assert runs.since() == 1
        jit(mapped)(jnp.ones((2,) * depth))
        assert runs.since() == 1


def test_what_is_told_of_nested_maps_is_about_the_inner_lanes_only():
    a, b = State(jnp.zeros(()), "apart"), State(jnp.zeros(()), "both")

    def f(x, y):
        a.value = a.value + x  # differs in the outer lanes only
        b.value = b.value + y
        return x

    with pytest.raises(BatchAxisError, match="'both'") as caught:
        vmap(vmap(f, in_axes=(None, 0)), out_states=[a, b])(xs, jnp.ones((3, 2)))
    assert "apart" not in str(caught.value)


def test_a_state_that_some_lanes_write_in_a_branch_differs():
    s = State(jnp.zeros(()))

    def f(x):
        cond(x > 0.5, lambda: setattr(s, "value", s.value + 1.0), lambda: None)

    with pytest.raises(BatchAxisError, match="State"):
        vmap(f)(xs)
    vmap(f, out_states=s)(xs)
    np.testing.assert_allclose(s.value, [0.0, 1.0, 1.0])


def test_gradients_of_each_lane_and_through_lanes():
    w, v = Param(jnp.array(2.0)), Param(xs)
    per_example = vmap(grad(lambda x: jnp.square(w.value * x), wrt=w))(xs)
    np.testing.assert_allclose(per_example, 2.0 * 2.0 * xs**2)
    through = grad(lambda x: vmap(lambda x: w.value * v.value * x, in_states=v)(x).sum(), wrt=[w, v])(xs)
    np.testing.assert_allclose(through[0], (xs * xs).sum())
    np.testing.assert_allclose(through[1], 2.0 * xs)


def test_loops_inside_and_around():
    s = State(xs)

    def step(i):
        s.value = s.value * 2.0 + i
        return s.value

    def plain(v):
        for i in range(2):
            v = v * 2.0 + i
        return v

    out = vmap(lambda: for_loop(step, jnp.arange(2.0)), in_states=s)()
    np.testing.assert_allclose(out[:, -1], plain(xs))
    np.testing.assert_allclose(s.value, plain(xs))
    s.value = xs
    for_loop(lambda i: vmap(step, in_axes=None, in_states=s)(i), jnp.arange(2.0))
    np.testing.assert_allclose(s.value, plain(xs))


def test_leaks_and_without_jit():
    s, w = State(xs), State(jnp.array(2.0))

    def f(x):
        s.value = s.value + w.value * x
        return s.value

    with jax.checking_leaks():
        jit(vmap(f, in_states=s))(xs)
        vmap(vmap(f, in_axes=None, axis_size=3), in_states=s)(xs)
    np.testing.assert_allclose(s.value, 5.0 * xs)
    with jax.disable_jit():
        np.testing.assert_allclose(vmap(f, in_states=s)(xs), 7.0 * xs)
        with pytest.raises(BatchAxisError):
            vmap(f)(xs)
