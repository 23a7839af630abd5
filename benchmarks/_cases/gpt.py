"""The GPT of `examples/gpt.py` by others: by hand in plain JAX, and in flax nnx; a test holds their losses equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from examples.gpt import GPT, Settings

__all__ = ["HandWritten", "NnxGPT", "values_of"]

Values = dict[str, jax.Array]


def values_of(model: GPT) -> Values:
    """Copies of the parameters by dotted path, which a step that donates them may use up."""
    return {name: jnp.array(state.value, copy=True) for name, state in model.named_parameters()}


def rotated(x: jax.Array) -> jax.Array:
    """Turn queries or keys of shape ``(batch, length, heads, size)`` by their positions."""
    half = x.shape[-1] // 2
    angle = jnp.arange(x.shape[1])[:, None] * 10000.0 ** (-jnp.arange(half) / half)[None]
    cos, sin = jnp.cos(angle)[None, :, None], jnp.sin(angle)[None, :, None]
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


class HandWritten:
    """The same model and step as pure functions of a dict of arrays, as one would write them for this case alone."""

    def __init__(self, settings: Settings) -> None:
        self.depth = settings.depth

    @staticmethod
    def norm(p: Values, name: str, x: jax.Array) -> jax.Array:
        mean = x.mean(-1, keepdims=True)
        var = jnp.square(x - mean).mean(-1, keepdims=True)
        scale = jax.lax.rsqrt(var + 1e-5) * p[f"{name}.weight"][None, None]
        return (x - mean) * scale + p[f"{name}.bias"][None, None]

    def __call__(self, p: Values, tokens: jax.Array) -> jax.Array:
        table = p["tokens.weight"]
        x = table.at[tokens].get(mode="fill", wrap_negative_indices=False)
        for i in range(self.depth):
            at = f"blocks.{i}"
            h = self.norm(p, f"{at}.attention_norm", x)
            q, k, v = (
                jnp.einsum("btf,fnh->btnh", h, p[f"{at}.attention.{part}.weight"]) for part in ("query", "key", "value")
            )
            h = jax.nn.dot_product_attention(rotated(q), rotated(k), v, is_causal=True)
            x = x + jnp.einsum("btnh,nhf->btf", h, p[f"{at}.attention.out.weight"])
            h = self.norm(p, f"{at}.mlp_norm", x)
            h = jax.nn.gelu(h @ p[f"{at}.mlp.layers.0.weight"] + p[f"{at}.mlp.layers.0.bias"][None, None])
            x = x + h @ p[f"{at}.mlp.layers.2.weight"] + p[f"{at}.mlp.layers.2.bias"][None, None]
        return jnp.einsum("btf,vf->btv", self.norm(p, "norm", x), table)

    def loss(self, p: Values, windows: jax.Array) -> jax.Array:
        logits = self(p, windows[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:]).mean()

    def step(self, tx: optax.GradientTransformation) -> Any:
        """Return the compiled, donated step ``(parameters, optimizer state, windows) -> the same, and the loss``."""

        def step(p: Values, state: Any, windows: jax.Array) -> tuple[Values, Any, jax.Array]:
            loss, grads = jax.value_and_grad(self.loss)(p, windows)
            updates, state = tx.update(grads, state, p)
            return optax.apply_updates(p, updates), state, loss

        return jax.jit(step, donate_argnums=(0, 1))


def attention_of_rotated(query: Any, key: Any, value: Any, *, is_causal: bool, **_: Any) -> jax.Array:
    return jax.nn.dot_product_attention(rotated(query), rotated(key), value, is_causal=is_causal)


class NnxBlock(nnx.Module):
    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        norm: Callable[[], nnx.LayerNorm] = lambda: nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)  # noqa: E731
        self.attention_norm, self.mlp_norm = norm(), norm()
        self.attention = nnx.MultiHeadAttention(
            heads, width, use_bias=False, decode=False, attention_fn=attention_of_rotated, rngs=rngs
        )
        self.mlp = nnx.Sequential(
            nnx.Linear(width, 4 * width, rngs=rngs), jax.nn.gelu, nnx.Linear(4 * width, width, rngs=rngs)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention(self.attention_norm(x), is_causal=True)
        return x + self.mlp(self.mlp_norm(x))


class NnxGPT(nnx.Module):
    """The same model in flax nnx, with the parameters of ours."""

    def __init__(self, vocabulary: int, settings: Settings, values: Mapping[str, jax.Array]) -> None:
        rngs = nnx.Rngs(0)
        self.tokens = nnx.Embed(vocabulary, settings.width, rngs=rngs)
        self.blocks = nnx.List([NnxBlock(settings.width, settings.heads, rngs) for _ in range(settings.depth)])
        self.norm = nnx.LayerNorm(settings.width, epsilon=1e-5, rngs=rngs)
        for name, value in values.items():
            *steps, last = name.split(".")
            holder = reduce(lambda at, step: at[int(step)] if step.isdigit() else getattr(at, step), steps, self)
            if last == "weight":
                last = next(name for name in ("embedding", "scale", "kernel") if hasattr(holder, name))
            setattr(holder, last, nnx.Param(value))

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.tokens(tokens)
        for block in self.blocks:
            x = block(x)
        return self.tokens.attend(self.norm(x))

    def loss(self, windows: jax.Array) -> jax.Array:
        logits = self(windows[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:]).mean()


@nnx.jit(donate_argnums=(0, 1))
def nnx_step(model: NnxGPT, optimizer: nnx.Optimizer, windows: jax.Array) -> jax.Array:
    loss, grads = nnx.value_and_grad(lambda model: model.loss(windows))(model)
    optimizer.update(model, grads)
    return loss
