"""Items given to filters: each to the first that accepts it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any as AnyType

from .._core.layout import Layout
from .._tools.words import dotted, some
from .filters import All, Any, BaseFilter, Everything, Filter, Named, Not, asks_for_path, to_predicate

__all__ = ["depends_on_shape", "partition"]


def depends_on_shape(filter: Filter) -> bool:
    """Tell whether what a filter selects depends on the shape alone, so that it can be remembered with it."""
    return filter is ... or isinstance(filter, (type, str)) or (isinstance(filter, BaseFilter) and filter.static)


def partition(
    filters: Sequence[Filter], layout: Layout, item_of: Callable[[int], AnyType], exhaustive: bool
) -> tuple[list[int], ...]:
    """Give each item of a layout to the first filter that accepts it.

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
            raise ValueError("`...` takes all states that are left, so it must be the last filter")
    meant = {text: _meant(text, layout, item_of) for text in _texts(predicates)}
    # Paths are made only where a filter looks at them: in a deep model they are long.
    by_path = any([asks_for_path(predicate) for predicate in predicates if not isinstance(predicate, Named)])
    asked = [meant[p].__contains__ if isinstance(p, Named) else None for p in predicates]
    groups: tuple[list[int], ...] = tuple([] for _ in predicates)
    rest: list[int] = []
    for i in range(len(layout)):
        item = item_of(i)
        path = layout.path(i) if by_path else ()
        for predicate, names, group in zip(predicates, asked, groups, strict=True):
            if predicate(path, item) if names is None else names(i):
                group.append(i)
                break
        else:
            rest.append(i)
    if rest and exhaustive:
        names = some((dotted(layout.path(i)) for i in rest), len(rest))
        raise ValueError(
            f"Non-exhaustive filters: no filter accepts {names}. Add `...` as the last filter to take the rest."
        )
    return groups


def _meant(text: Named, layout: Layout, item_of: Callable[[int], AnyType]) -> Set[int]:
    """Return the indices of what a text names."""
    tagged = {i for i in range(len(layout)) if text.is_tag_of(item_of(i))}
    if text.is_glob:
        return text.one_meaning(tagged, {i for i in range(len(layout)) if text.is_at(layout.path(i))})
    return text.one_meaning(tagged, _at_or_below(text.parts[0], layout) if text.is_path else set[int]())


def _at_or_below(text: str, layout: Layout) -> set[int]:
    """Return the indices of what stands at or below a dotted path, without a look at the rest of a long path."""
    wanted = {-1: text}  # what is still to come after a step; nothing at and below the end of the path
    for step, (parent, key) in enumerate(layout.steps()):
        rest, name = wanted.get(parent), str(key) if parent in wanted else ""
        if rest is None:
            continue
        if rest in ("", name):
            wanted[step] = ""
        elif rest.startswith(f"{name}."):
            wanted[step] = rest[len(name) + 1 :]
    return {i for i, leaf in enumerate(layout.leaves) if wanted.get(leaf) == ""}


def _texts(predicates: Sequence[AnyType]) -> Iterator[Named]:
    """Iterate over the texts in predicates."""
    for predicate in predicates:
        if isinstance(predicate, Named):
            yield predicate
        elif isinstance(predicate, (All, Any, Not)):
            yield from _texts(predicate.parts)
