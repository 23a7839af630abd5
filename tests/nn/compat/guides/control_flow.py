"""Branches and loops that read and write states."""

import jax.numpy as jnp
import numpy as np
from brainstate_nn.compat.transform import (
    bounded_while_loop,
    checkpointed_for_loop,
    cond,
    for_loop,
    ifelse,
    scan,
    switch,
    while_loop,
)

import brainstate_nn.compat as brainstate

account = brainstate.State(jnp.array(10.0))


def pay(amount):
    account.value -= amount
    return True


def refuse(amount):
    return False


@brainstate.transform.jit
def spend(amount):
    return cond(account.value >= amount, pay, refuse, amount)


assert [bool(spend(a)) for a in (6.0, 6.0, 4.0)] == [True, False, True]
assert float(account.value) == 0.0
assert [int(switch(i, [lambda x: x, lambda x: 2 * x, lambda x: 3 * x], 5)) for i in range(3)] == [5, 10, 15]


def grade(score):
    return ifelse(
        conditions=[score > 90, (score > 50) & (score <= 90), score <= 50],
        branches=[lambda: 2, lambda: 1, lambda: 0],
    )


assert [int(grade(jnp.array(s))) for s in (95, 70, 10)] == [2, 1, 0]

v = brainstate.HiddenState(jnp.array(0.0))


def leak(inp):
    v.value = 0.5 * v.value + inp
    return v.value


inputs = jnp.array([1.0, 0.0, 2.0, 4.0])
expected, now = [], 0.0
for inp in inputs.tolist():
    now = 0.5 * now + inp
    expected.append(now)
for loop in (for_loop, checkpointed_for_loop):
    v.value = jnp.array(0.0)
    np.testing.assert_allclose(loop(leak, inputs), expected, rtol=1e-6)
    assert float(v.value) == expected[-1]
assert for_loop(lambda a, b: a + b, inputs, inputs).tolist() == (2 * inputs).tolist()
assert for_loop(lambda _: v.value, jnp.arange(3), reverse=True).shape == (3,)


def running(carry, x):
    v.value += x
    return carry + x, carry


last, before = scan(running, 0.0, inputs)
assert float(last) == 7.0
assert before.tolist() == [0.0, 1.0, 1.0, 3.0]
assert float(v.value) == expected[-1] + 7.0

steps = brainstate.State(jnp.array(0))


def halve(x):
    steps.value += 1
    return x / 2


assert float(while_loop(lambda x: x > 1.0, halve, 16.0)) == 1.0
assert int(steps.value) == 4
assert float(bounded_while_loop(lambda x: x > 1.0, halve, 16.0, max_steps=10)) == 1.0
assert int(steps.value) == 8

# A loop inside a gradient: the last value by the factor of the leak.
decay = brainstate.ParamState(jnp.array(0.5))


def final():
    v.value = jnp.array(0.0)

    def step(inp):
        v.value = decay.value * v.value + inp
        return v.value

    return for_loop(step, inputs)[-1]


slope = brainstate.transform.grad(final, decay)()
np.testing.assert_allclose(slope, 3 * 0.5**2 * 1.0 + 2.0, rtol=1e-6)
np.testing.assert_allclose(brainstate.transform.map(lambda x: x**2, inputs), inputs**2)
