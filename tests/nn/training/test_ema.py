from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_graph import GraphError, clone, graphdef, states, treefy_merge, treefy_split, treefy_states
from brainstate_transform import for_loop, jit
from tests.tables import each


def make(**options):
    return nn.Sequential(nn.Linear(3, 4, rng=nn.RandomState(0), **options), nn.BatchNorm(4))


def steps(shape, n=6):
    return [jax.random.normal(jax.random.key(i), shape) for i in range(n)]


def test_is_that_of_nnx():
    model, theirs = nn.Linear(2, 3), nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    theirs.kernel[...] = model.weight.value
    ema, other = nn.EMA(model, 0.8), nnx.EMA(theirs, 0.8)
    for new in steps((2, 3)):
        model.weight.value = new
        theirs.kernel[...] = new
        ema.update()
        other.update(theirs)
        np.testing.assert_allclose(ema.values()["weight"], other.apply_to(theirs).kernel[...], rtol=1e-6)


@pytest.mark.parametrize("decay", [0.5, 0.9999])
def test_without_bias_is_that_of_optax(decay):
    model = nn.Linear(2, 3)
    ema, other = nn.EMA(model, decay, debias=True), optax.ema(decay, debias=True)
    state, history = other.init(model.weight.value), []
    for new in steps((2, 3)):
        model.weight.value = new
        history.append(np.asarray(new, np.float64))
        ema.update()
        theirs, state = other.update(new, state)
        np.testing.assert_allclose(ema.values()["weight"], theirs, rtol=2e-3, atol=1e-5)  # theirs is float32 throughout
        weights = decay ** np.arange(len(history))[::-1]
        exact = np.tensordot(weights, np.stack(history), 1) / weights.sum()
        np.testing.assert_allclose(ema.values()["weight"], exact, rtol=1e-5, atol=1e-6)


@each("decay", [0.0, 0.9, 1.0])
@each("debias", [False, True])
def test_before_the_first_update_and_at_the_ends(decay, debias):
    model = nn.Linear(2, 3)
    first = model.weight.value
    ema = nn.EMA(model, decay, debias=debias)
    assert (ema.values()["weight"] == (0.0 if debias else first)).all()
    model.weight.value += 1.0
    ema.update()
    assert jnp.isfinite(ema.values()["weight"]).all()
    if decay == 0.0:
        np.testing.assert_allclose(ema.values()["weight"], model.weight.value, rtol=1e-6)
    if decay == 1.0 and not debias:
        np.testing.assert_array_equal(ema.values()["weight"], first)


def test_averages_of_half_precision_move_by_less_than_it_resolves():
    model = nn.Linear(1, 1, param_dtype=jnp.bfloat16)
    model.weight.value = jnp.ones((1, 1), jnp.bfloat16)
    ema = nn.EMA(model, 0.999)
    model.weight.value = jnp.full((1, 1), 2.0, jnp.bfloat16)
    for _ in range(100):
        ema.update()
    np.testing.assert_allclose(ema.averages["weight"].value, 2.0 - 0.999**100, rtol=1e-5)
    assert ema.values()["weight"].dtype == jnp.bfloat16


def test_a_model_with_the_averages_beside_the_one_in_training():
    model = make()
    ema = nn.EMA(model, 0.5)
    for state in model.states(nn.ParamState).values():
        state.value += 1.0
    ema.update()
    before = treefy_states(model)
    copy = ema.apply_to(model.eval())
    assert graphdef(copy) is graphdef(model)
    np.testing.assert_allclose(copy[0].weight.value, model[0].weight.value - 0.5, rtol=1e-5)
    assert copy[1].running_mean.value is model[1].running_mean.value
    copy.train()(jnp.ones((5, 3)))
    assert all(a is b for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(treefy_states(model)), strict=True))
    assert not set(states(copy).values()) & set(states([model, ema]).values())


def test_swapped_gives_the_averages_to_functions_that_close_over_the_model():
    model = make()
    x = jnp.ones((2, 3))
    ema = nn.EMA(model, 0.5)
    model[0].weight.value *= 3.0
    ema.update()
    model.eval()
    traces = []

    @jit
    def evaluate():
        traces.append(0)
        return model(x)

    trained, before = evaluate(), model[0].weight.value
    with ema.swapped():
        averaged = evaluate()
    np.testing.assert_allclose(averaged, ema.apply_to(model)(x), rtol=1e-5)
    assert model[0].weight.value is before
    assert (evaluate() == trained).all()
    assert len(traces) == 1

    @jit
    def inside():
        with ema.swapped():
            y = model(x)
        return y, model(x)

    np.testing.assert_allclose(inside()[0], averaged, rtol=1e-5)
    np.testing.assert_allclose(inside()[1], trained, rtol=1e-5)

    before = model[0].weight.value
    with pytest.raises(ZeroDivisionError), ema.swapped():
        1 / 0  # noqa: B018
    assert model[0].weight.value is before


def test_compiled_in_a_loop_and_after_a_split():
    def run(loop):
        model = nn.Linear(2, 3, rng=nn.RandomState(0))
        ema = nn.EMA(model, 0.9)

        def step(x):
            model.weight.value = model.weight.value + x
            ema.update()

        loop(step, jnp.arange(4.0))
        return ema

    eager = run(lambda step, xs: [step(x) for x in xs])
    looped = run(for_loop)
    np.testing.assert_allclose(eager.values()["weight"], looped.values()["weight"], rtol=1e-5)
    assert eager.count.value == looped.count.value == 4

    shape, tree = treefy_split(eager)

    @jax.jit
    def step(tree):
        ema = treefy_merge(shape, tree)
        ema.update()
        return treefy_states(ema)

    eager.update()
    np.testing.assert_allclose(step(tree)["averages"]["weight"].value, eager.averages["weight"].value, rtol=1e-6)


def test_can_be_donated_with_its_model():
    model = nn.Linear(2, 3)
    ema = nn.EMA(model, 0.9)
    jit(ema.update, donate_states=ema)()
    assert jnp.isfinite(ema.values()["weight"] + model.weight.value).all()


def test_statistics_can_be_averaged_too_and_a_tied_weight_once():
    model = make()
    ema = nn.EMA(model, 0.9, wrt=(nn.ParamState, nn.BatchState))
    assert list(ema.averages) == list(nn.to_flat_dict(model))
    model.layers.append(nn.Linear(3, 4))
    model[2].weight = model[0].weight
    assert len(nn.EMA(model, 0.9, wrt="**.weight").averages) == 2


def test_copies_and_checkpoints(tmp_path):
    def make_both(seed):
        model = nn.Linear(2, 3, rng=nn.RandomState(seed))
        return {"model": model, "ema": nn.EMA(model, 0.9, debias=True)}

    first, second = make_both(0), make_both(1)
    first["ema"].update()
    nn.save_states(tmp_path / "both", first)
    nn.load_states(tmp_path / "both", second)
    for both in (first, second):
        both["ema"].update()
    copy = clone(first)
    for other in (second, copy):
        assert (other["ema"].values()["weight"] == first["ema"].values()["weight"]).all()
    assert copy["ema"].params["weight"] is copy["model"].weight


def test_refusals():
    model = make()
    for decay in (1.5, -0.1, "high", True):
        with pytest.raises(ValueError, match="decay must be the weight of the old average, between 0 and 1, not"):
            nn.EMA(model, decay)
    with pytest.raises(
        TypeError, match=r"RandomState at Dropout\.rng has no average, for it holds key<fry>: choose by"
    ):
        nn.EMA(nn.Dropout(0.5), 0.9, wrt=nn.RandomState)
    with pytest.raises(ValueError, match="selects no state that `Sequential` touches"):
        nn.EMA(model, 0.9, wrt="nothing")
    with pytest.raises(
        TypeError, match=r"params must be .*, not int: write `EMA\(model.states\(ParamState\), 0.999\)`"
    ):
        nn.EMA(3, 0.9)
    with pytest.raises(ValueError, match=r"Linear has no layers\.0\.bias, layers\.0\.weight, .* for which the EMA was"):
        nn.EMA(model, 0.9).apply_to(nn.Linear(3, 4))


def test_a_parameter_of_another_shape_changes_nothing():
    model = nn.Linear(2, 3)
    ema = nn.EMA(model, 0.9)
    before = treefy_states([ema.averages["bias"]])
    model.weight.value = jnp.ones((4, 4))
    with pytest.raises((GraphError, TypeError, ValueError)):
        ema.update()
    assert jax.tree.leaves(before)[0] is ema.averages["bias"].value
    assert ema.count.value == 0
