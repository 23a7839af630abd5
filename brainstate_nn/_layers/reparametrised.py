"""``SpectralNorm`` and ``WeightNorm``: a layer that runs with weights computed from those that it keeps.

The layer itself is wrapped and stays as it is: while it is called, its weights have other values in an overlay. For a
parameter that is computed in every use, by whatever layer, see `Constrained`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import GraphError, Node, Overlay, State, states
from brainstate_graph.extend import describe, locate, write_values
from brainstate_transform import each_lane, in_lanes, lane_axes

from .._core.arguments import as_axis, as_positive, as_size
from .._core.inputs import at_least_float32, squared_magnitude, wide_dtype
from .._core.module import Module, signature_of
from .._core.paths import dotted_names
from .._core.random import Rng, stream_of
from .._core.sharded import resharded_like
from .._core.states import BatchState, ParamState

__all__ = ["SpectralNorm", "WeightNorm"]


class _Signature:
    """The signature of a wrapper as an attribute, where `inspect` looks for it.

    A wrapper takes what its layer takes, so that `Sequential` passes it only arguments that the layer has.
    """

    def __get__(self, wrapper: Any, owner: type) -> inspect.Signature | None:
        return None if wrapper is None else wrapper._signature()


class _Reparametrised(Module):
    """The abstract base of both: while the layer is called, some of its parameters have other values.

    These are in an overlay of this thread, so that nothing is ever assigned to the parameters and nothing has to be put
    back. A subclass defines the call and `_signature`.
    """

    layer: Module
    names: tuple[str, ...]
    __signature__ = _Signature()

    def _signature(self) -> inspect.Signature:
        """Return the signature of the call."""
        raise NotImplementedError

    def _wrap(self, layer: Module, names: str | Sequence[str]) -> list[State[Any]]:
        """Set the attributes, and return the states of these names."""
        if not isinstance(layer, Node) or not callable(layer):
            raise TypeError(
                f"layer must be a Module, not {type(layer).__name__}: write `{type(self).__name__}(Linear(2, 3))`"
            )
        found = states(layer)
        by_name = dict(zip(dotted_names(list(found)), found.values(), strict=True))
        self.layer = layer
        self.names = (names,) if isinstance(names, str) else tuple(names)
        for name in self.names:
            if name not in by_name:
                raise ValueError(
                    f"names: {type(layer).__name__} has no state {name!r}; it has {', '.join(by_name) or 'none'}"
                )
        chosen = [by_name[name] for name in self.names]
        if not chosen or len(set(chosen)) < len(chosen):
            raise ValueError(f"names must name at least one State of the layer, and each once, not {names!r}")
        return chosen

    def _raw(self) -> list[State[Any]]:
        """Return the states whose values are replaced."""
        return [reduce(_part_of, name.split("."), self.layer) for name in self.names]

    def _call(
        self,
        raw: Sequence[State[Any]],
        values: Sequence[Any],
        args: Any,
        kwargs: Any,
        new: dict[State[Any], Any] | None = None,
    ) -> Any:
        """Call the layer with these values in place of its own.

        Args:
            raw: The states whose values are replaced.
            values: The values.
            args: What the layer is called with.
            kwargs: The same by name.
            new: Values of other states, which are assigned when the call has ended, together with what the layer writes
                besides: all of them or none.
        """
        overlay = Overlay()
        try:
            with overlay:
                overlay.bind(raw, values)
                out = self.layer(*args, **kwargs)
                # A layer that assigns its own weight would write into the overlay, where the value is lost.
                for state in raw:
                    if state in overlay.writes:
                        raise GraphError(
                            f"{locate(state)} was assigned during the call of {locate(self)}, which computes it: "
                            "assign it outside of the call"
                        )
                for state, value in (new or {}).items():
                    state.value = value
        except BaseException:
            overlay.close(failed=True)  # a signal may have cut its end short
            raise
        # Also the states that the layer made in its call, which would be gone with the overlay.
        written = [*overlay.written(), *overlay.made()]
        write_values([state for state, _ in written], [value for _, value in written])
        return out


def _part_of(holder: Any, step: str) -> Any:
    if isinstance(holder, (list, tuple)):
        return holder[int(step)]
    return holder[step] if isinstance(holder, dict) else getattr(holder, step)


def _sum_of_squares(x: jax.Array, axes: Any) -> jax.Array:
    return jnp.sum(squared_magnitude(x), axes, keepdims=True)


_TRAINING = inspect.Parameter("training", inspect.Parameter.KEYWORD_ONLY, default=None)


def _takes_training(signature: inspect.Signature) -> bool:
    found = signature.parameters
    return "training" in found or any(p.kind is p.VAR_KEYWORD for p in found.values())


class SpectralNorm(_Reparametrised):
    """A layer whose weights are divided by their greatest singular value (Miyato et al., arXiv:1802.05957).

    The singular value is estimated by power iteration from a vector that is kept: in training each call moves it on,
    so that a few calls make the estimate good. A weight with more than two axes counts as a matrix with the last axis
    as its columns. The layer keeps its own weight, which is what is trained; others that share it see it as it is.

    Args:
        layer: The layer.
        n_steps: The number of steps of the power iteration in each call.
        epsilon: Added to the square of a length before it divides.
        names: The names of the weights in the layer, with dots where they are deeper.
        rng: The stream that gives the first vectors, or streams with `params`; None for the default one.

    Attributes:
        layer: The layer.
        u: For each name a BatchState of shape ``(columns,)``, float32: the right singular vector so far.

    Raises:
        TypeError: The layer is not a Module.
        ValueError: A name is not that of a state with two axes or more, or a number is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Linear, SpectralNorm
        >>> norm = SpectralNorm(Linear(4, 4, w_init=lambda key, shape, dtype: 5.0 * jnp.eye(4)))
        >>> norm(jnp.ones(4)).round(3).tolist(), norm.layer.weight.value.max().tolist()
        ([1.0, 1.0, 1.0, 1.0], 5.0)
    """

    def __init__(
        self,
        layer: Module,
        *,
        n_steps: int = 1,
        epsilon: float = 1e-12,
        names: str | Sequence[str] = ("weight",),
        rng: Rng = None,
    ) -> None:
        chosen = self._wrap(layer, names)
        self.n_steps = as_size("n_steps", n_steps)
        self.epsilon = as_positive("epsilon", epsilon)
        self.u: dict[str, BatchState] = {}
        # A weight of an ensemble, or of the layers of a Stack, is one matrix in each lane.
        in_lanes(lambda: self._start(chosen, rng), chosen)

    def _start(self, chosen: list[State[Any]], rng: Rng) -> None:
        """Draw the first vectors."""
        vectors: dict[str, BatchState] = {}
        for name, state in zip(self.names, chosen, strict=True):
            if jnp.ndim(state.value) < 2:
                raise ValueError(
                    f"names: SpectralNorm needs weights of two axes or more, but {name!r} is {describe(state.value)}"
                )
            dtype = wide_dtype(state.value.dtype)
            u = jax.random.normal(stream_of(rng, "params").split_key(), state.value.shape[-1:], dtype)
            vectors[name] = BatchState(u / jnp.linalg.norm(u))
        self.u = vectors

    def __call__(self, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        """Call the layer.

        Args:
            *args: What the layer takes.
            training: Overrides the attribute `training` for this call, also for the layer where it takes this.
            **kwargs: What the layer takes.

        Returns:
            What the layer returns.
        """
        raw = self._raw()
        found = [self._of_lanes(state, self.u[name]) for name, state in zip(self.names, raw, strict=True)]
        if training is not None and _takes_training(signature_of(self.layer)):
            kwargs["training"] = training
        vectors: dict[State[Any], Any] = {self.u[name]: u for name, (_, u) in zip(self.names, found, strict=True)}
        keep = self.training if training is None else training
        return self._call(raw, [value for value, _ in found], args, kwargs, vectors if keep else None)

    def _signature(self) -> inspect.Signature:
        found = signature_of(self.layer)
        if _takes_training(found):
            return found
        return found.replace(parameters=[*found.parameters.values(), _TRAINING])

    def _of_lanes(self, weight: State[Any], u: State[Any]) -> tuple[jax.Array, jax.Array]:
        axes = lane_axes(weight), lane_axes(u)
        return each_lane(self._estimate, *axes, out=axes)(weight.value, u.value)

    def _estimate(self, weight: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the weight divided by its greatest singular value, and the vector moved on."""
        # Products and sums by hand: `jnp.dot` rounds to 8 bits on some devices, and asks for the sharding of its result
        # where the weight is sharded.
        matrix = at_least_float32(weight).reshape((-1, weight.shape[-1]))
        # The vectors are constants to the gradient, as in the paper: only sigma depends on the weight.
        fixed, right = jax.lax.stop_gradient(matrix), jax.lax.stop_gradient(u)[None]
        left = right
        for _ in range(self.n_steps):
            left = self._unit(jnp.sum(fixed * right, 1, keepdims=True))
            right = self._unit(jnp.sum(fixed.conj() * left, 0, keepdims=True))
        sigma = jnp.sum((left.conj() * matrix * right).real)
        # A weight of zeros would make the vector zero for good, so it stays as it was.
        right = jnp.where(sigma != 0, resharded_like(right[0], u), u)
        sigma = jnp.where(sigma != 0, sigma, jnp.ones_like(sigma))
        return (matrix / sigma).reshape(weight.shape).astype(weight.dtype), right.astype(u.dtype)

    def _unit(self, vector: jax.Array) -> jax.Array:
        return vector * jax.lax.rsqrt(_sum_of_squares(vector, None) + self.epsilon)


class WeightNorm(_Reparametrised):
    """A layer whose weights have lengths that are parameters of their own (Salimans and Kingma, arXiv:1602.07868).

    It is run with ``scale * weight / |weight|``. The first scale is the length of the weight, so that the wrapped layer
    computes at first what it computed before (flax begins with 1). The layer keeps its own weight, of which only the
    direction counts; others that share it see it as it is.

    Args:
        layer: The layer.
        names: The names of the weights in the layer, with dots where they are deeper.
        axis: The axis along which there is one length for each element, of the features in the layers of this package;
            None for a single length of the whole weight.
        epsilon: Added to the square of the length before it divides.
        use_scale: Whether there is a scale; otherwise all lengths are 1.

    Attributes:
        layer: The layer.
        scale: For each name a ParamState of shape ``(size of the axis,)``, or ``()``; None without `use_scale`.

    Raises:
        TypeError: The layer is not a Module.
        ValueError: A name is not that of a state with such an axis and others, or `epsilon` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Linear, WeightNorm
        >>> norm = WeightNorm(Linear(2, 1, w_init=lambda key, shape, dtype: jnp.array([[3.0], [4.0]])))
        >>> norm.scale["weight"].value.tolist()
        [5.0]
        >>> norm.scale["weight"].value = jnp.ones(1)
        >>> round(float(norm(jnp.ones(2))[0]), 3)
        1.4
    """

    def __init__(
        self,
        layer: Module,
        *,
        names: str | Sequence[str] = ("weight",),
        axis: int | None = -1,
        epsilon: float = 1e-12,
        use_scale: bool = True,
    ) -> None:
        chosen = self._wrap(layer, names)
        self.axis = None if axis is None else as_axis("axis", axis)
        self.epsilon = as_positive("epsilon", epsilon)
        self.scale: dict[str, ParamState] | None = {} if use_scale else None
        # A weight of an ensemble, or of the layers of a Stack, has its lengths in each lane.
        in_lanes(lambda: self._start(chosen), chosen)

    def _start(self, chosen: list[State[Any]]) -> None:
        """Take the first lengths."""
        lengths: dict[str, ParamState] = {}
        for name, state in zip(self.names, chosen, strict=True):
            value = state.value
            if self.axis is not None and (jnp.ndim(value) < 2 or not -value.ndim <= self.axis < value.ndim):
                raise ValueError(
                    f"axis={self.axis} must be one of at least two axes of {name!r}, which is {describe(value)}: write "
                    "`axis=None` for one length of the whole"
                )
            # So that the wrapped layer computes at first what it did alone.
            length = jnp.sqrt(_sum_of_squares(at_least_float32(value), self._others(value)))
            shape = () if self.axis is None else (value.shape[self.axis],)
            lengths[name] = ParamState(length.reshape(shape).astype(value.dtype))
        self.scale = None if self.scale is None else lengths

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer.

        Args:
            *args: What the layer takes.
            **kwargs: What the layer takes.

        Returns:
            What the layer returns.
        """
        raw = self._raw()
        values = [self._of_lanes(name, state) for name, state in zip(self.names, raw, strict=True)]
        return self._call(raw, values, args, kwargs)

    def _signature(self) -> inspect.Signature:
        return signature_of(self.layer)

    def _others(self, weight: jax.Array) -> tuple[int, ...]:
        """Return the axes over which one length is taken."""
        kept = None if self.axis is None else self.axis % weight.ndim
        return tuple(i for i in range(weight.ndim) if i != kept)

    def _of_lanes(self, name: str, weight: State[Any]) -> jax.Array:
        if self.scale is None:
            return each_lane(self._scaled, lane_axes(weight))(weight.value)
        scale = self.scale[name]
        return each_lane(self._scaled, lane_axes(weight), lane_axes(scale))(weight.value, scale.value)

    def _scaled(self, weight: jax.Array, scale: jax.Array | None = None) -> jax.Array:
        wide = at_least_float32(weight)
        squares = _sum_of_squares(wide, self._others(weight))
        factor = jax.lax.rsqrt(squares + self.epsilon)
        if scale is not None:
            factor = factor * at_least_float32(scale).reshape(squares.shape)
        return (wide * factor).astype(weight.dtype)
