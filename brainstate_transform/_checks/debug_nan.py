"""``debug_nan``: run a function, and say which operation made a NaN that reached its result.

``jax.experimental.checkify`` notes the first operation that made one, masked or not.  It is reported only if a NaN is
still there at the end, in the result or in a state that was written.
"""

from __future__ import annotations

import contextlib
import functools
import traceback
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import checkify

from brainstate_graph import Node
from brainstate_graph.extend import is_hidden, locate, owners_again, untraced

from .._engine.core import Core, Run
from .._engine.errors import NonFiniteError
from .._engine.lift import lift
from .._engine.values import NO_STATES, StateValues, Written
from .._messages.boundary import boundary
from .error_if import check_finite
from .running import first_not_finite, modules_in_words, names_several, narrow
from .unvmap import unvmap

__all__ = ["debug_nan", "debug_nan_if", "finite"]


def finite(run: Run, core: Core, phase: str = "") -> Run:
    """Make a `run` that raises if a NaN or infinite number is in its result or in what it writes.

    The error names the operation that made the first NaN or divided by zero, the user's line, and the module. For a
    rule: ``return finite(run, core) if debug_nan else run``.

    Args:
        run: What a rule returns.
        core: The core of the user's function, for the message.
        phase: What is going on, for the message.

    Raises:
        NonFiniteError: When the program runs.
    """
    what = core.__qualname__
    # A compiled program does not keep models alive.
    nodes = [weakref.ref(item) for item in core.touched_graph().objects if isinstance(item, Node)]

    def watched(states: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
        owners: list[Callable[[Any], None]] = []

        def noting(*args: Any, **kwargs: Any) -> tuple[Any, Written]:
            out, written = run(*args, **kwargs)
            owners.append(owners_again(out))
            return out, written

        checked = checkify.checkify(noting, checkify.float_checks)(states, *args, **kwargs)
        error, (out, written) = jax.tree.map(jnp.asarray, checked)
        owners[-1](out)
        parts = {f"the result of `{what}`": out}
        parts.update((f"{locate(state)} after `{what}`", value) for state, value in written.items())
        flags, treedef = jax.tree.flatten(error)  # scalars: whether, and which
        kinds = [(flag.dtype, flag.shape) for flag in flags]  # one for each shard of a `shard_map`
        # As one array, so that under `vmap` all of them have the same lanes.
        codes = jnp.concatenate([jnp.zeros(1, jnp.int32), *(flag.astype(jnp.int32).ravel() for flag in flags)])
        check_finite(parts, functools.partial(_cause, nodes, treedef, kinds), codes, phase=phase)
        return out, written

    return watched


def _cause(nodes: Sequence[weakref.ref[Node]], treedef: Any, kinds: list[Any], codes: Any) -> str:
    """Return the text of a checkify error, of the first lane that has one, and the line of the user that made it."""
    for lane in np.ndindex(codes.shape[:-1]):
        # Without any flag there is one part all the same, an empty one.
        parts = np.split(codes[lane][1:], np.cumsum([np.prod(shape, dtype=int) for _, shape in kinds])[:-1])
        flags = [code.astype(dtype).reshape(shape) for code, (dtype, shape) in zip(parts, kinds, strict=False)]
        error = jax.tree.unflatten(treedef, flags)
        text = error.get()
        if text is not None:
            return f"{f'Lane {list(lane)}: ' if lane else ''}{text.strip().rstrip('.')}{_place(error, nodes)}"
    return "No operation made a NaN or divided by zero: an argument or state had it, or a number grew too large"


def _place(error: Any, nodes: Sequence[weakref.ref[Node]]) -> str:
    """Return where an error comes from: the innermost line that is neither JAX's nor ours, and the module."""
    try:
        error.throw()
    except Exception as raised:
        origin = raised.__cause__  # its traceback is that of the operation
        walked = list(traceback.walk_tb(origin.__traceback__)) if origin else []
        shown = traceback.StackSummary.extract(pair for pair in walked if not is_hidden(pair[0].f_code))
        line = f" in {shown[-1].name}, {shown[-1].filename}:{shown[-1].lineno}: {shown[-1].line}" if shown else ""
        alive = [node for ref in nodes if (node := ref()) is not None]
        return line + modules_in_words(walked, alive)
    return ""


@boundary
def debug_nan(fun: Callable[..., Any], *args: Any, phase: str = "", **kwargs: Any) -> None:
    """Run a function to see whether a NaN or infinite number reaches its result or a state that it writes.

    No state changes and no random stream advances. To name the right one of several layers of one class, the function
    runs twice. A NaN that the function masks is no error.

    Args:
        fun: The function.
        *args: Its arguments.
        phase: What is going on, for the message.
        **kwargs: Its keyword arguments.

    Raises:
        NonFiniteError: There is one; the message names the operation, the line and the module that made the first NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_transform import debug_nan
        >>> try:
        ...     debug_nan(jnp.log, -1.0, phase="warm-up")
        ... except FloatingPointError as error:
        ...     print(str(error)[:44])
        warm-up: NaN in the result of `log`. nan gen
    """

    def rule(core: Core) -> Run:
        run = finite(core, core, phase)

        def dry(states: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            try:
                run(states, *args, **kwargs)
            except NonFiniteError as error:
                if names_several(error) and untraced():  # otherwise the values are not known
                    with contextlib.suppress(Exception), jax.disable_jit(), first_not_finite() as found:
                        core(states, *args, **kwargs)
                    if found:
                        narrow(error, found[0])
                raise
            return None, NO_STATES.as_written()

        return dry

    lift(rule, fun)(*args, **kwargs)


@boundary
def debug_nan_if(flag: Any, fun: Callable[..., Any], *args: Any, phase: str = "", **kwargs: Any) -> None:
    """Do what `debug_nan` does, if any element of `flag` holds, in any lane.

    Args:
        flag: A boolean of any shape; it may be traced.
        fun: The function.
        *args: Its arguments.
        phase: What is going on, for the message.
        **kwargs: Its keyword arguments.

    Raises:
        NonFiniteError: As for `debug_nan`.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_transform import debug_nan_if
        >>> debug_nan_if(jnp.isnan(2.0), jnp.log, -1.0)
    """
    wanted = unvmap(flag, "any")
    if isinstance(wanted, Tracer):
        jax.lax.cond(wanted, lambda: debug_nan(fun, *args, phase=phase, **kwargs), lambda: None)
    elif wanted:
        debug_nan(fun, *args, phase=phase, **kwargs)
