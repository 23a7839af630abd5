"""Nested dictionaries and layouts: what a dictionary holds, by the indices of the values of a layout, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .._core.errors import GraphError
from .._core.layout import Layout, Path
from .._tools.words import dotted

__all__ = ["conflicts", "find_by_path", "find_nested", "nested", "respelled", "unnested"]


def nested(layout: Layout, item: Callable[[int], Any]) -> dict[Any, Any]:
    """Return nested dictionaries with ``item(index)`` of each value at the ends; levels without values are empty."""
    root: dict[Any, Any] = {}
    made: list[Any] = []
    for step, (parent, key) in enumerate(layout.steps()):
        index = layout.index_at.get(step)
        value = {} if index is None else item(index)
        made.append(value)
        (root if parent < 0 else made[parent])[key] = value
    return root


def unnested(
    items: Mapping[Any, Any], of_tree: Callable[[Any], tuple[Layout, Sequence[Any]] | None]
) -> tuple[list[tuple[int, Any]], list[int], list[Any]]:
    """Return the steps into a nested mapping and what it holds at the ends, as the steps and leaves of a layout.

    Args:
        items: The mapping; state trees may be among what it holds.
        of_tree: Gives the layout and the items of a state tree, None for anything else.

    Returns:
        The steps, the leaves, and the item of each leaf.
    """
    steps: list[tuple[int, Any]] = []
    leaves: list[int] = []
    found: list[Any] = []
    # Each mapping is on the stack twice: to be entered, and below its contents to be left. What is entered and not left
    # is above all that comes next, so a mapping that is met there again holds itself.
    above: set[int] = set()
    stack: list[tuple[int, Any, bool]] = [(-1, items, False)]
    while stack:
        step, item, done = stack.pop()
        if done:
            above.remove(id(item))
        elif (parts := of_tree(item)) is not None:
            layout, first = parts[0], len(steps)
            steps.extend((step if parent < 0 else first + parent, key) for parent, key in layout.steps())
            leaves.extend(step if leaf < 0 else first + leaf for leaf in layout.leaves)
            found.extend(parts[1])
        elif isinstance(item, Mapping):
            if id(item) in above:
                raise GraphError(f"the mapping below the key {steps[step][1]!r} holds itself")
            above.add(id(item))
            stack.append((step, item, True))
            for key, value in item.items():
                steps.append((step, key))
                stack.append((len(steps) - 1, value, False))
        else:
            leaves.append(step)
            found.append(item)
    return steps, leaves, found


def conflicts(layout: Layout) -> list[str]:
    """Say which paths are empty or the beginning of another, so that no nested dictionary can hold both."""
    if not layout.index_at.keys() & {parent for parent, _ in layout.steps()} and -1 not in layout.index_at:
        return []
    first_below = dict(reversed(list(layout.steps())))
    found = []
    for index, leaf in enumerate(layout.leaves):
        path = layout.path(index) if leaf < 0 or leaf in first_below else None
        if path is not None:
            below = f", {dotted((*path, first_below[leaf]))}" if leaf in first_below else ""
            found.append(f"the path {dotted(path)} is the beginning of another{below}")
    return found


def respelled(layout: Layout, key: Any) -> Path | None:
    """Return the path that somebody means who writes it as dotted text, or with text in place of numbers."""
    parts = key.split(".") if isinstance(key, str) else list(map(str, key)) if isinstance(key, tuple) else [str(key)]
    path: list[Any] = []
    step: int | None = -1
    for part in parts:
        number = int(part) if part.isdecimal() else part
        found = next((one for one in (part, number) if (step, one) in layout.step_below), None)
        if found is None:
            return None
        step = layout.step_below[step, found]
        path.append(found)
    return tuple(path)


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
        values: The present values.

    Returns:
        What was found, by the index of the value, and the paths that are not in the layout.
    """
    found: dict[int, Any] = {}
    unexpected: list[Path] = []
    stack: list[tuple[int | None, _Link, Any]] = [(-1, None, data)]
    while stack:
        step, link, item = stack.pop()
        index = None if step is None else layout.index_at.get(step)
        level = isinstance(item, Mapping)
        if index is not None and (not level or isinstance(values[index], Mapping)):
            found[index] = item
        elif level:
            above = step if index is None else None
            for key, value in item.items():
                below = None if above is None else layout.step_below.get((above, key))
                stack.append((below, (link, key), value))
        else:
            unexpected.append(_path(link))
    return found, unexpected[::-1]


def find_by_path(layout: Layout, data: Mapping[Path, Any]) -> tuple[dict[int, Any], list[Path]]:
    """Look up what a dictionary by paths holds: the values by index, and the paths that are not in the layout."""
    found: dict[int, Any] = {}
    unexpected: list[Path] = []
    for path, value in data.items():
        step = layout.find(path) if isinstance(path, tuple) else None
        index = None if step is None else layout.index_at.get(step)
        if index is None:
            unexpected.append(path if isinstance(path, tuple) else (path,))
        else:
            found[index] = value
    return found, unexpected
