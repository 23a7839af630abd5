from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import treescope

import brainstate_nn as nn
from brainstate_graph import Node, Overlay, Snapshot, clone, treefy_merge, treefy_split


class Pair(nn.Module):
    def __init__(self, first, second):
        self.first = first
        self.second = second


def test_one_line_where_it_fits():
    assert repr(nn.Linear(2, 3)) == (
        "Linear(in_size=2, out_size=3, bias=ParamState(f32[3]), weight=ParamState(f32[2,3]))  # 9 parameters"
    )
    assert repr(nn.Linear(1, 1, use_bias=False)).endswith("# 1 parameter")
    assert repr(nn.Sequential(nn.relu, lambda x: x)) == "Sequential(layers=[relu, <lambda>])"
    assert repr(nn.Sequential()) == "Sequential(layers=[])"


def test_a_clone_prints_the_same():
    conv = nn.Conv(4, 6, (3, 3))
    assert repr(clone(conv)) == repr(conv)
    assert repr(conv).replace("\n", "").startswith("Conv(  in_channels=4,  out_channels=6,  kernel_size=(3, 3),")


def test_nested_where_it_does_not():
    net = nn.Sequential(nn.Linear(2, 3), nn.relu, nn.Linear(3, 1000))
    assert repr(net) == inspect.cleandoc(
        """
        Sequential(
          layers=[
            Linear(in_size=2, out_size=3, bias=ParamState(f32[3]), weight=ParamState(f32[2,3])),
            relu,
            Linear(in_size=3, out_size=1000, bias=ParamState(f32[1000]), weight=ParamState(f32[3,1000])),
          ],
        )  # 4,009 parameters
        """
    )


def test_shared_parts_and_cycles_are_named():
    shared = nn.Linear(1, 1, use_bias=False)
    pair = Pair([shared], {"again": shared, 2: shared.weight})
    pair.me = pair
    text = repr(pair)
    assert "'again': <the Linear at first.0>" in text
    assert "2: <the ParamState at first.0.weight>" in text
    assert "me=<the Pair at the top>" in text
    assert text.endswith("# 1 parameter")


def test_the_mode_shows():
    assert "training=False" in repr(nn.Dropout(0.5).eval())
    assert "training" not in repr(nn.Dropout(0.5))


def test_private_attributes_and_none_do_not_show():
    pair = Pair(None, 1)
    pair._secret = 2
    assert repr(pair) == "Pair(second=1)"


def test_odd_values_never_fail():
    class Bad:
        def __repr__(self):
            raise RuntimeError("no")

    pair = Pair(Bad(), ("x" * 100, (1,), jnp.ones((2, 3)), np.float32(1), np.dtype("float32")))
    assert repr(pair).startswith("Pair(first=<Bad>, second=(<str>, (1,), f32[2,3], ")
    tuple_of_itself = [Bad()]
    tuple_of_itself.append(tuple_of_itself)
    assert repr(Pair(tuple_of_itself, 0)) == "Pair(second=0, first=[<Bad>, <the list at first>])"


def test_a_half_made_module_prints():
    class Broken(nn.Module):
        def __init__(self):
            self.weight = nn.ParamState(jnp.ones(2))
            self.text = repr(self)

    assert Broken().text == "Broken(weight=ParamState(f32[2]))  # 2 parameters"
    assert repr(nn.Linear.__new__(nn.Linear)) == "Linear()"


def test_deep_and_wide_models_print_shortened():
    chain = None
    for _ in range(5000):
        chain = Pair(chain, 0)
    assert len(repr(chain)) < 2000
    wide = Pair([nn.Flatten() for _ in range(5000)], 0)
    assert "..." in repr(wide)
    assert len(repr(wide)) < 20000


def test_a_plain_node_inside_prints_too():
    class Plain(Node):
        def __init__(self):
            self.size = 3

    assert repr(Pair(Plain(), 0)) == "Pair(second=0, first=Plain(size=3))"


@pytest.mark.graph_cache
def test_printing_changes_nothing():
    net = nn.Sequential(nn.Linear(2, 3))
    before = Snapshot(net)
    repr(net)
    assert before.is_current()


def test_printing_while_traced():
    texts = []
    shape, tree = treefy_split(nn.Linear(2, 3))
    jax.jit(lambda tree: texts.append(repr(treefy_merge(shape, tree))))(tree)
    with Overlay():
        texts.append(repr(nn.Linear(2, 3)))
    assert texts == [repr(nn.Linear(2, 3))] * 2


def test_treescope_renders_models_with_cycles():
    net = nn.Sequential(nn.Linear(2, 3), nn.relu)
    net.me = net
    text = treescope.render_to_text(net, ignore_exceptions=False)
    assert "in_size=2" in text
    assert "cyclic reference" in text
    assert treescope.render_to_html(net, ignore_exceptions=False)
