"""States made inside `vmap`: batched on request, shared if they can be, refused by name otherwise."""

from __future__ import annotations

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import Node, Not, State, TraceContextError, states
from brainstate_transform import BatchAxisError, for_loop, jit, vmap, vmap_new_states
from tests.laws.transforms import Count, Net, Param, Runs, holds_tracer

xs = jnp.arange(3.0)


class Cell(Node):
    """Makes its states when it is told to."""

    def __init__(self):
        self.size = 2

    def init(self, x=0.0):
        self.h = Param(jnp.zeros(self.size) + x)
        self.n = Count(jnp.array(7.0))


def test_states_made_on_a_captured_node_get_an_axis():
    c = Cell()
    vmap(c.init, new_states=0)(xs)
    np.testing.assert_allclose(c.h.value, np.tile(xs[:, None], 2))
    np.testing.assert_allclose(c.n.value, np.full(3, 7.0))
    assert not holds_tracer(c)
    out = vmap(lambda c, x: c.h.value.sum() + x, in_axes=(None, 0), in_states=c)(c, xs)
    np.testing.assert_allclose(out, 3.0 * xs)
    c.h.value = jax.jit(lambda v: v + 1.0)(c.h.value)  # as alive as any other state


def test_states_made_on_an_argument_node_get_an_axis():
    c = Cell()
    vmap(lambda c, x: c.init(x), in_axes=(None, 0), new_states=-1)(c, xs)
    assert c.h.value.shape == (2, 3)


@pytest.mark.parametrize("axis", [0, -1, 1])
def test_states_in_a_returned_node_get_the_axis(axis):
    def f(x):
        cell = Cell()
        cell.h = Param(jnp.ones(2) * x)
        return cell

    made = vmap(f, new_states=axis, out_axes=0)(xs)
    want = np.tile(xs[:, None], 2)
    np.testing.assert_allclose(made.h.value, want if axis == 0 else want.T)


def test_a_node_that_is_kept_and_returned_is_one():
    holder = Node()

    def f(x):
        holder.cell = Cell()
        holder.cell.init(x)
        return {"cell": holder.cell, "x": x}

    out = vmap(f, new_states=0)(xs)
    assert out["cell"] is holder.cell
    np.testing.assert_allclose(out["x"], xs)
    np.testing.assert_allclose(holder.cell.h.value[:, 0], xs)


def test_tied_states_stay_tied():
    def f(x):
        net = Node()
        net.a = Net(x)
        net.b = Node()
        net.b.w = net.a.w
        return net

    made = vmap(f, new_states=0)(xs)
    assert made.a.w is made.b.w
    np.testing.assert_allclose(made.a.w.value, xs)


@pytest.mark.parametrize(
    "selector", [{0: Param}, {Param: 0}, Param, {0: "h", None: "n"}, {None: Count, 0: ...}, {0: Not(Count)}], ids=str
)
def test_some_get_an_axis_and_others_are_shared(selector):
    c, w = Cell(), Param(jnp.array(1.0))
    vmap(lambda x: c.init(x * w.value), new_states=selector)(xs)
    assert c.h.value.shape == (3, 2)
    assert c.n.value == 7.0
    assert w.value.shape == ()  # was there before


def test_made_on_axes_of_their_own():
    def f(x):
        cell = Cell()
        cell.init(x)
        return cell

    made = vmap(f, new_states={1: Param, 0: Count})(xs)
    assert (made.h.value.shape, made.n.value.shape) == ((2, 3), (3,))


def test_without_the_keyword_a_state_per_lane_is_refused_and_an_equal_one_kept():
    c = Cell()
    with pytest.raises(BatchAxisError, match=r"init` makes Param at Cell\.h .*`vmap\(\.\.\., new_states=0\)`"):
        vmap(c.init)(xs)
    c = Cell()
    vmap(lambda x: c.init())(xs)
    np.testing.assert_allclose(c.h.value, np.zeros(2))
    assert c.n.value == 7.0
    with pytest.raises(BatchAxisError, match=r"makes Param at Cell\.h"):
        vmap(c.init, new_states={0: Count})(xs)


def test_an_axis_that_it_cannot_have():
    c = Cell()
    with pytest.raises(ValueError, match=r"Param at Cell\.h has shape \[2\] in each lane .*axis 4.*new_states"):
        vmap(c.init, new_states={4: Param})(xs)


def test_a_write_per_lane_beside_new_states_is_named():
    c, s = Cell(), State(jnp.zeros(()), "total")

    def f(x):
        if not hasattr(c, "h"):
            c.init(x)
        s.value = s.value + c.h.value.sum()

    with pytest.raises(BatchAxisError, match="differs per lane to State 'total'"):
        vmap(f, new_states=0)(xs)
    assert s.value == 0.0


def test_helpers_that_nobody_keeps_cost_nothing_and_go():
    gone = []

    def f(x):
        helper = Net(x)
        gone.append(weakref.ref(helper))
        return helper(x)

    np.testing.assert_allclose(vmap(f, new_states=0)(xs), xs * xs)
    gc.collect()
    assert gone[0]() is None


def test_nested():
    c = Cell()
    ys = jnp.arange(4.0)
    runs = Runs()

    def f(x, y):
        runs()
        c.init(10.0 * x + y)
        return Net(x + y)

    nested = vmap(vmap(f, in_axes=(None, 0), new_states=0), in_axes=(0, None), new_states=0)
    made = nested(xs, ys)
    assert runs.count == 1
    want = 10.0 * xs[:, None] + ys[None, :]
    np.testing.assert_allclose(c.h.value, np.stack([want, want], -1))
    np.testing.assert_allclose(made.w.value, xs[:, None] + ys[None, :])
    outer = vmap(vmap(lambda y: c.init(y), new_states=0), in_axes=None, axis_size=2)
    outer(ys)  # all outer lanes make the same, so it is kept once
    assert c.h.value.shape == (4, 2)


def test_under_jit_and_in_it():
    make = vmap(lambda x: Net(x), new_states=0)
    made = jit(make)(xs)
    np.testing.assert_allclose(made.w.value, xs)
    np.testing.assert_allclose(made(2.0), 2.0 * xs)

    @jit
    def use(x):
        local = make(x)
        local.w.value = local.w.value + 1.0
        return vmap(lambda: local(2.0), in_states=local)()

    np.testing.assert_allclose(use(xs), 2.0 * (xs + 1.0))
    np.testing.assert_allclose(for_loop(use, jnp.stack([xs, xs])), np.stack([2.0 * (xs + 1.0)] * 2))


def test_leaks_and_without_jit():
    def f(x):
        return vmap(lambda y: Net(x + y), new_states=0)(xs)

    with jax.checking_leaks():
        assert jit(vmap(f, new_states=0))(xs).w.value.shape == (3, 3)
        assert vmap(f, new_states=0)(xs).w.value.shape == (3, 3)
    with jax.disable_jit():
        assert vmap(f, new_states=0)(xs).w.value.shape == (3, 3)


# -------------------------------------------------------------------------------------------------- vmap_new_states


def test_an_ensemble_of_layers():
    nn.seed(0)
    before = nn.default_rng().value
    models = jit(vmap_new_states(lambda: nn.Linear(2, 3), axis_size=4))()
    assert models.weight.value.shape == (4, 2, 3)
    assert len(np.unique(models.weight.value)) == 4 * 6
    assert nn.default_rng().value[1] == before[1] + 1
    assert {states(models)[p].value.shape[0] for p in states(models)} == {4}
    y = vmap(lambda m, x: m(x), in_axes=(None, 0), in_states=models)(models, jnp.ones((4, 5, 2)))
    want = jnp.einsum("nki,nio->nko", jnp.ones((4, 5, 2)), models.weight.value) + models.bias.value[:, None]
    np.testing.assert_allclose(y, want, rtol=1e-5)


def test_nested_ensembles_all_differ():
    make = vmap_new_states(vmap_new_states(lambda: nn.Linear(2, 1), axis_size=4), axis_size=3)
    models = jit(make)()
    assert models.weight.value.shape == (3, 4, 2, 1)
    assert len(np.unique(models.weight.value)) == 24


def test_tags_and_exclusion():
    models = vmap_new_states(
        lambda: nn.Linear(2, 3), axis_size=4, tag="ensemble", exclude=lambda _, s: s.value.ndim == 1
    )()
    assert models.weight.tag == {"ensemble"}
    assert models.weight.value.shape == (4, 2, 3)
    assert not models.bias.tag
    assert models.bias.value.shape == (3,)
    with pytest.raises(BatchAxisError, match=r"makes ParamState at Linear\.weight"):
        vmap_new_states(lambda: nn.Linear(2, 3), axis_size=4, exclude=lambda _, s: s.value.ndim == 2)()


def test_as_decorator_with_arguments():
    @vmap_new_states(in_axes=(0, None))
    def make(w, rate):
        net = Net(w)
        net.rate = rate
        return net

    np.testing.assert_allclose(make(xs, 3.0).w.value, xs)
    with pytest.raises(ValueError, match=r"`.*make` has no mapped argument or state"):
        vmap_new_states(make.__wrapped__, in_axes=None)(1.0, 2.0)


def test_the_name_in_messages_is_that_of_the_user():
    def build(x):
        return Net(x)

    with pytest.raises(ValueError, match=r"`test_.*build` is not the same everywhere: 2 in axis_size"):
        vmap_new_states(build, axis_size=2)(xs)


def test_a_state_that_was_there_keeps_no_tracer():
    s = State(jnp.array(0.0))

    def f(x, fail):
        s.value = s.value + x
        if fail:
            raise KeyError("no")
        return Net(x)

    with pytest.raises(BatchAxisError, match="to State"):
        vmap_new_states(lambda x: f(x, False))(xs)
    with pytest.raises(KeyError):
        vmap_new_states(lambda x: f(x, True))(xs)
    assert s.value == 0.0


def test_an_excluded_state_holds_no_tracer():
    c = Cell()
    vmap_new_states(c.init, exclude=Count)(xs)
    assert c.n.value == 7.0
    assert not holds_tracer(c)


def test_one_run_so_that_what_takes_notes_has_them_of_the_real_states():
    seen = []

    def f(x):
        net = Net(x)
        seen.append(net.w)
        return net

    made = vmap_new_states(f, tag="t")(xs)
    assert seen == [made.w]
    assert made.w.tag == {"t"}


def test_makers_without_random_numbers():
    assert vmap_new_states(lambda: Net(0.0), axis_size=2)().w.value.shape == (2,)


def test_every_member_of_a_list():
    holder = Node()

    def f(x):
        holder.nets = [Net(x), Net(2.0 * x)]

    vmap(f, new_states=0)(xs)
    np.testing.assert_allclose(holder.nets[1].w.value, 2.0 * xs)
    assert not holds_tracer(holder)


def test_what_is_not_to_be_batched_is_not():
    c = Cell()
    vmap(c.init, new_states={None: Count, 0: ...})(xs)
    assert c.n.value.shape == ()


def test_a_state_without_a_value_takes_no_tracer_of_jax_alone():
    c = Cell()
    with pytest.raises(BatchAxisError):
        vmap(c.init)(xs)
    made = vmap(lambda x: Net(x), new_states=0)(xs)  # a tracer went into these while `vmap` was traced in `jit`
    jit(vmap(lambda x: Net(x), new_states=0))(xs)
    for state in (made.w, State(0.0)):
        with pytest.raises(TraceContextError):
            jax.jit(lambda x, state=state: setattr(state, "value", x))(xs)
