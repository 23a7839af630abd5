"""Models that are larger than a device: ``abstract`` builds one of shapes, ``init_sharded`` one that is spread.

A model that fits on a device is built as always, and moved by `shard`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh

from brainstate_graph import states
from brainstate_graph.extend import read_values, write_values
from brainstate_transform import eval_shape, jit

from .._core.arrays import no_mesh, uncommitted
from .rules import AnyMesh, Axes, Rules, sharded_states
from .sharding import named_shardings, shard

__all__ = ["abstract", "init_sharded"]

N = TypeVar("N")


def abstract(
    build: Callable[[], N], mesh: AnyMesh | None = None, rules: Rules = None, *, axes: Axes | None = None
) -> N:
    """Build a model whose states hold shapes and dtypes in place of arrays: nothing is computed, and no number drawn.

    It is a template: for `from_pure_dict` and `load_states`, which fill it and place each array as is said here, and
    for orbax.

    Args:
        build: A function without arguments that returns the model, or a container of models.
        mesh: Where the states are to lie; None for no place.
        rules: As for `shard`.
        axes: As for `shard`.

    Returns:
        What `build` returns, with a ``jax.ShapeDtypeStruct`` for each array.

    Raises:
        GraphError: As for `shard`.

    Example:
        >>> import jax
        >>> from brainstate_nn import Linear, abstract
        >>> abstract(lambda: Linear(8, 4)).weight.value
        ShapeDtypeStruct(shape=(8, 4), dtype=float32)
        >>> mesh = jax.sharding.AbstractMesh((4,), ("model",))
        >>> abstract(lambda: Linear(8, 4), mesh, {"weight": jax.P("model")}).weight.value.sharding.spec
        P('model',)
    """
    with no_mesh():
        model: N = eval_shape(build)
    return model if mesh is None else shard(model, mesh, rules, axes=axes)


def init_sharded(build: Callable[[], N], mesh: Mesh, rules: Rules = None, *, axes: Axes | None = None) -> N:
    """Build a model that lies on a mesh from the start: no device ever holds more of it than its own part.

    The random numbers are those that ``shard(build(), mesh, rules)`` has. Make an Optimizer afterwards: its state lies
    as the parameters do.

    Args:
        build: A function without arguments that returns the model, or a container of models. It is compiled, so it
            makes the arrays itself, or loads none.
        mesh: As for `shard`; the one that `jax.set_mesh` has set is not used.
        rules: As for `shard`.
        axes: As for `shard`.

    Returns:
        What `build` returns.

    Raises:
        GraphError: As for `shard`.

    Example:
        >>> import jax
        >>> from brainstate_nn import Linear, RandomState, fully_sharded, init_sharded
        >>> mesh = jax.make_mesh((1,), ("data",))
        >>> layer = init_sharded(lambda: Linear(8, 4, rng=RandomState(0)), mesh, fully_sharded("data"))
        >>> layer.weight.value.sharding.spec
        P('data',)
    """
    # Under a mesh of explicit axes each device would compute whole arrays.
    with no_mesh():
        used, model = eval_shape(build, return_state_shapes=True)
        parts = sharded_states(model, mesh, rules, axes)
        before = read_values(used, record=False)
        # Compiled with the shardings of its results, so that XLA makes each part where it is to lie.
        values = jit(
            lambda: [state.value for state in states(build()).values()],
            out_shardings=[part.treedef.unflatten(named_shardings(part, mesh)) for part in parts],
        )()
        own = [part.state for part in parts]
        # States that `build` reads or draws from and that are not part of the model, such as the default stream.
        outside = [(state, old) for state, old in zip(used, before, strict=True) if state not in set(own)]
        write_values(
            [*own, *(state for state, _ in outside)],
            [*values, *(jax.tree.map(_as_before, old, state.value) for state, old in outside)],
        )
    return model


def _as_before(old: Any, new: Any) -> Any:
    """Bring what was drawn from, such as the default stream, back from the mesh to where it was."""
    if new is old or not isinstance(old, jax.Array):
        return new
    if old.committed:
        return jax.device_put(new, old.sharding)
    return uncommitted(new)
