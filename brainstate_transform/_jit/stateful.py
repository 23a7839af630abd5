"""``StatefulFunction``: a function as a jaxpr, with the states that it reads and writes."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import jax
from jax.extend.core import jaxpr_as_fun

from brainstate_graph import Node, Overlay, State
from brainstate_graph.extend import Journal, describe, hooks_key, locate, read_values, warn, write_values

from .._engine.core import ANEW, Core, without_jit
from .._engine.placeholders import constant, hold, seal
from .._engine.results import unseal_result
from .._engine.retry import never_settled
from .._engine.touched import TouchedGraph
from .._engine.values import StateValues
from .._messages.boundary import boundary
from .._messages.source import handed
from .jit import jit
from .traces import (
    CacheKey,
    StateTraceStack,
    StaticKey,
    TraceCache,
    TracedJaxpr,
    accessors,
    avals_of,
    settings,
    structure_of,
)  # fmt: skip

__all__ = ["StatefulFunction"]

_MAXSIZE = 128
_OPTIMIZATIONS = ("constant_fold", "algebraic_simplification", "copy_propagation", "cse", "dce")


class StatefulFunction:
    """A function traced to a jaxpr in which the states that it uses are explicit inputs and outputs.

    Args:
        fun: The function; it may read and write states. Nodes may be passed and returned, bare States may not.
        static_argnums: Positions of static arguments; negative ones count from the end.
        static_argnames: Names of static keyword arguments.
        axis_env: Pairs of axis name and size that the function sees as mapped axes.
        name: A name for messages; that of `fun` if None.
        return_only_write: Whether states that are only read are left out of the outputs.
        ir_optimizations: One or several of "constant_fold", "algebraic_simplification", "copy_propagation", "cse",
            "dce", or "all": the passes of ``brainstate_transform.ir`` that a trace goes through before it is kept.
        audit: Whether each call traces the function anew first, as of `jit`.

    Raises:
        ValueError: An unknown optimization.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import StatefulFunction
        >>> state = State(jnp.array([1.0, 2.0]))
        >>> def f(x):
        ...     state.value += x
        ...     return state.value * 2
        >>> sf = StatefulFunction(f)
        >>> sf(jnp.array([0.5, 0.5])), sf.get_write_states(jnp.array([0.5, 0.5]))
        (Array([3., 5.], dtype=float32), (State(f32[2]),))
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        static_argnums: int | Iterable[int] = (),
        static_argnames: str | Iterable[str] = (),
        axis_env: Sequence[tuple[Hashable, int]] | None = None,
        name: str | None = None,
        return_only_write: bool = True,
        ir_optimizations: str | Sequence[str] | None = None,
        audit: bool | None = None,
    ) -> None:
        self.fun = fun
        self.static_argnums = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
        self.static_argnames = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
        self.axis_env = axis_env
        self.name = name
        self.return_only_write = return_only_write
        wanted = (ir_optimizations,) if isinstance(ir_optimizations, str) else tuple(ir_optimizations or ())
        wanted = _OPTIMIZATIONS if wanted == ("all",) else wanted
        unknown = [w for w in wanted if w not in _OPTIMIZATIONS]
        if unknown:
            raise ValueError(f"unknown ir_optimizations {unknown}; there are {list(_OPTIMIZATIONS)}, or 'all'")
        self.ir_optimizations = wanted or None
        self.functions = (fun,)
        self._core = Core(fun)
        self._core.frozen = True  # a jaxpr has no place for a change of structure
        self._fixed = bool(self.static_argnums or self.static_argnames)

        def replayed(*args: Any, **kwargs: Any) -> Any:
            return self._replayed(*args, **kwargs)

        replayed.__name__, replayed.__qualname__ = self._core.__name__, self._core.__qualname__
        self._call: Any = jit(replayed, audit=audit)
        self._call.cores[0].frozen = True
        self._cache = TraceCache(_MAXSIZE)
        self._tracing = threading.RLock()

    def __repr__(self) -> str:
        return f"StatefulFunction({self.name or self._core.__qualname__})"

    # -- keys ----------------------------------------------------------------------------------------------------------

    def _numbers(self, args: tuple[Any, ...]) -> set[int]:
        """Return the positions of the static arguments, counted from the front."""
        for n in self.static_argnums:
            if not -len(args) <= n < len(args):
                raise ValueError(
                    f"static_argnums has {n}, but `{self._core.__qualname__}` was called with {len(args)} "
                    "positional arguments"
                )
        return {n % len(args) for n in self.static_argnums}

    def _wrap_static(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Put what JAX takes without looking inside for static arguments; nodes and States are sealed or refused."""
        numbers, names = self._numbers(args), self.static_argnames
        return (
            tuple(_wrapped(a) if n in numbers else a for n, a in enumerate(args)),
            {k: _wrapped(v) if k in names else v for k, v in kwargs.items()},
        )

    def _replayed(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the jaxpr for these arguments, its states read and written like any other; runs inside `jit`."""
        if without_jit():  # and so without tracing
            return self.fun(*args, **kwargs)
        sealed, named, nodes = seal(args, kwargs, self.fun)
        found = self._fresh(self._key(sealed, named), sealed, named, self._core.touched.graph(nodes))
        if found.seals:  # its result has nodes of one call
            return self.fun(*args, **kwargs)
        states = found.trace.states
        out, new = self._evaluate(found, read_values(states), sealed, named)
        pairs = [(s, v) for s, v, w in zip(states, new, found.trace.been_writen, strict=True) if w]
        write_values([s for s, _ in pairs], [v for _, v in pairs])
        return out

    def _sort(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any, Any, Any]:
        """Sort the arguments: static positions, dynamic positional, static and dynamic keywords."""
        numbers = self._numbers(args)
        static = tuple((n, StaticKey(args[n])) for n in sorted(numbers))
        dynamic = tuple(a for n, a in enumerate(args) if n not in numbers)
        static_kw = tuple((k, StaticKey(kwargs[k])) for k in sorted(kwargs) if k in self.static_argnames)
        dynamic_kw = {k: kwargs[k] for k in sorted(kwargs) if k not in self.static_argnames}
        return static, dynamic, static_kw, dynamic_kw

    def get_arg_cache_key(self, *args: Any, compile_if_miss: bool = False, **kwargs: Any) -> CacheKey:
        """Return the key under which the trace for these arguments is kept.

        Args:
            *args: The positional arguments.
            compile_if_miss: Whether to trace the function if there is none.
            **kwargs: The keyword arguments.

        Returns:
            A hashable named tuple ``(static_args, dyn_args, static_kwargs, dyn_kwargs)``; the dynamic parts are pairs
            of tree structure and abstract values.
        """
        args, kwargs, nodes = seal(args, kwargs, self.fun)
        key = self._key(args, kwargs)
        if compile_if_miss:
            self._fresh(key, args, kwargs, self._core.touched.graph(nodes))
        return key

    def _key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CacheKey:
        static, dynamic, static_kw, dynamic_kw = self._sort(args, kwargs)
        return CacheKey(static, structure_of(dynamic), static_kw, structure_of(dynamic_kw))

    # -- tracing -------------------------------------------------------------------------------------------------------

    def _traced(self, args: tuple[Any, ...], kwargs: dict[str, Any], compile_if_miss: bool) -> TracedJaxpr:
        args, kwargs, nodes = seal(args, kwargs, self.fun)
        key = self._key(args, kwargs)
        return (
            self._fresh(key, args, kwargs, self._core.touched.graph(nodes)) if compile_if_miss else self._require(key)
        )

    def _require(self, key: Hashable) -> TracedJaxpr:
        found = self._cache.get(key)
        if found is None:
            raise ValueError(
                f"{self!r} was not traced for the key {key}. Call `make_jaxpr` with these arguments first. "
                f"The keys there are: {self._cache.keys()}"
            )
        return found

    def _fresh(self, key: Hashable, args: Any, kwargs: Any, graph: TouchedGraph) -> TracedJaxpr:
        """Return the trace under `key`, traced anew where the touched graph or its states are not as they were."""
        if ANEW.value is not None:  # nothing that is kept is looked at
            return self._trace(args, kwargs, graph)[0]
        found = self._cache.get(key)
        if found is not None and found.holds(graph):
            return found
        with self._tracing:  # one thread traces; the others find what it made
            found = self._cache.get(key)
            if found is not None and found.holds(graph):
                return found
            self._cache.drop(key)
            found, journal = self._trace(args, kwargs, graph)
            if self._core.moved(graph, journal):
                warn(self._core.moved_from(graph).given_up(self._core.__qualname__))
            else:
                self._cache.put(key, found)
            return found

    def _trace(self, args: Any, kwargs: Any, graph: TouchedGraph) -> tuple[TracedJaxpr, Journal]:
        nodes = graph.nodes
        static, dynamic, static_kw, dynamic_kw = self._sort(args, kwargs)

        def pure(_states_: Sequence[Any], /, *dynamic: Any, **dynamic_kw: Any) -> Any:
            rest = iter(dynamic)
            placed = dict(static)
            full = tuple(placed[i].value if i in placed else next(rest) for i in range(len(static) + len(dynamic)))
            kw = {**dynamic_kw, **{k: v.value for k, v in static_kw}}
            full, kw = hold((full, kw), nodes)
            self._core.nodes = nodes
            overlay = Overlay()
            journals.append(overlay.journal)
            out, written = self._core.run(StateValues.of(states, _states_), full, kw, overlay)
            self._core.touched.ask_again(graph, overlay)
            sealed.append(written.outcome.sealed)
            used = {s: None for s in (*overlay.reads, *overlay.writes) if not overlay.created(s)}
            seen.append((used, {s for s, _ in written.items()}))
            new = dict(written.items())
            kept = [new.get(s, v) if s in new or not self.return_only_write else None
                    for s, v in zip(states, _states_, strict=True)]  # fmt: skip
            return out, kept

        handed(pure, self._core, None if static else getattr(self._core, "__signature__", None))
        # The touched graph first; a second look where the function met states beyond it, or does not use some.
        seen: list[tuple[dict[State[Any], None], set[State[Any]]]] = []
        sealed: list[bool] = []
        journals: list[Journal] = []
        states: tuple[State[Any], ...] = tuple(graph.states)
        while True:
            # Another function each time: JAX would find the trace for other states of the same shapes.
            jaxpr_of = jax.make_jaxpr(functools.partial(pure), axis_env=self.axis_env, return_shape=True)
            traced, out = jaxpr_of(read_values(states, False), *dynamic, **dynamic_kw)
            used, written = seen[-1]
            if set(used) == set(states):
                break
            if len(seen) > 4:
                moved = self._core.moved(graph, journals[-1])
                raise never_settled(self._core.__qualname__, [self._core.moved_from(graph)] if moved else ())
            states = tuple(used)
        if self.ir_optimizations:
            from ..ir import optimize_jaxpr  # nothing else needs it

            traced = optimize_jaxpr(traced, optimizations=self.ir_optimizations)
        trace = StateTraceStack(states, [s in written for s in states])
        call = jax.jit(jaxpr_as_fun(traced))
        table = tuple(graph.snapshot.states)
        kept = TracedJaxpr(
            traced, out, trace, avals_of(states), graph.shape, hooks_key(states), table, call, sealed[-1], settings()
        )
        return kept, journals[-1]

    @boundary
    def make_jaxpr(self, *args: Any, **kwargs: Any) -> StatefulFunction:
        """Trace the function for these arguments and keep the jaxpr; no state changes.

        Returns:
            The StatefulFunction itself.

        Raises:
            StateArgumentError: A State is passed or returned; both a TypeError and a ValueError.
            ValueError: ``static_argnums`` has a position that is not there.
        """
        self._traced(args, kwargs, True)
        return self

    get_jaxpr, get_jaxpr_by_cache = accessors("the ClosedJaxpr", lambda e: e.jaxpr)
    get_out_shapes, get_out_shapes_by_cache = accessors(
        "the pair of result shapes and state shapes", lambda e: e.out_shapes
    )
    get_out_treedef, get_out_treedef_by_cache = accessors(
        "the tree structure of the result", lambda e: jax.tree.structure(e.out_shapes[0])
    )
    get_state_trace, get_state_trace_by_cache = accessors("the StateTraceStack", lambda e: e.trace)
    get_states, get_states_by_cache = accessors("the states read or written", lambda e: tuple(e.trace.states))
    get_read_states, get_read_states_by_cache = accessors(
        "the states read and not written", lambda e: e.trace.get_read_states()
    )
    get_write_states, get_write_states_by_cache = accessors("the states written", lambda e: e.trace.get_write_states())

    # -- calling -------------------------------------------------------------------------------------------------------

    def _evaluate(self, found: TracedJaxpr, values: Sequence[Any], args: Any, kwargs: Any) -> tuple[Any, Any]:
        _, dynamic, _, dynamic_kw = self._sort(args, kwargs)
        flat = found.call(*jax.tree.leaves((list(values), dynamic, dynamic_kw)))
        return jax.tree.unflatten(jax.tree.structure(found.out_shapes), flat)

    @boundary
    def jaxpr_call(self, state_vals: Sequence[Any], *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], Any]:
        """Evaluate the jaxpr as a pure function; no live state is read or written.

        Args:
            state_vals: A value for each state of ``get_states``, in its order.
            *args: The positional arguments.
            **kwargs: The keyword arguments.

        Returns:
            The new state values, with None for those only read where `return_only_write`, and the result.

        Raises:
            ValueError: There is not one value for each state.
        """
        args, kwargs, nodes = seal(args, kwargs, self.fun)
        found = self._fresh(self._key(args, kwargs), args, kwargs, self._core.touched.graph(nodes))
        if len(state_vals) != len(found.trace.states):
            raise ValueError(f"{self!r} uses {len(found.trace.states)} states, but {len(state_vals)} values were given")
        out, new = self._evaluate(found, state_vals, args, kwargs)
        return tuple(new), unseal_result(out)[0]

    @boundary
    def jaxpr_call_auto(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the jaxpr with the current values of the states, and write what it writes."""
        cache = self._cache
        asked = cache.asked
        if self._fixed:
            args, kwargs = self._wrap_static(args, kwargs)
        out = self._call(*args, **kwargs)
        if cache.asked == asked:
            cache.warm += 1
        return out

    __call__ = jaxpr_call_auto

    # -- housekeeping --------------------------------------------------------------------------------------------------

    def clear_cache(self) -> None:
        """Forget all traces."""
        self._cache.clear()
        self._call.clear_cache()
        self._core.touched.forget()

    def get_cache_stats(self) -> dict[str, Any]:
        """Return ``{"compilation_cache": {"size", "maxsize", "hits", "misses", "hit_rate"}}``."""
        return {"compilation_cache": self._cache.stats()}

    def validate_states(self, cache_key: Hashable) -> bool:
        """Check that the states of a trace are still as they were traced.

        Returns:
            True.

        Raises:
            ValueError: The shape, dtype or structure of some states has changed; the message lists them.
        """
        found = self._require(cache_key)
        changed = [
            f"{locate(state)} was {_shown(old)} and is {describe(state.value)}"
            for state, old, new in zip(found.trace.states, found.avals, avals_of(found.trace.states), strict=True)
            if old != new
        ]
        if changed:
            raise ValueError(f"states of {self!r} have changed since it was traced: {'; '.join(changed)}")
        return True

    def validate_all_states(self) -> dict[Any, Any]:
        """Check the states of every trace; return for each key True or the message of the error."""
        results: dict[Any, Any] = {}
        for key in self._cache.keys():  # noqa: SIM118 - not a mapping
            try:
                results[key] = self.validate_states(key)
            except ValueError as error:
                results[key] = str(error)
        return results


def _wrapped(value: Any) -> Any:
    """Put what JAX takes without looking inside for a static argument; nodes and States in it stay, to be sealed."""
    if isinstance(value, (Node, State)):
        return value
    if any(isinstance(leaf, (Node, State)) for leaf in jax.tree.leaves(value)):
        return jax.tree.map(_wrapped, value)
    StaticKey(value)  # refuses what it cannot compare
    return constant(value)


def _shown(aval: tuple[Any, tuple[Any, ...]]) -> str:
    return ", ".join(describe(jax.ShapeDtypeStruct(a.shape, a.dtype)) for a in aval[1])
