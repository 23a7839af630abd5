"""A State that JAX has compiled in where no transform of ours was around: to assign it is told, and nothing else is."""

from __future__ import annotations

import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import brainstate_nn as nn
import brainstate_transform as bt
from brainstate_graph import Node, State, treefy_merge, treefy_split

x = jnp.float32(2.0)


class Gain(Node):
    def __init__(self) -> None:
        self.w = State(jnp.float32(3.0))

    def __call__(self, x: Any) -> Any:
        return self.w.value * x


def predict_of(net: Any, jit: Any = jax.jit) -> Any:
    def predict(x: Any) -> Any:
        return net(x)

    return jit(predict)


def test_an_assignment_is_told_with_the_path_and_the_function() -> None:
    net = Gain()
    predict = predict_of(net)
    assert predict(x) == 6.0
    with pytest.warns(UserWarning, match="keeps the old value") as told:
        net.w.value = jnp.float32(5.0)
    (warning,) = told
    assert "State at Gain.w was assigned, but `predict_of.<locals>.predict` keeps" in str(warning.message)
    assert "from brainstate_transform import jit" in str(warning.message)
    assert warning.filename == __file__
    assert predict(x) == 6.0  # as was told
    net.w.value = jnp.float32(7.0)  # told once


def test_what_a_compiled_step_assigns_is_told() -> None:
    net = Gain()
    predict = predict_of(net)
    predict(x)

    @bt.jit
    def step() -> None:
        net.w.value += 1.0

    with pytest.warns(UserWarning, match=r"Gain\.w was assigned, but `predict_of"):
        step()
    step()
    assert net.w.value == 5.0


def test_one_warning_for_a_function_of_many_states() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    predict = predict_of(net)
    predict(jnp.ones(2))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for state in net.states().values():
            state.value = 2.0 * state.value
    assert len(told) == 1
    assert predict is not None


@pytest.mark.parametrize("kind", ["node", "method", "equinox", "other transform of ours inside"])
def test_other_ways_to_hand_it_to_jax(kind: str) -> None:
    net = Gain()
    if kind == "node":
        run: Any = jax.jit(net)
    elif kind == "method":
        run = jax.jit(net.__call__)
    elif kind == "equinox":
        run = predict_of(net, eqx.filter_jit)
    else:
        run = predict_of(bt.grad(net))
    run(x)
    with pytest.warns(UserWarning, match=r"Gain\.w was assigned"):
        net.w.value = jnp.float32(5.0)


def test_a_read_by_our_jit_inside_is_one_too() -> None:
    net = Gain()
    run = predict_of(bt.jit(lambda x: net(x)))
    assert run(x) == 6.0
    with pytest.warns(UserWarning, match=r"Gain\.w was assigned"):
        net.w.value = jnp.float32(5.0)


def no_more(net: Any) -> None:
    """Assign, which is not told: warnings are errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.w.value = jnp.float32(5.0)


def test_a_function_that_is_gone_is_not_told() -> None:
    net = Gain()
    jax.jit(lambda x: net(x))(x)
    jax.eval_shape(lambda x: net(x), x)
    no_more(net)


def test_what_jax_does_not_keep_is_not_told() -> None:
    net = Gain()

    def call(x: Any) -> Any:
        return net(x)

    jax.vmap(call)(x[None])
    jax.grad(call)(x)
    jax.jvp(call, (x,), (x,))
    no_more(net)


def test_a_model_that_is_split_and_merged_is_not_told() -> None:
    net = Gain()

    @jax.jit
    def step(tree: Any, x: Any) -> Any:
        merged = treefy_merge(graphdef, tree)
        merged.w.value = merged(x)
        return treefy_split(merged)[1]

    graphdef, tree = treefy_split(net)
    step(tree, x)
    no_more(net)


def test_our_own_programs_are_not_told() -> None:
    net = Gain()
    run = bt.jit(lambda x: net(x) + bt.grad(net)(x))
    run(x)
    bt.for_loop(net, x[None])
    bt.StatefulFunction(net)(x)
    bt.eval_shape(net, x)
    bt.make_jaxpr(net)(x)
    no_more(net)


def test_a_trace_that_fails_is_not_told() -> None:
    net = Gain()

    def wrong(_: Any) -> Any:
        raise ZeroDivisionError

    predict = predict_of(lambda x: wrong(net(x)))
    with pytest.raises(ZeroDivisionError):
        predict(x)
    assert net(x) == 6.0  # read outside of any trace
    no_more(net)
