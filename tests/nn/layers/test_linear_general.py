from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import graphdef
from tests.nn.oracle import sample
from tests.tables import each


@each(
    ("shape", "axis", "out"),
    [((5, 2, 3), (1, 2), 4), ((5, 2, 3), (-1, 0), (4, 1)), ((2, 3), (1, -2), 4), ((2, 5, 3, 4), (3, 0, 2), (2, 2))],
)
def test_contracts_any_axes_in_any_order(shape, axis, out):
    layer = nn.LinearGeneral([shape[a] for a in axis], out, axis=axis, b_init=jax.nn.initializers.normal(1.0))
    weight, bias, x = np.asarray(layer.weight.value), np.asarray(layer.bias.value), sample(*shape)
    assert weight.shape == layer.in_size + layer.out_size
    want = np.tensordot(x, weight, (axis, range(len(axis)))) + bias
    np.testing.assert_allclose(layer(x), want, rtol=1e-5, atol=1e-5)


def test_is_linear_for_single_sizes():
    options = {"b_init": jax.nn.initializers.normal(1.0)}
    general, plain = (
        nn.LinearGeneral(3, 4, rng=nn.RandomState(0), **options),
        nn.Linear(3, 4, rng=nn.RandomState(0), **options),
    )
    np.testing.assert_array_equal(general.weight.value, plain.weight.value)
    np.testing.assert_array_equal(general(sample(5, 3)), plain(sample(5, 3)))
    assert graphdef(nn.LinearGeneral(3, (4,), axis=(-1,))) is graphdef(nn.LinearGeneral((3,), 4))


def test_the_initialiser_makes_a_matrix_of_all_inputs_by_all_outputs():
    seen = []

    def init(key, shape, dtype):
        seen.append(shape)
        return jnp.arange(np.prod(shape), dtype=dtype).reshape(shape)

    layer = nn.LinearGeneral((2, 3), (4, 5), axis=(-2, -1), w_init=init, b_init=init)
    assert seen == [(6, 20), (4, 5)]
    np.testing.assert_array_equal(layer.weight.value.reshape(-1), np.arange(120))
    heads = nn.LinearGeneral((64, 2), (3, 50), axis=(-2, -1), rng=nn.RandomState(0)).weight.value
    np.testing.assert_allclose(heads.std(), 128**-0.5, rtol=0.05)


def test_without_bias_and_with_dtypes():
    layer = nn.LinearGeneral(3, (2, 2), use_bias=False, param_dtype="bfloat16", dtype="float32")
    assert layer.bias is None
    assert layer.weight.value.dtype == jnp.bfloat16
    assert layer(sample(3)).dtype == jnp.float32


@each(
    ("options", "text"),
    [
        ({"in_size": ()}, r"in_size must be a positive whole number, not \(\)"),
        ({"in_size": (2, 0)}, "in_size must be a positive whole number, not 0"),
        ({"out_size": (2, "3")}, "out_size must be a positive whole number, not '3'"),
        ({"axis": (0, 1)}, r"axis must name one axis for each of in_size, which is \(2,\), not \(0, 1\): write `axis="),
        ({"in_size": (2, 2), "axis": (0, 0)}, r"not \(0, 0\): write `axis=\(-2, -1\)` for the last ones"),
        ({"in_size": (2, 2)}, r"axis must name one axis for each of in_size, which is \(2, 2\), not -1"),
        ({"axis": "last"}, "axis must be the number of an axis, not 'last'"),
        ({"precision": "precise"}, "precision must be one that jnp.dot takes"),
        (
            {"w_init": lambda key, shape, dtype: jnp.zeros((2, 2, 2))},
            r"w_init returned .* where the layer needs \(2, 4\)",
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(given),
)
def test_wrong_options(options, text):
    with pytest.raises(ValueError, match=text):
        nn.LinearGeneral(**{"in_size": 2, "out_size": (2, 2), **options})


def test_a_wrong_input_is_told_with_its_place():
    net = nn.Sequential(nn.LinearGeneral((2, 3), 4, axis=(1, -1)))
    where = r"^LinearGeneral at Sequential\.layers\.0 "
    with pytest.raises(ValueError, match=where + r"expects 2 features along axis 1 of `x`, which is f32\[2,3,3\]"):
        net(jnp.ones((2, 3, 3)))
    with pytest.raises(ValueError, match=where + r"expects 3 features along axis -1 of `x`, which is f32\[2\]"):
        nn.Sequential(nn.LinearGeneral((3, 2), 4, axis=(-1, 1)))(jnp.ones(2))
    square = nn.Sequential(nn.LinearGeneral((3, 3), 4, axis=(1, -1)))
    with pytest.raises(ValueError, match=where + r"names one axis of `x` twice in axis=\(1, -1\): `x` is f32\[3,3\]"):
        square(jnp.ones((3, 3)))


def test_out_sharding():
    layer = nn.LinearGeneral(3, (2, 2))
    with jax.set_mesh(jax.make_mesh((1,), ("heads",))):
        y = layer(jnp.ones((5, 3)), out_sharding=jax.P(None, "heads", None))
    assert jax.typeof(y).sharding.spec == jax.P(None, "heads", None)
