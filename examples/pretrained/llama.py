"""Llama (Touvron et al., arXiv:2302.13971) from a directory of Hugging Face: its logits, its texts, its weights back.

    python -m examples.pretrained.llama DIRECTORY 1 450 4996

continues a prompt of tokens; the numbers of words are the business of a tokenizer, such as ``sentencepiece``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import brainstate_nn as nn
from examples.pretrained import hub
from examples.pretrained.generate import main


class Settings(NamedTuple):
    """What ``config.json`` may say, with what it means where it says nothing."""

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    rotary_scaling: nn.LinearRotaryScaling | nn.Llama3RotaryScaling | nn.YarnRotaryScaling | None = None  # see below


class GatedMLP(nn.Module):
    """Two layers side by side, of which one lets through what the other computes, and one behind them."""

    def __init__(self, s: Settings, dtype: Any):
        options: dict[str, Any] = {"use_bias": s.mlp_bias, "param_dtype": dtype}
        self.gate_proj = nn.Linear(s.hidden_size, s.intermediate_size, **options)
        self.up_proj = nn.Linear(s.hidden_size, s.intermediate_size, **options)
        self.down_proj = nn.Linear(s.intermediate_size, s.hidden_size, **options)
        self.activation = hub.activation(s.hidden_act)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Attention and a gated perceptron, each with a norm before it and a way around it."""

    def __init__(self, s: Settings, rotary: nn.RotaryEmbedding, dtype: Any):
        norm: dict[str, Any] = {"epsilon": s.rms_norm_eps, "param_dtype": dtype}
        self.input_layernorm = nn.RMSNorm(s.hidden_size, **norm)
        self.self_attn = nn.MultiHeadAttention(
            s.num_attention_heads, s.hidden_size, num_kv_heads=s.num_key_value_heads, head_size=s.head_dim,
            use_bias=s.attention_bias, rotary=rotary, param_dtype=dtype,
        )  # fmt: skip
        self.post_attention_layernorm = nn.RMSNorm(s.hidden_size, **norm)
        self.mlp = GatedMLP(s, dtype)

    def __call__(self, x: jax.Array, mask: jax.Array | None, positions: jax.Array | None, decode: bool) -> jax.Array:
        x = x + self.self_attn(
            self.input_layernorm(x), mask=mask, positions=positions, is_causal=not decode, decode=decode
        )
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """A language model with rotary positions, whose head may be the table of tokens.

    Args:
        s: The settings.
        dtype: The dtype of the parameters.

    Attributes:
        vocab_size: The number of tokens that it knows.
    """

    def __init__(self, s: Settings, dtype: Any = jnp.float32):
        self.vocab_size = s.vocab_size
        size = s.head_dim or s.hidden_size // s.num_attention_heads
        rotary = nn.RotaryEmbedding(size, theta=s.rope_theta, scaling=s.rotary_scaling)
        self.embed_tokens = nn.Embedding(s.vocab_size, s.hidden_size, param_dtype=dtype)
        self.layers = nn.Stack(s.num_hidden_layers, lambda: Block(s, rotary, dtype))
        self.norm = nn.RMSNorm(s.hidden_size, epsilon=s.rms_norm_eps, param_dtype=dtype)
        tied = s.tie_word_embeddings
        self.lm_head = None if tied else nn.Linear(s.hidden_size, s.vocab_size, use_bias=False, param_dtype=dtype)

    def __call__(
        self,
        tokens: jax.Array,
        *,
        mask: jax.Array | None = None,
        positions: jax.Array | None = None,
        decode: bool = False,
    ) -> jax.Array:
        """Return the logits of what follows each token.

        Args:
            tokens: Whole numbers of shape ``(batch, length)``.
            mask: True where a token is no padding, of the shape of `tokens`; with `decode`, of ``(batch, max_length)``.
            positions: The position of each token; None to count from 0 or, with `decode`, behind those in the cache.
            decode: Whether the tokens follow those in the cache that `nn.init_all_states` made.
        """
        mask = None if mask is None else jnp.asarray(mask, bool)[:, None, None]
        x = self.norm(self.layers(self.embed_tokens(tokens), mask, positions, decode))
        return self.embed_tokens.attend(x) if self.lm_head is None else self.lm_head(x)


# ---------------------------------------------------------------------------------------------- names and layouts


# What each kind of rotary scaling must be given.
_NUMBERS = {"linear": ("factor",), "llama3": ("factor", "low_freq_factor", "high_freq_factor"), "yarn": ()}


def rotary_scaling(rope: Mapping[str, Any], length: int) -> Any:
    """Return the scaling of rotary positions that a configuration describes, None for none.

    Args:
        rope: Its numbers, by the names of `transformers`.
        length: How many positions the model has by its configuration.
    """
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in ("default", *_NUMBERS) or (rope.get("partial_rotary_factor") or 1.0) != 1.0:
        raise ValueError(
            f"config.json asks for the rotary positions {dict(rope)}, and there is code for the types default, "
            f"{', '.join(_NUMBERS)}, and for whole heads alone"
        )
    lacking = [name for name in _NUMBERS.get(kind, ()) if rope.get(name) is None]
    if lacking:
        raise ValueError(f"config.json has rotary positions of the type {kind!r} without {', '.join(lacking)}")
    if kind == "default":
        return None
    original = rope.get("original_max_position_embeddings") or length
    factor = rope.get("factor") or length / original
    if kind == "linear":
        return nn.LinearRotaryScaling(factor)
    if kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        return nn.Llama3RotaryScaling(factor, original_length=original, low=low, high=high)
    sharper = rope.get("attention_factor")
    if sharper is None and rope.get("mscale") and rope.get("mscale_all_dim"):
        log = math.log(max(factor, 1.0)) / 10.0
        sharper = (log * rope["mscale"] + 1.0) / (log * rope["mscale_all_dim"] + 1.0)
    return nn.YarnRotaryScaling(
        factor, original_length=original, fast=rope.get("beta_fast") or 32.0, slow=rope.get("beta_slow") or 1.0,
        attention_factor=sharper, truncate=rope.get("truncate", True),
    )  # fmt: skip


def build(config: hub.Config, dtype: Any) -> Llama:
    """Return a model with the settings of a configuration."""
    s = hub.settings(Settings, config, "llama", pretraining_tp=1)
    hub.architecture(config, "LlamaForCausalLM")
    # transformers 5 puts all about rotary positions into one entry, and former versions had several.
    outer = ("rope_theta", "partial_rotary_factor")
    rope = {name: config.get(name) for name in outer}
    rope.update(config.get("rope_scaling") or config.get("rope_parameters") or {})
    if config.get("original_max_position_embeddings"):  # comes first there, too
        rope["original_max_position_embeddings"] = config["original_max_position_embeddings"]
    scaling = rotary_scaling(rope, config.get("max_position_embeddings") or 2048)
    return Llama(s._replace(rope_theta=rope.get("rope_theta") or s.rope_theta, rotary_scaling=scaling), dtype)


FAMILY = hub.Family(
    build,
    {
        Llama: {name: f"model.{name}" for name in ("embed_tokens", "layers", "norm")},
        nn.MultiHeadAttention: {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "o_proj"},
    },
    lambda model: [
        (r"^(?=(embed_tokens|layers|norm)\.)", "model."),  # files of the model without its head have no prefix
        *[(r"^lm_head\.", "model.embed_tokens.")] * (model.lm_head is None),
        (r"\.rotary_emb\.inv_freq$", None),  # computed, and in files of old versions
    ],
)


def load(directory: str | Path, dtype: Any = jnp.float32) -> Llama:
    """Return the model of a directory, as `hub.load` does."""
    return hub.load(FAMILY, directory, dtype)


def save(model: Llama, directory: str | Path, config: hub.Config, **options: Any) -> None:
    """Write a model to a directory, as `hub.save` does."""
    hub.save(FAMILY, model, directory, config, **options)


if __name__ == "__main__":
    main(load, __doc__ or "")
