from __future__ import annotations

import math
import pickle

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings

import brainstate_nn as nn
from brainstate_graph import clone, from_json, graphdef, to_json, treefy_merge, treefy_split
from brainstate_transform import for_loop, grad, jit, vmap
from tests.tables import each

# With each, free numbers that float32 can tell apart afterwards, and what holds for the allowed ones.
TRANSFORMS = {
    "softplus": (nn.Softplus(), (-80.0, 80.0), lambda y: y > 0),
    "exp": (nn.Exp(), (-80.0, 80.0), lambda y: y > 0),
    "sigmoid": (nn.Sigmoid(), (-8.0, 8.0), lambda y: (y >= 0) & (y <= 1)),
    "sigmoid between": (nn.Sigmoid(-2.0, 5.0), (-6.0, 6.0), lambda y: (y >= -2) & (y <= 5)),
    "affine": (nn.Affine(-2.0, 3.0), (-1e3, 1e3), lambda y: y == y),
    "clip": (nn.Clip(-1.0, 2.0), (-1.0, 2.0), lambda y: (y >= -1) & (y <= 2)),
    "clip below": (nn.Clip(0.5, math.inf), (0.5, 1e3), lambda y: y >= 0.5),
    "chain": (nn.Chain(nn.Softplus(), nn.Affine(2.0, 1.0)), (-4.0, 80.0), lambda y: y >= 1),
    "simplex": (nn.Simplex(), (-8.0, 8.0), lambda y: abs(y.sum() - 1) < 1e-5),
}
TINY, HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
EXTREMES = [0.0, 1e-30, TINY, 17.0, 88.0, 89.0, 104.0, 1e4, 1e20, HUGE]


each_transform = each("name", TRANSFORMS)


@each_transform
def test_the_inverse_undoes_it(name):
    transform, (low, high), holds = TRANSFORMS[name]
    there, back = jax.jit(transform.forward), jax.jit(transform.inverse)

    @settings(max_examples=40)
    @given(st.lists(st.floats(low, high, width=32), min_size=4, max_size=4))
    def law(numbers):
        x = jnp.array(numbers, jnp.float32)
        y = there(x)
        assert bool(jnp.all(holds(y)))
        again = back(y)
        x = x - x.mean() if name == "simplex" else x
        np.testing.assert_allclose(again, x, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(there(again), y, rtol=2e-4, atol=1e-5)

    law()


@each_transform
def test_values_and_gradients_are_finite_at_the_ends_of_float32(name):
    transform, _, holds = TRANSFORMS[name]
    x = jnp.array([sign * v for v in EXTREMES for sign in (1.0, -1.0)], jnp.float32)
    if name == "affine":
        x = jnp.clip(x, -1e37, 1e37)  # what is doubled may overflow
    y, pull = jax.vjp(transform.forward, x)
    if "affine" not in name and name != "chain":
        assert bool(jnp.all(jnp.isfinite(y)))
        assert bool(jnp.all(holds(y)))
    (slope,) = pull(jnp.ones_like(y))
    assert bool(jnp.all(jnp.isfinite(slope)))


@each_transform
@each("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtypes_stay_and_half_precision_is_held_too(name, dtype):
    transform, _, holds = TRANSFORMS[name]
    x = jnp.array([-40.0, 0.25, 1.0, 100.0], dtype)
    y = transform.forward(x)
    assert y.dtype == transform.inverse(y).dtype == dtype
    assert bool(jnp.all(jnp.isfinite(y)))
    assert name == "simplex" or bool(jnp.all(holds(y)))


def test_formulas():
    x = jnp.linspace(-3.0, 3.0, 7)
    np.testing.assert_allclose(nn.Softplus()(x), np.log1p(np.exp(x)), rtol=1e-5)
    np.testing.assert_allclose(nn.Exp()(x), np.exp(x), rtol=1e-5)
    np.testing.assert_allclose(nn.Sigmoid(-1, 3)(x), -1 + 4 / (1 + np.exp(-x)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(nn.Affine(2, 1)(x), 2 * x + 1)
    np.testing.assert_allclose(nn.Clip(-1, 2)(x), np.clip(x, -1, 2))
    np.testing.assert_allclose(nn.Simplex()(x), np.exp(x) / np.exp(x).sum(), rtol=1e-5)
    np.testing.assert_allclose(nn.Chain(nn.Affine(2.0), nn.Exp())(x), np.exp(2 * x), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(nn.Clip(-1.0, 2.0))(3.0), 0.0)


class Scale(nn.Module):
    def __init__(self, start=2.0, transform=None):
        self.scale = nn.Constrained(jnp.full(3, start), transform or nn.Softplus())

    def __call__(self, x):
        return self.scale.constrained * x


def test_the_value_is_free_and_the_constrained_one_follows():
    state = nn.Constrained(jnp.array([1.0, 2.0]), nn.Exp(), name="rate")
    np.testing.assert_allclose(state.value, np.log([1.0, 2.0]), rtol=1e-6)
    np.testing.assert_allclose(state.constrained, [1.0, 2.0], rtol=1e-6)
    state.value = jnp.array([0.0, -1.0])
    np.testing.assert_allclose(state.constrained, np.exp([0.0, -1.0]), rtol=1e-6)
    state.constrained = jnp.array([3.0, 4.0])
    np.testing.assert_allclose(state.value, np.log([3.0, 4.0]), rtol=1e-6)
    assert repr(state) == "Constrained(f32[2], name='rate', transform=Exp())"
    assert state.transform == nn.Exp()
    assert isinstance(state, nn.ParamState)
    assert nn.Constrained(2, nn.Exp()).value.dtype == jnp.float32


def test_training_moves_the_free_value_and_keeps_the_constraint():
    model = Scale()
    optimizer = nn.Optimizer(model, optax.sgd(5.0))

    @jit
    def step():
        grads = grad(lambda: jnp.sum((model(jnp.ones(3)) + 1.0) ** 2), nn.ParamState)()
        optimizer.update(grads)
        return grads

    free = model.scale.value
    wanted = jax.grad(lambda x: jnp.sum((jax.nn.softplus(x) + 1.0) ** 2))(free)
    (grads,) = jax.tree.leaves(step())
    np.testing.assert_allclose(grads, wanted, rtol=1e-5)
    np.testing.assert_allclose(model.scale.value, free - 5.0 * wanted, rtol=1e-5)
    step()
    assert bool((model.scale.constrained > 0).all())


def test_through_split_copy_pickle_checkpoint_loop_and_lanes(tmp_path):
    model = Scale(3.0)
    x = jnp.ones(3)
    shape, tree = treefy_split(model)
    for copy in (treefy_merge(shape, tree), clone(model), pickle.loads(pickle.dumps(model))):
        assert type(copy.scale) is nn.Constrained
        np.testing.assert_allclose(copy(x), 3.0, rtol=1e-6)
    other = Scale(5.0)
    nn.save_states(tmp_path / "model", model)
    nn.load_states(tmp_path / "model", other)
    np.testing.assert_allclose(other(x), 3.0, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda tree: treefy_merge(shape, tree)(x))(tree), 3.0, rtol=1e-6)
    np.testing.assert_allclose(vmap(model)(jnp.ones((2, 3))), 3.0, rtol=1e-6)

    def grow(x):
        model.scale.constrained = model.scale.constrained + x
        return model.scale.constrained[0]

    np.testing.assert_allclose(for_loop(grow, jnp.ones(3)), [4.0, 5.0, 6.0], rtol=1e-5)


def test_equal_transforms_make_one_structure():
    bounded = lambda high: Scale(0.5, nn.Chain(nn.Sigmoid(0.0, high)))
    assert graphdef(bounded(1.0)) is graphdef(bounded(1.0))
    assert graphdef(bounded(1.0)) is not graphdef(bounded(2.0))
    assert hash(nn.Chain(nn.Exp(), nn.Clip())) == hash(nn.Chain(nn.Exp(), nn.Clip()))
    assert repr(nn.Chain(nn.Exp(), nn.Clip(0.0, 2.0))) == "Chain(Exp(), Clip(low=0.0, high=2.0))"
    model = nn.Module()
    model.rate = nn.Constrained(0.5, nn.Chain(nn.Sigmoid(0.0, 2.0), nn.Affine()))
    assert from_json(to_json(graphdef(model)), allow=["brainstate_nn"]) is graphdef(model)


@each(
    ("transform", "value", "text"),
    [
        (nn.Softplus(), -1.0, r"a Constrained with Softplus\(\) cannot hold -1"),
        (nn.Exp(), [1.0, 0.0], r"a Constrained with Exp\(\) cannot hold 0"),
        (nn.Sigmoid(0.0, 2.0), 2.0, r"with Sigmoid\(low=0.0, high=2.0\) cannot hold 2"),
        (nn.Clip(0.0, 1.0), 1.5, r"with Clip\(low=0.0, high=1.0\) cannot hold 1.5"),
        (nn.Simplex(), [0.5, 0.6], r"with Simplex\(\) cannot hold 0.5"),
        (nn.Chain(nn.Softplus(), nn.Affine(1.0, 1.0)), 0.5, r"cannot hold 0.5"),
    ],
)
def test_a_first_value_that_is_not_allowed(transform, value, text):
    with pytest.raises(ValueError, match=text):
        nn.Constrained(jnp.array(value), transform)


def test_other_refusals():
    model = Scale()
    before = model.scale.value
    with pytest.raises(ValueError, match=r"Constrained at Scale\.scale with Softplus\(\) cannot hold -3"):
        model.scale.constrained = jnp.array([1.0, -3.0, 2.0])
    assert model.scale.value is before
    make = lambda x: x
    with pytest.raises(TypeError, match=r"transform must be a Transform, not function: write `Softplus\(\)`"):
        nn.Constrained(1.0, make)
    with pytest.raises(TypeError, match=r"transform must be a Transform, not float"):
        nn.Chain(nn.Exp(), 2.0)
    for make, text in (
        (lambda: nn.Sigmoid(1.0, 1.0), "Sigmoid needs low below high, not 1.0 and 1.0"),
        (lambda: nn.Sigmoid(0.0, math.inf), "Sigmoid needs low below high, not 0.0 and inf"),
        (lambda: nn.Clip(2.0, 1.0), "Clip needs low below high, not 2.0 and 1.0"),
        (lambda: nn.Affine(0.0), "Affine needs finite numbers and a scale that is not 0"),
    ):
        with pytest.raises(ValueError, match=text):
            make()
    with pytest.raises(NotImplementedError, match=r"Transform needs `def forward\(self, x\): ...`"):
        nn.Transform().forward(jnp.ones(1))
