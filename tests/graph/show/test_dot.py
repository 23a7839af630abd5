from __future__ import annotations

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings

from brainstate_graph import GraphError, Node, Overlay, State, clone, graphdef, states, to_dot
from brainstate_graph.extend import dotted, flatten
from tests.laws.graphs import Gadget, Param, Stat, graphs, net, parts_of
from tests.tables import each

TOKEN = re.compile(r'\s*(?:("(?:[^"\\\n]|\\.)*")|(->|[{}\[\];=,])|([A-Za-z_]\w*|\d+))')
ESCAPE = re.compile(r'\\[nl"\\]')


class Drawing(NamedTuple):
    title: str
    boxes: dict[str, dict[str, str]]
    edges: list[tuple[str, str, dict[str, str]]]

    def labels(self) -> dict[str, str]:
        return {name: look["label"] for name, look in self.boxes.items()}


def parse(text: str) -> Drawing:
    """Read the part of the language that we write; anything else is an error."""
    tokens: list[str] = []
    at = 0
    while text[at:].strip():
        found = TOKEN.match(text, at)
        assert found, f"no token: {text[at : at + 40]!r}"
        tokens.append(found[0].strip())
        at = found.end()

    def take(*expected: str) -> str:
        token = tokens.pop(0)
        assert not expected or token in expected, (token, expected)
        return token

    def value() -> str:
        token = take()
        if not token.startswith('"'):
            return token
        assert not ESCAPE.sub("", token).count("\\"), f"an escape that is none: {token}"
        return ESCAPE.sub(lambda m: {"n": "\n", "l": "\n"}.get(m[0][1], m[0][1]), token[1:-1])

    def look() -> dict[str, str]:
        found: dict[str, str] = {}
        if tokens[0] == "[":
            take()
            while tokens[0] != "]":
                key = take()
                take("=")
                found[key] = value()
                if tokens[0] == ",":
                    take()
            take("]")
        return found

    take("digraph")
    drawing = Drawing(value(), {}, [])
    take("{")
    while tokens[0] != "}":
        name = value()
        if tokens[0] == "=":
            take()
            value()
        elif tokens[0] == "->":
            take()
            drawing.edges.append((name, value(), look()))
        elif name in ("node", "edge"):
            look()
        else:
            assert name not in drawing.boxes
            drawing.boxes[name] = look()
        take(";")
    take("}")
    assert not tokens
    for start, end, _ in drawing.edges:
        assert start in drawing.boxes
        assert end in drawing.boxes
    return drawing


def test_boxes_ellipses_and_labels():
    drawing = parse(to_dot(Gadget(rate=0.5, layers=[Gadget(w=Param(jnp.ones((2, 3)), name="x")), len, Stat(1.0)])))
    assert drawing.title == "Gadget"
    assert drawing.labels() == {
        "n0": "Gadget\nlayers.1=len\nrate=0.5\n",
        "n2": "Gadget",
        "n4": "Stat\n1.0",
        "n3": "Param\nf32[2,3], name='x'",
    }
    assert [drawing.boxes[n].get("shape") for n in ("n0", "n2", "n3", "n4")] == [None, None, "ellipse", "ellipse"]
    assert drawing.boxes["n3"]["fillcolor"] != drawing.boxes["n4"]["fillcolor"]
    assert [(a, b, look["label"]) for a, b, look in drawing.edges] == [
        ("n0", "n2", "layers.0"),
        ("n0", "n4", "layers.2"),
        ("n2", "n3", "w"),
    ]


def test_what_is_shared_is_drawn_once_and_cycles_close():
    weight, bag = Param(1.0), [Stat(2.0)]
    root = Gadget(a=weight, b=weight, c=bag, d={"k": bag})
    root.me = root
    drawing = parse(to_dot(root))
    assert sorted(drawing.labels().values()) == ["Gadget", "Param\n1.0", "Stat\n2.0", "list"]
    ends = {label: name for name, label in drawing.labels().items()}
    arrows = {look["label"]: end for start, end, look in drawing.edges if start == ends["Gadget"]}
    assert arrows == {
        "a": ends["Param\n1.0"],
        "b": ends["Param\n1.0"],
        "c": ends["list"],
        "d.k": ends["list"],
        "me": ends["Gadget"],
    }


def test_plain_containers_stand_in_the_box():
    drawing = parse(to_dot(Gadget(sizes=[1, [2, 3]], config={"a": (1, 2)}, empty=[], _hidden=1, none=None)))
    assert drawing.labels() == {"n0": "Gadget\nconfig={'a': (1, 2)}\nempty=[]\nsizes=[1, [2, 3]]\n"}


def test_statics_in_the_order_in_which_the_constructor_sets_them_and_not_too_many():
    class Layer(Node):
        def __init__(self, width, depth):
            self.depth, self.width, self.a = depth, width, 0

    assert parse(to_dot(Layer(1, 2))).labels() == {"n0": "Layer\ndepth=2\nwidth=1\na=0\n"}
    label = parse(to_dot(Gadget(**{f"x{i}": i for i in range(20)}))).labels()["n0"]
    assert label.splitlines()[-2:] == ["x15=15", "... (+12 more)"]


@each("text", ['"', "\\", '\\"', "\\N", "\n", "<b>", "a;b}", "]->[", "é", "\\\\n"])
def test_whatever_a_text_holds_is_escaped(text):
    root = Gadget(text=text, items={text: Param(1.0)})
    setattr(root, text, Stat(2.0))
    drawing = parse(to_dot(root))
    assert drawing.labels()["n0"] == f"Gadget\ntext={text!r}\n"
    assert {look["label"] for _, _, look in drawing.edges} == {f"items.{text}", text}


def test_a_graphdef_has_no_values_and_the_same_form():
    root = net(2)
    live, shape = parse(to_dot(root)), parse(to_dot(graphdef(root)))
    assert shape.edges == live.edges
    assert {n: label.splitlines()[0] for n, label in live.labels().items()} == {
        n: label.splitlines()[0] for n, label in shape.labels().items()
    }
    assert "f32" in to_dot(root)
    assert "f32" not in to_dot(graphdef(root))


def test_what_the_caller_holds():
    weight = Param(1.0)
    drawing = parse(to_dot(flatten(Gadget(w=weight), {weight: 0}.get).graphdef))
    assert "Param\nheld by the caller" in drawing.labels().values()


def test_containers_and_single_values():
    assert parse(to_dot([Param(1.0), 2])).labels() == {"n0": "list\n1=2\n", "n1": "Param\n1.0"}
    assert parse(to_dot(flatten(3).graphdef)).labels() == {"n0": "3"}
    for wrong in (Param(1.0), 3, None):
        with pytest.raises(ValueError, match="is not a graph"):
            to_dot(wrong)
    with pytest.raises(ValueError, match="max_nodes=0: "):
        to_dot(net(), max_nodes=0)
    with pytest.raises(GraphError, match="at a: "):
        to_dot(Gadget(a={Param(1.0)}))


@given(graphs())
@settings(max_examples=60)
def test_any_graph(root):
    drawing = parse(to_dot(root))
    parts = parts_of(root)
    assert sum(look.get("shape") == "ellipse" for look in drawing.boxes.values()) == sum(
        isinstance(part, State) for part in parts
    )
    assert sum("style" not in look and "shape" not in look for look in drawing.boxes.values()) == sum(
        isinstance(part, Node) for part in parts
    )
    assert to_dot(clone(root)).splitlines()[0] == to_dot(root).splitlines()[0]
    for path, state in states(root).items():  # each path is a way along the arrows
        ways, ends = [("n0", dotted(path))], set()
        while ways:
            at, rest = ways.pop()
            for start, end, look in drawing.edges:
                if start == at and rest == look["label"]:
                    ends.add(drawing.labels()[end].splitlines()[0])
                elif start == at and rest.startswith(look["label"] + "."):
                    ways.append((end, rest[len(look["label"]) + 1 :]))
        assert type(state).__name__ in ends


@given(graphs())
@settings(max_examples=30)
def test_equal_graphs_have_equal_drawings(root):
    for part in parts_of(root):
        if isinstance(part, State):
            part.value = jax.tree.map(lambda x: x, part.value)  # JAX sorts the keys of a dict, cloning too
    assert to_dot(clone(root)) == to_dot(root)


@each("most", [1, 2, 7, 100])
def test_what_is_not_drawn_is_said(most):
    root = Gadget(**{f"x{i:02}": Gadget(w=Param(1.0)) for i in range(10)})
    drawing = parse(to_dot(root, max_nodes=most))
    drawn = [name for name in drawing.boxes if name.startswith("n")]
    assert len(drawn) == min(most, 21)
    assert sum(look.get("shape") == "ellipse" for look in drawing.boxes.values()) == max(len(drawn) - 11, 0)
    more = {name: label for name, label in drawing.labels().items() if name.startswith("m")}
    targets = {1: [10], 2: [9, 1], 7: [4, *[1] * 6], 100: []}[most]
    assert [int(label[6:].split()[0]) for label in more.values()] == targets


def test_a_long_chain_and_deep_containers():
    link = Gadget(w=Param(1.0))
    for _ in range(100_000):
        link = Gadget(next=link)
    assert len(parse(to_dot(link)).boxes) == 201
    nested: Any = Param(1.0)
    for _ in range(20_000):
        nested = [nested]
    text = to_dot(Gadget(x=nested), max_nodes=5)
    assert [look["label"] for _, _, look in parse(text).edges if look.get("label")] == ["x.0.0.0.0", *["0.0.0.0.0"] * 3]
    plain: Any = 1
    for _ in range(5_000):
        plain = [plain]
    assert len(to_dot(Gadget(x=plain))) < 1000


def test_inside_and_after_a_trace():
    texts = []
    jax.jit(lambda x: (texts.append(to_dot(Gadget(w=Param(x)))), x)[1])(jnp.ones((2, 3)))
    assert "Param\nf32[2,3]" in parse(texts[0]).labels().values()
    root = net(1)
    with Overlay() as overlay:
        lost = Param(1.0)
        to_dot(root)
    assert not overlay.reads
    assert "made inside" in to_dot(Gadget(w=lost))
