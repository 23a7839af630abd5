"""``Overlay``: the values of states while a function is traced, kept apart from the model.

*Overlay*: a mapping from State to value that a transform opens around the function that it traces.  Reads and writes of
``State.value`` go to it instead of the State.  Overlays stack: a read asks the top one, then those below, then the
State itself; a write goes to the top one.  So tracing never touches a live State.  Whatever happens inside, dropping
the overlay leaves every State as it was, and no tracer can be found in one.

Each overlay opens a journal, see `journal`, and has a *token*, under which JAX keeps what it traces meanwhile: see
``_tools/tokens.py``.

How a value is read and written is in `door`, above this file; here is only where values are.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jax
from jax.extend.core import get_opaque_trace_state

from .._records import hooks
from .._records.clock import clock
from .._records.journal import Journal, above
from .._tools import constants
from .._tools.tokens import Lease, Shelf, staging, without_leases

if TYPE_CHECKING:
    from .state import State

__all__ = [
    "NO_TRACE", "Overlay", "at_home", "be_busy", "close_above", "in_raw_trace", "note_constants", "note_possible_reads",
    "open_overlay", "outside", "stack", "tracing", "untraced",
]  # fmt: skip

# The JAX trace when nothing is traced.  Traces are compared with ``==`` and nothing else.  Code that is called often
# asks for the trace itself: a function around it takes a fifth of the time to make a State.
NO_TRACE = get_opaque_trace_state()


class _Stack(threading.local):
    top: Overlay | None = None
    tree_check = False  # whether `check_state_value_tree` is on
    left: Any = None  # the trace that this thread has left for a moment, see `outside`


stack = _Stack()
# The overlays that are open in the whole process.  Outside tracing the door looks at this module global only: 10 ns,
# where the thread-local costs 50 ns and would double a plain read.  A set and no count: to take out what is out already
# changes nothing, so an end that a signal has cut short is done again.
open_overlays: set[Overlay] = set()
# ... with what stands for hooks and states with a check: what a single read or write looks at.
busy: set[Any] = set()

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
        "_lease", "_open", "_parent", "_raw", "_thread", "_trace", "_values", "births", "journal", "reads", "shelf",
        "since", "user", "writes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.reads: dict[State[Any], Any] = {}
        self.writes: dict[State[Any], None] = {}
        self._values: dict[State[Any], Any] = {}
        self.births: dict[State[Any], Any] = {}  # state -> the trace it was made in
        self._open = False
        self._parent: Overlay | None = None
        self._trace: Any = None
        self._thread = 0
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
        if self._open:
            raise RuntimeError("this Overlay is already open: make another one, `with Overlay() as overlay:`")
        self._open = True
        self._thread = threading.get_ident()
        self._raw = self.user is None and in_raw_trace()
        self._parent = stack.top
        self._trace = get_opaque_trace_state()
        self.since = clock.now
        self._lease = Lease(self.user, self._raw, self.shelf)
        try:
            open_overlays.add(self)
            busy.add(self)
            self._lease.begin()
            stack.top = self
            self.journal.__enter__()
        except BaseException:
            self.close(failed=True)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(failed=kind is not None)

    def close(self, failed: bool) -> None:
        """End the block, if it has not ended yet; see `Journal.close`.

        Args:
            failed: Whether to put back the attributes that were set.
        """
        if self not in open_overlays:
            return
        self.journal.close(failed)
        inner, found = ([], True) if stack.top is self else above(self, stack.top)
        if found or (self._thread == threading.get_ident() and stack.top is None):  # or a block `outside` was cut short
            self._lease.end()
            stack.top = self._parent
        for layer in (*inner, self):  # what was left open above it ends with it
            layer._parent = None
            layer._open = False
        busy.difference_update((*inner, self))
        open_overlays.difference_update((*inner, self))


def open_overlay() -> Overlay | None:
    """Return the overlay on top in this thread."""
    return stack.top


def close_above(overlay: Overlay | None) -> None:
    """End, as failed, what is open above an overlay of this thread, where a signal has cut its end short."""
    while (top := stack.top) is not None and top is not overlay and top in open_overlays:
        top.close(failed=True)


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


def be_busy(what: Any, more: bool) -> None:
    """Let something make single reads and writes take the long way, as hooks do, or no more."""
    (busy.add if more else busy.discard)(what)


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
    """Leave every overlay of this thread inside the block, to make a State that outlives the trace.

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
        stack.left = left
        if top is None or top in open_overlays:  # else it has ended, and this comes late
            stack.top = top
