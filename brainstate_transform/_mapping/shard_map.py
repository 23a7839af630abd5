"""``shard_map``: each state is the same on all shards of a mesh, or spread over them by a PartitionSpec.

It is `vmap` over devices: the same states per lane, with specs in the place of axes.  Where the compiler can spread an
ordinary program by itself, `jit` with shardings is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, cast

import jax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec
from jax.tree_util import keystr

from brainstate_graph import State
from brainstate_graph.extend import locate

from .._collecting.collected import uncollected
from .._engine.core import Core, Run
from .._engine.errors import BatchAxisError
from .._engine.retry import RETRIES, Unpassed, never_settled
from .._engine.user_function import decorator
from .._engine.values import StateValues, Written
from .._jit.eager import Compiling
from .._messages.source import handed
from .._selection.select import place
from .lanes import check_rngs
from .mesh_axes import MeshAxes
from .modules import axes_of_states
from .per_state import PerState, joined
from .prefix import ArgumentSpecs, each_argument, each_result
from .shared import SharedStates

__all__ = ["shard_map"]

_SHARED = PartitionSpec()
_IN_SPECS = ArgumentSpecs("in_specs", keyword=_SHARED, rest=_SHARED)


def shard_map(
    fun: Callable[..., Any] | None = None,
    *,
    mesh: Mesh | AbstractMesh | None = None,
    in_specs: Any,
    out_specs: Any,
    in_states: Any = None,
    out_states: Any = None,
    new_states: PartitionSpec | None = None,
    rngs: str = "split",
    axis_names: Collection[Any] = frozenset(),
    check_vma: bool = True,
) -> Any:
    """Run `fun` once on each device of a mesh, with its shard of the arguments and of chosen states.

    Args:
        fun: A function that may read and write states; without it, a decorator is returned.
        mesh: The mesh; that of ``jax.set_mesh`` if None.
        in_specs: As in ``jax.shard_map``, for the positional arguments; keyword arguments are the same on all shards.
            Or a dict of specs by the names of parameters, in which case the others are the same on all shards. The spec
            of a module by itself is that of its states; one that names no axis leaves them to `in_states`.
        out_specs: As in ``jax.shard_map``.
        in_states: The states that are spread over the mesh, as ``{PartitionSpec: selector}`` or
            ``{selector: PartitionSpec}``; see `select`. The others are the same on all shards.
        out_states: The states that are spread afterwards, in the same form. What is in `in_states` keeps its spec if
            it is not named here.
        new_states: The spec of the states that `fun` makes, which are spread so afterwards; None where they are the
            same on all shards.
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
        return decorator(shard_map, locals())
    if mesh is not None and not isinstance(mesh, (Mesh, AbstractMesh)):
        raise TypeError(f"mesh must be a jax.sharding.Mesh, not {mesh!r}: make one by `jax.make_mesh`")
    check_rngs(rngs, "on each shard")
    in_specs = tuple(in_specs) if isinstance(in_specs, list) else in_specs
    _check_specs("in_specs", in_specs)
    _check_specs("out_specs", out_specs)
    if new_states is not None and not _is_spec(new_states):
        raise TypeError(f"new_states={new_states!r}: give one PartitionSpec for all states that are made")
    names = frozenset([axis_names] if isinstance(axis_names, str) else axis_names)
    split = rngs == "split"
    rule = _ShardMap(mesh, in_specs, out_specs, in_states, out_states, new_states, split, names, check_vma)
    return Compiling(rule, fun)


class _ShardMap(NamedTuple):
    """The rule of `shard_map`, with what the user gave.

    Attributes:
        split: Whether random streams draw other numbers on each shard.
    """

    mesh: Mesh | AbstractMesh | None
    in_specs: Any
    out_specs: Any
    in_states: Any
    out_states: Any
    new_states: PartitionSpec | None
    split: bool
    axis_names: frozenset[Any]
    check_vma: bool

    def __call__(self, core: Core) -> Run:
        def run(_: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            axes = MeshAxes.of(core, self.mesh, self.axis_names, self.check_vma)
            before = _specs_of(self.in_states, core, "in_states", axes)
            before |= self._of_modules(core, args, kwargs, before)
            after = _specs_of(self.out_states, core, "out_states", axes)
            if self.new_states is not None:
                axes.of_each_dimension(self.new_states, lambda: "new_states")
            new = () if self.new_states is None else (self.new_states,)
            states = PerState(before, after, _SHARED, new)
            # The states on the mesh are passed before it is known which of them are read.
            for _try in range(RETRIES):
                try:
                    return self._mapped(core, states, axes, args, kwargs)
                except Unpassed as met:
                    core.count_in(cast(Unpassed, met.alone()).states)
            raise never_settled(core.__qualname__, ())

        return run

    def _mapped(
        self, core: Core, states: PerState, axes: MeshAxes, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Written]:
        in_specs, by_keyword = _IN_SPECS.prefixes(self.in_specs, core, len(args), kwargs)
        # JAX would name the position in a flat list of all arrays, the states among them.
        arguments = each_argument("in_specs", [(in_specs, args), (by_keyword, kwargs)], core, _is_spec)
        for name, leaf, spec in arguments:
            axes.check_fit(name, leaf, spec, whole=True)
            axes.check_lies(name, leaf, spec)
        groups = {spec: _laid_out(group, spec, axes) for spec, group in states.read().items()}
        shared = SharedStates(core, states.before)
        common = _laid_out(shared.values, _SHARED, axes)

        def shard(
            common: StateValues, groups: list[StateValues], args: Any, kwargs: Any
        ) -> tuple[Any, list[StateValues]]:
            given, own = joined(groups), states.copy()
            overlay = own.overlay(axes.shard_number if self.split else None)
            core.fun = uncollected(core.fun, "shard_map, which has no spec for it", "return it from the function")
            with shared.around(common):
                out, written = core.run(given, args, kwargs, overlay)
            values = dict(written.items())
            made = [state for state in values if state not in overlay.writes]
            if self.new_states is not None:
                own.after.update(dict.fromkeys(made, self.new_states))
            values = own.leaving(given, values)
            self._check_results(core, out, values, own, axes, made)
            return out, own.split(values)

        out, written = jax.shard_map(
            handed(shard, core),
            mesh=axes.mesh,
            in_specs=(_SHARED, list(groups), in_specs, by_keyword),
            out_specs=(self.out_specs, states.specs),
            axis_names=self.axis_names,
            check_vma=self.check_vma,
        )(common, list(groups.values()), args, kwargs)
        shared.note_reads()
        return out, joined(written).as_written()

    def _of_modules(
        self, core: Core, args: tuple[Any, ...], kwargs: dict[str, Any], named: Mapping[State[Any], PartitionSpec]
    ) -> dict[State[Any], PartitionSpec]:
        """Return the specs of states that modules among the arguments have by `in_specs`, if each argument has its own.

        A module whose spec names no axis is left to `in_states`.
        """
        if not core.nodes or not isinstance(self.in_specs, (tuple, dict)):
            return {}
        in_specs, by_keyword = _IN_SPECS.prefixes(self.in_specs, core, len(args), kwargs)
        arguments = [(in_specs, args), *([(by_keyword, kwargs)] if isinstance(self.in_specs, dict) else ())]
        nodes = each_argument("in_specs", arguments, core, _is_spec, nodes=True)
        own = [(name, node, None if spec == _SHARED else spec) for name, node, spec in nodes]
        return {state: spec for state, (spec, _) in axes_of_states("in_specs", own, named).items()}

    def _check_results(
        self,
        core: Core,
        out: Any,
        values: Mapping[State[Any], Any],
        states: PerState,
        axes: MeshAxes,
        made: Collection[State[Any]],
    ) -> None:
        """Refuse what does not fit its spec, in words that name the result or state."""
        user = core.__qualname__
        for state, value in values.items():
            spec = states.after.get(state, _SHARED)
            for leaf in jax.tree.leaves(value):
                axes.check_fit(lambda s=state: locate(s), leaf, spec, whole=False)
                varies = axes.varies(leaf, spec)
                if varies and state in made:
                    raise BatchAxisError(
                        f"`{user}` makes {locate(state)} with a value that differs per shard over {varies}: write "
                        f"`shard_map(..., new_states=PartitionSpec({varies[0]!r}))`, to spread it over the shards"
                    )
                if varies:
                    raise BatchAxisError(
                        f"`{user}` writes a value that differs per shard over {varies} to {locate(state)}, whose "
                        f"spec is {spec}. Combine the values, as by `jax.lax.pmean(value, {varies[0]!r})`, or name "
                        f"it with another spec in `in_states` or `out_states`: `{{PartitionSpec({varies[0]!r}): ...}}`."
                    )
        for name, leaf, spec in each_result("out_specs", self.out_specs, out, core, _is_spec):
            axes.check_fit(name, leaf, spec, whole=False)
            varies = axes.varies(leaf, spec)
            if varies:
                raise ValueError(
                    f"{name()} differs per shard over {varies}, which its spec {spec} does not name: combine the "
                    f"values, as by `jax.lax.pmean(value, {varies[0]!r})`, or change out_specs"
                )


def _is_spec(item: Any) -> bool:
    return isinstance(item, PartitionSpec)


def _check_specs(argument: str, specs: Any) -> None:
    for spec in jax.tree.leaves(specs, is_leaf=lambda x: x is None):
        if not _is_spec(spec):
            raise TypeError(
                f"{argument} holds {spec!r}: give a PartitionSpec for each argument or result, `PartitionSpec()` for "
                "what is the same on all shards"
            )


def _specs_of(selector: Any, core: Core, argument: str, axes: MeshAxes) -> dict[State[Any], PartitionSpec]:
    """The spec of each state that the user names."""
    selector = {selector: ...} if _is_spec(selector) else selector
    specs = place(selector, core, argument, None, _is_spec)
    for state, spec in specs.items():
        if spec is None:
            raise TypeError(
                f"{argument} has no PartitionSpec for {locate(state)}: write `{{PartitionSpec('axis'): states}}`"
            )
        axes.of_each_dimension(spec, lambda: argument)
    return specs


def _laid_out(group: StateValues, spec: PartitionSpec, axes: MeshAxes) -> StateValues:
    """Return the values of states as their spec says that they lie, after a look whether it fits."""
    for state, value in zip(group.states, group.values, strict=True):
        for path, leaf in jax.tree_util.tree_leaves_with_path(value):
            axes.check_fit(lambda s=state, p=path: locate(s) + keystr(p), leaf, spec, whole=True)
    return StateValues.of(group.states, [axes.laid_out(value, spec) for value in group.values])
