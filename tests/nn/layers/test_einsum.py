from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import brainstate_nn as nn
from tests.nn.oracle import assert_same, sample
from tests.tables import each

NORMAL = jax.nn.initializers.normal(1.0)


@each(
    ("equation", "weight", "bias", "x"),
    [
        ("nta,hab->nthb", (8, 2, 4), (8, 4), (3, 5, 2)),
        ("ab,bc->ca", (2, 3), (3,), (4, 2)),
        ("abc,cb->a", (3, 2), None, (4, 2, 3)),
        ("ghd,hdk->ghk", (2, 3, 4), (2, 4), (5, 2, 3)),
        ("d,d->d", 3, 3, (3,)),
        ("a,b->ab", 3, None, (2,)),
    ],
)
def test_is_that_of_nnx(equation, weight, bias, x):
    ours = nn.Einsum(equation, weight, bias, b_init=NORMAL)
    shapes = [None if s is None else np.broadcast_shapes(s) for s in (weight, bias)]
    assert_same(ours, nnx.Einsum(equation, *shapes, kernel_init=nnx.initializers.ones, rngs=nnx.Rngs(0)), sample(*x))


@each("equation", ["...d,dhk->...hk", "d...,dhk->...hk", "d...,dhk->h...k", "d...,dhk->hk..."])
def test_further_axes(equation):
    layer = nn.Einsum(equation, (3, 2, 4), (2, 4), b_init=NORMAL)
    front = equation.startswith("...")
    weight, bias = np.asarray(layer.weight.value), np.asarray(layer.bias.value)
    for more in [(), (5,), (5, 6)]:
        x = sample(*more, 3) if front else sample(3, *more)
        product = np.tensordot(x, weight, ([-1 if front else 0], [0])) + bias
        h = {"...hk": len(more), "h...k": 0, "hk...": 0}[equation.partition("->")[2]]
        k = 1 if equation.endswith("hk...") else len(more) + 1
        np.testing.assert_allclose(layer(x), np.moveaxis(product, (-2, -1), (h, k)), rtol=1e-5, atol=1e-6)


@each(
    ("equation", "weight", "asked"),
    [
        ("btd,dhk->bthk", (6, 2, 4), (6, 8)),
        ("btd,hdk->bthk", (2, 6, 4), (6, 8)),
        ("bthk,hkd->btd", (2, 4, 6), (8, 6)),
        ("bhd,hdk->bhk", (2, 6, 4), (6, 8)),  # one matrix for each head: an output sums over 6
        ("bd,d->bd", (6,), (1, 6)),
    ],
)
def test_the_initialiser_makes_a_matrix_of_what_is_summed_over(equation, weight, asked):
    seen = []

    def init(key, shape, dtype):
        seen.append(shape)
        return jnp.arange(np.prod(shape), dtype=dtype).reshape(shape)

    value = nn.Einsum(equation, weight, w_init=init).weight.value
    assert seen == [asked]
    assert value.shape == weight
    terms = equation.split("->")[0].split(",")[1]
    rest = "".join(letter for letter in terms if letter in equation.split("->")[1])
    back = np.einsum(f"{terms}->{''.join(sorted(set(terms) - set(rest), key=terms.index))}{rest}", value)
    np.testing.assert_array_equal(back.reshape(asked), np.arange(np.prod(asked)).reshape(asked))


def test_another_equation_for_a_call():
    layer = nn.Einsum("bd,dk->bk", (3, 4))
    x = sample(2, 4)
    np.testing.assert_allclose(layer(x, equation="bk,dk->bd"), x @ layer.weight.value.T, rtol=1e-5)
    biased = nn.Einsum("bd,dk->bk", (3, 3), 3, b_init=NORMAL)
    turned = x[:, :3] @ biased.weight.value.T + biased.bias.value[None]
    np.testing.assert_allclose(biased(x[:, :3], equation="bk,dk->bd"), turned, rtol=1e-5)
    with pytest.raises(
        ValueError, match=r"^Einsum has a bias of shape \(3,\), but the result of `equation` 'b,dk->bdk'"
    ):
        biased(x[:, 0], equation="b,dk->bdk")
    with pytest.raises(
        ValueError, match=r"^Einsum cannot use `equation`: equation 'bd,d->b' names 1 axes of the weight, which has 2"
    ):
        biased(x, equation="bd,d->b")


FORM = "equation must name the axes of the input, of the weight and of the result, as in "


@each(
    ("arguments", "text"),
    [
        (("abc", 2), FORM),
        (("ab,bc", (2, 3)), FORM),
        (("ab,bc,cd->ad", (2, 3)), FORM),
        (("...b,...c->c", (2, 3)), FORM),
        ((["ab,bc->ac"], (2, 3)), FORM),
        (("ab,bc->ac", 2), "equation 'ab,bc->ac' names 2 axes of the weight, which has 1"),
        (("ab,bc->ad", (2, 3)), "has 'd' only in the result"),
        (("ab,bb->a", (2, 3)), "names an axis of the weight or of the result twice"),
        (("ab,bc->aa", (2, 3)), "names an axis of the weight or of the result twice"),
        (("...b,bc->c", (2, 3)), "has `...` in only one of the input and the result"),
        (("ab,bc->ac", (2, 0)), "weight_shape must be a positive whole number, not 0"),
        (("ab,bc->ac", (2, 3), 2), r"bias_shape must be \(3,\), the axes that the result of 'ab,bc->ac' has from the"),
        (("ab,bc->ac", (2, 3), (3, 1)), r"bias_shape must be \(3,\)"),
    ],
)
def test_wrong_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        nn.Einsum(*arguments)


def test_spaces_do_not_count():
    assert nn.Einsum(" a b , b c -> a c", (2, 3)).equation == "ab,bc->ac"


def test_a_wrong_input_is_told_with_its_place():
    net = nn.Sequential(nn.Einsum("abb,bc->ac", (2, 3)))
    where = r"^Einsum at Sequential\.layers\.0 expects "
    with pytest.raises(ValueError, match=where + r"3 axes of `x` for 'abb,bc->ac', not f32\[2\]"):
        net(jnp.ones(2))
    for wrong in [(4, 2, 3), (4, 3, 2)]:
        with pytest.raises(ValueError, match=where + r"2 elements along 'b' of `x` for 'abb,bc->ac', not f32\[4,"):
            net(jnp.ones(wrong))
    net = nn.Sequential(nn.Einsum("...ab,bc->...ac", (2, 3)))
    with pytest.raises(ValueError, match=where + r"at least 2 axes of `x` for '...ab,bc->...ac', not f32\[2\]"):
        net(jnp.ones(2))


def test_out_sharding_and_precision():
    layer = nn.Einsum("bd,dhk->bhk", (3, 2, 2), precision="highest")
    with jax.set_mesh(jax.make_mesh((1,), ("heads",))):
        y = layer(jnp.ones((5, 3)), out_sharding=jax.P(None, "heads", None))
    assert jax.typeof(y).sharding.spec == jax.P(None, "heads", None)
    assert "HIGHEST" in str(jax.make_jaxpr(layer)(jnp.ones((5, 3))))
