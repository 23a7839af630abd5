"""One call of a function whose derivative follows the user's rule: what goes through JAX, and what the rule leaves out.

JAX differentiates such a function with respect to its arguments alone. So every state that it may use is an argument
of what JAX gets, and every state that it writes a result: a derivative by a state of which the rule does not speak is
noticed, and refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero

from brainstate_graph import Overlay, State
from brainstate_graph.extend import locate

from .._engine.core import Core, Unpassed
from .._engine.placeholders import holds_nodes
from .._engine.select import Selection, select
from .._engine.values import Outcome, StateValues, Written

__all__ = ["NoStates", "RuleCall", "moves", "name_of", "pair_of", "plainly", "refuse_unfit", "with_zeros", "zeros_like"]


class RuleCall:
    """One call of a function that has a rule.

    Args:
        core: The user's function.
        wrt: The states of which the rule speaks, as a selector, or None.
        nondiff: Positions of the arguments that JAX does not get.
        args: The arguments.

    Attributes:
        given: The states that JAX gets.
        chosen: Those of which the rule speaks, as the user named them.
        spoken_of: The same as a list.
        fixed: The arguments that JAX does not get.
        used: The states that the user's code was seen to use.
        over: Whether the call is over; a rule may run later, when what was traced is differentiated.
    """

    def __init__(self, core: Core, wrt: Any, nondiff: tuple[int, ...], args: tuple[Any, ...]) -> None:
        self.core = core
        self.chosen: Selection | None = None if wrt is None else select(wrt, core, "wrt")
        self.spoken_of = self.chosen.states if self.chosen else []
        self.given = list(dict.fromkeys([*self.spoken_of, *core.touched_graph().states]))
        self._known = set(self.given)
        numbers = sorted(n + len(args) if n < 0 else n for n in nondiff)
        if any(not 0 <= n < len(args) for n in numbers):
            raise ValueError(
                f"nondiff_argnums={nondiff!r}, but `{core.__qualname__}` was called with {len(args)} arguments"
            )
        self._numbers = numbers
        self.fixed = [args[n] for n in numbers]
        for number, value in zip(numbers, self.fixed, strict=True):
            if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value)):
                raise TypeError(
                    f"argument {number} of `{core.__qualname__}` is in nondiff_argnums, and traced here: leave it out "
                    "of nondiff_argnums, and let the rule ignore it"
                )
        self.used: dict[State[Any], None] = {}
        self.over = False
        self._writers: dict[bool, tuple[str, tuple[State[Any], ...]]] = {}

    def without_fixed(self, args: Sequence[Any]) -> list[Any]:
        """Return the arguments that JAX gets; not kept, because a rule outlives the trace that they belong to."""
        return [value for number, value in enumerate(args) if number not in self._numbers]

    def with_fixed(self, rest: Sequence[Any]) -> tuple[Any, ...]:
        """Put the arguments that JAX does not get among those that it gets."""
        args = list(rest)
        for number, value in zip(self._numbers, self.fixed, strict=True):
            args.insert(number, value)
        return tuple(args)

    def run(self, fun: Callable[..., Any], values: Any, args: tuple[Any, ...], rule: bool) -> tuple[Any, Written]:
        """Run the user's function, or a rule in its stead, with the given states at these values."""
        core = copy.copy(self.core)
        core.fun = fun
        core.frozen = True
        overlay = Overlay()
        out, written = core.run(StateValues.of(self.given, values), args, {}, overlay)
        used = [state for state in dict.fromkeys((*overlay.reads, *overlay.writes)) if not overlay.created(state)]
        strays = [state for state in used if state not in self._known]
        if strays and self.over:
            raise TypeError(
                f"`{name_of(fun)}` uses {', '.join(map(locate, strays))} in a way that cannot be seen beforehand, and "
                f"`{core.__qualname__}` does not: let it close over the object that holds the state"
            )
        if strays:
            raise Unpassed(strays)
        self.used.update(dict.fromkeys(used))
        new = dict(written.items())
        states = tuple(state for state in self.given if state in new)
        self._writers[rule] = (name_of(fun), states)
        if len({found for _, found in self._writers.values()}) > 1:
            shown = [f"`{name}` writes {', '.join(map(locate, s)) or 'no state'}" for name, s in self._writers.values()]
            raise TypeError(f"{shown[0]}, and {shown[1]}: the function and its rule must write the same states")
        return out, Written((Outcome(states), [new[state] for state in states]))

    def refuse_unspoken(self, moving: Mapping[State[Any], bool], out: Any, written: Written, words: str) -> None:
        """Refuse a derivative by a state, or of one, of which the rule does not speak.

        Args:
            moving: Whether each given state is being differentiated.
            out: The result.
            written: What the rule wrote.
            words: What the rule deals in, and the line that declares a state.
        """
        what, line = words.split(": ")
        name = self.core.__qualname__
        if holds_nodes(out):
            raise TypeError(f"`{name}` returns a Node, and is differentiated by a rule: return arrays")
        by = [s for s in self.used if moving[s] and s not in self.spoken_of]
        if by:
            raise TypeError(
                f"`{name}` uses {', '.join(map(locate, by))}, by which it is being differentiated, and its rule has no "
                f"{what} for that: declare it, `{line}`, and return one"
            )
        of = [s for s, value in written.items() if moves(value) and s not in self.spoken_of]
        if of:
            raise TypeError(
                f"`{name}` is being differentiated and writes {', '.join(map(locate, of))}, whose new value depends "
                f"on what it is given, and its rule has no {what} for that: declare it, `{line}`"
            )


class NoStates(Overlay):
    """The overlay of a function that may use no states."""

    __slots__ = ("_rule",)

    def __init__(self, rule: Callable[..., Any]) -> None:
        super().__init__()
        self._rule = name_of(rule)

    def enter(self, state: State[Any], value: Any) -> Any:
        """Refuse a read."""
        raise TypeError(
            f"the backward rule `{self._rule}` uses {locate(state)}. It runs later, when the state may be another: "
            "return what it needs from the forward rule, among the residuals."
        )

    def refuse_writes(self) -> None:
        """Refuse what was written."""
        for state in self.writes:
            self.enter(state, None)


def name_of(fun: Callable[..., Any]) -> str:
    """The name of a user's function, for messages."""
    return getattr(fun, "__qualname__", None) or type(fun).__name__


def pair_of(out: Any, rule: Callable[..., Any], parts: str) -> tuple[Any, Any]:
    """Refuse what is not the pair that a rule must return."""
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise TypeError(f"`{name_of(rule)}` must return a pair {parts}, not {out!r}")
    return out[0], out[1]


def moves(tree: Any) -> bool:
    """Tell whether something has a derivative: an array of floats, or a tangent that is not known to be zero."""
    return any(
        not isinstance(leaf, SymbolicZero) and jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
        for leaf in jax.tree.leaves(tree)
        if getattr(leaf, "dtype", None) != jax.dtypes.float0
    )


def plainly(tree: Any) -> Any:
    """Put arrays of zeros for the zeros of which JAX knows."""
    return jax.tree.map(lambda x: zeros_like(x) if isinstance(x, SymbolicZero) else x, tree)


def zeros_like(tree: Any) -> Any:
    """Zeros in the form of a tangent: of type float0 for what has no derivative."""
    return jax.tree.map(_zero, tree)


def with_zeros(found: Any, like: Any) -> Any:
    """Put zeros for each None in a tangent."""
    whole = jax.tree.broadcast(found, like, is_leaf=_is_none)
    return jax.tree.map(lambda one, aval: zeros_like(aval) if one is None else one, whole, like, is_leaf=_is_none)


def _is_none(item: Any) -> bool:
    return item is None


def _zero(aval: Any) -> Any:
    if jnp.issubdtype(aval.dtype, jnp.inexact):
        return jnp.zeros(aval.shape, aval.dtype)
    return np.zeros(aval.shape, jax.dtypes.float0)


def refuse_unfit(name: str, like: Any, found: Any, rule: Callable[..., Any]) -> None:
    """Refuse a tangent or cotangent of another structure or shape; None is zero, at any place."""

    def check(path: Any, one: Any, wanted: Any) -> None:
        if one is not None and jnp.shape(one) != getattr(wanted, "shape", None):
            shown = f"the shape {wanted.shape}" if hasattr(wanted, "shape") else f"the structure {wanted}"
            raise TypeError(
                f"`{name_of(rule)}` returns, for {name}{jax.tree_util.keystr(path)}, something of shape "
                f"{jnp.shape(one)}, where {shown} is needed"
            )

    try:
        jax.tree_util.tree_map_with_path(check, found, like, is_leaf=_is_none)
    except ValueError as error:
        raise TypeError(f"`{name_of(rule)}` returns, for {name}, another structure: {error}") from None
