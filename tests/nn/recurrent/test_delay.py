from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import brainstate_nn as nn
from brainstate_transform import for_loop, grad, jit, value_and_grad, vmap
from tests.nn.oracle import sample
from tests.tables import each


def later(xs: np.ndarray, delay: float) -> np.ndarray:
    """What was there `delay` steps ago, between two steps on the line between them, and zero before the first."""
    t = np.arange(len(xs)) - delay
    return np.interp(t, np.arange(-1, len(xs)), np.concatenate([[0.0], xs]), left=0.0)


@settings(max_examples=6)
@given(delay=st.floats(0.0, 6.0).map(lambda d: round(d, 3)), dt=st.sampled_from([1.0, 0.1, 0.25]))
def test_is_the_input_of_some_time_ago(delay, dt):
    xs = np.random.default_rng(0).normal(size=(12,)).astype(np.float32)
    line = nn.Delay(1, delay * dt, dt=dt)
    line.init_state()
    got = for_loop(line, jnp.asarray(xs)[:, None])[:, 0]
    np.testing.assert_allclose(got, later(xs, delay), rtol=1e-4, atol=1e-5)


def test_a_whole_number_of_steps_is_exact_and_needs_no_more_slots():
    line = nn.Delay(1, 0.3, dt=0.1)  # 0.3 / 0.1 is less than 3 in floating point
    line.init_state()
    assert line.buffer.value.shape == (4, 1)
    xs = sample(9, 1)
    np.testing.assert_array_equal(for_loop(line, xs), jnp.concatenate([jnp.zeros((3, 1)), xs[:-3]]))
    line.reset_state()
    assert not line.buffer.value.any()
    assert line.position.value == 0


def test_no_delay_is_the_identity():
    line = nn.Delay((2, 3), 0.0)
    line.init_state(4)
    x = sample(4, 2, 3)
    np.testing.assert_array_equal(line(x), x)


def test_gradients_come_from_the_right_step():
    line = nn.Delay(1, 1.5)

    def out(xs):
        carry = line.initial_carry()
        return jax.lax.scan(line.step, carry, xs[:, None])[1][:, 0]

    want = np.stack([later(row, 1.5) for row in np.eye(5)], axis=1)
    np.testing.assert_allclose(jax.jacrev(out)(jnp.ones(5)), want, atol=1e-6)


def test_lanes():
    line, xs = nn.Delay(2, 1.25), sample(3, 6, 2)
    nn.vmap_init_all_states(line, 3)
    run = vmap(lambda x: for_loop(line, x), in_states={0: nn.HiddenState}, out_states={0: nn.HiddenState})
    np.testing.assert_allclose(run(xs), nn.RNN(line)(xs), rtol=1e-6)


def test_dtypes():
    line = nn.Delay(2, 1.0, dtype="bfloat16")
    line.init_state()
    assert line(jnp.ones(2)).dtype == line.buffer.value.dtype == jnp.bfloat16
    line = nn.Delay(2, 1.0)
    line.init_state()
    assert line(jnp.array([True, False])).dtype == jnp.float32


@each("delay", [-1.0, float("inf"), float("nan"), "late", None, True])
def test_the_delay_is_checked(delay):
    with pytest.raises(ValueError, match="delay must be a number not less than 0, not"):
        nn.Delay(2, delay)


def test_sizes_are_checked():
    line = nn.Delay(2, 1.0)
    line.init_state(4)
    with pytest.raises(
        ValueError, match=r"^Delay needs a carry of shape \(5, 2, 2\) for `x`.* its buffer is f32\[4,2,2\]"
    ):
        line(jnp.ones((5, 2)))
    with pytest.raises(ValueError, match="in_size must be a positive whole number"):
        nn.Delay(0, 1.0)


# ------------------------------------------------------------------------------------------------------- one for each


DELAYS = np.float32([0.0, 0.25, 1.0, 2.9, 4.0])


def drive(line, xs):
    line.init_state()
    return for_loop(line, jnp.asarray(xs))


@each("dt", [1.0, 0.1])
def test_a_delay_for_each_feature(dt):
    xs = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    want = np.stack([later(row, delay) for row, delay in zip(xs.T, DELAYS, strict=True)], 1)
    np.testing.assert_allclose(drive(nn.Delay(5, DELAYS * dt, dt=dt), xs), want, rtol=1e-4, atol=1e-5)
    trained = nn.Delay(5, nn.ParamState(jnp.asarray(DELAYS * dt)), max_delay=0.7 * 10 * dt, dt=dt)
    np.testing.assert_allclose(drive(trained, xs), want, rtol=1e-4, atol=1e-5)


def test_the_derivative_by_a_delay_is_that_of_the_line_between_two_steps():
    xs = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    delay = nn.ParamState(jnp.asarray(DELAYS))
    line = nn.Delay(5, delay, max_delay=6.0)
    # One whole step further at most, which the line reaches with the same slope.
    want = [later(x, np.floor(d) + 1)[-1] - later(x, np.floor(d))[-1] for x, d in zip(xs.T, DELAYS, strict=True)]
    np.testing.assert_allclose(grad(lambda: drive(line, xs)[-1].sum(), delay)(), want, rtol=1e-3)


def test_a_delay_is_learnt():
    xs = jnp.sin(jnp.arange(60.0) / 4)[:, None].repeat(3, 1)
    delay = nn.ParamState(jnp.zeros(3))
    line = nn.Delay(3, delay, max_delay=8.0)
    want = drive(nn.Delay(3, [1.0, 2.5, 4.0]), xs)[10:]
    optimizer = nn.Optimizer({("delay",): delay}, optax.adam(0.1))

    @jit
    def step():
        loss, grads = value_and_grad(lambda: ((drive(line, xs)[10:] - want) ** 2).mean(), {("delay",): delay})()
        optimizer.update(grads)
        return loss

    for _ in range(120):
        step()
    np.testing.assert_allclose(delay.value, [1.0, 2.5, 4.0], atol=0.1)


def test_a_delay_beyond_the_bounds_counts_as_the_nearest():
    xs = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    delay = nn.ParamState(jnp.array([1.0, 2.0]))
    line = nn.Delay(2, delay, max_delay=3.0)
    delay.value = jnp.array([-1.0, 9.0])
    np.testing.assert_allclose(drive(line, xs), np.stack([xs[:, 0], later(xs[:, 1], 3.0)], 1), rtol=1e-6)


def test_nan_leaves_the_line_when_its_time_is_over():
    out = np.asarray(drive(nn.Delay(2, [1.5, 2.5]), np.float32([[0, 0], [np.nan] * 2, *[[1, 1]] * 5])))
    assert np.isnan(out).tolist() == [[t in (2, 3), t in (3, 4)] for t in range(7)]


def test_a_delay_that_is_set_later_and_has_no_room_is_told():
    model = nn.Sequential(nn.Delay(2, 1.0))
    nn.init_all_states(model)
    model[0].delay = 3.0
    with pytest.raises(ValueError, match=r"Delay at .*0.* has room for delays from 0 to 1, .*`max_delay=3.0`"):
        model(jnp.ones(2))
    assert model[0].position.value == 0


@each(
    ("make", "message"),
    [
        (lambda: nn.Delay(2, nn.ParamState(jnp.ones(2))), "needs the longest delay to make room for: write"),
        (lambda: nn.Delay(2, [1.0, -1.0]), "delay must be a number not less than 0, but has -1"),
        (lambda: nn.Delay(2, [1.0, 1.0, 1.0]), r"delay must be .*, or an array of them of shape \(2,\), not f32\[3]"),
        (lambda: nn.Delay(2, 5.0, max_delay=4.0), "delay must not be longer than max_delay=4, but has 5"),
        (lambda: nn.Delay(2, 1.0, max_delay=-4.0), "max_delay must be a number that is not negative, not -4.0"),
    ],
)
def test_delays_of_each_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()
