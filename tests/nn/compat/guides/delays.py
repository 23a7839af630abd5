"""Synaptic delays: a buffer that is read at several times, the past of a state, and the past of a result."""

import jax.numpy as jnp
import numpy as np

import brainstate_nn.compat as brainstate

brainstate.environ.set(dt=0.1)
buffer = brainstate.nn.Delay(jnp.zeros(2), time=0.4, init=-1.0, entries={"short": 0.1})
buffer.register_entry("long", 0.4)
reader = buffer.access("middle", 0.3)
buffer.register_entry("each", jnp.array([0.2, 0.4]), jnp.array([0, 1]))
buffer.init_state()
assert buffer.max_length == 5
assert buffer.history.value.shape == (5, 2)


def ago(i, steps):
    return float(i - steps) if i >= steps else -1.0


for i in range(9):
    brainstate.environ.set(i=i, t=i * 0.1)
    buffer.update(jnp.array([i, 10.0 * i]))
    assert float(buffer.at("short")[0]) == ago(i, 1)
    assert float(buffer.at("long")[0]) == ago(i, 4)
    assert float(reader()[0]) == ago(i, 3)
    assert float(buffer.retrieve_at_step(0)[1]) == 10.0 * i
np.testing.assert_allclose(buffer.at("each"), [6.0, 40.0])
np.testing.assert_allclose(buffer.retrieve_at_time(0.8 - 0.25), [5.5, 55.0], rtol=1e-4)
brainstate.environ.pop("i"), brainstate.environ.pop("t")


class Feedback(brainstate.nn.Dynamics):
    def __init__(self, size, delay, strength):
        super().__init__(size)
        self.strength = strength
        self.past = self.prefetch_delay("v", delay)

    def init_state(self, *args, **kwargs):
        self.v = brainstate.HiddenState(jnp.zeros(self.varshape))

    def update(self, x):
        self.v.value = 0.5 * self.v.value + x + self.strength * self.past()
        return self.v.value


loop = Feedback(2, 0.2, -0.3)
late = loop.output_delay(0.1)
brainstate.nn.init_all_states(loop)


def step(i, x):
    with brainstate.environ.context(i=i, t=i * 0.1):
        return loop(x), late()


inputs = jnp.sin(jnp.arange(12.0))[:, None] * jnp.array([[1.0, 2.0]])
now, before = brainstate.transform.for_loop(step, jnp.arange(12), inputs)

# The value of a step reads what was there three steps before: two of delay, and the one that is being made.
v = [np.zeros(2)] * 3
for x in np.asarray(inputs):
    v.append(0.5 * v[-1] + x - 0.3 * v[-3])
np.testing.assert_allclose(now, v[3:], rtol=1e-5, atol=1e-6)
np.testing.assert_allclose(before, v[2:-1], rtol=1e-5, atol=1e-6)
np.testing.assert_allclose(loop.prefetch("v")(), v[-1], rtol=1e-5, atol=1e-6)

log = []


@brainstate.nn.receive_update_input
class Before:
    def __call__(self, x):
        log.append(("before", float(x[0])))


@brainstate.nn.not_receive_update_output
class After:
    def __call__(self):
        log.append(("after",))


loop.add_before_update("seen", Before())
loop.add_after_update("done", After())
loop(jnp.ones(2))
assert log == [("before", 1.0), ("after",)]
assert loop.has_before_update("seen")

np.random.seed(0)
dense = jnp.asarray(np.random.rand(4, 3), jnp.float32)
assert np.allclose(brainstate.nn.AllToAll(4, 3, dense)(jnp.ones(4)), dense.sum(0))
assert np.allclose(brainstate.nn.OneToOne(3, jnp.arange(3.0))(jnp.ones(3)), [0.0, 1.0, 2.0])
few = brainstate.nn.FixedNumConn(20, 30, conn_num=4, conn_weight=0.5, seed=1)
assert np.allclose(few(jnp.ones(20)).sum(), 20 * 4 * 0.5)
brainstate.environ.pop("dt")
