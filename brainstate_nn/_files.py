"""Checkpoints in one file."""

from __future__ import annotations

import os
import secrets
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import Filter

from ._pure import LoadReport, Rename, from_flat_dict, to_flat_dict
from ._replacing import is_key

__all__ = ["load_states", "save_states"]


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
        LoadReport(missing=(), unexpected=())
    """
    from flax import serialization

    flat = {name: _encode(leaf) for name, leaf in to_flat_dict(node_or_tree, *filters).items()}
    data = serialization.msgpack_serialize(flat)
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


def load_states(
    path: str | os.PathLike[str],
    node: Any,
    *filters: Filter,
    strict: bool = True,
    rename: Rename | None = None,
    cast: bool = False,
) -> LoadReport:
    """Read a file of `save_states` into the live states; all of them or, where something does not fit, none.

    Args:
        path: The file.
        node: A Node, or a container of them.
        *filters: Which states of `node` the file holds; None for all.
        strict: As for `from_flat_dict`.
        rename: As for `from_flat_dict`.
        cast: As for `from_flat_dict`.

    Returns:
        What is missing and what is unexpected; both are empty where `strict`.

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
        LoadReport(missing=(), unexpected=())
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
    values = {name: _decode(name, item) for name, item in flat.items()}
    return from_flat_dict(node, values, *filters, strict=strict, rename=rename, cast=cast)


def _encode(leaf: Any) -> Any:
    if is_key(leaf):
        return {"impl": str(jax.random.key_impl(leaf)), "data": np.asarray(jax.random.key_data(leaf))}
    return leaf if isinstance(leaf, (bool, int, float, complex)) else np.asarray(leaf)


def _decode(name: str, item: Any) -> Any:
    if not (isinstance(item, dict) and item.keys() == {"impl", "data"}):
        return item
    try:
        return jax.random.wrap_key_data(jnp.asarray(item["data"]), impl=item["impl"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is no random key: {error}") from error
