"""What the commands of the examples share: a directory to read, errors in one line, and classes with their shares."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import GraphError
from brainstate_transform import jit
from examples.pretrained.files import Config, read_config


def command(doc: str) -> argparse.ArgumentParser:
    """Return a parser of a command line that begins with a directory."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0] if doc else None)
    parser.add_argument("directory", type=Path, help="where config.json and the weights are")
    return parser


@contextmanager
def told(parser: argparse.ArgumentParser) -> Iterator[None]:
    """End the program with one line where a directory or what else was given is wrong."""
    try:
        yield
    except (OSError, ValueError, GraphError) as error:
        parser.error(str(error))


def best(logits: jax.Array, config: Config, count: int = 5) -> list[str]:
    """Return a line for each of the best classes: its share and its name."""
    shares, places = jax.lax.top_k(jax.nn.softmax(logits.astype(jnp.float32)), min(count, len(logits)))
    names = config.get("id2label") or {}
    return [f"{share:.3f} {names.get(str(i), i)}" for share, i in zip(shares.tolist(), places.tolist(), strict=True)]


def classify_picture(load: Callable[[Path], Any], doc: str, line: Sequence[str] | None = None) -> None:
    """Classify a picture from the command line."""
    parser = command(doc)
    parser.add_argument("picture", type=Path, help="a file of NumPy, .npy: (height, width, channels), as scaled for it")
    options = parser.parse_args(line)
    with told(parser):
        model, pixels = load(options.directory), picture(options.picture)
        print(*best(jit(model)(jnp.asarray(pixels, jnp.float32)[None])[0], read_config(options.directory)), sep="\n")


def picture(path: Path) -> np.ndarray:
    """Return the array of a file of NumPy."""
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:  # what is no such file is taken for a pickle
        raise ValueError(f"{path} is no array of NumPy: write one by `np.save({str(path)!r}, pixels)`") from error
    if not isinstance(found, np.ndarray):
        raise ValueError(f"{path} has several arrays: write one by `np.save`")
    return found
