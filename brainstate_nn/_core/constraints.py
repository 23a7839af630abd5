"""Parameters with a constraint: what is trained is free, and a transform of it is what the model uses.

A transform is a value without arrays, equal to another one of the same numbers, so that it may be metadata of a state
and part of a GraphDef. ``Constrained`` is the state that has one. A penalty, which only discourages values, is in
`penalties`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from brainstate_graph import State
from brainstate_graph.extend import locate
from brainstate_transform import each_lane, lane_axes

from .states import ParamState

__all__ = ["Affine", "Chain", "Clip", "Constrained", "Exp", "Sigmoid", "Simplex", "Softplus", "Transform"]


class Transform:
    """The base of transforms: `forward` from free numbers to those that are allowed, and `inverse` back.

    A subclass is a frozen dataclass of numbers. It can be called, for `forward`.

    Example:
        >>> from dataclasses import dataclass
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Constrained, Transform
        >>> @dataclass(frozen=True)
        ... class Cube(Transform):
        ...     def forward(self, x):
        ...         return x**3
        ...
        ...     def inverse(self, y):
        ...         return jnp.cbrt(y)
        >>> float(Constrained(jnp.array(8.0), Cube()).value)
        2.0
    """

    def forward(self, x: jax.Array) -> jax.Array:
        """Map free numbers to allowed ones."""
        raise NotImplementedError(f"{type(self).__name__} needs `def forward(self, x): ...`")

    def inverse(self, y: jax.Array) -> jax.Array:
        """Map allowed numbers to free ones; not finite where a number is not allowed."""
        raise NotImplementedError(f"{type(self).__name__} needs `def inverse(self, y): ...`")

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return ``forward(x)``."""
        return self.forward(x)


@dataclass(frozen=True)
class Softplus(Transform):
    """Numbers above 0: ``log(1 + exp(x))``, almost linear above 1, and never less than the smallest of the dtype.

    Example:
        >>> from brainstate_nn import Softplus
        >>> round(float(Softplus().forward(0.0)), 4)
        0.6931
    """

    def forward(self, x: jax.Array) -> jax.Array:
        """Return ``log(1 + exp(x))``, which in float32 would be 0 below -88."""
        return jnp.maximum(jax.nn.softplus(x), float(_finfo(x).tiny))

    def inverse(self, y: jax.Array) -> jax.Array:
        """Return ``log(exp(y) - 1)``, without overflow."""
        # exp(y) is infinite in float32 from 89 on.
        return y + jnp.log(-jnp.expm1(-y))


@dataclass(frozen=True)
class Exp(Transform):
    """Numbers above 0: ``exp(x)``, held between the smallest and the largest number of the dtype.

    Example:
        >>> from brainstate_nn import Exp
        >>> float(Exp().forward(0.0)), float(Exp().inverse(1.0))
        (1.0, 0.0)
    """

    def forward(self, x: jax.Array) -> jax.Array:
        """Return ``exp(x)``; where that would be 0 or infinite, its gradient is 0."""
        limits = _finfo(x)
        return jnp.exp(jnp.clip(x, _inside(math.log(float(limits.tiny))), _inside(math.log(float(limits.max)))))

    def inverse(self, y: jax.Array) -> jax.Array:
        """Return ``log(y)``."""
        return jnp.log(y)


@dataclass(frozen=True)
class Sigmoid(Transform):
    """Numbers between two bounds: ``low + (high - low) / (1 + exp(-x))``.

    Args:
        low: The lower bound.
        high: The upper bound.

    Raises:
        ValueError: They are not finite and in this order.

    Example:
        >>> from brainstate_nn import Sigmoid
        >>> float(Sigmoid(-1.0, 3.0).forward(0.0))
        1.0
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        _in_order(self, -math.inf < self.low < self.high < math.inf)

    def forward(self, x: jax.Array) -> jax.Array:
        """Return ``low + (high - low) / (1 + exp(-x))``."""
        # Rounding may lead beyond a bound, where the inverse is not finite.
        return jnp.clip(self.low + (self.high - self.low) * jax.nn.sigmoid(x), self.low, self.high)

    def inverse(self, y: jax.Array) -> jax.Array:
        """Return ``log(y - low) - log(high - y)``."""
        return jnp.log(y - self.low) - jnp.log(self.high - y)


@dataclass(frozen=True)
class Affine(Transform):
    """``scale * x + shift``: no constraint by itself, but a part of a Chain.

    Args:
        scale: The factor; not 0.
        shift: What is added.

    Raises:
        ValueError: They are not finite, or `scale` is 0.

    Example:
        >>> from brainstate_nn import Affine
        >>> Affine(2.0, 1.0).forward(3.0), Affine(2.0, 1.0).inverse(7.0)
        (7.0, 3.0)
    """

    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and math.isfinite(self.shift) and self.scale):
            raise ValueError(f"Affine needs finite numbers and a scale that is not 0, not {self}")

    def forward(self, x: jax.Array) -> jax.Array:
        """Return ``scale * x + shift``."""
        return self.scale * x + self.shift

    def inverse(self, y: jax.Array) -> jax.Array:
        """Return ``(y - shift) / scale``."""
        return (y - self.shift) / self.scale


@dataclass(frozen=True)
class Clip(Transform):
    """Numbers between two bounds, cut off: beyond a bound the gradient is 0, so that a parameter stays there.

    Args:
        low: The lower bound; may be ``-math.inf``.
        high: The upper bound; may be ``math.inf``.

    Raises:
        ValueError: They are not in this order.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Clip
        >>> Clip(0.0, 1.0).forward(jnp.array([-2.0, 0.5, 2.0])).tolist()
        [0.0, 0.5, 1.0]
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        _in_order(self, self.low < self.high)

    def forward(self, x: jax.Array) -> jax.Array:
        """Return the bound that is nearest to each `x`, or `x`."""
        return jnp.clip(x, self.low, self.high)

    def inverse(self, y: jax.Array) -> jax.Array:
        """Return `y`; nan beyond the bounds."""
        return jnp.where((self.low <= y) & (y <= self.high), y, jnp.nan)


@dataclass(frozen=True)
class Simplex(Transform):
    """Numbers above 0 that add up to 1 along the last axis: the softmax.

    It has one direction more than the simplex: the same number added to all changes nothing, and has no gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Simplex
        >>> Simplex().forward(jnp.zeros(4)).tolist()
        [0.25, 0.25, 0.25, 0.25]
    """

    def forward(self, x: jax.Array) -> jax.Array:
        """Return ``exp(x) / sum(exp(x))``."""
        return jax.nn.softmax(x, -1)

    def inverse(self, y: jax.Array) -> jax.Array:
        """Return ``log(y)`` with mean 0; nan where `y` does not add up to 1 within a hundredth."""
        x = jnp.log(y)
        x = x - jnp.mean(x, -1, keepdims=True)
        return jnp.where(jnp.abs(jnp.sum(y, -1, keepdims=True) - 1.0) < 0.01, x, jnp.nan)


@dataclass(frozen=True, init=False, repr=False)
class Chain(Transform):
    """Several transforms, the first one first.

    Args:
        *transforms: The transforms.

    Raises:
        TypeError: One of them is not a Transform.

    Example:
        >>> from brainstate_nn import Affine, Chain, Softplus
        >>> above_one = Chain(Softplus(), Affine(1.0, 1.0))
        >>> round(float(above_one.forward(0.0)), 4)
        1.6931
    """

    transforms: tuple[Transform, ...]

    def __init__(self, *transforms: Transform) -> None:
        for transform in transforms:
            _check_transform(transform)
        # A frozen dataclass, so that it compares and hashes by its parts.
        object.__setattr__(self, "transforms", transforms)

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.transforms))})"

    def forward(self, x: jax.Array) -> jax.Array:
        """Apply all, the first one first."""
        return reduce(lambda x, transform: transform.forward(x), self.transforms, x)

    def inverse(self, y: jax.Array) -> jax.Array:
        """Undo all, the last one first."""
        return reduce(lambda y, transform: transform.inverse(y), reversed(self.transforms), y)


class Constrained(ParamState):
    """A parameter whose values are those of a transform.

    `value` is the free array: what gradients, optimisers, averages and checkpoints are about. `constrained` is what the
    model is to use. So a layer that reads `value`, as those of this package do, does not apply the constraint. It is
    one of each layer of a Stack, and of each member of an ensemble.

    Args:
        value: The first constrained value, an array of floats.
        transform: The transform, which is metadata of the state.
        name: A name that travels with the state.
        tag: A tag or several, for filters.
        **metadata: Anything hashable to travel with the state.

    Raises:
        TypeError: `transform` is not a Transform.
        ValueError: No free array gives this value.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Constrained, Softplus
        >>> scale = Constrained(jnp.array([1.0, 2.0]), Softplus())
        >>> scale.value = scale.value - 10.0
        >>> bool((scale.constrained > 0).all())
        True
        >>> scale.constrained = jnp.array([3.0, 4.0])
        >>> scale
        Constrained(f32[2], transform=Softplus())
    """

    __slots__ = ()

    def __init__(
        self,
        value: Any,
        transform: Transform,
        name: str | None = None,
        *,
        tag: str | Iterable[str] | None = None,
        **metadata: Any,
    ) -> None:
        _check_transform(transform)
        free = _free(transform, value.value if isinstance(value, State) else value, "a Constrained")
        super().__init__(free, name, tag=tag, transform=transform, **metadata)

    @property
    def transform(self) -> Transform:
        """The transform from `value` to `constrained`."""
        return self.metadata["transform"]

    @property
    def constrained(self) -> jax.Array:
        """The constrained array, computed from `value`; assigned, it gives `value` the inverse."""
        return each_lane(self.transform.forward, lane_axes(self))(self.value)

    @constrained.setter
    def constrained(self, new: Any) -> None:
        self.value = _free(self.transform, new, self)


def _free(transform: Transform, value: Any, state: Any) -> jax.Array:
    y = jnp.asarray(value)
    if not jnp.issubdtype(y.dtype, jnp.floating):
        y = y.astype(jnp.float32)
    of_lanes = isinstance(state, State) and y.ndim == jnp.ndim(state.value)
    x = each_lane(transform.inverse, lane_axes(state) if of_lanes else ())(y)
    # the values are not known under a trace, where nothing can be refused
    if not isinstance(x, Tracer) and not bool(jnp.all(jnp.isfinite(x))):
        who = locate(state) if isinstance(state, State) else state
        raise ValueError(f"{who} with {transform} cannot hold {_example_of_refused(y, x)}")
    return x


def _example_of_refused(y: jax.Array, x: jax.Array) -> str:
    """Spell one of the numbers that are not allowed."""
    bad = y.ravel()[jnp.argmin(jnp.isfinite(x).ravel())]
    return f"{float(bad):g}" if y.ndim else f"{float(y):g}"


def _check_transform(transform: Any) -> None:
    if not isinstance(transform, Transform):
        raise TypeError(f"transform must be a Transform, not {type(transform).__name__}: write `Softplus()`")


def _in_order(transform: Any, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{type(transform).__name__} needs low below high, not {transform.low} and {transform.high}")


def _finfo(x: Any) -> Any:
    return jnp.finfo(jnp.result_type(float, x))


def _inside(limit: float) -> float:
    """Return a bound a little nearer to 0, so that the exponential rounds to neither infinity nor 0: 87.9 for 88."""
    return limit * (1.0 - 1e-3)
