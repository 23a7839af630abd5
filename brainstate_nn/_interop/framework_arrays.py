"""The arrays of other frameworks by dotted name, and other ones put in their place.

Each framework has its own containers (variables, a State, a module), which are opened here. What the names mean is the
business of the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._core.arrays import is_key

__all__ = ["FrameworkArrays", "arrays_of"]

# collections of linen that hold no weights
_NO_WEIGHTS = ("cache", "intermediates", "perturbations")


class FrameworkArrays(NamedTuple):
    """The arrays of something, and how to put others in their place.

    Attributes:
        arrays: The arrays by name.
        filled: Given arrays by these names, returns the same thing with them.
    """

    arrays: dict[str, Any]
    filled: Callable[[Mapping[str, Any]], Any]


def arrays_of(item: Any, framework: str) -> FrameworkArrays:
    """Return the arrays in a dictionary, flat or nested, or in a container that the framework itself has.

    Raises:
        TypeError: It is none of these.
    """
    if framework == "nnx":
        from flax import nnx

        if isinstance(item, nnx.State) or not isinstance(item, Mapping):
            return _nnx(item)
    elif framework == "equinox" and not isinstance(item, Mapping):
        return _equinox(item)
    if not isinstance(item, Mapping):
        raise TypeError(f"weights of {framework} must be a dictionary of arrays, not a {type(item).__name__}")
    # The parameters alone, without their collection.
    if framework == "linen" and "params" not in item and not any(str(key).startswith("params.") for key in item):
        inner = arrays_of({"params": item}, framework)
        return FrameworkArrays(inner.arrays, lambda arrays: inner.filled(arrays)["params"])
    if any(isinstance(value, (Mapping, list, tuple)) for value in item.values()):
        pairs, treedef = jax.tree_util.tree_flatten_with_path(item)
        names = [_name(path, framework) for path, _ in pairs]
        return _from_leaves(names, [leaf for _, leaf in pairs], treedef.unflatten)
    kept = [framework != "linen" or str(name).split(".")[0] not in _NO_WEIGHTS for name in item]
    names = [str(name) if keep else None for name, keep in zip(item, kept, strict=True)]
    return _from_leaves(names, [item[name] for name in item], lambda new: dict(zip(item, new, strict=True)))


def _from_leaves(names: list[str | None], leaves: list[Any], rebuilt: Callable[[list[Any]], Any]) -> FrameworkArrays:
    """Return those leaves that have a name and are arrays."""
    at = {name: i for i, name in enumerate(names) if name is not None and _is_array(leaves[i])}

    def filled(arrays: Mapping[str, Any]) -> Any:
        new = list(leaves)
        for name, i in at.items():
            if name in arrays:
                new[i] = _as_sort_of(leaves[i], arrays[name])
        return rebuilt(new)

    return FrameworkArrays({name: leaves[i] for name, i in at.items()}, filled)


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not (isinstance(leaf, jax.Array) and is_key(leaf))


def _name(path: tuple[Any, ...], framework: str) -> str | None:
    keys = [getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", None))) for entry in path]
    if framework == "linen" and keys[0] in _NO_WEIGHTS:
        return None
    if framework in ("linen", "nnx") and isinstance(path[-1], jax.tree_util.GetAttrKey):
        # The attribute of the box that an array with metadata is in.
        keys.pop()
    return _dotted(keys)


def _dotted(keys: Iterable[Any]) -> str:
    return ".".join(str(part) for key in keys for part in (key if isinstance(key, tuple) else (key,)))


def _as_sort_of(old: Any, new: np.ndarray) -> Any:
    """Return the array as the same sort of thing, on the same devices."""
    if isinstance(old, (np.ndarray, np.generic)):
        return new
    # Equinox refuses another type of the counters that it keeps.
    if getattr(old, "weak_type", False) and not new.ndim:
        return jnp.asarray(new.item())
    if isinstance(old, jax.Array) and not old.committed:
        return jnp.asarray(new)
    sharding = getattr(old, "sharding", None)
    return jnp.asarray(new) if sharding is None else jax.device_put(new, sharding)


def _nnx(item: Any) -> FrameworkArrays:
    """A module, which is written to, or a State of it; random streams and caches are no weights."""
    from flax import nnx

    state = item if isinstance(item, nnx.State) else nnx.state(item)
    flat = list(nnx.to_flat_state(state))
    boxes = [jax.tree.flatten(variable) for _, variable in flat]
    names = [
        None if isinstance(variable, (nnx.RngState, nnx.Cache, nnx.Intermediate)) else _dotted(path)
        for path, variable in flat
    ]

    def rebuilt(new: list[Any]) -> Any:
        pairs = zip(flat, boxes, new, strict=True)
        full = nnx.from_flat_state([(path, box.unflatten([value])) for (path, _), (_, box), value in pairs])
        if isinstance(item, nnx.State):
            return full
        nnx.update(item, full)
        return item

    return _from_leaves(names, [leaf for (leaf,), _ in boxes], rebuilt)


def _equinox(item: Any) -> FrameworkArrays:
    """A module, or a pair of one and its State, in which the values behind a StateIndex are."""
    import equinox as eqx

    def is_index(leaf: Any) -> bool:
        return isinstance(leaf, eqx.nn.StateIndex)

    pair = isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], eqx.nn.State)
    module, state = item if pair else (item, None)
    entries, treedef = jax.tree_util.tree_flatten_with_path(module, is_leaf=is_index)
    # For each leaf of the module, the tree of its arrays.
    parts = []
    for _, leaf in entries:
        value = leaf if not is_index(leaf) else leaf.init if state is None else state.get(leaf)
        parts.append(jax.tree_util.tree_flatten_with_path(value))
    names = [
        _name((*path, *inner), "equinox")
        for (path, _), (found, _) in zip(entries, parts, strict=True)
        for inner, _ in found
    ]
    leaves = [leaf for found, _ in parts for _, leaf in found]

    def rebuilt(new: list[Any]) -> Any:
        rest, fresh = iter(new), []
        # A copy, for `set` uses up what it is called on.
        kept = jax.tree.map(lambda leaf: leaf, state)
        for (_, leaf), (found, inner) in zip(entries, parts, strict=True):
            value = inner.unflatten([next(rest) for _ in found])
            if not is_index(leaf):
                leaf = value
            elif kept is None:
                leaf = eqx.tree_at(lambda index: index.init, leaf, value)
            else:
                kept = kept.set(leaf, value)
            fresh.append(leaf)
        module = treedef.unflatten(fresh)
        return (module, kept) if pair else module

    return _from_leaves(names, leaves, rebuilt)
