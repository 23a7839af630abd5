"""Train a GPT in parts over the devices of a mesh, and let it write there: the losses are those of one device.

Run it with ``python -m examples.gpt_sharded``.  Each of four devices holds a quarter of every parameter, of its
gradient and of what the optimizer keeps for it, and of the cache.  Without accelerators the processor stands in for
four.  The text is that of ``examples/gpt.py``.
"""

from __future__ import annotations

import argparse
import contextlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import P

import brainstate_nn as nn
from brainstate_graph import clone
from brainstate_transform import jit, scan, value_and_grad
from examples import gpt
from examples.gpt import CHARACTERS, adamw, check, decoded, encoded

DEVICES = 4


class Settings(NamedTuple):
    width: int = 64
    heads: int = 4
    depth: int = 4
    context: int = 64
    batch: int = 16
    accumulated: int = 2  # batches for each step of the optimizer
    steps: int = 120
    rate: float = 1e-2
    dropout: float = 0.1
    dtype: Any = jnp.bfloat16
    text: int = 300_000


class Block(nn.Module):
    """Attention and a perceptron, each with a norm before it and a way around it; gathered where it is used."""

    def __init__(self, settings: Settings, rotary: nn.RotaryEmbedding, rng: nn.RandomState):
        width, dtype = settings.width, settings.dtype
        self.attention_norm = nn.LayerNorm(width, dtype=dtype)
        self.attention = nn.MultiHeadAttention(
            settings.heads, width, use_bias=False, rotary=rotary, dtype=dtype, rng=rng
        )
        self.mlp_norm = nn.LayerNorm(width, dtype=dtype)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width, dtype=dtype, rng=rng),
            nn.gelu,
            nn.Linear(4 * width, width, dtype=dtype, rng=rng),
        )
        self.dropout = nn.Dropout(settings.dropout, rng=rng)

    def __call__(self, x: jax.Array, *, decode: bool = False) -> jax.Array:
        with nn.gathered(self):
            x = x + self.dropout(self.attention(self.attention_norm(x), is_causal=True, decode=decode))
            return x + self.dropout(self.mlp(self.mlp_norm(x)))


class GPT(nn.Module):
    """A language model: for each token, the logits of the one that follows; the table of tokens is also the head."""

    def __init__(self, settings: Settings, rng: nn.RandomState):
        rotary = nn.RotaryEmbedding(settings.width // settings.heads)
        self.tokens = nn.Embedding(CHARACTERS, settings.width, dtype=settings.dtype, rng=rng)
        self.blocks = nn.Stack(settings.depth, lambda: Block(settings, rotary, rng), checkpoint=True)
        self.norm = nn.LayerNorm(settings.width, dtype=settings.dtype)

    def __call__(self, tokens: jax.Array, *, decode: bool = False) -> jax.Array:
        """Map tokens of shape ``(batch, length)`` to logits of shape ``(batch, length, vocabulary)``, in float32."""
        with nn.gathered([self.tokens, self.norm]):
            x = self.blocks(self.tokens(tokens), decode=decode)
            return self.tokens.attend(self.norm(x)).astype(jnp.float32)


def loss_of(model: GPT, windows: jax.Array) -> jax.Array:
    """Return the mean loss over windows of shape ``(batch, context + 1)``."""
    return optax.softmax_cross_entropy_with_integer_labels(model(windows[:, :-1]), windows[:, 1:]).mean()


# -------------------------------------------------------------------------------------------------- on a mesh, or none


def made(settings: Settings, mesh: jax.sharding.Mesh | None) -> GPT:
    """Return a new model, in parts over the mesh; its numbers are the same on every mesh."""

    def build() -> GPT:
        return GPT(settings, nn.RandomState(0))

    return build() if mesh is None else nn.init_sharded(build, mesh, nn.fully_sharded("data"))


def rows(mesh: jax.sharding.Mesh | None, array: Any) -> jax.Array:
    """Return an array whose rows are split over the mesh."""
    return jnp.asarray(array) if mesh is None else jax.device_put(array, jax.NamedSharding(mesh, P("data")))


def on(mesh: jax.sharding.Mesh | None) -> Any:
    """Return the block in which arrays are made on a mesh."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def windows_of(text: np.ndarray, settings: Settings) -> np.ndarray:
    """Return random pieces of the text, of shape ``(steps, batch, context + 1)``."""
    return gpt.windows_of(text, gpt.Settings(context=settings.context, batch=settings.batch, steps=settings.steps), 0)


def train(model: GPT, settings: Settings, windows: np.ndarray, mesh: jax.sharding.Mesh | None) -> list[float]:
    """Train the model in place, and return the loss of each batch."""
    tx = optax.MultiSteps(adamw(settings.rate, settings.steps // settings.accumulated), settings.accumulated)
    optimizer = nn.Optimizer(model, tx)

    @jit(donate_states=True)
    def step(batch: jax.Array) -> jax.Array:
        loss, grads = value_and_grad(lambda: loss_of(model, batch), nn.ParamState)()
        optimizer.update(grads)
        return loss

    with on(mesh):
        return [float(step(rows(mesh, batch))) for batch in windows]


@jit(static_argnames="length")
def written(model: GPT, prompts: jax.Array, length: int) -> jax.Array:
    """Return the most likely continuation of each prompt, by a model with an empty cache."""

    def following(token: jax.Array, _: Any) -> tuple[jax.Array, jax.Array]:
        token = model(token[:, None], decode=True)[:, -1].argmax(-1)
        return token, token

    first = model(prompts, decode=True)[:, -1].argmax(-1)  # the whole prompt at once
    _, others = scan(following, first, length=length - 1)
    return jnp.concatenate([first[None], others]).T


def sample(model: GPT, prompts: np.ndarray, length: int, mesh: jax.sharding.Mesh | None) -> jax.Array:
    """Continue prompts of shape ``(batch, tokens)`` by `length` tokens each, on the mesh; the model stays as it is."""
    writer = clone(model).eval()
    nn.init_all_states(writer, batch_size=len(prompts), max_length=prompts.shape[1] + length)
    with on(mesh):
        return written(writer, rows(mesh, prompts), length=length)


# -------------------------------------------------------------------------------------------------------- the program


def bytes_on_one_device(model: GPT) -> int:
    """Return how many bytes of the parameters lie on the first device."""
    arrays = [state.value for state in model.states(nn.ParamState).values()]
    return sum(array.addressable_shards[0].data.nbytes for array in arrays)


def main(settings: Settings) -> None:
    mesh = jax.make_mesh((DEVICES,), ("data",), devices=jax.devices()[:DEVICES])
    seen, unseen = gpt.divided(gpt.source_text(settings.text))
    windows = windows_of(seen, settings)

    model, alone = made(settings, mesh), made(settings, None)
    whole = bytes_on_one_device(alone)
    share = bytes_on_one_device(model) / whole
    check(f"each of {DEVICES} devices holds {share:.0%} of {whole:,} bytes of parameters", share < 1.2 / DEVICES)
    losses, expected = train(model, settings, windows, mesh), train(alone, settings, windows, None)
    # Sums over devices are rounded in another order, which grows from step to step, fastest in bfloat16.
    same = np.allclose(losses[:4], expected[:4], rtol=2e-3)
    check(f"the first losses are those of one device: {losses[0]:.3f}, then {losses[3]:.3f}", same)
    level = gpt.entropy(unseen)
    falls = f"the loss falls to {losses[-1]:.3f}, where single characters have the entropy {level:.3f}"
    check(falls, losses[-1] < losses[0])

    prompts = np.stack([encoded(prompt) for prompt in ("    def ", "    if x", "import s", "        ")])
    for prompt, text in zip(prompts, sample(model, prompts, 40, mesh), strict=True):
        print(f"{decoded(prompt)!r} -> {decoded(text)!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=Settings().steps, help="batches to train on")
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", DEVICES)  # where there is no accelerator
    main(Settings(steps=options.steps))
