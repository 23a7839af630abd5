"""``Param``, constraints, penalties: their older names mean the formulas that they are named after."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
import brainstate_transform as bt
from brainstate_nn import compat
from tests.tables import each

x = np.linspace(-3.0, 3.0, 7)
softplus, sigmoid = np.logaddexp(x, 0), 1 / (1 + np.exp(-x))
TRANSFORMS = {
    "IdentityT": ((), x),
    "ClipT": ((-1.0, 2.0), np.clip(x, -1, 2)),
    "AffineT": ((2.0, 1.0), 2 * x + 1),
    "SigmoidT": ((-1.0, 3.0), -1 + 4 * sigmoid),
    "ScaledSigmoidT": ((-1.0, 3.0, 0.5), -1 + 4 / (1 + np.exp(-0.5 * x))),
    "TanhT": ((-1.0, 3.0), 1 + 2 * np.tanh(x)),
    "ExpT": ((0.5,), 0.5 + np.exp(x)),
    "LogT": ((0.5,), 0.5 + np.exp(x)),
    "PositiveT": ((), np.exp(x)),
    "SoftplusT": ((0.5,), 0.5 + softplus),
    "NegSoftplusT": ((0.5,), 0.5 - np.logaddexp(-x, 0)),
    "NegativeT": ((), -np.logaddexp(-x, 0)),
}
w = np.arange(6.0).reshape(2, 3) - 2
PENALTIES = {
    "L1Reg": ((0.5,), 0.5 * np.abs(w).sum()),
    "L2Reg": ((0.5,), 0.5 * (w**2).sum()),
    "ElasticNetReg": ((1.0, 2.0, 0.25), 0.25 * np.abs(w).sum() + 0.75 * 2 * (w**2).sum()),
    "OrthogonalReg": ((0.5,), 0.5 * ((w @ w.T - np.eye(2)) ** 2).sum()),
}


@each("name, row", TRANSFORMS.items())
def test_constraints(name, row):
    settings, expected = row
    transform = getattr(compat, name)(*settings)
    np.testing.assert_allclose(transform.forward(jnp.asarray(x, jnp.float32)), expected, rtol=1e-5, atol=1e-6)
    allowed = np.clip(x, -1, 2) if name == "ClipT" else x
    np.testing.assert_allclose(
        transform.inverse(transform.forward(jnp.asarray(allowed))), allowed, rtol=1e-3, atol=1e-4
    )
    assert isinstance(transform, nn.Transform)
    assert transform == getattr(compat, name)(*settings)
    assert type(transform) is getattr(compat, name)


@each("name, row", PENALTIES.items())
def test_penalties(name, row):
    settings, expected = row
    penalty = getattr(compat, name)(*settings)
    np.testing.assert_allclose(penalty.loss(w), expected, rtol=1e-6)
    assert isinstance(penalty, compat.Regularization)
    assert isinstance(getattr(compat, name)(), compat.Regularization)
    state = nn.ParamState(jnp.asarray(w, jnp.float32), penalty=penalty)
    np.testing.assert_allclose(nn.reg_loss({"w": state}), expected, rtol=1e-6)


class Net(compat.Module):
    def __init__(self):
        super().__init__()
        self.tau = compat.Param(jnp.array([2.0, 5.0]), t=compat.SoftplusT(1.0), reg=compat.L2Reg(0.1))
        self.inner = compat.Sequential(compat.Linear(2, 2))
        self.inner.gain = compat.Param(3.0, reg=compat.L1Reg(2.0), precompute=jnp.square)
        self.rest = compat.Const(-65.0)

    def update(self, v):
        return (self.rest.value() - v) / self.tau.value()


def test_a_param_is_trained_by_free_numbers_and_used_by_its_value():
    net = Net()
    np.testing.assert_allclose(net.tau.value(), [2.0, 5.0], rtol=1e-6)
    np.testing.assert_allclose(net.tau.val.value, np.log(np.expm1([1.0, 4.0])), rtol=1e-5)
    free = net.states(nn.ParamState)
    assert ("tau", "val") in free
    assert ("rest", "val") not in free
    slopes = bt.grad(lambda: net.tau.value().sum(), {"tau": net.tau.val})()["tau"]
    np.testing.assert_allclose(slopes, jax.nn.sigmoid(net.tau.val.value), rtol=1e-5)
    net.tau.set_value(jnp.array([4.0, 9.0]))
    net.tau.clip(max_val=6.0)
    np.testing.assert_allclose(net.tau.value(), [4.0, 6.0], rtol=1e-5)
    assert float(net.inner.gain.value()) == 9.0


def test_the_penalties_of_a_model_are_those_of_the_values():
    net = Net()
    expected = 0.1 * (2.0**2 + 5.0**2) + 2.0 * 9.0
    np.testing.assert_allclose([net.reg_loss(), nn.reg_loss(net)], expected, rtol=1e-5)
    np.testing.assert_allclose(sum(p.reg_loss() for p in net.param_modules()), expected, rtol=1e-5)
    assert dict(net.named_param_modules()).keys() == {"tau", "inner.gain", "rest"}
    assert dict(net.named_param_modules(allowed_hierarchy=(1, 1))).keys() == {"tau", "rest"}
    with net.param_precompute():
        np.testing.assert_array_equal(bt.jit(net.tau.cache)(), net.tau.value())
    assert not net.tau.cache_stats["valid"]


def test_a_param_is_made_of_what_initialisers_give():
    assert compat.Param.init(None) is None
    made = compat.Param.init(compat.init.Constant(2.0), (3,))
    assert isinstance(made, compat.Const)
    assert made.value().tolist() == [2.0, 2.0, 2.0]
    assert compat.Param.init(made, 3) is made
    for wrong in (
        lambda: compat.Param.init(jnp.ones(2), (3,)),
        lambda: compat.Param(1.0, reg=3.0),
        lambda: compat.Const(1.0, fit=True),
    ):
        with pytest.raises(ValueError):
            wrong()
    with pytest.raises(TypeError, match=r"t must be a Transform, such as `SoftplusT\(0.0\)`, not 3"):
        compat.Param(1.0, t=3)
