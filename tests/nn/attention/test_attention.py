from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_graph import graphdef, treefy_states
from brainstate_transform import jit
from tests.laws.attention_layers import ATTENTION, their_attention
from tests.laws.layer import NORMAL
from tests.nn.oracle import by_text
from tests.nn.peers import flax, values_of
from tests.tables import each, pairs


def made(**options):
    return nn.MultiHeadAttention(4, 8, b_init=NORMAL, rng=nn.RandomState(0), **options)


def sample(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def same(ours, theirs, tolerance=2e-5):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), rtol=tolerance, atol=tolerance)


MASK = jnp.asarray(np.random.default_rng(0).random((3, 4, 5, 5)) < 0.5) | jnp.eye(5, dtype=bool)[None, None]


# --------------------------------------------------------------------------------------------------------- the layer


def test_layout_and_names():
    layer = made(num_kv_heads=2, head_size=3, out_size=5, kv_size=6, normalize_qk=True)
    assert {".".join(path): state.value.shape for path, state in layer.states(nn.ParamState).items()} == {
        "query.weight": (8, 4, 3), "key.weight": (6, 2, 3), "value.weight": (6, 2, 3), "out.weight": (4, 3, 5),
        "query.bias": (4, 3), "key.bias": (2, 3), "value.bias": (2, 3), "out.bias": (5,),
        "query_norm.weight": (3,), "key_norm.weight": (3,),
    }  # fmt: skip
    plain = made(use_bias=False)
    assert sorted(values_of(plain)) == ["key.weight", "out.weight", "query.weight", "value.weight"]
    assert (plain.head_size, plain.num_kv_heads, plain.out_size, plain.kv_size) == (2, 4, 8, 8)
    assert plain.dropout is plain.cache is plain.query_norm is None


def test_first_values_are_no_part_of_the_shape():
    assert graphdef(made()) is graphdef(made(w_init=jax.nn.initializers.zeros))
    assert abs(float(nn.MultiHeadAttention(8, 64).query.weight.value.std()) - 1 / 8) < 0.01  # the fan-in is 64


@each(("leading", "num_kv_heads"), [((), 1), ((1,), 4), ((2, 3), 1)])
def test_any_number_of_axes_in_front(leading, num_kv_heads):
    layer = made(num_kv_heads=num_kv_heads)
    x, y = sample(*leading, 5, 8), sample(*leading, 6, 8, seed=1)
    mask = jnp.asarray(np.random.default_rng(1).random((*leading, 4, 5, 6)) < 0.7)
    run = lambda x, y, mask: layer(x[None], y[None], mask=mask[None])[0]  # a batch of one
    for _ in leading:
        run = jax.vmap(run)
    same(layer(x, y, mask=mask), run(x, y, mask))


def test_masks_of_all_shapes_are_those_of_nnx():
    layer = made()
    x, values = sample(3, 5, 8), values_of(layer)
    theirs = flax(their_attention, ATTENTION, lambda theirs, x, mask: theirs(x, mask=mask))(layer)
    for mask, full in [
        (MASK, MASK),
        (MASK[:, 0], MASK[:, :1]),
        (MASK[:1, 0], MASK[:1, :1]),
        (MASK[0, 0], MASK[:1, :1]),
        (MASK[:, :1, :1], MASK[:, :1, :1]),
        (nn.padding_mask(jnp.array([1, 3, 5]), 5), jnp.tri(5, dtype=bool)[jnp.array([0, 2, 4]), None, None]),
    ]:  # fmt: skip
        same(layer(x, mask=mask), theirs(values, x, jnp.broadcast_to(full, MASK.shape)))
    same(layer(x, mask=nn.causal_mask(5)), layer(x, is_causal=True))
    # without a batch, three axes are heads, queries and keys
    same(layer(x[0], mask=MASK[0]), layer(x, mask=MASK)[0])


def test_what_may_see_nothing_gets_the_mean_and_no_nan():
    layer = made(num_kv_heads=2)
    x = sample(1, 5, 8)
    mask = nn.causal_mask(5).at[2].set(False)
    loss = lambda x: layer(x, mask=mask).sum()
    assert jnp.isfinite(jax.grad(loss)(x)).all()
    mean = layer.value(x).mean(1).repeat(2, axis=1)  # each of the two serves two heads
    same(layer(x, mask=mask)[:, 2], layer.out(mean))


def test_keys_and_values_of_their_own():
    layer = made(kv_size=6)
    x, key, value = sample(2, 5, 8), sample(2, 3, 6), sample(2, 3, 6, seed=1)
    same(layer(x, key), layer(x, key, key))
    shifted = layer(x, key, value + 1.0) - layer(x, key, value)  # weights sum to one
    change = layer.out(layer.value(jnp.ones(6)) - layer.value(jnp.zeros(6))) - layer.out(jnp.zeros((4, 2)))
    same(shifted, jnp.broadcast_to(change[None, None], shifted.shape))


def test_rotary_sees_distances():
    layer = made(rotary=nn.RotaryEmbedding(2))
    x = sample(2, 5, 8)
    same(layer(x), layer(x, positions=jnp.arange(7, 12)))
    same(layer(x), layer(x, positions=jnp.arange(5)[None] + jnp.array([[0], [9]])))
    assert abs(layer(x) - layer(x, positions=2 * jnp.arange(5))).max() > 1e-3


def test_a_model_of_an_older_file_has_the_usual_options():
    layer, x = nn.Sequential(made(rotary=nn.RotaryEmbedding(2)), nn.RMSNorm(8)), sample(2, 5, 8)
    want = layer(x)
    for part, names in [
        (layer[0], ("scale", "softcap", "window", "attention_dot_general")),
        (layer[0].rotary, ("scaling", "rotary_size", "interleaved")),
        (layer[0].query, ("dot_general", "preferred_element_type")),
        (layer[1], ("scale_offset",)),
    ]:
        for name in names:
            delattr(part, name)
    same(layer(x), want, 0)


def test_another_attention_function():
    window = functools.partial(jax.nn.dot_product_attention, local_window_size=(1, 0))
    x = sample(2, 5, 8)
    same(made(attention_fn=window)(x), made()(x, mask=nn.causal_mask(5, window=2)))


def test_the_dtype_of_mixed_inputs():
    layer = made(kv_size=8, param_dtype="bfloat16")
    x = sample(2, 5, 8)
    assert layer(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert layer(x, x.astype(jnp.bfloat16)).dtype == jnp.float32


def test_shardings_are_passed_on():
    mesh = jax.make_mesh((1, 1), ("data", "model"))
    with jax.set_mesh(mesh):
        layer = made()
        x = jax.device_put(sample(3, 5, 8), P("data"))
        out = layer(x, qkv_sharding=P("data", None, "model"), out_sharding=P(None, None, "model"))
        assert jax.typeof(out).sharding.spec == P(None, None, "model")
    same(out, made()(sample(3, 5, 8)))


# ----------------------------------------------------------------------------------------------------------- dropout


@pairs(num_kv_heads=by_text([4, 2]), dtype=by_text(["float32", "bfloat16"]))
def test_weights_before_dropout_are_those_of_jax(num_kv_heads, dtype):
    layer = made(num_kv_heads=num_kv_heads, dropout=0.5, dtype=dtype)
    layer.dropout.rate = 0.0  # so that what is written out for dropout has the result of what is not
    x = sample(3, 5, 8)
    for options in ({}, {"is_causal": True}, {"mask": MASK}, {"mask": MASK[:, :1] & False}):
        same(layer(x, **options), layer(x, training=False, **options), 2e-6 if dtype == "float32" else 3e-2)


def test_dropout_drops_weights_and_keeps_the_mean():
    layer = made(dropout=0.25)
    keys = jnp.zeros((1, 400, 8))  # all weights are 1/400
    one = lambda x: jnp.ones((*x.shape[:-1], 4, 2))  # what each head gets is the sum of the weights that are left
    layer.value, layer.out = (lambda x, **_: one(x)), (lambda x, **_: x)
    sums = layer(sample(1, 50, 8), keys)
    assert float(sums.mean()) == pytest.approx(1.0, abs=0.01)
    assert float(sums.std()) == pytest.approx((0.25 / 0.75 / 400) ** 0.5, rel=0.2)


def test_evaluation_drops_nothing():
    layer, x = made(dropout=0.5), sample(2, 5, 8)
    drawn = int(layer.dropout.rng.value[1])
    assert (layer(x) != layer(x)).any()
    same(layer(x, training=False), made()(x), 0)
    same(layer.eval()(x), made()(x), 0)
    assert int(layer.dropout.rng.value[1]) == drawn + 2
    assert (layer(x, training=True) != made()(x)).any()


# ------------------------------------------------------------------------------------------------------------ errors


X = jnp.ones((3, 5, 8))


@each(
    ("options", "message"),
    [
        ({"num_heads": 0}, "^num_heads must be a positive whole number, not 0$"),
        ({"num_heads": 3}, "^num_heads=3 must divide in_size=8 without a remainder, .*: write `head_size=64`$"),
        ({"num_kv_heads": 3}, "^num_kv_heads=3 must divide num_heads=4 without a remainder$"),
        ({"num_kv_heads": -1}, "^num_kv_heads must be a positive whole number"),
        ({"kv_size": 1.5}, "^kv_size must be a positive whole number"),
        ({"out_size": 0}, "^out_size must be a positive whole number"),
        ({"head_size": "2"}, "^head_size must be a positive whole number"),
        ({"dropout": 1.5}, "^dropout must be the probability to drop an attention weight, between 0 and 1, not 1.5$"),
        ({"dropout": 0.1, "attention_fn": max}, "^dropout needs the weights of attention"),
        (
            {"rotary": nn.RotaryEmbedding(4)},
            r"^rotary must be made for heads of 2 features.*write `rotary=RotaryEmbedding\(2",
        ),
        ({"rotary": True}, "^rotary must be made for heads of 2 features, not True"),
        ({"scale": 0.0}, "^scale must be a number greater than 0, not 0.0$"),
        ({"softcap": -1}, "^softcap must be a number greater than 0, not -1$"),
        ({"softcap": 1.0, "attention_fn": max}, "^softcap needs the weights of attention"),
        (
            {"attention_dot_general": jax.lax.dot_general, "attention_fn": max},
            "^attention_dot_general needs the weights of attention",
        ),
        ({"window": 0}, "^window must be a positive whole number, not 0$"),
        (
            {"normalize_qk": (True,)},
            "^normalize_qk must be one norm, or a pair of norms for queries and keys, not 1 norms$",
        ),
    ],
)
def test_the_constructor_checks(options, message):
    with pytest.raises(ValueError, match=message):
        nn.MultiHeadAttention(**{"num_heads": 4, "in_size": 8, **options})
    with pytest.raises(TypeError, match=r"^attention_fn must be a function \(query, key, value, \*, mask, is_causal"):
        nn.MultiHeadAttention(4, 8, attention_fn="cudnn")
    with pytest.raises(
        TypeError, match=r"^attention_dot_general must be a function with the arguments of jax\.lax\.dot_g"
    ):
        nn.MultiHeadAttention(4, 8, attention_dot_general="int8")


def test_what_chooses_the_program_is_no_array():
    for name in ("is_causal", "decode", "return_weights"):
        with pytest.raises(
            TypeError, match=rf"^MultiHeadAttention takes True or False for `{name}`, not .*as a constant, or"
        ):
            jit(made())(X, **{name: True})


class Net(nn.Module):
    def __init__(self, layer):
        self.attention = layer


@each(
    ("inputs", "options", "message"),
    [
        ((X[..., :6],), {}, r"expects 8 features along axis -1 of `query`, which is f32\[3,5,6\]"),
        ((X[0, 0],), {}, r"needs at least 2 axes of `query`, which is f32\[8\]"),
        ((X, X[..., :6]), {}, r"expects 8 features along axis -1 of `key`, which is f32\[3,5,6\]"),
        ((X, X, X[..., :6]), {}, r"expects 8 features along axis -1 of `value`"),
        ((X, None, X), {}, "got `value` without `key`: give both, or `key` alone for both"),
        ((X, X[:2]), {}, r"takes a `key` whose axes fit `query`, which is f32\[3,5,8\], not f32\[2,5,8\]"),
        ((X, X, X[:, :2]), {}, r"takes a `value` whose axes fit `key`, .* not f32\[3,2,8\]"),
        ((X,), {"mask": X[:, 0]}, r"takes a boolean `mask`, True .* may see a key, not f32\[3,8\]: .* `bias`$"),
        ((X,), {"bias": MASK}, r"takes real numbers for `bias`, not bool\[3,4,5,5\]: booleans are for `mask`$"),
        ((X,), {"bias": 1j * X[..., :5]}, r"takes real numbers for `bias`, not c64\[3,5,5\]$"),
        ((X,), {"bias": "alibi"}, "takes an array for `bias`, not a str"),
        ((X,), {"bias": X[:, :4]}, r"takes a `bias` of shape \(3, 4, 5, 5\), .* of shape \(5, 5\), not f32\[3,4,8\]"),
        ((X,), {"mask": MASK[:2]}, r"takes a `mask` of shape \(3, 4, 5, 5\), .*shape \(5, 5\), not bool\[2,4,5,5\]"),
        ((X,), {"mask": MASK[..., 0]}, r"takes a `mask` of shape .* not bool\[3,4,5\]"),
        ((X,), {"mask": MASK[0, 0, 0]}, r"takes a `mask` of shape .* not bool\[5\]"),
        ((X[0],), {"mask": MASK}, r"takes a `mask` of shape \(4, 5, 5\), .* not bool\[3,4,5,5\]"),
        ((X,), {"positions": jnp.arange(5)}, "has no `rotary` to use `positions`"),
        ((X, X), {"positions": jnp.arange(5)}, "takes `positions` in self-attention only: leave out `key`"),
        ((X, X), {"decode": True}, "takes `decode` in self-attention only: leave out `key`"),
        ((X,), {"decode": True}, r"has no cache for `decode`: call `init_cache\(\(3,\), max_length\)` first"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_told_with_path_and_argument(inputs, options, message):
    net = Net(made(dropout=0.5))
    before = treefy_states(net)
    with pytest.raises((ValueError, TypeError), match=r"^MultiHeadAttention at Net\.attention " + message):
        net.attention(*inputs, **options)
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b, before, treefy_states(net)))
