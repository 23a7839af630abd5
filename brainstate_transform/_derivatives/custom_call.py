"""One call of a function with a derivative rule of the user's: its states as arguments, and what the rule must keep to.

JAX differentiates such a function with respect to its arguments alone.  A state that the function closed over would
count as constant, without a word.  So every state that it may use is an argument of what JAX gets, and every state that
it writes a result.  A derivative by a state that the rule does not declare is noticed then, and refused.

The function and its derivative rules are run by `CustomCall.run`, in a trace of JAX that may come after the call.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.core import Tracer

from brainstate_graph import Overlay, State
from brainstate_graph.extend import describe, locate, note_reads

from .._collecting.collected import uncollected
from .._engine.core import Core
from .._engine.results import holds_nodes
from .._engine.retry import Unpassed
from .._engine.user_function import name_of
from .._engine.values import StateValues, Written
from .._selection.select import Selection, select
from .tangents import has_derivative

__all__ = ["CustomCall", "NoStates", "pair_of"]


class CustomCall:
    """One call.

    Args:
        core: The user's function.
        wrt: The states that the rule declares, as a selector, or None.
        nondiff: Positions of the arguments that JAX does not get.
        args: The arguments.

    Attributes:
        states: The states that JAX gets as arguments.
        selection: Those that the rule declares, as the user named them.
        declared: The same as a list.
        nondiff: The arguments that JAX does not get.
        used: The states that the function and its rules were seen to use.
        ended: Whether the call is over. A rule may run later, when what was traced is differentiated.
    """

    def __init__(self, core: Core, wrt: Any, nondiff: tuple[int, ...], args: tuple[Any, ...]) -> None:
        self.core = core
        self.selection: Selection | None = None if wrt is None else select(wrt, core, "wrt")
        self.declared = self.selection.states if self.selection else []
        self.states = list(dict.fromkeys([*self.declared, *core.states()]))
        self._known = set(self.states)
        positions = sorted(n + len(args) if n < 0 else n for n in nondiff)
        if any(not 0 <= n < len(args) for n in positions):
            raise ValueError(
                f"nondiff_argnums={nondiff!r}, but `{core.__qualname__}` was called with {len(args)} arguments"
            )
        self._positions = positions
        self.nondiff = [args[n] for n in positions]
        for position, value in zip(positions, self.nondiff, strict=True):
            if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value)):
                raise TypeError(
                    f"argument {position} of `{core.__qualname__}` is in nondiff_argnums, but is traced here: leave it "
                    "out of nondiff_argnums, and let the rule ignore it"
                )
        self.used: dict[State[Any], None] = {}
        self.ended = False
        self._writers: dict[bool, tuple[str, tuple[State[Any], ...]]] = {}

    def without_nondiff(self, args: Sequence[Any]) -> list[Any]:
        """Return the arguments that JAX gets; not kept, because a rule outlives the trace that they belong to."""
        return [value for position, value in enumerate(args) if position not in self._positions]

    def with_nondiff(self, rest: Sequence[Any]) -> tuple[Any, ...]:
        """Put the arguments that JAX does not get among those that it gets."""
        args = list(rest)
        for position, value in zip(self._positions, self.nondiff, strict=True):
            args.insert(position, value)
        return tuple(args)

    def run(self, fun: Callable[..., Any], values: Any, args: tuple[Any, ...], rule: bool) -> tuple[Any, Written]:
        """Run the user's function, or a derivative rule in its stead, with the states at these values.

        Args:
            fun: The function or rule.
            values: A value for each of `states`.
            args: Its arguments.
            rule: Whether it is a rule.

        Returns:
            The result, and what was written, in the order of `states`.

        Raises:
            TypeError: The function and its rule write different states; or a rule that runs after the call uses a
                state beyond `states`.
            Unpassed: `fun` uses states beyond `states`; the call is to be done again with them.
        """
        # A twin, as a rule runs in the place of the function: it reaches the same states, and may not change structure,
        # since JAX calls it as often as it likes.
        core = copy.copy(self.core)
        core.fun = uncollected(fun, "a function with a rule for its derivative", "call the module outside of it")
        core.frozen = True
        overlay = Overlay()
        out, written = core.run(StateValues.of(self.states, values), args, {}, overlay)
        # A state that is no argument would count as a constant, in the derivative too.
        met = [state for state in dict.fromkeys((*overlay.reads, *overlay.writes)) if not overlay.created(state)]
        strays = [state for state in met if state not in self._known]
        if strays and self.ended:
            raise TypeError(
                f"`{name_of(fun)}` uses {', '.join(map(locate, strays))} in a way that cannot be seen beforehand, and "
                f"`{core.__qualname__}` does not use it: let the rule close over the object that holds the state"
            )
        if strays:
            raise Unpassed(strays)
        # Not those that the rule of a function inside may read: this rule stands in its place.
        used = [state for state in met if overlay.uses(state)]
        self.used.update(dict.fromkeys(used))
        if self.ended:
            note_reads(used)
        new = dict(written.items())
        states = [state for state in self.states if state in new]
        # The result of the function and that of its rule must have one structure, and what is written is part of it.
        self._writers[rule] = (name_of(fun), tuple(states))
        if len({found for _, found in self._writers.values()}) > 1:
            shown = [f"`{name}` writes {', '.join(map(locate, s)) or 'no state'}" for name, s in self._writers.values()]
            raise TypeError(f"{shown[0]}, and {shown[1]}: the function and its rule must write the same states")
        return out, StateValues.of(states, [new[state] for state in states]).as_written()

    def refuse_undeclared(
        self, perturbed: Mapping[State[Any], bool], out: Any, written: Written, derivative: str, declaration: str
    ) -> None:
        """Refuse a derivative by a state, or of one, that the rule does not declare.

        Args:
            perturbed: Whether each of `states` is being differentiated by.
            out: The result of the rule.
            written: What the rule wrote, or the tangents of that.
            derivative: What the rule returns, "tangent" or "cotangent".
            declaration: The line by which the user declares a state.

        Raises:
            TypeError: There is such a derivative, or a Node in the result.
        """
        name = self.core.__qualname__
        if holds_nodes(out):
            raise TypeError(f"`{name}` returns a Node, but a function with a derivative rule must return arrays")
        by = [s for s in self.used if perturbed[s] and s not in self.declared]
        if by:
            raise TypeError(
                f"`{name}` is being differentiated with respect to {', '.join(map(locate, by))}, but its rule returns "
                f"no {derivative} for that: declare it, `{declaration}`, and return one"
            )
        of = [s for s, value in written.items() if has_derivative(value) and s not in self.declared]
        if of:
            raise TypeError(
                f"`{name}` is being differentiated and writes {', '.join(map(locate, of))}, whose new value depends "
                f"on the inputs, but its rule has no {derivative} for that: declare it, `{declaration}`"
            )


class NoStates(Overlay):
    """The overlay of a backward rule, which may use no state.

    Args:
        rule: The rule, for the message.
    """

    __slots__ = ("_rule",)

    def __init__(self, rule: Callable[..., Any]) -> None:
        super().__init__()
        self._rule = name_of(rule)

    def enter(self, state: State[Any], value: Any) -> Any:
        """Refuse a read, at the line of the user that reads."""
        raise TypeError(
            f"the backward rule `{self._rule}` uses {locate(state)}. It runs later, when the state may have another "
            "value: return what it needs from the forward rule, among the residuals."
        )

    def refuse_writes(self) -> None:
        """Refuse what was written, when the rule has ended."""
        for state in self.writes:
            self.enter(state, None)


def pair_of(out: Any, rule: Callable[..., Any], parts: str) -> tuple[Any, Any]:
    """Return the pair that a rule must return.

    Raises:
        TypeError: It is none; the message says of which `parts`.
    """
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise TypeError(f"`{name_of(rule)}` must return a pair {parts}, not {describe(out)}")
    return out[0], out[1]
