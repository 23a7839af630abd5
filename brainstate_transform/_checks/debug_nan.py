"""``debug_nan``: run a function, and say which operation made a NaN that reached its result.

``jax.experimental.checkify`` notes the first operation that made one, masked or not.  It is reported only if a NaN is
still there at the end, in the result or in a state that was written.
"""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import checkify

from brainstate_graph.extend import locate, owners_again

from .._engine.core import Core, Run
from .._engine.lift import lift
from .._engine.values import NO_STATES, StateValues, Written
from .error_if import check_finite
from .unvmap import unvmap

__all__ = ["debug_nan", "debug_nan_if", "finite"]


def finite(run: Run, what: str, phase: str = "") -> Run:
    """Make a `run` that raises if a NaN or infinite number is in its result or in what it writes.

    The error names the operation that made the first NaN or divided by zero, and the user's line. For a rule:
    ``return finite(run, core.__qualname__) if debug_nan else run``.

    Args:
        run: What a rule returns.
        what: The user's function, for the message.
        phase: What is going on, for the message.

    Raises:
        NonFiniteError: When the program runs.
    """

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
        kinds = [flag.dtype for flag in flags]
        # As one array, so that under `vmap` all of them have the same lanes.
        codes = jnp.stack([jnp.zeros((), jnp.int32), *(flag.astype(jnp.int32) for flag in flags)])
        check_finite(parts, functools.partial(_cause, treedef, kinds), codes, phase=phase)
        return out, written

    return watched


def _cause(treedef: Any, kinds: list[Any], codes: Any) -> str:
    """Return the text of a checkify error, of the first lane that has one, and the line of the user that made it."""
    for lane in np.ndindex(codes.shape[:-1]):
        flags = [np.asarray(code, kind) for code, kind in zip(codes[lane][1:], kinds, strict=True)]
        error = jax.tree.unflatten(treedef, flags)
        text = error.get()
        if text is not None:
            return f"{f'Lane {list(lane)}: ' if lane else ''}{text.strip().rstrip('.')}{_line(error)}"
    return "No operation made a NaN or divided by zero: an argument or state had it, or a number grew too large"


def _line(error: Any) -> str:
    """Return the user's line that an error comes from: the innermost one that is neither JAX's nor ours."""
    try:
        error.throw()
    except Exception as raised:
        origin = raised.__cause__  # its traceback is that of the operation
        frames = traceback.extract_tb(origin.__traceback__) if origin else []
        for frame in reversed(frames):
            if not frame.filename.startswith(_INSIDE):
                return f" in {frame.name}, {frame.filename}:{frame.lineno}: {frame.line}"
    return ""


_INSIDE = tuple(os.path.dirname(path) + os.sep for path in (jax.__file__, __file__))


def debug_nan(fun: Callable[..., Any], *args: Any, phase: str = "", **kwargs: Any) -> None:
    """Run a function to see whether a NaN or infinite number reaches its result or a state that it writes.

    No state changes and no random stream advances. A NaN that the function masks is none.

    Args:
        fun: The function.
        *args: Its arguments.
        phase: What is going on, for the message.
        **kwargs: Its keyword arguments.

    Raises:
        NonFiniteError: There is one; the message names the operation and the line that made the first NaN.

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
        run = finite(core, core.__qualname__, phase)

        def dry(states: StateValues, *args: Any, **kwargs: Any) -> tuple[Any, Written]:
            run(states, *args, **kwargs)
            return None, NO_STATES.as_written()

        return dry

    lift(rule, fun)(*args, **kwargs)


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
