"""The verbs on state trees: merge, update, and what optimisers and raw JAX do with the trees."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from brainstate_graph import (
    FlattedDict,
    GraphError,
    NestedDict,
    Node,
    Overlay,
    State,
    TraceContextError,
    TreefyState,
    clone,
    graphdef,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from tests.laws.graphs import Gadget, Param, Stat, assert_isomorphic, layer, net, same_value
from tests.tables import each

# ------------------------------------------------------------------------------------------------- merge


def test_merge_takes_nested_dicts_flat_dicts_and_views():
    model = net()
    shape, tree = treefy_split(model)
    for data in (tree, tree.to_flat(), tree.to_pure_dict(), dict(tree.to_flat()), tree.to_flat().to_dict_values()):
        assert_isomorphic(model, treefy_merge(shape, data))


def test_merge_of_parts_in_any_order():
    model = net()
    shape, params, rest = treefy_split(model, Param, ...)
    assert_isomorphic(model, treefy_merge(shape, rest, params))
    assert_isomorphic(model, treefy_merge(shape, params | rest))


def test_merge_errors_name_the_paths():
    shape, params, rest = treefy_split(net(1), Param, ...)
    with pytest.raises(GraphError, match=r"do not fit the graph: missing: head\.seen; missing: layers\.0\.seen$"):
        treefy_merge(shape, params)
    with pytest.raises(GraphError, match=r"given twice: head\.seen; given twice: layers\.0\.seen$"):
        treefy_merge(shape, params, rest, rest)
    with pytest.raises(GraphError, match=r"unexpected: head\.more\.0$"):
        treefy_merge(shape, params, rest, {"head": {"more": {0: 1.0}}})
    with pytest.raises(GraphError, match=r"unexpected: head \(a Gadget, not a state\)$"):
        treefy_merge(shape, params, rest, {"head": 1.0})
    with pytest.raises(TypeError, match="needs a GraphDef first, not NestedDict"):
        treefy_merge(params, rest)
    with pytest.raises(TypeError, match="expected a state tree or a nested dict of values, not list"):
        treefy_merge(shape, [1])


def test_merging_live_states_makes_no_state_of_a_state():
    model = net(1)
    try:
        merged = treefy_merge(graphdef(model), states(model))
    except (GraphError, TypeError, ValueError):
        return
    assert not isinstance(merged.head.seen.value, State)


def test_pure_dicts_round_trip_where_a_state_holds_a_dict():
    model = Gadget(s=State({"w": 1.0, "b": {"c": 2.0}}))
    shape, tree = treefy_split(model)
    assert_isomorphic(model, treefy_merge(shape, tree.to_pure_dict()))
    update_states(model, {"s": {"w": 5.0, "b": {"c": 6.0}}})
    assert model.s.value == {"w": 5.0, "b": {"c": 6.0}}


def test_merged_models_share_no_state():
    shape, tree = treefy_split(net())
    one, two = treefy_merge(shape, tree), treefy_merge(shape, tree)
    one.head.seen.value = 5
    assert two.head.seen.value == 0 == tree["head"]["seen"].value


# ------------------------------------------------------------------------------------------------- update


def test_update_writes_to_the_live_states():
    model, other = net(), net()
    update_states(other, jax.tree.map(lambda x: x + 1, treefy_states(other)))
    weight = model.head.weight
    update_states(model, treefy_states(other))
    assert model.head.weight is weight
    assert_isomorphic(model, other)
    update_states(model, {"head": {"seen": 7}}, FlattedDict({("head", "seen"): 8}), {("layers", 0, "seen"): 9})
    assert (model.head.seen.value, model.layers[0].seen.value) == (8, 9)
    update_states(model)
    update_states(model, {})


def test_update_is_all_or_nothing():
    model = net()
    before = treefy_states(model)
    with pytest.raises(GraphError, match=r"do not fit the graph: unexpected: head\.nope; unexpected: layers\.7\.seen"):
        update_states(model, {"head": {"seen": 5, "nope": 1}, "layers": {7: {"seen": 1}}})
    with pytest.raises(GraphError, match=r"head\.bias is a Param, not a Stat"):
        update_states(model, NestedDict({"head": {"bias": TreefyState(Stat, 1.0), "seen": 5}}))
    with pytest.raises(ValueError, match=r"Param at Gadget\.layers\.0\.weight cannot be or hold another State"):
        update_states(model, {"head": {"seen": 5}, "layers": {0: {"weight": [State(1.0)]}}})
    assert treefy_states(model) == before

    def f(x):
        with pytest.raises(TraceContextError, match=r"Param at Gadget\.layers\.0\.weight"):
            update_states(model, {"head": {"seen": 5}, "layers": {0: {"weight": x}}})
        return x

    jax.jit(f)(1.0)
    assert treefy_states(model) == before


def test_a_refused_update_leaves_no_writes_in_an_overlay():
    model = net()
    with Overlay() as overlay:
        with pytest.raises(ValueError, match="another State"):
            update_states(model, {"head": {"seen": 5}, "layers": {0: {"weight": [State(1.0)]}}})
        assert model.head.seen.value == 0
    assert all(value is state.value for state, value in overlay.written())


def test_a_shared_state_is_updated_by_its_one_path():
    model = net()
    model.tied = model.head.seen
    update_states(model, jax.tree.map(lambda x: x + 1, treefy_states(model)))
    assert model.tied.value == 1


# ------------------------------------------------------------------------------------------------- raw JAX and optax


def test_trees_before_and_after_writes_fit_together():
    model = net()
    before = treefy_states(model)
    for state in states(model).values():
        state.value = state.value + 1
    after = treefy_states(model)
    assert jax.tree.structure(before) == jax.tree.structure(after) == jax.tree.structure(treefy_states(clone(model)))
    assert all(np.allclose(x, 1) for x in jax.tree.leaves(jax.tree.map(lambda a, b: b - a, before, after)))


def test_a_state_tree_is_a_carry_of_scan():
    shape, tree = treefy_split(Gadget(n=State(jnp.zeros(())), d=State({"x": jnp.ones(2)})))

    def body(tree, x):
        model = treefy_merge(shape, tree)
        model.n.value = model.n.value + x
        model.d.value = {"x": model.d.value["x"] * x}
        return treefy_states(model), model.n.value

    final, sums = jax.lax.scan(body, tree, jnp.arange(1.0, 5.0))
    assert sums.tolist() == [1.0, 3.0, 6.0, 10.0]
    assert final["d"].value["x"].tolist() == [24.0, 24.0]


def test_vmap_and_grad_over_trees():
    model = Gadget(w=Param(jnp.arange(3.0)))
    shape, tree = treefy_split(model)
    loss = lambda tree: (treefy_merge(shape, tree).w.value ** 2).sum()
    assert jax.grad(loss)(tree)["w"].value.tolist() == [0.0, 2.0, 4.0]
    many = jax.tree.map(lambda x: jnp.stack([x, x + 1]), tree)
    assert jax.vmap(loss)(many).tolist() == [5.0, 14.0]


def test_jit_traces_once_for_models_of_one_shape():
    traces = []

    @jax.jit
    def f(shape, tree):
        traces.append(0)
        return treefy_merge(shape, tree).head.bias.value.sum()

    for seed in range(3):
        model = net()
        model.head = layer(seed)
        assert np.allclose(f(*treefy_split(model)), model.head.bias.value.sum())
    assert len(traces) == 1


TRANSFORMATIONS = {
    "adam": lambda labels: optax.adam(0.1),
    "chain": lambda labels: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1)),
    "masked": lambda labels: optax.masked(optax.sgd(0.1), jax.tree.map(lambda x: x == "a", labels)),
    "multi steps": lambda labels: optax.MultiSteps(optax.adam(0.1), every_k_schedule=2),
    "partition": lambda labels: optax.partition({"a": optax.sgd(0.1), "b": optax.adam(0.1)}, labels),
}


@each("name", TRANSFORMATIONS)
def test_optax_treats_a_state_tree_like_a_dict_of_arrays(name):
    model = net()
    params = treefy_states(model, Param)
    plain = params.to_pure_dict()
    label = lambda x: "a" if x.ndim == 2 else "b"

    def train(params):
        tx = TRANSFORMATIONS[name](jax.tree.map(label, params))
        opt = tx.init(params)

        @jax.jit
        def step(params, opt):
            grads = jax.grad(lambda p: sum((x**3).sum() for x in jax.tree.leaves(p)))(params)
            updates, opt = tx.update(grads, opt, params)
            return optax.apply_updates(params, updates), opt

        for _ in range(3):
            params, opt = step(params, opt)
        return params

    trained = train(params)
    assert same_value(jax.tree.leaves(trained.to_pure_dict()), jax.tree.leaves(train(plain)))
    update_states(model, trained)
    assert treefy_states(model, Param) == trained


def test_a_textbook_loop_with_writes_between_the_updates():
    model = Gadget(w=Param(jnp.ones(2)), n=Stat(0))
    tx = optax.adam(0.1)
    opt = tx.init(treefy_states(model, Param))
    for _ in range(2):
        params = treefy_states(model, Param)
        updates, opt = tx.update(params, opt, params)
        update_states(model, optax.apply_updates(params, updates))
        model.w.value = model.w.value * 2
    assert float(model.w.value[0]) < 4.0


class Linear(Node):
    def __init__(self, n_in: int, n_out: int) -> None:
        self.in_size, self.out_size = (n_in,), (n_out,)
        self.weight = Param(jnp.arange(1.0, n_in * n_out + 1).reshape(n_in, n_out), tag="w")
        self.bias = Param(jnp.zeros(n_out), name="bias")
        self.calls = Stat(jnp.zeros(()))

    def __call__(self, x: Any) -> Any:
        self.calls.value += 1.0
        return x @ self.weight.value + self.bias.value


def test_a_merged_model_is_split_and_merged_again():
    model, x = Linear(2, 3), jnp.ones(2)
    expected = model(x)
    shape, tree = treefy_split(model)
    for turn in range(3):
        model = treefy_merge(shape, tree)
        assert np.array_equal(model(x), expected)
        again, tree = treefy_split(model)
        assert again is shape
        assert tree["calls"].value == turn + 2
    assert model.weight.tag == {"w"}
    assert model.bias.name == "bias"


def test_merged_models_are_as_good_inside_raw_jit():
    shape, tree = treefy_split(Linear(2, 3))

    @jax.jit
    def twice(tree):
        model = treefy_merge(*treefy_split(treefy_merge(shape, tree)))
        y = clone(model)(model(jnp.ones(2))[:2])
        return y, treefy_states(model)

    y, after = twice(tree)
    w = np.arange(1.0, 7.0).reshape(2, 3)
    assert np.allclose(y, (np.ones(2) @ w)[:2] @ w)
    assert after["calls"].value == 1
    assert jax.tree.structure(after) == jax.tree.structure(tree)
