from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import clone, graphdef, treefy_merge, treefy_split, treefy_states
from brainstate_transform import for_loop, grad, jit, vmap
from tests.nn.oracle import sample
from tests.tables import each


class Sum(nn.RecurrentCell):
    """A cell of a user: two parts, one of them without batch axes."""

    hidden_names = ("total", "steps")

    def initial_carry(self, batch_shape=()):
        return jnp.zeros((*batch_shape, 3)), jnp.int32(0)

    def step(self, carry, x):
        total, steps = carry
        return (total + x, steps + 1), total


def test_both_faces_say_the_same():
    cell, xs = nn.LSTMCell(2, 3, rng=nn.RandomState(0)), sample(5, 4, 2)
    carry, want = cell.initial_carry((4,)), []
    for x in xs:
        carry, y = cell.step(carry, x)
        want.append(y)
    cell.init_state(4)
    np.testing.assert_allclose(for_loop(cell, xs), jnp.stack(want), rtol=1e-5, atol=1e-6)
    for kept, part in zip((cell.h, cell.c), carry, strict=True):
        np.testing.assert_allclose(kept.value, part, rtol=1e-5, atol=1e-6)


@each(
    ("size", "batch"), [(None, ()), (4, (4,)), ((4, 2), (4, 2)), ([5], (5,)), ((), ()), (np.int64(3), (3,))], ids=repr
)
def test_the_size_of_the_batch(size, batch):
    cell = Sum()
    cell.init_state(size)
    assert cell.total.value.shape == (*batch, 3)
    assert cell.steps.value.shape == ()
    assert cell(jnp.ones((*batch, 3))).shape == (*batch, 3)
    cell.reset_state()
    assert cell.total.value.shape == (*batch, 3)
    assert not cell.total.value.any()
    assert cell.steps.value == 0


def test_init_makes_states_and_reset_sets_them_back():
    cell = nn.GRUCell(2, 3)
    assert not cell.states(nn.HiddenState)
    before = graphdef(cell)
    cell.init_state(4)
    state = cell.h
    cell(jnp.ones((4, 2)))
    assert state.value.any()
    cell.reset_state()
    assert cell.h is state
    assert not state.value.any()
    cell.reset_state(5)
    assert cell.h is state
    assert state.value.shape == (5, 3)
    cell.init_state(4)
    assert cell.h is not state
    assert graphdef(cell) is not before


@each("size", [0, -1, 2.5, "3", True, (4, 0)])
def test_the_size_of_the_batch_is_checked(size):
    cell = Sum()
    with pytest.raises(ValueError, match="batch_size must be a positive whole number, not"):
        cell.init_state(size)
    assert not cell.states()


def test_before_init_state_the_line_to_write_is_said():
    net = nn.Sequential(nn.GRUCell(2, 3))
    for call in (net, jit(net)):
        with pytest.raises(
            RuntimeError,
            match=r"^GRUCell at Sequential\.layers\.0 has no hidden state yet: write `init_all_states\(model, 4\)` on "
            r"the whole model, or `init_state\(4\)` on this GRUCell, before the first call(\n|$)",
        ):
            call(jnp.ones((4, 2)))
    with pytest.raises(RuntimeError, match=r"write `init_all_states\(model, batch_size\)`"):
        net.layers[0].reset_state()
    with pytest.raises(RuntimeError, match=r"`init_state\(\(4, 5\)\)`"):
        net(jnp.ones((4, 5, 2)))
    with pytest.raises(RuntimeError, match=r"`init_state\(\)`"):
        net(jnp.ones(2))
    nn.init_all_states(net, 4)
    assert net(jnp.ones((4, 2))).shape == (4, 3)


def test_another_batch_than_that_of_the_states_is_refused():
    net = nn.Sequential(nn.LSTMCell(2, 3))
    nn.init_all_states(net, 4)
    before = treefy_states(net)
    with pytest.raises(
        ValueError,
        match=r"^LSTMCell at Sequential\.layers\.0 needs a carry of shape \(1, 3\) for `x`, which is f32\[1,2\], but "
        r"its h is f32\[4,3\]: write `init_state\(1\)`, or `initial_carry\(\(1,\)\)`$",
    ):
        net(jnp.ones((1, 2)))
    with pytest.raises(ValueError, match=r"expects 2 features along axis -1 of `x`"):
        net(jnp.ones((4, 3)))
    for a, b in zip(jax.tree.leaves(treefy_states(net)), jax.tree.leaves(before), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_carry_is_checked():
    cell = nn.LSTMCell(2, 3)
    h, c = cell.initial_carry((4,))
    for wrong in (h, (h,), None):
        with pytest.raises(TypeError, match=r"^LSTMCell takes a tuple \(h, c\) for `carry`$"):
            cell.step(wrong, jnp.ones((4, 2)))
    with pytest.raises(ValueError, match=r"its c is f32\[3\]"):
        cell.step((h, c[0]), jnp.ones((4, 2)))
    with pytest.raises(TypeError, match="takes an array for `carry`, not None"):
        cell.step((h, None), jnp.ones((4, 2)))


def test_a_base_without_methods_says_what_to_define():
    with pytest.raises(NotImplementedError, match="define `def initial_carry"):
        nn.RecurrentCell().init_state()
    with pytest.raises(NotImplementedError, match="define `def step"):
        nn.RecurrentCell().step(None, 1.0)


def test_init_and_reset_inside_jit():
    cell, xs = nn.GRUCell(2, 3), sample(5, 4, 2)

    @jit
    def start(xs):
        cell.init_state(4)
        return for_loop(cell, xs)

    @jit
    def again(xs):
        cell.reset_state()
        return for_loop(cell, xs)

    want = start(xs)
    np.testing.assert_allclose(again(xs), want, rtol=1e-6)
    np.testing.assert_allclose(again(xs), want, rtol=1e-6)
    np.testing.assert_allclose(cell.h.value, want[-1], rtol=1e-6)


def test_gradients_through_time_are_those_of_a_loop_in_python():
    cell, xs = nn.MGUCell(2, 3, rng=nn.RandomState(0)), sample(4, 2)
    params = cell.states(nn.ParamState)
    shape, tree = treefy_split(cell)

    def loss():
        cell.reset_state()
        return (for_loop(cell, xs) ** 2).sum()

    def plain(tree):
        other = treefy_merge(shape, tree)
        h, total = other.initial_carry(), 0.0
        for x in xs:
            h, y = other.step(h, x)
            total += (y**2).sum()
        return total

    cell.init_state()
    grads, want = jit(grad(loss, params))(), jax.jit(jax.grad(plain))(tree)
    for path in params:
        np.testing.assert_allclose(grads[path], want[path[0]].value, rtol=1e-4, atol=1e-6)


def test_lanes_with_hidden_states_of_their_own():
    cell, xs = nn.RNNCell(2, 3), sample(6, 5, 2)
    nn.vmap_init_all_states(cell, 6)
    assert cell.h.value.shape == (6, 3)
    run = vmap(lambda x: for_loop(cell, x), in_states={0: nn.HiddenState}, out_states={0: nn.HiddenState})
    out = run(xs)
    want = nn.RNN(cell)(xs)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cell.h.value, want[:, -1], rtol=1e-5, atol=1e-6)
    nn.vmap_reset_all_states(cell, 6)
    assert not cell.h.value.any()


def test_a_copy_has_hidden_states_of_its_own():
    cell = nn.GRUCell(2, 3)
    cell.init_state()
    other = clone(cell)
    cell(jnp.ones(2))
    assert cell.h.value.any()
    assert not other.h.value.any()
