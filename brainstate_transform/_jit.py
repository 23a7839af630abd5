"""``jit``: the rule is ``jax.jit``, over the whole touched graph.

The shape of the graph is part of the arguments' structure, so JAX's own compiled-call cache is the cache: what the
program depends on is in the key, and no key is computed in Python.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from brainstate_graph import Node, Static
from brainstate_graph.extend import tracing

from ._lift import Core, Retry, Run, Staged, without_jit
from ._seal import seal
from ._touched import Plan
from ._values import StateValues, Written

__all__ = ["JittedFunction", "jit"]

# A program with this many unused states among its inputs is given only the ones that it uses: each input costs
# 0.3 to 1 microsecond per call, a second look at the traced program costs a third of a trace, once.
_UNUSED = 16


class _Untraced(Retry):
    """JAX wants a trace of a choice of states that is not known yet."""


class _JitCore(Core):
    """A core with static arguments, which can also run a program that was traced before."""

    def __init__(self, fun: Callable[..., Any]) -> None:
        super().__init__(fun)
        self.mode = threading.local()
        self.careful = False  # whether to find out first which states are used

    def run(self, states: StateValues, args: Any, kwargs: Any, overlay: Any = None) -> tuple[Any, Written]:
        replay = getattr(self.mode, "replay", None)
        if replay is not None and states.which.chosen is not None:
            result: tuple[Any, Written] = replay(states, args, kwargs)
            return result
        if self._must_look(states) and not getattr(self.mode, "looking", False):
            raise _Untraced
        return super().run(states, args, kwargs, overlay)

    def _must_look(self, states: StateValues) -> bool:
        if without_jit():
            return False
        # A choice made for calls from outside does not hold in here, and a trace of a choice would bake in the rest.
        return states.which.chosen is not None or (not tracing() and (self.careful or len(states) > _UNUSED))

    def open(self, args: Any, kwargs: Any, plan: Plan | None) -> Any:
        args, kwargs = super().open(args, kwargs, plan)
        return (
            tuple(a.value if isinstance(a, Static) else a for a in args),
            {k: v.value if isinstance(v, Static) else v for k, v in kwargs.items()},
        )


class JittedFunction(Staged):
    """A compiled function that knows of states; made by `jit`.

    It can be called, and used as a method. ``origin_fun`` is the user's function.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import jit
        >>> count = State(0)
        >>> @jit
        ... def step(x):
        ...     count.value += 1
        ...     return x + 1.0
        >>> float(step(1.0)), int(count.value), type(step).__name__
        (2.0, 1, 'JittedFunction')
    """

    _core = _JitCore

    def __init__(
        self,
        fun: Callable[..., Any],
        static_argnums: int | Sequence[int] | None = None,
        static_argnames: str | Iterable[str] | None = None,
        donate_argnums: int | Sequence[int] | None = None,
        donate_argnames: str | Iterable[str] | None = None,
        donate_states: bool = False,
        in_shardings: Any = None,
        out_shardings: Any = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        self._made_with: dict[str, Any] = {
            "static_argnums": static_argnums, "static_argnames": static_argnames, "donate_argnums": donate_argnums,
            "donate_argnames": donate_argnames, "donate_states": donate_states, "in_shardings": in_shardings,
            "out_shardings": out_shardings, "name": name, **options,
        }  # fmt: skip
        numbers, names = _both_ways(fun, static_argnums, static_argnames)
        self._static = (frozenset(numbers), frozenset(names))
        donated, donated_names = _both_ways(fun, donate_argnums, donate_argnames)
        self._donate_states = donate_states

        def rule(core: Core) -> Run:
            if name is not None:
                core.__name__ = core.__qualname__ = name
            first = (0,) if donate_states else ()
            shift = 2 if donate_states else 1
            if in_shardings is not None:
                if not isinstance(in_shardings, (tuple, list)):
                    raise TypeError("in_shardings is a tuple with one entry for each positional argument")
                options["in_shardings"] = (*[None] * shift, *in_shardings)
            if out_shardings is not None:
                options["out_shardings"] = (out_shardings, None)
            return jax.jit(
                _donating(core) if donate_states else core,
                donate_argnums=(*first, *(n + shift for n in donated)),
                donate_argnames=tuple(donated_names) or None,
                **options,
            )

        super().__init__(rule, (fun,), None, name)
        core = self.cores[0]
        assert isinstance(core, _JitCore)
        self._jit_core = core
        core.careful = donate_states
        self._compiled: Any = self._run
        if donate_states:
            self._run: Run = self._run_donating

    @property
    def origin_fun(self) -> Callable[..., Any]:
        """The user's function."""
        return self.functions[0]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the compiled function, and write the states that it writes."""
        if self._static[0] or self._static[1]:
            args, kwargs = self._wrap_static(args, kwargs)
        return super().__call__(*args, **kwargs)

    def _like(self, fun: Callable[..., Any]) -> JittedFunction:
        return JittedFunction(fun, **self._made_with)

    def _wrap_static(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        numbers = {n if n >= 0 else n + len(args) for n in self._static[0]}
        return (
            tuple(self._wrapped(a, i) if i in numbers else a for i, a in enumerate(args)),
            {k: self._wrapped(v, k) if k in self._static[1] else v for k, v in kwargs.items()},
        )

    def _wrapped(self, value: Any, place: Any) -> Any:
        if isinstance(value, Node):
            return value  # its shape is static anyway, and its states are not
        try:
            hash(value)
        except TypeError:
            raise ValueError(
                f"static argument {place!r} of `{self._jit_core.__qualname__}` is not hashable, being a "
                f"{type(value).__name__}. Pass a tuple for a list, or an array as an ordinary argument."
            ) from None
        return Static(value)

    def _retry(self, again: Retry, plan: Plan, args: Any, kwargs: Any) -> tuple[Plan, Any, Written]:
        for _ in range(4):
            try:
                if isinstance(again, _Untraced):
                    return self._look(plan, args, kwargs)
                return super()._retry(again, plan, args, kwargs)
            except Retry as another:
                again = another
                plan = self._touched.plan(plan.nodes)
        raise RuntimeError(f"`{self._jit_core.__qualname__}` reaches other states each time that it is traced")

    def _look(self, plan: Plan, args: Any, kwargs: Any) -> tuple[Plan, Any, Written]:
        """Trace with the whole touched graph, find out what is used, and go on with that."""
        core = self._jit_core
        whole = plan.choosing(None)
        core.mode.looking = True
        try:
            if tracing():
                return whole, *self._run(whole.values(), *args, **kwargs)
            traced = self._lowerable(whole, args, kwargs).trace
            which = traced.out_info[1].which
            before = plan.which.chosen or ()
            used = set(which[1]) | set(before)
            donated = sorted(set(which[0]) | set(before[: plan.which.donated])) if self._donate_states else []
            if not donated and len(whole.table) - len(used) < _UNUSED:
                return whole, *self._run(whole.values(), *args, **kwargs)  # JAX kept the trace
            chosen = (*donated, *sorted(used - set(donated)))
            new = self._touched.choose(plan, chosen, len(donated))
            core.mode.replay = functools.partial(_replay, traced, whole.values().values, chosen)
            try:
                return new, *self._run(new.values(), *args, **kwargs)
            finally:
                core.mode.replay = None
        finally:
            core.mode.looking = False

    def _run_donating(self, states: StateValues, *args: Any, **kwargs: Any) -> Any:
        count = states.which.donated
        given = states.values[:count]
        if count:
            _refuse_shared(states.states[:count], given)
        return self._compiled(given, StateValues(states.which, states.values[count:]), *args, **kwargs)

    def _lowerable(self, plan: Plan, args: Any, kwargs: Any) -> _Stages:
        states = plan.values()
        if self._donate_states:
            return _Stages(self._compiled, ([], states, *args), kwargs)
        return _Stages(self._compiled, (states, *args), kwargs)

    def _ahead(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Stages:
        args, kwargs = self._wrap_static(args, kwargs)
        args, kwargs, nodes = seal(args, kwargs, self.origin_fun)
        mode = self._jit_core.mode
        mode.looking = True
        try:
            stages = self._lowerable(self._touched.plan(nodes).choosing(None), args, kwargs)
            try:
                _ = stages.trace
            except Retry as met:
                plan = self._touched.counting(met.states, nodes)  # type: ignore[attr-defined]
                stages = self._lowerable(plan.choosing(None), args, kwargs)
                _ = stages.trace
            return stages
        finally:
            mode.looking = False

    def trace(self, *args: Any, **kwargs: Any) -> Any:
        """Return the ``jax.stages.Traced`` for arguments like these; no state changes."""
        return self._ahead(args, kwargs).trace

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """Return the ``jax.stages.Lowered`` for arguments like these; no state changes."""
        return self.trace(*args, **kwargs).lower()

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        """Compile for arguments like these and return the ``jax.stages.Compiled``; no state changes."""
        return self.lower(*args, **kwargs).compile()

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Return the shapes and dtypes of the result for arguments like these; no state changes."""
        return self.trace(*args, **kwargs).out_info[0]

    def clear_cache(self) -> None:
        """Forget all compiled programs."""
        self._compiled.clear_cache()
        self._touched.forget()


class _Stages:
    """A call that is traced when somebody asks."""

    def __init__(self, compiled: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._call = functools.partial(compiled.trace, *args, **kwargs)

    @functools.cached_property
    def trace(self) -> Any:
        return self._call()


def _donating(core: Core) -> Callable[..., Any]:
    def entry(donated: Sequence[Any], states: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        return core(StateValues(states.which, [*donated, *states.values]), *args, **kwargs)

    entry.__name__, entry.__qualname__ = core.__name__, core.__qualname__
    return entry


def _refuse_shared(states: Sequence[Any], values: Sequence[Any]) -> None:
    owners: dict[int, Any] = {}
    for state, value in zip(states, values, strict=True):
        for leaf in jax.tree.leaves(value):
            other = owners.setdefault(id(leaf), state)
            if other is not state:
                raise ValueError(
                    f"donate_states: {state!r} and {other!r} hold the same array, whose buffer can be given "
                    "away once only. Copy it: `state.value = jnp.array(state.value)`."
                )


def _replay(
    traced: Any, whole: Sequence[Any], chosen: tuple[int, ...], states: StateValues, args: Any, kwargs: Any
) -> Any:
    """Run a program that was traced with the whole touched graph, given only the states that it uses."""
    values = [jax.tree.map(_unused, value) for value in whole]
    for place, value in zip(chosen, states.values, strict=True):
        values[place] = value
    flat = jax.tree.leaves((values, args, kwargs))
    outs = jaxpr_as_fun(traced.jaxpr)(*flat)
    return jax.tree.unflatten(jax.tree.structure(traced.out_info), outs)


def _unused(leaf: Any) -> Any:
    """Something of the right shape and dtype in a place where nobody looks, without memory behind it."""
    dtype = jax.numpy.result_type(leaf) if not hasattr(leaf, "dtype") else leaf.dtype
    if jax.numpy.issubdtype(dtype, jax.dtypes.extended):
        return leaf
    return np.broadcast_to(np.zeros((), dtype), np.shape(leaf))


def _both_ways(
    fun: Callable[..., Any], numbers: int | Sequence[int] | None, names: str | Iterable[str] | None
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Complete argument numbers by names and names by numbers, from the signature, as ``jax.jit`` does."""
    nums = () if numbers is None else (numbers,) if isinstance(numbers, int) else tuple(numbers)
    named = () if names is None else (names,) if isinstance(names, str) else tuple(names)
    try:
        parameters = [
            p
            for p in inspect.signature(fun).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        return nums, named
    if numbers is None and named:
        nums = tuple(i for i, p in enumerate(parameters) if p.name in named)
    if names is None and nums:
        named = tuple(
            parameters[n].name
            for n in nums
            if -len(parameters) <= n < len(parameters) and parameters[n].kind is not inspect.Parameter.POSITIONAL_ONLY
        )
    return nums, named


def jit(
    fun: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    donate_states: bool = False,
    in_shardings: Any = None,
    out_shardings: Any = None,
    keep_unused: bool = False,
    inline: bool = False,
    compiler_options: dict[str, Any] | None = None,
    name: str | None = None,
) -> Any:
    """Compile a function that may read and write states.

    What the function reaches by name (its arguments, bound ``self``, closure and globals) is looked at on every
    call: a changed hyper-parameter, an added layer or a replaced State is seen, and going back to what was compiled
    before does not compile again.

    Args:
        fun: The function; without it, a decorator is returned.
        static_argnums: Positions of arguments that are part of the program; compared by type and value.
        static_argnames: Names of such arguments.
        donate_argnums: Positions of arguments whose buffers the result may reuse.
        donate_argnames: Names of such arguments.
        donate_states: Whether the states that are written give their old buffers to the new values.
        in_shardings: As in ``jax.jit``: a tuple with one entry for each positional argument.
        out_shardings: As in ``jax.jit``, for the result.
        keep_unused: As in ``jax.jit``.
        inline: As in ``jax.jit``.
        compiler_options: As in ``jax.jit``.
        name: The name of the compiled program; that of `fun` if None.

    Returns:
        A `JittedFunction`.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import jit
        >>> count = State(0)
        >>> @jit(static_argnames="by")
        ... def step(by):
        ...     count.value += by
        >>> step(by=2)
        >>> step(3)
        >>> int(count.value)
        5
    """
    options: dict[str, Any] = {
        "static_argnums": static_argnums, "static_argnames": static_argnames, "donate_argnums": donate_argnums,
        "donate_argnames": donate_argnames, "donate_states": donate_states, "in_shardings": in_shardings,
        "out_shardings": out_shardings, "keep_unused": keep_unused, "inline": inline, "name": name,
    }  # fmt: skip
    if compiler_options is not None:
        options["compiler_options"] = compiler_options
    if fun is None:
        return functools.partial(jit, **options)
    return JittedFunction(fun, **options)
