"""What a language model writes behind prompts: greedily or at random, with a cache, for prompts of different lengths.

Prompts of one batch are made equally long by padding on the left, so that the next token of each stands in the same
column, and one cache with one length serves all. The padding is masked, and positions are counted from the first token.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_graph import clone
from brainstate_transform import jit, while_loop
from examples.pretrained.command import command, told
from examples.pretrained.files import stop_tokens


def generate(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    stop: int | Sequence[int] | None = (),
    key: jax.Array | None = None,
) -> list[list[int]]:
    """Return what the model writes behind each prompt, up to and with the first stop token; the model stays as it is.

    Args:
        model: A model that is called as ``model(tokens, mask=, positions=, decode=True)`` and returns logits. What it
            has as `vocab_size` and `context` bounds the tokens, and how many there may be.
        prompts: Lists of tokens, of any lengths.
        max_new_tokens: How many tokens are written at most.
        temperature: What logits are divided by before one is drawn; 0 to take the best one.
        top_k: Draw from this many best tokens; None for all.
        top_p: Draw from the fewest best tokens that have this probability together.
        stop: A token, or several, that end a text.
        key: What random numbers are made of; None if nothing is drawn.

    Raises:
        TypeError: Tokens are no whole numbers.
        ValueError: A prompt is empty, has tokens that the model does not know or, with what is written, is longer than
            it sees; or an argument is out of its range.
    """
    max_new_tokens = operator.index(max_new_tokens)
    if temperature > 0 and key is None:
        raise ValueError("tokens are drawn at random where `temperature` is above 0: give `key=jax.random.key(0)`")
    if not temperature >= 0 or not 0 < top_p <= 1 or (top_k is not None and top_k < 1) or max_new_tokens < 1:
        raise ValueError(
            "temperature must be 0 or more, top_p above 0 and up to 1, top_k and max_new_tokens 1 or more, not "
            f"{temperature}, {top_p}, {top_k} and {max_new_tokens}"
        )
    tokens, mask = padded(prompts, getattr(model, "vocab_size", None))
    length = tokens.shape[1] + max_new_tokens
    context = getattr(model, "context", None)
    if context is not None and length > context:
        room = context - max_new_tokens
        cure = f"shorten the prompt, as by `prompt[-{room}:]`" if room > 0 else "ask for fewer"
        raise ValueError(
            f"the longest prompt has {tokens.shape[1]} tokens, with max_new_tokens={max_new_tokens} more than the "
            f"{context} that the model sees: {cure}"
        )
    writer = clone(model).eval()
    nn.init_all_states(writer, batch_size=len(tokens), max_length=length)
    given = np.ravel(() if stop is None else stop)
    stops = np.append(given, np.full(-len(given) % 8 or 8, -1)).astype(np.int32)  # no token is -1
    # As arrays, and stop tokens by the eight, so that one program serves all choices.
    choice = jnp.float32(temperature), jnp.int32(top_k or np.iinfo(np.int32).max), jnp.float32(top_p)
    keys = jax.random.split(jax.random.key(0) if key is None else key, max_new_tokens)
    written, count = _written(writer, tokens, mask, keys, choice, stops)
    return [row[:n] for row, n in zip(np.asarray(written).tolist(), np.asarray(count).tolist(), strict=True)]


def padded(prompts: Sequence[Sequence[int]], vocab_size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return prompts as one array with padding on the left, and where their tokens are."""
    rows = [np.asarray(prompt) for prompt in prompts]
    if any(row.ndim != 1 for row in rows):
        raise ValueError("prompts must be a list of lists of tokens: write `[prompt]` for a single one")
    if not rows or not all(map(len, rows)):
        raise ValueError("there must be a prompt, and a token in each: begin a text with the first token of the model")
    for number, row in enumerate(rows):
        if not np.issubdtype(row.dtype, np.integer):
            raise TypeError(
                f"prompts[{number}] must have whole numbers, not {row.dtype}: a tokenizer makes them of words"
            )
        unknown = row[(row < 0) | (row >= (row.max() + 1 if vocab_size is None else vocab_size))]
        if len(unknown):
            raise ValueError(
                f"prompts[{number}] has the token {unknown[0]}, and the model knows 0 to "
                f"{'...' if vocab_size is None else vocab_size - 1}: take the tokenizer that belongs to it"
            )
    longest = max(map(len, rows))
    tokens, mask = np.zeros((len(rows), longest), np.int32), np.zeros((len(rows), longest), bool)
    for at, row in enumerate(rows):
        tokens[at, longest - len(row) :], mask[at, longest - len(row) :] = row, True
    return tokens, mask


def positions_of(mask: jax.Array) -> jax.Array:
    """Return the position of each token, counted from the first one that is no padding."""
    return jnp.maximum(jnp.cumsum(mask, -1) - 1, 0)


def choose(logits: jax.Array, key: jax.Array, temperature: jax.Array, top_k: jax.Array, top_p: jax.Array) -> jax.Array:
    """Draw a token of each row of logits ``(batch, vocabulary)``, or take the best where `temperature` is 0."""
    order, kept = ranked(logits, jnp.where(temperature > 0, temperature, 1.0), top_k, top_p)
    rank = jnp.where(temperature > 0, jax.random.categorical(key, kept), 0)
    return jnp.take_along_axis(order, rank[:, None], -1)[:, 0]


def ranked(
    logits: jax.Array, temperature: jax.Array, top_k: jax.Array, top_p: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the tokens from best to worst, and their logits, which are -inf where a token is not to be drawn."""
    order = jnp.argsort(-logits, axis=-1)  # it is stable: the first of equal ones comes first, as by argmax
    sorted_logits = jnp.take_along_axis(logits, order, -1) / temperature
    last = jnp.minimum(top_k, logits.shape[-1]) - 1
    kept = jnp.where(sorted_logits < jnp.take(sorted_logits, last, -1)[:, None], -jnp.inf, sorted_logits)
    shares = jax.nn.softmax(kept, -1)
    before = jnp.cumsum(shares, -1) - shares
    return order, jnp.where((before < top_p) | (top_p >= 1), kept, -jnp.inf)


@jit
def _written(
    model: nn.Module, prompt: jax.Array, mask: jax.Array, keys: jax.Array, choice: tuple, stops: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the tokens that a model with an empty cache writes, one for each key at most, and how many count."""
    (batch, start), steps = prompt.shape, len(keys)
    # What comes behind the prompt is no padding; that it has not come yet is known to the attention itself.
    seen = jnp.concatenate([mask, jnp.ones((batch, steps), bool)], 1)
    positions = positions_of(seen)

    def follow(tokens: jax.Array, at: jax.Array, step: jax.Array) -> jax.Array:
        logits = model(tokens, mask=seen, positions=at, decode=True)[:, -1]
        return choose(logits.astype(jnp.float32), keys[step], *choice)

    def more(carry: tuple) -> jax.Array:
        step, *_, ended = carry
        return (step < steps) & ~ended.all()

    def write(carry: tuple) -> tuple:
        step, token, *others = carry
        at = jax.lax.dynamic_slice_in_dim(positions, start + step - 1, 1, 1)
        return kept(step, follow(token[:, None], at, step), *others)

    def kept(step: jax.Array, token: jax.Array, texts: jax.Array, count: jax.Array, ended: jax.Array) -> tuple:
        texts = jax.lax.dynamic_update_slice_in_dim(texts, token[:, None], step, 1)
        return step + 1, token, texts, jnp.where(ended, count, step + 1), ended | jnp.isin(token, stops)

    first = follow(prompt, positions[:, :start], jnp.int32(0))  # the whole prompt at once
    empty = jnp.zeros((batch, steps), jnp.int32), jnp.zeros(batch, jnp.int32), jnp.zeros(batch, bool)
    _, _, texts, count, _ = while_loop(more, write, kept(jnp.int32(0), first, *empty))
    return texts, count


def main(load: Callable[[Path], Any], doc: str, line: Sequence[str] | None = None) -> None:
    """Continue a prompt of tokens from the command line."""
    parser = command(doc)
    parser.add_argument("tokens", type=int, nargs="+", help="the prompt")
    parser.add_argument("--length", type=int, default=20, help="how many tokens to write at most (default: 20)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 for the best token (default)")
    parser.add_argument("--top-k", type=int, help="draw from this many best tokens")
    parser.add_argument("--top-p", type=float, default=1.0, help="draw from the fewest that have this probability")
    parser.add_argument("--seed", type=int, default=0, help="what random numbers are made of (default: 0)")
    parser.add_argument("--stop", type=int, nargs="*", help="tokens that end the text (default: as config.json says)")
    options = parser.parse_args(line)
    with told(parser):
        stop = stop_tokens(options.directory) if options.stop is None else options.stop
        texts = generate(
            load(options.directory), [options.tokens], options.length, temperature=options.temperature,
            top_k=options.top_k, top_p=options.top_p, stop=stop, key=jax.random.key(options.seed),
        )  # fmt: skip
        print(*texts[0])
