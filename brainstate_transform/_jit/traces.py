"""What `StatefulFunction` keeps: traces by the kinds of arguments, at most so many."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr

from brainstate_graph import GraphDef, State
from brainstate_graph.extend import hooks_key, read_values, static_key, tokenless

from .._engine.touched import TouchedGraph

__all__ = [
    "CacheKey",
    "StateTraceStack",
    "StaticKey",
    "TraceCache",
    "TracedJaxpr",
    "accessors",
    "avals_of",
    "settings",
    "structure_of",
]


class CacheKey(NamedTuple):
    """The key under which a trace is kept: static arguments, and shapes and dtypes of the others.

    Example:
        >>> from brainstate_transform import StatefulFunction
        >>> StatefulFunction(lambda x, n: x, static_argnums=1).get_arg_cache_key(1.0, 2).static_args
        ((1, 2),)
    """

    static_args: tuple[Any, ...]
    dyn_args: Any
    static_kwargs: tuple[Any, ...]
    dyn_kwargs: Any


class StateTraceStack:
    """The states that a function used, in the order of first access.

    Attributes:
        states: All of them.
        been_writen: For each whether it was written.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import StatefulFunction
        >>> w = State(2.0)
        >>> StatefulFunction(lambda: w.value).get_state_trace().get_read_states()
        (State(2.0),)
    """

    def __init__(self, states: Sequence[State[Any]], been_writen: Sequence[bool]) -> None:
        self.states = list(states)
        self.been_writen = list(been_writen)

    def get_read_states(self) -> tuple[State[Any], ...]:
        """Return the states that were read and not written."""
        return tuple(s for s, w in zip(self.states, self.been_writen, strict=True) if not w)

    def get_write_states(self) -> tuple[State[Any], ...]:
        """Return the states that were written."""
        return tuple(s for s, w in zip(self.states, self.been_writen, strict=True) if w)

    def get_state_values(self) -> tuple[Any, ...]:
        """Return the current values of all states."""
        return tuple(read_values(self.states))


def structure_of(tree: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the tree structure of a value, and the avals of its leaves."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, tuple([jax.typeof(leaf) for leaf in leaves])


def avals_of(states: Sequence[State[Any]]) -> tuple[Any, ...]:
    """Return the structure and avals of the current value of each state."""
    return tuple(map(structure_of, read_values(states, False)))


_of_nothing: Any = jax.jit(lambda: ())


def settings() -> Any:
    """Return what stands for the settings of JAX that a trace depends on, such as ``enable_x64``.

    It is what JAX keeps for them: the trace of a function that does nothing.  4 microseconds.
    """
    with tokenless():  # which are no settings
        return _of_nothing.trace().jaxpr


class TracedJaxpr(NamedTuple):
    """A function traced for some arguments, and what it was traced in.

    Attributes:
        jaxpr: The trace, with the states before the arguments.
        out_shapes: Shapes and dtypes of the result, nodes sealed, and of the states.
        trace: The states that it uses.
        avals: Those of the states then.
        shape: The shape of the touched graph then.
        hooks: The hooks of the states then.
        table: The states of the graph.
        call: Evaluates the jaxpr.
        seals: Whether there are nodes in the result.
        settings: Those of JAX then, see `settings`.
    """

    jaxpr: ClosedJaxpr
    out_shapes: Any
    trace: StateTraceStack
    avals: tuple[Any, ...]
    shape: GraphDef
    hooks: Any
    table: tuple[State[Any], ...]
    call: Callable[..., Any]
    seals: bool
    settings: Any

    def holds(self, graph: TouchedGraph) -> bool:
        """Tell whether the trace is still right: the same states in the same graph, of the same shapes."""
        states = self.trace.states
        return (
            self.shape is graph.shape
            and self.settings is settings()
            and self.hooks == hooks_key(states)
            and self.table == tuple(graph.snapshot.states)
            and self.avals == avals_of(states)
        )


class TraceCache:
    """The most recently used traces, at most `maxsize`; safe to use from several threads."""

    def __init__(self, maxsize: int) -> None:
        self._kept: OrderedDict[Hashable, TracedJaxpr] = OrderedDict()
        self._lock = threading.RLock()
        self._maxsize = maxsize
        self.asked = self.warm = 0  # how often `get` was called, and how often JAX had the program without
        self._misses = 0

    def get(self, key: Hashable) -> TracedJaxpr | None:
        with self._lock:
            found = self._kept.get(key)
            self.asked += 1
            if found is None:
                self._misses += 1
            else:
                self._kept.move_to_end(key)
            return found

    def put(self, key: Hashable, found: TracedJaxpr) -> None:
        with self._lock:
            self._kept[key] = found
            self._kept.move_to_end(key)
            while len(self._kept) > self._maxsize:
                self._kept.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        with self._lock:
            self._kept.pop(key, None)

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
            self.asked = self.warm = self._misses = 0

    def keys(self) -> list[Hashable]:
        with self._lock:
            return list(self._kept)

    def stats(self) -> dict[str, Any]:
        with self._lock:
            asked = self.asked + self.warm
            hits = asked - self._misses
            rate = hits / asked if asked else 0.0
            return {
                "size": len(self._kept), "maxsize": self._maxsize, "hits": hits, "misses": self._misses,
                "hit_rate": rate,
            }  # fmt: skip


class StaticKey:
    """A static argument as part of a key: compared by type and value."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any) -> None:
        try:
            hash(value)
        except TypeError:
            if not isinstance(value, (list, dict, set)):
                raise TypeError(
                    f"a static argument must be hashable, not {type(value).__name__}; pass arrays as ordinary arguments"
                ) from None
        self.key = static_key(value)
        self.value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is StaticKey and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return repr(self.value)


def accessors(doc: str, get: Callable[[TracedJaxpr], Any]) -> tuple[Any, Any]:
    """Return the two methods of a `StatefulFunction` for one part of a trace: by arguments, and by cache key."""

    def by_arguments(self: Any, *args: Any, compile_if_miss: bool = True, **kwargs: Any) -> Any:
        return get(self._traced(args, kwargs, compile_if_miss))

    def by_cache(self: Any, cache_key: Hashable) -> Any:
        return get(self._require(cache_key))

    by_arguments.__doc__ = f"""Return {doc} for these arguments.

        Args:
            *args: The positional arguments.
            compile_if_miss: Whether to trace the function if it was not traced for such arguments.
            **kwargs: The keyword arguments.

        Raises:
            ValueError: There is no trace for them, and `compile_if_miss` is False.
        """
    by_cache.__doc__ = f"""Return {doc} under a cache key.

        Args:
            cache_key: From `get_arg_cache_key`.

        Raises:
            ValueError: There is no trace under the key.
        """
    return by_arguments, by_cache
