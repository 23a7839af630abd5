"""``save_states`` and ``load_states``: the states of a model in one file.

The one who loads has the model. A file from which a model is made is in `model_files`, and the steps of a training,
with what several processes have, in `orbax`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from brainstate_graph import Filter, FlattedDict, GraphError, NestedDict

from .container import open_contents, save_contents
from .pure_dicts import LoadReport, Rename, aliases, from_flat_dict, further_names, to_flat_dict
from .short_term import to_load, to_save

__all__ = ["load_states", "save_states", "tied_names"]


def save_states(
    path: str | os.PathLike[str],
    node_or_tree: Any,
    *filters: Filter,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the values of states to one file: safetensors where its name ends so, else the msgpack format of flax.

    The file appears whole or not at all, whenever the process is killed. It holds a checksum over each array.

    Args:
        path: The file, such as ``"model.safetensors"`` or ``"model.msgpack"``.
        node_or_tree: A Node, a container of them, or a state tree.
        *filters: Which states; without any all but hidden states and their like, `ShortTermState`; ``...`` for all.
        metadata: Texts for other readers, such as ``{"format": "pt"}``.

    Raises:
        GraphError: Two paths would have one name, or a value is not an array, random key or number; the message lists
            all of these. Or there is no state to save. Nothing was written.

    Example:
        >>> import os, tempfile
        >>> from brainstate_nn import Linear, ParamState, load_states, save_states
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_states(os.path.join(folder, "model.msgpack"), Linear(2, 3), ParamState)
        ...     load_states(os.path.join(folder, "model.msgpack"), Linear(2, 3), ParamState)
        LoadReport(missing=(), unexpected=())
    """
    flat = to_flat_dict(node_or_tree, *to_save(node_or_tree, filters))
    save_contents(path, flat, tied_names(node_or_tree, flat), metadata)


def tied_names(node_or_tree: Any, flat: Mapping[str, Any]) -> dict[str, str]:
    """Return the other names of the states that are saved."""
    if isinstance(node_or_tree, (NestedDict, FlattedDict)):
        return {}
    return {other: name for other, name in aliases(node_or_tree).items() if name in flat}


def load_states(
    path: str | os.PathLike[str],
    node: Any,
    *filters: Filter,
    strict: bool = True,
    rename: Rename | None = None,
    cast: bool = False,
) -> LoadReport:
    """Read a file of arrays into the live states; all of them or, where something does not fit, none.

    It may be a file of `save_states` or `save_model`, any file of safetensors, or what `flax.serialization` wrote; of
    the last, nested names are dotted. Of safetensors one array is read after the other, and put where the one before it
    was, under its sharding; so a model of shapes needs no more memory than the model and one array.

    Args:
        path: The file; or ``model.safetensors.index.json``, for a model that Hugging Face has split into several.
        node: A Node, or a container of them.
        *filters: Which states of `node` the file holds; without any all but hidden states and their like,
            `ShortTermState`, which are not read where the file has them; ``...`` for all.
        strict: As for `from_flat_dict`.
        rename: As for `from_flat_dict`.
        cast: As for `from_flat_dict`.

    Returns:
        What is missing and what is unexpected; both are empty where `strict`.

    Raises:
        GraphError: A name is missing or unexpected, or an array has another shape or dtype; the message lists all.
        ValueError: The file is damaged, or something else.

    Example:
        >>> import os, tempfile
        >>> from brainstate_nn import Linear, load_states, save_states
        >>> model, other = Linear(2, 3), Linear(2, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_states(os.path.join(folder, "model.msgpack"), model)
        ...     load_states(os.path.join(folder, "model.msgpack"), other)
        LoadReport(missing=(), unexpected=())
        >>> bool((other.weight.value == model.weight.value).all())
        True
    """
    filters, rename = to_load(node, filters, rename)
    with open_contents(path) as contents:
        further, rename = further_names(contents.aliases, contents, node, filters, rename)
        if further:
            contents.add_names(further)
        try:
            return from_flat_dict(node, contents, *filters, strict=strict, rename=rename, cast=cast)
        except GraphError as error:
            raise GraphError(f"{os.fspath(path)}: {error}") from None
