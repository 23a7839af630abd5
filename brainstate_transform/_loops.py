"""``scan`` and ``for_loop``: what the body writes is carried, what it only reads is closed over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import Overlay, State
from brainstate_graph.extend import locate, read_values

from ._core import Core, Run, without_jit
from ._eager import compiled_once
from ._lift import lift
from ._values import StateValues, Written

__all__ = ["for_loop", "scan"]


def _length(xs: Any, length: int | None, user: str) -> int:
    sizes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(xs):
        if not jnp.ndim(leaf):
            raise ValueError(
                f"xs{jax.tree_util.keystr(path)} of `{user}` is a scalar: a loop needs an axis to run over"
            )
        sizes[jax.tree_util.keystr(path)] = jnp.shape(leaf)[0]
    if length is not None:
        sizes["length="] = length
    if not sizes:
        raise ValueError(f"the number of steps of `{user}` is not known: give xs or length=")
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the number of steps of `{user}` is not the same everywhere: {sizes}")
    return int(next(iter(sizes.values())))


def _first(xs: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x)[1:], jnp.result_type(x)), xs)


def _refuse_drift(core: Core, states: Sequence[State[Any]], before: Sequence[Any], after: Sequence[Any]) -> None:
    """Refuse a body that changes the shape or dtype of a state, in words that name the state."""
    for state, old, new in zip(states, *jax.eval_shape(lambda *v: v, list(before), list(after)), strict=True):
        if jax.tree.structure(old) != jax.tree.structure(new) or not all(
            map(_may_follow, jax.tree.leaves(old), jax.tree.leaves(new))
        ):
            raise TypeError(
                f"the loop body `{core.__qualname__}` changes {locate(state)} from {_avals(old)} to {_avals(new)}; a "
                "loop needs the same shape and dtype in each step. Cast what is assigned, or the state before the loop."
            )


def _may_follow(old: Any, new: Any) -> bool:
    """Tell whether JAX takes `new` where `old` was: a Python number is promoted."""
    same = old.dtype == new.dtype or (old.weak_type and jnp.promote_types(old.dtype, new.dtype) == new.dtype)
    return old.shape == new.shape and same


def _step_by_step(core: Core, carry: Any, xs: Any, count: int, reverse: bool) -> tuple[Any, Written]:
    """Run the loop in Python, as JAX does where it does not compile."""
    ys: list[Any] = [None] * count
    with Overlay() as overlay:  # what was written before an error is dropped
        for i in reversed(range(count)) if reverse else range(count):
            out, written = core(StateValues.of((), ()), carry, jax.tree.map(lambda x, i=i: x[i], xs))
            carry, ys[i] = _pair(core, out)
            changed = [state for state, _ in written.items()]
            _refuse_drift(core, changed, read_values(changed), written.values)
            written.write()
        found = overlay.written()
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ys)
    return (carry, stacked), StateValues.of([s for s, _ in found], [v for _, v in found]).as_written()


def _pair(core: Core, out: Any) -> tuple[Any, Any]:
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"the loop body `{core.__qualname__}` must return a pair (carry, y), not {out!r}")
    return out


def _avals(tree: Any) -> str:
    shown = [f"{x.dtype}{list(x.shape)}" for x in jax.tree.leaves(tree)]
    return shown[0] if len(shown) == 1 else f"({', '.join(shown)})"


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """Run ``carry, y = f(carry, x)`` along the leading axis of `xs`, as one compiled loop; `f` may use states.

    Args:
        f: The body.
        init: The first carry.
        xs: Arrays with the steps along their first axis, or None.
        length: The number of steps, where `xs` is None.
        reverse: Whether to run from the last step to the first.
        unroll: As in ``jax.lax.scan``.

    Returns:
        The last carry, and the stacked `y`.

    Raises:
        TypeError: The body changes the shape or dtype of a state.

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
    compiled = compiled_once(
        f, ("scan", length, reverse, unroll), lambda: lambda init, xs: _scan(f, init, xs, length, reverse, unroll)
    )
    return compiled(init, xs) if compiled else _scan(f, init, xs, length, reverse, unroll)


def _scan(f: Any, init: Any, xs: Any, length: int | None, reverse: bool, unroll: int | bool) -> tuple[Any, Any]:
    def rule(core: Core) -> Run:
        def run(_: StateValues, init: Any, xs: Any) -> tuple[Any, Written]:
            count = _length(xs, length, core.__qualname__)
            if without_jit() and count:
                return _step_by_step(core, init, xs, count, reverse)
            first = _first(xs)
            states = core.written_by(init, first)
            after = jax.eval_shape(lambda s, c, x: core.staged(s, c, x)[1].values, states, init, first)
            _refuse_drift(core, states.states, states.values, after)

            def body(carry: tuple[StateValues, Any], x: Any) -> tuple[tuple[StateValues, Any], Any]:
                out, states = core.staged(carry[0], carry[1], x)
                last, y = _pair(core, out)
                return (states, last), y

            (states, last), ys = jax.lax.scan(body, (states, init), xs, length=count, reverse=reverse, unroll=unroll)
            return (last, ys), states.as_written()

        return run

    return lift(rule, f)(init, xs)


def for_loop(
    f: Callable[..., Any], *xs: Any, length: int | None = None, reverse: bool = False, unroll: int | bool = 1
) -> Any:
    """Run ``y = f(*x)`` along the leading axes of `xs`, as one compiled loop; `f` may use states.

    Args:
        f: The body.
        *xs: Arrays or pytrees with the steps along their first axis.
        length: The number of steps, where there are no `xs`.
        reverse: Whether to run from the last step to the first.
        unroll: As in ``jax.lax.scan``.

    Returns:
        The stacked `y`.

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

    def body(_: None, x: tuple[Any, ...]) -> tuple[None, Any]:
        return None, f(*x)

    body.__name__ = getattr(f, "__name__", "for_loop body")
    body.__qualname__ = getattr(f, "__qualname__", body.__name__)

    def loop(*xs: Any) -> Any:
        return _scan(body, None, xs, length, reverse, unroll)[1]

    return (compiled_once(f, ("for_loop", length, reverse, unroll), lambda: loop) or loop)(*xs)
