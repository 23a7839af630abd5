from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import PathContains, clone, graphdef, treefy_merge, treefy_split
from brainstate_transform import grad, jit
from tests.nn.oracle import sample
from tests.tables import each

W = np.asarray(sample(4, 3), np.float64)
ORTHOGONAL = ((W.T @ W - np.eye(3)) ** 2).sum()

PENALTIES = {
    "l1": (nn.L1(0.3), 0.3 * abs(W).sum(), 0.3 * np.sign(W)),
    "l2": (nn.L2(0.3), 0.3 * (W**2).sum(), 0.6 * W),
    "elastic": (nn.ElasticNet(0.3, 0.2), 0.3 * abs(W).sum() + 0.2 * (W**2).sum(), 0.3 * np.sign(W) + 0.4 * W),
    "orthogonal": (nn.Orthogonal(0.3), 0.3 * ORTHOGONAL, 1.2 * W @ (W.T @ W - np.eye(3))),
}


@each("name", PENALTIES)
def test_values_and_gradients_are_those_of_the_formula(name):
    penalty, value, slope = PENALTIES[name]
    found, grads = jax.value_and_grad(penalty)(jnp.float32(W))
    np.testing.assert_allclose(found, value, rtol=1e-5)
    np.testing.assert_allclose(grads, slope, rtol=1e-4, atol=1e-5)
    half, grads = jax.value_and_grad(penalty)(jnp.bfloat16(W))
    assert (half.dtype, grads.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(half, value, rtol=5e-2)


def test_gradients_at_zero_and_of_complex_arrays_are_finite():
    for penalty, *_ in PENALTIES.values():
        assert bool(jnp.isfinite(jax.grad(penalty)(jnp.zeros((2, 2)))).all())
        z = jnp.array([[1.0 + 1.0j, 0.5], [0.5j, 2.0]])
        assert not jnp.iscomplexobj(penalty(z))
    np.testing.assert_allclose(nn.L2(1.0)(z), (np.abs(z) ** 2).sum(), rtol=1e-6)
    gram = np.conj(np.asarray(z)).T @ np.asarray(z) - np.eye(2)
    np.testing.assert_allclose(nn.Orthogonal(1.0)(z), (np.abs(gram) ** 2).sum(), rtol=1e-5)


def test_orthogonal_takes_the_smaller_side_and_kernels():
    q = jnp.linalg.qr(sample(5, 3))[0]
    for w in (q, q.T, 1j * q, q.reshape(5, 1, 3)):
        assert float(nn.Orthogonal(1.0)(w)) < 1e-9
    kernel = sample(3, 3, 2, 4)
    np.testing.assert_allclose(nn.Orthogonal(1.0)(kernel), nn.Orthogonal(1.0)(kernel.reshape(18, 4)), rtol=1e-6)


class Gain(nn.Module):
    def __init__(self):
        self.k = nn.ParamState(jnp.array([1.0, -2.0]), penalty=nn.L1(0.5))
        self.rate = nn.Constrained(jnp.array(3.0), nn.Softplus(), penalty=nn.L2(1.0))
        self.tree = nn.ParamState({"a": jnp.ones(2), "b": jnp.ones(3)}, penalty=nn.L2(2.0))
        self.free = nn.ParamState(jnp.ones(9))


def test_the_penalties_of_states_are_added():
    np.testing.assert_allclose(nn.reg_loss(Gain()), 1.5 + 9.0 + 10.0, rtol=1e-6)
    np.testing.assert_allclose(nn.reg_loss([Gain(), {"other": Gain()}]), 41.0, rtol=1e-6)
    nothing = nn.reg_loss(nn.Linear(2, 3))
    assert (float(nothing), nothing.dtype) == (0.0, jnp.float32)


def net():
    return nn.Sequential(nn.Linear(3, 3, rng=nn.RandomState(0)), nn.tanh, nn.Linear(3, 3, rng=nn.RandomState(1)))


def squares(*states):
    return sum(float(jnp.sum(state.value**2)) for state in states)


@each(
    ("where", "chosen"),
    [
        ("**.weight", lambda m: [m[0].weight, m[2].weight]),
        ("layers.2", lambda m: [m[2].weight, m[2].bias]),
        (nn.ParamState, lambda m: [m[0].weight, m[0].bias, m[2].weight, m[2].bias]),
        (PathContains(0) & PathContains("weight"), lambda m: [m[0].weight]),
        (lambda path, state: state.value.ndim == 1, lambda m: [m[0].bias, m[2].bias]),
    ],
)
def test_penalties_by_filter(where, chosen):
    model = net()
    model[0].bias.value += 1.0
    states = list(model.states().values())
    assert nn.penalise(model, where, nn.L2(0.5)) is model
    assert list(model.states().values()) == states
    np.testing.assert_allclose(nn.reg_loss(model), 0.5 * squares(*chosen(model)), rtol=1e-6)


def test_rules_add_up_on_a_model_and_its_parts_and_follow_new_layers():
    model = net()
    nn.penalise(model, "**.weight", nn.L2(0.5))
    nn.penalise(model, "layers.0", nn.L1(0.1))
    nn.penalise(model[2], "weight", nn.Orthogonal(0.2))
    expected = (
        0.5 * squares(model[0].weight, model[2].weight)
        + nn.L1(0.1)(model[0].weight.value)
        + nn.L1(0.1)(model[0].bias.value)
        + nn.Orthogonal(0.2)(model[2].weight.value)
    )
    np.testing.assert_allclose(nn.reg_loss(model), expected, rtol=1e-6)
    before = nn.reg_loss(model)
    model.layers.append(nn.Linear(3, 3))
    np.testing.assert_allclose(nn.reg_loss(model), before + 0.5 * squares(model[3].weight), rtol=1e-6)


def test_a_tied_weight_and_a_shared_layer_count_once():
    model = net()
    model[2].weight = model[0].weight
    model.layers.append(model[0])
    nn.penalise(model, "**.weight", nn.L2(1.0))
    np.testing.assert_allclose(nn.reg_loss(model), squares(model[0].weight), rtol=1e-6)
    nn.penalise(model[0], "weight", nn.L2(1.0))
    np.testing.assert_allclose(nn.reg_loss(model), 2 * squares(model[0].weight), rtol=1e-6)


def test_equal_rules_make_one_structure_and_travel_with_the_model():
    make = lambda weight: nn.penalise(net(), "**.weight", nn.L2(weight))
    assert graphdef(make(0.5)) is graphdef(make(0.5))
    assert graphdef(make(0.5)) is not graphdef(make(0.6))
    model = make(0.5)
    shape, tree = treefy_split(model)
    for copy in (clone(model), treefy_merge(shape, tree)):
        np.testing.assert_allclose(nn.reg_loss(copy), nn.reg_loss(model))
    np.testing.assert_allclose(jit(lambda: nn.reg_loss(model))(), nn.reg_loss(model), rtol=1e-6)


def test_training_with_l2_is_weight_decay():
    one, other = (nn.Linear(3, 2, rng=nn.RandomState(0)) for _ in range(2))
    x, decay, lr = sample(4, 3), 0.3, 0.1
    nn.penalise(one, nn.ParamState, nn.L2(decay / 2))
    loss = lambda model: jnp.mean(model(x) ** 2)
    ours = nn.Optimizer(one, optax.sgd(lr))
    theirs = nn.Optimizer(other, optax.chain(optax.add_decayed_weights(decay), optax.sgd(lr)))
    for _ in range(3):
        ours.update(grad(lambda: loss(one) + nn.reg_loss(one), nn.ParamState)())
        theirs.update(grad(lambda: loss(other), nn.ParamState)())
    np.testing.assert_allclose(one.weight.value, other.weight.value, rtol=1e-5, atol=1e-6)


def test_a_penalty_of_ones_own_is_any_function():
    model = nn.penalise(net(), "**.bias", jnp.max)
    assert nn.reg_loss(model) == 0.0
    model[0].bias.value += 1.0
    assert nn.reg_loss(model) == 1.0


def test_refusals():
    model = net()
    for make in (nn.L1, nn.L2, nn.Orthogonal):
        with pytest.raises(ValueError, match="weight is a number, 0 or more, not -1"):
            make(-1.0)
    with pytest.raises(ValueError, match="l2 is a number, 0 or more, not nan"):
        nn.ElasticNet(1.0, float("nan"))
    with pytest.raises(ValueError, match="where='wieght' selects no state that `Sequential` touches"):
        nn.penalise(model, "wieght", nn.L2(1.0))
    with pytest.raises(TypeError, match="penalty must be a function of an array, not float: write `L2"):
        nn.penalise(model, "**.weight", 0.1)
    with pytest.raises(TypeError, match="where must be a filter, text or a class of states, not ParamState"):
        nn.penalise(model, model[0].weight, nn.L2(1.0))
    nn.penalise(model, nn.ParamState, nn.Orthogonal(1.0))
    with pytest.raises(ValueError, match=r"ParamState at Sequential\.layers\.0\.bias: Orthogonal is a penalty of matr"):
        nn.reg_loss(model)
