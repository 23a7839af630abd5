"""Older spellings, one line each: names and keywords of brainstate that mean what ours mean.

They are here for code that is moving over; docs/migration.md lists them beside today's spelling. A name that is not
here is today's, and comes from the package itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import brainstate_transform as today
from brainstate_graph.compat import from_today

from . import ir
from ._derivatives import checkpoint as _checkpoint
from ._derivatives import grad as _grad
from ._derivatives import jacobian as _jacobian
from ._derivatives import linear as _linear
from ._mapping import new_states as _new_states
from ._mapping import shard_map as _shard_map
from ._mapping import vmap as _vmap
from .ir import cse as common_subexpression_elimination
from .ir import dce as dead_code_elimination

__all__ = [
    "GradientTransform", "StatefulMapping", "common_subexpression_elimination", "dead_code_elimination", "fwd_grad",
    "grad", "hessian", "jacfwd", "jacobian", "jacrev", "remat", "shard_map", "vector_grad", "vjp", "vmap", "vmap2",
    "vmap2_new_states", "vmap_new_states",
]  # fmt: skip

__getattr__ = from_today(__name__, today, ir)


def _spelt(fun: Callable[..., Any], positions: str = "", **old: str) -> Callable[..., Any]:
    """Return `fun` with further spellings of its keywords, and with `positions` as its positional parameters.

    Args:
        fun: The function of today.
        positions: The names of the positional parameters in the older order.
        **old: For each older keyword the one of today; after ``not`` its opposite.
    """

    @functools.wraps(fun, updated=())
    def older(*args: Any, **kwargs: Any) -> Any:
        named = dict(zip(positions.split(), args, strict=False))
        for name, value in (*named.items(), *kwargs.items()):
            word = old.get(name, name)
            named.pop(name, None)
            named[word.removeprefix("not ")] = not value if word.startswith("not ") else value
        return fun(*args[len(positions.split()) :], **named)

    return older


def _init_lanes(module: Any, init_kwargs: Any = None, state_tag: Any = None, axis_size: Any = None) -> Any:
    """Make the states of a module, one value per lane."""
    return vmap_new_states(lambda: module.init_all_states(**init_kwargs or {}), tag=state_tag, axis_size=axis_size)()


_WRT = {"grad_states": "wrt", "check_states": "not allow_unused", "func": "fun", "target": "fun"}
_LANES = {"fn": "fun", "state_in_axes": "in_states", "state_out_axes": "out_states"}

grad = _spelt(_grad.grad, **_WRT)
vector_grad = _spelt(_grad.vector_grad, **_WRT)
fwd_grad = _spelt(_grad.fwd_grad, tangent_size="samples", drct_der_clip="clip", **_WRT)
jacrev = jacobian = _spelt(_jacobian.jacrev, **_WRT)
jacfwd = _spelt(_jacobian.jacfwd, **_WRT)
hessian = _spelt(_jacobian.hessian, **_WRT)
_vjp = _spelt(_linear.vjp, **_WRT)


def vjp(fun: Callable[..., Any], *primals: Any, argnums: Any = 0, **kwargs: Any) -> Any:
    """Call a function, and return with its value a pullback, whose result is bare for the one argument by default.

    Args:
        fun: The function.
        *primals: Its positional arguments.
        argnums: The positions of the arguments to differentiate by, besides `grad_states`; None for none.
        **kwargs: As for `vjp`, in the older spelling, and the keyword arguments of `fun`.

    Example:
        >>> from brainstate_transform.compat import vjp
        >>> float(vjp(lambda x: x**2, 3.0)[1](1.0))
        6.0
    """
    return _vjp(fun, *primals, argnums=argnums if primals else None, **kwargs)


vmap = vmap2 = StatefulMapping = _spelt(_vmap.vmap, **_LANES)
vmap_new_states = _spelt(_new_states.vmap_new_states, fn="fun", state_tag="tag", state_to_exclude="exclude")
vmap2_new_states = _init_lanes
shard_map = _spelt(
    _shard_map.shard_map, "fun mesh in_specs out_specs", state_in_specs="in_states", state_out_specs="out_states"
)
remat = _checkpoint.checkpoint


def GradientTransform(target: Any, transform: Callable[..., Any] = grad, *args: Any, **kwargs: Any) -> Any:  # noqa: N802
    """Apply a derivative of this package to a function.

    Example:
        >>> from brainstate_transform.compat import GradientTransform, vector_grad
        >>> float(GradientTransform(lambda x: x**2, vector_grad)(3.0))
        6.0
    """
    return transform(target, *args, **kwargs)
