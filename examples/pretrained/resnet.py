"""A ResNet (He et al., arXiv:1512.03385) from a directory of Hugging Face, to classify pictures.

    python -m examples.pretrained.resnet DIRECTORY picture.npy

prints the best classes of a picture; to cut and scale it is the business of an image processor, such as ``Pillow``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from examples.pretrained import hub
from examples.pretrained.command import classify_picture

Activation = Callable[[jax.Array], jax.Array]


class Settings(NamedTuple):
    """What ``config.json`` may say, with what it means where it says nothing."""

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    layer_type: str = "bottleneck"
    hidden_act: str = "relu"
    downsample_in_first_stage: bool = False
    downsample_in_bottleneck: bool = False


class CountedBatchNorm(nn.Module):
    """A BatchNorm that counts the batches which it was trained on, as torch's does, and files of torch say."""

    def __init__(self, size: int, dtype: Any):
        self.norm = nn.BatchNorm(size, momentum=0.9, param_dtype=dtype)
        self.num_batches_tracked = nn.BatchState(jnp.zeros((), jnp.int32))

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.training:
            self.num_batches_tracked.value = self.num_batches_tracked.value + 1
        return self.norm(x)


class ConvLayer(nn.Module):
    """A convolution, a norm, and what follows them."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, activation: Activation | None, dtype: Any):
        self.convolution = nn.Conv2d(
            inputs, outputs, size, stride=stride, padding=size // 2, use_bias=False, param_dtype=dtype
        )
        self.normalization = CountedBatchNorm(outputs, dtype)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.normalization(self.convolution(x))
        return x if self.activation is None else self.activation(x)


class Block(nn.Module):
    """Two or three convolutions, and a way around them, with a convolution of its own where sizes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int, s: Settings, dtype: Any):
        self.activation = act = hub.activation(s.hidden_act)
        if s.layer_type == "basic":
            shapes = [(inputs, outputs, 3, stride), (outputs, outputs, 3, 1)]
        else:
            few = outputs // 4
            first, second = (stride, 1) if s.downsample_in_bottleneck else (1, stride)
            shapes = [(inputs, few, 1, first), (few, few, 3, second), (few, outputs, 1, 1)]
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else ConvLayer(inputs, outputs, 1, stride, None, dtype)
        self.layer = [ConvLayer(*shape, act, dtype) for shape in shapes[:-1]]
        self.layer.append(ConvLayer(*shapes[-1], None, dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        around = x if self.shortcut is None else self.shortcut(x)
        for layer in self.layer:
            x = layer(x)
        return self.activation(x + around)


class ResNet(nn.Module):
    """A classifier of pictures.

    Args:
        s: The settings.
        labels: The number of classes.
        dtype: The dtype of the parameters.
    """

    def __init__(self, s: Settings, labels: int, dtype: Any = jnp.float32):
        act = hub.activation(s.hidden_act)
        self.channels = s.num_channels
        self.embedder = ConvLayer(s.num_channels, s.embedding_size, 7, 2, act, dtype)
        self.stages: list[nn.Sequential] = []
        inputs = s.embedding_size
        for number, (outputs, depth) in enumerate(zip(s.hidden_sizes, s.depths, strict=True)):
            stride = 2 if number or s.downsample_in_first_stage else 1
            first = Block(inputs, outputs, stride, s, dtype)
            others = [Block(outputs, outputs, 1, s, dtype) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(first, *others))
            inputs = outputs
        self.classifier = nn.Linear(inputs, labels, param_dtype=dtype)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        """Return logits of shape ``(batch, labels)``.

        Args:
            pixels: Pictures of shape ``(batch, height, width, channels)``, as the image processor of Hugging Face makes
                them but with the channels last.
        """
        if pixels.ndim != 4 or pixels.shape[-1] != self.channels:
            raise ValueError(
                f"ResNet takes pictures of shape (batch, height, width, {self.channels}), not {pixels.shape}: write "
                "`pixels.transpose(0, 2, 3, 1)` for those of torch"
            )
        x = nn.max_pool(self.embedder(pixels), (3, 3), 2, 1)
        for stage in self.stages:
            x = stage(x)
        return self.classifier(x.mean((1, 2)))


# ---------------------------------------------------------------------------------------------- names and layouts


def build(config: hub.Config, dtype: Any) -> ResNet:
    """Return a model with the settings of a configuration."""
    s = hub.settings(Settings, config, "resnet")
    hub.architecture(config, "ResNetForImageClassification")
    return ResNet(s, hub.labels(config), dtype)


# Counters of 64 bits there, which JAX has only where it was asked for them.
_COUNTER = nn.WeightMap(
    "num_batches_tracked", lambda count: count.astype(np.int64), lambda count: count.astype(np.int32)
)

FAMILY = hub.Family(
    build,
    {
        ResNet: {
            "embedder": "resnet.embedder.embedder",
            "stages": "resnet.encoder.stages",
            "classifier": "classifier.1",
        },
        CountedBatchNorm: {"norm": "", "num_batches_tracked": _COUNTER},
        nn.BatchNorm: {},  # its rule makes the counter up
        nn.Sequential: {},  # its rule leaves out `layers`, which is in the names here
    },
)


def load(directory: str | Path, dtype: Any = jnp.float32) -> ResNet:
    """Return the model of a directory, as `hub.load` does."""
    return hub.load(FAMILY, directory, dtype)


def save(model: ResNet, directory: str | Path, config: hub.Config, **options: Any) -> None:
    """Write a model to a directory, as `hub.save` does."""
    hub.save(FAMILY, model, directory, config, **options)


if __name__ == "__main__":
    classify_picture(load, __doc__ or "")
