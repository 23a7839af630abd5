from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_graph import graphdef, treefy_merge, treefy_split
from tests.nn.oracle import by_text, give_parameters, sample
from tests.tables import each, pairs


def test_is_that_of_nnx_forward_and_backward():
    ours = nn.Sequential(nn.Linear(3, 5), nn.relu, nn.Linear(5, 2))
    theirs = nnx.Sequential(nnx.Linear(3, 5, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(5, 2, rngs=nnx.Rngs(1)))
    for i in (0, 2):
        give_parameters(ours[i], theirs.layers[i])
    x = sample(4, 3)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5)
    shape, params = treefy_split(ours)
    their_shape, their_params = nnx.split(theirs)
    grads = jax.grad(lambda p: jnp.sin(treefy_merge(shape, p)(x)).sum())(params)
    their_grads = nnx.to_pure_dict(jax.grad(lambda p: jnp.sin(nnx.merge(their_shape, p)(x)).sum())(their_params))
    for i in (0, 2):
        np.testing.assert_allclose(grads["layers"][i]["weight"].value, their_grads["layers"][i]["kernel"], rtol=1e-4)


def test_length_index_slice_iteration_and_append():
    layers = [nn.Linear(2, 2), nn.relu, nn.Linear(2, 2)]
    net = nn.Sequential(*layers)
    assert len(net) == 3
    assert list(net) == layers
    assert net[0] is layers[0]
    assert net[-1] is layers[2]
    head = net[:2]
    assert isinstance(head, nn.Sequential)
    assert head[0] is layers[0]
    x = jnp.ones(2)
    np.testing.assert_array_equal(net[2](head(x)), net(x))
    net.append(nn.tanh)
    assert len(net) == 4
    assert len(head) == 2


def test_without_layers_it_is_the_identity():
    x = jnp.ones(2)
    assert nn.Sequential()(x) is x


def test_a_change_of_the_layers_is_another_structure_and_back():
    net = nn.Sequential(nn.Linear(2, 2))
    before = graphdef(net)
    net.append(nn.relu)
    assert graphdef(net) is not before
    net.layers.pop()
    assert graphdef(net) is before


def test_a_layer_in_two_places_has_its_states_once():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, nn.relu, layer)
    assert list(net.states(nn.ParamState)) == [("layers", 0, "bias"), ("layers", 0, "weight")]


def test_a_layer_must_be_callable():
    with pytest.raises(TypeError, match=r"layer 1 of Sequential is a list, which cannot be called: write `Sequential"):
        nn.Sequential(nn.relu, [nn.relu])


def test_layers_are_put_in_changed_and_taken_out():
    net = nn.Sequential(nn.relu)
    net.extend([nn.tanh, nn.sigmoid])
    net.insert(1, nn.elu)
    net[0] = nn.gelu
    assert list(net) == [nn.gelu, nn.elu, nn.tanh, nn.sigmoid]
    del net[1]
    del net[1:]
    assert list(net) == [nn.gelu]
    for put in (lambda: net.append(3), lambda: net.insert(1, 3), lambda: net.extend([nn.relu, 3])):
        with pytest.raises(TypeError, match=r"layer [12] of Sequential is a int, which cannot be called"):
            put()
    with pytest.raises(TypeError, match="layer 0 of Sequential is a int"):
        net[0] = 3
    assert list(net) == [nn.gelu]


class Scaled(nn.Module):
    """Called through `update`, with a keyword argument."""

    def update(self, x, *, factor=1.0):
        return x * factor


class Anything(nn.Module):
    def __call__(self, x, **kwargs):
        return x + len(kwargs)


def test_a_keyword_argument_goes_to_the_layers_that_have_it():
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.relu, nn.Sequential(nn.BatchNorm(3)), Scaled())
    x = sample(4, 3)
    plain = net(x, training=False)
    np.testing.assert_allclose(net(x, training=False, factor=2.0), 2.0 * plain, rtol=1e-6)
    np.testing.assert_array_equal(net.eval()(x), plain)
    assert nn.Sequential(Anything(), jnp.sin)(0.0, training=True, factor=2) == jnp.sin(2.0)
    assert nn.Sequential(lambda x, y=0: x + y, lambda y: 2 * y)(1, y=2) == 6  # the first argument is the input


def test_each_layer_has_its_own_part_of_a_key():
    net = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)), nn.Dropout(0.5))
    key, x = jax.random.key(0), jnp.ones(64)
    first, second, third = (np.asarray(part(x, key=jax.random.fold_in(key, i))) for i, part in enumerate(net))
    np.testing.assert_array_equal(net(x, key=key), first * second * third)
    assert np.any(first != second)
    assert np.any(second != third)
    assert np.any(first != third)


@pytest.mark.parametrize("name", ["mask", "trainin"])
def test_a_keyword_argument_that_no_layer_has_is_refused(name):
    outer = nn.Sequential(nn.relu, nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))
    with pytest.raises(TypeError, match=rf"^Sequential got `{name}`, an argument that none of its layers takes$"):
        outer(jnp.ones(2), **{name: True})

    class Net(nn.Module):
        def __init__(self):
            self.body = nn.Sequential(nn.relu)

    net = Net()
    with pytest.raises(TypeError, match=rf"^Sequential at Net\.body got `{name}`"):
        net.body(jnp.ones(2), **{name: True})


def test_lambda_holds_arguments_and_what_they_are():
    layer = nn.Lambda(jnp.reshape, (2, 3))
    assert layer(jnp.arange(6)).shape == (2, 3)
    assert graphdef(layer) is graphdef(nn.Lambda(jnp.reshape, (2, 3)))
    assert graphdef(layer) is not graphdef(nn.Lambda(jnp.reshape, (3, 2)))
    scale = nn.ParamState(jnp.array(3.0))
    scaled = nn.Lambda(lambda x, by, add: x * by.value + add, scale, add=1.0)
    assert scaled(2.0) == 7.0
    assert list(scaled.states(nn.ParamState).values()) == [scale]
    with pytest.raises(TypeError, match=r"fun must be a function, not tuple: write `Lambda\(jnp.reshape, \(2, 3\)\)`"):
        nn.Lambda((2, 3), jnp.reshape)


def test_identity_takes_the_place_of_any_layer():
    x = {"any": "thing"}
    assert nn.Identity(0.5, rng=None)(x) is x
    assert nn.Identity()(x, training=True, key=None) is x
    assert graphdef(nn.Identity(3)) is graphdef(nn.Identity())


# ------------------------------------------------------------------------------------------------------------------ MLP


@pairs(depth=by_text([0, 1, 2]), use_bias=by_text([True, False]))
def test_is_that_of_equinox(depth, use_bias):
    final = nn.sigmoid if depth else nn.identity  # at depth 0, equinox leaves it out
    ours = nn.MLP(3, 2, 5, depth, activation=nn.tanh, final_activation=final, use_bias=use_bias)
    theirs = eqx.nn.MLP(
        3, 2, 5, depth, jnp.tanh, final, use_bias=use_bias, use_final_bias=use_bias, key=jax.random.key(0)
    )

    def weights(mlp):
        return [layer.weight for layer in mlp.layers] + [layer.bias for layer in mlp.layers if use_bias]

    values = [layer.weight.value.T for layer in ours.layers] + [layer.bias.value for layer in ours.layers if use_bias]
    theirs = eqx.tree_at(weights, theirs, values)
    x = sample(4, 3)
    np.testing.assert_allclose(ours(x), jax.vmap(theirs)(x), rtol=1e-5)


def test_without_hidden_layers_there_is_still_the_final_activation():
    net = nn.MLP(3, 2, 5, 0, final_activation=nn.sigmoid, dropout=0.5)
    x = sample(4, 3)
    np.testing.assert_allclose(net(x), nn.sigmoid(net.layers[0](x)), rtol=1e-6)


def test_dropout_follows_each_hidden_activation():
    ones = nn.initializers.ones
    eye = lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype)
    net = nn.MLP(1, 1, 400, 2, dropout=0.5, w_init=eye, b_init=ones, rng=nn.RandomState(0))
    kept = jnp.unique(net.layers[1](net.dropout(nn.relu(net.layers[0](jnp.zeros((1, 1)))))))
    assert set(kept.tolist()) == {1.0, 3.0}
    key, x = jax.random.key(0), jnp.ones((3, 1))
    before = net.dropout.rng.value[1]
    np.testing.assert_array_equal(net(x, key=key), net(x, key=key))
    assert net.dropout.rng.value[1] == before
    assert jnp.any(net(x) != net(x))
    assert net.dropout.rng.value[1] == before + 4
    np.testing.assert_array_equal(net(x, training=False), net.eval()(x))


def test_a_key_is_another_one_for_each_layer():
    seen = []

    class Watched(nn.Dropout):
        def __call__(self, x, *, training=None, key=None):
            seen.append(jax.random.key_data(key).tolist())
            return x

    net = nn.MLP(2, 2, 4, 3, dropout=0.5)
    net.dropout = Watched(0.5)
    net(jnp.ones(2), key=jax.random.key(0))
    assert len(seen) == 3
    assert len({tuple(key) for key in seen}) == 3


def test_an_activation_may_be_a_module_which_all_share():
    net = nn.MLP(2, 1, 4, 2, activation=nn.PReLU())
    assert [path for path in net.states() if "activation" in path] == [("activation", "weight")]
    assert graphdef(nn.MLP(2, 1, 4, 2)) is not graphdef(nn.MLP(2, 1, 4, 2, activation=nn.tanh))


def test_dtypes_and_streams():
    streams = nn.RandomStreams(0, dropout=1)
    net = nn.MLP(2, 1, 4, 1, dropout=0.1, dtype="bfloat16", param_dtype="float32", precision="highest", rng=streams)
    assert net.dropout.rng is streams.dropout
    assert nn.MLP(2, 1, 4, 1).dropout is None
    assert net(jnp.ones(2)).dtype == jnp.bfloat16
    assert net.layers[1].weight.value.dtype == jnp.float32
    assert net.layers[1].precision == jax.lax.Precision.HIGHEST


@each(
    ("options", "kind", "text"),
    [
        ({"in_size": 0}, ValueError, "in_size must be a positive whole number, not 0"),
        ({"width": "5"}, ValueError, "width must be a positive whole number, not '5'"),
        ({"depth": -1}, ValueError, "depth must be the number of hidden layers, 0 or more, not -1"),
        ({"depth": 1.0}, ValueError, r"depth must be the number of hidden layers, 0 or more, not 1\.0"),
        ({"depth": True}, ValueError, "depth must be the number of hidden layers, 0 or more, not True"),
        (
            {"dropout": 1.5},
            ValueError,
            r"dropout must be the probability to drop an element, between 0 and 1, not 1\.5",
        ),
        ({"activation": None}, TypeError, "activation must be a function of an array, not None: write `activation="),
        ({"final_activation": "relu"}, TypeError, "final_activation must be a function of an array, not 'relu'"),
        ({"w_init": 0.1}, TypeError, "w_init must be a function"),
    ],
    ids=str,
)
def test_wrong_options(options, kind, text):
    with pytest.raises(kind, match=text):
        nn.MLP(**{"in_size": 2, "out_size": 2, "width": 3, "depth": 1, **options})


def test_an_error_says_where_it_is():
    with pytest.raises(
        ValueError, match=r"^Linear at Sequential\.layers\.0\.layers\.0 expects 2 features along axis -1"
    ):
        nn.Sequential(nn.MLP(2, 2, 3, 1))(jnp.ones(3))


def test_out_sharding_is_that_of_the_result():
    net = nn.MLP(2, 2, 3, 1)
    with jax.set_mesh(jax.make_mesh((1,), ("data",))):
        y = net(jnp.ones((4, 2)), out_sharding=jax.P(None, "data"))
    assert jax.typeof(y).sharding.spec == jax.P(None, "data")
