"""The rows of neurons, synapses and delays in the table of layers: one step from 0.5 in all hidden states.

The oracles are the equations of the sources with a step written out. A spike has the derivative of an arc tangent.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import brainstate_nn as nn
from tests.laws.layer import Layer, rows, started
from tests.laws.sizes import Sizes
from tests.nn.peers import formula

HALF = 0.5


def spike(above: jax.Array) -> jax.Array:
    smooth = 0.5 + jnp.arctan(jnp.pi * above) / jnp.pi
    return jax.lax.stop_gradient((above >= 0) - smooth) + smooth


def leaky(x: jax.Array, tau: Any = 1.0, dt: float = 1.0) -> jax.Array:
    leak = jnp.exp(-dt / jnp.float32(tau))
    return HALF * leak + (1 - leak) * x.astype(jnp.float32)


def per_neuron(s: Sizes) -> jax.Array:
    return jnp.linspace(0.8, 3.0, s.width)


def izhikevich(m: nn.Izhikevich, v: Any, x: jax.Array) -> jax.Array:
    # f(v) = (0.04 v + 5) v + 140 - u + x, f'(v) = 0.08 v + 5
    slope, f = 0.04 + 5, 0.01 + 2.5 + 140 - 0.5 + x.astype(jnp.float32)
    return spike(HALF + (jnp.exp(slope * m.dt) - 1) / slope * f - m.threshold)


def hodgkin_huxley(m: nn.HodgkinHuxley, values: Any, x: jax.Array) -> jax.Array:
    v, x = HALF, x.astype(jnp.float32)

    def gate(opens: Any, closes: Any) -> jax.Array:
        end = opens / (opens + closes)
        return end + (HALF - end) * jnp.exp(-(opens + closes) * m.dt)

    a = gate(0.1 * (v + 40) / (1 - jnp.exp(-(v + 40) / 10)), 4 * jnp.exp(-(v + 65) / 18))
    h = gate(0.07 * jnp.exp(-(v + 65) / 20), 1 / (1 + jnp.exp(-(v + 35) / 10)))
    n = gate(0.01 * (v + 55) / (1 - jnp.exp(-(v + 55) / 10)), 0.125 * jnp.exp(-(v + 65) / 80))
    g = jnp.stack([120 * a**3 * h, 36 * n**4, jnp.float32(0.3)])
    end = (x + (g * jnp.array([50.0, -77.0, -54.387])).sum()) / g.sum()
    return spike(end + (v - end) * jnp.exp(-g.sum() * m.dt) - m.threshold)


def _exponential(x: jax.Array, w: float = 0.0) -> jax.Array:
    # delta * exp((v - v_rise) / delta) with delta 0.5 and v_rise 0.25
    return spike(leaky(x.astype(jnp.float32) + 0.5 * jnp.exp(0.5) - w) - 0.6)


EXPONENTIAL: dict[str, Any] = {
    "tau": 1.0, "delta": 0.5, "v_rise": 0.25, "dt": 1.0, "threshold": 0.6, "v_rest": 0.0, "v_reset": -0.1,
}  # fmt: skip


def _trained(s: Sizes, **options: Any) -> nn.LIF:
    return nn.LIF(s.width, tau=nn.ParamState(per_neuron(s)), threshold=nn.ParamState(per_neuron(s) / 3), **options)


def _use(m: nn.ShortTermPlasticity, v: Any, x: jax.Array) -> jax.Array:
    x, u, left = x.astype(jnp.float32), HALF * jnp.exp(-1 / 3.0), 1 - HALF * jnp.exp(-1 / 2.0)
    return (u + 0.25 * (1 - u) * x) * left * x


NEURONS: list[Layer] = [
    Layer("LIF", lambda s, rng: nn.LIF(s.width, tau=1.0, threshold=0.6), rows,
          formula(lambda m, v, x: spike(leaky(x) - 0.6)), plain=True, start=started),
    Layer("LIF refractory, of each", lambda s, rng: nn.LIF(
          s.width, tau=per_neuron(s), threshold=0.6, refractory=2.0, v_init=per_neuron(s), reset="hard"), rows,
          formula(lambda m, v, x: spike(leaky(x, m.tau.value[None]) - 0.6)), plain=True, start=started),
    Layer("LIF trained", lambda s, rng: _trained(s), rows,
          formula(lambda m, v, x: spike(leaky(x, v["tau"][None]) - v["threshold"][None])), plain=True, start=started),
    Layer("ALIF", lambda s, rng: nn.ALIF(s.width, tau=1.0, tau_a=2.0, beta=0.5, threshold=0.4), rows,
          formula(lambda m, v, x: spike(leaky(x) - 0.4 - 0.5 * HALF * jnp.exp(-0.5))), plain=True, start=started),
    Layer("ExpIF", lambda s, rng: nn.ExpIF(s.width, **EXPONENTIAL), rows,
          formula(lambda m, v, x: _exponential(x)), plain=True, start=started),
    Layer("AdEx", lambda s, rng: nn.AdEx(s.width, **EXPONENTIAL), rows,
          formula(lambda m, v, x: _exponential(x, w=0.5)), plain=True, start=started),
    Layer("Izhikevich", lambda s, rng: nn.Izhikevich(s.width, threshold=18.3), rows, formula(izhikevich), plain=True,
          start=started),
    Layer("HodgkinHuxley", lambda s, rng: nn.HodgkinHuxley(s.width, threshold=1.0), rows, formula(hodgkin_huxley),
          plain=True, start=started),
    Layer("ExponentialSynapse", lambda s, rng: nn.ExponentialSynapse(s.width, tau=2.0), rows,
          formula(lambda m, v, x: HALF * jnp.exp(-0.5) + x.astype(jnp.float32)), plain=True, start=started),
    Layer("AlphaSynapse", lambda s, rng: nn.AlphaSynapse(s.width, tau=2.0), rows,
          formula(lambda m, v, x: HALF * jnp.exp(-0.5) * (1 + jnp.e / 2) + 0 * x.astype(jnp.float32)), plain=True,
          start=started),
    Layer("DualExponentialSynapse", lambda s, rng: nn.DualExponentialSynapse(s.width, tau_rise=1.0, tau_decay=2.0),
          # the highest value of exp(-t / 2) - exp(-t) is 1 / 4
          rows, formula(lambda m, v, x: 2 * (jnp.exp(-0.5) - jnp.exp(-1.0)) + 0 * x.astype(jnp.float32)), plain=True,
          start=started),
    Layer("ShortTermPlasticity", lambda s, rng: nn.ShortTermPlasticity(s.width, use=0.25, tau_f=3.0, tau_d=2.0), rows,
          formula(_use), plain=True, start=started),
    Layer("Delay", lambda s, rng: nn.Delay(s.width, 0.25), rows, formula(lambda m, v, x: 0.75 * x.astype(jnp.float32)),
          plain=True, start=lambda layer, s: layer.init_state(s.batch)),
    Layer("Delay of each, trained", lambda s, rng: nn.Delay(
              s.width, nn.ParamState(per_neuron(s) / 4), max_delay=2.0), rows,
          formula(lambda m, v, x: (1 - v["delay"][None]) * x.astype(jnp.float32)), plain=True,
          start=lambda layer, s: layer.init_state(s.batch)),
]  # fmt: skip
