"""Train a character-level GPT on the source text of Python's standard library, and let it write some.

Run it with ``python examples/gpt.py``, or with ``--quick`` for a small model in less than a minute.  The text is that
of the Python which runs it.
"""

from __future__ import annotations

import argparse
import sysconfig
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

import brainstate_nn as nn
from brainstate_graph import clone
from brainstate_transform import jit, scan, value_and_grad

CHARACTERS = 128  # those of ASCII; another one becomes a question mark


class Settings(NamedTuple):
    width: int = 128
    heads: int = 4
    depth: int = 4
    context: int = 256
    batch: int = 8
    steps: int = 1000
    rate: float = 3e-3
    text: int = 2_000_000


QUICK = Settings(width=64, depth=2, context=128, steps=300, text=300_000)


class Block(nn.Module):
    """Attention and a perceptron, each with a norm before it and a way around it."""

    def __init__(self, width: int, heads: int, rotary: nn.RotaryEmbedding, rng: nn.RandomState | None = None):
        self.attention_norm = nn.LayerNorm(width)
        self.attention = nn.MultiHeadAttention(heads, width, use_bias=False, rotary=rotary, rng=rng)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width, rng=rng), nn.gelu, nn.Linear(4 * width, width, rng=rng))

    def __call__(self, x: jax.Array, *, decode: bool = False) -> jax.Array:
        x = x + self.attention(self.attention_norm(x), is_causal=True, decode=decode)
        return x + self.mlp(self.mlp_norm(x))


class GPT(nn.Module):
    """A language model: for each token, the logits of the one that follows; the table of tokens is also the head."""

    def __init__(self, vocabulary: int, settings: Settings, rng: nn.RandomState | None = None):
        width, heads = settings.width, settings.heads
        rotary = nn.RotaryEmbedding(width // heads)
        self.tokens = nn.Embedding(vocabulary, width, rng=rng)
        self.blocks = [Block(width, heads, rotary, rng) for _ in range(settings.depth)]
        self.norm = nn.LayerNorm(width)

    def __call__(self, tokens: jax.Array, *, decode: bool = False) -> jax.Array:
        """Map tokens of shape ``(batch, length)`` to logits of shape ``(batch, length, vocabulary)``."""
        x = self.tokens(tokens)
        for block in self.blocks:
            x = block(x, decode=decode)
        return self.tokens.attend(self.norm(x))


# ---------------------------------------------------------------------------------------------------------- the text


def encoded(text: str) -> np.ndarray:
    """Return the characters as numbers."""
    return np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int32)


def decoded(tokens: jax.Array) -> str:
    """Return numbers as text."""
    return bytes(np.asarray(tokens, np.uint8)).decode("ascii", "replace")


def source_text(size: int) -> np.ndarray:
    """Return the first `size` characters of the modules of the standard library, in the order of their names."""
    parts, total = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        parts.append(encoded(path.read_text(encoding="utf-8", errors="replace")))
        total += len(parts[-1])
        if total >= size:
            break
    return np.concatenate(parts)[:size]


def divided(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the text to train on, and to measure by every twentieth piece of a thousand characters."""
    pieces = text[: len(text) // 20_000 * 20_000].reshape(-1, 20, 1000)
    return pieces[:, :19].ravel(), pieces[:, 19].ravel()


def entropy(text: np.ndarray) -> float:
    """Return the entropy of single characters in nats: the loss of a model that knows how frequent each is."""
    shares = np.bincount(text) / len(text)
    return float(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum())


# ---------------------------------------------------------------------------------------------------------- training


def loss_of(model: GPT, windows: jax.Array) -> jax.Array:
    """Return the mean loss over windows of shape ``(batch, context + 1)``."""
    logits = model(windows[:, :-1])
    return optax.softmax_cross_entropy_with_integer_labels(logits, windows[:, 1:]).mean()


def windows_of(text: np.ndarray, settings: Settings, seed: int) -> np.ndarray:
    """Return random pieces of the text, of shape ``(steps, batch, context + 1)``."""
    starts = np.random.default_rng(seed).integers(len(text) - settings.context, size=(settings.steps, settings.batch))
    return text[starts[..., None] + np.arange(settings.context + 1)]


def adamw(rate: float, steps: int) -> optax.GradientTransformation:
    """AdamW with warm-up and cosine; matrices decay, and vectors do not."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, steps // 20 + 1, steps, rate / 10)
    matrices = partial(jax.tree.map, lambda p: p.ndim > 1)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.1, mask=matrices))


def train(
    model: GPT, tx: optax.GradientTransformation, windows: np.ndarray, kind: type[nn.ParamState] = nn.ParamState
) -> list[float]:
    """Train the parameters of a kind in place, one step for each batch, and return the loss of each step."""
    params = model.states(kind)
    optimizer = nn.Optimizer(params, tx)

    @jit(donate_states=True)
    def step(batch: jax.Array) -> jax.Array:
        loss, grads = value_and_grad(lambda: loss_of(model, batch), params)()
        optimizer.update(grads)
        return loss

    losses = []
    with tqdm(windows, desc="training", unit="step") as bar:
        for count, batch in enumerate(bar):
            losses.append(step(batch))
            if count % 20 == 0:
                bar.set_postfix(loss=f"{float(losses[-1]):.3f}")
    return [float(loss) for loss in losses]


def measure(model: GPT, text: np.ndarray, settings: Settings) -> float:
    """Return the mean loss over a text."""
    count = min(64, len(text) // (settings.context + 1))
    return float(jit(loss_of)(model, text[: count * (settings.context + 1)].reshape(count, -1)))


# ---------------------------------------------------------------------------------------------------------- sampling


@jit
def written(model: GPT, prompt: jax.Array, keys: jax.Array, temperature: jax.Array) -> jax.Array:
    """Return what a model with an empty cache writes behind the prompts, one token of each for each key."""

    def following(token: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        token = drawn(model(token[:, None], decode=True), key, temperature)
        return token, token

    first = drawn(model(prompt, decode=True), keys[0], temperature)  # the whole prompt at once
    _, others = scan(following, first, keys[1:])
    return jnp.concatenate([first[None], others]).T


def drawn(logits: jax.Array, key: jax.Array, temperature: jax.Array) -> jax.Array:
    """Draw what follows the last position."""
    return jax.random.categorical(key, logits[:, -1] / temperature)


def sample(model: GPT, prompt: jax.Array, length: int, *, temperature: float = 1.0, key: jax.Array) -> jax.Array:
    """Continue prompts of shape ``(batch, tokens)`` by `length` tokens each; the model stays as it is."""
    writer = clone(model).eval()
    nn.init_all_states(writer, batch_size=len(prompt), max_length=prompt.shape[1] + length)
    return written(writer, prompt, jax.random.split(key, length), jnp.float32(temperature))


# ------------------------------------------------------------------------------------------------------- the program


def draw_curve(losses: list[float], level: float, title: str, path: Path) -> None:
    """Draw the loss of each step, its running mean, and the entropy of single characters."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    smooth = np.convolve(losses, np.ones(20) / 20, mode="valid")
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(losses, color="0.8", linewidth=0.8, label="each step")
    axes.plot(np.arange(len(smooth)) + 19, smooth, color="tab:blue", label="mean of 20 steps")
    axes.axhline(level, color="tab:red", linestyle="--", linewidth=1, label="entropy of single characters")
    axes.set(xlabel="step", ylabel="cross entropy in nats", title=title, ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def check(claim: str, holds: bool) -> None:
    """Print a claim with its verdict, and stop where it does not hold."""
    print(f"{'ok  ' if holds else 'FAIL'}  {claim}")
    if not holds:
        raise SystemExit(1)


def trained(settings: Settings) -> tuple[GPT, list[float], np.ndarray]:
    """Return a model that was trained on the source text, the loss of each step, and the text it did not see."""
    nn.seed(0)
    model = GPT(CHARACTERS, settings)
    seen, unseen = divided(source_text(settings.text))
    return model, train(model, adamw(settings.rate, settings.steps), windows_of(seen, settings, 0)), unseen


def main(output: Path, settings: Settings) -> None:
    output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    model, losses, unseen = trained(settings)
    seconds, level = time.perf_counter() - start, entropy(unseen)
    loss = measure(model, unseen, settings)
    print(f"{len(losses)} steps in {seconds:.0f} s: {sum(s.value.size for s in model.parameters()):,} parameters")
    check(f"loss {loss:.3f} on unseen text, where single characters have the entropy {level:.3f}", loss < 0.75 * level)

    prompt = "    def "
    start = time.perf_counter()
    texts = sample(
        model, jnp.asarray(encoded(prompt)[None].repeat(3, 0)), settings.context - len(prompt), temperature=0.7,
        key=jax.random.key(1),
    )  # fmt: skip
    print(f"\n{texts.size} characters written in {time.perf_counter() - start:.1f} s, compilation included:")
    for text in texts:
        print(f"\n{prompt}{decoded(text)}\n{'-' * 80}")

    draw_curve(losses, level, "A small GPT on Python's standard library", output / "gpt.png")
    nn.save_states(output / "gpt.msgpack", model, nn.ParamState)
    print(f"\nIn {output.resolve()}:\n  gpt.png      the training curve\n  gpt.msgpack  the parameters")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output"), help="where to write (default: ./output)")
    parser.add_argument("--quick", action="store_true", help="a small model, for less than a minute")
    options = parser.parse_args()
    main(options.output, QUICK if options.quick else Settings())
