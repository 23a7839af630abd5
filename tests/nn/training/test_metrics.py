from __future__ import annotations

import pickle

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings

import brainstate_nn as nn
from brainstate_graph import clone, states, treefy_merge, treefy_split, treefy_states
from brainstate_nn._training.exact_sums import (
    add_to_count,
    add_to_sum,
    count_as_float,
    sum_as_float,
    zero_count,
    zero_sum,
)
from brainstate_transform import for_loop, jit
from tests.tables import each


def batches(n=3, shape=(4, 5), dtype=jnp.float32):
    return [jax.random.normal(jax.random.key(i), shape, dtype) for i in range(n)]


def masks(n=3, shape=(4,)):
    return [jax.random.bernoulli(jax.random.key(10 + i), 0.6, shape) for i in range(n)]


def taken(metric, arrays, masks=None):
    for i, array in enumerate(arrays):
        metric.update(array, mask=masks and masks[i])
    return metric.compute()


@pytest.mark.parametrize("shape", [(4,), (4, 5)])
def test_average_is_that_of_numpy(shape):
    xs, ms = batches(), masks(shape=shape)
    np.testing.assert_allclose(taken(nn.Average(), xs), np.mean(xs), rtol=1e-6)
    counted = np.concatenate([np.asarray(x)[np.asarray(m)].ravel() for x, m in zip(xs, ms, strict=True)])
    np.testing.assert_allclose(taken(nn.Average(), xs, ms), counted.mean(), rtol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (4, 5)])
def test_welford_is_that_of_numpy(shape):
    xs, ms = [x + 1000.0 for x in batches()], masks(shape=shape)
    for found, values in (
        (taken(nn.Welford(), xs), np.stack(xs).astype(np.float64)),
        (
            taken(nn.Welford(), xs, ms),
            np.concatenate([np.float64(x)[np.asarray(m)].ravel() for x, m in zip(xs, ms, strict=True)]),
        ),
    ):
        np.testing.assert_allclose(found.mean, values.mean(), rtol=1e-6)
        np.testing.assert_allclose(found.std, values.std(), rtol=1e-3)
        np.testing.assert_allclose(found.sem, values.std() / np.sqrt(values.size), rtol=1e-3)


def test_both_are_those_of_nnx():
    average, welford = nnx.metrics.Average(), nnx.metrics.Welford()
    for x in batches():
        average.update(values=x)
        welford.update(values=x)
    np.testing.assert_allclose(taken(nn.Average(), batches()), average.compute(), rtol=1e-6)
    ours, theirs = taken(nn.Welford(), batches()), welford.compute()
    np.testing.assert_allclose(ours, (theirs.mean, theirs.standard_deviation, theirs.standard_error_of_mean), rtol=1e-5)


@settings(max_examples=10)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.integers(0, 99))
def test_how_values_come_in_batches_does_not_matter(sizes, seed):
    values = np.random.default_rng(seed).normal(size=sum(sizes)).astype(np.float32)
    parts = np.split(values, np.cumsum(sizes)[:-1])
    whole, average, welford = nn.Welford(), nn.Average(), nn.Welford()
    whole.update(np.pad(values, (0, 40 - values.size)), mask=np.arange(40) < values.size)
    for part in parts:
        padded, mask = np.pad(part, (0, 6 - part.size), constant_values=np.nan), np.arange(6) < part.size
        average.update(padded, mask=mask)
        welford.update(padded, mask=mask)
    np.testing.assert_allclose(average.compute(), whole.compute().mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(welford.compute(), whole.compute(), rtol=1e-4, atol=1e-5)


@each("dtype", [jnp.bfloat16, jnp.float16, jnp.int8, bool])
def test_small_dtypes_are_gathered_in_float32(dtype):
    values = jnp.ones(3000, dtype)  # bfloat16 counts to 256, int8 to 127
    average, welford = nn.Average(), nn.Welford()
    for metric in (average, welford):
        metric.update(values)
        metric.update(jnp.zeros(1000, dtype))
    assert average.compute() == welford.compute().mean == 0.75
    assert average.compute().dtype == jnp.float32
    np.testing.assert_allclose(welford.compute().std, np.sqrt(0.1875), rtol=1e-5)


def test_numbers_and_the_dtypes_and_shapes_of_states_stay():
    for metric in (nn.Average(), nn.Welford()):
        before = jax.tree.map(jax.typeof, treefy_states(metric))
        metric.update(2)
        metric.update(4.0)
        metric.update(jnp.ones((2, 2)), mask=jnp.zeros(2, bool))
        assert jax.tree.map(jax.typeof, treefy_states(metric)) == before
        assert jax.tree.leaves(metric.compute())[0] == 3.0


def test_nothing_is_nan_and_infinity_is_infinity():
    assert jnp.isnan(nn.Average().compute())
    assert all(map(jnp.isnan, nn.Welford().compute()))
    metric = nn.Average()
    metric.update(jnp.array([1.0, jnp.inf]))
    metric.update(2.0)
    assert metric.compute() == jnp.inf


def test_what_is_masked_may_be_nan():
    for metric in (nn.Average(), nn.Welford()):
        metric.update(jnp.array([1.0, jnp.nan, jnp.inf]), mask=jnp.array([True, False, False]))
        assert jax.tree.leaves(metric.compute())[0] == 1.0


def test_counts_of_two_words():
    count, exact = zero_count(), 0
    add = jax.jit(add_to_count)
    for more in [2**32 - 1, 5, 2**31, 2**31, 7]:
        count, exact = add(count, jnp.uint32(more)), exact + more
        assert int(count[0]) * 2**32 + int(count[1]) == exact
    np.testing.assert_allclose(count_as_float(count), exact)
    average = nn.Average()
    average.count.value = jnp.array([0, 2**32 - 1], jnp.uint32)
    average.total.value = jnp.array([2.0**32, 0.0])
    average.update(jnp.ones(2**10))
    np.testing.assert_allclose(average.compute(), 1.0)
    assert average.count.value.tolist() == [1, 2**10 - 1]


def test_sums_that_float32_would_lose():
    def gather(add, start, value):
        return float(
            value(jax.jit(lambda s: jax.lax.fori_loop(0, 1000, lambda _, s: add(s, jnp.float32(1.0)), s))(start))
        )

    assert gather(jnp.add, jnp.float32(2**25), lambda s: s) == 2**25
    start = add_to_sum(zero_sum(), jnp.float32(2**25))
    assert gather(add_to_sum, start, sum_as_float) == 2**25 + 1000


def make_all():
    return nn.MultiMetric(loss=nn.Average("loss"), spread=nn.Welford("norm"), accuracy=nn.Accuracy())


def arguments(i):
    key = jax.random.key(i)
    return {
        "loss": jax.random.normal(key, (4,)),
        "norm": jax.random.normal(key, (4, 2)),
        "logits": jax.random.normal(key, (4, 3)),
        "labels": jax.random.randint(key, (4,), 0, 3),
        "mask": jnp.arange(4) < 3,
    }


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b)


def test_eager_compiled_looped_and_split_are_one():
    eager, compiled, looped, split = (make_all() for _ in range(4))
    step = jit(lambda kwargs: compiled.update(**kwargs))
    shape, tree = treefy_split(split)

    @jax.jit
    def raw(tree, kwargs):
        metrics = treefy_merge(shape, tree)
        metrics.update(**kwargs)
        return treefy_states(metrics)

    for i in range(3):
        eager.update(**arguments(i))
        step(arguments(i))
        tree = raw(tree, arguments(i))
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *map(arguments, range(3)))
    for_loop(lambda kwargs: looped.update(**kwargs), stacked)
    for other in (compiled, looped, treefy_merge(shape, tree)):
        close(other.compute(), eager.compute())
    assert set(eager.compute()) == {"loss", "spread", "accuracy"}


def test_several_metrics_are_each_alone():
    metrics, alone = make_all(), nn.Average()
    for i in range(2):
        metrics.update(**arguments(i))
        alone.update(arguments(i)["loss"], mask=arguments(i)["mask"])
    assert metrics.compute()["loss"] == alone.compute() == metrics.loss.compute()
    fresh = make_all()
    metrics.reset()
    assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, map(treefy_states, (metrics, fresh))), strict=True))


def test_parts_of_a_graph():
    metrics = make_all()
    assert set(map(type, states(metrics).values())) == {nn.MetricState}
    assert ("accuracy", "count") in states(metrics, nn.LongTermState)
    metrics.update(**arguments(0))
    for copy in (clone(metrics), pickle.loads(pickle.dumps(metrics))):
        close(copy.compute(), metrics.compute())
        copy.reset()
    assert metrics.compute()["accuracy"] >= 0


def test_a_metric_of_ones_own_in_a_multimetric():
    class Largest(nn.Metric):
        def initial(self):
            return {"largest": jnp.float32(-jnp.inf)}

        def update(self, values, scale=1.0):
            self.largest.value = jnp.maximum(self.largest.value, scale * values.max())

        def compute(self):
            return self.largest.value

    metrics = nn.MultiMetric(top=Largest(), mean=nn.Average())
    metrics.update(values=jnp.arange(3.0))
    metrics.update(values=jnp.arange(3.0), scale=2.0, mask=jnp.array([True, True, False]))
    assert metrics.compute() == {"top": 4.0, "mean": pytest.approx(0.8)}


class Trainer(nn.Module):
    def __init__(self):
        self.metrics = make_all()
        self.mean = nn.Average()


def test_bad_calls_say_where_and_change_nothing():
    trainer = Trainer()
    good = arguments(0)
    trainer.metrics.update(**good)
    before = jax.tree.leaves(treefy_states(trainer))
    for change, error, text in (
        ({"loss": None}, TypeError, r"Average at Trainer\.metrics\.loss takes an array for `loss`, not None"),
        (
            {"labels": jnp.ones(4)},
            TypeError,
            r"Accuracy at Trainer\.metrics\.accuracy takes whole numbers for `labels`",
        ),
        ({"lables": 1}, TypeError, r"MultiMetric at Trainer\.metrics holds no metric that takes `lables`"),
    ):
        with pytest.raises(error, match=text):
            trainer.metrics.update(**{**good, **change})
    del good["labels"]
    with pytest.raises(TypeError, match=r"MultiMetric at Trainer\.metrics needs `labels` for its metric accuracy"):
        trainer.metrics.update(**good)
    mean = trainer.mean
    for call, error, text in (
        (
            lambda: mean.update(jnp.ones((3, 3)), mask=jnp.ones(4, bool)),
            ValueError,
            r"takes a `mask` for the first axes",
        ),
        (
            lambda: mean.update(jnp.ones(3), mask=jnp.ones(3)),
            TypeError,
            r"takes True and False for `mask`, which is f32",
        ),
        (lambda: mean.update(), TypeError, r"Average at Trainer\.mean takes one array: write `update\(values=...\)`"),
        (lambda: mean.update(loss=1.0), TypeError, "takes one array"),
        (lambda: mean.update("high"), TypeError, "takes an array for `values`, not a str"),
    ):
        with pytest.raises(error, match=text):
            call()
    assert all(a is b for a, b in zip(jax.tree.leaves(treefy_states(trainer)), before, strict=True))


def test_bad_metrics():
    with pytest.raises(TypeError, match=r"loss must be a metric, not float: write `loss=Average\(\)`"):
        nn.MultiMetric(loss=1.0)
    with pytest.raises(
        ValueError, match="a metric cannot be named 'reset', because MultiMetric has an attribute of this name"
    ):
        nn.MultiMetric(reset=nn.Average())
    with pytest.raises(ValueError, match="argname must be the name of an argument, not 'mask'"):
        nn.Average("mask")
    with pytest.raises(NotImplementedError, match=r"Metric needs `def initial\(self\): ...`"):
        nn.Metric()


def test_a_mask_for_each_metric():
    values, mask, other = batches(1)[0], masks(1)[0], masks(2)[1]
    metrics = nn.MultiMetric(a=nn.Average("x"), b=nn.Welford("x"), c=nn.Average("y"), d=nn.Average("x"))
    jit(lambda m, x, a, b: m.update(x=x, y=x + 1, mask={"a": a, "b": b}))(metrics, values, mask, other)
    found = metrics.compute()
    assert float(found["a"]) == pytest.approx(float(values[mask].mean()), abs=1e-6)
    assert float(found["b"].mean) == pytest.approx(float(values[other].mean()), abs=1e-6)
    assert float(found["c"]) == pytest.approx(float(values.mean()) + 1, abs=1e-6)
    assert float(found["d"]) == pytest.approx(float(values.mean()), abs=1e-6)


def test_masks_that_no_metric_takes_change_nothing():
    class Largest(nn.Metric):
        def initial(self):
            return {"largest": jnp.float32(-jnp.inf)}

        def update(self, x):
            self.largest.value = jnp.maximum(self.largest.value, x.max())

    metrics = nn.MultiMetric(a=nn.Average("x"), b=Largest())
    before = treefy_states(metrics)
    for name, kind, words in (
        ("c", ValueError, "no metric 'c' for its mask; it has a, b"),
        ("b", TypeError, "which takes no mask"),
    ):
        with pytest.raises(kind, match=words):
            metrics.update(x=jnp.ones(3), mask={"a": jnp.ones(3, bool), name: jnp.ones(3, bool)})
    assert jax.tree.all(jax.tree.map(jnp.array_equal, treefy_states(metrics), before))
