"""``map``: one element after the other, or blocks of elements at once.

Between `for_loop`, which needs the memory of one element, and `vmap`, which needs that of all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import Overlay

from .._checks.layout import element_of
from .._collecting.collected import collected_map
from .._engine.core import Core, Run, without_jit
from .._engine.lift import lift
from .._engine.user_function import named_like
from .._engine.values import NO_STATES, StateValues, Written, written_in
from .._jit.eager import compiled_once
from .._mapping.lanes import has_lanes
from .._mapping.vmap import vmap
from .._messages.boundary import boundary
from .body import refuse_writes
from .nested_scan import joined, split
from .scan import for_loop, number_of_steps

__all__ = ["map"]


@boundary
def map(f: Callable[..., Any], *xs: Any, batch_size: int | None = None) -> Any:
    """Apply `f` to each element along the leading axes of `xs`.

    Args:
        f: A function of as many arguments. Without `batch_size` it may write states, in order; with it only random
            streams, from which each element draws other numbers.
        *xs: Arrays or pytrees with the elements along their first axis.
        batch_size: How many elements to map at once, by `vmap`; None maps one element after the other.

    Returns:
        The stacked results.

    Raises:
        ValueError: There are no `xs`, they are scalars or of different sizes, `batch_size` is no positive whole number,
            or `f` writes a state although it is given.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_graph import State
        >>> from brainstate_transform import map
        >>> w = State(2.0)
        >>> map(lambda x: w.value * x, jnp.arange(5.0), batch_size=2)
        Array([0., 2., 4., 6., 8.], dtype=float32)
    """
    if not callable(f):
        raise TypeError(f"map takes a function, not {f!r}")
    if batch_size is not None and (isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(
            f"batch_size={batch_size!r}: give a positive whole number, or None to map one element after the other"
        )
    if not xs:
        raise ValueError("map needs something to map over: `map(f, xs)`")
    if batch_size is None:
        return for_loop(f, *xs)

    def mapped(*xs: Any) -> Any:
        return collected_map(f, lambda f, xs: _in_blocks(f, xs, batch_size), xs)

    compiled = compiled_once(f, ("map", batch_size), lambda: named_like(mapped, f))
    return (compiled or mapped)(*xs)


def _in_blocks(f: Callable[..., Any], xs: Any, size: int) -> Any:
    def rule(core: Core) -> Run:
        def run(_: StateValues, *xs: Any) -> tuple[Any, Written]:
            count = number_of_steps(xs, None, core.__qualname__)
            # Blocks and rest have other numbers of lanes, and share the trace of one element.
            element = _element(core, jax.tree.map(element_of, xs))
            lanes = vmap(lift(lambda _: element, f))

            def whole(*xs: Any) -> Any:
                return for_loop(lanes, *xs)

            blocks, rest = split(xs, size)
            with Overlay() as overlay:  # the rest draws after the blocks
                parts: list[Any] = []
                if count >= size or not count:
                    out, written = Core(whole)(NO_STATES, *blocks)
                    parts.append(joined(out))
                    written.write()
                if count % size:
                    out, written = Core(lanes)(NO_STATES, *rest)
                    parts.append(out)
                    written.write()
            return jax.tree.map(lambda *part: jnp.concatenate(part), *parts), written_in(overlay)

        return run

    return lift(rule, f)(*xs)


def _element(core: Core, first: tuple[Any, ...]) -> Run:
    """Trace `f` for one element; blocks and rest are mapped over what was traced."""
    what = "map with batch_size: the function"
    drawn_from = NO_STATES if without_jit() else core.written_by(*first)

    def refuse(written: Written) -> Written:
        refuse_writes(core, written.pick(lambda state: not has_lanes(state)), what)
        return written

    refuse(drawn_from.as_written())

    def run(_: StateValues, *x: Any) -> tuple[Any, Written]:
        if without_jit():
            out, written = core(NO_STATES, *x)
            return out, refuse(written)
        out, drawn = core.staged(StateValues.read(drawn_from.states), *x)
        return out, drawn.as_written()

    return run
