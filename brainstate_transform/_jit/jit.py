"""``jit``: the rule is ``jax.jit``, over the whole touched graph.

The shape of the graph is part of the arguments' structure, so JAX's own compiled-call cache is the cache: what the
program depends on is in the key, and no key is computed in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from brainstate_graph import Node, State, StateArgumentError

from .._engine.core import Core, StagedCore, trace_of
from .._engine.lift import Staged, whole_inside
from .._engine.placeholders import constant
from .._engine.retry import RETRIES, Retry, never_settled
from .._engine.touched import Inputs
from .._engine.user_function import decorator
from .._engine.values import Outcome, StateValues
from .._messages.boundary import boundary
from .argnums import both_ways
from .audit import ALWAYS, Audit
from .dispatch import Dispatch
from .explain import Explanation, NamedTrace, TraceLog
from .program import Program
from .stages import Compiled, Info, Lowered, Traced
from .state_options import DonatedArguments, Donation, Placement

__all__ = ["JittedFunction", "jit"]


class JittedFunction(Staged):
    """A compiled function that handles states; made by `jit`.

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

    def __init__(
        self,
        fun: Callable[..., Any],
        static_argnums: int | Sequence[int] | None = None,
        static_argnames: str | Iterable[str] | None = None,
        donate_argnums: int | Sequence[int] | None = None,
        donate_argnames: str | Iterable[str] | None = None,
        donate_states: Any = False,
        state_shardings: Any = None,
        in_shardings: Any = None,
        out_shardings: Any = None,
        name: str | None = None,
        audit: bool | None = None,
        **options: Any,
    ) -> None:
        self._made_with: dict[str, Any] = {
            "static_argnums": static_argnums, "static_argnames": static_argnames, "donate_argnums": donate_argnums,
            "donate_argnames": donate_argnames, "donate_states": donate_states, "state_shardings": state_shardings,
            "in_shardings": in_shardings, "out_shardings": out_shardings, "name": name,
            "audit": audit, **options,
        }  # fmt: skip
        core = Core(fun)
        if name is not None:
            core.__name__ = core.__qualname__ = name
        self._log = TraceLog(core)
        staged = StagedCore(core, self._log)
        numbers, names = both_ways(fun, static_argnums, static_argnames)
        self._static = (frozenset(numbers), frozenset(names))
        self._donated = DonatedArguments(*both_ways(fun, donate_argnums, donate_argnames))
        donates = donate_states is not False and donate_states is not None
        donation = Donation(core, "donate_states", donate_states) if donates and donate_states is not True else None
        placement = None if state_shardings is None else Placement(core, "state_shardings", state_shardings)
        self._program = Program(staged, donates, donation, placement)
        super().__init__(staged, self._program, name)
        if numbers or names:
            self._with_static, self._as_given = self._wrap_static, False
        elif any(self._donated) and not donates:
            self._with_static = self._wrap_static
        self._options = options | {"in_shardings": in_shardings, "out_shardings": out_shardings}
        self._audit = Audit(self._program) if audit or (audit is None and ALWAYS) else None
        self._set_dispatch()

    def _set_dispatch(self) -> None:
        self._dispatch = Dispatch(self._program, self._static[0], self._donated, self._options)
        self._run, self._run_whole = self._dispatch.run, self._dispatch.run_whole
        if self._audit is not None:
            self._run, self._run_whole = map(self._audit.before, (self._run, self._run_whole))

    @property
    def origin_fun(self) -> Callable[..., Any]:
        """The user's function."""
        return self.functions[0]

    @property
    def unwatched(self) -> tuple[str, ...]:
        """The places that the function reads and that calls do not compare; see docs/guides/dependencies.md."""
        return self.cores[0].touched.unwatched

    @property
    def parts(self) -> Sequence[Any]:
        """What it was made with."""
        return (*self.functions, self._made_with)

    def _like(self, fun: Callable[..., Any]) -> JittedFunction:
        # A method of an object that is no Node: the numbers were counted with `self`.
        made_with = dict(self._made_with)
        for kind in ("static", "donate"):
            numbers, names = made_with[f"{kind}_argnums"], made_with[f"{kind}_argnames"]
            if numbers is not None:
                counted = both_ways(self.origin_fun, numbers, names)[0]
                made_with[f"{kind}_argnums"] = tuple(n - 1 for n in counted if n > 0)
        return JittedFunction(fun, **made_with)

    def _prepared(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Inputs]:
        if self._log.crowded:
            self._let_go()
            self._log.crowded = False
        return super()._prepared(args, kwargs)

    def _let_go(self) -> None:
        """Let go of what was compiled."""
        self._dispatch.clear()
        self._program.forget()

    def _wrap_static(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        numbers = self._static[0]
        # A program that donates states is called in another way, which costs: only once a node is seen to be donated.
        if not self._program.donates and self._donated.hold_nodes(args, kwargs):
            self._program.donate(Donation(self.cores[0], "donate_states", None))
            self._set_dispatch()
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
        return constant(value)

    def as_passed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Inputs]:
        """Return the arguments as JAX takes them, and the states to pass, as far as they are known."""
        args, kwargs, nodes = self._sealed(args, kwargs)
        return args, kwargs, self._program.known(nodes)

    @boundary
    def trace(self, *args: Any, **kwargs: Any) -> Traced:
        """Trace for arguments like these; no state changes.

        Returns:
            A `Traced`, as ``jax.jit(f).trace`` gives it, with ``lower``.
        """
        args, kwargs, inputs = self.as_passed(args, kwargs)
        program, dispatch = self._program, self._dispatch
        with jax.disable_jit(False):
            inputs, found = program.settle(inputs, args, kwargs)
            if inputs.key.passing is not None or not dispatch.plain:
                found = None  # what was traced to find out is not what runs
            tried: list[Retry] = []
            for _ in range(RETRIES):
                try:
                    if found is None:
                        inputs = whole_inside(inputs)
                        compiled = dispatch.staged(inputs, len(args))
                        traced = compiled.trace(*dispatch.leading(inputs.values(), args, kwargs), *args, **kwargs)
                        found = traced, self._core.outcome_of(traced.out_tree)
                    stage, outcome = found
                    trace = trace_of(StateValues(inputs.key, ()), args, kwargs, outcome)
                    info = Info(stage, outcome, inputs, NamedTrace(trace, self.cores[0]))
                    return Traced(stage, self, dispatch, inputs.key, info)
                except Retry as another:
                    tried.append(another.alone())
                    inputs = program.inputs_again(tried[-1], inputs, args, kwargs)
        raise never_settled(self.__qualname__, tried)

    @boundary
    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """Lower for arguments like these; no state changes.

        Returns:
            A `Lowered`, as ``jax.jit(f).lower`` gives it, with ``compile``.
        """
        traced = self.trace(*args, **kwargs)
        if self._audit is not None:  # what arrays hold now is what the program has
            args, kwargs, inputs = self.as_passed(args, kwargs)
            with jax.disable_jit(False):
                self._audit.see(inputs.whole(), args, kwargs)
        return traced.lower()

    @boundary
    def compile(self, *args: Any, **kwargs: Any) -> Compiled:
        """Compile for arguments like these; no state changes, and a later call like it is not traced again.

        Returns:
            A `Compiled`, which is called with the user's arguments and writes states.
        """
        return self.lower(*args, **kwargs).compile()

    @boundary
    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Return the shapes and dtypes of the result for arguments like these; no state changes."""
        return self.trace(*args, **kwargs).out_info

    @boundary
    def explain(self, *args: Any, **kwargs: Any) -> Explanation:
        """Say which states are used, how many programs there are, and why the function was traced again.

        Args:
            *args: Arguments, to ask about a call with them, for which the function is traced if it was not yet;
                without any, the last trace is explained.
            **kwargs: Keyword arguments.

        Returns:
            An `Explanation`, whose text is a report.
        """
        if not (args or kwargs):
            return self._log.explain()
        self.trace(*args, **kwargs)
        args, kwargs, inputs = self.as_passed(args, kwargs)
        return self._log.explain(trace_of(inputs.whole().values(), args, kwargs, Outcome(())))

    def clear_cache(self) -> None:
        """Forget all compiled programs."""
        self._let_go()
        self.cores[0].touched.forget()
        self._log.forget()


def jit(
    fun: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    donate_states: Any = False,
    state_shardings: Any = None,
    in_shardings: Any = None,
    out_shardings: Any = None,
    keep_unused: bool = False,
    inline: bool = False,
    compiler_options: dict[str, Any] | None = None,
    name: str | None = None,
    audit: bool | None = None,
) -> Any:
    """Compile a function that may read and write states.

    Each call compares what the function reaches by name: its arguments, bound ``self``, closure and globals. After a
    changed hyper-parameter, an added layer or a replaced State it runs another program. To change it back compiles
    nothing again.

    Args:
        fun: The function; without it, a decorator is returned.
        static_argnums: Positions of arguments that are part of the program; compared by type and value.
        static_argnames: Names of such arguments.
        donate_argnums: Positions of arguments whose buffers the result may reuse; the states of a module there that are
            written give theirs to the new values.
        donate_argnames: Names of such arguments.
        donate_states: Whether the states that are written give their old buffers to the new values: True for all of
            them, or a selector (see `select`).
        state_shardings: Where states live, before and after each call: a sharding for all of them,
            ``{sharding: states}`` or ``{states: sharding}`` (see `place`). A PartitionSpec needs ``jax.set_mesh``.
        in_shardings: As in ``jax.jit``, for the positional arguments.
        out_shardings: As in ``jax.jit``, for the result.
        keep_unused: As in ``jax.jit``.
        inline: As in ``jax.jit``.
        compiler_options: As in ``jax.jit``.
        name: The name of the compiled program; that of `fun` if None.
        audit: Whether each call traces the function again, and raises a StaleProgramError that names the difference if
            the compiled program is out of date. It is for debugging, because each call costs a trace. None takes
            the environment variable ``BRAINSTATE_AUDIT`` as it was at the import of this package: 1 is on.

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
    if fun is None:
        return decorator(jit, locals())
    options: dict[str, Any] = {
        "static_argnums": static_argnums, "static_argnames": static_argnames, "donate_argnums": donate_argnums,
        "donate_argnames": donate_argnames, "donate_states": donate_states, "state_shardings": state_shardings,
        "in_shardings": in_shardings, "out_shardings": out_shardings, "keep_unused": keep_unused, "inline": inline,
        "name": name, "audit": audit,
    }  # fmt: skip
    if compiler_options is not None:
        options["compiler_options"] = compiler_options
    return JittedFunction(fun, **options)
