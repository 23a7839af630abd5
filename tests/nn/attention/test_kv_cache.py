from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_graph import graphdef, treefy_states
from brainstate_transform import for_loop, jit, vmap
from tests.laws.layer import NORMAL
from tests.tables import each

LENGTH = 6


def made(**options):
    options = {"num_kv_heads": 2, "rotary": nn.RotaryEmbedding(2), **options}
    return nn.MultiHeadAttention(4, 8, b_init=NORMAL, rng=nn.RandomState(0), **options)


def sample(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def same(ours, theirs, tolerance=2e-5):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), rtol=tolerance, atol=tolerance)


def whole(layer, x):
    return jit(lambda x: layer(x, is_causal=True))(x)


@each(("leading", "cuts", "with_rotary"), [((), [4], False), ((2,), [1, 2], True), ((2, 1), [3], True)])
def test_a_sequence_in_parts_is_the_sequence_at_once(leading, cuts, with_rotary):
    layer = made(rotary=nn.RotaryEmbedding(2) if with_rotary else None)
    x = sample(*leading, LENGTH, 8)
    layer.init_cache(leading, LENGTH + 2)
    run = jit(lambda x: [layer(part, decode=True) for part in jnp.split(x, cuts, axis=-2)])
    same(jnp.concatenate(run(x), axis=-2), whole(layer, x))
    assert int(layer.cache.length.value) == LENGTH


def test_one_by_one_in_compiled_functions_and_loops():
    layer, other = made(), made()
    x = sample(2, LENGTH, 8)
    step = jit(lambda x: layer(x, decode=True))
    for one in (layer, other):
        one.init_cache(2, LENGTH)
    first = [step(x[:, :3]), *(step(x[:, i : i + 1]) for i in range(3, LENGTH))]
    want = whole(layer, x)
    same(jnp.concatenate(first, 1), want)
    looped = for_loop(lambda x: other(x[:, None], decode=True)[:, 0], x.swapaxes(0, 1))
    same(looped.swapaxes(0, 1), want)


@each("window", [1, 2, 4, LENGTH + 5])
def test_a_window_is_kept_to_token_by_token(window):
    # with all that changes logits, and a bias of all keys
    slopes = 2.0 ** -jnp.arange(1.0, 5.0)
    layer = made(window=window, softcap=1.5, scale=0.6, normalize_qk=nn.RMSNorm)
    x = sample(2, LENGTH, 8)
    bias = lambda keys: slopes[None, :, None, None] * jnp.arange(keys)[None, None, None]
    want, weights = jit(lambda x: layer(x, is_causal=True, bias=bias(LENGTH), return_weights=True))(x)
    seen = nn.causal_mask(LENGTH, window=window)
    assert ((np.asarray(weights) != 0) == np.asarray(seen)).all()
    layer.init_cache(2, LENGTH + 2)
    assert layer.cache.room == min(window, LENGTH + 2)
    step = jit(lambda x: layer(x, decode=True, bias=bias(LENGTH + 2), return_weights=True))
    parts = [step(x[:, :3]), *(step(x[:, i : i + 1]) for i in range(3, LENGTH))]
    same(jnp.concatenate([out for out, _ in parts], 1), want)
    same(jnp.concatenate([part for _, part in parts], 2), jnp.pad(weights, [(0, 0)] * 3 + [(0, 2)]))


@each(("window", "cuts"), [(1, [1, 3]), (2, [2]), (3, [4, 5]), (3, [1, 2, 3, 4]), (5, [1, 3])])
def test_a_window_is_kept_to_in_parts_of_any_size(window, cuts):
    layer, x = made(window=window, w_init=NORMAL), sample(2, LENGTH, 8)
    layer.init_cache(2, 100)
    run = jit(lambda x: [layer(part, decode=True) for part in jnp.split(x, cuts, axis=1)])
    want = whole(layer, x)
    for _ in range(2):  # what stands in the slots from before is not seen
        same(jnp.concatenate(run(x), 1), want)
        layer.reset_state()
    assert {state.value.size for state in layer.states(nn.CacheState).values()} == {1, 2 * window * 2 * 2}


def test_a_long_sequence_in_a_loop_needs_room_for_a_window():
    stack = nn.Stack(2, lambda: made(window=3))
    x = sample(2, 40, 8)
    want = jit(lambda x: stack(x, is_causal=True))(x)
    nn.init_all_states(stack, batch_size=2, max_length=40)
    assert stack.layers.cache.key.value.shape == (2, 2, 3, 2, 2)
    first = stack(x[:, :7], decode=True)
    rest = jit(lambda x: for_loop(lambda x: stack(x[:, None], decode=True)[:, 0], x))(x[:, 7:].swapaxes(0, 1))
    same(jnp.concatenate([first, rest.swapaxes(0, 1)], 1), want)
    assert bool(jnp.isnan(jit(lambda x: stack(x, decode=True))(x[:, :1])).all())  # as it is after `max_length`


def test_a_cache_of_another_window_is_refused():
    layer = made(window=3)
    layer.init_cache(2, LENGTH)
    layer.window = 2  # which needs less
    layer(sample(2, 1, 8), decode=True)
    for layer.window in (4, None):
        with pytest.raises(
            ValueError, match=rf"has a cache of the last 3 positions, which .* `window={layer.window}`: "
        ):
            layer(sample(2, 1, 8), decode=True)


@each("window", [None, 3])
def test_a_mask_hides_what_pads_a_sequence_in_front(window):
    layer = made(window=window)
    x = sample(2, LENGTH, 8)
    front = jnp.array([0, 2])  # the second sequence is two positions shorter
    mask = jnp.arange(LENGTH)[None, None, None] >= front[:, None, None, None]
    places = jnp.arange(LENGTH)[None] - front[:, None]
    layer.init_cache(2, LENGTH)

    @jit
    def run(x):
        return [
            layer(x[:, a:b], decode=True, mask=mask, positions=places[:, a:b]) for a, b in ((0, 4), (4, 5), (5, LENGTH))
        ]

    alone = whole(layer, x[1:, 2:])
    same(jnp.concatenate(run(x), 1)[1:, 2:], alone)


def test_lanes_of_vmap_have_windows_of_their_own():
    layer, x = made(window=2), sample(2, LENGTH, 8)
    want = whole(layer, x)
    nn.vmap_init_all_states(layer, 2, max_length=LENGTH)
    caches = layer.states(nn.CacheState)
    run = jit(vmap(lambda x: layer(x, decode=True), in_states={0: caches}, out_states={0: caches}))
    layer.cache.length.value = jnp.array([0, 1], jnp.int32)  # the second lane has seen one position
    for state, projected in ((layer.cache.key, layer.rotary(layer.key(x))), (layer.cache.value, layer.value(x))):
        state.value = state.value.at[1, 0].set(projected[1, 0])
    outs = [run(jnp.stack([x[0, i : i + n], x[1, i + 1 : i + 1 + n]])) for i, n in ((0, 3), (3, 1), (4, 1))]
    found = jnp.concatenate(outs, 1)
    same(found[0], want[0, :5])
    same(found[1], want[1, 1:6])


def test_lanes_of_vmap_have_lengths_of_their_own():
    layer = made()
    x = sample(2, LENGTH, 8)
    want = whole(layer, x)
    nn.vmap_init_all_states(layer, 2, max_length=LENGTH)
    layer.cache.length.value = jnp.array([3, 0], jnp.int32)
    k, v = layer.rotary(layer.key(x)), layer.value(x)
    layer.cache.key.value = jnp.where(jnp.arange(LENGTH)[None, :, None, None] < 3, k, 0.0)
    layer.cache.value.value = jnp.where(jnp.arange(LENGTH)[None, :, None, None] < 3, v, 0.0)
    caches = layer.states(nn.CacheState)
    out = vmap(lambda x: layer(x, decode=True), in_states={0: caches}, out_states={0: caches})(
        jnp.stack([x[0, 3:5], x[1, :2]])
    )
    same(out[0], want[0, 3:5])
    same(out[1], want[1, :2])
    assert layer.cache.length.value.tolist() == [5, 2]


class Net(nn.Module):
    def __init__(self):
        self.attention = made()


def test_beyond_the_end():
    net = Net()
    layer, x = net.attention, sample(2, LENGTH, 8)
    layer.init_cache(2, 4)
    out = layer(x[:, :3], decode=True)
    before = treefy_states(net)
    with pytest.raises(
        ValueError,
        match=r"^MultiHeadAttention at Net\.attention has room for 4 positions in its cache, of which 3 are filled, "
        r"and `query` has 2 more: call `reset_state\(\)`, or make a longer cache with `init_cache`$",
    ):
        layer(x[:, :2], decode=True)
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b, before, treefy_states(net)))
    step = jit(lambda x: layer(x, decode=True))
    with pytest.raises(ValueError, match="room for 4 positions"):  # whatever the length is
        step(x[:, :5])
    assert jnp.isfinite(step(x[:, 3:4])).all()
    assert jnp.isnan(step(x[:, 3:4])).all()  # where nothing can be raised
    assert jnp.isnan(step(x[:, 3:4])).all()
    nn.reset_all_states(net)
    same(layer(x[:, :3], decode=True), out, 0)


def test_a_wrong_call_leaves_the_cache_as_it_was():
    net = Net()
    net.attention.init_cache(2, LENGTH)
    x, before = sample(2, 1, 8), treefy_states(net)
    for options, message in [
        (
            {"mask": jnp.ones((2, 2), bool)},
            r"takes a `mask` of shape \(2, 4, 1, 6\), .* or of shape \(1, 6\), not bool",
        ),
        ({"positions": jnp.ones((2,), int)}, r"`positions` of shape \(1,\) or \(2, 1\)"),
        ({"positions": jnp.ones((1,))}, "whole numbers for `positions`"),
    ]:
        with pytest.raises((ValueError, TypeError), match=r"^\w+ at Net\.attention.*" + message):
            net.attention(x, decode=True, **options)
    with pytest.raises(
        ValueError,
        match=r"has a cache for a batch of \(2,\), which does not fit `query`, f32\[1,1,8\]: call `init_cache",
    ):
        net.attention(x[:1], decode=True)
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b, before, treefy_states(net)))


def test_the_protocol_of_a_whole_model():
    net = nn.Sequential(made(), made())
    shape = graphdef(net)
    nn.init_all_states(net, batch_size=3)  # as for other layers: without a length, no cache is made
    assert graphdef(net) is shape
    nn.init_all_states(net, batch_size=3, max_length=5)
    assert {path: state.value.shape for path, state in net.states(nn.CacheState).items()} == {
        ("layers", i, "cache", name): shape
        for i in range(2)
        for name, shape in (("key", (3, 5, 2, 2)), ("length", ()), ("value", (3, 5, 2, 2)))
    }
    net.layers[0](jnp.ones((3, 2, 8)), decode=True)
    nn.reset_all_states(net, batch_size=3)
    assert [int(layer.cache.length.value) for layer in net.layers] == [0, 0]


def test_the_dtype_of_the_cache():
    layer, x = made(), sample(1, 4, 8)
    layer.init_cache(1, 4, dtype="bfloat16")
    out = layer(x, decode=True)
    assert (layer.cache.key.value.dtype, out.dtype) == (jnp.bfloat16, jnp.float32)
    same(out, layer(x, is_causal=True), 5e-2)
    # that of the keys, whatever is made of their layer
    adapted = nn.Sequential(made(param_dtype="bfloat16"))
    nn.add_lora(adapted, 2)
    nn.freeze(adapted)
    adapted.layers[0].init_cache(1, 4)
    assert adapted.layers[0].cache.key.value.dtype == jnp.bfloat16
    half = made(dtype="bfloat16")
    half.init_cache(1, 4)
    assert half.cache.value.value.dtype == half(x, decode=True).dtype == jnp.bfloat16


def test_a_cache_over_devices():
    with jax.set_mesh(jax.make_mesh((1,), ("data",))):
        layer = made()
        x = jax.device_put(np.ones((2, 4, 8), np.float32), P("data"))
        layer.init_cache(2, 4, out_sharding=P("data"))
        step = jit(lambda x: layer(x, decode=True))
        same(step(x), whole(layer, x))
        assert jax.typeof(layer.cache.key.value).sharding.spec[0] == "data"


def test_sizes_are_checked():
    with pytest.raises(ValueError, match=r"^max_length must be a positive whole number"):
        made().init_cache(2, 0)
    with pytest.raises(ValueError, match=r"^batch_size must be a positive whole number"):
        made().init_cache((2, -1), 3)
    with pytest.raises(TypeError, match=r"^dtype must be a float or complex dtype .*, not int32"):
        made().init_cache(2, 3, dtype="int32")
