from __future__ import annotations

import html
import re
import threading
from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import treescope
from hypothesis import given, settings

from brainstate_graph import (
    FlattedDict,
    NestedDict,
    Node,
    Overlay,
    Snapshot,
    State,
    TreefyState,
    clone,
    graphdef,
    treefy_split,
)
from brainstate_graph._show.objects import view_of
from brainstate_graph._show.outline import Limits, Line, outline
from brainstate_graph._tools.words import Words, amount
from brainstate_graph.extend import describe, flatten
from tests.graph.zoo import RAW, Bag, Gadget, Pair, Param, Stat, Widget, graphs, net, parts_of

ALL = Limits(things=10**4, items=10**4, depth=60, method="__repr__")


class Link(Node):
    def __init__(self, below: Any, size: Any) -> None:
        self.size = size
        self.below = below


def chain(length: int) -> Any:
    link = None
    for _ in range(length):
        link = Link(link, 0)
    return link


def lines_of(root: Line) -> list[Line]:
    found, stack = [], [root]
    while stack:
        line = stack.pop()
        found.append(line)
        stack.extend(below for _, below in reversed(line.members))
    return found


# ------------------------------------------------------------------------------------------------- values in a line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (jnp.ones((2, 3)), "f32[2,3]"),
        (np.zeros(4, "uint8"), "u8[4]"),
        (jnp.ones(1, "bfloat16"), "bf16[1]"),
        (np.ones((), "complex64"), "c64[]"),
        (np.ones(2, bool), "bool[2]"),
        (jax.ShapeDtypeStruct((3,), "int32"), "i32[3]"),
        (jax.random.key(0), "key<fry>[]"),
        (np.float32(1), "f32[]"),
        ({"a": [1, (2.0,)], "b": None}, "{a: [1, (2.0,)], b: None}"),
        ([0] * 10, "[0, 0, 0, 0, 0, 0, 0, 0, ... (+2 more)]"),
        ("x" * 100, f"'{'x' * 57}'..."),
        (object(), "<object>"),
        (range(3), "range(0, 3)"),
        (len, "len"),
        (set(range(1000)), "<set>"),
    ],
)
def test_describe(value, text):
    assert describe(value) == text


def test_describe_of_tracers_is_that_of_arrays():
    texts = []
    jax.jit(jax.vmap(lambda x: texts.append(describe({"x": x}))))(jnp.ones((2, 3), "int8"))
    assert texts == ["{x: i8[3]}"]


def test_describe_ends_for_what_holds_itself():
    items: list[Any] = [1]
    items.append(items)
    assert describe(items) == "[1, [1, [1, [1, [...]]]]]"


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1049, 999_949, 999_950, 10**6, 3 * 10**12, 10**21])
def test_amount_is_within_its_precision(size):
    number, unit = amount(size).replace(",", "").split()
    assert abs(float(number) * 1000 ** ("B", "kB", "MB", "GB", "TB", "PB").index(unit) - size) <= 0.0501 * size
    assert float(number) < 1000 or unit == "PB"


# ------------------------------------------------------------------------------------------------- texts


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
    assert names == ["width", "depth", "c", "b", "w", "a", "part"]


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


# ------------------------------------------------------------------------------------------------- laws


@given(graphs())
@settings(max_examples=100)
def test_every_thing_is_shown_once(root):
    in_states = {id(x) for part in parts_of(root) if isinstance(part, State) for x in parts_of(part.value)}
    shown = [
        line.item
        for line in lines_of(outline(root, ALL).root)
        if isinstance(line.item, (Node, State, list, dict, Bag)) and id(line.item) not in in_states
    ]
    assert sorted(map(id, shown)) == sorted(id(x) for x in parts_of(root) if id(x) not in in_states)


@given(graphs())
@settings(max_examples=100)
def test_the_code_of_a_line_leads_there(root):
    places: dict[int, str] = {}
    for line in lines_of(outline(root, ALL).root):
        if line.code is None:  # through a Bag, which has no items for Python
            continue
        item = eval("root" + line.code, {"root": root})
        if not isinstance(line.item, Words):
            assert item is line.item or line.look is None
            places.setdefault(id(item), line.code)
        elif line.item.startswith("<the") and id(item) in places:
            keys = re.findall(r"\.(\w+)|\[(\([^)]*\)|[^\]]*)\]", places[id(item)])
            steps = [name or eval(key) for name, key in keys]
            path = [str(k) for step in steps for k in (step if isinstance(step, tuple) else (step,))]
            assert line.item == f"<the {type(item).__name__} at {'.'.join(path) or 'the top'}>"


@given(graphs())
@settings(max_examples=100)
def test_the_counts_are_those_of_the_states(root):
    counts: dict[str, list[int]] = {}
    for part in parts_of(root):
        if isinstance(part, State):
            for leaf in jax.tree.leaves(part.value):
                count = counts.setdefault(type(part).__name__, [0, 0])
                count[0] += np.size(leaf)
                count[1] += leaf.nbytes if hasattr(leaf, "nbytes") else 0
    for limits in (ALL, Limits(things=2, items=2, depth=1, method="__repr__")):  # whatever is shown
        assert {k: list(v) for k, v in outline(root, limits).counts.items() if v[0]} == counts


@given(graphs())
@settings(max_examples=50)
def test_a_clone_prints_the_same(root):
    for part in parts_of(root):
        if isinstance(part, State):
            part.value = jax.tree.map(lambda x: x, part.value)  # JAX sorts the keys of a dict, cloning too
    assert repr(clone(root)) == repr(root)


@given(graphs())
@settings(max_examples=50)
def test_a_graphdef_looks_like_its_graph(root):
    def same(a: Line, b: Line) -> None:
        assert (a.look is None) == (b.look is None)
        assert isinstance(a.item, Words) == isinstance(b.item, Words)
        if isinstance(a.item, Words):
            assert a.item == b.item
        if a.look is not None and b.look is not None:
            assert (a.look.type, a.look.opening) == (b.look.type, b.look.opening)
            if not issubclass(a.look.type, State):
                assert [label for label, _ in a.members] == [label for label, _ in b.members]
                for (_, left), (_, right) in zip(a.members, b.members, strict=True):
                    same(left, right)

    shape = graphdef(root)
    same(outline(root, ALL).root, outline(view_of(shape, shape.root), ALL).root)


@given(graphs())
@settings(max_examples=50)
def test_showing_is_no_read_and_no_change(root):
    before = Snapshot(root)
    with Overlay() as overlay:
        repr(root)
        treescope.render_to_text(root, ignore_exceptions=False)
    assert not overlay.reads
    assert not overlay.writes
    assert before.is_current() or not Snapshot.enabled


# ------------------------------------------------------------------------------------------------- what is long


def test_a_chain_prints_shortened():
    text = repr(chain(100_000))
    assert len(text) < 2000
    assert "Link(... (+99,987 below))" in text  # twelve are open, one is named


def test_long_lists_print_shortened():
    assert repr(Gadget(x=list(range(1000)))).endswith("14, 15, ... (+984 more)])")
    text = repr(Gadget(x=[Param(jnp.ones(1)) for _ in range(1000)], y=Param(0)))
    assert "    ... (+952 more)\n" in text
    assert text.endswith("# Param 1,001 (4.0 kB)")


def test_each_attribute_has_its_room():
    text = repr(Gadget(a=net(500), b=net(2), c=[net(1), net(1)]))
    for name in ("a=Gadget", "b=Gadget", "c=["):
        assert f"  {name}" in text
    assert text.count("name='net'") == 4
    assert len(text.splitlines()) < 350


def test_items_of_a_list_are_whole_while_there_is_room():
    text = repr(Gadget(items=[net(1) for _ in range(100)]))
    blocks = text.split("    Gadget(\n")
    assert len(blocks) > 10
    assert "more" not in "".join(blocks[:-1])


@pytest.mark.parametrize("kind", [list, tuple, lambda pair: Gadget(a=pair[0], b=pair[1])])
def test_sharing_does_not_blow_up(kind):
    item: Any = kind([Param(jnp.ones(1)), 0])
    for _ in range(80):
        item = kind([item, item])
    root = Gadget(item=item)
    assert len(repr(root)) < 20_000
    assert repr(root).endswith("# Param 1 (4 B)")
    assert len(treescope.render_to_html(root, ignore_exceptions=False)) < 10**6


def test_deep_containers_and_trees():
    nested: Any = ()
    for _ in range(50_000):
        nested = (nested,)
    assert len(repr(Gadget(t=nested))) < 500
    tree = treefy_split(Link(chain(3000), State(1.0)))[1]
    assert len(repr(tree)) < 1000
    path = FlattedDict({(*range(5000), "w"): 1.0})
    assert len(repr(path)) < 1000


# ------------------------------------------------------------------------------------------------- what is broken


class Bad:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_broken_values_never_fail():
    unordered = State(1.0)
    unordered.value = None
    object.__setattr__(unordered, "_value", {1: jnp.ones(2), "a": 2})
    gone = jnp.ones(3)
    gone.delete()
    node = Gadget(bad=Bad(), key={Bad(): 1}, gone=Param(gone), half=State.__new__(State), mixed=unordered)
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


@pytest.mark.parametrize("transform", RAW)
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


# ------------------------------------------------------------------------------------------------- what others say


class Chatty(Gadget):
    def __repr__(self) -> str:
        return f"Chatty with {self.inner!r}"


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


# ------------------------------------------------------------------------------------------------- pages


@given(graphs())
@settings(max_examples=10)
def test_pages_of_any_graph(root):
    shape, tree = treefy_split(root)
    for item in (root, shape, tree, tree.to_flat(), *list(tree.to_flat().values())[:2], *parts_of(root)):
        if isinstance(item, (Node, State)) or not isinstance(item, (list, dict, Bag)):
            assert treescope.render_to_text(item, ignore_exceptions=False)
            assert treescope.render_to_html(item, ignore_exceptions=False)


@pytest.mark.parametrize("item", [net(2), treefy_split(net(2))[1], treefy_split(net(2))[1].to_flat()])
def test_the_buttons_of_a_page_copy_code(item):
    page = treescope.render_to_html(item, compressed=False, ignore_exceptions=False)
    codes = {html.unescape(code) for code in re.findall(r'data-copy="([^"]*)"', page)}
    assert len(codes) > 20
    for code in codes:
        eval("item" + code, {"item": item})  # raises if there is nothing


def test_where_no_code_leads_there_is_no_button():
    odd = Gadget(bag=Bag(Param(1.0)), keys={Bad(): 1, "x" * 100: 2, ("a", 0): 3, (Bad(),): 4})
    setattr(odd, "no name", 5)
    page = treescope.render_to_html(odd, compressed=False, ignore_exceptions=False)
    codes = {html.unescape(code) for code in re.findall(r'data-copy="([^"]*)"', page)}
    assert codes == {".bag", ".keys", f"['{'x' * 100}']".join([".keys", ""]), ".keys[('a', 0)]"}


def test_a_page_shows_arrays_counts_sharing_and_no_more_than_it_must():
    weight = Param(jnp.arange(4.0))
    text = treescope.render_to_text(Gadget(a=Link(weight, 1), b=Link(weight, 2)), ignore_exceptions=False)
    assert "jax.Array([0., 1., 2., 3.]" in text
    assert text.splitlines()[0] == "Gadget(  # Param 4 (16 B)"
    assert text.count("jax.Array") == 1
    assert "below=<the Param at a.below>" in text
    assert "(+99,975 below)" in treescope.render_to_text(chain(100_000), ignore_exceptions=False)
    assert len(treescope.render_to_html([net(2000)], ignore_exceptions=False)) < 10**6


def test_a_class_may_draw_itself():
    class Drawn(Gadget):
        def __treescope_repr__(self, path, subtree_renderer):
            return treescope.rendering_parts.text(f"drawn at {path}")

    assert "drawn at .a.x" in treescope.render_to_text(Gadget(a=Gadget(x=Drawn())), ignore_exceptions=False)
