"""GPT-2 (Radford et al., 2019) from a directory of Hugging Face: its logits, its texts, and its weights back.

    python -m examples.pretrained.gpt2 DIRECTORY 464 3290 318

continues a prompt of tokens; the numbers of words are the business of a tokenizer, such as ``tiktoken``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from examples.pretrained import hub
from examples.pretrained.generate import main


class Settings(NamedTuple):
    """What ``config.json`` may say, with what it means where it says nothing."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5


class Block(nn.Module):
    """Attention and a perceptron, each with a norm before it and a way around it."""

    def __init__(self, s: Settings, dtype: Any):
        shared: dict[str, Any] = {"epsilon": s.layer_norm_epsilon, "param_dtype": dtype}
        self.ln_1, self.ln_2 = nn.LayerNorm(s.n_embd, **shared), nn.LayerNorm(s.n_embd, **shared)
        self.attn = nn.MultiHeadAttention(s.n_head, s.n_embd, param_dtype=dtype)
        self.mlp = nn.MLP(
            s.n_embd, s.n_embd, s.n_inner or 4 * s.n_embd, 1, activation=hub.activation(s.activation_function),
            param_dtype=dtype,
        )  # fmt: skip

    def __call__(self, x: jax.Array, mask: jax.Array | None, decode: bool) -> jax.Array:
        x = x + self.attn(self.ln_1(x), mask=mask, is_causal=not decode, decode=decode)
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """A language model; the table of tokens is also the head.

    Args:
        s: The settings.
        dtype: The dtype of the parameters.

    Attributes:
        context: The number of positions that it has vectors for.
        vocab_size: The number of tokens that it knows.
    """

    def __init__(self, s: Settings, dtype: Any = jnp.float32):
        self.context, self.vocab_size = s.n_positions, s.vocab_size
        self.wte = nn.Embedding(s.vocab_size, s.n_embd, param_dtype=dtype)
        self.wpe = nn.Embedding(s.n_positions, s.n_embd, param_dtype=dtype)
        self.h = nn.Stack(s.n_layer, lambda: Block(s, dtype))
        self.ln_f = nn.LayerNorm(s.n_embd, epsilon=s.layer_norm_epsilon, param_dtype=dtype)

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
            positions: The position of each token; None to count from 0. With `decode` they must be given.
            decode: Whether the tokens follow those in the cache that `nn.init_all_states` made.
        """
        if positions is None:
            if decode:
                raise ValueError("GPT2 cannot tell where tokens stand behind its cache: give `positions` with `decode`")
            positions = jnp.arange(tokens.shape[1])[None]
        x = self.wte(tokens) + self.wpe(positions)
        x = self.h(x, None if mask is None else jnp.asarray(mask, bool)[:, None, None], decode)
        return self.wte.attend(self.ln_f(x))


# ---------------------------------------------------------------------------------------------- names and layouts


def attention_weights(layer: nn.MultiHeadAttention) -> Mapping[Any, Any]:
    """Return how the weights are called: queries, keys and values are columns of one matrix ``(in, out)``."""
    heads, size, width = layer.num_heads, layer.head_size, layer.in_size

    def fused(*ours: np.ndarray) -> np.ndarray:
        return np.concatenate([w.reshape(*w.shape[:-2], heads * size) for w in ours], -1)

    def apart(theirs: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(w.reshape(*w.shape[:-1], heads, size) for w in np.split(theirs, 3, -1))

    return {
        ("query.weight", "key.weight", "value.weight"): nn.WeightMap("c_attn.weight", fused, apart),
        ("query.bias", "key.bias", "value.bias"): nn.WeightMap("c_attn.bias", fused, apart),
        "out.weight": nn.WeightMap(
            "c_proj.weight", lambda w: w.reshape(heads * size, width), lambda w: w.reshape(heads, size, width)
        ),
        "out.bias": "c_proj.bias",
    }


def build(config: hub.Config, dtype: Any) -> GPT2:
    """Return a model with the settings of a configuration."""
    only = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False,
            "tie_word_embeddings": True}  # fmt: skip
    s = hub.settings(Settings, config, "gpt2", **only)
    hub.architecture(config, "GPT2LMHeadModel", "GPT2Model")
    return GPT2(s, dtype)


FAMILY = hub.Family(
    build,
    {
        GPT2: {name: f"transformer.{name}" for name in ("wte", "wpe", "h", "ln_f")},
        nn.MultiHeadAttention: attention_weights,
        nn.MLP: {"layers.0": "c_fc", "layers.1": "c_proj"},
        nn.Linear: {},  # as it lies here: (in, out)
    },
    lambda model: [
        (r"^(?=(wte|wpe|h|ln_f)\.)", "transformer."),  # files of the model without its head have no prefix
        (r"^transformer\.h\.\d+\.attn\.(masked_)?bias$", None),  # masks, in files of old versions
        (r"^lm_head\.", "transformer.wte."),
    ],
)


def load(directory: str | Path, dtype: Any = jnp.float32) -> GPT2:
    """Return the model of a directory, as `hub.load` does."""
    return hub.load(FAMILY, directory, dtype)


def save(model: GPT2, directory: str | Path, config: hub.Config, **options: Any) -> None:
    """Write a model to a directory, as `hub.save` does."""
    hub.save(FAMILY, model, directory, config, **options)


if __name__ == "__main__":
    main(load, __doc__ or "")
