"""How a program is called: its ``jax.jit``, the states that give their buffers away, and where states live.

A `Program` is passed the values of states as one argument.  Where some are donated or placed, they cross in two: the
donated values first (`Donated`), since ``jax.jit`` donates whole arguments.  `Dispatch` owns the compiled forms and
both conversions.  A program without any of that is called as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

import jax

from brainstate_graph.extend import read_values, tracing, untraced, write_values

from .._engine.lost import refuse_aliases, refuse_lost, refuse_shared
from .._engine.retry import Retry
from .._engine.touched import Inputs
from .._engine.values import GraphKey, StateValues
from .._messages.source import handed
from .program import Program
from .state_options import DonatedArguments, constrained, placed, with_placement

__all__ = ["Dispatch", "Donated"]


class Donated:
    """What crosses before the states that stay: the values that are donated, and the shardings of all states.

    Attributes:
        values: The donated values, at their indices among the inputs; None where nothing is donated.
        shardings: The sharding of each state of the graph, or nothing.
    """

    __slots__ = ("shardings", "values")

    def __init__(self, values: Sequence[Any], shardings: tuple[Any, ...]) -> None:
        self.values = values
        self.shardings = shardings


jax.tree_util.register_dataclass(Donated, data_fields=["values"], meta_fields=["shardings"])


class Dispatch:
    """The compiled forms of one program.

    Args:
        program: The program.
        static: The positions of static arguments.
        donated: The donated arguments.
        options: Further options of ``jax.jit``.
    """

    def __init__(
        self, program: Program, static: frozenset[int], donated: DonatedArguments, options: dict[str, Any]
    ) -> None:
        self.program = program
        self.apart = program.apart
        self._static = static
        self._donated = donated
        options = dict(options)
        self._in_shardings: Any = options.pop("in_shardings", None)
        out_shardings = options.pop("out_shardings", None)
        if self._in_shardings is not None or out_shardings is not None:
            jax.jit(program, in_shardings=self._in_shardings, out_shardings=out_shardings)  # checks them
        if out_shardings is not None:
            options["out_shardings"] = (out_shardings, None)
        self.shift = 2 if self.apart else 1
        numbers = (*((0,) if program.donates else ()), *(n + self.shift for n in donated.numbers))
        options["donate_argnames"] = donated.names or None
        self._options: dict[str, Any] = {"donate_argnums": numbers, **options}
        self._compiled: dict[int, Any] = {}  # by number of arguments where they have shardings
        # Without options the whole touched graph needs no second ``jax.jit`` around the one that looks.
        self.plain = not (self.apart or self._in_shardings is not None or any(self._options.values()))

    @property
    def run(self) -> Callable[..., Any]:
        """What is called with a choice of states; without a detour where nothing else has to be done."""
        return self if self.apart or self._in_shardings is not None else self.compiled(0)

    @property
    def run_whole(self) -> Callable[..., Any]:
        """The same where all states of the touched graph are passed."""
        return self.program.whole if self.plain else self.run

    def staged(self, inputs: Inputs, count: int) -> Any:
        """Return the ``jax.jit`` that is called with these inputs and so many positional arguments."""
        return self.program.whole if self.plain and inputs.key.passing is None else self.compiled(count)

    def compiled(self, count: int) -> Any:
        """Return the ``jax.jit`` of the program for so many positional arguments."""
        shardings = self._in_shardings
        key = 0 if shardings is None else count
        found = self._compiled.get(key)
        if found is None:
            options = dict(self._options)
            if shardings is not None:
                options["in_shardings"] = (*repeat(None, self.shift), *self._for_each(count))
            form = _in_two(self.program) if self.apart else self.program
            found = self._compiled.setdefault(key, jax.jit(form, **options))
        return found

    def _for_each(self, count: int) -> list[Any]:
        """Return the sharding of each positional argument; ``jax.jit`` counts without the static ones."""
        given = self._in_shardings
        dynamic = [n for n in range(count) if n not in self._static]
        if isinstance(given, (tuple, list)) and len(given) != len(dynamic):
            raise ValueError(
                f"in_shardings has {len(given)} entries, but `{self.program.__qualname__}` was called with "
                f"{len(dynamic)} positional arguments that are not static: give one entry for each"
            )
        each = iter(given) if isinstance(given, (tuple, list)) else repeat(given)
        return [None if n in self._static else next(each) for n in range(count)]

    def __call__(self, states: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        if not self.apart:
            return self.compiled(len(args))(states, *args, **kwargs)
        return self.call(self.compiled(len(args)), states, args, kwargs)

    def call(self, compiled: Callable[..., Any], states: StateValues, args: Any, kwargs: Any) -> Any:
        """Call a compiled form of the program; states that were moved for it stay there, once it has run."""
        if not self.apart:
            return compiled(states, *args, **kwargs)
        if not isinstance(states.key, GraphKey):
            return self.program(states, *args, **kwargs)
        inputs = states.key.inputs
        user = self.program.__qualname__
        donated, rest = self.leading(states, args, kwargs, placed)
        count = len(donated.values)
        try:
            out = compiled(donated, rest, *args, **kwargs)
        except Retry:
            raise
        except Exception as error:
            if count:
                given = [s for s, v in zip(inputs.states, donated.values, strict=False) if v is not None]
                refuse_lost(given, user, error, donating=True)
                values = [v for v in donated.values if v is not None]
                refuse_aliases(given, values, (rest, args, kwargs), user)
            raise
        if donated.shardings and untraced():
            _keep_placed(inputs, states.values, rest.values)
        return out

    def leading(
        self, states: StateValues, args: Any, kwargs: Any, put: Callable[[Any, Any], Any] = with_placement
    ) -> tuple[Any, ...]:
        """Return what is passed for the states, before the user's arguments; their shapes where nothing else is said.

        Args:
            states: The values.
            args: The positional arguments, nodes sealed.
            kwargs: The keyword arguments, likewise.
            put: Puts one value where it belongs.
        """
        if not self.apart:
            return (states,)
        key = states.key
        assert isinstance(key, GraphKey)
        inputs = key.inputs
        values, shardings = self.where(states, put)
        # What is around may still drop the results, and go on with the values of before.
        count = 0 if key.passing is None or tracing() else key.passing.donated
        donated = values[:count]
        kept: list[Any] = [None] * count
        if self.program.donation is not None:
            said = self.program.donation.of_call(inputs.graph, self._donated.nodes(args, kwargs))
            donated = [v if said[i] else None for i, v in zip(inputs.indices, donated, strict=False)]
            kept = [None if said[i] else v for i, v in zip(inputs.indices, values[:count], strict=False)]
        others = [*_present(inputs.states, kept)[0], *inputs.states[count:], *inputs.others]
        refuse_shared(*_present(inputs.states, donated), others)
        return Donated(donated, shardings), StateValues(key, [*kept, *values[count:]])

    def where(self, states: StateValues, put: Callable[[Any, Any], Any]) -> tuple[Sequence[Any], tuple[Any, ...]]:
        """Return the values where they belong, and the sharding of each state of the graph."""
        placement = self.program.placement
        return (states.values, ()) if placement is None else placement.where(states, put)

    def clear(self) -> None:
        """Forget all that was compiled for a choice of states."""
        for compiled in self._compiled.values():
            compiled.clear_cache()


def _in_two(program: Program) -> Callable[..., Any]:
    """Return the program as a function of what is donated, and what stays."""

    def run(_donated_: Donated, _states_: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        values, donated = list(_states_.values), _donated_.values
        values[: len(donated)] = [v if d is None else d for d, v in zip(donated, values, strict=False)]
        return _in_places(program, StateValues(_states_.key, values), _donated_.shardings, args, kwargs)

    return handed(run, program)


def _in_places(program: Program, states: StateValues, shardings: tuple[Any, ...], args: Any, kwargs: Any) -> Any:
    """Run the program, its states held where they belong before and after."""
    key = states.key
    if not shardings or not isinstance(key, GraphKey):
        return program(states, *args, **kwargs)
    inputs = key.inputs
    values = constrained(states.values, [shardings[i] for i in inputs.indices])
    out, (new, number) = program(StateValues(key, values), *args, **kwargs)
    outcome = program.core.outcome(number)
    written = outcome.states if outcome.used is not None else [inputs.graph.states.index(s) for s in outcome.states]
    return out, (constrained(new, [shardings[i] for i in written]), number)


def _keep_placed(inputs: Inputs, before: Sequence[Any], after: Sequence[Any]) -> None:
    """Leave what was moved where it is now, but for states that another thread has written meanwhile."""
    now = read_values(inputs.states, False)
    moved = [
        (state, new)
        for state, new, old, live in zip(inputs.states, after, before, now, strict=True)
        if new is not old and new is not None and live is old
    ]
    if moved:
        write_values([s for s, _ in moved], [v for _, v in moved], moved=True)


def _present(states: Sequence[Any], values: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    pairs = [(s, v) for s, v in zip(states, values, strict=False) if v is not None]
    return [s for s, _ in pairs], [v for _, v in pairs]
