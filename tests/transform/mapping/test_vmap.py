"""`vmap`: which states are shared by the lanes and which have one value per lane."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import BrainStateError, Node, State, states
from brainstate_transform import BatchAxisError, cond, for_loop, grad, jit, register_lanes, vmap
from tests.laws.transforms import Count, Net, Param, Runs, same
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
        (lambda f: vmap(f, in_axes=1.5), TypeError, "in_axes=1.5 holds 1.5: axes are whole numbers or None"),
        (lambda f: vmap(f, in_axes=(0, True)), TypeError, "in_axes=.* holds True"),
        (lambda f: vmap(f, out_axes="0"), TypeError, "out_axes='0' holds '0'"),
        (lambda f: vmap(f, axis_size=2.0), TypeError, "axis_size is the number of lanes, not 2.0"),
        (lambda f: vmap(f, axis_size=-1), ValueError, "axis_size=-1: the number of lanes is not negative"),
        (lambda f: vmap(f, new_states=True), TypeError, "new_states is an axis or names states, not True"),
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


def test_trap_5_one_leaf_per_lane_and_one_shared():
    s = State({"a": jnp.zeros(()), "b": jnp.zeros(2)})

    def f(x):
        s.value = {"a": x, "b": jnp.ones(2)}

    vmap(f, out_states=s)(xs)
    np.testing.assert_allclose(s.value["a"], xs)
    np.testing.assert_allclose(s.value["b"], np.ones((3, 2)))


@pytest.mark.parametrize("size", [3, 5])
def test_trap_25_27_94_no_axis_grows_and_no_size_is_guessed(size):
    counter, wide = State(jnp.zeros(())), State(jnp.zeros(size))

    def f(x):
        counter.value = counter.value + 1.0
        wide.value = wide.value + 1.0
        return x

    for n in range(1, 4):
        vmap(f)(xs)
        assert counter.value == n
        np.testing.assert_allclose(wide.value, np.full(size, n))
    before = wide.value
    with pytest.raises(BatchAxisError):
        vmap(lambda x: setattr(wide, "value", wide.value + x))(xs)
    assert wide.value is before


def test_trap_28_axis_size_against_the_arguments():
    with pytest.raises(ValueError, match="3 in axis_size, 4 in argument 'x'"):
        vmap(lambda x: x, axis_size=3)(jnp.ones(4))


def test_trap_30_the_message_names_out_states():
    s = State(jnp.zeros(()))
    with pytest.raises(BatchAxisError, match="`out_states`"):
        vmap(lambda x: setattr(s, "value", x))(xs)


def test_trap_32_a_flag_that_is_closed_over_is_not_mapped():
    def f(x, flag):
        return x * 2.0 if flag else x

    np.testing.assert_allclose(vmap(lambda x: f(x, True))(xs), 2.0 * xs)


def test_trap_74_the_states_written_may_change_between_calls():
    m, flag = Net(2.0), False

    def f(x):
        if flag:
            m.w.value = m.w.value + 1.0
        return m(x)

    mapped = vmap(f)
    for step in range(4):
        flag = step % 2 == 1
        mapped(xs)
    assert m.w.value == 4.0
    assert m.n.value == 4.0


def test_trap_96_a_model_made_anew_between_calls():
    def run(m):
        return vmap(lambda x: m(x), in_states=m.w)(xs)

    for w in (xs, 2.0 * xs):
        m = Net(w)
        np.testing.assert_allclose(run(m), w * xs)
        assert m.n.value == 1.0


def test_w5_the_axis_is_the_one_asked_for():
    s = State(jnp.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"2 in State|4 in argument"):
        vmap(lambda x: setattr(s, "value", s.value + x), in_states={1: s})(jnp.ones(4))
    t = State(jnp.zeros((2, 4)))
    vmap(lambda x: setattr(t, "value", t.value + x), in_states={1: t})(jnp.arange(4.0))
    np.testing.assert_allclose(t.value, np.tile(np.arange(4.0), (2, 1)))


def test_w6_filters_with_an_axis_and_the_axis_none():
    m = Net(xs)
    for selector in ({Param: 0}, {0: Param}, {0: Param, None: Count}, {Param: 0, Count: None}, {"*.w": 0}, [m.w]):
        np.testing.assert_allclose(vmap(lambda x: m(x), in_states=selector)(xs), xs * xs)
    for junk in (3, 1.5, {"a": 1.0}, {0: 2}):
        with pytest.raises((TypeError, ValueError), match="in_states"):
            vmap(lambda x: m(x), in_states=junk)(xs)


def test_w7_filters_get_the_real_path():
    from brainstate_graph import PathContains

    m = Net(xs)
    np.testing.assert_allclose(vmap(lambda x: m(x), in_states=PathContains("w"))(xs), xs * xs)


def test_w12_no_tracer_is_left_under_raw_jit():
    from brainstate_graph import TraceContextError

    s = State(xs)
    before = s.value
    with pytest.raises(TraceContextError, match="State"):
        jax.jit(vmap(lambda x: setattr(s, "value", s.value + x), in_states=s))(xs)
    assert s.value is before
