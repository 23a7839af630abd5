"""The outline of a graph: its objects in order, each once, up to a limit; the rest is counted.

An *outline* is a tree of lines, from which both the text and the page are made.  An object that was shown before is
named by its path, so sharing and cycles cost one line.  What is not shown is walked once, without recursion, for the
counts.  A *thing* is an object with lines of its own: a node, a state or a container.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, final

import jax

from .._tools.words import Words, amount, dotted
from .appearance import Appearance, Member, opens, registered_class, safe_appearance

__all__ = ["Limits", "Line", "Outline", "outline", "part_footer"]

_LEAVES = 16  # plain values of a list or tuple
_TRIES = 4  # a thing in a list gets at most this part of the room that is left


class Limits(NamedTuple):
    """How much is shown.

    Attributes:
        things: How many nodes, states and containers at most.
        items: How many lines of one of them.
        depth: How many levels.
        method: The name of the method by which a class may print itself in its own way.
    """

    things: int
    items: int
    depth: int
    method: str


@final
class Line:
    """A line of an outline, with those below it.

    Attributes:
        item: What is shown; for a reference and the like the `Words`.
        code: How Python reaches it from the root; None where it does not.
        shown: How it looks; None for a plain value.
        members: The lines below, each with what stands before it.
        left_out: How many lines are not shown for want of room.
        below: How many things are not shown because they are too deep; -1 where depth was no matter.
        own: Whether it has its own way to print itself.
    """

    __slots__ = ("below", "code", "item", "left_out", "members", "own", "shown")

    @property
    def is_layer(self) -> bool:
        """Whether it is a node that holds nothing but states and plain values."""
        return self._is_node and all([below._is_simple for _, below in self.members])

    @property
    def is_part(self) -> bool:
        """Whether it is a node that holds others, or containers."""
        return self._is_node and not self.is_layer

    @property
    def _is_node(self) -> bool:
        return self.shown is not None and self.shown.boxed and not self.own and self.below < 0

    @property
    def _is_simple(self) -> bool:
        return self.shown is None or self.shown.is_state or self.shown.type is tuple

    def __init__(self, item: Any, code: str | None) -> None:
        self.item = item
        self.code = code
        self.shown: Appearance | None = None
        self.members: list[tuple[str, Line]] = []
        self.left_out = 0
        self.below = -1
        self.own = False


class Outline(NamedTuple):
    """What of a graph is shown: the line of the root, and the number of values and bytes by kind of state."""

    root: Line
    counts: dict[str, tuple[int, int]]

    @property
    def boxed(self) -> bool:
        """Whether the root is a node."""
        return self.root.shown is not None and self.root.shown.boxed

    @property
    def footer(self) -> str:
        """The counts in words: ``ParamState 27 (108 B), BatchState 4 (16 B)``; of a lone state none."""
        if self.root.shown is not None and self.root.shown.is_state:
            return ""
        return _in_words(self.counts)


def part_footer(part: Line) -> str:
    """Return the counts of what a part of an outline holds, in words."""
    counter = _Counter()
    if part.shown is not None:
        counter.count_below(part.shown.held)
    return _in_words(counter.counts)


def _in_words(counts: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(
        f"{kind} {values:,}" + (f" ({amount(size)})" if size else "")
        for kind, (values, size) in counts.items()
        if values
    )


def _has_own(kind: type[Any], method: str) -> bool:
    """Tell whether a class has its own `method`: one that stands below the class whose appearance is registered."""
    base = registered_class(kind)
    return base is not None and next((c for c in kind.__mro__ if method in vars(c)), base) not in base.__mro__


# ------------------------------------------------------------------------------------------------ what is shown


@final
class _Counter:
    """Adds up what states hold, each once."""

    def __init__(self) -> None:
        self.seen: dict[Any, Any] = {}  # the objects too: one made for its appearance must not give its id to the next
        self.counts: dict[str, list[int]] = {}

    def add(self, item: Any, shown: Appearance) -> bool:
        """Count an object, if it was not met before; tell whether it was counted."""
        mark = id(item) if shown.mark is None else shown.mark
        if mark in self.seen:
            return False
        self.seen[mark] = item
        if shown.is_state:
            self._add_up(shown)
        return True

    def count_below(self, held: Iterable[Any]) -> int:
        """Count what is held, and all below it, without recursion; return how many things were not met before."""
        found, stack = 0, [held]
        while stack:
            for item in stack.pop():
                shown = safe_appearance(item)
                if shown is not None and self.add(item, shown):
                    found += 1
                    stack.append(shown.held)
        return found

    def _add_up(self, shown: Appearance) -> None:
        count = self.counts.setdefault(shown.counted_as, [0, 0])
        try:
            leaves = jax.tree.leaves(shown.value)
        except Exception:  # a dict whose keys have no order
            return
        for leaf in leaves:
            try:
                size, width = leaf.size, leaf.dtype.itemsize
            except Exception:  # a number of Python
                size, width = 1, 0
            count[0] += size
            count[1] += size * width


@final
class _OutlineMaker:
    """Decides what is shown, and has what is there counted."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.paths: dict[Any, tuple[Any, ...]] = {}
        self.rest: list[tuple[Line, Iterable[Any]]] = []
        self.counter = _Counter()

    def enter(
        self, item: Any, path: tuple[Any, ...], code: str | None, depth: int, room: int
    ) -> tuple[Line, int, bool]:
        """Return the line of `item`, how many things are shown below it, and whether it wanted more room."""
        line, shown = Line(item, code), safe_appearance(item)
        if shown is None:
            return line, 0, False
        mark = id(item) if shown.mark is None else shown.mark
        if shown.shared and mark in self.paths:
            where = dotted(self.paths[mark]) if self.paths[mark] else "the top"
            line.item = Words(f"<the {shown.type.__name__} at {where}>")
            return line, 0, False
        self.paths[mark] = path
        # Counted apart from what is shown: an object may be shown twice, as a tuple is, or not at all.
        self.counter.add(item, shown)
        line.shown = shown
        self.rest.append((line, shown.held))
        line.own = depth > 0 and _has_own(type(item), self.limits.method)
        if line.own:
            return line, 0, False
        members, size, opening = self._members(shown)
        if members and depth == self.limits.depth and any(opening):
            line.below = 0
            return line, 0, False
        used, starved = self._lines(line, members, opening, path, depth, room)
        line.left_out = size - len(line.members)
        return line, used, starved

    def _members(self, shown: Appearance) -> tuple[list[Member], int, list[bool]]:
        """The lines that may be shown, how many there are in all, and for each whether it opens."""
        try:
            members = list(islice(shown.members(), None if shown.size is None else self.limits.items))
        except Exception:
            members = []
        size, members = len(members) if shown.size is None else shown.size, members[: self.limits.items]
        return members, size, [opens(member.value) for member in members]

    def _lines(
        self, line: Line, members: list[Member], opening: list[bool], path: tuple[Any, ...], depth: int, room: int
    ) -> tuple[int, bool]:
        """Give each member its room: an equal one to attributes, in a list as much as it needs to those in front."""
        in_row = line.shown is not None and line.shown.type in (list, tuple)
        leaves, wait, used = (_LEAVES if in_row else self.limits.items), sum(opening), 0
        whole = starved = False
        for member, thing in zip(members, opening, strict=True):
            if (used == room) if thing else not leaves:
                return used, starved or thing
            share = 0
            if thing:
                share = max(room - used - (1 if in_row else wait), 0) // (min(wait, _TRIES) if in_row else wait)
                wait -= 1
            code = None if line.code is None or member.code is None else line.code + member.code
            below, more, torn = self.enter(member.value, path + member.steps, code, depth + 1, share)
            line.members.append((member.label, below))
            used += more + thing
            leaves -= not thing
            starved = starved or torn
            whole = whole or (thing and not torn)
            if in_row and torn and whole:  # those behind it would have even less room
                return used, True
        return used, starved

    def count(self) -> None:
        """Walk what is not shown, for the counts and to say how much it is."""
        for line, held in self.rest:
            found = self.counter.count_below(held)
            if line.below >= 0:
                line.below = found


def outline(root: Any, limits: Limits) -> Outline:
    """Decide what is shown of an object that says how it looks, and count what there is."""
    maker = _OutlineMaker(limits)
    line, _, _ = maker.enter(root, (), "", 0, limits.things)
    maker.count()
    return Outline(line, {kind: (values, size) for kind, (values, size) in maker.counter.counts.items()})
