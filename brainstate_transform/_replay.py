"""The compiled form of a ``StatefulFunction``: a kept trace, given the whole touched graph by structure.

So a warm call is one of ``jax.jit``: JAX compares structure, shapes and dtypes of states and arguments in C++, and only
where it does not know them yet is the trace for them looked up, or made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import jaxpr_as_fun

from brainstate_graph import Node, State, Static
from brainstate_graph.extend import untraced

from ._core import Moved, Retry, StagedCore, StraysMet
from ._lift import Staged
from ._program import UNUSED, constant
from ._touched import Plan
from ._traces import Entry, StaticKey
from ._values import Choice, Rows, StateValues

__all__ = ["Find", "Replay", "unwrapped", "wrapped"]

# Of a touched graph and the arguments of a call: the trace (None where JAX does not compile), the arguments as the user
# gave them, and the dynamic ones.
Find = Callable[[Plan, tuple[Any, ...], dict[str, Any]], tuple[Entry | None, tuple[Any, ...], dict[str, Any], Any]]


class _Other(Retry):
    """The trace uses other states of the touched graph than are passed."""

    def __init__(self, places: tuple[int, ...] | None) -> None:
        super().__init__()
        self.places = places


class _ReplayCore(StagedCore):
    find: Find

    def __call__(self, _states_: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        which = _states_.which
        assert isinstance(which, Rows)
        plan, choice = which.plan, which.choice
        entry, args, kwargs, dynamic = self.find(plan, args, kwargs)
        if entry is not None and self.moved(plan):
            raise Moved
        if entry is None:  # JAX does not compile, and so does not trace
            return super().__call__(_states_, *args, **kwargs)
        table = plan.table
        taken = which.places
        if entry.seals:  # its result has nodes of this call, but the program serves others too: it is traced with them
            if len(taken) < len(table):
                raise _Other(None)
            return super().__call__(_states_, *args, **kwargs)
        places = {id(state): place for place, state in enumerate(table)}
        strays = [state for state in entry.trace.states if id(state) not in places]
        if strays:
            raise StraysMet(strays)
        rows = [places[id(state)] for state in entry.trace.states]
        used = {*rows, *(taken if choice is not None else ())}
        if not used.issubset(taken) or (choice is None and untraced() and len(table) - len(used) >= UNUSED):
            raise _Other(tuple(sorted(used)))
        given = dict(zip(taken, _states_.values, strict=True))
        flat = jaxpr_as_fun(entry.jaxpr)(*jax.tree.leaves(([given[row] for row in rows], *dynamic)))
        out, new = jax.tree.unflatten(jax.tree.structure(entry.out_shapes), flat)
        written = [(row, v) for row, v, w in zip(rows, new, entry.trace.been_writen, strict=True) if w]
        number = self._number((tuple(row for row, _ in written), tuple(sorted(rows)), False))
        return out, ([v for _, v in written], ((),) * number)


class Replay(Staged):
    """A function that replays its traces.

    Args:
        fun: The user's function.
        find: Finds the trace.
        prepare: What is done to the arguments before JAX sees them, or None.
    """

    _core = _ReplayCore
    cores: tuple[_ReplayCore, ...]  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, fun: Callable[..., Any], find: Find, prepare: Any) -> None:
        self._prepare = prepare
        super().__init__(jax.jit, (fun,), None, None)
        self.cores[0].find = find
        self.cores[0].frozen = True  # a jaxpr has no place for a change of structure

    def _other_plan(self, again: Retry, plan: Plan, args: Any, kwargs: Any) -> Plan:
        if not isinstance(again, _Other):
            return super()._other_plan(again, plan, args, kwargs)
        return self._touched.choose(plan, None if again.places is None else Choice(again.places))

    def clear(self) -> None:
        """Forget the compiled programs."""
        self._run.clear_cache()  # pyright: ignore[reportFunctionMemberAccess] - of ``jax.jit``


def wrapped(value: Any) -> Any:
    """Put what JAX takes without looking inside for a static argument; nodes and States in it stay, to be sealed."""
    if isinstance(value, (Node, State)):
        return value
    if any(isinstance(leaf, (Node, State)) for leaf in jax.tree.leaves(value)):
        return jax.tree.map(wrapped, value)
    StaticKey(value)  # refuses what it cannot compare
    return constant(value)


def unwrapped(value: Any) -> Any:
    """Return the static argument again."""
    return jax.tree.map(lambda x: x.value if _is_constant(x) else x, value, is_leaf=_is_constant)


def _is_constant(value: Any) -> bool:
    return isinstance(value, Static) and type(value) is not Static
