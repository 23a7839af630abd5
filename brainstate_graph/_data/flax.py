"""``flax.serialization`` takes state trees, where `register_with_flax` has told it how they are written and read.

flax looks a type up in a table of its own and asks nobody, so somebody has to put ours there.  We do not import flax
for it: that costs a quarter of a second, several times as much as this package.
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._core.errors import GraphError
from .._core.layout import Layout
from .._tools.words import dotted
from .._trees.leaf import TreefyState, value_of
from .._trees.nesting import find_nested, nested
from .._trees.tree import FlattedDict, NestedDict, layout_of, make_tree, values_of

__all__ = ["register_where_imported", "register_with_flax"]


def register_with_flax() -> None:
    """Make ``flax.serialization`` write and read state trees; a second call changes nothing.

    Without it ``to_state_dict`` returns a tree unchanged, and ``to_bytes`` refuses it. If flax was imported before this
    package, no call is needed.

    Raises:
        ImportError: flax is not installed.

    Example:
        >>> from flax import serialization
        >>> from brainstate_graph import State, register_with_flax, treefy_states
        >>> register_with_flax()
        >>> serialization.to_state_dict(treefy_states({"layers": [State(1.0)]}))
        {'layers': {'0': 1.0}}
    """
    from flax import serialization

    # `override` as somebody may have called this before, or flax was loaded again.
    for kind, write, read in (
        (TreefyState, _state_to_dict, _state_from_dict),
        (NestedDict, _tree_to_dict, _tree_from_dict),
        (FlattedDict, _tree_to_dict, _tree_from_dict),
    ):
        serialization.register_serialization_state(kind, write, read, override=True)


def register_where_imported() -> None:
    """Call `register_with_flax` if ``flax.serialization`` is imported already."""
    if "flax.serialization" in sys.modules:
        register_with_flax()


# ------------------------------------------------------------------------------------------------ values


def _state_to_dict(item: Any) -> Any:
    """Write a TreefyState, or the value in a tree: random keys as the name of their generator and their bits."""
    from flax import serialization

    return serialization.to_state_dict(_without_keys(value_of(item)))


def _state_from_dict(ref: TreefyState, data: Any) -> TreefyState:
    return ref.replace(_value_from_dict(ref.value, data, "value"))


def _value_from_dict(value: Any, data: Any, name: str) -> Any:
    from flax import serialization

    plain = _without_keys(value)
    found = serialization.from_state_dict(plain, data, name=name)
    return found if plain is value else jax.tree.map(_with_key, value, found)


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_keys(value: Any) -> Any:
    if not any(map(_is_key, jax.tree.leaves(value))):
        return value
    return jax.tree.map(
        lambda leaf: (
            {"impl": str(jax.random.key_impl(leaf)), "data": np.asarray(jax.random.key_data(leaf))}
            if _is_key(leaf)
            else leaf
        ),
        value,
    )


def _with_key(leaf: Any, data: Any) -> Any:
    return jax.random.wrap_key_data(jnp.asarray(data["data"]), impl=data["impl"]) if _is_key(leaf) else data


# ------------------------------------------------------------------------------------------------ trees


def _tree_to_dict(tree: Any) -> Any:
    """Write a tree as nested dictionaries by the text of its keys."""
    values = values_of(tree)
    return nested(_by_name(tree), lambda index: _state_to_dict(values[index]))


def _tree_from_dict(tree: Any, data: Any) -> Any:
    from flax import serialization

    named = _by_name(tree)
    found, strange = find_nested(named, data, [{}] * len(named))  # a value may be a dictionary
    problems = [
        f"{dotted(path)} is one value" if named.find(path) is not None else f"unexpected: {dotted(path)}"
        for path in strange
    ]
    values: list[Any] = []
    for index, before in enumerate(values_of(tree)):
        name = dotted(named.path(index))
        if index not in found:
            problems.append(f"missing: {name}")
            continue
        try:
            values.append(_value_from_dict(value_of(before), found[index], name))
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # all of which flax raises
            problems.append(f"{name}: {error}")
    if problems:
        where = serialization.current_path().removeprefix("./").removeprefix(".")
        raise GraphError(f"the data does not fit the tree{' at ' * bool(where)}{where}: " + "; ".join(problems))
    return make_tree(type(tree), layout_of(tree), values)


def _by_name(tree: Any) -> Layout:
    """Return the layout of a tree with the text of each key in its place.

    Raises:
        GraphError: Keys cannot be names, or would have the same name.
    """
    layout = layout_of(tree.to_nest())
    problems: list[str] = []
    names: dict[tuple[int, str], Any] = {}
    for step, (parent, key) in enumerate(layout.steps()):
        if type(key) not in (str, int):
            where = dotted(layout.path_to(step))
            problems.append(f"the key {key!r} of {where} is a {type(key).__name__}")
        elif names.setdefault((parent, str(key)), key) is not key:
            where = dotted(layout.path_to(step))
            problems.append(f"{where} stands for two keys, {key!r} and {names[parent, str(key)]!r}")
    if problems:
        raise GraphError(
            "flax names states by text, so the keys of a tree must be strings or integers and differ as text: "
            + "; ".join(problems)
        )
    return Layout.of(layout.parents, map(str, layout.keys), layout.leaves, layout.specs)
