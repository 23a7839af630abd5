"""``python -m benchmarks.checkpoints``: how fast 200 MB of parameters are saved and loaded.

Beside what the libraries do with the bare arrays.  Options: ``--quick`` (rougher), ``--rows save`` (rows whose name
contains one of the words), ``--folder`` (where to write; the disk counts).  It reports and never fails: the exit code
is 0.
"""

from __future__ import annotations

import pathlib
import shutil
import tempfile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import safetensors.flax
from flax import serialization

import brainstate_nn as nn

from ._report import chosen, disk_table, header, options
from ._timing import Work

__all__ = ["main"]

TARGET = 1.1  # of the time that orbax takes for the bare arrays


class Model(nn.Module):
    """20 matrices of 10 MB."""

    def __init__(self, seed: int) -> None:
        rng = nn.RandomState(seed)
        self.layers = [nn.Linear(1600, 1600, use_bias=False, rng=rng) for _ in range(20)]


class Row(NamedTuple):
    """A way to save and to load; each gives what is to be waited for."""

    save: Work
    load: Work
    ours: bool = False


def rows(folder: pathlib.Path) -> dict[str, Row]:
    """Return all rows by name; every file is there, so that any of them can be loaded first."""
    model, other = Model(0), Model(1)
    flat = nn.to_flat_dict(model)
    found = {
        "orbax, bare arrays": orbax(folder / "orbax", flat),
        "ours, safetensors": states(folder / "ours.safetensors", model, other),
        "ours, msgpack": states(folder / "ours.msgpack", model, other),
        "ours, safetensors, whole model": whole(folder / "model.safetensors", model),
        "safetensors.flax, bare arrays": bare_safetensors(folder / "bare.safetensors", flat),
        "flax.serialization, bare arrays": bare_flax(folder / "bare.msgpack", flat),
        "np.savez, bare arrays": bare_numpy(folder / "bare.npz", flat),
    }
    for row in found.values():
        row.save()
    return found


def values_of(model: Model) -> list[Any]:
    return [state.value for state in model.states().values()]


def states(path: pathlib.Path, model: Model, other: Model) -> Row:
    return Row(
        lambda: nn.save_states(path, model), lambda: (nn.load_states(path, other), values_of(other))[1], ours=True
    )


def whole(path: pathlib.Path, model: Model) -> Row:
    return Row(lambda: nn.save_model(path, model), lambda: values_of(nn.load_model(path, [Model])), ours=True)


def orbax(path: pathlib.Path, flat: dict[str, jax.Array]) -> Row:
    def save() -> None:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, flat, force=True)

    def load() -> Any:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(path, flat)

    return Row(save, load)


def bare_safetensors(path: pathlib.Path, flat: dict[str, jax.Array]) -> Row:
    return Row(lambda: safetensors.flax.save_file(dict(flat), path), lambda: safetensors.flax.load_file(path))


def bare_flax(path: pathlib.Path, flat: dict[str, jax.Array]) -> Row:
    return Row(
        lambda: path.write_bytes(serialization.msgpack_serialize(flat)),
        lambda: jax.tree.map(jnp.asarray, serialization.msgpack_restore(path.read_bytes())),
    )


def bare_numpy(path: pathlib.Path, flat: dict[str, jax.Array]) -> Row:
    def load() -> Any:
        with np.load(path) as found:
            return [jnp.asarray(found[name]) for name in found]

    return Row(lambda: np.savez(path, **flat), load)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    parser = options("checkpoints", __doc__, "ten seconds a table instead of sixty", rows=True)
    parser.add_argument("--folder", default=None, help="where to write 1.4 GB; a temporary folder if not given")
    given = parser.parse_args(argv)
    folder = pathlib.Path(tempfile.mkdtemp(dir=given.folder))
    try:
        found = rows(folder)
        first = next(iter(found))
        found = {name: row for name, row in found.items() if name == first or chosen(name, given.rows)}
        ours = {name for name, row in found.items() if row.ours}
        size = sum(value.nbytes for value in values_of(Model(0)))
        print(header())
        print(f"Ratio: the least time over many alternating rounds, by that of the first row. {size / 1e6:.0f} MB.\n")
        budget_s = 10.0 if given.quick else 60.0
        disk_table("Save", {name: row.save for name, row in found.items()}, ours, TARGET, size, budget_s)
        disk_table("Load", {name: row.load for name, row in found.items()}, ours, TARGET, size, budget_s)
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
