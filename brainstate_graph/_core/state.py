"""``State``: the one mutable thing, a box around one pytree of arrays.  Its class is its kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import starmap
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import jax
import numpy as np
from jax.extend.core import get_opaque_trace_state

from .._records.hooks import Callback, Hook, HookKind, OnError, hooks_of, register
from .._tools import arrays
from .._tools.arrays import ARRAYS, NUMBERS, PLAIN, note_array
from .._tools.at_once import for_all
from .._tools.operators import Operators
from .._tools.words import describe
from . import door
from . import overlay as overlays
from .door import Box, refuse_objects, set_value, settle
from .overlay import NO_TRACE, untraced
from .values import detached, note_checked, refuse_deleted

__all__ = ["State", "declared", "make_state", "make_states", "maybe_state", "redeclared", "untraced_states"]

T = TypeVar("T")
Metadata = tuple[tuple[str, Any], ...]
_KEEP: Any = object()
_NUMBERS = (bool, int, float, complex)
_ARRAYS = (jax.Array, np.ndarray, np.generic)


class State(Box, Operators, Generic[T]):
    """A box around one pytree of arrays; the only thing in a model that changes.

    Args:
        value: A pytree of arrays or numbers.
        name: A name that travels with the state.
        tag: A tag or several, for filters.
        **metadata: Anything hashable to travel with the state, found under ``state.metadata``. With ``checked=True``
            a value of another structure, shape or dtype cannot be assigned.

    Example:
        >>> from brainstate_graph import State
        >>> s = State(2.0, name="gain")
        >>> s.value += 1.0
        >>> s
        State(3.0, name='gain')
    """

    __slots__ = ()

    _value: T

    def __init__(
        self,
        value: T | State[T],
        name: str | None = None,
        *,
        tag: str | Iterable[str] | None = None,
        **metadata: Any,
    ) -> None:
        self._meta = ()
        if name is not None or tag is not None or metadata:
            self._meta = declared(name, tag, metadata)
        if type(value) not in PLAIN:
            value = _checked_first(self, value)
        elif type(value) in ARRAYS:
            refuse_deleted(self, value)
        if not overlays.busy and get_opaque_trace_state() == NO_TRACE:
            self._value = value  # type: ignore[assignment] - as `settle` would, without its frame: a tenth of the time
            return
        settle(self, value)
        if overlays.busy:
            door.announce(self)

    @property
    def value(self) -> T:
        """The current value; while a function is traced, the value in that trace."""
        if overlays.busy:
            return door.read(self)
        try:
            return self._value
        except AttributeError:
            return door.live(self)

    @value.setter
    def value(self, new: T) -> None:
        # Most values are arrays, whose type is found by identity: half of a look into a set.
        given: Any = new
        if overlays.busy or (given.is_deleted() if type(new) is arrays.array_kind else type(new) not in NUMBERS):
            door.write(self, new)
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
        """Assign `value` as ``.value`` does, but call the "restore" hooks instead of those for writes."""
        door.write(self, value, restoring=True)

    def replace(self, value: T = _KEEP, **metadata: Any) -> State[T]:
        """Return a new state of the same kind with another value, name, tag or metadata; None takes one away."""
        new = detached(door.copied(self)) if value is _KEEP else value
        if isinstance(new, State):
            raise ValueError(f"{door.locate(self)} must be replaced by a value, not by {new!r}: give `other.value`")
        return make_state(type(self), new, redeclared(self._meta, metadata) if metadata else self._meta)

    def copy(self) -> State[T]:
        """Return a new state of the same kind, metadata and value, without the hooks."""
        return self.replace()

    def register_hook(
        self,
        kind: HookKind,
        callback: Callback,
        *,
        priority: int = 0,
        on_error: OnError = "raise",
        enabled: bool = True,
        name: str | None = None,
    ) -> Hook:
        """Register a function that is called at accesses to this state; see `register_state_hook`."""
        return register(self, kind, callback, priority, on_error, enabled, name)

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """The hooks of this state, in the order in which they are called."""
        return hooks_of(self)

    def refuse_replacement(self, name: str, by: Any) -> None:
        """Refuse to replace this state by an array in an attribute of a node: the state would be lost."""
        if isinstance(by, State):
            return
        leaves = jax.tree.leaves(by)
        if leaves and all(type(leaf) in _NUMBERS or isinstance(leaf, _ARRAYS) for leaf in leaves):
            shown = describe(by) if hasattr(by, "dtype") else f"a {type(by).__name__}"
            raise TypeError(
                f"{door.locate(self)} would be dropped, as {shown} is assigned to `{name}` itself. Write "
                f"`node.{name}.value = x` to give the state this value, or `del node.{name}` first to have no state "
                "there"
            )

    def _in_words(self) -> str:
        return door.locate(self)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> State[T]:
        value = door.copied(self)
        refuse_deleted(self, value)
        own = detached(value, arrays=True, buffers=True)
        new = memo[id(self)] = make_state(type(self), own, self._meta)
        return new

    def __reduce__(self) -> tuple[Any, ...]:
        return make_state, (type(self), door.copied(self), self._meta)


def declared(name: str | None, tag: str | Iterable[str] | None, metadata: dict[str, Any]) -> Metadata:
    if name is not None:
        metadata["name"] = name
    if tag is not None:
        metadata["tag"] = frozenset((tag,)) if isinstance(tag, str) else frozenset(tag)
        if not all(isinstance(t, str) for t in metadata["tag"]):
            raise TypeError(f"a tag must be a string, not {tag!r}")
    for key, item in metadata.items():
        if _can_change(item):
            raise TypeError(
                f"the metadata of a State must be immutable: {key} is or holds a list or the like; give a tuple"
            )
    meta = tuple(sorted(metadata.items()))
    note_checked(meta)
    return meta


def redeclared(meta: Metadata, changes: Mapping[str, Any]) -> Metadata:
    """Return metadata with some added or, by None, taken away."""
    wanted = {key: item for key, item in {**dict(meta), **changes}.items() if item is not None}
    return declared(wanted.pop("name", None), wanted.pop("tag", None), wanted)


def _can_change(item: Any) -> bool:
    if isinstance(item, tuple):
        return any(map(_can_change, item))
    return isinstance(item, (list, dict, set, bytearray, np.ndarray))


def _checked_first(state: State[Any], value: Any) -> Any:
    """Return the first value of a state, out of the State in which it may be given."""
    if isinstance(value, State):
        value = value.value
    refuse_objects(state, door.value_leaves(state, value))
    refuse_deleted(state, value)
    note_array(value)
    return value


S = TypeVar("S", bound=State[Any])


def make_state(kind: type[S], value: Any, meta: Metadata) -> S:
    """Make a state without calling its constructor, as merging and copying do."""
    state = object.__new__(kind)
    state._meta = meta
    if meta:
        note_checked(meta)
    refuse_deleted(state, value)
    settle(state, value)
    return state


def make_states(kinds: Sequence[type[State[Any]]], metas: Sequence[Any], values: Sequence[Any]) -> list[State[Any]]:
    """Make many states without calling their constructors, as merging does."""
    if overlays.open_overlays or not untraced():
        return [make_state(*parts) for parts in zip(kinds, values, metas, strict=True)]
    return untraced_states(kinds, metas, values)


def untraced_states(kinds: Sequence[type[State[Any]]], metas: Sequence[Any], values: Sequence[Any]) -> list[State[Any]]:
    """Make many states where nothing is traced."""
    states = list(map(object.__new__, kinds))
    for_all(starmap(set_value, zip(states, values)))  # noqa: RUF058, B905 - in C: a third of the time
    for_all(starmap(_set_meta, zip(states, metas)))  # noqa: RUF058, B905
    return states


_set_meta: Any = Box.__dict__["_meta"].__set__


def maybe_state(item: Any) -> Any:
    """Return the value of a State, and any other object unchanged.

    Example:
        >>> from brainstate_graph import State, maybe_state
        >>> maybe_state(State(1.0)), maybe_state(2.0)
        (1.0, 2.0)
    """
    return item.value if isinstance(item, State) else item
