"""BERT (Devlin et al., arXiv:1810.04805) from a directory of Hugging Face: alone, with its masked head, or to classify.

Which of the three it is says ``architectures`` in ``config.json``.

    python -m examples.pretrained.bert DIRECTORY 101 7592 103 102

prints what a classifier says of a text, which word a masked head has for each place, or how long the vectors are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import brainstate_nn as nn
from brainstate_transform import jit
from examples.pretrained import hub
from examples.pretrained.command import best, command, told
from examples.pretrained.files import read_config
from examples.pretrained.generate import padded


class Settings(NamedTuple):
    """What ``config.json`` may say, with what it means where it says nothing."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    def norm(self, dtype: Any) -> nn.LayerNorm:
        return nn.LayerNorm(self.hidden_size, epsilon=self.layer_norm_eps, param_dtype=dtype)

    def table(self, size: int, dtype: Any) -> nn.Embedding:
        return nn.Embedding(size, self.hidden_size, param_dtype=dtype)


class Embeddings(nn.Module):
    """The sum of three vectors for each token: of the word, its position, and the sentence that it is in."""

    def __init__(self, s: Settings, dtype: Any):
        self.word_embeddings = s.table(s.vocab_size, dtype)
        self.position_embeddings = s.table(s.max_position_embeddings, dtype)
        self.token_type_embeddings = s.table(s.type_vocab_size, dtype)
        self.LayerNorm = s.norm(dtype)

    def __call__(self, tokens: jax.Array, types: jax.Array) -> jax.Array:
        positions = jnp.arange(tokens.shape[1])[None]
        x = self.word_embeddings(tokens) + self.token_type_embeddings(types) + self.position_embeddings(positions)
        return self.LayerNorm(x)


class Layer(nn.Module):
    """Attention and a perceptron, each with a way around it, and a norm behind it."""

    def __init__(self, s: Settings, dtype: Any):
        self.attention = nn.MultiHeadAttention(s.num_attention_heads, s.hidden_size, param_dtype=dtype)
        self.attention_norm, self.norm = s.norm(dtype), s.norm(dtype)
        self.mlp = nn.MLP(
            s.hidden_size, s.hidden_size, s.intermediate_size, 1, activation=hub.activation(s.hidden_act),
            param_dtype=dtype,
        )  # fmt: skip

    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        x = self.attention_norm(x + self.attention(x, mask=mask))
        return self.norm(x + self.mlp(x))


class Bert(nn.Module):
    """The encoder.

    Args:
        s: The settings.
        dtype: The dtype of the parameters.
        pooled: Whether there is a layer that makes one vector of the first token.
    """

    def __init__(self, s: Settings, dtype: Any = jnp.float32, *, pooled: bool = True):
        self.vocab_size = s.vocab_size
        self.embeddings = Embeddings(s, dtype)
        self.layer = nn.Stack(s.num_hidden_layers, lambda: Layer(s, dtype))
        self.pooler = nn.Linear(s.hidden_size, s.hidden_size, param_dtype=dtype) if pooled else None

    def __call__(
        self, tokens: jax.Array, *, mask: jax.Array | None = None, types: jax.Array | None = None
    ) -> jax.Array:
        """Return a vector for each token.

        Args:
            tokens: Whole numbers of shape ``(batch, length)``.
            mask: True where a token is no padding, of the same shape.
            types: The number of the sentence that a token is in, of the same shape; None for 0.
        """
        x = self.embeddings(tokens, jnp.zeros_like(tokens) if types is None else types)
        return self.layer(x, None if mask is None else jnp.asarray(mask, bool)[:, None, None])

    def pool(self, x: jax.Array) -> jax.Array:
        """Return a vector for each text, made of that of its first token."""
        if self.pooler is None:
            raise ValueError(
                "this Bert was made without a pooler: load a directory of BertModel, or give `pooled=True`"
            )
        return jnp.tanh(self.pooler(x[:, 0]))


class MaskedLM(nn.Module):
    """The encoder with a head that says which word stands at each place; its table is that of the words."""

    def __init__(self, s: Settings, dtype: Any = jnp.float32):
        self.bert = Bert(s, dtype, pooled=False)
        self.transform = nn.Linear(s.hidden_size, s.hidden_size, param_dtype=dtype)
        self.norm = s.norm(dtype)
        self.bias = nn.ParamState(jnp.zeros(s.vocab_size, dtype))
        self.activation = hub.activation(s.hidden_act)

    def __call__(self, tokens: jax.Array, **kwargs: Any) -> jax.Array:
        """Return logits of shape ``(batch, length, vocab_size)``; it is called as `Bert` is."""
        x = self.norm(self.activation(self.transform(self.bert(tokens, **kwargs))))
        return self.bert.embeddings.word_embeddings.attend(x) + self.bias.value[None, None]


class Classifier(nn.Module):
    """The encoder with a head that classifies texts."""

    def __init__(self, s: Settings, labels: int, dtype: Any = jnp.float32):
        self.bert = Bert(s, dtype)
        self.classifier = nn.Linear(s.hidden_size, labels, param_dtype=dtype)

    def __call__(self, tokens: jax.Array, **kwargs: Any) -> jax.Array:
        """Return logits of shape ``(batch, labels)``; it is called as `Bert` is."""
        return self.classifier(self.bert.pool(self.bert(tokens, **kwargs)))


# ---------------------------------------------------------------------------------------------- names and layouts

Model = Bert | MaskedLM | Classifier


def build(config: hub.Config, dtype: Any) -> Model:
    """Return a model with the settings of a configuration."""
    only = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute",
            "tie_word_embeddings": True}  # fmt: skip
    s = hub.settings(Settings, config, "bert", **only)
    makers = {
        "BertModel": lambda: Bert(s, dtype),
        "BertForMaskedLM": lambda: MaskedLM(s, dtype),
        "BertForSequenceClassification": lambda: Classifier(s, hub.labels(config), dtype),
    }
    return makers[hub.architecture(config, *makers)]()


def renamed(model: Model) -> list[tuple[str, str | None]]:
    """Return what names in files become; a file may have more heads than the model, and names of old versions."""
    parts = r"(embeddings|encoder|pooler)\."
    alone = isinstance(model, Bert)
    return [
        (r"\.gamma$", ".weight"),
        (r"\.beta$", ".bias"),
        (r"embeddings\.position_ids$", None),
        (rf"^bert\.(?={parts})", "") if alone else (rf"^(?={parts})", "bert."),
        (r"^cls\.", None) if not isinstance(model, MaskedLM) else (r"^cls\.seq_relationship\.", None),
        (r"^bert\.pooler\.", None if isinstance(model, MaskedLM) else "bert.pooler."),
        (r"^cls\.predictions\.decoder\.bias$", "cls.predictions.bias"),
        (r"^cls\.predictions\.decoder\.weight$", "bert.embeddings.word_embeddings.weight"),
    ]


FAMILY = hub.Family(
    build,
    {
        Bert: {"layer": "encoder.layer", "pooler": "pooler.dense"},
        MaskedLM: {
            "transform": "cls.predictions.transform.dense",
            "norm": "cls.predictions.transform.LayerNorm",
            "bias": "cls.predictions.bias",
        },
        Layer: {"attention_norm": "attention.output.LayerNorm", "norm": "output.LayerNorm", "mlp": ""},
        nn.MultiHeadAttention: {
            "query": "self.query", "key": "self.key", "value": "self.value", "out": "output.dense",
        },
        nn.MLP: {"layers.0": "intermediate.dense", "layers.1": "output.dense"},
    },
    renamed,
)  # fmt: skip


def load(directory: str | Path, dtype: Any = jnp.float32) -> Model:
    """Return the model of a directory, as `hub.load` does."""
    return hub.load(FAMILY, directory, dtype)


def save(model: Model, directory: str | Path, config: hub.Config, **options: Any) -> None:
    """Write a model to a directory, as `hub.save` does."""
    hub.save(FAMILY, model, directory, config, **options)


def main(line: Sequence[str] | None = None) -> None:
    """Read a text of tokens from the command line."""
    parser = command(__doc__ or "")
    parser.add_argument("tokens", type=int, nargs="+", help="the text")
    options = parser.parse_args(line)
    with told(parser):
        model = load(options.directory)
        bert = model if isinstance(model, Bert) else model.bert
        tokens, _ = padded([options.tokens], bert.vocab_size)
        found = jit(model)(tokens)[0]
        if isinstance(model, Classifier):
            print(*best(found, read_config(options.directory)), sep="\n")
        else:
            print(*(found.argmax(-1) if isinstance(model, MaskedLM) else jnp.linalg.norm(found, axis=-1)).tolist())


if __name__ == "__main__":
    main()
