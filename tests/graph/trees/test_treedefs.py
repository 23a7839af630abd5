"""What is part of the treedef of a state tree, and what is not: never the history of its states."""

from __future__ import annotations

import copy
import pickle

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from brainstate_graph import (
    FlattedDict,
    NestedDict,
    State,
    TreefyState,
    clone,
    graphdef,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from brainstate_transform import jit, scan
from tests.laws.graphs import Gadget, Param, Stat, net, same_value
from tests.laws.transforms import Runs
from tests.tables import each

one = jnp.float32(1.0)  # an argument; not for a state, whose buffer may be donated


@pytest.mark.counts_traces
def test_equal_states_have_equal_treedefs():
    def make():
        return Gadget(w=Param(jnp.ones(2), name="n", tag=["b", "a"], unit=1), n=State(1.0))

    one_, two = make(), make()
    two.w.register_hook("read", lambda context: None)
    two.w.value = two.w.value * 3.0  # written, unlike the other
    one_.w.value  # noqa: B018 - read
    trees = treefy_states(one_), treefy_states(two)
    assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])
    both = jax.tree.map(lambda a, b: a + b, *trees)
    assert np.array_equal(both["w"].value, [4.0, 4.0])
    jax.tree.map(lambda a, b: a, trees[0]["w"], trees[1]["w"])  # the same of single states
    runs = Runs()
    f = jax.jit(lambda tree: (runs(), jax.tree.map(jnp.sin, tree))[1])
    for tree in (*trees, both, treefy_states(clone(two))):
        f(tree)
    assert runs.count == 1
    model_runs = Runs()
    g = jax.jit(lambda d, t: (model_runs(), treefy_merge(d, t).w.value)[1])
    for model in (one_, two, clone(one_)):
        g(*treefy_split(model))
    assert model_runs.count == 1


def test_the_treedef_does_not_depend_on_history():
    model = Gadget(w=Param(one, tag=["b", "a"], foo=1, bar=2), n=Stat(one))
    before = treefy_states(model)
    model.w.value = model.w.value * 3.0
    update_states(model, {"n": jnp.float32(4.0)})
    model.w.restore_value(jnp.float32(5.0))
    jit(lambda: setattr(model.n, "value", model.n.value * 2))()
    after = treefy_states(model)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert jax.tree.map(lambda a, b: float(a - b), after, before).to_pure_dict() == {"w": 4.0, "n": 7.0}
    swapped = Gadget(n=Stat(one), w=Param(one, bar=2, foo=1, tag=("a", "b")))
    assert graphdef(swapped) is graphdef(model)
    assert jax.tree.structure(treefy_states(swapped)) == jax.tree.structure(before)
    with pytest.raises(AttributeError):
        model.w.tag.add("c")
    assert jax.tree.structure(treefy_states(model)) == jax.tree.structure(before)


def test_a_tree_that_was_written_meanwhile_is_a_carry_and_food_for_optax():
    model, tx = Gadget(w=Param(jnp.ones(2)), n=Stat(jnp.zeros(()))), optax.adam(0.1)
    shape, tree = treefy_split(model)
    state = tx.init(tree)

    def body(tree, x):
        inner = treefy_merge(shape, tree)
        inner.n.value = inner.n.value + x
        update_states(inner, {"w": inner.w.value * 2.0})
        return treefy_states(inner), inner.n.value

    tree, sums = jax.lax.scan(body, tree, jnp.arange(3.0))
    assert np.array_equal(sums, [0.0, 1.0, 3.0])
    assert np.array_equal(tree["w"].value, [8.0, 8.0])
    ours, _ = scan(body, treefy_states(model), jnp.arange(3.0))
    assert jax.tree.structure(ours) == jax.tree.structure(tree)
    update_states(model, tree)
    for _ in range(2):
        updates, state = tx.update(jax.tree.map(jnp.ones_like, tree), state, treefy_states(model))
        update_states(model, optax.apply_updates(treefy_states(model), updates))
        model.n.value = model.n.value + 1.0


COPIES = {
    "copy": copy.copy,
    "method": lambda item: item.copy(),
    "deepcopy": copy.deepcopy,
    "pickle": lambda item: pickle.loads(pickle.dumps(item)),
    "cloudpickle": lambda item: pickle.loads(cloudpickle.dumps(item)),
}


def examples():
    tree = treefy_states(net())
    odd = NestedDict({float("nan"): 1.0, "a": {0: np.ones(2), (1, None): TreefyState(Param, 1.0, rate=float("nan"))}})
    ref = TreefyState(Param, {"w": np.ones(2)}, name="n", tag="t", table=((1, 2.0), True))
    return [tree, tree.to_flat(), odd, odd.to_flat(), NestedDict(), FlattedDict(), ref, NestedDict({"a": {}})]


@each("how", COPIES)
@each("number", range(len(examples())))
def test_copies_have_the_same_treedef(how, number):
    item = examples()[number]
    same = COPIES[how](item)
    assert type(same) is type(item)
    assert jax.tree.structure(same) == jax.tree.structure(item)
    assert hash(jax.tree.structure(same)) == hash(jax.tree.structure(item))
    assert same_value(same, item)
    if isinstance(item, TreefyState):
        assert (same.name, same.tag, same.metadata) == (item.name, item.tag, item.metadata)


@each("how", ["deepcopy", "pickle", "cloudpickle"])
def test_copies_keep_what_is_shared(how):
    array = np.ones(3)
    tree = NestedDict({"a": array, "b": TreefyState(State, {"x": array})})
    one, two, alone = COPIES[how]([tree, tree.to_flat(), array])
    assert one["a"] is one["b"].value["x"] is two[("a",)] is two[("b",)].value["x"] is alone
    assert alone is not array
    model = net()
    clone, live = COPIES[how]((model, states(model)))
    assert live[("head", "bias")] is clone.head.bias is not model.head.bias


def test_metadata_that_can_only_be_itself_stays_itself_in_a_copy():
    ref = TreefyState(State, 1.0, mask=jnp.ones(2))
    for item in (ref, NestedDict({"a": ref})):
        assert jax.tree.structure(copy.deepcopy(item)) == jax.tree.structure(item)
