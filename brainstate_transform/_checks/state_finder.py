"""``StateFinder``: the states that a function uses for given arguments, by a dry run.

What a function *reaches* by name is known without running it; what it *uses* is told by a trace alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from types import UnionType
from typing import Any

from brainstate_graph import State, states, to_predicate
from brainstate_graph.extend import dotted

from .._engine.core import Core, Run
from .._engine.lift import lift
from .._engine.values import NO_STATES, StateValues, Written
from .._messages.boundary import boundary
from .._selection.select import select
from .dry_run import dry_run

__all__ = ["StateFinder"]


class StateFinder:
    """Finds the states that a function uses for given arguments, without computing anything.

    Args:
        fn: The function.
        filter: Which states: a selector as for ``wrt``; all if None.
        usage: ``"all"``; ``"read"``, for those read and not written; ``"write"``; or ``"both"``, for a dict with the
            keys ``"read"`` and ``"write"``.
        return_type: ``"dict"``, ``"list"`` or ``"tuple"``.
        key_fn: ``key_fn(index, state)`` returns the key in a dict, or None for the usual one: the dotted path from the
            function on, as selectors take it, such as ``net.weight``. A key that is there already gets a number.

    Raises:
        ValueError: An option is none of these.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import StateFinder
        >>> w, b = State(2.0), State(0.0)
        >>> def f(x, w=w, b=b):
        ...     b.value = w.value * x
        >>> StateFinder(f)(1.0)
        {'w': State(2.0), 'b': State(0.0)}
        >>> StateFinder(f, usage="write", return_type="list")(1.0)
        [State(0.0)]
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        filter: Any = None,
        *,
        usage: str = "all",
        return_type: str = "dict",
        key_fn: Callable[[int, State[Any]], Hashable] | None = None,
    ) -> None:
        for name, option, known in (
            ("usage", usage, ("all", "read", "write", "both")), ("return_type", return_type, ("dict", "list", "tuple")),
        ):  # fmt: skip
            if option not in known:
                raise ValueError(
                    f"StateFinder does not know {name}={option!r}: use one of {', '.join(map(repr, known))}"
                )
        if key_fn is not None and not callable(key_fn):
            raise TypeError(f"key_fn of StateFinder must be a function of an index and a State, not {key_fn!r}")
        self.fn = fn
        self.filter = filter
        self.usage = usage
        self.return_type = return_type
        self.key_fn = key_fn
        self._find = lift(self._rule, fn)

    @boundary
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the states that ``fn(*args, **kwargs)`` uses."""
        return self._find(*args, **kwargs)

    def _rule(self, core: Core) -> Run:
        def run(_: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            _, written, used = dry_run(core, args, kwargs)
            writes = {state for state, _ in written.items()}
            paths = {s: dotted(path) for path, s in states(core.touched_graph().root).items()}
            used = [state for state in used if self._wanted(core)(state, state in paths)]
            parts = {
                "all": used,
                "read": [state for state in used if state not in writes],
                "write": [state for state in used if state in writes],
            }
            found = {name: self._arranged(part, paths) for name, part in parts.items()}
            both = {name: found[name] for name in ("read", "write")}
            return (both if self.usage == "both" else found[self.usage]), NO_STATES.as_written()

        return run

    def _wanted(self, core: Core) -> Callable[[State[Any], bool], bool]:
        """What the filter accepts: a function of a state, and of whether it is in the touched graph."""
        if self.filter is None:
            return lambda state, inside: True
        chosen = set(select(self.filter, core, "filter").states)
        # Of a state beyond the graph no path is known, so only a kind or tag can mean it.
        beyond = to_predicate(self.filter) if isinstance(self.filter, (str, type, UnionType)) else None
        return lambda state, inside: state in chosen or (not inside and beyond is not None and beyond((), state))

    def _arranged(self, found: list[State[Any]], paths: dict[State[Any], str]) -> Any:
        if self.return_type != "dict":
            return found if self.return_type == "list" else tuple(found)
        keyed: dict[Hashable, State[Any]] = {}
        for index, state in enumerate(found):
            key = self.key_fn(index, state) if self.key_fn else None
            if key is None:
                key = paths.get(state) or state.name or f"state_{index}"
            if not isinstance(key, Hashable):
                key = str(key)
            plain, number = key, 2
            while key in keyed:
                key, number = f"{plain}_{number}", number + 1
            keyed[key] = state
        return keyed
