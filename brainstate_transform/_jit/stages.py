"""Ahead of time: ``trace``, ``lower`` and ``compile``, with the user's own arguments and with states.

Each wraps the stage of ``jax.stages`` of the same name.  None changes a state but the call of a `Compiled`.
"""

from __future__ import annotations

import functools
from typing import Any, Protocol, TypeVar

import jax

from brainstate_graph import diff
from brainstate_graph.extend import describe, locate

from .._checks.avals import shape_of, struct
from .._engine.core import without_jit
from .._engine.lost import refuse_lost
from .._engine.results import unseal_result
from .._engine.touched import Inputs, TouchedGraph
from .._engine.values import GraphKey, Outcome
from .._messages.boundary import boundary
from .dispatch import Dispatch
from .explain import NamedTrace

__all__ = ["Compiled", "Info", "Lowered", "Traced"]

_S = TypeVar("_S", bound="_Stage")


class Owner(Protocol):
    """What a compiled function does for its stages."""

    __qualname__: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    def as_passed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Inputs]: ...

    def _finish(self, inputs: Inputs, out: Any, written: Any) -> Any: ...


class Info:
    """What is known about the states of a program and its result, in a form for users where they ask for it.

    Args:
        stage: The trace.
        outcome: What it does to states.
        inputs: The states that it is passed.
        trace: The names in it.
    """

    def __init__(self, stage: Any, outcome: Outcome, inputs: Inputs, trace: NamedTrace) -> None:
        self._stage, self._outcome, self._trace = stage, outcome, trace
        self._given, self._values = inputs.indices, jax.tree.map(jax.typeof, inputs.values().values)
        self._objects = inputs.graph.objects if outcome.sealed else ()

    @functools.cached_property
    def states(self) -> dict[str, Any]:
        names = self._trace.names()
        return {names[i]: jax.tree.map(struct, old) for i, old in zip(self._given, self._values, strict=True)}

    @functools.cached_property
    def written(self) -> dict[str, Any]:
        names, values = self._trace.names(), self._stage.out_info[1][0]
        return {names[i]: shape for i, shape in zip(self._outcome.states, values, strict=True)}

    @functools.cached_property
    def result(self) -> Any:
        return unseal_result(self._stage.out_info[0], self._objects)[0]


class _Stage:
    """What is known at every stage.

    Attributes:
        stage: The stage of JAX, which has the states before the arguments.
    """

    def __init__(self, stage: Any, owner: Owner, dispatch: Dispatch, key: GraphKey, info: Info) -> None:
        self.stage = stage
        self._owner, self._dispatch, self._key, self._info = owner, dispatch, key, info

    @property
    def states_info(self) -> dict[str, Any]:
        """Shapes and dtypes of the states that the program is given, by path."""
        return self._info.states

    @property
    def written_info(self) -> dict[str, Any]:
        """Shapes and dtypes of the states that the program writes, by path."""
        return self._info.written

    @property
    def out_info(self) -> Any:
        """Shapes and dtypes of the result."""
        return self._info.result

    def _next(self, kind: type[_S], stage: Any) -> _S:
        return kind(stage, self._owner, self._dispatch, self._key, self._info)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._owner.__qualname__!r}>"


class Traced(_Stage):
    """A compiled function traced for some arguments; made by ``jit(f).trace``.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import jit
        >>> count = State(0)
        >>> @jit
        ... def step(x, count=count):
        ...     count.value += 1
        ...     return x
        >>> step.trace(1.0).written_info
        {'count': ShapeDtypeStruct(shape=(), dtype=int32, weak_type=True)}
    """

    @property
    def jaxpr(self) -> Any:
        """The program, with the states before the arguments."""
        return self.stage.jaxpr

    @property
    def fun_name(self) -> str:
        """The name of the function."""
        return self.stage.fun_name

    def lower(self, **options: Any) -> Lowered:
        """Lower the program; options as of ``jax.stages.Traced.lower``."""
        return self._next(Lowered, self.stage.lower(**options))


class Lowered(_Stage):
    """A program before XLA has compiled it; made by ``jit(f).lower``.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import jit
        >>> w = State(2.0)
        >>> "multiply" in jit(lambda x: x * w.value).lower(3.0).as_text()
        True
    """

    def as_text(self, dialect: str | None = None, **options: Any) -> str:
        """Return the program as text; options as of ``jax.stages.Lowered.as_text``."""
        return self.stage.as_text(dialect, **options)

    def compiler_ir(self, dialect: str | None = None) -> Any:
        """Return the program as an object of the compiler."""
        return self.stage.compiler_ir(dialect)

    def cost_analysis(self) -> Any:
        """Return what XLA estimates the program to cost."""
        return self.stage.cost_analysis()

    def compile(self, compiler_options: dict[str, Any] | None = None, **options: Any) -> Compiled:
        """Compile the program."""
        return self._next(Compiled, self.stage.compile(compiler_options, **options))


class Compiled(_Stage):
    """A compiled program that takes the arguments of the user's function and writes states; from ``jit(f).compile``.

    It is never traced again: a call with other shapes is an error.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import jit
        >>> count = State(0)
        >>> @jit
        ... def step(x):
        ...     count.value += 1
        ...     return x + 1.0
        >>> compiled = step.compile(1.0)
        >>> float(compiled(5.0)), int(count.value)
        (6.0, 1)
    """

    @boundary
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        owner = self._owner
        if without_jit():
            return owner(*args, **kwargs)
        args, kwargs, inputs = owner.as_passed(args, kwargs)
        inputs = self._fitting(inputs)
        try:
            out, written = self._dispatch.call(self.stage, inputs.values(), args, kwargs)
        except (RuntimeError, TypeError, ValueError) as error:
            refuse_lost(inputs.states, owner.__qualname__, error)
            self._refuse_shapes(inputs)
            raise
        return owner._finish(inputs, out, written)

    def _fitting(self, inputs: Inputs) -> Inputs:
        """Return the inputs that the program was compiled for, in the graph of these."""
        key, now = self._key, inputs.key
        user = self._owner.__qualname__
        if now == key:
            return inputs
        if now.shape is not key.shape:
            raise ValueError(
                f"`{user}` was compiled for another model. Compile it again. What changed:\n"
                f"{diff(key.shape, now.shape)}"
            )
        graph = inputs.graph
        strays = {number: state for number, state in graph.strays.items() if number in key.strays}
        fitting = Inputs(TouchedGraph(graph.snapshot, strays, graph.nodes, graph.places), key.passing)
        if fitting.key != key:
            raise ValueError(f"`{user}` was compiled for states with other hooks. Compile it again.")
        return fitting

    def _refuse_shapes(self, inputs: Inputs) -> None:
        values = inputs.values().values
        wrong = [
            f"{locate(state)} is {describe(jax.tree.map(shape_of, value))} and was {describe(shape)}"
            for state, value, shape in zip(inputs.states, values, self.states_info.values(), strict=True)
            if _form(jax.tree.map(shape_of, value)) != _form(shape)
        ]
        if wrong:
            raise TypeError(
                f"`{self._owner.__qualname__}` was compiled for states of other shapes: {'; '.join(wrong)}. "
                "Compile it again, or call the function that is not compiled ahead of time."
            ) from None

    def as_text(self) -> str:
        """Return the optimised program as text."""
        return self.stage.as_text()

    def cost_analysis(self) -> Any:
        """Return what XLA estimates the program to cost."""
        return self.stage.cost_analysis()

    def memory_analysis(self) -> Any:
        """Return how many bytes arguments, results, donated buffers and temporary values take."""
        return self.stage.memory_analysis()

    def runtime_executable(self) -> Any:
        """Return what the runtime executes."""
        return self.stage.runtime_executable()

    @property
    def input_shardings(self) -> Any:
        """The shardings of the arguments, as ``(args, kwargs)``; states left out."""
        args, kwargs = self.stage.input_shardings
        return args[self._dispatch.shift :], kwargs

    @property
    def output_shardings(self) -> Any:
        """The shardings of the result."""
        return self.stage.output_shardings[0]


def _form(tree: Any) -> Any:
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, [(leaf.shape, leaf.dtype) for leaf in leaves]
