"""What of a graph is shown: each thing once, with the code that leads there and the counts of the rest."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import treescope
from hypothesis import given, settings

from brainstate_graph import FlattedDict, Node, Overlay, Snapshot, State, clone, graphdef, treefy_split
from brainstate_graph._show.objects import view_of
from brainstate_graph._show.outline import Limits, Line, outline
from brainstate_graph._tools.words import Words
from tests.laws.graphs import Bag, Gadget, Param, graphs, net, parts_of
from tests.tables import each

ALL = Limits(things=10**4, items=10**4, depth=60, method="__repr__")


def lines_of(root: Line) -> list[Line]:
    found, stack = [], [root]
    while stack:
        line = stack.pop()
        found.append(line)
        stack.extend(below for _, below in reversed(line.members))
    return found


class Link(Node):
    def __init__(self, below: Any, size: Any) -> None:
        self.size = size
        self.below = below


def chain(length: int) -> Any:
    link = None
    for _ in range(length):
        link = Link(link, 0)
    return link


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
            assert item is line.item or line.shown is None
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
        assert (a.shown is None) == (b.shown is None)
        assert isinstance(a.item, Words) == isinstance(b.item, Words)
        if isinstance(a.item, Words):
            assert a.item == b.item
        if a.shown is not None and b.shown is not None:
            assert (a.shown.type, a.shown.opening) == (b.shown.type, b.shown.opening)
            if not issubclass(a.shown.type, State):
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


@each("kind", [list, tuple, lambda pair: Gadget(a=pair[0], b=pair[1])])
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
