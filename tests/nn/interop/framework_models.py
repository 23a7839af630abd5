"""Whole models in four frameworks: the GPT of `examples/gpt.py` and a convolutional network, by other names."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as fl
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import brainstate_nn as nn
from benchmarks._cases.gpt import NnxGPT, attention_of_rotated, rotated
from examples.gpt import GPT, Settings
from tests.nn.interop.frameworks import called, first, last, t_batch_norm, t_conv, t_linear, t_norm

SMALL = Settings(width=8, heads=2, depth=2)
TOKENS = jnp.array([[1, 2, 3, 4, 5], [6, 5, 4, 3, 2]])
PICTURES = jnp.asarray(np.random.default_rng(3).normal(size=(2, 7, 7, 3)), jnp.float32)


class Model(NamedTuple):
    """A model of ours and one of another framework.

    Attributes:
        ours: Makes ours.
        x: An input.
        framework: The name of the framework.
        make: Makes theirs: what `export_weights` fills.
        call: ``call(theirs, x)`` returns what ours returns.
        rename: From their names to those by the rules.
    """

    ours: Callable[[], Any]
    x: jax.Array
    framework: str
    make: Callable[[], Any]
    call: Callable[[Any, jax.Array], Any]
    rename: Any = None


# -------------------------------------------------------------------------------------------------------------- GPT


class LinenBlock(fl.Module):
    @fl.compact
    def __call__(self, x: Any) -> Any:
        causal = lambda q, k, v, **_: attention_of_rotated(q, k, v, is_causal=True)
        attend = fl.MultiHeadDotProductAttention(SMALL.heads, use_bias=False, attention_fn=causal)
        x = x + attend(fl.LayerNorm(1e-5)(x))
        h = fl.gelu(fl.Dense(4 * SMALL.width)(fl.LayerNorm(1e-5)(x)))
        return x + fl.Dense(SMALL.width)(h)


class LinenGPT(fl.Module):
    @fl.compact
    def __call__(self, tokens: Any) -> Any:
        embed = fl.Embed(11, SMALL.width, name="wte")
        x = embed(tokens)
        for i in range(SMALL.depth):
            x = LinenBlock(name=f"h_{i}")(x)
        return embed.attend(fl.LayerNorm(1e-5, name="ln_f")(x))


OF_LINEN_GPT = [
    (r"\.wte\.", ".tokens."), (r"\.ln_f\.", ".norm."), (r"\.h_", ".blocks_"),
    ("MultiHeadDotProductAttention_0", "attention"),
    ("LayerNorm_0", "attention_norm"), ("LayerNorm_1", "mlp_norm"), ("Dense_0", "mlp.layers_0"),
    ("Dense_1", "mlp.layers_2"),
]  # fmt: skip


class EqxBlock(eqx.Module):
    norms: list[eqx.nn.LayerNorm]
    attn: eqx.nn.MultiheadAttention
    mlp: eqx.nn.MLP

    def __init__(self, key: Any) -> None:
        self.norms = [eqx.nn.LayerNorm(SMALL.width) for _ in range(2)]
        self.attn = eqx.nn.MultiheadAttention(SMALL.heads, SMALL.width, key=key)
        self.mlp = eqx.nn.MLP(SMALL.width, SMALL.width, 4 * SMALL.width, 1, jax.nn.gelu, key=key)

    def __call__(self, x: Any) -> Any:
        def turned(q: Any, k: Any, v: Any) -> Any:
            return rotated(q[None])[0], rotated(k[None])[0], v

        h = jax.vmap(self.norms[0])(x)
        x = x + self.attn(h, h, h, jnp.tril(jnp.ones((len(x), len(x)), bool)), process_heads=turned)
        return x + jax.vmap(self.mlp)(jax.vmap(self.norms[1])(x))


class EqxGPT(eqx.Module):
    tokens: eqx.nn.Embedding
    blocks: list[EqxBlock]
    norm: eqx.nn.LayerNorm

    def __init__(self) -> None:
        key = jax.random.key(0)
        self.tokens = eqx.nn.Embedding(11, SMALL.width, key=key)
        self.blocks = [EqxBlock(key) for _ in range(SMALL.depth)]
        self.norm = eqx.nn.LayerNorm(SMALL.width)

    def __call__(self, tokens: Any) -> Any:
        x = jax.vmap(self.tokens)(tokens)
        for block in self.blocks:
            x = block(x)
        return jax.vmap(self.norm)(x) @ self.tokens.weight.T


OF_EQX_GPT = [
    (r"norms\.0", "attention_norm"), (r"norms\.1", "mlp_norm"), (r"\.attn\.", ".attention."),
    (r"mlp\.layers\.1", "mlp.layers.2"),
]  # fmt: skip

OF_TORCH_GPT = [
    (r"^transformer\.wte\.", "tokens."), (r"^lm_head\.", "tokens."), (r"^transformer\.ln_f\.", "norm."),
    (r"^transformer\.h\.", "blocks."), (r"\.ln_1\.", ".attention_norm."), (r"\.ln_2\.", ".mlp_norm."),
    (r"\.attn\.", ".attention."), (r"\.mlp\.fc\.", ".mlp.0."), (r"\.mlp\.proj\.", ".mlp.2."),
]  # fmt: skip


def torch_gpt_weights() -> dict[str, Any]:
    width = SMALL.width
    norm = {"weight": (width,), "bias": (width,)}
    parts: dict[str, dict[str, tuple[int, ...]]] = {
        "transformer.wte": {"weight": (11, width)}, "lm_head": {"weight": (11, width)}, "transformer.ln_f": norm,
    }  # fmt: skip
    for i in range(SMALL.depth):
        parts |= {
            f"transformer.h.{i}.ln_1": norm, f"transformer.h.{i}.ln_2": norm,
            f"transformer.h.{i}.attn": {"in_proj_weight": (3 * width, width), "out_proj.weight": (width, width)},
            f"transformer.h.{i}.mlp.fc": {"weight": (4 * width, width), "bias": (4 * width,)},
            f"transformer.h.{i}.mlp.proj": {"weight": (width, 4 * width), "bias": (width,)},
        }  # fmt: skip
    return {f"{p}.{n}": np.zeros(s, np.float32) for p, names in parts.items() for n, s in names.items()}


def torch_gpt(v: Any, tokens: Any) -> Any:
    def norm(name: str, x: Any) -> Any:
        return t_norm({n: v[f"{name}.{n}"] for n in ("weight", "bias")}, x, -1, 1e-5)

    x = v["transformer.wte.weight"][tokens]
    for i in range(SMALL.depth):
        at = f"transformer.h.{i}"
        rows = norm(f"{at}.ln_1", x) @ v[f"{at}.attn.in_proj_weight"].T
        q, k, values = (r.reshape(*r.shape[:2], SMALL.heads, -1) for r in np.split(rows, 3, -1))
        y = np.asarray(attention_of_rotated(q, k, values, is_causal=True))
        x = x + t_linear(v, y.reshape(x.shape), f"{at}.attn.out_proj.")
        h = t_linear(v, norm(f"{at}.ln_2", x), f"{at}.mlp.fc.")
        h = h * (1 + np.tanh(np.sqrt(2 / np.pi, dtype=h.dtype) * (h + 0.044715 * h**3))) / 2  # of GPT-2
        x = x + t_linear(v, h, f"{at}.mlp.proj.")
    return norm("transformer.ln_f", x) @ v["lm_head.weight"].T


# -------------------------------------------------------------------------------------------------------------- CNN


class CNN(nn.Module):
    def __init__(self) -> None:
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm(8)
        self.stages = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=2, use_bias=False), nn.BatchNorm(8))
        self.fc = nn.Linear(8, 5)

    def __call__(self, x: Any) -> Any:
        x = jax.nn.relu(self.bn1(self.conv1(x)))
        return self.fc(jax.nn.relu(self.stages(x)).mean((1, 2)))


class LinenCNN(fl.Module):
    @fl.compact
    def __call__(self, x: Any) -> Any:
        norm: Any = lambda x: fl.relu(fl.BatchNorm(use_running_average=True)(x))
        x = norm(fl.Conv(8, (3, 3), (2, 2), [(1, 1)] * 2)(x))
        x = norm(fl.Conv(8, (3, 3), padding=[(1, 1)] * 2, feature_group_count=2, use_bias=False)(x))
        return fl.Dense(5)(x.mean((1, 2)))


OF_LINEN_CNN = {
    f"{kind}.{theirs}.{name}": f"{kind}.{ours}.{name}"
    for theirs, ours in (("Conv_0", "conv1"), ("BatchNorm_0", "bn1"), ("Conv_1", "stages.layers_0"),
                         ("BatchNorm_1", "stages.layers_1"), ("Dense_0", "fc"))
    for kind, names in (("params", ("kernel", "scale", "bias")), ("batch_stats", ("mean", "var")))
    for name in names
}  # fmt: skip


class NnxCNN(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        pads = [(1, 1)] * 2
        self.conv1 = nnx.Conv(3, 8, (3, 3), 2, padding=pads, rngs=rngs)
        self.bn1 = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
        self.stages = nnx.Sequential(
            nnx.Conv(8, 8, (3, 3), padding=pads, feature_group_count=2, use_bias=False, rngs=rngs),
            nnx.BatchNorm(8, use_running_average=True, rngs=rngs),
        )
        self.dropout = nnx.Dropout(0.5, rngs=rngs)  # whose stream is no weight
        self.fc = nnx.Linear(8, 5, rngs=rngs)

    __call__ = CNN.__call__


class EqxCNN(eqx.Module):
    conv1: eqx.nn.Conv2d
    bn1: eqx.nn.BatchNorm
    stages: eqx.nn.Sequential
    fc: eqx.nn.Linear

    def __init__(self, key: Any) -> None:
        self.conv1 = eqx.nn.Conv2d(3, 8, 3, 2, 1, key=key)
        self.bn1 = eqx.nn.BatchNorm(8, "batch", mode="batch", inference=True)
        self.stages = eqx.nn.Sequential([
            eqx.nn.Conv2d(8, 8, 3, padding=1, groups=2, use_bias=False, key=key),
            eqx.nn.BatchNorm(8, "batch", mode="ema", inference=True),
        ])  # fmt: skip
        self.fc = eqx.nn.Linear(8, 5, key=key)

    def __call__(self, x: Any, state: Any) -> Any:
        x, state = self.bn1(self.conv1(x), state)
        x, state = self.stages(jax.nn.relu(x), state)
        return self.fc(jax.nn.relu(x).mean((1, 2))), state


@eqx.filter_jit
def call_eqx_cnn(theirs: Any, x: Any) -> Any:
    module, state = theirs
    return jax.vmap(module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(first(x), state)[0]


def torch_cnn_weights() -> dict[str, Any]:
    floats: dict[str, tuple[int, ...]] = {
        "conv1.weight": (8, 3, 3, 3), "conv1.bias": (8,), "stages.0.weight": (8, 4, 3, 3), "fc.weight": (5, 8),
        "fc.bias": (5,),
    }  # fmt: skip
    for at in ("bn1", "stages.1"):
        floats |= {f"{at}.{name}": (8,) for name in ("weight", "bias", "running_mean", "running_var")}
    counters = {f"{at}.num_batches_tracked": np.array(5) for at in ("bn1", "stages.1")}
    return {**{name: np.zeros(shape, np.float32) for name, shape in floats.items()}, **counters}


def torch_cnn(v: Any, x: Any) -> Any:
    norm = SimpleNamespace(epsilon=1e-5)
    x = last(t_conv(first(x), v["conv1.weight"], v["conv1.bias"], 2, 1, 1, 1))
    x = np.maximum(t_batch_norm(norm, v, x, "bn1."), 0)
    x = last(t_conv(first(x), v["stages.0.weight"], np.zeros(8, np.float32), 1, 1, 1, 2))
    return t_linear(v, np.maximum(t_batch_norm(norm, v, x, "stages.1."), 0).mean((1, 2)), "fc.")


MODELS = {
    "gpt-linen": Model(lambda: GPT(11, SMALL), TOKENS, "linen",
                       lambda: jax.eval_shape(LinenGPT().init, jax.random.key(0), TOKENS), jax.jit(LinenGPT().apply),
                       OF_LINEN_GPT),
    "gpt-nnx": Model(lambda: GPT(11, SMALL), TOKENS, "nnx", lambda: nnx.eval_shape(lambda: NnxGPT(11, SMALL, {})),
                     lambda t, x: called(t, lambda t: t(x))),
    "gpt-equinox": Model(lambda: GPT(11, SMALL), TOKENS, "equinox",
                         lambda: eqx.filter_eval_shape(EqxGPT), eqx.filter_jit(lambda t, x: jax.vmap(t)(x)),
                         OF_EQX_GPT),
    "gpt-torch": Model(lambda: GPT(11, SMALL), TOKENS, "torch", torch_gpt_weights,
                       lambda v, x: torch_gpt(v, np.asarray(x)), OF_TORCH_GPT),
    "cnn-linen": Model(CNN, PICTURES, "linen", lambda: jax.jit(LinenCNN().init)(jax.random.key(0), PICTURES),
                       jax.jit(LinenCNN().apply),
                       OF_LINEN_CNN),
    "cnn-nnx": Model(CNN, PICTURES, "nnx", NnxCNN, lambda t, x: called(t, lambda t: t(x))),
    "cnn-equinox": Model(CNN, PICTURES, "equinox", lambda: eqx.nn.make_with_state(EqxCNN)(jax.random.key(0)),
                         call_eqx_cnn),
    "cnn-torch": Model(CNN, PICTURES, "torch", torch_cnn_weights, lambda v, x: torch_cnn(v, np.asarray(x))),
}  # fmt: skip
