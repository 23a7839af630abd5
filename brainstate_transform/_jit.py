"""``jit``: the rule is ``jax.jit``, over the whole touched graph.

The shape of the graph is part of the arguments' structure, so JAX's own compiled-call cache is the cache: what the
program depends on is in the key, and no key is computed in Python.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from brainstate_graph import Node, State, StateArgumentError, Static
from brainstate_graph.extend import tracing

from ._lift import RETRIES, Core, Retry, Run, Staged, StraysMet, without_jit
from ._seal import seal
from ._touched import Plan
from ._values import Choice, Rows, StateValues

__all__ = ["JittedFunction", "jit"]

# A program with this many unused states among its inputs is given only the ones that it uses: each input costs
# 0.3 to 1 microsecond per call, a second look at the traced program costs a third of a trace, once.
_UNUSED = 16


class _Look(Retry):
    """It is not known yet which states are used.

    Raised once for a shape of the touched graph: a signature whose trace was given up stays on the slow path of
    ``jax.jit`` for good (150 microseconds a call), so what is called afterwards has another choice in its key.
    """


class _Wider(Retry):
    """A program for other arguments uses states beyond the choice."""


class _StaticCore(Core):
    """A core some of whose arguments are static."""

    def open(self, args: Any, kwargs: Any, plan: Plan | None) -> Any:
        args, kwargs = super().open(args, kwargs, plan)
        return (
            tuple(a.value if isinstance(a, Static) else a for a in args),
            {k: v.value if isinstance(v, Static) else v for k, v in kwargs.items()},
        )


class _Program:
    """What JAX compiles: the core, given the states that it uses.

    Args:
        core: The core.
        always_look: Whether to look at small graphs too.
    """

    def __init__(self, core: Core, always_look: bool) -> None:
        self.core = core
        self.whole: Any = jax.jit(core)  # the user's function is traced here, once for each kind of arguments
        self.always_look = always_look
        self.__name__, self.__qualname__ = core.__name__, core.__qualname__
        if hasattr(core, "__signature__"):
            self.__signature__ = core.__signature__

    def __call__(self, _states_: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        states = _states_  # named so that a user's argument may be called `states`
        which = states.which
        if without_jit() or not isinstance(which, Rows):
            return self.core(states, *args, **kwargs)
        choice = which.choice
        if choice is None:
            if self.always_look or len(states) > _UNUSED:
                raise _Look
            return self.core(states, *args, **kwargs)
        plan = which.plan.choosing(None)
        if choice.places is None:
            return self.whole(StateValues(plan.which, states.values), *args, **kwargs)
        if tracing():  # the trace may close over values of the one around it, which a replay would not find
            return self.whole(StateValues(plan.which, self._filled(plan, choice, states)), *args, **kwargs)
        traced, used, _ = self.look(plan, args, kwargs)
        if not set(choice.places).issuperset(used):
            raise _Wider
        values = self._filled(plan, choice, states)
        outs = jaxpr_as_fun(traced.jaxpr)(*jax.tree.leaves((values, args, kwargs)))
        return jax.tree.unflatten(jax.tree.structure(traced.out_info), outs)

    def _filled(self, plan: Plan, choice: Choice, states: StateValues) -> list[Any]:
        """The values of the whole table: those given, and something in the places that are not used."""
        values = [jax.tree.map(_unused, value) for value in plan.values().values]
        for place, value in zip(choice.places or (), states.values, strict=True):
            values[place] = value
        return values

    def look(self, plan: Plan, args: Any, kwargs: Any) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
        """Trace with the whole touched graph, or find that trace; return it, and the places used and written."""
        traced = self.whole.trace(plan.values(), *args, **kwargs)
        written, used, _ = traced.out_info[1].which
        return traced, used, written


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

    _core = _StaticCore
    _program: _Program
    _compiled: Any
    _undonated: Any

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
        if numbers or names:
            self._prepare = self._wrap_static
        self._donate_states = donate_states

        def rule(core: Core) -> Run:
            if name is not None:
                core.__name__ = core.__qualname__ = name
            self._program = program = _Program(core, donate_states)
            shift = 2 if donate_states else 1  # the states come first, those that are donated before the others
            if in_shardings is not None:
                if not isinstance(in_shardings, (tuple, list)):
                    raise TypeError("in_shardings is a tuple with one entry for each positional argument")
                options["in_shardings"] = (*[None] * shift, *in_shardings)
            if out_shardings is not None:
                options["out_shardings"] = (out_shardings, None)
            self._undonated = jax.jit(program)
            self._compiled = jax.jit(
                _donating(program) if donate_states else program,
                donate_argnums=(*((0,) if donate_states else ()), *(n + shift for n in donated)),
                donate_argnames=tuple(donated_names) or None,
                **options,
            )
            return self._run_donating if donate_states else self._compiled

        super().__init__(rule, (fun,), None, name)

    @property
    def origin_fun(self) -> Callable[..., Any]:
        """The user's function."""
        return self.functions[0]

    def _like(self, fun: Callable[..., Any]) -> JittedFunction:
        # A method of an object that is no Node: the numbers were counted with `self`.
        made_with = dict(self._made_with)
        for kind in ("static", "donate"):
            numbers, names = made_with[f"{kind}_argnums"], made_with[f"{kind}_argnames"]
            if numbers is not None:
                counted = _both_ways(self.origin_fun, numbers, names)[0]
                made_with[f"{kind}_argnums"] = tuple(n - 1 for n in counted if n > 0)
        return JittedFunction(fun, **made_with)

    def _wrap_static(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        numbers = self._static[0]
        return (
            tuple(self._wrapped(a, i) if i in numbers else a for i, a in enumerate(args)),
            {k: self._wrapped(v, k) if k in self._static[1] else v for k, v in kwargs.items()},
        )

    def _wrapped(self, value: Any, place: Any) -> Any:
        if isinstance(value, State):
            raise StateArgumentError(
                f"static argument {place!r} of `{self.__qualname__}` is a State, {value!r}: let the function "
                "close over it, or pass the Node that holds it"
            )
        if isinstance(value, Node):
            return value  # its shape is static anyway, and its states are not
        try:
            hash(value)
        except TypeError:
            raise ValueError(
                f"static argument {place!r} of `{self.__qualname__}` is not hashable, being a "
                f"{type(value).__name__}. Pass a tuple for a list, or an array as an ordinary argument."
            ) from None
        return Static(value)

    def _other_plan(self, again: Retry, plan: Plan, args: Any, kwargs: Any) -> Plan:
        if not isinstance(again, (_Look, _Wider)):
            return super()._other_plan(again, plan, args, kwargs)
        whole = plan.choosing(None)
        try:
            _, used, written = self._program.look(whole, args, kwargs)
        except StraysMet as met:
            return self._touched.counting(met.states, plan.nodes)
        choice = plan.which.choice or Choice(())
        before = choice.places or ()
        places = {*used, *before}
        donated = sorted({*written, *before[: choice.donated]}) if self._donate_states else []
        if not self._donate_states and len(whole.table) - len(places) < _UNUSED:
            return self._touched.choose(plan, Choice(None))
        return self._touched.choose(plan, Choice((*donated, *sorted(places.difference(donated))), len(donated)))

    def _run_donating(self, states: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        if tracing():  # what is around may still drop the results, and go on with the values of before
            return self._undonated(states, *args, **kwargs)
        return self._compiled(*self._apart(states), *args, **kwargs)

    def _apart(self, states: StateValues) -> tuple[Sequence[Any], StateValues]:
        """Sort the values into those that are donated and the others."""
        choice = states.which.choice if isinstance(states.which, Rows) else None
        count = choice.donated if choice else 0
        _refuse_shared(states.states[:count], states.values[:count])
        return states.values[:count], StateValues(states.which, states.values[count:])

    def trace(self, *args: Any, **kwargs: Any) -> Any:
        """Return the ``jax.stages.Traced`` for arguments like these; no state changes."""
        args, kwargs = self._wrap_static(args, kwargs)
        args, kwargs, nodes = seal(args, kwargs, self.origin_fun)
        plan = self._touched.plan(nodes)
        for _ in range(RETRIES):
            states = plan.values()
            try:
                return self._compiled.trace(
                    *(self._apart(states) if self._donate_states else (states,)), *args, **kwargs
                )
            except Retry as again:
                plan = self._other_plan(again, plan, args, kwargs)
        raise RuntimeError(f"`{self.__qualname__}` reaches other states each time that it is traced")

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
        for compiled in (self._compiled, self._undonated, self._program.whole):
            compiled.clear_cache()
        self._touched.forget()


def _donating(program: _Program) -> Callable[..., Any]:
    def entry(_donated_: Sequence[Any], _states_: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        return program(StateValues(_states_.which, [*_donated_, *_states_.values]), *args, **kwargs)

    entry.__name__, entry.__qualname__ = program.__name__, program.__qualname__
    return entry


def _refuse_shared(states: Sequence[Any], values: Sequence[Any]) -> None:
    owners: dict[int, Any] = {}
    for state, value in zip(states, values, strict=True):
        for leaf in jax.tree.leaves(value):
            if not isinstance(leaf, jax.Array):
                continue
            other = owners.setdefault(id(leaf), state)
            if other is not state:
                raise ValueError(
                    f"donate_states: {state!r} and {other!r} hold the same array, whose buffer can be given "
                    "away once only. Copy it: `state.value = jnp.array(state.value)`."
                )


def _unused(leaf: Any) -> Any:
    """Something of the right shape and dtype in a place where nobody looks, without memory behind it."""
    dtype = jax.numpy.result_type(leaf) if not hasattr(leaf, "dtype") else leaf.dtype
    if jax.numpy.issubdtype(dtype, jax.dtypes.extended):
        return leaf
    return np.broadcast_to(np.zeros((), dtype), np.shape(leaf))


def _both_ways(
    fun: Callable[..., Any], numbers: int | Sequence[int] | None, names: str | Iterable[str] | None
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Complete argument numbers by names and names by numbers, from the signature, as ``jax.jit`` does.

    Raises:
        ValueError: The function has no such argument.
    """
    nums = () if numbers is None else (numbers,) if isinstance(numbers, int) else tuple(numbers)
    named = () if names is None else (names,) if isinstance(names, str) else tuple(names)
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):
        return nums, named
    kinds = {p.kind for p in parameters}
    ordered = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    user = getattr(fun, "__qualname__", fun)
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        wrong = [n for n in nums if not -len(ordered) <= n < len(ordered)]
        if wrong:
            raise ValueError(f"`{user}` has {len(ordered)} positional arguments, and no number {wrong[0]}")
        nums = tuple(n % len(ordered) for n in nums)
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        unknown = [n for n in named if n not in {p.name for p in parameters}]
        if unknown:
            raise ValueError(f"`{user}` has no argument {unknown[0]!r}")
    if any(n < 0 for n in nums):
        raise ValueError(f"`{user}` takes any number of arguments: count them from the front, starting with 0")
    if numbers is None and named:
        nums = tuple(i for i, p in enumerate(ordered) if p.name in named)
    if names is None and nums:
        named = tuple(p.name for i, p in enumerate(ordered) if i in nums and p.kind is not p.POSITIONAL_ONLY)
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
