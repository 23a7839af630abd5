"""``save_model`` and ``load_model``: a whole model in one file, its shape and its states, without pickle.

The shape is the JSON of a GraphDef. A second GraphDef, the *value trees*, has the values that are trees of arrays, with
a State in the place of each array: so the graph package reads and checks trees too. No constructor runs, and a file
names only what is allowed, so it may come from anybody.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax

from brainstate_graph import (
    FlattedDict,
    GraphDef,
    GraphError,
    Node,
    State,
    from_json,
    graphdef,
    states,
    to_json,
    treefy_merge,
)

from .._core.paths import alias_paths, dotted_name, dotted_names, leaf_paths
from .._layers import activations as _activations
from .container import open_contents, save_contents
from .leaves import as_jax
from .pure_dicts import to_flat_dict
from .state_files import tied_names

__all__ = ["allowed_names", "load_model", "merged_model", "save_model", "value_trees"]

_ARRAY = jax.tree.structure(0)
# Levels of a value tree; each takes frames of Python.
_NESTING = 100


def save_model(path: str | os.PathLike[str], model: Any, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a model to one file: its classes by name, its settings, and all its states.

    The file is one of `save_states` with the GraphDef beside the arrays, so `load_states` reads it as well.

    Args:
        path: The file, in the format of its suffix as for `save_states`.
        model: A Node, or a container of them.
        metadata: Texts for other readers.

    Raises:
        GraphError: A setting has no form in a file, such as a lambda or a transformation of optax; the message has all
            the paths. Nothing was written.

    Example:
        >>> import os, tempfile
        >>> from brainstate_nn import Linear, Sequential, load_model, relu, save_model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_model(os.path.join(folder, "model.safetensors"), Sequential(Linear(2, 3), relu))
        ...     load_model(os.path.join(folder, "model.safetensors"))[0]
        Linear(in_size=2, out_size=3, weight=ParamState(f32[2,3]), bias=ParamState(f32[3]))  # ParamState 9 (36 B)
    """
    shape = graphdef(model)
    if not isinstance(model, (Node, list, tuple, dict)):
        raise TypeError(f"save_model takes a model, not a {type(model).__name__}: write `save_states(path, tree)`")
    flat = to_flat_dict(model)
    texts = {"graphdef": to_json(shape), "trees": to_json(graphdef(value_trees(model)))}
    save_contents(path, flat, tied_names(model, flat), metadata, **texts)


def load_model(path: str | os.PathLike[str], allow: Iterable[Any] = ()) -> Any:
    """Make the model of a file of `save_model`, which may come from anybody.

    No constructor runs. The file may name the classes and activations of this package and what `allow` lists, and
    nothing else is imported or looked up.

    Args:
        path: The file.
        allow: Classes and functions of yours, and modules or names of modules for all that is defined in them.

    Returns:
        The model, with its arrays on the default device.

    Raises:
        GraphError: The file names what is not allowed, or holds no such model.
        ValueError: The file is damaged, or something else.

    Example:
        >>> import os, tempfile
        >>> from brainstate_nn import Linear, load_model, save_model
        >>> model = Linear(2, 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_model(os.path.join(folder, "model.safetensors"), model)
        ...     copy = load_model(os.path.join(folder, "model.safetensors"))
        >>> bool((copy.weight.value == model.weight.value).all())
        True
    """
    allowed = allowed_names(allow)
    with open_contents(path) as contents:
        if "graphdef" not in contents.more:
            raise ValueError(
                f"{path} holds states without their model: make the model, and write `load_states(path, model)`"
            )
        texts = [str(contents.more.get(name)) for name in ("graphdef", "trees")]
        try:
            shape, trees = (from_json(text, allowed) for text in texts)
            return merged_model(shape, trees, contents)
        except GraphError as error:
            text = str(error).replace("from_json(text, ", "load_model(path, ")
            raise GraphError(f"{os.fspath(path)}: {text}") from None


def allowed_names(allow: Iterable[Any]) -> list[Any]:
    """Return what a file may name: what every file may, and what the user lists."""
    if isinstance(allow, (str, type)) or not isinstance(allow, Iterable):
        raise TypeError(f"`allow` must be a list: write `allow=[{allow!r}]`")
    return [*_allowed_always(), *allow]


def _allowed_always() -> Iterator[Any]:
    """Iterate over what every file may name: classes that models are made of, and functions from arrays to an array.

    Not the whole package: a layer that calls a function could be made to call `save_states`.
    """
    public = vars(sys.modules[__name__.partition(".")[0]])
    for thing in public.values():
        if isinstance(thing, type) and issubclass(thing, (Node, State, public["Transform"])):
            yield thing
    for name in (*_activations.__all__, "max_pool", "min_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool"):
        yield public[name]
    yield jax.nn.dot_product_attention


def value_trees(model: Any) -> dict[str, Any]:
    """Return the values that are no single array by the name of their state, with a State for each array."""
    values = states(model).to_dict_values()
    found: dict[str, Any] = {}
    for name, value in zip(dotted_names(list(values)), values.values(), strict=True):
        treedef = jax.tree.structure(value)
        if treedef != _ARRAY:
            found[name] = jax.tree.unflatten(treedef, [State(0) for _ in range(treedef.num_leaves)])
    return found


def merged_model(shape: GraphDef, trees: GraphDef, contents: Any) -> Any:
    """Put a model together.

    Args:
        shape: Its GraphDef.
        trees: The GraphDef of its value trees.
        contents: A mapping from dotted name to leaf, with their `kinds`.

    Raises:
        GraphError: The three do not fit each other.
    """
    by_name = _trees_by_name(trees)
    taken: set[str] = set()
    values: list[tuple[tuple[Any, ...], Any]] = []
    others: dict[Any, list[Any]] = {}
    for other, first in alias_paths(shape).items():
        others.setdefault(first, []).append(other)
    for row in shape.state_rows:
        path = shape.path(row)
        tree = by_name.pop(dotted_name(path), _ONE_ARRAY)
        # A file names what is shared in the order in which the model was defined, which its shape does not tell.
        found = [leaf_paths(held, tree) for held in (path, *others.get(path, ()))]
        inner, leaves, treedef = next((f for f in found if all(dotted_name(p) in contents for p in f[0])), found[0])
        names = list(map(dotted_name, inner))
        for name, leaf in zip(names, leaves, strict=True):
            if type(leaf) is not State or name in taken or name not in contents:
                # Raised at once, and not with a list, so that no file can make an endless message.
                raise GraphError(f"the file has no array for {name:.200}")
            taken.add(name)
        values.append((path, jax.tree.unflatten(treedef, [_leaf(contents, name) for name in names])))
    if by_name or len(taken) < len(contents):
        raise GraphError(f"the model has no {min({*by_name, *(set(contents) - taken)})}, which the file has")
    return treefy_merge(shape, FlattedDict.from_flat(values))


_ONE_ARRAY = State(0)


def _leaf(contents: Any, name: str) -> Any:
    leaf = contents[name]
    try:
        return as_jax(leaf, contents.kinds.get(name, ""))
    except ValueError as error:
        raise GraphError(f"{name}: {error}") from None


def _trees_by_name(trees: GraphDef) -> dict[str, Any]:
    """Return the value trees, with a State for each array, by the name of their state."""
    depths = [0]
    for above in trees.steps[0]:
        depths.append(depths[above + 1] + 1)
    # A part that is shared makes no tree: JAX would take it apart once for each place, 2^60 times in a small file.
    if max(depths) > _NESTING or len(trees.targets) >= len(trees.rows):
        raise GraphError("its trees of states are invalid")
    found = treefy_merge(trees, FlattedDict.from_flat([(trees.path(row), 0) for row in trees.state_rows]))
    if type(found) is not dict or not all(type(name) is str for name in found):
        raise GraphError("its trees of states have no names")
    return found
