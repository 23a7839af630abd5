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

from brainstate_graph import Node, State, StateArgumentError, Static
from brainstate_graph.extend import tracing

from ._core import Retry, Run, StagedCore, StraysMet
from ._lift import RETRIES, Staged
from ._program import UNUSED, Look, Program, StaticCore, Wider
from ._seal import seal
from ._touched import Plan
from ._values import Choice, Rows, StateValues

__all__ = ["JittedFunction", "jit"]


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

    _core = StaticCore
    _program: Program
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

        def rule(core: StagedCore) -> Run:
            if name is not None:
                core.__name__ = core.__qualname__ = name
            self._program = program = Program(core, donate_states)
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
        if not isinstance(again, (Look, Wider)):
            return super()._other_plan(again, plan, args, kwargs)
        whole = plan.choosing(None)
        try:
            _, used, written = self._program.look(whole, args, kwargs)
        except StraysMet as met:
            met.alone()
            return self._touched.counting(met.states, plan.nodes)
        choice = plan.which.choice or Choice(())
        before = choice.places or ()
        places = {*used, *before}
        donated = sorted({*written, *before[: choice.donated]}) if self._donate_states else []
        if not self._donate_states and len(whole.table) - len(places) < UNUSED:
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
                plan = self._other_plan(again.alone(), plan, args, kwargs)
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


def _donating(program: Program) -> Callable[..., Any]:
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
