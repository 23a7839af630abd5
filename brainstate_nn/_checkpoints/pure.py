"""Models as plain dictionaries with string keys, and strictly back in.

The names are the paths, ``layers.0.weight``, so a checkpoint reads like everybody's.  A value that is a tree of arrays
has a name for each of them, and a state that is held in several places stands once.  Structure comes from the live
model, never from the data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from brainstate_graph import Any as AnyOf
from brainstate_graph import Filter, FlattedDict, GraphError, NestedDict, graphdef, states, update_states

from .._core.names import alias_paths, dotted_name, dotted_names, leaf_names
from .._core.placing import is_key
from .._core.replacing import describe, fitted

__all__ = [
    "LoadReport",
    "Rename",
    "aliases",
    "from_flat_dict",
    "from_pure_dict",
    "renaming",
    "to_flat_dict",
    "to_pure_dict",
]

Path = tuple[Any, ...]
Rename = Mapping[str, str] | Callable[[str], str | None] | Iterable[tuple[str, str | None]]


class LoadReport(NamedTuple):
    """What did not find its counterpart; empty, so False under ``any``, where all did.

    Attributes:
        missing: The names in the model that the data has not; these states kept their values.
        unexpected: The names in the data that the model has not, before they were renamed.

    Example:
        >>> from brainstate_nn import Linear, from_flat_dict, to_flat_dict
        >>> data = {"weight": Linear(2, 3).weight.value, "scale": 1.0}
        >>> missing, unexpected = from_flat_dict(Linear(2, 3), data, strict=False)
        >>> missing, unexpected
        (('bias',), ('scale',))
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]


def to_flat_dict(node_or_tree: Any, *filters: Filter) -> dict[str, Any]:
    """Return the arrays of states by dotted name, each once.

    Args:
        node_or_tree: A Node, a container of them, or a state tree.
        *filters: Which states; None for all.

    Returns:
        The arrays as they are, on their devices; nothing is copied.

    Raises:
        GraphError: Two paths would have one name.

    Example:
        >>> from brainstate_nn import Linear, to_flat_dict
        >>> {name: array.shape for name, array in to_flat_dict([Linear(2, 3)]).items()}
        {'0.bias': (3,), '0.weight': (2, 3)}
    """
    paths, leaves = _leaves(node_or_tree, filters)
    return dict(zip(dotted_names(paths), leaves, strict=True))


def to_pure_dict(node_or_tree: Any, *filters: Filter) -> dict[str, Any]:
    """Return the arrays of states as nested dictionaries with string keys: the form for orbax and other tools.

    Args:
        node_or_tree: A Node, a container of them, or a state tree.
        *filters: Which states; None for all.

    Returns:
        The arrays as they are, on their devices; nothing is copied.

    Raises:
        GraphError: Two paths would have one name.

    Example:
        >>> import jax
        >>> from brainstate_nn import Linear, to_pure_dict
        >>> jax.tree.map(lambda array: array.shape, to_pure_dict([Linear(2, 3)]))
        {'0': {'bias': (3,), 'weight': (2, 3)}}
    """
    paths, leaves = _leaves(node_or_tree, filters)
    dotted_names(paths)  # refuses those that would be one
    root: dict[str, Any] = {}
    for path, leaf in zip(paths, leaves, strict=True):
        inner = root
        for key in path[:-1]:
            inner = inner.setdefault(str(key), {})
        inner[str(path[-1])] = leaf
    return root


def aliases(node: Any) -> dict[str, str]:
    """Return the other names of states that a model holds in several places, as tied weights.

    Args:
        node: A Node, or a container of them.

    Returns:
        For each other name the one under which `to_flat_dict` has the state.

    Example:
        >>> from brainstate_nn import Linear, aliases
        >>> one, two = Linear(2, 2), Linear(2, 2)
        >>> two.weight = one.weight
        >>> aliases([one, two])
        {'1.weight': '0.weight'}
    """
    return {dotted_name(other): dotted_name(first) for other, first in alias_paths(graphdef(node)).items()}


def from_flat_dict(
    node: Any,
    data: Mapping[str, Any],
    *filters: Filter,
    strict: bool = True,
    rename: Rename | None = None,
    cast: bool = False,
) -> LoadReport:
    """Write arrays by dotted name to the live states; all of them or, where something does not fit, none.

    Each array goes where the one before it was: on its devices, and under its sharding. A model of shapes is filled.

    Args:
        node: A Node, or a container of them.
        data: Arrays by name, as from `to_flat_dict`. A state that is held in several places may have any of its names.
        *filters: Which states of `node` the names stand for; None for all.
        strict: False to load what both have, and to be told of the rest. Shapes and dtypes must fit all the same.
        rename: What a name in the data is in the model: a mapping, a function that returns None for what is to be left
            out, or pairs of a regular expression and what takes the place of each match (None to leave the name out),
            applied one after the other.
        cast: True to give floats the float dtype of the model, and whole numbers its integer dtype where they fit.

    Returns:
        What is missing and what is unexpected; both are empty where `strict`.

    Raises:
        GraphError: A name is missing or unexpected, or an array has another shape or dtype; the message lists all.

    Example:
        >>> from brainstate_nn import Linear, from_flat_dict, to_flat_dict
        >>> first, second = Linear(2, 3), Linear(2, 3)
        >>> from_flat_dict(second, to_flat_dict(first))
        LoadReport(missing=(), unexpected=())
        >>> old = {"kernel": first.weight.value}
        >>> from_flat_dict(second, old, rename={"kernel": "weight"}, strict=False)
        LoadReport(missing=('bias',), unexpected=())
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"data is a dictionary of arrays by name, not a {type(data).__name__}")
    found: FlattedDict = _live(node, filters)
    problems: list[str] = []
    given = _renamed(data, rename, problems)
    others: dict[Path, list[Path]] = {}
    for other, first in alias_paths(graphdef(node)).items():
        others.setdefault(first, []).append(other)
    taken = [(path, state, *leaf_names(path, state.value)) for path, state in found.items()]
    names = iter(dotted_names([inner for _, _, paths, _, _ in taken for inner in paths]))
    missing: list[str] = []
    chosen: list[Any] = []
    values: list[Any] = []
    for path, state, paths, leaves, treedef in taken:
        new = list(leaves)
        for i, (inner, leaf) in enumerate(zip(paths, leaves, strict=True)):
            name = next(names)
            also = [dotted_name((*other, *inner[len(path) :])) for other in others.get(path, ())]
            item = _take(name, also, given, data, problems)
            if item is _NONE:
                missing.append(name)
            else:
                new[i] = fitted(name, leaf, item, cast, problems)
        if any(a is not b for a, b in zip(new, leaves, strict=True)):
            chosen.append(state)
            values.append(jax.tree.unflatten(treedef, new))
    unexpected = list(given.values())
    hint = ""
    if strict and (missing or unexpected):
        problems += [f"missing: {name}" for name in missing] + [f"unexpected: {name}" for name in unexpected]
        hint = ". With `rename=` names may differ, and with `strict=False` only what both have is loaded"
    if problems:
        raise GraphError(f"the values do not fit the model, nothing was written: {'; '.join(problems)}{hint}")
    update_states(chosen, FlattedDict.from_flat([((i,), value) for i, value in enumerate(values)]))
    return LoadReport(tuple(missing), tuple(unexpected))


def from_pure_dict(
    node: Any,
    data: Any,
    *filters: Filter,
    strict: bool = True,
    rename: Rename | None = None,
    cast: bool = False,
) -> LoadReport:
    """Write nested dictionaries of arrays to the live states; all of them or, where something does not fit, none.

    Args:
        node: A Node, or a container of them.
        data: Dictionaries, lists and tuples of arrays, as from `to_pure_dict` or restored by orbax; or a state tree.
        *filters: Which states of `node` the names stand for; None for all.
        strict: As for `from_flat_dict`.
        rename: As for `from_flat_dict`; names are dotted.
        cast: As for `from_flat_dict`.

    Returns:
        What is missing and what is unexpected; both are empty where `strict`.

    Raises:
        GraphError: As for `from_flat_dict`.

    Example:
        >>> from brainstate_nn import Linear, from_pure_dict, to_pure_dict
        >>> first, second = [Linear(2, 3)], [Linear(2, 3)]
        >>> from_pure_dict(second, to_pure_dict(first))
        LoadReport(missing=(), unexpected=())
    """
    if isinstance(data, (NestedDict, FlattedDict)):
        flat = to_flat_dict(data)
    elif isinstance(data, (Mapping, list, tuple)):
        pairs = list(_walk((), data))
        flat = dict(zip(dotted_names([path for path, _ in pairs]), [leaf for _, leaf in pairs], strict=True))
    else:
        raise TypeError(f"data is made of dictionaries, lists and arrays, as from `to_pure_dict`, not {data!r}")
    return from_flat_dict(node, flat, *filters, strict=strict, rename=rename, cast=cast)


_NONE: Any = object()


def _live(node: Any, filters: tuple[Filter, ...]) -> FlattedDict:
    return states(node, *((AnyOf(*filters),) if filters else ()))


def _leaves(node_or_tree: Any, filters: tuple[Filter, ...]) -> tuple[list[Path], list[Any]]:
    if isinstance(node_or_tree, (NestedDict, FlattedDict)):
        tree = node_or_tree.to_flat()
        tree = tree.filter(AnyOf(*filters)) if filters else tree
    else:
        tree = _live(node_or_tree, filters)
    paths: list[Path] = []
    leaves: list[Any] = []
    for path, value in tree.to_dict_values().items():
        inner, found, _ = leaf_names(path, value)
        paths += inner
        leaves += found
    return paths, leaves


def _walk(path: Path, data: Any) -> Iterable[tuple[Path, Any]]:
    if isinstance(data, Mapping):
        items = data.items()
    elif hasattr(data, "_fields"):
        items = zip(data._fields, data, strict=True)
    elif isinstance(data, (list, tuple)):
        items = enumerate(data)
    elif data is None:
        return
    else:
        yield path, data
        return
    for key, value in items:
        yield from _walk((*path, key), value)


def _renamed(data: Iterable[str], rename: Rename | None, problems: list[str]) -> dict[str, str]:
    """Return the name in the data for each in the model; arrays are looked up singly, since they may be in a file."""
    new_name = renaming(rename)
    given: dict[str, str] = {}
    for old in data:
        name = new_name(old)
        if name is None:
            continue
        if name in given:
            problems.append(f"{given[name]} and {old} are both renamed {name}")
        given[name] = old
    return given


def renaming(rename: Rename | None) -> Callable[[str], str | None]:
    """Return the function that `rename` stands for.

    Raises:
        TypeError: It stands for none.
    """
    if rename is None:
        return lambda name: name
    if isinstance(rename, Mapping):
        names: Mapping[Any, str] = rename
        return lambda name: names.get(name, name)
    if callable(rename):
        return rename
    try:
        pairs = [(re.compile(pattern), instead) for pattern, instead in rename]
    except (TypeError, ValueError, re.error) as error:
        raise TypeError(
            "rename is a mapping of names, a function, or pairs of a regular expression and what takes its place, as "
            f'in `rename=[(r"^h\\.", "blocks.")]`: {error}'
        ) from error

    def apply(name: str) -> str | None:
        for pattern, instead in pairs:
            if instead is not None:
                name = pattern.sub(instead, name)
            elif pattern.search(name):
                return None
        return name

    return apply


def _take(name: str, also: list[str], given: dict[str, str], data: Mapping[str, Any], problems: list[str]) -> Any:
    """Return what the data has under the names of one state, and strike these off what is given."""
    present = [n for n in (name, *also) if n in given]
    if not present:
        return _NONE
    first, *rest = items = [data[given.pop(n)] for n in present]
    if len(items) > 1 and not all(other is first or _equal(first, other) for other in rest):
        problems.append(f"{' and '.join(present)} are one state in the model, and differ in the data")
    return first


def _equal(one: Any, other: Any) -> bool:
    if describe(one) != describe(other):
        return False
    one, other = (jax.random.key_data(x) if is_key(x) else x for x in (one, other))
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()
