"""How graphs show on a page to unfold."""

from __future__ import annotations

import html
import re
from typing import Any

import jax.numpy as jnp
import treescope
from hypothesis import given, settings

from brainstate_graph import Node, State, treefy_split
from tests.laws.graphs import Bag, Gadget, Param, graphs, net, parts_of
from tests.tables import each


class Bad:
    def __repr__(self) -> str:
        raise RuntimeError("no")


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
@settings(max_examples=10)
def test_pages_of_any_graph(root):
    shape, tree = treefy_split(root)
    for item in (root, shape, tree, tree.to_flat(), *list(tree.to_flat().values())[:2], *parts_of(root)):
        if isinstance(item, (Node, State)) or not isinstance(item, (list, dict, Bag)):
            assert treescope.render_to_text(item, ignore_exceptions=False)
            assert treescope.render_to_html(item, ignore_exceptions=False)


@each("item", [net(2), treefy_split(net(2))[1], treefy_split(net(2))[1].to_flat()])
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
