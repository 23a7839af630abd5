"""A deleted array never enters a model: every verb that takes values refuses it by name, and changes nothing."""

from __future__ import annotations

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import (
    NestedDict,
    Node,
    State,
    TreefyState,
    clone,
    merge_context,
    split_context,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from brainstate_graph.extend import make_state
from brainstate_transform import jit
from tests.tables import each


class Net(Node):
    def __init__(self):
        self.inner = Node()
        self.inner.w = State(jnp.ones(3))
        self.inner.tree = State({"a": [jnp.ones(2), 1.0]})
        self.key = State(jax.random.key(0))


def killed(array):
    """The same array, given away to a compiled call."""
    array = jnp.array(array)
    jax.block_until_ready(array)
    array.delete()
    return array


def dead(path):
    return {
        "w": lambda: killed(jnp.ones(3)),
        "tree": lambda: {"a": [killed(jnp.ones(2)), 1.0]},
        "key": lambda: killed(jax.random.key(0)),
    }[path]()


PLACES = {"w": r"inner\.w", "tree": r"inner\.tree.*\['a'\]\[0\]|\['a'\]\[0\].*inner\.tree", "key": r"key"}


def state_of(net, name):
    return net.key if name == "key" else getattr(net.inner, name)


def nested(name, value):
    return {name: value} if name == "key" else {"inner": {name: value}}


def by_assignment(net, name):
    state_of(net, name).value = dead(name)


def restored(net, name):
    state_of(net, name).restore_value(dead(name))


def updated(net, name):
    update_states(net, nested(name, dead(name)))


def updated_loosely(net, name):
    update_states(net, nested(name, dead(name)), strict=False)


def updated_by_a_tree(net, name):
    path = ("key",) if name == "key" else ("inner", name)
    update_states(net, NestedDict.from_flat({path: dead(name)}))


def updated_in_part(net, name):
    live = treefy_states(net).to_flat()
    path = ("key",) if name == "key" else ("inner", name)
    values = {p: jax.tree.map(lambda x: x, leaf.value) for p, leaf in live.items()}
    update_states(net, {**values, path: dead(name)})


def merged(net, name):
    shape, tree = treefy_split(net)
    path = ("key",) if name == "key" else ("inner", name)
    treefy_merge(shape, tree | NestedDict.from_flat({path: dead(name)}))


def merged_plain(net, name):
    shape, tree = treefy_split(net)
    values = tree.to_flat().to_pure_dict()
    treefy_merge(shape, {**values, ("key",) if name == "key" else ("inner", name): dead(name)})


def merged_in_a_context(net, name):
    with split_context() as split:
        shape, tree = split.treefy_split(net)
    path = ("key",) if name == "key" else ("inner", name)
    with merge_context() as merge:
        merge.treefy_merge(shape, tree | NestedDict.from_flat({path: dead(name)}))


VERBS = [
    by_assignment,
    restored,
    updated,
    updated_loosely,
    updated_by_a_tree,
    updated_in_part,
    merged,
    merged_plain,
    merged_in_a_context,
]


@each("name", PLACES)
@each("verb", VERBS)
def test_values_that_are_given(verb, name):
    net = Net()
    before = {path: state.value for path, state in states(net).items()}
    with pytest.raises(ValueError, match=rf"(?s)(?=.*deleted).*({PLACES[name]})"):
        verb(net, name)
    after = {path: state.value for path, state in states(net).items()}
    assert all(after[path] is value for path, value in before.items() if path != ("inner", "tree"))
    assert after["inner", "tree"]["a"][0] is before["inner", "tree"]["a"][0]


COPIES = {
    "clone": clone,
    "deepcopy": copy.deepcopy,
    "copies of states": lambda net: [state.copy() for state in states(net).values()],
    "replace": lambda net: [state.replace(name="x") for state in states(net).values()],
    "TreefyState": lambda net: [leaf.to_state() for leaf in treefy_states(net).to_flat().values()],
}


@each("name", PLACES)
@each("way", COPIES)
def test_models_that_lost_an_array_are_not_copied(way, name):
    net = Net()
    value = state_of(net, name).value
    jax.tree.map(lambda x: x.delete() if isinstance(x, jax.Array) else None, value)
    with pytest.raises(ValueError, match="deleted"):
        COPIES[way](net)


@each("name", PLACES)
@each("make", [State, lambda v: make_state(State, v, ()), lambda v: TreefyState(State, v).to_state()])
def test_new_states(make, name):
    with pytest.raises(ValueError, match="deleted"):
        make(dead(name))


def test_the_first_array_of_a_process_and_every_later_one():
    s = State(0)
    for value in (killed(jnp.ones(2)), killed(jnp.ones(2, int)), killed(jnp.ones(()))):
        with pytest.raises(ValueError, match=r"State.* cannot take this value: the array was deleted"):
            s.value = value
        assert s.value == 0
    s.value = jnp.ones(2)
    s.value = np.ones(2)
    s.value = {"a": jnp.ones(2)}


def test_inside_of_a_trace():
    s, gone = State(jnp.ones(2)), killed(jnp.ones(2))

    @jit
    def step():
        s.value = gone

    with pytest.raises(ValueError, match="deleted"):
        step()
    assert float(s.value.sum()) == 2.0


def test_new_states_of_an_update():
    net = Net()
    tree = NestedDict({"inner": {"new": TreefyState(State, killed(jnp.ones(2)))}})
    with pytest.raises(ValueError, match="deleted"):
        update_states(net, tree, allow_new=True)
    assert not hasattr(net.inner, "new")


# -- copies that own their buffers -------------------------------------------------------------------------------------


def buffers(net):
    return [
        (jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf).unsafe_buffer_pointer()
        for state in states(net).values()
        for leaf in jax.tree.leaves(state.value)
        if isinstance(leaf, jax.Array)
    ]


def test_a_deep_copy_owns_its_buffers():
    net = Net()
    net.weak = State(jnp.asarray(1.0))
    net.again = State(net.inner.w.value)  # two states with one array
    net.numpy = State(np.ones(2))
    other = copy.deepcopy(net)
    assert not set(buffers(net)) & set(buffers(other))
    assert other.weak.value.weak_type
    assert other.again.value is not other.inner.w.value
    assert other.numpy.value is not net.numpy.value
    for one, two in zip(states(net).values(), states(other).values(), strict=True):
        assert jax.tree.structure(one.value) == jax.tree.structure(two.value)
        for a, b in zip(jax.tree.leaves(one.value), jax.tree.leaves(two.value), strict=True):
            assert type(a) is type(b)
            assert bool((a == b) if not hasattr(a, "shape") else (a == b).all())


@each("way", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_donation_leaves_a_copy_alone(way):
    net = Net()
    other = way(net)

    @jit(donate_states=True)
    def step():
        net.inner.w.value = net.inner.w.value + 1.0
        net.inner.tree.value = {"a": [net.inner.tree.value["a"][0] * 2.0, 1.0]}

    step()
    step()
    assert float(other.inner.w.value.sum()) == 3.0
    assert float(other.inner.tree.value["a"][0].sum()) == 2.0


def test_a_deep_copy_inside_of_a_trace():
    net = Net()
    assert float(jit(lambda x: copy.deepcopy(net).inner.w.value.sum() * x)(2.0)) == 6.0
