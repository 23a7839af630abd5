"""How layers multiply: all of their products go through one door, and a function of the user's can stand in it."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import brainstate_nn as nn
from brainstate_graph import graphdef
from brainstate_transform import grad, jit
from tests.tables import each

NORMAL = jax.nn.initializers.normal(1.0)


def step(cell, x):
    return cell.step(jax.tree.map(lambda part: part + 0.5, cell.initial_carry((2,))), x)[1]


# Each layer: how it is made, the shape of its input, how it is used, and how many products that is.
DOT = {
    "Linear": (lambda **o: nn.Linear(4, 3, b_init=NORMAL, **o), (2, 4), None, 1),
    "LinearGeneral": (lambda **o: nn.LinearGeneral((2, 4), (3, 2), axis=(0, -1), **o), (2, 5, 4), None, 1),
    "Einsum": (lambda **o: nn.Einsum("...d,dhk->...hk", (4, 2, 3), (2, 3), **o), (2, 5, 4), None, 1),
    "Einsum with a batch": (lambda **o: nn.Einsum("btd,hdk->bhtk", (2, 4, 3), (2, 3), **o), (2, 5, 4), None, 1),
    "Einsum, turned": (lambda **o: nn.Einsum("a...bd,bdk->b...ak", (2, 4, 3), **o), (6, 5, 2, 4), None, 1),
    "Einsum of a diagonal": (lambda **o: nn.Einsum("iid,dk->ki", (4, 3), **o), (2, 2, 4), None, 1),
    "Einsum of sums": (lambda **o: nn.Einsum("abd,dkz->k", (4, 3, 2), **o), (2, 5, 4), None, 1),
    "Embedding": (lambda **o: nn.Embedding(5, 4, padding_idx=1, **o), (2, 4), nn.Embedding.attend, 1),
    "LoRA": (lambda **o: nn.LoRA(4, 2, 3, b_init=NORMAL, **o), (2, 4), None, 2),
    "LoRA over a layer": (lambda **o: nn.LoRA(4, 2, 3, base=nn.Linear(4, 3, **o), b_init=NORMAL, **o), (2, 4), None, 3),
    "MLP": (lambda **o: nn.MLP(4, 3, 5, 2, **o), (2, 4), None, 3),
    "Stack": (lambda **o: nn.Stack(3, lambda: nn.Linear(4, 4, **o)), (2, 4), None, 1),  # in a loop
    "RNNCell": (lambda **o: nn.RNNCell(4, 3, b_init=NORMAL, **o), (2, 4), step, 2),
    "GRUCell": (lambda **o: nn.GRUCell(4, 3, b_init=NORMAL, **o), (2, 4), step, 2),
    "MGUCell": (lambda **o: nn.MGUCell(4, 3, b_init=NORMAL, **o), (2, 4), step, 3),
    "LSTMCell": (lambda **o: nn.LSTMCell(4, 3, b_init=NORMAL, **o), (2, 4), step, 2),
    "RNN": (lambda **o: nn.RNN(nn.GRUCell(4, 3, **o)), (2, 5, 4), None, 2),
}
CONV = {
    "Conv": (lambda **o: nn.Conv(4, 6, (3, 2), groups=2, b_init=NORMAL, **o), (2, 5, 5, 4), None, 1),
    "Conv1d without a batch": (lambda **o: nn.Conv1d(4, 3, 3, stride=2, **o), (5, 4), None, 1),
    "Conv1d circular": (lambda **o: nn.Conv1d(4, 3, 3, padding="CIRCULAR", **o), (2, 5, 4), None, 1),
    "ConvTranspose": (lambda **o: nn.ConvTranspose1d(4, 3, 3, stride=2, **o), (2, 5, 4), None, 1),
}
# the four projections; the products of queries, keys and values have a function of their own
ATTENTION = {"MultiHeadAttention": (lambda **o: nn.MultiHeadAttention(2, 4, **o), (2, 5, 4), None, 4)}
ALL = {**DOT, **CONV}


def made(row, **options):
    """The layer of a row, as a function of its input; always with the same parameters."""
    make, _, way, _ = row
    nn.seed(0)
    layer = make(**options)
    return layer if way is None else functools.partial(way, layer)


def sample(row, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(1), row[1], dtype)


def products(jaxpr):
    """The equations of products, also those inside of loops."""
    found = [eqn for eqn in jaxpr.eqns if eqn.primitive.name in ("dot_general", "conv_general_dilated")]
    for eqn in jaxpr.eqns:
        for inner in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            found += products(inner) if hasattr(inner, "eqns") else []
    return found


def traced(row, **options):
    return products(jax.make_jaxpr(made(row, **options))(sample(row, options.get("dtype", jnp.float32))).jaxpr)


class Counted:
    """A function of `jax.lax` that counts its calls, and takes only what every quantiser takes."""

    def __init__(self, name):
        self.function, self.calls = getattr(jax.lax, name), 0

    def __call__(self, x, weight, *args, precision=None, preferred_element_type=None, **options):
        assert (x.dtype, "out_sharding" in options) == (weight.dtype, False)
        self.calls += 1
        return self.function(x, weight, *args, precision=precision, **options)


def nothing(name):
    """A function that multiplies nothing."""
    usual = getattr(jax.lax, name)
    return lambda *args, **o: jnp.zeros_like(jax.eval_shape(lambda x, w: usual(x, w, *args[2:], **o), *args[:2]))


@each("name", [*ALL, *ATTENTION])
def test_a_function_of_the_user_computes_each_product(name):
    row = {**ALL, **ATTENTION}[name]
    argument = "conv_general_dilated" if name in CONV else "dot_general"
    counted = Counted(argument)
    layers = made(row, **{argument: counted}), made(row)
    ours, usual = jax.jit(lambda x: [layer(x) for layer in layers])(sample(row))
    np.testing.assert_allclose(ours, usual, rtol=1e-5, atol=1e-5)
    assert counted.calls == row[3]


@each("name", ALL)
def test_no_product_goes_another_way(name):
    argument = "conv_general_dilated" if name in CONV else "dot_general"
    assert len(traced(ALL[name])) == ALL[name][3]
    assert traced(ALL[name], **{argument: nothing(argument)}) == []


@each("name", ALL)
def test_precision_reaches_each_product(name):
    found = [eqn.params["precision"] for eqn in traced(ALL[name], precision="highest")]
    assert found == [(jax.lax.Precision.HIGHEST,) * 2] * ALL[name][3]


@each("name", [name for name in ALL if name != "Stack"])  # a loop keeps the dtype of what it carries
def test_products_are_added_up_in_the_preferred_dtype(name):
    row, options = ALL[name], {"dtype": jnp.bfloat16, "param_dtype": jnp.bfloat16}
    x = sample(row, jnp.bfloat16)
    found = traced(row, preferred_element_type=jnp.float32, **options)
    assert {eqn.outvars[0].aval.dtype for eqn in found} == {jnp.dtype("float32")}
    if name != "Einsum of sums":  # whose sums before the product are of wide numbers too
        assert {v.aval.dtype for eqn in found for v in eqn.invars} == {jnp.dtype("bfloat16")}
    with jax.numpy_dtype_promotion("strict"):
        assert jax.eval_shape(made(row, preferred_element_type=jnp.float32, **options), x).dtype == jnp.float32
    assert jax.eval_shape(made(row, **options), x).dtype == jnp.bfloat16


@each("dtype", [None, jnp.bfloat16])
@each("preferred", [None, jnp.float32, jnp.bfloat16])
def test_dtypes_are_those_of_nnx(dtype, preferred):
    x = jnp.ones((2, 5, 4), jnp.bfloat16)
    options = {"dtype": dtype, "param_dtype": jnp.bfloat16, "preferred_element_type": preferred}
    pairs = [
        (nn.Linear(4, 3, **options), nnx.Linear(4, 3, rngs=nnx.Rngs(0), **options)),
        (nn.LinearGeneral(4, (3, 2), **options), nnx.LinearGeneral(4, (3, 2), rngs=nnx.Rngs(0), **options)),
        (nn.Conv1d(4, 3, 3, **options), nnx.Conv(4, 3, (3,), rngs=nnx.Rngs(0), **options)),
    ]
    for ours, theirs in pairs:
        assert ours(x).dtype == theirs(x).dtype, type(ours)


def int8_dot_general(x, weight, numbers, precision=None, preferred_element_type=None, out_sharding=None):
    """The product of whole numbers that quantisers put here: rounded to 255 steps, and its gradient passed through."""

    def rounded(a):
        step = jnp.max(jnp.abs(a)) / 127
        return a + jax.lax.stop_gradient(jnp.round(a / step) * step - a)

    return jax.lax.dot_general(rounded(x), rounded(weight), numbers)


def test_a_quantised_layer_computes_and_learns_as_by_hand():
    layer = nn.Linear(4, 3, dot_general=int8_dot_general, rng=nn.RandomState(0))
    theirs = nnx.Linear(4, 3, dot_general=int8_dot_general, rngs=nnx.Rngs(0))
    theirs.kernel, theirs.bias = nnx.Param(layer.weight.value), nnx.Param(layer.bias.value)
    x = jax.random.normal(jax.random.key(0), (5, 4))
    np.testing.assert_allclose(jit(layer)(x), theirs(x), rtol=1e-6)
    ours = jit(grad(lambda: jnp.sum(layer(x) ** 2), layer.weight))()
    np.testing.assert_allclose(ours, nnx.grad(lambda m: jnp.sum(m(x) ** 2))(theirs)["kernel"][...], rtol=1e-5)


def test_a_module_with_states_can_stand_in_for_the_product():
    class Calibrated(nn.Module):
        """Remembers the largest input, as a quantiser does before it rounds."""

        def __init__(self):
            self.largest = nn.BatchState(jnp.zeros(()))

        def __call__(self, x, weight, numbers, precision=None):
            self.largest.value = jnp.maximum(self.largest.value, jnp.max(jnp.abs(x)))
            return jax.lax.dot_general(x, weight, numbers, precision=precision)

    net = nn.MLP(4, 3, 5, 1, dot_general=Calibrated())
    jit(net)(jnp.full((2, 4), 7.0))
    assert float(net.layers[0].dot_general.largest.value) >= 7.0
    assert len(net.states(nn.BatchState)) == 1  # one for both layers, which share it


def test_the_functions_of_jax_are_looked_up_at_each_call(monkeypatch):
    layers = nn.Linear(4, 3), nn.Conv1d(4, 3, 3)
    for name, layer in zip(("dot_general", "conv_general_dilated"), layers, strict=True):
        counted = Counted(name)
        monkeypatch.setattr(jax.lax, name, counted)
        layer(jnp.ones((2, 5, 4)))
        assert counted.calls == 1


def test_one_spelling_of_a_dtype_and_another_program_for_another_function():
    same = graphdef(nn.Linear(3, 4, preferred_element_type="float32"))
    assert same is graphdef(nn.Linear(3, 4, preferred_element_type=jnp.float32))
    assert graphdef(nn.Linear(3, 4)) is not graphdef(nn.Linear(3, 4, dot_general=int8_dot_general))


@each(
    "make, told",
    [
        (lambda: nn.Linear(2, 3, dot_general=3), r"dot_general must be a function .* or None, not 3"),
        (lambda: nn.LSTMCell(2, 3, dot_general="int8"), "dot_general must be a function .* not 'int8'"),
        (lambda: nn.Embedding(2, 3, dot_general=nn.Linear), "dot_general must be .* not the class Linear"),
        (lambda: nn.Conv1d(2, 3, 1, conv_general_dilated=3), "conv_general_dilated must be a function .* not 3"),
        (lambda: nn.Einsum("ab,bc->ac", (2, 3), preferred_element_type=jnp.int32),
         "preferred_element_type must be a float or complex dtype to add up products in, or None, not int32"),
        (lambda: nn.GRUCell(2, 3, preferred_element_type="wide"), "preferred_element_type must be a dtype .* 'wide'"),
        (lambda: nn.MGUCell(2, 3, precision="much"), "precision must be .* 'much'"),
    ],
)  # fmt: skip
def test_wrong_options_are_told(make, told):
    with pytest.raises((TypeError, ValueError), match=told):
        make()


@each("returned", [lambda *args, **_: None, lambda x, *args, **_: x[..., :1]])
def test_a_function_that_returns_something_else_is_told_with_the_path_of_its_layer(returned):
    layers = nn.Linear(4, 3, dot_general=returned), nn.Conv1d(4, 3, 3, conv_general_dilated=returned)
    for name, layer in zip(("dot_general", "conv_general_dilated"), layers, strict=True):
        shape = r"\(2, 5, 3\)"
        told = rf"^`{name}` of \w+ at Sequential.layers.0 must return an array of shape {shape}, as jax.lax.{name} does"
        with pytest.raises(ValueError, match=told):
            nn.Sequential(layer)(jnp.ones((2, 5, 4)))


def test_lora_over_a_layer_adds_up_as_that_does_and_multiplies_by_itself():
    options = {"precision": "high", "preferred_element_type": "float32"}
    model = nn.Sequential(nn.Linear(4, 3, dot_general=int8_dot_general, **options))
    nn.add_lora(model, 2)
    assert (model[0].dot_general, model[0].precision, model[0].preferred_element_type) == (
        None, jax.lax.Precision.HIGH, jnp.dtype("float32"),
    )  # fmt: skip
    nn.merge_lora(model)
    assert model[0].dot_general is int8_dot_general
