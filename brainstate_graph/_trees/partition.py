"""Items given to filters: each to the first that accepts it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any as AnyType

from .._tools.words import dotted, some
from .filters import All, Any, BaseFilter, Everything, Filter, Named, Not, asks_for_path, to_predicate

__all__ = ["depends_on_shape", "partition"]


def depends_on_shape(filter: Filter) -> bool:
    """Tell whether what a filter selects depends on the shape alone, so that it can be remembered with it."""
    return filter is ... or isinstance(filter, (type, str)) or (isinstance(filter, BaseFilter) and filter.static)


def partition(
    filters: Sequence[Filter],
    path_of: Callable[[int], tuple[AnyType, ...]],
    item_of: Callable[[int], AnyType],
    count: int,
    exhaustive: bool,
) -> tuple[list[int], ...]:
    """Give each of `count` items to the first filter that accepts it.

    What has *split* in its name loses nothing: it calls this with `exhaustive`. All else (`states`, `nodes`,
    `treefy_states`, ``filter``, ...) returns what was asked for, and leaves out the rest. In both, ``...`` takes what
    is left, so it stands last; several may.

    Raises:
        ValueError: `exhaustive`, and no filter accepts some item; or ``...`` stands before another filter; or a text is
            a tag of some items and the path of others.
    """
    predicates = [to_predicate(f) for f in filters]
    for earlier, later in itertools.pairwise(predicates):
        if isinstance(earlier, Everything) and not isinstance(later, Everything):
            raise ValueError("`...` takes all that is left, so it stands last among the filters")
    # Paths are made only where a filter looks at them: in a deep model they are long.
    by_path = any(map(asks_for_path, predicates))
    groups: tuple[list[int], ...] = tuple([] for _ in predicates)
    rest: list[int] = []
    for named in _texts(predicates):
        items = [(i, item_of(i)) for i in range(count)]
        tagged = {i for i, item in items if named.is_tag_of(item)}
        if tagged:
            named.one_meaning(tagged, {i for i in range(count) if named.is_at(path_of(i))})
    for i in range(count):
        item = item_of(i)
        path = path_of(i) if by_path else ()
        for predicate, group in zip(predicates, groups, strict=True):
            if predicate(path, item):
                group.append(i)
                break
        else:
            rest.append(i)
    if rest and exhaustive:
        raise ValueError(
            f"Non-exhaustive filters: no filter accepts {some([dotted(path_of(i)) for i in rest])}. Add `...` as the "
            "last filter to take the rest."
        )
    return groups


def _texts(predicates: Sequence[AnyType]) -> Iterator[Named]:
    """Iterate over the texts in predicates."""
    for predicate in predicates:
        if isinstance(predicate, Named):
            yield predicate
        elif isinstance(predicate, (All, Any, Not)):
            yield from _texts(predicate.parts)
