"""``scan`` and ``for_loop``: loops along an axis of their inputs.

Both are ``jax.lax.scan`` over one body.  `for_loop` is a scan that carries nothing of the user's, and
``checkpointed.py`` the same loops in nested blocks.  The loops whose number of steps is not known beforehand are in
``while_loops.py``.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._checks.layout import Layout, element_of
from .._collecting.collected import collected_body
from .._engine.core import Core, Run, without_jit
from .._engine.lift import lift
from .._engine.user_function import named_like
from .._engine.values import StateValues, Written
from .._jit.eager import compiled_once
from .._mapping.lane_axes import with_lanes
from .._messages.boundary import boundary
from .._messages.source import handed
from .body import python_steps, run_body
from .carry import Carry, Step
from .nested_scan import nested_scan
from .progress import ProgressBar, closing

__all__ = ["LoopOptions", "for_loop", "for_loop_of", "number_of_steps", "run_loop", "scan", "scan_of"]


class LoopOptions(NamedTuple):
    """How a loop runs, as the user says; part of the key under which its program is kept.

    Attributes:
        length: The number of steps, where the inputs do not tell it.
        reverse: Whether to run from the last step to the first.
        unroll: As in ``jax.lax.scan``.
        pbar: A progress bar, or after how many steps to move one.
        base: For a checkpointed loop, the number of steps in a block, and of blocks in a larger one.
    """

    length: int | None
    reverse: bool
    unroll: int | bool
    pbar: ProgressBar | int | None
    base: int | None = None

    def checked(self) -> LoopOptions:
        """Return the options in their usual types.

        Raises:
            TypeError: `length` is no whole number, or `pbar` no progress bar.
            ValueError: `length` is negative.
        """
        length = self.length
        if length is not None:
            try:
                length = operator.index(length)
            except (TypeError, jax.errors.ConcretizationTypeError):
                raise TypeError(
                    f"length={length!r}: give the number of steps, a whole number known before tracing"
                ) from None
            if length < 0:
                raise ValueError(f"length={length}: a loop cannot have fewer than 0 steps")
        return self._replace(length=length, pbar=ProgressBar.of(self.pbar))


def _refuse_counts(xs: Any, f: Any) -> None:
    """Refuse a number or range as what a loop runs over, while it is one: a trace sees no more than a scalar."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(xs):
        where = f"xs{jax.tree_util.keystr(path)} of `{getattr(f, '__qualname__', f)}`"
        if isinstance(leaf, range):
            raise TypeError(f"{where} is {leaf!r}, but a loop runs over arrays: write `jnp.array({leaf!r})`")
        if type(leaf) is int:
            raise ValueError(
                f"{where} is a scalar: a loop needs an axis to run over; write `length={leaf}`, or `jnp.arange({leaf})`"
            )


def number_of_steps(xs: Any, length: int | None, user: str) -> int:
    """Return the number of steps of a loop over the first axes of `xs`.

    Raises:
        ValueError: There is none, or not one for all; or the steps are spread over a mesh.
    """
    sizes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(xs):
        if not jnp.ndim(leaf):
            raise ValueError(
                f"xs{jax.tree_util.keystr(path)} of `{user}` is a scalar: a loop needs an axis to run over, as "
                "`jnp.array(xs)` of a list has"
            )
        over = Layout.of(jax.typeof(leaf)).spec[0]
        if over is not None:
            raise ValueError(
                f"xs{jax.tree_util.keystr(path)} of `{user}` is spread over {over!r} along the axis of the steps, "
                "which run one after the other: write `jax.reshard(xs, jax.P())`, or the other axes of xs in it"
            )
        sizes[jax.tree_util.keystr(path)] = jnp.shape(leaf)[0]
    if length is not None:
        sizes["length="] = length
    if not sizes:
        raise ValueError(f"the number of steps of `{user}` is not known: give xs or length=")
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the number of steps of `{user}` is not the same everywhere: {sizes}")
    return int(next(iter(sizes.values())))


@boundary
def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    *,
    pbar: ProgressBar | int | None = None,
) -> tuple[Any, Any]:
    """Run ``carry, y = f(carry, x)`` along the leading axis of `xs`, as one compiled loop; `f` may use states.

    Args:
        f: The body.
        init: The first carry.
        xs: Arrays with the steps along their first axis, or None.
        length: The number of steps, where `xs` is None.
        reverse: Whether to run from the last step to the first.
        unroll: As in ``jax.lax.scan``.
        pbar: A `ProgressBar`, or after how many steps to move one.

    Returns:
        The last carry, and the stacked `y`.

    Raises:
        TypeError: The body changes the shape or dtype of a state or of the carry, or returns no pair.
        ValueError: The number of steps is not known, or differs between the inputs.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import scan
        >>> seen = State(jnp.array(0.0))
        >>> def body(carry, x):
        ...     seen.value += x
        ...     return carry * x, carry
        >>> carry, ys = scan(body, 1.0, jnp.arange(1.0, 4.0))
        >>> float(carry), ys.tolist(), float(seen.value)
        (6.0, [1.0, 1.0, 2.0], 6.0)
    """
    _refuse_counts(xs, f)
    return run_loop(scan_of, LoopOptions(length, reverse, unroll, pbar), f, (init, xs))


@boundary
def for_loop(
    f: Callable[..., Any],
    *xs: Any,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    pbar: ProgressBar | int | None = None,
) -> Any:
    """Run ``y = f(*x)`` along the leading axes of `xs`, as one compiled loop; `f` may use states.

    Args:
        f: The body.
        *xs: Arrays or pytrees with the steps along their first axis; without any, `f` takes no argument.
        length: The number of steps, where there are no `xs`.
        reverse: Whether to run from the last step to the first.
        unroll: As in ``jax.lax.scan``.
        pbar: A `ProgressBar`, or after how many steps to move one.

    Returns:
        The stacked `y`.

    Raises:
        TypeError: The body changes the shape or dtype of a state.
        ValueError: The number of steps is not known, or differs between the inputs.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import for_loop
        >>> total = State(0.0)
        >>> def add(x):
        ...     total.value += x
        ...     return total.value
        >>> for_loop(add, jnp.arange(4.0))
        Array([0., 1., 3., 6.], dtype=float32)
    """
    _refuse_counts(xs, f)
    return run_loop(for_loop_of, LoopOptions(length, reverse, unroll, pbar), f, xs)


def run_loop(
    make: Callable[[LoopOptions, Any], Callable[..., Any]], options: LoopOptions, f: Any, args: tuple[Any, ...]
) -> Any:
    """Run a loop; outside of a trace its program is kept with `f`.

    Args:
        make: Makes the function that runs the loop, from its options and `f`.
        options: How it runs.
        f: The body.
        args: The arguments of the loop.
    """
    length, _, unroll, pbar, _ = options
    if pbar is not None or not (length is None or type(length) is int):
        options = options.checked()
    # JAX unrolls the whole loop for True and one step for 1, which are equal as keys: hence the type.
    compiled = compiled_once(f, (make, options, type(unroll)), lambda: named_like(make(options.checked(), f), f))
    loop = compiled or make(options.checked(), f)
    return loop(*args) if pbar is None else closing(options.pbar, loop, args)


def scan_of(options: LoopOptions, f: Any) -> Callable[..., Any]:
    """Return the function ``(init, xs) -> (carry, ys)`` that runs `scan` with these options."""
    if not callable(f):
        raise TypeError(f"the body of a loop must be a function, not {f!r}")

    def loop(init: Any, xs: Any) -> tuple[Any, Any]:
        return collected_body(f, lambda body, init, xs: _scan(options, body, init, xs), init, xs)

    return loop


def for_loop_of(options: LoopOptions, f: Any) -> Callable[..., Any]:
    """Return the function ``(*xs) -> ys`` that runs `for_loop` with these options."""

    def body(_: None, x: tuple[Any, ...]) -> tuple[None, Any]:
        return None, f(*x)

    scanned = scan_of(options, named_like(body, f) if callable(f) else f)
    return lambda *xs: scanned(None, xs)[1]


def _scan(options: LoopOptions, f: Any, init: Any, xs: Any) -> tuple[Any, Any]:
    def rule(core: Core) -> Run:
        def run(_: StateValues, init: Any, xs: Any) -> tuple[Any, Written]:
            count = number_of_steps(xs, options.length, core.__qualname__)
            bar = options.pbar.bar(count) if isinstance(options.pbar, ProgressBar) and count else None

            base = count if options.base is None or without_jit() else options.base

            def loop(step: Step, carry: Carry) -> tuple[Carry, Any]:
                how: dict[str, Any] = {"reverse": options.reverse, "unroll": options.unroll}

                def stacking(carry: Carry, x: Any) -> tuple[Carry, Any]:
                    carry, y = step(carry, x)
                    return carry, with_lanes(y, 0)  # the nodes that it makes and returns are stacked

                handed(stacking, core)
                if bar is None:
                    return nested_scan(stacking, carry, xs, count, base, **how)
                (_, last), ys = nested_scan(stacking, (jnp.int32(0), carry), xs, count, base, watch=bar.watch, **how)
                return last, ys

            if without_jit() and count:
                with python_steps(core, init) as (step, carry, written):
                    (_, last), ys = loop(step, carry)
                    return (last, ys), written()
            # Without a step to run, only a trace can tell what the results look like.
            with jax.disable_jit(False) if without_jit() else contextlib.nullcontext():
                return run_body(core, init, jax.tree.map(element_of, xs), loop, once=base >= count)

        return run

    return lift(rule, f)(init, xs)
