"""``unvmap``: one value for all lanes of every enclosing ``vmap``.

Under ``vmap`` a condition per lane runs both branches of a `cond`, checks in them included.  A condition for all lanes
leaves it a branch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["unvmap"]


def _over_lanes(reduce: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Make a function whose value is the same in every lane, whatever its argument is."""

    @jax.custom_batching.custom_vmap
    def reduced(x: Any) -> Any:
        return reduce(x)

    @reduced.def_vmap
    def _(axis_size: int, in_batched: list[bool], x: Any) -> tuple[Any, bool]:
        # The lanes are along axis 0 now. An outer vmap maps this call again.
        return reduced(x), False

    return reduced


_OPERATIONS = {"all": _over_lanes(jnp.all), "any": _over_lanes(jnp.any), "max": _over_lanes(jnp.max)}
_WHOLE = _over_lanes(lambda x: x)


def unvmap(x: Any, op: str = "any") -> Any:
    """Reduce an array over all its elements and all lanes of the enclosing ``vmap``; the result is not mapped.

    A branch on the result stays a branch under ``vmap``, and a check on it runs once.

    Args:
        x: An array or number.
        op: ``"any"``, ``"all"`` or ``"max"``; or ``"none"`` for `x` with the lanes of each ``vmap`` as a leading axis:
            its shape depends on ``vmap``, so it is for callbacks.

    Returns:
        A scalar, or an array with ``"none"``. No derivative goes through it.

    Raises:
        ValueError: `op` is something else.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from brainstate_transform import unvmap
        >>> jax.vmap(lambda x: unvmap(x > 1))(jnp.arange(3))
        Array([ True,  True,  True], dtype=bool)
    """
    reduced = _WHOLE if op == "none" else _OPERATIONS.get(op)
    if reduced is None:
        raise ValueError(f"unvmap does not know op={op!r}: use 'any', 'all', 'max' or 'none'")
    return reduced(jax.lax.stop_gradient(x if isinstance(x, jax.Array) else jnp.asarray(x)))
