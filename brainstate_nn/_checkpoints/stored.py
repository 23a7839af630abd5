r"""The leaves of a model sorted for orbax: the arrays that it writes, and a row for each that tells what it is.

Tensorstore takes ``a/`` for ``a``, and gave back one of the two arrays twice.  So a slash in a key is written ``\:``.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from brainstate_graph import GraphError

from .._core.names import dotted_name
from .._core.placing import free, is_key
from .._devices.processes import differing, everywhere, held_apart
from .leaves import DTYPES, from_array, refusal, to_arrays

__all__ = ["Leaves", "Stored", "as_leaf", "nested", "place_of", "sort_leaves", "taken"]


class Stored(NamedTuple):
    """What the directory has for a leaf: its keys, its kind (see `_leaf_forms`), and dtype and shape of its array."""

    keys: tuple[str, ...]
    kind: str
    dtype: str
    shape: tuple[int, ...]


class Leaves(dict[str, Any]):
    """Leaves by name.

    Args:
        leaves: The leaves.
        kinds: Their kinds.
    """

    def __init__(self, leaves: Mapping[str, Any], kinds: dict[str, str]) -> None:
        super().__init__(leaves)
        self.kinds = kinds


def sort_leaves(tree: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Stored]]:
    """Return the arrays that orbax is to write, and a row for each leaf, by dotted name.

    Args:
        tree: What `to_pure_dict` returns.

    Raises:
        GraphError: A leaf cannot be held, or is not the same in all processes; the message lists all of them.
    """
    paths = {dotted_name(keys): keys for keys, _ in _walk((), tree)}
    leaves = _by_name(tree)
    problems = [f"{name} {why}" for name, leaf in leaves.items() if (why := _refusal(leaf))]
    if problems:
        raise GraphError(f"a checkpoint cannot hold all of it, nothing was written: {'; '.join(problems)}")
    own = {name: leaf for name, leaf in leaves.items() if not isinstance(leaf, jax.Array) or held_apart(leaf)}
    if others := differing(own):
        raise GraphError(
            f"nothing was written, for each process has a value of its own, and these differ: {', '.join(others)}. "
            "Give all processes one seed, `nn.seed(0)`, or leave these states out by a filter"
        )
    arrays: dict[str, Any] = {}
    rows: dict[str, Stored] = {}
    for name, leaf in leaves.items():
        if isinstance(leaf, jax.Array):
            array, kind = leaf, f"key {jax.random.key_impl(leaf)}" if is_key(leaf) else "weak" * leaf.weak_type
        else:
            [(array, kind)] = to_arrays([leaf])
        rows[name] = Stored(paths[name], kind, str(array.dtype), array.shape)
        if array.size:  # of those without elements, orbax holds none
            arrays[name] = everywhere(array) if isinstance(array, jax.Array) and held_apart(array) else array
    return arrays, rows


def _refusal(leaf: Any) -> str | None:
    if (why := refusal(leaf)) and not _is_spread(leaf):
        return why
    if hasattr(leaf, "dtype") and not is_key(leaf) and not _is_known(leaf.dtype):
        return f"has the dtype {leaf.dtype}, which orbax does not know: cast it"
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


def place_of(leaf: Any) -> jax.sharding.Sharding | None:
    """Return where orbax is to put the array for a leaf of the model; None for the host.

    Orbax cannot put an array where one process alone has it, so that goes over the host.
    """
    if not hasattr(leaf, "sharding"):
        return None
    sharding = leaf.sharding or jnp.zeros(()).sharding
    return sharding if jax.process_count() == 1 or not sharding.is_fully_addressable else None


def as_leaf(row: Stored, array: Any, leaf: Any) -> Any:
    """Return the leaf that an array was made of.

    Args:
        row: What the directory has.
        array: What orbax read of it; None for an array without elements.
        leaf: The one whose place it is to take.
    """
    if isinstance(array, jax.Array):
        put = place_of(leaf) is not None and getattr(leaf, "committed", leaf.sharding is not None)
        return array if put else free(array)
    if array is None:
        if row.kind.startswith("key "):
            return jax.random.split(jax.random.key(0, impl=row.kind.removeprefix("key ")), row.shape)
        array = np.zeros(row.shape, DTYPES[row.dtype])
    return from_array(array, row.kind)


def nested(flat: Mapping[str, Any], rows: Mapping[str, Stored]) -> dict[str, Any]:
    """Return what has names as nested dictionaries, for orbax."""
    root: dict[str, Any] = {}
    for name, leaf in flat.items():
        *above, last = _orbax_keys(rows[name])
        inner = root
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = leaf
    return root


def taken(tree: Any, row: Stored) -> Any:
    """Return what nested dictionaries of orbax hold for a row."""
    return functools.reduce(operator.getitem, _orbax_keys(row), tree)


def _orbax_keys(row: Stored) -> list[str]:
    return [key.replace("\\", r"\\").replace("/", r"\:") for key in row.keys]


def _by_name(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return what nested dictionaries hold by dotted name."""
    return {dotted_name(keys): leaf for keys, leaf in _walk((), tree)}


def _walk(keys: tuple[str, ...], tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, item in tree.items():
        if isinstance(item, dict):
            yield from _walk((*keys, key), item)
        else:
            yield (*keys, key), item
