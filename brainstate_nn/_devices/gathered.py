"""``gathered``: parameters that are spread over devices, whole where a model uses them.

It is for explicit axes, on which JAX leaves it to the user when a weight is gathered. On automatic ones XLA decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax

from brainstate_graph import Any as AnyOf
from brainstate_graph import Filter, states
from brainstate_graph.extend import read_values, write_values

from .._core.paths import refuse_nothing
from .._core.sharded import axes_in, resharded, resharded_like, spec_of
from .._core.states import LongTermState

__all__ = ["gathered"]


@contextmanager
def gathered(node: Any, *filters: Filter, axes: str | Sequence[str] | None = None) -> Iterator[None]:
    """Let states be whole on each device inside a ``with`` block, where they are spread over an explicit mesh.

    On explicit axes JAX asks how a batch over the devices and a weight over the same devices go together. This is the
    answer of FSDP: the weight is gathered before it is used, and its gradient is spread as the weight is. On other axes
    JAX gathers by itself, and the block changes nothing.

    Args:
        node: A Node, or a container of them: the model in the loss, or a block in its `__call__`.
        *filters: Which states; parameters and statistics, which are LongTermStates, by default.
        axes: The axes of the mesh over which to gather, one or several; None for all.

    Raises:
        GraphError: The filters select no state.

    Yields:
        None. What the block assigns to these states is kept, and laid out as they were.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from brainstate_nn import Linear, fully_sharded, gathered, shard
        >>> mesh = jax.make_mesh((1,), ("data",))
        >>> layer = shard(Linear(8, 4), mesh, fully_sharded("data"))
        >>> with gathered(layer):
        ...     y = layer(jnp.ones((2, 8)))
        >>> layer.weight.value.sharding.spec
        P('data',)
    """
    over = None if axes is None else {axes} if isinstance(axes, str) else set(axes)
    if filters:
        refuse_nothing(node, filters, "nothing is gathered")
    chosen = list(states(node, AnyOf(*filters) if filters else LongTermState).values())
    before = read_values(chosen)
    whole = [jax.tree.map(lambda leaf: _gathered(leaf, over), value) for value in before]
    write_values(chosen, whole)
    try:
        yield
    except BaseException:
        write_values(chosen, before)
        raise
    # What the block left alone gets the very arrays from before, so that nothing is spread out again.
    pairs = zip(before, whole, read_values(chosen, record=False), strict=True)
    write_values(chosen, [old if now is new else jax.tree.map(resharded_like, now, old) for old, new, now in pairs])


def _gathered(leaf: Any, over: set[str] | None) -> Any:
    spec = jax.typeof(leaf).sharding.spec if isinstance(leaf, jax.Array) else ()
    wanted = spec_of([[a for a in axes_in(entry) if over is not None and a not in over] for entry in spec])
    return leaf if wanted == spec or not any(spec) else resharded(leaf, wanted, leaf)
