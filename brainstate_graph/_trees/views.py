"""Views of the values and items of a flat state tree, for which no path is made that nobody asks for."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, ValuesView
from typing import Any

__all__ = ["TreeItems", "TreeValues"]


class TreeValues(ValuesView[Any]):
    """The values, as `FlattedDict.values` gives them."""

    __slots__ = ("_tree",)

    def __init__(self, tree: Any) -> None:
        super().__init__(tree)
        self._tree = tree

    def __iter__(self) -> Iterator[Any]:
        return map(self._tree._item, range(len(self._tree)))


class TreeItems(ItemsView[Any, Any]):
    """The pairs of path and value, as `FlattedDict.items` gives them."""

    __slots__ = ("_tree",)

    def __init__(self, tree: Any) -> None:
        super().__init__(tree)
        self._tree = tree

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return zip(self._tree._layout.paths, self._tree.values(), strict=True)
