"""``Overlay`` and ``Journal``: what a function changes while it is traced, kept apart from the model.

*Overlay*: a mapping from State to value that a transform opens around the function that it traces.  Reads and writes of
``State.value`` go to it instead of the State.  Overlays stack: a read asks the top one, then those below, then the
State itself; a write goes to the top one.  So tracing never touches a live State.  Whatever happens inside, dropping
the overlay leaves every State as it was, and no tracer can be found in one.

*Journal*: the attributes of nodes that a piece of code sets.  They are set at once, as a traced function must see what
it has set; the journal notes what they were.  One that ends with an exception puts them back.  Both ways it hands its
notes to the journal around it.  Each overlay opens one.

Each overlay has a *token*, under which JAX keeps what it traces meanwhile: see ``_tools/tokens.py``.

How a value is read and written is in `door`, above this file; here is only where values are.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from jax.extend.core import get_opaque_trace_state

from .._tools import constants
from .._tools.tokens import Lease, Shelf, staging, without_leases
from . import hooks
from .clock import NodeBase, clock, raw_fields

if TYPE_CHECKING:
    from .state import State

__all__ = [
    "ABSENT", "NO_TRACE", "Edit", "Journal", "Overlay", "at_home", "be_busy", "in_raw_trace", "note_constants",
    "note_edit", "note_possible_reads", "outside", "put_field", "stack", "tracing", "untraced",
]  # fmt: skip

# The JAX trace when nothing is traced.  Traces are compared with ``==`` and nothing else.  Code that is called often
# asks for the trace itself: a function around it takes a fifth of the time to make a State.
NO_TRACE = get_opaque_trace_state()


class _Stack(threading.local):
    top: Overlay | None = None
    journal: Journal | None = None
    tree_check = False  # whether `check_state_value_tree` is on
    left: Any = None  # the trace that this thread has left for a moment, see `outside`


stack = _Stack()
_lock = threading.Lock()
# How many overlays are open in the whole process.  Outside tracing the door looks at this module
# global only: 10 ns, where the thread-local costs 50 ns and would double a plain read.
open_count = 0
# ... and how many overlays, hooks and states with a check there are: what a single read or write looks at.
busy = 0
# ... and how many journals: what setting an attribute looks at.
journal_count = 0


# -- attributes of nodes -----------------------------------------------------------------------------------------------


class _Absent:
    """What an attribute is that is not there."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT: Any = _Absent()


class Edit(NamedTuple):
    """An attribute that was set or deleted.

    Attributes:
        node: The node.
        name: The name of the attribute.
        old: Its value before, or ABSENT.
        new: Its value now, or ABSENT.
    """

    node: Any
    name: str
    old: Any
    new: Any


class Journal:
    """A block in which changes of attributes are noted, and undone if it ends with an exception.

    Example:
        >>> from brainstate_graph import Node
        >>> from brainstate_graph.extend import Journal
        >>> node = Node()
        >>> node.rate = 1
        >>> with Journal() as journal:
        ...     node.rate = 2
        >>> [(edit.name, edit.old, edit.new) for edit in journal.edits()]
        [('rate', 1, 2)]
    """

    __slots__ = ("_parent", "_since", "notes")

    def __init__(self) -> None:
        self.notes: dict[tuple[int, str], tuple[NodeBase, str, Any]] = {}  # the nodes in it keep their ids
        self._parent: Journal | None = None
        self._since = 0

    def __enter__(self) -> Journal:
        global journal_count
        self._since = clock.now
        self._parent, stack.journal = stack.journal, self
        with _lock:
            journal_count += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        global journal_count
        with _lock:
            journal_count -= 1
        inner = stack.journal
        while inner is not None and inner is not self:
            self._take(inner)  # was left open above this one, and ends with it
            inner = inner._parent
        if inner is self:
            stack.journal = self._parent
        if kind is not None:
            self.undo()
        if self._parent is not None and self.notes:  # what was put back too: it was this thread that changed the node
            self._parent._take(self)
        self._parent = None

    def note(self, node: NodeBase, name: str) -> None:
        """Note what an attribute is, before it changes; only the first time counts."""
        if node.__graph__.born <= self._since:  # what was made inside is nobody's business outside
            self.notes.setdefault((id(node), name), (node, name, raw_fields(node).get(name, ABSENT)))

    def _take(self, other: Journal) -> None:
        for key, entry in other.notes.items():
            if entry[0].__graph__.born <= self._since:
                self.notes.setdefault(key, entry)

    def disturbed(self, nodes: Iterable[NodeBase]) -> bool:
        """Tell whether another thread has set attributes of these nodes since, even if to what they were."""
        noted = self.noted
        records = [node.__graph__ for node in nodes if id(node) not in noted]
        return any([record.born <= self._since < record.tick for record in records])

    @property
    def noted(self) -> set[int]:
        """The ids of the nodes whose attributes were set, even if to what they were."""
        return {number for number, _ in self.notes}

    def edits(self) -> list[Edit]:
        """Return what has changed."""
        found = [Edit(n, name, old, raw_fields(n).get(name, ABSENT)) for n, name, old in self.notes.values()]
        return [edit for edit in found if edit.new is not edit.old]

    def undo(self, edits: Iterable[Edit] | None = None) -> None:
        """Put back what has changed, or some of it."""
        for node, name, old, _ in self.edits() if edits is None else edits:
            _store(node, name, old)


def note_edit(node: NodeBase, name: str) -> None:
    """Note in the journal of this thread, if there is one, that an attribute is about to change."""
    journal = stack.journal
    if journal is not None:
        journal.note(node, name)


def _store(node: NodeBase, name: str, value: Any) -> None:
    # As of a plain dict, where it was handed out too (see `fields`): what is put back is no further change.
    if value is ABSENT:
        dict.pop(raw_fields(node), name, None)
    else:
        dict.__setitem__(raw_fields(node), name, value)
    clock.stamp(node)


def put_field(node: NodeBase, name: str, value: Any) -> None:
    """Set an attribute, or delete it where `value` is ABSENT, past any ``__setattr__`` of the class.

    Example:
        >>> from brainstate_graph import Node
        >>> from brainstate_graph.extend import put_field
        >>> node = Node()
        >>> put_field(node, "rate", 2)
        >>> node.rate
        2
    """
    note_edit(node, name)
    _store(node, name, value)


# -- values of states --------------------------------------------------------------------------------------------------

# In `Overlay.reads`, of a state that nothing reads but a derivative rule of the user's, if JAX ever runs that.
_POSSIBLY: Any = object()


class Overlay:
    """The values of states during one trace: a context manager that a transform opens and closes.

    Attributes:
        reads: States read through this overlay, in the order of first access; those too that only a derivative rule may
            read later, see `uses`.
        writes: States assigned in it that existed before it, in the order of first assignment.
        journal: The attributes of nodes that were set in it.
        births: The states made in it, with the trace in which each was made.
        since: The tick of the clock when it was opened: nodes born later were made inside.
        user: The code of the user's function where a transform of ours runs that; None else. All traces between it and
            the overlay around it are of that transform, and what is read through it is a constant of none.
        shelf: The shelf of that function, see `Shelf`, and the key of its program; None where it needs none.

    Example:
        >>> from brainstate_graph import Overlay, State
        >>> s = State(1.0)
        >>> with Overlay() as overlay:
        ...     s.value = s.value + 1.0
        >>> s.value, overlay.written()
        (1.0, [(State(1.0), 2.0)])
    """

    __slots__ = (
        "_lease", "_open", "_parent", "_raw", "_trace", "_values", "births", "journal", "reads", "shelf", "since",
        "user", "writes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.reads: dict[State[Any], Any] = {}
        self.writes: dict[State[Any], None] = {}
        self._values: dict[State[Any], Any] = {}
        self.births: dict[State[Any], Any] = {}  # state -> the trace it was made in
        self._open = False
        self._parent: Overlay | None = None
        self._trace: Any = None
        self._lease: Any = None
        self._raw = False  # whether JAX may keep the trace that it was opened in, as that is none of ours
        self.user: Any = None
        self.shelf: tuple[Shelf, Any] | None = None
        self.journal = Journal()
        self.since = 0

    def bind(self, states: Iterable[State[Any]], values: Iterable[Any]) -> None:
        """Give states the values that they have inside; neither a read nor a write of them."""
        self._values.update(zip(states, values, strict=True))

    def created(self, state: State[Any]) -> bool:
        """Tell whether `state` was made while this overlay was on top."""
        return state in self.births

    def uses(self, state: State[Any]) -> bool:
        """Tell whether a state was read or written, and is not one that only a derivative rule may read later."""
        return state in self.writes or self.reads.get(state, _POSSIBLY) is None

    def written(self) -> list[tuple[State[Any], Any]]:
        """Return each state assigned inside with the last value that it got."""
        return [(state, self._values[state]) for state in self.writes]

    def made(self) -> list[tuple[State[Any], Any]]:
        """Return the states made inside that something still holds, and their last values; the overlay lets go of them.

        Call it when the function has ended and its result is taken apart.
        """
        alive = weakref.WeakKeyDictionary[Any, Any]()
        while self.births:
            state, _ = self.births.popitem()
            self.reads.pop(state, None)
            alive[state] = self._values.pop(state)
            del state
        return list(alive.items())[::-1]

    def note(self, constants: Iterable[State[Any]]) -> None:
        """Note that states are constants of a trace that JAX may keep, which it has made while this was on top."""
        self._lease.note(constants)

    def assigned(self, states: Iterable[State[Any]]) -> None:
        """See to it that JAX finds no trace in which one of these states is a constant; before they are assigned."""
        self._lease.assigned(states)

    def enter(self, state: State[Any], value: Any) -> Any:
        """Decide what a read that falls through this overlay finds; a transform may override it."""
        return value

    def born(self, state: State[Any], value: Any, trace: Any) -> None:
        """Take in a state that is made while this overlay is on top; a transform may add to its metadata."""
        self._values[state] = value
        self.births[state] = trace

    def __enter__(self) -> Overlay:
        global busy, open_count
        if self._open:
            raise RuntimeError("this Overlay is open already: make another one, `with Overlay() as overlay:`")
        self._open = True
        self._raw = self.user is None and in_raw_trace()
        self._parent = stack.top
        self._trace = get_opaque_trace_state()
        self.since = clock.now
        with _lock:
            busy += 1
            open_count += 1
        self._lease = Lease(self.user, self._raw, self.shelf)
        stack.top = self
        self.journal.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        global busy, open_count
        self.journal.__exit__(*error)
        layer = stack.top
        while layer is not None and layer is not self:
            layer = layer._parent
        if layer is self:  # what was left open above it ends with it; what ended so has nothing to end any more
            stack.top = self._parent
            self._lease.end()
        self._parent = None
        self._open = False
        with _lock:
            busy -= 1
            open_count -= 1


def in_raw_trace() -> bool:
    """Tell whether the code runs in a trace that is not that of the overlay on top, and that JAX may keep."""
    top = stack.top
    return top is not None and not top._trace == get_opaque_trace_state() and staging()  # noqa: SIM201 - `!=` is slower


def note_constants(states: Iterable[State[Any]]) -> None:
    """Note of states that are read whether they are constants of a trace that JAX may keep."""
    if in_raw_trace() and (top := stack.top) is not None:
        top.note(states)


def note_possible_reads(states: Iterable[State[Any]]) -> None:
    """Note states that a derivative rule may read, if JAX runs it when this function is differentiated."""
    for state in states:
        layer = stack.top
        while layer is not None:
            layer.reads.setdefault(state, _POSSIBLY)
            layer = None if state in layer._values else layer._parent


def at_home(state: State[Any]) -> bool:
    """Tell whether the code runs in the trace in which the state is written; not in one of JAX's inside of that."""
    top, now = stack.top, get_opaque_trace_state()
    if top is not None:
        return bool(top.births.get(state, top._trace) == now)
    return bool(now == NO_TRACE or now == getattr(state, "_birth", None))  # what was made inside may live outside


def be_busy(by: int) -> None:
    """Count something more or less that makes single reads and writes take the long way, as hooks do."""
    global busy
    with _lock:
        busy += by


hooks.listeners.append(be_busy)
constants.listeners.append(be_busy)


def tracing() -> bool:
    """Tell whether this thread has an overlay open."""
    return stack.top is not None


def untraced() -> bool:
    """Tell whether this thread traces nothing, neither with an overlay nor in JAX alone."""
    return stack.top is None and get_opaque_trace_state() == NO_TRACE


@contextmanager
def outside() -> Generator[None]:
    """Leave every overlay of this thread for a moment, to make a State that outlives the trace.

    Example:
        >>> from brainstate_graph import Overlay, State, outside
        >>> with Overlay():
        ...     with outside():
        ...         s = State(1.0)
        >>> s.value
        1.0
    """
    top, stack.top = stack.top, None
    left, stack.left = stack.left, get_opaque_trace_state()
    try:
        with without_leases(), jax.ensure_compile_time_eval():
            yield
    finally:
        stack.top, stack.left = top, left
