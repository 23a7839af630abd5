from __future__ import annotations

import copy
import pickle

import jax
import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_graph import GraphError, Node, clone, graphdef, treefy_merge, treefy_split


class Block(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(2, 2)
        self.drop = nn.Dropout(0.5)

    def __call__(self, x):
        return self.drop(self.linear(x))


class Net(nn.Module):
    def __init__(self):
        self.blocks = [Block(), Block()]
        self.norm = nn.BatchNorm(2)
        self.again = self.blocks[0]
        self.top = self

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def test_call_runs_call_and_else_update():
    class Old(nn.Module):
        def update(self, x, *, scale=1):
            return x * scale

    class Both(Old):
        def __call__(self, x):
            return self.update(x, scale=3)

    assert Old()(2, scale=2) == 4
    assert Both()(2) == 6


def test_a_module_without_either_says_what_to_write():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty cannot be called: define `def __call__\(self, x\): ...`"):
        Empty()(1)


def test_super_init_is_not_needed_and_does_no_harm():
    class With(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.ParamState(jnp.ones(1))

    class Without(nn.Module):
        def __init__(self):
            self.w = nn.ParamState(jnp.ones(1))

    for kind in (With, Without):
        module = kind()
        assert list(module.states()) == [("w",)]
        assert repr(module).startswith(kind.__name__)
        assert module.train().training


def test_states_are_live_and_filtered():
    net = Net()
    assert net.states()["norm", "bias"] is net.norm.bias
    params, rest = net.states(nn.ParamState, ...)
    assert len(params) == 6
    assert {type(s) for s in rest.values()} == {nn.BatchState, nn.RandomState}
    assert list(net.states(nn.BatchState)) == [("norm", "running_mean"), ("norm", "running_var")]


def test_nodes_are_live_and_filtered():
    net = Net()
    assert net.nodes()[()] is net
    assert list(net.nodes(nn.Linear)) == [("again", "linear"), ("blocks", 1, "linear")]
    linear, drop = net.nodes(nn.Linear, nn.Dropout)
    assert len(linear) == len(drop) == 2


def test_train_and_eval_reach_every_module_and_return_the_model():
    net = Net()
    assert net.eval() is net
    assert not any(node.training for node in net.nodes().values())
    assert net.train() is net
    assert all(node.training for node in net.nodes().values())
    assert not net.train(False).training


def test_switching_back_restores_the_very_same_structure():
    net = Net()
    before = graphdef(net)
    assert graphdef(net.train()) is before
    evaluated = graphdef(net.eval())
    assert evaluated is not before
    assert graphdef(net.train()) is before
    assert graphdef(net.eval()) is evaluated


def test_a_class_may_be_frozen_by_default():
    class Frozen(nn.Module):
        training = False

    frozen = Frozen()
    before = graphdef(frozen)
    assert graphdef(frozen.eval()) is before
    assert frozen.train().training
    assert graphdef(frozen.eval()) is before


def test_raw_jit_compiles_once_for_each_mode():
    net = Net()
    traces = []

    @jax.jit
    def run(shape_and_tree, x):
        traces.append(1)
        return treefy_merge(*shape_and_tree)(x)

    for _ in range(2):
        run(treefy_split(net.train()), jnp.ones((3, 2)))
        run(treefy_split(net.eval()), jnp.ones((3, 2)))
    assert len(traces) == 2


def test_the_mode_survives_clone_pickle_and_deepcopy():
    net = Net().eval()
    for twin in (clone(net), pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert graphdef(twin) is graphdef(net)
        assert twin is not net
        assert not twin.norm.training
        assert twin(jnp.ones((3, 2))).tolist() == net(jnp.ones((3, 2))).tolist()


def test_mode_of_a_very_deep_model():
    chain = None
    for _ in range(3000):
        nxt = nn.Flatten()
        nxt.inner = chain
        chain = nxt
    before = graphdef(chain)
    assert graphdef(chain.eval().train()) is before


def test_children_are_what_is_held_directly():
    class Holder(Node):
        def __init__(self, inner):
            self.inner = inner

    class Many(nn.Module):
        def __init__(self):
            self.one = nn.Sequential(nn.Linear(1, 1))
            self.table = {"b": nn.Linear(1, 1), 3: [(nn.Flatten(), self.one)]}
            self.node = Holder(nn.Linear(1, 1))
            self.top = self
            self.rate = 0.5

    many = Many()
    assert list(dict(many.named_children())) == ["one", "table.b", "table.3.0.0", "node.inner"]
    assert [*many.children()] == [child for _, child in many.named_children()]
    assert [*nn.Linear(1, 1).children()] == []


def test_a_module_that_is_held_directly_and_deeper_is_a_child():
    net = nn.Sequential(nn.Sequential(nn.Linear(1, 1)))
    net.zzz = net.layers[0].layers[0]
    assert list(dict(net.named_children())) == ["layers.0", "zzz"]
    assert list(dict(net.named_modules())) == ["", "layers.0", "layers.0.layers.0"]


def test_modules_and_parameters_once_under_the_names_of_a_checkpoint():
    net = Net()
    named = dict(net.named_modules())
    assert list(named) == [
        "",
        "blocks.0",
        "blocks.0.linear",
        "blocks.0.drop",
        "blocks.1",
        "blocks.1.linear",
        "blocks.1.drop",
        "norm",
    ]
    assert named[""] is net
    assert [*net.modules()] == [*named.values()]
    parameters = dict(net.named_parameters())
    assert list(parameters) == list(nn.to_flat_dict(net, nn.ParamState))
    assert list(parameters.values()) == list(net.states(nn.ParamState).values())
    assert parameters["norm.weight"] is net.norm.weight
    assert [*net.parameters()] == [*parameters.values()]
    for made in (net.named_children(), net.children(), net.modules(), net.parameters()):
        assert iter(made) is made


def test_names_that_cannot_be_told_apart():
    net = nn.Sequential()
    net.table = {1: nn.Linear(1, 1), "1": nn.Linear(1, 1)}
    for names in (net.named_children, net.named_modules, net.named_parameters):
        with pytest.raises(GraphError, match=r"would both be named 'table\.1"):
            names()


def test_the_mode_shows():
    net = nn.Sequential(nn.Dropout(0.5))
    assert "training" not in repr(net)
    assert repr(net.eval()).count("training=False") == 2
    assert repr(net.layers[0]).startswith("Dropout(rate=0.5, training=False")
