"""What one call differentiates: chosen states and arguments in, values out; all else rides along as auxiliary output.

Every derivative of this package is a JAX derivative of `Chosen`, a pure function of one argument.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from brainstate_graph import Overlay
from brainstate_graph.extend import describe, locate

from .._engine.core import Core
from .._engine.placeholders import holds_nodes
from .._engine.select import Selection, overlooked, select
from .._engine.values import StateValues, Written

__all__ = ["ALL", "Chosen", "Layout", "check_argnums", "scalar"]

ALL: Any = object()  # as `argnums`: every positional argument


def check_argnums(argnums: Any) -> None:
    """Refuse what is no position of arguments, before anything runs.

    Raises:
        ValueError: It is no whole number, or no tuple of different ones.
    """
    numbers = argnums if isinstance(argnums, (tuple, list)) else (argnums,)
    try:
        valid = not any(isinstance(n, bool) for n in numbers) and len(set(map(operator.index, numbers))) == len(numbers)
    except TypeError:
        valid = False
    if not valid:
        raise ValueError(
            f"argnums={argnums!r}: give the position of an argument, counted from 0 or, if negative, from the end, or "
            "a tuple of different ones"
        )


class Layout(NamedTuple):
    """The form in which the user gets one thing for each chosen state and argument.

    Attributes:
        selection: The chosen states, or None.
        argnums: The chosen arguments as the user named them: one, some, or None.
        size: How many arguments that are.
    """

    selection: Selection | None
    argnums: Any
    size: int

    def gather(self, parts: Any) -> Any:
        """Put a pair, one thing for each state and one for each argument, into the user's form."""
        by_state, by_arg = parts
        several = isinstance(self.argnums, (tuple, list)) or self.argnums is ALL
        of_args = tuple(by_arg) if several else None if self.argnums is None else by_arg[0]
        if self.selection is None:
            return of_args
        of_states = self.selection.gather(by_state)
        return of_states if self.argnums is None else (of_states, of_args)

    def scatter(self, tangents: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
        """Take the pair out of what the user gives as arguments: states first, then one for each argument."""
        states = self.selection is not None
        if len(tangents) != states + self.size:
            expected = f"{'one for the states and ' if states else ''}{self.size} for the arguments"
            raise TypeError(f"expected tangents as chosen, {expected}, and got {len(tangents)}")
        first = self.scatter_states(tangents[0], "the first tangent") if states else []
        return first, list(tangents[states:])

    def scatter_states(self, tree: Any, name: str) -> list[Any]:
        """Take one part for each state out of a tree that is built like the gradient by `wrt`."""
        assert self.selection is not None
        try:
            return self.selection.scatter(tree)
        except ValueError as error:
            raise TypeError(f"{name} is not built like `wrt`, as gradients are: {error}") from None

    def gather_each(self, like: Any, trees: Any) -> Any:
        """Do the same at every leaf of `like` in `trees`: a Jacobian has inputs inside outputs."""
        treedef = jax.tree.structure(like)
        return treedef.unflatten([self.gather(parts) for parts in treedef.flatten_up_to(trees)])


class Chosen:
    """The pure function of what a call differentiates: ``(states, arguments) -> (value, (value, aux, written))``.

    Args:
        core: The user's function.
        wrt: A selector of states, or None.
        argnums: Positions of arguments, `ALL`, or None.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
        has_aux: Whether the function returns a pair ``(value, aux)``.
        allow_int: Whether chosen states and arguments may be whole numbers; None if the arguments may.
        allow_unused: Whether the function may leave a chosen state alone.

    Attributes:
        inputs: The pair of what is chosen, a value for each state and each argument.
        layout: The form of the result.

    Raises:
        TypeError: Something chosen has no derivative.
        ValueError: Nothing is chosen, or there is no such argument.
    """

    def __init__(
        self,
        core: Core,
        wrt: Any,
        argnums: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        has_aux: bool = False,
        allow_int: bool | None = False,
        allow_unused: bool = False,
    ) -> None:
        self.__name__ = core.__name__
        self.core, self.wrt, self.args, self.kwargs = core, wrt, args, kwargs
        self.has_aux = has_aux
        self.allow_unused = allow_unused
        if isinstance(wrt, int) or (isinstance(wrt, (tuple, list)) and wrt and all(isinstance(n, int) for n in wrt)):
            raise TypeError(f"wrt={wrt!r} names no states; for arguments by position write `argnums={wrt!r}`")
        self.numbers = _positions(argnums, core, len(args))
        chosen = None if wrt is None else select(wrt, core, "wrt")
        if chosen is None and not self.numbers:
            raise ValueError(f"nothing to differentiate in `{core.__qualname__}`: name states by wrt, or arguments")
        self.layout = Layout(chosen, argnums, len(self.numbers))
        for number in self.numbers:
            _refuse_nodes(core, number, args[number])
        self.states = StateValues.read(chosen.states if chosen else ())
        self.inputs = (list(self.states.values), [args[number] for number in self.numbers])
        if chosen is not None and not allow_int:
            for state, value in zip(chosen.states, self.states.values, strict=True):
                _refuse_discrete(lambda s=state: f"wrt names {locate(s)}, whose value", value, wrt=True)
        if allow_int is False:
            for number, value in zip(self.numbers, self.inputs[1], strict=True):
                name = lambda n=number: f"argument {n + core.bound} of `{core.__qualname__}`"  # noqa: E731
                _refuse_discrete(name, value, wrt=False)

    def __call__(self, inputs: tuple[Sequence[Any], Sequence[Any]]) -> tuple[Any, tuple[Any, Any, Written]]:
        values, picked = inputs
        args = list(self.args)
        for number, value in zip(self.numbers, picked, strict=True):
            args[number] = value
        overlay = Overlay()
        out, written = self.core.run(StateValues(self.states.key, values), tuple(args), self.kwargs, overlay)
        self._refuse_unused(overlay)
        value, aux = _split_aux(out, self.core) if self.has_aux else (out, None)
        if written.outcome.sealed and holds_nodes(value):
            raise TypeError(
                f"`{self.core.__qualname__}` returns a Node in what is differentiated: return arrays, and the Node as "
                "auxiliary output, with has_aux=True"
            )
        return value, (value, aux, written)

    def _refuse_unused(self, overlay: Overlay) -> None:
        chosen, core = self.layout.selection, self.core
        if chosen is None:
            return
        used = [state for state in overlay.reads if not overlay.created(state) and state not in chosen.states]
        missed = overlooked(self.wrt, core, used)
        if missed:
            raise ValueError(
                f"`{core.__qualname__}` reads {', '.join(map(locate, missed))} in a way that cannot be seen beforehand,"
                f" so that the filter wrt={self.wrt!r} could not choose it. Name the states themselves, as in "
                "`wrt=model.states(ParamState)`, or let the function close over the model."
            )
        unused = [
            f"{name} ({locate(state)})"
            for state, name in zip(chosen.states, chosen.names, strict=True)
            if state not in overlay.reads and state not in overlay.writes
        ]
        if unused and not self.allow_unused:
            raise ValueError(
                f"`{core.__qualname__}` does not use these states, so there is nothing to differentiate: "
                f"{', '.join(unused)}. Leave them out of `wrt`, or write allow_unused=True for zeros."
            )


def scalar(chosen: Chosen) -> Callable[..., Any]:
    """The same function, which refuses a value that is no scalar in words that name the user's function."""

    def value_of(inputs: Any) -> Any:
        value, others = chosen(inputs)
        leaves = jax.tree.leaves(value)
        if len(leaves) != 1 or leaves[0] is not value or jnp.ndim(value):
            shown = f"a {type(value).__name__}" if len(leaves) != 1 or leaves[0] is not value else describe(value)
            raise TypeError(
                f"`{chosen.core.__qualname__}` returns {shown}, and a gradient is of a scalar: return the sum or mean, "
                "return other results as auxiliary output, `(value, aux)` with has_aux=True, or use jacrev or "
                "vector_grad"
            )
        return value, others

    return value_of


def _positions(argnums: Any, core: Core, count: int) -> tuple[int, ...]:
    if argnums is None:
        return ()
    if argnums is ALL:
        return tuple(range(count))
    given = [operator.index(n) for n in (argnums if isinstance(argnums, (tuple, list)) else (argnums,))]
    numbers = [n + count if n < 0 else n - core.bound for n in given]
    if any(n >= count or n < -core.bound for n in numbers):
        raise ValueError(
            f"argnums={argnums!r}, but `{core.__qualname__}` was called with {count + core.bound} positional arguments"
        )
    if any(n < 0 for n in numbers):
        raise TypeError(f"argument 0 of `{core.__qualname__}` is the object whose method it is: differentiate others")
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"argnums={argnums!r} names one argument of `{core.__qualname__}` twice")
    return tuple(numbers)


def _refuse_nodes(core: Core, number: int, argument: Any) -> None:
    if holds_nodes(argument):
        raise TypeError(
            f"argument {number + core.bound} of `{core.__qualname__}` is or holds a Node, which is not differentiated "
            "by position: name its states, `wrt=model` or `wrt=model.states(ParamState)`"
        )


def _refuse_discrete(name: Callable[[], str], tree: Any, wrt: bool) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        dtype = getattr(leaf, "dtype", None)
        if dtype is None and isinstance(leaf, (bool, int, float, complex)):
            dtype = jnp.result_type(leaf)
        if dtype is not None and not jnp.issubdtype(dtype, jnp.inexact):
            shown = describe(leaf) if hasattr(leaf, "dtype") else repr(leaf)
            raise TypeError(
                f"{name()}{jax.tree_util.keystr(path)} is {shown}, which has no derivative. "
                + ("Name the parameters alone, `wrt=model.states(ParamState)`" if wrt else "Pass a float")
                + ", or write allow_int=True, for a gradient of type float0."
            )


def _split_aux(out: Any, core: Core) -> tuple[Any, Any]:
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise TypeError(f"with has_aux=True, `{core.__qualname__}` must return a pair (value, aux), not {out!r}")
    return out[0], out[1]
