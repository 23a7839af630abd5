from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_graph import treefy_states
from brainstate_transform import grad, jit, vmap
from tests.laws.layers import LSTM, their_lstm
from tests.nn.oracle import by_text, sample
from tests.tables import each, pairs

LENGTHS = jnp.array([5, 1, 3])


def lstm(seed: int = 0) -> nn.LSTMCell:
    return nn.LSTMCell(2, 4, b_init=jax.nn.initializers.normal(1.0), rng=nn.RandomState(seed))


def theirs(cell: nn.LSTMCell) -> nnx.OptimizedLSTMCell:
    other = their_lstm(cell)
    for ours, path in LSTM.items():
        layer, name = path.split(".")
        getattr(getattr(other, layer), name).set_value(getattr(cell, ours).value)
    return other


def within(y: jax.Array, lengths: jax.Array) -> np.ndarray:
    """Outputs with zeros behind the end of each sequence, which flax computes further."""
    return np.where((np.arange(y.shape[1])[None] < np.asarray(lengths)[:, None])[..., None], y, 0.0)


def by_hand(cell: nn.RecurrentCell, xs: jax.Array, reverse: bool = False) -> tuple[jax.Array, jax.Array]:
    """One sequence, step by step."""
    carry, ys = cell.initial_carry(), {}
    steps = range(len(xs))
    for t in reversed(steps) if reverse else steps:
        carry, ys[t] = cell.step(carry, xs[t])
    return carry, jnp.stack([ys[t] for t in steps])


@pairs(reverse=by_text([False, True]), keep_order=by_text([True, False]))
def test_is_that_of_nnx(reverse, keep_order):
    cell, x = lstm(), sample(3, 5, 2)
    ours = nn.RNN(cell, reverse=reverse, keep_order=keep_order)
    other = nnx.RNN(theirs(cell), reverse=reverse, keep_order=keep_order)
    for lengths in (None, LENGTHS):
        (h, c), y = ours(x, lengths=lengths, return_carry=True)
        (their_c, their_h), their_y = other(x, seq_lengths=lengths, return_carry=True)
        np.testing.assert_allclose(y, their_y if lengths is None else within(their_y, lengths), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(h, their_h, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(c, their_c, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_each_sequence_of_a_batch_is_that_sequence_alone(reverse):
    cell, x = lstm(), sample(3, 5, 2)
    carry, y = nn.RNN(cell, reverse=reverse)(x, lengths=LENGTHS, return_carry=True)
    for i, n in enumerate(LENGTHS.tolist()):
        alone, want = by_hand(cell, x[i, :n], reverse)
        np.testing.assert_allclose(y[i, :n], want, rtol=1e-5, atol=1e-6)
        assert not y[i, n:].any()
        for part, last in zip(carry, alone, strict=True):
            np.testing.assert_allclose(part[i], last, rtol=1e-5, atol=1e-6)


def test_no_step_at_all_leaves_the_first_carry():
    cell, x = lstm(), sample(2, 3, 2)
    start = sample(2, 4), sample(2, 4, seed=1)
    carry, y = nn.RNN(cell)(x, initial_carry=start, lengths=jnp.array([0, 9]), return_carry=True)
    np.testing.assert_array_equal(carry[0][0], start[0][0])
    assert not y[0].any()
    # more than there are is all of them
    want, _ = nn.RNN(cell)(x, initial_carry=start, return_carry=True)
    np.testing.assert_allclose(carry[1][1], want[1][1], rtol=1e-6)
    carry, y = nn.RNN(cell)(x[:, :0], initial_carry=start, return_carry=True)
    assert y.shape == (2, 0, 4)
    np.testing.assert_array_equal(carry[0], start[0])


def test_the_order_of_computation_where_a_length_is_more_than_there_are():
    x, lengths = sample(3, 5, 2), jnp.array([9, 2, 5])
    straight, turned = (nn.RNN(lstm(), reverse=True, keep_order=keep)(x, lengths=lengths) for keep in (True, False))
    for i, n in enumerate((5, 2, 5)):
        np.testing.assert_array_equal(turned[i, :n], straight[i, :n][::-1])
        assert not turned[i, n:].any()


def test_padding_has_no_influence_on_results_or_gradients_even_if_it_is_nan():
    cell, x = lstm(), sample(3, 5, 2)
    rnn, params = nn.RNN(cell), cell.states(nn.ParamState)

    def loss(x):
        (h, _), y = rnn(x, lengths=LENGTHS, return_carry=True)
        return (h**2).sum() + (y**2).sum()

    gradients = jit(grad(loss, params, argnums=0, return_value=True))
    dirty = jnp.where((jnp.arange(5)[None] < LENGTHS[:, None])[..., None], x, jnp.nan)
    ours, want = gradients(dirty), gradients(x)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not ours[0][1][1, 1:].any()


def test_time_major_and_batch_axes():
    cell, x = lstm(), sample(3, 5, 2)
    rnn = nn.RNN(cell)
    carry, y = rnn(x, return_carry=True)
    first = nn.RNN(cell, time_major=True)
    again, z = first(x.swapaxes(0, 1), return_carry=True)
    np.testing.assert_allclose(z.swapaxes(0, 1), y, rtol=1e-6)
    np.testing.assert_allclose(again[0], carry[0], rtol=1e-6)
    np.testing.assert_allclose(
        first(x.swapaxes(0, 1), lengths=LENGTHS).swapaxes(0, 1), rnn(x, lengths=LENGTHS), rtol=1e-6
    )
    np.testing.assert_allclose(rnn(x[0]), y[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rnn(x[None, :2])[0], y[:2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rnn(x[0], lengths=jnp.array(3))[:3], y[0, :3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(vmap(rnn)(x), y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(nn.RNN(cell, unroll=2)(x), y, rtol=1e-6)


def test_hidden_states_of_the_cell_are_not_touched():
    cell = lstm()
    cell.init_state(3)
    before = treefy_states(cell)
    jit(nn.RNN(cell))(sample(3, 5, 2))
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(treefy_states(cell)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_sequence_in_two_pieces():
    rnn, x = nn.RNN(lstm()), sample(3, 5, 2)
    carry, first = rnn(x[:, :2], return_carry=True)
    np.testing.assert_allclose(
        jnp.concatenate([first, rnn(x[:, 2:], initial_carry=carry)], axis=1), rnn(x), rtol=1e-5, atol=1e-6
    )


def test_a_cell_that_draws_and_counts():
    class Noisy(nn.Module):
        """Any module with these two methods is a cell; what its step writes to states is carried along."""

        def __init__(self):
            self.rng = nn.RandomState(0)
            self.calls = nn.LongTermState(jnp.int32(0))

        def initial_carry(self, batch_shape=()):
            return jnp.zeros((*batch_shape, 2))

        def step(self, carry, x):
            self.calls.value += 1
            return carry + x, {"sum": carry + x, "noise": self.rng.normal(x.shape)}

    cell = Noisy()
    y = nn.RNN(cell)(jnp.ones((3, 5, 2)))
    assert int(cell.calls.value) == 5
    np.testing.assert_array_equal(y["sum"][0, :, 0], jnp.arange(1.0, 6.0))
    assert len(np.unique(y["noise"])) == 30


def test_neurons_run_too():
    net = nn.RNN(nn.LIF((2, 3), tau=5.0))
    x = 3.0 * jax.random.uniform(jax.random.key(0), (4, 7, 2, 3))
    y = net(x, lengths=jnp.array([7, 2, 7, 7]))
    assert y.shape == x.shape
    assert set(np.unique(y)) == {0.0, 1.0}
    np.testing.assert_array_equal(y[0], nn.RNN(net.cell)(x[0]))
    assert not y[1, 2:].any()


class Numbered(nn.RecurrentCell):
    """Counts the steps for the whole batch at once."""

    hidden_names = ("h", "count")

    def initial_carry(self, batch_shape=()):
        return jnp.zeros((*batch_shape, 2)), jnp.int32(0)

    def step(self, carry, x):
        return (carry[0] + x, carry[1] + 1), x * carry[1]


def test_a_carry_without_batch_axes_cannot_stop_for_one_sequence():
    net = nn.RNN(Numbered())
    assert net(jnp.ones((3, 5, 2)))[0, :, 0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    told = (
        r"^RNN cannot stop single sequences: the carry of Numbered has a part without the batch axes. Leave out "
        r"`lengths`, or define `hold\(before, after\)`"
    )
    with pytest.raises(ValueError, match=told):
        net(jnp.ones((3, 5, 2)), lengths=LENGTHS)


@each("reverse", [False, True])
@each("delay", [0.0, 1.0, 2.5])
def test_with_lengths_a_delay_is_as_at_the_length(reverse, delay):
    line, more = nn.Delay(2, delay), sample(3, 4, 2)
    x = jnp.where(jnp.arange(6)[None, :, None] < LENGTHS[:, None, None], sample(3, 6, 2), jnp.nan)
    carry, y = nn.RNN(line, reverse=reverse)(x, lengths=LENGTHS, return_carry=True)
    after = nn.RNN(line)(more, initial_carry=carry)
    for i, length in enumerate(LENGTHS.tolist()):
        own, want = nn.RNN(line, reverse=reverse)(x[i, :length], return_carry=True)
        np.testing.assert_allclose(y[i, :length], want, rtol=1e-6)
        np.testing.assert_allclose(after[i], nn.RNN(line)(more[i], initial_carry=own), rtol=1e-6)


# ----------------------------------------------------------------------------------------------------------- Chains


def chain(*between: object) -> nn.Sequential:
    first, second = lstm(1), nn.GRUCell(4, 3, rng=nn.RandomState(2))
    return nn.Sequential(first, *between, nn.Sequential(second), nn.Delay(3, 1.0))


@each("reverse", [False, True])
@each("lengths", [None, LENGTHS])
def test_a_chain_of_cells_is_one_run_after_another(reverse, lengths):
    cells, x = chain(jnp.tanh), sample(3, 6, 2)
    first, _, inner, line = cells
    carries, y = nn.RNN(cells, reverse=reverse)(x, lengths=lengths, return_carry=True)
    one, middle = nn.RNN(first, reverse=reverse)(x, lengths=lengths, return_carry=True)
    two, middle = nn.RNN(inner[0], reverse=reverse)(jnp.tanh(middle), lengths=lengths, return_carry=True)
    three, want = nn.RNN(line, reverse=reverse)(middle, lengths=lengths, return_carry=True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), (carries, y), ((one, (two,), three), want))


def test_a_chain_of_cells_is_that_of_nnx():
    cells, x = nn.Sequential(lstm(1), nn.Linear(4, 2), lstm(2)), sample(3, 5, 2)
    one, two = (nnx.RNN(theirs(cell)) for cell in (cells[0], cells[2]))
    np.testing.assert_allclose(nn.RNN(cells)(x), two(cells[1](one(x))), rtol=1e-5, atol=1e-6)


def test_both_faces_of_a_chain_are_one():
    cells, x = chain(), sample(3, 6, 2)
    nn.init_all_states(cells, 3)
    np.testing.assert_allclose(jnp.stack([cells(x[:, i]) for i in range(6)], 1), nn.RNN(cells)(x), rtol=1e-5)


def test_dropout_in_a_chain_draws_a_mask_for_each_step_and_none_in_evaluation():
    cells = nn.Sequential(nn.Linear(4, 64, w_init=jax.nn.initializers.ones), nn.Dropout(0.5), nn.Delay(64, 0.0))
    run = jit(nn.RNN(cells))
    masks = run(jnp.ones((2, 5, 4)))
    assert set(np.unique(masks)) == {0.0, 8.0}
    assert len({row.tobytes() for row in np.asarray(masks).reshape(10, 64)}) == 10
    cells.eval()
    np.testing.assert_array_equal(run(jnp.ones((2, 5, 4))), 4.0)


def test_gradients_through_a_chain_in_both_directions():
    both, x = nn.Bidirectional(chain(), lstm(3)), sample(3, 5, 2)
    grads = jit(grad(lambda: jnp.sum(both(x, lengths=LENGTHS)), both.states(nn.ParamState)))()
    assert all(np.isfinite(g).all() and np.any(g != 0) for g in grads.values())


class Holder(nn.Module):
    def __init__(self):
        self.cell = lstm()

    def __call__(self, x):
        return self.cell(x)


@each(
    "cell, told",
    [
        (nn.Sequential(nn.Linear(2, 2)), "cell must be a module with `step` .* not Sequential"),
        (nn.Sequential(lstm(), Holder()), "layer 1 of the Sequential, Holder, holds a cell at 'cell' .* not seen"),
        (nn.Sequential(lstm(), nn.Sequential(lstm(), Holder())), "layer 1 of the Sequential, Holder, holds a cell"),
    ],
)
def test_what_is_no_chain_is_told(cell, told):
    with pytest.raises(TypeError, match=told):
        nn.RNN(cell)


def test_the_carry_of_a_chain_has_one_for_each_cell():
    with pytest.raises(
        TypeError, match=r"^Sequential at RNN.cell takes a tuple of 3 carries, one for each cell, not f32"
    ):
        nn.RNN(chain())(sample(3, 5, 2), initial_carry=jnp.zeros((3, 4)))


# --------------------------------------------------------------------------------------------------- Bidirectional


@pytest.mark.parametrize("merge", [None, jnp.add])
def test_bidirectional_is_that_of_nnx(merge):
    one, two, x = lstm(0), lstm(1), sample(3, 5, 2)
    ours = nn.Bidirectional(one, two, merge=merge)
    how = {} if merge is None else {"merge_fn": merge}
    other = nnx.Bidirectional(nnx.RNN(theirs(one)), nnx.RNN(theirs(two)), **how)
    np.testing.assert_allclose(ours(x), other(x), rtol=1e-5, atol=1e-6)
    got, want = ours(x, lengths=LENGTHS), within(other(x, seq_lengths=LENGTHS), LENGTHS)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_both_carries_of_a_bidirectional():
    both, x = nn.Bidirectional(lstm(0), nn.RNNCell(2, 3)), sample(3, 5, 2)
    ((h, _), back), y = both(x, lengths=LENGTHS, return_carry=True)
    np.testing.assert_array_equal(h[1], y[1, 0, :4])
    np.testing.assert_array_equal(back, y[:, 0, 4:])
    start = ((h, h), back)
    again = both(x, initial_carry=start)
    np.testing.assert_allclose(again[..., :4], both.forward(x, initial_carry=(h, h)), rtol=1e-6)
    np.testing.assert_allclose(again[..., 4:], both.backward(x, initial_carry=back), rtol=1e-6)


def test_bidirectional_takes_runners_that_go_its_way():
    one, two, x = lstm(0), lstm(1), sample(3, 5, 2)
    runners = nn.Bidirectional(nn.RNN(one), nn.RNN(two, reverse=True, unroll=2))
    assert runners.backward.unroll == 2
    np.testing.assert_allclose(runners(x), nn.Bidirectional(one, two)(x), rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"backward must be a cell, or an RNN with \{'reverse': True, 'keep_order': True"
    ):
        nn.Bidirectional(one, nn.RNN(two))


# --------------------------------------------------------------------------------------------------------- refusals


def test_what_is_no_cell_is_refused():
    for wrong, name in ((nn.Linear(2, 3), "Linear"), (nn.GRUCell, "the class GRUCell"), (jnp.tanh, "PjitFunction")):
        with pytest.raises(TypeError, match=f"^cell must be a module with `step` and `initial_carry`.*not {name}$"):
            nn.RNN(wrong)
        with pytest.raises(TypeError, match=r"^cell must be a module"):
            nn.Bidirectional(nn.GRUCell(2, 3), wrong)
    with pytest.raises(TypeError, match=r"merge must be a function of two arrays, such as jnp.add, or None, not 'sum'"):
        nn.Bidirectional(nn.GRUCell(2, 3), nn.GRUCell(2, 3), merge="sum")
    with pytest.raises(ValueError, match="unroll must be a positive whole number, not 0"):
        nn.RNN(nn.GRUCell(2, 3), unroll=0)


def test_wrong_inputs_are_told_with_the_path():
    net = nn.Sequential(nn.RNN(lstm()))
    with pytest.raises(
        ValueError, match=r"^RNN at Sequential\.layers\.0 needs at least 2 axes of `x`, which is f32\[2\]"
    ):
        net(jnp.ones(2))
    with pytest.raises(ValueError, match=r"^LSTMCell at Sequential\.layers\.0\.cell expects 2 features along axis -1"):
        net(jnp.ones((3, 5, 4)))
    rnn, x = net.layers[0], jnp.ones((3, 5, 2))
    with pytest.raises(
        ValueError,
        match=r"^RNN at Sequential\.layers\.0 needs one number in `lengths` for each sequence, an array of shape "
        r"\(3,\), not i32\[2\]$",
    ):
        rnn(x, lengths=jnp.array([1, 2]))
    with pytest.raises(TypeError, match="takes whole numbers for `lengths`, which is f32"):
        rnn(x, lengths=jnp.ones(3))
    with pytest.raises(ValueError, match=r"^LSTMCell at Sequential\.layers\.0\.cell needs a carry of shape \(3, 4\)"):
        rnn(x, initial_carry=rnn.cell.initial_carry((2,)))
