"""Older spellings, one line each: names and keywords of brainstate that mean what ours mean.

They are here for code that is moving over; docs/coming_from/names_brainstate.md lists them beside today's spelling. A
name that is not here is today's, and comes from the package itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import brainstate_transform as today
from brainstate_graph import HookContext
from brainstate_graph.compat import from_today, register_state_hook

from . import ir
from ._derivatives import checkpoint as _checkpoint
from ._derivatives import grad as _grad
from ._derivatives import jacobian as _jacobian
from ._derivatives import linear as _linear
from ._derivatives.differentiated import Differentiated, differentiate, main_first
from ._mapping import new_states as _new_states
from ._mapping import shard_map as _shard_map
from ._mapping import vmap as _vmap
from .ir import cse as common_subexpression_elimination
from .ir import dce as dead_code_elimination

__all__ = [
    "GradientTransform", "StateTraceStack", "StatefulMapping", "common_subexpression_elimination",
    "dead_code_elimination", "fwd_grad", "grad", "hessian", "jacfwd", "jacobian", "jacrev", "remat", "shard_map",
    "vector_grad", "vjp", "vmap", "vmap2", "vmap2_new_states", "vmap_new_states",
]  # fmt: skip

__getattr__ = from_today(__name__, today, ir)


def _spelt(fun: Callable[..., Any], positions: str = "", **old: str) -> Callable[..., Any]:
    """Return `fun` with further spellings of its keywords, and with `positions` as its positional parameters.

    Args:
        fun: The function of today.
        positions: The names of the positional parameters in the older order.
        **old: For each older keyword the one of today; after ``not`` its opposite. Empty where it has no meaning here.
    """

    @functools.wraps(fun, updated=())
    def older(*args: Any, **kwargs: Any) -> Any:
        named = dict(zip(positions.split(), args, strict=False))
        for name, value in (*named.items(), *kwargs.items()):
            word = old.get(name, name)
            named.pop(name, None)
            if word:
                named[word.removeprefix("not ")] = not value if word.startswith("not ") else value
        return fun(*args[len(positions.split()) :], **named)

    return older


def _init_lanes(module: Any, init_kwargs: Any = None, state_tag: Any = None, axis_size: Any = None) -> Any:
    """Make the states of a module, one value per lane."""

    def make() -> None:
        module.init_all_states(**init_kwargs or {})

    return vmap_new_states(make, tag=state_tag, axis_size=axis_size)()


_WRT = {
    "grad_states": "wrt", "check_states": "not allow_unused", "func": "fun", "target": "fun", "unit_aware": "",
}  # fmt: skip
# What is written per lane without being named is refused here, whichever of the older policies is asked for.
_LANES = {
    "fn": "fun", "state_in_axes": "in_states", "state_out_axes": "out_states", "unexpected_out_state_mapping": "",
    "name": "",
}  # fmt: skip

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


def GradientTransform(  # noqa: N802 - a class elsewhere
    target: Callable[..., Any],
    transform: Callable[..., Any],
    grad_states: Any = None,
    argnums: Any = None,
    return_value: bool = False,
    has_aux: bool = False,
    transform_params: dict[str, Any] | None = None,
    check_states: bool = True,
    debug_nan: bool = False,
) -> Any:
    """Make a derivative by states and arguments of a transform of pure functions.

    Args:
        target: The function, which may read and write states.
        transform: What is called as ``transform(pure, argnums=0, has_aux=True, **transform_params)`` and returns a
            function that returns a gradient and the auxiliary output, as `jax.grad` does.
        grad_states: The states, as `wrt` of `grad` names them.
        argnums: As for `grad`.
        return_value: As for `grad`.
        has_aux: As for `grad`.
        transform_params: Further arguments of `transform`.
        check_states: Whether a state that is not used is an error.
        debug_nan: As for `grad`.

    Returns:
        A function that returns what that of `grad` returns.

    Example:
        >>> import jax
        >>> from brainstate_transform.compat import GradientTransform
        >>> float(GradientTransform(lambda x: x**2, jax.grad)(3.0))
        6.0
    """

    def compute(pure: Differentiated) -> Any:
        derivative, riding = transform(pure, argnums=0, has_aux=True, **transform_params or {})(pure.primals)
        return pure.variables.gather(derivative), riding

    return differentiate(
        target, grad_states, argnums, compute, main_first(has_aux, return_value), debug_nan=debug_nan,
        has_aux=has_aux, allow_unused=not check_states,
    )  # fmt: skip


class StateTraceStack(today.StateTraceStack):
    """The states that are used in a block, or by a function.

    Example:
        >>> from brainstate_graph import State
        >>> from brainstate_transform.compat import StateTraceStack
        >>> a, b = State(1.0), State(2.0)
        >>> with StateTraceStack() as stack:
        ...     b.value = a.value
        >>> stack.get_read_states(), stack.get_write_states()
        ((State(1.0),), (State(1.0),))
    """

    def __init__(self, states: Any = (), been_writen: Any = (), name: str | None = None) -> None:
        super().__init__(states, been_writen)
        self.name = name
        self._hooks: list[Any] = []

    def __enter__(self) -> StateTraceStack:
        note = self._note
        self._hooks = [register_state_hook("read", note), register_state_hook("write_after", note)]
        return self

    def __exit__(self, *_: object) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    def _note(self, context: HookContext) -> None:
        if not any(context.state is state for state in self.states):
            self.states.append(context.state)
            self.been_writen.append(False)
        if context.kind != "read":
            self.been_writen[[id(state) for state in self.states].index(id(context.state))] = True
