"""``jit_error_if`` and ``breakpoint_if``: checks of values that are known only when the program runs.

A compiled program calls back into Python when a check fails.  JAX passes on only the text of what is raised there, so
the exception itself is kept (`note_raised`), and raised by the transform around.  `check_finite` is such a check too,
for ``debug_nan.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from brainstate_graph import State, StateArgumentError

from .._engine.errors import NonFiniteError, note_raised
from .._engine.user_function import name_of
from .unvmap import unvmap

__all__ = ["breakpoint_if", "check_finite", "jit_error_if"]


def jit_error_if(pred: Any, error: Any, *args: Any, **kwargs: Any) -> None:
    """Raise an error when the program runs, if any element of `pred` holds, in any lane.

    Args:
        pred: A boolean or number of any shape; not zero means true.
        error: A text, which becomes a ValueError; an exception; or a function of `args` and `kwargs` that raises or
            returns one, such as an exception class.
        *args: What the text is formatted with, by ``%`` or ``str.format``; arrays arrive as those of NumPy, under
            ``vmap`` with the lanes along the first axis.
        **kwargs: The same by name, for ``str.format``.

    Raises:
        TypeError: `error` is something else.
        StateArgumentError: A State is passed instead of its value.

    Note:
        Outside of any trace, and where a transform of this package waits for JAX (as on one device), the exception is
        raised unchanged. Otherwise JAX raises a ``jax.errors.JaxRuntimeError`` with its text. If several checks of
        one program fail, one of them is raised. Under ``vmap`` the checks in both branches of a mapped `cond` run.

    Example:
        >>> from brainstate_transform import jit, jit_error_if
        >>> @jit
        ... def half(x):
        ...     jit_error_if(x < 0, "x is %s", x)
        ...     return x / 2
        >>> float(half(3.0))
        1.5
    """
    if not (isinstance(error, (str, BaseException)) or callable(error)):
        raise TypeError(f"the error of jit_error_if must be a text, an exception or a function, not {error!r}")
    leaves, treedef = jax.tree.flatten((args, kwargs))
    for given in (pred, *leaves):
        if isinstance(given, State):
            raise StateArgumentError(f"jit_error_if got {given!r}: give the value, `state.value`")
    failed = unvmap(pred, "any")
    indices = [i for i, leaf in enumerate(leaves) if isinstance(leaf, (jax.Array, np.ndarray, np.generic))]
    arrays = [jax.lax.stop_gradient(leaves[i]) for i in indices]
    others = [None if i in indices else leaf for i, leaf in enumerate(leaves)]

    def fail(*arrays: Any) -> None:
        full = others.copy()
        for index, array in zip(indices, arrays, strict=True):
            full[index] = _numpy(array)
        raised = _exception(error, *jax.tree.unflatten(treedef, full))
        note_raised(raised)
        raise raised

    def later(*arrays: Any) -> None:
        # Of two checks that fail the first one raises, as on one device callbacks run in order.
        jax.debug.callback(fail, *(unvmap(a, "none") for a in arrays))

    if isinstance(failed, Tracer):
        jax.lax.cond(failed, later, lambda *_: None, *arrays)
    elif failed:
        fail(*(unvmap(a, "none") for a in arrays))


def _numpy(array: Any) -> Any:
    is_key = jnp.issubdtype(array.dtype, jax.dtypes.extended)
    return np.asarray(jax.random.key_data(array) if is_key else array)


def _exception(error: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Exception:
    """Return what is to be raised."""
    if isinstance(error, str):
        return ValueError(_formatted(error, args, kwargs))
    if isinstance(error, Exception):
        return error
    try:
        made = error(*args, **kwargs)
    except Exception as raised:
        return raised
    if isinstance(made, Exception):
        return made
    if made is None:
        return RuntimeError(f"a check failed, and `{name_of(error)}` of jit_error_if raised nothing")
    return RuntimeError(str(made))


def _formatted(text: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    if not args and not kwargs:
        return text
    if not kwargs:
        try:
            return text % args
        except (TypeError, ValueError):
            pass
    try:
        return text.format(*args, **kwargs)
    except (LookupError, TypeError, ValueError):  # a wrong text must not hide that the check has failed
        return f"{text} ({', '.join([*map(str, args), *(f'{k}={v}' for k, v in kwargs.items())])})"


def check_finite(parts: dict[str, Any], cause: Callable[..., str] | None = None, *args: Any, phase: str = "") -> None:
    """Raise an error when the program runs, if a number of a pytree is NaN or infinite.

    Args:
        parts: Pytrees by what they are, for the message; only their real and complex arrays are looked at.
        cause: Says where it comes from, for the message; called with `args` when the check has failed.
        *args: Its arguments.
        phase: What is going on, for the message.

    Raises:
        NonFiniteError: An array has a NaN or an infinite number.
    """
    leaves = [
        (f"{what}{jax.tree_util.keystr(path)}", leaf)
        for what, tree in parts.items()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    ]
    if not leaves:
        return
    names = [name for name, _ in leaves]  # the program keeps the error, and must keep no array with it

    def error(nan: Any, inf: Any, *args: Any) -> NonFiniteError:
        found = [
            f"{kind} in {', '.join(name for name, bad in zip(names, flags, strict=True) if bad)}"
            for kind, flags in (("NaN", nan), ("infinite numbers", inf))
            if flags.any()
        ]
        why = f". {cause(*args)}" if cause else ""
        return NonFiniteError(f"{phase}{': ' if phase else ''}{' and '.join(found)}{why}")

    nan = jnp.stack([unvmap(jnp.isnan(leaf)) for _, leaf in leaves])
    inf = jnp.stack([unvmap(jnp.isinf(leaf)) for _, leaf in leaves])
    jit_error_if(nan | inf, error, nan, inf, *args)


def breakpoint_if(pred: Any, **kwargs: Any) -> None:
    """Stop in JAX's debugger when the program runs, if any element of `pred` holds, in any lane.

    Args:
        pred: A boolean or number of any shape; not zero means true.
        **kwargs: As for ``jax.debug.breakpoint``.

    Example:
        >>> from brainstate_transform import breakpoint_if, jit
        >>> @jit
        ... def f(x):
        ...     breakpoint_if(x < 0)
        ...     return x * 2.0
        >>> float(f(3.0))
        6.0
    """
    if isinstance(pred, State):
        raise StateArgumentError(f"breakpoint_if got {pred!r}: give the value, `state.value`")
    wanted = unvmap(pred, "any")
    if isinstance(wanted, Tracer):
        jax.lax.cond(wanted, lambda: jax.debug.breakpoint(**kwargs), lambda: None)
    elif wanted:
        jax.debug.breakpoint(**kwargs)
