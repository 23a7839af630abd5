"""What is done around training, by the older names: the formulas of NumPy, and what is in a model by plain Python."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_nn import compat
from tests.tables import each

SCORES = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, 20)
guesses = SCORES.argmax(-1)
hits = np.array([((guesses == k) & (k == LABELS)).sum() for k in range(3)])
precision = hits / np.array([(guesses == k).sum() for k in range(3)])
recall = hits / np.array([(k == LABELS).sum() for k in range(3)])
METRICS = {
    "AccuracyMetric": ((), (guesses == LABELS).mean()),
    "PrecisionMetric": ((3, "macro"), precision.mean()),
    "RecallMetric": ((3, "macro"), recall.mean()),
    "F1ScoreMetric": (
        (3, "macro"),
        (2 * hits / np.array([(guesses == k).sum() + (k == LABELS).sum() for k in range(3)])).mean(),
    ),
}


@each("name, row", METRICS.items())
def test_metrics_of_classifiers(name, row):
    settings, expected = row
    metric = getattr(compat, name)(*settings)
    given = {"logits": SCORES} if name == "AccuracyMetric" else {"predictions": jnp.asarray(guesses)}
    for part in (slice(0, 9), slice(9, 20)):
        metric.update(
            **{key: jnp.asarray(value)[part] for key, value in given.items()}, labels=jnp.asarray(LABELS)[part]
        )
    np.testing.assert_allclose(metric.compute(), expected, rtol=1e-5)
    metric.reset()
    metric.update(**{key: jnp.asarray(value) for key, value in given.items()}, labels=jnp.asarray(LABELS))
    np.testing.assert_allclose(metric.compute(), expected, rtol=1e-5)


def test_classes_of_two_are_told_by_one_and_zero():
    found, labels = jnp.array([1, 1, 0, 1]), jnp.array([1, 0, 1, 1])
    several = nn.MultiMetric(
        precision=compat.PrecisionMetric(), recall=compat.RecallMetric(), pairs=compat.ConfusionMatrix(2)
    )
    several.update(predictions=found, labels=labels)
    results = several.compute()
    np.testing.assert_allclose([results["precision"], results["recall"]], [2 / 3, 2 / 3], rtol=1e-6)
    assert results["pairs"].tolist() == [[0, 1], [1, 2]]


@each("order", [1, 2, 2.0, "inf", jnp.inf, None])
@each("longest", [0.5, 100.0])
def test_gradients_are_clipped_by_their_norm(order, longest):
    grads = {"a": jnp.array([3.0, -4.0]), "b": jnp.array([[1.0]])}
    flat = np.array([3.0, -4.0, 1.0])
    norm = np.linalg.norm(flat, 2 if order is None else float(order))
    clipped, before = compat.clip_grad_norm(grads, longest, order, return_norm=True)
    np.testing.assert_allclose(before, norm, rtol=1e-6)
    expected = flat * min(1.0, longest / norm)
    np.testing.assert_allclose(np.concatenate([clipped["a"], clipped["b"].ravel()]), expected, rtol=1e-4)
    assert jax.tree.structure(compat.clip_grad_norm(grads, longest)) == jax.tree.structure(grads)


calls = []


class Part(compat.Module):
    def __init__(self, name):
        super().__init__(name)
        self.h = nn.HiddenState(jnp.zeros(()))

    def init_state(self, batch_size=None, **kwargs):
        calls.append(self.name)
        self.h.value = jnp.zeros(batch_size or ())


class Late(Part):
    @compat.call_order(1)
    def init_state(self, batch_size=None, **kwargs):
        super().init_state(batch_size, **kwargs)


class Later(Part):
    @compat.call_order(2)
    def init_state(self, batch_size=None, **kwargs):
        super().init_state(batch_size, **kwargs)


@each("call", [
    lambda net: compat.init_all_states(net, 4),
    lambda net: compat.init_all_states(net, batch_size=4),
    lambda net: compat.call_all_fns(net, "init_state", 4),
    lambda net: compat.call_all_fns(net, "init_state", (), {"batch_size": 4}),
    lambda net: net.init_all_states(4),
])  # fmt: skip
def test_methods_are_called_in_their_order(call):
    net = compat.Sequential(Later("c"), Late("b"), Part("a"))
    calls.clear()
    call(net)
    assert calls == ["a", "b", "c"]
    assert [state.value.shape for state in net.states(nn.HiddenState).values()] == [(4,)] * 3


def test_modules_are_left_out_by_a_filter_and_methods_may_be_missing():
    net = compat.Sequential(Part("a"), Late("b"))
    calls.clear()
    compat.init_all_states(net, node_to_exclude=compat.graph.OfType(Late))
    assert calls == ["a"]
    with pytest.raises(AttributeError):
        compat.call_all_fns(net, "tidy")
    assert compat.call_all_fns(net, "tidy", fn_if_not_exist="pass") is net


def test_states_are_made_in_lanes_and_tagged():
    net = compat.Sequential(compat.GRUCell(2, 3))
    compat.vmap_init_all_states(net, 5, axis_size=4, state_tag="lane")
    assert net.layers[0].h.value.shape == (4, 5, 3)
    assert "lane" in net.layers[0].h.tag
    compat.vmap_call_all_fns(net, "init_state", 2, axis_size=3)
    assert net.layers[0].h.value.shape == (3, 2, 3)


def test_values_are_assigned_by_path():
    net = compat.Linear(2, 3)
    new = {("weight",): jnp.ones((2, 3)), ("gain",): jnp.ones(())}
    assert compat.assign_state_values(net, new) == ([("gain",)], [("bias",)])
    assert float(net.weight.value.sum()) == 6.0
    assert compat.count_parameters(net) == 9
    table, total = compat.count_parameters(net, return_table=True)
    assert total == 9
    assert table == "bias: 3\nweight: 6"


def test_a_step_of_an_equation_is_exact_where_that_is_linear():
    v = jnp.array([1.0, -2.0])
    np.testing.assert_allclose(
        compat.exp_euler_step(lambda v, i: (i - v) / 5.0, v, 3.0, dt=2.0), 3 + (v - 3) * np.exp(-0.4), rtol=1e-5
    )
    np.testing.assert_allclose(compat.exp_euler_step(lambda v: 0 * v + 2.0, v, dt=0.5), v + 1.0, rtol=1e-6)
    nn.seed(0)
    noisy = compat.exp_euler_step(lambda v: 0 * v, lambda v: 3.0 + 0 * v, jnp.zeros(20_000), dt=0.25)
    np.testing.assert_allclose([noisy.mean(), noisy.std()], [0.0, 1.5], atol=0.04)
