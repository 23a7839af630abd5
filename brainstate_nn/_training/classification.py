"""Metrics of classifiers: ``Accuracy``, ``Precision``, ``Recall``, ``F1`` and ``ConfusionMatrix``.

All of them count how often a class was predicted where another one, or the same, was the label.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from brainstate_graph.extend import assign_values, describe, locate

from .._core.arguments import as_size, is_number
from .._core.inputs import as_input
from .._core.sharded import replicated
from .exact_sums import add_to_count, count_as_float, zero_count
from .metrics import Metric, MetricState, mask_of_values

__all__ = ["F1", "Accuracy", "ConfusionMatrix", "Precision", "Recall"]

Mean = Literal["macro", "micro"] | None


class Accuracy(Metric):
    """Accuracy: the fraction of the examples whose predicted class is their label.

    Args:
        threshold: For two classes, what a logit must reach to mean True: 0.0 is a probability of 1/2. None for more
            classes, of which the one with the largest logit is meant.

    Attributes:
        right: How many are right, a MetricState of two uint32: the high word, and the low one.
        count: How many there are, likewise.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Accuracy
        >>> metric = Accuracy()
        >>> metric.update(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1]))
        >>> float(metric.compute())
        0.5
    """

    right: MetricState
    count: MetricState

    def __init__(self, threshold: float | None = None) -> None:
        self.threshold = _as_threshold(threshold)
        super().__init__()

    def initial(self) -> dict[str, jax.Array]:
        """Return counts of zero."""
        return {"right": zero_count(), "count": zero_count()}

    def update(self, logits: Any, labels: Any, *, mask: Any = None) -> None:
        """Take examples in.

        Args:
            logits: Scores of shape ``(..., classes)``, or of the shape of `labels` where there is a threshold; or
                classes, as whole numbers of the shape of `labels`.
            labels: Whole numbers, or True and False. A label that is not a class counts as wrong.
            mask: Which examples count, an array of bool for the first axes of `labels`.
        """
        predicted, labels, counted = _classes(self, logits, labels, mask, self.threshold)
        right = add_to_count(self.right.value, jnp.sum((predicted == labels) & counted, dtype=jnp.uint32))
        count = add_to_count(self.count.value, jnp.sum(counted, dtype=jnp.uint32))
        assign_values((self.right, self.count), (right, count))

    def compute(self) -> jax.Array:
        """Return the accuracy, a float32; nan before the first example."""
        return count_as_float(self.right.value) / count_as_float(self.count.value)


class _ByClass(Metric):
    """The abstract base of ratios of counts: a subclass divides them in `_ratio`.

    Attributes:
        hits: For each class how often it was predicted and is the label.
        said: How often it was predicted.
        true: How often it is the label.
    """

    hits: MetricState
    said: MetricState
    true: MetricState

    def __init__(
        self, num_classes: int | None = None, *, threshold: float | None = None, average: Mean = "macro"
    ) -> None:
        if (num_classes is None) == (threshold is None):
            raise ValueError(
                "give num_classes, or for two classes the threshold that a logit must reach to mean True: "
                f"`{type(self).__name__}(num_classes=10)` or `{type(self).__name__}(threshold=0.0)`"
            )
        if average not in ("macro", "micro", None):
            raise ValueError(f'average must be "macro", "micro" or None, not {average!r}')
        self.num_classes = 2 if num_classes is None else as_size("num_classes", num_classes)
        self.threshold = _as_threshold(threshold)
        self.average = average
        super().__init__()

    def initial(self) -> dict[str, jax.Array]:
        return {name: zero_count((self.num_classes,)) for name in ("hits", "said", "true")}

    def update(self, logits: Any, labels: Any, *, mask: Any = None) -> None:
        """Take examples in.

        Args:
            logits: Scores of shape ``(..., num_classes)``, or of the shape of `labels` where there is a threshold; or
                classes, as whole numbers of the shape of `labels`.
            labels: Whole numbers, or True and False. An example whose label is not a class is left out.
            mask: Which examples count, an array of bool for the first axes of `labels`.
        """
        predicted, labels, counted = _classes(self, logits, labels, mask, self.threshold, self.num_classes)
        # An example of no class belongs to none of the ratios.
        counted &= (labels >= 0) & (labels < self.num_classes)
        new = {
            state: add_to_count(state.value, _counts(classes, examples, self.num_classes))
            for state, classes, examples in (
                (self.hits, labels, counted & (predicted == labels)),
                (self.said, predicted, counted),
                (self.true, labels, counted),
            )
        }
        assign_values(list(new), list(new.values()))

    def compute(self) -> jax.Array:
        """Return the result, a float32, or one for each class where `average` is None; 0 where nothing is divided."""
        hits, predicted, actual = (count_as_float(state.value) for state in (self.hits, self.said, self.true))
        if self.threshold is not None:
            return self._ratio(hits[1], predicted[1], actual[1])
        if self.average == "micro":
            return self._ratio(hits.sum(), predicted.sum(), actual.sum())
        ratios = self._ratio(hits, predicted, actual)
        return ratios if self.average is None else ratios.mean()

    def _ratio(self, hits: jax.Array, predicted: jax.Array, actual: jax.Array) -> jax.Array:
        """Return the result for counts of one class, of each class, or of all together."""
        raise NotImplementedError


class Precision(_ByClass):
    """Precision: the fraction of the examples predicted as a class that have it as their label.

    Args:
        num_classes: The number of classes; None for two, with a threshold.
        threshold: For two classes, what a logit must reach to mean True: 0.0 is a probability of 1/2.
        average: ``"macro"`` for the mean over the classes, ``"micro"`` for all examples together, None for each class.

    Raises:
        ValueError: Not exactly one of `num_classes` and `threshold` is given, or an argument is something else.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Precision
        >>> metric = Precision(threshold=0.0)
        >>> metric.update(jnp.array([2.0, 1.0, -1.0]), jnp.array([True, False, True]))
        >>> float(metric.compute())
        0.5
    """

    def _ratio(self, hits: jax.Array, predicted: jax.Array, actual: jax.Array) -> jax.Array:
        return _divided(hits, predicted)


class Recall(_ByClass):
    """Recall: the fraction of the examples with a class as their label that are predicted as it.

    Args:
        num_classes: The number of classes; None for two, with a threshold.
        threshold: For two classes, what a logit must reach to mean True: 0.0 is a probability of 1/2.
        average: ``"macro"`` for the mean over the classes, ``"micro"`` for all examples together, None for each class.

    Raises:
        ValueError: Not exactly one of `num_classes` and `threshold` is given, or an argument is something else.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Recall
        >>> metric = Recall(3, average=None)
        >>> metric.update(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]))
        >>> metric.compute().tolist()
        [0.5, 1.0, 0.0]
    """

    def _ratio(self, hits: jax.Array, predicted: jax.Array, actual: jax.Array) -> jax.Array:
        return _divided(hits, actual)


class F1(_ByClass):
    """F1: the harmonic mean of precision and recall.

    Args:
        num_classes: The number of classes; None for two, with a threshold.
        threshold: For two classes, what a logit must reach to mean True: 0.0 is a probability of 1/2.
        average: ``"macro"`` for the mean over the classes, ``"micro"`` for all examples together, None for each class.

    Raises:
        ValueError: Not exactly one of `num_classes` and `threshold` is given, or an argument is something else.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import F1
        >>> metric = F1(threshold=0.0)
        >>> metric.update(jnp.array([2.0, 1.0, -1.0]), jnp.array([True, False, True]))
        >>> float(metric.compute())
        0.5
    """

    def _ratio(self, hits: jax.Array, predicted: jax.Array, actual: jax.Array) -> jax.Array:
        return _divided(2.0 * hits, predicted + actual)


class ConfusionMatrix(Metric):
    """The confusion matrix: how often each class was predicted for each label.

    Args:
        num_classes: How many classes there are.

    Attributes:
        counts: A MetricState of shape ``(num_classes, num_classes)``: a row for each label, a column for each predicted
            class; uint32, which overflows at 4,294,967,296 in one place.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import ConfusionMatrix
        >>> metric = ConfusionMatrix(2)
        >>> metric.update(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]))
        >>> metric.compute().tolist()
        [[1, 1], [0, 1]]
    """

    counts: MetricState

    def __init__(self, num_classes: int) -> None:
        self.num_classes = as_size("num_classes", num_classes)
        super().__init__()

    def initial(self) -> dict[str, jax.Array]:
        """Return counts of zero."""
        return {"counts": jnp.zeros((self.num_classes, self.num_classes), jnp.uint32)}

    def update(self, logits: Any, labels: Any, *, mask: Any = None) -> None:
        """Take examples in.

        Args:
            logits: Scores of shape ``(..., num_classes)``; or classes, as whole numbers of the shape of `labels`.
            labels: Whole numbers. An example whose label is not a class is left out.
            mask: Which examples count, an array of bool for the first axes of `labels`.
        """
        n = self.num_classes
        predicted, labels, counted = _classes(self, logits, labels, mask, None, n)
        counted &= (labels >= 0) & (labels < n) & (predicted >= 0) & (predicted < n)
        # Pairs of classes as one number, so that one scatter counts all of them.
        self.counts.value += _counts(labels * n + predicted, counted, n * n).reshape(n, n)

    def compute(self) -> jax.Array:
        """Return the counts, of shape ``(num_classes, num_classes)``; a row for each label."""
        return self.counts.value


def _as_threshold(threshold: Any) -> float | None:
    if threshold is not None and (not is_number(threshold)):
        raise TypeError(f"threshold must be a number that a logit has to reach, or None, not {threshold!r}")
    return None if threshold is None else float(threshold)


def _classes(
    metric: Metric, logits: Any, labels: Any, mask: Any, threshold: float | None, num_classes: int | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the predicted classes and the labels, both int32 of one shape, and a mask of the examples that count."""
    logits, labels = as_input(logits, metric, "logits"), as_input(labels, metric, "labels")
    if not (jnp.issubdtype(labels.dtype, jnp.integer) or labels.dtype == bool):
        raise TypeError(f"{locate(metric)} takes whole numbers for `labels`, which is {describe(labels)}")
    scores = jnp.issubdtype(logits.dtype, jnp.inexact)
    classes = scores and threshold is None
    if logits.shape[: logits.ndim - classes] != labels.shape or (classes and not logits.ndim):
        wanted = "one more axis than" if classes else "the shape of"
        raise ValueError(
            f"{locate(metric)} needs {wanted} `labels` for `logits`; they are {describe(labels)} and {describe(logits)}"
        )
    if classes and num_classes is not None and logits.shape[-1] != num_classes:
        raise ValueError(f"{locate(metric)} has {num_classes} classes, but `logits` is {describe(logits)}")
    if classes:
        logits = jnp.argmax(logits, -1)
    elif scores:
        logits = logits >= threshold
    return logits.astype(jnp.int32), labels.astype(jnp.int32), mask_of_values(mask, labels, metric)


def _counts(classes: jax.Array, counted: jax.Array, number: int) -> jax.Array:
    """Count each class among the examples that count; other numbers are dropped."""
    # What does not count, and a negative class, which would count from the end, go beyond the last one, and are
    # dropped.
    classes = jnp.where(counted & (classes >= 0), classes, number)
    # replicated, for each device has to know where all examples are added
    return jnp.zeros(number, jnp.uint32).at[replicated(classes).ravel()].add(1, mode="drop")


def _divided(part: jax.Array, whole: jax.Array) -> jax.Array:
    return jnp.where(whole > 0.0, part / jnp.maximum(whole, 1.0), 0.0)
