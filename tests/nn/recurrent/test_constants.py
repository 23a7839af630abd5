"""The law of constants: for each neuron and synapse, one for all, one for each, and a state give the same dynamics."""

from __future__ import annotations

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import graphdef
from brainstate_transform import for_loop, grad, jit, vmap, vmap_new_states
from tests.tables import each

SIZE = 3
# Each with the input that makes it spike now and then, and what is not the usual one.
CELLS = {
    "LIF": (nn.LIF, 1.5, {"refractory": 2.0, "v_init": 0.1}),
    "ALIF": (nn.ALIF, 2.0, {"refractory": 1.0, "v_init": 0.1}),
    "ExpIF": (nn.ExpIF, 30.0, {"refractory": 0.2, "v_init": -64.0}),
    "AdEx": (nn.AdEx, 60.0, {"refractory": 0.2, "v_init": -64.0}),
    "Izhikevich": (nn.Izhikevich, 20.0, {"refractory": 0.2, "v_init": -64.0}),
    "HodgkinHuxley": (nn.HodgkinHuxley, 20.0, {}),
    "ExponentialSynapse": (nn.ExponentialSynapse, 1.0, {}),
    "AlphaSynapse": (nn.AlphaSynapse, 1.0, {}),
    "DualExponentialSynapse": (nn.DualExponentialSynapse, 1.0, {}),
    "ShortTermPlasticity": (nn.ShortTermPlasticity, 1.0, {}),
    "Delay": (lambda n, **o: nn.Delay(n, **o), 1.0, {"delay": 2.25, "max_delay": 9.0}),
}
STEPS = 80


def constants(kind):
    """All constants of a class by name, with their usual numbers."""
    found = inspect.signature(kind).parameters.values()
    return {p.name: p.default for p in found if str(p.annotation).startswith("Given") and p.default is not p.empty}


def run(cell, x):
    # A slow wave, so that what is at rest moves too.
    xs = x * (1 + 0.5 * jnp.sin(jnp.arange(STEPS) / 9))[:, None]
    size = cell.in_size[0]
    return jax.jit(lambda xs: jax.lax.scan(cell.step, cell.initial_carry(), xs))(xs.repeat(size, 1))


@pytest.mark.parametrize("name", CELLS)
def test_one_for_each_is_as_many_layers_of_one(name):
    kind, x, options = CELLS[name]
    usual = {**(constants(kind) if inspect.isclass(kind) else {}), **options}
    fixed = {k: usual.pop(k) for k in ("max_delay",) if k in usual}
    usual = {k: v for k, v in usual.items() if v is not None}
    assert usual
    each = {k: np.float32(v) * np.linspace(0.98, 1.03, SIZE).astype(np.float32) for k, v in usual.items()}
    alone = [run(kind(1, **{k: float(v[i]) for k, v in each.items()}, **fixed), x) for i in range(SIZE)]
    want = jax.tree.map(lambda *parts: jnp.concatenate(parts, -1) if parts[0].ndim else parts[0], *alone)
    for given in (each, {k: nn.ParamState(jnp.asarray(v)) for k, v in each.items()}):
        got = run(kind(SIZE, **given, **fixed), x)
        # A spike of a step later makes all the difference, and none is here.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3), got, want)
    assert np.ptp(want[1], axis=1).any()


def test_a_state_is_used_and_trained():
    tau = nn.ParamState(jnp.array([4.0, 9.0]))
    synapse = nn.ExponentialSynapse(2, tau=tau)
    assert synapse.tau is tau
    synapse.init_state()
    loss = lambda: for_loop(lambda x: synapse(x * jnp.ones(2)), jnp.array([1.0, 0.0, 0.0]))[-1].sum()
    got = jit(grad(loss, tau))()
    # exp(-2 / tau) has the derivative 2 / tau**2 * exp(-2 / tau)
    np.testing.assert_allclose(got, [2 / t**2 * math.exp(-2 / t) for t in (4.0, 9.0)], rtol=1e-5)


def test_a_constraint_holds():
    tau = nn.Constrained(jnp.array([4.0, 9.0]), nn.Exp())
    synapse = nn.ExponentialSynapse(2, tau=tau)
    tau.value = tau.value - 50.0
    carry, _ = synapse.step(jnp.ones(2), jnp.zeros(2))
    assert jnp.isfinite(carry).all()
    tau.constrained = jnp.array([5.0, 6.0])
    carry, _ = synapse.step(jnp.ones(2), jnp.zeros(2))
    np.testing.assert_allclose(carry, np.exp(-1 / np.array([5.0, 6.0])), rtol=1e-6)


def test_a_short_step_keeps_its_digits():
    # 1 - exp(-x) in single precision has four digits at x = 0.0001
    v, _ = nn.LIF(1, tau=[1.0], dt=1e-4).step(jnp.zeros(1), jnp.ones(1))
    assert float(v[0]) == pytest.approx(-math.expm1(-1e-4), rel=1e-6)


def test_a_new_number_is_another_program_and_a_new_array_is_not():
    assert graphdef(nn.LIF(2, tau=[1.0, 2.0])) is graphdef(nn.LIF(2, tau=[3.0, 4.0]))
    assert graphdef(nn.LIF(2, tau=1.0)) is not graphdef(nn.LIF(2, tau=2.0))
    assert list(nn.LIF(2, tau=[1.0, 2.0]).states(nn.LongTermState)) == [("tau",)]


def test_one_of_each_lane_and_of_each_layer_of_a_stack():
    taus = jnp.array([[2.0, 3.0], [4.0, 5.0]])
    members = vmap_new_states(lambda tau: nn.ExponentialSynapse(2, tau=nn.ParamState(tau)))(taus)
    got = vmap(lambda: members.step(jnp.ones(2), jnp.zeros(2))[0], in_states={0: nn.ParamState}, axis_size=2)()
    np.testing.assert_allclose(got, np.exp(-1 / np.asarray(taus)), rtol=1e-6)
    stack = nn.Stack(2, lambda: nn.LIF(3, tau=nn.ParamState(jnp.full(3, 5.0)), refractory=[0.0, 1.0, 2.0]))
    nn.init_all_states(stack, 4)
    assert stack(jnp.ones((4, 3))).shape == (4, 3)


@each(
    ("name", "constant", "value"),
    [
        ("LIF", "tau", 4.0),
        ("LIF", "refractory", 3.0),
        ("ALIF", "beta", 0.3),
        ("AdEx", "refractory", 0.5),
        ("HodgkinHuxley", "g_k", 30.0),
        ("DualExponentialSynapse", "tau_decay", 9.0),
        ("ShortTermPlasticity", "use", 0.3),
        ("Delay", "delay", 3.5),
    ],
)
def test_a_constant_that_is_set_later_is_as_one_that_was_given(name, constant, value):
    kind, x, _ = CELLS[name]
    fixed = {"max_delay": 9.0} if name == "Delay" else {}
    start = {"delay": 1.0} if name == "Delay" else {}
    want = run(kind(SIZE, **(fixed | {constant: value})), x)
    for new in (value, jnp.full(SIZE, value), nn.ParamState(jnp.full(SIZE, value))):
        cell = kind(SIZE, **(fixed | start))
        setattr(cell, constant, new)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), run(cell, x), want)


def test_a_refractory_time_that_is_set_later_needs_its_state():
    neurons = nn.LIF(2)
    neurons.init_state()
    neurons.refractory = 3.0
    with pytest.raises(RuntimeError, match="LIF has no hidden state yet: write `init_all_states"):
        neurons(jnp.ones(2))
    neurons.init_state()
    assert for_loop(lambda: neurons(jnp.full(2, 99.0)), length=9)[:, 0].tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1]


@each("name", CELLS)
def test_in_the_strictest_jax(name):
    kind, x, options = CELLS[name]
    usual = {**(constants(kind) if inspect.isclass(kind) else {}), **options}
    given = {k: nn.ParamState(jnp.full(SIZE, v)) for k, v in usual.items() if k != "max_delay" and v is not None}
    current = nn.ParamState(jnp.full(SIZE, x))

    def total(cell):
        carry, y = cell.step(cell.initial_carry(), current.value)
        return y.sum() + cell.step(carry, current.value)[1].sum()

    with jax.numpy_dtype_promotion("strict"):
        assert jnp.isfinite(jit(total)(kind(SIZE, **options)))
        grads = jit(grad(total, nn.ParamState))(kind(SIZE, **(options | given)))
    assert len(grads) == 1 + len(given)
    assert all(jnp.isfinite(x).all() for x in grads.values())


@each("make", [nn.LIF, nn.ExponentialSynapse])
def test_a_state_of_whole_numbers(make):
    with jax.numpy_dtype_promotion("strict"):
        one, other = (make(2, tau=nn.ParamState(jnp.array([4, 9], dtype))) for dtype in ("int32", "float32"))
        got, want = (cell.step(cell.initial_carry(), jnp.ones(2)) for cell in (one, other))
    np.testing.assert_array_equal(got, want)


@each("dtype", ["bfloat16", "float16"])
def test_half_precision_is_kept_from_constants(dtype):
    for cell in (
        nn.LIF(2, tau=[5.0, 6.0], refractory=[1.0, 2.0], dtype=dtype),
        nn.AdEx(2, a=[0.1, 0.2], dtype=dtype),
        nn.HodgkinHuxley(2, c=[1.0, 2.0], dtype=dtype),
        nn.DualExponentialSynapse(2, tau_rise=[0.5, 1.0], dtype=dtype),
        nn.ShortTermPlasticity(2, use=[0.1, 0.2], dtype=dtype),
        nn.Delay(2, [0.5, 1.5], dtype=dtype),
    ):
        assert cell.step(cell.initial_carry(), jnp.ones(2))[1].dtype == dtype


@each(
    ("tau", "message"),
    [
        ([1.0, 0.0], "tau must be a number greater than 0, but has 0"),
        (np.array([1.0, np.nan]), "tau must be a number greater than 0, but has nan"),
        (nn.ParamState(jnp.array(-1.0)), "tau must be a number greater than 0, but has -1"),
        (np.ones(3), r"tau must be a number greater than 0, or an array of them of shape \(2,\), not f\d\d\[3\]"),
        (np.ones((1, 2)), r"or an array of them of shape \(2,\), not f\d\d\[1,2\]"),
        (["a", "b"], r"tau must be a number greater than 0, or an array of them, not \['a', 'b'\]"),
        ("long", "tau must be a number greater than 0, not 'long'"),
        (True, "tau must be a number greater than 0, not True"),
    ],
)
def test_what_is_no_constant_is_told(tau, message):
    for make in (nn.LIF, nn.ExponentialSynapse):
        with pytest.raises(ValueError, match=message):
            make(2, tau=tau)
