"""Checkpoints: states as a flat dictionary of arrays, and as one file.

The names are the dotted paths, ``layers.0.weight``, so a file reads like everybody's.  A value that is a tree of
arrays has a name for each of them.  Structure comes from the live model, never from the file.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from brainstate_graph import Any as AnyOf
from brainstate_graph import Filter, FlattedDict, GraphError, NestedDict, states, update_states

from ._names import dotted_names, leaf_names

__all__ = ["from_flat_dict", "load_states", "save_states", "to_flat_dict"]


def _live(node: Any, filters: tuple[Filter, ...]) -> FlattedDict:
    found: FlattedDict = states(node, *((AnyOf(*filters),) if filters else ()))
    return found


def to_flat_dict(node_or_tree: Any, *filters: Filter) -> dict[str, Any]:
    """Return the values of states as plain arrays by dotted path.

    Args:
        node_or_tree: A Node, a container of them, or a state tree.
        *filters: Which states; None for all.

    Returns:
        NumPy arrays by name; numbers stay numbers, and random keys are ``{"impl": name, "data": array}``.

    Raises:
        GraphError: Two paths would have one name.

    Example:
        >>> from brainstate_nn import Linear, to_flat_dict
        >>> {name: array.shape for name, array in to_flat_dict(Linear(2, 3)).items()}
        {'bias': (3,), 'weight': (2, 3)}
    """
    if isinstance(node_or_tree, (NestedDict, FlattedDict)):
        tree = node_or_tree.to_flat()
        tree = tree.filter(AnyOf(*filters)) if filters else tree
    else:
        tree = _live(node_or_tree, filters)
    paths: list[tuple[Any, ...]] = []
    leaves: list[Any] = []
    for path, value in tree.to_dict_values().items():
        inner, found, _ = leaf_names(path, value)
        paths += inner
        leaves += found
    return dict(zip(dotted_names(paths), map(_encode, leaves), strict=True))


def from_flat_dict(node: Any, flat: Mapping[str, Any], *filters: Filter) -> None:
    """Write plain arrays by dotted path to the live states; all of them or, where something does not fit, none.

    Args:
        node: A Node, or a container of them.
        flat: Arrays by name, from `to_flat_dict`.
        *filters: Which states of `node` the names stand for; None for all.

    Raises:
        GraphError: A name is missing or unexpected, or an array has another shape or dtype; the message lists all.

    Example:
        >>> from brainstate_nn import Linear, from_flat_dict, to_flat_dict
        >>> first, second = Linear(2, 3), Linear(2, 3)
        >>> from_flat_dict(second, to_flat_dict(first))
        >>> bool((first.weight.value == second.weight.value).all())
        True
    """
    taken = [(state, *leaf_names(path, state.value)) for path, state in _live(node, filters).items()]
    names = iter(dotted_names([path for _, paths, _, _ in taken for path in paths]))
    rest = dict(flat)
    problems: list[str] = []
    values = [
        jax.tree.unflatten(treedef, [_fitted(next(names), leaf, rest, problems) for leaf in leaves])
        for _, _, leaves, treedef in taken
    ]
    problems += [f"unexpected: {name}" for name in rest]
    if problems:
        raise GraphError("the values do not fit the model, nothing was written: " + "; ".join(problems))
    update_states([state for state, *_ in taken], FlattedDict.from_flat([((i,), v) for i, v in enumerate(values)]))


def save_states(path: str | os.PathLike[str], node_or_tree: Any, *filters: Filter) -> None:
    """Write the values of states to a file in the msgpack format of flax.

    The file appears whole or not at all: it is written beside its place and then moved there.

    Args:
        path: The file.
        node_or_tree: A Node, a container of them, or a state tree.
        *filters: Which states; None for all.

    Raises:
        GraphError: Two paths would have one name.

    Example:
        >>> import os, tempfile
        >>> from brainstate_nn import Linear, ParamState, load_states, save_states
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_states(os.path.join(folder, "model.msgpack"), Linear(2, 3), ParamState)
        ...     load_states(os.path.join(folder, "model.msgpack"), Linear(2, 3), ParamState)
    """
    from flax import serialization

    data = serialization.msgpack_serialize(to_flat_dict(node_or_tree, *filters))
    temporary = f"{os.fspath(path)}.{os.getpid()}.{secrets.token_hex(4)}.part"
    with open(temporary, "xb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def load_states(path: str | os.PathLike[str], node: Any, *filters: Filter) -> None:
    """Read a file of `save_states` into the live states; all of them or, where something does not fit, none.

    Args:
        path: The file.
        node: A Node, or a container of them.
        *filters: Which states of `node` the file holds; None for all.

    Raises:
        GraphError: A name is missing or unexpected, or an array has another shape or dtype; the message lists all.
        ValueError: The file is something else.

    Example:
        >>> import os, tempfile
        >>> from brainstate_nn import Linear, ParamState, load_states, save_states
        >>> model, other = Linear(2, 3), Linear(2, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_states(os.path.join(folder, "model.msgpack"), model)
        ...     load_states(os.path.join(folder, "model.msgpack"), other)
        >>> bool((other.weight.value == model.weight.value).all())
        True
    """
    from flax import serialization

    with open(path, "rb") as file:
        data = file.read()
    try:
        flat = serialization.msgpack_restore(data)
    except Exception as error:
        raise ValueError(f"{os.fspath(path)} is not a file of `save_states`: {error}") from error
    if not isinstance(flat, dict):
        raise ValueError(f"{os.fspath(path)} is not a file of `save_states`: it holds a {type(flat).__name__}")
    from_flat_dict(node, flat, *filters)


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _encode(leaf: Any) -> Any:
    if _is_key(leaf):
        return {"impl": str(jax.random.key_impl(leaf)), "data": np.asarray(jax.random.key_data(leaf))}
    return leaf if isinstance(leaf, (bool, int, float, complex)) else np.asarray(leaf)


def _describe(item: Any) -> str:
    """Say what must agree between a value and the one that takes its place."""
    return f"{item.dtype}{list(item.shape)}" if hasattr(item, "dtype") else f"a {type(item).__name__}"


def _fitted(name: str, live: Any, rest: dict[str, Any], problems: list[str]) -> Any:
    """Take the new value of one array out of `rest`, as the same sort of thing as `live`; note what does not fit."""
    if name not in rest:
        problems.append(f"missing: {name}")
        return None
    given = rest.pop(name)
    if isinstance(given, dict) and given.keys() == {"impl", "data"}:
        try:
            given = jax.random.wrap_key_data(jnp.asarray(given["data"]), impl=given["impl"])
        except (TypeError, ValueError) as error:
            problems.append(f"{name}: {error}")
            return None
    if _describe(given) != _describe(live):
        problems.append(f"{name} is {_describe(live)} in the model, {_describe(given)} in the data")
        return None
    return _placed(live, given)


def _placed(live: Any, given: Any) -> Any:
    """Return `given` as the same sort of thing as `live`, on the same devices."""
    if isinstance(live, np.ndarray):
        return np.array(given)
    if isinstance(live, np.generic):
        return given[()]
    if isinstance(live, Tracer) or not hasattr(live, "sharding"):
        return jnp.asarray(given) if hasattr(live, "dtype") else given
    # an array that was never put anywhere stays free to move, which is part of JAX's cache key
    fixed = live.committed if isinstance(live, jax.Array) else live.sharding is not None
    return jax.device_put(given, live.sharding) if fixed else jnp.asarray(given)
