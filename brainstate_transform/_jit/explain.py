"""``explain``: the traces of a compiled function, and the words that say why it was traced again.

`TraceLog` notes each trace as data.  The words are made when a user asks for them.  A call that finds its program notes
nothing.
"""

from __future__ import annotations

import inspect
import itertools
import math
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from brainstate_graph import GraphDef, Snapshot, State, diff
from brainstate_graph.extend import describe, dotted, locate

from .._engine.placeholders import Constant, Slot
from .._engine.touched import Inputs, root_name
from .._engine.values import Outcome

__all__ = ["Explanation", "StateUse", "Trace", "TraceLog"]

_KEPT = 64  # traces that are remembered
_IN_A_ROW = 3  # retraces with one cause in the function itself that are worth a warning
_LEAF = jax.tree.structure(0)
_PREFIXES = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


class StateUse(NamedTuple):
    """A state that a program uses.

    Attributes:
        path: Where it is, from the name by which the function knows the model.
        shape: Its shapes and dtypes, in words.
        nbytes: Its size in bytes.
        written: Whether the program writes it.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import jit
        >>> count = State(0)
        >>> jit(lambda x, count=count: x + count.value).explain(1).states[0]
        StateUse(path='count', shape='i32[]', nbytes=4, written=False)
    """

    path: str
    shape: str
    nbytes: int
    written: bool


class Explanation:
    """What is known about the programs of a compiled function; as text, a report.

    Attributes:
        name: The function.
        traces: How often it was traced.
        programs: How many different kinds of calls it was traced for, of the last 64 traces.
        states: The states that the program uses.
        reasons: What was different when it was traced, compared to the most similar trace before.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import jit
        >>> count = State(0)
        >>> @jit
        ... def step(x, count=count):
        ...     count.value += 1
        ...     return x
        >>> _ = step(1.0), step(1)
        >>> print(step.explain())
        `step` was traced 2 times, for 2 kinds of calls.
        It uses 1 state, 4 B:
          count  i32[]  4 B  written
        It was traced last because, compared to the most similar trace before,
          argument x: f32[] weak is now i32[] weak
    """

    def __init__(
        self, name: str, traces: int, programs: int, states: Sequence[StateUse], reasons: Sequence[str] | None
    ) -> None:
        self.name = name
        self.traces = traces
        self.programs = programs
        self.states = tuple(states)
        self.reasons = None if reasons is None else tuple(reasons)

    def __str__(self) -> str:
        if not self.traces:
            return f"`{self.name}` was not traced yet."
        lines = [
            f"`{self.name}` was traced {_count(self.traces, 'time')}, for {_count(self.programs, 'kind')} of calls."
        ]
        if self.states:
            lines.append(f"It uses {_count(len(self.states), 'state')}, {_size(sum(s.nbytes for s in self.states))}:")
            table = [(s.path, s.shape, _size(s.nbytes), "written" if s.written else "read") for s in self.states]
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            lines += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
        else:
            lines.append("It uses no state.")
        if self.reasons is not None:
            lines.append("It was traced last because, compared to the most similar trace before,")
            lines += [f"  {reason}" for reason in self.reasons or [_OTHER]]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Explanation of {self.name!r}>"


_OTHER = "nothing of its own changed: it is JAX's configuration, mesh or other context, or its cache was cleared"


class Trace(NamedTuple):
    """One trace of a function."""

    shape: GraphDef
    hooks: Any
    strays: dict[int, weakref.ref[State[Any]]]
    leaves: tuple[Any, ...]  # of the arguments: a placeholder, or a value in the abstract
    structure: Any  # of the arguments
    values: Any  # the values of the states of the graph, in structure
    avals: tuple[Any, ...]  # their leaves
    fun: Callable[..., Any]
    used: tuple[int, ...] = ()
    written: tuple[int, ...] = ()

    def key(self) -> tuple[Any, ...]:
        return self.shape, self.hooks, tuple(self.strays), self.leaves, self.structure, self.values, self.avals

    @staticmethod
    def of(inputs: Inputs, values: Sequence[Any], args: Any, kwargs: Any, fun: Callable[..., Any]) -> Trace:
        """Return a trace of `fun` with these values of the states, and these arguments."""
        strays = {number: weakref.ref(state) for number, state in inputs.graph.strays.items()}
        found, structure = jax.tree.flatten((args, kwargs), is_leaf=_is_static)
        leaves = tuple([x if isinstance(x, (Constant, Slot)) else jax.typeof(x) for x in found])
        return Trace(inputs.key.shape, inputs.key.hooks, strays, leaves, structure, *_abstract(list(values)), fun)

    def named(self) -> list[tuple[str, Any]]:
        """The leaves of the arguments by name."""
        parameters = _parameters(self.fun)
        numbered = jax.tree.unflatten(self.structure, range(len(self.leaves)))
        return [(_name(path, parameters), self.leaves[i]) for path, i in jax.tree_util.tree_leaves_with_path(numbered)]

    @property
    def arguments(self) -> dict[str, str]:
        """The leaves that are no nodes, in words by name."""
        return {name: _argument(leaf) for name, leaf in self.named() if not isinstance(leaf, Slot)}

    @property
    def nodes(self) -> dict[Any, str]:
        """The names of the arguments that are nodes, by the names that they have in the touched graph."""
        return {root_name(leaf.item): name for name, leaf in self.named() if isinstance(leaf, Slot)}

    def each(self) -> list[tuple[Any, tuple[Any, ...]]]:
        """The value of each state in the abstract: its structure and its leaves."""
        leaves = iter(self.avals)
        return [(part, tuple(itertools.islice(leaves, part.num_leaves))) for part in self.values.children()]

    def changes(self, before: Trace) -> list[str]:
        """Say what is different from an earlier trace."""
        changes: list[str] = []
        old, new = before.arguments, self.arguments
        both = [name for name in new if name in old and old[name] != new[name]]
        changes += [f"argument {name}: {old[name]} is now {new[name]}" for name in both]
        changes += [f"argument {name} is new: {text}" for name, text in new.items() if name not in old]
        changes += [f"argument {name} is gone" for name in old if name not in new]
        if not changes and before.structure != self.structure:
            changes.append(f"the containers of the arguments: {before.structure} is now {self.structure}")
        nodes = self.nodes
        graph = [change.spelled(nodes) for change in diff(before.shape, self.shape)]
        if not graph and before.hooks != self.hooks:
            changes.append("hooks of the states")
        if not graph and before.strays == self.strays:
            names = self.names()
            changes += [
                f"{names[i]}: {_words(old)} is now {_words(new)}"
                for i, (old, new) in enumerate(zip(before.each(), self.each(), strict=True))
                if old != new
            ]
        return changes + graph

    def path(self, path: tuple[Any, ...]) -> str:
        """Spell a path in the touched graph from the name by which the function knows the model."""
        return dotted((self.nodes.get(path[0], path[0]), *path[1:]) if path else path)

    def names(self) -> list[str]:
        """The names of the states of the graph: their paths from the names by which the function knows the models."""
        paths = [self.path(self.shape.path(row)) for row in self.shape.state_rows]
        strays = [locate(state) if (state := stray()) is not None else "a state" for stray in self.strays.values()]
        return _distinct([*paths, *strays])

    def states(self) -> list[StateUse]:
        names, values = self.names(), self.each()
        return [StateUse(names[i], _shape(values[i]), _nbytes(values[i]), i in self.written) for i in self.used]


class TraceLog:
    """The traces of one function.

    Args:
        fun: The user's function.
        user: Its name.
    """

    def __init__(self, fun: Callable[..., Any], user: str) -> None:
        self.fun = fun
        self.user = user
        self.count = 0
        self.traces: deque[Trace] = deque(maxlen=_KEPT)
        self._noting = threading.Lock()
        self._cause: str | None = None  # the attribute that was the only cause of the last trace
        self._in_a_row = 0

    def note(self, inputs: Inputs, values: Sequence[Any], args: Any, kwargs: Any, outcome: Outcome) -> None:
        """Note a trace; warn where the function itself makes each call trace anew."""
        trace = Trace.of(inputs, values, args, kwargs, self.fun)
        trace = trace._replace(used=outcome.used or (), written=outcome.states)
        changed = Snapshot.enabled and not inputs.is_current()  # without the cache it never is
        with self._noting:
            before = self.traces[-1] if self.traces else None
            self.traces.append(trace)
            self.count += 1
            cause = _only_cause(before, trace) if changed and before is not None else None
            self._in_a_row = (
                self._in_a_row + 1 if cause is not None and cause == self._cause else int(cause is not None)
            )
            self._cause = cause
            in_a_row = self._in_a_row
        if cause is not None and in_a_row == _IN_A_ROW:
            self._warn(cause)

    def _warn(self, cause: str) -> None:
        warnings.warn(
            f"`{self.user}` is traced again at each call, because it changes {cause} itself, which is part of "
            "its program. Make it a State, or assign it outside of the compiled function.",
            stacklevel=2,
        )

    def forget(self) -> None:
        """Forget the traces."""
        with self._noting:
            self.traces.clear()
            self.count = self._in_a_row = 0
            self._cause = None

    def explain(self, like: Trace | None = None) -> Explanation:
        """Explain the last trace, or the one that was made for such a call."""
        with self._noting:
            traces, count = list(self.traces), self.count
        if not traces:
            return Explanation(self.user, 0, 0, [], None)
        number = len(traces) - 1
        if like is not None:
            number = next((n for n in reversed(range(len(traces))) if traces[n].key() == like.key()), number)
        trace, earlier = traces[number], traces[:number]
        reasons = min((trace.changes(old) for old in reversed(earlier)), key=len) if earlier else None
        programs = len({trace.key() for trace in traces})
        return Explanation(self.user, count, programs, trace.states(), reasons)


def _only_cause(before: Trace, trace: Trace) -> str | None:
    """Return the place in the touched graph that is the only difference between two traces."""
    if (before.leaves, before.structure) != (trace.leaves, trace.structure):
        return None
    places = {change.path for change in diff(before.shape, trace.shape)}
    return trace.path(places.pop()) if len(places) == 1 else None


def _is_static(item: Any) -> bool:
    return isinstance(item, (Constant, Slot))


def _argument(leaf: Any) -> str:
    return f"static {leaf.item!r}" if isinstance(leaf, Constant) else _words((_LEAF, (leaf,)))


def _parameters(fun: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):  # builtins have none
        return []


def _name(path: tuple[Any, ...], parameters: Sequence[inspect.Parameter]) -> str:
    key = path[1].key if path[0].idx else path[1].idx
    if not path[0].idx:
        named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")
        key = named[key] if key < len(named) else f"{rest}[{key - len(named)}]"
    return f"{key}{jax.tree_util.keystr(path[2:])}"


def _distinct(names: Sequence[str]) -> list[str]:
    counts: dict[str, int] = {}
    distinct: list[str] = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        distinct.append(name if counts[name] == 1 else f"{name}#{counts[name]}")
    return distinct


def _abstract(value: Any) -> tuple[Any, tuple[Any, ...]]:
    leaves, treedef = jax.tree.flatten(value)
    return treedef, tuple(map(jax.typeof, leaves))


def _shape(abstract: tuple[Any, tuple[Any, ...]]) -> str:
    treedef, avals = abstract
    return describe(jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]))


def _words(abstract: tuple[Any, tuple[Any, ...]]) -> str:
    weak = " weak" if any(getattr(aval, "weak_type", False) for aval in abstract[1]) else ""
    return _shape(abstract) + weak


def _nbytes(abstract: tuple[Any, tuple[Any, ...]]) -> int:
    return sum(math.prod(aval.shape) * aval.dtype.itemsize for aval in abstract[1])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _size(nbytes: int) -> str:
    for unit, prefix in _PREFIXES:
        if nbytes >= unit:
            return f"{nbytes / unit:.1f} {prefix}"
    return f"{nbytes} B"
