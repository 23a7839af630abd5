"""A vision transformer (Dosovitskiy et al., arXiv:2010.11929) from a directory of Hugging Face, for pictures.

    python -m examples.pretrained.vit DIRECTORY picture.npy

prints the best classes of a picture; to cut and scale it is the business of an image processor, such as ``Pillow``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import brainstate_nn as nn
from examples.pretrained import hub
from examples.pretrained.command import classify_picture


class Settings(NamedTuple):
    """What ``config.json`` may say, with what it means where it says nothing."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    image_size: int = 224
    patch_size: int = 16
    num_channels: int = 3

    def norm(self, dtype: Any) -> nn.LayerNorm:
        return nn.LayerNorm(self.hidden_size, epsilon=self.layer_norm_eps, param_dtype=dtype)


class Embeddings(nn.Module):
    """A vector for each patch of a picture, one before them for the whole, and what tells their positions."""

    def __init__(self, s: Settings, dtype: Any):
        patches = (s.image_size // s.patch_size) ** 2
        self.projection = nn.Conv2d(
            s.num_channels, s.hidden_size, s.patch_size, stride=s.patch_size, padding=0, param_dtype=dtype
        )
        self.cls_token = nn.ParamState(jnp.zeros((1, 1, s.hidden_size), dtype))
        self.position_embeddings = nn.ParamState(jnp.zeros((1, patches + 1, s.hidden_size), dtype))

    def __call__(self, pixels: jax.Array) -> jax.Array:
        patches = self.projection(pixels)
        batch, *_, width = patches.shape
        first = jnp.broadcast_to(self.cls_token.value, (batch, 1, width)).astype(patches.dtype)
        return jnp.concatenate([first, patches.reshape(batch, -1, width)], 1) + self.position_embeddings.value


class Layer(nn.Module):
    """Attention and a perceptron, each with a norm before it and a way around it."""

    def __init__(self, s: Settings, dtype: Any):
        self.layernorm_before, self.layernorm_after = s.norm(dtype), s.norm(dtype)
        self.attention = nn.MultiHeadAttention(s.num_attention_heads, s.hidden_size, param_dtype=dtype)
        self.mlp = nn.MLP(
            s.hidden_size, s.hidden_size, s.intermediate_size, 1, activation=hub.activation(s.hidden_act),
            param_dtype=dtype,
        )  # fmt: skip

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.layernorm_before(x))
        return x + self.mlp(self.layernorm_after(x))


class ViT(nn.Module):
    """A classifier of pictures.

    Args:
        s: The settings.
        labels: The number of classes.
        dtype: The dtype of the parameters.
    """

    def __init__(self, s: Settings, labels: int, dtype: Any = jnp.float32):
        self.image_shape = (s.image_size, s.image_size, s.num_channels)
        self.embeddings = Embeddings(s, dtype)
        self.layer = nn.Stack(s.num_hidden_layers, lambda: Layer(s, dtype))
        self.layernorm = s.norm(dtype)
        self.classifier = nn.Linear(s.hidden_size, labels, param_dtype=dtype)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        """Return logits of shape ``(batch, labels)``.

        Args:
            pixels: Pictures of shape ``(batch, height, width, channels)``, as the image processor of Hugging Face makes
                them but with the channels last.
        """
        if pixels.shape[1:] != self.image_shape:
            raise ValueError(
                f"ViT takes pictures of shape (batch, {', '.join(map(str, self.image_shape))}), not {pixels.shape}: "
                "scale them, or write `pixels.transpose(0, 2, 3, 1)` for those of torch"
            )
        return self.classifier(self.layernorm(self.layer(self.embeddings(pixels)))[:, 0])


# ---------------------------------------------------------------------------------------------- names and layouts


def build(config: hub.Config, dtype: Any) -> ViT:
    """Return a model with the settings of a configuration."""
    s = hub.settings(Settings, config, "vit", qkv_bias=True)
    hub.architecture(config, "ViTForImageClassification")
    return ViT(s, hub.labels(config), dtype)


FAMILY = hub.Family(
    build,
    {
        ViT: {"embeddings": "vit.embeddings", "layer": "vit.encoder.layer", "layernorm": "vit.layernorm"},
        Embeddings: {"projection": "patch_embeddings.projection"},
        Layer: {"mlp": ""},
        nn.MultiHeadAttention: {
            "query": "attention.query", "key": "attention.key", "value": "attention.value", "out": "output.dense",
        },
        nn.MLP: {"layers.0": "intermediate.dense", "layers.1": "output.dense"},
    },
    lambda model: [(r"^vit\.pooler\.", None)],  # of the model without its head, which is not used
)  # fmt: skip


def load(directory: str | Path, dtype: Any = jnp.float32) -> ViT:
    """Return the model of a directory, as `hub.load` does."""
    return hub.load(FAMILY, directory, dtype)


def save(model: ViT, directory: str | Path, config: hub.Config, **options: Any) -> None:
    """Write a model to a directory, as `hub.save` does."""
    hub.save(FAMILY, model, directory, config, **options)


if __name__ == "__main__":
    classify_picture(load, __doc__ or "")
