"""``checkpointed_scan`` and ``checkpointed_for_loop``: long loops whose gradient fits into memory.

They are `scan` and `for_loop` with a `base`: of n steps about ``log(n)`` are stored for the backward pass, and the
others computed again.  How is in ``nested_scan.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._messages.boundary import boundary
from .nested_scan import check_base
from .progress import ProgressBar
from .scan import LoopOptions, for_loop_of, run_loop, scan_of

__all__ = ["checkpointed_for_loop", "checkpointed_scan"]


@boundary
def checkpointed_scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    *,
    base: int = 16,
    pbar: ProgressBar | int | None = None,
) -> tuple[Any, Any]:
    """Run `scan`, with a backward pass that recomputes most steps instead of storing them.

    The steps are run in blocks of `base`, these in larger blocks of `base`, and so on: of n steps about
    ``base * log(n) / log(base)`` are stored, and each is run about ``log(n) / log(base)`` times more. Results,
    gradients and random draws are those of `scan`.

    Args:
        f: As for `scan`.
        init: As for `scan`.
        xs: As for `scan`.
        length: As for `scan`.
        reverse: As for `scan`.
        unroll: As for `scan`, for the innermost loops.
        base: The number of steps in a block, and of blocks in a larger one.
        pbar: As for `scan`; it moves when one of the largest blocks is done.

    Returns:
        The last carry, and the stacked `y`.

    Raises:
        ValueError: `base` is not a whole number of at least 2; or as for `scan`.
        TypeError: As for `scan`.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_transform import checkpointed_scan, grad
        >>> def last(x):
        ...     return checkpointed_scan(lambda c, _: (jnp.sin(c), None), x, length=100, base=4)[0]
        >>> float(last(0.0)), float(grad(last)(0.0))
        (0.0, 1.0)
    """
    return run_loop(scan_of, LoopOptions(length, reverse, unroll, pbar, check_base(base)), f, (init, xs))


@boundary
def checkpointed_for_loop(
    f: Callable[..., Any],
    *xs: Any,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    base: int = 16,
    pbar: ProgressBar | int | None = None,
) -> Any:
    """Run `for_loop`, with a backward pass that recomputes most steps instead of storing them.

    Args:
        f: As for `for_loop`.
        *xs: As for `for_loop`.
        length: As for `for_loop`.
        reverse: As for `for_loop`.
        unroll: As for `for_loop`, for the innermost loops.
        base: As for `checkpointed_scan`.
        pbar: As for `checkpointed_scan`.

    Returns:
        The stacked results of `f`.

    Raises:
        ValueError: `base` is not a whole number of at least 2; or as for `for_loop`.
        TypeError: As for `for_loop`.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform import checkpointed_for_loop, grad
        >>> w, h = State(1.0), State(1.0)
        >>> def step():
        ...     h.value = h.value * w.value
        >>> def loss():
        ...     checkpointed_for_loop(step, length=50)
        ...     return h.value
        >>> float(grad(loss, w)())
        50.0
    """
    return run_loop(for_loop_of, LoopOptions(length, reverse, unroll, pbar, check_base(base)), f, xs)
