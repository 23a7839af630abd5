"""What a derivative is with respect to: states and arguments, in the structure in which the user named them.

*Variables*: the states of `wrt` and the arguments of `argnums`, in the words of calculus.
*Primals*: their values where the derivative is taken, as JAX calls them; a pair ``(StateValues, [argument, ...])``.

A derivative has a part for each variable.  `gather` puts these parts into the user's structure, and `scatter` takes
them out of what the user gives in it, as a direction.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from brainstate_graph.extend import describe, locate

from .._engine.core import Core
from .._engine.placeholders import holds_nodes
from .._engine.select import Selection, select
from .._engine.values import StateValues

__all__ = ["ALL", "Primals", "Variables", "check_argnums"]

ALL: Any = object()  # as `argnums`: every positional argument

Primals = tuple[StateValues, list[Any]]


class Variables(NamedTuple):
    """The variables of one call.

    Attributes:
        selection: The chosen states, or None.
        argnums: The chosen arguments as the user named them: one, some, or None.
        positions: Their positions among the positional arguments of the call.
    """

    selection: Selection | None
    argnums: Any
    positions: tuple[int, ...]

    @staticmethod
    def of(core: Core, wrt: Any, argnums: Any, args: tuple[Any, ...]) -> Variables:
        """Find out what the user has named.

        Args:
            core: The user's function.
            wrt: A selector of states, or None.
            argnums: Positions of arguments, `ALL`, or None.
            args: The positional arguments of the call.

        Raises:
            TypeError: An argument is or holds a Node, or `wrt` is a position.
            ValueError: Nothing is named, or there is no such argument or state.
        """
        if isinstance(wrt, int) or (isinstance(wrt, (tuple, list)) and wrt and all(isinstance(n, int) for n in wrt)):
            raise TypeError(f"wrt={wrt!r} names no states; for arguments by position write `argnums={wrt!r}`")
        positions = _positions(argnums, core, len(args))
        selection = None if wrt is None else select(wrt, core, "wrt")
        if selection is None and not positions:
            raise ValueError(f"nothing to differentiate in `{core.__qualname__}`: name states by wrt, or arguments")
        for position in positions:
            _refuse_nodes(core, position, args[position])
        return Variables(selection, argnums, positions)

    def primals(self, args: tuple[Any, ...]) -> Primals:
        """Return the values of the variables, for these positional arguments of the call."""
        states = () if self.selection is None else self.selection.states
        return StateValues.read(states), [args[position] for position in self.positions]

    def refuse_discrete(self, core: Core, primals: Primals, allow_int: bool | None) -> None:
        """Refuse what has no derivative.

        Args:
            core: The user's function.
            primals: The values of the variables.
            allow_int: Whether they may be whole numbers; None if those of arguments may.

        Raises:
            TypeError: A value is no float.
        """
        if allow_int:
            return
        values, arguments = primals
        for state, value in zip(values.states, values.values, strict=True):
            _refuse_discrete(lambda s=state: f"wrt names {locate(s)}, whose value", value, wrt=True)
        if allow_int is None:
            return
        for position, value in zip(self.positions, arguments, strict=True):
            name = lambda n=position: f"argument {n + core.bound} of `{core.__qualname__}`"  # noqa: E731
            _refuse_discrete(name, value, wrt=False)

    def gather(self, parts: Primals) -> Any:
        """Put one part for each variable into the user's structure."""
        by_state, by_argument = parts
        several = isinstance(self.argnums, (tuple, list)) or self.argnums is ALL
        of_arguments = tuple(by_argument) if several else None if self.argnums is None else by_argument[0]
        if self.selection is None:
            return of_arguments
        of_states = self.selection.gather(by_state.values)
        return of_states if self.argnums is None else (of_states, of_arguments)

    def gather_each(self, like: Any, trees: Any) -> Any:
        """Do the same at every leaf of `like` in `trees`: a Jacobian has variables inside outputs."""
        treedef = jax.tree.structure(like)
        return treedef.unflatten([self.gather(parts) for parts in treedef.flatten_up_to(trees)])

    def scatter(self, tangents: tuple[Any, ...]) -> Primals:
        """Take one tangent for each variable out of what the user gives: states first, then one for each argument.

        Raises:
            TypeError: There are not so many, or those of states are not built like `wrt`.
        """
        states, count = self.selection is not None, len(self.positions)
        if len(tangents) != states + count:
            expected = f"{'one for the states and ' if states else ''}{count} for the arguments"
            raise TypeError(f"expected tangents as chosen, {expected}, and got {len(tangents)}")
        first = self.scatter_states(tangents[0], "the first tangent") if states else StateValues.of((), [])
        return first, list(tangents[states:])

    def scatter_states(self, tree: Any, name: str) -> StateValues:
        """Take one part for each state out of a tree that is built like the gradient by `wrt`.

        Raises:
            TypeError: It is built in another way; the message begins with `name`.
        """
        assert self.selection is not None
        try:
            return StateValues.of(self.selection.states, self.selection.scatter(tree))
        except ValueError as error:
            raise TypeError(f"{name} is not built like `wrt`, as gradients are: {error}") from None


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


def _positions(argnums: Any, core: Core, count: int) -> tuple[int, ...]:
    """The positions among the arguments that the core gets; users count those that a method call fills in too."""
    if argnums is None:
        return ()
    if argnums is ALL:
        return tuple(range(count))
    given = [operator.index(n) for n in (argnums if isinstance(argnums, (tuple, list)) else (argnums,))]
    positions = [n + count if n < 0 else n - core.bound for n in given]
    if any(n >= count or n < -core.bound for n in positions):
        raise ValueError(
            f"argnums={argnums!r}, but `{core.__qualname__}` was called with {count + core.bound} positional arguments"
        )
    if any(n < 0 for n in positions):
        raise TypeError(f"argument 0 of `{core.__qualname__}` is the object whose method it is: differentiate others")
    if len(set(positions)) < len(positions):
        raise ValueError(f"argnums={argnums!r} names one argument of `{core.__qualname__}` twice")
    return tuple(positions)


def _refuse_nodes(core: Core, position: int, argument: Any) -> None:
    if holds_nodes(argument):
        raise TypeError(
            f"argument {position + core.bound} of `{core.__qualname__}` is or holds a Node, which is not "
            "differentiated by position: name its states, `wrt=model` or `wrt=model.states(ParamState)`"
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
