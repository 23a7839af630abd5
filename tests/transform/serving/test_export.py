"""`export` and `deserialize`: a stateful function as bytes."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_graph import State
from brainstate_transform import Exported, deserialize, export, jit
from tests.laws.transforms import Net, Runs, Stack, Tied, same, values

one = jnp.float32(1.0)


def carried(f, *args, **kwargs):
    """Export, through bytes."""
    return deserialize(export(f, *args, **kwargs).serialize())


def test_a_loaded_function_continues_a_counter():
    m, runs = Net(), Runs()

    @jit
    def step(x):
        runs()
        return {"y": m(x)}

    step(one)
    loaded = carried(step, one)
    assert isinstance(loaded, Exported)
    assert runs.count == 1
    state = {"m.n": m.n.value, "m.w": m.w.value}
    for n in (2.0, 3.0):
        out, state = loaded(state, 3.0 * one)
        assert (out["y"], state["m.n"], state["m.w"]) == (6.0, n, 2.0)
    assert m.n.value == 1.0
    assert loaded.name == "step"
    assert list(loaded.states_info) == ["m.n", "m.w"]
    assert list(loaded.written_info) == ["m.n"]
    assert loaded.out_info["y"].shape == ()
    assert "m.n" in repr(loaded)


@pytest.mark.parametrize("options", [{"donate_states": True}, {"donate_states": "n"}], ids=["all", "some"])
def test_donating_functions(options):
    m = Net()
    loaded = carried(jit(lambda x: m(x), **options), one)
    state = {"m.n": jnp.zeros(()), "m.w": one}
    assert loaded(state, one)[1]["m.n"] == 1.0
    assert state["m.n"] == 0.0  # the caller's own


def test_nodes_and_static_arguments_are_part_of_the_program():
    m = Tied(2.0)
    f = jit(lambda k, net, x, *, power: net(x) ** power + k, static_argnums=0, static_argnames="power")
    loaded = carried(f, 3, m, one, power=2)
    assert list(loaded.states_info) == ["net.a.n", "net.a.w", "net.b.n"]
    out, new = loaded({"net.a.w": 3.0, "net.a.n": 0.0, "net.b.n": 5.0}, one)
    assert (out, new["net.b.n"]) == (84.0, 6.0)


def test_trees_keys_and_keywords():
    state, key = State({"a": jnp.ones(3), "b": [jnp.zeros(2)]}), State(jax.random.key(0))

    @jit
    def f(x, *, y):
        state.value = jax.tree.map(lambda leaf: leaf + y["z"], state.value)
        key.value, mine = jax.random.split(key.value)
        return x["p"] + jax.random.normal(mine)

    args, kwargs = ({"p": one},), {"y": {"z": one}}
    loaded = carried(f, *args, **kwargs)
    out, new = loaded({"state": state.value, "key": key.value}, *args, **kwargs)
    assert out == f(*args, **kwargs)
    assert same(new["state"], state.value)
    assert same(jax.random.key_data(new["key"]), jax.random.key_data(key.value))


def test_many_states_and_those_met_on_the_way():
    m = Stack(*range(40))
    hidden = [State(one)]
    sys.modules["states-of-test-export"] = hidden
    try:
        f = jit(lambda x: m.layers[3](x) + sys.modules["states-of-test-export"][0].value)
        loaded = carried(f, one)
        assert len(loaded.states_info) == 3
        given = dict.fromkeys(loaded.states_info, 2.0)
        assert loaded(given, one)[0] == 4.0
    finally:
        del sys.modules["states-of-test-export"]


def test_symbolic_shapes():
    w = State(jnp.ones((3, 2)))
    (n,) = jax.export.symbolic_shape("n")
    loaded = carried(jit(lambda x: x @ w.value), jax.ShapeDtypeStruct((n, 3), jnp.float32))
    for rows in (1, 5):
        assert loaded({"w": 2 * jnp.ones((3, 2))}, jnp.ones((rows, 3)))[0].shape == (rows, 2)


def test_for_other_platforms():
    w = State(one)
    exported = export(jit(lambda x: x * w.value), one, platforms=("cpu", "tpu"))
    assert exported.exported.platforms == ("cpu", "tpu")
    assert exported({"w": 2.0}, one)[0] == 2.0


def test_random_layers():
    nn.seed(0)
    drop = nn.Dropout(0.5)
    f = jit(lambda x: drop(x))
    loaded = carried(f, jnp.ones(8))
    assert loaded.states_info
    assert "drop" in next(iter(loaded.states_info)) or loaded.written_info


def test_exporting_changes_nothing():
    m = Net()
    with jax.checking_leaks():
        export(jit(lambda x: m(x)), one)
    with jax.disable_jit():
        export(jit(lambda x: m(x)), one)
    assert same(values(m), values(Net()))


# -- errors


def test_states_are_checked_by_path():
    m = Net()
    loaded = carried(jit(lambda x: m(x)), one)
    n, w = jnp.zeros(()), one
    for given, error, text in [
        ({"m.n": n}, ValueError, r"was called without m\.w; its states are \['m\.n', 'm\.w'\]"),
        ({"m.n": n, "m.w": w, "m.z": w}, ValueError, r"with m\.z, which it has not"),
        ({"m.n": n, "m.w": jnp.ones(3)}, ValueError, r"state m\.w of .* is f32\[\], and f32\[3\] was given"),
        ({"m.n": n, "m.w": jnp.int32(3)}, ValueError, r"state m\.w of .* is f32\[\], and i32\[\] was given"),
        ({"m.n": n, "m.w": [w]}, ValueError, r"state m\.w of .* is f32\[\], and \[f32\[\]\] was given"),
        (n, TypeError, r"first argument of .* must be a dict of its states"),
    ]:
        with pytest.raises(error, match=text):
            loaded(given, one)


def test_what_cannot_be_exported():
    m = Net()
    with pytest.raises(TypeError, match=r"export takes a function compiled by `jit`.*export\(jit\(fun\), \.\.\.\)"):
        export(lambda x: x, one)
    with pytest.raises(TypeError, match=r"`.*<lambda>` returns a Node.*, which cannot be exported"):
        export(jit(lambda x: m), one)
    with pytest.raises(TypeError, match=r"`.*<lambda>` returns a Node.*, which cannot be exported"):
        export(jit(lambda x: {"new": Net()}), one)
    with pytest.raises(TypeError, match="a container with a Node"):
        export(jit(lambda ms: ms[0](one)), [m])
    assert same(values(m), values(Net()))
