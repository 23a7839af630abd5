"""Fine-tune the GPT of `gpt.py` on English prose by corrections of low rank; its own weights stay as they are.

The prose is the reference manual that every Python has in `pydoc_data`.  Run it with ``python -m examples.lora``, which
trains a GPT first, or with ``--base output/gpt.msgpack``; with ``--quick`` all of it is small.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_graph import clone
from examples import gpt
from examples.gpt import CHARACTERS, GPT, QUICK, Settings, check

RANK = 8


def prose(size: int) -> np.ndarray:
    """Return the first `size` characters of the manual."""
    from pydoc_data.topics import topics

    return gpt.encoded("\n".join(topics[name] for name in sorted(topics)))[:size]


def as_bytes(model: GPT) -> list[bytes]:
    """Return the parameters that are not of LoRA, bit by bit."""
    return [np.asarray(p.value).tobytes() for p in model.parameters() if not isinstance(p, nn.LoRAParam)]


def fine_tune(model: GPT, text: np.ndarray, settings: Settings) -> list[float]:
    """Put corrections over all linear layers in place, train these alone, and return the loss of each step."""
    nn.add_lora(model, RANK, alpha=2 * RANK)
    tx = gpt.adamw(settings.rate, settings.steps)
    return gpt.train(model, tx, gpt.windows_of(text, settings, 1), nn.LoRAParam)


def main(output: Path, settings: Settings, base: Path | None = None) -> None:
    output.mkdir(parents=True, exist_ok=True)
    if base is None:
        model, _, source = gpt.trained(settings)
    else:
        model, source = GPT(CHARACTERS, settings), gpt.divided(gpt.source_text(settings.text))[1]
        nn.load_states(base, model, nn.ParamState)
    settings = settings._replace(steps=max(settings.steps // 3, 50))
    seen, unseen = gpt.divided(prose(settings.text))
    before, first = as_bytes(model), gpt.measure(model, unseen, settings)
    losses = fine_tune(model, seen, settings)

    last, corrections = gpt.measure(model, unseen, settings), model.states(nn.LoRAParam)
    sizes = [sum(s.value.size for s in states) for states in (corrections.values(), model.parameters())]
    check(f"loss on unseen prose: {first:.3f} before, {last:.3f} after {len(losses)} steps", last < first - 0.1)
    check("the weights of the GPT are the same to the last bit", as_bytes(model) == before)
    print(f"      {sizes[0]:,} of {sizes[1]:,} parameters were trained")

    merged = clone(model)
    nn.merge_lora(merged)
    tokens = jnp.asarray(unseen[None, : settings.context])
    apart = float(jnp.abs(merged(tokens) - model(tokens)).max())
    check(f"merged into the weights, the corrections give the same logits, up to {apart:.0e}", apart < 1e-2)
    print(f"      loss on unseen source text: {gpt.measure(merged, source, settings):.3f}")

    prompt = "The "
    texts = gpt.sample(
        merged, jnp.asarray(gpt.encoded(prompt)[None]), settings.context - len(prompt), temperature=0.7,
        key=jax.random.key(0),
    )  # fmt: skip
    print(f"\n{prompt}{gpt.decoded(texts[0])}")

    saved, level = output / "lora.msgpack", gpt.entropy(unseen)
    nn.save_states(saved, model, nn.LoRAParam)
    gpt.draw_curve(losses, level, "LoRA: from source text to prose", output / "lora.png")
    print(f"\nIn {output.resolve()}:\n  lora.png      the training curve")
    print(f"  lora.msgpack  the corrections, {saved.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output"), help="where to write (default: ./output)")
    parser.add_argument("--base", type=Path, help="the parameters that gpt.py saved, with the same --quick")
    parser.add_argument("--quick", action="store_true", help="a small model, for less than a minute")
    options = parser.parse_args()
    main(options.output, QUICK if options.quick else Settings(), options.base)
