"""A classifier with normalisation, dropout, metrics and clipped gradients, trained by optax."""

import brainstate_nn.compat.nn as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import brainstate_nn.compat as brainstate

brainstate.random.seed(1)
labels = jnp.tile(jnp.arange(2), 16)
x = brainstate.random.normal(0.0, 0.3, size=(32, 4)) + jnp.where(labels[:, None] == 1, 1.0, -1.0)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear((4,), (8,)),
            nn.BatchNorm0d((8,)),
            nn.ReLU(),
            nn.Dropout(prob=0.9),
            nn.Linear.desc(out_size=2),
        )

    def update(self, x):
        return self.layers(x)


net = Classifier()
assert net.layers.out_size == (2,)
params = net.states(brainstate.ParamState)
tx = optax.adam(1e-1)
opt_state = brainstate.LongTermState(tx.init(params.to_dict_values()))
metrics = nn.MultiMetric(loss=nn.AverageMetric("loss"), accuracy=nn.AccuracyMetric())


def loss_fn():
    logits = net(x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), logits


@brainstate.transform.jit
def train_step():
    with brainstate.environ.context(fit=True):
        grads, loss, logits = brainstate.transform.grad(loss_fn, params, has_aux=True, return_value=True)()
    grads, norm = nn.clip_grad_norm(dict(grads), 0.5, return_norm=True)
    values = params.to_dict_values()
    updates, opt_state.value = tx.update(grads, opt_state.value, values)
    for key, new in optax.apply_updates(values, updates).items():
        params[key].value = new
    return loss, logits, norm, nn.clip_grad_norm(grads, 9.0, return_norm=True)[1]


losses = []
for _ in range(20):
    loss, logits, norm, clipped = train_step()
    metrics.update(loss=loss, logits=logits, labels=labels)
    losses.append(float(loss))
    assert float(clipped) <= 0.5 + 1e-5
    np.testing.assert_allclose(clipped, min(float(norm), 0.5), rtol=1e-4)
assert losses[-1] < 0.3 * losses[0]
np.testing.assert_allclose(metrics.compute()["loss"], np.mean(losses), rtol=1e-5)
metrics.reset()


@brainstate.transform.jit
def predict(x):
    with brainstate.environ.context(fit=False):
        return net(x)


metrics.update(loss=0.0, logits=predict(x), labels=labels)
assert float(metrics.compute()["accuracy"]) == float((predict(x).argmax(-1) == labels).mean()) == 1.0
np.testing.assert_array_equal(predict(x), predict(x))

# Where the mode is not part of a context, it is set for the process.
brainstate.environ.set(fit=True)
drawn = [nn.Dropout(0.5)(jnp.ones(1000)) for _ in range(2)]
brainstate.environ.pop("fit")
assert set(np.unique(drawn[0])) == {0.0, 2.0}
assert (drawn[0] != drawn[1]).any()

# A penalty and a constraint of a parameter.
rate = nn.Param(jnp.array([1.5, 3.0]), t=nn.SoftplusT(1.0), reg=nn.L2Reg(0.1))
held = nn.Const(jnp.array(2.0))
np.testing.assert_allclose(rate.value(), [1.5, 3.0], rtol=1e-6)
assert float(held.value()) == 2.0
assert held.fit is False
np.testing.assert_allclose(rate.reg_loss(), 0.1 * (1.5**2 + 3.0**2), rtol=1e-5)
free = rate.states(brainstate.ParamState)
slopes = brainstate.transform.grad(lambda: rate.value().sum() + rate.reg_loss(), free)()
raw = np.log(np.expm1(np.array([0.5, 2.0])))
expected = (1 + 0.2 * np.array([1.5, 3.0])) / (1 + np.exp(-raw))
np.testing.assert_allclose(slopes[("val",)], expected, rtol=1e-5)
free[("val",)].value = free[("val",)].value - 100.0
assert (rate.value() >= 1.0).all()
assert jax.tree.leaves(free.to_dict_values())
