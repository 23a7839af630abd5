"""The pure function that JAX differentiates: variables in, value out; all else rides along as auxiliary output.

*Variables*: the states of `wrt` and the arguments of `argnums`, in the words of calculus, and in the structure in which
the user named them.  *Primals*: their values where the derivative is taken, as JAX calls them.

A derivative has a part for each variable.  `Variables.gather` puts these parts into the user's structure, and
`Variables.scatter` takes them out of what the user gives in it, as a direction.

Every derivative of this room is a JAX derivative of a `Differentiated`, lifted by `differentiate`.  A file like
``grad.py`` says which one (`jax.grad`, `jax.vjp`, ...) and in which order its caller gets the parts of the result.

What the user's function writes is no variable: it leaves with the auxiliary output, and is written once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from brainstate_graph import Overlay
from brainstate_graph.extend import describe, locate

from .._checks.debug_nan import finite
from .._engine.core import Core, Run
from .._engine.lift import lift
from .._engine.lifted import Lifted
from .._engine.results import holds_nodes
from .._engine.values import StateValues, Written
from .._selection.select import Selection, overlooked, select

__all__ = [
    "ALL", "Arrange", "Compute", "Differentiated", "Primals", "Variables", "differentiate", "main_first",
    "scalar_valued", "value_first",
]  # fmt: skip

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
            raise TypeError(f"expected {states + count} tangents, {expected}, and got {len(tangents)}")
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
            raise TypeError(f"{name} must have the structure of `wrt`, as gradients have: {error}") from None


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
        raise TypeError(
            f"argument 0 of `{core.__qualname__}` is `self`, the object of the bound method: choose other arguments"
        )
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


Riding = tuple[Any, Any, Written]  # value, auxiliary output of the user, and what was written
Compute = Callable[..., tuple[Any, Riding]]  # ``compute(differentiated, *helper_cores)``: the derivative, and the rest
Arrange = Callable[[Any, Any, Any], Any]  # ``arrange(derivative, value, aux)``: what the caller gets


class Differentiated:
    """The pure function of one call: ``differentiated(primals) -> (value, (value, aux, written))``.

    Args:
        core: The user's function.
        wrt: A selector of states, or None.
        argnums: Positions of arguments, `ALL`, or None.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
        has_aux: Whether the function returns a pair ``(value, aux)``.
        allow_int: Whether variables may be whole numbers; None if arguments may.
        allow_unused: Whether the function may leave a chosen state alone.

    Attributes:
        core: The user's function.
        variables: What it is differentiated by.
        primals: Their values.

    Raises:
        TypeError: A variable has no derivative.
        ValueError: There is no variable, or no such argument.
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
        self.core = core
        self.variables = Variables.of(core, wrt, argnums, args)
        self.primals = self.variables.primals(args)
        self.variables.refuse_discrete(core, self.primals, allow_int)
        self._wrt, self._args, self._kwargs = wrt, args, kwargs
        self._has_aux, self._allow_unused = has_aux, allow_unused

    def __call__(self, primals: Primals) -> tuple[Any, Riding]:
        states, arguments = primals
        args = list(self._args)
        for position, value in zip(self.variables.positions, arguments, strict=True):
            args[position] = value
        overlay = Overlay()
        out, written = self.core.run(states, tuple(args), self._kwargs, overlay)
        self._refuse_unused(overlay)
        value, aux = _value_and_aux(out, self.core) if self._has_aux else (out, None)
        # An array holds no node, and nearly every value is one: to look inside takes a call for each leaf.
        if not isinstance(value, jax.Array) and holds_nodes(value):
            raise TypeError(
                f"`{self.core.__qualname__}` returns a Node in what is differentiated: return arrays, and the Node as "
                "auxiliary output, with has_aux=True"
            )
        return value, (value, aux, written)

    def _refuse_unused(self, overlay: Overlay) -> None:
        selection, core = self.variables.selection, self.core
        if selection is None:
            return
        # A filter is asked before the function runs, about the states that can be seen then.
        used = [s for s in overlay.reads if overlay.uses(s) and not overlay.created(s) and s not in selection.states]
        missed = overlooked(self._wrt, core, used)
        if missed:
            raise ValueError(
                f"`{core.__qualname__}` reads {', '.join(map(locate, missed))} in a way that cannot be seen beforehand,"
                f" so that the filter wrt={self._wrt!r} could not choose it. Name the states themselves, as in "
                "`wrt=model.states(ParamState)`, or let the function close over the model."
            )
        # The gradient of an unused state is zero.  A model that trains nothing by it gives no other sign.
        unused = [
            f"{name} ({locate(state)})"
            for state, name in zip(selection.states, selection.names, strict=True)
            if not overlay.uses(state)
        ]
        if unused and not self._allow_unused:
            raise ValueError(
                f"`{core.__qualname__}` does not use these states, so there is nothing to differentiate: "
                f"{', '.join(unused)}. Leave them out of `wrt`, or write allow_unused=True for zeros."
            )


def scalar_valued(differentiated: Differentiated) -> Callable[..., Any]:
    """Return the same function, which refuses a value that is no scalar in words that name the user's function."""

    def value_of(primals: Primals) -> Any:
        value, riding = differentiated(primals)
        # JAX refuses it too, and names neither the function nor what to write instead.
        leaves = jax.tree.leaves(value)
        if len(leaves) != 1 or leaves[0] is not value or jnp.ndim(value):
            shown = f"a {type(value).__name__}" if len(leaves) != 1 or leaves[0] is not value else describe(value)
            raise TypeError(
                f"`{differentiated.core.__qualname__}` returns {shown}, but only a scalar has a gradient: return the "
                "sum or mean, return other results as auxiliary output, `(value, aux)` with has_aux=True, or use "
                "jacrev or vector_grad"
            )
        return value, riding

    return value_of


def differentiate(
    fun: Callable[..., Any],
    wrt: Any,
    argnums: Any,
    compute: Compute,
    arrange: Arrange,
    *,
    helpers: tuple[Callable[..., Any], ...] = (),
    default: Any = 0,
    debug_nan: bool = False,
    **options: Any,
) -> Lifted:
    """Lift a derivative.

    Args:
        fun: The user's function.
        wrt: A selector of states, or None.
        argnums: Positions of arguments, or None.
        compute: Gets a `Differentiated` and the cores of the helpers; returns the derivative and what rides along.
        arrange: Puts the derivative, the value and the auxiliary output into the order of the caller.
        helpers: Further functions of the user that `compute` calls.
        default: What `argnums` is where neither it nor `wrt` is given.
        debug_nan: Whether to raise where a NaN or infinite number is in the result.
        **options: Further options of `Differentiated`.

    Raises:
        ValueError: `argnums` is no position of arguments.
    """
    if argnums is not None:
        check_argnums(argnums)
    elif wrt is None:
        argnums = default

    def rule(core: Core, *others: Core) -> Run:
        def run(_: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            differentiated = Differentiated(core, wrt, argnums, args, kwargs, **options)
            derivative, (value, aux, written) = compute(differentiated, *others)
            return arrange(derivative, value, aux), written

        return finite(run, core, "gradient") if debug_nan else run

    return lift(rule, fun, *helpers)


def main_first(has_aux: bool, return_value: bool = False) -> Arrange:
    """The order of `grad`: the derivative; then the value, if it is wanted; then the auxiliary output."""

    def arrange(derivative: Any, value: Any, aux: Any) -> Any:
        extra = ((value,) if return_value else ()) + ((aux,) if has_aux else ())
        return (derivative, *extra) if extra else derivative

    return arrange


def value_first(has_aux: bool) -> Arrange:
    """The order of `vjp`: the value, the derivative, then the auxiliary output."""
    return lambda derivative, value, aux: (value, derivative, aux) if has_aux else (value, derivative)


def _value_and_aux(out: Any, core: Core) -> tuple[Any, Any]:
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise TypeError(
            f"with has_aux=True, `{core.__qualname__}` must return a pair (value, aux), not {describe(out)}"
        )
    return out[0], out[1]
