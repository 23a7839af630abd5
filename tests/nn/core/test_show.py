"""How modules look; how anything looks is tested with the graph package."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import treescope

import brainstate_nn as nn
from brainstate_graph import Overlay, clone, to_dot, treefy_merge, treefy_split
from brainstate_transform import vmap


def test_one_line_where_it_fits():
    assert repr(nn.Linear(2, 3)) == (
        "Linear(in_size=2, out_size=3, weight=ParamState(f32[2,3]), bias=ParamState(f32[3]))  # ParamState 9 (36 B)"
    )
    assert repr(nn.Linear(1, 1, use_bias=False)).endswith("# ParamState 1 (4 B)")
    assert repr(nn.Sequential(nn.relu, lambda x: x)) == "Sequential(layers=[relu, <lambda>])"
    assert repr(nn.Sequential()) == "Sequential(layers=[])"


def test_a_clone_prints_the_same():
    conv = nn.Conv(4, 6, (3, 3))
    assert repr(clone(conv)) == repr(conv)
    assert repr(conv).startswith("Conv(in_channels=4, out_channels=6, kernel_size=(3, 3), weight=")


def test_what_is_as_by_default_is_left_out():
    assert "groups" not in repr(nn.Conv2d(4, 6, 3))
    assert "groups=2" in repr(nn.Conv2d(4, 6, 3, groups=2))
    assert "stride" not in repr(nn.Conv2d(4, 6, 3, stride=1))  # kept as (1, 1)
    assert "stride=(1, 2)" in repr(nn.Conv2d(4, 6, 3, stride=(1, 2)))
    assert "epsilon=0.001" in repr(nn.LayerNorm(3, epsilon=1e-3))

    class Odd(nn.Module):
        def __init__(self, rate=1, table=(), name="x", array=None):
            self.rate, self.table, self.name, self.array = rate, table, name, array

    assert repr(Odd()) == "Odd()"
    assert repr(Odd(1.0, (1,), "y", np.zeros(2))) == "Odd(rate=1.0, table=(1,), name='y', array=f64[2])"
    assert repr(Odd(True)) == "Odd(rate=True)"


def test_a_layer_is_a_line_and_a_part_has_its_counts():
    net = nn.Sequential(nn.BatchNorm(512), nn.Sequential(nn.LSTMCell(8, 8), nn.MultiHeadAttention(2, 8)))
    lines = repr(net).splitlines()
    assert [line.split("(")[0].strip() for line in lines if "State(" in line] == [
        "BatchNorm",
        "LSTMCell",
        "query=LinearGeneral",
        "key=LinearGeneral",
        "value=LinearGeneral",
        "out=LinearGeneral",
    ]
    assert "          num_heads=2, in_size=8, num_kv_heads=2, head_size=4, out_size=8, kv_size=8," in lines
    assert [line.strip() for line in lines if "#" in line] == [
        "),  # ParamState 288 (1.2 kB)",
        "),  # ParamState 832 (3.3 kB)",
        ")  # ParamState 1,856 (7.4 kB), BatchState 1,024 (4.1 kB)",
    ]


def test_nested_where_it_does_not():
    net = nn.Sequential(nn.Linear(2, 3), nn.relu, nn.Linear(3, 1000))
    assert repr(net) == inspect.cleandoc(
        """
        Sequential(
          layers=[
            Linear(in_size=2, out_size=3, weight=ParamState(f32[2,3]), bias=ParamState(f32[3])),
            relu,
            Linear(in_size=3, out_size=1000, weight=ParamState(f32[3,1000]), bias=ParamState(f32[1000])),
          ],
        )  # ParamState 4,009 (16.0 kB)
        """
    )


def test_shared_parts_are_named_and_counted_once():
    shared = nn.Linear(1, 1, use_bias=False)
    net = nn.Sequential(shared, shared)
    net.weight = shared.weight
    text = repr(net)
    assert "<the Linear at layers.0>" in text
    assert "weight=<the ParamState at weight>" in text
    assert text.endswith("# ParamState 1 (4 B)")


def test_each_kind_of_state_is_counted():
    net = nn.Sequential(nn.BatchNorm(3), nn.Dropout(0.5))
    text = repr(net)
    assert text.endswith("# ParamState 6 (24 B), BatchState 6 (24 B), RandomState 2 (12 B)")  # a key is 8 bytes
    assert "RandomState((key<fry>[], u32[]))" in text


def test_the_mode_shows():
    assert "training=False" in repr(nn.Dropout(0.5).eval())
    assert "training" not in repr(nn.Dropout(0.5))


def test_a_half_made_module_prints():
    class Broken(nn.Module):
        def __init__(self):
            self.weight = nn.ParamState(jnp.ones(2))
            self.text = repr(self)

    assert Broken().text == "Broken(weight=ParamState(f32[2]))  # ParamState 2 (8 B)"
    assert repr(nn.Linear.__new__(nn.Linear)) == "Linear()"


def test_printing_while_traced():
    texts = []
    shape, tree = treefy_split(nn.Linear(2, 3))
    jax.jit(lambda tree: texts.append(repr(treefy_merge(shape, tree))))(tree)
    with Overlay():
        texts.append(repr(nn.Linear(2, 3)))
    assert texts == [repr(nn.Linear(2, 3))] * 2


@pytest.mark.parametrize("look", [repr, treescope.render_to_text, lambda rng: to_dot([rng])])
def test_looking_at_a_stream_draws_nothing(look):
    def draws(prints):
        rng = nn.RandomState(0)

        def f(x):
            if prints:
                look(rng)
            return rng.normal(()) + x

        return np.asarray(vmap(f)(jnp.zeros(3))), int(rng.value[1])

    (plain, count), (printed, count_printed) = draws(False), draws(True)
    assert count == count_printed
    assert (plain == printed).all()


@pytest.mark.parametrize("net", [nn.Sequential(nn.Linear(2, 3), nn.relu), nn.BatchNorm(2), nn.Dropout(0.5)])
def test_pages(net):
    assert treescope.render_to_html(net, ignore_exceptions=False)
    text = treescope.render_to_text(net, ignore_exceptions=False)
    assert text.partition("# ")[2].splitlines()[0] == repr(net).partition("# ")[2]
