"""``shard_map``: each state is the same on all shards of a mesh, or spread over them by a PartitionSpec."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import AbstractMesh, AxisType, Mesh, PartitionSpec
from jax.tree_util import keystr

from brainstate_graph import Overlay, State
from brainstate_graph.extend import locate

from .._engine.core import Core, Run
from .._engine.errors import BatchAxisError
from .._engine.prefix import OfArguments, argument_name, spread
from .._engine.select import place
from .._engine.values import Outcome, StateValues, Written
from .._jit.eager import Compiling
from .lanes import Lanes

__all__ = ["shard_map"]

_Specs = dict[State[Any], PartitionSpec]
_SHARED = PartitionSpec()
_IN_SPECS = OfArguments("in_specs", keyword=_SHARED, rest=_SHARED)


def shard_map(
    fun: Callable[..., Any] | None = None,
    *,
    mesh: Mesh | AbstractMesh | None = None,
    in_specs: Any,
    out_specs: Any,
    in_states: Any = None,
    out_states: Any = None,
    rngs: str = "split",
    axis_names: Collection[Any] = frozenset(),
    check_vma: bool = True,
) -> Any:
    """Run `fun` once on each device of a mesh, with its shard of the arguments and of chosen states.

    Args:
        fun: A function that may read and write states; without it, a decorator is returned.
        mesh: The mesh; that of ``jax.set_mesh`` if None.
        in_specs: As in ``jax.shard_map``, for the positional arguments; keyword arguments are the same on all shards.
            Or a dict of specs by the names of parameters, in which case the others are the same on all shards.
        out_specs: As in ``jax.shard_map``.
        in_states: The states that are spread over the mesh, as ``{PartitionSpec: selector}`` or
            ``{selector: PartitionSpec}``; see `select`. The others are the same on all shards.
        out_states: The states that are spread afterwards, in the same form. What is in `in_states` keeps its spec if
            it is not named here.
        rngs: "split": a random stream draws other numbers on each shard, and advances once; or "share": all shards
            draw the same.
        axis_names: As in ``jax.shard_map``: the axes of the mesh over which `fun` is mapped; all if empty.
        check_vma: As in ``jax.shard_map``. Without it, a value that differs per shard is not noticed where all shards
            should have the same.

    Returns:
        The mapped function. Called outside of any trace it is compiled once and reused, as by `jit`.

    Raises:
        BatchAxisError: `fun` writes a value that differs per shard to a state that is not spread.
        ValueError: A spec does not fit what it is for, or there is no mesh.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from jax.sharding import PartitionSpec as P
        >>> from brainstate_graph import State
        >>> from brainstate_transform import shard_map
        >>> seen = State(jnp.array(0.0))
        >>> def total(x):
        ...     seen.value += jax.lax.psum(x.sum(), "data")
        ...     return 2.0 * x
        >>> mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        >>> shard_map(total, mesh=mesh, in_specs=P("data"), out_specs=P("data"))(jnp.arange(4.0)), seen.value
        (Array([0., 2., 4., 6.], dtype=float32), Array(6., dtype=float32))
    """
    if fun is None:
        return functools.partial(
            shard_map, mesh=mesh, in_specs=in_specs, out_specs=out_specs, in_states=in_states, out_states=out_states,
            rngs=rngs, axis_names=axis_names, check_vma=check_vma,
        )  # fmt: skip
    if mesh is not None and not isinstance(mesh, (Mesh, AbstractMesh)):
        raise TypeError(f"mesh is a jax.sharding.Mesh, not {mesh!r}: make one by `jax.make_mesh`")
    if rngs not in ("split", "share"):
        raise ValueError(f'rngs={rngs!r}: give "split", for other draws on each shard, or "share", for the same')
    in_specs = tuple(in_specs) if isinstance(in_specs, list) else in_specs
    _check_specs("in_specs", in_specs)
    _check_specs("out_specs", out_specs)
    names = frozenset([axis_names] if isinstance(axis_names, str) else axis_names)
    options = _Options(mesh, in_specs, out_specs, in_states, out_states, rngs == "share", names, check_vma)
    return Compiling(functools.partial(_rule, options), fun)


class _Options(NamedTuple):
    mesh: Mesh | AbstractMesh | None
    in_specs: Any
    out_specs: Any
    in_states: Any
    out_states: Any
    share: bool
    axis_names: frozenset[Any]
    check_vma: bool


class _Shape(NamedTuple):
    """The mesh as JAX gets it, the axes over which a function is mapped, and whether JAX tells what varies."""

    mesh: Mesh | AbstractMesh | None
    sizes: Mapping[Any, int]
    check_vma: bool


def _rule(options: _Options, core: Core) -> Run:
    def run(_: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
        shape = _shape_of(options, core)
        before = _placed(options.in_states, core, "in_states", shape)
        after = {**before, **_placed(options.out_states, core, "out_states", shape)}
        in_specs, by_keyword = _IN_SPECS.find(options.in_specs, core.fun, core.bound, len(args), kwargs)
        _check_arguments(core, [(in_specs, args), (by_keyword, kwargs)], shape)
        given = StateValues.read(before)
        for state, value in zip(before, given.values, strict=True):
            for path, leaf in jax.tree_util.tree_leaves_with_path(value):
                _check_fit(lambda s=state, p=path: locate(s) + keystr(p), leaf, before[state], shape, whole=True)
        specs_out = list(dict.fromkeys([_SHARED, *after.values()]))

        def shard(values: list[Any], args: Any, kwargs: Any) -> tuple[Any, list[Written]]:
            own = {state for state, spec in after.items() if spec != _SHARED}
            overlay = Overlay() if options.share else Lanes(jax.lax.axis_index(tuple(shape.sizes)), own)
            out, written = core.run(StateValues.of(before, values), args, kwargs, overlay)
            items = dict(written.items())
            for state, value in zip(before, values, strict=True):
                if after[state] != before[state]:  # it moves, even if it is only read
                    items.setdefault(state, value)
            _check_results(core, options, out, items, after, shape)
            parts = [_written([s for s in items if after.get(s, _SHARED) == spec], items) for spec in specs_out]
            return out, parts

        out, parts = jax.shard_map(
            shard,
            mesh=shape.mesh,
            in_specs=([before[state] for state in before], in_specs, by_keyword),
            out_specs=(options.out_specs, specs_out),
            axis_names=options.axis_names,
            check_vma=options.check_vma,
        )(list(given.values), args, kwargs)
        states = tuple(s for part in parts for s in part.outcome.states)
        return out, Written((Outcome(states), [v for part in parts for v in part.values]))

    return run


def _written(states: list[State[Any]], values: Mapping[State[Any], Any]) -> Written:
    return StateValues.of(states, [values[state] for state in states]).as_written()


def _shape_of(options: _Options, core: Core) -> _Shape:
    around = jax.sharding.get_abstract_mesh()
    mesh = around if options.mesh is None else options.mesh
    if mesh.empty:
        raise ValueError(f"there is no mesh to map `{core.__qualname__}` over: give `mesh=`, or use `jax.set_mesh`")
    unknown = [name for name in options.axis_names if name not in mesh.shape]
    if unknown:
        raise ValueError(f"axis_names={unknown} are no axes of the mesh, which has {dict(mesh.shape)}")
    sizes = {n: size for n, size in mesh.shape.items() if not options.axis_names or n in options.axis_names}
    kinds = dict(zip(around.axis_names, around.axis_types, strict=True))
    taken = [name for name, kind in kinds.items() if kind == AxisType.Manual]
    if not set(taken).isdisjoint(sizes):
        raise ValueError(
            f"`{core.__qualname__}` runs on the shards of {taken} already, over which it cannot be mapped once more: "
            "name the other axes of the mesh in axis_names"
        )
    # Inside another `shard_map`, JAX takes the mesh from around.
    return _Shape(None if taken and dict(mesh.shape) == dict(around.shape) else options.mesh, sizes, options.check_vma)


def _is_spec(item: Any) -> bool:
    return isinstance(item, PartitionSpec)


def _check_specs(argument: str, specs: Any) -> None:
    for spec in jax.tree.leaves(specs, is_leaf=lambda x: x is None):
        if not _is_spec(spec):
            raise TypeError(
                f"{argument} holds {spec!r}: give a PartitionSpec for each argument or result, `PartitionSpec()` for "
                "what is the same on all shards"
            )


def _placed(selector: Any, core: Core, argument: str, shape: _Shape) -> _Specs:
    selector = {selector: ...} if _is_spec(selector) else selector
    placed = place(selector, core, argument, None, _is_spec)
    for state, spec in placed.items():
        if spec is None:
            raise TypeError(
                f"{argument} has no PartitionSpec for {locate(state)}: write `{{PartitionSpec('axis'): states}}`"
            )
        _names_in(spec, shape, lambda: argument)
    return placed


def _check_arguments(core: Core, arguments: list[tuple[Any, Any]], shape: _Shape) -> None:
    for specs, tree in arguments:
        try:
            found = spread(specs, tree, _is_spec)
        except ValueError as error:
            raise ValueError(
                f"in_specs={specs!r} does not fit the arguments of `{core.__qualname__}`: {error}"
            ) from None
        for path, leaf, spec in found:
            _check_fit(
                lambda path=path: f"{argument_name(path, core.fun)} of `{core.__qualname__}`", leaf, spec, shape, True
            )


def _names_in(spec: PartitionSpec, shape: _Shape, name: Callable[[], str]) -> list[tuple[Any, ...]]:
    """The axes of the mesh for each axis of an array."""
    entries: list[tuple[Any, ...]] = [
        () if entry is None or entry is PartitionSpec.UNCONSTRAINED else entry if isinstance(entry, tuple) else (entry,)
        for entry in spec
    ]
    unknown = [axis for entry in entries for axis in entry if axis not in shape.sizes]
    if unknown:
        raise ValueError(f"{name()} has the spec {spec}, but `shard_map` maps over {dict(shape.sizes)}")
    return entries


def _check_fit(name: Callable[[], str], leaf: Any, spec: PartitionSpec, shape: _Shape, whole: bool) -> None:
    """Refuse a spec that an array cannot have; `whole` if it is all of the array and not one shard."""
    sizes = np.shape(leaf)
    entries = _names_in(spec, shape, name)
    if len(entries) > len(sizes):
        raise ValueError(f"{name()} has shape {list(sizes)}: the spec {spec} is for {len(entries)} axes or more")
    for size, axes in zip(sizes, entries, strict=False):
        shards = math.prod(shape.sizes[axis] for axis in axes)
        if whole and size % shards:
            raise ValueError(f"{name()} has shape {list(sizes)}: {size} cannot be split evenly into {shards} shards")


def _check_results(
    core: Core, options: _Options, out: Any, items: Mapping[State[Any], Any], after: _Specs, shape: _Shape
) -> None:
    """Refuse what does not fit its spec, in words that name the result or state."""
    user = core.__qualname__
    for state, value in items.items():
        spec = after.get(state, _SHARED)
        for leaf in jax.tree.leaves(value):
            _check_fit(lambda s=state: locate(s), leaf, spec, shape, whole=False)
            axes = _varies(leaf, spec, shape)
            if axes:
                raise BatchAxisError(
                    f"`{user}` writes a value that differs per shard over {axes} to {locate(state)}, for which the "
                    f"spec is {spec}. Combine the values, as by `jax.lax.pmean(value, {axes[0]!r})`, or name it with "
                    f"another spec in `in_states` or `out_states`: `{{PartitionSpec({axes[0]!r}): ...}}`."
                )
    try:
        found = spread(options.out_specs, out, _is_spec)
    except ValueError:
        raise ValueError(
            f"out_specs={options.out_specs!r} does not fit the result of `{user}`, which is {jax.tree.structure(out)}"
        ) from None
    for path, leaf, spec in found:
        _check_fit(lambda path=path: f"result{keystr(path)} of `{user}`", leaf, spec, shape, whole=False)
        axes = _varies(leaf, spec, shape)
        if axes:
            raise ValueError(
                f"result{keystr(path)} of `{user}` differs per shard over {axes}, for which its spec {spec} has no "
                f"place: combine the values, as by `jax.lax.pmean(value, {axes[0]!r})`, or change out_specs"
            )


def _varies(leaf: Any, spec: PartitionSpec, shape: _Shape) -> list[Any]:
    """The axes of the mesh over which a value differs though its spec says that it does not."""
    if not shape.check_vma or not isinstance(leaf, Tracer):
        return []
    named = {axis for entry in spec for axis in (entry if isinstance(entry, tuple) else (entry,))}
    return [axis for axis in shape.sizes if axis not in named and _is_varying(leaf, axis)]


def _is_varying(leaf: Any, axis: Any) -> bool:
    try:
        jax.lax.pcast(leaf, axis, to="varying")
    except ValueError:  # it is that already
        return True
    return False
