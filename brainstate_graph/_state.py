"""The one mutable thing, and the one door to its value.

*State*: a box around one pytree of arrays.  Its class is its kind.
*Overlay*: while a function is traced, what ``State.value`` reads and writes instead of the box.
Overlays stack: a read asks the top one, then those below, then the State itself; a write goes to
the top one.  So tracing never touches a live State: whatever happens inside, dropping the overlay
leaves every State as it was, and no tracer can be found in one.

Every other way to a value (splitting, cloning, copying, merging) goes through this door.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import jax
import numpy as np
from jax.core import Tracer
from jax.extend.core import get_opaque_trace_state

from ._errors import TraceContextError
from ._locate import path_to
from ._looks import Shown, bare, look_of_state
from ._node import Node
from ._print import page, show
from ._show import Words

__all__ = [
    "Overlay",
    "State",
    "locate",
    "make_state",
    "outside",
    "tracing",
    "untraced",
]

T = TypeVar("T")
Metadata = tuple[tuple[str, Any], ...]


def _trace_now() -> Any:
    """The JAX trace that is current; comparable with ``==`` and nothing else."""
    return get_opaque_trace_state(convention="nnx")


_NO_TRACE = _trace_now()  # what it is when nothing is traced


class _Stack(threading.local):
    top: Overlay | None = None


stack = _Stack()
_lock = threading.Lock()
# How many overlays are open in the whole process.  Outside tracing the door looks at this module
# global only: 10 ns, where the thread-local costs 50 ns and would double a plain read.
open_count = 0
# Exact types that hold no tracer and no State, so that writing them needs no look inside.
PLAIN: set[type] = {bool, int, float, complex, np.ndarray, type(None)}


class Overlay:
    """The values of states during one trace: a context manager that a transform opens and closes.

    Attributes:
        reads: States read through this overlay, in the order of first access.
        writes: States assigned in it that existed before it, in the order of first assignment.

    Example:
        >>> from brainstate_graph import Overlay, State
        >>> s = State(1.0)
        >>> with Overlay() as overlay:
        ...     s.value = s.value + 1.0
        >>> s.value, overlay.written()
        (1.0, [(State(1.0), 2.0)])
    """

    __slots__ = ("_created", "_parent", "_trace", "_values", "reads", "writes")

    def __init__(self) -> None:
        self.reads: dict[State[Any], None] = {}
        self.writes: dict[State[Any], None] = {}
        self._values: dict[State[Any], Any] = {}
        self._created: dict[State[Any], Any] = {}  # state -> the trace it was made in
        self._parent: Overlay | None = None
        self._trace: Any = None

    def bind(self, states: Iterable[State[Any]], values: Iterable[Any]) -> None:
        """Give states the values that they have inside; neither a read nor a write of them."""
        self._values.update(zip(states, values, strict=True))

    def created(self, state: State[Any]) -> bool:
        """Tell whether `state` was made while this overlay was on top."""
        return state in self._created

    def written(self) -> list[tuple[State[Any], Any]]:
        """Return each state assigned inside with the last value that it got."""
        return [(state, self._values[state]) for state in self.writes]

    def enter(self, state: State[Any], value: Any) -> Any:
        """Decide what a read that falls through this overlay finds; a transform may override it."""
        return value

    def __enter__(self) -> Overlay:
        global open_count
        self._parent = stack.top
        self._trace = _trace_now()
        with _lock:
            open_count += 1
        stack.top = self
        return self

    def __exit__(self, *_: object) -> None:
        global open_count
        stack.top = self._parent
        self._parent = None
        with _lock:
            open_count -= 1


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
                (layer if layer._trace == _trace_now() else passed[0])._values[state] = value
    return value


def live(state: State[Any]) -> Any:
    try:
        return state._value
    except AttributeError:
        raise TraceContextError(
            f"{locate(state)} was made inside a transformed function, and its value did not leave it. "
            "Make the State before the call, or return the Node that holds it from the function."
        ) from None


def refuse_foreign(state: State[Any], value: Any, overlay: Overlay | None) -> None:
    """Raise if `value` may not be put into `state` here."""
    if type(value) in PLAIN:
        return
    leaves = jax.tree.leaves(value)
    _refuse_objects(state, leaves)
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        home = state._birth if overlay is None else overlay._created.get(state, overlay._trace)
        if home is None or home != _trace_now():
            raise TraceContextError(
                f"{locate(state)} cannot take a traced value here: the code runs inside a JAX transform "
                "that does not know of states, so the value would outlive its trace. Use the transform of "
                "the same name from brainstate_transform, or split the model first: "
                "`graphdef, tree = treefy_split(model)`."
            )
    elif isinstance(value, jax.Array):
        PLAIN.add(type(value))


def _refuse_objects(state: State[Any], leaves: list[Any]) -> None:
    for leaf in leaves:
        if isinstance(leaf, (State, Node)):
            what = "another State" if isinstance(leaf, State) else f"the Node {type(leaf).__name__}"
            raise ValueError(
                f"the value of {locate(state)} cannot be or hold {what}; assign `other.value`, or hold the States in a "
                "Node, list or dict"
            )


def _checked_write(state: State[Any], value: Any) -> None:
    overlay = stack.top
    refuse_foreign(state, value, overlay)
    if overlay is None:
        state._value = value
    else:
        overlay._values[state] = value
        if state not in overlay._created:
            overlay.writes[state] = None


def tracing() -> bool:
    """Tell whether this thread has an overlay open."""
    return stack.top is not None


def untraced() -> bool:
    """Tell whether this thread traces nothing, neither with an overlay nor in JAX alone."""
    return stack.top is None and _trace_now() == _NO_TRACE


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


class State(Generic[T]):
    """A box around one pytree of arrays; the only thing in a model that changes.

    Args:
        value: A pytree of arrays or numbers.
        name: A name that travels with the state.
        tag: A tag or several, for filters.
        **metadata: Anything hashable to travel with the state, found under ``state.metadata``.

    Example:
        >>> from brainstate_graph import State
        >>> s = State(2.0, name="gain")
        >>> s.value += 1.0
        >>> s
        State(3.0, name='gain')
    """

    __slots__ = ("__weakref__", "_birth", "_meta", "_value")

    _birth: Any
    _meta: Metadata
    _value: T

    def __init__(
        self,
        value: T | State[T],
        name: str | None = None,
        *,
        tag: str | Iterable[str] | None = None,
        **metadata: Any,
    ) -> None:
        if isinstance(value, State):
            value = value.value
        if name is not None:
            metadata["name"] = name
        if tag is not None:
            metadata["tag"] = frozenset((tag,)) if isinstance(tag, str) else frozenset(tag)
        for key, item in metadata.items():
            if isinstance(item, (list, dict, set, np.ndarray)):
                raise TypeError(f"metadata of a State cannot change: {key} is a {type(item).__name__}; give a tuple")
        self._meta = ()  # a message may ask for the name
        if type(value) not in PLAIN:
            _refuse_objects(self, jax.tree.leaves(value))
        _fill(self, value, tuple(sorted(metadata.items())) if metadata else ())

    @property
    def value(self) -> T:
        """The current value: of the trace while one runs, else of the box."""
        if open_count and stack.top is not None:
            return look(self, stack.top)
        try:
            return self._value
        except AttributeError:
            return live(self)

    @value.setter
    def value(self, new: T) -> None:
        if open_count or type(new) not in PLAIN:
            _checked_write(self, new)
        else:
            self._value = new

    @property
    def name(self) -> str | None:
        """The name given to the state, or None."""
        return self.metadata.get("name")

    @property
    def tag(self) -> frozenset[str] | None:
        """The tags of the state, or None."""
        return self.metadata.get("tag")

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What was declared about the state besides its value."""
        return MappingProxyType(dict(self._meta))

    def restore_value(self, value: T) -> None:
        """Assign `value`, as ``.value`` does."""
        self.value = value

    def replace(self, value: T) -> State[T]:
        """Return a new state of the same kind and metadata that holds `value`."""
        return make_state(type(self), value, self._meta)

    def copy(self) -> State[T]:
        """Return a new state of the same kind, metadata and value."""
        return self.replace(self.value)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> State[T]:
        new = memo[id(self)] = self.replace(
            jax.tree.map(lambda x: x.copy() if isinstance(x, np.ndarray) else x, self.value)
        )
        return new

    def __reduce__(self) -> tuple[Any, ...]:
        return make_state, (type(self), self.value, self._meta)

    __repr__ = show
    __treescope_repr__ = page

    def _shown_(self) -> Shown:
        try:
            value = look(self, stack.top, record=False)  # printing is no read of the program
        except TraceContextError:
            return look_of_state(type(self), bare("value", Words("<made inside a transform>")), self._meta, ())
        return look_of_state(type(self), bare("value", value), self._meta, value)


def _fill(state: State[Any], value: Any, meta: Metadata) -> None:
    trace = _trace_now()
    state._meta = meta
    state._birth = None if trace == _NO_TRACE else trace
    overlay = stack.top if open_count else None
    if overlay is None:
        state._value = value
    else:  # no tracer is ever put into the box; what leaves the trace is made anew outside
        overlay._values[state] = value
        overlay._created[state] = trace


def make_state(kind: type[State[Any]], value: Any, meta: Metadata) -> State[Any]:
    """Make a state without calling its constructor, as merging and copying do."""
    state = object.__new__(kind)
    _fill(state, value, meta)
    return state


def locate(state: State[Any]) -> str:
    """Say in words which state this is and where it is held; for error messages."""
    path = path_to(state)
    if path is not None:
        return f"{type(state).__name__} at {path}"
    return type(state).__name__ + (f" {state.name!r}" if state.name else "")
