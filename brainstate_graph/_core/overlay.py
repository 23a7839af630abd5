"""The one door to the values of states, and the overlays that stand in it while a function is traced.

*Box*: what holds a value between calls; `State` is the box that users see.
*Overlay*: while a function is traced, what ``State.value`` reads and writes instead of the box.
Overlays stack: a read asks the top one, then those below, then the box itself; a write goes to
the top one.  So tracing never touches a live State: whatever happens inside, dropping the overlay
leaves every State as it was, and no tracer can be found in one.

Every way to a value goes through this door.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.core import Tracer
from jax.extend.core import get_opaque_trace_state

from . import hooks as hooks
from .errors import TraceContextError
from .journal import Journal
from .locate import find_hidden, locate
from .node import Node
from .values import refuse_unlike

if TYPE_CHECKING:
    from .state import State

__all__ = [
    "NO_TRACE", "Box", "Overlay", "announce", "carried", "check_state_value_tree", "leaves_of", "live",
    "look", "note_checked", "object_in", "outside", "read", "refuse_objects", "settle", "tracing", "untraced",
    "write",
]  # fmt: skip


class Box:
    """What holds the value of a state between calls.

    Attributes:
        _value: The value; not there in a state that was made inside a transform.
        _meta: What was declared: name, tags and further metadata.
        _birth: The trace in which it was made; not there where that was outside of any.
    """

    __slots__ = ("__weakref__", "_birth", "_meta", "_value")

    _graph_is_state = True
    _birth: Any
    _meta: tuple[tuple[str, Any], ...]
    _value: Any


def trace_now() -> Any:
    """The JAX trace that is current; comparable with ``==`` and nothing else."""
    return get_opaque_trace_state()


NO_TRACE = trace_now()  # what it is when nothing is traced


class _Stack(threading.local):
    top: Overlay | None = None
    tree_check = False


stack = _Stack()
_lock = threading.Lock()
# How many overlays are open in the whole process.  Outside tracing the door looks at this module
# global only: 10 ns, where the thread-local costs 50 ns and would double a plain read.
open_count = 0
# ... and how many overlays, hooks and states with a check there are: what a single read or write looks at.
busy = 0
# Exact types that hold no tracer and no State, so that writing them needs no look inside.
PLAIN: set[type] = {bool, int, float, complex, np.ndarray, type(None)}


class Overlay:
    """The values of states during one trace: a context manager that a transform opens and closes.

    Attributes:
        reads: States read through this overlay, in the order of first access.
        writes: States assigned in it that existed before it, in the order of first assignment.
        journal: The attributes of nodes that were set in it.

    Example:
        >>> from brainstate_graph import Overlay, State
        >>> s = State(1.0)
        >>> with Overlay() as overlay:
        ...     s.value = s.value + 1.0
        >>> s.value, overlay.written()
        (1.0, [(State(1.0), 2.0)])
    """

    __slots__ = ("_created", "_open", "_parent", "_trace", "_values", "journal", "reads", "writes")

    def __init__(self) -> None:
        self.reads: dict[State[Any], None] = {}
        self.writes: dict[State[Any], None] = {}
        self._values: dict[State[Any], Any] = {}
        self._created: dict[State[Any], Any] = {}  # state -> the trace it was made in
        self._open = False
        self._parent: Overlay | None = None
        self._trace: Any = None
        self.journal = Journal()

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
        if self._open:
            raise RuntimeError("this Overlay is open already: make another one, `with Overlay() as overlay:`")
        self._open = True
        self._parent = stack.top
        self._trace = trace_now()
        be_busy(1, overlays=1)
        stack.top = self
        self.journal.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.journal.__exit__(*error)
        layer = stack.top
        while layer is not None and layer is not self:
            layer = layer._parent
        if layer is self:  # what was left open above it ends with it; what ended so has nothing to end any more
            stack.top = self._parent
        self._parent = None
        self._open = False
        be_busy(-1, overlays=-1)


def be_busy(by: int, overlays: int = 0) -> None:
    """Count what makes single reads and writes take the long way, and the overlays among it."""
    global busy, open_count
    with _lock:
        busy += by
        open_count += overlays


hooks.listeners.append(be_busy)


def look(state: State[Any], top: Overlay | None, record: bool = True) -> Any:
    """Find the value of a state for the overlay `top`: there, in one below, or in the box."""
    passed: list[Overlay] = []
    layer = top
    while layer is not None:
        if record:
            layer.reads[state] = None
        if state in layer._values:
            value = layer._values[state]
            break
        passed.append(layer)
        layer = layer._parent
    else:
        value = live(state)
    for layer in reversed(passed):
        if type(layer) is not Overlay:
            entered = layer.enter(state, value)
            if entered is not value:
                value = entered
                # Kept where it was computed: a layer below may belong to a trace that outlives the current one.
                (layer if layer._trace == trace_now() else passed[0])._values[state] = value
    return value


def live(state: State[Any]) -> Any:
    try:
        return state._value
    except AttributeError:
        raise TraceContextError(
            f"{locate(state)} was made inside a transformed function, and its value did not leave it. "
            "Make the State before the call, or return the Node that holds it from the function."
        ) from None


def is_orphan(state: State[Any]) -> bool:
    """Tell whether a state was made in a trace that is over, and has no value that outlived it."""
    if hasattr(state, "_value"):
        return False
    layer = stack.top
    while layer is not None:
        if state in layer._values:
            return False
        layer = layer._parent
    return True


def refuse_foreign(state: State[Any], value: Any, overlay: Overlay | None) -> None:
    """Raise if `value` may not be put into `state` here."""
    if type(value) in PLAIN:
        return
    if not isinstance(value, Tracer):
        refuse_objects(state, leaves := leaves_of(state, value))
        if not any(isinstance(leaf, Tracer) for leaf in leaves):
            if isinstance(value, jax.Array):
                PLAIN.add(type(value))
            return
    home = getattr(state, "_birth", None) if overlay is None else overlay._created.get(state, overlay._trace)
    if home is None or home != trace_now():
        raise TraceContextError(
            f"{locate(state)} cannot take a traced value here: the code runs inside a JAX transform that does not know "
            "of states, so the value would outlive its trace. Use the transform of the same name from "
            "brainstate_transform, or split the model first: `graphdef, tree = treefy_split(model)`."
        )


def leaves_of(state: State[Any], value: Any) -> list[Any]:
    """Return the leaves of what is to be the value of a state."""
    try:
        return jax.tree.leaves(value)
    except (RecursionError, SystemError):  # as JAX says it
        raise ValueError(f"the value of {locate(state)} holds itself, or is nested too deep: assign a tree") from None


def object_in(leaves: Iterable[Any]) -> Any:
    """Return a State or Node that is or is hidden in one of these leaves, or None: no value may hold one."""
    looked = (leaf for leaf in leaves if type(leaf) not in PLAIN and not isinstance(leaf, Tracer))
    return next((found for leaf in looked if (found := find_hidden(leaf, (Box, Node))) is not None), None)


def refuse_objects(state: State[Any], leaves: list[Any]) -> None:
    found = object_in(leaves)
    if found is not None:
        what = "another State" if isinstance(found, Box) else f"the Node {type(found).__name__}"
        raise ValueError(
            f"the value of {locate(state)} cannot be or hold {what}; assign `other.value`, or hold the States in a "
            "Node, list or dict"
        )


_any_checked = False


def note_checked(meta: tuple[tuple[str, Any], ...]) -> None:
    """Make writes look for a check from now on, if this metadata asks for one."""
    global _any_checked
    if not _any_checked and ("checked", True) in meta:
        _any_checked = True
        be_busy(1)


def read(state: State[Any]) -> Any:
    """Read the value of a state: of the trace while one runs, else of the box."""
    value = carried(state)
    if hooks.told(state, "read"):
        with hooks.running(state):
            hooks.call(hooks.HookContext(state, "read", value))
    return value


def carried(state: State[Any]) -> Any:
    """Return the value of a state for a copy of it: recorded as a read, but hooks are not told."""
    return look(state, stack.top) if stack.top is not None else live(state)


def write(state: State[Any], value: Any, restoring: bool = False) -> None:
    """Assign the value of a state, in the overlay on top or in the box; the hooks of the state are told."""
    if not hooks.told(state, *(("restore",) if restoring else ("write_before", "write_after"))):
        _put(state, value)
        return
    old = look(state, stack.top, record=False)
    with hooks.running(state):
        if not restoring:
            context = hooks.HookContext(state, "write_before", value, old)
            hooks.call(context)
            value = context.value
        overlay = stack.top
        before = overlay is None or state in overlay.writes
        _put(state, value)
        try:
            hooks.call(hooks.HookContext(state, "restore" if restoring else "write_after", value, old))
        except BaseException:
            _put(state, old)
            if overlay is not None and not before:
                overlay.writes.pop(state, None)
            raise


def announce(state: State[Any]) -> None:
    """Tell hooks of a state that was constructed."""
    if hooks.told(state, "init"):
        value = look(state, stack.top, record=False)
        with hooks.running(state):
            hooks.call(hooks.HookContext(state, "init", value))


def _put(state: State[Any], value: Any) -> None:
    overlay = stack.top
    refuse_foreign(state, value, overlay)
    checked = ("checked", True) in state._meta
    if checked or stack.tree_check:
        refuse_unlike(state, look(state, overlay, record=False), value, checked)
    if overlay is None:
        state._value = value
    else:
        overlay._values[state] = value
        if state not in overlay._created:
            overlay.writes[state] = None


@contextmanager
def check_state_value_tree(enabled: bool = True) -> Generator[None]:
    """Refuse to assign a value of another tree structure to any State, in this thread and block.

    Args:
        enabled: Whether to check; the innermost block decides. An assignment that fails the check raises a ValueError.

    Example:
        >>> from brainstate_graph import State, check_state_value_tree
        >>> s = State((1.0, 2.0))
        >>> with check_state_value_tree():
        ...     s.value = 3.0
        Traceback (most recent call last):
        ...
        ValueError: State holds a value of structure PyTreeDef((*, *)), and was assigned one of PyTreeDef(*)
    """
    before, stack.tree_check = stack.tree_check, enabled
    be_busy(1)
    try:
        yield
    finally:
        be_busy(-1)
        stack.tree_check = before


def tracing() -> bool:
    """Tell whether this thread has an overlay open."""
    return stack.top is not None


def untraced() -> bool:
    """Tell whether this thread traces nothing, neither with an overlay nor in JAX alone."""
    return stack.top is None and trace_now() == NO_TRACE


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


def settle(state: State[Any], value: Any) -> None:
    """Give a new state its value, where it is made."""
    trace = get_opaque_trace_state()  # with trace_now() around it, making a State takes a fifth longer
    if not trace == NO_TRACE:  # noqa: SIM201 - `!=` goes through `==` and takes twice as long
        state._birth = trace  # else it stays unset: most states are born outside of any trace
    overlay = stack.top if open_count else None
    if overlay is None:
        state._value = value
    else:  # no tracer is ever put into the box; what leaves the trace is made anew outside
        overlay._values[state] = value
        overlay._created[state] = trace
