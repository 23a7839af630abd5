"""``vmap``: each state is shared by all lanes, or mapped: one value per lane, along an axis."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import DictKey, keystr

from brainstate_graph import Node, Overlay, State
from brainstate_graph.extend import Journal, locate

from .._engine.core import Core, Run
from .._engine.errors import BatchAxisError
from .._engine.lift import lift
from .._engine.placeholders import Held
from .._engine.prefix import OfArguments, argument_name, spread
from .._engine.select import place
from .._engine.values import Outcome, StateValues, Written
from .lanes import Lanes

__all__ = ["vmap"]

_Axes = dict[State[Any], int | None]
_IN_AXES = OfArguments("in_axes", keyword=0, rest=None)


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
            axes by the names of parameters, in which case the others are not mapped.
        out_axes: As in ``jax.vmap``.
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
        ValueError: Something has no such axis, or the numbers of lanes differ.

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
        return functools.partial(
            vmap, in_axes=in_axes, out_axes=out_axes, in_states=in_states, out_states=out_states, new_states=new_states,
            rngs=rngs, axis_name=axis_name, axis_size=axis_size, spmd_axis_name=spmd_axis_name,
        )  # fmt: skip
    in_axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
    _check_axes("in_axes", in_axes)
    _check_axes("out_axes", out_axes)
    if rngs not in ("split", "share"):
        raise ValueError(f'rngs={rngs!r}: give "split", for other draws in each lane, or "share", for the same')
    if axis_size is not None and (isinstance(axis_size, bool) or not isinstance(axis_size, (int, np.integer))):
        raise TypeError(f"axis_size is the number of lanes, not {axis_size!r}")
    if axis_size is not None and axis_size < 0:
        raise ValueError(f"axis_size={axis_size}: the number of lanes is not negative")
    if isinstance(new_states, (bool, float)):
        raise TypeError(f"new_states is an axis or names states, not {new_states!r}: write `new_states=0`")
    names = {"axis_name": axis_name, "spmd_axis_name": spmd_axis_name}
    options = _Options(in_axes, out_axes, in_states, out_states, new_states, rngs == "share", axis_size, names)
    return lift(functools.partial(_rule, options), fun)


class _Options(NamedTuple):
    in_axes: Any
    out_axes: Any
    in_states: Any
    out_states: Any
    new_states: Any
    share: bool
    axis_size: int | None
    names: dict[str, Any]  # what JAX is given as it is


def _rule(options: _Options, core: Core) -> Run:
    def run(_: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
        before = place(options.in_states, core, "in_states", 0, _is_axis)
        after = {**before, **place(options.out_states, core, "out_states", 0, _is_axis)}
        groups = {
            axis: StateValues.read([s for s, a in before.items() if a == axis])
            for axis in dict.fromkeys(before.values())
            if axis is not None
        }
        in_axes, by_keyword = _IN_AXES.find(options.in_axes, core.fun, core.bound, len(args), kwargs)
        count = _count(core, options.axis_size, [(in_axes, args), (by_keyword, kwargs)], groups)
        lane = _Lane(core, options, before, after)

        def mapped(telling: bool) -> tuple[Any, dict[int, Written], Written]:
            # JAX asks for the signature, which takes 60 microseconds longer for a partial.
            def each(groups: Any, number: Any, args: Any, kwargs: Any) -> Any:
                return lane(telling, groups, number, args, kwargs)

            return jax.vmap(
                each,
                in_axes=({axis: axis for axis in groups}, 0, in_axes, by_keyword if kwargs else None),
                out_axes=(options.out_axes, {axis: axis for axis in lane.axes}, None),
                axis_size=count,
                **options.names,
            )(groups, np.arange(count, dtype=np.int32), args, kwargs)

        try:
            with Journal():  # what it sets is undone before it is looked at again
                out, apart, common = mapped(False)
        except ValueError:
            if lane.ended:  # JAX tells no more than that some output differs per lane: look again, for which
                jax.eval_shape(lambda: mapped(True))
            raise
        parts = [*apart.values(), common]
        states = tuple(s for part in parts for s in part.outcome.states)
        return out, Written((Outcome(states), [v for part in parts for v in part.values]))

    return run


class _Lane:
    """What runs in each lane: ``lane(telling, groups, number, args, kwargs) -> (out, mapped writes, common writes)``.

    Args:
        core: The core of the user's function.
        options: The options of the user.
        before: The axes of states when the call begins.
        after: Their axes when it ends.
    """

    def __init__(self, core: Core, options: _Options, before: _Axes, after: _Axes) -> None:
        self._core = core
        self._options = options
        self._before = before
        self._after = after
        self.axes = {a for a in (*after.values(), *_axes_named(options.new_states)) if a is not None}
        self.ended = False  # whether the user's function has come to its end

    def __call__(
        self, telling: bool, groups: Mapping[int, StateValues], number: Any, args: Any, kwargs: Any
    ) -> tuple[Any, dict[int, Written], Written]:
        given = StateValues.of(
            [s for group in groups.values() for s in group.states], [v for g in groups.values() for v in g.values]
        )
        own = {state for state, axis in self._after.items() if axis is not None}
        overlay = Overlay() if self._options.share else Lanes(number, own)
        core, axes = self._core, dict(self._after)
        new: dict[State[Any], Any] = {}
        if self._options.new_states is not None:
            core = copy.copy(core)
            core.fun = self._handing_on(overlay, new, axes)
        out, written = core.run(given, args, kwargs, overlay)
        values = {**dict(written.items()), **new}
        made = [state for state in values if state not in overlay.writes]
        for state, value in zip(given.states, given.values, strict=True):
            if axes[state] != self._before[state]:  # it moves, even if it is only read
                values.setdefault(state, value)
        self._check_results(out, values, axes)
        shared = [state for state in values if axes.get(state) is None]
        if telling or made:  # with states made, running the function again would find them there
            self._refuse_batched(out, {state: values[state] for state in shared}, made, number)
        apart = {axis: [s for s in values if axes.get(s) == axis] for axis in self.axes}
        self.ended = True
        return (
            out,
            {axis: _written(states, values) for axis, states in apart.items()},
            _written(shared, values),
        )

    def _handing_on(self, overlay: Overlay, new: dict[State[Any], Any], axes: _Axes) -> Callable[..., Any]:
        """The user's function, but the states and nodes that it makes leave as themselves."""
        core, selector = self._core, self._options.new_states

        @functools.wraps(core.fun)
        def handing_on(*args: Any, **kwargs: Any) -> Any:
            out = core.fun(*args, **kwargs)
            del args, kwargs
            if not _is_axis(selector):
                seen = copy.copy(core)
                seen.nodes = [*core.nodes, *(leaf for leaf in jax.tree.leaves(out) if isinstance(leaf, Node))]
                if any(map(overlay.created, seen.touched_graph().snapshot.states)):
                    placed = place(selector, seen, "new_states", 0, _is_axis)
                    axes.update({state: axis for state, axis in placed.items() if overlay.created(state)})
            new.update(overlay.made())
            if _is_axis(selector):
                axes.update(dict.fromkeys(new, selector))
            core.note_sealed()
            return jax.tree.map(lambda leaf: Held(leaf) if isinstance(leaf, Node) else leaf, out)

        handing_on.__qualname__ = core.__qualname__  # which a partial does not have
        return handing_on

    def _check_results(self, out: Any, values: dict[State[Any], Any], axes: _Axes) -> None:
        user, out_axes = self._core.__qualname__, self._options.out_axes
        try:
            found = spread(out_axes, out, _is_axis)
        except ValueError:
            raise ValueError(
                f"out_axes={out_axes!r} does not fit the result of `{user}`, which is {jax.tree.structure(out)}"
            ) from None
        for path, leaf, axis in found:
            if axis is not None and not -np.ndim(leaf) - 1 <= axis <= np.ndim(leaf):
                raise ValueError(
                    f"result{keystr(path)} of `{user}` has shape {list(np.shape(leaf))} in each lane: out_axes={axis} "
                    "cannot give it that axis"
                )
        for state, value in values.items():
            axis = axes.get(state)
            if axis is None:
                continue
            for leaf in jax.tree.leaves(value):
                if not -np.ndim(leaf) - 1 <= axis <= np.ndim(leaf):
                    raise ValueError(
                        f"{locate(state)} has shape {list(np.shape(leaf))} in each lane of `{user}`, and cannot get an "
                        f"axis {axis}: name another one in `out_states` or `new_states`"
                    )

    def _refuse_batched(self, out: Any, shared: dict[State[Any], Any], made: Iterable[State[Any]], number: Any) -> None:
        """Say what differs per lane though it is shared."""
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
                "share. Name it in `in_states` if it has one value per lane already, in `out_states` if it is to get "
                "one."
            )
        for path, leaf, axis in spread(self._options.out_axes, out, _is_axis):
            if axis is None and _differs(leaf, number):
                raise ValueError(
                    f"result{keystr(path)} of `{user}` differs per lane, but out_axes has None for it: give an axis"
                )


def _is_axis(place: Any) -> bool:
    return place is None or type(place) is int


def _axes_named(selector: Any) -> set[Any]:
    """The axes that stand in a placed selector, and the one that others get."""
    if _is_axis(selector):
        return {selector}
    parts = (*selector.keys(), *selector.values()) if isinstance(selector, Mapping) else ()
    return {0, *(part for part in parts if _is_axis(part))}


def _check_axes(argument: str, axes: Any) -> None:
    for axis in jax.tree.leaves(axes):
        if not _is_axis(axis):
            raise TypeError(f"{argument}={axes!r} holds {axis!r}: axes are whole numbers or None")


def _count(
    core: Core, axis_size: int | None, arguments: list[tuple[Any, Any]], groups: Mapping[int, StateValues]
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

    for axes, tree in arguments:
        if not tree:
            continue
        try:
            found = spread(axes, tree, _is_axis)
        except ValueError as error:
            raise ValueError(f"in_axes={axes!r} does not fit the arguments of `{core.__qualname__}`: {error}") from None
        for path, leaf, axis in found:
            if axis is not None:
                note(leaf, axis, functools.partial(_name_argument, path, core))
    for axis, group in groups.items():
        for state, value in zip(group.states, group.values, strict=True):
            for path, leaf in jax.tree_util.tree_leaves_with_path(value):
                note(leaf, axis, lambda state=state, path=path: locate(state) + keystr(path))
    if not sizes:
        raise ValueError(
            f"`{core.__qualname__}` has no mapped argument or state to take the number of lanes from: give axis_size"
        )
    if any(size != sizes[0][0] for size, _ in sizes):
        shown = {size: name() for size, name in reversed(sizes)}  # the first of each size
        listed = ", ".join(f"{size} in {name}" for size, name in reversed(shown.items()))
        raise ValueError(f"the number of lanes of `{core.__qualname__}` is not the same everywhere: {listed}")
    return sizes[0][0]


def _name_argument(path: Any, core: Core) -> str:
    name = f"{argument_name(path, core.fun)} of `{core.__qualname__}`"
    return f"keyword {name}" if isinstance(path[0], DictKey) else name


def _written(states: list[State[Any]], values: dict[State[Any], Any]) -> Written:
    return StateValues.of(states, [values[state] for state in states]).as_written()


def _differs(value: Any, number: Any) -> bool:
    """Tell whether a value differs per lane; `number` is that of the lane."""
    if not jax.tree.leaves(value):
        return False
    found: list[bool] = []

    @jax.custom_batching.custom_vmap
    def probe(value: Any, number: Any) -> Any:
        return value

    @probe.def_vmap
    def _(axis_size: int, in_batched: list[Any], value: Any, number: Any) -> tuple[Any, Any]:
        found.append(any(jax.tree.leaves(in_batched[0])))
        return value, in_batched[0]

    probe(value, number)
    return found[0]  # the lanes around this one, which an array may differ over too, come after
