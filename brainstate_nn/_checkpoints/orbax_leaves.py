"""The leaves of a model for orbax: the arrays that it writes, and a record for each leaf that tells what it was.

Orbax writes arrays of JAX and NumPy with elements. Python numbers, random keys and empty arrays are turned into such,
or left out, and the record has what it takes to make them again.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from brainstate_graph import GraphError

from .._core.arrays import is_key, uncommitted
from .._core.paths import dotted_name
from .._devices.processes import as_global, is_process_local, names_that_differ
from .leaves import DTYPES, from_array, kind_of, refusal, to_arrays
from .pure_dicts import as_nested

__all__ = ["LeavesWithKinds", "StoredLeaf", "as_leaf", "nested", "sharding_to_read", "stored_in", "to_stored"]


class StoredLeaf(NamedTuple):
    """The record of a leaf that is stored.

    Attributes:
        keys: The keys that lead to it in nested dictionaries.
        kind: Its kind, as in `leaves`.
        dtype: The dtype of its array.
        shape: The shape of its array.
    """

    keys: tuple[str, ...]
    kind: str
    dtype: str
    shape: tuple[int, ...]


class LeavesWithKinds(dict[str, Any]):
    """Leaves by name, with the kind of each, as a file has them.

    Args:
        leaves: The leaves.
        kinds: Their kinds.
    """

    def __init__(self, leaves: Mapping[str, Any], kinds: dict[str, str]) -> None:
        super().__init__(leaves)
        self.kinds = kinds


def to_stored(leaves: Mapping[tuple[str, ...], Any]) -> tuple[dict[str, Any], dict[str, StoredLeaf]]:
    """Return the arrays that orbax is to write, and the record of each leaf, by dotted name.

    Args:
        leaves: The leaves of a model by path, whose keys are strings.

    Raises:
        GraphError: A leaf cannot be held, or is not the same in all processes; the message lists all of them.
    """
    by_name = {dotted_name(keys): leaf for keys, leaf in leaves.items()}
    problems = [f"{name} {why}" for name, leaf in by_name.items() if (why := _refusal(leaf))]
    if problems:
        raise GraphError(f"the states cannot be saved, nothing was written: {'; '.join(problems)}")
    local = {name: x for name, x in by_name.items() if not isinstance(x, jax.Array) or is_process_local(x)}
    if others := names_that_differ(local):
        raise GraphError(
            f"nothing was written, because the processes have different values here: {', '.join(others)}. "
            "Give all processes one seed, `nn.seed(0)`, or leave these states out by a filter"
        )
    arrays: dict[str, Any] = {}
    records: dict[str, StoredLeaf] = {}
    for keys, (name, leaf) in zip(leaves, by_name.items(), strict=True):
        if isinstance(leaf, jax.Array):
            array, kind = leaf, kind_of(leaf)
        else:
            [(array, kind)] = to_arrays([leaf])
        records[name] = StoredLeaf(keys, kind, str(array.dtype), array.shape)
        # Orbax holds no arrays without elements.
        if array.size:
            arrays[name] = as_global(array) if isinstance(array, jax.Array) and is_process_local(array) else array
    return arrays, records


def _refusal(leaf: Any) -> str | None:
    # A file cannot hold what is spread over processes; orbax can.
    if (why := refusal(leaf)) and not _is_spread(leaf):
        return why
    if hasattr(leaf, "dtype") and not is_key(leaf) and not _is_known(leaf.dtype):
        return f"has the dtype {leaf.dtype}, which orbax does not support: cast it"
    return None


def _is_spread(leaf: Any) -> bool:
    """Tell whether other processes have the rest of an array; a file cannot hold such, and says so."""
    if not isinstance(leaf, jax.Array) or isinstance(leaf, Tracer) or leaf.is_deleted():
        return False
    return not leaf.is_fully_addressable


@functools.cache
def _is_known(dtype: np.dtype[Any]) -> bool:
    import tensorstore

    try:
        return bool(tensorstore.dtype(dtype.name))
    except ValueError:
        return False


def sharding_to_read(leaf: Any) -> jax.sharding.Sharding | None:
    """Return where orbax is to put the array for a leaf of the model; None for the host.

    Orbax cannot put an array where one process alone has it, so that goes over the host.
    """
    if not hasattr(leaf, "sharding"):
        return None
    sharding = leaf.sharding or jnp.zeros(()).sharding
    return sharding if jax.process_count() == 1 or not sharding.is_fully_addressable else None


def as_leaf(record: StoredLeaf, array: Any, leaf: Any) -> Any:
    """Return the leaf that an array was made of.

    Args:
        record: What the directory has of it.
        array: What orbax read of it; None for an array without elements.
        leaf: The one whose place it is to take.
    """
    if isinstance(array, jax.Array):
        stays = sharding_to_read(leaf) is not None and getattr(leaf, "committed", leaf.sharding is not None)
        return array if stays else uncommitted(array)
    if array is None:
        if record.kind.startswith("key "):
            return jax.random.split(jax.random.key(0, impl=record.kind.removeprefix("key ")), record.shape)
        array = np.zeros(record.shape, DTYPES[record.dtype])
    return from_array(array, record.kind)


def nested(flat: Mapping[str, Any], records: Mapping[str, StoredLeaf]) -> dict[str, Any]:
    """Return what has names as nested dictionaries with the keys that orbax is given."""
    return as_nested((_orbax_keys(records[name]), leaf) for name, leaf in flat.items())


def stored_in(tree: Any, record: StoredLeaf) -> Any:
    """Return what nested dictionaries of orbax hold for a record."""
    return functools.reduce(operator.getitem, _orbax_keys(record), tree)


def _orbax_keys(record: StoredLeaf) -> list[str]:
    # Tensorstore takes `a/` for `a`, and gave back one of the two arrays twice: so a slash in a key is written `\:`.
    return [key.replace("\\", r"\\").replace("/", r"\:") for key in record.keys]
