"""What layers have in common: how they make their parameters, and in which dtype they compute."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec

from brainstate_graph import Node, State
from brainstate_graph.extend import describe, locate

from .random import Rng, stream_of
from .states import ParamState

__all__ = [
    "Initializer",
    "above_zero",
    "along_axis",
    "as_dtype",
    "as_indices",
    "as_input",
    "as_precision",
    "axis_of",
    "common_dtype",
    "fraction",
    "gathered",
    "laid_like",
    "laid_out",
    "lecun_normal",
    "make_parameter",
    "param_dtype_of",
    "per_axis",
    "placed",
    "positive",
    "promote",
    "resharded",
    "sharding_of",
    "sizes",
]

Initializer = Callable[[jax.Array, tuple[int, ...], Any], jax.Array]

lecun_normal: Initializer = jax.nn.initializers.lecun_normal()


def make_parameter(
    argument: str,
    init: Initializer,
    shape: tuple[int, ...],
    dtype: Any,
    rng: Rng,
    kind: type[ParamState] = ParamState,
    contracted: Sequence[int] | None = None,
) -> ParamState:
    """Make a parameter with an initialiser, which is used here and not kept.

    A layer that kept it would compare by it, and two layers alike but for their first values would be two programs.

    Args:
        argument: What the layer calls the initialiser, for messages.
        init: A callable ``(key, shape, dtype) -> array``.
        shape: The shape of the parameter.
        dtype: The dtype of the parameter.
        rng: The stream that gives the key, or the streams whose `params` does; None for the default one.
        kind: The class of the state.
        contracted: The axes over which the layer sums, where they are several or not the last but one, which is what
            initialisers take them for: it is asked for a matrix, these axes by all others.
    """
    if not callable(init):
        raise TypeError(
            f"{argument} must be a function (key, shape, dtype) -> array, not {type(init).__name__}: "
            f"write `{argument}=jax.nn.initializers.constant(0.1)`"
        )
    asked, order = shape, list(range(len(shape)))
    if contracted is not None:
        order = [*contracted, *(i for i in order if i not in contracted)]
        inputs = math.prod(shape[i] for i in contracted)
        asked = (inputs, math.prod(shape) // inputs)
    value = init(stream_of(rng, "params").split_key(), asked, param_dtype_of(dtype))
    if jnp.shape(value) != asked:
        raise ValueError(f"{argument} returned an array of shape {jnp.shape(value)} where the layer needs {asked}")
    if contracted is not None:
        value = jnp.moveaxis(jnp.reshape(value, [shape[i] for i in order]), range(len(shape)), order)
    return kind(value)


def param_dtype_of(dtype: Any) -> Any:
    """Return the dtype of parameters, or raise where it is none that can be trained."""
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        raise TypeError(f"param_dtype must be a dtype such as jnp.float32, not {dtype!r}") from None
    if not jnp.issubdtype(found, jnp.inexact):
        raise TypeError(f"param_dtype must be a float or complex dtype, not {found}")
    return found


def as_dtype(dtype: Any) -> Any:
    """Spell a dtype in one way, so that ``jnp.float32`` and ``"float32"`` make the same program."""
    if dtype is None:
        return None
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be a dtype such as jnp.float32, or None, not {dtype!r}") from None
    if not jnp.issubdtype(found, jnp.inexact):
        raise TypeError(f"dtype must be a float or complex dtype to compute in, or None, not {found}")
    return found


def as_precision(precision: Any) -> Any:
    """Return a matmul precision of JAX, or raise; ``"highest"`` and ``jax.lax.Precision.HIGHEST`` are one."""
    if precision is None:
        return None
    try:
        jax.eval_shape(lambda x: jnp.dot(x, x, precision=precision), jnp.zeros(1))
    except (ValueError, TypeError):
        raise ValueError(
            f'precision must be one that jnp.dot takes, such as "highest", or None, not {precision!r}'
        ) from None
    return jax.lax.Precision(precision) if precision in _PRECISIONS else precision


_PRECISIONS = ("default", "high", "highest")


def promote(*arrays: Any, dtype: Any = None) -> list[Any]:
    """Bring arrays to one inexact dtype.

    Args:
        *arrays: Arrays or numbers; None stays None.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
    """
    if dtype is None:
        dtype = common_dtype(*arrays)
    return [None if a is None else jnp.asarray(a, dtype) for a in arrays]


def common_dtype(*arrays: Any) -> Any:
    """Return the inexact dtype that JAX's promotion gives for these arrays; None among them does not count."""
    dtype = jnp.result_type(*[a for a in arrays if a is not None])
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.promote_types(jnp.float32, dtype)


def along_axis(vector: jax.Array, ndim: int, axis: int = -1) -> jax.Array:
    """Shape a vector so that it stands along `axis` of an array with `ndim` axes.

    Broadcasting would do it silently for the last axis, and raises where the user asked JAX for strict ranks.
    """
    shape = [1] * ndim
    shape[axis] = vector.shape[0]
    return vector.reshape(shape)


def as_input(
    x: Any, layer: Node, argument: str = "x", *, size: int | None = None, axis: int = -1, rank: int = 0
) -> Any:
    """Return an argument of a call as an array of numbers, or raise with the path of the layer and the argument.

    Args:
        x: What was given.
        layer: The layer.
        argument: The name of the argument.
        size: The number of features along `axis`; None for any.
        axis: The axis of the features.
        rank: How many axes there must be at least.

    Raises:
        TypeError: It is no array of numbers.
        ValueError: It has too few axes, or another number of features.
    """
    if x is None or isinstance(x, (str, bytes, Mapping, State, Node)):
        given = f"a {type(x).__name__}" if x is not None else "None"
        raise TypeError(f"{locate(layer)} takes an array for `{argument}`, not {given}")
    x = jnp.asarray(x)
    if not (jnp.issubdtype(x.dtype, jnp.number) or x.dtype == bool):
        raise TypeError(f"{locate(layer)} takes numbers for `{argument}`, which is {describe(x)}")
    if x.ndim < rank:
        raise ValueError(f"{locate(layer)} needs at least {rank} axes of `{argument}`, which is {describe(x)}")
    if size is not None and (not -x.ndim <= axis < x.ndim or x.shape[axis] != size):
        raise ValueError(
            f"{locate(layer)} expects {size} features along axis {axis} of `{argument}`, which is {describe(x)}"
        )
    return x


def as_indices(x: Any, layer: Node, argument: str = "x") -> Any:
    """Return an argument of a call as an array of whole numbers, or raise as `as_input` does."""
    x = as_input(x, layer, argument)
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(f"{locate(layer)} takes whole numbers for `{argument}`, which is {describe(x)}")
    return x


def laid_out(mask: jax.Array, x: jax.Array) -> jax.Array:
    """Lay a mask out over devices as `x` is: what is drawn lies on none in particular, which `where` refuses."""
    if not any(jax.typeof(x).sharding.spec):
        return mask
    if isinstance(x, Tracer):
        return mask | jnp.zeros(x.shape, bool, out_sharding=jax.typeof(x).sharding)
    return mask | jax.device_put(jnp.zeros(x.shape, bool), x.sharding)  # whether a mesh is set or not


def gathered(x: jax.Array) -> jax.Array:
    """Return an array as it is on each device whole, for what JAX cannot lay out by itself."""
    return resharded(x, PartitionSpec(), x) if any(jax.typeof(x).sharding.spec) else x


def laid_like(new: jax.Array, old: jax.Array) -> jax.Array:
    """Bring the new value of a state to the layout of the old one, which a loop that carries it cannot change."""
    spec = jax.typeof(old).sharding.spec
    return new if jax.typeof(new).sharding.spec == spec else resharded(new, spec, old)


def resharded(x: jax.Array, spec: PartitionSpec, beside: jax.Array) -> jax.Array:
    """Lay an array out over the explicit mesh of another one, whether a mesh is set or not."""
    ours = sharding_of(beside)
    return x if ours is None else jax.sharding.reshard(x, NamedSharding(ours.mesh, spec))


def sharding_of(x: Any) -> NamedSharding | None:
    """Return how an array lies on a mesh, with the devices where they are known; None where it is on none."""
    sharding = jax.typeof(x).sharding if isinstance(x, Tracer) else getattr(x, "sharding", None)
    return sharding if isinstance(sharding, NamedSharding) else None


def placed(x: jax.Array, sharding: Any) -> jax.Array:
    """Give an array a sharding of a mesh; one without axes, and None, change nothing."""
    spec = getattr(sharding, "spec", sharding)
    return jax.device_put(jnp.asarray(x), sharding) if spec is not None and any(spec) and jnp.ndim(x) else x


def fraction(name: str, value: Any, meaning: str) -> float:
    """Return a number between 0 and 1, or raise with its name and meaning."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {meaning}, between 0 and 1, not {value!r}")
    return float(value)


def above_zero(name: str, value: Any) -> float:
    """Return a number greater than 0, or raise with its name."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be a number greater than 0, not {value!r}")
    return float(value)


def axis_of(name: str, value: Any) -> int:
    """Return an axis, which may count from the end, or raise with the name of the argument."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError(f"{name} must be the number of an axis, not {value!r}")
    return int(value.__index__())


def positive(name: str, value: Any) -> int:
    """Return `value` as a positive int, or raise with its name."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 1:
        raise ValueError(f"{name} must be a positive whole number, not {value!r}")
    return int(value.__index__())


def per_axis(name: str, value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """Return one positive int per spatial axis: a single one stands for all."""
    values = list(value) if isinstance(value, (tuple, list)) else [value] * rank
    if len(values) != rank:
        raise ValueError(f"{name} must be one number or {rank} of them, one for each spatial axis, not {value!r}")
    return tuple(positive(name, v) for v in values)


def sizes(name: str, value: int | Sequence[int]) -> tuple[int, ...]:
    """Return one positive int or several as a tuple, or raise with the name."""
    values = value if isinstance(value, (tuple, list)) and value else (value,)
    return tuple(positive(name, v) for v in values)
