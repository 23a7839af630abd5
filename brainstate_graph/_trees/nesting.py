"""Between dictionaries and the places of a layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._core.errors import GraphError
from .._core.layout import Layout, Path
from .._tools.words import dotted

__all__ = ["conflicts", "find_by_path", "find_nested", "nested", "unnested"]


def nested(layout: Layout, item: Callable[[int], Any], name: Callable[[Any], Any] = lambda key: key) -> dict[Any, Any]:
    """Return nested dictionaries by ``name(key)`` with ``item(place)`` at the ends; levels without values are empty."""
    root: dict[Any, Any] = {}
    made: list[Any] = []
    for entry, (parent, key) in enumerate(layout.entries):
        place = layout.place_of.get(entry)
        value = {} if place is None else item(place)
        made.append(value)
        (root if parent < 0 else made[parent])[name(key)] = value
    return root


def unnested(
    items: Mapping[Any, Any], of_tree: Callable[[Any], tuple[Layout, Sequence[Any]] | None]
) -> tuple[list[tuple[int, Any]], list[int], list[Any]]:
    """Return the steps into a nested mapping and what it holds at the ends, as the entries and leaves of a layout.

    Args:
        items: The mapping; state trees may be among what it holds.
        of_tree: Gives the layout and the items of a state tree, None for anything else.

    Returns:
        The entries, the leaves, and the item of each leaf.
    """
    entries: list[tuple[int, Any]] = []
    leaves: list[int] = []
    found: list[Any] = []
    above: set[int] = set()
    stack: list[tuple[int, Any, bool]] = [(-1, items, False)]
    while stack:
        entry, item, done = stack.pop()
        if done:
            above.remove(id(item))
        elif (parts := of_tree(item)) is not None:
            layout, first = parts[0], len(entries)
            entries.extend((entry if parent < 0 else first + parent, key) for parent, key in layout.entries)
            leaves.extend(entry if leaf < 0 else first + leaf for leaf in layout.leaves)
            found.extend(parts[1])
        elif isinstance(item, Mapping):
            if id(item) in above:
                raise GraphError(f"the mapping below the key {entries[entry][1]!r} holds itself")
            above.add(id(item))
            stack.append((entry, item, True))
            for key, value in item.items():
                entries.append((entry, key))
                stack.append((len(entries) - 1, value, False))
        else:
            leaves.append(entry)
            found.append(item)
    return entries, leaves, found


def conflicts(layout: Layout) -> list[str]:
    """Say which paths are empty or the beginning of another, so that no nested dictionary can hold both."""
    if not layout.place_of.keys() & {parent for parent, _ in layout.entries} and -1 not in layout.place_of:
        return []
    first_below = dict(reversed(layout.entries))
    found = []
    for place, leaf in enumerate(layout.leaves):
        path = layout.path(place) if leaf < 0 or leaf in first_below else None
        if path is not None:
            below = f", {dotted((*path, first_below[leaf]))}" if leaf in first_below else ""
            found.append(f"the path {dotted(path)} is the beginning of another{below}")
    return found


# A path that is not in the layout, from its end: the keys above as such a pair (or None), and the last key.
_Link = tuple[Any, Any] | None


def _path(link: _Link) -> Path:
    keys: list[Any] = []
    while link is not None:
        link, key = link
        keys.append(key)
    return tuple(reversed(keys))


def find_nested(layout: Layout, data: Mapping[Any, Any], values: Sequence[Any]) -> tuple[dict[int, Any], list[Path]]:
    """Look up what nested dictionaries hold.

    Args:
        layout: The paths that are expected.
        data: The dictionaries. Where the layout has a value, a dictionary is a level unless the value is one too.
        values: The present value of each place.

    Returns:
        What was found for each place, and the paths that are not in the layout.
    """
    found: dict[int, Any] = {}
    strange: list[Path] = []
    stack: list[tuple[int | None, _Link, Any]] = [(-1, None, data)]
    while stack:
        entry, link, item = stack.pop()
        place = None if entry is None else layout.place_of.get(entry)
        level = isinstance(item, Mapping)
        if place is not None and (not level or isinstance(values[place], Mapping)):
            found[place] = item
        elif level:
            above = entry if place is None else None
            for key, value in item.items():
                below = None if above is None else layout.steps.get((above, key))
                stack.append((below, (link, key), value))
        else:
            strange.append(_path(link))
    return found, strange[::-1]


def find_by_path(layout: Layout, data: Mapping[Path, Any]) -> tuple[dict[int, Any], list[Path]]:
    """Look up what a dictionary by paths holds: for each place the value, and the paths that are not in the layout."""
    found: dict[int, Any] = {}
    strange: list[Path] = []
    for path, value in data.items():
        entry = layout.find(path) if isinstance(path, tuple) else None
        place = None if entry is None else layout.place_of.get(entry)
        if place is None:
            strange.append(path if isinstance(path, tuple) else (path,))
        else:
            found[place] = value
    return found, strange
