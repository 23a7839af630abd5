"""How states and arguments cross into a compiled program: which states are donated, and what is placed where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

import jax

from brainstate_graph.extend import read_values, tracing, untraced, write_values

from .._engine.core import Retry
from .._engine.lost import refuse_aliases, refuse_lost, refuse_shared
from .._engine.touched import Plan
from .._engine.values import Rows, StateValues, Written
from .program import Program
from .shardings import Chosen, Placement, constrained, placed, with_placement

__all__ = ["Entry", "Given"]


class Given:
    """What crosses beside the states that stay: the values that are donated, and the places of all states.

    Attributes:
        values: The donated values, at their places among the inputs; None where nothing is donated.
        places: The sharding of each state of the table, or nothing.
    """

    __slots__ = ("places", "values")

    def __init__(self, values: Sequence[Any], places: tuple[Any, ...]) -> None:
        self.values = values
        self.places = places


jax.tree_util.register_dataclass(Given, data_fields=["values"], meta_fields=["places"])


class Entry:
    """A program as ``jax.jit`` takes it.

    Args:
        program: The program.
        donate_states: Which of the written states give their buffers away: False, True or a selector.
        state_shardings: Where states live: a placed selector.
        static: The positions of static arguments.
        donated: The positions of donated arguments.
        options: Further options of ``jax.jit``.
    """

    def __init__(
        self,
        program: Program,
        donate_states: Any,
        state_shardings: Any,
        static: frozenset[int],
        donated: Sequence[int],
        options: dict[str, Any],
    ) -> None:
        core = self.core = program.core
        self.program = program
        self.donates = donate_states is not False and donate_states is not None
        self.chosen = None
        if self.donates and donate_states is not True:
            self.chosen = Chosen(core, "donate_states", donate_states)
        self.placement = None if state_shardings is None else Placement(core, "state_shardings", state_shardings)
        self.apart = self.donates or self.placement is not None
        program.always_look = self.apart
        if self.placement is not None:
            program.shapes = lambda plan: self.where(plan.values(), with_placement)[0]
        self._static = static
        options = dict(options)
        self._in_shardings: Any = options.pop("in_shardings", None)
        out_shardings = options.pop("out_shardings", None)
        if self._in_shardings is not None or out_shardings is not None:
            jax.jit(core, in_shardings=self._in_shardings, out_shardings=out_shardings)  # checks them
        if out_shardings is not None:
            options["out_shardings"] = (out_shardings, None)
        self.shift = 2 if self.apart else 1
        numbers = (*((0,) if self.donates else ()), *(n + self.shift for n in donated))
        self._options: dict[str, Any] = {"donate_argnums": numbers, **options}
        self._compiled: dict[int, Any] = {}  # by number of arguments where they have shardings
        # Without options the whole touched graph needs no second ``jax.jit`` around the one that looks.
        self.plain = not (self.apart or self._in_shardings is not None or any(self._options.values()))

    @property
    def run(self) -> Callable[..., Any]:
        """What is called with the states that are passed; without a detour where nothing else has to be done."""
        return self if self.apart or self._in_shardings is not None else self.compiled(0)

    @property
    def run_whole(self) -> Callable[..., Any]:
        """The same where the whole touched graph is passed."""
        return self.program.whole if self.plain else self.run

    def staged(self, plan: Plan, count: int) -> Any:
        """The ``jax.jit`` that is called with this touched graph and so many positional arguments."""
        return self.program.whole if self.plain and plan.which.choice is None else self.compiled(count)

    def compiled(self, count: int) -> Any:
        """The ``jax.jit`` of the program for so many positional arguments."""
        shardings = self._in_shardings
        key = 0 if shardings is None else count
        found = self._compiled.get(key)
        if found is None:
            options = dict(self._options)
            if shardings is not None:
                options["in_shardings"] = (*repeat(None, self.shift), *self._for_each(count))
            entry = _apart(self.program) if self.apart else self.program
            found = self._compiled.setdefault(key, jax.jit(entry, **options))
        return found

    def _for_each(self, count: int) -> list[Any]:
        """The sharding of each positional argument; ``jax.jit`` counts without the static ones."""
        given = self._in_shardings
        dynamic = [n for n in range(count) if n not in self._static]
        if isinstance(given, (tuple, list)) and len(given) != len(dynamic):
            raise ValueError(
                f"in_shardings has {len(given)} entries, but `{self.core.__qualname__}` was called with "
                f"{len(dynamic)} positional arguments that are not static: give one entry for each"
            )
        each = iter(given) if isinstance(given, (tuple, list)) else repeat(given)
        return [None if n in self._static else next(each) for n in range(count)]

    def __call__(self, states: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        if not self.apart:
            return self.compiled(len(args))(states, *args, **kwargs)
        return self.call(self.compiled(len(args)), states, args, kwargs)

    def call(self, compiled: Callable[..., Any], states: StateValues, args: Any, kwargs: Any) -> Any:
        """Call a compiled form of the program; what it moves to its place is moved for good once it has run."""
        if not self.apart:
            return compiled(states, *args, **kwargs)
        if not isinstance(states.which, Rows):
            return self.program(states, *args, **kwargs)
        plan = states.which.plan
        given, rest = self.leading(states, placed)
        count = len(given.values)
        try:
            out = compiled(given, rest, *args, **kwargs)
        except Retry:
            raise
        except Exception as error:
            if count:
                donated = [s for s, v in zip(plan.inputs, given.values, strict=False) if v is not None]
                refuse_lost(donated, self.core.__qualname__, error, donating=True)
                values = [v for v in given.values if v is not None]
                refuse_aliases(donated, values, (rest, args, kwargs), self.core.__qualname__)
            raise
        if given.places and untraced():
            _keep_placed(plan, states.values, rest.values)
        return out

    def leading(self, states: StateValues, put: Callable[[Any, Any], Any]) -> tuple[Any, ...]:
        """Return what is passed for the states, before the user's arguments."""
        if not self.apart:
            return (states,)
        which = states.which
        assert isinstance(which, Rows)
        plan, taken = which.plan, which.places
        values, places = self.where(states, put)
        # What is around may still drop the results, and go on with the values of before.
        count = 0 if which.choice is None or tracing() else which.choice.donated
        donated = values[:count]
        if self.chosen is not None:
            chosen = self.chosen.of(plan)
            donated = [v if chosen[i] else None for i, v in zip(taken, donated, strict=False)]
            kept = [None if chosen[i] else v for i, v in zip(taken, values[:count], strict=False)]
        else:
            kept = [None] * count
        others = [*_present(plan.inputs, kept)[0], *plan.inputs[count:], *plan.others]
        refuse_shared(*_present(plan.inputs, donated), others)
        return Given(donated, places), StateValues(which, [*kept, *values[count:]])

    def where(self, states: StateValues, put: Callable[[Any, Any], Any]) -> tuple[Sequence[Any], tuple[Any, ...]]:
        """Return the values where they belong, and the sharding of each state of the table."""
        which = states.which
        if self.placement is None or not isinstance(which, Rows):
            return states.values, ()
        places = self.placement.of(which.plan)
        pairs = zip(which.places, states.values, strict=True)
        return [v if places[i] is None else put(v, places[i]) for i, v in pairs], places

    def shapes(self, states: StateValues) -> tuple[Any, ...]:
        """Return the same as `leading`, where nothing is moved."""
        return self.leading(states, with_placement)

    def resolve(self, plan: Plan) -> None:
        """Refuse selectors that select nothing of this touched graph."""
        for said in (self.chosen, self.placement):
            if said is not None:
                said.of(plan)

    def check(self, plan: Plan) -> None:
        """Refuse selectors of states that the function, now that it is traced, is known not to use."""
        for said in (self.chosen, self.placement):
            if said is not None:
                said.check(plan)

    def clear(self) -> None:
        """Forget all programs."""
        for compiled in (*self._compiled.values(), self.program.whole):
            compiled.clear_cache()


def _apart(program: Program) -> Callable[..., Any]:
    """The program with what is donated apart from what stays."""

    def entry(_given_: Given, _states_: StateValues, /, *args: Any, **kwargs: Any) -> Any:
        values, given = list(_states_.values), _given_.values
        values[: len(given)] = [v if g is None else g for g, v in zip(given, values, strict=False)]
        return _in_places(program, StateValues(_states_.which, values), _given_.places, args, kwargs)

    entry.__name__, entry.__qualname__ = program.__name__, program.__qualname__
    return entry


def _in_places(program: Program, states: StateValues, places: tuple[Any, ...], args: Any, kwargs: Any) -> Any:
    """Run the program, its states held in their places before and after."""
    which = states.which
    if not places or not isinstance(which, Rows):
        return program(states, *args, **kwargs)
    values = constrained(states.values, [places[i] for i in which.places])
    out, (new, number) = program(StateValues(which, values), *args, **kwargs)
    if type(number) is Written:
        written = [which.plan.table.index(state) for state in number.which.states]
    else:
        written = program.core.whiches[len(number)].states
    return out, (constrained(new, [places[i] for i in written]), number)


def _keep_placed(plan: Plan, before: Sequence[Any], after: Sequence[Any]) -> None:
    """Leave what was moved where it is now, but for states that another thread has written meanwhile."""
    now = read_values(plan.inputs, False)
    moved = [
        (state, new)
        for state, new, old, live in zip(plan.inputs, after, before, now, strict=True)
        if new is not old and new is not None and live is old
    ]
    if moved:
        write_values([s for s, _ in moved], [v for _, v in moved])


def _present(states: Sequence[Any], values: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    pairs = [(s, v) for s, v in zip(states, values, strict=False) if v is not None]
    return [s for s, _ in pairs], [v for _, v in pairs]
