"""One table of all layers, a line each; the laws of `test_layers.py` run over it, on one device and on four."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import brainstate_nn as nn
from tests.laws.attention_layers import ATTENTION_LAYERS
from tests.laws.layer import NORMAL, Layer, pictures, rows, series, started
from tests.laws.layer import dtypes_of as _dtypes
from tests.laws.neurons import NEURONS
from tests.laws.sizes import Sizes
from tests.nn.peers import KERNEL, SCALE, Oracle, flax, formula
from tests.tables import each

LORA = {
    "lora_a": "lora_a", "lora_b": "lora_b", "base.weight": "base_module.kernel", "base.bias": "base_module.bias",
}  # fmt: skip


def their_lora(m: nn.LoRA) -> nnx.LoRA:
    sizes = m.lora_a.value.shape[0], m.lora_b.value.shape[1]
    return nnx.LoRA(sizes[0], m.rank, sizes[1], base_module=nnx.Linear(*sizes, **_dtypes(m)), **_dtypes(m))


def their_mlp(m: nn.MLP) -> nnx.Sequential:
    first, second = (nnx.Linear(layer.in_size, layer.out_size, **_dtypes(m.layers[0])) for layer in m.layers)
    return nnx.Sequential(first, nnx.tanh, second)


def half(m: Any, x: jax.Array) -> jax.Array:
    """The hidden states of `started`, of a cell of ours or of flax."""
    size = m.hidden_size if isinstance(m, nn.RecurrentCell) else m.hidden_features
    return jnp.full((len(x), size), 0.5, x.dtype)


CELL = {"weight_ih": "dense_i.kernel", "weight_hh": "dense_h.kernel", "bias": "dense_i.bias"}
LSTM = {**CELL, "bias": "dense_h.bias"}
QUICK = {"recurrent_kernel_init": jax.nn.initializers.zeros}  # the usual one cannot make bfloat16


def under(ours: str, theirs: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """The same names, one level below."""
    return {f"{ours}.{a}": f"{theirs}.{b}" for a, b in names.items()}


def their_lstm(m: nn.LSTMCell) -> nnx.OptimizedLSTMCell:
    return nnx.OptimizedLSTMCell(m.in_size, m.hidden_size, **QUICK, **_dtypes(m))


def their_simple(m: nn.RNNCell) -> nnx.SimpleCell:
    return nnx.SimpleCell(m.in_size, m.hidden_size, **QUICK, **_dtypes(m))


def gru_of_equinox(m: nn.GRUCell, v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    theirs = eqx.nn.GRUCell(m.in_size, m.hidden_size, key=jax.random.key(0))
    weights = (v["weight_ih"].T, v["weight_hh"].T, v["bias"], v["bias_hn"])
    theirs = eqx.tree_at(lambda c: (c.weight_ih, c.weight_hh, c.bias, c.bias_n), theirs, weights)
    return jax.vmap(theirs)(x, half(m, x))


def mgu(m: nn.MGUCell, v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    (w_f, w_n), (u_f, u_n), (b_f, b_n) = (jnp.split(v[n], 2, -1) for n in ("weight_ih", "weight_hh", "bias"))
    h = half(m, x)
    f = jax.nn.sigmoid(x @ w_f + h @ u_f + b_f[None])
    return (1 - f) * h + f * jnp.tanh(x @ w_n + (f * h) @ u_n + b_n[None])


def _one_after_another(m: nn.Stack, v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    for weight, bias in zip(v["layers.weight"], v["layers.bias"], strict=True):
        x = jnp.dot(x, weight) + bias[None, None]
    return x


def volumes(s: Sizes) -> tuple[tuple[int, ...], ...]:
    return ((s.batch, s.length, 3, 2, s.width),)


def their_conv(m: nn.Conv, **options: Any) -> nnx.Conv:
    return nnx.Conv(m.in_channels, m.out_channels, m.kernel_size, **options, **_dtypes(m))


def their_transpose(m: nn.ConvTranspose, **options: Any) -> nnx.ConvTranspose:
    options = {"strides": m.stride, "transpose_kernel": m.transpose_kernel, **options}
    return nnx.ConvTranspose(m.in_channels, m.out_channels, m.kernel_size, **options, **_dtypes(m))


def _pulled(m: nn.ConvTranspose, v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """The transposed convolution of torch: the gradient of the convolution by its input."""
    axes = ("NWC", "WOI", "NWC")  # the channels exchanged
    length = 2 * x.shape[1]
    there = jnp.zeros((len(x), length, m.out_channels), x.dtype)
    _, pull = jax.vjp(lambda y: jax.lax.conv_general_dilated(
        y, jnp.swapaxes(v["weight"], 1, 2), (2,), [(1, 1)], dimension_numbers=axes), there)  # fmt: skip
    return pull(x)[0] + v["bias"][None, None]


def _in_windows(reduce: Callable[..., Any], sizes: tuple[int, int]) -> Oracle:
    """Adaptive pooling, window by window."""

    def pool(m: nn.Module, v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        parts = [[slice(i * n // k, -(-(i + 1) * n // k)) for i in range(k)]
                 for n, k in zip(x.shape[1:3], sizes, strict=True)]  # fmt: skip
        return jnp.stack([jnp.stack([reduce(x[:, a, b], (1, 2)) for b in parts[1]], 1) for a in parts[0]], 1)

    return formula(pool)


def _layer_norm(m: nn.LayerNorm, v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    y = jax.nn.standardize(x.astype(jnp.float32), (-2, -1), epsilon=m.epsilon)
    return (y * v["weight"][None] + v["bias"][None]).astype(x.dtype)


def _wrapped(m: Any, v: dict[str, jax.Array]) -> tuple[nnx.Linear, dict[str, Any]]:
    """The layer in a wrapper, as flax has it."""
    options = _dtypes(m.layer)
    linear = nnx.Linear(m.layer.in_size, m.layer.out_size, **options)
    linear.kernel, linear.bias = nnx.Param(v["layer.weight"]), nnx.Param(v["layer.bias"])
    return linear, {"dtype": options["param_dtype"], "rngs": nnx.Rngs(0)}


def _spectral(m: nn.SpectralNorm, v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    linear, options = _wrapped(m, v)
    theirs = nnx.SpectralNorm(linear, **options)
    theirs.batch_stats["kernel", "u"][...] = v["u.weight"][None]
    return theirs(x, update_stats=False)


def _weight_normed(m: nn.WeightNorm, v: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    linear, options = _wrapped(m, v)
    theirs = nnx.WeightNorm(linear, **options)
    for path, kept in theirs.scales.items():  # by the version of flax
        theirs.scales[path] = nnx.Param(v["scale.weight"]) if isinstance(kept, nnx.Param) else v["scale.weight"]
    return theirs(x)


def _some_pairs(s: Sizes) -> tuple[list[int], list[int]]:
    """Neurons that send nothing, receive nothing, and are connected twice."""
    return [i for i in range(s.width) if i != 1] * 2, [0, *[i % s.out for i in range(2 * s.width - 3)]]


def _dense(m: nn.SparseLinear, weight: jax.Array) -> jax.Array:
    return jnp.zeros((m.in_size, m.out_size), weight.dtype).at[m.connections].add(weight)


LAYERS: list[Layer] = [
    Layer("Linear", lambda s, **o: nn.Linear(s.width, s.out, b_init=NORMAL, **o), rows,
          flax(lambda m: nnx.Linear(m.in_size, m.out_size, **_dtypes(m)))),
    Layer("Linear without bias", lambda s, **o: nn.Linear(s.width, s.out, use_bias=False, **o), series,
          flax(lambda m: nnx.Linear(m.in_size, m.out_size, use_bias=False, **_dtypes(m)))),
    Layer("LinearGeneral", lambda s, **o: nn.LinearGeneral(s.width, (s.heads, s.head), b_init=NORMAL, **o), series,
          flax(lambda m: nnx.LinearGeneral(m.in_size, m.out_size, **_dtypes(m)))),
    Layer("LinearGeneral of two axes",
          lambda s, **o: nn.LinearGeneral((s.heads, s.head), s.out, axis=(1, -1), b_init=NORMAL, **o),
          lambda s: ((s.batch, s.heads, s.length, s.head),),
          flax(lambda m: nnx.LinearGeneral(m.in_size, m.out_size, axis=m.axis, **_dtypes(m)))),
    Layer("Einsum", lambda s, **o: nn.Einsum(
          "btd,hdk->bhtk", (s.heads, s.width, s.out), (s.heads, s.out), b_init=NORMAL, **o), series,
          flax(lambda m: nnx.Einsum(m.equation, m.weight_shape, m.bias.value.shape, **_dtypes(m)))),
    Layer("Embedding", lambda s, **o: nn.Embedding(s.width, s.out, **o), lambda s: ((s.batch, s.length),),
          flax(lambda m: nnx.Embed(m.num_embeddings, m.features, **_dtypes(m)), {"weight": "embedding"}),
          kinds=lambda s: (s.width,)),
    Layer("Embedding padded", lambda s, **o: nn.Embedding(2, s.out, padding_idx=1, **o),
          lambda s: ((s.batch, s.length),),
          formula(lambda m, v, x: jnp.where((x == 1)[..., None], 0, v["weight"][x])), kinds=lambda s: (2,)),
    Layer("SparseLinear", lambda s, **o: nn.SparseLinear(
          s.width, s.out, _some_pairs(s), use_bias=True, b_init=NORMAL, **o), series,
          formula(lambda m, v, x: jnp.dot(x, _dense(m, v["weight"])) + v["bias"][None, None])),
    Layer("SparseLinear of one weight", lambda s, **o: nn.SparseLinear(
          s.width, s.out, _some_pairs(s), shared_weight=True, **o), rows,
          formula(lambda m, v, x: v["weight"] * jnp.dot(x, _dense(m, jnp.ones((), x.dtype))))),
    Layer("LoRA", lambda s, **o: nn.LoRA(
          s.width, 2, s.out, base=nn.Linear(s.width, s.out, b_init=NORMAL, **o), b_init=NORMAL, **o), series,
          flax(their_lora, LORA)),
    Layer("Conv1d", lambda s, **o: nn.Conv1d(s.width, s.out, 3, b_init=NORMAL, **o), series,
          flax(lambda m: nnx.Conv(m.in_channels, m.out_channels, (3,), **_dtypes(m)))),
    Layer("Conv2d strided", lambda s, **o: nn.Conv2d(s.width, s.out, 3, stride=2, padding="VALID", b_init=NORMAL, **o),
          pictures, flax(lambda m: nnx.Conv(m.in_channels, m.out_channels, (3, 3), 2, padding="VALID", **_dtypes(m)))),
    Layer("Conv2d of a spread input", lambda s, **o: nn.Conv2d(
          s.width, s.out, 2, padding=((0, 1), (2, 0)), input_dilation=(2, 3), stride=(1, 2), b_init=NORMAL, **o),
          pictures, flax(lambda m: their_conv(m, padding=m.padding, input_dilation=(2, 3), strides=(1, 2)))),
    Layer("Conv1d causal, dilated, grouped", lambda s, **o: nn.Conv1d(
          s.width, s.width, 3, padding="CAUSAL", dilation=2, groups=s.heads, b_init=NORMAL, **o), series,
          flax(lambda m: their_conv(m, padding="CAUSAL", kernel_dilation=2, feature_group_count=m.groups))),
    Layer("Conv circular", lambda s, **o: nn.Conv(s.width, s.out, (3, 2), padding="CIRCULAR", b_init=NORMAL, **o),
          pictures, flax(lambda m: their_conv(m, padding="CIRCULAR"))),
    Layer("Conv3d", lambda s, **o: nn.Conv3d(s.width, s.out, 2, b_init=NORMAL, **o), volumes, flax(their_conv)),
    Layer("ConvTranspose", lambda s, **o: nn.ConvTranspose(
          s.width, s.out, (4,), stride=2, padding=1, transpose_kernel=True, b_init=NORMAL, **o), series,
          formula(_pulled)),
    Layer("ConvTranspose1d", lambda s, **o: nn.ConvTranspose1d(s.width, s.out, 3, stride=2, b_init=NORMAL, **o), series,
          flax(their_transpose)),
    Layer("ConvTranspose2d circular", lambda s, **o: nn.ConvTranspose2d(
          s.width, s.out, 3, stride=2, padding="CIRCULAR", transpose_kernel=True, b_init=NORMAL, **o), pictures,
          flax(lambda m: their_transpose(m, padding="CIRCULAR"))),
    Layer("ConvTranspose3d", lambda s, **o: nn.ConvTranspose3d(s.width, s.out, 2, padding="VALID", b_init=NORMAL, **o),
          volumes, flax(lambda m: their_transpose(m, padding="VALID"))),
    Layer("BatchNorm", lambda s, **o: nn.BatchNorm(s.width, w_init=NORMAL, b_init=NORMAL, **o), series,
          flax(lambda m: nnx.BatchNorm(m.num_features, use_fast_variance=False, **_dtypes(m)),
               {**SCALE, "running_mean": "mean", "running_var": "var"}), modes=(True, False)),
    Layer("LayerNorm", lambda s, **o: nn.LayerNorm(s.width, w_init=NORMAL, b_init=NORMAL, **o), series,
          flax(lambda m: nnx.LayerNorm(m.num_features, epsilon=1e-5, use_fast_variance=False, **_dtypes(m)), SCALE)),
    Layer("LayerNorm of two axes", lambda s, **o: nn.LayerNorm(
          (s.length, s.width), w_init=NORMAL, b_init=NORMAL, **o), series, formula(_layer_norm)),
    Layer("RMSNorm", lambda s, **o: nn.RMSNorm(s.width, w_init=NORMAL, **o), series,
          flax(lambda m: nnx.RMSNorm(m.num_features, use_fast_variance=False, **_dtypes(m)), SCALE)),
    Layer("GroupNorm", lambda s, **o: nn.GroupNorm(
          None, s.width, group_size=s.head, w_init=NORMAL, b_init=NORMAL, **o), pictures,
          flax(lambda m: nnx.GroupNorm(
              m.num_features, m.num_groups, epsilon=1e-5, use_fast_variance=False, **_dtypes(m)), SCALE)),
    Layer("InstanceNorm", lambda s, **o: nn.InstanceNorm(s.width, w_init=NORMAL, b_init=NORMAL, **o), series,
          flax(lambda m: nnx.InstanceNorm(m.num_features, epsilon=1e-5, use_fast_variance=False, **_dtypes(m)), SCALE)),
    Layer("SpectralNorm", lambda s, rng, **o: nn.SpectralNorm(
          nn.Linear(s.width, s.out, b_init=NORMAL, rng=rng, **o), rng=rng), rows, formula(_spectral),
          modes=(True, False)),
    Layer("WeightNorm", lambda s, **o: nn.WeightNorm(nn.Linear(s.width, s.out, b_init=NORMAL, **o)), rows,
          formula(_weight_normed)),
    Layer("Dropout", lambda s, **o: nn.Dropout(0.5, **o), series, formula(lambda m, v, x: x), modes=(False,),
          plain=True, whole=True),
    Layer("FixedDropout", lambda s, **o: nn.FixedDropout(0.5, s.width, **o), series, formula(lambda m, v, x: x),
          modes=(False,), plain=True, start=lambda layer, s: layer.init_state((s.batch, s.length))),
    Layer("RNNCell", lambda s, **o: nn.RNNCell(s.width, s.out, b_init=NORMAL, **o), rows,
          flax(their_simple, CELL, lambda theirs, x: theirs(half(theirs, x), x)[1]), start=started),
    Layer("GRUCell", lambda s, **o: nn.GRUCell(s.width, s.out, b_init=NORMAL, **o), rows, formula(gru_of_equinox),
          start=started),
    Layer("MGUCell", lambda s, **o: nn.MGUCell(s.width, s.out, b_init=NORMAL, **o), rows, formula(mgu), start=started),
    Layer("LSTMCell", lambda s, **o: nn.LSTMCell(s.width, s.out, b_init=NORMAL, **o), rows,
          flax(their_lstm, LSTM, lambda theirs, x: theirs((half(theirs, x), half(theirs, x)), x)[1]), start=started),
    Layer("RNN", lambda s, **o: nn.RNN(nn.LSTMCell(s.width, s.out, b_init=NORMAL, **o)), series,
          flax(lambda m: nnx.RNN(their_lstm(m.cell)), under("cell", "cell", LSTM))),
    Layer("RNN of a chain", lambda s, **o: nn.RNN(nn.Sequential(
          nn.LSTMCell(s.width, s.out, b_init=NORMAL, **o), nn.tanh, nn.RNNCell(s.out, 2, b_init=NORMAL, **o))), series,
          flax(lambda m: nnx.Sequential(nnx.RNN(their_lstm(m.cell[0])), nnx.tanh, nnx.RNN(their_simple(m.cell[2]))), {
              **under("cell.layers.0", "layers.0.cell", LSTM), **under("cell.layers.2", "layers.2.cell", CELL)})),
    Layer("RNN reversed", lambda s, **o: nn.RNN(nn.RNNCell(s.width, s.out, **o), reverse=True, keep_order=False),
          series, flax(lambda m: nnx.RNN(their_simple(m.cell), reverse=True), under("cell", "cell", CELL))),
    Layer("Bidirectional", lambda s, **o: nn.Bidirectional(
              nn.RNNCell(s.width, s.out, **o), nn.RNNCell(s.width, 2, **o)), series,
          flax(lambda m: nnx.Bidirectional(*(nnx.RNN(their_simple(r.cell)) for r in (m.forward, m.backward))), {
              **under("forward.cell", "forward_rnn.cell", CELL), **under("backward.cell", "backward_rnn.cell", CELL)})),
    *NEURONS,
    Layer("MaxPool", lambda s, rng: nn.MaxPool((2, 2)), pictures,
          formula(lambda m, v, x: nnx.max_pool(x, (2, 2), (2, 2))), plain=True, whole=True),
    Layer("AvgPool", lambda s, rng: nn.AvgPool((2, 2)), pictures,
          formula(lambda m, v, x: nnx.avg_pool(x, (2, 2), (2, 2))), plain=True, whole=True),
    Layer("MaxPool with strides", lambda s, rng: nn.MaxPool((3, 2), (2, 1), "SAME"), pictures,
          formula(lambda m, v, x: nnx.max_pool(x, (3, 2), (2, 1), "SAME")), plain=True, whole=True),
    Layer("AvgPool with strides", lambda s, rng: nn.AvgPool((3, 3), 2, "SAME", count_include_pad=False), pictures,
          formula(lambda m, v, x: nnx.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=False).astype(x.dtype)),
          plain=True, whole=True),
    Layer("AdaptiveAvgPool", lambda s, rng: nn.AdaptiveAvgPool((3, 2)), pictures, _in_windows(jnp.mean, (3, 2)),
          plain=True, whole=True),
    Layer("AdaptiveMaxPool", lambda s, rng: nn.AdaptiveMaxPool((3, 2)), pictures, _in_windows(jnp.max, (3, 2)),
          plain=True, whole=True),
    Layer("Flatten", lambda s, rng: nn.Flatten(), pictures, formula(lambda m, v, x: x.reshape((len(x), -1))),
          plain=True, whole=True),
    Layer("GlobalAvgPool", lambda s, rng: nn.GlobalAvgPool(), pictures,
          formula(lambda m, v, x: x.mean((1, 2))), plain=True, whole=True),
    Layer("Lambda", lambda s, rng: nn.Lambda(jnp.swapaxes, -1, axis2=-2), series,
          formula(lambda m, v, x: x.swapaxes(1, 2)), plain=True, whole=True),
    Layer("Identity", lambda s, rng: nn.Identity(), rows, formula(lambda m, v, x: x), plain=True, whole=True),
    Layer("MLP", lambda s, **o: nn.MLP(s.width, s.out, 5, 1, activation=nn.tanh, dropout=0.5, b_init=NORMAL, **o), rows,
          flax(their_mlp, {f"layers.{i}.{a}": f"layers.{2 * i}.{b}" for i in (0, 1) for a, b in KERNEL.items()}),
          modes=(False,)),
    Layer("PReLU", lambda s, **o: nn.PReLU(w_init=NORMAL, **o), series,
          flax(lambda m: nnx.PReLU(dtype=m.dtype), {"weight": ("negative_slope", lambda v: v.reshape(()))}),
          whole=True),
    Layer("PReLU of features", lambda s, **o: nn.PReLU(s.width, w_init=NORMAL, **o), rows,
          formula(lambda m, v, x: jnp.maximum(x, 0) + v["weight"][None] * jnp.minimum(x, 0))),
    Layer("Sequential", lambda s, **o: nn.Sequential(nn.Linear(s.width, s.out, **o), nn.tanh), rows,
          formula(lambda m, v, x: jnp.tanh(jnp.dot(x, v["layers.0.weight"]) + v["layers.0.bias"][None]))),
    Layer("Stack", lambda s, **o: nn.Stack(3, lambda: nn.Linear(s.width, s.width, b_init=NORMAL, **o)), series,
          formula(_one_after_another)),
    *ATTENTION_LAYERS,
]  # fmt: skip


def all_layers(of: Callable[[Layer], bool] = lambda _: True) -> Any:
    """Hold all rows of the table, or those of a kind, to one test, which lists the layers that fail."""
    chosen = [row for row in LAYERS if of(row)]
    return each("row", chosen, ids=[row.name for row in chosen])


def layers(of: Callable[[Layer], bool] = lambda _: True) -> Any:
    """Parametrise a test by the rows of the table, or by those of a kind."""
    chosen = [row for row in LAYERS if of(row)]
    return pytest.mark.parametrize("row", chosen, ids=[row.name for row in chosen])
