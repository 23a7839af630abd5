from __future__ import annotations

import inspect
import threading

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_graph import GraphError, TraceContextError, treefy_merge, treefy_split, treefy_states
from brainstate_transform import for_loop, grad, jit, vmap
from tests.nn.oracle import by_text, sample
from tests.tables import each, pairs


def spectral_pair(n_steps=1, rng=0):
    ours = nn.SpectralNorm(nn.Conv2d(3, 4, 2, rng=nn.RandomState(rng)), n_steps=n_steps, rng=nn.RandomState(1))
    theirs = nnx.SpectralNorm(nnx.Conv(3, 4, (2, 2), rngs=nnx.Rngs(0)), n_steps=n_steps, rngs=nnx.Rngs(0))
    theirs.layer_instance.kernel[...] = ours.layer.weight.value
    theirs.batch_stats["kernel", "u"][...] = ours.u["weight"].value[None]
    return ours, theirs


def assert_unchanged(before, after) -> None:
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("n_steps", [1, 3])
def test_spectral_norm_and_its_gradients_are_those_of_nnx(n_steps):
    ours, theirs = spectral_pair(n_steps)
    x = sample(2, 5, 5, 3)
    shape, params, rest = treefy_split(ours, nn.ParamState, ...)
    their_shape, their_params, their_rest = nnx.split(theirs, nnx.Param, ...)

    @jax.jit
    @jax.value_and_grad
    def run(params):
        return jnp.sin(treefy_merge(shape, params, rest)(x)).sum()

    @jax.jit
    @jax.value_and_grad
    def run_theirs(params):
        return jnp.sin(nnx.merge(their_shape, params, their_rest, copy=True)(x)).sum()

    (value, grads), (their_value, their_grads) = run(params), run_theirs(their_params)
    np.testing.assert_allclose(value, their_value, rtol=1e-5)
    their_grads = nnx.to_pure_dict(their_grads)["layer_instance"]
    np.testing.assert_allclose(grads["layer"]["weight"].value, their_grads["kernel"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(grads["layer"]["bias"].value, their_grads["bias"], rtol=1e-4, atol=1e-5)
    theirs(x)
    ours(x)
    np.testing.assert_allclose(ours.u["weight"].value, theirs.batch_stats["kernel", "u"][...][0], rtol=1e-4, atol=1e-6)


def test_the_greatest_singular_value_is_one_after_some_calls():
    norm = nn.SpectralNorm(nn.Linear(6, 5, use_bias=False, rng=nn.RandomState(0)), rng=nn.RandomState(1))
    raw = norm.layer.weight.value
    for_loop(norm, jnp.zeros((50, 6)))
    seen = norm(jnp.eye(6))
    np.testing.assert_allclose(jnp.linalg.svd(seen)[1][0], 1.0, rtol=1e-4)
    np.testing.assert_allclose(seen * jnp.linalg.svd(raw)[1][0], raw, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(norm.layer.weight.value, raw)


def test_the_vector_moves_in_training_only():
    norm = nn.SpectralNorm(nn.Linear(6, 5))
    x, before = jnp.ones((2, 6)), norm.u["weight"].value
    first = norm.eval()(x)
    np.testing.assert_array_equal(norm(x), first)
    assert norm.u["weight"].value is before
    norm(x, training=True)
    moved = norm.u["weight"].value
    assert (moved != before).any()
    norm.train()(x, training=False)
    assert norm.u["weight"].value is moved
    assert list(norm.states(nn.BatchState)) == [("u", "weight")]


def test_the_mode_of_a_call_goes_to_a_layer_that_takes_it():
    norm = nn.SpectralNorm(nn.Sequential(nn.Linear(3, 3), nn.Dropout(1.0)), names="layers.0.weight")
    assert not norm(jnp.ones(3)).any()
    assert norm(jnp.ones(3), training=False).any()
    assert nn.SpectralNorm(nn.Linear(3, 3))(jnp.ones(3), training=False).shape == (3,)


def test_arguments_go_through_a_sequential_to_those_who_have_them():
    class Older(nn.Module):
        def __init__(self):
            self.weight = nn.ParamState(sample(3, 3))

        def update(self, x, shift=0.0):
            return x @ self.weight.value + shift

    norms = nn.SpectralNorm(nn.Linear(3, 3)), nn.WeightNorm(nn.Linear(3, 3)), nn.WeightNorm(Older())
    net = nn.Sequential(*norms, nn.Dropout(0.5))
    before = norms[0].u["weight"].value
    assert net(jnp.ones(3), training=False, shift=1.0).all()
    assert norms[0].u["weight"].value is before
    assert net(jnp.ones(3), key=jax.random.key(0)).shape == (3,)
    with pytest.raises(TypeError, match="got `mask`, an argument that none of its layers takes"):
        net(jnp.ones(3), mask=None)
    assert [str(inspect.signature(norm)) for norm in norms[1:]][1] == "(x, shift=0.0)"
    assert "layer" in inspect.signature(nn.WeightNorm).parameters


def test_a_weight_of_zeros_does_not_end_the_iteration():
    norm = nn.SpectralNorm(nn.Linear(3, 2, w_init=jax.nn.initializers.zeros, use_bias=False))
    before = norm.u["weight"].value
    assert not norm(jnp.ones(3)).any()
    np.testing.assert_array_equal(norm.u["weight"].value, before)


@pairs(axis=by_text([-1, 0, None]), use_scale=by_text([True, False]))
def test_weight_norm_and_its_gradients_are_those_of_nnx(axis, use_scale):
    ours = nn.WeightNorm(nn.Linear(3, 4, rng=nn.RandomState(0)), axis=axis, use_scale=use_scale)
    x = sample(5, 3)

    def run_theirs(weight, scale):
        linear = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
        linear.kernel[...] = weight
        theirs = nnx.WeightNorm(linear, feature_axes=axis, use_scale=use_scale, rngs=nnx.Rngs(0))
        for path, kept in (theirs.scales or {}).items():
            theirs.scales[path] = nnx.Param(scale) if isinstance(kept, nnx.Param) else scale  # by the version of flax
        return jnp.sin(theirs(x)).sum()

    weight, scale = ours.layer.weight, ours.scale and ours.scale["weight"]
    states = [weight, *([scale] if use_scale else [])]
    if use_scale:
        scale.value = 1.0 + scale.value
    given = weight.value, scale.value if use_scale else jnp.zeros(())
    got = grad(lambda: jnp.sin(ours(x)).sum(), states, return_value=True)()
    value, want = jax.jit(jax.value_and_grad(run_theirs, (0, 1) if use_scale else (0,)))(*given)
    np.testing.assert_allclose(got[1], value, rtol=1e-5)
    for mine, their in zip(got[0], want, strict=True):
        np.testing.assert_allclose(mine, their, rtol=1e-4, atol=1e-5)


def test_weight_norm_is_at_first_the_layer_alone_and_then_that_of_equinox():
    layer = nn.Linear(3, 4, rng=nn.RandomState(0))
    x = sample(5, 3)
    alone = layer(x)
    norm = nn.WeightNorm(layer)
    np.testing.assert_allclose(norm(x), alone, rtol=1e-5, atol=1e-6)
    layer.weight.value = 3.0 * sample(3, 4, seed=1)
    linear = eqx.nn.Linear(3, 4, key=jax.random.key(0))
    linear = eqx.tree_at(lambda m: (m.weight, m.bias), linear, (layer.weight.value.T, layer.bias.value))
    theirs = eqx.tree_at(lambda m: m.g, eqx.nn.WeightNorm(linear), norm.scale["weight"].value[:, None])
    np.testing.assert_allclose(norm(x), jax.vmap(theirs)(x), rtol=1e-5, atol=1e-6)


WRAPPERS = pytest.mark.parametrize("kind", [nn.SpectralNorm, nn.WeightNorm])


@WRAPPERS
def test_who_shares_the_weight_sees_it_as_it_is_and_both_get_gradients(kind):
    class Tied(nn.Module):
        def __init__(self):
            self.plain = nn.Linear(3, 3, use_bias=False, w_init=lambda k, s, d: 2.0 * jnp.eye(3) + 0.1)
            self.norm = kind(self.plain)

        def __call__(self, x):
            return self.norm(x), self.plain(x)

    net, x = Tied(), sample(2, 3)
    raw = net.plain.weight.value
    normed, plain = jit(net)(x)
    np.testing.assert_allclose(plain, x @ raw, rtol=1e-5)
    assert (jnp.abs(normed - plain).max() > 1e-2) == (kind is nn.SpectralNorm)  # the first scale changes nothing
    weight = net.plain.weight
    both, one, other = (
        grad(lambda pick=pick: sum(jnp.sin(y).sum() for y in pick(net.eval()(x))), weight)()
        for pick in (lambda ys: ys, lambda ys: ys[:1], lambda ys: ys[1:])
    )
    assert jnp.abs(one).max() > 1e-3
    np.testing.assert_allclose(both, one + other, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(weight.value, raw)


class Failing(nn.Module):
    """Writes, and then fails or assigns its own weight."""

    def __init__(self):
        self.weight = nn.ParamState(sample(3, 3))
        self.calls = nn.HiddenState(jnp.zeros(()))
        self.how = "fail"

    def __call__(self, x):
        self.calls.value += 1.0
        if self.how == "fail":
            raise RuntimeError("in the middle")
        if self.how == "assign":
            self.weight.value = self.weight.value + 1.0
        self.how = "well"
        return x @ self.weight.value


@WRAPPERS
@each("transform", [lambda f: f, jit], ids=["eager", "jit"])
def test_an_error_inside_the_layer_leaves_everything_as_it_was(kind, transform):
    norm = kind(Failing())
    before = treefy_states(norm)
    with pytest.raises(RuntimeError, match="in the middle"):
        transform(norm)(jnp.ones(3))
    norm.layer.how = "assign"
    with pytest.raises(
        GraphError, match=rf"ParamState at {kind.__name__}.layer.weight was assigned during the call of"
    ):
        transform(norm)(jnp.ones(3))
    assert norm.layer.how == "assign"  # attributes too
    assert_unchanged(before, treefy_states(norm))
    norm.layer.how = "well"
    transform(norm)(jnp.ones(3))
    assert float(norm.layer.calls.value) == 1.0


@WRAPPERS
def test_a_state_made_inside_lives_on(kind):
    class Lazy(nn.Module):
        def __init__(self):
            self.weight = nn.ParamState(sample(3, 3))
            self.last = None

        def __call__(self, x):
            self.last = nn.HiddenState(x)
            return x @ self.weight.value

    norm = kind(Lazy())
    norm(jnp.ones(3))
    assert norm.layer.last.value.tolist() == [1.0] * 3
    assert jit(norm)(jnp.zeros(3)).shape == (3,)
    assert norm.layer.last.value.tolist() == [0.0] * 3


@WRAPPERS
def test_under_transforms_of_jax_alone(kind):
    norm = kind(nn.Linear(3, 2, rng=nn.RandomState(0))).eval()
    x = sample(4, 3)
    want = norm(x)
    np.testing.assert_allclose(jax.jit(norm)(x), want, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(norm)(x), want, rtol=1e-5, atol=1e-6)
    with jax.checking_leaks():
        np.testing.assert_allclose(jit(norm)(x), want, rtol=1e-5)
    if kind is nn.SpectralNorm:
        before = treefy_states(norm.train())
        with pytest.raises(TraceContextError, match=r"BatchState at SpectralNorm\.u\.weight"):
            jax.jit(lambda x: norm(x))(x)
        assert_unchanged(before, treefy_states(norm))


@WRAPPERS
def test_the_weight_is_not_written_by_a_transform(kind):
    norm = kind(nn.Linear(3, 2))
    written = []
    hook = norm.layer.weight.register_hook("write_before", written.append)
    raw = norm.layer.weight.value
    norm(jnp.ones(3))
    jit(norm)(jnp.ones(3))
    vmap(norm.eval())(jnp.ones((2, 3)))
    hook.remove()
    assert written == []
    assert norm.layer.weight.value is raw


def test_two_threads_do_not_see_the_weights_of_each_other():
    norm = nn.WeightNorm(nn.Linear(3, 3, use_bias=False, rng=nn.RandomState(0)), use_scale=False)
    inside, go_on, seen = threading.Event(), threading.Event(), []

    class Waiting(nn.Module):
        def __init__(self):
            self.weight = norm.layer.weight

        def __call__(self, x):
            inside.set()
            go_on.wait(20)
            return self.weight.value

    thread = threading.Thread(target=lambda: seen.append(nn.WeightNorm(Waiting(), use_scale=False)(jnp.ones(3))))
    thread.start()
    assert inside.wait(20)
    raw = norm.layer.weight.value
    go_on.set()
    thread.join()
    np.testing.assert_allclose(jnp.linalg.norm(seen[0], axis=0), 1.0, rtol=1e-5)
    assert jnp.abs(jnp.linalg.norm(raw, axis=0) - 1.0).max() > 1e-2


def test_one_around_the_other_and_several_names():
    cell = Failing()
    cell.how, cell.other = "well", nn.ParamState(2.0 * sample(3, 3, seed=1))
    both = nn.WeightNorm(cell, names=("weight", "other"), use_scale=False)
    assert both(jnp.ones(3)).shape == (3,)
    norm = nn.SpectralNorm(nn.WeightNorm(nn.Linear(3, 3), use_scale=False), names="layer.weight", n_steps=30)
    np.testing.assert_allclose(jnp.linalg.norm(norm(jnp.eye(3)) - norm(jnp.zeros((3, 3))), axis=0), 1.0, rtol=1e-5)


@WRAPPERS
def test_half_precision_is_kept(kind):
    norm = kind(nn.Linear(3, 2, param_dtype=jnp.bfloat16))
    assert norm(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16
    assert {s.value.dtype for s in norm.states(nn.BatchState).values()} <= {jnp.dtype("float32")}
    assert {s.value.dtype for s in norm.states(nn.ParamState).values()} == {jnp.dtype("bfloat16")}


@each(
    ("make", "text"),
    [
        (lambda: nn.SpectralNorm(jnp.tanh), r"layer must be a Module, not .*: write `SpectralNorm\(Linear\(2, 3\)\)`"),
        (lambda: nn.WeightNorm(None), r"layer must be a Module, not NoneType: write `WeightNorm\(Linear\(2, 3\)\)`"),
        (lambda: nn.WeightNorm(nn.Linear(2, 3), names="kernel"), r"Linear has no state 'kernel'; it has bias, weight"),
        (lambda: nn.WeightNorm(nn.Lambda(jnp.tanh)), r"names: Lambda has no state 'weight'; it has none"),
        (lambda: nn.SpectralNorm(nn.Linear(2, 3), names=()), r"names must name at least one State .*, not \(\)"),
        (lambda: nn.SpectralNorm(nn.Linear(2, 3), names=("weight", "weight")), r"names must name .* each once"),
        (lambda: nn.SpectralNorm(nn.Linear(2, 3), names="bias"), r"names: .* two axes or more, but 'bias' is f32\[3\]"),
        (lambda: nn.SpectralNorm(nn.Linear(2, 3), n_steps=0), r"n_steps must be a positive whole number, not 0"),
        (lambda: nn.SpectralNorm(nn.Linear(2, 3), epsilon=-1), r"epsilon must be a number greater than 0, not -1"),
        (lambda: nn.WeightNorm(nn.Linear(2, 3), epsilon=0), r"epsilon must be a number greater than 0, not 0"),
        (lambda: nn.WeightNorm(nn.Linear(2, 3), axis=2), r"axis=2 must be one .* axes of 'weight', .*\[2,3\]"),
        (lambda: nn.WeightNorm(nn.Linear(2, 3), names="bias"), r"axis=-1 must be .* 'bias', .* write `axis=None`"),
        (lambda: nn.WeightNorm(nn.Linear(2, 3), axis="in"), r"axis must be the number of an axis, not 'in'"),
        (lambda: nn.SpectralNorm(nn.Linear(2, 3))(jnp.ones(3)), r"^Linear at SpectralNorm\.layer expects 2 features"),
    ],
)  # fmt: skip
def test_errors(make, text):
    with pytest.raises((ValueError, TypeError), match=text):
        make()
