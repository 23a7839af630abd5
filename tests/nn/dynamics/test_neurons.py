from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import brainstate_nn as nn
from brainstate_graph import graphdef
from brainstate_transform import for_loop, grad, jit
from tests.tables import each


def simulate(xs, tau, dt, threshold, v_rest, v_reset, soft):
    """One neuron, in double precision."""
    v, vs, spikes = v_rest, [], []
    for x in xs:
        v += (1 - math.exp(-dt / tau)) * (v_rest - v + x)
        spikes.append(float(v >= threshold))
        if v >= threshold:
            v = v - (threshold - v_reset) if soft else v_reset
        vs.append(v)
    return vs, spikes


@pytest.mark.parametrize("soft", [True, False])
def test_against_a_loop_in_python(soft):
    rng = np.random.default_rng(0)
    how = {"tau": 7.0, "dt": 0.5, "threshold": -50.0, "v_rest": -65.0, "v_reset": -70.0}
    neurons = nn.LIF(20, reset="soft" if soft else "hard", **how)
    xs = rng.normal(20.0, 60.0, (200, 20))
    neurons.init_state()

    def step(x):
        spikes = neurons(x)
        return neurons.v.value, spikes

    vs, spikes = for_loop(step, jnp.float32(xs))
    assert 0.01 < float(spikes.mean()) < 0.5
    for i in range(20):
        want_vs, want_spikes = simulate(xs[:, i], **how, soft=soft)
        np.testing.assert_array_equal(spikes[:, i], want_spikes)
        np.testing.assert_allclose(vs[:, i], want_vs, rtol=1e-4)


@settings(max_examples=20)
@given(tau=st.floats(1.0, 50.0), dt=st.floats(0.05, 5.0), current=st.floats(0.0, 0.9))
def test_below_the_threshold_it_is_the_solution_of_the_equation(tau, dt, current):
    # v(t) = v_rest + (1 - exp(-t / tau)) * x, whatever the step
    neuron = nn.LIF(1, tau=tau, dt=dt, v_rest=-0.5)
    v = neuron.initial_carry()
    for n in range(1, 4):
        v, spike = neuron.step(v, jnp.array([current]))
        assert float(v[0]) == pytest.approx(-0.5 + (1 - math.exp(-n * dt / tau)) * current, abs=1e-5)
        assert not spike.any()


def test_the_rate_is_that_of_the_formula():
    # With a hard reset to rest the interval is tau * log(x / (x - threshold)) for a constant current x.
    currents = np.array([1.2, 1.5, 3.0], np.float32)
    neurons = nn.LIF(3, tau=20.0, dt=0.05, reset="hard")
    neurons.init_state()
    spikes = jit(lambda: for_loop(lambda: neurons(jnp.asarray(currents)), length=40_000))()
    # The last interval is not over, and a spike waits for the end of its step.
    want = 2000.0 / (20.0 * np.log(currents / (currents - 1)))
    np.testing.assert_allclose(spikes.sum(0), want, rtol=0.01, atol=1.0)


@each("reset", ["soft", "hard"])
@each("detach", [True, False])
def test_gradients_through_time_by_the_rules_written_out(reset, detach):
    neuron = nn.LIF(1, tau=4.0, reset=reset, detach_reset=detach, surrogate="sigmoid")
    neuron.init_state()
    xs, w = jnp.array([3.0, 4.0, 1.0, 6.0, 2.0]), nn.ParamState(jnp.float32(1.1))

    def loss():
        neuron.reset_state()
        return (for_loop(lambda x: neuron(w.value * x[None]), xs)[:, 0] * jnp.arange(1.0, 6.0)).sum()

    # v' = a v + (1 - a) w x;  s = H(v' - 1) with s' = d(v' - 1);  v = v' - s (soft), (1 - s) v' (hard)
    a, v, dv, total = math.exp(-0.25), 0.0, 0.0, 0.0
    for n, x in enumerate(np.asarray(xs, float)):
        v, dv = a * v + (1 - a) * 1.1 * x, a * dv + (1 - a) * x
        s, sig = float(v >= 1.0), 1 / (1 + math.exp(-4 * (v - 1.0)))
        ds = 4 * sig * (1 - sig) * dv
        total += (n + 1) * ds
        through = 0.0 if detach else ds
        v, dv = (v - s, dv - through) if reset == "soft" else ((1 - s) * v, (1 - s) * dv - through * v)
    assert float(jit(grad(loss, w))()) == pytest.approx(total, rel=1e-4)


def test_a_layer_of_any_shape():
    neurons = nn.LIF((2, 3), v_rest=0.25)
    assert neurons.num_feature_axes == 2
    neurons.init_state(4)
    np.testing.assert_array_equal(neurons.v.value, np.full((4, 2, 3), 0.25, np.float32))
    assert neurons(jnp.ones((4, 2, 3))).shape == (4, 2, 3)
    with pytest.raises(ValueError, match=r"^LIF expects \(2, 3\) as the last axes of `x`, which is f32\[4,1,3\]$"):
        neurons(jnp.ones((4, 1, 3)))
    with pytest.raises(ValueError, match=r"needs at least 2 axes of `x`"):
        neurons(jnp.ones(3))
    with pytest.raises(ValueError, match=r"its v is f32\[4,2,3\]: write `init_state\(5\)`"):
        neurons(jnp.ones((5, 2, 3)))


@pytest.mark.parametrize(
    ("dtype", "given", "out"), [(None, "bfloat16", "float32"), ("bfloat16", "float32", "bfloat16")]
)
def test_dtypes(dtype, given, out):
    neurons = nn.LIF(3, dtype=dtype)
    neurons.init_state()
    assert neurons(jnp.ones(3, given)).dtype == neurons.v.value.dtype == out


def test_what_is_changed_is_another_program():
    first, second = nn.LIF(3), nn.LIF(3, slope=2.0, tau=10)
    assert graphdef(first) is graphdef(second)
    assert graphdef(first) is not graphdef(nn.LIF(3, tau=11.0))


@each(
    ("options", "message"),
    [
        ({"refractory": -1.0}, "refractory must be a number not less than 0, not -1.0"),
        ({"tau": 0.0}, "tau must be a number greater than 0, not 0.0"),
        ({"dt": -1.0}, "dt must be a number greater than 0, not -1.0"),
        ({"threshold": 0.0}, "threshold must be above v_reset=0.0, not 0.0"),
        ({"threshold": "high"}, "threshold must be a finite number, not 'high'"),
        ({"v_rest": float("inf")}, "v_rest must be a finite number, not inf"),
        ({"v_reset": True}, "v_reset must be a finite number, not True"),
        ({"reset": "none"}, """reset must be "soft" or "hard", not 'none'"""),
        ({"surrogate": "relu"}, "a surrogate must be one of sigmoid, arctan"),
        ({"slope": 0.0}, "slope must be a number greater than 0"),
        ({"dtype": int}, "dtype must be a float"),
    ],
    ids=str,
)
def test_options_are_checked(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        nn.LIF(3, **options)


def test_integration_is_exact_where_the_step_is_halved():
    coarse, fine = nn.LIF(1, dt=1.0, threshold=9.0), nn.LIF(1, dt=0.5, threshold=9.0)
    x = jnp.array([2.0])
    v, _ = fine.step(fine.step(fine.initial_carry(), x)[0], x)
    np.testing.assert_allclose(coarse.step(coarse.initial_carry(), x)[0], v, rtol=1e-6)


# ----------------------------------------------------------------------------------------------- refractory, adaptation


@each("how", [lambda r: r, lambda r: nn.ParamState(jnp.asarray(r))], ids=["array", "state"])
def test_the_rate_with_a_refractory_time_is_that_of_the_formula(how):
    # The interval is refractory + tau * log(x / (x - threshold)).
    held = np.float32([0.0, 2.0, 5.0, 12.5])
    neurons = nn.LIF(4, tau=20.0, dt=0.05, reset="hard", refractory=how(held))
    neurons.init_state()
    spikes = jit(lambda: for_loop(lambda: neurons(jnp.full(4, 1.5)), length=40_000))()
    np.testing.assert_allclose(spikes.sum(0), 2000.0 / (held + 20.0 * np.log(3.0)), rtol=0.01, atol=1.0)


@each("reset", ["soft", "hard"])
def test_a_held_neuron_stays_where_the_reset_put_it_and_takes_no_input(reset):
    neurons = nn.LIF(1, tau=10.0, dt=0.1, reset=reset, refractory=0.3, v_reset=-0.5)  # 0.3 / 0.1 is below 3
    neurons.init_state()
    xs = jnp.array([[20.0], *[[x] for x in (50.0, -9.0, 50.0, 50.0, 0.0)]])
    spikes, seen = for_loop(nn.recorded(neurons, "v"), 10 * xs)
    v = np.asarray(seen["v"])[:, 0]
    assert spikes[:, 0].tolist() == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert v[0] == v[1] == v[2] == v[3]
    assert v[0] == (-0.5 if reset == "hard" else pytest.approx((1 - math.exp(-0.01)) * 200 - 1.5, rel=1e-5))


def test_where_the_membrane_starts():
    neurons = nn.LIF(3, v_rest=0.5, v_init=[0.0, 0.1, 0.9])
    neurons.init_state(2)
    np.testing.assert_allclose(neurons.v.value, [[0.0, 0.1, 0.9]] * 2)
    start = nn.ParamState(jnp.float32(0.3))
    neurons = nn.LIF(2, v_init=start, tau=1.0)
    slope = grad(lambda: neurons.step(neurons.initial_carry(), jnp.zeros(2))[0].sum(), start)()
    assert float(slope) == pytest.approx(2 * math.exp(-1.0))


def test_the_threshold_rises_with_each_spike_and_comes_back():
    """Against a loop in Python, in double precision."""
    neurons = nn.ALIF(5, tau=7.0, tau_a=30.0, beta=0.4, reset="hard")
    xs = np.random.default_rng(0).normal(2.0, 1.0, (120, 5))
    neurons.init_state()
    spikes, seen = for_loop(nn.recorded(neurons, "a"), jnp.float32(xs))
    v, a, want = np.zeros(5), np.zeros(5), []
    for x in xs:
        v, a = v + (1 - math.exp(-1 / 7)) * (x - v), a * math.exp(-1 / 30)
        spike = v >= 1 + 0.4 * a
        v, a = np.where(spike, 0.0, v), a + spike
        want.append(spike)
    assert 0.02 < np.mean(want) < 0.5
    np.testing.assert_array_equal(spikes, want)
    np.testing.assert_allclose(seen["a"][-1], a, rtol=1e-4)
