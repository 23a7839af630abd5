"""``explain``: the traces of a compiled function, and the words that say why it was traced again.

A staged core notes each trace as data (`Trace`) in the `TraceLog`.  The words are made here, when a user asks for them.
A call that finds its program notes nothing.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from brainstate_graph import diff
from brainstate_graph.extend import dotted, locate, warn

from .._engine.core import Core
from .._engine.placeholders import Constant, Slot
from .._engine.touched import Inputs, root_name
from .._engine.values import Trace
from .._places.findings import FUNCTIONS, VARIABLE
from .abstract import LEAF, Abstract, differences, nbytes_of, placed, words_of

__all__ = ["Explanation", "NamedTrace", "StateUse", "TraceLog"]

_KEPT = 64  # traces that are remembered
_IN_A_ROW = 2  # retraces because of one place that are worth a warning: at the third trace
_CROWD = 6  # ... after which, and after each so many more, the programs of earlier values are let go: 2 MB each
_PREFIXES = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


class StateUse(NamedTuple):
    """A state that a program uses.

    Attributes:
        path: Where it is, from the name by which the function knows the model.
        shape: Its shapes and dtypes in words, and how it lies on a mesh.
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
    """A report on the programs of a compiled function: its states, and why it was traced again.

    Attributes:
        name: The function.
        traces: How often it was traced.
        programs: How many different kinds of calls it was traced for, of the last 64 traces.
        states: The states that the program uses.
        reasons: What was different when it was traced, compared to the most similar trace before.
        unwatched: The places that the function reads and that calls do not compare: a change there is not noticed.

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
        self,
        name: str,
        traces: int,
        programs: int,
        states: Sequence[StateUse],
        reasons: Sequence[str] | None,
        unwatched: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.traces = traces
        self.programs = programs
        self.states = tuple(states)
        self.reasons = None if reasons is None else tuple(reasons)
        self.unwatched = tuple(unwatched)

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
        if self.unwatched:
            lines.append("It reads, and a change of it is not seen:")
            lines += [f"  {place}" for place in self.unwatched]
        if self.reasons is not None:
            lines.append("It was traced last because, compared to the most similar trace before,")
            lines += [f"  {reason}" for reason in self.reasons or [_OTHER]]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Explanation of {self.name!r}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # what a notebook shows of it
        printer.text(str(self))


_OTHER = "nothing of its own changed: it is JAX's configuration, mesh or other context, or its cache was cleared"


class NamedTrace:
    """A trace in words: the names of its arguments and states.

    Args:
        trace: The trace.
        core: The core of the function.
    """

    def __init__(self, trace: Trace, core: Core) -> None:
        self.trace = trace
        self.shape = trace.key.shape
        self._strays = core.touched.strays
        parameters = _parameters(core.fun)
        numbered = jax.tree.unflatten(trace.structure, range(len(trace.leaves)))
        self._leaves = [
            (_name(path, parameters), trace.leaves[i])
            for path, i in jax.tree_util.tree_leaves_with_path(numbered)
        ]  # fmt: skip
        # The names of the arguments that are nodes, by the names that they have in the touched graph.
        self._nodes: dict[Any, str] = {root_name(x.item): name for name, x in self._leaves if isinstance(x, Slot)}

    @property
    def arguments(self) -> list[tuple[str, Any]]:
        """The leaves of the arguments that are no nodes, by name."""
        return [(name, leaf) for name, leaf in self._leaves if not isinstance(leaf, Slot)]

    def path(self, path: tuple[Any, ...]) -> str:
        """Spell a path in the touched graph from the name by which the function knows the model."""
        return dotted((self._nodes.get(path[0], path[0]), *path[1:]) if path else path)

    def names(self) -> list[str]:
        """Return the names of the states of the graph: their paths from the names that the function has for models."""
        paths = [self.path(self.shape.path(row)) for row in self.shape.state_rows]
        return _distinct([*paths, *(locate(self._strays[number]) for number in self.trace.key.strays)])

    def _each(self) -> list[Abstract]:
        """Return the value of each state in the abstract: its structure and its leaves."""
        leaves = iter(self.trace.avals)
        return [(part, tuple(itertools.islice(leaves, part.num_leaves))) for part in self.trace.values.children()]

    def states(self) -> list[StateUse]:
        """Return the states that the program uses."""
        names, values, outcome = self.names(), self._each(), self.trace.outcome
        return [
            StateUse(names[i], placed(values[i]), nbytes_of(values[i]), i in outcome.states) for i in outcome.used or ()
        ]

    def changes(self, before: NamedTrace) -> list[str]:
        """Say what is different from an earlier trace."""
        changes: list[str] = []
        old, new = dict(before.arguments), dict(self.arguments)
        for name in new:
            if name in old:
                changes += [f"argument {name}: {a} is now {b}" for a, b in _argument_changes(old[name], new[name])]
        changes += [f"argument {name} is new: {_argument(leaf)}" for name, leaf in new.items() if name not in old]
        changes += [f"argument {name} is gone" for name in old if name not in new]
        if not changes and before.trace.structure != self.trace.structure:
            changes.append(f"the containers of the arguments: {before.trace.structure} is now {self.trace.structure}")
        graph = [change.spelled(self._nodes) for change in diff(before.shape, self.shape)]
        if not graph and before.trace.key.hooks != self.trace.key.hooks:
            changes.append("hooks of the states")
        if not graph and before.trace.key.strays == self.trace.key.strays:
            names = self.names()
            changes += [
                f"{name}{path}: {a} is now {b}"
                for name, old, new in zip(names, before._each(), self._each(), strict=True)
                for path, a, b in differences(old, new)
            ]
        return changes + graph


def _passed(trace: Trace) -> tuple[Any, ...]:
    """Return what a trace was passed, in the abstract."""
    return trace.leaves, trace.structure, trace.values, trace.avals


def _kind(trace: Trace) -> tuple[Any, ...]:
    """Return what tells one kind of call from another."""
    key = trace.key
    return key.shape, key.hooks, key.strays, *_passed(trace)


class TraceLog:
    """The traces of one function.

    Args:
        core: The core of the function.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.traces: deque[Trace] = deque(maxlen=_KEPT)
        self.count = 0
        self.crowded = False  # whether there are so many programs for one place that they are to be let go
        self._cause: str | None = None  # the place that was the only cause of the last trace
        self._in_a_row = 0
        self._nodes: tuple[int, ...] = ()  # the ids of the nodes among the arguments of the last trace

    def noted(self, inputs: Inputs, sets_attributes: bool) -> None:
        """Look whether the function is traced again and again because of one place, and say so."""
        nodes, self._nodes = self._nodes, tuple(map(id, inputs.graph.nodes))
        if self.count < 2:
            return
        before, trace = tuple(self.traces)[-2:]
        cause = self._only_cause(before, trace) if nodes == self._nodes else None  # else it is another model
        self._in_a_row = self._in_a_row + 1 if cause is not None and cause == self._cause else int(cause is not None)
        self._cause = cause
        if cause is None:
            return
        self.crowded = self.crowded or self._in_a_row % _CROWD == 0
        user, place = self.core.__qualname__, cause.removeprefix(VARIABLE)
        if cause.startswith(FUNCTIONS):
            place = "a function that it calls"
        itself = sets_attributes
        if self._in_a_row == _IN_A_ROW + itself:  # it may settle
            if itself:
                why = f"`{user}` is traced again at each call, because it changes {place} itself, which is part of its "
                cure = "program. Make it a State, or assign it outside of the compiled function."
            else:
                why = f"`{user}` was traced three times in a row, each time because {place} was changed, which is part "
                cure = "of its program. Pass it as an argument, or hold it in a State: " + _as_state(place)
            warn(why + cure)

    def _only_cause(self, before: Trace, trace: Trace) -> str | None:
        """Return the place in the touched graph that is the only difference between two traces."""
        if _passed(before) != _passed(trace):
            return None
        places = {change.path for change in diff(before.key.shape, trace.key.shape)}
        path = self.named(trace).path(places.pop()) if len(places) == 1 else None
        return None if path is not None and path.removeprefix(VARIABLE) in self.core.touched.known.own else path

    def named(self, trace: Trace) -> NamedTrace:
        """Return a trace with the names of its arguments and states."""
        return NamedTrace(trace, self.core)

    def forget(self) -> None:
        """Forget the traces."""
        self.traces.clear()
        self.count = self._in_a_row = 0
        self._cause = None
        self.crowded = False

    def explain(self, like: Trace | None = None) -> Explanation:
        """Explain the last trace, or the one that was made for such a call."""
        traces, count, user = list(self.traces), self.count, self.core.__qualname__
        if not traces:
            return Explanation(user, 0, 0, [], None)
        kinds = [_kind(trace) for trace in traces]
        number = len(traces) - 1
        if like is not None:
            number = next((n for n in reversed(range(len(traces))) if kinds[n] == _kind(like)), number)
        trace, earlier = self.named(traces[number]), [self.named(old) for old in reversed(traces[:number])]
        reasons = min((trace.changes(old) for old in earlier), key=len) if earlier else None
        unwatched = self.core.touched.unwatched
        return Explanation(user, count, len(set(kinds)), trace.states(), reasons, unwatched)


def _as_state(place: str) -> str:
    """Return the line that makes a State of what is at a place."""
    setting = re.fullmatch(r"environment\.(?:value\.|block\.)*settings\.(\w+)", place)
    if setting is not None:  # of `brainstate_nn.compat.environ`, which makes a State of an array itself
        return "`environ.set({0}=jnp.asarray({0}))`.".format(*setting.groups())
    return f"`{place} = State({place})`." if place.replace(".", "").isidentifier() else "`State(value)`."


def _argument(leaf: Any) -> str:
    return f"static {leaf.item!r}" if isinstance(leaf, Constant) else words_of((LEAF, (leaf,)))


def _argument_changes(old: Any, new: Any) -> list[tuple[str, str]]:
    """Return how an argument has changed: no time or once."""
    one, other = _argument(old), _argument(new)
    if one == other and not isinstance(new, Constant):
        return [(a, b) for _, a, b in differences((LEAF, (old,)), (LEAF, (new,)))]
    return [(one, other)] if one != other else []


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


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _size(nbytes: int) -> str:
    for unit, prefix in _PREFIXES:
        if nbytes >= unit:
            return f"{nbytes / unit:.1f} {prefix}"
    return f"{nbytes} B"
