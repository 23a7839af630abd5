"""Layers by their older names: each is what a line of `jax.numpy` or SciPy says, and has the size that it promises."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import brainstate_nn as nn
import brainstate_transform as bt
from brainstate_nn import compat
from tests.tables import each

X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 6)) * 2, jnp.float32)
x = np.asarray(X, np.float64)
sigmoid, softplus = special.expit(x), np.logaddexp(x, 0)
ACTIVATIONS = {
    "ReLU": ((), np.maximum(x, 0)),
    "ReLU6": ((), np.clip(x, 0, 6)),
    "RReLU": ((0.25, 0.25), np.where(x >= 0, x, 0.25 * x)),
    "Hardtanh": ((-0.5, 0.75), np.clip(x, -0.5, 0.75)),
    "Sigmoid": ((), sigmoid),
    "Hardsigmoid": ((), np.clip(x + 3, 0, 6) / 6),
    "Tanh": ((), np.tanh(x)),
    "SiLU": ((), x * sigmoid),
    "Mish": ((), x * np.tanh(softplus)),
    "Hardswish": ((), x * np.clip(x + 3, 0, 6) / 6),
    "ELU": ((0.5,), np.where(x > 0, x, 0.5 * np.expm1(x))),
    "CELU": ((2.0,), np.maximum(x, 0) + np.minimum(0, 2 * np.expm1(x / 2))),
    "SELU": ((), 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
    "GLU": ((), x[:, :3] * sigmoid[:, 3:]),
    "GELU": ((), x * special.ndtr(x)),
    "Hardshrink": ((1.0,), np.where(np.abs(x) > 1, x, 0)),
    "LeakyReLU": ((0.2,), np.where(x >= 0, x, 0.2 * x)),
    "LogSigmoid": ((), -np.logaddexp(-x, 0)),
    "Softplus": ((), softplus),
    "Softshrink": ((0.5,), np.sign(x) * np.maximum(np.abs(x) - 0.5, 0)),
    "Softsign": ((), x / (1 + np.abs(x))),
    "Tanhshrink": ((), x - np.tanh(x)),
    "Threshold": ((0.3, -7.0), np.where(x > 0.3, x, -7.0)),
    "Softmin": ((), special.softmax(-x, -1)),
    "Softmax": ((0,), special.softmax(x, 0)),
    "LogSoftmax": ((), special.log_softmax(x, -1)),
    "PReLU": ((), np.where(x >= 0, x, 0.25 * x)),
    "Identity": ((), x),
}


@each("name, row", ACTIVATIONS.items())
def test_activations(name, row):
    settings, expected = row
    layer = getattr(compat, name)(*settings)
    np.testing.assert_allclose(layer(X), expected, rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(X >> layer, layer.update(X))
    assert compat.Sequential(compat.Linear(2, 6), layer).out_size == ((3,) if name == "GLU" else (6,))


def test_a_softmax_over_the_channels_of_a_picture():
    image = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 3, 4)), jnp.float32)
    np.testing.assert_allclose(compat.Softmax2d()(image), special.softmax(image, -3), rtol=1e-5)


def windows(a, size, stride):
    return np.stack([a[:, i : i + size] for i in range(0, a.shape[1] - size + 1, stride)], 1)


LINE = np.random.default_rng(2).normal(size=(2, 8, 3)).astype(np.float32)
POOLS = {
    "MaxPool1d(2)": (lambda: compat.MaxPool1d(2), windows(LINE, 2, 2).max(2)),
    "MaxPool1d(3, 1)": (lambda: compat.MaxPool1d(3, 1), windows(LINE, 3, 1).max(2)),
    "AvgPool1d(2)": (lambda: compat.AvgPool1d(2), windows(LINE, 2, 1).mean(2)),
    "AvgPool1d((4,), 2)": (lambda: compat.AvgPool1d((4,), 2), windows(LINE, 4, 2).mean(2)),
    "LPPool1d(3, 2)": (lambda: compat.LPPool1d(2, 2, 2), (windows(LINE, 2, 2) ** 2).sum(2) ** 0.5),
    "AdaptiveAvgPool1d(4)": (lambda: compat.AdaptiveAvgPool1d(4), windows(LINE, 2, 2).mean(2)),
    "AdaptiveMaxPool1d(2)": (lambda: compat.AdaptiveMaxPool1d(2), windows(LINE, 4, 4).max(2)),
    "CircularPad1d": (lambda: compat.CircularPad1d(2), np.pad(LINE, ((0, 0), (2, 2), (0, 0)), "wrap")),
    "ReflectionPad1d": (lambda: compat.ReflectionPad1d((1, 2)), np.pad(LINE, ((0, 0), (1, 2), (0, 0)), "reflect")),
    "ReplicationPad1d": (lambda: compat.ReplicationPad1d(1), np.pad(LINE, ((0, 0), (1, 1), (0, 0)), "edge")),
    "ZeroPad1d": (lambda: compat.ZeroPad1d(1), np.pad(LINE, ((0, 0), (1, 1), (0, 0)))),
    "ConstantPad1d": (
        lambda: compat.ConstantPad1d(1, 5.0),
        np.pad(LINE, ((0, 0), (1, 1), (0, 0)), constant_values=5),
    ),
    "Unflatten": (lambda: compat.Unflatten(1, (2, 4)), LINE.reshape(2, 2, 4, 3)),
    "Flatten": (lambda: compat.Flatten(1), LINE.reshape(2, -1)),
}


@each("name, row", POOLS.items())
def test_pools_and_pads(name, row):
    make, expected = row
    np.testing.assert_allclose(make()(jnp.asarray(LINE)), expected, rtol=1e-5, atol=1e-6)


@each("kind", ["MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "CircularPad", "ReflectionPad", "ZeroPad"])
@each("rank", [1, 2, 3])
def test_a_rank_is_the_number_of_spatial_axes_and_a_size_is_that_of_the_result(kind, rank):
    size = (*(4, 6, 8)[:rank], 2)
    layer = getattr(compat, f"{kind}{rank}d")(2, in_size=size)
    out = layer(jnp.ones((5, *size)))
    assert layer.out_size == out.shape[1:]
    assert layer(jnp.ones(size)).shape == layer.out_size
    assert out.shape[-1] == 2


@each("rank", [1, 2, 3])
def test_convolutions_with_each_keyword_are_those_of_jax(rank):
    size = (*(5, 6, 4)[:rank], 4)
    padding, half = ((1, 2),) * rank, compat.init.Constant(0.5)
    layer = getattr(compat, f"Conv{rank}d")(
        size, 6, 3, stride=2, padding=padding, lhs_dilation=2, rhs_dilation=2, groups=2, b_init=half
    )
    x = jnp.asarray(np.random.default_rng(rank).normal(size=(2, *size)), jnp.float32)
    spatial = "XYZ"[:rank]
    expected = jax.lax.conv_general_dilated(
        x, layer.weight.value, (2,) * rank, padding, (2,) * rank, (2,) * rank,
        (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"), 2,
    )  # fmt: skip
    np.testing.assert_allclose(layer(x), expected + 0.5, rtol=1e-4, atol=1e-5)
    assert layer.out_size == expected.shape[1:]
    assert layer.in_size == size
    turned = getattr(compat, f"ConvTranspose{rank}d")(size, 2, 3, stride=2)
    assert turned(x).shape[1:] == turned.out_size == (*(2 * n for n in size[:-1]), 2)
    with pytest.raises(ValueError, match=r"channels are the last axis here; write `jnp\.moveaxis"):
        getattr(compat, f"Conv{rank}d")(size, 6, 3, channel_first=True)


def by_group(x, groups):
    parts = x.reshape(3, groups, -1)
    return (*(np.repeat(moment(parts, -1), 6 // groups, -1) for moment in (np.mean, np.var)), 1e-6)


TWO = compat.init.Constant(2.0)
NORMS = {
    "BatchNorm0d": (lambda: compat.BatchNorm0d(6, affine=False), lambda x: (x.mean(0), x.var(0), 1e-5)),
    "BatchNorm0d of a scale": (
        lambda: compat.BatchNorm0d((6,), scale_initializer=TWO, epsilon=1e-3),
        lambda x: (x.mean(0), x.var(0) / 4, 1e-3 / 4),
    ),
    "LayerNorm": (lambda: compat.LayerNorm((6,)), lambda x: (x.mean(-1)[:, None], x.var(-1)[:, None], 1e-6)),
    "RMSNorm": (lambda: compat.RMSNorm((6,)), lambda x: (0, (x**2).mean(-1)[:, None], 1e-6)),
    "GroupNorm": (lambda: compat.GroupNorm((6,), num_groups=2), lambda x: by_group(x, 2)),
    "GroupNorm by size": (lambda: compat.GroupNorm((6,), num_groups=None, group_size=2), lambda x: by_group(x, 3)),
}


@each("name, row", NORMS.items())
def test_norms(name, row):
    make, moments = row
    layer = make()
    mean, variance, epsilon = moments(x)
    with compat.environ.context(fit=True):
        np.testing.assert_allclose(layer(X), (x - mean) / np.sqrt(variance + epsilon), rtol=1e-4, atol=1e-5)
    assert layer.in_size == layer.out_size == (6,)


def test_the_mode_is_that_of_the_environment_and_else_that_of_the_layer():
    norm, dropout = compat.BatchNorm0d(6), compat.Dropout(prob=0.5)
    for layer in (norm, dropout):
        for fit, training in [(True, True), (False, False), (None, True)]:
            with compat.environ.context(**({} if fit is None else {"fit": fit})):
                if layer is dropout:
                    assert bool((layer(jnp.ones(200)) == 0).any()) is training
                else:
                    before = norm.running_mean.value
                    norm(X)
                    assert bool((norm.running_mean.value != before).any()) is training
    assert not (dropout.eval()(jnp.ones(200)) == 0).any()


held = {"dropout": compat.Dropout(0.5), "chain": compat.Sequential(compat.Linear(2, 200), compat.Dropout(0.5))}
leaking = compat.EnvironContext(lambda v: compat.exp_euler_step(lambda v: -v, v), rate=1.0)
READERS = {
    "a layer that is held": ("fit", (True, False), lambda: (held["dropout"](jnp.ones(200)) == 0).any()),
    "a layer in another one": ("fit", (True, False), lambda: (held["chain"](jnp.ones(2)) == 0).any()),
    "a layer that is made": ("fit", (True, False), lambda: (compat.Dropout(0.5)(jnp.ones(200)) == 0).any()),
    "a class by its name": ("fit", (False, True), lambda: compat.BatchNorm0d(6)(X)[0, 0]),
    "a step": ("dt", (0.1, 0.5), lambda: compat.exp_euler_step(lambda v: -v, jnp.float32(1.0))),
    "a step that is an array": (
        "dt",
        (jnp.float32(0.1), jnp.float32(0.5)),
        lambda: compat.exp_euler_step(lambda v, t: -v * t, jnp.ones(2), 2.0),
    ),
    "a step in a context": ("dt", (0.1, 0.5), lambda: leaking(jnp.float32(1.0))),
}


@each("name, row", READERS.items())
def test_a_setting_that_changes_is_seen_by_what_was_compiled(name, row):
    setting, values, read = row
    jitted = bt.jit(read)
    for value in (*values, values[0]):
        with compat.environ.context(**{setting: value}):
            np.testing.assert_allclose(jitted(), read(), rtol=1e-6)


@each("shape", [(4, 7, 3), (4, 5, 6, 3), (2, 3, 4, 5, 3)])
def test_dropout_of_channels_drops_whole_ones_and_keeps_the_mean(shape):
    rank = len(shape) - 2
    layer, shared = getattr(compat, f"Dropout{rank}d")(prob=0.5), tuple(range(1, rank + 1))
    assert layer.prob == 0.5
    out = np.asarray(layer(jnp.ones(shape), training=True))
    assert set(np.unique(out)) <= {0.0, 2.0}
    assert (np.ptp(out, axis=shared) == 0).all()


def test_linear_layers_are_products():
    mask = jnp.asarray(np.eye(2, 3), jnp.float32)
    given = jnp.arange(6.0).reshape(2, 3)
    layer = compat.Linear((5, 2), (5, 3), given, b_init=jnp.arange(3.0), w_mask=mask)
    np.testing.assert_allclose(layer(jnp.ones((5, 2))), np.tile([0.0, 5.0, 2.0], (5, 1)))
    assert bt.grad(lambda: layer(jnp.ones(2)).sum(), layer.weight)().tolist() == mask.tolist()
    table = compat.Embedding(3, (2,), jnp.arange(6.0).reshape(3, 2))
    assert table(jnp.array([2, 0])).tolist() == [[4.0, 5.0], [0.0, 1.0]]
    lora = compat.LoRA(2, 1, 3, base_module=layer)
    lora.lora_b.value = jnp.ones((1, 3))
    x = jnp.array([1.0, 3.0])
    expected = layer(x) + x @ lora.lora_a.value @ lora.lora_b.value
    np.testing.assert_allclose(lora(x), expected, rtol=1e-6)


@each("kind, activation", [("ValinaRNNCell", "relu"), ("ValinaRNNCell", "tanh")])
def test_a_plain_cell_is_its_equation(kind, activation):
    cell = getattr(compat, kind)(2, 3, w_init=compat.init.Constant(0.5), activation=activation)
    compat.init_all_states(cell, 4)
    xs = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 2)), jnp.float32)
    h = np.zeros((4, 3))
    fun = {"relu": lambda a: np.maximum(a, 0), "tanh": np.tanh}[activation]
    for x in xs:
        h = fun(np.asarray(x) @ np.full((2, 3), 0.5) + h @ np.full((3, 3), 0.5))
        np.testing.assert_allclose(cell.update(x), h, rtol=1e-5, atol=1e-6)
    assert cell.out_size == (3,)


def test_what_is_described_is_made_for_the_size_before_it():
    net = compat.Sequential(
        compat.Conv2d((8, 8, 3), 4, 3),
        compat.ReLU(),
        compat.MaxPool2d.desc(2),
        compat.Flatten.desc(),
        compat.Linear.desc(out_size=5),
        jnp.tanh,
    )
    assert net.in_size == (8, 8, 3)
    assert net.out_size == (5,)
    assert net.layers[4].in_size == (64,)
    assert net(jnp.ones((2, 8, 8, 3))).shape == (2, 5)
    with pytest.raises(ValueError, match=r"layer 1 of Sequential is described by `Linear.desc\(...\)`"):
        compat.Sequential(jnp.tanh, compat.Linear.desc(out_size=5))


def test_every_older_layer_has_what_older_layers_have():
    layers = [
        getattr(compat, name) for name in compat.__all__
        if isinstance(getattr(compat, name), type) and issubclass(getattr(compat, name), nn.Module)
    ]  # fmt: skip
    names = "desc update in_size out_size name states nodes param_modules param_precompute state_trees init_all_states"
    lacking = {
        layer.__name__: [name for name in names.split() if not hasattr(layer, name)]
        for layer in layers
        if layer.__module__.startswith("brainstate_nn.compat") and "Metric" not in layer.__name__
    }
    assert len(lacking) > 80
    assert not {key: value for key, value in lacking.items() if value}
