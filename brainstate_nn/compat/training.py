"""Metrics, and what is done with a whole model, by their older names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

import brainstate_nn as today
from brainstate_graph import nodes, to_predicate
from brainstate_graph.compat import numel
from brainstate_graph.extend import assign_values
from brainstate_transform import vmap_new_states

from .._dynamics.exp_euler import exprel
from . import environ

__all__ = [
    "AccuracyMetric", "AverageMetric", "ConfusionMatrix", "F1ScoreMetric", "PrecisionMetric", "RecallMetric",
    "WelfordMetric", "assign_state_values", "call_all_fns", "call_order", "clip_grad_norm", "count_parameters",
    "exp_euler_step", "init_all_states", "reset_all_states", "vmap_call_all_fns", "vmap_init_all_states",
    "vmap_reset_all_states",
]  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ metrics


class AccuracyMetric(today.Accuracy):
    """`Accuracy`."""

    def __init__(self, argname: str = "values") -> None:
        super().__init__()


AverageMetric = today.Average
WelfordMetric = today.Welford


class _OfClasses:
    """What gets classes by the name `predictions`, where ours takes them in the place of scores."""

    def update(self, logits: Any = None, labels: Any = None, *, predictions: Any = None, mask: Any = None) -> None:
        """Take examples in: `predictions` of classes, or scores."""
        update: Any = super().update  # type: ignore[misc] - of the metric that this is mixed into
        update(logits if predictions is None else predictions, labels, mask=mask)


class _ByClass(_OfClasses):
    """A metric whose second argument is the way to take the mean over classes; without their number there are two."""

    def __init__(self, num_classes: int | None = None, average: Any = "macro") -> None:
        init_of_metric: Any = super().__init__  # of the metric that this is mixed into
        init_of_metric(num_classes, threshold=None if num_classes else 0.5, average=average)


class PrecisionMetric(_ByClass, today.Precision):
    """`Precision`."""


class RecallMetric(_ByClass, today.Recall):
    """`Recall`."""


class F1ScoreMetric(_ByClass, today.F1):
    """`F1`."""


class ConfusionMatrix(_OfClasses, today.ConfusionMatrix):
    """`ConfusionMatrix`."""


# ---------------------------------------------------------------------------------------------------- whole models


def count_parameters(module: today.Module, precision: int = 2, return_table: bool = False) -> Any:
    """Return how many numbers the parameters of a model hold, after a table of them with `return_table`."""
    sizes = {name: numel(state) for name, state in module.named_parameters()}
    table = "\n".join(f"{name}: {size:,}" for name, size in sizes.items())
    return (table, sum(sizes.values())) if return_table else sum(sizes.values())


def clip_grad_norm(grad: Any, max_norm: Any, norm_type: Any = 2.0, return_norm: bool = False) -> Any:
    """Return gradients scaled so that their norm is at most `max_norm`; `optax.clip_by_global_norm` does it for 2.

    Args:
        grad: A pytree.
        max_norm: The greatest norm.
        norm_type: The order of the norm, also "inf".
        return_norm: Whether to return the norm before, too.
    """
    order = 2.0 if norm_type is None else float(norm_type)
    norm = jnp.linalg.norm(ravel_pytree(grad)[0], order)
    factor = jnp.where(norm > max_norm, max_norm / norm, 1.0)
    clipped = jax.tree.map(lambda g: g * factor.astype(g.dtype), grad)
    return (clipped, norm) if return_norm else clipped


def assign_state_values(target: Any, *state_by_abs_path: Mapping[Any, Any]) -> tuple[list[Any], list[Any]]:
    """Write values by path, and return the paths that the model has not, and those without a value."""
    states = target.states()
    given = {path: value for part in state_by_abs_path for path, value in part.items()}
    known = [path for path in given if path in states]
    assign_values([states[path] for path in known], [given[path] for path in known])
    return [path for path in given if path not in states], [path for path in states if path not in given]


def call_order(level: int = 0, check_order_boundary: bool = True) -> Callable[[Any], Any]:
    """Let `init_all_states` and similar functions call a method after those of lower levels and those without one."""

    def mark(fun: Any) -> Any:
        fun.call_order = level
        return fun

    return mark


def call_all_fns(
    target: Any,
    fn_name: str,
    args: Any = (),
    kwargs: Any = None,
    node_to_exclude: Any = None,
    fn_if_not_exist: str = "raise",
) -> Any:
    """Call a method of every module of a model that has it, in the order of `call_order`."""
    excluded = to_predicate(node_to_exclude)
    modules = [m for path, m in nodes(target, today.Module).items() if not excluded(path, m)]
    if fn_if_not_exist != "raise":
        modules = [m for m in modules if hasattr(m, fn_name)]
    for call in sorted([getattr(m, fn_name) for m in modules], key=lambda call: getattr(call, "call_order", -1)):
        call(*(args if isinstance(args, (tuple, list)) else (args,)), **kwargs or {})
    return target


def vmap_call_all_fns(
    target: Any, fn_name: str, *args: Any, axis_size: int, state_tag: str | None = None, **kwargs: Any
) -> Any:
    """Call a method of every module as `call_all_fns` does, and give each state that it makes one value per lane."""
    vmap_new_states(
        lambda: call_all_fns(target, fn_name, *args, **kwargs) and None, tag=state_tag, axis_size=axis_size
    )()
    return target


def _all_states(verb: Callable[..., Any], method: str, target: Any, *args: Any, **kwargs: Any) -> Any:
    excluded = kwargs.pop("node_to_exclude", None)
    return verb(target, *args, **kwargs) if excluded is None else call_all_fns(target, method, args, kwargs, excluded)


def _lanes(verb: Callable[..., Any], target: Any, *args: Any, axis_size: int, **kwargs: Any) -> Any:
    older = {"state_tag": "tag", "state_to_exclude": "exclude"}
    return verb(target, axis_size, *args, **{older.get(name, name): value for name, value in kwargs.items()})


init_all_states = functools.partial(_all_states, today.init_all_states, "init_state")
reset_all_states = functools.partial(_all_states, today.reset_all_states, "reset_state")
vmap_init_all_states = functools.partial(_lanes, today.vmap_init_all_states)
vmap_reset_all_states = functools.partial(_lanes, today.vmap_reset_all_states)


def exp_euler_step(fn: Callable[..., Any], *args: Any, dt: Any = None, **kwargs: Any) -> jax.Array:
    """Take one step of ``dx/dt = fn(x, ...)`` by the exponential Euler method, whose linear part is exact.

    Args:
        fn: The derivative, which treats each element of `x` by itself.
        *args: Its arguments; a second function may come before them, the size of the noise.
        dt: The length of the step; None for ``environ.get_dt()``.
        **kwargs: Its keyword arguments.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn.compat import exp_euler_step
        >>> round(float(exp_euler_step(lambda v: -v / 10.0, jnp.float32(1.0), dt=10.0)), 5)  # exp(-1)
        0.36788
    """
    if dt is None:
        dt = environ.get_dt()
    noise: Any = args[0] if callable(args[0]) else None
    x, *rest = args if noise is None else args[1:]
    x = jnp.asarray(x)
    # As `exp_euler_step` of today, whose step is a number, where this one may be traced.
    slope, linear = jax.jvp(lambda x: fn(x, *rest, **kwargs), (x,), (jnp.ones_like(x),))
    drifted = x + dt * exprel(dt * linear) * slope
    if noise is None:
        return drifted
    return drifted + jnp.sqrt(dt) * noise(x, *rest, **kwargs) * today.default_rng().normal(jnp.shape(x))
