from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import graphdef
from tests.nn.cases import together
from tests.nn.oracle import sample


@together("depth", [0, 1, 2])
@together("use_bias", [True, False])
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
    net = nn.MLP(1, 1, 400, 2, dropout=0.5, w_init=lambda key, shape, dtype: jnp.eye(*shape, dtype=dtype), b_init=ones)
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


@together(
    ("options", "kind", "text"),
    [
        ({"in_size": 0}, ValueError, "in_size must be a positive whole number, not 0"),
        ({"width": "5"}, ValueError, "width must be a positive whole number, not '5'"),
        ({"depth": -1}, ValueError, "depth must be the number of hidden layers, 0 or more, not -1"),
        ({"depth": 1.0}, ValueError, r"depth must be the number of hidden layers, 0 or more, not 1\.0"),
        ({"depth": True}, ValueError, "depth must be the number of hidden layers, 0 or more, not True"),
        ({"dropout": 1.5}, ValueError, r"dropout is the probability to drop an element, between 0 and 1, not 1\.5"),
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
