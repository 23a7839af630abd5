"""``python -m benchmarks.checkpoints``: how fast 200 MB of parameters are saved and loaded.

Beside what the libraries do with the bare arrays. The disk counts: `TMPDIR` says where the files are written, 1.4 GB.
"""

from __future__ import annotations

import functools
import pathlib
import tempfile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors.flax
from flax import serialization

import brainstate_nn as nn

from ._arena.claim import OURS, Claim, Row, Works
from ._arena.command import options, run
from ._arena.timing import Work

__all__ = ["CLAIM", "main"]

TARGET = 1.1  # of the time that orbax takes for the bare arrays


class Model(nn.Module):
    """20 matrices of 10 MB."""

    def __init__(self, seed: int) -> None:
        rng = nn.RandomState(seed)
        self.layers = [nn.Linear(1600, 1600, use_bias=False, rng=rng) for _ in range(20)]


class Way(NamedTuple):
    """A way to save and to load; each gives what is to be waited for."""

    save: Work
    load: Work


class Ways:
    """All ways, by name; every file is there, so that any of them can be loaded first.

    The files are in a temporary folder, which goes when the ways do.
    """

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        folder, model, other = pathlib.Path(self.folder.name), Model(0), Model(1)
        flat = nn.to_flat_dict(model)
        self.ours = {
            "safetensors": states(folder / "ours.safetensors", model, other),
            "msgpack": states(folder / "ours.msgpack", model, other),
            "whole model": whole(folder / "model.safetensors", model),
        }
        self.others = {
            "orbax": orbax(folder / "orbax", flat),
            "safetensors.flax": bare_safetensors(folder / "bare.safetensors", flat),
            "flax.serialization": bare_flax(folder / "bare.msgpack", flat),
            "np.savez": bare_numpy(folder / "bare.npz", flat),
        }
        for way in (*self.ours.values(), *self.others.values()):
            way.save()


ways = functools.cache(Ways)


def values_of(model: Model) -> list[Any]:
    return [state.value for state in model.states().values()]


def states(path: pathlib.Path, model: Model, other: Model) -> Way:
    return Way(lambda: nn.save_states(path, model), lambda: (nn.load_states(path, other), values_of(other))[1])


def whole(path: pathlib.Path, model: Model) -> Way:
    return Way(lambda: nn.save_model(path, model), lambda: values_of(nn.load_model(path, [Model])))


def orbax(path: pathlib.Path, flat: dict[str, jax.Array]) -> Way:
    def save() -> None:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, flat, force=True)

    def load() -> Any:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(path, flat)

    return Way(save, load)


def bare_safetensors(path: pathlib.Path, flat: dict[str, jax.Array]) -> Way:
    return Way(lambda: safetensors.flax.save_file(dict(flat), path), lambda: safetensors.flax.load_file(path))


def bare_flax(path: pathlib.Path, flat: dict[str, jax.Array]) -> Way:
    return Way(
        lambda: path.write_bytes(serialization.msgpack_serialize(flat)),
        lambda: jax.tree.map(jnp.asarray, serialization.msgpack_restore(path.read_bytes())),
    )


def bare_numpy(path: pathlib.Path, flat: dict[str, jax.Array]) -> Way:
    def load() -> Any:
        with np.load(path) as found:
            return [jnp.asarray(found[name]) for name in found]

    return Way(lambda: np.savez(path, **{name: np.asarray(array) for name, array in flat.items()}), load)


def works(kind: str, ours: str) -> Works:
    chosen = {OURS: ways().ours[ours], **ways().others}
    return {name: getattr(way, kind) for name, way in chosen.items()}


ROWS = tuple(
    Row(f"{kind} 205 MB, {ours}", works, (kind, ours), target=TARGET, base="orbax", quick=ours == "safetensors")
    for kind in ("save", "load")
    for ours in ("safetensors", "msgpack", "whole model")
)
CLAIM = Claim(
    "checkpoints", "Files of values are written as fast as the libraries write bare arrays", ROWS, budget_s=6.0
)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
