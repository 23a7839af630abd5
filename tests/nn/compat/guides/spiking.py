"""Spiking neurons: integrated over time, wired, and trained through a surrogate gradient."""

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn.compat as brainstate

brainstate.random.seed(0)
brainstate.environ.set(dt=0.5)


@jax.custom_jvp
def spike(x):
    return (x >= 0.0).astype(jnp.float32)


spike.defjvp(lambda primals, tangents: (spike(*primals), jnp.maximum(0.0, 1.0 - jnp.abs(primals[0])) * tangents[0]))


class LIF(brainstate.nn.Dynamics):
    def __init__(self, in_size, tau=10.0, V_th=1.0):
        super().__init__(in_size)
        self.tau, self.V_th = tau, V_th

    def init_state(self, batch_size=None, **kwargs):
        shape = self.varshape if batch_size is None else (batch_size, *self.varshape)
        self.V = brainstate.HiddenState(jnp.zeros(shape, brainstate.environ.dftype()))

    def dV(self, V, t, current):
        return (-V + current) / self.tau

    def update(self, current):
        t = brainstate.environ.get("t")
        V = brainstate.nn.exp_euler_step(self.dV, self.V.value, t, current)
        fired = spike(V - self.V_th)
        self.V.value = V * (1.0 - fired)
        return fired


neurons = LIF((3,))
assert neurons.in_size == neurons.out_size == neurons.varshape == (3,)
brainstate.nn.init_all_states(neurons)
counts = brainstate.State(jnp.zeros(3))
neurons.add_after_update("count", lambda fired: setattr(counts, "value", counts.value + fired))
current = jnp.array([0.5, 1.5, 3.0])


def run(i):
    with brainstate.environ.context(i=i, t=i * brainstate.environ.get_dt()):
        fired = neurons(current)
    return neurons.V.value, fired


vs, spikes = brainstate.transform.for_loop(run, jnp.arange(100))

V, decay, plain = np.zeros(3), np.exp(-0.5 / 10.0), []
for _ in range(100):
    V = V * decay + (1 - decay) * np.asarray(current)
    fired = V >= 1.0
    V = np.where(fired, 0.0, V)
    plain.append(fired)
np.testing.assert_array_equal(spikes, np.array(plain, np.float32))
np.testing.assert_array_equal(counts.value, np.sum(plain, 0))
assert counts.value[0] == 0.0
assert counts.value[2] > counts.value[1] > 0.0
np.testing.assert_allclose(vs[-1], V, rtol=1e-4)


class SNN(brainstate.nn.Module):
    def __init__(self, n_in, n_rec, n_out):
        super().__init__()
        self.i2r = brainstate.nn.Linear(n_in, n_rec, w_init=brainstate.nn.init.Uniform(0.0, 2.0), b_init=None)
        self.r = LIF(n_rec, tau=2.0)
        self.r2o = brainstate.nn.Linear(n_rec, n_out, w_init=brainstate.nn.init.KaimingNormal())

    def update(self, t, x):
        with brainstate.environ.context(t=t):
            return x >> self.i2r >> self.r >> self.r2o


net = SNN(6, 5, 2)
weights = net.states(brainstate.ParamState)
times = jnp.arange(0.0, 10.0, brainstate.environ.get_dt())
x = (brainstate.random.rand(len(times), 8, 6) < 0.5).astype(float)
x = x.at[:, :4, :3].set(0.0).at[:, 4:, 3:].set(0.0)
y = jnp.repeat(jnp.arange(2), 4)


def loss_fn():
    brainstate.nn.init_all_states(net, batch_size=8)
    out = brainstate.transform.for_loop(net.update, times, x).mean(axis=0)
    return -jax.nn.log_softmax(out)[jnp.arange(8), y].mean()


@brainstate.transform.jit
def train_step():
    grads, loss = brainstate.transform.grad(loss_fn, weights, return_value=True)()
    for key, weight in weights.items():
        weight.value = jax.tree.map(lambda w, g: w - 0.5 * g, weight.value, grads[key])
    return loss


losses = [float(train_step()) for _ in range(30)]
assert losses[-1] < 0.7 * losses[0]
brainstate.environ.pop("dt")
