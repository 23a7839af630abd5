"""State trees go through JAX and the libraries around it as they are; plain dictionaries of arrays are the oracle."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export
from jax.sharding import PartitionSpec

from brainstate_graph import (
    FlattedDict,
    GraphError,
    NestedDict,
    PathGlob,
    State,
    TreefyState,
    register_with_flax,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from tests.graph.zoo import Gadget, Param, Stat, layer, net, same_value

VIEWS = [NestedDict.copy, NestedDict.to_flat]
views = pytest.mark.parametrize("view", VIEWS, ids=["nested", "flat"])


def parameters(seed=0):
    """A tree of states, and the same as plain nested dictionaries."""
    tree = treefy_states(Gadget(layers=[layer(seed), layer(seed + 1)], head=layer(seed + 9)), Param)
    return tree, tree.to_pure_dict()


def loss(weights: Any, x: Any) -> Any:
    """Of plain dictionaries."""
    for name in (0, 1):
        x = jnp.tanh(x @ weights["layers"][name]["weight"] + weights["layers"][name]["bias"][None])
    return jnp.sum((x @ weights["head"]["weight"] + weights["head"]["bias"][None]) ** 2)


def tree_loss(tree: Any, x: Any) -> Any:
    return loss(tree.to_nest().to_pure_dict(), x)


def assert_close(tree, plain):
    plain = NestedDict(plain)
    assert [p for p in tree.to_flat()] == [p for p in plain.to_flat()]  # noqa: C416 - in order
    for one, two in zip(jax.tree.leaves(tree), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)


X = jnp.arange(4.0).reshape(2, 2) / 4


# ------------------------------------------------------------------------------------------------- JAX


@views
def test_two_trees_of_one_model_before_and_after_a_write(view):
    model = net()
    before = view(treefy_states(model))
    values = jax.tree.leaves(before)
    for state in states(model).values():
        state.value = state.value + 1
    after = view(treefy_states(model))
    change = jax.tree.map(lambda a, b: b - a, before, after)
    assert jax.tree.structure(change) == jax.tree.structure(before)
    assert [float(x.max()) for x in map(jnp.asarray, jax.tree.leaves(change))] == pytest.approx([1.0] * len(values))
    assert all(a is b for a, b in zip(values, jax.tree.leaves(before), strict=True))


@pytest.mark.counts_traces
@views
def test_jit_traces_once_for_equal_models(view):
    traced = []

    @jax.jit
    def double(tree):
        traced.append(tree)
        return jax.tree.map(lambda x: x * 2, tree)

    for seed in range(3):
        tree, plain = parameters(seed)
        found = double(view(tree))
        assert type(found) is type(view(tree))
        assert jax.tree.structure(found) == jax.tree.structure(view(tree))
        assert_close(found, jax.tree.map(lambda x: x * 2, plain))
    double(pickle.loads(pickle.dumps(view(tree))))
    double(view(NestedDict.from_flat(reversed(list(tree.to_flat().items())))))
    assert len(traced) == 1
    double(view(NestedDict(plain)))  # without kinds it is another tree
    assert len(traced) == 2


@views
def test_grad(view):
    tree, plain = parameters()
    value, grads = jax.value_and_grad(tree_loss)(view(tree), X)
    expected, plain_grads = jax.value_and_grad(loss)(plain, X)
    assert value == expected
    assert_close(grads, plain_grads)
    assert jax.tree.structure(grads) == jax.tree.structure(view(tree))
    assert grads.to_nest()["head"]["bias"].type is Param


@views
def test_scan_carry(view):
    tree, plain = parameters()

    def step(carry, x):
        return jax.tree.map(lambda w, g: w - 0.1 * g, carry, jax.grad(tree_loss)(carry, x)), tree_loss(carry, x)

    def plain_step(carry, x):
        return jax.tree.map(lambda w, g: w - 0.1 * g, carry, jax.grad(loss)(carry, x)), loss(carry, x)

    xs = jnp.stack([X, -X, X + 1])
    found, losses = jax.lax.scan(step, view(tree), xs)
    expected, plain_losses = jax.lax.scan(plain_step, plain, xs)
    assert_close(found, expected)
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-6)


def test_a_merged_model_in_the_carry_of_a_scan():
    graphdef, tree = treefy_split(Gadget(count=Stat(jnp.array(0)), w=Param(jnp.ones(2))))

    def step(tree, x):
        model = treefy_merge(graphdef, tree)
        model.count.value += 1
        return treefy_states(model), model.w.value * x

    last, out = jax.lax.scan(step, tree, jnp.arange(3.0))
    assert last["count"].value == 3
    np.testing.assert_array_equal(out, np.arange(3.0)[:, None] * np.ones(2))


@views
def test_vmap_over_stacked_trees(view):
    trees = [parameters(seed)[0] for seed in range(4)]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *map(view, trees))
    found = jax.vmap(tree_loss, in_axes=(0, None))(stacked, X)
    np.testing.assert_allclose(found, [loss(tree.to_pure_dict(), X) for tree in trees], rtol=1e-6)
    axes = jax.tree.map(lambda _: 0, stacked)  # a tree of axes, too
    np.testing.assert_allclose(jax.vmap(tree_loss, in_axes=(axes, None))(stacked, X), found)


# ------------------------------------------------------------------------------------------------- optax

_slow_and_fast = {"fast": optax.sgd(0.1), "slow": optax.adam(0.01)}


def _label(path: Any) -> str:
    return "fast" if "bias" in jax.tree_util.keystr(path) else "slow"


# Each as a function of the parameters, since masks and labels may be trees like them.
OPTIMIZERS = {
    "sgd": lambda _: optax.sgd(0.1, momentum=0.9),
    "adam": lambda _: optax.adamw(0.01),
    "masked by a tree": lambda p: optax.masked(optax.sgd(0.1), jax.tree.map(lambda x: x.ndim == 1, p)),
    "masked by a function": lambda _: optax.masked(
        optax.sgd(0.1), lambda params: jax.tree.map(lambda x: x.ndim == 1, params)
    ),
    "weight decay with a mask": lambda p: optax.adamw(0.01, mask=jax.tree.map(lambda x: x.ndim > 1, p)),
    "several steps in one": lambda _: optax.MultiSteps(optax.sgd(0.1), every_k_schedule=2),
    "by labels": lambda p: optax.multi_transform(
        _slow_and_fast, jax.tree_util.tree_map_with_path(lambda path, _: _label(path), p)
    ),
    "parts": lambda _: optax.partition(
        _slow_and_fast, lambda params: jax.tree_util.tree_map_with_path(lambda path, _: _label(path), params)
    ),
    "clipped": lambda _: optax.chain(optax.clip_by_global_norm(0.5), optax.rmsprop(0.01)),
}


@views
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optax(name, view):
    tree, plain = parameters()
    results = []
    for params, function in ((view(tree), tree_loss), (plain, loss)):
        optimizer = OPTIMIZERS[name](params)

        @jax.jit
        def step(params, state, optimizer=optimizer, function=function):
            grads = jax.grad(function)(params, X)
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        state = optimizer.init(params)
        for _ in range(4):
            params, state = step(params, state)
        results.append(params)
    assert jax.tree.structure(results[0]) == jax.tree.structure(view(tree))
    assert_close(*results)


def test_optax_on_a_model_that_was_written_between():
    model = Gadget(w=Param(jnp.array([1.0, 2.0])))
    optimizer = optax.adam(0.1)
    state = optimizer.init(treefy_states(model, Param))
    plain, plain_state = jnp.array([1.0, 2.0]), optimizer.init(jnp.array([1.0, 2.0]))
    for _ in range(3):
        model.w.value = model.w.value * 1.0  # no part of the treedef
        params = treefy_states(model, Param)
        grads = jax.grad(lambda tree: jnp.sum(tree["w"].value ** 2))(params)
        updates, state = optimizer.update(grads, state, params)
        update_states(model, optax.apply_updates(params, updates))
        plain_updates, plain_state = optimizer.update(2 * plain, plain_state, plain)
        plain = plain + plain_updates
    np.testing.assert_allclose(model.w.value, plain, rtol=1e-6)


# ------------------------------------------------------------------------------------------------- orbax


@pytest.mark.skipif(importlib.util.find_spec("orbax") is None, reason="orbax-checkpoint is not installed")
@pytest.mark.filterwarnings("ignore")  # orbax and what it imports have their own
@views
def test_orbax(view, tmp_path):
    checkpoint = importlib.import_module("orbax.checkpoint")
    tree = view(parameters()[0])
    with checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "tree", tree)
        checkpointer.wait_until_finished()
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
        found = checkpointer.restore(tmp_path / "tree", abstract)
        plain = checkpointer.restore(tmp_path / "tree")
    assert type(found) is type(tree)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    assert same_value(found, tree)
    assert len(jax.tree.leaves(plain)) == len(jax.tree.leaves(tree))


# ------------------------------------------------------------------------------------------------- flax

register_with_flax()
to_bytes, from_bytes = flax.serialization.to_bytes, flax.serialization.from_bytes
to_state_dict, from_state_dict = flax.serialization.to_state_dict, flax.serialization.from_state_dict


def everything():
    return treefy_states(
        {
            "layers": [{"w": Param(jnp.ones(2, jnp.bfloat16))}, {"w": Param(2.5)}],
            "rng": State(jax.random.key(3, impl="rbg")),
            "keys": State({"k": jax.random.split(jax.random.key(1), 2), "n": [np.int8(3)]}),
            "nothing": State(None),
            "tuple": State((1, jnp.zeros((2, 0)), {"x": 1j})),
            7: Stat(np.arange(3)),
        }
    )


def bits(tree):
    """The same without typed keys, which NumPy cannot compare."""
    key = jax.dtypes.prng_key
    return jax.tree.map(
        lambda x: jax.random.key_data(x) if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, key) else x, tree
    )


@views
def test_flax_bytes_and_back(view):
    tree = view(everything())
    blank = jax.tree.map(lambda x: x, tree)
    for target in (tree, {"params": tree, "step": 3}, [tree]):
        blank = jax.tree.map(lambda x: x, target)
        found = from_bytes(blank, to_bytes(target))
        assert jax.tree.structure(found) == jax.tree.structure(target)
        assert same_value(bits(found), bits(target))
    found = from_bytes(tree, to_bytes(tree)).to_nest()
    assert jax.random.key_impl(found["rng"].value) == jax.random.key_impl(tree.to_nest()["rng"].value)
    assert found["layers"][0]["w"].value.dtype == jnp.bfloat16
    assert found["layers"][1]["w"].type is Param


def test_flax_sees_nested_dictionaries_of_bare_values():
    tree, plain = parameters()
    assert same_value(to_state_dict(tree), to_state_dict(plain))
    assert to_bytes(tree) == to_bytes(tree.to_flat()) == to_bytes(plain)
    assert from_bytes(tree.to_flat(), to_bytes(tree)).to_nest() == tree
    changed = jax.tree.map(lambda x: x + 1, plain)
    assert from_state_dict(tree, to_state_dict(changed)) == tree | NestedDict(changed)
    assert to_state_dict(NestedDict({"a": {}, "b": 1.0})) == {"a": {}, "b": 1.0}
    assert from_state_dict(NestedDict({"a": {}, "b": 1.0}), {"b": 2.0}).to_pure_dict() == {"a": {}, "b": 2.0}


def test_flax_and_one_state():
    ref = TreefyState(Param, {"w": jnp.ones(2), "k": jax.random.key(0)}, name="n")
    found = from_bytes(ref, to_bytes(ref))
    assert jax.tree.structure(found) == jax.tree.structure(ref)
    assert same_value(bits(found), bits(ref))
    assert to_state_dict(TreefyState(State, 2.0)) == 2.0


def test_flax_and_live_states():
    model = net()
    live = states(model)
    data = to_bytes(live)
    assert data == to_bytes(treefy_states(model))
    found = from_bytes(live, data)
    assert list(found) == list(live)
    assert not any(isinstance(value, State) for value in found.values())
    update_states(model, found)


def test_flax_lists_all_that_does_not_fit():
    tree = NestedDict({"a": {0: 1.0, "b": 2.0}, "c": 3.0, "d": {"e": 4.0}, "t": {"k": 1.0}})
    target = {"params": tree | NestedDict.from_flat({("v",): TreefyState(State, (1.0, 2.0))})}
    data = {"params": {"a": {"0": 1.0, "x": {"y": 5.0}}, "d": 7.0, "w": 8.0, "v": {"0": 1.0}, "t": {"k": 1.0}}}
    with pytest.raises(GraphError, match=r"the data does not fit the tree at params: ") as error:
        from_state_dict(target, data)
    message = str(error.value)
    for problem in ("missing: a.b", "missing: c", "missing: d.e", "unexpected: a.x", "unexpected: w", "d is one value"):
        assert problem in message
    assert "v: The size of the list" in message
    assert "t.k" not in message
    with pytest.raises(GraphError, match=r"does not fit the tree: missing: a\.0; missing: a\.b"):
        from_state_dict(tree, {})
    with pytest.raises(GraphError, match=r"r: "):
        from_state_dict(treefy_states({"r": State(jax.random.key(0))}), {"r": 3})


def test_flax_refuses_keys_that_are_no_names():
    tree = NestedDict({"a": {(1, 2): 1.0, None: 2.0}, "b": {1: 1.0, "1": 2.0}})
    for action in (lambda: to_bytes(tree), lambda: from_state_dict(tree, {})):
        with pytest.raises(GraphError, match="keys of a tree must be strings or integers") as error:
            action()
        assert "the key (1, 2) of a.(1, 2) is a tuple" in str(error.value)
        assert "the key None of a.None is a NoneType" in str(error.value)
        assert "b.1 stands for two keys, '1' and 1" in str(error.value)
    with pytest.raises(GraphError, match="beginning of another"):
        to_bytes(FlattedDict({("a",): 1.0, ("a", "b"): 1.0}))


REGISTER = "brainstate_graph.register_with_flax()"
ORDERS = {
    "flax first": "import flax.serialization\nimport brainstate_graph",
    "flax later": f"import brainstate_graph\nimport flax.serialization\n{REGISTER}\n{REGISTER}",
    "flax by us": f"import brainstate_graph\n{REGISTER}\nimport flax.serialization",
    "flax again": f"""
import brainstate_graph, flax.serialization, importlib
importlib.reload(flax.serialization)
{REGISTER}""",
}


@pytest.mark.parametrize("order", ORDERS)
def test_flax_knows_the_trees_when_it_was_told_of_them(order):
    code = ORDERS[order] + (
        "\ntree = brainstate_graph.NestedDict({'a': {0: 1.5}})"
        "\ndata = flax.serialization.to_bytes({'p': tree})"
        "\nassert flax.serialization.from_bytes({'p': tree}, data) == {'p': tree}"
        "\nassert flax.serialization.to_state_dict(tree) == {'a': {'0': 1.5}}"
        "\nassert flax.serialization.is_serializable(brainstate_graph.TreefyState)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_import_neither_imports_flax_nor_watches_for_it():
    code = (
        "import sys, jax"
        "\nbefore = list(sys.meta_path), list(sys.path_hooks)"
        "\nimport brainstate_graph"
        "\nassert 'flax' not in sys.modules"
        "\nassert (sys.meta_path, sys.path_hooks) == before"
        "\nimport flax.serialization"
        "\nassert not flax.serialization.is_serializable(brainstate_graph.NestedDict)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------------------------------- jax.export


def exported(function, *args):
    """The function after a way through bytes."""
    pytest.importorskip("flatbuffers", reason="jax.export writes with flatbuffers, which is not installed")
    return export.deserialize(export.export(jax.jit(function))(*args).serialize()).call


@views
def test_export_a_function_of_trees(view):
    tree = view(parameters()[0])

    def step(tree, x):
        return jax.tree.map(lambda w, g: w - 0.1 * g, tree, jax.grad(tree_loss)(tree, x))

    found = exported(step, tree, X)(tree, X)
    assert type(found) is type(tree)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    assert_close(found, step(tree, X).to_nest().to_pure_dict())
    assert found.to_nest()["head"]["bias"].tag == {"bias"}


METADATA = [
    2, True, -1.5, float("nan"), float("-inf"), -0.0, 1 + 2j, "text", b"\x00\xff", (1, (True, None)),
    frozenset({1, "a"}), np.dtype("float32"), PartitionSpec("x", None, ("y", "z")), 10**40,
]  # fmt: skip


def test_export_keeps_keys_and_metadata():
    odd = {(1, "x"): 1.0, None: {0: 2.0, True: {}}, b"k": 3.0, 0.5: TreefyState(Stat, 4.0, name="n", tag=["a", "b"])}
    odd["meta"] = {str(i): TreefyState(Param, 1.0, extra=item) for i, item in enumerate(METADATA)}
    for tree in (NestedDict(odd), {"one": TreefyState(Param, {"w": 1.0}, rate=0.5)}, NestedDict()):
        found = exported(lambda t: jax.tree.map(jnp.negative, t), tree)(tree)
        assert jax.tree.structure(found) == jax.tree.structure(tree)
        assert jax.tree.leaves(found) == [-x for x in jax.tree.leaves(tree)]


def test_export_refuses_another_tree():
    tree, plain = parameters()
    call = exported(tree_loss, tree, X)
    with pytest.raises(ValueError, match="NestedDict"):
        call(NestedDict(plain), X)


def test_export_refuses_metadata_that_is_no_data():
    def rate(x):
        return x

    tree = treefy_states(Gadget(a=State(1.0, rate=rate), b=State(1.0)))
    with pytest.raises(GraphError, match=r"the metadata of a: <function .*, a function, cannot be written as text"):
        exported(lambda t: t["b"].value, tree)
    with pytest.raises(GraphError, match=r"the metadata of a TreefyState: .* cannot be written"):
        exported(lambda t: t.value, tree["a"])


def test_export_reads_classes_that_are_there_and_imports_nothing(tmp_path):
    pytest.importorskip("flatbuffers", reason="jax.export writes with flatbuffers, which is not installed")
    code = (
        "import jax, sys\nfrom jax import export\n{imports}\n"
        "from brainstate_graph import GraphError, NestedDict, TreefyState\n"
        "data = open('program', 'rb').read()\n"
        "try:\n    call = export.deserialize(data).call\n"
        "    print(call(NestedDict({{'w': TreefyState(kinds.Kind, 2.0)}})))\n"
        "except GraphError as error:\n    print(error)\n"
        "print('kinds' in sys.modules)\n"
    )
    (tmp_path / "kinds.py").write_text("from brainstate_graph import State\nclass Kind(State):\n    pass\n")
    make = (
        "import jax, kinds\nfrom jax import export\nfrom brainstate_graph import NestedDict, TreefyState\n"
        "tree = NestedDict({'w': TreefyState(kinds.Kind, 1.0)})\n"
        "program = export.export(jax.jit(lambda t: t['w'].value + 1))(tree)\n"
        "open('program', 'wb').write(program.serialize())\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{':'.join(filter(None, sys.path))}"}

    def said(text: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said(make)
    assert said(code.format(imports="import kinds")).split() == ["3.0", "True"]
    output = said(code.format(imports=""))
    assert "there is no class of states kinds:Kind: import the module that defines it, then read again" in output
    assert output.split()[-1] == "False"


def test_paths_select_in_the_trees_of_others():
    tree = optax.adam(0.1).init(parameters()[0])[0].mu
    assert len(tree.filter(PathGlob("**.bias")).to_flat()) == 3
