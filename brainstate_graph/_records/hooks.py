"""Hooks: functions that are told of reads, writes and new states, and may change or refuse what is written.

A hook runs once for each logical access in the user's code, as the code around it does: eagerly at once, and inside a
transform while it is traced, so that what it computes is part of the program.  Values that a transform carries in
and out are no access.
"""

from __future__ import annotations

import itertools
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Literal, Self, get_args

from .._tools.frames import level_of_user
from .clock import clock

__all__ = [
    "Hook",
    "HookContext",
    "HookKind",
    "ever",
    "hooks_key",
    "hooks_of",
    "hooks_of_all",
    "register",
    "register_state_hook",
    "told",
]

HookKind = Literal["init", "read", "write_before", "write_after", "restore"]
OnError = Literal["raise", "warn"]


class HookContext:
    """The argument of a hook: the state that is accessed, and its values.

    Attributes:
        state: The State.
        kind: "init", "read", "write_before", "write_after" or "restore".
        value: The value that is read or written. A "write_before" hook may assign another one.
        old_value: The value before a write or restore, else None.

    Example:
        >>> from brainstate_graph import HookContext, State
        >>> def limit(context: HookContext) -> None:
        ...     context.value = min(context.value, 1.0)
        >>> s = State(0.0)
        >>> with s.register_hook("write_before", limit):
        ...     s.value = 3.0
        >>> s.value
        1.0
    """

    __slots__ = ("kind", "old_value", "state", "value")

    def __init__(self, state: Any, kind: HookKind, value: Any, old_value: Any = None) -> None:
        self.state = state
        self.kind: HookKind = kind
        self.value = value
        self.old_value = old_value

    def __repr__(self) -> str:
        return f"HookContext({self.kind}, {self.state!r})"


Callback = Callable[[HookContext], object]
_numbers = itertools.count(1)
_lock = threading.Lock()
_global: tuple[Hook, ...] = ()
_local: weakref.WeakKeyDictionary[Any, tuple[Hook, ...]] = weakref.WeakKeyDictionary()
ever = False  # whether there was a hook at all: to ask the two above costs 0.3 microseconds
listeners: list[Callable[[Any, bool], None]] = []  # are told of what has hooks, and of what has none any more
_ends: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()  # of each state with hooks, what takes it out


class Hook:
    """A registered function; as a context manager it is removed at the end of the block.

    Attributes:
        kind: When it is called.
        callback: The function.
        priority: Higher ones are called first.
        on_error: "raise", or "warn" to continue after an exception in the hook.
        name: The name in messages; None for the name of the function.

    Example:
        >>> from brainstate_graph import State
        >>> hook = State(1.0).register_hook("read", print)
        >>> hook.enabled = False
        >>> hook
        Hook(read, print, enabled=False)
    """

    __slots__ = ("__weakref__", "_enabled", "_number", "_owner", "callback", "kind", "name", "on_error", "priority")

    def __init__(
        self,
        owner: Any,
        kind: HookKind,
        callback: Callback,
        priority: int,
        on_error: OnError,
        enabled: bool,
        name: str | None,
    ) -> None:
        if kind not in get_args(HookKind):
            raise ValueError(f"{kind!r} is not a kind of hook: use one of {', '.join(get_args(HookKind))}")
        if kind == "init" and owner is not None:
            raise ValueError(
                "an 'init' hook cannot be registered on a State that exists already: write "
                "`register_state_hook('init', ...)`"
            )
        if not callable(callback):
            raise TypeError(f"a hook must be a function of one argument, not {callback!r}")
        if on_error not in get_args(OnError):
            raise ValueError(f"on_error must be 'raise' or 'warn', not {on_error!r}")
        if not isinstance(priority, (int, float)):
            raise TypeError(f"priority must be a number, not {priority!r}")
        self._owner = None if owner is None else weakref.ref(owner)
        self._number = next(_numbers)
        self.kind = kind
        self.callback = callback
        self.priority = priority
        self.name = name
        self.on_error = on_error
        self._enabled = enabled

    @property
    def enabled(self) -> bool:
        """Whether the hook is called."""
        return self._enabled

    @enabled.setter
    def enabled(self, enabled: bool) -> None:
        self._enabled = enabled
        clock.tick()

    def remove(self) -> None:
        """Remove the hook; a second call changes nothing."""
        _change(self, remove=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        name = self.name or getattr(self.callback, "__qualname__", repr(self.callback))
        return f"Hook({self.kind}, {name}{'' if self.enabled else ', enabled=False'})"


def _change(hook: Hook, remove: bool) -> None:
    global _global, ever
    owner = None if hook._owner is None else hook._owner()
    if hook._owner is not None and owner is None:
        return  # the state is gone, and its hooks with it
    ever = True
    with _lock:
        before = _global if owner is None else _local.get(owner, ())
        if remove and hook not in before:
            return
        after = tuple(h for h in before if h is not hook) if remove else (*before, hook)
        # a tuple is replaced, never changed: who runs through it in another thread sees the one or the other
        after = tuple(sorted(after, key=lambda h: (-h.priority, h._number)))
        if owner is None:
            _global = after
        elif after:
            _local[owner] = after
        else:
            del _local[owner]
    clock.tick()  # programs compiled before are looked at again
    if owner is None:
        _tell(hook, not remove)
    elif not before:
        key = object()  # which does not hold the state
        _tell(key, True)
        _ends[owner] = end = weakref.finalize(owner, _tell, key, False)  # also where the state goes with its hooks
        end.atexit = False
    elif not after:
        _ends.pop(owner)()


def _tell(what: Any, more: bool) -> None:
    for listen in listeners:
        listen(what, more)


def register(
    owner: Any,
    kind: HookKind,
    callback: Callback,
    priority: int = 0,
    on_error: OnError = "raise",
    enabled: bool = True,
    name: str | None = None,
) -> Hook:
    """Register a hook for one state, or for all where `owner` is None."""
    hook = Hook(owner, kind, callback, priority, on_error, enabled, name)
    _change(hook, remove=False)
    return hook


def register_state_hook(
    kind: HookKind,
    callback: Callback,
    *,
    priority: int = 0,
    on_error: OnError = "raise",
    enabled: bool = True,
    name: str | None = None,
) -> Hook:
    """Register a function that is called at each access to any State of the process.

    Args:
        kind: "init" after a State was constructed, "read", "write_before", "write_after" or "restore".
        callback: Called with a `HookContext`. In "write_before" it may assign ``context.value``, or raise to refuse.
        priority: Higher ones are called first; those of a state come after those for all.
        on_error: "raise" lets an exception of the function out and undoes the write; "warn" makes it a warning.
        enabled: Whether it is called.
        name: What it is shown by; None for the name of the function.

    Returns:
        The hook, to be switched by ``enabled``, removed by ``remove()``, or used as a context manager.

    Raises:
        ValueError: There is no such kind of hook.
        TypeError: The callback cannot be called.

    Example:
        >>> from brainstate_graph import State, register_state_hook
        >>> with register_state_hook("write_before", lambda context: print(context.old_value, "->", context.value)):
        ...     s = State(1.0)
        ...     s.value = 2.0
        1.0 -> 2.0
    """
    return register(None, kind, callback, priority, on_error, enabled, name)


def hooks_of(state: Any) -> tuple[Hook, ...]:
    """Return the hooks of one state."""
    return _local.get(state, ())


def hooks_of_all() -> tuple[Hook, ...]:
    """Return the hooks for all states."""
    return _global


class _Running(threading.local):
    def __init__(self) -> None:
        self.states: set[int] = set()


_running = _Running()


def told(state: Any, *kinds: HookKind) -> bool:
    """Tell whether an access to a state calls a hook of one of these kinds."""
    if not ever or id(state) in _running.states:
        return False
    return any(hook.kind in kinds and hook.enabled for hook in (*_global, *_local.get(state, ())))


def call(context: HookContext) -> None:
    """Call the hooks of the context's kind, one after another; what they do to the state calls no hook again."""
    states, key = _running.states, id(context.state)
    try:
        states.add(key)
        for hook in (*_global, *_local.get(context.state, ())):
            if hook.kind == context.kind and hook.enabled:
                _call_one(hook, context)
    finally:
        states.discard(key)  # no function of Python, into whose beginning a signal could come


def _call_one(hook: Hook, context: HookContext) -> None:
    try:
        hook.callback(context)
    except Exception as error:
        if hook.on_error == "raise":
            raise
        warnings.warn(f"{hook} of {context.state!r} failed: {error!r}", stacklevel=level_of_user())


def hooks_key(states: Iterable[Any]) -> tuple[Any, ...]:
    """Return what tells the hooks of these states from others: part of the key of a compiled program.

    Hooks for new states are not: a program makes none when it runs, so they would only compile it anew.
    """
    if not ever:
        return ()
    hooks = [*_global, *(hook for state in states for hook in _local.get(state, ()))]
    return tuple(hook._number for hook in hooks if hook.enabled and hook.kind != "init")
