"""``vmap``: each state is shared by all lanes, or mapped: one value per lane, along an axis."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import State
from brainstate_graph.extend import locate

from ._core import Core, Run
from ._errors import BatchAxisError
from ._lanes import Lanes
from ._lift import lift
from ._select import select
from ._values import StateValues, Written

__all__ = ["vmap"]


def _axes(selector: Any, core: Core, argument: str) -> dict[State[Any], int]:
    """Read ``in_states`` or ``out_states``: states on axis 0, or ``{axis: selector}``."""
    if selector is None:
        return {}
    by_axis = isinstance(selector, dict) and selector and all(type(k) is int or k is None for k in selector)
    axes: dict[State[Any], int] = {}
    for axis, part in selector.items() if by_axis else [(0, selector)]:
        if axis is None:
            continue
        for state in select(part, core, argument).states:
            if axes.setdefault(state, axis) != axis:
                raise BatchAxisError(f"{argument} puts {locate(state)} on axis {axes[state]} and on axis {axis}")
    return axes


def _size(
    args: tuple[Any, ...], kwargs: dict[str, Any], in_axes: Any, states: dict[int, StateValues], user: str
) -> int:
    """The number of lanes, from the first argument or state that is mapped."""
    axes = (in_axes,) * len(args) if isinstance(in_axes, int) or in_axes is None else tuple(in_axes)
    if len(axes) != len(args):
        raise ValueError(
            f"in_axes={in_axes!r} has {len(axes)} entries, but `{user}` was called with {len(args)} arguments"
        )

    def sizes(axis: Any, tree: Any) -> list[int]:
        return [] if axis is None else [jnp.shape(x)[axis] for x in jax.tree.leaves(tree) if jnp.ndim(x)]

    found = [
        size
        for axis, arg in zip(axes, args, strict=True)
        for size in jax.tree.leaves(
            jax.tree.map(sizes, axis, arg, is_leaf=lambda x: x is None), is_leaf=lambda x: x is None
        )
    ]
    found += sizes(0, kwargs)
    found += [s for axis, group in states.items() for s in sizes(axis, group.values)]
    if not found:
        raise ValueError(f"`{user}` has no mapped argument or state to take the number of lanes from: give axis_size")
    return found[0]


def vmap(
    fun: Callable[..., Any] | None = None,
    in_axes: Any = 0,
    out_axes: Any = 0,
    *,
    in_states: Any = None,
    out_states: Any = None,
    axis_name: Hashable | None = None,
    axis_size: int | None = None,
    spmd_axis_name: Hashable | None = None,
) -> Any:
    """Map `fun` over an axis of its arguments and of chosen states.

    Args:
        fun: A function that may read and write states; without it, a decorator is returned.
        in_axes: As in ``jax.vmap``, for the positional arguments; keyword arguments are mapped on axis 0.
        out_axes: As in ``jax.vmap``.
        in_states: The states that have one value per lane: a State, a container of States, a Node, or a filter on the
            states that `fun` touches (all on axis 0), or ``{axis: any of these}``. The others are shared by all lanes.
        out_states: The states that have one value per lane afterwards, in the same form. What is in `in_states` stays
            on its axis.
        axis_name: As in ``jax.vmap``, for collectives.
        axis_size: The number of lanes, where no argument or state is mapped.
        spmd_axis_name: As in ``jax.vmap``.

    Returns:
        The mapped function. A random stream draws other numbers in each lane, and advances once.

    Raises:
        BatchAxisError: `fun` writes a value that differs per lane to a state that is not mapped.

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
            vmap, in_axes=in_axes, out_axes=out_axes, in_states=in_states, out_states=out_states, axis_name=axis_name,
            axis_size=axis_size, spmd_axis_name=spmd_axis_name,
        )  # fmt: skip
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    options: dict[str, Any] = {"axis_name": axis_name, "spmd_axis_name": spmd_axis_name}

    def rule(core: Core) -> Run:
        def run(_: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            axes_in = _axes(in_states, core, "in_states")
            axes_out = {**_axes(out_states, core, "out_states")}
            for state, axis in axes_in.items():
                axes_out.setdefault(state, axis)
            groups = {
                axis: StateValues.read([s for s, a in axes_in.items() if a == axis]) for axis in set(axes_in.values())
            }
            lanes = axis_size if axis_size is not None else _size(args, kwargs, in_axes, groups, core.__qualname__)

            def lane(
                overlay: Callable[[Any], Lanes], groups: dict[int, StateValues], number: Any, args: Any, kwargs: Any
            ) -> Any:
                states = [s for g in groups.values() for s in g.states]
                values = [v for g in groups.values() for v in g.values]
                out, written = core.run(StateValues.of(states, values), args, kwargs, overlay(number))
                apart = {axis: written.pick(lambda s, a=axis: axes_out.get(s) == a) for axis in set(axes_out.values())}
                return out, apart, written.pick(lambda s: s not in axes_out)

            def mapped(shared: Any, overlay: Callable[[Any], Lanes]) -> Any:
                return jax.vmap(
                    functools.partial(lane, overlay),
                    in_axes=({axis: axis for axis in groups}, 0, in_axes, 0),
                    out_axes=(out_axes, {axis: axis for axis in set(axes_out.values())}, shared),
                    axis_size=lanes,
                    **options,
                )(groups, jnp.arange(lanes), args, kwargs)

            try:
                out, apart, common = mapped(None, Lanes)
            except ValueError as error:
                if "out_axes" in str(error):
                    _name_batched(core, axes_out, lambda overlay: jax.eval_shape(lambda: mapped(0, overlay)))
                raise
            parts = [*apart.values(), common]
            states = tuple(s for part in parts for s in part.which[0])
            return out, Written(((states, None, False), [v for part in parts for v in part.values]))

        return run

    return lift(rule, fun)


def _name_batched(core: Core, mapped: dict[State[Any], int], again: Callable[[Callable[[Any], Lanes]], Any]) -> None:
    """Say which states were written per lane, where JAX says only that some output was."""
    batched: dict[State[Any], None] = {}

    class Watching(Lanes):
        __slots__ = ()

        def written(self) -> list[tuple[State[Any], Any]]:
            def watched(state: State[Any], value: Any) -> Any:
                return jax.tree.map(functools.partial(_watch, lambda: batched.setdefault(state)), value)

            return [(state, watched(state, value)) for state, value in super().written()]

    again(Watching)
    names = ", ".join(locate(state) for state in batched if state not in mapped)
    if names:
        raise BatchAxisError(
            f"`{core.__qualname__}` writes a value that differs per lane to {names}, which all lanes share. Name it in "
            "`in_states` if it has one value per lane already, in `out_states` if it is to get one."
        ) from None


def _watch(note: Callable[[], Any], value: Any) -> Any:
    """Return `value`, and call `note` if it is mapped."""

    @jax.custom_batching.custom_vmap
    def probe(x: Any) -> Any:
        return x

    @probe.def_vmap
    def _(axis_size: int, in_batched: list[bool], x: Any) -> tuple[Any, bool]:
        if in_batched[0]:
            note()
        return x, in_batched[0]

    return probe(value)
