"""How graphs print: in one line where they fit, and whatever is in them."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from typing import Any

import jax.numpy as jnp
import treescope

from brainstate_graph import NestedDict, Node, Overlay, State, TreefyState, graphdef, treefy_split
from brainstate_graph.extend import flatten
from tests.laws.graphs import RAW, Bag, Gadget, Pair, Param, Stat, Widget, net
from tests.tables import each


class Link(Node):
    def __init__(self, below: Any, size: Any) -> None:
        self.size = size
        self.below = below


class Bad:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Chatty(Gadget):
    def __repr__(self) -> str:
        return f"Chatty with {self.inner!r}"


def test_one_line_where_it_fits():
    assert repr(Link([1], "a")) == "Link(size='a', below=[1])"
    assert repr(Link(Param(jnp.ones((2, 3)), name="w", tag={"b", "a"}), 2)) == (
        "Link(size=2, below=Param(f32[2,3], name='w', tag={'a', 'b'}))  # Param 6 (24 B)"
    )
    assert repr(Gadget()) == "Gadget()"
    assert repr(Gadget(t=(1,), p=Pair(1, Param(1.0)))) == "Gadget(t=(1,), p=Pair(left=1, right=Param(1.0)))  # Param 1"
    assert repr(Gadget(d=OrderedDict(a=[State(1)]))) == "Gadget(d=OrderedDict({'a': [State(1)]}))  # State 1"
    assert repr(Gadget(bag=Bag(1, Param(2)))) == "Gadget(bag=Bag(1, Param(2)))  # Param 1"


def test_nested_where_it_does_not():
    model = Link([Link(Param(jnp.ones(3)), "x" * 50), Link(Stat(jnp.ones(1)), "y" * 50)], 0)
    model.me = model
    assert repr(model) == "\n".join(
        [
            "Link(",
            "  size=0,",
            "  below=[",
            f"    Link(size='{'x' * 50}', below=Param(f32[3])),",
            f"    Link(size='{'y' * 50}', below=Stat(f32[1])),",
            "  ],",
            "  me=<the Link at the top>,",
            ")  # Param 3 (12 B), Stat 1 (4 B)",
        ]
    )


def test_plain_attributes_stand_before_states_and_these_before_parts():
    class Layer(Node):
        def __init__(self, width, depth):
            self.a, self.b, self.c = Gadget(), Param(1.0), 3
            self.part, self.depth, self.width, self.w = [], depth, width, Param(2.0)

    text = repr(Layer(1, 2))
    names = re.findall(r"(\w+)=", text)
    assert names == ["c", "depth", "width", "b", "w", "a", "part"]


def test_hidden_attributes_do_not_show_but_count():
    class Half(Gadget):
        graph_invisible_attrs = ("scratch",)

    node = Half(_cache=Param(jnp.ones(5)), scratch=Param(jnp.ones(7)), nothing=None, x=1)
    assert repr(node) == "Half(x=1)  # Param 5 (20 B)"


def test_no_line_is_wider_than_the_window():
    tree = treefy_split(net(4))[1]
    for item in (net(4), tree, tree.to_flat(), str(graphdef(net(4)))):
        text = item if isinstance(item, str) else repr(item)
        assert max(map(len, text.splitlines())) <= 110


def test_trees():
    tree = NestedDict({"a": {0: TreefyState(Param, jnp.ones(2), name="n")}, "b": TreefyState(Stat, 1.0)})
    assert repr(tree) == "NestedDict({'a': {0: TreefyState(Param, f32[2], name='n')}, 'b': TreefyState(Stat, 1.0)})"
    assert repr(tree.to_flat()) == (
        "FlattedDict({('a', 0): TreefyState(Param, f32[2], name='n'), ('b',): TreefyState(Stat, 1.0)})"
    )
    wide = NestedDict({f"w{i:05}": TreefyState(Param, jnp.ones(2)) for i in range(10_000)})
    assert len(str(wide)) < 4000
    assert str(wide).splitlines()[-2:] == ["  ... (+9,952 more)", "})  # Param 20,000 (80.0 kB)"]


def test_a_lone_leaf_shows_its_numbers_while_they_are_few():
    few = repr(TreefyState(Param, jnp.ones(2)))
    many = repr(TreefyState(Param, jnp.ones(200)))
    assert f"value={jnp.ones(2)!r}" in few
    assert "value=f32[200]" in many
    assert few.replace(repr(jnp.ones(2)), "V") == many.replace("f32[200]", "V")


def test_graphdefs():
    shape = graphdef(Link([Param(1.0), 2], "s"))
    assert repr(shape) == "GraphDef(Link, nodes=1, states=1)"
    assert str(shape) == "GraphDef(Link(size='s', below=[Param(), 2]))  # 1 node, 1 state"
    item = Param(1.0)
    known = flatten([item, item], {item: 3}.get).graphdef
    assert str(known) == "GraphDef([<known 3: Param>, <the Param at 0>])  # 0 nodes, 0 states"


def test_broken_values_never_fail():
    unordered = State(1.0)
    unordered.value = None
    object.__setattr__(unordered, "_value", {1: jnp.ones(2), "a": 2})
    lost = Param(gone := jnp.ones(3))
    gone.delete()
    node = Gadget(bad=Bad(), key={Bad(): 1}, gone=lost, half=State.__new__(State), mixed=unordered)
    text = repr(node)
    for part in ("bad=<Bad>", "{<Bad>: 1}", "gone=Param(f32[3])", "half=<State>", "State({1: f32[2], 'a': 2})"):
        assert part in text
    assert repr(State.__new__(State)) == "<State>"
    assert "value=f32[3]" in repr(TreefyState(Param, gone))
    assert repr(Node.__new__(Widget)) == "Widget()"
    treescope.render_to_html(Gadget(bad=Bad(), half=State.__new__(State)), ignore_exceptions=False)


def test_a_list_that_holds_itself():
    items: list[Any] = [1]
    items.append(items)
    bag = Bag(1)
    bag.items.append(bag)
    assert repr(Gadget(a=items)) == "Gadget(a=[1, <the list at a>])"
    assert repr(Gadget(a=bag)) == "Gadget(a=Bag(1, <the Bag at a>))"
    assert "the list at a" in treescope.render_to_text(Gadget(a=items), ignore_exceptions=False)


@each("transform", RAW)
def test_inside_transforms(transform):
    texts = []

    def f(x):
        node = Gadget(w=Param({"x": x}), y=3)
        texts.append((repr(node), treescope.render_to_text(node, ignore_exceptions=False)))
        treescope.render_to_html(node, ignore_exceptions=False)
        return x

    RAW[transform](f)
    assert texts
    assert texts[0][0].startswith("Gadget(y=3, w=Param({'x': f32[]}))  # Param 1")


def test_a_state_whose_trace_is_over():
    lost = []
    with Overlay():
        lost.append(Param(1.0, name="lost"))
    assert repr(lost[0]) == "Param(<made inside a transform>, name='lost')"
    assert repr(Gadget(a=lost[0], b=Stat(2))) == (
        "Gadget(a=Param(<made inside a transform>, name='lost'), b=Stat(2))  # Stat 1"
    )
    assert "made inside" in treescope.render_to_text(Gadget(a=lost[0]), ignore_exceptions=False)


def test_a_class_may_print_itself():
    inner = Gadget(w=Param(jnp.ones(2)))
    assert repr(Gadget(a=Chatty(inner=inner))) == "Gadget(a=Chatty with Gadget(w=Param(f32[2])))  # Param 2 (8 B)"


def test_a_class_that_prints_itself_may_ask_for_ours():
    class Polite(Gadget):
        def __repr__(self) -> str:
            return "very " + super().__repr__()

    assert repr(Polite(x=1)) == "very Polite(x=1)"
    assert repr(Gadget(a=Polite(x=1))) == "Gadget(a=very Polite(x=1))"


def test_classes_that_print_themselves_in_a_cycle():
    root = Gadget()
    root.a, root.b = Chatty(inner=root), Chatty(inner=root)
    assert len(repr(root)) < 1000
    assert len(repr(root.a)) < 1000


def test_threads_print_on_their_own():
    texts = []
    node = Gadget(a=Chatty(inner=Gadget(w=Param(1.0))))
    threads = [threading.Thread(target=lambda: texts.extend(repr(node) for _ in range(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(texts) == {repr(node)}
