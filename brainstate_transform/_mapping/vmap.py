"""``vmap``: each state is shared by all lanes, or mapped: one value per lane, along an axis.

A state that is shared can be read in all lanes, and written with what is the same in all.  Whether a written value
differs per lane only JAX knows.  It says no more than that some output does, so the function is then traced again to
find out which one (`_Lane`, `_refuse_batched`), for an error that names the state and the line to write.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import keystr

from brainstate_graph import Node, Overlay, State
from brainstate_graph.extend import Journal, declare_late, locate

from .._collecting.collected import collected_lane, give_collected
from .._collecting.collector import collectors
from .._engine.core import Core, Run
from .._engine.errors import BatchAxisError
from .._engine.lift import lift
from .._engine.placeholders import Held
from .._engine.user_function import decorator
from .._engine.values import StateValues, Written
from .._selection.select import place
from .lane_axes import laned, with_lanes
from .lanes import check_rngs
from .modules import axes_of_states, place_returned
from .per_state import PerState, joined
from .prefix import ArgumentSpecs, each_argument, each_result
from .spread_lanes import spread_alike

__all__ = ["vmap"]

# As in JAX, keyword arguments are mapped on axis 0. Who names axes by parameter names those that are mapped.
_IN_AXES = ArgumentSpecs("in_axes", keyword=0, rest=None)


def vmap(
    fun: Callable[..., Any] | None = None,
    in_axes: Any = 0,
    out_axes: Any = 0,
    *,
    in_states: Any = None,
    out_states: Any = None,
    new_states: Any = None,
    rngs: str = "split",
    axis_name: Hashable | None = None,
    axis_size: int | None = None,
    spmd_axis_name: Hashable | None = None,
) -> Any:
    """Map `fun` over an axis of its arguments and of chosen states.

    Args:
        fun: A function that may read and write states; without it, a decorator is returned.
        in_axes: As in ``jax.vmap``, for the positional arguments; keyword arguments are mapped on axis 0. Or a dict of
            axes by the names of parameters, in which case the others are not mapped. The axis of a module is that of
            its states; with None they are as `in_states` says, and one axis for all arguments is for modules only
            where there is no `in_states`.
        out_axes: As in ``jax.vmap``. An axis for a module by itself, in a tuple or the like, is that of its states.
        in_states: The states that have one value per lane: a selector, on axis 0, or ``{axis: selector}``, or
            ``{selector: axis}``; see `select`. The others are shared by all lanes.
        out_states: The states that have one value per lane afterwards, in the same form. What is in `in_states` stays
            on its axis if it is not named here; with the axis None it is shared from then on.
        new_states: The axis for the states that `fun` makes and leaves on a node, or returns in one; or a selector
            among them, in the same form. Without it they may not differ per lane, but in a node that is returned they
            follow `out_axes`.
        rngs: "split": a random stream draws other numbers in each lane, and advances once; or "share": all lanes draw
            the same, as without `vmap`.
        axis_name: As in ``jax.vmap``, for collectives.
        axis_size: The number of lanes, where no argument or state is mapped.
        spmd_axis_name: As in ``jax.vmap``.

    Returns:
        The mapped function.

    Raises:
        BatchAxisError: `fun` writes a value that differs per lane to a state that is not mapped.
        ValueError: Something has no such axis, a state is given two, or the numbers of lanes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import vmap
        >>> total = State(jnp.zeros(3))
        >>> def add(x):
        ...     total.value += x
        >>> vmap(add, in_states=total)(jnp.arange(3.0))
        >>> total.value
        Array([0., 1., 2.], dtype=float32)
    """
    if fun is None:
        return decorator(vmap, locals())
    in_axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
    _check_axes("in_axes", in_axes)
    _check_axes("out_axes", out_axes)
    check_rngs(rngs, "in each lane")
    if axis_size is not None and (isinstance(axis_size, bool) or not isinstance(axis_size, (int, np.integer))):
        raise TypeError(f"axis_size must be the number of lanes, not {axis_size!r}")
    if axis_size is not None and axis_size < 0:
        raise ValueError(f"axis_size={axis_size}: the number of lanes must not be negative")
    if isinstance(new_states, (bool, float)):
        raise TypeError(f"new_states must be an axis or name states, not {new_states!r}: write `new_states=0`")
    names = {"axis_name": axis_name, "spmd_axis_name": spmd_axis_name}
    return lift(_Vmap(in_axes, out_axes, in_states, out_states, new_states, rngs == "split", axis_size, names), fun)


class _Vmap(NamedTuple):
    """The rule of `vmap`, with what the user gave.

    Attributes:
        split: Whether random streams draw other numbers in each lane.
        names: What JAX is given as it is.
    """

    in_axes: Any
    out_axes: Any
    in_states: Any
    out_states: Any
    new_states: Any
    split: bool
    axis_size: int | None
    names: dict[str, Any]

    def __call__(self, core: Core) -> Run:
        def run(_: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            before = place(self.in_states, core, "in_states", 0, _is_axis)
            after = place(self.out_states, core, "out_states", 0, _is_axis)
            in_axes, by_keyword = _IN_AXES.prefixes(self.in_axes, core, len(args), kwargs)
            by_module = self._of_modules(core, [(in_axes, args), (by_keyword, kwargs)], before)
            before |= {state: axis for state, (axis, _) in by_module.items()}
            states = PerState(before, after, None, {*_axes_named(self.new_states), *jax.tree.leaves(self.out_axes)})
            groups = states.read()
            count = _count(core, self.axis_size, [(in_axes, args), (by_keyword, kwargs)], groups, by_module)
            lane = _Lane(self, core, states, count)

            def mapped(diagnosing: bool) -> tuple[tuple[Any, Any], list[StateValues]]:
                # No partial: JAX asks for the signature, and of a partial that takes 60 microseconds longer.
                def each(groups: Any, number: Any, args: Any, kwargs: Any) -> Any:
                    return lane(groups, number, args, kwargs, diagnosing)

                axes = (list(groups), 0, in_axes, by_keyword if kwargs else None)
                return jax.vmap(
                    each, in_axes=axes, out_axes=((self.out_axes, 0), states.specs), axis_size=count, **self.names
                )(*spread_alike(axes, (list(groups.values()), np.arange(count, dtype=np.int32), args, kwargs)))

            try:
                with Journal():  # the attributes that it sets are undone before it is traced again
                    (out, given), written = mapped(False)
            except ValueError:
                # JAX says that some output differs per lane, and not which. If the user's function came to its end, the
                # error is about what leaves it: trace once more, to find out.
                if lane.ended:
                    if core.containers:
                        core.containers.restore()
                    jax.eval_shape(lambda: mapped(True))
                raise
            return out, joined([*written, StateValues.read(give_collected(given))]).as_written()

        return run

    def _of_modules(self, core: Core, arguments: list[tuple[Any, Any]], named: Mapping[State[Any], Any]) -> Any:
        """Return the axes of states that modules among the arguments have by `in_axes`, see `axes_of_states`.

        One axis for all arguments, as by default, holds for modules too, unless `in_states` names them.
        """
        if self.in_states is not None:
            each = (isinstance(self.in_axes, (tuple, dict)), isinstance(self.in_axes, dict))
            arguments = [pair for pair, own in zip(arguments, each, strict=True) if own]
        nodes = each_argument("in_axes", arguments, core, _is_axis, nodes=True) if core.nodes else ()
        return axes_of_states("in_axes", nodes, named)


class _Lane:
    """What runs in each lane: the user's function, its states split by their axes before JAX gets them.

    Args:
        rule: What the user gave.
        core: The user's function.
        states: The axes of states.
        count: The number of lanes.

    Attributes:
        ended: Whether the user's function has come to its end.
    """

    def __init__(self, rule: _Vmap, core: Core, states: PerState, count: int) -> None:
        self._rule = rule
        self._core = core
        self._states = states
        self._count = count
        self.ended = False

    def __call__(
        self, groups: list[StateValues], number: Any, args: Any, kwargs: Any, diagnosing: bool
    ) -> tuple[tuple[Any, Any], list[StateValues]]:
        """Run one lane.

        Args:
            groups: The states that are mapped, with the values of this lane.
            number: Its number.
            args: Positional arguments.
            kwargs: Keyword arguments.
            diagnosing: Whether to look for what differs per lane though it must not.

        Returns:
            The result beside what is given to collectors, and the values that leave the lane, a group for each axis.
        """
        given, core, states = joined(groups), self._core, self._states.copy()
        selector = self._rule.new_states
        overlay = states.overlay(number if self._rule.split else None, selector if _is_axis(selector) else None)
        new: dict[State[Any], Any] = {}
        if collectors():
            core = copy.copy(core)
            core.fun = collected_lane(core.fun, number, self._count)
        if selector is not None:
            handing_on = self._handing_on(core, overlay, new, states.after)
            core = copy.copy(core)
            core.fun = handing_on
        out, written = core.run(given, args, kwargs, overlay)
        out, collected = out if collectors() else (out, [])
        values = {**dict(written.items()), **new}
        made = [state for state in values if state not in overlay.writes]
        if not _is_axis(self._rule.out_axes):  # which is of arrays: a module may be returned beside any
            nodes = each_result("out_axes", self._rule.out_axes, out, core, _is_axis, nodes=True)
            place_returned(nodes, values, new, states)
        values = states.leaving(given, values)
        self._check_results(out, values, states.after)
        if diagnosing or made:  # with states made, running the function again would find them there
            shared = {state: value for state, value in values.items() if states.after.get(state) is None}
            self._refuse_batched(out, shared, made, number)
        self.ended = True
        return (with_lanes(out, self._rule.out_axes), collected), states.split(values)

    def _handing_on(
        self, core: Core, overlay: Overlay, new: dict[State[Any], Any], axes: dict[State[Any], Any]
    ) -> Callable[..., Any]:
        """The user's function, but the states and nodes that it makes leave as themselves.

        Their values go to `new`, and their axes to `axes`.
        """
        selector = self._rule.new_states

        @functools.wraps(core.fun)
        def handing_on(*args: Any, **kwargs: Any) -> Any:
            out = core.fun(*args, **kwargs)
            del args, kwargs
            if not _is_axis(selector):
                # The selector may name states by their paths from a node that was made here and is returned.
                seen = copy.copy(core)
                seen.nodes = [*core.nodes, *(leaf for leaf in jax.tree.leaves(out) if isinstance(leaf, Node))]
                if any(map(overlay.created, seen.states())):
                    placed = place(selector, seen, "new_states", 0, _is_axis)
                    axes.update({state: axis for state, axis in placed.items() if overlay.created(state)})
            new.update(overlay.made())
            if _is_axis(selector):
                axes.update(dict.fromkeys(new, selector))
            else:  # by now it is known which of them get one
                for state in [state for state in new if axes.get(state) is not None]:
                    declare_late(state, **laned(state.metadata, new[state], axes[state]))
            core.note_sealed()
            return jax.tree.map(lambda leaf: Held(leaf) if isinstance(leaf, Node) else leaf, out)

        handing_on.__qualname__ = core.__qualname__  # which a partial does not have
        return handing_on

    def _check_results(self, out: Any, values: dict[State[Any], Any], axes: Mapping[State[Any], Any]) -> None:
        """Refuse an axis that an array cannot get."""
        for name, leaf, axis in each_result("out_axes", self._rule.out_axes, out, self._core, _is_axis):
            if axis is not None and not -np.ndim(leaf) - 1 <= axis <= np.ndim(leaf):
                raise ValueError(
                    f"{name()} has shape {list(np.shape(leaf))} in each lane: out_axes={axis} cannot give it that axis"
                )
        for state, value in values.items():
            axis = axes.get(state)
            if axis is None:
                continue
            for leaf in jax.tree.leaves(value):
                if not -np.ndim(leaf) - 1 <= axis <= np.ndim(leaf):
                    raise ValueError(
                        f"{locate(state)} has shape {list(np.shape(leaf))} in each lane of "
                        f"`{self._core.__qualname__}`, and cannot get an axis {axis}: name another one in "
                        "`out_states` or `new_states`"
                    )

    def _refuse_batched(self, out: Any, shared: dict[State[Any], Any], made: Iterable[State[Any]], number: Any) -> None:
        """Refuse what differs per lane though it is shared."""
        user = self._core.__qualname__
        differs = [state for state, value in shared.items() if _differs(value, number)]
        new = ", ".join(locate(state) for state in differs if state in set(made))
        if new:
            raise BatchAxisError(
                f"`{user}` makes {new} with a value that differs per lane: write `vmap(..., new_states=0)` to get one "
                "value per lane"
            )
        if differs:
            raise BatchAxisError(
                f"`{user}` writes a value that differs per lane to {', '.join(map(locate, differs))}, which all lanes "
                "share. Name it in `in_states` if it already has one value per lane, in `out_states` if it is to get "
                "one."
            )
        for name, leaf, axis in each_result("out_axes", self._rule.out_axes, out, self._core, _is_axis):
            if axis is None and _differs(leaf, number):
                raise ValueError(f"{name()} differs per lane, but out_axes has None for it: give an axis")


def _is_axis(item: Any) -> bool:
    return item is None or type(item) is int


def _axes_named(selector: Any) -> set[Any]:
    """The axes that states made inside may get: those in the selector, and 0 for the others that it names."""
    if _is_axis(selector):
        return {selector}
    parts = (*selector.keys(), *selector.values()) if isinstance(selector, Mapping) else ()
    return {0, *(part for part in parts if _is_axis(part))}


def _check_axes(argument: str, axes: Any) -> None:
    for axis in jax.tree.leaves(axes):
        if not _is_axis(axis):
            raise TypeError(f"{argument}={axes!r} holds {axis!r}: axes must be whole numbers or None")


def _count(
    core: Core,
    axis_size: int | None,
    arguments: list[tuple[Any, Any]],
    groups: Mapping[int, StateValues],
    by_module: Mapping[State[Any], tuple[int, Callable[[], str]]],
) -> int:
    """The number of lanes, which all that is mapped must agree on."""
    sizes: list[tuple[int, Callable[[], str]]] = []
    if axis_size is not None:
        sizes.append((int(axis_size), lambda: "axis_size"))

    def note(leaf: Any, axis: int, name: Callable[[], str]) -> None:
        shape = np.shape(leaf)
        if -len(shape) <= axis < len(shape):
            sizes.append((shape[axis], name))
            return
        what = f"has shape {list(shape)}, without an axis {axis}" if shape else "is a scalar, without an axis to map"
        raise ValueError(f"{name()} {what}: give None for it, or another axis")

    for name, leaf, axis in each_argument("in_axes", arguments, core, _is_axis):
        if axis is not None:
            note(leaf, axis, name)
    for axis, group in groups.items():
        for state, value in zip(group.states, group.values, strict=True):
            for path, leaf in jax.tree_util.tree_leaves_with_path(value):
                note(leaf, axis, lambda state=state, path=path: _with_module(state, by_module) + keystr(path))
    if not sizes:
        raise ValueError(
            f"`{core.__qualname__}` has no mapped argument or state to take the number of lanes from: give axis_size"
        )
    if any(size != sizes[0][0] for size, _ in sizes):
        shown = {size: name() for size, name in reversed(sizes)}  # the first of each size
        listed = ", ".join(f"{size} in {name}" for size, name in reversed(shown.items()))
        more = ". A module that all lanes share gets None in in_axes" if by_module else ""
        raise ValueError(f"the number of lanes of `{core.__qualname__}` is not the same everywhere: {listed}{more}")
    return sizes[0][0]


def _with_module(state: State[Any], by_module: Mapping[State[Any], tuple[int, Callable[[], str]]]) -> str:
    return locate(state) + (f" (of {by_module[state][1]()})" if state in by_module else "")


def _differs(value: Any, number: Any) -> bool:
    """Tell whether a value differs per lane; `number` is that of the lane."""
    if not jax.tree.leaves(value):
        return False
    found: list[bool] = []

    # Mapped together with the number, so that JAX maps it in these lanes; the lanes around them, which a value may
    # differ over too, ask later.
    @jax.custom_batching.custom_vmap
    def probe(value: Any, number: Any) -> Any:
        return value

    @probe.def_vmap
    def _(axis_size: int, in_batched: list[Any], value: Any, number: Any) -> tuple[Any, Any]:
        found.append(any(jax.tree.leaves(in_batched[0])))
        return value, in_batched[0]

    probe(value, number)
    return found[0]
