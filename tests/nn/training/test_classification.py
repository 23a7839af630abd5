from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sklearn import metrics as theirs

import brainstate_nn as nn
from brainstate_graph import treefy_states
from brainstate_transform import for_loop, jit
from tests.tables import each

CLASSES = 5


def batches(n=3, size=40, dtype=jnp.float32):
    """Logits, labels and masks; the last class never comes, and one is never said."""
    for i in range(n):
        a, b, c = jax.random.split(jax.random.key(i), 3)
        logits = jax.random.normal(a, (size, CLASSES)).at[:, 2].add(-9.0).astype(dtype)
        yield logits, jax.random.randint(b, (size,), 0, CLASSES - 1), jax.random.bernoulli(c, 0.7, (size,))


def all_of(masked, threshold=None):
    said, true = [], []
    for logits, labels, mask in batches():
        logits, labels, mask = map(np.asarray, (logits, labels, mask))
        keep = mask if masked else slice(None)
        said.append((logits.argmax(-1) if threshold is None else logits[:, 0] >= threshold)[keep])
        true.append((labels if threshold is None else labels > 1)[keep])
    return np.concatenate(true), np.concatenate(said)


def gather(metric, masked, threshold=None):
    update = jit(lambda *args, **kwargs: metric.update(*args, **kwargs))
    for logits, labels, mask in batches():
        if threshold is not None:
            logits, labels = logits[:, 0], labels > 1
        update(logits, labels, **({"mask": mask} if masked else {}))
    return metric.compute()


@pytest.mark.parametrize("masked", [False, True])
def test_more_classes_as_scikit_learn(masked):
    true, said = all_of(masked)
    np.testing.assert_allclose(gather(nn.Accuracy(), masked), theirs.accuracy_score(true, said), rtol=1e-6)
    table = gather(nn.ConfusionMatrix(CLASSES), masked)
    np.testing.assert_array_equal(table, theirs.confusion_matrix(true, said, labels=range(CLASSES)))
    for average in ("macro", "micro", None):
        for kind, score in (
            (nn.Precision, theirs.precision_score),
            (nn.Recall, theirs.recall_score),
            (nn.F1, theirs.f1_score),
        ):
            wanted = score(true, said, labels=range(CLASSES), average=average, zero_division=0.0)
            np.testing.assert_allclose(gather(kind(CLASSES, average=average), masked), wanted, rtol=1e-6)


@each("masked", [False, True])
@each("threshold", [0.0, 0.7])
def test_two_classes_as_scikit_learn(masked, threshold):
    true, said = all_of(masked, threshold)
    for metric, score in (
        (nn.Accuracy(threshold), theirs.accuracy_score),
        (nn.Precision(threshold=threshold), theirs.precision_score),
        (nn.Recall(threshold=threshold), theirs.recall_score),
        (nn.F1(threshold=threshold), theirs.f1_score),
    ):
        np.testing.assert_allclose(gather(metric, masked, threshold), score(true, said), rtol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_accuracy_as_nnx(masked):
    other, binary = nnx.metrics.Accuracy(), nnx.metrics.Accuracy(threshold=0.3)
    for logits, labels, mask in batches():
        mask = mask if masked else None
        other.update(logits=logits, labels=labels, mask=mask)
        binary.update(logits=logits[:, 0], labels=(labels > 1).astype(jnp.int32), mask=mask)
    np.testing.assert_allclose(gather(nn.Accuracy(), masked), other.compute(), rtol=1e-6)
    np.testing.assert_allclose(gather(nn.Accuracy(0.3), masked, 0.3), binary.compute(), rtol=1e-6)


def test_sequences_with_a_mask_for_each_token_and_for_each_sequence():
    key = jax.random.key(0)
    logits, labels = jax.random.normal(key, (4, 6, 3)), jax.random.randint(key, (4, 6), 0, 3)
    for mask in (jax.random.bernoulli(key, 0.5, (4, 6)), jnp.arange(4) < 3):
        whole = np.broadcast_to(np.reshape(mask, (4, -1)), (4, 6))
        true, said = np.asarray(labels)[whole], np.asarray(logits).argmax(-1)[whole]
        accuracy, table = nn.Accuracy(), nn.ConfusionMatrix(3)
        for metric in (accuracy, table):
            metric.update(logits, labels, mask=mask)
        np.testing.assert_allclose(accuracy.compute(), theirs.accuracy_score(true, said), rtol=1e-6)
        np.testing.assert_array_equal(table.compute(), theirs.confusion_matrix(true, said))


def test_classes_in_the_place_of_scores():
    logits, labels, _ = next(batches())
    for make in (nn.Accuracy, lambda: nn.F1(CLASSES), lambda: nn.ConfusionMatrix(CLASSES)):
        one, other = make(), make()
        one.update(logits, labels)
        other.update(logits.argmax(-1), labels)
        np.testing.assert_array_equal(one.compute(), other.compute())


def test_labels_that_are_no_class():
    logits, labels = jnp.eye(3), jnp.array([0, -1, 7])
    for metric in (
        nn.ConfusionMatrix(3),
        nn.Recall(3, average="micro"),
        nn.Precision(3, average="micro"),
        nn.Accuracy(),
    ):
        metric.update(logits, labels)
        expected = {"ConfusionMatrix": np.diag([1, 0, 0]), "Accuracy": np.float32(1 / 3)}.get(
            type(metric).__name__, 1.0
        )
        np.testing.assert_array_equal(metric.compute(), expected)
    table = nn.ConfusionMatrix(3)
    table.update(jnp.array([-1, 3, 1]), jnp.array([1, 1, 1]))
    assert table.compute().sum() == 1


def test_nothing_at_all():
    assert jnp.isnan(nn.Accuracy().compute())
    assert nn.F1(3).compute() == 0.0
    assert nn.ConfusionMatrix(2).compute().sum() == 0


def test_half_precision_in_a_loop_and_reset():
    metric = nn.F1(CLASSES, average=None)
    stacked = [jnp.stack(parts) for parts in zip(*batches(dtype=jnp.bfloat16), strict=True)]
    for _ in range(2):
        for_loop(lambda logits, labels, mask: metric.update(logits, labels, mask=mask), *stacked)
        found = metric.compute()
        assert found.dtype == jnp.float32
        true = np.concatenate([labels[mask] for labels, mask in zip(*map(np.asarray, stacked[1:]), strict=True)])
        said = np.concatenate(
            [np.asarray(x, np.float32).argmax(-1)[np.asarray(m)] for x, m in zip(stacked[0], stacked[2], strict=True)]
        )
        wanted = theirs.f1_score(true, said, labels=range(CLASSES), average=None, zero_division=0.0)
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
        metric.reset()


class Holder(nn.Module):
    def __init__(self):
        self.f1 = nn.F1(3)
        self.accuracy = nn.Accuracy()
        self.binary = nn.Accuracy(0.0)


@each(
    ("call", "error", "text"),
    [
        (
            lambda h: h.f1.update(jnp.ones((2, 4)), jnp.zeros(2, int)),
            ValueError,
            r"F1 at Holder\.f1 has 3 classes, but",
        ),
        (
            lambda h: h.accuracy.update(jnp.ones((2, 4)), jnp.zeros((2, 4), int)),
            ValueError,
            r"Accuracy at Holder\.accuracy needs one more axis than `labels` for `logits`; they are i32\[2,4\] and f32",
        ),
        (
            lambda h: h.binary.update(jnp.ones((2, 4)), jnp.zeros(2, int)),
            ValueError,
            r"Accuracy at Holder\.binary needs the shape of `labels` for `logits`",
        ),
        (
            lambda h: h.f1.update(jnp.ones((2, 3)), None),
            TypeError,
            r"F1 at Holder\.f1 takes an array for `labels`, not",
        ),
        (lambda h: h.f1.update(jnp.ones((2, 3)), jnp.ones(2)), TypeError, "takes whole numbers for `labels`, which is"),
        (
            lambda h: h.f1.update(jnp.ones((2, 3)), jnp.zeros(2, int), mask=jnp.ones(3, bool)),
            ValueError,
            "takes a `mask` for the first axes of shape",
        ),
    ],
)
def test_bad_calls_say_where_and_change_nothing(call, error, text):
    holder = Holder()
    before = jax.tree.leaves(treefy_states(holder))
    with pytest.raises(error, match=text):
        call(holder)
    assert all(a is b for a, b in zip(jax.tree.leaves(treefy_states(holder)), before, strict=True))


def test_bad_arguments():
    for arguments in ({}, {"num_classes": 3, "threshold": 0.0}):
        with pytest.raises(
            ValueError, match=r"give num_classes, or for two classes the threshold .*: `F1\(num_classes="
        ):
            nn.F1(**arguments)
    with pytest.raises(ValueError, match='average must be "macro", "micro" or None, not \'weighted\''):
        nn.Recall(3, average="weighted")
    with pytest.raises(ValueError, match="num_classes must be a positive whole number, not 0"):
        nn.ConfusionMatrix(0)
    with pytest.raises(TypeError, match="threshold must be a number that a logit has to reach, or None, not 'high'"):
        nn.Accuracy("high")
