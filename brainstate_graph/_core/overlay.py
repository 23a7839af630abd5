"""``Overlay``: the values of states while a function is traced.

*Overlay*: a mapping from State to value that a transform opens around the function that it traces.  Reads and writes of
``State.value`` go to it instead of the State.  Overlays stack: a read asks the top one, then those below, then the
State itself; a write goes to the top one.

So tracing never touches a live State.  Whatever happens inside, dropping the overlay leaves every State as it was, and
no tracer can be found in one.  An overlay also opens a `Journal`, which does the same for attributes of nodes.

How a value is read and written is in `door`, the file above this one; here is only where values are.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jax
from jax.extend.core import get_opaque_trace_state

from . import hooks
from .clock import clock
from .journal import Journal

if TYPE_CHECKING:
    from .state import State

__all__ = ["NO_TRACE", "Overlay", "be_busy", "outside", "stack", "tracing", "untraced"]

# The JAX trace when nothing is traced.  Traces are compared with ``==`` and nothing else.  Code that is called often
# asks for the trace itself: a function around it takes a fifth of the time to make a State.
NO_TRACE = get_opaque_trace_state()


class _Stack(threading.local):
    top: Overlay | None = None
    tree_check = False  # whether `check_state_value_tree` is on


stack = _Stack()
_lock = threading.Lock()
# How many overlays are open in the whole process.  Outside tracing the door looks at this module
# global only: 10 ns, where the thread-local costs 50 ns and would double a plain read.
open_count = 0
# ... and how many overlays, hooks and states with a check there are: what a single read or write looks at.
busy = 0


class Overlay:
    """The values of states during one trace: a context manager that a transform opens and closes.

    Attributes:
        reads: States read through this overlay, in the order of first access.
        writes: States assigned in it that existed before it, in the order of first assignment.
        journal: The attributes of nodes that were set in it.
        since: The tick of the clock when it was opened: nodes born later were made inside.

    Example:
        >>> from brainstate_graph import Overlay, State
        >>> s = State(1.0)
        >>> with Overlay() as overlay:
        ...     s.value = s.value + 1.0
        >>> s.value, overlay.written()
        (1.0, [(State(1.0), 2.0)])
    """

    __slots__ = ("_created", "_open", "_parent", "_trace", "_values", "journal", "reads", "since", "writes")

    def __init__(self) -> None:
        self.reads: dict[State[Any], None] = {}
        self.writes: dict[State[Any], None] = {}
        self._values: dict[State[Any], Any] = {}
        self._created: dict[State[Any], Any] = {}  # state -> the trace it was made in
        self._open = False
        self._parent: Overlay | None = None
        self._trace: Any = None
        self.journal = Journal()
        self.since = 0

    def bind(self, states: Iterable[State[Any]], values: Iterable[Any]) -> None:
        """Give states the values that they have inside; neither a read nor a write of them."""
        self._values.update(zip(states, values, strict=True))

    def created(self, state: State[Any]) -> bool:
        """Tell whether `state` was made while this overlay was on top."""
        return state in self._created

    def written(self) -> list[tuple[State[Any], Any]]:
        """Return each state assigned inside with the last value that it got."""
        return [(state, self._values[state]) for state in self.writes]

    def made(self) -> list[tuple[State[Any], Any]]:
        """Return the states made inside that something still holds, and their last values; the overlay lets go of them.

        Call it when the function has ended and its result is taken apart.
        """
        alive = weakref.WeakKeyDictionary[Any, Any]()
        while self._created:
            state, _ = self._created.popitem()
            self.reads.pop(state, None)
            alive[state] = self._values.pop(state)
            del state
        return list(alive.items())[::-1]

    def enter(self, state: State[Any], value: Any) -> Any:
        """Decide what a read that falls through this overlay finds; a transform may override it."""
        return value

    def __enter__(self) -> Overlay:
        global busy, open_count
        if self._open:
            raise RuntimeError("this Overlay is open already: make another one, `with Overlay() as overlay:`")
        self._open = True
        self._parent = stack.top
        self._trace = get_opaque_trace_state()
        self.since = clock.now
        with _lock:
            busy += 1
            open_count += 1
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
        self._parent = None
        self._open = False
        with _lock:
            busy -= 1
            open_count -= 1


def be_busy(by: int) -> None:
    """Count something more or less that makes single reads and writes take the long way, as hooks do."""
    global busy
    with _lock:
        busy += by


hooks.listeners.append(be_busy)


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
    try:
        with jax.ensure_compile_time_eval():
            yield
    finally:
        stack.top = top
