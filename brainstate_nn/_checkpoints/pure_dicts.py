"""Pure dictionaries: a model as plain dictionaries of arrays with string keys, and strictly back in.

The names are the paths, ``layers.0.weight``, so a checkpoint reads like everybody's. A value that is a tree of arrays
has a name for each of them, and a state that is held in several places has one name. Structure comes from the live
model, never from the data. All files and checkpoints of this package go through these dictionaries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from brainstate_graph import Any as AnyOf
from brainstate_graph import Filter, FlattedDict, GraphError, NestedDict, update_states
from brainstate_graph.extend import deleted_leaf

from .._core.arrays import is_key
from .._core.paths import Path, dotted_name, dotted_names, first_paths, leaf_paths, refuse_nothing, state_arrays
from .._core.replacement import aval_text, replacement

__all__ = [
    "LoadReport",
    "Rename",
    "aliases",
    "as_nested",
    "from_flat_dict",
    "from_pure_dict",
    "further_names",
    "leaves_by_path",
    "names_by_new_name",
    "renaming",
    "to_flat_dict",
    "to_pure_dict",
]

Rename = Mapping[str, str] | Callable[[str], str | None] | Iterable[tuple[str, str | None]]


class LoadReport(NamedTuple):
    """The names that did not find their counterpart; empty, so False under ``any``, where all did.

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
    return {dotted_name(path): leaf for path, leaf in leaves_by_path(node_or_tree, *filters).items()}


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
    return as_nested(leaves_by_path(node_or_tree, *filters).items())


def leaves_by_path(node_or_tree: Any, *filters: Filter) -> dict[tuple[str, ...], Any]:
    """Return the arrays of states by path, whose keys are spelled as strings.

    Raises:
        GraphError: Two paths would have one name.
    """
    if isinstance(node_or_tree, (NestedDict, FlattedDict)):
        tree = node_or_tree.to_flat()
        tree = tree.filter(AnyOf(*filters)) if filters else tree
        found = [leaf_paths(path, value)[:2] for path, value in tree.to_dict_values().items()]
        pairs = [pair for paths, leaves in found for pair in zip(paths, leaves, strict=True)]
        dotted_names([path for path, _ in pairs])  # refuses those that would be one
    else:
        found = [(arrays.paths, arrays.leaves) for arrays in state_arrays(node_or_tree, filters)]
        pairs = [pair for paths, leaves in found for pair in zip(paths, leaves, strict=True)]
    return {tuple(map(str, path)): leaf for path, leaf in pairs}


def as_nested(pairs: Iterable[tuple[Sequence[str], Any]]) -> dict[str, Any]:
    """Return nested dictionaries with a leaf at each path."""
    root: dict[str, Any] = {}
    for path, leaf in pairs:
        inner = root
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = leaf
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
    return {dotted_name(other): dotted_name(first) for other, first in first_paths(node).items()}


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
        strict: False to load what both have, and to return the names of the rest. Shapes and dtypes must fit in any
            case.
        rename: How names in the data become names in the model. A mapping; or a function, which returns None to leave
            a name out; or pairs of a regular expression and what replaces each match, None to leave the name out. All
            pairs are applied, in their order.
        cast: True to give floats the float dtype of the model, and whole numbers its integer dtype where they fit.

    Returns:
        What is missing and what is unexpected; both are empty where `strict`.

    Raises:
        GraphError: A name is missing or unexpected, or an array has another shape or dtype; the message lists all. Or
            the filters select no state.

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
        raise TypeError(f"data must be a dictionary of arrays by name, not a {type(data).__name__}")
    if filters:
        refuse_nothing(node, filters, "nothing is loaded")
    problems: list[str] = []
    given = names_by_new_name(data, rename, problems)
    missing: list[str] = []
    chosen: list[Any] = []
    values: list[Any] = []
    for arrays in state_arrays(node, filters):
        new = list(arrays.leaves)
        for i, (name, leaf) in enumerate(zip(arrays.names, arrays.leaves, strict=True)):
            names = [name, *map(dotted_name, arrays.alias_paths(i))]
            item = _take(names, given, data, problems)
            if item is _NOTHING:
                missing.append(name)
            else:
                new[i] = replacement(name, leaf, item, cast, problems)
        # States of which the data has nothing are not written, so that they count as unchanged.
        if any(a is not b for a, b in zip(new, arrays.leaves, strict=True)):
            chosen.append(arrays.state)
            values.append(jax.tree.unflatten(arrays.treedef, new))
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
        raise TypeError(f"data must be made of dictionaries, lists and arrays, as from `to_pure_dict`, not {data!r}")
    return from_flat_dict(node, flat, *filters, strict=strict, rename=rename, cast=cast)


_NOTHING: Any = object()


def _walk(path: Path, data: Any) -> Iterable[tuple[Path, Any]]:
    """Iterate over the leaves of nested containers of any kind, as others restore them, with their paths."""
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


def names_by_new_name(data: Iterable[str], rename: Rename | None, problems: list[str]) -> dict[str, str]:
    """Return for each name in the model the name in the data; arrays are not looked at, since they may be in a file."""
    new_name = renaming(rename)
    given: dict[str, str] = {}
    for old in data:
        name = new_name(old)
        if name is None:
            continue
        if name in given:
            problems.append(f"{given[name]} and {old} are both renamed to {name}")
        given[name] = old
    return given


def further_names(
    tied: Mapping[str, str], stored: Collection[str], node: Any, filters: Sequence[Filter], rename: Rename | None
) -> tuple[dict[str, str], Rename | None]:
    """Find the other names of what is stored by which the model knows it.

    Args:
        tied: For each other name that a state had when it was saved the one under which it is stored.
        stored: The names under which arrays are stored.
        node: The model that is loaded.
        filters: Which states of it.
        rename: As for `from_flat_dict`.

    Returns:
        The further names, each with the one that is stored; and a `rename` that leaves out the stored name where only a
        further one is known in the model.
    """
    if not tied:
        return {}, rename
    new_name = renaming(rename)
    live = to_flat_dict(node, *filters)
    known = {*live, *aliases(node)}
    taken = set(map(new_name, stored))
    further: dict[str, str] = {}
    for other, first in tied.items():
        new = new_name(other)
        if first in stored and new not in taken and (new in live or (new in known and new_name(first) not in known)):
            further[other] = first
    replaced = {first for first in further.values() if new_name(first) not in known}
    return further, lambda name: None if name in replaced else new_name(name)


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
            "rename must be a mapping of names, a function, or pairs of a regular expression and its replacement, as "
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


def _take(names: list[str], given: dict[str, str], data: Mapping[str, Any], problems: list[str]) -> Any:
    """Return what the data has under the names of one array, and take these names out of `given`."""
    present = [name for name in names if name in given]
    if not present:
        return _NOTHING
    # A tied weight may stand in the data under several names, if the arrays are equal.
    first, *rest = items = [data[given.pop(name)] for name in present]
    lost = [item for item in items if deleted_leaf(item) is not None]
    if lost:
        return lost[0]  # of which `replacement` says so
    if len(items) > 1 and not all(other is first or _same_bits(first, other) for other in rest):
        problems.append(f"{' and '.join(present)} are one state in the model, but differ in the data")
    return first


def _same_bits(one: Any, other: Any) -> bool:
    if aval_text(one) != aval_text(other):
        return False
    one, other = (jax.random.key_data(x) if is_key(x) else x for x in (one, other))
    # By bits: nan equals itself here, and 0.0 is not -0.0.
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()
