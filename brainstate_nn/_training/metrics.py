"""Metrics: results that are gathered over many batches, in states of their own.

So an evaluation step may be compiled, mapped and saved like any function of a model. ``Metric`` is the base for your
own metrics; those of classifiers are in `classification`.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from brainstate_graph import Node, Overlay
from brainstate_graph.extend import assign_values, describe, locate, write_values

from .._core.inputs import as_input, as_mask
from .._core.sharded import mask_like
from .._core.states import LongTermState
from .exact_sums import add_to_count, add_to_sum, count_as_float, sum_as_float, zero_count, zero_sum

__all__ = ["Average", "Metric", "MetricState", "MultiMetric", "Statistics", "Welford", "mask_of_values"]


class MetricState(LongTermState):
    """A state of a metric, with what that has gathered so far.

    Example:
        >>> from brainstate_graph import states
        >>> from brainstate_nn import Average, MetricState
        >>> list(states(Average(), MetricState))
        [('count',), ('total',)]
    """

    __slots__ = ()


class Metric(Node):
    """The base of metrics: `update` with each batch, `compute` the result, `reset` to begin again.

    A subclass defines `initial`, which names its states and gives them their first values, `update` and `compute`. It
    sets its own attributes before ``super().__init__()``, which makes the states.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Metric
        >>> class Largest(Metric):
        ...     def initial(self):
        ...         return {"largest": jnp.float32(-jnp.inf)}
        ...
        ...     def update(self, values):
        ...         self.largest.value = jnp.maximum(self.largest.value, values.max())
        ...
        ...     def compute(self):
        ...         return self.largest.value
        >>> metric = Largest()
        >>> metric.update(jnp.array([1.0, 3.0, 2.0]))
        >>> float(metric.compute())
        3.0
    """

    def __init__(self) -> None:
        for name, value in self.initial().items():
            setattr(self, name, MetricState(value))

    def initial(self) -> dict[str, jax.Array]:
        """Return the first value of each state by its name."""
        raise NotImplementedError(f"{type(self).__name__} needs `def initial(self): ...`, the first values by name")

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take a batch in."""
        raise NotImplementedError(f"{type(self).__name__} needs `def update(self, ...): ...`")

    def compute(self) -> Any:
        """Return the result for all that was taken in."""
        raise NotImplementedError(f"{type(self).__name__} needs `def compute(self): ...`")

    def reset(self) -> None:
        """Forget what was taken in."""
        initial = self.initial()
        assign_values([getattr(self, name) for name in initial], list(initial.values()))

    def arguments(self) -> dict[str, bool]:
        """Return the names of the arguments of `update`, and whether it needs each."""
        found = inspect.signature(self.update).parameters.values()
        return {p.name: p.default is p.empty for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


class _OfNumbers(Metric):
    """The abstract base of metrics of one array, which has a name of its own in a MultiMetric."""

    def __init__(self, argname: str = "values") -> None:
        if not isinstance(argname, str) or not argname.isidentifier() or argname == "mask":
            raise ValueError(f"argname must be the name of an argument, not {argname!r}")
        self.argname = argname
        super().__init__()

    def arguments(self) -> dict[str, bool]:
        return {self.argname: True, "mask": False}

    def _taken(self, args: tuple[Any, ...], named: dict[str, Any], mask: Any) -> tuple[jax.Array, jax.Array]:
        """Return the values in float32, and which of them count."""
        if len(args) + len(named) != 1 or (named and self.argname not in named):
            raise TypeError(f"{locate(self)} takes one array: write `update({self.argname}=...)`")
        values = as_input(args[0] if args else named[self.argname], self, self.argname)
        return values.astype(jnp.float32), mask_of_values(mask, values, self)


class Average(_OfNumbers):
    """The mean of all values.

    Args:
        argname: The name of the argument of `update`, so that a MultiMetric may hold several.

    Attributes:
        total: The sum, a MetricState of two float32: the sum, and what that has lost by rounding.
        count: The number of values, a MetricState of two uint32: the high word, and the low one.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Average
        >>> metric = Average()
        >>> metric.update(jnp.array([1.0, 2.0, 3.0]))
        >>> metric.update(jnp.array([4.0, 99.0]), mask=jnp.array([True, False]))
        >>> float(metric.compute())
        2.5
    """

    total: MetricState
    count: MetricState

    def initial(self) -> dict[str, jax.Array]:
        """Return a sum and a count of zero."""
        return {"total": zero_sum(), "count": zero_count()}

    def update(self, *args: Any, mask: Any = None, **named: Any) -> None:
        """Take values in.

        Args:
            *args: A number, or an array of any shape and dtype; by position, or under the name `argname`.
            mask: Which values count, an array of bool: for each value, or for each entry along the first axes.
            **named: See `args`.
        """
        values, counted = self._taken(args, named, mask)
        total = add_to_sum(self.total.value, jnp.sum(jnp.where(counted, values, 0.0)))
        count = add_to_count(self.count.value, jnp.sum(counted, dtype=jnp.uint32))
        assign_values((self.total, self.count), (total, count))

    def compute(self) -> jax.Array:
        """Return the mean, a float32; nan before the first value."""
        return sum_as_float(self.total.value) / count_as_float(self.count.value)


class Statistics(NamedTuple):
    """Mean, standard deviation, and standard error of the mean.

    Example:
        >>> from brainstate_nn import Statistics
        >>> Statistics(0.0, 1.0, 0.1).sem
        0.1
    """

    mean: jax.Array
    std: jax.Array
    sem: jax.Array


class Welford(_OfNumbers):
    """The mean and the spread of all values, gathered so that nothing cancels (Chan, Golub and LeVeque, 1983).

    Args:
        argname: The name of the argument of `update`, so that a MultiMetric may hold several.

    Attributes:
        mean: The mean, a MetricState of float32.
        squares: The sum of the squared distances from the mean, a MetricState of float32.
        count: The number of values, a MetricState of two uint32: the high word, and the low one.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Welford
        >>> metric = Welford()
        >>> metric.update(jnp.array([1.0, 3.0]))
        >>> metric.update(jnp.array([1.0, 3.0]))
        >>> [float(v) for v in metric.compute()]
        [2.0, 1.0, 0.5]
    """

    mean: MetricState
    squares: MetricState
    count: MetricState

    def initial(self) -> dict[str, jax.Array]:
        """Return mean, squares and count of zero."""
        return {"mean": jnp.float32(0.0), "squares": jnp.float32(0.0), "count": zero_count()}

    def update(self, *args: Any, mask: Any = None, **named: Any) -> None:
        """Take values in.

        Args:
            *args: A number, or an array of any shape and dtype; by position, or under the name `argname`.
            mask: Which values count, an array of bool: for each value, or for each entry along the first axes.
            **named: See `args`.
        """
        values, counted = self._taken(args, named, mask)
        number = jnp.sum(counted, dtype=jnp.uint32)
        before, more = count_as_float(self.count.value), number.astype(jnp.float32)
        # Batch and past are two samples, whose means and squares are merged.
        mean = jnp.sum(jnp.where(counted, values, 0.0)) / jnp.maximum(more, 1.0)
        squares = jnp.sum(jnp.where(counted, jnp.square(values - mean), 0.0))
        share = more / jnp.maximum(before + more, 1.0)
        step = jnp.where(more > 0.0, mean - self.mean.value, 0.0)
        moved = self.mean.value + step * share
        spread = self.squares.value + (squares + jnp.square(step) * before * share)
        count = add_to_count(self.count.value, number)
        assign_values((self.mean, self.squares, self.count), (moved, spread, count))

    def compute(self) -> Statistics:
        """Return `Statistics` of float32, with the spread of the values themselves (divided by their number)."""
        count = count_as_float(self.count.value)
        std = jnp.sqrt(self.squares.value / count)
        return Statistics(jnp.where(count > 0.0, self.mean.value, jnp.nan), std, std / jnp.sqrt(count))


class MultiMetric(Metric):
    """Several metrics by name, updated together.

    Args:
        **metrics: The metrics.

    Raises:
        TypeError: One of them is not a metric.
        ValueError: A name is that of a method.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Accuracy, Average, MultiMetric
        >>> metrics = MultiMetric(loss=Average("loss"), accuracy=Accuracy())
        >>> metrics.update(loss=jnp.float32(0.5), logits=jnp.array([[0.0, 1.0]]), labels=jnp.array([1]))
        >>> {name: float(value) for name, value in metrics.compute().items()}
        {'loss': 0.5, 'accuracy': 1.0}
    """

    def __init__(self, **metrics: Metric) -> None:
        for name, metric in metrics.items():
            if not isinstance(metric, Metric):
                raise TypeError(f"{name} must be a metric, not {type(metric).__name__}: write `{name}=Average()`")
            if hasattr(type(self), name) or name == "names":
                raise ValueError(
                    f"a metric cannot be named {name!r}, because MultiMetric has an attribute of this name"
                )
            setattr(self, name, metric)
        self.names = tuple(metrics)
        super().__init__()

    def initial(self) -> dict[str, jax.Array]:
        """Return no states: those of the metrics are theirs."""
        return {}

    def update(self, **named: Any) -> None:
        """Give each metric those arguments that it takes; all metrics or, after an error, none.

        Args:
            **named: What the metrics take, such as `values`, `logits` and `labels`. A `mask` goes to all that take one;
                or it is a dict of masks by the names of metrics, of which the others get none.

        Raises:
            TypeError: One of them takes what is not given, or none takes what is given.
            ValueError: `mask` names a metric that there is not.
        """
        wanted = {name: getattr(self, name).arguments() for name in self.names}
        for name, arguments in wanted.items():
            missing = [argument for argument, needed in arguments.items() if needed and argument not in named]
            if missing:
                raise TypeError(f"{locate(self)} needs `{missing[0]}` for its metric {name}")
        unknown = set(named).difference(*wanted.values())
        if unknown:
            raise TypeError(f"{locate(self)} holds no metric that takes `{min(unknown)}`")
        masks = self._masks(named.pop("mask"), wanted) if isinstance(named.get("mask"), dict) else {}
        # Written at the end, so that an error in one metric leaves all as they were.
        overlay = Overlay()
        try:
            with overlay:
                for name, arguments in wanted.items():
                    own = {k: v for k, v in named.items() if k in arguments}
                    getattr(self, name).update(**own, **({"mask": masks[name]} if name in masks else {}))
        except BaseException:
            overlay.close(failed=True)  # a signal may have cut its end short
            raise
        written = overlay.written()
        write_values([state for state, _ in written], [value for _, value in written])

    def _masks(self, masks: dict[str, Any], wanted: dict[str, dict[str, bool]]) -> dict[str, Any]:
        """Return the masks by the names of metrics that take one."""
        for name in masks:
            if name not in wanted:
                raise ValueError(f"{locate(self)} holds no metric {name!r} for its mask; it has {', '.join(wanted)}")
            if "mask" not in wanted[name]:
                raise TypeError(f"{locate(self)} got a mask for its metric {name}, which takes no mask")
        return masks

    def compute(self) -> dict[str, Any]:
        """Return the results by name."""
        return {name: getattr(self, name).compute() for name in self.names}

    def reset(self) -> None:
        """Reset all metrics."""
        for name in self.names:
            getattr(self, name).reset()


def mask_of_values(mask: Any, values: jax.Array, metric: Metric) -> jax.Array:
    """Return which values count, in their shape, or raise with the path of the metric.

    A mask of fewer axes is for the first ones. Broadcasting would use it along the last ones, silently where the batch
    is as long as the sequence.
    """
    if mask is None:
        return mask_like(jnp.ones(values.shape, bool), values)
    mask = as_mask(mask, metric)
    if mask.shape != values.shape[: mask.ndim]:
        raise ValueError(
            f"{locate(metric)} takes a `mask` for the first axes of shape {values.shape}, not {describe(mask)}"
        )
    mask = jnp.expand_dims(mask, tuple(range(mask.ndim, values.ndim)))
    return mask_like(mask & jnp.ones(values.shape, bool), values)
